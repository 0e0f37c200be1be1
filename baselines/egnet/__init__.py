"""EGNet (Zhao, Di, Gao): MPRNet with enhanced gradient networks, a self-ensemble network and their losses."""
