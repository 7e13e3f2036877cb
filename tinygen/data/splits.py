"""What the names of folders say: a split (train, test), or a place of images, or neither."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["ANSWERS", "PLACES", "SYSTEM", "is_place", "role", "roles", "says_split"]

TRAIN = ("train", "training", "trn", "trainval")
HELD_OUT = (  # the first of these that there is
    "test", "testing", "tst", "val", "valid", "validation", "validate", "dev", "eval",
    "evaluation", "holdout",
)  # fmt: skip
PLACES = ("images", "image", "imgs", "img", "pictures", "photos", "files", "data", "all")
FILLING = {*PLACES, "set", "sets", "dataset", "split", "folder", "dir", "x"}
# Beside images, these hold answers drawn as images, which are no class of them.
ANSWERS = {
    "masks", "mask", "labels", "label", "annotations", "annotation", "segmentation",
    "segmentations", "groundtruth", "gt",
}  # fmt: skip
# Folders and files that systems and programs leave behind
SYSTEM = {
    "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "@tmp", "@recycle", "#recycle",
    "#snapshot", "$recycle.bin", "system volume information", "lost+found", "__pycache__",
    "__macosx",
}  # fmt: skip
ROLE = {**dict.fromkeys(TRAIN, "train"), **dict.fromkeys(HELD_OUT, "held")}


def words(name: str) -> set[str]:
    """The words of a name, without numbers.

    Those of "seg_Train", "TrainSeg" and "train2017" are seg and train; train and seg; train.
    """
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).casefold()
    found = {word for word in re.split(r"[\W_\d]+", parts) if word}
    for word in found - {*ROLE, *FILLING}:
        fused = re.fullmatch(rf"({'|'.join(ROLE)})({'|'.join(FILLING - {'x'})})", word)
        if fused is not None:
            found = (found - {word}) | {*fused.groups()}
    return found


def _split(name: str) -> tuple[str | None, frozenset[str]]:
    """Which split a name tells, and what else it says: ("train", {"seg"}) of "seg_train"."""
    found = words(name)
    told = {ROLE[word] for word in found if word in ROLE}
    rest = frozenset(found - {*ROLE} - FILLING)
    return (told.pop() if len(told) == 1 else None), rest


def roles(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names of folders side by side that mean images to train on, and those held out.

    A name means a split if it says no more ("train", "Train_2017", "TestImages"); with another such
    beside it, also if it does ("train", "test_new"); or if all of them say the same more
    ("seg_train", "seg_test").  Those held out come with the one to take first in front.
    """
    said = {name: _split(name) for name in names}
    told = [name for name in names if said[name][0] is not None]
    bare = [name for name in told if not said[name][1]]
    alike = len(told) == len(names) and len({said[name][1] for name in told}) == 1
    if not alike and {said[name][0] for name in told} == {"train", "held"} and bare:
        others = [name for name in told if said[name][0] != said[bare[0]][0]]
        bare = bare if any(name in bare for name in others) else [*bare, *others]
    meant = told if alike else bare
    train = [name for name in meant if said[name][0] == "train"]
    held = [name for name in meant if said[name][0] == "held"]
    held.sort(key=lambda name: min(HELD_OUT.index(w) for w in words(name) if w in HELD_OUT))
    return train, held


def role(name: str) -> str | None:
    """The split that a name means by itself, "train" or "held", or None."""
    told, rest = _split(name)
    return None if rest else told


def says_split(name: str) -> bool:
    """Whether a name tells a split, whatever else it says."""
    return _split(name)[0] is not None


def is_place(name: str) -> bool:
    """Whether a name says that images, or drawn answers to them, lie there, and nothing more."""
    found = words(name)
    more = {"jpeg", "jpg", "png", "rgb", "class", "object"}
    return bool(found & {*PLACES, *ANSWERS}) and found <= {*FILLING, *ANSWERS, *more}
