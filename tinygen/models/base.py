"""What the training loop, the pictures and the command line expect of a generative model."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from .. import nn
from ..nn.init import Initialiser
from ..ops import concatenate, one_hot
from ..optim import Optimizer
from ..random import Generator, resolve
from ..tensor import Tensor, as_tensor
from .contract import Column, Draws, Form, Losses, Model, Noise, Stage

Shape = tuple[int, int, int]  # height, width, channels of one image


class ImageModel(Model):
    """A model of one stage over images, and labels if it is conditional.

    It draws images from latent codes (or describes them), and knows one step of its training.

    Attributes:
        shape: (height, width, channels) of an image.
        classes: how many labels it is conditioned on, 0 for none.
        latent: length of a latent code; 0 for a model that draws nothing.
        options: the keyword arguments it was built with, so that it can be built again.
    """

    conditional: ClassVar[bool] = False  # trained with labels
    epochs: ClassVar[int] = 10  # defaults of a training
    batch_size: ClassVar[int] = 128
    on_processor: ClassVar[dict[str, Any]] = {}  # options of the command line without a GPU
    ema: ClassVar[float] = 0.0
    batches_per_step: int = 1  # how many batches a step takes at once

    def __init__(
        self, shape: Sequence[int], classes: int | None, latent: int, rng: Generator | None,
        options: dict[str, Any],
    ) -> None:  # fmt: skip
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(
                f"{self.name}: the image shape is {tuple(shape)}, expected (height, width, "
                "channels), for example data.shape"
            )
        if isinstance(self, Draws) and latent < 1:
            raise ValueError(f"{self.name}: latent {latent}, expected 1 or more")
        if self.conditional and (classes is None or classes < 2):
            raise ValueError(
                f"{self.name}: it is conditioned on labels and needs to know how many there are; "
                f"classes is {classes}, expected 2 or more (data with labels, or classes=10)"
            )
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self.classes = int(classes or 0) if self.conditional else 0
        self.latent = latent
        self.options = options
        label = Column("label", "label", count=self.classes)
        self.given = (label,) if self.conditional else ()
        self.forms = {"train": Form(self.shape, self.classes)}
        self._range_seen = False
        root = resolve(rng)
        # Separate streams: drawing pictures or more noise never changes the initial weights.
        self.init_rng = root.stream("initialisation")
        self.noise_rng = root.stream("noise")
        self.dropout_rng = root.stream("dropout")

    @classmethod
    def option_names(cls) -> set[str]:
        """The options that it can be built with, with those that it passes on to its base."""
        names: set[str] = set()
        for kind in cls.__mro__:
            if "__init__" in vars(kind):
                parameters = inspect.signature(vars(kind)["__init__"]).parameters.values()
                names |= {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
                if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                    break
        return names - {"classes", "rng"}

    @property
    def pixels(self) -> int:
        """How many numbers an image has."""
        return math.prod(self.shape)

    # ---- what each model defines -------------------------------------------------------------

    parts: ClassVar[tuple[str, ...]]  # its networks, by attribute
    averages: ClassVar[tuple[str, ...] | None] = None  # of them, what an average is kept of

    def optimizers(self, lr: float | None = None) -> dict[str, Optimizer]:
        """New optimizers over the model's parts, by name."""
        raise NotImplementedError

    def train_step(
        self, x: Tensor, labels: Tensor | None, optimizers: dict[str, Optimizer]
    ) -> dict[str, Tensor]:
        """One update from a batch of images (B, H, W, C); returns its losses by name."""
        raise NotImplementedError

    # ---- the contract ------------------------------------------------------------------------

    noise: Noise | None  # of a model that draws
    given: tuple[Column, ...]  # beside an image or a code: its label, if it is conditional
    figures: Any = None  # (batch, rng) -> Figure by name, of held-out images

    @property
    def columns(self) -> tuple[Column, ...]:
        """What a batch has: images in the model's range, and labels if it is conditional."""
        return (Column("image", range=self.value_range), *self.given)

    def stages(self) -> tuple[Stage, ...]:
        self._range_seen = True  # a column's images are in its range: no values need be read
        return (
            Stage(
                "train", self.columns, self.parts, self.step, self.optimizers, self.figures,
                self.epochs, self.batch_size, self.batches_per_step, self.ema, self.averages,
            ),
        )  # fmt: skip

    def step(self, batch: dict[str, Tensor], optimizers: dict[str, Optimizer]) -> Losses:
        """One update from a batch of named columns."""
        return self.train_step(batch["image"], batch.get("label"), optimizers)

    @classmethod
    def build_from(
        cls, forms: Mapping[str, Form], options: dict[str, Any], rng: Generator
    ) -> ImageModel:
        build: Any = cls
        form = forms["train"]
        model: ImageModel = build(form.shape, classes=form.classes or None, rng=rng, **options)
        return model

    def network(self) -> tuple[nn.Module, str]:
        """From codes (and labels) to images as one chain of layers, and the activation after it."""
        raise NotImplementedError(f"{type(self).__name__} is no chain of layers")

    def codes(self, n: int, rng: Generator | None = None) -> Tensor:
        """n latent codes from the prior; code i does not depend on n."""
        assert self.noise is not None
        return self.noise.draw(n, rng or self.noise_rng)

    # ---- what it is given --------------------------------------------------------------------

    def check_images(self, x: Tensor) -> Tensor:
        """x itself, if it is a batch of images as the model takes them; else ValueError.

        Its shape and dtype are checked at each call, its range at the first.
        """
        wanted = self.parameters()[0].dtype
        if x.shape[1:] != self.shape or x.dtype != wanted:
            raise ValueError(
                f"{self.name}: images {x.shape} {x.dtype}, expected (batch, "
                f"{', '.join(map(str, self.shape))}) of {wanted}"
            )
        if not self._range_seen and x.size:
            (low, high), (least, most) = self.value_range, (float(x.min()), float(x.max()))
            inside = low - 1e-4 <= least and most <= high + 1e-4  # False for NaN
            # grey levels scaled to [-1, 1] skip 0 by 0.004: a least value of 0 means [0, 1]
            if not inside or (low < 0 and 0 <= least < 0.003):
                raise ValueError(
                    f"{self.name}: images with values from {least:g} to {most:g}, expected the "
                    f"range [{low:g}, {high:g}]; scale them, or take them from "
                    f"data.batches(..., value_range={self.value_range})"
                )
            self._range_seen = True
        return x

    def condition(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """x (B, n) with the one-hot label beside it (B, n + classes), or x for no condition.

        The label's 1 is written as sqrt(n), which makes it as long as n numbers of size 1: a lone
        1 beside hundreds of pixels would be overlooked for long.
        """
        if not self.conditional:
            return x
        return concatenate([x, self.one_hot(x, labels) * math.sqrt(x.shape[1])], axis=1)

    def one_hot(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """The labels as rows of zeros and a 1, one for each entry of x: (B, classes)."""
        if labels is None:
            raise ValueError(f"{self.name} draws what a label says; give labels (one an image)")
        labels = as_tensor(labels)
        if labels.shape != x.shape[:1] or labels.dtype.kind not in "iu":
            raise ValueError(
                f"{self.name}: labels {labels.shape} {labels.dtype}, expected integers, one for "
                f"each of {x.shape[0]}"
            )
        return one_hot(labels, self.classes, x.dtype.name)


def mlp(
    sizes: Sequence[int],
    activation: type[nn.Module] | nn.Module,
    rng: Generator,
    *,
    dropout: float = 0.0,
    dropout_rng: Generator | None = None,
    init: str | Initialiser = "glorot",
) -> list[nn.Module]:
    """Dense layers of the given widths, each followed by the activation (and dropout)."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers.append(nn.Dense(n_in, n_out, init=init, rng=rng))
        layers.append(activation if isinstance(activation, nn.Module) else activation())
        if dropout:
            layers.append(nn.Dropout(dropout, rng=dropout_rng))
    return layers


def channels(name: str, width: float, *full: int) -> tuple[int, ...]:
    """The channels of a network whose width is scaled, at least 1 each."""
    if not 0 < width < math.inf:
        raise ValueError(f"{name}: width {width}, expected a factor above 0, such as 0.25 or 1")
    return tuple(max(1, round(n * width)) for n in full)


def widths(name: str, hidden: Sequence[int] | int) -> tuple[int, ...]:
    """Hidden layer widths as a tuple, checked."""
    sizes = (hidden,) if isinstance(hidden, int) else tuple(int(n) for n in hidden)
    if not sizes or min(sizes) < 1:
        raise ValueError(f"{name}: hidden {hidden}, expected one or more widths of at least 1")
    return sizes
