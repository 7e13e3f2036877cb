"""Elementwise operations outside a plan: each a generated loop of a few lines on all cores.

The loops are those of elementwise.py on the functions of maths.py, so that a function has the same
bits here and in a plan, which fuses it with its neighbours and takes nothing from this file. Arrays
of any shape are one row, and must be contiguous.

Which operations have one, and from how many elements it pays, is in ../pointwise.py. Below that
NumPy is done before the call is bound, which takes as long as its exp of 20,000 elements. The
numbers were measured on two free cores. NumPy's exp and log are vector code as fast as ours, its
tanh twice as fast: there a second core decides, and only on large arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..binding import Kernel
from ..pointwise import ON_CPU, Program, served
from .elementwise import Fused, _compiled, elementwise_call
from .runtime import address_of


def made(name: str, program: Callable[..., Program]) -> Kernel:
    """The kernel of an operation; `program` gives its lines for options."""
    row = ON_CPU[name]

    def bind(*arrays: Any, out: Any = None, **static: Any) -> Any:
        return _bind(served(name, program(**static)), arrays, out, row.wide)

    bind.__name__ = bind.__qualname__ = name
    return Kernel(bind, row.alone or 0)


def _bind(program: Program, arrays: tuple[Any, ...], out: Any, wide: bool) -> Any:
    """The program on arrays of one shape and dtype, or on an array and a number.

    wide: whether float64 is served.

    What `elementwise.fused` would find out about any arrays is known here; asking would cost as
    much as NumPy takes for thousands of elements.
    """
    x, kinds = arrays[0], ("full",) * len(arrays)
    if len(arrays) > 1:
        if arrays[1].__class__ in (int, float) and isinstance(x, np.ndarray):
            arrays, kinds = (x, _one(arrays[1], x)), ("full", "value")
        elif not all(_alike(a, x) for a in arrays):
            return NotImplemented
    single = x.dtype == np.float32
    if not (single or (wide and x.dtype == np.float64)) or not x.size or not x.flags.c_contiguous:
        return NotImplemented
    out = np.empty(x.shape, x.dtype) if out is None else out
    if not _alike(out, x) or not out.flags.c_contiguous:
        return NotImplemented
    places, target = [address_of(a) for a in arrays], address_of(out)
    alias = (places.index(target) if target in places else -1,)
    types = (x.dtype.name,) * (len(arrays) + 1)
    block, source = _compiled(program, (len(program) - 1,), kinds, alias, types)
    table = np.array([1, x.size, *places, target], dtype=np.int64)
    return elementwise_call(Fused(block, source, table, (arrays, (out,))), 1, x.size)


def _one(number: float, x: Any) -> Any:
    """A number as an array of one, of x's type, as NumPy takes it.

    A number that is too large for the type becomes infinite, without a warning.
    """
    with np.errstate(over="ignore"):
        return np.array([number], x.dtype)


def _alike(a: Any, x: Any) -> bool:
    """Whether both are arrays, of one shape and dtype; a number is none."""
    arrays = isinstance(a, np.ndarray) and isinstance(x, np.ndarray)
    return arrays and a.shape == x.shape and a.dtype == x.dtype and a.flags.c_contiguous
