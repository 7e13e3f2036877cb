"""How many workers there are, and each on a core of its own while they run.

Workers that are woken by one another may all come to lie on one core, next to idle ones, and stay
there: none waits long enough for the operating system to notice. A step then takes twice as long.
So where there is a worker for each core that the process may use, workers stay where they are put,
and the thread that calls them stays on its core until they are done.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterator
from typing import Any

# Two pools of threads that spin starve each other (NumPy's BLAS has its own); read at thread start.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .words import WORD, address_of

MASK = 128  # bytes of a set of cores


@functools.cache
def threads() -> int:
    """How many cores take part: NUMBA_NUM_THREADS, by default all that this process may use."""
    return int(numba.config.NUMBA_NUM_THREADS)


@functools.cache
def cores() -> tuple[int, ...]:
    """A core for each worker; none if there are fewer workers or more, or no way to choose."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    found = tuple(sorted(os.sched_getaffinity(0)))
    return found if len(found) == threads() and max(found) < 8 * MASK else ()


@functools.cache
def _sets() -> Any:
    """For each worker the set of its one core, as the operating system writes it."""
    sets = np.zeros((len(cores()), 8 * MASK), np.bool_)
    sets[np.arange(len(cores())), cores()] = True
    return np.packbits(sets, axis=1, bitorder="little")


class _Thread(threading.local):
    """Whether the workers of this Python thread have their cores: each has workers of its own."""

    settled = False


_thread = _Thread()


@contextlib.contextmanager
def apart() -> Iterator[int]:
    """Within the block this thread is on the core of worker 0; what it yields is for `stay`."""
    before = os.sched_getaffinity(0) if cores() else set()
    if not cores() or not before.issuperset(cores()):  # the user has narrowed them since
        yield 0
        return
    try:
        os.sched_setaffinity(0, cores()[:1])
        yield 0 if _thread.settled else address_of(_sets())
        _thread.settled = True
    finally:
        os.sched_setaffinity(0, before)


@intrinsic
def stay(typing: Any, sets: Any, worker: Any) -> Any:
    """The thread that runs this stays on the core of its worker; `sets` as `apart` has them."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        if hasattr(os, "sched_setaffinity"):
            kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), WORD, WORD])
            function = cgutils.get_or_insert_function(b.module, kind, "sched_setaffinity")
            own = b.add(args[0], b.mul(args[1], ir.Constant(WORD, MASK)))
            b.call(function, [ir.Constant(ir.IntType(32), 0), ir.Constant(WORD, MASK), own])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), emit
