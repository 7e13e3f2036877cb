"""A primitive of one's own, right to order 3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Finding, Wrong

VALUES = np.array([0.7, -1.9, 3.1])


def derivative(f: Any, order: int) -> Any:
    x = tg.tensor(VALUES, requires_grad=True)
    y = f(x)
    for _ in range(order):
        if not isinstance(y, tg.Tensor) or not y.requires_grad:
            raise Finding("there is no gradient: is the rule given, and made of tensors alone?")
        (y,) = tg.grad(y.sum(), [x], create_graph=True)
    return y.detach()


def cases() -> Iterator[Case]:
    s, c, x = np.sin(VALUES), np.cos(VALUES), VALUES
    right = (x * s, s + x * c, 2 * c - x * s, -3 * s - x * c)
    words = ("the value", "the gradient", "the gradient of the gradient", "the third derivative")
    for order, word in enumerate(words):

        def look(a: Answer, order: int = order) -> Any:
            return derivative(a.x_sin_x, order)

        yield Case(word, look, lambda order=order: tg.tensor(right[order]), order=order)

    def weighted(a: Answer) -> Any:
        x = tg.tensor(VALUES, requires_grad=True)
        return tg.grad((a.x_sin_x(x) * tg.tensor(np.array([2.0, 0.3, -1.0]))).sum(), [x])[0]

    yield Case("the gradient of a sum with weights", weighted, order=1)


EXERCISE = Exercise(
    title="A primitive of your own",
    minutes=10,
    task="""
Finish the primitive x_sin_x: its reference computes x sin(x), and its rule says how a gradient g of
the result becomes one of x. It has to be right to the third derivative.
""",
    start="""
import tinygen as tg


@tg.primitive
def x_sin_x(xp, x):
    return x * xp.sin(x)


x_sin_x.vjp(x=lambda g, x: g)
""",
    reference="""
import tinygen as tg


@tg.primitive
def x_sin_x(xp, x):
    return x * xp.sin(x)


x_sin_x.vjp(x=lambda g, x: g * (tg.sin(x) + x * tg.cos(x)))
""",
    wrong=(
        Wrong(
            "x stands in both factors: the product rule has two terms.",
            was="(tg.sin(x) + x * tg.cos(x))", now="(x * tg.cos(x))",
        ),
        Wrong(
            "The slope of sin is cos, with a plus.",
            was="+ x * tg.cos(x)", now="- x * tg.cos(x)",
        ),
        Wrong(
            "A product's slope is not the product of the slopes.",
            was="(tg.sin(x) + x * tg.cos(x))", now="tg.cos(x)",
        ),
        Wrong(
            "The first slope is right and the second is not: detach() hides how it depends on x.",
            was="tg.cos(x)", now="tg.cos(x.detach())",
        ),
        Wrong(
            "g is not used. In a longer computation something else than 1 comes from behind.",
            was="g * (tg.sin", now="(tg.sin",
        ),
        Wrong(
            "A rule works with tensors: write tg.sin and tg.cos. NumPy's have no way back.",
            code="""
import numpy as np

import tinygen as tg


@tg.primitive
def x_sin_x(xp, x):
    return x * xp.sin(x)


x_sin_x.vjp(x=lambda g, x: g * tg.tensor(np.sin(x.numpy()) + x.numpy() * np.cos(x.numpy())))
""",
        ),
        Wrong(
            "The rule is missing: without one there is no gradient.",
            was="x_sin_x.vjp(x=lambda g, x: g * (tg.sin(x) + x * tg.cos(x)))\n", now="",
        ),
    ),
    cases=cases,
    questions=(
        ("Checking order 1 only, which mistake would you miss?",
         "A rule whose value is right but which does not depend on x as it should: detach()."),
    ),
    hint="The product rule: (slope of x) sin x + x (slope of sin x). And g times all of it.",
    why="The engine knows nothing of calculus but such pairs of a function and its rule. A rule is "
    "made of other primitives, so it can be differentiated again, to any order, and check_grads "
    "compares each order with differences.",
    engine=("tinygen/primitive.py", "def vjp(self"),
)  # fmt: skip
