"""Restoration of photos by Apache Beam: the pipeline, its files and how it is run. Nothing else needs Beam."""

import warnings

from madn.system.startup import quiet, start_keras

start_keras()
# Beam's handler imports TensorFlow and TensorFlow Hub here and on each worker, and all of them print much.
with quiet(), warnings.catch_warnings(action="ignore"):
    import apache_beam.ml.inference.tensorflow_inference  # noqa: F401
