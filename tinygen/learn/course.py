"""`tinygen learn page`: lessons, exercises and Python in one HTML file that opens from a disk.

page/course.html is the frame of course.css, editor.js, course.js and worker.js. Python for the
browser is the npm package `pyodide`, read from a folder when the page is built and never kept
here. tinygen's own source is in the page too, and NumPy's wheel where one is given. Without it the
lessons that need no NumPy run at once; for the others the page offers to load NumPy from the
network, whose bytes it compares with the sum in Pyodide's own list.
"""

from __future__ import annotations

import argparse
import ast
import base64
import gzip
import hashlib
import html
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .exercise import Exercise
from .lesson import chosen

PACKAGE = Path(__file__).parent.parent
PAGE = Path(__file__).parent / "page"
STEPS = PACKAGE.parent / "examples" / "steps"
TRIED = "314.0.7"  # the version of Pyodide that the tests ran with
FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
WHERE = "TINYGEN_PYODIDE"  # names the folder where --pyodide does not
_NETWORK = "https://cdn.jsdelivr.net"
_HEAVY = {"numpy", "tinygen"}  # what NumPy comes with
_CAPITALS = {"1d", "gan", "gp", "vae", "wgan"}
_KINDS = (".py", ".html", ".css", ".js")
_LEFT_OUT = ("cli/", "learn/page/", "export/runtime/load_")
_POLICY = (
    "default-src 'none'; script-src {script} {started} blob: 'unsafe-eval'; style-src {style}; "
    "worker-src blob:; connect-src blob:{network}; img-src blob: data:; base-uri 'none'; "
    "form-action 'none'"
)
# For every browser: an old one does not understand the script before it, and runs none of it.
_STARTED = 'if (!window.started) document.getElementById("old").removeAttribute("hidden");'


@dataclass(frozen=True)
class Pyodide:
    """Python for the browser: its files, its version, and what it knows of NumPy's wheel.

    Args:
        files: contents by name.
        version: of Pyodide.
        lock: its list of packages, with NumPy alone.
    """

    files: dict[str, bytes]
    version: str
    lock: dict[str, Any]

    @property
    def numpy(self) -> dict[str, Any]:
        """NumPy's entry in the list: `file_name`, `sha256`, `version`."""
        entry: dict[str, Any] = self.lock["packages"]["numpy"]
        return entry

    @property
    def url(self) -> str:
        """Where NumPy's wheel lies on the network."""
        return f"{_NETWORK}/pyodide/v{self.version}/full/{self.numpy['file_name']}"


# ---- the command ---------------------------------------------------------------------------------


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tinygen learn page`."""
    parser.add_argument("--lessons", default="01-13", help="such as 01-13 or 01,03,05-07")
    parser.add_argument("--out", type=Path, default=Path("course.html"), metavar="FILE")
    parser.add_argument(
        "--pyodide", type=Path, default=None, metavar="FOLDER",
        help=f"the npm package pyodide; else ${WHERE}, else node_modules/pyodide",
    )  # fmt: skip
    parser.add_argument(
        "--numpy", type=Path, default=None, metavar="WHEEL",
        help="NumPy's wheel for Pyodide, to be put into the page",
    )  # fmt: skip
    parser.add_argument("--steps", type=Path, default=STEPS, help=argparse.SUPPRESS)


def main(given: argparse.Namespace) -> int:
    """Write the page and say what is in it."""
    folder = given.pyodide or Path(os.environ.get(WHERE) or "node_modules/pyodide")
    python = pyodide(folder)
    page = build(given.lessons, python, given.numpy, given.steps)
    data = page.encode()
    given.out.write_bytes(data)
    described = json.loads(re.findall(r'id="course">(.*?)</script>', page, re.DOTALL)[0])
    lessons = described["lessons"]
    ready = [one["number"] for one in lessons if given.numpy or not one["needs"]]
    count = sum(len(one["exercises"]) for one in lessons)
    print(
        f"{given.out}: {len(lessons)} lessons, {count} exercises, Python (Pyodide "
        f"{python.version}), {len(data) / 1e6:.1f} MB"
    )
    if len(ready) == len(lessons):
        print("   all of it runs without a network")
    else:
        print(
            f"   without a network: {', '.join(ready) or 'none'}. The others need NumPy, which "
            f"the page offers to load from the network;\n   --numpy {python.numpy['file_name']}"
            f" puts it in: {python.url}"
        )
    return 0


# ---- what goes in --------------------------------------------------------------------------------


def pyodide(folder: Path) -> Pyodide:
    """Read the npm package from its folder.

    Raises:
        ValueError: if files are missing, with the way to get them.
    """
    missing = [
        n for n in (*FILES, "pyodide-lock.json", "package.json") if not (folder / n).exists()
    ]
    if missing:
        raise ValueError(
            f"the folder {folder} has no {missing[0]}. The page holds Python for the browser, the "
            f"npm package pyodide. Get it once:\n  npm pack pyodide@{TRIED}\n"
            f"  tar xzf pyodide-{TRIED}.tgz\nThat makes a folder `package`; give it with "
            f"--pyodide package, or name it in {WHERE}"
        )
    lock = json.loads((folder / "pyodide-lock.json").read_text(encoding="utf-8"))
    version = json.loads((folder / "package.json").read_text(encoding="utf-8"))["version"]
    if "numpy" not in lock["packages"]:
        raise ValueError(
            f"{folder / 'pyodide-lock.json'} does not name NumPy; take Pyodide {TRIED}"
        )
    files = {name: (folder / name).read_bytes() for name in FILES}
    lock["packages"] = {"numpy": lock["packages"]["numpy"]}
    return Pyodide(files, version, lock)


def wheel(path: Path, python: Pyodide) -> bytes:
    """NumPy's wheel; ValueError if it is not the one that this Pyodide expects."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != python.numpy["sha256"]:
        raise ValueError(
            f"{path} is not the NumPy of Pyodide {python.version}: its SHA-256 is "
            f"{hashlib.sha256(data).hexdigest()[:12]}..., expected {python.numpy['sha256'][:12]}"
            f"... Take {python.url}"
        )
    return data


def numbers(lessons: str) -> set[int]:
    """The lessons that "01-13" or "01,03,05-07" means."""
    found: set[int] = set()
    for part in lessons.replace(" ", "").split(","):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if ends is None:
            raise ValueError(f"--lessons {lessons}: {part!r} is no lesson; expected 01-13 or 01,03")
        found |= set(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return found


def imported(source: str) -> Iterator[str]:
    """The names of modules that a program imports, the relative ones with their dots."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def needs_numpy(source: str) -> bool:
    """Whether a program asks for NumPy or tinygen."""
    return any(name.split(".")[0] in _HEAVY for name in imported(source))


def lessons_of(folder: Path, lessons: str) -> list[dict[str, Any]]:
    """The steps of these numbers, as the page shows them.

    Each has `number`, `name`, a `short` one, `title`, the paragraphs of its `text`, what to `look`
    at, its `exercise`, the program itself without all that, and whether it `needs` NumPy.

    Raises:
        ValueError: if there is none.
    """
    wanted = numbers(lessons)
    files = sorted(f for f in folder.glob("[0-9][0-9]*_*.py") if int(f.name[:2]) in wanted)
    if not files:
        raise ValueError(
            f"{folder} has no lesson {lessons}; they are examples/steps in tinygen's source, "
            "which an installed tinygen does not have: run this in a clone"
        )
    return [_lesson(file.stem, file.read_text(encoding="utf-8")) for file in files]


def _lesson(name: str, source: str) -> dict[str, Any]:
    tree = ast.parse(source)
    first, *rest = (ast.get_docstring(tree) or name).split("\n\n")
    text, more = [], {"look": "", "exercise": ""}
    for paragraph in rest:
        for piece in re.split(r"\n(?=(?:Look at|Exercise):)", paragraph):
            head, colon, said = piece.partition(":")
            kind = {"Look at": "look", "Exercise": "exercise"}.get(head) if colon else None
            if kind:
                more[kind] = said.strip()
            else:
                text.append(piece)
    body = source
    if ast.get_docstring(tree):
        body = "\n".join(source.splitlines()[tree.body[0].end_lineno or 0 :])
    number, *words = name.split("_")
    short = " ".join(w.upper() if w in _CAPITALS else w for w in words)
    return {
        "number": number, "name": name, "short": short[:1].upper() + short[1:],
        "title": first.strip().removesuffix("."), "text": text, **more, "code": body.strip(),
        "needs": needs_numpy(source), "exercises": [],
    }  # fmt: skip


def _task(exercise: Exercise) -> dict[str, Any]:
    """An exercise as the page shows it; its right answer stays in the file that checks it."""
    return {
        "name": exercise.name, "key": exercise.key, "title": exercise.title,
        "minutes": exercise.minutes, "task": exercise.task.strip(),
        "start": exercise.start.strip(), "hint": exercise.hint,
        "questions": exercise.questions, "needs": _asks(exercise.name),
    }  # fmt: skip


def _asks(name: str) -> bool:
    """Whether an exercise needs NumPy: itself, one of its answers, or what it shares."""
    source = (PACKAGE / "learn" / "exercises" / f"{name}.py").read_text(encoding="utf-8")
    shared = any(n.startswith(".") and n != "..exercise" for n in imported(source))
    return shared or needs_numpy(source) or re.search(r"import (numpy|tinygen)", source) is not None


def sources(tasks: list[Exercise]) -> bytes:
    """tinygen's own files as a ZIP file, the same bytes each time.

    Of the exercises these alone; of the kernels the tables and those for processors, and what an
    exercise points to: a compiled step looks into them, although nothing can compile them there.
    """
    kernels = PACKAGE.parent / "kernels"
    if not kernels.exists():
        kernels = PACKAGE.parent / "tinygen_kernels"
    own = {"__init__.py", *(f"{e.name}.py" for e in tasks)}
    shown = (e.engine[0].removeprefix("kernels/") for e in tasks if e.engine[0][:8] == "kernels/")
    wanted = {*kernels.glob("*.py"), *kernels.glob("cpu/*.py"), *(kernels / name for name in shown)}
    files = {f"tinygen_kernels/{p.relative_to(kernels).as_posix()}": p for p in sorted(wanted)}
    for path in sorted(f for kind in _KINDS for f in PACKAGE.rglob(f"*{kind}")):
        name = path.relative_to(PACKAGE).as_posix()
        folder, _, base = name.rpartition("/")
        if not name.startswith(_LEFT_OUT) and (folder != "learn/exercises" or base in own):
            files[f"tinygen/{name}"] = path
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    return out.getvalue()


# ---- the page ------------------------------------------------------------------------------------


def build(lessons: str, python: Pyodide, numpy: Path | None = None, steps: Path = STEPS) -> str:
    """The page.

    Args:
        lessons: numbers of steps, "01-13".
        python: see `pyodide`.
        numpy: NumPy's wheel, to be put in; without it the page offers to load it.
        steps: the folder of the lessons.

    Raises:
        ValueError: if lessons, Python or NumPy are not as expected; the text says what to do.
    """
    found = lessons_of(steps, lessons)
    whole = {one["number"]: one for one in found}
    inside = [e for e in chosen("") if e.key[:2] in whole and not e.needs]
    tasks = [_task(e) for e in inside]
    for task in tasks:
        whole[task["key"][:2]]["exercises"].append(task)
    digest = base64.b64encode(bytes.fromhex(python.numpy["sha256"])).decode()
    course = {
        "lessons": found, "lock": python.lock,
        "needing": [f"tinygen/learn/exercises/{t['name']}.py" for t in tasks if t["needs"]],
        "numpy": {
            "file": python.numpy["file_name"], "url": python.url, "integrity": f"sha256-{digest}",
        },
    }  # fmt: skip
    parts = {**python.files, "sources": sources(inside)}
    if numpy is not None:
        parts["numpy"] = wheel(numpy, python)
    style, worker = _source("course.css"), _source("worker.js")
    script = "\n" + _source("editor.js") + _source("course.js").replace('"use strict";\n', "", 1)
    policy = _POLICY.format(
        script=_hash(script), started=_hash(_STARTED), style=_hash(style),
        network="" if numpy is not None else f" {_NETWORK}",
    )  # fmt: skip
    pieces = {
        "policy": policy, "title": "tinygen: image generators from scratch",
        "style": style, "script": script, "started": _STARTED, "worker": worker,
        "version": html.escape(python.version), "course": _json(course),
        "work": _json({"code": {}, "passed": {}, "tried": {}, "lesson": found[0]["number"]}),
        "parts": "\n".join(_part(name, data) for name, data in parts.items()),
    }  # fmt: skip
    return re.sub(r"\{\{(\w+)\}\}", lambda met: pieces[met[1]], _source("course.html"))


def _source(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that can stand in a script element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _part(name: str, data: bytes) -> str:
    """Bytes as an element of the page, compressed."""
    packed = base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
    return f'<script type="application/octet-stream" id="part-{name}">{packed}</script>'
