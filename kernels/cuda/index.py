"""Gathers, scatters, one-hot codes and batches of images: index.cuh on its arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .axes import floats, into, power_of_two
from .runtime import (
    Call,
    Launch,
    Source,
    blocks,
    ctype,
    dense,
    device_of,
    kernel,
    strides_of_a_grid,
)

SOURCE = Source("index.cuh", fused=False)
_INDICES = ("int", "long long")
INSTANCES = (
    *(f"take<{t}, {i}>" for t in ("float", "double", *_INDICES) for i in _INDICES),
    *(f"take_along_axis<{t}, {i}>" for t in ("float", "double", *_INDICES) for i in _INDICES),
    *(f"wrap<{i}>" for i in _INDICES),
    *(f"add_along_axis<{t}>" for t in ("float", "double")),
    *(f"{name}<{t}>" for name in ("scatter_thread", "scatter_rows") for t in ("float", "double")),
    *(f"one_hot<{t}, {i}>" for t in ("float", "double") for i in _INDICES),
    "gather_images",
)

THREADS = 256
WIDE = 32  # columns from which a block takes one row of a scatter
MOST = 2**33  # comparisons of a scatter; beyond, sorting would be faster
GRID = 65535  # blocks along an axis that every device takes


def _integers(*arrays: Any) -> bool:
    """Whether these are arrays (not numbers) of int32 or int64, dense."""
    return all(getattr(a, "dtype", None) in (np.int32, np.int64) and dense(a) for a in arrays)


def _rows(rows: int, columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Grid and block for EACH_ROW and EACH_COLUMN: at most 16 columns a thread."""
    width = power_of_two(columns) if columns < THREADS else THREADS
    lines = blocks(rows, THREADS // width)
    strips = blocks(columns, 16 * width)
    grid = lines if lines < GRID else GRID, strips if strips < GRID else GRID
    return grid, (width, THREADS // width)


@kernel
def take(x: Any, indices: Any, *, axis: int = 0, out: Any = None) -> Any:
    """The elements of x at `indices` along `axis`; an index counts round the axis."""
    kinds = (np.float32, np.float64, np.int32, np.int64)
    if not _integers(indices) or x.dtype not in kinds or not dense(x):
        return NotImplemented
    at = axis % x.ndim
    before, after = x.shape[:at], x.shape[at + 1 :]
    out = into(out, x, (*before, *indices.shape, *after), x.dtype)
    if out is None:
        return NotImplemented
    outer, n, m, inner = math.prod(before), x.shape[at], indices.size, math.prod(after)
    grid, block = _rows(outer * m, inner)
    args = (x, indices, out, np.int64(outer), np.int64(n), np.int64(m), np.int64(inner))
    name = f"take<{ctype(x.dtype)}, {ctype(indices.dtype)}>"
    return Call([Launch(SOURCE, name, grid, block, args)], out)


@kernel
def scatter_add(
    x: Any, indices: Any, *, axis: int, shape: tuple[int, ...], out: Any = None
) -> Any:  # fmt: skip
    """Zeros of `shape` plus x added at `indices` along `axis`, in the order of the indices."""
    if not _integers(indices) or not floats(x):
        return NotImplemented
    at, size, m = axis % len(shape), math.prod(shape), indices.size
    n, inner = shape[at], math.prod(shape[at + 1 :])
    if not size or m >= 2**31 or n >= 2**31:
        return NotImplemented
    wide = WIDE <= inner <= THREADS * GRID
    looks = size // inner * blocks(inner, THREADS) * m if wide else size * m
    out = into(out, x, tuple(shape), x.dtype) if looks < MOST else None
    if out is None:
        return NotImplemented
    where = device_of(x).empty((m,), np.dtype(np.int32))
    args = (indices, where, np.int64(n), np.int64(m))
    first = Launch(SOURCE, f"wrap<{ctype(indices.dtype)}>", *strides_of_a_grid(m), args)
    kind, sizes = ctype(x.dtype), (np.int32(n), np.int32(m), np.int64(inner))
    if wide:
        grid = size // inner, blocks(inner, THREADS)
        args = (x, where, out, *sizes)
        then = Launch(SOURCE, f"scatter_rows<{kind}>", grid, (THREADS,), args)
    else:
        args = (x, where, out, np.int64(size), *sizes)
        then = Launch(SOURCE, f"scatter_thread<{kind}>", *strides_of_a_grid(size), args)
    return Call([first, then], out, keep=where)


@kernel
def take_along_axis(x: Any, indices: Any, *, axis: int, out: Any = None) -> Any:
    """For each place along `axis` the elements that its indices name; an index counts round."""
    kinds = (np.float32, np.float64, np.int32, np.int64)
    if not _integers(indices) or x.dtype not in kinds or not dense(x) or not indices.size:
        return NotImplemented
    at = axis % x.ndim
    out = into(out, x, indices.shape, x.dtype)
    if out is None or not x.size:
        return NotImplemented
    inner = math.prod(x.shape[at + 1 :])
    sizes = (np.int64(n) for n in (out.size, x.shape[at], indices.shape[at], inner))
    name = f"take_along_axis<{ctype(x.dtype)}, {ctype(indices.dtype)}>"
    args = (x, indices, out, *sizes)
    return Call([Launch(SOURCE, name, *strides_of_a_grid(out.size), args)], out)


@kernel
def add_along_axis(
    x: Any, indices: Any, *, axis: int, shape: tuple[int, ...], out: Any = None
) -> Any:  # fmt: skip
    """Zeros of `shape` plus x added at `indices` along `axis`, in the order of the indices."""
    if not _integers(indices) or not floats(x):
        return NotImplemented
    at, size = axis % len(shape), math.prod(shape)
    n, m, inner = shape[at], x.shape[at], math.prod(shape[at + 1 :])
    if not size or not x.size or n >= 2**31 or size * m >= MOST:
        return NotImplemented
    out = into(out, x, tuple(shape), x.dtype)
    if out is None:
        return NotImplemented
    where = device_of(x).empty((x.size,), np.dtype(np.int32))
    args = (indices, where, np.int64(n), np.int64(x.size))
    first = Launch(SOURCE, f"wrap<{ctype(indices.dtype)}>", *strides_of_a_grid(x.size), args)
    sizes = (np.int64(k) for k in (size, n, m, inner))
    args = (x, where, out, *sizes)
    name = f"add_along_axis<{ctype(x.dtype)}>"
    then = Launch(SOURCE, name, *strides_of_a_grid(size), args)
    return Call([first, then], out, keep=where)


@kernel
def one_hot(labels: Any, *, classes: int, dtype: str = "float32", out: Any = None) -> Any:
    """Rows of zeros with a 1 at the label; for a label outside, only zeros."""
    kind = np.dtype(dtype)
    if not _integers(labels) or kind not in (np.float32, np.float64) or classes < 1:
        return NotImplemented
    out = into(out, labels, (*labels.shape, classes), kind)
    if out is None:
        return NotImplemented
    name = f"one_hot<{ctype(kind)}, {ctype(labels.dtype)}>"
    args = (labels, out, np.int64(labels.size), np.int64(classes))
    return Call([Launch(SOURCE, name, *_rows(labels.size, classes), args)], out)


@kernel
def gather_images(images: Any, index: Any, low: float, high: float, *, out: Any = None) -> Any:
    """out[b] = images[index[b]] / 255 * (high - low) + low; NaN for an index out of range.

    Shapes: images (N, ...) uint8, index (B,) int64 -> float32 (B, ...).
    """
    if (
        images.dtype != np.uint8 or index.dtype != np.int64 or index.ndim != 1
        or not dense(images, index)
    ):  # fmt: skip
        return NotImplemented
    out = into(out, images, (index.size, *images.shape[1:]), np.dtype(np.float32))
    if out is None:
        return NotImplemented
    low, high = float(low), float(high)
    total, m = len(images), index.size
    size = images.size // total
    args = (
        images, index, out, np.int64(total), np.int64(m), np.int64(size), np.float32(high - low),
        np.float32(low), np.int32((low, high) != (0.0, 1.0)),
    )  # fmt: skip
    columns = size // 4 if size % 4 == 0 else size
    return Call([Launch(SOURCE, "gather_images", *_rows(m, columns), args)], out)
