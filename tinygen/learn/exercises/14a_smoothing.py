"""A target of 0.9 for real images, and for them alone."""

from __future__ import annotations

from typing import Any

import tinygen as tg
from tinygen import losses

from ..exercise import Exercise, Wrong
from ..formulas import formula, numbers


def known(real: tg.Tensor, fake: tg.Tensor, target: float) -> Any:
    return losses.gan("minimax", real_target=target).discriminator(real, fake)


EXERCISE = Exercise(
    title="Label smoothing on one side",
    minutes=6,
    task="""
A discriminator that is too sure leaves the generator no slope. So real images are called real with
the probability `target`, such as 0.9, and no more. With D = sigmoid(logit) their loss is
-target log D - (1 - target) log(1 - D). Generated images keep the target 0. Write the
discriminator's loss: a mean over each kind, added. -log D is softplus(-logit), and -log(1 - D) is
softplus(logit).
""",
    start="""
import tinygen as tg


def loss(real, fake, target):
    return target * tg.softplus(-real).mean() + tg.softplus(fake).mean()
""",
    reference="""
import tinygen as tg


def loss(real, fake, target):
    called_real = target * tg.softplus(-real) + (1 - target) * tg.softplus(real)
    return called_real.mean() + tg.softplus(fake).mean()
""",
    wrong=(
        Wrong(
            "A smaller weight is not a smaller target: the best logit for real images is still "
            "infinite. Which term pulls it back?",
            was="target * tg.softplus(-real) + (1 - target) * tg.softplus(real)",
            now="target * tg.softplus(-real)",
        ),
        Wrong(
            "The generated ones are smoothed, too. Where nothing is real D then rests at 0.1 and "
            "goes no lower. Which of the two kinds keeps its target?",
            was="tg.softplus(fake).mean()",
            now="(target * tg.softplus(fake) + (1 - target) * tg.softplus(-fake)).mean()",
        ),
        Wrong(
            "The side is exchanged: real images keep their target of 1, generated ones do not.",
            code="import tinygen as tg\n\n\ndef loss(real, fake, target):\n"
            "    called = target * tg.softplus(fake) + (1 - target) * tg.softplus(-fake)\n"
            "    return tg.softplus(-real).mean() + called.mean()\n",
        ),
        Wrong(
            "The two shares are exchanged: real images are called generated nine times in ten.",
            was="target * tg.softplus(-real) + (1 - target) * tg.softplus(real)",
            now="(1 - target) * tg.softplus(-real) + target * tg.softplus(real)",
        ),
        Wrong(
            "The loss of the plain game, whatever the target is. Where does `target` come in?",
            was="target * tg.softplus(-real) + (1 - target) * tg.softplus(real)",
            now="tg.softplus(-real)",
        ),
        Wrong(
            "That moves the logit, not the probability: at the target 0.9 it must come to rest "
            "where sigmoid(logit) = 0.9.",
            was="target * tg.softplus(-real) + (1 - target) * tg.softplus(real)",
            now="tg.softplus(-target * real)",
        ),
        Wrong(
            "The squared error to the target is another game, least squares.",
            was="target * tg.softplus(-real) + (1 - target) * tg.softplus(real)",
            now="(tg.sigmoid(real) - target) ** 2",
        ),
    ),
    cases=lambda: formula(
        "loss",
        [
            ("target 0.9", lambda: [numbers(0, 4), numbers(1, 4), 0.9]),
            ("target 1, where it is the plain loss", lambda: [numbers(2, 3), numbers(3, 5), 1.0]),
            ("target 0.7", lambda: [numbers(4, 4), numbers(5, 4), 0.7]),
        ],
        known,
    ),
    hint="Set the slope with respect to a real logit to 0: what is sigmoid(logit) there?",
    questions=(
        ("Which logit is best for a real image at the target 0.9?",
         "log(0.9 / 0.1) = 2.2. Without smoothing it is infinite."),
    ),
    why=(
        "softplus(-r) + (1 - target) r is the same with a term less, since softplus(r) - "
        "softplus(-r) = r. Smoothing the real images alone makes the best D 0.9 times what it was, "
        "everywhere: its shape stays, and where nothing is real it still goes to 0."
    ),
    engine=("tinygen/losses.py", "return terms if target == 1 else terms + (1 - target) * logits"),
)  # fmt: skip
