"""Indexing: gather, its adjoint scatter, one-hot codes, and x[...]."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import XP, Array
from ..primitive import primitive
from ..tensor import Tensor, as_tensor
from .shape import Shape, basic_slice, normal_axes


def _integers(name: str, indices: Array) -> None:
    kind = np.result_type(getattr(indices, "dtype", indices))
    if kind.kind not in "iu":
        raise TypeError(
            f"{name}: indices have dtype {kind}, expected integers; convert with .astype('int64')"
        )


@primitive(nondiff=("indices",))
def take(xp: XP, x: Array, indices: Array, *, axis: int = 0) -> Array:
    """The elements of x at `indices` along `axis` (gather); an index may repeat.

    Shapes: x (a, n, b) and indices (i...) with axis=1 give (a, i..., b).
    """
    try:
        return xp.take(x, indices, axis=axis)
    except IndexError as error:
        raise IndexError(
            f"take: {error}; x has shape {x.shape}, expected indices from {-x.shape[axis]} to "
            f"{x.shape[axis] - 1} along axis {axis}"
        ) from None


@take.check
def _(x: Array, indices: Array, axis: int) -> None:
    normal_axes("take", axis, x.ndim)
    _integers("take", indices)


@primitive(nondiff=("indices",))
def scatter_add(xp: XP, x: Array, indices: Array, *, axis: int, shape: Shape) -> Array:
    """Zeros of `shape` plus x added at `indices` along `axis`: the adjoint of take."""
    return xp.scatter_add(shape, axis % len(shape), xp.asarray(indices), x)


@scatter_add.check
def _(x: Array, indices: Array, axis: int, shape: Shape) -> None:
    (at,) = normal_axes("scatter_add", axis, len(shape))
    _integers("scatter_add", indices)
    wanted = (*shape[:at], *np.shape(indices), *shape[at + 1 :])
    if x.shape != wanted:
        raise ValueError(
            f"scatter_add: x {x.shape} with indices {np.shape(indices)} along axis {axis} of "
            f"{shape}; expected {wanted}"
        )


take.vjp(
    x=lambda g, indices, axis, x_shape: scatter_add(g, indices, axis=axis, shape=x_shape),
)
scatter_add.vjp(x=lambda g, indices, axis: take(g, indices, axis=axis))


@primitive(nondiff="all")
def one_hot(xp: XP, labels: Array, *, classes: int, dtype: str = "float32") -> Array:
    """Rows of zeros with a 1 at the label: (...) integers in [0, classes) -> (..., classes)."""
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if low < 0 or high >= classes:
        raise ValueError(f"one_hot: labels from {low} to {high}, expected from 0 to {classes - 1}")
    return xp.equal(xp.expand_dims(labels, -1), xp.arange(classes)).astype(dtype)


@one_hot.check
def _(labels: Array) -> None:
    _integers("one_hot", labels)


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index] for integers, slices, ..., None, and at most one array of integers.

    An array of integers gathers along its axis, with repeats. Boolean masks and several arrays
    are refused: their result's shape depends on the data, or hides a transpose.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    used = sum(1 for i in items if i is not None and i is not Ellipsis)
    if sum(i is Ellipsis for i in items) > 1:
        raise IndexError("getitem: `...` appears twice, expected at most once")
    at = next((k for k, i in enumerate(items) if i is Ellipsis), None)
    fill = [slice(None)] * (x.ndim - used)
    items = [*items, *fill] if at is None else [*items[:at], *fill, *items[at + 1 :]]
    if used > x.ndim:
        raise IndexError(f"getitem: {used} indices for shape {x.shape}, expected at most {x.ndim}")
    basic: list[tuple[Any, ...]] = []
    gather: tuple[int, Tensor] | None = None
    source = 0  # the axis of x that the next index applies to
    for i in items:
        if i is None:
            basic.append(("new",))
            continue
        if isinstance(i, slice):
            basic.append(("slice", i.start, i.stop, i.step))
        elif isinstance(i, (int, np.integer)) and not isinstance(i, (bool, np.bool_)):
            n = x.shape[source]
            if not -n <= i < n:
                raise IndexError(
                    f"getitem: index {i} is outside axis {source} of shape {x.shape}; expected "
                    f"from {-n} to {n - 1}"
                )
            basic.append(("int", int(i)))
        else:
            indices = as_tensor(i)
            if indices.dtype.kind == "b":
                raise TypeError(
                    "getitem: a boolean mask gives a shape that depends on the data; use "
                    "tinygen.where(mask, x, 0.0)"
                )
            if gather is not None:
                raise TypeError(
                    "getitem: more than one array of indices; index one axis at a time, or use "
                    "take on a reshaped tensor"
                )
            gather = (sum(entry[0] != "int" for entry in basic), indices)
            basic.append(("slice", None, None, None))
        source += 1
    trivial = all(entry == ("slice", None, None, None) for entry in basic)
    out = x if trivial and gather is not None else basic_slice(x, index=tuple(basic))
    return out if gather is None else take(out, gather[1], axis=gather[0])
