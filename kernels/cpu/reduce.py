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

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..binding import kernel
from .axes import into, normal, reduced, split
from .emit import Loop, chosen
from .middle import middle
from .runtime import (
    Call,
    Table,
    array,
    both,
    doubles,
    float64_pointer,
    floats,
    inline,
    native,
    number,
    word,
    workers_for,
)  # fmt: skip
from .tile import broadcast, folded, shuffle
from .words import WORD

BLOCK = 4096  # elements of a row that are added within float32
STRIP = 256  # bytes of a row that one fold takes in registers
SUM, MAX, MIN = 0, 1, 2
EAGER_FROM = 65_536  # elements: below, NumPy sums while a call is still being bound

# ---- the fold: `count` vectors, `stride` bytes apart, combined side by side ----------------------


def _extreme(order: str) -> Callable[..., Any]:
    def combine(b: Any, a: Any, x: Any) -> Any:
        keep = b.or_(b.fcmp_ordered(order, a, x), b.fcmp_unordered("uno", a, a))  # NaN stays
        return b.select(keep, a, x)

    return combine


def _loop(
    b: Any, combine: Any, size: int, address: Any, count: Any, stride: Any, start: Any
) -> Any:
    """Emit the fold of count vectors of `size` bytes; the result is a vector."""
    lanes = size // (8 if start.type == ir.DoubleType() else 4)
    vector = ir.VectorType(start.type, lanes)
    with Loop(b, count, [broadcast(b, start, vector), address]) as turn:
        acc, place = turn.values
        x = b.load(b.inttoptr(place, vector.as_pointer()), align=size // lanes)
        turn.values = [combine(b, acc, x), b.add(place, stride)]
    return turn.values[0]


def _fold(combine: Callable[..., Any], size: int) -> Any:
    """fold(address, count, stride, start) -> number: the vector's lanes combined as a tree."""

    @intrinsic
    def fold(typing: Any, address: Any, count: Any, stride: Any, start: Any) -> Any:
        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            acc = _loop(b, combine, size, *args)
            return folded(b, acc, lambda low, high: combine(b, low, high))

        return start(types.intp, types.intp, types.intp, start), emit

    return fold


def _strip(combine: Callable[..., Any]) -> Any:
    """strip(address, count, stride, start, divisor, destination): writes the vector / divisor."""

    @intrinsic
    def strip(typing: Any, address: Any, count: Any, stride: Any, start: Any, divisor: Any,
              destination: Any) -> Any:  # fmt: skip
        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            acc = _loop(b, combine, STRIP, *args[:4])
            value = b.fdiv(acc, broadcast(b, args[4], acc.type))
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
def fold_all(op, x):  # type: ignore[no-untyped-def]
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


@intrinsic
def _groups(typing: Any, kind: Any, k: Any, count: Any, x: Any, to: Any) -> Any:
    """fold_all of each group of 4, 8 or 16 of `count` numbers, which fill whole lines, as vectors.

    All lanes of a group have the result: fewer numbers than a line are added in order, a lane after
    the other, and lines as a tree in which every lane is the root.
    """

    def emit_for(context: Any, b: Any, args: Any, k: int) -> Callable[[], None]:
        size, number = kind.bitwidth // 8, context.get_value_type(kind)
        lanes = 64 // size
        vector, lines = ir.VectorType(number, lanes), k // lanes or 1

        def emit() -> None:
            turns = b.udiv(args[2], WORD(lines * lanes))
            with Loop(b, turns, args[3:]) as turn:
                x, to = turn.values
                at = lambda place, i: b.inttoptr(b.add(place, WORD(64 * i)), vector.as_pointer())
                read = [b.load(at(x, i), align=size) for i in range(lines)]
                if k < lanes:
                    first = [lane // k * k for lane in range(lanes)]
                    read = [shuffle(b, read[0], read[0], [f + j for f in first]) for j in range(k)]
                total = read[0]
                for other in read[1:]:
                    total = b.fadd(total, other)
                half = lanes // 2 if k >= lanes else 0
                while half:
                    order = [lane ^ half for lane in range(lanes)]
                    total = b.fadd(total, shuffle(b, total, total, order))
                    half //= 2
                for i in range(lines):
                    b.store(total, at(to, i), align=size)
                turn.values = [b.add(place, WORD(64 * lines)) for place in turn.values]

        return emit

    def emit_all(context: Any, b: Any, signature: Any, args: Any) -> Any:
        chosen(b, args[1], {(k,): emit_for(context, b, args, k) for k in (4, 8, 16)})
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 4), emit_all


@inline
def folded_groups(kind, x, k, to):  # type: ignore[no-untyped-def]
    """to = fold_all of the group of k numbers of x that each belongs to; `kind`: one of them."""
    count = to.size
    if (k == 4 or k == 8 or k == 16) and count * x.itemsize % 64 == 0 and count % k == 0:
        _groups(kind, k, count, x.ctypes.data, to.ctypes.data)
        return
    for c in range(0, count, k):
        total = fold_all(SUM, x[c : c + k])
        for i in range(c, c + k):
            to[i] = total


# ---- rows ----------------------------------------------------------------------------------------

ROW_TABLE = Table("x out rows n blocks op divisor partial single")


@both
def _rows(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A block of a row is a piece of work: its result, or one of its row's partial results."""
    rows, n, op = word(args, ROW_TABLE.rows), word(args, ROW_TABLE.n), word(args, ROW_TABLE.op)
    blocks, divisor = word(args, ROW_TABLE.blocks), number(args, ROW_TABLE.divisor)
    x, out = array(kind, args, ROW_TABLE.x, rows * n), array(kind, args, ROW_TABLE.out, rows)
    partial, by = float64_pointer(word(args, ROW_TABLE.partial)), x.dtype.type(divisor)
    pieces = rows * blocks
    for piece in range(pieces * worker // workers, pieces * (worker + 1) // workers):
        row = piece // blocks
        begin = (piece - row * blocks) * BLOCK
        s = fold_all(op, x[row * n + begin : row * n + _least(begin + BLOCK, n)])
        if blocks == 1:
            out[row] = s / by
        else:
            partial[piece] = s


@native
def _rows_end(worker, workers, args):  # type: ignore[no-untyped-def]
    """The blocks of each row combined in order; as float32 if the array is of those (`single`)."""
    rows, blocks = word(args, ROW_TABLE.rows), word(args, ROW_TABLE.blocks)
    op, divisor = word(args, ROW_TABLE.op), number(args, ROW_TABLE.divisor)
    partial = doubles(args, ROW_TABLE.partial, rows * blocks)
    for row in range(rows * worker // workers, rows * (worker + 1) // workers):
        s = partial[row * blocks]
        for i in range(row * blocks + 1, (row + 1) * blocks):
            s = _both(op, s, partial[i])
        if word(args, ROW_TABLE.single):
            floats(args, ROW_TABLE.out, rows)[row] = s / divisor
        else:
            doubles(args, ROW_TABLE.out, rows)[row] = s / divisor


# ---- columns -------------------------------------------------------------------------------------
# x is read as `lines` lines of `width` numbers, each k rows of `cols`; `tail` rows are left over.

COLUMN_TABLE = Table("x out lines width height blocks op divisor partial k cols tail")


@inline
def _strips(worker, workers, args, x, lines, height, divisor, out):  # type: ignore[no-untyped-def]
    """Fold each block of `height` lines into a line of `out`; strips are the pieces of work."""
    width, op = word(args, COLUMN_TABLE.width), word(args, COLUMN_TABLE.op)
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
def _arrays(args, kind):  # type: ignore[no-untyped-def]
    """x, out and the partial results."""
    k, cols, lines = (
        word(args, COLUMN_TABLE.k), word(args, COLUMN_TABLE.cols), word(args, COLUMN_TABLE.lines)
    )  # fmt: skip
    x = array(kind, args, COLUMN_TABLE.x, (lines * k + word(args, COLUMN_TABLE.tail)) * cols)
    held = (word(args, COLUMN_TABLE.blocks) + 1) * word(args, COLUMN_TABLE.width)
    partial = array(kind, args, COLUMN_TABLE.partial, held)
    return x, array(kind, args, COLUMN_TABLE.out, cols), partial


@both
def _columns(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    x, out, partial = _arrays(args, kind)
    direct = word(args, COLUMN_TABLE.blocks) == 1 and word(args, COLUMN_TABLE.k) == 1
    divisor = number(args, COLUMN_TABLE.divisor) if direct else 1.0
    lines, height = word(args, COLUMN_TABLE.lines), word(args, COLUMN_TABLE.height)
    _strips(worker, workers, args, x, lines, height, divisor, out if direct else partial)


@both
def _columns_end(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """The blocks combined; if lines were k rows, their k pieces and the rows left over too."""
    x, out, partial = _arrays(args, kind)
    lines, width, op = (
        word(args, COLUMN_TABLE.lines), word(args, COLUMN_TABLE.width), word(args, COLUMN_TABLE.op)
    )  # fmt: skip
    blocks, divisor = word(args, COLUMN_TABLE.blocks), number(args, COLUMN_TABLE.divisor)
    k, cols = word(args, COLUMN_TABLE.k), word(args, COLUMN_TABLE.cols)
    if k == 1:
        _strips(worker, workers, args, partial, blocks, blocks, divisor, out)
    else:
        start, by = x.dtype.type(_start(op)), x.dtype.type(divisor)
        total = partial[blocks * width :]
        if blocks:
            _strips(0, 1, args, partial, blocks, blocks, 1.0, total)
        for j in range(cols):
            s = start
            for i in range(k if blocks else 0):
                s = _both(op, s, total[i * cols + j])
            for i in range(lines * k, lines * k + word(args, COLUMN_TABLE.tail)):
                s = _both(op, s, x[i * cols + j])
            out[j] = s / by


# ---- the operations ------------------------------------------------------------------------------


def _reduce(op: int, x: Any, axes: tuple[int, ...], shape: tuple[int, ...], out: Any,
            divide: bool = False) -> Any:  # fmt: skip
    cut = split(x, axes)
    out = into(out, shape, x.dtype)
    if cut is None or out is None:
        return NotImplemented if out is None or op != SUM else middle(x, axes, out, divide)
    kind, rows, cols = cut
    workers = workers_for(x.size)
    if kind == "rows":
        blocks = -(-cols // BLOCK)
        partial = np.empty(rows * blocks if blocks > 1 else 0)
        table = ROW_TABLE.fill(
            x=x, out=out, rows=rows, n=cols, blocks=blocks, op=op, partial=partial,
            divisor=float(cols if divide else 1), single=x.dtype == np.float32,
        )  # fmt: skip
        then = [(_rows_end, 1)] if blocks > 1 else []
        return Call(_rows[x.dtype], table, out=out, workers=workers, then=then)
    k = 1 if cols * x.itemsize >= STRIP else 512 // cols
    lines, width = rows // k, cols * k
    height = lines or 1
    if lines > 512 or x.size > 1 << 18:  # blocks that fit a core's cache, of 16 to 256 lines
        height = 16 * -(-4096 // width) if width < 4096 else 16
    blocks = -(-lines // height)
    direct = blocks == 1 and k == 1
    partial = np.empty(0 if direct else (blocks + 1) * width, x.dtype)
    table = COLUMN_TABLE.fill(
        x=x, out=out, lines=lines, width=width, height=height, blocks=blocks, op=op,
        divisor=float(rows if divide else 1), partial=partial, k=k, cols=cols, tail=rows % k,
    )  # fmt: skip
    then = []
    if not direct:
        then = [(_columns_end[x.dtype], workers_for(partial.size) if k == 1 else 1)]
    return Call(_columns[x.dtype], table, out=out, workers=workers, then=then)


@kernel(eager_from=EAGER_FROM, again=True)
def sum(x: Any, *, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
    axes = normal(axis, x.ndim)
    return _reduce(SUM, x, axes, reduced(x.shape, axes, keepdims), out)


@kernel(eager_from=EAGER_FROM, again=True)
def mean(x: Any, *, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
    axes = normal(axis, x.ndim)
    return _reduce(SUM, x, axes, reduced(x.shape, axes, keepdims), out, divide=True)


@kernel(eager_from=EAGER_FROM, again=True)
def max(x: Any, *, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
    axes = normal(axis, x.ndim)
    return _reduce(MAX, x, axes, reduced(x.shape, axes, keepdims), out)


@kernel(eager_from=EAGER_FROM, again=True)
def min(x: Any, *, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
    axes = normal(axis, x.ndim)
    return _reduce(MIN, x, axes, reduced(x.shape, axes, keepdims), out)


@kernel(eager_from=EAGER_FROM, again=True)
def sum_to(x: Any, *, shape: tuple[int, ...], out: Any = None) -> Any:
    lead = x.ndim - len(shape)
    same = [lead + i for i, n in enumerate(shape) if n == x.shape[lead + i]]
    return _reduce(SUM, x, tuple(a for a in range(x.ndim) if a not in same), tuple(shape), out)
