"""A likelihood below zero, and what it says of the pixels. Find it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..exercise import Case, Exercise, Wrong


def images() -> Any:
    rng = np.random.default_rng(2)
    centre = np.abs(np.arange(6) - rng.integers(1, 5, (8, 1)))
    return np.where(centre < 1, 255, np.where(centre < 2, 90, 0)).astype(np.uint8)


def cases() -> Iterator[Case]:
    yield Case("the first loss", lambda a: a.train(images(), steps=1), lambda: [6 * np.log(2)])
    yield Case("the loss of 2 steps", lambda a: a.train(images(), steps=2))
    yield Case("the loss of 25 steps", lambda a: a.train(images(), steps=25))


EXERCISE = Exercise(
    title="A planted mistake: better than perfect",
    minutes=6,
    task="""
Eight images of six grey pixels (0 to 255) are learnt by one logit a pixel. The loss is the negative
log-likelihood of pixels that are white with probability sigmoid(logit), in nats an image: summed
over the pixels and averaged over the images. It can never be below 0, and yet it is. Find the
mistake and mend it. `train` returns the losses.
""",
    start="""
import tinygen as tg
from tinygen import nn, optim


def train(images, steps):
    x = tg.tensor(images.astype("float64"))
    logits = nn.Parameter(tg.zeros((6,), "float64"))
    optimizer = optim.SGD([logits], lr=0.5)
    history = []
    for _ in range(steps):
        pixels = tg.softplus(logits) - logits * x
        loss = pixels.sum(axis=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history
""",
    reference="""
import tinygen as tg
from tinygen import nn, optim


def train(images, steps):
    x = tg.tensor(images.astype("float64") / 255)
    logits = nn.Parameter(tg.zeros((6,), "float64"))
    optimizer = optim.SGD([logits], lr=0.5)
    history = []
    for _ in range(steps):
        pixels = tg.softplus(logits) - logits * x
        loss = pixels.sum(axis=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return history
""",
    wrong=(
        Wrong(
            "softplus(l) - l x is a likelihood only for some x. Which values of x are a share of "
            "white, and which do the images have?",
            was=" / 255", now="",
        ),
        Wrong(
            "From -1 to 1 suits tanh and a GAN. Can a pixel be white with probability -1?",
            was='images.astype("float64") / 255', now='images.astype("float64") / 127.5 - 1',
        ),
        Wrong(
            "In whole numbers every grey becomes 0: convert first, then divide.",
            was='images.astype("float64") / 255', now='(images // 255).astype("float64")',
        ),
        Wrong(
            "The range is right. But the mean over the pixels as well is not in nats an image.",
            was="pixels.sum(axis=1).mean()", now="pixels.mean()",
        ),
        Wrong(
            "The range is right. A sum over the images, too, makes every step 8 times as long.",
            was="pixels.sum(axis=1).mean()", now="pixels.sum()",
        ),
        Wrong(
            "The range is right; the sign of the second term is not: white pixels should raise "
            "their logit.",
            was="- logits * x", now="+ logits * x",
        ),
        Wrong(
            "A sigmoid before the softplus: the formula takes the logit as it is.",
            was="pixels = tg.softplus(logits) - logits * x",
            now="p = tg.sigmoid(logits)\n        pixels = tg.softplus(p) - p * x",
        ),
    ),
    cases=cases,
    hint="Print x.min() and x.max().",
    questions=(
        ("All logits are 0. What is the loss of an image of 6 pixels, whatever it shows?",
         "6 log 2 = 4.16 nats: every pixel has probability one half."),
    ),
    why=(
        "For x in [0, 1] softplus(l) - l x is a cross-entropy and never negative. For x = 255 it "
        "falls without end as l grows: nothing is learnt but to be white. The losses of tinygen "
        "look at the range of their images and refuse these."
    ),
    engine=("tinygen/losses.py", "divide 0..255 by 255"),
)  # fmt: skip
