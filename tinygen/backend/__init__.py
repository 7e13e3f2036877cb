"""Backends: where arrays live, which array module computes, which kernels it has.

The backend of an operation follows from the type of its arrays. Mixing two raises DeviceError.
`use_backend` only decides where new tensors are made.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import importlib.util
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..signals import import_whole

Array = Any  # an array of whichever module the backend computes with
XP = Any  # a backend's namespace of array functions


class DeviceError(RuntimeError):
    """Arrays of two backends met in one operation, or a named backend cannot be had."""


# NumPy keeps what it does about overflow, 1/0 and 0/0 in a context variable: to run a function in a
# context of its own costs a tenth of a microsecond, np.errstate costs one.
_silent = contextvars.Context()
_silent.run(np.seterr, all="ignore")
_errors: contextvars.ContextVar[Any] = next(iter(_silent))


class _Quiet(threading.local):
    """`run(function, *args)`: NumPy gives inf and nan without a warning, as a device does."""

    def __init__(self) -> None:
        self.run = _silent.copy().run  # each thread its own: a context is entered once at a time

    def entered(self) -> bool:
        """Whether this is inside of `run` already; `run` raises RuntimeError then."""
        return _errors.get(None) is _silent[_errors]

    def inside(self, function: Callable[..., Any], *args: Any, **static: Any) -> Any:
        """Run a function for which `run` has just raised, if the reason is that it was entered."""
        if not self.entered():
            raise  # the error of the function itself, which the caller handles
        return function(*args, **static)


quiet = _Quiet()


class Backend:
    """One place to compute: an array module, its kernels, and a count of how often each ran."""

    name: str
    xp: Any
    array_type: type
    precision = "float32"  # of the operands of float32 matrix products

    def __init__(self) -> None:
        self.kernels: dict[str, Callable[..., Any]] = {}
        self.hits: Counter[str] = Counter()

    def asarray(self, data: Any, dtype: Any = None) -> Array:
        """An array of this backend holding a copy of `data` (host data or this backend's)."""
        raise NotImplementedError

    def adopt(self, data: Any) -> Array:
        """`data` itself if it is this backend's array, else a copy on this backend."""
        return data if isinstance(data, self.array_type) else self.asarray(data)

    def as_arrays(self, out: Any) -> Any:
        """What a reference returned, one or several, as arrays of this backend."""
        if isinstance(out, tuple):
            return tuple(map(self.xp.asarray, out))
        return self.xp.asarray(out)

    def to_host(self, array: Array) -> Any:
        """The same values as a NumPy array."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Wait until everything that was started has finished."""

    def owner(self, array: Array) -> Array:
        """The array that owns the storage, which all views of it share."""
        base = getattr(array, "base", None)
        return array if not isinstance(base, self.array_type) else base

    # ---- what a plan needs: memory by address, and a list of calls as one ------------------------

    loops: str  # the module that makes fused loops

    def address(self, array: Array) -> int:
        """Where the first element of an array is."""
        raise NotImplementedError

    def extent(self, array: Array) -> tuple[int, int]:
        """Where the memory of an array's owner starts and ends."""
        raise NotImplementedError

    def view(self, owner: Array, offset: int, shape: Any, strides: Any, dtype: Any) -> Array:
        """An array on the memory of `owner`, `offset` bytes after its start."""
        raise NotImplementedError

    def sequence(self, calls: list[Any]) -> list[Callable[[], None]]:
        """Bound calls (each with `kernel`, or None, and `reference`) as functions to run."""
        return [c.reference if c.kernel is None else c.kernel for c in calls]

    def timed(self, calls: list[Any]) -> list[float]:
        """Run bound calls one after the other; the seconds that each takes."""
        seconds = []
        for call in calls:
            start = time.perf_counter()
            call.run()
            self.synchronize()
            seconds.append(time.perf_counter() - start)
        return seconds

    def set_precision(self, precision: str) -> None:
        """Round the operands of float32 products; see use_backend."""
        raise DeviceError(
            f"{self.name}: products are in float32 here; precision {precision!r} needs the backend "
            "cupy, or emulated"
        )

    @contextlib.contextmanager
    def team(self) -> Iterator[Any]:
        """A team that compiles the block's kernels before they are needed, if it can.

        In a block `with team.dry() as missing` a kernel that is not compiled does nothing, and the
        block's end compiles it. If there were any, what the block computed has no meaning.
        """
        yield _Nobody()

    @contextlib.contextmanager
    def without_kernels(self) -> Iterator[None]:
        """References alone compute within the `with` block."""
        kernels, self.kernels = self.kernels, {}
        try:
            yield
        finally:
            self.kernels = kernels

    def check(self) -> None:
        """Refuse a thread that has chosen another device; there is one only."""

    def describe(self) -> str:
        """Versions, device and memory, in words."""
        return "yes"

    def __repr__(self) -> str:
        return f"<backend {self.name}: {len(self.kernels)} kernels>"


class _Nobody:
    """The team that compiles nothing ahead: each kernel is compiled when it is needed."""

    def dry(self) -> Any:
        return contextlib.nullcontext({})


BACKENDS = ("numpy", "cupy", "emulated")
_MODULES = {name: f"tinygen.backend.{name}" for name in BACKENDS}
_loaded: dict[str, Backend] = {}
programs: dict[str, Callable[..., Any]] = {}  # of each operation (lines.py): kernels are made of it
_by_type: dict[type, Backend] = {}


def get(name: str) -> Backend:
    """The backend called `name`, loaded on first use. Raises DeviceError if there is none."""
    if name not in _loaded:
        if name not in _MODULES:
            known = ", ".join(sorted(_MODULES))
            raise DeviceError(f"no backend is called {name!r}; this version has: {known}")
        backend: Backend = import_whole(_MODULES[name]).create()
        _fill_kernels(backend)
        _loaded[name] = backend
        _by_type[backend.array_type] = backend
    return _loaded[name]


def of_type(array_type: type) -> Backend | None:
    """The loaded backend whose arrays are of this type."""
    return _by_type.get(array_type)


def _fill_kernels(backend: Backend) -> None:
    try:
        tables = importlib.import_module("tinygen_kernels").TABLES
    except ImportError as error:
        raise ImportError(
            "tinygen's kernels (the folder kernels/, import name tinygen_kernels) are not "
            "installed; run `pip install -e .` in the clone, or `pip install tinygen`"
        ) from error
    if backend.name == "numpy" and not numba_compiles():
        return  # references only
    importlib.import_module("tinygen_kernels.vectors").asked()  # or says what is wrong with it
    for operation, target in tables[backend.name].items():
        backend.kernels[operation] = _lazy_kernel(backend, operation, target)


def numba_compiles() -> bool:
    """Whether Numba is installed, and not switched off by NUMBA_DISABLE_JIT=1."""
    off = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    return not off and importlib.util.find_spec("numba") is not None


def _lazy_kernel(backend: Backend, operation: str, target: str) -> Callable[..., Any]:
    """A stand-in that imports the real kernel when the operation is first called."""

    def load() -> Callable[..., Any]:
        module, function = target.split(":")
        kernel: Callable[..., Any] = getattr(import_whole(module), function)
        if operation in importlib.import_module("tinygen_kernels").MADE:
            kernel = kernel(operation, programs[operation])
        backend.kernels[operation] = kernel
        return kernel

    def first_call(*arrays: Any, **static: Any) -> Any:
        return load()(*arrays, **static)

    first_call.load = load  # type: ignore[attr-defined]
    return first_call


def load_kernel(backend: Backend, operation: str) -> Callable[..., Any] | None:
    """The kernel of an operation itself, imported now; None if there is none."""
    found = backend.kernels.get(operation)
    load = getattr(found, "load", None)
    return found if load is None else load()


def declared(operation: str, program: Callable[..., Any]) -> None:
    """Remember the program of an operation, a function of its options.

    If it was declared before, the kernels that were given for that one by hand, or made, are
    dropped.
    """
    again = operation in programs
    programs[operation] = program
    if not again or not _loaded:
        return
    kernels = importlib.import_module("tinygen_kernels")
    for backend in _loaded.values():
        target = kernels.TABLES[backend.name].get(operation)
        if target is None:
            backend.kernels.pop(operation, None)
        elif operation in kernels.MADE and operation in backend.kernels:
            backend.kernels[operation] = _lazy_kernel(backend, operation, target)
        backend.hits.pop(operation, None)


PRECISIONS = ("float32", "tf32", "bf16")


class _Current(threading.local):
    name = "numpy"


_current = _Current()


def current() -> Backend:
    """The backend on which this thread makes new tensors."""
    return get(_current.name)


class use_backend:  # noqa: N801  (a function that is also a context manager)
    """Choose where this thread makes new tensors: `use_backend("numpy")`, or as a `with` block.

    Args:
        name: "numpy", "cupy" or "emulated".
        precision: on the last two, what float32 operands of matrix products are rounded to:
            "float32" (not at all), "tf32" (10 bits after the point, errors of 2^-11 a factor) or
            "bf16" (7 bits, 2^-8). Sums, weights and all else stay float32. Like the choice of the
            backend it ends with the `with` block; None leaves it as it is.

    Raises:
        DeviceError: no such backend, or it cannot be had, or it lacks that precision.
    """

    def __init__(self, name: str, precision: str | None = None) -> None:
        backend, self._before = get(name), _current.name
        self._backend, self._precision = backend, backend.precision
        if precision is not None and precision != backend.precision:
            if precision not in PRECISIONS:
                raise DeviceError(f"no precision {precision!r}; expected {', '.join(PRECISIONS)}")
            backend.set_precision(precision)
        _current.name = name

    def __enter__(self) -> Backend:
        return current()

    def __exit__(self, *error: object) -> None:
        _current.name = self._before
        if self._backend.precision != self._precision:
            self._backend.set_precision(self._precision)


class _Config(dict[str, str]):
    """What `show_config` found; printing it shows a line an entry."""

    def __repr__(self) -> str:
        width = max(map(len, self))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.items())


def show_config() -> _Config:
    """Versions, processor, threads and backends of this machine, as a dict that prints well."""
    import platform
    import sys

    from ..version import __version__

    threads = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.endswith("_NUM_THREADS")]
    built: Any = np.show_config(mode="dicts")
    blas = built["Build Dependencies"]["blas"]
    numba = _installed("numba") if importlib.util.find_spec("numba") else ""
    if numba and not numba_compiles():
        numba += ", switched off by NUMBA_DISABLE_JIT"
    config = _Config(
        {
            "tinygen": __version__,
            "python": f"{platform.python_version()} ({sys.platform}, {platform.machine()})",
            "numpy": f"{np.__version__}, {blas['name']} {blas.get('version', '')}".rstrip(),
            "numba": numba or 'not installed (extra "fast")',
            "cores": f"{os.cpu_count()}" + (f", {' '.join(threads)}" if threads else ""),
        }
    )
    for name in _MODULES:
        try:
            backend = get(name)
        except DeviceError as error:
            config[f"backend {name}"] = f"no: {str(error).removeprefix(f'{name}: ')}"
            continue
        config[f"backend {name}"] = backend.describe()
        config[f"kernels on {name}"] = ", ".join(sorted(backend.kernels)) or "none (references run)"
    return config


def _installed(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "installed"
