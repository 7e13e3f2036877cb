"""What a step's arrays and modules are called."""

from __future__ import annotations

from typing import Any

from ..models import Model
from ..nn import Module
from ..tensor import Tensor
from . import where


class Names:
    """Names by path: those of the outermost module that is running, as it is called where it runs.

    Parameters of a tinygen model have their path in it ("discriminator.6.bias"); those of a module
    that is a variable of the program begin with the variable's name ("D.6.bias").

    Attributes:
        model: what the first module is called.
        labels: for each module that was met, by its path, how it prints: "Dense(784, 400)".
    """

    def __init__(self) -> None:
        self.model = ""
        self.labels: dict[str, str] = {}
        self._paths: dict[int, dict[int, str]] = {}  # by the outermost module: paths of its parts
        self._tensors: dict[int, str] = {}
        self._kept: list[Module] = []  # known by their identity

    def module(self, at: where.Place) -> str:
        """The path of the innermost module that is running, "" for none or the model itself."""
        if not at.modules:
            return ""
        inner = at.modules[-1]
        for outer in at.modules:
            path = self._below(outer, at).get(id(inner))
            if path is not None:
                if path:
                    self.labels.setdefault(path, inner.label())
                return path
        return inner.label()

    def of_tensor(self, x: Tensor, at: where.Place) -> str:
        """The name of a parameter or buffer."""
        for outer in at.modules[:1]:
            self._below(outer, at)
        return self._tensors.get(id(x)) or x.name or ""

    def of_update(self, operation: Any, args: tuple[Any, ...]) -> dict[int, str]:
        """Names for what an optimizer's update reads, by the name of the parameter."""
        p = self._tensors.get(id(args[0])) or args[0].name
        if not p:
            return {}
        more = {
            i: f"{p} {name}" for i, name in enumerate(operation.args)
            if i > 1 and name in operation.mutates
        }  # fmt: skip
        return {1: f"gradient of {p}", **more}

    def _below(self, outer: Module, at: where.Place) -> dict[int, str]:
        """The paths of a module and all in it, by identity."""
        for known in self._paths.values():
            if id(outer) in known:
                return known
        begin = "" if isinstance(outer, Model) else _variable(outer, at.frames)
        self.model = self.model or (outer.name if isinstance(outer, Model) else begin)
        self.model = self.model or type(outer).__name__
        paths = {id(m): _joined(begin, path) for path, m in outer.named_modules().items()}
        for path, x in {**outer.named_parameters(), **outer.named_buffers()}.items():
            self._tensors[id(x)] = _joined(begin, path)
        self._paths[id(outer)] = paths
        self._kept.append(outer)
        return paths


def _joined(*parts: str) -> str:
    return ".".join(p for p in parts if p)


def _variable(module: Module, frames: list[Any]) -> str:
    """The variable that a program calls a module by; "" if there is none."""
    for frame in frames:
        for name, value in list(frame.f_locals.items()):
            if value is module and name != "self" and not name.startswith("_"):
                return str(name)
    return ""
