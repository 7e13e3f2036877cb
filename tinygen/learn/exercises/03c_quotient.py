"""The rule of the divisor."""

from __future__ import annotations

from ..cases import rule
from ..exercise import Exercise, Wrong

EXERCISE = Exercise(
    title="The rule of a divisor",
    minutes=5,
    task="""
z = x / y for arrays of one shape. Write the rule of y, `gradient(g, x, y)`.
""",
    start="""
def gradient(g, x, y):
    return g
""",
    reference="""
import tinygen as tg


def gradient(g, x, y):
    return -g * x / (y * y)
""",
    wrong=(
        Wrong(
            "If y grows, x / y comes nearer to 0: a minus is missing.",
            was="-g * x", now="g * x",
        ),
        Wrong(
            "That is the rule of x. y stands below.",
            was="-g * x / (y * y)", now="g / y",
        ),
        Wrong(
            "x stands above and stays as a factor.",
            was="-g * x /", now="-g /",
        ),
        Wrong(
            "Without brackets it is first divided by y and then multiplied by it.",
            was="(y * y)", now="y * y",
        ),
        Wrong(
            "The slope of 1 / y is -1 / y^2: the power of y goes down by one.",
            was="(y * y)", now="y",
        ),
        Wrong(
            "Right once, but the second derivative is lost: x / y was taken as a fixed number.",
            was="-g * x / (y * y)", now="-g * (x / y).detach() / y",
        ),
        Wrong(
            "The slope does not depend on the sign of y: y^2 is never negative. abs does no good.",
            was="(y * y)", now="(y * tg.abs(y))",
        ),
    ),
    cases=lambda: rule(lambda x, y: x / y, "gradient", 1, [((4,), (4,)), ((2, 3), (2, 3))]),
    questions=(
        ("-g (x / y) / y is the same. Why may a program prefer it?",
         "x / y is the result, which is there already."),
    ),
    hint="x y^-1 has the slope -x y^-2 for y; then g.",
    why="A rule may be written with the output, ans: -g ans / y. Then the engine keeps ans and y "
    "for the way back, and x only if someone else needs it.",
    engine=("tinygen/ops/elementwise.py", "div.vjp(x=lambda g, y: guarded_div(g, y)"),
)  # fmt: skip
