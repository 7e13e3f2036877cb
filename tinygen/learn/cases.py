"""Cases that many exercises share: a rule, looked at as the engine's own tests look at one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

import tinygen as tg

from .exercise import Answer, Case, Finding

STEP = 1e-4  # of the difference: its error is about STEP^4, and 1e-16 / STEP is lost in rounding


def rule(
    function: Callable[..., Any],
    name: str,
    which: int,
    shapes: Iterable[Sequence[tuple[int, ...]]],
    *,
    order: int = 2,
    positive: bool = False,
) -> Iterator[Case]:
    """The rule `name(g, *arguments)` of argument number `which` of `function`.

    For each set of shapes the gradient in float64, against differences too; then its own gradient
    (if `order` is 2); then once more the first, in float32. `positive`: arguments between 0.5 and
    2, for logarithms and roots.
    """
    sets = [tuple(s) for s in shapes]

    def inputs(i: int, dtype: str = "float64") -> tuple[Any, list[Any]]:
        rng = np.random.default_rng(i)
        values = [
            np.asarray(rng.uniform(0.5, 2, s) if positive else rng.standard_normal(s))
            for s in sets[i]
        ]
        out = function(*map(tg.tensor, values))
        g = np.asarray(rng.standard_normal(out.shape))
        return tg.tensor(g.astype(dtype)), [tg.tensor(v.astype(dtype)) for v in values]

    def first(a: Answer, i: int, dtype: str = "float64") -> Any:
        g, xs = inputs(i, dtype)
        return getattr(a, name)(g, *xs)

    def differences(i: int) -> Any:
        g, xs = inputs(i)
        values = [x.numpy().copy() for x in xs]
        flat, out = values[which].reshape(-1), []

        def at(v: float) -> float:
            flat[k] = v
            return float((function(*map(tg.tensor, values)) * g).sum().item())

        for k in range(flat.size):
            v, h = flat[k], STEP
            near, far = at(v + h) - at(v - h), at(v + 2 * h) - at(v - 2 * h)
            out.append((8 * near - far) / (12 * h))
            flat[k] = v
        return tg.tensor(np.array(out).reshape(xs[which].shape))

    def second(a: Answer, i: int) -> Any:
        g, xs = inputs(i)
        leaves = [t.detach(requires_grad=True) for t in (g, *xs)]
        got = getattr(a, name)(*leaves)
        if not got.requires_grad:
            raise Finding("it has no gradient: is something detached, or computed with NumPy?")
        v = np.random.default_rng(99).standard_normal(got.shape)
        return tg.grad((got * tg.tensor(np.asarray(v))).sum(), leaves)

    words = [", ".join(map(str, s)) for s in sets]
    for i, w in enumerate(words):
        label = f"arguments of the shapes {w}"
        yield Case(label, partial(first, i=i), partial(differences, i), order=1)
    for i, w in enumerate(words if order > 1 else ()):
        yield Case(f"the gradient of your rule, shapes {w}", partial(second, i=i), order=2)
    yield Case("float32", partial(first, i=0, dtype="float32"), order=1)
