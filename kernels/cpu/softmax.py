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
from .axes import into, normal, reduced, split
from .maths import narrow_exp
from .reduce import BLOCK, MAX, SUM, fold_all
from .runtime import Call, Table, array, both, inline, word, workers_for

SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = 0, 1, 2

SOFTMAX_TABLE = Table("x out rows n form scratch")


@inline
def _exponentials(x, top, e):  # type: ignore[no-untyped-def]
    if x.itemsize == 4:
        for i in range(x.size):
            e[i] = narrow_exp(np.float32(x[i] - top))
    else:
        for i in range(x.size):
            e[i] = math.exp(x[i] - top)


@both
def _softmax(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """`scratch` has a block for each worker; softmax keeps its exponentials in `out` instead."""
    rows, n = word(args, SOFTMAX_TABLE.rows), word(args, SOFTMAX_TABLE.n)
    form = word(args, SOFTMAX_TABLE.form)
    x = array(kind, args, SOFTMAX_TABLE.x, rows * n)
    out = array(kind, args, SOFTMAX_TABLE.out, rows if form == LOGSUMEXP else rows * n)
    scratch = array(kind, args, SOFTMAX_TABLE.scratch, workers * BLOCK)
    spare, number = scratch[worker * BLOCK : (worker + 1) * BLOCK], x.dtype.type
    for row in range(rows * worker // workers, rows * (worker + 1) // workers):
        source = x[row * n : (row + 1) * n]
        top = fold_all(MAX, source)
        if not np.isfinite(top):
            top = kind
        total = 0.0
        for i in range(0, n, BLOCK):
            block = source[i : i + BLOCK]
            e = out[row * n + i : row * n + i + block.size] if form == SOFTMAX else spare
            e = e[: block.size]
            _exponentials(block, top, e)
            total += fold_all(SUM, e)
        if form == LOGSUMEXP:
            out[row] = number(np.log(total)) + top
        elif form == SOFTMAX:
            target, by = out[row * n : (row + 1) * n], number(total)
            for i in range(n):
                target[i] = target[i] / by
        else:
            target, log = out[row * n : (row + 1) * n], number(np.log(total))
            for i in range(n):
                target[i] = (source[i] - top) - log


# ---- the operations ------------------------------------------------------------------------------


def _bind(form: int, x: Any, axes: tuple[int, ...], shape: tuple[int, ...], out: Any) -> Any:
    cut = split(x, axes)
    out = None if cut is None else into(out, shape, x.dtype)
    if cut is None or out is None or cut[0] != "rows":
        return NotImplemented
    _, rows, n = cut
    workers = min(rows, workers_for(4 * x.size))
    scratch = np.empty(0 if form == SOFTMAX else workers * BLOCK, x.dtype)
    table = SOFTMAX_TABLE.fill(x=x, out=out, rows=rows, n=n, form=form, scratch=scratch)
    return Call(_softmax[x.dtype], table, out=out, workers=workers)


@kernel(eager_from=2048, again=True)
def softmax(x: Any, *, axis: Any = -1, out: Any = None) -> Any:
    return _bind(SOFTMAX, x, normal(axis, x.ndim), x.shape, out)


@kernel(eager_from=2048, again=True)
def log_softmax(x: Any, *, axis: Any = -1, out: Any = None) -> Any:
    return _bind(LOG_SOFTMAX, x, normal(axis, x.ndim), x.shape, out)


@kernel(eager_from=2048, again=True)
def logsumexp(x: Any, *, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
    axes = normal(axis, x.ndim)
    return _bind(LOGSUMEXP, x, axes, reduced(x.shape, axes, keepdims), out)
