"""The rule of a maximum, at ties too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..cases import rule
from ..exercise import Answer, Case, Exercise, Wrong


def cases() -> Iterator[Case]:
    def at(a: Answer, x: list[float]) -> Any:
        return a.gradient(tg.tensor(np.array(0.7)), tg.tensor(np.array(x)))

    yield from rule(tg.max, "gradient", 0, [((6,),)], order=1)
    for x, right in (
        ([3.0, 1.0, 3.0], [0.35, 0.0, 0.35]),
        ([2.0, 2.0, 2.0, 2.0], [0.175] * 4),
        ([-1.0, -4.0, -1.0], [0.35, 0.0, 0.35]),
    ):
        yield Case(
            f"x = {x}, g = 0.7", lambda a, x=x: at(a, x),
            lambda right=right: tg.tensor(np.array(right)), order=1,
        )  # fmt: skip


EXERCISE = Exercise(
    title="Ties",
    minutes=6,
    task="""
m = x.max() is one number, of a vector x. Write its rule `gradient(g, x)`: g is the gradient of m.
Where several entries are the largest, each gets an equal part.
""",
    start="""
import tinygen as tg


def gradient(g, x):
    return g
""",
    reference="""
import tinygen as tg


def gradient(g, x):
    largest = (x == x.max()).astype(x.dtype)
    return g * largest / largest.sum()
""",
    wrong=(
        Wrong(
            "Each of the largest gets all of g, which is more than there was: share it.",
            was=" / largest.sum()", now="",
        ),
        Wrong(
            "Only the first of the largest gets something.",
            code="""
import tinygen as tg


def gradient(g, x):
    places = tg.arange(x.size)
    return g * (places == int(x.argmax().item())).astype(x.dtype)
""",
        ),
        Wrong(
            "Shared among all entries; but those that are not the largest play no part in m.",
            was="/ largest.sum()", now="/ x.size",
        ),
        Wrong(
            "The slope is 1 where x is the largest, not x itself.",
            was="g * largest", now="g * x * largest",
        ),
        Wrong(
            "g is not used: what comes from behind has to be passed on.",
            was="g * largest", now="largest",
        ),
        Wrong(
            "What is positive need not be the largest: compare with x.max().",
            was="x == x.max()", now="x > 0",
        ),
        Wrong(
            "The sign of x decides nothing: the largest of negative numbers is meant, too.",
            was="x == x.max()", now="tg.abs(x) == tg.abs(x).max()",
        ),
    ),
    cases=cases,
    questions=(
        ("Why not all to the first, which is simpler?",
         "It would depend on the order of the entries. For pooling it is done so, to be fast."),
    ),
    hint="Which entries equal the largest? How many are there?",
    why="Nudging one of two equal entries up moves the maximum, nudging it down does not: slopes 1 "
    "and 0. Equal parts lie between, add up to g, and do not depend on the order. max_pool2d gives "
    "all to the first; the table of conventions says both.",
    engine=("tinygen/ops/reduce.py", "max.vjp(x=_share)"),
)  # fmt: skip
