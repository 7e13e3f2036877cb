"""Each worker on a core of its own while a plan runs.

Workers that are woken by one another may all come to lie on one core, next to idle ones, and stay
there: none waits long enough for the operating system to notice. A step then takes twice as long.
So where there is a worker for each core that the process may use, workers stay where they are put,
and the thread that runs a plan stays on its core until the plan is done.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import types

from .runtime import address_of, native, threads

MASK = 128  # bytes of a set of cores

_set_affinity = types.ExternalFunction(
    "sched_setaffinity", types.int32(types.int32, types.intp, types.intp)
)


@native
def _stay(worker, workers, args):  # type: ignore[no-untyped-def]
    """The thread that runs this stays on the core of its worker; args: a set of cores for each."""
    _set_affinity(np.int32(0), MASK, args + MASK * worker)


class _Thread(threading.local):
    """Whether the workers of this Python thread have their cores: each has workers of its own."""

    settled = False


_thread = _Thread()


@functools.cache
def cores() -> tuple[int, ...]:
    """A core for each worker; none if there are fewer workers or more, or no way to choose."""
    if not hasattr(os, "sched_setaffinity"):
        return ()
    found = tuple(sorted(os.sched_getaffinity(0)))
    return found if len(found) == threads() and max(found) < 8 * MASK else ()


@contextlib.contextmanager
def apart(run: Callable[[int, int], Any]) -> Iterator[None]:
    """Within the block this thread and its workers have a core each; `run` runs calls on them."""
    before = os.sched_getaffinity(0)
    if not set(cores()) <= before:  # the user has narrowed them since
        yield
        return
    try:
        if not _thread.settled:
            sets = np.zeros((len(cores()), 8 * MASK), np.bool_)
            sets[np.arange(len(cores())), cores()] = True
            masks = np.packbits(sets, axis=1, bitorder="little")
            row = np.array([_stay.address, address_of(masks), len(cores())])
            run(address_of(row), 1)
            _thread.settled = True
        os.sched_setaffinity(0, cores()[:1])
        yield
    finally:
        os.sched_setaffinity(0, before)
