"""Values that leave the graph: numbers of Python, and arrays that are written into."""

from __future__ import annotations

import ast
import linecache
import math
import sys
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from ...events import changed, clock, state
from ...graph import Node
from ...spelling import called
from ...tensor import Tensor
from .base import Check, Pass

if TYPE_CHECKING:
    from ..coach import Coach


class Number(Check):
    """A tensor that carries a gradient becomes a Python number by float() or a function of math.

    That is right in a report. It is a mistake where the number is used in an operation again; or
    where it was all that was done with a leaf: no backward pass reaches that. `x.item()` says that
    a number is meant.
    """

    operations = ("add", "sub", "mul", "div", "maximum", "minimum", "power_n")

    def __init__(self, coach: Coach) -> None:
        super().__init__(coach)
        self._numbers: dict[float, tuple[str, str]] = {}
        self._leaves: dict[Node, tuple[str, str]] = {}

    def reading(self) -> None:
        if not state.recording:
            return
        frame: Any = sys._getframe(3)
        for _ in range(6):
            if frame is None or frame.f_code.co_name == "__float__":
                break
            frame = frame.f_back
        else:
            return
        x = frame.f_locals.get("self") if frame is not None else None
        if not isinstance(x, Tensor) or x.node is None or x.size != 1:
            return
        value = x.data.item()
        function = _function_of_math(frame.f_back)
        name = "float" if function is None else f"math.{function.__name__}"
        here = self.line(), name
        if function is not None:
            try:
                value = function(value)
            except (TypeError, ValueError, OverflowError):
                return
            if x.node.primitive is None:
                self._leaves[x.node] = here
        if isinstance(value, float) and len(repr(value)) > 6:  # 0.5 may come from anywhere
            if len(self._numbers) > 100:
                self._numbers.pop(next(iter(self._numbers)))
            self._numbers[value] = here

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        if not self._numbers or not state.recording:
            return
        if not any(isinstance(x, Tensor) and x.node is not None for x in args):
            return
        for x in args:
            if x.__class__ is float and x in self._numbers:
                line, name = self._numbers[x]
                self._tell(line, name, f", which {called(operation.name)} uses")

    def walking_back(self, now: Pass) -> None:
        if self._leaves:
            for leaf in now.order:
                self._leaves.pop(leaf, None)

    def finish(self) -> None:
        for line, name in self._leaves.values():
            self._tell(line, name, "")

    def _tell(self, line: str, name: str, use: str) -> None:
        write = "the tensor itself" if name == "float" else name.replace("math.", "tg.") + "(x)"
        self.say(
            "number",
            f"{name} of a tensor gives a Python number{use}: its gradient is lost; write {write}, "
            "or x.item() if a number is meant",
            line,
        )


def _function_of_math(frame: Any) -> Any:
    """The function of module math that a frame is calling now, or None."""
    if frame is None:
        return None
    row, last, start, end = list(frame.f_code.co_positions())[frame.f_lasti // 2]
    if row is None or row != last:
        return None
    line = linecache.getline(frame.f_code.co_filename, row).encode()
    try:
        call = ast.parse(line[start:end].decode(), mode="eval").body
    except (SyntaxError, UnicodeDecodeError):
        return None
    if not isinstance(call, ast.Call):
        return None
    names = {**frame.f_globals, **frame.f_locals}
    if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name):
        found = getattr(names.get(call.func.value.id), call.func.attr, None)
    else:
        found = names.get(getattr(call.func, "id", ""))
    return found if getattr(found, "__module__", "") == "math" else None


class Data(Check):
    """The values of a leaf change between an operation and its backward pass, through `x.data`.

    What is written after the backward pass is the program's own affair.
    """

    every = True

    def __init__(self, coach: Coach) -> None:
        super().__init__(coach)
        self._seen: dict[int, list[Any]] = {}  # by array: it, and (when, values) as they changed

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        if not state.recording:
            return
        for x in args:
            if isinstance(x, Tensor) and x.node is not None and x.node.primitive is None:
                a = x.data
                values = _some(a)
                seen = self._seen.get(id(a))
                if seen is None or seen[0]() is not a:
                    if values is not None:
                        self._seen[id(a)] = [weakref.ref(a), (next(clock), values)]
                elif seen[-1][1] != values:
                    seen.append((next(clock), values))

    def changing(self, owner: Any) -> None:
        self._seen.pop(id(owner), None)

    def walking_back(self, now: Pass) -> None:
        suspects: dict[int, float] = {}  # arrays, and when they changed last
        for key, (alive, *entries) in self._seen.items():
            a = alive()
            if a is None or key in changed:
                continue
            if _some(a) != entries[-1][1]:
                suspects[key] = math.inf
            elif len(entries) > 1:
                suspects[key] = entries[-1][0]
        for node in now.order if suspects else ():
            for x in node.saved or ():
                if isinstance(x, Tensor) and node.number < suspects.get(id(x.data), 0):
                    name = called(node.primitive.name) if node.primitive is not None else "it"
                    self.say(
                        "data",
                        f"{name} was given a tensor {x.shape} whose values were changed "
                        "afterwards, through x.data, before its backward pass: the gradient is "
                        "that of other values; make a new tensor, or write after backward()",
                        str(node.line),
                    )
        self._seen.clear()


def _some(a: Any) -> bytes | None:
    """A few of an array's values, by which a change is noticed."""
    if not isinstance(a, np.ndarray) or not a.flags.c_contiguous:
        return None
    flat = a.reshape(-1)
    return flat[:: max(1, a.size // 32)].tobytes()
