"""Models in files: described, built again, with their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import models
from ..data.source import NAMES
from ..io import Arrays, save
from ..models import Form, Model
from ..random import Generator, at_most
from ..version import __version__
from .files import FORMAT


def under(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The arrays whose names begin so, by the rest of the name."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def weights_of(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of a checkpoint to draw with: the average where there is one."""
    return {**under(saved, "model/"), **under(saved, "ema/")}


class UnknownModelError(ValueError):
    """A stored model of a name that is not registered here."""


def build_model(description: Mapping[str, Any], rng: Generator, most: float = math.inf) -> Model:
    """The model that `Model.describe` described, with new weights; ValueError where it cannot be.

    most: how many numbers its weights may have: a damaged description takes no memory.
    """
    name = description["name"]
    kind = models.stored(name)
    if kind is None:
        raise UnknownModelError(
            f"the stored model is called {name!r:.60}, which is not known here; known models: "
            f"{', '.join(models.MODELS)}. If it is a model of your own, import its file first, or "
            'call models.find("its_file.py:Class"); on the command line '
            "`tinygen --model its_file.py:Class ...`"
        )
    forms = {
        "train": Form(tuple(description["shape"]), description["classes"] or 0),
        **{k: Form(**{**v, "shape": tuple(v["shape"])}) for k, v in more_forms(description)},
    }
    try:
        with at_most(most):
            model = kind.build_from(forms, dict(description["options"]), rng)
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
    except UnknownModelError as error:
        raise UnknownModelError(f"{path}: {error}") from None
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
