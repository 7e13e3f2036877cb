"""A trained generator as one file that its receiver can run, in a form of their choice.

    artefact = prepare(run.model, title, hash)     # graphs, noise, names, self-test
    render("python", artefact)                      # {".py": bytes}

graphs.py has the model's functions as graphs of operations, which forms interpret, map, or
write as a program. weights.py says how weights are rounded, spec.py how all is written as text; the
other modules hold a form each, and runtime/ the code that goes into files.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ..io import write_bytes
from .artefact import PARTS, PARTS_BEFORE, UNSTATED, Artefact, SelfTest, identifier, prepare
from .graphs import ExportError
from .weights import PRECISIONS, Stored, store

__all__ = [
    "FORMS", "PARTS", "PARTS_BEFORE", "PRECISIONS", "UNSTATED", "Artefact", "ExportError",
    "SelfTest", "Stored", "identifier", "prepare", "render", "store", "write",
]  # fmt: skip

# form: the module with its function `render(artefact, **options) -> {suffix: bytes}`, the suffix
# of its file (a form may write others beside it)
FORMS = {
    "python": ("python", ".py"),
    "c": ("c", ".c"),
    "html": ("html", ".html"),
    "js": ("js", ".js"),
    "onnx": ("onnx", ".onnx"),
    "safetensors": ("safetensors", ".safetensors"),
}


def render(form: str, artefact: Artefact, **options: Any) -> dict[str, bytes]:
    """The files of a form by suffix, the same bytes for the same artefact.

    Raises ExportError where the form cannot express a part of the model, ValueError for an unknown
    form.
    """
    if form not in FORMS:
        raise ValueError(f"form {form!r}, expected one of {', '.join(FORMS)}")
    module = importlib.import_module(f".{FORMS[form][0]}", __package__)
    files: dict[str, bytes] = module.render(artefact, **options)
    return files


def replaceable(form: str, path: Path) -> bool:
    """Whether nothing of a person's own is lost where `form` is written to `path`.

    Nothing is there, or an empty file, or what an earlier export wrote.
    """
    if not path.is_file():
        return True
    with path.open("rb") as file:
        head = file.read(4096)
    mark = b"A trained image generator in one file" if form == "python" else b"tinygen"
    return not head or mark in head


def write(form: str, artefact: Artefact, out: Path, **options: Any) -> list[Path]:
    """Write a form's file to `out`, and others that it has beside it; each whole or not at all.

    Raises OSError naming the path where it cannot be written, FileExistsError where a file that it
    would write beside `out` is there already, and is none of an earlier export.
    """
    suffix = FORMS[form][1] if form in FORMS else ""
    files = render(form, artefact, **options)
    paths = {k: out if k == suffix else out.with_suffix(k) for k in files}
    beside = [(k, path) for k, path in paths.items() if path != out and path.exists()]
    earlier = out.exists()  # an earlier export is replaced; its files begin as the new ones do
    taken = [
        path for k, path in beside if not (earlier and path.read_bytes()[:12] == files[k][:12])
    ]
    if taken:
        raise FileExistsError(
            f"{taken[0]} exists, and would be written beside {out}; name another file"
        )
    for k, path in sorted(paths.items(), key=lambda file: file[1] != out):
        write_bytes(path, files[k])  # `out` first: where the others fail, the next try replaces it
    return list(paths.values())
