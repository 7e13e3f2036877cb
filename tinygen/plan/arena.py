"""One block of memory for all temporaries of a plan, each only while it is needed."""

from __future__ import annotations

from ..trace.record import Call, Storage
from .passes import last_reads

ALIGNMENT = 64  # bytes: a line of the cache, a vector of AVX-512


def lifetimes(calls: list[Call], needed: set[Storage]) -> dict[Storage, tuple[int, int]]:
    """For each temporary the first and the last call that touches it."""
    last = last_reads(calls, needed)
    spans: dict[Storage, tuple[int, int]] = {}
    for i, call in enumerate(calls):
        for storage in call.writes():
            if storage.kind == "temporary" and storage not in spans:
                spans[storage] = (i, last[storage])
    return spans


def place(spans: dict[Storage, tuple[int, int]]) -> tuple[dict[Storage, int], int]:
    """Offsets in bytes such that no two temporaries that live together overlap; and the total.

    The largest first, each at the lowest free place.
    """
    offsets: dict[Storage, int] = {}
    total = 0
    placed: list[tuple[Storage, int, int]] = []  # (storage, start, end)
    for storage in sorted(spans, key=lambda s: (-s.nbytes, s.number)):
        size = -(-storage.nbytes // ALIGNMENT) * ALIGNMENT
        born, dies = spans[storage]
        taken = sorted(
            (start, end)
            for other, start, end in placed
            if born <= spans[other][1] and spans[other][0] <= dies
        )
        at = 0
        for start, end in taken:
            if at + size <= start:
                break
            at = max(at, end)
        offsets[storage] = at
        placed.append((storage, at, at + size))
        total = max(total, at + size)
    return offsets, total
