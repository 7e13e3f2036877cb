"""Indexing: gather, its adjoint scatter, one-hot codes, and x[...]."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..backend import XP, Array
from ..primitive import primitive
from ..tensor import Tensor, as_tensor
from .shape import Shape, basic_slice


@primitive(nondiff=("indices",))
def take(xp: XP, x: Array, indices: Array, *, axis: int = 0) -> Array:
    """The elements of x at `indices` along `axis` (gather); an index may repeat.

    Shapes: x (a, n, b) and indices (i...) with axis=1 give (a, i..., b).
    """
    try:
        return xp.take(x, indices, axis=axis)
    except IndexError as error:
        raise checks.out_of_range(x, axis, error) from None


@primitive(nondiff=("indices",))
def scatter_add(xp: XP, x: Array, indices: Array, *, axis: int, shape: Shape) -> Array:
    """Zeros of `shape` plus x added at `indices` along `axis`: the adjoint of take."""
    return xp.scatter_add(shape, axis % len(shape), xp.asarray(indices), x)


take.vjp(
    x=lambda g, indices, axis, x_shape: scatter_add(g, indices, axis=axis, shape=x_shape),
)
scatter_add.vjp(x=lambda g, indices, axis: take(g, indices, axis=axis))


@primitive(nondiff="all")
def one_hot(xp: XP, labels: Array, *, classes: int, dtype: str = "float32") -> Array:
    """Rows of zeros with a 1 at the label: (...) integers in [0, classes) -> (..., classes).

    A label outside raises ValueError; on a GPU, where looking would stop the device, its row is 0.
    """
    if xp.name == "numpy":
        checks.label_range(labels, classes)
    return xp.equal(xp.expand_dims(labels, -1), xp.arange(classes)).astype(dtype)


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index] for integers, slices, ..., None, and at most one array of integers.

    An array of integers gathers along its axis, with repeats. Boolean masks and several arrays
    are refused: their result's shape depends on the data, or hides a transpose.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    checks.index(x.shape, items)
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
            checks.index_within(x.shape, source, int(i))
            basic.append(("int", int(i)))
        else:
            indices = as_tensor(i)
            checks.index_array(indices, first=gather is None)
            gather = (sum(entry[0] != "int" for entry in basic), indices)
            basic.append(("slice", None, None, None))
        source += 1
    trivial = all(entry == ("slice", None, None, None) for entry in basic)
    out = x if trivial and gather is not None else basic_slice(x, index=tuple(basic))
    return out if gather is None else take(out, gather[1], axis=gather[0])
