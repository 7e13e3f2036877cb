"""What the training loop, the pictures and the command line expect of a generative model."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from .. import spelling
from ..ops import one_hot
from ..optim import Course, Optimizer
from ..options import OptionError
from ..options import Options as BaseOptions
from ..random import Generator, resolve
from ..sampling import Noise
from ..tensor import Tensor, as_tensor
from .contract import Column, Form, Losses, Model, Stage
from .networks import Ends
from .networks.dense import beside


class OneStage(Model):
    """A model that is trained in one stage; what is written here is what its command shows."""

    epochs: ClassVar[int] = 10
    batch_size: ClassVar[int] = 128
    ema: ClassVar[float] = 0.0
    course: ClassVar[Course] = Course()
    clip: ClassVar[float] = 0.0

    @classmethod
    def training_defaults(cls) -> dict[str, Any]:
        """By the names that train.Settings has for them."""
        return {
            "epochs": cls.epochs, "batch_size": cls.batch_size, "ema": cls.ema,
            "schedule": cls.course.kind, "warmup": cls.course.warmup, "clip": cls.clip,
        }  # fmt: skip


class ImageModel(OneStage):
    """A model of one stage over images, and labels if it is conditional.

    It draws images from latent codes (or describes them), and knows one step of its training.

        models.VAE((28, 28, 1), latent=8, rng=rng)        # options by name, or
        models.VAE((28, 28, 1), models.VAE.Options(latent=8), rng=rng)

    A subclass declares its options once, in the dataclass `Options`, and makes its networks in
    `build`; this constructor is the only one.

    Args:
        shape: (height, width, channels) of an image.
        options: an object of the model's Options class.
        classes: how many labels there are, for a model that is conditioned on them.
        rng: what its weights and its noise are drawn from.
        given: the options by name, instead of an object.

    Attributes:
        shape: (height, width, channels) of an image.
        classes: how many labels it is conditioned on, 0 for none.
        latent: length of a latent code; 0 for a model that draws nothing.
        options: what it was built with, so that it can be built again.

    Raises:
        ValueError: an option out of its range, or a shape that the networks cannot have.
        TypeError: an option that the model does not have.
    """

    @dataclass(frozen=True, kw_only=True)
    class Options(BaseOptions):
        """What a model can be built with, each option once: see tinygen/options.py."""

    conditional: ClassVar[bool] = False  # trained with labels
    batches_per_step: int = 1  # how many batches a step takes at once
    latent: int = 0
    options: Any  # an object of Options; each model annotates its own class

    def __init__(
        self, shape: Sequence[int], options: BaseOptions | None = None, *,
        classes: int | None = None, rng: Generator | None = None, **given: Any,
    ) -> None:  # fmt: skip
        self.options = self._chosen(options, given)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(
                f"{self.name}: the image shape is {tuple(shape)}, expected (height, width, "
                "channels), for example data.shape"
            )
        if self.conditional and (classes is None or classes < 2):
            raise ValueError(
                f"{self.name}: it is conditioned on labels and needs to know how many there are; "
                f"classes is {classes}, expected 2 or more (data with labels, or classes=10)"
            )
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))
        self.classes = int(classes or 0) if self.conditional else 0
        label = Column("label", "label", count=self.classes)
        self.given = (label,) if self.conditional else ()
        self.forms = {"train": Form(self.shape, self.classes)}
        self._range_seen = False
        root = resolve(rng)
        # Separate streams: drawing pictures or more noise never changes the initial weights.
        self.init_rng = root.stream("initialisation")
        self.noise_rng = root.stream("noise")
        self.dropout_rng = root.stream("dropout")
        self.build()

    def __init_subclass__(cls, **more: Any) -> None:
        """help(model) and editors show the options with their defaults."""
        super().__init_subclass__(**more)
        cls.__signature__ = _signature(cls.Options)  # type: ignore[attr-defined]
        if "Options" in vars(cls):
            cls.Options.__qualname__ = f"{cls.__qualname__}.Options"
            cls.Options.__module__ = cls.__module__

    @classmethod
    def _chosen(cls, options: BaseOptions | None, given: dict[str, Any]) -> BaseOptions:
        """The options of a new model, from an object or from keyword arguments."""
        if options is None:
            takes = [f.name for f in fields(cls.Options)]
            if not given.keys() <= set(takes):
                raise spelling.options(cls.__name__, given, [*takes, "classes", "rng"])
            try:
                return cls.Options(**given)
            except OptionError as wrong:
                what = f"{wrong.name} {wrong.value!r}, expected {wrong.expected}"
                raise ValueError(f"{cls.name}: {what}") from None
        if given or not isinstance(options, cls.Options):
            also = f" and {', '.join(given)}" if given else ""
            raise TypeError(
                f"{cls.name}: its options are {type(options).__qualname__}{also}; expected an "
                f"object of {cls.Options.__qualname__}, or options by name"
            )
        return options

    @property
    def pixels(self) -> int:
        """How many numbers an image has."""
        return math.prod(self.shape)

    @property
    def ends(self) -> Ends:
        """What its networks are between."""
        latent, rngs = self.latent, (self.init_rng, self.dropout_rng)
        return Ends(self.name, self.shape, latent, self.classes, *rngs)

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
                self.course, self.clip,
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
        """x (B, n) with the one-hot label beside it (B, n + classes), or x for no condition."""
        return beside(x, self.one_hot(x, labels)) if self.conditional else x

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


def _signature(kind: type[BaseOptions]) -> inspect.Signature:
    """That of a model with these options by name."""

    def keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )

    own = [keyword(f.name, f.default, f.type) for f in fields(kind)]
    shape = inspect.Parameter(
        "shape", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="Sequence[int]"
    )
    more = (keyword("classes", None, "int | None"), keyword("rng", None, "Generator | None"))
    return inspect.Signature([shape, *own, *more])
