"""The generative adversarial network (Goodfellow et al., 2014, arXiv 1406.2661), of dense layers.

A generator G turns noise z into an image; a discriminator D gives a logit for "this image is
real". D learns to tell, G learns to be taken for real:

    min_G max_D  E log D(x) + E log(1 - D(G(z))).

In the usual non-saturating form G maximises log D(G(z)) instead, which has a slope where D is sure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import losses, nn, optim
from ..optim import Optimizer
from ..random import Generator
from ..tensor import Tensor
from .base import Model, mlp, widths

PRIORS = ("normal", "uniform")
OPTIMIZERS = ("adam", "sgd")


class GAN(Model):
    """Dense GAN: latent-hidden-pixels with ReLU and tanh against pixels-hidden reversed-1.

    The discriminator has LeakyReLU of slope 0.2 and dropout after each hidden layer, and returns
    logits. `prior` of the noise is "normal", N(0, 1), or "uniform" on [-1, 1). `loss` is a name
    of losses.gan. With SGD the usual learning rates are 0.1 and 0.01; with Adam 2e-4. Weights
    start from N(0, 0.02^2): with wider ones the discriminator wins early and the modes collapse.

    `r1` weighs a penalty on the discriminator's slope at real images, which keeps the game in
    balance (Mescheder et al., 2018); it is estimated on a quarter of each batch. For the
    Wasserstein loss the critic's slope is held near 1 by `gradient_penalty` instead (Gulrajani et
    al., 2017). None takes 1 and 0, for "wasserstein" 0 and 10; 0 switches a penalty off.
    """

    name = "gan"
    value_range = (-1.0, 1.0)
    epochs = 30
    batch_size = 64

    def __init__(
        self,
        shape: Sequence[int],
        *,
        hidden: Sequence[int] = (256, 512, 1024),
        latent: int = 100,
        prior: str = "normal",
        loss: str = "non_saturating",
        dropout: float = 0.3,
        r1: float | None = None,
        gradient_penalty: float | None = None,
        optimizer: str = "adam",
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        classes: int | None = None,
        rng: Generator | None = None,
    ) -> None:
        sizes = widths(self.name, hidden)
        for what, value, known in (
            ("prior", prior, PRIORS), ("optimizer", optimizer, OPTIMIZERS),
        ):  # fmt: skip
            if value not in known:
                raise ValueError(
                    f"{self.name}: {what} {value!r}, expected one of {', '.join(known)}"
                )
        wasserstein = loss == "wasserstein"
        r1 = float(not wasserstein) if r1 is None else r1
        gradient_penalty = 10.0 * wasserstein if gradient_penalty is None else gradient_penalty
        if not (0 <= r1 < math.inf and 0 <= gradient_penalty < math.inf):
            raise ValueError(
                f"{self.name}: r1 {r1} and gradient_penalty {gradient_penalty}, expected >= 0"
            )
        options = {
            "hidden": list(sizes), "latent": latent, "prior": prior, "loss": loss,
            "dropout": dropout, "r1": r1, "gradient_penalty": gradient_penalty,
            "optimizer": optimizer, "lr": lr, "betas": list(betas),
        }  # fmt: skip
        super().__init__(shape, classes, latent, rng, options)
        self.prior, self.lr, self.optimizer = prior, lr, optimizer
        self.betas = (betas[0], betas[1])
        self.adversary = losses.gan(loss)
        self.r1, self.gradient_penalty = r1, gradient_penalty
        rng = self.init_rng
        self.generator = nn.Sequential(
            *mlp((latent + self.classes, *sizes), nn.ReLU, rng, init="normal"),
            nn.Dense(sizes[-1], self.pixels, init="normal", rng=rng),
            nn.Tanh(),
            nn.Reshape(*self.shape),
        )
        self.discriminator = nn.Sequential(
            *mlp(
                (self.pixels + self.classes, *reversed(sizes)), nn.LeakyReLU(0.2), rng,
                dropout=dropout, dropout_rng=self.dropout_rng, init="normal",
            ),
            nn.Dense(sizes[0], 1, init="normal", rng=rng),
        )  # fmt: skip

    def optimizers(self, lr: float | None = None) -> dict[str, Optimizer]:
        """One optimizer for each player: they share no state."""
        lr = self.lr if lr is None else lr

        def new(part: nn.Module) -> Optimizer:
            if self.optimizer == "sgd":
                return optim.SGD(part.parameters(), lr=lr)
            return optim.Adam(part.parameters(), lr=lr, betas=self.betas)

        return {"discriminator": new(self.discriminator), "generator": new(self.generator)}

    def noise(self, n: int, rng: Generator | None = None) -> Tensor:
        rng = rng or self.noise_rng
        if self.prior == "uniform":
            return 2 * rng.uniform((n, self.latent)) - 1
        return rng.normal((n, self.latent))

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.generator(self.condition(z, labels))
        return images

    def judge(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The discriminator's logits (B, 1) for images (B, H, W, C)."""
        flat = x.reshape(x.shape[0], -1)
        logits: Tensor = self.discriminator(self.condition(flat, labels))
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
        fake = self.generate(self.noise(x.shape[0]), labels)

        # The discriminator: real up, fake down. detach() keeps its loss away from the generator.
        real_logits = self.judge(x, labels)
        fake_logits = self.judge(fake.detach(), labels)
        d_loss = self.adversary.discriminator(real_logits, fake_logits)
        optimizers["discriminator"].zero_grad()
        (d_loss + self.penalty(x, fake.detach(), labels)).backward()
        optimizers["discriminator"].step()

        # The generator: the same images, judged again by the discriminator that just learnt.
        g_loss = self.adversary.generator(self.judge(fake, labels))
        optimizers["generator"].zero_grad()
        g_loss.backward(inputs=self.generator.parameters())
        optimizers["generator"].step()
        return {
            "d_loss": d_loss.detach(), "g_loss": g_loss.detach(),
            "d_real": real_logits.detach().mean(), "d_fake": fake_logits.detach().mean(),
        }  # fmt: skip
