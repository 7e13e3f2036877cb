"""Arrays in .npy and .npz files, read without pickles and not before their size is checked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from . import labels, pixels
from .files import DataError, check_plain, check_room, file_kind
from .report import Report, Request

__all__ = ["read_npy", "read_npz"]

# (images, labels) of the training and of the test split in .npz files: Keras, MedMNIST
KEYS = (
    (("x_train", "y_train"), ("x_test", "y_test")),
    (("train_images", "train_labels"), ("test_images", "test_labels")),
)
HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

Split = tuple[NDArray[np.uint8], NDArray[Any] | None]
Read = tuple[Split, Split | None, tuple[str, ...] | None]


def read_npy(path: Path, request: Request) -> Read:
    """One array of images."""
    check_plain(path)
    with _described(path, str(path)), open(path, "rb") as stream:
        if stream.read(4) == b"PK\x03\x04":
            raise DataError(f"{path}: several arrays, not one; rename it to .npz")
        stream.seek(0)
        array = _array(str(path), stream, path.stat().st_size)
    images = pixels.arrange(str(path), array, request.report)
    read = pixels.levels(str(path), [images], request.bounds, request.report)[0]
    return (read, None), None, None


def read_npz(path: Path, request: Request) -> Read:
    """The arrays of Keras' or MedMNIST's names; the training and test images share their range."""
    import zipfile  # here, so that importing tinygen is quick

    bounds, report = request.bounds, request.report
    check_plain(path)
    with _described(path, str(path)), open(path, "rb") as stream:
        if stream.read(6) == np.lib.format.MAGIC_PREFIX:
            raise DataError(f"{path}: one array, not several; rename it to .npy")
        with zipfile.ZipFile(stream) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            keys = next((k for k in KEYS if k[0][0] in members), None)
            if keys is None:
                raise DataError(
                    f"{path}: keys {', '.join(members) or 'none'}; expected x_train (y_train, "
                    "x_test, y_test) as Keras has them, or train_images (train_labels, "
                    "test_images, test_labels) as MedMNIST"
                )
            others = [key for key in members if key not in (*keys[0], *keys[1])]
            report.left_out |= {"other": others} if others else {}
            found = {key: members[key] for pair in keys for key in pair if key in members}
            check_room(
                str(path), sum(info.file_size for info in found.values()),
                "store fewer or smaller images", sum(i.compress_size for i in found.values()),
            )  # fmt: skip
            arrays = {}
            for key, info in found.items():
                with _described(path, f"{path}, {key}"), archive.open(info) as member:
                    arrays[key] = _array(f"{path}, {key}", member, info.file_size)
    splits = [pair for pair in keys if pair[0] in arrays]
    images = [pixels.arrange(f"{path}, {key}", arrays[key], report) for key, _ in splits]
    if bounds is None:
        pixels.check_alike(str(path), images)
    levels = pixels.levels(str(path), images, bounds, report)
    read = [(part, _labels(f"{path}, {answer}", arrays.get(answer), len(part), report))
            for part, (_, answer) in zip(levels, splits, strict=True)]  # fmt: skip
    return read[0], read[1] if len(read) > 1 else None, None


def _labels(
    name: str, values: NDArray[Any] | None, count: int, report: Report
) -> NDArray[Any] | None:
    """One label an image; those of several classes at once are left out, and the report says so."""
    if values is None:
        return None
    if values.ndim == 2 and values.shape[1] > 1 and len(values) == count:
        try:
            return labels.clean(name, values, count)
        except DataError:
            report.warn(
                f"{name.rsplit(', ', 1)[-1]} {values.shape} are left out: an image may have "
                "several classes"
            )
            return None
    return labels.clean(name, values, count)


def _array(name: str, stream: IO[bytes], size: int) -> NDArray[Any]:
    """The array in a stream of `size` bytes, whose header is held against that size first."""
    version = np.lib.format.read_magic(stream)
    if version not in HEADER:
        raise ValueError(f"version {version} of the format")
    shape, fortran, dtype = HEADER[version](stream)
    if dtype.hasobject:
        raise ValueError("its values are Python objects, which can run programs")
    held = size - stream.tell()
    if math.prod(shape) * dtype.itemsize != held or min(shape, default=1) < 0:
        raise ValueError(
            f"its header, {dtype} {shape}, asks for {math.prod(shape) * dtype.itemsize:,} bytes, "
            f"and {held:,} follow"
        )
    check_room(name, held, "store fewer or smaller images")
    data = bytearray(held)
    view, done = memoryview(data), 0
    while done < held:
        block = stream.read(min(held - done, 1 << 24))
        if not block:
            raise ValueError(f"it ends after {done:,} of {held:,} bytes")
        view[done : done + len(block)] = block
        done += len(block)
    array = np.frombuffer(data, dtype) if held else np.empty(0, dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


@contextmanager
def _described(path: Path, name: str) -> Iterator[None]:
    """What goes wrong while a file is read becomes a DataError that says what the file is."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # broken files raise nearly every exception there is
        kind = file_kind(path)
        if not kind or kind.startswith(("it is a NumPy", "it is a ZIP")):
            kind = str(error) or type(error).__name__
        raise DataError(
            f"{name}: cannot be read ({kind}); expected a file written by np.save or np.savez "
            "without objects; write or copy it again"
        ) from error
