"""Pairs on disk -> validated index -> batches; blur synthesis; the built-in sample set."""
