"""The form "safetensors": the weights as they are used, with a model card that shows how.

    draw.0.weight    of product 0: (in, out), or (KH, KW, in / groups, out) of both convolutions
    draw.0.scale     (out,), of int8: the weight is weight * scale
    draw.0.bias      (out,)
    draw.constant.0  another constant

The file's metadata is what spec.py and graphs.py describe, with the names of constants. The card is
Markdown that begins with the lines that model collections read; its code is runtime/load_numpy.py
and runtime/load_torch.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from ..io import to_bytes
from ..trace.graph import Op
from . import graphs, spec
from .artefact import Artefact
from .graphs import Packed
from .python import OPERATIONS
from .rows import RUNTIME

# Names that model collections know a licence by.
LICENCES = (
    "afl-3.0", "agpl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-3.0",
    "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "gpl-2.0", "gpl-3.0", "isc", "lgpl-3.0", "mit", "mpl-2.0",
    "unlicense",
)  # fmt: skip
PRIORS = {"normal": "standard normal", "uniform": "uniform from -1 to 1"}
KINDS = {"matmul_nd": "dense", "conv2d_nd": "conv", "conv2d_dx": "conv_transpose"}
# What means something in the midst of a line; an underscore within a word does not.
MARKUP = re.compile(r"[\\`*{}\[\]<>#|&~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def render(artefact: Artefact, *, file: str | None = None) -> dict[str, bytes]:
    """{".safetensors": the weights, ".md": the model card}.

    file: what the card calls the file of the weights, by default as the artefact is called.
    """
    arrays, parts = {}, {}
    for part, packed in artefact.graphs.items():
        graphs.refuse(packed, OPERATIONS, "safetensors")
        names = graphs.named(packed, part)
        parts[part] = graphs.described(packed, names)
        for v, name in names.items():
            values, scale = graphs.held(packed, v)
            arrays[name] = values
            if scale is not None:
                arrays[name.replace(".weight", ".scale")] = scale
    described = {**spec.description(artefact), "parts": parts}
    return {
        ".safetensors": to_bytes(arrays, described),
        ".md": card(artefact, file or f"{artefact.name}.safetensors").encode(),
    }


def card(artefact: Artefact, file: str) -> str:
    """The model card. No text of the model can become markup, or end the front matter."""
    height, width, channels = artefact.shape
    colour = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    labels = ", ".join(f"{k}: {plain(name)}" for k, name in enumerate(artefact.classes))
    architecture = [
        row for part, packed in artefact.graphs.items() for row in products(packed, part)
    ]
    parameters = sum(
        math.prod(v.const.shape) for packed in artefact.graphs.values()
        for v in graphs.named(packed, "") if v.const is not None
    )  # fmt: skip
    facts = [
        ("architecture", artefact.model), ("hash of the weights", artefact.weights),
        ("image", f"{height} x {width}, {colour}, values from {artefact.value_range[0]:g} to "
                  f"{artefact.value_range[1]:g}"),
        ("code", f"{artefact.latent} numbers, {PRIORS[artefact.prior]}"),
        ("parts", " and ".join(artefact.graphs)), ("precision", artefact.precision),
        *([("drawn with", artefact.drawn_with)] if artefact.chosen else []),
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
            ("layer", "kind", "input", "output", "then", "window", "parameters"),
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
        code("load_numpy.py", file, artefact),
        "In PyTorch:",
        code("load_torch.py", file, artefact),
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


def code(name: str, file: str, artefact: Artefact) -> str:
    """A file of runtime/ as a block of code that reads the weights from `file`."""
    return f"```python\n{loader(name, file, artefact)}```"


def loader(name: str, file: str, artefact: Artefact) -> str:
    """A file of runtime/ with what the operations of the model take.

    Its rows, and what is between `# for` the names of operations and `# end`, are left out where
    the model has none of these.
    """
    source = (RUNTIME / name).read_text("utf-8")
    met = {op.name for packed in artefact.graphs.values() for op in packed.graph.every()}
    source = re.sub(
        r"(?ms)^# for ([\w ]+)\n(.*?)^# end\n",
        lambda found: found[2] if met.intersection(found[1].split()) else "", source,
    )  # fmt: skip
    source = re.sub(
        r'(?m)^    "(\w+)": lambda op, shape.*\n', lambda row: row[0] * (row[1] in met), source
    )
    if "math." not in source:
        source = source.replace("import math\n", "")
    return source.replace('"model.safetensors"', json.dumps(file))


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shape(sizes: Iterable[Any]) -> str:
    return " x ".join(map(str, sizes))


def products(packed: Packed, part: str) -> list[tuple[str, ...]]:
    """A row for each product with weights: what it is, sizes, what is done until the next one."""
    names = graphs.named(packed, part)
    rows: list[tuple[str, str, str, str, list[str], str, str]] = []
    for op in packed.graph.every():
        x, weight = (*op.args, None)[:2]
        if x is not None and op.name in KINDS and weight in packed.stored:
            count = math.prod(packed.stored[weight].values.shape)
            before, after = (shape(v.shape[1:]) for v in (x, op.outs[0]))
            name = names[weight].removesuffix(".weight")
            kind = KINDS[op.name]
            rows.append((name, kind, before, after, [], window(op, packed), f"{count:,}"))
        elif rows and not _of_the_product(op) and op.name not in rows[-1][4]:
            rows[-1][4].append(op.name)
    return [(*row[:4], ", ".join(row[4]), *row[5:]) for row in rows]


def _of_the_product(op: Op) -> bool:
    """Whether it is a bias, or another shape, of which the card says nothing."""
    return op.traits.ufunc == "add" or op.traits.moves == "shape"


def window(op: Op, packed: Packed) -> str:
    """Kernel, stride and dilation, where they say something."""
    kernel = op.args[1]
    if "window" not in op.static or kernel is None:
        return ""
    parts = [shape(packed.stored[kernel].values.shape[:2])]
    for name in ("stride", "dilation"):
        value = getattr(op.static["window"], name)
        if math.prod(value) > 1:
            parts.append(f"{name} {shape(value)}")
    return ", ".join(parts)


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
