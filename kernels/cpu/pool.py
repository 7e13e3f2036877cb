"""Pooling of images (N, H, W, C) that lie row by row: the largest, or the mean, of each window.

    max:  y[n, i, j, c] = max_ab x[n, i SH + a - PT, j SW + b - PL, c]     over pixels that exist
    mean: their mean

and what their gradients need: `dx` adds y[n, i, j, c] to the first largest pixel of its window (to
all of them, in equal parts), `pick` takes v at that pixel.

Channels are side by side, so that each step compares vectors of them; the number of the largest tap
is kept as a float beside the largest, and selecting costs no branch. A worker takes whole images.
Windows that overlap add to a pixel in their order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import carray

from ..binding import kernel
from .runtime import Call, Table, both, inline, pointer_of, threads, word, workers_for, workspace

LARGEST, LARGEST_DX, PICK, MEAN, MEAN_DX = range(5)

# i x j windows of a x b pixels, a stride apart; the first begins `top` and `left` of the image.
POOL = Table(
    "out x v form n height width channels i j a b stride_down stride_across top left scratch"
)


@inline
def _window(args, i, j):  # type: ignore[no-untyped-def]
    """Which taps of window (i, j) are on the image: rows a0:a1 and columns b0:b1; its corner."""
    h = i * word(args, POOL.stride_down) - word(args, POOL.top)
    w = j * word(args, POOL.stride_across) - word(args, POOL.left)
    a1 = min(word(args, POOL.a), word(args, POOL.height) - h)
    b1 = min(word(args, POOL.b), word(args, POOL.width) - w)
    return max(0, -h), a1, max(0, -w), b1, h, w


@inline
def _find(x, best, at, a0, a1, b0, b1, h, w, across):  # type: ignore[no-untyped-def]
    """The largest of each channel, NaN if any is, and the number of its first tap; 0 for -inf."""
    kind, first = best.dtype.type, x[h + a0, w + b0]
    for c in range(best.size):
        best[c] = first[c]
        at[c] = kind(0) if first[c] == -math.inf else kind(a0 * across + b0)
    for a in range(a0, a1):
        for b in range(b0 + 1 if a == a0 else b0, b1):
            number, pixel = kind(a * across + b), x[h + a, w + b]
            for c in range(best.size):
                value = pixel[c]
                larger = value > best[c] or (value != value and best[c] == best[c])
                best[c] = value if larger else best[c]
                at[c] = number if larger else at[c]


@inline
def _image(args, form, out, x, v, best, at):  # type: ignore[no-untyped-def]
    """One image: x and v of the large size or the small one, as the form has them."""
    kind, across = best.dtype.type, word(args, POOL.b)
    if form in (LARGEST_DX, MEAN_DX):
        out[:] = kind(0)
    for i in range(word(args, POOL.i)):
        for j in range(word(args, POOL.j)):
            a0, a1, b0, b1, h, w = _window(args, i, j)
            if form <= PICK:
                _find(x, best, at, a0, a1, b0, b1, h, w, across)
            if form >= PICK:
                best[:] = kind(0)
            share = kind(1) / kind((a1 - a0) * (b1 - b0))
            for a in range(a0, a1):
                for b in range(b0, b1):
                    number = kind(a * across + b)
                    if form == LARGEST_DX:
                        target, source = out[h + a, w + b], v[i, j]
                        for c in range(best.size):
                            target[c] += source[c] if at[c] == number else kind(0)
                    elif form == PICK:
                        source = v[h + a, w + b]
                        for c in range(best.size):
                            best[c] = source[c] if at[c] == number else best[c]
                    elif form == MEAN:
                        source = x[h + a, w + b]
                        for c in range(best.size):
                            best[c] += source[c]
                    elif form == MEAN_DX:
                        target, source = out[h + a, w + b], x[i, j]
                        for c in range(best.size):
                            target[c] += source[c] * share
            if form in (LARGEST, PICK):
                out[i, j] = best
            elif form == MEAN:
                target = out[i, j]
                for c in range(best.size):
                    target[c] = best[c] * share


@both
def _pool(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    n, form, c = word(args, POOL.n), word(args, POOL.form), word(args, POOL.channels)
    large = (n, word(args, POOL.height), word(args, POOL.width), c)
    small = (n, word(args, POOL.i), word(args, POOL.j), c)
    at = carray(pointer_of(kind, word(args, POOL.scratch)), (workers, 2, c))[worker]
    grows = form in (LARGEST_DX, MEAN_DX)
    out = carray(pointer_of(kind, word(args, POOL.out)), large if grows else small)
    x = carray(pointer_of(kind, word(args, POOL.x)), small if form == MEAN_DX else large)
    v = carray(pointer_of(kind, word(args, POOL.v)), small if grows else large)
    for image in range(n * worker // workers, n * (worker + 1) // workers):
        _image(args, form, out[image], x[image], v[image], at[0], at[1])


# ---- the operations ------------------------------------------------------------------------------


def _bind(form: int, x: Any, v: Any, size: Any, kernel: Any, window: Any, out: Any) -> Any:
    """x and v as the form has them; size is that of the large images."""
    n, channels, places = len(x), x.shape[3], window.outputs(size, kernel)
    shape = (n, *(size if form in (LARGEST_DX, MEAN_DX) else places), channels)
    served = (
        x.dtype in (np.float32, np.float64) and v.dtype == x.dtype and window.dilation == (1, 1)
    )
    if not served or 0 in shape or not (x.flags.c_contiguous and v.flags.c_contiguous):
        return NotImplemented
    out = np.empty(shape, x.dtype) if out is None else out
    if not out.flags.c_contiguous:
        return NotImplemented
    (top, _), (left, _) = window.padding
    table = POOL.fill(
        out=out, x=x, v=v, form=form, n=n, height=size[0], width=size[1], channels=channels,
        i=places[0], j=places[1], a=kernel[0], b=kernel[1], stride_down=window.stride[0],
        stride_across=window.stride[1], top=top, left=left,
        scratch=workspace(threads() * 2 * channels * x.itemsize // 4),
    )  # fmt: skip
    workers = min(workers_for(max(x.size, out.size)), n)
    return Call(_pool[x.dtype], table, out=out, workers=workers, keep=(x, v))


@kernel
def max_pool2d_nd(x: Any, *, kernel: Any, window: Any, out: Any = None) -> Any:
    """The largest pixel of each window."""
    return _bind(LARGEST, x, x, x.shape[1:3], kernel, window, out)


@kernel
def max_pool2d_dx(y: Any, x: Any, *, kernel: Any, window: Any, out: Any = None) -> Any:
    """y added at the first largest pixel of each window of x."""
    return _bind(LARGEST_DX, x, y, x.shape[1:3], kernel, window, out)


@kernel
def max_pool2d_pick(v: Any, x: Any, *, kernel: Any, window: Any, out: Any = None) -> Any:
    """v at the first largest pixel of each window of x."""
    return _bind(PICK, x, v, x.shape[1:3], kernel, window, out)


@kernel
def avg_pool2d_nd(x: Any, *, kernel: Any, window: Any, out: Any = None) -> Any:
    """The mean of the pixels of each window."""
    return _bind(MEAN, x, x, x.shape[1:3], kernel, window, out)


@kernel
def avg_pool2d_dx(y: Any, *, size: Any, kernel: Any, window: Any, out: Any = None) -> Any:
    """y in equal parts to the pixels of each window."""
    return _bind(MEAN_DX, y, y, size, kernel, window, out)
