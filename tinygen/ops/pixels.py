"""Pixels repeated and added up, and pixels that become channels: images (N, H, W, C) in blocks.

A block of a x b pixels of the large image is a pixel of the small one. Each function is the adjoint
of its partner, so each is the other's gradient. All are whole: a plan keeps a call that a kernel
took. Their bodies, of reshapes, are the definition, and what exports write.
"""

from __future__ import annotations

from typing import Any

from ..fused import fused
from ..tensor import Tensor, as_tensor
from .conv import Pair, pair
from .reduce import sum
from .shape import broadcast_to, reshape, transpose

__all__ = ["depth_to_space", "space_to_depth"]


def images(who: str, data: Any) -> Tensor:
    """The data as images. Raises ValueError for another number of axes, or no pixels."""
    x: Tensor = as_tensor(data)
    if x.ndim != 4 or min(x.shape[1:3]) < 1:
        raise ValueError(f"{who}: x {x.shape}; expected images (N, H, W, C), H and W >= 1")
    return x


# ---- pixels repeated -----------------------------------------------------------------------------


@fused(whole=True)
def pixels_repeated(x: Any, *, block: Pair) -> Any:
    """Each pixel as a block: x (n, h, w, c) -> (n, a h, b w, c)."""
    (n, h, w, c), (a, b) = x.shape, block
    y = broadcast_to(reshape(x, (n, h, 1, w, 1, c)), shape=(n, h, a, w, b, c))
    return reshape(y, (n, a * h, b * w, c))


@fused(whole=True)
def pixels_added(x: Any, *, block: Pair) -> Any:
    """The sum of each block: x (n, a h, b w, c) -> (n, h, w, c)."""
    (n, h, w, c), (a, b) = x.shape, block
    return sum(reshape(x, (n, h // a, a, w // b, b, c)), axis=(2, 4))


pixels_repeated.vjp(x=lambda g, block: pixels_added(g, block=block))
pixels_added.vjp(x=lambda g, block: pixels_repeated(g, block=block))


# ---- pixels as channels --------------------------------------------------------------------------


@fused(whole=True)
def pixels_to_channels(x: Any, *, block: Pair) -> Any:
    """A block's pixels side by side: x (n, a h, b w, c) -> (n, h, w, a b c)."""
    (n, h, w, c), (a, b) = x.shape, block
    y = transpose(reshape(x, (n, h // a, a, w // b, b, c)), (0, 1, 3, 2, 4, 5))
    return reshape(y, (n, h // a, w // b, a * b * c))


@fused(whole=True)
def channels_to_pixels(x: Any, *, block: Pair) -> Any:
    """The other way: x (n, h, w, a b c) -> (n, a h, b w, c)."""
    (n, h, w, c), (a, b) = x.shape, block
    y = transpose(reshape(x, (n, h, w, a, b, c // (a * b))), (0, 1, 3, 2, 4, 5))
    return reshape(y, (n, a * h, b * w, c // (a * b)))


pixels_to_channels.vjp(x=lambda g, block: channels_to_pixels(g, block=block))
channels_to_pixels.vjp(x=lambda g, block: pixels_to_channels(g, block=block))


def space_to_depth(x: Any, factor: int | Pair) -> Tensor:
    """Blocks of pixels as pixels of more channels: fewer rows and columns, nothing lost.

        y[n, i, j, (p b + q) C + k] = x[n, a i + p, b j + q, k]

    Args:
        x: images (N, H, W, C).
        factor: rows and columns of a block, a and b: one number, or both.

    Returns:
        (N, H / a, W / b, a b C).

    Raises:
        ValueError: x is not (N, H, W, C), or a factor that does not divide H or W.

    The channels of a pixel stay together, as in TensorFlow and ONNX (mode DCR). PyTorch's
    pixel_unshuffle has them the other way, channel k a b + p b + q; for C = 1 both are the same.
    Source: Shi et al., 2016, section 3.2 (the inverse).
    """
    x, (a, b) = images("space_to_depth", x), pair("space_to_depth", "factor", factor)
    _, h, w, _ = x.shape
    if h % a or w % b:
        raise ValueError(
            f"space_to_depth: image {h} x {w} in blocks of {a} x {b}; expected H and W divisible "
            "by factor"
        )
    return pixels_to_channels(x, block=(a, b))


def depth_to_space(x: Any, factor: int | Pair) -> Tensor:
    """Channels as blocks of pixels, the inverse of space_to_depth: (N, H, W, a b C) ->
    (N, a H, b W, C).

    Arguments and the order of the channels are those of space_to_depth. Raises ValueError where
    x is not (N, H, W, C) or its channels are not divisible by a b.
    """
    x, (a, b) = images("depth_to_space", x), pair("depth_to_space", "factor", factor)
    if x.shape[3] % (a * b):
        raise ValueError(
            f"depth_to_space: {x.shape[3]} channels for blocks of {a} x {b} pixels; expected a "
            f"multiple of {a * b}"
        )
    return channels_to_pixels(x, block=(a, b))
