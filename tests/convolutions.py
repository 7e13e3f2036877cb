"""What the kernels of convolutions on the processor are called with."""

from __future__ import annotations

import numpy as np

from tinygen.backend import get
from tinygen.primitive import PRIMITIVES
from tinygen_kernels.cpu import conv, conv_dw

KERNELS = {
    "conv2d_nd": conv.conv2d_nd,
    "conv2d_dx": conv.conv2d_dx,
    "conv2d_dw": conv_dw.conv2d_dw,
}


def operands(case, dtype="float32", transposed=False, make=None, scale=1.0):
    """(arguments, options) of each of the three operations for one convolution: images, their size,
    the kernel's, a window, channels in and out. `make` draws an array of a shape; kernels are
    `scale` times that."""
    n, size, kernel, window, c, o = case
    make = np.random.default_rng(0).standard_normal if make is None else make
    new = lambda *shape: make(shape).astype(dtype)
    window = window._replace(transposed=transposed)
    x, y = new(n, *size, c), new(n, *window.outputs(size, kernel), o)
    w = (scale * make((*kernel, c // window.groups, o))).astype(dtype)
    w = np.ascontiguousarray(w.swapaxes(2, 3)) if transposed else w
    return {
        "conv2d_nd": ((x, w), {"window": window}),
        "conv2d_dx": ((y, w), {"window": window, "size": size}),
        "conv2d_dw": ((x, y), {"window": window, "kernel": kernel}),
    }


def reference(name, arrays, options):
    """The operation's definition, in NumPy and float64."""
    wide = (a.astype("float64") for a in arrays)
    return PRIMITIVES[name].reference(get("numpy").xp, *wide, **options)
