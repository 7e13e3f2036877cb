"""Large products by NVIDIA's cuBLAS, through a handle of our own.

CuPy's handle refuses to work while a stream is captured, so a step that is one CUDA graph cannot
use it. Ours is three calls by ctypes on the library that CuPy has loaded, always in this order:
stream, workspace (setting the stream forgets it; without one, cuBLAS allocates within the graph),
product. From which size it is faster than our kernels, bench/gpu.py tells; LARGE is a guess.

cuBLAS knows columns first: what is C = A B to us, rows first, is C.T = B.T A.T to it, on the same
memory.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

LARGE = 2**30  # multiply-adds from which cuBLAS serves: as many as 1024 x 1024 x 1024 takes
WORKSPACE = 32 * 2**20  # bytes
_DEFAULT, _TF32 = 0, 3  # cublasMath_t
_NO, _YES = 0, 1  # cublasOperation_t: as it lies, transposed
_PRODUCTS: dict[str, tuple[str, Any]] = {
    "float32": ("cublasSgemm_v2", ctypes.c_float),
    "float64": ("cublasDgemm_v2", ctypes.c_double),
}


class CublasError(RuntimeError):
    """cuBLAS refused a call; names it and the status."""


class Blas:
    """A handle of cuBLAS.

    Args:
        library: cuBLAS, as ctypes loads it.
        stream: the address of the current stream, asked at every product.
        workspace: the address of WORKSPACE bytes on the device for the products of a stream, which
            live as long as this.
    """

    def __init__(
        self, library: Any, stream: Callable[[], int], workspace: Callable[[int], int]
    ) -> None:
        self._library, self._stream, self._workspace = library, stream, workspace
        self._handle = ctypes.c_void_p()
        self._lock = threading.Lock()  # another thread would change the stream in between
        self._call("cublasCreate_v2", ctypes.byref(self._handle))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise CublasError(f"{name} failed with status {status}")

    def multiply(self, product: Product) -> None:
        """Enqueue a product on the current stream."""
        handle, stream = self._handle, self._stream()
        size = ctypes.c_size_t(WORKSPACE)
        with self._lock:
            workspace = ctypes.c_void_p(self._workspace(stream))
            self._call("cublasSetStream_v2", handle, ctypes.c_void_p(stream))
            self._call("cublasSetWorkspace_v2", handle, workspace, size)
            self._call("cublasSetMathMode", handle, ctypes.c_int(product.mode))
            self._call(product.name, handle, *product.arguments)


class Product:
    """x @ y -> out, as a call of a plan: matrices, each with one contiguous axis; out dense."""

    __slots__ = ("_blas", "arguments", "keep", "mode", "name", "out")

    def __init__(self, blas: Blas, x: Any, y: Any, out: Any, address: Any, precision: str) -> None:
        (m, k), n = x.shape, y.shape[1]
        self._blas, self.out, self.keep = blas, out, (x, y)
        self.mode = _TF32 if precision == "tf32" else _DEFAULT
        self.name, number = _PRODUCTS[out.dtype.name]
        one, zero = number(1), number(0)
        sizes = [ctypes.c_int(v) for v in (n, m, k)]
        left, right = _operand(y), _operand(x)
        self.arguments = (
            ctypes.c_int(left[0]), ctypes.c_int(right[0]), *sizes, ctypes.byref(one),
            ctypes.c_void_p(address(y)), ctypes.c_int(left[1]),
            ctypes.c_void_p(address(x)), ctypes.c_int(right[1]), ctypes.byref(zero),
            ctypes.c_void_p(address(out)), ctypes.c_int(n),
        )  # fmt: skip

    def __call__(self) -> None:
        self._blas.multiply(self)


def _operand(a: Any) -> tuple[int, int]:
    """Whether cuBLAS must transpose a matrix, and the distance between its columns (our rows)."""
    rows, columns = (s // a.dtype.itemsize for s in a.strides)
    if columns == 1 and (rows >= a.shape[1] or a.shape[0] == 1):
        return _NO, max(rows, a.shape[1])
    return _YES, max(columns, a.shape[0])


def serves(x: Any, y: Any, out: Any, precision: str) -> bool:
    """Whether a product is large, and laid out as cuBLAS takes it."""
    if x.ndim != 2 or y.ndim != 2 or precision == "bf16" or not out.flags.c_contiguous:
        return False
    if x.shape[0] * x.shape[1] * y.shape[1] < LARGE or out.dtype.name not in _PRODUCTS:
        return False
    return all(_lined(a) for a in (x, y)) and max(*x.shape, *y.shape) < 2**31


def _lined(a: Any) -> bool:
    """One axis contiguous, the other at least as far apart as it is long; both forwards."""
    size = a.dtype.itemsize
    (n, m), (rows, columns) = a.shape, a.strides
    across, down = columns == size and rows >= m * size, rows == size and columns >= n * size
    return bool((across or down) and rows % size == 0 and columns % size == 0)


def load() -> Any:
    """The library cuBLAS that CuPy uses. Raises OSError or ImportError where it is not found."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    return ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path)
