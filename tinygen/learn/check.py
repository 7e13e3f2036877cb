"""Looks at an answer, case by case, and says what is wrong with it and why.

`looking` runs an answer here, in this process; `apart.run` does it in one of its own, which is
what a student's answer gets. `judge` compares what was seen with what the reference shows, and
finds the listed wrong solution that fails in the same way and with the same numbers.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import linecache
import pkgutil
import re
import sys
import traceback
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from ..program import command
from . import values
from .exercise import Case, Exercise

NAME = "answer"  # of the module that an answer becomes
SAME = 1e-6  # how near two numbers are that show the same mistake
PRINTED = 4000  # characters of what an answer prints that are kept


class Seen(NamedTuple):
    """What a case showed: a value, an error, or why there is neither.

    Args:
        kind: "value", "error" or "stopped".
        value: plain (see values) for a value, else None.
        error: the type of an error; why the program was stopped.
        text: its message.
        trace: its traceback, of the answer's own lines.
        loading: whether the file stopped while it was loaded.
    """

    kind: str
    value: Any = None
    error: str = ""
    text: str = ""
    trace: str = ""
    loading: bool = False


class Missing(AttributeError):  # noqa: N818 - what a person reads
    """The answer does not define what the exercise asks for."""


class Module(types.ModuleType):
    """An answer's program, as a module."""

    def __getattr__(self, name: str) -> Any:
        raise Missing(f"the file defines no `{name}`")


class Sink(io.TextIOBase):
    """Keeps the first characters that are printed."""

    def __init__(self) -> None:
        self.kept = ""

    def write(self, text: str) -> int:
        self.kept += str(text)[: PRINTED - len(self.kept)]
        return len(text)


# ---- the set -------------------------------------------------------------------------------------


@cache
def exercises() -> dict[str, Exercise]:
    """All exercises by name, in the order of the lessons."""
    package = importlib.import_module(f"{__package__}.exercises")
    found = {}
    for name in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        module = importlib.import_module(f"{package.__name__}.{name}")
        found[name] = replace(module.EXERCISE, name=name)
    return found


def find(word: str) -> Exercise:
    """The exercise of a name, a short name or a file's name; ValueError if there is none."""
    stem = re.split(r"[/\\]", word.strip())[-1].removesuffix(".py")
    every = exercises()
    for name, exercise in every.items():
        if stem.lower() in (name.lower(), exercise.key.lower()):
            return exercise
    near = [e.key for e in every.values() if e.key[:2] == stem[:2]]
    more = f"; lesson {stem[:2]} has {', '.join(near)}" if near else ""
    raise ValueError(f"there is no exercise {word!r}{more}. `{command('learn', 'list')}` shows all")


# ---- looking -------------------------------------------------------------------------------------


def looking(exercise: Exercise, source: str, file: str = "") -> Iterator[Seen]:
    """What each case of the exercise shows, run in this process, with no limit on time."""
    file = file or f"{exercise.name}.py"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    module = Module(NAME)
    module.__file__ = file
    with _imported(module):
        failed = None
        try:
            exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
        except BaseException as error:
            failed = _error(error, file)._replace(loading=True)
        for case in exercise.cases():
            yield failed or _look(case, module, file)


@contextlib.contextmanager
def _imported(module: Module) -> Iterator[None]:
    """While it is looked at, the module can be imported, as pickling and dataclasses ask for.

    Primitives that it declares are forgotten afterwards.
    """
    before = sys.modules.get(NAME)
    sys.modules[NAME] = module
    engine = sys.modules.get("tinygen.primitive")  # not there for numbers in plain Python
    table: dict[str, Any] = engine.PRIMITIVES if engine else {}
    there = set(table)
    try:
        yield
    finally:
        for name in set(table) - there:
            del table[name]
        if before is None:
            sys.modules.pop(NAME, None)
        else:
            sys.modules[NAME] = before


def verdict(word: str, names: dict[str, Any]) -> None:
    """Look at names that are defined here, in a notebook: `verdict("05c", globals())`.

    Prints why it is right; AssertionError says what is not, as graders expect.
    """
    from .lesson import praised, told

    exercise = find(word)
    module = Module(NAME)
    module.__dict__.update({k: v for k, v in names.items() if not k.startswith("__")})
    found = judge(exercise, [_look(case, module, "") for case in exercise.cases()])
    if not found.passed:
        raise AssertionError(told(found))
    print(praised(found))


def _look(case: Case, module: Module, file: str) -> Seen:
    try:
        return Seen("value", values.plain(case.look(module)))
    except BaseException as error:
        return _error(error, file)


def _error(error: BaseException, file: str) -> Seen:
    """An error, with the lines of the answer that led to it."""
    try:
        text = str(error)[:600]
    except BaseException:
        text = "its message cannot be read"
    lines = []
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == file:
            lines.append(f"line {frame.lineno}, in {frame.name}: {(frame.line or '').strip()[:80]}")
    if isinstance(error, SyntaxError) and error.filename == file:
        text = f"{error.msg}"
        lines.append(f"line {error.lineno}: {(error.text or '').strip()[:80]}")
    if len(lines) > 8:
        lines = [*lines[:3], f"... {len(lines) - 6} more ...", *lines[-3:]]
    return Seen("error", None, type(error).__name__, text, "\n".join(lines))


def look(exercise: Exercise, source: str) -> list[Seen]:
    """All that an answer shows, in this process and without its prints: for code of our own."""
    sink = Sink()
    quiet = contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink)
    with quiet[0], quiet[1], warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(looking(exercise, source))


@cache
def wanted(name: str) -> tuple[Seen, ...]:
    """What the reference shows."""
    exercise = exercises()[name]
    return tuple(look(exercise, exercise.reference))


@cache
def known(name: str) -> tuple[tuple[Seen, ...], ...]:
    """What each wrong solution shows."""
    exercise = exercises()[name]
    return tuple(tuple(look(exercise, w.program(exercise.reference))) for w in exercise.wrong)


# ---- judging -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What was found of an answer.

    Args:
        exercise: that it answers.
        passed: whether all cases are right.
        right: labels of the cases that are right and come before the first that is not.
        label: of the first case that is not right.
        what: in words, what it shows there.
        hint: of the wrong solution that fails in the same way, or "".
        number: of that wrong solution, from 1; 0 for none.
        trace: where in the answer an error came up.
        order: to which order of derivatives all is right.
    """

    exercise: Exercise
    passed: bool
    right: tuple[str, ...]
    label: str = ""
    what: str = ""
    hint: str = ""
    number: int = 0
    trace: str = ""
    order: int = 0


def judge(exercise: Exercise, seen: list[Seen]) -> Verdict:
    """Compare what an answer showed with the reference, and recognise its mistake."""
    cases, want = list(exercise.cases()), wanted(exercise.name)
    seen = seen + [Seen("stopped", error="end")] * (len(cases) - len(seen))
    texts = [_wrong(s, w, c) for s, w, c in zip(seen, want, cases, strict=False)]
    bad = [i for i, text in enumerate(texts) if text]
    least = min([cases[i].order for i in bad], default=3)
    order = max([c.order for c in cases if c.order < least], default=0)
    if not bad:
        return Verdict(exercise, True, tuple(c.label for c in cases), order=order)
    first = bad[0]
    number = _same_mistake(exercise, seen, want, cases, first)
    hint = exercise.wrong[number - 1].hint if number else ""
    found = seen[first]
    label = "" if found.loading else cases[first].label
    right = tuple(c.label for c in cases[:first])
    return Verdict(
        exercise, False, right, label, texts[first], hint, number, found.trace, max(order, 0)
    )


def _wrong(seen: Seen, want: Seen, case: Case) -> str:
    """What is wrong in a case, in words; "" if nothing."""
    if seen.kind == "value":
        if want.kind != "value":
            return f"{values.shown(seen.value)}, expected an error: {want.error}: {want.text}"
        return values.difference(seen.value, want.value, case.tolerance)
    if seen.kind == "stopped":
        return seen.text or "the program ended before this was looked at"
    if want.kind == "error" and want.error == seen.error:
        return ""
    if seen.error in ("Missing", "Finding"):
        return seen.text
    if seen.error == "SystemExit":
        return "the program ends itself (exit); leave that out"
    if seen.error == "EOFError":
        return "the program waits for input, and nobody types here; leave input() out"
    where = "The file stops while it is loaded, with" if seen.loading else "stopped with"
    return f"{where} {seen.error}{f': {seen.text}' if seen.text else ''}"


def _alike(a: Seen, b: Seen) -> bool:
    """Whether two answers show the same in a case."""
    if a.kind != b.kind or a.error != b.error:
        return False
    return a.kind != "value" or not values.difference(a.value, b.value, SAME)


def _same_mistake(
    exercise: Exercise, seen: list[Seen], want: tuple[Seen, ...], cases: list[Case], first: int
) -> int:
    """The number of the wrong solution that first fails where this does, and alike; 0 for none.

    Of several the one that is alike in most cases.
    """
    best, most = 0, 0
    for number, other in enumerate(known(exercise.name), start=1):
        fails = [i for i, c in enumerate(cases) if _wrong(other[i], want[i], c)]
        if not fails or fails[0] != first or not _alike(other[first], seen[first]):
            continue
        agree = sum(_alike(a, b) for a, b in zip(other, seen, strict=False))
        if agree > most:
            best, most = number, agree
    return best
