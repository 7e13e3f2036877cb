"""The inner part of a matrix product: the tile in registers.

    C[r, l] (+)= sum_k A[r, k] panel[k, l]      a few rows r, the lanes l of one to four vectors

From plain to fast, of the multiply-adds that a core could do:

1. One sum at a time: each multiply-add waits for the one before, some 4 cycles, and does one number
   of a vector's sixteen. A hundredth.
2. One vector of sums: 16 lanes (AVX-512), 8 (AVX2), 4 (NEON, SSE); still it waits. An eighth.
3. A row of 3 vectors: the number A[r, k] is read once, broadcast to all lanes and met by 3 vectors
   of the panel. For 3 multiply-adds there are 4 loads: loads are the limit.
4. Rows of 3 vectors, 8 of them: 24 sums that do not wait for each other keep both units busy. The
   panel's 3 vectors serve all rows, so 24 multiply-adds take 11 loads. With the 24 sums, 3 vectors
   and a broadcast number the 32 registers are full: a larger tile would spill. (With 16 registers
   it has 4 rows; where 4 vectors fit the lanes better, 6 and 3 rows.)
5. Two steps of k a turn (TURN): counting and branching would be a tenth of the instructions. How
   far apart a row's numbers are is part of the loads' addresses where it is known (`apart`).
6. Each turn fetches a line of what a later tile needs (`ahead`): nothing waits for memory.

Numba has no type for a vector register, so this is written in LLVM's language: an `@intrinsic`
emits instructions on vectors, and LLVM assigns the registers. All take addresses and strides in
bytes; `kind` is a number of the arrays' type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .emit import Loop, chosen, constant
from .vectors import VECTOR_BYTES
from .words import WORD, inline

_BYTE, _INDEX = ir.IntType(8), ir.IntType(32)
WIDE = VECTOR_BYTES == 64  # and then there are 32 registers, else 16
ROWS = 8 if WIDE else 4  # of a tile of one, two or three vectors
ROWS_4 = 6 if WIDE else 3  # of a tile of four vectors
SHORT = 4 if WIDE else 1  # of one for what a power of two leaves over
TURN = 2  # steps of k in a turn of the loop, which share what is not arithmetic


def vector_type(context: Any, kind: Any) -> tuple[Any, Any, int]:
    """The types of a number and of a vector of them, and how many it holds."""
    number = context.get_value_type(kind)
    lanes = VECTOR_BYTES * 8 // kind.bitwidth
    return number, ir.VectorType(number, lanes), lanes


def load(b: Any, kind: Any, address: Any) -> Any:
    return b.load(b.inttoptr(address, kind.as_pointer()), align=4)


def store(b: Any, value: Any, address: Any) -> None:
    b.store(value, b.inttoptr(address, value.type.as_pointer()), align=4)


def shuffle(b: Any, x: Any, y: Any, order: list[int]) -> Any:
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(_INDEX, len(order)), order))


def broadcast(b: Any, number: Any, vector: Any) -> Any:
    """A number in all lanes."""
    nothing = ir.Constant(vector, ir.Undefined)
    return shuffle(b, b.insert_element(nothing, number, _INDEX(0)), nothing, [0] * vector.count)


def folded(b: Any, x: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """All lanes of a vector combined into a number, halves at a time: a tree."""
    while x.type.count > 1:
        half = x.type.count // 2
        x = combine(*(shuffle(b, x, x, list(range(k, k + half))) for k in (0, half)))
    return b.extract_element(x, _INDEX(0))


def fma_of(b: Any, vector: Any) -> Any:
    """The function x y + z of vectors, rounded once."""
    name = f"llvm.fma.v{vector.count}{vector.element.intrinsic_name}"
    return cgutils.get_or_insert_function(b.module, ir.FunctionType(vector, [vector] * 3), name)


def fetch(b: Any, address: Any, write: int = 0, near: int = 2) -> None:
    """Have the line at an address in the cache, to be read or written; `near`: 3 is the nearest."""
    byte = _BYTE.as_pointer()
    hint = ir.FunctionType(ir.VoidType(), [byte, *[_INDEX] * 3])
    function = cgutils.get_or_insert_function(b.module, hint, "llvm.prefetch.p0i8")
    b.call(function, [b.inttoptr(address, byte), *map(_INDEX, (write, near, 1))])


# ---- the tile ------------------------------------------------------------------------------------


class Place(NamedTuple):
    """What a tile works on: addresses, and strides in bytes. A's rows beyond `last` repeat it."""

    a: Any
    a_row: Any
    a_col: Any
    last: Any
    panel: Any
    c: Any
    c_row: Any
    onto: Any  # whether it adds to C


class Tile:
    """Emits C[rows, vectors] (+)= A[rows, k] @ panel[k, vectors], all sums in registers.

    apart: how many numbers apart those of a row of A are, if that is known when this is compiled.
    """

    def __init__(
        self, context: Any, b: Any, kind: Any, place: Place, rows: int, vectors: int,
        apart: int | None = None,
    ) -> None:  # fmt: skip
        self.b, self.at, self.apart = b, place, apart
        self.number, self.vector, _ = vector_type(context, kind)
        self.grid = [(r, v) for r in range(rows) for v in range(vectors)]
        self.columns, self.a_col = vectors, place.a_col
        if apart is not None:
            self.a_col = WORD(apart * kind.bitwidth // 8)
        self.fma = fma_of(b, self.vector)
        self.starts = []  # of the rows of A
        for r in range(rows):
            row = b.select(b.icmp_signed("<", place.last, WORD(r)), place.last, WORD(r))
            self.starts.append(b.add(place.a, b.mul(place.a_row, row)))

    def step(self, along: Any, row: Any, sums: list[Any]) -> list[Any]:
        """One step of k: `along` bytes from A's start, at this row of the panel."""
        b, at = self.b, range(self.columns)
        lanes = [load(b, self.vector, b.add(row, WORD(v * VECTOR_BYTES))) for v in at]
        new = []
        for r, start in enumerate(self.starts):
            x = broadcast(b, load(b, self.number, b.add(start, along)), self.vector)
            new += [b.call(self.fma, [x, lanes[v], sums[r * self.columns + v]]) for v in at]
        return new

    def turns(self, steps: int, count: Any, state: list[Any], ahead: Any = None) -> list[Any]:
        """`count` turns of so many steps, from and to a state: along, row, fetched, the sums."""
        b = self.b
        with Loop(b, count, state) as turn:
            along, row, fetched, *sums = turn.values
            if ahead is not None:
                fetch(b, fetched)
                fetched = b.add(fetched, ahead)
            for _ in range(steps):
                sums = self.step(along, row, sums)
                along, row = b.add(along, self.a_col), b.add(row, WORD(self.columns * VECTOR_BYTES))
            turn.values = [along, row, fetched, *sums]
        return turn.values

    def along_k(self, k: Any, state: list[Any], ahead: Any = None) -> list[Any]:
        """The sums after k steps from a state on."""
        if self.apart is not None:
            state = self.turns(TURN, self.b.udiv(k, WORD(TURN)), state, ahead)
            k = self.b.urem(k, WORD(TURN))
        return self.turns(1, k, state, ahead)[3:]

    def along_pieces(self, table: Any, count: Any, sums: list[Any]) -> list[Any]:
        """The sums after all pieces of k: a table of (where it begins in a row of A in bytes, its
        first row of the panel, its steps)."""
        b = self.b
        with Loop(b, count, [table, *sums]) as turn:
            at, *sums = turn.values
            along, row, steps = (load(b, WORD, b.add(at, WORD(8 * i))) for i in range(3))
            row = b.add(self.at.panel, b.mul(row, WORD(self.columns * VECTOR_BYTES)))
            sums = self.along_k(steps, [along, row, WORD(0), *sums])
            turn.values = [b.add(at, WORD(24)), *sums]
        return turn.values[1:]

    def begin(self) -> list[Any]:
        """The first sums: C where it is added to, else zeros."""
        b, before = self.b, self.b.block
        zero = constant(self.vector, 0.0)
        with b.if_then(b.icmp_signed("!=", self.at.onto, WORD(0))):
            there, loaded = b.block, [load(b, self.vector, self.far(*at)) for at in self.grid]
        sums = [b.phi(self.vector) for _ in self.grid]
        for phi, x in zip(sums, loaded, strict=True):
            phi.add_incoming(zero, before)
            phi.add_incoming(x, there)
        return sums

    def end(self, sums: list[Any]) -> None:
        """The sums stored in C."""
        for at, x in zip(self.grid, sums, strict=True):
            store(self.b, x, self.far(*at))

    def far(self, r: int, v: int) -> Any:
        """The address of vector v of row r of C."""
        row = self.b.mul(self.at.c_row, WORD(r))
        return self.b.add(self.b.add(self.at.c, row), WORD(v * VECTOR_BYTES))


# ---- tiles as kernels call them: one of several, by 2 * vectors, + 1 where A is packed -----------


def _case(context: Any, b: Any, kind: Any, place: Place, along: Any) -> Any:
    """case(rows, vectors, apart) is a function that emits that tile; along(tile, sums) sums up."""

    def case(rows: int, vectors: int, apart: int | None) -> Any:
        def emit() -> None:
            t = Tile(context, b, kind, place, rows, vectors, apart)
            t.end(along(t, t.begin()))

        return emit

    return case


@intrinsic
def _tile(
    typing: Any, kind: Any, which: Any, a: Any, a_row: Any, a_col: Any, last: Any, panel: Any,
    c: Any, c_row: Any, k: Any, onto: Any, ahead: Any, ahead_step: Any,
) -> Any:  # fmt: skip
    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        _, which, a, a_row, a_col, last, panel, c, c_row, k, onto, ahead, by = args
        place = Place(a, a_row, a_col, last, panel, c, c_row, onto)
        along = lambda t, sums: t.along_k(k, [WORD(0), panel, ahead, *sums], by)
        case = _case(context, b, kind, place, along)
        chosen(b, which, {
            (2, 3): case(ROWS, 1, None), (4,): case(ROWS, 2, 1), (5,): case(ROWS, 2, ROWS),
            (6,): case(ROWS, 3, 1), (7,): case(ROWS, 3, ROWS), (8, 9): case(ROWS_4, 4, None),
        })  # fmt: skip
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 12), emit


@inline
def tile(kind, vectors, packed, a, a_row, a_col, last, panel, c, c_row, k, onto, ahead, step):  # type: ignore[no-untyped-def]
    """C (+)= A @ panel in so many vectors; the numbers of a row of A are side by side, or packed.

    A's rows beyond `last` repeat it; `onto` adds to C; each turn of the loop fetches `ahead` into
    the cache and moves it on by `step`.
    """
    which = 2 * vectors + (1 if packed else 0)
    _tile(kind, which, a, a_row, a_col, last, panel, c, c_row, k, onto, ahead, step)


@intrinsic
def _tile_of_pieces(
    typing: Any, kind: Any, which: Any, a: Any, a_row: Any, last: Any, panel: Any, c: Any,
    c_row: Any, pieces: Any, count: Any, onto: Any,
) -> Any:  # fmt: skip
    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        _, which, a, a_row, last, panel, c, c_row, pieces, count, onto = args
        place = Place(a, a_row, None, last, panel, c, c_row, onto)
        along = lambda t, sums: t.along_pieces(pieces, count, sums)
        case = _case(context, b, kind, place, along)
        cases = {}
        for vectors, high in enumerate((ROWS, ROWS, ROWS, ROWS_4), start=1):
            cases[(2 * vectors,)] = case(high, vectors, 1)
            cases[(2 * vectors + 1,)] = case(high, vectors, high)
        chosen(b, which, {**cases, (10,): case(SHORT, 4, 1)})
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 10), emit


@inline
def tile_of_pieces(kind, vectors, packed, a, a_row, last, panel, c, c_row, pieces, count, onto):  # type: ignore[no-untyped-def]
    """The tile with k in `count` pieces; the numbers of a row of A are side by side, or packed.

    Of four vectors it has SHORT rows where no more are asked for.
    """
    which = 2 * vectors + (1 if packed else 0)
    if which == 8 and last < SHORT:
        which = 10
    _tile_of_pieces(kind, which, a, a_row, last, panel, c, c_row, pieces, count, onto)
