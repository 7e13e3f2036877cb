"""Images in a new order, labels in the old one. Find it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Wrong


def pairs(n: int) -> Any:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((n, 2))
    return x, x[:, 0] - 2 * x[:, 1]


def look(answer: Answer, n: int, epochs: int) -> Any:
    return answer.train(*pairs(n), tg.random.Generator(5), epochs=epochs)


def cases() -> Iterator[Case]:
    yield Case("6 points, one epoch", lambda a: look(a, 6, 1))
    yield Case("10 points, one epoch (the last batch is smaller)", lambda a: look(a, 10, 1))
    yield Case("6 points, five epochs", lambda a: look(a, 6, 5))


EXERCISE = Exercise(
    title="A planted mistake: a teacher who mixes up the answers",
    minutes=5,
    task="""
In each epoch the points are taken in a new random order, in batches of four, the last one smaller
if they do not divide. The loss does not fall below that of guessing. Find the mistake and mend it.
`train` returns the weights and the loss of each batch.
""",
    start="""
import numpy as np


def train(x, y, rng, epochs, rate=0.1):
    w, history = np.zeros(2), []
    for _ in range(epochs):
        order = rng.permutation(len(x)).numpy()
        for first in range(0, len(x), 4):
            chosen = order[first : first + 4]
            a, b = x[chosen], y[first : first + 4]
            error = a @ w - b
            history.append((error**2).mean())
            w = w - rate * 2 * a.T @ error / len(a)
    return w, np.array(history)
""",
    reference="""
import numpy as np


def train(x, y, rng, epochs, rate=0.1):
    w, history = np.zeros(2), []
    for _ in range(epochs):
        order = rng.permutation(len(x)).numpy()
        for first in range(0, len(x), 4):
            chosen = order[first : first + 4]
            a, b = x[chosen], y[chosen]
            error = a @ w - b
            history.append((error**2).mean())
            w = w - rate * 2 * a.T @ error / len(a)
    return w, np.array(history)
""",
    wrong=(
        Wrong(
            "Take three points and follow one of them: which y does it meet?",
            was="y[chosen]", now="y[first : first + 4]",
        ),
        Wrong(
            "Now x and y are each in a random order, but not in the same one.",
            was="            a, b = x[chosen], y[chosen]\n",
            now="            other = rng.permutation(len(x)).numpy()[first : first + 4]\n"
            "            a, b = x[chosen], y[other]\n",
        ),
        Wrong(
            "Points and answers fit together now, but the order is drawn once and stays the same "
            "in all epochs.",
            was="    for _ in range(epochs):\n        order = rng.permutation(len(x)).numpy()\n",
            now="    order = rng.permutation(len(x)).numpy()\n    for _ in range(epochs):\n",
        ),
        Wrong(
            "Points and answers fit together, but they are never shuffled at all.",
            was="rng.permutation(len(x)).numpy()", now="np.arange(len(x))",
        ),
        Wrong(
            "The last points are left out where the batches do not divide them.",
            was="range(0, len(x), 4)", now="range(0, len(x) - 3, 4)",
        ),
        Wrong(
            "A smaller last batch is divided by 4 all the same, so that its mean is too small.",
            was="/ len(a)", now="/ 4",
        ),
        Wrong(
            "The points are drawn with repetition: in an epoch some come twice, others never.",
            was="rng.permutation(len(x)).numpy()", now="rng.integers(len(x), (len(x),)).numpy()",
        ),
    ),
    cases=cases,
    hint="Both x and y have to be asked at the same places.",
    questions=(
        ("What does the network learn from labels in a wrong order?",
         "Their mean: it is the best guess if the image says nothing of the label."),
    ),
    why=(
        "Nothing can notice this mistake: the shapes fit and the loss is a number. So one object "
        "should hold what belongs together and shuffle it: data.batches takes images and labels at "
        "the same places, and the order is a function of seed and epoch."
    ),
    engine=("tinygen/data/dataset.py", "def batches("),
)  # fmt: skip
