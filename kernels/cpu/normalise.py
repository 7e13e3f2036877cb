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
from .features import FEATURES, LINES, features, features_back
from .groups import groups as groups_forward
from .groups import groups_back
from .middle import parts
from .moments import (
    BACKWARD,
    FORWARD,
    NARROW_ROWS,
    WIDE_ROWS,
    blocks_of,
    cleared,
    factors,
    given,
    given_back,
    means,
    products,
    scaled,
    scratch,
    sizes_of,
    squares,
    strip_of,
    sum_blocks,
    turned,
)
from .reduce import SUM, fold_all
from .runtime import Call, both, number, word, workers_for
from .short import fill, times

BLOCKS = 64  # of samples, whose gradients of weight and bias are added apart


@both
def _forward(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A strip of a sample is a piece of work."""
    n, p, g, k, strips = sizes_of(args)
    width, eps = g * k, number(args, FORWARD.eps)
    x, weight, bias, y = given(args, kind)
    for piece in range(n * strips * worker // workers, n * strips * (worker + 1) // workers):
        i, c0, c1 = strip_of(piece, strips, g, k)
        wide, own = scratch(worker, workers, args, kind, width, c1 - c0)
        sums, mean, scale, fast = wide[0], own[0], own[1], own[2]
        rows, out = x[i * p * width + c0 :], y[i * p * width + c0 :]
        means(kind, rows, p, width, k, sums, fast, mean)
        squares(kind, rows, p, width, sums, fast, mean)
        for c in range(0, c1 - c0, k):
            r = 1.0 / math.sqrt(fold_all(SUM, sums[c : c + k]) / (p * k) + eps)
            times(weight[c0 + c : c0 + c + k], r, scale[c : c + k])
        scaled(kind, rows, out, p, width, mean, scale, bias[c0:c1])


@both
def _backward(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A strip of a block of samples is a piece of work."""
    n, p, g, k, strips = sizes_of(args)
    width, eps, samples = g * k, number(args, BACKWARD.eps), word(args, BACKWARD.samples)
    x, weight, above, dx = given_back(args, kind)
    blocks, partial = blocks_of(args)
    pieces = blocks * strips
    for piece in range(pieces * worker // workers, pieces * (worker + 1) // workers):
        block, c0, c1 = strip_of(piece, strips, g, k)
        sums, own = scratch(worker, workers, args, kind, width, c1 - c0)
        dweight, dbias = cleared(partial, block, width, c0, c1)
        for i in range(block * samples, min((block + 1) * samples, n)):
            start = i * p * width + c0
            rows, cotangent, mean = x[start:], above[start:], own[2]
            means(kind, rows, p, width, k, sums[2], own[0], mean)
            squares(kind, rows, p, width, sums[2], own[0], mean)
            products(kind, rows, cotangent, p, width, sums, own[0], own[1], mean)
            for c in range(0, c1 - c0, k):
                r = 1.0 / math.sqrt(fold_all(SUM, sums[2][c : c + k]) / (p * k) + eps)
                fill(sums[4][c : c + k], r)
            factors(k, p * k, sums[4], weight[c0:c1], sums, own, dweight, dbias)
            turned(kind, rows, cotangent, dx[start:], p, width, mean, own[3], own[4], own[5])


# ---- the operations ------------------------------------------------------------------------------


def _parts(shape: tuple[int, ...], axis: tuple[int, ...]) -> list[int] | None:
    """n, p, g, k: sizes of axes that are kept, gone, kept, gone; None for another order."""
    sizes = parts(shape, {a % len(shape) for a in axis})
    if len(sizes) == 2:  # the last axes are gone: k, where sums run along memory
        return [sizes[0], 1, 1, sizes[1]]
    return [*sizes, *[1] * (4 - len(sizes))] if len(sizes) < 5 else None


def _served(x: Any, *others: Any) -> bool:
    """Whether the arrays have one type that kernels know, lie in one piece and are not empty."""
    dtype = x.dtype
    for a in (x, *others):
        if not isinstance(a, np.ndarray) or a.dtype != dtype or not a.flags.c_contiguous:
            return False
    return bool(x.size) and dtype in (np.float32, np.float64)


def split(x: Any, weight: Any, axis: tuple[int, ...], *others: Any) -> list[int] | None:
    """The parts of x where all is as the kernels take it."""
    sizes = _parts(x.shape, axis)
    if sizes is None or not _served(x, weight, *others):
        return None
    channels = math.prod(x.shape[len(x.shape) - weight.ndim :])  # that weight is spread over
    width = sizes[2] * sizes[3]
    return sizes if weight.size == width == channels else None


def _grouped(x: Any, groups: int, weight: Any, *others: Any) -> list[int] | None:
    """The same for groups of channels."""
    if x.ndim < 2 or not _served(x, weight, *others) or weight.shape != x.shape[-1:]:
        return None
    if groups < 1 or x.shape[-1] % groups:
        return None
    return [x.shape[0], math.prod(x.shape[1:-1]), groups, x.shape[-1] // groups]


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


def sums_of(n: int, width: int) -> dict[str, Any]:
    """The words for the gradients of weight and bias: samples of a block, and the blocks' sums."""
    samples = -(-n // BLOCKS)
    return {"samples": samples, "partial": np.empty(2 * -(-n // samples) * width)}


def _kind(x: Any, sizes: list[int]) -> int:
    """Which functions: 0 for channels of their own, 1 for groups of them, 2 for short rows."""
    _, p, g, k = sizes
    rows = p == g == 1 and k <= FEATURES and k * x.itemsize % LINES[-1] == 0
    return 2 if rows else 1 if k > 1 else 0


def fits(out: Any, like: Any) -> bool:
    return bool(out.shape == like.shape and out.dtype == like.dtype and out.flags.c_contiguous)


def _forth(x: Any, weight: Any, bias: Any, sizes: list[int] | None, eps: float, out: Any) -> Any:
    y = np.empty(x.shape, x.dtype) if out is None else out
    if sizes is None or bias.shape != weight.shape or not fits(y, x):
        return NotImplemented
    words, workers = common(x, weight, sizes, eps)
    body = (_forward, groups_forward, features)[_kind(x, sizes)]
    return Call(body[x.dtype], FORWARD.fill(**words, bias=bias, y=y), out=y, workers=workers)


def _back(y: Any, x: Any, weight: Any, sizes: list[int] | None, eps: float, out: Any) -> Any:
    like = (x, weight, weight)
    outs = tuple(np.empty(a.shape, a.dtype) for a in like) if out is None else out
    if sizes is None or y.shape != x.shape or not all(map(fits, outs, like)):
        return NotImplemented
    words, workers = common(x, weight, sizes, eps)
    table = BACKWARD.fill(
        **words, above=y, dx=outs[0], dweight=outs[1], dbias=outs[2],
        **sums_of(sizes[0], weight.size),
    )  # fmt: skip
    then = [(sum_blocks[x.dtype], 1)]
    body = (_backward, groups_back, features_back)[_kind(x, sizes)]
    return Call(body[x.dtype], table, out=outs, workers=workers, then=then)


@kernel(again=True)
def normalise(
    x: Any, weight: Any, bias: Any, *, axis: tuple[int, ...], eps: float, out: Any = None
) -> Any:
    return _forth(x, weight, bias, split(x, weight, axis, bias), eps, out)


@kernel(again=True)
def normalise_dx(
    y: Any, x: Any, weight: Any, *, axis: tuple[int, ...], eps: float, out: Any = None
) -> Any:
    if not isinstance(y, np.ndarray):
        return NotImplemented
    y = np.ascontiguousarray(y) if out is None else y  # a plan's would be copied only once
    return _back(y, x, weight, split(x, weight, axis, y), eps, out)


@kernel(again=True)
def normalise_groups(
    x: Any, weight: Any, bias: Any, *, groups: int, eps: float, out: Any = None
) -> Any:
    return _forth(x, weight, bias, _grouped(x, groups, weight, bias), eps, out)


@kernel(again=True)
def normalise_groups_dx(
    y: Any, x: Any, weight: Any, *, groups: int, eps: float, out: Any = None
) -> Any:
    if not isinstance(y, np.ndarray):
        return NotImplemented
    y = np.ascontiguousarray(y) if out is None else y
    return _back(y, x, weight, _grouped(x, groups, weight, y), eps, out)
