"""Small convolutional networks: of the VAE, of a discriminator, of the classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ... import nn
from ...options import Options as BaseOptions
from ...options import above, at_least, option
from . import Ends, channels, dense
from .dense import WIDTHS, mlp


class Coder:
    """Two strided convolutions and dense layers; the decoder mirrors them, with ReLU between.

    image - 3 x 3 x 32, halved - 3 x 3 x 64, halved - hidden
    z - hidden - coarse image x 64 - 3 x 3 x 64, doubled - 3 x 3 x 32, doubled - 3 x 3 x C, logits
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(BaseOptions):
        hidden: tuple[int, ...] = option(
            (256,), at_least(1), "Widths of the encoder's dense layers; the decoder mirrors them.",
            **WIDTHS,
        )  # fmt: skip
        width: float = option(1.0, above(0), "Scales the channels, 32 and 64.")

    @staticmethod
    def encoder(ends: Ends, options: Options) -> tuple[nn.Sequential, int]:
        rng, (first, second) = ends.rng, channels(options.width, 32, 64)
        layers = nn.Sequential(
            nn.Reshape(*ends.shape),
            nn.Conv2d(ends.shape[2], first, 3, 2, "same", rng=rng),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, 2, "same", rng=rng),
            nn.ReLU(),
            nn.Flatten(),
            *mlp((math.prod(_coarse(ends, second)), *options.hidden), nn.ReLU, rng),
        )
        return layers, options.hidden[-1]

    @staticmethod
    def decoder(ends: Ends, options: Options) -> nn.Sequential:
        rng, (first, second) = ends.rng, channels(options.width, 32, 64)
        coarse = _coarse(ends, second)
        return nn.Sequential(
            *mlp((ends.seen, *reversed(options.hidden), math.prod(coarse)), nn.ReLU, rng),
            nn.Reshape(*coarse),
            nn.ConvTranspose2d(second, second, 3, 2, "same", rng=rng),
            nn.ReLU(),
            nn.ConvTranspose2d(second, first, 3, 2, "same", rng=rng),
            nn.ReLU(),
            nn.ConvTranspose2d(first, ends.shape[2], 3, 1, "same", rng=rng),
        )


def _coarse(ends: Ends, depth: int) -> tuple[int, int, int]:
    """The shape of the image between convolutions and dense layers."""
    height, width, _ = ends.shape
    if height % 4 or width % 4:
        near = max(4, round(max(height, width) / 4) * 4)
        raise ValueError(
            f"{ends.model}: images of {height} x {width}, which it cannot halve twice; "
            f"expected sizes divisible by 4: scale the images (--size {near})"
        )
    return height // 4, width // 4, depth


class Players:
    """A dense generator against a convolutional discriminator.

        z 100 - 128 - 256 - 512 - pixels, ReLU and tanh
        image - 3 x 3 x 64, ReLU, pool - 3 x 3 x 128, ReLU, pool - 1 logit

    The generator does not know which pixels are neighbours; the discriminator looks at nothing
    else. Its convolutions are "valid", its max pools halve.
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(BaseOptions):
        hidden: tuple[int, ...] = option(
            (128, 256, 512), at_least(1), "Widths of the generator's hidden layers.", **WIDTHS
        )
        width: float = option(
            1.0, above(0), "Scales the channels of the discriminator, 64 and 128."
        )

    @staticmethod
    def generator(ends: Ends, options: Options) -> nn.Sequential:
        return dense.generator(ends, options.hidden)

    @staticmethod
    def discriminator(ends: Ends, options: Options) -> nn.Sequential:
        height, columns, last = ends.shape
        first, second = channels(options.width, 64, 128)
        rows, columns = (((n - 2) // 2 - 2) // 2 for n in (height, columns))
        if min(rows, columns) < 1:
            raise ValueError(
                f"{ends.model}: images of {height} x {ends.shape[1]}, expected 10 x 10 or more: "
                "two convolutions and two pools leave nothing of smaller ones (--size 28)"
            )
        return nn.Sequential(
            nn.Conv2d(last, first, 3, rng=ends.rng),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3, rng=ends.rng),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dense(rows * columns * second, 1, rng=ends.rng),
        )


def describer(ends: Ends, features: int, width: float, dropout: float) -> nn.Sequential:
    """From images to features: convolutions of 5 x 5 with ReLU, pools that halve, a dense layer."""
    first, second = channels(width, 16, 32)
    height, across, depth = ends.shape
    pixels = -(-height // 4) * -(-across // 4)  # "same" pooling rounds up, twice
    return nn.Sequential(
        nn.Conv2d(depth, first, 5, padding="same", init="he", rng=ends.rng),
        nn.ReLU(),
        nn.AvgPool2d(2, padding="same"),
        nn.Conv2d(first, second, 5, padding="same", init="he", rng=ends.rng),
        nn.ReLU(),
        nn.AvgPool2d(2, padding="same"),
        nn.Flatten(),
        nn.Dropout(dropout, rng=ends.masks),
        nn.Dense(pixels * second, features, init="he", rng=ends.rng),
        nn.ReLU(),
    )
