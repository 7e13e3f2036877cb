"""Where in a program an operation was called: line, modules, which part of a step."""

from __future__ import annotations

import linecache
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..callsite import PARTS
from ..differentiate import backward, grad
from ..fused import Fused
from ..graph import pull_back
from ..nn import Module
from ..optim import EMA, Optimizer
from ..primitive import Primitive
from ..tensor import Tensor

_HERE = Path(__file__).parents[1]
_ENGINE = (str(Path(np.__file__).parent), *(str(_HERE / p) for p in PARTS))
_DIFFERENTIATION = {backward.__code__, grad.__code__, pull_back.__code__}
_PULL = Primitive.pull.__code__
_OF_THE_ENGINE = {pull_back.__code__: "paths", Fused.pull.__code__: "body"}


class Place(NamedTuple):
    """The stack at one call.

    Attributes:
        line: file:line of the innermost frame that is not the engine's.
        user: the same outside of tinygen; "" where that is the block itself.
        modules: those whose methods are running, the outermost first.
        update: a method of an optimizer, or of an average of weights, is running.
        differentiating: a gradient is being computed.
        argument: whose rule is running: its place among the arguments; None if none is.
        adds: what the engine itself does: "axes", it sums over what was stretched; "paths", it adds
            the slopes of a value that was used more than once; "body", it runs the body of a fused
            operation again, to differentiate it. "" where a rule or a person asks.
        frames: the frames outside the engine, the innermost first.
        outer: the frame of `user`.
    """

    line: str
    user: str
    modules: list[Module]
    update: bool
    differentiating: bool
    argument: int | None
    adds: str
    frames: list[Any]
    outer: Any

    @property
    def inner(self) -> Any:
        """The frame of `line`."""
        return self.frames[0]


def place(frame: Any, last: Any) -> Place:
    """Read the stack from `frame`, an operation's, to `last`, in which the block stands."""
    line = user = adds = ""
    modules: list[Module] = []
    frames: list[Any] = []
    update = differentiating = False
    argument = outer = None
    depth = 0
    while frame is not None:
        code = frame.f_code
        inside = code.co_filename.startswith(_ENGINE)
        if inside:
            if code is _PULL and argument is None:
                argument = frame.f_locals.get("i")
                adds = adds or ("axes" if depth == 1 else "")
            elif argument is None and not adds:
                adds = _OF_THE_ENGINE.get(code, "")
            differentiating = differentiating or code in _DIFFERENTIATION
        else:
            frames.append(frame)
            line = line or shown(code.co_filename, frame.f_lineno)
            owner = _self(frame)
            if isinstance(owner, Module):
                modules.append(owner)
            update = update or isinstance(owner, (EMA, Optimizer))
            if not user and not code.co_filename.startswith(str(_HERE)):
                user, outer = shown(code.co_filename, frame.f_lineno), frame
        if frame is last:
            break
        frame, depth = frame.f_back, depth + 1
    return Place(
        line, "" if user == line else user, modules[::-1], update, differentiating, argument, adds,
        frames, outer,
    )  # fmt: skip


def _self(frame: Any) -> Any:
    code = frame.f_code
    if code.co_argcount and code.co_varnames[0] == "self":
        return frame.f_locals.get("self")
    return None


def shown(file: str, line: int) -> str:
    """A place as it is printed: files below the package or the current folder by their rest."""
    for root in (_HERE.parent, Path.cwd()):
        if file.startswith(f"{root}{os.sep}"):
            return f"{Path(file).relative_to(root).as_posix()}:{line}"
    return f"{os.path.basename(file)}:{line}"


def source_of(frame: Any) -> str:
    """The text of the line at which a frame stands."""
    text = linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals)
    return text.strip()


def variable(array: Any, frames: list[Any]) -> str:
    """What a person calls an array: the name of a variable that holds it, "" if none does.

    Of several frames the outermost counts, whose names are nearest to the person.
    """
    for frame in reversed(frames):
        for name, value in list(frame.f_locals.items()):
            if name.startswith("_"):
                continue
            if isinstance(value, Tensor) and value.data is array:
                return str(name)
            if value.__class__ is dict:
                for key, entry in list(value.items()):
                    if isinstance(entry, Tensor) and entry.data is array:
                        return str(key)
    return ""
