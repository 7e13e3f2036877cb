"""Normalisation: values of mean 0 and variance 1 over some axes, then a weight and a bias.

    y = (x - mean) / sqrt(var + eps) weight + bias

With s = sqrt(var + eps), u = (x - mean) / s and h = g weight, where g is the cotangent of y, the
gradients are (averages over the same axes)

    dx = (h - mean(h) - u mean(h u)) / s,   dweight = sum g u,   dbias = sum g

All functions here are whole: a plan keeps a call that a kernel took, as its passes over x are what
the kernel saves. Their bodies are the definition, from which the gradient of the gradient follows.
"""

from __future__ import annotations

import math
from typing import Any

from ..fused import fused
from .elementwise import sigmoid, sqrt, square
from .reduce import mean, sum
from .shape import concatenate, reshape, unbroadcast

__all__ = ["normalise", "normalise_groups", "normalise_silu"]

Axes = tuple[int, ...]


def _standard(x: Any, axis: Axes, eps: float) -> tuple[Any, Any]:
    """(x - mean) / s and s."""
    centred = x - mean(x, axis=axis, keepdims=True)
    s = sqrt(mean(square(centred), axis=axis, keepdims=True) + eps)
    return centred / s, s


@fused(whole=True)
def normalise(x: Any, weight: Any, bias: Any, *, axis: Axes, eps: float) -> Any:
    """(x - mean) / sqrt(var + eps) weight + bias, moments over `axis`.

    Shapes: x and y (...), weight and bias broadcast to that. Source: Ba, Kiros and Hinton, 2016,
    equation 4; Wu and He, 2018, equation 7.
    """
    return _standard(x, axis, eps)[0] * weight + bias


@fused(whole=True)
def normalise_dx(y: Any, x: Any, weight: Any, *, axis: Axes, eps: float) -> Any:
    """normalise's gradients for x, weight and a bias of weight's shape, given y, its cotangent."""
    u, s = _standard(x, axis, eps)
    h = y * weight
    centred = h - mean(h, axis=axis, keepdims=True)
    dx = (centred - u * mean(h * u, axis=axis, keepdims=True)) / s
    same = y * 1.0 if y.shape == weight.shape else y  # a result has memory of its own
    return dx, unbroadcast(y * u, weight.shape), unbroadcast(same, weight.shape)


normalise.vjp_all(
    lambda g, x, weight, axis, eps: normalise_dx(g, x, weight, axis=axis, eps=eps),
)


# ---- of groups of channels -----------------------------------------------------------------------


def _rows(x: Any, groups: int) -> tuple[Axes, Axes]:
    """The shape of the channels as groups, and of x as (n, pixels, groups, channels)."""
    if x.ndim < 2 or groups < 1 or x.shape[-1] % groups:
        raise ValueError(
            f"normalise_groups: x {x.shape} in {groups} groups; expected (n, ..., features) with "
            "features divisible by groups"
        )
    of = (groups, x.shape[-1] // groups)
    return of, (x.shape[0], math.prod(x.shape[1:-1]), *of)


@fused(whole=True)
def normalise_groups(x: Any, weight: Any, bias: Any, *, groups: int, eps: float) -> Any:
    """normalise with moments over each group of neighbouring channels of each sample.

    Shapes: x and y (n, ..., features), weight and bias (features,).

    Raises:
        ValueError: features not divisible by groups; x without a batch's axis.

    Source: Wu and He, 2018, equation 7.
    """
    of, rows = _rows(x, groups)
    weight, bias = reshape(weight, of), reshape(bias, of)
    return reshape(normalise(reshape(x, rows), weight, bias, axis=(1, 3), eps=eps), x.shape)


@fused(whole=True)
def normalise_groups_dx(y: Any, x: Any, weight: Any, *, groups: int, eps: float) -> Any:
    """normalise_groups' gradients for x, weight and bias, given y, its cotangent."""
    of, rows = _rows(x, groups)
    y, more = reshape(y, rows), reshape(weight, of)
    dx, *others = normalise_dx(y, reshape(x, rows), more, axis=(1, 3), eps=eps)
    return reshape(dx, x.shape), *(reshape(d, weight.shape) for d in others)


normalise_groups.vjp_all(
    lambda g, x, weight, groups, eps: normalise_groups_dx(g, x, weight, groups=groups, eps=eps),
)


# ---- with a scale and a shift of each sample, and SiLU -------------------------------------------


def _modulated(x: Any, weight: Any, bias: Any, modulation: Any, eps: float) -> tuple[Any, Any, Any]:
    """y, 1 + scale, and z = y (1 + scale) + shift."""
    rows, both = x.shape, modulation.shape
    if len(rows) != 4 or len(both) != 4 or both[0] not in (1, rows[0]) or both[1] != 2:
        raise ValueError(
            f"normalise_silu: x {rows} with modulation {both}; expected x (n, pixels, groups, "
            "channels) with modulation (n or 1, 2, groups, channels)"
        )
    y = normalise(x, weight, bias, axis=(1, 3), eps=eps)
    more = 1.0 + modulation[:, :1]
    return y, more, y * more + modulation[:, 1:]


@fused(whole=True)
def normalise_silu(x: Any, weight: Any, bias: Any, modulation: Any, *, eps: float) -> Any:
    """silu(y (1 + scale) + shift) with y = normalise(x), moments over each group of each sample.

    The block of a diffusion model's network: time and label scale and shift what follows a norm
    ("AdaGN"). Shapes: x and the result (n, pixels, groups, channels), weight and bias (groups,
    channels), modulation (n or 1, 2, groups, channels): scale and shift.

    Raises:
        ValueError: x or modulation of another shape.

    Source: Dhariwal and Nichol, 2021, section 3; Perez et al., 2018.
    """
    z = _modulated(x, weight, bias, modulation, eps)[2]
    return z * sigmoid(z)


@fused(whole=True)
def normalise_silu_dx(
    y: Any, x: Any, weight: Any, bias: Any, modulation: Any, *, eps: float
) -> Any:
    """normalise_silu's gradients for x, weight, bias and each sample's modulation, given its
    cotangent. What it needs is made again from x: a step keeps neither y nor z."""
    normed, more, z = _modulated(x, weight, bias, modulation, eps)
    s = sigmoid(z)
    dz = y * (s + z * s * (1.0 - s))
    dscale, dshift = (sum(d, axis=1, keepdims=True) for d in (dz * normed, dz))
    back = normalise_dx(dz * more, x, weight, axis=(1, 3), eps=eps)
    return *back, concatenate([dscale, dshift], axis=1)


def _pull(g: Any, x: Any, weight: Any, bias: Any, modulation: Any, eps: float) -> Any:
    dx, dweight, dbias, each = normalise_silu_dx(g, x, weight, bias, modulation, eps=eps)
    return dx, dweight, dbias, unbroadcast(each, modulation.shape)


normalise_silu.vjp_all(_pull)
