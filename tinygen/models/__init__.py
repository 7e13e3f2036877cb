"""Generative models, and a classifier to measure them, each in a file that defines its method."""

from __future__ import annotations

from . import adversarial
from .adversarial import Adversarial
from .base import ImageModel
from .cdcgan import CDCGAN
from .cgan import CGAN
from .classifier import Classifier
from .contract import (
    Column,
    Describes,
    Draws,
    Encodes,
    Figure,
    Form,
    Likely,
    Model,
    Noise,
    Stage,
)
from .conv_gan import ConvGAN
from .conv_vae import ConvVAE
from .cvae import CVAE
from .dcgan import DCGAN
from .gan import GAN
from .registry import MODELS, find, register
from .vae import VAE

for _kind in (VAE, CVAE, ConvVAE, GAN, CGAN, DCGAN, CDCGAN, ConvGAN, Classifier):
    register(_kind)

__all__ = [
    "CDCGAN", "CGAN", "CVAE", "DCGAN", "GAN", "MODELS", "VAE", "Adversarial", "Classifier",
    "Column", "ConvGAN", "ConvVAE", "Describes", "Draws", "Encodes", "Figure", "Form", "ImageModel",
    "Likely", "Model", "Noise", "Stage", "adversarial", "find", "register",
]  # fmt: skip
