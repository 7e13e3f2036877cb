"""`tinygen learn mark FOLDER`: all answers of a class, in a table with the same bytes everywhere.

A submission is a folder of a student with answers in it, at any depth, or a file named
STUDENT_05c_row.py. What a learning platform adds to a file's name does no harm.
"""

from __future__ import annotations

import csv
import io
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import apart
from .check import exercises, judge
from .exercise import Exercise
from .lesson import read
from .selftest import possible

COLUMNS = ("name", "exercise", "passed", "order", "hint", "seconds")
MOST_FAILED = "(most failed)"  # the name in the last line


class Mark(NamedTuple):
    """A line of the table.

    Args:
        name: of the student.
        exercise: its name.
        passed: "yes" or "no".
        order: to which order of derivatives all is right; "" for an exercise without.
        hint: of the listed mistake that the answer shows.
        seconds: "<10", or "10" where that limit ended it; more exact would differ by the day.
    """

    name: str
    exercise: str
    passed: str
    order: str
    hint: str
    seconds: str


def submissions(folder: Path) -> Iterator[tuple[str, Exercise | None, Path]]:
    """The student, the exercise (None if the file is of none) and the file of each answer."""
    longest = sorted(exercises().values(), key=lambda e: -len(e.name))
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder).parts
        if any(part.startswith((".", "__")) for part in parts) or not path.is_file():
            continue
        exercise = next((e for e in longest if e.name in path.stem), None)
        name = parts[0] if len(parts) > 1 else path.stem
        if len(parts) == 1 and exercise is not None:
            name = path.stem.partition(exercise.name)[0].strip(" _-") or path.stem
        yield unicodedata.normalize("NFC", name), exercise, path


def marks(folder: Path, limit: float = apart.LIMIT) -> list[Mark]:
    """The table, in the order of names and exercises; equal answers are run once."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give one with a folder for each student")
    found = sorted(
        submissions(folder), key=lambda s: (s[0].casefold(), s[0], s[1].name if s[1] else "")
    )
    answers: list[tuple[str, str, str]] = []
    for name, exercise, path in found:
        lack = "it is the file of no exercise" if exercise is None else possible(exercise)
        if exercise is None or lack:
            print(f"left out: {path.relative_to(folder).as_posix()}: {lack}", file=sys.stderr)
        else:
            answers.append((_safe(name), exercise.name, read(path)))
    if not answers:
        raise ValueError(f"{folder} holds no answers: files such as NAME/05c_row.py are expected")
    distinct = dict.fromkeys((exercise, source) for _, exercise, source in answers)
    ran = apart.run_all([(exercises()[exercise], source) for exercise, source in distinct], limit)
    results = {
        key: _mark(exercises()[key[0]], one, limit) for key, one in zip(distinct, ran, strict=True)
    }
    return [Mark(name, exercise, *results[exercise, source]) for name, exercise, source in answers]


def _mark(exercise: Exercise, ran: apart.Ran, limit: float) -> tuple[str, str, str, str]:
    verdict = judge(exercise, ran.seen)
    order = str(verdict.order) if any(c.order for c in exercise.cases()) else ""
    passed = "yes" if verdict.passed else "no"
    return passed, order, verdict.hint, f"{limit:g}" if ran.late else f"<{limit:g}"


def _safe(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in "=+-@\t" else name


def most_failed(table: list[Mark]) -> Mark:
    """The last line: which exercise most people failed, how many of how many, and the hint."""
    people = {(m.name, m.exercise) for m in table}
    passed = {(m.name, m.exercise) for m in table if m.passed == "yes"}
    failed = Counter(exercise for _, exercise in people - passed)
    if not failed:
        return Mark(MOST_FAILED, "none", f"0 of {len(people)}", "", "", "")
    name = min(failed, key=lambda e: (-failed[e], e))
    hints = Counter(m.hint for m in table if m.exercise == name and m.passed == "no" and m.hint)
    hint = min(hints, key=lambda h: (-hints[h], h)) if hints else ""
    tried = sum(e == name for _, e in people)
    return Mark(MOST_FAILED, name, f"{failed[name]} of {tried} failed", "", hint, "")


def main(folder: Path, out: Path, limit: float = apart.LIMIT) -> int:
    """Write the table, and print its last line."""
    table = marks(folder, limit)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    last = most_failed(table)
    writer.writerows([COLUMNS, *table, last])
    out.write_bytes(text.getvalue().encode("utf-8"))
    people = len({m.name for m in table})
    right = sum(m.passed == "yes" for m in table)
    print(f"{out}: {len(table)} answers of {people} people, {right} right")
    hint = f": {last.hint}" if last.hint else ""
    print(f"most failed: {last.exercise}, {last.passed}{hint}")
    return 0
