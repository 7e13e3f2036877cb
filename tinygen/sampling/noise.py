"""What a drawing starts from: noise of a shape and a law, and that of the pictures of a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from ..backend import use_backend
from ..random import Generator
from ..tensor import Tensor

Prior = Literal["normal", "uniform"]  # of latent codes: N(0, 1), uniform on [-1, 1)
PICTURES = "pictures"  # the stream of a seed that the noise of its pictures is drawn from


@dataclass(frozen=True)
class Noise:
    """What a drawing starts from: for each image an array of `shape`.

    Attributes:
        law: "normal", N(0, 1); "uniform" on `between`.
        smooth: whether a walk from one to another means something: interpolation, sliders.
    """

    shape: tuple[int, ...]
    law: str = "normal"
    smooth: bool = True
    between: tuple[float, float] = (0.0, 1.0)

    def draw(self, n: int, rng: Generator) -> Tensor:
        """(n, *shape), float32; entry i does not depend on n."""
        if self.law == "normal":
            return rng.normal((n, *self.shape))
        low, high = self.between
        uniform = rng.uniform((n, *self.shape))
        return uniform if self.between == (0.0, 1.0) else (high - low) * uniform + low

    def of_seed(self, n: int, seed: int) -> NDArray[Any]:
        """The noise of pictures 0 to n - 1 of a seed, the same wherever they are drawn."""
        with use_backend("numpy"):
            array: NDArray[Any] = self.draw(n, Generator(seed).stream(PICTURES)).numpy().copy()
        return array

    @property
    def reach(self) -> float:
        """How far from 0 a number of it goes, but for rare ones."""
        return 3.0 if self.law == "normal" else max(map(abs, self.between))


def codes_of_seed(prior: str, n: int, latent: int, seed: int) -> NDArray[Any]:
    """The codes of pictures 0 to n - 1 of a seed, from a Prior."""
    return Noise((latent,), prior, between=(-1.0, 1.0)).of_seed(n, seed)
