"""Four more papers on madn's machinery: SIS-Net, Structures Guided, MSR2B-CGAN, EGNet.

Each has a folder with MADN's file names: generator, discriminator, objective, recipe, and what the paper adds.

What decides where a paper leaves a choice open or contradicts itself, for all five papers, in this order, each only
where those before it are silent or contradict themselves:

1. the paper's words, equations and algorithms;
2. its printed numbers: parameters, operations, sizes, times, scores;
3. its authors' code, where there is some;
4. the lineage: what the networks and losses that it builds on have.

Slips that would keep a loss from being one (a sign, a missing factor) are put right by the equation's source. Other
readings are told in the docstring of the file that they belong to; those that a reader may want to try are named
recipes, and so is every ablation. A recipe has no field that neither the paper states nor a named recipe varies.
"""
