"""Matrix products: C = A @ B, for any strides, with an elementwise function at the end of a block.

    C[r, l] = sum_k A[r, k] B[k, l]                      A (rows, k), B (k, lanes), C (rows, lanes)

From plain to fast:

1. Three loops, r, l, k: a multiply-add at a time, 1 to 2 GFLOP/s.
2. Vectors: sixteen neighbouring l at once (AVX-512). Every multiply-add loads from B: the loads are
   the limit.
3. A tile in registers (tile.py): 8 rows of 3 vectors are summed over k at once. A step of k loads 3
   vectors of B and broadcasts 8 numbers of A for 24 multiply-adds: arithmetic is the limit. Two
   steps share the counting of the loop, which would take a tenth of the instructions.
4. Panels (`pack`): the columns of B that a tile needs lie far apart in memory (a row of B is
   kilobytes long, often a power of two, which the caches handle badly). They are copied next to
   each other once for all rows, and stay in the core's cache. While tiles compute, they fetch what
   comes next.
5. Groups: where A is large and B small (a weight's gradient), a group of panels that fits into the
   core's cache is packed at once and A passes by, a strip of rows at a time.
6. Roles: A @ B.T has the wrong numbers side by side. Its transpose, B @ A.T, has B where numbers
   are broadcast, which takes any stride, and the small A as the panel. A strip of tiles is then
   stored transposed. `cost` weighs packing and padding.
7. Cores: a worker takes consecutive strips, group by group. Every sum runs over k in the same
   order, whoever takes its tile, so results do not depend on the number of threads.
8. The epilogue: bias, activation, masks run on a finished block while it is in the cache.
9. Parts: products with the same B (a network applied to real and to fake images) share its panels,
   and a sum of products (the gradient of a weight that was used twice) is one product with a longer
   k. With an update, a gradient is used strip by strip and never stored. What the update reads and
   writes comes from memory, which is slow in short runs: so a group is as wide as the matrix, panel
   by panel past a strip of A, and strips are of equal height.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..binding import kernel
from .panels import GROUP_BYTES, cost, pack, pack_rows, panels_of, tiling, unpack
from .runtime import (
    Call,
    address_of,
    call_block,
    call_update,
    flush_subnormals,
    inline,
    int64_pointer,
    lines,
    native,
    restore,
    threads,
    word,
    workspace,
)
from .tile import ROWS, ROWS_4, TURN, VECTOR_BYTES, WIDE, tile

NEVER = 1 << 62  # an operation on its own is np.matmul's: binding takes longer than it can gain
KC = 1024  # how much of k is packed at a time
UPDATE_BYTES = 2400 * 1024  # of panels where an update takes the sums: whole rows of its arrays
A_BYTES = 512 * 1024  # of A that every panel meets again, where B passes by
MANY = 200  # rows of A: then B is the one that stays
EPILOGUE = 16  # multiply-adds that an element of an epilogue takes as long as, about
FINISHED = 32 * 1024  # elements of C that wait for their epilogue in the cache
STRIP = 48 if WIDE else 24  # rows transposed or packed at once: whole tiles, whole vectors

# The table of arguments; strides, SHARE, BEFORE and PRIVATE in bytes. ALONG: what the parts are,
# 0 more rows, 1 more lanes, 2 more of k. LEFTS: address of the lanes where panels begin, and of
# the end. From PART on, five words a part: addresses of A, B, C, of the epilogue and of its table.
# SHARE is a worker's workspace: a strip of tiles, a strip of A, from PRIVATE on a strip of C that
# only an update sees, from BEFORE on the panels.
(
    N_ROWS, N_K, A_ROW, A_COL, B_ROW, B_COL, C_ROW, C_LANE, ACCUMULATE, TURNED, UPDATE, VECTORS,
    BLOCK, GROUP, HEIGHT, WORKSPACE, SHARE, BEFORE, PRIVATE, PARTS, ALONG, PANELS, LEFTS, PART,
) = range(24)  # fmt: skip
MORE_ROWS, MORE_LANES, MORE_K = 0, 1, 2


@inline
def _part(args, s, i):  # type: ignore[no-untyped-def]
    return word(args, PART + 5 * s + i)


@inline
def _left(args, q):  # type: ignore[no-untyped-def]
    """Where panel q of a part begins."""
    return int64_pointer(word(args, LEFTS))[q]


@inline
def _counts(args):  # type: ignore[no-untyped-def]
    """Strips and panels of a part, strips and panels of all, and how many parts k has."""
    parts, along, panels = word(args, PARTS), word(args, ALONG), word(args, PANELS)
    strips = (word(args, N_ROWS) + word(args, HEIGHT) - 1) // word(args, HEIGHT)
    all_strips = strips * parts if along == MORE_ROWS else strips
    all_panels = panels * parts if along == MORE_LANES else panels
    return strips, panels, all_strips, all_panels, parts if along == MORE_K else 1


@inline
def _width(here, vectors, n):  # type: ignore[no-untyped-def]
    """How many numbers a row of a panel has: whole vectors, as many as its lanes need."""
    return 4 * n if vectors == 4 else (here + n - 1) // n * n


@inline
def _product(worker, workers, args, kind, size):  # type: ignore[no-untyped-def]
    n = VECTOR_BYTES // size
    _, _, strips, all_panels, deep = _counts(args)
    k, block, group = word(args, N_K), word(args, BLOCK), word(args, GROUP)
    wide = word(args, VECTORS) * n  # lanes of a panel
    groups = (all_panels + group - 1) // group
    first, end = groups * strips * worker // workers, groups * strips * (worker + 1) // workers
    scratch = word(args, WORKSPACE) + worker * word(args, SHARE)
    panels = scratch + word(args, BEFORE)
    # Epilogues run on blocks that fit the cache, as wide as can be: random words come by the dozen.
    every = 1 if word(args, UPDATE) or not word(args, TURNED) else 8  # strips
    waits = all_panels  # the first of the finished panels whose epilogue has not run
    while first < end:
        g = first // strips
        i0, i1 = first - g * strips, min(end - g * strips, strips)
        q0, q1 = g * group, min((g + 1) * group, all_panels)
        for k0 in range(0, k, block):
            depth = min(block, k - k0)
            for q in range(q0, q1):
                to = panels + (q - q0) * block * deep * wide * size
                _pack_panel(args, kind, size, to, q, k0, depth)
            for i in range(i0, i1):
                _strip(args, kind, size, i, k0, depth, q0, q1, panels, scratch)
                ends = (i + 1 - i0) % every == 0 or i + 1 == i1
                if (group > 1 or word(args, UPDATE)) and k0 + depth == k and ends:
                    begins = i - (i - i0) % every
                    _finish(args, size, begins, i + 1, q0, q1, scratch)
        if group == 1 and not word(args, UPDATE):
            if i0 > 0 or i1 < strips:
                _finish(args, size, i0, i1, q0, q1, scratch)
            else:
                waits = min(waits, q0)
                if (q1 - waits) * wide * strips * word(args, HEIGHT) >= FINISHED:
                    _finish(args, size, 0, strips, waits, q1, scratch)
                    waits = all_panels
        first = g * strips + i1
    if waits < all_panels:
        _finish(args, size, 0, strips, waits, end // strips, scratch)


@inline
def _pack_panel(args, kind, size, to, q, k0, depth):  # type: ignore[no-untyped-def]
    """Panel q of B (of the sum's Bs, one below the other)."""
    n = VECTOR_BYTES // size
    _, part_panels, _, _, deep = _counts(args)
    b_row, b_col, vectors = word(args, B_ROW), word(args, B_COL), word(args, VECTORS)
    t = q // part_panels
    left = _left(args, q - t * part_panels)
    here = _left(args, q - t * part_panels + 1) - left
    width = _width(here, vectors, n)
    for s in range(deep):
        from_b = _part(args, t + s, 1) + k0 * b_row + left * b_col
        pack(kind, size, to + s * depth * width * size, width, from_b, b_row, b_col, depth, here)


@inline
def _strip(args, kind, size, i, k0, depth, q0, q1, panels, scratch):  # type: ignore[no-untyped-def]
    """Strip i of C in the panels q0:q1, with the part of k that is packed in them."""
    n = VECTOR_BYTES // size
    part_strips, part_panels, _, _, deep = _counts(args)
    rows, vectors = word(args, N_ROWS), word(args, VECTORS)
    a_row, a_col = word(args, A_ROW), word(args, A_COL)
    c_row, c_lane = word(args, C_ROW), word(args, C_LANE)
    high, wide, height = ROWS_4 if vectors == 4 else ROWS, vectors * n, word(args, HEIGHT)
    s = i // part_strips
    r0 = (i - s * part_strips) * height
    r1 = min(r0 + height, rows)
    onto = 1 if k0 > 0 or word(args, ACCUMULATE) else 0
    from_a = _part(args, s, 0) + r0 * a_row + k0 * a_col
    tiles, n_panels = (r1 - r0 + high - 1) // high, q1 - q0
    contiguous = a_col == size and a_row == word(args, N_K) * size
    tile_bytes = high * a_row
    packs = a_col != size or deep > 1
    if packs:  # the numbers of a row lie far apart: they are packed by tiles
        packed = scratch + height * wide * size
        for t in range(tiles):
            for j in range(deep):
                rows_a = _part(args, s + j, 0) + (r0 + t * high) * a_row + k0 * a_col
                to = packed + (t * deep + j) * depth * high * size
                n_rows = min(high, r1 - r0 - t * high)
                pack_rows(kind, size, to, high, rows_a, a_row, a_col, depth, n_rows)
        from_a, a_row, a_col, tile_bytes = packed, size, high * size, deep * depth * high * size
    if word(args, UPDATE):
        c_row = word(args, GROUP) * wide * size
    plain = c_lane == size  # else a strip is stored panel by panel
    by_rows = plain and not word(args, UPDATE)  # all panels of a tile of A before the next tile
    several = word(args, ALONG) == MORE_LANES
    panel_bytes = word(args, BLOCK) * deep * wide * size
    for x in range(tiles if by_rows else n_panels):
        for y in range(n_panels if by_rows else tiles):
            t, q = (x, q0 + y) if by_rows else (y, q0 + x)
            part = q // part_panels if several else 0  # a division takes as long as 50 sums
            left = _left(args, q - part * part_panels)
            here = _left(args, q - part * part_panels + 1) - left
            here_rows = min(high, r1 - r0 - t * high)
            width = _width(here, vectors, n)
            panel = panels + (q - q0) * panel_bytes
            start = from_a + t * tile_bytes
            strip_c = _part(args, s + part, 2) + r0 * c_row + left * c_lane
            if word(args, UPDATE):
                strip_c = scratch + word(args, PRIVATE) + (left - _left(args, q0)) * size
            to, to_row = strip_c + t * high * c_row, c_row
            direct = plain and here == width and here_rows == high
            if not direct:
                to, to_row = scratch + t * high * width * size, width * size
            ahead, step = panel, 0
            if q == q0 and contiguous:
                ahead, step = start + high * a_row, TURN * high * size  # the rows of the next tile
            elif word(args, UPDATE):  # each tile fetches its part of the next panel
                following = panel + panel_bytes if q + 1 < q1 else panels
                turns = depth * deep // (1 if vectors == 4 else TURN)
                ahead = following + t * (panel_bytes // tiles)
                step = panel_bytes // tiles // max(turns, 1)
            tile(
                kind, width // n, packs, start, a_row, a_col, here_rows - 1, panel, to, to_row,
                depth * deep, onto if direct else 0, ahead, step,
            )  # fmt: skip
            if plain and not direct:
                to_c = strip_c + t * high * c_row
                unpack(kind, size, to, width, to_c, c_row, c_lane, here_rows, here, onto)
            elif not plain and t == tiles - 1:
                unpack(kind, size, scratch, width, strip_c, c_row, c_lane, r1 - r0, here, onto)


@inline
def _finish(args, size, i0, i1, q0, q1, scratch):  # type: ignore[no-untyped-def]
    """The epilogues on finished strips and panels; their rows and columns are those of a part."""
    n = VECTOR_BYTES // size
    part_strips, part_panels, _, _, _ = _counts(args)
    wide, height = word(args, VECTORS) * n, word(args, HEIGHT)
    while i0 < i1:
        s = i0 // part_strips
        i2 = min(i1, (s + 1) * part_strips)
        r0 = (i0 - s * part_strips) * height
        r1 = min((i2 - s * part_strips) * height, word(args, N_ROWS))
        q = q0
        while q < q1:
            t = q // part_panels
            q2 = min(q1, (t + 1) * part_panels)
            l0, l1 = _left(args, q - t * part_panels), _left(args, q2 - t * part_panels)
            function, table = _part(args, s + t, 3), _part(args, s + t, 4)
            if word(args, UPDATE):
                row = word(args, GROUP) * wide * size
                origin = scratch + word(args, PRIVATE) - r0 * row - l0 * size
                call_update(function, r0, r1, l0, l1, table, origin, row)
            elif function and word(args, TURNED):
                call_block(function, l0, l1, r0, r1, table)
            elif function:
                call_block(function, r0, r1, l0, l1, table)
            q = q2
        i0 = i2


@native
def _product32(worker, workers, args):  # type: ignore[no-untyped-def]
    before = flush_subnormals()
    _product(worker, workers, args, np.float32(0), 4)
    restore(before)


@native
def _product64(worker, workers, args):  # type: ignore[no-untyped-def]
    before = flush_subnormals()
    _product(worker, workers, args, np.float64(0), 8)
    restore(before)


# ---- choosing ------------------------------------------------------------------------------------


def _even(rows: int, high: int) -> int:
    """Rows of a strip, 40 to 64 in whole tiles: so that the busiest worker has as few as can be."""
    heights = range(-(-40 // high) * high, 65, high)
    strips = {h: -(-rows // h) for h in heights}
    busiest = {h: -(-strips[h] // threads()) * h for h in heights}
    return min(heights, key=lambda h: (busiest[h], -h))


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


@kernel(eager_from=NEVER)
def matmul_nd(x: Any, y: Any, *, out: Any = None, accumulate: bool = False) -> Any:
    """x @ y, matrices or stacks of them; strides may be any. `accumulate` adds to out."""
    if x.dtype != y.dtype or x.dtype not in (np.float32, np.float64):
        return NotImplemented
    if x.size == 0 or y.size == 0:
        return NotImplemented
    if x.ndim > 2 or y.ndim > 2:
        return _batch(x, y, out)
    out = np.empty((x.shape[0], y.shape[1]), x.dtype) if out is None else out
    return products([x], [y], [out], accumulate=accumulate)


def products(
    xs: list[Any], ys: list[Any], outs: list[Any], *, epilogues: list[Any] | None = None,
    accumulate: bool = False, update: Any = None,
) -> Any:  # fmt: skip
    """Products of one shape and layout as one call; NotImplemented if they cannot be.

    Args:
        xs, ys: matrices of one dtype; with several outs, all ys are the same one.
        outs: a matrix a product, or a single one for the sum of all products.
        epilogues: for each out (address of a block function, address of its table): it runs on each
            block of out when the block is final.
        accumulate: add to outs.
        update: what optim.update_of made: it uses the sum, strip by strip, which is not stored;
            outs is then empty.
    """
    x, y, size = xs[0], ys[0], xs[0].dtype.itemsize
    (rows, k), lanes, parts = x.shape, y.shape[1], len(xs)
    if update is not None:
        outs = [np.broadcast_to(x[:1, :1], (rows, lanes))]  # only its shape counts
    layouts = [{(m.shape, m.strides, m.dtype) for m in matrices} for matrices in (xs, ys, outs)]
    if any(len(found) != 1 for found in layouts) or not (_served(x) and _served(y)):
        return NotImplemented
    out = outs[0]
    if (update is None and not _served(out)) or out.shape != (rows, lanes):
        return NotImplemented
    c_strides = out.strides if update is None else (lanes * size, size)
    turned = update is None and cost(y.T, x.T, out.T) < cost(x, y, out)
    a, b, c = (ys, xs, outs) if turned else (xs, ys, outs)
    if turned:
        a, b, c, c_strides = [m.T for m in a], [m.T for m in b], [m.T for m in c], c_strides[::-1]
    along = MORE_K if len(outs) < parts else MORE_LANES if turned else MORE_ROWS
    deep = parts if along == MORE_K else 1
    all_rows = c[0].shape[0] * (parts if along == MORE_ROWS else 1)
    per_vector = VECTOR_BYTES // size
    vectors, _ = tiling(*c[0].shape, per_vector)
    wide, high = vectors * per_vector, ROWS_4 if vectors == 4 else ROWS
    packs = a[0].strides[1] != size or deep > 1
    height = STRIP if packs or c_strides[1] != size else high
    height = height if update is None else _even(all_rows, high)
    passing = packs or all_rows > MANY or all_rows >= 4 * c[0].shape[1]  # A streams, B stays
    deepest = KC if passing else min(max(A_BYTES // (all_rows * size), 256), KC)
    whole = deep > 1 or update is not None  # then k is packed at once, however long
    block = k if whole else -(-k // -(-k // deepest))  # equal parts of k
    lefts = panels_of(c[0].shape[1], per_vector, vectors, even=not passing)
    panels = (len(lefts) - 1) * (parts if along == MORE_LANES else 1)
    together = GROUP_BYTES if update is None else UPDATE_BYTES
    group = max(1, together // (block * deep * wide * size)) if passing else 1
    group = -(-panels // -(-panels // group))  # of equal size
    work = rows * lanes * parts * (k + (EPILOGUE if epilogues else 0))
    workers = threads() if work > 100_000 else 1
    private = lines(height * (wide + packs * block * deep) * size)
    before = private + (update is not None) * lines(height * group * wide * size)
    share = lines(before + group * block * deep * wide * size)
    buffer = workspace(threads() * share // 4)
    ends = epilogues or [(0, 0)] * len(outs)
    if update is not None:
        ends = [(update.block.address, address_of(update.call.args))]
    table = [
        c[0].shape[0], k, *a[0].strides, *b[0].strides, *c_strides, accumulate, turned,
        update is not None, vectors, block, group, height, buffer, share, before, private, parts,
        along, len(lefts) - 1, lefts,
    ]  # fmt: skip
    for s in range(parts):
        o = min(s, len(outs) - 1)
        table += [a[0 if turned and along != MORE_K else s], b[s if turned or deep > 1 else 0]]
        table += [c[o] if update is None else 0, *ends[o]]
    function = _product32 if size == 4 else _product64
    call = Call(function, table, out=out, workers=workers, keep=(xs, ys, update, lefts))
    if update is not None:
        call.set_rows(np.concatenate([update.call.rows, call.rows]))
        call.out = update.call.out
    return call
