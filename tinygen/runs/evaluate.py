"""Figures for a trained model, each with the protocol that it was measured by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import models
from ..data import Dataset
from ..data.dataset import scaled
from ..graph import no_grad
from ..models import Likely, Model, feed
from ..models.contract import label_of
from ..random import Generator
from .quality import Report
from .run import Run


@dataclass(frozen=True)
class Estimate:
    """A mean over images: of what, on which split, its standard error, and how it was measured."""

    name: str
    split: str
    value: float
    error: float  # standard error of the mean over images
    images: int
    protocol: str
    unit: str = "nats an image"


def has_figures(model: Model) -> bool:
    """Whether the model has a figure of its own: a likelihood, or an accuracy."""
    if isinstance(model, Likely):
        return model.density != ""
    return model.stages()[-1].figures is not None


def has_codes(model: Model) -> bool:
    """Whether its NLL is estimated with codes: `samples` of them, on `nll_images`."""
    return isinstance(model, Likely) and model.density != "" and not model.exact


@no_grad()
def evaluate(
    run: Run,
    data: Dataset,
    *,
    samples: int = 100,
    nll_images: int = 1000,
    seed: int = 0,
    report: Report | None = None,
) -> list[Estimate]:
    """The model's own figures on training and test images; `Gauge` measures what it draws.

    Of a model with a likelihood, its NLL; where it has a bound of it (a VAE), the negative ELBO and
    the importance-sampled NLL. ELBO: one code an image, all images. NLL: `samples` codes an image,
    on `nll_images` images from all over each split. Both in nats an image. Of others the figures of
    their training: of a classifier the accuracy, in percent of all images.
    """
    model = run.model
    if not isinstance(model, Likely):
        return _of_training(model, data, seed, report)
    if not model.density:
        raise ValueError(
            "evaluate: likelihood 'mse' is a loss, not a probability of images; train with "
            "--likelihood gaussian or bernoulli to have figures"
        )
    if samples < 1 or nll_images < 0:
        raise ValueError(f"evaluate: samples {samples}, nll_images {nll_images}, expected >= 1, 0")
    figures, splits = [], _splits(data)
    for split, part in splits:
        name = "NLL" if model.exact else "negative ELBO"
        values = _nll(model, part, len(part), 0, model.rng(seed).stream("evaluation", 0), report,
                      f"{name}, {split}")  # fmt: skip
        codes = "" if model.exact else "one code an image, "
        figures.append(_figure(name, split, values, f"{model.density}; {codes}noise seed {seed}"))
    for split, part in splits if nll_images and has_codes(model) else []:
        count = min(nll_images, len(part))
        values = _nll(model, part, count, samples, model.rng(seed).stream("evaluation", 1), report,
                      f"NLL, {split}")  # fmt: skip
        protocol = (
            f"{model.density}; importance sampling with {samples} codes an image (an upper bound), "
            f"{count} images from all over the split, noise seed {seed}"
        )
        figures.append(_figure("importance-sampled NLL", split, values, protocol))
    return figures


def _splits(data: Dataset) -> list[tuple[str, Dataset]]:
    """The images to evaluate on: the held-out ones, if any, and the training images."""
    return [("test", data.test), ("train", data)] if data.test else [("train", data)]


def _nll(
    model: Model, data: Dataset, count: int, samples: int, rng: Generator, report: Report | None,
    what: str,
) -> NDArray[Any]:  # fmt: skip
    """-log p of `count` images from all over the data."""
    assert isinstance(model, Likely)
    log_p = model.log_p  # of (image, rng, label of a conditional model)
    label = label_of(model.stages()[-1].reads)

    def measure(at: NDArray[np.int64]) -> NDArray[Any]:
        x = model.place(scaled(data.images[at], model.value_range))
        given: dict[str, Any] = {}
        if label is not None:
            given[label.name] = model.place(feed.values(label, data, at))
        if samples:
            given["samples"] = samples
        values: NDArray[Any] = log_p(x, rng, **given).numpy()
        return -values

    return _over(data, count, measure, report, what)


def _of_training(model: Model, data: Dataset, seed: int, report: Report | None) -> list[Estimate]:
    """The figures of the model's last stage, over all images of each split."""
    stage = model.stages()[-1]
    if stage.figures is None:
        raise ValueError(
            f"evaluate: {model.name} gives images no likelihood, so there is no such figure for "
            "it; measure what it draws, or evaluate a vae or cvae"
        )
    measured = stage.figures
    found = []
    for split, part in _splits(data):
        if label_of(stage.reads) is not None and part.labels is None:
            raise ValueError(f"evaluate: {part.name!r} has no labels to compare with; give others")
        rng = model.rng(seed).stream("evaluation", 0)
        kinds: dict[str, models.Figure] = {}

        def measure(
            at: NDArray[np.int64], part: Dataset = part, rng: Generator = rng,
            kinds: dict[str, models.Figure] = kinds,
        ) -> NDArray[Any]:  # fmt: skip
            places = dict.fromkeys(feed.sources(stage.reads), at)
            batch = feed.batch_at(stage.reads, dict.fromkeys(places, part), places)
            kinds |= measured({k: model.place(v) for k, v in batch.items()}, rng)
            return np.stack([f.values.numpy() for f in kinds.values()], axis=1)

        name = f"{stage.name}, {split}" if len(model.stages()) > 1 else split
        values = _over(part, len(part), measure, report, name)
        for i, (title, kind) in enumerate(kinds.items()):
            unit = kind.unit.removesuffix(" right")
            found.append(_figure(title, split, values[:, i], kind.protocol, unit))
    return found


def _over(
    data: Dataset, count: int, measure: Callable[[NDArray[np.int64]], NDArray[Any]],
    report: Report | None, what: str,
) -> NDArray[Any]:  # fmt: skip
    """A measure of `count` images from all over the data, in batches; float64 (count, ...)."""
    parts, chosen = [], feed.some(data, count)
    for i in range(0, count, 250):
        stop = min(i + 250, count)
        parts.append(measure(chosen[i:stop]))
        if report is not None:
            report(what, stop, count)
    return np.concatenate(parts).astype(np.float64)


def _figure(
    name: str, split: str, values: NDArray[Any], protocol: str, unit: str = Estimate.unit
) -> Estimate:
    error = float(values.std() / np.sqrt(len(values)))
    return Estimate(name, split, float(values.mean()), error, len(values), protocol, unit)
