"""tinygen: a numerical engine small enough to read, and the image generators built on it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import images, losses, nn, ops, optim, random, spelling
from . import protocols as protocols
from .backend import DeviceError, show_config, use_backend
from .conventions import conventions
from .derivatives import hvp, jacobian, jvp
from .differentiate import grad
from .fused import fused
from .graph import no_grad
from .io import load, save
from .ops import *
from .primitive import primitive
from .random import manual_seed
from .recompute import checkpoint
from .tensor import Tensor, arange, full, ones, tensor, zeros
from .trace.repeat import choose, repeat
from .version import __version__

if TYPE_CHECKING:
    from . import data as data
    from . import metrics as metrics
    from . import models as models
    from . import testing as testing
    from . import train as train
    from .learn.coach import coach as coach
    from .plan import compile as compile
    from .study.explain import explain as explain
    from .study.rules import rules as rules
    from .study.step import record as record

# Functions that bring more with them than the engine: name -> where it is.
LATER = {
    "coach": "learn.coach",
    "compile": "plan",
    "explain": "study.explain",
    "record": "study.step",
    "rules": "study.rules",
}


def __getattr__(name: str) -> Any:
    """What an import of the engine does without: imported when it is first asked for."""
    if name in ("data", "metrics", "models", "testing", "train"):
        return import_module(f"tinygen.{name}")
    if name in LATER:
        found = getattr(import_module(f"tinygen.{LATER[name]}"), name)
        globals()[name] = found
        return found
    raise spelling.unknown("module 'tinygen'", name, spelling.TINYGEN)


__all__ = [
    "DeviceError",
    "Tensor",
    "__version__",
    "arange",
    "checkpoint",
    "choose",
    "coach",
    "compile",
    "conventions",
    "data",
    "explain",
    "full",
    "fused",
    "grad",
    "hvp",
    "images",
    "jacobian",
    "jvp",
    "load",
    "losses",
    "manual_seed",
    "nn",
    "no_grad",
    "ones",
    "ops",
    "optim",
    "primitive",
    "random",
    "record",
    "repeat",
    "rules",
    "save",
    "show_config",
    "tensor",
    "testing",
    "use_backend",
    "zeros",
]
__all__ += vars(ops)["__all__"]

if os.environ.get("TINYGEN_COACH", "0") != "0":
    __getattr__("coach")(on=True)
