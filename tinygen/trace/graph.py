"""A recording by value: what a function computes from its arguments, for a batch of any size.

    graph = trace.record(draw, lambda n: (noise(n), labels(n)))

The function is recorded for batches of 2, 3 and 5. What differs between these recordings must be an
integer a n + b of the batch's size n: an Affine stands for it. Constants are what the function
reads without having made it. A recording that changes something, draws, or depends on values has
no graph: what it meets is refused by the operation's name and the line that calls it.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import backend as backends
from ..backend import Backend
from ..graph import no_grad
from ..primitive import PRIMITIVES, Primitive
from ..tensor import Tensor
from ..traits import Traits
from .record import Call, Recorder, Recording, Value

SIZES = (2, 3, 5)  # of the batches that are recorded: two could agree by chance
LARGEST = 2**31  # integers beyond it do not fit the forms that have 32 bits


class Refused(ValueError):  # noqa: N818  (the function is refused; nothing failed)
    """A function that has no graph; says which operation, where, and what to do."""


@dataclass(frozen=True)
class Affine:
    """a n + b of the batch's size n."""

    a: int
    b: int

    def __str__(self) -> str:
        times = "n" if self.a == 1 else f"{self.a} n"
        return times if not self.b else f"{times} {'+' if self.b > 0 else '-'} {abs(self.b)}"

    def at(self, n: int) -> int:
        return self.a * n + self.b


Size = int | Affine


@dataclass(eq=False)
class Var:
    """An array of the graph: an argument, the result of an operation, or a constant.

    Attributes:
        shape: sizes, of which any may be Affine.
        dtype: its name. A Python number has the dtype that it takes from the arrays beside it.
        const: its values, where they are known. A constant of float32 that was folded is in
            float64 until it is stored.
        name: of an argument, or a parameter's path in its module.
    """

    shape: tuple[Size, ...]
    dtype: str
    const: NDArray[Any] | None = None
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name or self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(eq=False)
class Op:
    """One operation. `args` has None for an argument that was left out. `static` has every option.

    `body` is what a fused operation computes; its operations name the arguments themselves. The
    body of `repeat`, a loop of `n` turns, has i and the state as inputs and the next state as
    outputs, and may read whatever is known before the loop.
    """

    name: str
    args: list[Var | None]
    static: dict[str, Any]
    outs: list[Var]
    line: str = ""
    body: Graph | None = None

    @property
    def traits(self) -> Traits:
        """What it is; `repeat` and `slice` are the graph's own, and no primitive's."""
        p = PRIMITIVES.get(self.name)
        return Traits() if p is None else p.traits

    @property
    def weight(self) -> Var | None:
        """Of a product, the matrix or kernel that its first argument is multiplied by."""
        return self.args[1] if self.traits.weighs else None

    def __str__(self) -> str:
        outs, args = (", ".join(map(str, vs)) for vs in (self.outs, self.args))
        options = "".join(f", {k}={v}" for k, v in self.static.items())
        return f"{outs} = {self.name}({args}{options})"


@dataclass(frozen=True)
class Turns:
    """How often a loop turns: a times an argument of the graph plus b, not below 0."""

    argument: Var
    a: int
    b: int

    def of(self, value: Any) -> int:
        return max(0, self.a * int(value) + self.b)


@dataclass
class Graph:
    """Operations in the order in which they are done."""

    inputs: list[Var]
    ops: list[Op] = field(default_factory=list)
    outputs: list[Var] = field(default_factory=list)

    def every(self) -> Iterator[Op]:
        """All operations, those of bodies too."""
        for op in self.ops:
            yield op
            if op.body is not None:
                yield from op.body.every()

    def __str__(self) -> str:
        return "\n".join(map(str, self.ops))


def record(
    function: Callable[..., Any], make: Callable[[int], Sequence[Tensor]],
    names: Sequence[str] = (), who: str = "record",
) -> Graph:  # fmt: skip
    """The graph of function(*make(n)), which returns a tensor or a tuple of tensors.

    Args:
        function: of tensors, without gradients.
        make: arguments for a batch of n.
        names: of the arguments.
        who: whom a refusal speaks for.

    Raises:
        Refused: the function draws, changes state, has another list of operations for another
            batch, a constant of the batch's size, or a size that is not a n + b; names the
            operation and the line.
        RuntimeError: it reads a value, or makes a tensor from host data.
    """
    graphs = [once(function, make(n), names, who) for n in SIZES]
    for same in zip(*(g.inputs for g in graphs), strict=True):
        same[0].shape = _affine([v.shape for v in same], f"{who}: the shape of {same[0].name}")
    _unify(graphs, _numbered(graphs), who)
    return graphs[0]


def at(x: Any, n: int) -> Any:
    """A shape or an option for a batch of n."""
    if isinstance(x, Affine):
        return x.at(n)
    if isinstance(x, tuple):
        items = [at(i, n) for i in x]
        return type(x)(*items) if hasattr(x, "_fields") else tuple(items)
    return x


def turns_of(n: int | Turns, value: Callable[[Var], Any]) -> int:
    """How often a loop turns, by the values of the graph's arguments."""
    return n.of(value(n.argument)) if isinstance(n, Turns) else n


def symbolic(x: Any) -> bool:
    """Whether a shape or an option depends on the batch's size."""
    return isinstance(x, Affine) or (isinstance(x, tuple) and any(map(symbolic, x)))


# ---- one recording by value ----------------------------------------------------------------------


@no_grad()
def once(
    function: Callable[..., Any], args: Sequence[Tensor], names: Sequence[str], who: str
) -> Graph:
    backend = backends.current()
    recorder = Recorder(True, backend, who, loops=True)
    fresh = [Tensor(x.data.copy()) for x in args]
    recorder.run(function, fresh, {}, fresh)
    graph = _ByValue(recorder.recording, backend, who).graph(names)
    recorder.forget()
    return graph


class _ByValue:
    """Turns calls on memory into operations on values.

    A layout on a storage is a value as long as nothing is changed in place, which is refused.
    """

    def __init__(self, recording: Recording, backend: Backend, who: str) -> None:
        self.recording, self.backend, self.who = recording, backend, who
        self.names = {id(array): x.name or "" for x, array in recording.captured}
        self.known: ChainMap[Value, Var] = ChainMap()

    def graph(self, names: Sequence[str]) -> Graph:
        result = self.recording.result
        inputs = [self.new(v) for v in self.recording.inputs]
        for k, v in enumerate(inputs):
            v.name = names[k] if k < len(names) else f"in{k}"
        graph = Graph(inputs, self.ops(self.recording.calls))
        outputs = result if isinstance(result, tuple) else (result,)
        graph.outputs = [self.var(v, "the result") for v in outputs]
        return graph

    def new(self, v: Value) -> Var:
        made = self.known[v] = Var(v.shape, v.dtype.name)
        return made

    def var(self, v: Any, where: str) -> Var:
        """The array that a value is; one that is not known is a constant."""
        if not isinstance(v, Value):
            raise Refused(f"{where} is {v!r:.60}; expected a tensor")
        if v not in self.known:
            if v.storage.kind == "temporary":
                raise Refused(f"{where}: it reads {v.text()}, which no operation before it makes")
            array = self.backend.view(v.storage.array, v.offset, v.shape, v.strides, v.dtype)
            const = self.backend.to_host(array)
            if const.dtype.kind in "iu" and const.size and abs(const).max() >= LARGEST:
                raise Refused(f"{where}: a constant of {const.dtype} beyond 2^31")
            made = self.new(v)
            made.const, made.name = const, self.names.get(id(v.storage.array), "")
        return self.known[v]

    def ops(self, calls: list[Call]) -> list[Op]:
        return [self.op(call) for call in calls]

    def op(self, call: Call) -> Op:
        p = call.primitive
        where = f"{self.who}: {call.line}: {p.name}"
        if p.mutates:
            raise Refused(f"{where} changes state; call .eval() on the model first")
        if "base" in p.args and "offset" in p.defaults:
            raise Refused(f"{where} draws random numbers; pass the noise in as an argument")
        args = [self.argument(call, i, where) for i in range(len(call.args))]
        body = None
        if call.body is not None:  # what it names inside stays inside
            self.known = self.known.new_child()
            heads = [self.new(v) for v in call.heads]
            ends = call.ends or call.outs
            body = Graph(heads, self.ops(call.body), [self.var(v, where) for v in ends])
            self.known = self.known.parents
        outs = [self.new(v) for v in call.outs]
        return Op(p.name, args, {**p.defaults, **call.static}, outs, call.line, body)

    def argument(self, call: Call, i: int, where: str) -> Var | None:
        x, p = call.args[i], call.primitive
        if x is None:
            return None
        if isinstance(x, Value):
            made = self.var(x, where)
        else:
            made = Var((), number_dtype(p, call, i), np.array(x))
        place = p.arg(i) in p.traits.places
        if place and made.const is not None and (made.const < 0).any():
            raise Refused(f"{where} counts from the end; give places from 0 up")
        return made


def number_dtype(p: Primitive, call: Call, i: int) -> str:
    """The dtype that a Python number takes: of the arrays that it is computed with."""
    comparison = p.broadcasts and p.nondiff.issuperset(p.args)
    if p.arg(i) in p.nondiff and not comparison:
        return {bool: "bool", int: "int64"}.get(type(call.args[i]), "float32")
    beside = [
        v.dtype.name for k, v in enumerate(call.args)
        if isinstance(v, Value) and (comparison or p.arg(k) not in p.nondiff)
    ]  # fmt: skip
    return beside[0] if beside else call.outs[0].dtype.name


# ---- the batch's size as a symbol ----------------------------------------------------------------


def _affine(values: Sequence[Any], where: str) -> Any:
    """What is equal in all recordings, or a n + b of their sizes."""
    two, three, five = values
    if isinstance(two, (tuple, list)) and all(
        type(v) is type(two) and len(v) == len(two) for v in values
    ):
        items = [_affine(same, where) for same in zip(*values, strict=True)]
        return type(two)(*items) if hasattr(two, "_fields") else tuple(items)
    if repr(two) == repr(three) == repr(five):
        return two
    if all(type(v) is int for v in values):
        a = (three - two) // (SIZES[1] - SIZES[0])
        found = Affine(a, two - a * SIZES[0])
        if [found.at(n) for n in SIZES] == list(values):
            return found
    shown = ", ".join(map(repr, values))
    raise Refused(
        f"{where} is {shown} for batches of {', '.join(map(str, SIZES))}; expected the same, or a "
        "whole number a n + b of the batch's size n"
    )


def _numbered(graphs: Sequence[Graph]) -> list[dict[Var, int]]:
    """Of each recording: its arrays by their place, arguments first."""
    return [{v: i for i, v in enumerate(g.inputs)} for g in graphs]


def _unify(graphs: Sequence[Graph], places: list[dict[Var, int]], who: str) -> None:
    """The first graph with what differs from the others as Affine."""
    for ops in zip(*(g.ops for g in graphs), strict=False):
        first = ops[0]
        where = f"{who}: {first.line}: {first.name}"
        if any(op.name != first.name or len(op.args) != len(first.args) for op in ops):
            _refuse_list(where)
        for k in first.static:
            first.static[k] = _affine([op.static[k] for op in ops], f"{where}: {k}")
        _same_arrays([op.args for op in ops], places, where)
        if first.body is not None:
            bodies = [op.body for op in ops if op.body is not None]
            _same_arrays([body.inputs for body in bodies], places, where)
            _unify(bodies, places, who)
        _same_arrays([op.outs for op in ops], places, where)
    lengths = [len(g.ops) for g in graphs]
    if len(set(lengths)) > 1:
        longest = max(graphs, key=lambda g: len(g.ops)).ops[min(lengths)]
        _refuse_list(f"{who}: {longest.line}: {longest.name}")
    _same_arrays([g.outputs for g in graphs], places, f"{who}: the result")


def _refuse_list(where: str) -> None:
    raise Refused(
        f"{where} is done for one size of the batch and not for another; a loop over the batch, or "
        "a choice by its size, has no graph"
    )


def _same_arrays(
    lists: Sequence[Sequence[Var | None]], places: list[dict[Var, int]], where: str
) -> None:
    """Let the arrays of the first recording have the shapes of all; they must be the same ones."""
    for same in zip(*lists, strict=True):
        if any(v is None for v in same):
            continue
        first: Any = same[0]
        met: list[Any] = [p.setdefault(v, len(p)) for p, v in zip(places, same, strict=True) if v]
        if len(set(met)) > 1:
            _refuse_list(where)
        if first.const is not None and _another(same):
            raise Refused(
                f"{where}: a constant {first} is another one for each size of the batch; make it "
                "from an argument, or before the function is recorded"
            )
        if not symbolic(first.shape):
            first.shape = _affine([v.shape for v in same if v], f"{where}: a shape")


def _another(same: Sequence[Any]) -> bool:
    consts = [v.const for v in same]
    return any(
        c is None or c.shape != consts[0].shape or c.tobytes() != consts[0].tobytes()
        for c in consts
    )


# ---- what it computes ----------------------------------------------------------------------------


@np.errstate(all="ignore")
def evaluate(
    graph: Graph, inputs: Sequence[NDArray[Any]], floats: str = "float32"
) -> dict[Var, NDArray[Any]]:
    """Every array of the graph for these arguments, by the operations' references in NumPy.

    `floats` is the dtype in which what was recorded in float32 is computed.
    """
    xp = backends.get("numpy").xp
    n = batch(graph, inputs)

    def typed(array: Any, dtype: str) -> NDArray[Any]:
        return np.asarray(array).astype(floats if dtype == "float32" else dtype, copy=False)

    found = {v: typed(x, v.dtype) for v, x in zip(graph.inputs, inputs, strict=True)}

    def value(v: Var | None) -> Any:
        if v is None or v.const is None:
            return None if v is None else found[v]
        return typed(v.const, v.dtype)

    def run(ops: list[Op]) -> None:
        for op in ops:
            args = [value(v) for v in op.args]
            static = {k: at(x, n) for k, x in op.static.items()}
            if static.get("dtype") == "float32":
                static["dtype"] = floats
            if op.body is not None:
                made: Any = turns(op.body, turns_of(static["n"], found.__getitem__), args)
            elif op.name == "slice":
                made = args[0][tuple(part(*p) for p in static["parts"])]
            else:
                made = PRIMITIVES[op.name].reference(xp, *args, **static)
            many = made if type(made) is tuple else (made,)
            found.update((v, typed(a, v.dtype)) for v, a in zip(op.outs, many, strict=True))

    def turns(body: Graph, count: int, state: Sequence[Any]) -> tuple[Any, ...]:
        for i in range(count):
            found.update(zip(body.inputs, (np.array(i), *state), strict=True))
            run(body.ops)
            state = [value(v) for v in body.outputs]
        return tuple(state)

    run(graph.ops)
    return found | {v: value(v) for v in graph.outputs if v.const is not None}


def part(start: int, stop: int, step: int) -> slice:
    """A part of the operation `slice`; backwards, a stop of -1 is before the first element."""
    return slice(start, None if step < 0 and stop < 0 else stop, step)


def batch(graph: Graph, inputs: Sequence[Any]) -> int:
    """The size of the batch that these arguments are."""
    for v, x in zip(graph.inputs, inputs, strict=True):
        for size, found in zip(v.shape, x.shape, strict=True):
            if isinstance(size, Affine):
                return int(found - size.b) // size.a
    return 1
