"""What a student does: list, start, check, hint, answer, next, progress.

All that is written lies in the folder `learn` of the current one: the files that were started, and
progress.json.
"""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import Any

from ..program import command
from . import apart
from .check import Verdict, exercises, find, judge
from .exercise import Exercise
from .selftest import engine_line, possible

FOLDER = "learn"
PROGRESS = "progress.json"
ANSWERS = Path(__file__).parent / "answers"
WIDTH = 92


def folder() -> Path:
    """Where the files lie: ./learn, or here, for one who stands in it."""
    here = Path.cwd()
    return here if here.name == FOLDER and (here / PROGRESS).exists() else here / FOLDER


def _shown(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


# ---- progress ------------------------------------------------------------------------------------


def progress() -> dict[str, dict[str, Any]]:
    """What was tried: by exercise or step, `tries`, `done`, `hint`, `mine`."""
    path = folder() / PROGRESS
    if not path.exists():
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return {k: dict(v) for k, v in read.items()}
    except (ValueError, AttributeError, TypeError):
        raise ValueError(
            f"{_shown(path)} cannot be read as JSON; delete it: your answers stay, and a check "
            "marks again what is done"
        ) from None


def _note(name: str, **news: Any) -> dict[str, Any]:
    """Write down something of an exercise; returns all that is known of it."""
    every = progress()
    every[name] = {**every.get(name, {}), **news}
    path = folder() / PROGRESS
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(PROGRESS + ".new")
    new.write_text(json.dumps(every, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(new, path)
    return every[name]


def _done(every: dict[str, dict[str, Any]]) -> list[str]:
    return [name for name in exercises() if every.get(name, {}).get("done")]


# ---- files ---------------------------------------------------------------------------------------


def text_of(exercise: Exercise) -> str:
    """The file that a student gets: the task as its docstring, and the program to begin with."""
    task = exercise.task.strip().replace('"""', "'''")
    lines = [f"{exercise.key}: {exercise.title}.", "", *task.splitlines()]
    if exercise.questions:
        lines += ["", "Before you run anything, guess:"]
        for question, _ in exercise.questions:
            lines += textwrap.wrap(question, WIDTH, initial_indent="  - ", subsequent_indent="    ")
    raw = "r" if "\\" in "".join(lines) else ""
    return f'{raw}"""' + "\n".join(lines) + f'\n"""\n\n{exercise.start.strip()}\n'


def read(path: Path) -> str:
    """A program's text, whichever editor wrote it; what is no text stays a faulty program."""
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def begin(exercise: Exercise, *, again: bool = False) -> Path:
    """Write the file of an exercise; FileExistsError keeps what is there, unless `again`."""
    path = folder() / f"{exercise.name}.py"
    if path.exists() and not again:
        raise ValueError(
            f"{_shown(path)} is there already, with your work; "
            f"{typed('start', exercise.key, '--again')} begins anew"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        os.replace(path, path.with_suffix(".py.old"))
    path.write_text(text_of(exercise), encoding="utf-8", newline="\n")
    return path


def opened(word: str) -> tuple[Exercise, Path]:
    """The exercise and the file that are meant; without a word, the file that changed last."""
    if word:
        exercise = find(word)
        path = Path(word) if word.endswith(".py") else folder() / f"{exercise.name}.py"
        if not path.is_file():
            raise ValueError(
                f"{_shown(path)} is not there; {typed('start', exercise.key)} writes it"
            )
        return exercise, path
    files = [p for n in exercises() if (p := folder() / f"{n}.py").is_file()]
    if not files:
        raise ValueError(f"nothing is started yet; {typed('next')} begins the first exercise")
    path = max(files, key=lambda p: p.stat().st_mtime)
    return find(path.stem), path


# ---- words ---------------------------------------------------------------------------------------


def typed(*words: str) -> str:
    """A command as it can be typed here, in quotes."""
    return f"`{command('learn', *words)}`"


def wrapped(text: str, indent: str = "   ") -> str:
    """A paragraph, wrapped; its first line keeps its indent, the others get `indent`."""
    first = text[: len(text) - len(text.lstrip(" "))]
    words = " ".join(text.split())
    return textwrap.fill(words, WIDTH, initial_indent=first, subsequent_indent=indent)


def told(verdict: Verdict, printed: str = "") -> str:
    """What is said of an answer that is not right yet: message, hint, what is right, trace."""
    exercise = verdict.exercise
    place = f" For {verdict.label}:" if verdict.label else ""
    lines = [wrapped(f"{exercise.name}: not yet.{place} {verdict.what}")]
    if verdict.hint:
        lines.append(wrapped(f"   hint: {verdict.hint}", "         "))
    if verdict.right:
        count = len(verdict.right)
        few = "; ".join(verdict.right[:4]) + ("; ..." if count > 4 else "")
        lines.append(wrapped(f"   right so far: {few}", "      "))
    if verdict.trace:
        lines += ["   where:", *(f"      {line}" for line in verdict.trace.splitlines())]
    if printed.strip():
        rows = printed.strip().splitlines()
        lines += ["   it printed:", *(f"      {row[:WIDTH]}" for row in rows[:6])]
        lines += [f"      ... and {len(rows) - 6} lines more"] if len(rows) > 6 else []
    return "\n".join(lines)


def praised(verdict: Verdict) -> str:
    """What is said of an answer that is right: how far it was looked at, why, and where."""
    exercise = verdict.exercise
    order = f", to order {verdict.order}" if verdict.order > 1 else ""
    cases = len(verdict.right)
    lines = [f"{exercise.name}: right, in {cases} case{'s' * (cases != 1)}{order}"]
    lines.append(wrapped(f"   why: {exercise.why}"))
    lines.append(f"   in the engine: {engine_line(exercise)}")
    for question, answer in exercise.questions:
        lines.append(wrapped(f"   {question}  {answer}", "      "))
    return "\n".join(lines)


def _state(every: dict[str, dict[str, Any]], exercise: Exercise) -> str:
    count = f"{len(_done(every))} of {len(exercises())} done"
    return f"   {count}; {exercise.minutes} minutes of lesson {exercise.key[:2]}"


def _following(every: dict[str, dict[str, Any]]) -> Exercise | None:
    left = [e for e in exercises().values() if not every.get(e.name, {}).get("done")]
    return next((e for e in left if not possible(e)), None)


# ---- commands ------------------------------------------------------------------------------------


def list_(lessons: str) -> int:
    """`list`: the exercises, with minutes and what is done."""
    every, wanted = progress(), chosen(lessons)
    lesson = 0
    for e in wanted:
        if e.lesson != lesson:
            lesson = e.lesson
            print(f"lesson {lesson:02}")
        state = every.get(e.name, {})
        mark = "done" if state.get("done") else "tried" if state.get("tries") else ""
        lack = f"  needs {possible(e)}" if possible(e) else ""
        print(f"   {mark:5} {e.name:26} {e.minutes:3} min  {e.title}{lack}")
    count = f"{len(_done(every))} of {len(exercises())} done"
    print(f"{count}. {typed('start', wanted[0].key)} begins one.")
    return 0


def chosen(lessons: str) -> list[Exercise]:
    """The exercises of some lessons: "", "05" or "01-09", or their names, with commas between."""
    every = list(exercises().values())
    if not lessons:
        return every
    out: list[Exercise] = []
    for part in lessons.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found = [e for e in every if int(first) <= e.lesson <= int(last or first)]
            if not found:
                raise ValueError(f"lesson {part} has no exercises; {typed('list')} shows all")
            out += found
        else:
            out.append(find(part))
    return out


def start(word: str, *, again: bool = False) -> int:
    """`start`: write the file of an exercise."""
    exercise = find(word)
    path = begin(exercise, again=again)
    print(f"{_shown(path)}: {exercise.title}, about {exercise.minutes} minutes")
    print(wrapped("   " + exercise.task.strip()))
    print(f"   edit the file, then {typed('check', exercise.key)}")
    return 0


def check(word: str, *, limit: float = apart.LIMIT) -> int:
    """`check`: look at an answer; 0 if it is right, else 1."""
    exercise, path = opened(word)
    if lack := possible(exercise):
        raise ValueError(f"{exercise.name} needs {lack}")
    source = read(path)
    ran = apart.run(exercise, source, limit)
    verdict = judge(exercise, ran.seen)
    before = progress().get(exercise.name, {})
    untouched = not verdict.passed and source.strip() == text_of(exercise).strip()
    _note(
        exercise.name, tries=before.get("tries", 0) + (not untouched),
        done=verdict.passed or before.get("done", False), hint=verdict.hint,
    )  # fmt: skip
    every = progress()
    if verdict.passed:
        print(praised(verdict))
        after = _following(every)
        print(_state(every, exercise))
        print(f"   next: {after.name}" if after else "   that was the last one: all are done")
        return 0
    if untouched:
        print(f"{exercise.name}: the file is still as it was given. Its task:")
        print(wrapped("   " + exercise.task.strip()))
        return 1
    print(told(verdict, ran.printed))
    print(_state(every, exercise) + f"; {typed('hint', exercise.key)} says more")
    return 1


def hint(word: str) -> int:
    """`hint`: of the mistake that was made last, and the way."""
    exercise = find(word) if word else opened("")[0]
    last = progress().get(exercise.name, {}).get("hint")
    print(f"{exercise.name}: {exercise.title}")
    if last:
        print(wrapped(f"   to what you wrote: {last}", "      "))
    print(wrapped(f"   the way: {exercise.hint}", "      "))
    return 0


def answer(word: str, mine: str = "") -> int:
    """`answer`: the reference of an exercise, or the answer to a step's; only after a try."""
    if step := step_of(word):
        return _answer_of_step(step, mine)
    exercise = find(word)
    if not progress().get(exercise.name, {}).get("tries"):
        print(
            f"{exercise.name}: try first: {typed('start', exercise.key)}, then "
            f"{typed('check', exercise.key)}. After one try the answer is yours"
        )
        return 1
    print(f"{exercise.name}: one right answer\n")
    print(textwrap.indent(exercise.reference.strip(), "    "))
    print("\n" + wrapped(f"why: {exercise.why}"))
    print(f"in the engine: {engine_line(exercise)}")
    return 0


def step_of(word: str) -> str:
    """The step that is meant: 05, or step05b for one with a letter, as exercises have; else ""."""
    plain = f"{int(word):02}" if word.isdigit() else word.removeprefix("step")
    named = word.isdigit() or word.startswith("step")
    return plain if named and (ANSWERS / f"{plain}.txt").is_file() else ""


def _answer_of_step(number: str, mine: str) -> int:
    """The answer to the exercise of examples/steps/NN, once one's own is written down."""
    name, word = f"step {number}", number if number.isdigit() else f"step{number}"
    if mine.strip():
        _note(name, mine=mine.strip())
    said = progress().get(name, {}).get("mine")
    if not said:
        print(
            f"{name}: first write down what you found, and the answer is shown beside it: "
            f"{typed('answer', word, '--mine', 'what I found')}"
        )
        return 1
    print(wrapped(f"yours: {said}") + "\n")
    print((ANSWERS / f"{number}.txt").read_text(encoding="utf-8").rstrip())
    return 0


def next_() -> int:
    """`next`: start the first exercise that is not done, or say where it lies."""
    after = _following(progress())
    if after is None:
        print("all exercises are done")
        return 0
    path = folder() / f"{after.name}.py"
    if not path.exists():
        return start(after.key)
    print(f"{_shown(path)}: {after.title}; {typed('check', after.key)} looks at it")
    return 0


def progress_() -> int:
    """`progress`: how many are done, by lesson."""
    every = progress()
    lessons = sorted({e.lesson for e in exercises().values()})
    for lesson in lessons:
        names = [e.name for e in exercises().values() if e.lesson == lesson]
        marks = "".join(
            "#" if every.get(n, {}).get("done") else "+" if every.get(n, {}).get("tries") else "."
            for n in names
        )
        print(f"lesson {lesson:02}  {marks}")
    minutes = sum(e.minutes for e in exercises().values() if e.name not in _done(every))
    print(f"{len(_done(every))} of {len(exercises())} done; about {minutes} minutes are left")
    return 0
