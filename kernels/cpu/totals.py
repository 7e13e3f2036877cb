"""Products and sums of squares along an axis of a matrix (m, n).

    squares_along     out[i] = sum_j x[i, j]^2
    product_along      out[i] = prod_j x[i, j], or along the first axis
    product_without    out[i, j] = prod_k x[i, k] over k other than j, or along the first axis

A row is cut into blocks of 4096, in which numbers are combined in any fixed order, several at once;
the blocks of a sum are added in float64, in order. A row, or along the first axis a column, has one
worker (a long row's blocks of squares have several), so results are the same bits for any number.
The products of the others are those of all before times those of all after: nothing is divided.
Along a row, a line of LINE bytes at a time: of each lane, then times those of the other lanes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..binding import kernel
from .axes import into
from .emit import Loop
from .runtime import (
    Call,
    Table,
    array,
    both,
    both_exact,
    doubles,
    first,
    regrouped,
    word,
    workers_for,
)
from .short import copy, fill, multiply
from .tile import broadcast, load, shuffle, store
from .words import WORD

BLOCK = 4096
EAGER_FROM = 4096


@regrouped
def _squares(x, zero):  # type: ignore[no-untyped-def]
    s = zero
    for j in range(x.size):
        s += x[j] * x[j]
    return s


@regrouped
def _product(x, one):  # type: ignore[no-untyped-def]
    p = one
    for j in range(x.size):
        p *= x[j]
    return p


# ---- squares -------------------------------------------------------------------------------------

SQUARES = Table("x out m n blocks partial")


@both
def _sums(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A block of a row is a piece of work."""
    m, n, blocks = word(args, SQUARES.m), word(args, SQUARES.n), word(args, SQUARES.blocks)
    x = array(kind, args, SQUARES.x, m * n)
    partial = doubles(args, SQUARES.partial, m * blocks)
    for piece in range(m * blocks * worker // workers, m * blocks * (worker + 1) // workers):
        row = piece // blocks
        begin = (piece - row * blocks) * BLOCK
        end = min(begin + BLOCK, n)
        partial[piece] = _squares(x[row * n + begin : row * n + end], x.dtype.type(0))


@both
def _sums_end(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    m, blocks = word(args, SQUARES.m), word(args, SQUARES.blocks)
    out = array(kind, args, SQUARES.out, m)
    partial = doubles(args, SQUARES.partial, m * blocks)
    for i in range(m):
        s = 0.0
        for k in range(i * blocks, (i + 1) * blocks):
            s += partial[k]
        out[i] = s


@kernel(eager_from=EAGER_FROM, again=True)
def squares_along(x: Any, *, out: Any = None) -> Any:
    out = into(out, x.shape[:1], x.dtype)
    if out is None or not _served(x):
        return NotImplemented
    (m, n), blocks = x.shape, -(-x.shape[1] // BLOCK)
    table = SQUARES.fill(x=x, out=out, m=m, n=n, blocks=blocks, partial=np.empty(m * blocks))
    then = [(_sums_end[x.dtype], 1)]
    return Call(_sums[x.dtype], table, out=out, workers=workers_for(x.size), then=then)


def _served(x: Any) -> bool:
    floats = x.dtype in (np.float32, np.float64)
    return bool(floats and x.ndim == 2 and x.size and x.flags.c_contiguous)


# ---- products ------------------------------------------------------------------------------------

PRODUCTS = Table("x out m n axis running")


LINE = 64  # bytes that are multiplied side by side


@intrinsic
def _others(typing: Any, kind: Any, lines: Any, x: Any, to: Any, rest: Any) -> Any:
    """to = `rest` times the product of all other numbers of so many lines; returns that of all."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        kind, lines, x, to, rest = args
        number, lanes = kind.type, LINE * 8 // signature.args[0].bitwidth
        vector, step = ir.VectorType(number, lanes), WORD(LINE)
        ones = ir.Constant(vector, [1.0] * lanes)
        with Loop(b, lines, [x, to, ones]) as turn:
            at, into, before = turn.values
            store(b, before, into)
            before = b.fmul(before, load(b, vector, at))
            turn.values = [b.add(at, step), b.add(into, step), before]
        at, into, all_ = turn.values
        after, apart = broadcast(b, rest, vector), 1
        while apart < lanes:  # of pairs of lanes, pairs of pairs, and so on
            beside = shuffle(b, all_, all_, [i ^ apart for i in range(lanes)])
            after, all_, apart = b.fmul(after, beside), b.fmul(all_, beside), 2 * apart
        with Loop(b, lines, [at, into, after]) as turn:
            at, into, after = turn.values
            at, into = b.sub(at, step), b.sub(into, step)
            store(b, b.fmul(load(b, vector, into), after), into)
            turn.values = [at, into, b.fmul(after, load(b, vector, at))]
        return b.extract_element(all_, ir.IntType(32)(0))

    return kind(kind, *[types.intp] * 3, kind), emit


@both_exact
def _along(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    m, n = word(args, PRODUCTS.m), word(args, PRODUCTS.n)
    x = array(kind, args, PRODUCTS.x, m * n)
    if word(args, PRODUCTS.axis) == 1:
        out = array(kind, args, PRODUCTS.out, m)
        for i in range(m * worker // workers, m * (worker + 1) // workers):
            out[i] = _product(x[i * n : (i + 1) * n], x.dtype.type(1))
        return
    c0, c1 = first(n, worker, workers), first(n, worker + 1, workers)
    out = array(kind, args, PRODUCTS.out, n)[c0:c1]
    fill(out, x.dtype.type(1))
    for i in range(m):
        multiply(out, x[i * n + c0 : i * n + c1], out)


@both_exact
def _without(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    m, n = word(args, PRODUCTS.m), word(args, PRODUCTS.n)
    x, out = array(kind, args, PRODUCTS.x, m * n), array(kind, args, PRODUCTS.out, m * n)
    one = x.dtype.type(1)
    if word(args, PRODUCTS.axis) == 1:
        for i in range(m * worker // workers, m * (worker + 1) // workers):
            row, to = x[i * n : (i + 1) * n], out[i * n : (i + 1) * n]
            lines = n * x.itemsize // LINE
            whole = lines * LINE // x.itemsize
            rest = one
            for j in range(whole, n):
                rest *= row[j]
            before = _others(kind, lines, row.ctypes.data, to.ctypes.data, rest)
            after = one
            for j in range(whole, n):
                to[j] = before
                before *= row[j]
            for j in range(n - 1, whole - 1, -1):
                to[j] *= after
                after *= row[j]
        return
    c0, c1 = first(n, worker, workers), first(n, worker + 1, workers)
    running = array(kind, args, PRODUCTS.running, n)[c0:c1]
    fill(running, one)
    for i in range(m):
        copy(running, out[i * n + c0 : i * n + c1])
        multiply(running, x[i * n + c0 : i * n + c1], running)
    fill(running, one)
    for i in range(m - 1, -1, -1):
        to = out[i * n + c0 : i * n + c1]
        multiply(to, running, to)
        multiply(running, x[i * n + c0 : i * n + c1], running)


def _bind(function: Any, x: Any, axis: int, shape: tuple[int, ...], out: Any) -> Any:
    out = into(out, shape, x.dtype)
    if out is None or not _served(x):
        return NotImplemented
    (m, n), workers = x.shape, workers_for(x.size)
    running = np.empty(n if axis == 0 else 0, x.dtype)
    table = PRODUCTS.fill(x=x, out=out, m=m, n=n, axis=axis, running=running)
    workers = workers if axis == 1 or n >= 16 * workers else 1
    return Call(function[x.dtype], table, out=out, workers=workers)


@kernel(eager_from=EAGER_FROM, again=True)
def product_along(x: Any, *, axis: int, out: Any = None) -> Any:
    return _bind(_along, x, axis, (x.shape[1 - axis],), out)


@kernel(eager_from=EAGER_FROM, again=True)
def product_without(x: Any, *, axis: int, out: Any = None) -> Any:
    return _bind(_without, x, axis, x.shape, out)
