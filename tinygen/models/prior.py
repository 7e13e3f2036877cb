"""The distributions that latent codes are drawn from, and the codes of the pictures of a seed."""

from __future__ import annotations

from typing import Any, Literal

from numpy.typing import NDArray

from ..random import Generator
from ..tensor import Tensor

Prior = Literal["normal", "uniform"]  # N(0, 1), uniform on [-1, 1)
PICTURES = "pictures"  # the stream of a seed that codes of its pictures are drawn from


def codes(prior: str, n: int, latent: int, rng: Generator) -> Tensor:
    """n codes (n, latent) from a Prior; code i does not depend on n."""
    if prior == "uniform":
        return 2 * rng.uniform((n, latent)) - 1
    return rng.normal((n, latent))


def codes_of_seed(prior: str, n: int, latent: int, seed: int) -> NDArray[Any]:
    """The codes of pictures 0 to n - 1 of a seed, the same wherever they are drawn."""
    array: NDArray[Any] = codes(prior, n, latent, Generator(seed).stream(PICTURES)).numpy().copy()
    return array
