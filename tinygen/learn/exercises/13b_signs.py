"""Who wants what: the two losses of a GAN."""

from __future__ import annotations

from typing import Any

import tinygen as tg
from tinygen import losses

from ..exercise import Exercise, Wrong
from ..formulas import formula, numbers


def known(real: tg.Tensor, fake: tg.Tensor) -> Any:
    game = losses.gan("non_saturating")
    return game.discriminator(real, fake), game.generator(fake)


EXERCISE = Exercise(
    title="Which way does each player pull",
    minutes=8,
    task="""
A discriminator gives logits; sigmoid(logit) is its probability of "real". Write both losses of the
game, each to be minimised. The discriminator's: the mean of -log(probability) of having called real
images real, plus the mean of that of having called generated ones generated. The generator's: the
mean of -log(probability) of having been taken for real. Logits may be +-1000, so use tg.softplus:
softplus(l) = log(1 + e^l) = -log(1 - sigmoid(l)).
""",
    start="""
import tinygen as tg


def losses(real, fake):
    discriminator = tg.softplus(real).mean() + tg.softplus(fake).mean()
    generator = -tg.softplus(fake).mean()
    return discriminator, generator
""",
    reference="""
import tinygen as tg


def losses(real, fake):
    discriminator = tg.softplus(-real).mean() + tg.softplus(fake).mean()
    generator = tg.softplus(-fake).mean()
    return discriminator, generator
""",
    wrong=(
        Wrong(
            "Both words are exchanged: this expert is glad to call real images generated. What is "
            "the loss of a real image with the logit 1000?",
            was="tg.softplus(-real).mean() + tg.softplus(fake).mean()",
            now="tg.softplus(real).mean() + tg.softplus(-fake).mean()",
        ),
        Wrong(
            "The expert gains twice from low logits and learns nothing else. For which of the two "
            "kinds should the logit rise?",
            was="tg.softplus(-real).mean()", now="tg.softplus(real).mean()",
        ),
        Wrong(
            "That is the first form of the paper: right in sign, but its slope dies where D is "
            "sure. The task asks for -log of having been taken for real.",
            was="generator = tg.softplus(-fake)", now="generator = -tg.softplus(fake)",
        ),
        Wrong(
            "This generator wants to be found out: its loss falls when the logit falls.",
            was="generator = tg.softplus(-fake)", now="generator = tg.softplus(fake)",
        ),
        Wrong(
            "A loss is minimised. The sign of the whole would make the expert the worst possible.",
            was="discriminator = tg.softplus(-real).mean() + tg.softplus(fake).mean()",
            now="discriminator = -(tg.softplus(-real).mean() + tg.softplus(fake).mean())",
        ),
        Wrong(
            "A sigmoid and then a logarithm is right on paper; at a logit of 1000 it is log(0).",
            was="tg.softplus(-real).mean() + tg.softplus(fake).mean()",
            now="-(tg.log(tg.sigmoid(real)).mean() + tg.log(1 - tg.sigmoid(fake)).mean())",
        ),
        Wrong(
            "A sum grows with the batch; the task asks for means.",
            was=".mean()", now=".sum()",
        ),
        Wrong(
            "Half of the sum is a choice of some programs, but not what the task says.",
            was="tg.softplus(-real).mean() + tg.softplus(fake).mean()",
            now="0.5 * (tg.softplus(-real).mean() + tg.softplus(fake).mean())",
        ),
    ),
    cases=lambda: formula(
        "losses",
        [
            ("logits near 0", lambda: [numbers(0, 3), numbers(1, 5)]),
            ("logits of 1000 and -1000", lambda: [
                tg.tensor([1000.0, -1000.0, 0.3], dtype="float64"),
                tg.tensor([1000.0, -1000.0, 0.3], dtype="float64"),
            ]),
        ],
        known,
    ),
    hint="Write a logit of 5 into each of the three terms. For whom is that good news?",
    questions=(
        ("What are the two losses when D cannot tell anything, at all logits 0?",
         "2 log 2 = 1.39 and log 2 = 0.69."),
        ("D is sure that an image is generated, logit -10. Which slope does the generator get from "
         "softplus(-f), and which from -softplus(f)?",
         "-1 and -0.00005. So the first form learns when it has to."),
    ),
    why=(
        "sigmoid(-l) = 1 - sigmoid(l), so softplus with either sign is both logarithms, without "
        "rounding anything to 0. The generator's loss is not the negative of the other: it has the "
        "same rest point, and a slope where the generator loses."
    ),
    engine=("tinygen/losses.py", "non_saturating\": _Game(_called_real, ops.softplus"),
)  # fmt: skip
