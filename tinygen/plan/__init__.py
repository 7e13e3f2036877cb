"""`compile`: a training step as a plan: recorded once, then replayed.

    step = tg.compile(step)          # forward, backward and the optimizers' updates
    losses = step(images)            # the first call records; every call replays
    print(step.plan)

Read record.py (what a rehearsal shows), passes.py, fuse.py and products.py (what is made of it),
updates.py (what devices add), arena.py and replay.py (how it runs), table.py (how it prints).
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import backend as backends
from ..backend import Array
from ..graph import state
from ..nn.module import Buffer, Module, Parameter
from ..primitive import revised
from ..tensor import Tensor
from . import fuse, passes, products, updates
from .check import checked
from .record import Call, Recorder, Storage, Value
from .replay import Bound, Memory
from .table import table

__all__ = ["Compiled", "Plan", "compile"]


class Plan:
    """The calls of one step on fixed memory.

    Attributes:
        calls: what runs, in order.
        recorded: how many calls the rehearsal showed.
        arena_bytes: memory of all temporaries; total_bytes: what they would take without reuse.
    """

    def __init__(
        self, step: Callable[..., Any], args: Any, kwargs: Any, slots: list[Tensor], fusing: bool
    ) -> None:
        backend = self._backend = backends.current()
        self._revised = revised[0]
        recorder = Recorder(fusing, backend)
        recorder.run(step, args, kwargs, slots)
        recording = recorder.recording
        self.slots = [x.data for x in slots]
        self.recorded = len(recording.calls)
        self.modules = list(recorder.modules.values())
        self._captured = recording.captured
        self.generators = recording.generators
        slot_storage = {v.storage for v in recording.inputs}
        _refuse_changed_arguments(recording.calls, slot_storage)
        needed = _storages(recording.result)
        calls = passes.drop_dead(recording.calls, needed)
        calls, renamed = passes.merge_equal(calls)
        result = _mapped(recording.result, lambda v: passes.rename(v, renamed))
        needed = _storages(result)
        if fusing:
            passes.turn_products(calls, needed)
            calls = fuse.fuse(calls, needed)
            calls = products.host(calls, needed)
            if backend.name == "numpy":
                calls = passes.update_early(calls)
                calls = products.join(calls, needed)
            else:
                calls = updates.together(calls)
        self.calls: list[Call] = calls
        self.memory = Memory(calls, needed, backend)
        self.arena_bytes, self.total_bytes = self.memory.arena_bytes, self.memory.total_bytes
        self.bound = [Bound(call, self.memory, backend, not fusing) for call in calls]
        self._steps = backend.sequence(self.bound)
        kernels = [b for b in self.bound if b.kernel is not None]
        self._hits = Counter(name for b in kernels for name in b.call.names)
        place = lambda v: self.memory.array(v) if isinstance(v, Value) else v
        self._result = _mapped(result, place)

    def valid(self) -> bool:
        """Whether everything it captured is still where it was."""
        return (
            self._revised == revised[0]
            and all(x.data is array for x, array in self._captured)
            and all(g.base.data is base for g, base in self.generators)
            and all(module.training == training for module, training in self.modules)
        )

    @np.errstate(all="ignore")
    def replay(self, arrays: list[Array]) -> Any:
        """Run the step on new inputs; what it returns, as copies."""
        for slot, array in zip(self.slots, arrays, strict=True):
            slot[...] = array
        for generator, _ in self.generators:
            if generator.offset:
                generator.settle()
        for run in self._steps:
            run()
        self._backend.hits.update(self._hits)
        return _copies(self._result, self._backend.array_type)

    def source(self) -> str:
        """The generated loops as text, each under the first call that runs it."""
        fused = [call for call in self.calls if call.fused is not None and call.fused.source]
        first = {call.fused.source: call for call in reversed(fused)}
        texts = [f"# {call.name}, {call.line}\n{text}" for text, call in first.items()]
        return "\n\n".join(reversed(texts))

    def __repr__(self) -> str:
        return table(self)


class Compiled:
    """A function whose calls are recorded once and replayed; see compile."""

    def __init__(self, function: Callable[..., Any], fuse: bool, check: bool) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.fuse = fuse
        self.check = check
        self.plans: dict[Any, list[Plan]] = {}
        self.plan: Plan | None = None  # the one that ran last

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # An observer wants to see every operation.
        if os.environ.get("TINYGEN_COMPILE") == "0" or state.observer is not None:
            return self.function(*args, **kwargs)
        tensors: list[Tensor] = []
        place = backends.current()
        mode = (state.recording, place, place.precision)
        key = (_key((args, sorted(kwargs.items())), tensors), mode)
        known = self.plans.setdefault(key, [])
        plan = next((p for p in known if p.valid()), None)
        if plan is None:
            slots = [_slot(x) for x in tensors]
            fresh = iter(slots)
            plan = Plan(
                self.function, _filled(args, fresh), _filled(kwargs, fresh), slots,
                self.fuse and fuse.available(place),
            )  # fmt: skip
            known[:] = [*(p for p in known if p.valid() or p.modules), plan][-4:]
        self.plan = plan
        if self.check:
            return checked(self, plan, args, kwargs, [x.data for x in tensors])
        return plan.replay([x.data for x in tensors])


def compile(function: Callable[..., Any], *, fuse: bool = True, check: bool = False) -> Compiled:
    """`function` as a plan that is recorded at the first call and replayed at every call.

    A plan belongs to the shapes and dtypes of the tensor arguments, the values of all others, and
    the training flags of the modules met; another combination is recorded anew. Recording is a
    rehearsal that leaves no trace. Inside the step `.grad` is a temporary; after it, `.grad` is
    None. Returned tensors are copies, outside any graph. TINYGEN_COMPILE=0 runs the function as it
    stands, for a debugger.

    Args:
        function: a training step, or any function of tensors.
        fuse: join elementwise operations with each other and with matrix products (needs Numba);
            without it, replay equals the function itself to the last bit.
        check: run the function beside every replay and raise where they differ.

    Raises:
        RuntimeError: the function reads a tensor's value, makes a tensor from host data, or
            changes an argument in place; names the line.
        TypeError: function cannot be called.
    """
    if not callable(function):
        raise TypeError(f"compile: got {type(function).__name__}; expected a function to compile")
    return Compiled(function, fuse, check)


# ---- arguments and results -----------------------------------------------------------------------


def _is_input(x: Any) -> bool:
    return isinstance(x, Tensor) and not isinstance(x, (Parameter, Buffer))


def _key(value: Any, tensors: list[Tensor]) -> Any:
    """What must be equal for a plan to serve; the tensors among the arguments are collected."""
    if _is_input(value):
        tensors.append(value)
        return (Tensor, value.shape, value.dtype, value.node is not None)
    if isinstance(value, dict):
        return (dict, tuple((k, _key(v, tensors)) for k, v in value.items()))
    if isinstance(value, (list, tuple)):
        return (type(value), tuple(_key(v, tensors) for v in value))
    if isinstance(value, (Tensor, Module)) or value.__class__.__hash__ is None:
        return (type(value), id(value))
    return (type(value), value)


def _slot(x: Tensor) -> Tensor:
    """A tensor with memory of its own that stands for an argument in the plan."""
    slot = Tensor(x.data.copy())  # in row-major order
    if x.node is not None:
        slot.requires_grad = True
    return slot


def _filled(value: Any, slots: Any) -> Any:
    """The arguments with each tensor replaced by the next slot."""
    if _is_input(value):
        return next(slots)
    if isinstance(value, dict):
        return {k: _filled(v, slots) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_filled(v, slots) for v in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _storages(result: Any) -> set[Storage]:
    """The storages of what a step returns."""
    found: set[Storage] = set()
    _mapped(result, lambda v: found.add(v.storage) if isinstance(v, Value) else None)
    return found


def _mapped(result: Any, change: Callable[[Any], Any]) -> Any:
    """The result with `change` applied to each value or array in it."""
    if isinstance(result, dict):
        return {k: _mapped(v, change) for k, v in result.items()}
    if isinstance(result, (list, tuple)):
        items = [_mapped(v, change) for v in result]
        return type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
    return change(result)


def _copies(result: Any, array_type: Any) -> Any:
    return _mapped(result, lambda v: Tensor(v.copy()) if isinstance(v, array_type) else v)


def _refuse_changed_arguments(calls: list[Call], slots: set[Storage]) -> None:
    for call in calls:
        if any(v.storage in slots for v in call.mutated):
            raise RuntimeError(
                f"compile: {call.line} changes an argument of the step in place "
                f"({call.primitive.name}); make it a Parameter or a Buffer, or return a new tensor"
            )
