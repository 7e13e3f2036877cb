"""Pyramids of images (Radford, Metz and Chintala, 2016, arXiv 1511.06434).

The generator draws a coarse image of many channels and doubles its size while it halves the
channels; the discriminator goes the other way. The layers for 28 x 28 pixels are those of
TensorFlow's DCGAN tutorial:

    z -> 7 x 7 x 256 -> 7 x 7 x 128 -> 14 x 14 x 64 -> 28 x 28 x C
    28 x 28 x C -> 14 x 14 x 64 -> 7 x 7 x 128 -> 1 logit

With labels the generator has the one-hot label beside its noise. The discriminator takes it by
projection (Miyato and Koyama, 2018, arXiv 1802.05637, equation 3): with h the features of x,

    D(x, y) = a . h + b + V[y] . h,

one score for any real image, and one for an image of y. Or it has the label as one plane a class
beside the image's channels, 1 in that of the label: then only the first layer sees it, and more of
what is drawn shows something else.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ... import nn
from ...ops import broadcast_to, concatenate
from ...options import Options as BaseOptions
from ...options import above, half_open, option
from ...random import Generator
from ...tensor import Tensor
from . import Ends, Shape, channels


class Players:
    """Transposed convolutions of 5 x 5 with batch normalisation against strided convolutions.

    Sizes: height and width divisible by 4 up to 32 pixels, by 8 up to 64 (one doubling more, from
    512 channels), by 16 up to 128, and so on; grey or colour.
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(BaseOptions):
        width: float = option(
            1.0, above(0), "Scales the channels between image and noise.",
            on_processor=0.5,  # a quarter of the arithmetic
        )  # fmt: skip
        dropout: float = option(
            0.0, half_open(0, 1), "Dropout of the discriminator, after each convolution."
        )

    @staticmethod
    def generator(ends: Ends, options: Options) -> nn.Sequential:
        sizes = channels(options.width, *pyramid(ends.model, ends.shape))
        return upward(ends.seen, sizes, ends.shape, ends.rng)

    @staticmethod
    def discriminator(ends: Ends, options: Options) -> nn.Module:
        layers, features = _judging(ends, options)
        return nn.Sequential(*layers, nn.Dense(features, 1, rng=ends.rng))


class LabelledPlayers(Players):
    """Both players receive the label."""

    @dataclass(frozen=True, kw_only=True)
    class Options(Players.Options):
        projection: bool = option(
            True, help="Give the discriminator the label by projection, or as planes.",
            flags="--projection/--planes",
        )  # fmt: skip

    @staticmethod
    def discriminator(ends: Ends, options: Players.Options) -> nn.Module:
        assert isinstance(options, LabelledPlayers.Options)
        if not options.projection:
            layers, features = _judging(ends, options, more=ends.classes)
            return Planes(*layers, nn.Dense(features, 1, rng=ends.rng))
        layers, features = _judging(ends, options)
        score = nn.Dense(features, 1, rng=ends.rng)
        classes = nn.Dense(features, ends.classes, bias=False, rng=ends.rng)
        return Projection(nn.Sequential(*layers), nn.Sequential(score), nn.Sequential(classes))


def _judging(ends: Ends, options: Players.Options, more: int = 0) -> tuple[list[nn.Module], int]:
    """`downward` for images with so many channels more."""
    height, width, last = ends.shape
    sizes = channels(options.width, *pyramid(ends.model, ends.shape))
    shape = (height, width, last + more)
    return downward(shape, sizes, options.dropout, ends.rng, ends.masks)


class Projection(nn.Module):
    """score(h) + (classes(h))[label], h = features(x): the logits (n, 1)."""

    def __init__(self, features: nn.Module, score: nn.Module, classes: nn.Module) -> None:
        self.features, self.score, self.classes = features, score, classes

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Images (n, H, W, C) and one-hot labels (n, classes)."""
        h = self.features(x)
        logits: Tensor = self.score(h) + (self.classes(h) * label).sum(axis=1, keepdims=True)
        return logits


class Planes(nn.Sequential):
    """Layers for images with a plane a class beside their channels, 1 in that of the label."""

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, H, W, C) and one-hot labels (n, classes)."""
        assert label is not None
        count = label.shape[1]
        planes = broadcast_to(label.reshape(-1, 1, 1, count), (*x.shape[:3], count))
        logits: Tensor = super().forward(concatenate([x, planes], axis=3))
        return logits


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
