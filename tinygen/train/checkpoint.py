"""The state of a training, to the last bit: captured, restored, written whole or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from .. import models
from ..data.source import NAMES
from ..io import Arrays, save
from ..models import Form, Model
from ..optim import EMA, Optimizer
from ..random import Generator, at_most
from ..version import __version__
from .files import FORMAT, non_finite


@dataclass
class Position:
    """How far a training has come, counted in what was consumed (not in what was prepared)."""

    stage: int = 0  # complete stages
    epoch: int = 0  # complete epochs of the stage
    batch: int = 0  # batches done of the next epoch
    step: int = 0  # updates in all
    sums: dict[str, float] = field(default_factory=dict)  # of the losses in this epoch
    best: float | None = None  # the least Session.rank of the stage so far
    log_bytes: int = 0  # length of log.jsonl


@dataclass
class State:
    """Everything that a training changes."""

    model: Model
    optimizers: dict[str, Optimizer]
    ema: EMA | None
    position: Position

    def capture(self) -> Arrays:
        """A copy of the state: arrays by name, and the rest as JSON in `.metadata`."""
        arrays = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            arrays |= {f"optimizer/{name}/{k}": v for k, v in optimizer.state_dict().items()}
        if self.ema is not None:
            arrays |= {f"ema/{k}": v for k, v in self.ema.state_dict().items()}
        generators = self.model.named_generators()
        metadata = {
            "format": FORMAT,
            "kind": "checkpoint",
            "tinygen": __version__,
            "model": self.model.describe(),
            "position": {**vars(self.position), "sums": list(self.position.sums.items())},
            "generators": {k: g.state_dict() for k, g in generators.items()},
        }
        return Arrays(arrays, metadata=metadata)

    def non_finite(self) -> list[str]:
        """Names of the weights and optimizer values that are infinite or NaN."""
        return non_finite(self.capture())

    def check(self, saved: Arrays) -> None:
        """ValueError naming what `saved` lacks, or has in another shape, to be restored."""
        mine = self.capture()
        kinds = [
            {k: (v.shape, v.dtype.name) for k, v in a.items() if k != "fixed_noise"}  # of old ones
            for a in (saved, mine)
        ]
        wrong = sorted(k for k in saved.keys() | mine.keys() if kinds[0].get(k) != kinds[1].get(k))
        wrong += mine.metadata["generators"].keys() - saved.metadata["generators"].keys()
        if wrong:
            raise ValueError(
                f"{len(wrong)} of its arrays and generators are missing, more, or of another shape "
                f"than this training has: {', '.join(wrong[:3])}"
            )

    def restore(self, saved: Arrays) -> None:
        """Put a captured state back, in place."""
        self.model.load_state_dict(_under(saved, "model/"))
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(_under(saved, f"optimizer/{name}/"))
        if self.ema is not None:
            self.ema.load_state_dict(_under(saved, "ema/"))
        for name, generator in self.model.named_generators().items():
            generator.load_state_dict(saved.metadata["generators"][name])
        values = saved.metadata["position"]
        known = {f.name: values[f.name] for f in fields(Position) if f.name in values}
        self.position = Position(**{**known, "sums": dict(values["sums"])})


def _under(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def weights_of(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a checkpoint to draw with: the average where there is one."""
    return {**_under(saved, "model/"), **_under(saved, "ema/")}


def build_model(description: Mapping[str, Any], rng: Generator, most: float = math.inf) -> Model:
    """The model that `Model.describe` described, with new weights; ValueError where it cannot be.

    most: how many numbers its weights may have: a damaged description takes no memory.
    """
    name = description["name"]
    if name not in models.MODELS:
        raise ValueError(
            f"the stored model is called {name!r:.60}, which is not known here; known models: "
            f"{', '.join(models.MODELS)}. If it is a model of your own, import its file first, or "
            'call models.find("its_file.py:Class")'
        )
    forms = {
        "train": Form(tuple(description["shape"]), description["classes"] or 0),
        **{k: Form(**{**v, "shape": tuple(v["shape"])}) for k, v in more_forms(description)},
    }
    try:
        with at_most(most):
            model = models.MODELS[name].build_from(forms, dict(description["options"]), rng)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        # an option that this version does not have, a size too large
        raise ValueError(f"the stored model {name} cannot be built: {error}") from None
    return model


def more_forms(description: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The forms of the data sets beside the first."""
    return list(description.get("forms", {}).items())


def stored_model(path: Path, saved: Arrays, rng: Generator) -> Model:
    """The model of a model file that was read, with its weights."""
    try:
        most = sum(array.size for array in saved.values())
        model = build_model(saved.metadata["model"], rng, most)
        model.load_state_dict({k: v.astype(np.float32) for k, v in saved.items()})
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    return model


def save_model(path: Path, model: Model, more: Mapping[str, Any]) -> None:
    """Write the weights for use (not for training on), with what is needed to build the model."""
    metadata = {
        "format": FORMAT,
        "kind": "model",
        "tinygen": __version__,
        "model": model.describe(),
        "value_range": list(model.value_range),
        **more,
    }
    save(path, model.state_dict(), metadata)


def without_paths(data: Mapping[str, Any]) -> dict[str, Any]:
    """A description of data for a file that is given away: config.json alone knows the path."""
    return {**data, "source": data["source"] if data["source"] in NAMES else None}
