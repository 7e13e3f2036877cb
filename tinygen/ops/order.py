"""Order: argsort, and what is gathered by it: sort and top_k.

Equal elements stay in their order, and NaN counts as larger than all numbers. The gradient goes to
the elements that were moved; that of an index does not exist.
"""

from __future__ import annotations

from typing import Any

from ..backend import XP, Array
from ..checks import INTEGER, normal_axes
from ..primitive import primitive
from ..tensor import Tensor, as_tensor
from .index import take_along_axis
from .shape import slice_axis

__all__ = ["argsort", "sort", "top_k"]


@primitive(nondiff="all")
def argsort(xp: XP, x: Array, *, axis: int = -1, descending: bool = False) -> Array:
    """The indices (int64) that sort x along `axis`; equal elements stay in their order.

    NaN is the largest of all. Raises ValueError for an axis that x lacks.
    """
    if not descending:
        return xp.stable_argsort(x, axis).astype("int64", copy=False)
    back = xp.stable_argsort(xp.flip(x, axis), axis).astype("int64", copy=False)
    return x.shape[axis] - 1 - xp.flip(back, axis)


@argsort.check
def _(x: Array, axis: int) -> None:
    _one_axis("argsort", axis, x.ndim)


def _one_axis(who: str, axis: Any, ndim: int) -> int:
    """The axis as a number >= 0."""
    if not isinstance(axis, INTEGER):
        raise ValueError(f"{who}: axis is {axis!r}; expected an integer")
    return normal_axes(who, axis, ndim)[0]


def sort(x: Any, axis: int = -1, descending: bool = False) -> Tensor:
    """The elements in order along `axis`; NaN is the largest of all.

    The gradient of a place goes to the element that came there. Raises ValueError for an axis that
    x lacks.
    """
    x = as_tensor(x)
    _one_axis("sort", axis, x.ndim)
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis=axis)


def top_k(x: Any, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """The k largest elements along `axis`, the largest first, and their indices (int64).

    Shapes: x (a, n) with axis=1 gives values (a, k) and indices (a, k). Of equal elements the first
    comes first; NaN is the largest of all. Values have a gradient, indices have none.

    Raises ValueError for an axis that x lacks, and unless 1 <= k <= the elements along it.
    """
    x = as_tensor(x)
    at = _one_axis("top_k", axis, x.ndim)
    n = x.shape[at]
    if not isinstance(k, INTEGER) or isinstance(k, bool) or not 1 <= k <= n:
        raise ValueError(
            f"top_k: k is {k!r}, along axis {axis} of shape {x.shape} are {n} elements; expected "
            f"an int from 1 to {n}"
        )
    indices = slice_axis(argsort(x, axis=at, descending=True), at, 0, int(k))
    return take_along_axis(x, indices, axis=at), indices
