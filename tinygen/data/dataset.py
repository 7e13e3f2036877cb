"""A set of images in memory, and its batches: shuffled by seed and epoch, prepared ahead."""

from __future__ import annotations

import functools
import hashlib
import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import use_backend
from ..random import Generator
from . import labels as label_reading
from .files import DataError, class_name, printable
from .report import Report

__all__ = ["Batch", "Batches", "DataError", "Dataset"]


class Dataset:
    """Images with optional labels, held in memory.

    images: uint8 (N, H, W, C), C of 1 or 3, read-only.  labels: int64 (N,) below len(classes), or
    None.  classes: the labels' names, or None.  table: arrays of length N by name, or None.
    test: the held-out images, a Dataset with the same classes, or None.  Labels given without
    `classes` may be any integers from 0, names, or one-hot rows: the classes that occur are
    numbered in their order, and called as the labels are.  Raises DataError where these do not fit.
    """

    def __init__(
        self,
        name: str,
        images: NDArray[np.uint8],
        labels: NDArray[Any] | None = None,
        classes: Sequence[str] | None = None,
        table: Mapping[str, NDArray[Any]] | None = None,
        test: Dataset | None = None,
        source: str | None = None,
        options: Mapping[str, Any] | None = None,
        reading: Report | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise DataError(
                f"Dataset: its name is {type(name).__name__}, expected a word, then the images; "
                "data.load(images, labels=...) needs none"
            )
        name = printable(name)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise DataError(
                f"{name}: images are {images.dtype} {images.shape}, "
                "expected uint8 (N, H, W, 1) or (N, H, W, 3)"
            )
        if images.size == 0:
            raise DataError(f"{name}: no images, their shape is {images.shape}")
        self.name = name
        self.images = _frozen(images)
        self.labels, self.classes = _labels(name, labels, classes, len(images))
        self.table = None if table is None else dict(table)
        for key, values in (self.table or {}).items():
            if len(values) != len(images):
                raise DataError(f"{name}: {len(values)} values of {key!r}, {len(images)} images")
        self.test = test
        if test is not None and None not in (test.classes, self.classes):
            self.test = test.with_classes(self.classes or ())
        self.source = source
        self.options = dict(options or {})
        self.reading = reading or Report()  # what the readers noted

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        height, width, channels = self.shape
        parts = [
            f"{len(self):,} images",
            f"{height} x {width} {'grey' if channels == 1 else 'RGB'}",
        ]
        if self.classes is not None:
            count = len(self.classes)
            parts.append(f"{count} class" + ("es" if count != 1 else ""))
        if self.test is not None:
            parts.append(f"{len(self.test):,} held out")
        return f"Dataset({self.name}: {', '.join(parts)})"

    @functools.cached_property
    def report(self) -> Report:
        """What was read, to check before training: classes with their counts, levels, left out."""
        parts = [self.images] if self.test is None else [self.images, self.test.images]
        return self.reading.measured(parts, self.labels, self.classes)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the shape, the images and the labels, and of the held-out ones."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        if self.labels is not None:
            digest.update(self.labels.astype("<i8").data)
        if self.test is not None:
            digest.update(self.test.fingerprint.encode())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """What the data is, JSON-able: `load(d["source"], **d["options"])` loads it again.

        Keys: name, source (None for arrays from memory), options, n, shape, classes, fingerprint,
        test_n (0 without held-out images).
        """
        return {
            "name": self.name,
            "source": self.source,
            "options": dict(self.options),
            "n": len(self),
            "shape": list(self.shape),
            "classes": None if self.classes is None else list(self.classes),
            "fingerprint": self.fingerprint,
            "test_n": 0 if self.test is None else len(self.test),
        }

    def with_classes(self, classes: Sequence[str], names: Sequence[str] | None = None) -> Dataset:
        """The same images, their labels counted in other classes, among which are all of theirs.

        names: what their own classes are called there, where that differs.
        """
        names = names or self.classes
        if self.classes is None or names is None or self.classes == tuple(classes) == tuple(names):
            return self
        foreign = [name for name in names if name not in classes]
        if foreign:
            raise DataError(
                f"{self.name}: the classes {', '.join(foreign)} are not among "
                f"{', '.join(classes)}; give images of the same classes"
            )
        places = np.array([list(classes).index(name) for name in names], np.int64)
        labels = None if self.labels is None else places[self.labels]
        test = None if self.test is None else self.test.with_classes(classes, names)
        return Dataset(
            self.name, self.images, labels, classes, self.table, test, self.source, self.options,
            self.reading,
        )  # fmt: skip

    def column(self, name: str) -> NDArray[Any]:
        """The array "image", "label", or one of the table; DataError where there is none."""
        arrays = {"image": self.images, "label": self.labels, **(self.table or {})}
        found = arrays.get(name)
        if found is None:
            known = ", ".join(k for k, v in arrays.items() if v is not None)
            raise DataError(f"{self.name} has no column {name!r}; it has {known}")
        return np.asarray(found)

    def order(self, seed: int, epoch: int, stream: str = "shuffle") -> NDArray[np.int64]:
        """The places of all images in the order of an epoch: a function of the arguments alone."""
        with use_backend("numpy"):
            generator = Generator(seed).stream(stream, epoch)
            order: NDArray[np.int64] = generator.permutation(len(self)).numpy().astype(np.int64)
        return order

    def batches(
        self,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        value_range: tuple[float, float] = (0.0, 1.0),
        start: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        prefetch: int = 2,
    ) -> Batches:
        """The batches of one epoch; their order depends on (seed, epoch) alone.

        start: batches to leave out, those done before an interruption.  value_range: what 0 and
        255 become.  prefetch: batches prepared ahead by one thread, 0 for none.  Raises DataError
        when the batch is larger than the data and drop_last would leave nothing, or start is past
        the end.
        """
        n = len(self)
        low, high = float(value_range[0]), float(value_range[1])
        if batch_size < 1 or epoch < 0 or prefetch < 0 or not low < high:
            raise ValueError(
                f"batches: batch_size={batch_size}, epoch={epoch}, prefetch={prefetch}, "
                f"value_range=({low:g}, {high:g}); expected 1, 0, 0 or more, and low < high"
            )
        count = n // batch_size if drop_last else -(-n // batch_size)
        if count == 0:
            raise DataError(
                f"batches: {self.name} has {n} images, fewer than batch_size={batch_size}; "
                f"choose a batch size of at most {n}, or drop_last=False"
            )
        if not 0 <= start <= count:
            raise DataError(f"batches: start={start}, expected 0 to {count}, the batches an epoch")
        order = self.order(seed, epoch) if shuffle else np.arange(n, dtype=np.int64)
        make = functools.partial(_gather, self.images, self.labels, order, batch_size, (low, high))
        return Batches(make, range(start, count), prefetch)


class Batch(dict[str, Any]):
    """Some entries of data sets: an array for each column, by name.

    images: the column "image", float32 (B, H, W, C).  labels: "label", int64 (B,), or None.  index:
    int64 (B,), their places in the Dataset.  position: the number of this batch in its epoch, from
    0; training goes on after it with start=position + 1.
    """

    def __init__(self, columns: Mapping[str, Any], index: NDArray[np.int64], position: int) -> None:
        super().__init__(columns)
        self.index, self.position = index, position

    @property
    def images(self) -> NDArray[np.float32]:
        """The column "image": float32 (B, H, W, C)."""
        images: NDArray[np.float32] = self["image"]
        return images

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """The column "label": int64 (B,), or None where there is none."""
        return self.get("label")


class Batches(Iterator[Batch]):
    """Iterator over batches, prepared ahead by one thread that ends when this is closed or dropped.

    `len` is the number of batches still to come.  An error while preparing is raised by `next`.
    """

    def __init__(self, make: Callable[[int], Batch], positions: range, prefetch: int) -> None:
        self._make = make
        self._positions = positions  # still to be given out
        self._thread: threading.Thread | None = None
        if prefetch and positions:
            self._ready: queue.SimpleQueue[Batch | BaseException] = queue.SimpleQueue()
            self._room = threading.Semaphore(prefetch)
            self._stop = threading.Event()
            # The thread knows nothing of self, so that dropping self ends it.
            self._thread = threading.Thread(
                target=_prepare,
                args=(make, positions, self._ready, self._room, self._stop),
                name="tinygen batches",
                daemon=True,
            )
            self._finalizer = weakref.finalize(self, _end, self._stop, self._room)
            try:
                self._thread.start()
            except RuntimeError:  # no threads here, as in a browser: prepare in turn
                self._thread = None

    def __len__(self) -> int:
        return len(self._positions)

    def __next__(self) -> Batch:
        if not self._positions:
            self.close()
            raise StopIteration
        if self._thread is None:
            made: Batch | BaseException = self._make(self._positions[0])
        else:
            made = self._ready.get()
            self._room.release()
        if isinstance(made, BaseException):
            self.close()
            raise made
        self._positions = self._positions[1:]
        return made

    def close(self) -> None:
        """End the thread and give out no more batches; may be called again."""
        self._positions = range(0)
        if self._thread is not None:
            self._finalizer()
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _prepare(
    make: Callable[[int], Batch],
    positions: range,
    ready: queue.SimpleQueue[Batch | BaseException],
    room: threading.Semaphore,
    stop: threading.Event,
) -> None:
    """The thread: make each batch in turn while there is room, until the end, an error, or stop."""
    for position in positions:
        room.acquire()
        if stop.is_set():
            return
        try:
            ready.put(make(position))
        except BaseException as error:  # handed to the consumer, whatever it is
            ready.put(error)
            return


def _end(stop: threading.Event, room: threading.Semaphore) -> None:
    stop.set()
    room.release()


def scaled(images: NDArray[np.uint8], value_range: tuple[float, float]) -> NDArray[np.float32]:
    """Grey levels 0..255 as float32: low + level / 255 * (high - low)."""
    values = np.divide(images, np.float32(255), dtype=np.float32)
    low, high = value_range
    if (low, high) != (0.0, 1.0):
        values *= np.float32(high - low)
        values += np.float32(low)
    return values


def _gather(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    order: NDArray[np.int64],
    batch_size: int,
    value_range: tuple[float, float],
    position: int,
) -> Batch:
    """The batch at a position."""
    index = order[position * batch_size : (position + 1) * batch_size]
    columns: dict[str, Any] = {"image": scaled(images[index], value_range)}
    if labels is not None:
        columns["label"] = labels[index]
    return Batch(columns, index, position)


def _frozen(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A read-only view: the fingerprint stays true."""
    view = array.view()
    view.flags.writeable = False
    return view


def _labels(
    name: str, labels: NDArray[Any] | None, classes: Sequence[str] | None, count: int
) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
    """Labels as int64 (N,) and the names of the classes."""
    names = None if classes is None else tuple(class_name(str(c)) for c in classes)
    if labels is None:
        return None, names
    values = label_reading.clean(name, labels, count)
    if names is not None and len(set(names)) < len(names):
        twice = next(called for called in names if names.count(called) > 1)
        raise DataError(f"{name}: two classes are called {twice!r}; give each a name of its own")
    if names is None:
        (numbers,), names = label_reading.number(name, [values])
        return numbers, names
    if values.dtype.kind not in "iu":
        places = {called: k for k, called in enumerate(names)}
        foreign = sorted(set(values.tolist()) - set(places))
        if foreign:
            raise DataError(f"{name}: labels {', '.join(foreign)}, expected {', '.join(names)}")
        values = np.array([places[v] for v in values.tolist()])
    if values.max() >= len(names):
        raise DataError(
            f"{name}: label {values.max()} with {len(names)} classes; "
            "expected labels from 0 to one less than the number of classes"
        )
    return values.astype(np.int64), names
