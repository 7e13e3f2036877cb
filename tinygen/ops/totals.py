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
from .elementwise import abs, astype, sqrt, square, where
from .reduce import Axis, max, sum, var
from .shape import reshape, slice_axis, transpose

__all__ = ["norm", "prod", "std"]


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
    if x.dtype.kind != "f":
        raise TypeError(f"norm: x {x.shape} {x.dtype}; expected floats: .astype('float32')")
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
    n = math.prod(x.shape[a] for a in axes)
    shape = tuple(1 if a in axes else k for a, k in enumerate(x.shape) if keepdims or a in kept)
    if not n:
        return sum(x, axis=axes, keepdims=keepdims) + 1
    rows = reshape(transpose(x, axes=(*axes, *kept)), (n, *(x.shape[a] for a in kept)))
    odd = None
    while n > 1:
        if n % 2:
            last = slice_axis(rows, 0, n - 1, n)
            odd = last if odd is None else odd * last
        n //= 2
        rows = slice_axis(rows, 0, 0, n) * slice_axis(rows, 0, n, 2 * n)
    return reshape(rows if odd is None else rows * odd, shape)


@fused(whole=True)
def sum_of_squares(x: Any, *, dtype: str) -> Any:
    """The sum of the squares of all elements (0-d), which are made and added in `dtype`."""
    return sum(square(astype(x, dtype)))
