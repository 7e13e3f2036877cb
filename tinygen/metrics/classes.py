"""What a classifier says of generated images: Inception Score, balance of the classes, collapse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..io import host_array
from .arrays import Floats, generator, probabilities, whole

RARE = 0.02  # share of the images below which a class counts as rare, for ten classes or fewer
MOST = 0.5  # share of the images above which one class is most of them
ENOUGH = 10  # images a class, from which on a class can be missed


class InceptionScore(NamedTuple):
    """The mean over splits, and the standard deviation from one split to another."""

    mean: float
    std: float


def inception_score(p: Any, *, splits: int = 10, seed: int = 0) -> InceptionScore:
    """exp of the mean over images of KL(p(y | x), p(y)), from 1 to the number of classes.

    p: class probabilities (n, classes), each row summing to 1. p(y) is their mean over a split;
    the images are shuffled by the seed before they are split, since images drawn label by label
    would leave one class to a split. High for images that are each taken for one class, of all
    classes in turn; blind to all images of a class being the same.
    Source: Salimans et al., "Improved techniques for training GANs" (2016).
    """
    table = probabilities("inception_score", p)
    splits = whole("inception_score", "splits", splits, 1)
    if splits > len(table):
        raise ValueError(
            f"inception_score: {splits} splits of {len(table)} images; give splits={len(table)} "
            "or less, or more images"
        )
    order = generator(seed, "inception score").permutation(len(table)).numpy()
    scores = []
    for part in np.array_split(table[order], splits):
        # E KL = E sum p log p - sum q log q, with q = E p
        information = _plogp(part).sum(axis=1).mean() - _plogp(part.mean(axis=0)).sum()
        scores.append(np.exp(information))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def _plogp(p: Floats) -> Floats:
    """p log p, 0 at 0."""
    result: Floats = p * np.log(np.where(p > 0, p, 1))
    return result


@dataclass(frozen=True)
class ClassBalance:
    """How many images a classifier takes for each class.

    counts: images of each class.  kl: KL divergence of the shares from even ones, in nats, from 0
    to log(classes).  rare: the classes with under 2 % of the images; with more than ten classes,
    under a fifth of an even share.
    """

    counts: tuple[int, ...]
    kl: float
    rare: tuple[int, ...]

    @property
    def shares(self) -> tuple[float, ...]:
        """Each class's part of the images, from 0 to 1."""
        return tuple(n / sum(self.counts) for n in self.counts)


def class_balance(p: Any) -> ClassBalance:
    """The balance of the classes, each image counted for its likeliest; p is (n, classes)."""
    table = probabilities("class_balance", p)
    counts = np.bincount(table.argmax(axis=1), minlength=table.shape[1])
    shares = counts / counts.sum()
    kl = float(np.log(len(shares)) + _plogp(shares).sum())
    rare = np.flatnonzero(shares < rare_share(len(shares)))
    return ClassBalance(tuple(counts.tolist()), max(0.0, kl), tuple(rare.tolist()))


def rare_share(classes: int) -> float:
    """The share of the images below which a class counts as rare."""
    return min(RARE, 0.2 / classes)


def label_accuracy(p: Any, labels: Any) -> float:
    """Fraction of images classified as the requested label; p (n, classes), labels (n,).

    For images of a conditional model: whether it draws what its labels say.
    """
    table, wanted = probabilities("label_accuracy", p), host_array(labels)
    if wanted.shape != table.shape[:1] or wanted.dtype.kind not in "iu":
        raise ValueError(
            f"label_accuracy: labels are {wanted.dtype} {wanted.shape}, expected integers, one "
            f"for each of {len(table)} images"
        )
    if wanted.min() < 0 or wanted.max() >= table.shape[1]:
        raise ValueError(
            f"label_accuracy: labels from {wanted.min()} to {wanted.max()}, expected from 0 to "
            f"{table.shape[1] - 1}, the extractor's classes"
        )
    return float((table.argmax(axis=1) == wanted).mean())


def collapsed(fake: ClassBalance, real: ClassBalance | None = None) -> str:
    """Which classes the generated images lack or are full of, in words; "" where none.

    real: the balance of real images; what is as rare or as frequent there is no fault. Without
    it real images are taken to be even. Rare classes are reported from 10 images a class on: fewer
    may miss a class by chance.
    """
    faults = []
    n, classes = sum(fake.counts), len(fake.counts)
    most = int(np.argmax(fake.counts))
    usual = 1 / classes if real is None else real.shares[most]
    if fake.shares[most] > max(MOST, 1.5 * usual):
        faults.append(f"{fake.shares[most]:.0%} of the images are taken for class {most}")
    missing = [k for k in fake.rare if real is None or k not in real.rare]
    if missing and n >= ENOUGH * classes:
        faults.append(
            f"{len(missing)} of {classes} classes ({', '.join(map(str, missing))}) have under "
            f"{100 * rare_share(classes):.2g}% of the images each"
        )
    return "; ".join(faults)
