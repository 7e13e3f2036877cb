"""Passes over rows that are as wide as a few vectors: what is added up stays in registers.

    sum_rows        sums = sum x
    sum_squares     sums = sum (x - mean)^2
    sum_products    sums = sum g, and sum g (x - mean)
    power_rows      sums = sum (x - mean), and sum (x - mean)^2
    all_rows        sums = those of sum_products, then those of power_rows
    scale_rows      out = (x - mean) scale + bias
    turn_rows       out = g by_g + (x - mean) by_d + plus

Images have few channels, 32 or 64: two or four vectors. A loop over them is too short for what a
compiler makes of one, and with an inner loop the sums of all rows go through memory. Here rows are
the loop, and a band of one, two or four vectors is written out, as in tile.py. Lanes that fill no
vector are left to the caller: `whole` says from which on.

Rows are `row` bytes apart. mean, scale and so on hold a number for each lane. A multiplication and
the addition behind it round once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emit import Loop, chosen
from .runtime import inline, size_of, wide_vectors
from .tile import fma_of, load, store, vector_type
from .vectors import VECTOR_BYTES
from .words import WORD

WIDTHS = (4, 2, 1)  # vectors of a band
FEWER = (2, 1)  # where there are several sums of each


class Maths:
    """Arithmetic on vectors of one type."""

    def __init__(self, b: Any, vector: Any) -> None:
        self._b, self._fma = b, fma_of(b, vector)

    def add(self, x: Any, y: Any) -> Any:
        return self._b.fadd(x, y)

    def sub(self, x: Any, y: Any) -> Any:
        return self._b.fsub(x, y)

    def mul(self, x: Any, y: Any) -> Any:
        return self._b.fmul(x, y)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x y + z."""
        return self._b.call(self._fma, [x, y, z])


Body = Callable[[Maths, list[Any], list[Any], list[Any]], list[Any]]


def _pass(read: int, fixed: int, sums: int, body: Body, widths: tuple[int, ...] = WIDTHS) -> Any:
    """An intrinsic f(kind, vectors, row, rows, read.., fixed.., results..) on addresses.

    body(maths, x, c, s): of a vector of each array that is read, of each number a lane and of each
    sum, the sums after this row; or, where there are no sums, the vector of the array `out`.
    """

    def emit_for(context: Any, b: Any, kind: Any, args: Any, vectors: int) -> Callable[[], None]:
        row, rows, places = args[2], args[3], args[4:]
        moving = [*places[:read], *(() if sums else places[read + fixed :])]
        constants, results = places[read : read + fixed], places[read + fixed :]

        def emit() -> None:
            _, vector, lanes = vector_type(context, kind)
            maths = Maths(b, vector)
            at = lambda place, v: b.add(place, WORD(v * VECTOR_BYTES))
            fixed_in = [[load(b, vector, at(p, v)) for p in constants] for v in range(vectors)]
            zero = ir.Constant(vector, [0.0] * lanes)
            with Loop(b, rows, [*moving, *[zero] * (sums * vectors)]) as turn:
                now, totals = turn.values[: len(moving)], turn.values[len(moving) :]
                after = []
                for v in range(vectors):
                    x = [load(b, vector, at(p, v)) for p in now[:read]]
                    made = body(maths, x, fixed_in[v], totals[v * sums : (v + 1) * sums])
                    if sums:
                        after += made
                    else:
                        store(b, made[0], at(now[read], v))
                turn.values = [*(b.add(p, row) for p in now), *after]
            for i, total in enumerate(turn.values[len(moving) :]):
                store(b, total, at(results[i % sums], i // sums))

        return emit

    def emit_all(context: Any, b: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        cases = {(v,): emit_for(context, b, kind, args, v) for v in widths}
        chosen(b, args[1], cases)
        return context.get_dummy_value()

    return emit_all


def _signature(kind: Any, count: int) -> Any:
    return types.void(kind, *[types.intp] * (3 + count))


_SUM = _pass(1, 0, 1, lambda m, x, c, s: [m.add(s[0], x[0])])


def _squared(m: Maths, x: list[Any], c: list[Any], s: list[Any]) -> list[Any]:
    d = m.sub(x[0], c[0])
    return [m.fma(d, d, s[0])]


def _multiplied(m: Maths, x: list[Any], c: list[Any], s: list[Any]) -> list[Any]:
    return [m.add(s[0], x[1]), m.fma(x[1], m.sub(x[0], c[0]), s[1])]


def _powers(m: Maths, x: list[Any], c: list[Any], s: list[Any]) -> list[Any]:
    d = m.sub(x[0], c[0])
    return [m.add(s[0], d), m.fma(d, d, s[1])]


def _all(m: Maths, x: list[Any], c: list[Any], s: list[Any]) -> list[Any]:
    d = m.sub(x[0], c[0])
    return [m.add(s[0], x[1]), m.fma(x[1], d, s[1]), m.add(s[2], d), m.fma(d, d, s[3])]


def _scaled(m: Maths, x: list[Any], c: list[Any], s: list[Any]) -> list[Any]:
    mean, scale, bias = c
    return [m.fma(m.sub(x[0], mean), scale, bias)]


def _turned(m: Maths, x: list[Any], c: list[Any], s: list[Any]) -> list[Any]:
    mean, by_g, by_d, plus = c
    return [m.fma(x[1], by_g, m.fma(m.sub(x[0], mean), by_d, plus))]


_SQUARES = _pass(1, 1, 1, _squared)
_PRODUCTS = _pass(2, 1, 2, _multiplied)
_POWERS = _pass(1, 1, 2, _powers, FEWER)
_ALL = _pass(2, 1, 4, _all, FEWER)
_SCALE = _pass(1, 3, 0, _scaled)
_TURN = _pass(2, 4, 0, _turned)


@intrinsic
def _sum(typing: Any, kind: Any, vectors: Any, row: Any, rows: Any, x: Any, to: Any) -> Any:
    return _signature(kind, 2), _SUM


@intrinsic
def _square(
    typing: Any, kind: Any, vectors: Any, row: Any, rows: Any, x: Any, mean: Any, to: Any
) -> Any:
    return _signature(kind, 3), _SQUARES


@intrinsic
def _product(
    typing: Any, kind: Any, vectors: Any, row: Any, rows: Any, x: Any, g: Any, mean: Any,
    to_g: Any, to_d: Any,
) -> Any:  # fmt: skip
    return _signature(kind, 5), _PRODUCTS


@intrinsic
def _power(
    typing: Any, kind: Any, vectors: Any, row: Any, rows: Any, x: Any, mean: Any, to_d: Any,
    to_d2: Any,
) -> Any:  # fmt: skip
    return _signature(kind, 4), _POWERS


@intrinsic
def _every(
    typing: Any, kind: Any, vectors: Any, row: Any, rows: Any, x: Any, g: Any, mean: Any,
    to_g: Any, to_gd: Any, to_d: Any, to_d2: Any,
) -> Any:  # fmt: skip
    return _signature(kind, 7), _ALL


@intrinsic
def _scale(
    typing: Any, kind: Any, vectors: Any, row: Any, rows: Any, x: Any, mean: Any, scale: Any,
    bias: Any, out: Any,
) -> Any:  # fmt: skip
    return _signature(kind, 5), _SCALE


@intrinsic
def _turn(
    typing: Any, kind: Any, vectors: Any, row: Any, rows: Any, x: Any, g: Any, mean: Any,
    by_g: Any, by_d: Any, plus: Any, out: Any,
) -> Any:  # fmt: skip
    return _signature(kind, 7), _TURN


# ---- all bands of some lanes ---------------------------------------------------------------------


@inline
def whole(kind, lanes):  # type: ignore[no-untyped-def]
    """How many of so many lanes are in whole vectors."""
    n = VECTOR_BYTES // size_of(kind)
    return lanes // n * n


@inline
def _band(left):  # type: ignore[no-untyped-def]
    """The vectors of the next band, of so many bytes that are left."""
    return 4 if left >= 4 * VECTOR_BYTES else 2 if left >= 2 * VECTOR_BYTES else 1


@inline
def sum_rows(kind, lanes, row, rows, x, to):  # type: ignore[no-untyped-def]
    """sums = sum x, for the lanes in whole vectors."""
    wide_vectors()
    at, end = 0, whole(kind, lanes) * size_of(kind)
    while at < end:
        vectors = _band(end - at)
        _sum(kind, vectors, row, rows, x + at, to + at)
        at += vectors * VECTOR_BYTES


@inline
def sum_squares(kind, lanes, row, rows, x, mean, to):  # type: ignore[no-untyped-def]
    """sums = sum (x - mean)^2."""
    wide_vectors()
    at, end = 0, whole(kind, lanes) * size_of(kind)
    while at < end:
        vectors = _band(end - at)
        _square(kind, vectors, row, rows, x + at, mean + at, to + at)
        at += vectors * VECTOR_BYTES


@inline
def sum_products(kind, lanes, row, rows, x, g, mean, to_g, to_d):  # type: ignore[no-untyped-def]
    """sums = sum g, and sum g (x - mean)."""
    wide_vectors()
    at, end = 0, whole(kind, lanes) * size_of(kind)
    while at < end:
        vectors = _band(end - at)
        _product(kind, vectors, row, rows, x + at, g + at, mean + at, to_g + at, to_d + at)
        at += vectors * VECTOR_BYTES


@inline
def power_rows(kind, lanes, row, rows, x, mean, to_d, to_d2):  # type: ignore[no-untyped-def]
    """sums = sum (x - mean), and sum (x - mean)^2."""
    at, end = 0, whole(kind, lanes) * size_of(kind)
    while at < end:
        vectors = min(_band(end - at), 2)
        _power(kind, vectors, row, rows, x + at, mean + at, to_d + at, to_d2 + at)
        at += vectors * VECTOR_BYTES


@inline
def all_rows(kind, lanes, row, rows, x, g, mean, to_g, to_gd, to_d, to_d2):  # type: ignore[no-untyped-def]
    """sums = sum g, sum g (x - mean), sum (x - mean), and sum (x - mean)^2."""
    at, end = 0, whole(kind, lanes) * size_of(kind)
    while at < end:
        vectors = min(_band(end - at), 2)
        _every(
            kind, vectors, row, rows, x + at, g + at, mean + at, to_g + at, to_gd + at, to_d + at,
            to_d2 + at,
        )  # fmt: skip
        at += vectors * VECTOR_BYTES


@inline
def scale_rows(kind, lanes, row, rows, x, mean, scale, bias, out):  # type: ignore[no-untyped-def]
    """out = (x - mean) scale + bias."""
    wide_vectors()
    at, end = 0, whole(kind, lanes) * size_of(kind)
    while at < end:
        vectors = _band(end - at)
        _scale(kind, vectors, row, rows, x + at, mean + at, scale + at, bias + at, out + at)
        at += vectors * VECTOR_BYTES


@inline
def turn_rows(kind, lanes, row, rows, x, g, mean, by_g, by_d, plus, out):  # type: ignore[no-untyped-def]
    """out = g by_g + (x - mean) by_d + plus."""
    wide_vectors()
    at, end = 0, whole(kind, lanes) * size_of(kind)
    while at < end:
        vectors = _band(end - at)
        _turn(
            kind, vectors, row, rows, x + at, g + at, mean + at, by_g + at, by_d + at, plus + at,
            out + at,
        )  # fmt: skip
        at += vectors * VECTOR_BYTES
