"""`compile`: a training step as a plan: recorded once, then replayed.

    step = tg.compile(step)          # forward, backward and the optimizers' updates
    losses = step(images)            # the first call records; every call replays
    print(step.plan)

Read ../trace/record.py (what a rehearsal shows), reads.py, reach.py, world.py, whose.py, named.py,
guard.py and rehearse.py (what a plan depends on), ../trace/tree.py and numbers.py (arguments and
results), passes.py, fuse.py and products.py (what is made of it), updates.py (what devices add),
arena.py and replay.py (how it runs), table.py (how it prints).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import inspect
import operator
import os
import threading
import types
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import backend as backends
from .. import random
from ..backend import Array
from ..events import state
from ..graph import runs_in_pieces
from ..primitive import revised
from ..tensor import Tensor
from ..trace.record import Call, Leaf, Storage, Value
from ..trace.tree import Same, key, maker, mapped
from . import fuse, passes, products, updates
from .check import checked
from .reach import attributes
from .rehearse import Rehearsal, rehearse
from .replay import Bound, Marks, Memory
from .table import table

__all__ = ["Compiled", "Plan", "compile"]

METHODS = "_compiled_methods"  # the attribute of an instance that keeps them
PLANS = 8  # plans that a function keeps; where it needs more, it says so
_recording = threading.RLock()  # one thread at a time: classes are watched while we record
_data, _node = operator.attrgetter("data"), operator.attrgetter("node")


@dataclass
class Gradient:
    """The .grad of a leaf from outside, before and after a replay.

    Attributes:
        owner: the leaf, or the number of the argument that it is.
        used: whether what was there takes part: then it must be there again, or not again.
        slot: where it is copied to; None where there was none.
        changes: whether the step leaves another than it found.
        after: the array that it leaves; None for none.
    """

    owner: Any
    used: bool
    slot: Array | None
    changes: bool
    after: Array

    def fits(self, tensors: list[Tensor]) -> bool:
        x, slot = self.leaf(tensors), self.slot
        now = x.grad if x.node is None else x.node.grad  # the result of an operation has no .grad
        if now is None or slot is None:
            return now is None and slot is None
        return now.data.__class__ is slot.__class__ and now.dtype == slot.dtype

    def enter(self, tensors: list[Tensor]) -> None:
        self.slot[...] = self.leaf(tensors).grad.data  # type: ignore[index]

    def leave(self, tensors: list[Tensor]) -> None:
        x = self.leaf(tensors)
        if x.node is not None:
            x.node.grad = None if self.after is None else Tensor(self.after.copy())

    def leaf(self, tensors: list[Tensor]) -> Any:
        return tensors[self.owner] if self.owner.__class__ is int else self.owner


class Plan:
    """The calls of one step on fixed memory.

    Attributes:
        calls: what runs, in order.
        recorded: how many calls the rehearsal showed.
        why: what made it necessary to record it.
        arena_bytes: memory of all temporaries; total_bytes: what they would take without reuse.
    """

    def __init__(
        self, seen: Rehearsal, tensors: list[Tensor], fusing: bool, why: str, team: Any
    ) -> None:  # fmt: skip
        backend = self._backend = backends.current()
        recording = seen.recorder.recording
        self.why = why
        self._revised = revised[0]
        self.used = 0  # when it ran last, counted in calls
        self.slots = [x.data for x in seen.slots]
        self.recorded = len(recording.calls)
        self._depends_on(seen)
        needed = _storages(recording.result)
        leaves = [(leaf, *_owner(leaf, seen)) for leaf in recording.leaves]
        changed = {v.storage for call in recording.calls for v in call.mutated}
        kept = [x for x, _, storage in leaves if x.reads or storage not in changed]
        needed |= {x.after.storage for x in kept if x.after is not None}
        calls = passes.fold_constants(recording.calls, backend)
        calls = passes.drop_dead(calls, needed)
        calls, renamed = passes.merge_equal(calls)
        result = mapped(recording.result, lambda v: passes.rename(v, renamed))
        after = [passes.rename(x.after, renamed) if x in kept else None for x, *_ in leaves]
        needed = _storages([result, after])
        if fusing:
            passes.turn_products(calls, needed)
            calls = fuse.fuse(calls, needed, backend)
            calls = products.host(calls, needed)
            if backend.name == "numpy":
                calls = passes.update_early(calls)
                calls = products.join(calls, needed)
            else:
                calls = updates.together(calls)
        self.calls: list[Call] = calls
        self.memory = Memory(calls, needed, backend)
        self.arena_bytes, self.total_bytes = self.memory.arena_bytes, self.memory.total_bytes
        with team.dry() as missing:
            self.bound = [Bound(call, self.memory, backend, not fusing) for call in calls]
        if missing:  # now they have their addresses
            self.bound = [Bound(call, self.memory, backend, not fusing) for call in calls]
        self._steps = backend.sequence(self.bound)
        kernels = [b for b in self.bound if b.kernel is not None]
        self._hits = [*Counter(name for b in kernels for name in b.call.names).items()]
        result, arrays = mapped(
            (result, after), lambda v: self.memory.array(v) if isinstance(v, Value) else v
        )
        self._result = maker(result, self._copied)
        self._gradients = [
            Gradient(owner, x.reads, None if x.slot is None else x.slot.data, x.changes, array)
            for (x, owner, _), array in zip(leaves, arrays, strict=True)
        ]
        self._used = [g for g in self._gradients if g.used]
        self._entering = [g for g in self._gradients if g.slot is not None]
        self._leaving = [g for g in self._gradients if g.changes]

    # ---- what it depends on ----------------------------------------------------------------------

    def _depends_on(self, seen: Rehearsal) -> None:
        recorder, recording = seen.recorder, seen.recorder.recording
        self._guard = seen.guard
        self._root, self.numbers, self.varying = seen.root, seen.root.values, seen.varying
        self._outside = [x for x, _ in recording.captured]
        self._arrays = [array for _, array in recording.captured]
        reached = {id(x): x for x in seen.tensors}
        self._traced = list({**recorder.traced, **reached}.values())
        self._nodes = [x.node for x in self._traced]
        self.generators = recording.generators
        self._keys = [g.key.data for g, _ in self.generators]
        self._by_default = recorder.by_default
        self._met = set(map(id, self._outside))
        changes = [
            (self._backend.owner(v.storage.array), call)
            for call in recording.calls for v in call.mutated if v.storage.array is not None
        ]  # fmt: skip
        self._changed = {id(owner): call.line for owner, call in changes}
        self._marks = Marks((owner, call.primitive.name) for owner, call in changes)

    def change(self, tensors: list[Tensor], numbers: list[Any]) -> str | None:
        """What is no longer as it was when the plan was recorded, in words; None if nothing."""
        if self._revised != revised[0]:
            return "an operation or a rule was declared anew"
        same = operator.is_
        for i, (now, before) in enumerate(zip(numbers, self.numbers, strict=True)):
            if now is not before and i not in self.varying and repr(now) != repr(before):
                return f"number {i} of the arguments is {now!r}, and was {before!r}"
        if self.varying and not self._root.serves(numbers):
            return "Python finds out something else about a number of the arguments"
        if not all(map(same, map(_data, self._outside), self._arrays)):
            return "a tensor that the step reads holds another array"
        if not all(map(same, map(_node, self._traced), self._nodes)):
            for i, x in enumerate(self._traced):
                if (x.node is None) != (self._nodes[i] is None):
                    flag = "has requires_grad" if x.requires_grad else "has no requires_grad"
                    return f"{x.name or f'a tensor of shape {x.shape}'} {flag} now"
                self._nodes[i] = x.node
        for (g, base), k in zip(self.generators, self._keys, strict=True):
            if g.base.data is not base or g.key.data is not k:
                return "a generator was set to another state"
        if any(g is not random.default_generator() for g in self._by_default):
            return "the default generator is another one"
        if not all(g.fits(tensors) for g in self._used):
            return "a .grad that the step uses is there now, or is not there any more"
        return self._guard.change()

    def refuse_shared(self, tensors: list[Tensor]) -> None:
        """Refuse arguments that the step also reads, or changes, from outside."""
        for i, x in enumerate(tensors):
            if x.node is not None and id(x) in self._met:
                raise RuntimeError(
                    f"compile: tensor {i} of the arguments is one that the step also reads from "
                    "outside, so that a gradient has two ways to it; use the argument alone, or "
                    "pass x.detach()"
                )
            line = self._changed.get(id(self._backend.owner(x.data)))
            if line is not None:
                raise RuntimeError(
                    f"compile: tensor {i} of the arguments shares memory with one that {line} "
                    "changes in place; pass x.copy()"
                )

    def leaves(self, tensors: list[Tensor]) -> list[Any]:
        """The tensors whose .grad the step reads or sets."""
        return [g.leaf(tensors) for g in self._gradients]

    # ---- running ---------------------------------------------------------------------------------

    def replay(self, tensors: list[Tensor]) -> Any:
        """Run the step on new inputs; what it returns, as copies."""
        for slot, x in zip(self.slots, tensors, strict=True):
            slot[...] = x.data
        if self._root.slots:
            with np.errstate(over="ignore"):  # infinite where float32 ends, as everywhere
                self._root.fill()
        for gradient in self._entering:
            gradient.enter(tensors)
        for generator, _ in self.generators:
            if generator.offset:
                generator.settle()
        for run in self._steps:
            run()
        self._marks.set()
        hits = self._backend.hits
        for name, count in self._hits:
            hits[name] += count
        for gradient in self._leaving:
            gradient.leave(tensors)
        return self._result()

    def _copied(self, leaf: Any) -> Callable[[], Any] | None:
        kind: Any = self._backend.array_type
        return (lambda: Tensor(leaf.copy())) if isinstance(leaf, kind) else None

    def source(self) -> str:
        """The generated loops as text, each under the first call that runs it."""
        fused = [call for call in self.calls if call.fused is not None and call.fused.source]
        first = {call.fused.source: call for call in reversed(fused)}
        texts = [f"# {call.name}, {call.line}\n{text}" for text, call in first.items()]
        return "\n\n".join(reversed(texts))

    def __repr__(self) -> str:
        return table(self)


def _storages(result: Any) -> set[Storage]:
    """The storages of what a step returns."""
    found: set[Storage] = set()
    mapped(result, lambda v: found.add(v.storage) if isinstance(v, Value) else None)
    return found


def _owner(leaf: Leaf, seen: Rehearsal) -> tuple[Any, Storage | None]:
    """Whose gradient it is: a tensor, or the number of an argument; and the leaf's memory."""
    for i, slot in enumerate(seen.slots):
        if slot.node is leaf.node:
            return i, None
    for x in (*seen.recorder.outside.values(), *seen.tensors):
        if x.node is leaf.node:
            return x, seen.recorder.value(x.data, "captured").storage
    return types.SimpleNamespace(node=leaf.node, grad=None), None


class Methods(dict[Any, Any]):
    """The compiled methods of one instance, by their functions; they are not copied with it."""

    def __init__(self, owner: Any = None) -> None:
        super().__init__()
        self.owner = owner

    def __reduce__(self) -> Any:
        return Methods, ()


class Compiled:
    """A function whose calls are recorded once and replayed; see compile."""

    def __init__(self, function: Callable[..., Any], fuse: bool, check: bool) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function = self.__wrapped__ = function
        self.fuse = fuse
        self.check = check
        self.plans: dict[Any, list[Plan]] = {}
        self.plan: Plan | None = None  # the one that ran last
        self._any_order = _in_any_order(function)
        self._bound: Any = {}  # by the instances of classes without a __dict__
        self._last: Any = None  # the key of the plan that was recorded last
        self._recordings = self._uses = 0
        self._lock = threading.RLock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        observers = state.observers
        as_it_stands = bool(observers) and any(o.every_operation for o in observers)
        if as_it_stands or os.environ.get("TINYGEN_COMPILE") == "0":
            return self.function(*args, **kwargs)
        tensors: list[Tensor] = []
        numbers: list[Any] = []
        place = backends.current()
        mode = (state.recording, place, place.precision)
        if kwargs and self._any_order:
            kwargs = dict(sorted(kwargs.items()))
        known_by = (key((args, kwargs), tensors, numbers), mode)
        with self._lock:
            plan, why = None, ""
            for candidate in self.plans.get(known_by, ()):
                change = candidate.change(tensors, numbers)
                if change is None:
                    plan = candidate
                    break
                why = why or change
            if plan is None:
                plan = self._record(known_by, why, args, kwargs, tensors, numbers)
            plan.refuse_shared(tensors)
            self._uses += 1
            plan.used = self._uses
            self.plan = plan
            for observer in observers:
                observer.replaying(plan)
            if self.check:
                return checked(self, plan, args, kwargs, tensors)
            return plan.replay(tensors)

    def _record(
        self, known_by: Any, why: str, args: Any, kwargs: Any,
        tensors: list[Tensor], numbers: list[Any],
    ) -> Plan:  # fmt: skip
        """A new plan; the oldest go where there are too many."""
        place = backends.current()
        fusing = self.fuse and fuse.available(place)
        why = why or _difference(self._last, known_by)
        varying = {
            i for p in self.plans.get(known_by, ()) for i, (a, b) in
            enumerate(zip(numbers, p.numbers, strict=True)) if i in p.varying or repr(a) != repr(b)
        }  # fmt: skip
        with _recording, place.team() as team:
            seen = rehearse(self.function, args, kwargs, tensors, fusing, place, varying, team)
            plan = Plan(seen, tensors, fusing, why, team)
            seen.recorder.forget()  # the plan has memory of its own
        _trim()
        self._last = known_by
        held = [(p.used, k) for k, plans in self.plans.items() for p in plans]
        if len(held) == PLANS:  # the one that was used least lately goes
            used, where = min(held, key=operator.itemgetter(0))
            self.plans[where] = [p for p in self.plans[where] if p.used != used]
            if not self.plans[where]:
                del self.plans[where]
        self.plans.setdefault(known_by, []).append(plan)
        self._recordings += 1
        if self._recordings == PLANS + 1:
            warnings.warn(
                f"compile: {getattr(self, '__name__', 'the function')} was recorded "
                f"{self._recordings} times, and each time costs as much as many steps; the last "
                f"time because {why}. The {PLANS} plans used last are kept; give it batches of one "
                "shape, and pass what varies as tensors",
                stacklevel=3,
            )
        return plan

    # ---- in a class ------------------------------------------------------------------------------

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """The method of an instance: a compiled function of its own, which the instance keeps."""
        if instance is None:
            return self
        methods: Any = self._bound
        name: Any = Same(instance)
        held = attributes(instance)
        if type(held) is dict:
            methods, name = held.get(METHODS), self
            if methods is None or methods.owner is not instance:  # a copy begins anew
                methods = held[METHODS] = Methods(instance)
        bound = methods.get(name)
        if bound is None:
            method = types.MethodType(self.function, instance)
            bound = methods[name] = Compiled(method, self.fuse, self.check)
        return bound

    def __reduce__(self) -> Any:
        return Compiled, (self.function, self.fuse, self.check)  # plans stay where they are


def _trim() -> None:
    """Give freed memory back to the system; a rehearsal frees much, and glibc would keep it."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


def _in_any_order(function: Callable[..., Any]) -> bool:
    """Whether the order of keyword arguments cannot matter: the function gathers none in a dict."""
    try:
        parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
    except (TypeError, ValueError):
        return False
    return all(p.kind is not p.VAR_KEYWORD for p in parameters)


def _difference(before: Any, now: Any) -> str:
    """In words, why the plan recorded before does not serve."""
    if before is None:
        return "it is the first call"
    if before[1] != now[1]:
        return "no_grad, the backend or its precision is another"
    return "the arguments have other shapes, dtypes, values or another structure"


def compile(
    function: Callable[..., Any] | None = None, *, fuse: bool = True, check: bool = False
) -> Any:
    """`function` as a plan that is recorded at the first call and replayed at every call.

    A plan serves as long as nothing it depended on has changed; else the function is recorded
    anew. It depends on the structure of the arguments, the shapes and dtypes of the tensors among
    them, the values of all others, and whatever the function reads from outside: globals, closures,
    attributes of modules and of other objects, requires_grad. Recording runs the function twice. It
    leaves no trace but what a call sets in Python once and for all, such as a cache or a flag; what
    each call would change anew (a counter, a list that grows) is refused, and so is whatever a plan
    could not follow. What is printed is printed while recording only.

    `.grad` is afterwards as the function itself would leave it, with one exception: of a parameter
    that the step zeroes first and then updates it is None. Returned tensors are copies, outside any
    graph. Where the function raises while it is recorded, all is left as it was before the call.
    TINYGEN_COMPILE=0 runs the function as it stands, for a debugger.

    Args:
        function: a training step, or any function of tensors; without it, a decorator is returned.
        fuse: join elementwise operations with each other and with matrix products (needs Numba);
            without it, replay equals the function itself to the last bit, given arguments in
            row-major order.
        check: run the function beside every replay and raise where they differ.

    Raises:
        RuntimeError: the function reads a tensor's value, makes a tensor from host data, changes
            an argument or something else that it reads, or uses what changes by itself (a file, a
            clock, an iterator, random numbers of Python or NumPy); names the line.
        TypeError: function cannot be called, or is a generator; an argument or a result that is no
            tensor, number, text, module, optimizer, function or container of them.
    """
    if function is None:
        return functools.partial(compile, fuse=fuse, check=check)
    if not callable(function):
        hint = "; put it under @classmethod" if isinstance(function, classmethod) else ""
        raise TypeError(
            f"compile: got {type(function).__name__}; expected a function to compile{hint}"
        )
    if isinstance(function, Compiled):
        function = function.function
    plain = inspect.unwrap(function)
    if runs_in_pieces(plain):
        raise TypeError(
            f"compile: {getattr(plain, '__name__', plain)} is a generator or a coroutine, whose "
            "body runs in pieces; compile the function that it calls for each piece"
        )
    return Compiled(function, fuse, check)
