"""Runs an answer in a process of its own, so that whatever it does stays there.

`run` starts Python anew; `run_all`, for a class, starts it once and splits a copy off for each
answer where the system can do that safely.

An answer may raise, exit, loop for ever, print without end, start programs or fill the memory: the
process has ten seconds, two gigabytes of memory beyond its own (where the system can limit it), an
empty folder, no input, and what it prints is read and mostly thrown away.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .check import PRINTED, Seen, exercises, find, looking
from .exercise import Exercise

LIMIT = 10.0  # seconds for all cases of an answer
GRACE = 5.0  # seconds, after which an answer that stopped its own clock is ended from outside
START = 60.0  # seconds more until Python and tinygen are there, on a busy machine
MEMORY = 2 << 30
# NumPy alone, in one thread: starts sooner, and shows the same on every machine.
PLAIN = {"NUMBA_DISABLE_JIT": "1", "OPENBLAS_NUM_THREADS": "1"}
SPLITS = sys.platform == "linux"  # elsewhere libraries may not be used after a fork
_ROOT = Path(__file__).parent.parent.parent


class Ran(NamedTuple):
    """What an answer showed, what it printed, and whether the limit on its time ended it."""

    seen: list[Seen]
    printed: str
    late: bool = False


def run(exercise: Exercise, source: str, limit: float = LIMIT) -> Ran:
    """Look at an answer in its own process."""
    with _folders([(exercise, source)]) as (folder,):
        printed, late = _run("child", folder, limit, START + limit)
        return _read(exercise, folder, printed, late, limit)


def run_all(jobs: Sequence[tuple[Exercise, str]], limit: float = LIMIT) -> list[Ran]:
    """Look at many answers; nothing of what they print is kept."""
    if not SPLITS:
        return [run(*job, limit)._replace(printed="") for job in jobs]
    with _folders(jobs) as folders:
        if folders:
            _run("children", folders[0].parent, limit, START + len(jobs) * (limit + GRACE + 1))
        return [
            _read(exercise, folder, "", False, limit)
            for (exercise, _), folder in zip(jobs, folders, strict=True)
        ]


@contextlib.contextmanager
def _folders(jobs: Sequence[tuple[Exercise, str]]) -> Iterator[list[Path]]:
    """A folder for each answer, with its program and an empty folder to run it in."""
    with tempfile.TemporaryDirectory(prefix="learn", ignore_cleanup_errors=True) as name:
        folders = [Path(name) / str(i) for i in range(len(jobs))]
        for folder, (exercise, source) in zip(folders, jobs, strict=True):
            (folder / "empty").mkdir(parents=True)
            (folder / "name").write_text(exercise.name, encoding="utf-8")
            (folder / "source").write_bytes(source.encode("utf-8", "replace"))
        yield folders


def _run(what: str, folder: Path, limit: float, most: float) -> tuple[str, bool]:
    """Start the process and wait for its end; returns what it printed, and whether it was late."""
    path = os.pathsep.join(p for p in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if p)
    code = f"from tinygen.learn.apart import {what}; {what}()"
    empty = folder / "empty"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(limit)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd=empty if empty.exists() else folder, start_new_session=True,
        env={**os.environ, **PLAIN, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8:replace"},
    )  # fmt: skip
    kept = bytearray()

    def read() -> None:
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(process.stdout.fileno(), 1 << 16):
                kept.extend(chunk[: 4 * PRINTED - len(kept)])

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    late = False
    try:
        process.wait(most)
    except subprocess.TimeoutExpired:
        late = True
    finally:
        _kill(process)
        reader.join(5)
        if process.stdout is not None and not reader.is_alive():
            process.stdout.close()
    return kept.decode("utf-8", "replace")[:PRINTED], late


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and, where the system knows groups, what it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)


def _read(exercise: Exercise, folder: Path, printed: str, late: bool, limit: float) -> Ran:
    """What the process wrote of each case; the first that is missing says how it ended."""
    lines: list[Any] = []
    with contextlib.suppress(OSError):
        for line in (folder / "seen").read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
    seen = [Seen(*line) for line in lines if isinstance(line, list) and len(line) == 6]
    if "end" in lines:
        return Ran(seen, printed)
    trace = ""
    with contextlib.suppress(OSError):
        trace = (folder / "hung").read_text(encoding="utf-8", errors="replace")
    late = late or "Timeout" in trace
    where = re.findall(rf'File "{re.escape(exercise.name)}\.py", line (\d+)', trace)
    if late:
        at = f"; it was at line {where[0]}" if where else ""
        text = f"not done after {limit:g} seconds{at}; is there a loop without an end?"
    elif lines:
        text = "the program ended by itself: by os._exit, by a crash, or for want of memory"
    else:
        text = f"Python did not start: {printed.strip()[-300:]}"
    return Ran([*seen, Seen("stopped", error="late" if late else "end", text=text)], printed, late)


def children() -> None:
    """What the process of a class does: `-c CODE FOLDER LIMIT`, a copy of itself an answer."""
    above, limit = Path(sys.argv[1]), float(sys.argv[2])
    exercises()  # imported once for all
    nowhere = os.open(os.devnull, os.O_RDWR)
    for folder in sorted(above.iterdir(), key=lambda p: int(p.name)):
        if (copy := os.fork()) == 0:
            os.setsid()
            os.chdir(folder / "empty")
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            sys.argv = ["-c", str(folder), str(limit)]
            try:
                child()
            finally:
                os._exit(1)
        end = time.monotonic() + limit + GRACE
        while os.waitpid(copy, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                (folder / "hung").write_text("Timeout")
                os.kill(copy, signal.SIGKILL)
                os.waitpid(copy, 0)
                break
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(copy, signal.SIGKILL)  # what it started


def child() -> None:
    """What the process does: `-c CODE FOLDER LIMIT`."""
    folder, limit = Path(sys.argv[1]), float(sys.argv[2])
    name = (folder / "name").read_text(encoding="utf-8")
    sys.argv = [f"{name}.py"]
    exercise = find(name)
    source = (folder / "source").read_bytes().decode("utf-8")
    _limits()
    warnings.simplefilter("ignore", RuntimeWarning)  # what an answer overflows, its numbers show
    with (folder / "seen").open("w", encoding="utf-8") as out, (folder / "hung").open("w") as hung:
        out.write('"ready"\n')
        out.flush()
        faulthandler.dump_traceback_later(limit, exit=True, file=hung)
        for seen in looking(exercise, source):
            out.write(json.dumps(list(seen)) + "\n")
            out.flush()
        out.write('"end"\n')
        out.flush()
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(0)  # whatever the answer left running


def _limits() -> None:
    """Bound memory and files, where the system can."""
    try:
        import resource
    except ImportError:
        return
    used = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for what, most in ((resource.RLIMIT_AS, used + MEMORY), (resource.RLIMIT_FSIZE, 1 << 26)):
        if used or what == resource.RLIMIT_FSIZE:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(what, (most, resource.getrlimit(what)[1]))
