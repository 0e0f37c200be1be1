"""The version of madn, beside everything that needs to know it."""

__version__ = "0.1.0"
