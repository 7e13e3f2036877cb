"""The model as one page: opens from a file, asks nothing of a network, explains what it shows.

runtime/page.html is the frame of page.css, generator.js, words.js, page.js and the model as data.
The page's policy allows its own script and style, by their hashes, and nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..trace.graph import at
from .artefact import Artefact
from .graphs import ExportError
from .js import parts, sources
from .rows import RUNTIME
from .spec import as_json, sha256

SAMPLES = 32  # small pictures
FILMED = 16  # of a model whose pictures have a film
# For every browser: an old one does not understand the script before it, and runs none of it.
_STARTED = 'if (!window.started) document.getElementById("old").removeAttribute("hidden");'
_PAGE = "\n// ==== the page ====\n"  # a worker takes what is before it
_POLICY = (
    "default-src 'none'; script-src {script} {started}; style-src {style}; img-src data: blob:; "
    "{worker}base-uri 'none'; form-action 'none'"
)


def render(artefact: Artefact) -> dict[str, bytes]:
    """The page ".html".

    Raises:
        ExportError: nothing that draws; images that are neither grey nor red, green and blue.
    """
    if "draw" not in artefact.graphs:
        raise ExportError("the page draws pictures; export the part draw, or both")
    described, numbers = _packed(*parts(artefact))
    film = draws_in_turns(artefact)
    samples = FILMED if film else SAMPLES
    # Whether one entry of a code says something by itself: not of noise that is as an image.
    entries = artefact.smooth and artefact.latent != artefact.pixels
    page = {
        **described, "name": artefact.name, "samples": samples,
        "order": order(artefact) if entries else [0], "entries": entries,
        "start": clearest(artefact, samples), "smooth": artefact.smooth, "film": film,
    }  # fmt: skip
    model = as_json(page)
    style = _source("page.css") + (_source("film.css") if film else "")
    more = ["film.js"] if film or artefact.settings else []
    work = [*sources(artefact), "inflate.js", *(["worker.js"] if film else [])]
    script = '\n"use strict";\n' + "".join(map(_source, work)) + _PAGE
    script += "".join(map(_source, ("words.js", *more, "page.js")))
    pieces = {
        "policy": _POLICY.format(
            script=_hash(script), started=_hash(_STARTED), style=_hash(style),
            worker="worker-src blob:; " if film else "",
        ),
        "style": style, "script": script, "started": _STARTED, "model": model,
        "sha256": sha256(model), "weights": numbers,
    }  # fmt: skip
    frame = re.sub(r"(?m)^ +", "", _source("page.html").strip())
    for what, has in (("film", film), ("settings", artefact.settings)):
        inside = "" if not has else r"\1"
        frame = re.sub(rf"(?s)<!-- {what} -->\n(.*?)<!-- end -->\n", inside, frame)
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: pieces[found[1]], frame)
    return {".html": f"{text}\n".encode()}


def _packed(described: dict[str, Any], numbers: str) -> tuple[dict[str, Any], str]:
    """Graphs and weights compressed, as runtime/inflate.js reads them; graphs are long JSON."""
    graphs = as_json(described["parts"]).encode()
    both = graphs + b"\n" + base64.b64decode(numbers)
    text = base64.b64encode(zlib.compress(both, 9)).decode()
    names = dict.fromkeys(described["parts"])
    more = {"parts": names, "unpacked": len(both), "sha256": sha256(text)}
    return {**described, **more}, text


def draws_in_turns(artefact: Artefact) -> bool:
    """Whether a loop turns noise, bit by bit, into an image: its state has the image's size."""
    ops = artefact.graphs["draw"].graph.ops
    states = (at(op.outs[0].shape, 1) for op in ops if op.body is not None)
    same = artefact.latent == artefact.pixels
    return same and any(math.prod(shape) == artefact.pixels for shape in states)


def order(artefact: Artefact) -> list[int]:
    """The entries of a code by how strongly the first product reacts to them, the strongest first:
    by the length of their row of weights. As they are, where not each has a row there."""
    rows = _first_weights(artefact)
    return [int(k) for k in np.argsort(-rows[: artefact.latent], kind="stable")]


def _first_weights(artefact: Artefact) -> NDArray[Any]:
    """For each entry of the code the sum of the squares of its weights; zeros if it has none."""
    packed = artefact.graphs["draw"]
    codes = {packed.graph.inputs[0]}  # the code, alone or with more numbers after it
    for op in packed.graph.ops:
        read, out = op.args[0], op.outs[0]
        if read not in codes:
            continue
        if op.weight in packed.stored:
            weight = packed.stored[op.weight].array().astype(np.float64)
            if read.shape[1:] in ((weight.shape[-2],), (1, 1, weight.shape[-2])):
                rows: NDArray[Any] = np.square(weight).sum(axis=(*range(weight.ndim - 2), -1))
                return rows
        moves = op.traits.moves
        if moves == "joined" or (moves == "shape" and out.shape[0] == read.shape[0]):
            codes.add(out)
            continue
        break
    return np.zeros(artefact.latent)


def clearest(artefact: Artefact, samples: int = SAMPLES) -> int:
    """Which of the samples of seed 0, label 0, to begin with: the one with the fewest doubtful
    pixels, sum v (1 - v), for its drawing, the lesser of sum v and sum 1 - v (v from 0 to 1)."""
    low, high = artefact.value_range
    x = artefact.draw(artefact.codes(samples, seed=0)).reshape(samples, -1)
    v = ((x - low) / (high - low)).clip(0, 1).astype(np.float64)
    drawing = np.minimum(v.sum(axis=1), (1 - v).sum(axis=1))
    return int(np.argmin((v * (1 - v)).sum(axis=1) / np.maximum(drawing, 1e-9)))


def _source(name: str) -> str:
    """A file of runtime/, without empty lines and the long lines of headings."""
    text = re.sub(r"(?m)-{9,}$", "----", (RUNTIME / name).read_text("utf-8"))
    return "\n" + re.sub(r"\n{2,}", "\n", text)


def _hash(text: str) -> str:
    """The name of a script or style in the page's policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
