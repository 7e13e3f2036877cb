"""A dense generator against a convolutional discriminator.

    z 100 - 128 - 256 - 512 - pixels, ReLU and tanh
    image - 3 x 3 x 64, ReLU, pool - 3 x 3 x 128, ReLU, pool - 1 logit

The generator does not know which pixels are neighbours; the discriminator looks at nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import nn
from .adversarial import Adversarial
from .base import channels, mlp, widths


class ConvGAN(Adversarial):
    """Dense generator; the discriminator's convolutions are "valid", its max pools halve.

    Args:
        hidden: widths of the generator.
        width: scales the channels of the discriminator, 64 and 128.
        game: the other arguments, those of Adversarial.

    Raises:
        ValueError: images below 10 x 10, of which the discriminator leaves nothing.
    """

    name = "conv-gan"
    with_labels = "cdcgan"
    batch_size = 128
    ema = 0.999

    def __init__(
        self, shape: Sequence[int], *, hidden: Sequence[int] = (128, 256, 512), width: float = 1.0,
        lr: float = 1e-4, **game: Any,
    ) -> None:  # fmt: skip
        sizes = widths(self.name, hidden)
        super().__init__(shape, {"hidden": list(sizes), "width": width}, lr=lr, **game)
        height, columns, last = self.shape
        if min(height, columns) < 10:
            raise ValueError(
                f"{self.name}: images of {height} x {columns}, expected 10 x 10 or more: two "
                "convolutions and two pools leave nothing of smaller ones (--size 28)"
            )
        first, second = channels(self.name, width, 64, 128)
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
