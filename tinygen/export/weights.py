"""How an exported file holds a weight: as float32, float16 or int8."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PRECISIONS = ("float32", "float16", "int8")
_TYPES = {"float32": "<f4", "float16": "<f2", "int8": "i1"}


class Stored(NamedTuple):
    """A weight as a file holds it.

    Attributes:
        values: little endian float32, float16 or int8, in the weight's shape.
        scale: of int8: float32 (out,), what the integers of each output count; else None.
    """

    values: NDArray[Any]
    scale: NDArray[np.float32] | None

    def array(self) -> NDArray[np.float32]:
        """The weight as it is used: values, times scale in float32."""
        values = self.values.astype(np.float32)
        return values if self.scale is None else values * self.scale

    @property
    def nbytes(self) -> int:
        """The bytes of the values and of their scale."""
        return self.values.nbytes + (0 if self.scale is None else self.scale.nbytes)


def store(weight: NDArray[Any], precision: str = "float32") -> Stored:
    """A weight (..., out) rounded to a precision.

    float16 has 11 bits and magnitudes up to 65,504. int8 has the steps scale * -127 ... 127 with a
    scale for each output, max|w| / 127: an error of at most half a step.

    Raises:
        ValueError: an unknown precision; a weight that is not finite, or too large for float16.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}, expected one of {', '.join(PRECISIONS)}")
    most = float(np.abs(weight).max(initial=0.0))
    if not np.isfinite(most):
        raise ValueError("a weight is not finite: the training went wrong; train again")
    if precision == "float16" and most > 65504:
        raise ValueError(f"a weight of {most:g} does not fit float16; export as float32 or int8")
    if precision != "int8":
        return Stored(np.ascontiguousarray(weight, _TYPES[precision]), None)
    axes = tuple(range(weight.ndim - 1))
    scale = (np.abs(weight).max(axis=axes) / 127).astype(np.float32)
    steps = np.rint(weight / np.where(scale > 0, scale, 1).astype(np.float64)).clip(-127, 127)
    return Stored(np.ascontiguousarray(steps, "i1"), scale)


def ungrouped(values: NDArray[Any], groups: int) -> NDArray[Any]:
    """A kernel (KH, KW, C, O) whose outputs see the inputs of other groups through zeros."""
    inputs, outputs = values.shape[2], values.shape[3] // groups
    out = np.zeros((*values.shape[:2], inputs * groups, values.shape[3]), values.dtype)
    for g in range(groups):
        part = slice(g * outputs, (g + 1) * outputs)
        out[:, :, g * inputs : (g + 1) * inputs, part] = values[..., part]
    return out
