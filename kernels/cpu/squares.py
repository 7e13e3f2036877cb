"""The sum of the squares of a contiguous array, in float64 and in one pass.

As array operations that is a copy in float64, its squares and their sum: three passes, two of them
over memory of twice the size. Here LANES numbers at a time are read, widened, and multiplied into
as many sums side by side; these are added as a tree, and blocks of BLOCK numbers in order. The
result does not depend on who adds a block: it is the same bits for any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..binding import kernel
from .axes import into
from .emit import Loop
from .runtime import Call, Table, array, both, doubles, native, word, workers_for
from .tile import fma_of, folded, load
from .words import WORD

BLOCK = 4096
LANES = 32

TABLE = Table("x out n blocks partial")


@intrinsic
def _lines(typing: Any, kind: Any, address: Any, count: Any) -> Any:
    """The sum of the squares of `count` lines of LANES numbers."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        number, double = context.get_value_type(kind), ir.DoubleType()
        narrow, wide = ir.VectorType(number, LANES), ir.VectorType(double, LANES)
        fma = fma_of(b, wide)
        with Loop(b, args[2], [ir.Constant(wide, [0.0] * LANES), args[1]]) as turn:
            sums, place = turn.values
            x = load(b, narrow, place)
            x = x if number == double else b.fpext(x, wide)
            step = WORD(LANES * kind.bitwidth // 8)
            turn.values = [b.call(fma, [x, x, sums]), b.add(place, step)]
        return folded(b, turn.values[0], b.fadd)

    return types.float64(kind, types.intp, types.intp), emit


@both
def _blocks(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A block is a piece of work."""
    n, blocks = word(args, TABLE.n), word(args, TABLE.blocks)
    x, partial = array(kind, args, TABLE.x, n), doubles(args, TABLE.partial, blocks)
    for block in range(blocks * worker // workers, blocks * (worker + 1) // workers):
        here = x[block * BLOCK : min((block + 1) * BLOCK, n)]
        lines = here.size // LANES
        total = _lines(kind, here.ctypes.data, lines)
        for i in range(lines * LANES, here.size):
            value = np.float64(here[i])
            total += value * value
        partial[block] = total


@native
def _end(worker, workers, args):  # type: ignore[no-untyped-def]
    """The blocks added in order."""
    partial, total = doubles(args, TABLE.partial, word(args, TABLE.blocks)), 0.0
    for x in partial:
        total += x
    doubles(args, TABLE.out, 1)[0] = total


@kernel(again=True)
def sum_of_squares(x: Any, *, dtype: Any, out: Any = None) -> Any:
    floats = x.dtype in (np.float32, np.float64) and np.dtype(dtype) == np.float64
    out = into(out, (), np.dtype(np.float64))
    if not floats or not x.flags.c_contiguous or out is None:
        return NotImplemented
    blocks = -(-x.size // BLOCK)
    table = TABLE.fill(x=x, out=out, n=x.size, blocks=blocks, partial=np.empty(blocks))
    workers = workers_for(x.size)
    return Call(_blocks[x.dtype], table, out=out, workers=workers, then=[(_end, 1)])
