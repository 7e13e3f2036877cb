"""An array as rows or columns, as the kernels for axes see it, and the results of reductions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def normal(axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes as a tuple of numbers >= 0."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def split(x: Any, axes: tuple[int, ...]) -> tuple[str, int, int] | None:
    """("rows" or "columns", rows, columns) of the matrix that x is to a sum over `axes`.

    With "rows" each row is a sum, with "columns" each column. None for axes in the middle, and for
    arrays that the kernels do not take; axes of size 1 do not matter.
    """
    served = x.dtype in (np.float32, np.float64) and x.flags.c_contiguous and x.size
    real = [a for a in range(x.ndim) if x.shape[a] != 1]
    gone = [a for a in real if a in axes]
    if not served or not gone:
        return None
    n = math.prod(x.shape[a] for a in gone)
    if gone == real[-len(gone) :]:
        return "rows", x.size // n, n
    if gone == real[: len(gone)]:
        return "columns", n, x.size // n
    return None


def reduced(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """The shape that a reduction over `axes` leaves."""
    kept = [1 if a in axes else n for a, n in enumerate(shape)]
    return tuple(n for a, n in enumerate(kept) if keepdims or a not in axes)


def into(out: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """`out`, or without it a new array; None if `out` cannot take the result."""
    if out is None:
        return np.empty(shape, dtype)
    return out if out.dtype == dtype and out.shape == shape and out.flags.c_contiguous else None
