"""Derive and check the float32 polynomials of kernels/cpu/maths.py (needs mpmath; fast: numba).

    python bench/derive_maths.py              measure on a sample of 42 million inputs
    python bench/derive_maths.py --all        measure on all 2^32 float32 inputs (half an hour)

It prints the coefficients and the errors, and fails if maths.py holds other coefficients or a
function is off by more than 2 ulp.

Each polynomial minimises the largest error that it causes in its function, by the exchange
algorithm of Remez (bench/derive_normal.py) in 50 digits; the weights say how an error of the
polynomial becomes one of the function. Errors are measured in ulp: the distance of two
neighbouring float32 numbers at the result, NumPy in float64 being the truth.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import mpmath as mp  # type: ignore[import-untyped]
import numpy as np
from derive_normal import Real, chebyshev_grid, remez

from tinygen.backend.numpy import erf
from tinygen_kernels.cpu import elementwise, maths

# ---- the fits: function and weight of the variable, interval, degree -----------------------------


def _tanh_rest(z: Real) -> Real:
    x = mp.sqrt(z)
    return (mp.tanh(x) / x - 1) / z


def _erf_rest(z: Real) -> Real:
    x = mp.sqrt(z)
    return mp.erf(x) / x - 1


def _atanh_rest(z: Real) -> Real:
    s = mp.sqrt(z)
    return 2 * (mp.atanh(s) / s - 1) / z


def _sin_rest(z: Real) -> Real:
    x = mp.sqrt(z)
    return (mp.sin(x) / x - 1) / z


def _cos_rest(z: Real) -> Real:
    return (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2


Fit = tuple[Callable[[Real], Real], Callable[[Real], Real], Any, Any, int]
FITS: dict[str, Fit] = {
    # e^r = 1 + r + r^2 P(r)
    "EXP": (lambda r: (mp.exp(r) - 1 - r) / r**2, lambda r: r**2 / mp.exp(r), "-0.35", "0.35", 4),
    # tanh x = x + x z P(z), z = x^2, x <= 0.55
    "TANH": (_tanh_rest, lambda z: z, "0", "0.3026", 3),
    # erf x = x + x P(z), x <= 0.85
    "ERF": (_erf_rest, lambda z: mp.mpf(1), "0", "0.7226", 5),
    # erf x = 1 - e^-P(x), 0.85 <= x <= 4
    "ERFC": (lambda x: -mp.log(mp.erfc(x)), mp.erfc, "0.8499", "4", 6),
    # log m = d - s (d - z P(z)), s = d / (2 + d) for d = m - 1; 1/sqrt 2 <= m <= sqrt 2
    "LOG": (_atanh_rest, lambda z: z, "0", "0.02944", 2),
    # log(1 + e) = 2 s + s z P(z), s = e / (2 + e) <= 1/3
    "LOG1P": (_atanh_rest, lambda z: z, "0", "0.11112", 3),
    # sin r = r + r z P(z), cos r = 1 - z / 2 + z^2 P(z), z = r^2, |r| <= pi/4
    "SIN": (_sin_rest, lambda z: z, "0", "0.617", 2),
    "COS": (_cos_rest, lambda z: z**2 / mp.cos(mp.sqrt(z)), "0", "0.617", 2),
}


def fit(name: str) -> tuple[tuple[float, ...], Real]:
    """Coefficients rounded to float32, the highest power first, and the largest error."""
    function, weight, low, high, degree = FITS[name]
    grid = chebyshev_grid(mp.mpf(low), mp.mpf(high), 600)[1:]  # an even number: no zero within
    values, weights = [function(x) for x in grid], [weight(x) for x in grid]
    coefficients, _, error = remez(grid, values, weights, degree, 0)
    return tuple(float(np.float32(float(c))) for c in reversed(coefficients)), error


LIMIT = 2.0  # ulp

# ---- measuring -----------------------------------------------------------------------------------


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


TRUTH: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "sigmoid": _sigmoid, "softplus": _softplus,
    "erf": erf, "sin": np.sin, "cos": np.cos,
}  # fmt: skip


def kernel(name: str, x: Any) -> tuple[Any, Any]:
    """A bound call of the function as a fused loop on x, and its output."""
    grid, out = x.reshape(1, -1), np.empty((1, x.size), np.float32)
    made = elementwise.fused(((name, (("in", 0),), ()),), (0,), [grid], [out])
    return elementwise.elementwise_call(made, 1, x.size), out.reshape(-1)


def largest_error(name: str, step: int) -> tuple[float, float]:
    """In ulp, and where, over float32 inputs whose bits are `step` apart, of both signs."""
    worst, place, piece = 0.0, 0.0, 1 << 22
    for start in range(0, 1 << 32, piece * step):
        x = np.arange(start, min(start + piece * step, 1 << 32), step).astype("u4").view("f4")
        call, got = kernel(name, x)
        call()
        want = TRUTH[name](x.astype("f8"))
        near = want.astype("f4")
        finite = np.isfinite(near)
        if not np.array_equal(got[~finite], near[~finite], equal_nan=True):
            raise SystemExit(f"{name}: NaN or an infinity is not NumPy's")
        ulp = np.spacing(np.abs(near[finite])).astype("f8")
        errors = np.abs(got[finite] - want[finite]) / np.minimum(ulp, 2.0**104)
        if errors.size and errors.max() > worst:
            worst, place = float(errors.max()), float(x[finite][errors.argmax()])
    return worst, place


def speed(name: str) -> float:
    """Nanoseconds an element on one core, on 64 KiB of normal numbers times 3."""
    x = 3 * np.random.default_rng(0).standard_normal(1 << 14).astype("f4")
    call, _ = kernel(name, np.abs(x) if name == "log" else x)
    call.rows[0, 2] = 1
    best = np.inf
    for _ in range(500):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best / x.size * 1e9


def main() -> None:
    wrong = []
    for name in FITS:
        coefficients, error = fit(name)
        if coefficients != tuple(float(c) for c in getattr(maths, name, ())):
            wrong.append(f"{name} in maths.py is not what is derived here")
        print(f"# largest error it causes: {mp.nstr(error, 3)}")
        print(f"{name} = _narrow({', '.join(str(np.float32(c)) for c in coefficients)})")
    np.seterr(all="ignore")
    for name in TRUTH:
        worst, place = largest_error(name, 1 if "--all" in sys.argv[1:] else 101)
        print(f"{name:<9} {worst:.3f} ulp at {place:.8g}; {speed(name):.2f} ns an element")
        if worst > LIMIT:
            wrong.append(f"{name} is off by {worst:.3f} ulp, at most {LIMIT} are allowed")
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
