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
    return isinstance(model, Classifier) or (isinstance(model, VAE) and model.likelihood != "mse")


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
    """The model's own figures on training and test images; `quality` measures what it draws.

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
    if model.likelihood == "mse":
        raise ValueError(
            "evaluate: likelihood 'mse' is a loss, not a probability of images; train with "
            "--likelihood gaussian or bernoulli to have figures"
        )
    if samples < 1 or nll_images < 0:
        raise ValueError(f"evaluate: samples {samples}, nll_images {nll_images}, expected >= 1, 0")
    data_kind = (
        "pixels as grey values in [0, 1] under a Bernoulli likelihood (cross-entropy; not "
        "comparable with binarised MNIST)"
        if model.likelihood == "bernoulli"
        else f"pixels in [0, 1] under a Gaussian with sigma {model.sigma:g}"
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


def quality(
    model: Model,
    data: Dataset,
    extractor: ClassifierExtractor,
    n: int | None = None,
    *,
    real: int | None = None,
    seed: int = 0,
    report: Report | None = None,
    reference: Reference | None = None,
) -> Quality:
    """All measures of n images that the model draws, each beside the same of real ones.

    n: None for 10,000, or as many as there are held-out or training images if those are fewer.
    real: how many images of each split to compare with, None for all.  seed: of the codes, and of
    the measures' choices.  A conditional model draws the labels of so many training images.
    reference: of an earlier call with the same arguments but for the model's weights, made by
    `quality_reference`; None makes one.
    Raises ValueError for a model that draws nothing, data without held-out images, and too few
    images of some kind for the covariance of the extractor's features.
    """
    _, _, n = check_quality(model, data, extractor, n, real)
    rng = model.rng(seed).stream("evaluation", 2)
    labels = None
    if model.conditional:
        assert data.labels is not None
        labels = np.resize(data.labels[some(data, n)], n)
    codes, parts = model.noise(n, rng).numpy(), []
    for i in range(0, n, 500):
        y = None if labels is None else labels[i : i + 500]
        parts.append(to_uint8(draw(model, codes[i : i + 500], y), model.value_range))
        if report is not None:
            report("drawing", min(i + 500, n), n)
    if reference is None:
        reference = quality_reference(
            model, data, extractor, n, real=real, seed=seed, report=report
        )
    return reference.measure(np.concatenate(parts), labels=labels, progress=report)


def quality_reference(
    model: Model,
    data: Dataset,
    extractor: ClassifierExtractor,
    n: int | None = None,
    *,
    real: int | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> Reference:
    """The real images of the data and their figures, for several calls of `quality`."""
    train, test, n = check_quality(model, data, extractor, n, real)
    assert data.test is not None
    labels = data.labels[train] if model.conditional and data.labels is not None else None
    return Reference(
        extractor, data.images[train], data.test.images[test], n, train_labels=labels, seed=seed,
        progress=report,
    )  # fmt: skip


def check_quality(
    model: Model, data: Dataset, extractor: ClassifierExtractor, n: int | None, real: int | None
) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Places of training and of held-out images, and how many to draw.

    Raises ValueError as `quality` does, which takes the same arguments.
    """
    if not model.generates:
        raise ValueError(f"quality: {model.name} draws no images; measure a generator with it")
    if data.test is None:
        raise ValueError(
            f"quality: {data.name!r} has no held-out images to compare with; give data with some"
        )
    splits = data, data.test
    train, test = (some(part, len(part) if real is None else real) for part in splits)
    n = min(IMAGES, len(train), len(test)) if n is None else n
    least = extractor.model.features + 1
    for what, count in (("drawn", n), ("training", len(train)), ("held-out", len(test))):
        if count < least:
            raise ValueError(
                f"quality: {count} {what} images, too few for the covariance of the "
                f"{least - 1} features of {extractor.name}; expected {least} or more, and many "
                "times that for steady figures"
            )
    return train, test, n
