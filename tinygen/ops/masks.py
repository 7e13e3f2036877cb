"""Masks: booleans that say where something holds, joined by & | ^ ~ and counted by any and all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import XP, Array
from ..checks import axes_fit
from ..primitive import primitive
from ..tensor import Tensor, as_tensor
from .elementwise import abs, equal, not_equal

__all__ = [
    "all", "any", "isinf", "isnan", "logical_and", "logical_not", "logical_or", "logical_xor",
    "mask_and", "mask_or",
]  # fmt: skip

Axis = int | tuple[int, ...] | None


def isnan(x: Any) -> Tensor:
    """True where x is NaN, of any shape and dtype; integers never are."""
    x = as_tensor(x)
    return not_equal(x, x)


def isinf(x: Any) -> Tensor:
    """True where x is infinite, of any shape and dtype; integers never are."""
    x = as_tensor(x)
    return equal(abs(x), math.inf) if x.dtype.kind == "f" else not_equal(x, x)


# ---- joining -------------------------------------------------------------------------------------


@primitive(broadcasts=True, nondiff="all")
def mask_and(xp: XP, x: Array, y: Array) -> Array:
    """x & y of two masks."""
    return xp.logical_and(x, y)


@primitive(broadcasts=True, nondiff="all")
def mask_or(xp: XP, x: Array, y: Array) -> Array:
    """x | y of two masks."""
    return xp.logical_or(x, y)


def _masks(who: str, *given: Any) -> tuple[Any, ...]:
    """The operands, of which each is a mask, True or False."""
    masks = tuple(v if isinstance(v, bool) else as_tensor(v) for v in given)
    for v in masks:
        if not isinstance(v, bool) and v.dtype != np.bool_:
            raise TypeError(
                f"{who}: an operand has dtype {v.dtype}, expected bool; compare first, for example "
                "x > 0"
            )
    return masks


def logical_and(x: Any, y: Any) -> Tensor:
    """x & y: True where both masks are. Shapes broadcast. Raises TypeError for numbers."""
    return mask_and(*_masks("logical_and", x, y))


def logical_or(x: Any, y: Any) -> Tensor:
    """x | y: True where at least one mask is. Shapes broadcast. Raises TypeError for numbers."""
    return mask_or(*_masks("logical_or", x, y))


def logical_xor(x: Any, y: Any) -> Tensor:
    """x ^ y: True where one mask is and the other is not. Shapes broadcast.

    Raises TypeError for numbers.
    """
    return not_equal(*_masks("logical_xor", x, y))


def logical_not(x: Any) -> Tensor:
    """~x: True where the mask is False. Raises TypeError for numbers."""
    return equal(*_masks("logical_not", x), False)


# ---- counting ------------------------------------------------------------------------------------


@primitive(nondiff="all", axes=True)
def any(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether some element along `axis` (None: all axes) is True, or not 0; of none it is False.

    Shapes as those of `sum`; the result is boolean. Raises ValueError for an axis that x lacks.
    """
    return xp.any(x, axis=axis, keepdims=keepdims)


@primitive(nondiff="all", axes=True)
def all(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether every element along `axis` (None: all axes) is True, or not 0; of none it is True.

    Shapes as those of `sum`; the result is boolean. Raises ValueError for an axis that x lacks.
    """
    return xp.all(x, axis=axis, keepdims=keepdims)


any.check(axes_fit("any"))
all.check(axes_fit("all"))
