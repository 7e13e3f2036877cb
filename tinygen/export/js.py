"""The model as an ES module for browsers and node, with types, and as a classic script.

    import { generate } from "./digits.js";
    const [picture] = generate({ seed: 1, label: "cat" }); // new ImageData(picture.data, 28, 28)

runtime/generator.js is its code; the description and the weights follow it. Browsers load modules
from a server only: a page that is opened from a file takes the script, which is the same as an
object, tinygen.digits.
"""

from __future__ import annotations

from typing import Any

from ..trace.graph import Op
from ..version import __version__
from . import graphs
from .artefact import Artefact
from .graphs import ExportError
from .rows import RUNTIME, rows_of
from .spec import as_json, carried, sha256

# The files of runtime/ with the operations that each has a row for. All models take the first, a
# model with an operation of another takes that, too.
FILES = ("generator.js", "tiles.js", "settings.js", "convolution.js", "operations.js")
ROWS = {file: rows_of(file) for file in FILES}
ROWS["operations.js"] |= {"repeat"}
OPERATIONS = frozenset(name for names in ROWS.values() for name in names)

_HEAD = """\
// {name}: a trained image generator, made by tinygen {version}: {what}.
//
//     {load}
//     const [picture] = {generate}({{ seed: 1 }}); // width, height, and data as ImageData takes it
//
// {where}
// Pictures are synthetic. The code's licence is MIT; the terms of weights and data are apart from
// it, see `about`. The data are checked by their SHA-256 when the file is loaded.

"""
_MODULE = """\
Browsers load modules from a server only (`python3 -m http.server` is one); a page that is opened
// from a file takes {name}.classic.js. In node: package.json with "type": "module", or the suffix
// .mjs; then `node {name}.mjs --self-test` checks the file."""
_SCRIPT = """\
It works in a page that is opened from a file, too. {name}.js is the same as an ES module."""

_TAIL = """
// ---- the model ---------------------------------------------------------------------------------

const MODEL = String.raw`{model}`;
const SHA256 = "{sha256}";
const WEIGHTS = "{weights}";

"""
_MODULE_TAIL = """\
const [, program = "", option] = globalThis.process?.argv ?? [];
const run = decodeURIComponent(import.meta.url).endsWith(program.split(/[\\\\/]/).pop());
const tested = run && option === "--self-test";

function made() {
  try {
    return generator(described(MODEL, SHA256), WEIGHTS);
  } catch (error) {
    if (!tested) throw error;
    console.error(`self-test FAILED: ${error.message}`);
    return globalThis.process.exit(1);
  }
}

export const { about, generate, codes, decode, film, encode, trace, selfTest } = made();

if (tested) {
  const wrong = selfTest();
  if (wrong.length) console.error(`self-test FAILED: ${wrong.join("; ")}`);
  else console.log("self-test passed");
  globalThis.process.exitCode = wrong.length ? 1 : 0;
}
"""


def render(artefact: Artefact) -> dict[str, bytes]:
    """The module ".js", its types ".d.ts", and the classic script ".classic.js".

    Raises:
        ExportError: images that are neither grey nor red, green and blue; an operation without a
            row.
    """
    described, numbers = parts(artefact)
    # As the text between the backticks of a raw template: JSON needs neither of these letters.
    model = as_json(described).replace("`", "\\u0060").replace("$", "\\u0024")
    code = "".join((RUNTIME / name).read_text("utf-8") for name in sources(artefact))
    code += _TAIL.format(model=model, sha256=sha256(model), weights=numbers)
    name = artefact.name
    module = _HEAD.format(
        name=name, version=__version__, what="an ES module", generate="generate",
        load=f'import {{ generate }} from "./{name}.js";', where=_MODULE.format(name=name),
    )  # fmt: skip
    script = _HEAD.format(
        name=name, version=__version__, what="a classic script",
        generate=f"tinygen.{name}.generate",
        load=f'<script src="{name}.classic.js"></script>', where=_SCRIPT.format(name=name),
    )  # fmt: skip
    script += f'(globalThis.tinygen ??= {{}}).{name} = (() => {{\n"use strict";\n\n{code}'
    script += "return generator(described(MODEL, SHA256), WEIGHTS);\n})();\n"
    return {
        ".js": (module + code + _MODULE_TAIL).encode(),
        ".d.ts": (RUNTIME / "generator.d.ts").read_bytes(),
        ".classic.js": script.encode(),
    }


def sources(artefact: Artefact) -> list[str]:
    """The files of runtime/ that the model needs."""
    ops = [op for part in artefact.graphs.values() for op in part.graph.every()]
    met = {op.name for op in ops}
    wanted = {
        "generator.js": True, "tiles.js": any(map(_has_rows, ops)),
        "settings.js": bool(artefact.settings) or "repeat" in met,
    }  # fmt: skip
    return [file for file, names in ROWS.items() if wanted.get(file, bool(met & names))]


def _has_rows(op: Op) -> bool:
    """Whether it is a product of many rows for one image."""
    return op.traits.convolves or (op.traits.product and len(op.outs[0].shape) > 2)


def parts(artefact: Artefact) -> tuple[dict[str, Any], str]:
    """(description, weights in base64)."""
    if artefact.shape[2] not in (1, 3):
        raise ExportError(
            f"{artefact.model}: images of {artefact.shape[2]} channels; JavaScript shows 1 (grey) "
            "or 3 (colour). Export to python, c or onnx instead"
        )
    for part in artefact.graphs.values():
        graphs.refuse(part, OPERATIONS, "js")
    return carried(artefact)
