"""Gradients of an outer product, by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Wrong


def cases() -> Iterator[Case]:
    def inputs(n: int, m: int, weighted: bool) -> tuple[Any, Any, Any]:
        rng = np.random.default_rng(n)
        column, row = (tg.tensor(rng.standard_normal(s)) for s in ((n, 1), (1, m)))
        g = rng.standard_normal((n, m)) if weighted else np.ones((n, m))
        return tg.tensor(g), column, row

    def truth(n: int, m: int, weighted: bool) -> Any:
        g, column, row = inputs(n, m, weighted)
        leaves = [t.detach(requires_grad=True) for t in (column, row)]
        return tg.grad((leaves[0] * leaves[1] * g).sum(), leaves)

    for n, m, weighted in ((3, 4, False), (3, 4, True), (3, 3, True), (1, 2, True)):
        words = "uneven g" if weighted else "g all ones"

        def look(a: Answer, n: int = n, m: int = m, weighted: bool = weighted) -> Any:
            return a.gradients(*inputs(n, m, weighted))

        yield Case(
            f"a column ({n}, 1), a row (1, {m}), {words}", look,
            lambda n=n, m=m, w=weighted: truth(n, m, w), order=1,
        )  # fmt: skip


EXERCISE = Exercise(
    title="An outer product",
    minutes=6,
    task="""
z = column * row is a table, for a column (n, 1) and a row (1, m). Given g, the gradient of z, write
`gradients(g, column, row)`: the gradients of the column and of the row, as a pair of tensors, each
of the shape of what it belongs to.
""",
    start="""
import tinygen as tg


def gradients(g, column, row):
    return column, row
""",
    reference="""
import tinygen as tg


def gradients(g, column, row):
    return tg.sum(g * row, axis=1, keepdims=True), tg.sum(g * column, axis=0, keepdims=True)
""",
    wrong=(
        Wrong(
            "Each number of the column was used for a whole row: add its paths up.",
            was="tg.sum(g * row, axis=1, keepdims=True), tg.sum(g * column, axis=0, keepdims=True)",
            now="g * row, g * column",
        ),
        Wrong(
            "The axes are swapped: the column was stretched along axis 1, the row along axis 0.",
            code="""
import tinygen as tg


def gradients(g, column, row):
    return tg.sum(g * row, axis=0, keepdims=True), tg.sum(g * column, axis=1, keepdims=True)
""",
        ),
        Wrong(
            "The slope of a product is the other factor: for the column it is the row.",
            code="""
import tinygen as tg


def gradients(g, column, row):
    return tg.sum(g * column, axis=1, keepdims=True), tg.sum(g * row, axis=0, keepdims=True)
""",
        ),
        Wrong(
            "Right numbers, but the axis is gone: keepdims=True keeps it with size 1.",
            was=", keepdims=True", now="",
        ),
        Wrong(
            "Right only where g is 1 everywhere: multiply with g before adding up.",
            code="""
import tinygen as tg


def gradients(g, column, row):
    one = tg.ones(g.shape, dtype=g.dtype)
    return tg.sum(one * row, axis=1, keepdims=True), tg.sum(one * column, axis=0, keepdims=True)
""",
        ),
        Wrong(
            "Add the paths up; a mean divides by their number.",
            was="tg.sum", now="tg.mean",
        ),
        Wrong(
            "Both are right, in the other order: first the column's.",
            code="""
import tinygen as tg


def gradients(g, column, row):
    return tg.sum(g * column, axis=0, keepdims=True), tg.sum(g * row, axis=1, keepdims=True)
""",
        ),
    ),
    cases=cases,
    questions=(
        ("For (column * row).sum(): what is the gradient of each number of the column?",
         "The sum of the row, the same for all of them."),
    ),
    hint="z_ij = column_i row_j. Which entries of z does column_i reach, and with which slopes?",
    why="column_i reaches the whole row i of z, with the slopes row_1, row_2, ...; so its gradient "
    "is the sum over j of g_ij row_j. With matrices: g row^T and column^T g, the rules of a "
    "matrix product.",
    engine=("tinygen/ops/elementwise.py", "mul.vjp("),
)  # fmt: skip
