"""The form "python": one file for Python 3.8 or newer that imports its standard library only.

It is runtime/generator.py, which interprets graphs of operations, with the model in its last lines
(see spec.py and graphs.py).
"""

from __future__ import annotations

from . import graphs, spec
from .artefact import Artefact
from .rows import RUNTIME, rows_of

# The operations that runtime/generator.py can do: its rows, and two that it knows itself.
OPERATIONS = rows_of("generator.py") | {"cast", "repeat"}
WIDTH = 96  # characters of base64 in a line: 72 bytes


def render(artefact: Artefact) -> dict[str, bytes]:
    """{".py": the file}, at most 1.4 times the bytes of the weights plus 40 KB.

    Raises ExportError for an operation without a row; names it and the line that calls it.
    """
    for part in artefact.graphs.values():
        graphs.refuse(part, OPERATIONS, "python")
    source = (RUNTIME / "generator.py").read_text("utf-8")
    described, text = spec.carried(artefact)
    # In a raw string \" does not end it, and JSON writes every quote of a text so.
    rows = ",\n".join(f'"{key}": {spec.as_json(value)}' for key, value in described.items())
    model = f"{{\n{rows}\n}}"
    lines = (text[i : i + WIDTH] for i in range(0, len(text), WIDTH))
    for empty, full in (
        ('r"""{}""", "SHA256"', f'r"""{model}""", "{spec.sha256(model)}"'),
        ('WEIGHTS = r""""""', 'WEIGHTS = r"""\n' + "\n".join(lines) + '\n"""'),
    ):
        before, after = source.split(empty)
        source = before + full + after
    return {".py": source.encode()}
