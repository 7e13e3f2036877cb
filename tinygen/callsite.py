"""Where in the user's program the engine was called, for messages and for the lines of a plan."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

# What is the engine: the modules whose frames are no place of the user's.
PARTS = (
    "backend", "callsite", "checks", "derivatives", "differentiate", "events", "finite", "fused",
    "graph", "learn/coach", "learn/mistakes", "ops", "outputs", "plan", "primitive", "protocols",
    "random", "recompute", "spelling", "tensor", "testing", "trace", "traits", "weak",
)  # fmt: skip
_ENGINE = (str(Path(np.__file__).parent), *(str(Path(__file__).parent / p) for p in PARTS))
_PACKAGES = (str(Path(np.__file__).parent), str(Path(__file__).parent))
_within: dict[str, bool] = {}  # by file: whether it is of tinygen or NumPy
_of_engine: dict[str, bool] = {}  # by file: whether it is of the parts above, or NumPy


class CalledAt(NamedTuple):
    """A place in a program; which line it is, is found out when it is printed."""

    code: CodeType
    instruction: int

    def __str__(self) -> str:
        line = list(self.code.co_positions())[self.instruction // 2][0]
        return f"{self.code.co_filename}:{line}"


def called_at() -> CalledAt:
    """Where the program of a person (the innermost frame outside tinygen and NumPy) stands."""
    frame: Any = sys._getframe(2)
    while True:
        file = frame.f_code.co_filename
        inside = _within.get(file)
        if inside is None:
            inside = _within[file] = file.startswith(_PACKAGES)
        if not inside or frame.f_back is None:
            return CalledAt(frame.f_code, frame.f_lasti)
        frame = frame.f_back


def user_line() -> str:
    """File and line of the innermost frame that is not the engine's own."""
    frame: Any = sys._getframe(1)
    while True:
        file = frame.f_code.co_filename
        inside = _of_engine.get(file)
        if inside is None:
            inside = _of_engine[file] = file.startswith(_ENGINE)
        if not inside or frame.f_back is None:
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back


def program_line() -> str:
    """File and line where the program of a person stands; of tinygen where there is none."""
    at = called_at()  # of the command line, a library that runs it
    return user_line() if "site-packages" in at.code.co_filename else str(at)


def place() -> str:
    """Where the program of a person stands, and through which part of tinygen it came here."""
    line, through = program_line(), user_line()
    return line if line == through else f"{line} (through {os.path.basename(through)})"
