"""Initialisers: functions of (shape, rng) that return the first values of a weight, float32.

For weights (..., in, out), fan_in is `in` times the leading sizes (of a kernel), fan_out likewise.
Without `rng` the default generator draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .. import random
from ..random import Generator
from ..tensor import Tensor, as_tensor
from ..tensor import zeros as tensor_of_zeros

Shape = tuple[int, ...]
Initialiser = Callable[[Shape, Generator | None], Tensor]


def _fans(name: str, shape: Shape) -> tuple[int, int]:
    if len(shape) < 2:
        raise ValueError(f"{name}: shape {shape} has no fan; expected a weight (..., in, out)")
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _uniform(shape: Shape, rng: Generator | None, limit: float) -> Tensor:
    return random.resolve(rng).uniform(shape) * (2 * limit) - limit


def glorot_uniform(shape: Shape, rng: Generator | None = None) -> Tensor:
    """U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010, equation 16)."""
    return _uniform(shape, rng, math.sqrt(6 / sum(_fans("glorot_uniform", shape))))


def glorot_normal(shape: Shape, rng: Generator | None = None) -> Tensor:
    """N(0, 2 / (fan_in + fan_out)) (Glorot and Bengio, 2010, equation 12)."""
    return normal(shape, rng, std=math.sqrt(2 / sum(_fans("glorot_normal", shape))))


def he_uniform(shape: Shape, rng: Generator | None = None) -> Tensor:
    """U(-a, a), a = sqrt(6 / fan_in): keeps the variance through ReLU (He et al., 2015)."""
    return _uniform(shape, rng, math.sqrt(6 / _fans("he_uniform", shape)[0]))


def he_normal(shape: Shape, rng: Generator | None = None) -> Tensor:
    """N(0, 2 / fan_in): keeps the variance through ReLU (He et al., 2015, equation 10)."""
    return normal(shape, rng, std=math.sqrt(2 / _fans("he_normal", shape)[0]))


def normal(shape: Shape, rng: Generator | None = None, *, std: float = 0.02) -> Tensor:
    """N(0, std^2); 0.02 is the DCGAN's (Radford, Metz and Chintala, 2016, section 4)."""
    return random.resolve(rng).normal(shape) * std


def zeros(shape: Shape, rng: Generator | None = None) -> Tensor:
    """All zeros; draws nothing."""
    return tensor_of_zeros(shape)


INITIALISERS: dict[str, Initialiser] = {
    "glorot": glorot_uniform,
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he": he_uniform,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "normal": normal,
    "zeros": zeros,
}


def start(init: str | Initialiser, shape: Shape, rng: Generator | None) -> Tensor:
    """The first values of a weight, by an initialiser's name or a function of (shape, rng).

    Raises ValueError for an unknown name, and for a function whose result has another shape.
    """
    if not callable(init) and init not in INITIALISERS:
        known = ", ".join(INITIALISERS)
        raise ValueError(f"init: {init!r}; expected a function of (shape, rng) or one of {known}")
    made = as_tensor((init if callable(init) else INITIALISERS[init])(shape, rng))
    if made.shape != shape:
        raise ValueError(f"init: {init!r} gave a weight {made.shape}; expected {shape}")
    weight: Tensor = made.astype("float32")
    return weight
