"""Two more operations for a number that knows where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..exercise import Case, Exercise, Finding, Wrong

NUMBER = """
import math


class Number:
    def __init__(self, value, came_from=()):
        self.value = value
        self.came_from = came_from  # pairs: (a number it was made from, the slope for it)
"""


def cases() -> Iterator[Case]:
    def slopes(a: Any, word: str, f: Any, *values: float) -> list[float]:
        numbers = [a.Number(v) for v in values]
        out = f(*numbers)
        if not isinstance(out, a.Number):
            raise Finding(f"{word} gives {type(out).__name__}, expected a Number")
        found = [0.0] * len(numbers)
        for source, slope in out.came_from:
            found[[n is source for n in numbers].index(True)] += slope
        return [out.value, *found]

    for x, y in ((3.0, 0.5), (-1.0, 2.0)):
        yield Case(
            f"value and slopes of x - y, x = {x:g}, y = {y:g}",
            lambda a, x=x, y=y: slopes(a, "x - y", lambda x, y: x - y, x, y),
        )
    for x in (0.0, 1.3, -2.0):
        yield Case(
            f"value and slope of exp, x = {x:g}",
            lambda a, x=x: slopes(a, "exp", lambda x: x.exp(), x),
        )


EXERCISE = Exercise(
    title="Minus and exp",
    minutes=5,
    task="""
Give Number a `__sub__` (x - y) and an `exp()`. Each returns a Number with its value, and with the
pairs of what it came from and the slope for it. What is the slope of exp, and which value gives it
for free?
""",
    start=NUMBER + """
    def __sub__(self, other):
        return Number(0.0)

    def exp(self):
        return Number(0.0)
""",
    reference=NUMBER + """
    def __sub__(self, other):
        return Number(self.value - other.value, [(self, 1.0), (other, -1.0)])

    def exp(self):
        e = math.exp(self.value)
        return Number(e, [(self, e)])
""",
    wrong=(
        Wrong(
            "If y grows by 1, x - y falls by 1: its slope is not the same as that of x.",
            was="(other, -1.0)", now="(other, 1.0)",
        ),
        Wrong(
            "Slopes say how the result changes, not what the numbers are: x - y changes as x does.",
            was="[(self, 1.0), (other, -1.0)]", now="[(self, self.value), (other, -other.value)]",
        ),
        Wrong(
            "exp is no power of x: n x^(n-1) is for a fixed exponent. Here x stands above.",
            was="[(self, e)]", now="[(self, self.value * math.exp(self.value - 1))]",
        ),
        Wrong(
            "The slope of exp is not 1 except at 0: how fast does it grow further right?",
            was="[(self, e)]", now="[(self, 1.0)]",
        ),
        Wrong(
            "The slope of exp at x is not x. Which function is its own slope?",
            was="[(self, e)]", now="[(self, self.value)]",
        ),
        Wrong(
            "The value is right, but the way back is missing: the result does not know where it "
            "came from.",
            was="Number(e, [(self, e)])", now="Number(e)",
        ),
        Wrong(
            "Return a Number: a float has forgotten where it came from.",
            was="Number(e, [(self, e)])", now="e",
        ),
    ),
    cases=cases,
    questions=(("What is the slope of exp at 0?", "1, the value of exp there."),),
    hint="Nudge x by 0.001 in your head: by how much, and to which side, does the result move?",
    why="exp is the function that is its own slope, so the value just computed is the slope as "
    "well. A rule may ask for the output; then the input need not be kept in memory.",
    engine=("tinygen/ops/elementwise.py", "exp.vjp"),
)  # fmt: skip
