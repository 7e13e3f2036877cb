"""Operations that move elements without computing: shapes, slices, joins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..backend import XP, Array
from ..checks import INTEGER, axes_fit, integers_stay, joined, normal_axes
from ..primitive import primitive
from ..tensor import Tensor, as_tensor

Shape = tuple[int, ...]

# ---- broadcasting and its adjoint ----------------------------------------------------------------


@primitive(moves="spread")
def broadcast_to(xp: XP, x: Array, *, shape: Shape) -> Array:
    """x repeated along new axes and axes of size 1 to have the given shape."""
    return xp.broadcast_to(x, shape)


@broadcast_to.check
def _(x: Array, shape: tuple[int, ...]) -> None:
    lead = len(shape) - x.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(x.shape, shape[lead:], strict=True)):
        raise ValueError(
            f"broadcast_to: shape {x.shape} does not broadcast to {shape}; each size, counted "
            "from the last axis, must be equal or 1"
        )


@primitive
def sum_to(xp: XP, x: Array, *, shape: Shape) -> Array:
    """x summed over the axes along which `shape` would be broadcast to x.shape."""
    lead = x.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + i for i, n in enumerate(shape) if n == 1 and x.shape[lead + i] != 1
    )
    return xp.sum(x, axis=axes, keepdims=True).reshape(shape)


broadcast_to.vjp(x=lambda g, x_shape: sum_to(g, shape=x_shape))
sum_to.vjp(x=lambda g, x_shape: broadcast_to(g, shape=x_shape))


def unbroadcast(x: Tensor, shape: Shape) -> Tensor:
    """x summed to `shape`, or x itself if it has that shape."""
    return x if x.shape == shape else sum_to(x, shape=shape)


# ---- the same elements in another shape or order -------------------------------------------------


@primitive(moves="shape")
def reshape(xp: XP, x: Array, *, shape: int | Shape) -> Array:
    """The same elements, in the same order, in another shape; one size may be -1."""
    return xp.reshape(x, shape)


@reshape.check
def _(x: Array, shape: int | tuple[int, ...]) -> None:
    sizes = (shape,) if isinstance(shape, INTEGER) else shape
    known, unknown = math.prod(n for n in sizes if n != -1), sizes.count(-1)
    fits = known == x.size if not unknown else known != 0 and x.size % known == 0
    if unknown > 1 or not fits or any(n < -1 for n in sizes):
        raise ValueError(
            f"reshape: shape {x.shape} has {x.size} elements, which do not fit {shape}; expected "
            "an equal number of elements, with at most one -1"
        )


reshape.vjp(x=lambda g, x_shape: reshape(g, shape=x_shape))


@primitive(moves="axes")
def transpose(xp: XP, x: Array, *, axes: Shape | None = None) -> Array:
    """x with its axes in the given order; None reverses them."""
    return xp.transpose(x, axes)


@transpose.check
def _(x: Array, axes: tuple[int, ...] | None) -> None:
    if axes is not None and sorted(a % max(x.ndim, 1) for a in axes) != list(range(x.ndim)):
        raise ValueError(
            f"transpose: axes {axes} are not an order of the {x.ndim} axes of shape {x.shape}; "
            "name each axis once"
        )


def _undo_transpose(g: Tensor, axes: Shape | None) -> Tensor:
    if axes is None:
        return transpose(g)
    order = [a % g.ndim for a in axes]
    inverse = tuple(sorted(range(g.ndim), key=order.__getitem__))
    return transpose(g, axes=inverse)


transpose.vjp(x=_undo_transpose)


@primitive(moves="axes")
def swapaxes(xp: XP, x: Array, *, axis1: int, axis2: int) -> Array:
    """x with two axes exchanged."""
    return xp.swapaxes(x, axis1, axis2)


@swapaxes.check
def _(x: Array, axis1: int, axis2: int) -> None:
    normal_axes("swapaxes", axis1, x.ndim)
    normal_axes("swapaxes", axis2, x.ndim)


swapaxes.vjp(x=lambda g, axis1, axis2: swapaxes(g, axis1=axis1, axis2=axis2))


@primitive(moves="shape", axes=True)
def expand_dims(xp: XP, x: Array, *, axis: int | Shape) -> Array:
    """x with new axes of size 1, at `axis` of the result."""
    return xp.expand_dims(x, axis)


@expand_dims.check
def _(x: Array, axis: int | tuple[int, ...]) -> None:
    normal_axes("expand_dims", axis, x.ndim + (1 if isinstance(axis, INTEGER) else len(axis)))


expand_dims.vjp(x=lambda g, x_shape: reshape(g, shape=x_shape))


@primitive(moves="shape", axes=True)
def squeeze(xp: XP, x: Array, *, axis: int | Shape | None = None) -> Array:
    """x without the given axes of size 1 (None: all of them)."""
    return xp.squeeze(x, axis)


@squeeze.check
def _(x: Array, axis: int | tuple[int, ...] | None) -> None:
    for a in () if axis is None else normal_axes("squeeze", axis, x.ndim):
        if x.shape[a] != 1:
            raise ValueError(
                f"squeeze: axis {a} of shape {x.shape} has size {x.shape[a]}, expected 1"
            )


squeeze.vjp(x=lambda g, x_shape: reshape(g, shape=x_shape))


@primitive(axes=True)
def flip(xp: XP, x: Array, *, axis: int | Shape | None = None) -> Array:
    """x with the order reversed along the given axes (None: all)."""
    return xp.flip(x, axis)


flip.check(axes_fit("flip"))
flip.vjp(x=lambda g, axis: flip(g, axis=axis))


# ---- parts and wholes ----------------------------------------------------------------------------


@primitive(moves="joined")
def concat(xp: XP, *xs: Array, axis: int = 0) -> Array:
    """The arrays one after the other along an axis."""
    return xp.concatenate(xs, axis=axis)


def _parts(g: Tensor, xs_shape: tuple[Shape, ...], axis: int) -> tuple[Tensor, ...]:
    """g cut into pieces of the sizes that were joined."""
    parts, start = [], 0
    for shape in xs_shape:
        stop = start + shape[axis]
        parts.append(slice_axis(g, axis, start, stop))
        start = stop
    return tuple(parts)


concat.vjp(xs=_parts)


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """The tensors one after the other along `axis`; their other sizes must be equal."""
    xs = [as_tensor(x) for x in tensors]
    joined("concatenate", xs, axis)
    return concat(*xs, axis=axis)


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis."""
    xs = [as_tensor(x) for x in tensors]
    joined("stack", xs, None)
    return concatenate([expand_dims(x, axis=axis) for x in xs], axis=axis)


# A basic index is kept as a tuple that can be hashed: ("int", i), ("new",), ("slice", a, b, step).
Index = tuple[tuple[Any, ...], ...]


def _to_numpy_index(index: Index) -> tuple[Any, ...]:
    turn = {"int": lambda i: i, "new": lambda: None, "slice": slice}
    return tuple(turn[kind](*rest) for kind, *rest in index)  # type: ignore[operator]


@primitive
def basic_slice(xp: XP, x: Array, *, index: Index) -> Array:
    """x[index] for integers, slices and new axes."""
    return x[_to_numpy_index(index)]


@primitive
def place(xp: XP, x: Array, *, index: Index, shape: Shape) -> Array:
    """Zeros of `shape` with x at [index]: the adjoint of basic_slice."""
    out = xp.zeros(shape, x.dtype)
    out[_to_numpy_index(index)] = x
    return out


basic_slice.vjp(x=lambda g, index, x_shape: place(g, index=index, shape=x_shape))
place.vjp(x=lambda g, index: basic_slice(g, index=index))


def slice_axis(x: Tensor, axis: int, start: int, stop: int) -> Tensor:
    """x[..., start:stop, ...] along one axis."""
    everything = ("slice", None, None, None)
    index = tuple(
        ("slice", start, stop, None) if a == axis % x.ndim else everything for a in range(x.ndim)
    )
    return basic_slice(x, index=index)


@primitive
def surround(
    xp: XP, x: Array, *, pad_width: tuple[tuple[int, int], ...], value: float = 0.0
) -> Array:
    """x surrounded by `value`: (before, after) counts for each axis."""
    sizes = tuple(before + n + after for n, (before, after) in zip(x.shape, pad_width, strict=True))
    out = xp.full(sizes, value, x.dtype)
    out[tuple(slice(b, b + n) for n, (b, _) in zip(x.shape, pad_width, strict=True))] = x
    return out


@surround.check
def _counts(x: Array, pad_width: tuple[tuple[int, int], ...], value: float) -> None:
    integers_stay("pad", x, value=value or None)  # 0.0 is the default
    pairs = isinstance(pad_width, tuple) and all(
        isinstance(p, tuple) and len(p) == 2 and min(p) >= 0 for p in pad_width
    )
    if not pairs or len(pad_width) != x.ndim:
        raise ValueError(
            f"pad: pad_width {pad_width} for shape {x.shape}; expected a pair (before, after) of "
            f"counts >= 0 for each of the {x.ndim} axes"
        )


def _unpad(g: Tensor, x_shape: Shape, pad_width: tuple[tuple[int, int], ...]) -> Tensor:
    index = tuple(
        ("slice", before, before + n, None)
        for (before, _), n in zip(pad_width, x_shape, strict=True)
    )
    return basic_slice(g, index=index)


surround.vjp(x=_unpad)
