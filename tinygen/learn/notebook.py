"""`tinygen learn notebook 05c`: an exercise as a Jupyter notebook that graders take.

The cells carry nbgrader's marks, and raw cells with otter's. With `teacher` the answer stands
between BEGIN SOLUTION and END SOLUTION, which both take out for the students.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .check import find
from .exercise import Exercise

Cell = dict[str, Any]


def _cell(kind: str, name: str, text: str, **grading: Any) -> Cell:
    lines = text.strip("\n").splitlines(keepends=True)
    cell: Cell = {"cell_type": kind, "id": name, "metadata": {}, "source": lines}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    if grading:
        marks = {"schema_version": 3, "grade_id": name, "task": False, **grading}
        cell["metadata"] = {"nbgrader": marks}
    return cell


def notebook(exercise: Exercise, *, teacher: bool = False) -> dict[str, Any]:
    """The notebook, as the object that its JSON holds (nbformat 4.5)."""
    key = exercise.key
    questions = "".join(f"\n- {q}" for q, _ in exercise.questions)
    guess = f"\n\nBefore you run anything, guess:\n{questions}" if questions else ""
    task = f"# {key}: {exercise.title}\n\n{exercise.task.strip()}{guess}"
    program = exercise.start.strip()
    if teacher:
        program = f"### BEGIN SOLUTION\n{exercise.reference.strip()}\n### END SOLUTION"
    check = f'from tinygen import learn\n\nlearn.verdict("{key}", globals())'
    answer = {"grade": False, "locked": False, "solution": True}
    test = {"grade": True, "locked": True, "solution": False, "points": 1}
    work = _cell("code", f"work-{key}", program, **answer)
    looks = _cell("code", f"check-{key}", check, **test)
    cells = [_cell("markdown", f"task-{key}", task)]
    if teacher:
        begin = f"# BEGIN QUESTION\nname: q{key}\npoints: 1"
        cells.insert(0, _cell("raw", f"begin-{key}", begin))
        cells += [
            _cell("raw", f"solution-{key}", "# BEGIN SOLUTION"), work,
            _cell("raw", f"solved-{key}", "# END SOLUTION"),
            _cell("raw", f"tests-{key}", "# BEGIN TESTS"), looks,
            _cell("raw", f"tested-{key}", "# END TESTS"),
            _cell("raw", f"end-{key}", "# END QUESTION"),
        ]  # fmt: skip
    else:
        cells += [work, looks]
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": python, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def main(word: str, out: Path | None, *, teacher: bool = False) -> int:
    """Write it; refuses to write over one that is there."""
    exercise = find(word)
    path = out or Path(f"{exercise.name}.ipynb")
    if path.exists():
        raise ValueError(f"{path} is there already; name another with --out")
    text = json.dumps(notebook(exercise, teacher=teacher), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")
    print(f"{path}: {exercise.title}; the last cell looks at what you wrote")
    return 0
