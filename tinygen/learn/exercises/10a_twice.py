"""A classifier that is made to doubt, by two softmaxes. Find it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Case, Exercise, Wrong


def clouds() -> Any:
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    x = rng.standard_normal((30, 2)) + 2.5 * np.array([[0, 1], [1, -1], [-1, -1]])[labels]
    return tg.tensor(x), tg.tensor(labels)


def cases() -> Iterator[Case]:
    yield Case("the first loss", lambda a: a.train(*clouds(), steps=1)[:1], lambda: [np.log(3)])
    yield Case("the loss of 2 steps", lambda a: a.train(*clouds(), steps=2)[:2])
    yield Case("loss and share of right ones, 30 steps", lambda a: a.train(*clouds(), steps=30))


EXERCISE = Exercise(
    title="A planted mistake: a loss that will not fall",
    minutes=5,
    task="""
Three clouds of points are told apart. The share of right ones grows, but the loss stays near 0.55,
as low as it can ever get, and learning is slow. Find the mistake and mend it. `train` returns the
losses, and as the last number the share of right ones.
""",
    start="""
import tinygen as tg
from tinygen import losses, nn, optim


def train(x, labels, steps):
    w = nn.Parameter(tg.zeros((2, 3), "float64"))
    optimizer = optim.SGD([w], lr=0.5)
    history = []
    for _ in range(steps):
        scores = tg.softmax(x @ w, axis=1)
        loss = losses.cross_entropy(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    right = (x @ w).argmax(axis=1).numpy() == labels.numpy()
    return [*history, right.mean()]
""",
    reference="""
import tinygen as tg
from tinygen import losses, nn, optim


def train(x, labels, steps):
    w = nn.Parameter(tg.zeros((2, 3), "float64"))
    optimizer = optim.SGD([w], lr=0.5)
    history = []
    for _ in range(steps):
        scores = x @ w
        loss = losses.cross_entropy(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    right = (x @ w).argmax(axis=1).numpy() == labels.numpy()
    return [*history, right.mean()]
""",
    wrong=(
        Wrong(
            "cross_entropy turns its argument into probabilities itself. What does it get here, "
            "and how far apart can three numbers between 0 and 1 be?",
            was="scores = x @ w", now="scores = tg.softmax(x @ w, axis=1)",
        ),
        Wrong(
            "A sigmoid in place of the softmax still presses the scores between 0 and 1, and "
            "cross_entropy expects them as the last layer made them.",
            was="scores = x @ w", now="scores = tg.sigmoid(x @ w)",
        ),
        Wrong(
            "The last layer of a classifier has no ReLU: scores may be below 0, and where all are, "
            "nothing learns.",
            was="scores = x @ w", now="scores = tg.relu(x @ w - 0.01)",
        ),
        Wrong(
            "Labels are class numbers here; cross_entropy makes the rows with a single 1 itself.",
            was="(scores, labels)", now="(scores, tg.one_hot(labels, classes=3))",
        ),
        Wrong(
            "A sum over the points makes the first loss 30 times as large, and each step too.",
            was="(scores, labels)", now='(scores, labels, reduction="sum")',
        ),
        Wrong(
            "A higher learning rate hides the mistake: the loss still cannot fall below 0.55.",
            code="""
import tinygen as tg
from tinygen import losses, nn, optim


def train(x, labels, steps):
    w = nn.Parameter(tg.zeros((2, 3), "float64"))
    optimizer = optim.SGD([w], lr=5.0)
    history = []
    for _ in range(steps):
        scores = tg.softmax(x @ w, axis=1)
        loss = losses.cross_entropy(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    right = (x @ w).argmax(axis=1).numpy() == labels.numpy()
    return [*history, right.mean()]
""",
        ),
        Wrong(
            "The loss is mended, but the answer is now the least likely class.",
            was="(x @ w).argmax", now="(-(x @ w)).argmax",
        ),
    ),
    cases=cases,
    hint="What is the loss if the right class gets 1 and the others 0? What is printed?",
    questions=(
        ("cross_entropy gets (1, 0, 0), the surest softmax, for label 0. What is the loss?",
         "log(1 + 2/e) = 0.55, and not 0: e is only 2.7 times 1. It cannot fall further."),
    ),
    why=(
        "Softmax and logarithm belong together: alone, the probability of a class can be rounded "
        "to 0, and its logarithm is infinite. So losses take logits, the last layer's output as it "
        "is. tg.coach() says when a softmax is given to them."
    ),
    engine=("tinygen/losses.py", "log_p = ops.log_softmax(logits, axis=-1)"),
)  # fmt: skip
