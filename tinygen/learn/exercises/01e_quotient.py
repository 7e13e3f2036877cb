"""The slopes of a quotient."""

from __future__ import annotations

from collections.abc import Iterator

from ..exercise import Case, Exercise, Wrong

POINTS = ((1.0, 2.0), (3.0, 0.5), (-0.7, -1.6))


def truth(x: float, y: float, h: float = 1e-5) -> list[float]:
    return [((x + h) / y - (x - h) / y) / (2 * h), (x / (y + h) - x / (y - h)) / (2 * h)]


def cases() -> Iterator[Case]:
    for p in POINTS:
        yield Case(
            f"x = {p[0]:g}, y = {p[1]:g}", lambda a, p=p: a.slopes(*p), lambda p=p: truth(*p)
        )


EXERCISE = Exercise(
    title="A quotient",
    minutes=4,
    task="""
Write `slopes(x, y)`: the slopes of x / y for x and for y, as a pair of numbers.
""",
    start="""
def slopes(x, y):
    return 1 / y, 0.0
""",
    reference="""
def slopes(x, y):
    return 1 / y, -x / y**2
""",
    wrong=(
        Wrong(
            "If y grows, x / y gets nearer to 0. Which sign has that slope?",
            was="-x / y**2", now="x / y**2",
        ),
        Wrong(
            "The slope of 1 / y is -1 / y^2; x stands above and stays a factor.",
            was="-x / y**2", now="-1 / y**2",
        ),
        Wrong(
            "The power of y goes down by one: y^-1 becomes -y^-2.",
            was="-x / y**2", now="-x / y",
        ),
        Wrong(
            "For x the other number is a fixed factor, 1 / y: no square there.",
            was="1 / y,", now="1 / y**2,",
        ),
        Wrong(
            "x / y is no product: the slope for y is not x.",
            was="1 / y, -x / y**2", now="1 / y, x",
        ),
        Wrong(
            "Both are right, in the other order: first for x, then for y.",
            was="1 / y, -x / y**2", now="-x / y**2, 1 / y",
        ),
    ),
    cases=cases,
    questions=(
        ("Where is the slope for y infinite?", "At y = 0, where the quotient itself is, too."),
    ),
    hint="Read x / y as x times y^-1, a product; the slope of y^n is n y^(n-1).",
    why="A quotient is a product with y^-1. The engine writes the second slope as -g (x / y) / y: "
    "the quotient is there already, so x need not be kept.",
    engine=("tinygen/ops/elementwise.py", "div.vjp(x=lambda g, y: guarded_div(g, y)"),
)  # fmt: skip
