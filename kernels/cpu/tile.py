"""The inner part of a matrix product: the tile in registers.

Numba has no type for a vector register, so these are written in LLVM's language: an `@intrinsic`
emits instructions on vectors of 16 float32 (AVX-512), 8 (AVX2) or 4 (NEON, SSE), and LLVM assigns
the registers. All take addresses and strides in bytes; `kind` is a number of the arrays' type.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from .runtime import inline

WORD, _BYTE, _INDEX = ir.IntType(64), ir.IntType(8), ir.IntType(32)
_FEATURES = get_host_cpu_features()
VECTOR_BYTES = 64 if "+avx512f" in _FEATURES else 32 if "+avx2" in _FEATURES else 16
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


# ---- the tile ------------------------------------------------------------------------------------


def _make_tile(rows: int, vectors: int, apart: int | None = None, pieces: bool = False) -> Any:
    """C[rows, vectors] (+)= A[rows, k] @ panel[k, vectors], all sums in registers.

    apart: how far apart the numbers of a row of A are, if that is known when this is compiled. Then
    it is a part of addresses, and a turn of the loop does TURN steps of k.
    pieces: k comes in pieces; `ahead` is the address of their table, three integers each (where a
    piece begins in a row of A in bytes, its first row of the panel, its steps), `k` their number.
    """

    @intrinsic
    def tile(
        typing: Any, kind: Any, a: Any, a_row: Any, a_col: Any, last: Any, panel: Any, c: Any,
        c_row: Any, k: Any, onto: Any, ahead: Any, ahead_step: Any,
    ) -> Any:  # fmt: skip
        """Rows beyond `last` repeat it; `onto` adds to C; each turn of the loop fetches `ahead`
        into the cache, for a later tile, and moves it on."""

        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            _, a, a_row, a_col, last, panel, c, c_row, k, onto, ahead, ahead_step = args
            number, vector, lanes = vector_type(context, kind)
            fma = cgutils.get_or_insert_function(
                b.module, ir.FunctionType(vector, [vector] * 3),
                f"llvm.fma.v{lanes}f{kind.bitwidth}",
            )  # fmt: skip
            fetch = cgutils.get_or_insert_function(
                b.module, ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), *[_INDEX] * 3]),
                "llvm.prefetch.p0i8",
            )  # fmt: skip
            int64 = lambda n: ir.Constant(WORD, n)
            far = lambda r, v: b.add(b.add(c, b.mul(c_row, int64(r))), int64(v * VECTOR_BYTES))
            hint = [ir.Constant(_INDEX, n) for n in (0, 2, 1)]  # to read, into L2, data
            nothing = ir.Constant(vector, ir.Undefined)
            grid = [(r, v) for r in range(rows) for v in range(vectors)]
            if apart is not None:
                a_col = int64(apart * kind.bitwidth // 8)
            starts = []
            for r in range(rows):
                past = b.icmp_signed("<", last, int64(r))
                starts.append(b.add(a, b.mul(a_row, b.select(past, last, int64(r)))))

            def step(along: Any, at: Any, sums: Any) -> Any:
                """One step of k: `along` bytes from A's start, at this row of the panel."""
                columns = [
                    load(b, vector, b.add(at, int64(v * VECTOR_BYTES))) for v in range(vectors)
                ]
                new = {}
                for r in range(rows):
                    x = load(b, number, b.add(starts[r], along))
                    x = b.insert_element(nothing, x, ir.Constant(_INDEX, 0))
                    x = shuffle(b, x, nothing, [0] * lanes)
                    for v in range(vectors):
                        new[r, v] = b.call(fma, [x, columns[v], sums[r, v]])
                return new

            def loop(steps: int, turns: Any, start: list[Any]) -> list[Any]:
                """So many turns of so many steps, from and to: along, at, fetched, the sums."""
                before = b.block
                turn, done = (b.function.append_basic_block(n) for n in ("turn", "done"))
                b.cbranch(b.icmp_signed(">", turns, int64(0)), turn, done)
                b.position_at_end(turn)
                i, along, at, fetched, *sums = phis = [b.phi(x.type) for x in [turns, *start]]
                if not pieces:
                    b.call(fetch, [b.inttoptr(fetched, _BYTE.as_pointer()), *hint])
                now = dict(zip(grid, sums, strict=True))
                for _ in range(steps):
                    now = step(along, at, now)
                    along, at = b.add(along, a_col), b.add(at, int64(vectors * VECTOR_BYTES))
                end = [along, at, b.add(fetched, ahead_step), *now.values()]
                onward = b.add(i, int64(1))
                b.cbranch(b.icmp_signed("<", onward, turns), turn, done)
                b.position_at_end(done)
                out = [b.phi(x.type) for x in start]
                first, later = [int64(0), *start, *start], [onward, *end, *end]
                for phi, x, y in zip([*phis, *out], first, later, strict=True):
                    phi.add_incoming(x, before)
                    phi.add_incoming(y, turn)
                return out

            entry = b.block
            onto_c, begin = (b.function.append_basic_block(n) for n in ("onto_c", "begin"))
            b.cbranch(b.icmp_signed("!=", onto, int64(0)), onto_c, begin)
            b.position_at_end(onto_c)
            loaded = [load(b, vector, far(*at)) for at in grid]
            b.branch(begin)
            b.position_at_end(begin)
            sums = [b.phi(vector) for _ in grid]
            for phi, x in zip(sums, loaded, strict=True):
                phi.add_incoming(ir.Constant(vector, [0.0] * lanes), entry)
                phi.add_incoming(x, onto_c)

            def along_k(steps: Any, state: list[Any]) -> list[Any]:
                """The sums after so many steps of k from that state on."""
                if apart is not None:
                    state = loop(TURN, b.udiv(steps, int64(TURN)), state)
                    steps = b.urem(steps, int64(TURN))
                return loop(1, steps, state)[3:]

            def along_pieces(sums: list[Any]) -> list[Any]:
                """The sums after all pieces."""
                before, end = b.block, b.add(ahead, b.mul(k, int64(24)))
                piece, done = (b.function.append_basic_block(n) for n in ("piece", "summed"))
                b.cbranch(b.icmp_signed(">", k, int64(0)), piece, done)
                b.position_at_end(piece)
                at, *now = phis = [b.phi(x.type) for x in [ahead, *sums]]
                along, row, steps = (load(b, WORD, b.add(at, int64(8 * i))) for i in range(3))
                from_row = b.add(panel, b.mul(row, int64(vectors * VECTOR_BYTES)))
                now = along_k(steps, [along, from_row, int64(0), *now])
                onward = b.add(at, int64(24))
                after = b.block
                b.cbranch(b.icmp_signed("<", onward, end), piece, done)
                b.position_at_end(done)
                out = [b.phi(vector) for _ in sums]
                first, later = [ahead, *sums, *sums], [onward, *now, *now]
                for phi, x, y in zip([*phis, *out], first, later, strict=True):
                    phi.add_incoming(x, before)
                    phi.add_incoming(y, after)
                return out

            sums = along_pieces(sums) if pieces else along_k(k, [int64(0), panel, ahead, *sums])
            for at, x in zip(grid, sums, strict=True):
                store(b, x, far(*at))
            return context.get_dummy_value()

        return types.void(kind, *[types.intp] * 11), emit

    return tile


_tile_1, _tile_4 = _make_tile(ROWS, 1), _make_tile(ROWS_4, 4)
_tile_2, _tile_3 = _make_tile(ROWS, 2, 1), _make_tile(ROWS, 3, 1)
_packed_2, _packed_3 = _make_tile(ROWS, 2, ROWS), _make_tile(ROWS, 3, ROWS)


@inline
def tile(kind, vectors, packed, a, a_row, a_col, last, panel, c, c_row, k, onto, ahead, step):  # type: ignore[no-untyped-def]
    """The tile of so many vectors; the numbers of a row of A are side by side, or packed."""
    if vectors == 4:
        _tile_4(kind, a, a_row, a_col, last, panel, c, c_row, k, onto, ahead, step)
    elif vectors == 3 and packed:
        _packed_3(kind, a, a_row, a_col, last, panel, c, c_row, k, onto, ahead, step)
    elif vectors == 3:
        _tile_3(kind, a, a_row, a_col, last, panel, c, c_row, k, onto, ahead, step)
    elif vectors == 2 and packed:
        _packed_2(kind, a, a_row, a_col, last, panel, c, c_row, k, onto, ahead, step)
    elif vectors == 2:
        _tile_2(kind, a, a_row, a_col, last, panel, c, c_row, k, onto, ahead, step)
    else:
        _tile_1(kind, a, a_row, a_col, last, panel, c, c_row, k, onto, ahead, step)


def _of_pieces(packed: bool) -> tuple[Any, ...]:
    """The tiles of one to four vectors whose k comes in pieces."""
    highs = (ROWS, ROWS, ROWS, ROWS_4)
    return tuple(_make_tile(h, v, h if packed else 1, True) for v, h in enumerate(highs, start=1))


_pieces_1, _pieces_2, _pieces_3, _pieces_4 = _of_pieces(packed=False)
_short_pieces_4 = _make_tile(SHORT, 4, 1, True)
_packed_pieces_1, _packed_pieces_2, _packed_pieces_3, _packed_pieces_4 = _of_pieces(packed=True)


@inline
def tile_of_pieces(kind, vectors, packed, a, a_row, last, panel, c, c_row, pieces, count, onto):  # type: ignore[no-untyped-def]
    """The tile with k in so many pieces; the numbers of a row of A are side by side, or packed.

    Of four vectors it has SHORT rows where no more are asked for.
    """
    if vectors == 4 and packed:
        _packed_pieces_4(kind, a, a_row, 0, last, panel, c, c_row, count, onto, pieces, 0)
    elif vectors == 4 and last < SHORT:
        _short_pieces_4(kind, a, a_row, 0, last, panel, c, c_row, count, onto, pieces, 0)
    elif vectors == 4:
        _pieces_4(kind, a, a_row, 0, last, panel, c, c_row, count, onto, pieces, 0)
    elif vectors == 3 and packed:
        _packed_pieces_3(kind, a, a_row, 0, last, panel, c, c_row, count, onto, pieces, 0)
    elif vectors == 3:
        _pieces_3(kind, a, a_row, 0, last, panel, c, c_row, count, onto, pieces, 0)
    elif vectors == 2 and packed:
        _packed_pieces_2(kind, a, a_row, 0, last, panel, c, c_row, count, onto, pieces, 0)
    elif vectors == 2:
        _pieces_2(kind, a, a_row, 0, last, panel, c, c_row, count, onto, pieces, 0)
    elif packed:
        _packed_pieces_1(kind, a, a_row, 0, last, panel, c, c_row, count, onto, pieces, 0)
    else:
        _pieces_1(kind, a, a_row, 0, last, panel, c, c_row, count, onto, pieces, 0)
