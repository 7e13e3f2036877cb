"""Attention of heads, forward and back: attention.cuh on its arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .axes import into, into_each
from .runtime import Call, Launch, Source, blocks, ctype, dense, device_of, devices, kernel

SOURCE = Source("attention.cuh")
SIDE, TILES = 16, {"float": 4, "double": 2}  # threads along a tile; its rows of one thread
WIDTHS = (1, 4)  # columns of a thread: heads of up to 16 numbers, and of more
INSTANCES = tuple(
    f"{name}<{rows}, {columns}, {kind}>"
    for name in ("attend", "attend_dq", "attend_dkv")
    for kind, rows in TILES.items() for columns in WIDTHS
)  # fmt: skip
STRIPS = 65535  # blocks along the second axis of a grid


@dataclass(frozen=True)
class Heads:
    """An array as (samples, heads, places, width).

    Args:
        array: that starts where the first head does.
        shape: the four sizes.
        steps: how many numbers it is from sample to sample, head to head, place to place.
    """

    array: Any
    shape: tuple[int, int, int, int]
    steps: tuple[int, int, int]


def _served(*arrays: Any) -> bool:
    """Whether these are arrays of the device of one type, not empty."""
    kind = arrays[0].dtype
    return kind in (np.float32, np.float64) and all(
        type(a) in devices and a.dtype == kind and a.size and max(a.shape) < 2**30 for a in arrays
    )


def _apart(x: Any) -> Heads | None:
    """(..., places, width); of four axes any but the last may lie apart."""
    if x.ndim == 4 and min(x.strides) >= 0 and (x.strides[3] == x.itemsize or x.shape[3] == 1):
        a, b, c, _ = (n // x.itemsize for n in x.strides)
        return Heads(x, x.shape, (a, b, c))
    if not x.flags.c_contiguous:
        return None
    places, width = x.shape[-2:]
    return Heads(x, (x.size // (places * width), 1, places, width), (places * width, 0, width))


def _beside(x: Any, parts: int, heads: int) -> list[Heads]:
    """The parts of a dense (n, places, parts heads d)."""
    n, places, width = x.shape
    d = width // (parts * heads)
    cut = x.reshape(n, places, parts, heads * d)
    shape, steps = (n, heads, places, d), (places * width, d, width)
    return [Heads(cut[:, :, i], shape, steps) for i in range(parts)]


# ---- calls ---------------------------------------------------------------------------------------


def _steps(*several: Heads) -> tuple[Any, ...]:
    return tuple(np.int64(n) for one in several for n in one.steps)


def _sizes(q: Heads, v: Heads, causal: bool) -> tuple[tuple[Any, ...], str, int, int]:
    """The numbers of all kernels; their template's arguments; rows and columns of a tile."""
    (_, heads, n, d), (m, e), dtype = q.shape, v.shape[2:], q.array.dtype
    kind = ctype(dtype)
    columns = WIDTHS[0] if d <= SIDE >= e else WIDTHS[1]
    sizes = tuple(map(np.int32, (heads, n, m, d, e, causal)))
    end = f"<{TILES[kind]}, {columns}, {kind}>"
    return (*sizes, dtype.type(1 / math.sqrt(d))), end, SIDE * TILES[kind], SIDE * columns


def _launch(name: str, grid: tuple[int, int], args: tuple[Any, ...]) -> Launch:
    return Launch(SOURCE, name, grid, (SIDE * SIDE,), args)


def _forwards(q: Heads, k: Heads, v: Heads, causal: bool, y: Heads, out: Any) -> Any:
    """Into y, which is out."""
    numbers, end, tile, width = _sizes(q, v, causal)
    grid = q.shape[0] * q.shape[1] * blocks(q.shape[2], tile), blocks(v.shape[3], width)
    if grid[0] >= 2**31 or grid[1] > STRIPS:
        return NotImplemented
    all_of_them = q, k, v, y
    args = (*(h.array for h in all_of_them), *numbers, *_steps(*all_of_them))
    return Call([_launch(f"attend{end}", grid, args)], out)


def _backwards(
    given: list[Heads], causal: bool, dq: Heads, dk: Heads, dv: Heads, out: Any
) -> Any:  # fmt: skip
    """Given the cotangent, q, k and v; into dq, dk and dv, which are out."""
    _, q, _, v = given
    numbers, end, tile, width = _sizes(q, v, causal)
    pieces, (n, d), (m, e) = q.shape[0] * q.shape[1], q.shape[2:], v.shape[2:]
    deep, wide = blocks(d, width), blocks(e, width)
    if pieces * blocks(max(n, m), tile) >= 2**31 or deep + wide > STRIPS:
        return NotImplemented
    sums = [device_of(q.array).empty((pieces, n), q.array.dtype) for _ in range(2)]
    arrays = [h.array for h in given]
    first = (*arrays, dq.array, *sums, *numbers, *_steps(*given, dq))
    then = (*arrays, *sums, dk.array, dv.array, *numbers, *_steps(*given, dk, dv))
    launches = [
        _launch(f"attend_dq{end}", (pieces * blocks(n, tile), deep), first),
        _launch(f"attend_dkv{end}", (pieces * blocks(m, tile), deep + wide), then),
    ]
    return Call(launches, out, keep=sums)


# ---- the operations ------------------------------------------------------------------------------


@kernel
def attend(q: Any, k: Any, v: Any, *, causal: bool, out: Any = None) -> Any:
    """softmax(q k^T / sqrt(d)) v."""
    heads = [_apart(a) for a in (q, k, v)] if _served(q, k, v) else [None]
    out = into(out, q, (*q.shape[:-1], v.shape[-1]), q.dtype) if None not in heads else None
    return NotImplemented if out is None else _forwards(*heads, causal, _apart(out), out)


@kernel
def attend_dx(y: Any, q: Any, k: Any, v: Any, *, causal: bool, out: Any = None) -> Any:
    """attend's gradients for q, k and v, given y, its cotangent."""
    heads = [_apart(a) for a in (y, q, k, v)] if _served(y, q, k, v) else [None]
    if None in heads:
        return NotImplemented
    outs = into_each(out, q, (q.shape, k.shape, v.shape))
    if outs is None:
        return NotImplemented
    return _backwards(heads, causal, *map(_apart, outs), outs)


@kernel
def attend_self(x: Any, *, heads: int, causal: bool, out: Any = None) -> Any:
    """attend of x (n, places, 3 heads d), its three parts side by side."""
    if not _served(x) or not dense(x):
        return NotImplemented
    out = into(out, x, (*x.shape[:2], x.shape[2] // 3), x.dtype)
    if out is None:
        return NotImplemented
    return _forwards(*_beside(x, 3, heads), causal, *_beside(out, 1, heads), out)


@kernel
def attend_self_dx(y: Any, x: Any, *, heads: int, causal: bool, out: Any = None) -> Any:
    """attend_self's gradient for x, given y, its cotangent."""
    if not _served(y, x) or not dense(y, x):
        return NotImplemented
    out = into(out, x, x.shape, x.dtype)
    if out is None:
        return NotImplemented
    given = [*_beside(y, 1, heads), *_beside(x, 3, heads)]
    return _backwards(given, causal, *_beside(out, 3, heads), out)
