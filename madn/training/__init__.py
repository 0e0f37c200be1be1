"""The adversarial Keras model, its optimisers and schedules, and the run folder."""
