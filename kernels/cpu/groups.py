"""Norms of groups of channels, forward and back, in two passes each; see normalise.py, moments.py.

Forward: moments, y. Back: moments and the sums of g; dx.
"""

from __future__ import annotations

from .moments import (
    BACKWARD,
    FORWARD,
    all_moments,
    blocks_of,
    cleared,
    factors,
    given,
    given_back,
    moments,
    scaled,
    scratch,
    sizes_of,
    strip_of,
    turned,
)
from .runtime import both, number, word


@both
def groups(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A strip of a sample is a piece of work."""
    n, p, g, k, strips = sizes_of(args)
    width, eps = g * k, number(args, FORWARD.eps)
    x, weight, bias, y = given(args, kind)
    for piece in range(n * strips * worker // workers, n * strips * (worker + 1) // workers):
        i, c0, c1 = strip_of(piece, strips, g, k)
        sums, own = scratch(worker, workers, args, kind, width, c1 - c0)
        mean, scale, rates = own[2], own[3], sums[4]
        rows, out = x[i * p * width + c0 :], y[i * p * width + c0 :]
        moments(kind, rows, p, width, k, eps, sums, own, mean, rates)
        for c in range(c1 - c0):
            scale[c] = weight[c0 + c] * rates[c]
        scaled(kind, rows, out, p, width, mean, scale, bias[c0:c1])


@both
def groups_back(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A strip of a block of samples is a piece of work."""
    n, p, g, k, strips = sizes_of(args)
    width, eps, samples = g * k, number(args, BACKWARD.eps), word(args, BACKWARD.samples)
    x, weight, above, dx = given_back(args, kind)
    blocks, partial = blocks_of(args)
    pieces = blocks * strips
    for piece in range(pieces * worker // workers, pieces * (worker + 1) // workers):
        block, c0, c1 = strip_of(piece, strips, g, k)
        sums, own = scratch(worker, workers, args, kind, width, c1 - c0)
        dweight, dbias = cleared(partial, block, width, c0, c1)
        for i in range(block * samples, min((block + 1) * samples, n)):
            start = i * p * width + c0
            rows, cotangent, mean, rates = x[start:], above[start:], own[2], sums[4]
            all_moments(kind, rows, cotangent, p, width, k, eps, sums, own, mean, rates)
            factors(k, p * k, rates, weight[c0:c1], sums, own, dweight, dbias)
            turned(kind, rows, cotangent, dx[start:], p, width, mean, own[3], own[4], own[5])
