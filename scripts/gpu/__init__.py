"""The kit for a GPU machine without a network: built here by `make gpu-kit`, run there by run.sh. See README.md."""


class KitError(Exception):
    """What stops a call of the kit, said in one line."""
