"""The quality of what a model draws, beside real images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..images import to_uint8
from ..metrics import Quality, Reference
from ..models import Draws, Model, feed
from ..models.contract import label_of
from .extractor import ClassifierExtractor
from .pictures import draw

IMAGES = 10_000  # to draw, unless fewer are held out
Report = Callable[[str, int, int], None]  # what is being measured, images done, images in all


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
