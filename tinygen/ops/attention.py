"""Attention: a query takes a mean of all places' values, weighted by how well the keys fit it.

    shares = softmax(q k^T / sqrt(d)),   y = shares v

With the cotangent g of y, and f = shares (g v^T - sum_j shares g v^T) / sqrt(d),

    dq = f k,   dk = f^T q,   dv = shares^T g

All four functions are whole: a plan keeps a call that a kernel took, which makes the shares of a
few queries at a time and stores none. Their bodies are the definition, and the gradient of the
gradient follows from that. Source: Vaswani et al., 2017, equation 1; Dao et al., 2022 (the kernel).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..checks import INTEGER
from ..fused import fused
from ..tensor import Tensor, as_tensor
from .create import arange
from .elementwise import greater_equal, where
from .linalg import matmul
from .reduce import softmax, sum
from .shape import concatenate, expand_dims, reshape, swapaxes, transpose

__all__ = ["attention", "self_attention"]

NEVER = -1e30  # its exponential is 0 beside any other; finite, as files of exports need numbers


def _t(x: Any) -> Any:
    return swapaxes(x, axis1=-1, axis2=-2)


def _earlier(x: Any, n: int) -> Any:
    """Whether place j is not after place i: (n, n)."""
    places = arange(start=0, stop=n, step=1, dtype="int64", backend=x.backend.name)
    return greater_equal(expand_dims(places, axis=1), places)


def _shares(q: Any, k: Any, mask: Any) -> Any:
    fit = matmul(q, _t(k)) * (1 / math.sqrt(q.shape[-1]))
    return softmax(fit if mask is None else where(mask, fit, NEVER), axis=-1)


def _gradients(g: Any, q: Any, k: Any, v: Any, causal: bool) -> tuple[Any, Any, Any]:
    shares = _shares(q, k, _earlier(q, q.shape[-2]) if causal else None)
    dfit = matmul(g, _t(v))
    f = shares * (dfit - sum(dfit * shares, axis=-1, keepdims=True))
    f = f * (1 / math.sqrt(q.shape[-1]))
    return matmul(f, k), matmul(_t(f), q), matmul(_t(shares), g)


def _parts(qkv: Any, heads: int) -> tuple[Any, Any, Any]:
    """(n, places, 3 heads d) as three of (n, heads, places, d)."""
    n, places, width = qkv.shape
    parts = reshape(qkv, (n, places, 3, heads, width // (3 * heads)))
    q, k, v = transpose(parts, (2, 0, 3, 1, 4))
    return q, k, v


def _by_heads(y: Any, heads: int) -> Any:
    """(n, places, heads d) as (n, heads, places, d)."""
    n, places, width = y.shape
    return transpose(reshape(y, (n, places, heads, width // heads)), (0, 2, 1, 3))


def _side_by_side(y: Any) -> Any:
    n, heads, places, d = y.shape
    return reshape(transpose(y, (0, 2, 1, 3)), (n, places, heads * d))


# ---- whole ---------------------------------------------------------------------------------------


@fused(whole=True)
def attend(q: Any, k: Any, v: Any, *, causal: bool) -> Any:
    """softmax(q k^T / sqrt(d)) v: (..., n, d), (..., m, d), (..., m, e) -> (..., n, e)."""
    return matmul(_shares(q, k, _earlier(q, q.shape[-2]) if causal else None), v)


@fused(whole=True)
def attend_dx(y: Any, q: Any, k: Any, v: Any, *, causal: bool) -> Any:
    """attend's gradients for q, k and v, given y, its cotangent."""
    return _gradients(y, q, k, v, causal)


@fused(whole=True)
def attend_self(x: Any, *, heads: int, causal: bool) -> Any:
    """attend of x (n, places, 3 heads d), its three parts side by side: (n, places, heads d)."""
    q, k, v = _parts(x, heads)
    mask = _earlier(q, q.shape[-2]) if causal else None
    return _side_by_side(matmul(_shares(q, k, mask), v))


@fused(whole=True)
def attend_self_dx(y: Any, x: Any, *, heads: int, causal: bool) -> Any:
    """attend_self's gradient for x, given y, its cotangent."""
    parts = _gradients(_by_heads(y, heads), *_parts(x, heads), causal)
    return concatenate([_side_by_side(p) for p in parts], axis=2)


attend.vjp_all(lambda g, q, k, v, causal: attend_dx(g, q, k, v, causal=causal))
attend_self.vjp(x=lambda g, x, heads, causal: attend_self_dx(g, x, heads=heads, causal=causal))


# ---- as users call them --------------------------------------------------------------------------


def attention(q: Any, k: Any, v: Any, causal: bool = False, mask: Any = None) -> Tensor:
    """Scaled dot-product attention, exact: softmax(q k^T / sqrt(d)) v.

    Args:
        q: queries (..., n, d), for example (batch, heads, places, d).
        k, v: keys (..., m, d) and values (..., m, e), with the leading axes of q.
        causal: place i looks at places 0 to i only; then n is m.
        mask: booleans that broadcast to (..., n, m), true where a query may look; a query that may
            look nowhere gets 0. With a mask the shares are stored, and no kernel serves the call.

    Returns:
        (..., n, e). Memory beyond it grows with m, not with n m (without a mask).

    Raises:
        ValueError: sizes that do not fit, no places, causal with n other than m, or with a mask.
        TypeError: arrays that are not of one dtype of floats, a mask that is not of booleans.

    PyTorch's scaled_dot_product_attention with is_causal and a boolean attn_mask. Source: Vaswani
    et al., 2017, equation 1.
    """
    q, k, v = as_tensor(q), as_tensor(k), as_tensor(v)
    fits = q.ndim == k.ndim == v.ndim >= 2 and q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    if not fits or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"attention: q {q.shape}, k {k.shape}, v {v.shape}; expected (..., n, d), (..., m, d), "
            "(..., m, e) with equal leading axes"
        )
    _one_float("attention", q=q, k=k, v=v)
    if 0 in (k.shape[-2], k.shape[-1]):
        raise ValueError(f"attention: k {k.shape}; expected one place and one number or more")
    if causal and (q.shape[-2] != k.shape[-2] or mask is not None):
        met = f"{q.shape[-2]} queries, {k.shape[-2]} keys" if mask is None else "a mask as well"
        raise ValueError(
            f"attention: causal with {met}; expected as many queries as keys, and no mask (write "
            "the places that are not after a query into the mask)"
        )
    if mask is None:
        return attend(q, k, v, causal=bool(causal))
    mask = as_tensor(mask)
    if mask.dtype != np.bool_:
        raise TypeError(
            f"attention: mask of {mask.dtype}; expected booleans, true where a query may look"
        )
    shares = (*q.shape[:-1], k.shape[-2])
    sizes = zip(reversed(mask.shape), reversed(shares), strict=False)
    if mask.ndim > len(shares) or any(met not in (1, n) for met, n in sizes):
        raise ValueError(
            f"attention: mask {mask.shape} does not broadcast to {shares}, a share of each key for "
            "each query; expected equal sizes, or 1, counted from the last axis"
        )
    return matmul(where(mask, _shares(q, k, mask), 0.0), v)


def _one_float(who: str, **arrays: Tensor) -> None:
    """Refuse integers, and floats of several dtypes."""
    if len({x.dtype for x in arrays.values()}) > 1 or any(
        x.dtype.kind != "f" for x in arrays.values()
    ):
        met = ", ".join(f"{name} {x.dtype}" for name, x in arrays.items())
        raise TypeError(
            f"{who}: {met}; expected one floating-point dtype: .astype('float32') of each"
        )


def self_attention(qkv: Any, heads: int, causal: bool = False) -> Tensor:
    """Attention among the places of one array, for each head apart.

    Args:
        qkv: (n, places, 3 heads d): queries, keys, values side by side, in each the heads: what a
            Dense(c, 3 c) makes of (n, places, c).
        heads: how many.
        causal: place i looks at places 0 to i only.

    Returns:
        (n, places, heads d), the heads side by side.

    Raises:
        ValueError: another number of axes, no places, a last size not divisible by 3 heads.
        TypeError: qkv is not of floats.

    The same as attention of the parts, without copies of them.
    """
    x = as_tensor(qkv)
    if not isinstance(heads, INTEGER) or isinstance(heads, bool) or heads < 1:
        raise ValueError(f"self_attention: heads is {heads!r}; expected an int >= 1")
    if x.ndim != 3 or not x.shape[1] or not x.shape[2] or x.shape[2] % (3 * heads):
        raise ValueError(
            f"self_attention: qkv {x.shape} with {heads} heads; expected (n, places, 3 heads d), a "
            f"last size divisible by {3 * heads}"
        )
    _one_float("self_attention", qkv=x)
    return attend_self(x, heads=int(heads), causal=bool(causal))
