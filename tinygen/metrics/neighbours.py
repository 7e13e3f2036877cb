"""Measures of nearest neighbours: precision, recall, density, coverage; copies of images.

The ball of an image reaches to its k-th nearest other of the same set. Distances are made a block
at a time, so that memory does not grow with the number of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..io import host_array
from .arrays import (
    Floats,
    distances_within,
    features,
    images,
    pair,
    squared_distances,
    whole,
)

ROUNDING = 1e-12  # of the largest squared length: two squared distances nearer than that are equal


class PrecisionRecall(NamedTuple):
    """Both from 0 to 1."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """Density is 0 or more, with mean 1 for equal distributions; coverage is from 0 to 1."""

    density: float
    coverage: float


@dataclass(frozen=True)
class Nearest:
    """For each query, the distance of the nearest reference (n,), and its index (n,)."""

    distance: Floats
    index: NDArray[np.int64]


def precision_recall(real: Any, fake: Any, *, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall, of features (n, d) and (m, d).

    precision: the part of the generated images inside the ball of some real image (they look
    real).  recall: the part of the real images inside the ball of some generated one (what is
    real is drawn). Both need k + 1 images of each kind. A border belongs to its ball.
    Source: Kynkaanniemi et al., "Improved precision and recall metric for assessing generative
    models" (2019).
    """
    return _neighbourhoods("precision_recall", real, fake, k, k)[0]


def density_coverage(real: Any, fake: Any, *, k: int = 5) -> DensityCoverage:
    """Density and coverage, of features (n, d) and (m, d).

    density: in how many balls of real images a generated image is, on average, divided by k.
    coverage: the part of the real images whose ball holds a generated image. For equal
    distributions and m = n their means are 1 and about 1 - 2^-k. An outlier among the real images,
    with its wide ball, spoils them less than precision and recall.
    Source: Naeem et al., "Reliable fidelity and diversity metrics for generative models" (2020).
    """
    return _neighbourhoods("density_coverage", real, fake, k, k)[1]


def neighbourhoods(real: Any, fake: Any) -> tuple[PrecisionRecall, DensityCoverage]:
    """precision_recall and density_coverage with the k of each, from the same distances."""
    return _neighbourhoods("neighbourhoods", real, fake, 3, 5)


def _neighbourhoods(
    who: str, real: Any, fake: Any, k: int, wide: int
) -> tuple[PrecisionRecall, DensityCoverage]:
    """Precision and recall with k, density and coverage with `wide`, which is not below k."""
    x, y, wide = _centred(who, real, fake, wide)
    nearest_of_x = _nearest_others(x, wide)
    around_x, widely_around_x = nearest_of_x[:, k], nearest_of_x[:, wide]
    around_y, slack = _nearest_others(y, k)[:, k], _slack(x, y)
    precise, recalled = np.zeros(len(y), bool), np.zeros(len(x), bool)
    inside, covered = 0, np.zeros(len(x), bool)
    for rows, columns, d2 in squared_distances(x, y):
        d2 -= slack
        precise[columns] |= (d2 <= around_x[rows, None]).any(axis=0)
        recalled[rows] |= (d2 <= around_y[columns]).any(axis=1)
        within = d2 <= widely_around_x[rows, None]
        inside += int(np.count_nonzero(within))
        covered[rows] |= within.any(axis=1)
    return (
        PrecisionRecall(float(precise.mean()), float(recalled.mean())),
        DensityCoverage(inside / (wide * len(y)), float(covered.mean())),
    )


def neighbour_radii(x: Any, k: int) -> Floats:
    """The distance of each of n points (n, d) to its k-th nearest other: (n,)."""
    array = features("neighbour_radii", "x", x)
    k = _enough("neighbour_radii", k, len(array))
    radii: Floats = np.sqrt(_nearest_others(array, k)[:, k])
    return radii


def nearest(queries: Any, references: Any) -> Nearest:
    """The nearest reference of each query: for generated images, the training image likest them.

    queries (n, ...) and references (m, ...) of equal shape from the second axis on: images or
    features, in one scale. The distance is the root of the sum of squared differences, and 0 for
    an exact copy. Of references at the same distance it is the first, up to rounding.
    """
    queries, references = host_array(queries), host_array(references)
    x, y = images("nearest", "queries", queries), images("nearest", "references", references)
    if queries.shape[1:] != references.shape[1:]:
        raise ValueError(
            f"nearest: queries {queries.shape}, references {references.shape}; expected equal "
            "shapes from the second axis on"
        )
    best, index = np.full(len(x), np.inf), np.zeros(len(x), np.int64)
    for rows, columns, d2 in squared_distances(x, y):
        at = d2.argmin(axis=1)
        least = d2[np.arange(len(d2)), at]
        nearer = least < best[rows]
        best[rows] = np.where(nearer, least, best[rows])
        index[rows] = np.where(nearer, columns.start + at, index[rows])
    # The distance itself once more, from the differences: what cancelled above is exact here.
    for i in range(0, len(x), 256):
        part = slice(i, i + 256)
        offset = x[part].astype(np.float64) - y[index[part]]
        best[part] = np.sqrt(np.einsum("ij,ij->i", offset, offset))
    return Nearest(best, index)


def duplicates(x: Any, *, within: float = 0.0) -> int:
    """How many of the images (n, ...) have an earlier one at a distance of `within` or less.

    0 counts exact copies only, which says more of images in grey levels than of floats; above it,
    up to rounding: an exact copy always counts.
    """
    array = images("duplicates", "x", x)
    if not within >= 0:
        raise ValueError(f"duplicates: within is {within!r}, expected a distance, 0 or more")
    if within == 0:
        return len(array) - len({row.tobytes() for row in array + 0})  # -0 + 0 is 0
    repeated, limit = np.zeros(len(array), bool), within * within + _slack(array, array)
    for rows, columns, d2 in squared_distances(array, array):
        later = np.arange(rows.start, rows.stop)[:, None]
        earlier = np.arange(columns.start, columns.stop) < later
        repeated[rows] |= ((d2 <= limit) & earlier).any(axis=1)
    return int(repeated.sum())


def pairwise_distance(x: Any) -> float:
    """The root mean square distance of two different images of a set (n, ...), n of 2 or more.

    The mean over pairs of |x_i - x_j|^2 is twice the sum of the unbiased variances.
    """
    array = images("pairwise_distance", "x", x)
    if len(array) < 2:
        raise ValueError("pairwise_distance: 1 image, expected 2 or more")
    total = 0.0
    for i in range(0, array.shape[1], 256):  # some pixels of all images
        total += float(array[:, i : i + 256].astype(np.float64).var(axis=0, ddof=1).sum())
    return float(np.sqrt(2 * total))


# ---- balls ---------------------------------------------------------------------------------------


def _centred(who: str, real: Any, fake: Any, k: int) -> tuple[Floats, Floats, int]:
    """Both sets with the real mean at 0, where squared distances lose least to cancellation."""
    x, y = pair(who, real, fake)
    k = _enough(who, k, min(len(x), len(y)))
    mean = x.mean(axis=0)
    return x - mean, y - mean, k


def _enough(who: str, k: int, n: int) -> int:
    """k, checked: ValueError where a set of n images has no k-th nearest other image."""
    k = whole(who, "k", k, 1)
    if n <= k:
        raise ValueError(
            f"{who}: k is {k}, with {n} images in a set; expected k + 1 = {k + 1} images or more"
        )
    return k


def _slack(x: Floats, y: Floats) -> float:
    """What rounding may add to a squared distance: a tie counts as inside, in any block."""
    longest = max(float(np.einsum("ij,ij->i", a, a).max()) for a in (x, y))
    return ROUNDING * longest


def _nearest_others(x: Floats, k: int) -> Floats:
    """For each point its k + 1 least squared distances in order, the first the 0 to itself."""
    least = np.full((len(x), k + 1), np.inf)

    def keep(rows: slice, d2: Floats) -> None:
        both = np.concatenate([least[rows], d2], axis=1)
        both.partition(k, axis=1)
        least[rows] = both[:, : k + 1]

    for rows, columns, d2 in distances_within(x):
        keep(rows, d2)
        if rows != columns:
            keep(columns, d2.T)
    least.sort(axis=1)
    return least
