"""A small network after MADN, for photos on a CPU."""
