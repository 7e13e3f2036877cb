"""KID: the squared maximum mean discrepancy of features under a cubic kernel, without bias."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .arrays import Floats, blocks, generator, pair, whole


class KID(NamedTuple):
    """The mean over subsets, and the standard deviation from one subset to another."""

    mean: float
    std: float


def kid(real: Any, fake: Any, *, subsets: int = 100, size: int = 1000, seed: int = 0) -> KID:
    """mmd2 of `subsets` pairs of subsets, `size` images each: mean and standard deviation.

    Features (n, d) and (m, d). 0 is best, and what equal distributions give on average: a
    figure may be negative. It does not depend on the number of images as FID does. A subset holds
    no image twice; which ones it holds depends on (seed, n, m) alone. ValueError where the size
    is above n or m.
    Source: Binkowski et al., "Demystifying MMD GANs" (2018).
    """
    x, y = pair("kid", real, fake)
    subsets, size = whole("kid", "subsets", subsets, 1), whole("kid", "size", size, 2)
    if size > min(len(x), len(y)):
        raise ValueError(
            f"kid: subsets of {size} images, of {len(x)} real and {len(y)} generated ones; give "
            f"size={min(len(x), len(y))} or less (half of it or less, for subsets that differ), "
            "or use mmd2, which takes all of them"
        )
    rng = generator(seed, "kid")
    values = []
    for _ in range(subsets):
        at, other = rng.permutation(len(x)).numpy(), rng.permutation(len(y)).numpy()
        values.append(_mmd2(x[at[:size]], y[other[:size]]))
    return KID(float(np.mean(values)), float(np.std(values)))


def mmd2(real: Any, fake: Any) -> float:
    """The unbiased estimate of the squared MMD from all images, with k(x, y) = (x.y / d + 1)^3.

    sum_{i != j} k(x_i, x_j) / (n (n - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1))
    - 2 sum_{i, j} k(x_i, y_j) / (n m), for features (n, d) and (m, d), n and m of 2 or more.
    Source: Gretton et al., "A kernel two-sample test" (2012), equation 3.
    """
    x, y = pair("mmd2", real, fake)
    if min(len(x), len(y)) < 2:
        raise ValueError(
            f"mmd2: {len(x)} real and {len(y)} generated images; the estimate needs 2 of each"
        )
    return _mmd2(x, y)


def _mmd2(x: Floats, y: Floats) -> float:
    n, m = len(x), len(y)
    return (
        (_sum(x, x) - _diagonal(x)) / (n * (n - 1))
        + (_sum(y, y) - _diagonal(y)) / (m * (m - 1))
        - 2 * _sum(x, y) / (n * m)
    )


def _sum(x: Floats, y: Floats) -> float:
    """The sum of k(x_i, y_j) over all i and j."""
    total = 0.0
    for rows, columns in blocks(len(x), len(y)):
        base = x[rows] @ y[columns].T
        base /= x.shape[1]
        base += 1
        total += float(np.vdot(base * base, base))
    return total


def _diagonal(x: Floats) -> float:
    """The sum of k(x_i, x_i)."""
    base = np.einsum("ij,ij->i", x, x) / x.shape[1] + 1
    return float(np.vdot(base * base, base))
