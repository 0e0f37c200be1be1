"""What networks share: layers, losses, perceptual features, statistics over an image, operation counts."""
