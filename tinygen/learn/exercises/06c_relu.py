"""The rule of relu, at its kink too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..cases import rule
from ..exercise import Answer, Case, Exercise, Wrong


def cases() -> Iterator[Case]:
    def at(a: Answer, x: list[float], g: list[float]) -> Any:
        return a.gradient(tg.tensor(np.array(g)), tg.tensor(np.array(x)))

    yield from rule(tg.relu, "gradient", 0, [((6,),), ((2, 3),)], order=1)
    yield Case(
        "x = 0", lambda a: at(a, [0.0, -0.0], [0.7, 0.7]), lambda: tg.tensor(np.zeros(2)), order=1
    )
    yield Case("x = 1e-9", lambda a: at(a, [1e-9, -1e-9], [0.7, 0.7]), order=1)
    yield Case(
        "x = -2 where g is infinite", lambda a: at(a, [-2.0, 3.0], [np.inf, 0.7]),
        lambda: tg.tensor(np.array([0.0, 0.7])), order=1,
    )  # fmt: skip


EXERCISE = Exercise(
    title="The kink of relu",
    minutes=5,
    task="""
relu(x) is x where x is positive, else 0. Write its rule `gradient(g, x)`. At x = 0 there is no
slope; the table tg.conventions() says which one is taken. Where relu is flat, nothing may leak, not
even from an infinite g.
""",
    start="""
import tinygen as tg


def gradient(g, x):
    return g
""",
    reference="""
import tinygen as tg


def gradient(g, x):
    return tg.where(x > 0, g, 0.0)
""",
    wrong=(
        Wrong(
            "At 0 both slopes can be argued for, so one was written down: look it up in "
            "tg.conventions().",
            was="x > 0", now="x >= 0",
        ),
        Wrong(
            "0 times infinity is NaN: a mask lets it through, tg.where does not.",
            was="tg.where(x > 0, g, 0.0)", now="g * (x > 0).astype(x.dtype)",
        ),
        Wrong(
            "The slope of x is 1, not x: g passes as it is.",
            was="tg.where(x > 0, g, 0.0)", now="tg.relu(x) * g",
        ),
        Wrong(
            "relu of g is something else: it is x that decides, not the sign of g.",
            was="tg.where(x > 0, g, 0.0)", now="tg.relu(g)",
        ),
        Wrong(
            "g is not used: what comes from behind has to be passed on.",
            was="g, 0.0", now="tg.ones(x.shape, dtype=x.dtype), 0.0",
        ),
        Wrong(
            "Left of 0 relu is flat; its slope there is 0, not -1: that is abs.",
            was="0.0)", now="-g)",
        ),
        Wrong(
            "It lets through where relu is flat, and holds where it is steep.",
            was="x > 0", now="x < 0",
        ),
    ),
    cases=cases,
    questions=(
        ("A neuron gives 0 for all images. What does it learn?",
         "Nothing: its slope is 0 for each, so its weights stay. It is called dead."),
    ),
    hint="tg.where(condition, one, other) selects, number by number.",
    why="At a kink any slope between those of both sides can be taken; what matters is that it is "
    "written down, the same in every kernel. Selecting, not multiplying, keeps infinity and NaN on "
    "their own side.",
    engine=("tinygen/ops/elementwise.py", "relu.vjp(x=lambda g, ans: where(ans > 0, g, 0.0))"),
)  # fmt: skip
