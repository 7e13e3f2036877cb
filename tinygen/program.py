"""How a command of `tinygen` is typed, here and now."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def quoted(*words: object) -> str:
    """Words as they are typed in a shell."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def command(*words: object) -> str:
    """A command of tinygen as it can be typed here: `tinygen ...`, or by the path that works."""
    return f"{_program()} {quoted(*words)}".rstrip()


def _program() -> str:
    called = sys.argv[0] if sys.argv else ""
    found, python = shutil.which("tinygen"), shutil.which("python")
    if os.path.basename(called) in ("tinygen", "tinygen.exe"):  # not by `python -m`, or from code
        on_path = found is not None and _same(found, called)
        return "tinygen" if on_path or not os.path.dirname(called) else quoted(called)
    if found is not None and _same(Path(found).parent, Path(sys.executable).parent):
        return "tinygen"
    short = python is not None and _same(python, sys.executable)
    return quoted("python" if short else sys.executable, "-m", "tinygen")


def _same(a: str | Path, b: str | Path) -> bool:
    """Whether two paths are the same; links are not followed, as in environments."""
    return os.path.abspath(a) == os.path.abspath(b)


def resume_command(trained_by: Sequence[str], folder: object, backend: str, precision: str) -> str:
    """The command that goes on with a run where it was computed before."""
    words: list[object] = [*trained_by, "--out", folder, "--resume"]
    words += ["--backend", backend] if backend != "numpy" else []
    words += ["--precision", precision] if precision != "float32" else []
    return command(*words)
