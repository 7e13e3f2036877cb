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
5. Few channels (an image has one or three) would leave most rows of a tile empty: then its rows are
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
from .matmul import lines
from .panels import pack, pack_rows
from .runtime import Call, flush_subnormals, inline, native, restore, threads, word
from .tile import ROWS, pointer_of
from .windows import correlate

# The table of arguments goes on after what it shares with conv.py. TOGETHER: images of a block.
# TAPS_AT: where taps are in w. PIECES for TOGETHER images, PIECES_LAST for what is left of them.
# BLOCKS, COLUMNS, STARTS: see windows.Correlate. With few channels there is one tap, whose channels
# are the rows of TAKEN: offsets down, across and in bytes, of x from a window's first pixel.
(
    X, Y, W, X_GROUP, W_GROUP, X_IMAGE, X_ROW, X_COL, Y_IMAGE, Y_ROW, Y_COL, W_ROW, W_LANE, IMAGES,
    TOGETHER, HEIGHT, WIDTH, PLACES, CHANNELS, N_BLOCKS, BLOCKS, COLUMNS, TAPS, TAPS_AT, STARTS,
    PIECES, PIECES_LAST, PIXELS, FEW_CHANNELS, TAKEN, DOWN, ACROSS,
) = range(GROUPS + 1, GROUPS + 33)  # fmt: skip


@inline
def _pack_places(args, kind, size, packed, y, q0, q1, block, count):  # type: ignore[no-untyped-def]
    """The panels q0:q1 of y at the places of a block: a row for each place and image."""
    for q in range(q0, q1):
        left, here, row = of(args, q, LEFT), of(args, q, HERE), of(args, q, ROW)
        to, width = packed + of(args, q, OFFSET), row // size
        for i in range(entry(args, BLOCKS, 4 * block), entry(args, BLOCKS, 4 * block + 1)):
            for j in range(word(args, PLACES)):
                at = y + i * word(args, Y_ROW) + j * word(args, Y_COL) + left * size
                pack(kind, size, to, width, at, word(args, Y_IMAGE), size, count, here)
                to += count * row


@inline
def _pack_pixels(args, kind, size, to, x, rows, high, block, count):  # type: ignore[no-untyped-def]
    """Some channels of the pixels that a block sees: `high` numbers for each pixel and image."""
    h0, h1 = entry(args, BLOCKS, 4 * block + 2), entry(args, BLOCKS, 4 * block + 3)
    pixel = count * high * size
    for h in range(h0, h1):
        for w in range(word(args, WIDTH)):
            here = to + ((h - h0) * word(args, WIDTH) + entry(args, COLUMNS, w)) * pixel
            at = x + h * word(args, X_ROW) + w * word(args, X_COL)
            pack_rows(kind, size, here, high, at, size, word(args, X_IMAGE), count, rows)


@inline
def _pack_windows(args, kind, size, to, x, first, rows, high, block, count):  # type: ignore[no-untyped-def]
    """Some taps and channels of the windows of a block: `high` numbers for each place and image."""
    i0, i1 = entry(args, BLOCKS, 4 * block), entry(args, BLOCKS, 4 * block + 1)
    places, apart = word(args, PLACES), word(args, X_IMAGE)
    for i in range(i0, i1):
        for j in range(places):
            here = to + ((i - i0) * places + j) * count * high * size
            for r in range(high):
                h = i * word(args, DOWN) + entry(args, TAKEN, 3 * (first + r))
                w = j * word(args, ACROSS) + entry(args, TAKEN, 3 * (first + r) + 1)
                at = x + h * word(args, X_ROW) + w * word(args, X_COL)
                at += entry(args, TAKEN, 3 * (first + r) + 2)
                inside = 0 <= h < word(args, HEIGHT) and 0 <= w < word(args, WIDTH)
                for n in range(count):
                    value = pointer_of(kind, at + n * apart)[0] if inside and r < rows else kind
                    pointer_of(kind, here + (n * high + r) * size)[0] = value


@inline
def _correlate(worker, workers, args, kind, size):  # type: ignore[no-untyped-def]
    channels, images, taps = word(args, CHANNELS), word(args, IMAGES), word(args, TAPS)
    high, scratch = word(args, HIGH), word(args, WORKSPACE) + worker * word(args, SHARE)
    packed, pixels = scratch + word(args, TILE), scratch + word(args, PIXELS)
    items = (channels + high - 1) // high * taps
    first, end = items * worker // workers, items * (worker + 1) // workers
    for g in range(word(args, GROUPS)):
        for q0 in range(0, word(args, PANELS), word(args, GROUP)):
            q1 = min(q0 + word(args, GROUP), word(args, PANELS))
            for n0 in range(0, images, word(args, TOGETHER)):
                count = min(word(args, TOGETHER), images - n0)
                table = word(args, PIECES if count == word(args, TOGETHER) else PIECES_LAST)
                x = word(args, X) + g * word(args, X_GROUP) + n0 * word(args, X_IMAGE)
                y = word(args, Y) + g * word(args, LANES) * size + n0 * word(args, Y_IMAGE)
                for block in range(word(args, N_BLOCKS)):
                    _pack_places(args, kind, size, packed, y, q0, q1, block, count)
                    onto = 1 if n0 > 0 or block > 0 else 0
                    for item in range(first, end):
                        c, tap = item // taps * high, item % taps
                        rows = min(high, channels - c)
                        if word(args, FEW_CHANNELS):
                            _pack_windows(args, kind, size, pixels, x, c, rows, high, block, count)
                        elif item == first or tap == 0:
                            from_x = x + c * size
                            _pack_pixels(args, kind, size, pixels, from_x, rows, high, block, count)
                        start = entry(args, STARTS, block * taps + tap)
                        n_pieces = entry(args, STARTS, block * taps + tap + 1) - start
                        if n_pieces == 0 and onto:
                            continue
                        to = word(args, W) + g * word(args, W_GROUP) + entry(args, TAPS_AT, tap)
                        tiles(
                            args, kind, size, True, pixels, size, rows, packed, q0, q1,
                            to + c * word(args, W_ROW), word(args, W_ROW), word(args, W_LANE),
                            table + 24 * start, n_pieces, onto, scratch,
                        )  # fmt: skip


@native
def _correlate32(worker, workers, args):  # type: ignore[no-untyped-def]
    before = flush_subnormals()
    _correlate(worker, workers, args, np.float32(0), 4)
    restore(before)


@native
def _correlate64(worker, workers, args):  # type: ignore[no-untyped-def]
    before = flush_subnormals()
    _correlate(worker, workers, args, np.float64(0), 8)
    restore(before)


@kernel
def conv2d_dw(x: Any, y: Any, *, kernel: Any, window: Any, out: Any = None) -> Any:
    """The gradient of the kernel, for images whose channels lie side by side."""
    groups, images, size = window.groups, len(x), x.dtype.itemsize
    channels, lanes = x.shape[3] // groups, y.shape[3] // groups
    shape = (*kernel, channels, y.shape[3])
    if window.transposed:
        shape = (*kernel, y.shape[3], channels)
    if x.dtype != y.dtype or x.dtype not in (np.float32, np.float64) or 0 in shape:
        return NotImplemented
    out = np.empty(shape, x.dtype) if out is None else out
    w = out.swapaxes(2, 3) if window.transposed else out
    if not (served(x) and served(y) and served(w, lanes=False)):
        return NotImplemented
    down, across = walks(y.shape[1:3], x.shape[1:3], kernel, window)
    # of each row of the kernel as a matrix (taps and channels, lanes): what it takes of x
    a, b, c = (i.ravel() for i in np.indices((*kernel, channels)))
    row = w.strides[2] if channels > 1 else w.strides[1]
    in_rows = w.strides[:2] == (kernel[1] * w.strides[1], channels * row)
    few = channels < ROWS and in_rows
    panels = panels_for(len(a) if few else channels, lanes, size)
    high = panels.high
    rows = max(1, min(down.outputs, panels.deepest // across.outputs))  # of places, in a block
    together = min(images, max(1, panels.deepest // (rows * across.outputs)))
    together = -(-images // -(-images // together))  # equal parts
    depth = rows * across.outputs * together
    t = correlate(down, across, rows)
    taps, pixels = a * w.strides[0] + b * w.strides[1], t.pixels * across.inputs * together
    taken = np.zeros((len(a) + high, 3), np.int64)
    taken[: len(a)] = np.stack(
        [a * down.dilation - down.before, b * across.dilation - across.before, c * size], 1
    )
    if few:
        one = np.array([(0, 0, (i1 - i0) * across.outputs) for i0, i1, _, _ in t.blocks])
        t = t._replace(starts=np.arange(len(one) + 1), pieces=one)
        taps, pixels = np.zeros(1, np.int64), depth
    else:
        taps = taps[::channels].copy()
    unit = np.array([high * size, 1, 1])
    pieces, last = (t.pieces * n * unit for n in (together, images % together or together))
    workers = threads() if x.size * lanes * kernel[0] * kernel[1] > SERIAL else 1
    packed = panels.share(depth)
    share = packed + lines(pixels * high * size)
    table = [
        *panels.head(depth, share, groups), x, y, w, channels * size, lanes * w.strides[3],
        *x.strides[:3], *y.strides[:3], row if few else w.strides[2], w.strides[3], images,
        together, down.inputs, across.inputs, across.outputs, len(a) if few else channels,
        len(t.blocks), t.blocks, t.columns, len(taps), taps, t.starts, pieces, last, packed, few,
        taken, down.stride, across.stride,
    ]  # fmt: skip
    return Call(_correlate32 if size == 4 else _correlate64, table, out=out, workers=workers)
