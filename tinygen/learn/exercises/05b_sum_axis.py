"""The gradient of a sum along an axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Wrong


def cases() -> Iterator[Case]:
    for shape, axis in (((3, 4), 0), ((3, 4), 1), ((3, 3), 1), ((2, 3, 4), 1), ((2, 3), -1)):

        def look(a: Answer, shape: Any = shape, axis: int = axis) -> Any:
            x = tg.tensor(np.random.default_rng(5).standard_normal(shape))
            g = np.random.default_rng(6).standard_normal(x.sum(axis=axis).shape)
            return a.gradient(tg.tensor(g), x, axis)

        def truth(shape: Any = shape, axis: int = axis) -> Any:
            x = tg.tensor(np.random.default_rng(5).standard_normal(shape), requires_grad=True)
            y = x.sum(axis=axis)
            g = np.random.default_rng(6).standard_normal(y.shape)
            return tg.grad((y * tg.tensor(g)).sum(), [x])[0]

        yield Case(f"x {shape}, axis {axis}", look, truth, order=1)


EXERCISE = Exercise(
    title="A sum along an axis",
    minutes=6,
    task="""
y = x.sum(axis=axis) has one axis less than x. Write its rule `gradient(g, x, axis)`: g has the
shape of y, and what you return that of x. axis is a number, and may be negative.
""",
    start="""
import tinygen as tg


def gradient(g, x, axis):
    return g
""",
    reference="""
import tinygen as tg


def gradient(g, x, axis):
    return tg.expand_dims(g, axis) * tg.ones(x.shape, dtype=x.dtype)
""",
    wrong=(
        Wrong(
            "The axis that was summed is gone in g: put it back with size 1, in its place and not "
            "always in front, before stretching.",
            was="tg.expand_dims(g, axis)", now="g",
        ),
        Wrong(
            "The axis is back, but with size 1: stretch it to the shape of x.",
            was=" * tg.ones(x.shape, dtype=x.dtype)", now="",
        ),
        Wrong(
            "The new axis belongs where the sum went, not always at the end.",
            was="tg.expand_dims(g, axis)", now="tg.expand_dims(g, -1)",
        ),
        Wrong(
            "A sum has the slope 1: the entries of x play no part.",
            was="tg.ones(x.shape, dtype=x.dtype)", now="x",
        ),
        Wrong(
            "That is the rule of a mean; in a sum each entry counts whole.",
            was="tg.ones(x.shape, dtype=x.dtype)",
            now="tg.ones(x.shape, dtype=x.dtype) / x.shape[axis]",
        ),
        Wrong(
            "g is not used: what comes from behind has to be passed on.",
            was="tg.expand_dims(g, axis) * ", now="",
        ),
    ),
    cases=cases,
    questions=(
        ("x is (3, 3) and g (3,). Why is g alone, broadcast to x, wrong for axis 1?",
         "Broadcasting puts the missing axis in front, so it fits axis 0 only. No error says so."),
    ),
    hint="Which axis does g lack? tg.expand_dims(g, axis) puts one of size 1 there.",
    why="What shrinks forwards is stretched back. The place of the axis has to be given: "
    "broadcasting adds axes in front, which for a square table is wrong without an error.",
    engine=("tinygen/ops/reduce.py", "sum.vjp(x=lambda g, x_shape, axis, keepdims: expand("),
)  # fmt: skip
