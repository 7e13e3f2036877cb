"""What a stage reads: batches of named columns from one data set or several."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Batch, Dataset
from ..data.dataset import Batches, scaled
from ..random import Generator
from .contract import Column, Stage

PREFETCH = 2  # batches that a thread prepares ahead
Sets = Mapping[str, Dataset]  # the data of a run, by the name that columns know it by


def values(column: Column, data: Dataset, at: NDArray[np.int64]) -> NDArray[Any]:
    """The entries of a column at some places of its data set."""
    stored = data.column(column.array)[at]
    if column.kind == "pixels":
        return scaled(stored, column.range)
    if column.kind == "levels":
        return stored.astype(np.int64) * column.count // 256
    return stored


def sources(reads: tuple[Column, ...]) -> tuple[str, ...]:
    """The data sets that columns come from, each once."""
    return tuple(dict.fromkeys(c.source for c in reads))


def length(reads: tuple[Column, ...], sets: Sets) -> int:
    """How many entries an epoch has: those of the shortest data set."""
    return min(len(sets[source]) for source in sources(reads))


def step_size(stage: Stage, entries: int, batch_size: int) -> int:
    """How many of the entries of an epoch a step takes: no more batches than there are."""
    per_step = stage.batches_per_step
    return max(1, min(batch_size, entries // per_step)) * per_step


def batches(
    stage: Stage,
    sets: Sets,
    size: int,
    *,
    seed: int,
    epoch: int,
    start: int = 0,
    first: bool = True,
) -> Batches:
    """The batches of one epoch; each data set has an order of its own, from (seed, epoch) alone.

    first: whether it is the first stage of its model.
    """
    orders = {}
    for source in sources(stage.reads):
        plain = first and source == "train"
        stream = "shuffle" if plain else f"shuffle {stage.name} {source}"
        orders[source] = sets[source].order(seed, epoch, stream)
    make = functools.partial(_batch, stage.reads, sets, orders, size)
    return Batches(make, range(start, length(stage.reads, sets) // size), PREFETCH)


def _batch(
    reads: tuple[Column, ...], sets: Sets, orders: Mapping[str, NDArray[np.int64]], size: int,
    position: int,
) -> Batch:  # fmt: skip
    rows = slice(position * size, (position + 1) * size)
    at = {source: order[rows] for source, order in orders.items()}
    return batch_at(reads, sets, at, position)


def batch_at(
    reads: tuple[Column, ...], sets: Sets, at: Mapping[str, NDArray[np.int64]], position: int = 0
) -> Batch:
    """The entries at some places of each data set."""
    columns = {c.name: values(c, sets[c.source], at[c.source]) for c in reads}
    return Batch(columns, next(iter(at.values())), position)


def held_out(sets: Sets, reads: tuple[Column, ...]) -> Sets | None:
    """The held-out images of each data set that columns come from; None where one has none."""
    tests = {source: sets[source].test for source in sources(reads)}
    found = {source: test for source, test in tests.items() if test is not None}
    return found if len(found) == len(tests) else None


def some(data: Dataset, n: int) -> NDArray[np.int64]:
    """Places of n images of the data, always the same ones, from all over it."""
    if n >= len(data):
        return np.arange(len(data))
    return np.sort(Generator(0).stream("some images").permutation(len(data)).numpy()[:n])
