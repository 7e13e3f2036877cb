"""An NVIDIA GPU as CuPy gives it: sources compiled by NVRTC at first use, kept in CuPy's cache.

CuPy always adds the option -ftz=true: float32 numbers below 2^-126 count as 0 here, in its own
kernels and in ours, unlike on the processor and the emulator.
"""

from __future__ import annotations

import functools
from typing import Any

import cupy

from . import cublas
from .runtime import Device, Launch, Source


class Gpu(Device):
    """The device of CuPy's arrays.

    Attributes:
        capability: of the current GPU, 10 times the version: 90 for sm_90.
    """

    name = "cupy"

    @functools.cached_property
    def capability(self) -> int:
        return int(cupy.cuda.Device().compute_capability)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return cupy.empty(shape, dtype)

    def to_device(self, host: Any) -> Any:
        return cupy.asarray(host)

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    @functools.cached_property
    def _blas(self) -> cublas.Blas | None:
        """cuBLAS, where it can be loaded."""
        try:
            library = cublas.load()
        except (ImportError, OSError, RuntimeError):
            return None
        self._workspace = cupy.empty(cublas.WORKSPACE, "uint8")
        stream = lambda: int(cupy.cuda.get_current_stream().ptr)
        return cublas.Blas(library, stream, self.address(self._workspace))

    def library_product(self, x: Any, y: Any, out: Any, precision: str) -> Any:
        if not cublas.serves(x, y, out, precision) or self._blas is None:
            return None
        return cublas.Product(self._blas, x, y, out, self.address, precision)

    def launch(self, what: Launch) -> None:
        """Enqueue one kernel on the current stream."""
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
