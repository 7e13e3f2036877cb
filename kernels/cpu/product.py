"""The matrix product on a worker's share; matmul.py says how it came to be, and binds it."""

from __future__ import annotations

from .panels import pack, pack_rows, unpack
from .runtime import (
    Table,
    both,
    call_block,
    call_update,
    flush_subnormals,
    inline,
    int64_pointer,
    restore,
    size_of,
    word,
)
from .tile import ROWS, ROWS_4, TURN, tile
from .vectors import VECTOR_BYTES

FINISHED = 32 * 1024  # elements of C that wait for their epilogue in the cache

# The table of arguments; strides and what ends a worker's `share` of the workspace are in bytes: a
# strip of tiles, a strip of A, from `private` on a strip of C that only an update sees, from
# `before` on the panels. `along`: what the parts are. `lefts`: the lanes where panels begin, and
# the end. Behind it comes for each part: A, B, C, the epilogue and its table.
T = Table(
    "n_rows n_k a_row a_col b_row b_col c_row c_lane accumulate turned update vectors block group "
    "height workspace share before private parts along panels lefts"
)
PART = Table("a b c function table")
FIRST, WORDS = len(T), len(PART)
MORE_ROWS, MORE_LANES, MORE_K = 0, 1, 2


@inline
def _part(args, s, i):  # type: ignore[no-untyped-def]
    return word(args, FIRST + WORDS * s + i)


@inline
def _left(args, q):  # type: ignore[no-untyped-def]
    """Where panel q of a part begins."""
    return int64_pointer(word(args, T.lefts))[q]


@inline
def _counts(args):  # type: ignore[no-untyped-def]
    """Strips and panels of a part, strips and panels of all, and how many parts k has."""
    parts, along, panels = word(args, T.parts), word(args, T.along), word(args, T.panels)
    strips = (word(args, T.n_rows) + word(args, T.height) - 1) // word(args, T.height)
    all_strips = strips * parts if along == MORE_ROWS else strips
    all_panels = panels * parts if along == MORE_LANES else panels
    return strips, panels, all_strips, all_panels, parts if along == MORE_K else 1


@inline
def _width(here, vectors, n):  # type: ignore[no-untyped-def]
    """How many numbers a row of a panel has: whole vectors, as many as its lanes need."""
    return 4 * n if vectors == 4 else (here + n - 1) // n * n


@inline
def _pack_panel(args, kind, size, to, q, k0, depth):  # type: ignore[no-untyped-def]
    """Panel q of B (of the sum's Bs, one below the other)."""
    n = VECTOR_BYTES // size
    _, part_panels, _, _, deep = _counts(args)
    b_row, b_col, vectors = word(args, T.b_row), word(args, T.b_col), word(args, T.vectors)
    t = q // part_panels
    left = _left(args, q - t * part_panels)
    here = _left(args, q - t * part_panels + 1) - left
    width = _width(here, vectors, n)
    for s in range(deep):
        from_b = _part(args, t + s, PART.b) + k0 * b_row + left * b_col
        pack(kind, size, to + s * depth * width * size, width, from_b, b_row, b_col, depth, here)


@inline
def _strip(args, kind, size, i, k0, depth, q0, q1, panels, scratch):  # type: ignore[no-untyped-def]
    """Strip i of C in the panels q0:q1, with the part of k that is packed in them."""
    n = VECTOR_BYTES // size
    part_strips, part_panels, _, _, deep = _counts(args)
    rows, vectors = word(args, T.n_rows), word(args, T.vectors)
    a_row, a_col = word(args, T.a_row), word(args, T.a_col)
    c_row, c_lane = word(args, T.c_row), word(args, T.c_lane)
    high, wide, height = ROWS_4 if vectors == 4 else ROWS, vectors * n, word(args, T.height)
    s = i // part_strips
    r0 = (i - s * part_strips) * height
    r1 = min(r0 + height, rows)
    onto = 1 if k0 > 0 or word(args, T.accumulate) else 0
    from_a = _part(args, s, PART.a) + r0 * a_row + k0 * a_col
    tiles, n_panels = (r1 - r0 + high - 1) // high, q1 - q0
    contiguous = a_col == size and a_row == word(args, T.n_k) * size
    tile_bytes = high * a_row
    packs = a_col != size or deep > 1
    if packs:  # the numbers of a row lie far apart: they are packed by tiles
        packed = scratch + height * wide * size
        for t in range(tiles):
            for j in range(deep):
                rows_a = _part(args, s + j, PART.a) + (r0 + t * high) * a_row + k0 * a_col
                to = packed + (t * deep + j) * depth * high * size
                n_rows = min(high, r1 - r0 - t * high)
                pack_rows(kind, size, to, high, rows_a, a_row, a_col, depth, n_rows)
        from_a, a_row, a_col, tile_bytes = packed, size, high * size, deep * depth * high * size
    if word(args, T.update):
        c_row = word(args, T.group) * wide * size
    plain = c_lane == size  # else a strip is stored panel by panel
    by_rows = plain and not word(args, T.update)  # all panels of a tile of A before the next tile
    several = word(args, T.along) == MORE_LANES
    panel_bytes = word(args, T.block) * deep * wide * size
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
            strip_c = _part(args, s + part, PART.c) + r0 * c_row + left * c_lane
            if word(args, T.update):
                strip_c = scratch + word(args, T.private) + (left - _left(args, q0)) * size
            to, to_row = strip_c + t * high * c_row, c_row
            direct = plain and here == width and here_rows == high
            if not direct:
                to, to_row = scratch + t * high * width * size, width * size
            ahead, step = panel, 0
            if q == q0 and contiguous:
                ahead, step = start + high * a_row, TURN * high * size  # the rows of the next tile
            elif word(args, T.update):  # each tile fetches its part of the next panel
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
    wide, height = word(args, T.vectors) * n, word(args, T.height)
    while i0 < i1:
        s = i0 // part_strips
        i2 = min(i1, (s + 1) * part_strips)
        r0 = (i0 - s * part_strips) * height
        r1 = min((i2 - s * part_strips) * height, word(args, T.n_rows))
        q = q0
        while q < q1:
            t = q // part_panels
            q2 = min(q1, (t + 1) * part_panels)
            l0, l1 = _left(args, q - t * part_panels), _left(args, q2 - t * part_panels)
            function, table = _part(args, s + t, PART.function), _part(args, s + t, PART.table)
            if word(args, T.update):
                row = word(args, T.group) * wide * size
                origin = scratch + word(args, T.private) - r0 * row - l0 * size
                call_update(function, r0, r1, l0, l1, table, origin, row)
            elif function and word(args, T.turned):
                call_block(function, l0, l1, r0, r1, table)
            elif function:
                call_block(function, r0, r1, l0, l1, table)
            q = q2
        i0 = i2


@both
def product(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A worker's strips, group by group: pack the group's panels, then strips and epilogues."""
    before, size = flush_subnormals(), size_of(kind)
    n = VECTOR_BYTES // size
    _, _, strips, all_panels, deep = _counts(args)
    k, block, group = word(args, T.n_k), word(args, T.block), word(args, T.group)
    wide = word(args, T.vectors) * n  # lanes of a panel
    groups = (all_panels + group - 1) // group
    first, end = groups * strips * worker // workers, groups * strips * (worker + 1) // workers
    scratch = word(args, T.workspace) + worker * word(args, T.share)
    panels = scratch + word(args, T.before)
    # Epilogues run on blocks that fit the cache, as wide as can be: random words come by the dozen.
    every = 1 if word(args, T.update) or not word(args, T.turned) else 8  # strips
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
                if (group > 1 or word(args, T.update)) and k0 + depth == k and ends:
                    begins = i - (i - i0) % every
                    _finish(args, size, begins, i + 1, q0, q1, scratch)
        if group == 1 and not word(args, T.update):
            if i0 > 0 or i1 < strips:
                _finish(args, size, i0, i1, q0, q1, scratch)
            else:
                waits = min(waits, q0)
                if (q1 - waits) * wide * strips * word(args, T.height) >= FINISHED:
                    _finish(args, size, 0, strips, waits, q1, scratch)
                    waits = all_panels
        first = g * strips + i1
    if waits < all_panels:
        _finish(args, size, 0, strips, waits, end // strips, scratch)
    restore(before)
