"""What a person wants to know of an array, in a kilobyte: range, spread, a histogram, a picture.

`summary(array)` reads the values once and keeps none of them, except of arrays of at most 16.
"""

from __future__ import annotations

import base64
import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = 24, 32  # cells of a picture
BINS = 24  # bars of a histogram
FEW = 16  # so many values are kept as they are
TILES = (2, 3)  # of a picture of images or of channels
KERNEL = 7  # the side of a convolution's kernel, at most: larger squares are images


def summary(array: NDArray[Any]) -> dict[str, Any]:
    """The entry of an array in a recorded step.

    Args:
        array: on the host; any shape, of floats, integers or booleans.

    Returns:
        `shape`, `dtype` and `crc32` of the bytes; of an array that is not empty `min`, `max`,
        `mean`, `std` (of the finite values; None where there are none), `zero` (the share of zeros)
        and `bad` (how many are not finite); `values` of at most 16; of more that are not all the
        same `hist` (24 counts, the largest as 99) and `thumb` (see `picture`).
    """
    told: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype)}
    told["crc32"] = zlib.crc32(np.ascontiguousarray(array).data) if array.size else 0
    if not array.size:
        return told
    finite = np.isfinite(array)
    bad = int(array.size - np.count_nonzero(finite))
    kept = array[finite] if bad else array
    told |= {"min": None, "max": None, "mean": None, "std": None, "zero": 0.0, "bad": bad}
    if kept.size:
        mean = float(kept.mean(dtype=np.float64))
        told |= {
            "min": short(kept.min()), "max": short(kept.max()), "mean": short(mean),
            "std": short(kept.std(dtype=np.float64)),
            "zero": short(1 - np.count_nonzero(array) / array.size),
        }  # fmt: skip
    if array.size <= FEW:
        told["values"] = [exact(v) for v in array.ravel()]
    elif bad or told["min"] != told["max"]:
        told["hist"] = histogram(kept)
        told["thumb"] = picture(array)
        if told["thumb"] and array.ndim == 4 and not is_kernel(array.shape):
            told["tiles"] = "images" if array.shape[-1] <= 3 else "channels"
    return told


def short(value: Any) -> float:
    """Six digits of a number."""
    return float(f"{float(value):.6g}")


def exact(value: Any) -> Any:
    """A number as JSON holds it: what is not finite as a word."""
    if isinstance(value, (np.bool_, np.integer)):
        return int(value)
    return short(value) if math.isfinite(value) else str(float(value))


def histogram(values: NDArray[Any]) -> list[int]:
    """Counts of values in 24 equal parts of their range, the largest count as 99."""
    if not values.size:
        return [0] * BINS
    low, high = float(values.min()), float(values.max())
    width = high - low
    if not 0 < width < math.inf:
        return [0] * BINS
    as_floats = values.dtype if values.dtype.kind == "f" else np.float64
    places = np.asarray(values, as_floats).ravel() - low
    places *= BINS / width
    counts = np.bincount(np.minimum(places.astype(np.intp), BINS - 1), minlength=BINS)
    return [int(n) for n in np.ceil(counts * (99 / counts.max()))]


def is_kernel(shape: tuple[int, ...]) -> bool:
    """Whether an array of four axes is a convolution's kernel (kh, kw, in, out), by its looks."""
    return len(shape) == 4 and shape[0] == shape[1] <= KERNEL and shape[2] != shape[1]


def picture(array: NDArray[Any]) -> list[Any]:
    """At most 24 x 32 cells, each the mean of a block, as [rows, columns, top, bytes in base64].

    A byte b > 0 stands for (b - 128) / 127 top; 0 for a block that holds what is not finite. Rows
    are those of the first axis, columns all others in turn. Of images (B, H, W, C) there are six:
    the first of the batch where C <= 3 (means over C), else the first channels of the first.
    """
    values = np.asarray(array, np.float32)
    if values.ndim == 4 and not is_kernel(array.shape):
        cells, bad = _tiles(values)
    elif values.ndim == 4:
        cells, bad = _blocks(values.reshape(-1, values.shape[-1]), ROWS, COLUMNS)
    else:
        rows = values.shape[0] if values.ndim > 1 else 1
        cells, bad = _blocks(values.reshape(rows, -1), ROWS, COLUMNS)
    top = float(np.abs(cells).max())
    if not 0 < top < math.inf:
        top = 1.0
    with np.errstate(all="ignore"):
        levels = np.clip(np.rint(cells / top * 127) + 128, 1, 255)
    data = np.where(bad, 0, levels).astype(np.uint8).tobytes()
    return [*cells.shape, short(top), base64.b64encode(data).decode()]


def _tiles(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Six pictures side by side."""
    down, across = TILES
    with np.errstate(all="ignore"):
        if values.shape[-1] <= 3:
            pictures = values[: down * across].mean(axis=-1)
        else:
            pictures = np.moveaxis(values[0], -1, 0)[: down * across]
    height, width = ROWS // down, COLUMNS // across
    pairs = [_blocks(one, height, width) for one in pictures]
    shape = pairs[0][0].shape
    empty = [(np.zeros(shape, np.float32), np.zeros(shape, bool))] * (down * across - len(pairs))
    both = [
        np.concatenate([np.concatenate([p[k] for p in row], axis=1) for row in rows], axis=0)
        for k in (0, 1)
        for rows in [[(pairs + empty)[r * across : (r + 1) * across] for r in range(down)]]
    ]
    return both[0], both[1]


def _blocks(values: NDArray[Any], rows: int, columns: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Means of blocks of a matrix, and which hold what is not finite."""
    finite = np.isfinite(values)
    whole = bool(finite.all())
    at = [_starts(n, most) for n, most in zip(values.shape, (rows, columns), strict=True)]
    sizes = [np.diff(np.append(a, n)) for a, n in zip(at, values.shape, strict=True)]
    area = sizes[0][:, None] * sizes[1][None]

    def total(v: NDArray[Any]) -> NDArray[Any]:
        return np.add.reduceat(np.add.reduceat(v, at[1], axis=1), at[0], axis=0)

    with np.errstate(all="ignore"):
        means = total(values if whole else np.where(finite, values, 0)) / area
    if whole:
        return means, np.zeros(means.shape, bool)
    return means, total((~finite).astype(np.int64)) > 0


def _starts(n: int, most: int) -> NDArray[np.intp]:
    count = min(n, most)
    return np.arange(count) * n // count
