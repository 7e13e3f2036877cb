"""Labels: from what files and people give to class numbers and names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .files import DataError, class_name, natural, printable

__all__ = ["class_number", "clean", "number", "numbers_of"]
if TYPE_CHECKING:
    from decimal import Decimal

EXPECTED = "give one class number or name an image"


def clean(name: str, labels: Any, count: int) -> NDArray[Any]:
    """One label an image, (N,), integers or strings.

    Accepts integers, floats that are whole, strings, booleans; (N,), (N, 1), or one-hot (N, K).
    Raises DataError for all else, saying why.
    """
    values = np.asarray(labels)
    missing = values.dtype.kind == "O" and any(v is None or v != v for v in values.flat)
    if missing or np.ma.is_masked(labels):
        raise DataError(f"{name}: some labels are missing (None, NaN or masked); {EXPECTED}")
    if values.dtype.kind == "O" and values.size:
        plain = np.array(values.tolist())
        if all(isinstance(v, (bool, int, float, np.number)) for v in values.flat):
            values = plain if plain.dtype.kind in "biuf" else values
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
    if values.dtype.kind == "U":
        values = np.array([class_name(v) for v in values.tolist()], str)
        if not all(v.strip() for v in values.tolist()):
            raise DataError(f"{name}: some labels are empty; {EXPECTED}")
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if values.dtype.kind in "iu" and values.size and values.min() < 0:
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
        raise DataError(
            f"{name}: labels are numbers in one split and names in the other; give both alike"
        )
    found: list[Any] = sorted({value for part in known for value in np.unique(part).tolist()})
    if names is None:
        called = [str(value) for value in found]
    elif found and found[-1] >= len(names):
        raise DataError(
            f"{name}: label {found[-1]} with {len(names)} classes; "
            "expected labels from 0 to one less than the number of classes"
        )
    else:
        called = [class_name(names[k]) for k in found]
    if names is None and found and isinstance(found[0], str):
        found = called = sorted(called, key=natural)
    classes = tuple(dict.fromkeys(called))  # labels of one name are one class
    places = {text: k for k, text in enumerate(classes)}
    place = {value: places[text] for value, text in zip(found, called, strict=True)}
    return [None if part is None else _placed(part, place) for part in parts], classes


def _placed(values: NDArray[Any], place: dict[Any, int]) -> NDArray[np.int64]:
    distinct, inverse = np.unique(values, return_inverse=True)
    return np.array([place[value] for value in distinct.tolist()], np.int64)[inverse]


def numbers_of(classes: Sequence[str]) -> list[Decimal | None]:
    """The number by which a person may ask for each class, or None.

    It is the name itself ("7", "007", "1.0"); or where no name is a number, but each begins with
    one, or holds one, and all differ, that one ("001.Albatross", "class 1").
    """
    own = [_value(name) for name in classes]
    if any(value is not None for value in own):
        return own
    for pattern in (r"^\d+", r"\d+"):
        held = [_held(name, pattern) for name in classes]
        if all(len(values) == 1 for values in held) and len({*map(tuple, held)}) == len(held):
            return [values[0] for values in held]
    return own


def _value(text: str) -> Decimal | None:
    from decimal import Decimal  # here, so that importing tinygen is quick

    return Decimal(text) if re.fullmatch(r"[+-]?\d+(\.\d+)?", text) else None


def _held(name: str, pattern: str = r"\d+") -> list[Decimal]:
    """The numbers within a name."""
    from decimal import Decimal

    return [Decimal(digits) for digits in re.findall(pattern, name)]


def class_number(label: int | str, classes: Sequence[str]) -> int:
    """The number of the class that a person asks for: by its name, or by its number.

    A number by which a class is called (`numbers_of`) means that class; only where no class is
    called by a number is it counted from 0, and refused if it is in the name of another class.
    Raises ValueError naming the classes.
    """
    names = [class_name(name) for name in classes]
    text = class_name(str(label))
    for wanted in (text, text.strip()):
        if wanted in names:
            return names.index(wanted)
    text = text.strip()
    value, numbers = _value(text), numbers_of(names)
    by_place = all(number is None for number in numbers)
    if value is not None and not by_place:
        same = [k for k, number in enumerate(numbers) if number == value]
        if len(same) == 1:
            return same[0]
    elif value is not None and text.isdecimal() and (not names or value < len(names)):
        place = int(text)
        others = [k for k, name in enumerate(names) if value in _held(name) and k != place]
        if not others:
            return place
        raise ValueError(
            f"label {text!r} may be the class {names[others[0]]!r} by its name, or "
            f"{names[place]!r}, counted from 0; give the name"
        )
    wanted = f"one of {', '.join(names)}" if names else "a number from 0"
    if names and by_place:
        wanted = f"a number from 0 to {len(names) - 1}, or {wanted}"
    raise ValueError(f"label {printable(text)!r}, expected {wanted}")
