"""The DCGAN of workload.py in tinygen, with images (n, 28, 28, 1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import workload as w

from tinygen import nn
from tinygen.random import Generator


def holding(layer: Any, weight: np.ndarray, bias: np.ndarray | None) -> Any:
    """A layer with the given weights."""
    layer.weight = nn.Parameter(weight)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return layer


def dense(weight: np.ndarray, bias: np.ndarray | None) -> nn.Module:
    return holding(nn.Dense(*weight.shape, bias=bias is not None), weight, bias)


def norm(scale: np.ndarray, shift: np.ndarray | None) -> nn.Module:
    layer = nn.BatchNorm(len(scale), momentum=w.NORM_MOMENTUM, eps=w.NORM_EPS)
    layer.running_mean = nn.Buffer(np.zeros_like(scale))
    layer.running_var = nn.Buffer(np.ones_like(scale))
    return holding(layer, scale, shift)


def conv(kind: Any, stride: int, weight: np.ndarray, bias: np.ndarray | None) -> nn.Module:
    """A layer nn.Conv2d or nn.ConvTranspose2d."""
    kernel, _, *channels = weight.shape
    layer = kind(*channels, kernel, stride=stride, padding="same", bias=bias is not None)
    return holding(layer, weight, bias)


def networks(load: w.Workload, rng: Generator) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator with the workload's first weights; rng: of the dropout."""
    weights = load.weights()
    g, d = weights["generator"], weights["discriminator"]
    leaky, side = lambda: nn.LeakyReLU(w.DCGAN_SLOPE), w.DCGAN_SIDE
    generator = nn.Sequential(
        dense(*g[0]), norm(*g[1]), leaky(), nn.Reshape(side, side, g[2][0].shape[2]),
        conv(nn.ConvTranspose2d, 1, *g[2]), norm(*g[3]), leaky(),
        conv(nn.ConvTranspose2d, 2, *g[4]), norm(*g[5]), leaky(),
        conv(nn.ConvTranspose2d, 2, *g[6]), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        conv(nn.Conv2d, 2, *d[0]), leaky(), nn.Dropout(load.dropout, rng=rng),
        conv(nn.Conv2d, 2, *d[1]), leaky(), nn.Dropout(load.dropout, rng=rng),
        nn.Flatten(), dense(*d[2]),
    )  # fmt: skip
    return generator, discriminator
