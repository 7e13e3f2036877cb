"""A shuffle that makes all orders equally likely."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..exercise import Answer, Case, Exercise, Wrong

U = (0.1, 0.6, 0.7, 0.2, 0.95, 0.4)


def kept(answer: Answer) -> Any:
    """What the caller's list holds afterwards."""
    given = ["a", "b", "c", "d"]
    answer.shuffle(given, U)
    return given


def cases() -> Iterator[Case]:
    yield Case("one item", lambda a: a.shuffle([7], (0.5,)), lambda: [7])
    yield Case("two items, u = 0.1", lambda a: a.shuffle([7, 8], (0.9, 0.1)), lambda: [8, 7])
    yield Case("two items, u = 0.8", lambda a: a.shuffle([7, 8], (0.1, 0.8)), lambda: [7, 8])
    yield Case("six items", lambda a: a.shuffle(list(range(6)), U))
    yield Case("six other numbers", lambda a: a.shuffle(list(range(6)), U[::-1]))
    yield Case("the list that was given", kept, lambda: ["a", "b", "c", "d"])


EXERCISE = Exercise(
    title="A fair shuffle",
    minutes=6,
    task="""
Return a new list with the items in a random order; leave the given list as it is. u[i] is a number
in [0, 1) for place i. Go from the last place down to place 1. At place i choose j from 0 ... i, all
equally likely, by u[i], and exchange the items at i and j.
""",
    start="""
def shuffle(items, u):
    items = list(items)
    for i in range(len(items) - 1, 0, -1):
        j = int(u[i] * len(items))
        items[i], items[j] = items[j], items[i]
    return items
""",
    reference="""
def shuffle(items, u):
    items = list(items)
    for i in range(len(items) - 1, 0, -1):
        j = int(u[i] * (i + 1))
        items[i], items[j] = items[j], items[i]
    return items
""",
    wrong=(
        Wrong(
            "Every place exchanges with any other: that makes n^(n-1) ways for n! orders, which "
            "cannot come out even. A place that is done must stay done.",
            was="(i + 1)", now="len(items)",
        ),
        Wrong(
            "No item can stay where it is now, and of two items the order always changes. May j "
            "be i itself?",
            was="(i + 1)", now="i",
        ),
        Wrong(
            "One item is lost and another is there twice. What stands at j's place when you read "
            "the second time?",
            was="items[i], items[j] = items[j], items[i]",
            now="items[i] = items[j]\n        items[j] = items[i]",
        ),
        Wrong(
            "The two items in front never exchange. Where does `range` stop?",
            was="0, -1)", now="1, -1)",
        ),
        Wrong(
            "The order is right, but the caller's list was changed on the way.",
            was="items = list(items)", now="pass",
        ),
        Wrong(
            "That picks each place anew, so that an item may come twice. A shuffle keeps them all.",
            code="def shuffle(items, u):\n"
            "    return [items[int(v * len(items))] for _, v in zip(items, u)]\n",
        ),
        Wrong(
            "Rounding gives 0 and i half as often as what lies between, and i is one place too few "
            "to stretch u to.",
            was="int(u[i] * (i + 1))", now="round(u[i] * i)",
        ),
    ),
    cases=cases,
    hint="At place i there are i + 1 items that have no place yet, the one at i among them.",
    questions=(
        ("Three items, and j from all three places each time: how many ways, and how many orders?",
         "9 ways with two exchanges (27 with three) for 6 orders: not divisible, so unfair."),
        ("How often does a fair shuffle of 10 items leave the first one in its place?",
         "One time in ten, as every other place."),
    ),
    why=(
        "Place i gets one of the i + 1 items that are left, so there are n (n - 1) ... 1 = n! ways "
        "and each makes another order. The engine shuffles by sorting: every item gets a random "
        "64-bit key. That is fair as long as no two keys are equal, and can run on a GPU."
    ),
    engine=("tinygen/random.py", "return xp.argsort(words[:, 0] | words[:, 1] << 32"),
)  # fmt: skip
