"""Lists of calls, run by all cores without returning to Python between them.

A call is a row of three numbers (function, args, workers): a kernel, its table, and into how many
shares its work is cut. All rows are one parallel region. Each worker passes over all of them and
does its share of each; a row begins when all shares of the row before are done,

    worker 0    share 0 of row 0 | waits | share 0 of row 1        | share 0 of row 2
    worker 1    share 1 of row 0         | share 1 of row 1 | waits | share 1 of row 2

which takes a twentieth of a microsecond, where sending workers home and calling them again takes
three. What workers wait for is shares, not each other: a share belongs to whoever takes it first,
and a worker that has waited for long takes one that nobody has begun. So a list is finished by as
many workers as do appear, were it one, and none waits for a thread that the system never starts.
After some time of waiting, a worker offers its core to others, too.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from . import kept
from .compile import Native, dry
from .cores import apart, stay, threads
from .words import WORD, X86, address_of, call_worker, inline, int64_pointer, table_of

LOCK = threading.RLock()  # one parallel region at a time: numba's threading layers need it
PARALLEL_FROM = 16_384  # elements (or as much work): below it, waking the other cores costs more
SCRATCH = 1 << 19  # bytes that a call may keep of its own to run on other arrays
PLAN = 8  # calls from which on workers are put on cores of their own
PATIENCE = 2_000  # looks at a row that is not done, before a worker does something about it
SHARES = 256  # of a row, at most, where there are no more cores
APART = 64  # bytes between what two workers write: a line of the cache
_forked = False  # threads of the parent do not exist in a forked child, which runs serially


def _after_fork() -> None:
    global LOCK, _forked
    LOCK = threading.RLock()
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

# How far a list is: the shares that are done, then for each share the rows in which it was taken.
_state = np.zeros((1 + max(SHARES, threads()), APART // 8), np.int64)


@intrinsic
def _look(typing: Any, address: Any) -> Any:
    """The integer at an address as other workers have left it."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.load_atomic(b.inttoptr(args[0], WORD.as_pointer()), "acquire", 8, typ=WORD)

    return types.intp(types.intp), emit


@intrinsic
def _add_one(typing: Any, address: Any) -> Any:
    """Add 1 to the integer at an address, at which other workers look."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        place = b.inttoptr(args[0], WORD.as_pointer())
        return b.atomic_rmw("add", place, ir.Constant(WORD, 1), "acq_rel")

    return types.intp(types.intp), emit


@intrinsic
def _change(typing: Any, address: Any, before: Any, after: Any) -> Any:
    """Whether the integer at an address was `before`; then it is `after`, by this worker alone."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        place = b.inttoptr(args[0], WORD.as_pointer())
        return b.extract_value(b.cmpxchg(place, args[1], args[2], "acq_rel", "acquire"), 1)

    return types.boolean(types.intp, types.intp, types.intp), emit


@intrinsic
def _pause(typing: Any) -> Any:
    """Let the core rest for a moment between two looks."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        if X86:
            kind = ir.FunctionType(ir.VoidType(), [])
            b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), emit


_offer_core = types.ExternalFunction(
    "SwitchToThread" if os.name == "nt" else "sched_yield", types.int32()
)


@inline
def _take(state, row, share):  # type: ignore[no-untyped-def]
    """Whether nobody has taken this share of a row, which is now this worker's."""
    place = state + APART * (1 + share)
    taken = _look(place)
    return taken <= row and _change(place, taken, row + 1)


@inline
def _shares(table, row, state, start, step):  # type: ignore[no-untyped-def]
    """Do the shares start, start + step ... of a row that are still to be had."""
    rows = int64_pointer(table)
    function, args, workers = rows[3 * row], rows[3 * row + 1], rows[3 * row + 2]
    for share in range(start, workers, step):
        if _take(state, row, share):
            call_worker(function, share, workers, args)
            _add_one(state)


@inline
def _work(table, n, team, worker, state):  # type: ignore[no-untyped-def]
    """Pass over all rows; everyone waits until all shares of a row are done."""
    end = 0
    for row in range(n):
        end += int64_pointer(table)[3 * row + 2]
        _shares(table, row, state, worker, team)
        looks = 0
        while _look(state) < end:
            _pause()
            looks += 1
            if looks >= PATIENCE:
                _shares(table, row, state, 0, 1)
                _offer_core()


def _rows_parallel(table, n, team, state, sets):  # type: ignore[no-untyped-def]
    for worker in prange(team):
        if sets:
            stay(sets, worker)
        _work(table, n, team, worker, state)


def _rows_serial(table, n, team, state, sets):  # type: ignore[no-untyped-def]
    """A function of its own: Numba's cache does not tell parallel code from serial code."""
    rows = carray(int64_pointer(table), (n, 3))
    for i in range(n):
        for worker in range(rows[i, 2]):
            call_worker(rows[i, 0], worker, rows[i, 2], rows[i, 1])


@functools.cache
def _runner(parallel: bool) -> Callable[[int, int, int, int, int], None]:
    """The function that runs rows (function, args, workers), one after the other."""
    runner: Callable[[int, int, int, int, int], None] = kept.function(
        _rows_parallel if parallel else _rows_serial, types.void(*[types.intp] * 5),
        parallel=parallel, nogil=True, error_model="numpy",
    )  # fmt: skip
    return runner


def run_rows(table: int, n: int, workers: int) -> None:
    """Run n calls; `table` is the address of n rows of three 64-bit integers.

    workers: the most that a row has; with one, the thread that asks does everything itself.
    """
    with LOCK:
        if _forked or threads() == 1 or workers == 1:
            _runner(False)(table, n, 1, 0, 0)
        else:
            _state[: 1 + workers] = 0
            with apart() if n >= PLAN else contextlib.nullcontext(0) as sets:
                _runner(True)(table, n, threads(), address_of(_state), sets)


def busiest(rows: Any) -> int:
    """The most workers that a row has."""
    return max(rows[:, 2].tolist(), default=1)


def workers_for(work: int, limit: int = PARALLEL_FROM) -> int:
    """All cores for enough work (counted in elements that are read or written), else one."""
    return 1 if work < limit else threads()


class Call:
    """A kernel with its arguments: what to run, on which memory.

    Args:
        function: what runs.
        args: arrays (their address is passed), integers, and floats (passed as float64).
        out: what the operation returns; an array or a tuple of arrays.
        workers: between how many the work is shared.
        keep: other objects that must live as long as the call.
        then: further (function, workers) on the same table of args, each after all workers of the
            one before: for a kernel in several phases. A phase may write to the table.
        before: Python that runs each time before the call, and raises for values that its function
            cannot refuse.

    `rows` is what runs, int64 (phases, 3); several calls are one array of all their rows.
    """

    __slots__ = ("args", "before", "function", "keep", "out", "rows", "rows_at", "workers")

    def __init__(
        self, function: Native, args: Sequence[Any], *, out: Any, workers: int = 1,
        keep: Any = None, then: Sequence[tuple[Native, int]] = (),
        before: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.function = function
        self.before = before
        self.out = out
        self.workers = workers
        self.args = table_of(args)
        self.keep = (args, keep)
        table = address_of(self.args)
        phases = ((function, workers), *then)
        self.rows = np.array([(f.address, table, w) for f, w in phases], dtype=np.int64)
        self.rows_at = address_of(self.rows)

    def set_rows(self, rows: Any) -> None:
        """What runs: (function, args, workers) a row."""
        self.rows = rows
        self.rows_at = address_of(rows)

    def __call__(self) -> None:
        if self.before is not None:
            self.before()
        run_rows(self.rows_at, len(self.rows), busiest(self.rows))

    def again(self, arrays: Sequence[Any]) -> Again | None:
        """This call for other arrays of the same shapes and strides, see ..binding; or None.

        The arrays that it was made for, and its results, must be words of its table, each an array
        of its own. All other arrays of the table are scratch.
        """
        args, keep = self.keep
        outs = self.out if isinstance(self.out, tuple) else (self.out,)
        names = {id(a): i for i, a in enumerate((*arrays, *outs))}
        held = [(i, a) for i, a in enumerate(args) if isinstance(a, np.ndarray)]
        places = [(i, names[id(a)]) for i, a in held if id(a) in names]
        scratch = [a for _, a in held if id(a) not in names]
        served = len({name for _, name in places}) == len(arrays) + len(outs)
        if not served or keep is not None or self.before is not None or dry():
            return None
        if sum(a.nbytes for a in scratch) > SCRATCH:
            return None
        return Again(self, places, scratch)


class Again:
    """A call for any arrays of its signature: called with them, it runs and returns new results."""

    __slots__ = ("_at", "_made", "_places", "_rows", "_scratch", "_several", "_table", "_workers")

    def __init__(self, call: Call, places: list[tuple[int, int]], scratch: list[Any]) -> None:
        outs = call.out if isinstance(call.out, tuple) else (call.out,)
        self._several = isinstance(call.out, tuple)
        self._made = [(out.shape, out.dtype) for out in outs]
        self._places = places  # a word of the table, and which of the arrays and results it is
        self._table, self._scratch = call.args, scratch
        self._rows, self._at, self._workers = call.rows, call.rows_at, busiest(call.rows)

    def __call__(self, arrays: Sequence[Any]) -> Any:
        outs = tuple(np.empty(shape, dtype) for shape, dtype in self._made)
        addresses = [address_of(a) for a in (*arrays, *outs)]
        table = self._table
        for word, which in self._places:
            table[word] = addresses[which]
        run_rows(self._at, len(self._rows), self._workers)
        return outs if self._several else outs[0]


_workspaces: list[Any] = []  # the newest is the largest; bound calls may still use older ones


def workspace(floats_needed: int) -> Any:
    """A float32 buffer of at least this size for what lives within one call, shared by all."""
    if not _workspaces or _workspaces[-1].size < floats_needed:
        size = max(floats_needed, 1 << 18)
        raw = np.empty(size + 16, dtype=np.float32)
        skip = -address_of(raw) % 64 // 4
        _workspaces.append(raw[skip : skip + size])
    return _workspaces[-1]
