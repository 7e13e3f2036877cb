"""A step of Newton's method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tinygen as tg

from ..exercise import Case, Exercise, Wrong


def cases() -> Iterator[Case]:
    def valley(x: Any) -> Any:
        return tg.exp(x) + tg.exp(-2 * x)

    for x in (0.7, 2.0, -1.0):
        yield Case(
            f"e^x + e^-2x at {x:g}", lambda a, x=x: a.step(valley, x), order=2, tolerance=1e-6
        )
    yield Case(
        "(x - 3)^2 at 5: the bottom in one step",
        lambda a: a.step(lambda x: (x - 3) ** 2, 5.0), lambda: 3.0, order=2, tolerance=1e-6,
    )  # fmt: skip
    yield Case(
        "x^4 - 2 x^2 at 0.3", lambda a: a.step(lambda x: x**4 - 2 * x**2, 0.3), order=2,
        tolerance=1e-6,
    )  # fmt: skip


EXERCISE = Exercise(
    title="A step of Newton's method",
    minutes=8,
    task="""
Write `step(f, x)`: for a function of one tensor and a number x, one step of Newton's method to
where the slope is 0: x minus the slope by the curvature. Return a Python number.
""",
    start="""
import tinygen as tg


def step(f, x):
    x = tg.tensor(x, requires_grad=True, dtype="float64")
    return x.item()
""",
    reference="""
import tinygen as tg


def step(f, x):
    x = tg.tensor(x, requires_grad=True, dtype="float64")
    (slope,) = tg.grad(f(x), [x], create_graph=True)
    (curvature,) = tg.grad(slope, [x])
    return x.item() - slope.item() / curvature.item()
""",
    wrong=(
        Wrong(
            "A gradient that shall be differentiated again must be recorded: create_graph=True.",
            was=", create_graph=True", now="",
        ),
        Wrong(
            "A minus: where the slope is positive, the bottom lies to the left.",
            was="x.item() - slope", now="x.item() + slope",
        ),
        Wrong(
            "The slope by the curvature, not the other way round.",
            was="slope.item() / curvature.item()", now="curvature.item() / slope.item()",
        ),
        Wrong(
            "f by its slope finds where f is 0. Here the slope shall be 0.",
            was="slope.item() / curvature.item()", now="f(x).item() / slope.item()",
        ),
        Wrong(
            "Multiplied instead of divided: where it curves strongly, the step must be short.",
            was="slope.item() / curvature.item()", now="slope.item() * curvature.item()",
        ),
        Wrong(
            "The absolute value makes it a descent, which is another method: keep the sign.",
            was="/ curvature.item()", now="/ abs(curvature.item())",
        ),
        Wrong(
            "That is a step of gradient descent; the curvature says how far to go.",
            was="slope.item() / curvature.item()", now="slope.item()",
        ),
    ),
    cases=cases,
    questions=(
        ("x^4 - 2 x^2 curves downwards at 0.3. Where does the step lead?",
         "Uphill, to the top at 0: Newton's method finds any place where the slope is 0."),
    ),
    hint="Ask for the slope with create_graph=True, then for the slope of the slope.",
    why="Newton's method fits a parabola and goes to where its slope is 0. The number of right "
    "digits doubles in each step near the goal, but a top is as good to it as a bottom: the sign "
    "of the curvature tells which.",
    engine=("tinygen/differentiate.py", "create_graph: bool = False"),
)  # fmt: skip
