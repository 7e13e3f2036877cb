"""A matrix product in tiles, with two barriers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..exercise import Answer, Case, Exercise, Wrong
from ..threads import Memory, launch


def factors(n: int) -> Any:
    return np.random.default_rng(n).uniform(0.5, 2, (2, n, n))


def look(answer: Answer, n: int, size: int, backwards: bool) -> Any:
    x, y = map(Memory, factors(n))
    z = Memory(np.full((n, n), np.nan))
    grid = (n // size, n // size)
    launch(answer.kernel, grid, (size, size), (2, size, size), x, y, z, backwards=backwards)
    return z.values


def right(n: int) -> Any:
    x, y = factors(n)
    return x @ y


def cases() -> Iterator[Case]:
    for n, size in ((2, 2), (4, 2), (6, 3)):
        for backwards in (False, True):
            yield Case(
                f"{n} x {n} in tiles of {size} x {size}, the {('first', 'last')[backwards]} "
                "thread first",
                partial(look, n=n, size=size, backwards=backwards),
                partial(right, n),
            )


EXERCISE = Exercise(
    title="A planted mistake: a product in tiles",
    minutes=12,
    task="""
The kernel of step 19 in plain Python. A block of size x size threads makes one tile of z = x y. It
goes through a row and a column in pieces. Of each, every thread fetches one number of x and one of
y into shared[0] and shared[1], and then each number is used `size` times. `yield` is the barrier.
The product of 2 x 2 matrices is right, larger ones are wrong. Find the mistake and mend it. This
needs NumPy alone.
""",
    start="""
def kernel(block, thread, shared, x, y, z):
    n, size = x.shape[0], shared.shape[1]
    i, j = thread
    row, column = size * block[0] + i, size * block[1] + j
    total = 0.0
    for k in range(0, n, size):
        shared[0, i, j] = x[row, k + j]
        shared[1, i, j] = y[k + i, column]
        yield
        for m in range(size):
            total += shared[0, i, m] * shared[1, m, j]
    z[row, column] = total
""",
    reference="""
def kernel(block, thread, shared, x, y, z):
    n, size = x.shape[0], shared.shape[1]
    i, j = thread
    row, column = size * block[0] + i, size * block[1] + j
    total = 0.0
    for k in range(0, n, size):
        shared[0, i, j] = x[row, k + j]
        shared[1, i, j] = y[k + i, column]
        yield
        for m in range(size):
            total += shared[0, i, m] * shared[1, m, j]
        yield
    z[row, column] = total
""",
    wrong=(
        Wrong(
            "The next tile is written over this one while others still read it. How many times in "
            "a round must the threads wait for each other?",
            was="j]\n        yield\n    z", now="j]\n    z",
        ),
        Wrong(
            "A tile is read before all of it is written.",
            was="column]\n        yield\n", now="column]\n",
        ),
        Wrong(
            "No barrier at all: each thread reads what the others have not written.",
            was="        yield\n", now="",
        ),
        Wrong(
            "The sum begins anew with each tile, and only the last one is left.",
            was="    total = 0.0\n    for k in range(0, n, size):\n",
            now="    for k in range(0, n, size):\n        total = 0.0\n",
        ),
        Wrong(
            "The tile of y is written with one order of its axes and read with the other. "
            "Which index goes down the column?",
            was="y[k + i, column]", now="y[k + j, size * block[1] + i]",
        ),
        Wrong(
            "The result is written at the mirrored place.",
            was="z[row, column]", now="z[column, row]",
        ),
        Wrong(
            "The tiles overlap, since k moves by one. How wide is a tile?",
            was="range(0, n, size)", now="range(0, n - size + 1)",
        ),
        Wrong(
            "Every block makes the first tile.",
            was="size * block[0] + i, size * block[1] + j", now="i, j",
        ),
    ),
    cases=cases,
    hint="Follow thread (0, 0) to the second round. What do the others still do?",
    questions=(
        ("How often is each number of x read from the large memory, for tiles of 8 x 8 and n = 32?",
         "4 times, once for each tile of columns; without tiles it is 32 times."),
    ),
    why=(
        "One barrier keeps readers behind writers, the other keeps the next writers behind these "
        "readers. The kernel of the engine keeps two tiles and fills one while the other is read, "
        "so that it waits less."
    ),
    engine=("kernels/cuda/matmul.cuh", "nobody needs it any more"),
)  # fmt: skip
