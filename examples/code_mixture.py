"""A model of one's own, trained in two stages; nothing in tinygen/ knows it.

    tinygen train examples/code_mixture.py:CodeMixture --n 5000

"codes": an autoencoder learns to write an image as a few numbers and to read it back, by the
squared error. "mixture": it is frozen, and K Gaussians learn where the codes lie, by the highest
log p(c) = log sum_k w_k N(c; m_k, diag s_k^2). A new image is a code drawn from them, decoded.
"""

import math
from dataclasses import dataclass

from tinygen import nn, ops, zeros
from tinygen.models import Column, Draws, Figure, Model, Noise, Stage, register


@dataclass(frozen=True)
class Options:
    hidden: int = 128
    codes: int = 8  # numbers that an image is written as
    components: int = 20  # K
    lr: float = 2e-3
    first_epochs: int = 5  # of the autoencoder


class Mixture(nn.Module):
    """K Gaussians with a standard deviation a dimension."""

    def __init__(self, components, size, rng):
        self.logits = nn.Parameter(zeros((components,)))
        self.mean = nn.Parameter(rng.normal((components, size)))
        self.log_std = nn.Parameter(zeros((components, size)))

    def log_p(self, code):  # in nats, (n,), for codes (n, size)
        z = (code.expand_dims(1) - self.mean) * ops.exp(-self.log_std)  # (n, K, size)
        each = -0.5 * ops.square(z) - self.log_std - 0.5 * math.log(2 * math.pi)
        return ops.logsumexp(each.sum(axis=2) + ops.log_softmax(self.logits, axis=0), axis=1)

    def draw(self, noise):  # N(0, 1), (n, 1 + size): the first number picks the Gaussian
        u = 0.5 * (1.0 + ops.erf(noise[:, :1] * math.sqrt(0.5)))  # uniform on [0, 1]
        up_to = ops.cumsum(ops.softmax(self.logits, axis=0), axis=0)  # (K,)
        one = ops.one_hot((up_to[:-1] <= u).astype("int64").sum(axis=1), self.mean.shape[0])
        return one @ self.mean + (one @ ops.exp(self.log_std)) * noise[:, 1:]


@register
class CodeMixture(Model, Draws):
    name, Options = "code-mixture", Options

    def build(self):
        o, init, pixels = self.options, self.init_rng, math.prod(self.shape)
        wide, back = nn.Dense(pixels, o.hidden, rng=init), nn.Dense(o.hidden, o.codes, rng=init)
        self.encoder = nn.Sequential(nn.Flatten(), wide, nn.ReLU(), back)
        wide, back = nn.Dense(o.codes, o.hidden, rng=init), nn.Dense(o.hidden, pixels, rng=init)
        self.decoder = nn.Sequential(wide, nn.ReLU(), back, nn.Sigmoid(), nn.Reshape(*self.shape))
        self.mixture = Mixture(o.components, o.codes, init)
        self.noise = Noise((1 + o.codes,), smooth=False)

    def stages(self):
        image, coder = (Column("image"),), ("encoder", "decoder")
        first = self.options.first_epochs
        return (
            Stage("codes", image, coder, figures=self.error, epochs=first, ema=0.99),
            Stage("mixture", image, ("mixture",), figures=self.nll, ema=0.99),
        )

    def error(self, batch, rng):
        error = ops.square(self.decoder(self.encoder(batch["image"])) - batch["image"])
        return {"error": Figure(error.sum(axis=(1, 2, 3)), "squared an image")}

    def nll(self, batch, rng):
        log_p = self.mixture.log_p(self.encoder(batch["image"]))
        return {"NLL of the code": Figure(-log_p, "nats an image")}

    def pictures(self, batch):
        return {"reconstructions": self.decoder(self.encoder(batch["image"]))}

    def draw(self, noise):
        return self.decoder(self.mixture.draw(noise))
