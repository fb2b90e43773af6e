"""The wing of the built-in world: scenes, their world, the models trained on it, the laboratory."""
