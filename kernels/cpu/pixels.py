"""Blocks of pixels: repeated and added up, or rearranged into channels; images (N, H, W, C).

    repeated       large[n, a i + p, b j + q, k] = small[n, i, j, k]
    added          small[n, i, j, k] = sum_pq large[n, a i + p, b j + q, k]
    to channels    small[n, i, j, (p b + q) C + k] = large[n, a i + p, b j + q, k]
    to pixels      the other way

All images lie row by row, so row r of the small ones belongs to rows a r ... a r + a - 1 of the
large ones, whatever image it is of; a worker takes whole rows. Numbers that stay side by side (the
channels of a pixel; of a row of a block, b C of them) are moved as vectors.

Sums read four times as much as they write, in two places at once (the rows of a block), and wait
for memory. So those of 2 x 2 blocks, where a pixel's channels fill whole vectors, are emitted: all
that is read is fetched AHEAD. It saves a fifth of the time, a third where others fill the cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from ..binding import kernel
from .emit import Loop
from .runtime import Call, Table, array, both, inline, size_of, wide_vectors, word, workers_for
from .short import copy
from .tile import fetch, load, store, vector_type
from .vectors import VECTOR_BYTES
from .words import WORD

REPEATED, ADDED, TO_CHANNELS, TO_PIXELS = range(4)
AHEAD = 4096  # bytes before a number is read that its line is fetched

PIXELS = Table("large small form rows columns channels down across")  # rows and columns: small


@inline
def _add(x, to):  # type: ignore[no-untyped-def]
    for k in range(to.size):
        to[k] += x[k]


@inline
def _add_pair(x, y, to):  # type: ignore[no-untyped-def]
    for k in range(to.size):
        to[k] += x[k] + y[k]


@inline
def _repeat(large, small, w, a, b, c):  # type: ignore[no-untyped-def]
    """A row of the small image as `a` rows of the large one."""
    for j in range(w):
        pixel = small[j * c : (j + 1) * c]
        for q in range(b):
            copy(pixel, large[(j * b + q) * c : (j * b + q + 1) * c])
    size = w * b * c
    for p in range(1, a):
        copy(large[:size], large[p * size : (p + 1) * size])


@inline
def _add_four(x, y, z, u, to):  # type: ignore[no-untyped-def]
    for k in range(to.size):
        to[k] = (x[k] + y[k]) + (z[k] + u[k])


@intrinsic
def _fours(
    typing: Any, kind: Any, pixels: Any, vectors: Any, pixel: Any, above: Any, below: Any, to: Any
) -> Any:
    """A row of sums of 2 x 2 blocks, of so many vectors a pixel, which is `pixel` bytes apart."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        vector = vector_type(context, kind)[1]
        pixels, vectors, pixel, *places = args[1:]

        def pair(place: Any) -> Any:
            """The sum of two neighbours."""
            both = (place, b.add(place, pixel))
            for at in both:
                fetch(b, b.add(at, WORD(AHEAD)), near=3)
            return b.fadd(*(load(b, vector, at) for at in both))

        with Loop(b, pixels, places) as turn:
            with Loop(b, vectors, turn.values) as along:
                above, below, to = along.values
                store(b, b.fadd(pair(above), pair(below)), to)
                along.values = [b.add(place, WORD(VECTOR_BYTES)) for place in along.values]
            above, below, to = along.values
            turn.values = [b.add(above, pixel), b.add(below, pixel), to]
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 6), emit


@inline
def _sum_fours(kind, large, small, w, c):  # type: ignore[no-untyped-def]
    wide_vectors()
    pixel, above = c * size_of(kind), large.ctypes.data
    below = above + 2 * w * pixel
    _fours(kind, w, pixel // VECTOR_BYTES, pixel, above, below, small.ctypes.data)


@inline
def _sum(kind, large, small, w, a, b, c):  # type: ignore[no-untyped-def]
    """A row of sums: of 2 x 2 blocks in one pass, else of two neighbours at once.

    A pass over the sums costs as much as one over the pixels.
    """
    if a == 2 and b == 2 and c * size_of(kind) % VECTOR_BYTES == 0:
        _sum_fours(kind, large, small, w, c)
        return
    if a == 2 and b == 2:
        below = w * 2 * c  # from a pixel to the one under it
        for j in range(w):
            at = j * 2 * c
            _add_four(
                large[at : at + c], large[at + c : at + 2 * c],
                large[at + below : at + below + c], large[at + below + c : at + below + 2 * c],
                small[j * c : (j + 1) * c],
            )  # fmt: skip
        return
    for j in range(w):
        to = small[j * c : (j + 1) * c]
        for k in range(c):
            to[k] = 0
        for p in range(a):
            row = large[(p * w + j) * b * c : (p * w + j + 1) * b * c]
            for q in range(0, b - 1, 2):
                _add_pair(row[q * c : (q + 1) * c], row[(q + 1) * c : (q + 2) * c], to)
            if b % 2:
                _add(row[(b - 1) * c :], to)


@inline
def _move(large, small, w, a, run, back):  # type: ignore[no-untyped-def]
    """Rows of blocks, `run` numbers each, to the small image's pixels or back.

    Runs are short (2 for a grey image), so no array is made for one.
    """
    for p in range(a):
        for j in range(w):
            far, near = (p * w + j) * run, (j * a + p) * run
            if back:
                for k in range(run):
                    large[far + k] = small[near + k]
            else:
                for k in range(run):
                    small[near + k] = large[far + k]


@both
def _pixels(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    rows, w, c = word(args, PIXELS.rows), word(args, PIXELS.columns), word(args, PIXELS.channels)
    a, b, form = word(args, PIXELS.down), word(args, PIXELS.across), word(args, PIXELS.form)
    many = w * a * b * c
    few = w * c if form in (REPEATED, ADDED) else many
    large = array(kind, args, PIXELS.large, rows * many)
    small = array(kind, args, PIXELS.small, rows * few)
    for r in range(rows * worker // workers, rows * (worker + 1) // workers):
        block, row = large[r * many : (r + 1) * many], small[r * few : (r + 1) * few]
        if form == REPEATED:
            _repeat(block, row, w, a, b, c)
        elif form == ADDED:
            _sum(kind, block, row, w, a, b, c)
        else:
            _move(block, row, w, a, b * c, form == TO_PIXELS)


# ---- the operations ------------------------------------------------------------------------------


def _bind(form: int, x: Any, block: tuple[int, int], out: Any) -> Any:
    (n, h, w, c), (a, b) = x.shape, block
    grows, large = form in (REPEATED, TO_PIXELS), x.shape
    if grows:
        large = (n, a * h, b * w, c if form == REPEATED else c // (a * b))
    c = large[3]
    small = (n, large[1] // a, large[2] // b, c if form in (REPEATED, ADDED) else a * b * c)
    shape = large if grows else small
    out = np.empty(shape, x.dtype) if out is None else out
    served = x.dtype in (np.float32, np.float64) and x.size and x.flags.c_contiguous
    if not served or out.shape != shape or out.dtype != x.dtype or not out.flags.c_contiguous:
        return NotImplemented
    table = PIXELS.fill(
        large=out if grows else x, small=x if grows else out, form=form,
        rows=n * small[1], columns=small[2], channels=c, down=a, across=b,
    )  # fmt: skip
    workers = min(n * small[1], workers_for(math.prod(large)))
    return Call(_pixels[x.dtype], table, out=out, workers=workers)


@kernel(eager_from=2048, again=True)
def pixels_repeated(x: Any, *, block: tuple[int, int], out: Any = None) -> Any:
    return _bind(REPEATED, x, block, out)


@kernel(eager_from=2048, again=True)
def pixels_added(x: Any, *, block: tuple[int, int], out: Any = None) -> Any:
    return _bind(ADDED, x, block, out)


@kernel(eager_from=2048, again=True)
def pixels_to_channels(x: Any, *, block: tuple[int, int], out: Any = None) -> Any:
    return _bind(TO_CHANNELS, x, block, out)


@kernel(eager_from=2048, again=True)
def channels_to_pixels(x: Any, *, block: tuple[int, int], out: Any = None) -> Any:
    return _bind(TO_PIXELS, x, block, out)
