"""Images made smaller or larger: pooling, resizing.

All but max pooling are linear, so that their gradients are their adjoints. Max pooling is linear
where the places of the maxima stay the same, and its gradients take those places from x anew.
"""

from __future__ import annotations

import math
from typing import Any

from ..backend import XP, Array
from ..primitive import primitive
from ..tensor import Tensor
from .conv import Padding, Pair, Window, pair, surrounded, windows
from .create import arange
from .elementwise import abs, astype, cast_discrete, clip, maximum
from .index import take
from .linalg import matmul
from .pixels import images, pixels_repeated
from .shape import expand_dims, reshape

__all__ = ["avg_pool2d", "max_pool2d", "resize2d", "upsample2d"]

# ---- max pooling ---------------------------------------------------------------------------------


def _largest(xp: XP, x: Array, kernel: Pair, window: Window) -> tuple[Array, Array]:
    """The largest pixel of each window, NaN if any is, and which of the window's is the first."""
    padded = surrounded(xp, x, window, -math.inf)
    shape = (x.shape[0], *window.outputs(x.shape[1:3], kernel), x.shape[3])
    y, places = xp.full(shape, -math.inf, x.dtype), xp.zeros(shape, xp.int64)
    for number, (_, _, pixels) in enumerate(window.taps(kernel, shape[1:3])):
        pixel = padded[pixels]
        larger = (pixel > y) | (xp.isnan(pixel) & ~xp.isnan(y))
        y = xp.where(larger, pixel, y)
        places = xp.where(larger, number, places)
    return y, places


@primitive(floats=True)
def max_pool2d_nd(xp: XP, x: Array, *, kernel: Pair, window: Window) -> Array:
    """The largest pixel of each window of x (N, H, W, C): (N, OH, OW, C)."""
    return _largest(xp, x, kernel, window)[0]


@primitive(floats=True, nondiff=("x",))
def max_pool2d_dx(xp: XP, y: Array, x: Array, *, kernel: Pair, window: Window) -> Array:
    """y (N, OH, OW, C) added at the first maximum of each window of x: (N, H, W, C)."""
    places, size = _largest(xp, x, kernel, window)[1], x.shape[1:3]
    padded = xp.zeros((x.shape[0], *window.padded(size), x.shape[3]), y.dtype)
    for number, (_, _, pixels) in enumerate(window.taps(kernel, y.shape[1:3])):
        padded[pixels] += xp.where(places == number, y, 0)
    return padded[window.inner(size)]


@primitive(floats=True, nondiff=("x",))
def max_pool2d_pick(xp: XP, v: Array, x: Array, *, kernel: Pair, window: Window) -> Array:
    """The element of v (N, H, W, C) at the first maximum of each window of x: (N, OH, OW, C)."""
    padded, places = surrounded(xp, v, window), _largest(xp, x, kernel, window)[1]
    y = xp.zeros(places.shape, v.dtype)
    for number, (_, _, pixels) in enumerate(window.taps(kernel, places.shape[1:3])):
        y = xp.where(places == number, padded[pixels], y)
    return y


max_pool2d_nd.vjp(x=lambda g, x, kernel, window: max_pool2d_dx(g, x, kernel=kernel, window=window))
max_pool2d_dx.vjp(
    y=lambda g, x, kernel, window: max_pool2d_pick(g, x, kernel=kernel, window=window)
)
max_pool2d_pick.vjp(
    v=lambda g, x, kernel, window: max_pool2d_dx(g, x, kernel=kernel, window=window)
)


# ---- average pooling -----------------------------------------------------------------------------


def _sums(xp: XP, x: Array, kernel: Pair, window: Window) -> Array:
    padded, outputs = surrounded(xp, x, window), window.outputs(x.shape[1:3], kernel)
    return sum(padded[pixels] for _, _, pixels in window.taps(kernel, outputs))


def _counts(xp: XP, size: Pair, kernel: Pair, window: Window, dtype: Any) -> Array:
    """How many pixels of the image each window holds: (1, OH, OW, 1)."""
    return _sums(xp, xp.ones((1, *size, 1), dtype), kernel, window)


@primitive(floats=True)
def avg_pool2d_nd(xp: XP, x: Array, *, kernel: Pair, window: Window) -> Array:
    """The mean of the pixels in each window of x (N, H, W, C): (N, OH, OW, C)."""
    return _sums(xp, x, kernel, window) / _counts(xp, x.shape[1:3], kernel, window, x.dtype)


@primitive(floats=True)
def avg_pool2d_dx(xp: XP, y: Array, *, size: Pair, kernel: Pair, window: Window) -> Array:
    """y (N, OH, OW, C) given in equal parts to the pixels of each window: (N, *size, C)."""
    parts = y / _counts(xp, size, kernel, window, y.dtype)
    padded = xp.zeros((y.shape[0], *window.padded(size), y.shape[3]), y.dtype)
    for _, _, pixels in window.taps(kernel, y.shape[1:3]):
        padded[pixels] += parts
    return padded[window.inner(size)]


avg_pool2d_nd.vjp(
    x=lambda g, x_shape, kernel, window: avg_pool2d_dx(
        g, size=x_shape[1:3], kernel=kernel, window=window
    )
)
avg_pool2d_dx.vjp(
    y=lambda g, kernel, window: avg_pool2d_nd(g, kernel=kernel, window=window),
)


# ---- as users call them --------------------------------------------------------------------------


def _pooling(
    who: str, x: Any, kernel: int | Pair, stride: int | Pair | None, padding: Padding
) -> dict[str, Any]:
    """The windows of a pooling; each holds a pixel of the image."""
    kernel = pair(who, "kernel", kernel)
    window = windows(who, x.shape[1:3], kernel, kernel if stride is None else stride, padding)
    if any(max(p) >= k for p, k in zip(window.padding, kernel, strict=True)):
        raise ValueError(
            f"{who}: padding {window.padding} of a kernel {kernel} makes windows without a pixel; "
            "expected less padding than the kernel's size"
        )
    return {"kernel": kernel, "window": window}


def max_pool2d(
    x: Any, kernel: int | Pair, stride: int | Pair | None = None, padding: Padding = "valid"
) -> Tensor:
    """The largest pixel of each window of the image, channel by channel; NaN if any is.

    The gradient goes to the first maximum of a window, row by row. (A window of -infinity alone
    has its first place, and if that is padding, no pixel gets it.)

    Args:
        x: images (N, H, W, C).
        kernel: rows and columns of a window.
        stride: from a window to the next, down and across; None for the kernel's size.
        padding: as of conv2d, but it never is the maximum; less than the kernel's size.

    Returns:
        (N, OH, OW, C) with OH = (H + top + bottom - kernel) // stride + 1.

    Raises:
        ValueError: shapes that do not fit, a window larger than the padded image.
    """
    x = images("max_pool2d", x)
    return max_pool2d_nd(x, **_pooling("max_pool2d", x, kernel, stride, padding))


def avg_pool2d(
    x: Any, kernel: int | Pair, stride: int | Pair | None = None, padding: Padding = "valid"
) -> Tensor:
    """The mean of the pixels in each window of the image, channel by channel.

    Padding does not count: a window at the edge is averaged over the pixels that it holds.
    Arguments, result and errors are those of max_pool2d.
    """
    x = images("avg_pool2d", x)
    return avg_pool2d_nd(x, **_pooling("avg_pool2d", x, kernel, stride, padding))


def _nearest(n: int, m: int, backend: str) -> Tensor:
    """The pixel of n in which the centre of each of m pixels lies: (m,)."""
    odd = arange(start=1, stop=2 * m, step=2, dtype="float64", backend=backend)
    return cast_discrete(odd * n / (2 * m), dtype="int64")  # exact: a quotient rounds to no integer


def _bilinear(n: int, m: int, dtype: str, backend: str) -> Tensor:
    """The weights of n pixels in each of m: (m, n), rows of sum 1."""
    odd = arange(start=1, stop=2 * m, step=2, dtype="float64", backend=backend)
    pixels = arange(start=0, stop=n, step=1, dtype="float64", backend=backend)
    centres = clip(odd * (n / (2 * m)) - 0.5, low=0.0, high=n - 1.0)
    distances = abs(expand_dims(centres, axis=1) - pixels)
    return astype(maximum(1.0 - distances, 0.0), dtype)


def resize2d(x: Any, size: int | Pair, mode: str = "bilinear") -> Tensor:
    """Images resampled to another size, channel by channel.

    Pixels are squares: the centre of pixel i of m lies at (i + 1/2) n / m - 1/2 among the n old
    ones, no further out than the first or the last centre. Making images smaller skips pixels; to
    average them, use avg_pool2d.

    Args:
        x: images (N, H, W, C).
        size: the new number of rows and columns.
        mode: "nearest" for the old pixel that holds the centre (the later one at an edge between
            two), "bilinear" for the mean of the up to four around it, weighted by closeness.

    Returns:
        (N, *size, C).

    Raises:
        ValueError: x is not (N, H, W, C), a size below 1, an unknown mode.

    The same as PyTorch's interpolate with align_corners=False, modes "nearest-exact" and
    "bilinear", and as ONNX's half_pixel, for "nearest" with round_prefer_ceil.
    """
    x, (height, width) = images("resize2d", x), pair("resize2d", "size", size)
    (n, h, w, c), on = x.shape, x.backend.name
    if mode == "nearest" and height % h == 0 and width % w == 0:
        return pixels_repeated(x, block=(height // h, width // w))
    if mode == "nearest":
        return take(take(x, _nearest(h, height, on), axis=1), _nearest(w, width, on), axis=2)
    if mode != "bilinear":
        raise ValueError(f"resize2d: mode is {mode!r}; expected 'nearest' or 'bilinear'")
    dtype = "float64" if x.dtype == "float64" else "float32"
    rows = matmul(_bilinear(h, height, dtype, on), reshape(x, (n, h, w * c)))
    return matmul(_bilinear(w, width, dtype, on), reshape(rows, (n, height, w, c)))


def upsample2d(x: Any, scale: int | Pair, mode: str = "nearest") -> Tensor:
    """Images `scale` times as large: resize2d to (scale H, scale W). Raises as resize2d."""
    x, (down, across) = images("upsample2d", x), pair("upsample2d", "scale", scale)
    return resize2d(x, (down * x.shape[1], across * x.shape[2]), mode)
