"""The gradient of a mean."""

from __future__ import annotations

from ..cases import rule
from ..exercise import Exercise, Wrong

EXERCISE = Exercise(
    title="The gradient of a mean",
    minutes=4,
    task="""
m = x.mean() is one number, of all entries of x. Write its rule `gradient(g, x)`: g is the gradient
of m, of shape (), and what you return has the shape of x. Use tensors, such as
tg.ones(x.shape, dtype=x.dtype): float32 and float64 do not mix.
""",
    start="""
import tinygen as tg


def gradient(g, x):
    return g
""",
    reference="""
import tinygen as tg


def gradient(g, x):
    return g / x.size * tg.ones(x.shape, dtype=x.dtype)
""",
    wrong=(
        Wrong(
            "Each entry counts for one part of the whole: divide by how many there are.",
            was="g / x.size *", now="g *",
        ),
        Wrong(
            "One number for each entry of x is wanted: what was shrunk on the way forward is "
            "stretched on the way back.",
            was=" * tg.ones(x.shape, dtype=x.dtype)", now="",
        ),
        Wrong(
            "All entries count, not the rows alone: x.shape[0] is only one of the sizes.",
            was="x.size", now="x.shape[0]",
        ),
        Wrong(
            "A mean is linear: its slope does not depend on the entries.",
            was="tg.ones(x.shape, dtype=x.dtype)", now="x",
        ),
        Wrong(
            "g is not used: what comes from behind has to be passed on.",
            was="g / x.size *", now="1 / x.size *",
        ),
        Wrong(
            "g as a Python number has forgotten where it came from: keep the tensor.",
            was="g / x.size", now="g.item() / x.size",
        ),
        Wrong(
            "Give tg.ones the dtype of x: a gradient has that of what it belongs to.",
            was=", dtype=x.dtype", now=", dtype='float64'",
        ),
    ),
    cases=lambda: rule(lambda x: x.mean(), "gradient", 0, [((5,),), ((3, 4),), ((2, 3, 2),)]),
    questions=(
        ("x has 1,000 entries. By how much does the mean move if one entry grows by 1?",
         "By 0.001; that is its slope."),
    ),
    hint="How much does the mean move if one entry grows by 1? That times g, for each entry.",
    why="What shrinks on the way forward is stretched on the way back: each of n entries has one "
    "path to the mean, with the slope 1 / n. That is why the gradient of a mean loss does not grow "
    "with the batch, and that of a sum does.",
    engine=("tinygen/ops/reduce.py", "mean.vjp("),
)  # fmt: skip
