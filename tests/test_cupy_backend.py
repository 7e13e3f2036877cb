"""The backend cupy without a GPU: how it can be missing, what it makes of CuPy's objects.

Each way in which it cannot be had has its own message, and no traceback. A step as CUDA graphs is
looked at with streams that only take notes. What needs a GPU runs with the op table, whose rows for
cupy are skipped where there is none.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

import tinygen as tg
from tinygen.backend import cupy as backend
from tinygen.backend import numpy as host

pytestmark = pytest.mark.quick


class Array:
    """Stands for a device array; `fails` says at what."""

    def __init__(self, fails: str) -> None:
        self.fails = fails

    def __add__(self, other: Any) -> Array:
        return self

    def __matmul__(self, other: Any) -> Array:
        if self.fails == "cublas":
            raise ImportError("Failure finding libcublas.so.13\nsearched everywhere")
        return self

    def get(self) -> None:
        if self.fails == "nvrtc":
            raise RuntimeError("Failure finding libnvrtc.so.13")


def fake_cupy(
    monkeypatch: pytest.MonkeyPatch, driver: int = 13000, built: int = 13020, fails: str = ""
) -> None:
    """A package `cupy` that behaves like CuPy's on such a machine."""

    def count() -> int:
        if fails == "count":
            raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return 0 if fails == "none" else 1

    def version() -> int:
        if fails == "load":
            raise ImportError("libcuda is of another kind")
        return driver

    runtime = types.SimpleNamespace(
        driverGetVersion=version, runtimeGetVersion=lambda: built, getDeviceCount=count
    )
    module = types.ModuleType("cupy")
    module.__spec__ = importlib.util.spec_from_loader("cupy", loader=None)
    module.cuda = types.SimpleNamespace(runtime=runtime)  # type: ignore[attr-defined]
    module.zeros = module.ones = lambda shape: Array(fails)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", module)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"driver": 0}, r"no NVIDIA driver on this machine; .*nvidia-smi.*; without .* numpy"),
        ({"driver": 12040}, r"driver is for CUDA 12\.4, CuPy for 13\.2; .*tinygen\[cuda12\]"),
        ({"fails": "load"}, r"does not load \(ImportError: libcuda is of another kind\).*pip"),
        ({"fails": "count"}, r"finds no GPU .*no CUDA-capable device.*CUDA_VISIBLE_DEVICES"),
        ({"fails": "none"}, r"no GPU is visible; .*CUDA_VISIBLE_DEVICES"),
        ({"fails": "nvrtc"}, r"NVRTC .*cannot be used .*pip install \"cupy-cuda13x\[ctk\]\""),
        ({"fails": "cublas"}, r"cuBLAS cannot be used \(ImportError: Failure finding libcublas"),
    ],
)
def test_each_way_it_can_be_missing(
    how: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cupy(monkeypatch, **how)
    with pytest.raises(tg.DeviceError, match=message):
        backend.find()


def test_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy(monkeypatch)
    assert backend.find() is sys.modules["cupy"]


def test_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(tg.DeviceError, match=r"not installed; run `pip install \"tinygen\[cuda13"):
        backend.find()


def test_the_command_line_says_so() -> None:
    pytest.importorskip("typer")
    if tg.show_config()["backend cupy"].startswith("no") is False:
        pytest.skip("there is a GPU")
    ran = subprocess.run(
        [sys.executable, "-m", "tinygen", "train", "gan", "--backend", "cupy"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: cupy: ")
    assert "Traceback" not in ran.stderr


def test_the_configuration_tells_of_every_backend() -> None:
    config = tg.show_config()
    assert config["backend numpy"] == "yes"
    assert "pip" in config["backend cupy"] or "CuPy" in config["backend cupy"]
    assert {"backend emulated"} <= config.keys()


def test_the_namespaces_have_the_same_names() -> None:
    assert vars(backend.namespace(MagicMock())).keys() == vars(host.xp).keys()


def test_cupy_has_the_array_functions() -> None:
    cupy = pytest.importorskip("cupy")
    names = host.NAMES.split()
    assert [name for name in names if not hasattr(cupy, name)] == []


# ---- arrays of CuPy on memory that nobody looks at: no driver is needed --------------------------


@pytest.fixture
def array() -> Any:
    """A CuPy array of shape (4, 8), 64 bytes into a block of 512."""
    cupy = pytest.importorskip("cupy")
    memory = cupy.cuda.UnownedMemory(4096, 512, np.zeros(1), 0)
    return cupy.ndarray((4, 8), np.float32, cupy.cuda.MemoryPointer(memory, 64))


class Place(backend.CupyBackend):
    """The backend's methods on arrays, without a device."""

    def __init__(self) -> None:
        self._cupy = importlib.import_module("cupy")
        self.array_type = self._cupy.ndarray


VIEWS: dict[str, Callable[[Any], Any]] = {
    "slice": lambda a: a[1:, ::2], "transpose": lambda a: a.T, "reshape": lambda a: a.reshape(-1),
    "new axis": lambda a: a[None], "reverse": lambda a: a[::-1], "row": lambda a: a[2],
    "dtype": lambda a: a.view(np.int32), "view of a view": lambda a: a[1:].T[2:],
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_has_the_owner_and_extent_of_its_array(name: str, array: Any) -> None:
    place, view = Place(), VIEWS[name](array)
    assert place.owner(view) is array
    assert place.extent(view) == (4096, 4096 + 512)
    same = place.view(array, place.address(view) - 4096, view.shape, view.strides, view.dtype)
    assert place.address(same) == place.address(view)
    assert (same.shape, same.strides, same.dtype) == (view.shape, view.strides, view.dtype)
    assert same.flags.c_contiguous == view.flags.c_contiguous


def test_a_number_as_a_view(array: Any) -> None:
    number = Place().view(array, 8, (), (), np.dtype(np.float64))
    assert (number.shape, number.size, number.data.ptr) == ((), 1, 4104)


# ---- kernels -------------------------------------------------------------------------------------


class Function:
    """A compiled kernel that notes its launches."""

    def __init__(self, notes: list[Any]) -> None:
        self.notes = notes
        self.allowed = 40_000  # bytes of dynamic shared memory

    def __call__(self, grid: Any, block: Any, args: Any, shared_mem: int = 0) -> None:
        self.notes.append((grid, block, args, shared_mem))

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self.allowed

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        self.allowed = size
        self.notes.append(size)


def test_a_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygen_kernels.cuda import runtime

    notes: list[Any] = []

    def module(**options: Any) -> Any:
        notes.append(options)
        return types.SimpleNamespace(get_function=lambda name: Function(notes))

    runtime_of = types.SimpleNamespace(getDevice=lambda: 0)
    cuda = types.SimpleNamespace(runtime=runtime_of)
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(RawModule=module, cuda=cuda))
    monkeypatch.delitem(sys.modules, "tinygen_kernels.cuda.gpu", raising=False)
    device = importlib.import_module("tinygen_kernels.cuda.gpu").Gpu()
    del sys.modules["tinygen_kernels.cuda.gpu"]  # made with the stand-in for CuPy
    source = runtime.GeneratedSource("own.cuh", fused=False, code="template <class T> ...")
    args = (np.int32(3),)
    for shared in (0, 30_000, 45_000, 41_000):
        device.launch(runtime.Launch(source, "own<float>", (7,), (32,), args, shared))
    assert notes.pop(0) == {
        "code": source.text, "options": ("-std=c++17", "--fmad=false"),
        "name_expressions": ["own<float>"], "enable_cooperative_groups": False,
    }  # fmt: skip
    assert notes == [
        ((7,), (32,), args, 0), ((7,), (32,), args, 30_000), 45_000, ((7,), (32,), args, 45_000),
        ((7,), (32,), args, 41_000),
    ]  # fmt: skip


class Library:
    """cuBLAS that notes its calls, and answers each with a status."""

    def __init__(self, **answers: int) -> None:
        self.answers = answers
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *arguments: self.calls.append(name) or self.answers.get(name, 0)


class OnDevice(np.ndarray):
    """An array that says on which GPU it is."""

    data = types.SimpleNamespace(device_id=0, ptr=4096)  # type: ignore[assignment]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of a GPU's device, with a stand-in for CuPy; every product is large enough."""
    from tinygen_kernels.cuda import cublas

    cuda = types.SimpleNamespace(
        get_current_stream=lambda: types.SimpleNamespace(ptr=77),
        runtime=types.SimpleNamespace(getDevice=lambda: 0),
    )
    empty = lambda size, dtype: types.SimpleNamespace(data=types.SimpleNamespace(ptr=4096))
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(empty=empty, cuda=cuda))
    monkeypatch.delitem(sys.modules, "tinygen_kernels.cuda.gpu", raising=False)
    module = importlib.import_module("tinygen_kernels.cuda.gpu")
    del sys.modules["tinygen_kernels.cuda.gpu"]  # made with the stand-in for CuPy
    monkeypatch.setattr(module.Gpu, "address", lambda self, array: 4096)
    monkeypatch.setattr(cublas, "LARGE", 1)
    return module


ONCE = ["cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasSetMathMode", "cublasSgemm_v2"]
X = np.ones((64, 64), np.float32).view(OnDevice)


def test_large_products_go_to_cublas(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygen_kernels.cuda import cublas

    library, loads, device = Library(), [], gpu.Gpu()
    monkeypatch.setattr(cublas, "load", lambda: loads.append(1) or library)
    monkeypatch.setattr(cublas, "LARGE", 2**30)
    assert device.library_product(X, X, X, "float32") is None
    assert loads == []
    monkeypatch.setattr(cublas, "LARGE", 1)
    for precision in ("float32", "tf32", "float32"):
        device.library_product(X, X, X, precision)()
    assert loads == [1]
    # the first of each kind is tried where it is bound
    assert library.calls == ["cublasCreate_v2", *2 * ONCE, *2 * ONCE, *ONCE]
    assert device.products == "cuBLAS serves large products"


@pytest.mark.parametrize("call", ["cublasCreate_v2", *ONCE])
@pytest.mark.parametrize("status", [1, 3])
def test_a_cublas_that_refuses_is_left_alone(
    call: str, status: int, gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinygen_kernels.cuda import cublas

    library, device = Library(**{call: status}), gpu.Gpu()
    monkeypatch.setattr(cublas, "load", lambda: library)
    assert device.library_product(X, X, X, "float32") is None
    before = len(library.calls)
    assert device.library_product(X, X, X, "float32") is None
    assert len(library.calls) == before  # it is not asked again
    assert f"as cuBLAS cannot (CublasError: {call} failed with status {status})" in device.products


@pytest.mark.parametrize("error", [OSError, ImportError, RuntimeError, MemoryError, KeyError])
def test_a_cublas_that_does_not_load(
    error: type[Exception], gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinygen_kernels.cuda import cublas

    def missing() -> Any:
        raise error("no libcublas")

    monkeypatch.setattr(cublas, "load", missing)
    device = gpu.Gpu()
    assert device.library_product(X, X, X, "float32") is None
    assert f"as cuBLAS cannot ({error.__name__}: " in device.products


def test_a_second_gpu_is_refused(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device = gpu.Gpu(tg.DeviceError)
    device.check((X,))
    there = X.view(type("There", (OnDevice,), {"data": types.SimpleNamespace(device_id=1)}))
    with pytest.raises(tg.DeviceError, match=r"an array \(64, 64\) float32 is on GPU 1, .*GPU 0"):
        device.check((X, there))
    monkeypatch.setattr(gpu.cupy.cuda.runtime, "getDevice", lambda: 2)
    with pytest.raises(tg.DeviceError, match=r"this thread has chosen GPU 2, .*CUDA_VISIBLE_DEV"):
        device.check()


# ---- array functions -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 8, 9, 16, 17, 64, 65, 100])
@pytest.mark.parametrize("join", ["concatenate", "stack"])
def test_never_more_than_eight_arrays_are_joined_at_once(join: str, count: int) -> None:
    """CuPy would upload a table of them, which no graph can hold."""
    sizes: list[int] = []

    class Counting:
        """NumPy as CuPy, which notes how many arrays it joins."""

        def __getattr__(self, name: str) -> Any:
            return getattr(np, name)

        def concatenate(self, arrays: Any, axis: int) -> Any:
            sizes.append(len(arrays))
            return np.concatenate(arrays, axis)

    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((3, 2)) for _ in range(count)]
    xp = backend.namespace(Counting())
    for axis in (0, 1, -1):
        wanted = getattr(np, join)(arrays, axis)
        np.testing.assert_array_equal(getattr(xp, join)(tuple(arrays), axis), wanted)
    assert max(sizes) <= 8


# ---- a step as CUDA graphs -----------------------------------------------------------------------


class Cuda:
    """`cupy.cuda` of a device that runs at once what is enqueued, and takes notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.current = Stream(self, "user")
        self.nodes: list[Callable[[], None]] | None = None  # of the graph that is captured
        self.pool = "default"

    def enqueue(self, run: Callable[[], None]) -> None:
        if self.nodes is None:
            run()
        else:
            self.nodes.append(run)

    def Stream(self, non_blocking: bool) -> Stream:  # noqa: N802
        assert non_blocking  # else the default stream could not be used while one captures
        return Stream(self, "own")

    def Event(self, disable_timing: bool) -> str:  # noqa: N802
        assert disable_timing
        return "event"

    def MemoryPool(self) -> Any:  # noqa: N802
        return types.SimpleNamespace(malloc="own")

    def get_current_stream(self) -> Stream:
        return self.current

    @contextlib.contextmanager
    def using_allocator(self, allocator: str) -> Iterator[None]:
        before, self.pool = self.pool, allocator
        try:
            yield
        finally:
            self.pool = before


class Stream:
    def __init__(self, cuda: Cuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def record(self, event: str) -> None:
        self.cuda.notes.append(f"{self.name} records")

    def wait_event(self, event: str) -> None:
        self.cuda.notes.append(f"{self.name} waits")

    def use(self) -> None:
        self.cuda.current = self

    def begin_capture(self) -> None:
        assert self.cuda.current is self
        assert self.cuda.nodes is None
        self.cuda.nodes = []

    def end_capture(self) -> Any:
        nodes, self.cuda.nodes = self.cuda.nodes, None
        assert nodes is not None

        def launch() -> None:
            self.cuda.notes.append(f"launches {len(nodes)}")
            for node in nodes:
                node()

        upload = lambda: self.cuda.notes.append(f"uploads {len(nodes)}")
        return types.SimpleNamespace(launch=launch, upload=upload)


class Launches:
    """A call that is nothing but launches of kernels."""

    launches = ()

    def __init__(self, run: Callable[[], None]) -> None:
        self.run = run

    def __call__(self) -> None:
        self.run()


class Bound:
    """A call of a plan: adds to its array, by a kernel, a library, or a reference."""

    def __init__(
        self, cuda: Cuda, array: Any, name: str = "", captured: bool = True, library: bool = False
    ) -> None:
        self.cuda, self.array, self.captured = cuda, array, captured
        self.changes = [array]
        self.call = types.SimpleNamespace(name=name)
        self.kernel: Any = None
        if library:  # a function, as a library's product is
            self.kernel = self.reference
        elif not name:
            self.kernel = Launches(self.reference)

    def reference(self) -> None:
        assert (self.cuda.current.name, self.cuda.pool) == ("own", "own")
        if self.cuda.nodes is not None and not self.captured:
            raise NotImplementedError("calling cuBLAS during stream capture")
        self.cuda.enqueue(lambda: np.add(self.array, 1, out=self.array))


WAITS = ["user records", "own waits"]
WAITED = ["own records", "user waits"]


def graph_of(cuda: Cuda, calls: list[Bound]) -> Any:
    cupy = types.SimpleNamespace(cuda=cuda)
    return backend.Graph(cupy, calls, [c.kernel or c.reference for c in calls])


def test_a_step_is_one_graph() -> None:
    cuda, array = Cuda(), np.zeros(3)
    user = cuda.current
    step = graph_of(cuda, [Bound(cuda, array), Bound(cuda, array, "sum"), Bound(cuda, array)])
    step()
    assert cuda.notes == [*WAITS, "uploads 3", "launches 3", *WAITED]
    assert array.tolist() == [3, 3, 3]  # the rehearsal left nothing
    step()
    assert cuda.notes[6:] == [*WAITS, "launches 3", *WAITED]
    assert array.tolist() == [6, 6, 6]
    assert (cuda.current, cuda.pool) == (user, "default")


@pytest.mark.parametrize("library", [False, True])
def test_what_cannot_be_captured_runs_between_graphs(library: bool) -> None:
    cuda, array = Cuda(), np.zeros(())
    calls = [
        Bound(cuda, array), Bound(cuda, array), Bound(cuda, array, "matmul_nd", False, library),
        Bound(cuda, array, "sum"),
    ]  # fmt: skip
    step = graph_of(cuda, calls)
    with pytest.warns(UserWarning, match=r"not in a CUDA graph.*: matmul_nd \(NotImpl.*cuBLAS"):
        step()
    assert array == 4
    step()
    assert array == 8
    assert cuda.notes[-6:] == [*WAITS, "launches 2", "launches 1", *WAITED]


def test_memory_is_given_back_before_and_after_a_step_is_captured() -> None:
    cuda, array = Cuda(), np.zeros(3)
    calls = [Bound(cuda, array)]
    cupy = types.SimpleNamespace(cuda=cuda)
    free = lambda: cuda.notes.append("frees")
    step = backend.Graph(cupy, calls, [c.kernel for c in calls], free=free)
    step()
    assert cuda.notes == [*WAITS, "frees", "uploads 1", "frees", "launches 1", *WAITED]
    step()
    assert cuda.notes.count("frees") == 2


def test_a_thread_on_another_gpu_changes_nothing() -> None:
    cuda, array = Cuda(), np.zeros(3)

    def check() -> None:
        raise tg.DeviceError("another GPU")

    cupy = types.SimpleNamespace(cuda=cuda)
    step = backend.Graph(cupy, [Bound(cuda, array)], [], check=check)
    with pytest.raises(tg.DeviceError):
        step()
    assert cuda.notes == []


def test_a_step_that_fails_changes_nothing() -> None:
    cuda, array = Cuda(), np.zeros(2)
    user = cuda.current

    def broken() -> None:
        raise MemoryError("out of memory")

    last = Bound(cuda, array)
    last.kernel = Launches(broken)
    step = graph_of(cuda, [Bound(cuda, array), last])
    for _ in range(2):  # not as if it had been captured
        with pytest.raises(MemoryError):
            step()
        assert array.tolist() == [0, 0]
        assert (cuda.current, cuda.nodes) == (user, None)
