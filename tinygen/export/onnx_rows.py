"""Operations that ONNX has in another sense, as a few of its nodes; the table is in onnx.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..trace.graph import Op

if TYPE_CHECKING:
    from .onnx import Rows


def axes_of(op: Op) -> list[int]:
    x, axis = op.args[0], op.static["axis"]
    assert x is not None
    return list(range(len(x.shape))) if axis is None else list(axis)


def remainder(rows: Rows, op: Op, x: str, y: str) -> str:
    """ONNX has it for integers; of floats the rest has the sign of x."""
    file, kind = rows.file, np.dtype(op.outs[0].dtype)
    if kind.kind != "f":
        return file.add("Mod", x, y, fmod=0)
    rest = file.add("Mod", x, y, fmod=1)
    signs = file.add("Mul", file.add("Sign", rest), file.add("Sign", y))
    other = file.add("Less", signs, rows.constant(np.array(0, kind)))
    return file.add("Where", other, file.add("Add", rest, y), rest)


def floor_divide(rows: Rows, op: Op, x: str, y: str) -> str:
    file = rows.file
    quotient = file.add("Div", file.add("Sub", x, remainder(rows, op, x, y)), y)
    return file.add("Round", quotient) if np.dtype(op.outs[0].dtype).kind == "f" else quotient


def any_or_all(rows: Rows, op: Op, x: str) -> str:
    """The largest or the least of 0 and 1."""
    file = rows.file
    x = file.add("Cast", file.add("Cast", x, to=file.code(np.bool_)), to=file.code(np.int32))
    kind = "ReduceMax" if op.name == "any" else "ReduceMin"
    x = file.add(kind, x, axes=axes_of(op), keepdims=int(op.static["keepdims"]))
    return file.add("Cast", x, to=file.code(np.bool_))


def argsort(rows: Rows, op: Op, x: str) -> str:
    """The places of as many of the largest, or least, as there are; of equal ones the first."""
    v, axis = op.args[0], op.static["axis"]
    assert v is not None
    file, largest = rows.file, int(op.static["descending"])
    count = file.integers(v.shape[axis])
    places = file.several("TopK", 2, x, count, axis=axis, largest=largest, sorted=1)[1]
    return file.add("Identity", places)
