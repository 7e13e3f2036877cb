"""An NVIDIA GPU as CuPy gives it: sources compiled by NVRTC at first use, kept in CuPy's cache.

CuPy always adds the option -ftz=true: float32 numbers below 2^-126 count as 0 here, in its own
kernels and in ours, unlike on the processor and the emulator.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable
from typing import Any

import cupy

from . import cublas
from .runtime import Device, Launch, Source


class Gpu(Device):
    """The device of CuPy's arrays: one GPU, the one that is current when this is made.

    Args:
        refusal: what is raised where an array, or a thread, is on another GPU.

    Attributes:
        number: of the GPU, as CUDA counts those that are visible.
        capability: of the GPU, 10 times the version: 90 for sm_90.
        without_library: why cuBLAS serves no product; "" where it does.
    """

    name = "cupy"
    without_library = ""

    def __init__(self, refusal: type[Exception] = RuntimeError) -> None:
        self._refusal = refusal
        self.number = int(cupy.cuda.runtime.getDevice())
        self._lock = threading.RLock()
        self._workspaces: dict[int, Any] = {}  # by the stream that works in it
        self._proven: dict[tuple[str, int], bool] = {}  # whether cuBLAS serves a kind of product

    @functools.cached_property
    def capability(self) -> int:
        return int(cupy.cuda.Device(self.number).compute_capability)

    def check(self, arrays: Iterable[Any] = ()) -> None:
        """Refuse an array, or a thread, that is on another GPU."""
        current = cupy.cuda.runtime.getDevice()
        if current != self.number:
            raise self._refusal(f"cupy: this thread has chosen GPU {current}, {self._cure()}")
        for a in arrays:
            if a.data.device_id != self.number:
                where = f"an array {a.shape} {a.dtype} is on GPU {a.data.device_id}"
                raise self._refusal(f"cupy: {where}, {self._cure()}")

    def _cure(self) -> str:
        return (
            f"tinygen computes on GPU {self.number}, the first that it met; choose one GPU for the "
            "whole program by the variable CUDA_VISIBLE_DEVICES"
        )

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return cupy.empty(shape, dtype)

    def to_device(self, host: Any) -> Any:
        return cupy.asarray(host)

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    @functools.cached_property
    def _blas(self) -> cublas.Blas | None:
        """cuBLAS, where it can be loaded and makes a handle."""
        stream = lambda: int(cupy.cuda.get_current_stream().ptr)
        try:
            return cublas.Blas(cublas.load(), stream, self._workspace)
        except Exception as error:  # an installation that is not whole fails in many ways
            self.without_library = f"{type(error).__name__}: {error}".splitlines()[0]
            return None

    def _workspace(self, stream: int) -> int:
        """The address of the memory in which the products of a stream work.

        Each stream has its own: the products of two may run at the same time.
        """
        if stream not in self._workspaces:
            self._workspaces[stream] = cupy.empty(cublas.WORKSPACE, "uint8")
        return self.address(self._workspaces[stream])

    @property
    def products(self) -> str:
        """What serves large products, in words."""
        if self._blas is not None and not self.without_library:
            return "cuBLAS serves large products"
        return f"own kernels serve all products, as cuBLAS cannot ({self.without_library})"

    def library_product(self, x: Any, y: Any, out: Any, precision: str) -> Any:
        if not cublas.serves(x, y, out, precision):
            return None
        self.check((x, y, out))
        with self._lock:
            if self._blas is None:
                return None
            product = cublas.Product(self._blas, x, y, out, self.address, precision)
            return product if self._proves(product) else None

    def _proves(self, product: cublas.Product) -> bool:
        """Whether cuBLAS serves products of this kind: the first is tried here, on its memory."""
        kind = product.name, product.mode
        if kind not in self._proven:
            try:
                product()
                self._proven[kind] = True
            except Exception as error:  # our kernels then tell what is wrong with the GPU, if it is
                self._proven[kind] = False
                self.without_library = f"{type(error).__name__}: {error}".splitlines()[0]
        return self._proven[kind]

    def launch(self, what: Launch) -> None:
        """Enqueue one kernel on the current stream."""
        self.check()
        function = self.prepare(what)
        function(what.grid, what.block, what.args, shared_mem=what.shared)

    def prepare(self, what: Launch) -> Any:
        """The compiled kernel of a launch."""
        function = _function(what.source, what.name, what.cooperative)
        # What is allowed at first: 48 KB less what the kernel declares. More must be asked for.
        if what.shared and what.shared > function.max_dynamic_shared_size_bytes:
            function.max_dynamic_shared_size_bytes = what.shared
        return function


@functools.cache
def _function(source: Source, name: str, cooperative: bool) -> Any:
    options = ("-std=c++17", *(() if source.fused else ("--fmad=false",)))
    module = cupy.RawModule(
        code=source.text, options=options, name_expressions=[name],
        enable_cooperative_groups=cooperative,
    )  # fmt: skip
    return module.get_function(name)
