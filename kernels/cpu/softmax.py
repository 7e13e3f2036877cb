"""softmax, log_softmax and logsumexp over the last axes of a contiguous array.

    top = max x (0 where infinite);  e = exp(x - top);  total = sum e        in each row
    softmax = e / total;  log_softmax = x - top - log total;  logsumexp = top + log total

A worker takes whole rows, so results do not depend on their number. Exponentials are made in
blocks that stay in a core's cache and are added by the same fixed vectors as in reduce.py.

float32 takes the exponential of maths.py, vector code within 1 ulp; float64 the C library's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..binding import kernel
from .maths import narrow_exp
from .reduce import BLOCK, MAX, SUM, _axes, _into, _run, _shape, _split
from .runtime import Call, doubles, floats, inline, native, word, workers_for

SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = 0, 1, 2

# Table: x out rows n form scratch


@inline
def _exponentials(x, top, e):  # type: ignore[no-untyped-def]
    if x.itemsize == 4:
        for i in range(x.size):
            e[i] = narrow_exp(np.float32(x[i] - top))
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
