"""Matrix products: C = A @ B, for any strides, with an elementwise function at the end of a block.

    C[r, l] = sum_k A[r, k] B[k, l]                      A (rows, k), B (k, lanes), C (rows, lanes)

From plain to fast:

1. Three loops, r, l, k: a multiply-add at a time, 1 to 2 GFLOP/s.
2. Vectors: sixteen neighbouring l at once (AVX-512). Every multiply-add loads from B: the loads are
   the limit.
3. A tile in registers (`tile`): 8 rows of 3 vectors are summed over k at once. Each step of k loads
   3 vectors of B and broadcasts 8 numbers of A for 24 multiply-adds: arithmetic is the limit.
4. Panels (`_pack`): the columns of B that a tile needs lie far apart in memory (a row of B is
   kilobytes long, often a power of two, which the caches handle badly). They are copied next to
   each other once for all rows, KC of k at a time, so that they stay in the core's cache.
5. Roles: A @ B.T has the wrong numbers side by side. Its transpose, B @ A.T, has B where numbers
   are broadcast, which takes any stride, and the small A as the panel. Tiles are then stored
   transposed. `_cost` weighs packing and padding.
6. Cores: a worker takes consecutive tiles, panel by panel. Every sum runs over k in the same order,
   whoever takes its tile, so results do not depend on the number of threads.
7. The epilogue: bias, activation, masks run on a finished block while it is in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic

from .runtime import Call, call_block, inline, kernel, native, threads, word, workspace

_WORD, _BOOL = ir.IntType(64), ir.IntType(1)
_FEATURES = get_host_cpu_features()
VECTOR_BYTES = 64 if "+avx512f" in _FEATURES else 32 if "+avx2" in _FEATURES else 16
WIDE = VECTOR_BYTES == 64  # and then there are 32 registers, else 16
ROWS = 8 if WIDE else 4  # of a tile of one, two or three vectors
ROWS_4 = 6 if WIDE else 3  # of a tile of four vectors
NARROW = 4  # rows or columns: most of a tile would be padding
SMALLEST = 8192  # multiply-adds: below it, np.matmul is done before the call is bound
KC, KC_TRANSPOSED = 256, 1024  # how much of k is packed at a time


@intrinsic
def pointer_of(typing: Any, kind: Any, address: Any) -> Any:
    """The address as a pointer to numbers of the type of `kind`."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.inttoptr(args[1], context.get_value_type(kind).as_pointer())

    return types.CPointer(kind)(kind, types.intp), emit


def _make_tile(rows: int, vectors: int) -> Any:
    """C[rows, vectors] (+)= A[rows, k] @ panel[k, vectors], all sums in registers."""

    @intrinsic
    def tile(
        typing: Any, kind: Any, a: Any, a_row: Any, a_col: Any, last: Any, panel: Any, c: Any,
        c_row: Any, k: Any, onto: Any,
    ) -> Any:  # fmt: skip
        """Addresses, strides in bytes; rows beyond `last` repeat it; `onto` adds to C."""

        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            _, a, a_row, a_col, last, panel, c, c_row, k, onto = args
            number = context.get_value_type(kind)
            size = kind.bitwidth // 8
            lanes = VECTOR_BYTES // size
            vector = ir.VectorType(number, lanes)
            name = f"llvm.fma.v{lanes}f{kind.bitwidth}"
            fma = cgutils.get_or_insert_function(
                b.module, ir.FunctionType(vector, [vector] * 3), name
            )
            int64 = lambda n: ir.Constant(_WORD, n)
            splat = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)

            def place(r: int, v: int) -> Any:
                at = b.add(b.add(c, b.mul(c_row, int64(r))), int64(v * VECTOR_BYTES))
                return b.inttoptr(at, vector.as_pointer())

            starts = []
            for r in range(rows):
                past = b.icmp_signed("<", last, int64(r))
                starts.append(b.add(a, b.mul(a_row, b.select(past, last, int64(r)))))
            zero = ir.Constant(vector, [0.0] * lanes)
            entry = b.block
            load = b.function.append_basic_block("load")
            loop = b.function.append_basic_block("loop")
            done = b.function.append_basic_block("done")
            grid = [(r, v) for r in range(rows) for v in range(vectors)]
            b.cbranch(b.icmp_signed("!=", onto, int64(0)), load, loop)
            b.position_at_end(load)
            loaded = {at: b.load(place(*at), align=size) for at in grid}
            b.branch(loop)
            b.position_at_end(loop)
            i = b.phi(_WORD)
            step = b.phi(_WORD)  # bytes along A
            sums = {at: b.phi(vector) for at in grid}
            at_panel = b.add(panel, b.mul(i, int64(vectors * VECTOR_BYTES)))
            columns = [
                b.load(
                    b.inttoptr(b.add(at_panel, int64(v * VECTOR_BYTES)), vector.as_pointer()),
                    align=size,
                )
                for v in range(vectors)
            ]
            new = {}
            for r in range(rows):
                x = b.load(b.inttoptr(b.add(starts[r], step), number.as_pointer()), align=size)
                one = b.insert_element(
                    ir.Constant(vector, ir.Undefined), x, ir.Constant(ir.IntType(32), 0)
                )
                x = b.shuffle_vector(one, ir.Constant(vector, ir.Undefined), splat)
                for v in range(vectors):
                    new[r, v] = b.call(fma, [x, columns[v], sums[r, v]])
            onward, further = b.add(i, int64(1)), b.add(step, a_col)
            for before, value in ((entry, zero), (load, None)):
                i.add_incoming(int64(0), before)
                step.add_incoming(int64(0), before)
                for at in grid:
                    sums[at].add_incoming(loaded[at] if value is None else value, before)
            i.add_incoming(onward, loop)
            step.add_incoming(further, loop)
            for at in grid:
                sums[at].add_incoming(new[at], loop)
            b.cbranch(b.icmp_signed("<", onward, k), loop, done)
            b.position_at_end(done)
            for at in grid:
                b.store(new[at], place(*at), align=size)
            return context.get_dummy_value()

        return types.void(kind, *[types.intp] * 9), emit

    return tile


_tile_1, _tile_2, _tile_3 = (_make_tile(ROWS, n) for n in (1, 2, 3))
_tile_4 = _make_tile(ROWS_4, 4)


@inline
def _tile(kind, vectors, a, a_row, a_col, last, panel, c, c_row, k, onto):  # type: ignore[no-untyped-def]
    if vectors == 4:
        _tile_4(kind, a, a_row, a_col, last, panel, c, c_row, k, onto)
    elif vectors == 3:
        _tile_3(kind, a, a_row, a_col, last, panel, c, c_row, k, onto)
    elif vectors == 2:
        _tile_2(kind, a, a_row, a_col, last, panel, c, c_row, k, onto)
    else:
        _tile_1(kind, a, a_row, a_col, last, panel, c, c_row, k, onto)


@inline
def _pack(kind, size, panel, width, b, b_row, b_col, k, lanes):  # type: ignore[no-untyped-def]
    """B[k, lanes] as k rows of `width` numbers, zeros beyond the lanes."""
    if b_col == size:
        for i in range(k):
            source = carray(pointer_of(kind, b + i * b_row), lanes)
            target = carray(pointer_of(kind, panel + i * width * size), width)
            for j in range(lanes):
                target[j] = source[j]
            for j in range(lanes, width):
                target[j] = 0
    else:
        whole = carray(pointer_of(kind, panel), k * width)
        step = b_row // size
        for i0 in range(0, k, 32):  # the lines of 32 rows stay in the cache while all lanes come
            i1 = min(i0 + 32, k)
            for j in range(lanes):
                along = carray(pointer_of(kind, b + j * b_col), (k - 1) * step + 1)
                for i in range(i0, i1):
                    whole[i * width + j] = along[i * step]
        for j in range(lanes, width):
            for i in range(k):
                whole[i * width + j] = 0


@inline
def _unpack(kind, size, scratch, width, c, c_row, c_lane, rows, lanes, onto):  # type: ignore[no-untyped-def]
    """The valid part of a tile written (or added) to C, whose strides may be any."""
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
            for r in range(rows):
                before = target[r * row + j * lane] if onto else kind
                target[r * row + j * lane] = before + tile[r * width + j]


# The table: 0 rows 1 lanes 2 k | 3 a 4 a_row 5 a_col | 6 b 7 b_row 8 b_col | 9 c 10 c_row 11 c_lane
# | 12 accumulate 13 epilogue 14 its table 15 transposed 16 workspace 17 vectors of a panel
# | 18 how much of k is packed at a time


@inline
def _product(worker, workers, args, kind, size):  # type: ignore[no-untyped-def]
    rows, lanes, k = word(args, 0), word(args, 1), word(args, 2)
    a, a_row, a_col = word(args, 3), word(args, 4), word(args, 5)
    b, b_row, b_col = word(args, 6), word(args, 7), word(args, 8)
    c, c_row, c_lane = word(args, 9), word(args, 10), word(args, 11)
    vectors = word(args, 17)
    high = ROWS_4 if vectors == 4 else ROWS
    per_vector = VECTOR_BYTES // size
    wide = vectors * per_vector
    tiles, panels = (rows + high - 1) // high, (lanes + wide - 1) // wide
    first, end = panels * tiles * worker // workers, panels * tiles * (worker + 1) // workers
    block = word(args, 18)  # how much of k is packed at a time
    panel = word(args, 16) + worker * (block + ROWS) * 4 * VECTOR_BYTES
    scratch = panel + block * 4 * VECTOR_BYTES
    while first < end:
        p = first // tiles
        i0, i1 = first - p * tiles, min(end - p * tiles, tiles)
        l0 = p * wide
        here = min(wide, lanes - l0)  # lanes of this panel
        used = vectors if vectors == 4 else (here + per_vector - 1) // per_vector
        width = used * per_vector
        for k0 in range(0, k, block):
            depth = min(block, k - k0)
            _pack(kind, size, panel, width, b + k0 * b_row + l0 * b_col, b_row, b_col, depth, here)
            onto = 1 if k0 > 0 or word(args, 12) else 0
            for i in range(i0, i1):
                r0 = i * high
                n = min(high, rows - r0)
                from_a = a + r0 * a_row + k0 * a_col
                to_c = c + r0 * c_row + l0 * c_lane
                if n == high and here == width and c_lane == size:
                    _tile(kind, used, from_a, a_row, a_col, n - 1, panel, to_c, c_row, depth, onto)
                else:
                    _tile(
                        kind, used, from_a, a_row, a_col, n - 1, panel, scratch, width * size,
                        depth, 0,
                    )  # fmt: skip
                    _unpack(kind, size, scratch, width, to_c, c_row, c_lane, n, here, onto)
        if word(args, 13):
            r0, r1 = i0 * high, min(i1 * high, rows)
            if word(args, 15):
                call_block(word(args, 13), l0, l0 + here, r0, r1, word(args, 14))
            else:
                call_block(word(args, 13), r0, r1, l0, l0 + here, word(args, 14))
        first = p * tiles + i1


@native
def _product32(worker, workers, args):  # type: ignore[no-untyped-def]
    _product(worker, workers, args, np.float32(0), 4)


@native
def _product64(worker, workers, args):  # type: ignore[no-untyped-def]
    _product(worker, workers, args, np.float64(0), 8)


# ---- choosing ------------------------------------------------------------------------------------


def _panel(lanes: int, per_vector: int) -> tuple[int, float]:
    """How many vectors wide the panels are, and the lanes computed with the padding."""
    three = -(-lanes // per_vector)
    four = -(-lanes // (4 * per_vector)) * 4
    return (4, four * per_vector) if WIDE and four <= three else (3, three * per_vector)


def _cost(rows: int, lanes: int, k: int, contiguous: bool, direct: bool, size: int) -> float:
    """About how many cycles a core takes with these roles."""
    per_vector = VECTOR_BYTES // size
    vectors, padded = _panel(lanes, per_vector)
    high = ROWS_4 if vectors == 4 else ROWS
    tiles = -(-rows // high)
    arithmetic = tiles * high * padded * k / (2 * per_vector)
    return (
        arithmetic
        + k * lanes * (0.1 if contiguous else 1.2)
        + rows * lanes * (0.1 if direct else 1.5)
    )


def _served(x: Any) -> bool:
    size = x.dtype.itemsize
    return all(s >= 0 and s % size == 0 for s in x.strides) and x.ndim == 2


def _batch(x: Any, y: Any, out: Any) -> Any:
    """Products of matrices along leading axes, which broadcast: one after the other in one call."""
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    if y.ndim == 2 and x.flags.c_contiguous and (out is None or out.flags.c_contiguous):
        flat = None if out is None else out.reshape(-1, out.shape[-1])
        call = matmul_nd.bind(x.reshape(-1, x.shape[-1]), y, out=flat)
        if call is not NotImplemented:
            call.out = call.out.reshape(*x.shape[:-1], y.shape[1]) if out is None else out
        return call
    out = np.empty((*lead, x.shape[-2], y.shape[-1]), x.dtype) if out is None else out
    xs, ys = np.broadcast_to(x, lead + x.shape[-2:]), np.broadcast_to(y, lead + y.shape[-2:])
    calls = [matmul_nd.bind(xs[i], ys[i], out=out[i]) for i in np.ndindex(lead)]
    if any(call is NotImplemented for call in calls):
        return NotImplemented
    calls[0].keep = (calls[0].keep, calls[1:])
    calls[0].set_rows(np.concatenate([call.rows for call in calls]))
    calls[0].out = out
    return calls[0]


@kernel
def matmul_nd(
    x: Any, y: Any, *, out: Any = None, accumulate: bool = False, epilogue: Any = None
) -> Any:
    """x @ y, matrices or stacks of them; strides may be any.

    `accumulate` adds to out. `epilogue`, for matrices, is (address of a block function, address of
    its table): it runs on each block of out when the block is final.
    """
    if x.dtype != y.dtype or x.dtype not in (np.float32, np.float64):
        return NotImplemented
    if x.size == 0 or y.size == 0:
        return NotImplemented
    if x.ndim > 2 or y.ndim > 2:
        return _batch(x, y, out)
    if not (_served(x) and _served(y)):
        return NotImplemented
    (rows, k), lanes, size = x.shape, y.shape[1], x.dtype.itemsize
    if (
        epilogue is None
        and not accumulate
        and (rows * k * lanes < SMALLEST or min(rows, lanes) < NARROW)
    ):
        return NotImplemented
    out = np.empty((rows, lanes), x.dtype) if out is None else out
    if not _served(out) or out.shape != (rows, lanes):
        return NotImplemented
    plain = _cost(rows, lanes, k, y.strides[1] == size, out.strides[1] == size, size)
    turned = _cost(lanes, rows, k, x.strides[0] == size, out.strides[0] == size, size)
    transposed = turned < plain
    a, b, c = (y.T, x.T, out.T) if transposed else (x, y, out)
    vectors, _ = _panel(b.shape[1], VECTOR_BYTES // size)
    workers = threads() if rows * k * lanes > 100_000 else 1
    block = min(k, KC_TRANSPOSED if transposed else KC)  # a transposed tile is stored once
    buffer = workspace(threads() * (block + ROWS) * VECTOR_BYTES)
    table = (
        a.shape[0], b.shape[1], k, a, *a.strides, b, *b.strides, c, *c.strides, accumulate,
        *(epilogue or (0, 0)), transposed, buffer, vectors, block,
    )  # fmt: skip
    function = _product32 if size == 4 else _product64
    return Call(function, table, out=out, workers=workers, keep=(x, y))
