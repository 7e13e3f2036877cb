"""The rule of softplus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..cases import rule
from ..exercise import Case, Exercise, Wrong


def cases() -> Iterator[Case]:
    def far(a: Any) -> Any:
        x = tg.tensor(np.array([-800.0, -30.0, 30.0, 800.0]))
        return a.gradient(tg.ones((4,), dtype="float64"), x)

    yield from rule(tg.softplus, "gradient", 0, [((4,),), ((2, 3),)])
    yield Case(
        "x = -800, -30, 30, 800", far, lambda: tg.tensor(np.array([0.0, 0.0, 1.0, 1.0])), order=1,
        tolerance=1e-9,
    )  # fmt: skip


EXERCISE = Exercise(
    title="The rule of softplus",
    minutes=5,
    task="""
softplus(x) = log(1 + e^x) is a smooth relu. Write its rule `gradient(g, x)` with operations of
tinygen. It must also be right at x = 800 and at x = -800.
""",
    start="""
import tinygen as tg


def gradient(g, x):
    return g
""",
    reference="""
import tinygen as tg


def gradient(g, x):
    return g * tg.sigmoid(x)
""",
    wrong=(
        Wrong(
            "e^800 is too large for a float, and infinity by infinity is NaN. Divide above and "
            "below by e^x, or look for a function that tinygen has.",
            was="tg.sigmoid(x)", now="(tg.exp(x) / (1 + tg.exp(x)))",
        ),
        Wrong(
            "The slope of log(u) is 1 / u, times the slope of u, which is e^x here.",
            was="tg.sigmoid(x)", now="(1 / (1 + tg.exp(x)))",
        ),
        Wrong(
            "The slope is right, its own slope is not: detach() hides how it depends on x.",
            was="tg.sigmoid(x)", now="tg.sigmoid(x.detach())",
        ),
        Wrong(
            "That is the slope of relu, which softplus only resembles.",
            was="g * tg.sigmoid(x)", now="tg.where(x > 0, g, 0.0)",
        ),
        Wrong(
            "That is the slope of the sigmoid, one derivative too far.",
            was="tg.sigmoid(x)", now="tg.sigmoid(x) * (1 - tg.sigmoid(x))",
        ),
        Wrong(
            "g is not used: what comes from behind has to be passed on.",
            was="g * tg.sigmoid(x)", now="tg.sigmoid(x)",
        ),
        Wrong(
            "Softplus itself is not its slope: differentiate log(1 + e^x).",
            was="tg.sigmoid(x)", now="tg.softplus(x)",
        ),
    ),
    cases=cases,
    questions=(("What is the slope far left, at 0, and far right?", "0, one half, and 1."),),
    hint="The outer slope is 1 / (1 + e^x), the inner one e^x; their product is a function that "
    "has a name.",
    why="e^x / (1 + e^x) is the sigmoid. Written as a quotient it fails for large x, so the engine "
    "has a sigmoid that takes the side on which nothing overflows. A rule is tensor code, and so "
    "its own gradient comes for free.",
    engine=("tinygen/ops/elementwise.py", "softplus.vjp(x=lambda g, x: g * sigmoid(x))"),
)  # fmt: skip
