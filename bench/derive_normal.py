"""Derive and check the coefficients of the inverse normal in tinygen/random.py.

    python bench/derive_normal.py           print the coefficients
    python bench/derive_normal.py --check   also measure tinygen.random against the exact quantile

A word gives p2 in (0, 1), the two-sided tail probability of |x|: erfc(|x| / sqrt 2) = p2. With
u = -log2(p2), its surprise in bits, the quantity (x / u)^2 is smooth from u = 0 (where it is
pi (ln 2)^2 / 2) to the far tail (where it goes to 2 ln 2 / u), so one rational function fits it
everywhere and x = u sqrt(P(u) / Q(u)) needs no branch. u itself comes from a polynomial for log2.

Both fits minimise the largest weighted error by the exchange algorithm of Remez, run on a grid
of points in 50-digit arithmetic, so that the printed float64 values are the same on any machine.
The weight of the second is chosen so that the error levelled out is that of x itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mpmath as mp  # type: ignore[import-untyped]

mp.mp.dps = 50
BITS = 32  # p2 is never below 2^-BITS
LOG_TERMS = 6  # log2(m) = r L(r^2), L of this many terms
DEGREE_P, DEGREE_Q = 5, 6
Real = Any  # a number of mpmath
Fit = tuple[list[Real], list[Real], Real]


def quantile(u: Real) -> Real:
    """The x > 0 with erfc(x / sqrt 2) = 2^-u, by Newton's method on the logarithm of erfc."""
    tail = mp.power(2, -u)
    if tail > 0.01:
        return mp.sqrt(2) * mp.erfinv(1 - tail)
    x = mp.sqrt(2 * u * mp.ln(2))
    for _ in range(100):
        value = mp.erfc(x / mp.sqrt(2))
        slope = mp.sqrt(2 / mp.pi) * mp.exp(-x * x / 2)
        change = value / slope * mp.ln(value / tail)
        x += change
        if abs(change) < mp.mpf(10) ** (10 - mp.mp.dps):
            return x
    raise RuntimeError(f"no convergence at u = {u}")


def polynomial(coefficients: list[Real], x: Real) -> Real:
    return mp.polyval(coefficients[::-1], x)


def remez(grid: list[Real], values: list[Real], weights: list[Real], deg_p: int, deg_q: int) -> Fit:
    """P and Q (Q(0) = 1), lowest coefficient first, and the largest weighted error on the grid."""
    p, q = least_squares(grid, values, weights, deg_p, deg_q)
    level = mp.mpf(0)
    for _ in range(60):
        errors = [
            w * (f - polynomial(p, x) / polynomial(q, x))
            for x, f, w in zip(grid, values, weights, strict=True)
        ]
        largest = max(abs(e) for e in errors)
        if largest < abs(level) * mp.mpf("1.000001"):
            return p, q, largest
        places = alternating_peaks(errors, deg_p + deg_q + 2)
        p, q, level = interpolate(grid, values, weights, places, p, q)
    raise RuntimeError("the exchange did not settle")


def least_squares(
    grid: list[Real], values: list[Real], weights: list[Real], deg_p: int, deg_q: int
) -> tuple[list[Real], list[Real]]:
    """A start for the exchange: least squares of (w / Q) (f Q - P), Q taken from the last round."""
    scale = grid[-1]
    bottoms = [mp.mpf(1)] * len(grid)
    for _ in range(12):
        rows, right = [], []
        for x, f, w, bottom in zip(grid, values, weights, bottoms, strict=True):
            powers = [(x / scale) ** k * w / bottom for k in range(max(deg_p, deg_q) + 1)]
            rows.append(powers[: deg_p + 1] + [-f * c for c in powers[1 : deg_q + 1]])
            right.append(f * w / bottom)
        a, b = mp.matrix(rows), mp.matrix(right)
        p, q = split(list(mp.lu_solve(a.T * a, a.T * b)), deg_p, scale)
        bottoms = [polynomial(q, x) for x in grid]
    return p, q


def split(solution: list[Real], deg_p: int, scale: Real) -> tuple[list[Real], list[Real]]:
    """P and Q (Q(0) = 1) from the solution of a system in powers of x / scale."""
    p = [c / scale**k for k, c in enumerate(solution[: deg_p + 1])]
    q = [c / scale**k for k, c in enumerate(solution[deg_p + 1 :], start=1)]
    return p, [mp.mpf(1), *q]


def interpolate(
    grid: list[Real],
    values: list[Real],
    weights: list[Real],
    places: list[int],
    p: list[Real],
    q: list[Real],
) -> Fit:
    """P, Q and E with P = (f -+ E / w) Q at the given places, by Newton's method from P and Q."""
    scale = grid[-1]
    level = mp.mpf(0)
    for _ in range(40):
        rows, right = [], []
        for i, place in enumerate(places):
            x, step = grid[place], (-1) ** i / weights[place]
            bottom, aim = polynomial(q, x), values[place] - level * step
            powers = [(x / scale) ** k for k in range(max(len(p), len(q)))]
            rows.append(powers[: len(p)] + [-aim * c for c in powers[1 : len(q)]] + [step * bottom])
            right.append(aim + level * step * bottom)
        solution = list(mp.lu_solve(mp.matrix(rows), mp.matrix(right)))
        p, q = split(solution[:-1], len(p) - 1, scale)
        settled = abs(solution[-1] - level) <= abs(level) * mp.mpf(10) ** -12
        level = solution[-1]
        if settled:
            return p, q, level
    raise RuntimeError("Newton's method did not settle")


def alternating_peaks(errors: list[Real], count: int) -> list[int]:
    """The largest error of each run of equal sign; the smallest end is dropped until it fits."""
    starts = [0] + [i for i in range(1, len(errors)) if errors[i] * errors[i - 1] < 0]
    runs = pairwise([*starts, len(errors)])
    peaks = [max(range(a, b), key=lambda i: abs(errors[i])) for a, b in runs]
    if len(peaks) < count:
        raise RuntimeError(f"only {len(peaks)} alternations, {count} are needed")
    while len(peaks) > count:
        peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
    return peaks


def chebyshev_grid(low: Real, high: Real, count: int) -> list[Real]:
    return [low + (high - low) * (1 - mp.cos(mp.pi * i / (count - 1))) / 2 for i in range(count)]


def fit_log() -> Fit:
    """L with log2(m) = r L(r^2), r = (m - 1) / (m + 1), for m in [1/2, 1); absolute error."""
    grid = chebyshev_grid(mp.mpf(0), mp.mpf(1) / 9, 400)[1:]
    roots = [mp.sqrt(z) for z in grid]
    values = [2 * mp.atanh(r) / r / mp.ln(2) for r in roots]
    return remez(grid, values, roots, LOG_TERMS - 1, 0)


def fit_quantile() -> Fit:
    """P and Q with x = u sqrt(P(u) / Q(u)); the weight turns the error into that of x."""
    grid = [root**2 for root in chebyshev_grid(mp.mpf(0), mp.sqrt(BITS), 700)[1:]]
    xs = [quantile(u) for u in grid]
    values = [(x / u) ** 2 for x, u in zip(xs, grid, strict=True)]
    weights = [u * u / (2 * x) for x, u in zip(xs, grid, strict=True)]
    p, q, error = remez(grid, values, weights, DEGREE_P, DEGREE_Q)
    lead = q[-1]  # divide both by the leading coefficient of Q: one multiplication less
    return [c / lead for c in p], [c / lead for c in q], error


def show(name: str, coefficients: list[Real]) -> None:
    print(f"{name} = (")
    for c in reversed(coefficients):
        print(f"    {float(c)!r},")
    print(")")


def check(words: list[int], values: Callable[[list[int]], list[float]]) -> None:
    """Print the largest error of `values(words)` against the quantile of (w + 1/2) / 2^32."""
    worst = mp.mpf(0)
    place = 0
    for word, x in zip(words, values(words), strict=True):
        x = mp.mpf(x)
        p = (mp.mpf(word) + mp.mpf("0.5")) / 2**32
        # One step of Newton's method from x is the error itself, to first order.
        error = abs((mp.ncdf(x) - p) / mp.npdf(x))
        if error > worst:
            worst, place = error, word
    print(f"{len(words)} words: largest error {mp.nstr(worst, 3)} at word {place:#010x}")


def main() -> None:
    log_terms, _, log_error = fit_log()
    p, q, error = fit_quantile()
    print(f"# log2: largest error {mp.nstr(log_error, 3)}; inverse: {mp.nstr(error, 3)}")
    show("_LOG2", log_terms)
    show("_P", p)
    show("_Q", q[:-1])
    if "--check" in sys.argv[1:]:
        import numpy as np

        from tinygen.backend.numpy import xp
        from tinygen.random import _normal_of_words

        def ours(words: list[int]) -> list[float]:
            values = _normal_of_words(xp, np.array(words, dtype=np.uint32))
            return [float(v) for v in values]

        mp.mp.dps = 30
        ends = [w for k in range(33) for w in range(2**k - 3, 2**k + 3)]
        ends += [2**32 - 1 - w for w in ends]
        check(sorted({w for w in ends if 0 <= w < 2**32}), ours)
        check(list(range(12345, 2**32, 2**32 // 20_000)), ours)
        tail = [round(2 ** (32 * i / 5_000)) for i in range(5_000)]
        check(tail, ours)


if __name__ == "__main__":
    main()
