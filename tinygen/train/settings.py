"""How to train, besides the model and the data: what `fit` takes and config.json keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from ..models import Model
from ..optim import Course
from ..options import SEED, OptionError, Options, above, at_least, half_open, option

Schedule = Literal["constant", "cosine", "linear"]


@dataclass(frozen=True)
class Settings(Options):
    """The settings of a training; each says in its help what it does.

    Of a model with several stages, epochs, batch_size, lr, ema and clip are those of the last
    stage: the model says those of the stages before it, each of which is closed once it has ended.

    The average of the weights (`ema`) is used for drawing. Its decay grows from 0.1 to `ema`,
    min(ema, (1 + step) / (10 + step)): otherwise early pictures would still show the initial,
    random weights. A step of an epoch that lacks images for a whole one is left out.

    A learning rate falls to 0, or to what the model says (Course). It is a function of the step and
    of the steps of all epochs: with more epochs, a resumed run goes on where a training of so many
    epochs would be. A warm-up that nobody asked for takes at most a tenth of the steps.
    """

    epochs: int = option(rule=at_least(1), help="Passes over the data in all.")
    batch_size: int = option(rule=at_least(1), help="Images an update.")
    seed: int = option(
        0,
        SEED,
        "Seed of weights, noise and order; it gives the same bits on one machine.",
    )
    lr: float | None = option(None, above(0), "Learning rate.", shown="the model's own")
    schedule: Schedule = option(
        "constant", help="How the learning rate falls, over all epochs.", metavar="NAME"
    )
    warmup: int = option(
        0, at_least(0),
        "Steps over which the learning rate rises from 0; where not given, at most a tenth of all.",
    )  # fmt: skip
    asked_warmup: bool = option(
        False, help="Whether the warm-up was asked for, though it is the model's own.", flags=""
    )
    clip: float = option(
        0.0, at_least(0),
        "Largest norm of the gradients; a step that is not finite is skipped; 0 for none.",
    )  # fmt: skip
    ema: float = option(
        0.0, half_open(0, 1), "Draw with an average of the weights of this decay; 0 for none."
    )
    compiled: bool = option(
        True, help="Run each step as a recorded plan, or operation by operation.",
        flags="--compile/--no-compile",
    )  # fmt: skip
    evaluate_every: int = option(
        0, at_least(0),
        "Measure 2,000 drawn images after so many epochs, warn of mode collapse, and keep the "
        "weights with the lowest KID as the best; 0 for never.",
    )  # fmt: skip
    classifier: str | None = option(
        None, help="Run of a classifier to measure with, for data other than mnist and strokes.",
        shown="tinygen's own", metavar="RUN",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classifier is not None and not self.evaluate_every:
            expected = "None where nothing is measured: say how often (evaluate_every)"
            raise OptionError("classifier", self.classifier, expected)


def known_of(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings in a config.json, those that this version has."""
    names = [f.name for f in fields(Settings)]
    return {k: v for k, v in kept.items() if k in names}


def own_warmup(warmup: int, steps: int) -> int:
    """The steps of a warm-up that nobody asked for: the model's own, at most a tenth of all."""
    return min(warmup, steps // 10)


def as_given(model: Model, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What `fit` is given to go on with a run that keeps these settings in its config.json."""
    given = dict(kept)
    course = model.stages()[-1].course or Course()
    if not given.pop("asked_warmup", False) and given.get("warmup") == course.warmup:
        given["warmup"] = None
    return given
