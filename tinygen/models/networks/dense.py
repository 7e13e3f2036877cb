"""Dense networks: every number of an image is connected with every number of the next layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ... import nn
from ...nn.init import Initialiser
from ...ops import concatenate
from ...options import Options as BaseOptions
from ...options import at_least, half_open, option
from ...random import Generator
from ...tensor import Tensor
from . import Ends

WIDTHS = {"form": "widths separated by commas: 512,256", "metavar": "N,N,..."}


class Coder:
    """Encoder pixels-hidden, decoder latent-hidden reversed-pixels, ReLU between."""

    @dataclass(frozen=True, kw_only=True)
    class Options(BaseOptions):
        hidden: tuple[int, ...] = option(
            (400,), at_least(1), "Widths of the encoder's hidden layers; the decoder mirrors them.",
            **WIDTHS,
        )  # fmt: skip

    @staticmethod
    def encoder(ends: Ends, options: Options) -> tuple[nn.Sequential, int]:
        sizes = options.hidden
        layers = mlp((ends.pixels + ends.classes, *sizes), nn.ReLU, ends.rng)
        return nn.Sequential(*layers), sizes[-1]

    @staticmethod
    def decoder(ends: Ends, options: Options) -> nn.Sequential:
        sizes = options.hidden[::-1]
        return nn.Sequential(
            *mlp((ends.seen, *sizes), nn.ReLU, ends.rng),
            nn.Dense(sizes[-1], ends.pixels, rng=ends.rng),
            nn.Reshape(*ends.shape),
        )


class Players:
    """Generator latent-hidden-pixels with ReLU and tanh against pixels-hidden reversed-1.

    The discriminator has LeakyReLU of slope 0.2 and dropout after each hidden layer. Weights start
    from N(0, 0.02^2): with wider ones the discriminator wins early and the modes collapse.
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(BaseOptions):
        hidden: tuple[int, ...] = option(
            (256, 512, 1024), at_least(1), "Widths of the generator's hidden layers.", **WIDTHS
        )
        dropout: float = option(0.3, half_open(0, 1), "Dropout of the discriminator.")

    @staticmethod
    def generator(ends: Ends, options: Options) -> nn.Sequential:
        return generator(ends, options.hidden, init="normal")

    @staticmethod
    def discriminator(ends: Ends, options: Options) -> nn.Sequential:
        sizes = options.hidden
        layers = mlp(
            (ends.pixels + ends.classes, *reversed(sizes)), nn.LeakyReLU(0.2), ends.rng,
            dropout=options.dropout, dropout_rng=ends.masks, init="normal",
        )  # fmt: skip
        return Flat(*layers, nn.Dense(sizes[0], 1, init="normal", rng=ends.rng))


class Flat(nn.Sequential):
    """Layers for flat images (n, H W C), with the label beside them if there is one."""

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, H, W, C) and one-hot labels (n, classes)."""
        flat = x.reshape(x.shape[0], math.prod(x.shape[1:]))
        result: Tensor = super().forward(flat if label is None else beside(flat, label))
        return result


def generator(
    ends: Ends, hidden: Sequence[int], init: str | Initialiser = "glorot"
) -> nn.Sequential:
    """latent-hidden-pixels with ReLU, and tanh at the end."""
    return nn.Sequential(
        *mlp((ends.seen, *hidden), nn.ReLU, ends.rng, init=init),
        nn.Dense(hidden[-1], ends.pixels, init=init, rng=ends.rng),
        nn.Tanh(),
        nn.Reshape(*ends.shape),
    )


def beside(x: Tensor, label: Tensor) -> Tensor:
    """x (n, k) with the one-hot label beside it, (n, k + classes).

    The label's 1 is written as sqrt(k), which makes it as long as k numbers of size 1: a lone 1
    beside hundreds of pixels would be overlooked for long.
    """
    return concatenate([x, label * math.sqrt(x.shape[1])], axis=1)


def mlp(
    sizes: Sequence[int],
    activation: type[nn.Module] | nn.Module,
    rng: Generator,
    *,
    dropout: float = 0.0,
    dropout_rng: Generator | None = None,
    init: str | Initialiser = "glorot",
) -> list[nn.Module]:
    """Dense layers of the given widths, each followed by the activation (and dropout)."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers.append(nn.Dense(n_in, n_out, init=init, rng=rng))
        layers.append(activation if isinstance(activation, nn.Module) else activation())
        if dropout:
            layers.append(nn.Dropout(dropout, rng=dropout_rng))
    return layers
