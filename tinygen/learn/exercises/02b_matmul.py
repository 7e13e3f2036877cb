"""The gradient of the left factor of a matrix product."""

from __future__ import annotations

from ..cases import rule
from ..exercise import Exercise, Wrong

EXERCISE = Exercise(
    title="The left factor of a matrix product",
    minutes=6,
    task="""
z = x @ y for x of shape (n, k) and y of shape (k, m). Write the rule of x, `gradient(g, x, y)`: g
has the shape of z, and what you return that of x. The shapes say nearly all.
""",
    start="""
def gradient(g, x, y):
    return g
""",
    reference="""
import tinygen as tg


def gradient(g, x, y):
    return g @ y.T
""",
    wrong=(
        Wrong(
            "y stands the wrong way round: g has the columns of y, so they must meet.",
            was="g @ y.T", now="g @ y",
        ),
        Wrong(
            "The factors are in the wrong order: (n, m) @ (m, k) gives (n, k).",
            was="g @ y.T", now="y.T @ g",
        ),
        Wrong(
            "That is the rule of y: it has the shape of y.",
            was="g @ y.T", now="x.T @ g",
        ),
        Wrong(
            "NumPy inside a rule cuts the graph: a gradient of the gradient is lost.",
            was="y.T", now="tg.tensor(y.numpy().T)",
        ),
        Wrong(
            "g is not used: what comes from behind has to be passed on.",
            was="g @ y.T", now="tg.ones(g.shape, dtype=g.dtype) @ y.T",
        ),
        Wrong(
            "g stands the wrong way round; its rows belong to the rows of x.",
            was="g @ y.T", now="g.T @ y.T",
        ),
    ),
    cases=lambda: rule(
        lambda x, y: x @ y, "gradient", 0,
        [((3, 3), (3, 3)), ((3, 2), (2, 4)), ((1, 5), (5, 1))],
    ),
    questions=(
        ("In which case can a wrong order not be seen by the shapes?", "With square matrices."),
    ),
    hint="z_ij = sum over k of x_ik y_kj. Which entries of z does x_ik reach, with which slope?",
    why="x_ik reaches row i of z, with the slopes y_k1, y_k2, ...; summed with g that is row i of "
    "g times row k of y, an entry of g y^T. A layer does three products of this size a step: one "
    "forwards and two back, so a step costs about three times the forward pass.",
    engine=("tinygen/ops/linalg.py", "x=lambda g, y, x_shape: unbroadcast(matmul_nd(g, _t(y))"),
)  # fmt: skip
