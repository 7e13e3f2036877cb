"""Scalar functions for loops: float32 ones without branches, so that a loop becomes vector code.

Every float32 function is a few multiplications, additions and selections; no table, no call. The
polynomials are Taylor's, cut where the next term is below half a unit in the last place over the
reduced range, and bench/derive_maths.py measures each function over all of its range.

- exp: x = k log 2 + r with |r| <= log(2)/2, e^x = 2^k e^r; 2^k by writing k into the exponent.
- log: x = 2^e m with m in [1/sqrt 2, sqrt 2); s = (m-1)/(m+1), log m = 2 (s + s^3/3 + ...).
- tanh: q / (q + 2) with q = e^(2|x|) - 1, computed without cancellation.
- sigmoid: 1 / (1 + e) or e / (1 + e) with e = e^-|x|.
- softplus: max(x, 0) + log1p(e), log1p(e) = 2 (s + s^3/3 + ...) with s = e / (2 + e) <= 1/3.

NaN and infinities come out as NumPy's. The float64 forms (`wide_...`) call the platform's library.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .runtime import inline

F = np.float32
I = np.int32  # noqa: E741
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
LOG2E = F(1.4426950408889634)
LN2_HIGH, LN2_LOW = F(0.693359375), F(-2.12194440e-4)  # high has few bits: k times it is exact


@intrinsic
def bits(typing: Any, x: Any) -> Any:
    """The bits of a float32 as an int32."""
    return types.int32(types.float32), lambda c, b, s, a: b.bitcast(a[0], _INT)


@intrinsic
def from_bits(typing: Any, x: Any) -> Any:
    """The float32 with these bits."""
    return types.float32(types.int32), lambda c, b, s, a: b.bitcast(a[0], _FLOAT)


@intrinsic
def to_int(typing: Any, x: Any) -> Any:
    """A float32 without its fraction, as an int32."""
    return types.int32(types.float32), lambda c, b, s, a: b.fptosi(a[0], _INT)


@intrinsic
def to_float(typing: Any, x: Any) -> Any:
    """An int32 as a float32."""
    return types.float32(types.int32), lambda c, b, s, a: b.sitofp(a[0], _FLOAT)


@inline
def _power_of_2(k):  # type: ignore[no-untyped-def]
    """2^k for -126 <= k <= 127."""
    return from_bits((k + I(127)) << I(23))


@inline
def _nearest(t):  # type: ignore[no-untyped-def]
    """The nearest whole number."""
    return to_int(t + (F(0.5) if t > F(0) else F(-0.5)))


@inline
def _exp_minus_1(r):  # type: ignore[no-untyped-def]
    """e^r - 1 for |r| <= log(2)/2."""
    p = F(1 / 5040)
    p = p * r + F(1 / 720)
    p = p * r + F(1 / 120)
    p = p * r + F(1 / 24)
    p = p * r + F(1 / 6)
    p = p * r + F(1 / 2)
    return p * r * r + r


@inline
def narrow_exp(x):  # type: ignore[no-untyped-def]
    t = x if x > F(-104) else F(-104)
    t = t if t < F(89) else F(89)
    k = _nearest(t * LOG2E)
    f = to_float(k)
    r = (t - f * LN2_HIGH) - f * LN2_LOW
    y = _exp_minus_1(r) + F(1)
    half = k >> I(1)  # 2^k in two factors: it may be denormal
    y = y * _power_of_2(half) * _power_of_2(k - half)
    y = F(np.inf) if x > F(88.722839) else y
    return x if x != x else y


@inline
def narrow_log(x):  # type: ignore[no-untyped-def]
    small = x < F(1.17549435e-38)
    scaled = x * F(8388608.0) if small else x  # denormals are brought up by 2^23
    b = bits(scaled)
    e = (b - I(0x3F3504F3)) >> I(23)  # so that m is in [1/sqrt 2, sqrt 2)
    m = from_bits(b - (e << I(23)))
    f = to_float(e) - (F(23) if small else F(0))
    d = m - F(1)
    s = d / (F(2) + d)
    z = s * s
    p = F(2 / 11)
    p = p * z + F(2 / 9)
    p = p * z + F(2 / 7)
    p = p * z + F(2 / 5)
    p = p * z + F(2 / 3)
    # log m = d - s (d - z p): the leading term is exact
    y = (d - s * (d - z * p)) + f * LN2_LOW
    y = y + f * LN2_HIGH
    y = F(-np.inf) if x == F(0) else y
    y = x if x == F(np.inf) else y
    y = F(np.nan) if x < F(0) else y
    return x if x != x else y


@inline
def narrow_tanh(x):  # type: ignore[no-untyped-def]
    size = abs(x)
    t = size if size < F(10) else F(10)
    t = t + t
    k = _nearest(t * LOG2E)
    f = to_float(k)
    r = (t - f * LN2_HIGH) - f * LN2_LOW
    two = _power_of_2(k)
    q = _exp_minus_1(r) * two + (two - F(1))
    y = q / (q + F(2))
    y = -y if x < F(0) else y
    y = x if x == F(0) else y  # the sign of a zero
    return x if x != x else y


@inline
def narrow_sigmoid(x):  # type: ignore[no-untyped-def]
    e = narrow_exp(-abs(x))
    return (F(1) if x >= F(0) else e) / (F(1) + e)


@inline
def narrow_softplus(x):  # type: ignore[no-untyped-def]
    e = narrow_exp(-abs(x))
    s = e / (F(2) + e)
    z = s * s
    p = F(2 / 15)
    p = p * z + F(2 / 13)
    p = p * z + F(2 / 11)
    p = p * z + F(2 / 9)
    p = p * z + F(2 / 7)
    p = p * z + F(2 / 5)
    p = p * z + F(2 / 3)
    y = p * z * s + (s + s)
    return (x if x > F(0) else F(0)) + y


@inline
def narrow_sign(x):  # type: ignore[no-untyped-def]
    y = F(1) if x > F(0) else (F(-1) if x < F(0) else F(0))
    return x if x != x else y


@inline
def narrow_erf(x):  # type: ignore[no-untyped-def]
    return F(math.erf(float(x)))


@inline
def wide_exp(x):  # type: ignore[no-untyped-def]
    return np.exp(x)


@inline
def wide_log(x):  # type: ignore[no-untyped-def]
    return np.log(x)


@inline
def wide_tanh(x):  # type: ignore[no-untyped-def]
    return np.tanh(x)


@inline
def wide_sigmoid(x):  # type: ignore[no-untyped-def]
    e = np.exp(-abs(x))
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


@inline
def wide_softplus(x):  # type: ignore[no-untyped-def]
    return (x if x > 0.0 or x != x else 0.0) + np.log1p(np.exp(-abs(x)))


@inline
def wide_sign(x):  # type: ignore[no-untyped-def]
    return x if x != x else (1.0 if x > 0.0 else (-1.0 if x < 0.0 else 0.0))


@inline
def wide_erf(x):  # type: ignore[no-untyped-def]
    return math.erf(x)
