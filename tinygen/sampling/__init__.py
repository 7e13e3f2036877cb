"""Drawing without weights: where it starts, and walks through the space of codes."""

from . import ode
from .latent import around, between, traverse, walk
from .noise import Noise, Prior

__all__ = ["Noise", "Prior", "around", "between", "ode", "traverse", "walk"]
