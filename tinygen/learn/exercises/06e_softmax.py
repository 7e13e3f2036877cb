"""A softmax that large numbers do not break."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Wrong


def cases() -> Iterator[Case]:
    rows: tuple[tuple[str, Any], ...] = (
        ("x = 0.7, -1.2, 2.1", [[0.7, -1.2, 2.1]]),
        ("two rows", [[0.7, -1.2, 2.1], [0.1, 0.2, -3.0]]),
        ("x = 800, 799, 0", [[800.0, 799.0, 0.0]]),
        ("x = -800, -801, -2000", [[-800.0, -801.0, -2000.0]]),
        ("x = 3000, 0, 0", [[3000.0, 0.0, 0.0]]),
        ("rows that are 2000 apart", [[1000.0, 999.0], [-1000.0, -1002.0]]),
    )

    def look(a: Answer, x: Any) -> Any:
        found = a.softmax(tg.tensor(np.array(x)))
        return found.detach() if isinstance(found, tg.Tensor) else found

    for label, x in rows:
        yield Case(
            label, lambda a, x=x: look(a, x),
            lambda x=x: tg.softmax(tg.tensor(np.array(x)), axis=-1), tolerance=1e-9,
        )  # fmt: skip


EXERCISE = Exercise(
    title="A softmax without overflow",
    minutes=6,
    task="""
Write `softmax(x)` for x of shape (rows, columns) from tg.exp and tg.sum: e^x by its sum, row by
row. It has to work for 800 and for -800, and for rows that are far apart.
""",
    start="""
import tinygen as tg


def softmax(x):
    return tg.exp(x)
""",
    reference="""
import tinygen as tg


def softmax(x):
    e = tg.exp(x - tg.max(x, axis=1, keepdims=True))
    return e / tg.sum(e, axis=1, keepdims=True)
""",
    wrong=(
        Wrong(
            "e^800 is infinite, and infinity by infinity is NaN. A number taken off the whole row "
            "changes nothing: which one keeps e^x small?",
            was="x - tg.max(x, axis=1, keepdims=True)", now="x",
        ),
        Wrong(
            "Row by row: the largest of all is too large for a row far below, which becomes 0 / 0.",
            was="tg.max(x, axis=1, keepdims=True)", now="tg.max(x)",
        ),
        Wrong(
            "The mean is not enough: what stands far above it still overflows.",
            was="tg.max(x, axis=1, keepdims=True)", now="tg.mean(x, axis=1, keepdims=True)",
        ),
        Wrong(
            "Clipping changes the answer: 800 and 799 are no longer one apart.",
            was="x - tg.max(x, axis=1, keepdims=True)", now="tg.clip(x, -50.0, 50.0)",
        ),
        Wrong(
            "The sum of each row, not of all: every row adds up to 1.",
            was="tg.sum(e, axis=1, keepdims=True)", now="tg.sum(e)",
        ),
        Wrong(
            "The sums run down the columns: a row is axis 1.",
            was="tg.sum(e, axis=1, keepdims=True)", now="tg.sum(e, axis=0, keepdims=True)",
        ),
        Wrong(
            "That is the logarithm of it.",
            was="return e / tg.sum(e, axis=1, keepdims=True)",
            now="return tg.log(e / tg.sum(e, axis=1, keepdims=True))",
        ),
    ),
    cases=cases,
    questions=(
        ("Does softmax(x + 5) differ from softmax(x)?",
         "No: e^5 stands above and below the line."),
    ),
    hint="softmax(x) = softmax(x - c). With c the largest of the row, the largest exponent is 0.",
    why="With the largest taken off, the greatest term is e^0 = 1: nothing overflows, and the sum "
    "is at least 1, so nothing is divided by 0. The shift has no gradient of its own, since the "
    "result does not depend on it.",
    engine=("tinygen/ops/reduce.py", "def softmax"),
)  # fmt: skip
