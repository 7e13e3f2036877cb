"""The generative adversarial network of dense layers; adversarial.py is how it is trained."""

from __future__ import annotations

from dataclasses import dataclass

from .. import nn
from ..options import at_least, half_open, option
from ..tensor import Tensor
from .adversarial import Adversarial
from .base import mlp


class GAN(Adversarial):
    """Dense GAN: latent-hidden-pixels with ReLU and tanh against pixels-hidden reversed-1.

    The discriminator has LeakyReLU of slope 0.2 and dropout after each hidden layer, and returns
    logits. Weights start from N(0, 0.02^2): with wider ones the discriminator wins early and the
    modes collapse.
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(Adversarial.Options):
        hidden: tuple[int, ...] = option(
            (256, 512, 1024), at_least(1), "Widths of the generator's hidden layers.",
            form="widths separated by commas: 512,256", metavar="N,N,...",
        )  # fmt: skip
        dropout: float = option(0.3, half_open(0, 1), "Dropout of the discriminator.")

    name = "gan"
    with_labels = "cgan"

    options: Options

    def build(self) -> None:
        super().build()
        sizes, rng = self.options.hidden, self.init_rng
        self.generator = nn.Sequential(
            *mlp((self.latent + self.classes, *sizes), nn.ReLU, rng, init="normal"),
            nn.Dense(sizes[-1], self.pixels, init="normal", rng=rng),
            nn.Tanh(),
            nn.Reshape(*self.shape),
        )
        self.discriminator = self.critic(
            *mlp(
                (self.pixels + self.classes, *reversed(sizes)), nn.LeakyReLU(0.2), rng,
                dropout=self.options.dropout, dropout_rng=self.dropout_rng, init="normal",
            ),
            nn.Dense(sizes[0], 1, init="normal", rng=rng),
        )  # fmt: skip

    def judge(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        flat = x.reshape(x.shape[0], self.pixels)
        logits: Tensor = self.discriminator(self.condition(flat, labels))
        return logits
