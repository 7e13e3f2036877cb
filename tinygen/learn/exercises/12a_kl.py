"""The price of information, summed over the code."""

from __future__ import annotations

from tinygen import losses

from ..exercise import Exercise, Wrong
from ..formulas import formula, numbers

EXERCISE = Exercise(
    title="The KL divergence of a code",
    minutes=7,
    task="""
An encoder gives each image a cloud N(mu, exp(logvar)), with a mu and a logvar for each number of
the code; both have the shape (images, code). Write the divergence from N(0, 1) in nats an image:
(mu^2 + exp(logvar) - logvar - 1) / 2, summed over the code, averaged over the images. Use tensors.
""",
    start="""
import tinygen as tg


def kl(mu, logvar):
    return 0.5 * (mu**2 + tg.exp(logvar) - logvar - 1).mean()
""",
    reference="""
import tinygen as tg


def kl(mu, logvar):
    return 0.5 * (mu**2 + tg.exp(logvar) - logvar - 1).sum(axis=1).mean()
""",
    wrong=(
        Wrong(
            "A mean over the code, too, makes information cheap, and the cheaper the longer the "
            "code is. Which axis is summed and which averaged?",
            was=".sum(axis=1).mean()", now=".mean()",
        ),
        Wrong(
            "The sum over the images makes the price grow with the batch, while the other term of "
            "the loss is an average.",
            was=".sum(axis=1).mean()", now=".sum()",
        ),
        Wrong(
            "The two axes are exchanged: the images are summed and the code is averaged.",
            was=".sum(axis=1).mean()", now=".sum(axis=0).mean()",
        ),
        Wrong(
            "The sign: at mu = 0, logvar = 0 it is 0, and it must be positive everywhere else.",
            was="0.5 * (", now="-0.5 * (",
        ),
        Wrong(
            "logvar is the logarithm of the variance, not of the standard deviation: what is it "
            "that exp gives?",
            was="tg.exp(logvar) - logvar", now="tg.exp(2 * logvar) - 2 * logvar",
        ),
        Wrong(
            "Without the 1 it is not 0 for a cloud that is N(0, 1) already. The gradient is right, "
            "so training would not notice.",
            was=" - 1)", now=")",
        ),
        Wrong(
            "Every term is there twice. Where did the half go?",
            was="0.5 * (", now="1.0 * (",
        ),
        Wrong(
            "NumPy's exp leaves the graph, so that one of the paths to logvar is gone.",
            was="tg.exp(logvar)", now="tg.tensor(tg.exp(logvar).numpy())",
        ),
    ),
    cases=lambda: formula(
        "kl",
        [
            ("1 image, a code of 1", lambda: [numbers(0, 1, 1), numbers(1, 1, 1)]),
            ("4 images, a code of 3", lambda: [numbers(2, 4, 3), numbers(3, 4, 3)]),
        ],
        losses.gaussian_kl,
    ),
    hint="Each number of the code costs something, so the costs of one image add up.",
    questions=(
        ("A code of 20 numbers, and the mean over all elements: how much cheaper is information?",
         "20 times. The clouds shrink to points far apart: an autoencoder, which cannot invent."),
        ("And if it is the pixels' term that is averaged, over 784 pixels?",
         "Then the KL wins: all clouds become N(0, 1), the code is empty, all images look alike."),
    ),
    why=(
        "Divergences of independent numbers add up, as the logarithms of their probabilities do. "
        "Both terms of the bound must be counted in the same unit, nats an image; averaging one of "
        "them multiplies the other by the number of elements."
    ),
    engine=("tinygen/losses.py", "return 0.5 * (ops.square(mu) + ops.exp(logvar) - logvar - 1.0)"),
)  # fmt: skip
