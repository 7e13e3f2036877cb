"""Rules with infinite slopes: right to the fourth order, and no NaN from a branch not taken.

The oracle knows nothing of rules or graphs: it computes with truncated Taylor series, whose
coefficients follow from the definitions of the functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygen as tg

ORDER = 4
pytestmark = pytest.mark.quick


class Series:
    """c[0] + c[1] t + ... + c[4] t^4, each coefficient an array of points."""

    def __init__(self, c: list[Any]) -> None:
        self.c = [np.asarray(v, np.float64) for v in c]

    def __add__(self, other: Any) -> Series:
        return Series([a + b for a, b in zip(self.c, series(other).c, strict=True)])

    def __mul__(self, other: Any) -> Series:
        a, b = self.c, series(other).c
        return Series([sum(a[i] * b[k - i] for i in range(k + 1)) for k in range(ORDER + 1)])

    def __neg__(self) -> Series:
        return self * -1.0

    def __sub__(self, other: Any) -> Series:
        return self + -series(other)

    def __rsub__(self, other: Any) -> Series:
        return series(other) - self

    def __truediv__(self, other: Any) -> Series:
        a, b, q = self.c, series(other).c, []
        for k in range(ORDER + 1):
            q.append((a[k] - sum(q[i] * b[k - i] for i in range(k))) / b[0])
        return Series(q)

    def __rtruediv__(self, other: Any) -> Series:
        return series(other) / self

    def __pow__(self, n: Any) -> Series:
        if isinstance(n, int) and n >= 0:
            return math.prod([self] * n, start=series(1.0))
        return Taylor.exp(series(n) * Taylor.log(self))

    def __rpow__(self, base: float) -> Series:
        return Taylor.exp(self * math.log(base))

    __radd__, __rmul__ = __add__, __mul__


def series(value: Any) -> Series:
    return value if isinstance(value, Series) else Series([value, *[0.0] * ORDER])


def _from_slope(value: Any, slope: Series) -> Series:
    """The series with this constant whose derivative is `slope`."""
    return Series([value, *(slope.c[k] / (k + 1) for k in range(ORDER))])


class Taylor:
    """The functions of a series, by the names they have in tinygen."""

    @staticmethod
    def exp(x: Series) -> Series:
        y = [np.exp(x.c[0])]
        for k in range(1, ORDER + 1):
            y.append(sum(i * x.c[i] * y[k - i] for i in range(1, k + 1)) / k)
        return Series(y)

    @staticmethod
    def log(x: Series) -> Series:
        return _from_slope(np.log(x.c[0]), _derivative(x) / x)

    @staticmethod
    def sqrt(x: Series) -> Series:
        y = [np.sqrt(x.c[0])]
        for k in range(1, ORDER + 1):
            y.append((x.c[k] - sum(y[i] * y[k - i] for i in range(1, k))) / (2 * y[0]))
        return Series(y)

    @staticmethod
    def cos(x: Series) -> Series:
        return Taylor._turning(x)[0]

    @staticmethod
    def sin(x: Series) -> Series:
        return Taylor._turning(x)[1]

    @staticmethod
    def _turning(x: Series) -> tuple[Series, Series]:
        c, s = [np.cos(x.c[0])], [np.sin(x.c[0])]
        for k in range(1, ORDER + 1):
            c.append(-sum(i * x.c[i] * s[k - i] for i in range(1, k + 1)) / k)
            s.append(sum(i * x.c[i] * c[k - i] for i in range(1, k + 1)) / k)
        return Series(c), Series(s)

    power = staticmethod(lambda x, y: series(x) ** y)
    square = staticmethod(lambda x: x * x)


def _derivative(x: Series) -> Series:
    return Series([*((k + 1) * x.c[k + 1] for k in range(ORDER)), 0.0])


def derivatives(f: Callable[[Any], Any], at: Any) -> list[Any]:
    """f', ..., f'''' at each point, by gradients of gradients."""
    x = tg.tensor(np.asarray(at, np.float64), requires_grad=True)
    g, found = f(x), []
    for _ in range(ORDER):
        (g,) = tg.grad(tg.sum(g), [x], create_graph=True)
        found.append(g.numpy())
    return found


def expected(f: Callable[[Any], Any], at: Any) -> list[Any]:
    at = np.asarray(at, np.float64)
    with np.errstate(all="ignore"):
        y = f(Series([at, np.ones_like(at), *[np.zeros_like(at)] * (ORDER - 1)]))
    return [np.broadcast_to(math.factorial(k) * y.c[k], at.shape) for k in range(1, ORDER + 1)]


def same(found: list[Any], wanted: list[Any], what: str) -> None:
    for k, (got, want) in enumerate(zip(found, wanted, strict=True), start=1):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9, err_msg=f"{what}, order {k}")


AT = np.array([0.5, 1.0, 2.0, 3.0])
INNER: dict[str, Callable[[Any, Any], Any]] = {  # every guarded rule; m is tinygen, or the oracle
    "log": lambda m, x: m.log(x),
    "sqrt": lambda m, x: m.sqrt(x),
    "exp": lambda m, x: m.exp(x),
    "reciprocal": lambda m, x: 1.0 / x,
    "quotient": lambda m, x: (x * x - 2.0) / (1.0 + x),
    "rsqrt": lambda m, x: 1.0 / m.sqrt(x),
    "norm": lambda m, x: m.sqrt(x * x + (x - 1.0) ** 2),
    "x^-1.5": lambda m, x: x**-1.5,
    "x^0.5": lambda m, x: x**0.5,
    "x^2": lambda m, x: x**2,
    "x^3": lambda m, x: x**3,
    "2^x": lambda m, x: 2.0**x,
    "x^x": lambda m, x: m.power(x, x),
    "x^(x-1)": lambda m, x: m.power(x, x - 1.0),
    "x log x": lambda m, x: x * m.log(x),
}
OUTER: dict[str, Callable[[Any, Any], Any]] = {
    "u^2": lambda m, u: u**2,
    "u u": lambda m, u: u * u,
    "u^3": lambda m, u: u**3,
    "u^4": lambda m, u: u**4,
    "cos u": lambda m, u: m.cos(u),
    "u sin u": lambda m, u: u * m.sin(u),
    "exp u^2": lambda m, u: m.exp(u * u),
    "log(1 + u^2)": lambda m, u: m.log(1.0 + u**2),
    "sqrt(1 + u^2)": lambda m, u: m.sqrt(1.0 + u * u),
    "u^2 / (2 + u)": lambda m, u: u**2 / (2.0 + u),
}


@pytest.mark.parametrize("inner", INNER)
def test_derivatives_where_the_cotangent_happens_to_be_0(inner: str) -> None:
    """u = f(x) - f(here) is 0 at every point, and so is the first cotangent of f."""
    f = INNER[inner]
    here = expected_value(f)
    for outer, h in OUTER.items():
        same(
            derivatives(lambda x, h=h: h(tg, f(tg, x) - tg.tensor(here)), AT),
            expected(lambda x, h=h: h(Taylor, f(Taylor, x) - here), AT),
            f"{outer} of {inner}",
        )
    same(
        derivatives(lambda x: (x - tg.tensor(AT)) ** 2 * f(tg, x), AT),
        expected(lambda x: (x - AT) ** 2 * f(Taylor, x), AT),
        f"(x - here)^2 {inner}",
    )


def expected_value(f: Callable[[Any, Any], Any]) -> Any:
    """f at the points, as tinygen computes it: the difference is exactly 0."""
    return f(tg, tg.tensor(AT)).numpy()


def test_the_square_of_a_logarithm_at_1() -> None:
    found = [d.item() for d in derivatives(lambda x: tg.log(x) ** 2, 1.0)]
    np.testing.assert_allclose(found, [0.0, 2.0, -6.0, 22.0], atol=1e-12)


@pytest.mark.parametrize("direction", [(1.0, 1.0), (1.0, -2.0), (0.5, 3.0)])
@pytest.mark.parametrize("y", [0.0, 1.0, 2.0, -1.0])
def test_mixed_derivatives_of_a_power(direction: tuple[float, float], y: float) -> None:
    """Along (x + a t, y + b t): every mixed derivative has its part."""
    a, b = direction
    for x in (0.5, 1.0, 3.0):
        same(
            derivatives(lambda t, x=x: tg.power(x + a * t, y + b * t), 0.0),
            expected(lambda t, x=x: Taylor.power(x + a * t, y + b * t), 0.0),
            f"{x}^{y} along {direction}",
        )


def test_mixed_derivatives_one_at_a_time() -> None:
    x, y = (tg.tensor(np.float64(v), requires_grad=True) for v in (4.0, 0.0))
    (gx,) = tg.grad(tg.power(x, y), [x], create_graph=True)
    assert gx.item() == 0.0
    assert tg.grad(gx, [y], retain_graph=True)[0].item() == 0.25  # 1 / x
    (gy,) = tg.grad(tg.power(x, y), [y], create_graph=True)
    assert tg.grad(gy, [x])[0].item() == 0.25
    c = tg.tensor(np.float64(0.0), requires_grad=True)
    for op, want in ((tg.div, -1 / 16), (tg.guarded_div, -1 / 16), (tg.guarded_mul, 1.0)):
        (g,) = tg.grad(op(c, x), [x], create_graph=True)
        assert g.item() == 0.0
        assert tg.grad(g, [c])[0].item() == want


# ---- branches not taken --------------------------------------------------------------------------

EDGE = np.array([0.0, -0.0, -1.0, -3.0, 800.0, 2.0, 1.5])  # the branch is taken at the last two
TAKEN = np.array([False] * 5 + [True] * 2)
BRANCH: dict[str, Callable[[Any, Any], Any]] = {
    "log": lambda m, x: m.log(x),
    "(log)^2": lambda m, x: m.log(x) ** 2,
    "(log)^3": lambda m, x: m.log(x) ** 3,
    "sqrt": lambda m, x: m.sqrt(x),
    "rsqrt": lambda m, x: 1.0 / m.sqrt(x),
    "sqrt log": lambda m, x: m.sqrt(m.log(x) + 1.0),
    "exp x^2": lambda m, x: m.exp(x * x),
    "exp exp": lambda m, x: m.exp(m.exp(x)),
    "1 / x": lambda m, x: 1.0 / x,
    "x / x^2": lambda m, x: x / (x * x),
    "1 / (1 / x)": lambda m, x: 1.0 / (1.0 / x),
    "x^0.5": lambda m, x: x**0.5,
    "x^1.5": lambda m, x: x**1.5,
    "x^-1": lambda m, x: x**-1,
    "x^-2.5": lambda m, x: x**-2.5,
    "x^x": lambda m, x: m.power(x, x),
    "x^(x - 1)": lambda m, x: m.power(x, x - 1.0),
    "log of a quotient": lambda m, x: m.log(x / (1.0 + x)),
}


@pytest.mark.parametrize("name", BRANCH)
def test_no_nan_from_a_branch_not_taken(name: str) -> None:
    f = BRANCH[name]
    mask, chosen = tg.tensor(TAKEN), np.where(TAKEN, EDGE, 2.0)
    for what, outer in (("", lambda y: y), ("squared", lambda y: y**2), ("cube", lambda y: y**3)):
        found = derivatives(lambda x, h=outer: tg.where(mask, h(f(tg, x)), x * x), EDGE)
        wanted = expected(lambda x, h=outer: h(f(Taylor, x)), chosen)
        other = expected(lambda x: x * x, EDGE)
        wanted = [np.where(TAKEN, w, o) for w, o in zip(wanted, other, strict=True)]
        same(found, wanted, f"{name} {what}")


@pytest.mark.parametrize("name", BRANCH)
def test_no_nan_from_a_branch_not_taken_of_what_follows(name: str) -> None:
    """The choice first, then functions of it: their cotangent meets the branch."""
    f = BRANCH[name]
    mask, chosen = tg.tensor(TAKEN), np.where(TAKEN, EDGE, 2.0)
    found = derivatives(lambda x: tg.sin(tg.where(mask, f(tg, x), 0.5)) * x, EDGE)
    wanted = expected(lambda x: Taylor.sin(f(Taylor, x)) * x, chosen)
    other = expected(lambda x: math.sin(0.5) * x, EDGE)
    same(found, [np.where(TAKEN, w, o) for w, o in zip(wanted, other, strict=True)], name)


PRODUCT: dict[str, Callable[[Any, Any], Any]] = {
    "sqrt (x + 1)": lambda m, x: m.sqrt(x) * (x + 1.0),
    "sqrt sin": lambda m, x: m.sqrt(x) * m.sin(x),
    "x^1.5 cos": lambda m, x: x**1.5 * m.cos(x),
    "x^0.5 x^1.5": lambda m, x: x**0.5 * x**1.5 * (1.0 - x),
}


@pytest.mark.parametrize("name", PRODUCT)
def test_an_infinite_slope_not_taken_does_not_spoil_its_factors(name: str) -> None:
    f, at = PRODUCT[name], np.array([0.0, -0.0, 2.0])
    found = derivatives(lambda x: tg.where(x > 0, f(tg, x), x * x), at)
    wanted = expected(lambda x: f(Taylor, x), np.array([2.0] * 3))
    other = expected(lambda x: x * x, at)
    same(found, [np.where(at > 0, w, o) for w, o in zip(wanted, other, strict=True)], name)
