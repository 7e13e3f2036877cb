"""Mistakes of shapes, losses and ranges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from ...events import state
from ...tensor import Tensor
from .base import Made

if TYPE_CHECKING:
    from ..coach import Coach


class AllPairs(Made):
    """A column (n, 1) against a row (n,): a table of all pairs.

    A table that is meant is written as such: x[:, None] - x, or (n, 1) against (1, n).
    """

    operations = (
        "add", "sub", "mul", "div", "maximum", "minimum", "reshape", "expand_dims", "basic_slice",
        "getitem",
    )  # fmt: skip

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        if out.ndim != 2 or out.shape[0] < 2:
            return
        if len(args) == 1:
            if out.shape[1] == 1 and args[0].ndim == 1:  # a column made of a row, here
                self.remember(operation.name, out)
        elif out.shape[0] == out.shape[1]:
            x, y = (getattr(a, "shape", ()) for a in args)
            n = len(out)
            if {x, y} != {(n,), (n, 1)} or self.maker(args[len(x) == 1]):
                return
            self.say(
                "all_pairs",
                f"{operation.name} of {x} and {y} gives {out.shape}, a table of all pairs; for "
                f"pair by pair reshape(-1) the column; for a table write the row as (1, {n})",
            )


class Twice(Made):
    """A softmax before a loss that takes logits, or a sigmoid."""

    operations = (
        "softmax", "log_softmax", "sigmoid", "bce_logits_terms", "softplus", "reshape", "neg",
    )  # fmt: skip

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        name, before = operation.name, self.maker(args[0])
        if name in ("reshape", "neg"):
            if before:
                self.remember(before, out)
            return
        if name in ("softmax", "log_softmax") and before == "softmax":
            self.say(
                "softmax",
                f"{name} of what softmax made: cross_entropy takes logits, the last layer's output "
                "as it is; leave the softmax out",
            )
        elif name in ("bce_logits_terms", "softplus") and before == "sigmoid":
            self.say(
                "sigmoid",
                "a loss on logits was given what sigmoid made; leave the sigmoid out, or use it "
                "only to look at probabilities",
            )
        if out is not None and name in ("softmax", "sigmoid"):
            self.remember(name, out)


class FirstLoss(Made):
    """The first cross-entropy of a training is far above log(classes), that of a guess."""

    operations = ("log_softmax", "where")

    def __init__(self, coach: Coach) -> None:
        super().__init__(coach)
        self._lines: set[str] = set()

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        if operation.name == "log_softmax":
            self.remember("log_softmax", out)
            return
        if not self.maker(args[1]) or args[1].node is None or not state.recording or not out.ndim:
            return
        line = self.line()
        if line in self._lines:
            return
        self._lines.add(line)
        classes, loss = out.shape[-1], -float(out.sum()) * out.shape[-1] / max(out.size, 1)
        guess = math.log(max(classes, 2))
        if loss > 2 * guess + 2:
            self.say(
                "first_loss",
                f"the first loss of {classes} classes is {loss:.3g}, that of a guess log({classes})"
                f" = {guess:.3g}: the logits are too large; scale the inputs, 0..255 by 1 / 255, "
                "or the first weights",
                line,
            )


class Range(Made):
    """A target outside of what the last layer can give: images 0..255 against a sigmoid."""

    operations = ("tanh", "sigmoid", "sub", "gaussian_nll_terms", "reshape")
    ends: ClassVar[dict[str, float]] = {"tanh": -1.0, "sigmoid": 0.0}

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        name = operation.name
        if name in self.ends:
            if state.recording:
                self.remember(name, out)
            return
        if name == "reshape":
            if self.maker(args[0]):
                self.remember(self.maker(args[0]), out)
            return
        for x, y in ((args[0], args[1]), (args[1], args[0])):
            before = self.maker(x)
            if before and isinstance(y, Tensor) and y.node is None and y.shape == x.shape:
                self._compare(before, y.data)

    def _compare(self, before: str, target: Any) -> None:
        if target.dtype.kind != "f" or not target.size:
            return
        low, high = float(target.min()), float(target.max())
        if low < self.ends[before] - 0.5 or high > 1.5:
            self.say(
                "range",
                f"the target goes from {low:g} to {high:g}, and {before} gives "
                f"{self.ends[before]:g} to 1, never that; scale the images to that range, "
                "or take another last layer",
            )
