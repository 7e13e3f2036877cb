"""What this machine can do at most, and how long each call of a plan takes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .check import written

if TYPE_CHECKING:
    from . import Plan

ROUNDS = 7


class Limits(NamedTuple):
    """The best rates met: GFLOP/s in float32, GB/s from and to memory; what a cache holds."""

    gflops: float
    gbytes: float
    cached: int  # bytes that one call may read and write without waiting for memory


def _best(run: Callable[[], object]) -> float:
    """The shortest time of a call, in seconds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


@functools.cache
def limits() -> Limits:
    """The machine's limits, measured once a process: fused multiply-adds in registers, and a copy.

    Without Numba the largest matrix product that is quick stands for the first.
    """
    try:
        from tinygen_kernels.cpu.peak import fma_rate

        gflops = max(fma_rate() for _ in range(ROUNDS))
    except ImportError:
        x = np.ones((768, 768), np.float32)
        gflops = 2 * 768**3 / _best(lambda: x @ x) / 1e9
    gbytes = _copying(1 << 27)
    sizes = [1 << k for k in range(16, 27)]
    cached = max((n for n in sizes if _copying(n) > 1.25 * gbytes), default=sizes[0])
    return Limits(gflops, gbytes, cached)


def _copying(size: int) -> float:
    """GB/s of a copy that reads and writes `size` bytes together."""
    source, target = np.ones((2, size // 8), np.float32)
    return size / _best(lambda: np.copyto(target, source)) / 1e9


def times(plan: Plan) -> list[float]:
    """Seconds that each call takes in its place, with what the others leave in the caches.

    Of the fastest of several runs of the whole plan. The state is put back after.
    """
    before = {s: array.copy() for s, (array, _) in written(plan).items()}
    try:
        with np.errstate(all="ignore"):
            return min((plan._backend.timed(plan.bound) for _ in range(ROUNDS)), key=sum)
    finally:
        for storage, (array, _) in written(plan).items():
            array[...] = before[storage]
