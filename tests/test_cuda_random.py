"""Random draws on the device: the bits of the references, for any key, base, offset and size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from strategies import AVAILABLE

import tinygen as tg
from tinygen import backend
from tinygen import random as tr

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

from tinygen_kernels.cuda import random as kernels

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
SIZES = (1, 3, 4, 5, 1021, 1024, 2050)  # a block of threads takes 1024 elements
DRAWS = [  # key, base, offset
    (7, 0, 0),
    (2**64 - 1, 2**64 - 1, 0),
    (2**63, 2**64 - 3, 5),
    (1, 2**32 - 1, 2),
    (1, 2**32 - 1, 2**63 + 9),
]


def counters(*values: int) -> list[Any]:
    return [np.array([v], dtype=np.uint64) for v in values]


def same(got: Any, want: Any) -> None:
    """The same dtype, shape and bits."""
    got = got.get()
    assert (got.dtype, got.shape, got.tobytes()) == (want.dtype, want.shape, want.tobytes())


@pytest.mark.parametrize(("key", "base", "offset"), DRAWS)
@pytest.mark.parametrize(("name", "static"), CASES, ids=IDS)
def test_draws(
    device: Any, name: str, static: dict[str, Any], key: int, base: int, offset: int
) -> None:
    arrays = counters(key, base)
    for size in SIZES:
        options = {"offset": offset, "shape": (size,), **static}
        want = getattr(tr, name).reference(XP, *arrays, **options)
        same(getattr(kernels, name)(*map(device.asarray, arrays), **options), want)


@pytest.mark.parametrize("n", [4 * 256 * 4096 + 5])
def test_more_words_than_threads(n: int) -> None:
    """Each thread takes a second block, and word numbers stay the flat index."""
    arrays = counters(3, 4)
    with tg.use_backend("emulated") as device:
        got = kernels.random_words(*map(device.asarray, arrays), offset=1, shape=(n,)).get()
    assert np.array_equal(got, tr.random_words.reference(XP, *arrays, offset=1, shape=(n,)))


@pytest.mark.parametrize("skip", [1, 2, 3])
@pytest.mark.parametrize(("name", "static"), CASES[:6], ids=IDS[:6])
def test_memory_that_starts_anywhere(
    device: Any, name: str, static: dict[str, Any], skip: int
) -> None:
    """`out` need not start at a multiple of 16 bytes; what lies around it stays."""
    arrays = counters(3, 4)
    options = {"offset": 1, "shape": (1029,), **static}
    want = getattr(tr, name).reference(XP, *arrays, **options)
    whole = np.zeros(1040, want.dtype)
    memory = device.asarray(whole)
    out = memory[skip : skip + 1029]
    assert getattr(kernels, name)(*map(device.asarray, arrays), **options, out=out) is out
    whole[skip : skip + 1029] = want
    same(memory, whole)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("key", "base", "offset"), DRAWS)
def test_dropout(device: Any, key: int, base: int, offset: int, dtype: Any) -> None:
    arrays = counters(key, base)
    k, b = map(device.asarray, arrays)
    for size in SIZES:
        x = np.random.default_rng(size).standard_normal(size).astype(dtype)
        x[: len(x) // 2 : 7] = np.nan
        x[1 : len(x) // 2 : 9] = -np.inf
        for p in (0.0, 0.3, 0.999):
            want = tr.dropout.reference(XP, x, *arrays, offset=offset, p=p)
            there = device.asarray(x)
            same(kernels.dropout(there, k, b, offset=offset, p=p), want)
        assert kernels.dropout(there, k, b, offset=offset, p=p, out=there) is there
        same(there, want)


def test_all_exponents_of_the_normal(device: Any) -> None:
    """Words near 0, 2^31 and 2^32 are rare, so the function is called on them itself."""
    from tinygen_kernels.cuda.runtime import Call, GeneratedSource, Launch

    code = """
        #include "random.cuh"
        __global__ void normals(double* out, const unsigned* words, long long n) {
            for (EACH(i, n)) out[i] = normal_of(words[i]);
        }
    """
    ends = [w + s for k in range(33) for w in (2**k, 2**32 - 2**k) for s in range(-3, 4)]
    words = np.array(sorted({w for w in ends if 0 <= w < 2**32}), dtype=np.uint32)
    source = GeneratedSource("normals.cuh", fused=False, code=code)
    out = device.asarray(np.empty(len(words)))
    args = (out, device.asarray(words), np.int64(len(words)))
    Call([Launch(source, "normals", (2,), (256,), args)], out)()
    same(out, tr._normal_of_words(XP, words))


@pytest.mark.parametrize(("name", "static"), [*CASES, ("dropout", {"p": 0.5})])
def test_base_and_key_are_read_when_the_call_runs(
    device: Any, name: str, static: dict[str, Any]
) -> None:
    key, base = counters(3, 4)
    options = {"offset": 1, **static}
    arrays = [key, base]
    if name == "dropout":
        arrays.insert(0, np.ones((6, 7), np.float32))
    else:
        options["shape"] = (6, 7)
    there = [device.asarray(a) for a in arrays]
    call = getattr(kernels, name).bind(*there, **options)
    for _ in range(3):
        call()
        same(call.out, getattr(tr, name).reference(XP, *arrays, **options))
        for a, by in ((base, 2**63 + 1), (key, 12345)):
            a += np.uint64(by)
        there[-2][:], there[-1][:] = device.asarray(key), device.asarray(base)


def test_advance_wraps(device: Any) -> None:
    (want,) = counters(2**64 - 3)
    base = device.asarray(want)
    for by in (1, 2**63, 2**64 - 1, 5, -2):
        assert kernels.advance(base, by=by) is base
        want += np.uint64(by % 2**64)
        same(base, want)


def test_a_generator_draws_the_same_on_the_device(device: Any) -> None:
    def draws() -> list[Any]:
        rng = tg.random.Generator(5)
        some = [rng.normal((3, 5)), rng.uniform(7), rng.integers(9, (2, 3)), rng.bernoulli(0.4, 9)]
        rng.settle()
        return [x.numpy() for x in (*some, rng.dropout(some[0], 0.5), rng.base)]

    before = device.hits.copy()
    here = draws()
    used = {name for name in device.hits if device.hits[name] > before[name]}
    assert used >= {name for name, _ in CASES[1:]} | {"dropout", "advance"}
    with tg.use_backend("numpy"):
        for got, want in zip(here, draws(), strict=True):
            assert np.array_equal(got, want)


def test_what_cannot_be_served_is_declined(device: Any) -> None:
    key, base, x = (device.asarray(a) for a in (*counters(3, 4), np.ones((4, 6), np.float32)))
    words, dropout = kernels.random_words, kernels.dropout
    two = device.asarray(np.zeros(2, np.uint64))
    assert words(two, base, offset=0, shape=(4,)) is NotImplemented
    assert words(key, base.astype(np.int64), offset=0, shape=(4,)) is NotImplemented
    assert words(key, base, offset=0, shape=(0, 3)) is NotImplemented
    for out in (np.empty(5, np.uint32), np.empty(4, np.float32), np.empty(8, np.uint32)):
        there = device.asarray(out)
        there = there[::2] if out.size == 8 else there
        assert words(key, base, offset=0, shape=(4,), out=there) is NotImplemented
    for high in (0, 2**32 + 1):
        call = kernels.random_integers(key, base, offset=0, shape=(4,), high=high)
        assert call is NotImplemented
    for other in (x.T, x.astype(np.int64), x[:0]):
        assert dropout(other, key, base, offset=0, p=0.5) is NotImplemented
    assert kernels.advance(two, by=1) is NotImplemented
