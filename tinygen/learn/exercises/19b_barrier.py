"""The sum of a block of threads, and where they have to wait."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..exercise import Answer, Case, Exercise, Wrong
from ..threads import Memory, launch


def values(blocks: int, threads: int) -> Any:
    return np.random.default_rng(threads).uniform(0.5, 2, blocks * threads)


def look(answer: Answer, blocks: int, threads: int, backwards: bool) -> Any:
    sums = Memory(np.full(blocks, np.nan))
    given = Memory(values(blocks, threads))
    launch(answer.kernel, blocks, threads, (threads,), given, sums, backwards=backwards)
    return sums.values


def right(blocks: int, threads: int) -> Any:
    return values(blocks, threads).reshape(blocks, threads).sum(axis=1)


def cases() -> Iterator[Case]:
    for blocks, threads in ((1, 2), (1, 8), (3, 4)):
        for backwards in (False, True):
            yield Case(
                f"{blocks} x {threads} threads, the {('first', 'last')[backwards]} one first",
                partial(look, blocks=blocks, threads=threads, backwards=backwards),
                partial(right, blocks, threads),
            )


EXERCISE = Exercise(
    title="A sum that waits",
    minutes=12,
    task="""
A kernel in plain Python, for one thread. `shared` is a vector that the threads of a block share; it
is as long as there are threads, a power of two. `yield` is the barrier: the thread waits there for
all threads of its block. Each thread brings one number of x. Then half of the threads add the other
half's numbers to their own, then a quarter, until thread 0 holds the sum. The barriers are missing:
put them in. This needs NumPy alone; on a GPU (step 19) the barrier is __syncthreads().
""",
    start="""
def kernel(block, thread, shared, x, sums):
    threads = shared.shape[0]
    shared[thread] = x[block * threads + thread]
    half = threads // 2
    while half:
        if thread < half:
            shared[thread] += shared[thread + half]
        half //= 2
    if thread == 0:
        sums[block] = shared[0]
""",
    reference="""
def kernel(block, thread, shared, x, sums):
    threads = shared.shape[0]
    shared[thread] = x[block * threads + thread]
    yield
    half = threads // 2
    while half:
        if thread < half:
            shared[thread] += shared[thread + half]
        yield
        half //= 2
    if thread == 0:
        sums[block] = shared[0]
""",
    wrong=(
        Wrong(
            "Nobody waits: thread 0 adds numbers that the others have not written yet, which hold "
            "NaN here and anything on a GPU.",
            was="yield", now="pass",
        ),
        Wrong(
            "The first sum reads what other threads have still to write.",
            was="thread]\n    yield\n", now="thread]\n",
        ),
        Wrong(
            "The numbers are all there. But the second round reads sums of the first that are not "
            "made yet.",
            was="        yield\n        half", now="        half",
        ),
        Wrong(
            "Only the threads that add come to this barrier, and the others never do. A barrier is "
            "for all threads of a block.",
            was="half]\n        yield\n", now="half]\n            yield\n",
        ),
        Wrong(
            "With as many threads as numbers the first partner is outside of the shared memory.",
            was="half = threads // 2", now="half = threads",
        ),
        Wrong(
            "Every block sums the numbers of the first one.",
            was="x[block * threads + thread]", now="x[thread]",
        ),
        Wrong(
            "The last pair is not added. When is the loop done?",
            was="while half:", now="while half > 1:",
        ),
        Wrong(
            "All threads write the result, each another one. Who holds the sum?",
            was="    if thread == 0:\n        sums[block] = shared[0]",
            now="    sums[block] = shared[thread]",
        ),
    ),
    cases=cases,
    hint="Between a write by one thread and a read by another there must be a barrier.",
    questions=(
        ("How many rounds are needed for 256 threads, and how many additions does thread 0 make?",
         "8 rounds and 8 additions, where one thread alone would make 255."),
    ),
    why=(
        "Threads of a block share memory and no clock: only a barrier orders what one writes and "
        "another reads. On a GPU a missing one may go unnoticed for years; an emulator that runs "
        "each thread as far as it can shows it at once."
    ),
    engine=("kernels/cuda/block.cuh", "__syncthreads();"),
)  # fmt: skip
