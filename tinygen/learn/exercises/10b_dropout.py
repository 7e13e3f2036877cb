"""A measurement with the neurons switched off. Find it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg
from tinygen import nn, optim

from ..exercise import Answer, Case, Exercise, Wrong


def data() -> Any:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((24, 3)).astype(np.float32)
    y = np.tanh(x[:, :1] - x[:, 1:2]) + 0.3 * x[:, 2:]
    return tg.tensor(x), tg.tensor(y)


def look(answer: Answer, epochs: int) -> Any:
    rng = tg.random.Generator(0)
    net = nn.Sequential(
        nn.Dense(3, 8, rng=rng), nn.Tanh(), nn.Dropout(0.5, rng=rng.stream("masks")),
        nn.Dense(8, 1, rng=rng),
    )  # fmt: skip
    x, y = data()
    optimizer = optim.Adam(net, lr=0.05)
    found = answer.train(net, optimizer, (x[:16], y[:16]), (x[16:], y[16:]), epochs)
    return {"losses on new points": np.array(found, np.float32), "training": net.training}


def cases() -> Iterator[Case]:
    yield Case("one epoch", lambda a: look(a, 1))
    yield Case("six epochs", lambda a: look(a, 6))


EXERCISE = Exercise(
    title="A planted mistake: a restless measurement",
    minutes=6,
    task="""
A network with dropout is trained, and after each epoch its loss on new points is measured. Measured
twice, the same weights give two results. Find the mistake and mend it. Dropout must be on whenever
the network learns, and off whenever it is measured. Leave the network in training mode.
""",
    start="""
import tinygen as tg
from tinygen import losses


def train(net, optimizer, seen, new, epochs):
    history = []
    for _ in range(epochs):
        for _ in range(5):
            optimizer.zero_grad()
            losses.mse(net(seen[0]), seen[1]).backward()
            optimizer.step()
        with tg.no_grad():
            history.append(losses.mse(net(new[0]), new[1]).item())
    return history
""",
    reference="""
import tinygen as tg
from tinygen import losses


def train(net, optimizer, seen, new, epochs):
    history = []
    for _ in range(epochs):
        for _ in range(5):
            optimizer.zero_grad()
            losses.mse(net(seen[0]), seen[1]).backward()
            optimizer.step()
        net.eval()
        with tg.no_grad():
            history.append(losses.mse(net(new[0]), new[1]).item())
        net.train()
    return history
""",
    wrong=(
        Wrong(
            "no_grad() stops the recording; it does not stop dropout. Which mode is the network in "
            "while it is measured?",
            was="        net.eval()\n", now="",
        ),
        Wrong(
            "From the second epoch on the network learns without dropout. Which mode does the loop "
            "leave it in?",
            was="        net.train()\n", now="",
        ),
        Wrong(
            "The network learns without dropout from the first step on: the mode was changed too "
            "early.",
            code="""
import tinygen as tg
from tinygen import losses


def train(net, optimizer, seen, new, epochs):
    history = []
    for _ in range(epochs):
        net.eval()
        for _ in range(5):
            optimizer.zero_grad()
            losses.mse(net(seen[0]), seen[1]).backward()
            optimizer.step()
        with tg.no_grad():
            history.append(losses.mse(net(new[0]), new[1]).item())
        net.train()
    return history
""",
        ),
        Wrong(
            "The outputs are halved as well. Dropout here doubles what it keeps, so that nothing "
            "has to be scaled when it is off.",
            was="losses.mse(net(new[0]), new[1])", now="losses.mse(0.5 * net(new[0]), new[1])",
        ),
        Wrong(
            "Averaging many restless measurements makes one less restless. Which mode measures the "
            "network itself?",
            was="        net.eval()\n        with tg.no_grad():\n"
            "            history.append(losses.mse(net(new[0]), new[1]).item())\n",
            now="        with tg.no_grad():\n"
            "            several = [losses.mse(net(new[0]), new[1]).item() for _ in range(20)]\n"
            "            history.append(sum(several) / 20)\n",
        ),
        Wrong(
            "That is the loss on the points that it learnt from: calm, and no measure of new ones.",
            was="losses.mse(net(new[0]), new[1])", now="losses.mse(net(seen[0]), seen[1])",
        ),
    ),
    cases=cases,
    hint="A module has two modes: net.train() and net.eval().",
    questions=(
        ("Is the loss with dropout on higher or lower than with it off, on the same weights?",
         "Mostly higher: half the neurons are missing, so the output is noisy."),
    ),
    why=(
        "Dropout and BatchNorm behave differently while the network learns, and only the module's "
        "mode tells them which. no_grad is about memory, eval about meaning. tg.coach() says when "
        "dropout is on while nothing is recorded."
    ),
    engine=("tinygen/nn/layers.py", "class Dropout"),
)  # fmt: skip
