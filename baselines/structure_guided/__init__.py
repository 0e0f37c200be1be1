"""Structures Guided (GradientNet): Qi, "Structures Guided Dynamic Scene Deblurring Method", 2022."""
