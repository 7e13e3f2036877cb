"""A random draw that lets gradients through. Find what stops them."""

from __future__ import annotations

from tinygen.losses import gaussian_sample

from ..exercise import Exercise, Wrong
from ..formulas import formula, numbers

EXERCISE = Exercise(
    title="A planted mistake: an encoder that learns nothing",
    minutes=6,
    task="""
`draw` gives a point of the cloud N(mu, exp(logvar)): the mean, plus the standard deviation times a
standard normal number eps, which comes from outside. The points are right, and yet the encoder's
weights get no gradient from the pixels. Find the mistake and mend it.
""",
    start="""
import tinygen as tg


def draw(mu, logvar, eps):
    with tg.no_grad():
        z = mu + tg.exp(0.5 * logvar) * eps
    return z
""",
    reference="""
import tinygen as tg


def draw(mu, logvar, eps):
    z = mu + tg.exp(0.5 * logvar) * eps
    return z
""",
    wrong=(
        Wrong(
            "The noise needs no gradient, but mu and logvar do. What is all inside the block?",
            code="import tinygen as tg\n\n\ndef draw(mu, logvar, eps):\n    with tg.no_grad():\n"
            "        z = mu + tg.exp(0.5 * logvar) * eps\n    return z\n",
        ),
        Wrong(
            "mu is in the graph again, but the size of the cloud is not: logvar still learns "
            "nothing from the pixels.",
            was="tg.exp(0.5 * logvar)", now="tg.exp(0.5 * logvar.detach())",
        ),
        Wrong(
            "The cloud's size learns now, but its place does not.",
            was="z = mu +", now="z = mu.detach() +",
        ),
        Wrong(
            "exp(logvar) is the variance. By what is eps to be multiplied, so that this is its "
            "variance?",
            was="tg.exp(0.5 * logvar)", now="tg.exp(logvar)",
        ),
        Wrong(
            "The half belongs into the exponent: a root, not a half, makes a standard deviation.",
            was="tg.exp(0.5 * logvar)", now="0.5 * tg.exp(logvar)",
        ),
        Wrong(
            "That has the inverse of the standard deviation: a large variance must spread points.",
            was="0.5 * logvar", now="-0.5 * logvar",
        ),
        Wrong(
            "The logarithm of the variance is itself no spread: it can be below 0.",
            was="tg.exp(0.5 * logvar)", now="logvar",
        ),
        Wrong(
            "A draw of the mean alone has no noise, and the decoder would see points, not clouds.",
            was="mu + tg.exp(0.5 * logvar) * eps", now="mu",
        ),
    ),
    cases=lambda: formula(
        "draw",
        [
            ("a cloud", lambda: [numbers(0, 1, 1), numbers(1, 1, 1), numbers(2, 1, 1)]),
            ("4 clouds of 3 numbers",
             lambda: [numbers(3, 4, 3), numbers(4, 4, 3), numbers(5, 4, 3)]),
        ],
        gaussian_sample,
    ),
    hint="What does no_grad do to the operations inside of it?",
    questions=(
        ("Which gradient does mu get from the pixels, compared with z?",
         "The same: z = mu + noise, so z moves as mu does."),
    ),
    why=(
        "A draw has no slope, but a draw of N(0, 1) that is moved and stretched has: eps stands "
        "outside, and z is a plain function of mu and logvar. This is the reparameterisation."
    ),
    engine=("tinygen/losses.py", "return mu + ops.exp(0.5 * logvar) * noise"),
)  # fmt: skip
