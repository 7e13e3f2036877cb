"""A batch of images from a set of uint8 ones: picked by index and made float32 in one pass.

    gather_images(images (N, H, W, C) uint8, index (B,) int64, low, high) -> float32 (B, H, W, C)
    out[b] = images[index[b]] / 255 * (high - low) + low

The bits are those of `tinygen.data.dataset.scaled`: a float32 division, then, unless the range is
(0, 1), a product and a sum with a rounding each.

It runs on one core unless `workers` says otherwise: the thread that prepares batches ahead shall
not take cores from the training step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray

from ..binding import kernel
from .runtime import Call, Table, floats, inline, native, number, uint8_pointer, word


@inline
def _scale(levels, values, width, low, scaled):  # type: ignore[no-untyped-def]
    """Two loops: in one, the compiler makes the product and the sum one operation."""
    for i in range(values.size):
        values[i] = np.float32(levels[i]) / np.float32(255) * width
    if scaled:
        for i in range(values.size):
            values[i] += low


GATHER = Table("images index out total count size low width scaled")


@native
def _gather(worker, workers, args):  # type: ignore[no-untyped-def]
    total, count, size = word(args, GATHER.total), word(args, GATHER.count), word(args, GATHER.size)
    levels = carray(uint8_pointer(word(args, GATHER.images)), total * size)
    out, scaled = floats(args, GATHER.out, count * size), word(args, GATHER.scaled)
    low, width = np.float32(number(args, GATHER.low)), np.float32(number(args, GATHER.width))
    for b in range(count * worker // workers, count * (worker + 1) // workers):
        at = word(word(args, GATHER.index), b)
        if at < 0:
            at += total
        values = out[b * size : (b + 1) * size]
        if at < 0 or at >= total:  # an index that changed after the call was bound
            values[:] = np.float32(np.nan)
        else:
            _scale(levels[at * size : (at + 1) * size], values, width, low, scaled)


@kernel
def gather_images(
    images: Any, index: Any, low: float, high: float, *, workers: int = 1, out: Any = None
) -> Any:
    """Raises IndexError for an index out of range; where a bound call meets one, NaN."""
    shape = (index.size, *images.shape[1:])
    if out is None:
        out = np.empty(shape, np.float32)
    if (
        images.dtype != np.uint8 or index.dtype != np.int64 or index.ndim != 1
        or out.dtype != np.float32 or out.shape != shape
        or not all(a.flags.c_contiguous for a in (images, index, out))
    ):  # fmt: skip
        return NotImplemented
    n = len(images)
    if index.size and not (-n <= index.min() and index.max() < n):
        raise IndexError(f"gather_images: an index of {index.min()} to {index.max()}, {n} images")
    low, high = float(low), float(high)
    size = images.size // n if n else 0
    scaled = (low, high) != (0.0, 1.0)  # else a product with 1, which changes nothing
    table = GATHER.fill(
        images=images, index=index, out=out, total=n, count=index.size, size=size, low=low,
        width=high - low, scaled=scaled,
    )  # fmt: skip
    return Call(_gather, table, out=out, workers=workers)
