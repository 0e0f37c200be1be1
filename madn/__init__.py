"""Motion deblurring with Keras: MADN and four baselines, trained, evaluated and exported.

Everywhere public, an image is float32 RGB in [0, 1] and a batch is NHWC. `madn.deblur(image)` restores one of any size.
"""

__version__ = "0.1.0"


def __getattr__(name: str):
    """`madn.deblur` without an import of its own, which would be slow for those who want something else."""
    if name == "deblur":
        import importlib

        return importlib.import_module("madn.deblur")
    raise AttributeError(f"module 'madn' has no attribute {name!r}")
