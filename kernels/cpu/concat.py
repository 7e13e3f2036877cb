"""Arrays side by side along an axis: each is a part of every row of the result.

    (96, 14, 14, 32) and (96, 14, 14, 32) along the last axis: 18816 rows of 32 + 32 numbers

Workers share the rows. Parts of other arrays are served where their rows are equally far apart.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..binding import kernel
from .middle import apart_of
from .panels import move
from .runtime import (
    Call,
    Table,
    address_of,
    both,
    inline,
    int64_pointer,
    pointer_of,
    size_of,
    word,
    workers_for,
)
from .vectors import VECTOR_BYTES

FEWEST = 16  # rows: with fewer of them, NumPy's copies are as fast
EAGER_FROM = 65_536  # elements of the first array

# `parts`: (address, numbers of a row, numbers from row to row) each.
CONCAT = Table("out rows width count parts")


@inline
def _copy(kind, source, to, numbers):  # type: ignore[no-untyped-def]
    """So many numbers: whole vectors, then the last few."""
    size = size_of(kind)
    end = numbers * size
    done = end // VECTOR_BYTES * VECTOR_BYTES
    for at in range(0, done, VECTOR_BYTES):
        move(kind, source + at, to + at)
    for at in range(done, end, size):
        pointer_of(kind, to + at)[0] = pointer_of(kind, source + at)[0]


@both
def _concat(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    rows, width, size = word(args, CONCAT.rows), word(args, CONCAT.width), size_of(kind)
    parts, to = int64_pointer(word(args, CONCAT.parts)), word(args, CONCAT.out)
    for j in range(word(args, CONCAT.count)):
        source, here, apart = parts[3 * j], parts[3 * j + 1], parts[3 * j + 2]
        for r in range(rows * worker // workers, rows * (worker + 1) // workers):
            _copy(kind, source + r * apart * size, to + r * width * size, here)
        to += here * size


@kernel(eager_from=EAGER_FROM)
def concat(*xs: Any, axis: int = 0, out: Any = None) -> Any:
    first = xs[0]
    axis %= first.ndim
    rows = math.prod(first.shape[:axis])
    widths = [math.prod(x.shape[axis:]) for x in xs]
    shape = (*first.shape[:axis], sum(x.shape[axis] for x in xs), *first.shape[axis + 1 :])
    kind = first.dtype
    if kind not in (np.float32, np.float64) or any(x.dtype != kind for x in xs):
        return NotImplemented
    aparts = [apart_of(x, width) if x.size else None for x, width in zip(xs, widths, strict=True)]
    if rows < FEWEST or None in aparts:
        return NotImplemented
    out = np.empty(shape, kind) if out is None else out
    if out.shape != shape or not out.flags.c_contiguous or out.dtype != kind:
        return NotImplemented
    starts = [address_of(x) for x in xs]
    parts = np.array([*zip(starts, widths, aparts, strict=True)], np.int64)
    table = CONCAT.fill(out=out, rows=rows, width=sum(widths), count=len(xs), parts=parts)
    return Call(_concat[kind], table, out=out, workers=workers_for(out.size), keep=xs)
