"""The form "c": one C99 file with the weights as constants, from runtime/runtime.c.

The runtime is written for a model called "toy" that has every kind of product. An export gives it
the model's own name, leaves out what the model does not have (`#if HAS_...`), fills the places
`@so@` in, and puts weights and a function for each graph, see c_rows.py, at the end. The header
beside it is the file's declarations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..images import SYNTHETIC
from ..version import __version__
from .artefact import Artefact, stream_words
from .c_function import WIDTH, Function, argument, number
from .c_rows import EXPONENTIAL, ROWS
from .rows import RUNTIME
from .settings import Setting

TYPES = {"float32": "float", "float16": "uint16_t", "int8": "signed char"}
SHORT = {ord("\n"): "\\n", ord('"'): '\\"', ord("\\"): "\\\\"}  # of letters in strings


def render(artefact: Artefact) -> dict[str, bytes]:
    """The file ".c" and its header ".h", in ASCII.

    Raises ExportError for an operation without a row; names it and the line that calls it.
    """
    parts = {part: Function(packed, part, ROWS) for part, packed in artefact.graphs.items()}
    text = _selected(
        (RUNTIME / "runtime.c").read_text(encoding="ascii"), _features(artefact, parts)
    )
    name = artefact.name
    text = re.sub(r"\btoy(?![a-z])", name, text)
    text = text.replace("TOY_", f"{name.upper()}_")
    places = {
        "summary": _summary(artefact, parts),
        "sizes": _sizes(artefact, parts, name.upper()),
        "constants": _constants(artefact, parts),
        "model": "".join(_model(artefact, parts, name)),
    }
    text = _with_settings(text, artefact)
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


Parts = dict[str, Function]


def _features(artefact: Artefact, parts: Parts) -> set[str]:
    met = {op.name for f in parts.values() for op in f.graph.every()}
    products = {text[1 : text.index(",")] for f in parts.values() for text in f.layers.values()}
    has = {*parts, artefact.prior, artefact.precision}
    has |= {"labels"} if artefact.classes else set()
    has |= {"settings"} if artefact.settings else set()
    has |= {"exp"} if met.intersection(EXPONENTIAL) else set()
    has |= {"linear"} if products else set()
    rounded = [_kind(*item) for f in parts.values() for item in f.arrays.items()]
    has |= {"rounded"} if {*rounded} - {"float"} else set()
    has |= {"dense" if kind == "DENSE" else "convolution" for kind in products}
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


def _summary(artefact: Artefact, parts: Parts) -> str:
    return "\n".join(
        f"       {part}: {len(f.graph.ops)} operations, "
        f"{sum(x.size for x in f.arrays.values()):,} numbers in {artefact.precision}"
        for part, f in parts.items()
    )


def _sizes(artefact: Artefact, parts: Parts, prefix: str) -> str:
    height, width, channels = artefact.shape
    workspace = max(f.memory.total for f in parts.values())
    sizes = [
        ("HEIGHT", height, "rows"), ("WIDTH", width, "columns"),
        ("CHANNELS", channels, "1: grey; 3: red, green, blue"),
        ("PIXELS", artefact.pixels, "height x width x channels"),
        ("LATENT", artefact.latent, f"numbers of a code, {artefact.prior} noise"),
        ("CLASSES", len(artefact.classes), "labels"),
        ("WORKSPACE", workspace, f"floats: {4 * workspace:,} bytes"),
    ]  # fmt: skip
    if artefact.settings:
        said = (f"{s.name} ({s.expected}; usually {s.default:g})" for s in artefact.settings)
        sizes.append(("SETTINGS", _string(", ".join(said)), ""))  # type: ignore[arg-type]
    return _defined((f"{prefix}_{what}", n, meaning) for what, n, meaning in sizes)


def _with_settings(text: str, artefact: Artefact) -> str:
    """The text with the settings of a drawing among arguments; with none of them if it has none."""
    settings = artefact.settings
    kinds = [_kind_of(s) for s in settings]
    names = [argument(s.name) for s in settings]
    ranges = []
    for s, name in zip(settings, names, strict=True):
        ends = (s.low, min(s.high, 1e6)) if s.whole else (max(s.low, -3e38), min(s.high, 3e38))
        ranges += [f" && {name} >= {number(ends[0])} && {name} <= {number(ends[1])}"]
    filled = {
        "takes": _takes(settings),
        "passed": "".join(f", {name}" for name in names),
        "usual": "".join(
            f", ({kind}){s.default:g}" for kind, s in zip(kinds, settings, strict=True)
        ),
        "program": "".join(f", ({kind})settings[{k}]" for k, kind in enumerate(kinds)),
        "names": " ".join(f"{_string(s.name)}," for s in settings),
        "values": " ".join(f"{float(s.default)!r}," for s in settings),
        "ranges": "".join(ranges),
    }
    for place, filling in filled.items():
        text = text.replace(f" /* @{place}@ */", filling).replace(f"/* @{place}@ */", filling)
    return text


def _defined(rows: Iterable[tuple[str, object, str]]) -> str:
    """Lines of `#define`, each with what it means."""
    return "\n".join(
        f"#define {name} {value}" + (f" /* {meaning} */" if meaning else "")
        for name, value, meaning in rows
    )


def _constants(artefact: Artefact, parts: Parts) -> str:
    low, high = stream_words()
    least, most = artefact.value_range
    test = artefact.test
    rows: list[tuple[str, object, str]] = [
        ("STREAM_LOW", f"0x{low:08X}u", "of the hash of the stream of pictures"),
        ("STREAM_HIGH", f"0x{high:08X}u", ""),
        ("LOW", f"({float(least)!r})", "black"),
        ("HIGH", f"({float(most)!r})", "white"),
    ]
    for part, f in parts.items():
        rows.append((f"{part.upper()}_CHECK", f"0x{_check(f):08X}u", "sum of its weights"))
    rows += [
        ("COUNTED", int(artefact.counted), "whether --label may be a number"),
        ("TEST_SEED", test.seed, ""),
        ("TEST_LABEL", test.label if artefact.classes else "(-1)", ""),
        ("TEXT_SOFTWARE", _string(f"tinygen {__version__}"), "of PNG files"),
        ("TEXT_DESCRIPTION", _string(SYNTHETIC), ""),
        ("TEXT_MODEL", _string(f"{artefact.model} {artefact.weights}"), ""),
    ]
    return _defined(rows)


def _check(f: Function) -> int:
    """The sum of (2 i + 1) bits of number i over all constants, modulo 2^32."""
    bits: list[NDArray[Any]] = [np.zeros(0, np.uint32)]
    for array in f.arrays.values():
        # integers with the sign in all bits
        kinds = {"i1": "i4", "f2": "f2"}
        whole = array.astype(kinds.get(array.dtype.str[1:], "f4"))
        kind = re.sub("[fi]", "u", whole.dtype.str)  # as an integer of the same bits
        bits.append(whole.ravel().view(kind).astype(np.uint32))
    joined = np.concatenate(bits)
    factors = np.arange(1, 2 * len(joined), 2, dtype=np.uint32)
    return int((joined * factors).sum(dtype=np.uint32))


def _model(artefact: Artefact, parts: Parts, name: str) -> Iterator[str]:
    """The part after the program: weights, functions, the self-test's numbers, what it says."""
    test = artefact.test
    yield "\n#ifndef SHOW\n#define SHOW(x, n) ((void)0)\n#endif\n"
    if any(f.pieces for f in parts.values()):  # which compilers would make one function again
        apart = "__attribute__((noinline))"
        yield f"\n#ifdef __GNUC__\n#define APART {apart}\n#else\n#define APART\n#endif\n"
    for part, f in parts.items():
        yield _title(f"the {part}")
        for array_name, array in f.arrays.items():
            yield "\n"
            yield from _array(_kind(array_name, array), array_name, array)
        yield "\n"
        for layer, text in f.layers.items():
            yield f"static const Layer {layer} =\n    {text};\n"
        checks = (
            f"    {'check_floats' if _kind(k, x) == 'float' else 'check_weights'}"
            f"(&check, {k}, {x.size});\n" for k, x in f.arrays.items()
        )  # fmt: skip
        yield f"\nstatic uint32_t {part}_sum(void) {{\n    Check check = {{0, 1}};\n"
        yield from checks
        yield "" if f.arrays else "    (void)check_floats;\n"
        yield "    return check.sum;\n}\n"
        whole = {f"const float *{part}_graph": f.lines}
        for head, lines in ({f"APART void {k}": v for k, v in f.pieces.items()} | whole).items():
            yield f"\nstatic {head}(float label{_takes(f.packed.settings)}, float *m) {{\n"
            yield from (f"    (void){argument(v.name)};\n" for v in f.settings)
            yield "    (void)label;\n"
            yield from (f"{line}\n" for line in lines)
            yield "}\n"
    yield _title("the self-test's numbers")
    known: dict[str, tuple[str, NDArray[Any]]]
    known = {"code": ("float", test.code), "image": ("unsigned char", test.image)}
    if test.mean is not None:
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


def _takes(settings: Iterable[Setting]) -> str:
    """The settings of a drawing as arguments of a C function."""
    return "".join(f", {_kind_of(s)} {argument(s.name)}" for s in settings)


def _kind_of(setting: Setting) -> str:
    return "int" if setting.whole else "float"


def _title(text: str) -> str:
    return f"\n/* ---- {text} ".ljust(WIDTH - 1, "-") + "*/\n"


def _kind(name: str, array: NDArray[Any]) -> str:
    """The type in C: of weights that of the precision, of all else float."""
    stored = name.endswith("_weight") and array.dtype != np.int32
    return TYPES[array.dtype.name] if stored else "float"


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
