"""Figures for a trained model, each with the protocol that it was measured by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import losses
from ..data import Dataset
from ..data.dataset import scaled
from ..graph import no_grad
from ..images import to_uint8
from ..metrics import Quality, Reference
from ..models import VAE, Classifier, Model
from ..random import Generator
from ..tensor import Tensor
from .extractor import ClassifierExtractor
from .pictures import draw, some
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
    return isinstance(model, Classifier) or (
        isinstance(model, VAE) and model.options.likelihood != "mse"
    )


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

    Of a VAE the negative ELBO and the importance-sampled NLL. ELBO: one code an image, all images.
    NLL: `samples` codes an image, on `nll_images` images from all over each split. Both in nats an
    image. Of a classifier the accuracy, in percent of all images.
    """
    model = run.model
    if isinstance(model, Classifier):
        return _accuracies(model, data, report)
    if not isinstance(model, VAE):
        raise ValueError(
            f"evaluate: {model.name} gives images no likelihood, so there is no such figure for "
            "it; measure what it draws, or evaluate a vae or cvae"
        )
    if model.options.likelihood == "mse":
        raise ValueError(
            "evaluate: likelihood 'mse' is a loss, not a probability of images; train with "
            "--likelihood gaussian or bernoulli to have figures"
        )
    if samples < 1 or nll_images < 0:
        raise ValueError(f"evaluate: samples {samples}, nll_images {nll_images}, expected >= 1, 0")
    data_kind = (
        "pixels as grey values in [0, 1] under a Bernoulli likelihood (cross-entropy; not "
        "comparable with binarised MNIST)"
        if model.options.likelihood == "bernoulli"
        else f"pixels in [0, 1] under a Gaussian with sigma {model.options.sigma:g}"
    )
    figures = []
    splits = _splits(data)
    for split, part in splits:
        rng = model.rng(seed).stream("evaluation", 0)

        def elbo(x: Tensor, y: Tensor | None, rng: Generator = rng) -> NDArray[Any]:
            return _bound(model, x, y, rng)

        values = _over(model, part, len(part), elbo, report, f"negative ELBO, {split}")
        protocol = f"{data_kind}; one code an image, noise seed {seed}"
        figures.append(_figure("negative ELBO", split, values, protocol))
    for split, part in splits if nll_images else []:
        rng = model.rng(seed).stream("evaluation", 1)

        def nll(x: Tensor, y: Tensor | None, rng: Generator = rng) -> NDArray[Any]:
            return -model.log_likelihood(x, y, rng, samples)

        count = min(nll_images, len(part))
        values = _over(model, part, count, nll, report, f"NLL, {split}")
        protocol = (
            f"{data_kind}; importance sampling with {samples} codes an image (an upper bound), "
            f"{count} images from all over the split, noise seed {seed}"
        )
        figures.append(_figure("importance-sampled NLL", split, values, protocol))
    return figures


def _splits(data: Dataset) -> list[tuple[str, Dataset]]:
    """The images to evaluate on: the held-out ones, if any, and the training images."""
    return [("test", data.test), ("train", data)] if data.test else [("train", data)]


def _accuracies(model: Classifier, data: Dataset, report: Report | None) -> list[Figure]:
    figures = []
    for split, part in _splits(data):
        if part.labels is None:
            raise ValueError(f"evaluate: {part.name!r} has no labels to compare with; give others")

        def right(x: Tensor, y: Tensor | None) -> NDArray[Any]:
            assert y is not None
            hits: NDArray[Any] = model.logits(x).numpy().argmax(axis=1) == y.numpy()
            return 100.0 * hits

        values = _over(model, part, len(part), right, report, f"accuracy, {split}")
        protocol = "all images of the split, the likeliest class against the label"
        figures.append(_figure("accuracy", split, values, protocol, "percent"))
    return figures


def _bound(model: VAE, x: Tensor, y: Tensor | None, rng: Generator) -> NDArray[Any]:
    """The negative ELBO (beta = 1) of each image, with one code each: shape (B,)."""
    mu, logvar = model.encode(x, y)
    z = losses.reparameterise(mu, logvar, rng)
    kl = losses.gaussian_kl_terms(mu, logvar).sum(axis=1)
    bound: NDArray[Any] = (kl - model.log_p_x(z, x, y)).numpy()
    return bound


def _over(
    model: Model, data: Dataset, count: int, measure: Any, report: Report | None, what: str
) -> NDArray[Any]:
    """A measure of `count` images from all over the data, in batches; float64 (count,)."""
    parts, chosen = [], some(data, count)
    for i in range(0, count, 250):
        stop = min(i + 250, count)
        at = chosen[i:stop]
        x = model.place(scaled(data.images[at], model.value_range))
        labels = data.labels if model.conditional else None
        y = None if labels is None else model.place(labels[at])
        parts.append(measure(x, y))
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
        if not model.generates:
            raise ValueError(f"quality: {model.name} draws no images; measure a generator with it")
        if data.test is None:
            raise ValueError(
                f"quality: {data.name!r} has no held-out images to compare with; give data with "
                "some"
            )
        if model.conditional and data.labels is None:
            raise ValueError(
                f"quality: {model.name} draws by label, and {data.name!r} has none; give data with "
                "labels"
            )
        self.train, self.test = (
            some(part, len(part) if real is None else real) for part in (data, data.test)
        )
        self.n = min(IMAGES, len(self.train), len(self.test)) if n is None else n
        least = extractor.model.options.features + 1
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
        self._reference: Reference | None = None  # the real images, once they are measured

    def measure(self, report: Report | None = None) -> Quality:
        """All measures of what it draws with its weights of now, and the same of real images."""
        rng = self.model.rng(self.seed).stream("evaluation", 2)
        labels = self._labels(some(self.data, self.n))
        labels = None if labels is None else np.resize(labels, self.n)
        codes, parts = self.model.noise(self.n, rng).numpy(), []
        for i in range(0, self.n, 500):
            y = None if labels is None else labels[i : i + 500]
            drawn = draw(self.model, codes[i : i + 500], y)
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
        if not self.model.conditional:
            return None
        assert self.data.labels is not None
        chosen: NDArray[Any] = self.data.labels[places]
        return chosen
