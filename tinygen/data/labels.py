"""Labels: from what files and people give to class numbers and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import DataError, natural, printable

__all__ = ["class_number", "clean", "number"]

EXPECTED = "give one class number or name an image"


def clean(name: str, labels: Any, count: int) -> NDArray[Any]:
    """One label an image, (N,), integers or strings.

    Accepts integers, floats that are whole, strings, booleans; (N,), (N, 1), or one-hot (N, K).
    Raises DataError for all else, saying why.
    """
    values = np.asarray(labels)
    if values.dtype.kind == "O" and any(v is None or v != v for v in values.flat):
        raise DataError(f"{name}: some labels are missing (None or NaN); {EXPECTED}")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if len(values.shape) and len(values) != count:
        raise DataError(
            f"{name}: {len(values)} labels for {count} images, expected one an image; "
            "check that both come from the same split"
        )
    met = f"{name}: labels are {values.dtype} {values.shape}"
    if values.ndim == 2 and values.dtype.kind in "biuf" and values.size:
        if not _one_hot(values):
            raise DataError(
                f"{met}, and their rows are not one-hot (one 1, else 0); expected integers (N,); "
                f"{EXPECTED}"
            )
        values = values.argmax(axis=1)
    if values.ndim != 1 or values.dtype.kind not in "biufSUO":
        raise DataError(f"{met}, expected integers or names (N,); {EXPECTED}")
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            wrong = values[~(np.isfinite(values) & (values == np.rint(values)))][0]
            raise DataError(f"{met} and hold {wrong:g}, expected whole numbers; {EXPECTED}")
        if np.abs(values).max() >= 2**53:
            raise DataError(f"{met} up to {values.max():g}, too large to be exact; {EXPECTED}")
        values = values.astype(np.int64)
    if values.dtype.kind in "SO":
        values = np.array([v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else str(v)
                           for v in values.tolist()])  # fmt: skip
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if values.dtype.kind in "iu" and values.min() < 0:
        raise DataError(f"{name}: label {values.min()}, expected class numbers from 0")
    return values


def _one_hot(values: NDArray[Any]) -> bool:
    ones = values == 1
    return bool(((values == 0) | ones).all() and (ones.sum(axis=1) == 1).all())


def number(
    name: str, parts: Sequence[NDArray[Any] | None], names: Sequence[str] | None = None
) -> tuple[list[NDArray[np.int64] | None], tuple[str, ...] | None]:
    """Number the classes that occur in all parts of the data from 0, without gaps.

    parts: the labels of each split, from `clean`, or None.  names: where given, those of classes
    0, 1, ...; else a class is called as its label is.  Classes go by number, or by name with the
    numbers in them by size.  Returns the parts numbered, and the names.
    """
    known = [part for part in parts if part is not None]
    if not known:
        return list(parts), None
    if len({part.dtype.kind in "iu" for part in known}) > 1:
        raise DataError(f"{name}: labels are numbers in one split and names in the other")
    found: list[Any] = np.unique(np.concatenate([np.unique(part) for part in known])).tolist()
    if names is not None:
        if found[-1] >= len(names):
            raise DataError(
                f"{name}: label {found[-1]} with {len(names)} classes; "
                "expected labels from 0 to one less than the number of classes"
            )
        called = [names[k] for k in found]
    else:
        called = [str(value) for value in found]
    order = list(range(len(found)))
    if names is None and isinstance(found[0], str):
        order.sort(key=lambda k: natural(called[k]))
    places = np.empty(len(found), np.int64)
    places[order] = np.arange(len(found))
    values = np.array(found)
    numbered = [None if p is None else places[np.searchsorted(values, p)] for p in parts]
    return numbered, tuple(printable(called[k]) for k in order)


def class_number(label: int | str, classes: Sequence[str]) -> int:
    """The number of the class that a person asks for: by its name, or by its number.

    A number that is the name of a class means that class; only where no class is called by a number
    is it counted from 0.  Raises ValueError naming the classes.
    """
    if label in classes:
        return list(classes).index(str(label))
    text = str(label).strip()
    if text in classes:
        return list(classes).index(text)
    whole = text.removeprefix("-").isdecimal()
    numbers = {name: int(name) for name in classes if name.isdecimal()}
    if whole and numbers:
        same = [name for name, value in numbers.items() if value == int(text)]
        if len(same) == 1:
            return list(classes).index(same[0])
    elif whole and (not classes or 0 <= int(text) < len(classes)):
        return int(text)
    wanted = f"one of {', '.join(classes)}" if classes else "a number from 0"
    if classes and not numbers:
        wanted = f"a number from 0 to {len(classes) - 1}, or {wanted}"
    raise ValueError(f"label {printable(text)!r}, expected {wanted}")
