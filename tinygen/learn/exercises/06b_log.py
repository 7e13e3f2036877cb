"""The logarithm of positive entries only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Finding, Wrong

POSITIVE, MIXED = np.array([2.0, 1.5, 0.3]), np.array([2.0, 0.4, 0.0, -1.0])


def value(a: Answer, x: Any) -> Any:
    found = a.total(tg.tensor(x))
    return found.detach() if isinstance(found, tg.Tensor) else found


def slope(a: Answer, x: Any) -> Any:
    leaf = tg.tensor(x, requires_grad=True)
    found = a.total(leaf)
    if not found.requires_grad:
        raise Finding("it carries no gradient: it was computed without tensors, or detached")
    return tg.grad(found, [leaf])[0]


def cases() -> Iterator[Case]:
    def truth(x: Any) -> Any:
        return tg.tensor(np.sum(np.log(x[x > 0])))

    yield Case("x = 2, 1.5, 0.3", lambda a: value(a, POSITIVE), lambda: truth(POSITIVE))
    yield Case("the gradient at 2, 1.5, 0.3", lambda a: slope(a, POSITIVE), order=1)
    yield Case("x = 2, 0.4, 0, -1", lambda a: value(a, MIXED), lambda: truth(MIXED))
    yield Case(
        "the gradient at 2, 0.4, 0, -1", lambda a: slope(a, MIXED),
        lambda: tg.tensor(np.array([0.5, 2.5, 0.0, 0.0])), order=1,
    )  # fmt: skip
    yield Case("x = 1e-9, a small entry that counts", lambda a: value(a, np.array([1e-9])))


EXERCISE = Exercise(
    title="The logarithm of the positive ones",
    minutes=7,
    task="""
Write `total(x)`: the sum of log(x) over the positive entries of x, one tensor of shape (). Entries
that are 0 or negative count nothing, and their gradient is 0. Small ones, such as 1e-9, count.
""",
    start="""
import tinygen as tg


def total(x):
    return tg.log(x).sum()
""",
    reference="""
import tinygen as tg


def total(x):
    safe = tg.where(x > 0, x, 1.0)
    return tg.log(safe).sum()
""",
    wrong=(
        Wrong(
            "A mask multiplies, and 0 times NaN or infinity is NaN: select instead, with tg.where.",
            was="""    safe = tg.where(x > 0, x, 1.0)
    return tg.log(safe).sum()""",
            now="    return (tg.log(x) * (x > 0).astype('float64')).sum()",
        ),
        Wrong(
            "abs turns -1 into 1, but also -3 into 3, and log 0 stays minus infinity: select.",
            was="tg.where(x > 0, x, 1.0)", now="tg.abs(x)",
        ),
        Wrong(
            "Those left out give log(1e-6) each, which is not 0. Which number has the logarithm 0?",
            was="tg.where(x > 0, x, 1.0)", now="tg.where(x > 0, x, 1e-6)",
        ),
        Wrong(
            "A small number inside shifts every logarithm, and does not help a negative entry.",
            was="tg.where(x > 0, x, 1.0)", now="x + 1e-6",
        ),
        Wrong(
            "A bound from below is not a selection: each entry left out still counts log(1e-6).",
            was="tg.where(x > 0, x, 1.0)", now="tg.maximum(x, 1e-6)",
        ),
        Wrong(
            "Values below 0.001 are positive, too.",
            was="x > 0", now="x > 1e-3",
        ),
        Wrong(
            "A sum is asked for, not a mean.",
            was=".sum()", now=".mean()",
        ),
        Wrong(
            "NumPy has no way back: the gradient is lost.",
            code="""
import numpy as np

import tinygen as tg


def total(x):
    values = x.numpy()
    return tg.tensor(np.sum(np.log(values[values > 0])))
""",
        ),
    ),
    cases=cases,
    questions=(
        ("where(x > 0, log(x), 0) also gives the right sum. What would many engines say of its "
         "gradient at 0?", "NaN: 0 from where, times infinity from log. tinygen's rules give 0."),
    ),
    hint="First put a harmless number in the place of those that shall not count, then take the "
    "logarithm. Which number is harmless?",
    why="`where` selects, a mask multiplies. What was not selected must leave no trace, not in the "
    "value and not in the gradient; guarding the argument serves in every engine. In tinygen the "
    "rule itself gives 0 where nothing flows back.",
    engine=("tinygen/ops/elementwise.py", "log.vjp("),
)  # fmt: skip
