"""What a trained network is once training is over: a chain of linear maps and activations.

A model's modules become layers of three kinds, Dense, Conv2d and ConvTranspose2d, each followed by
an activation or by none. What has nothing left to do is gone: dropout, shapes (each layer knows its
own), batch normalisation, which in use is a linear map of each channel and so a part of the layer
before it,

    (x W + b - mean) s + beta = x (W s) + (b - mean) s + beta,    s = weight / sqrt(var + eps),

and spectral normalisation, W / sigma. The forms in this folder write such a chain in a language
each; `trace` computes it here, and is what they are compared with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import nn, ops
from ..graph import no_grad
from ..ops.conv import Pair, Window, conv2d_dx, conv2d_nd, margins, windows
from ..tensor import Tensor
from .weights import Stored, store

Shape = tuple[int, ...]  # of one sample: (features,) or (height, width, channels)
WHOLE = Window()  # of a dense layer: it has none

ACTIVATIONS = {
    nn.ReLU: "relu", nn.LeakyReLU: "leaky_relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid",
    nn.Softplus: "softplus", nn.SiLU: "silu",
}  # fmt: skip
SHAPES = (nn.Reshape, nn.Flatten, nn.Identity, nn.Dropout)
KNOWN = (nn.Dense, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm, nn.SpectralNorm)


class ExportError(ValueError):
    """A model, or a part of it, that cannot be exported; says why and what to do."""


@dataclass(frozen=True)
class Layer:
    """y = activation(linear map of x, plus bias).

    Attributes:
        kind: "dense", "conv" or "conv_transpose".
        name: of the module with the weight, by its path in the model.
        input, output: shapes of a sample; a dense layer takes and gives (features,), and what
            follows may see the same numbers as an image.
        weight: float32 (in, out), (KH, KW, in, out) for both convolutions, as it is used: rounded
            to the precision of the export. Groups are written out as zeros.
        bias: float32 (out,).
        window: of a convolution: stride, padding ((top, bottom), (left, right)), dilation, in the
            formulas of ops.conv2d and, for conv_transpose, of ops.conv_transpose2d.
        activation: "" or a value of ACTIVATIONS.
        slope: of leaky_relu below 0.
        stored: the weight as the file holds it.
    """

    kind: str
    name: str
    input: Shape
    output: Shape
    weight: NDArray[Any]
    bias: NDArray[Any]
    stored: Stored
    window: Window = WHOLE
    activation: str = ""
    slope: float = 0.0

    def __post_init__(self) -> None:
        """Weights are constants: a compiled `trace` may rely on them, however large they are."""
        for name in ("weight", "bias"):
            array = getattr(self, name)
            if array.flags.writeable or array.base is not None:
                array = array.copy()
                array.setflags(write=False)
                object.__setattr__(self, name, array)

    def __str__(self) -> str:
        words = f"{self.kind} {_sizes(self.input)} -> {_sizes(self.output)}"
        if self.kind != "dense":
            kernel, stride = _sizes(self.weight.shape[:2]), _sizes(self.window.stride)
            words += f" kernel {kernel} stride {stride}"
        if self.activation:
            words += f" {self.activation}" + (f" {self.slope:g}" if self.slope else "")
        return words

    @property
    def multiply_adds(self) -> int:
        """How many a sample takes, taps on the padding counted."""
        pixels = math.prod(self.input[:2] if self.kind == "conv_transpose" else self.output[:2])
        return self.weight.size * (1 if self.kind == "dense" else pixels)


def _sizes(shape: Shape) -> str:
    return " x ".join(map(str, shape))


@dataclass(frozen=True)
class Network:
    """A chain of layers; the first takes `input`, the last gives `output`."""

    layers: tuple[Layer, ...]

    @property
    def input(self) -> Shape:
        return self.layers[0].input

    @property
    def output(self) -> Shape:
        return self.layers[-1].output

    @property
    def parameters(self) -> int:
        """How many numbers the weights and biases are."""
        return sum(x.weight.size + x.bias.size for x in self.layers)

    @property
    def widest(self) -> int:
        """The most numbers that a sample is between two layers, both ends included."""
        return max(max(math.prod(x.input), math.prod(x.output)) for x in self.layers)

    @no_grad()
    def trace(self, x: Tensor) -> list[Tensor]:
        """The output of each layer for inputs (n, ...), in the dtype and on the backend of x."""
        outputs = []
        for layer in self.layers:
            x = apply(layer, ops.reshape(x, (x.shape[0], *layer.input)))
            outputs.append(x)
        return outputs

    def __call__(self, x: Any) -> NDArray[Any]:
        """The output (n, *output) for an array of inputs, in its dtype."""
        y: NDArray[Any] = self.trace(Tensor(np.asarray(x)))[-1].numpy()
        return y


def apply(layer: Layer, x: Tensor) -> Tensor:
    """The layer's output for inputs (n, *layer.input)."""
    both = (layer.weight, layer.bias)
    weight, bias = (Tensor(x.backend.adopt(array.astype(x.dtype))) for array in both)
    if layer.kind == "dense":
        y = ops.linear(x, weight, bias)
    elif layer.kind == "conv":
        y = conv2d_nd(x, weight, window=layer.window) + bias
    else:
        window = layer.window._replace(transposed=True)
        y = conv2d_dx(x, weight, size=layer.output[:2], window=window) + bias
    if not layer.activation:
        return y
    if layer.activation == "leaky_relu":
        return ops.leaky_relu(y, slope=layer.slope)
    activated: Tensor = getattr(ops, layer.activation)(y)
    return activated


# ---- from the modules of a model -----------------------------------------------------------------


def chain(
    model: nn.Module, parts: Sequence[nn.Module], shape: Shape, precision: str = "float32",
    activation: str = "",
) -> Network:  # fmt: skip
    """The chain that modules of a model compute in use, one after the other.

    Args:
        model: what holds them: names them in messages.
        parts: modules; Sequential ones are opened.
        shape: of the sample that the first takes.
        precision: of the weights, see weights.store.
        activation: one more at the end.

    Raises:
        ExportError: a module that no form can express; names it and says what to use instead.
    """
    names = {id(m): name for name, m in model.named_modules().items()}
    layers: list[Layer] = []
    now: Shape = tuple(shape)
    for part in parts:
        for module in _leaves(part):
            name = names.get(id(module), type(module).__name__)
            if isinstance(module, SHAPES):
                now = _reshaped(module, now)
            elif isinstance(module, nn.BatchNorm):
                if not layers or layers[-1].activation:
                    raise ExportError(
                        f"{name}: {module.label()} does not follow a Dense layer or a convolution, "
                        "so it cannot become a part of one; put it right after such a layer, "
                        "before the activation"
                    )
                layers[-1] = _normalised(layers[-1], module)
            elif type(module) in ACTIVATIONS:
                if not layers or layers[-1].activation:
                    raise ExportError(
                        f"{name}: {module.label()} follows no Dense layer or convolution; put it "
                        "right after one"
                    )
                slope = module.slope if isinstance(module, nn.LeakyReLU) else 0.0
                layers[-1] = replace(
                    layers[-1], activation=ACTIVATIONS[type(module)], slope=float(slope)
                )
            else:
                layers.append(_layer(name, module, now))
                now = layers[-1].output
    if not layers:
        raise ExportError(f"{type(model).__name__}: nothing with weights to export")
    if activation:
        layers[-1] = replace(layers[-1], activation=activation)
    return Network(tuple(_rounded(x, precision) for x in layers))


def joined(first: Network, *last: Network) -> Network:
    """first, and then dense networks of one layer side by side: their outputs in a row."""
    ends = [x.layers[0] for x in last]
    scales = [x.stored.scale for x in ends if x.stored.scale is not None]
    values = np.concatenate([x.stored.values for x in ends], axis=-1)
    both = replace(
        ends[0], name=" | ".join(x.name for x in ends),
        weight=np.concatenate([x.weight for x in ends], axis=-1),
        bias=np.concatenate([x.bias for x in ends]),
        stored=Stored(values, np.concatenate(scales) if scales else None),
        output=(sum(x.output[0] for x in ends),),
    )  # fmt: skip
    return Network((*first.layers, both))


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential):
        for inner in module:
            yield from _leaves(inner)
    else:
        yield module


def _reshaped(module: nn.Module, shape: Shape) -> Shape:
    size = math.prod(shape)
    if isinstance(module, nn.Flatten):
        return (size,)
    if isinstance(module, nn.Reshape):
        known = math.prod(n for n in module.shape if n > 0)
        return tuple(n if n > 0 else size // known for n in module.shape)
    return shape


def _layer(name: str, module: nn.Module, shape: Shape) -> Layer:
    divisor = 1.0
    inner: Any = module
    output: Shape
    size = (shape[0], shape[-2] if len(shape) > 1 else 1)  # pixels, of an image
    if isinstance(module, nn.SpectralNorm):
        inner = module.layer
        matrix = inner.weight.numpy().astype(np.float64).reshape(-1, inner.weight.shape[-1])
        divisor = float(module.v.numpy() @ matrix @ module.u.numpy())
    if isinstance(inner, nn.Dense):
        _expect(name, inner, shape == (inner.in_features,), shape)
        kind, window, output = "dense", WHOLE, (inner.out_features,)
    elif isinstance(inner, nn.Conv2d):
        _expect(name, inner, len(shape) == 3 and shape[2] == inner.in_channels, shape)
        kind = "conv"
        window = windows(
            "Conv2d", size, inner.kernel_size, inner.stride, inner.padding, inner.dilation
        )
        output = (*window.outputs(size, inner.kernel_size), inner.out_channels)
    elif isinstance(inner, nn.ConvTranspose2d):
        _expect(name, inner, len(shape) == 3 and shape[2] == inner.in_channels, shape)
        kind = "conv_transpose"
        window, made = _transposed(inner, size)
        output = (*made, inner.out_channels)
    else:
        known = [k.__name__ for k in (*KNOWN, *SHAPES, *ACTIVATIONS)]
        raise ExportError(
            f"{name}: the exported forms do not have {inner.label()}; they have "
            f"{', '.join(known)}. Train with these instead, or deploy the run's "
            "model.safetensors with tinygen itself"
        )
    weight = inner.weight.numpy().astype(np.float64) / divisor
    if kind != "dense" and inner.groups > 1:
        weight = _ungrouped(weight, inner.groups, inner.joined)
    bias = np.zeros(output[-1]) if inner.bias is None else inner.bias.numpy().astype(np.float64)
    return Layer(kind, name, shape, output, weight, bias, Stored(weight, None), window)


def _expect(name: str, module: nn.Module, fits: bool, shape: Shape) -> None:
    if not fits:
        raise ExportError(f"{name}: {module.label()} meets a sample of shape {shape}")


def _transposed(module: nn.ConvTranspose2d, size: Pair) -> tuple[Window, Pair]:
    """Window and output size; the formulas are those of ops.conv_transpose2d."""
    reach = [d * (k - 1) + 1 for k, d in zip(module.kernel_size, module.dilation, strict=True)]
    spare = [r - s for r, s in zip(reach, module.stride, strict=True)]
    padding = margins("ConvTranspose2d", module.padding, spare)
    height, width = (
        n * s if module.padding == "same" else (n - 1) * s + r - sum(p) + m
        for n, s, r, p, m in zip(
            size, module.stride, reach, padding, module.output_padding, strict=True
        )
    )
    return Window(module.stride, padding, module.dilation), (height, width)


def _ungrouped(weight: NDArray[Any], groups: int, axis: int) -> NDArray[Any]:
    """(KH, KW, in, out) of a weight in which each group has only its own channels."""
    parts = np.split(weight, groups, axis=axis)
    rows, columns = parts[0].shape[2:]
    whole = np.zeros((*weight.shape[:2], rows * groups, columns * groups))
    for g, part in enumerate(parts):
        whole[:, :, g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] = part
    return whole


def _normalised(layer: Layer, norm: nn.BatchNorm) -> Layer:
    """The layer with a batch normalisation after it, which may see its numbers as an image."""
    scale = norm.weight.numpy() / np.sqrt(norm.running_var.numpy().astype(np.float64) + norm.eps)
    shift = norm.bias.numpy() - norm.running_mean.numpy().astype(np.float64) * scale
    times = layer.output[-1] // norm.features  # pixels of a dense layer's output, channels last
    scale, shift = np.tile(scale, times), np.tile(shift, times)
    return replace(layer, weight=layer.weight * scale, bias=layer.bias * scale + shift)


def _rounded(layer: Layer, precision: str) -> Layer:
    stored = store(layer.weight, precision)
    return replace(layer, weight=stored.array(), bias=layer.bias.astype(np.float32), stored=stored)
