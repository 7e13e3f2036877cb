"""The conditional DCGAN: both players of dcgan.py are told the label, as in cgan.py.

The generator has the one-hot label beside its noise. The discriminator takes it by projection
(Miyato and Koyama, 2018, arXiv 1802.05637, equation 3): with h the features of the image x,

    D(x, y) = a . h + b + V[y] . h,

one score for any real image, and one for an image of y. Or it has the label as one plane a class
beside the image's channels, 1 in that of the label: then only the first layer sees it, and more of
what is drawn shows something else.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import nn
from ..ops import broadcast_to, concatenate
from ..options import option
from ..tensor import Tensor
from .adversarial import Adversarial
from .base import channels
from .dcgan import DCGAN, downward, pyramid, upward


class Projection(nn.Module):
    """score(h) + (classes(h))[label], h = features(x): the logits (n, 1)."""

    def __init__(self, features: nn.Module, score: nn.Module, classes: nn.Module) -> None:
        self.features, self.score, self.classes = features, score, classes

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Images (n, H, W, C) and one-hot labels (n, classes)."""
        h = self.features(x)
        logits: Tensor = self.score(h) + (self.classes(h) * label).sum(axis=1, keepdims=True)
        return logits


class CDCGAN(Adversarial):
    """DCGAN with labels."""

    @dataclass(frozen=True, kw_only=True)
    class Options(DCGAN.Options):
        projection: bool = option(
            True, help="Give the discriminator the label by projection, or as planes.",
            flags="--projection/--planes",
        )  # fmt: skip

    name = "cdcgan"
    conditional = True
    ema = DCGAN.ema
    options: Options

    def build(self) -> None:
        super().build()
        projection, rng = self.options.projection, self.init_rng
        sizes = channels(self.options.width, *pyramid(self.name, self.shape))
        self.generator = upward(self.latent + self.classes, sizes, self.shape, rng)
        height, columns, last = self.shape
        seen = (height, columns, last if projection else last + self.classes)
        layers, features = downward(seen, sizes, self.options.dropout, rng, self.dropout_rng)
        score = nn.Dense(features, 1, rng=rng)
        if projection:
            classes = nn.Dense(features, self.classes, bias=False, rng=rng)
            self.discriminator = Projection(
                self.critic(*layers), self.critic(score), self.critic(classes)
            )
        else:
            self.discriminator = self.critic(*layers, score)

    def judge(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        label = self.one_hot(x, labels)
        if self.options.projection:
            logits: Tensor = self.discriminator(x, label)
        else:
            planes = broadcast_to(
                label.reshape(-1, 1, 1, self.classes), (*x.shape[:3], self.classes)
            )
            logits = self.discriminator(concatenate([x, planes], axis=3))
        return logits
