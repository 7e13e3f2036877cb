"""What is strange in images that were read: copies, and backgrounds of both kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["backgrounds", "copies"]

Found = tuple[list[str], list[str]]  # notes, warnings

SHARE = 0.01  # of the images; more copies than these are a fault in most data
DARK, LIGHT = 63, 192  # levels: a background is no lighter, no darker
MIXED = 0.05  # of the images lie on the rarer background, at least, where both kinds are meant


def copies(
    parts: Sequence[NDArray[np.uint8]],
    labels: NDArray[np.int64] | None,
    blank: NDArray[np.bool_],
) -> Found:
    """Images that occur more than once: in two classes, or held out and among those to train on.

    parts: the training images (N, H, W, C), and the held-out ones.  labels: of the training images.
    blank: which of all images are, as they do not count.
    """
    total, held = len(parts[0]), sum(map(len, parts[1:]))
    bare = iter(blank.tolist())
    keys = [[None if next(bare) else hash(image.tobytes()) for image in part] for part in parts]
    train = [key for key in keys[0] if key is not None]
    first: dict[int, int] = {}
    twice = 0
    if labels is not None:
        for key, label in zip(keys[0], labels.tolist(), strict=True):
            twice += key is not None and first.setdefault(key, label) != label
    known = {*train}
    again = len(train) - len(known)
    seen = sum(key in known for part in keys[1:] for key in part)
    notes: list[str] = []
    warnings: list[str] = []
    for count, of, sentence in (
        (twice, total, f"{twice:,} training images occur in another class, too"),
        (again - twice, total, f"{again - twice:,} training images are copies of others"),
        (seen, held, f"{seen:,} of {held:,} held-out images are also training images; "
                     "measures of them say little of new images"),
    ):  # fmt: skip
        if count > 0:
            (warnings if count > SHARE * of else notes).append(sentence)
    return notes, warnings


def backgrounds(parts: Sequence[NDArray[np.uint8]]) -> Found:
    """Images on black beside others on white, as when some were inverted."""
    edges = [_edges(part) for part in parts]
    dark = [(edge <= DARK).mean(axis=1) > 0.75 for edge in edges]
    light = [(edge >= LIGHT).mean(axis=1) > 0.75 for edge in edges]
    shares = [(d.mean(), w.mean()) for d, w in zip(dark, light, strict=True)]
    if len(parts) == 2 and any(min(shares[0][k], shares[1][1 - k]) > 0.9 for k in (0, 1)):
        ground = ("black", "white") if shares[0][0] > 0.9 else ("white", "black")
        return [], [
            f"the training images lie on {ground[0]}, the held-out ones on {ground[1]}; invert "
            "those of one kind"
        ]
    total = sum(map(len, parts))
    black, white = sum(int(d.sum()) for d in dark), sum(int(w.sum()) for w in light)
    if min(black, white) >= MIXED * total and black + white > 0.9 * total:
        return [], [
            f"{black:,} images lie on black, {white:,} on white; where they mean the same, invert "
            "those of one kind"
        ]
    return [], []


def _edges(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The levels at the edge of each image, (N, edge)."""
    sides = images[:, :1], images[:, -1:], images[:, :, :1], images[:, :, -1:]
    return np.concatenate([side.reshape(len(images), -1) for side in sides], axis=1)
