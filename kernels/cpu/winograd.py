"""Convolutions of 3 x 3 taps with fewer multiplications, and the gradients of both sides.

The multiply-adds of conv.py take 85 to 92 % of what a core can do, so only fewer of them are
faster. minimal.py says how four by four results come from 36 products in place of 144. From the
formula to a kernel:

1. The kernel's taps are changed once a call: 36 matrices (C, O), cut into panels of two vectors.
2. Images are cut into tiles of 4 x 4 results, which see 6 x 6 pixels; what is beyond the images is
   read from a vector of zeros, and results beyond them are written where nobody looks.
3. A block of tiles is changed into 36 matrices (tiles, C); 36 products with the panels, whose tile
   of sums is tile.py's, make matrices (tiles, O); these are changed into results. A block is so
   small that all of it stays in the core's cache, beside the panels.
4. The last product of a line of six serves the last of its four results only (minimal.py), which
   a tile at an edge may not have. Those tiles come first and last in a group of images, so that
   such a product is of some rows of a block: of sides of 7, this leaves 121 of 144 products.
5. The gradient of x is the same with the taps in reverse, C and O exchanged.
6. That of w sums over tiles: 36 products (C, tiles) (tiles, O), each block onto the last. Sums over
   CHUNK tiles or more begin anew, so that cores share them; at the end they are added up, in one
   order, and changed into taps.
7. Channels that fill no vector are copied, tile by tile, to where zeros fill it up.

**Where it is used** (`pays`). Sides of 4 n results have no tile in part; others lose some of what
is gained. Of windows on padding the direct kernel computes nothing. So the multiplications of the
one are compared with those of the other. With LEAST times fewer it takes 0.85 of the time at 16
channels and 0.7 at 64, with 2.5 and more (sides of 4, 7, 8, 10, 12, 14 ...) half. Below FEWEST
channels that are summed over, changing them takes longer than it saves, and below FEW that are
computed (a gradient of w: on either side). The number of images does not matter: an image has the
same result in any batch. Float64 stays direct: who asks for it wants the digits.

**Rounding.** Changes of tiles add and subtract numbers larger than the results. For up to 128
channels the error is at most 3e-6 of the largest result of an image, 1e-7 on average (measured
against float64, also with numbers that are all positive, far from zero or of many sizes). The
direct kernel has 1e-6 and 5e-8, and where all is positive it is worse, 2e-6 and 3e-7. The gradient
of w has 2e-6 and 2e-7, the direct one up to 8e-6 and 1e-6. What this does not follow is the size of
a single result: next to large numbers in a tile, small ones lose digits.

**Numbers that are not finite.** A result that is infinite or NaN by the formula is infinite or NaN
here; but so are the other results of a tile that sees such a pixel, and infinity may become NaN.
Other tiles and images are not touched. Pixels above 1e37 or results above 1e34 may overflow on the
way; results below 1e-37 may be lost, for numbers smaller than normal ones count as zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from .emit import chosen
from .minimal import (
    PIXELS,
    PLACES,
    RESULTS,
    TAPS,
    of_pixels,
    of_results,
    of_taps,
    to_results,
    to_taps,
)
from .panels import move, pack
from .runtime import (
    Call,
    Table,
    address_of,
    entry,
    float32_pointer,
    flush_subnormals,
    inline,
    int64_pointer,
    lines,
    native,
    restore,
    wide_vectors,
    word,
    workspace,
)
from .tile import ROWS, Place, Tile
from .vectors import VECTOR_BYTES
from .words import WORD

LEAST = 1.7  # it takes less time from so many direct multiplications for one here
FEWEST, FEW = 8, 4  # and from so many channels: see above
GROUP, GROUP_TILES = 8, 64  # images whose tiles are put in order, and about how many tiles
BLOCK = 32  # tiles that are changed and multiplied at a time
CHUNK = 192  # a sum is of so many tiles at least
MOST = 8  # there are so many sums of chunks at most,
SPACE = 8 << 20  # and they take so many bytes at most
DEPTH = 16  # rows of a panel that are changed at a time
KINDS = 4  # of tiles: see _kinds
KIND = np.float32(0)
N = VECTOR_BYTES // 4

# The table of arguments; strides and offsets are in bytes. `group`: how many images. `first`: where
# the kinds of tiles of an image begin, and the end; `block`: tiles. The images x and y, of so many
# `channels` and `lanes`, in whole vectors `x_row` and `y_row`; `x_at`, `y_at`: where the pixels of
# each tile of an image are. `seen` and `made`: from matrix to matrix of a block, which a worker has
# in its share. `vectors`: of a panel. `in_order`: a table of vectors side by side. The kernel w and
# its changed taps, of which there are `chunks` in the gradient of w, `chunk` apart, each in so many
# `parts` of its panels.
T = Table(
    "images group n_groups first block x channels x_row x_image x_at seen y lanes y_row y_image "
    "y_at made vectors nothing in_order w w_at w_row w_lane taps taps_apart chunks chunk parts "
    "workspace share"
)


@intrinsic
def _product(
    typing: Any, kind: Any, vectors: Any, a: Any, a_row: Any, a_col: Any, last: Any, panel: Any,
    c: Any, c_row: Any, k: Any, onto: Any,
) -> Any:  # fmt: skip
    """The tile of tile.py in one or two vectors, the numbers of A any number of bytes apart."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        _, which, a, a_row, a_col, last, panel, c, c_row, k, onto = args
        place = Place(a, a_row, a_col, last, panel, c, c_row, onto)

        def case(vectors: int) -> Any:
            def emit_tile() -> None:
                t = Tile(context, b, kind, place, ROWS, vectors)
                t.end(t.along_k(k, [WORD(0), panel, WORD(0), *t.begin()]))

            return emit_tile

        chosen(b, which, {(1,): case(1), (2,): case(2)})
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 10), emit


@inline
def _images(args, g):  # type: ignore[no-untyped-def]
    """How many images group g has."""
    return min(word(args, T.group), word(args, T.images) - word(args, T.group) * g)


@inline
def _tiles(args, g):  # type: ignore[no-untyped-def]
    """How many tiles group g has."""
    return _images(args, g) * entry(args, T.first, KINDS)


@inline
def _where(args, g, t):  # type: ignore[no-untyped-def]
    """The image and the tile in it that are number t of group g."""
    images, kind = _images(args, g), 0
    while t >= images * entry(args, T.first, kind + 1):
        kind += 1
    start = entry(args, T.first, kind)
    each = entry(args, T.first, kind + 1) - start
    t -= images * start
    return word(args, T.group) * g + t // each, start + t % each


@inline
def _needed(args, g, place, t0, t1):  # type: ignore[no-untyped-def]
    """Which of the tiles t0:t1 of a group need a product."""
    images = _images(args, g)
    down, across = place // PIXELS == PIXELS - 1, place % PIXELS == PIXELS - 1
    if across:
        t0 = max(t0, images * entry(args, T.first, 1))
    if down or across:
        t1 = min(t1, images * entry(args, T.first, 2 if down else 3))
    return t0, max(t0, t1)


@inline
def _clear(args, square):  # type: ignore[no-untyped-def]
    for i in range(PLACES):
        move(KIND, word(args, T.nothing), square + i * VECTOR_BYTES)


@inline
def _copy(source, source_at, target, target_at, count, lanes, aside):  # type: ignore[no-untyped-def]
    """So many lanes of vectors, from where one table says to where the other does."""
    wide_vectors()  # a function of its own, which compiles once
    for i in range(count):
        a, b = int64_pointer(source_at)[i], int64_pointer(target_at)[i]
        x = float32_pointer(source + a if a >= 0 else aside)
        y = float32_pointer(target + b if b >= 0 else aside)
        for lane in range(lanes):
            y[lane] = x[lane]


@inline
def _see(args, g, t0, t1, to, square):  # type: ignore[no-untyped-def]
    """What the tiles t0:t1 of a group see of x, changed: 36 matrices (tiles, channels)."""
    row, apart, nothing = word(args, T.x_row), word(args, T.seen), word(args, T.nothing)
    whole = 4 * word(args, T.channels) // VECTOR_BYTES * VECTOR_BYTES
    for t in range(t0, t1):
        image, tile = _where(args, g, t)
        at = word(args, T.x) + image * word(args, T.x_image)
        table, here = word(args, T.x_at) + 8 * PLACES * tile, to + (t - t0) * row
        for v in range(0, row, VECTOR_BYTES):
            source, where = at + v, table
            if v == whole:
                source, where = square, word(args, T.in_order)
                lanes = word(args, T.channels) - v // 4
                _copy(at + v, table, square, where, PLACES, lanes, nothing)
            of_pixels(KIND, source, where, here + v, apart, nothing)


@native
def _change_taps(worker, workers, args):  # type: ignore[no-untyped-def]
    """The 36 matrices of taps, DEPTH rows of a panel at a time."""
    before = flush_subnormals()
    channels, row = word(args, T.channels), word(args, T.vectors) * VECTOR_BYTES
    w_row, w_lane = word(args, T.w_row), word(args, T.w_lane)
    scratch, width = word(args, T.workspace) + worker * word(args, T.share), row // 4
    parts = (channels + DEPTH - 1) // DEPTH
    items = word(args, T.y_row) // row * parts
    for item in range(items * worker // workers, items * (worker + 1) // workers):
        panel, c = item // parts, item % parts * DEPTH
        rows = min(DEPTH, channels - c)
        for tap in range(TAPS * TAPS):
            at = word(args, T.w) + entry(args, T.w_at, tap) + c * w_row + panel * width * w_lane
            here = min(width, word(args, T.lanes) - panel * width)
            pack(KIND, 4, scratch + tap * DEPTH * row, width, at, w_row, w_lane, rows, here)
        to = word(args, T.taps) + (panel * channels + c) * row
        for v in range(0, rows * row, VECTOR_BYTES):
            of_taps(KIND, scratch + v, DEPTH * row, to + v, word(args, T.taps_apart), 0)
    restore(before)


@native
def _convolve(worker, workers, args):  # type: ignore[no-untyped-def]
    """y from x and the changed taps, a block of tiles at a time."""
    before = flush_subnormals()
    depth, row, block = word(args, T.channels), word(args, T.y_row), word(args, T.block)
    a_row, whole = word(args, T.x_row), 4 * word(args, T.lanes) // VECTOR_BYTES * VECTOR_BYTES
    seen = word(args, T.workspace) + worker * word(args, T.share)
    made = seen + PLACES * word(args, T.seen)
    square = made + PLACES * word(args, T.made)
    results, beyond = square + PLACES * VECTOR_BYTES, square + 2 * PLACES * VECTOR_BYTES
    _clear(args, square)
    panel_row = word(args, T.vectors) * VECTOR_BYTES
    blocks = (_tiles(args, 0) + block - 1) // block
    items = word(args, T.n_groups) * blocks
    for item in range(items * worker // workers, items * (worker + 1) // workers):
        g, t0 = item // blocks, item % blocks * block
        t1 = min(t0 + block, _tiles(args, g))
        _see(args, g, t0, t1, seen, square)
        for place in range(PLACES):
            a, c = seen + place * word(args, T.seen), made + place * word(args, T.made)
            panel = word(args, T.taps) + place * word(args, T.taps_apart)
            first, end = _needed(args, g, place, t0, t1)
            for q in range(0, row, panel_row):
                for t in range(first, end, ROWS):
                    _product(
                        KIND, word(args, T.vectors), a + (t - t0) * a_row, a_row, 4,
                        min(ROWS, end - t) - 1, panel + q * depth, c + (t - t0) * row + q, row,
                        depth, 0,
                    )  # fmt: skip
        for t in range(t0, t1):
            image, tile = _where(args, g, t)
            to = word(args, T.y) + image * word(args, T.y_image)
            table = word(args, T.y_at) + 8 * RESULTS * RESULTS * tile
            for v in range(0, row, VECTOR_BYTES):
                from_sums, in_part = made + (t - t0) * row + v, v == whole
                target = results if in_part else to + v
                where = word(args, T.in_order) if in_part else table
                to_results(KIND, from_sums, word(args, T.made), target, where, beyond)
            if whole < row:
                lanes, where = word(args, T.lanes) - whole // 4, word(args, T.in_order)
                _copy(results, where, to + whole, table, RESULTS * RESULTS, lanes, beyond)
    restore(before)


@inline
def _see_panels(args, g, t0, t1, left, right, to, square):  # type: ignore[no-untyped-def]
    """What the tiles t0:t1 of a group have of y, changed: 36 times the panels left:right."""
    apart, nothing = word(args, T.made), word(args, T.nothing)
    panel_row = word(args, T.vectors) * VECTOR_BYTES
    whole = 4 * word(args, T.lanes) // VECTOR_BYTES * VECTOR_BYTES
    for t in range(t0, t1):
        image, tile = _where(args, g, t)
        at = word(args, T.y) + image * word(args, T.y_image)
        table = word(args, T.y_at) + 8 * RESULTS * RESULTS * tile
        for v in range(left, right, VECTOR_BYTES):
            q = v // panel_row * panel_row
            here = to + q * word(args, T.block) + (t - t0) * panel_row + v - q
            source, where = at + v, table
            if v == whole:
                source, where = square, word(args, T.in_order)
                lanes = word(args, T.lanes) - v // 4
                _copy(at + v, table, square, where, RESULTS * RESULTS, lanes, nothing)
            of_results(KIND, source, where, here, apart, nothing)


@native
def _correlate(worker, workers, args):  # type: ignore[no-untyped-def]
    """The sums of chunks of tiles, of x with y."""
    before = flush_subnormals()
    x_row, row, block = word(args, T.x_row), word(args, T.y_row), word(args, T.block)
    seen = word(args, T.workspace) + worker * word(args, T.share)
    made = seen + PLACES * word(args, T.seen)
    square = made + PLACES * word(args, T.made)
    y_square = square + PLACES * VECTOR_BYTES
    _clear(args, square)
    _clear(args, y_square)
    panel_row, chunks = word(args, T.vectors) * VECTOR_BYTES, word(args, T.chunks)
    groups = word(args, T.n_groups)
    panels, parts = row // panel_row, word(args, T.parts)
    items = chunks * parts
    for item in range(items * worker // workers, items * (worker + 1) // workers):
        chunk, part = item // parts, item % parts
        left, right = panels * part // parts * panel_row, panels * (part + 1) // parts * panel_row
        sums, onto = word(args, T.taps) + chunk * word(args, T.chunk), 0
        for g in range(groups * chunk // chunks, groups * (chunk + 1) // chunks):
            for t0 in range(0, _tiles(args, g), block):
                t1 = min(t0 + block, _tiles(args, g))
                _see(args, g, t0, t1, seen, square)
                _see_panels(args, g, t0, t1, left, right, made, y_square)
                for place in range(PLACES):
                    first, end = _needed(args, g, place, t0, t1)
                    if onto and first == end:
                        continue
                    a = seen + place * word(args, T.seen) + (first - t0) * x_row
                    panel = made + place * word(args, T.made) + (first - t0) * panel_row
                    c = sums + place * word(args, T.taps_apart)
                    for q in range(left, right, panel_row):
                        for r in range(0, word(args, T.channels), ROWS):
                            _product(
                                KIND, word(args, T.vectors), a + 4 * r, 4, x_row, ROWS - 1,
                                panel + q * block, c + r * row + q, row, end - first, onto,
                            )  # fmt: skip
                onto = 1
    restore(before)


@native
def _sum_taps(worker, workers, args):  # type: ignore[no-untyped-def]
    """w from the sums of all chunks, a row at a time."""
    before = flush_subnormals()
    channels, row = word(args, T.channels), word(args, T.y_row)
    whole = 4 * word(args, T.lanes) // VECTOR_BYTES * VECTOR_BYTES
    square = word(args, T.workspace) + worker * word(args, T.share)
    for r in range(channels * worker // workers, channels * (worker + 1) // workers):
        at = word(args, T.taps) + r * row
        for place in range(PLACES):
            here = at + place * word(args, T.taps_apart)
            total = carray(float32_pointer(here), row // 4)
            for chunk in range(1, word(args, T.chunks)):
                term = carray(float32_pointer(here + chunk * word(args, T.chunk)), row // 4)
                for i in range(row // 4):
                    total[i] += term[i]
        to = word(args, T.w) + r * word(args, T.w_row)
        for v in range(0, row, VECTOR_BYTES):
            target = square if v == whole else to + v
            where = word(args, T.in_order if v == whole else T.w_at)
            to_taps(KIND, at + v, word(args, T.taps_apart), target, where, 0)
        if whole < row:
            lanes, where = word(args, T.lanes) - whole // 4, word(args, T.in_order)
            _copy(square, where, to + whole, word(args, T.w_at), TAPS * TAPS, lanes, 0)
    restore(before)


# ---- binding -------------------------------------------------------------------------------------


def pays(x: Any, lanes: int, kernel: Any, window: Any, fewest: int = FEWEST) -> bool:
    """Whether windows on images x, with so many lanes of results, are better computed here.

    fewest: channels of x, from which on.
    """
    same = kernel == (TAPS, TAPS) and window.padding == ((1, 1), (1, 1))
    plain = window.stride == (1, 1) and window.dilation == (1, 1) and window.groups == 1
    if not (same and plain) or x.dtype != np.float32 or x.shape[3] < fewest or lanes < FEW:
        return False
    taps = (3 * x.shape[1] - 2) * (3 * x.shape[2] - 2)  # none on padding
    return taps >= LEAST * PLACES * -(-x.shape[1] // RESULTS) * -(-x.shape[2] // RESULTS)


def _offsets(x: Any, side: int, before: int) -> Any:
    """For each tile of an image, the bytes to its side * side pixels; -1 for none."""
    at = []
    for n, stride in zip(x.shape[1:3], x.strides[1:3], strict=True):
        pixel = RESULTS * np.arange(-(-n // RESULTS))[:, None] + np.arange(side) - before
        at.append((pixel * stride, (pixel >= 0) & (pixel < n)))
    (down, in_rows), (across, in_columns) = at
    inside = in_rows[:, None, :, None] & in_columns[None, :, None, :]
    offset = np.where(inside, down[:, None, :, None] + across[None, :, None, :], -1)
    return np.ascontiguousarray(offset.reshape(-1, side * side), dtype=np.int64)


def _kinds(x: Any) -> tuple[Any, Any]:
    """The tiles of an image in the order of their kinds, and where each kind begins.

    First those with all four results down, but not across, then with all, with all across only, and
    with neither: so the tiles that need a product lie side by side.
    """
    down, across = (RESULTS * np.arange(1, -(-n // RESULTS) + 1) <= n for n in x.shape[1:3])
    kind = np.array([[3, 2], [0, 1]])[down[:, None] * 1, across[None] * 1].ravel()
    return np.argsort(kind, kind="stable"), np.searchsorted(np.sort(kind), np.arange(KINDS + 1))


def _table(x: Any, y: Any, w: Any, workers: int, sums: bool = False) -> list[Any]:
    """The arguments for images x and y and the taps w (3, 3, of x, of y), which `sums` make."""
    channels, lanes = w.shape[2:]
    order, first = _kinds(x)
    x_at, y_at = _offsets(x, PIXELS, 1)[order], _offsets(y, RESULTS, 0)[order]
    wide = [-(-n // N) * N for n in (channels, lanes)]  # in whole vectors
    vectors = 1 if wide[1] % (2 * N) else 2
    group = max(1, min(GROUP, len(x), GROUP_TILES // len(order)))
    groups, tiles = -(-len(x) // group), group * len(order)
    blocks = max(-(-tiles // BLOCK), workers if groups < workers and not sums else 1)
    block = -(-tiles // (blocks * ROWS)) * ROWS
    # matrices lie an odd number of lines apart, or all would fall into the same lines of the cache
    apart = lambda numbers: lines(4 * numbers) | 64
    seen, taps = apart(block * wide[0]), apart(wide[0] * wide[1])
    made = apart((block + ROWS) * wide[1])
    most = min(MOST, groups, groups * tiles // CHUNK, SPACE // (PLACES * taps))
    chunks = max(1, most) if sums else 1
    parts = min(wide[1] // (vectors * N), -(-workers // chunks))
    share = PLACES * (seen + made + 2 * VECTOR_BYTES) + VECTOR_BYTES
    share = lines(max(share, TAPS * TAPS * DEPTH * 2 * VECTOR_BYTES))
    space = workspace((workers * share + chunks * PLACES * taps) // 4)
    w_at = np.add.outer(*(stride * np.arange(TAPS) for stride in w.strides[:2]))
    return T.fill(
        images=len(x), group=group, n_groups=groups, first=first, block=block, x=x,
        channels=channels, x_row=4 * wide[0], x_image=x.strides[0], x_at=x_at, seen=seen, y=y,
        lanes=lanes, y_row=4 * wide[1], y_image=y.strides[0], y_at=y_at, made=made,
        vectors=vectors, nothing=np.zeros(N, np.float32),
        in_order=VECTOR_BYTES * np.arange(PLACES), w=w, w_at=w_at, w_row=w.strides[2],
        w_lane=w.strides[3], taps=address_of(space) + workers * share, taps_apart=taps,
        chunks=chunks, chunk=PLACES * taps, parts=parts, workspace=space, share=share,
    )  # fmt: skip


def convolved(x: Any, w: Any, y: Any, workers: int) -> Any:
    """The call that computes images y from images x and a kernel (3, 3, of x, of y)."""
    table = _table(x, y, w, workers)
    return Call(_change_taps, table, out=y, workers=workers, then=[(_convolve, workers)])


def correlated(x: Any, y: Any, w: Any, workers: int) -> Any:
    """The call that computes the gradient w of the kernel, lanes side by side."""
    table = _table(x, y, w, workers, sums=True)
    return Call(_correlate, table, out=w, workers=workers, then=[(_sum_taps, workers)])
