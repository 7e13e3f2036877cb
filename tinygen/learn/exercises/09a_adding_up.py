"""A loop whose gradients pile up. Find it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Case, Exercise, Wrong


def start() -> Any:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 3))
    return tg.tensor(x), tg.tensor(x @ np.array([[0.7], [-1.1], [0.4]]))


def cases() -> Iterator[Case]:
    yield Case("the loss of 4 steps", lambda a: a.train(*start(), steps=4))
    yield Case("the loss of 20 steps", lambda a: a.train(*start(), steps=20))


EXERCISE = Exercise(
    title="A planted mistake: steps that grow",
    minutes=5,
    task="""
SGD with momentum fits a linear layer. The loss falls, then swings up and down, higher each time.
Find the mistake and mend it. `train` returns the list of losses, one a step.
""",
    start="""
import tinygen as tg
from tinygen import losses, nn, optim


def train(x, y, steps):
    w = nn.Parameter(tg.zeros((3, 1), "float64"))
    optimizer = optim.SGD([w], lr=0.1, momentum=0.5)
    history = []
    for _ in range(steps):
        loss = losses.mse(x @ w, y)
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history
""",
    reference="""
import tinygen as tg
from tinygen import losses, nn, optim


def train(x, y, steps):
    w = nn.Parameter(tg.zeros((3, 1), "float64"))
    optimizer = optim.SGD([w], lr=0.1, momentum=0.5)
    history = []
    for _ in range(steps):
        loss = losses.mse(x @ w, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history
""",
    wrong=(
        Wrong(
            "backward() adds to what .grad holds. What does it hold when the second step begins?",
            was="        optimizer.zero_grad()\n", now="",
        ),
        Wrong(
            "The gradient is thrown away between its computing and its use. In which order do the "
            "three calls belong?",
            was="        optimizer.zero_grad()\n        loss.backward()\n",
            now="        loss.backward()\n        optimizer.zero_grad()\n",
        ),
        Wrong(
            "Without momentum it is calmer, and another method. The fault is elsewhere: what does "
            ".grad hold when the second step begins?",
            code="""
import tinygen as tg
from tinygen import losses, nn, optim


def train(x, y, steps):
    w = nn.Parameter(tg.zeros((3, 1), "float64"))
    optimizer = optim.SGD([w], lr=0.1)
    history = []
    for _ in range(steps):
        loss = losses.mse(x @ w, y)
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history
""",
        ),
        Wrong(
            "A new optimizer in each step forgets the momentum. What belongs before the loop?",
            was="        loss = losses.mse(x @ w, y)\n",
            now="        optimizer = optim.SGD([w], lr=0.1, momentum=0.5)\n"
            "        loss = losses.mse(x @ w, y)\n",
        ),
        Wrong(
            "The gradient is cleared every second step only, so each second step counts two.",
            was="        optimizer.zero_grad()\n",
            now="        if len(history) % 2 == 0:\n            optimizer.zero_grad()\n",
        ),
        Wrong(
            "A smaller learning rate hides the growth for some steps and does not end it. What "
            "does .grad hold when the second step begins?",
            code="""
import tinygen as tg
from tinygen import losses, nn, optim


def train(x, y, steps):
    w = nn.Parameter(tg.zeros((3, 1), "float64"))
    optimizer = optim.SGD([w], lr=0.01, momentum=0.5)
    history = []
    for _ in range(steps):
        loss = losses.mse(x @ w, y)
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history
""",
        ),
        Wrong(
            "The losses come after the step: they are those of the next weights, not of these.",
            was="history.append(loss.item())", now="history.append(losses.mse(x @ w, y).item())",
        ),
    ),
    cases=cases,
    hint="Print w.grad before each backward().",
    questions=(
        ("Without zero_grad and with equal gradients, how long is step 10 compared with step 1?",
         "Ten times, and more with momentum: .grad holds the sum of all ten."),
    ),
    why=(
        "backward adds, so that one parameter can collect from several losses or from parts of a "
        "batch. The price is one line a step. tg.coach() says when a step uses the gradients of "
        "two backward passes."
    ),
    engine=("tinygen/optim.py", "def zero_grad("),
)  # fmt: skip
