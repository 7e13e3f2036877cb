"""The form "python": one file for Python 3.8 or newer that imports its standard library only.

It is runtime/generator.py, which interprets graphs of operations, with the model in its last lines
(see spec.py and graphs.py).
"""

from __future__ import annotations

from pathlib import Path

from . import graphs, spec
from .artefact import Artefact

# The operations that runtime/generator.py has a row for.
OPERATIONS = frozenset((
    "abs", "add", "argmax", "broadcast_to", "cast", "clip", "concat", "conv2d_dx", "conv2d_nd",
    "cos", "cumsum", "div", "equal", "erf", "exp", "greater", "greater_equal", "leaky_relu",
    "less", "less_equal", "log", "log_softmax", "matmul_nd", "max", "maximum", "mean", "min",
    "minimum", "mul", "not_equal", "one_hot", "put", "relu", "repeat", "reshape", "sigmoid", "sin",
    "slice", "softmax", "softplus", "sqrt", "sub", "sum", "take", "tanh", "transpose", "where",
))  # fmt: skip
WIDTH = 96  # characters of base64 in a line: 72 bytes


def render(artefact: Artefact) -> dict[str, bytes]:
    """{".py": the file}, at most 1.4 times the bytes of the weights plus 40 KB.

    Raises ExportError for an operation without a row; names it and the line that calls it.
    """
    for part in artefact.graphs.values():
        graphs.refuse(part, OPERATIONS, "python")
    source = Path(__file__).with_name("runtime").joinpath("generator.py").read_text("utf-8")
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
