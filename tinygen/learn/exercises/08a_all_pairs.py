"""A line that cannot be learnt, since the loss compares all pairs. Find it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Case, Exercise, Wrong


def points(n: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 2))
    return tg.tensor(x), tg.tensor(x @ np.array([1.7, -0.6]) + 0.2)


def cases() -> Iterator[Case]:
    yield Case("two steps on 3 points", lambda a: a.fit(*points(3), rate=0.3, steps=2))
    yield Case("two steps on 5 points", lambda a: a.fit(*points(5, 1), rate=0.1, steps=2))
    yield Case("200 steps on 16 points", lambda a: a.fit(*points(16), rate=0.5, steps=200))


EXERCISE = Exercise(
    title="A planted mistake: the line",
    minutes=6,
    task="""
The loop fits y = x w + b by gradient descent on the mean squared error; x is (n, 2), w (2, 1), and
y is (n,). It runs and its loss falls, yet w ends near 0 instead of near 1.7 and -0.6. Find the
mistake and mend it. `fit` returns w and b.
""",
    start="""
import tinygen as tg


def fit(x, y, rate, steps):
    w = tg.zeros((2, 1), "float64").detach(requires_grad=True)
    b = tg.zeros((), "float64").detach(requires_grad=True)
    for _ in range(steps):
        guess = x @ w + b
        loss = ((guess - y) ** 2).mean()
        slopes = tg.grad(loss, [w, b])
        w, b = ((p - rate * g).detach(requires_grad=True) for p, g in zip((w, b), slopes))
    return w, b
""",
    reference="""
import tinygen as tg


def fit(x, y, rate, steps):
    w = tg.zeros((2, 1), "float64").detach(requires_grad=True)
    b = tg.zeros((), "float64").detach(requires_grad=True)
    for _ in range(steps):
        guess = x @ w + b
        loss = ((guess.reshape(-1) - y) ** 2).mean()
        slopes = tg.grad(loss, [w, b])
        w, b = ((p - rate * g).detach(requires_grad=True) for p, g in zip((w, b), slopes))
    return w, b
""",
    wrong=(
        Wrong(
            "Print (guess - y).shape. Each guess is compared with every y, and the best answer to "
            "all of them is their mean.",
            was="guess.reshape(-1) - y", now="guess - y",
        ),
        Wrong(
            "The shapes fit, but now b takes no part, and the line has to go through 0.",
            was="x @ w + b", now="x @ w",
        ),
        Wrong(
            "The shapes fit. But a mean before the square lets errors of both signs cancel.",
            was="((guess.reshape(-1) - y) ** 2).mean()", now="(guess.reshape(-1) - y).mean() ** 2",
        ),
        Wrong(
            "The shapes fit. A sum makes the step grow with the number of points; the task says "
            "the mean.",
            was=".mean()", now=".sum()",
        ),
        Wrong(
            "The step goes up the slope. Which sign takes the loss down?",
            was="p - rate * g", now="p + rate * g",
        ),
        Wrong(
            "The error itself has no lowest place, its square does.",
            was="** 2", now="** 1",
        ),
        Wrong(
            "The absolute error is another loss: it pulls with the same force from near and far.",
            was="((guess.reshape(-1) - y) ** 2).mean()", now="abs(guess.reshape(-1) - y).mean()",
        ),
    ),
    cases=cases,
    hint="Print the shape of every tensor in the line of the loss, for 3 points.",
    questions=(
        ("Of what shape is (3, 1) - (3,)?",
         "(3, 3): the column is stretched to the right and the row down, and all pairs are made."),
    ),
    why=(
        "Broadcasting cannot know that a column and a row were meant as one thing. The losses of "
        "tinygen never broadcast, and refuse (n, 1) against (n,). In arithmetic of your own "
        "tg.coach() names the line that makes a table of all pairs."
    ),
    engine=("tinygen/losses.py", "differ and never broadcast"),
)  # fmt: skip
