"""The contract: what a model says of itself to those who train it, and the roles it may play.

A model is a Module that names its trainings, its stages; each reads some columns of some data sets
and has a step. What else can be done with it are roles, asked for with isinstance:

    Draws       images from noise, from what is given, or from both
    Encodes     images as codes or tokens
    Likely      how probable an image is
    Describes   features and probabilities, which other models are measured with

No one else knows a family of models: a new model needs no change outside its own file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from .. import nn
from ..backend import Backend, use_backend
from ..optim import Adam, Course, Optimizer
from ..random import Generator, resolve
from ..sampling import Noise
from ..tensor import Tensor

Losses = dict[str, Tensor]
KINDS = ("pixels", "levels", "label", "words")


# ---- data: what a stage reads, and what a drawing is given ---------------------------------------


@dataclass(frozen=True)
class Column:
    """One entry of a batch.

    Attributes:
        name: its key in the batch.
        kind: "pixels", float32 in `range`; "levels", integers from 0 to count - 1; "label", class
            numbers; "words", numbers as they are stored.
        source: which of the run's data sets it comes from.
        field: which array of that: "image", "label" or a name of its table; "" for `name`.
        range: what black and white become. Values are in it by construction; none are read to
            check that.
        count: of levels, or of classes.
    """

    name: str
    kind: str = "pixels"
    source: str = "train"
    field: str = ""
    range: tuple[float, float] = (0.0, 1.0)
    count: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"column {self.name!r}: kind {self.kind!r}, expected one of {', '.join(KINDS)}"
            )
        if self.kind == "levels" and not 2 <= self.count <= 256:
            raise ValueError(f"column {self.name!r}: {self.count} levels, expected 2 to 256")

    @property
    def array(self) -> str:
        """The name of the array in its data set."""
        return self.field or self.name


@dataclass(frozen=True)
class Form:
    """What a data set offers: the shape (H, W, C) of an image, and how many classes and words."""

    shape: tuple[int, int, int]
    classes: int = 0
    words: int = 0


# ---- training ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A number for each held-out image, shape (B,); the first of a stage ranks its epochs.

    `protocol` says how it was measured, for those who compare it with others.
    """

    values: Tensor
    unit: str = ""
    higher_is_better: bool = False
    protocol: str = ""


@dataclass(frozen=True)
class Stage:
    """One training of a model; a model with several goes through them in turn.

    Attributes:
        name: a word for the log.
        reads: the columns of a batch.
        learns: attributes of the model that are trained. All others are frozen: in eval mode, with
            no gradient; a checkpoint has them all the same.
        step: (batch, optimizers) -> losses, 0-d tensors by name. Pure but for the updates and the
            model's generators: it is compiled. None: the mean of the first figure is minimised.
        optimizers: (learning rate, or None for the model's own) -> optimizers by name. None: Adam
            for all that the stage learns, the model's own rate, its option `lr`.
        figures: (batch, rng) -> Figure by name, of held-out images; without gradients, where no
            step needs them.
        epochs, batch_size: where the training is not told others.
        batches_per_step: how many batches a step takes at once.
        ema: decay of an average of the weights, 0 for none. When the next stage starts, the
            average becomes the weights.
        averages: the attributes that it is kept of; None for all that learn.
        course: how the learning rate moves; of stages before the last, None is the training's own.
        clip: the largest norm of an optimizer's gradients, 0 for none; with it, a step whose norm
            is not finite is skipped.
    """

    name: str
    reads: tuple[Column, ...]
    learns: tuple[str, ...]
    step: Callable[[dict[str, Tensor], dict[str, Optimizer]], Losses] | None = None
    optimizers: Callable[[float | None], dict[str, Optimizer]] | None = None
    figures: Callable[[dict[str, Tensor], Generator], dict[str, Figure]] | None = None
    epochs: int = 10
    batch_size: int = 64
    batches_per_step: int = 1
    ema: float = 0.0
    averages: tuple[str, ...] | None = None
    course: Course | None = None
    clip: float = 0.0

    def __post_init__(self) -> None:
        if self.step is None and self.figures is None:
            raise ValueError(
                f"stage {self.name!r} has neither a step nor figures; give it a step, or figures "
                "of which the first is minimised"
            )

    def new_optimizers(self, model: Model, lr: float | None) -> dict[str, Optimizer]:
        """What updates that which it learns, at a learning rate or at the model's own."""
        if self.optimizers is not None:
            return self.optimizers(lr)
        learnt = [p for name, p in model.named_parameters().items() if _part(name) in self.learns]
        return {"adam": Adam(learnt, lr=model.options.lr if lr is None else lr)}

    def update(
        self, model: Model, batch: dict[str, Tensor], updates: dict[str, Optimizer]
    ) -> Losses:
        """One update from a batch of named columns; returns its losses."""
        if self.step is not None:
            return self.step(batch, updates)
        assert self.figures is not None
        losses = {k: f.values.mean() for k, f in self.figures(batch, model.noise_rng).items()}
        minimise(next(iter(losses.values())), updates)
        return {k: loss.detach() for k, loss in losses.items()}

    @property
    def averaged(self) -> tuple[str, ...]:
        """The attributes that an average is kept of."""
        return self.learns if self.averages is None else self.averages


def minimise(loss: Tensor, updates: Mapping[str, Optimizer]) -> None:
    """One step of all optimizers down the slope of a loss."""
    for each in updates.values():
        each.zero_grad()
    loss.backward()
    for each in updates.values():
        each.step()


class Model(nn.Module):
    """A method with its networks; a subclass makes these in `build`.

    Args:
        forms: what each data set offers, by the name that columns know it by; "train" is the first.
        options: an object of the class Options, a dataclass; None for all defaults.
        rng: what its weights and its noise are drawn from.

    Attributes:
        shape, classes: of the data set "train".
        value_range: of the images that it reads and draws.
        init_rng, noise_rng, dropout_rng: separate streams, so that drawing pictures or more noise
            never changes the initial weights.
    """

    name: ClassVar[str]
    with_labels: ClassVar[str] = ""  # the name of the model that draws what a label says
    unit: str = ""  # of the figure that ranks its epochs
    Options: ClassVar[type]
    options: Any
    shape: tuple[int, int, int]
    classes: int
    value_range: tuple[float, float] = (0.0, 1.0)

    def __init__(
        self, forms: Mapping[str, Form], options: Any = None, rng: Generator | None = None
    ) -> None:
        if not isinstance(forms, Mapping) or "train" not in forms:
            raise TypeError(
                f"{type(self).__name__}: its forms are {type(forms).__name__}, expected "
                '{"train": models.Form(data.shape, classes)}'
            )
        self.forms = dict(forms)
        self.options = type(self).Options() if options is None else options
        self.shape, self.classes = forms["train"].shape, forms["train"].classes
        root = resolve(rng)
        self.init_rng = root.stream("initialisation")
        self.noise_rng = root.stream("noise")
        self.dropout_rng = root.stream("dropout")
        self.build()

    # ---- what each model says of itself ----------------------------------------------------------

    def build(self) -> None:
        """Make the networks, from `options`, `forms`, `shape`, `classes`; weights of `init_rng`."""

    def stages(self) -> tuple[Stage, ...]:
        """Its trainings, in turn."""
        raise NotImplementedError(f"{type(self).__name__} does not define stages(self)")

    def pictures(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """More pictures of the run folder, by name, from held-out images; (n, H, W, C) each."""
        return {}

    # ---- building it again -----------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """What is needed to build it again, without its weights; JSON-able."""
        given: Any = self.options
        options = dict(given if isinstance(given, Mapping) else asdict(given))
        described = {
            "name": self.name, "shape": list(self.shape), "classes": self.classes,
            "options": {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()},
        }  # fmt: skip
        others = {
            k: {**asdict(v), "shape": list(v.shape)} for k, v in self.forms.items() if k != "train"
        }
        return {**described, "forms": others} if others else described

    @classmethod
    def build_from(
        cls, forms: Mapping[str, Form], options: dict[str, Any], rng: Generator
    ) -> Model:
        """A new model from the forms of its data and from options as `describe` gives them."""
        return cls(forms, cls.Options(**options), rng)

    # ---- where it is -----------------------------------------------------------------------------

    @property
    def backend(self) -> Backend:
        """Where the weights are: with the generator that they were drawn from."""
        return self.init_rng.key.backend

    def rng(self, seed: int) -> Generator:
        """A new generator whose numbers are where the weights are."""
        with use_backend(self.backend.name):
            return Generator(seed)

    def place(self, array: Any) -> Tensor:
        """An array of the host as a tensor where the weights are."""
        return Tensor(self.backend.adopt(array))


# ---- roles: what a reader may do with a model ----------------------------------------------------


@dataclass(frozen=True)
class NoSettings:
    """A drawing that has no settings."""


class Draws(ABC):
    """Draws images.

    Attributes:
        noise: what a drawing starts from; None where it is a function of what is given alone.
        given: what else it takes: a label, an image.
        Settings: a dataclass of what can be chosen at each drawing (steps, guidance), each with a
            default; `draw` gets all of them by name, but those that are idle.
        idle: settings of a drawing, and options of the model, that change nothing in this one, each
            with the reason: "it has no labels". Whoever gives one is refused.
    """

    noise: Noise | None = None
    given: tuple[Column, ...] = ()
    Settings: ClassVar[type] = NoSettings
    idle: Mapping[str, str] = {}

    @abstractmethod
    def draw(self, noise: Tensor | None, *_: Any, **given: Any) -> Tensor:
        """Images (n, H, W, C) in the model's value_range; no chance inside."""


def chosen(model: Draws, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a drawing, those not given by their defaults.

    Raises:
        ValueError: a setting that the model does not have, or that is idle, or a value that it does
            not allow.
    """
    known = {f.name: f.default for f in fields(model.Settings) if f.name not in model.idle}
    if unknown := [name for name in given if name not in known]:
        has = ", ".join(f"{k} ({v} by default)" for k, v in known.items()) or "none"
        why = "".join(f": {model.idle[name]}" for name in unknown[:1] if name in model.idle)
        raise ValueError(
            f"{type(model).__name__} has no setting {', '.join(unknown)} of a drawing{why}; "
            f"it has {has}"
        )
    made = model.Settings(**given)
    return {name: getattr(made, name) for name in known}


class Encodes(ABC):
    """Finds the code of an image.

    Attributes:
        code: the noise that codes are like, where `draw` takes one; None for tokens.
    """

    code: Noise | None = None

    @abstractmethod
    def encode(self, image: Tensor, *_: Any, **given: Any) -> tuple[Tensor, Tensor] | Tensor:
        """Mean and log-variance of the code, (n, *code.shape) each; or tokens (n, places)."""


class Likely(ABC):
    """Says how probable images are.

    Attributes:
        exact: whether log_p is a likelihood, not a lower bound of one.
        density: of what, for people who compare; "" where what it was trained with is a loss that
            is no probability.
    """

    exact: ClassVar[bool] = True
    density: str = ""

    @abstractmethod
    def log_p(self, image: Tensor, rng: Generator, *_: Any, **given: Any) -> Tensor:
        """log p(image) in nats, shape (n,).

        A model that is not exact takes `samples`, too: 0 for a lower bound from one code an image,
        k for the tighter one of importance sampling with k.
        """


class Describes(ABC):
    """Says what images show; other models are measured by comparing their images so.

    Attributes:
        described: how many features.
    """

    described: int

    @abstractmethod
    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, described), and class probabilities (n, classes)."""


def label_of(columns: tuple[Column, ...]) -> Column | None:
    """The column of labels among some, or None."""
    return next((c for c in columns if c.kind == "label"), None)


def held(model: nn.Module, parts: tuple[str, ...]) -> dict[str, Tensor]:
    """The parameters, and then the buffers, of some attributes of a model, by path."""
    everything: dict[str, Tensor] = {**model.named_parameters(), **model.named_buffers()}
    return {path: x for path, x in everything.items() if _part(path) in parts}


def _part(path: str) -> str:
    """The attribute of the model that a parameter belongs to."""
    return path.split(".")[0]
