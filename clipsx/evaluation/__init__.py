"""Evaluations: what a model gives on a data set, as tables."""
