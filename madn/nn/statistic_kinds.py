"""Kinds of statistics that a network may take over a whole photo; named here, where nothing imports Keras."""

MEAN, MOMENTS, RANGE = "mean", "mean and variance", "minimum and maximum"
