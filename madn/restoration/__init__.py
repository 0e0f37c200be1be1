"""Trained networks at work: loaded, compiled, on photos of any size and on videos, with a report."""
