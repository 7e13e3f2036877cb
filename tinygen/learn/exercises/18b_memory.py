"""One piece of memory for all temporaries."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ..exercise import Answer, Case, Exercise, Wrong

LISTS = {
    "two that live one after the other": [(0, 1, 4), (2, 3, 4)],
    "a call that reads one and makes the other": [(0, 1, 4), (1, 2, 4)],
    "a small one after a large one": [(0, 2, 8), (0, 5, 2), (3, 5, 3), (4, 5, 6)],
    "a gap that is too small": [(0, 1, 2), (0, 5, 4), (2, 5, 3)],
    "places that overlap": [(0, 1, 10), (2, 3, 2), (2, 3, 4), (3, 5, 1), (1, 4, 3)],
    "a step": [(0, 7, 5), (1, 6, 3), (2, 3, 6), (3, 5, 2), (4, 6, 6), (5, 8, 4), (7, 8, 3)],
}


def look(answer: Answer, buffers: list[tuple[int, int, int]]) -> Any:
    return [int(offset) for offset in answer.place(list(buffers))]


def cases() -> Iterator[Case]:
    for label, buffers in LISTS.items():
        yield Case(label, partial(look, buffers=buffers))


EXERCISE = Exercise(
    title="One piece of memory",
    minutes=12,
    task="""
A plan has buffers (first, last, size): written by call number `first`, read for the last time by
call `last`. Two of them may share memory if they are never needed in the same call. Go through the
list and give each the lowest offset at which it overlaps no earlier buffer that lives at the same
time as it does. Return the offsets. (A call reads one buffer while it writes another: both live.)
""",
    start="""
def place(buffers):
    offsets, end = [], 0
    for first, last, size in buffers:
        offsets.append(end)
        end += size
    return offsets
""",
    reference="""
def place(buffers):
    offsets = []
    for first, last, size in buffers:
        taken = []
        for offset, (a, b, n) in zip(offsets, buffers):
            if first <= b and a <= last:
                taken.append((offset, offset + n))
        at = 0
        for low, high in sorted(taken):
            if at + size <= low:
                break
            at = max(at, high)
        offsets.append(at)
    return offsets
""",
    wrong=(
        Wrong(
            "Nothing is ever used again: every buffer gets memory of its own. Which of the earlier "
            "ones are still needed?",
            was="if first <= b and a <= last:", now="if True:",
        ),
        Wrong(
            "A buffer is written over by the very call that still reads it.",
            was="first <= b", now="first < b",
        ),
        Wrong(
            "New ones always go behind the highest, though lower down there is room.",
            was="            if at + size <= low:\n                break\n", now="",
        ),
        Wrong(
            "A gap is taken that is too small, and the end of the buffer lies in the next one.",
            was="if at + size <= low:", now="if at < low:",
        ),
        Wrong(
            "Two of the taken pieces may overlap each other, if they live at different times. Then "
            "the last one in the list need not end last.",
            was="at = max(at, high)", now="at = high",
        ),
        Wrong(
            "The taken pieces are met in the order of the list and not from low to high.",
            was="sorted(taken)", now="taken",
        ),
        Wrong(
            "A gap of just the right size is left unused.",
            was="at + size <= low", now="at + size < low",
        ),
    ),
    cases=cases,
    hint="Write down what is taken at the time, from low to high, and go up until it fits.",
    questions=(
        ("Ten calls in a row, each reads what the one before made, all of one size. How many "
         "pieces of that size are needed?",
         "Two: they take turns."),
    ),
    why=(
        "First fit is short and close to the best; the engine places the largest first. Memory "
        "that is used again soon is still in the cache, so this saves time as well as room."
    ),
    engine=("tinygen/plan/arena.py", "at = max(at, end)"),
)  # fmt: skip
