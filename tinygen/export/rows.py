"""Which operations a file of runtime/ has rows for: the keys of its tables.

So an operation is added to such a form in one place, its row there. A table is POINTWISE (functions
of numbers), REDUCED and IN_ROWS (of the numbers along some axes), or OTHERS. In JavaScript a row
begins a line, two spaces in.
"""

from __future__ import annotations

import re
from pathlib import Path

RUNTIME = Path(__file__).parent / "runtime"
_NAME = "(?:POINTWISE|REDUCED|IN_ROWS|OTHERS)"
_TABLE = {
    ".py": rf"^{_NAME}\b[^\n]* = \{{\n(.*?)^\}}",
    ".js": rf"^(?:const {_NAME} = |Object\.assign\({_NAME}, )\{{\n(.*?)^\}}",
}
_ROW = {".py": r'"(\w+)": ', ".js": r"^  (\w+)(?=[:,])"}


def rows_of(file: str) -> frozenset[str]:
    """The names in all tables of a file."""
    kind, text = Path(file).suffix, (RUNTIME / file).read_text("utf-8")
    tables = re.findall(_TABLE[kind], text, re.M | re.S)
    return frozenset(name for table in tables for name in re.findall(_ROW[kind], table, re.M))
