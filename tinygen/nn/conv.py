"""Layers of images (n, height, width, channels): convolutions."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..ops.conv import Padding, Pair, margins, pair
from ..random import Generator
from ..tensor import Tensor, zeros
from . import init as initialisers
from .init import Initialiser
from .layers import size, with_features
from .module import Module, Parameter

__all__ = ["Conv2d", "ConvTranspose2d"]

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
        first = initialisers.get(init)  # each group is a convolution with fans of its own
        weights = [first(shape, rng) for _ in range(groups)]
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
