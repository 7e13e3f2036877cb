"""A penalty on a slope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Finding, Wrong


def setting(seed: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    w = tg.tensor(rng.standard_normal((3, 2)), requires_grad=True)
    v = tg.tensor(rng.standard_normal((2, 1)), requires_grad=True)
    return tg.tensor(rng.standard_normal((4, 3))), w, v


def cases() -> Iterator[Case]:
    def value(a: Answer, seed: int) -> Any:
        x, w, v = setting(seed)
        found = a.penalty(lambda x: tg.tanh(x @ w) @ v, x)
        return found.detach() if isinstance(found, tg.Tensor) else found

    def slopes(a: Answer, seed: int) -> Any:
        x, w, v = setting(seed)
        found = a.penalty(lambda x: tg.tanh(x @ w) @ v, x)
        if not found.requires_grad:
            raise Finding("the penalty carries no gradient, so nothing can be learned from it")
        return tg.grad(found, [w, v])

    for seed in (0, 1):
        yield Case(f"the value, batch {seed}", lambda a, s=seed: value(a, s), order=1)
    yield Case("its gradient for the weights", lambda a: slopes(a, 0), order=2)


EXERCISE = Exercise(
    title="A penalty on a slope",
    minutes=10,
    task="""
A critic gives each row of x one number. Write `penalty(critic, x)`: the length of the critic's
gradient with respect to each row of x, minus 1, squared; and of these the mean over the rows. It
must be possible to differentiate it for the critic's weights.
""",
    start="""
import tinygen as tg


def penalty(critic, x):
    x = x.detach(requires_grad=True)
    return critic(x).sum()
""",
    reference="""
import tinygen as tg


def penalty(critic, x):
    x = x.detach(requires_grad=True)
    (slope,) = tg.grad(critic(x).sum(), [x], create_graph=True)
    length = tg.sqrt(tg.sum(slope * slope, axis=1))
    return tg.mean((length - 1) ** 2)
""",
    wrong=(
        Wrong(
            "The gradient is not recorded, so the weights learn nothing from it: "
            "create_graph=True, and no detach() behind it.",
            was=", create_graph=True", now="",
        ),
        Wrong(
            "One length for each row: sum the squares along axis 1 only.",
            was="tg.sum(slope * slope, axis=1)", now="tg.sum(slope * slope)",
        ),
        Wrong(
            "The root is missing: a length is the root of the sum of squares.",
            was="tg.sqrt(tg.sum(slope * slope, axis=1))", now="tg.sum(slope * slope, axis=1)",
        ),
        Wrong(
            "The mean of the lengths is compared with 1 there; compare each, then take the mean.",
            was="tg.mean((length - 1) ** 2)", now="(tg.mean(length) - 1) ** 2",
        ),
        Wrong(
            "With the mean of the critic the slopes are smaller by the number of rows: use a sum, "
            "since each row depends on itself alone.",
            was="critic(x).sum()", now="critic(x).mean()",
        ),
        Wrong(
            "The lengths shall be near 1, not near 0.",
            was="(length - 1) ** 2", now="length ** 2",
        ),
        Wrong(
            "Summed along the batch: axis 0 counts the rows, axis 1 the entries of one.",
            was="axis=1", now="axis=0",
        ),
    ),
    cases=cases,
    questions=(
        ("Why may the critic's numbers be summed before the gradient is taken?",
         "Each number depends on its own row alone, so the rows of the gradient do not mix."),
    ),
    hint="tg.grad of the summed scores with create_graph=True; then lengths, row by row.",
    why="The penalty is a function of a gradient, and training needs its gradient: a gradient of a "
    "gradient. It keeps a critic's slope near 1, so that what it says of a picture is of use to "
    "the generator everywhere. This is WGAN-GP, step 15.",
    engine=("tinygen/losses.py", "def gradient_penalty"),
)  # fmt: skip
