"""Updates of parameters, in place: optim.cuh on its arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from .runtime import Call, Launch, Source, ctype, dense, device_of, kernel, strides_of_a_grid

SOURCE = Source("optim.cuh")
_NAMES = ("sgd_step", "sgd_momentum_step", "adam_begin", "adam_step", "ema_step")
INSTANCES = tuple(f"{name}<{t}>" for name in _NAMES for t in ("float", "double"))


def _updates(changed: Any, *others: Any, lr: Any = None, t: Any = None) -> bool:
    """Whether the kernels take these arrays: floats of one dtype and shape, dense; lr float64."""
    same = all(a.dtype == changed.dtype and a.shape == changed.shape for a in others)
    state = (lr is None or lr.dtype == np.float64) and (t is None or t.dtype == np.int64)
    return changed.dtype.kind == "f" and state and same and dense(changed, *others)


@kernel
def sgd_step(p: Any, grad: Any, lr: Any, *, weight_decay: float) -> Any:
    """p -= lr (grad + weight_decay p)."""
    if not _updates(p, grad, lr=lr):
        return NotImplemented
    args = (p, grad, lr, p.dtype.type(weight_decay), np.int64(p.size))
    return _call("sgd_step", p, args)


@kernel
def sgd_momentum_step(
    p: Any, grad: Any, velocity: Any, lr: Any,
    *, momentum: float, nesterov: bool, weight_decay: float,
) -> Any:  # fmt: skip
    """The velocity follows the gradient, the parameter the velocity."""
    if not _updates(p, grad, velocity, lr=lr):
        return NotImplemented
    kind = p.dtype.type
    args = (
        p, grad, velocity, lr, kind(weight_decay), kind(momentum), np.int32(nesterov),
        np.int64(p.size),
    )  # fmt: skip
    return _call("sgd_momentum_step", p, args)


@kernel
def adam_step(
    p: Any, grad: Any, m: Any, v: Any, t: Any, lr: Any,
    *, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
) -> Any:  # fmt: skip
    """One thread counts the step, then all update."""
    if not _updates(p, grad, m, v, lr=lr, t=t):
        return NotImplemented
    kind = p.dtype.type
    constants = device_of(p).empty((3,), p.dtype)
    numbers = (np.float64(beta1), np.float64(beta2), np.float64(eps), np.float64(weight_decay))
    begin = Launch(
        SOURCE, f"adam_begin<{ctype(p.dtype)}>", (1,), (1,), (t, lr, constants, *numbers)
    )
    args = (
        p, grad, m, v, constants, kind(1 - beta1), kind(1 - beta2),
        kind(0 if decoupled else weight_decay), np.int32(bool(decoupled and weight_decay)),
        np.int64(p.size),
    )  # fmt: skip
    return _call("adam_step", p, args, first=begin)


@kernel
def ema_step(average: Any, p: Any, *, decay: float) -> Any:
    """average += (1 - decay) (p - average)."""
    if not _updates(average, p):
        return NotImplemented
    args = (average, p, average.dtype.type(1 - decay), np.int64(p.size))
    return _call("ema_step", average, args)


def _call(name: str, changed: Any, args: tuple[Any, ...], first: Launch | None = None) -> Call:
    grid, block = strides_of_a_grid(changed.size)
    launch = Launch(SOURCE, f"{name}<{ctype(changed.dtype)}>", grid, block, args)
    return Call([launch] if first is None else [first, launch], changed)
