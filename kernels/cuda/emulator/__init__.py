"""A GPU for those who have none: the .cuh sources, run by the host's processor.

The host's C++ compiler makes a library of each source (emulator.h says how the language is served)
and one of the engine (engine.cpp, checks.cpp); both are kept in the cache folder. A launch behaves
as on a GPU, one thread after the other, and a kernel's error tells its name, line and thread:

    tiles<float>, matmul.cuh:58: thread (3, 0, 0) of block (0, 1, 0) reads 4 bytes of shared memory
    that thread (0, 0, 0) of its block wrote at matmul.cuh:49, with no barrier in between; ...

`Emulator.checked` turns on what costs time: every access is then looked at. TINYGEN_EMULATOR=check
does that from the start, and TINYGEN_EMULATOR=check,order=7 also shuffles threads and blocks.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..runtime import Device, Launch
from .build import Compiled, EmulatorError, compiled, compiler, engine
from .report import Report, Uint3, told

__all__ = ["Emulator", "EmulatorError", "KernelError", "compiler"]

KINDS = {
    "f": "float32", "d": "float64", "i": "int32", "u": "uint32", "l": "int64", "L": "uint64",
    "b": "uint8",
}  # fmt: skip


class KernelError(RuntimeError):
    """A kernel did what a GPU would not forgive; names kernel, line and thread."""


class _Launch(ctypes.Structure):
    _fields_ = (
        ("kernel", ctypes.c_void_p), ("arguments", ctypes.c_void_p),
        ("grid", Uint3), ("block", Uint3),
        ("dynamic_bytes", ctypes.c_uint64), ("order", ctypes.c_uint64),
        ("cooperative", ctypes.c_int), ("checked", ctypes.c_int), ("arrays", ctypes.c_int),
        ("array", ctypes.c_void_p), ("shared", ctypes.c_void_p), ("shared_end", ctypes.c_void_p),
    )  # fmt: skip


@functools.cache
def _engine() -> Any:
    found, sizes = engine(), (ctypes.c_uint64 * 2)()
    found.emulated_sizes(sizes)
    assert list(sizes) == [ctypes.sizeof(_Launch), ctypes.sizeof(Report)], "engine.h differs"
    return found


# ---- launching -----------------------------------------------------------------------------------

LIMITS = {"block": (1024, 1024, 64), "grid": (2**31 - 1, 65535, 65535)}
THREADS, SHARED = 1024, 227 * 1024  # of a block; bytes of dynamic shared memory
RESIDENT = 4096  # threads that a cooperative launch may have here


def _asked(text: str) -> tuple[bool, int]:
    """What TINYGEN_EMULATOR says: whether accesses are checked, and the order of threads."""
    words = [word for word in text.split(",") if word]
    orders = [int(word[6:]) for word in words if re.fullmatch(r"order=\d+", word)]
    if len(orders) + words.count("check") != len(words):
        raise EmulatorError(
            f"TINYGEN_EMULATOR is {text!r}; expected check, order=7 (any number), or both with a "
            "comma between them"
        )
    return "check" in words, orders[-1] if orders else 0


class Emulator(Device):
    """The device of emulated arrays.

    Args:
        empty: makes an array: empty(shape, dtype).
        host: the NumPy array in which a device array's elements lie.
        array_type: the class of the device's arrays.
    """

    name = "emulated"

    def __init__(
        self, empty: Callable[..., Any], host: Callable[[Any], Any], array_type: type
    ) -> None:
        self.empty = empty  # type: ignore[method-assign]
        self._host = host
        self._array_type = array_type
        self._lock = threading.RLock()
        self.checks, self.order = _asked(os.environ.get("TINYGEN_EMULATOR", ""))
        self.stream = 0
        self._capturing: int | None = None
        self._captured: list[Callable[[], None]] = []

    def to_device(self, host: Any) -> Any:
        made = self.empty(host.shape, host.dtype)
        self._host(made)[...] = host
        return made

    def address(self, array: Any) -> int:
        return int(self._host(array).__array_interface__["data"][0])

    @contextlib.contextmanager
    def checked(self, order: int = 0) -> Iterator[None]:
        """Within the block every access is checked; threads run in an order drawn from `order`."""
        before = self.checks, self.order
        self.checks, self.order = True, order
        try:
            yield
        finally:
            self.checks, self.order = before

    # ---- streams and graphs -------------------------------------------------------------------

    @contextlib.contextmanager
    def on_stream(self, number: int) -> Iterator[None]:
        """Within the block launches go to this stream; 0 is the one that is always there."""
        before, self.stream = self.stream, number
        try:
            yield
        finally:
            self.stream = before

    @contextlib.contextmanager
    def capture(self, number: int) -> Iterator[list[Callable[[], None]]]:
        """Within the block launches on the stream are not run but kept, in order, in the list.

        What is launched on another stream would be missing in the graph: KernelError.
        """
        self._captured = []
        with self.on_stream(number):
            self._capturing = number
            try:
                yield self._captured
            finally:
                self._capturing = None

    def _keep(self, what: Launch) -> None:
        if self.stream != self._capturing:
            raise KernelError(
                f"{what.name}: launched on stream {self.stream} while stream {self._capturing} is "
                "captured, so the graph would not have it; launch it on the captured stream"
            )
        self._captured.append(lambda: self._run(what))

    def launch(self, what: Launch) -> None:
        """Run one kernel to its end, or keep it for a graph. Raises KernelError."""
        if self._capturing is not None:
            self._keep(what)
        else:
            self._run(what)

    def _run(self, what: Launch) -> None:
        kernel = compiled(what.source, what.name, self.checks)
        _check_grid(what)
        words, extents = self._arguments(kernel, what)
        pointers = (ctypes.c_void_p * max(len(words), 1))(*(ctypes.addressof(w) for w in words))
        ends = [end for _, low, high in extents for end in (low, high)]
        bounds = (ctypes.c_void_p * max(len(ends), 1))(*ends)
        report = Report()
        launch = _Launch(
            kernel.run, ctypes.addressof(pointers), _three(what.grid), _three(what.block),
            what.shared, self.order, what.cooperative, self.checks, len(extents),
            ctypes.addressof(bounds), kernel.shared, kernel.shared_end,
        )  # fmt: skip
        with self._lock:
            if _engine().emulated_launch(ctypes.byref(launch), ctypes.byref(report)):
                raise KernelError(told(kernel, what, report, [i for i, *_ in extents]))

    def _arguments(self, kernel: Compiled, what: Launch) -> tuple[list[Any], list[Any]]:
        """The arguments as C values, and (number, low, high) of each array."""
        if len(what.args) != len(kernel.types):
            raise TypeError(
                f"{what.name}: {len(what.args)} arguments, expected {len(kernel.types)} "
                f"({', '.join(kernel.names)})"
            )
        words: list[Any] = []
        extents = []
        for i, (value, (place, kind)) in enumerate(zip(what.args, kernel.types, strict=True)):
            wanted = np.dtype(KINDS[kind])
            if place == "*":
                if type(value) is not self._array_type:
                    raise TypeError(
                        f"{what.name}: {kernel.parameter(i)} is {type(value).__name__}; expected "
                        f"an array of the device, of {wanted} (move it with .to('emulated'))"
                    )
                host = self._host(value)
                if host.dtype != wanted and not (kind == "b" and host.dtype == np.bool_):
                    raise TypeError(
                        f"{what.name}: {kernel.parameter(i)} holds {host.dtype}, expected {wanted}"
                    )
                words.append(ctypes.c_void_p(host.__array_interface__["data"][0]))
                extents.append((i, *_extent(host)))
            else:
                if not isinstance(value, np.generic) or value.dtype != wanted:
                    raise TypeError(
                        f"{what.name}: {kernel.parameter(i)} is {value!r}; expected {wanted}"
                    )
                words.append(np.ctypeslib.as_ctypes_type(wanted)(value.item()))
        count = len(what.args)
        extents += [(count + k, *_extent(self._host(a))) for k, a in enumerate(what.reached)]
        return words, extents


def _three(dims: tuple[int, ...]) -> Any:
    return Uint3(*(*dims, 1, 1)[:3])


def _extent(host: Any) -> tuple[int, int]:
    """The first byte of an array, and the one behind its last."""
    low = high = host.__array_interface__["data"][0]
    for n, stride in zip(host.shape, host.strides, strict=True):
        if n == 0:
            return low, low
        low, high = low + min(0, (n - 1) * stride), high + max(0, (n - 1) * stride)
    return low, high + host.itemsize


def _check_grid(what: Launch) -> None:
    """A GPU refuses these, too."""
    for kind, dims in (("grid", what.grid), ("block", what.block)):
        for n, limit in zip(dims, LIMITS[kind], strict=False):
            if not 1 <= n <= limit:
                raise KernelError(
                    f"{what.name}: {kind} is {dims}; expected 1 to {LIMITS[kind]} on each axis"
                )
    threads = int(np.prod(what.block))
    if threads > THREADS:
        raise KernelError(f"{what.name}: {threads} threads in a block; at most {THREADS} fit")
    if what.shared > SHARED:
        raise KernelError(
            f"{what.name}: {what.shared:,} bytes of dynamic shared memory; at most {SHARED:,} fit"
        )
    if what.cooperative and threads * int(np.prod(what.grid)) > RESIDENT:
        raise KernelError(
            f"{what.name}: a cooperative grid of {threads * int(np.prod(what.grid)):,} threads; "
            f"at most {RESIDENT:,} can be under way at once"
        )
