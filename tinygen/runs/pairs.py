"""What a student learns from: noise, and the pictures that its teacher drew for it.

Drawing them takes minutes, and so they are kept, in a file beside the teacher's weights:

    pairs-KEY.safetensors    the pictures; KEY is a hash of the weights, the seed and the settings

Noise and labels are not in it: they come from the seed. Another student of the same teacher reads
the same file, as does one that goes on; one that needs more pairs has the rest drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset
from ..data.files import amount
from ..graph import no_grad
from ..images import to_uint8
from ..io import load, save
from ..models import Draws
from ..models.contract import chosen
from ..plan import compile as compile_step
from .pictures import label_column
from .run import Run

TOGETHER = 64  # pictures that are drawn at a time
STREAM = "pairs"  # of a seed: its noise is not that of the pictures of any seed

Heard = Callable[[int, int], None]  # (how many are drawn, of how many)
Pictures = NDArray[np.uint8]


def sha256_of(teacher: Run) -> str:
    """Of the file of the teacher's weights."""
    assert teacher.folder is not None
    return hashlib.sha256(teacher.folder.model.read_bytes()).hexdigest()


def kept_pairs(
    teacher: Run, n: int, seed: int, settings: Mapping[str, Any], heard: Heard = lambda k, n: None,
    sha256: str | None = None,
) -> tuple[Dataset, str]:  # fmt: skip
    """`drawn_pairs` of which as many as can be are read; and a line that says where they lie.

    sha256: `sha256_of` the teacher, where it is known: hashing the weights takes a while.
    The file is written whole or not at all, and read only if it is as it was written. A folder that
    cannot be written to, a full disk: the line says that they are not kept.
    """
    assert teacher.folder is not None
    path = file_of(teacher, sha256 or sha256_of(teacher), seed, settings)
    known, lost = np.zeros((0, *teacher.model.shape), np.uint8), ""
    if path.exists():
        try:
            known = _read(path, teacher.model.shape)
        except (ValueError, OSError) as error:
            lost = f"{error}; they were drawn anew. "
    made = drawn_pairs(teacher, n, seed, settings, heard, known)
    if len(known) >= n:
        return made, f"{n:,} pairs that were drawn before, of {path}"
    try:
        save(path, {"images": made.images}, {"kind": "pairs"})
    except OSError as error:
        return made, f"{lost}warning: the pairs are not kept, and --resume draws them anew: {error}"
    size = amount(path.stat().st_size)
    return made, f"{lost}{n:,} pairs, kept for --resume and other students in {path} ({size})"


def file_of(teacher: Run, sha256: str, seed: int, settings: Mapping[str, Any]) -> Path:
    """Where the pairs of these weights, this seed and these settings lie."""
    assert teacher.folder is not None
    assert isinstance(teacher.model, Draws)
    drawn = [sha256, seed, chosen(teacher.model, settings)]
    key = hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()
    return teacher.folder.path / f"pairs-{key[:12]}.safetensors"


def _read(path: Path, shape: tuple[int, ...]) -> Pictures:
    """The pictures of a file; ValueError where it is damaged, or holds something else."""
    images: Pictures | None = load(path).get("images")
    if images is None or images.dtype != np.uint8 or images.shape[1:] != shape:
        raise ValueError(f"{path} holds no pictures of {shape}")
    return images


@no_grad()
def drawn_pairs(
    teacher: Run, n: int, seed: int, settings: Mapping[str, Any], heard: Heard = lambda k, n: None,
    known: Pictures | None = None,
) -> Dataset:  # fmt: skip
    """n pictures of a teacher as a data set, with the column "noise"; labels in turn.

    Pair i of a seed is always the same on one machine, whatever n is. The teacher draws by a
    recorded plan. `known` are the first pictures, which are not drawn.
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
        z, rows = model.noise.draw(TOGETHER, rng), slice(first, first + TOGETHER)
        noises.append(z.numpy().copy())
        if known is not None and min(first + TOGETHER, n) <= len(known):
            images.append(known[rows])
            continue
        given = [] if labels is None else [model.place(labels[rows])]
        images.append(to_uint8(draw(z, *given).numpy(), model.value_range))
    heard(n, n)
    classes = None
    if column is not None:
        classes = teacher.data.get("classes") or [str(k) for k in range(column.count)]
    return Dataset(
        f"drawn by {model.name}", np.concatenate(images)[:n],
        None if labels is None else labels[:n], classes,
        {"noise": np.concatenate(noises)[:n]},
    )  # fmt: skip


def as_many(real: Dataset, n: int) -> Dataset:
    """Data of n images or more: again and again the same, where they are fewer.

    An epoch is as long as the shortest of the data sets that it reads.
    """
    if len(real) >= n:
        return real
    at = np.resize(np.arange(len(real)), n)
    labels = None if real.labels is None else real.labels[at]
    return Dataset(f"{real.name}, repeated", real.images[at], labels, real.classes)
