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
from ..models import VAE
from ..random import Generator
from ..tensor import Tensor
from .pictures import some
from .run import Run


@dataclass(frozen=True)
class Figure:
    """One measured number: what it is, on which split, its standard error, and how it was made."""

    name: str
    split: str
    value: float
    error: float  # standard error of the mean over images
    images: int
    protocol: str


Report = Callable[[str, int, int], None]  # what is being measured, images done, images in all


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
    """The negative ELBO and the importance-sampled NLL of a VAE, on training and test images.

    ELBO: one code an image, all images. NLL: `samples` codes an image, on `nll_images` images
    from all over each split. Both in nats an image.
    """
    model = run.model
    if not isinstance(model, VAE):
        raise ValueError(
            f"evaluate: {model.name} gives images no likelihood, so there is no such figure for "
            "it; look at its samples (`tinygen sample`), or evaluate a vae or cvae"
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
    splits = [("test", data.test), ("train", data)] if data.test else [("train", data)]
    for split, part in splits:
        assert part is not None
        rng = model.rng(seed).stream("evaluation", 0)

        def elbo(x: Tensor, y: Tensor | None, rng: Generator = rng) -> NDArray[Any]:
            return _bound(model, x, y, rng)

        values = _over(model, part, len(part), elbo, report, f"negative ELBO, {split}")
        protocol = f"{data_kind}; one code an image, noise seed {seed}"
        figures.append(_figure("negative ELBO", split, values, protocol))
    for split, part in splits if nll_images else []:
        assert part is not None
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


def _bound(model: VAE, x: Tensor, y: Tensor | None, rng: Generator) -> NDArray[Any]:
    """The negative ELBO (beta = 1) of each image, with one code each: shape (B,)."""
    mu, logvar = model.encode(x, y)
    z = losses.reparameterise(mu, logvar, rng)
    kl = losses.gaussian_kl_terms(mu, logvar).sum(axis=1)
    bound: NDArray[Any] = (kl - model.log_p_x(z, x, y)).numpy()
    return bound


def _over(
    model: VAE, data: Dataset, count: int, measure: Any, report: Report | None, what: str
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


def _figure(name: str, split: str, values: NDArray[Any], protocol: str) -> Figure:
    error = float(values.std() / np.sqrt(len(values)))
    return Figure(name, split, float(values.mean()), error, len(values), protocol)
