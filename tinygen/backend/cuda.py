"""What the two backends that run CUDA kernels share: cupy on a GPU, emulated on the processor."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from . import Backend, DeviceError

RUNTIME = "tinygen_kernels.cuda.runtime"


def launches(kernel: Any) -> bool:
    """Whether a bound call launches kernels of tinygen: no reference, no product of a library."""
    return isinstance(kernel, importlib.import_module(RUNTIME).Call)


class CudaBackend(Backend):
    """A device with memory of its own, which the host waits for when it reads a value.

    Attributes:
        device: compiles and launches kernels.
        synchronizations: how often the host waited.
    """

    loops = "tinygen_kernels.cuda.elementwise"
    device: Any

    def __init__(self) -> None:
        super().__init__()
        self.synchronizations = 0

    def set_precision(self, precision: str) -> None:
        if precision != "float32" and self.device.capability < 80:
            raise DeviceError(
                f"{self.name}: precision {precision!r} needs tensor cores of compute capability "
                f"8.0, this GPU has {self.device.capability / 10}; use float32"
            )
        self.device.precision = self.precision = precision

    def launch(
        self, source: str, name: str, grid: tuple[int, ...], block: tuple[int, ...], *args: Any,
        shared: int = 0, cooperative: bool = False, file: str = "kernel.cuh",
    ) -> None:  # fmt: skip
        """Run a CUDA kernel of your own.

        Args:
            source: CUDA C++ with the kernel, a `__global__ void` function, perhaps a template.
            name: the kernel as a C++ expression: "scale" or "scale<float>".
            grid, block: how many blocks, and how many threads in each; up to three axes.
            args: tensors of this backend, and NumPy scalars of exactly the kernel's types
                (np.int32 for int, np.float32 for float, np.int64 for long long).
            shared: bytes of dynamic shared memory.
            cooperative: all blocks run at once and may wait for each other.
            file: what messages call the source.

        Raises:
            TypeError: an argument does not fit (only on the emulated device).
            KernelError: what a GPU would not forgive (only on the emulated device).
        """
        runtime = importlib.import_module(RUNTIME)
        plain = (self.array_type, np.generic)
        arrays = tuple(x if isinstance(x, plain) else x.data for x in args)
        text = runtime.GeneratedSource(file, code=source)
        self.device.launch(runtime.Launch(text, name, grid, block, arrays, shared, cooperative))
