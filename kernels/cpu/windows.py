"""What the windows of a convolution see, as tables of integers for its kernels; NumPy only.

A piece is a run of numbers that lie side by side in memory and meet rows of a panel that lie side
by side, too: (where it begins, its first row of the panel, its steps).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np


class Walk(NamedTuple):
    """One direction of an image, down or across: which inputs an output is computed from."""

    outputs: int
    inputs: int
    kernel: int
    stride: int
    dilation: int
    before: int  # zeros before the first pixel
    back: bool = False  # the outputs are the pixels and the inputs the windows: a gradient

    def source(self) -> Any:
        """(outputs, kernel): the input that an output meets at a tap, -1 for none."""
        at, tap = np.arange(self.outputs)[:, None], np.arange(self.kernel)[None] * self.dilation
        if self.back:
            found, rest = np.divmod(at + self.before - tap, self.stride)
        else:
            found, rest = at * self.stride + tap - self.before, 0
        return np.where((rest == 0) & (found >= 0) & (found < self.inputs), found, -1)

    def order(self) -> list[int]:
        """The taps, so that those that an output meets lead to inputs side by side."""
        taps = range(self.kernel)
        if not self.back:
            return list(taps)
        return sorted(taps, key=lambda b: (b * self.dilation % self.stride, -b))

    def steps(self) -> tuple[int, int]:
        """From an output to the next that sees the same taps, and from input to input then."""
        return (self.stride, 1) if self.back else (1, self.stride)

    def runs(self) -> list[tuple[int, int]]:
        """(first, count) of the outputs that see the same taps, as far apart as `steps` says."""
        seen, (step, _), out = self.source() >= 0, self.steps(), []
        for phase in range(min(step, self.outputs)):
            first = phase
            for at in range(phase + step, self.outputs + step, step):
                if at >= self.outputs or not np.array_equal(seen[at], seen[first]):
                    out.append((first, (at - first) // step))
                    first = at
        return out


def _joined(pieces: Any, key: Any, scale: int) -> tuple[Any, Any]:
    """Pieces of the same key as one where the second continues the first; a step is `scale`."""
    if len(pieces) < 2:
        return pieces, key
    at, row, steps = pieces.T
    continues = (key[1:] == key[:-1]) & (row[1:] == row[:-1] + steps[:-1])
    continues &= at[1:] == at[:-1] + steps[:-1] * scale
    heads = np.flatnonzero(np.concatenate([[True], ~continues]))
    out = pieces[heads]
    out[:, 2] = np.add.reduceat(steps, heads)
    return out, key[heads]


def _int64(values: Any) -> Any:
    return np.ascontiguousarray(values, dtype=np.int64)


class Gather(NamedTuple):
    """What a call computes, job by job; a job is some rows of the output that see the same taps.

    k is cut into blocks: some taps each, or some channels of one tap.
    """

    jobs: Any  # (offset in the output, rows) each
    starts: Any  # the first piece of job j in block b, at [b, j]; and the end
    pieces: Any
    fresh: Any  # the block with which a job's sums begin
    loads: Any  # what a block packs: (offset in the kernel, row of the panel, steps) each
    first_loads: Any  # the first of each block; and the end
    depth: int  # rows of the longest block
    shares: Any  # the first job of each worker; and the end


@functools.lru_cache(32)
def gather(
    down: Walk, across: Walk, n_images: int, size: int, channels: int, deepest: int, high: int,
    a_strides: tuple[int, int], b_strides: tuple[int, int, int], c_strides: tuple[int, int],
    workers: int,
) -> Gather:  # fmt: skip
    """The tables for images of so many channels; strides in bytes: (row, column) of the images,
    (row, column, channel) of the kernel.

    Args:
        n_images: the rows of every job if these are the images, 0 if they are runs of columns.
        deepest: rows of a block.
        high: rows of a tile.
    """
    order = across.order()
    runs = across.runs()
    if n_images:
        runs = [(c, n_images) for c in range(across.outputs)]
    rows, columns = down.source(), across.source()[[c for c, _ in runs]][:, order]
    seen = (rows >= 0)[:, None, :, None] & (columns >= 0)[None, :, None, :]
    i, j, a, b = np.nonzero(seen)
    job, tap = i * len(runs) + j, a * across.kernel + b
    at = rows[i, a] * a_strides[0] + columns[j, b] * a_strides[1]
    # a block: `taps` taps, or a part of the channels of one
    taps, n_taps = max(1, deepest // channels), down.kernel * across.kernel
    parts = [(c, min(deepest, channels - c)) for c in range(0, channels, deepest)]
    block = np.concatenate([tap // taps * len(parts) + p for p in range(len(parts))])
    pieces = np.concatenate(
        [np.stack([at + c * size, tap % taps * channels, 0 * tap + n], 1) for c, n in parts]
    )
    n_jobs, n_blocks = down.outputs * len(runs), -(-n_taps // taps) * len(parts)
    key = block * n_jobs + np.tile(job, len(parts))
    sort = np.argsort(key, kind="stable")
    pieces, key = _joined(pieces[sort], key[sort], size)
    starts = np.searchsorted(key, np.arange(n_blocks * n_jobs + 1))
    used = np.diff(starts).reshape(n_blocks, n_jobs) > 0

    t = np.arange(n_taps)
    places = t // across.kernel * b_strides[0]
    places += np.array(order)[t % across.kernel] * b_strides[1]
    loads = np.concatenate(
        [np.stack([places + c * b_strides[2], t % taps * channels, 0 * t + n], 1) for c, n in parts]
    )
    of_block = np.concatenate([t // taps * len(parts) + p for p in range(len(parts))])
    sort = np.argsort(of_block, kind="stable")
    loads, of_block = _joined(loads[sort], of_block[sort], b_strides[2])

    jobs = [(r * c_strides[0] + c * c_strides[1], n) for r in range(down.outputs) for c, n in runs]
    tiles = np.array([-(-n // high) for _, n in jobs])
    work = np.bincount(key % n_jobs, weights=pieces[:, 2], minlength=n_jobs)
    work = np.cumsum((work + 16) * tiles)
    shares = np.searchsorted(work, work[-1] * np.arange(workers + 1) / workers)
    shares[-1] = n_jobs
    return Gather(
        _int64(jobs), _int64(starts), _int64(pieces), _int64(used.argmax(0)), _int64(loads),
        _int64(np.searchsorted(of_block, np.arange(n_blocks + 1))),
        min(taps, n_taps) * channels if len(parts) == 1 else deepest, _int64(shares),
    )  # fmt: skip


class Correlate(NamedTuple):
    """What each tap of a kernel's gradient sums over: places, a block of some rows at a time."""

    blocks: Any  # (first row of places, end, first row of pixels, end) each
    columns: Any  # the place of column w in a packed row of pixels
    starts: Any  # the first piece of tap t in block b, at [b, t]; and the end
    pieces: Any  # of one image, counted in pixels
    pixels: int  # rows of pixels that a block sees, at most


@functools.lru_cache(32)
def correlate(down: Walk, across: Walk, rows: int) -> Correlate:
    """The tables for blocks of so many rows of places."""
    # Columns a stride apart meet the same tap at neighbouring places: they are packed side by side.
    width = across.inputs
    columns = np.argsort(sorted(range(width), key=lambda w: (w % across.stride, w)))
    source, beside = down.source(), across.source()
    n_taps = down.kernel * across.kernel
    blocks, pieces, key = [], [], []
    for i0 in range(0, down.outputs, rows):
        part = source[i0 : i0 + rows]
        inside = part[part >= 0]
        h0, h1 = (int(inside.min()), int(inside.max()) + 1) if inside.size else (0, 0)
        for tap in range(n_taps):
            a, b = divmod(tap, across.kernel)
            places = np.flatnonzero(beside[:, b] >= 0)
            for i in np.flatnonzero(part[:, a] >= 0) if places.size else ():
                pixel = (part[i, a] - h0) * width + columns[beside[places[0], b]]
                pieces.append((pixel, i * across.outputs + places[0], places.size))
                key.append(len(blocks) * n_taps + tap)
        blocks.append((i0, i0 + len(part), h0, h1))
    joined, keys = _joined(_int64(pieces).reshape(-1, 3), _int64(key), 1)
    starts = np.searchsorted(keys, np.arange(len(blocks) * n_taps + 1))
    pixels = max(h1 - h0 for _, _, h0, h1 in blocks)
    return Correlate(_int64(blocks), _int64(columns), _int64(starts), joined, pixels)
