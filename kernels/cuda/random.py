"""Random draws, and dropout, to the bits of their references: random.cuh on its arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .axes import into
from .runtime import (
    Call,
    Launch,
    Source,
    blocks,
    ctype,
    dense,
    kernel,
    strides_of_a_grid,
)  # fmt: skip

SOURCE = Source("random.cuh", fused=False)
_OF_BOTH = [f"{n}<{t}>" for n in ("random_uniform", "random_normal", "dropout")
            for t in ("float", "double")]  # fmt: skip
INSTANCES = ("random_words", "random_bernoulli", "random_integers", "advance", *_OF_BOTH)


def limit_of(p: float) -> int:
    """How many of the 2^24 values of `uniform` are below p."""
    return min(max(math.ceil(p * 2.0**24), 0), 1 << 24)


def _counters(*arrays: Any) -> bool:
    """Whether these are counters of 64 bits, one each."""
    return all(a.dtype == np.uint64 and a.size == 1 for a in arrays)


def _call(
    name: str, key: Any, base: Any, offset: int, shape: Any, dtype: Any, out: Any,
    *numbers: Any, x: Any = None,
) -> Any:  # fmt: skip
    """One launch; the kernel's arguments are out [x] key base offset [numbers] n."""
    if not _counters(key, base) or not math.prod(shape):
        return NotImplemented
    out = into(out, base, tuple(shape), dtype)
    if out is None:
        return NotImplemented
    grid, block = strides_of_a_grid(blocks(out.size, 4))
    first = (out,) if x is None else (out, x)
    args = (*first, key, base, np.uint64(offset % 2**64), *numbers, np.int64(out.size))
    return Call([Launch(SOURCE, name, grid, block, args)], out)


@kernel
def random_words(key: Any, base: Any, *, offset: int, shape: Any, out: Any = None) -> Any:
    """The 32-bit words themselves."""
    return _call("random_words", key, base, offset, shape, np.dtype(np.uint32), out)


@kernel
def random_uniform(
    key: Any, base: Any, *, offset: int, shape: Any, dtype: str, out: Any = None
) -> Any:
    """Multiples of 2^-24 in [0, 1)."""
    name = f"random_uniform<{ctype(dtype)}>"
    return _call(name, key, base, offset, shape, np.dtype(dtype), out)


@kernel
def random_normal(
    key: Any, base: Any, *, offset: int, shape: Any, dtype: str, out: Any = None
) -> Any:
    """The standard normal quantile of each word."""
    name = f"random_normal<{ctype(dtype)}>"
    return _call(name, key, base, offset, shape, np.dtype(dtype), out)


@kernel
def random_bernoulli(
    key: Any, base: Any, *, offset: int, shape: Any, p: float, out: Any = None
) -> Any:
    """Uniform < p."""
    limit = np.uint32(limit_of(p))
    return _call("random_bernoulli", key, base, offset, shape, np.dtype(bool), out, limit)


@kernel
def random_integers(
    key: Any, base: Any, *, offset: int, shape: Any, high: int, out: Any = None
) -> Any:
    """Whole numbers in [0, high)."""
    if not 1 <= high <= 2**32:
        return NotImplemented
    number = np.uint64(high)
    return _call("random_integers", key, base, offset, shape, np.dtype(np.int64), out, number)


@kernel
def dropout(x: Any, key: Any, base: Any, *, offset: int, p: float, out: Any = None) -> Any:
    """x / (1 - p) where uniform >= p, else 0; `out` may be x."""
    if x.dtype not in (np.float32, np.float64) or not dense(x):
        return NotImplemented
    numbers = (np.uint32(limit_of(p)), x.dtype.type(1.0 - p))
    name = f"dropout<{ctype(x.dtype)}>"
    return _call(name, key, base, offset, x.shape, x.dtype, out, *numbers, x=x)


@kernel
def advance(base: Any, *, by: int) -> Any:
    """base += by, in place."""
    if not _counters(base):
        return NotImplemented
    launch = Launch(SOURCE, "advance", (1,), (1,), (base, np.uint64(by % 2**64)))
    return Call([launch], base)
