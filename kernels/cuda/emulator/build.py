"""Sources of kernels as libraries for the host: compiled once, kept in the cache folder."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ... import cache
from ..runtime import Source

HERE = Path(__file__).parent
# No operation is contracted into another (NumPy's results), and nothing is assumed of NaN.
FLAGS = ("-std=c++17", "-fPIC", "-ffp-contract=off", "-fno-strict-aliasing", "-w")


class EmulatorError(RuntimeError):
    """There is no C++ compiler for the emulator, or it refused."""


# ---- compiling -----------------------------------------------------------------------------------


@functools.cache
def compiler() -> str:
    """The host's C++ compiler: $CXX, g++, clang++ or c++. Raises EmulatorError."""
    if sys.platform == "win32":
        raise EmulatorError(
            "the emulated GPU runs on Linux, macOS and WSL (its threads are POSIX contexts); on "
            "Windows, install WSL (`wsl --install`) and run tinygen there"
        )
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        found = shutil.which(name) if name else None
        if found:
            return found
    install = "xcode-select --install" if sys.platform == "darwin" else "apt install g++"
    raise EmulatorError(
        f"the emulated GPU needs a C++ compiler and found none (looked for $CXX, g++, clang++ and "
        f"c++); install one, for example `{install}`, or use the backend numpy"
    )


@functools.cache
def _version() -> str:
    ran = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=False)
    return ran.stdout + platform.machine()


def _digest(*texts: str) -> str:
    """A name for these texts, compiled with this compiler and the emulator's headers."""
    headers = [path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.h"))]
    digest = hashlib.sha256("\0".join([*texts, *headers, *FLAGS, _version()]).encode())
    return digest.hexdigest()[:16]


def _folder() -> Path:
    return cache.cache_root() / "emulated"


@functools.cache
def _prepared(*flags: str) -> tuple[str, ...]:
    """Where g++ finds emulator.h read already, which is half of a kernel's compiling time."""
    if "clang" in _version().lower():
        return ()
    stem, name = f"headers-{_digest(*flags)}", "emulator.h.gch"
    path = cache.read_named(_folder(), stem)
    if path is None:
        made = cache.scratch() / f"{stem}.gch"
        header = ("-x", "c++-header", str(HERE / "emulator.h"))
        _run("emulator.h", *FLAGS, *flags, *header, "-o", str(made))
        path = cache.write_named(_folder(), stem, made.read_bytes())
    # g++ finds it by its name alone, in a folder that only this process writes to.
    folder = cache.scratch() / stem
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / name).symlink_to(path.absolute())
    return (f"-I{folder}",)


def library(stem: str, text: str, *flags: str, alone: bool = True) -> Path:
    """The shared library of a C++ text, from the cache or compiled now; `alone`, a kernel's."""
    entry = f"{stem}-{_digest(text, *flags)}"
    path = cache.read_named(_folder(), entry, ".so")
    if path is not None:
        return path
    with tempfile.TemporaryDirectory(dir=cache.scratch()) as scratch:
        source, unit, made = (Path(scratch) / f"{stem}{end}" for end in (".cpp", ".o", ".so"))
        source.write_text(text, encoding="utf-8")
        headers = (*(_prepared(*flags) if alone else ()), f"-I{HERE}")
        _run(stem, *FLAGS, *headers, *flags, "-c", str(source), "-o", str(unit))
        # Linked in a step of its own, without the sanitizer's library: its functions are the
        # engine's; and alone, so that a module has no variables but its kernels' own.
        bare = ("-nostartfiles",) if alone and sys.platform != "darwin" else ()
        _run(stem, *_LINK, *bare, str(unit), "-o", str(made))
        return cache.write_named(_folder(), entry, made.read_bytes(), ".so")


_LINK = ("-shared", "-undefined", "dynamic_lookup") if sys.platform == "darwin" else ("-shared",)


def _run(stem: str, *arguments: str) -> None:
    ran = subprocess.run([compiler(), *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise EmulatorError(f"{compiler()} refused {stem}:\n{first_errors(ran.stderr)}")


def first_errors(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line] or text.splitlines()
    return "\n".join(lines[:8])


class _Entry(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("types", ctypes.c_void_p), ("run", ctypes.c_void_p),
    )  # fmt: skip


@functools.cache
def engine() -> Any:
    """The library that runs fibers and looks at memory, for all modules."""
    texts = [(HERE / name).read_text(encoding="utf-8") for name in ("engine.cpp", "checks.cpp")]
    path = library("engine", "\n".join(texts), "-O2", alone=False)
    return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


class Compiled:
    """One kernel of a compiled module.

    Attributes:
        types: ("*f", ".i", ...), a pair of letters for each argument.
        names: of its parameters.
    """

    def __init__(self, module: Any, path: Path, source: Source, name: str) -> None:
        module.emulated_entry.restype = ctypes.POINTER(_Entry)
        entry = module.emulated_entry().contents
        pointers = ctypes.string_at(entry.types)
        kinds = ctypes.string_at(entry.types + len(pointers) + 1)
        self.types = [f"{p:c}{k:c}" for p, k in zip(pointers, kinds, strict=True)]
        self.run = entry.run
        self.module, self.path, self.source, self.name = module, path, source, name
        self.names = source.parameters.get(re.split(r"[<(]", name)[0], ())
        ends = (ctypes.c_void_p * 2)()
        module.emulated_shared(ends)
        self.shared, self.shared_end = ends[0], ends[1]

    def parameter(self, i: int) -> str:
        return self.names[i] if i < len(self.names) else f"argument {i}"


_MODULE = """
#include "emulator.h"
namespace {{
{text}
}}
#line 1 "module"
static const emulated::Entry entry = {{
    "{name}", emulated::Caller<&{name}>::types, emulated::Caller<&{name}>::run}};
extern "C" const emulated::Entry* emulated_entry() {{ return &entry; }}
// The module's only variables are __shared__ arrays, so they are what lies between these two.
{ends}
"""
_ENDS_ELF = """
extern "C" char __bss_start[] __attribute__((visibility("hidden")));
extern "C" char _end[] __attribute__((visibility("hidden")));
extern "C" void emulated_shared(char** out) { out[0] = __bss_start, out[1] = _end; }
"""
_ENDS_MACHO = """
#include <dlfcn.h>
#include <mach-o/getsect.h>
extern "C" void emulated_shared(char** out) {
    Dl_info image;
    dladdr((void*)&emulated_shared, &image);
    unsigned long size = 0;
    auto header = (const struct mach_header_64*)image.dli_fbase;
    out[0] = (char*)getsectiondata(header, "__DATA", "__bss", &size);
    out[1] = out[0] + size;
}
"""


@functools.cache
def compiled(source: Source, name: str, checked: bool) -> Compiled:
    engine()
    ends = _ENDS_MACHO if sys.platform == "darwin" else _ENDS_ELF
    text = _MODULE.format(text=source.text, name=name, ends=ends)
    flags = ("-O1", "-gdwarf-4", "-fsanitize=thread") if checked else ("-O2",)
    stem = re.sub(r"\W+", "_", name).strip("_") + ("_checked" if checked else "")
    path = library(stem, text, *flags)
    return Compiled(ctypes.CDLL(str(path)), path, source, name)
