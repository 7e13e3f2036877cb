"""A trained image generator in one file of plain Python, 3.8 or newer: there is nothing to install.

    python3 digits.py --n 16 --seed 1 --out grid.png
    python3 digits.py --label cat                           # where there are labels: name or number
    python3 digits.py --about

or, with the file's own name in place of `digits`,

    import digits
    images = digits.generate(16, seed=1)

An image is `bytes`: the grey level (or red, green and blue) of each pixel, 0 to 255, row by row.
Image i of a seed is the same however many are drawn, and the same in every form of this model. All
images are synthetic. Made with tinygen.

The code is under the MIT licence, (c) 2026 the tinygen authors; the terms of the weights and of the
data that they come from are another matter, and stand in ABOUT.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import hashlib
import io
import itertools
import json
import math
import operator
import os
import struct
import sys
import zlib
from array import array
from typing import Any, Callable, Iterable, Sequence

__all__ = ["ABOUT", "codes", "decode", "encode", "generate", "png", "self_test", "trace"]

COLUMNS = 10  # images of a row with the same label, where none is asked for
TOGETHER = 16  # images drawn at a time
PAPER = 64  # grey level between the images of a picture

# ---- random numbers ------------------------------------------------------------------------------
# Philox 4x32-10 (Salmon et al., 2011): each block of four words is a function of its number and of
# a key, and from there on to the normal numbers it is exact arithmetic, the same on every machine.

LOW = 0xFFFFFFFF
LOG2 = (  # highest power first, as the others
    0.3611495316534145, 0.30590518673588324, 0.4132137396269725, 0.5770443396136213,
    0.9617971700865757, 2.885390079858712,
)  # fmt: skip
P = (
    1.3833917855877442, 156.64337416248748, 3763.276714618121, 27508.63775501264,
    67892.86931321931, 49651.33027078408,
)  # fmt: skip
Q = (
    1.0, 117.74493470721416, 3111.28304757976, 27450.89148835632, 95427.78760206971,
    135562.6931563642, 65790.04814907639,
)  # fmt: skip


def philox(x0: int, x1: int, x2: int, x3: int, k0: int, k1: int) -> tuple[int, ...]:
    """Four words of 32 bits from a counter of four and a key of two."""
    for _ in range(10):
        a, b = x0 * 0xD2511F53, x2 * 0xCD9E8D57
        x0, x1, x2, x3 = (b >> 32) ^ x1 ^ k0, b & LOW, (a >> 32) ^ x3 ^ k1, a & LOW
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return x0, x1, x2, x3


def words(seed: int, first: int, count: int) -> list[int]:
    """Words first, first + 1, ... of the stream of pictures of a seed."""
    key, (low, high) = seed ^ 0x74696E7967656E31, MODEL["stream"]
    k0, k1, _, _ = philox(low, high, 0, 0, key & LOW, key >> 32)
    blocks = range(first // 4, (first + count + 3) // 4)
    out = [word for b in blocks for word in philox(b & LOW, b >> 32, 0, 0, k0, k1)]
    return out[first % 4 : first % 4 + count]


def polynomial(x: float, coefficients: Sequence[float]) -> float:
    """((c0 x + c1) x + c2) x + ..."""
    total = coefficients[0]
    for c in coefficients[1:]:
        total = total * x + c
    return total


def normal(word: int) -> float:
    """The standard normal quantile at (word + 1/2) / 2^32: a normal number of a random word."""
    h = -0.5 - (word if word < 2**31 else word - 2**32)
    m, e = math.frexp(abs(h))  # 2^(e - 31) m is the probability of a number further from 0
    r = (m - 1.0) / (m + 1.0)
    u = (31.0 - e) - r * polynomial(r * r, LOG2)
    return math.copysign(u * math.sqrt(polynomial(u, P) / polynomial(u, Q)), h)


def uniform(word: int) -> float:
    """A number in [-1, 1)."""
    return 2 * (word >> 8) * 2.0**-24 - 1


def code(i: int, seed: int) -> list[float]:
    """Code i of a seed: `latent` numbers as float32 has them."""
    draw = normal if MODEL["prior"] == "normal" else uniform
    latent = MODEL["latent"]
    return array("f", map(draw, words(seed, i * latent, latent))).tolist()


# ---- the network ---------------------------------------------------------------------------------

ACTIVATIONS = {
    "": lambda x, slope: x,
    "relu": lambda x, slope: x if x > 0 else 0.0,
    "leaky_relu": lambda x, slope: x if x > 0 else slope * x,
    "tanh": lambda x, slope: math.tanh(x),
    "sigmoid": lambda x, slope: sigmoid(x),
    "softplus": lambda x, slope: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "silu": lambda x, slope: x * sigmoid(x),
}


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), written so that nothing overflows."""
    return 0.5 + 0.5 * math.tanh(0.5 * x)


class Units:
    """Units that see the same inputs x, each with a row of weights w: f(x . w + b).

    x . w is (|x|^2 + |w|^2 - |x - w|^2) / 2, and distances are what Python's library computes at
    the speed of C, ten times that of a sum of products, to 15 digits.
    """

    def __init__(
        self, rows: list[tuple[float, ...]], biases: Iterable[float], f: Callable[[float], float]
    ) -> None:
        self.rows, self.f = rows, f
        self.constants = [0.5 * squared(w) + b for w, b in zip(rows, biases)]

    def __call__(self, x: tuple[float, ...]) -> list[float]:
        f, distance, half = self.f, math.dist, 0.5 * squared(x)
        out = []
        for w, constant in zip(self.rows, self.constants):
            d = distance(x, w)
            out.append(f(half + constant - 0.5 * d * d))
        return out


def squared(x: tuple[float, ...]) -> float:
    """|x|^2."""
    length = math.hypot(*x)
    return length * length


class Layer:
    """y = f(linear map of x + bias), for each of a batch of flat lists.

    about: kind, shapes and, of a convolution, where its windows lie. kernel: for each tap the rows
    of weights of the outputs; a dense layer has one tap.
    """

    def __init__(
        self, about: dict[str, Any], kernel: list[list[tuple[float, ...]]], biases: list[float]
    ) -> None:
        self.about, self.kernel, self.biases = about, kernel, biases
        self.f = functools.partial(ACTIVATIONS[about["activation"]], slope=about["slope"])
        self.dense = Units(kernel[0], biases, self.f) if about["kind"] == "dense" else None

    def __call__(self, batch: list[list[float]]) -> list[list[float]]:
        if self.dense:
            return [self.dense(tuple(x)) for x in batch]
        return self.convolution(batch)

    def convolution(self, batch: list[list[float]]) -> list[list[float]]:
        """Each output pixel sees some input pixels, each through a tap.

        Pixels that use the same taps (all but those at the edges; of a transposed convolution,
        every other one for a stride of 2) share units that have the weights of these taps only, so
        that nothing is multiplied by zeros around the image or between its pixels.
        """
        _, wide, channels = self.about["input"]
        height, width, outputs = self.about["output"]
        across = self.about["kernel"][1]
        images = [[x[k : k + channels] for k in range(0, len(x), channels)] for x in batch]
        made: list[list[list[float]]] = [[[]] * (height * width) for _ in batch]
        chain = itertools.chain.from_iterable
        for vertical, rows in self.meetings(0):
            for horizontal, columns in self.meetings(1):
                taps = [self.kernel[a * across + b] for a in vertical for b in horizontal]
                weights = [tuple(chain(tap[o] for tap in taps)) for o in range(outputs)]
                units = Units(weights, self.biases, self.f)
                for x, y in zip(images, made):
                    for i, down in rows:
                        for j, right in columns:
                            seen = (x[r * wide + c] for r in down for c in right)
                            y[i * width + j] = units(tuple(chain(seen)))
        return [list(chain(y)) for y in made]

    def meetings(self, axis: int) -> Any:
        """Output rows (or columns) by the taps they use: taps, [(row, the input rows it sees)]."""
        names = ("input", "output", "kernel", "stride", "dilation", "before")
        inputs, outputs, taps, stride, dilation, before = (self.about[k][axis] for k in names)
        found: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
        for i in range(outputs):
            if self.about["kind"] == "conv":
                pairs = [(a, i * stride + a * dilation - before) for a in range(taps)]
            else:  # transposed: input row r adds to row r stride + a dilation - before
                steps = [(a, i + before - a * dilation) for a in range(taps)]
                pairs = [(a, r // stride) for a, r in steps if r % stride == 0]
            pairs = [(a, r) for a, r in pairs if 0 <= r < inputs]
            found.setdefault(tuple(a for a, _ in pairs), []).append((i, [r for _, r in pairs]))
        return found.items()


# ---- the weights ---------------------------------------------------------------------------------


class DamagedError(ValueError):
    """This file is not as it was made."""


def check(what: str, data: bytes, sha256: str) -> None:
    """Raises DamagedError if the data have another SHA-256 than when the file was made."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DamagedError(
            f"this file is damaged: the SHA-256 of its {what} is {found[:12]}..., expected "
            f"{sha256[:12]}...; take another copy of the file"
        )


def described(text: str, sha256: str) -> dict[str, Any]:
    """The description of the model, checked; a damaged one ends the program."""
    try:
        check("description", text.encode("utf-8", "replace"), sha256)
    except DamagedError as error:
        if __name__ == "__main__":
            sys.exit(f"self-test FAILED: {error}" if "--self-test" in sys.argv else str(error))
        raise
    model: dict[str, Any] = json.loads(text)
    return model


@functools.lru_cache(maxsize=None)
def network(part: str) -> list[Layer]:
    """The layers of the "decoder" or "encoder"."""
    if part not in MODEL["parts"]:
        raise ValueError(f"this file has no {part}; the model can be exported with --part both")
    text = "".join(WEIGHTS.split()).encode("utf-8", "replace")
    check("weights", text, MODEL["sha256"])
    data = io.BytesIO(base64.b64decode(text))
    for name, layers in MODEL["parts"].items():
        loaded = [load(about, data) for about in layers]
        if name == part:
            break
    return loaded


def load(about: dict[str, Any], data: io.BytesIO) -> Layer:
    """The next layer: weights (taps, inputs, outputs), of int8 the outputs' scales, and biases."""
    taps = math.prod(about.get("kernel", [1]))
    inputs, outputs = about["input"][-1], about["output"][-1]
    values = read(data, taps * inputs * outputs, MODEL["precision"])
    scales = read(data, outputs, "float32") if MODEL["precision"] == "int8" else None
    biases = read(data, outputs, "float32")
    kernel = []
    for start in range(0, len(values), inputs * outputs):
        tap = values[start : start + inputs * outputs]
        rows = [tap[o::outputs] for o in range(outputs)]
        if scales:
            rows = [array("f", map(s.__mul__, row)) for s, row in zip(scales, rows)]
        kernel.append([tuple(row) for row in rows])
    return Layer(about, kernel, list(biases))


def read(data: io.BytesIO, count: int, kind: str) -> array[Any]:
    """The next numbers, little endian."""
    letter, size = {"float32": ("f", 4), "float16": ("e", 2), "int8": ("b", 1)}[kind]
    piece = data.read(count * size)
    if letter == "e":  # which arrays do not know
        return array("f", struct.unpack(f"<{count}e", piece))
    numbers = array(letter)
    numbers.frombytes(piece)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


# ---- what the networks do ------------------------------------------------------------------------


def trace(part: str, values: Iterable[float]) -> list[list[float]]:
    """What each layer of the "decoder" or "encoder" gives for one input, label beside it."""
    batch, outputs = [list(values)], []
    for layer in network(part):
        batch = layer(batch)
        outputs.append(batch[0])
    return outputs


def conditioned(values: list[float], label: int) -> list[float]:
    """An input with the label beside it: zeros, and for the label sqrt(number of values)."""
    hot = [0.0] * len(MODEL["classes"])
    if hot:
        hot[label] = math.sqrt(len(values))
    return [*values, *hot]


def drawn(batch: list[list[float]], labels: list[int]) -> list[bytes]:
    """The images of a batch of codes."""
    batch = [conditioned(z, label) for z, label in zip(batch, labels)]
    for layer in network("decoder"):
        batch = layer(batch)
    low, high = MODEL["range"]
    scaled = ([(v - low) / (high - low) * 255 for v in x] for x in batch)
    return [bytes(round(min(255.0, max(0.0, v))) for v in x) for x in scaled]


def whole(name: str, value: Any, low: int, high: int) -> int:
    """The value as an int, low <= value < high; ValueError says what was expected."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}, expected a whole number") from None
    if not low <= number < high:
        raise ValueError(f"{name} is {number}, expected {low} to {high - 1}")
    return number


def known(label: int | str | None) -> int:
    """The number of a label, which is given as number or name, if this model knows it; 0 for None.

    A text is the name of a class or, where none is called by a number, its place from 0.
    """
    classes: list[str] = MODEL["classes"]
    if label is None:
        return 0
    if not classes:
        raise ValueError("this model was trained without labels and cannot draw a chosen one")
    if isinstance(label, str) and label in classes:
        return classes.index(label)
    if isinstance(label, str) and not MODEL["counted"]:
        some = ", ".join(map(repr, classes[:20])) + (", ..." if len(classes) > 20 else "")
        raise ValueError(f"label is {label!r}, expected the name of a class ({some})")
    number = isinstance(label, str) and label.isascii() and label.isdigit() and len(label) < 20
    try:
        return whole("label", int(label) if number else label, 0, len(classes))
    except ValueError as error:
        names = ", ".join(f"{k}: {name!r}" for k, name in enumerate(classes[:20]))
        more = ", ..." if len(classes) > 20 else ""
        said = str(error).replace("a whole number", "the name or number of a class")
        raise ValueError(f"{said} ({names}{more})") from None


def codes(n: int = 1, seed: int = 0) -> list[list[float]]:
    """n codes of a seed, `latent` numbers each; code i does not depend on n."""
    seed = whole("seed", seed, 0, 2**64)
    return [code(i, seed) for i in range(whole("n", n, 0, 2**31))]


def decode(code: Iterable[float], label: int | str | None = None) -> bytes:
    """The image of a code, any `latent` numbers; label 0 where none is given."""
    values = [float(v) for v in code]
    if len(values) != MODEL["latent"]:
        raise ValueError(f"{len(values)} numbers, expected a code of {MODEL['latent']}")
    return drawn([values], [known(label)])[0]


def generate(n: int = 1, seed: int = 0, label: int | str | None = None) -> list[bytes]:
    """n new images of a seed; image i does not depend on n.

    label: what all of them show, by name or number; None draws ten of each label in turn, where
    there are labels.
    """
    n, seed, chosen = whole("n", n, 0, 2**31), whole("seed", seed, 0, 2**64), known(label)
    mixed = label is None and len(MODEL["classes"])
    network("decoder")  # a file without one says so, even for n = 0
    images: list[bytes] = []
    for first in range(0, n, TOGETHER):
        numbers = range(first, min(first + TOGETHER, n))
        labels = [i // COLUMNS % mixed if mixed else chosen for i in numbers]
        images += drawn([code(i, seed) for i in numbers], labels)
    return images


def encode(
    pixels: Iterable[int], label: int | str | None = None
) -> tuple[list[float], list[float]]:
    """(mean, log-variance) of the code of an image, which is given by its grey levels."""
    levels = list(pixels)
    if len(levels) != math.prod(MODEL["image"]) or not all(0 <= v <= 255 for v in levels):
        raise ValueError(f"expected {math.prod(MODEL['image'])} grey levels, 0 to 255")
    low, high = MODEL["range"]
    x = conditioned([v / 255 * (high - low) + low for v in levels], known(label))
    both = trace("encoder", x)[-1]
    return both[: MODEL["latent"]], both[MODEL["latent"] :]


# ---- pictures ------------------------------------------------------------------------------------


def png(
    images: Sequence[bytes], columns: int | None = None, text: dict[str, Any] | None = None
) -> bytes:
    """The bytes of a PNG file that shows images side by side.

    columns: images in a row, None for a square. text: what else the file says, by keyword.
    """
    height, width, channels = MODEL["image"]
    count, gap = len(images), 2
    if not count or channels not in (1, 3):
        raise ValueError(f"{count} images of {channels} channels; a PNG shows 1 or 3 channels")
    if columns is None:
        columns = math.ceil(math.sqrt(count))
    columns = min(whole("columns", columns, 1, 2**20), count)
    wide = gap + columns * (width + gap)
    scale = min(4, max(1, -(-600 // wide)))  # small images make a picture of 600 pixels
    paper = bytes([PAPER]) * channels
    between = [paper * wide] * gap
    lines = list(between)
    for first in range(0, count, columns):
        row = images[first : first + columns]
        for k in range(0, height * width * channels, width * channels):
            line = b"".join(paper * gap + x[k : k + width * channels] for x in row)
            lines.append(line + paper * (wide - len(line) // channels))
        lines += between
    rows = []
    for line in lines:
        pixels = (line[k : k + channels] * scale for k in range(0, len(line), channels))
        rows += [b"\0" + b"".join(pixels)] * scale  # 0: the row as it is, no filter
    kind = 0 if channels == 1 else 2  # grey or RGB
    size = struct.pack(">IIBBBBB", wide * scale, len(rows), 8, kind, 0, 0, 0)
    said = {
        "Software": ABOUT["made by"], "Description": "synthetic image generated by a model",
        "Model": f"{ABOUT['model']} {ABOUT['weights']}", **(text or {}),
    }  # fmt: skip
    written = (f"{key}\0{value}".encode("latin-1", "replace") for key, value in said.items())
    return b"".join([
        b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", size), *(chunk(b"tEXt", line) for line in written),
        chunk(b"IDAT", zlib.compress(b"".join(rows), 6)), chunk(b"IEND", b""),
    ])  # fmt: skip


def chunk(kind: bytes, body: bytes) -> bytes:
    """A part of a PNG file: length, kind, body, checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def save(path: str, data: bytes) -> None:
    """Write a file whole or not at all; an OSError names `path` as it was given."""
    target = os.path.realpath(path)
    temporary = f"{target}.{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, path) from None
        raise


# ---- the self-test -------------------------------------------------------------------------------


def self_test() -> list[str]:
    """What this file does otherwise than the model that it was made from; [] if all is well."""
    test, latent, faults = MODEL["test"], MODEL["latent"], []
    floats = {
        name: read(io.BytesIO(base64.b64decode(test[name])), latent, "float32").tolist()
        for name in ("code", "mean") if test[name]
    }  # fmt: skip
    image = base64.b64decode(test["image"])
    label = test["label"] if MODEL["classes"] else None
    if code(0, test["seed"]) != floats["code"]:
        faults.append(f"code 0 of seed {test['seed']} is not the one it should be")
    try:
        if "decoder" in MODEL["parts"]:
            off = max(abs(a - b) for a, b in zip(decode(floats["code"], label), image))
            if off > 1:
                faults.append(f"the picture is up to {off} grey levels off, expected 1 at most")
        if "encoder" in MODEL["parts"]:
            pairs = zip(encode(image, label)[0], floats["mean"])
            if not all(abs(a - b) <= 1e-3 for a, b in pairs):  # also when not a number
                faults.append("the mean code of the picture is off by more than 0.001")
    except (ArithmeticError, ValueError) as error:
        faults.append(str(error))
    return faults


# ---- the command line ----------------------------------------------------------------------------


def tell(text: str, end: str = "\n") -> None:
    """Print it, in letters that the console has; one that is full or gone stops nothing."""
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        print(text, end=end, flush=True)
    except (OSError, ValueError):
        sys.stdout = None  # else Python complains when it ends


def main() -> int:
    """Run the command line; the exit code is 0, 1 for a damaged file, 2 for wrong input."""
    parser = argparse.ArgumentParser(description="Draw images with a trained model.")
    parser.add_argument("--n", type=int, default=16, help="how many images (16)")
    parser.add_argument("--seed", type=int, default=0, help="0 up to 2^64 - 1 (0)")
    parser.add_argument("--label", help="what they show: name or number of a class, see --about")
    parser.add_argument("--columns", type=int, help="images in a row")
    parser.add_argument("--out", metavar="FILE", help="the picture to write (samples.png)")
    parser.add_argument("--raw", metavar="FILE", help="the pixels of all images, a byte a number")
    parser.add_argument("--about", action="store_true", help="what this model is, and its terms")
    parser.add_argument("--self-test", action="store_true", help="does it draw what it should?")
    args = parser.parse_args()
    if args.about:
        tell(json.dumps(ABOUT, indent=1))
        return 0
    if args.self_test:
        faults = self_test()
        for fault in faults:
            print(f"self-test FAILED: {fault}", file=sys.stderr)
        if not faults:
            tell("self-test passed")
        return 1 if faults else 0
    out = args.out if args.out or args.raw else "samples.png"
    columns = args.columns
    if columns is None and args.label is None and MODEL["classes"]:
        columns = COLUMNS  # a row of each label
    try:
        for name, value in (("n", args.n), ("columns", 1 if columns is None else columns)):
            whole(name, value, 1, 2**20)
        images = generate(args.n, args.seed, args.label)
        if args.raw:
            save(args.raw, b"".join(images))
        if out:
            save(out, png(images, columns, {"Seed": args.seed}))
    except DamagedError as error:
        print(error, file=sys.stderr)
        return 1
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot write the file, nothing was changed: {error}")
    tell(f"{args.n} images in {' and '.join(filter(None, (out, args.raw)))}")
    return 0


# ---- the model -----------------------------------------------------------------------------------

MODEL = described(r"""{}""", "SHA256")
ABOUT = MODEL["about"]
WEIGHTS = r""""""

if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        tell("", end="")  # what --help left unsaid
