"""What a reading of data found, for a person to check before training on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .doubts import backgrounds, copies
from .files import printable

__all__ = ["Report", "Request", "listed"]

MOST_CLASSES = 20  # named in a line
MOST_NAMES = 3  # of the files left out for one reason
NARROW = 144  # levels that most data exceed
DARK, LIGHT = 48, 207  # levels: nothing lighter, nothing darker is a fault in most data


@dataclass
class Report:
    """How data were read; `str` gives the lines that the command line prints.

    classes: training images of each class.  levels: the darkest and the lightest, of 0 to 255.
    notes: how values, folders and transparency were understood.  warnings: probable mistakes.
    left_out: files that were not read, by the reason.  meant: options of `load` that were found in
    the data themselves, and read other images of the kind in the same way.
    """

    classes: dict[str, int] = field(default_factory=dict)
    levels: tuple[int, int] = (0, 255)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    meant: dict[str, Any] = field(default_factory=dict)

    def leave_out(self, reason: str, name: str) -> None:
        """Note a file or folder that is not read."""
        self.left_out.setdefault(reason, []).append(name)

    def note(self, sentence: str) -> None:
        """Note how something was read, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def warn(self, sentence: str) -> None:
        """Note a probable mistake, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def note_scaling(self, sizes: Sequence[tuple[int, int]], size: tuple[int, int]) -> None:
        """Note what images (height, width) lose or lack when they are scaled to one size."""
        height, width = size
        ends = f"to {width} x {height}"
        bent = sum(abs(math.log(w * height / h / width)) > 0.05 for h, w in sizes)
        if bent:
            self.note(f"{bent:,} images are stretched {ends}")
        small = [(h * w, w, h) for h, w in sizes if h < height or w < width]
        if small:
            least = min(small)
            self.note(
                f"{len(small):,} images are enlarged {ends}, the smallest from {least[1]} x "
                f"{least[2]}"
            )

    def measured(
        self,
        parts: list[NDArray[np.uint8]],
        labels: NDArray[np.int64] | None,
        classes: tuple[str, ...] | None,
    ) -> Report:
        """This report with the levels and the classes of the images that were read."""
        report = Report({}, (0, 255), [*self.notes], [*self.warnings], dict(self.left_out))
        lowest = np.concatenate([p.reshape(len(p), -1).min(axis=1) for p in parts])
        highest = np.concatenate([p.reshape(len(p), -1).max(axis=1) for p in parts])
        low, high = report.levels = int(lowest.min()), int(highest.max())
        blank = int((lowest == highest).sum())
        cut = len(parts[0])
        sides = {
            "training": (lowest[:cut], highest[:cut]),
            "held-out": (lowest[cut:], highest[cut:]),
        }
        shades = {side: _shade(*ends) for side, ends in sides.items() if len(ends[0])}
        if low == high:
            report.warnings.append(f"every pixel has the level {low}: the images are blank")
        elif any(shades.values()):
            alike = len(set(shades.values())) == 1
            for side, shade in ({"": shades["training"]} if alike else shades).items():
                if shade:
                    report.warnings.append(
                        f"all {side and side + ' '}images are nearly {shade}; if their values have "
                        "another range, give it (--value-range LOW,HIGH)"
                    )
        elif high - low < NARROW:
            report.warnings.append(
                f"the levels reach from {low} to {high} only, of 0 to 255; if their values have "
                "another range, give it (--value-range LOW,HIGH)"
            )
        if blank and low < high:
            report.warnings.append(f"{blank:,} of {len(lowest):,} images are blank: of one level")
        if low < high:
            _tell(report, copies(parts, labels, lowest == highest), backgrounds(parts))
        if labels is not None and classes is not None:
            counts = np.bincount(labels, minlength=len(classes)).tolist()
            report.classes = dict(zip(classes, counts, strict=True))
            if len(classes) == 1:
                report.note(f"one class only: {classes[0]!r}; models that go by labels need more")
            report.warnings += _doubts(report.classes, len(labels))
        return report

    def lines(self) -> list[str]:
        """A few lines: levels and classes, how the data were read, what was left out."""
        first = f"darkest level {self.levels[0]}, lightest {self.levels[1]}"
        if self.classes:
            named = [f"{name}: {n:,}" for name, n in self.classes.items()]
            first += f"; images by class: {listed(named, MOST_CLASSES)}"
        return [printable(first), *self.remarks()]

    def remarks(self) -> list[str]:
        """How the data were read, what was left out, and probable mistakes, a line each."""
        others = [f"left out: {self.others()}"] if self.left_out else []
        lines = [*self.notes, *others, *(f"warning: {text}" for text in self.warnings)]
        return [printable(line) for line in lines]

    def others(self) -> str:
        """What was left out, by the reason: "3 .txt (a.txt, b.txt, c.txt); 1 hidden (.x)"."""
        return "; ".join(
            f"{len(names):,} {reason} ({listed(names, MOST_NAMES)})"
            for reason, names in sorted(self.left_out.items())
        )

    def __str__(self) -> str:
        return "\n".join(self.lines())


@dataclass(frozen=True)
class Request:
    """How data are to be read, as `load` explains it, and the report of what was found.

    size: (height, width).  bounds: what is black and white.
    """

    size: tuple[int, int] | None = None
    bounds: tuple[float, float] | None = None
    paper: str | None = None
    skip_broken: bool = False
    report: Report = field(default_factory=Report)


def _tell(report: Report, *found: tuple[list[str], list[str]]) -> None:
    for notes, warnings in found:
        report.notes += notes
        report.warnings += warnings


def _shade(lowest: NDArray[np.uint8], highest: NDArray[np.uint8]) -> str:
    """ "black" or "white" where no image has other levels, else ""."""
    if highest.max() < DARK:
        return "black"
    return "white" if lowest.min() > LIGHT else ""


def _doubts(classes: dict[str, int], count: int) -> list[str]:
    """What is wrong with classes, in sentences."""
    doubts = []
    missing = [name for name, n in classes.items() if n == 0]
    if missing:
        doubts.append(f"no training images of {listed(missing, MOST_CLASSES)}")
    seen: dict[str, str] = {}
    twins = []
    for name in classes:
        bare = "".join(name.split())
        other = seen.setdefault(bare.casefold() if len(bare) > 1 else bare, name)
        twins += [] if other is name else [f"{other!r} and {name!r}"]
    if twins:
        doubts.append(
            f"the classes {listed(twins, 3)} differ in capitals or spaces alone; where they are "
            "one class, give them one name"
        )
    if len(classes) > max(20, count / 2):
        doubts.append(
            f"{len(classes):,} classes for {count:,} images: too few of each to learn from, or the "
            "labels are no classes"
        )
    return doubts


def listed(names: Any, most: int) -> str:
    """Names separated by commas, the first `most` of them."""
    some = ", ".join(names[:most])
    return some if len(names) <= most else f"{some} and {len(names) - most:,} more"
