"""What a student learns from: noise, and the pictures that its teacher drew for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..data import Dataset
from ..graph import no_grad
from ..images import to_uint8
from ..models import Draws
from ..models.contract import chosen
from ..plan import compile as compile_step
from .pictures import label_column
from .run import Run

TOGETHER = 64  # pictures that are drawn at a time
STREAM = "pairs"  # of a seed: its noise is not that of the pictures of any seed

Heard = Callable[[int, int], None]  # (how many are drawn, of how many)


def sha256_of(teacher: Run) -> str:
    """Of the file of the teacher's weights."""
    assert teacher.folder is not None
    return hashlib.sha256(teacher.folder.model.read_bytes()).hexdigest()


@no_grad()
def drawn_pairs(
    teacher: Run, n: int, seed: int, settings: Mapping[str, Any], heard: Heard = lambda k, n: None
) -> Dataset:
    """n pictures of a teacher as a data set, with the column "noise"; labels in turn.

    Pair i of a seed is always the same on one machine. The teacher draws by a recorded plan.
    """
    model = teacher.model
    assert isinstance(model, Draws)
    assert model.noise is not None
    fixed, column = chosen(model, settings), label_column(model)
    count = -(-n // TOGETHER) * TOGETHER
    labels = None if column is None else np.arange(count, dtype=np.int64) % column.count
    names = [] if column is None else [column.name]

    @compile_step
    def draw(noise: Any, *label: Any) -> Any:
        return model.draw(noise, **dict(zip(names, label, strict=True)), **fixed)

    noises, images = [], []
    rng = model.rng(seed).stream(STREAM)
    for first in range(0, count, TOGETHER):
        heard(min(first, n), n)
        z = model.noise.draw(TOGETHER, rng)
        given = [] if labels is None else [model.place(labels[first : first + TOGETHER])]
        images.append(to_uint8(draw(z, *given).numpy(), model.value_range))
        noises.append(z.numpy().copy())
    heard(n, n)
    classes = None
    if column is not None:
        classes = teacher.data.get("classes") or [str(k) for k in range(column.count)]
    return Dataset(
        f"drawn by {model.name}", np.concatenate(images)[:n],
        None if labels is None else labels[:n], classes,
        {"noise": np.concatenate(noises)[:n]},
    )  # fmt: skip
