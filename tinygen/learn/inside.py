"""What Python does inside the course's page: run a program, check an answer.

The page's worker imports this file by its path, starts it, and calls `run`, `check` and `answer`
with texts; these return JSON. NumPy may be missing there. Then `tinygen` is an empty package in
which only `tinygen.learn` can be imported, and what needs no NumPy can be checked all the same.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import linecache
import os
import shutil
import sys
import tempfile
import traceback
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KEPT = (".png", ".apng", ".gif", ".svg", ".html", ".json", ".txt", ".csv", ".safetensors")
LARGEST = 8 << 20  # bytes of a file that the page shows
MOST = 40  # files that the page shows
_folders: list[Path] = []  # of the last run


class _Empty(types.ModuleType):
    """`tinygen` where there is no NumPy: its parts that need none can still be imported."""

    class Tensor:
        """No value is one."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(f"tinygen.{name} needs NumPy, and this page runs without it so far")


def start(root: str) -> bool:
    """Put the folder that holds tinygen on the path; returns whether NumPy is there."""
    sys.path.insert(0, root)
    sys.dont_write_bytecode = True
    try:
        import numpy  # noqa: F401
    except ImportError:
        empty = _Empty("tinygen")
        empty.__path__ = [str(Path(root, "tinygen"))]
        sys.modules["tinygen"] = empty
        return False
    return True


def run(name: str, source: str) -> str:
    """Run a program as Python runs a file, in an empty folder.

    What it prints goes to sys.stdout, an error to sys.stderr, the message before its lines.

    Returns:
        JSON: `ok`, the `line` of an error or 0, and `files`, paths of what it wrote.
    """
    file = f"{name}.py"
    with _own_folder() as folder, _as_program(file, source) as module:
        ok, line = True, 0
        try:
            exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
        except SystemExit as end:
            ok = end.code in (None, 0)
            if not ok:
                print(end.code, file=sys.stderr)
        except BaseException as error:
            ok = False
            text, line = told(error, file)
            print(text, file=sys.stderr)
        return json.dumps({"ok": ok, "line": line, "files": _written(folder)})


def prepare(name: str) -> None:
    """Find out what the reference and the wrong solutions show; it counts for no one's time."""
    from tinygen.learn.check import find, known, wanted

    exercise = find(name)
    wanted(exercise.name)
    known(exercise.name)


def check(name: str, source: str) -> str:
    """Look at an answer, and say of it what `tinygen learn check` says.

    Returns:
        JSON: `passed`, and `text`.
    """
    from tinygen.learn import lesson
    from tinygen.learn.check import Sink, find, judge, looking

    lesson.WIDTH = 10_000  # the page breaks the lines itself, on a phone too
    exercise, sink = find(name), Sink()
    with warnings.catch_warnings(), _own_folder():
        warnings.simplefilter("ignore", RuntimeWarning)
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            seen = list(looking(exercise, source))
        verdict = judge(exercise, seen)
    text = lesson.praised(verdict) if verdict.passed else lesson.told(verdict, sink.kept)
    return json.dumps({"passed": verdict.passed, "text": text})


def answer(name: str) -> str:
    """One right answer of an exercise, as JSON `text`."""
    from tinygen.learn.check import find

    return json.dumps({"text": find(name).reference.strip()})


def told(error: BaseException, file: str) -> tuple[str, int]:
    """An error as a student reads it: the message, then the lines of the student's own program.

    Returns:
        The text, and the number of the last of these lines; 0 if there is none.
    """
    try:
        text = str(error)
    except Exception:
        text = "its message cannot be read"
    if isinstance(error, SyntaxError) and error.filename == file:
        line = error.lineno or 0
        shown = (error.text or "").strip()
        return f"{type(error).__name__}: {error.msg}\n  line {line}: {shown}", line
    lines, line = [f"{type(error).__name__}: {text}" if text else type(error).__name__], 0
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    for k, frame in enumerate(frames):
        line = frame.lineno or 0
        if k < 3 or k >= len(frames) - 3:
            lines.append(f"  line {line}, in {frame.name}: {(frame.line or '').strip()}")
        elif k == 3:
            lines.append(f"  ... {len(frames) - 6} more ...")
    return "\n".join(lines), line


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """An empty folder as the current one; it stays until the next, for the page to read."""
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="run"))
    _folders.append(folder)
    with contextlib.chdir(folder):
        yield folder


@contextlib.contextmanager
def _as_program(file: str, source: str) -> Iterator[types.ModuleType]:
    """A new `__main__` for a program, with what programs find: its lines, arguments, no input."""
    module = types.ModuleType("__main__")
    module.__file__ = file
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    before = sys.modules["__main__"], sys.argv, builtins.input
    sys.modules["__main__"], sys.argv, builtins.input = module, [file, "pictures"], _no_input
    try:
        yield module
    finally:
        sys.modules["__main__"], sys.argv, builtins.input = before


def _no_input(prompt: object = "", /) -> str:
    raise EOFError("input() cannot ask in this page; write the value into the program")


def _written(folder: Path) -> list[str]:
    """The files of a folder that the page can show, in the order of their names."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in KEPT and path.is_file() and os.path.getsize(path) <= LARGEST:
            found.append(str(path))
    return found[:MOST]
