"""Adversarial training (Goodfellow et al., 2014, arXiv 1406.2661), whatever the networks are.

A generator G turns noise z into an image; a discriminator D gives a logit for "this image is
real". D learns to tell, G learns to be taken for real:

    min_G max_D  E log D(x) + E log(1 - D(G(z))).

In the usual non-saturating form G maximises log D(G(z)) instead, which has a slope where D is sure.
The networks have a file each: gan.py, dcgan.py and conv_gan.py, with labels cgan.py and cdcgan.py.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .. import losses, nn, optim
from ..graph import no_grad
from ..optim import Optimizer
from ..random import Generator
from ..tensor import Tensor
from .base import ImageModel
from .contract import Draws, Noise
from .prior import PRIORS

OPTIMIZERS = ("adam", "sgd")


class Adversarial(ImageModel, Draws):
    """A generator and a discriminator at play; a subclass sets both, as modules of these names.

    Args:
        own: the options of the subclass, by name.
        prior: distribution of the noise, "normal" for N(0, 1) or "uniform" on [-1, 1).
        loss: a name of losses.gan.
        r1: weight of a penalty on D's slope at real images, which keeps the game in balance
            (Mescheder et al., 2018); it is estimated on a quarter of each batch. None takes 1, or
            0 where D's slope is bounded otherwise: by spectral_norm or a gradient penalty.
        gradient_penalty: weight of a penalty that holds D's slope near 1 between real and fake
            images (Gulrajani et al., 2017). None takes 10 for "wasserstein" (which asks for a
            bounded slope) without spectral_norm, else 0.
        spectral_norm: whether D's weights are divided by their largest singular values (Miyato
            et al., 2018).
        critic_steps: updates of D for one of G, each on a batch and on noise of its own: a step of
            training takes so many batches.
        optimizer: "adam" or "sgd"; the usual learning rates of the latter are 0.1 and 0.01.
        lr: learning rate of both players.
        d_lr: D's own (Heusel et al., 2017, two time-scale updates); None for `d_pace` times lr.
        betas: of Adam.

    Raises:
        ValueError: an unknown name, or a number out of its range.
    """

    value_range = (-1.0, 1.0)
    parts = ("generator", "discriminator")
    averages = ("generator",)  # the discriminator draws nothing
    epochs = 30
    batch_size = 64
    d_pace: ClassVar[float] = 1.0  # the learning rate of D over that of G
    generator: nn.Module
    discriminator: nn.Module

    def __init__(
        self, shape: Sequence[int], own: dict[str, Any], *, latent: int = 100,
        prior: str = "normal", loss: str = "non_saturating", r1: float | None = None,
        gradient_penalty: float | None = None, spectral_norm: bool = False, critic_steps: int = 1,
        optimizer: str = "adam", lr: float = 2e-4, d_lr: float | None = None,
        betas: Sequence[float] = (0.5, 0.999), classes: int | None = None,
        rng: Generator | None = None,
    ) -> None:  # fmt: skip
        self.adversary = losses.gan(loss)
        if gradient_penalty is None:
            gradient_penalty = 10.0 if loss == "wasserstein" and not spectral_norm else 0.0
        if r1 is None:
            r1 = 0.0 if spectral_norm or gradient_penalty else 1.0
        for what, value, ok, expected in (
            ("prior", prior, prior in PRIORS, f"one of {', '.join(PRIORS)}"),
            ("optimizer", optimizer, optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
            ("r1", r1, 0 <= r1 < math.inf, "a finite number >= 0"),
            ("gradient_penalty", gradient_penalty, 0 <= gradient_penalty < math.inf,
             "a finite number >= 0"),
            ("critic_steps", critic_steps, type(critic_steps) is int and critic_steps >= 1,
             "an integer of 1 or more"),
            ("betas", betas, np.shape(betas) == (2,) and all(0 <= b < 1 for b in betas),
             "two numbers in [0, 1)"),
            ("lr", lr, 0 < lr < math.inf, "above 0"),
            ("d_lr", d_lr, d_lr is None or 0 < d_lr < math.inf, "above 0, or None"),
        ):  # fmt: skip
            if not ok:
                raise ValueError(f"{self.name}: {what} {value!r}, expected {expected}")
        options = {
            **own, "latent": latent, "prior": prior, "loss": loss, "r1": r1,
            "gradient_penalty": gradient_penalty, "spectral_norm": spectral_norm,
            "critic_steps": critic_steps, "optimizer": optimizer, "lr": lr, "d_lr": d_lr,
            "betas": list(betas),
        }  # fmt: skip
        super().__init__(shape, classes, latent, rng, options)
        self.noise = Noise((latent,), prior, between=(-1.0, 1.0))
        self.optimizer, self.lr, self.d_lr = optimizer, lr, d_lr
        self.betas = (betas[0], betas[1])
        self.r1, self.gradient_penalty, self.spectral_norm = r1, gradient_penalty, spectral_norm
        self.batches_per_step = critic_steps

    def critic(self, *layers: nn.Module) -> nn.Sequential:
        """Layers of a discriminator one after the other, spectrally normalised if it is to be."""
        if self.spectral_norm:
            kinds, rng = (nn.Dense, nn.Conv2d), self.init_rng
            layers = tuple(nn.SpectralNorm(x, rng) if isinstance(x, kinds) else x for x in layers)
        return nn.Sequential(*layers)

    def optimizers(self, lr: float | None = None) -> dict[str, Optimizer]:
        """One optimizer for each player: they share no state."""
        lr = self.lr if lr is None else lr

        def new(part: nn.Module, lr: float) -> Optimizer:
            if self.optimizer == "sgd":
                return optim.SGD(part.parameters(), lr=lr)
            return optim.Adam(part.parameters(), lr=lr, betas=self.betas)

        d_lr = self.d_pace * lr if self.d_lr is None else self.d_lr
        players = {"discriminator": (self.discriminator, d_lr), "generator": (self.generator, lr)}
        return {name: new(part, rate) for name, (part, rate) in players.items()}

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.generator(self.condition(z, labels))
        return images

    def draw(self, noise: Tensor | None, *, label: Tensor | None = None) -> Tensor:
        assert noise is not None
        return self.generate(noise, label)

    def network(self) -> tuple[nn.Module, str]:
        """From codes (and labels) to images, and the activation after it."""
        return self.generator, ""

    def judge(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The discriminator's logits (B, 1) for images (B, H, W, C)."""
        logits: Tensor = self.discriminator(x)
        return logits

    def penalty(self, x: Tensor, fake: Tensor, labels: Tensor | None) -> Tensor | float:
        """What the discriminator pays for its slope, by double backward."""
        total: Tensor | float = 0.0
        if self.r1:
            n = -(-x.shape[0] // 4)
            some = None if labels is None else labels[:n]
            total += self.r1 * losses.r1_penalty(lambda t: self.judge(t, some), x[:n])
        if self.gradient_penalty:
            between = losses.gradient_penalty(
                lambda t: self.judge(t, labels), x, fake, self.noise_rng
            )
            total += self.gradient_penalty * between
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
            real_logits, fake_logits = self.judge(real, y), self.judge(fake.detach(), y)
            d_loss = self.adversary.discriminator(real_logits, fake_logits)
            optimizers["discriminator"].zero_grad()
            (d_loss + self.penalty(real, fake.detach(), y)).backward()
            optimizers["discriminator"].step()

        # The generator: the same images, judged again by the discriminator that just learnt.
        g_loss = self.adversary.generator(self.judge(fake, y))
        optimizers["generator"].zero_grad()
        g_loss.backward(inputs=self.generator.parameters())
        optimizers["generator"].step()
        return {
            "d_loss": d_loss.detach(), "g_loss": g_loss.detach(),
            "d_real": real_logits.detach().mean(), "d_fake": fake_logits.detach().mean(),
        }  # fmt: skip
