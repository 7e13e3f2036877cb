"""How a CUDA kernel is compiled, given its arguments and launched, on a GPU or on the emulator.

A family of kernels is a .cuh file of templates and a .py file that says when each runs, on which
grid and with which arguments. Nothing in either knows which device it is:

    SOURCE = Source("optim.cuh")

    @kernel
    def relu(x, *, out=None):                         # binds: says what to launch
        if not dense(x):
            return NotImplemented
        device = device_of(x)
        out = device.empty(x.shape, x.dtype) if out is None else out
        name = f"relu<{ctype(x.dtype)}>"
        return Call([Launch(SOURCE, name, grid, block, (x, out, np.int64(x.size)))], out)

Arguments are arrays of the device, and NumPy scalars of exactly the kernel's types: int32 for int,
int64 for long long, float32 for float. The emulator checks them against the kernel's signature.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..binding import Kernel, kernel

__all__ = [
    "Call", "Device", "GeneratedSource", "Kernel", "Launch", "Source", "blocks", "ctype", "dense",
    "device_of", "devices", "kernel", "strides_of_a_grid",
]  # fmt: skip

FOLDER = Path(__file__).parent

# ---- sources -------------------------------------------------------------------------------------

_INCLUDE = re.compile(r'^[ \t]*#include "(\w+\.cuh)"[^\n]*$', re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A .cuh file of this folder.

    Args:
        file: its name.
        fused: whether a product and a sum may share one rounding (false for bits that must be
            the same everywhere).
    """

    file: str
    fused: bool = True

    @property
    def code(self) -> str:
        """What is written in the file."""
        return (FOLDER / self.file).read_text(encoding="utf-8")

    @functools.cached_property
    def text(self) -> str:
        """The source with what it includes put in, each file once, and its lines numbered."""
        return _inlined(self.file, self.code, {self.file})

    @functools.cached_property
    def parameters(self) -> dict[str, tuple[str, ...]]:
        """The names of each kernel's parameters, as written."""
        found = {}
        for name, inner in re.findall(r"__global__\s+[^()]*?\b(\w+)\s*\(([^)]*)\)", self.text):
            found[name] = tuple(re.findall(r"(\w+)\s*(?:,|$)", inner))
        return found


@dataclass(frozen=True)
class GeneratedSource(Source):
    """A text that a program wrote; `file` is its name in messages.

    Args:
        code: the text, which may include files of this folder.
    """

    code: str = ""


def _inlined(file: str, code: str, seen: set[str]) -> str:
    def put_in(match: re.Match[str]) -> str:
        line = code.count("\n", 0, match.start()) + 2
        inner = ""
        if match[1] not in seen:
            seen.add(match[1])
            inner = _inlined(match[1], Source(match[1]).code, seen)
        return f'{inner}\n#line {line} "{file}"'

    return f'#line 1 "{file}"\n' + _INCLUDE.sub(put_in, code)


# ---- devices -------------------------------------------------------------------------------------


class Device:
    """What a kernel needs of the place where it runs. Subclasses: Emulator, and a GPU's.

    Attributes:
        precision: of the operands of float32 matrix products: "float32", "tf32" or "bf16".
        capability: 10 times the version of the GPU: 90 for sm_90.
    """

    name: str
    precision = "float32"
    capability = 80

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An array whose values are not set."""
        raise NotImplementedError

    def to_device(self, host: Any) -> Any:
        """A copy of a NumPy array."""
        raise NotImplementedError

    def address(self, array: Any) -> int:
        """Where an array starts, as a kernel sees it."""
        raise NotImplementedError

    def check(self, arrays: Iterable[Any] = ()) -> None:
        """Raises RuntimeError where an array, or the calling thread, is on another device."""

    def library_product(self, x: Any, y: Any, out: Any, precision: str) -> Any:
        """x @ y -> out by a library's faster product, as a call; None where there is none."""
        return None

    def launch(self, what: Launch) -> None:
        """Run one kernel."""
        raise NotImplementedError


devices: dict[type, Device] = {}  # by the type of their arrays


def device_of(array: Any) -> Device:
    """The device on which an array is."""
    return devices[type(array)]


# ---- launches ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Launch:
    """One kernel on one grid.

    Args:
        source, name: the kernel, as a C++ expression: "adam_step<float>".
        grid, block: how many blocks, and threads in a block.
        args: arrays of the device and NumPy scalars.
        shared: bytes of dynamic shared memory.
        cooperative: all blocks run at once and may wait for each other.
        reached: arrays that the kernel reaches through addresses in other arrays.
    """

    source: Source
    name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: tuple[Any, ...]
    shared: int = 0
    cooperative: bool = False
    reached: tuple[Any, ...] = ()


class Call:
    """The launches of one operation on its memory; `out` is what the operation returns."""

    __slots__ = ("device", "keep", "launches", "out")

    def __init__(self, launches: Sequence[Launch], out: Any, keep: Any = None) -> None:
        self.launches = tuple(launches)
        self.out = out
        self.keep = keep  # scratch arrays, which live as long as the call
        arrays = [a for one in launches for a in one.args if not isinstance(a, np.generic)]
        self.device = device_of(arrays[0])
        self.device.check(arrays)

    def __call__(self) -> None:
        for one in self.launches:
            self.device.launch(one)


# ---- what the families share ---------------------------------------------------------------------

_CTYPES = {
    "float32": "float", "float64": "double", "bool": "bool", "uint8": "unsigned char",
    "int32": "int", "uint32": "unsigned", "int64": "long long", "uint64": "unsigned long long",
}  # fmt: skip


def ctype(dtype: Any) -> str:
    """The name of a dtype in CUDA C++."""
    return _CTYPES[np.dtype(dtype).name]


def dense(*arrays: Any) -> bool:
    """Whether every array is contiguous, in row-major order, and not empty."""
    return all(a.flags.c_contiguous and a.size for a in arrays)


def blocks(n: int, each: int) -> int:
    """How many blocks of `each` it takes for n."""
    return -(-n // each)


THREADS = 256  # in a block of an elementwise kernel
MOST_BLOCKS = 4096  # enough for every multiprocessor several times over


def strides_of_a_grid(n: int) -> tuple[tuple[int], tuple[int]]:
    """Grid and block for a loop over n elements in which a thread takes several, a grid apart."""
    return (max(1, min(blocks(n, THREADS), MOST_BLOCKS)),), (THREADS,)
