"""Standard deviation, lengths of vectors, products: of other operations, with gradients right at 0.

`axis` is an integer, a tuple of integers or None for all axes; `keepdims` keeps reduced axes with
size 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..checks import normal_axes
from ..fused import fused
from ..tensor import Tensor, as_tensor
from .create import full_like
from .elementwise import abs, astype, sqrt, square, where
from .reduce import Axis, max, sum, var
from .shape import concatenate, expand_dims, reshape, slice_axis, transpose

__all__ = ["norm", "prod", "std"]


# ---- along an axis of a matrix, whole ------------------------------------------------------------


@fused(whole=True)
def squares_along(x: Any) -> Any:
    """sum_j x_ij^2: x (m, n) -> (m,)."""
    return sum(square(x), axis=1)


squares_along.vjp(x=lambda g, x: expand_dims(g, axis=1) * (2.0 * x))


def _half(x: Any, axis: int, start: int, count: int) -> Any:
    return slice_axis(x, axis, start, start + count)


@fused(whole=True)
def product_along(x: Any, *, axis: int) -> Any:
    """The product along axis 0 or 1 of a matrix: x (m, n), axis 1 -> (m,). Halves, and so on."""
    odd, n = None, x.shape[axis]
    while n > 1:
        if n % 2:
            last = _half(x, axis, n - 1, 1)
            odd = last if odd is None else odd * last
        n //= 2
        x = _half(x, axis, 0, n) * _half(x, axis, n, n)
    x = x if odd is None else x * odd
    return reshape(x, (x.size,))


@fused(whole=True)
def product_without(x: Any, *, axis: int) -> Any:
    """For each element the product of the others along axis 0 or 1 of a matrix: (m, n) -> (m, n).

    Of the pairs of both halves, then times the other of the pair: right where elements are 0.
    """
    n = x.shape[axis]
    if n == 1:
        return full_like(x, 1)
    k = n // 2
    low, high = _half(x, axis, 0, k), _half(x, axis, k, k)
    rest = [_half(x, axis, n - 1, 1)] if n % 2 else []
    around = product_without.body(concatenate([low * high, *rest], axis=axis), axis=axis)
    pairs = _half(around, axis, 0, k)
    ends = [_half(around, axis, k, 1)] if n % 2 else []
    return concatenate([pairs * high, pairs * low, *ends], axis=axis)


product_along.vjp(
    x=lambda g, x, axis: expand_dims(g, axis=axis) * product_without(x, axis=axis),
)


def _shaped(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return x if x.shape == shape else reshape(x, shape)


# ---- as users call them --------------------------------------------------------------------------


def _root(x: Tensor) -> Tensor:
    """The square root of x >= 0, at 0 with a gradient of 0 at any order."""
    nothing = x == 0
    return where(nothing, 0.0, sqrt(where(nothing, 1.0, x)))


def std(x: Any, axis: Axis = None, keepdims: bool = False, correction: int = 0) -> Tensor:
    """The standard deviation over `axis`: the square root of sum (x - mean)^2 / (n - correction).

    Where all elements are equal it is 0, and so is its gradient. Floats only.

    Raises:
        ValueError: an axis that x lacks, or no more elements along it than the correction.
        TypeError: x is no tensor of floats.
    """
    return _root(var(x, axis=axis, keepdims=keepdims, correction=correction))


def norm(x: Any, ord: float = 2, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The length of the vectors that lie along `axis`; several axes are one long vector.

        ord 2: sqrt(sum x^2)    ord 1: sum |x|    ord inf: max |x|

    The gradient of the vector of zeros is 0; of several largest elements, each has an equal part.
    Floats only. For matrices ord 2 is Frobenius' norm.

    Raises:
        ValueError: another order, an axis that x lacks, for inf no elements.
        TypeError: x is no tensor of floats.
    """
    x = as_tensor(x)
    axes = normal_axes("norm", axis, x.ndim)
    if x.dtype.kind != "f":
        raise TypeError(f"norm: x {x.shape} {x.dtype}; expected floats: .astype('float32')")
    if ord == 2 and axes and x.size and axes == tuple(range(x.ndim - len(axes), x.ndim)):
        kept = x.shape[: axes[0]]
        matrix = _shaped(x, (math.prod(kept), math.prod(x.shape[axes[0] :])))
        squares = squares_along(matrix)
        return _root(_shaped(squares, (*kept, *(1,) * len(axes) * keepdims)))
    if ord == 2:
        return _root(sum(square(x), axis=axis, keepdims=keepdims))
    if ord == 1:
        return sum(abs(x), axis=axis, keepdims=keepdims)
    if ord == math.inf:
        return max(abs(x), axis=axis, keepdims=keepdims)
    raise ValueError(f"norm: ord is {ord!r}; expected 1, 2 or inf")


def prod(x: Any, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`; of no elements it is 1.

    It is made of products of halves, so that gradients of any order are right where elements are 0:
    d/dx_i is the product of the others. Integers become int64 (uint64), as in NumPy.

    Raises ValueError for an axis that x lacks.
    """
    x = as_tensor(x)
    axes = normal_axes("prod", axis, x.ndim)
    if x.dtype.kind in "iub":
        x = astype(x, np.prod(np.zeros(0, x.dtype)).dtype)
    kept = [a for a in range(x.ndim) if a not in axes]
    n, m = (math.prod(x.shape[a] for a in which) for which in (axes, kept))
    shape = tuple(1 if a in axes else k for a, k in enumerate(x.shape) if keepdims or a in kept)
    if not n:
        return sum(x, axis=axes, keepdims=keepdims) + 1
    if (*axes, *kept) == tuple(range(x.ndim)) and kept:
        return _shaped(product_along(_shaped(x, (n, m)), axis=0), shape)
    if (*kept, *axes) != tuple(range(x.ndim)):
        x = transpose(x, axes=(*kept, *axes))
    return _shaped(product_along(_shaped(x, (m, n)), axis=1), shape)


@fused(whole=True)
def sum_of_squares(x: Any, *, dtype: str) -> Any:
    """The sum of the squares of all elements (0-d), which are made and added in `dtype`."""
    return sum(square(astype(x, dtype)))
