"""Each paper's recipe, narrow enough for tests."""

from dataclasses import replace

from madn import recipes

TINY = {
    "madn": {"widths": (8, 16, 32), "res_blocks": 1, "d_widths": (4, 4, 8, 8, 8), "d_dense": 16, "lr_g": 1e-3},
    "sisnet": {
        "backbone": "blocks",
        "backbone_weights": "none",
        "block_widths": (8, 16, 16, 32, 32),
        "width": 16,
        "stem_width": 8,
        "d_width": 8,
        "lr_g": 1e-3,
    },
    "structure_guided": {"width": 8, "gradient_width": 16, "n_mbrb": 2, "d_widths": (4, 8, 8, 8), "lr_g": 1e-3},
    "msr2b": {
        "widths": (8, 16, 32),
        "num_blocks": 2,
        "group_width": 8,
        "bypass_width": 24,
        "d_widths": (4, 8, 8, 8),
        "lr_g": 2e-3,
    },
    "egnet": {
        "n_feat": 8,
        "scale_unetfeats": 4,
        "scale_orsnetfeats": 4,
        "num_cab": 1,
        "pa_dim": 4,
        "egm_per_stage": 1,
        "parts": ("backbone",),
        "lr_g": 1e-3,
    },
}


def narrow(name: str, **changes):
    """The narrow recipe of a paper, batches of two crops of 64 pixels."""
    return replace(recipes.get(name), **{"crop": 64, "batch": 2, "augment": "none", **TINY[name], **changes})
