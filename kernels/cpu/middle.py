"""Sums and means over axes in the middle: (n, p, c) -> (n, c), all pixels of each image.

Rows of c numbers are added as vectors, TOGETHER of them in the type of x and these in float64, in
order. Workers share samples, or channels too where samples are few; each sum is added by one
worker, so results are the same bits for any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .bands import sum_rows, whole
from .runtime import (
    Call,
    Table,
    array,
    both,
    doubles,
    inline,
    number,
    size_of,
    wide_vectors,
    word,
    workers_for,
)

TOGETHER = 64  # rows that are added without float64


@inline
def row_sums(kind, rows, p, width, sums, fast):  # type: ignore[no-untyped-def]
    """sums = the sum of p rows, `width` apart; `fast` is scratch of their type, as long as sums."""
    wide_vectors()
    count, size = sums.size, size_of(kind)
    done = whole(kind, count)
    for c in range(count):
        sums[c] = 0.0
    for start in range(0, p, TOGETHER):
        end = min(start + TOGETHER, p)
        here = rows.ctypes.data + start * width * size
        sum_rows(kind, count, width * size, end - start, here, fast.ctypes.data)
        for c in range(done, count):
            fast[c] = 0
        for j in range(start if done < count else end, end):
            row = rows[j * width : j * width + count]
            for c in range(done, count):
                fast[c] += row[c]
        for c in range(count):
            sums[c] += fast[c]


MIDDLE = Table("x out n p width apart strips divisor wide narrow")


@both
def _samples(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A strip of a sample is a piece of work; `wide` and `narrow` are each worker's scratch."""
    n, p, width = word(args, MIDDLE.n), word(args, MIDDLE.p), word(args, MIDDLE.width)
    strips, divisor = word(args, MIDDLE.strips), number(args, MIDDLE.divisor)
    apart, out = word(args, MIDDLE.apart), array(kind, args, MIDDLE.out, n * width)
    x = array(kind, args, MIDDLE.x, (n * p - 1) * apart + width)
    wide = doubles(args, MIDDLE.wide, workers * width)
    narrow = array(kind, args, MIDDLE.narrow, workers * width)
    for piece in range(n * strips * worker // workers, n * strips * (worker + 1) // workers):
        i = piece // strips
        c0 = width * (piece - i * strips) // strips
        count = width * (piece - i * strips + 1) // strips - c0
        sums, fast = wide[worker * width :][:count], narrow[worker * width :][:count]
        row_sums(kind, x[i * p * apart + c0 :], p, apart, sums, fast)
        to = out[i * width + c0 :][:count]
        for c in range(count):
            to[c] = sums[c] / divisor


def parts(shape: tuple[int, ...], gone: Any) -> list[int]:
    """Sizes of the runs of axes that are kept, gone, kept, gone, ...; the first may be 1."""
    sizes = [1]
    for a, n in enumerate(shape):
        if n == 1:
            continue
        if (a in gone) == bool(len(sizes) % 2):
            sizes.append(1)
        sizes[-1] *= n
    return sizes


def apart_of(x: Any, width: int) -> int | None:
    """How many numbers apart the rows of `width` of x are; None if they are not equally far."""
    axes = [(n, t) for n, t in zip(x.shape, x.strides, strict=True) if n != 1]
    expected = x.itemsize
    while axes and expected < width * x.itemsize:
        n, step = axes.pop()
        if step != expected:
            return None
        expected *= n
    apart = axes[-1][1] if axes else expected
    expected = apart
    for n, step in reversed(axes):
        if step != expected:
            return None
        expected *= n
    return apart // x.itemsize if apart >= width * x.itemsize and not apart % x.itemsize else None


def middle(x: Any, axes: tuple[int, ...], out: Any, divide: bool) -> Any:
    """The call that sums x over axes in the middle into `out`, or over leading axes where x is a
    part of another array, whose rows lie apart; NotImplemented for other axes."""
    sizes = parts(x.shape, axes)
    if len(sizes) != 3 or x.dtype not in (np.float32, np.float64) or not x.size:
        return NotImplemented
    n, p, width = sizes
    apart = apart_of(x, width)
    if apart is None:
        return NotImplemented
    workers = workers_for(x.size)
    strips = 1 if n >= workers else min(width, workers)
    workers = min(workers, n * strips)
    table = MIDDLE.fill(
        x=x, out=out, n=n, p=p, width=width, apart=apart, strips=strips,
        divisor=float(p if divide else 1), wide=np.empty(workers * width),
        narrow=np.empty(workers * width, x.dtype),
    )  # fmt: skip
    return Call(_samples[x.dtype], table, out=out, workers=workers)
