"""Elementwise functions outside a plan: each a generated loop of one to six lines.

The loops are those of elementwise.py, so that a function has the same bits here and in a plan,
which fuses it with its neighbours and takes nothing from this file. Arrays of any shape are one
row, and must be dense.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .elementwise import Fused, Program, elementwise_call, name_of, source_of
from .runtime import GeneratedSource, dense, device_of, kernel

X, Y, Z = (("in", i) for i in range(3))
L0, L1, L2, L3, L4 = (("line", j) for j in range(5))


def _one(name: str, **static: float) -> Program:
    return ((name, (X,), tuple(static.items())),)


SILU = (("sigmoid", (X,), ()), ("mul", (X, L0), ()))
GELU = (  # 0.5 x (1 + erf(x sqrt(1/2)))
    ("mul", (0.5, X), ()),
    ("mul", (X, math.sqrt(0.5)), ()),
    ("erf", (L1,), ()),
    ("add", (1.0, L2), ()),
    ("mul", (L0, L3), ()),
)
BCE_LOGITS_TERMS = (  # softplus(logits) - logits targets
    ("softplus", (X,), ()),
    ("mul", (X, Y), ()),
    ("sub", (L0, L1), ()),
)
GAUSSIAN_KL_TERMS = (  # 0.5 (mu^2 + exp(logvar) - logvar - 1)
    ("square", (X,), ()),
    ("exp", (Y,), ()),
    ("add", (L0, L1), ()),
    ("sub", (L2, Y), ()),
    ("sub", (L3, 1.0), ()),
    ("mul", (0.5, L4), ()),
)
GAUSSIAN_NLL_TERMS = (  # 0.5 (log(2 pi) + logvar + (x - mean)^2 exp(-logvar))
    ("add", (math.log(2 * math.pi), Z), ()),
    ("sub", (Y, X), ()),
    ("square", (L1,), ()),
    ("neg", (Z,), ()),
    ("exp", (L3,), ()),
    ("mul", (L2, L4), ()),
    ("add", (L0, ("line", 5)), ()),
    ("mul", (0.5, ("line", 6)), ()),
)
GAUSSIAN_SAMPLE = (  # mu + exp(0.5 logvar) noise
    ("mul", (0.5, Y), ()),
    ("exp", (L0,), ()),
    ("mul", (L1, Z), ()),
    ("add", (X, L2), ()),
)
_PLAIN = ("exp", "log", "tanh", "erf", "sigmoid", "softplus", "relu")
PROGRAMS = {
    **{name: _one(name) for name in _PLAIN},
    "leaky_relu": _one("leaky_relu", slope=0.01), "silu": SILU, "gelu": GELU,
    "bce_logits_terms": BCE_LOGITS_TERMS, "gaussian_kl_terms": GAUSSIAN_KL_TERMS,
    "gaussian_nll_terms": GAUSSIAN_NLL_TERMS, "gaussian_sample": GAUSSIAN_SAMPLE,
}  # fmt: skip


def _source(program: Program, kinds: tuple[str, ...], dtype: str) -> GeneratedSource:
    types = (dtype,) * (len(kinds) + 1)
    return source_of(program, (len(program) - 1,), kinds, types, False, repr(program))


def instances() -> list[tuple[GeneratedSource, str]]:
    """All kernels of this module: the source of each, and its name."""
    made = []
    for program in PROGRAMS.values():
        count = sum(any(v in terms for _, terms, _ in program) for v in (X, Y, Z))
        made += [_source(program, ("full",) * count, t) for t in ("float32", "float64")]
    return [(source, name_of(source)) for source in made]


def _bind(program: Program, arrays: tuple[Any, ...], out: Any) -> Any:
    """The program on arrays of the first one's shape and dtype; 0-d ones are spread."""
    x = arrays[0]
    shape, dtype = x.shape, x.dtype
    if dtype not in (np.float32, np.float64) or not dense(*arrays) or x.size >= 2**31:
        return NotImplemented
    if any(a.dtype != dtype or (a.shape != shape and a.ndim) for a in arrays):
        return NotImplemented
    out = device_of(x).empty(shape, dtype) if out is None else out
    if out.shape != shape or out.dtype != dtype or not dense(out):
        return NotImplemented
    # What `fused` would find out about any arrays is known here.
    kinds = tuple("full" if a.size == x.size else "value" for a in arrays)
    made = Fused(_source(program, kinds, dtype.name), list(arrays), [out])
    return elementwise_call(made, 1, x.size)


@kernel
def exp(x: Any, *, out: Any = None) -> Any:
    return _bind(PROGRAMS["exp"], (x,), out)


@kernel
def log(x: Any, *, out: Any = None) -> Any:
    return _bind(PROGRAMS["log"], (x,), out)


@kernel
def tanh(x: Any, *, out: Any = None) -> Any:
    return _bind(PROGRAMS["tanh"], (x,), out)


@kernel
def erf(x: Any, *, out: Any = None) -> Any:
    return _bind(PROGRAMS["erf"], (x,), out)


@kernel
def sigmoid(x: Any, *, out: Any = None) -> Any:
    return _bind(PROGRAMS["sigmoid"], (x,), out)


@kernel
def softplus(x: Any, *, out: Any = None) -> Any:
    return _bind(PROGRAMS["softplus"], (x,), out)


@kernel
def relu(x: Any, *, out: Any = None) -> Any:
    return _bind(PROGRAMS["relu"], (x,), out)


@kernel
def leaky_relu(x: Any, *, slope: float = 0.01, out: Any = None) -> Any:
    return _bind(_one("leaky_relu", slope=float(slope)), (x,), out)


@kernel
def silu(x: Any, *, out: Any = None) -> Any:
    return _bind(SILU, (x,), out)


@kernel
def gelu(x: Any, *, out: Any = None) -> Any:
    return _bind(GELU, (x,), out)


@kernel
def bce_logits_terms(logits: Any, targets: Any, *, out: Any = None) -> Any:
    return _bind(BCE_LOGITS_TERMS, (logits, targets), out)


@kernel
def gaussian_kl_terms(mu: Any, logvar: Any, *, out: Any = None) -> Any:
    return _bind(GAUSSIAN_KL_TERMS, (mu, logvar), out)


@kernel
def gaussian_nll_terms(mean: Any, x: Any, logvar: Any, *, out: Any = None) -> Any:
    return _bind(GAUSSIAN_NLL_TERMS, (mean, x, logvar), out)


@kernel
def gaussian_sample(mu: Any, logvar: Any, noise: Any, *, out: Any = None) -> Any:
    return _bind(GAUSSIAN_SAMPLE, (mu, logvar, noise), out)
