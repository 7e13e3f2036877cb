"""Whose code is it, and is it part of a step? What reads.py follows, and what it leaves aside."""

from __future__ import annotations

import functools
import gc
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

from ..callsite import PARTS

_STDLIB = os.path.dirname(os.__file__) + os.sep
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_OURS = ("tinygen", "tinygen_kernels", "numpy", "numba", "llvmlite", "cupy", "cupy_backends")
_WITH_STATE = ("logging", "threading", "queue")  # of Python's, followed as the user's modules are
_OF_SOURCES = tuple(os.sep + name for name in ("linecache.py", "inspect.py", "tokenize.py"))
_ENGINE = str(Path(__file__).parents[1]) + os.sep


@functools.cache
def users_file(path: str) -> bool:
    """Whether code in a file is the user's: not Python's, NumPy's, the engine's or generated."""
    kernels = os.path.dirname(getattr(sys.modules.get("tinygen_kernels"), "__file__", "")) + os.sep
    if path.startswith(("<frozen", "<fused_", _ENGINE, kernels)):
        return False
    for packages in _PACKAGES:
        if packages in path:
            return path.rpartition(packages)[2].partition(os.sep)[0] not in _OURS
    return not path.startswith(_STDLIB) or path in _with_state()


@functools.cache
def engines_file(path: str) -> bool:
    return path.startswith(_ENGINE)


@functools.cache
def _with_state() -> set[str]:
    return {str(getattr(__import__(name), "__file__", name)) for name in _WITH_STATE}


@functools.cache
def users_module(name: str) -> bool:
    root = name.partition(".")[0]
    if root in _OURS or root == "builtins":
        return False
    if root in _WITH_STATE:
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    return root not in sys.stdlib_module_names if file is None else users_file(file)


@functools.cache
def may_change(name: str) -> bool:
    """Whether what a module holds may be bound anew: of all but NumPy and what compiles."""
    return name.partition(".")[0] not in _OURS[1:]


@functools.cache
def followed(kind: type) -> bool:
    """Whether attributes of instances of a class are watched."""
    module = kind.__module__ or ""
    if module.startswith("tinygen."):
        return module.split(".")[1] not in PARTS
    return users_module(module)


def users_access(kind: type) -> bool:
    """Whether a class of the user's, or one that it inherits, says itself what an attribute is."""
    for c in kind.__mro__:
        for name in ("__getattribute__", "__getattr__"):
            own = c.__dict__.get(name)
            code = getattr(getattr(own, "__wrapped__", own), "__code__", None)  # watched, or not
            if code is not None and users_file(code.co_filename):
                return True
    return False


@functools.cache
def is_aside(code: types.CodeType) -> bool:
    """Whether what a function does is no part of a step: it imports, or it buries an object."""
    imports = code.co_name in ("_find_and_load", "exec_module")
    return code.co_name == "__del__" or (
        imports and code.co_filename.startswith("<frozen importlib")
    )


def asks_for_the_user(frame: Any) -> bool:
    """Whether what calls from here is the user's code, if need be through Python's or NumPy's.

    The engine's code, and what compiles for it, asks for itself.
    """
    while frame is not None:
        path = frame.f_code.co_filename
        if users_file(path) or not _passes_on(path):
            return users_file(path)
        frame = frame.f_back
    return False


def line_of(frame: Any) -> str:
    """The line of the user's code that leads to here."""
    while frame is not None and not users_file(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "the step"


@functools.cache
def _passes_on(path: str) -> bool:
    """Whether code works for whoever calls it: Python's and NumPy's, but for what reads sources."""
    if path.endswith(_OF_SOURCES):
        return False
    for packages in _PACKAGES:
        if packages in path:
            return path.rpartition(packages)[2].startswith(f"numpy{os.sep}")
    return path.startswith(("<frozen", _STDLIB))


def hands_over(code: types.CodeType) -> bool:
    """Whether a function gives work to another thread, or waits for what another thread makes."""
    known = (
        ("threading", "Thread", "start"), ("queue", "Queue", "get"),
        ("concurrent.futures.thread", "ThreadPoolExecutor", "submit"),
    )  # fmt: skip
    if code.co_name not in ("start", "get", "submit"):
        return False
    kinds = [(getattr(sys.modules.get(m), c, None), n) for m, c, n in known]
    return any(kind is not None and getattr(kind, n).__code__ is code for kind, n in kinds)


def run_at_any_time() -> set[Any]:
    """The code of what runs between any two lines: the collector's callbacks, signal handlers.

    Messages of the logging module are of that kind, too: they have no part in the numbers.
    """
    called: list[Any] = [*gc.callbacks, *map(signal.getsignal, signal.valid_signals())]
    if "logging" in sys.modules:
        called.append(sys.modules["logging"].Logger._log)
    plain = [f.func if isinstance(f, functools.partial) else f for f in called]
    return {
        getattr(f if hasattr(f, "__code__") else type(f).__call__, "__code__", None)
        for f in plain if callable(f)
    }  # fmt: skip


def has_bytes(value: Any) -> bool:
    """Whether its memory can be compared: a bytearray, an array.array, a number of ctypes."""
    try:
        return memoryview(value).nbytes >= 0
    except (TypeError, ValueError, BufferError):
        return False
