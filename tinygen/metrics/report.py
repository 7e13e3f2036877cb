"""All measures of a set of generated images, each beside the same of real ones: the floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..images import to_uint8
from ..io import host_array
from .arrays import features, generator, probabilities
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
    def name(self) -> str:
        """What the network is called, as figures are printed."""

    @property
    def version(self) -> int:
        """The version of its weights; figures of two versions do not compare."""

    @property
    def sha256(self) -> str:
        """The SHA-256 of its weights, in hex."""

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
        faults = [collapsed(self.classes, self.floor_classes)]
        for name, fault in (
            ("coverage", "they leave out much of what is real"),
            ("precision", "most look like no real image"),
        ):
            m = self[name]
            if m.floor is not None and m.value < m.floor / 2:
                faults.append(f"{name} {m.value:.2f}, of real images {m.floor:.2f}: {fault}")
        for name, fault in (
            ("duplicates", "repeat another one exactly"),
            ("training copies", "are exact copies of a training image"),
        ):
            m = self[name]
            if m.value > (m.floor or 0) + 0.01 * self.count:
                faults.append(f"{m.value:,.0f} of {self.count:,} images {fault}")
        m = self["nearest training image"]
        if m.floor is not None and m.value < m.floor / 2:
            faults.append(
                f"the nearest training image is {m.value:.2f} away, that of an unseen real image "
                f"{m.floor:.2f}: they are remembered, or much simpler than real ones"
            )
        return "\n".join(s for s in faults if s)

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


BETTER = {
    "FID": "lower", "KID": "lower", "precision": "higher", "recall": "higher", "density": "higher",
    "coverage": "higher", "Inception Score": "higher", "KL of classes to even": "real",
    "rare classes": "real", "label accuracy": "higher", "pairwise distance": "real",
    "nearest training image": "real", "training copies": "lower", "duplicates": "lower",
}  # fmt: skip


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
    levels first: no file holds anything finer.  labels: those that a conditional model drew the
    generated images for; train_labels: what the training images do show.  The floor takes
    as many training images as there are generated ones, or the other way round, chosen by the
    seed: FID depends on the number. Copies are looked for among all of `train`, by the distance
    of pixels in [0, 1].  Raises ValueError for sets that do not fit each other, the labels or the
    extractor, and for too few images for its features (see `fid`).  Several sets of generated
    images share one `Reference`.
    """
    train, test, fake = (to_uint8(x, value_range) for x in (train, test, fake))
    _check(train=train, test=test, fake=fake)
    if labels is not None:
        labels = _labels("generated images", labels, len(fake))
    reference = Reference(
        extractor, train, test, len(fake), train_labels=train_labels, seed=seed, progress=progress
    )
    return reference.measure(fake, labels=labels, progress=progress)


class Reference:
    """The real images that generated ones are measured beside, and their own figures: the floor.

    These take as long as those of the generated images, and are the same for any number of sets.

    count: how many training images the floor takes, and so how many images of a generated set are
    measured; the other arguments, and what is raised: as of `measure`.
    """

    def __init__(
        self,
        extractor: Extractor,
        train: Any,
        test: Any,
        count: int,
        *,
        train_labels: Any = None,
        value_range: tuple[float, float] = (0.0, 1.0),
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.extractor, self.value_range, self.seed = extractor, value_range, seed
        self.train, self.test = to_uint8(train, value_range), to_uint8(test, value_range)
        _check(train=self.train, test=self.test)
        if count < 10:
            raise ValueError(f"measure: count {count}, expected 10 images or more")
        self.count = min(count, len(self.train))
        report = progress or _silent
        if train_labels is not None:
            train_labels = _labels("training images", train_labels, len(self.train))
        real = self._chosen("training images", self.train, train_labels, report)
        self.held_out = _Set(
            self.test, *_extract(extractor, self.test, "held-out images", report), None
        )
        self.classes = class_balance(real.p)
        self.floor = self._figures(real, self.test, "floor", report)

    def measure(
        self, fake: Any, *, labels: Any = None, progress: Progress | None = None
    ) -> Quality:
        """The measures of a set of generated images, and of the labels that they were drawn for."""
        images, report = to_uint8(fake, self.value_range), progress or _silent
        _check(train=self.train, fake=images)
        if len(images) < self.count:
            raise ValueError(
                f"measure: {len(images)} generated images, expected {self.count} or more, as many "
                "as the floor takes; draw more, or make a Reference with their number"
            )
        if labels is not None:
            labels = _labels("generated images", labels, len(images))
        drawn = self._chosen("generated images", images, labels, report)
        figures = self._figures(drawn, drawn.images, "measures", report)
        return Quality(
            tuple(
                Measure(name, value, floor, BETTER[name], std, floor_std)
                for name, (value, std) in figures.items()
                for floor, floor_std in [self.floor.get(name, (None, None))]
            ),
            class_balance(drawn.p),
            self.classes,
            count=self.count,
            reference=len(self.test),
            training=len(self.train),
            extractor=self.extractor.name,
            extractor_version=self.extractor.version,
            extractor_sha256=self.extractor.sha256,
            seed=self.seed,
        )

    def _chosen(
        self, what: str, images: Images, labels: NDArray[Any] | None, report: Progress
    ) -> _Set:
        """`count` of the images, in their order."""
        order = generator(self.seed, f"measured {what}").permutation(len(images)).numpy()
        at = np.sort(order[: self.count])
        own = None if labels is None else labels[at]
        return _Set(images[at], *_extract(self.extractor, images[at], what, report), own)

    def _figures(
        self, some: _Set, near: Images, what: str, report: Progress
    ) -> dict[str, tuple[float, float | None]]:
        """The figures of a set, each with its deviation if it has one.

        near: images whose nearest training image is looked for; held-out ones for the floor, as
        training images would find themselves.
        """
        real = self.held_out.features
        if some.features.shape[1] != real.shape[1]:
            raise ValueError(
                f"measure: {self.extractor.name} gives {some.features.shape[1]} features for some "
                f"images and {real.shape[1]} for others; expected one number"
            )
        figures: dict[str, tuple[float, float | None]] = {}
        report(what, 0, 4)
        # at most half of the images, so that subsets differ
        size = min(1000, len(real) // 2, self.count // 2)
        distance = kid(real, some.features, size=size, seed=self.seed)
        figures["FID"] = fid(real, some.features), None
        figures["KID"] = distance.mean, distance.std
        report(what, 1, 4)
        for pair in neighbourhoods(real, some.features):
            figures |= {name: (value, None) for name, value in pair._asdict().items()}
        report(what, 2, 4)
        score, balance = inception_score(some.p, seed=self.seed), class_balance(some.p)
        figures["Inception Score"] = score.mean, score.std
        figures["KL of classes to even"] = balance.kl, None
        figures["rare classes"] = len(balance.rare), None
        if some.labels is not None:
            figures["label accuracy"] = label_accuracy(some.p, some.labels), None
        report(what, 3, 4)
        away = nearest(near, self.train).distance
        figures["pairwise distance"] = pairwise_distance(some.images) / 255, None
        figures["nearest training image"] = float(np.median(away)) / 255, None
        # as if there were `count` of them
        figures["training copies"] = int((away == 0).sum()) * self.count / len(away), None
        figures["duplicates"] = duplicates(some.images), None
        report(what, 4, 4)
        return figures


def _silent(what: str, done: int, total: int) -> None:
    """Reports nothing."""


def _check(**sets: Images) -> None:
    """ValueError unless the sets hold ten images or more of one shape; the first gives it."""
    first, like = next(iter(sets.items()))
    for what, x in sets.items():
        if x.ndim != 4 or len(x) < 10 or x.shape[1:] != like.shape[1:]:
            raise ValueError(
                f"measure: {what} has shape {x.shape}, {first} {like.shape}; expected (images, "
                "height, width, channels), equal but for the number, with 10 images or more"
            )


def _extract(
    extractor: Extractor, images: Images, what: str, report: Progress
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features (n, d) and probabilities (n, classes) of images, in batches."""
    found, p = [], []
    for i in range(0, len(images), BATCH):
        batch = images[i : i + BATCH]
        some, shares = (host_array(a) for a in extractor(batch))
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


def _labels(what: str, labels: Any, n: int) -> NDArray[Any]:
    """Labels as an array, one an image."""
    array = host_array(labels)
    if array.shape != (n,):
        raise ValueError(f"measure: labels {array.shape} for {n} {what}, expected one an image")
    return array
