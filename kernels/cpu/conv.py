"""Convolutions of images: products of matrices whose k comes in pieces.

    y[n, i, j, o] = sum_abc x[n, i SH + a DH - PT, j SW + b DW - PL, c] w[a, b, c, o]

with N images of C channels, a kernel of KH x KW taps and O output channels; the gradient of x is a
sum of the same products in another order. From plain to fast:

1. Seven loops: a multiply-add at a time.
2. im2col: every window is copied into a row of a matrix, and one product does the rest. The copies
   take KH KW times the memory of the images.
3. No copies: all windows at one place (i, j) of the N images are rows of a matrix as they lie, an
   image apart, and what they see of one row of pixels is contiguous. So a place is a small product
   of N rows whose k comes in pieces, a piece a row of pixels, read where it is. The tile of
   matrix products (tile.py) takes a list of pieces and sums them all in registers.
4. Nothing is computed for zeros: a tap that falls on the padding is no piece. All rows of a tile
   are at one place, so they agree on that.
5. Few images (a picture is drawn): neighbouring windows of a row are the rows of a tile instead, as
   far as they see the same taps.
6. The gradient of x turns it around: a pixel gathers from the windows that it is in, again pieces
   of rows, with the taps in reverse. Each result is written once, and its sum has one order.
7. Few output channels (an image has one or three) would leave most of a vector empty: then a result
   is a sum of dot products along the pieces.
8. Of 3 x 3 taps and many channels, fewer multiplications do: winograd.py.

Panels of w are packed block by block of k, so that they stay in the core's cache (windows.py says
what a block is). conv_dw.py has the gradient of w.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import carray

from ..binding import kernel
from . import winograd
from .panels import GROUP_BYTES, pack, panels_of, tiling, unpack
from .runtime import (
    Call,
    Table,
    both,
    entry,
    flush_subnormals,
    inline,
    int64_pointer,
    lines,
    pointer_of,
    regrouped,
    restore,
    size_of,
    threads,
    word,
    workspace,
)
from .tile import ROWS, ROWS_4, SHORT, tile_of_pieces
from .vectors import VECTOR_BYTES
from .windows import Walk, gather

FEW = 4  # output channels up to which dot products take less time than a tile
SERIAL = 100_000  # multiply-adds up to which one worker does it
DOTS = 0  # in place of a number of vectors: no tiles, dot products

# The tables of arguments of both kinds of convolution begin with HEAD. Strides and offsets are in
# bytes. `high`: rows of a tile, `tile`: bytes of it; `panel`: what a panel is (PANEL), of which
# `group` are packed at a time. The others of a gathering convolution: see windows.Gather.
HEAD = "lanes high tile panels panel group workspace share groups"
T = Table(
    f"{HEAD} a b c a_group b_group c_group a_row c_row images a_image c_image b_row b_col "
    "n_jobs jobs blocks starts pieces fresh loads first_loads shares"
)
PANEL = Table("left here vectors row offset")
WORDS = len(PANEL)


@inline
def of(args, q, what):  # type: ignore[no-untyped-def]
    """Word `what` of panel q."""
    return entry(args, T.panel, q * WORDS + what)


@regrouped
def _dot(kind, a, b, n):  # type: ignore[no-untyped-def]
    x, y = carray(pointer_of(kind, a), n), carray(pointer_of(kind, b), n)
    total = kind
    for i in range(n):
        total += x[i] * y[i]
    return total


@inline
def _dots(kind, size, a, a_row, rows, panel, c, c_row, pieces, count, onto):  # type: ignore[no-untyped-def]
    """One output channel of some rows."""
    table = carray(int64_pointer(pieces), (count, 3))
    for r in range(rows):
        to = pointer_of(kind, c + r * c_row)
        total = to[0] if onto else kind
        for i in range(count):
            at, row, steps = table[i]
            total += _dot(kind, a + r * a_row + at, panel + row * size, steps)
        to[0] = total


@inline
def tiles(
    args, kind, size, packed_a, a, a_row, rows, packed, q0, q1, c, c_row, c_lane, pieces, count,
    onto, scratch,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """A tile's rows of C in the panels q0:q1, from the pieces of these rows of A."""
    high = word(args, T.high)
    for q in range(q0, q1):
        vectors, here, row = (
            of(args, q, PANEL.vectors),
            of(args, q, PANEL.here),
            of(args, q, PANEL.row),
        )
        panel, to = packed + of(args, q, PANEL.offset), c + of(args, q, PANEL.left) * c_lane
        if vectors == DOTS:
            _dots(kind, size, a, a_row, rows, panel, to, c_row, pieces, count, onto)
            continue
        whole = rows == high or (rows == SHORT and vectors == 4 and not packed_a)
        direct = whole and here * size == row and c_lane == size
        tile_c, tile_row = (to, c_row) if direct else (scratch, row)
        adds = onto if direct else 0
        last = (high if packed_a else rows) - 1
        tile_of_pieces(
            kind, vectors, packed_a, a, a_row, last, panel, tile_c, tile_row, pieces, count, adds
        )
        if not direct:
            unpack(kind, size, scratch, row // size, to, c_row, c_lane, rows, here, onto)


@inline
def _pack(args, kind, size, packed, b, q0, q1, block):  # type: ignore[no-untyped-def]
    """The panels q0:q1 of a block of the kernel."""
    b_row, b_col = word(args, T.b_row), word(args, T.b_col)
    for q in range(q0, q1):
        from_b, panel = b + of(args, q, PANEL.left) * b_col, packed + of(args, q, PANEL.offset)
        row, here = of(args, q, PANEL.row), of(args, q, PANEL.here)
        for i in range(entry(args, T.first_loads, block), entry(args, T.first_loads, block + 1)):
            at, to = (
                from_b + entry(args, T.loads, 3 * i),
                panel + entry(args, T.loads, 3 * i + 1) * row,
            )
            steps = entry(args, T.loads, 3 * i + 2)
            pack(kind, size, to, row // size, at, b_row, b_col, steps, here)


@both
def _gather(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    before, size = flush_subnormals(), size_of(kind)
    high, jobs = word(args, T.high), word(args, T.n_jobs)
    a_row, c_row = word(args, T.a_row), word(args, T.c_row)
    scratch = word(args, T.workspace) + worker * word(args, T.share)
    packed = scratch + word(args, T.tile)
    first, end = entry(args, T.shares, worker), entry(args, T.shares, worker + 1)
    for g in range(word(args, T.groups)):
        b = word(args, T.b) + g * word(args, T.b_group)
        for q0 in range(0, word(args, T.panels), word(args, T.group)):
            q1 = min(q0 + word(args, T.group), word(args, T.panels))
            for block in range(word(args, T.blocks)):
                _pack(args, kind, size, packed, b, q0, q1, block)
                for image in range(word(args, T.images)):
                    a = word(args, T.a) + g * word(args, T.a_group) + image * word(args, T.a_image)
                    c = word(args, T.c) + g * word(args, T.c_group) + image * word(args, T.c_image)
                    for j in range(first, end):
                        start = entry(args, T.starts, block * jobs + j)
                        count = entry(args, T.starts, block * jobs + j + 1) - start
                        fresh = entry(args, T.fresh, j) == block
                        if count == 0 and not fresh:
                            continue
                        rows, to = entry(args, T.jobs, 2 * j + 1), c + entry(args, T.jobs, 2 * j)
                        pieces = word(args, T.pieces) + 24 * start
                        for r in range(0, rows, high):
                            tiles(
                                args, kind, size, False, a + r * a_row, a_row, min(high, rows - r),
                                packed, q0, q1, to + r * c_row, c_row, size, pieces, count,
                                0 if fresh else 1, scratch,
                            )  # fmt: skip
    restore(before)


# ---- binding -------------------------------------------------------------------------------------


def served(x: Any, lanes: bool = True) -> bool:
    """Whether strides are served: any that are not negative, channels (`lanes`) side by side."""
    size = x.dtype.itemsize
    side_by_side = not lanes or x.shape[-1] == 1 or x.strides[-1] == size
    return x.size > 0 and side_by_side and all(s >= 0 and s % size == 0 for s in x.strides)


def walks(places: Any, pixels: Any, kernel: Any, window: Any, back: bool = False) -> list[Walk]:
    """Down and across, for windows at so many places on images of so many pixels."""
    ends = zip(pixels, places, strict=True) if back else zip(places, pixels, strict=True)
    before = [p for p, _ in window.padding]
    each = zip(ends, kernel, window.stride, window.dilation, before, strict=True)
    return [Walk(*io, *rest, back) for io, *rest in each]


class Panels(NamedTuple):
    """How the lanes of a product are cut: into panels of so many vectors or fewer."""

    lanes: int
    size: int
    vectors: int  # 0: no tiles, dot products
    lefts: Any  # where panels begin, and the end
    group: int  # panels that are packed together
    deepest: int  # rows of so many panels that fit into the core's cache

    @property
    def high(self) -> int:
        """Rows of a tile."""
        return ROWS_4 if self.vectors == 4 else ROWS

    @property
    def row(self) -> int:
        """Bytes of a row of a whole panel."""
        return self.vectors * VECTOR_BYTES or self.size

    def table(self, depth: int) -> Any:
        """The words PANEL has for each: `here` lanes, `row` bytes of a row; `depth` rows each."""
        q, here = np.arange(len(self.lefts) - 1), np.diff(self.lefts)
        vectors = -(-here * self.size // VECTOR_BYTES) if self.vectors else 0 * q
        vectors = 0 * q + 4 if self.vectors == 4 else vectors
        row = vectors * VECTOR_BYTES if self.vectors else 0 * q + self.size
        offset = q % self.group * depth * self.row
        return np.ascontiguousarray(np.stack([self.lefts[:-1], here, vectors, row, offset], 1))

    def share(self, depth: int) -> int:
        """Bytes that a worker needs for a tile and the panels of a group."""
        return lines((self.high + self.group * depth) * self.row)

    def head(self, depth: int, share: int, groups: int, beyond: int = 0) -> dict[str, Any]:
        """The words of HEAD; `beyond`: bytes behind what workers need."""
        return {
            "lanes": self.lanes, "high": self.high, "tile": self.high * self.row,
            "panels": len(self.lefts) - 1, "panel": self.table(depth), "group": self.group,
            "workspace": workspace((threads() * share + beyond) // 4), "share": share,
            "groups": groups,
        }  # fmt: skip


def panels_for(rows: int, lanes: int, size: int, few: int = 0) -> Panels:
    """The panels of a product of so many rows; dot products for up to `few` lanes."""
    if lanes <= few:
        cut = np.arange(lanes + 1, dtype=np.int64)
        return Panels(lanes, size, DOTS, cut, lanes, GROUP_BYTES // (lanes * size))
    vectors, _ = tiling(rows, lanes, VECTOR_BYTES // size)
    lefts = panels_of(lanes, VECTOR_BYTES // size, vectors, even=False)
    row = vectors * VECTOR_BYTES
    group = max(1, min(len(lefts) - 1, GROUP_BYTES // (256 * row)))
    return Panels(lanes, size, vectors, lefts, group, GROUP_BYTES // (group * row))


def sharing(work: int) -> int:
    """How many workers share so many multiply-adds."""
    return threads() if work > SERIAL else 1


def _gathered(a: Any, b: Any, c: Any, b_group: int, down: Walk, across: Walk, groups: int) -> Any:
    """The call that computes images c from images a and kernels b (KH, KW, of a, of c)."""
    size, n_images = a.dtype.itemsize, len(a)
    channels, lanes = a.shape[3] // groups, c.shape[3] // groups
    tall = lambda n: -(-n // ROWS) * ROWS
    by_image = tall(n_images) * across.outputs <= n_images * sum(tall(n) for _, n in across.runs())
    panels = panels_for(n_images, lanes, size, few=FEW)
    workers = sharing(c.size * channels * down.kernel * across.kernel)
    t = gather(
        down, across, by_image * n_images, size, channels, panels.deepest, panels.high,
        a.strides[1:3], b.strides[:3], c.strides[1:3], workers,
    )  # fmt: skip
    step, along = across.steps()
    rows = (a.strides[0], c.strides[0]) if by_image else (along * a.strides[2], step * c.strides[2])
    images = (1, 0, 0) if by_image else (n_images, a.strides[0], c.strides[0])
    table = T.fill(
        **panels.head(t.depth, panels.share(t.depth), groups), a=a, b=b, c=c,
        a_group=channels * size, b_group=b_group, c_group=lanes * size, a_row=rows[0],
        c_row=rows[1], images=images[0], a_image=images[1], c_image=images[2], b_row=b.strides[2],
        b_col=b.strides[3], n_jobs=len(t.jobs), jobs=t.jobs, blocks=len(t.first_loads) - 1,
        starts=t.starts, pieces=t.pieces, fresh=t.fresh, loads=t.loads,
        first_loads=t.first_loads, shares=t.shares,
    )  # fmt: skip
    return Call(_gather[a.dtype], table, out=c, workers=workers)


def _bound(a: Any, w: Any, c: Any, window: Any, shape: Any, back: bool) -> Any:
    """The call that computes images of this shape from images a, into c if it is given."""
    if a.dtype != w.dtype or a.dtype not in (np.float32, np.float64) or 0 in shape:
        return NotImplemented
    c = np.empty(shape, a.dtype) if c is None else c
    if not (served(a) and served(w, lanes=False) and served(c)):
        return NotImplemented
    if winograd.pays(a, c.shape[3], w.shape[:2], window):
        b = w.swapaxes(2, 3)[::-1, ::-1] if back else w
        return winograd.convolved(a, b, c, sharing(c.size * b[..., 0].size))
    places, pixels = (a, c) if back else (c, a)
    both = walks(places.shape[1:3], pixels.shape[1:3], w.shape[:2], window, back)
    b_group = w.shape[3] // window.groups * w.strides[3]
    return _gathered(a, w.swapaxes(2, 3) if back else w, c, b_group, *both, window.groups)


@kernel
def conv2d_nd(x: Any, w: Any, *, window: Any, out: Any = None) -> Any:
    """The convolution, for images whose channels lie side by side."""
    w = w.swapaxes(2, 3) if window.transposed else w
    shape = (len(x), *window.outputs(x.shape[1:3], w.shape[:2]), w.shape[3])
    return _bound(x, w, out, window, shape, back=False)


@kernel
def conv2d_dx(y: Any, w: Any, *, size: Any, window: Any, out: Any = None) -> Any:
    """The gradient of the images, which is the transposed convolution."""
    w = w.swapaxes(2, 3) if window.transposed else w
    shape = (len(y), *size, w.shape[2] * window.groups)
    return _bound(y, w, out, window, shape, back=True)
