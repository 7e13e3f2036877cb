"""Whole numbers from uniform ones, all equally likely."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..exercise import Case, Exercise, Wrong


def cases() -> Iterator[Case]:
    yield Case("6 sides, u = 0, 1/24 ... 23/24", lambda a: a.dice(U, 6))
    yield Case("5 sides, u = 0, 1/24 ... 23/24", lambda a: a.dice(U, 5))
    yield Case("2 sides, u = 0.3", lambda a: a.dice(np.array([0.3]), 2), lambda: np.array([0]))
    ends = np.array([0.0, 1 - 2.0**-24])  # the smallest and the largest that a generator gives
    yield Case("10 sides, the ends of [0, 1)", lambda a: a.dice(ends, 10), lambda: np.array([0, 9]))


U = np.arange(24) / 24

EXERCISE = Exercise(
    title="A fair die",
    minutes=4,
    task="""
A generator gives numbers u that are spread evenly over [0, 1): 0 can occur, 1 cannot. Make whole
numbers 0 ... n - 1 of them (int64), so that each is equally likely: the first n-th of [0, 1)
becomes 0, the next becomes 1, and so on. u is a NumPy array, n the number of sides.
""",
    start="""
import numpy as np


def dice(u, n):
    return np.rint(u * (n - 1)).astype(np.int64)
""",
    reference="""
import numpy as np


def dice(u, n):
    return np.floor(u * n).astype(np.int64)
""",
    wrong=(
        Wrong(
            "Count how often 0 and the last number come, and compare with one in the middle: half "
            "as often. Which u are rounded to 0?",
            was="np.floor(u * n)", now="np.rint(u * (n - 1))",
        ),
        Wrong(
            "There are n + 1 different results now, and the first and the last are half as likely "
            "as the others. What does rounding do with u just below 1?",
            was="np.floor", now="np.rint",
        ),
        Wrong(
            "The last number never comes, since u is below 1. How many pieces does [0, 1) have?",
            was="u * n", now="u * (n - 1)",
        ),
        Wrong(
            "The numbers start at 0, as all places in Python do.",
            was=".astype(np.int64)", now=".astype(np.int64) + 1",
        ),
        Wrong(
            "Every u became 0 before it was multiplied. In which order do the two steps belong?",
            was="np.floor(u * n).astype(np.int64)", now="u.astype(np.int64) * n",
        ),
        Wrong(
            "The remainder looks fair, but neighbours in u do not stay neighbours, and where n "
            "does not divide 2^24 some numbers come once more than others. Stretch [0, 1) instead.",
            was="np.floor(u * n).astype(np.int64)", now="(u * 2**24).astype(np.int64) % n",
        ),
        Wrong(
            "With ceil 0 comes for u = 0 alone, and n comes, which is no side of the die.",
            was="np.floor", now="np.ceil",
        ),
    ),
    cases=cases,
    hint="Stretch [0, 1) to [0, n). Into which piece does a number like 2.7 fall?",
    questions=(
        ("With rint(u * (n - 1)) and n = 6: which share of all throws is 0?",
         "A tenth: u below 0.1. A sixth would be fair, and the middle numbers get a fifth each."),
    ),
    why=(
        "floor(u n) cuts [0, 1) into n pieces of the same length. Rounding cuts it elsewhere, and "
        "its two pieces at the ends are half as long. The engine does the same without floats: it "
        "multiplies a 32-bit word by n and keeps what lies above 32 bits."
    ),
    engine=("tinygen/random.py", "words.astype(xp.uint64) * high >> 32"),
)  # fmt: skip
