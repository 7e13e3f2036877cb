"""compile(check=True): the function itself beside every replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import Array, of_type
from ..tensor import Tensor
from ..trace.record import Storage
from ..trace.tree import leaves, members

if TYPE_CHECKING:
    from . import Compiled, Plan

TOLERANCE = 1e-4  # relative to the largest element: fusion rounds differently


def checked(
    compiled: Compiled, plan: Plan, args: Any, kwargs: Any, tensors: list[Tensor]
) -> Any:  # fmt: skip
    """What a replay returns, if the function itself returns and leaves the same.

    Raises:
        RuntimeError: a result, a state or a gradient differs; names the call that writes it.
    """
    state = written(plan)
    before = {storage: array.copy() for storage, (array, _) in state.items()}
    draws = [g.offset for g, _ in plan.generators]
    owned = [leaf for leaf in plan.leaves(tensors) if leaf.node is not None]
    gradients = [leaf.grad for leaf in owned]
    expected = compiled.function(*args, **kwargs)
    left = [leaf.grad for leaf in owned]
    drawn = [g.draws for g, _ in plan.generators]
    for leaf, gradient in zip(owned, gradients, strict=True):
        leaf.node.grad = gradient
    for (generator, _), offset in zip(plan.generators, draws, strict=True):
        generator.offset = offset
    after = {storage: array.copy() for storage, (array, _) in state.items()}
    for storage, (array, _) in state.items():
        array[...] = before[storage]
    result = plan.replay(tensors)
    counters = {id(base) for _, base in plan.generators}  # where draws are counted is no matter
    for storage, (array, what) in state.items():
        if id(array) not in counters:
            _compare(what, array, after[storage])
    if drawn != [g.draws for g, _ in plan.generators]:
        _refuse("the number of random draws", "one or more")
    for leaf, wanted in zip(owned, left, strict=True):
        if leaf.grad is not None:  # None: the plan keeps to itself what the step drops
            _compare_values(f"the .grad of {leaf.name or leaf.shape}", leaf.grad, wanted)
    if _structure(result) != _structure(expected):
        raise RuntimeError(
            f"compile: the step returns {_structure(expected)}, and its plan {_structure(result)}"
        )
    for i, pair in enumerate(zip(leaves(result), leaves(expected), strict=True)):
        _compare_values(f"result {i}", *pair)
    return result


def written(plan: Plan) -> dict[Storage, tuple[Array, str]]:
    """The state that the plan changes: its array, and the call in words."""
    found: dict[Storage, tuple[Array, str]] = {}
    for call in plan.calls:
        for v in call.mutated:
            if v.storage.array is not None:
                what = f"{call.name} of {v.text()} at {call.line}"
                found.setdefault(v.storage, (v.storage.array, what))
    return found


def _structure(value: Any) -> Any:
    """The containers, without what is in them."""
    held = members(value)
    if held is None:
        return "tensor" if isinstance(value, Tensor) else type(value).__name__
    return (type(value).__name__, {k: _structure(v) for k, v in held.items()})


def _compare_values(what: str, got: Any, wanted: Any) -> None:
    if isinstance(got, Tensor) and isinstance(wanted, Tensor):
        _compare(what, got.data, wanted.data)
    elif isinstance(wanted, (int, float, complex, np.number)):
        _compare(what, np.asarray(got), np.asarray(wanted))
    elif got is not wanted and got != wanted:
        _refuse(what, f"{got!r} for {wanted!r}")


def _compare(what: str, got: Array, wanted: Array) -> None:
    """Equal within the tolerance; NaN equals NaN, infinities must have one sign."""
    hosts = [of_type(type(a)) for a in (got, wanted)]
    x, y = (h.to_host(a) for h, a in zip(hosts, (got, wanted), strict=True))  # type: ignore[union-attr]
    if x.shape != y.shape or x.dtype != y.dtype:
        _refuse(what, f"{x.dtype} {x.shape} for {y.dtype} {y.shape}")
    if x.dtype.kind not in "fc":
        wrong = int(np.count_nonzero(x != y))
        if wrong:
            _refuse(what, f"{wrong} of {x.size} elements")
        return
    finite = np.isfinite(y)
    if (
        not np.array_equal(x[~finite], y[~finite], equal_nan=True)
        or not np.isfinite(x[finite]).all()
    ):
        _refuse(what, "where it is NaN or infinite")
    scale = max(float(np.max(np.abs(y[finite]), initial=0.0)), 1e-6)
    worst = float(np.max(np.abs(x[finite] - y[finite]), initial=0.0))
    if not worst <= TOLERANCE * scale:
        _refuse(what, f"{worst:g} (largest element {scale:g})")


def _refuse(what: str, by: str) -> None:
    raise RuntimeError(
        f"compile: {what} differs from the function itself by {by}; the step depends on something "
        "a plan freezes: a number that changes from step to step, an array made on the host, or a "
        "Python side effect"
    )
