"""Normalisation, scale, shift and SiLU of groups of channels: normalise_silu.cuh on its arguments.

As operations of their own these are a dozen launches, back thirty; so groups of any width are
served, though of fewer than 8 channels a block reads parts of what memory gives at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .axes import alike, into, into_each
from .normalise import block_of, over_samples
from .runtime import Call, Launch, Source, ctype, kernel

SOURCE = Source("normalise_silu.cuh")
INSTANCES = tuple(
    f"{name}<{t}>"
    for name in ("normalise_silu", "normalise_silu_dx") for t in ("float", "double")
)  # fmt: skip


def _served(x: Any, weight: Any, bias: Any, modulation: Any, *others: Any) -> bool:
    """Whether all is as the kernels take it."""
    if not alike(x, weight, bias, modulation, *others):
        return False
    if x.ndim != 4 or modulation.ndim != 4 or any(a.shape != x.shape for a in others):
        return False
    n, _, g, k = x.shape
    apart = modulation.shape[1:] == (2, g, k) and modulation.shape[0] in (1, n)
    small = g * k < 2**30 and n * g < 2**31
    return bool(apart and small and weight.shape == bias.shape == (g, k))


def _numbers(x: Any, modulation: Any, eps: float) -> tuple[int, tuple[Any, ...]]:
    """Threads of a block, and the last arguments of both kernels."""
    _, p, g, k = x.shape
    threads, width = block_of(p, k)
    apart = 0 if len(modulation) == 1 else 2 * g * k
    sizes = np.int64(p), np.int32(g), np.int32(k), width, np.int64(apart)
    return threads, (*sizes, x.dtype.type(eps))


@kernel
def normalise_silu(
    x: Any, weight: Any, bias: Any, modulation: Any, *, eps: float, out: Any = None
) -> Any:
    """silu(y (1 + scale) + shift) with y = normalise(x)."""
    served = _served(x, weight, bias, modulation)
    out = into(out, x, x.shape, x.dtype) if served else None
    if out is None:
        return NotImplemented
    threads, numbers = _numbers(x, modulation, eps)
    args = (x, weight, bias, modulation, out, *numbers)
    name, grid = f"normalise_silu<{ctype(x.dtype)}>", (len(x) * x.shape[2],)
    return Call([Launch(SOURCE, name, grid, (threads,), args)], out)


@kernel
def normalise_silu_dx(
    y: Any, x: Any, weight: Any, bias: Any, modulation: Any, *, eps: float, out: Any = None
) -> Any:
    """normalise_silu's gradients for x, weight, bias and each sample's modulation."""
    if not _served(x, weight, bias, modulation, y):
        return NotImplemented
    n, _, g, k = x.shape
    outs = into_each(out, x, (x.shape, weight.shape, weight.shape, (n, 2, g, k)))
    if outs is None:
        return NotImplemented
    partial, ends = over_samples(outs[1:3], n, g * k)
    threads, numbers = _numbers(x, modulation, eps)
    args = (y, x, weight, bias, modulation, outs[0], *partial, outs[3], *numbers)
    name = f"normalise_silu_dx<{ctype(x.dtype)}>"
    return Call([Launch(SOURCE, name, (n * g,), (threads,), args), *ends], outs, keep=partial)
