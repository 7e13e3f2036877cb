"""Sums, means, extremes and the softmax family of contiguous arrays, along whole leading or
trailing axes.

    rows      (rows, n) -> (rows,)      trailing axes, or all of them (rows = 1)
    columns   (rows, cols) -> (cols,)   leading axes: the gradient of a bias

What adds up is always the same fixed pieces, whichever core adds them and however wide its vectors
are, so results are the same bits for any number of threads:

- a row is cut into blocks of 4096; in a block, 64 sums (32 in float64) run side by side and are
  added as a tree; the blocks of a row are added in float64, in order. So an error grows as with
  NumPy's pairwise sum, or slower.
- columns are cut into strips of 256 bytes, rows into blocks; a strip of sums stays in registers
  while a block of rows passes; then the blocks are added. The last strip overlaps the one before:
  both write the same numbers there. Narrow matrices are read as wide ones, several rows a line.

`fold` is that inner loop, emitted as LLVM vectors: a naive sum is one chain of additions, which no
compiler may cut up. The softmax family takes the last axes, a row at a time: its maximum, then
exponentials and their sum in blocks, then the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..binding import kernel
from .middle import middle
from .runtime import (
    Call,
    doubles,
    float64_pointer,
    floats,
    inline,
    native,
    number,
    word,
    workers_for,
)  # fmt: skip

BLOCK = 4096  # elements of a row that are added within float32
STRIP = 256  # bytes of a row that one fold takes in registers
SUM, MAX, MIN = 0, 1, 2
EAGER_FROM = 65_536  # elements: below, NumPy sums while a call is still being bound
_I64, _I32 = ir.IntType(64), ir.IntType(32)

# ---- the fold: `count` vectors, `stride` bytes apart, combined side by side ----------------------


def _extreme(order: str) -> Callable[..., Any]:
    def combine(b: Any, a: Any, x: Any) -> Any:
        keep = b.or_(b.fcmp_ordered(order, a, x), b.fcmp_unordered("uno", a, a))  # NaN stays
        return b.select(keep, a, x)

    return combine


def _splat(b: Any, value: Any, lanes: int) -> Any:
    vector = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    return b.shuffle_vector(
        b.insert_element(vector, value, _I32(0)), vector,
        ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes),
    )  # fmt: skip


def _loop(
    b: Any, combine: Any, size: int, address: Any, count: Any, stride: Any, start: Any
) -> Any:
    """Emit the fold of count vectors of `size` bytes; the result is a vector."""
    lanes = size // (8 if start.type == ir.DoubleType() else 4)
    begin = _splat(b, start, lanes)
    entry, head = b.block, b.append_basic_block("head")
    body, done = b.append_basic_block("body"), b.append_basic_block("done")
    b.branch(head)
    b.position_at_end(head)
    i, acc = b.phi(_I64), b.phi(begin.type)
    b.cbranch(b.icmp_signed("<", i, count), body, done)
    b.position_at_end(body)
    place = b.inttoptr(b.add(address, b.mul(i, stride)), begin.type.as_pointer())
    after = combine(b, acc, b.load(place, align=size // lanes))
    i.add_incoming(_I64(0), entry)
    i.add_incoming(b.add(i, _I64(1)), body)
    acc.add_incoming(begin, entry)
    acc.add_incoming(after, body)
    b.branch(head)
    b.position_at_end(done)
    return acc


def _fold(combine: Callable[..., Any], size: int) -> Any:
    """fold(address, count, stride, start) -> number: the vector's lanes combined as a tree."""

    @intrinsic
    def fold(typing: Any, address: Any, count: Any, stride: Any, start: Any) -> Any:
        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            acc = _loop(b, combine, size, *args)
            while acc.type.count > 1:
                half = acc.type.count // 2
                low, high = (
                    ir.Constant(ir.VectorType(_I32, half), list(range(k, k + half)))
                    for k in (0, half)
                )
                acc = combine(b, b.shuffle_vector(acc, acc, low), b.shuffle_vector(acc, acc, high))
            return b.extract_element(acc, _I32(0))

        return start(types.intp, types.intp, types.intp, start), emit

    return fold


def _strip(combine: Callable[..., Any]) -> Any:
    """strip(address, count, stride, start, divisor, destination): writes the vector / divisor."""

    @intrinsic
    def strip(typing: Any, address: Any, count: Any, stride: Any, start: Any, divisor: Any,
              destination: Any) -> Any:  # fmt: skip
        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            acc = _loop(b, combine, STRIP, *args[:4])
            value = b.fdiv(acc, _splat(b, args[4], acc.type.count))
            place = b.inttoptr(args[5], value.type.as_pointer())
            b.store(value, place, align=STRIP // acc.type.count)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, types.intp, start, start, types.intp), emit

    return strip


def _add(b: Any, a: Any, x: Any) -> Any:
    return b.fadd(a, x)


_sum256, _sum64, _sum_strip = _fold(_add, STRIP), _fold(_add, 64), _strip(_add)
_max256, _max_strip = _fold(_extreme(">"), STRIP), _strip(_extreme(">"))
_min256, _min_strip = _fold(_extreme("<"), STRIP), _strip(_extreme("<"))


@inline
def _start(op):  # type: ignore[no-untyped-def]
    """What changes nothing: -0 + x is x, also for x = -0."""
    return -0.0 if op == SUM else (-np.inf if op == MAX else np.inf)


@inline
def _least(a, b):  # type: ignore[no-untyped-def]
    """Python's min, whose name is an operation's here."""
    return a if a < b else b


@inline
def _both(op, a, x):  # type: ignore[no-untyped-def]
    if op == SUM:
        return a + x
    if a != a:
        return a
    return a if (a > x if op == MAX else a < x) else x


@inline
def _run(op, x):  # type: ignore[no-untyped-def]
    """All of a short view x combined: vectors of 256 bytes, of 64, then the last few in order."""
    start, place = x.dtype.type(_start(op)), x.ctypes.data
    count = x.size * x.itemsize // 256
    done = count * 256 // x.itemsize
    if op == SUM:
        s = _sum256(place, count, 256, start)
        small = (x.size - done) * x.itemsize // 64
        if small:
            s += _sum64(place + count * 256, small, 64, start)
            done += small * 64 // x.itemsize
    elif op == MAX:
        s = _max256(place, count, 256, start)
    else:
        s = _min256(place, count, 256, start)
    for i in range(done, x.size):
        s = _both(op, s, x[i])
    return s


# ---- rows ----------------------------------------------------------------------------------------
# Table: x out rows n blocks op divisor partial


@inline
def _rows(worker, workers, args, x, out):  # type: ignore[no-untyped-def]
    """A block of a row is a piece of work: its result, or one of its row's partial results."""
    n, blocks, op = word(args, 3), word(args, 4), word(args, 5)
    divisor = x.dtype.type(number(args, 6))
    partial = float64_pointer(word(args, 7))
    pieces = out.size * blocks
    for piece in range(pieces * worker // workers, pieces * (worker + 1) // workers):
        row = piece // blocks
        begin = (piece - row * blocks) * BLOCK
        s = _run(op, x[row * n + begin : row * n + _least(begin + BLOCK, n)])
        if blocks == 1:
            out[row] = s / divisor
        else:
            partial[piece] = s


@native
def _rows32(worker, workers, args):  # type: ignore[no-untyped-def]
    rows, n = word(args, 2), word(args, 3)
    _rows(worker, workers, args, floats(args, 0, rows * n), floats(args, 1, rows))


@native
def _rows64(worker, workers, args):  # type: ignore[no-untyped-def]
    rows, n = word(args, 2), word(args, 3)
    _rows(worker, workers, args, doubles(args, 0, rows * n), doubles(args, 1, rows))


@native
def _rows_end(worker, workers, args):  # type: ignore[no-untyped-def]
    """The blocks of each row combined in order; as float32 if word 8 says so."""
    rows, blocks, op, divisor = word(args, 2), word(args, 4), word(args, 5), number(args, 6)
    partial = doubles(args, 7, rows * blocks)
    for row in range(rows * worker // workers, rows * (worker + 1) // workers):
        s = partial[row * blocks]
        for i in range(row * blocks + 1, (row + 1) * blocks):
            s = _both(op, s, partial[i])
        if word(args, 8):
            floats(args, 1, rows)[row] = s / divisor
        else:
            doubles(args, 1, rows)[row] = s / divisor


# ---- columns -------------------------------------------------------------------------------------
# Table: x out lines width height blocks op divisor partial | k cols tail
# x is read as `lines` lines of `width` numbers, each k rows of `cols`; `tail` rows are left over.


@inline
def _strips(worker, workers, args, x, lines, height, divisor, out):  # type: ignore[no-untyped-def]
    """Fold each block of `height` lines into a line of `out`; strips are the pieces of work."""
    width, op = word(args, 3), word(args, 6)
    start, by, item = x.dtype.type(_start(op)), x.dtype.type(divisor), x.itemsize
    lanes = STRIP // item
    strips = (width + lanes - 1) // lanes
    pieces = (lines + height - 1) // height * strips
    for piece in range(pieces * worker // workers, pieces * (worker + 1) // workers):
        block = piece // strips
        column = _least((piece - block * strips) * lanes, width - lanes)
        source = x.ctypes.data + (block * height * width + column) * item
        target = out.ctypes.data + (block * width + column) * item
        count = _least(height, lines - block * height)
        if op == SUM:
            _sum_strip(source, count, width * item, start, by, target)
        elif op == MAX:
            _max_strip(source, count, width * item, start, by, target)
        else:
            _min_strip(source, count, width * item, start, by, target)


@inline
def _columns(worker, workers, args, x, out, partial):  # type: ignore[no-untyped-def]
    direct = word(args, 5) == 1 and word(args, 9) == 1
    divisor = number(args, 7) if direct else 1.0
    target = out if direct else partial
    _strips(worker, workers, args, x, word(args, 2), word(args, 4), divisor, target)


@inline
def _columns_end(worker, workers, args, x, out, partial):  # type: ignore[no-untyped-def]
    """The blocks combined; if lines were k rows, their k pieces and the rows left over too."""
    lines, width, blocks, op = word(args, 2), word(args, 3), word(args, 5), word(args, 6)
    k, cols, tail = word(args, 9), word(args, 10), word(args, 11)
    if k == 1:
        _strips(worker, workers, args, partial, blocks, blocks, number(args, 7), out)
    else:
        start, divisor = x.dtype.type(_start(op)), x.dtype.type(number(args, 7))
        total = partial[blocks * width :]
        if blocks:
            _strips(0, 1, args, partial, blocks, blocks, 1.0, total)
        for j in range(cols):
            s = start
            for i in range(k if blocks else 0):
                s = _both(op, s, total[i * cols + j])
            for i in range(lines * k, lines * k + tail):
                s = _both(op, s, x[i * cols + j])
            out[j] = s / divisor


@inline
def _sizes(args):  # type: ignore[no-untyped-def]
    """Elements of x, of out and of the partial results."""
    k, cols = word(args, 9), word(args, 10)
    return (word(args, 2) * k + word(args, 11)) * cols, cols, (word(args, 5) + 1) * word(args, 3)


@native
def _columns32(worker, workers, args):  # type: ignore[no-untyped-def]
    a, b, c = _sizes(args)
    _columns(worker, workers, args, floats(args, 0, a), floats(args, 1, b), floats(args, 8, c))


@native
def _columns64(worker, workers, args):  # type: ignore[no-untyped-def]
    a, b, c = _sizes(args)
    _columns(worker, workers, args, doubles(args, 0, a), doubles(args, 1, b), doubles(args, 8, c))


@native
def _columns_end32(worker, workers, args):  # type: ignore[no-untyped-def]
    a, b, c = _sizes(args)
    _columns_end(worker, workers, args, floats(args, 0, a), floats(args, 1, b), floats(args, 8, c))


@native
def _columns_end64(worker, workers, args):  # type: ignore[no-untyped-def]
    a, b, c = _sizes(args)
    x, out, partial = doubles(args, 0, a), doubles(args, 1, b), doubles(args, 8, c)
    _columns_end(worker, workers, args, x, out, partial)


# ---- the operations ------------------------------------------------------------------------------


def _split(x: Any, axes: tuple[int, ...]) -> tuple[str, int, int] | None:
    """("rows" or "columns", rows, columns) for a sum over `axes`; None for axes in the middle."""
    served = x.dtype in (np.float32, np.float64) and x.flags.c_contiguous and x.size
    real = [a for a in range(x.ndim) if x.shape[a] != 1]
    gone = [a for a in real if a in axes]
    if not served or not gone:
        return None
    k = len(gone)
    if gone == real[-k:]:
        n = math.prod(x.shape[a] for a in gone)
        return "rows", x.size // n, n
    if gone == real[:k]:
        n = math.prod(x.shape[a] for a in gone)
        return "columns", n, x.size // n
    return None


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def _into(out: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """`out` if it can be written, a new array without it, else None."""
    if out is None:
        return np.empty(shape, dtype)
    return out if out.dtype == dtype and out.shape == shape and out.flags.c_contiguous else None


def _reduce(op: int, x: Any, axes: tuple[int, ...], shape: tuple[int, ...], out: Any,
            divide: bool = False) -> Any:  # fmt: skip
    split = _split(x, axes)
    out = _into(out, shape, x.dtype)
    if split is None or out is None:
        return NotImplemented if out is None or op != SUM else middle(x, axes, out, divide)
    kind, rows, cols = split
    single, workers = x.dtype == np.float32, workers_for(x.size)
    if kind == "rows":
        blocks = -(-cols // BLOCK)
        partial = np.empty(rows * blocks if blocks > 1 else 0)
        args = (x, out, rows, cols, blocks, op, float(cols if divide else 1), partial, single)
        then = [(_rows_end, 1)] if blocks > 1 else []
        return Call(_rows32 if single else _rows64, args, out=out, workers=workers, then=then)
    k = 1 if cols * x.itemsize >= STRIP else 512 // cols
    lines, width = rows // k, cols * k
    height = lines or 1
    if lines > 512 or x.size > 1 << 18:  # blocks that fit a core's cache, of 16 to 256 lines
        height = 16 * -(-4096 // width) if width < 4096 else 16
    blocks = -(-lines // height)
    direct = blocks == 1 and k == 1
    partial = np.empty(0 if direct else (blocks + 1) * width, x.dtype)
    divisor = float(rows if divide else 1)
    args = (x, out, lines, width, height, blocks, op, divisor, partial, k, cols, rows % k)
    end = _columns_end32 if single else _columns_end64
    then = [] if direct else [(end, workers_for(partial.size) if k == 1 else 1)]
    return Call(_columns32 if single else _columns64, args, out=out, workers=workers, then=then)


def _shape(x: Any, axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    pairs = enumerate(x.shape)
    if keepdims:
        return tuple(1 if a in axes else n for a, n in pairs)
    return tuple(n for a, n in pairs if a not in axes)


@kernel(eager_from=EAGER_FROM)
def sum(x: Any, *, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
    axes = _axes(axis, x.ndim)
    return _reduce(SUM, x, axes, _shape(x, axes, keepdims), out)


@kernel(eager_from=EAGER_FROM)
def mean(x: Any, *, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
    axes = _axes(axis, x.ndim)
    return _reduce(SUM, x, axes, _shape(x, axes, keepdims), out, divide=True)


@kernel(eager_from=EAGER_FROM)
def max(x: Any, *, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
    axes = _axes(axis, x.ndim)
    return _reduce(MAX, x, axes, _shape(x, axes, keepdims), out)


@kernel(eager_from=EAGER_FROM)
def min(x: Any, *, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
    axes = _axes(axis, x.ndim)
    return _reduce(MIN, x, axes, _shape(x, axes, keepdims), out)


@kernel(eager_from=EAGER_FROM)
def sum_to(x: Any, *, shape: tuple[int, ...], out: Any = None) -> Any:
    lead = x.ndim - len(shape)
    same = [lead + i for i, n in enumerate(shape) if n == x.shape[lead + i]]
    return _reduce(SUM, x, tuple(a for a in range(x.ndim) if a not in same), tuple(shape), out)
