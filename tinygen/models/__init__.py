"""Generative models, and a classifier to measure them, each in a file that defines its method."""

from __future__ import annotations

from . import adversarial
from .adversarial import Adversarial
from .base import Model
from .cdcgan import CDCGAN
from .cgan import CGAN
from .classifier import Classifier
from .conv_gan import ConvGAN
from .conv_vae import ConvVAE
from .cvae import CVAE
from .dcgan import DCGAN
from .gan import GAN
from .vae import VAE

MODELS: dict[str, type[Model]] = {
    model.name: model
    for model in (VAE, CVAE, ConvVAE, GAN, CGAN, DCGAN, CDCGAN, ConvGAN, Classifier)
}


def find(name: str) -> type[Model]:
    """The model class called `name`; raises ValueError listing the known ones."""
    if name not in MODELS:
        raise ValueError(f"no model is called {name!r}; known models: {', '.join(MODELS)}")
    return MODELS[name]


__all__ = [
    "CDCGAN", "CGAN", "CVAE", "DCGAN", "GAN", "MODELS", "VAE", "Adversarial", "Classifier",
    "ConvGAN", "ConvVAE", "Model", "adversarial", "find",
]  # fmt: skip
