"""Blocks of threads in plain Python: a kernel is a generator, and `yield` is its barrier.

    def kernel(block, thread, shared, x, y):
        shared[thread] = x[thread]
        yield                            # __syncthreads(): wait for all threads of the block
        y[thread] = shared[7 - thread]

One thread after the other runs until its next `yield`, as in the emulator of CUDA kernels. What a
GPU forgives on some days is an error here: a place that nobody wrote holds NaN, a place outside of
the memory is refused, and so is a barrier that only some threads reach.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np


class Memory:
    """A vector or table that refuses places outside of it (NumPy counts -1 from the end)."""

    def __init__(self, values: Any) -> None:
        self.values = np.array(values, dtype=np.float64)
        self.shape = self.values.shape

    def _place(self, where: Any) -> Any:
        place = where if isinstance(where, tuple) else (where,)
        inside = len(place) == len(self.shape) and all(
            0 <= i < n for i, n in zip(place, self.shape, strict=True)
        )
        if not inside:
            raise IndexError(f"place {where} is outside of a memory of the shape {self.shape}")
        return where

    def __getitem__(self, where: Any) -> float:
        return float(self.values[self._place(where)])

    def __setitem__(self, where: Any, value: float) -> None:
        self.values[self._place(where)] = value


def places(shape: int | tuple[int, ...]) -> list[Any]:
    """The numbers, or tuples of numbers, of all places of a shape."""
    return list(range(shape) if isinstance(shape, int) else itertools.product(*map(range, shape)))


def launch(
    kernel: Callable[..., Any],
    blocks: int | tuple[int, ...],
    threads: int | tuple[int, ...],
    shared: tuple[int, ...],
    *arguments: Any,
    backwards: bool = False,
) -> None:
    """Run kernel(block, thread, shared, *arguments) for each thread of each block.

    Args:
        kernel: a generator function, or a plain one that has no barrier.
        blocks: how many; of a shape (rows, columns) each block is given as a pair.
        threads: of a block, likewise.
        shared: the shape of the memory that a block shares, full of NaN at the start.
        arguments: Memory and numbers.
        backwards: whether the last thread runs first.

    Raises:
        RuntimeError: some threads of a block wait at a barrier while others have ended.
        IndexError: a place outside of a memory.
    """
    names = places(threads)
    for block in places(blocks):
        memory = Memory(np.full(shared, np.nan))
        made = [kernel(block, thread, memory, *arguments) for thread in names]
        left = [x for x in made if inspect.isgenerator(x)]
        if backwards:
            left.reverse()
        while left:
            waiting = [x for x in left if next(x, "end") != "end"]
            if waiting and len(waiting) < len(left):
                raise RuntimeError(
                    f"{len(waiting)} of {len(left)} threads of a block wait at a barrier that the "
                    "others never reach; expected all of them or none"
                )
            left = waiting
