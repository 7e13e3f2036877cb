"""The `cupy` backend: references on CuPy, own CUDA kernels, a compiled step as one CUDA graph.

CuPy is looked for when the backend is first named, never before, and each way in which it can be
missing has its own message.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import threading
import warnings
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from ..events import crossing, state
from . import Array, Backend, DeviceError
from . import numpy as host_module
from .cuda import RUNTIME, CudaBackend, launches

OTHERWISE = "without an NVIDIA GPU, use the backend numpy, or emulated to try the GPU's kernels"
EXTRAS = '`pip install "tinygen[cuda13]"` (or cuda12, for a driver before 580)'


# ---- finding CuPy, a driver and a device ---------------------------------------------------------


def find() -> Any:
    """The package CuPy, ready to compute. Raises DeviceError with the line that helps."""
    if importlib.util.find_spec("cupy") is None:
        raise DeviceError(f"cupy: the package CuPy is not installed; run {EXTRAS}; {OTHERWISE}")
    try:
        cupy: Any = importlib.import_module("cupy")
        runtime = cupy.cuda.runtime
        driver, built = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    except Exception as error:  # a broken installation fails in many ways
        raise DeviceError(
            f"cupy: CuPy is installed but does not load ({_first_line(error)}); uninstall every "
            f"cupy package and run {EXTRAS}"
        ) from error
    if driver == 0:
        raise DeviceError(
            "cupy: CuPy is installed, but there is no NVIDIA driver on this machine; install the "
            f"driver (nvidia-smi then shows the GPU); {OTHERWISE}"
        )
    if driver // 1000 < built // 1000:
        raise DeviceError(
            f"cupy: the NVIDIA driver is for CUDA {_version(driver)}, CuPy for {_version(built)}; "
            f'update the driver, or run `pip install "tinygen[cuda{driver // 1000}]"` after '
            "uninstalling the other cupy package"
        )
    try:
        count = runtime.getDeviceCount()
    except Exception as error:
        raise DeviceError(
            f"cupy: the driver finds no GPU ({_first_line(error)}); see nvidia-smi and the "
            f"variable CUDA_VISIBLE_DEVICES; {OTHERWISE}"
        ) from error
    if count == 0:
        raise DeviceError(
            "cupy: no GPU is visible; see nvidia-smi and the variable CUDA_VISIBLE_DEVICES; "
            f"{OTHERWISE}"
        )
    _probe(cupy, built // 1000)
    return cupy


def _probe(cupy: Any, major: int) -> None:
    """Compile and run a kernel, and a product: finds what is missing of CUDA's own libraries."""
    probes: dict[str, Callable[[], Any]] = {
        "the compiler NVRTC or CUDA's headers": lambda: (cupy.zeros(1) + 1).get(),
        "the library cuBLAS": lambda: (cupy.ones((2, 2)) @ cupy.ones((2, 2))).get(),
    }
    for what, run in probes.items():
        try:
            run()
        except Exception as error:
            raise DeviceError(
                f"cupy: {what} cannot be used ({_first_line(error)}); run "
                f'`pip install "cupy-cuda{major}x[ctk]"`'
            ) from error


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}" if str(error) else (
        type(error).__name__
    )  # fmt: skip


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


# ---- the array functions -------------------------------------------------------------------------

AT_ONCE = 8  # arrays: to join more, CuPy uploads a table of them, which no CUDA graph can hold


def namespace(cupy: Any) -> Any:
    """The array functions that references may use, on CuPy."""
    names = set(host_module.NAMES.split()) - {"stack"}

    def concatenate(arrays: Sequence[Array], axis: int = 0) -> Array:
        joined = list(arrays)
        while len(joined) > AT_ONCE:
            groups = [joined[i : i + AT_ONCE] for i in range(0, len(joined), AT_ONCE)]
            joined = [cupy.concatenate(g, axis) if len(g) > 1 else g[0] for g in groups]
        return cupy.ascontiguousarray(cupy.concatenate(joined, axis))

    def stack(arrays: Sequence[Array], axis: int = 0) -> Array:
        return concatenate([cupy.expand_dims(a, axis) for a in arrays], axis)

    def erf(x: Array) -> Array:
        return importlib.import_module("cupyx.scipy.special").erf(x)

    def scatter_add(shape: tuple[int, ...], axis: int, indices: Array, values: Array) -> Array:
        total = cupy.zeros(shape, dtype=values.dtype)
        front = cupy.moveaxis(total, axis, 0)
        places = tuple(range(axis, axis + indices.ndim))
        moved = cupy.moveaxis(values, places, tuple(range(indices.ndim)))
        cupy.add.at(front, indices, moved)
        return total

    return SimpleNamespace(
        name="cupy",
        **{name: getattr(cupy, name) for name in names},
        erf=erf,
        scatter_add=scatter_add,
        stable_argsort=lambda x, axis: cupy.argsort(x, axis=axis),  # stable there
        mulhi=host_module.mulhi,
        where=cupy.where,
        concatenate=concatenate,
        stack=stack,
    )


# ---- the backend ---------------------------------------------------------------------------------


class CupyBackend(CudaBackend):
    """CuPy on one NVIDIA GPU: the one that is current when the backend is first named."""

    name = "cupy"

    def __init__(self, cupy: Any) -> None:
        super().__init__()
        runtime = importlib.import_module(RUNTIME)
        self._cupy = cupy
        self.xp = namespace(cupy)
        self.array_type = cupy.ndarray
        self.device = importlib.import_module("tinygen_kernels.cuda.gpu").Gpu(DeviceError)
        runtime.devices[cupy.ndarray] = self.device

    def describe(self) -> str:
        cuda = self._cupy.cuda
        runtime, device = cuda.runtime, cuda.Device(self.device.number)
        name = runtime.getDeviceProperties(device.id)["name"].decode()
        free, total = device.mem_info
        built, driver = (
            _version(v) for v in (runtime.runtimeGetVersion(), runtime.driverGetVersion())
        )
        return (
            f"CuPy {self._cupy.__version__} for CUDA {built}, driver for {driver}; {name}, "
            f"sm_{self.device.capability}, {total / 2**30:.1f} GiB ({free / 2**30:.1f} free); "
            f"{self.device.products}"
        )

    def check(self) -> None:
        self.device.check()

    def asarray(self, data: Any, dtype: Any = None) -> Array:
        if state.observers:
            crossing("make")
        self.device.check()
        return self._cupy.array(data, dtype=dtype)

    def to_host(self, array: Array) -> Any:
        if state.observers:
            crossing("read")
        self.synchronizations += 1
        return self._cupy.asnumpy(array)

    def synchronize(self) -> None:
        self.synchronizations += 1
        self._cupy.cuda.get_current_stream().synchronize()

    def address(self, array: Array) -> int:
        return int(array.data.ptr)

    def extent(self, array: Array) -> tuple[int, int]:
        memory = array.data.mem
        return int(memory.ptr), int(memory.ptr + max(memory.size, 1))

    def view(self, owner: Array, offset: int, shape: Any, strides: Any, dtype: Any) -> Array:
        cupy = self._cupy
        memory = cupy.cuda.MemoryPointer(owner.data.mem, offset)
        return cupy.ndarray(shape, dtype, memory, strides)

    def adopt(self, data: Any) -> Array:
        if isinstance(data, self.array_type):
            self.device.check((data,))
        return super().adopt(data)

    def sequence(self, calls: list[Any]) -> list[Callable[[], None]]:
        free = self._cupy.get_default_memory_pool().free_all_blocks
        return [Graph(self._cupy, calls, super().sequence(calls), self.device.check, free)]


class Graph:
    """The calls of a step as one CUDA graph, captured when it first runs.

    Capturing needs a stream of its own, and a pool of its own for what references allocate: its
    memory is the graph's as long as the graph lives. Before that, one run on the same stream and
    pool compiles all kernels; what it changes in place is put back.

    What cannot be captured (CuPy refuses its cuBLAS there, and copies from the host) splits the
    graph: it runs between two, with a warning, since the host then has more to do.

    Args:
        calls, steps: the bound calls of a plan, and what runs each.
        check: called before each run; refuses a thread that has chosen another GPU.
        free: gives memory that nobody uses back to the GPU. Recording kept every temporary, which
            may be many times what the plan needs.
    """

    def __init__(
        self, cupy: Any, calls: list[Any], steps: list[Callable[[], None]],
        check: Callable[[], None] = lambda: None, free: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._cupy = cupy
        self._check, self._free = check, free
        self._lock = threading.Lock()  # one stream and event: a thread after the other
        self._calls = calls
        self._steps = steps
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._pool = cupy.cuda.MemoryPool()
        self._event = cupy.cuda.Event(disable_timing=True)
        self._parts: list[Callable[[], None]] | None = None  # launches of graphs, and references

    def __call__(self) -> None:
        self._check()
        with self._lock:
            self._run()

    def _run(self) -> None:
        cuda, stream, event = self._cupy.cuda, self._stream, self._event
        outer = cuda.get_current_stream()
        outer.record(event)
        stream.wait_event(event)
        stream.use()  # `with stream` would end with the default stream, not one that was `use`d
        try:
            parts = self._prepared() if self._parts is None else self._parts
            with cuda.using_allocator(self._pool.malloc):
                for part in parts:
                    part()
        finally:
            outer.use()
            stream.record(event)
            outer.wait_event(event)

    def _prepared(self) -> list[Callable[[], None]]:
        """What to run, after a run of the steps that changes nothing."""
        self._free()
        changed = {id(a): a for call in self._calls for a in call.changes}
        before = [(a, a.copy()) for a in changed.values()]  # not in the pool, which would keep them
        with self._cupy.cuda.using_allocator(self._pool.malloc):
            try:
                for step in self._steps:
                    step()
            finally:
                for array, was in before:
                    array[...] = was
            self._parts = self._captured()
        del before
        self._free()
        return self._parts

    def _captured(self) -> list[Callable[[], None]]:
        """The steps as graphs, and those that cannot be captured as they are."""
        refused: dict[int, str] = {}
        for i, (call, step) in enumerate(zip(self._calls, self._steps, strict=True)):
            if not launches(call.kernel):
                try:
                    self._capture([step])
                except RuntimeError as error:  # CUDA's, and CuPy's NotImplementedError
                    refused[i] = f"{call.call.name} ({_first_line(error)})"
        parts: list[Callable[[], None]] = []
        for apart, numbers in itertools.groupby(range(len(self._steps)), refused.__contains__):
            steps = [self._steps[i] for i in numbers]
            if not apart:
                graph = self._capture(steps)
                graph.upload()
                steps = [graph.launch]
            parts += steps
        if refused:
            what = ", ".join(dict.fromkeys(refused.values()))
            warnings.warn(f"compile: not in a CUDA graph, so slower: {what}", stacklevel=2)
        return parts

    def _capture(self, steps: list[Callable[[], None]]) -> Any:
        """The steps as one graph; they do not run."""
        self._stream.begin_capture()
        try:
            for step in steps:
                step()
        except BaseException:
            with contextlib.suppress(RuntimeError):  # of a capture that has become invalid
                self._stream.end_capture()
            raise
        return self._stream.end_capture()


def create() -> Backend:
    return CupyBackend(find())
