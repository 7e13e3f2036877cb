"""The form "onnx": graphs for ONNX Runtime and its like, made with the `onnx` library.

    draw:     code (n, latent) float32, label (n,) int64 where the model has labels
              settings of a drawing, such as steps: one number, with a default
              -> image (n, H, W, C) float32 in the model's range, pixels (n, H, W, C) uint8
    encode:   image (n, H, W, C) float32 in the model's range, label likewise
              -> mean (n, latent), logvar (n, latent) float32

The batch n is symbolic, the noise an input, so that the same code gives the same image everywhere.
Each operation of the graph is a node or a few, `repeat` is Loop. The value "draw.3" is what
operation 3 of what draws gives; where it is "draw.3.planes", it lies as NCHW: ONNX convolves
images so, and what follows a convolution stays so as long as it can.

Opset 13 and IR version 7 are those of ONNX 1.8 of 2020, which engines years old read; what came
later to the operators used here are types and options that these graphs do not need.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..ops.conv import Window
from ..trace.graph import Affine, Op, Turns, Var
from . import graphs
from .artefact import Artefact
from .graphs import ExportError, Packed
from .onnx_file import OPERATORS, REDUCED, File
from .onnx_rows import any_or_all, argsort, axes_of, floor_divide, remainder
from .weights import ungrouped

FIRST = np.iinfo(np.int64).min  # an end of a slice that runs backwards over the first element


def render(artefact: Artefact, lower_conv_transpose: bool = False) -> dict[str, bytes]:
    """{".onnx": the model}; of an autoencoder with both parts what encodes as ".encode.onnx".

    lower_conv_transpose: write transposed convolutions as convolutions, for engines without them.

    Raises ExportError where the `onnx` library is missing, and for an operation without a row.
    """
    files: dict[str, bytes] = {}
    for part, packed in artefact.graphs.items():
        graphs.refuse(packed, ROWS, "onnx")
        suffix = ".onnx" if not files else f".{part}.onnx"
        file = File()
        build = draw if part == "draw" else encode
        files[suffix] = build(file, artefact, packed, lower_conv_transpose)
    return files


def draw(file: File, artefact: Artefact, packed: Packed, lower: bool) -> bytes:
    """The file that draws."""
    sizes = {"code": (artefact.latent,), "label": ()}
    x = whole("draw", file, packed, lower, sizes)
    file.output("image", file.add("Identity", x), artefact.shape)
    low, high = artefact.value_range
    step = 255 / (high - low)
    levels = file.add("Mul", "image", file.constant("step", np.float32(step)))
    if low:
        levels = file.add("Add", levels, file.constant("black", np.float32(-low * step)))
    ends = (file.constant(k, np.float32(v)) for k, v in (("least", 0), ("most", 255)))
    levels = file.add("Clip", file.add("Round", levels), *ends)
    levels = file.add("Cast", levels, to=file.code(np.uint8))
    file.output("pixels", levels, artefact.shape, np.uint8)
    return file.model(artefact, "code -> image (in the model's range) and pixels (0 to 255)")


def encode(file: File, artefact: Artefact, packed: Packed, lower: bool) -> bytes:
    """The file that encodes."""
    x = whole("encode", file, packed, lower, {"image": artefact.shape, "label": ()})
    latent = artefact.latent
    for name, first in (("mean", 0), ("logvar", latent)):
        file.output(name, file.slice(x, {1: (first, first + latent)}), (latent,))
    return file.model(artefact, "image (in the model's range) -> mean and logvar of its code")


def whole(
    part: str, file: File, packed: Packed, lower: bool, sizes: dict[str, tuple[int, ...]]
) -> str:
    """The result of a graph, whose arguments are made inputs."""
    graph = packed.graph
    rows = Rows(file, packed, lower)
    for v in graph.inputs:
        if v.name in sizes:
            file.input(v.name, np.dtype(v.dtype), sizes[v.name])
    for setting in packed.settings:
        file.choice(setting.name, setting.array())
    rows.names.update((v, v.name) for v in graph.inputs)
    for op in graph.every():  # what is made of stored weights is made once, not in each turn
        if op.traits.product and op.weight in packed.stored:
            rows.name(op.weight)
    for k, op in enumerate(graph.ops):
        rows.do(op, f"{part}.{k}")
    return rows.name(graph.outputs[0])


class Rows:
    """A row for each operation: the nodes that compute it.

    Attributes:
        names: of arrays, by their place in the graph.
        planes: of images that lie as NCHW, and perhaps only so.
    """

    def __init__(self, file: File, packed: Packed, lower: bool) -> None:
        self.file, self.packed, self.lower = file, packed, lower
        self.names: dict[Var, str] = {}
        self.planes: dict[Var, str] = {}

    def do(self, op: Op, name: str = "") -> None:
        """Add the nodes of an operation; what it gives is called by a name."""
        out = op.outs[0]
        if op.body is not None or op.traits.convolution is not None:
            ROWS[op.name](self, op)
        elif self.stays(op):
            args = [self.beside(v) for v in op.args]
            self.planes[out] = ROWS[op.name](self, op, *args)
        else:
            args = ["" if v is None else self.name(v) for v in op.args]
            self.names[out] = ROWS[op.name](self, op, *args)
        if name and out in self.names:
            self.names[out] = self.file.named(name, self.names[out])
        elif name:
            self.planes[out] = self.file.named(f"{name}.planes", self.planes[out])

    def stays(self, op: Op) -> bool:
        """Whether an operation of elements can be done on images as they lie, NCHW."""
        arrays = [v for v in op.args if v is not None and v.const is None]
        shape, constants = op.outs[0].shape, [v for v in op.args if v and v.const is not None]
        return (
            op.traits.pointwise
            and all(v in self.planes and v.shape == shape for v in arrays)
            and all(v.shape in ((), shape[-1:]) for v in constants)
        )

    def beside(self, v: Var | None) -> str:
        """The name of an array beside images NCHW: a constant of the channels is (C, 1, 1)."""
        if v is None:
            return ""
        if v.const is None:
            return self.planes[v]
        if not v.shape:
            return self.name(v)
        if v not in self.planes:
            array = np.asarray(v.const, v.dtype).reshape(-1, 1, 1)
            self.planes[v] = self.constant(array)
        return self.planes[v]

    def name(self, v: Var) -> str:
        """The name of an array as it is in the graph."""
        if v not in self.names:
            if v in self.packed.stored:
                self.names[v] = self.weight(*self.packed.stored[v])
            elif v.const is not None:
                self.names[v] = self.constant(np.asarray(v.const, v.dtype))
            else:
                self.names[v] = self.file.add("Transpose", self.planes[v], perm=[0, 2, 3, 1])
        return self.names[v]

    def constant(self, array: NDArray[Any]) -> str:
        """An array under a name of its own."""
        return self.file.constant(f"constant_{len(self.file.constants)}", array)

    def weight(self, values: NDArray[Any], scale: NDArray[Any] | None) -> str:
        """A weight in float32; engines compute it from what is stored once, as they load."""
        x = self.constant(values)
        if values.dtype != np.float32:
            x = self.file.add("Cast", x, to=self.file.code(np.float32))
        return x if scale is None else self.file.add("Mul", x, self.constant(scale))

    # ---- sizes -------------------------------------------------------------------------------

    def size(self, size: int | Affine) -> str:
        """A list of one size, which is known when the file runs."""
        if not isinstance(size, Affine):
            return self.file.integers(size)
        x = self.file.batch()
        if size.a != 1:
            x = self.file.add("Mul", x, self.file.integers(size.a))
        return self.file.add("Add", x, self.file.integers(size.b)) if size.b else x

    def sizes(self, shape: Sequence[int | Affine]) -> str:
        """A list of sizes."""
        known = [k for k in shape if not isinstance(k, Affine)]
        if len(known) == len(shape):
            return self.file.integers(*known)
        return self.file.add("Concat", *map(self.size, shape), axis=0)

    def reshaped(self, x: str, shape: Sequence[int | Affine]) -> str:
        """x in another shape, of which one size follows from the others."""
        unknown = [k for k in shape if isinstance(k, Affine)]
        if len(unknown) == 1 and 0 not in shape:
            shape = [-1 if isinstance(k, Affine) else k for k in shape]
        return self.file.add("Reshape", x, self.sizes(shape))

    # ---- images ------------------------------------------------------------------------------

    def image(self, v: Var) -> str:
        """Images NCHW."""
        if v not in self.planes:
            self.planes[v] = self.file.add("Transpose", self.name(v), perm=[0, 3, 1, 2])
        return self.planes[v]

    def convolve(self, op: Op) -> None:
        """Either convolution, of images NCHW."""
        x, kernel = op.args
        assert x is not None
        if kernel not in self.packed.stored:
            raise ExportError(f"{op.line}: the form onnx convolves with constant kernels only")
        window: Window = op.static["window"]
        (top, bottom), (left, right) = window.padding
        values, scale = self.packed.stored[kernel]
        sizes = {
            "kernel_shape": values.shape[:2], "strides": window.stride,
            "dilations": window.dilation, "pads": [top, left, bottom, right],
            "group": window.groups,
        }  # fmt: skip
        out, image = op.outs[0], self.image(x)
        if op.traits.convolves:
            self.planes[out] = self.conv(image, values, scale, **sizes)
        elif self.lower:
            self.planes[out] = self.lowered(op, image, values, scale)
        else:
            self.planes[out] = self.transposed(op, image, values, scale, sizes)

    def conv(self, x: str, values: NDArray[Any], scale: NDArray[Any] | None, **sizes: Any) -> str:
        """A convolution with a kernel (KH, KW, C, O)."""
        scale = None if scale is None else scale.reshape(-1, 1, 1, 1)
        return self.file.add("Conv", x, self.weight(values.transpose(3, 2, 0, 1), scale), **sizes)

    def transposed(
        self, op: Op, x: str, values: NDArray[Any], scale: NDArray[Any] | None,
        sizes: dict[str, Any],
    ) -> str:  # fmt: skip
        """A transposed convolution. Groups are written out as zeros: few engines have them here."""
        window: Window = op.static["window"]
        before, after = _extent(op)
        reached = [
            (n - 1) * s + d * (k - 1) + 1 - sum(p)
            for n, k, s, p, d in zip(before, values.shape[:2], *window[:3], strict=True)
        ]
        more = [n - m for n, m in zip(after, reached, strict=True)]
        weight = ungrouped(values, window.groups).transpose(2, 3, 0, 1)
        scale = None if scale is None else scale.reshape(1, -1, 1, 1)
        sizes = {**sizes, "group": 1, "output_padding": more}
        return self.file.add("ConvTranspose", x, self.weight(weight, scale), **sizes)

    def lowered(self, op: Op, x: str, values: NDArray[Any], scale: NDArray[Any] | None) -> str:
        """A transposed convolution of stride (S, T) as a convolution to S T times the channels.

        Of the rows, y[S q + p] = sum_a x[q + o] w[a] over the taps with p + PT - a DH = S o: for
        each p a convolution with some of the taps. Those of all (p, r) side by side are one, its
        kernel 0 where one has no tap; then the channels become the pixels of a block of S x T.
        """
        window: Window = op.static["window"]
        before, (height, width) = _extent(op)
        values, stride = ungrouped(values, window.groups), window.stride
        channels = values.shape[3]
        rows, columns = (
            phases(before[a], (height, width)[a], values.shape[a], window, a) for a in (0, 1)
        )
        shape = (rows.size, columns.size)
        kernel = np.zeros((*shape, values.shape[2], *stride, channels), values.dtype)
        for (a, p, t), (b, r, u) in itertools.product(rows.taps, columns.taps):
            kernel[t, u, :, p, r] = values[a, b]
        repeats = math.prod(stride)
        x = self.conv(
            x, kernel.reshape(*kernel.shape[:3], -1),
            None if scale is None else np.tile(scale, repeats), kernel_shape=shape,
            pads=[rows.pads[0], columns.pads[0], rows.pads[1], columns.pads[1]],
        )  # fmt: skip
        made = (rows.blocks * stride[0], columns.blocks * stride[1])
        if stride[0] == stride[1] > 1:
            x = self.file.add("DepthToSpace", x, blocksize=stride[0])
        elif repeats > 1:
            x = self.reshaped(x, (Affine(1, 0), *stride, channels, rows.blocks, columns.blocks))
            x = self.file.add("Transpose", x, perm=[0, 3, 4, 1, 5, 2])
            x = self.reshaped(x, (Affine(1, 0), channels, *made))
        if made == (height, width):
            return x
        return self.file.slice(x, {2: (0, height), 3: (0, width)})

    # ---- loops -------------------------------------------------------------------------------

    def loop(self, op: Op) -> None:
        """A loop: its body is a graph that may read whatever was known before it."""
        body, file, helper = op.body, self.file, self.file.onnx.helper
        assert body is not None
        state = [self.name(v) for v in op.args if v is not None]
        inner = Rows(file, self.packed, self.lower)
        inner.names, inner.planes = dict(self.names), dict(self.planes)
        name = f"Loop_{file.count}"
        heads = [f"{name}.in.{k}" for k in range(len(body.inputs))]
        inner.names.update(zip(body.inputs, heads, strict=True))
        outside, file.nodes = file.nodes, []
        for each in body.ops:
            inner.do(each)
        ends = [file.add("Identity", inner.name(v)) for v in body.outputs]
        going = file.add("Identity", f"{name}.go")
        nodes, file.nodes = file.nodes, outside

        def about(named: str, v: Var) -> Any:
            return file.about(
                named, v.dtype, [None if isinstance(k, Affine) else k for k in v.shape]
            )

        graph = helper.make_graph(
            nodes, f"{name}.body",
            [about(heads[0], body.inputs[0]), file.about(f"{name}.go", bool, ()),
             *map(about, heads[1:], body.inputs[1:])],
            [file.about(going, bool, ()), *map(about, ends, body.outputs)],
        )  # fmt: skip
        turns = self.turns(op.static["n"], f"{name}.turns")
        always = file.constant("true", np.array(True))
        made = file.several("Loop", len(op.outs), turns, always, *state, body=graph)
        self.names.update(zip(op.outs, made, strict=True))

    def turns(self, n: int | Turns, name: str) -> str:
        """How often a loop turns."""
        if not isinstance(n, Turns):
            return self.file.constant(name, np.int64(n))
        a, b = (self.file.constant(f"{name}.{k}", np.int64(getattr(n, k))) for k in "ab")
        return self.file.add("Add", self.file.add("Mul", self.names[n.argument], a), b)


def _extent(op: Op) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width of the images before and after."""
    x: Any = op.args[0]
    return x.shape[1:3], op.outs[0].shape[1:3]  # type: ignore[return-value]


class Phases(NamedTuple):
    """One direction of a transposed convolution written as a convolution.

    Attributes:
        taps: (a, p, t): tap a reaches the outputs S q + p from the input q + t - pads[0].
        size: of the kernel. pads: zeros before and after. blocks: how many q there are.
    """

    taps: list[tuple[int, int, int]]
    size: int
    pads: tuple[int, int]
    blocks: int


def phases(n: int, m: int, k: int, window: Window, axis: int) -> Phases:
    """From n inputs to m outputs by k taps: p + before - a D = S o for a tap's offset
    o = t - pads[0]; see Phases."""
    stride, before, dilation = window.stride[axis], window.padding[axis][0], window.dilation[axis]
    reached = [(a, p, p + before - a * dilation) for a in range(k) for p in range(stride)]
    offsets = [(a, p, o // stride) for a, p, o in reached if o % stride == 0]
    blocks = -(-m // stride)
    # A window wide enough that no padding is negative.
    first = min([0, *(o for _, _, o in offsets)])
    last = max([n - blocks, *(o for _, _, o in offsets)])
    taps = [(a, p, o - first) for a, p, o in offsets]
    return Phases(taps, last - first + 1, (-first, blocks - n + last), blocks)


# ---- a row an operation --------------------------------------------------------------------------


def _clip(rows: Rows, op: Op, x: str) -> str:
    ends = (op.static.get(k) for k in ("low", "high"))
    kind = np.dtype(op.outs[0].dtype)
    return rows.file.add(
        "Clip", x, *("" if v is None else rows.constant(np.array(v, kind)) for v in ends)
    )


def _sum(rows: Rows, op: Op, x: str) -> str:
    axes = rows.file.integers(*axes_of(op))
    return rows.file.add("ReduceSum", x, axes, keepdims=int(op.static["keepdims"]))


def _reduced(rows: Rows, op: Op, x: str) -> str:
    return rows.file.add(REDUCED[op.name], x, axes=axes_of(op), keepdims=int(op.static["keepdims"]))


def _argmax(rows: Rows, op: Op, x: str) -> str:
    axis = op.static["axis"]
    if axis is None:
        x = rows.file.add("Reshape", x, rows.file.integers(-1))
    x = rows.file.add("ArgMax", x, axis=axis or 0, keepdims=0)
    return rows.reshaped(x, op.outs[0].shape) if op.static["keepdims"] else x


def _cumsum(rows: Rows, op: Op, x: str) -> str:
    return rows.file.add("CumSum", x, rows.constant(np.array(op.static["axis"], np.int64)))


def _softmax(rows: Rows, op: Op, x: str) -> str:
    """Over one axis, or by its formula over several."""
    axes, file = axes_of(op), rows.file
    log = op.name == "log_softmax"
    if len(axes) == 1:
        return file.add("LogSoftmax" if log else "Softmax", x, axis=axes[0])
    x = file.add("Sub", x, file.add("ReduceMax", x, axes=axes, keepdims=1))
    powers = file.add("Exp", x)
    total = file.add("ReduceSum", powers, file.integers(*axes), keepdims=1)
    return file.add("Sub", x, file.add("Log", total)) if log else file.add("Div", powers, total)


def _broadcast(rows: Rows, op: Op, x: str) -> str:
    """A size that x has already is left as 1."""
    v, shape = op.args[0], op.outs[0].shape
    assert v is not None
    own = (1,) * (len(shape) - len(v.shape)) + v.shape
    sizes = [1 if a == b else b for a, b in zip(own, shape, strict=True)]
    return rows.file.add("Expand", x, rows.sizes(sizes))


def _slice(rows: Rows, op: Op, x: str) -> str:
    v, file = op.args[0], rows.file
    assert v is not None
    parts = op.static["parts"]
    cut = [a for a, part in enumerate(parts) if part != (0, v.shape[a], 1)]
    if not cut:
        return file.add("Identity", x)
    starts, stops, steps = zip(*(parts[a] for a in cut), strict=True)
    stops = tuple(
        FIRST if step < 0 and not isinstance(stop, Affine) and stop < 0 else stop
        for stop, step in zip(stops, steps, strict=True)
    )
    ends = (rows.sizes(starts), rows.sizes(stops), file.integers(*cut), file.integers(*steps))
    return file.add("Slice", x, *ends)


def _put(rows: Rows, op: Op, x: str, value: str, i: str) -> str:
    """Chosen at the places along the axis that are i."""
    axis, out, file = op.static["axis"], op.outs[0], rows.file
    count: Any = out.shape[axis]
    if op.args[1] is not None and op.args[1].shape:
        value = file.add("Unsqueeze", value, file.integers(axis))
    places = np.arange(count).reshape(-1, *(1,) * (len(out.shape) - axis - 1))
    here = file.add("Equal", rows.constant(places), i)
    return file.add("Where", here, value, x)


def _one_hot(rows: Rows, op: Op, x: str) -> str:
    """Gather takes a label below 0 from the end, and refuses one that is too large."""
    classes, file = op.static["classes"], rows.file
    count = file.constant(f"classes_{classes}", np.int64(classes))
    below = file.add("Less", x, file.constant("zero", np.int64(0)))
    hot = file.constant(f"labels_{classes}", np.eye(classes, dtype=op.outs[0].dtype))
    return file.add("Gather", hot, file.add("Where", below, count, x), axis=0)


Row = Callable[..., Any]
ROWS: dict[str, Row] = {
    **{
        name: lambda rows, op, *args: rows.file.add(OPERATORS[op.name], *args)
        for name in OPERATORS
    },
    "all": any_or_all, "any": any_or_all, "argsort": argsort, "floor_divide": floor_divide,
    "remainder": remainder,
    "argmax": _argmax, "broadcast_to": _broadcast, "clip": _clip, "cumsum": _cumsum, "put": _put,
    "cast": lambda rows, op, x: rows.file.add("Cast", x, to=rows.file.code(op.outs[0].dtype)),
    "concat": lambda rows, op, *args: rows.file.add("Concat", *args, axis=op.static["axis"]),
    "conv2d_dx": Rows.convolve, "conv2d_nd": Rows.convolve, "repeat": Rows.loop,
    "leaky_relu": lambda rows, op, x: rows.file.add("LeakyRelu", x, alpha=op.static["slope"]),
    "log_softmax": _softmax, "softmax": _softmax, "max": _reduced, "mean": _reduced,
    "matmul_nd": lambda rows, op, *args: rows.file.add("MatMul", *args), "min": _reduced,
    "not_equal": lambda rows, op, *args: rows.file.add("Not", rows.file.add("Equal", *args)),
    "one_hot": _one_hot, "reshape": lambda rows, op, x: rows.reshaped(x, op.outs[0].shape),
    "slice": _slice, "sum": _sum,
    "take": lambda rows, op, *args: rows.file.add("Gather", *args, axis=op.static["axis"]),
    "take_along_axis": lambda rows, op, *args: rows.file.add(
        "GatherElements", *args, axis=op.static["axis"]
    ),
    "transpose": lambda rows, op, x: rows.file.add("Transpose", x, perm=op.static["axes"]),
}  # fmt: skip
OPERATIONS = frozenset(ROWS)
