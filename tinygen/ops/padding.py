"""Arrays made larger at their edges, by a number or by their mirror image.

    pad 2, value 0:    0 0 1 2 3 0 0
    pad 2, reflect:    3 2 1 2 3 2 1

A mirror image is one gather: the places along all axes that grow are one list of places.
"""

from __future__ import annotations

import math
from typing import Any

from ..tensor import Tensor, as_tensor
from .conv import Pair, Sides, sides
from .create import arange
from .elementwise import abs
from .index import take
from .pixels import images
from .shape import _counts, expand_dims, reshape, surround

__all__ = ["pad", "reflection_pad2d"]

Widths = tuple[Pair, ...]


def _mirror(n: int, counts: Pair, backend: str) -> Tensor:
    """Which of n elements each of before + n + after shows."""
    before, after = counts
    places = arange(start=-before, stop=n + after, step=1, dtype="int64", backend=backend)
    return (n - 1) - abs((n - 1) - abs(places))


def _mirrored(who: str, x: Tensor, pad_width: Widths) -> Tensor:
    for axis, (n, counts) in enumerate(zip(x.shape, pad_width, strict=True)):
        if max(counts) >= max(n, 1):
            raise ValueError(
                f"{who}: padding {counts} along axis {axis} of {x.shape}; expected less than its "
                f"size {n}, as the edge is not repeated"
            )
    grown = [axis for axis, counts in enumerate(pad_width) if any(counts)]
    if not grown:
        return surround(x, pad_width=pad_width)
    first, end = grown[0], grown[-1] + 1
    places = _mirror(x.shape[first], pad_width[first], x.backend.name)
    for axis in range(first + 1, end):
        n = x.shape[axis]
        within = _mirror(n, pad_width[axis], x.backend.name)
        places = expand_dims(places, axis=-1) * n + within
    flat = (*x.shape[:first], math.prod(x.shape[first:end]), *x.shape[end:])
    return take(reshape(x, flat), places, axis=first)


def pad(x: Any, pad_width: Widths, value: float = 0.0, mode: str = "constant") -> Tensor:
    """x made larger: (before, after) counts for each axis.

    Args:
        x: an array of any shape.
        pad_width: a pair of counts >= 0 for each axis.
        value: what x is surrounded by, for "constant".
        mode: "constant", or "reflect" for its mirror image without the edge itself: 1 2 3 with a
            padding of 2 is 3 2 1 2 3 2 1. The gradients of what is repeated add up.

    Raises:
        ValueError: no pairs of counts, an unknown mode, a mirror image larger than x.
        TypeError: integers surrounded by a number that is no integer.

    NumPy's pad with these modes; JAX's, too.
    """
    if mode == "constant":
        return surround(x, pad_width=pad_width, value=value)
    if mode != "reflect":
        raise ValueError(f"pad: mode is {mode!r}; expected 'constant' or 'reflect'")
    x = as_tensor(x)
    _counts(x, pad_width, 0)
    return _mirrored("pad", x, pad_width)


def reflection_pad2d(x: Any, padding: Sides) -> Tensor:
    """Images continued by their mirror image; the edge itself is not repeated.

        1 2 3 with padding 2: 3 2 1 2 3 2 1

    Args:
        x: images (N, H, W, C).
        padding: a count for all sides, (rows, columns), or ((top, bottom), (left, right)), each
            less than the image's size there.

    Raises:
        ValueError: x is not (N, H, W, C), or more padding than that.

    As pad with mode="reflect" along both axes.
    """
    x, (rows, columns) = images("reflection_pad2d", x), sides("reflection_pad2d", padding)
    return _mirrored("reflection_pad2d", x, ((0, 0), rows, columns, (0, 0)))
