"""The five papers' published numbers, and what was measured beside them."""
