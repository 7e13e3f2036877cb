"""A data set where the weights are: on a device, batches are gathered there, not copied there."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from ..data import Batch, Dataset
from ..models import Column, Model

LARGEST = 2**31  # bytes of images that are kept on a device


class Resident:
    """The images and labels of a data set on the model's device.

    The host enqueues one gather a batch and never waits; the order of an epoch is uploaded once.
    """

    def __init__(self, model: Model, data: Dataset, reads: tuple[Column, ...]) -> None:
        self._data, self._range = data, reads[0].range
        self._place = model.place
        self._images = model.place(data.images).data
        self._labels = model.place(data.column("label")) if len(reads) > 1 else None
        index: Any = importlib.import_module("tinygen_kernels.cuda.index")
        self._gather = index.gather_images

    @contextlib.contextmanager
    def batches(
        self, batch_size: int, *, seed: int, epoch: int, start: int = 0
    ) -> Iterator[Iterator[Batch]]:
        """The batches of one epoch, in the order of Dataset.batches; arrays of the device."""
        order = self._data.order(seed, epoch)
        places = self._place(order)

        def each() -> Iterator[Batch]:
            for k in range(start, len(self._data) // batch_size):
                rows = slice(k * batch_size, (k + 1) * batch_size)
                at = places[rows]
                images = self._gather(self._images, at.data, *self._range)
                columns: dict[str, Any] = {"image": images}
                if self._labels is not None:
                    columns["label"] = self._labels[at].data
                yield Batch(columns, order[rows], k)

        yield each()


def fits(model: Model, data: Dataset, reads: tuple[Column, ...]) -> bool:
    """Whether to keep the data on the model's device: images, and labels after them."""
    kinds = [(c.name, c.kind, c.source, c.array) for c in reads]
    known = [("image", "pixels", "train", "image"), ("label", "label", "train", "label")]
    plain = kinds in (known, known[:1])
    return plain and model.backend.name != "numpy" and data.images.nbytes <= LARGEST
