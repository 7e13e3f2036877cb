"""All measures of a set of generated images, each beside the same of real ones: the floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..images import to_uint8
from .arrays import features, generator, plain, probabilities
from .classes import ClassBalance, class_balance, collapsed, inception_score, label_accuracy
from .frechet import fid
from .kernel import kid
from .neighbours import duplicates, nearest, neighbourhoods, pairwise_distance

QUALITY_VERSION = 1  # of the measures and their settings; a figure is compared within one version

Images = NDArray[np.uint8]  # (n, H, W, C) grey levels
Progress = Callable[[str, int, int], None]  # what is being done, how much of it, of how much

BATCH = 250  # images that the extractor sees at a time


class Extractor(Protocol):
    """Turns images into features and class probabilities: a frozen classifier.

    Figures of one extractor say nothing beside figures of another, and so each is kept with the
    extractor's name, version and the SHA-256, in hex, of its weights.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def sha256(self) -> str: ...

    def __call__(self, images: Images, /) -> tuple[Any, Any]:
        """Features (B, d) and probabilities (B, classes) of uint8 images (B, H, W, C)."""
        ...


@dataclass(frozen=True)
class Measure:
    """One figure of the generated images, and the same of as many real training images.

    std and floor_std: standard deviations over subsets or splits, None where there are none.
    better: "lower", "higher", or "real" for as near to the real images' as can be.
    """

    name: str
    value: float
    floor: float | None
    better: str
    std: float | None = None
    floor_std: float | None = None


@dataclass(frozen=True)
class Quality:
    """The measures of a set of generated images, and what they were measured with.

    measures: in the order of the table.  classes, floor_classes: the balance of the generated and
    of the training images.  count: how many generated images, and as many training ones;
    reference: how many held-out real images both are compared with; training: among how many
    training images near copies were looked for.  print() shows a table; `describe` is for JSON.
    """

    measures: tuple[Measure, ...]
    classes: ClassBalance
    floor_classes: ClassBalance
    count: int
    reference: int
    training: int
    extractor: str
    extractor_version: int
    extractor_sha256: str
    seed: int

    def __getitem__(self, name: str) -> Measure:
        """The measure of a name; KeyError names those there are."""
        for m in self.measures:
            if m.name == name:
                return m
        raise KeyError(f"no measure {name!r}; there are {', '.join(m.name for m in self.measures)}")

    @property
    def protocol(self) -> str:
        """How the figures were made, in a sentence: to stand wherever one of them does."""
        return (
            f"{self.count:,} generated images against {self.reference:,} held-out real ones, "
            f"floor: {self.count:,} training images against the same; grey levels; extractor "
            f"{self.extractor} v{self.extractor_version} ({self.extractor_sha256[:12]}); nearest "
            f"of {self.training:,} training images; seed {self.seed}; measures v{QUALITY_VERSION}"
        )

    @property
    def diagnosis(self) -> str:
        """What is wrong, in words, one fault a line; "" where nothing stands out."""
        said = [collapsed(self.classes, self.floor_classes)]
        for name, fault in (
            ("coverage", "they leave out much of what is real"),
            ("precision", "most look like no real image"),
        ):
            m = self[name]
            if m.floor is not None and m.value < m.floor / 2:
                said.append(f"{name} {m.value:.2f}, of real images {m.floor:.2f}: {fault}")
        for name, fault in (
            ("duplicates", "repeat another one exactly"),
            ("training copies", "are exact copies of a training image"),
        ):
            m = self[name]
            if m.value > (m.floor or 0) + 0.01 * self.count:
                said.append(f"{m.value:,.0f} of {self.count:,} images {fault}")
        m = self["nearest training image"]
        if m.floor is not None and m.value < m.floor / 2:
            said.append(
                f"the nearest training image is {m.value:.2f} away, that of an unseen real image "
                f"{m.floor:.2f}: they are remembered, or much simpler than real ones"
            )
        return "\n".join(s for s in said if s)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The table: name, generated, floor and what is better, as text."""
        return [
            (m.name, _text(m.value, m.std), _text(m.floor, m.floor_std), m.better)
            for m in self.measures
        ]

    def describe(self) -> dict[str, Any]:
        """Everything as dicts, lists, strings and numbers, ready for JSON."""
        return {
            "version": QUALITY_VERSION,
            **asdict(self),
            "measures": [asdict(m) for m in self.measures],
            "protocol": self.protocol,
            "diagnosis": self.diagnosis,
        }

    def __str__(self) -> str:
        table = [("measure", "generated", "floor", "better"), *self.rows()]
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        lines = [
            f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}" for a, b, c, d in table
        ]
        return "\n".join([*lines, self.protocol, *filter(None, [self.diagnosis])])


def _text(value: float | None, std: float | None) -> str:
    """A figure in four digits, with its deviation; a dash for none."""
    if value is None:
        return "-"
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text if std is None else f"{text} ± {std:.2g}"


# ---- measuring -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Set:
    """A set of images with what the extractor says of them."""

    images: Images
    features: NDArray[np.float64]
    p: NDArray[np.float64]
    labels: NDArray[Any] | None


def measure(
    extractor: Extractor,
    train: Any,
    test: Any,
    fake: Any,
    *,
    labels: Any = None,
    train_labels: Any = None,
    value_range: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    progress: Progress | None = None,
) -> Quality:
    """Measure generated images against held-out real ones, and training images likewise.

    train, test, fake: images (n, H, W, C), uint8, or floats in `value_range`, which become grey
    levels first: no file holds anything finer.  labels: what the generated images were asked to
    show, for a conditional model; train_labels: what the training images do show.  The floor takes
    as many training images as there are generated ones, or the other way round, chosen by the
    seed: FID depends on the number. Copies are looked for among all of `train`, by the distance
    of pixels in [0, 1].  Raises ValueError for sets that do not fit each other, the labels or the
    extractor, and for too few images for its features (see `fid`).
    """
    who = "measure"
    sets = [to_uint8(x, value_range) for x in (train, test, fake)]
    for what, x in zip(("train", "test", "fake"), sets, strict=True):
        if x.ndim != 4 or len(x) < 10 or x.shape[1:] != sets[0].shape[1:]:
            raise ValueError(
                f"{who}: {what} has shape {x.shape}, train {sets[0].shape}; expected (images, "
                "height, width, channels), equal but for the number, with 10 images or more"
            )
    whole_train, held_out, made = sets
    count = min(len(whole_train), len(made))
    report = progress or (lambda what, done, total: None)

    def chosen(what: str, x: Images, wanted: Any) -> _Set:
        at = np.sort(generator(seed, f"measured {what}").permutation(len(x)).numpy()[:count])
        own = None if wanted is None else _labels(who, what, wanted, len(x))[at]
        return _Set(x[at], *_extract(extractor, x[at], what, report), own)

    real = chosen("training images", whole_train, train_labels)
    drawn = chosen("generated images", made, labels)
    reference = _Set(held_out, *_extract(extractor, held_out, "held-out images", report), None)
    for s in (real, drawn):
        if s.features.shape[1] != reference.features.shape[1]:
            raise ValueError(
                f"{who}: {extractor.name} gives {s.features.shape[1]} features for some images "
                f"and {reference.features.shape[1]} for others; expected one number"
            )
    measures: list[Measure] = []
    parts = (_distribution, _neighbourhoods, _classes)
    for i, part in enumerate(parts):
        report("measures", i, len(parts) + 1)
        measures += part(reference, real, drawn, seed)
    report("measures", len(parts), len(parts) + 1)
    measures += _pixels(whole_train, held_out, real.images, drawn.images)
    report("measures", len(parts) + 1, len(parts) + 1)
    return Quality(
        tuple(measures),
        class_balance(drawn.p),
        class_balance(real.p),
        count=count,
        reference=len(held_out),
        training=len(whole_train),
        extractor=extractor.name,
        extractor_version=extractor.version,
        extractor_sha256=extractor.sha256,
        seed=seed,
    )


def _extract(
    extractor: Extractor, images: Images, what: str, report: Progress
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features (n, d) and probabilities (n, classes) of images, in batches."""
    found, p = [], []
    for i in range(0, len(images), BATCH):
        batch = images[i : i + BATCH]
        some, shares = (plain(a) for a in extractor(batch))
        if len(some) != len(batch) or len(shares) != len(batch):
            raise ValueError(
                f"{extractor.name}: features {some.shape} and probabilities {shares.shape} of "
                f"{len(batch)} images, expected one row an image"
            )
        found.append(some)
        p.append(shares)
        report(what, i + len(batch), len(images))
    return (
        features(extractor.name, f"the features of {what}", np.concatenate(found)),
        probabilities(extractor.name, np.concatenate(p)),
    )


def _labels(who: str, what: str, labels: Any, n: int) -> NDArray[Any]:
    """Labels as an array, one an image."""
    array = plain(labels)
    if array.shape != (n,):
        raise ValueError(f"{who}: labels {array.shape} for {n} {what}, expected one an image")
    return array


def _distribution(reference: _Set, real: _Set, drawn: _Set, seed: int) -> list[Measure]:
    """FID and KID."""
    # at most half of the images, so that subsets differ
    size = min(1000, len(reference.features) // 2, len(real.features) // 2)
    a, b = (kid(reference.features, s.features, size=size, seed=seed) for s in (drawn, real))
    x, y = (fid(reference.features, s.features) for s in (drawn, real))
    return [
        Measure("FID", x, y, "lower"),
        Measure("KID", a.mean, b.mean, "lower", a.std, b.std),
    ]


def _neighbourhoods(reference: _Set, real: _Set, drawn: _Set, seed: int) -> list[Measure]:
    """Precision, recall, density and coverage."""
    found = (neighbourhoods(reference.features, s.features) for s in (drawn, real))
    return [
        Measure(name, x, y, "higher")
        for a, b in zip(*found, strict=True)
        for name, x, y in zip(a._fields, a, b, strict=True)
    ]


def _classes(reference: _Set, real: _Set, drawn: _Set, seed: int) -> list[Measure]:
    """Inception Score, balance of the classes, accuracy of the labels."""
    a, b = (inception_score(s.p, seed=seed) for s in (drawn, real))
    x, y = class_balance(drawn.p), class_balance(real.p)
    measures = [
        Measure("Inception Score", a.mean, b.mean, "higher", a.std, b.std),
        Measure("KL of classes to even", x.kl, y.kl, "real"),
        Measure("rare classes", len(x.rare), len(y.rare), "real"),
    ]
    if drawn.labels is not None:
        accuracy = label_accuracy(drawn.p, drawn.labels)
        usual = None if real.labels is None else label_accuracy(real.p, real.labels)
        measures.append(Measure("label accuracy", accuracy, usual, "higher"))
    return measures


def _pixels(train: Images, test: Images, real: Images, drawn: Images) -> list[Measure]:
    """Variety among the images, and how near they come to training images."""
    a, b = nearest(drawn, train).distance, nearest(test, train).distance
    x, y = (pairwise_distance(images) / 255 for images in (drawn, real))
    p, q = (float(np.median(d)) / 255 for d in (a, b))
    held_out_copies = float((b == 0).mean()) * len(a)  # as if there were as many of them
    return [
        Measure("pairwise distance", x, y, "real"),
        Measure("nearest training image", p, q, "real"),
        Measure("training copies", float((a == 0).sum()), held_out_copies, "lower"),
        Measure("duplicates", duplicates(drawn), duplicates(real), "lower"),
    ]
