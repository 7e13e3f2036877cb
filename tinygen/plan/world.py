"""What a step asks of the world around the program: files, clocks, dice of Python and NumPy.

No attribute shows it. Python functions written in C give it, and a recording sees each call of
one. What can be asked again, without arguments, is asked before every replay and compared. What
comes from outside the process, or moves on when it is read, is refused. What the engine itself
asks while it works (it looks for compiled code, it compiles) is no part of the step.
"""

from __future__ import annotations

import abc
import functools
import gc
import io
import itertools
import os
import random
import sys
import threading
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from .whose import asks_for_the_user

_WHAT = {
    "posix": "files, processes or the system", "nt": "files, processes or the system",
    "io": "a file", "_io": "a file", "time": "a clock", "datetime": "a clock",
    "random": "Python's random numbers", "_random": "Python's random numbers",
    "socket": "a connection", "_socket": "a connection", "select": "a connection",
    "_posixsubprocess": "another process", "sqlite3": "a database", "_sqlite3": "a database",
    "_queue": "what other threads do", "_thread": "what other threads do",
    "_dbm": "a database", "_gdbm": "a database",
    "_locale": "the locale", "gc": "the state of the garbage collector", "resource": "the system",
}  # fmt: skip
_ONLY = {  # of these modules, these functions
    "_thread": {"locked", "_count"},
    "datetime": {"now", "today", "utcnow"},
    "gc": {"get_count", "get_objects", "get_stats", "get_referrers"},
    "_locale": {"setlocale", "nl_langinfo"},
}
_BUT = {  # of these modules, all but these
    "posix": {"fspath", "_path_normpath", "_path_splitroot", "_path_splitroot_ex", "cpu_count"},
    "nt": {"fspath", "_path_normpath", "_path_splitroot", "_path_splitroot_ex", "cpu_count"},
    "time": {"sleep"},
    "io": {"text_encoding"},
    "_io": {"text_encoding"},
}
_ALONE = {("numpy", "fromfile"): "a file", ("numpy", "tofile"): "a file"}
_AGAIN: dict[Any, Callable[[], Any]] = {
    ("posix", "getcwd"): os.getcwd, ("nt", "getcwd"): os.getcwd,
    ("posix", "getpid"): os.getpid, ("nt", "getpid"): os.getpid,
    ("_thread", "get_ident"): threading.get_ident,
    ("sys", "getrecursionlimit"): sys.getrecursionlimit,
    ("sys", "getswitchinterval"): sys.getswitchinterval,
    ("gc", "isenabled"): gc.isenabled, ("gc", "get_threshold"): gc.get_threshold,
    ("_warnings", "warn"): lambda: tuple(warnings.filters),
    ("numpy._core._multiarray_umath", "_get_extobj_dict"): lambda: (*np.geterr().items(),),
}  # fmt: skip
_FILES: Any = io.IOBase.__bases__  # the class in C
_MEMORY = (io.StringIO, io.BytesIO)


def at_start() -> dict[Any, Any]:
    """What can be asked again, and the answers of now: a step may change some for a while."""
    asks = [*_AGAIN.values(), *([_decimal_context] if "decimal" in sys.modules else [])]
    return {ask: ask() for ask in asks}


def again(what: Any, frame: Any) -> Callable[[], Any] | None:
    """What gives the answer of a C function again, if the step asks for it and it may change."""
    known = _AGAIN.get(_name(what))
    return known if known is not None and asks_for_the_user(frame) else None


def outside(what: Any, frame: Any, made_before: Callable[[Any], bool]) -> str | None:
    """What a C function reads or writes that a plan cannot follow, in words; None if nothing."""
    module, name = _name(what)
    found = _WHAT.get(module) or _ALONE.get((module, name))
    if found is None or name in _BUT.get(module, ()) or name not in _ONLY.get(module, {name}):
        return None
    owner = getattr(what, "__self__", None)
    if any(owner is x for x in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        return None  # printed while recording only
    if isinstance(owner, _MEMORY) and not made_before(owner):
        return None
    return found if asks_for_the_user(frame) else None


def _name(what: Any) -> tuple[str, str]:
    """The module and the name of a C function; of a method, the module of its class."""
    owner, name = getattr(what, "__self__", None), getattr(what, "__name__", "")
    if owner is None or isinstance(owner, types.ModuleType):
        return getattr(what, "__module__", None) or "", name
    kind = owner if isinstance(owner, type) else type(owner)
    for c in kind.__mro__:  # the class that has it in C
        if name in c.__dict__:
            return c.__module__, name
    return kind.__module__, name


def context_of(value: Any) -> Callable[[], Any] | None:
    """What gives the context of the arithmetic of Python's decimal numbers, for what is one."""
    own = isinstance(value, (type, types.BuiltinFunctionType))
    module = value.__name__ if isinstance(value, types.ModuleType) else (
        value.__module__ if own else type(value).__module__
    )  # fmt: skip
    return _decimal_context if module == "decimal" else None


def _decimal_context() -> Any:
    now = sys.modules["decimal"].getcontext()
    traps = tuple(kind for kind, on in now.traps.items() if on)
    return (now.prec, now.rounding, now.Emin, now.Emax, now.capitals, now.clamp, traps)


def still_cached(function: Any) -> Callable[[], Any] | None:
    """What says whether a functools.lru_cache still holds all that it held; None for others."""
    if not isinstance(function, functools._lru_cache_wrapper):
        return None
    before = function.cache_info()
    asked, holds = before.hits + before.misses, True

    def ask() -> bool:
        nonlocal asked, holds
        now = function.cache_info()
        cleared = now.currsize < before.currsize or now.hits + now.misses < asked
        full = now.maxsize is not None and now.currsize >= now.maxsize  # then the oldest goes
        holds = holds and not cleared and (not full or now.misses == before.misses)
        asked = now.hits + now.misses
        return holds

    return ask


def parts_of(partial: functools.partial[Any]) -> Callable[[], Any]:
    """What says which parts a partial has: __setstate__ gives it others."""
    return lambda: (id(partial.func), id(partial.args), id(partial.keywords))


def registered(kind: type) -> Callable[[], Any] | None:
    """What says whether a class has been registered with an abstract one; None for others."""
    return abc.get_cache_token if isinstance(kind, abc.ABCMeta) else None


def pointed_at(value: Any) -> Any:
    """What a pointer of ctypes points at; None for anything else."""
    ctypes = sys.modules.get("ctypes")
    points = ctypes is not None and isinstance(value, ctypes._Pointer) and bool(value)
    return value.contents if points else None


class Again:
    """A function without arguments, as a mapping whose only name it answers."""

    __slots__ = ("ask",)

    def __init__(self, ask: Callable[[], Any]) -> None:
        self.ask = ask

    def get(self, name: str, default: Any) -> Any:
        return self.ask()

    def put(self, name: str, value: Any) -> None:
        """Nothing that a refused step could have bound."""


# ---- what moves on when it is read ---------------------------------------------------------------

_EMPTY: tuple[Any, ...] = (
    [], (), {}, {}.values(), {}.items(), set(), "", "\u0394", b"", bytearray(), range(1),
    range(2**70),
)  # fmt: skip
_ITERATORS: Any = (
    map, filter, zip, enumerate, reversed, type(iter(int, 1)), type(reversed([])),
    *(type(iter(x)) for x in _EMPTY),
    *(k for k in vars(itertools).values() if hasattr(k, "__next__")),
)  # fmt: skip


def place(value: Any) -> Any:
    """How far an iterator or a generator of random numbers is; None for anything else."""
    if isinstance(value, types.GeneratorType):
        return value.gi_frame is None  # reads.py sees it go on
    if isinstance(value, _ITERATORS):
        return _of_iterator(value)
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return value.getstate()
    dice = sys.modules.get("numpy.random")
    if dice is not None and isinstance(value, dice.RandomState):
        return repr(value.get_state(legacy=False))
    if dice is not None and isinstance(value, dice.Generator):
        return repr(value.bit_generator.state)
    if dice is not None and isinstance(value, dice.BitGenerator):
        return repr(value.state)
    if isinstance(value, _FILES) and not value.closed and value.readable():
        try:
            return value.tell()
        except OSError:
            return "between two lines"
    return None


def inner_iterators(value: Any) -> list[Any]:
    """What a zip, a map and the like take from."""
    if not isinstance(value, _ITERATORS) or hasattr(value, "__length_hint__"):
        return []
    return [x for x in gc.get_referents(value) if isinstance(x, tuple) or hasattr(x, "__next__")]


def shared_dice() -> list[Any]:
    """The generators of random numbers that all code shares."""
    dice = sys.modules.get("numpy.random.mtrand")
    return [random._inst, *([dice._rand] if dice else [])]


def _of_iterator(value: Any) -> Any:
    if hasattr(value, "__length_hint__") and not isinstance(value, itertools.repeat):
        return value.__length_hint__()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of itertools will stop telling, one day
        try:
            return _sketch(value.__reduce__())
        except TypeError:
            return repr(value)


def _sketch(value: Any) -> Any:
    """Numbers and texts by value, all else by identity; iterators by their place."""
    if isinstance(value, (tuple, list)) and len(value) < 100:
        return tuple(map(_sketch, value))
    if isinstance(value, (int, float, str, type(None))):
        return value
    found = place(value)
    return (id(value), type(value)) if found is None else found
