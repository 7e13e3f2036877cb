"""softmax, log_softmax and logsumexp over the last axes: softmax.cuh on its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from .axes import Axis, floats, into, lanes, normal, reduced, split
from .runtime import Call, Launch, Source, blocks, ctype, device_of, kernel

SOURCE = Source("softmax.cuh")
INSTANCES = (
    "softmax_warps<4, float>", "softmax_warps<32, float>", "softmax_blocks<float>",
    "softmax_warps<4, double>", "softmax_warps<32, double>", "softmax_blocks<double>",
)  # fmt: skip
SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = 0, 1, 2

THREADS = 256
EACH = 4096  # elements that keep a block busy
FILL = 512  # blocks that fill a device
ALONE = 32  # pieces of a row that one block takes while the device idles


def _bind(form: int, x: Any, axes: tuple[int, ...], shape: tuple[int, ...], out: Any) -> Any:
    view = split(x.shape, axes) if floats(x) else None
    out = None if view is None else into(out, x, shape, x.dtype)
    if view is None or out is None or view[2] != 1 or view[0] >= 2**31:
        return NotImplemented
    rows, n, _ = view
    busy, wanted = n // EACH, FILL // rows
    pieces = busy if busy < wanted else wanted
    if form != LOGSUMEXP and pieces > ALONE:
        return NotImplemented
    if form != LOGSUMEXP or pieces < 2:
        return Call([_launch(form, x, out, rows, n, 1)], out)
    pieces = blocks(n, blocks(n, pieces))
    partial = device_of(x).empty((rows, pieces), x.dtype)
    first = _launch(form, x, partial, rows, n, pieces)
    return Call([first, _launch(form, partial, out, rows, pieces, 1)], out, keep=partial)


def _launch(form: int, x: Any, out: Any, rows: int, n: int, pieces: int) -> Launch:
    kind, head = ctype(x.dtype), (x, out, np.int32(form))
    if n > 1024:
        threads = THREADS if n <= 2 * EACH else 1024
        args = (*head, np.int64(n), np.int64(blocks(n, pieces)), np.int32(pieces))
        return Launch(SOURCE, f"softmax_blocks<{kind}>", (rows * pieces,), (threads,), args)
    per, width = 4 if n <= 128 else 32, lanes(blocks(n, 4))
    height = THREADS // width
    args = (*head, np.int64(rows), np.int32(n))
    name = f"softmax_warps<{per}, {kind}>"
    return Launch(SOURCE, name, (blocks(rows, height),), (width, height), args)


@kernel
def softmax(x: Any, *, axis: Axis = -1, out: Any = None) -> Any:
    """exp(x) / sum exp(x) over the last axes."""
    return _bind(SOFTMAX, x, normal(axis, x.ndim), x.shape, out)


@kernel
def log_softmax(x: Any, *, axis: Axis = -1, out: Any = None) -> Any:
    """x - log sum exp(x) over the last axes."""
    return _bind(LOG_SOFTMAX, x, normal(axis, x.ndim), x.shape, out)


@kernel
def logsumexp(x: Any, *, axis: Axis = None, keepdims: bool = False, out: Any = None) -> Any:
    """log sum exp(x) over the last axes."""
    axes = normal(axis, x.ndim)
    return _bind(LOGSUMEXP, x, axes, reduced(x.shape, axes, keepdims), out)
