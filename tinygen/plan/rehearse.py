"""Two rehearsals of a step: what it computes, and what it depends on.

The second must show the same calls as the first, and neither may change what it reads: a plan
would go on with the numbers of the day it was recorded.
"""

from __future__ import annotations

import contextlib
import itertools
import operator
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import Array, Backend
from ..nn.module import Buffer, Parameter, assign
from ..tensor import Tensor
from ..trace.record import Call, Recorder, Storage, Value, opened
from ..trace.tree import is_number, leaves, mapped
from .guard import Guard
from .numbers import Number, Root
from .reads import Reads

Given = tuple[Callable[..., Any], Any, Any, list[Tensor], bool, Backend]  # see rehearse


@dataclass
class Rehearsal:
    """One run of the step, watched.

    Attributes:
        recorder: the calls.
        reads: what Python read; guard: that, to be compared; change: how the step changed it.
        tensors: those that Python could reach.
        slots: a tensor of its own for each tensor argument.
        root: the numbers among the arguments; varying: which of them are state.
        made: the arrays that are without meaning, since kernels were missing; weak references.
    """

    recorder: Recorder
    reads: Reads
    guard: Guard
    change: str | None
    tensors: list[Tensor]
    slots: list[Tensor]
    root: Root
    varying: set[int]
    made: list[Any]


def rehearse(
    step: Callable[..., Any], args: Any, kwargs: Any, tensors: list[Tensor],
    fusing: bool, backend: Backend, varying: set[int], team: Any,
) -> Rehearsal:  # fmt: skip
    """Rehearse step(*args, **kwargs), whose tensor arguments are `tensors`, and see that it keeps.

    Raises:
        RuntimeError: the step depends on something that a plan cannot follow; names it.
    """
    given = (step, args, kwargs, tensors, fusing, backend)
    first = _first(given, team)
    try:
        return _twice(first, given, varying)
    except BaseException:
        first.reads.undo()
        _spoil(first.made)
        raise


def _first(given: Given, team: Any) -> Rehearsal:
    """The first rehearsal; of kernels that are not compiled, it only shows which they are.

    What a step computes does not decide what it does, or it is refused: so the calls are the same.
    """
    try:
        with team.dry() as missing:
            return _once(given, set(), missing)
    except Exception:  # an operation may have refused numbers that a kernel did not make
        if not missing:
            raise
    return _once(given, set())


def _twice(first: Rehearsal, given: Given, varying: set[int]) -> Rehearsal:
    """The second rehearsal, if it shows the same as the first.

    What the first changed in Python stays changed, as a call would leave it: a flag, a cache. The
    second must find all as it leaves it, or every call would change something.
    """
    backend, tensors, second = first.recorder.backend, given[3], None
    first.recorder.forget()  # two at once would take twice the memory
    if varying:  # with numbers as state, if that shows the same calls
        with contextlib.suppress(Exception):
            second = _same(first, given, varying)
    if second is None:
        second = _same(first, given, set())
    before, made = ({s.number: s for s in _captured(r.recorder)} for r in (first, second))
    own = [s for n, s in made.items() if s.array is not before[n].array]
    for s in own:
        if not _equal(s.array, before[s.number].array, backend):
            calls = second.recorder.recording.calls
            _refuse_call(next((c for c in calls if s in set(c.reads())), calls[-1]))
    _refresh(second.recorder, own)
    _refuse_arguments(second, tensors)
    return second


def _same(first: Rehearsal, given: Given, varying: set[int]) -> Rehearsal:
    """A second rehearsal that shows the same and changes nothing more."""
    second = _once(given, varying)
    change = second.change
    try:
        if change is None:
            _refuse_difference(first, second)
            return second
    except RuntimeError:
        if first.change is None:
            raise
    change = first.change or change
    second.reads.undo()
    raise RuntimeError(
        f"compile: the step itself changes what it reads: {change}. A replay runs no Python, "
        "so that would not happen again; return what it needs and do it outside the step, or "
        "keep the number in a Buffer and change it with nn.module.assign"
    )


def _once(given: Given, varying: set[int], missing: Collection[Any] = ()) -> Rehearsal:
    """One rehearsal; `missing` are the kernels that did nothing in it."""
    step, args, kwargs, tensors, fusing, backend = given
    slots = [_slot(x) for x in tensors]
    slot_of = {id(x): slot for x, slot in zip(tensors, slots, strict=True)}
    numbers = [v for v in leaves((args, kwargs)) if is_number(v)]
    root, places = Root(numbers), itertools.count()

    def fill(v: Any) -> Any:
        if not is_number(v):
            return slot_of.get(id(v), v)
        i = next(places)
        return root.number(i) if i in varying else v

    args, kwargs = mapped((args, kwargs), fill)
    held = list(leaves((args, kwargs)))
    recorder, reads = Recorder(fusing, backend), Reads()
    root.made = recorder.number
    try:
        for value in held:
            if not isinstance(value, (Tensor, Number)) or isinstance(value, (Parameter, Buffer)):
                reads.reach(value, "an argument")
        with reads.watching(step):
            recorder.run(step, args, kwargs, slots)
        recorder.recording.calls = opened(recorder.recording.calls)
        if reads.handed is not None:
            raise RuntimeError(
                f"compile: the step hands work to another thread ({reads.handed}), where we cannot "
                "record it; call the functions of the thread in the step itself, or take what it "
                "makes as an argument"
            )
        moved = reads.asked or reads.moved()
        if moved is not None:
            raise RuntimeError(
                f"compile: {moved}. A replay runs no Python, so that would not happen again; do it "
                "outside the step and pass what it gives as an argument, or draw random numbers "
                "from a tinygen Generator"
            )
        guard = reads.guard()
        change = guard.change() or reads.replaced()
    except BaseException:
        reads.undo()
        _spoil(_made(recorder) if missing else [])
        raise
    left = list(leaves((args, kwargs)))
    if len(left) != len(held) or not all(map(operator.is_, left, held)):
        change = "a dict or list among the arguments holds something else"
    found = list(reads.tensors.values())
    made = _made(recorder) if missing else []
    return Rehearsal(recorder, reads, guard, change, found, slots, root, varying, made)


def _made(recorder: Recorder) -> list[Any]:
    """Weak references to the arrays that calls have made."""
    return [
        weakref.ref(array) for array in recorder.alive
        if array.size and recorder.value(array, "").storage.kind == "temporary"
    ]  # fmt: skip


def _spoil(made: list[Any]) -> None:
    """Fill with NaN the numbers without meaning that a refused step may have kept.

    A function that keeps its results, such as one under functools.cache, would go on with them.
    """
    for array in (reference() for reference in made):
        if array is not None and array.dtype.kind == "f" and array.flags.writeable:
            array[...] = np.nan


def _slot(x: Tensor) -> Tensor:
    """A tensor with memory of its own that stands for an argument in the plan."""
    slot = Tensor(x.data.copy())  # in row-major order
    if x.node is not None:
        slot.requires_grad = True
        slot.grad = x.node.grad
    if type(x) is not Tensor:
        made: Tensor = object.__new__(type(x))
        Tensor.__init__(made, slot.data, slot.node)
        return made
    return slot


# ---- what two rehearsals must share --------------------------------------------------------------


def _refuse_difference(first: Rehearsal, second: Rehearsal) -> None:
    """Refuse a step that does something else the second time; numbers may be state in that."""
    one, two = (r.recorder.recording.calls for r in (first, second))
    values = {s: a.item() for s, a in second.recorder.numbers.items()}
    for mine, theirs in zip(one, two, strict=False):
        if _sign(mine, {}, theirs) != _sign(theirs, values, mine):
            _refuse_call(theirs)
    if len(one) != len(two):
        _refuse_call(max(one, two, key=len)[min(len(one), len(two))])
    results = [
        [
            repr(_place(v) if isinstance(v, Value) else v)
            for v in leaves(r.recorder.recording.result)
        ]
        for r in (first, second)
    ]
    if results[0] != results[1]:
        raise RuntimeError(
            f"compile: two runs of the step on the same arguments return different things, "
            f"{results[0]} and {results[1]}; a plan would return the first for ever"
        )


def _refuse_call(call: Call) -> None:
    raise RuntimeError(
        f"compile: two runs of the step on the same arguments differ at {call.line} "
        f"({call.primitive.name}); it depends on something that changes by itself, such as "
        "Python's or NumPy's random numbers, a clock or an iterator, which a plan would freeze; "
        "pass it as an argument, or draw from a tinygen Generator"
    )


def _sign(call: Call, numbers: dict[Storage, Any], other: Call) -> Any:
    """A call, to be compared with that of another rehearsal."""
    values: list[Any] = []
    for v, beside in itertools.zip_longest((*call.args, *call.outs), (*other.args, *other.outs)):
        if isinstance(v, Value) and v.storage in numbers:
            values.append(repr(numbers[v.storage]))
        elif isinstance(v, Value):
            values.append(_place(v))
        elif isinstance(beside, Value) and v is not None:  # a number that is state there
            values.append(repr(np.asarray(v, beside.dtype).item()))
        else:
            values.append(repr(v))
    return (call.primitive.name, values, repr(call.static))


def _place(v: Value) -> Any:
    return (v.storage.number, v.storage.kind, v.offset, v.shape, v.strides, v.dtype)


def _captured(recorder: Recorder) -> list[Storage]:
    """The memory that calls meet and none makes, by number."""
    recording = recorder.recording
    values = [v for c in recording.calls for v in (*c.args, *c.outs)]
    values += [*leaves(recording.result), *(leaf.after for leaf in recording.leaves)]
    found = {v.storage: None for v in values if isinstance(v, Value)}
    return [s for s in found if s.kind == "captured"]


def _equal(a: Array, b: Array, backend: Backend) -> bool:
    x, y = backend.to_host(a), backend.to_host(b)
    return bool(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes())


def _refresh(recorder: Recorder, own: list[Storage]) -> None:
    """Constants that the step makes and then changes in place are set anew at each replay."""
    calls = recorder.recording.calls
    changed = {v.storage for c in calls for v in c.mutated}
    for storage in own:
        if storage in changed and storage.array is not None:
            target, copy = (recorder.value(a, "captured")
                            for a in (storage.array, storage.array.copy()))  # fmt: skip
            calls.insert(0, Call(assign, [target, copy], {}, [], "a constant"))


def _refuse_arguments(rehearsal: Rehearsal, tensors: list[Tensor]) -> None:
    """Refuse arguments whose part in the step a copy cannot play."""
    recorder = rehearsal.recorder
    slots = {v.storage for v in recorder.recording.inputs}
    for call in recorder.recording.calls:
        if any(v.storage in slots for v in call.mutated):
            raise RuntimeError(
                f"compile: {call.line} changes an argument of the step in place "
                f"({call.primitive.name}); make it a Parameter or a Buffer, or return a new tensor"
            )
    nodes = {slot.node: x for slot, x in zip(rehearsal.slots, tensors, strict=True)}
    for leaf in recorder.recording.leaves:
        x = nodes.get(leaf.node)
        if x is not None and x.node is not None and x.node.primitive is not None:
            raise RuntimeError(
                f"compile: a gradient flows into an argument that is the result of "
                f"{x.node.primitive.name}; it would stop there: pass x.detach(), or compute it "
                "inside the step"
            )
