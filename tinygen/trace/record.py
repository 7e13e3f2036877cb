"""Recording: one rehearsal of a step becomes a list of calls on numbered storages.

Every operation passes one dispatch point, where the recorder watches. It sees real arrays, and
tells by their addresses which memory a call reads and writes: an array that lies within known
memory is a view of it, any other is new. What the step reads without having made it is captured:
parameters, moments, generators, constants. A call that makes a view is kept and says so. So is a
fused call, with the calls of its body: each reader decides whether it opens it.

The rehearsal leaves no trace: whatever it changes in place is put back afterwards, and so is the
`.grad` of every leaf from outside. What a step does with such a `.grad` becomes a Leaf: what was
there is an input of the plan, unless the step drops it first; what is left there is a result.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .. import random
from ..backend import Array, Backend
from ..callsite import place, user_line
from ..events import Observer, clock, state, watching
from ..graph import Node
from ..primitive import Primitive
from ..random import Generator
from ..tensor import Tensor
from ..traits import Traits
from .tree import Atom, mapped, refuse_result


@dataclass(eq=False)
class Storage:
    """A piece of memory in the plan.

    Attributes:
        number: its place in the order of appearance.
        nbytes: its size.
        kind: "input" (a tensor argument), "captured" (it exists outside the plan), or "temporary".
        array: for inputs and captured storage, the owning array met in the rehearsal.
    """

    number: int
    nbytes: int
    kind: str
    array: Array | None = None


@dataclass(frozen=True)
class Value(Atom):
    """An array as a call sees it: a layout on a storage."""

    storage: Storage
    offset: int  # bytes from the start of the storage
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie one after the other, in row-major order."""
        expected = self.dtype.itemsize
        for n, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if n != 1 and stride != expected:
                return False
            expected *= n
        return True

    def text(self) -> str:
        return f"{self.dtype.name}{list(self.shape)}"


@dataclass(eq=False)
class Call:
    """One operation of the step.

    `args` holds a Value for each array, Python numbers and None as they are. `body` holds the calls
    of a fused operation's body, where that was watched. `fused` is set by the passes of plan/: what
    a call that stands for several computes.
    """

    primitive: Primitive
    args: list[Any]
    static: dict[str, Any]
    outs: list[Value]
    line: str
    fused: Any = None
    many: bool = False  # whether the operation returns a tuple
    view: bool = False  # whether its results lie in memory that was known before
    body: list[Call] | None = None
    heads: list[Value] = field(default_factory=list)  # of a loop: what i and the state are inside
    ends: list[Value] = field(default_factory=list)  # and what the state is after a turn

    @property
    def name(self) -> str:
        return self.primitive.name if self.fused is None else str(self.fused)

    @property
    def names(self) -> list[str]:
        """The operations that are done."""
        return [self.primitive.name] if self.fused is None else self.fused.names

    @property
    def products(self) -> list[Call]:
        """The matrix products among them."""
        if self.fused is not None:
            return list(self.fused.products)
        return [self] if self.primitive.traits.product else []

    @property
    def mutated(self) -> list[Value]:
        """The arguments that are written in place."""
        if self.fused is not None:
            return list(self.fused.mutated)
        names = self.primitive.args
        return [v for n, v in zip(names, self.args, strict=False) if n in self.primitive.mutates]

    def reads(self) -> Iterator[Storage]:
        for v in self.args:
            if isinstance(v, Value):
                yield v.storage

    def writes(self) -> Iterator[Storage]:
        for v in (*self.outs, *self.mutated):
            yield v.storage


class _Loop:
    """Stands for a primitive in the call that is a loop."""

    name, args, variadic, broadcasts = "repeat", ("state",), True, False
    mutates: frozenset[str] = frozenset()
    nondiff: frozenset[str] = frozenset()
    defaults: ClassVar[dict[str, Any]] = {}
    traits = Traits()

    def arg(self, i: int) -> str:
        return "state"


LOOP: Any = _Loop()


def opened(calls: list[Call]) -> list[Call]:
    """What is to be computed: without views, and the calls of a body in place of the fused call."""
    out: list[Call] = []
    for call in calls:
        if call.body is not None:
            out += opened(call.body)
        elif not call.view:
            out.append(call)
    return out


@dataclass
class Leaf:
    """The .grad of a leaf from outside that the step reads or sets.

    Attributes:
        node: its node in the rehearsal.
        before: its gradient when the step began.
        reads: whether the step uses what was there, or only drops it.
        slot: the memory for what was there, if it is used.
        after: a Value for the gradient that the step leaves, None for none.
        changes: whether the step leaves another than it found.
    """

    node: Node
    before: Tensor | None
    reads: bool
    slot: Tensor | None = None
    after: Any = None
    changes: bool = True


@dataclass
class Recording:
    """What one rehearsal showed."""

    calls: list[Call] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    result: Any = None  # what the step returned, with a Value in place of each tensor
    captured: list[tuple[Tensor, Array]] = field(default_factory=list)
    generators: list[tuple[Generator, Array]] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)


class Recorder(Observer):
    """Watches one rehearsal.

    Args:
        fusing: whether fused operations run by their bodies, which are recorded, whatever kernels
            there are. Without it, one that a kernel takes is recorded as a call without a body, as
            it ran; so is, with it, one that is declared whole.
        backend: where the step computes.
        who: whom a refusal speaks for.
        loops: whether the body of a loop is recorded once, or each of its turns; and whether what
            is declared whole is opened as well: for a file, which has no kernels.
    """

    every_operation = True

    def __init__(
        self, fusing: bool, backend: Backend, who: str = "compile", loops: bool = False
    ) -> None:
        self.fusing = fusing
        self.loops = loops
        self.backend = backend
        self.who = who
        self.recording = Recording()
        self._starts: list[int] = []
        self._known: list[tuple[int, Storage]] = []  # (end, storage), beside _starts
        self.alive: list[Any] = []  # no address is used twice while we record
        self._kept: dict[int, tuple[Array, Array]] = {}
        self._outside: list[tuple[list[Call], Any, Any]] = []  # around fused bodies
        self._count = 0
        self._start = next(clock)  # nodes with a smaller number are from outside
        self._leaves: dict[Node, Leaf] = {}
        self.numbers: dict[Storage, Array] = {}
        self.outside: dict[int, Tensor] = {}  # the tensors that operations met, made before
        self.traced: dict[int, Tensor] = {}  # those of them that were met while recording a graph
        self.by_default: list[Generator] = []  # generators drawn from because none was given
        self._drawn: dict[int, tuple[Generator, int, Array]] = {}

    # ---- memory --------------------------------------------------------------------------------

    def _find(self, array: Array) -> tuple[int, Storage] | None:
        """The known storage that holds an array, with its first address."""
        address = self.backend.address(array)
        i = bisect.bisect_right(self._starts, address) - 1
        if i < 0 or address >= self._known[i][0]:
            return None
        return self._starts[i], self._known[i][1]

    def _add(self, array: Array, kind: str) -> tuple[int, Storage]:
        start, end = self.backend.extent(array)
        self.alive.append(array)
        kept = array if kind != "temporary" else None
        storage = Storage(self._count, end - start, kind, kept)
        self._count += 1
        i = bisect.bisect(self._starts, start)
        self._starts.insert(i, start)
        self._known.insert(i, (end, storage))
        return start, storage

    def value(self, array: Array, kind: str) -> Value:
        """The array as a Value; memory not met before becomes storage of this kind."""
        if array.size == 0:
            self.alive.append(array)
            empty = Storage(self._count, 0, kind, array)
            self._count += 1
            return Value(empty, 0, array.shape, array.strides, array.dtype)
        start, storage = self._find(array) or self._add(array, kind)
        address = self.backend.address(array)
        return Value(storage, address - start, array.shape, array.strides, array.dtype)

    def number(self, array: Array) -> None:
        """A 0-d array that stands for a number of Python's: an input, numbered apart."""
        _, storage = self._add(array, "input")
        storage.number = -1 - len(self.numbers)
        self._count -= 1
        self.numbers[storage] = array

    def known(self, array: Array) -> bool:
        return array.size == 0 or self._find(array) is not None

    # ---- what happens --------------------------------------------------------------------------

    def called(
        self, primitive: Primitive, args: tuple[Any, ...], static: dict[str, Any], out: Any
    ) -> None:
        if state.pulling is not None and state.pulling.number < self._start:
            self._refuse_graph(state.pulling)
        values: list[Any] = []
        for x in args:
            if isinstance(x, Tensor):
                values.append(self.value(x.data, "captured"))
                if values[-1].storage.kind == "captured":
                    self._met(x)
            else:
                values.append(x)
        if primitive.traits.draws:
            base = args[primitive.args.index("base")]
            before = self._drawn.get(id(base))
            if before is not None:
                static = {**static, "offset": static["offset"] - before[1]}
        many = out.__class__ is tuple
        arrays = () if primitive.mutates else out if many else (out,)
        view = bool(arrays) and not [a for a in arrays if not (self.known(a) and a.size)]
        outs = [self.value(a, "temporary") for a in arrays]
        self.recording.calls.append(
            Call(primitive, values, static, outs, _line(), many=many, view=view)
        )

    def opens(self, operation: Any) -> bool:
        return self.fusing and (self.loops or not operation.whole)

    def entering(self, operation: Primitive, args: tuple[Any, ...], static: dict[str, Any]) -> None:
        self._outside.append((self.recording.calls, args, static))
        self.recording.calls = []

    def leaving(self, operation: Primitive, out: Any) -> None:
        body = self.recording.calls
        self.recording.calls, args, static = self._outside.pop()
        if out is None:  # it raised; what was done until then stays
            self.recording.calls.extend(body)
            return
        many = out.__class__ is tuple
        values, outs = (
            [self.value(x.data, "captured") if isinstance(x, Tensor) else x for x in xs]
            for xs in (args, out if many else (out,))
        )
        call = Call(operation, values, static, outs, _line(), many=many, body=body)
        self.recording.calls.append(call)

    def region(
        self, n: int, body: Callable[..., tuple[Tensor, ...]], state: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...] | None:
        """Record the body of a loop once; what stands for its last state. None to run each turn."""
        if not self.loops:
            return None
        line, args = _line(), [self.value(x.data, "captured") for x in state]
        turn = self.backend.xp.zeros((), np.int64)  # memory that each turn writes to
        inside = [Tensor(a) for a in (turn, *(x.data.copy() for x in state))]
        heads = [self.value(x.data, "input") for x in inside]
        outside, self.recording.calls = self.recording.calls, []
        try:
            after = body(*inside)
        finally:
            calls, self.recording.calls = self.recording.calls, outside
        ends = [self.value(x.data, "captured") for x in after]
        results = tuple(Tensor(x.data.copy()) for x in after)
        outs = [self.value(x.data, "temporary") for x in results]
        call = Call(LOOP, args, {"n": n}, outs, line, many=True, body=calls)
        call.heads, call.ends = heads, ends
        outside.append(call)
        return results

    def _met(self, x: Tensor) -> None:
        """An operation met a tensor that no operation of the step made."""
        if x.node is None or x.node.number < self._start:
            if id(x) not in self.outside:
                self.recording.captured.append((x, x.data))
            self.outside[id(x)] = x
            if state.recording:
                self.traced[id(x)] = x

    def grad_used(self, node: Node, reads: bool) -> None:
        """Before the .grad of a leaf is read or set: of one from outside, the first time counts."""
        if node.number > self._start or node in self._leaves:
            return
        before = GRAD.__get__(node)
        leaf = self._leaves[node] = Leaf(node, before, reads)
        if reads and before is not None:
            leaf.slot = Tensor(before.data.copy())
            self.value(leaf.slot.data, "input")
            GRAD.__set__(node, leaf.slot)

    def changing(self, owner: Array) -> None:
        if id(owner) not in self._kept:
            self._kept[id(owner)] = (owner, owner.copy())

    def drawing(self, generator: Generator) -> None:
        if generator is random.known_default() and generator not in self.by_default:
            self.by_default.append(generator)
        if id(generator.base) not in self._drawn:
            self._drawn[id(generator.base)] = (generator, generator.offset, generator.base.data)

    def _refuse_graph(self, node: Node) -> None:
        name = node.primitive.name if node.primitive is not None else "a leaf"
        raise RuntimeError(
            f"{self.who}: {user_line()} takes a gradient through the result of {name}, which "
            "was made before the step; a replay cannot run that part: compute it inside the step, "
            "or pass x.detach()"
        )

    def joined(self, other: Observer) -> None:
        if other.of_the_step:
            return
        raise RuntimeError(
            f"{self.who}: {user_line()} begins to watch ({type(other).__name__}) within a "
            "compiled function, whose replays show no operation; put the block around the call of "
            "the compiled function"
        )

    def crossing(self, what: str) -> None:
        line = place()
        if what == "read":
            cure = ", or take this function out of tg.compile" if self.who == "compile" else ""
            raise RuntimeError(
                f"{self.who}: {line} reads a value inside the step (float(x), x.item(), x.numpy(), "
                "x.data or a condition on a tensor), which a plan would freeze; return the tensor "
                f"from the step and read it after{cure}"
            )
        raise RuntimeError(
            f"{self.who}: {line} makes a tensor from host data inside the step, which a plan would "
            "freeze; make it before the step and pass it as an argument, or draw it from a tinygen "
            "Generator; make optimizers and layers, and set learning rates, before the step, too"
        )

    # ---- the rehearsal -------------------------------------------------------------------------

    def run(self, step: Callable[..., Any], args: Any, kwargs: Any, tensors: list[Tensor]) -> None:
        """Rehearse step(*args, **kwargs), whose tensor arguments are `tensors`."""
        self.recording.inputs = [self.value(x.data, "input") for x in tensors]
        with self._watching():
            result = step(*args, **kwargs)
            for generator, before, _ in list(self._drawn.values()):
                count = generator.offset - before
                generator.offset = before
                random.advance(generator.base, by=count)
            self._end_of_leaves()
        self.recording.result = mapped(result, self._result)
        self.recording.generators = [(g, base) for g, _, base in self._drawn.values()]
        for generator, _ in self.recording.generators:
            generator.settle()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        outer_grads, _gradients.recorder = _gradients.recorder, self
        setattr(Node, "grad", property(_read_grad, _set_grad))  # noqa: B010
        try:
            with watching(self, alone=True):
                yield
        finally:
            setattr(Node, "grad", GRAD)  # noqa: B010
            _gradients.recorder = outer_grads
            for owner, before in self._kept.values():
                owner[...] = before
            for leaf in self._leaves.values():
                leaf.node.grad = leaf.before
            for generator, before, _ in self._drawn.values():
                generator.offset = before

    def _end_of_leaves(self) -> None:
        """What the step leaves in each .grad."""
        for leaf in self._leaves.values():
            left = GRAD.__get__(leaf.node)
            leaf.changes = left is not leaf.slot or not leaf.reads
            if left is not None and leaf.changes:
                leaf.after = self.value(left.data, "captured")
        self.recording.leaves = list(self._leaves.values())

    def forget(self) -> None:
        """Let go of all arrays but those that the calls name; nothing is recorded after that."""
        self.alive.clear()
        self._kept.clear()
        self._starts.clear()
        self._known.clear()

    def _result(self, result: Any) -> Any:
        if isinstance(result, Tensor):
            return self.value(result.data, "captured")
        refuse_result(result)
        return result


def _line() -> str:
    """Where the user called what happens now; of a rule, where its operation was called."""
    return user_line() if state.pulling is None else state.pulling.line or ""


# ---- the .grad of leaves -------------------------------------------------------------------------

GRAD: Any = Node.__dict__["grad"]  # the slot; while we record, a property stands before it


class _Gradients(threading.local):
    recorder: Recorder | None = None


_gradients = _Gradients()


def _read_grad(node: Node) -> Any:
    if _gradients.recorder is not None:
        _gradients.recorder.grad_used(node, True)
    return GRAD.__get__(node)


def _set_grad(node: Node, value: Any) -> None:
    if _gradients.recorder is not None:
        _gradients.recorder.grad_used(node, False)
    GRAD.__set__(node, value)
