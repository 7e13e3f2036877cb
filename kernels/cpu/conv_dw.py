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
7. Of 3 x 3 taps and many channels, fewer multiplications do: winograd.py.

Blocks are such that the packed panels of y stay in the core's cache (windows.py has the pieces).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..binding import kernel
from . import winograd
from .conv import HEAD, PANEL, of, panels_for, served, sharing, tiles, walks
from .panels import pack, pack_rows
from .runtime import (
    Call,
    Table,
    address_of,
    both,
    entry,
    flush_subnormals,
    inline,
    lines,
    pointer_of,
    restore,
    size_of,
    threads,
    word,
)
from .tile import ROWS
from .vectors import VECTOR_BYTES
from .windows import Walk, correlate

# The table of arguments. The sides a and b of the product, x and y: where it is, then the step to
# the next group, image, row and column, and how many columns. `columns`: where each of x is packed.
# `together`: images of a block. `taps_at`: where taps are in w. `pieces` for `together` images,
# `pieces_last` for what is left of them. `blocks`, `starts`: see windows.Correlate. With few
# channels there is one tap, whose channels are the rows of `taken`: see _taken. `out`: where w of
# `out_channels` goes in the other order, see _turn.
T = Table(
    f"{HEAD} a a_group a_image a_row a_column a_width b b_group b_image b_row b_column b_width "
    "w w_group w_row w_lane images together channels n_blocks blocks taps taps_at starts "
    "pieces pieces_last packed_a few_channels taken down across height columns out out_channels"
)


@inline
def _pack_panels(args, kind, size, packed, b, q0, q1, block, count):  # type: ignore[no-untyped-def]
    """The panels q0:q1 of what a block has of y: a row for each place and image."""
    first, end = entry(args, T.blocks, 4 * block), entry(args, T.blocks, 4 * block + 1)
    for q in range(q0, q1):
        here, row = of(args, q, PANEL.here), of(args, q, PANEL.row)
        for i in range(first, end):
            for j in range(word(args, T.b_width)):
                at = b + i * word(args, T.b_row) + j * word(args, T.b_column)
                at += of(args, q, PANEL.left) * size
                place = (i - first) * word(args, T.b_width) + j
                to = packed + of(args, q, PANEL.offset) + place * count * row
                pack(kind, size, to, row // size, at, word(args, T.b_image), size, count, here)


@inline
def _pack_channels(args, kind, size, to, a, rows, block, count):  # type: ignore[no-untyped-def]
    """Some channels of what a block has of x: as many as a tile has rows, each pixel and image."""
    high = word(args, T.high)
    first, end = entry(args, T.blocks, 4 * block + 2), entry(args, T.blocks, 4 * block + 3)
    for i in range(first, end):
        for j in range(word(args, T.a_width)):
            pixel = (i - first) * word(args, T.a_width) + entry(args, T.columns, j)
            at = a + i * word(args, T.a_row) + j * word(args, T.a_column)
            here = to + pixel * count * high * size
            pack_rows(kind, size, here, high, at, size, word(args, T.a_image), count, rows)


@inline
def _pack_windows(args, kind, size, to, x, c, rows, block, count):  # type: ignore[no-untyped-def]
    """Taps and channels from number c on of the windows of a block, as many as a tile has rows."""
    first, end = entry(args, T.blocks, 4 * block), entry(args, T.blocks, 4 * block + 1)
    high, places, apart = word(args, T.high), word(args, T.b_width), word(args, T.a_image)
    for i in range(first, end):
        for j in range(places):
            here = to + ((i - first) * places + j) * count * high * size
            for r in range(high):
                h = i * word(args, T.down) + entry(args, T.taken, 3 * (c + r))
                w = j * word(args, T.across) + entry(args, T.taken, 3 * (c + r) + 1)
                at = x + h * word(args, T.a_row) + w * word(args, T.a_column)
                at += entry(args, T.taken, 3 * (c + r) + 2)
                inside = 0 <= h < word(args, T.height) and 0 <= w < word(args, T.a_width)
                for n in range(count):
                    value = pointer_of(kind, at + n * apart)[0] if inside and r < rows else kind
                    pointer_of(kind, here + (n * high + r) * size)[0] = value


@both
def _correlate(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    before, size = flush_subnormals(), size_of(kind)
    channels, images, taps = word(args, T.channels), word(args, T.images), word(args, T.taps)
    high, scratch = word(args, T.high), word(args, T.workspace) + worker * word(args, T.share)
    packed_b, packed_a = scratch + word(args, T.tile), scratch + word(args, T.packed_a)
    items = (channels + high - 1) // high * taps
    first, end = items * worker // workers, items * (worker + 1) // workers
    for g in range(word(args, T.groups)):
        for q0 in range(0, word(args, T.panels), word(args, T.group)):
            q1 = min(q0 + word(args, T.group), word(args, T.panels))
            for n0 in range(0, images, word(args, T.together)):
                count = min(word(args, T.together), images - n0)
                table = word(args, T.pieces if count == word(args, T.together) else T.pieces_last)
                a = word(args, T.a) + g * word(args, T.a_group) + n0 * word(args, T.a_image)
                b = word(args, T.b) + g * word(args, T.b_group) + n0 * word(args, T.b_image)
                for block in range(word(args, T.n_blocks)):
                    _pack_panels(args, kind, size, packed_b, b, q0, q1, block, count)
                    onto = 1 if n0 > 0 or block > 0 else 0
                    for item in range(first, end):
                        c, tap = item // taps * high, item % taps
                        rows = min(high, channels - c)
                        if word(args, T.few_channels):
                            _pack_windows(args, kind, size, packed_a, a, c, rows, block, count)
                        elif item == first or tap == 0:
                            from_a = a + c * size
                            _pack_channels(args, kind, size, packed_a, from_a, rows, block, count)
                        start = entry(args, T.starts, block * taps + tap)
                        n_pieces = entry(args, T.starts, block * taps + tap + 1) - start
                        if n_pieces == 0 and onto:
                            continue
                        to = (
                            word(args, T.w)
                            + g * word(args, T.w_group)
                            + entry(args, T.taps_at, tap)
                        )
                        tiles(
                            args, kind, size, True, packed_a, size, rows, packed_b, q0, q1,
                            to + c * word(args, T.w_row), word(args, T.w_row), word(args, T.w_lane),
                            table + 24 * start, n_pieces, onto, scratch,
                        )  # fmt: skip
    restore(before)


@both
def _turn(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """w in the other order: a tap's lanes, a vector of them at a time, are the rows there."""
    size, channels = size_of(kind), word(args, T.out_channels)
    n = VECTOR_BYTES // size
    lanes, row = word(args, T.groups) * word(args, T.lanes), channels * size
    strips = (lanes + n - 1) // n
    items = word(args, T.taps) * word(args, T.channels) // channels * strips
    for item in range(items * worker // workers, items * (worker + 1) // workers):
        tap, lane = item // strips * row * lanes, item % strips * n
        to, w = word(args, T.out) + tap + lane * row, word(args, T.w) + tap + lane * size
        pack(kind, size, to, channels, w, size, word(args, T.w_row), min(n, lanes - lane), channels)


# ---- binding -------------------------------------------------------------------------------------


def _side(name: str, x: Any, groups: int) -> dict[str, Any]:
    """The words of a side."""
    image, row, column = x.strides[:3]
    group = x.shape[3] // groups * x.itemsize
    words = {"group": group, "image": image, "row": row, "column": column, "width": x.shape[2]}
    return {name: x, **{f"{name}_{key}": value for key, value in words.items()}}


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
    workers = sharing(x.size * y.shape[3] // groups * kernel[0] * kernel[1])
    lies_as_summed = out.strides[3] == size and not window.transposed
    if lies_as_summed and winograd.pays(x, y.shape[3], kernel, window, winograd.FEW):
        return winograd.correlated(x, y, out, workers)
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
    packed_a = panels.share(places * together)
    of_a = places if few else t.pixels * across.inputs
    share = packed_a + lines(of_a * together * panels.high * size)
    head = panels.head(places * together, share, groups, beyond=out.nbytes if turned else 0)
    at = address_of(head["workspace"]) + threads() * share if turned else w
    tap = np.arange(1 if few else n_taps)
    taps = tap // kernel[1] * strides[0] + tap % kernel[1] * strides[1]
    table = T.fill(
        **head, **_side("a", x, groups), **_side("b", y, groups), w=at,
        w_group=lanes * strides[3], w_row=w_row, w_lane=strides[3], images=images,
        together=together, channels=rows_of_tile, n_blocks=len(t.blocks), blocks=t.blocks,
        taps=len(taps), taps_at=taps, starts=t.starts, pieces=pieces, pieces_last=last,
        packed_a=packed_a, few_channels=few,
        taken=_taken(down, across, channels, size, panels.high), down=down.stride,
        across=across.stride, height=down.inputs, columns=t.columns, out=out,
        out_channels=channels,
    )  # fmt: skip
    then = [(_turn[x.dtype], workers)] if turned else []
    return Call(_correlate[x.dtype], table, out=out, workers=workers, then=then)
