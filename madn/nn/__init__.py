"""What networks share: layers, losses, perceptual features, statistics over an image, MACs."""
