"""An array as (outer, n, inner), as the kernels for axes see it, and the results of reductions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .runtime import dense, device_of, devices

Axis = int | tuple[int, ...] | None


def floats(x: Any) -> bool:
    """Whether x is an array that the kernels take: float32 or float64, dense."""
    return x.dtype in (np.float32, np.float64) and dense(x)


def alike(*arrays: Any) -> bool:
    """Whether these are arrays of the device that the kernels take, all of one type."""
    return all(type(a) in devices and floats(a) and a.dtype == arrays[0].dtype for a in arrays)


def normal(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes as a tuple of numbers >= 0."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def split(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, int, int] | None:
    """(outer, n, inner), n over `axes`; None if they are apart, or reduce nothing.

    Axes of size 1 do not matter.
    """
    real = [a for a, n in enumerate(shape) if n != 1]
    gone = [a for a in real if a in axes]
    if not gone or real.index(gone[-1]) - real.index(gone[0]) != len(gone) - 1:
        return None
    outer, n = math.prod(shape[: gone[0]]), math.prod(shape[a] for a in gone)
    return outer, n, math.prod(shape) // (outer * n)


def reduced(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    """The shape that a reduction over `axes` leaves."""
    kept = [1 if a in axes else n for a, n in enumerate(shape)]
    return tuple(n for a, n in enumerate(kept) if keepdims or a not in axes)


def into(out: Any, like: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """`out`, or without it a new array where `like` is; None if `out` cannot take the result."""
    if out is None:
        return device_of(like).empty(shape, dtype)
    fits = out.dtype == dtype and out.shape == shape and out.flags.c_contiguous
    return out if fits else None


def into_each(outs: Any, like: Any, shapes: tuple[Any, ...]) -> Any:
    """`outs` themselves, by which a plan knows them, or without them new arrays of those shapes, of
    the type of `like`; None if one of `outs` cannot take its result."""
    if outs is None:
        return tuple(into(None, like, shape, like.dtype) for shape in shapes)
    fit = (into(o, like, s, like.dtype) is o for o, s in zip(outs, shapes, strict=True))
    return outs if all(fit) else None


def power_of_two(n: int) -> int:
    """The least power of two that is n or more."""
    return 1 << (n - 1).bit_length()


def lanes(n: int) -> int:
    """How many lanes of a warp share n things, one each: a power of two, at most all 32."""
    return min(32, power_of_two(n))
