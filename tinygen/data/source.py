"""Where images come from: a name, or a path to IDX files, a folder of images, .npy or .npz."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..io import host_array
from ..random import Generator
from . import idx, pixels
from . import labels as label_reading
from .dataset import Dataset
from .files import (
    WRITTEN,
    DataError,
    NoImagesError,
    as_path,
    as_text,
    check_plain,
    check_room,
    file_kind,
)
from .pictures import ENDINGS, PAPERS
from .report import Report, Request, listed
from .strokes import DIGIT_WORDS, strokes

__all__ = ["NAMES", "load"]

NAMES = ("strokes", "mnist", "fashion-mnist")
STROKES_N = 20_000
FEWEST = 10  # images of which a tenth is held out

Split = tuple[NDArray[np.uint8], NDArray[Any] | None]  # images (N, H, W, C), labels (N,)
Read = tuple[Split, Split | None, tuple[str, ...] | None]  # train, test, classes


def load(
    source: str | os.PathLike[str] | NDArray[Any],
    *,
    labels: Any = None,
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
    n: int | None = None,
    seed: int = 0,
    value_range: Sequence[float] | None = None,
    paper: str | None = None,
    skip_broken: bool = False,
) -> Dataset:
    """Load images to train on, with held-out ones in `.test`, and how they were read in `.report`.

    source: "strokes" (drawn here; n = 20,000 unless given), "mnist" or "fashion-mnist" (downloaded
    once), or the path of a folder with IDX files, a folder of PNG, JPEG, WebP, TIFF, BMP, GIF or
    PPM files (sub-folders are classes, or the splits "train" and "test" or "val", also in other
    languages), a .npy file (N, H, W), (N, H, W, C) or (N, C, H, W), a .npz file with the keys of
    Keras or MedMNIST; or an array of images, with `labels`: integers or names (N,), or one-hot
    rows (N, K).  A path that has one of the three names is written with a separator: "./mnist".

    size: height and width in pixels, or (height, width); images are scaled, not cropped.
    channels: 1 or 3, converting.  n: take only so many training images, chosen by the seed.
    seed: which strokes, which images are taken by n or held out.  value_range: what is black and
    white in arrays and files; without it float values lie in [0, 1], [0, 255] or [-1, 1], integers
    up to 255, or up to 10, 12, 14 or 16 bits.  paper: "white" or "black", behind transparent
    images; without it the one on which they show.  skip_broken: leave out files that cannot be
    read.

    Held out: strokes from a stream of their own (a tenth of n, at least 100), the test files of
    IDX, Keras, MedMNIST and "test" folders, else a tenth of the images chosen by the seed (None
    for fewer than ten images).  Raises DataError saying what was met, expected, and to be done.
    """
    source = _array_or_path(source)
    given = _checked(size, channels, n, value_range, paper, skip_broken)
    seed = _whole("seed", seed)
    options = given | {"seed": seed}
    bounds = None if value_range is None else tuple(given["value_range"])
    extent = tuple(given["size"]) if "size" in given else None
    request = Request(extent, bounds, paper, skip_broken)
    report = request.report
    if labels is not None and not isinstance(source, np.ndarray):
        raise DataError("load: labels come with an array of images only; files have their own")
    name, where = "array", None
    if isinstance(source, str) and source in NAMES and os.path.exists(source):
        report.warn(f"{source} is the set of that name; the {source} in this folder is not read: "
                    f"for that, give ./{source}")  # fmt: skip
    try:
        if isinstance(source, np.ndarray):
            if np.ma.is_masked(source):
                raise DataError("array: some values are masked; fill them with .filled(level)")
            images = pixels.arrange(name, source, report)
            images = pixels.levels(name, [images], bounds, report)[0]
            if len(images) < FEWEST and np.may_share_memory(images, source):
                images = images.copy()  # more are copied as some are held out
            read: Read = ((images, labels), None, None)
        elif source == "strokes":
            if value_range is not None or paper is not None:
                raise DataError("strokes: drawn here, in the full range of levels; leave "
                                "out value_range and paper")  # fmt: skip
            return _strokes(extent, channels, n or STROKES_N, seed, options, report)
        elif source in ("mnist", "fashion-mnist"):
            name = where = source
            folder = idx.download(name)
            read = (*_idx_set(folder, idx.find(folder), request)[:2], idx.CLASSES[name])
        else:
            path = _existing(as_path(source))
            name = os.path.basename(os.path.abspath(path))
            where = as_text(os.path.abspath(path))
            read = _read_path(path, request)
        return _finish(name, where, read, extent, channels, n, seed, options, report)
    except MemoryError as error:
        raise DataError(
            f"{name}: the images do not fit in memory; give a smaller size, for example --size 64, "
            "or fewer images"
        ) from error
    except OSError as error:
        raise DataError(
            f"{error.filename or name}: cannot be read ({error.strerror or error}); expected files "
            "and folders that you may read; check the path and its permissions"
        ) from error


def _array_or_path(source: Any) -> NDArray[Any] | str:
    """What a person gives: an array, or what becomes one; or a name or path."""
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        if isinstance(text, bytes):
            text = os.fsdecode(text)
        if not text.strip():
            raise DataError(
                f"load: source={text!r} is empty; expected {', '.join(NAMES)} or a path ('.' for "
                "the current folder)"
            )
        return text
    if isinstance(source, np.ndarray):
        return source
    try:
        array = host_array(source)
    except Exception as error:  # ragged lists; what other libraries' tensors raise
        raise DataError(
            f"load: {type(source).__name__} gives no array ({error}); expected images of one size "
            "as an array (N, H, W) or (N, H, W, C), or a path"
        ) from error
    if array.dtype.kind in "OSU":
        raise DataError(
            f"load: source is {type(source).__name__}, expected an array of images, "
            f"{', '.join(NAMES)}, or the path of a folder, of a .npy or .npz file"
        )
    return array


def _existing(name: str) -> Path:
    path = Path(name)
    if not path.exists() and name.startswith("~"):  # a shell expands it at the start of a word only
        path = Path(os.path.expanduser(name))
    if not path.exists():
        meant = name.strip("/\\").casefold().replace("_", "-")
        hint = f"; the built-in set is called {meant}" if meant in NAMES else ""
        raise DataError(
            f"{name}: no such file or folder; expected {', '.join(NAMES)} or the path of a folder "
            f"with images or IDX files, or of a .npy or .npz file{hint}"
        )
    return path


def _checked(
    size: int | Sequence[int] | None,
    channels: int | None,
    n: int | None,
    value_range: Sequence[float] | None,
    paper: str | None,
    skip_broken: bool,
) -> dict[str, Any]:
    """The options that were given, as JSON keeps them; raises DataError for wrong ones."""
    extent = _size(size)
    if channels not in (None, 1, 3):
        raise DataError(f"load: channels={channels}, expected 1 (grey) or 3 (red, green, blue)")
    n = None if n is None else _whole("n", n)
    if n is not None and n < 1:
        raise DataError(f"load: n={n}, expected at least 1 image")
    if value_range is not None:
        try:
            ends = [float(v) for v in value_range]
        except (TypeError, ValueError):
            ends = []
        if len(ends) != 2 or not (np.isfinite(ends).all() and ends[0] < ends[1]):
            raise DataError(
                f"load: value_range={value_range!r}, expected two numbers, black before white, "
                "such as (0, 4095)"
            )
    if paper not in (None, *PAPERS):
        raise DataError(f"load: paper={paper!r}, expected 'white' or 'black'")
    given = {
        "size": None if extent is None else list(extent),
        "channels": None if channels is None else int(channels),
        "n": n,
        "value_range": None if value_range is None else ends,
        "paper": paper,
        "skip_broken": skip_broken or None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _size(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """(height, width)."""
    if size is None:
        return None
    sides: Any = size if hasattr(size, "__len__") else (size, size)
    pair = [_whole("size", v) for v in sides]
    if len(pair) != 2 or min(pair) < 1:
        raise DataError(f"load: size={size!r}, expected pixels, or (height, width)")
    return pair[0], pair[1]


def _whole(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise DataError(f"load: {name}={value!r}, expected a whole number") from None


def _strokes(
    extent: tuple[int, int] | None,
    channels: int | None,
    n: int,
    seed: int,
    options: dict[str, Any],
    report: Report,
) -> Dataset:
    height, width = extent or (28, 28)
    if height != width or height < 8:
        raise DataError(
            f"strokes: size ({height}, {width}), expected a square of at least 8 pixels; "
            "give one number, for example size=32"
        )
    check_room(
        f"strokes: {n:,} images of {width} x {height}", n * height * width * (channels or 1),
        "give a smaller size or fewer images",
    )  # fmt: skip
    parts = []
    for split, count in (("train", n), ("test", max(100, n // 10))):
        images, table = strokes(count, seed, height, channels == 3, split)
        parts.append((images, table["digit"], DIGIT_WORDS, table))
    test = Dataset("strokes (test)", *parts[1])
    options = options | {"n": n}
    return Dataset("strokes", *parts[0], test, "strokes", options, reading=report)


def _finish(
    name: str,
    source: str | None,
    read: Read,
    extent: tuple[int, int] | None,
    channels: int | None,
    n: int | None,
    seed: int,
    options: dict[str, Any],
    report: Report,
) -> Dataset:
    """Number classes, hold out, take n, convert and resize: what all but strokes share."""
    Dataset(name, read[0][0])  # the checks, before anything is cut up
    if options.get("paper") and not any(note.startswith("transparency") for note in report.notes):
        report.warn("no image is transparent: the paper changes nothing")
    train, test, classes = _numbered(name, read, report)
    if test is None and len(train[0]) >= FEWEST:
        order = Generator(seed).stream("hold out").permutation(len(train[0])).numpy()
        cut = len(order) - len(order) // 10
        train, test = _take(train, np.sort(order[:cut])), _take(train, np.sort(order[cut:]))
    if n is not None:
        if n > len(train[0]):
            raise DataError(
                f"{name}: n={n}, but there are {len(train[0])} training images; give a smaller n"
            )
        order = Generator(seed).stream("subset").permutation(len(train[0])).numpy()
        train = _take(train, np.sort(order[:n]))
    train, test = _shaped(name, train, test, extent, channels, report)
    held = None if test is None else Dataset(f"{name} (test)", *test, classes)
    return Dataset(
        name, *train, classes, test=held, source=source, options=report.meant | options,
        reading=report,
    )  # fmt: skip


def _numbered(name: str, read: Read, report: Report) -> Read:
    """Both splits with labels from 0 to K - 1, or none, and the names of the K classes."""
    train, test, classes = read
    if test is not None and len(test[0]) == 0:
        report.warn("the test images are none; a tenth of the others is held out")
        test = None
    if test is not None and (train[1] is None) != (test[1] is None):
        bare, other = ("training", "test") if train[1] is None else ("test", "training")
        if not any(text.startswith(f"the {bare} images") for text in report.warnings):
            report.warn(f"the {bare} images have no labels, the {other} images have")
        if train[1] is None:
            test, classes = (test[0], None), None
    parts = [None if p is None or p[1] is None else label_reading.clean(name, p[1], len(p[0]))
             for p in (train, test)]  # fmt: skip
    numbers, classes = label_reading.number(name, parts, classes)
    if test is None:
        return (train[0], numbers[0]), None, classes
    if numbers[1] is not None and classes is not None:
        lacking = [name for k, name in enumerate(classes) if not (numbers[1] == k).any()]
        if lacking:
            report.warn(f"no held-out images of {listed(lacking, 20)}")
    return (train[0], numbers[0]), (test[0], numbers[1]), classes


def _shaped(
    name: str,
    train: Split,
    test: Split | None,
    extent: tuple[int, int] | None,
    channels: int | None,
    report: Report,
) -> tuple[Split, Split | None]:
    """Both splits with images of one size and one number of channels."""
    wanted = extent or (train[0].shape[1], train[0].shape[2])
    depth = channels or train[0].shape[3]
    if test is not None and extent is None and test[0].shape[1:3] != wanted:
        raise DataError(
            f"{name}: training images are {wanted[0]} x {wanted[1]}, test images "
            f"{test[0].shape[1]} x {test[0].shape[2]}; give one size (--size)"
        )
    if extent is not None:
        sizes = [part[0].shape[1:3] for part in (train, test) if part for _ in part[0]]
        report.note_scaling([size for size in sizes if size != extent], extent)
    if channels is None and test is not None and test[0].shape[3] != depth:
        report.note(f"the test images become {'colour' if depth == 3 else 'grey'}, as the "
                    "training images are")  # fmt: skip
    if channels is None and depth == 3 and _all_grey(train[0]):
        report.note("all images are grey, stored as colour; --channels 1 reads them as grey")

    def shaped(part: Split) -> Split:
        return pixels.resize(name, pixels.with_channels(part[0], depth), wanted), part[1]

    return shaped(train), None if test is None else shaped(test)


def _all_grey(images: NDArray[np.uint8]) -> bool:
    """Whether the three colours are the same in every image."""
    return all((image[..., :1] == image[..., 1:]).all() for image in images)


def _take(split: Split, index: NDArray[Any]) -> Split:
    images, labels = split
    return images[index], None if labels is None else labels[index]


def _read_path(path: Path, request: Request) -> Read:
    from .arrays import read_npy, read_npz  # here, so that importing tinygen is quick
    from .folder import read_folder

    if path.is_dir() or idx.is_idx(path):
        sets = idx.find(path)
        if sets:
            return _idx_set(path, sets, request)
    if path.is_dir():
        try:
            return read_folder(path, request)
        except NoImagesError:
            sets = idx.find_below(path)
            if not sets:
                raise
            request.report.left_out.clear()
            return _idx_set(path, sets, request)
    check_plain(path)
    if path.suffix.lower() == ".npy":
        return read_npy(path, request)
    if path.suffix.lower() == ".npz":
        return read_npz(path, request)
    kind = file_kind(path)
    image = kind.endswith(" image") or (path.suffix.lower() in ENDINGS and not kind)
    hint = "; give its folder" if image else WRITTEN if "unpack" not in kind else ""
    raise DataError(
        f"{path}: a file of another kind{f' ({kind})' if kind and not image else ''}; expected a "
        f"folder with images or IDX files, or a .npy or .npz file{hint}"
    )


def _idx_set(path: Path, sets: list[idx.Set], request: Request) -> Read:
    """The four files; with one split only, that one is the training data."""
    report = request.report
    if len(sets) > 1:
        there = [next(iter(s.files.values())).relative_to(path) for s in sets]
        raise DataError(
            f"{path}: several sets of IDX files ({', '.join(map(str, there))}); give the path of "
            "the images of one"
        )
    found = sets[0]
    if path.is_dir() and found.folder != path:
        report.note(f"IDX files read from {found.folder.relative_to(path)}")
    found.tell_others(report)
    named = [part for part in found.folder.parts[-3:] if "emnist" in part.casefold()]
    if named and not found.turned:
        report.warn(
            f"in {named[-1]} the files are not called emnist-...: EMNIST's images lie on their "
            "side; if these do, rename the files so that they are turned"
        )
    train, test = idx.read_split(found, "train"), idx.read_split(found, "t10k")
    if found.turned:
        report.note("EMNIST: images turned upright, rows and columns exchanged")
    if train is None:
        if test is None:
            raise DataError(f"{path}: no IDX images, expected train-images-idx3-ubyte or its .gz")
        report.note("only test files: a tenth of them is held out")
        train, test = test, None
    both = [train[0]] if test is None else [train[0], test[0]]
    images = pixels.levels(str(found.folder), both, request.bounds, report)
    return (
        (images[0], train[1]), None if test is None else (images[1], test[1]), found.names()
    )  # fmt: skip
