"""Photo and video files become arrays and go back, with everything that they hold beside pixels."""
