"""The notebooks call this: their runs, and their figures."""
