"""Mistakes with layers: dropout and norms in the wrong place, units without a slope."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ...events import state
from .base import Check, Pass, in_a_network, layer

if TYPE_CHECKING:
    from ..coach import Coach


class DropoutOn(Check):
    """Values are read of a pass with dropout on from which no backward pass begins.

    A generator's dropout is on in the step of the discriminator as well; a backward pass follows.
    """

    operations = ("dropout",)

    def __init__(self, coach: Coach) -> None:
        super().__init__(coach)
        self._open: dict[str, bool] = {}  # lines since the last backward pass: was a value read?

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        if not in_a_network("Dropout", args[0].node is not None):
            return
        line = self.line()
        if self._open.get(line):
            self._tell(line)
        self._open.setdefault(line, False)

    def reading(self) -> None:
        if self._open:
            self._open = dict.fromkeys(self._open, True)

    def walking_back(self, now: Pass) -> None:
        self._open.clear()

    def finish(self) -> None:
        for line, read in self._open.items():
            if read:
                self._tell(line)

    def _tell(self, line: str) -> None:
        self.say(
            "dropout",
            "dropout is on, and nothing is trained: call net.eval() before measuring, and "
            'net.train() after; if chance is meant here, tg.coach(leave_out=("dropout",))',
            line,
        )


class BatchNormInPenalty(Check):
    """BatchNorm in a critic whose slope is penalised: a score depends on the whole batch."""

    operations = ("update_running",)

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        frame: Any = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_name == "_slope_squared":
                self.say(
                    "batch_norm",
                    "BatchNorm in a critic whose slope is penalised: each score depends on the "
                    "whole batch; take nn.LayerNorm, nn.GroupNorm or no norm",
                )
                return
            frame = frame.f_back


class Saturated(Check):
    """Twenty calls in a row: a layer's relu gives nothing but 0; or tanh, sigmoid only their ends.

    Only what a gradient flows through counts; relu of a difference is a hinge, which may be 0. Of
    tanh and sigmoid the first calls count: trained images are black and white.
    """

    operations = ("relu", "tanh", "sigmoid")
    calls = 20

    def __init__(self, coach: Coach) -> None:
        super().__init__(coach)
        self._runs: dict[Any, int] = {}  # calls in a row; -1 for a tanh that was not flat once

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        node = args[0].node
        if node is None or not state.recording or out.ndim < 2 or out.shape[-1] < 2:
            return
        if not isinstance(out, np.ndarray) or out.size < 8:
            return
        name = operation.name
        if name == "relu":
            made = node.primitive.name if node.primitive is not None else ""
            flat = made != "sub" and not out.reshape(-1)[:64].any() and not out.any()
        else:
            some = out.reshape(-1)[:: max(1, out.size // 256)]
            ends = np.abs(some if name == "tanh" else 2 * some - 1) > 0.999
            flat = bool(ends.mean() > 0.9)
        if not flat and name == "relu" and not self._runs:
            return
        key = (name, self.line(), out.shape[1:], id(layer()))
        run = self._runs.get(key, 0)
        if not flat:
            self._runs[key] = 0 if name == "relu" else -1
        elif run >= 0:
            self._runs[key] = run + 1
            if run + 1 == self.calls:
                self._tell(name, out.size)

    def _tell(self, name: str, size: int) -> None:
        if name == "relu":
            self.say(
                "dead",
                f"relu: all {size} results are 0, {self.calls} calls in a row, so no gradient "
                "passes; a smaller learning rate, other first weights, or nn.LeakyReLU",
            )
        else:
            self.say(
                "flat",
                f"{name}: over 90 % of {size} results are within 0.001 of an end, where the slope "
                "is about 0, from the first call on; make what goes in smaller",
            )
