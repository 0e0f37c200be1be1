"""What the notebooks call: their runs, and their figures."""
