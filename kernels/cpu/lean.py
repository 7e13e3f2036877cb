"""Numba without what it does twice: helpers are optimised and translated within their kernels.

Numba makes each function that a kernel calls a library of its own: it optimises it, translates it
to machine code, and then copies it into its caller, where it is optimised again, and so on upwards.
A kernel of forty helpers, which nobody calls from Python, took twice the time that way. Here a
library is optimised and translated when an address in it is asked for, which is once, for the
kernel.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.registry import cpu_target

# The parts of Numba that this uses, in 0.61 to 0.68; another release may name them otherwise.
USED = (
    "_disable_inspection", "_ensure_finalized", "_finalize_final_module", "_optimize_final_module",
    "get_defined_functions", "get_pointer_to_function",
)  # fmt: skip


class _NoPlaces:
    """A code generator that leaves the places for Python's environments as they are: they are in
    no memory yet, and code that is never called from Python has no use for them."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def set_env(self, name: str, env: Any) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)


class _Library(JITCodeLibrary):  # type: ignore[misc]
    """A library that is optimised and translated at the first question for an address in it."""

    _translated = False

    @property
    def codegen(self) -> Any:
        return self._codegen if self._translated else _NoPlaces(self._codegen)

    def _optimize_final_module(self) -> None:
        """It is done later, if at all."""

    def _finalize_final_module(self) -> None:
        if self._disable_inspection:  # it comes from the cache, translated
            self._translated = True
            super()._finalize_final_module()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        if not self._translated and any(f.name == name for f in self.get_defined_functions()):
            self._translated = True
            super()._optimize_final_module()
            self._final_module.verify()
            super()._finalize_final_module()
        return int(super().get_pointer_to_function(name)) if self._translated else 0


@contextlib.contextmanager
def lean() -> Iterator[None]:
    """In the block Numba compiles this way. One thread at a time may use it.

    A Numba that lacks a part of USED compiles in its own way.
    """
    codegen = cpu_target.target_context.codegen()
    library = getattr(codegen, "_library_class", None)
    if library is not JITCodeLibrary or any(not hasattr(library, name) for name in USED):
        yield
        return
    codegen._library_class = _Library
    try:
        yield
    finally:
        del codegen._library_class


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Nothing looks on while the compiler works in the block.

    A recording watches each function that Python calls, of which the compiler has millions; and the
    search for cycles would pass over all of its objects again and again. Each takes as long as the
    compiler itself.
    """
    watching, collects = sys.getprofile(), gc.isenabled()
    gc.disable()
    if callable(watching):
        sys.setprofile(None)
    try:
        yield
    finally:
        if callable(watching):
            sys.setprofile(watching)
        if collects:
            gc.enable()
