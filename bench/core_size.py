"""Count the code lines of the house and hold them to their budgets.

    python bench/core_size.py            # what is nearly full, and the longest functions
    python bench/core_size.py --all      # every file

A code line holds at least one token of code: comments, docstrings and blank lines are free, so
explaining costs nothing. Refusals are free, too: the functions that are given to an operation by
`.check` say what it does not take. So that the budget cannot be met by cramming, no line may be
longer than 100 columns and none may hold two statements. A limit says "split or simplify". The exit
status is 1 when something is over.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COLUMNS = 100
FUNCTION = 70  # code lines of a function, those of functions within it included
NEARLY = 0.85  # of a limit: from here on a row of the table is shown
CUDA = (".cu", ".cuh", ".h", ".hpp", ".cpp")
_FREE = frozenset(
    (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
) | {tokenize.ENCODING, tokenize.ENDMARKER}  # fmt: skip


@dataclass(frozen=True)
class Budget:
    """A limit on the code lines of the files that the patterns match, together or each."""

    name: str
    limit: int
    patterns: tuple[str, ...]
    without: tuple[str, ...] = ()
    each: bool = True

    def files(self, root: Path) -> list[Path]:
        """The files it covers; a pattern that matches nothing yet is a part not yet written."""
        found = {p for pattern in self.patterns for p in root.glob(pattern) if p.is_file()}
        left_out = {p for pattern in self.without for p in root.glob(pattern)}
        return sorted(found - left_out)


# What one reads in an afternoon to know how the engine works.
PATH = tuple(
    f"tinygen/{name}.py"
    for name in ("events", "graph", "tensor", "primitive", "differentiate",
                 "ops/elementwise", "ops/linalg", "ops/reduce", "ops/shape")
)  # fmt: skip
ARTEFACTS = ("tinygen/export/runtime/*",)  # written into the files of users, where one file is best
METHODS = ("tinygen/models/*.py", "tinygen/models/networks/*.py")
BUDGETS = (
    Budget("the reading path", 1300, PATH, each=False),
    Budget("a method", 180, METHODS),
    Budget("a file", 350, ("tinygen/**/*.py",), without=(*METHODS, *ARTEFACTS)),
    Budget("a kernel family", 350, ("kernels/**/*.py", *(f"kernels/**/*{end}" for end in CUDA))),
)


# ---- counting ------------------------------------------------------------------------------------


def _docstrings(tree: ast.Module) -> set[tuple[int, int]]:
    """Where the docstrings start: (line, column)."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        (node.body[0].lineno, node.body[0].col_offset)
        for node in ast.walk(tree)
        if isinstance(node, owners) and ast.get_docstring(node, clean=False) is not None
    }


def _refusals(tree: ast.Module) -> set[int]:
    """The lines of `@operation.check` with its function, and of `operation.check(...)`."""
    lines: set[int] = set()
    for node in tree.body:
        checks: list[ast.AST] = []
        if isinstance(node, ast.FunctionDef):
            checks = [*node.decorator_list]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            checks = [node.value.func]
        if any(isinstance(c, ast.Attribute) and c.attr == "check" for c in checks):
            first = min(getattr(c, "lineno", node.lineno) for c in checks)
            lines.update(range(first, (node.end_lineno or node.lineno) + 1))
    return lines


def python_lines(source: str) -> set[int]:
    """Numbers of the lines of Python source that hold code, refusals not counted."""
    tree = ast.parse(source)
    free = _docstrings(tree)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _FREE or (token.type == tokenize.STRING and token.start in free):
            continue
        lines.update(range(token.start[0], token.end[0] + 1))
    return lines - _refusals(tree)


def function_lines(source: str) -> dict[str, int]:
    """Code lines of each function of Python source, by its dotted name, from `def` to its end."""
    lines, sizes = python_lines(source), {}

    def visit(node: ast.AST, within: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = within
            if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                name = f"{within}.{child.name}".lstrip(".")
                if not isinstance(child, ast.ClassDef):
                    span = range(child.lineno, (child.end_lineno or child.lineno) + 1)
                    sizes[name] = max(sizes.get(name, 0), len(lines.intersection(span)))
            visit(child, name)

    visit(ast.parse(source), "")
    return sizes


_C_TOKENS = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)


def c_lines(source: str) -> set[int]:
    """Numbers of the lines of C, C++ or CUDA source that hold more than comments."""

    def blank(match: re.Match[str]) -> str:
        text = match.group()
        return text if text.startswith('"') else "\n" * text.count("\n")

    bare = _C_TOKENS.sub(blank, source)
    return {i for i, line in enumerate(bare.splitlines(), start=1) if line.strip()}


def code_lines(path: Path) -> int:
    """How many lines of a file hold code."""
    source = path.read_text(encoding="utf-8")
    return len(python_lines(source) if path.suffix == ".py" else c_lines(source))


_PRAGMA = re.compile(r"\s*# (?:type: ignore|noqa|fmt: skip)\b.*$")


def crammed(source: str, python: bool = True) -> Iterator[tuple[int, str]]:
    """Lines that are too long or hold two statements, with what is wrong."""
    for number, whole in enumerate(source.splitlines(), start=1):
        line = _PRAGMA.sub("", whole)  # ruff's rule: a word to a tool at the end is not counted
        if len(line) > COLUMNS:
            yield number, f"{len(line)} columns, at most {COLUMNS}"
    if not python:
        return
    starts: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt) or _is_ellipsis(node):
            continue
        if node.lineno in starts:
            yield node.lineno, "two statements on a line"
        starts.add(node.lineno)


def _is_ellipsis(node: ast.stmt) -> bool:
    """`...`, the body of a declaration without one, may stand beside its head."""
    return isinstance(node, ast.Expr) and getattr(node.value, "value", None) is ...


# ---- the report ----------------------------------------------------------------------------------


def functions(root: Path) -> list[tuple[str, int, int]]:
    """Rows (file and function, lines, limit) of all Python functions; artefacts are left out."""
    python = {p for top in ("tinygen", "kernels") for p in (root / top).rglob("*.py")}
    python -= {p for pattern in ARTEFACTS for p in root.glob(pattern)}
    return [
        (f"{path.relative_to(root).as_posix()}: {name}", n, FUNCTION)
        for path in sorted(python)
        for name, n in function_lines(path.read_text(encoding="utf-8")).items()
    ]


def report(root: Path) -> tuple[list[tuple[str, int, int]], list[str]]:
    """Rows (name, lines, limit) and what is over or crammed below `root`."""
    rows: list[tuple[str, int, int]] = []
    for budget in BUDGETS:
        counts = {
            path.relative_to(root).as_posix(): code_lines(path) for path in budget.files(root)
        }
        if budget.each:
            rows += [(f"{budget.name}: {name}", n, budget.limit) for name, n in counts.items()]
        else:
            rows.append((budget.name, sum(counts.values()), budget.limit))
    rows += functions(root)
    problems = [f"{name}: {n} code lines, at most {limit}" for name, n, limit in rows if n > limit]
    sources = [p for top in ("tinygen", "kernels") for p in sorted((root / top).rglob("*"))]
    for path in sources:
        if path.suffix == ".py" or path.suffix in CUDA:
            text = path.read_text(encoding="utf-8")
            problems += [
                f"{path.relative_to(root).as_posix()}:{line}: {what}"
                for line, what in crammed(text, path.suffix == ".py")
            ]
    return rows, problems


def main(root: Path | None = None, everything: bool = False) -> int:
    """Print the table and what is wrong; 0 if nothing is."""
    root = root or Path(__file__).resolve().parent.parent
    rows, problems = report(root)
    first, *others = rows
    shown = [first, *(row for row in others if everything or row[1] >= NEARLY * row[2])]
    width = max(len(name) for name, _, _ in shown)
    print(f"{'code lines':<{width}}  {'have':>6} {'limit':>6} {'used':>6}")
    for name, lines, limit in shown:
        print(f"{name:<{width}}  {lines:>6,} {limit:>6,} {lines / limit:>6.0%}")
    for top in ("tinygen", "kernels"):
        whole = sum(code_lines(p) for p in (root / top).rglob("*") if p.suffix in (".py", *CUDA))
        print(f"{f'all of {top}/ (no limit)':<{width}}  {whole:>6,}")
    for problem in problems:
        print(problem, file=sys.stderr)
    print("within budget" if not problems else f"{len(problems)} over budget")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(everything="--all" in sys.argv[1:]))
