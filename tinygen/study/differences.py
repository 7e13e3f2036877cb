"""Slopes against differences of the result, and the kinks on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..differentiate import grad
from ..graph import recording
from ..tensor import Tensor, tensor
from .formula import references, spoken
from .tape import Step, Tape, Variable, _plain

AGREES, KINK, SINGULAR = "agrees", "kink", "too close to a singular point"
DISAGREES = "DISAGREES"
WORST = (AGREES, KINK, SINGULAR, DISAGREES)
ELEMENTS = 12  # an array of so many is checked element by element, a larger one along a direction
STEPS = (3e-4, 3e-6, 3e-8)  # a smaller one only where the result bends within the larger
CLOSE = 1e-5  # relative to the largest slope of the array
NOISE = 1e-13  # of the result's own rounding, relative to it
BENT = 1e-3  # slopes to the left and to the right that differ by more are not the same


def check(tape: Tape, variable: Variable, seed: int = 0) -> None:
    """Give the variable its difference and a verdict: one of WORST.

    The difference is (8 [f(x+h) - f(x-h)] - [f(x+2h) - f(x-2h)]) / 12h with h = 3e-4 max(1, |x|).
    Where it is not the slope, h is divided by 100, twice at most: two differences that are equal
    and not the slope disagree. If the slopes on both sides differ even then, any slope between them
    is right at this kink; if the differences do, the point is too close to a singular one.
    """
    if variable.tensor is None or variable.slope is None or not variable.value.size:
        return
    value, slope = variable.value, variable.slope
    steps = tape.after(variable)
    directions = [np.zeros(value.shape) for _ in range(value.size if value.size <= ELEMENTS else 0)]
    for k, d in enumerate(directions):
        d.flat[k] = 1.0
    if not directions:
        directions = [np.random.default_rng(seed).standard_normal(value.shape)]
    largest = float(np.max(np.abs(slope)))
    numbers, verdicts = [], []
    with np.errstate(all="ignore"), references():
        for d in directions:

            def along(t: float, d: Any = d) -> float:
                return tape.result(variable, value + t * d, steps)

            wanted = float(np.sum(slope[d != 0] * d[d != 0]))
            size = max(1.0, float(np.max(np.abs(value[d != 0]))))
            scale = abs(wanted) if value.size > ELEMENTS else largest
            number, verdict = compare(along, wanted, scale, size)
            numbers.append(number)
            verdicts.append(verdict)
    variable.verdict = max(verdicts, key=WORST.index)
    if value.size <= ELEMENTS:
        variable.difference = np.array(numbers).reshape(value.shape)
    else:
        variable.difference, variable.along = np.array(numbers[0]), wanted


def compare(
    f: Callable[[float], float], slope: float, scale: float, size: float
) -> tuple[float, str]:
    """The difference of f at 0, and what it says of the slope."""
    here = f(0.0)
    numbers: list[float] = []
    for step in STEPS:
        h = step * size
        noise = NOISE * max(1.0, abs(here)) / h
        f1, b1, f2, b2 = f(h), f(-h), f(2 * h), f(-2 * h)
        number = (8 * (f1 - b1) - (f2 - b2)) / (12 * h)
        numbers.append(number)
        near = CLOSE * max(scale, abs(number)) + noise
        if abs(slope - number) <= near:
            return number, AGREES
        left, right = (3 * here - 4 * b1 + b2) / (2 * h), (4 * f1 - f2 - 3 * here) / (2 * h)
        bent = abs(right - left) > BENT * abs(number) + 10 * noise
        if len(numbers) > 1 and not bent and abs(number - numbers[-2]) <= near:
            return number, DISAGREES
    edge = BENT * max(abs(left), abs(right)) + 10 * noise
    steady = abs(numbers[-1] - numbers[-2]) <= BENT * abs(numbers[-1]) + 10 * noise
    if steady and bent and min(left, right) - edge <= slope <= max(left, right) + edge:
        return numbers[-1], KINK
    if steady and np.isfinite(slope):
        return numbers[-1], DISAGREES
    return numbers[-1], SINGULAR


# ---- notes ---------------------------------------------------------------------------------------


def notes(tape: Tape) -> list[str]:
    """What is to be said of calls at whose arguments an operation has a kink."""
    found = []
    with np.errstate(all="ignore"), references():
        for step in tape.steps:
            if step.static.get("straight_through"):
                found.append(
                    f"{spoken(step.operation.name)}: straight_through takes the slope 0 for 1"
                )
            elif len(step.outs) == 1 and not step.operation.traits.draws:
                found += _kinks(step)
    return list(dict.fromkeys(found))


def _kinks(step: Step) -> list[str]:
    """The kink of an operation in the first argument that has one at its value."""
    for i, (x, flows) in enumerate(step.refs):
        pointwise = step.operation.traits.pointwise
        if not flows or step.operation.arg(i) in step.operation.nondiff:
            continue
        if (not pointwise and x.value.size > ELEMENTS) or not x.value.size:
            continue
        shape = step.outs[0].value.shape if pointwise else x.value.shape
        value = np.array(np.broadcast_to(x.value, shape))
        first, again = (_sides(step, i, value, 1e-7), _sides(step, i, value, 1e-8))
        bent = np.abs(first[1] - first[0])
        limit = BENT * (1 + np.minimum(np.abs(first[0]), np.abs(first[1])))
        kinked = (bent > limit) & (np.abs(again[1] - again[0]) > bent / 2)
        if not kinked.any():
            continue
        k = int(np.argmax(kinked))
        left, right = (float(s.flat[k]) for s in again)
        some = f" ({int(kinked.sum())} of {kinked.size} elements)" if kinked.size > 1 else ""
        at = f"{spoken(step.operation.name)} at {x.name} = {value.flat[k]:.6g}{some}"
        if max(abs(left), abs(right)) > 1e5:
            return [f"jump: {at}"]
        takes = float(_rule(step, i, value).flat[k])
        return [
            f"kink: {at}: slopes {_plainly(left)} and {_plainly(right)}, the rule takes "
            f"{_plainly(takes)} (tg.conventions())"
        ]
    return []


def _plainly(x: float) -> str:
    return f"{round(x, 5) + 0.0:.4g}"


def _call(step: Step, i: int, x: Tensor) -> Tensor:
    args = [_plain(v) for v, _ in step.refs]
    return step.operation(*args[:i], x, *args[i + 1 :], **step.static)


def _sides(step: Step, i: int, value: Any, h: float) -> tuple[Any, Any]:
    """The slopes of the call in each element of argument i, from the left and from the right."""

    def at(moved: Any) -> Any:
        with recording(False):
            return _call(step, i, tensor(moved)).numpy()

    by = h * (1 + np.abs(value))
    if step.operation.traits.pointwise:
        here = at(value)
        return (here - at(value - by)) / by, (at(value + by) - here) / by
    left, right = np.zeros(value.shape), np.zeros(value.shape)
    here = at(value)
    for k in np.ndindex(value.shape):
        d = np.zeros(value.shape)
        d[k] = by[k]
        left[k] = (here - at(value - d)).sum() / by[k]
        right[k] = (at(value + d) - here).sum() / by[k]
    return left, right


def _rule(step: Step, i: int, value: Any) -> Any:
    leaf = tensor(value, requires_grad=True)
    with recording(True):
        y = _call(step, i, leaf)
    return grad(y, leaf, y.ones_like())[0].numpy()
