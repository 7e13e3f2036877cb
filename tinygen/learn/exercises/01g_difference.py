"""A slope by nudging."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from ..exercise import Case, Exercise, Wrong

FUNCTIONS: tuple[tuple[str, Callable[[float], float], float, float], ...] = (
    ("x^2 at 3", lambda x: x * x, 3.0, 6.0),
    ("sin at 1", math.sin, 1.0, math.cos(1.0)),
    ("exp at 2", math.exp, 2.0, math.exp(2.0)),
    ("x^3 at -0.5", lambda x: x**3, -0.5, 0.75),
)


def cases() -> Iterator[Case]:
    def look(a: Any, f: Callable[[float], float], x: float) -> Any:
        return a.slope(f, x)

    for name, f, x, right in FUNCTIONS:
        yield Case(
            name, lambda a, f=f, x=x: look(a, f, x), lambda right=right: right, tolerance=1e-7
        )


EXERCISE = Exercise(
    title="A slope by nudging",
    minutes=5,
    task="""
Write `slope(f, x)`: the slope of any function at x, without calculus. Nudge x a little to both
sides and compare. It has to be right to seven digits.
""",
    start="""
def slope(f, x):
    return f(x)
""",
    reference="""
def slope(f, x):
    h = 1e-5
    return (f(x + h) - f(x - h)) / (2 * h)
""",
    wrong=(
        Wrong(
            "Near, but one-sided: its error is as large as the nudge. Take both sides.",
            was="(f(x + h) - f(x - h)) / (2 * h)", now="(f(x + h) - f(x)) / h",
        ),
        Wrong(
            "From x - h to x + h it is twice as far as h.",
            was="/ (2 * h)", now="/ h",
        ),
        Wrong(
            "The rise is not yet a slope: divide by how far you went.",
            was="(f(x + h) - f(x - h)) / (2 * h)", now="f(x + h) - f(x - h)",
        ),
        Wrong(
            "So small a nudge changes nothing: x has 16 digits, and x + 1e-17 is x.",
            was="1e-5", now="1e-17",
        ),
        Wrong(
            "So small a nudge leaves few digits: f(x + h) and f(x - h) agree in most of theirs.",
            was="1e-5", now="1e-12",
        ),
        Wrong(
            "So large a nudge sees how the slope changes on the way. Make it smaller.",
            was="1e-5", now="0.1",
        ),
        Wrong(
            "The sign is turned: what is further right comes first.",
            was="f(x + h) - f(x - h)", now="f(x - h) - f(x + h)",
        ),
    ),
    cases=cases,
    questions=(
        ("Why is h = 1e-12 worse than h = 1e-5?",
         "The rounding of f is divided by h: 1e-16 / 1e-12 leaves four digits."),
    ),
    hint="Rise over run, from a little to the left of x to a little to the right of it.",
    why="The error of the two-sided difference is about h^2 from the curve and 1e-16 / h from "
    "rounding; they are equal near h = 1e-5. The engine's checks use four values and h = 3e-4, "
    "with an error of h^4.",
    engine=("tinygen/testing.py", "number = (8 * (f1 - b1) - (f2 - b2)) / (12 * STEP)"),
)  # fmt: skip
