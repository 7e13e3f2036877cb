"""Attention of heads: y = softmax(q k^T / sqrt(d)) v, and back; q (m, d), k (s, d), v (s, e).

From plain to fast:

1. The formula as array operations: the shares of all heads are written and read four times, back
   ten times; and the copies that put heads before places.
2. Some queries of a head at a time (TOGETHER): their shares stay in a core's cache, whatever the
   number of places, and nothing is stored for the way back, which makes them again.
3. Products by the tile of registers (tile.py), of keys and values that are packed once a head. What
   is transposed is so by the strides with which a tile reads it.
4. Strides: heads are read where they lie, and results written where they belong.
5. causal: no share after the last query of a block is computed.

Back, with dfit = g v^T and t = shares dfit:

    f = (t - shares sum_j t) / sqrt(d);  dq = f k;  dk = sum f^T q;  dv = sum shares^T g

where sums are over blocks of queries, in order. A worker takes whole heads, so results are the same
bits for any number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ..binding import kernel
from .emit import Loop
from .maths import narrow_exp
from .panels import pack
from .reduce import SUM, fold_all
from .runtime import (
    Call,
    Table,
    both,
    flush_subnormals,
    inline,
    lines,
    number,
    pointer_of,
    restore,
    size_of,
    wide_vectors,
    word,
    workers_for,
)
from .short import fill, multiply, times
from .tile import ROWS, broadcast, folded, load, store, tile
from .vectors import VECTOR_BYTES
from .words import WORD

TOGETHER = 64  # queries

# Of each array: its address, and the bytes from a sample to the next, from a head, from a place.
# `scratch` has `share` bytes for each worker.
_COMMON = "samples heads m s d e causal scale scratch share q q1 q2 q3 k k1 k2 k3 v v1 v2 v3"
FORWARD = Table(f"{_COMMON} y y1 y2 y3")
BACKWARD = Table(f"{_COMMON} g g1 g2 g3 dq dq1 dq2 dq3 dk dk1 dk2 dk3 dv dv1 dv2 dv3")


# ---- pieces --------------------------------------------------------------------------------------


@inline
def _at(args, i, piece):  # type: ignore[no-untyped-def]
    """Where a head of the array at entry i begins, and the bytes from place to place."""
    heads = word(args, FORWARD.heads)
    sample = piece // heads
    start = word(args, i) + sample * word(args, i + 1)
    return start + (piece - sample * heads) * word(args, i + 2), word(args, i + 3)


@inline
def _sizes(args):  # type: ignore[no-untyped-def]
    """Queries, keys, and the numbers of a key and of a value."""
    m, s = word(args, FORWARD.m), word(args, FORWARD.s)
    return m, s, word(args, FORWARD.d), word(args, FORWARD.e)


@inline
def _row(kind, at, n):  # type: ignore[no-untyped-def]
    return carray(pointer_of(kind, at), n)


@inline
def _whole(n, step):  # type: ignore[no-untyped-def]
    return (n + step - 1) // step * step


@inline
def _pack(kind, size, to, vectors, b, b_row, b_col, k, lanes):  # type: ignore[no-untyped-def]
    """B[k, lanes] as panels of so many vectors."""
    wide = vectors * (VECTOR_BYTES // size)
    for c in range(0, lanes, wide):
        here = min(wide, lanes - c)
        pack(kind, size, to + k * c * size, wide, b + c * b_col, b_row, b_col, k, here)


@inline
def _product(kind, size, vectors, a, a_row, a_col, rows, k, panels, depth, lanes, c, c_row, onto):  # type: ignore[no-untyped-def]
    """C (+)= A[rows, k] @ B; panels have `depth` rows, C whole tiles."""
    wide = vectors * (VECTOR_BYTES // size)
    for j in range(0, lanes, wide):
        panel = panels + depth * j * size
        for r in range(0, rows, ROWS):
            tile(
                kind, vectors, False, a + r * a_row, a_row, a_col, min(ROWS, rows - r) - 1, panel,
                c + r * c_row + j * size, c_row, k, onto, panel, 0,
            )  # fmt: skip


@inline
def _own(i, r, seen, causal):  # type: ignore[no-untyped-def]
    """How many keys query r + i looks at, of those that its block has seen."""
    return min(seen, r + i + 1) if causal else seen


@inline
def _line(kind, block, along, i, r, seen, causal):  # type: ignore[no-untyped-def]
    """What query r + i looks at in row i of a block, in whole lines of 64 bytes."""
    own = _own(i, r, seen, causal)
    return _row(kind, block + i * along, _whole(own, 64 // size_of(kind)))


@intrinsic
def _largest(typing: Any, kind: Any, at: Any, n: Any) -> Any:
    """The largest of n > 0 numbers; those behind them in their line become -inf.

    It may miss a NaN. That does no harm: the exponential of a NaN makes the sum NaN in any case.
    """

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        number, size = context.get_value_type(signature.args[0]), signature.args[0].bitwidth // 8
        vector, index = (ir.VectorType(t, 64 // size) for t in (number, WORD))
        larger = lambda x, y: b.select(b.fcmp_ordered(">", x, y), x, y)
        least = broadcast(b, ir.Constant(number, -math.inf), vector)
        last = b.sub(args[2], WORD(1))
        full = b.udiv(last, WORD(64 // size))
        with Loop(b, full, [args[1], least]) as turn:
            place, top = turn.values
            turn.values = [b.add(place, WORD(64)), larger(top, load(b, vector, place))]
        place, top = turn.values
        lanes = ir.Constant(index, list(range(64 // size)))
        behind = b.sub(last, b.mul(full, WORD(64 // size)))
        seen = b.icmp_signed("<=", lanes, broadcast(b, behind, index))
        line = b.select(seen, load(b, vector, place), least)
        store(b, line, place)
        return folded(b, larger(top, line), larger)

    return kind(kind, types.intp, types.intp), emit


@inline
def _softmax(kind, fit, along, r, rows, seen, causal, scale, totals):  # type: ignore[no-untyped-def]
    """exp(scale fit - top) of a block's rows, in place, and their sums; of each what it looks at.

    The rest of what is seen becomes 0, and so does the rest of a line: vector code needs no last
    few. All rows take a step before any takes the next: in a row each waits for the one before.
    """
    wide_vectors()
    size = size_of(kind)
    tops = totals[rows:]
    for i in range(rows):
        own = _own(i, r, seen, causal)
        top = _largest(kind, fit + i * along, own) * totals.dtype.type(scale)
        tops[i] = top if np.isfinite(top) else kind
    for i in range(rows):
        line, top = _line(kind, fit, along, i, r, seen, causal), tops[i]
        if size == 4:
            for j in range(line.size):
                line[j] = narrow_exp(np.float32(line[j] * np.float32(scale) - top))
        else:
            for j in range(line.size):
                line[j] = math.exp(line[j] * scale - top)
    for i in range(rows):
        line = _line(kind, fit, along, i, r, seen, causal)
        totals[i] = fold_all(SUM, line)
        if line.size < seen:
            fill(_row(kind, fit + i * along + line.size * size, seen - line.size), 0)


@inline
def _scaled_rows(kind, made, apart, rows, n, to, to_row, by):  # type: ignore[no-untyped-def]
    """to = made times 1 / by of each row."""
    wide_vectors()
    for i in range(rows):
        out = _row(kind, to + i * to_row, n)
        times(_row(kind, made + i * apart, n), by.dtype.type(1) / by[i], out)


@inline
def _pulled(t, share, whole, scale):  # type: ignore[no-untyped-def]
    """t = (t - share whole) scale."""
    for j in range(t.size):
        t[j] = (t[j] - share[j] * whole) * scale


@inline
def _through(kind, fit, dfit, along, r, rows, seen, causal, scale, totals):  # type: ignore[no-untyped-def]
    """The shares of a block from their exponentials, and f from their cotangents, in place."""
    wide_vectors()
    size = size_of(kind)
    for i in range(rows):
        share = _line(kind, fit, along, i, r, seen, causal)
        t = _line(kind, dfit, along, i, r, seen, causal)
        times(share, share.dtype.type(1) / totals[i], share)
        # Of short vectors the product may have left a part of a line.
        fill(t[_own(i, r, seen, causal) :], 0)
        multiply(t, share, t)
        totals[i] = fold_all(SUM, t)
    for i in range(rows):
        share = _line(kind, fit, along, i, r, seen, causal)
        t = _line(kind, dfit, along, i, r, seen, causal)
        _pulled(t, share, totals[i], share.dtype.type(scale))
        if t.size < seen:
            fill(_row(kind, dfit + i * along + t.size * size, seen - t.size), 0)


# ---- a worker's share ----------------------------------------------------------------------------


@both
def _forward(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    before, size = flush_subnormals(), size_of(kind)
    n, pieces = VECTOR_BYTES // size, word(args, FORWARD.samples) * word(args, FORWARD.heads)
    m, s, d, e = _sizes(args)
    causal, scale = word(args, FORWARD.causal), number(args, FORWARD.scale)
    places, width, vectors = _whole(s, 256 // size), _whole(e, 2 * n), 2 if e > n else 1
    keys = word(args, FORWARD.scratch) + worker * word(args, FORWARD.share)
    values = keys + d * places * size
    fit = values + s * width * size
    made = fit + TOGETHER * places * size
    totals = _row(kind, made + TOGETHER * width * size, 2 * TOGETHER)
    for piece in range(pieces * worker // workers, pieces * (worker + 1) // workers):
        q, q_row = _at(args, FORWARD.q, piece)
        k, k_row = _at(args, FORWARD.k, piece)
        v, v_row = _at(args, FORWARD.v, piece)
        y, y_row = _at(args, FORWARD.y, piece)
        _pack(kind, size, keys, 2, k, size, k_row, d, s)
        _pack(kind, size, values, vectors, v, v_row, size, s, e)
        for r in range(0, m, TOGETHER):
            rows = min(TOGETHER, m - r)
            seen = min(s, r + rows) if causal else s
            from_q = q + r * q_row
            _product(
                kind, size, 2, from_q, q_row, size, rows, d, keys, d, seen, fit, places * size, 0
            )
            _softmax(kind, fit, places * size, r, rows, seen, causal, scale, totals)
            _product(
                kind, size, vectors, fit, places * size, size, rows, seen, values, s, e, made,
                width * size, 0,
            )  # fmt: skip
            _scaled_rows(kind, made, width * size, rows, e, y + r * y_row, y_row, totals)
    restore(before)


@inline
def _block(kind, size, args, r, rows, seen, q, q_row, g, g_row, keys, values, fit, dfit, totals):  # type: ignore[no-untyped-def]
    """The shares of `rows` queries from r on, and f, in fit and dfit."""
    _, s, d, e = _sizes(args)
    causal, scale = word(args, BACKWARD.causal), number(args, BACKWARD.scale)
    places = _whole(s, 256 // size)
    along = places * size
    _product(kind, size, 2, q, q_row, size, rows, d, keys, d, seen, fit, along, 0)
    _product(kind, size, 2, g, g_row, size, rows, e, values, e, seen, dfit, along, 0)
    _softmax(kind, fit, along, r, rows, seen, causal, scale, totals)
    _through(kind, fit, dfit, along, r, rows, seen, causal, scale, totals)


@both
def _backward(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    before, size = flush_subnormals(), size_of(kind)
    n, pieces = VECTOR_BYTES // size, word(args, BACKWARD.samples) * word(args, BACKWARD.heads)
    m, s, d, e = _sizes(args)
    causal = word(args, BACKWARD.causal)
    places, high = _whole(s, 256 // size), _whole(s, ROWS)
    deep, width = _whole(d, 2 * n), _whole(e, 2 * n)
    vectors = 2 if d > n else 1
    keys = word(args, BACKWARD.scratch) + worker * word(args, BACKWARD.share)
    values = keys + d * places * size
    by_place = values + e * places * size  # keys as a product's right side
    fit = by_place + s * deep * size
    dfit = fit + TOGETHER * places * size
    made = dfit + TOGETHER * places * size
    packed = made + TOGETHER * deep * size
    dk_sum = packed + TOGETHER * (deep + width) * size
    dv_sum = dk_sum + high * deep * size
    totals = _row(kind, dv_sum + high * width * size, 2 * TOGETHER)
    for piece in range(pieces * worker // workers, pieces * (worker + 1) // workers):
        q, q_row = _at(args, BACKWARD.q, piece)
        k, k_row = _at(args, BACKWARD.k, piece)
        v, v_row = _at(args, BACKWARD.v, piece)
        g, g_row = _at(args, BACKWARD.g, piece)
        dq, dq_row = _at(args, BACKWARD.dq, piece)
        _pack(kind, size, keys, 2, k, size, k_row, d, s)
        _pack(kind, size, values, 2, v, size, v_row, e, s)
        _pack(kind, size, by_place, vectors, k, k_row, size, s, d)
        fill(_row(kind, dk_sum, high * (deep + width)), 0)
        for r in range(0, m, TOGETHER):
            rows = min(TOGETHER, m - r)
            seen = min(s, r + rows) if causal else s
            from_q, from_g = q + r * q_row, g + r * g_row
            _block(
                kind, size, args, r, rows, seen, from_q, q_row, from_g, g_row, keys, values, fit,
                dfit, totals,
            )  # fmt: skip
            _product(
                kind, size, vectors, dfit, places * size, size, rows, seen, by_place, s, d, made,
                deep * size, 0,
            )  # fmt: skip
            for i in range(rows):
                out = _row(kind, dq + (r + i) * dq_row, d)
                times(_row(kind, made + i * deep * size, d), out.dtype.type(1), out)
            # Transposed by strides, which tiles of one vector take.
            _pack(kind, size, packed, 1, from_q, q_row, size, rows, d)
            _product(
                kind, size, 1, dfit, size, places * size, seen, rows, packed, rows, d, dk_sum,
                deep * size, 1,
            )  # fmt: skip
            _pack(kind, size, packed, 1, from_g, g_row, size, rows, e)
            _product(
                kind, size, 1, fit, size, places * size, seen, rows, packed, rows, e, dv_sum,
                width * size, 1,
            )  # fmt: skip
        dk, dk_row = _at(args, BACKWARD.dk, piece)
        dv, dv_row = _at(args, BACKWARD.dv, piece)
        for j in range(s):
            out = _row(kind, dk + j * dk_row, d)
            times(_row(kind, dk_sum + j * deep * size, d), out.dtype.type(1), out)
            out = _row(kind, dv + j * dv_row, e)
            times(_row(kind, dv_sum + j * width * size, e), out.dtype.type(1), out)
    restore(before)


# ---- the operations ------------------------------------------------------------------------------


def _served(*arrays: Any) -> bool:
    first = arrays[0]
    return first.dtype in (np.float32, np.float64) and all(
        isinstance(a, np.ndarray) and a.dtype == first.dtype and a.size and a.ndim == 4
        and a.strides[3] == a.itemsize and all(s >= 0 and s % a.itemsize == 0 for s in a.strides)
        for a in arrays
    )  # fmt: skip


def _four(x: Any) -> Any:
    """(..., places, d) with two leading axes; a view, or None."""
    if x.ndim == 4:
        return x
    if x.ndim < 4:
        return x[(None,) * (4 - x.ndim)]
    return x.reshape(1, -1, *x.shape[-2:]) if x.flags.c_contiguous else None


def _entries(**arrays: Any) -> dict[str, Any]:
    """Each array with its strides."""
    words = {}
    for name, a in arrays.items():
        words[name] = a
        words |= {f"{name}{i + 1}": a.strides[i] for i in range(3)}
    return words


def _call(body: Any, table: Any, causal: bool, scratch: int, out: Any, **arrays: Any) -> Any:
    """`scratch`: how many numbers a worker needs."""
    q, v = arrays["q"], arrays["v"]
    (samples, heads, m, d), (s, e) = q.shape, v.shape[2:]
    workers = min(samples * heads, workers_for(samples * heads * m * s))
    share = lines(scratch * q.itemsize)
    words = table.fill(
        samples=samples, heads=heads, m=m, s=s, d=d, e=e, causal=causal, scale=1 / math.sqrt(d),
        scratch=np.empty(workers * share // q.itemsize, q.dtype), share=share, **_entries(**arrays),
    )  # fmt: skip
    return Call(body[q.dtype], words, out=out, workers=workers, keep=tuple(arrays.values()))


def _whole_number(n: int, step: int) -> int:
    return -(-n // step) * step


def _forwards(q: Any, k: Any, v: Any, causal: bool, y: Any, out: Any) -> Any:
    """Into y (samples, heads, m, e), a view of out."""
    n, (s, e), d = VECTOR_BYTES // q.itemsize, v.shape[2:], q.shape[3]
    places, width = _whole_number(s, 256 // q.itemsize), _whole_number(e, 2 * n)
    scratch = d * places + s * width + TOGETHER * (places + width + 2)
    return _call(_forward, FORWARD, causal, scratch, out, q=q, k=k, v=v, y=y)


def _backwards(
    g: Any, q: Any, k: Any, v: Any, causal: bool, grads: tuple[Any, Any, Any], out: Any
) -> Any:
    n, (s, e), d = VECTOR_BYTES // q.itemsize, v.shape[2:], q.shape[3]
    places = _whole_number(s, 256 // q.itemsize)
    deep, width = (_whole_number(size, 2 * n) for size in (d, e))
    scratch = (d + e) * places + s * deep + TOGETHER * 2 * places + TOGETHER * (2 * deep + width)
    scratch += _whole_number(s, ROWS) * (deep + width) + 2 * TOGETHER
    dq, dk, dv = grads
    return _call(_backward, BACKWARD, causal, scratch, out, q=q, k=k, v=v, g=g, dq=dq, dk=dk, dv=dv)


def _results(likes: Any, dtype: Any, out: Any) -> Any:
    """Arrays of those shapes, as given or new; None if the given ones do not fit."""
    outs = tuple(np.empty(shape, dtype) for shape in likes) if out is None else out
    fits = all(
        o.shape == shape and o.dtype == dtype and o.flags.c_contiguous
        for o, shape in zip(outs, likes, strict=True)
    )
    return outs if fits else None


@kernel
def attend(q: Any, k: Any, v: Any, *, causal: bool, out: Any = None) -> Any:
    fours = [_four(a) for a in (q, k, v)]
    if any(a is None for a in fours) or not _served(*fours):
        return NotImplemented
    made = _results([(*q.shape[:-1], v.shape[-1])], q.dtype, None if out is None else (out,))
    if made is None:
        return NotImplemented
    return _forwards(*fours, causal, _four(made[0]), made[0])


@kernel
def attend_dx(y: Any, q: Any, k: Any, v: Any, *, causal: bool, out: Any = None) -> Any:
    fours = [_four(a) for a in (y, q, k, v)]
    if any(a is None for a in fours) or not _served(*fours):
        return NotImplemented
    made = _results([q.shape, k.shape, v.shape], q.dtype, out)
    if made is None:
        return NotImplemented
    dq, dk, dv = map(_four, made)
    return _backwards(*fours, causal, (dq, dk, dv), made)


def _heads(x: Any, parts: int, heads: int) -> list[Any]:
    """(n, places, parts heads d) as views (n, heads, places, d)."""
    cut = x.reshape(*x.shape[:2], parts, heads, -1)
    return [cut[:, :, i].transpose(0, 2, 1, 3) for i in range(parts)]


@kernel
def attend_self(x: Any, *, heads: int, causal: bool, out: Any = None) -> Any:
    shape = (*x.shape[:2], x.shape[2] // 3)
    made = _results([shape], x.dtype, None if out is None else (out,))
    if made is None or not x.size or not x.flags.c_contiguous or x.dtype.kind != "f":
        return NotImplemented
    return _forwards(*_heads(x, 3, heads), causal, _heads(made[0], 1, heads)[0], made[0])


@kernel
def attend_self_dx(y: Any, x: Any, *, heads: int, causal: bool, out: Any = None) -> Any:
    made = _results([x.shape], x.dtype, None if out is None else (out,))
    served = x.size and x.flags.c_contiguous and y.dtype == x.dtype and x.dtype.kind == "f"
    if made is None or not served or not y.flags.c_contiguous:
        return NotImplemented
    dq, dk, dv = _heads(made[0], 3, heads)
    (g,), (q, k, v) = _heads(y, 1, heads), _heads(x, 3, heads)
    return _backwards(g, q, k, v, causal, (dq, dk, dv), made[0])
