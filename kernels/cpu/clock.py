"""The time as a row of a list of calls: how long what lies between two such rows takes there."""

from __future__ import annotations

import os
import time

import numpy as np
from numba import types

from .runtime import Call, native, word

_WINDOWS = os.name == "nt"
_NAME = "QueryPerformanceCounter" if _WINDOWS else "clock_gettime"
_UNITS = (time.get_clock_info("perf_counter").resolution if _WINDOWS else 1.0, 1e-9)  # seconds
_read = types.ExternalFunction(_NAME, types.int32(types.intp, types.intp))


@native
def _stamp(worker, workers, args):  # type: ignore[no-untyped-def]
    """The table has what the system's function takes: which clock, and where to write its time."""
    _read(word(args, 0), word(args, 1))


class Stamp:
    """Stands between the calls of a plan; `seconds` is when it ran last, by a steady clock."""

    def __init__(self) -> None:
        self._time = np.zeros(2, np.int64)
        args = (self._time, 0) if _WINDOWS else (time.CLOCK_MONOTONIC, self._time)
        self.kernel = Call(_stamp, args, out=self._time)

    @property
    def seconds(self) -> float:
        return float(self._time @ _UNITS)
