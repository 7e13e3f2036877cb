"""Tensors made of nothing but numbers: constants and counts.

They are primitives like all others, so that whoever watches a step (a plan, an export) sees where
each of its tensors comes from. They take no array, so `backend` says where to make one.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from .. import backend as backends
from ..backend import XP, Array
from ..events import state
from ..primitive import PRIMITIVES, primitive
from ..tensor import Tensor, tensor
from ..weak import SCALARS, Weak

__all__ = ["full_like"]  # tinygen.full and its relatives are in tensor.py


@primitive
def full(xp: XP, *, shape: tuple[int, ...], value: float, dtype: Any, backend: str) -> Array:
    """One value repeated."""
    out = xp.empty(shape, dtype)
    out[...] = value  # half the time of xp.full
    return out


@primitive
def arange(xp: XP, *, start: float, stop: float, step: float, dtype: Any, backend: str) -> Array:
    """start, start + step, ... below stop, computed in float64 or int64, then rounded."""
    return xp.arange(start, stop, step).astype(dtype)


@full.check
@arange.check
def _supported(dtype: Any, backend: str) -> None:
    kind = np.dtype(dtype)
    if kind.kind not in "fiub" or (kind.kind == "f" and kind.itemsize not in (4, 8)):
        raise TypeError(f"tensor: dtype {kind} is not supported; use float32 or float64")


def _plain(value: Any) -> Any:
    """A number of NumPy's, or one that a plan follows, as Python's."""
    if isinstance(value, Weak):
        return value.exact()
    return value.item() if isinstance(value, np.generic) else value


@functools.cache
def _known(dtype: Any) -> Any:
    """The dtype of a name: looking one up takes as long as making a small array."""
    return np.dtype(dtype)


def refuse_overflow(data: Any, dtype: np.dtype[Any]) -> None:
    """Refuse numbers that an integer type does not hold: they would come out as others."""
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if data.size and not (low <= data.min() and data.max() <= high):
        raise OverflowError(
            f"tensor: values from {data.min()} to {data.max()} do not fit {dtype}, which holds "
            f"integers from {low} to {high}; choose another dtype"
        )


def _held(values: Any, dtype: np.dtype[Any]) -> None:
    """Refuse numbers that an integer type does not hold."""
    if dtype.kind in "iu":
        refuse_overflow(np.asarray(values), dtype)


def _place() -> str:
    """Where new tensors are made; refuses a thread that has chosen another device."""
    backend = backends.current()
    backend.check()
    return backend.name


def filled(shape: Any, value: Any, dtype: Any) -> Tensor:
    """See tinygen.full."""
    if value.__class__ not in SCALARS:
        dtype = value.dtype if dtype is None and isinstance(value, np.generic) else dtype
        value = _plain(value)
    shape = tuple(map(operator.index, shape)) if np.iterable(shape) else (operator.index(shape),)
    if value.__class__ not in SCALARS:  # an array, a tensor
        return PRIMITIVES["broadcast_to"](tensor(value, dtype=dtype), shape=shape).copy()
    if dtype is None:
        dtype = {float: "float32", int: "int64", bool: "bool"}[value.__class__]
    kind = _known(dtype)
    _held(value, kind)
    return full(shape=shape, value=value, dtype=kind, backend=_place())


def counted(start: Any, stop: Any, step: Any, dtype: Any) -> Tensor:
    """See tinygen.arange."""
    numbers: Any = tuple(v if v.__class__ in SCALARS else _plain(v) for v in (start, stop, step))
    if dtype is None:
        dtype = "float32" if any(isinstance(v, float) for v in numbers) else "int64"
    kind = _known(dtype)
    if kind != np.int64:
        _held(np.arange(*numbers), kind)
    start, stop, step = numbers
    return arange(start=start, stop=stop, step=step, dtype=kind, backend=_place())


def full_like(x: Tensor, value: Any) -> Tensor:
    """A constant of the shape and dtype of x."""
    value = value if value.__class__ in SCALARS else _plain(value)
    a, backend = x.data, x.backend
    if value.__class__ in SCALARS and value in (0, 1) and not state.observers:
        # Nobody is to hear of it, x has passed all checks, and any type holds the number: what is
        # left of a dispatch is the reference. backward begins so, and it takes half the time.
        made = full.reference(backend.xp, shape=a.shape, value=value, dtype=a.dtype, backend="")
        return Tensor(made)
    return full(shape=a.shape, value=value, dtype=a.dtype, backend=backend.name)
