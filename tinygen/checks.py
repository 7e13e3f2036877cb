"""What operations refuse, and how they say so.

An operation's arguments are checked once for each new combination of shapes and dtypes; the engine
then remembers that they passed. Here is what any primitive refuses; what one operation refuses of
its own stands beside it in ops/, under `.check`. A message names the operation, what was met, what
was expected, and the next step.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backend as backends
from . import spelling, traits
from .backend import Array, Backend, DeviceError
from .events import changed, replayed, state
from .graph import Node
from .outputs import Part
from .spelling import called
from .tensor import Tensor

if TYPE_CHECKING:
    from .primitive import Primitive

INTEGER = (int, np.integer)
Checker = tuple[Callable[..., None], tuple[str, ...]]  # a check, and the names it asks for

# ---- declaring a primitive -----------------------------------------------------------------------


def declaration(p: Primitive, before: Primitive | None) -> None:
    """Refuse reserved, unknown and mixed arguments, and the name of another function."""
    if p.variadic and len(p.args) > 1:
        raise TypeError(f"{p.name}: *{p.args[-1]} must be the only array argument")
    for name in (*p.args, *p.defaults):
        if name in ("g", "ans") or name.endswith(("_shape", "_dtype")):
            raise TypeError(
                f"{p.name}: the argument name {name!r} is reserved for rules; rename it"
            )
    traits.check(p)
    for name in p.nondiff | p.mutates:
        if name not in p.args:
            raise TypeError(f"{p.name}: no array argument is called {name!r}")
    if before is not None:
        mine, theirs = ((q.reference.__module__, q.reference.__qualname__) for q in (p, before))
        if mine != theirs:
            raise ValueError(
                f"a primitive called {p.name!r} is registered already, {'.'.join(theirs)}; choose "
                "another name"
            )


def rules(p: Primitive, given: Sequence[str], unnamed: Sequence[Any] = ()) -> None:
    """Refuse rules for a primitive that writes, for unknown arguments, and a missing rule."""
    if unnamed:
        names = ", ".join(f"{a}=lambda g: ..." for a in p.args if a not in p.nondiff)
        raise TypeError(
            f"{p.name}.vjp: {len(unnamed)} rules without a name; name the argument that each "
            f"belongs to: {p.name}.vjp({names})"
        )
    if p.mutates:
        raise TypeError(
            f"{p.name}: it writes into {', '.join(sorted(p.mutates))}, and a primitive that "
            "changes its arguments has no gradient; return new arrays instead"
        )
    for arg in given:
        if arg not in p.args or arg in p.nondiff:
            raise TypeError(f"{p.name}.vjp: {arg!r} is not a differentiable argument")
    missing = [a for a in p.args if a not in given and a not in p.nondiff]
    if missing:
        raise TypeError(
            f"{p.name}.vjp: no rule for {', '.join(missing)}; give one, or declare it nondiff"
        )


def asked(p: Primitive, function: Callable[..., Any], rule: bool) -> tuple[str, ...]:
    """The names that a rule (or a check) asks for; refuses unknown ones."""
    wanted = tuple(inspect.signature(function).parameters)
    known = {*p.args, *p.defaults}
    if rule:
        known |= {"g", "ans", *(a + end for a in p.args for end in ("_shape", "_dtype"))}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise TypeError(
            f"{p.name}: a {'rule' if rule else 'check'} asks for {', '.join(unknown)}; "
            f"it may ask for {', '.join(sorted(known))}"
        )
    return wanted


def no_rule(p: Primitive, arg: str) -> NotImplementedError:
    return NotImplementedError(
        f"{p.name} has no gradient rule for {arg!r}; register one with {p.name}.vjp({arg}=...), "
        "or call it on x.detach()"
    )


# ---- calling one ---------------------------------------------------------------------------------


def by_position(p: Primitive, extra: tuple[Any, ...], static: dict[str, Any]) -> dict[str, Any]:
    """Static arguments given by position, in the order of the declaration, joined with the rest."""
    if len(extra) > len(p.defaults):
        raise TypeError(
            f"{called(p.name)}: {len(p.args) + len(extra)} arguments, expected at most "
            f"{len(p.args) + len(p.defaults)} ({', '.join([*p.args, *p.defaults])})"
        )
    named = dict(zip(p.defaults, extra, strict=False))
    if named.keys() & static.keys():
        twice = ", ".join(sorted(named.keys() & static.keys()))
        raise TypeError(f"{called(p.name)}: {twice} given both by position and by name")
    return {**named, **static}


def frozen(p: Primitive, name: str, value: Any) -> Any:
    """A static argument as a key of what was checked: lists and arrays as tuples."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if isinstance(value, (list, tuple)):
        return tuple(frozen(p, name, v) for v in value)
    if value.__hash__ is None:
        raise TypeError(f"{called(p.name)}: {name} is {value!r}; expected a number or a tuple")
    return value


def arguments(p: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> Backend:
    """Everything that is checked about a call, once a signature; returns the backend it runs on."""
    if not p.variadic and len(args) < p.required:
        raise TypeError(
            f"{called(p.name)}: {len(args)} arguments, expected {p.required} ({', '.join(p.args)})"
        )
    unknown = [name for name in static if name not in p.defaults]
    lacking = [k for k, v in p.defaults.items() if v is inspect.Parameter.empty and k not in static]
    if unknown:
        raise spelling.options(called(p.name), static, p.defaults)
    if lacking:
        raise TypeError(
            f"{called(p.name)}: missing option {', '.join(lacking)}; it takes "
            f"{', '.join(p.defaults)}"
        )
    options(p, static)
    for i, x in enumerate(args):
        if x is None and p.arg(i) not in p.optional:
            raise TypeError(
                f"{called(p.name)}: {p.arg(i)} is None; expected a tensor, an array or a number"
            )
    backend = backend_of(p, args) if p.args else backends.get(static["backend"])
    if p.mutates:
        mutable(p, args)
    else:
        _dtypes(p, args)
    if p.broadcasts:
        try:
            np.broadcast_shapes(*(getattr(x, "shape", ()) for x in args))
        except ValueError:
            raise ValueError(
                f"{called(p.name)}: shapes do not broadcast: {describe(p, args)}; expected equal "
                "sizes (or 1) counted from the last axis; reshape one of them"
            ) from None
    if p.checker is not None:
        checker, wanted = p.checker
        named = {p.args[0]: args} if p.variadic else dict(zip(p.args, args, strict=False))
        have = {**p.defaults, **static, **named}
        checker(**{name: have.get(name) for name in wanted})
    return backend


def options(p: Primitive, static: dict[str, Any]) -> None:
    """Refuse a tensor as an option, whose gradient would be lost."""
    for name, value in static.items():
        if isinstance(value, Tensor):
            raise TypeError(
                f"{called(p.name)}: {name} is a tensor {value.shape}; expected a plain value, "
                "which has no gradient: give float(x), or compute it with operations of tensors"
            )


def backend_of(p: Primitive, args: tuple[Any, ...]) -> Backend:
    """The backend that the tensors among `args` are on; refuses two."""
    found: dict[str, str] = {}
    for i, x in enumerate(args):
        if isinstance(x, Tensor):
            found.setdefault(x.backend.name, p.arg(i))
    if len(found) > 1:
        (a, x), (b, y) = list(found.items())[:2]
        raise DeviceError(
            f"{called(p.name)}: {x} is on {a!r} and {y} on {b!r}; move one with {y}.to({a!r}) or "
            f"{x}.to({b!r})"
        )
    return backends.get(next(iter(found))) if found else backends.current()


def _dtypes(p: Primitive, args: tuple[Any, ...]) -> None:
    comparison = p.broadcasts and p.nondiff.issuperset(p.args)
    free = [x for i, x in enumerate(args) if comparison or p.arg(i) not in p.nondiff]
    kinds = {x.dtype.name for x in free if isinstance(x, Tensor)}
    floats = {k for k in kinds if k.startswith("float")}
    weak_float = any(x.__class__ is float for x in free)
    if len(floats) > 1 or ((floats or weak_float) and kinds - floats):
        raise TypeError(
            f"{called(p.name)}: dtypes do not mix: {describe(p, args)}; expected one "
            "floating-point dtype; convert one side, for example x.astype('float32')"
        )
    if p.floats and kinds - floats:
        raise TypeError(
            f"{called(p.name)}: expected floating-point values, got {describe(p, args)}; convert "
            "with x.astype('float32')"
        )


def describe(p: Primitive, args: tuple[Any, ...]) -> str:
    """The arguments in words: `x (4, 3) float32, y = 2.0`."""
    words = []
    for i, x in enumerate(args):
        name = f"{p.args[0]}[{i}]" if p.variadic else p.arg(i)
        words.append(f"{name} {x.shape} {x.dtype}" if isinstance(x, Tensor) else f"{name} = {x!r}")
    return ", ".join(words)


# ---- changes in place ----------------------------------------------------------------------------


def mutable(p: Primitive, args: tuple[Any, ...]) -> None:
    """Refuse to write into anything but a tensor."""
    for i, x in enumerate(args):
        if p.arg(i) in p.mutates and not isinstance(x, Tensor):
            raise TypeError(
                f"{p.name}: it writes into {p.arg(i)}, which is {type(x).__name__}; "
                "expected a tensor"
            )


def recorded(p: Primitive, args: tuple[Any, ...]) -> None:
    """Refuse to write into, or while recording from, the result of a recorded operation."""
    for i, x in enumerate(args):
        node = x.node if isinstance(x, Tensor) else None
        made = None if node is None else node.primitive
        if made is not None and (state.recording or p.arg(i) in p.mutates):
            raise ValueError(
                f"{called(p.name)}: {p.arg(i)} {x.shape} was recorded for a gradient (it is the "
                f"result of {called(made.name)}), which an in-place change would make wrong; give "
                f"{p.arg(i)}.detach()"
            )


def stale(p: Primitive, node: Node, saved: list[Any]) -> None:
    """Refuse a saved value whose storage changed after it was saved."""
    while replayed:
        replayed.popitem()[1].enter()
    for (kind, i), value in zip(node.recipe.saves, saved, strict=True):
        for v in value if value.__class__ is tuple else (value,):
            array = v.data if isinstance(v, Tensor) else v
            base = getattr(array, "base", None)
            owner = array if base.__class__ is not array.__class__ else base
            change = changed.get(id(owner))
            if change is None or change[0] < node.number:
                continue
            name = "ans" if kind == "ans" else p.arg(i)
            label = f" (parameter {v.name!r})" if isinstance(v, Tensor) and v.name else ""
            raise RuntimeError(
                f"{called(p.name)}: its saved {name}{label} of shape {array.shape} was changed in "
                f"place by {called(change[1])} after it was used; compute the gradient before the "
                "update, or run the forward pass again"
            )


# ---- differentiating -----------------------------------------------------------------------------


def released(p: Primitive, node: Node) -> RuntimeError:
    """A second pass through a node: of the same result, or of one that shares a part with it."""
    first = state.first
    again = node is first or (isinstance(first, Part) and node in first.parents)
    cure = (
        "to differentiate a result twice, call the first pass with retain_graph=True, or compute "
        "the result again"
        if again
        else "that pass went through a part that this result is made from, too. If it should not "
        "train that part (as a discriminator's loss should not train the generator), give it "
        "x.detach() of the part: D(fake.detach()). If both losses should, add them and call "
        "backward once, or call the earlier pass with retain_graph=True"
    )
    where = f", at {node.line}" if node.line else ""
    return RuntimeError(
        f"{called(p.name)}: the values saved for this gradient were released by an earlier "
        f"backward pass{where}; {cure}"
    )


def ruled_anew(p: Primitive) -> RuntimeError:
    return RuntimeError(
        f"{p.name}: its rules were given anew after this result was recorded; run the forward pass "
        "again"
    )


def rule_shape(p: Primitive, i: int, met: Any, expected: Any) -> RuntimeError:
    return RuntimeError(
        f"{called(p.name)}: the rule for {p.arg(i)!r} returned shape {met}, the argument has shape "
        f"{expected}"
    )


def count_of_cotangents(who: str, outputs: Sequence[Any], given: Sequence[Any]) -> None:
    """One cotangent for each output."""
    if len(outputs) != len(given):
        raise ValueError(
            f"{who}: {len(outputs)} outputs but {len(given)} grad_outputs; give one for each "
            "output (None for a scalar)"
        )


def output(who: str, y: Any, g: Any) -> None:
    """Refuse an output without a node, and one that needs a cotangent and has none."""
    if not isinstance(y, Tensor) or y.node is None:
        raise ValueError(
            f"{who}: the output {y!r:.200} carries no gradient: it was not made from any tensor "
            "with requires_grad=True, or was made under no_grad() or from detach(), numpy() or "
            "item(), or is a gradient that was computed without create_graph=True (give it to the "
            "first grad or backward to differentiate twice)"
        )
    if g is None and y.size != 1:
        raise ValueError(
            f"{who}: the output has shape {y.shape}, and a gradient is defined for one number; "
            "reduce it (for example with .sum()) or give grad_outputs"
        )


def cotangent(who: str, y: Tensor, g: Tensor) -> None:
    """Refuse a cotangent of another shape or dtype than its output."""
    if g.shape != y.shape or g.dtype != y.dtype:
        raise ValueError(
            f"{who}: grad_outputs has shape {g.shape} {g.dtype}, its output has shape {y.shape} "
            f"{y.dtype}; they must be equal"
        )


def nodes_of(who: str, inputs: Sequence[Any]) -> list[Node]:
    """The nodes of tensors to differentiate by; refuses one without."""
    for i, x in enumerate(inputs):
        if getattr(x, "node", None) is None:
            raise ValueError(
                f"{who}: input {i} is {x!r}, which carries no gradient; make it with "
                "requires_grad=True before it is used"
            )
    return [x.node for x in inputs]


# ---- what several operations refuse --------------------------------------------------------------


def normal_axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """`axis` (an int, several, or None for all) as sorted axes in [0, ndim)."""
    axes = range(ndim) if axis is None else (axis,) if isinstance(axis, INTEGER) else tuple(axis)
    for a in axes:
        if not isinstance(a, INTEGER) or not -ndim <= a < ndim:
            raise ValueError(
                f"{name}: axis {axis} does not fit an array with {ndim} axes; "
                f"expected integers from {-ndim} to {ndim - 1}"
            )
    normal = tuple(sorted(a % ndim for a in axes))
    if len(set(normal)) < len(normal):
        raise ValueError(f"{name}: axis {axis} names an axis twice; name each once")
    return normal


def axes_fit(name: str) -> Callable[..., None]:
    """A check that x has the axes."""

    def check(x: Array, axis: Any) -> None:
        normal_axes(name, axis, x.ndim)

    return check


def axes_hold_some(name: str) -> Callable[..., None]:
    """A check that x has the axes, and elements along them."""

    def check(x: Array, axis: Any) -> None:
        if math.prod(x.shape[a] for a in normal_axes(name, axis, x.ndim)) == 0:
            raise ValueError(
                f"{name}: shape {x.shape} has no elements along axis {axis}; expected at least one"
            )

    return check


def integers_stay(name: str, x: Array, **options: float | None) -> None:
    """Refuse to mix integers with a number that is none."""
    for option, value in options.items():
        if x.dtype.kind in "iu" and isinstance(value, (float, np.floating)):
            what = f"x {x.shape} {x.dtype}, {option} = {value!r}"
            raise TypeError(f"{name}: {what}; expected an integer, or x.astype('float32')")


def joined(who: str, xs: Sequence[Tensor], axis: int | None) -> None:
    """Refuse to join no tensors, or tensors whose shapes differ (outside `axis`)."""
    if not xs:
        raise ValueError(f"{who}: no tensors given, expected at least one")
    if axis is not None:
        normal_axes(who, axis, xs[0].ndim)
    rest = [[n for a, n in enumerate(x.shape) if axis is None or a != axis % x.ndim] for x in xs]
    if any(x.ndim != xs[0].ndim for x in xs) or any(r != rest[0] for r in rest):
        where = "; expected one shape" if axis is None else f" outside axis {axis}; expected equal"
        shapes = ", ".join(str(x.shape) for x in xs)
        raise ValueError(f"{who}: shapes {shapes} differ{where}{' sizes there' * bool(axis)}")


def no_scalars(x: Tensor, y: Tensor) -> None:
    """Refuse a matrix product with a 0-d operand."""
    if x.ndim == 0 or y.ndim == 0:
        raise ValueError(
            f"matmul: x {x.shape} @ y {y.shape}: a 0-d operand; expected at least one axis each "
            "(use * for scaling)"
        )


def linear(x: Tensor, w: Tensor, b: Tensor | None) -> None:
    """Refuse operands of x @ w + b that do not fit."""
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[0]:
        raise ValueError(
            f"linear: x {x.shape} does not fit w {w.shape}; expected w (in, out) with "
            "x.shape[-1] == in"
        )
    if b is not None and b.shape != w.shape[1:]:
        raise ValueError(f"linear: b {b.shape} does not fit w {w.shape}; expected ({w.shape[1]},)")


def channels_first(shape: tuple[int, ...], channels: int) -> bool:
    """Whether (n, a, b, c) must be images with `channels` before the height and the width."""
    return shape[1] == channels and (shape[1] != shape[2] or shape[2] == shape[3])


def features_elsewhere(shape: tuple[int, ...], features: int, images: bool) -> str:
    """The next step where a layer does not find its `features` on the last axis of its input."""
    first = "images are (n, height, width, channels) here: "
    if not images and len(shape) > 2 and math.prod(shape[1:]) == features:
        return "add nn.Flatten() first"
    if len(shape) == 4 and channels_first(shape, features):
        return f"{first}x.transpose(0, 2, 3, 1)"
    if images and len(shape) == 3 and features == shape[0] != 1:
        return f"{first}x.transpose(1, 2, 0).expand_dims(0)"
    if images and len(shape) == 3 and features == 1:
        return f"{first}x.expand_dims(-1)"
    if images and len(shape) == 2:
        return f"{first}nn.Reshape(height, width, {features}) makes them of rows"
    if len(shape) == 2 and shape[0] == features:
        return "samples are rows here: x.T"
    if len(shape) == 1 and features == 1:
        return "x.expand_dims(-1)"
    return f"the sizes differ: change the layer before it, or the {features} of this one"
