"""The variational autoencoder (Kingma and Welling, 2014, arXiv 1312.6114).

An encoder turns an image into a normal distribution over codes, q(z|x) = N(mu, diag exp(logvar)).
A decoder turns a code into a distribution over images, p(x|z). Both are trained to maximise

    ELBO = E_q [log p(x|z)] - beta KL(q(z|x) || N(0, I)),

a lower bound of log p(x) for beta = 1. New images come from codes of the prior N(0, I); the encoder
plays no part in drawing them.

Given a label y (Sohn, Lee and Yan, 2015), the encoder sees (x, y) and the decoder (z, y), so that
the code holds what the label does not say (slant, thickness), and the label chooses what is drawn:

    ELBO = E_q(z|x,y) [log p(x|z,y)] - beta KL(q(z|x,y) || N(0, I)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from .. import losses, nn, optim
from ..graph import no_grad
from ..ops import concatenate, full_like, logsumexp, sigmoid, square
from ..optim import Optimizer
from ..options import above, at_least, option
from ..random import Generator
from ..sampling import Noise
from ..tensor import Tensor
from .base import ImageModel
from .contract import Draws, Encodes, Figure, Likely
from .networks import Coder

Likelihood = Literal["bernoulli", "gaussian", "mse"]


class Variational(ImageModel, Draws, Encodes, Likely):
    """An encoder to (mu, logvar) and a decoder, whatever the `networks` are.

    The decoder's output is a logit a pixel; its sigmoid is the drawn image. `likelihood` is

    - "bernoulli": log p = x log y + (1-x) log(1-y), for images in [0, 1];
    - "gaussian": N(y, sigma^2) with a fixed `sigma`;
    - "mse": half the squared error plus beta times the KL term, the loss with which the method
      is often introduced (a Gaussian with sigma = 1, up to a constant).
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(ImageModel.Options):
        latent: int = option(20, at_least(1), "Length of the latent code.")
        beta: float = option(
            1.0, at_least(0), "Weight of the KL term (alpha, where the loss is mse)."
        )
        likelihood: Likelihood = option(
            "bernoulli", help="What a pixel is; mse is half the squared error."
        )
        sigma: float = option(0.1, above(0), "Width of the gaussian likelihood.")
        lr: float = option(1e-3, above(0), "Learning rate of Adam.", flags="")

    networks: ClassVar[type[Coder]]
    exact = False
    parts = ("encoder", "to_mu", "to_logvar", "decoder")
    options: Any

    def build(self) -> None:
        options, init = self.options, self.init_rng
        self.unit = "loss an image" if options.likelihood == "mse" else "nats an image"
        if options.likelihood != "gaussian":
            self.idle = {"sigma": f"its likelihood is {options.likelihood}, and not gaussian"}
        self.latent = options.latent
        self.noise = self.code = Noise((options.latent,))
        self.density = {
            "bernoulli": "pixels as grey values in [0, 1] under a Bernoulli likelihood "
            "(cross-entropy; not comparable with binarised MNIST)",
            "gaussian": f"pixels in [0, 1] under a Gaussian with sigma {options.sigma:g}",
        }.get(options.likelihood, "")
        self.encoder, features = self.networks.encoder(self.ends, options)
        self.to_mu = nn.Dense(features, options.latent, rng=init)
        self.to_logvar = nn.Dense(features, options.latent, rng=init)
        self.decoder = self.networks.decoder(self.ends, options)

    def optimizers(self, lr: float | None = None) -> dict[str, Optimizer]:
        return {"vae": optim.Adam(self.parameters(), lr=self.options.lr if lr is None else lr)}

    # ---- the model ---------------------------------------------------------------------------

    def encode(self, image: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (B, latent), for images (B, H, W, C)."""
        flat = self.check_images(image).reshape(image.shape[0], self.pixels)
        hidden = self.encoder(self.condition(flat, label))
        return self.to_mu(hidden), self.to_logvar(hidden)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, H, W, C) for codes (B, latent)."""
        logits: Tensor = self.decoder(self.condition(z, labels))
        return logits

    def generate(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images (B, H, W, C) in [0, 1] of codes z (B, latent)."""
        return sigmoid(self.decode(z, labels))

    def draw(self, noise: Tensor | None, *, label: Tensor | None = None) -> Tensor:
        assert noise is not None
        return self.generate(noise, label)

    def loss(self, x: Tensor, labels: Tensor | None, rng: Generator) -> losses.Loss:
        """The negative ELBO in nats an image (for "mse" up to a constant), with its two parts."""
        mu, logvar = self.encode(x, labels)
        z = losses.reparameterise(mu, logvar, rng)
        out = self.decode(z, labels)
        beta, likelihood = self.options.beta, self.options.likelihood
        if likelihood != "bernoulli":
            out = sigmoid(out)
        x_logvar = 2 * math.log(self.options.sigma)
        return losses.vae(out, x, mu, logvar, beta, likelihood, x_logvar=x_logvar)

    def train_step(
        self, x: Tensor, labels: Tensor | None, optimizers: dict[str, Optimizer]
    ) -> dict[str, Tensor]:
        loss = self.loss(x, labels, self.noise_rng)
        optimizers["vae"].zero_grad()
        loss.backward()
        optimizers["vae"].step()
        return {"loss": loss, **loss.parts}

    # ---- using it ----------------------------------------------------------------------------

    @no_grad()
    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images decoded from the mean code of each image."""
        return self.generate(self.encode(x, labels)[0], labels)

    @no_grad()
    def figures(self, batch: dict[str, Tensor], rng: Generator) -> dict[str, Figure]:
        """What is minimised, of each image, with one code an image."""
        x, label = batch["image"], batch.get("label")
        return {"loss": Figure(-self.bound(x, rng, label, self.options.beta), self.unit)}

    def bound(
        self, x: Tensor, rng: Generator, label: Tensor | None = None, beta: float = 1.0
    ) -> Tensor:
        """The ELBO of each image, from one code each; shape (B,), in nats."""
        mu, logvar = self.encode(x, label)
        z = losses.reparameterise(mu, logvar, rng)
        kl = losses.gaussian_kl_terms(mu, logvar).sum(axis=1)
        log_p: Tensor = self.log_p_x(z, x, label) - (kl if beta == 1 else beta * kl)
        return log_p

    @no_grad()
    def log_p(
        self, image: Tensor, rng: Generator, *, samples: int = 0, label: Tensor | None = None
    ) -> Tensor:
        """The ELBO; with `samples`, log_likelihood."""
        if samples:
            return self.place(self.log_likelihood(image, label, rng, samples))
        return self.bound(image, rng, label)

    @no_grad()
    def log_likelihood(
        self, x: Tensor, labels: Tensor | None, rng: Generator, samples: int = 50
    ) -> NDArray[np.float32]:
        """log p(x) of each image by importance sampling (Burda et al., 2016, equation 8).

        log 1/k sum_i p(x|z_i) p(z_i) / q(z_i|x) with k codes z_i from q(z|x): a lower bound that
        rises with k to log p(x). In nats, shape (B,).
        """
        if self.options.likelihood == "mse":
            raise ValueError("log_likelihood: 'mse' is no likelihood; train with 'gaussian'")
        if samples < 1:
            raise ValueError(f"log_likelihood: samples {samples}, expected 1 or more")
        mu, logvar = self.encode(x, labels)
        rows = []
        for _ in range(samples):
            eps = rng.normal(mu.shape)
            z = mu + (0.5 * logvar).exp() * eps
            # the constants -log(2 pi) / 2 of prior and posterior cancel
            log_prior = -0.5 * square(z).sum(axis=1)
            log_posterior = -0.5 * (logvar + square(eps)).sum(axis=1)
            log_weight = self.log_p_x(z, x, labels) + log_prior - log_posterior
            rows.append(log_weight.reshape(1, -1))
        log_p: NDArray[np.float32] = logsumexp(concatenate(rows), axis=0).numpy()
        return log_p - np.float32(math.log(samples))

    def log_p_x(self, z: Tensor, x: Tensor, labels: Tensor | None) -> Tensor:
        """log p(x|z) of each image, shape (B,), in nats; for "mse" up to a constant."""
        out = self.decode(z, labels)
        if self.options.likelihood == "bernoulli":
            terms = losses.bce_with_logits(out, x, reduction="none")
        elif self.options.likelihood == "mse":
            terms = 0.5 * square(sigmoid(out) - x)
        else:
            mean, x_logvar = sigmoid(out), 2 * math.log(self.options.sigma)
            terms = losses.gaussian_nll_terms(mean, x, full_like(x, x_logvar))
        log_p: Tensor = -terms.reshape(x.shape[0], -1).sum(axis=1)
        return log_p
