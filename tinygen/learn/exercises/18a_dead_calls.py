"""What a plan may leave out: calls whose results nobody needs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from ..exercise import Answer, Case, Exercise, Wrong

# A call is (what it makes, what it reads, what it changes in place or "").
STEP = (
    ("h", ("x", "w"), ""),
    ("loss", ("h", "y"), ""),
    ("mean", ("h",), ""),  # printed at some time, and no longer
    ("shown", ("mean",), ""),
    ("slope", ("loss", "h"), ""),
    ("new w", ("w", "slope"), "w"),
    ("size", ("new w",), ""),
)
CHAIN = (("a", ("x",), ""), ("b", ("a",), ""), ("c", ("b",), ""), ("d", ("b",), ""))


def look(answer: Answer, calls: Any, results: list[str]) -> Any:
    return list(answer.needed(list(calls), list(results)))


def cases() -> Iterator[Case]:
    for results in (["a"], ["c"], ["c", "a"]):
        yield Case(f"a chain, the result {results}", partial(look, calls=CHAIN, results=results))
    yield Case("a training step, the result loss", partial(look, calls=STEP, results=["loss"]))
    yield Case("a training step, no result", partial(look, calls=STEP, results=[]))
    yield Case("the result shown", partial(look, calls=STEP, results=["shown"]))


EXERCISE = Exercise(
    title="What nobody needs",
    minutes=7,
    task="""
A step was recorded as a list of calls (makes, reads, changes). `makes` is the name of what a call
makes, `reads` has the names of what it reads. `changes` names what it changes in place, such as a
weight, or is "". Return what the needed calls make, in their order. A call is needed if its value
is a result, or is read by a needed call. A call that changes something is always needed.
""",
    start="""
def needed(calls, results):
    read = set(results)
    for makes, reads, changes in calls:
        read.update(reads)
    return [makes for makes, reads, changes in calls if makes in read]
""",
    reference="""
def needed(calls, results):
    wanted, kept = set(results), []
    for makes, reads, changes in reversed(calls):
        if makes in wanted or changes:
            kept.append(makes)
            wanted.update(reads)
    return kept[::-1]
""",
    wrong=(
        Wrong(
            "A call that is read by a dead call stays, although nobody needs either. From which "
            "end can you tell?",
            code="""
def needed(calls, results):
    read = set(results)
    for makes, reads, changes in calls:
        read.update(reads)
    return [makes for makes, reads, changes in calls if makes in read or changes]
""",
        ),
        Wrong(
            "The weights no longer learn: nobody reads what an update makes, and yet it matters.",
            was=" or changes", now="",
        ),
        Wrong(
            "The results are there, but not what they are made of.",
            was="            wanted.update(reads)\n", now="",
        ),
        Wrong(
            "The right calls, in the order in which you found them. In which must they run?",
            was="kept[::-1]", now="kept",
        ),
        Wrong(
            "A call is met before its readers, so it is not known yet that it is wanted. Which way "
            "should the list be walked?",
            was="reversed(calls)", now="calls",
        ),
        Wrong(
            "The update stays, but what it reads is dropped.",
            was="            kept.append(makes)\n            wanted.update(reads)\n",
            now="            kept.append(makes)\n            if not changes:\n"
            "                wanted.update(reads)\n",
        ),
        Wrong(
            "Everything stays. The plan would be as slow as the recording.",
            was="makes in wanted or changes", now="True",
        ),
    ),
    cases=cases,
    hint="Walk from the last call to the first, with the set of names that are wanted so far.",
    questions=(
        ("A step returns h.mean() as well. Which rows of the plan become new?",
         "Those of the mean alone: h was computed already, for the loss."),
    ),
    why=(
        "One walk from the end is enough, since a call is read only by later ones: when it is met, "
        "all its readers have been judged. The plan of tg.compile does this before anything else, "
        "so that fused loops never contain what nobody reads."
    ),
    engine=("tinygen/plan/passes.py", "for call in reversed(calls):"),
)  # fmt: skip
