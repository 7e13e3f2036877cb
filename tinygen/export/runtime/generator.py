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


# ---- the graph -----------------------------------------------------------------------------------
# A part of the model is a list of operations. Arrays are numbered: the arguments, the constants,
# and one result after the other. A size of an array is a number, or [a, b] for a n + b of n images.


class Array:
    """Numbers, row by row, and the sizes of the axes."""

    def __init__(self, shape: tuple[int, ...], values: Sequence[Any]) -> None:
        self.shape, self.values = shape, values
        self.units: dict[Any, Units] = {}  # of a weight: what computes with it


def sized(size: Any, n: int) -> int:
    """A size for n images."""
    return size if isinstance(size, int) else size[0] * n + size[1]


def steps(shape: Sequence[int]) -> list[int]:
    """How far apart the neighbours along each axis are."""
    found, step = [], 1
    for size in reversed(shape):
        found.append(step)
        step *= size
    return found[::-1]


def places(shape: Sequence[int], along: Sequence[int], start: int = 0) -> list[int]:
    """Where each element of a shape is in an array whose axes have the steps `along`."""
    found = [start]
    for size, step in zip(shape, along):
        offsets = [i * step for i in range(size)]
        found = [place + offset for place in found for offset in offsets]
    return found


def spread(x: Array, shape: tuple[int, ...]) -> Sequence[Any]:
    """The numbers of x repeated to a shape, from the last axis on."""
    if x.shape == shape:
        return x.values
    count, held = math.prod(shape), len(x.values)
    if held == 1 or x.shape == shape[len(shape) - len(x.shape) :]:
        return list(x.values) * (count // held)
    own = (1,) * (len(shape) - len(x.shape)) + x.shape
    along = [0 if size == 1 else step for size, step in zip(own, steps(own))]
    return [x.values[k] for k in places(shape, along)]


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), written so that nothing overflows."""
    return 0.5 + 0.5 * math.tanh(0.5 * x)


def clip(x: float, low: float | None, high: float | None) -> float:
    """x, or the bound that it is beyond."""
    if low is not None and x < low:
        return low
    return high if high is not None and x > high else x


def finite(f: Callable[[float], int]) -> Callable[[float], float]:
    """A function that rounds, of numbers that may be infinite or NaN."""
    return lambda x: float(f(x)) if math.isfinite(x) else x


POINTWISE: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "maximum": max, "minimum": min, "abs": abs, "sqrt": math.sqrt, "exp": math.exp, "log": math.log,
    "sin": math.sin, "cos": math.cos, "tanh": math.tanh, "erf": math.erf, "sigmoid": sigmoid,
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "relu": lambda x: x if x > 0 else 0.0,
    "leaky_relu": lambda x, slope: x if x > 0 else slope * x,
    "clip": clip, "where": lambda condition, x, y: x if condition else y,
    "equal": operator.eq, "not_equal": operator.ne, "less": operator.lt, "less_equal": operator.le,
    "greater": operator.gt, "greater_equal": operator.ge, "broadcast_to": lambda x: x,
    "floor": finite(math.floor), "round": finite(round), "remainder": operator.mod,
    "floor_divide": operator.floordiv,
    "mask_and": lambda x, y: x and y, "mask_or": lambda x, y: x or y,
}  # fmt: skip


def order(x: Array, axes: Sequence[int]) -> list[int]:
    """The places of x with `axes` last: what lies along them stands in a row."""
    kept = [a for a in range(len(x.shape)) if a not in axes]
    along = steps(x.shape)
    turned = [*kept, *axes]
    return places([x.shape[a] for a in turned], [along[a] for a in turned])


def rows(x: Array, axes: Sequence[int]) -> list[list[Any]]:
    """The numbers along `axes`, for each place on the others."""
    values, size = [x.values[k] for k in order(x, axes)], math.prod(x.shape[a] for a in axes)
    return [values[k : k + size] for k in range(0, len(values), size)]


def softmax(row: list[float]) -> list[float]:
    """e^x of each over the sum of all."""
    most = max(row)
    powers = [math.exp(v - most) for v in row]
    total = sum(powers)
    return [v / total for v in powers]


def log_softmax(row: list[float]) -> list[float]:
    """The logarithm of the softmax."""
    most = max(row)
    total = most + math.log(sum(math.exp(v - most) for v in row))
    return [v - total for v in row]


REDUCED: dict[str, Callable[[list[Any]], Any]] = {
    "sum": sum, "mean": lambda row: sum(row) / len(row), "max": max, "min": min,
    "argmax": lambda row: row.index(max(row)), "any": any, "all": all,
}  # fmt: skip
IN_ROWS: dict[str, Callable[[list[Any]], Any]] = {
    "softmax": softmax, "log_softmax": log_softmax, "cumsum": itertools.accumulate,
}  # fmt: skip
CAST: dict[str, Callable[[Any], Any]] = {
    "float32": float, "float64": float, "int32": int, "int64": int, "bool": bool,
}  # fmt: skip


def axes_of(x: Array, about: dict[str, Any]) -> list[int]:
    axis = about["axis"]
    if axis is None:
        return list(range(len(x.shape)))
    return [axis] if isinstance(axis, int) else list(axis)


def in_rows(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """A function of each row of numbers along some axes, which gives a row."""
    (x,), f = args, IN_ROWS[about["op"]]
    axes = axes_of(x, about)
    out: list[Any] = [0.0] * len(x.values)
    made = itertools.chain.from_iterable(map(f, rows(x, axes)))
    for place, value in zip(order(x, axes), made):
        out[place] = value
    return out


def reshape(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> Any:
    return args[0].values


def transpose(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> list[Any]:
    along = steps(args[0].shape)
    return [args[0].values[k] for k in places(shape, [along[a] for a in about["axes"]])]


def cut(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """x[start : stop : step, ...]; parts are given for this n."""
    along = steps(args[0].shape)
    first = sum(start * s for (start, _, _), s in zip(about["parts"], along))
    by = [step * s for (_, _, step), s in zip(about["parts"], along)]
    return [args[0].values[k] for k in places(shape, by, first)]


def concat(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> list[Any]:
    axis = about["axis"]
    sizes = [math.prod(x.shape[axis:]) for x in args]
    out: list[Any] = []
    for k in range(math.prod(shape[:axis])):
        for x, size in zip(args, sizes):
            out += x.values[k * size : (k + 1) * size]
    return out


def take(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> list[Any]:
    x, indices = args
    axis = about["axis"]
    inner = math.prod(x.shape[axis + 1 :])
    out: list[Any] = []
    for k in range(0, len(x.values), x.shape[axis] * inner):
        for i in indices.values:
            out += x.values[k + i * inner : k + (i + 1) * inner]
    return out


def take_along_axis(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> list[Any]:
    x, indices = args
    axis, lines = about["axis"], rows(x, [about["axis"]])
    out: list[Any] = [0.0] * len(indices.values)
    for k, place in enumerate(order(indices, [axis])):
        out[place] = lines[k // shape[axis]][indices.values[place] % x.shape[axis]]
    return out


def argsort(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """The indices that sort each row; equal numbers stay in their order."""
    (x,), back = args, about["descending"]
    out: list[Any] = [0] * len(x.values)
    lines = rows(x, [about["axis"]])
    made = [sorted(range(len(row)), key=row.__getitem__, reverse=back) for row in lines]
    for place, value in zip(order(x, [about["axis"]]), itertools.chain.from_iterable(made)):
        out[place] = value
    return out


def put(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """A copy of x with a value at place i along an axis."""
    x, value, i = args
    axis, out = about["axis"], list(x.values)
    inner = math.prod(shape[axis + 1 :])
    new = spread(value, shape[:axis] + shape[axis + 1 :])
    first = i.values[0] * inner
    for k in range(math.prod(shape[:axis])):
        to = k * shape[axis] * inner + first
        out[to : to + inner] = new[k * inner : (k + 1) * inner]
    return out


def one_hot(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> list[Any]:
    classes = range(about["classes"])
    return [float(label == k) for label in args[0].values for k in classes]


class Units:
    """Units that see the same inputs x, each with a row of weights w: x . w.

    x . w is (|x|^2 + |w|^2 - |x - w|^2) / 2, and distances are what Python's library computes at
    the speed of C, ten times that of a sum of products, to 15 digits.
    """

    def __init__(self, rows: list[tuple[float, ...]]) -> None:
        self.rows = rows
        self.constants = [0.5 * squared(w) for w in rows]

    def __call__(self, x: tuple[float, ...]) -> list[float]:
        distance, half = math.dist, 0.5 * squared(x)
        out = []
        for w, constant in zip(self.rows, self.constants):
            d = distance(x, w)
            out.append(half + constant - 0.5 * d * d)
        return out


def squared(x: tuple[float, ...]) -> float:
    """|x|^2."""
    length = math.hypot(*x)
    return length * length


def matmul(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> list[float]:
    """x @ y; the leading axes of both are repeated to those of the result."""
    x, y = args
    inner, columns = y.shape[-2:]
    size, count = inner * columns, x.shape[-2]
    lead = shape[:-2]
    first, second = (
        places(lead, [0 if n == 1 else s for n, s in zip(own, steps(own))])
        for own in ((1,) * (len(shape) - len(v.shape)) + v.shape[:-2] for v in (x, y))
    )
    out: list[float] = []
    for i, j in zip(first, second):
        units = y.units.get(j)
        if units is None:
            matrix = y.values[j * size : (j + 1) * size]
            units = y.units[j] = Units([tuple(matrix[c::columns]) for c in range(columns)])
        for k in range(i * count, (i + 1) * count):
            out += units(tuple(x.values[k * inner : (k + 1) * inner]))
    return out


def convolution(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> list[float]:
    """Each output pixel sees some input pixels, each through a tap.

    Pixels that use the same taps (all but those at the edges; of a transposed convolution, every
    other one for a stride of 2) share units that have the weights of these taps only, so that
    nothing is multiplied by zeros around the image or between its pixels. The kernel is (rows,
    columns, inputs of a group, outputs of all groups).
    """
    x, kernel = args
    count, high, wide, channels = x.shape
    _, height, width, _ = shape
    groups, across, inner = about["groups"], kernel.shape[1], kernel.shape[2]
    pixels = [x.values[k : k + channels] for k in range(0, len(x.values), channels)]
    made: list[list[float]] = [[0.0]] * (count * height * width)
    chain = itertools.chain.from_iterable
    for vertical, down in meetings(about, 0, high, height, kernel.shape[0]):
        for horizontal, right in meetings(about, 1, wide, width, across):
            taps = [a * across + b for a in vertical for b in horizontal]
            units = kernel.units.get(tuple(taps))
            if units is None:
                units = kernel.units[tuple(taps)] = tapped(kernel, taps, about["groups"])
            for k in range(count):
                image = k * high * wide
                for i, seen_down in down:
                    for j, seen_right in right:
                        seen = [pixels[image + r * wide + c] for r in seen_down for c in seen_right]
                        y: list[float] = []
                        for g, unit in enumerate(units):
                            part = (p[g * inner : (g + 1) * inner] for p in seen)
                            y += unit(tuple(chain(part if groups > 1 else seen)))
                        made[(k * height + i) * width + j] = y
    return list(chain(made))


def tapped(kernel: Array, taps: list[int], groups: int) -> list[Units]:
    """For each group the units of its outputs, with the weights of some taps."""
    inner, outputs = kernel.shape[2:]
    size, each = inner * outputs, outputs // groups
    weights = [kernel.values[t * size : (t + 1) * size] for t in taps]
    rows = [tuple(w for tap in weights for w in tap[o::outputs]) for o in range(outputs)]
    return [Units(rows[k : k + each]) for k in range(0, outputs, each)]


def meetings(about: dict[str, Any], axis: int, inputs: int, outputs: int, taps: int) -> Any:
    """Output rows (or columns) by the taps they use: taps, [(row, the input rows it sees)]."""
    stride, dilation, before = (about[k][axis] for k in ("stride", "dilation", "before"))
    found: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
    for i in range(outputs):
        if about["op"] == "conv2d_nd":
            pairs = [(a, i * stride + a * dilation - before) for a in range(taps)]
        else:  # transposed: input row r adds to row r stride + a dilation - before
            met = [(a, i + before - a * dilation) for a in range(taps)]
            pairs = [(a, r // stride) for a, r in met if r % stride == 0]
        pairs = [(a, r) for a, r in pairs if 0 <= r < inputs]
        found.setdefault(tuple(a for a, _ in pairs), []).append((i, [r for _, r in pairs]))
    return found.items()


OTHERS: dict[str, Callable[[dict[str, Any], list[Any], tuple[int, ...]], Any]] = {
    **dict.fromkeys(IN_ROWS, in_rows), "reshape": reshape, "transpose": transpose, "slice": cut,
    "concat": concat, "take": take, "put": put, "one_hot": one_hot, "matmul_nd": matmul,
    "conv2d_nd": convolution, "conv2d_dx": convolution, "argsort": argsort,
    "take_along_axis": take_along_axis,
}  # fmt: skip


def computed(about: dict[str, Any], args: list[Any], shape: tuple[int, ...]) -> Any:
    """The numbers that one operation gives."""
    name = about["op"]
    if name in OTHERS:
        return OTHERS[name](about, args, shape)
    if name in REDUCED:
        return list(map(REDUCED[name], rows(args[0], axes_of(args[0], about))))
    if name == "cast":
        return list(map(CAST[about["dtype"]], args[0].values))
    f = POINTWISE[name]
    options = {k: about[k] for k in ("slope", "low", "high") if k in about}
    if options:
        f = functools.partial(f, **options)
    return list(map(f, *(spread(x, shape) for x in args)))


class Graph:
    """A part of the model: its operations and constants."""

    def __init__(self, about: dict[str, Any], data: io.BytesIO) -> None:
        self.about = about
        self.constants = [constant(each, data) for each in about["constants"]]

    def run(self, inputs: Sequence[Sequence[Any]]) -> list[Array]:
        """What each operation gives, for the numbers of each argument; then the results."""
        about = self.about
        first = about["inputs"][0]["shape"]
        n = len(inputs[0]) // math.prod(first[1:])
        arrays = [
            Array(tuple(sized(k, n) for k in given["shape"]), values)
            for given, values in zip(about["inputs"], inputs)
        ]
        known = dict(enumerate(arrays + self.constants))
        self.do(about["operations"], known, n)
        each = [op["outs"][0] for op in about["operations"]]
        return [known[k] for k in (*each, *about["outputs"])]

    def do(self, operations: list[dict[str, Any]], known: dict[int, Array], n: int) -> None:
        """Add what the operations give to the known arrays."""
        for op in operations:
            args = [None if k is None else known[k] for k in op["args"]]
            if op["op"] == "repeat":
                known.update(zip(op["outs"], self.turns(op, args, known, n)))
                continue
            shape = tuple(sized(k, n) for k in op["shape"])
            if "parts" in op:
                op = {**op, "parts": [[sized(k, n) for k in part] for part in op["parts"]]}
            known[op["outs"][0]] = Array(shape, computed(op, args, shape))

    def turns(
        self, op: dict[str, Any], state: list[Any], known: dict[int, Array], n: int
    ) -> list[Any]:
        """The last state of a loop."""
        body, count = op["body"], op["n"]
        if isinstance(count, list):  # [k, a, b] is a m + b, m the number of array k
            setting, times, more = count
            count = times * int(known[setting].values[0]) + more
        for i in range(count):
            known.update(zip(body["inputs"], [Array((), [i]), *state]))
            self.do(body["operations"], known, n)
            state = [known[k] for k in body["outputs"]]
        return state

    def __call__(self, inputs: Sequence[Sequence[Any]]) -> Sequence[Any]:
        """The numbers of the result."""
        return self.run(inputs)[-1].values


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
def graph(part: str) -> Graph:
    """The graph of the part "draw" or "encode"."""
    if part not in MODEL["parts"]:
        raise ValueError(
            f"this file has no part {part}; the model can be exported with --part both"
        )
    text = "".join(WEIGHTS.split()).encode("utf-8", "replace")
    check("weights", text, MODEL["sha256"])
    data = io.BytesIO(base64.b64decode(text))
    for name, about in MODEL["parts"].items():
        loaded = Graph(about, data)
        if name == part:
            break
    return loaded


def constant(about: dict[str, Any], data: io.BytesIO) -> Array:
    """The next constant: its numbers and, of int8, what the integers of each output count."""
    shape = tuple(about["shape"])
    if "value" in about:
        return Array(shape, [about["value"]])
    values: Sequence[Any] = read(data, math.prod(shape), about["kind"])
    if about["kind"] == "int8":
        scales = read(data, shape[-1], "float32")
        values = array("f", map(operator.mul, values, itertools.cycle(scales)))
    return Array(shape, values)


def read(data: io.BytesIO, count: int, kind: str) -> array[Any]:
    """The next numbers, little endian."""
    letter, size = {
        "float32": ("f", 4), "float16": ("e", 2), "int8": ("b", 1), "int32": ("i", 4)
    }[kind]  # fmt: skip
    piece = data.read(count * size)
    if letter == "e":  # which arrays do not know
        return array("f", struct.unpack(f"<{count}e", piece))
    numbers = array(letter)
    numbers.frombytes(piece)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


# ---- what the graphs do --------------------------------------------------------------------------


def given(
    part: str, values: Iterable[float], labels: list[int], settings: Sequence[float] = ()
) -> list[list[Any]]:
    """The arguments of a part: numbers, labels where it takes them, settings of a drawing."""
    both: list[list[Any]] = [list(values), labels]
    return both[: 2 if MODEL["classes"] else 1] + [[value] for value in settings]


def chosen(settings: dict[str, Any]) -> list[float]:
    """The settings of a drawing, those not given by their defaults; ValueError for wrong ones."""
    open_to = {about["name"]: about for about in MODEL["settings"]}
    for name in settings:
        if name not in open_to:
            has = ", ".join(open_to) or "none"
            raise ValueError(f"{name!r} is no setting of this model's drawings; it has {has}")
    found = []
    for name, about in open_to.items():
        value = settings.get(name)
        value = about["default"] if value is None else value
        try:
            number = operator.index(value) if about["whole"] else float(value)
        except (TypeError, ValueError):
            number = math.nan
        low, high = about["low"], about["high"]
        inside = (low is None or number >= low) and (high is None or number <= high)
        if not inside or not math.isfinite(number):
            raise ValueError(f"{name} is {value!r}, expected {about['expected']}")
        found.append(number)
    return found


def trace(
    part: str, values: Iterable[float], label: int = 0, **settings: float
) -> list[list[float]]:
    """What each operation of the part "draw" or "encode" gives for one code, or one image."""
    numbers = chosen(settings) if part == "draw" else []
    arrays = graph(part).run(given(part, values, [label], numbers))
    return [list(map(float, x.values)) for x in arrays[: len(graph(part).about["operations"])]]


def drawn(batch: list[list[float]], labels: list[int], settings: list[float]) -> list[bytes]:
    """The images of a batch of codes."""
    codes = list(itertools.chain.from_iterable(batch))
    values = graph("draw")(given("draw", codes, labels, settings))
    low, high = MODEL["range"]
    levels = bytes(round(min(255.0, max(0.0, (v - low) / (high - low) * 255))) for v in values)
    size = math.prod(MODEL["image"])
    return [levels[k : k + size] for k in range(0, len(levels), size)]


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


def decode(code: Iterable[float], label: int | str | None = None, **settings: float) -> bytes:
    """The image of a code, any `latent` numbers; label 0 where none is given.

    settings: those of MODEL["settings"], such as steps, by name.
    """
    values = [float(v) for v in code]
    if len(values) != MODEL["latent"]:
        raise ValueError(f"{len(values)} numbers, expected a code of {MODEL['latent']}")
    return drawn([values], [known(label)], chosen(settings))[0]


def generate(
    n: int = 1, seed: int = 0, label: int | str | None = None, **settings: float
) -> list[bytes]:
    """n new images of a seed; image i does not depend on n.

    label: what all of them show, by name or number; None draws ten of each label in turn, where
    there are labels. settings: see decode.
    """
    n, seed, wanted = whole("n", n, 0, 2**31), whole("seed", seed, 0, 2**64), known(label)
    numbers_chosen = chosen(settings)
    mixed = label is None and len(MODEL["classes"])
    graph("draw")  # a file without one says so, even for n = 0
    images: list[bytes] = []
    for first in range(0, n, TOGETHER):
        numbers = range(first, min(first + TOGETHER, n))
        labels = [i // COLUMNS % mixed if mixed else wanted for i in numbers]
        images += drawn([code(i, seed) for i in numbers], labels, numbers_chosen)
    return images


def encode(
    pixels: Iterable[int], label: int | str | None = None
) -> tuple[list[float], list[float]]:
    """(mean, log-variance) of the code of an image, which is given by its grey levels."""
    levels = list(pixels)
    if len(levels) != math.prod(MODEL["image"]) or not all(0 <= v <= 255 for v in levels):
        raise ValueError(f"expected {math.prod(MODEL['image'])} grey levels, 0 to 255")
    low, high = MODEL["range"]
    x = [v / 255 * (high - low) + low for v in levels]
    both = trace("encode", x, known(label))[-1]
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
        if "draw" in MODEL["parts"]:
            off = max(abs(a - b) for a, b in zip(decode(floats["code"], label), image))
            if off > 1:
                faults.append(f"the picture is up to {off} grey levels off, expected 1 at most")
        if "encode" in MODEL["parts"]:
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
    for about in MODEL["settings"]:
        default, kind = about["default"], int if about["whole"] else float
        said = f"{about['help']} ({default})".replace("%", "%%")
        parser.add_argument(f"--{about['name']}", type=kind, help=said)
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
        settings = {about["name"]: getattr(args, about["name"]) for about in MODEL["settings"]}
        images = generate(args.n, args.seed, args.label, **settings)
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
