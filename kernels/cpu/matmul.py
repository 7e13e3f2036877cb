"""Matrix products: C = A @ B, for any strides, with an elementwise function at the end of a block.

    C[r, l] = sum_k A[r, k] B[k, l]                      A (rows, k), B (k, lanes), C (rows, lanes)

From plain to fast:

1. Three loops, r, l, k: a multiply-add at a time, 1 to 2 GFLOP/s.
2. Vectors: sixteen neighbouring l at once (AVX-512). Every multiply-add loads from B: the loads are
   the limit.
3. A tile in registers (tile.py): 8 rows of 3 vectors are summed over k at once. A step of k loads 3
   vectors of B and broadcasts 8 numbers of A for 24 multiply-adds: arithmetic is the limit.
4. Panels (`pack`): the columns of B that a tile needs lie far apart in memory (a row of B is
   kilobytes long, often a power of two, which the caches handle badly). They are copied next to
   each other once for all rows, and stay in the core's cache. While tiles compute, they fetch what
   comes next.
5. Groups: where A is large and B small (a weight's gradient), a group of panels that fits into the
   core's cache is packed at once and A passes by, a strip of rows at a time.
6. Roles: A @ B.T has the wrong numbers side by side. Its transpose, B @ A.T, has B where numbers
   are broadcast, which takes any stride, and the small A as the panel. A strip of tiles is then
   stored transposed. `_cost` weighs packing and padding.
7. Cores: a worker takes consecutive strips, group by group. Every sum runs over k in the same
   order, whoever takes its tile, so results do not depend on the number of threads.
8. The epilogue: bias, activation, masks run on a finished block while it is in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .runtime import Call, call_block, inline, kernel, native, threads, word, workspace
from .tile import ROWS, ROWS_4, VECTOR_BYTES, WIDE, pack, tile, unpack

NARROW = 4  # rows or columns: most of a tile would be padding
SMALLEST = 8192  # multiply-adds: below it, np.matmul is done before the call is bound
KC = 1024  # how much of k is packed at a time
GROUP_BYTES = 384 * 1024  # of B that is packed at a time, where A passes by
A_BYTES = 512 * 1024  # of A that every panel meets again, where B passes by
STRIP = 48 if WIDE else 24  # rows transposed or packed at once: whole tiles, whole vectors

# The table: 0 rows 1 lanes 2 k | 3 a 4 a_row 5 a_col | 6 b 7 b_row 8 b_col | 9 c 10 c_row 11 c_lane
# | 12 accumulate 13 epilogue 14 its table 15 transposed 16 workspace 17 vectors of a panel
# | 18 how much of k is packed at a time 19 panels of a group 20 rows of a strip 21 bytes of
# workspace a worker 22 bytes of it before the panels


@inline
def _product(worker, workers, args, kind, size):  # type: ignore[no-untyped-def]
    rows, lanes, k = word(args, 0), word(args, 1), word(args, 2)
    b, b_row, b_col = word(args, 6), word(args, 7), word(args, 8)
    vectors, block, group, high = word(args, 17), word(args, 18), word(args, 19), word(args, 20)
    wide = vectors * (VECTOR_BYTES // size)  # lanes of a panel
    strips = (rows + high - 1) // high
    groups = (lanes + group * wide - 1) // (group * wide)
    first, end = groups * strips * worker // workers, groups * strips * (worker + 1) // workers
    scratch = word(args, 16) + worker * word(args, 21)
    panels = scratch + word(args, 22)
    while first < end:
        g = first // strips
        i0, i1 = first - g * strips, min(end - g * strips, strips)
        l0, l1 = g * group * wide, min((g + 1) * group * wide, lanes)
        for k0 in range(0, k, block):
            depth = min(block, k - k0)
            for left in range(l0, l1, wide):
                to, from_b = panels + (left - l0) * block * size, b + k0 * b_row + left * b_col
                here = min(wide, l1 - left)
                width = _width(here, vectors, size)
                pack(kind, size, to, width, from_b, b_row, b_col, depth, here)
            for i in range(i0, i1):
                _strip(args, kind, size, i, k0, depth, l0, l1, panels, scratch)
                if group > 1 and k0 + depth == k:
                    _finish(args, i * high, min((i + 1) * high, rows), l0, l1)
        if group == 1:
            _finish(args, i0 * high, min(i1 * high, rows), l0, l1)
        first = g * strips + i1


@inline
def _width(here, vectors, size):  # type: ignore[no-untyped-def]
    """How many numbers a row of a panel has: whole vectors, as many as its lanes need."""
    n = VECTOR_BYTES // size
    return 4 * n if vectors == 4 else (here + n - 1) // n * n


@inline
def _strip(args, kind, size, i, k0, depth, l0, l1, panels, scratch):  # type: ignore[no-untyped-def]
    """Strip i of C, its lanes l0:l1, with the part of k that is packed in the panels."""
    rows, a, a_row, a_col = word(args, 0), word(args, 3), word(args, 4), word(args, 5)
    c, c_row, c_lane = word(args, 9), word(args, 10), word(args, 11)
    vectors, block, strip = word(args, 17), word(args, 18), word(args, 20)
    high = ROWS_4 if vectors == 4 else ROWS
    n = VECTOR_BYTES // size
    wide = vectors * n
    r0, r1 = i * strip, min((i + 1) * strip, rows)
    onto = 1 if k0 > 0 or word(args, 12) else 0
    from_a = a + r0 * a_row + k0 * a_col
    if a_col != size:  # the numbers of a row lie far apart: the strip is packed like a panel of B
        packed = scratch + strip * wide * size
        pack(kind, size, packed, strip, from_a, a_col, a_row, depth, r1 - r0)
        from_a, a_row, a_col = packed, size, strip * size
    plain = c_lane == size  # then tiles go along C's rows; else a strip is stored panel by panel
    tiles, n_panels = (r1 - r0 + high - 1) // high, (l1 - l0 + wide - 1) // wide
    for j in range(tiles * n_panels):
        t, left = (j // n_panels, j % n_panels) if plain else (j % tiles, j // tiles)
        left = l0 + left * wide
        here, deep = min(wide, l1 - left), min(high, r1 - r0 - t * high)
        width = _width(here, vectors, size)
        panel = panels + (left - l0) * block * size
        start = from_a + t * high * a_row
        to_c = c + (r0 + t * high) * c_row + left * c_lane
        direct = plain and here == width and deep == high
        to, to_row = (to_c, c_row) if direct else (scratch + t * high * width * size, width * size)
        add = onto if direct else 0
        ahead, step = panel, 0
        if left == l0 and a_col == size and a_row == word(args, 2) * size:
            ahead, step = start + high * a_row, high * size  # the rows of the next tile
        tile(
            kind, width // n, start, a_row, a_col, deep - 1, panel, to, to_row, depth, add, ahead,
            step,
        )  # fmt: skip
        if plain and not direct:
            unpack(kind, size, to, width, to_c, c_row, c_lane, deep, here, onto)
        elif not plain and t == tiles - 1:
            to_c = c + r0 * c_row + left * c_lane
            unpack(kind, size, scratch, width, to_c, c_row, c_lane, r1 - r0, here, onto)


@inline
def _finish(args, r0, r1, l0, l1):  # type: ignore[no-untyped-def]
    """The epilogue on a finished block; its rows and columns are those of the result."""
    if word(args, 13):
        if word(args, 15):
            call_block(word(args, 13), l0, l1, r0, r1, word(args, 14))
        else:
            call_block(word(args, 13), r0, r1, l0, l1, word(args, 14))


@native
def _product32(worker, workers, args):  # type: ignore[no-untyped-def]
    _product(worker, workers, args, np.float32(0), 4)


@native
def _product64(worker, workers, args):  # type: ignore[no-untyped-def]
    _product(worker, workers, args, np.float64(0), 8)


# ---- choosing ------------------------------------------------------------------------------------


def _tiling(rows: int, lanes: int, per_vector: int) -> tuple[int, int]:
    """How many vectors wide the panels are, and the elements computed with the padding."""
    needed = -(-lanes // per_vector)
    three = -(-rows // ROWS) * ROWS * (needed + 0.3 * (needed % 3 == 1))  # one alone: many loads
    four = -(-rows // ROWS_4) * ROWS_4 * -(-needed // 4) * 4
    vectors, area = (4, four) if WIDE and four < three else (3, three)
    return vectors, int(area) * per_vector


def _lines(n: int) -> int:
    """Bytes rounded up to whole lines of the cache."""
    return -(-n // 64) * 64


def _cost(a: Any, b: Any, c: Any) -> float:
    """About how many cycles a core takes with these roles."""
    (rows, k), lanes, size = a.shape, b.shape[1], a.dtype.itemsize
    per_vector = VECTOR_BYTES // size
    _, area = _tiling(rows, lanes, per_vector)
    return (
        area * k / (2 * per_vector)
        + a.size * (0 if a.strides[1] == size else 0.1 if a.strides[0] == size else 0.5)
        + b.size * (0.1 if b.strides[1] == size else 0.3 if b.strides[0] == size else 0.8)
        + c.size * (0.1 if c.strides[1] == size else 0.3 if c.strides[0] == size else 0.8)
    )


def _served(x: Any) -> bool:
    size = x.dtype.itemsize
    return all(s >= 0 and s % size == 0 for s in x.strides) and x.ndim == 2


def _batch(x: Any, y: Any, out: Any) -> Any:
    """Products of matrices along leading axes, which broadcast: one after the other in one call."""
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    if y.ndim == 2 and x.flags.c_contiguous and (out is None or out.flags.c_contiguous):
        flat = None if out is None else out.reshape(-1, out.shape[-1])
        call = matmul_nd.bind(x.reshape(-1, x.shape[-1]), y, out=flat)
        if call is not NotImplemented:
            call.out = call.out.reshape(*x.shape[:-1], y.shape[1]) if out is None else out
        return call
    out = np.empty((*lead, x.shape[-2], y.shape[-1]), x.dtype) if out is None else out
    xs, ys = np.broadcast_to(x, lead + x.shape[-2:]), np.broadcast_to(y, lead + y.shape[-2:])
    calls = [matmul_nd.bind(xs[i], ys[i], out=out[i]) for i in np.ndindex(lead)]
    if any(call is NotImplemented for call in calls):
        return NotImplemented
    calls[0].keep = (calls[0].keep, calls[1:])
    calls[0].set_rows(np.concatenate([call.rows for call in calls]))
    calls[0].out = out
    return calls[0]


@kernel
def matmul_nd(
    x: Any, y: Any, *, out: Any = None, accumulate: bool = False, epilogue: Any = None
) -> Any:
    """x @ y, matrices or stacks of them; strides may be any.

    `accumulate` adds to out. `epilogue`, for matrices, is (address of a block function, address of
    its table): it runs on each block of out when the block is final.
    """
    if x.dtype != y.dtype or x.dtype not in (np.float32, np.float64):
        return NotImplemented
    if x.size == 0 or y.size == 0:
        return NotImplemented
    if x.ndim > 2 or y.ndim > 2:
        return _batch(x, y, out)
    if not (_served(x) and _served(y)):
        return NotImplemented
    (rows, k), lanes, size = x.shape, y.shape[1], x.dtype.itemsize
    if (
        epilogue is None
        and not accumulate
        and (rows * k * lanes < SMALLEST or min(rows, lanes) < NARROW)
    ):
        return NotImplemented
    out = np.empty((rows, lanes), x.dtype) if out is None else out
    if not _served(out) or out.shape != (rows, lanes):
        return NotImplemented
    transposed = _cost(y.T, x.T, out.T) < _cost(x, y, out)
    a, b, c = (y.T, x.T, out.T) if transposed else (x, y, out)
    per_vector = VECTOR_BYTES // size
    vectors, _ = _tiling(*c.shape, per_vector)
    wide = vectors * per_vector
    high = ROWS_4 if vectors == 4 else ROWS
    packs = a.strides[1] != size
    strip = STRIP if packs or c.strides[1] != size else high
    passing = packs or c.shape[0] >= 4 * c.shape[1]  # A streams, B stays
    deepest = KC if passing else min(max(A_BYTES // (c.shape[0] * size), 256), KC)
    block = -(-k // -(-k // deepest))  # equal parts of k
    group = max(1, GROUP_BYTES // (block * wide * size)) if passing else 1
    group = min(group, -(-c.shape[1] // wide))
    workers = threads() if rows * k * lanes > 100_000 else 1
    # of each worker: the tiles of a strip, a strip of A, the panels
    before = _lines((strip * wide + packs * strip * block) * size)
    share = _lines(before + group * block * wide * size)
    buffer = workspace(threads() * share // 4)
    table = (
        *c.shape, k, a, *a.strides, b, *b.strides, c, *c.strides, accumulate, *(epilogue or (0, 0)),
        transposed, buffer, vectors, block, group, strip, share, before,
    )  # fmt: skip
    function = _product32 if size == 4 else _product64
    return Call(function, table, out=out, workers=workers, keep=(x, y))
