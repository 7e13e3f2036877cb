"""Kernels for random draws: the bits of the references, for any share, draw number and size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
import numba

from tinygen import backend
from tinygen import random as tr
from tinygen_kernels.cpu import random as kernels

XP = backend.get("numpy").xp
CASES: list[tuple[str, dict[str, Any]]] = [
    ("random_words", {}),
    ("random_uniform", {"dtype": "float32"}),
    ("random_uniform", {"dtype": "float64"}),
    ("random_normal", {"dtype": "float32"}),
    ("random_normal", {"dtype": "float64"}),
    ("random_bernoulli", {"p": 0.3}),
    ("random_bernoulli", {"p": 0.0}),
    ("random_bernoulli", {"p": 1.0}),
    ("random_integers", {"high": 1}),
    ("random_integers", {"high": 1000}),
    ("random_integers", {"high": 2**32}),
]
IDS = [" ".join([name, *map(str, static.values())]) for name, static in CASES]
SIZES = (0, 1, 3, 4, 5, 1000, 100_003)
DRAWS = [(7, 0, 0), (2**64 - 1, 2**64 - 1, 0), (2**63, 2**64 - 3, 5), (1, 2**32 - 1, 2**63 + 9)]


def counters(*values: int) -> list[Any]:
    return [np.array([v], dtype=np.uint64) for v in values]


def same(got: Any, want: Any) -> None:
    """The same dtype, shape and bits."""
    assert (got.dtype, got.shape, got.tobytes()) == (want.dtype, want.shape, want.tobytes())


@pytest.mark.parametrize(("key", "base", "offset"), DRAWS)
@pytest.mark.parametrize(("name", "static"), CASES, ids=IDS)
def test_draws(name: str, static: dict[str, Any], key: int, base: int, offset: int) -> None:
    arrays = counters(key, base)
    for size in SIZES:
        options = {"offset": offset, "shape": (size,), **static}
        want = getattr(tr, name).reference(XP, *arrays, **options)
        same(getattr(kernels, name)(*arrays, **options), want)
        call = getattr(kernels, name).bind(*arrays, **options)
        for workers in (1, 2, 4):
            call.out.view("u1")[...] = 0xA5
            call.rows[0, 2] = workers
            call()
            same(call.out, want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("key", "base", "offset"), DRAWS)
def test_dropout(key: int, base: int, offset: int, dtype: Any) -> None:
    arrays = counters(key, base)
    for size in SIZES:
        x = np.random.default_rng(size).standard_normal(size).astype(dtype)
        x[: len(x) // 2 : 7] = np.nan
        x[1 : len(x) // 2 : 9] = -np.inf
        for p in (0.0, 0.3, 0.999):
            want = tr.dropout.reference(XP, x, *arrays, offset=offset, p=p)
            for workers in (1, 2, 4):
                call = kernels.dropout.bind(x, *arrays, offset=offset, p=p)
                call.rows[0, 2] = workers
                call()
                same(call.out, want)
        call = kernels.dropout.bind(x, *arrays, offset=offset, p=p, out=x)
        call()
        same(x, want)


@numba.njit(error_model="numpy")
def normals(words: Any, out: Any) -> None:
    """A way in: helpers of kernels have none of their own."""
    kernels._to_normal(words, out)


def test_large_word_numbers_and_all_exponents_of_the_normal() -> None:
    """Words near 0, 2^31 and 2^32 are rare: `_to_normal` is called on them itself."""
    ends = [w + s for k in range(33) for w in (2**k, 2**32 - 2**k) for s in range(-3, 4)]
    words = np.array(sorted({w for w in ends if 0 <= w < 2**32}), dtype=np.uint32)
    for dtype in ("float32", "float64"):
        got = np.empty(len(words), dtype)
        normals(words, got)
        same(got, tr._normal_of_words(XP, words).astype(dtype))


@pytest.mark.parametrize(("name", "static"), [*CASES, ("dropout", {"p": 0.5})])
def test_base_and_key_are_read_when_the_call_runs(name: str, static: dict[str, Any]) -> None:
    key, base = counters(3, 4)
    options = {"offset": 1, **static}
    arrays = [key, base]
    if name == "dropout":
        arrays.insert(0, np.ones((6, 7), np.float32))
    else:
        options["shape"] = (6, 7)
    call = getattr(kernels, name).bind(*arrays, **options)
    for _ in range(3):
        call()
        same(call.out, getattr(tr, name).reference(XP, *arrays, **options))
        base += np.uint64(2**63 + 1)
        key += np.uint64(12345)


def test_advance_wraps() -> None:
    base, want = np.array([2**64 - 3], np.uint64), np.array([2**64 - 3], np.uint64)
    for by in (1, 2**63, 2**64 - 1, 5):
        call = kernels.advance.bind(base, by=by)
        call()
        tr.advance.reference(XP, want, by=by)
        same(base, want)
    assert kernels.advance.bind(np.zeros(2, np.uint64), by=1) is NotImplemented


def test_what_cannot_be_served_is_declined() -> None:
    key, base = counters(3, 4)
    x = np.ones((4, 6), np.float32)
    words, dropout = kernels.random_words, kernels.dropout
    two = np.zeros(2, np.uint64)
    assert words(two, base, offset=0, shape=(4,)) is NotImplemented
    assert words(key, base.astype(np.int64), offset=0, shape=(4,)) is NotImplemented
    wrong = (np.empty(5, np.uint32), np.empty(4, np.float32), np.empty(8, np.uint32)[::2])
    for out in wrong:
        assert words.bind(key, base, offset=0, shape=(4,), out=out) is NotImplemented
    for high in (0, 2**32 + 1):
        call = kernels.random_integers(key, base, offset=0, shape=(4,), high=high)
        assert call is NotImplemented
    assert dropout(x.T, key, base, offset=0, p=0.5) is NotImplemented
    assert dropout(x.astype(np.int64), key, base, offset=0, p=0.5) is NotImplemented


def test_shapes_without_axes_and_with_several() -> None:
    key, base = counters(3, 4)
    for shape in ((), (0, 3), (2, 3, 5)):
        options = {"offset": 0, "shape": shape, "dtype": "float32"}
        want = tr.random_normal.reference(XP, key, base, **options)
        same(kernels.random_normal(key, base, **options), np.asarray(want))
