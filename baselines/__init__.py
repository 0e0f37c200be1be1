"""Four more papers on madn's machinery: SIS-Net, Structures Guided, MSR2B-CGAN, EGNet. None is here yet.

Each will have a folder with MADN's file names: generator, discriminator, objective, recipe.
"""
