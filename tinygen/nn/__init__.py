"""Networks: Module, layers, initialisers."""

from . import conv, init, layers
from .conv import *  # noqa: F403
from .layers import *  # noqa: F403
from .module import Buffer, Module, Parameter

__all__ = ["Buffer", "Module", "Parameter", "init", *conv.__all__, *layers.__all__]
