"""Normalisation of contiguous arrays: y = (x - mean) / sqrt(var + eps) weight + bias, and back.

x is read as (n, p, g, k): moments over p and k, of each of n samples and g groups of k channels.
All but the channels may be 1:

    layer  (n, 1, 1, k)    group  (n, p, g, k)    instance  (n, p, g, 1)    batch  (1, p, g, 1)

From plain to fast:

1. The formula as array operations: a dozen passes over memory, forward and back 30.
2. A sample at a time: its p rows stay in a core's cache, so that further passes are nearly free.
3. Sums by channel, which are vectors, as rows pass; groups are added up from those at the end. The
   variance is that of x - mean, in a pass of its own: squares of x alone would cancel.

Forward, that is three passes: mean, var, y. Back, with d = x - mean, s = sqrt(var + eps),
h = g weight, three as well: mean; sums of d^2, g and g d; then dx = (h - mean(h)) / s -
d mean(h d) / s^3. The gradients of weight and bias are sums over samples: of fixed blocks of them,
and then over the blocks in order, so that results are the same bits for any number of threads.

Rows are added in float32 (float64 for such arrays), TOGETHER at a time, and these in float64.
Workers share samples, or groups too where samples are few.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..binding import kernel
from .middle import TOGETHER, parts, row_sums
from .reduce import SUM, _run
from .runtime import (
    Call,
    doubles,
    floats,
    inline,
    native,
    number,
    wide_vectors,
    word,
    workers_for,
)

BLOCKS = 64  # of samples, whose gradients of weight and bias are added apart

# Table: n p g k strips samples eps x weight bias-or-g y-or-dx wide narrow | partial dweight dbias
# `samples` is how many a block has. `wide` and `narrow` are each worker's scratch.
N, P, G, K, STRIPS, SAMPLES, EPS, X, WEIGHT, BIAS, Y, WIDE, NARROW, PARTIAL, DW, DB = range(16)
COTANGENT = BIAS
WIDE_ROWS, NARROW_ROWS = 3, 6  # of g k numbers each: float64, and of the type of x


# ---- short arrays: indices from 0, which vector code needs ---------------------------------------


@inline
def _fill(to, value):  # type: ignore[no-untyped-def]
    for c in range(to.size):
        to[c] = value


@inline
def _times(x, value, to):  # type: ignore[no-untyped-def]
    for c in range(to.size):
        to[c] = x[c] * value


@inline
def _add(x, value, to):  # type: ignore[no-untyped-def]
    for c in range(to.size):
        to[c] += x[c] * value


@inline
def _by(x, y, to):  # type: ignore[no-untyped-def]
    for c in range(to.size):
        to[c] = x[c] * y[c]


# ---- passes over a sample ------------------------------------------------------------------------
# In what follows `rows` starts at the first channel of a piece of work, and rows are `width` apart;
# sums, mean and all other arrays hold a number for each channel of the piece.


@inline
def _means(rows, p, width, k, sums, fast, mean):  # type: ignore[no-untyped-def]
    """mean = that of the channel's group in a sample of p rows."""
    row_sums(rows, p, width, sums, fast)
    for c in range(0, mean.size, k):
        _fill(mean[c : c + k], _run(SUM, sums[c : c + k]) / (p * k))


@inline
def _squares(rows, p, width, sums, fast, mean):  # type: ignore[no-untyped-def]
    """sums = sum of (x - mean)^2."""
    wide_vectors()
    count = mean.size
    for c in range(count):
        sums[c] = 0.0
    for start in range(0, p, TOGETHER):
        for c in range(count):
            fast[c] = 0
        for j in range(start, min(start + TOGETHER, p)):
            row = rows[j * width : j * width + count]
            for c in range(count):
                d = row[c] - mean[c]
                fast[c] += d * d
        for c in range(count):
            sums[c] += fast[c]


@inline
def _products(rows, above, p, width, sums, g_fast, d_fast, mean):  # type: ignore[no-untyped-def]
    """sums[0], sums[1] = sum of g, sum of g (x - mean)."""
    wide_vectors()
    count = mean.size
    g_sums, d_sums = sums[0], sums[1]
    for c in range(count):
        g_sums[c] = 0.0
        d_sums[c] = 0.0
    for start in range(0, p, TOGETHER):
        for c in range(count):
            g_fast[c] = 0
            d_fast[c] = 0
        for j in range(start, min(start + TOGETHER, p)):
            row, g = rows[j * width : j * width + count], above[j * width : j * width + count]
            for c in range(count):
                g_fast[c] += g[c]
                d_fast[c] += g[c] * (row[c] - mean[c])
        for c in range(count):
            g_sums[c] += g_fast[c]
            d_sums[c] += d_fast[c]


@inline
def _scaled(rows, out, p, width, mean, scale, bias):  # type: ignore[no-untyped-def]
    """y = (x - mean) scale + bias."""
    wide_vectors()
    count = mean.size
    for j in range(p):
        row, to = rows[j * width : j * width + count], out[j * width : j * width + count]
        for c in range(count):
            to[c] = (row[c] - mean[c]) * scale[c] + bias[c]


@inline
def _turned(rows, above, out, p, width, mean, by_g, by_d, plus):  # type: ignore[no-untyped-def]
    """dx = g by_g + (x - mean) by_d + plus."""
    wide_vectors()
    count = mean.size
    for j in range(p):
        row, g = rows[j * width : j * width + count], above[j * width : j * width + count]
        to = out[j * width : j * width + count]
        for c in range(count):
            to[c] = g[c] * by_g[c] + ((row[c] - mean[c]) * by_d[c] + plus[c])


@inline
def _share(array, rows, worker, width, count):  # type: ignore[no-untyped-def]
    """A worker's scratch: so many rows of `count` numbers."""
    own = array[worker * rows * width :]
    return own[: rows * count].reshape(rows, count)


@inline
def _forward(worker, workers, args, x, weight, bias, y, wide, narrow):  # type: ignore[no-untyped-def]
    p, g, k, strips = word(args, P), word(args, G), word(args, K), word(args, STRIPS)
    width, eps = g * k, number(args, EPS)
    pieces = word(args, N) * strips
    for piece in range(pieces * worker // workers, pieces * (worker + 1) // workers):
        i = piece // strips
        strip = piece - i * strips
        c0, c1 = g * strip // strips * k, g * (strip + 1) // strips * k
        sums = _share(wide, WIDE_ROWS, worker, width, c1 - c0)[0]
        own = _share(narrow, NARROW_ROWS, worker, width, c1 - c0)
        mean, scale, fast = own[0], own[1], own[2]
        rows, out = x[i * p * width + c0 :], y[i * p * width + c0 :]
        _means(rows, p, width, k, sums, fast, mean)
        _squares(rows, p, width, sums, fast, mean)
        for c in range(0, c1 - c0, k):
            r = 1.0 / math.sqrt(_run(SUM, sums[c : c + k]) / (p * k) + eps)
            _times(weight[c0 + c : c0 + c + k], r, scale[c : c + k])
        _scaled(rows, out, p, width, mean, scale, bias[c0:c1])


@inline
def _backward(worker, workers, args, x, weight, above, dx, wide, narrow, partial):  # type: ignore[no-untyped-def]
    n, p, g, k, strips = (
        word(args, N), word(args, P), word(args, G), word(args, K), word(args, STRIPS),
    )  # fmt: skip
    width, eps, samples = g * k, number(args, EPS), word(args, SAMPLES)
    pieces = (n + samples - 1) // samples * strips
    for piece in range(pieces * worker // workers, pieces * (worker + 1) // workers):
        block = piece // strips
        strip = piece - block * strips
        c0, c1 = g * strip // strips * k, g * (strip + 1) // strips * k
        sums = _share(wide, WIDE_ROWS, worker, width, c1 - c0)
        own = _share(narrow, NARROW_ROWS, worker, width, c1 - c0)
        mean, by_g, by_d, plus = own[2], own[3], own[4], own[5]
        dweight = partial[2 * block * width + c0 : 2 * block * width + c1]
        dbias = partial[(2 * block + 1) * width + c0 : (2 * block + 1) * width + c1]
        for c in range(c1 - c0):
            dweight[c] = 0.0
            dbias[c] = 0.0
        for i in range(block * samples, min((block + 1) * samples, n)):
            start = i * p * width + c0
            rows, cotangent = x[start:], above[start:]
            _means(rows, p, width, k, sums[2], own[0], mean)
            _squares(rows, p, width, sums[2], own[0], mean)
            _products(rows, cotangent, p, width, sums, own[0], own[1], mean)
            for c in range(0, c1 - c0, k):
                w, d2 = weight[c0 + c : c0 + c + k], sums[2][c : c + k]
                g_sums, d_sums = sums[0][c : c + k], sums[1][c : c + k]
                r = 1.0 / math.sqrt(_run(SUM, d2) / (p * k) + eps)
                _add(g_sums, 1.0, dbias[c : c + k])
                _add(d_sums, r, dweight[c : c + k])
                _by(g_sums, w, d2)
                h = _run(SUM, d2) / (p * k)
                _by(d_sums, w, d2)
                hd = _run(SUM, d2) / (p * k)
                _times(w, r, by_g[c : c + k])
                _fill(by_d[c : c + k], -hd * r * r * r)
                _fill(plus[c : c + k], -h * r)
            _turned(rows, cotangent, dx[start:], p, width, mean, by_g, by_d, plus)


@inline
def _end(worker, workers, args, partial, dweight, dbias):  # type: ignore[no-untyped-def]
    """The blocks' gradients of weight and bias, added in order."""
    width = word(args, G) * word(args, K)
    blocks = (word(args, N) + word(args, SAMPLES) - 1) // word(args, SAMPLES)
    for c in range(width):
        a, b = 0.0, 0.0
        for block in range(blocks):
            a += partial[2 * block * width + c]
            b += partial[(2 * block + 1) * width + c]
        dweight[c] = a
        dbias[c] = b


# ---- 32 and 64 bits ------------------------------------------------------------------------------


@inline
def _sizes(args):  # type: ignore[no-untyped-def]
    """Elements of x, of weight, of the partial gradients."""
    width = word(args, G) * word(args, K)
    blocks = (word(args, N) + word(args, SAMPLES) - 1) // word(args, SAMPLES)
    return word(args, N) * word(args, P) * width, width, 2 * blocks * width


@native
def _forward32(worker, workers, args):  # type: ignore[no-untyped-def]
    a, b, _ = _sizes(args)
    wide = doubles(args, WIDE, workers * WIDE_ROWS * b)
    narrow = floats(args, NARROW, workers * NARROW_ROWS * b)
    _forward(
        worker, workers, args, floats(args, X, a), floats(args, WEIGHT, b), floats(args, BIAS, b),
        floats(args, Y, a), wide, narrow,
    )  # fmt: skip


@native
def _forward64(worker, workers, args):  # type: ignore[no-untyped-def]
    a, b, _ = _sizes(args)
    wide = doubles(args, WIDE, workers * WIDE_ROWS * b)
    narrow = doubles(args, NARROW, workers * NARROW_ROWS * b)
    _forward(
        worker, workers, args, doubles(args, X, a), doubles(args, WEIGHT, b),
        doubles(args, BIAS, b), doubles(args, Y, a), wide, narrow,
    )  # fmt: skip


@native
def _backward32(worker, workers, args):  # type: ignore[no-untyped-def]
    a, b, c = _sizes(args)
    wide = doubles(args, WIDE, workers * WIDE_ROWS * b)
    narrow = floats(args, NARROW, workers * NARROW_ROWS * b)
    _backward(
        worker, workers, args, floats(args, X, a), floats(args, WEIGHT, b),
        floats(args, COTANGENT, a), floats(args, Y, a), wide, narrow, doubles(args, PARTIAL, c),
    )  # fmt: skip


@native
def _backward64(worker, workers, args):  # type: ignore[no-untyped-def]
    a, b, c = _sizes(args)
    wide = doubles(args, WIDE, workers * WIDE_ROWS * b)
    narrow = doubles(args, NARROW, workers * NARROW_ROWS * b)
    _backward(
        worker, workers, args, doubles(args, X, a), doubles(args, WEIGHT, b),
        doubles(args, COTANGENT, a), doubles(args, Y, a), wide, narrow, doubles(args, PARTIAL, c),
    )  # fmt: skip


@native
def _end32(worker, workers, args):  # type: ignore[no-untyped-def]
    _, b, c = _sizes(args)
    partial = doubles(args, PARTIAL, c)
    _end(worker, workers, args, partial, floats(args, DW, b), floats(args, DB, b))


@native
def _end64(worker, workers, args):  # type: ignore[no-untyped-def]
    _, b, c = _sizes(args)
    partial = doubles(args, PARTIAL, c)
    _end(worker, workers, args, partial, doubles(args, DW, b), doubles(args, DB, b))


# ---- the operations ------------------------------------------------------------------------------


def _parts(shape: tuple[int, ...], axis: tuple[int, ...]) -> list[int] | None:
    """n, p, g, k: sizes of axes that are kept, gone, kept, gone; None for another order."""
    sizes = parts(shape, {a % len(shape) for a in axis})
    if len(sizes) == 2:  # the last axes are gone: k, where sums run along memory
        return [sizes[0], 1, 1, sizes[1]]
    return [*sizes, *[1] * (4 - len(sizes))] if len(sizes) < 5 else None


def _split(x: Any, weight: Any, axis: tuple[int, ...], *others: Any) -> list[int] | None:
    """The parts of x where all is as the kernels take it."""
    sizes = _parts(x.shape, axis)
    served = all(
        isinstance(a, np.ndarray) and a.dtype == x.dtype and a.flags.c_contiguous
        for a in (x, weight, *others)
    )
    if not served or sizes is None or not x.size or x.dtype not in (np.float32, np.float64):
        return None
    channels = math.prod(x.shape[len(x.shape) - weight.ndim :])  # that weight is spread over
    width = sizes[2] * sizes[3]
    return sizes if weight.size == width == channels else None


def _table(x: Any, sizes: list[int], eps: float) -> tuple[list[Any], list[Any], int]:
    """The first entries of the table, the scratch, and the number of workers."""
    n, _, g, k = sizes
    workers = workers_for(x.size)
    strips = min(g, 1 if n >= workers else workers)
    workers = min(workers, n * strips)
    scratch = [
        np.empty(workers * WIDE_ROWS * g * k),
        np.empty(workers * NARROW_ROWS * g * k, x.dtype),
    ]
    return [*sizes, strips, -(-n // BLOCKS), float(eps)], scratch, workers


def _fits(out: Any, like: Any) -> bool:
    return bool(out.shape == like.shape and out.dtype == like.dtype and out.flags.c_contiguous)


@kernel
def normalise(
    x: Any, weight: Any, bias: Any, *, axis: tuple[int, ...], eps: float, out: Any = None
) -> Any:
    sizes = _split(x, weight, axis, bias)
    y = np.empty(x.shape, x.dtype) if out is None else out
    if sizes is None or bias.shape != weight.shape or not _fits(y, x):
        return NotImplemented
    head, scratch, workers = _table(x, sizes, eps)
    function = _forward32 if x.dtype == np.float32 else _forward64
    return Call(function, (*head, x, weight, bias, y, *scratch), out=y, workers=workers)


@kernel
def normalise_dx(
    y: Any, x: Any, weight: Any, *, axis: tuple[int, ...], eps: float, out: Any = None
) -> Any:
    if not isinstance(y, np.ndarray) or y.shape != x.shape:
        return NotImplemented
    y = np.ascontiguousarray(y) if out is None else y  # a plan's would be copied only once
    sizes = _split(x, weight, axis, y)
    like = (x, weight, weight)
    outs = tuple(np.empty(a.shape, a.dtype) for a in like) if out is None else out
    if sizes is None or not all(map(_fits, outs, like)):
        return NotImplemented
    head, scratch, workers = _table(x, sizes, eps)
    partial = np.empty(2 * -(-sizes[0] // head[5]) * weight.size)
    single = x.dtype == np.float32
    args = (*head, x, weight, y, outs[0], *scratch, partial, *outs[1:])
    then = [(_end32 if single else _end64, 1)]
    function = _backward32 if single else _backward64
    return Call(function, args, out=outs, workers=workers, then=then)
