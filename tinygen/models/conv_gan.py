"""A dense generator against a convolutional discriminator.

    z 100 - 128 - 256 - 512 - pixels, ReLU and tanh
    image - 3 x 3 x 64, ReLU, pool - 3 x 3 x 128, ReLU, pool - 1 logit

The generator does not know which pixels are neighbours; the discriminator looks at nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import nn
from ..options import above, at_least, option
from .adversarial import Adversarial
from .base import channels, mlp


class ConvGAN(Adversarial):
    """Dense generator; the discriminator's convolutions are "valid", its max pools halve.

    Raises:
        ValueError: images below 10 x 10, of which the discriminator leaves nothing.
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(Adversarial.Options):
        hidden: tuple[int, ...] = option(
            (128, 256, 512), at_least(1), "Widths of the generator's hidden layers.",
            form="widths separated by commas: 512,256", metavar="N,N,...",
        )  # fmt: skip
        width: float = option(
            1.0, above(0), "Scales the channels of the discriminator, 64 and 128."
        )
        lr: float = option(1e-4, above(0), "Learning rate of both players.", flags="")

    name = "conv-gan"
    with_labels = "cdcgan"
    batch_size = 128
    ema = 0.999

    options: Options

    def build(self) -> None:
        super().build()
        sizes = self.options.hidden
        height, columns, last = self.shape
        if min(height, columns) < 10:
            raise ValueError(
                f"{self.name}: images of {height} x {columns}, expected 10 x 10 or more: two "
                "convolutions and two pools leave nothing of smaller ones (--size 28)"
            )
        first, second = channels(self.options.width, 64, 128)
        rows, columns = (((n - 2) // 2 - 2) // 2 for n in (height, columns))
        rng = self.init_rng
        self.generator = nn.Sequential(
            *mlp((self.latent, *sizes), nn.ReLU, rng),
            nn.Dense(sizes[-1], self.pixels, rng=rng),
            nn.Tanh(),
            nn.Reshape(*self.shape),
        )
        self.discriminator = self.critic(
            nn.Conv2d(last, first, 3, rng=rng),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 3, rng=rng),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dense(rows * columns * second, 1, rng=rng),
        )
