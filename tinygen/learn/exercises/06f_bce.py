"""A cross-entropy of logits that never meets log 0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Finding, Wrong

NEAR, FAR = np.array([0.7, -1.2, 2.1]), np.array([800.0, -800.0, 800.0, -800.0])
TARGETS = np.array([1.0, 0.0, 0.3])
FAR_TARGETS = np.array([1.0, 0.0, 0.0, 1.0])


def cases() -> Iterator[Case]:
    def value(a: Answer, x: Any, t: Any) -> Any:
        found = a.loss(tg.tensor(x), tg.tensor(t))
        return found.detach() if isinstance(found, tg.Tensor) else found

    def slope(a: Answer, x: Any, t: Any) -> Any:
        leaf = tg.tensor(x, requires_grad=True)
        found = a.loss(leaf, tg.tensor(t))
        if not found.requires_grad:
            raise Finding("it carries no gradient: it was computed without tensors, or detached")
        return tg.grad(found.sum(), [leaf])[0]

    def truth(x: Any, t: Any) -> Any:
        return tg.tensor(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))) - t * x)

    yield Case("logits near 0", lambda a: value(a, NEAR, TARGETS), lambda: truth(NEAR, TARGETS))
    yield Case("the gradient at logits near 0", lambda a: slope(a, NEAR, TARGETS), order=1)
    yield Case(
        "logits of 800 and -800", lambda a: value(a, FAR, FAR_TARGETS),
        lambda: truth(FAR, FAR_TARGETS),
    )  # fmt: skip
    yield Case(
        "the gradient at 800 and -800", lambda a: slope(a, FAR, FAR_TARGETS),
        lambda: tg.tensor(np.array([0.0, 0.0, 1.0, -1.0])), order=1,
    )  # fmt: skip


EXERCISE = Exercise(
    title="Cross-entropy of logits",
    minutes=8,
    task="""
With p = sigmoid(x) the loss of a target t is -t log p - (1 - t) log(1 - p). Write `loss(x, t)` from
the logit x, number by number, so that it is right at x = 800 and at x = -800, with a gradient that
still tells which way to go.
""",
    start="""
import tinygen as tg


def loss(x, t):
    p = tg.sigmoid(x)
    return -t * tg.log(p) - (1 - t) * tg.log(1 - p)
""",
    reference="""
import tinygen as tg


def loss(x, t):
    return tg.softplus(x) - t * x
""",
    wrong=(
        Wrong(
            "A small number in the logarithm keeps it finite, but the loss is wrong far out, and "
            "its gradient there is gone.",
            code="""
import tinygen as tg


def loss(x, t):
    p = tg.sigmoid(x)
    return -t * tg.log(p + 1e-12) - (1 - t) * tg.log(1 - p + 1e-12)
""",
        ),
        Wrong(
            "Clipping p keeps the loss finite, and stops all learning where p is clipped.",
            code="""
import tinygen as tg


def loss(x, t):
    p = tg.clip(tg.sigmoid(x), 1e-7, 1 - 1e-7)
    return -t * tg.log(p) - (1 - t) * tg.log(1 - p)
""",
        ),
        Wrong(
            "log(1 + e^x) overflows at 800: tg.softplus is the same, and does not.",
            was="tg.softplus(x)", now="tg.log(1 + tg.exp(x))",
        ),
        Wrong(
            "-log p = softplus(-x) = softplus(x) - x: for t = 1 the x goes off.",
            was="- t * x", now="+ t * x",
        ),
        Wrong(
            "The targets are swapped: t = 1 shall give -log p.",
            was="- t * x", now="- (1 - t) * x",
        ),
        Wrong(
            "That is the loss of t = 0 for all.",
            was=" - t * x", now="",
        ),
        Wrong(
            "A loss for each number is asked for: no mean.",
            was="return tg.softplus(x) - t * x", now="return tg.mean(tg.softplus(x) - t * x)",
        ),
        Wrong(
            "relu is softplus without its round corner: near 0 the loss comes out too small.",
            was="tg.softplus(x)", now="tg.relu(x)",
        ),
    ),
    cases=cases,
    questions=(
        ("x = 800 and t = 0: what are the loss and its slope?",
         "800, and 1: very wrong, and a clear direction."),
    ),
    hint="1 - p = sigmoid(-x), and -log sigmoid(x) = softplus(-x). Put both in, and tidy up.",
    why="-log p is softplus(-x), which is softplus(x) - x; so the loss is softplus(x) - t x. In "
    "this form no small p is ever made, so no logarithm meets 0. That is why losses take logits "
    "and networks end without a sigmoid.",
    engine=("tinygen/losses.py", "def bce_with_logits"),
)  # fmt: skip
