"""The inner parts of a matrix product: the tile in registers, panels, transposition.

Numba has no type for a vector register, so these are written in LLVM's language: an `@intrinsic`
emits instructions on vectors of 16 float32 (AVX-512), 8 (AVX2) or 4 (NEON, SSE), and LLVM assigns
the registers. All take addresses and strides in bytes; `kind` is a number of the arrays' type.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from .runtime import inline

_WORD, _BYTE, _INDEX = ir.IntType(64), ir.IntType(8), ir.IntType(32)
_FEATURES = get_host_cpu_features()
VECTOR_BYTES = 64 if "+avx512f" in _FEATURES else 32 if "+avx2" in _FEATURES else 16
WIDE = VECTOR_BYTES == 64  # and then there are 32 registers, else 16
ROWS = 8 if WIDE else 4  # of a tile of one, two or three vectors
ROWS_4 = 6 if WIDE else 3  # of a tile of four vectors
TURN = 2  # steps of k in a turn of the loop, which share what is not arithmetic


def _vector(context: Any, kind: Any) -> tuple[Any, Any, int]:
    """The types of a number and of a vector of them, and how many it holds."""
    number = context.get_value_type(kind)
    lanes = VECTOR_BYTES * 8 // kind.bitwidth
    return number, ir.VectorType(number, lanes), lanes


def _load(b: Any, kind: Any, address: Any) -> Any:
    return b.load(b.inttoptr(address, kind.as_pointer()), align=4)


def _store(b: Any, value: Any, address: Any) -> None:
    b.store(value, b.inttoptr(address, value.type.as_pointer()), align=4)


def _shuffle(b: Any, x: Any, y: Any, order: list[int]) -> Any:
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(_INDEX, len(order)), order))


@intrinsic
def pointer_of(typing: Any, kind: Any, address: Any) -> Any:
    """The address as a pointer to numbers of the type of `kind`."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.inttoptr(args[1], context.get_value_type(kind).as_pointer())

    return types.CPointer(kind)(kind, types.intp), emit


# ---- the tile ------------------------------------------------------------------------------------


def _make_tile(rows: int, vectors: int, apart: int | None = None) -> Any:
    """C[rows, vectors] (+)= A[rows, k] @ panel[k, vectors], all sums in registers.

    apart: how far apart the numbers of a row of A are, if that is known when this is compiled. Then
    it is a part of addresses, and a turn of the loop does TURN steps of k.
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
            number, vector, lanes = _vector(context, kind)
            fma = cgutils.get_or_insert_function(
                b.module, ir.FunctionType(vector, [vector] * 3),
                f"llvm.fma.v{lanes}f{kind.bitwidth}",
            )  # fmt: skip
            fetch = cgutils.get_or_insert_function(
                b.module, ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), *[_INDEX] * 3]),
                "llvm.prefetch.p0i8",
            )  # fmt: skip
            int64 = lambda n: ir.Constant(_WORD, n)
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
                    _load(b, vector, b.add(at, int64(v * VECTOR_BYTES))) for v in range(vectors)
                ]
                new = {}
                for r in range(rows):
                    x = _load(b, number, b.add(starts[r], along))
                    x = b.insert_element(nothing, x, ir.Constant(_INDEX, 0))
                    x = _shuffle(b, x, nothing, [0] * lanes)
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
            load, begin = (b.function.append_basic_block(n) for n in ("load", "begin"))
            b.cbranch(b.icmp_signed("!=", onto, int64(0)), load, begin)
            b.position_at_end(load)
            loaded = [_load(b, vector, far(*at)) for at in grid]
            b.branch(begin)
            b.position_at_end(begin)
            sums = [b.phi(vector) for _ in grid]
            for phi, x in zip(sums, loaded, strict=True):
                phi.add_incoming(ir.Constant(vector, [0.0] * lanes), entry)
                phi.add_incoming(x, load)
            state = [int64(0), panel, ahead, *sums]
            if apart is not None:
                state = loop(TURN, b.udiv(k, int64(TURN)), state)
                k = b.urem(k, int64(TURN))
            _, _, _, *sums = loop(1, k, state)
            for at, x in zip(grid, sums, strict=True):
                _store(b, x, far(*at))
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


# ---- transposition in registers ------------------------------------------------------------------


@intrinsic
def transpose(
    typing: Any, kind: Any, source: Any, source_row: Any, target: Any, target_row: Any
) -> Any:
    """A square of vectors: target[j, i] = source[i, j].

    One stage takes rows i and i + n/2 and puts their elements alternately into rows 2i and 2i + 1;
    like a perfect shuffle of cards, log2(n) stages bring element (i, j) to (j, i).
    """

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        _, source, source_row, target, target_row = args
        _, vector, n = _vector(context, kind)
        at = lambda start, row, i: b.add(start, b.mul(row, ir.Constant(_WORD, i)))
        rows = [_load(b, vector, at(source, source_row, i)) for i in range(n)]
        low = [i // 2 + (i % 2) * n for i in range(n)]
        high = [i + n // 2 for i in low]
        for _ in range(n.bit_length() - 1):
            pairs = [(rows[i], rows[i + n // 2]) for i in range(n // 2)]
            rows = [_shuffle(b, x, y, order) for x, y in pairs for order in (low, high)]
        for i, row in enumerate(rows):
            _store(b, row, at(target, target_row, i))
        return context.get_dummy_value()

    return types.void(kind, *[types.intp] * 4), emit


@intrinsic
def move(typing: Any, kind: Any, source: Any, target: Any) -> Any:
    """Copy one vector."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        _store(b, _load(b, _vector(context, kind)[1], args[1]), args[2])
        return context.get_dummy_value()

    return types.void(kind, types.intp, types.intp), emit


def _make_mover(n: int) -> Any:
    """Copy n numbers that lie side by side."""

    @intrinsic
    def mover(typing: Any, kind: Any, source: Any, target: Any) -> Any:
        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            _store(b, _load(b, ir.VectorType(context.get_value_type(kind), n), args[1]), args[2])
            return context.get_dummy_value()

        return types.void(kind, types.intp, types.intp), emit

    return mover


_move_rows, _move_rows_4 = _make_mover(ROWS), _make_mover(ROWS_4)


# ---- panels --------------------------------------------------------------------------------------


def tiling(rows: int, lanes: int, per_vector: int) -> tuple[int, int]:
    """How many vectors wide the panels are, and the elements computed with the padding."""
    needed = -(-lanes // per_vector)
    three = -(-rows // ROWS) * ROWS * (needed + 0.3 * (needed % 3 == 1))  # one alone: many loads
    four = -(-rows // ROWS_4) * ROWS_4 * -(-needed // 4) * 4
    vectors, area = (4, four) if WIDE and four < three else (3, three)
    return vectors, int(area) * per_vector


def cost(a: Any, b: Any, c: Any) -> float:
    """About how many cycles a core takes with these roles."""
    (rows, k), lanes, size = a.shape, b.shape[1], a.dtype.itemsize
    per_vector = VECTOR_BYTES // size
    _, area = tiling(rows, lanes, per_vector)
    return (
        area * k / (2 * per_vector)
        + a.size * (0 if a.strides[1] == size else 0.1 if a.strides[0] == size else 0.5)
        + b.size * (0.1 if b.strides[1] == size else 0.3 if b.strides[0] == size else 0.8)
        + c.size * (0.1 if c.strides[1] == size else 0.3 if c.strides[0] == size else 0.8)
    )


def panels_of(lanes: int, per_vector: int, vectors: int, even: bool) -> Any:
    """Where panels begin, and the end: of about equal width, an even number to be shared."""
    needed = -(-lanes // per_vector)
    count = -(-needed // vectors)
    count += count % 2 if even and vectors < 4 and count > 1 else 0
    starts = [q * needed // count * per_vector for q in range(count)]
    return np.array([*starts, lanes], dtype=np.int64)


@inline
def pack(kind, size, panel, width, b, b_row, b_col, k, lanes):  # type: ignore[no-untyped-def]
    """B[k, lanes] as k rows of `width` numbers, zeros beyond the lanes."""
    n = VECTOR_BYTES // size
    row = width * size
    done = lanes // n * n
    k_done = 0  # rows of the panel whose first `done` lanes are filled
    if b_col == size:
        k_done = k
        if done == 3 * n:  # the usual panel, its copies written out
            for i in range(k):
                move(kind, b + i * b_row, panel + i * row)
                move(kind, b + i * b_row + VECTOR_BYTES, panel + i * row + VECTOR_BYTES)
                move(kind, b + i * b_row + 2 * VECTOR_BYTES, panel + i * row + 2 * VECTOR_BYTES)
        else:
            for i in range(k):
                for j in range(0, done, n):
                    move(kind, b + i * b_row + j * size, panel + i * row + j * size)
    elif b_row == size:
        k_done = k // n * n
        for i in range(0, k_done, n):
            for j in range(0, done, n):
                transpose(kind, b + i * size + j * b_col, b_col, panel + i * row + j * size, row)
    if k_done == k and done == width:
        return
    whole = carray(pointer_of(kind, panel), k * width)
    step, beside = b_row // size, b_col // size
    from_b = carray(pointer_of(kind, b), (k - 1) * step + (lanes - 1) * beside + 1)
    for i in range(k):
        for j in range(done if i < k_done else 0, lanes):
            whole[i * width + j] = from_b[i * step + j * beside]
        for j in range(lanes, width):
            whole[i * width + j] = 0


@inline
def pack_rows(kind, size, to, high, a, a_row, a_col, k, rows):  # type: ignore[no-untyped-def]
    """The rows of A that a tile needs, `high` numbers a step of k, zeros beyond the rows."""
    if a_row == size and rows == high:
        for i in range(k):
            if high == ROWS:
                _move_rows(kind, a + i * a_col, to + i * ROWS * size)
            else:
                _move_rows_4(kind, a + i * a_col, to + i * ROWS_4 * size)
        return
    target = carray(pointer_of(kind, to), k * high)
    down, along = a_row // size, a_col // size
    source = carray(pointer_of(kind, a), (rows - 1) * down + (k - 1) * along + 1)
    for i in range(k):
        for r in range(rows):
            target[i * high + r] = source[r * down + i * along]
        for r in range(rows, high):
            target[i * high + r] = 0


@inline
def unpack(kind, size, scratch, width, c, c_row, c_lane, rows, lanes, onto):  # type: ignore[no-untyped-def]
    """The valid part of tiles written (or added) to C, whose strides may be any."""
    n = VECTOR_BYTES // size
    r_done, l_done = 0, 0
    if c_row == size and not onto:
        r_done, l_done = rows // n * n, lanes // n * n
        for r in range(0, r_done, n):
            for j in range(0, l_done, n):
                from_tile = scratch + (r * width + j) * size
                transpose(kind, from_tile, width * size, c + r * size + j * c_lane, c_lane)
    tile = carray(pointer_of(kind, scratch), rows * width)
    row, lane = c_row // size, c_lane // size
    target = carray(pointer_of(kind, c), (rows - 1) * row + (lanes - 1) * lane + 1)
    if lane == 1:
        for r in range(rows):
            for j in range(lanes):
                before = target[r * row + j] if onto else kind
                target[r * row + j] = before + tile[r * width + j]
    else:
        for j in range(lanes):
            for r in range(r_done if j < l_done else 0, rows):
                before = target[r * row + j * lane] if onto else kind
                target[r * row + j * lane] = before + tile[r * width + j]
