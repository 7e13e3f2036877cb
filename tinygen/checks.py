"""What operations refuse, and how they say so.

An operation's arguments are checked once for each new combination of shapes and dtypes; the engine
then remembers that they passed. The first part holds for every primitive, the second is a function
for each operation that has something to refuse of its own, under the operation's name. A message
names the operation, what was met, what was expected, and the next step.
"""

from __future__ import annotations

import inspect
import math
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import backend as backends
from . import spelling
from .backend import Array, Backend, DeviceError
from .graph import Node, clock, state
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
    empty = inspect.Parameter.empty
    lacking = [k for k, v in p.defaults.items() if v is empty and k not in static]
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
    backend = backend_of(p, args)
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
                f"{p.name}: {name} is a tensor {value.shape}; expected a plain value, which has no "
                "gradient: give float(x), or compute it with operations of tensors"
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


def _nobody(_: Any) -> None:
    """No one watches."""


class _Watch(threading.local):
    """Who watches what happens besides operations: tinygen.plan, while it records a step."""

    def __init__(self) -> None:
        self.stop()

    def stop(self) -> None:
        self.keep: Callable[[Array], None] = _nobody  # before an array is changed in place
        self.draws: Callable[[Any], None] = _nobody  # before a generator draws


watch = _Watch()

# Storages changed in place: id of the owning array -> (when, by which primitive, the owner).
changed: dict[int, tuple[int, str, Any]] = {}
replayed: dict[int, Any] = {}  # the plans that ran since: their changes are still to be entered
newest = [0]  # when the last change was: nodes made since need no look


def mark_changed(p: Primitive, args: tuple[Any, ...]) -> None:
    """Remember that the storages of the mutated arguments change now."""
    for name in p.mutates:
        owner = args[p.args.index(name)].owner()
        watch.keep(owner)
        key = id(owner)
        alive = weakref.ref(owner, lambda _, key=key: changed.pop(key, None))  # type: ignore[misc]
        newest[0] = next(clock)
        changed[key] = (newest[0], p.name, alive)


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
    part = first is not None and first.recipe.__class__ is int  # one of several outputs
    again = node is first or (part and node in first.parents)  # type: ignore[union-attr]
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


_PARTS = (
    "primitive", "fused", "graph", "tensor", "protocols", "ops", "testing", "checks", "plan",
    "backend", "random", "spelling",
)  # fmt: skip
_ENGINE = (str(Path(np.__file__).parent), *(str(Path(__file__).parent / p) for p in _PARTS))


_PACKAGES = (str(Path(np.__file__).parent), str(Path(__file__).parent))
_within: dict[str, bool] = {}  # by file: whether it is of tinygen or NumPy


class CalledAt(NamedTuple):
    """A place in a program; which line it is, is found out when it is printed."""

    code: CodeType
    instruction: int

    def __str__(self) -> str:
        line = list(self.code.co_positions())[self.instruction // 2][0]
        return f"{self.code.co_filename}:{line}"


def called_at() -> CalledAt:
    """Where the program of a person (the innermost frame outside tinygen and NumPy) stands."""
    frame: Any = sys._getframe(2)
    while True:
        file = frame.f_code.co_filename
        inside = _within.get(file)
        if inside is None:
            inside = _within[file] = file.startswith(_PACKAGES)
        if not inside or frame.f_back is None:
            return CalledAt(frame.f_code, frame.f_lasti)
        frame = frame.f_back


def user_line() -> str:
    """File and line of the innermost frame that is not the engine's own."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_ENGINE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


# ---- what each operation refuses of its own ------------------------------------------------------

OF_OPERATIONS: dict[str, Callable[..., None]] = {}  # by the operation's name


def _of(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a check for operations; it asks by name for their arguments."""

    def register(check: Callable[..., None]) -> Callable[..., None]:
        OF_OPERATIONS.update(dict.fromkeys(names, check))
        return check

    return register


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


def _axes(name: str) -> Callable[..., None]:
    def check(x: Array, axis: Any) -> None:
        normal_axes(name, axis, x.ndim)

    return check


def _not_empty(name: str) -> Callable[..., None]:
    def check(x: Array, axis: Any) -> None:
        if math.prod(x.shape[a] for a in normal_axes(name, axis, x.ndim)) == 0:
            raise ValueError(
                f"{name}: shape {x.shape} has no elements along axis {axis}; expected at least one"
            )

    return check


OF_OPERATIONS |= {name: _axes(name) for name in ("sum", "cumsum", "flip")}
OF_OPERATIONS |= {
    name: _not_empty(name)
    for name in ("mean", "max", "min", "argmax", "softmax", "logsumexp", "log_softmax")
}


@_of("where")
def _(condition: Array) -> None:
    if condition.__class__ is not bool and getattr(condition, "dtype", None) != np.bool_:
        kind = getattr(condition, "dtype", condition.__class__.__name__)
        raise TypeError(
            f"where: the condition has dtype {kind}, expected bool; compare first, for example "
            "x > 0"
        )


def _whole(name: str, x: Array, **options: float | None) -> None:
    """Refuse to mix integers with a number that is none."""
    for option, value in options.items():
        if x.dtype.kind in "iu" and isinstance(value, (float, np.floating)):
            what = f"x {x.shape} {x.dtype}, {option} = {value!r}"
            raise TypeError(f"{name}: {what}; expected an integer, or x.astype('float32')")


@_of("clip")
def _(x: Array, low: float | None, high: float | None) -> None:
    _whole("clip", x, low=low, high=high)
    if low is not None and high is not None and not low <= high:
        raise ValueError(f"clip: low {low} is above high {high}; expected low <= high")


@_of("broadcast_to")
def _(x: Array, shape: tuple[int, ...]) -> None:
    lead = len(shape) - x.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(x.shape, shape[lead:], strict=True)):
        raise ValueError(
            f"broadcast_to: shape {x.shape} does not broadcast to {shape}; each size, counted "
            "from the last axis, must be equal or 1"
        )


@_of("reshape")
def _(x: Array, shape: int | tuple[int, ...]) -> None:
    sizes = (shape,) if isinstance(shape, INTEGER) else shape
    known, unknown = math.prod(n for n in sizes if n != -1), sizes.count(-1)
    fits = known == x.size if not unknown else known != 0 and x.size % known == 0
    if unknown > 1 or not fits or any(n < -1 for n in sizes):
        raise ValueError(
            f"reshape: shape {x.shape} has {x.size} elements, which do not fit {shape}; expected "
            "an equal number of elements, with at most one -1"
        )


@_of("transpose")
def _(x: Array, axes: tuple[int, ...] | None) -> None:
    if axes is not None and sorted(a % max(x.ndim, 1) for a in axes) != list(range(x.ndim)):
        raise ValueError(
            f"transpose: axes {axes} are not an order of the {x.ndim} axes of shape {x.shape}; "
            "name each axis once"
        )


@_of("swapaxes")
def _(x: Array, axis1: int, axis2: int) -> None:
    normal_axes("swapaxes", axis1, x.ndim)
    normal_axes("swapaxes", axis2, x.ndim)


@_of("expand_dims")
def _(x: Array, axis: int | tuple[int, ...]) -> None:
    normal_axes("expand_dims", axis, x.ndim + (1 if isinstance(axis, INTEGER) else len(axis)))


@_of("squeeze")
def _(x: Array, axis: int | tuple[int, ...] | None) -> None:
    for a in () if axis is None else normal_axes("squeeze", axis, x.ndim):
        if x.shape[a] != 1:
            raise ValueError(
                f"squeeze: axis {a} of shape {x.shape} has size {x.shape[a]}, expected 1"
            )


@_of("pad")
def _(x: Array, pad_width: tuple[tuple[int, int], ...], value: float) -> None:
    _whole("pad", x, value=value or None)  # 0.0 is the default
    pairs = isinstance(pad_width, tuple) and all(
        isinstance(p, tuple) and len(p) == 2 and min(p) >= 0 for p in pad_width
    )
    if not pairs or len(pad_width) != x.ndim:
        raise ValueError(
            f"pad: pad_width {pad_width} for shape {x.shape}; expected a pair (before, after) of "
            f"counts >= 0 for each of the {x.ndim} axes"
        )


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


@_of("matmul_nd")
def _(x: Array, y: Array) -> None:
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(
            f"matmul: inner dimensions differ: x {x.shape} @ y {y.shape}; expected "
            "x.shape[-1] == y.shape[-2]"
        )
    for n, m in zip(x.shape[-3::-1], y.shape[-3::-1], strict=False):
        if n != m and 1 not in (n, m):
            raise ValueError(
                f"matmul: leading axes do not broadcast: x {x.shape} @ y {y.shape}; expected "
                "equal sizes (or 1) before the last two axes"
            )


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


def _channels_first(shape: tuple[int, ...], channels: int) -> bool:
    """Whether (n, a, b, c) must be images with `channels` before the height and the width."""
    return shape[1] == channels and (shape[1] != shape[2] or shape[2] == shape[3])


def features_elsewhere(shape: tuple[int, ...], features: int, images: bool) -> str:
    """The next step where a layer does not find its `features` on the last axis of its input."""
    first = "images are (n, height, width, channels) here: "
    if not images and len(shape) > 2 and math.prod(shape[1:]) == features:
        return "add nn.Flatten() first"
    if len(shape) == 4 and _channels_first(shape, features):
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


def channels_elsewhere(x: tuple[int, ...], w: tuple[int, ...], per_group: int, groups: int) -> str:
    """The next step where images, or a kernel, come with the channels before the sizes."""
    takes = w[2] * (groups if per_group == 2 else 1)
    other = w[1] * groups if per_group == 2 else w[0]  # of (out, in, h, w) and (in, out, h, w)
    if _channels_first(x, takes):
        return "; images are (N, H, W, C) here: x.transpose(0, 2, 3, 1)"
    turned = other != x[3] and _channels_first(x, other)
    if w[0] != w[1] and w[2] == w[3] and (turned or other == x[3]):
        order = "2, 3, 1, 0" if per_group == 2 else "2, 3, 0, 1"
        images = "x.transpose(0, 2, 3, 1) and " if turned else ""
        return f"; sizes come before channels here: {images}w.transpose({order})"
    return ""


def _integers(name: str, indices: Array) -> None:
    kind = np.result_type(getattr(indices, "dtype", indices))
    if kind.kind not in "iu":
        raise TypeError(
            f"{name}: indices have dtype {kind}, expected integers; convert with .astype('int64')"
        )


@_of("take")
def _(x: Array, indices: Array, axis: int) -> None:
    normal_axes("take", axis, x.ndim)
    _integers("take", indices)


def out_of_range(x: Array, axis: int, error: IndexError) -> IndexError:
    return IndexError(
        f"take: {error}; x has shape {x.shape}, expected indices from {-x.shape[axis]} to "
        f"{x.shape[axis] - 1} along axis {axis}"
    )


@_of("scatter_add")
def _(x: Array, indices: Array, axis: int, shape: tuple[int, ...]) -> None:
    (at,) = normal_axes("scatter_add", axis, len(shape))
    _integers("scatter_add", indices)
    wanted = (*shape[:at], *np.shape(indices), *shape[at + 1 :])
    if x.shape != wanted:
        raise ValueError(
            f"scatter_add: x {x.shape} with indices {np.shape(indices)} along axis {axis} of "
            f"{shape}; expected {wanted}"
        )


@_of("one_hot")
def _(labels: Array, classes: int) -> None:
    _integers("one_hot", labels)
    if not isinstance(classes, INTEGER) or classes < 1:
        raise ValueError(f"one_hot: classes is {classes!r}; expected an integer >= 1")


def label_range(labels: Array, classes: int) -> None:
    """Refuse labels outside [0, classes): checked at each call, since it depends on the values."""
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if low < 0 or high >= classes:
        hint = "; classes count from 0: labels - 1" if (low, high) == (1, classes) else ""
        what = f"labels from {low} to {high}, expected from 0 to {classes - 1}"
        raise ValueError(f"one_hot: {what}{hint}")


def index(shape: tuple[int, ...], items: Sequence[Any]) -> None:
    """Refuse what x[...] does not take, given the items between its brackets."""
    used = sum(1 for i in items if i is not None and i is not Ellipsis)
    if sum(i is Ellipsis for i in items) > 1:
        raise IndexError("getitem: `...` appears twice, expected at most once")
    if used > len(shape):
        raise IndexError(
            f"getitem: {used} indices for shape {shape}, expected at most {len(shape)}"
        )


def index_within(shape: tuple[int, ...], axis: int, i: int) -> None:
    """Refuse an integer index beyond its axis."""
    n = shape[axis]
    if not -n <= i < n:
        raise IndexError(
            f"getitem: index {i} is outside axis {axis} of shape {shape}; expected from {-n} to "
            f"{n - 1}"
        )


def index_array(indices: Tensor, first: bool) -> None:
    """Refuse a boolean mask, and a second array of indices."""
    if indices.dtype.kind == "b":
        raise TypeError(
            "getitem: a boolean mask gives a shape that depends on the data; use "
            "tinygen.where(mask, x, 0.0)"
        )
    if not first:
        raise TypeError(
            "getitem: more than one array of indices; index one axis at a time, or use take on a "
            "reshaped tensor"
        )
