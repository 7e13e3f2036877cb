"""Networks: Module, layers, initialisers."""

from __future__ import annotations

from . import init, layers
from .layers import *  # noqa: F403
from .module import Buffer, Module, Parameter

__all__ = ["Buffer", "Module", "Parameter", "init", *layers.__all__]
