"""Elementwise operations outside a plan: each a generated loop of a few lines.

The loops are those of elementwise.py, so that a function has the same bits here and in a plan,
which fuses it with its neighbours and takes nothing from this file. Which operations have one is in
../pointwise.py. Arrays of any shape are one row, and must be dense.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..pointwise import Program, served
from .elementwise import Fused, elementwise_call, name_of, source_of
from .runtime import GeneratedSource, Kernel, dense, device_of, devices


def made(name: str, program: Callable[..., Program]) -> Kernel:
    """The kernel of an operation; `program` gives its lines for options."""

    def bind(*arrays: Any, out: Any = None, **static: Any) -> Any:
        return _bind(served(name, program(**static)), arrays, out)

    bind.__name__ = bind.__qualname__ = name
    return Kernel(bind)


def _source(program: Program, kinds: tuple[str, ...], dtype: str) -> GeneratedSource:
    types = (dtype,) * (len(kinds) + 1)
    return source_of(program, (len(program) - 1,), kinds, types, False, repr(program))


def instances(programs: Iterable[Program]) -> list[tuple[GeneratedSource, str]]:
    """The kernels of these programs on full arrays: the source of each, and its name."""
    made = []
    for program in programs:
        count = 1 + max(
            i for _, terms, _ in program for where, i in _places(terms) if where == "in"
        )
        made += [_source(program, ("full",) * count, t) for t in ("float32", "float64")]
    return [(source, name_of(source)) for source in made]


def _places(operands: tuple[Any, ...]) -> list[tuple[str, int]]:
    return [v for v in operands if isinstance(v, tuple)]


def _bind(program: Program, arrays: tuple[Any, ...], out: Any) -> Any:
    """The program on arrays of the first one's shape and dtype; 0-d ones are spread."""
    if any(type(a) not in devices for a in arrays):
        return NotImplemented  # a number
    x = arrays[0]
    shape, dtype = x.shape, x.dtype
    if dtype not in (np.float32, np.float64) or not dense(*arrays) or x.size >= 2**31:
        return NotImplemented
    if any(a.dtype != dtype or (a.shape != shape and a.ndim) for a in arrays):
        return NotImplemented
    out = device_of(x).empty(shape, dtype) if out is None else out
    if out.shape != shape or out.dtype != dtype or not dense(out):
        return NotImplemented
    # What `fused` would find out about any arrays is known here.
    kinds = tuple("full" if a.size == x.size else "value" for a in arrays)
    made = Fused(_source(program, kinds, dtype.name), list(arrays), [out])
    return elementwise_call(made, 1, x.size)
