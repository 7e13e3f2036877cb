"""FID: the Frechet distance of the Gaussians with the means and covariances of two sets."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..io import host_array
from .arrays import Floats, features, finite, pair


def fid(real: Any, fake: Any) -> float:
    """Frechet distance of the features of real and generated images; 0 is best.

    Features (n, d) and (m, d), with n and m of more than d: fewer images leave a covariance of
    incomplete rank. The estimate is biased: it falls as n and m grow. Compare figures of equal
    numbers of images, and name them.
    Source: Heusel et al., "GANs trained by a two time-scale update rule" (2017).
    """
    x, y = pair("fid", real, fake)
    return frechet_distance(*mean_and_covariance(x), *mean_and_covariance(y))


def mean_and_covariance(x: Any) -> tuple[Floats, Floats]:
    """Mean (d,) and unbiased covariance (d, d) of features (n, d), in float64.

    Raises ValueError where n is not above d.
    """
    array = features("mean_and_covariance", "x", x)
    n, d = array.shape
    if n <= d:
        raise ValueError(
            f"FID: n = {n} images with d = {d} features each; the covariance of d features needs "
            f"d + 1 = {d + 1} images or more, and many times that for a steady figure; give more "
            "images, or use kid"
        )
    mean = array.mean(axis=0)
    array -= mean
    covariance: Floats = array.T @ array / (n - 1)
    return mean, covariance


def frechet_distance(mean1: Any, covariance1: Any, mean2: Any, covariance2: Any) -> float:
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)), the squared Frechet distance of two Gaussians.

    With C = A A^T from its eigenvalues, (A1^T A2)(A1^T A2)^T has the eigenvalues of C1 C2 other
    than 0, so that the trace of the root is the sum of the singular values of A1^T A2: nothing is
    inverted, no complex number appears, and a singular covariance is as good as another (square
    roots of the eigenvalues of C1^(1/2) C2 C1^(1/2) would turn rounding of 1e-16 into 1e-8).
    Means (d,), covariances (d, d), symmetric without a negative eigenvalue; else ValueError.
    Source: Dowson and Landau, "The Frechet distance between multivariate normal distributions"
    (1982).
    """
    m1, C1 = _gaussian("first", mean1, covariance1)
    m2, C2 = _gaussian("second", mean2, covariance2)
    if m1.shape != m2.shape:
        raise ValueError(
            f"frechet_distance: means of length {len(m1)} and {len(m2)}, expected the same; take "
            "both from the same extractor"
        )
    root = np.linalg.svd(_factor("first", C1).T @ _factor("second", C2), compute_uv=False)
    offset = m1 - m2
    distance = offset @ offset + np.trace(C1) + np.trace(C2) - 2 * root.sum()
    return max(0.0, float(distance))  # below 0 is rounding


def _gaussian(which: str, mean: Any, covariance: Any) -> tuple[Floats, Floats]:
    """Mean and covariance in float64, checked."""
    m, C = host_array(mean).astype(np.float64), host_array(covariance).astype(np.float64)
    if m.ndim != 1 or C.shape != (*m.shape, *m.shape) or m.size == 0:
        raise ValueError(
            f"frechet_distance: the {which} mean is {m.shape}, its covariance {C.shape}; expected "
            "(d,) and (d, d)"
        )
    finite("frechet_distance", f"the {which} mean", m)
    finite("frechet_distance", f"the {which} covariance", C)
    uneven = float(abs(C - C.T).max())
    if uneven > 1e-6 * abs(C).max():
        raise ValueError(
            f"frechet_distance: the {which} covariance differs from its transpose by {uneven:g}; "
            "expected a symmetric matrix"
        )
    return m, C


def _factor(which: str, C: Floats) -> Floats:
    """A with A A^T = C, (d, d); ValueError for an eigenvalue below 0 by more than rounding."""
    values, vectors = np.linalg.eigh(C)
    if values[0] < -1e-6 * abs(values).max():
        raise ValueError(
            f"frechet_distance: the {which} covariance has the eigenvalue {values[0]:g}; expected "
            "0 or more"
        )
    factor: Floats = vectors * np.sqrt(np.maximum(values, 0))
    return factor
