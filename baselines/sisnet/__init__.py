"""SIS-Net: Liu et al., "Semantic Information Supplementary Pyramid Network for Dynamic Scene Deblurring", 2020."""
