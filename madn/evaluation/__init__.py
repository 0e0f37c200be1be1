"""Measures how well images are restored: metrics, protocols, traditional references, the selection of images."""
