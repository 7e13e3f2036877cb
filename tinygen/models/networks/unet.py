"""A U-Net (Ronneberger, Fischer and Brox, 2015, arXiv 1505.04597) of images, times and labels.

It sees an image coarsely and in detail: on its way down it halves the image, on its way up it
doubles it and puts beside it what the way down saw at that size. For 28 x 28 pixels and width 32:

    28 x 28 x C, 2 x 2 pixels to channels -> 14 x 14 x 32 -> 7 x 7 x 64, attention
    7 x 7 x 64 -> 14 x 14 x 32, 2 x 2 pixels from channels -> 28 x 28 x C

Four pixels become channels at once, for full-size convolutions would cost four times as much. A
time and a label reach each block as a scale and a shift of its second norm (AdaGN: Dhariwal and
Nichol, 2021, arXiv 2105.05233). The norms are over an image, never over a batch: an image does not
depend on those beside it. Each block adds to its input what its last convolution says, which starts
at zero, as does the last convolution of the net; all other weights start small, see `small`.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ... import nn
from ...ops import (
    concatenate,
    cos,
    depth_to_space,
    self_attention,
    silu,
    sin,
    space_to_depth,
    upsample2d,
)
from ...random import Generator, resolve
from ...tensor import Tensor, as_tensor
from . import Shape

GROUPS = 8  # of a GroupNorm, where the channels allow it
HEAD = 16  # channels of a head of the attention
COARSEST = 8  # pixels across, at most: attention compares each with each
TIME = 1000.0  # times from 0 to 1 are spread over this many radians of the fastest wave


class UNet(nn.Module):
    """From images, with a time and a label where it has them, to images of the same size.

    Shapes: x (n, H, W, C + planes), t (n,) or () in [0, 1], label (n,) integers; (n, H, W, C).

    Args:
        shape: (H, W, C) of an image.
        width: channels at half size; twice as many at a quarter, four times below.
        blocks: in turn at each size, on the way down and on the way up.
        classes: of the labels, 0 for none. Row `classes` of the embedding says "no label".
        planes: channels beside those of the image at the input: a mask, a damaged image.
        timed: whether it takes a time.
        rng: what its weights are drawn from.

    Raises:
        ValueError: height or width not divisible by 4 up to 32 pixels, by 8 up to 64, and so on.
    """

    def __init__(
        self, shape: Shape, *, width: int = 32, blocks: int = 1, classes: int = 0, planes: int = 0,
        timed: bool = True, name: str = "UNet", rng: Generator | None = None,
    ) -> None:  # fmt: skip
        channels = [width * min(2**k, 4) for k in range(levels(name, shape))]
        size = 4 * width if timed or classes else 0  # of the embedding
        self.classes, self.timed = classes, timed
        if timed:
            self.frequencies = nn.Buffer(waves(width))
            self.time = nn.Sequential(
                dense(2 * width, size, rng=rng), nn.SiLU(), dense(size, size, rng=rng)
            )
        if classes:
            self.labels = nn.Embedding(classes + 1, size, rng=rng)

        def several(n_in: int, n_out: int) -> list[Block]:
            return [Block(n_out if k else n_in, n_out, size, rng) for k in range(blocks)]

        self.stem = conv(4 * (shape[2] + planes), width, rng=rng)
        self.down = [several(c, c) for c in channels]
        self.halve = [conv(a, b, stride=2, rng=rng) for a, b in itertools.pairwise(channels)]
        self.middle = [Block(channels[-1], channels[-1], size, rng) for _ in range(2)]
        self.attention = Attention(channels[-1], rng)
        self.up = [several(2 * c, c) for c in channels]
        self.double = [conv(b, a, rng=rng) for a, b in itertools.pairwise(channels)]
        self.norm = nn.GroupNormSiLU(math.gcd(GROUPS, width), width)
        self.head = conv(width, 4 * shape[2], init="zeros", rng=rng)

    def embed(self, t: Any = None, label: Any = None) -> Tensor | None:
        """Time and label for the blocks: (n, 4 width), or (1, 4 width) for all images alike."""
        condition: Any = None
        if self.timed:
            angle = as_tensor(t).reshape(-1, 1) * TIME * self.frequencies
            condition = self.time(concatenate([sin(angle), cos(angle)], axis=1))
        if self.classes:
            row = self.labels.weight[self.classes :] if label is None else self.labels(label)
            condition = row if condition is None else condition + row
        return None if condition is None else silu(condition)

    def forward(self, x: Tensor, t: Any = None, label: Any = None) -> Tensor:
        """label: None for no label."""
        condition, last = self.embed(t, label), len(self.down) - 1
        h, seen = self.stem(space_to_depth(x, 2)), []
        for level, blocks in enumerate(self.down):
            h = in_turn(blocks, h, condition)
            seen.append(h)
            h = self.halve[level](h) if level < last else h
        h = self.middle[1](self.attention(self.middle[0](h, condition)), condition)
        for level in range(last, -1, -1):
            h = h if level == last else self.double[level](upsample2d(h, 2))
            h = in_turn(self.up[level], concatenate([h, seen[level]], axis=3), condition)
        return depth_to_space(self.head(self.norm(h)), 2)


class Block(nn.Module):
    """skip(x) + conv(silu(norm(conv(silu(norm(x)))) (1 + a) + b)); a, b are linear in e."""

    def __init__(self, n_in: int, n_out: int, size: int, rng: Generator | None) -> None:
        self.norm1 = nn.GroupNormSiLU(math.gcd(GROUPS, n_in), n_in)
        self.conv1 = conv(n_in, n_out, rng=rng)
        self.told = dense(size, 2 * n_out, rng=rng) if size else None
        self.norm2 = nn.GroupNormSiLU(math.gcd(GROUPS, n_out), n_out)
        self.conv2 = conv(n_out, n_out, init="zeros", rng=rng)
        self.skip = nn.Identity() if n_in == n_out else conv(n_in, n_out, 1, rng=rng)

    def forward(self, x: Tensor, e: Tensor | None) -> Tensor:
        both = None if self.told is None or e is None else self.told(e)  # scale and shift
        out: Tensor = self.skip(x) + self.conv2(self.norm2(self.conv1(self.norm1(x)), both))
        return out


class Attention(nn.Module):
    """Every pixel looks at every other: x + out(softmax(q k / sqrt(d)) v), in several heads.

    Source: Vaswani et al., 2017, arXiv 1706.03762, equation 1.
    """

    def __init__(self, channels: int, rng: Generator | None) -> None:
        self.heads = math.gcd(channels, max(1, channels // HEAD))
        self.norm = nn.GroupNorm(math.gcd(GROUPS, channels), channels)
        self.qkv = dense(channels, 3 * channels, rng=rng)
        self.out = nn.Dense(channels, channels, init="zeros", rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        rows = self.norm(x).reshape(n, height * width, channels)
        seen = self.out(self_attention(self.qkv(rows), self.heads))
        out: Tensor = x + seen.reshape(*x.shape)
        return out


def small(shape: tuple[int, ...], rng: Generator | None) -> Tensor:
    """U(-a, a), a = 1 / sqrt(fan_in): a third of Glorot's variance where sizes stay.

    What a time and a label scale and shift is then moderate at first, and small weights before a
    norm turn faster.
    """
    a = 1 / math.sqrt(math.prod(shape[:-1]))
    return resolve(rng).uniform(shape) * (2 * a) - a


def conv(
    n_in: int, n_out: int, size: int = 3, *, stride: int = 1,
    init: str | nn.init.Initialiser = small, rng: Generator | None = None,
) -> nn.Conv2d:  # fmt: skip
    """A convolution that keeps the size of an image, or divides it by `stride`."""
    return nn.Conv2d(n_in, n_out, size, stride, size // 2, init=init, rng=rng)


def dense(n_in: int, n_out: int, *, rng: Generator | None) -> nn.Dense:
    """A layer whose weights start as those of the convolutions do."""
    return nn.Dense(n_in, n_out, init=small, rng=rng)


def in_turn(blocks: list[Block], h: Tensor, condition: Tensor | None) -> Tensor:
    """Blocks one after the other."""
    for block in blocks:
        h = block(h, condition)
    return h


def waves(count: int) -> Tensor:
    """`count` frequencies from 1 down to 1 / 10,000, in equal ratios."""
    return as_tensor(np.exp(-math.log(1e4) * np.arange(count) / count).astype(np.float32))


def levels(name: str, shape: Shape) -> int:
    """How many sizes of an image it sees, the coarsest at most 8 x 8; ValueError for no way."""
    height, width, _ = shape
    count = max(2, 1 + math.ceil(math.log2(max(height, width) / (2 * COARSEST))))
    unit = 2**count
    if height % unit or width % unit:
        near = max(unit, round(max(height, width) / unit) * unit)
        raise ValueError(
            f"{name}: images of {height} x {width}, which it cannot halve {count} times; expected "
            "sizes divisible by 4 up to 32 pixels, by 8 up to 64, by 16 up to 128: scale the "
            f"images (--size {near})"
        )
    return count
