"""Steps down a parabola."""

from __future__ import annotations

from collections.abc import Iterator

from ..exercise import Case, Exercise, Wrong


def cases() -> Iterator[Case]:
    for x, rate, n in ((0.0, 0.1, 1), (0.0, 0.1, 3), (5.0, 0.3, 8), (5.0, 0.3, 0)):
        yield Case(
            f"{n} steps from {x:g} at the rate {rate:g}",
            lambda a, x=x, rate=rate, n=n: a.descend(x, rate, n),
            lambda x=x, rate=rate, n=n: 3 + (x - 3) * (1 - 2 * rate) ** n,
        )


EXERCISE = Exercise(
    title="Downhill",
    minutes=5,
    task="""
f(x) = (x - 3)^2 is lowest at 3. Write `descend(x, rate, steps)`: begin at x, go against the slope
`steps` times, each time `rate` times the slope, and return where you are.
""",
    start="""
def descend(x, rate, steps):
    return 3.0  # where it will be in the end; but the way counts
""",
    reference="""
def descend(x, rate, steps):
    for _ in range(steps):
        slope = 2 * (x - 3)
        x = x - rate * slope
    return x
""",
    wrong=(
        Wrong(
            "The slope points uphill: go against it.",
            was="x - rate * slope", now="x + rate * slope",
        ),
        Wrong(
            "The step follows the slope of f, not its value.",
            was="2 * (x - 3)", now="(x - 3) ** 2",
        ),
        Wrong(
            "The square brings a factor 2 into the slope.",
            was="2 * (x - 3)", now="(x - 3)",
        ),
        Wrong(
            "The slope is another one at each place: compute it anew in each step.",
            code="""
def descend(x, rate, steps):
    slope = 2 * (x - 3)
    for _ in range(steps):
        x = x - rate * slope
    return x
""",
        ),
        Wrong(
            "Use the rate: with the whole slope a step lands as far away on the other side.",
            was="rate * slope", now="slope",
        ),
        Wrong(
            "One step too many: 0 steps stay where they began.",
            was="range(steps)", now="range(steps + 1)",
        ),
        Wrong(
            "It returns after the first step: the return belongs behind the loop.",
            was="    return x", now="        return x\n    return x",
        ),
    ),
    cases=cases,
    questions=(
        ("What happens at the rate 1?",
         "x jumps from one side to the other, as far away as before: the distance is multiplied "
         "by 1 - 2 rate = -1 in each step."),
    ),
    hint="In the loop: the slope here, then one step against it.",
    why="Each step multiplies the distance to 3 by 1 - 2 rate. So it shrinks for rates below 1, "
    "fastest at 0.5, and grows for greater ones: that is what an exploding loss is.",
    engine=("tinygen/optim.py", "class SGD"),
)  # fmt: skip
