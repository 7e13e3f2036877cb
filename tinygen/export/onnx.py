"""The form "onnx": graphs for ONNX Runtime and its like, made with the `onnx` library.

    decoder:  code (n, latent) float32, label (n,) int64 where the model has labels
              -> image (n, H, W, C) float32 in the model's range, pixels (n, H, W, C) uint8
    encoder:  image (n, H, W, C) float32 in the model's range, label likewise
              -> mean (n, latent), logvar (n, latent) float32

The batch n is symbolic, the noise an input, so that the same code gives the same image everywhere.
ONNX convolves images NCHW: weights are laid out for that here, and a transpose is left at the edge
only. The value "decoder.3" is the output of the decoder's layer 3.

Opset 13 and IR version 7 are those of ONNX 1.8 of 2020, which engines years old read; what came
later to the operators used here are types and options that these networks do not need.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..version import __version__
from . import spec
from .artefact import Artefact
from .network import ExportError, Layer, Network, Shape

if TYPE_CHECKING:
    import onnx

OPSET = 13
IR_VERSION = 7
BATCH = "n"
OPERATORS = {
    "relu": "Relu", "leaky_relu": "LeakyRelu", "tanh": "Tanh", "sigmoid": "Sigmoid",
    "softplus": "Softplus",
}  # fmt: skip


def render(artefact: Artefact, lower_conv_transpose: bool = False) -> dict[str, bytes]:
    """{".onnx": the model}; of an autoencoder with both parts the encoder as ".encoder.onnx".

    lower_conv_transpose: write transposed convolutions as convolutions, for engines without them.

    Raises ExportError where the `onnx` library is missing.
    """
    files: dict[str, bytes] = {}
    for part, network in artefact.networks.items():
        suffix = ".onnx" if not files else f".{part}.onnx"
        graph = Graph(lower_conv_transpose)
        build = decoder if part == "decoder" else encoder
        files[suffix] = build(graph, artefact, network)
    return files


def decoder(graph: Graph, artefact: Artefact, network: Network) -> bytes:
    """The file of a decoder."""
    x = graph.input("code", np.float32, (artefact.latent,))
    x = graph.conditioned(x, artefact.latent, artefact.classes)
    x = graph.chain("decoder", network, x)
    graph.output("image", graph.shaped(x, network.output, artefact.shape), artefact.shape)
    low, high = artefact.value_range
    step = 255 / (high - low)
    levels = graph.add("Mul", "image", graph.constant("step", np.float32(step)))
    if low:
        levels = graph.add("Add", levels, graph.constant("black", np.float32(-low * step)))
    ends = (graph.constant(k, np.float32(v)) for k, v in (("least", 0), ("most", 255)))
    levels = graph.add("Clip", graph.add("Round", levels), *ends)
    levels = graph.add("Cast", levels, to=graph.code(np.uint8))
    graph.output("pixels", levels, artefact.shape, np.uint8)
    return graph.model(artefact, "code -> image (in the model's range) and pixels (0 to 255)")


def encoder(graph: Graph, artefact: Artefact, network: Network) -> bytes:
    """The file of an encoder."""
    x = graph.input("image", np.float32, artefact.shape)
    x = graph.reshape(x, (artefact.pixels,))
    x = graph.conditioned(x, artefact.pixels, artefact.classes)
    x = graph.chain("encoder", network, x)
    latent = artefact.latent
    for name, first in (("mean", 0), ("logvar", latent)):
        graph.output(name, graph.slice(x, {1: (first, first + latent)}), (latent,))
    return graph.model(artefact, "image (in the model's range) -> mean and logvar of its code")


class Graph:
    """An ONNX graph in the making; values are known by their names."""

    def __init__(self, lower: bool) -> None:
        try:
            import onnx
        except ImportError:
            raise ExportError(
                'the form "onnx" is written by the onnx library: pip install "tinygen[onnx]"'
            ) from None
        self.onnx, self.lower = onnx, lower
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.ends: dict[str, list[onnx.ValueInfoProto]] = {"inputs": [], "outputs": []}

    # ---- nodes and values --------------------------------------------------------------------

    def code(self, dtype: Any) -> int:
        """ONNX's number of a NumPy dtype."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output, and the name of that."""
        name = f"{operator}_{len(self.nodes)}"
        node = self.onnx.helper.make_node(operator, list(inputs), [name], name=name, **attributes)
        self.nodes.append(node)
        return name

    def named(self, name: str) -> str:
        """The output of the last node, under another name."""
        self.nodes[-1].output[0] = name
        return name

    def constant(self, name: str, array: Any) -> str:
        """An array, kept once."""
        value = np.asarray(array, order="C")
        self.constants[name] = self.onnx.numpy_helper.from_array(value, name)
        return name

    def input(self, name: str, dtype: Any, shape: Shape) -> str:
        """An input (n, *shape)."""
        self._end("inputs", name, dtype, shape)
        return name

    def output(self, name: str, x: str, shape: Shape, dtype: Any = np.float32) -> None:
        """Make x, which the last node gave, an output."""
        assert x == self.nodes[-1].output[0]
        self.named(name)
        self._end("outputs", name, dtype, shape)

    def _end(self, which: str, name: str, dtype: Any, shape: Shape) -> None:
        value = self.onnx.helper.make_tensor_value_info(name, self.code(dtype), [BATCH, *shape])
        self.ends[which].append(value)

    def reshape(self, x: str, shape: Shape) -> str:
        """(n, *shape), n as it is (that is what 0 means)."""
        name = "shape_" + "x".join(map(str, shape))
        return self.add("Reshape", x, self.constant(name, np.array([0, *shape])))

    def slice(self, x: str, cuts: dict[int, tuple[int, int]]) -> str:
        """x from start to end, by axis."""
        columns = zip(*((start, end, axis) for axis, (start, end) in cuts.items()), strict=True)
        arrays = [np.array(column) for column in columns]
        name = f"slice_{len(self.nodes)}"
        return self.add(
            "Slice", x, *(self.constant(f"{name}.{k}", v) for k, v in enumerate(arrays))
        )

    def model(self, artefact: Artefact, doc: str) -> bytes:
        """The bytes of the file."""
        helper = self.onnx.helper
        graph = helper.make_graph(
            self.nodes, artefact.name, self.ends["inputs"], self.ends["outputs"],
            list(self.constants.values()),
        )  # fmt: skip
        model = helper.make_model(
            graph, producer_name="tinygen", producer_version=__version__, ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            doc_string=f"{doc}. All images are synthetic.",
        )  # fmt: skip
        for key, value in metadata(artefact).items():
            model.metadata_props.add(key=spec.utf8(key), value=value)
        blob: bytes = model.SerializeToString(deterministic=True)
        return blob

    # ---- the networks ------------------------------------------------------------------------

    def conditioned(self, x: str, size: int, classes: tuple[str, ...]) -> str:
        """x (n, size) with the one-hot label beside it, its 1 written as sqrt(size)."""
        if not classes:
            return x
        label = self.input("label", np.int64, ())
        # Gather takes a label below 0 from the end, and refuses one that is too large.
        count = self.constant("classes", np.int64(len(classes)))
        below = self.add("Less", label, self.constant("zero", np.int64(0)))
        label = self.add("Where", below, count, label)
        hot = self.constant("labels", np.eye(len(classes), dtype=np.float32) * math.sqrt(size))
        return self.add("Concat", x, self.add("Gather", hot, label), axis=1)

    def chain(self, part: str, network: Network, x: str) -> str:
        """The output of the network, an image NCHW of the last layer's shape or (n, size).

        x: (n, size), images in the order NHWC.
        """
        layers = network.layers
        image: Shape | None = None  # of x, where it is one: (H, W, C), though it lies as NCHW
        for k, (layer, after) in enumerate(itertools.zip_longest(layers, layers[1:])):
            name = f"{part}.{k}"
            if layer.kind != "dense":
                x = self.image(x, image, layer.input)
                x = self.convolution(name, layer, x)
                image = layer.output
            else:
                to = after.input if after and after.kind != "dense" else None
                x = self.dense(name, layer, x, image, to)
                image = to
            if layer.activation == "silu":
                x = self.add("Mul", x, self.add("Sigmoid", x))
            elif layer.activation:
                slope = {"alpha": layer.slope} if layer.activation == "leaky_relu" else {}
                x = self.add(OPERATORS[layer.activation], x, **slope)
            if layer.kind == "dense" and image:
                x = self.reshape(x, (image[2], *image[:2]))
            x = self.named(name)
        return x

    def image(self, x: str, image: Shape | None, wanted: Shape) -> str:
        """x as images NCHW of the wanted (H, W, C)."""
        if image == wanted:
            return x
        if image:
            x = self.add("Transpose", x, perm=[0, 2, 3, 1])
        return self.add("Transpose", self.reshape(x, wanted), perm=[0, 3, 1, 2])

    def shaped(self, x: str, shape: Shape, wanted: Shape) -> str:
        """What `chain` gave as images NHWC."""
        if len(shape) == 3:
            x = self.add("Transpose", x, perm=[0, 2, 3, 1])
        return x if shape == wanted else self.reshape(x, wanted)

    def weight(self, name: str, values: NDArray[Any], scale: NDArray[Any] | None) -> str:
        """A weight in float32; engines compute it from what is stored once, as they load."""
        x = self.constant(f"{name}.weight", values)
        if values.dtype != np.float32:
            x = self.add("Cast", x, to=self.code(np.float32))
        return x if scale is None else self.add("Mul", x, self.constant(f"{name}.scale", scale))

    def dense(self, name: str, layer: Layer, x: str, image: Shape | None, to: Shape | None) -> str:
        """x W + b, of rows or an image; its output in rows, or in the order of the image `to`."""
        values, scale, bias = layer.stored.values, layer.stored.scale, layer.bias
        if image:
            x, values = self.reshape(x, layer.input), values[planes(image)]
        if to:
            order = planes(to)
            values, bias = values[:, order], bias[order]
            scale = None if scale is None else scale[order]
        return self.add("Gemm", x, self.weight(name, values, scale), self.bias(name, bias))

    def bias(self, name: str, bias: NDArray[Any]) -> str:
        return self.constant(f"{name}.bias", bias.astype(np.float32))

    def convolution(self, name: str, layer: Layer, x: str) -> str:
        """Either kind, of images NCHW."""
        window, (values, scale) = layer.window, layer.stored
        (top, bottom), (left, right) = window.padding
        sizes = {
            "kernel_shape": layer.weight.shape[:2], "strides": window.stride,
            "dilations": window.dilation, "pads": [top, left, bottom, right],
        }  # fmt: skip
        if layer.kind == "conv":
            return self.conv(name, x, values, scale, layer.bias, **sizes)
        if self.lower:
            return self.lowered(name, layer, x)
        whole = [
            (n - 1) * s + d * (k - 1) + 1 - sum(p)
            for n, k, s, p, d in zip(layer.input[:2], values.shape[:2], *window[:3], strict=True)
        ]
        more = [n - m for n, m in zip(layer.output[:2], whole, strict=True)]
        weight = values.transpose(2, 3, 0, 1)  # (C, O, KH, KW)
        scale = None if scale is None else scale.reshape(1, -1, 1, 1)
        both = (self.weight(name, weight, scale), self.bias(name, layer.bias))
        return self.add("ConvTranspose", x, *both, **sizes, output_padding=more)

    def conv(
        self, name: str, x: str, values: NDArray[Any], scale: NDArray[Any] | None,
        bias: NDArray[Any], **sizes: Any,
    ) -> str:  # fmt: skip
        """A convolution with a kernel (KH, KW, C, O)."""
        scale = None if scale is None else scale.reshape(-1, 1, 1, 1)
        weight = self.weight(name, values.transpose(3, 2, 0, 1), scale)
        return self.add("Conv", x, weight, self.bias(name, bias), **sizes)

    def lowered(self, name: str, layer: Layer, x: str) -> str:
        """A transposed convolution of stride (S, T) as a convolution to S T times the channels.

        Of the rows, y[S q + p] = sum_a x[q + o] w[a] over the taps with p + PT - a DH = S o: for
        each p a convolution with some of the taps. Those of all (p, r) side by side are one, its
        kernel 0 where one has no tap; then the channels become the pixels of a block of S x T.
        """
        stride, (height, width, channels) = layer.window.stride, layer.output
        rows, columns = phases(layer, 0), phases(layer, 1)
        values, scale = layer.stored.values, layer.stored.scale
        shape = (rows.size, columns.size)
        kernel = np.zeros((*shape, values.shape[2], *stride, channels), values.dtype)
        for (a, p, t), (b, r, u) in itertools.product(rows.taps, columns.taps):
            kernel[t, u, :, p, r] = values[a, b]
        repeats = math.prod(stride)
        x = self.conv(
            name, x, kernel.reshape(*kernel.shape[:3], -1),
            None if scale is None else np.tile(scale, repeats), np.tile(layer.bias, repeats),
            kernel_shape=shape, pads=[rows.pads[0], columns.pads[0], rows.pads[1], columns.pads[1]],
        )  # fmt: skip
        made = (rows.blocks * stride[0], columns.blocks * stride[1])
        if stride[0] == stride[1] > 1:
            x = self.add("DepthToSpace", x, blocksize=stride[0])
        elif repeats > 1:
            x = self.reshape(x, (*stride, channels, rows.blocks, columns.blocks))
            x = self.add("Transpose", x, perm=[0, 3, 4, 1, 5, 2])
            x = self.reshape(x, (channels, *made))
        return x if made == (height, width) else self.slice(x, {2: (0, height), 3: (0, width)})


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


def phases(layer: Layer, axis: int) -> Phases:
    """See Phases: from p + before - a D = S o for a tap's offset o = t - pads[0]."""
    n, m, k = layer.input[axis], layer.output[axis], layer.weight.shape[axis]
    window = layer.window
    stride, before, dilation = window.stride[axis], window.padding[axis][0], window.dilation[axis]
    reached = [(a, p, p + before - a * dilation) for a in range(k) for p in range(stride)]
    offsets = [(a, p, o // stride) for a, p, o in reached if o % stride == 0]
    blocks = -(-m // stride)
    # A window wide enough that no padding is negative.
    first = min([0, *(o for _, _, o in offsets)])
    last = max([n - blocks, *(o for _, _, o in offsets)])
    taps = [(a, p, o - first) for a, p, o in offsets]
    return Phases(taps, last - first + 1, (-first, blocks - n + last), blocks)


def planes(shape: Shape) -> NDArray[Any]:
    """Places in an image (H, W, C) of the numbers of (C, H, W), in a row."""
    return np.arange(math.prod(shape)).reshape(shape).transpose(2, 0, 1).ravel()


def metadata(artefact: Artefact) -> dict[str, str]:
    """What the file says of itself; what is no text is JSON.

    Beside Artefact.describe(): range; stream, for who draws codes themselves (artefact.py); and
    self_test, its arrays little endian in base64.
    """
    whole = spec.description(artefact)
    said = {**artefact.describe(), "range": whole["range"], "stream": whole["stream"]}
    said["self_test"] = whole["test"]
    return {k: spec.utf8(v) if isinstance(v, str) else spec.as_json(v) for k, v in said.items()}
