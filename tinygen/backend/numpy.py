"""The `numpy` backend: references on NumPy, on the processor."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..events import crossing, state
from ..signals import import_whole
from . import Array, Backend

# erf(x) = x P(x^2) for |x| < 1, and sign(x) (1 - exp(-x^2) Q((|x| - 3) / (|x| + 3))) beyond;
# Chebyshev fits of both, made and checked by bench/derive_erf.py (error below 4e-16).
_ERF_SMALL: tuple[float, ...] = (
    -7.795898827002142e-10,
    1.3720064546777686e-08,
    -1.6208483801871705e-07,
    1.6447424703317362e-06,
    -1.492473690741966e-05,
    0.00012055294904839707,
    -0.0008548325975389692,
    0.0052239776071164225,
    -0.02686617064323777,
    0.11283791670945006,
    -0.37612638903183543,
    1.1283791670955126,
)
_ERF_LARGE: tuple[float, ...] = (
    -1.674991801797035e-08,
    5.187028118928684e-08,
    4.24335189521708e-08,
    -2.4539714314798346e-07,
    -2.971023313029173e-07,
    1.2579193302609476e-06,
    2.1196701804920267e-06,
    -7.979456494094303e-06,
    -1.286020720784753e-05,
    6.405673269487002e-05,
    4.5255241488053654e-05,
    -0.0005970619616163423,
    0.0007077464443129231,
    0.004269136333334603,
    -0.024392499318927067,
    0.07166583719797028,
    -0.1501159365007719,
    0.2456038017123309,
    -0.3262335600430373,
    0.17900115118138996,
)


def _horner(coefficients: tuple[float, ...], x: Array) -> Array:
    total = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        total *= x
        total += c
    return total


@np.errstate(all="ignore")
def erf(x: Array) -> Array:
    """The error function, computed in float64, returned in the dtype of x."""
    wide = np.asarray(x, dtype=np.float64)
    size = np.minimum(np.abs(wide), 28.0)
    small = wide * _horner(_ERF_SMALL, np.square(np.minimum(size, 1.0)))
    tail = np.exp(-np.square(size)) * _horner(_ERF_LARGE, (size - 3.0) / (size + 3.0))
    result = np.where(size < 1.0, small, np.copysign(1.0 - tail, wide))
    return np.where(np.isnan(wide), wide, result).astype(np.asarray(x).dtype)


def scatter_add(shape: tuple[int, ...], axis: int, indices: Array, values: Array) -> Array:
    """Zeros of `shape` plus `values` added at `indices` along `axis`; repeated indices add up."""
    total = np.zeros(shape, dtype=values.dtype)
    front = np.moveaxis(total, axis, 0)
    places = tuple(range(axis, axis + indices.ndim))
    np.add.at(front, indices, np.moveaxis(values, places, tuple(range(indices.ndim))))
    return total


def stable_argsort(x: Array, axis: int) -> Array:
    """The indices that sort x along an axis; equal elements stay in their order, NaN is last.

    A float32 and its place make one integer, of which no two are equal: those NumPy sorts in vector
    code, while it merges what shall stay in order an element at a time.
    """
    if x.dtype != np.float32 or x.size < 256:
        return np.argsort(x, axis=axis, kind="stable")
    rows = np.add(np.moveaxis(x, axis, -1), np.float32(0), order="C")  # -0.0 becomes 0.0
    rows[np.isnan(rows)] = np.nan
    bits = rows.view(np.int32)
    bits ^= (bits >> 31) & 0x7FFFFFFF  # integers in the order of the floats
    words = bits.astype(np.int64)
    words <<= 32
    words |= np.arange(x.shape[axis])
    words.sort(axis=-1)
    words &= 0xFFFFFFFF
    return np.ascontiguousarray(np.moveaxis(words, -1, axis))


def mulhi(x: Array, y: int) -> Array:
    """The upper 32 bits of the 64-bit products of uint32 values."""
    return (x.astype(np.uint64) * np.uint64(y) >> np.uint64(32)).astype(np.uint32)


def where(condition: Array, x: Array, y: Array) -> Array:
    """x where the condition holds, else y: `np.where`, without its branch on large float arrays.

    np.where guesses each element's branch and is ten times slower on a random mask (dropout, the
    slope of relu) than arithmetic on the bits: y + (x - y) condition in wrapping integers, which
    selects exactly, NaN and infinities included.
    """
    dtypes = {v.dtype for v in (x, y) if isinstance(v, np.ndarray)}
    dtype = dtypes.pop() if len(dtypes) == 1 else None
    large = getattr(condition, "size", 0) >= 2048
    if not large or dtype is None or dtype.kind != "f" or condition.dtype != np.bool_:
        return np.where(condition, x, y)
    integers = np.dtype(f"i{dtype.itemsize}")
    if y.__class__ in (int, float) and y == 0:
        return (x.view(integers) * condition).view(dtype)
    if x.__class__ in (int, float) and x == 0:
        return (y.view(integers) * ~condition).view(dtype)
    bits_x, bits_y = (np.asarray(v, dtype).view(integers) for v in (x, y))
    return ((bits_x - bits_y) * condition + bits_y).view(dtype)


# The array functions that references may use; another backend provides the same names.
NAMES = """
    abs add all any arange argmax argmin argsort asarray ascontiguousarray bool_ broadcast_to
    ceil clip copysign cos cumsum divide empty equal exp expand_dims expm1 flip float32 float64
    floor floor_divide frexp full greater greater_equal int32 int64 isfinite isnan less
    less_equal log log1p logaddexp logical_and logical_not logical_or matmul max maximum mean
    min minimum moveaxis multiply negative not_equal ones ones_like pad power prod remainder
    repeat reshape rint sign sin sqrt square squeeze stack subtract sum swapaxes take
    take_along_axis tanh transpose uint32 uint64 uint8 zeros zeros_like
"""
xp: Any = SimpleNamespace(
    name="numpy",
    **{name: getattr(np, name) for name in NAMES.split()},
    erf=erf,
    scatter_add=scatter_add,
    stable_argsort=stable_argsort,
    mulhi=mulhi,
    where=where,
    # row by row, whatever the order of what is joined: kernels want channels side by side
    concatenate=lambda xs, axis=0: np.ascontiguousarray(np.concatenate(xs, axis)),
)


class NumpyBackend(Backend):
    """NumPy on the processor."""

    name = "numpy"
    xp = xp
    array_type = np.ndarray
    loops = "tinygen_kernels.cpu.elementwise"

    def asarray(self, data: Any, dtype: Any = None) -> Array:
        if state.observers:
            crossing("make")
        with np.errstate(all="ignore"):  # a number beyond float32 is infinite
            return np.array(data, dtype=dtype)

    def to_host(self, array: Array) -> Any:
        if state.observers:
            crossing("read")
        return array

    def address(self, array: Array) -> int:
        return int(array.__array_interface__["data"][0])

    def extent(self, array: Array) -> tuple[int, int]:
        while isinstance(array.base, np.ndarray):
            array = array.base
        start = self.address(array)
        return start, start + max(array.nbytes, 1)

    def view(self, owner: Array, offset: int, shape: Any, strides: Any, dtype: Any) -> Array:
        start, end = self.extent(owner)
        memory: Any = (ctypes.c_uint8 * (end - start)).from_address(start)
        memory.owner = owner  # alive as long as the view
        return np.ndarray(shape, dtype, memory, offset, strides)

    def sequence(self, calls: list[Any]) -> list[Callable[[], None]]:
        """Neighbouring kernels become one table of rows, which runs without returning to Python."""
        steps: list[Callable[[], None]] = []
        rows: list[Array] = []
        for call in (*calls, None):
            kernel = None if call is None else call.kernel
            before = None if kernel is None else kernel.before
            if rows and (kernel is None or before is not None):
                steps.append(_rows(np.concatenate(rows)))
                rows = []
            if before is not None:
                steps.append(before)
            if kernel is not None:
                rows.append(kernel.rows)
            elif call is not None:
                steps.append(call.reference)
        return steps

    def team(self) -> Any:
        if not self.kernels:
            return super().team()
        return import_whole("tinygen_kernels.cpu.ahead").team()

    def timed(self, calls: list[Any]) -> list[float]:
        """The clock is read between their rows, which run as they do in a plan."""
        if all(call.kernel is None for call in calls):
            return super().timed(calls)
        from tinygen_kernels.cpu.clock import Stamp

        stamps = [Stamp() for _ in range(len(calls) + 1)]
        between = [part for pair in zip(stamps, calls, strict=False) for part in pair]
        for step in self.sequence([*between, stamps[-1]]):
            step()
        return [b.seconds - a.seconds for a, b in itertools.pairwise(stamps)]


def _rows(table: Array) -> Callable[[], None]:
    """What runs a table of kernels' calls."""
    from tinygen_kernels.cpu.runtime import address_of, busiest, run_rows

    address, n, workers = address_of(table), len(table), busiest(table)

    def run(keep: Array = table) -> None:
        run_rows(address, n, workers)

    return run


def create() -> Backend:
    return NumpyBackend()
