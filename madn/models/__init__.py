"""The networks that madn itself ships: the paper's in `madn`, the small one for photos in `madn_small`."""
