"""Updates of parameters and moving averages, in place: optim.cuh on its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .runtime import (
    Call,
    Launch,
    Source,
    blocks,
    ctype,
    dense,
    device_of,
    kernel,
    strides_of_a_grid,
)

SOURCE = Source("optim.cuh")
_NAMES = (
    "sgd_step", "sgd_momentum_step", "adam_begin", "adam_step", "adam_begin_all", "adam_step_all",
    "ema_step", "update_running",
)  # fmt: skip
EVERY = 1024  # elements of a block of adam_step_all, as in optim.cuh
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
    constants = device_of(p).empty((3,), p.dtype)
    numbers = tuple(map(np.float64, (beta1, beta2, eps, weight_decay)))
    begin = Launch(
        SOURCE, f"adam_begin<{ctype(p.dtype)}>", (1,), (1,), (t, lr, constants, *numbers)
    )
    options = _options(p.dtype.type, beta1, beta2, weight_decay, decoupled)
    return _call(
        "adam_step", p, (p, grad, m, v, constants, *options, np.int64(p.size)), first=begin
    )


def _options(
    kind: Any, beta1: float, beta2: float, weight_decay: float, decoupled: bool
) -> tuple[Any, ...]:  # fmt: skip
    """What the kernels of Adam are told besides arrays."""
    decay = kind(0 if decoupled else weight_decay)
    return kind(1 - beta1), kind(1 - beta2), decay, np.int32(bool(decoupled and weight_decay))


def adam_all(
    groups: Sequence[Sequence[Any]], lr: Any,
    *, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
) -> Any:  # fmt: skip
    """Adam of many parameters in two launches; a group is (p, grad, m, v, t)."""
    if not all(_updates(*g[:4], lr=lr, t=g[4]) for g in groups):
        return NotImplemented
    first = groups[0][0]
    device, kind, number = device_of(first), ctype(first.dtype), len(groups)
    rows, block = [], 0
    for p, grad, m, v, t in groups:
        rows.append([*map(device.address, (p, grad, m, v, t)), p.size, block])
        block += blocks(p.size, EVERY)
    rows.append([0] * 6 + [block])
    table = device.to_device(np.array(rows, np.int64))
    constants = device.empty((3 * number,), first.dtype)
    numbers = tuple(map(np.float64, (beta1, beta2, eps, weight_decay)))
    options = _options(first.dtype.type, beta1, beta2, weight_decay, decoupled)
    return Call(
        [
            Launch(
                SOURCE, f"adam_begin_all<{kind}>", (blocks(number, 32),), (32,),
                (table, np.int32(number), lr, constants, *numbers),
                reached=tuple(t for *_, t in groups),
            ),
            Launch(
                SOURCE, f"adam_step_all<{kind}>", (block,), (256,), (table, constants, *options),
                reached=tuple(a for group in groups for a in group[:4]),
            ),
        ],
        first, keep=groups,
    )  # fmt: skip


@kernel
def ema_step(average: Any, p: Any, rate: Any) -> Any:
    """average += rate (p - average)."""
    if not _updates(average, p, lr=rate):
        return NotImplemented
    args = (average, p, rate, np.int64(p.size))
    return _call("ema_step", average, args)


@kernel
def update_running(mean: Any, var: Any, new_mean: Any, new_var: Any, *, momentum: float) -> Any:
    """The running moments of a normalisation follow a batch's."""
    if not _updates(mean, var, new_mean, new_var):
        return NotImplemented
    shares = mean.dtype.type(1 - momentum), mean.dtype.type(momentum)
    args = (mean, var, new_mean, new_var, *shares, np.int64(mean.size))
    return _call("update_running", mean, args)


def _call(name: str, changed: Any, args: tuple[Any, ...], first: Launch | None = None) -> Call:
    grid, block = strides_of_a_grid(changed.size)
    launch = Launch(SOURCE, f"{name}<{ctype(changed.dtype)}>", grid, block, args)
    return Call([launch] if first is None else [first, launch], changed)
