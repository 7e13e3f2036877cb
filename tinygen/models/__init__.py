"""Generative models, and a classifier to measure them: a method a file, and the models by name."""

from __future__ import annotations

from ..sampling import Noise
from . import adversarial
from .adversarial import Adversarial
from .base import ImageModel
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
    Stage,
    minimise,
)
from .flow import Flow
from .registry import MODELS, find, place_of, register, stored, trained_by, typed
from .student import Student
from .vae import Variational
from .zoo import CDCGAN, CGAN, CVAE, DCGAN, GAN, VAE, ConvGAN, ConvVAE

__all__ = [
    "CDCGAN", "CGAN", "CVAE", "DCGAN", "GAN", "MODELS", "VAE", "Adversarial", "Classifier",
    "Column", "ConvGAN", "ConvVAE", "Describes", "Draws", "Encodes", "Figure", "Flow", "Form",
    "ImageModel", "Likely", "Model", "Noise", "Stage", "Student", "Variational", "adversarial",
    "find", "minimise", "place_of", "register", "stored", "trained_by", "typed",
]  # fmt: skip
