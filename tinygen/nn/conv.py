"""Layers of images (n, height, width, channels), and norms that convolutional networks use."""

from __future__ import annotations

import math
from typing import Any

from .. import ops, random
from ..graph import no_grad
from ..ops.conv import Padding, Pair, Sides, margins, pair, sides
from ..random import Generator
from ..tensor import Tensor, ones, zeros
from . import init as initialisers
from .init import Initialiser
from .layers import size, with_features
from .module import Buffer, Module, Parameter, assign, require

__all__ = [
    "AvgPool2d", "Conv2d", "ConvTranspose2d", "DepthToSpace", "GroupNorm", "GroupNormSiLU",
    "InstanceNorm", "MaxPool2d", "ReflectionPad2d", "SpaceToDepth", "SpectralNorm", "Upsample",
    "ZeroPad2d",
]  # fmt: skip

# ---- convolutions --------------------------------------------------------------------------------


class _Convolution(Module):
    """What a convolution and its transpose have in common: sizes, weight and bias."""

    shown = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    joined: int  # the axis of the weight along which the groups lie one after the other

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | Pair,
        stride: int | Pair = 1, padding: Padding = "valid", dilation: int | Pair = 1,
        groups: int = 1, bias: bool = True, init: str | Initialiser = "glorot",
        rng: Generator | None = None,
    ) -> None:  # fmt: skip
        who = type(self).__name__
        self.in_channels = size(who, "in_channels", in_channels)
        self.out_channels = size(who, "out_channels", out_channels)
        self.kernel_size = pair(who, "kernel_size", kernel_size)
        self.stride = pair(who, "stride", stride)
        self.padding = padding
        self.dilation = pair(who, "dilation", dilation)
        self.groups = size(who, "groups", groups)
        margins(who, padding, [0, 0])
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{who}: {in_channels} channels to {out_channels} in {groups} groups; expected "
                "both divisible by groups"
            )
        shape = (*self.kernel_size, in_channels // groups, out_channels // groups)
        # each group is a convolution with fans of its own
        weights = [initialisers.start(init, shape, rng) for _ in range(groups)]
        self.weight = Parameter(ops.concatenate(weights, axis=self.joined))
        self.bias = Parameter(zeros(out_channels)) if bias else None


class Conv2d(_Convolution):
    """Each output pixel is a weighted sum of a window of the image: y = conv2d(x, W) + b.

    Shapes: x (n, H, W, in_channels), W (KH, KW, in_channels / groups, out_channels), b
    (out_channels,), y (n, OH, OW, out_channels) with sizes as ops.conv2d gives them. The fans of W
    are KH KW in_channels / groups and KH KW out_channels / groups.

    Args:
        kernel_size, stride, dilation: for both directions, or (down, across).
        padding: "valid", "same", or counts of zeros, as of ops.conv2d.
        groups: outputs of a group see only channels of that group.
        bias: whether there is a b; it starts at zero.
        init: initialiser of W, a name of nn.init or a function of (shape, rng).
        rng: generator of the initial weights; the default generator if None.

    Raises:
        ValueError: a size below 1, channels not divisible by groups, an unknown padding or
            initialiser; an input of another number of channels, or smaller than the kernel.
        TypeError: an input of another dtype than the weights.
    """

    joined = 3

    def forward(self, inputs: Any) -> Tensor:
        x = with_features(self, inputs, self.in_channels, self.weight)
        return ops.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class ConvTranspose2d(_Convolution):
    """Each input pixel adds a weighted window to the output: y = conv_transpose2d(x, W) + b.

    Shapes: x (n, H, W, in_channels), W (KH, KW, in_channels, out_channels / groups), b
    (out_channels,), y (n, OH, OW, out_channels) with sizes as ops.conv_transpose2d gives them;
    with padding "same", H and W times the stride.

    Args:
        kernel_size, stride, dilation, groups, bias, init, rng: as of Conv2d.
        padding: "valid", "same", or counts of rows and columns cut from the output's edges.
        output_padding: rows and columns more at the end, below the stride.

    Raises:
        ValueError, TypeError: as Conv2d.
    """

    joined = 2

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | Pair,
        stride: int | Pair = 1, padding: Padding = "valid", output_padding: int | Pair = 0,
        dilation: int | Pair = 1, groups: int = 1, bias: bool = True,
        init: str | Initialiser = "glorot", rng: Generator | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, init,
            rng,
        )  # fmt: skip
        self.output_padding = pair("ConvTranspose2d", "output_padding", output_padding, least=0)

    def forward(self, inputs: Any) -> Tensor:
        x = with_features(self, inputs, self.in_channels, self.weight)
        return ops.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding,
            self.dilation, self.groups,
        )  # fmt: skip


# ---- pooling, resizing, padding ------------------------------------------------------------------


class _Pooling(Module):
    shown = ("kernel", "stride", "padding")

    def __init__(
        self, kernel: int | Pair, stride: int | Pair | None = None, padding: Padding = "valid"
    ) -> None:
        who = type(self).__name__
        self.kernel = pair(who, "kernel", kernel)
        self.stride = self.kernel if stride is None else pair(who, "stride", stride)
        self.padding = padding
        margins(who, padding, [0, 0])


class MaxPool2d(_Pooling):
    """The largest pixel of each window; arguments and errors of ops.max_pool2d."""

    def forward(self, x: Any) -> Tensor:
        return ops.max_pool2d(x, self.kernel, self.stride, self.padding)


class AvgPool2d(_Pooling):
    """The mean of each window, padding not counted; arguments and errors of ops.avg_pool2d."""

    def forward(self, x: Any) -> Tensor:
        return ops.avg_pool2d(x, self.kernel, self.stride, self.padding)


class Upsample(Module):
    """Images `scale` times as large, mode "nearest" or "bilinear", as ops.upsample2d."""

    shown = ("scale", "mode")

    def __init__(self, scale: int | Pair, mode: str = "nearest") -> None:
        self.scale = pair("Upsample", "scale", scale)
        if mode not in ("nearest", "bilinear"):
            raise ValueError(f"Upsample: mode is {mode!r}; expected 'nearest' or 'bilinear'")
        self.mode = mode

    def forward(self, x: Any) -> Tensor:
        return ops.upsample2d(x, self.scale, self.mode)


class _Blocks(Module):
    shown = ("factor",)

    def __init__(self, factor: int | Pair) -> None:
        self.factor = pair(type(self).__name__, "factor", factor)


class SpaceToDepth(_Blocks):
    """Blocks of factor x factor pixels as channels; errors of ops.space_to_depth."""

    def forward(self, x: Any) -> Tensor:
        return ops.space_to_depth(x, self.factor)


class DepthToSpace(_Blocks):
    """Channels as blocks of pixels, the inverse of SpaceToDepth; errors of ops.depth_to_space.

    PyTorch's PixelShuffle takes the channels in another order: see ops.space_to_depth.
    """

    def forward(self, x: Any) -> Tensor:
        return ops.depth_to_space(x, self.factor)


class _Padding(Module):
    shown = ("padding",)

    def __init__(self, padding: Sides) -> None:
        self.padding = sides(type(self).__name__, padding)


class ReflectionPad2d(_Padding):
    """Images continued by their mirror image, as ops.reflection_pad2d.

    Args:
        padding: a count for all sides, (rows, columns), or ((top, bottom), (left, right)).
    """

    def forward(self, x: Any) -> Tensor:
        return ops.reflection_pad2d(x, self.padding)


class ZeroPad2d(_Padding):
    """Images surrounded by zeros; arguments of ReflectionPad2d."""

    def forward(self, x: Any) -> Tensor:
        return ops.pad(x, pad_width=((0, 0), *self.padding, (0, 0)))


# ---- normalisation -------------------------------------------------------------------------------


class GroupNorm(Module):
    """y = (x - mean) / sqrt(var + eps) weight + bias, moments over each group of each sample.

    A group is `features / groups` neighbouring channels with all their pixels. Shapes: x and y
    (n, ..., features), weight and bias (features,).

    Raises:
        ValueError: features not divisible by groups; an input of another last size, without a
            batch's axis, or with one value a group.

    Source: Wu and He, 2018, equation 7.
    """

    shown: tuple[str, ...] = ("groups", "features")

    def __init__(self, groups: int, features: int, eps: float = 1e-5) -> None:
        who = type(self).__name__
        self.features, self.groups = size(who, "features", features), size(who, "groups", groups)
        if features % groups:
            raise ValueError(f"{who}: {features} features in {groups} groups; expected a divisor")
        require(who, "eps", eps, 0 < eps < math.inf, "a finite number > 0")
        self.eps = eps
        self.weight = Parameter(ones(features))
        self.bias = Parameter(zeros(features))

    def forward(self, inputs: Any) -> Tensor:
        x = self._images(inputs)
        return ops.normalise_groups(x, self.weight, self.bias, groups=self.groups, eps=self.eps)

    def _images(self, inputs: Any) -> Tensor:
        """The input as a tensor, with 2 values a group or more."""
        x = with_features(self, inputs, self.features, self.weight)
        pixels, channels = math.prod(x.shape[1:-1]), self.features // self.groups
        if x.ndim < 2 or pixels * channels < 2:
            raise ValueError(
                f"{self.label()}: input {x.shape} has {pixels} pixels of {channels} channels a "
                "group; expected (n, ..., features) with 2 or more values to normalise"
            )
        return x


class GroupNormSiLU(GroupNorm):
    """silu(y (1 + scale) + shift) with y = GroupNorm of x; scale and shift are each sample's own.

    The first half of a residual block in a diffusion model's network, in which time and label
    scale and shift the norm ("AdaGN"): norm(x, dense(embedding)). Without them it is silu(y). As
    one operation it takes half the time of its parts, and a step keeps nothing but x for it.

    Shapes: x and the result (n, ..., features); modulation (n, 2 features) or (1, 2 features),
    scale and then shift.

    Raises:
        ValueError: as GroupNorm; a modulation of another shape.

    Source: Dhariwal and Nichol, 2021, section 3.
    """

    def forward(self, inputs: Any, modulation: Any = None) -> Tensor:
        x = self._images(inputs)
        channels = (self.groups, self.features // self.groups)
        weight, bias = (ops.reshape(p, channels) for p in (self.weight, self.bias))
        rows = ops.reshape(x, (x.shape[0], math.prod(x.shape[1:-1]), *channels))
        if modulation is None:
            both = zeros((1, 2, *weight.shape), x.dtype)
        elif modulation.shape in ((x.shape[0], 2 * self.features), (1, 2 * self.features)):
            both = ops.reshape(modulation, (-1, 2, *weight.shape))
        else:
            raise ValueError(
                f"{self.label()}: input {x.shape} with modulation {modulation.shape}; expected "
                f"({x.shape[0]}, {2 * self.features}), scale and then shift of each sample"
            )
        return ops.reshape(ops.normalise_silu(rows, weight, bias, both, eps=self.eps), x.shape)


class InstanceNorm(GroupNorm):
    """GroupNorm with a group for each channel: moments over the pixels of each sample's channel.

    Shapes: x and y (n, ..., features) with 2 or more pixels.
    Source: Ulyanov, Vedaldi and Lempitsky, 2016.
    """

    shown = ("features",)

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__(features, features, eps)


def _unit(x: Tensor) -> Tensor:
    return x / (ops.sqrt(ops.sum(ops.square(x))) + 1e-12)


class SpectralNorm(Module):
    """A layer whose weight W is divided by sigma, nearly its largest singular value.

    W counts as a matrix (all axes but the last, the last): (KH KW in, out) for a convolution.
    sigma = v W u with unit vectors v, u that one power iteration follows in each training forward:
    v = W u / |W u|, u = v W / |v W|. No gradient flows through them. In evaluation they stay.

    Args:
        layer: Dense, Conv2d, or another module with a `weight` of 2 axes or more.
        rng: generator of the first u; the default generator if None.

    Raises:
        TypeError: a layer without such a weight.

    Source: Miyato, Kataoka, Koyama and Yoshida, 2018, equation 8 and algorithm 1.
    """

    def __init__(self, layer: Module, rng: Generator | None = None) -> None:
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, Parameter) or weight.ndim < 2:
            what = layer.label() if isinstance(layer, Module) else repr(layer)
            raise TypeError(f"SpectralNorm: {what}; expected a layer with a weight (..., in, out)")
        self.layer: Any = layer
        first = random.resolve(rng).normal(weight.shape[-1], weight.dtype)
        self.u = Buffer(_unit(first))
        self.v = Buffer(zeros(math.prod(weight.shape[:-1]), weight.dtype))
        self._follow(weight)

    def _follow(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """One power iteration: v and u, also written into the buffers."""
        with no_grad():
            matrix = ops.reshape(weight, (-1, weight.shape[-1]))
            v = _unit(ops.matmul(matrix, self.u))
            u = _unit(ops.matmul(v, matrix))
            assign(self.v, v)
            assign(self.u, u)
        return v, u

    def forward(self, *inputs: Any) -> Any:
        weight = self.layer.weight
        v, u = self._follow(weight) if self.training else (self.v, self.u)
        sigma = ops.matmul(ops.matmul(v, ops.reshape(weight, (-1, weight.shape[-1]))), u)
        self.layer.weight = weight / sigma  # for this call
        try:
            return self.layer(*inputs)
        finally:
            self.layer.weight = weight
