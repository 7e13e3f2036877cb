"""Reductions over axes, and what is built from them.

`axis` is an integer, a tuple of integers or None for all axes; `keepdims` keeps reduced axes with
size 1.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import XP, Array
from ..checks import axes_fit, axes_hold_some, normal_axes
from ..primitive import primitive
from ..tensor import Tensor, as_tensor
from .elementwise import cast_discrete, equal, exp, square, where
from .shape import broadcast_to, flip, reshape

Axis = int | tuple[int, ...] | None


def expand(x: Tensor, shape: tuple[int, ...], axis: Axis, keepdims: bool) -> Tensor:
    """A reduction's result (or cotangent) repeated to the shape that was reduced."""
    if not keepdims and axis is not None and x.ndim != len(shape):
        axes = normal_axes("expand", axis, len(shape))
        x = reshape(x, tuple(1 if a in axes else n for a, n in enumerate(shape)))
    return x if x.shape == shape else broadcast_to(x, shape=shape)


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements of `shape` each result of a reduction is made from."""
    return math.prod(shape[a] for a in normal_axes("count", axis, len(shape)))


@primitive(axes=True)
def sum(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The sum over `axis`."""
    return xp.sum(x, axis=axis, keepdims=keepdims)


sum.check(axes_fit("sum"))
sum.vjp(x=lambda g, x_shape, axis, keepdims: expand(g, x_shape, axis, keepdims))


@primitive(floats=True, axes=True)
def mean(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The mean over `axis`."""
    return xp.mean(x, axis=axis, keepdims=keepdims)


mean.check(axes_hold_some("mean"))
mean.vjp(
    x=lambda g, x_shape, axis, keepdims: expand(
        g * (1 / count(x_shape, axis)), x_shape, axis, keepdims
    )
)


def var(x: Any, axis: Axis = None, keepdims: bool = False, correction: int = 0) -> Tensor:
    """The variance over `axis`: sum (x - mean)^2 / (n - correction)."""
    x = as_tensor(x)
    n = count(x.shape, axis)
    if not 0 <= correction < n:
        raise ValueError(
            f"var: {n} elements along axis {axis} of shape {x.shape}, expected more than the "
            f"correction {correction}, a number >= 0"
        )
    centred = x - mean(x, axis=axis, keepdims=True)
    return mean(square(centred), axis=axis, keepdims=keepdims) * (n / (n - correction))


@primitive(axes=True)
def max(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The largest element over `axis`; NaN if any is."""
    return xp.max(x, axis=axis, keepdims=keepdims)


max.check(axes_hold_some("max"))


@primitive(axes=True)
def min(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The smallest element over `axis`; NaN if any is."""
    return xp.min(x, axis=axis, keepdims=keepdims)


min.check(axes_hold_some("min"))


def _share(g: Tensor, x: Tensor, ans: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    """The cotangent at the extreme elements, in equal parts where several tie."""
    at = equal(x, expand(ans, x.shape, axis, keepdims))
    ties = sum(cast_discrete(at, dtype=x.dtype.name), axis=axis, keepdims=keepdims)
    return where(at, expand(g / ties, x.shape, axis, keepdims), 0.0)


max.vjp(x=_share)
min.vjp(x=_share)


@primitive(nondiff="all")
def argmax(xp: XP, x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the first largest element along `axis` (None: of the flattened array)."""
    return xp.argmax(x, axis=axis, keepdims=keepdims)


argmax.check(axes_hold_some("argmax"))


@primitive
def cumsum(xp: XP, x: Array, *, axis: int) -> Array:
    """Partial sums along `axis`: out_i = x_0 + ... + x_i."""
    return xp.cumsum(x, axis=axis)


cumsum.check(axes_fit("cumsum"))
cumsum.vjp(x=lambda g, axis: flip(cumsum(flip(g, axis=axis), axis=axis), axis=axis))


# ---- softmax and its relatives, safe for any finite input ----------------------------------------


def _finite_max(xp: XP, x: Array, axis: Axis) -> Array:
    """The maximum along `axis`, kept as an axis; 0 where it is infinite."""
    top = xp.max(x, axis=axis, keepdims=True)
    return xp.where(xp.isfinite(top), top, 0)


@primitive(floats=True, axes=True)
def softmax(xp: XP, x: Array, *, axis: Axis = -1) -> Array:
    """exp(x) / sum exp(x) over `axis`: positive, with sum 1."""
    e = xp.exp(x - _finite_max(xp, x, axis))
    return xp.divide(e, xp.sum(e, axis=axis, keepdims=True))


softmax.check(axes_hold_some("softmax"))
softmax.vjp(x=lambda g, ans, axis: ans * (g - sum(g * ans, axis=axis, keepdims=True)))


@primitive(floats=True, axes=True)
def logsumexp(xp: XP, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """log sum exp(x) over `axis`, without overflow."""
    top = _finite_max(xp, x, axis)
    out = xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else xp.squeeze(out, normal_axes("logsumexp", axis, x.ndim))


logsumexp.check(axes_hold_some("logsumexp"))
logsumexp.vjp(
    x=lambda g, x, axis, keepdims: expand(g, x.shape, axis, keepdims) * softmax(x, axis=axis)
)


@primitive(floats=True, axes=True)
def log_softmax(xp: XP, x: Array, *, axis: Axis = -1) -> Array:
    """x - log sum exp(x) over `axis`: the logarithm of softmax."""
    shifted = x - _finite_max(xp, x, axis)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


log_softmax.check(axes_hold_some("log_softmax"))
log_softmax.vjp(x=lambda g, ans, axis: g - exp(ans) * sum(g, axis=axis, keepdims=True))
