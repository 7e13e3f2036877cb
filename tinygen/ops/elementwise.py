"""Elementwise operations: the reference and the rule of calculus of each, side by side.

In a rule `g` is the cotangent of the output and `ans` the output itself. Where a function's own
slope or value may be infinite or NaN the rule goes through `guarded_mul` or `guarded_div`: at such
a point, and only there, a cotangent of exactly 0 gives 0, whatever else varies. So a branch that
`where` did not take leaks no NaN from log, sqrt, a division, a power or exp, at any order; and a
cotangent that just happens to be 0, as that of (log x)^2 at 1, has its right derivatives. A plain
product has no such guard: x log x at 0 needs an argument that is chosen as well,
log(where(x > 0, x, 1)).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..backend import XP, Array
from ..checks import integers_stay
from ..fused import fused
from ..primitive import primitive
from ..tensor import Tensor, as_tensor
from ..weak import SCALARS
from .create import full_like

# ---- arithmetic ----------------------------------------------------------------------------------


@primitive(pointwise=True, moves="shape")
def identity(xp: XP, x: Array) -> Array:
    """x itself."""
    return x


identity.vjp(x=lambda g: g)


@primitive(broadcasts=True, ufunc="add")
def add(xp: XP, x: Array, y: Array) -> Array:
    """x + y."""
    return x + y


add.vjp(x=lambda g: g, y=lambda g: g)


@primitive(broadcasts=True, ufunc="subtract")
def sub(xp: XP, x: Array, y: Array) -> Array:
    """x - y."""
    return x - y


sub.vjp(x=lambda g: g, y=lambda g: -g)


@primitive(pointwise=True, ufunc="negative")
def neg(xp: XP, x: Array) -> Array:
    """-x."""
    return -x


neg.vjp(x=lambda g: -g)


@primitive(broadcasts=True, ufunc="multiply")
def mul(xp: XP, x: Array, y: Array) -> Array:
    """x y."""
    return x * y


mul.vjp(x=lambda g, y: g * y, y=lambda g, x: g * x)

# ---- comparisons: booleans, no gradient ----------------------------------------------------------


@primitive(broadcasts=True, nondiff="all")
def equal(xp: XP, x: Array, y: Array) -> Array:
    """x == y."""
    return xp.equal(x, y)


@primitive(broadcasts=True, nondiff="all")
def not_equal(xp: XP, x: Array, y: Array) -> Array:
    """x != y."""
    return xp.not_equal(x, y)


@primitive(broadcasts=True, nondiff="all")
def less(xp: XP, x: Array, y: Array) -> Array:
    """x < y."""
    return xp.less(x, y)


@primitive(broadcasts=True, nondiff="all")
def less_equal(xp: XP, x: Array, y: Array) -> Array:
    """x <= y."""
    return xp.less_equal(x, y)


@primitive(broadcasts=True, nondiff="all")
def greater(xp: XP, x: Array, y: Array) -> Array:
    """x > y."""
    return xp.greater(x, y)


@primitive(broadcasts=True, nondiff="all")
def greater_equal(xp: XP, x: Array, y: Array) -> Array:
    """x >= y."""
    return xp.greater_equal(x, y)


@primitive(nondiff="all", pointwise=True)
def isfinite(xp: XP, x: Array) -> Array:
    """True where x is neither infinite nor NaN."""
    return xp.isfinite(x)


# ---- choosing ------------------------------------------------------------------------------------


@primitive(broadcasts=True, nondiff=("condition",))
def where(xp: XP, condition: Array, x: Array, y: Array) -> Array:
    """x where the condition holds, y elsewhere."""
    if x.__class__ in SCALARS and y.__class__ in SCALARS and float in (x.__class__, y.__class__):
        x, y = xp.float32(x), xp.float32(y)
    elif x.__class__ is int and y.__class__ not in SCALARS:
        x = y.dtype.type(x)  # raises where the type does not hold the number
    elif y.__class__ is int and x.__class__ not in SCALARS:
        y = x.dtype.type(y)
    return xp.where(condition, x, y)


@where.check
def _(condition: Array) -> None:
    if condition.__class__ is not bool and getattr(condition, "dtype", None) != np.bool_:
        kind = getattr(condition, "dtype", condition.__class__.__name__)
        raise TypeError(
            f"where: the condition has dtype {kind}, expected bool; compare first, for example "
            "x > 0"
        )


where.vjp(
    x=lambda g, condition: where(condition, g, 0.0),
    y=lambda g, condition: where(condition, 0.0, g),
)


@primitive(broadcasts=True)
def maximum(xp: XP, x: Array, y: Array) -> Array:
    """The larger of x and y; NaN if either is."""
    return xp.maximum(x, y)


maximum.vjp(  # at a tie, half of the cotangent to each
    x=lambda g, x, y: where(x > y, g, where(x == y, 0.5 * g, 0.0)),
    y=lambda g, x, y: where(y > x, g, where(y == x, 0.5 * g, 0.0)),
)


@primitive(broadcasts=True)
def minimum(xp: XP, x: Array, y: Array) -> Array:
    """The smaller of x and y; NaN if either is."""
    return xp.minimum(x, y)


minimum.vjp(
    x=lambda g, x, y: where(x < y, g, where(x == y, 0.5 * g, 0.0)),
    y=lambda g, x, y: where(y < x, g, where(y == x, 0.5 * g, 0.0)),
)


@primitive(pointwise=True)
def clip(xp: XP, x: Array, *, low: float | None = None, high: float | None = None) -> Array:
    """x limited to [low, high]; None leaves a side open."""
    low = low.item() if isinstance(low, np.generic) else low
    high = high.item() if isinstance(high, np.generic) else high
    return xp.clip(x, low, high)


@clip.check
def _(x: Array, low: float | None, high: float | None) -> None:
    integers_stay("clip", x, low=low, high=high)
    if low is not None and high is not None and not low <= high:
        raise ValueError(f"clip: low {low} is above high {high}; expected low <= high")


clip.vjp(x=lambda g, x, low, high: _within(g, x, low, high))


def _within(g: Tensor, x: Tensor, low: float | None, high: float | None) -> Tensor:
    """g where low <= x <= high, else 0: at both ends the slope is 1."""
    g = g if low is None else where(x < low, 0.0, g)
    return g if high is None else where(x > high, 0.0, g)


@primitive(pointwise=True)
def abs(xp: XP, x: Array) -> Array:
    """|x|."""
    return xp.abs(x)


@primitive(nondiff="all", pointwise=True)
def sign(xp: XP, x: Array) -> Array:
    """-1, 0 or 1."""
    return xp.sign(x)


abs.vjp(x=lambda g, x: g * sign(x))

# ---- products that are 0 where nothing flows, and division ---------------------------------------


@primitive(broadcasts=True, floats=True)
def guarded_mul(xp: XP, c: Array, slope: Array) -> Array:
    """c slope, and exactly 0 where c is exactly 0, even if slope is infinite or NaN."""
    return xp.where(xp.equal(c, 0), 0, xp.multiply(c, slope))


@primitive(broadcasts=True, floats=True)
def guarded_div(xp: XP, c: Array, y: Array) -> Array:
    """c / y, and exactly 0 where c is exactly 0, even if y is 0 or NaN."""
    return xp.where(xp.equal(c, 0), 0, xp.divide(c, y))


# Where the guard makes the product 0, it is the constant 0: no infinite slope goes on from there.


def _past_mul(g: Tensor, c: Tensor, slope: Tensor) -> Tensor:
    """g, and 0 where c is 0 and slope infinite or NaN."""
    return where(abs(slope) < math.inf, g, where(c == 0, 0.0, g))


def _past_div(g: Tensor, c: Tensor, y: Tensor) -> Tensor:
    """g, and 0 where c is 0 and y is 0 or NaN."""
    return where(abs(y) > 0, g, where(c == 0, 0.0, g))


guarded_mul.vjp(
    c=lambda g, c, slope: guarded_mul(_past_mul(g, c, slope), slope),
    slope=lambda g, c, slope: guarded_mul(_past_mul(g, c, slope), c),
)
guarded_div.vjp(
    c=lambda g, c, y: guarded_div(_past_div(g, c, y), y),
    y=lambda g, c, y, ans: guarded_mul(_past_div(g, c, y), -guarded_div(ans, y)),
)


@primitive(broadcasts=True, floats=True, ufunc="divide")
def div(xp: XP, x: Array, y: Array) -> Array:
    """x / y."""
    return xp.divide(x, y)


div.vjp(x=lambda g, y: guarded_div(g, y), y=lambda g, y, ans: guarded_mul(g, -(ans / y)))

# ---- exponentials, roots, waves ------------------------------------------------------------------


@primitive(floats=True, pointwise=True, ufunc="exp")
def exp(xp: XP, x: Array) -> Array:
    """e^x."""
    return xp.exp(x)


exp.vjp(x=lambda g, ans: guarded_mul(g, ans))


@primitive(floats=True, pointwise=True, ufunc="log")
def log(xp: XP, x: Array) -> Array:
    """The natural logarithm."""
    return xp.log(x)


log.vjp(x=lambda g, x: guarded_div(g, x))


@primitive(floats=True, pointwise=True, ufunc="sqrt")
def sqrt(xp: XP, x: Array) -> Array:
    """The square root."""
    return xp.sqrt(x)


sqrt.vjp(x=lambda g, ans: guarded_div(g, 2 * ans))


@primitive(floats=True, pointwise=True)
def sin(xp: XP, x: Array) -> Array:
    """sin x, x in radians."""
    return xp.sin(x)


@primitive(floats=True, pointwise=True)
def cos(xp: XP, x: Array) -> Array:
    """cos x, x in radians."""
    return xp.cos(x)


sin.vjp(x=lambda g, x: g * cos(x))
cos.vjp(x=lambda g, x: g * -sin(x))


@primitive(floats=True, pointwise=True)
def erf(xp: XP, x: Array) -> Array:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    return xp.erf(x)


erf.vjp(x=lambda g, x: g * (2 / math.sqrt(math.pi) * exp(-(x * x))))

# ---- powers --------------------------------------------------------------------------------------


@primitive(pointwise=True)
def square(xp: XP, x: Array) -> Array:
    """x^2."""
    return x * x


square.vjp(x=lambda g, x: guarded_mul(g, 2 * x))


@primitive(floats=True, pointwise=True)
def power_n(xp: XP, x: Array, *, n: float) -> Array:
    """x^n for a constant n."""
    return xp.power(x, n)


power_n.vjp(x=lambda g, x, n: guarded_mul(g, n * power(x, n - 1)) if n != 0 else g * 0.0)


@primitive(broadcasts=True, floats=True)
def power_xy(xp: XP, x: Array, y: Array) -> Array:
    """x^y for x >= 0."""
    return xp.power(x, y)


power_xy.vjp(
    x=lambda g, x, y: guarded_mul(g, guarded_mul(y, power(x, y - 1))),
    y=lambda g, x, ans: guarded_mul(g, guarded_mul(log(where(x == 0, 1.0, x)), ans)),
)


def power(x: Any, y: Any) -> Tensor:
    """x^y. A Python number y may have any x; a tensor y needs x >= 0.

    d/dx = y x^(y-1), d/dy = x^y log x, and 0 at x = 0.
    """
    x, y = (v.item() if isinstance(v, np.generic) else v for v in (x, y))
    if y.__class__ not in SCALARS:
        y = as_tensor(y)
        return power_xy(full_like(y, x) if x.__class__ in SCALARS else x, y)
    if y == 1:
        return identity(x)
    return square(x) if y == 2 else power_n(x, n=y)


# ---- activations ---------------------------------------------------------------------------------


@primitive(floats=True, pointwise=True, ufunc="tanh")
def tanh(xp: XP, x: Array) -> Array:
    """The hyperbolic tangent, in (-1, 1)."""
    return xp.tanh(x)


tanh.vjp(x=lambda g, ans: g * (1 - square(ans)))


@primitive(floats=True, pointwise=True)
def sigmoid(xp: XP, x: Array) -> Array:
    """1 / (1 + e^-x), in (0, 1), without overflow at either end."""
    e = xp.exp(-xp.abs(x))  # in (0, 1]
    return xp.divide(xp.where(xp.greater_equal(x, 0), 1, e), 1 + e)


sigmoid.vjp(x=lambda g, ans: g * (ans * (1 - ans)))


@primitive(floats=True, pointwise=True)
def softplus(xp: XP, x: Array) -> Array:
    """log(1 + e^x), without overflow at either end."""
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


softplus.vjp(x=lambda g, x: g * sigmoid(x))


@primitive(pointwise=True)
def relu(xp: XP, x: Array) -> Array:
    """max(x, 0)."""
    return xp.maximum(x, 0)


relu.vjp(x=lambda g, ans: where(ans > 0, g, 0.0))


@primitive(floats=True, pointwise=True)
def leaky_relu(xp: XP, x: Array, *, slope: float = 0.01) -> Array:
    """x where x > 0, slope x elsewhere."""
    return xp.where(xp.greater(x, 0), x, float(slope) * x)


leaky_relu.vjp(x=lambda g, x, slope: where(x > 0, g, slope * g))


@fused
def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), also called swish."""
    return x * sigmoid(x)


@fused
def gelu(x: Tensor) -> Tensor:
    """x Phi(x) = x (1 + erf(x / sqrt 2)) / 2, Phi the normal distribution function; exact."""
    return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))


# ---- dtype ---------------------------------------------------------------------------------------


@primitive(pointwise=True, copies=True)
def cast(xp: XP, x: Array, *, dtype: str) -> Array:
    """x as another floating-point dtype."""
    return x.astype(dtype)


cast.vjp(x=lambda g, x_dtype: astype(g, x_dtype))


@primitive(nondiff="all", pointwise=True, copies=True)
def cast_discrete(xp: XP, x: Array, *, dtype: str) -> Array:
    """x as an integer or boolean dtype, or integers as floats, in row-major order; no gradient."""
    return x.astype(dtype, order="C")


def astype(x: Tensor, dtype: Any) -> Tensor:
    """x with another dtype; gradients flow between floating-point dtypes only."""
    x = as_tensor(x)
    wanted = np.dtype(dtype)
    if wanted.kind not in "fiub" or (wanted.kind == "f" and wanted.itemsize not in (4, 8)):
        raise TypeError(
            f"astype: {wanted} is not supported; expected float32, float64, an integer type or bool"
        )
    if wanted == x.dtype:
        return x
    if wanted.kind == "f" and x.dtype.kind == "f":
        return cast(x, dtype=wanted.name)
    return cast_discrete(x, dtype=wanted.name)
