"""A penalty on a slope, and so a gradient of a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Wrong
from ..formulas import numbers, slopes


def known(critic: Callable[[Any], Any], x: tg.Tensor) -> tg.Tensor:
    """The penalty of critic(x) = tanh(x w) v, with its slope written out."""
    w, v = critic.weights  # type: ignore[attr-defined]
    slope = ((1 - tg.tanh(x @ w) ** 2) * v.reshape(1, -1)) @ w.T
    length = tg.sqrt((slope**2).sum(axis=1) + 1e-12)
    total: tg.Tensor = ((length - 1) ** 2).mean()
    return total


def penalty(function: Callable[..., Any], x: tg.Tensor, w: tg.Tensor, v: tg.Tensor) -> Any:
    def critic(images: Any) -> tg.Tensor:
        return tg.tanh(images @ w) @ v

    critic.weights = w, v  # type: ignore[attr-defined]
    return function(critic, x)


def value(function: Callable[..., Any], n: int) -> Any:
    arguments = [numbers(0, n, 2), numbers(1, 2, 3), numbers(2, 3, 1)]
    return penalty(function, *[x.detach(requires_grad=True) for x in arguments]).detach()


def gradient(function: Callable[..., Any], n: int, order: int) -> Any:
    """With respect to the critic's weights."""
    return slopes(
        lambda w, v: penalty(function, numbers(0, n, 2), w, v),
        [numbers(1, 2, 3), numbers(2, 3, 1)],
        order,
    )


def cases() -> Any:
    def case(label: str, look: Callable[..., Any], order: int, *rest: int) -> Case:
        def shown(answer: Answer) -> Any:
            return look(answer.penalty, *rest)

        return Case(label, shown, lambda: look(known, *rest), order=order)

    for n in (1, 4):
        yield case(f"{n} samples" if n > 1 else "1 sample", value, 1, n)
    for order, words in ((1, "the gradient of its weights"), (2, "the gradient of that gradient")):
        yield case(f"4 samples, {words}", gradient, order + 1, 4, order)


EXERCISE = Exercise(
    title="A gradient penalty",
    minutes=10,
    task="""
A critic gives each sample of x (samples, features) a score. Its slope at each sample should have
the length 1. Write the penalty: the mean over the samples of (|slope| - 1)^2, |slope| the root of
the sum of squares over the features, plus 1e-12 within the root. The result is minimised by the
critic's weights, so it must have a gradient itself.
""",
    start="""
import tinygen as tg


def penalty(critic, x):
    x = x.detach(requires_grad=True)
    (slope,) = tg.grad(critic(x).sum(), [x])
    length = tg.sqrt((slope**2).sum(axis=1) + 1e-12)
    return ((length - 1) ** 2).mean()
""",
    reference="""
import tinygen as tg


def penalty(critic, x):
    x = x.detach(requires_grad=True)
    (slope,) = tg.grad(critic(x).sum(), [x], create_graph=True)
    length = tg.sqrt((slope**2).sum(axis=1) + 1e-12)
    return ((length - 1) ** 2).mean()
""",
    wrong=(
        Wrong(
            "The number is right, but the slope is a number without a past: the weights cannot "
            "learn from it. What does tg.grad have to record?",
            was=", create_graph=True", now="",
        ),
        Wrong(
            "The mean of the scores makes each slope smaller, by the number of samples. Which "
            "scalar gives every sample its own slope?",
            was="critic(x).sum()", now="critic(x).mean()",
        ),
        Wrong(
            "One length for the whole batch: a steep sample and a flat one make up for each other.",
            was=".sum(axis=1)", now=".sum()",
        ),
        Wrong(
            "The sum runs over the samples instead of the features.",
            was=".sum(axis=1)", now=".sum(axis=0)",
        ),
        Wrong(
            "That holds the square of the length at 1. It rests at the same place, but pulls "
            "far harder from outside; the task says the length.",
            was="length = tg.sqrt((slope**2).sum(axis=1) + 1e-12)",
            now="length = (slope**2).sum(axis=1)",
        ),
        Wrong(
            "Only slopes above 1 are punished; flat ones should be, too.",
            was="(length - 1) ** 2", now="tg.relu(length - 1) ** 2",
        ),
        Wrong(
            "The length is pulled to 0, not to 1.",
            was="(length - 1) ** 2", now="length ** 2",
        ),
        Wrong(
            "The length is the root of the sum of squares, not the sum of what each axis has.",
            was="tg.sqrt((slope**2).sum(axis=1) + 1e-12)", now="abs(slope).sum(axis=1)",
        ),
    ),
    cases=cases,
    hint="A gradient is a computation, too. It is recorded only if you ask for it.",
    questions=(
        ("The critic is critic(x) = x w, with w = (3, 4). What is the penalty, and at which x?",
         "The slope is w everywhere, its length 5, the penalty 16, at every x."),
        ("Why must the critic have no BatchNorm?",
         "Then the score of a sample depends on the others, and the sum's slope is not its own."),
    ),
    why=(
        "The rules of the engine are tensor code themselves, so with create_graph=True the walk "
        "back is recorded as any other computation, and a second walk goes through it. Samples do "
        "not meet in the critic: so the slope of the sum of scores is each sample's own."
    ),
    engine=("tinygen/losses.py", "(slope,) = grad(ops.sum(scores), [x], create_graph=True)"),
)  # fmt: skip
