"""Formulas of what operations and their rules compute, found by watching them run on real values.

No operation brings a text along. A rule is tensor code: it runs on named values while an observer
listens, and each call that it makes becomes a Call on what it was given. The arrays tell who is
who, by their identity.

    rule_text(tg.ops.tanh, 0)           # "g (1 - ans^2)"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..differentiate import grad
from ..events import Observer, watching
from ..graph import Node, recording
from ..primitive import PRIMITIVES, Primitive
from ..spelling import STEPS, called
from ..tensor import Tensor, tensor

WIDTH = 120  # characters of the longest formula; what is deeper in it is left out


# ---- what a formula is ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Name:
    """A value that has a name: a variable, an argument. `slope`: the slope with respect to it."""

    text: str
    slope: bool = False


@dataclass(frozen=True)
class Number:
    """A number, or an array that repeats one."""

    value: Any


@dataclass(frozen=True)
class Values:
    """An array that has no name; of a short row the numbers."""

    shape: tuple[int, ...]
    numbers: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Part:
    """One result of a call that has several."""

    of: Formula
    index: int


@dataclass(frozen=True, eq=False)  # shared by identity: some are large when they are written out
class Call:
    """An operation on formulas, with those options that differ from their defaults."""

    operation: str
    args: tuple[Formula, ...]
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Unknown:
    """A value that was not kept."""


Formula = Name | Number | Values | Part | Call | Unknown


def call(operation: Any, args: Sequence[Formula], static: Mapping[str, Any]) -> Call:
    """The call of an operation."""
    options = {**operation.defaults, **static}
    if operation.traits.draws:  # of a generator: no one reads its key
        args = [x for k, x in enumerate(args) if operation.arg(k) not in operation.nondiff]
        options.pop("offset")
    said = tuple(
        (name, value)
        for name, value in options.items()
        if name != "backend" and not _same(value, operation.defaults.get(name))
    )
    return Call(operation.name, tuple(args), said)


def _same(value: Any, default: Any) -> bool:
    return value.__class__ is default.__class__ and bool(value == default)


# ---- watching ------------------------------------------------------------------------------------


class Names:
    """The formula of each array that is known, by the array's identity."""

    def __init__(self) -> None:
        self._known: dict[int, Formula] = {}
        self._options: dict[int, str] = {}
        self._kept: list[Any] = []  # an identity is of use while the array lives

    def give(self, array: Any, formula: Formula) -> None:
        """From now on the array is this formula."""
        self._known[id(array)] = formula
        self._kept.append(array)

    def give_option(self, value: Any, name: str) -> None:
        """A shape or another option that a rule was given under a name."""
        if isinstance(value, tuple):
            self._options[id(value)] = name
            self._kept.append(value)

    def knows(self, array: Any) -> bool:
        return id(array) in self._known

    def of(self, x: Any) -> Formula:
        """The formula of a tensor, or of a number among the arguments."""
        if not isinstance(x, Tensor):
            return Number(x)
        found = self._known.get(id(x.data))
        if found is not None:
            return found
        values = x.numpy()
        if values.size and values.size < 1 << 16 and (values == values.flat[0]).all():
            return Number(values.flat[0].item())
        short = values.ndim == 1 and values.size <= 3
        return Values(values.shape, tuple(values.tolist()) if short else ())

    def heard(self, operation: Any, args: Any, static: Mapping[str, Any], out: Any) -> None:
        """A call was done: what it gave is now known, unless it gave back what it got."""
        arrays = out if out.__class__ is tuple else (out,)
        if any(self.knows(a) for a in arrays):
            return
        if not any(isinstance(x, Tensor) for x in args):  # made of numbers
            made: list[Formula] = [self.of(Tensor(a)) for a in arrays]
        else:
            named = {k: Name(self._options.get(id(v), "")) for k, v in static.items()}
            options = {k: named[k] if named[k].text else v for k, v in static.items()}
            one = call(operation, [self.of(x) for x in args], options)
            hidden = operation.traits.copies and isinstance(args[0], Tensor)
            whole: Formula = one.args[0] if hidden else one  # another dtype is the same number
            made = (
                [whole] if out.__class__ is not tuple else [Part(one, k) for k in range(len(out))]
            )
        for array, formula in zip(arrays, made, strict=True):
            self.give(array, formula)


class Watch(Observer):
    """Lets `names` know what is computed. A fused operation is one call, whatever its body does."""

    every_operation = True

    def __init__(self, names: Names) -> None:
        self.names = names
        self._inside: list[tuple[Any, ...]] = []  # calls of fused operations whose bodies run

    def opens(self, operation: Any) -> bool:
        return True

    def entering(self, operation: Any, args: tuple[Any, ...], static: dict[str, Any]) -> None:
        self._inside.append((operation, args, static))

    def leaving(self, operation: Any, out: Any) -> None:
        operation, args, static = self._inside.pop()
        if out is not None and not self._inside:
            tensors = out.__class__ is tuple
            self.names.heard(
                operation, args, static, tuple(x.data for x in out) if tensors else out.data
            )

    def called(
        self, operation: Any, args: tuple[Any, ...], static: dict[str, Any], out: Any
    ) -> None:
        if not self._inside:
            self.names.heard(operation, args, static, out)


def values_of(
    operation: Primitive, args: Sequence[Any], static: Mapping[str, Any], out: Any = None
) -> dict[str, Any]:
    """What the rules of a call may ask for, by name: arguments, shapes, options, g (ones), ans.

    Args:
        args: the arguments, as an observer's `called` receives them.
        out: the array or the arrays that the call gave; computed where None.
    """
    tensors = tuple(x.detach() if isinstance(x, Tensor) else x for x in args)
    with recording(False):
        if out is None:
            ans: Any = operation(*tensors, **static)
        else:
            ans = tuple(map(Tensor, out)) if out.__class__ is tuple else Tensor(out)
        ones = [y.ones_like() for y in (ans if isinstance(ans, tuple) else (ans,))]
    g = tuple(ones) if isinstance(ans, tuple) else ones[0]
    found: dict[str, Any] = {**operation.defaults, **static, "g": g, "ans": ans}
    shapes = tuple(getattr(x, "shape", ()) for x in tensors)
    dtypes = tuple(getattr(x, "dtype", None) for x in tensors)
    if operation.variadic:
        name = operation.args[0]
        return {**found, name: tensors, f"{name}_shape": shapes, f"{name}_dtype": dtypes}
    for name, x, shape, dtype in zip(operation.args, tensors, shapes, dtypes, strict=False):
        found |= {name: x, f"{name}_shape": shape, f"{name}_dtype": dtype}
    return found


def rule(operation: Primitive, i: int, values: Mapping[str, Any]) -> Formula:
    """The formula of the cotangent of argument number i, in the names of `values`."""
    function, wanted = operation._rule(operation.arg(i))
    if function is getattr(operation, "body", None):
        function, wanted = _through(operation, i), (*operation.args, *operation.defaults, "g")
    names = Names()
    for name, value in values.items():
        for k, x in enumerate(value) if isinstance(value, tuple) else [(-1, value)]:
            if isinstance(x, Tensor):
                names.give(x.data, Name(name if k < 0 else f"{name}[{k}]"))
        names.give_option(value, name.replace("_shape", ".shape"))
    with recording(False), watching(Watch(names), alone=True):
        out = function(*[values.get(name) for name in wanted])
    return names.of(out[i] if out.__class__ is tuple else out)


def _through(operation: Any, i: int) -> Callable[..., Tensor]:
    """The rule of a fused operation that has none of its own: back through its body."""

    def function(*values: Any) -> Tensor:
        xs, options, g = values[: len(operation.args)], values[len(operation.args) : -1], values[-1]
        with recording(True):
            inner = [x.detach(requires_grad=True) if k == i else x for k, x in enumerate(xs)]
            y = operation.body(*inner, **dict(zip(operation.defaults, options, strict=True)))
        pairs = zip(y, g, strict=True) if isinstance(y, tuple) else [(y, g)]
        ys, gs = map(list, zip(*((a, b) for a, b in pairs if a.node is not None), strict=True))
        return grad(ys, inner[i], gs)[0]

    return function


def rule_text(what: Any, i: int = 0, values: Mapping[str, Any] | Sequence[Any] = ()) -> str:
    """The rule of argument number i as a line of text, in which g is the slope of the result.

    Args:
        what: an operation; or a node, which tells the values that it kept.
        i: the number of the argument.
        values: for an operation what values_of gives, or the arguments alone (then the options are
            at their defaults). Without any, numbers are made up: for operations that take any.

    Raises:
        TypeError: the argument has no rule.
    """
    if isinstance(what, Node):
        operation: Any = what.primitive
        kept = {**_kept(what), **(dict(values) if isinstance(values, Mapping) else {})}
        return text(rule(operation, i, kept))
    if not isinstance(values, Mapping):
        made = [tensor(np.array([0.6, 1.7]) + k) for k in range(what.required)]
        values = values_of(what, list(values) or made, {})
    return text(rule(what, i, values))


def _kept(node: Any) -> dict[str, Any]:
    """What a node kept for its rules, by name, with ones for g."""
    operation, saved = node.primitive, node.saved
    found: dict[str, Any] = {**operation.defaults, **node.static}
    if saved is None:
        raise ValueError(
            f"rule_text: the values of this {operation.name} were released by a backward pass; "
            "call backward(retain_graph=True)"
        )
    for (kind, i), value in zip(node.recipe.saves, saved, strict=True):
        name = operation.arg(i)
        if kind == "ans":
            arrays = isinstance(value, tuple)
            found["ans"] = tuple(map(Tensor, value)) if arrays else Tensor(value)
        else:
            found[name if kind.startswith("value") else f"{name}_{kind.removesuffix('s')}"] = value
    likes = getattr(node, "likes", None)
    shapes = [shape for shape, _ in likes] if likes else [node.shape]
    kinds = [x.dtype for x in found.values() if isinstance(x, Tensor) and x.dtype.kind == "f"]
    kind = kinds[0] if kinds else np.dtype("float32")
    tensors = tuple(tensor(np.ones(shape, kind)) for shape in shapes)
    return {**found, "g": tensors if likes else tensors[0]}


# ---- writing -------------------------------------------------------------------------------------

LOOSE, SUM, QUOTIENT, SIGN, PRODUCT, POWER, ATOM = range(7)  # how tightly a form binds


class Form(NamedTuple):
    """How an operation is written that is no function(of, its, arguments)."""

    form: str
    sign: str
    own: int
    left: int
    right: int


_MUL = Form("infix", " ", PRODUCT, SIGN, PRODUCT)
_DIV = Form("fraction", " / ", QUOTIENT, SIGN, POWER)
SIGNS = {
    "add": Form("infix", " + ", SUM, SUM, QUOTIENT),
    "sub": Form("infix", " - ", SUM, SUM, QUOTIENT),
    "mul": _MUL,
    "guarded_mul": _MUL,
    "div": _DIV,
    "guarded_div": _DIV,
    "matmul_nd": Form("infix", " @ ", QUOTIENT, POWER, POWER),
    "neg": Form("minus", "-", SIGN, PRODUCT, LOOSE),
    "square": Form("squared", "2", POWER, ATOM, ATOM),
    "power_n": Form("power", "n", POWER, ATOM, ATOM),
    "power_xy": Form("power", "", POWER, ATOM, ATOM),
    "sqrt": Form("root", "sqrt", ATOM, LOOSE, LOOSE),
    "abs": Form("bars", "|", ATOM, LOOSE, LOOSE),
    "where": Form("cases", "", LOOSE, SUM, SUM),
    "transpose": Form("turned", "T", POWER, ATOM, LOOSE),
    "swapaxes": Form("turned", "T", POWER, ATOM, LOOSE),
    "less": Form("infix", " < ", LOOSE, SUM, SUM),
    "less_equal": Form("infix", " <= ", LOOSE, SUM, SUM),
    "greater": Form("infix", " > ", LOOSE, SUM, SUM),
    "greater_equal": Form("infix", " >= ", LOOSE, SUM, SUM),
    "equal": Form("infix", " == ", LOOSE, SUM, SUM),
    "not_equal": Form("infix", " != ", LOOSE, SUM, SUM),
    "mask_and": Form("infix", " and ", LOOSE, SUM, SUM),
    "mask_or": Form("infix", " or ", LOOSE, SUM, SUM),
}


class Style:
    """Plain text. latex.py and mathml.py write the same forms in other languages."""

    stacked = False  # fractions and exponents stand above each other, and need no brackets
    cut = "..."

    def name(self, name: Name) -> str:
        return f"g({name.text})" if name.slope else name.text

    def number(self, text: str) -> str:
        return text

    def values(self, shape: tuple[int, ...]) -> str:
        return f"[{'x'.join(map(str, shape))}]"

    def row(self, numbers: list[str]) -> str:
        return f"[{', '.join(numbers)}]"

    def part(self, of: str, index: int) -> str:
        return f"{of}[{index}]"

    def brackets(self, inner: str) -> str:
        return f"({inner})"

    def infix(self, sign: str, x: str, y: str, digit: bool) -> str:
        """`digit`: the right side begins with a number, which would run into the left."""
        return f"{x}{' * ' if sign == ' ' and digit else sign}{y}"

    def minus(self, x: str) -> str:
        return f"-{x}"

    def fraction(self, x: str, y: str) -> str:
        return f"{x} / {y}"

    def power(self, x: str, n: str) -> str:
        return f"{x}^{n}"

    def root(self, x: str) -> str:
        return f"sqrt({x})"

    def bars(self, x: str) -> str:
        return f"|{x}|"

    def cases(self, condition: str, x: str, y: str) -> str:
        return f"{x} if {condition} else {y}"

    def turned(self, x: str) -> str:
        return f"{x}^T"

    def function(self, name: str, args: list[str], options: list[str]) -> str:
        return f"{name}({', '.join([*args, *options])})"


def text(formula: Formula, width: int = WIDTH, level: int = LOOSE) -> str:
    """The formula as one line of ASCII, no longer than `width`: what is deeper is "..."."""
    return write(formula, Style(), depth(formula, width), level)


def depth(formula: Formula, width: int = WIDTH) -> int:
    """How many calls deep a formula is written so that its text is no longer than `width`."""
    found = 1
    while found < 40:
        longer = write(formula, Style(), found + 1)
        if len(longer) > width or longer == write(formula, Style(), found):
            break
        found += 1
    return found


def write(formula: Formula, style: Style, deep: int, level: int = LOOSE) -> str:
    """The formula in a style, in brackets if it binds less tightly than `level`."""
    out, own = _written(formula, style, deep)
    return style.brackets(out) if own < level else out


def _written(formula: Formula, style: Style, deep: int) -> tuple[str, int]:
    if isinstance(formula, Name):
        return style.name(formula), ATOM
    if isinstance(formula, Number):
        negative = isinstance(formula.value, (int, float)) and formula.value < 0
        return style.number(number(formula.value)), SIGN if negative else ATOM
    if isinstance(formula, Values):
        row = [style.number(number(v)) for v in formula.numbers]
        return (style.row(row) if row else style.values(formula.shape)), ATOM
    if isinstance(formula, Part):
        return style.part(write(formula.of, style, deep, ATOM), formula.index), ATOM
    if isinstance(formula, Unknown) or deep <= 0:
        return style.cut, ATOM
    form = SIGNS.get(formula.operation)
    options = dict(formula.options)
    inner = formula.args[0] if form is not None and form.form == "turned" else None
    if isinstance(inner, Call) and (inner.operation, inner.options) == (
        formula.operation,
        formula.options,
    ):  # turned twice
        return _written(inner.args[0], style, deep - 1)
    if form is None or not _fits(form, options):
        args = [write(x, style, deep - 1) for x in formula.args]
        said = [f"{name}={option(value)}" for name, value in options.items()]
        return style.function(spoken(formula.operation), args, said), ATOM
    own = ATOM if style.stacked and form.form == "cases" else form.own
    return _signed(formula, form, options, style, deep - 1), own


def _fits(form: Form, options: dict[str, Any]) -> bool:
    """Whether the form says all of it: of the options, an exponent or the last two axes."""
    if form.form == "turned":
        return sorted(map(str, options.values())) in ([], ["-1", "-2"])
    return not options or form.form == "power"


def _signed(
    formula: Call, form: Form, options: dict[str, Any], style: Style, deep: int
) -> str:  # fmt: skip
    """A call whose operation has a form of its own."""
    over = style.stacked and form.form == "fraction"
    x = write(formula.args[0], style, deep, LOOSE if over else form.left)
    if form.form in ("squared", "power"):
        raised = form.form == "squared" or options
        exponent = Number(options.get("n", 2)) if raised else formula.args[1]
        return style.power(x, write(exponent, style, deep, LOOSE if style.stacked else ATOM))
    if form.form == "cases":
        a, b = (write(v, style, deep, form.right) for v in formula.args[1:])
        return style.cases(write(formula.args[0], style, deep), a, b)
    if len(formula.args) == 1:
        function: Any = getattr(style, form.form)
        return str(function(x))
    y = write(formula.args[1], style, deep, LOOSE if over else form.right)
    if form.form == "fraction":
        return style.fraction(x, y)
    plain = write(formula.args[1], Style(), 2, form.right)
    return style.infix(form.sign, x, y, plain[:1].isdigit())


def spoken(operation: str) -> str:
    """An operation by the name that a person called, where that is one word and means the same.

    tg.norm is the root of sum_of_squares: the sum, which is one step of it, keeps its own name.
    """
    name = called(operation).rpartition(".")[2]
    return name if name.isidentifier() and operation not in STEPS else operation


def number(value: Any) -> str:
    """A number with four digits, without what can be left out."""
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return str(value)


def option(value: Any) -> str:
    """An option's value; of a named tuple what differs from its defaults, of an index its text."""
    if isinstance(value, Name):
        return value.text
    if isinstance(value, tuple) and value and all(map(_of_index, value)):
        return f"[{', '.join(map(_index, value))}]"
    defaults = getattr(value, "_field_defaults", None)
    if defaults:
        pairs = value._asdict().items()
        more = ", ".join(f"{k}={option(v)}" for k, v in pairs if v != defaults.get(k))
        return f"({more})"
    return number(value)


def _of_index(x: Any) -> bool:
    """Whether it is a part of an index, as basic_slice keeps it: its kind, and numbers."""
    return isinstance(x, tuple) and bool(x) and isinstance(x[0], str)


def _index(part: tuple[Any, ...]) -> str:
    kind, *rest = part
    if len(rest) < 3:
        return str(rest[0]) if rest else kind
    start, stop, step = ("" if n is None else str(n) for n in rest)
    return f"{start}:{stop}" + (f":{step}" if step else "")


def references() -> AbstractContextManager[None]:
    """Within the block no kernel runs on this machine's processor: none is compiled for a look."""
    return backend.get("numpy").without_kernels()


def operations() -> list[Primitive]:
    """Every operation that is declared, those of the losses and layers included."""
    from .. import losses, nn, optim  # noqa: F401  (they declare theirs)

    return list(PRIMITIVES.values())
