"""Operations as lines, the programs of which kernels are made.

A line is (operation, operands, static). An operand is ("in", i), an argument; ("line", j), what
line j gave; or a number. The kernels' pointwise.py has the text of a line in each language.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import backend
from .events import Observer, watching
from .graph import recording
from .tensor import Tensor

Program = tuple[Any, ...]


def line(operation: Any, operands: tuple[Any, ...], static: dict[str, Any]) -> tuple[Any, ...]:
    """A call of an operation, with the options that are left out at their defaults."""
    options = {**operation.defaults, **static}
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in options.items()}
    return (operation.name, operands, tuple(sorted(plain.items())))


def one_line(operation: Any) -> Callable[..., Program]:
    """A function of an operation's options that gives its program: itself."""
    operands = tuple(("in", i) for i in range(len(operation.args)))
    return lambda **static: (line(operation, operands, static),)


def of_body(operation: Any) -> Callable[..., Program]:
    """A function of a fused operation's options that gives its program: what its body calls.

    The body runs when a program is first asked, on arrays of one element. So its calls must be the
    same for all shapes, and the last must give the result.
    """
    found: dict[str, Program] = {}

    def program(**static: Any) -> Program:
        key = repr(sorted(static.items()))
        if key not in found:
            found[key] = _heard(operation, static)
        return found[key]

    return program


class _Lines(Observer):
    """Keeps the calls that it hears of as lines."""

    of_the_step = True

    def __init__(self, name: str, arrays: list[Any]) -> None:
        self.name = name
        self.lines: list[Any] = []
        self._met = arrays  # kept alive: they are known by their identity
        self.place: dict[int, Any] = {id(a): ("in", i) for i, a in enumerate(arrays)}

    def opens(self, operation: Any) -> bool:
        return True

    def called(
        self, operation: Any, args: tuple[Any, ...], static: dict[str, Any], out: Any
    ) -> None:
        operands = tuple(self.operand(x) if isinstance(x, Tensor) else x for x in args)
        self.place[id(out)] = ("line", len(self.lines))
        self._met.append(out)
        self.lines.append(line(operation, operands, static))

    def operand(self, x: Tensor) -> Any:
        """Where a tensor came from; ValueError if from outside."""
        if id(x.data) not in self.place:
            raise ValueError(
                f"{self.name}: its body reads a tensor {x.shape} that is neither an argument nor "
                "made from them; no kernel can be made of it"
            )
        return self.place[id(x.data)]


def _heard(operation: Any, static: dict[str, Any]) -> Program:
    backend.get("numpy")  # loads it: wherever the kernel is for, the lines are the same
    arrays = [np.ones(1, np.float32) for _ in operation.args]
    heard = _Lines(operation.name, list(arrays))
    with recording(False), watching(heard, alone=True):
        out = operation.body(*map(Tensor, arrays), **static)
    if heard.operand(out) != ("line", len(heard.lines) - 1):
        raise ValueError(f"{operation.name}: the last call of its body does not give its result")
    return tuple(heard.lines)
