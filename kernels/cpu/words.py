"""How a kernel for the processor is compiled, cached, given its arguments and run on all cores.

Every kernel is a C function of three integers,

    void kernel(worker, workers, args)

where `args` is the address of a table of 64-bit words: addresses of arrays, sizes, strides, and
numbers as bits of a float64. The function does its share of the work, as worker number `worker` of
`workers`. So a call is a row of three numbers (function, args, workers), a list of calls is an
array, and one small parallel function, `_run_rows`, runs it without returning to Python between
the calls. It is the only function that knows of threads; kernels are compiled once, serially.

A share never decides a result: sums are cut into fixed pieces, whoever adds them. So results are
the same bits for any number of threads.

    @native
    def _relu(worker, workers, args):
        n = word(args, 2)
        x, y = floats(args, 0, n), floats(args, 1, n)
        for i in range(first(n, worker, workers), first(n, worker + 1, workers)):
            y[i] = max(x[i], np.float32(0))

    @kernel
    def relu(x, *, out=None):                     # binds: says what to run, runs nothing
        if x.dtype != np.float32 or not x.flags.c_contiguous:
            return NotImplemented
        out = empty_like(x) if out is None else out
        return Call(_relu, (x, out, x.size), out=out, workers=workers_for(x.size))

`relu(x)` runs it now and returns `out`; `relu.bind(x, out=y)` returns the Call, for a plan.
"""

from __future__ import annotations

import functools
import os
import platform
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any

# Two pools of threads that spin starve each other (NumPy's BLAS has its own); read at thread start.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numba
import numpy as np
from llvmlite import ir
from numba import carray, njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from . import kept

_WORD = ir.IntType(64)
FASTMATH = frozenset({"contract"})  # a product and a sum may share a rounding; NaN stays NaN

# ---- reading the table of arguments --------------------------------------------------------------


def _pointer(name: str, kind: Any, llvm: Any) -> Any:
    @intrinsic
    def pointer(typing: Any, address: Any) -> Any:
        def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
            return b.inttoptr(args[0], llvm.as_pointer())

        return types.CPointer(kind)(types.intp), emit

    pointer.__name__ = name
    return pointer


float32_pointer = _pointer("float32_pointer", types.float32, ir.FloatType())
float64_pointer = _pointer("float64_pointer", types.float64, ir.DoubleType())
int64_pointer = _pointer("int64_pointer", types.int64, _WORD)
uint64_pointer = _pointer("uint64_pointer", types.uint64, _WORD)
uint32_pointer = _pointer("uint32_pointer", types.uint32, ir.IntType(32))
uint8_pointer = _pointer("uint8_pointer", types.uint8, ir.IntType(8))


# Processors of the x86 family take about a hundred times as long for numbers below the smallest one
# of full precision (1.2e-38 in float32), and they do occur: Adam's mean of the gradients of a unit
# that has died fades to them, and a step then took three times as long. Products and updates count
# them as 0. The state of the processor is the thread's, so what a function changes it puts back.


@intrinsic
def flush_subnormals(typing: Any) -> Any:
    """Such operands and results are 0 from here on; returns what `restore` takes."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        before = cgutils.alloca_once_value(b, ir.Constant(ir.IntType(32), 0))
        if _X86:
            _control_word(b, "stmxcsr", before)
            flush = b.or_(b.load(before), ir.Constant(ir.IntType(32), 0x8040))  # results, operands
            _control_word(b, "ldmxcsr", cgutils.alloca_once_value(b, flush))
        return b.load(before)

    return types.int32(), emit


@intrinsic
def restore(typing: Any, before: Any) -> Any:
    """What the processor did with such numbers before `flush_subnormals`."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        if _X86:
            _control_word(b, "ldmxcsr", cgutils.alloca_once_value(b, args[0]))
        return context.get_dummy_value()

    return types.void(types.int32), emit


_X86 = platform.machine() in ("x86_64", "AMD64")


def _control_word(b: Any, name: str, slot: Any) -> None:
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte])
    function = cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.sse.{name}")
    b.call(function, [b.bitcast(slot, byte)])


@intrinsic
def call_worker(typing: Any, function: Any, worker: Any, workers: Any, args: Any) -> Any:
    """Call the C function at an address: function(worker, workers, args)."""

    def emit(context: Any, b: Any, signature: Any, a: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_WORD] * 3)
        b.call(b.inttoptr(a[0], kind.as_pointer()), a[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), emit


@intrinsic
def call_block(typing: Any, function: Any, r0: Any, r1: Any, c0: Any, c1: Any, args: Any) -> Any:
    """Call the C function at an address on rows r0:r1 and columns c0:c1 of its arrays."""

    def emit(context: Any, b: Any, signature: Any, a: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_WORD] * 5)
        b.call(b.inttoptr(a[0], kind.as_pointer()), a[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), emit


@intrinsic
def call_update(
    typing: Any, function: Any, r0: Any, r1: Any, c0: Any, c1: Any, args: Any, origin: Any, row: Any
) -> Any:
    """The same for an update: row r of the gradient starts at origin + r * row."""

    def emit(context: Any, b: Any, signature: Any, a: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_WORD] * 7)
        b.call(b.inttoptr(a[0], kind.as_pointer()), a[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 8), emit


@intrinsic
def wide_vectors(typing: Any) -> Any:
    """In a function compiled on its own: use the widest vectors that the processor has.

    LLVM stops at 256 bits on processors of the Skylake family, whose clock slows down when 512 are
    first used; products use them anyway. Functions of maths take up to 40 % less time.
    """

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        attributes = b.function.attributes
        set.add(attributes, '"prefer-vector-width"="512"')  # its own `add` knows none with values
        attributes.add("noinline")  # or it would be its caller's
        return context.get_dummy_value()

    return types.void(), emit


# Helpers of kernels are never called from Python; without the ways in, they compile twice as fast.
ALONE = {"inline": "never", "no_cfunc_wrapper": True, "no_cpython_wrapper": True}
exact = njit(error_model="numpy", nogil=True, **ALONE)  # for a native_exact
inline = njit(error_model="numpy", fastmath=set(FASTMATH), nogil=True, **ALONE)


@inline
def word(args, i):  # type: ignore[no-untyped-def]
    """Entry i of the table, an integer."""
    return int64_pointer(args)[i]


@inline
def number(args, i):  # type: ignore[no-untyped-def]
    """Entry i of the table, a float64."""
    return float64_pointer(args)[i]


@inline
def floats(args, i, n):  # type: ignore[no-untyped-def]
    """The float32 array of n elements whose address is entry i."""
    return carray(float32_pointer(int64_pointer(args)[i]), n)


@inline
def doubles(args, i, n):  # type: ignore[no-untyped-def]
    """The float64 array of n elements whose address is entry i."""
    return carray(float64_pointer(int64_pointer(args)[i]), n)


@inline
def first(n, worker, workers):  # type: ignore[no-untyped-def]
    """Where a worker's share of n elements starts, in whole lines of 64 bytes of float32."""
    lines = (n + 15) // 16
    return min(lines * worker // workers * 16, n)


# ---- compiling -----------------------------------------------------------------------------------

SHARE = types.void(types.intp, types.intp, types.intp)
BLOCK = types.void(*[types.intp] * 5)
UPDATE = types.void(*[types.intp] * 7)
compiling: list[Callable[[str], None]] = []  # called with a kernel's name when it is first needed


class Native:
    """A function compiled to machine code with a C interface, when its address is first asked."""

    def __init__(
        self, body: Callable[..., None], signature: Any = SHARE, exact: bool = False
    ) -> None:
        self.body = body
        self.signature = signature
        self.fastmath = False if exact else set(FASTMATH)  # of all that it calls, too
        self.__name__ = body.__name__
        self.__doc__ = body.__doc__

    @functools.cached_property
    def address(self) -> int:
        with LOCK:
            for tell in compiling:
                tell(self.__name__)
            self._compiled = kept.c_function(
                self.body, self.signature, error_model="numpy", fastmath=self.fastmath
            )
            return int(self._compiled.address)

    def __repr__(self) -> str:
        return f"<native {self.__name__}>"


def native(body: Callable[..., None]) -> Native:
    """Declare void body(worker, workers, args), compiled at first use."""
    return Native(body, SHARE)


def native_exact(body: Callable[..., None]) -> Native:
    """The same, every operation rounded on its own: to the bits of NumPy."""
    return Native(body, SHARE, exact=True)


def native_block(body: Callable[..., None]) -> Native:
    """Declare void body(r0, r1, c0, c1, args), compiled at first use."""
    return Native(body, BLOCK)


def native_update(body: Callable[..., None]) -> Native:
    """Declare void body(r0, r1, c0, c1, args, origin, row), exact, compiled at first use."""
    return Native(body, UPDATE, exact=True)


# ---- running -------------------------------------------------------------------------------------

LOCK = threading.RLock()  # one parallel region at a time: numba's threading layers need it
PARALLEL_FROM = 16_384  # elements (or as much work): below it, waking the other cores costs more
PLAN = 8  # calls from which on workers are put on cores of their own
_forked = False  # threads of the parent do not exist in a forked child, which runs serially


def _after_fork() -> None:
    global LOCK, _forked
    LOCK = threading.RLock()
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _rows_parallel(table, n):  # type: ignore[no-untyped-def]
    rows = carray(int64_pointer(table), (n, 3))
    for i in range(n):
        function, args, workers = rows[i, 0], rows[i, 1], rows[i, 2]
        if workers == 1:
            call_worker(function, 0, 1, args)
        else:
            for worker in prange(workers):
                call_worker(function, worker, workers, args)


def _rows_serial(table, n):  # type: ignore[no-untyped-def]
    """A function of its own: Numba's cache does not tell parallel code from serial code."""
    rows = carray(int64_pointer(table), (n, 3))
    for i in range(n):
        for worker in range(rows[i, 2]):
            call_worker(rows[i, 0], worker, rows[i, 2], rows[i, 1])


@functools.cache
def _runner(parallel: bool) -> Callable[[int, int], None]:
    """The function that runs rows (function, args, workers), one after the other."""
    runner: Callable[[int, int], None] = kept.function(
        _rows_parallel if parallel else _rows_serial, types.void(types.intp, types.intp),
        parallel=parallel, nogil=True, error_model="numpy",
    )  # fmt: skip
    return runner


def run_rows(table: int, n: int) -> None:
    """Run n calls; `table` is the address of n rows of three 64-bit integers."""
    from .cores import apart, cores

    with LOCK:
        if _forked or threads() == 1:
            _runner(False)(table, n)
        elif n < PLAN or not cores():
            _runner(True)(table, n)
        else:
            with apart(_runner(True)):
                _runner(True)(table, n)


@functools.cache
def threads() -> int:
    """How many cores take part: NUMBA_NUM_THREADS, by default all that this process may use."""
    return int(numba.config.NUMBA_NUM_THREADS)


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

    `rows` is what runs, int64 (phases, 3); several calls are one array of all their rows.
    """

    __slots__ = ("args", "function", "keep", "out", "rows", "rows_at", "workers")

    def __init__(
        self, function: Native, args: Sequence[Any], *, out: Any, workers: int = 1,
        keep: Any = None, then: Sequence[tuple[Native, int]] = (),
    ) -> None:  # fmt: skip
        self.function = function
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
        run_rows(self.rows_at, len(self.rows))


def address_of(array: Any) -> int:
    """Where the first element of an array is."""
    return int(array.__array_interface__["data"][0])


def table_of(args: Sequence[Any]) -> Any:
    """The table of 64-bit words that a native function reads."""
    words = []
    for value in args:
        if isinstance(value, np.ndarray):
            words.append(address_of(value))
        elif isinstance(value, float):
            words.append(struct.unpack("<q", struct.pack("<d", value))[0])
        else:
            words.append(int(value))
    return np.array(words, dtype=np.int64)


def lines(n: int) -> int:
    """Bytes rounded up to whole lines of the cache."""
    return -(-n // 64) * 64


_workspaces: list[Any] = []  # the newest is the largest; bound calls may still use older ones


def workspace(floats_needed: int) -> Any:
    """A float32 buffer of at least this size for what lives within one call, shared by all."""
    if not _workspaces or _workspaces[-1].size < floats_needed:
        size = max(floats_needed, 1 << 18)
        raw = np.empty(size + 16, dtype=np.float32)
        skip = -address_of(raw) % 64 // 4
        _workspaces.append(raw[skip : skip + size])
    return _workspaces[-1]
