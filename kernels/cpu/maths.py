"""Scalar functions for loops: float32 ones without branches, so that a loop becomes vector code.

Every float32 function is a few multiplications, additions, selections and at most one division; no
table, no call. Polynomials have the smallest largest error; bench/derive_maths.py makes them and
measures each function from denormals to infinities. All are within 2 ulp of the exact value, and
what they make of infinities and NaN is NumPy's:

    exp         1.01 ulp    x = k log 2 + r with |r| <= log(2)/2; e^x = 2^k (1 + q), q = e^r - 1
    log         0.96 ulp    x = 2^e m with m in [1/sqrt 2, sqrt 2); s = (m-1)/(m+1),
                            log m = 2 (s + s^3/3 + ...)
    tanh        1.34 ulp    x + x^3 P(x^2) below 0.55, else 1 - 2 / (1 + e^2x)
    sigmoid     1.69 ulp    y = 1 / (1 + e^|x|); y where x < 0, else 1 - y
    softplus    1.73 ulp    max(x, 0) + log1p(e^-|x|),
                            log1p(e^-|x|) = 2 (s + s^3/3 + ...), s = 1 / (1 + 2 e^|x|) <= 1/3
    erf         1.06 ulp    x + x P(x^2) below 0.85, else 1 - e^-G(x), G = -log(1 - erf)
    sin, cos    1.53 ulp    |x| = (k + f) pi/2 with |f| <= 1/2, r = f pi/2; by k, plus or minus
                            r + r^3 P(r^2) or 1 - r^2/2 + r^4 P(r^2)

Both sides are computed and one is selected. The float64 forms (`wide_...`) call the platform's
library.
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
SHIFT = F(12582912)  # 1.5 * 2^23: adding it leaves the nearest whole number in the lowest bits
SHIFT_BITS, SIGN = I(0x4B400000), I(-(2**31))


def _narrow(*coefficients: float) -> tuple[Any, ...]:
    return tuple(F(c) for c in coefficients)


# Made and checked by bench/derive_maths.py; highest power first.
EXP = _narrow(0.001381319, 0.00836941, 0.041668456, 0.16666515, 0.49999994)
TANH = _narrow(0.016457297, -0.052683406, 0.1332093, -0.33332956)
ERF = _narrow(-0.0006332342, 0.0050542266, -0.026804546, 0.112827696, -0.37612575, 0.12837917)
ERFC = _narrow(
    -0.00020253427, 0.0031072458, -0.022479234, 0.10444856, 0.6366011, 1.1280158, 0.000114625116
)
LOG = _narrow(0.2987185, 0.3997754, 0.66666776)
LOG1P = _narrow(0.28025004, 0.2799904, 0.40021706, 0.6666641)
SIN = _narrow(-0.00019517221, 0.008332178, -0.16666655)
COS = _narrow(2.4433066e-05, -0.0013887315, 0.041666646)

U = np.uint64
TURN = 0x28BE60DB9391054A7F09D5F47D4D377036D8A5664F10E4107F9458EA  # 1 / (2 pi) in units of 2^-224
TURN_0, TURN_1, TURN_2, TURN_3 = (U(TURN >> 64 * k & (2**64 - 1)) for k in (3, 2, 1, 0))
TO_RADIANS = 2 * math.pi / 2.0**64


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
    return from_bits(I((k + I(127)) << I(23)))


@inline
def with_sign_of(x, y):  # type: ignore[no-untyped-def]
    """y >= 0 with the sign of x, that of a zero, too."""
    return from_bits(I(bits(y) | (bits(x) & SIGN)))


@inline
def _reduced(x):  # type: ignore[no-untyped-def]
    """(k, q): e^x = 2^k (1 + q), q = e^r - 1 for |r| <= log(2)/2; |x| < 2^20, NaN gives NaN.

    I(...) around sums of integers: Numba makes int64 of them, which are half as many to a vector.
    """
    shifted = x * LOG2E + SHIFT
    f = shifted - SHIFT
    r = (x - f * LN2_HIGH) - f * LN2_LOW
    p = EXP[0] * r + EXP[1]
    p = p * r + EXP[2]
    p = p * r + EXP[3]
    p = p * r + EXP[4]
    return I(bits(shifted) - SHIFT_BITS), p * (r * r) + r


@inline
def _one_plus(q, power, one):  # type: ignore[no-untyped-def]
    """one + power (1 + q), rounded, and what the rounding lost; one <= power are powers of 2.

    Reciprocals of such sums are in sigmoid and softplus. To add one to a rounded 1 + q would
    cost half a unit more: of the two powers, what their sum loses is known exactly.
    """
    a = power + one
    b = power * q + (one - (a - power))
    total = a + b
    return total, b - (total - a)


@inline
def narrow_exp(x):  # type: ignore[no-untyped-def]
    t = F(-105) if x < F(-105) else x  # NaN passes; e^-105 is 0, e^89 infinite
    t = F(89) if t > F(89) else t
    k, q = _reduced(t)
    half = I(k >> I(1))  # 2^k in two factors: it may be denormal
    return (q + F(1)) * _power_of_2(half) * _power_of_2(I(k - half))


@inline
def narrow_log(x):  # type: ignore[no-untyped-def]
    small = x < F(1.17549435e-38)
    scaled = x * F(8388608.0) if small else x  # denormals are brought up by 2^23
    b = bits(scaled)
    e = I(I(b - I(0x3F3504F3)) >> I(23))  # so that m is in [1/sqrt 2, sqrt 2)
    m = from_bits(I(b - (e << I(23))))
    f = to_float(e) - (F(23) if small else F(0))
    d = m - F(1)
    s = d / (F(2) + d)
    z = s * s
    p = LOG[0] * z + LOG[1]
    p = p * z + LOG[2]
    # log m = d - s (d - z p): the leading term is exact
    y = (d - s * (d - z * p)) + f * LN2_LOW
    y = y + f * LN2_HIGH
    y = F(-np.inf) if x == F(0) else y
    y = x if x == F(np.inf) else y
    y = F(np.nan) if x < F(0) else y
    return x if x != x else y


@inline
def narrow_tanh(x):  # type: ignore[no-untyped-def]
    t = abs(x)
    t = F(10) if t > F(10) else t
    k, q = _reduced(t + t)
    power = _power_of_2(k)
    total = (power + F(1)) + power * q  # loses the one where it no longer counts
    z = t * t
    p = TANH[0] * z + TANH[1]
    p = p * z + TANH[2]
    p = p * z + TANH[3]
    y = t + (z * p) * t if t < F(0.55) else F(1) - F(2) / total
    return with_sign_of(x, y)


@inline
def narrow_sigmoid(x):  # type: ignore[no-untyped-def]
    t = abs(x)
    t = F(105) if t > F(105) else t
    k, q = _reduced(t)
    half = I(k >> I(1))  # the sum is made 2^half smaller: it stays finite
    small = _power_of_2(I(-half))
    total, _ = _one_plus(q, _power_of_2(I(k - half)), small)
    y = F(1) / total * small
    return y if x < F(0) else F(1) - y


@inline
def narrow_softplus(x):  # type: ignore[no-untyped-def]
    t = abs(x)
    t = F(105) if t > F(105) else t
    k, q = _reduced(t)
    half = I(k >> I(1))
    small = _power_of_2(I(-half))
    total, lacks = _one_plus(q, _power_of_2(I(k - half + I(1))), small)
    u = F(1) / total  # s = u small, and 1 / (total + lacks) = u - u^2 lacks
    z = (u * small) * (u * small)
    p = LOG1P[0] * z + LOG1P[1]
    p = p * z + LOG1P[2]
    p = p * z + LOG1P[3]
    y = ((u + u) + (z * p - (u + u) * lacks) * u) * small
    return (x if x > F(0) else F(0)) + y


@inline
def narrow_erf(x):  # type: ignore[no-untyped-def]
    t = abs(x)
    t = F(4) if t > F(4) else t
    g = ERFC[0] * t + ERFC[1]
    g = g * t + ERFC[2]
    g = g * t + ERFC[3]
    g = g * t + ERFC[4]
    g = g * t + ERFC[5]
    g = g * t + ERFC[6]
    k, q = _reduced(-g)
    power = _power_of_2(k)
    z = t * t
    p = ERF[0] * z + ERF[1]
    p = p * z + ERF[2]
    p = p * z + ERF[3]
    p = p * z + ERF[4]
    p = p * z + ERF[5]
    y = t + p * t if t < F(0.85) else (F(1) - power) - power * q
    return with_sign_of(x, y)


@inline
def _quarters(t):  # type: ignore[no-untyped-def]
    """(k, r): t = k pi/2 + r, |r| <= pi/4, k modulo 4, for t >= 0.

    t is m 2^(e - 150), m < 2^24 whole and e the bits of its exponent. Of 1 / (2 pi), whole turns
    left out, the 96 bits from e - 118 on (32 zeros before the point are counted) are taken times m:
    the error is below 2^-71 turns, and no float32 from 0.5 on is within 2^-36 of a quarter turn's
    multiples. A turn is 2^64, so that whole ones are lost in the overflow; r is rounded once.
    """
    b = bits(t)
    at = I(I(b >> I(23)) - I(118))
    m = U(I(I(b & I(0x7FFFFF)) | I(0x800000)))
    one, two = at >= I(64), at >= I(128)
    first = TURN_2 if two else (TURN_1 if one else TURN_0)
    second = TURN_3 if two else (TURN_2 if one else TURN_1)
    third = U(0) if two else (TURN_3 if one else TURN_2)
    up = U(I(at & I(63)))
    down = U(63) - up
    high = (first << up) | ((second >> U(1)) >> down)
    low = (second << up) | ((third >> U(1)) >> down)
    turn = m * high + ((m * (low >> U(32))) >> U(32))
    k = (turn + U(1 << 61)) >> U(62)
    r = F(np.float64(np.int64(turn - (k << U(62)))) * TO_RADIANS)
    small = t < F(0.5)
    return I(0) if small else I(k), t if small else r


@inline
def _wave(k, r):  # type: ignore[no-untyped-def]
    """sin(k pi/2 + r)."""
    z = r * r
    s = SIN[0] * z + SIN[1]
    s = s * z + SIN[2]
    s = s * z * r + r
    c = COS[0] * z + COS[1]
    c = c * z + COS[2]
    c = c * z * z + (F(1) - F(0.5) * z)
    y = c if I(k & I(1)) != I(0) else s
    return from_bits(I(bits(y) ^ I(I(k & I(2)) << I(30))))


@inline
def narrow_sin(x):  # type: ignore[no-untyped-def]
    t = abs(x)
    k, r = _quarters(t)
    y = _wave(k, r)
    y = from_bits(I(bits(y) ^ I(bits(x) & SIGN)))
    return y if t < F(np.inf) else F(np.nan)


@inline
def narrow_cos(x):  # type: ignore[no-untyped-def]
    t = abs(x)
    k, r = _quarters(t)
    y = _wave(I(k + I(1)), r)
    return y if t < F(np.inf) else F(np.nan)


@inline
def narrow_sign(x):  # type: ignore[no-untyped-def]
    y = F(1) if x > F(0) else (F(-1) if x < F(0) else F(0))
    return x if x != x else y


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
def wide_sin(x):  # type: ignore[no-untyped-def]
    return np.sin(x)


@inline
def wide_cos(x):  # type: ignore[no-untyped-def]
    return np.cos(x)


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
