"""`tinygen learn pack`: a ZIP file of exercises for a class, the same bytes each time."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from ..version import __version__
from .lesson import FOLDER, chosen, text_of

_README = """Exercises of the lessons {lessons}.

You need Python 3.11 or newer, and tinygen:

    python -m pip install tinygen

Open a terminal in the folder of this file. Each exercise is a file in {folder}/. Read what it asks
for, change it, and let it be looked at:

    python -m tinygen.learn check {key}
    python -m tinygen.learn hint {key}
    python -m tinygen.learn answer {key}      (after a try of your own)
    python -m tinygen.learn progress

What is handed in are the files in {folder}/. The teacher's checks are the same as yours.

{table}

(tinygen {version})
"""


def packed(lessons: str) -> bytes:
    """The ZIP file."""
    exercises = chosen(lessons)
    rows = [f"    {e.name:28}{e.minutes:3} minutes  {e.title}" for e in exercises]
    numbers = sorted({e.key[:2] for e in exercises})
    readme = _README.format(
        lessons=", ".join(numbers), folder=FOLDER, key=exercises[0].key, table="\n".join(rows),
        version=__version__,
    )  # fmt: skip
    files = {"README.txt": readme.replace("\n", "\r\n")}  # Windows' editors of old, too
    files |= {f"{FOLDER}/{e.name}.py": text_of(e) for e in exercises}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, text.encode("utf-8"))
    return out.getvalue()


def main(lessons: str, out: Path, prog: str) -> int:
    """Write it and say what is in it."""
    data = packed(lessons)
    out.write_bytes(data)
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    minutes = sum(e.minutes for e in chosen(lessons))
    print(f"{out}: {len(names) - 1} exercises, about {minutes} minutes, and README.txt")
    print(f"   later: `{prog} mark FOLDER` looks at what was handed in")
    return 0
