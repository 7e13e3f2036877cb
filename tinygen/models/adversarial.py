"""Adversarial training (Goodfellow et al., 2014, arXiv 1406.2661), whatever the networks are.

A generator G turns noise z into an image; a discriminator D gives a logit for "this image is
real". D learns to tell, G learns to be taken for real:

    min_G max_D  E log D(x) + E log(1 - D(G(z))).

In the usual non-saturating form G maximises log D(G(z)) instead, which has a slope where D is sure.
Both players may be told a label y (Mirza and Osindero, 2014, arXiv 1411.1784): the generator draws
from (z, y), and the discriminator judges whether x is a real image of y, so an image of another
class is as bad as an ugly one:

    min_G max_D  E log D(x, y) + E log(1 - D(G(z, y), y)).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .. import losses, nn, optim
from ..graph import no_grad
from ..optim import Optimizer
from ..options import above, at_least, half_open, option
from ..random import Generator
from ..sampling import Noise, Prior
from ..tensor import Tensor
from .base import ImageModel
from .contract import Draws
from .networks import Players

LossName = Literal["minimax", "non_saturating", "least_squares", "wasserstein", "hinge"]


class Adversarial(ImageModel, Draws):
    """A generator and a discriminator at play, whatever the `networks` are.

    `r1` is a penalty on D's slope at real images, which keeps the game in balance (Mescheder et
    al., 2018); it is estimated on a quarter of each batch. `gradient_penalty` holds D's slope near
    1 between real and fake images (Gulrajani et al., 2017), and `spectral_norm` divides D's weights
    by their largest singular values (Miyato et al., 2018). Where one of these bounds the slope, R1
    is left out unless it is asked for; "wasserstein", which needs a bound, has the penalty. A
    learning rate of D's own (`d_lr`): two time-scale updates (Heusel et al., 2017).

    Raises:
        ValueError: an unknown name, or a number out of its range.
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(ImageModel.Options):
        latent: int = option(100, at_least(1), "Length of the latent code.")
        prior: Prior = option("normal", help="Distribution of the noise.")
        loss: LossName = option(
            "non_saturating", help="The losses of both players.", metavar="NAME"
        )
        r1: float | None = option(
            None, at_least(0), "Weight of the slope penalty at real images.",
            shown="1, or 0 where one of the next two bounds the slope",
        )  # fmt: skip
        gradient_penalty: float | None = option(
            None, at_least(0), "Weight of the WGAN-GP penalty.", shown="0; wasserstein 10"
        )
        spectral_norm: bool = option(
            False, help="Divide the discriminator's weights by their largest singular values."
        )
        critic_steps: int = option(
            1, at_least(1),
            "Updates of the discriminator for one of the generator, each on a batch of its own.",
        )  # fmt: skip
        optimizer: Literal["adam", "sgd"] = option("adam", help="How both players are updated.")
        lr: float = option(
            2e-4, above(0), "Learning rate of both players; of SGD, 0.1 is usual.", flags=""
        )
        d_lr: float | None = option(
            None, above(0), "The discriminator's own learning rate.", shown="--lr"
        )
        betas: tuple[float, float] = option(
            (0.5, 0.999), half_open(0, 1), "Decay of Adam's two averages.", flags=""
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.gradient_penalty is None:
                needed = self.loss == "wasserstein" and not self.spectral_norm
                self._keep("gradient_penalty", 10.0 if needed else 0.0)
            if self.r1 is None:
                bounded = self.spectral_norm or self.gradient_penalty
                self._keep("r1", 0.0 if bounded else 1.0)

    value_range = (-1.0, 1.0)
    parts = ("generator", "discriminator")
    averages = ("generator",)  # the discriminator draws nothing
    epochs = 30
    batch_size = 64
    networks: ClassVar[type[Players]]
    pace: ClassVar[float] = 1.0  # the discriminator's learning rate over the generator's
    options: Any

    def build(self) -> None:
        options = self.options
        self.adversary = losses.gan(options.loss)
        self.latent = options.latent
        self.noise = Noise((options.latent,), options.prior, between=(-1.0, 1.0))
        self.batches_per_step = options.critic_steps
        self.generator = self.networks.generator(self.ends, options)
        self.discriminator = self.networks.discriminator(self.ends, options)
        if options.spectral_norm:
            bound(self.discriminator, self.init_rng)

    def optimizers(self, lr: float | None = None) -> dict[str, Optimizer]:
        """One optimizer for each player: they share no state."""
        options = self.options
        lr = options.lr if lr is None else lr

        def new(part: nn.Module, lr: float) -> Optimizer:
            if options.optimizer == "sgd":
                return optim.SGD(part.parameters(), lr=lr)
            return optim.Adam(part.parameters(), lr=lr, betas=options.betas)

        d_lr = self.pace * lr if options.d_lr is None else options.d_lr
        players = {"discriminator": (self.discriminator, d_lr), "generator": (self.generator, lr)}
        return {name: new(part, rate) for name, (part, rate) in players.items()}

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (B, H, W, C) of noise z (B, latent), as the last layer gives them."""
        images: Tensor = self.generator(self.condition(z, labels))
        return images

    def draw(self, noise: Tensor | None, *, label: Tensor | None = None) -> Tensor:
        assert noise is not None
        return self.generate(noise, label)

    def score(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The discriminator's logits (B, 1) for images (B, H, W, C)."""
        more = (self.one_hot(x, labels),) if self.conditional else ()
        logits: Tensor = self.discriminator(x, *more)
        return logits

    def penalty(self, x: Tensor, fake: Tensor, labels: Tensor | None) -> Tensor | float:
        """What the discriminator pays for its slope, by double backward."""
        total: Tensor | float = 0.0
        options = self.options
        if options.r1:
            total += options.r1 * r1_of_some(self.score, x, labels)
        if options.gradient_penalty:
            between = losses.gradient_penalty(
                lambda t: self.score(t, labels), x, fake, self.noise_rng
            )
            total += options.gradient_penalty * between
        return total

    def train_step(
        self, x: Tensor, labels: Tensor | None, optimizers: dict[str, Optimizer]
    ) -> dict[str, Tensor]:
        self.check_images(x)
        steps = self.batches_per_step
        size, rest = divmod(x.shape[0], steps)
        if rest or not size:
            raise ValueError(
                f"{self.name}: {x.shape[0]} images for {steps} critic steps, expected a multiple "
                f"of {steps}"
            )

        # The discriminator: real up, fake down. detach() keeps its loss away from the generator,
        # which is recorded for its own step only where its images are the last.
        for k in range(steps):
            real = x[k * size : (k + 1) * size]
            y = None if labels is None else labels[k * size : (k + 1) * size]
            with contextlib.nullcontext() if k == steps - 1 else no_grad():
                fake = self.generate(self.codes(size), y)
            real_logits, fake_logits = self.score(real, y), self.score(fake.detach(), y)
            d_loss = self.adversary.discriminator(real_logits, fake_logits)
            optimizers["discriminator"].zero_grad()
            (d_loss + self.penalty(real, fake.detach(), y)).backward()
            optimizers["discriminator"].step()

        # The generator: the same images, judged again by the discriminator that just learnt.
        g_loss = self.adversary.generator(self.score(fake, y))
        optimizers["generator"].zero_grad()
        g_loss.backward(inputs=self.generator.parameters())
        optimizers["generator"].step()
        return {
            "d_loss": d_loss.detach(), "g_loss": g_loss.detach(),
            "d_real": real_logits.detach().mean(), "d_fake": fake_logits.detach().mean(),
        }  # fmt: skip


def r1_of_some(score: Callable[..., Tensor], x: Tensor, labels: Tensor | None) -> Tensor:
    """The penalty on a critic's slope at a quarter of some images, by double backward."""
    n = -(-x.shape[0] // 4)
    some = None if labels is None else labels[:n]
    return losses.r1_penalty(lambda t: score(t, some), x[:n])


def bound(network: nn.Module, rng: Generator) -> None:
    """Divide the weights of the chains in a network by their largest singular values."""
    for module in list(network.named_modules().values()):
        if isinstance(module, nn.Sequential):
            module.layers = [
                nn.SpectralNorm(x, rng) if isinstance(x, (nn.Dense, nn.Conv2d)) else x
                for x in module.layers
            ]
