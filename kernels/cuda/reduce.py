"""Sums, means and extremes: reduce.cuh on its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from .axes import Axis, floats, into, lanes, normal, reduced, split
from .runtime import (
    Call,
    Launch,
    Source,
    blocks,
    ctype,
    device_of,
    kernel,
    strides_of_a_grid,
)

SOURCE = Source("reduce.cuh")
INSTANCES = (
    *(
        f"{name}<{op}, {kind}>"
        for name in ("reduce_thread", "reduce_warps", "reduce_blocks", "reduce_columns")
        for op in ("SUM", "MAX", "MIN", "PROD")
        for kind in ("float", "double")
    ),
    "argmax<float>",
    "argmax<double>",
)

THREADS = 256
FEW, SERIAL = 8, 64  # elements that one thread reduces alone; of many columns
SHORT, LONG = 128, 1024  # elements of a row that a warp reduces; of one among many rows
EACH = 4096  # elements that keep a block busy
ALONE = 2**17  # elements that one block looks through while the device idles
FILL = 1024  # blocks that fill a device
MOST = 2**34  # elements: a grid has 2^31 blocks


def reduction(op: str, x: Any, axes: tuple[int, ...], shape: tuple[int, ...], out: Any,
              mean: bool = False) -> Any:  # fmt: skip
    """The call that reduces x over adjacent axes to `out`, or a new array, of `shape`."""
    view = split(x.shape, axes) if floats(x) else None
    out = None if view is None else into(out, x, shape, x.dtype)
    if view is None or out is None or x.size >= MOST:
        return NotImplemented
    outer, n, inner = view
    divisor = n if mean else 1
    pieces = pieces_of(outer, n, inner)
    if pieces == 1:
        return Call([launch(op, x, out, view, 1, divisor)], out)
    partial = device_of(x).empty((outer, pieces, inner), x.dtype)
    first = launch(op, x, partial, view, pieces, 1)
    second = launch(op, partial, out, (outer, pieces, inner), 1, divisor)
    return Call([first, second], out, keep=partial)


def pieces_of(outer: int, n: int, inner: int) -> int:
    """Into how many pieces to cut n: only so many that each keeps a block busy."""
    width, strips = _strips(inner)
    wanted = FILL // (outer * strips)
    busy = n * width // EACH
    pieces = wanted if wanted < busy else busy
    return blocks(n, blocks(n, pieces)) if pieces > 1 else 1


def _strips(inner: int) -> tuple[int, int]:
    """The width of a block's strip of columns, and how many of them there are."""
    width = lanes(inner)
    return width, blocks(inner, width)


def rows_block(n: int) -> tuple[int, int]:
    """A block whose lanes share rows of n elements, four each or more: lanes of a row, and rows."""
    width = lanes(blocks(n, 4))
    return width, THREADS // width


def launch(op: str, x: Any, out: Any, view: tuple[int, int, int], pieces: int, divisor: int
            ) -> Launch:  # fmt: skip
    """One kernel that reduces x, as (outer, n, inner), to (outer, pieces, inner)."""
    outer, n, inner = view
    length, by = np.int64(n), x.dtype.type(divisor)
    part = np.int64(blocks(n, pieces)), np.int32(pieces)
    results = outer * inner
    if n <= FEW or (inner > 1 and n <= SERIAL and results >= FILL * THREADS):
        name, ((grid,), block) = "reduce_thread", strides_of_a_grid(results)
        args = (np.int64(results), length, np.int64(inner), by)
    elif inner > 1:
        width, strips = _strips(inner)
        name, grid, block = "reduce_columns", outer * pieces * strips, (width, THREADS // width)
        args = (length, *part, np.int64(inner), np.int32(strips), by)
    elif pieces == 1 and (n <= SHORT or (n <= LONG and outer >= FILL)):
        name, block = "reduce_warps", rows_block(n)
        grid, args = blocks(outer, block[1]), (np.int64(outer), length, by)
    else:
        name, grid, block, args = "reduce_blocks", outer * pieces, (THREADS,), (length, *part, by)
    return Launch(SOURCE, f"{name}<{op}, {ctype(x.dtype)}>", (grid,), block, (x, out, *args))


# ---- the operations ------------------------------------------------------------------------------


@kernel
def sum(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """The sum over adjacent axes."""
    axes = normal(axis, x.ndim)
    return reduction("SUM", x, axes, reduced(x.shape, axes, keepdims), out)


@kernel
def mean(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """The mean over adjacent axes."""
    axes = normal(axis, x.ndim)
    return reduction("SUM", x, axes, reduced(x.shape, axes, keepdims), out, mean=True)


@kernel
def max(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """The largest element over adjacent axes; NaN if any is."""
    axes = normal(axis, x.ndim)
    return reduction("MAX", x, axes, reduced(x.shape, axes, keepdims), out)


@kernel
def min(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """The smallest element over adjacent axes; NaN if any is."""
    axes = normal(axis, x.ndim)
    return reduction("MIN", x, axes, reduced(x.shape, axes, keepdims), out)


@kernel
def sum_to(x: Any, *, shape: tuple[int, ...], out: Any = None) -> Any:
    """The sum over the axes along which `shape` would be broadcast to x.shape."""
    lead = x.ndim - len(shape)
    kept = [lead + i for i, n in enumerate(shape) if n == x.shape[lead + i]]
    return reduction("SUM", x, tuple(a for a in range(x.ndim) if a not in kept), tuple(shape), out)


@kernel
def argmax(x: Any, *, axis: int | None = None, keepdims: bool = False, out: Any = None) -> Any:
    """The index of the first largest element along the last axis, or in the flattened array."""
    axes = normal(axis, x.ndim)
    view = split(x.shape, axes) if floats(x) else None
    shape = reduced(x.shape, axes, keepdims)
    out = None if view is None else into(out, x, shape, np.dtype(np.int64))
    if view is None or out is None:
        return NotImplemented
    rows, n, inner = view
    if inner > 1 or n >= 2**31 or rows >= 2**31 or (rows < 16 and n > ALONE):
        return NotImplemented
    width = 32 if n <= SHORT else THREADS if n <= EACH else 1024
    name, args = f"argmax<{ctype(x.dtype)}>", (x, out, np.int32(n))
    return Call([Launch(SOURCE, name, (rows,), (width,), args)], out)
