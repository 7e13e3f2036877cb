"""A moving average of weights that draws better than any of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..exercise import Answer, Case, Exercise, Wrong


def look(answer: Answer, decay: float) -> Any:
    """The averages along a path of weights that change in place, as an optimizer changes them."""
    weights = np.array([1.0, -2.0])
    average = answer.Average(weights, decay)
    seen = [np.array(average.value)]
    for step in range(4):
        weights += np.array([0.7, 0.3]) * (step + 1)
        average.update(weights)
        seen.append(np.array(average.value))
    return {"averages": seen, "weights": weights}


def cases() -> Iterator[Case]:
    for decay in (0.9, 0.0, 1.0):
        yield Case(f"decay {decay}, 4 updates", partial(look, decay=decay))


EXERCISE = Exercise(
    title="An average of weights",
    minutes=6,
    task="""
Weights of a GAN go round and round the best place; their average lies nearer to it. Keep one:

    average = decay average + (1 - decay) weights

after each step, beginning at the first weights. The optimizer changes `weights` in place, and must
find them as it left them. All are NumPy arrays; `value` is the average.
""",
    start="""
class Average:
    def __init__(self, weights, decay):
        self.value, self.decay = weights, decay

    def update(self, weights):
        self.value = (1 - self.decay) * self.value + self.decay * weights
""",
    reference="""
class Average:
    def __init__(self, weights, decay):
        self.value, self.decay = weights.copy(), decay

    def update(self, weights):
        self.value = self.decay * self.value + (1 - self.decay) * weights
""",
    wrong=(
        Wrong(
            "With a decay of 0.9 it should keep nine tenths of itself; this one keeps one tenth.",
            was="self.decay * self.value + (1 - self.decay) * weights",
            now="(1 - self.decay) * self.value + self.decay * weights",
        ),
        Wrong(
            "The first average is the very array that the optimizer changes, so it moves before "
            "the first update.",
            was="weights.copy()", now="weights",
        ),
        Wrong(
            "It starts at 0 and needs long to forget that. Where should it begin?",
            was="weights.copy()", now="0 * weights",
        ),
        Wrong(
            "The mean of all weights never forgets the first, random ones. How much should the "
            "newest count?",
            code="""
class Average:
    def __init__(self, weights, decay):
        self.value, self.n = weights.copy(), 1

    def update(self, weights):
        self.n += 1
        self.value = self.value + (weights - self.value) / self.n
""",
        ),
        Wrong(
            "The shares are 0.9 and 1: together they must be 1, or the average grows.",
            was="(1 - self.decay) * weights", now="weights",
        ),
        Wrong(
            "The average is written into the weights themselves: the optimizer finds others than "
            "it left.",
            code="""
class Average:
    def __init__(self, weights, decay):
        self.value, self.decay = weights.copy(), decay

    def update(self, weights):
        self.value = self.decay * self.value + (1 - self.decay) * weights
        weights[:] = self.value
""",
        ),
        Wrong(
            "It lags by one: the weights of this step count only in the next update.",
            code="""
class Average:
    def __init__(self, weights, decay):
        self.value, self.decay = weights.copy(), decay
        self.before = weights.copy()

    def update(self, weights):
        self.value = self.decay * self.value + (1 - self.decay) * self.before
        self.before = weights.copy()
""",
        ),
    ),
    cases=cases,
    hint="What should decay = 1 do, and what decay = 0?",
    questions=(
        ("With a decay of 0.99, how many recent steps count, roughly?",
         "1 / (1 - 0.99) = 100; those of 100 steps ago weigh a third of the newest."),
    ),
    why=(
        "An exponential average needs no memory of the past, and forgets the first weights. Two "
        "players that circle each other pass the best place on all sides, so the circles cancel. "
        "`with average.swapped():` draws with it, and training goes on with the weights."
    ),
    engine=("tinygen/optim.py", "average = decay average + (1 - decay) p"),
)  # fmt: skip
