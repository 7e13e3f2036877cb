"""A function's calls, heard while it runs, done again in float64 with a name for each value.

What is done again is what was heard: random numbers are those that were drawn, and a value that was
detached stays so. From then on any value can be changed to see what becomes of the result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import events
from ..callsite import called_at
from ..events import Observer, state, watching
from ..graph import Leaf, Node, recording
from ..nn import Module
from ..primitive import Primitive
from ..tensor import Tensor, tensor
from .formula import Formula, Name, Names, Number, Unknown, call, text

SHORT = 24  # characters of a mask that is written where it is used, without a line of its own


@dataclass
class Way:
    """One path of a slope: what arrives through `through`, and how it is computed."""

    through: Variable
    formula: Formula
    value: Any
    stretched: str = ""


@dataclass(eq=False)
class Variable:
    """A value with a name: an input, a parameter, or the result of a call.

    Attributes:
        formula: how it is computed; None for an input or a parameter.
        tensor: its value in float64, with its node; None where it was not kept.
        said: what stands for it in the formulas of others.
        slope: that of the result with respect to it; None where no gradient arrives.
    """

    name: str
    formula: Formula | None = None
    tensor: Tensor | None = None
    line: str = ""
    module: str = ""
    given: bool = False
    said: Formula = field(default_factory=Unknown)
    live: bool = False
    uses: list[Variable] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)
    slope: Any = None
    difference: Any = None
    verdict: str = ""
    along: Any = None  # of a large array: its slope in a random direction
    notes: list[str] = field(default_factory=list)

    @property
    def value(self) -> Any:
        return None if self.tensor is None else self.tensor.numpy()

    @property
    def leaf(self) -> bool:
        return self.formula is None


class Step(NamedTuple):
    """A call that is done again: on variables (and whether a gradient flows), and on numbers."""

    operation: Primitive
    refs: tuple[tuple[Any, bool], ...]
    static: dict[str, Any]
    outs: tuple[Variable, ...]
    recorded: bool


class _Heard(NamedTuple):
    operation: Primitive
    args: tuple[Any, ...]
    static: dict[str, Any]
    arrays: tuple[Any, ...]
    line: str
    module: str
    recorded: bool


class Listener(Observer):
    """Keeps all calls, those of the bodies of fused operations, and which generators drew."""

    every_operation = True

    def __init__(self) -> None:
        self.calls: list[_Heard] = []
        self._changed: dict[int, tuple[Any, Any]] = {}
        self._drew: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._paths: dict[int, tuple[Module, dict[int, str]]] = {}

    def opens(self, operation: Any) -> bool:
        return True

    def drawing(self, generator: Any) -> None:
        self._drew.setdefault(id(generator), (generator, generator.state_dict()))

    def changing(self, owner: Any) -> None:
        self._changed.setdefault(id(owner), (owner, owner.copy()))

    def rewind(self) -> None:
        """Leave no trace: generators stand where they stood, what was written into is as before."""
        for owner, before in self._changed.values():
            events.changing(owner, "tg.explain")
            owner[...] = before
        for generator, before in self._drew.values():
            generator.load_state_dict(before)

    def called(
        self, operation: Any, args: tuple[Any, ...], static: dict[str, Any], out: Any
    ) -> None:
        arrays = out if out.__class__ is tuple else (out,)
        file, _, line = str(called_at()).rpartition(":")
        at = f"{Path(file).name}:{line}"
        heard = (operation, args, static, arrays, at, self._module(), state.recording)
        self.calls.append(_Heard(*heard))

    def _module(self) -> str:
        """The path of the innermost module that is running, seen from the outermost."""
        frame: Any = sys._getframe(2)
        modules: list[Module] = []
        while frame is not None:
            if frame.f_code.co_varnames[:1] == ("self",):
                found = frame.f_locals.get("self")
                if isinstance(found, Module):
                    modules.append(found)
            frame = frame.f_back
        if not modules:
            return ""
        root = modules[-1]
        if id(root) not in self._paths:
            root.named_parameters()  # their names are what the lines say
            paths = {id(m): path for path, m in root.named_modules().items()}
            self._paths[id(root)] = (root, paths)
        inner = self._paths[id(root)][1].get(id(modules[0]), type(modules[0]).__name__)
        several = len(self._paths) > 1
        return f"{type(root).__name__}.{inner}".rstrip(".") if several else inner


def listen(f: Callable[..., Any], inputs: Mapping[str, Any]) -> tuple[Any, Any, Listener]:
    """Run f on leaves made of the inputs: (the leaves, what it returned, what was heard).

    Numbers are float64. A function that does not take them, whose own tensors are float32, gets
    float32.
    """
    try:
        return _run(f, inputs, None)
    except (TypeError, ValueError) as error:
        if "float32" not in str(error):
            raise
        first: Exception = error
    try:
        return _run(f, inputs, "float32")
    except (TypeError, ValueError):
        raise first from None


def _run(f: Callable[..., Any], inputs: Mapping[str, Any], kind: Any) -> tuple[Any, Any, Listener]:
    leaves = {name: _leaf(name, x, kind) for name, x in inputs.items()}
    listener = Listener()
    try:
        with recording(True), watching(listener):
            return leaves, f(**leaves), listener
    finally:
        listener.rewind()


def _leaf(name: str, x: Any, kind: Any) -> Tensor:
    """An input as a leaf; a tensor keeps its dtype at the first try."""
    wanted = kind or (x.dtype if isinstance(x, Tensor) else "float64")
    values = x.numpy() if isinstance(x, Tensor) else np.asarray(x)
    if values.dtype.kind not in "fiub" or (isinstance(x, Tensor) and values.dtype.kind != "f"):
        raise TypeError(
            f"explain: {name} is of {values.dtype}, which carries no gradient; expected numbers. "
            "What is fixed belongs into the function: lambda x: f(x, labels)"
        )
    return tensor(values, dtype=wanted, requires_grad=True)


class Tape:
    """The calls that a result came from, done again in float64.

    Attributes:
        variables: inputs and parameters first, then results, in the order of the calls.
        steps: the calls.
        y: the result.
    """

    def __init__(self, leaves: Mapping[str, Tensor], y: Any, calls: Sequence[_Heard]) -> None:
        self.variables: list[Variable] = []
        self.steps: list[Step] = []
        self._known: dict[int, Variable] = {}
        self._own: dict[int, Variable] = {}  # by id of the node of an input or a parameter
        self._kept: list[Any] = [leaves, y, calls]  # identities are of use while arrays live
        self._taken = set(leaves)
        self._count = 0
        for name, leaf in leaves.items():
            self._add_leaf(name, leaf, given=True)
        free = (n for n in ("y", "z", "result") if n not in self._taken)
        self._last, self._last_name = id(y.data), next(free)
        for heard in _needed(calls, self._last):
            self._again(heard)
        top = self._known.get(self._last)
        if top is None or top.tensor is None or top.tensor.node is None:
            raise ValueError(
                f"explain: the result does not depend on {' or '.join(leaves)}; is there a "
                ".detach(), a no_grad or a .numpy() on the way?"
            )
        self.y = top

    def _add_leaf(self, name: str, x: Tensor, given: bool) -> Variable:
        leaf = tensor(x.numpy(), dtype="float64", requires_grad=True)
        made = Variable(name, tensor=leaf, given=given, said=Name(name), live=True)
        self._known[id(x.data)] = self._own[id(x.node)] = made
        self.variables.append(made)
        return made

    def _variable(self, x: Tensor) -> Variable:
        """What a tensor is known as; one from outside is a parameter, or a constant."""
        found = self._known.get(id(x.data))
        if found is not None:
            return found
        self._kept.append(x)
        if isinstance(x.node, Leaf):
            name = x.name or f"p{sum(v.leaf and not v.given for v in self.variables) + 1}"
            while name in self._taken:
                name += "'"
            self._taken.add(name)
            return self._add_leaf(name, x, given=False)
        self._known[id(x.data)] = made = Variable("", tensor=_doubled(x.data))
        assert made.tensor is not None
        made.said = Names().of(made.tensor)
        return made

    def _flows(self, x: Any, variable: Variable) -> bool:
        """Whether a gradient flows back along this argument: not through detach()."""
        node = x.node
        if node is None:
            return False
        return node.primitive is not None or self._own.get(id(node)) is variable

    def _again(self, heard: _Heard) -> None:
        """Do a call in float64, and give its results names."""
        operation, _, static, arrays, *_ = heard
        refs: list[tuple[Any, bool]] = []
        for x in heard.args:
            if isinstance(x, Tensor):
                variable = self._variable(x)
                refs.append((variable, self._flows(x, variable)))
            else:
                refs.append((x, False))
        used = [v for v, _ in refs if isinstance(v, Variable)]
        if operation.mutates:
            for name in operation.mutates:
                self._known.pop(id(heard.args[operation.args.index(name)].data), None)
            return
        if id(arrays[0]) in self._known:  # it gave back what it got
            return
        if operation.traits.copies and not operation._unrecorded:
            self._known[id(arrays[0])] = used[0]  # another dtype is the same number
            return
        double = {k: _double(k, v) for k, v in static.items()}
        outs: Any = tuple(map(_doubled, arrays))
        live = any(v.live for v in used)
        if live:
            with recording(heard.recorded):
                out: Any = operation(*map(_value, refs), **double)
            outs = out if out.__class__ is tuple else (out,)
        formula = call(operation, [v.said if isinstance(v, Variable) else Number(v)
                                   for v, _ in refs], double)  # fmt: skip
        made = self._named(heard, formula, outs, used, live)
        if live:
            self.steps.append(Step(operation, tuple(refs), double, made, heard.recorded))

    def _named(
        self, heard: _Heard, formula: Formula, outs: Any, used: list[Variable], live: bool
    ) -> tuple[Variable, ...]:
        """Variables for the results of a call; a short mask has no line of its own."""
        operation = heard.operation
        mask = operation._unrecorded and operation.traits.pointwise and used
        inline = bool(mask) and len(text(formula)) <= SHORT
        constant = not used and not operation.traits.draws  # made of numbers: one of them, mostly
        made = []
        for k, (array, out) in enumerate(zip(heard.arrays, outs, strict=True)):
            name = self._last_name if id(array) == self._last else ""
            if not name and not inline and not constant:
                self._count += k == 0
                while f"v{self._count}" in self._taken:
                    self._count += 1
                name = f"v{self._count}" + (f".{k}" if len(outs) > 1 else "")
            variable = Variable(name, formula, out, heard.line, heard.module, live=live, uses=used)
            constants = Names().of(out.detach()) if constant else formula
            variable.said = Name(name) if name else constants
            self._known[id(array)] = variable
            if name:
                self.variables.append(variable)
            made.append(variable)
        return tuple(made)

    # ---- changing a value ------------------------------------------------------------------------

    def after(self, changed: Variable) -> list[Step]:
        """The steps that a gradient of `changed` comes back through, in order."""
        reached = {id(changed)}
        found = []
        for step in self.steps:
            met = step.recorded and any(flows and id(v) in reached for v, flows in step.refs)
            if met and changed not in step.outs:
                found.append(step)
                reached |= {id(v) for v in step.outs}
        return found

    def result(self, changed: Variable, value: Any, steps: list[Step]) -> float:
        """The result where `changed` has another value, given the steps after it."""
        moved = {id(changed): tensor(value, dtype="float64")}
        with recording(False):
            for step in steps:
                args = (moved.get(id(v), v) if flows else v for v, flows in step.refs)
                out: Any = step.operation(*map(_plain, args), **step.static)
                outs = out if out.__class__ is tuple else (out,)
                moved |= {id(v): x for v, x in zip(step.outs, outs, strict=True)}
        return float(moved.get(id(self.y), self.y.tensor).numpy().sum())  # type: ignore[union-attr]


def _needed(calls: Sequence[_Heard], last: int) -> list[_Heard]:
    """The calls that the array with this identity was made by, and what changed on the way."""
    wanted = {last}
    found = []
    for heard in reversed(calls):
        if heard.operation.mutates or any(id(a) in wanted for a in heard.arrays):
            found.append(heard)
            if not heard.operation.mutates:
                wanted |= {id(x.data) for x in heard.args if isinstance(x, Tensor)}
    return found[::-1]


def _double(name: str, value: Any) -> Any:
    """An option, where it names a dtype float64 in place of float32."""
    return "float64" if name == "dtype" and str(value) == "float32" else value


def _doubled(array: Any) -> Tensor:
    """The values in float64 where they are floats, on the host."""
    values = Tensor(array).numpy()
    return tensor(values, dtype="float64" if values.dtype.kind == "f" else values.dtype)


def _plain(x: Any) -> Any:
    return x.tensor.detach() if isinstance(x, Variable) and x.tensor is not None else x


def _value(ref: tuple[Any, bool]) -> Any:
    x, flows = ref
    return x.tensor if flows and isinstance(x, Variable) else _plain(x)


def nodes(tape: Tape) -> dict[Node, Variable]:
    """The variable of each node."""
    made = [v for step in tape.steps for v in step.outs] + tape.variables
    return {v.tensor.node: v for v in made if v.tensor is not None and v.tensor.node is not None}
