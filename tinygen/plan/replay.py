"""Replay: a list of calls bound to fixed memory, run again and again.

A call with a kernel becomes rows that run without returning to Python; neighbouring rows run as
one. Any other call runs its reference, into the memory of its output where the array module can.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import backend as backends
from .. import events
from ..backend import Array, Backend
from ..events import clock
from ..trace.record import Call, Storage, Value
from . import arena


class Marks:
    """What a plan changes in place outside, so that a gradient that needs it is refused."""

    def __init__(self, owners: Iterable[tuple[Array, str]]) -> None:
        self._of: dict[int, tuple[str, Any]] = {}
        self._when = 0
        for owner, name in owners:
            gone = functools.partial(events.changed.pop, id(owner))
            self._of[id(owner)] = (name, weakref.ref(owner, gone))

    def set(self) -> None:
        """Everything is changed now."""
        if self._of:
            self._when = events.newest[0] = next(clock)
            events.replayed[id(self)] = self

    def enter(self) -> None:
        """Enter it among the changes, which only a gradient through an old graph looks up."""
        for key, (name, alive) in self._of.items():
            before = events.changed.get(key)
            if alive() is not None and (before is None or before[0] < self._when):
                events.changed[key] = (self._when, name, alive)


class Memory:
    """Where each storage of a plan is: temporaries in one arena, the others where they are."""

    def __init__(self, calls: list[Call], needed: set[Storage], backend: Backend) -> None:
        spans = arena.lifetimes(calls, needed)
        self.offsets, self.arena_bytes = arena.place(spans)
        self.total_bytes = sum(s.nbytes for s in spans)
        self._backend = backend
        self._arena = backend.xp.zeros(self.arena_bytes + arena.ALIGNMENT, np.uint8)
        self._start = -backend.address(self._arena) % arena.ALIGNMENT

    def array(self, value: Value) -> Array:
        """The array that a call reads or writes."""
        if value.size == 0:
            return self._backend.xp.zeros(value.shape, value.dtype)
        owner, offset, storage = self._arena, value.offset, value.storage
        if storage.kind == "temporary":
            offset += self._start + self.offsets.get(storage, 0)
        else:
            owner = storage.array
        return self._backend.view(owner, offset, value.shape, value.strides, value.dtype)


class Bound:
    """One call on its memory: a kernel's rows, or a function that runs its reference.

    With `as_called` a kernel serves only what it serves outside a plan, to the same bits.
    """

    def __init__(self, call: Call, memory: Memory, backend: Backend, as_called: bool) -> None:
        self.call = call
        self.as_called = as_called
        self.arrays = [memory.array(v) if isinstance(v, Value) else v for v in call.args]
        self.outs = [memory.array(v) for v in call.outs]
        self.changes = [memory.array(v) for v in call.mutated]  # in place
        self.kernel: Any = None
        if call.fused is not None:
            self.kernel = call.fused.bind(self.arrays, self.outs, backend)
        else:
            self.kernel = self._kernel(backend)
        ufunc = call.primitive.traits.ufunc
        self.allocates = self.kernel is None and not call.mutated and not ufunc
        self.xp = backend.xp

    def _kernel(self, backend: Backend) -> Any:
        """What the operation's kernel makes of the call; None where it declines."""
        found = backends.load_kernel(backend, self.call.primitive.name)
        bind = getattr(found, "bind", None)
        if bind is None:
            return None
        if self.as_called and self.arrays[0].size < getattr(found, "eager_from", 0):
            return None
        wanted: Any = tuple(self.outs) if self.call.many or self.call.mutated else self.outs[0]
        out = {} if self.call.mutated else {"out": wanted}
        bound = bind(*self.arrays, **self.call.static, **out)
        if bound is NotImplemented or (out and bound.out is not wanted):
            return None
        return bound

    @np.errstate(all="ignore")  # as eagerly: see Primitive
    def reference(self) -> None:
        """Run without a kernel."""
        call = self.call
        primitive: Any = call.primitive
        if call.mutated:
            primitive.reference(self.xp, *self.arrays, **call.static)
        elif primitive.traits.ufunc:
            getattr(self.xp, primitive.traits.ufunc)(*self.arrays, out=self.outs[0])
        else:
            results = primitive.reference(self.xp, *self.arrays, **call.static)
            for out, result in zip(self.outs, results if call.many else (results,), strict=True):
                out[...] = result

    def run(self) -> None:
        """Run this call alone."""
        if self.kernel is None:
            self.reference()
        else:
            self.kernel()
