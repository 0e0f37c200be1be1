"""The measurements of `python -m madn.bench`."""
