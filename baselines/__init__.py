"""Four more papers on madn's machinery: SIS-Net, Structures Guided, MSR2B-CGAN, EGNet.

Each has a folder with MADN's file names: generator, discriminator, objective, recipe, and what the paper adds.
"""
