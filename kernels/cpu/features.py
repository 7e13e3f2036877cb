"""Norms of rows of a few features each (LayerNorm), forward and back; see normalise.py.

A row is read where it lies, three times: it fits the first cache. Passes are emitted as vectors of
a line, 256 bytes or 64, whose sums stay in registers and are added as a tree: their order is the
same however wide a processor's vectors are. The gradients of weight and bias are rows as well, of
TOGETHER rows at a time in the type of x and of these in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .bands import Maths
from .emit import Loop, chosen
from .middle import TOGETHER
from .moments import BACKWARD, FORWARD, blocks_of, scratch, sizes_of
from .runtime import both, inline, number, size_of, wide_vectors, word
from .short import fill
from .tile import broadcast, folded, load, store
from .words import WORD

LINES = (256, 64)  # bytes; a row is whole lines of one of them
FEATURES = 4096  # of a row, at most: more are not added in float32 alone

Vectors = list[Any]
Body = Callable[[Maths, Vectors, Vectors, Vectors], Vectors]


def _pass(places: int, sums: int, written: tuple[int, ...], body: Body) -> Any:
    """An intrinsic f(kind, n, place.., number..) along a row of n numbers; returns its sums.

    body(maths, x, c, s): of a vector of each array, the numbers in all lanes and a vector of each
    sum, the sums after it and then the vectors of the arrays that are `written`.
    """

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.args[0])
        size = signature.args[0].bitwidth // 8
        slots = [cgutils.alloca_once(b, kind) for _ in range(sums)]

        def line(bytes_: int) -> Callable[[], None]:
            def emit_line() -> None:
                vector = ir.VectorType(kind, bytes_ // size)
                maths = Maths(b, vector)
                c = [broadcast(b, value, vector) for value in args[2 + places :]]
                zero = ir.Constant(vector, [0.0] * vector.count)
                count = b.udiv(b.mul(args[1], WORD(size)), WORD(bytes_))
                with Loop(b, count, [*args[2 : 2 + places], *[zero] * sums]) as turn:
                    now, totals = turn.values[:places], turn.values[places:]
                    made = body(maths, [load(b, vector, p) for p in now], c, totals)
                    for i, value in zip(written, made[sums:], strict=True):
                        store(b, value, now[i])
                    turn.values = [*(b.add(p, WORD(bytes_)) for p in now), *made[:sums]]
                for slot, total in zip(slots, turn.values[places:], strict=True):
                    b.store(folded(b, total, b.fadd), slot)

            return emit_line

        short = b.urem(b.mul(args[1], WORD(size)), WORD(LINES[0]))
        which = b.zext(b.icmp_signed("!=", short, WORD(0)), WORD)
        chosen(b, which, {(i,): line(bytes_) for i, bytes_ in enumerate(LINES)})
        if sums == 0:
            return context.get_dummy_value()
        values = [b.load(slot) for slot in slots]
        return values[0] if sums == 1 else context.make_tuple(b, signature.return_type, values)

    return emit


def _squared(m: Maths, x: Vectors, c: Vectors, s: Vectors) -> Vectors:
    d = m.sub(x[0], c[0])
    return [m.fma(d, d, s[0])]


def _multiplied(m: Maths, x: Vectors, c: Vectors, s: Vectors) -> Vectors:
    d, h = m.sub(x[0], c[0]), m.mul(x[1], x[2])
    return [m.fma(d, d, s[0]), m.add(s[1], h), m.fma(h, d, s[2])]


def _scaled(m: Maths, x: Vectors, c: Vectors, s: Vectors) -> Vectors:
    return [m.fma(m.mul(m.sub(x[0], c[0]), c[1]), x[1], x[2])]


def _turned(m: Maths, x: Vectors, c: Vectors, s: Vectors) -> Vectors:
    mean, r, by_d, plus = c
    d, g = m.sub(x[0], mean), x[1]
    dx = m.fma(m.mul(g, x[2]), r, m.fma(d, by_d, plus))
    return [dx, m.fma(g, m.mul(d, r), x[4]), m.add(x[5], g)]


_TOTAL = _pass(1, 1, (), lambda m, x, c, s: [m.add(s[0], x[0])])
_SQUARES = _pass(1, 1, (), _squared)
_PRODUCTS = _pass(3, 3, (), _multiplied)
_SCALE = _pass(4, 0, (3,), _scaled)
_TURN = _pass(6, 0, (3, 4, 5), _turned)


@intrinsic
def _total(typing: Any, kind: Any, n: Any, x: Any) -> Any:
    return kind(kind, *[types.intp] * 2), _TOTAL


@intrinsic
def _squares(typing: Any, kind: Any, n: Any, x: Any, mean: Any) -> Any:
    return kind(kind, types.intp, types.intp, kind), _SQUARES


@intrinsic
def _products(typing: Any, kind: Any, n: Any, x: Any, g: Any, weight: Any, mean: Any) -> Any:
    return types.UniTuple(kind, 3)(kind, *[types.intp] * 4, kind), _PRODUCTS


@intrinsic
def _scale(
    typing: Any, kind: Any, n: Any, x: Any, weight: Any, bias: Any, y: Any, mean: Any, r: Any
) -> Any:
    return types.void(kind, *[types.intp] * 5, kind, kind), _SCALE


@intrinsic
def _turn(
    typing: Any, kind: Any, n: Any, x: Any, g: Any, weight: Any, dx: Any, dweight: Any, dbias: Any,
    mean: Any, r: Any, by_d: Any, plus: Any,
) -> Any:  # fmt: skip
    return types.void(kind, *[types.intp] * 7, kind, kind, kind, kind), _TURN


@inline
def _rows(kind, n, k, eps, x, weight, bias, y):  # type: ignore[no-untyped-def]
    """n rows of k numbers from these addresses on."""
    wide_vectors()
    for i in range(n):
        at = i * k * size_of(kind)
        mean = _total(kind, k, x + at) / k
        r = 1.0 / math.sqrt(_squares(kind, k, x + at, mean) / k + eps)
        _scale(kind, k, x + at, weight, bias, y + at, mean, r)


@inline
def _rows_back(kind, n, k, eps, x, g, weight, dx, dweight, dbias):  # type: ignore[no-untyped-def]
    """The same back; dweight and dbias are added to."""
    wide_vectors()
    for i in range(n):
        at = i * k * size_of(kind)
        mean = _total(kind, k, x + at) / k
        d2, h, hd = _products(kind, k, x + at, g + at, weight, mean)
        r = 1.0 / math.sqrt(d2 / k + eps)
        by_d, plus = -hd / k * r * r * r, -h / k * r
        _turn(kind, k, x + at, g + at, weight, dx + at, dweight, dbias, mean, r, by_d, plus)


# ---- a worker's share ----------------------------------------------------------------------------


@both
def features(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A row is a piece of work."""
    n, _, _, k, _ = sizes_of(args)
    first, end = n * worker // workers, n * (worker + 1) // workers
    at = first * k * size_of(kind)
    _rows(
        kind, end - first, k, number(args, FORWARD.eps), word(args, FORWARD.x) + at,
        word(args, FORWARD.weight), word(args, FORWARD.bias), word(args, FORWARD.y) + at,
    )  # fmt: skip


@both
def features_back(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A block of rows is a piece of work."""
    n, _, _, k, _ = sizes_of(args)
    samples, (blocks, partial) = word(args, BACKWARD.samples), blocks_of(args)
    _, own = scratch(worker, workers, args, kind, k, k)
    dweight, dbias = own[0], own[1]
    for block in range(blocks * worker // workers, blocks * (worker + 1) // workers):
        sums = partial[2 * block * k : 2 * (block + 1) * k]
        fill(sums, 0.0)
        last = min((block + 1) * samples, n)
        for i in range(block * samples, last, TOGETHER):
            at = i * k * size_of(kind)
            fill(dweight, 0.0)
            fill(dbias, 0.0)
            _rows_back(
                kind, min(TOGETHER, last - i), k, number(args, BACKWARD.eps),
                word(args, BACKWARD.x) + at, word(args, BACKWARD.above) + at,
                word(args, BACKWARD.weight), word(args, BACKWARD.dx) + at, dweight.ctypes.data,
                dbias.ctypes.data,
            )  # fmt: skip
            for c in range(k):
                sums[c] += dweight[c]
                sums[k + c] += dbias[c]
