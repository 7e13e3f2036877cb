"""Random draws, and dropout, filled by all cores: to the bits of the references.

Word i of draw base + offset is that of Philox 4x32-10 (philox.py; the layout, and what a word
becomes, are defined in tinygen/random.py). Since a word depends on its number alone, workers take
shares of any size without a state between them. Words are made CHUNK at a time, stay in a core's
nearest cache, and become

    words      w
    uniform    (w >> 8) 2^-24                       exact in float32
    normal     u sqrt(P(u) / Q(u)), signed          u = -log2 of the two-sided tail, in float64
    bernoulli  (w >> 8) < limit                     limit = ceil(2^24 p)
    integers   (w high) >> 32
    dropout    x / (1 - p) where (w >> 8) >= limit, else 0

Every operation is rounded on its own, in the order of the reference: no product shares a rounding
with a sum. `normal` has no branch: the parts of a number are taken from its bits.

Key and base are read when a call runs, not when it is bound: a plan replays it with a moved base.
A reference makes some sixty passes over small arrays, so that a kernel wins from one word on.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from ..binding import kernel
from .philox import SPARE, fill_words
from .runtime import (
    Call,
    Table,
    array,
    both_exact,
    exact,
    first,
    int64_pointer,
    native_exact,
    number,
    uint8_pointer,
    uint32_pointer,
    uint64_pointer,
    word,
    workers_for,
)  # fmt: skip

CHUNK = 1024
EIGHT, HALF = np.uint32(8), np.uint64(32)
_TOP, _UNITS = np.int64(0x3FE << 52), np.int64(0x433 << 52)  # exponents of [1/2, 1), [2^52, 2^53)
_FRACTION, _EXPONENT = np.int64((1 << 52) - 1), np.int64(0x7FF)
_DOUBLE, _LONG = ir.DoubleType(), ir.IntType(64)

# ---- what words become: loops that become vector code --------------------------------------------
# `more` are the numbers of the law: bernoulli's limit, the integers' high, dropout's limit.

DRAW = Table("key base offset n out more x by")


@intrinsic
def _bits(typing: Any, x: Any) -> Any:
    """The bits of a float64 as an int64."""
    return types.int64(types.float64), lambda c, b, s, a: b.bitcast(a[0], _LONG)


@intrinsic
def _from_bits(typing: Any, x: Any) -> Any:
    """The float64 with these bits."""
    return types.float64(types.int64), lambda c, b, s, a: b.bitcast(a[0], _DOUBLE)


@exact
def _to_words(words, y):  # type: ignore[no-untyped-def]
    for i in range(y.size):
        y[i] = words[i]


@exact
def _to_uniform(words, y):  # type: ignore[no-untyped-def]
    kind = y.dtype.type
    for i in range(y.size):
        y[i] = kind(np.int32(words[i] >> EIGHT)) * kind(2.0**-24)


@exact
def _to_normal(words, y):  # type: ignore[no-untyped-def]
    """The coefficients and the order of operations are those of tinygen.random."""
    for i in range(y.size):
        h = -0.5 - np.float64(np.int32(words[i]))
        b = _bits(h)
        e = _from_bits(((b >> 52) & _EXPONENT) | _UNITS) - (2.0**52 + 1022)  # |h| = m 2^e
        m = _from_bits((b & _FRACTION) | _TOP)
        r = (m - 1.0) / (m + 1.0)
        z = r * r
        p = z * 0.3611495316534145 + 0.30590518673588324
        p = p * z + 0.4132137396269725
        p = p * z + 0.5770443396136213
        p = p * z + 0.9617971700865757
        p = p * z + 2.885390079858712
        u = (31.0 - e) - r * p
        p = u * 1.3833917855877442 + 156.64337416248748
        p = p * u + 3763.276714618121
        p = p * u + 27508.63775501264
        p = p * u + 67892.86931321931
        p = p * u + 49651.33027078408
        q = u + 117.74493470721416
        q = q * u + 3111.28304757976
        q = q * u + 27450.89148835632
        q = q * u + 95427.78760206971
        q = q * u + 135562.6931563642
        q = q * u + 65790.04814907639
        y[i] = math.copysign(u * np.sqrt(p / q), h)


@exact
def _to_bernoulli(words, y, args):  # type: ignore[no-untyped-def]
    limit = np.uint32(word(args, DRAW.more))
    for i in range(y.size):
        y[i] = (words[i] >> EIGHT) < limit


@exact
def _to_integers(words, y, args):  # type: ignore[no-untyped-def]
    high = np.uint64(word(args, DRAW.more))
    for i in range(y.size):
        y[i] = (np.uint64(words[i]) * high) >> HALF


@exact
def _drop(words, x, y, args):  # type: ignore[no-untyped-def]
    limit = np.uint32(word(args, DRAW.more))
    by, zero = y.dtype.type(number(args, DRAW.by)), y.dtype.type(0)
    for i in range(y.size):
        kept = x[i] / by
        y[i] = kept if (words[i] >> EIGHT) >= limit else zero


# ---- a worker's share ----------------------------------------------------------------------------


@exact
def _starts(n, worker, workers):  # type: ignore[no-untyped-def]
    """Where the pieces of a worker's share start; at multiples of 4, so at a word numbered 0."""
    return range(first(n, worker, workers), first(n, worker + 1, workers), CHUNK)


@exact
def _piece(words, args, out, start, worker, workers):  # type: ignore[no-untyped-def]
    """The piece of `out` at `start`; its words are made."""
    stop = min(start + CHUNK, first(out.size, worker + 1, workers))
    draw = uint64_pointer(word(args, DRAW.base))[0] + np.uint64(word(args, DRAW.offset))  # wraps
    fill_words(words, uint64_pointer(word(args, DRAW.key))[0], draw, start, stop - start)
    return out[start:stop]


@native_exact
def _words(worker, workers, args):  # type: ignore[no-untyped-def]
    n, words = word(args, DRAW.n), np.empty(CHUNK + SPARE, np.uint32)
    out = carray(uint32_pointer(word(args, DRAW.out)), n)
    for i in _starts(n, worker, workers):
        _to_words(words, _piece(words, args, out, i, worker, workers))


@both_exact
def _uniform(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    n, words = word(args, DRAW.n), np.empty(CHUNK + SPARE, np.uint32)
    out = array(kind, args, DRAW.out, n)
    for i in _starts(n, worker, workers):
        _to_uniform(words, _piece(words, args, out, i, worker, workers))


@both_exact
def _normal(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    n, words = word(args, DRAW.n), np.empty(CHUNK + SPARE, np.uint32)
    out = array(kind, args, DRAW.out, n)
    for i in _starts(n, worker, workers):
        _to_normal(words, _piece(words, args, out, i, worker, workers))


@native_exact
def _bernoulli(worker, workers, args):  # type: ignore[no-untyped-def]
    n, words = word(args, DRAW.n), np.empty(CHUNK + SPARE, np.uint32)
    out = carray(uint8_pointer(word(args, DRAW.out)), n)
    for i in _starts(n, worker, workers):
        _to_bernoulli(words, _piece(words, args, out, i, worker, workers), args)


@native_exact
def _integers(worker, workers, args):  # type: ignore[no-untyped-def]
    n, words = word(args, DRAW.n), np.empty(CHUNK + SPARE, np.uint32)
    out = carray(int64_pointer(word(args, DRAW.out)), n)
    for i in _starts(n, worker, workers):
        _to_integers(words, _piece(words, args, out, i, worker, workers), args)


@both_exact
def _dropout(worker, workers, args, kind):  # type: ignore[no-untyped-def]
    n, words = word(args, DRAW.n), np.empty(CHUNK + SPARE, np.uint32)
    out, x = array(kind, args, DRAW.out, n), array(kind, args, DRAW.x, n)
    for i in _starts(n, worker, workers):
        y = _piece(words, args, out, i, worker, workers)
        _drop(words, x[i : i + y.size], y, args)


ADVANCE = Table("base by")


@native_exact
def _advance(worker, workers, args):  # type: ignore[no-untyped-def]
    base, by = uint64_pointer(word(args, ADVANCE.base)), word(args, ADVANCE.by)
    base[0] += np.uint64(by)  # wraps at 2^64


# ---- the operations ------------------------------------------------------------------------------

# A word costs as much as moving so many elements: when to share the work.
_WORD_COST, _NORMAL_COST = 4, 12


def _bind(
    function: Any, key: Any, base: Any, offset: int, shape: Any, dtype: Any, out: Any,
    more: int = 0, x: Any = 0, by: float = 1.0, cost: int = _WORD_COST,
) -> Any:  # fmt: skip
    if any(a.dtype != np.uint64 or a.size != 1 for a in (key, base)):
        return NotImplemented
    if out is None:
        out = np.empty(shape, dtype)
    if out.shape != tuple(shape) or out.dtype != dtype or not out.flags.c_contiguous:
        return NotImplemented
    table = DRAW.fill(
        key=key, base=base, offset=_wrapped(offset), n=out.size, out=out, more=more, x=x, by=by
    )
    return Call(function, table, out=out, workers=workers_for(cost * out.size))


def _wrapped(n: int) -> int:
    """A number of 64 bits as the table's int64."""
    return (n + 2**63) % 2**64 - 2**63


def _limit(p: float) -> int:
    """How many of the 2^24 values of `uniform` are below p."""
    return min(max(math.ceil(p * 2.0**24), 0), 1 << 24)


@kernel
def random_words(key: Any, base: Any, *, offset: int, shape: Any, out: Any = None) -> Any:
    return _bind(_words, key, base, offset, shape, np.uint32, out)


@kernel
def random_uniform(
    key: Any, base: Any, *, offset: int, shape: Any, dtype: str, out: Any = None
) -> Any:
    return _bind(_uniform[dtype], key, base, offset, shape, np.dtype(dtype), out)


@kernel
def random_normal(
    key: Any, base: Any, *, offset: int, shape: Any, dtype: str, out: Any = None
) -> Any:
    return _bind(_normal[dtype], key, base, offset, shape, np.dtype(dtype), out, cost=_NORMAL_COST)


@kernel
def random_bernoulli(
    key: Any, base: Any, *, offset: int, shape: Any, p: float, out: Any = None
) -> Any:
    return _bind(_bernoulli, key, base, offset, shape, np.bool_, out, _limit(p))


@kernel
def random_integers(
    key: Any, base: Any, *, offset: int, shape: Any, high: int, out: Any = None
) -> Any:
    if not 1 <= high <= 2**32:
        return NotImplemented
    return _bind(_integers, key, base, offset, shape, np.int64, out, high)


@kernel
def dropout(x: Any, key: Any, base: Any, *, offset: int, p: float, out: Any = None) -> Any:
    if x.dtype not in (np.float32, np.float64) or not x.flags.c_contiguous:
        return NotImplemented
    by = float(1.0 - p)
    return _bind(_dropout[x.dtype], key, base, offset, x.shape, x.dtype, out, _limit(p), x, by)


@kernel(eager_from=1 << 62)  # for plans, whose list of kernels it would cut in two
def advance(base: Any, *, by: int, out: Any = None) -> Any:
    if base.dtype != np.uint64 or base.size != 1:
        return NotImplemented
    return Call(_advance, ADVANCE.fill(base=base, by=_wrapped(by)), out=base)
