"""Where images come from: a name, or a path to IDX files, a folder of images, .npy or .npz."""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..random import Generator
from . import idx, pixels
from .dataset import DataError, Dataset
from .strokes import DIGIT_WORDS, strokes

__all__ = ["NAMES", "load"]

NAMES = ("strokes", "mnist", "fashion-mnist")
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FOREIGN = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".svg", ".raw", ".dng", ".cr2")
HELD_OUT = ("test", "val", "valid", "validation")  # folders beside "train", the first there is
# (images, labels) of the training and of the test split in .npz files: Keras, MedMNIST
KEYS = (
    (("x_train", "y_train"), ("x_test", "y_test")),
    (("train_images", "train_labels"), ("test_images", "test_labels")),
)
STROKES_N = 20_000
UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)

Split = tuple[NDArray[np.uint8], NDArray[Any] | None]  # images (N, H, W, C), labels (N,)
Read = tuple[Split, Split | None, tuple[str, ...] | None]  # train, test, classes


def load(
    source: str | os.PathLike[str] | NDArray[Any],
    *,
    labels: NDArray[Any] | None = None,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
    n: int | None = None,
    seed: int = 0,
    value_range: Sequence[float] | None = None,
) -> Dataset:
    """Load images to train on, with held-out ones in `.test`.

    source: "strokes" (drawn here; n = 20,000 unless given), "mnist" or "fashion-mnist" (downloaded
    once), or the path of a folder with IDX files, a folder of PNG, JPEG, WebP, TIFF, BMP or GIF
    files (sub-folders are classes, or the splits "train" and "test" or "val"), a .npy file
    (N, H, W), (N, H, W, C) or (N, C, H, W), a .npz file with the keys of Keras or MedMNIST; or an
    array of images, with `labels`.  A path that has one of the three names is written with a
    separator: "./mnist".

    size: height and width in pixels, or (height, width); images are scaled, not cropped.
    channels: 1 or 3, converting.  n: take only so many training images, chosen by the seed.
    seed: which strokes, which images are taken by n or held out.  value_range: the range of float
    arrays; without it the first of [0, 1], [-1, 1], [0, 255] that holds all values.

    Held out: strokes from a stream of their own (a tenth of n, at least 100), the test files of
    IDX, Keras, MedMNIST and "test" folders, else a tenth of the images chosen by the seed (None
    for fewer than ten images).  Raises DataError saying what was met, expected, and to be done.
    """
    if hasattr(source, "numpy"):  # a Tensor
        source = source.numpy()
    extent = _size(size)
    if channels not in (None, 1, 3):
        raise DataError(f"load: channels={channels}, expected 1 (grey) or 3 (red, green, blue)")
    if n is not None and n < 1:
        raise DataError(f"load: n={n}, expected at least 1 image")
    given = {
        "size": None if extent is None else list(extent),
        "channels": channels,
        "n": n,
        "value_range": None if value_range is None else [float(v) for v in value_range],
    }
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    options["seed"] = seed
    bounds = None
    if value_range is not None:
        if len(value_range) != 2:
            raise DataError(f"load: value_range={value_range!r}, expected (low, high)")
        bounds = (float(value_range[0]), float(value_range[1]))
    if labels is not None and not isinstance(source, np.ndarray):
        raise DataError("load: labels come with an array of images only; files bring their own")
    if isinstance(source, np.ndarray):
        images = pixels.levels("array", pixels.arrange("array", source), bounds)
        read: Read = ((images, labels), None, None)
        return _finish("array", None, read, extent, channels, n, seed, options)
    name = os.fspath(source)
    if name == "strokes":
        return _strokes(extent, channels, n or STROKES_N, seed, options)
    if name in ("mnist", "fashion-mnist"):
        read = (*_idx_folder(idx.download(name))[:2], idx.CLASSES[name])
        return _finish(name, name, read, extent, channels, n, seed, options)
    path = Path(name)
    if not path.exists():
        raise DataError(
            f"{name}: no such file or folder; expected {', '.join(NAMES)} or the path of a folder "
            "with images or IDX files, or of a .npy or .npz file"
        )
    read = _read_path(path, extent, bounds)
    whole = os.path.abspath(path)
    return _finish(os.path.basename(whole), whole, read, extent, channels, n, seed, options)


def _size(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """(height, width)."""
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < 1:
        raise DataError(f"load: size={size!r}, expected pixels, or (height, width)")
    return int(pair[0]), int(pair[1])


def _strokes(
    extent: tuple[int, int] | None,
    channels: int | None,
    n: int,
    seed: int,
    options: dict[str, Any],
) -> Dataset:
    height, width = extent or (28, 28)
    if height != width or height < 8:
        raise DataError(
            f"strokes: size ({height}, {width}), expected a square of at least 8 pixels; "
            "give one number, for example size=32"
        )
    parts = []
    for split, count in (("train", n), ("test", max(100, n // 10))):
        images, table = strokes(count, seed, height, channels == 3, split)
        parts.append((images, table["digit"], DIGIT_WORDS, table))
    test = Dataset("strokes (test)", *parts[1])
    return Dataset("strokes", *parts[0], test=test, source="strokes", options=options | {"n": n})


def _finish(
    name: str,
    source: str | None,
    read: Read,
    extent: tuple[int, int] | None,
    channels: int | None,
    n: int | None,
    seed: int,
    options: dict[str, Any],
) -> Dataset:
    """Hold out, take n, convert and resize: what all sources but strokes have in common."""
    train, test, classes = read
    images, labels = train
    Dataset(name, images, labels)  # the checks, before anything is cut up
    known = [part[1] for part in (train, test) if part is not None and part[1] is not None]
    if classes is None and known:
        classes = tuple(str(k) for k in range(max(int(part.max()) for part in known) + 1))
    if test is None and len(images) >= 10:
        order = Generator(seed).stream("hold out").permutation(len(images)).numpy()
        cut = len(images) - len(images) // 10
        test = _take(train, np.sort(order[cut:]))
        train = _take(train, np.sort(order[:cut]))
    if n is not None:
        if n > len(train[0]):
            raise DataError(
                f"{name}: n={n}, but there are {len(train[0])} training images; ask for fewer"
            )
        order = Generator(seed).stream("subset").permutation(len(train[0])).numpy()
        train = _take(train, np.sort(order[:n]))
    wanted = extent or (train[0].shape[1], train[0].shape[2])
    depth = channels or train[0].shape[3]
    if test is not None and extent is None and test[0].shape[1:3] != wanted:
        raise DataError(
            f"{name}: training images are {wanted[0]} x {wanted[1]}, test images "
            f"{test[0].shape[1]} x {test[0].shape[2]}; give one size (--size)"
        )
    shaped = [
        None
        if part is None
        else (pixels.resize(name, pixels.with_channels(part[0], depth), wanted), part[1])
        for part in (train, test)
    ]
    held = None if shaped[1] is None else Dataset(f"{name} (test)", *shaped[1], classes)
    assert shaped[0] is not None
    return Dataset(name, *shaped[0], classes, test=held, source=source, options=options)


def _take(split: Split, index: NDArray[Any]) -> Split:
    images, labels = split
    return images[index], None if labels is None else labels.reshape(len(images), -1)[index, 0]


def _read_path(
    path: Path, extent: tuple[int, int] | None, bounds: tuple[float, float] | None
) -> Read:
    if path.is_dir():
        if idx.find(path):
            return _idx_folder(path)
        return _image_folder(path, extent)
    if path.suffix == ".npy":
        return _npy(path, bounds)
    if path.suffix == ".npz":
        return _npz(path, bounds)
    hint = "; give its folder" if "idx" in path.name or path.suffix.lower() in ENDINGS else ""
    raise DataError(
        f"{path}: a file of another kind; expected a folder with images or IDX files, "
        f"or a .npy or .npz file{hint}"
    )


def _idx_folder(folder: Path) -> Read:
    """The four files; with one split only, that one is the training data."""
    files = idx.find(folder)
    train, test = idx.read_split(files, "train"), idx.read_split(files, "t10k")
    if train is None and test is None:
        raise DataError(f"{folder}: no IDX images, expected train-images-idx3-ubyte or its .gz")
    if train is None:
        assert test is not None
        return test, None, None
    return train, test, None


@contextlib.contextmanager
def _numpy_file(path: Path) -> Iterator[Any]:
    """What np.load gives, without pickles, while its file is open; raises DataError."""
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(open(path, "rb"))
            content = np.load(stream, allow_pickle=False)
        except UNREADABLE as error:
            raise DataError(
                f"{path}: cannot be read ({error}); expected a file written by np.save or "
                "np.savez without objects; write or copy it again"
            ) from error
        yield content


def _npy(path: Path, bounds: tuple[float, float] | None) -> Read:
    with _numpy_file(path) as array:
        if not isinstance(array, np.ndarray):
            raise DataError(f"{path}: several arrays, not one; rename it to .npz")
        images = pixels.levels(str(path), pixels.arrange(str(path), array), bounds)
    return (images, None), None, None


def _npz(path: Path, bounds: tuple[float, float] | None) -> Read:
    with _numpy_file(path) as file:
        if isinstance(file, np.ndarray):
            raise DataError(f"{path}: one array, not several; rename it to .npy")
        for pairs in KEYS:
            if pairs[0][0] in file.files:
                bounds = bounds or _npz_range(path, file, [images for images, _ in pairs])
                train, test = (_npz_split(path, file, keys, bounds) for keys in pairs)
                assert train is not None
                return train, test, None
        names = ", ".join(file.files) or "none"
    raise DataError(
        f"{path}: keys {names}; expected x_train (y_train, x_test, y_test) as Keras has them, "
        "or train_images (train_labels, test_images, test_labels) as MedMNIST"
    )


def _npz_range(path: Path, file: Any, keys: list[str]) -> tuple[float, float] | None:
    """One range for the floats of both splits: each alone might suggest another."""
    arrays = []
    for key in keys:
        try:
            arrays += [file[key]] if key in file.files else []
        except UNREADABLE as error:
            raise DataError(
                f"{path}, {key}: cannot be read ({error}); write or copy it again"
            ) from error
    floats = [a for a in arrays if a.dtype.kind == "f" and a.size]
    if not floats:
        return None
    least, most = (float(f(pick(a) for a in floats)) for f, pick in ((min, np.min), (max, np.max)))
    met = f"{path}: {floats[0].dtype} values from {least:g} to {most:g}"
    return pixels.range_of(met, least, most)


def _npz_split(
    path: Path, file: Any, keys: tuple[str, str], bounds: tuple[float, float] | None
) -> Split | None:
    """One split of a .npz file; labels of several columns (many classes at once) are left out."""
    name = f"{path}, {keys[0]}"
    if keys[0] not in file.files:
        return None
    try:
        images = file[keys[0]]
        labels = file[keys[1]] if keys[1] in file.files else None
    except UNREADABLE as error:
        raise DataError(f"{name}: cannot be read ({error}); write or copy it again") from error
    images = pixels.levels(name, pixels.arrange(name, images), bounds)
    if labels is not None and labels.ndim == 2 and labels.shape[1] > 1:
        labels = None
    return images, Dataset(name, images, labels).labels


def _image_folder(folder: Path, extent: tuple[int, int] | None) -> Read:
    """Image files, in the order of their names; hidden files and folders, and runs, are ignored."""
    inner = [entry for entry in _visible(folder) if entry.is_dir()]
    by_name = {entry.name: entry for entry in inner}
    held_out = [by_name[name] for name in HELD_OUT if name in by_name]
    if "train" in by_name and held_out:
        names, files, numbers = _files(by_name["train"])
        test_names, test_files, test_numbers = _files(held_out[0])
        if test_names != names:
            raise DataError(
                f"{folder}: train has the classes {names}, {held_out[0].name} {test_names}; "
                "expected the same"
            )
        pictures = _decode([*files, *test_files], extent)
        cut = len(files)
        test: Split | None = (pictures[cut:], test_numbers)
        return (pictures[:cut], numbers), test, names
    names, files, numbers = _files(folder)
    return (_decode(files, extent), numbers), None, names


def _files(folder: Path) -> tuple[tuple[str, ...] | None, list[Path], NDArray[np.int64] | None]:
    """(classes, files, labels) of a folder of images, or of one folder a class."""
    loose = [entry for entry in _visible(folder) if entry.is_file() and _is_image(entry)]
    classes: list[str] = []
    files: list[Path] = []
    numbers: list[int] = []
    for entry in _visible(folder):
        found = _all_images(entry) if entry.is_dir() else []
        if found:
            numbers += [len(classes)] * len(found)
            classes.append(entry.name)
            files += found
    if loose and files:
        raise DataError(
            f"{folder}: both images ({loose[0].name}) and sub-folders with images "
            f"({classes[0]}); expected either; move the images into a sub-folder"
        )
    if not loose and not files:
        others = sorted({e.suffix or e.name for e in _visible(folder) if e.is_file()})
        met = f"it has {', '.join(others[:5])}" if others else "it is empty"
        raise DataError(
            f"{folder}: no images found, {met}; expected {', '.join(ENDINGS)} files, sub-folders "
            "of them, or IDX files such as train-images-idx3-ubyte.gz"
        )
    if loose:
        return None, loose, None
    return tuple(classes), files, np.array(numbers, np.int64)


def _visible(folder: Path) -> list[Path]:
    """What a folder holds, sorted by name, without hidden entries and archive droppings."""
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error
    return [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]


def _is_run(path: Path) -> bool:
    """Whether it is the folder of a training, whose pictures are no data."""
    return (path / "config.json").is_file() and (path / "checkpoints").is_dir()


def _is_image(path: Path) -> bool:
    """Whether it is an image by its name; DataError for a kind that cannot be read."""
    if path.suffix.lower() in FOREIGN:
        raise DataError(
            f"{path}: images of this kind are not read; convert them to PNG or JPEG, or move them "
            "elsewhere"
        )
    return path.suffix.lower() in ENDINGS


def _all_images(folder: Path) -> list[Path]:
    """Every image below a folder, links to folders not followed; none of a run."""
    found: list[Path] = []
    if _is_run(folder):
        return found
    for entry in _visible(folder):
        if entry.is_dir() and not entry.is_symlink():
            found += _all_images(entry)
        elif entry.is_file() and _is_image(entry):
            found.append(entry)
    return found


def _decode(files: list[Path], extent: tuple[int, int] | None) -> NDArray[np.uint8]:
    """(N, H, W, C): colour if any file has it."""
    pictures: list[NDArray[np.uint8]] = []
    for path in files:
        picture = pixels.decode(path, extent)
        if pictures and picture.shape[:2] != pictures[0].shape[:2]:
            (h0, w0), (h1, w1) = pictures[0].shape[:2], picture.shape[:2]
            raise DataError(
                f"images of different sizes: {files[0]} is {w0} x {h0} pixels, {path} is "
                f"{w1} x {h1}; give one size for all, for example --size {min(h0, w0, h1, w1)}"
            )
        pictures.append(picture)
    depth = max(picture.shape[2] for picture in pictures)
    out = np.empty((len(pictures), *pictures[0].shape[:2], depth), np.uint8)
    for index, picture in enumerate(pictures):
        out[index] = picture  # grey is repeated over the channels
    return out
