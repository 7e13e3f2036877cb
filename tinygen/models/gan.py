"""The generative adversarial network of dense layers; adversarial.py is how it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import nn
from ..tensor import Tensor
from .adversarial import Adversarial
from .base import mlp, widths


class GAN(Adversarial):
    """Dense GAN: latent-hidden-pixels with ReLU and tanh against pixels-hidden reversed-1.

    The discriminator has LeakyReLU of slope 0.2 and dropout after each hidden layer, and returns
    logits. Weights start from N(0, 0.02^2): with wider ones the discriminator wins early and the
    modes collapse. The other arguments are those of Adversarial.
    """

    name = "gan"
    with_labels = "cgan"

    def __init__(
        self, shape: Sequence[int], *, hidden: Sequence[int] = (256, 512, 1024),
        dropout: float = 0.3, **game: Any,
    ) -> None:  # fmt: skip
        sizes = widths(self.name, hidden)
        super().__init__(shape, {"hidden": list(sizes), "dropout": dropout}, **game)
        rng = self.init_rng
        self.generator = nn.Sequential(
            *mlp((self.latent + self.classes, *sizes), nn.ReLU, rng, init="normal"),
            nn.Dense(sizes[-1], self.pixels, init="normal", rng=rng),
            nn.Tanh(),
            nn.Reshape(*self.shape),
        )
        self.discriminator = self.critic(
            *mlp(
                (self.pixels + self.classes, *reversed(sizes)), nn.LeakyReLU(0.2), rng,
                dropout=dropout, dropout_rng=self.dropout_rng, init="normal",
            ),
            nn.Dense(sizes[0], 1, init="normal", rng=rng),
        )  # fmt: skip

    def judge(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        flat = x.reshape(x.shape[0], self.pixels)
        logits: Tensor = self.discriminator(self.condition(flat, labels))
        return logits
