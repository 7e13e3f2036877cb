"""The form "c": one C99 file with the weights as constants, from runtime/runtime.c.

The runtime is written for a model called "toy" that has every kind of layer. An export gives it the
model's own name, leaves out what the model does not have (`#if HAS_...`), fills the places `@so@`
in, and puts weights and layers at the end. The header beside it is the file's declarations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import SYNTHETIC
from ..version import __version__
from .artefact import Artefact, stream_words
from .network import Layer, Network

RUNTIME = Path(__file__).parent / "runtime" / "runtime.c"
TYPES = {"float32": "float", "float16": "uint16_t", "int8": "signed char"}
WIDTH = 100  # columns of a line
SHORT = {ord("\n"): "\\n", ord('"'): '\\"', ord("\\"): "\\\\"}  # of letters in strings


def render(artefact: Artefact) -> dict[str, bytes]:
    """The file ".c" and its header ".h", in ASCII."""
    text = _selected(RUNTIME.read_text(encoding="ascii"), _features(artefact))
    name = artefact.name
    text = re.sub(r"\btoy(?![a-z])", name, text)
    text = text.replace("TOY_", f"{name.upper()}_")
    places = {
        "summary": _summary(artefact),
        "sizes": _sizes(artefact, name.upper()),
        "constants": _constants(artefact),
        "model": "".join(_model(artefact, name)),
    }
    for place, filling in places.items():
        before, after = re.split(rf"(?:/\* )?@{place}@(?: \*/)?", text)
        text = before + filling + after
    return {".c": text.encode("ascii"), ".h": _header(text, name).encode("ascii")}


def _header(text: str, name: str) -> str:
    """What the file declares, as a file of its own."""
    declared = text[text.index(f"#ifndef {name.upper()}_DECLARED") :]
    declared = declared[: declared.index(f"#ifndef {name.upper()}_HEADER")].rstrip()
    return (
        f"/* {name}.h: what {name}.c declares, which says how it is used. Made by tinygen.\n\n"
        "   SPDX-License-Identifier: MIT\n"
        "   Copyright (c) 2026 The tinygen authors. */\n\n"
        f"{declared}\n"
    )


# ---- what a model needs of the runtime -----------------------------------------------------------


def _features(artefact: Artefact) -> set[str]:
    layers = [x for part in artefact.networks.values() for x in part.layers]
    activations = {x.activation for x in layers}
    has = {*artefact.networks, artefact.prior, artefact.precision, *activations}
    if artefact.classes:
        has.add("labels")
    if activations & {"tanh", "sigmoid", "softplus", "silu"}:
        has.add("exp")
    has |= {"dense" if x.kind == "dense" else "convolution" for x in layers}
    return {f"HAS_{x.upper()}" for x in has}


def _selected(text: str, has: set[str]) -> str:
    """The text without the lines under `#if HAS_...` that do not hold, and without such lines."""
    lines: list[str] = []
    opened: list[list[bool]] = []  # of each condition around a line: is it ours, does it hold
    for line in text.splitlines(keepends=True):
        ours = bool(opened) and opened[-1][0]
        word, _, condition = line.strip().partition(" ")
        if word in ("#if", "#ifdef", "#ifndef"):
            ours = condition.startswith("HAS_")
            holds = not ours or has.issuperset(condition.split(" && "))
            opened.append([ours, holds, holds])
        elif ours and word == "#elif":
            _, _, before = opened[-1]
            opened[-1][1:] = not before and condition in has, before or condition in has
        elif ours and word == "#else":
            opened[-1][1] = not opened[-1][2]
        elif word == "#endif":
            opened.pop()
        directive = ours and word in ("#if", "#elif", "#else", "#endif")
        if not directive and all(holds for _, holds, _ in opened):
            lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "".join(lines))


# ---- what is filled in ---------------------------------------------------------------------------


def _summary(artefact: Artefact) -> str:
    return "\n".join(
        f"       {name}: {len(part.layers)} layers, {part.parameters:,} numbers in "
        f"{artefact.precision}"
        for name, part in artefact.networks.items()
    )


def _sizes(artefact: Artefact, prefix: str) -> str:
    height, width, channels = artefact.shape
    workspace = 2 * _widest(artefact)
    sizes = [
        ("HEIGHT", height, "rows"), ("WIDTH", width, "columns"),
        ("CHANNELS", channels, "1: grey; 3: red, green, blue"),
        ("PIXELS", artefact.pixels, "height x width x channels"),
        ("LATENT", artefact.latent, f"numbers of a code, {artefact.prior} noise"),
        ("CLASSES", len(artefact.classes), "labels"),
        ("WORKSPACE", workspace, f"floats: {4 * workspace:,} bytes"),
    ]  # fmt: skip
    return _defined((f"{prefix}_{what}", n, meaning) for what, n, meaning in sizes)


def _defined(rows: Iterable[tuple[str, object, str]]) -> str:
    """Lines of `#define`, each with what it means."""
    return "\n".join(
        f"#define {name} {value}" + (f" /* {meaning} */" if meaning else "")
        for name, value, meaning in rows
    )


def _widest(artefact: Artefact) -> int:
    return max(part.widest for part in artefact.networks.values())


def _constants(artefact: Artefact) -> str:
    low, high = stream_words()
    least, most = artefact.value_range
    test = artefact.test
    rows: list[tuple[str, object, str]] = [
        ("STREAM_LOW", f"0x{low:08X}u", "of the hash of the stream of pictures"),
        ("STREAM_HIGH", f"0x{high:08X}u", ""),
        ("LOW", f"({float(least)!r})", "black"),
        ("HIGH", f"({float(most)!r})", "white"),
        ("WIDEST", _widest(artefact), "most numbers between two layers"),
    ]
    for name, part in artefact.networks.items():
        rows.append((f"{name.upper()}_LAYERS", len(part.layers), ""))
        rows.append((f"{name.upper()}_CHECK", f"0x{_check(part):08X}u", "sum of its weights"))
    rows += [
        ("COUNTED", int(artefact.counted), "whether --label may be a number"),
        ("TEST_SEED", test.seed, ""),
        ("TEST_LABEL", test.label if artefact.classes else "(-1)", ""),
        ("TEXT_SOFTWARE", _string(f"tinygen {__version__}"), "of PNG files"),
        ("TEXT_DESCRIPTION", _string(SYNTHETIC), ""),
        ("TEXT_MODEL", _string(f"{artefact.model} {artefact.weights}"), ""),
    ]
    return _defined(rows)


def _check(network: Network) -> int:
    """The sum of (2 i + 1) bits of number i over the weights, scales and biases, modulo 2^32."""
    bits: list[NDArray[Any]] = []
    for layer in network.layers:
        values, scale = layer.stored
        whole = values.astype("i4") if values.dtype == "i1" else values  # with the sign in all bits
        for array in (whole, scale, layer.bias):
            if array is not None:
                kind = re.sub("[fi]", "u", array.dtype.str)  # as an integer of the same bits
                bits.append(array.ravel().view(kind).astype(np.uint32))
    joined = np.concatenate(bits)
    factors = np.arange(1, 2 * len(joined), 2, dtype=np.uint32)
    return int((joined * factors).sum(dtype=np.uint32))


def _model(artefact: Artefact, name: str) -> Iterator[str]:
    """The part after the program: weights, layers, the self-test's numbers, what it says."""
    test = artefact.test
    for part, network in artefact.networks.items():
        yield _title(f"the {part}")
        for k, layer in enumerate(network.layers):
            yield f"\n/* {_described(layer)} */\n"
            values, scale = layer.stored
            yield from _array(TYPES[artefact.precision], f"{part}_{k}_weight", values)
            if scale is not None:
                yield from _array("float", f"{part}_{k}_scale", scale)
            yield from _array("float", f"{part}_{k}_bias", layer.bias)
        rows = ",\n".join(_entry(layer, f"{part}_{k}") for k, layer in enumerate(network.layers))
        yield f"\nstatic const Layer {part}_layers[] = {{\n{rows}}};\n"
        yield f"\nstatic const Layer *{part}(void) {{\n    return {part}_layers;\n}}\n"
    yield _title("the self-test's numbers")
    known: dict[str, tuple[str, NDArray[Any]]]
    known = {"code": ("float", test.code), "image": ("unsigned char", test.image)}
    if artefact.encoder is not None:
        assert test.mean is not None
        known["mean"] = ("float", test.mean)
    for what, (kind, array) in known.items():
        yield "\n"
        yield from _array(kind, f"{what}_numbers", array)
        yield f"\nstatic const {kind} *{what}_expected(void) {{\n    return {what}_numbers;\n}}\n"
    if artefact.classes:
        yield f"\nconst char *const {name}_classes[] = {{\n"
        for label in artefact.classes:
            pieces = [label[i : i + 60] for i in range(0, len(label), 60)] or [""]
            yield "    " + "\n    ".join(map(_string, pieces)) + ",\n"
        yield "    0};\n"
    yield f"\nconst char *const {name}_about[] = {{\n"
    for line in json.dumps(artefact.describe(), indent=2, allow_nan=False).splitlines(True):
        for i in range(0, len(line), 80):
            yield f"    {_string(line[i : i + 80])},\n"
    yield '    "\\n",\n    0};\n'


def _title(text: str) -> str:
    return f"\n/* ---- {text} ".ljust(WIDTH - 1, "-") + "*/\n"


def _described(layer: Layer) -> str:
    """A layer in words; only letters that cannot end a comment."""
    sizes = [" x ".join(map(str, shape)) for shape in (layer.input, layer.output)]
    name = re.sub(r"[^\w.| ]", "_", layer.name, flags=re.ASCII)
    kernel = "" if layer.kind == "dense" else " {} x {}".format(*layer.weight.shape)
    return f"{name}: {layer.kind}{kernel}, {' -> '.join(sizes)}, {layer.activation or 'linear'}"


def _entry(layer: Layer, name: str) -> str:
    """A layer as the runtime's struct."""
    window = layer.window
    x, y, kernel = layer.input, layer.output, layer.weight.shape[:2]
    if layer.kind == "dense":
        x, y, kernel = (1, 1, *x), (1, 1, *y), (1, 1)
    before = [pair[0] for pair in window.padding]
    numbers = ", ".join(map(str, (*x, *y)))
    pairs = ", ".join(f"{{{a}, {b}}}" for a, b in (kernel, window.stride, before, window.dilation))
    activation = (layer.activation or "none").upper()
    slope = "".join(_floats(np.array([layer.slope], np.float32)))
    arrays = [f"{name}_weight", f"{name}_bias"]
    if layer.stored.scale is not None:
        arrays.insert(1, f"{name}_scale")
    return (
        f"    {{{layer.kind.upper()}, {numbers}, {pairs},\n"
        f"     {activation}, {slope}, {', '.join(arrays)}}}"
    )


# ---- numbers and texts in C ----------------------------------------------------------------------


def _array(kind: str, name: str, array: NDArray[Any]) -> Iterator[str]:
    """A constant array, in lines of at most WIDTH columns."""
    flat = array.ravel()
    if kind == "float":
        numbers = _floats(flat)
    else:
        numbers = list(map(str, (flat.view("u2") if kind == "uint16_t" else flat).tolist()))
    each = WIDTH // (max(map(len, numbers)) + 1)
    yield f"static const {kind} {name}[{len(numbers)}] = {{\n"
    for i in range(0, len(numbers), each):
        yield ",".join(numbers[i : i + each])
        yield ",\n" if i + each < len(numbers) else "};\n"


def _floats(array: NDArray[Any]) -> list[str]:
    """float32 numbers as the shortest decimals that are read as the same number."""
    texts: list[str] = array.astype(np.float32).astype("U").tolist()
    return [f"{x.replace('0.', '.', 1) if x.lstrip('-').startswith('0.') else x}f" for x in texts]


def _string(text: str) -> str:
    """Any text as a string constant; what is not plain ASCII, or could be more than a letter to C
    (quotes, backslashes, the ? of trigraphs), as octal numbers."""
    out = []
    for byte in text.encode("utf-8", "replace"):
        plain = 32 <= byte < 127 and chr(byte) not in '"\\?'
        out.append(chr(byte) if plain else SHORT.get(byte, f"\\{byte:03o}"))
    return f'"{"".join(out)}"'
