"""The DCGAN of workload.py in PyTorch, with images (n, 1, 28, 28)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import workload as w
from torch import nn
from torch.nn import functional as F


class Conv(nn.Conv2d):
    """A convolution with TensorFlow's "same" zeros: for stride 2, one before and two after."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (kernel, _), (stride, _), n = self.kernel_size, self.stride, x.shape[-1]
        zeros = max((-(-n // stride) - 1) * stride + kernel - n, 0)
        sides = (zeros // 2, zeros - zeros // 2)
        return super().forward(F.pad(x, (*sides, *sides)))


class ConvTranspose(nn.ConvTranspose2d):
    """The adjoint of such a convolution, from an image of n rows to one of n times the stride."""

    def forward(self, x: torch.Tensor, output_size: Any = None) -> torch.Tensor:
        (kernel, _), (stride, _), n = self.kernel_size, self.stride, x.shape[-1]
        cut = (kernel - stride) // 2
        y = F.conv_transpose2d(x, self.weight, self.bias, stride, padding=cut)
        return y[:, :, : n * stride, : n * stride]


class ToImages(nn.Module):
    """(n, h w c) -> (n, c, h, w), of which the channels lie next to each other in memory."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), self.side, self.side, -1).permute(0, 3, 1, 2)


class Flat(nn.Module):
    """(n, c, h, w) -> (n, h w c)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def holding(layer: Any, weight: np.ndarray, bias: np.ndarray | None, axes: Any = None) -> Any:
    """A layer with the given weights, whose axes are put in PyTorch's order."""
    layer.to(getattr(torch, str(weight.dtype)))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.transpose(axes) if axes else weight))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))
    return layer


def linear(weight: np.ndarray, bias: np.ndarray | None) -> nn.Linear:
    return holding(nn.Linear(*weight.shape, bias=bias is not None), weight, bias, (1, 0))


def norm(kind: Any, scale: np.ndarray, shift: np.ndarray | None) -> nn.Module:
    layer = kind(len(scale), eps=w.NORM_EPS, momentum=w.NORM_MOMENTUM)
    return holding(layer, scale, shift)


def conv(stride: int, weight: np.ndarray, bias: np.ndarray | None) -> Conv:
    kernel, _, *channels = weight.shape
    layer = Conv(*channels, kernel, stride, bias=bias is not None)
    return holding(layer, weight, bias, (3, 2, 0, 1))


def conv_transpose(stride: int, weight: np.ndarray, bias: np.ndarray | None) -> ConvTranspose:
    kernel, _, *channels = weight.shape
    layer = ConvTranspose(*channels, kernel, stride, bias=bias is not None)
    return holding(layer, weight, bias, (2, 3, 0, 1))


def networks(load: w.Workload, layout: Any = torch.channels_last) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator with the workload's first weights."""
    weights = load.weights()
    g, d = weights["generator"], weights["discriminator"]
    leaky = lambda: nn.LeakyReLU(w.DCGAN_SLOPE)
    generator = nn.Sequential(
        linear(*g[0]), norm(nn.BatchNorm1d, *g[1]), leaky(), ToImages(w.DCGAN_SIDE),
        conv_transpose(1, *g[2]), norm(nn.BatchNorm2d, *g[3]), leaky(),
        conv_transpose(2, *g[4]), norm(nn.BatchNorm2d, *g[5]), leaky(),
        conv_transpose(2, *g[6]), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        conv(2, *d[0]), leaky(), nn.Dropout(load.dropout),
        conv(2, *d[1]), leaky(), nn.Dropout(load.dropout),
        Flat(), linear(*d[2]),
    )  # fmt: skip
    return generator.to(memory_format=layout), discriminator.to(memory_format=layout)
