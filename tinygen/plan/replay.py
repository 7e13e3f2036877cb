"""Replay: a list of calls bound to fixed memory, run again and again.

A call with a kernel becomes rows that run without returning to Python; neighbouring rows run as
one. Any other call runs its reference, into the memory of its output where the array module can.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backend as backends
from ..backend import Array, Backend
from . import arena
from .record import Call, Storage, Value


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
        if bind is None or self.call.many:
            return None
        if self.as_called and self.arrays[0].size < getattr(found, "eager_from", 0):
            return None
        out = {} if self.call.mutated else {"out": self.outs[0]}
        bound = bind(*self.arrays, **self.call.static, **out)
        if bound is NotImplemented or (out and bound.out is not self.outs[0]):
            return None
        return bound

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
