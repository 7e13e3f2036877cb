"""Nine gradients by hand: a small classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import tinygen as tg

from ..exercise import Answer, Case, Exercise, Finding, Wrong
from ..formulas import numbers, slopes

ROWS = tg.tensor(np.eye(3)[[0, 2, 1, 2]])


def inputs() -> list[tg.Tensor]:
    return [numbers(0, 4, 2), numbers(1, 2, 5), numbers(2, 5), numbers(3, 5, 3)]


def known(x: tg.Tensor, w: tg.Tensor, b: tg.Tensor, v: tg.Tensor) -> dict[str, tg.Tensor]:
    """The nine gradients by the engine."""
    a = x @ w
    h = a + b
    r = tg.tanh(h)
    s = r @ v
    e = tg.exp(s)
    z = e.sum(axis=1, keepdims=True)
    q = tg.log(z)
    c = q - (s * ROWS).sum(axis=1, keepdims=True)
    loss = c.mean()
    steps = {"c": c, "q": q, "z": z, "e": e, "s": s, "r": r, "h": h, "w": w, "b": b}
    return dict(zip(steps, tg.grad(loss, list(steps.values()), create_graph=True), strict=True))


def by(function: Callable[..., Any], name: str, order: int) -> Any:
    """One of the nine, or its own gradient."""

    def one(*given: tg.Tensor) -> Any:
        found = function(*given)
        if name not in found:
            raise Finding(f"`gradients` returns no {name!r} yet")
        return found[name]

    if order == 2:
        return slopes(one, inputs(), 1)
    return one(*[x.detach(requires_grad=True) for x in inputs()]).detach()


def answered(answer: Answer) -> Callable[..., Any]:
    def function(*given: tg.Tensor) -> Any:
        return answer.gradients(answer.forward(*given, ROWS), *given, ROWS)

    return function


def look(answer: Answer, name: str, order: int) -> Any:
    return by(answered(answer), name, order)


def cases() -> Iterator[Case]:
    for order in (1, 2):
        for name in "cqzesrhwb" if order == 1 else "zesrhwb":  # c and q are constants
            yield Case(
                f"the gradient of {name}" if order == 1 else f"the gradient of that of {name}",
                partial(look, name=name, order=order),
                partial(by, known, name, order),
                order=order,
            )


FORWARD = """
import tinygen as tg


def forward(x, w, b, v, rows):
    a = x @ w                                          # (4, 2) @ (2, 5)
    h = a + b                                          # b is (5,)
    r = tg.tanh(h)
    s = r @ v                                          # (4, 5) @ (5, 3)
    e = tg.exp(s)
    z = e.sum(axis=1, keepdims=True)                   # (4, 1)
    q = tg.log(z)
    c = q - (s * rows).sum(axis=1, keepdims=True)      # the cross-entropy of each row
    loss = c.mean()
    return dict(a=a, h=h, r=r, s=s, e=e, z=z, q=q, c=c, loss=loss)
"""
TABLE = """

if __name__ == "__main__":
    from tinygen.learn.compare import compare

    rng = tg.random.Generator(0)
    shapes = (4, 2), (2, 5), (5,), (5, 3)
    x, w, b, v = (rng.normal(s, "float64").detach(requires_grad=True) for s in shapes)
    rows = tg.one_hot(tg.tensor([0, 2, 1, 2]), classes=3, dtype="float64")
    f = forward(x, w, b, v, rows)
    steps = {name: f[name] for name in "cqzesrh"} | dict(w=w, b=b)
    compare(gradients(f, x, w, b, v, rows), f["loss"], steps)
"""
EXERCISE = Exercise(
    title="By hand: a classifier",
    minutes=25,
    task="""
`forward` is a classifier in nine lines; `rows` has a 1 at the right class of each row. Write nine
gradients of the loss, from the last line back to the first: of c, q, z, e, s, r, h, w and b. Each
has the shape of its variable. Use tensors, but not tg.grad. The values that `forward` made are
f["a"], f["h"] ... Run the file: it prints name | exact | close | largest difference.
""",
    start=FORWARD
    + """

def gradients(f, x, w, b, v, rows):
    g = {}
    g["c"] = tg.ones(f["c"].shape, "float64") / f["c"].shape[0]
    # the other eight: q, z, e, s, r, h, w, b
    return g
"""
    + TABLE,
    reference=FORWARD
    + """

def gradients(f, x, w, b, v, rows):
    c = tg.ones(f["c"].shape, "float64") / f["c"].shape[0]
    q = c
    z = q / f["z"]
    e = z * tg.ones(f["e"].shape, "float64")
    s = e * f["e"] - c * rows
    r = s @ v.T
    h = r * (1 - f["r"] ** 2)
    return dict(c=c, q=q, z=z, e=e, s=s, r=r, h=h, w=x.T @ h, b=h.sum(axis=0))
"""
    + TABLE,
    wrong=(
        Wrong(
            "The loss is a mean of the c, so how much does it move when one of them does?",
            was=' / f["c"].shape[0]', now="",
        ),
        Wrong(
            "The slope of a logarithm at z is large where z is small.",
            was='q / f["z"]', now='q * f["z"]',
        ),
        Wrong(
            "A sum was stretched back in value but not in shape: each e of a row gets the same.",
            was='z * tg.ones(f["e"].shape, "float64")', now="z",
        ),
        Wrong(
            "s goes two ways, through e and straight to c: one of the two paths is missing.",
            was='e * f["e"] - c * rows', now='e * f["e"]',
        ),
        Wrong(
            "s goes two ways: the path through exp is missing.",
            was='e * f["e"] - c * rows', now="-c * rows",
        ),
        Wrong(
            "Both paths of s are there. With which sign does s stand in the line of c?",
            was="- c * rows", now="+ c * rows",
        ),
        Wrong(
            "The slope of exp at s is exp(s) itself, and that is missing.",
            was='e * f["e"] -', now="e -",
        ),
        Wrong(
            "The factors of a product's gradient: (4, 3) has to become (4, 5), with v turned.",
            was="s @ v.T", now="s @ v",
        ),
        Wrong(
            "1 - tanh^2 takes the value of tanh, which the forward pass has kept.",
            was='1 - f["r"] ** 2', now='1 - f["h"] ** 2',
        ),
        Wrong(
            "The gradient of w has the shape of w, and here it is turned.",
            was="x.T @ h", now="h.T @ x",
        ),
        Wrong(
            "b was used once in each row: its paths are added up.",
            was="h.sum(axis=0)", now="h",
        ),
        Wrong(
            "b was used once in each row: a mean divides by their number.",
            was="h.sum(axis=0)", now="h.mean(axis=0)",
        ),
        Wrong(
            "The numbers are right, but detached: their own gradient is lost.",
            was='(1 - f["r"] ** 2)', now='(1 - f["r"].detach() ** 2)',
        ),
    ),
    cases=cases,
    hint="One line at a time: what comes from behind, times the slope of this line alone.",
    questions=(
        ("Put g(s) together on paper: which short formula is it?",
         "(softmax(s) - rows) / 4, the difference of what was said and what was right."),
    ),
    why=(
        "e / z is the softmax, so the nine lines say (softmax(s) - rows) / n in the end. The "
        "engine makes the same nine steps from the rule of each operation, and adds up the two "
        "paths of s as you did."
    ),
    engine=("tinygen/graph.py", "def pull_back("),
)  # fmt: skip
