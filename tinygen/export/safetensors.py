"""The form "safetensors": the weights as they are used, with a model card that shows how.

    decoder.0.weight   (in, out) of a dense layer, (KH, KW, in, out) of both convolutions
    decoder.0.scale    (out,), of int8: the weight is weight * scale
    decoder.0.bias     (out,)

The file's metadata is what spec.py describes. The card is Markdown that begins with the lines that
model collections read; its code is runtime/load_numpy.py and runtime/load_torch.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..io import to_bytes
from . import spec
from .artefact import Artefact
from .network import Layer

# Names that model collections know a licence by.
LICENCES = (
    "afl-3.0", "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-3.0",
    "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "gpl-2.0", "gpl-3.0", "isc", "lgpl-3.0", "mit", "mpl-2.0",
    "unlicense",
)  # fmt: skip
PRIORS = {"normal": "standard normal", "uniform": "uniform from -1 to 1"}
# What means something in the midst of a line; an underscore within a word does not.
MARKUP = re.compile(r"[\\`*{}\[\]<>#|&~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def render(artefact: Artefact, *, file: str | None = None) -> dict[str, bytes]:
    """{".safetensors": the weights, ".md": the model card}.

    file: what the card calls the file of the weights, by default as the artefact is called.
    """
    arrays = {}
    for part, network in artefact.networks.items():
        for k, layer in enumerate(network.layers):
            arrays[f"{part}.{k}.weight"] = layer.stored.values
            arrays[f"{part}.{k}.bias"] = layer.bias.astype("<f4")
            if layer.stored.scale is not None:
                arrays[f"{part}.{k}.scale"] = layer.stored.scale
    return {
        ".safetensors": to_bytes(arrays, spec.layers(artefact)),
        ".md": card(artefact, file or f"{artefact.name}.safetensors").encode(),
    }


def card(artefact: Artefact, file: str) -> str:
    """The model card. No text of the model can become markup, or end the front matter."""
    height, width, channels = artefact.shape
    colour = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    labels = ", ".join(f"{k}: {plain(name)}" for k, name in enumerate(artefact.classes))
    architecture = [
        (f"{part}.{k}", layer.kind, shape(layer.input), shape(layer.output), layer.activation,
         window(layer), f"{layer.weight.size + layer.bias.size:,}")
        for part, network in artefact.networks.items() for k, layer in enumerate(network.layers)
    ]  # fmt: skip
    parameters = sum(network.parameters for network in artefact.networks.values())
    facts = [
        ("architecture", artefact.model), ("hash of the weights", artefact.weights),
        ("image", f"{height} x {width}, {colour}, values from {artefact.value_range[0]:g} to "
                  f"{artefact.value_range[1]:g}"),
        ("code", f"{artefact.latent} numbers, {PRIORS[artefact.prior]}"),
        ("parts", " and ".join(artefact.networks)), ("precision", artefact.precision),
        ("made by", artefact.describe()["made by"]),
        *((key, text(value)) for key, value in artefact.about.items()),
    ]  # fmt: skip
    sections = [
        front_matter(artefact),
        f"# {plain(artefact.title)}",
        f"A generator ({plain(artefact.model)}) of {colour} images of {height} x {width} pixels, "
        "trained from scratch with tinygen. **Everything that it draws is synthetic.**",
        *([f"It was trained with labels, and draws the one it is given: {labels}."] * bool(labels)),
        "## What it is, and how it was trained",
        table(("", ""), ((plain(key), plain(value)) for key, value in facts)),
        "## Architecture",
        f"{parameters:,} parameters. Batch normalisation and spectral normalisation are part of "
        "the weights; images are (n, height, width, channels).",
        table(
            ("layer", "kind", "input", "output", "activation", "window", "parameters"),
            (tuple(map(plain, row)) for row in architecture),
        ),
        "## Use and limits",
        "For teaching, demonstrations and experiments with generative models. It knows only the "
        "data that it was trained on, repeats their gaps and biases, may come close to single "
        "training images, and has no notion of what is true: do not use its images as data about "
        "the world, or pass them off as real.",
        "## Terms",
        "The code on this page and tinygen: MIT. The weights, and the data that they come from: "
        f"{plain(artefact.licence)}",
        "## Loading it",
        f"With this file beside it as {code_span(file)}, each of these draws the "
        "picture of the self-test in the file's metadata and compares. `pip install safetensors` "
        "and NumPy or PyTorch are all they need.",
        "In NumPy:",
        code("load_numpy.py", file),
        "In PyTorch:",
        code("load_torch.py", file),
    ]
    return "\n\n".join(sections) + "\n"


def front_matter(artefact: Artefact) -> str:
    """YAML that model collections read."""
    known = re.sub(r"[^a-z0-9.]+", "-", artefact.licence.lower()).strip("-")
    licence = [f"license: {known}"]
    if known not in LICENCES:
        licence = ["license: other", f"license_name: {quoted(artefact.licence)}"]
    lines = [
        *licence, "library_name: tinygen", "pipeline_tag: unconditional-image-generation",
        "tags:", "- image-generation", f"- {quoted(artefact.model)}",
    ]  # fmt: skip
    return "\n".join(["---", *lines, "---"])


def code_span(text: str) -> str:
    """Text as code in the midst of a line."""
    return f"`{text.replace('`', ' ')}`"


def code(name: str, file: str) -> str:
    """A file of runtime/ as a block of code that reads the weights from `file`."""
    source = Path(__file__).with_name("runtime").joinpath(name).read_text("utf-8")
    source = source.replace('"model.safetensors"', json.dumps(file))
    return f"```python\n{source}```"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shape(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def window(layer: Layer) -> str:
    """Kernel, stride and dilation, where they say something."""
    if layer.kind == "dense":
        return ""
    said = [shape(layer.weight.shape[:2])]
    for name in ("stride", "dilation"):
        value = getattr(layer.window, name)
        if math.prod(value) > 1:
            said.append(f"{name} {shape(value)}")
    return ", ".join(said)


def text(value: Any) -> str:
    return value if isinstance(value, str) else spec.as_json(value)


def plain(words: str) -> str:
    """One line of Markdown that shows just these words, in a paragraph or a table."""
    line = " ".join(visible(words).split())
    return MARKUP.sub(lambda match: f"&#{ord(match[0])};", line)


def quoted(words: str) -> str:
    """A text in YAML, on one line."""
    line = " ".join(visible(words).split())
    return '"' + line.replace("\\", "\\\\").replace('"', '\\"') + '"'


def visible(words: str) -> str:
    """The text with spaces for all white space, and escapes for what does not print."""
    return "".join(
        c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in spec.utf8(words)
    )
