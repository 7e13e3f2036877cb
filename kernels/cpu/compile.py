"""Kernels compiled to machine code when their address is first asked, with a C interface.

A body for arrays of float32 and of float64 is written once, with a number of their type as its last
argument; `@both` makes a function of each.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import types

from . import kept, words
from .lean import undisturbed
from .words import FASTMATH

LOCK = threading.RLock()  # one compilation at a time
SHARE = types.void(types.intp, types.intp, types.intp)
BLOCK = types.void(*[types.intp] * 5)
UPDATE = types.void(*[types.intp] * 7)


def _after_fork() -> None:
    global LOCK
    LOCK = threading.RLock()  # the thread that may hold it does not exist in a forked child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

compiling: list[Callable[[str], None]] = []  # called with a kernel's name when it is first needed


class _Dry(threading.local):
    """If `note` is set, this thread calls it with a kernel that is not compiled, and goes on."""

    note: Callable[[Native], None] | None = None


_dry = _Dry()


@contextlib.contextmanager
def noting(note: Callable[[Native], None]) -> Iterator[None]:
    """In the block a kernel that is not compiled does nothing, and `note` is called with it."""
    before, _dry.note = _dry.note, note
    try:
        yield
    finally:
        _dry.note = before


def dry() -> bool:
    """Whether this thread is in a block of `noting`."""
    return _dry.note is not None


class Native:
    """A function compiled to machine code with a C interface, when its address is first asked."""

    def __init__(
        self, body: Callable[..., None], signature: Any = SHARE, exact: bool = False
    ) -> None:
        self.body = body
        self.signature = signature
        self.fastmath = False if exact else set(FASTMATH)  # of all that it calls, too
        self.__name__ = body.__name__
        self.__doc__ = body.__doc__
        self._address = 0

    @property
    def address(self) -> int:
        return self._address or self._found()

    def _found(self) -> int:
        options = {"error_model": "numpy", "fastmath": self.fastmath}
        if _dry.note is not None and self is not _nothing:
            with undisturbed():
                if not kept.is_kept(self.body, self.signature, **options):
                    _dry.note(self)
                    return _nothing.address
        with LOCK:
            if not self._address:
                for tell in compiling:
                    tell(self.__name__)
                self._compiled = kept.c_function(self.body, self.signature, **options)
                self._address = int(self._compiled.address)
            return self._address

    def __repr__(self) -> str:
        return f"<native {self.__name__}>"


def native(body: Callable[..., None]) -> Native:
    """Declare void body(worker, workers, args), compiled at first use."""
    return Native(body, SHARE)


def native_exact(body: Callable[..., None]) -> Native:
    """The same, every operation rounded on its own: to the bits of NumPy."""
    return Native(body, SHARE, exact=True)


def native_block(body: Callable[..., None]) -> Native:
    """Declare void body(r0, r1, c0, c1, args), compiled at first use."""
    return Native(body, BLOCK)


def native_update(body: Callable[..., None]) -> Native:
    """Declare void body(r0, r1, c0, c1, args, origin, row), exact, compiled at first use."""
    return Native(body, UPDATE, exact=True)


@native
def _nothing(worker, workers, args):  # type: ignore[no-untyped-def]
    """What runs in place of a kernel that is not compiled; more arguments do not matter."""


# ---- one body for both types ---------------------------------------------------------------------


class Both:
    """The functions of one body: `both[dtype]` is that for arrays of float32, or of float64."""

    def __init__(self, narrow: Native, wide: Native) -> None:
        self._of = {np.dtype(np.float32): narrow, np.dtype(np.float64): wide}

    def __getitem__(self, dtype: Any) -> Native:
        return self._of[np.dtype(dtype)]


def both(body: Callable[..., None]) -> Both:
    """Declare void body(worker, workers, args, kind); kind is a number of the arrays' type."""
    return _both(body, exact=False, of=_share)


def both_exact(body: Callable[..., None]) -> Both:
    """The same, every operation rounded on its own: to the bits of NumPy."""
    return _both(body, exact=True, of=_share)


def both_update(body: Callable[..., None]) -> Both:
    """Declare void body(r0, r1, c0, c1, args, origin, row, kind), exact."""
    return _both(body, exact=True, of=_update, signature=UPDATE)


def _both(body: Callable[..., None], exact: bool, of: Any, signature: Any = SHARE) -> Both:
    helper, made = (words.exact if exact else words.inline)(body), []
    for kind in (np.float32(0), np.float64(0)):
        function = of(helper, kind)
        function.__module__, function.__doc__ = body.__module__, body.__doc__
        function.__name__ = function.__qualname__ = f"{body.__name__}{8 * kind.itemsize}"
        made.append(Native(function, signature, exact))
    return Both(*made)


def _share(body: Any, kind: Any) -> Callable[..., None]:
    def share(worker, workers, args):  # type: ignore[no-untyped-def]
        body(worker, workers, args, kind)

    return share


def _update(body: Any, kind: Any) -> Callable[..., None]:
    def update(r0, r1, c0, c1, args, origin, row):  # type: ignore[no-untyped-def]
        body(r0, r1, c0, c1, args, origin, row, kind)

    return update
