"""The changes of tiles that a 3 x 3 convolution of few multiplications needs, in LLVM's language.

Four results of a window that slides along a line are, with three taps w and six pixels x,

    y = R^T [(K w) (P^T x)]        for each number: 6 multiplications in place of 12

This is how polynomials are multiplied by their values (Toom and Cook; Winograd 1980): K has the
values of w at six points, and R^T what leads back. The matrices follow from the points 0, a, -a, b,
-b and infinity; with f = 2 a^2 (a^2 - b^2), g = 2 b^2 (b^2 - a^2), s = a^2 + b^2 and q = a^2 b^2:

    P^T  q     0     -s    0   1  0     K  1/q    0      0       R^T  1  1    1     1    1     0
         0   -a b^2  -b^2  a   1  0        1/f   a/f   a^2/f          0  a   -a     b   -b     0
         0    a b^2  -b^2 -a   1  0        1/f  -a/f   a^2/f          0  a^2  a^2   b^2  b^2   0
         0   -b a^2  -a^2  b   1  0        1/g   b/g   b^2/g          0  a^3 -a^3   b^3 -b^3   1
         0    b a^2  -a^2 -b   1  0        1/g  -b/g   b^2/g
         0     q      0   -s   0  1         0     0      1

Down and across it is the same twice, Y = R^T [(K w K^T) (P^T x P)] R: 36 multiplications in place
of 144, which channels share: they are summed before R^T (Lavin and Gray 2015, arXiv 1509.09308).
A gradient turns each matrix over: that of w is K^T [sum (P^T x P) (R y R^T)] K.

The points decide how much is lost by rounding. With the usual 1 and 2 the largest error is 6e-6 of
the largest result (64 channels, normal numbers), with 5/8 and 3/2 it is 1.7e-6, and nothing near
them is better by more than its noise; these have exact squares, too.

Channels are the lanes of vectors, so a change of tiles is the same few additions for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.extending import intrinsic

from .emit import constant
from .tile import fetch, fma_of, load, store, vector_type
from .vectors import VECTOR_BYTES
from .words import WORD

RESULTS, TAPS, PIXELS = 4, 3, 6  # a side of a tile of results, of the kernel, of what a tile sees
PLACES = PIXELS * PIXELS  # the products of a tile
AHEAD = 3  # the cache makes room so many vectors beyond the one that is stored
A, B = 5 / 8, 3 / 2
A2, B2 = A * A, B * B
F, G, S, Q = 2 * A2 * (A2 - B2), 2 * B2 * (B2 - A2), A2 + B2, A2 * B2


class Maths:
    """Arithmetic on vectors of one type, with numbers that are known when it is compiled."""

    def __init__(self, context: Any, b: Any, kind: Any) -> None:
        self._b = b
        _, self.vector, _ = vector_type(context, kind)
        self._fma = fma_of(b, self.vector)
        self.add, self.sub = b.fadd, b.fsub

    def mul(self, c: float, x: Any) -> Any:
        return self._b.fmul(constant(self.vector, c), x)

    def fma(self, c: float, x: Any, y: Any) -> Any:
        """c x + y."""
        return self._b.call(self._fma, [constant(self.vector, c), x, y])

    def pair(self, c: float, x: Any, y: Any) -> list[Any]:
        """y + c x and y - c x."""
        return [self.fma(c, x, y), self.fma(-c, x, y)]


# ---- along a line --------------------------------------------------------------------------------


def _of_pixels(m: Maths, x: list[Any]) -> list[Any]:
    """P^T x."""
    even_a, odd_a = m.fma(-B2, x[2], x[4]), m.fma(-B2, x[1], x[3])
    even_b, odd_b = m.fma(-A2, x[2], x[4]), m.fma(-A2, x[1], x[3])
    first, last = (m.fma(Q, x[i], m.fma(-S, x[i + 2], x[i + 4])) for i in (0, 1))
    return [first, *m.pair(A, odd_a, even_a), *m.pair(B, odd_b, even_b), last]


def _of_taps(m: Maths, w: list[Any]) -> list[Any]:
    """K w."""
    even_a, even_b = (m.mul(1 / d, m.fma(c, w[2], w[0])) for c, d in ((A2, F), (B2, G)))
    return [m.mul(1 / Q, w[0]), *m.pair(A / F, w[1], even_a), *m.pair(B / G, w[1], even_b), w[2]]


def _to_results(m: Maths, p: list[Any]) -> list[Any]:
    """R^T p."""
    even_a, odd_a, even_b, odd_b = (f(p[i], p[i + 1]) for i in (1, 3) for f in (m.add, m.sub))
    return [
        m.add(p[0], m.add(even_a, even_b)),
        m.fma(A, odd_a, m.mul(B, odd_b)),
        m.fma(A2, even_a, m.mul(B2, even_b)),
        m.fma(A * A2, odd_a, m.fma(B * B2, odd_b, p[5])),
    ]


def _of_results(m: Maths, y: list[Any]) -> list[Any]:
    """R y."""
    pairs = (m.pair(c, m.fma(c * c, y[3], y[1]), m.fma(c * c, y[2], y[0])) for c in (A, B))
    return [y[0], *(x for pair in pairs for x in pair), y[3]]


def _to_taps(m: Maths, p: list[Any]) -> list[Any]:
    """K^T p."""
    even_a, odd_a, even_b, odd_b = (f(p[i], p[i + 1]) for i in (1, 3) for f in (m.add, m.sub))
    return [
        m.fma(1 / Q, p[0], m.fma(1 / F, even_a, m.mul(1 / G, even_b))),
        m.fma(A / F, odd_a, m.mul(B / G, odd_b)),
        m.fma(A2 / F, even_a, m.fma(B2 / G, even_b, p[5])),
    ]


# ---- down and across -----------------------------------------------------------------------------


def _change(of_line: Callable[[Maths, list[Any]], list[Any]], side: int, reads: bool, writes: bool):  # type: ignore[no-untyped-def]
    """An intrinsic f(kind, source, source_at, target, target_at, nothing): a square of vectors from
    one with so many at a side.

    Vector number i of the square lies i source_at bytes behind `source`; or, where it `reads` a
    table, as many bytes as entry i at the address source_at says, and at `nothing` if that is
    negative. The target likewise.
    """

    @intrinsic
    def change(  # type: ignore[no-untyped-def]
        typing, kind, source, source_at, target, target_at, nothing
    ):
        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            m, nothing = Maths(context, b, kind), args[5]

            def address(table: bool, start: Any, where: Any, i: int) -> Any:
                if not table:
                    return b.add(start, b.mul(where, WORD(i)))
                offset = load(b, WORD, b.add(where, WORD(8 * i)))
                outside = b.icmp_signed("<", offset, WORD(0))
                return b.select(outside, nothing, b.add(start, offset))

            columns = []
            for j in range(side):
                at = [address(reads, args[1], args[2], side * i + j) for i in range(side)]
                columns.append(of_line(m, [load(b, m.vector, place) for place in at]))
            for i, row in enumerate(zip(*columns, strict=True)):
                made = of_line(m, list(row))
                for j, x in enumerate(made):
                    place = address(writes, args[3], args[4], len(made) * i + j)
                    store(b, x, place)
                    if reads:
                        fetch(b, b.add(place, WORD(AHEAD * VECTOR_BYTES)), write=1, near=3)
            return context.get_dummy_value()

        return types.void(kind, *[types.intp] * 5), emit

    return change


of_pixels = _change(_of_pixels, PIXELS, reads=True, writes=False)
of_taps = _change(_of_taps, TAPS, reads=False, writes=False)
to_results = _change(_to_results, PIXELS, reads=False, writes=True)
of_results = _change(_of_results, RESULTS, reads=True, writes=False)
to_taps = _change(_to_taps, PIXELS, reads=False, writes=True)
