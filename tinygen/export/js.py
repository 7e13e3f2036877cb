"""The model as an ES module for browsers and node, with types.

    import { generate } from "./digits.js";
    const [picture] = generate({ seed: 1, label: 7 }); // new ImageData(picture.data, 28, 28)

runtime/generator.js is its code; the description and the weights follow it.
"""

from __future__ import annotations

import base64
from pathlib import Path

from ..version import __version__
from .artefact import Artefact
from .network import ExportError
from .spec import as_json, description, weights

RUNTIME = Path(__file__).parent / "runtime"

_HEAD = """\
// {name}: a trained image generator as an ES module, made by tinygen {version}.
//
//     import {{ generate }} from "./{name}.js";
//     const [picture] = generate({{ seed: 1 }}); // width, height, and data as ImageData takes it
//
// Pictures are synthetic. In node: package.json with "type": "module", or the suffix .mjs; then
// `node {name}.mjs --self-test` checks the file. The code's licence is MIT; the terms of weights
// and data are apart from it, see `about`.

"""

_TAIL = """
// ---- the model ---------------------------------------------------------------------------------

const MODEL = {model};
const WEIGHTS = "{weights}";

export const {{ about, generate, codes, decode, encode, trace, selfTest }} =
  generator(MODEL, WEIGHTS);

const [, program = "", option] = globalThis.process?.argv ?? [];
const run = decodeURIComponent(import.meta.url).endsWith(program.split(/[\\\\/]/).pop());
if (run && option === "--self-test") {{
  const wrong = selfTest();
  if (wrong.length) console.error(`self-test FAILED: ${{wrong.join("; ")}}`);
  else console.log("self-test passed");
  globalThis.process.exitCode = wrong.length ? 1 : 0;
}}
"""


def render(artefact: Artefact) -> dict[str, bytes]:
    """The module ".js" and its types ".d.ts".

    Raises:
        ExportError: images that are neither grey nor red, green and blue.
    """
    model, numbers = parts(artefact)
    head = _HEAD.format(name=artefact.name, version=__version__)
    code = (RUNTIME / "generator.js").read_text("utf-8")
    tail = _TAIL.format(model=model, weights=numbers)
    types = (RUNTIME / "generator.d.ts").read_bytes()
    return {".js": (head + code + tail).encode(), ".d.ts": types}


def parts(artefact: Artefact) -> tuple[str, str]:
    """(description as JSON, weights in base64), both ASCII."""
    if artefact.shape[2] not in (1, 3):
        raise ExportError(
            f"{artefact.model}: images of {artefact.shape[2]} channels; JavaScript shows 1 (grey) "
            "or 3 (colour). Export to python, c or onnx instead"
        )
    return as_json(description(artefact)), base64.b64encode(weights(artefact)).decode()
