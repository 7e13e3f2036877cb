"""The gradient of a convolution's kernel: for each tap, a product over places and images.

    w[a, b, c, o] = sum_nij x[n, i SH + a DH - PT, j SW + b DW - PL, c] y[n, i, j, o]

Rows are channels of x and lanes channels of y. From plain to fast:

1. Seven loops: a multiply-add at a time.
2. A product a tap: the pixels that it meets are copied into a matrix, for each tap anew.
3. Packed once for all taps: a block of images of y by panels, place after place, and of x eight
   channels at a time, pixel after pixel. A tap then selects pieces of both that lie side by side: a
   row of places of these images. Columns of x a stride apart are packed next to each other, so that
   this holds for any stride. Pixels of the padding are no pieces.
4. The tile (tile.py) sums all pieces in registers. Cores share taps and channels.
5. The kernel of a transposed convolution keeps its channels the other way around, so that its tiles
   would be stored a number at a time, and again for each block: it is summed elsewhere and turned
   around at the end. (If x and y changed roles instead, each core would pack all of x.)
6. Few channels (an image has one or three) would leave most rows of a tile empty: then its rows are
   taps and channels together, and x is packed window by window, with zeros for the padding.

Blocks are such that the packed panels of y stay in the core's cache (windows.py has the pieces).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..binding import kernel
from .conv import (
    GROUP,
    GROUPS,
    HERE,
    HIGH,
    LANES,
    LEFT,
    OFFSET,
    PANELS,
    ROW,
    SERIAL,
    SHARE,
    TILE,
    WORKSPACE,
    entry,
    of,
    panels_for,
    served,
    tiles,
    walks,
)
from .panels import pack, pack_rows
from .runtime import (
    Call,
    address_of,
    both,
    flush_subnormals,
    inline,
    lines,
    pointer_of,
    restore,
    size_of,
    threads,
    word,
)
from .tile import ROWS, VECTOR_BYTES
from .windows import Walk, correlate

# The table of arguments goes on after what it shares with conv.py. The sides A and B of the
# product, x and y, have SIDE words each: first where it is, then the step to the next group,
# strides, and how many columns. COLUMNS: where each of x is packed. TOGETHER: images of a block.
# TAPS_AT: where taps are in w. PIECES for TOGETHER images, PIECES_LAST for what is left of them.
# BLOCKS, STARTS: see windows.Correlate. With few channels there is one tap, whose channels are the
# rows of TAKEN: see _taken. OUT: where w of OUT_CHANNELS goes in the other order, see _turn.
NEXT_GROUP, NEXT_IMAGE, NEXT_ROW, NEXT_COLUMN, WIDTH, SIDE = range(1, 7)
A, B = GROUPS + 1, GROUPS + 1 + SIDE
(
    W, W_GROUP, W_ROW, W_LANE, IMAGES, TOGETHER, CHANNELS, N_BLOCKS, BLOCKS, TAPS, TAPS_AT, STARTS,
    PIECES, PIECES_LAST, PACKED_A, FEW_CHANNELS, TAKEN, DOWN, ACROSS, HEIGHT, COLUMNS, OUT,
    OUT_CHANNELS,
) = range(B + SIDE, B + SIDE + 23)  # fmt: skip


@inline
def _pack_panels(args, kind, size, packed, b, q0, q1, block, count):  # type: ignore[no-untyped-def]
    """The panels q0:q1 of what a block has of y: a row for each place and image."""
    first, end = entry(args, BLOCKS, 4 * block), entry(args, BLOCKS, 4 * block + 1)
    for q in range(q0, q1):
        here, row = of(args, q, HERE), of(args, q, ROW)
        for i in range(first, end):
            for j in range(word(args, B + WIDTH)):
                at = b + i * word(args, B + NEXT_ROW) + j * word(args, B + NEXT_COLUMN)
                at += of(args, q, LEFT) * size
                place = (i - first) * word(args, B + WIDTH) + j
                to = packed + of(args, q, OFFSET) + place * count * row
                pack(kind, size, to, row // size, at, word(args, B + NEXT_IMAGE), size, count, here)


@inline
def _pack_channels(args, kind, size, to, a, rows, block, count):  # type: ignore[no-untyped-def]
    """Some channels of what a block has of x: as many as a tile has rows, each pixel and image."""
    high = word(args, HIGH)
    first, end = entry(args, BLOCKS, 4 * block + 2), entry(args, BLOCKS, 4 * block + 3)
    for i in range(first, end):
        for j in range(word(args, A + WIDTH)):
            pixel = (i - first) * word(args, A + WIDTH) + entry(args, COLUMNS, j)
            at = a + i * word(args, A + NEXT_ROW) + j * word(args, A + NEXT_COLUMN)
            here = to + pixel * count * high * size
            pack_rows(kind, size, here, high, at, size, word(args, A + NEXT_IMAGE), count, rows)


@inline
def _pack_windows(args, kind, size, to, x, c, rows, block, count):  # type: ignore[no-untyped-def]
    """Taps and channels from number c on of the windows of a block, as many as a tile has rows."""
    first, end = entry(args, BLOCKS, 4 * block), entry(args, BLOCKS, 4 * block + 1)
    high, places, apart = word(args, HIGH), word(args, B + WIDTH), word(args, A + NEXT_IMAGE)
    for i in range(first, end):
        for j in range(places):
            here = to + ((i - first) * places + j) * count * high * size
            for r in range(high):
                h = i * word(args, DOWN) + entry(args, TAKEN, 3 * (c + r))
                w = j * word(args, ACROSS) + entry(args, TAKEN, 3 * (c + r) + 1)
                at = x + h * word(args, A + NEXT_ROW) + w * word(args, A + NEXT_COLUMN)
                at += entry(args, TAKEN, 3 * (c + r) + 2)
                inside = 0 <= h < word(args, HEIGHT) and 0 <= w < word(args, A + WIDTH)
                for n in range(count):
                    value = pointer_of(kind, at + n * apart)[0] if inside and r < rows else kind
                    pointer_of(kind, here + (n * high + r) * size)[0] = value


@both
def _correlate(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    before, size = flush_subnormals(), size_of(kind)
    channels, images, taps = word(args, CHANNELS), word(args, IMAGES), word(args, TAPS)
    high, scratch = word(args, HIGH), word(args, WORKSPACE) + worker * word(args, SHARE)
    packed_b, packed_a = scratch + word(args, TILE), scratch + word(args, PACKED_A)
    items = (channels + high - 1) // high * taps
    first, end = items * worker // workers, items * (worker + 1) // workers
    for g in range(word(args, GROUPS)):
        for q0 in range(0, word(args, PANELS), word(args, GROUP)):
            q1 = min(q0 + word(args, GROUP), word(args, PANELS))
            for n0 in range(0, images, word(args, TOGETHER)):
                count = min(word(args, TOGETHER), images - n0)
                table = word(args, PIECES if count == word(args, TOGETHER) else PIECES_LAST)
                a = word(args, A) + g * word(args, A + NEXT_GROUP) + n0 * word(args, A + NEXT_IMAGE)
                b = word(args, B) + g * word(args, B + NEXT_GROUP) + n0 * word(args, B + NEXT_IMAGE)
                for block in range(word(args, N_BLOCKS)):
                    _pack_panels(args, kind, size, packed_b, b, q0, q1, block, count)
                    onto = 1 if n0 > 0 or block > 0 else 0
                    for item in range(first, end):
                        c, tap = item // taps * high, item % taps
                        rows = min(high, channels - c)
                        if word(args, FEW_CHANNELS):
                            _pack_windows(args, kind, size, packed_a, a, c, rows, block, count)
                        elif item == first or tap == 0:
                            from_a = a + c * size
                            _pack_channels(args, kind, size, packed_a, from_a, rows, block, count)
                        start = entry(args, STARTS, block * taps + tap)
                        n_pieces = entry(args, STARTS, block * taps + tap + 1) - start
                        if n_pieces == 0 and onto:
                            continue
                        to = word(args, W) + g * word(args, W_GROUP) + entry(args, TAPS_AT, tap)
                        tiles(
                            args, kind, size, True, packed_a, size, rows, packed_b, q0, q1,
                            to + c * word(args, W_ROW), word(args, W_ROW), word(args, W_LANE),
                            table + 24 * start, n_pieces, onto, scratch,
                        )  # fmt: skip
    restore(before)


@both
def _turn(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """w in the other order: a tap's lanes, a vector of them at a time, are the rows there."""
    size, channels = size_of(kind), word(args, OUT_CHANNELS)
    n = VECTOR_BYTES // size
    lanes, row = word(args, GROUPS) * word(args, LANES), channels * size
    strips = (lanes + n - 1) // n
    items = word(args, TAPS) * word(args, CHANNELS) // channels * strips
    for item in range(items * worker // workers, items * (worker + 1) // workers):
        tap, lane = item // strips * row * lanes, item % strips * n
        to, w = word(args, OUT) + tap + lane * row, word(args, W) + tap + lane * size
        pack(kind, size, to, channels, w, size, word(args, W_ROW), min(n, lanes - lane), channels)


# ---- binding -------------------------------------------------------------------------------------


def _side(x: Any, groups: int) -> list[Any]:
    """The words of a side."""
    return [x, x.shape[3] // groups * x.itemsize, *x.strides[:3], x.shape[2]]


def _taken(down: Walk, across: Walk, channels: int, size: int, beyond: int) -> Any:
    """For each tap and channel: (rows, columns, bytes) from a window's first pixel to it."""
    a, b, c = (i.ravel() for i in np.indices((down.kernel, across.kernel, channels)))
    h, w = a * down.dilation - down.before, b * across.dilation - across.before
    return np.pad(np.stack([h, w, c * size], 1), ((0, beyond), (0, 0)))


@kernel
def conv2d_dw(x: Any, y: Any, *, kernel: Any, window: Any, out: Any = None) -> Any:
    """The gradient of the kernel, for images whose channels lie side by side."""
    groups, images, size = window.groups, len(x), x.dtype.itemsize
    channels, lanes = x.shape[3] // groups, y.shape[3] // groups
    shape = (*kernel, *((y.shape[3], channels) if window.transposed else (channels, y.shape[3])))
    if x.dtype != y.dtype or x.dtype not in (np.float32, np.float64) or 0 in shape:
        return NotImplemented
    out = np.empty(shape, x.dtype) if out is None else out
    if not (served(x) and served(y) and served(out, lanes=False)):
        return NotImplemented
    w = out.swapaxes(2, 3) if window.transposed else out
    strides = w.strides
    turned = window.transposed and channels > 1 and out.flags.c_contiguous
    if turned:  # summed in the order (KH, KW, C, O), behind what the workers need
        row = w.shape[3] * size
        strides = (kernel[1] * channels * row, channels * row, row, size)
    down, across = walks(y.shape[1:3], x.shape[1:3], kernel, window)
    n_taps = kernel[0] * kernel[1]
    # Few channels: w as a matrix, (taps and channels, lanes), if its rows are equally far apart.
    w_row = strides[2] if channels > 1 else strides[1]
    few = channels < ROWS and strides[:2] == (kernel[1] * strides[1], channels * w_row)
    rows_of_tile = n_taps * channels if few else channels

    panels = panels_for(rows_of_tile, lanes, size)
    rows = max(1, min(down.outputs, panels.deepest // across.outputs))  # of places, in a block
    t = correlate(down, across, rows)
    places = rows * across.outputs
    together = min(images, max(1, panels.deepest // places))
    together = -(-images // -(-images // together))  # equal parts
    if few:
        one = [(0, 0, (i1 - i0) * across.outputs) for i0, i1, _, _ in t.blocks]
        t = t._replace(starts=np.arange(len(one) + 1), pieces=np.array(one))
    unit = np.array([panels.high * size, 1, 1])
    pieces, last = (t.pieces * n * unit for n in (together, images % together or together))
    workers = threads() if x.size * y.shape[3] // groups * n_taps > SERIAL else 1
    packed_a = panels.share(places * together)
    of_a = places if few else t.pixels * across.inputs
    share = packed_a + lines(of_a * together * panels.high * size)
    head = panels.head(places * together, share, groups, beyond=out.nbytes if turned else 0)
    at = address_of(head[WORKSPACE]) + threads() * share if turned else w
    tap = np.arange(1 if few else n_taps)
    taps = tap // kernel[1] * strides[0] + tap % kernel[1] * strides[1]
    table = [
        *head, *_side(x, groups), *_side(y, groups), at, lanes * strides[3], w_row, strides[3],
        images, together, rows_of_tile, len(t.blocks), t.blocks, len(taps), taps, t.starts, pieces,
        last, packed_a, few, _taken(down, across, channels, size, panels.high), down.stride,
        across.stride, down.inputs, t.columns, out, channels,
    ]  # fmt: skip
    then = [(_turn[x.dtype], workers)] if turned else []
    return Call(_correlate[x.dtype], table, out=out, workers=workers, then=then)
