"""The chain rule forwards: numbers that carry their slope along."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..exercise import Case, Exercise, Wrong

PAIR = """
import math


class Pair:
    def __init__(self, value, slope=0.0):
        self.value, self.slope = value, slope

    def __add__(self, other):
        return Pair(self.value + other.value, self.slope + other.slope)
"""


def cases() -> Iterator[Case]:
    def both(p: Any) -> list[float]:
        return [p.value, p.slope]

    def cube(a: Any) -> list[float]:
        x = a.Pair(1.3, 1.0)
        return both(x * x * x)

    yield Case("x y, only x moves", lambda a: both(a.Pair(3.0, 1.0) * a.Pair(0.4)))
    yield Case("x y, only y moves", lambda a: both(a.Pair(3.0) * a.Pair(0.4, 1.0)))
    yield Case("x x x at 1.3", cube, lambda: [1.3**3, 3 * 1.3**2])
    yield Case("sin x at 0.7", lambda a: both(a.Pair(0.7, 1.0).sin()))
    yield Case(
        "sin(x x) at 0.7", lambda a: both((a.Pair(0.7, 1.0) * a.Pair(0.7, 1.0)).sin()),
        lambda: [math.sin(0.49), math.cos(0.49) * 1.4],
    )  # fmt: skip
    yield Case("sin of what does not move", lambda a: both(a.Pair(0.7).sin()))


EXERCISE = Exercise(
    title="The chain rule forwards",
    minutes=8,
    task="""
A Pair is a value and its slope with respect to one input, carried along as the values are computed.
The input itself is Pair(x, 1.0), a constant Pair(c, 0.0). Write `__mul__` and `sin()`; each returns
a Pair.
""",
    start=PAIR + """
    def __mul__(self, other):
        return Pair(self.value * other.value)

    def sin(self):
        return Pair(math.sin(self.value))
""",
    reference=PAIR + """
    def __mul__(self, other):
        slope = self.slope * other.value + self.value * other.slope
        return Pair(self.value * other.value, slope)

    def sin(self):
        return Pair(math.sin(self.value), math.cos(self.value) * self.slope)
""",
    wrong=(
        Wrong(
            "The slope of a product is not the product of the slopes.",
            was="self.slope * other.value + self.value * other.slope",
            now="self.slope * other.slope",
        ),
        Wrong(
            "Both factors may move: two terms, one for each.",
            was=" + self.value * other.slope", now="",
        ),
        Wrong(
            "Each slope goes with the value of the other factor.",
            was="self.slope * other.value + self.value * other.slope",
            now="self.slope * self.value + other.value * other.slope",
        ),
        Wrong(
            "sin passes on the slope of what is inside: multiply by it.",
            was="math.cos(self.value) * self.slope", now="math.cos(self.value)",
        ),
        Wrong(
            "The slope of sin is cos, with this sign.",
            was="math.cos(self.value) * self.slope", now="-math.cos(self.value) * self.slope",
        ),
        Wrong(
            "cos is taken at the value, not at the slope.",
            was="math.cos(self.value) * self.slope", now="math.cos(self.slope)",
        ),
        Wrong(
            "The terms of a product's slope are added.",
            was="other.value + self.value", now="other.value - self.value",
        ),
    ),
    cases=cases,
    questions=(
        ("A function of 1,000 inputs: how many forward walks give its gradient, how many back?",
         "1,000 forwards, one for each input; one walk back gives all."),
    ),
    hint="x y changes by (change of x) y + x (change of y).",
    why="The same slopes, multiplied from the other end: forwards one walk gives the slopes of all "
    "results for one input, backwards those of one result for all inputs. A loss is one number and "
    "weights are many, so training walks back.",
    engine=("tinygen/derivatives.py", "def jvp"),
)  # fmt: skip
