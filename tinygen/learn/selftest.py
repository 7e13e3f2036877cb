"""The exercises' own test: each reference passes, each wrong solution is refused with its hint."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from . import values
from .check import exercises, find, judge, known, look, wanted
from .exercise import Exercise

PACKAGE = Path(__file__).parent.parent
LEAST = 4  # wrong solutions of an exercise


def possible(exercise: Exercise) -> str:
    """What this machine lacks for it, in words; "" if nothing."""
    from .doctor import compiler

    if "numba" in exercise.needs and importlib.util.find_spec("numba") is None:
        return 'Numba: pip install "tinygen[fast]"'
    if "compiler" in exercise.needs and not compiler():
        return "a C++ compiler, g++ or clang++"
    return ""


def engine_line(exercise: Exercise) -> str:
    """Where the engine does the same, as `file:line`; ValueError if the words are not there."""
    file, words = exercise.engine
    path = PACKAGE.parent / file
    if file.startswith("kernels/") and not path.exists():
        spec = importlib.util.find_spec("tinygen_kernels")
        assert spec is not None
        assert spec.origin is not None
        path = Path(spec.origin).parent / file.removeprefix("kernels/")
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if words in line:
            return f"{file}:{number}"
    raise ValueError(f"{file} has no line with {words!r}")


def faults(exercise: Exercise) -> Iterator[str]:
    """What is wrong with an exercise, in words."""
    want = wanted(exercise.name)
    for case, seen in zip(exercise.cases(), want, strict=True):
        if seen.loading or seen.error in ("Missing", "Finding"):
            yield f"the reference, for {case.label}: {seen.error}: {seen.text}"
        elif case.truth is not None:
            text = values.difference(seen.value, values.plain(case.truth()), case.tolerance or 1e-6)
            if text:
                yield f"the reference against the truth, for {case.label}: {text}"
    if not judge(exercise, look(exercise, exercise.reference)).passed:
        yield "the reference does not show the same twice"
    if judge(exercise, look(exercise, exercise.start)).passed:
        yield "the program to begin with passes"
    for number, wrong in enumerate(exercise.wrong, start=1):
        verdict = judge(exercise, list(known(exercise.name)[number - 1]))
        if verdict.passed:
            yield f"wrong solution {number} passes: {wrong.hint}"
        elif verdict.number != number:
            yield f"wrong solution {number} gets the hint of number {verdict.number}: {wrong.hint}"
        if len(wrong.hint) > 200 or not wrong.hint.endswith((".", "?")):
            yield f"hint {number} is not one or two short sentences: {wrong.hint}"
    if len(exercise.wrong) < LEAST:
        yield f"{len(exercise.wrong)} wrong solutions, at least {LEAST} are wanted"
    try:
        engine_line(exercise)
    except (ValueError, OSError) as error:
        yield f"engine: {error}"


def main(only: list[str]) -> int:
    """Print what was found, and the count; 1 if something is wrong."""
    every = [find(word) for word in only] or list(exercises().values())
    left = {e.name: lack for e in every if (lack := possible(e))}
    chosen = [e for e in every if e.name not in left]
    found = {e.name: list(faults(e)) for e in chosen}
    for name, texts in found.items():
        for text in texts:
            print(f"{name}: {text}", file=sys.stderr)
    total = sum(len(e.wrong) for e in chosen)
    verdicts = [(n, judge(e, list(s))) for e in chosen for n, s in enumerate(known(e.name), 1)]
    refused = sum(not v.passed for _, v in verdicts)
    own = sum(not v.passed and v.number == n for n, v in verdicts)
    passing = sum(judge(e, list(wanted(e.name))).passed for e in chosen)
    print(
        f"{len(chosen)} exercises: {passing} references pass, {refused} of {total} wrong solutions "
        f"refused, {own} with their own hint"
    )
    for name, lack in left.items():
        print(f"left out: {name} needs {lack}")
    return 1 if any(found.values()) else 0
