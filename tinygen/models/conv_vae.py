"""The variational autoencoder of vae.py with convolutional networks.

image - 3 x 3 x 32, halved - 3 x 3 x 64, halved - hidden - (mu, logvar)
z - hidden - coarse image x 64 - 3 x 3 x 64, doubled - 3 x 3 x 32, doubled - 3 x 3 x C, logits
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .. import nn
from ..options import above, at_least, option
from .base import channels, mlp
from .vae import VAE


class ConvVAE(VAE):
    """Two strided convolutions and dense layers; the decoder mirrors them, with ReLU between.

    Raises:
        ValueError: height or width not divisible by 4.
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(VAE.Options):
        hidden: tuple[int, ...] = option(
            (256,), at_least(1), "Widths of the encoder's dense layers; the decoder mirrors them.",
            form="widths separated by commas: 512,256", metavar="N,N,...",
        )  # fmt: skip
        width: float = option(1.0, above(0), "Scales the channels, 32 and 64.")

    name = "conv-vae"

    options: Options

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the two convolutions."""
        return channels(self.options.width, 32, 64)

    def coarse(self) -> tuple[int, int, int]:
        """The shape of the image between convolutions and dense layers."""
        height, width, _ = self.shape
        if height % 4 or width % 4:
            near = max(4, round(max(height, width) / 4) * 4)
            raise ValueError(
                f"{self.name}: images of {height} x {width}, which it cannot halve twice; "
                f"expected sizes divisible by 4: scale the images (--size {near})"
            )
        return height // 4, width // 4, self.channels[1]

    def new_encoder(self, sizes: Sequence[int]) -> nn.Sequential:
        rng, (first, second) = self.init_rng, self.channels
        return nn.Sequential(
            nn.Reshape(*self.shape),
            nn.Conv2d(self.shape[2], first, 3, 2, "same", rng=rng),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, 2, "same", rng=rng),
            nn.ReLU(),
            nn.Flatten(),
            *mlp((math.prod(self.coarse()), *sizes), nn.ReLU, rng),
        )

    def new_decoder(self, sizes: Sequence[int]) -> nn.Sequential:
        rng, (first, second) = self.init_rng, self.channels
        return nn.Sequential(
            *mlp((self.latent, *reversed(sizes), math.prod(self.coarse())), nn.ReLU, rng),
            nn.Reshape(*self.coarse()),
            nn.ConvTranspose2d(second, second, 3, 2, "same", rng=rng),
            nn.ReLU(),
            nn.ConvTranspose2d(second, first, 3, 2, "same", rng=rng),
            nn.ReLU(),
            nn.ConvTranspose2d(first, self.shape[2], 3, 1, "same", rng=rng),
        )
