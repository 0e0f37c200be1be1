"""MADN (Zhu et al. 2023): generator, discriminator, objective and recipes; and the scale network's released start."""
