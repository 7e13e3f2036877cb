"""A standard deviation that has a slope where all entries are equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Finding, Wrong

UNEVEN = np.array([0.7, -1.9, 3.1, 0.2])


def value(a: Answer, x: Any) -> Any:
    found = a.std(tg.tensor(x))
    return found.detach() if isinstance(found, tg.Tensor) else found


def slope(a: Answer, x: Any) -> Any:
    leaf = tg.tensor(x, requires_grad=True)
    found = a.std(leaf)
    if not found.requires_grad:
        raise Finding("it carries no gradient: it was computed without tensors, or detached")
    return tg.grad(found, [leaf])[0]


def finite(a: Answer, x: Any) -> list[bool]:
    return [bool(v) for v in np.isfinite(slope(a, x).numpy())]


def cases() -> Iterator[Case]:
    near = 1e-5
    yield Case(
        "an uneven x", lambda a: value(a, UNEVEN), lambda: tg.tensor(np.std(UNEVEN)),
        tolerance=near,
    )  # fmt: skip
    centred = UNEVEN - UNEVEN.mean()
    yield Case(
        "the gradient of an uneven x", lambda a: slope(a, UNEVEN),
        lambda: tg.tensor(centred / 4 / np.std(UNEVEN)), tolerance=near, order=1,
    )  # fmt: skip
    yield Case("x all 2, whether the gradient is finite", lambda a: finite(a, np.full(3, 2.0)))
    yield Case("the gradient, x all 2", lambda a: slope(a, np.full(3, 2.0)), order=1)
    yield Case("x all 0", lambda a: slope(a, np.zeros(3)), order=1)
    yield Case(
        "a spread of 0.01", lambda a: value(a, 0.01 * UNEVEN),
        lambda: tg.tensor(0.01 * np.std(UNEVEN)), tolerance=near,
    )  # fmt: skip
    yield Case(
        "the gradient at a spread of 0.01", lambda a: slope(a, 0.01 * UNEVEN), tolerance=0.01
    )


EXERCISE = Exercise(
    title="A standard deviation at 0",
    minutes=8,
    task="""
Write `std(x)`: the root of the mean square of x minus its mean, with tg.sqrt. Where all entries are
equal the root has an infinite slope, and the gradient is NaN or infinite: make it finite there, and
change the value elsewhere by less than 0.00001, also where the spread is 0.01.
""",
    start="""
import tinygen as tg


def std(x):
    centred = x - tg.mean(x)
    return tg.sqrt(tg.mean(centred * centred))
""",
    reference="""
import tinygen as tg


def std(x):
    centred = x - tg.mean(x)
    return tg.sqrt(tg.mean(centred * centred) + 1e-12)
""",
    wrong=(
        Wrong(
            "The small number comes too late: behind the root its slope is infinite already.",
            was="tg.sqrt(tg.mean(centred * centred) + 1e-12)",
            now="tg.sqrt(tg.mean(centred * centred)) + 1e-6",
        ),
        Wrong(
            "That number is not small: where the spread is 0.01, it counts more than the data.",
            was="1e-12", now="1e-3",
        ),
        Wrong(
            "The squares are missing: distances to both sides cancel, and their mean is 0.",
            was="centred * centred", now="centred",
        ),
        Wrong(
            "The mean is not taken off: that is the root mean square.",
            was="x - tg.mean(x)", now="x",
        ),
        Wrong(
            "A mean is wanted under the root, not a sum.",
            was="tg.mean(centred * centred)", now="tg.sum(centred * centred)",
        ),
        Wrong(
            "The root is missing: that is the variance, and it has no kink.",
            was="tg.sqrt(tg.mean(centred * centred) + 1e-12)", now="tg.mean(centred * centred)",
        ),
        Wrong(
            "The mean of the distances is another measure of spread.",
            was="tg.sqrt(tg.mean(centred * centred) + 1e-12)", now="tg.mean(tg.abs(centred))",
        ),
    ),
    cases=cases,
    questions=(
        ("With 1e-12 under the root: what does std give for equal entries?",
         "0.000001, the root of 1e-12; that is the price."),
    ),
    hint="The slope of the root at u is 1 / (2 sqrt(u)): see that u is never 0.",
    why="At 0 the root is infinitely steep, and what flows back into it is 0: infinity times 0 is "
    "NaN. A small number under the root bounds the slope. tg.std needs none: its root is guarded, "
    "and its slope at that place is 0, as the table of conventions says.",
    engine=("tinygen/conventions.py", 'Convention("std"'),
)  # fmt: skip
