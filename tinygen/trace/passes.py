"""Passes over a graph: compute what is known before it runs, and leave few kinds of operation.

    simplify(graph)      # all of them, in the order that serves a file best

Constants are computed in float64, by the operations that were recorded and in their order. A
normalisation after a product with constant weights,

    (x W + b - mean) s + beta = x (W s) + ((b - mean) s + beta),

so becomes a part of the weights and one bias.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import backend as backends
from ..primitive import PRIMITIVES
from .graph import Affine, Graph, Op, Refused, Size, Var, symbolic
from .record import LOOP

TINY = 16  # elements of a constant that is compared by value


def simplify(graph: Graph) -> Graph:
    """The graph (itself, changed) after all passes."""
    expand(graph)
    drop_dead(graph)
    fold_constants(graph)
    fold_norms(graph)
    canonical(graph)
    merge_equal(graph)
    drop_dead(graph)
    return graph


def expand(graph: Graph) -> None:
    """The operations of its body in place of each fused one; no loop of no turns."""
    renamed: dict[Var, Var] = {}
    ops: list[Op] = []
    for op in graph.ops:
        _rename(op, renamed)
        if op.name == LOOP.name and op.static["n"] == 0:
            renamed.update((v, x) for v, x in zip(op.outs, op.args, strict=True) if x is not None)
            continue
        if op.name == LOOP.name and op.body is not None:
            expand(op.body)
        elif op.body is not None:
            expand(op.body)
            ops += op.body.ops
            renamed.update(zip(op.outs, op.body.outputs, strict=True))
            continue
        ops.append(op)
    graph.ops = ops
    graph.outputs = [renamed.get(v, v) for v in graph.outputs]


def _rename(op: Op, renamed: dict[Var, Var]) -> None:
    op.args = [renamed.get(v, v) if v is not None else None for v in op.args]
    if op.body is not None:
        for inner in op.body.ops:
            _rename(inner, renamed)
        op.body.outputs = [renamed.get(v, v) for v in op.body.outputs]


def drop_dead(graph: Graph) -> None:
    """Without the operations whose results nothing reads."""
    live, kept = set(graph.outputs), []
    for op in reversed(graph.ops):
        if not live.isdisjoint(op.outs):
            live.update(v for v in op.args if v is not None)
            kept.append(op)
            if op.body is not None:
                drop_dead(op.body)
                live.update(op.body.outputs)
                live.update(v for inner in op.body.every() for v in inner.args if v is not None)
    graph.ops = kept[::-1]


def merge_equal(graph: Graph) -> None:
    """Without the second of two operations that compute the same from the same arrays."""
    seen: dict[Any, Op] = {}
    renamed: dict[Var, Var] = {}
    kept: list[Op] = []
    for op in graph.ops:
        _rename(op, renamed)
        if op.body is not None:
            merge_equal(op.body)
            kept.append(op)
            continue
        key = (op.name, tuple(map(_identity, op.args)), repr(sorted(op.static.items())))
        first = seen.setdefault(key, op)
        if first is op:
            kept.append(op)
        else:
            renamed.update(zip(op.outs, first.outs, strict=True))
    graph.ops = kept
    graph.outputs = [renamed.get(v, v) for v in graph.outputs]


def _identity(v: Var | None) -> Any:
    """What is equal for arrays that are the same: small constants are if their bits are."""
    if v is None or v.const is None or v.const.size > TINY:
        return v
    return (v.dtype, v.const.dtype.str, v.const.shape, v.const.tobytes())


# ---- constants -----------------------------------------------------------------------------------


@np.errstate(all="ignore")
def fold_constants(graph: Graph) -> None:
    """Operations on constants alone are done now, in float64."""
    xp, kept = backends.get("numpy").xp, []
    for op in graph.ops:
        if op.body is not None:
            fold_constants(op.body)
        known = all(v is None or v.const is not None for v in op.args)
        sizes = symbolic(tuple(op.static.values())) or any(symbolic(v.shape) for v in op.outs)
        if not known or sizes or op.body is not None:
            kept.append(op)
            continue
        static = dict(op.static)
        if static.get("dtype") == "float32":
            static["dtype"] = "float64"
        args = [None if v is None else _wide(v) for v in op.args]
        made = PRIMITIVES[op.name].reference(xp, *args, **static)
        for v, array in zip(op.outs, made if type(made) is tuple else (made,), strict=True):
            v.const = np.array(array, order="C")
    graph.ops = kept


def _wide(v: Var) -> NDArray[Any]:
    """A constant's values, of float32 in float64."""
    assert v.const is not None
    return v.const.astype(np.float64) if v.dtype == "float32" else v.const


# ---- normalisations ------------------------------------------------------------------------------

# (scale, shift) of x scale + shift after this function of it and a constant on its right
_AFTER: dict[str, Callable[[Any, Any, Any], tuple[Any, Any]]] = {
    "add": lambda scale, shift, k: (scale, shift + k),
    "subtract": lambda scale, shift, k: (scale, shift - k),
    "multiply": lambda scale, shift, k: (scale * k, shift * k),
    "divide": lambda scale, shift, k: (scale / k, shift / k),
}


def fold_norms(graph: Graph) -> None:
    """Sums and products with constants of each channel, after a product: in its weights.

    What is left is the product and, where there is something to add, one `add`.
    """
    readers = Counter(v for op in graph.every() for v in op.args)
    readers.update(graph.outputs)
    readers.update(v for op in graph.every() if op.body is not None for v in op.body.outputs)
    _fold_norms(graph, readers)


def _fold_norms(graph: Graph, readers: Counter[Var | None]) -> None:
    made: dict[Var, tuple[Op, Any, Any]] = {}  # by result: the product, scale and shift
    kept: list[Op] = []
    for op in graph.ops:
        if op.body is not None:
            _fold_norms(op.body, readers)
        if op.weight is not None and op.weight.const is not None:
            made[op.outs[0]] = (op, np.float64(1), np.float64(0))
        elif op.traits.ufunc in _AFTER:
            x, k = _with_constant(op, made)
            if k is not None and readers[x] == 1:
                product, scale, shift = made.pop(x)
                product.outs = op.outs
                made[op.outs[0]] = (product, *_AFTER[op.traits.ufunc](scale, shift, k))
                continue
        kept.append(op)
    biases = {product: _fold(product, scale, shift) for product, scale, shift in made.values()}
    graph.ops = []
    for op in kept:
        graph.ops.append(op)
        if op in biases:
            graph.ops += biases[op]


def _with_constant(op: Op, made: dict[Var, Any]) -> tuple[Any, NDArray[Any] | None]:
    """The product's result and the constant (0-d, or one value a channel) that an op has."""
    x, y = op.args
    if op.traits.ufunc in ("add", "multiply") and y in made:
        x, y = y, x
    if x not in made or y is None or y.const is None:
        return x, None
    assert x is not None
    channels, k = x.shape[-1], _wide(y)
    fits = k.size == 1 or (k.size == channels and k.shape[-1] == channels)
    return x, k.reshape(-1 if k.size > 1 else ()) if fits and k.ndim <= len(x.shape) else None


def _fold(product: Op, scale: NDArray[Any], shift: NDArray[Any]) -> list[Op]:
    """Let the weights have the scale; what is to be added after the product."""
    weight: Any = product.args[1]
    if scale.ndim or scale != 1:
        by = _of_weight(product, scale) if scale.ndim else scale
        product.args[1] = Var(weight.shape, weight.dtype, _wide(weight) * by, weight.name)
    if not shift.ndim and not shift:
        return []
    out = product.outs[0]
    channels: Any = out.shape[-1]
    bias = Var((channels,), out.dtype, np.broadcast_to(shift, channels).astype(np.float64))
    product.outs = [Var(out.shape, out.dtype)]
    return [Op("add", [product.outs[0], bias], {}, [out], product.line)]


def _of_weight(product: Op, scale: NDArray[Any]) -> NDArray[Any]:
    """A scale of each output as its weight has it.

    A kernel is (.., inputs, outputs) or, of a transposed window in a convolution and of another one
    in the reverse of one, (.., outputs, inputs). That of a reverse has the inputs of all groups and
    the outputs of one.
    """
    if product.traits.convolution is None:
        return scale
    window, back = product.static["window"], not product.traits.convolves
    turned, by = window.transposed != back, scale[None, :]
    if back and window.groups > 1:
        weight: Any = product.args[1]
        inputs = weight.shape[-1 if turned else -2]
        by = np.repeat(scale.reshape(window.groups, -1), inputs // window.groups, axis=0)
    return by.T if turned else by


# ---- fewer kinds of operation --------------------------------------------------------------------


def canonical(graph: Graph) -> None:
    """Each thing is said in one way.

    - What only changes a shape is `reshape`, to sizes without -1; what changes nothing is gone.
    - Axes count from 0, those of sums are sorted tuples; `transpose` names all axes.
    - `basic_slice` is `slice` with a (start, stop, step) for each axis, perhaps with a reshape.
    - `square` and `neg` are `mul`, `cast_discrete` is `cast`, `full` is `broadcast_to`.
    """
    renamed: dict[Var, Var] = {}
    reshaped: dict[Var, Var] = {}  # by result of a reshape: what it was before all reshapes
    ops: list[Op] = []
    for op in graph.ops:
        _rename(op, renamed)
        if op.body is not None:
            canonical(op.body)
        for made in _canonical(op):
            _rename(made, renamed)
            x, out = made.args[0] if made.args else None, made.outs[0]
            if made.traits.moves == "shape" and x is not None:
                made.args[0] = x = reshaped[out] = reshaped.get(x, x)
            if x is not None and _changes_nothing(made, x, out):
                renamed[out] = x
            else:
                ops.append(made)
    graph.ops = ops
    graph.outputs = [renamed.get(v, v) for v in graph.outputs]


def _changes_nothing(op: Op, x: Var, out: Var) -> bool:
    if x.shape != out.shape or x.dtype != out.dtype:
        return False
    whole = op.name == "slice" and all(step == 1 for _, _, step in op.static["parts"])
    return whole or op.traits.copies or op.traits.moves in ("shape", "spread")


def _canonical(op: Op) -> list[Op]:
    traits, static, out = op.traits, op.static, op.outs[0]
    x: Any = op.args[0] if op.args else None
    if op.name in _WRITTEN:
        return _WRITTEN[op.name](op)
    if traits.moves == "shape":
        op.name, op.static = "reshape", {"shape": out.shape}
    elif traits.moves == "spread":
        op.name, op.static = "broadcast_to", {"shape": out.shape}
    elif traits.moves == "axes":
        op.name, op.static = "transpose", {"axes": _order(op, len(x.shape))}
    elif traits.copies:
        op.name = "cast"
    elif "axis" in static:
        op.static = {**static, "axis": _axis(op, static["axis"], len(x.shape))}
    return [op]


def _order(op: Op, ndim: int) -> tuple[int, ...]:
    order = list(range(ndim))
    if "axes" in op.static:
        axes = op.static["axes"]
        return tuple(reversed(order)) if axes is None else tuple(a % ndim for a in axes)
    a, b = op.static["axis1"] % ndim, op.static["axis2"] % ndim
    order[a], order[b] = order[b], order[a]
    return tuple(order)


def _axis(op: Op, axis: Any, ndim: int) -> Any:
    """One axis >= 0; of what takes several, a sorted tuple."""
    if op.traits.axes:
        axes = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        return tuple(sorted(a % ndim for a in axes))
    return axis if axis is None else axis % ndim


def _slices(op: Op) -> list[Op]:
    """x[...] as a slice of each axis, and a reshape where axes come or go."""
    x: Any = op.args[0]
    parts: list[tuple[Size, Size, int]] = []
    shape: list[Size] = []
    for kind, *rest in op.static["index"]:
        if kind == "new":
            continue
        size = x.shape[len(parts)]
        if kind == "int":
            start = _from_start(rest[0], size)
            parts.append((start, _plus(start, 1), 1))
        else:
            start, stop, step = rest
            parts.append(_bounds(start, stop, step, size))
        shape.append(_count(*parts[-1]))
    out = op.outs[0]
    cut = Var(tuple(shape), out.dtype)
    first = Op("slice", [x], {"parts": tuple(parts)}, [cut], op.line)
    if cut.shape == out.shape:
        first.outs = [out]
        return [first]
    return [first, Op("reshape", [cut], {"shape": out.shape}, [out], op.line)]


def _full(op: Op) -> list[Op]:
    """Of the size of a batch; others are constants."""
    out = op.outs[0]
    value = Var((), out.dtype, np.array(op.static["value"]))
    return [Op("broadcast_to", [value], {"shape": out.shape}, [out], op.line)]


def _square(op: Op) -> list[Op]:
    return [Op("mul", [op.args[0], op.args[0]], {}, op.outs, op.line)]


def _neg(op: Op) -> list[Op]:
    x: Any = op.args[0]
    return [Op("mul", [x, Var((), x.dtype, np.array(-1))], {}, op.outs, op.line)]


# rows: operations that are written by others
_WRITTEN: dict[str, Callable[[Op], list[Op]]] = {
    "basic_slice": _slices, "full": _full, "neg": _neg, "square": _square,
}  # fmt: skip


def _plus(x: Size, y: Size) -> Size:
    if isinstance(x, int) and isinstance(y, int):
        return x + y
    a, b = (v if isinstance(v, Affine) else Affine(0, v) for v in (x, y))
    total = Affine(a.a + b.a, a.b + b.b)
    return total if total.a else total.b


def _from_start(i: Size, size: Size) -> Size:
    """A place counted from 0; below 0, for a batch as large as it may be, is from the end."""
    below = i.a < 0 if isinstance(i, Affine) else i < 0
    return _plus(size, i) if below else i


def _bounds(start: Any, stop: Any, step: Any, size: Size) -> tuple[Size, Size, int]:
    """The bounds of a slice, within the axis where all is known; a stop below 0 is -1 for none."""
    if all(v is None or isinstance(v, int) for v in (start, stop, size)):
        assert isinstance(size, int)
        return slice(start, stop, step).indices(size)
    step = 1 if step is None else step
    if step < 0:  # its ends are the other way around
        start = _plus(size, -1) if start is None else _from_start(start, size)
        return start, -1 if stop is None else _from_start(stop, size), step
    start = 0 if start is None else _from_start(start, size)
    return start, size if stop is None else _from_start(stop, size), step


def _count(start: Size, stop: Size, step: int) -> Size:
    """How many elements a slice has."""
    span = _plus(stop, _times(start, -1))
    if isinstance(span, int):
        return max(0, -(-span // step))
    if span.a % step or span.b % step:
        raise Refused(f"slice: a step of {step} over {span} elements, a size that is no a n + b")
    return Affine(span.a // step, span.b // step)


def _times(x: Size, by: int) -> Size:
    return x * by if isinstance(x, int) else Affine(x.a * by, x.b * by)
