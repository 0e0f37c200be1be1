"""Trained networks in formats that need neither madn nor Keras: SavedModel, ONNX and LiteRT."""
