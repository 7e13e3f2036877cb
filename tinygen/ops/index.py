"""Indexing: gathers and their adjoint scatters, one-hot codes, and x[...]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import XP, Array
from ..checks import INTEGER, normal_axes
from ..primitive import primitive
from ..tensor import Tensor, as_tensor
from .shape import Shape, basic_slice


def _integers(name: str, indices: Array) -> None:
    kind = np.result_type(getattr(indices, "dtype", indices))
    if kind.kind not in "iu":
        raise TypeError(
            f"{name}: indices have dtype {kind}, expected integers; convert with .astype('int64')"
        )


def _array(name: str, x: Array) -> None:
    """Refuse a number, which may stand beside a tensor, but has no axes."""
    if isinstance(x, (int, float)):
        raise TypeError(f"{name}: x is the number {x}; expected a tensor or an array with axes")


def _out_of_range(
    name: str, met: object, shape: tuple[int, ...], axis: int, whose: str = "x has"
) -> IndexError:
    n = shape[axis]
    wanted = f"indices from {-n} to {n - 1}" if n else "no index"
    return IndexError(f"{name}: {met}; {whose} shape {shape}, expected {wanted} along axis {axis}")


@primitive(nondiff=("indices",), places=("indices",))
def take(xp: XP, x: Array, indices: Array, *, axis: int = 0) -> Array:
    """The elements of x at `indices` along `axis` (gather); an index may repeat.

    Shapes: x (a, n, b) and indices (i...) with axis=1 give (a, i..., b).
    """
    try:
        return xp.take(x, indices, axis=axis)
    except IndexError as error:
        raise _out_of_range("take", error, x.shape, axis) from None


@take.check
def _(x: Array, indices: Array, axis: int) -> None:
    _array("take", x)
    normal_axes("take", axis, x.ndim)
    _integers("take", indices)


@primitive(nondiff=("indices",), places=("indices",))
def scatter_add(xp: XP, x: Array, indices: Array, *, axis: int, shape: Shape) -> Array:
    """Zeros of `shape` plus x added at `indices` along `axis`: the adjoint of take."""
    try:
        return xp.scatter_add(shape, axis % len(shape), xp.asarray(indices), x)
    except IndexError as error:
        raise _out_of_range("scatter_add", error, shape, axis, "the result has") from None


@scatter_add.check
def _(x: Array, indices: Array, axis: int, shape: tuple[int, ...]) -> None:
    _array("scatter_add", x)
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


@primitive(nondiff=("indices",))
def take_along_axis(xp: XP, x: Array, indices: Array, *, axis: int) -> Array:
    """Along `axis`, for each place the elements of x that its own indices name.

        x (a, n, b), indices (a, m, b), axis 1:  out[i, j, k] = x[i, indices[i, j, k], k]

    Indices below 0 count from the end; an index may repeat, and then its gradients add up.

    Raises:
        ValueError: an axis that x lacks, shapes that differ on the other axes.
        TypeError: indices that are not integers.
        IndexError: an index out of range. A GPU, where looking would stop the device, counts round
            the axis.
    """
    if xp.name == "numpy" and indices.size:
        n = x.shape[axis]
        if indices.min() < -n or indices.max() >= n:
            met = f"indices from {indices.min()} to {indices.max()}"
            raise _out_of_range("take_along_axis", met, x.shape, axis)
    return xp.take_along_axis(x, indices.astype("int64", copy=False), axis)


@take_along_axis.check
def _(x: Array, indices: Array, axis: int) -> None:
    _array("take_along_axis", x)
    _along("take_along_axis", x.shape, indices, axis)


def _along(who: str, shape: tuple[int, ...], indices: Array, axis: int) -> None:
    (at,) = normal_axes(who, axis, len(shape))
    _integers(who, indices)
    given = np.shape(indices)
    if len(given) != len(shape) or any(
        a != b for i, (a, b) in enumerate(zip(given, shape, strict=True)) if i != at
    ):
        raise ValueError(
            f"{who}: indices {given} do not fit {shape} along axis {axis}; expected equal sizes on "
            "the other axes"
        )


@primitive(nondiff=("indices",))
def add_along_axis(xp: XP, x: Array, indices: Array, *, axis: int, shape: Shape) -> Array:
    """Zeros of `shape` plus x added at `indices` along `axis`: the adjoint of take_along_axis."""
    at = axis % len(shape)
    inner, n = math.prod(shape[at + 1 :]), shape[at]
    outer = xp.arange(math.prod(shape[:at])).reshape((*shape[:at], *(1,) * (len(shape) - at)))
    column = xp.arange(inner).reshape((1, *shape[at + 1 :]))
    row = outer * n + xp.remainder(indices.astype("int64", copy=False), n)
    flat = xp.reshape(row * inner + column, (-1,))
    return xp.scatter_add((math.prod(shape),), 0, flat, xp.reshape(x, (-1,))).reshape(shape)


@add_along_axis.check
def _(x: Array, indices: Array, axis: int, shape: tuple[int, ...]) -> None:
    _array("add_along_axis", x)
    _along("add_along_axis", shape, indices, axis)
    if x.shape != np.shape(indices):
        raise ValueError(
            f"add_along_axis: x {x.shape} and indices {np.shape(indices)}; expected one shape"
        )


take_along_axis.vjp(
    x=lambda g, indices, axis, x_shape: add_along_axis(g, indices, axis=axis, shape=x_shape),
)
add_along_axis.vjp(x=lambda g, indices, axis: take_along_axis(g, indices, axis=axis))


def _label_range(labels: Array, classes: int) -> None:
    """Refuse labels outside [0, classes): checked at each call, since it depends on the values."""
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if low < 0 or high >= classes:
        hint = "; classes count from 0: labels - 1" if (low, high) == (1, classes) else ""
        what = f"labels from {low} to {high}, expected from 0 to {classes - 1}"
        raise ValueError(f"one_hot: {what}{hint}")


@primitive(nondiff=("i",), places=("i",))
def put(xp: XP, x: Array, value: Array, i: Array, *, axis: int) -> Array:
    """A copy of x with `value` at place i along `axis`; i below 0 counts from the end.

    Shapes: x (a, n, b), value (a, b) or a number, and i () with axis=1 give (a, n, b). A place
    outside raises IndexError; on a GPU, where looking would stop the device, it changes nothing.
    """
    axis %= x.ndim
    if xp.name == "numpy":
        if not -x.shape[axis] <= i < x.shape[axis]:
            raise IndexError(
                f"put: place {i} is outside axis {axis} of shape {x.shape}; expected from "
                f"{-x.shape[axis]} to {x.shape[axis] - 1}"
            )
        out = x.copy()
        out[(*(slice(None),) * axis, i)] = value
        return out
    places = xp.arange(x.shape[axis]).reshape((-1, *(1,) * (x.ndim - axis - 1)))
    here = xp.equal(places, xp.where(xp.less(xp.asarray(i), 0), i + x.shape[axis], i))
    rows = value if isinstance(value, (bool, int, float)) else xp.expand_dims(value, axis)
    return xp.where(here, rows, x)


put.vjp(
    x=lambda g, i, axis: put(g, 0.0, i, axis=axis),
    value=lambda g, i, axis: take(g, i, axis=axis),
)


@put.check
def _(x: Array, value: Array, i: Array, axis: int) -> None:
    _array("put", x)
    (at,) = normal_axes("put", axis, x.ndim)
    wanted = (*x.shape[:at], *x.shape[at + 1 :])
    if np.result_type(getattr(i, "dtype", i)).kind not in "iu" or np.shape(i) != ():
        met = f"{i.shape} {i.dtype}" if isinstance(i, Tensor) else repr(i)
        raise TypeError(f"put: place {met}; expected an integer, or a 0-d tensor of integers")
    if isinstance(value, Tensor) and value.shape != wanted:
        raise ValueError(
            f"put: value {value.shape} does not fit x {x.shape} along axis {axis}; expected "
            f"{wanted}"
        )


@primitive(nondiff="all")
def one_hot(xp: XP, labels: Array, *, classes: int, dtype: str = "float32") -> Array:
    """Rows of zeros with a 1 at the label: (...) integers in [0, classes) -> (..., classes).

    A label outside raises ValueError; on a GPU, where looking would stop the device, its row is 0.
    """
    if xp.name == "numpy":
        _label_range(labels, classes)
    return xp.equal(xp.expand_dims(labels, -1), xp.arange(classes)).astype(dtype)


@one_hot.check
def _(labels: Array, classes: int) -> None:
    _integers("one_hot", labels)
    if not isinstance(classes, INTEGER) or classes < 1:
        raise ValueError(f"one_hot: classes is {classes!r}; expected an integer >= 1")


def _refuse_items(shape: tuple[int, ...], items: Sequence[Any]) -> None:
    """Refuse what x[...] does not take, given the items between its brackets."""
    used = sum(1 for i in items if i is not None and i is not Ellipsis)
    if sum(i is Ellipsis for i in items) > 1:
        raise IndexError("getitem: `...` appears twice, expected at most once")
    if used > len(shape):
        raise IndexError(
            f"getitem: {used} indices for shape {shape}, expected at most {len(shape)}"
        )


def _refuse_beyond(shape: tuple[int, ...], axis: int, i: int) -> None:
    """Refuse an integer index beyond its axis."""
    n = shape[axis]
    if not -n <= i < n:
        raise IndexError(
            f"getitem: index {i} is outside axis {axis} of shape {shape}; expected from {-n} to "
            f"{n - 1}"
        )


def _refuse_mask(indices: Tensor, first: bool) -> None:
    """Refuse a boolean mask, and a second array of indices."""
    if indices.dtype.kind == "b":
        raise TypeError(
            "getitem: a boolean mask gives a shape that depends on the data; use "
            "tinygen.where(mask, x, 0.0)"
        )
    if not first:
        raise TypeError(
            "getitem: more than one array of indices; index one axis at a time, or use take on a "
            "reshaped tensor"
        )


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index] for integers, slices, ..., None, and at most one array of integers.

    An array of integers gathers along its axis, with repeats. Boolean masks and several arrays
    are refused: their result's shape depends on the data, or hides a transpose.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    _refuse_items(x.shape, items)
    used = sum(1 for i in items if i is not None and i is not Ellipsis)
    at = next((k for k, i in enumerate(items) if i is Ellipsis), len(items))
    items[at : at + 1] = [slice(None)] * (x.ndim - used)
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
            _refuse_beyond(x.shape, source, int(i))
            basic.append(("int", int(i)))
        else:
            indices = as_tensor(i)
            _refuse_mask(indices, first=gather is None)
            gather = (sum(entry[0] != "int" for entry in basic), indices)
            basic.append(("slice", None, None, None))
        source += 1
    trivial = all(entry == ("slice", None, None, None) for entry in basic)
    out = x if trivial and gather is not None else basic_slice(x, index=tuple(basic))
    return out if gather is None else take(out, gather[1], axis=gather[0])
