"""Folders of image files: what is a class, what a split, and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import WRITTEN, DataError, NoImagesError, class_name, file_kind, natural
from .gather import read_images
from .pictures import ENDINGS
from .report import Report, Request, listed
from .splits import ANSWERS, PLACES, SYSTEM, is_place, role, roles, says_split

__all__ = ["read_folder"]

FOREIGN = (
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".psd", ".svg", ".svgz", ".raw", ".dng",
    ".cr2", ".cr3", ".nef", ".arw", ".tga", ".ico", ".exr", ".hdr", ".eps", ".pcx", ".xcf",
)  # fmt: skip

DEEPEST = 50  # folders within folders that are followed

Split = tuple[NDArray[np.uint8], NDArray[Any] | None]  # images (N, H, W, C), labels (N,)
Read = tuple[Split, Split | None, tuple[str, ...] | None]  # train, test, classes


@dataclass
class Node:
    """A folder with images somewhere below it."""

    path: Path
    entries: list[Path | Node] = field(default_factory=list)  # in the order of their names

    @property
    def loose(self) -> list[Path]:
        """The images that lie in the folder itself."""
        return [entry for entry in self.entries if isinstance(entry, Path)]

    @property
    def folders(self) -> list[Node]:
        inner = [entry for entry in self.entries if isinstance(entry, Node)]
        return sorted(inner, key=lambda node: natural(node.path.name))

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def word(self) -> str:
        return self.path.name.casefold()

    def images(self) -> Iterator[Path]:
        """All images below."""
        for entry in self.entries:
            if isinstance(entry, Path):
                yield entry
            else:
                yield from entry.images()


@dataclass
class Side:
    """The files of one split, with their classes where there are any."""

    names: tuple[str, ...] | None
    files: list[Path]
    numbers: list[int]


def read_folder(folder: Path, request: Request) -> Read:
    """Image files in the order of their names; sub-folders are classes, or splits of the data.

    Hidden files, runs of a training and files of other kinds are left out, and the report says so.
    """
    if _is_run(folder):
        raise DataError(
            f"{folder}: the folder of a training, whose pictures are no data; give the folder of "
            "the images"
        )
    report = request.report
    foreign: list[Path] = []
    tree = _scan(folder, folder, report, foreign, [])
    if foreign and not request.skip_broken:
        more = f" (and {listed([p.name for p in foreign[1:]], 5)})" if len(foreign) > 1 else ""
        raise DataError(
            f"{foreign[0]}: images of this kind are not read; convert them to PNG or JPEG, move "
            f"them elsewhere, or leave them out (--skip-broken){more}"
        )
    if not any(True for _ in tree.images()):
        raise _nothing(folder, report)
    train, test = _splits(tree, report)
    names = train.names
    if test is not None:
        names = _shared_classes(folder, train, test, report)
    files = [*train.files, *([] if test is None else test.files)]
    images, whole = read_images(folder, files, request)
    cut = int(whole[: len(train.files)].sum())
    numbers = np.array(train.numbers, np.int64)[whole[: len(train.files)]]
    gone = sorted({*train.numbers} - {*numbers.tolist()})
    if train.names and gone:
        report.warn(f"no image of {listed([train.names[k] for k in gone], 20)} can be read")
    labels = None if names is None else numbers
    if test is None:
        return (images, labels), None, names
    if cut == 0 or cut == len(images):
        raise DataError(f"{folder}: no image of {'train' if cut == 0 else 'test'} can be read")
    held = np.array(test.numbers, np.int64)[whole[len(train.files) :]]
    held_labels = None if names is None or test.names is None else held
    return (images[:cut], labels), (images[cut:], held_labels), names


# ---- what there is -------------------------------------------------------------------------------


def _scan(folder: Path, root: Path, report: Report, foreign: list[Path], above: list[Path]) -> Node:
    """The tree of a folder; links to folders are followed in the first two levels only."""
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error
    if len(above) > DEEPEST:
        raise DataError(
            f"{root}: more than {DEEPEST} folders within one another; give the folder of the images"
        )
    node = Node(folder)
    above = [*above, folder.resolve()]
    for entry in entries:
        shown = str(entry.relative_to(root))
        if entry.name.startswith(".") or entry.name.casefold() in SYSTEM:
            report.leave_out("hidden", shown)
        elif entry.is_dir():
            if _is_run(entry):
                report.leave_out("run of a training", shown)
            elif entry.is_symlink() and (len(above) > 2 or entry.resolve() in above):
                report.leave_out("linked folder", shown)
            else:
                inner = _scan(entry, root, report, foreign, above)
                if inner.entries:
                    node.entries.append(inner)
                else:
                    report.leave_out("without images", shown)
        elif not entry.is_file():
            broken = entry.is_symlink() and not entry.exists()
            report.leave_out("broken link" if broken else "pipe or device", shown)
        elif entry.suffix.lower() in ENDINGS or (
            not entry.suffix and file_kind(entry).endswith(" image")
        ):
            node.entries.append(entry)
        elif entry.suffix.lower() in FOREIGN:
            foreign.append(entry)
            report.leave_out(entry.suffix.lower(), shown)
        else:
            report.leave_out(entry.suffix.lower() or "without ending", shown)
    return node


def _is_run(path: Path) -> bool:
    """Whether it is the folder of a training, whose pictures are no data."""
    return (path / "config.json").is_file() and (path / "checkpoints").is_dir()


def _nothing(folder: Path, report: Report) -> NoImagesError:
    """There are no images: say what there is instead."""
    met = report.others()
    hint = ""
    there = [name for names in report.left_out.values() for name in names]
    arrays = [name for name in there if name.endswith((".npz", ".npy"))]
    packed = (".zip", ".tar", "gz", ".7z", ".rar", ".xz", ".bz2")
    archives = [name for name in there if name.endswith(packed)]
    files = [name for name in there if (folder / name).is_file()]
    if arrays:
        hint = f"; to read an array, give its file: {folder / arrays[0]}"
    elif archives:
        hint = f"; unpack {archives[0]} first"
    elif files:
        kind = file_kind(folder / files[0])
        hint = f"; {files[0]}: {kind}{WRITTEN}" if kind else WRITTEN
    return NoImagesError(
        f"{folder}: no images found, {f'it has {met}' if met else 'it is empty'}; expected "
        f"{', '.join(ENDINGS)} files, sub-folders of them, or IDX files such as "
        f"train-images-idx3-ubyte.gz{hint}"
    )


# ---- classes and splits --------------------------------------------------------------------------


def _splits(tree: Node, report: Report) -> tuple[Side, Side | None]:
    """The training and the held-out files, wherever below the folder the splits begin."""
    source = tree
    while True:
        train, held = _roles(tree.folders)
        if train and held:
            return _two_sides(tree, train, held, report)
        only = tree.folders[0] if len(tree.folders) == 1 and not tree.loose else None
        if only is None or not _within(only, bool(train or held) or only.word in PLACES):
            break
        split = "; there is no test folder beside it" if train else ""
        split = "; there is no train folder beside it" if held else split
        report.note(f"images read from {only.path.relative_to(source.path)}, the only folder with "
                    f"images{split}")  # fmt: skip
        tree = only
    if held and len(held) == len(tree.folders):
        raise DataError(
            f"{tree.path}: the folders {', '.join(n.name for n in held)}, and no train; expected "
            "train beside them; rename the one to train on, or give its path"
        )
    _look_above(source, report)
    return _side(tree, tree.path, report, split=False), None


def _roles(folders: list[Node]) -> tuple[list[Node], list[Node]]:
    """The folders to train on, and those held out, the one to take first."""
    by_name = {node.name: node for node in folders}
    train, held = roles(list(by_name))
    return [by_name[name] for name in train], [by_name[name] for name in held]


def _two_sides(
    tree: Node, train: list[Node], held: list[Node], report: Report
) -> tuple[Side, Side]:
    if len(train) > 1:
        raise DataError(
            f"{tree.path}: both {train[0].name} and {train[1].name}; expected one folder to train "
            "on; rename or move the other"
        )
    for node in tree.folders:
        if node is not train[0] and node is not held[0]:
            count = sum(1 for _ in node.images())
            report.leave_out("beside train", f"{node.name}, {count:,} images")
    for path in tree.loose:
        report.leave_out("beside train", path.name)
    report.note(f"split: {train[0].name} to train on, {held[0].name} held out")
    sides = [_side(node, tree.path, report, split=True) for node in (train[0], held[0])]
    return sides[0], sides[1]


def _within(only: Node, named: bool) -> bool:
    """Whether an only folder is no class, but the place of the classes or of all images.

    named: whether its name says so: images, data, train.
    """
    return not only.loose if only.folders else named


def _side(node: Node, root: Path, report: Report, split: bool) -> Side:
    """The classes of a folder, each a sub-folder; or its images without classes.

    split: whether the folder is one side of a split, and may hold a folder called like itself.
    """
    while len(node.folders) == 1 and not node.loose:
        only = node.folders[0]
        named = only.word in PLACES or (split and says_split(only.name))
        if not _within(only, named):
            break
        report.note(f"{node.path.relative_to(root)}: images read from {only.name}, its only folder")
        node = only
    if node.loose and node.folders:
        raise DataError(
            f"{node.path}: both images ({node.loose[0].name}) and sub-folders with images "
            f"({node.folders[0].name}); expected either; move the images into a sub-folder"
        )
    if node.loose:
        return Side(None, node.loose, [0] * len(node.loose))
    side = Side((), [], [])
    nested = []
    numbers: dict[str, int] = {}
    for inner in node.folders:
        files = list(inner.images())
        called = class_name(inner.name)
        if called in numbers:
            report.warn(f"two folders are both called {called}, and count as one class")
        side.files += files
        side.numbers += [numbers.setdefault(called, len(numbers))] * len(files)
        nested += inner.folders
        if {role(n.name) for n in inner.folders} >= {"train", "held"}:
            raise DataError(
                f"{inner.path} holds {listed([n.name for n in inner.folders], 4)}: a split within "
                f"a class; give that folder, or expected the splits outside: train/{inner.name}, "
                f"test/{inner.name}"
            )
    side.names = tuple(numbers)
    _doubt_classes(node.folders, report)
    deep = [n for n in nested if n.word not in PLACES]
    if deep:
        some = [str(n.path.relative_to(node.path)) for n in deep]
        report.note(f"folders below a class are part of it: {listed(some, 3)}")
    return side


def _doubt_classes(folders: list[Node], report: Report) -> None:
    """Warn of folders that are taken for classes, but called like something else."""
    if _doubt_inner(folders, report):
        return
    places = [node for node in folders if is_place(node.name)]
    if len(places) < 2 or all(node.word in ANSWERS for node in places):
        places = []
    splits = [node for node in folders if says_split(node.name)]
    for doubted, cure in (
        (splits, "for a split, put the classes into train and test"),
        (places, "where they are none, give the path of one, or put all images into one"),
    ):
        if doubted:
            named = listed([repr(node.name) for node in doubted], 4)
            one = f"the folder {named} counts as a class"
            several = f"the folders {named} count as classes"
            subject = one if len(doubted) == 1 else several
            others = [node.name for node in folders if node not in doubted]
            beside = f", beside {listed(others, 3)}" if others else ""
            report.warn(f"{subject}{beside}; {cure}")


def _doubt_inner(folders: list[Node], report: Report) -> bool:
    """Warn of classes that hold folders of the same names, as the splits of data do."""
    inner = {node.name: {n.name for n in node.folders if n.word not in PLACES} for node in folders}
    counts = Counter(name for names in inner.values() for name in names)
    shared = sorted((name for name, n in counts.items() if n > 1), key=natural)
    holders = [name for name, names in inner.items() if len(names & {*shared}) > 1]
    if len(holders) < 2:
        return False
    report.warn(
        f"the classes {listed(holders, 3)} hold folders of the same names ({listed(shared, 3)}); "
        "if those are the classes, call the ones around them train and test, or give the path of "
        "one"
    )
    return True


def _shared_classes(
    folder: Path, train: Side, test: Side, report: Report
) -> tuple[str, ...] | None:
    """The classes of both sides; the held-out ones are numbered as those to train on."""
    if train.names is None or test.names is None:
        if train.names is not test.names:
            bare = "train" if train.names is None else "test"
            report.warnings.append(
                f"the {bare} images lie in no class folders, so they have no labels"
            )
        return train.names
    foreign = [name for name in test.names if name not in train.names]
    if foreign:
        raise DataError(
            f"{folder}: train has the classes {listed(train.names, 20)}, the held-out images also "
            f"{listed(foreign, 20)}; expected the same; give both one name, or move the held-out "
            "images elsewhere to hold out a tenth of the others"
        )
    test.numbers = [train.names.index(test.names[k]) for k in test.numbers]
    return train.names


def _look_above(tree: Node, report: Report) -> None:
    """Warn of a folder that is one split, or one class, of larger data."""
    path = tree.path.resolve()
    own = role(path.name)
    if own is not None:
        try:
            beside = [e.name for e in sorted(path.parent.iterdir()) if e.is_dir()]
        except OSError:
            return
        found = [name for name in beside if role(name) not in (None, own)]
        if found:
            report.warnings.append(
                f"{found[0]} lies beside {path.name} and is not read; give {path.parent} for both"
            )
    if not tree.folders and role(path.parent.name) is not None:
        report.warnings.append(
            f"these are the images of {path.name} alone; give {path.parent.parent} for all classes"
        )
