"""The gradient of a convolution's kernel: for each tap, a product over places and images.

    w[a, b, c, o] = sum_nij x[n, i SH + a DH - PT, j SW + b DW - PL, c] y[n, i, j, o]

Rows are channels of x and lanes channels of y, or the other way around, as w is kept. From plain to
fast:

1. Seven loops: a multiply-add at a time.
2. A product a tap: the pixels that it meets are copied into a matrix, for each tap anew.
3. Packed once for all taps: a block of images of y by panels, place after place, and of x eight
   channels at a time, pixel after pixel. A tap then selects pieces of both that lie side by side: a
   row of places of these images. Columns of x a stride apart are packed next to each other, so that
   this holds for any stride. Pixels of the padding are no pieces. For the kernel of a transposed
   convolution x and y change roles, or its tiles would be stored a number at a time.
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
from .runtime import Call, flush_subnormals, inline, lines, native, restore, threads, word
from .tile import ROWS, pointer_of
from .windows import Walk, correlate

# The table of arguments goes on after what it shares with conv.py. The sides A and B of the product
# (x and y, or y and x) have SIDE words each: first where it is, then the step to the next group,
# strides, how many columns and where each is packed, and which words of BLOCKS are its rows.
# TOGETHER: images of a block. TAPS_AT: where taps are in w. PIECES for TOGETHER images, PIECES_LAST
# for what is left of them. BLOCKS, STARTS: see windows.Correlate. With few channels there is one
# tap, whose channels are the rows of TAKEN: see _taken.
NEXT_GROUP, NEXT_IMAGE, NEXT_ROW, NEXT_COLUMN, WIDTH, COLUMNS, RANGE, SIDE = range(1, 9)
A, B = GROUPS + 1, GROUPS + 1 + SIDE
(
    W, W_GROUP, W_ROW, W_LANE, IMAGES, TOGETHER, CHANNELS, N_BLOCKS, BLOCKS, TAPS, TAPS_AT, STARTS,
    PIECES, PIECES_LAST, PACKED_A, FEW_CHANNELS, TAKEN, DOWN, ACROSS, HEIGHT,
) = range(B + SIDE, B + SIDE + 20)  # fmt: skip


@inline
def _pack_panels(args, kind, size, packed, b, q0, q1, block, count):  # type: ignore[no-untyped-def]
    """The panels q0:q1 of what a block has of side B: a row for each pixel and image."""
    first = entry(args, BLOCKS, 4 * block + word(args, B + RANGE))
    end = entry(args, BLOCKS, 4 * block + word(args, B + RANGE) + 1)
    for q in range(q0, q1):
        here, row = of(args, q, HERE), of(args, q, ROW)
        for i in range(first, end):
            for j in range(word(args, B + WIDTH)):
                at = b + i * word(args, B + NEXT_ROW) + j * word(args, B + NEXT_COLUMN)
                at += of(args, q, LEFT) * size
                pixel = (i - first) * word(args, B + WIDTH) + entry(args, B + COLUMNS, j)
                to = packed + of(args, q, OFFSET) + pixel * count * row
                pack(kind, size, to, row // size, at, word(args, B + NEXT_IMAGE), size, count, here)


@inline
def _pack_channels(args, kind, size, to, a, rows, block, count):  # type: ignore[no-untyped-def]
    """Some channels of what a block has of side A: as many as a tile has rows a pixel and image."""
    high = word(args, HIGH)
    first = entry(args, BLOCKS, 4 * block + word(args, A + RANGE))
    end = entry(args, BLOCKS, 4 * block + word(args, A + RANGE) + 1)
    for i in range(first, end):
        for j in range(word(args, A + WIDTH)):
            pixel = (i - first) * word(args, A + WIDTH) + entry(args, A + COLUMNS, j)
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


@inline
def _correlate(worker, workers, args, kind, size):  # type: ignore[no-untyped-def]
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


# ---- binding -------------------------------------------------------------------------------------


def _side(x: Any, groups: int, columns: Any, of_blocks: int) -> list[Any]:
    """The words of a side."""
    group = x.shape[3] // groups * x.itemsize
    return [x, group, *x.strides[:3], x.shape[2], columns, of_blocks]


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
    down, across = walks(y.shape[1:3], x.shape[1:3], kernel, window)
    n_taps, w_group = kernel[0] * kernel[1], lanes * w.strides[3]
    # Few channels: w as a matrix, (taps and channels, lanes), if its rows are equally far apart.
    w_row = w.strides[2] if channels > 1 else w.strides[1]
    few = channels < ROWS and w.strides[:2] == (kernel[1] * w.strides[1], channels * w_row)
    turned = not few and w.strides[2] == size and channels > 1
    if turned:
        w, channels, lanes = w.swapaxes(2, 3), lanes, channels
    rows_of_tile = n_taps * channels if few else channels

    panels = panels_for(rows_of_tile, lanes, size)
    in_a_row = across.inputs * down.stride if turned else across.outputs
    rows = max(1, min(down.outputs, panels.deepest // in_a_row))  # of places, in a block
    t = correlate(down, across, rows)
    pixels, places = t.pixels * across.inputs, rows * across.outputs
    of_a, of_b = (places, pixels) if turned else (places if few else pixels, places)
    together = min(images, max(1, panels.deepest // max(1, of_b)))
    together = -(-images // -(-images // together))  # equal parts
    if few:
        one = [(0, 0, (i1 - i0) * across.outputs) for i0, i1, _, _ in t.blocks]
        t = t._replace(starts=np.arange(len(one) + 1), pieces=np.array(one))
    pieces = np.ascontiguousarray(t.pieces[:, [1, 0, 2]]) if turned else t.pieces
    unit = np.array([panels.high * size, 1, 1])
    pieces, last = (pieces * n * unit for n in (together, images % together or together))
    tap = np.arange(1 if few else n_taps)
    taps = tap // kernel[1] * w.strides[0] + tap % kernel[1] * w.strides[1]
    of_x, of_y = _side(x, groups, t.columns, 2), _side(y, groups, np.arange(across.outputs), 0)
    workers = threads() if x.size * y.shape[3] // groups * n_taps > SERIAL else 1
    packed_a = panels.share(of_b * together)
    share = packed_a + lines(of_a * together * panels.high * size)
    table = [
        *panels.head(of_b * together, share, groups), *(of_y if turned else of_x),
        *(of_x if turned else of_y), w, w_group, w_row if few else w.strides[2], w.strides[3],
        images, together, rows_of_tile, len(t.blocks), t.blocks, len(taps), taps, t.starts, pieces,
        last, packed_a, few, _taken(down, across, channels, size, panels.high), down.stride,
        across.stride, down.inputs,
    ]  # fmt: skip
    return Call(_correlate32 if size == 4 else _correlate64, table, out=out, workers=workers)
