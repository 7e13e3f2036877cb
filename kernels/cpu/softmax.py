"""softmax, log_softmax and logsumexp over the last axes of a contiguous array.

    top = max x (0 where infinite);  e = exp(x - top);  total = sum e        in each row
    softmax = e / total;  log_softmax = x - top - log total;  logsumexp = top + log total

A worker takes whole rows, so results do not depend on their number. Exponentials are made in
blocks that stay in a core's cache and are added by the same fixed vectors as in reduce.py.

exp in float32: x = k ln 2 + r, |r| <= ln 2 / 2; exp r is its Taylor polynomial of degree 7 (the
next term, r^8 / 8!, is below 6e-9), then scaled by 2^k in two halves, so that results below the
smallest normal number come out right. No branch, no call: the loop becomes vector code. float64
takes the C library's exp.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .reduce import BLOCK, MAX, SUM, _axes, _into, _run, _shape, _split
from .runtime import Call, doubles, floats, inline, kernel, native, word, workers_for

SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = 0, 1, 2
_SHIFT = np.float32(12582912)  # 1.5 * 2^23: adding it leaves an integer in the lowest bits
_LOG2E = np.float32(1 / math.log(2))
_LN2_HIGH = np.float32(0.693359375)  # few bits: k times it is exact
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_LOWEST, _HIGHEST = np.float32(-105), np.float32(89)  # exp is 0 below, infinite above
_C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(1 / math.factorial(k)) for k in range(2, 8))
_ONE = np.float32(1)


@intrinsic
def _scaled(typing: Any, value: Any, shifted: Any) -> Any:
    """value * 2^k for shifted = _SHIFT + k, -252 <= k <= 254: two factors, made of their bits."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        i32, f32 = ir.IntType(32), ir.FloatType()
        k = b.sub(b.bitcast(args[1], i32), i32(0x4B400000))  # the bits of _SHIFT
        half = b.ashr(k, i32(1))
        result = args[0]
        for part in (half, b.sub(k, half)):
            result = b.fmul(result, b.bitcast(b.shl(b.add(part, i32(127)), i32(23)), f32))
        return result

    return types.float32(types.float32, types.float32), emit


@inline
def _exp32(x):  # type: ignore[no-untyped-def]
    x = _LOWEST if x < _LOWEST else x  # NaN passes
    x = _HIGHEST if x > _HIGHEST else x
    shifted = x * _LOG2E + _SHIFT
    k = shifted - _SHIFT
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = _C4 + r * (_C5 + r * (_C6 + r * _C7))
    return _scaled(_ONE + r * (_ONE + r * (_C2 + r * (_C3 + r * p))), shifted)


# Table: x out rows n form scratch


@inline
def _exponentials(x, top, e):  # type: ignore[no-untyped-def]
    if x.itemsize == 4:
        for i in range(x.size):
            e[i] = _exp32(np.float32(x[i] - top))
    else:
        for i in range(x.size):
            e[i] = math.exp(x[i] - top)


@inline
def _all_rows(worker, workers, args, x, out, scratch):  # type: ignore[no-untyped-def]
    """`scratch` has a block for each worker; softmax keeps its exponentials in `out` instead."""
    kind, n, form = x.dtype.type, word(args, 3), word(args, 4)
    rows = x.size // n
    spare = scratch[worker * BLOCK : (worker + 1) * BLOCK]
    for row in range(rows * worker // workers, rows * (worker + 1) // workers):
        source = x[row * n : (row + 1) * n]
        top = _run(MAX, source)
        if not np.isfinite(top):
            top = kind(0)
        total = 0.0
        for i in range(0, n, BLOCK):
            block = source[i : i + BLOCK]
            e = out[row * n + i : row * n + i + block.size] if form == SOFTMAX else spare
            e = e[: block.size]
            _exponentials(block, top, e)
            total += _run(SUM, e)
        if form == LOGSUMEXP:
            out[row] = kind(np.log(total)) + top
        elif form == SOFTMAX:
            target, by = out[row * n : (row + 1) * n], kind(total)
            for i in range(n):
                target[i] = target[i] / by
        else:
            target, log = out[row * n : (row + 1) * n], kind(np.log(total))
            for i in range(n):
                target[i] = (source[i] - top) - log


@native
def _softmax32(worker, workers, args):  # type: ignore[no-untyped-def]
    rows, n = word(args, 2), word(args, 3)
    out = floats(args, 1, rows if word(args, 4) == LOGSUMEXP else rows * n)
    spare = floats(args, 5, workers * BLOCK)
    _all_rows(worker, workers, args, floats(args, 0, rows * n), out, spare)


@native
def _softmax64(worker, workers, args):  # type: ignore[no-untyped-def]
    rows, n = word(args, 2), word(args, 3)
    out = doubles(args, 1, rows if word(args, 4) == LOGSUMEXP else rows * n)
    spare = doubles(args, 5, workers * BLOCK)
    _all_rows(worker, workers, args, doubles(args, 0, rows * n), out, spare)


# ---- the operations ------------------------------------------------------------------------------


def _bind(form: int, x: Any, axes: tuple[int, ...], shape: tuple[int, ...], out: Any) -> Any:
    split = _split(x, axes)
    out = None if split is None else _into(out, shape, x.dtype)
    if split is None or out is None or split[0] != "rows":
        return NotImplemented
    _, rows, n = split
    workers = min(rows, workers_for(4 * x.size))
    scratch = np.empty(0 if form == SOFTMAX else workers * BLOCK, x.dtype)
    function = _softmax32 if x.dtype == np.float32 else _softmax64
    return Call(function, (x, out, rows, n, form, scratch), out=out, workers=workers)


@kernel(eager_from=2048)
def softmax(x: Any, *, axis: Any = -1, out: Any = None) -> Any:
    return _bind(SOFTMAX, x, _axes(axis, x.ndim), x.shape, out)


@kernel(eager_from=2048)
def log_softmax(x: Any, *, axis: Any = -1, out: Any = None) -> Any:
    return _bind(LOG_SOFTMAX, x, _axes(axis, x.ndim), x.shape, out)


@kernel(eager_from=2048)
def logsumexp(x: Any, *, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
    axes = _axes(axis, x.ndim)
    return _bind(LOGSUMEXP, x, axes, _shape(x, axes, keepdims), out)
