"""Photo files <-> arrays, restoration at any size, metrics."""
