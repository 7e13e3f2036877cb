"""Rounding to whole numbers, and division into whole parts: floor, round, ceil, //, %.

The slope of a rounded number is 0 wherever it has one, and its gradient is 0 everywhere. With
`straight_through=True` the gradient passes as if nothing had been rounded (Bengio et al., 2013,
"Estimating or Propagating Gradients Through Stochastic Neurons"): so quantisers are trained.

    x // y = floor(x / y),   x % y = x - y (x // y):   % has the sign of y, as Python's

Integers stay integers. Of division by zero NumPy decides: floats give infinity or NaN, integers 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import XP, Array
from ..primitive import primitive
from ..tensor import Tensor
from .create import full_like
from .elementwise import guarded_mul, neg

__all__ = ["ceil", "floor", "floor_divide", "remainder", "round"]


def _passed(g: Tensor, straight_through: bool) -> Tensor:
    return g if straight_through else full_like(g, 0)


@primitive(floats=True, pointwise=True)
def floor(xp: XP, x: Array, *, straight_through: bool = False) -> Array:
    """The largest whole number that is at most x.

    The gradient is 0; with straight_through=True it is that of x. Raises TypeError for integers.
    """
    return xp.floor(x)


@primitive(floats=True, pointwise=True)
def round(xp: XP, x: Array, *, straight_through: bool = False) -> Array:
    """The nearest whole number; halves go to the even one: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2.

    The gradient is 0; with straight_through=True it is that of x. Raises TypeError for integers.
    """
    return xp.rint(x)


floor.vjp(x=_passed)
round.vjp(x=_passed)


def ceil(x: Any, straight_through: bool = False) -> Tensor:
    """The smallest whole number that is at least x.

    The gradient is 0; with straight_through=True it is that of x. Raises TypeError for integers.
    """
    return neg(floor(neg(x), straight_through=straight_through))


@primitive(broadcasts=True)
def floor_divide(xp: XP, x: Array, y: Array) -> Array:
    """x // y, the largest whole number that is at most x / y; its gradients are 0.

    Shapes broadcast; floats of one dtype, or integers. Raises TypeError for booleans.
    """
    return xp.floor_divide(x, y)


@primitive(broadcasts=True)
def remainder(xp: XP, x: Array, y: Array) -> Array:
    """x % y = x - y (x // y), without the rounding of that formula; it has the sign of y.

    d/dx = 1, d/dy = -(x // y). Shapes broadcast; floats of one dtype, or integers. Raises TypeError
    for booleans.
    """
    return xp.remainder(x, y)


@floor_divide.check
def _(x: Array, y: Array) -> None:
    _no_masks("floor_divide", x, y)


@remainder.check
def _(x: Array, y: Array) -> None:
    _no_masks("remainder", x, y)


def _no_masks(who: str, *arrays: Array) -> None:
    for name, a in zip("xy", arrays, strict=True):
        if a.__class__ is bool or getattr(a, "dtype", None) == np.bool_:
            raise TypeError(
                f"{who}: {name} is of dtype bool; expected floats or integers: .astype('int64')"
            )


floor_divide.vjp(x=lambda g: full_like(g, 0), y=lambda g: full_like(g, 0))
remainder.vjp(x=lambda g: g, y=lambda g, x, y: guarded_mul(g, -floor_divide(x, y)))
