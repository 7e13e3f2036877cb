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
from ..images import to_uint8
from ..metrics import Quality, Reference
from ..models import Draws, Likely, Model
from ..models.contract import label_of
from ..random import Generator
from . import feed
from .extractor import ClassifierExtractor
from .pictures import draw
from .run import Run

IMAGES = 10_000  # to draw, unless fewer are held out


@dataclass(frozen=True)
class Figure:
    """One measured number: what it is, on which split, its standard error, and how it was made."""

    name: str
    split: str
    value: float
    error: float  # standard error of the mean over images
    images: int
    protocol: str
    unit: str = "nats an image"


Report = Callable[[str, int, int], None]  # what is being measured, images done, images in all


def has_figures(model: Model) -> bool:
    """Whether the model has a figure of its own: a likelihood, or an accuracy."""
    if isinstance(model, Likely):
        return model.density != ""
    return model.stages()[-1].figures is not None


@no_grad()
def evaluate(
    run: Run,
    data: Dataset,
    *,
    samples: int = 100,
    nll_images: int = 1000,
    seed: int = 0,
    report: Report | None = None,
) -> list[Figure]:
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
    for split, part in splits if nll_images and not model.exact else []:
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


def _of_training(model: Model, data: Dataset, seed: int, report: Report | None) -> list[Figure]:
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
    name: str, split: str, values: NDArray[Any], protocol: str, unit: str = Figure.unit
) -> Figure:
    error = float(values.std() / np.sqrt(len(values)))
    return Figure(name, split, float(values.mean()), error, len(values), protocol, unit)


# ---- what it draws -------------------------------------------------------------------------------


class Gauge:
    """Measures what a model draws, as often as its weights change, beside the same real images.

    n: how many images to draw; None for 10,000, or as many as there are held-out or training images
    if those are fewer.  real: how many images of each split to compare with, None for all.
    seed: of the codes, and of the measures' choices.  A conditional model draws the labels of so
    many training images.
    Raises ValueError for a model that draws nothing, data without held-out images or without the
    labels that the model draws by, and too few images of some kind for the covariance of the
    extractor's features.
    """

    def __init__(
        self,
        model: Model,
        data: Dataset,
        extractor: ClassifierExtractor,
        n: int | None = None,
        *,
        real: int | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(model, Draws):
            raise ValueError(f"quality: {model.name} draws no images; measure a generator with it")
        if data.test is None:
            raise ValueError(
                f"quality: {data.name!r} has no held-out images to compare with; give data with "
                "some"
            )
        if label_of(model.given) is not None and data.labels is None:
            raise ValueError(
                f"quality: {model.name} draws by label, and {data.name!r} has none; give data with "
                "labels"
            )
        self.train, self.test = (
            feed.some(part, len(part) if real is None else real) for part in (data, data.test)
        )
        self.n = min(IMAGES, len(self.train), len(self.test)) if n is None else n
        least = extractor.features + 1
        counts = {"drawn": self.n, "training": len(self.train), "held-out": len(self.test)}
        for what, count in counts.items():
            if count < least:
                raise ValueError(
                    f"quality: {count} {what} images, too few for the covariance of the "
                    f"{least - 1} features of {extractor.name}; expected {least} or more, and many "
                    "times that for steady figures; a classifier of fewer features (`tinygen train "
                    "classifier --features`) needs fewer"
                )
        self.model, self.data, self.extractor, self.seed = model, data, extractor, seed
        self._draws: Draws = model
        self._reference: Reference | None = None  # the real images, once they are measured

    def measure(self, report: Report | None = None) -> Quality:
        """All measures of what it draws with its weights of now, and the same of real images."""
        rng = self.model.rng(self.seed).stream("evaluation", 2)
        places = np.resize(feed.some(self.data, self.n), self.n)
        labels, given = self._labels(places), self._given(places)
        noise, parts = self._draws.noise, []
        codes = None if noise is None else noise.draw(self.n, rng).numpy()
        for i in range(0, self.n, 500):
            rows = slice(i, i + 500)
            drawn = draw(
                self.model, None if codes is None else codes[rows],
                None if labels is None else labels[rows], {k: v[rows] for k, v in given.items()},
            )  # fmt: skip
            parts.append(to_uint8(drawn, self.model.value_range))
            if report is not None:
                report("drawing", min(i + 500, self.n), self.n)
        if self._reference is None:
            assert self.data.test is not None
            self._reference = Reference(
                self.extractor, self.data.images[self.train], self.data.test.images[self.test],
                self.n, train_labels=self._labels(self.train), seed=self.seed, progress=report,
            )  # fmt: skip
        return self._reference.measure(np.concatenate(parts), labels=labels, progress=report)

    def _labels(self, places: NDArray[Any]) -> NDArray[Any] | None:
        """Those of some training images, where the model draws by label."""
        column = label_of(self._draws.given)
        return None if column is None else feed.values(column, self.data, places)

    def _given(self, places: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """What else the model draws from, of some training images."""
        others = [c for c in self._draws.given if c.kind != "label"]
        return {c.name: feed.values(c, self.data, places) for c in others}
