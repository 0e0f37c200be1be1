"""Motion deblurring with Keras: MADN and four baselines, trained, evaluated and exported.

Everywhere public, an image is float32 RGB in [0, 1] and a batch is NHWC.
"""

__version__ = "0.1.0"
