"""madn's own networks: the paper's in `madn`, and a small one for photos in `madn_small`."""
