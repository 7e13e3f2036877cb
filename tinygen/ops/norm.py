"""Normalisation: values of mean 0 and variance 1 over some axes, then a weight and a bias.

    y = (x - mean) / sqrt(var + eps) weight + bias

With s = sqrt(var + eps), u = (x - mean) / s and h = g weight, where g is the cotangent of y, the
gradients are (averages over the same axes)

    dx = (h - mean(h) - u mean(h u)) / s,   dweight = sum g u,   dbias = sum g

Both functions are whole: a plan keeps a call that a kernel took, as its passes over x are what the
kernel saves. Their bodies are the definition, and the gradient of the gradient follows from that.
"""

from __future__ import annotations

from typing import Any

from ..fused import fused
from .elementwise import sqrt, square
from .reduce import mean
from .shape import unbroadcast

__all__ = ["normalise"]

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
