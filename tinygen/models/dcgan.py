"""The deep convolutional GAN (Radford, Metz and Chintala, 2016, arXiv 1511.06434).

Both players are convolutional: the generator draws a coarse image of many channels and doubles its
size while it halves the channels; the discriminator goes the other way. The layers for 28 x 28
pixels are those of TensorFlow's DCGAN tutorial:

    z -> 7 x 7 x 256 -> 7 x 7 x 128 -> 14 x 14 x 64 -> 28 x 28 x C
    28 x 28 x C -> 14 x 14 x 64 -> 7 x 7 x 128 -> 1 logit
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .. import nn
from ..options import above, half_open, option
from ..random import Generator
from .adversarial import Adversarial
from .base import Shape, channels


class DCGAN(Adversarial):
    """Transposed convolutions of 5 x 5 with batch normalisation against strided convolutions.

    Sizes: height and width divisible by 4 up to 32 pixels, by 8 up to 64 (one doubling more, from
    512 channels), by 16 up to 128, and so on; grey or colour.

    The tutorial's own training is `batch_size` 256, `lr` and `d_lr` 1e-4, `betas` (0.9, 0.999),
    `dropout` 0.3, `r1` 0 and no average of the weights. Here the discriminator learns four times as
    fast as the generator: at equal pace it cannot tell real from fake, and digits stay crooked.
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(Adversarial.Options):
        pace: ClassVar[float] = 4.0

        width: float = option(
            1.0, above(0), "Scales the channels between image and noise.",
            on_processor=0.5,  # a quarter of the arithmetic
        )  # fmt: skip
        dropout: float = option(
            0.0, half_open(0, 1), "Dropout of the discriminator, after each convolution."
        )
        lr: float = option(5e-4, above(0), "Learning rate of the generator.", flags="")
        d_lr: float | None = option(
            None, above(0), "The discriminator's own learning rate.", shown="four times --lr"
        )

    name = "dcgan"
    with_labels = "cdcgan"
    ema = 0.999
    options: Options

    def build(self) -> None:
        super().build()
        width, dropout = self.options.width, self.options.dropout
        sizes = channels(width, *pyramid(self.name, self.shape))
        self.generator = upward(self.latent, sizes, self.shape, self.init_rng)
        layers, features = downward(self.shape, sizes, dropout, self.init_rng, self.dropout_rng)
        self.discriminator = self.critic(*layers, nn.Dense(features, 1, rng=self.init_rng))


def pyramid(name: str, shape: Shape) -> list[int]:
    """Channels from the coarsest image, at most 8 x 8, to the last but one: 64 there, doubling.

    Raises ValueError for sizes that so many doublings do not reach.
    """
    height, width, _ = shape
    doublings = max(2, math.ceil(math.log2(max(height, width) / 8)))
    unit = 2**doublings
    if height % unit or width % unit:
        below, above = (
            n * unit for n in (max(height, width) // unit, -(-max(height, width) // unit))
        )
        near = f"{below} or {above}" if 0 < below < above else f"{above}"
        raise ValueError(
            f"{name}: images of {height} x {width}, which doubling a coarse image does not reach; "
            "expected sizes divisible by 4 up to 32, by 8 up to 64, by 16 up to 128: scale the "
            f"images to {near} (--size {near.split()[-1]})"
        )
    return [64 * 2**k for k in range(doublings, -1, -1)]


def upward(inputs: int, sizes: Sequence[int], shape: Shape, rng: Generator) -> nn.Sequential:
    """The generator: inputs -> a coarse image of sizes[0] channels -> ... -> an image."""
    height, width, last = shape
    unit = 2 ** (len(sizes) - 1)
    coarse = (height // unit, width // unit, sizes[0])
    features = math.prod(coarse)
    layers: list[nn.Module] = [
        nn.Dense(inputs, features, bias=False, rng=rng),
        nn.BatchNorm(features),
        nn.LeakyReLU(0.3),
        nn.Reshape(*coarse),
    ]
    stride = 1  # the first convolution mixes the coarse image, each of the others doubles it
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [
            nn.ConvTranspose2d(n_in, n_out, 5, stride, "same", bias=False, rng=rng),
            nn.BatchNorm(n_out),
            nn.LeakyReLU(0.3),
        ]
        stride = 2
    out = nn.ConvTranspose2d(sizes[-1], last, 5, 2, "same", bias=False, rng=rng)
    return nn.Sequential(*layers, out, nn.Tanh())


def downward(
    shape: Shape, sizes: Sequence[int], dropout: float, rng: Generator, dropout_rng: Generator
) -> tuple[list[nn.Module], int]:
    """Layers that halve an image down to the coarsest, flattened; and how many features that has.

    Convolutions with a bias, LeakyReLU and dropout: no normalisation, so that the slope with regard
    to an image is that image's own, as penalties on it assume.
    """
    height, width, last = shape
    layers: list[nn.Module] = []
    unit = 2 ** (len(sizes) - 1)
    for n_in, n_out in itertools.pairwise([last, *reversed(sizes[1:])]):
        layers += [
            nn.Conv2d(n_in, n_out, 5, 2, "same", rng=rng),
            nn.LeakyReLU(0.3),
            nn.Dropout(dropout, rng=dropout_rng),
        ]
    layers.append(nn.Flatten())
    return layers, height // unit * (width // unit) * sizes[1]
