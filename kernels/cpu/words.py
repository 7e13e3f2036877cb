"""The table of 64-bit words that a kernel reads, and what it does with a word.

A table holds addresses of arrays, sizes, strides, and numbers as bits of a float64. Its words have
names,

    SUM = Table("x out n scale")

    SUM.fill(x=x, out=out, n=x.size, scale=2.0)    what to put into the table, each word once
    n = word(args, SUM.n)                          in a kernel: the table's address and a number
    x = array(kind, args, SUM.x, n)

since names are positions, which the compiler knows.
"""

from __future__ import annotations

import collections
import ctypes
import platform
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import VECTOR_BYTES

WORD = ir.IntType(64)
FASTMATH = frozenset({"contract"})  # a product and a sum may share a rounding; NaN stays NaN

# Helpers of kernels are never called from Python; without the ways in, they compile twice as fast.
ALONE = {"inline": "never", "no_cfunc_wrapper": True, "no_cpython_wrapper": True}
exact = njit(error_model="numpy", nogil=True, **ALONE)  # every operation is rounded on its own
inline = njit(error_model="numpy", fastmath=set(FASTMATH), nogil=True, **ALONE)
# Terms and factors may be regrouped, too: vectors of partial sums and products.
regrouped = njit(error_model="numpy", fastmath={*FASTMATH, "reassoc"}, nogil=True, **ALONE)


# ---- names ---------------------------------------------------------------------------------------


def Table(names: str) -> Any:  # noqa: N802
    """A table whose words have these names: each is an attribute, the word's position.

    `fill(name=value, ...)` is the list of their values, in order. Raises TypeError where a word is
    missing or unknown.
    """
    fields = names.split()
    expected = set(fields)
    # Of the kinds of named tuple this is the one that can be made from a list of names.
    base: Any = collections.namedtuple("Table", fields)

    class Named(base):  # type: ignore[misc]
        __slots__ = ()

        def fill(self, **values: Any) -> list[Any]:
            if values.keys() != expected:
                missing, unknown = expected - values.keys(), values.keys() - expected
                raise TypeError(f"table: missing {sorted(missing)}, unknown {sorted(unknown)}")
            return [values[name] for name in fields]

    return Named(*range(len(fields)))


# ---- reading -------------------------------------------------------------------------------------


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
int64_pointer = _pointer("int64_pointer", types.int64, WORD)
uint64_pointer = _pointer("uint64_pointer", types.uint64, WORD)
uint32_pointer = _pointer("uint32_pointer", types.uint32, ir.IntType(32))
uint8_pointer = _pointer("uint8_pointer", types.uint8, ir.IntType(8))


@intrinsic
def pointer_of(typing: Any, kind: Any, address: Any) -> Any:
    """The address as a pointer to numbers of the type of `kind`, a number."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.inttoptr(args[1], context.get_value_type(kind).as_pointer())

    return types.CPointer(kind)(kind, types.intp), emit


@intrinsic
def size_of(typing: Any, kind: Any) -> Any:
    """The bytes of a number of the type of `kind`."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return WORD(kind.bitwidth // 8)

    return types.intp(kind), emit


@inline
def word(args, i):  # type: ignore[no-untyped-def]
    """Entry i of the table, an integer."""
    return int64_pointer(args)[i]


@inline
def entry(args, i, at):  # type: ignore[no-untyped-def]
    """Number `at` of the array of integers whose address is entry i of the table."""
    return int64_pointer(word(args, i))[at]


@inline
def number(args, i):  # type: ignore[no-untyped-def]
    """Entry i of the table, a float64."""
    return float64_pointer(args)[i]


@inline
def array(kind, args, i, n):  # type: ignore[no-untyped-def]
    """The array of n numbers of the type of `kind` whose address is entry i."""
    return carray(pointer_of(kind, int64_pointer(args)[i]), n)


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


# ---- writing -------------------------------------------------------------------------------------


def address_of(array: Any) -> int:
    """Where the first element of an array is."""
    try:  # a quarter of the time, which counts where a call is bound and run once
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError, BufferError):  # read-only, empty, or not in one piece
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


# ---- calling what a word names -------------------------------------------------------------------


@intrinsic
def call_worker(typing: Any, function: Any, worker: Any, workers: Any, args: Any) -> Any:
    """Call the C function at an address: function(worker, workers, args)."""

    def emit(context: Any, b: Any, signature: Any, a: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [WORD] * 3)
        b.call(b.inttoptr(a[0], kind.as_pointer()), a[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), emit


@intrinsic
def call_block(typing: Any, function: Any, r0: Any, r1: Any, c0: Any, c1: Any, args: Any) -> Any:
    """Call the C function at an address on rows r0:r1 and columns c0:c1 of its arrays."""

    def emit(context: Any, b: Any, signature: Any, a: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [WORD] * 5)
        b.call(b.inttoptr(a[0], kind.as_pointer()), a[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), emit


@intrinsic
def call_update(
    typing: Any, function: Any, r0: Any, r1: Any, c0: Any, c1: Any, args: Any, origin: Any, row: Any
) -> Any:
    """The same for an update: row r of the gradient starts at origin + r * row."""

    def emit(context: Any, b: Any, signature: Any, a: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [WORD] * 7)
        b.call(b.inttoptr(a[0], kind.as_pointer()), a[1:])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 8), emit


# ---- the processor -------------------------------------------------------------------------------

X86 = platform.machine() in ("x86_64", "AMD64")

# Processors of the x86 family take about a hundred times as long for numbers below the smallest one
# of full precision (1.2e-38 in float32), and they do occur: Adam's mean of the gradients of a unit
# that has died fades to them, and a step then took three times as long. Products and updates count
# them as 0. The state of the processor is the thread's, so what a function changes it puts back.


@intrinsic
def flush_subnormals(typing: Any) -> Any:
    """Such operands and results are 0 from here on; returns what `restore` takes."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        before = cgutils.alloca_once_value(b, ir.Constant(ir.IntType(32), 0))
        if X86:
            _control_word(b, "stmxcsr", before)
            flush = b.or_(b.load(before), ir.Constant(ir.IntType(32), 0x8040))  # results, operands
            _control_word(b, "ldmxcsr", cgutils.alloca_once_value(b, flush))
        return b.load(before)

    return types.int32(), emit


@intrinsic
def restore(typing: Any, before: Any) -> Any:
    """What the processor did with such numbers before `flush_subnormals`."""

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        if X86:
            _control_word(b, "ldmxcsr", cgutils.alloca_once_value(b, args[0]))
        return context.get_dummy_value()

    return types.void(types.int32), emit


def _control_word(b: Any, name: str, slot: Any) -> None:
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte])
    function = cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.sse.{name}")
    b.call(function, [b.bitcast(slot, byte)])


@intrinsic
def wide_vectors(typing: Any) -> Any:
    """In a function compiled on its own: use the widest vectors that there are.

    LLVM stops at 256 bits on processors of the Skylake family, whose clock slows down when 512 are
    first used; products use them anyway. Functions of maths take up to 40 % less time.
    """

    def emit(context: Any, b: Any, signature: Any, args: Any) -> Any:
        attributes = b.function.attributes
        width = f'"prefer-vector-width"="{8 * VECTOR_BYTES}"'
        set.add(attributes, width)  # its own `add` knows none with values
        attributes.add("noinline")  # or it would be its caller's
        return context.get_dummy_value()

    return types.void(), emit
