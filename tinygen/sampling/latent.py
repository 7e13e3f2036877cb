"""Walks through the space of latent codes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .noise import Noise


def between(a: NDArray[Any], b: NDArray[Any], t: float, *, straight: bool = False) -> NDArray[Any]:
    """The point t of the way from a to b, along the great circle (slerp) or straight.

    sin((1 - t) w) / sin(w) a + sin(t w) / sin(w) b, w the angle between them: where a and b are as
    long as codes of N(0, 1), so are all points on the way.
    """
    cosine = float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))
    angle = float(np.arccos(np.clip(cosine, -1, 1)))
    if straight or np.sin(angle) < 1e-6:
        return (1 - t) * a + t * b
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)  # type: ignore[no-any-return]


def walk(noise: Noise, rows: int, steps: int, seed: int) -> NDArray[np.float32]:
    """Codes (rows steps, latent): in each row from one random code to another.

    Codes of a normal law turn along the great circle, those of a uniform law go straight.
    """
    ends = noise.of_seed(2 * rows, seed).astype(np.float64)
    straight = noise.law == "uniform"
    line = [
        between(ends[2 * r], ends[2 * r + 1], t, straight=straight)
        for r in range(rows)
        for t in np.linspace(0, 1, steps)
    ]
    return np.array(line, np.float32).reshape(rows * steps, *noise.shape)


def traverse(noise: Noise, dimensions: int, steps: int, seed: int) -> NDArray[np.float32]:
    """Codes (dimensions steps, latent): in row k only entry k changes, from -reach to reach."""
    reach = noise.reach
    codes: NDArray[np.float32] = np.repeat(noise.of_seed(1, seed), dimensions * steps, axis=0)
    for k in range(dimensions):
        codes[k * steps : (k + 1) * steps, k] = np.linspace(-reach, reach, steps)
    return codes


def around(
    mu: NDArray[Any], logvar: NDArray[Any], noise: NDArray[Any], spread: float
) -> NDArray[np.float32]:
    """Codes z = mu + spread sigma eps (n, latent) for noise eps (n, latent); the first is mu."""
    eps = noise.copy()
    eps[:1] = 0
    codes: NDArray[Any] = mu + spread * np.exp(0.5 * logvar) * eps
    return codes.astype(np.float32)
