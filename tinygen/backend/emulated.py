"""The `emulated` backend: a GPU for those who have none, strict where a real one would fail late.

Its arrays lie in the host's memory but behave like a device's: they never mix with NumPy arrays or
lists, reductions stay on the device, and every read by the host is counted. Fresh memory is full of
NaN, and comes in blocks like CuPy's: a plan here is the plan of a GPU. The kernels are the CUDA
sources, run by tinygen_kernels.cuda.emulator; an operation without one runs its reference through
this file's array functions.

    with tg.use_backend("emulated") as device:
        ...
    device.synchronizations         # how often the host waited for a value
    with device.checked(): ...      # every memory access of every kernel is looked at
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..events import crossing, state
from . import Backend, DeviceError
from . import numpy as host_module
from .cuda import CudaBackend, launches


class DeviceArray:
    """An array in the device's memory: shape, dtype and arithmetic, but no way around `get`."""

    __slots__ = ("__weakref__", "_host", "base")
    __array_ufunc__ = None  # ndarray + DeviceArray is refused by NumPy itself
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: Any, base: DeviceArray | None = None) -> None:
        self._host = host
        self.base = base

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    T = property(lambda self: _wrapped(self._host.T, (self,)))

    def __len__(self) -> int:
        return len(self._host)

    # ---- the host reads: it waits for the device ----------------------------------------------

    def get(self) -> Any:
        """A copy as a NumPy array."""
        _tell("get")
        return self._host.copy()

    def item(self) -> Any:
        _tell("item()")
        return self._host.item()

    def __float__(self) -> float:
        _tell("float()")
        return float(self._host)

    def __int__(self) -> int:
        _tell("int()")
        return int(self._host)

    def __bool__(self) -> bool:
        _tell("bool()")
        return bool(self._host)

    def __index__(self) -> int:
        raise TypeError("an array of the device is no index; read it first with .get()")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            "an array of the device does not become a NumPy array by itself; copy it with .get(), "
            "or tensor.numpy()"
        )

    def __iter__(self) -> Any:
        raise TypeError("an array of the device is not iterated over; copy it first with .get()")

    def __repr__(self) -> str:
        return f"device{self._host!r}"

    # ---- what references use ------------------------------------------------------------------

    def astype(self, dtype: Any, copy: bool = True, order: Any = "K") -> Any:
        return _wrapped(self._host.astype(dtype, copy=copy, order=order), (self,))

    def reshape(self, *shape: Any) -> Any:
        return _wrapped(self._host.reshape(*shape), (self,))

    def copy(self) -> DeviceArray:
        return _made(self._host.copy())

    def view(self, dtype: Any) -> Any:
        return _wrapped(self._host.view(dtype), (self,))

    def __getitem__(self, index: Any) -> Any:
        return _wrapped(self._host[_unwrapped(index)], (self,))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[_unwrapped(index)] = _unwrapped(value)


def _operators() -> None:
    """Arithmetic and comparisons: both ways round, and in place."""
    both = "add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift"
    for name in both.split():
        plain = getattr(operator, name)
        dunder = name.strip("_")
        setattr(DeviceArray, f"__{dunder}__", _method(plain))
        setattr(DeviceArray, f"__r{dunder}__", _method(lambda x, y, f=plain: f(y, x)))
        setattr(DeviceArray, f"__i{dunder}__", _in_place(getattr(operator, f"i{dunder}")))
    for name in ("eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "abs", "invert"):
        setattr(DeviceArray, f"__{name}__", _method(getattr(operator, name)))


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: _called(function, args, {})


def _in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: DeviceArray, other: Any) -> DeviceArray:
        host = self._host
        if host.ndim == 0:  # NumPy would make a new scalar
            host[...] = function(host.copy(), _unwrapped(other))
        else:
            function(host, _unwrapped(other))
        return self

    return method


# ---- between the device's arrays and the memory that holds them ----------------------------------


def _unwrapped(value: Any) -> Any:
    """The memory of a device array; anything of the host but plain numbers is refused."""
    if type(value) is DeviceArray:
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(
            f"a NumPy array {value.shape} {value.dtype} met arrays of the device; move it there "
            "with tg.tensor(array).to('emulated')"
        )
    if isinstance(value, tuple):
        return tuple(map(_unwrapped, value))
    if isinstance(value, list):
        raise TypeError(f"a list met arrays of the device: {value!r:.60}; make it a tensor first")
    return value


def _wrapped(result: Any, args: tuple[Any, ...]) -> Any:
    """A result as an array of the device; a view knows whose memory it shares."""
    if isinstance(result, tuple):
        return tuple(_wrapped(r, args) for r in result)
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    host = np.asarray(result)
    root = _root(host)
    for arg in _arrays(args):
        if host is arg._host:
            return arg
        if root is _root(arg._host):
            return DeviceArray(host, arg if arg.base is None else arg.base)
    return _made(host)


BLOCK = 512  # bytes: CuPy's pool rounds up to it, and starts each array at a multiple


def _block(nbytes: int) -> int:
    """How much a device hands out for so many bytes."""
    return -(-nbytes // BLOCK) * BLOCK


def _made(host: Any) -> DeviceArray:
    """New values as an array in a block of the device's memory."""
    root = _root(host)
    if not root.size:
        return DeviceArray(host)
    memory = np.empty(_block(root.nbytes) + BLOCK, np.uint8)
    start = -_memory.address(memory) % BLOCK
    owner = DeviceArray(np.ndarray(root.shape, root.dtype, memory, start, root.strides))
    owner._host[...] = root
    if host is root:
        return owner
    start += _memory.address(host) - _memory.address(root)
    return DeviceArray(np.ndarray(host.shape, host.dtype, memory, start, host.strides), owner)


def _root(host: Any) -> Any:
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


def _arrays(args: tuple[Any, ...]) -> Any:
    for arg in args:
        if type(arg) is DeviceArray:
            yield arg
        elif isinstance(arg, tuple):
            yield from _arrays(arg)


_REFUSED = ("where", "initial")  # keywords that CuPy's functions do not know


def _called(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    for name in _REFUSED:
        if name in options:
            raise TypeError(f"{name}= is not known to the array functions of a device")
    given = {k: v if k in ("axis", "shape") else _unwrapped(v) for k, v in options.items()}
    with np.errstate(all="ignore"):
        result = function(*map(_unwrapped, args), **given)
    return _wrapped(result, (*args, *options.values()))


def _function(name: str, function: Any) -> Any:
    if isinstance(function, (type, str)):
        return function
    joins = name in ("concatenate", "stack")  # these take a list, of arrays

    def call(*args: Any, **options: Any) -> Any:
        if joins:
            args = (tuple(args[0]), *args[1:])
        return _called(function, args, options)

    call.__name__ = name
    return call


def _poisoned(shape: Any, dtype: Any = np.float64) -> DeviceArray:
    """Memory as a device hands it out, with whatever was there: here NaN, -1 or True."""
    host = np.empty(shape, dtype)
    host.reshape(-1).view(np.uint8)[...] = 1 if host.dtype == np.bool_ else 0xFF
    return _made(host)


_operators()
xp: Any = SimpleNamespace(
    **{name: _function(name, function) for name, function in vars(host_module.xp).items()}
)
xp.name = "emulated"
xp.empty = _poisoned

_tell: Callable[[str], None] = lambda what: None
_memory = host_module.NumpyBackend()  # where the arrays really are


class EmulatedBackend(CudaBackend):
    """Device arrays in the host's memory, CUDA kernels on the host's processor."""

    name = "emulated"
    xp = xp
    array_type = DeviceArray

    def __init__(self) -> None:
        global _tell
        from tinygen_kernels.cuda import emulator, runtime

        super().__init__()
        try:
            self._compiler = emulator.compiler()
            self.device = emulator.Emulator(_poisoned, lambda array: array._host, DeviceArray)
        except emulator.EmulatorError as error:
            raise DeviceError(f"emulated: {error}") from None
        runtime.devices[DeviceArray] = self.device
        self.checked = self.device.checked
        _tell = self._read

    def _read(self, what: str) -> None:
        if state.observers:
            crossing("read")
        self.synchronizations += 1

    def describe(self) -> str:
        return f"CUDA kernels on the processor, compiled by {self._compiler}"

    def asarray(self, data: Any, dtype: Any = None) -> DeviceArray:
        if state.observers:
            crossing("make")
        if type(data) is DeviceArray:
            return _made(np.array(data._host, dtype=dtype))
        return _made(np.array(data, dtype=dtype))

    def to_host(self, array: DeviceArray) -> Any:
        return array.get()

    def synchronize(self) -> None:
        self.synchronizations += 1

    def address(self, array: DeviceArray) -> int:
        return _memory.address(array._host)

    def extent(self, array: DeviceArray) -> tuple[int, int]:
        owner = array if array.base is None else array.base
        start = self.address(owner)
        return start, start + max(_block(owner.nbytes), 1)

    def view(
        self, owner: DeviceArray, offset: int, shape: Any, strides: Any, dtype: Any
    ) -> DeviceArray:
        start, end = self.extent(owner)
        memory: Any = (ctypes.c_uint8 * (end - start)).from_address(start)
        return DeviceArray(np.ndarray(shape, dtype, memory, offset, strides), owner)

    def sequence(self, calls: list[Any]) -> list[Callable[[], None]]:
        return [Graph(self.device, calls)]


class Graph:
    """The calls of a step, captured when it first runs: launches on a stream of their own.

    What is no launch, a reference or a library's product, is kept as it is.
    """

    def __init__(self, device: Any, calls: list[Any]) -> None:
        self._device = device
        self._calls = calls
        self._nodes: list[Callable[[], None]] | None = None

    def __call__(self) -> None:
        if self._nodes is None:
            with self._device.capture(number=1) as nodes:
                for call in self._calls:
                    if launches(call.kernel):
                        call.kernel()
                    else:
                        nodes.append(call.kernel or call.reference)
            self._nodes = nodes
        with self._device.on_stream(1):
            for node in self._nodes:
                node()


def create() -> Backend:
    return EmulatedBackend()
