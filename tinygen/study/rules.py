"""tg.rules: the table of derivatives, made by running each rule."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import spelling
from ..fused import Fused
from ..ops.conv import Window
from ..primitive import PRIMITIVES, Primitive
from ..tensor import Tensor, tensor
from .formula import Formula, Name, call, operations, references, rule, spoken, text, values_of

# Arguments that are tried until an operation takes them: shapes, and options by their names.
SHAPES: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((2, 3), (2, 3), (2, 3), (2, 3)),
    ((2, 3), (3, 4), (4,)),
    ((2, 3), (3,), (3,)),
    ((2, 4, 4, 4), (4,), (4,)),
    ((2, 4, 4, 4), (2, 4, 4, 4), (4,)),
    ((2, 4, 4, 4), (2, 2, 4, 3)),
    ((2, 4, 4, 4), (2, 2, 4, 4)),
    ((2, 4, 4, 4), (2, 3, 3, 4)),
    ((2, 4, 4, 4), (2, 2, 2, 4)),
    ((2, 3, 3, 4), (2, 4, 4, 4)),
    ((2, 3, 2, 4), (2, 4), (2, 4), (2, 2, 2, 4)),
    ((2, 3, 2, 4), (2, 3, 2, 4), (2, 4), (2, 4), (2, 2, 2, 4)),
    ((2, 3, 4), (2, 3, 4), (2, 3, 4), (2, 3, 4)),
    ((2, 3, 12),),
    ((2, 3, 4), (2, 3, 12)),
    ((2, 1, 3),),
    ((3,), (), ()),
    ((2, 3), (2,), ()),
    ((2, 3), (2, 1)),
)
OPTIONS: dict[str, tuple[Any, ...]] = {
    "axis": (-1, 1, 0, (1,)), "shape": ((2, 3), (3, 2), (4, 3), (2, 4)), "dtype": ("float64",),
    "axes": (None, (1, 0)), "axis1": (0,), "axis2": (1,), "causal": (False,), "heads": (1, 2),
    "kernel": ((2, 2),), "size": ((4, 4), (5, 5)), "window": (Window(), Window((2, 2))),
    "index": ((("slice", 0, 2, None),),), "pad_width": (((1, 1), (0, 0)),), "block": ((2, 2),),
    "n": (3,), "eps": (1e-5,), "groups": (2,), "offset": (0,), "p": (0.5,), "low": (0.5,),
    "high": (2.0,),
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """The slope of a loss with respect to one argument, given g, that with respect to the result.

    Attributes:
        operation: its name.
        argument: the name of the argument.
        forward: the operation on its arguments, as a formula.
        formula: the rule; its text is `str(rule)`.
    """

    operation: str
    argument: str
    forward: Formula
    formula: Formula

    def __str__(self) -> str:
        return text(self.formula)


class Rules(tuple[Rule, ...]):
    """The table; printing it shows it in columns, a notebook shows formulas."""

    def __repr__(self) -> str:
        rows = [("operation", "argument", "rule: g is the slope of the result, ans the result")]
        said = ""
        for r in self:
            rows.append((text(r.forward) if r.operation != said else "", r.argument, str(r)))
            said = r.operation
        widths = [min(44, max(len(row[i]) for row in rows)) for i in range(2)]
        lines = [f"{a.ljust(widths[0])}  {b.ljust(widths[1])}  {c}" for a, b, c in rows]
        return "\n".join([*lines, "", "At kinks and ties: tg.conventions()."])

    __str__ = __repr__

    def _repr_html_(self) -> str:
        from .page import rules_table

        return rules_table(self)


def rules(*which: Any) -> Rules:
    """The rule of each argument of each operation, as formulas.

    Nobody wrote them down: each rule runs on small arrays, and the formula is what it does. An
    operation without a rule of its own, such as gelu, goes back through its body.

        tg.rules("softmax")         # ans (g - sum(g ans, axis=-1, keepdims=True))

    Args:
        which: names of operations, or operations, yours included; where there is none, all but
            those that are themselves the gradient of another.

    Raises:
        ValueError: there is no operation of that name, or it has no gradient.
    """
    known = [p for p in operations() if not spelling.called(p.name).startswith("the gradient of")]
    chosen = [_operation(x) for x in which] if which else known
    found: list[Rule] = []
    for operation in chosen:
        made = rules_of(operation)
        if which and not made:
            raise ValueError(
                f"rules: {operation.name} has no gradient, or takes arguments that no one guessed; "
                "with arguments: tg.explain(lambda x: tg.sum(f(x)), x=...)"
            )
        found += made
    return Rules(found)


def _operation(x: Any) -> Primitive:
    if isinstance(x, Primitive):
        return x
    for end in ("", "_nd", "_n", "_fused"):
        if f"{x}{end}" in PRIMITIVES:
            return PRIMITIVES[f"{x}{end}"]
    name = x if isinstance(x, str) else getattr(x, "__name__", repr(x))
    for operation in operations():
        if spoken(operation.name) == name:
            return operation
    raise ValueError(
        f"rules: no operation is called {name}. tg.rules() lists those that have a gradient; what "
        f"a function of several does, tg.explain(lambda x: tg.sum({name}(x)), x=...) shows"
    )


def rules_of(operation: Primitive) -> list[Rule]:
    """The rules of one operation; none if it has no gradient, or takes nothing that is tried."""
    if operation._unrecorded or (not operation.rules and not operation.rule_for_all
                                 and not isinstance(operation, Fused)):  # fmt: skip
        return []
    for args, static in _tries(operation):
        with contextlib.suppress(TypeError, ValueError, IndexError), references():
            values = values_of(operation, args, static)
            if any(not np.all(np.isfinite(y.numpy())) for y in _several(values["ans"])):
                continue
            wanted = [i for i in range(len(args)) if operation.arg(i) not in operation.nondiff]
            formulas = [(i, rule(operation, i, values)) for i in wanted if args[i] is not None]
            names = operation.args
            if operation.variadic:
                names = [f"{names[0]}[{k}]" for k in range(len(args))]
            forward = call(operation, [Name(n) for n in names[: len(args)]], static)
            return [Rule(operation.name, names[i], forward, f) for i, f in formulas]
    return []


def _several(x: Any) -> Sequence[Tensor]:
    return x if isinstance(x, tuple) else (x,)


def _tries(operation: Primitive) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Arguments and options in turn, none of them with a 0, a tie or a kink."""
    asked = [n for n in operation.defaults if n in OPTIONS]
    tried = itertools.product(*(_first_its_own(operation, n) for n in asked))
    choices = [dict(zip(asked, c, strict=True)) for c in tried]
    count = 2 if operation.variadic else len(operation.args)
    for shapes in SHAPES:
        if len(shapes) < count:
            continue
        args = [_argument(operation, i, shape) for i, shape in enumerate(shapes[:count])]
        for static in choices:
            yield args, static


def _first_its_own(operation: Primitive, name: str) -> tuple[Any, ...]:
    """What is tried for an option: its default first; a limit that is left out says nothing."""
    default = operation.defaults[name]
    tell = default is None and name in ("low", "high")
    return OPTIONS[name] if default is inspect.Parameter.empty or tell else (default,)


def _argument(operation: Primitive, i: int, shape: tuple[int, ...]) -> Tensor:
    """Numbers between 0.3 and 1.8, no two of them equal; a mask or places where no slope goes."""
    count = int(np.prod(shape))
    values = np.modf(np.arange(1, count + 1) * 0.618 + 0.2 * i)[0] * 1.5 + 0.3
    if operation.arg(i) not in operation.nondiff:
        return tensor(values.reshape(shape), dtype="float64")
    if operation.traits.draws:  # key and base of a generator
        return tensor([i], dtype="uint64")
    whole = not operation.traits.pointwise
    return tensor((values.reshape(shape) > 1) * 1, dtype="int64" if whole else "bool")
