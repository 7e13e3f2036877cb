"""Matrix products: matmul.cuh on its arguments, with the rung and tiles that suit the shape."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .runtime import (
    Call,
    Launch,
    Source,
    blocks,
    ctype,
    dense,
    device_of,
    kernel,
    strides_of_a_grid,
)

SOURCE = Source("matmul.cuh")
MULTIPROCESSORS = 132  # to fill: a constant, so that results are the same on every GPU
SHORTEST = 64  # a part of k: less is not worth a second launch
STEP = 16  # of k: what a block brings into shared memory at once, in most rungs
MOST = 65535  # blocks on the second and third axis of a grid
MANY = 64  # launches of one product, where strides of the leading axes do not go together


class Rung(NamedTuple):
    """A kernel with square tiles.

    Args:
        numbers: its template arguments before the layouts.
        step: of k, as in `numbers`; parts of k are multiples of it.
    """

    tile: int
    threads: int
    kernel: str
    numbers: str
    step: int = STEP

    def named(self, a_k: bool, b_k: bool) -> str:
        return f"{self.kernel}<{self.numbers}, {str(a_k).lower()}, {str(b_k).lower()}>"


RUNGS = {  # from large tiles to small ones: the large ones read less, the small ones are more
    "float32": (
        Rung(128, 256, "vector_tiles", f"128, 128, {STEP}, 8, 8"),
        Rung(64, 256, "vector_tiles", f"64, 64, {STEP}, 4, 4"),
    ),
    "tf32": (
        Rung(128, 256, "tensor_tiles", f"Tf32, 128, 128, {STEP}, 64, 32"),
        Rung(64, 128, "tensor_tiles", f"Tf32, 64, 64, {STEP}, 32, 32"),
    ),
    "bf16": (  # twice the step costs more registers, which the large tiles do not have
        Rung(128, 256, "tensor_tiles", f"Bf16, 128, 128, {STEP}, 64, 32"),
        Rung(64, 128, "tensor_tiles", f"Bf16, 64, 64, {2 * STEP}, 32, 32", 2 * STEP),
    ),
    "float64": (Rung(64, 256, "register_tiles", f"double, 64, 64, {STEP}, 4, 4"),),
}
INSTANCES = (
    *(
        rung.named(a_k, b_k)
        for rungs in RUNGS.values()
        for rung in rungs
        for a_k in (True, False)
        for b_k in (True, False)
    ),
    "sum_parts<float>",
    "sum_parts<double>",
)

# ---- the epilogue --------------------------------------------------------------------------------

ACTIVATIONS = ("none", "relu", "leaky_relu", "tanh", "sigmoid")  # numbered as in epilogue.cuh
BIAS, MASK, ACCUMULATE = 8, 16, 32


class Epilogue(NamedTuple):
    """What is done to the product's elements; arrays that `code` does not ask for are any."""

    bias: Any
    saved: Any
    code: np.int32
    slope: Any
    source: Source = SOURCE
    reached: tuple[Any, ...] = ()


# ---- layouts -------------------------------------------------------------------------------------


class Operand(NamedTuple):
    """How a matrix, or a stack of them, lies in memory; in numbers, not bytes."""

    along_k: bool  # the contiguous axis is k
    ld: int  # from one row of contiguous numbers to the next
    batch: int  # from one matrix to the next; 0 if there is one for all


def _operand(x: Any, k_axis: int, lead: tuple[int, ...]) -> Operand | None:
    """The layout of an operand whose leading axes broadcast to `lead`."""
    size = x.dtype.itemsize
    if any(s % size for s in x.strides):
        return None
    *strides, row, column = (s // size for s in x.strides)
    rows, columns = x.shape[-2:]
    if column == 1 and columns > 1:
        inner, ld = -1, row if rows > 1 else 0
    elif row == 1 and rows > 1:
        inner, ld = -2, column if columns > 1 else 0
    elif columns == 1:
        inner, ld = -1, row
    elif rows == 1:
        inner, ld = -2, column
    else:
        return None
    batch = _one_stride(x.shape[:-2], strides, lead)
    if batch is None or abs(ld) >= 2**31:
        return None
    return Operand(inner == k_axis, ld, batch)


def _one_stride(shape: tuple[int, ...], strides: list[int], lead: tuple[int, ...]) -> int | None:
    """The distance between matrices, if all leading axes of length `lead` make do with one."""
    missing = len(lead) - len(shape)
    found = reach = None
    for axis in reversed(range(len(lead))):
        if lead[axis] == 1:
            continue
        here = axis - missing
        stride = strides[here] if here >= 0 and shape[here] > 1 else 0
        if reach is None:
            found = stride
        elif stride != reach:
            return None
        reach = stride * lead[axis]
    return found or 0


# ---- launches ------------------------------------------------------------------------------------


def _rung(rungs: tuple[Rung, ...], m: int, n: int, k: int, batch: int) -> tuple[Rung, int]:
    """The rung, and how much of k a block sums: by size alone, so a shape has the same bits."""
    for rung in rungs:
        count = blocks(m, rung.tile) * blocks(n, rung.tile) * batch
        if count >= MULTIPROCESSORS:
            return rung, k
    parts = min(blocks(MULTIPROCESSORS, count), blocks(k, SHORTEST))
    return rung, k if parts == 1 else blocks(blocks(k, parts), rung.step) * rung.step


def _launches(
    x: Any, y: Any, out: Any, rungs: tuple[Rung, ...], epilogue: Epilogue, keep: list[Any]
) -> list[Launch] | None:
    """The launches of a product, batched or not; what they need of scratch memory goes to keep."""
    lead, (m, n), k = out.shape[:-2], out.shape[-2:], x.shape[-1]
    a, b = _operand(x, -1, lead), _operand(y, -2, lead)
    if a is None or b is None:
        return _one_by_one(x, y, out, rungs, epilogue, keep)
    batch = math.prod(lead)
    rung, depth = _rung(rungs, m, n, k, batch)
    parts = blocks(k, depth)
    grid = blocks(m, rung.tile), blocks(n, rung.tile), batch * parts
    if max(m, n, k) >= 2**31 or max(grid[1:]) > MOST:
        return None
    numbers = (
        np.int32(m), np.int32(n), np.int32(k), np.int32(a.ld), np.int32(b.ld),
        np.int64(a.batch), np.int64(b.batch), np.int32(batch), np.int32(depth),
    )  # fmt: skip
    to, end = out, epilogue
    if parts > 1:
        to = device_of(x).empty((parts, *out.shape), out.dtype)
        keep.append(to)
        end = epilogue._replace(code=np.int32(0), source=SOURCE, reached=())
    args = (x, y, to, end.bias, end.saved, *numbers, end.code, end.slope)
    name = rung.named(a.along_k, b.along_k)
    first = Launch(end.source, name, grid, (rung.threads,), args, reached=end.reached)
    if parts == 1:
        return [first]
    args = (
        to, out, epilogue.bias, epilogue.saved, np.int32(parts), np.int32(n), np.int64(out.size),
        epilogue.code, epilogue.slope,
    )  # fmt: skip
    name, shape = f"sum_parts<{ctype(out.dtype)}>", strides_of_a_grid(out.size)
    return [first, Launch(epilogue.source, name, *shape, args, reached=epilogue.reached)]


def _one_by_one(
    x: Any, y: Any, out: Any, rungs: tuple[Rung, ...], epilogue: Epilogue, keep: list[Any]
) -> list[Launch] | None:
    """The launches for each index of the first leading axis."""
    if out.ndim == 2 or out.shape[0] > MANY:
        return None
    found: list[Launch] = []
    for i in range(out.shape[0]):
        saved = epilogue.saved[i] if epilogue.code & MASK else epilogue.saved
        one = epilogue._replace(saved=saved)
        here = [v if v.ndim < out.ndim else v[i if v.shape[0] > 1 else 0] for v in (x, y)]
        more = _launches(*here, out[i], rungs, one, keep)
        if more is None or len(found) + len(more) > MANY:
            return None
        found += more
    return found


# ---- kernels -------------------------------------------------------------------------------------


def product(
    x: Any, y: Any, *, bias: Any = None, activation: str = "none", slope: float = 0.0,
    saved: Any = None, accumulate: bool = False, out: Any = None, precision: str = "float32",
    ends: Epilogue | None = None,
) -> Any:  # fmt: skip
    """The call that makes x @ y and what follows, or NotImplemented. (..., M, K), (..., K, N).

    Args:
        bias: (N,), added to every row.
        activation, slope: applied to the sum. Given `saved`, the activation's result in the forward
            pass, the sum is multiplied by the activation's derivative there instead.
        accumulate: add to what out holds.
        precision: of float32 operands: "float32", or "tf32" or "bf16" for tensor cores.
        ends: an epilogue of its own (epilogue.py) instead of all these.
    """
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2]) if x.ndim + y.ndim > 4 else ()
    shape = (*lead, x.shape[-2], y.shape[-1])
    if x.dtype != y.dtype or x.dtype not in (np.float32, np.float64):
        return NotImplemented
    if not (x.size and y.size) or (accumulate and out is None) or (slope < 0 and saved is not None):
        return NotImplemented
    device = device_of(x)
    if precision != "float32" and device.capability < 80:
        return NotImplemented
    out = device.empty(shape, x.dtype) if out is None else out
    for array, wanted in ((out, shape), (saved, shape), (bias, shape[-1:])):
        if array is None:
            continue
        if array.shape != wanted or array.dtype != x.dtype or not dense(array):
            return NotImplemented
    code = ACTIVATIONS.index(activation) + BIAS * (bias is not None)
    code += MASK * (saved is not None) + ACCUMULATE * accumulate
    given = (x if bias is None else bias, x if saved is None else saved)
    epilogue = ends or Epilogue(*given, np.int32(code), x.dtype.type(slope))
    rungs = RUNGS[precision if x.dtype == np.float32 else "float64"]
    keep: list[Any] = []
    to = out
    if x.ndim > 2 and y.ndim == 2 and x.flags.c_contiguous:  # one matrix with all rows
        x, to = x.reshape(-1, x.shape[-1]), out.reshape(-1, shape[-1])
    library = None if ends or code else device.library_product(x, y, to, precision)
    if library is not None:
        library.out = out
        return library
    launches = _launches(x, y, to, rungs, epilogue, keep)
    return NotImplemented if launches is None else Call(launches, out, keep=keep)


@kernel
def matmul_nd(x: Any, y: Any, *, out: Any = None) -> Any:
    """x @ y, matrices or stacks of them."""
    return product(x, y, out=out, precision=device_of(x).precision)


@kernel
def linear_fused(x: Any, w: Any, b: Any, *, out: Any = None) -> Any:
    """x @ w + b."""
    return product(x, w, bias=b, out=out, precision=device_of(x).precision)
