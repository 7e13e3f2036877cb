"""Blocks of pixels, repeated, added up or rearranged into channels: pixels.cuh on its arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .axes import floats, into
from .runtime import Call, Launch, Source, ctype, kernel, strides_of_a_grid

SOURCE = Source("pixels.cuh")
INSTANCES = tuple(
    f"{name}<{t}>"
    for name in ("repeated", "added", "pixels_moved", "channels_moved")
    for t in ("float", "double")
)  # fmt: skip
MOST = 2**31  # elements: they are counted in 32 bits

Pair = tuple[int, int]


def _apart(x: Any) -> int:
    """How many numbers it is from pixel to pixel, where all are equally far; else 0."""
    if x.dtype not in (np.float32, np.float64) or not x.size:
        return 0
    _, h, w, c = x.shape
    step: int = x.strides[2] if w > 1 else x.strides[1] if h > 1 else c * x.itemsize
    wanted = (h * w * step, w * step, step, x.itemsize)
    pairs = zip(x.shape, x.strides, wanted, strict=True)
    even = all(t == u for n, t, u in pairs if n > 1) and step >= c * x.itemsize
    return step // x.itemsize if even and step % x.itemsize == 0 else 0


def _call(name: str, x: Any, shape: tuple[int, ...], w: int, c: int, block: Pair, out: Any) -> Any:
    """w: columns of the small images; c: channels of a pixel of the large ones."""
    served = floats(x) and max(x.size, math.prod(shape)) < MOST
    out = into(out, x, shape, x.dtype) if served else None
    if out is None:
        return NotImplemented
    args = (x, out, *map(np.int32, (out.size, w, c, *block)))
    return Call([Launch(SOURCE, f"{name}<{ctype(x.dtype)}>", *strides_of_a_grid(out.size), args)],
                out)  # fmt: skip


@kernel
def pixels_repeated(x: Any, *, block: Pair, out: Any = None) -> Any:
    """Each pixel as a block."""
    (n, h, w, c), (a, b) = x.shape, block
    return _call("repeated", x, (n, a * h, b * w, c), w, c, block, out)


@kernel
def pixels_added(x: Any, *, block: Pair, out: Any = None) -> Any:
    """The sum of each block."""
    (n, h, w, c), (a, b) = x.shape, block
    shape, apart = (n, h // a, w // b, c), _apart(x)
    out = into(out, x, shape, x.dtype) if apart and x.size < MOST else None
    if out is None:
        return NotImplemented
    numbers = (*map(np.int32, (out.size, w // b, c, a, b)), np.int64(apart))
    name = f"added<{ctype(x.dtype)}>"
    return Call([Launch(SOURCE, name, *strides_of_a_grid(out.size), (x, out, *numbers))], out)


@kernel
def pixels_to_channels(x: Any, *, block: Pair, out: Any = None) -> Any:
    """A block's pixels side by side."""
    (n, h, w, c), (a, b) = x.shape, block
    return _call("pixels_moved", x, (n, h // a, w // b, a * b * c), w // b, c, block, out)


@kernel
def channels_to_pixels(x: Any, *, block: Pair, out: Any = None) -> Any:
    """The other way."""
    (n, h, w, c), (a, b) = x.shape, block
    c //= a * b
    return _call("channels_moved", x, (n, a * h, b * w, c), w, c, block, out)
