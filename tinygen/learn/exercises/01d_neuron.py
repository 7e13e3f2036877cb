"""The gradient of one neuron by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..exercise import Case, Exercise, Wrong

POINTS = ((0.8, -1.5, 0.4), (0.3, 2.0, -0.7), (-1.2, 0.6, 0.1))


def truth(x: float, w: float, b: float, h: float = 1e-6) -> list[float]:
    def f(x: float, w: float, b: float) -> float:
        return math.tanh(w * x + b) * x

    return [
        (f(x + h, w, b) - f(x - h, w, b)) / (2 * h),
        (f(x, w + h, b) - f(x, w - h, b)) / (2 * h),
        (f(x, w, b + h) - f(x, w, b - h)) / (2 * h),
    ]


def cases() -> Iterator[Case]:
    for p in POINTS:
        yield Case(
            "x, w, b = " + ", ".join(f"{v:g}" for v in p),
            lambda a, p=p: a.gradient(*p), lambda p=p: truth(*p), tolerance=1e-6,
        )  # fmt: skip


EXERCISE = Exercise(
    title="One neuron by hand",
    minutes=8,
    task="""
y = tanh(w x + b) x. Write its three slopes at given numbers, by hand: `gradient(x, w, b)` returns
the slopes for x, for w and for b, in this order. The slope of tanh(v) is 1 - tanh(v)^2.
""",
    start="""
import math


def gradient(x, w, b):
    t = math.tanh(w * x + b)
    return 0.0, 0.0, 0.0
""",
    reference="""
import math


def gradient(x, w, b):
    t = math.tanh(w * x + b)
    inner = x * (1 - t * t)
    return t + inner * w, inner * x, inner
""",
    wrong=(
        Wrong(
            "x is used twice, so there are two paths: one through the factor, one through tanh.",
            was="t + inner * w", now="inner * w",
        ),
        Wrong(
            "The path through tanh is missing: x also changes w x + b.",
            was="t + inner * w", now="t",
        ),
        Wrong(
            "On its way from w x + b to x the path passes the factor w.",
            was="t + inner * w", now="t + inner",
        ),
        Wrong(
            "The slope of tanh is 1 - tanh^2, with the square.",
            was="1 - t * t", now="1 - t",
        ),
        Wrong(
            "tanh is multiplied by x afterwards: every path through it has the factor x.",
            was="x * (1 - t * t)", now="(1 - t * t)",
        ),
        Wrong(
            "In 1 - tanh(v)^2 stands the value of tanh, not v itself.",
            was="1 - t * t", now="1 - (w * x + b) ** 2",
        ),
        Wrong(
            "All three are right, in another order: x, w, b is asked for.",
            was="t + inner * w, inner * x, inner", now="inner * x, inner, t + inner * w",
        ),
    ),
    cases=cases,
    questions=(
        ("Which of the three slopes becomes 0 where tanh is flat, and which does not?",
         "Those of w and b do; that of x keeps the path through the factor, t."),
    ),
    hint="Name the parts: v = w x + b, t = tanh(v), y = t x. Write the slope of each, then "
    "multiply along every path and add the paths.",
    why="Every path from an input to the result is a product of slopes, and the gradient is their "
    "sum. Where t is near 1 or -1, 1 - t^2 is near 0 and the neuron learns nothing more through "
    "it: it is saturated.",
    engine=("tinygen/ops/elementwise.py", "tanh.vjp"),
)  # fmt: skip
