"""The label for both networks, or it is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Wrong
from ..formulas import numbers

LABELS = np.array([0, 2, 1, 2])


def layer(name: str, x: tg.Tensor, outputs: int) -> tg.Tensor:
    """A dense layer with tanh; its weights fit whatever comes, and are the same each time."""
    seed = sum(map(ord, name)) + 10 * x.shape[1]
    return tg.tanh(x @ (0.7 * numbers(seed, x.shape[1], outputs)))


def look(answer: Answer, labels: Any, show: Callable[[Any], Any]) -> Any:
    eps = numbers(5, len(labels), 2)
    return show(answer.forward(layer, numbers(3, len(labels), 5), tg.tensor(labels), eps))


def cases() -> Iterator[Case]:
    def moved(answer: Answer) -> Any:
        """By how much the outputs move when the labels change."""
        old, new = (
            answer.forward(layer, numbers(3, 4, 5), tg.tensor(x), numbers(5, 4, 2))
            for x in (LABELS, (LABELS + 1) % 3)
        )
        return [(q - p) for p, q in zip(old, new, strict=True)]

    yield Case("the shapes of 4 images", lambda a: look(a, LABELS, lambda o: [x.shape for x in o]))
    yield Case("mu, logvar and the logits", lambda a: look(a, LABELS, list))
    yield Case("how they move when the labels change", moved)


EXERCISE = Exercise(
    title="A planted mistake: a digit that cannot be asked for",
    minutes=7,
    task="""
A conditional VAE of three classes: encoder and decoder are both told the label, as a row with a
single 1. After training this one draws any digit, whatever the label is. Find the mistake and mend
it. layer(name, x, outputs) is a layer of that name, which fits any input. Put the label behind the
other numbers, at the input of the encoder and at that of the decoder. Return mu, logvar and the
logits of 5 pixels.
""",
    start="""
import tinygen as tg


def forward(layer, x, labels, eps):
    rows = tg.one_hot(labels, classes=3, dtype="float64")
    hidden = layer("encoder", tg.concatenate([x, rows], axis=1), 4)
    mu, logvar = layer("mu", hidden, 2), layer("logvar", hidden, 2)
    z = mu + tg.exp(0.5 * logvar) * eps
    return mu, logvar, layer("decoder", z, 5)
""",
    reference="""
import tinygen as tg


def forward(layer, x, labels, eps):
    rows = tg.one_hot(labels, classes=3, dtype="float64")
    hidden = layer("encoder", tg.concatenate([x, rows], axis=1), 4)
    mu, logvar = layer("mu", hidden, 2), layer("logvar", hidden, 2)
    z = mu + tg.exp(0.5 * logvar) * eps
    return mu, logvar, layer("decoder", tg.concatenate([z, rows], axis=1), 5)
""",
    wrong=(
        Wrong(
            "The encoder knows the digit and need not write it into the code; who tells it to the "
            "decoder when you ask for a 7?",
            was='"decoder", tg.concatenate([z, rows], axis=1)', now='"decoder", z',
        ),
        Wrong(
            "The decoder is told, but the encoder is not: it still has to find out the digit, and "
            "writes it into the code. Then the code holds less of the handwriting.",
            was="tg.concatenate([x, rows], axis=1)", now="x",
        ),
        Wrong(
            "Nobody is told anything: this is the VAE of step 12.",
            code="""
import tinygen as tg


def forward(layer, x, labels, eps):
    hidden = layer("encoder", x, 4)
    mu, logvar = layer("mu", hidden, 2), layer("logvar", hidden, 2)
    z = mu + tg.exp(0.5 * logvar) * eps
    return mu, logvar, layer("decoder", z, 5)
""",
        ),
        Wrong(
            "The label as one number says that a 2 is twice a 1. Classes have no order: give each "
            "its own place.",
            was='tg.one_hot(labels, classes=3, dtype="float64")',
            now='labels.astype("float64").reshape(-1, 1)',
        ),
        Wrong(
            "The rows are added to the code, where they are mixed with what it says: z has no "
            "places of its own for them.",
            was="tg.concatenate([z, rows], axis=1)", now="z + rows[:, :2]",
        ),
        Wrong(
            "The label stands before the other numbers; the task says behind. After training one "
            "must know which, or a saved model cannot be used.",
            was="[z, rows]", now="[rows, z]",
        ),
        Wrong(
            "The decoder gets mu and never sees the noise: the clouds are points again.",
            was="[z, rows]", now="[mu, rows]",
        ),
        Wrong(
            "All images of a batch get the label of the first.",
            was="one_hot(labels, ", now="one_hot(0 * labels + labels[0], ",
        ),
    ),
    cases=cases,
    hint="Follow `rows` through the program: where does it go in, and where not?",
    questions=(
        ("The decoder is told the label. Why should the encoder be told, too?",
         "So that it need not spend the code, which has a price, on what the decoder knows."),
    ),
    why=(
        "What is given to both networks costs nothing and need not be in the code. Told to one of "
        "them only, the label is written into the code or never reaches the picture. Shapes do not "
        "show it, since each network fits what it gets."
    ),
    engine=("tinygen/models/base.py", "return beside(x, self.one_hot(x, labels))"),
)  # fmt: skip
