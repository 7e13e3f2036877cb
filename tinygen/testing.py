"""For testing operations, yours included: gradients against differences, and a search for NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .differentiate import grad
from .finite import finite_checks as finite_checks
from .tensor import Tensor, as_tensor

TOLERANCE = {1: 1e-7, 2: 1e-6, 3: 1e-5}  # relative to 1 + |derivative|, by order
STEP = 3e-4  # of the five-point difference: error about STEP^4, rounding about 1e-16 / STEP


def _as_tuple(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def _random_like(x: Tensor, rng: np.random.Generator) -> Any:
    return np.asarray(rng.standard_normal(x.shape))


def _inner(a: Sequence[Any], b: Sequence[Any]) -> float:
    return float(sum(np.sum(x * y) for x, y in zip(a, b, strict=True)))


def check_grads(
    f: Callable[..., Any], args: Sequence[Any], order: int = 2, *, seed: int = 0
) -> None:
    """Compare the gradient of `f` at `args` with differences of `f`, to the given order.

    In float64, for a random direction v and a random cotangent c, the number <c, f'(x) v> must
    equal <f'(x)^T c, v>. The left side is the five-point difference
    (8 [f(x+hv) - f(x-hv)] - [f(x+2hv) - f(x-2hv)]) / 12h, the right side what the rules say. Where
    the one-sided slopes differ (a kink), any value between them is accepted. For order 2 the same
    is done to the gradient itself, as a function of x and c, and so on.

    Args:
        f: function of tensors returning a tensor, or a tuple of them.
        args: tensors or arrays; floating-point ones are varied, the others are passed as given.
        order: 1 for gradients, 2 for gradients of gradients too, ...
        seed: of the directions and cotangents.

    Raises:
        AssertionError: naming the order and both numbers.
    """
    if order < 1:
        raise ValueError(f"check_grads: order {order}, expected 1 or more")
    tensors = [as_tensor(a) for a in args]
    fixed = {i: x.detach() for i, x in enumerate(tensors) if x.dtype.kind != "f"}
    values = [x.numpy().astype(np.float64) for i, x in enumerate(tensors) if i not in fixed]
    if not values:
        raise ValueError("check_grads: no floating-point argument to vary")

    def of_floats(*floats: Tensor) -> Any:
        rest = iter(floats)
        return f(*(fixed[i] if i in fixed else next(rest) for i in range(len(tensors))))

    rng, name = np.random.default_rng(seed), getattr(f, "__name__", str(f))
    with np.errstate(all="ignore"):  # a NaN fails the check itself
        _check(of_floats, values, order, 1, rng, name)


def _check(
    f: Callable[..., Any], values: list[Any], order: int, level: int, rng: Any, name: str
) -> None:
    leaves = [Tensor(v).detach(requires_grad=True) for v in values]
    outputs = _as_tuple(f(*leaves))
    cotangents = [_random_like(y, rng) for y in outputs]
    directions = [_random_like(x, rng) for x in leaves]
    live = [(y, c) for y, c in zip(outputs, cotangents, strict=True) if y.node is not None]
    if live:
        gradients = grad([y for y, _ in live], leaves, [Tensor(c) for _, c in live])
        tape = _inner([g.numpy() for g in gradients], directions)
    else:
        tape = 0.0

    def along(t: float) -> float:
        moved = [Tensor(np.asarray(v + t * d)) for v, d in zip(values, directions, strict=True)]
        return _inner([y.numpy() for y in _as_tuple(f(*moved))], cotangents)

    here = _inner([y.numpy() for y in outputs], cotangents)
    f1, b1, f2, b2 = along(STEP), along(-STEP), along(2 * STEP), along(-2 * STEP)
    number = (8 * (f1 - b1) - (f2 - b2)) / (12 * STEP)
    limit = TOLERANCE.get(level, 1e-4) * (1 + np.abs(number))
    if not np.abs(tape - number) <= limit:
        slopes = sorted(
            ((4 * f1 - f2 - 3 * here) / (2 * STEP), (3 * here - 4 * b1 + b2) / (2 * STEP))
        )
        kink = slopes[1] - slopes[0] > 1e-3 * (1 + np.abs(number))
        if not (kink and slopes[0] - limit <= tape <= slopes[1] + limit):
            raise AssertionError(
                f"check_grads: {name}, order {level}: the rules give {tape!r}, differences give "
                f"{number!r} (off by {tape - number:.3e}, allowed {limit:.1e}) for arguments of "
                f"shapes {', '.join(str(v.shape) for v in values)}"
            )
    if level < order and live:
        count = len(values)

        def pulled_back(*xs: Tensor) -> tuple[Tensor, ...]:
            """The gradient as a function of the arguments and the cotangents."""
            inner = [x if x.requires_grad else x.detach(requires_grad=True) for x in xs[:count]]
            ys = [y for y in _as_tuple(f(*inner)) if y.node is not None]
            return grad(ys, inner, list(xs[count:]), create_graph=True)

        more = [*values, *(c for _, c in live)]
        _check(pulled_back, more, order, level + 1, rng, f"gradient of {name}")
