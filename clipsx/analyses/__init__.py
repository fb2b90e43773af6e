"""Analyses: rows from one picture, or pure functions of matrices."""
