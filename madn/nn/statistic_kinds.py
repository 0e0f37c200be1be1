"""Names of the kinds of statistics that a network may take of a whole photo. Nothing here imports Keras."""

MEAN, MOMENTS, RANGE = "mean", "mean and variance", "minimum and maximum"
