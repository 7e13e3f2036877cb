"""What the checks share: the mistakes by name, what they receive, which operation made an array."""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph import Node
from ...tensor import Tensor

if TYPE_CHECKING:
    from ..coach import Coach

# Each mistake, and where it is explained.
MISTAKES = {
    "zero_grad": "examples/steps/08_regression.py",
    "detach": "examples/steps/14_gan.py",
    "all_pairs": "examples/steps/05_shapes.py",
    "softmax": "examples/steps/10_classifier.py",
    "sigmoid": "examples/steps/14_gan.py",
    "first_loss": "examples/steps/10_classifier.py",
    "range": "examples/steps/11_autoencoder.py",
    "rate": "examples/steps/09_optimizers.py",
    "dropout": "tinygen.nn.Dropout",
    "batch_norm": "tinygen.losses.gradient_penalty",
    "dead": "examples/steps/06_kinks.py",
    "flat": "examples/steps/06_kinks.py",
    "idle": "examples/steps/08_regression.py",
    "number": "examples/steps/02_tensors.py",
    "data": "examples/steps/02_tensors.py",
    "held": "examples/steps/08_regression.py",
}


@dataclass
class Pass:
    """A backward pass that begins."""

    outputs: Any
    order: list[Node]  # the nodes below, the last made first
    targets: Any
    fills: bool  # it adds to .grad
    line: str

    @cached_property
    def leaves(self) -> list[Node]:
        """The leaves whose .grad it adds to."""
        if not self.fills:
            return []
        below = (n for n in self.order if n.primitive is None)
        return [n for n in below if self.targets is None or n in self.targets]


class Check:
    """Looks for one kind of mistake; see Coach for the events."""

    operations: tuple[str, ...] = ()  # whose calls it looks at
    every = False  # at all of them

    def __init__(self, coach: Coach) -> None:
        self.say = coach.say
        self.line = coach.line

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        pass

    def walking_back(self, now: Pass) -> None:
        pass

    def stepping(self, optimizer: Any, grads: Any) -> None:
        pass

    def changing(self, owner: Any) -> None:
        pass

    def reading(self) -> None:
        pass

    def finish(self) -> None:
        pass


def layer() -> Any:
    """The layer in whose forward an operation is called, or None."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name == "forward" and "self" in frame.f_locals:
            return frame.f_locals["self"]
        if not frame.f_globals.get("__name__", "").startswith("tinygen."):
            return None
        frame = frame.f_back
    return None


def in_a_network(kind: str, recorded: bool) -> bool:
    """Whether the operation is called by a layer of this kind that is a part of more."""
    frame: Any = sys._getframe(2)
    layers: list[str] = []
    while frame is not None and len(layers) < 2:
        if frame.f_code.co_name == "forward" and "self" in frame.f_locals:
            layers.append(type(frame.f_locals["self"]).__name__)
        frame = frame.f_back
    return layers[:1] == [kind] and (recorded or len(layers) == 2)


class Made(Check):
    """Remembers which operation made an array, for the few where it matters."""

    makers: tuple[str, ...] = ()

    def __init__(self, coach: Coach) -> None:
        super().__init__(coach)
        self._made: dict[int, tuple[Any, str]] = {}

    def remember(self, name: str, out: Any) -> None:
        if len(self._made) > 1000:
            self._made = {k: e for k, e in self._made.items() if e[0]() is not None}
        if isinstance(out, np.ndarray):
            self._made[id(out)] = weakref.ref(out), name

    def maker(self, x: Any) -> str:
        """The operation that made x, "" if it is none of the makers."""
        found = self._made.get(id(x.data)) if isinstance(x, Tensor) else None
        return found[1] if found is not None and found[0]() is x.data else ""
