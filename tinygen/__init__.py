"""tinygen: a numerical engine small enough to read, and the image generators built on it."""

from __future__ import annotations

from . import ops, testing
from .backend import DeviceError, use_backend
from .graph import grad, no_grad
from .ops import *
from .primitive import fused, primitive
from .tensor import Tensor, arange, full, ones, tensor, zeros
from .version import __version__

__all__ = [
    "DeviceError",
    "Tensor",
    "__version__",
    "arange",
    "fused",
    "full",
    "grad",
    "no_grad",
    "ones",
    "ops",
    "primitive",
    "tensor",
    "testing",
    "use_backend",
    "zeros",
    *ops.__all__,
]
