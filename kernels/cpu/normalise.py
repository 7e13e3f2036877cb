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
from .bands import scale_rows, sum_products, sum_squares, turn_rows, whole
from .middle import TOGETHER, parts, row_sums
from .reduce import SUM, fold_all
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

BLOCKS = 64  # of samples, whose gradients of weight and bias are added apart

WIDE_ROWS, NARROW_ROWS = 3, 6  # of a worker's scratch: float64, and of the type of x

# `strips` share the groups of a sample; `wide` and `narrow` are each worker's scratch. The first
# words are the same in both tables. Back, a block has `samples` samples, and a row of `partial`
# for its sum of dweight and one for its sum of dbias.
COMMON = "n p g k strips eps x weight wide narrow"
FORWARD = Table(f"{COMMON} bias y")
BACKWARD = Table(f"{COMMON} above dx samples partial dweight dbias")


# ---- short arrays: indices from 0, which vector code needs ---------------------------------------


@inline
def fill(to, value):  # type: ignore[no-untyped-def]
    for c in range(to.size):
        to[c] = value


@inline
def times(x, value, to):  # type: ignore[no-untyped-def]
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
def means(kind, rows, p, width, k, sums, fast, mean):  # type: ignore[no-untyped-def]
    """mean = that of the channel's group in a sample of p rows."""
    row_sums(kind, rows, p, width, sums, fast)
    for c in range(0, mean.size, k):
        fill(mean[c : c + k], fold_all(SUM, sums[c : c + k]) / (p * k))


@inline
def squares(kind, rows, p, width, sums, fast, mean):  # type: ignore[no-untyped-def]
    """sums = sum of (x - mean)^2."""
    wide_vectors()
    count, size = mean.size, size_of(kind)
    done = whole(kind, count)
    for c in range(count):
        sums[c] = 0.0
    for start in range(0, p, TOGETHER):
        end = min(start + TOGETHER, p)
        x = rows.ctypes.data + start * width * size
        to = fast.ctypes.data
        sum_squares(kind, count, width * size, end - start, x, mean.ctypes.data, to)
        for c in range(done, count):
            fast[c] = 0
        for j in range(start, end):
            row = rows[j * width : j * width + count]
            for c in range(done, count):
                d = row[c] - mean[c]
                fast[c] += d * d
        for c in range(count):
            sums[c] += fast[c]


@inline
def products(kind, rows, above, p, width, sums, g_fast, d_fast, mean):  # type: ignore[no-untyped-def]
    """sums[0], sums[1] = sum of g, sum of g (x - mean)."""
    wide_vectors()
    count, size = mean.size, size_of(kind)
    done = whole(kind, count)
    g_sums, d_sums = sums[0], sums[1]
    for c in range(count):
        g_sums[c] = 0.0
        d_sums[c] = 0.0
    for start in range(0, p, TOGETHER):
        end, at = min(start + TOGETHER, p), start * width * size
        sum_products(
            kind, count, width * size, end - start, rows.ctypes.data + at, above.ctypes.data + at,
            mean.ctypes.data, g_fast.ctypes.data, d_fast.ctypes.data,
        )  # fmt: skip
        for c in range(done, count):
            g_fast[c] = 0
            d_fast[c] = 0
        for j in range(start, end):
            row, g = rows[j * width : j * width + count], above[j * width : j * width + count]
            for c in range(done, count):
                g_fast[c] += g[c]
                d_fast[c] += g[c] * (row[c] - mean[c])
        for c in range(count):
            g_sums[c] += g_fast[c]
            d_sums[c] += d_fast[c]


@inline
def scaled(kind, rows, out, p, width, mean, scale, bias):  # type: ignore[no-untyped-def]
    """y = (x - mean) scale + bias."""
    wide_vectors()
    count = mean.size
    done = whole(kind, count)
    scale_rows(
        kind, count, width * size_of(kind), p, rows.ctypes.data, mean.ctypes.data,
        scale.ctypes.data, bias.ctypes.data, out.ctypes.data,
    )  # fmt: skip
    for j in range(p if done < count else 0):
        row, to = rows[j * width : j * width + count], out[j * width : j * width + count]
        for c in range(done, count):
            to[c] = (row[c] - mean[c]) * scale[c] + bias[c]


@inline
def turned(kind, rows, above, out, p, width, mean, by_g, by_d, plus):  # type: ignore[no-untyped-def]
    """dx = g by_g + (x - mean) by_d + plus."""
    wide_vectors()
    count = mean.size
    done = whole(kind, count)
    turn_rows(
        kind, count, width * size_of(kind), p, rows.ctypes.data, above.ctypes.data,
        mean.ctypes.data, by_g.ctypes.data, by_d.ctypes.data, plus.ctypes.data, out.ctypes.data,
    )  # fmt: skip
    for j in range(p if done < count else 0):
        row, g = rows[j * width : j * width + count], above[j * width : j * width + count]
        to = out[j * width : j * width + count]
        for c in range(done, count):
            to[c] = g[c] * by_g[c] + ((row[c] - mean[c]) * by_d[c] + plus[c])


# ---- a worker's share ----------------------------------------------------------------------------


@inline
def sizes_of(args):  # type: ignore[no-untyped-def]
    """n, p, g, k and the strips."""
    n, p, g, k = (
        word(args, FORWARD.n), word(args, FORWARD.p), word(args, FORWARD.g), word(args, FORWARD.k)
    )  # fmt: skip
    return n, p, g, k, word(args, FORWARD.strips)


@inline
def scratch(worker, workers, args, kind, width, count):  # type: ignore[no-untyped-def]
    """A worker's rows of `count` numbers: of float64, and of the type of x."""
    wide = doubles(args, FORWARD.wide, workers * WIDE_ROWS * width)
    narrow = array(kind, args, FORWARD.narrow, workers * NARROW_ROWS * width)
    sums, own = wide[worker * WIDE_ROWS * width :], narrow[worker * NARROW_ROWS * width :]
    sums, own = sums[: WIDE_ROWS * count], own[: NARROW_ROWS * count]
    return sums.reshape(WIDE_ROWS, count), own.reshape(NARROW_ROWS, count)


@both
def _forward(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A strip of a sample is a piece of work."""
    n, p, g, k, strips = sizes_of(args)
    width, eps = g * k, number(args, FORWARD.eps)
    x, y = array(kind, args, FORWARD.x, n * p * width), array(kind, args, FORWARD.y, n * p * width)
    weight, bias = array(kind, args, FORWARD.weight, width), array(kind, args, FORWARD.bias, width)
    for piece in range(n * strips * worker // workers, n * strips * (worker + 1) // workers):
        i = piece // strips
        strip = piece - i * strips
        c0, c1 = g * strip // strips * k, g * (strip + 1) // strips * k
        wide, own = scratch(worker, workers, args, kind, width, c1 - c0)
        sums, mean, scale, fast = wide[0], own[0], own[1], own[2]
        rows, out = x[i * p * width + c0 :], y[i * p * width + c0 :]
        means(kind, rows, p, width, k, sums, fast, mean)
        squares(kind, rows, p, width, sums, fast, mean)
        for c in range(0, c1 - c0, k):
            r = 1.0 / math.sqrt(fold_all(SUM, sums[c : c + k]) / (p * k) + eps)
            times(weight[c0 + c : c0 + c + k], r, scale[c : c + k])
        scaled(kind, rows, out, p, width, mean, scale, bias[c0:c1])


@inline
def factors(c, k, size, eps, weight, sums, own, dweight, dbias):  # type: ignore[no-untyped-def]
    """What a group of `size` numbers, from channel c on, adds to dweight and dbias; its factors."""
    w, d2 = weight[c : c + k], sums[2][c : c + k]
    g_sums, d_sums = sums[0][c : c + k], sums[1][c : c + k]
    by_g, by_d, plus = own[3][c : c + k], own[4][c : c + k], own[5][c : c + k]
    r = 1.0 / math.sqrt(fold_all(SUM, d2) / size + eps)
    _add(g_sums, 1.0, dbias[c : c + k])
    _add(d_sums, r, dweight[c : c + k])
    _by(g_sums, w, d2)
    h = fold_all(SUM, d2) / size
    _by(d_sums, w, d2)
    hd = fold_all(SUM, d2) / size
    times(w, r, by_g)
    fill(by_d, -hd * r * r * r)
    fill(plus, -h * r)


@both
def _backward(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A strip of a block of samples is a piece of work."""
    n, p, g, k, strips = sizes_of(args)
    width, eps, samples = g * k, number(args, BACKWARD.eps), word(args, BACKWARD.samples)
    x, above, dx = (
        array(kind, args, BACKWARD.x, n * p * width),
        array(kind, args, BACKWARD.above, n * p * width),
        array(kind, args, BACKWARD.dx, n * p * width),
    )
    blocks, weight = (n + samples - 1) // samples, array(kind, args, BACKWARD.weight, width)
    partial = doubles(args, BACKWARD.partial, 2 * blocks * width)
    pieces = blocks * strips
    for piece in range(pieces * worker // workers, pieces * (worker + 1) // workers):
        block = piece // strips
        strip = piece - block * strips
        c0, c1 = g * strip // strips * k, g * (strip + 1) // strips * k
        sums, own = scratch(worker, workers, args, kind, width, c1 - c0)
        dweight = partial[2 * block * width + c0 : 2 * block * width + c1]
        dbias = partial[(2 * block + 1) * width + c0 : (2 * block + 1) * width + c1]
        fill(dweight, 0.0)
        fill(dbias, 0.0)
        for i in range(block * samples, min((block + 1) * samples, n)):
            start = i * p * width + c0
            rows, cotangent, mean = x[start:], above[start:], own[2]
            means(kind, rows, p, width, k, sums[2], own[0], mean)
            squares(kind, rows, p, width, sums[2], own[0], mean)
            products(kind, rows, cotangent, p, width, sums, own[0], own[1], mean)
            for c in range(0, c1 - c0, k):
                factors(c, k, p * k, eps, weight[c0:c1], sums, own, dweight, dbias)
            turned(kind, rows, cotangent, dx[start:], p, width, mean, own[3], own[4], own[5])


@both
def sum_blocks(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """The blocks' gradients of weight and bias, added in order."""
    n, _, g, k, _ = sizes_of(args)
    width, samples = g * k, word(args, BACKWARD.samples)
    blocks = (n + samples - 1) // samples
    partial = doubles(args, BACKWARD.partial, 2 * blocks * width)
    dweight = array(kind, args, BACKWARD.dweight, width)
    dbias = array(kind, args, BACKWARD.dbias, width)
    for c in range(width):
        a, b = 0.0, 0.0
        for block in range(blocks):
            a += partial[2 * block * width + c]
            b += partial[(2 * block + 1) * width + c]
        dweight[c] = a
        dbias[c] = b


# ---- the operations ------------------------------------------------------------------------------


def _parts(shape: tuple[int, ...], axis: tuple[int, ...]) -> list[int] | None:
    """n, p, g, k: sizes of axes that are kept, gone, kept, gone; None for another order."""
    sizes = parts(shape, {a % len(shape) for a in axis})
    if len(sizes) == 2:  # the last axes are gone: k, where sums run along memory
        return [sizes[0], 1, 1, sizes[1]]
    return [*sizes, *[1] * (4 - len(sizes))] if len(sizes) < 5 else None


def split(x: Any, weight: Any, axis: tuple[int, ...], *others: Any) -> list[int] | None:
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


def common(x: Any, weight: Any, sizes: list[int], eps: float) -> tuple[dict[str, Any], int]:
    """What both tables have, and the number of workers."""
    n, p, g, k = sizes
    workers = workers_for(x.size)
    strips = min(g, 1 if n >= workers else workers)
    workers = min(workers, n * strips)
    wide = np.empty(workers * WIDE_ROWS * g * k)
    narrow = np.empty(workers * NARROW_ROWS * g * k, x.dtype)
    table = {
        "n": n, "p": p, "g": g, "k": k, "strips": strips, "eps": float(eps), "x": x,
        "weight": weight, "wide": wide, "narrow": narrow,
    }  # fmt: skip
    return table, workers


def fits(out: Any, like: Any) -> bool:
    return bool(out.shape == like.shape and out.dtype == like.dtype and out.flags.c_contiguous)


@kernel
def normalise(
    x: Any, weight: Any, bias: Any, *, axis: tuple[int, ...], eps: float, out: Any = None
) -> Any:
    sizes = split(x, weight, axis, bias)
    y = np.empty(x.shape, x.dtype) if out is None else out
    if sizes is None or bias.shape != weight.shape or not fits(y, x):
        return NotImplemented
    words, workers = common(x, weight, sizes, eps)
    return Call(_forward[x.dtype], FORWARD.fill(**words, bias=bias, y=y), out=y, workers=workers)


@kernel
def normalise_dx(
    y: Any, x: Any, weight: Any, *, axis: tuple[int, ...], eps: float, out: Any = None
) -> Any:
    if not isinstance(y, np.ndarray) or y.shape != x.shape:
        return NotImplemented
    y = np.ascontiguousarray(y) if out is None else y  # a plan's would be copied only once
    sizes = split(x, weight, axis, y)
    like = (x, weight, weight)
    outs = tuple(np.empty(a.shape, a.dtype) for a in like) if out is None else out
    if sizes is None or not all(map(fits, outs, like)):
        return NotImplemented
    words, workers = common(x, weight, sizes, eps)
    samples = -(-sizes[0] // BLOCKS)
    blocks = -(-sizes[0] // samples)
    table = BACKWARD.fill(
        **words, above=y, dx=outs[0], samples=samples, dweight=outs[1], dbias=outs[2],
        partial=np.empty(2 * blocks * weight.size),
    )  # fmt: skip
    then = [(sum_blocks[x.dtype], 1)]
    return Call(_backward[x.dtype], table, out=outs, workers=workers, then=then)
