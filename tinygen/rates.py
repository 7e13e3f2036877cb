"""Learning rates over the steps of a training: what goes up, stays, and falls."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .nn.module import require

KINDS = ("constant", "linear", "cosine")


def at_least_0(who: str, **values: float) -> None:
    """ValueError for a number that is negative or not finite."""
    for name, value in values.items():
        require(who, name, value, 0 <= value < math.inf, "a finite number >= 0")


def _check(who: str, kind: str, hold: float) -> None:
    require(who, "kind", kind, kind in KINDS, f"one of {', '.join(KINDS)}")
    require(who, "hold", hold, 0 <= hold < 1, "a share of the steps, 0 <= hold < 1")


@dataclass(frozen=True)
class Schedule:
    """The learning rate as a pure function of the step: warm-up, then constant or decaying.

    For step < warmup: lr (step + 1) / warmup. After it lr, up to the step where the decay begins,
    the larger of warmup and hold * steps. From there, with f running from 0 to 1 at `steps`:
    lr (constant), lr + (final - lr) f (linear), final + (lr - final) (1 + cos(pi f)) / 2 (cosine);
    beyond `steps`, final.

        optimizer.lr = schedule.lr_at(step)

    There is no state but the step: a training that knows its step goes on where it was.

    Args:
        lr: the largest rate, >= 0.
        kind: "constant", "linear" or "cosine".
        steps: steps in all, warm-up included; needed unless constant.
        warmup: steps of warm-up, >= 0.
        final: the rate at the end of the decay, >= 0.
        hold: the share of the steps before the decay, in [0, 1).

    Raises:
        ValueError: an unknown kind, or a number out of its range.

    Source: Loshchilov and Hutter, 2017, equation 5, without restarts (cosine); a rate that is held
    before it falls: Zhai et al., 2022, section 3.5 ("Scaling vision transformers").
    """

    lr: float
    kind: str = "constant"
    steps: int | None = None
    warmup: int = 0
    final: float = 0.0
    hold: float = 0.0

    def __post_init__(self) -> None:
        _check("Schedule", self.kind, self.hold)
        at_least_0("Schedule", lr=self.lr, warmup=self.warmup, final=self.final)
        ends = self.steps is not None and self.steps > self.warmup
        require("Schedule", "steps", self.steps, ends or self.kind == "constant",
                 f"more than the warm-up of {self.warmup} for a {self.kind} decay")  # fmt: skip

    def lr_at(self, step: int) -> float:
        """The learning rate of step number `step`, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.kind == "constant" or self.steps is None:
            return self.lr
        begins = max(self.warmup, self.hold * self.steps)
        f = min(1.0, max(0.0, (step - begins) / (self.steps - begins)))
        if self.kind == "linear":
            return self.lr + (self.final - self.lr) * f
        return self.final + (self.lr - self.final) * (1 + math.cos(math.pi * f)) / 2


@dataclass(frozen=True)
class Course:
    """A Schedule before the rate and the number of steps are known; what a model says of itself.

        Course("linear", warmup=200, hold=0.7, final=0.02).over(lr=1e-3, steps=20_000)

    Args:
        kind, warmup, hold: as those of Schedule.
        final: what is left of the rate at the end of the decay, a share of it in [0, 1].

    Raises:
        ValueError: an unknown kind, or a number out of its range.
    """

    kind: str = "constant"
    warmup: int = 0
    hold: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        _check("Course", self.kind, self.hold)
        at_least_0("Course", warmup=self.warmup)
        require("Course", "final", self.final, 0 <= self.final <= 1, "0 <= final <= 1")

    def over(self, lr: float, steps: int) -> Schedule:
        """The schedule of a training of so many steps that has this rate at its highest."""
        return Schedule(lr, self.kind, steps, self.warmup, self.final * lr, self.hold)
