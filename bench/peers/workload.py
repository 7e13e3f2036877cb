"""What every peer trains: the same widths, first weights, batches and noise, all from NumPy.

The networks are those of gan, cgan, vae and dcgan in tinygen/models/networks/; NumPy alone is
imported here, since each peer lives in an environment of its own.

The DCGAN is that of TensorFlow's tutorial, for images 28x28x1; all convolutions 5x5, "same", by
TensorFlow's rule: a convolution of stride 2 has one zero before and two after the image, and a
transposed one is its adjoint. Of the generator no layer but the norms has a bias.

| generator                     | gives     | discriminator             | gives     |
|-------------------------------|-----------|---------------------------|-----------|
| dense, norm, leaky relu       | 7x7x256   | conv, leaky relu, dropout | 14x14x64  |
| conv transpose, norm, leaky   | 7x7x128   | conv, leaky relu, dropout | 7x7x128   |
| conv transpose / 2, norm, ... | 14x14x64  | dense                     | a logit   |
| conv transpose / 2, tanh      | 28x28x1   |                           |           |

The U-Net learns the velocity of flow matching on images 28x28x1: space to depth, then 14x14 with
32 channels and 7x7 with 64; five blocks of two 3x3 convolutions with GroupNorm and SiLU, scaled
and shifted by time and label; one attention over 7x7 places; 555,236 numbers, 16 GFLOP a step.
"""

from __future__ import annotations

import itertools
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

SIDE, PIXELS, CLASSES = 28, 784, 10
SLOPE = 0.2  # of the discriminator's LeakyReLU
GAN_HIDDEN, GAN_LATENT, GAN_LR, GAN_BETAS = (256, 512, 1024), 100, 2e-4, (0.5, 0.999)
VAE_HIDDEN, VAE_LATENT, VAE_LR, VAE_BETAS = 400, 20, 1e-3, (0.9, 0.999)
DCGAN_CHANNELS, DCGAN_SIDE, DCGAN_KERNEL = (256, 128, 64), 7, 5
DCGAN_SLOPE, DCGAN_LR, DCGAN_BETAS = 0.3, 1e-4, (0.9, 0.999)
UNET_WIDTH, UNET_EMBEDDING, UNET_GROUPS, UNET_HEADS = 32, 128, 8, 4
UNET_LR, UNET_BETAS = 1e-3, (0.9, 0.99)
NORM_EPS, NORM_MOMENTUM = 1e-5, 0.1  # of batch normalisation
EPS = 1e-8  # of Adam
RING = 8  # batches that a measurement goes through again and again

# (weight, bias or None) of each layer: dense (in, out), both convolutions (kh, kw, in, out); of a
# norm the scale and the shift, (features,) each
Layers = list[tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Workload:
    """One model at one batch size.

    Attributes:
        model: "gan", "cgan", "vae", "dcgan" or "unet".
        batch: images a step.
        dtype: "float32" to measure, "float64" to compare losses.
        dropout: of the discriminator; 0 to compare losses.
        variant: how the peer does it where it has several ways; "" for its default.
        device: "cpu", or "gpu": then a step's losses stay there until they are read.
        width: what the channels of the DCGAN are multiplied by.
        seed: of the first weights.
    """

    model: str
    batch: int
    dtype: str = "float32"
    dropout: float = 0.3
    variant: str = ""
    device: str = "cpu"
    width: float = 1.0
    seed: int = 0

    @property
    def latent(self) -> int:
        if self.model == "unet":
            return PIXELS + 1  # the noise of an image, and what its time comes from
        return VAE_LATENT if self.model == "vae" else GAN_LATENT

    @property
    def classes(self) -> int:
        """How many labels the networks are told, 0 for none."""
        return CLASSES if self.model == "cgan" else 0

    @property
    def rates(self) -> tuple[float, tuple[float, float]]:
        """Learning rate and betas of Adam."""
        kinds = {
            "vae": (VAE_LR, VAE_BETAS), "dcgan": (DCGAN_LR, DCGAN_BETAS),
            "unet": (UNET_LR, UNET_BETAS),
        }  # fmt: skip
        return kinds.get(self.model, (GAN_LR, GAN_BETAS))

    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Widths of each dense network, the input's first."""
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

    def shapes(self) -> dict[str, list[tuple[tuple[int, ...], bool]]]:
        """Shape of the weight of each layer of each network, and whether there is a bias.

        One number is the features of a norm.
        """
        if self.model != "dcgan":
            return {
                name: [(pair, True) for pair in itertools.pairwise(sizes)]
                for name, sizes in self.sizes().items()
            }
        a, b, c = (max(1, round(self.width * n)) for n in DCGAN_CHANNELS)
        pixels, kernel = DCGAN_SIDE**2, (DCGAN_KERNEL, DCGAN_KERNEL)
        return {
            "generator": [
                ((GAN_LATENT, pixels * a), False), ((pixels * a,), True),
                ((*kernel, a, b), False), ((b,), True),
                ((*kernel, b, c), False), ((c,), True),
                ((*kernel, c, 1), False),
            ],
            "discriminator": [
                ((*kernel, 1, c), True), ((*kernel, c, b), True), ((pixels * b, 1), True)
            ],
        }  # fmt: skip

    def weights(self) -> dict[str, Layers]:
        """First weights: N(0, 0.02^2) for the GANs, Glorot's for the VAE; biases 0, scales 1."""
        rng = np.random.default_rng(self.seed)
        out: dict[str, Layers] = {}
        for name, layers in self.shapes().items():
            out[name] = []
            for shape, biased in layers:
                std = math.sqrt(2 / sum(shape)) if self.model == "vae" else 0.02
                norm = len(shape) == 1
                weight = np.ones(shape) if norm else rng.normal(0, std, shape)
                bias = np.zeros(shape[-1], self.dtype) if biased else None
                out[name].append((weight.astype(self.dtype), bias))
        return out

    def batches(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Images, mostly paper with some ink as digits are, and labels (batch,).

        Images are (batch, 784), for the DCGAN and the U-Net (batch, 28, 28, 1).
        """
        rng = np.random.default_rng(1)
        out = []
        for _ in range(RING):
            ink = rng.uniform(size=(self.batch, PIXELS)) * (
                rng.uniform(size=(self.batch, PIXELS)) < 0.2
            )
            x = ink if self.model == "vae" else 2 * ink - 1
            if self.model in ("dcgan", "unet"):
                x = x.reshape(self.batch, SIDE, SIDE, 1)
            out.append((x.astype(self.dtype), rng.integers(CLASSES, size=self.batch)))
        return out

    def noise(self, steps: int) -> list[np.ndarray]:
        """Codes (batch, latent) for a comparison, where a peer must not draw its own."""
        rng = np.random.default_rng(2)
        shape = (self.batch, self.latent)
        return [rng.normal(size=shape).astype(self.dtype) for _ in range(steps)]


def from_json(record: dict[str, Any]) -> Workload:
    return Workload(**record)


def named(name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """First weights of the U-Net by their name: N(0, 0.05^2); biases 0, scales of norms 1."""
    if len(shape) == 1:
        return np.full(shape, name.endswith("weight"), dtype)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.normal(0, 0.05, shape).astype(dtype)


def unet_frequencies() -> np.ndarray:
    """Of the sines and cosines that a time becomes: 1 to 10^-4, in equal ratios."""
    return np.exp(-math.log(1e4) * np.arange(UNET_WIDTH) / UNET_WIDTH)
