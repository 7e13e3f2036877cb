"""Mistakes in the training loop: zero_grad, detach, the rate, parameters, totals."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from ...callsite import user_line
from ...events import clock, state
from ...graph import Node
from ...nn.module import Parameter
from ...tensor import Tensor
from .base import Check, Pass

if TYPE_CHECKING:
    from ..coach import Coach


class ZeroGrad(Check):
    """A step by gradients that were added to those of an earlier step.

    Gradients that are added up on purpose, over parts of a batch, were in no step before; those of
    a discriminator that the generator's pass adds to are cleared before its next step.
    """

    def __init__(self, coach: Coach) -> None:
        super().__init__(coach)
        self._used: weakref.WeakKeyDictionary[Node, Any] = weakref.WeakKeyDictionary()
        self._added: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()

    def walking_back(self, now: Pass) -> None:
        for leaf in now.leaves:
            used = self._used.get(leaf)
            if leaf.grad is None:
                self._added.pop(leaf, None)
            elif used is not None and used() is leaf.grad:
                self._added[leaf] = now.line

    def stepping(self, optimizer: Any, grads: Any) -> None:
        for p, g in zip(optimizer.params, grads, strict=True):
            if g is None or p.node is None or g is not p.node.grad:
                continue
            self._used[p.node] = weakref.ref(g)
            line = self._added.pop(p.node, "")
            if line:
                self.say(
                    "zero_grad",
                    f"backward adds to gradients that {type(optimizer).__name__}.step has used "
                    "already: slopes of all steps add up; call optimizer.zero_grad() before "
                    "backward()",
                    line,
                )


class Detach(Check):
    """A pass fills gradients of an optimizer that takes no step, behind those of one that does.

    Behind means that a layer of the one works on what the other made. A generator's pass fills the
    gradients of the discriminator, too, but those lie before it and not behind.
    """

    every = True

    def __init__(self, coach: Coach) -> None:
        super().__init__(coach)
        self._parameters: weakref.WeakKeyDictionary[Node, Any] = weakref.WeakKeyDictionary()
        self._behind: dict[Any, set[Any]] = {}  # of the last pass: claim -> claims behind it
        self._stepped: set[Any] = set()
        self._before: tuple[str, list[Any]] = ("", [])

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        for x in args:
            if x.__class__ is Parameter and x.node is not None:
                self._parameters[x.node] = weakref.ref(x)

    def walking_back(self, now: Pass) -> None:
        if not now.fills:
            return
        self.finish()
        claims = {}
        for leaf in now.leaves:
            parameter = self._parameters.get(leaf, lambda: None)()
            if parameter is not None and parameter.claim is not None:
                claims[leaf] = parameter.claim
        if len(set(claims.values())) < 2:
            return
        made_of: dict[Node, frozenset[Any]] = {}
        for node in reversed(now.order):
            if node in claims:
                made_of[node] = frozenset((claims[node],))
                continue
            parents = [p for p in node.parents if p is not None]
            sets = {made_of.get(p, frozenset()) for p in parents}
            made_of[node] = next(iter(sets)) if len(sets) == 1 else frozenset().union(*sets)
            for own in {claims[p] for p in parents if p in claims}:
                others = (made_of.get(p, frozenset()) for p in parents if p not in claims)
                self._behind.setdefault(own, set()).update(*(o - {own} for o in others))
        names = [p.name or "a parameter" for p in map(self._known, claims) if p is not None]
        self._before = now.line, names

    def _known(self, leaf: Node) -> Any:
        return self._parameters.get(leaf, lambda: None)()

    def stepping(self, optimizer: Any, grads: Any) -> None:
        self._stepped.add(optimizer._claim)

    def finish(self) -> None:
        wasted = {b for a in self._stepped for b in self._behind.get(a, ())} - self._stepped
        if wasted:
            self.say(
                "detach",
                "this pass also filled the gradients of another optimizer's parameters, which then "
                "took no step: they are computed for nothing, or added to its next pass. If it is "
                "the discriminator's, give it D(fake.detach())",
                self._before[0],
            )
        self._behind, self._stepped = {}, set()


class Rate(Check):
    """A loss grows ten thousand times above its first value, or is not finite.

    A loss that has been negative, as a critic's score, has no scale and may grow. Before the first
    step of an optimizer nothing is trained: a lesson on NaN.
    """

    def __init__(self, coach: Coach) -> None:
        super().__init__(coach)
        self._trains = False
        self._courses: weakref.WeakKeyDictionary[Node, dict[str, list[float]]] = (
            weakref.WeakKeyDictionary()
        )

    def stepping(self, optimizer: Any, grads: Any) -> None:
        self._trains = True

    def walking_back(self, now: Pass) -> None:
        if not now.leaves or now.outputs[0].size != 1:
            return
        loss = now.outputs[0]
        if not isinstance(loss.data, np.ndarray):
            return
        value = loss.data.item()
        at = f"{now.line} {loss.node.line}"
        course = self._courses.setdefault(now.leaves[-1], {}).setdefault(
            at, [value, value, value, 0]
        )
        first, least, last, said = course
        cure = "the learning rate is probably too high: divide it by 10"
        if not math.isfinite(value):
            if self._trains and not said:
                grown = f"; {cure}" if math.isfinite(first) else ""
                self.say(
                    "rate",
                    f"the loss is {value:g} (the step before {last:.3g}, at first {first:.3g})"
                    f"{grown}; tg.testing.finite_checks() around the step names the operation",
                    now.line,
                )
            course[3] = self._trains
            return
        if self._trains and least > 0 and value > 1e4 * max(first, 0.1):
            self.say("rate", f"the loss was {first:.3g} and is {value:.3g}; {cure}", now.line)
            course[3] = 1
        course[1:3] = min(least, value), value


class Idle(Check):
    """A parameter that gets no gradient in ten steps of its optimizer; frozen ones need none."""

    def __init__(self, coach: Coach) -> None:
        super().__init__(coach)
        self._seen: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()

    def stepping(self, optimizer: Any, grads: Any) -> None:
        seen = self._seen.setdefault(optimizer, [0, None, self.line()])
        if seen[0] > 10:
            return
        named = zip(optimizer._named.items(), grads, strict=True)
        idle = {name for (name, p), g in named if g is None and p.requires_grad}
        seen[0] += 1
        seen[1] = idle if seen[1] is None else seen[1] & idle
        if seen[0] == 10:
            self._tell(optimizer, seen)

    def finish(self) -> None:
        for optimizer, seen in self._seen.items():
            if 3 <= seen[0] < 10:
                self._tell(optimizer, seen)

    def _tell(self, optimizer: Any, seen: list[Any]) -> None:
        if seen[1]:
            names = ", ".join(repr(name) for name in sorted(seen[1])[:3])
            self.say(
                "idle",
                f"{type(optimizer).__name__}.step: no gradient in {seen[0]} steps for {names}: no "
                "loss depends on it; use its layer, or give the optimizer the others alone",
                seen[2],
            )


class Held(Check):
    """`total += loss` over steps: each total holds the graphs of all steps before."""

    operations = ("add",)

    def __init__(self, coach: Coach) -> None:
        super().__init__(coach)
        self._updated = 0

    def stepping(self, optimizer: Any, grads: Any) -> None:
        self._updated = next(clock)

    def called(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        if out.size != 1 or not self._updated or not state.recording:
            return
        for x in args:
            node = x.node if isinstance(x, Tensor) else None
            if (
                node is not None
                and node.primitive is operation
                and node.number < self._updated
                and node.line == user_line()
            ):
                self.say(
                    "held",
                    "this sum holds the graphs of all steps before, and the memory of them grows; "
                    "add loss.item() for a report",
                )
