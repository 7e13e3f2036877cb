"""Nine gradients by hand: the loss of a VAE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Finding, Wrong
from ..formulas import numbers, slopes

PIXELS = tg.tensor(np.array([[0.0, 1, 1, 0, 0.3], [1, 0, 0.7, 0, 1], [0, 0, 1, 1, 0.1]]))
NOISE = numbers(9, 3, 2)


def inputs() -> list[tg.Tensor]:
    return [numbers(0, 3, 2), numbers(1, 3, 2), numbers(2, 2, 5)]


def known(mu: tg.Tensor, logvar: tg.Tensor, w: tg.Tensor) -> dict[str, tg.Tensor]:
    """The nine gradients by the engine."""
    half = 0.5 * logvar
    sd = tg.exp(half)
    noise = sd * NOISE
    z = mu + noise
    s = z @ w
    pixels = tg.softplus(s) - s * PIXELS
    k = 0.5 * (mu**2 + tg.exp(logvar) - logvar - 1)
    total = pixels.sum(axis=1) + k.sum(axis=1)
    loss = total.mean()
    steps = {"total": total, "pixels": pixels, "k": k, "s": s, "z": z, "noise": noise, "sd": sd}
    steps |= {"logvar": logvar, "mu": mu}
    return dict(zip(steps, tg.grad(loss, list(steps.values()), create_graph=True), strict=True))


def by(function: Callable[..., Any], name: str, order: int) -> Any:
    """One of the nine, or its own gradient."""

    def one(*given: tg.Tensor) -> Any:
        found = function(*given)
        if name not in found:
            raise Finding(f"`gradients` returns no {name!r} yet")
        return found[name]

    if order == 2:
        return slopes(one, inputs(), 1)
    return one(*[x.detach(requires_grad=True) for x in inputs()]).detach()


def answered(answer: Answer) -> Callable[..., Any]:
    def function(*given: tg.Tensor) -> Any:
        return answer.gradients(answer.forward(*given, NOISE, PIXELS), *given, NOISE, PIXELS)

    return function


def look(answer: Answer, name: str, order: int) -> Any:
    return by(answered(answer), name, order)


def cases() -> Iterator[Case]:
    names = ("total", "pixels", "k", "s", "z", "noise", "sd", "logvar", "mu")
    for order in (1, 2):
        for name in names if order == 1 else names[3:]:  # the first three are constants
            yield Case(
                f"the gradient of {name}" if order == 1 else f"the gradient of that of {name}",
                partial(look, name=name, order=order),
                partial(by, known, name, order),
                order=order,
            )


FORWARD = """
import tinygen as tg


def forward(mu, logvar, w, eps, x):
    half = 0.5 * logvar                                # mu, logvar and eps are (3, 2)
    sd = tg.exp(half)
    noise = sd * eps
    z = mu + noise
    s = z @ w                                          # (3, 2) @ (2, 5): logits of 5 pixels
    pixels = tg.softplus(s) - s * x
    k = 0.5 * (mu**2 + tg.exp(logvar) - logvar - 1)
    total = pixels.sum(axis=1) + k.sum(axis=1)         # nats an image, (3,)
    loss = total.mean()
    return dict(sd=sd, noise=noise, z=z, s=s, pixels=pixels, k=k, total=total, loss=loss)
"""
TABLE = """

if __name__ == "__main__":
    from tinygen.learn.compare import compare

    rng = tg.random.Generator(0)
    shapes = (3, 2), (3, 2), (2, 5)
    mu, logvar, w = (rng.normal(s, "float64").detach(requires_grad=True) for s in shapes)
    eps, x = rng.normal((3, 2), "float64"), rng.uniform((3, 5), "float64")
    f = forward(mu, logvar, w, eps, x)
    steps = {name: f[name] for name in ("total", "pixels", "k", "s", "z", "noise", "sd")}
    steps |= dict(logvar=logvar, mu=mu)
    compare(gradients(f, mu, logvar, w, eps, x), f["loss"], steps)
"""
EXERCISE = Exercise(
    title="By hand: the loss of a VAE",
    minutes=25,
    task="""
`forward` is the second half of a VAE in nine lines. Write nine gradients of the loss, from the last
line back to the first: of total, pixels, k, s, z, noise, sd, logvar and mu. Each has the shape of
its variable. Use tensors, but not tg.grad; the slope of softplus is tg.sigmoid. The values that
`forward` made are f["sd"], f["s"] ... Run the file: it prints
name | exact | close | largest difference.
""",
    start=FORWARD
    + """

def gradients(f, mu, logvar, w, eps, x):
    g = {}
    g["total"] = tg.ones(f["total"].shape, "float64") / f["total"].shape[0]
    # the other eight: pixels, k, s, z, noise, sd, logvar, mu
    return g
"""
    + TABLE,
    reference=FORWARD
    + """

def gradients(f, mu, logvar, w, eps, x):
    total = tg.ones(f["total"].shape, "float64") / f["total"].shape[0]
    each = total.reshape(-1, 1)
    pixels = each * tg.ones(f["pixels"].shape, "float64")
    k = each * tg.ones(f["k"].shape, "float64")
    s = pixels * (tg.sigmoid(f["s"]) - x)
    z = s @ w.T
    noise = z
    sd = noise * eps
    logvar_slope = 0.5 * (sd * f["sd"]) + 0.5 * k * (tg.exp(logvar) - 1)
    mu_slope = z + k * mu
    g = dict(total=total, pixels=pixels, k=k, s=s, z=z, noise=noise, sd=sd)
    return g | dict(logvar=logvar_slope, mu=mu_slope)
"""
    + TABLE,
    wrong=(
        Wrong(
            "The loss is a mean over three images: how much does it move when one of them does?",
            was=' / f["total"].shape[0]', now="",
        ),
        Wrong(
            "Each pixel of an image is a term of its sum, and gets the slope of the sum itself.",
            was='each * tg.ones(f["pixels"].shape, "float64")',
            now='each * tg.ones(f["pixels"].shape, "float64") / 5',
        ),
        Wrong(
            "s stands twice in its line: the path of the second term is missing.",
            was='tg.sigmoid(f["s"]) - x', now='tg.sigmoid(f["s"])',
        ),
        Wrong(
            "With which sign does s x stand in the line of the pixels?",
            was='tg.sigmoid(f["s"]) - x', now='tg.sigmoid(f["s"]) + x',
        ),
        Wrong(
            "The slope of softplus is the sigmoid itself, not that of the sigmoid.",
            was='tg.sigmoid(f["s"]) - x',
            now='tg.sigmoid(f["s"]) * (1 - tg.sigmoid(f["s"])) - x',
        ),
        Wrong(
            "The factors of a product's gradient: (3, 5) has to become (3, 2), with w turned.",
            was="s @ w.T", now="s @ w",
        ),
        Wrong(
            "noise = sd eps: what stands beside sd in that line?",
            was="noise * eps", now='noise * f["noise"]',
        ),
        Wrong(
            "logvar goes two ways, through the draw and through the KL. The second is missing.",
            was=" + 0.5 * k * (tg.exp(logvar) - 1)", now="",
        ),
        Wrong(
            "logvar goes two ways: that through the draw is missing, so no pixel counts.",
            was='0.5 * (sd * f["sd"]) + ', now="",
        ),
        Wrong(
            "logvar stands twice in the line of k, and once with a minus.",
            was="(tg.exp(logvar) - 1)", now="tg.exp(logvar)",
        ),
        Wrong(
            "The half of the first line is a factor on the way back as well.",
            was='0.5 * (sd * f["sd"])', now='(sd * f["sd"])',
        ),
        Wrong(
            "mu goes two ways: it moves z, and it costs something in k.",
            was="z + k * mu", now="z",
        ),
        Wrong(
            "The slope of mu^2 / 2 is mu: where did the 2 of the power go?",
            was="z + k * mu", now="z + 0.5 * k * mu",
        ),
    ),
    cases=cases,
    hint="One line at a time: what comes from behind, times the slope of this line alone.",
    questions=(
        ("At which mu and logvar is the gradient of the KL alone 0?",
         "At 0 and 0: the cloud is N(0, 1)."),
    ),
    why=(
        "mu is pulled by two forces: by the pixels through z, and towards 0 by the KL. Where they "
        "are equal the code rests. The engine adds up the two paths as you did."
    ),
    engine=("tinygen/graph.py", "def pull_back("),
)  # fmt: skip
