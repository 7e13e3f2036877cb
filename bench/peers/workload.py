"""What every peer trains: the same widths, first weights, batches and noise, all from NumPy.

The networks are those of tinygen/models/gan.py, cgan.py and vae.py; NumPy alone is imported here,
since each peer lives in an environment of its own.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

PIXELS, CLASSES = 784, 10
SLOPE = 0.2  # of the discriminator's LeakyReLU
GAN_HIDDEN, GAN_LATENT, GAN_LR, GAN_BETAS = (256, 512, 1024), 100, 2e-4, (0.5, 0.999)
VAE_HIDDEN, VAE_LATENT, VAE_LR, VAE_BETAS = 400, 20, 1e-3, (0.9, 0.999)
EPS = 1e-8  # of Adam
RING = 8  # batches that a measurement goes through again and again

Layers = list[tuple[np.ndarray, np.ndarray]]  # (weight (in, out), bias (out,)) of each layer


@dataclass(frozen=True)
class Workload:
    """One model at one batch size.

    Attributes:
        model: "gan", "cgan" or "vae".
        batch: images a step.
        dtype: "float32" to measure, "float64" to compare losses.
        dropout: of the discriminator; 0 to compare losses.
        variant: how the peer does it where it has several ways; "" for its default.
        device: "cpu", or "gpu": then a step's losses stay there until they are read.
    """

    model: str
    batch: int
    dtype: str = "float32"
    dropout: float = 0.3
    variant: str = ""
    device: str = "cpu"

    @property
    def latent(self) -> int:
        return VAE_LATENT if self.model == "vae" else GAN_LATENT

    @property
    def classes(self) -> int:
        """How many labels the networks are told, 0 for none."""
        return CLASSES if self.model == "cgan" else 0

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Widths of each network, the input's first."""
        if self.model == "vae":
            return {
                "encoder": (PIXELS, VAE_HIDDEN),
                "mu": (VAE_HIDDEN, VAE_LATENT),
                "logvar": (VAE_HIDDEN, VAE_LATENT),
                "decoder": (VAE_LATENT, VAE_HIDDEN, PIXELS),
            }
        return {
            "generator": (GAN_LATENT + self.classes, *GAN_HIDDEN, PIXELS),
            "discriminator": (PIXELS + self.classes, *reversed(GAN_HIDDEN), 1),
        }

    def weights(self) -> dict[str, Layers]:
        """First weights: N(0, 0.02^2) for the GANs, Glorot's for the VAE; biases 0."""
        rng = np.random.default_rng(0)
        out: dict[str, Layers] = {}
        for name, sizes in self.sizes().items():
            out[name] = []
            for n_in, n_out in itertools.pairwise(sizes):
                std = math.sqrt(2 / (n_in + n_out)) if self.model == "vae" else 0.02
                weight = rng.normal(0, std, (n_in, n_out)).astype(self.dtype)
                out[name].append((weight, np.zeros(n_out, self.dtype)))
        return out

    def batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Images (batch, 784), mostly paper with some ink as digits are, and labels (batch,)."""
        rng = np.random.default_rng(1)
        out = []
        for _ in range(RING):
            ink = rng.uniform(size=(self.batch, PIXELS)) * (
                rng.uniform(size=(self.batch, PIXELS)) < 0.2
            )
            x = ink if self.model == "vae" else 2 * ink - 1
            out.append((x.astype(self.dtype), rng.integers(CLASSES, size=self.batch)))
        return out

    def noise(self, steps: int) -> list[np.ndarray]:
        """Codes (batch, latent) for a comparison, where a peer must not draw its own."""
        rng = np.random.default_rng(2)
        shape = (self.batch, self.latent)
        return [rng.normal(size=shape).astype(self.dtype) for _ in range(steps)]


def from_json(record: dict[str, Any]) -> Workload:
    return Workload(**record)
