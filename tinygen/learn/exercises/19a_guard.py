"""Which thread does what: a grid that strides over a vector."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ..exercise import Answer, Case, Exercise, Wrong


def look(answer: Answer, blocks: int, threads: int, n: int) -> Any:
    """The places of each thread, of each block."""
    return [
        [[int(i) for i in answer.places(b, t, blocks, threads, n)] for t in range(threads)]
        for b in range(blocks)
    ]


def cases() -> Iterator[Case]:
    for blocks, threads, n in ((1, 4, 4), (2, 4, 8), (2, 3, 5), (2, 3, 20), (3, 4, 0)):
        yield Case(
            f"{blocks} x {threads} threads, {n} elements",
            partial(look, blocks=blocks, threads=threads, n=n),
        )


EXERCISE = Exercise(
    title="Who computes which element",
    minutes=6,
    task="""
A kernel runs on `blocks` blocks of `threads` threads each, and a vector has n elements, more or
fewer than there are threads. Which elements does thread number `thread` of block number `block`
compute? The one that has the thread's number in the whole grid, then that plus the number of all
threads, and so on. Every element is computed once, and none beyond the end. Return a list. This
needs plain Python alone.
""",
    start="""
def places(block, thread, blocks, threads, n):
    return [block * threads + thread]
""",
    reference="""
def places(block, thread, blocks, threads, n):
    return list(range(block * threads + thread, n, blocks * threads))
""",
    wrong=(
        Wrong(
            "Threads beyond the end read and write foreign memory, and where n is large most "
            "elements are left out. When does a thread stop?",
            was="list(range(block * threads + thread, n, blocks * threads))",
            now="[block * threads + thread]",
        ),
        Wrong(
            "Nobody is beyond the end now, but what of the elements behind the last thread?",
            was="list(range(block * threads + thread, n, blocks * threads))",
            now="[i for i in [block * threads + thread] if i < n]",
        ),
        Wrong(
            "The stride is that of one block, so the blocks do each other's work again.",
            was="n, blocks * threads", now="n, threads",
        ),
        Wrong(
            "All blocks do the same elements: where does a block's first thread stand in the grid?",
            was="block * threads + thread", now="thread",
        ),
        Wrong(
            "Each element once, but neighbours in a block are far apart in memory: a GPU then "
            "reads a whole line for each. Blocks lie one behind the other.",
            was="block * threads + thread", now="thread * blocks + block",
        ),
        Wrong(
            "Each element once, but a thread takes a run of neighbours, so that at any moment the "
            "threads of a block read far apart.",
            code="""
def places(block, thread, blocks, threads, n):
    share = -(-n // (blocks * threads))
    first = (block * threads + thread) * share
    return list(range(first, min(first + share, n)))
""",
        ),
        Wrong(
            "One element beyond the end. Which is the last place of n?",
            was="thread, n,", now="thread, n + 1,",
        ),
    ),
    cases=cases,
    hint="Number all threads of the grid from 0. Which number has this one?",
    questions=(
        ("20 elements, 2 blocks of 3 threads: which elements does thread 1 of block 1 compute?",
         "4, 10 and 16: its number is 4, and there are 6 threads."),
    ),
    why=(
        "With a stride of the whole grid any number of threads does any number of elements. At "
        "every moment the threads of a block read neighbours, which a GPU fetches together."
    ),
    engine=("kernels/cuda/common.cuh", "i = blockIdx.x * (long long)blockDim.x + threadIdx.x"),
)  # fmt: skip
