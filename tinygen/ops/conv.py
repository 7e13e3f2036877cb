"""Convolutions of images: conv2d, its two gradients, and conv_transpose2d, which is one of them.

N images of H x W pixels and C channels; windows of KH x KW pixels, which begin SH, SW pixels apart;
O output channels on OH x OW pixels; PT, PL zeros before the first row and column:

    y[n, i, j, o] = sum_abc x[n, i SH + a DH - PT, j SW + b DW - PL, c] w[a, b, c, o]

Pixels outside the image are 0. This sum over (x, w) -> y is linear in each, and so are the sums
that its gradients are: the three operations are each other's gradients, to any order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..backend import XP, Array
from ..checks import INTEGER, channels_first
from ..primitive import primitive
from ..tensor import Tensor, as_tensor

__all__ = ["conv2d", "conv_transpose2d"]

Pair = tuple[int, int]
Shape = tuple[int, ...]
Sides = int | Pair | tuple[Pair, Pair]
Padding = str | Sides


class Window(NamedTuple):
    """Where the windows of a convolution lie: (vertical, horizontal) each, padding as zeros
    (before, after) each; into how many groups the channels are divided; and whether kernels are
    those of a transposed convolution, (KH, KW, O, C / groups)."""

    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1
    transposed: bool = False

    def kernel(self, xp: XP, w: Array) -> Array:
        """The kernel (KH, KW, C / groups, O), from it as it is kept, or back."""
        return xp.swapaxes(w, 2, 3) if self.transposed else w

    def outputs(self, size: Pair, kernel: Pair) -> Pair:
        """How many windows fit: (size + padding - dilation (kernel - 1) - 1) // stride + 1."""
        a, b = (
            (n + sum(p) - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(
                size, kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return a, b

    def padded(self, size: Pair) -> Pair:
        """The size of an image with its zeros around it."""
        return size[0] + sum(self.padding[0]), size[1] + sum(self.padding[1])

    def inner(self, size: Pair) -> tuple[Any, ...]:
        """The index of the image within its zeros."""
        (top, _), (left, _) = self.padding
        return (slice(None), slice(top, top + size[0]), slice(left, left + size[1]))

    def taps(self, kernel: Pair, outputs: Pair) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
        """(a, b, the index of the pixels of padded images that w[a, b] meets)."""
        for a in range(kernel[0]):
            for b in range(kernel[1]):
                steps = zip((a, b), self.dilation, self.stride, outputs, strict=True)
                yield a, b, (
                    slice(None), *(slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, s, n in steps)
                )  # fmt: skip


def surrounded(xp: XP, x: Array, window: Window, value: float = 0.0) -> Array:
    """Images with the window's padding around them."""
    size = x.shape[1:3]
    padded = xp.full((x.shape[0], *window.padded(size), x.shape[3]), value, x.dtype)
    padded[window.inner(size)] = x
    return padded


# ---- the three operations ------------------------------------------------------------------------


def _by_group(xp: XP, x: Array, groups: int) -> Array:
    """(..., groups c) -> (groups, m, c): a stack of matrices, the channels of a group each."""
    rows = xp.reshape(x, (math.prod(x.shape[:-1]), groups, x.shape[-1] // groups))
    return xp.transpose(rows, (1, 0, 2))


def _joined(xp: XP, y: Array, shape: tuple[int, ...]) -> Array:
    """The reverse of _by_group."""
    return xp.reshape(xp.transpose(y, (1, 0, 2)), shape)


@primitive(floats=True, convolution=(0, 1, 2))
def conv2d_nd(xp: XP, x: Array, w: Array, *, window: Window) -> Array:
    """The sum above: x (N, H, W, C), w (KH, KW, C / groups, O) -> (N, OH, OW, O)."""
    w = window.kernel(xp, w)
    *kernel, _, channels = w.shape
    outputs = window.outputs(x.shape[1:3], kernel)
    padded = surrounded(xp, x, window)
    shape = (x.shape[0], *outputs, channels)
    y = xp.zeros(shape, x.dtype)
    for a, b, pixels in window.taps(kernel, outputs):
        rows = _by_group(xp, padded[pixels], window.groups)
        y += _joined(xp, xp.matmul(rows, _by_group(xp, w[a, b], window.groups)), shape)
    return y


@primitive(floats=True, convolution=(2, 1, 0))
def conv2d_dx(xp: XP, y: Array, w: Array, *, size: Pair, window: Window) -> Array:
    """The gradient of the images, which have that size, from y (N, OH, OW, O): (N, H, W, C)."""
    w = window.kernel(xp, w)
    n, (*kernel, channels, _) = y.shape[0], w.shape
    channels *= window.groups
    padded = xp.zeros((n, *window.padded(size), channels), y.dtype)
    rows = _by_group(xp, y, window.groups)
    for a, b, pixels in window.taps(kernel, y.shape[1:3]):
        back = xp.matmul(rows, xp.swapaxes(_by_group(xp, w[a, b], window.groups), 1, 2))
        padded[pixels] += _joined(xp, back, (*y.shape[:3], channels))
    return padded[window.inner(size)]


@primitive(floats=True, convolution=(0, 2, 1))
def conv2d_dw(xp: XP, x: Array, y: Array, *, kernel: Pair, window: Window) -> Array:
    """The gradient of a kernel of that size from y (N, OH, OW, O)."""
    groups = window.groups
    padded = surrounded(xp, x, window)
    shape = (x.shape[3] // groups, y.shape[3])
    w = xp.zeros((*kernel, *shape), x.dtype)
    columns = _by_group(xp, y, groups)
    for a, b, pixels in window.taps(kernel, y.shape[1:3]):
        rows = xp.swapaxes(_by_group(xp, padded[pixels], groups), 1, 2)
        w[a, b] = _joined(xp, xp.matmul(rows, columns), shape)
    return window.kernel(xp, w)


conv2d_nd.vjp(
    x=lambda g, w, x_shape, window: conv2d_dx(g, w, size=x_shape[1:3], window=window),
    w=lambda g, x, w_shape, window: conv2d_dw(x, g, kernel=w_shape[:2], window=window),
)
conv2d_dx.vjp(
    y=lambda g, w, window: conv2d_nd(g, w, window=window),
    w=lambda g, y, w_shape, window: conv2d_dw(g, y, kernel=w_shape[:2], window=window),
)
conv2d_dw.vjp(
    x=lambda g, y, x_shape, window: conv2d_dx(y, g, size=x_shape[1:3], window=window),
    y=lambda g, x, window: conv2d_nd(x, g, window=window),
)


def multiply_adds(x: Shape, w: Shape, y: Shape, window: Window) -> int:
    """The number of multiply-adds, padding excluded, from the shapes of images, kernel, output."""
    meetings = x[0] * x[3] * y[3] // window.groups
    for n, k, m, s, p, d in zip(x[1:3], w[:2], y[1:3], *window[:3], strict=True):
        meetings *= sum(0 <= i * s + t * d - p[0] < n for i in range(m) for t in range(k))
    return meetings


# ---- as users call them --------------------------------------------------------------------------


def pair(who: str, name: str, value: Any, least: int = 1) -> Pair:
    """A count for both directions, or one for each, as a pair."""
    both = value if isinstance(value, (tuple, list)) else (value, value)
    whole = all(isinstance(v, INTEGER) and not isinstance(v, bool) and v >= least for v in both)
    if len(both) != 2 or not whole:
        raise ValueError(
            f"{who}: {name} is {value!r}; expected an int >= {least} or a pair of them"
        )
    return int(both[0]), int(both[1])


def sides(who: str, padding: Any, words: str = "") -> tuple[Pair, Pair]:
    """Counts (before, after) in each direction."""
    try:
        a, b = padding if isinstance(padding, (tuple, list)) else (padding, padding)
        return pair(who, "padding", a, least=0), pair(who, "padding", b, least=0)
    except ValueError:
        raise ValueError(
            f"{who}: padding is {padding!r}; expected {words}a count, (rows, columns) or "
            "((top, bottom), (left, right)), counts >= 0"
        ) from None


def margins(who: str, padding: Padding, same: list[int]) -> tuple[Pair, Pair]:
    """The zeros (before, after) in each direction; "same": so many in all, the odd one after."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        rows, columns = (max(n, 0) for n in same)
        return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)
    return sides(who, padding, "'same', 'valid', ")


def windows(
    who: str, size: Pair, kernel: Pair, stride: int | Pair, padding: Padding,
    dilation: int | Pair = 1, groups: int = 1,
) -> Window:  # fmt: skip
    """Where windows of that size lie on an image, in the terms of conv2d; at least one fits."""
    stride, dilation = pair(who, "stride", stride), pair(who, "dilation", dilation)
    same = [
        (-(-n // s) - 1) * s + d * (k - 1) + 1 - n
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    window = Window(stride, margins(who, padding, same), dilation, groups)
    outputs = window.outputs(size, kernel)
    if min(outputs) < 1:
        raise ValueError(
            f"{who}: image {size[0]} x {size[1]}, kernel {kernel[0]} x {kernel[1]}, {window} give "
            f"an output of {outputs[0]} x {outputs[1]}; expected (size + padding - dilation "
            "(kernel - 1) - 1) // stride + 1 >= 1: more padding, or a smaller kernel"
        )
    return window


def _channels_elsewhere(x: tuple[int, ...], w: tuple[int, ...], per_group: int, groups: int) -> str:
    """The next step where images, or a kernel, come with the channels before the sizes."""
    takes = w[2] * (groups if per_group == 2 else 1)
    other = w[1] * groups if per_group == 2 else w[0]  # of (out, in, h, w) and (in, out, h, w)
    if channels_first(x, takes):
        return "; images are (N, H, W, C) here: x.transpose(0, 2, 3, 1)"
    turned = other != x[3] and channels_first(x, other)
    if w[0] != w[1] and w[2] == w[3] and (turned or other == x[3]):
        order = "2, 3, 1, 0" if per_group == 2 else "2, 3, 0, 1"
        images = "x.transpose(0, 2, 3, 1) and " if turned else ""
        return f"; sizes come before channels here: {images}w.transpose({order})"
    return ""


def _operands(
    who: str, layout: str, x: Any, w: Any, b: Any, groups: int, per_group: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """x, w and b as tensors, if they are images, a kernel and a bias that fit.

    per_group: the axis of w that counts the channels of one group.
    """
    x, w, b = as_tensor(x), as_tensor(w), b if b is None else as_tensor(b)
    given = f"{who}: x {x.shape}, w {w.shape}"
    if x.ndim != 4 or w.ndim != 4:
        raise ValueError(f"{given}; expected x (N, H, W, C) and w {layout}")
    if not isinstance(groups, INTEGER) or isinstance(groups, bool) or groups < 1:
        raise ValueError(f"{given}: groups is {groups!r}; expected an int >= 1")
    takes, gives = (w.shape[a] * (groups if a == per_group else 1) for a in (2, 3))
    if takes != x.shape[3] or takes % groups or gives % groups:
        raise ValueError(
            f"{given}, groups {groups}: w takes {takes} channels and gives {gives}, x has "
            f"{x.shape[3]}; expected w {layout}, both numbers of channels divisible by groups"
            + _channels_elsewhere(x.shape, w.shape, per_group, groups)
        )
    if b is not None and b.shape != (gives,):
        raise ValueError(f"{given}: b {b.shape}; expected ({gives},), one an output channel")
    return x, w, b


def conv2d(
    x: Any, w: Any, b: Any = None, stride: int | Pair = 1, padding: Padding = "valid",
    dilation: int | Pair = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Each output pixel is a weighted sum of a window of the image (cross-correlation).

        y[n, i, j, o] = b[o] + sum_abc x[n, i SH + a DH - PT, j SW + b DW - PL, c] w[a, b, c, o]

    Args:
        x: images (N, H, W, C).
        w: (KH, KW, C / groups, O).
        b: (O,) or None.
        stride: pixels from a window to the next, down and across; >= 1.
        padding: zeros around the image. "valid" for none; "same" for an output of ceil(H / stride)
            rows, an odd row of zeros at the end; a count for all sides; (rows, columns); or
            ((top, bottom), (left, right)).
        dilation: pixels from a weight's place to the next; >= 1.
        groups: outputs of group g see only channels of group g.

    Returns:
        (N, OH, OW, O) with OH = (H + top + bottom - dilation (KH - 1) - 1) // stride + 1.

    Raises:
        ValueError: shapes that do not fit, a window larger than the padded image.
    """
    layout = "(KH, KW, C / groups, O)"
    x, w, b = _operands("conv2d", layout, x, w, b, groups, per_group=2)
    window = windows("conv2d", x.shape[1:3], w.shape[:2], stride, padding, dilation, groups)
    y = conv2d_nd(x, w, window=window)
    return y if b is None else y + b


def conv_transpose2d(
    x: Any, w: Any, b: Any = None, stride: int | Pair = 1, padding: Padding = "valid",
    output_padding: int | Pair = 0, dilation: int | Pair = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """The adjoint of conv2d: each input pixel adds a weighted window to the output.

        y[n, i SH + a DH - PT, j SW + b DW - PL, o] += x[n, i, j, c] w[a, b, c, o]

    Computed the other way around: an output pixel gathers what meets it, in a fixed order.

    Args:
        x: images (N, H, W, C).
        w: (KH, KW, C, O / groups).
        b: (O,) or None.
        stride, dilation, groups: as of conv2d.
        padding: rows and columns cut from the output's edges; "same" for an output of H x stride.
        output_padding: rows and columns more at the end, below the stride: sizes that conv2d maps
            to H are stride many. Not with "same", which says the size.

    Returns:
        (N, OH, OW, O) with OH = (H - 1) stride + dilation (KH - 1) + 1 - top - bottom +
        output_padding.

    Raises:
        ValueError: shapes that do not fit, nothing left after the padding is cut.
    """
    who, layout = "conv_transpose2d", "(KH, KW, C, O / groups)"
    x, w, b = _operands(who, layout, x, w, b, groups, per_group=3)
    kernel = w.shape[:2]
    stride, dilation = pair(who, "stride", stride), pair(who, "dilation", dilation)
    more = pair(who, "output_padding", output_padding, least=0)
    most = (1, 1) if padding == "same" else stride
    if any(m >= s for m, s in zip(more, most, strict=True)):
        raise ValueError(
            f"{who}: output_padding {more}; expected below the stride {stride}, and 0 with 'same'"
        )
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    same = [r - s for r, s in zip(reach, stride, strict=True)]
    window = Window(stride, margins(who, padding, same), dilation, groups, transposed=True)
    height, width = (
        (n - 1) * s + r - sum(p) + m
        for n, s, r, p, m in zip(x.shape[1:3], stride, reach, window.padding, more, strict=True)
    )
    if padding == "same":
        height, width = x.shape[1] * stride[0], x.shape[2] * stride[1]
    if height < 1 or width < 1 or 0 in x.shape[1:3]:
        raise ValueError(
            f"{who}: x {x.shape}, w {w.shape}, {window} leave an output of {height} x {width}; "
            "expected H >= 1 and (H - 1) stride + dilation (KH - 1) + 1 - padding + output_padding "
            ">= 1, and so for W"
        )
    y = conv2d_dx(x, w, size=(height, width), window=window)
    return y if b is None else y + b
