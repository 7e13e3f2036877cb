"""Panels: the parts of a matrix that tiles read, copied next to each other; how wide they are.

Copies move whole vectors, and a transposition is done in registers, in the language of tile.py. All
take addresses and strides in bytes; `kind` is a number of the arrays' type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from .runtime import inline, pointer_of
from .tile import (
    ROWS,
    ROWS_4,
    WIDE,
    WORD,
    load,
    shuffle,
    store,
    vector_type,
)
from .vectors import VECTOR_BYTES

GROUP_BYTES = 384 * 1024  # of panels that are packed at a time, to stay in the core's cache

# ---- transposition in registers ------------------------------------------------------------------


@intrinsic
def transpose(
    typing: Any, kind: Any, source: Any, source_row: Any, target: Any, target_row: Any
) -> Any:
    """A square of vectors: target[j, i] = source[i, j].

    One stage takes rows i and i + n/2 and puts their elements alternately into rows 2i and 2i + 1;
    like a perfect shuffle of cards, log2(n) stages bring element (i, j) to (j, i).
    """

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        _, source, source_row, target, target_row = args
        _, vector, n = vector_type(context, kind)
        at = lambda start, row, i: b.add(start, b.mul(row, ir.Constant(WORD, i)))
        rows = [load(b, vector, at(source, source_row, i)) for i in range(n)]
        low = [i // 2 + (i % 2) * n for i in range(n)]
        high = [i + n // 2 for i in low]
        for _ in range(n.bit_length() - 1):
            pairs = [(rows[i], rows[i + n // 2]) for i in range(n // 2)]
            rows = [shuffle(b, x, y, order) for x, y in pairs for order in (low, high)]
        for i, row in enumerate(rows):
            store(b, row, at(target, target_row, i))
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 4), emit


@intrinsic
def move(typing: Any, kind: Any, source: Any, target: Any) -> Any:
    """Copy one vector."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        store(b, load(b, vector_type(context, kind)[1], args[1]), args[2])
        return context.get_dummy_value()

    return types.void(kind, types.intp, types.intp), emit


def _make_mover(n: int) -> Any:
    """Copy n numbers that lie side by side."""

    @intrinsic
    def mover(typing: Any, kind: Any, source: Any, target: Any) -> Any:
        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            store(b, load(b, ir.VectorType(context.get_value_type(kind), n), args[1]), args[2])
            return context.get_dummy_value()

        return types.void(kind, types.intp, types.intp), emit

    return mover


_move_rows, _move_rows_4 = _make_mover(ROWS), _make_mover(ROWS_4)


# ---- panels --------------------------------------------------------------------------------------


def tiling(rows: int, lanes: int, per_vector: int) -> tuple[int, int]:
    """How many vectors wide the panels are, and the elements computed with the padding."""
    needed = -(-lanes // per_vector)
    three = -(-rows // ROWS) * ROWS * (needed + 0.3 * (needed % 3 == 1))  # one alone: many loads
    four = -(-rows // ROWS_4) * ROWS_4 * -(-needed // 4) * 4
    vectors, area = (4, four) if WIDE and four < three else (3, three)
    return vectors, int(area) * per_vector


def cost(a: Any, b: Any, c: Any) -> float:
    """About how many cycles a core takes with these roles."""
    (rows, k), lanes, size = a.shape, b.shape[1], a.dtype.itemsize
    per_vector = VECTOR_BYTES // size
    _, area = tiling(rows, lanes, per_vector)
    return (
        area * k / (2 * per_vector)
        + a.size * (0 if a.strides[1] == size else 0.1 if a.strides[0] == size else 0.5)
        + b.size * (0.1 if b.strides[1] == size else 0.3 if b.strides[0] == size else 0.8)
        + c.size * (0.1 if c.strides[1] == size else 0.3 if c.strides[0] == size else 0.8)
    )


def panels_of(lanes: int, per_vector: int, vectors: int, even: bool) -> Any:
    """Where panels begin, and the end: of about equal width, an even number to be shared."""
    needed = -(-lanes // per_vector)
    count = -(-needed // vectors)
    count += count % 2 if even and vectors < 4 and count > 1 else 0
    starts = [q * needed // count * per_vector for q in range(count)]
    return np.array([*starts, lanes], dtype=np.int64)


@inline
def pack(kind, size, panel, width, b, b_row, b_col, k, lanes):  # type: ignore[no-untyped-def]
    """B[k, lanes] as k rows of `width` numbers, zeros beyond the lanes."""
    n = VECTOR_BYTES // size
    row = width * size
    done = lanes // n * n
    k_done = 0  # rows of the panel whose first `done` lanes are filled
    if b_col == size:
        k_done = k
        if done == 3 * n:  # the usual panel, its copies written out
            for i in range(k):
                move(kind, b + i * b_row, panel + i * row)
                move(kind, b + i * b_row + VECTOR_BYTES, panel + i * row + VECTOR_BYTES)
                move(kind, b + i * b_row + 2 * VECTOR_BYTES, panel + i * row + 2 * VECTOR_BYTES)
        else:
            for i in range(k):
                for j in range(0, done, n):
                    move(kind, b + i * b_row + j * size, panel + i * row + j * size)
    elif b_row == size:
        k_done = k // n * n
        for i in range(0, k_done, n):
            for j in range(0, done, n):
                transpose(kind, b + i * size + j * b_col, b_col, panel + i * row + j * size, row)
    if k_done == k and done == width:
        return
    whole = carray(pointer_of(kind, panel), k * width)
    step, beside = b_row // size, b_col // size
    from_b = carray(pointer_of(kind, b), (k - 1) * step + (lanes - 1) * beside + 1)
    for i in range(k):
        for j in range(done if i < k_done else 0, lanes):
            whole[i * width + j] = from_b[i * step + j * beside]
        for j in range(lanes, width):
            whole[i * width + j] = 0


@inline
def pack_rows(kind, size, to, high, a, a_row, a_col, k, rows):  # type: ignore[no-untyped-def]
    """The rows of A that a tile needs, `high` numbers a step of k, zeros beyond the rows."""
    if a_row == size and rows == high:
        for i in range(k):
            if high == ROWS:
                _move_rows(kind, a + i * a_col, to + i * ROWS * size)
            else:
                _move_rows_4(kind, a + i * a_col, to + i * ROWS_4 * size)
        return
    target = carray(pointer_of(kind, to), k * high)
    down, along = a_row // size, a_col // size
    source = carray(pointer_of(kind, a), (rows - 1) * down + (k - 1) * along + 1)
    for i in range(k):
        for r in range(rows):
            target[i * high + r] = source[r * down + i * along]
        for r in range(rows, high):
            target[i * high + r] = 0


@inline
def unpack(kind, size, scratch, width, c, c_row, c_lane, rows, lanes, onto):  # type: ignore[no-untyped-def]
    """The valid part of tiles written (or added) to C, whose strides may be any."""
    n = VECTOR_BYTES // size
    r_done, l_done = 0, 0
    if c_row == size and not onto:
        r_done, l_done = rows // n * n, lanes // n * n
        for r in range(0, r_done, n):
            for j in range(0, l_done, n):
                from_tile = scratch + (r * width + j) * size
                transpose(kind, from_tile, width * size, c + r * size + j * c_lane, c_lane)
    tile = carray(pointer_of(kind, scratch), rows * width)
    row, lane = c_row // size, c_lane // size
    target = carray(pointer_of(kind, c), (rows - 1) * row + (lanes - 1) * lane + 1)
    if lane == 1:
        for r in range(rows):
            for j in range(lanes):
                before = target[r * row + j] if onto else kind
                target[r * row + j] = before + tile[r * width + j]
    else:
        for j in range(lanes):
            for r in range(r_done if j < l_done else 0, rows):
                before = target[r * row + j * lane] if onto else kind
                target[r * row + j * lane] = before + tile[r * width + j]
