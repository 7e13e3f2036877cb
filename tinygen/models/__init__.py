"""The generative models, each in a file that defines its method."""

from __future__ import annotations

from .base import Model
from .cgan import CGAN
from .cvae import CVAE
from .gan import GAN
from .vae import VAE

MODELS: dict[str, type[Model]] = {model.name: model for model in (VAE, CVAE, GAN, CGAN)}


def find(name: str) -> type[Model]:
    """The model class called `name`; raises ValueError listing the known ones."""
    if name not in MODELS:
        raise ValueError(f"no model is called {name!r}; known models: {', '.join(MODELS)}")
    return MODELS[name]


__all__ = ["CGAN", "CVAE", "GAN", "MODELS", "VAE", "Model", "find"]
