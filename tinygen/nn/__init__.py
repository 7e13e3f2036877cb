"""Networks: Module, layers, initialisers."""

from typing import TYPE_CHECKING

from .. import spelling
from . import conv, init, layers
from .conv import *  # noqa: F403
from .layers import *  # noqa: F403
from .module import Buffer, Module, Parameter

__all__ = ["Buffer", "Module", "Parameter", "init", *conv.__all__, *layers.__all__]

spelling.explain(Module, spelling.MODULE)
if not TYPE_CHECKING:
    __getattr__ = spelling.names("tinygen.nn", spelling.NN)
