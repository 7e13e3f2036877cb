"""The model as an ES module for browsers and node, with types: runtime/generator.js and the weights.

    import { generate } from "./digits.js";
    const [picture] = generate({ seed: 1, label: 7 });    // new ImageData(picture.data, 28, 28)
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
export const {{ about, generate, codes, decode, encode, trace, selfTest }} = generator(MODEL, WEIGHTS);

const [, program, option] = globalThis.process?.argv ?? [];
if (option === "--self-test" && decodeURI(import.meta.url).endsWith(program.split(/[\\\\/]/).pop())) {{
  const wrong = selfTest();
  console.log(wrong.length ? `self-test FAILED: ${{wrong.join("; ")}}` : "self-test passed");
  globalThis.process.exitCode = wrong.length ? 1 : 0;
}}
"""


def render(artefact: Artefact) -> dict[str, bytes]:
    """The module ".js" and its types ".d.ts".

    Raises:
        ExportError: images that are neither grey nor red, green and blue.
    """
    model, numbers = parts(artefact)
    module = [
        _HEAD.format(name=artefact.name, version=__version__),
        (RUNTIME / "generator.js").read_text("utf-8"),
        "\n// ---- the model ----------------------------------------------------------------------\n",
        f"\nconst MODEL = {model};\nconst WEIGHTS = \"{numbers}\";\n",
        _TAIL.format(),
    ]
    types = (RUNTIME / "generator.d.ts").read_bytes()
    return {".js": "".join(module).encode(), ".d.ts": types}


def parts(artefact: Artefact) -> tuple[str, str]:
    """(description as JSON, weights in base64), both ASCII."""
    if artefact.shape[2] not in (1, 3):
        raise ExportError(
            f"{artefact.model}: images of {artefact.shape[2]} channels; JavaScript shows 1 (grey) "
            "or 3 (colour). Export to python, c or onnx instead"
        )
    return as_json(description(artefact)), base64.b64encode(weights(artefact)).decode()
