"""What norms are made of: passes over the rows of a sample, and their tables; see normalise.py.

The moments of groups take one pass. Sums of x - c and of its square, with a number c near the mean,
give both: var = sum (x - c)^2 / n - (mean - c)^2, which cancels nothing as long as c is not many
standard deviations away. c is the mean of a sample's first row; where that was too far off, the
pass is done again with the mean that it found. Back, sums of g and of g (x - c) pass along.
"""

from __future__ import annotations

import math

import numpy as np

from .bands import (
    all_rows,
    power_rows,
    scale_rows,
    sum_products,
    sum_squares,
    turn_rows,
    whole,
)
from .middle import TOGETHER, row_sums
from .reduce import SUM, fold_all, folded_groups
from .runtime import Table, array, both, doubles, inline, size_of, wide_vectors, word
from .short import add_products, add_times, fill, multiply

FAR = 4.0  # variances between a mean and c, squared, from which on the pass is done again
WIDE_ROWS, NARROW_ROWS = 5, 8  # of a worker's scratch: float64, and of the type of x

# `strips` share the groups of a sample; `wide` and `narrow` are each worker's scratch. The first
# words are the same in both tables. Back, a block has `samples` samples, and a row of `partial`
# for its sum of dweight and one for its sum of dbias.
COMMON = "n p g k strips eps x weight wide narrow"
FORWARD = Table(f"{COMMON} bias y")
BACKWARD = Table(f"{COMMON} above dx samples partial dweight dbias")


# ---- passes over a sample ------------------------------------------------------------------------
# In what follows `rows` starts at the first channel of a piece of work, and rows are `width` apart;
# sums, mean and all other arrays hold a number for each channel of the piece.


@inline
def means(kind, rows, p, width, k, sums, fast, mean):  # type: ignore[no-untyped-def]
    """mean = that of the channel's group in a sample of p rows."""
    row_sums(kind, rows, p, width, sums, fast)
    for c in range(0, mean.size, k):
        fill(mean[c : c + k], fold_all(SUM, sums[c : c + k]) / (p * k))


@inline
def squares(kind, rows, p, width, sums, fast, mean):  # type: ignore[no-untyped-def]
    """sums = sum of (x - mean)^2."""
    wide_vectors()
    count, size = mean.size, size_of(kind)
    done = whole(kind, count)
    for c in range(count):
        sums[c] = 0.0
    for start in range(0, p, TOGETHER):
        end = min(start + TOGETHER, p)
        x = rows.ctypes.data + start * width * size
        to = fast.ctypes.data
        sum_squares(kind, count, width * size, end - start, x, mean.ctypes.data, to)
        for c in range(done, count):
            fast[c] = 0
        for j in range(start if done < count else end, end):
            row = rows[j * width : j * width + count]
            for c in range(done, count):
                d = row[c] - mean[c]
                fast[c] += d * d
        for c in range(count):
            sums[c] += fast[c]


@inline
def products(kind, rows, above, p, width, sums, g_fast, d_fast, mean):  # type: ignore[no-untyped-def]
    """sums[0], sums[1] = sum of g, sum of g (x - mean)."""
    wide_vectors()
    count, size = mean.size, size_of(kind)
    done = whole(kind, count)
    g_sums, d_sums = sums[0], sums[1]
    for c in range(count):
        g_sums[c] = 0.0
        d_sums[c] = 0.0
    for start in range(0, p, TOGETHER):
        end, at = min(start + TOGETHER, p), start * width * size
        sum_products(
            kind, count, width * size, end - start, rows.ctypes.data + at, above.ctypes.data + at,
            mean.ctypes.data, g_fast.ctypes.data, d_fast.ctypes.data,
        )  # fmt: skip
        for c in range(done, count):
            g_fast[c] = 0
            d_fast[c] = 0
        for j in range(start if done < count else end, end):
            row, g = rows[j * width : j * width + count], above[j * width : j * width + count]
            for c in range(done, count):
                g_fast[c] += g[c]
                d_fast[c] += g[c] * (row[c] - mean[c])
        for c in range(count):
            g_sums[c] += g_fast[c]
            d_sums[c] += d_fast[c]


@inline
def scaled(kind, rows, out, p, width, mean, scale, bias):  # type: ignore[no-untyped-def]
    """y = (x - mean) scale + bias."""
    wide_vectors()
    count = mean.size
    done = whole(kind, count)
    scale_rows(
        kind, count, width * size_of(kind), p, rows.ctypes.data, mean.ctypes.data,
        scale.ctypes.data, bias.ctypes.data, out.ctypes.data,
    )  # fmt: skip
    for j in range(p if done < count else 0):
        row, to = rows[j * width : j * width + count], out[j * width : j * width + count]
        for c in range(done, count):
            to[c] = (row[c] - mean[c]) * scale[c] + bias[c]


@inline
def turned(kind, rows, above, out, p, width, mean, by_g, by_d, plus):  # type: ignore[no-untyped-def]
    """dx = g by_g + (x - mean) by_d + plus."""
    wide_vectors()
    count = mean.size
    done = whole(kind, count)
    turn_rows(
        kind, count, width * size_of(kind), p, rows.ctypes.data, above.ctypes.data,
        mean.ctypes.data, by_g.ctypes.data, by_d.ctypes.data, plus.ctypes.data, out.ctypes.data,
    )  # fmt: skip
    for j in range(p if done < count else 0):
        row, g = rows[j * width : j * width + count], above[j * width : j * width + count]
        to = out[j * width : j * width + count]
        for c in range(done, count):
            to[c] = g[c] * by_g[c] + ((row[c] - mean[c]) * by_d[c] + plus[c])


# ---- moments of groups in one pass ---------------------------------------------------------------


@inline
def _centred(offs, vars, size):  # type: ignore[no-untyped-def]
    """From sums of x - c and of (x - c)^2: means, variances, and how many are too far off."""
    far = 0
    for c in range(offs.size):
        off = offs[c] / size
        var = vars[c] / size - off * off
        var = 0.0 if var < 0 else var
        far += 1 if off * off > FAR * var else 0
        offs[c] = off
        vars[c] = var
    return far


@inline
def _moved(mean, offs):  # type: ignore[no-untyped-def]
    """mean = mean + off; offs become what the old mean is above the new one."""
    for c in range(mean.size):
        before = mean[c]
        mean[c] = before + offs[c]
        offs[c] = before - np.float64(mean[c])


@inline
def _rates(vars, eps, rates):  # type: ignore[no-untyped-def]
    for c in range(rates.size):
        rates[c] = 1.0 / math.sqrt(vars[c] + eps)


@inline
def _settled(mean, k, size, eps, sums, rates):  # type: ignore[no-untyped-def]
    """From sums about `mean`: the means, 1 / sqrt(var + eps), and whether they can be trusted.

    sums: of g, g (x - c), x - c, (x - c)^2; the second becomes that about the new means.
    """
    wide_vectors()
    folded_groups(eps, sums[2], k, sums[2])
    folded_groups(eps, sums[3], k, sums[3])
    far = _centred(sums[2], sums[3], size)
    _moved(mean, sums[2])
    _rates(sums[3], eps, rates)
    add_products(sums[0], sums[2], sums[1])
    return far == 0


@inline
def _first_mean(kind, row, k, mean):  # type: ignore[no-untyped-def]
    """mean = that of the channel's group in a row."""
    wide_vectors()
    folded_groups(kind, row, k, mean)
    for c in range(mean.size):
        mean[c] = mean[c] / k


@inline
def moments(kind, rows, p, width, k, eps, sums, own, mean, rates):  # type: ignore[no-untyped-def]
    """mean and rates = 1 / sqrt(var + eps) of the channel's group in a sample of p rows."""
    wide_vectors()
    count, size = mean.size, size_of(kind)
    done = whole(kind, count)
    _first_mean(kind, rows[:count], k, mean)
    fill(sums[0], 0.0)
    fill(sums[1], 0.0)
    for _ in range(2):
        fill(sums[2], 0.0)
        fill(sums[3], 0.0)
        for start in range(0, p, TOGETHER):
            end = min(start + TOGETHER, p)
            power_rows(
                kind, count, width * size, end - start, rows.ctypes.data + start * width * size,
                mean.ctypes.data, own[0].ctypes.data, own[1].ctypes.data,
            )  # fmt: skip
            for c in range(done, count):
                own[0][c] = 0
                own[1][c] = 0
            for j in range(start if done < count else end, end):
                row = rows[j * width : j * width + count]
                for c in range(done, count):
                    d = row[c] - mean[c]
                    own[0][c] += d
                    own[1][c] += d * d
            add_times(own[0], 1.0, sums[2])
            add_times(own[1], 1.0, sums[3])
        if _settled(mean, k, p * k, eps, sums, rates):
            break


@inline
def all_moments(kind, rows, above, p, width, k, eps, sums, own, mean, rates):  # type: ignore[no-untyped-def]
    """The same, and sums[0], sums[1] = sum of g, sum of g (x - mean)."""
    wide_vectors()
    count, size = mean.size, size_of(kind)
    done = whole(kind, count)
    _first_mean(kind, rows[:count], k, mean)
    for _ in range(2):
        for i in range(4):
            fill(sums[i], 0.0)
        for start in range(0, p, TOGETHER):
            end, at = min(start + TOGETHER, p), start * width * size
            all_rows(
                kind, count, width * size, end - start, rows.ctypes.data + at,
                above.ctypes.data + at, mean.ctypes.data, own[0].ctypes.data, own[1].ctypes.data,
                own[6].ctypes.data, own[7].ctypes.data,
            )  # fmt: skip
            for c in range(done, count):
                own[0][c] = 0
                own[1][c] = 0
                own[6][c] = 0
                own[7][c] = 0
            for j in range(start if done < count else end, end):
                row, g = rows[j * width : j * width + count], above[j * width : j * width + count]
                for c in range(done, count):
                    d = row[c] - mean[c]
                    own[0][c] += g[c]
                    own[1][c] += g[c] * d
                    own[6][c] += d
                    own[7][c] += d * d
            add_times(own[0], 1.0, sums[0])
            add_times(own[1], 1.0, sums[1])
            add_times(own[6], 1.0, sums[2])
            add_times(own[7], 1.0, sums[3])
        if _settled(mean, k, p * k, eps, sums, rates):
            break


# ---- tables, shares and scratch ------------------------------------------------------------------


@inline
def sizes_of(args):  # type: ignore[no-untyped-def]
    """n, p, g, k and the strips."""
    n, p, g, k = (
        word(args, FORWARD.n), word(args, FORWARD.p), word(args, FORWARD.g), word(args, FORWARD.k)
    )  # fmt: skip
    return n, p, g, k, word(args, FORWARD.strips)


@inline
def given(args, kind):  # type: ignore[no-untyped-def]
    """Forward: x, weight, bias and y."""
    n, p, g, k, _ = sizes_of(args)
    size, width = n * p * g * k, g * k
    return (
        array(kind, args, FORWARD.x, size),
        array(kind, args, FORWARD.weight, width),
        array(kind, args, FORWARD.bias, width),
        array(kind, args, FORWARD.y, size),
    )


@inline
def given_back(args, kind):  # type: ignore[no-untyped-def]
    """Back: x, weight, the cotangent and dx."""
    n, p, g, k, _ = sizes_of(args)
    size, width = n * p * g * k, g * k
    return (
        array(kind, args, BACKWARD.x, size),
        array(kind, args, BACKWARD.weight, width),
        array(kind, args, BACKWARD.above, size),
        array(kind, args, BACKWARD.dx, size),
    )


@inline
def blocks_of(args):  # type: ignore[no-untyped-def]
    """How many blocks of samples there are, and their sums of dweight and dbias."""
    n, _, g, k, _ = sizes_of(args)
    samples = word(args, BACKWARD.samples)
    blocks = (n + samples - 1) // samples
    return blocks, doubles(args, BACKWARD.partial, 2 * blocks * g * k)


@inline
def strip_of(piece, strips, g, k):  # type: ignore[no-untyped-def]
    """A piece of work: the number of its sample or block, its first channel, and the end."""
    i = piece // strips
    strip = piece - i * strips
    return i, g * strip // strips * k, g * (strip + 1) // strips * k


@inline
def cleared(partial, block, width, c0, c1):  # type: ignore[no-untyped-def]
    """The sums dweight and dbias of a block's channels c0:c1, as zeros."""
    dweight = partial[2 * block * width + c0 : 2 * block * width + c1]
    dbias = partial[(2 * block + 1) * width + c0 : (2 * block + 1) * width + c1]
    fill(dweight, 0.0)
    fill(dbias, 0.0)
    return dweight, dbias


@inline
def scratch(worker, workers, args, kind, width, count):  # type: ignore[no-untyped-def]
    """A worker's rows of `count` numbers: of float64, and of the type of x."""
    wide = doubles(args, FORWARD.wide, workers * WIDE_ROWS * width)
    narrow = array(kind, args, FORWARD.narrow, workers * NARROW_ROWS * width)
    sums, own = wide[worker * WIDE_ROWS * width :], narrow[worker * NARROW_ROWS * width :]
    sums, own = sums[: WIDE_ROWS * count], own[: NARROW_ROWS * count]
    return sums.reshape(WIDE_ROWS, count), own.reshape(NARROW_ROWS, count)


@inline
def _by_d(hd_sums, rates, size, to):  # type: ignore[no-untyped-def]
    for c in range(to.size):
        r = rates[c]
        to[c] = -(hd_sums[c] / size) * r * r * r


@inline
def _plus(h_sums, rates, size, to):  # type: ignore[no-untyped-def]
    for c in range(to.size):
        to[c] = -(h_sums[c] / size) * rates[c]


@inline
def factors(k, size, rates, weight, sums, own, dweight, dbias):  # type: ignore[no-untyped-def]
    """What groups of `size` numbers, k channels each, add to dweight and dbias; their factors.

    sums[0], sums[1]: of g, and of g (x - mean); rates: 1 / sqrt(var + eps).
    """
    wide_vectors()
    g_sums, d_sums, h_sums, hd_sums = sums[0], sums[1], sums[2], sums[3]
    add_times(g_sums, 1.0, dbias)
    add_products(d_sums, rates, dweight)
    multiply(g_sums, weight, h_sums)
    multiply(d_sums, weight, hd_sums)
    multiply(weight, rates, own[3])
    folded_groups(1.0, h_sums, k, h_sums)
    folded_groups(1.0, hd_sums, k, hd_sums)
    _by_d(hd_sums, rates, size, own[4])
    _plus(h_sums, rates, size, own[5])


@both
def sum_blocks(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    """The blocks' gradients of weight and bias, added in order."""
    _, _, g, k, _ = sizes_of(args)
    width, (blocks, partial) = g * k, blocks_of(args)
    dweight = array(kind, args, BACKWARD.dweight, width)
    dbias = array(kind, args, BACKWARD.dbias, width)
    for c in range(width):
        a, b = 0.0, 0.0
        for block in range(blocks):
            a += partial[2 * block * width + c]
            b += partial[(2 * block + 1) * width + c]
        dweight[c] = a
        dbias[c] = b
