"""Random numbers that are the same everywhere: counter-based, split into streams, resumable.

Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC'11) turns a 128-bit counter and a 64-bit key into four 32-bit words, with no state in between.
The layout (STREAM_VERSION) puts word i of draw d of the stream with key k at

    philox(counter = (b low, b high, d low, d high), key = (k low, k high))[i mod 4],  b = i div 4

so that an element depends on (seed, stream, draw, i) alone: the first ten elements of a draw are
the same however many are drawn, drawing from one stream never changes another, and a backward
pass recomputes a dropout mask instead of keeping it. What a word becomes is integer arithmetic
or float64 + - * / sqrt in a fixed order: the same bits in NumPy, C, JavaScript or on a GPU.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import operator
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from . import backend as backends
from .backend import Array
from .events import state
from .primitive import primitive
from .tensor import Tensor

__all__ = ["STREAM_VERSION", "Generator", "default_generator", "dropout", "manual_seed"]

STREAM_VERSION = 1

# ---- Philox 4x32-10 ---------------------------------------------------------------------------

_LOW = 0xFFFFFFFF
_MULTIPLY = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key in each round: the golden ratio, sqrt(3) - 1


def philox(x0: Any, x1: Any, x2: Any, x3: Any, k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:
    """The four 32-bit words of a counter (x0, x1, x2, x3) under a key (k0, k1).

    Ten rounds of (x0, x1, x2, x3) -> (hi(b x2) ^ x1 ^ k0, lo(b x2), hi(a x0) ^ x3 ^ k1, lo(a x0)).
    All arguments are 32-bit values, as Python integers or as uint64 arrays that broadcast.
    """
    for _ in range(10):
        a, b = x0 * _MULTIPLY[0], x2 * _MULTIPLY[1]
        x0, x1, x2, x3 = (b >> 32) ^ x1 ^ k0, b & _LOW, (a >> 32) ^ x3 ^ k1, a & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return x0, x1, x2, x3


_LANES = 8192  # counters worked on together, four words each: the buffers stay in a core's cache
_PIECE = 8192  # words turned into numbers at a time, so that temporaries stay there too
_LITTLE, _BIG = (0, 1) if sys.byteorder == "little" else (1, 0)
_A, _B = (np.array(m, dtype=np.uint64) for m in _MULTIPLY)


class _Workspace(threading.local):
    """The buffers of the blocked form, kept by each thread."""

    def __init__(self) -> None:
        self.counter = np.arange(_LANES, dtype=np.uint64)
        self.pairs = np.empty((3, 2 * _LANES), dtype=np.uint64)
        self.out = np.empty((_LANES, 4), dtype=np.uint32)


_workspace = _Workspace()


def _round_keys(key: int) -> list[tuple[Array, Array]]:
    """The ten pairs of round keys, as 0-d arrays (which NumPy takes faster than numbers)."""
    rounds = [((key + i * _WEYL[0]) & _LOW, ((key >> 32) + i * _WEYL[1]) & _LOW) for i in range(10)]
    return [(pair[0, ...], pair[1, ...]) for pair in np.array(rounds, dtype=np.uint64)]


def _block(keys: list[tuple[Array, Array]], draw: int, start: int, count: int) -> Array:
    """Words start ... start + count of a draw, in the workspace: valid until the next call.

    The rounds of `philox` with nothing allocated. Flat buffers of 64-bit numbers hold pairs:
    `even` x0 then x2, `odd` b x2 then a x0 of the round before, whose low halves are x1 and x3.
    The halves are 32-bit views, and so the upper ones of `even` stay zero.
    """
    n = (count + 3) // 4
    even, odd, product = (_views(pair[: 2 * n], n) for pair in _workspace.pairs)
    x0, x2, even_low, _ = even
    np.add(_workspace.counter[:n], np.uint64(start // 4 & _LOW), out=x0)
    x2[:] = draw & _LOW
    odd[0][:] = start // 4 >> 32
    odd[1][:] = draw >> 32
    for k0, k1 in keys:
        np.multiply(x2, _B, product[0])
        np.multiply(x0, _A, product[1])
        np.bitwise_xor(product[3], odd[2], even_low)
        np.bitwise_xor(x0, k0, x0)
        np.bitwise_xor(x2, k1, x2)
        odd, product = product, odd
    out, odd_low = _workspace.out[:n], odd[2]
    for i, word in enumerate((even_low[:n], odd_low[:n], even_low[n:], odd_low[n:])):
        out[:, i] = word
    return out.reshape(-1)[:count]


def _views(pair: Array, n: int) -> tuple[Array, Array, Array, Array]:
    """Of a buffer of pairs: the first numbers, the second ones, all low and all high halves."""
    halves = pair.view(np.uint32)
    return pair[:n], pair[n:], halves[_LITTLE::2], halves[_BIG::2]


def _words(xp: Any, key: Array, base: Array, offset: int, count: int) -> Array:
    """The first words of draw base + offset, in any array module."""
    block = xp.arange((count + 3) // 4).astype(xp.uint64)
    numbers = (block, base.reshape(1) + offset, key.reshape(1))
    out = philox(*(half for n in numbers for half in (n & _LOW, n >> 32)))
    return xp.stack(out, axis=1).astype(xp.uint32).reshape(-1)[:count]


def _draw(
    xp: Any,
    key: Array,
    base: Array,
    offset: int,
    shape: tuple[int, ...],
    dtype: Any,
    finish: Callable[[Array], Array],
) -> Array:
    """A draw of `shape`: finish(words), element by element, cast to `dtype`."""
    size = math.prod(shape)
    if xp.name != "numpy":
        return finish(_words(xp, key, base, offset, size)).astype(dtype).reshape(shape)
    out = np.empty(size, dtype=dtype)
    draw = (int(base.reshape(-1)[0]) + offset) & 0xFFFFFFFFFFFFFFFF
    keys = _round_keys(int(key.reshape(-1)[0]))
    for start in range(0, size, 4 * _LANES):
        words = _block(keys, draw, start, min(4 * _LANES, size - start))
        for i in range(0, len(words), _PIECE):
            piece = words[i : i + _PIECE]
            out[start + i : start + i + len(piece)] = finish(piece)
    return out.reshape(shape)


# ---- what words become ------------------------------------------------------------------------

# Made and checked by bench/derive_normal.py; highest power first. For m in [1/2, 1) and
# r = (m - 1) / (m + 1), log2(m) = r LOG2(r^2) within 5e-11; x = u sqrt(P(u) / Q(u)) within 2e-9.
_LOG2 = (
    0.3611495316534145,
    0.30590518673588324,
    0.4132137396269725,
    0.5770443396136213,
    0.9617971700865757,
    2.885390079858712,
)
_P = (
    1.3833917855877442,
    156.64337416248748,
    3763.276714618121,
    27508.63775501264,
    67892.86931321931,
    49651.33027078408,
)
_Q = (  # after a leading 1
    117.74493470721416,
    3111.28304757976,
    27450.89148835632,
    95427.78760206971,
    135562.6931563642,
    65790.04814907639,
)


def _horner(x: Array, total: Array, coefficients: Sequence[float]) -> Array:
    """((total x + c1) x + c2) x + ..., written into `total`."""
    for c in coefficients:
        total *= x
        total += c
    return total


def _normal_of_words(xp: Any, words: Array) -> Array:
    """The normal quantile at (w + 1/2) / 2^32, in float64: increasing in the word w.

    With h = -1/2 - w (w read as a signed number), |h| 2^-31 is the two-sided tail probability
    erfc(|x| / sqrt 2), which is 2^-u; u is its surprise in bits, and x = u sqrt(P(u) / Q(u)).
    """
    h = -0.5 - words.astype(xp.int32).astype(xp.float64)
    r, e = xp.frexp(xp.abs(h))
    z = r + 1.0
    r -= 1.0
    r /= z  # (m - 1) / (m + 1)
    z = r * r
    r *= _horner(z, z * _LOG2[0] + _LOG2[1], _LOG2[2:])  # log2(m)
    u = (31.0 - e) - r
    x = _horner(u, u * _P[0] + _P[1], _P[2:])
    x /= _horner(u, u + _Q[0], _Q[1:])
    return xp.copysign(u * xp.sqrt(x), h)


def _below(p: float) -> int:
    """The number of the 2^24 values of `uniform` that are less than p, exactly."""
    return math.ceil(p * 2.0**24)


# ---- the primitives ---------------------------------------------------------------------------
# Each is a function of (key, base): uint64 arrays with one element. The draw is base + offset.


@primitive(draws=True, nondiff="all")
def random_words(xp: Any, key: Array, base: Array, *, offset: int, shape: tuple[int, ...]) -> Array:
    """The raw 32-bit words of a draw, uint32."""
    return _draw(xp, key, base, offset, shape, xp.uint32, lambda words: words)


@primitive(draws=True, nondiff="all")
def random_uniform(
    xp: Any, key: Array, base: Array, *, offset: int, shape: tuple[int, ...], dtype: str
) -> Array:
    """(w >> 8) 2^-24 of each word: in [0, 1), the same values in float32 and float64."""
    kind = getattr(xp, dtype)
    return _draw(
        xp, key, base, offset, shape, kind, lambda words: (words >> 8).astype(kind) * 2.0**-24
    )


@primitive(draws=True, nondiff="all")
def random_normal(
    xp: Any, key: Array, base: Array, *, offset: int, shape: tuple[int, ...], dtype: str
) -> Array:
    """The standard normal quantile at (w + 1/2) / 2^32 of each word; see _normal_of_words."""
    kind = getattr(xp, dtype)
    return _draw(xp, key, base, offset, shape, kind, lambda words: _normal_of_words(xp, words))


@primitive(draws=True, nondiff="all")
def random_bernoulli(
    xp: Any, key: Array, base: Array, *, offset: int, shape: tuple[int, ...], p: float
) -> Array:
    """uniform < p, as booleans."""
    limit = _below(p)
    return _draw(xp, key, base, offset, shape, xp.bool_, lambda words: words >> 8 < limit)


@primitive(draws=True, nondiff="all")
def random_integers(
    xp: Any, key: Array, base: Array, *, offset: int, shape: tuple[int, ...], high: int
) -> Array:
    """(w high) >> 32 of each word, as int64 in [0, high)."""
    return _draw(
        xp, key, base, offset, shape, xp.int64, lambda words: words.astype(xp.uint64) * high >> 32
    )


@primitive(draws=True, nondiff="all")
def random_permutation(xp: Any, key: Array, base: Array, *, offset: int, n: int) -> Array:
    """The stable order of n 64-bit keys; key i is word 2i plus 2^32 times word 2i + 1."""
    words = _draw(xp, key, base, offset, (n, 2), xp.uint64, lambda words: words)
    return xp.argsort(words[:, 0] | words[:, 1] << 32, kind="stable").astype(xp.int64)


@primitive(pointwise=True, draws=True, nondiff=("key", "base"), floats=True)
def dropout(xp: Any, x: Array, key: Array, base: Array, *, offset: int, p: float) -> Array:
    """where(uniform >= p, x / (1 - p), 0): the mask is that of a draw, never stored."""
    limit = _below(p)
    keep = _draw(xp, key, base, offset, x.shape, xp.bool_, lambda words: words >> 8 >= limit)
    return xp.where(keep, x / (1.0 - p), xp.zeros((), x.dtype))


@dropout.check
def _(p: float) -> None:
    if not 0 <= p < 1:
        raise ValueError(f"dropout: p is {p}; expected the probability of a zero, 0 <= p < 1")


dropout.vjp(x=lambda g, key, base, offset, p: dropout(g, key, base, offset=offset, p=p))


@primitive(mutates=("base",))
def advance(xp: Any, base: Array, *, by: int) -> Array:
    """base += by, in place: the draws of a step are done, the next step draws other numbers."""
    base += by  # wraps at 2^64
    return base


# ---- generators -------------------------------------------------------------------------------

_TWEAK = 0x74696E7967656E31  # "tinygen1": sets the words that make keys apart from those drawn
_EXAMPLE = "expected an int or a tuple of ints >= 0, for example (64, 100)"


def _shape_of(where: str, shape: Any) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    try:
        if any(isinstance(n, bool) for n in sizes):
            raise TypeError
        out = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(f"{where}: shape is {shape!r}; {_EXAMPLE}") from None
    if any(n < 0 for n in out):
        raise ValueError(f"{where}: shape is {shape!r}; {_EXAMPLE}")
    return out


def _float_of(where: str, dtype: Any) -> str:
    try:
        name = str(np.dtype(dtype).name)
    except TypeError:
        name = ""
    if name not in ("float32", "float64") or dtype is None:
        raise TypeError(
            f"{where}: dtype is {dtype!r}; expected 'float32' or 'float64' "
            "(draw integers(high, shape) for whole numbers)"
        )
    return name


def _whole(where: str, name: str, value: Any, low: int, high: int, limits: str) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        out = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{where}: {name} is {value!r} ({type(value).__name__}); expected an int, {limits}"
        ) from None
    if not low <= out < high:
        raise ValueError(f"{where}: {name} is {value!r}; expected {limits}")
    return out


def _probability(where: str, p: Any) -> float:
    try:
        out = float(p)
    except (TypeError, ValueError):
        raise TypeError(f"{where}: p is {p!r}; expected one number, 0 <= p <= 1") from None
    if not 0 <= out <= 1:
        raise ValueError(f"{where}: p is {p!r}; expected 0 <= p <= 1")
    return out


class Generator:
    """A source of random numbers that depend on the seed, the stream and the position alone.

        rng = Generator(seed=0)
        rng.normal((64, 100))                   # float32, the same bits on every machine
        noise = rng.stream("noise")             # independent of everything rng itself draws
        rng.load_state_dict(noise.state_dict()) # continues where noise stands

    Each method call is one draw, numbered from 0; element i of draw d does not depend on the
    shape. Tensors are made on the backend that was current when the generator was made, or where
    the generator of a stream is.

    Args:
        seed: 0 <= seed < 2^64; the root key is the seed itself.

    Raises:
        TypeError, ValueError: the seed is not an int in that range.

    Attributes:
        key, base: uint64 tensors of shape (1,), the arguments of the primitives of this module.
        offset: draws made since `base`; the next one is number base + offset.

    Source: Salmon et al., SC'11 (Philox 4x32-10), in the layout given at the top of this module.
    """

    def __init__(self, seed: int) -> None:
        key = _whole("Generator", "seed", seed, 0, 2**64, "0 <= seed < 2**64")
        self._place(key, 0, backends.current().asarray)

    def _place(self, key: int, draws: int, asarray: Callable[[Any], Any]) -> None:
        self._key = key
        self.key = Tensor(asarray(np.array([key], dtype=np.uint64)))
        self.base = Tensor(asarray(np.array([draws], dtype=np.uint64)))
        self.offset = 0

    def _make(self, primitive: Any, *arrays: Any, **static: Any) -> Tensor:
        """Make the next draw, and count it."""
        for observer in state.observers:
            observer.drawing(self)
        if _left.get() < math.inf:
            _take(static.get("shape", ()))
        out: Tensor = primitive(*arrays, self.key, self.base, offset=self.offset, **static)
        self.offset += 1
        return out

    @property
    def draws(self) -> int:
        """The number of draws made so far: the position in the stream."""
        return (int(self.base.numpy()[0]) + self.offset) % 2**64

    def settle(self) -> None:
        """Move the draws counted on the host into `base`, in place, as a step does at its end.

        Gradients of a dropout drawn before are refused afterwards: its mask needs the old base.
        """
        advance(self.base, by=self.offset)
        self.offset = 0

    # ---- draws ---------------------------------------------------------------------------------

    def normal(self, shape: Any = (), dtype: Any = "float32") -> Tensor:
        """Standard normal numbers, x = Phi^-1((w + 1/2) / 2^32) for a 32-bit word w.

        Within 2e-9 of the exact quantile in float64 (|x| <= 6.34), then rounded to `dtype`.

        Args:
            shape: an int or a tuple; zero sizes and () are allowed.
            dtype: "float32" or "float64".

        Raises:
            TypeError, ValueError: a bad shape or dtype.
        """
        static = {"shape": _shape_of("normal", shape), "dtype": _float_of("normal", dtype)}
        return self._make(random_normal, **static)

    def uniform(self, shape: Any = (), dtype: Any = "float32") -> Tensor:
        """Uniform numbers in [0, 1): the top 24 bits of a word times 2^-24.

        float64 gives the same values as float32, multiples of 2^-24.

        Args:
            shape: an int or a tuple; zero sizes and () are allowed.
            dtype: "float32" or "float64".

        Raises:
            TypeError, ValueError: a bad shape or dtype.
        """
        static = {"shape": _shape_of("uniform", shape), "dtype": _float_of("uniform", dtype)}
        return self._make(random_uniform, **static)

    def bernoulli(self, p: float, shape: Any = ()) -> Tensor:
        """Booleans that are True with probability p: uniform < p.

        Uniform takes 2^24 values, so the probability is p rounded up to a multiple of 2^-24;
        0 never and 1 always gives True.

        Raises:
            TypeError, ValueError: p is not one number in [0, 1], or a bad shape.
        """
        static = {"shape": _shape_of("bernoulli", shape), "p": _probability("bernoulli", p)}
        return self._make(random_bernoulli, **static)

    def integers(self, high: int, shape: Any = ()) -> Tensor:
        """Whole numbers 0 <= n < high as int64: (w high) >> 32 for a 32-bit word w.

        The probability of each is within 2^-32 of 1 / high; exact where high is a power of two.

        Raises:
            TypeError, ValueError: high is not an int in 1 ... 2^32, or a bad shape.
        """
        static = {
            "shape": _shape_of("integers", shape),
            "high": _whole("integers", "high", high, 1, 2**32 + 1, "1 <= high <= 2**32"),
        }
        return self._make(random_integers, **static)

    def permutation(self, n: int) -> Tensor:
        """The numbers 0 ... n - 1 in random order, int64 of shape (n,): one draw.

        The stable order of n keys of 64 random bits each.

        Raises:
            TypeError, ValueError: n is not an int in 0 ... 2^31.
        """
        size = _whole("permutation", "n", n, 0, 2**31 + 1, "0 <= n <= 2**31")
        return self._make(random_permutation, n=size)

    def dropout(self, x: Tensor, p: float) -> Tensor:
        """Each element of x set to 0 with probability p, the others divided by 1 - p: one draw.

        where(uniform >= p, x / (1 - p), 0); the backward pass draws the same mask again.

        Raises:
            ValueError: p is not in [0, 1).
            TypeError: x is not floating-point.
        """
        return self._make(dropout, x, p=_probability("dropout", p))

    # ---- streams and state ---------------------------------------------------------------------

    def stream(self, name: str, index: int = 0) -> Generator:
        """An independent generator, a function of this one's key, `name` and `index` alone.

        Its key is the first two words of philox(counter = (h low, h high, index low, index high),
        key = this key xor "tinygen1"), h the first 8 bytes (little-endian) of SHA-256(name).

        Args:
            name: what the stream is for, for example "noise".
            index: 0 <= index < 2^64, for example the epoch, or the number of a picture.

        Raises:
            TypeError, ValueError: name is not a str, or index is not an int in that range.
        """
        if not isinstance(name, str):
            raise TypeError(f"stream: name is {name!r}; expected a str, for example 'noise'")
        i = _whole("stream", "index", index, 0, 2**64, "0 <= index < 2**64")
        h = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        key = self._key ^ _TWEAK
        words = philox(h & _LOW, h >> 32, i & _LOW, i >> 32, key & _LOW, key >> 32)
        with backends.use_backend(self.key.backend.name):
            return Generator(words[0] | words[1] << 32)

    def state_dict(self) -> dict[str, Any]:
        """Key (hexadecimal), position and layout version, fit for JSON; see load_state_dict."""
        return {"layout": STREAM_VERSION, "key": f"{self._key:#018x}", "draws": self.draws}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the generator that gave `state` stood, bit for bit.

        Raises:
            ValueError: a field is missing or malformed, or the layout is of another version.
        """
        where = "Generator.load_state_dict"
        lacking = [name for name in ("layout", "key", "draws") if name not in state]
        if lacking:
            raise ValueError(
                f"{where}: {', '.join(lacking)} missing from {state!r}; expected what "
                "Generator.state_dict() returns"
            )
        if state["layout"] != STREAM_VERSION:
            raise ValueError(
                f"{where}: the state has stream layout {state['layout']!r}, this version of "
                f"tinygen draws layout {STREAM_VERSION}, so the numbers would differ; use the "
                "version that wrote it, or start from a seed"
            )
        try:
            key = int(state["key"], 16)
        except (TypeError, ValueError):
            key = -1
        if not 0 <= key < 2**64:
            raise ValueError(
                f"{where}: key is {state['key']!r}; expected 64 bits in hexadecimal, "
                "for example '0x000000000000002a'"
            )
        draws = _whole(where, "draws", state["draws"], 0, 2**64, "0 <= draws < 2**64")
        self._place(key, draws, self.key.backend.asarray)

    def __repr__(self) -> str:
        return f"Generator(key={self._key:#018x}, draws={self.draws})"


# How many numbers may still be drawn, where they are the first values of weights from a file.
_left: ContextVar[float] = ContextVar("numbers left to draw", default=math.inf)


@contextlib.contextmanager
def at_most(numbers: float) -> Iterator[None]:
    """Within the block, draws of more numbers than that in all raise ValueError and take no memory.

    For a model whose sizes come from a file that may be damaged.
    """
    before = _left.set(numbers)
    try:
        yield
    finally:
        _left.reset(before)


def _take(shape: tuple[int, ...]) -> None:
    left = _left.get() - math.prod(shape)
    if left < 0:
        raise ValueError(f"a weight of shape {shape} is larger than all that was stored")
    _left.set(left)


class _Default(threading.local):
    generator: Generator | None = None


_default = _Default()


def default_generator() -> Generator:
    """The generator of this thread that is used where none is given; Generator(0) at first.

    It goes on where it stands when another backend becomes the current one.
    """
    known = _default.generator
    if known is None:
        known = _default.generator = Generator(0)
    elif known.key.backend is not backends.current():
        moved = _default.generator = Generator(0)
        moved.load_state_dict(known.state_dict())
        return moved
    return known


def known_default() -> Generator | None:
    """This thread's default generator, if it was ever asked for."""
    return _default.generator


def resolve(rng: Generator | None) -> Generator:
    """`rng` itself, or this thread's default generator for None; TypeError for anything else."""
    if rng is None:
        return default_generator()
    if not isinstance(rng, Generator):
        raise TypeError(
            f"rng is {rng!r}, expected a tinygen generator, for example tg.random.Generator(0)"
        )
    return rng


def manual_seed(seed: int) -> Generator:
    """Make Generator(seed) the default generator of this thread, and return it.

    Raises:
        TypeError, ValueError: the seed is not an int, 0 <= seed < 2^64.
    """
    _default.generator = Generator(seed)
    return _default.generator
