"""Photo and video files <-> arrays, with everything that they hold beside pixels; nothing of networks."""
