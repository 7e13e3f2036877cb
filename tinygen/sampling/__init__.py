"""Drawing without weights: where it starts, and walks through the space of codes."""

from .latent import around, between, traverse, walk
from .noise import Noise, Prior

__all__ = ["Noise", "Prior", "around", "between", "traverse", "walk"]
