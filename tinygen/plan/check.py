"""compile(check=True): the function itself beside every replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..backend import Array, of_type
from ..tensor import Tensor
from .record import Storage

if TYPE_CHECKING:
    from . import Compiled, Plan

TOLERANCE = 1e-4  # relative to the largest element: fusion rounds differently


def checked(
    compiled: Compiled, plan: Plan, args: Any, kwargs: Any, arrays: list[Array]
) -> Any:  # fmt: skip
    """What a replay returns, if the function itself returns and leaves the same.

    Raises:
        RuntimeError: a result or a state differs; names the call that writes it.
    """
    state = written(plan)
    before = {storage: array.copy() for storage, (array, _) in state.items()}
    draws = [g.offset for g, _ in plan.generators]
    expected = _flat(compiled.function(*args, **kwargs))
    for (generator, _), offset in zip(plan.generators, draws, strict=True):
        generator.offset = offset
    after = {storage: array.copy() for storage, (array, _) in state.items()}
    for storage, (array, _) in state.items():
        array[...] = before[storage]
    result = plan.replay(arrays)
    for storage, (array, what) in state.items():
        if array.dtype.kind == "f":
            _compare(what, array, after[storage])
    for i, (got, wanted) in enumerate(zip(_flat(result), expected, strict=True)):
        _compare(f"returned tensor {i}", got, wanted)
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


def _flat(result: Any) -> list[Array]:
    if isinstance(result, Tensor):
        return [result.data]
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        return [a for v in result for a in _flat(v)]
    return []


def _compare(what: str, got: Array, wanted: Array) -> None:
    got, wanted = (of_type(type(a)).to_host(a) for a in (got, wanted))  # type: ignore[union-attr]
    scale = max(float(np.max(np.abs(wanted), initial=0.0)), 1e-6)
    worst = float(np.max(np.abs(got - wanted), initial=0.0))
    if not worst <= TOLERANCE * scale:
        raise RuntimeError(
            f"compile: {what} differs from the function itself by {worst:g} (largest element "
            f"{scale:g}); the step depends on something a plan freezes: a number that changes from "
            "step to step, an array made on the host, or a Python side effect"
        )
