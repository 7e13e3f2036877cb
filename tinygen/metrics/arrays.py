"""What every measure needs: checked arrays, distances a block at a time, its own random numbers."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import use_backend
from ..io import host_array
from ..random import Generator

Floats = NDArray[np.float64]

ROWS, COLUMNS = 1024, 4096  # of a block: 32 MiB in float64, whatever the number of images


def features(who: str, what: str, x: Any) -> Floats:
    """Features (n, d) in float64; ValueError for another shape, no numbers, or not finite ones."""
    array = host_array(x)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{who}: {what} is {array.dtype} {array.shape}, expected numbers (images, features); "
            "images themselves go in as images.reshape(len(images), -1)"
        )
    return finite(who, what, array.astype(np.float64))


def pair(who: str, real: Any, fake: Any) -> tuple[Floats, Floats]:
    """Two sets of features of the same length d, in float64."""
    x, y = features(who, "real", real), features(who, "fake", fake)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{who}: real has {x.shape[1]} features an image, fake {y.shape[1]}; take both from "
            "the same extractor"
        )
    return x, y


def probabilities(who: str, p: Any) -> Floats:
    """Class probabilities (n, classes) in float64, each row divided by its sum.

    ValueError for another shape, values that are negative or not finite, or a sum that is not 1
    within 0.001 (as far as float16 rounds).
    """
    array = host_array(p)
    if array.ndim != 2 or len(array) == 0 or array.shape[1] < 2 or array.dtype.kind != "f":
        raise ValueError(
            f"{who}: probabilities are {array.dtype} {array.shape}, expected floats (images, "
            "classes) with two classes or more"
        )
    array = finite(who, "probabilities", array.astype(np.float64))
    sums = array.sum(axis=1)
    if array.min() < 0 or abs(sums - 1).max() > 1e-3:
        worst = int(abs(sums - 1).argmax())
        raise ValueError(
            f"{who}: the least probability is {array.min():g} and row {worst} sums to "
            f"{sums[worst]:g}, expected 0 or more and 1; take the softmax of logits"
        )
    result: Floats = array / sums[:, None]
    return result


def images(who: str, what: str, x: Any) -> NDArray[Any]:
    """Images or features (n, ...) as one row each, (n, d), in their own dtype."""
    array = host_array(x)
    if array.ndim < 2 or array.size == 0 or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{who}: {what} is {array.dtype} {array.shape}, expected numbers with one row or "
            "image each along the first axis"
        )
    return finite(who, what, array.reshape(len(array), -1))


def finite(who: str, what: str, array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, unless some value is not finite: ValueError naming the first."""
    good = np.isfinite(array)
    if not good.all():
        at = tuple(int(i) for i in np.argwhere(~good)[0])
        raise ValueError(
            f"{who}: {what} has {array[at]} at {at}, and {good.size - int(good.sum()):,} values in "
            "all that are not finite; the model or the extractor overflowed, look there"
        )
    return array


def whole(who: str, name: str, value: Any, least: int) -> int:
    """An int of at least `least`; ValueError for anything else."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{who}: {name} is {value!r}, expected a whole number, {least} or more")
    return number


def generator(seed: int, name: str) -> Generator:
    """Random numbers of one measure: a function of the seed and the measure's name alone."""
    with use_backend("numpy"):
        return Generator(seed).stream(name)


def blocks(n: int, m: int) -> Iterator[tuple[slice, slice]]:
    """The blocks of an (n, m) matrix, row by row."""
    for i in range(0, n, ROWS):
        for j in range(0, m, COLUMNS):
            yield slice(i, min(i + ROWS, n)), slice(j, min(j + COLUMNS, m))


def squared_distances(x: NDArray[Any], y: NDArray[Any]) -> Iterator[tuple[slice, slice, Floats]]:
    """|x_i - y_j|^2 = |x_i|^2 + |y_j|^2 - 2 x_i.y_j in blocks: (rows, columns, values).

    x (n, d) and y (m, d) may be of any dtype; the sums are float64, exact for whole numbers such
    as grey levels. Values below 0 are rounding and become 0.
    """
    for rows, columns in blocks(len(x), len(y)):
        yield rows, columns, _squares(x[rows], y[columns])


def distances_within(x: NDArray[Any]) -> Iterator[tuple[slice, slice, Floats]]:
    """squared_distances of all pairs of one set, those of two different blocks in one order only:
    values.T are those of (columns, rows)."""
    parts = [slice(i, min(i + ROWS, len(x))) for i in range(0, len(x), ROWS)]
    for i, rows in enumerate(parts):
        for columns in parts[i:]:
            yield rows, columns, _squares(x[rows], x[columns])


def _squares(x: NDArray[Any], y: NDArray[Any]) -> Floats:
    grey = x.dtype == y.dtype == np.uint8
    # Grey levels less 128 are as far apart, and float32 is exact for 1,024 of their products, of
    # 2^14 at most: half the time of float64.
    a, b = (z.astype(np.float32) - 128 if grey else z.astype(np.float64) for z in (x, y))
    step = 1024 if grey else a.shape[1]
    block = np.zeros((len(a), len(b)))
    for i in range(0, a.shape[1], step):
        block -= a[:, i : i + step] @ b[:, i : i + step].T
    block *= 2
    block += np.einsum("ij,ij->i", a, a, dtype=np.float64)[:, None]
    block += np.einsum("ij,ij->i", b, b, dtype=np.float64)
    return np.maximum(block, 0, out=block)
