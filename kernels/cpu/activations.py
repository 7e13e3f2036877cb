"""Elementwise functions outside a plan: each a generated loop of one to five lines on all cores.

The loops are those of elementwise.py on the functions of maths.py, so that a function has the same
bits here and in a plan, which fuses it with its neighbours and takes nothing from this file. An
array of any shape is one row, and must be contiguous.

Below `eager_from` elements NumPy is done before the call is bound, which takes as long as its exp
of 20,000 elements. The numbers were measured on two free cores. NumPy's exp and log are vector code
as fast as ours, its tanh twice as fast: there a second core decides, and only on large arrays.
float64 is served where several passes of NumPy become one without an exponential; ours is the C
library's, an element at a time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..binding import kernel
from .elementwise import Fused, _compiled, elementwise_call
from .runtime import address_of

_X = (("in", 0),)
SILU = (("sigmoid", _X, ()), ("mul", (("in", 0), ("line", 0)), ()))
GELU = (
    ("mul", (0.5, ("in", 0)), ()),
    ("mul", (("in", 0), math.sqrt(0.5)), ()),
    ("erf", (("line", 1),), ()),
    ("add", (1.0, ("line", 2)), ()),
    ("mul", (("line", 0), ("line", 3)), ()),
)


_TYPES = {np.dtype(t): (t, t) for t in ("float32", "float64")}


def _bind(program: tuple[Any, ...], x: Any, out: Any, wide: bool = True) -> Any:
    """The program on x; `wide` says whether float64 is served.

    What `elementwise.fused` would find out about any arrays is known here; asking would cost as
    much as NumPy takes for thousands of elements.
    """
    served = x.dtype == np.float32 or (wide and x.dtype == np.float64)
    if not served or not x.size or not x.flags.c_contiguous:
        return NotImplemented
    out = np.empty(x.shape, x.dtype) if out is None else out
    if out.shape != x.shape or out.dtype != x.dtype or not out.flags.c_contiguous:
        return NotImplemented
    place, target = address_of(x), address_of(out)
    alias = (0 if place == target else -1,)
    last = (len(program) - 1,)
    block, source = _compiled(program, last, ("full",), alias, _TYPES[x.dtype])
    table = np.array([1, x.size, place, target], dtype=np.int64)
    return elementwise_call(Fused(block, source, table, ((x,), (out,))), 1, x.size)


def _one(name: str, **static: float) -> tuple[Any, ...]:
    return ((name, _X, tuple(static.items())),)


@kernel(eager_from=262_144)
def exp(x: Any, *, out: Any = None) -> Any:
    return _bind(_one("exp"), x, out, wide=False)


@kernel(eager_from=524_288)
def log(x: Any, *, out: Any = None) -> Any:
    return _bind(_one("log"), x, out, wide=False)


@kernel(eager_from=4_194_304)
def tanh(x: Any, *, out: Any = None) -> Any:
    return _bind(_one("tanh"), x, out, wide=False)


@kernel(eager_from=256)
def erf(x: Any, *, out: Any = None) -> Any:
    return _bind(_one("erf"), x, out)


@kernel(eager_from=16_384)
def sigmoid(x: Any, *, out: Any = None) -> Any:
    return _bind(_one("sigmoid"), x, out, wide=False)


@kernel(eager_from=16_384)
def softplus(x: Any, *, out: Any = None) -> Any:
    return _bind(_one("softplus"), x, out, wide=False)


@kernel(eager_from=131_072)
def relu(x: Any, *, out: Any = None) -> Any:
    return _bind(_one("relu"), x, out)


@kernel(eager_from=32_768)
def leaky_relu(x: Any, *, slope: float = 0.01, out: Any = None) -> Any:
    return _bind(_one("leaky_relu", slope=float(slope)), x, out)


@kernel(eager_from=4_096)
def silu(x: Any, *, out: Any = None) -> Any:
    return _bind(SILU, x, out, wide=False)


@kernel(eager_from=256)
def gelu(x: Any, *, out: Any = None) -> Any:
    return _bind(GELU, x, out)
