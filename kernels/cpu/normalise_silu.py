"""Normalisation, a scale and a shift of each sample, and SiLU; see normalise.py.

    y = (x - mean) / sqrt(var + eps) weight + bias
    z = y (1 + scale) + shift,   out = z sigmoid(z)

1. As operations of their own: x, y, z, sigmoid and out are written and read, forward and back.
2. A sample at a time, in a core's cache: what goes through memory is x and out, and back also the
   cotangent and dx. Scale and shift are joined with weight and bias once a sample.
3. Back, z is made again from x. That takes less time than reading what forward would have kept,
   and a step needs a third of the memory.

SiLU's exponential is vector code for long rows only, so it runs over all rows of a sample at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..binding import kernel
from .maths import narrow_sigmoid, wide_sigmoid
from .moments import (
    COMMON,
    blocks_of,
    cleared,
    factors,
    given,
    given_back,
    moments,
    products,
    scaled,
    scratch,
    sizes_of,
    strip_of,
    sum_blocks,
    turned,
)
from .normalise import common, fits, split, sums_of
from .runtime import Call, Table, array, both, inline, number, wide_vectors, word

# `modulation`: scale and shift of a sample side by side, `apart` numbers from sample to sample, 0
# where all have the same. `z`: a worker's rows. The words of both begin as those of normalise.
FORWARD = Table(f"{COMMON} bias y modulation apart")
BACKWARD = Table(
    f"{COMMON} above dx samples partial dweight dbias bias modulation apart dmodulation z"
)


@inline
def _joined(i, c0, width, weight, bias, both, apart, rates, scale, shift):  # type: ignore[no-untyped-def]
    """scale, shift: those of the norm, with its rates, and of sample i, as one."""
    at = i * apart + c0
    for j in range(scale.size):
        more = both.dtype.type(1) + both[at + j]
        scale[j] = weight[c0 + j] * rates[j] * more
        shift[j] = bias[c0 + j] * more + both[at + j + width]


@inline
def _silu(z):  # type: ignore[no-untyped-def]
    """z = z sigmoid(z)."""
    wide_vectors()
    if z.itemsize == 4:
        for i in range(z.size):
            z[i] = z[i] * narrow_sigmoid(z[i])
    else:
        for i in range(z.size):
            z[i] = z[i] * wide_sigmoid(z[i])


@inline
def _silu_back(z, g):  # type: ignore[no-untyped-def]
    """z = g s (1 + z (1 - s)), with s = sigmoid(z): the cotangent of z."""
    wide_vectors()
    one = z.dtype.type(1)
    if z.itemsize == 4:
        for i in range(z.size):
            s = narrow_sigmoid(z[i])
            z[i] = g[i] * (s + z[i] * s * (one - s))
    else:
        for i in range(z.size):
            s = wide_sigmoid(z[i])
            z[i] = g[i] * (s + z[i] * s * (one - s))


@both
def _forward(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A strip of a sample is a piece of work."""
    n, p, g, k, strips = sizes_of(args)
    width, eps, apart = g * k, number(args, FORWARD.eps), word(args, FORWARD.apart)
    x, weight, bias, y = given(args, kind)
    both = array(kind, args, FORWARD.modulation, (n - 1) * apart + 2 * width)
    for piece in range(n * strips * worker // workers, n * strips * (worker + 1) // workers):
        i, c0, c1 = strip_of(piece, strips, g, k)
        sums, own = scratch(worker, workers, args, kind, width, c1 - c0)
        mean, scale, shift, rates = own[2], own[3], own[4], sums[4]
        start = i * p * width + c0
        rows, out = x[start:], y[start:]
        moments(kind, rows, p, width, k, eps, sums, own, mean, rates)
        _joined(i, c0, width, weight, bias, both, apart, rates, scale, shift)
        scaled(kind, rows, out, p, width, mean, scale, shift)
        if strips == 1:
            _silu(out[: p * width])
        else:
            for j in range(p):
                _silu(out[j * width : j * width + c1 - c0])


@inline
def _to_sample(at, weight, bias, both, sums, dscale, dshift):  # type: ignore[no-untyped-def]
    """The gradients of scale and shift; sums become those of the cotangent of y."""
    for j in range(dscale.size):
        g, d = sums[0][j], sums[1][j]
        dscale[j] = weight[j] * sums[4][j] * d + bias[j] * g
        dshift[j] = g
        more = both.dtype.type(1) + both[at + j]
        sums[0][j] = g * more
        sums[1][j] = d * more


@both
def _backward(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """A strip of a block of samples is a piece of work."""
    n, p, g, k, strips = sizes_of(args)
    width, eps, samples = g * k, number(args, BACKWARD.eps), word(args, BACKWARD.samples)
    apart = word(args, BACKWARD.apart)
    x, weight, above, dx = given_back(args, kind)
    blocks, partial = blocks_of(args)
    bias, both, dboth = (
        array(kind, args, BACKWARD.bias, width),
        array(kind, args, BACKWARD.modulation, (n - 1) * apart + 2 * width),
        array(kind, args, BACKWARD.dmodulation, n * 2 * width),
    )
    whole = array(kind, args, BACKWARD.z, workers * p * width)[worker * p * width :][: p * width]
    pieces = blocks * strips
    for piece in range(pieces * worker // workers, pieces * (worker + 1) // workers):
        block, c0, c1 = strip_of(piece, strips, g, k)
        count = c1 - c0
        sums, own = scratch(worker, workers, args, kind, width, count)
        dweight, dbias = cleared(partial, block, width, c0, c1)
        for i in range(block * samples, min((block + 1) * samples, n)):
            start, of_sample = i * p * width + c0, i * 2 * width + c0
            rows, cotangent, mean, z = x[start:], above[start:], own[2], whole[c0:]
            moments(kind, rows, p, width, k, eps, sums, own, mean, sums[4])
            _joined(i, c0, width, weight, bias, both, apart, sums[4], own[3], own[4])
            scaled(kind, rows, z, p, width, mean, own[3], own[4])
            if strips == 1:
                _silu_back(z[: p * width], cotangent[: p * width])
            else:
                for j in range(p):
                    row = j * width
                    _silu_back(z[row : row + count], cotangent[row : row + count])
            products(kind, rows, z, p, width, sums, own[0], own[1], mean)
            dscale = dboth[of_sample : of_sample + count]
            dshift = dboth[of_sample + width : of_sample + width + count]
            _to_sample(i * apart + c0, weight[c0:c1], bias[c0:c1], both, sums, dscale, dshift)
            factors(k, p * k, sums[4], weight[c0:c1], sums, own, dweight, dbias)
            for c in range(count):
                own[3][c] *= both.dtype.type(1) + both[i * apart + c0 + c]
            turned(kind, rows, z, dx[start:], p, width, mean, own[3], own[4], own[5])


# ---- the operations ------------------------------------------------------------------------------


def _served(x: Any, weight: Any, bias: Any, modulation: Any, *others: Any) -> Any:
    """The parts of x, moments over (1, 3), where all is as the kernels take it; else None."""
    if x.ndim != 4 or not isinstance(modulation, np.ndarray) or modulation.ndim != 4:
        return None
    n, p, g, k = x.shape
    fit = (
        weight.shape == bias.shape == (g, k)
        and modulation.shape[1:] == (2, g, k)
        and modulation.shape[0] in (1, n)
        and modulation.dtype == x.dtype
        and modulation.flags.c_contiguous
        and split(x, weight, (1, 3), bias, *others) is not None
    )
    return [n, p, g, k] if fit else None


def _modulation(modulation: Any) -> dict[str, Any]:
    """Its words."""
    apart = 0 if len(modulation) == 1 else modulation.size // len(modulation)
    return {"modulation": modulation, "apart": apart}


@kernel(again=True)
def normalise_silu(
    x: Any, weight: Any, bias: Any, modulation: Any, *, eps: float, out: Any = None
) -> Any:
    sizes = _served(x, weight, bias, modulation)
    y = np.empty(x.shape, x.dtype) if out is None else out
    if sizes is None or not fits(y, x):
        return NotImplemented
    words, workers = common(x, weight, sizes, eps)
    table = FORWARD.fill(**words, bias=bias, y=y, **_modulation(modulation))
    return Call(_forward[x.dtype], table, out=y, workers=workers)


@kernel(again=True)
def normalise_silu_dx(
    y: Any, x: Any, weight: Any, bias: Any, modulation: Any, *, eps: float, out: Any = None
) -> Any:
    if not isinstance(y, np.ndarray) or y.shape != x.shape:
        return NotImplemented
    y = np.ascontiguousarray(y) if out is None else y  # a plan's would be copied only once
    sizes = _served(x, weight, bias, modulation, y)
    if sizes is None:
        return NotImplemented
    n, p, g, k = sizes
    shapes = (x.shape, weight.shape, weight.shape, (n, 2, g, k))
    outs = tuple(np.empty(s, x.dtype) for s in shapes) if out is None else out
    if any(o.shape != s or not fits(o, o) for o, s in zip(outs, shapes, strict=True)):
        return NotImplemented
    words, workers = common(x, weight, sizes, eps)
    table = BACKWARD.fill(
        **words, above=y, dx=outs[0], dweight=outs[1], dbias=outs[2],
        **sums_of(n, weight.size), bias=bias, **_modulation(modulation), dmodulation=outs[3],
        z=np.empty(workers * p * g * k, x.dtype),
    )  # fmt: skip
    then = [(sum_blocks[x.dtype], 1)]
    return Call(_backward[x.dtype], table, out=outs, workers=workers, then=then)
