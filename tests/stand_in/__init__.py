"""A stand-in for CUDA under the real CuPy and the real NVRTC, for a process of its own.

    import stand_in
    stand_in.install()          # before CuPy is imported; afterwards the backend cupy "works"
    stand_in.counts()           # what CUDA was asked for since `reset`

CuPy's wheel has CUDA's runtime inside. Here the entry points of that copy are overwritten, in the
memory of this process alone, with jumps into cuda.c; the driver, libcuda.so, is the same library.
CuPy is then as it is on a GPU: it compiles with NVRTC, allocates, launches, captures graphs. What
needs more of CUDA (cuBLAS, sorting) fails here.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

PACKAGES = "cupy-cuda13x nvidia-cuda-nvrtc nvidia-cuda-runtime"
FOLDER = Path(__file__).parent
_JUMP = b"\xff\x25\0\0\0\0"  # jmp to the address in the eight bytes that follow
_library: Any = None
_kept: list[Any] = []


def missing() -> str:
    """What this machine lacks for the stand-in; "" for nothing."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "it is for Linux on x86-64"
    tools = [tool for tool in ("cc", "nm") if shutil.which(tool) is None]
    if tools:
        return f"{' and '.join(tools)} not on the PATH"
    wheels = [name for name in ("cupy", "cuda.pathfinder") if not _installed(name)]
    if wheels:
        return f"no {' and '.join(wheels)}; pip install {PACKAGES}"
    from cuda.pathfinder import load_nvidia_dynamic_lib

    try:
        load_nvidia_dynamic_lib("nvrtc")
    except RuntimeError:
        return f"no NVRTC; pip install {PACKAGES}"
    return ""


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of what it is part of
        return False


def install() -> None:
    """From now on CuPy talks to the stand-in."""
    global _library
    os.environ["CUPY_ACCELERATORS"] = ""  # CUB has a runtime of its own
    built = Path(tempfile.mkdtemp()) / "stand_in.so"
    command = ["cc", "-O1", "-w", "-shared", "-fPIC", str(FOLDER / "cuda.c"), "-o", str(built)]
    subprocess.run(command, check=True)
    library = _library = ctypes.CDLL(str(built))
    shutil.rmtree(built.parent)
    library.stand_in_names.restype = ctypes.c_char_p
    library.stand_in_limit.argtypes = [ctypes.c_long]
    library.stand_in_captures.argtypes = [ctypes.c_void_p]
    name = library._name

    class Loaded(ctypes.CDLL):
        """ctypes.CDLL, which finds our driver."""

        def __init__(self, asked: Any = None, *args: Any, **options: Any) -> None:
            driver = isinstance(asked, str) and asked.startswith("libcuda.so")
            given = {**options, "handle": library._handle} if driver else options
            super().__init__(name if driver else asked, *args, **given)

    ctypes.CDLL = Loaded  # type: ignore[misc]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import cupy_backends.cuda.api.runtime as runtime
    _overwrite(runtime.__file__)


def _overwrite(path: str) -> None:
    """Each entry point of CUDA's runtime in a library becomes a jump to ours."""
    said = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    words = [line.split() for line in said.splitlines()]
    entries = {w[2]: int(w[0], 16) for w in words if len(w) == 3 and w[2][:4] == "cuda"}
    entries = {name: at for name, at in entries.items() if name[4:5].isupper()}
    maps = Path("/proc/self/maps").read_text().splitlines()
    base = next(int(line.split("-")[0], 16) for line in maps if line.endswith(Path(path).name))
    libc = ctypes.CDLL(None)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for name, offset in entries.items():
        at = base + offset
        target = ctypes.cast(_entry(name), ctypes.c_void_p).value
        assert target is not None
        code = _JUMP + target.to_bytes(8, "little")
        assert libc.mprotect(at & ~4095, 8192, 7) == 0  # to read, write and run
        ctypes.memmove(at, code, len(code))


def _entry(name: str) -> Any:
    """Ours of that name; where there is none, one that says so and fails."""
    found = getattr(_library, name, None)
    if found is None:

        @ctypes.CFUNCTYPE(ctypes.c_int)
        def found() -> int:
            print(f"stand-in: {name} is not there", file=sys.stderr)
            return 999

        _kept.append(found)
    return found


def counts() -> dict[str, int]:
    """How often each thing was asked for; those that never were are left out."""
    names = _library.stand_in_names().decode().split()
    numbers = (ctypes.c_long * len(names)).in_dll(_library, "stand_in_counts")
    return {name: n for name, n in zip(names, numbers, strict=True) if n}


def reset() -> None:
    """Counts start again; `bytes`, those allocated now, go on."""
    names = _library.stand_in_names().decode().split()
    numbers = (ctypes.c_long * len(names)).in_dll(_library, "stand_in_counts")
    for i, name in enumerate(names):
        if name != "bytes":
            numbers[i] = numbers[names.index("bytes")] if name == "most_bytes" else 0


def limit(size: int) -> None:
    """The GPU has this many bytes; 0 for any number."""
    _library.stand_in_limit(size)


def captures(stream: int) -> bool:
    """Whether the stream is being captured."""
    return bool(_library.stand_in_captures(stream))
