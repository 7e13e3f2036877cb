"""Gathering along an axis and its adjoint, by one list of indices or by one for each place.

    take              out (outer, m, inner):  out[a, i] = x[a, index[i]],  x (outer, n, inner)
    scatter_add       out (outer, n, inner):  out[a, j] = sum of x[a, i] over i with index[i] = j
    take_along_axis   out[a, i, k] = x[a, index[a, i, k], k]
    add_along_axis    out[a, j, k] = sum of x[a, i, k] over i with index[a, i, k] = j

A sum is added in the order of the indices, by the one worker that owns it, so its bits are those of
np.add.at for any number of threads. Workers own blocks of `outer`; where these are few, columns of
`inner`, a line of the cache at least; else rows of the result, and each looks at all indices.

No function can raise. `before` looks at the indices each time before a call runs; it is Python, and
stands between the calls of a plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..binding import kernel
from .axes import into
from .runtime import (
    Call,
    Table,
    both_exact,
    first,
    inline,
    int64_pointer,
    pointer_of,
    word,
    workers_for,
)

INDEX = Table("x index out outer n m inner by")
OUTER, COLUMNS, ROWS = range(3)  # what workers own


@inline
def _share(n, worker, workers, mine):  # type: ignore[no-untyped-def]
    """A worker's part of n where that is how the work is cut, else all."""
    if mine:
        return n * worker // workers, n * (worker + 1) // workers
    return 0, n


@inline
def _columns(n, worker, workers, mine):  # type: ignore[no-untyped-def]
    """The same in whole lines of the cache."""
    if mine:
        return first(n, worker, workers), first(n, worker + 1, workers)
    return 0, n


@inline
def _clear(out, kind, start, inner, j0, j1, k0, k1):  # type: ignore[no-untyped-def]
    """Zeros in rows j0 to j1, columns k0 to k1; whole rows are one loop."""
    if k1 - k0 == inner:
        for k in range(start + j0 * inner, start + j1 * inner):
            out[k] = kind
        return
    for j in range(j0, j1):
        for k in range(start + j * inner + k0, start + j * inner + k1):
            out[k] = kind


@both_exact
def _take(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    outer, n, m = word(args, INDEX.outer), word(args, INDEX.n), word(args, INDEX.m)
    inner, index = word(args, INDEX.inner), int64_pointer(word(args, INDEX.index))
    x = pointer_of(kind, word(args, INDEX.x))
    out = pointer_of(kind, word(args, INDEX.out))
    row, end = outer * m * worker // workers, outer * m * (worker + 1) // workers
    while row < end:
        a = row // m
        for i in range(row - a * m, min(end - a * m, m)):
            j = index[i]
            source, to = (a * n + (j + n if j < 0 else j)) * inner, (a * m + i) * inner
            for k in range(inner):
                out[to + k] = x[source + k]
        row = (a + 1) * m


@both_exact
def _scatter_add(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    outer, n, m = word(args, INDEX.outer), word(args, INDEX.n), word(args, INDEX.m)
    inner, index = word(args, INDEX.inner), int64_pointer(word(args, INDEX.index))
    x = pointer_of(kind, word(args, INDEX.x))
    out, by = pointer_of(kind, word(args, INDEX.out)), word(args, INDEX.by)
    a0, a1 = _share(outer, worker, workers, by == OUTER)
    k0, k1 = _columns(inner, worker, workers, by == COLUMNS)
    j0, j1 = _share(n, worker, workers, by == ROWS)
    for a in range(a0, a1):
        _clear(out, kind, a * n * inner, inner, j0, j1, k0, k1)
        for i in range(m):
            j = index[i]
            j += n if j < 0 else 0
            if j0 <= j and j < j1:
                source, to = (a * m + i) * inner, (a * n + j) * inner
                for k in range(k0, k1):
                    out[to + k] += x[source + k]


@both_exact
def _take_along(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    outer, n, m = word(args, INDEX.outer), word(args, INDEX.n), word(args, INDEX.m)
    inner, index = word(args, INDEX.inner), int64_pointer(word(args, INDEX.index))
    x = pointer_of(kind, word(args, INDEX.x))
    out = pointer_of(kind, word(args, INDEX.out))
    row, end = outer * m * worker // workers, outer * m * (worker + 1) // workers
    while row < end:
        a = row // m
        for i in range(row - a * m, min(end - a * m, m)):
            to = (a * m + i) * inner
            for k in range(inner):
                j = index[to + k]
                out[to + k] = x[(a * n + (j + n if j < 0 else j)) * inner + k]
        row = (a + 1) * m


@both_exact
def _add_along(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    outer, n, m = word(args, INDEX.outer), word(args, INDEX.n), word(args, INDEX.m)
    inner, index = word(args, INDEX.inner), int64_pointer(word(args, INDEX.index))
    x = pointer_of(kind, word(args, INDEX.x))
    out, by = pointer_of(kind, word(args, INDEX.out)), word(args, INDEX.by)
    a0, a1 = _share(outer, worker, workers, by == OUTER)
    k0, k1 = _columns(inner, worker, workers, by == COLUMNS)
    j0, j1 = _share(n, worker, workers, by == ROWS)
    for a in range(a0, a1):
        _clear(out, kind, a * n * inner, inner, j0, j1, k0, k1)
        for i in range(m):
            for k in range(k0, k1):
                at = (a * m + i) * inner + k
                j = index[at]
                j += n if j < 0 else 0
                if j0 <= j and j < j1:
                    out[(a * n + j) * inner + k] += x[at]


# ---- the operations ------------------------------------------------------------------------------


def _looks(who: str, indices: Any, shape: tuple[int, ...], axis: int) -> Callable[[], None]:
    """What refuses indices out of range along an axis of that shape."""
    n = shape[axis]

    def look() -> None:
        if indices.size == 1:
            low = high = indices.item()
        else:
            low = np.minimum.reduce(indices, None)
            high = np.maximum.reduce(indices, None)
        if low < -n or high >= n:
            wrong = low if low < -n else high
            raise IndexError(
                f"{who}: index {wrong} is out of bounds for axis {axis} with size {n}; the shape "
                f"is {shape}, expected indices from {-n} to {n - 1} along axis {axis}"
            )

    return look


def _bind(
    function: Any, x: Any, indices: Any, at: int, shape: tuple[int, ...], made: tuple[int, ...],
    out: Any,
) -> Any:  # fmt: skip
    """A call; `shape` is that of the array along whose axis the indices count, `made` of `out`."""
    if (
        not isinstance(indices, np.ndarray) or indices.dtype != np.int64 or not indices.size
        or not indices.flags.c_contiguous or x.dtype not in (np.float32, np.float64)
        or not x.flags.c_contiguous or not math.prod(shape)
    ):  # fmt: skip
        return NotImplemented
    out = into(out, made, x.dtype)
    if out is None:
        return NotImplemented
    outer, inner = math.prod(shape[:at]), math.prod(shape[at + 1 :])
    adds = function in (_scatter_add, _add_along)
    m = (x if adds else out).size // (outer * inner)
    workers = workers_for(x.size + out.size if adds else out.size)
    by = OUTER if outer >= workers else COLUMNS if inner >= 16 * workers else ROWS
    table = INDEX.fill(
        x=x, index=indices, out=out, outer=outer, n=shape[at], m=m, inner=inner, by=by
    )
    look = _looks(NAMES[function], indices, shape, at)
    return Call(function[x.dtype], table, out=out, workers=workers, before=look)


NAMES = {
    _take: "take", _scatter_add: "scatter_add", _take_along: "take_along_axis",
    _add_along: "add_along_axis",
}  # fmt: skip


@kernel(eager_from=262_144)  # below, NumPy has copied the rows while a call is bound
def take(x: Any, indices: Any, *, axis: int = 0, out: Any = None) -> Any:
    at = axis % x.ndim
    made = (*x.shape[:at], *np.shape(indices), *x.shape[at + 1 :])
    return _bind(_take, x, indices, at, x.shape, made, out)


@kernel(eager_from=2048)
def scatter_add(
    x: Any, indices: Any, *, axis: int, shape: tuple[int, ...], out: Any = None
) -> Any:  # fmt: skip
    return _bind(_scatter_add, x, indices, axis % len(shape), tuple(shape), tuple(shape), out)


@kernel(eager_from=2048)
def take_along_axis(x: Any, indices: Any, *, axis: int, out: Any = None) -> Any:
    return _bind(_take_along, x, indices, axis % x.ndim, x.shape, np.shape(indices), out)


@kernel
def add_along_axis(
    x: Any, indices: Any, *, axis: int, shape: tuple[int, ...], out: Any = None
) -> Any:  # fmt: skip
    return _bind(_add_along, x, indices, axis % len(shape), tuple(shape), tuple(shape), out)
