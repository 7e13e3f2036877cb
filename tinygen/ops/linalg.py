"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

from .. import checks
from ..backend import XP, Array
from ..fused import fused
from ..primitive import primitive
from ..tensor import Tensor, as_tensor
from .shape import expand_dims, reshape, squeeze, swapaxes, unbroadcast


@primitive(product=True, ufunc="matmul")
def matmul_nd(xp: XP, x: Array, y: Array) -> Array:
    """x @ y for arrays of at least two axes; leading axes broadcast."""
    return xp.matmul(x, y)


@matmul_nd.check
def _(x: Array, y: Array) -> None:
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(
            f"matmul: inner dimensions differ: x {x.shape} @ y {y.shape}; expected "
            "x.shape[-1] == y.shape[-2]"
        )
    for n, m in zip(x.shape[-3::-1], y.shape[-3::-1], strict=False):
        if n != m and 1 not in (n, m):
            raise ValueError(
                f"matmul: leading axes do not broadcast: x {x.shape} @ y {y.shape}; expected "
                "equal sizes (or 1) before the last two axes"
            )


def _t(x: Tensor) -> Tensor:
    return swapaxes(x, axis1=-1, axis2=-2)


matmul_nd.vjp(
    x=lambda g, y, x_shape: unbroadcast(matmul_nd(g, _t(y)), x_shape),
    y=lambda g, x, y_shape: unbroadcast(matmul_nd(_t(x), g), y_shape),
)


def matmul(x: Any, y: Any) -> Tensor:
    """The matrix product x @ y: (..., n, k) @ (..., k, m) -> (..., n, m).

    A vector x counts as one row and a vector y as one column; leading axes broadcast. Raises
    ValueError if the inner dimensions differ.
    """
    x, y = as_tensor(x), as_tensor(y)
    if x.ndim >= 2 and y.ndim >= 2:
        return matmul_nd(x, y)
    checks.no_scalars(x, y)
    row, column = x.ndim == 1, y.ndim == 1
    out = matmul_nd(expand_dims(x, 0) if row else x, expand_dims(y, 1) if column else y)
    return squeeze(out, tuple(a for a, gone in ((-2, row), (-1, column)) if gone))


@fused
def linear_fused(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """x @ w + b for x (n, k), w (k, m), b (m,)."""
    return matmul_nd(x, w) + b


def linear(x: Any, w: Any, b: Any = None) -> Tensor:
    """x @ w + b: (..., k), (k, m), (m,) -> (..., m). The map of a dense layer; b may be None."""
    x, w, b = as_tensor(x), as_tensor(w), b if b is None else as_tensor(b)
    checks.linear(x, w, b)
    rows = x if x.ndim == 2 else reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
    out = matmul_nd(rows, w) if b is None else linear_fused(rows, w, b)
    return out if x.ndim == 2 else reshape(out, (*x.shape[:-1], w.shape[1]))
