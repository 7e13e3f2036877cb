"""`repeat`, the one loop, and `choose`, a draw of an index: for drawings of many turns.

    def turn(i, z):                                # i counts from 0, a 0-d integer tensor
        t = i.astype("float32") * (1 / steps)
        return (z + velocity(z, t) * (1 / steps),)

    (images,) = tg.repeat(steps, turn, (noise,))

All chance comes in as arguments: noise for all turns is made before and read by `take(i, axis)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..checks import INTEGER
from ..events import state as engine
from ..ops import cumsum, exp, expand_dims
from ..ops.create import full
from ..tensor import Tensor, as_tensor

_INDEX = np.dtype("int64")
State = tuple[Tensor, ...]
Body = Callable[..., Sequence[Any]]


def repeat(n: int, body: Body, state: Sequence[Any]) -> State:
    """state = body(i, *state) for i = 0, 1, ..., n - 1; the last state.

    It is a loop of Python, through which gradients flow. Where a function is recorded to be written
    as a file, the body is recorded once, and the file has a loop.

    Args:
        n: how many turns, a Python int, 0 or more.
        body: takes i, a 0-d int64 tensor, and the state; returns the next state as a tuple, of the
            same shapes and dtypes.
        state: one tensor or more.

    Raises:
        TypeError: n is no int; a state that is no tuple or list.
        ValueError: n < 0; a body that returns another number of tensors, other shapes or dtypes.
    """
    if not isinstance(n, INTEGER) or isinstance(n, bool):
        raise TypeError(
            f"repeat: n is {n!r:.60}; expected an int that is known before the loop, not a tensor"
        )
    if n < 0:
        raise ValueError(f"repeat: n is {n}; expected 0 or more turns")
    now = _as_state("state", state)
    if not now:
        raise ValueError("repeat: the state is empty; expected one tensor or more")
    observers = engine.observers
    if not engine.recording:  # for a gradient each turn keeps its own
        for observer in observers:
            kept = observer.region(int(n), lambda i, *s: checked(now, body(i, *s)), now)
            if kept is not None:
                return kept
    backend = now[0].backend.name
    for k in range(n):
        i = full(shape=(), value=k, dtype=_INDEX, backend=backend)
        now = checked(now, body(i, *now))
        for observer in observers:
            observer.turned(k, now)
    return now


def checked(before: State, result: Any) -> State:
    """What a body returned, which must be as the state before it."""
    after = _as_state("what the body returned", result)
    if len(after) != len(before):
        raise ValueError(
            f"repeat: the body returned {len(after)} tensors; expected {len(before)}, the next "
            "state"
        )
    for k, (a, b) in enumerate(zip(before, after, strict=True)):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise ValueError(
                f"repeat: entry {k} of the state was {a.shape} {a.dtype} and the body returned "
                f"{b.shape} {b.dtype}; expected the same shape and dtype"
            )
    return after


def _as_state(what: str, state: Any) -> State:
    if not isinstance(state, (tuple, list)):
        raise TypeError(
            f"repeat: {what} is {type(state).__name__}; expected a tuple of tensors: (x,) for one"
        )
    return tuple(map(as_tensor, state))


def choose(logits: Any, u: Any) -> Tensor:
    """An index drawn with probabilities softmax(logits), by uniform noise.

    The number of indices whose cumulative weight is at most u times the total: index k has the part
    of [0, 1) that softmax(logits)[k] is long.

    Shapes: logits (..., k), u (...) in [0, 1); int64 (...) from 0 to k - 1.
    """
    logits, u = as_tensor(logits), as_tensor(u)
    if logits.ndim < 1 or u.shape != logits.shape[:-1]:
        raise ValueError(
            f"choose: logits {logits.shape} and u {u.shape}; expected (..., k) and (...): one "
            "number from [0, 1) for each row of logits"
        )
    up_to = cumsum(exp(logits - logits.max(axis=-1, keepdims=True)), axis=-1)
    passed = up_to[..., :-1] <= expand_dims(u, axis=-1) * up_to[..., -1:]
    index: Tensor = passed.astype("int64").sum(axis=-1)
    return index
