"""Each measurement has a process of its own, and so a memory of its own; one that dies leaves the others."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from madn.errors import UserError, one_line
from madn.system.startup import start_keras


def in_own_process(module: str, function: str, *arguments) -> dict:
    """`function` of `module`, called there with a backend started; what it returns, or {"failed": why}."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_call, module, function, arguments).result()
        except BrokenProcessPool:
            return {"failed": "its process was killed; most likely the memory was not enough"}


def _call(module: str, function: str, arguments: tuple) -> dict:
    import importlib

    start_keras()
    return guarded(lambda: getattr(importlib.import_module(module), function)(*arguments))


def guarded(call: Callable[[], dict]) -> dict:
    """The call's result; for an exception, which may not survive the way between processes, {"failed": why}."""
    try:
        return call()
    except UserError as problem:
        return {"failed": str(problem)}
    except Exception as problem:  # A backend's out-of-memory error may be of many kinds.
        return {"failed": one_line(f"{type(problem).__name__}: {problem}")[:200]}
