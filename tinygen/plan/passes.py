"""Passes over the list of calls: drop what nothing reads, merge what is computed twice, reorder.

Storage is written once by the call that makes it, and again only by calls that change it in place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..backend import Backend
from ..graph import recording
from ..tensor import Tensor
from ..trace.record import Call, Storage, Value


def fold_constants(calls: list[Call], backend: Backend) -> list[Call]:
    """Without the calls that depend on nothing, such as arange, and on such calls: computed now.

    What is computed from one number alone, as from full, is left to the loops that use it: there it
    costs nothing, and has the rounding of their neighbours.
    """
    changed = {v.storage for call in calls for v in call.mutated}
    known: set[Storage] = set()
    kept: list[Call] = []
    for call in calls:
        made = {v.storage for v in call.outs}
        if call.mutated or not known.issuperset(call.reads()) or not changed.isdisjoint(made):
            kept.append(call)
            continue
        args = [Tensor(_array(v, backend)) if isinstance(v, Value) else v for v in call.args]
        with recording(False):
            results: Any = call.primitive(*args, **call.static)
        for out, result in zip(call.outs, results if call.many else (results,), strict=True):
            out.storage.kind = "captured"
            out.storage.array = backend.xp.zeros(out.storage.nbytes, "uint8")
            _array(out, backend)[...] = result.data
            values = backend.to_host(result.data)
            if values.size and (values != values.flat[0]).any():
                known.add(out.storage)
    return kept


def _array(v: Value, backend: Backend) -> Any:
    if not v.size:
        return backend.xp.zeros(v.shape, v.dtype)
    return backend.view(v.storage.array, v.offset, v.shape, v.strides, v.dtype)


def drop_dead(calls: list[Call], needed: set[Storage]) -> list[Call]:
    """Without the calls whose results nothing reads: no output, no state, no later call."""
    live = set(needed)
    kept: list[Call] = []
    for call in reversed(calls):
        if call.mutated or any(v.storage in live for v in call.outs):
            kept.append(call)
            live.update(call.reads())
    return kept[::-1]


def merge_equal(calls: list[Call]) -> tuple[list[Call], dict[Storage, Storage]]:
    """Without the second of two calls that compute the same from the same values, and copies."""
    changed = {v.storage for call in calls for v in call.mutated}
    version: dict[Storage, int] = {}
    seen: dict[Any, Call] = {}
    renamed: dict[Storage, Storage] = {}
    kept: list[Call] = []
    for call in calls:
        call.args = [rename(v, renamed) for v in call.args]
        if call.mutated:
            for v in call.mutated:
                version[v.storage] = version.get(v.storage, 0) + 1
            kept.append(call)
            continue
        if _copies(call) and changed.isdisjoint((call.args[0].storage, call.outs[0].storage)):
            renamed[call.outs[0].storage] = call.args[0].storage
            continue
        key = (
            call.primitive,
            tuple(
                (v, version.get(v.storage, 0)) if isinstance(v, Value) else (type(v), repr(v))
                for v in call.args
            ),
            repr(sorted(call.static.items(), key=lambda item: item[0])),  # 0.0 is not -0.0
        )
        first = seen.setdefault(key, call)
        same = [(v.shape, v.strides) for v in first.outs] == [
            (v.shape, v.strides) for v in call.outs
        ]
        if first is call or not same:
            kept.append(call)
            continue
        for mine, theirs in zip(call.outs, first.outs, strict=True):
            renamed[mine.storage] = theirs.storage
    return kept, renamed


def _copies(call: Call) -> bool:
    """Whether a call only copies a temporary, from its start."""
    if not call.primitive.traits.copies:
        return False
    x, out = call.args[0], call.outs[0]
    same = x.contiguous and not x.offset and out.contiguous and not out.offset
    return bool(same and x.storage.kind == "temporary" and x.dtype == out.dtype)


def rename(value: Any, renamed: dict[Storage, Storage]) -> Any:
    """A value on the storage that stands for its own."""
    if isinstance(value, Value) and value.storage in renamed:
        new = renamed[value.storage]
        return Value(new, value.offset, value.shape, value.strides, value.dtype)
    return value


def turn_products(calls: list[Call], needed: set[Storage]) -> None:
    """A matrix product that is only read transposed becomes the product of the transposed.

    Gradients of gradients come out so; in the order of their parameter they can be added in place.
    """
    seen: dict[Storage, list[tuple[Call, int]]] = {}
    for call in calls:
        for i, v in enumerate(call.args):
            if isinstance(v, Value):
                seen.setdefault(v.storage, []).append((call, i))
    for call in calls:
        out = call.outs[0] if call.primitive.traits.product else None
        if out is None or len(out.shape) != 2 or min(out.shape) < 2 or out.storage in needed:
            continue
        turned = _transposed(out)
        readers = seen.get(out.storage, [])
        if not out.contiguous or any(reader.args[i] != turned for reader, i in readers):
            continue
        x, y = call.args
        strides = (turned.shape[1] * turned.dtype.itemsize, turned.dtype.itemsize)
        fresh = replace(turned, strides=strides)
        call.args, call.outs = [_transposed(y), _transposed(x)], [fresh]
        for reader, i in readers:
            reader.args[i] = fresh


def _transposed(v: Value) -> Value:
    return replace(v, shape=v.shape[::-1], strides=v.strides[::-1])


def update_early(calls: list[Call]) -> list[Call]:
    """Each change in place moved up to where its inputs are ready, never past an old reader.

    A gradient is then used while it is still in a core's cache, and its memory is free sooner.
    """
    out: list[Call] = []
    for call in calls:
        place = len(out)
        if call.mutated:
            reads, writes = set(call.reads()), set(call.writes())
            while place and not _depends(out[place - 1], reads, writes):
                place -= 1
        out.insert(place, call)
    return out


def _depends(earlier: Call, reads: set[Storage], writes: set[Storage]) -> bool:
    """Whether a call that reads and writes these must stay behind `earlier`."""
    return not (
        reads.isdisjoint(earlier.writes())
        and writes.isdisjoint(earlier.writes())
        and writes.isdisjoint(earlier.reads())
    )


def last_reads(calls: list[Call], needed: set[Storage]) -> dict[Storage, int]:
    """The index of the last call that touches each storage; what is returned lives to the end."""
    last: dict[Storage, int] = {}
    for i, call in enumerate(calls):
        for storage in (*call.reads(), *call.writes()):
            last[storage] = i
    return last | dict.fromkeys(needed, len(calls))
