"""What `python -m madn.bench` measures."""
