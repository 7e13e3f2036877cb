"""Weights in a quarter of their size."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..exercise import Answer, Case, Exercise, Wrong

WEIGHTS = {
    "one output": np.array([[0.5], [-1.0], [0.257], [0.003]]),
    "the largest is positive": np.array([[1.0], [-0.5], [0.4961], [0.249]]),
    "outputs of different size": np.array([[2.0, 0.003], [-0.7, -0.011], [0.33, 0.0071]]),
    "an output of zeros": np.array([[0.0, 0.9], [0.0, -1.3]]),
}


def look(answer: Answer, weight: Any) -> Any:
    with np.errstate(divide="raise", invalid="raise"):
        steps, scale = answer.pack(weight.copy())
    steps, scale = np.asarray(steps), np.asarray(scale)
    return {"kind": str(steps.dtype), "steps": steps, "back": steps * scale}


def cases() -> Iterator[Case]:
    for label, weight in WEIGHTS.items():
        yield Case(label, partial(look, weight=weight))


EXERCISE = Exercise(
    title="Weights of eight bits",
    minutes=8,
    task="""
A file with 8-bit weights is a quarter as large. Each output (a column of `weight`) has a scale of
its own, max|w| / 127. Each weight becomes the nearest whole number of steps, from -127 to 127, as
np.int8. Return steps and scale, so that steps * scale is close to the weights. A column of zeros
has zero steps.
""",
    start="""
import numpy as np


def pack(weight):
    scale = weight.max() / 128
    return (weight / scale).astype(np.int8), scale
""",
    reference="""
import numpy as np


def pack(weight):
    scale = abs(weight).max(axis=0) / 127
    steps = np.rint(weight / np.where(scale > 0, scale, 1))
    return steps.astype(np.int8), scale
""",
    wrong=(
        Wrong(
            "Whole numbers cut off what is behind the point, so all weights move towards 0. Which "
            "number is nearest to 31.9?",
            was="np.rint(weight / np.where(scale > 0, scale, 1))",
            now="weight / np.where(scale > 0, scale, 1)",
        ),
        Wrong(
            "8 bits end at 127: the largest weight would be 128 steps, which becomes -128.",
            code="""
import numpy as np


def pack(weight):
    scale = abs(weight).max(axis=0) / 128
    steps = np.rint(weight / np.where(scale > 0, scale, 1))
    return steps.astype(np.int64).astype(np.int8), scale
""",
        ),
        Wrong(
            "The largest in size may be a negative one, and would not fit.",
            was="abs(weight).max(axis=0)", now="weight.max(axis=0)",
        ),
        Wrong(
            "One scale for all: the small outputs are left with a few steps, or none.",
            was="abs(weight).max(axis=0)", now="abs(weight).max()",
        ),
        Wrong(
            "A scale for each input, but it is the outputs that differ in size, and a scale behind "
            "the sum costs nothing.",
            was="max(axis=0)", now="max(axis=1, keepdims=True)",
        ),
        Wrong(
            "A column of zeros is divided by 0.",
            was="np.where(scale > 0, scale, 1)", now="scale",
        ),
        Wrong(
            "The steps are right, but kept as floats: the file is as large as before.",
            was="steps.astype(np.int8)", now="steps",
        ),
        Wrong(
            "Between the smallest and the largest there are 255 steps, but 0 is then no step: the "
            "many zeros of a network would not stay zeros.",
            code="""
import numpy as np


def pack(weight):
    low, high = weight.min(axis=0), weight.max(axis=0)
    scale = np.where(high > low, high - low, 1) / 255
    return (np.rint((weight - low) / scale) - 128).astype(np.int8), scale
""",
        ),
    ),
    cases=cases,
    hint="How many steps is the largest weight of a column, and which is the nearest whole number?",
    questions=(
        ("A column has weights up to 0.5. By how much can rounding change one of them?",
         "By half a step: 0.5 / 127 / 2 = 0.002."),
    ),
    why=(
        "An error of half a step in each weight mostly cancels in a sum of hundreds, so pictures "
        "hardly change. The scale is multiplied after the sum, once for each "
        "output, so it costs nothing while drawing."
    ),
    engine=("tinygen/export/weights.py", "scale = (np.abs(weight).max(axis=axes) / 127)"),
)  # fmt: skip
