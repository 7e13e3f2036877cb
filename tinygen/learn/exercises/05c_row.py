"""The gradient of a row that was stretched to a table."""

from __future__ import annotations

from ..cases import rule
from ..exercise import Exercise, Wrong

EXERCISE = Exercise(
    title="A row that was stretched",
    minutes=5,
    task="""
In x * row a row of shape (4,) is used once for each row of x. Write its gradient: g has the shape
of the product, and what you return must have the shape of `row`. x may have more than two axes, and
`row` may have the shape (1, 4). Use tensors (tg.sum, .reshape, .shape), not NumPy.
""",
    start="""
import tinygen as tg


def gradient(g, x, row):
    \"\"\"The gradient of `row` in x * row, given g, that of the product.\"\"\"
    return g
""",
    reference="""
import tinygen as tg


def gradient(g, x, row):
    each = g * x
    while each.ndim > row.ndim:
        each = tg.sum(each, axis=0)
    for axis, size in enumerate(row.shape):
        if size == 1:
            each = tg.sum(each, axis=axis, keepdims=True)
    return each
""",
    wrong=(
        Wrong(
            "The row was used once for each row of x, so there are many paths: add them up.",
            code="def gradient(g, x, row):\n    return g * x",
        ),
        Wrong(
            "Add the paths up; a mean divides by their number.",
            was="tg.sum", now="tg.mean",
        ),
        Wrong(
            "Right for two axes; what if x has three? Sum every axis that was stretched.",
            was="while each.ndim > row.ndim:", now="if each.ndim > row.ndim:",
        ),
        Wrong(
            "An axis of size 1 was stretched, too: sum over it, and keep it as an axis.",
            code="""
import tinygen as tg


def gradient(g, x, row):
    return tg.sum(g * x, axis=tuple(range(x.ndim - 1)))
""",
        ),
        Wrong(
            "That is the slope of the other factor: row stands beside x, so its slope is x.",
            was="g * x", now="g * row",
        ),
        Wrong(
            "g is not used: what comes from behind has to be passed on.",
            was="g * x", now="x",
        ),
        Wrong(
            "NumPy in a rule cuts the graph, so a gradient of the gradient is lost: use tensors.",
            was="each = g * x", now="each = g * tg.tensor(x.numpy())",
        ),
    ),
    cases=lambda: rule(
        lambda x, row: x * row, "gradient", 1,
        [((3, 4), (4,)), ((2, 3, 4), (4,)), ((3, 4), (1, 4)), ((2, 3, 4), (1, 1, 4))],
    ),
    questions=(
        ("What is the gradient of a row of zeros, if g and x are full of ones, for x (3, 4)?",
         "3 in each place: three paths with the slope 1 each. The row's own value plays no part."),
    ),
    hint="g * x holds one slope a path. Which axes of it does `row` not have?",
    why=(
        "A number that was used n times has n paths to the result, and the chain rule adds them "
        "up. Broadcasting is such a use: nothing is computed, but the paths are there. The engine "
        "does it once for all operations, after their rules, so that no rule has to think of it."
    ),
    engine=("tinygen/ops/shape.py", "return x if x.shape == shape else sum_to(x, shape=shape)"),
)  # fmt: skip
