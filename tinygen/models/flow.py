"""Flow matching along straight lines: rectified flow (Liu, Gong and Liu, 2023, arXiv 2209.03003).

A picture x and noise e ~ N(0, I) are the ends of a line, z = (1 - t) e + t x for t from 0 to 1. A
network learns the velocity along the lines that pass through a point,

    loss = E |v(z, t, y) - (x - e)|^2,

and a new picture is the end of the way dz/dt = v(z, t, y) from noise at t = 0 (Lipman et al., 2023,
arXiv 2210.02747). Times in training are logit-normal, t = sigmoid(m + s N(0, 1)): most is learnt in
the middle (Esser et al., 2024, arXiv 2403.03206), here a little nearer to the noise, m = -0.5,
which measured best (examples/benchmarks.md has the sweep).

Where the data have labels y, some are hidden in training: the network learns v without one, too.
Guidance (Ho and Salimans, 2022, arXiv 2207.12598) then asks for more of what the label changes,

    v = v(z, t) + w (v(z, t, y) - v(z, t)),

for times within an interval (Kynkäänniemi et al., 2024, arXiv 2404.07724). w = 1 draws as the data
are distributed, w = 0 ignores the label; more makes surer and less various pictures.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

from .. import optim
from ..graph import no_grad
from ..ops import clip, concatenate, one_hot, sigmoid, square, where
from ..optim import Optimizer
from ..options import Options as BaseOptions
from ..options import above, at_least, between, option
from ..random import Generator
from ..sampling import Noise, ode
from ..tensor import Tensor
from .base import OneStage
from .contract import Column, Draws, Figure, Losses, Stage, minimise
from .networks.unet import UNet
from .registry import register


@dataclass(frozen=True, kw_only=True)
class Options(BaseOptions):
    """What a flow is built with and how it learns."""

    width: int = option(96, at_least(1), "Channels of the U-Net at half size.", on_processor=32)
    blocks: int = option(
        2, at_least(1), "Residual blocks at each size, down and up.", on_processor=1
    )
    hide: float = option(0.1, between(0, 1), "Share of the labels hidden in training.")
    time_mean: float = option(
        -0.5,
        between(-9, 9),
        "Times in training are sigmoid(N(mean, spread^2)): below 0 for more noise.",
    )
    time_spread: float = option(1.0, above(0), "See --time-mean.")
    lr: float = option(1e-3, above(0), "Learning rate of Adam.", flags="")


@dataclass(frozen=True, kw_only=True)
class Settings(BaseOptions):
    """What can be chosen at each drawing."""

    steps: int = option(8, at_least(1), "Steps from noise to picture.")
    method: ode.Method = option("heun", help="How a step goes; heun's looks twice.")
    guidance: float = option(
        1.25, at_least(0), "How much a label counts: 1 as in the data, 0 not at all."
    )
    interval: tuple[float, float] = option(
        (0.0, 1.0), between(0, 1), "Times of the steps that are guided.", form="two numbers: 0,1"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interval[0] > self.interval[1]:
            raise ValueError(
                f"interval is {self.interval}, expected its first time before its second, of 0 to 1"
            )
        first, last = guided_steps(self.steps, self.interval)
        if first == last:
            begin = f"the {self.steps} begin at 0, 1/{self.steps}, ..."
            raise ValueError(
                f"interval is {self.interval}, in which none of the steps begins, so that none is "
                f"guided; {begin if self.steps > 1 else 'the only one begins at 0'}; give a longer "
                "one, or more steps"
            )


def guided_steps(steps: int, interval: tuple[float, float]) -> tuple[int, int]:
    """The steps that begin within some times: the first, and the first after them."""
    first, last = (math.ceil(steps * t - 1e-6) for t in interval)
    return first, last


LABELLED = ("hide", "guidance", "interval")  # options and settings that labels give a meaning


class NoiseToImage(OneStage, Draws):
    """A U-Net that moves noise towards a picture: what a flow and its student have in common.

    Attributes:
        known: the number of classes that it takes labels of; 0 for none.
    """

    batch_size, ema, clip = 96, 0.999, 1.0
    course = optim.Course("linear", warmup=200, hold=0.7, final=0.02)
    value_range = (-1.0, 1.0)
    options: Any

    def build(self) -> None:
        options = self.options
        self.known = self.classes if self.classes > 1 else 0
        self.net = UNet(
            self.shape, width=options.width, blocks=options.blocks, classes=self.known,
            name=self.name, rng=self.init_rng,
        )  # fmt: skip
        self.noise = Noise(self.shape)
        self.given = (Column("label", "label", count=self.known),) if self.known else ()
        if not self.known:
            self.idle = dict.fromkeys(LABELLED, "its data have no labels of two or more classes")

    def optimizers(self, lr: float | None) -> dict[str, Optimizer]:
        lr = self.options.lr if lr is None else lr
        return {"net": optim.Adam(self.net.parameters(), lr=lr, betas=(0.9, 0.99))}

    def check_label(self, noise: Tensor, label: Tensor | None) -> Tensor | None:
        """The label itself, if it is what a drawing takes; else ValueError."""
        if not self.known:
            return None
        n = noise.shape[0]
        if label is None or label.shape != (n,) or label.dtype.kind not in "iu":
            met = "none" if label is None else f"{label.shape} {label.dtype}"
            raise ValueError(
                f"{self.name} draws what a label says: labels {met}, expected {n} integers"
            )
        one_hot(label, self.known)  # refuses numbers that are no class of the data
        return label


@register
class Flow(NoiseToImage):
    """Flow matching with a U-Net: noise becomes a picture along a learned velocity.

    It takes labels if the data have them. Height and width must be divisible by 4 up to 32 pixels,
    by 8 up to 64, by 16 up to 128, and so on. Images are grey or colour.
    """

    name, Options, Settings = "flow", Options, Settings
    unit = "squared error of the velocity"
    epochs = 10

    def stages(self) -> tuple[Stage, ...]:
        reads = (Column("image", range=self.value_range), *self.given)
        return (
            Stage(
                "train", reads, ("net",), self.step, self.optimizers, self.figures, self.epochs,
                self.batch_size, ema=self.ema, course=self.course, clip=self.clip,
            ),
        )  # fmt: skip

    # ---- training ----------------------------------------------------------------------------

    def errors(self, x: Tensor, label: Tensor | None, rng: Generator) -> Tensor:
        """Mean squared error of the velocity, (n,), each image at a random time of its line."""
        options = self.options
        e = rng.normal(x.shape)
        t = sigmoid(options.time_mean + options.time_spread * rng.normal((x.shape[0],)))
        s = t.reshape(-1, 1, 1, 1)
        v = self.net((1.0 - s) * e + s * x, t, label)
        each: Tensor = square(v - (x - e)).mean(axis=(1, 2, 3))
        return each

    def step(self, batch: dict[str, Tensor], optimizers: dict[str, Optimizer]) -> Losses:
        """One update: the velocity at noised images, some of their labels hidden."""
        label = batch.get("label")
        if label is not None:
            hidden = self.noise_rng.bernoulli(self.options.hide, label.shape)
            label = where(hidden, self.known, label)
        loss = self.errors(batch["image"], label, self.noise_rng).mean()
        minimise(loss, optimizers)
        return {"loss": loss.detach()}

    @no_grad()
    def figures(self, batch: dict[str, Tensor], rng: Generator) -> dict[str, Figure]:
        """The error of the velocity, with the label where it has one."""
        errors = self.errors(batch["image"], batch.get("label"), rng)
        how = "mean over the pixels, at one random time of training's law an image"
        return {"velocity": Figure(errors, self.unit, protocol=how)}

    # ---- drawing -----------------------------------------------------------------------------

    def velocity(self, z: Tensor, t: Any, label: Tensor | None, guidance: Any = 1.0) -> Tensor:
        """v(z, t) + guidance (v(z, t, label) - v(z, t)), for one time t of all images.

        A guidance that is the number 1 or 0 needs one evaluation, any other two.

        Raises:
            ValueError: a number t outside [0, 1].
        """
        if isinstance(t, (int, float)) and not 0 <= t <= 1:
            raise ValueError(f"{self.name}: time {t}, expected from 0 (noise) to 1 (picture)")
        plain: Tensor
        number = isinstance(guidance, (int, float))
        if label is None or (number and guidance in (0, 1)):
            plain = self.net(z, t, label if guidance else None)
            return plain
        n = z.shape[0]
        both = self.net(concatenate([z, z]), t, concatenate([label, label * 0 + self.known]))
        guided: Tensor = both[n:] + guidance * (both[:n] - both[n:])
        return guided

    def draw(
        self, noise: Tensor | None, *, label: Tensor | None = None, steps: int, method: ode.Method,
        guidance: Any = 1.0, interval: tuple[float, float] = (0.0, 1.0),
    ) -> Tensor:  # fmt: skip
        assert noise is not None
        label = self.check_label(noise, label)
        first, last = guided_steps(steps, interval)
        z = noise
        for w, begin, end in ((1.0, 0, first), (guidance, first, last), (1.0, last, steps)):
            velocity = functools.partial(self.velocity, label=label, guidance=w)
            z = ode.solve(velocity, z, steps, method, first=begin, last=end)
        return clip(z, low=-1.0, high=1.0)
