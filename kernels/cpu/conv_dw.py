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

Blocks are such that the packed panels of y stay in the core's cache (windows.py has the pieces).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..binding import kernel
from .conv import (
    GROUP,
    GROUPS,
    LANES,
    LEFTS,
    PANELS,
    SERIAL,
    SHARE,
    VECTORS,
    WORKSPACE,
    entry,
    height,
    panel_at,
    panel_width,
    panels_for,
    served,
    tiles,
    walks,
)
from .matmul import lines
from .panels import pack, pack_rows
from .runtime import Call, flush_subnormals, inline, native, restore, threads, word, workspace
from .tile import ROWS, ROWS_4, VECTOR_BYTES
from .windows import correlate

# The table of arguments goes on after what it shares with conv.py. TOGETHER: images of a block.
# TAPS_AT: where taps are in w. PIECES for TOGETHER images, PIECES_LAST for what is left of them.
# BLOCKS, COLUMNS, STARTS: see windows.Correlate.
(
    X, Y, W, W_GROUP, X_IMAGE, X_ROW, X_COL, Y_IMAGE, Y_ROW, Y_COL, W_ROW, W_LANE, IMAGES, TOGETHER,
    WIDTH, PLACES, CHANNELS, N_BLOCKS, BLOCKS, COLUMNS, TAPS, TAPS_AT, STARTS, PIECES, PIECES_LAST,
    PIXELS,
) = range(GROUPS + 1, GROUPS + 27)  # fmt: skip


@inline
def _pack_places(args, kind, size, packed, y, q0, q1, block, count):  # type: ignore[no-untyped-def]
    """The panels q0:q1 of y at the places of a block: a row for each place and image."""
    for q in range(q0, q1):
        left, width = entry(args, LEFTS, q), panel_width(args, q, size)
        here = entry(args, LEFTS, q + 1) - left
        to = panel_at(args, packed, q, size)
        for i in range(entry(args, BLOCKS, 4 * block), entry(args, BLOCKS, 4 * block + 1)):
            for j in range(word(args, PLACES)):
                at = y + i * word(args, Y_ROW) + j * word(args, Y_COL) + left * size
                pack(kind, size, to, width, at, word(args, Y_IMAGE), size, count, here)
                to += count * width * size


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
def _correlate(worker, workers, args, kind, size):  # type: ignore[no-untyped-def]
    high, wide = height(word(args, VECTORS)), word(args, VECTORS) * (VECTOR_BYTES // size)
    channels, images, taps = word(args, CHANNELS), word(args, IMAGES), word(args, TAPS)
    scratch = word(args, WORKSPACE) + worker * word(args, SHARE)
    packed, pixels = scratch + high * wide * size, scratch + word(args, PIXELS)
    items = (channels + high - 1) // high * taps
    first, end = items * worker // workers, items * (worker + 1) // workers
    for g in range(word(args, GROUPS)):
        for q0 in range(0, word(args, PANELS), word(args, GROUP)):
            q1 = min(q0 + word(args, GROUP), word(args, PANELS))
            for n0 in range(0, images, word(args, TOGETHER)):
                count = min(word(args, TOGETHER), images - n0)
                table = word(args, PIECES if count == word(args, TOGETHER) else PIECES_LAST)
                x = word(args, X) + g * channels * size + n0 * word(args, X_IMAGE)
                y = word(args, Y) + g * word(args, LANES) * size + n0 * word(args, Y_IMAGE)
                for block in range(word(args, N_BLOCKS)):
                    _pack_places(args, kind, size, packed, y, q0, q1, block, count)
                    onto = 1 if n0 > 0 or block > 0 else 0
                    for item in range(first, end):
                        c, tap = item // taps * high, item % taps
                        rows = min(high, channels - c)
                        if item == first or tap == 0:
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
    vectors, lefts, group, deepest = panels_for(channels, lanes, size)
    wide, high = vectors * VECTOR_BYTES // size, ROWS_4 if vectors == 4 else ROWS
    rows = max(1, min(down.outputs, deepest // across.outputs))  # of places, in a block
    together = min(images, max(1, deepest // (rows * across.outputs)))
    together = -(-images // -(-images // together))  # equal parts
    depth = rows * across.outputs * together
    t = correlate(down, across, rows)
    unit = np.array([high * size, 1, 1])
    pieces, last = (t.pieces * n * unit for n in (together, images % together or together))
    a, b = np.divmod(np.arange(kernel[0] * kernel[1]), kernel[1])
    taps = a * w.strides[0] + b * w.strides[1]
    workers = threads() if x.size * lanes * kernel[0] * kernel[1] > SERIAL else 1
    pixels = lines((high + group * depth) * wide * size)
    share = pixels + lines(t.pixels * across.inputs * together * high * size)
    table = [
        lanes, vectors, len(lefts) - 1, lefts, group, depth, workspace(threads() * share // 4),
        share, groups, x, y, w, lanes * w.strides[3], *x.strides[:3], *y.strides[:3],
        *w.strides[2:], images, together, across.inputs, across.outputs, channels, len(t.blocks),
        t.blocks, t.columns, len(taps), taps, t.starts, pieces, last, pixels,
    ]  # fmt: skip
    return Call(_correlate32 if size == 4 else _correlate64, table, out=out, workers=workers)
