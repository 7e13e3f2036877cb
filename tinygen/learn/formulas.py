"""Cases of an answer that is a formula: its value, its gradient, and the gradient of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

import tinygen as tg

from .exercise import Answer, Case, Finding

CUT = "it has no gradient: is something detached, under no_grad, or computed with NumPy?"


def numbers(seed: int, *shape: int) -> tg.Tensor:
    """Standard normal numbers, float64."""
    return tg.tensor(np.asarray(np.random.default_rng(seed).standard_normal(shape)))


def weighed(values: Sequence[tg.Tensor], seed: int) -> tg.Tensor:
    """One number made of tensors, in which each of their elements has a weight of its own."""
    terms = [(v * numbers(seed + i, *v.shape)).sum() for i, v in enumerate(values)]
    total: tg.Tensor = sum(terms[1:], terms[0])
    return total


def several(out: Any) -> list[tg.Tensor]:
    """The results of a formula, of which there may be one."""
    return list(out) if isinstance(out, (list, tuple)) else [out]


def slopes(function: Callable[..., Any], arguments: Sequence[Any], order: int) -> Any:
    """The gradients with respect to all tensors of floats, or the gradients of their sum."""
    given = [
        x.detach(requires_grad=True) if isinstance(x, tg.Tensor) and x.dtype.kind == "f" else x
        for x in arguments
    ]
    leaves = [x for x in given if isinstance(x, tg.Tensor) and x.requires_grad]
    total = weighed(several(function(*given)), 50)
    for n in range(order):
        if not total.requires_grad:
            raise Finding(CUT if n == 0 else "its gradient has no gradient: is part detached?")
        found = tg.grad(total, leaves, create_graph=True)
        total = weighed(found, 70 + n)
    return list(found)


def formula(
    name: str,
    sets: Sequence[tuple[str, Callable[[], list[Any]]]],
    truth: Callable[..., Any] | None = None,
    *,
    order: int = 2,
) -> Iterator[Case]:
    """The function `name` of an answer, at each set of arguments; then its gradients.

    Args:
        name: of the function, which returns a tensor or a few.
        sets: pairs of a label and a function that makes the arguments.
        truth: another function of the same arguments, a second opinion on the values.
        order: up to which derivatives are looked at.
    """

    def value(a: Answer, make: Callable[[], list[Any]]) -> Any:
        return getattr(a, name)(*make())

    def look(a: Answer, make: Callable[[], list[Any]], n: int) -> Any:
        return slopes(getattr(a, name), make(), n)

    for label, make in sets:
        second = truth and (lambda truth=truth, make=make: truth(*make()))
        yield Case(label, partial(value, make=make), second)
    for n in range(1, order + 1):
        words = "the gradient" if n == 1 else "the gradient of the gradient"
        for label, make in sets:
            second = truth and (lambda truth=truth, make=make, n=n: slopes(truth, make(), n))
            yield Case(f"{words}, {label}", partial(look, make=make, n=n), second, order=n)
