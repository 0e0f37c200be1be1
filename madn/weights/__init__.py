"""Trained weights by name: the registry, and how weights come into it."""
