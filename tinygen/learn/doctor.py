"""`tinygen learn doctor`: what this machine has, and which lessons run on it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path

COMPILERS = ("g++", "clang++", "c++")  # those that the emulator of kernels looks for
LESSONS = 21


def compiler() -> str:
    """The C++ compiler that is found, or ""."""
    asked = os.environ.get("CXX")
    return next((c for c in (asked, *COMPILERS) if c and shutil.which(c)), "")


def has(package: str) -> bool:
    """Whether a package is installed; it is not imported."""
    return importlib.util.find_spec(package) is not None


def _writable(folder: Path) -> str:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".learn"):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def findings() -> Iterator[tuple[str, bool, str]]:
    """What was looked at, whether it is as it should be, and what was found."""
    version = platform.python_version()
    fine = sys.version_info >= (3, 11)
    yield "Python", fine, f"{version}, {sys.executable}" + ("" if fine else "; 3.11 is needed")
    inside = sys.prefix != sys.base_prefix
    place = sys.prefix if inside else "none: python -m venv .venv makes one"
    yield "environment", inside, place
    encoding = getattr(sys.stdout, "encoding", None) or "unknown"
    yield "console", True, f"{encoding}; the lessons print plain ASCII"
    here = Path.cwd()
    refused = _writable(here)
    yield "folder", not refused, f"{here}" + (f": {refused}" if refused else ", can be written")
    import numpy

    yield "NumPy", True, numpy.__version__
    fast = has("numba")
    yield "Numba", True, "found" if fast else "none, and none is needed; kernels are slower"
    found = compiler()
    yield "compiler", bool(found), found or _compiler_for(sys.platform)
    try:
        webbrowser.get()
        yield "browser", True, "found; pages open in it"
    except webbrowser.Error:
        yield "browser", False, "none found; open the .html files by hand"


def _compiler_for(system: str) -> str:
    ways = {
        "win32": "none; lesson 19 needs g++: install MSYS2 or WinLibs, or run it on Linux",
        "darwin": "none; lesson 19 needs one: xcode-select --install",
    }
    return ways.get(system, "none; lesson 19 needs one: apt install g++")


def lessons() -> Iterator[tuple[str, str]]:
    """Groups of lessons, and whether they run here."""
    yield "01", "runs, with Python alone"
    yield "02-18", "run"
    yield "19", "runs" if compiler() else "needs a C++ compiler"
    yield "20-21", "run"


def main() -> int:
    """Print all; 1 if Python is too old or nothing can be written here."""
    rows = list(findings())
    for name, fine, text in rows:
        print(f"{'ok' if fine else '--'}  {name:<12} {text}")
    print()
    for numbers, text in lessons():
        print(f"lesson {numbers:<6} {text}")
    must = {name: fine for name, fine, _ in rows}
    return 0 if must["Python"] and must["folder"] else 1
