"""The limit of arithmetic: fused multiply-adds a second that never leave the registers.

A matrix product cannot be faster. Twenty-four vectors are kept busy at once, more than the latency
of a multiply-add times the number of units; each step does 24 lanes * 2 operations.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .emit import Loop, constant
from .runtime import Call, float32_pointer, native, threads, word
from .tile import fma_of
from .vectors import VECTOR_BYTES

CHAINS = 24


def lanes() -> int:
    """How many float32 numbers a vector holds."""
    return VECTOR_BYTES // 4


@intrinsic
def _burn(typing: Any, steps: Any) -> Any:
    """The sum of CHAINS vectors after `steps` multiply-adds of each."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), lanes())
        fma = fma_of(b, vector)
        factor, term = constant(vector, 0.999), constant(vector, 0.5)
        begin = [constant(vector, float(k)) for k in range(CHAINS)]
        with Loop(b, args[0], begin) as turn:
            turn.values = [b.call(fma, [chain, factor, term]) for chain in turn.values]
        following = turn.values
        total = following[0]
        for value in following[1:]:
            total = b.fadd(total, value)
        return b.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return types.float32(types.intp), emit


@native
def _burning(worker, workers, args):  # type: ignore[no-untyped-def]
    float32_pointer(word(args, 0))[16 * worker] = _burn(word(args, 1))


def fma_rate(steps: int = 300_000) -> float:
    """GFLOP/s of float32 multiply-adds on all cores."""
    out = np.zeros(16 * threads(), np.float32)
    call = Call(_burning, (out, steps), out=out, workers=threads())
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    return 2 * CHAINS * lanes() * steps * threads() / seconds / 1e9
