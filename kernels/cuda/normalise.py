"""Normalisation over the last axes, or of groups of channels: normalise.cuh on its arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .axes import alike, into, into_each, power_of_two
from .reduce import launch
from .runtime import Call, Launch, Source, ctype, device_of, kernel

SOURCE = Source("normalise.cuh")
INSTANCES = tuple(f"{f}<{t}>" for f in ("normalise", "normalise_dx") for t in ("float", "double"))

THREADS = 256
NARROW = 4  # channels of a group; of fewer, a block would read a few bytes here and there


def _parts(shape: tuple[int, ...], axis: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """n, p, g, k: sizes of axes that are kept, gone, kept, gone; None for another order."""
    over = {a % len(shape) for a in axis}
    sizes, gone = [1], False  # alternately kept and gone
    for a, n in enumerate(shape):
        if n != 1 and (a in over) != gone:
            sizes.append(1)
            gone = not gone
        sizes[-1] *= n
    if len(sizes) == 2:  # the last axes are gone: k, where sums run along memory
        return sizes[0], 1, 1, sizes[1]
    n, p, g, k = (*sizes, 1, 1, 1)[:4]
    return (n, p, g, k) if len(sizes) < 5 else None


def _split(x: Any, weight: Any, axis: tuple[int, ...], *others: Any) -> Any:
    """n, p, g, k where all is as the kernels take it."""
    sizes = _parts(x.shape, axis) if alike(x, weight, *others) else None
    if sizes is None:
        return None
    n, p, g, k = sizes
    if p == g == 1 and k % weight.size == 0:  # one group of all channels, or a layer
        p, k = k // weight.size, weight.size
    channels = math.prod(x.shape[len(x.shape) - weight.ndim :])  # that weight is spread over
    served = (p == 1 or k >= NARROW) and g * k < 2**31 and n * g < 2**31
    return (n, p, g, k) if served and weight.size == g * k == channels else None


def block_of(p: int, k: int) -> tuple[int, np.int32]:
    """Threads of a block, four elements each and whole warps; columns that they take at a time."""
    threads = min(THREADS, max(32, power_of_two(p * k // 4)))
    return threads, np.int32(min(threads, power_of_two(k)))


def over_samples(outs: tuple[Any, ...], n: int, width: int) -> tuple[list[Any], list[Launch]]:
    """For each of `outs` a new array (n, width), and the launch that adds its rows to that one."""
    partial = [device_of(o).empty((n, width), o.dtype) for o in outs]
    sums = zip(partial, outs, strict=True)
    return partial, [launch("SUM", samples, o, (1, n, width), 1, 1) for samples, o in sums]


@kernel
def normalise(
    x: Any, weight: Any, bias: Any, *, axis: tuple[int, ...], eps: float, out: Any = None
) -> Any:
    """(x - mean) / sqrt(var + eps) weight + bias."""
    sizes = _split(x, weight, axis, bias)
    if sizes is None or bias.shape != weight.shape:
        return NotImplemented
    out = into(out, x, x.shape, x.dtype)
    if out is None:
        return NotImplemented
    n, p, g, k = sizes
    threads, width = block_of(p, k)
    args = (x, weight, bias, out, np.int64(p), np.int32(g), np.int32(k), width, x.dtype.type(eps))
    name = f"normalise<{ctype(x.dtype)}>"
    return Call([Launch(SOURCE, name, (n * g,), (threads,), args)], out)


@kernel
def normalise_dx(
    y: Any, x: Any, weight: Any, *, axis: tuple[int, ...], eps: float, out: Any = None
) -> Any:
    """normalise's gradients for x, weight and bias, given y, its cotangent."""
    sizes = _split(x, weight, axis, y)
    if sizes is None or y.shape != x.shape:
        return NotImplemented
    outs = into_each(out, x, (x.shape, weight.shape, weight.shape))
    if outs is None:
        return NotImplemented
    n, p, g, k = sizes
    partial, ends = over_samples(outs[1:], n, g * k)
    threads, width = block_of(p, k)
    numbers = (np.int64(p), np.int32(g), np.int32(k), width, x.dtype.type(eps))
    name = f"normalise_dx<{ctype(x.dtype)}>"
    args = (y, x, weight, outs[0], *partial, *numbers)
    return Call([Launch(SOURCE, name, (n * g,), (threads,), args), *ends], outs, keep=partial)
