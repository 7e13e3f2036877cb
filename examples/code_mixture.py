"""A model of one's own, trained in two stages; nothing in tinygen/ knows it.

    python examples/code_mixture.py                 # trains on strokes, leaves runs/code-mixture

Stage 1, "codes": an autoencoder learns to write an image as a few numbers and to read it back, by
the squared error. Stage 2, "mixture": the autoencoder is frozen, and a mixture of K Gaussians
learns where the codes lie, by maximum likelihood:

    log p(c) = log sum_k w_k N(c; m_k, diag s_k^2)

A new image is a code drawn from the mixture, decoded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tinygen import data, nn, ops, optim, random, train, zeros
from tinygen.models import Column, Draws, Figure, Form, Model, Noise, Stage, register
from tinygen.tensor import Tensor


@dataclass(frozen=True)
class Options:
    hidden: int = 128
    codes: int = 8  # numbers that an image is written as
    components: int = 20  # K
    lr: float = 2e-3
    first_epochs: int = 5  # of the autoencoder


class Mixture(nn.Module):
    """K Gaussians with a standard deviation a dimension."""

    def __init__(self, components: int, size: int, rng: random.Generator) -> None:
        self.logits = nn.Parameter(zeros((components,)))
        self.mean = nn.Parameter(rng.normal((components, size)))
        self.log_std = nn.Parameter(zeros((components, size)))

    def log_p(self, code: Tensor) -> Tensor:
        """In nats, (n,), for codes (n, size)."""
        z = (code.expand_dims(1) - self.mean) * ops.exp(-self.log_std)  # (n, K, size)
        each = -0.5 * ops.square(z) - self.log_std - 0.5 * math.log(2 * math.pi)
        return ops.logsumexp(each.sum(axis=2) + ops.log_softmax(self.logits, axis=0), axis=1)

    def draw(self, noise: Tensor) -> Tensor:
        """Codes (n, size) from N(0, 1) noise (n, 1 + size): the first number picks the Gaussian."""
        u = 0.5 * (1.0 + ops.erf(noise[:, :1] * math.sqrt(0.5)))  # uniform on [0, 1]
        up_to = ops.cumsum(ops.softmax(self.logits, axis=0), axis=0)  # (K,)
        chosen = (up_to[:-1] <= u).astype("int64").sum(axis=1)
        one = ops.one_hot(chosen, self.mean.shape[0])
        return one @ self.mean + (one @ ops.exp(self.log_std)) * noise[:, 1:]


@register
class CodeMixture(Model, Draws):
    name, Options = "code-mixture", Options

    def __init__(
        self, forms: Mapping[str, Form], options: Options | None = None,
        rng: random.Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(forms, options, rng)
        o, init, pixels = self.options, self.init_rng, math.prod(self.shape)
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Dense(pixels, o.hidden, rng=init), nn.ReLU(),
            nn.Dense(o.hidden, o.codes, rng=init),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Dense(o.codes, o.hidden, rng=init), nn.ReLU(),
            nn.Dense(o.hidden, pixels, rng=init), nn.Sigmoid(), nn.Reshape(*self.shape),
        )  # fmt: skip
        self.mixture = Mixture(o.components, o.codes, init)
        self.noise = Noise((1 + o.codes,), smooth=False)

    def stages(self) -> tuple[Stage, ...]:
        image, lr = (Column("image"),), self.options.lr
        adam = lambda *parts: (
            lambda given: {
                "adam": optim.Adam([p for x in parts for p in x.parameters()], lr=given or lr)
            }
        )
        return (
            Stage(
                "codes", image, ("encoder", "decoder"), self.learn_codes,
                adam(self.encoder, self.decoder), self.error, self.options.first_epochs, ema=0.99,
            ),
            Stage(
                "mixture", image, ("mixture",), self.learn_mixture, adam(self.mixture), self.nll,
                epochs=10, ema=0.99,
            ),
        )  # fmt: skip

    def squared(self, image: Tensor) -> Tensor:
        return ops.square(self.decoder(self.encoder(image)) - image).sum(axis=(1, 2, 3))

    def learn_codes(
        self, batch: dict[str, Tensor], optimizers: dict[str, optim.Optimizer]
    ) -> dict[str, Tensor]:
        return {"error": minimise(self.squared(batch["image"]).mean(), optimizers["adam"])}

    def learn_mixture(
        self, batch: dict[str, Tensor], optimizers: dict[str, optim.Optimizer]
    ) -> dict[str, Tensor]:
        log_p = self.mixture.log_p(self.encoder(batch["image"]))
        return {"nll": minimise(-log_p.mean(), optimizers["adam"])}

    def error(self, batch: dict[str, Tensor], rng: random.Generator) -> dict[str, Figure]:
        return {"error": Figure(self.squared(batch["image"]), "squared an image")}

    def nll(self, batch: dict[str, Tensor], rng: random.Generator) -> dict[str, Figure]:
        log_p = self.mixture.log_p(self.encoder(batch["image"]))
        return {"NLL of the code": Figure(-log_p, "nats an image")}

    def pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"reconstructions": self.decoder(self.encoder(batch["image"]))}

    def draw(self, noise: Tensor | None) -> Tensor:
        assert noise is not None
        return self.decoder(self.mixture.draw(noise))


def minimise(loss: Tensor, optimizer: optim.Optimizer) -> Tensor:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


if __name__ == "__main__":
    strokes = data.load("strokes", n=5000)
    model = CodeMixture({"train": Form(strokes.shape)}, rng=random.Generator(0))
    train.fit(model, strokes, out="runs/code-mixture")
