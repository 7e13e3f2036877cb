"""Derive and check the coefficients of erf in tinygen/backend/numpy.py (needs mpmath).

    python bench/derive_erf.py

Two Chebyshev fits in 60 digits: erf(sqrt(u)) / sqrt(u) on [0, 1], and erfc(x) exp(x^2) as a
function of t = (x - 3) / (x + 3) for x in [1, 28].
"""

import math

import mpmath as mp
import numpy as np

from tinygen.backend.numpy import _ERF_LARGE, _ERF_SMALL, erf

SMALL_TERMS, LARGE_TERMS = 12, 20


def small(u):
    return mp.erf(mp.sqrt(u)) / mp.sqrt(u)


def large(t):
    x = 3 * (1 + t) / (1 - t)
    return mp.erfc(x) * mp.exp(x * x)


def main():
    mp.mp.dps = 60
    fits = (
        ("_ERF_SMALL", small, [mp.mpf(10) ** -30, 1], SMALL_TERMS),
        ("_ERF_LARGE", large, [mp.mpf(-1) / 2, mp.mpf(25) / 31], LARGE_TERMS),
    )
    for name, function, interval, terms in fits:
        coefficients, error = mp.chebyfit(function, interval, terms, error=True)
        print(f"# largest error of the fit: {mp.nstr(error, 3)}")
        print(f"{name}: tuple[float, ...] = (")
        for c in coefficients:
            print(f"    {float(c)!r},")
        print(")")
    if _ERF_SMALL and _ERF_LARGE:
        x = np.linspace(-6, 6, 100_001)
        worst = np.max(np.abs(erf(x) - np.array([math.erf(v) for v in x])))
        print(f"# largest difference from math.erf on [-6, 6]: {worst:.2e}")


if __name__ == "__main__":
    main()
