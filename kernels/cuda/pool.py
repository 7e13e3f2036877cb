"""Pooling of images: pool.cuh on its arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .axes import floats, into
from .runtime import Call, Launch, Source, ctype, kernel, strides_of_a_grid

SOURCE = Source("pool.cuh")
INSTANCES = tuple(
    f"{name}<{t}>"
    for name in ("max_pool", "max_pool_pick", "max_pool_back", "avg_pool", "avg_pool_back")
    for t in ("float", "double")
)
LARGEST = 2**30  # pixels, windows: they are counted in 32 bits


Shape = tuple[int, ...]


def _call(
    name: str, arrays: tuple[Any, ...], out: Any, shape: Shape, x: Shape, y: Shape, kernel: Any,
    window: Any,
) -> Any:  # fmt: skip
    """The call; x and y are the shapes of the images and of the pooled ones, `shape` out's."""
    like = arrays[0]
    served = all(floats(a) and a.dtype == like.dtype for a in arrays)
    out = into(out, like, shape, like.dtype) if served else None
    if out is None or not out.size or any(math.prod(s[:3]) > LARGEST for s in (x, y)):
        return NotImplemented
    (top, _), (left, _) = window.padding
    sizes = (*x, *y[1:3], *kernel, *window.stride, *window.dilation, top, left)
    args = (*arrays, out, *map(np.int32, sizes))
    grid, block = strides_of_a_grid(out.size)
    return Call([Launch(SOURCE, f"{name}<{ctype(like.dtype)}>", grid, block, args)], out)


def _pooled(x: Any, kernel: Any, window: Any) -> Shape:
    return (len(x), *window.outputs(x.shape[1:3], kernel), x.shape[3])


@kernel
def max_pool2d_nd(x: Any, *, kernel: Any, window: Any, out: Any = None) -> Any:
    """The largest pixel of each window."""
    y = _pooled(x, kernel, window)
    return _call("max_pool", (x,), out, y, x.shape, y, kernel, window)


@kernel
def max_pool2d_dx(y: Any, x: Any, *, kernel: Any, window: Any, out: Any = None) -> Any:
    """y added at the first maximum of each window of x."""
    return _call("max_pool_back", (y, x), out, x.shape, x.shape, y.shape, kernel, window)


@kernel
def max_pool2d_pick(v: Any, x: Any, *, kernel: Any, window: Any, out: Any = None) -> Any:
    """The element of v at the first maximum of each window of x."""
    y = _pooled(x, kernel, window)
    return _call("max_pool_pick", (v, x), out, y, x.shape, y, kernel, window)


@kernel
def avg_pool2d_nd(x: Any, *, kernel: Any, window: Any, out: Any = None) -> Any:
    """The mean of the pixels in each window."""
    y = _pooled(x, kernel, window)
    return _call("avg_pool", (x,), out, y, x.shape, y, kernel, window)


@kernel
def avg_pool2d_dx(y: Any, *, size: Any, kernel: Any, window: Any, out: Any = None) -> Any:
    """y given in equal parts to the pixels of each window."""
    x = (len(y), *size, y.shape[3])
    return _call("avg_pool_back", (y,), out, x, x, y.shape, kernel, window)
