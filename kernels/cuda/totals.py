"""Sums of squares, products, and products of the others, along an axis: totals.cuh, reduce.cuh."""

from __future__ import annotations

from typing import Any

import numpy as np

from .axes import floats, into, lanes
from .reduce import SHORT, THREADS, launch, pieces_of, reduction, rows_block
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

SOURCE = Source("totals.cuh")
INSTANCES = (
    *(
        f"{name}<{kinds}>"
        for name in ("squares_warps", "squares_blocks")
        for kinds in ("float, float", "double, float", "double, double")
    ),
    *(f"{name}<{t}>" for name in ("without_rows", "without_columns") for t in ("float", "double")),
)

LONGEST = 4096  # elements that a thread, or a warp, goes along one by one


def _squares(x: Any, rows: int, n: int, out: Any) -> Any:
    """The call that adds the squares of x, (rows, n), to `out`, in whose type they are made."""
    kinds = f"{ctype(out.dtype)}, {ctype(x.dtype)}"
    if n <= SHORT:
        block = rows_block(n)
        args = (x, out, np.int64(rows), np.int64(n))
        grid = (blocks(rows, block[1]),)
        return Call([Launch(SOURCE, f"squares_warps<{kinds}>", grid, block, args)], out)
    pieces = pieces_of(rows, n, 1)
    to = out if pieces == 1 else device_of(x).empty((rows, pieces), out.dtype)
    args = (x, to, np.int64(n), np.int64(blocks(n, pieces)), np.int32(pieces))
    launches = [Launch(SOURCE, f"squares_blocks<{kinds}>", (rows * pieces,), (THREADS,), args)]
    if to is not out:
        launches.append(launch("SUM", to, out, (rows, pieces, 1), 1, 1))
    return Call(launches, out, keep=to)


def _matrix(x: Any) -> bool:
    return bool(x.ndim == 2 and floats(x) and max(x.shape) < 2**31)


@kernel
def squares_along(x: Any, *, out: Any = None) -> Any:
    """sum_j x_ij^2."""
    out = into(out, x, x.shape[:1], x.dtype) if _matrix(x) else None
    return NotImplemented if out is None else _squares(x, *x.shape, out)


@kernel
def sum_of_squares(x: Any, *, dtype: Any, out: Any = None) -> Any:
    """The sum of the squares of all elements, made and added in float64."""
    served = floats(x) and np.dtype(dtype) == np.float64
    out = into(out, x, (), np.dtype(np.float64)) if served else None
    return NotImplemented if out is None else _squares(x, 1, x.size, out)


@kernel
def product_along(x: Any, *, axis: int, out: Any = None) -> Any:
    """The product along axis 0 or 1 of a matrix."""
    shape = (x.shape[1 - axis],)
    return reduction("PROD", x, (axis,), shape, out) if _matrix(x) else NotImplemented


@kernel
def product_without(x: Any, *, axis: int, out: Any = None) -> Any:
    """For each element the product of the others along axis 0 or 1 of a matrix."""
    out = into(out, x, x.shape, x.dtype) if _matrix(x) and x.shape[axis] <= LONGEST else None
    if out is None:
        return NotImplemented
    m, n = x.shape
    if axis == 1:
        width = lanes(n)
        block = width, THREADS // width
        name, grid, args = "without_rows", (blocks(m, block[1]),), (np.int64(m), np.int32(n))
        made = Launch(SOURCE, f"{name}<{ctype(x.dtype)}>", grid, block, (x, out, *args))
    else:
        args = (x, out, np.int32(m), np.int64(n))
        made = Launch(SOURCE, f"without_columns<{ctype(x.dtype)}>", *strides_of_a_grid(n), args)
    return Call([made], out)
