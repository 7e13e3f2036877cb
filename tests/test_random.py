"""Random numbers: known answers, layout, distributions, and the same bits as C and JavaScript."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import random as tr
from tinygen.backend.numpy import xp
from tinygen.random import Generator, philox

HERE = Path(__file__).parent
WORDS = st.integers(0, 2**32 - 1)
SEEDS = st.integers(0, 2**64 - 1)


def at(key: int, draws: int = 0) -> Generator:
    """A generator with this key, at this position."""
    rng = Generator(key)
    rng.load_state_dict({**rng.state_dict(), "draws": draws})
    return rng


def words_of(rng: Generator, count: int) -> Any:
    return tr.random_words(rng.key, rng.base, offset=rng.offset, shape=(count,)).numpy()


def definition(key: int, draw: int, i: int) -> int:
    """Word i of a draw, from the layout alone."""
    split = [(n & 0xFFFFFFFF, n >> 32) for n in (i // 4, draw, key)]
    return int(philox(*itertools.chain(*split))[i % 4])


# ---- Philox and the layout --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000",
         "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
         "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)  # fmt: skip
def test_known_answers(counter: str, key: str, expected: str) -> None:
    c, k = ([int(word, 16) for word in text.split()] for text in (counter, key))
    assert " ".join(f"{word:08x}" for word in philox(*c, *k)) == expected
    arrays = [np.array([word], dtype=np.uint64) for word in (*c, *k)]
    assert " ".join(f"{int(word[0]):08x}" for word in philox(*arrays)) == expected
    # The blocked form of NumPy: the counter is (block, draw), so word 0 of that block comes first.
    start, draw = 4 * (c[0] | c[1] << 32), c[2] | c[3] << 32
    block = tr._block(tr._round_keys(k[0] | k[1] << 32), draw, start, 4)
    assert " ".join(f"{int(word):08x}" for word in block) == expected


@given(SEEDS, SEEDS, st.integers(0, 100_000))
def test_layout_is_the_documented_one(key: int, draw: int, i: int) -> None:
    rng = at(key, draw)
    assert int(words_of(rng, i + 1)[-1]) == definition(key, draw, i)


@given(SEEDS, SEEDS, st.integers(0, 50))
def test_plain_form_for_other_array_modules(key: int, draw: int, count: int) -> None:
    plain = SimpleNamespace(**{**vars(xp), "name": "another"})
    arrays = [np.array([n], dtype=np.uint64) for n in (key, draw)]
    cases: tuple[tuple[Any, dict[str, Any]], ...] = (
        (tr.random_words, {}),
        (tr.random_uniform, {"dtype": "float32"}),
        (tr.random_normal, {"dtype": "float64"}),
        (tr.random_bernoulli, {"p": 0.3}),
        (tr.random_integers, {"high": 1000}),
    )
    for primitive, static in cases:
        static = {**static, "offset": 3, "shape": (count, 1)}
        one, other = (primitive.reference(module, *arrays, **static) for module in (xp, plain))
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_draw_number_wraps_without_a_warning() -> None:
    rng = at(5, 2**64 - 1)
    last, first = rng.uniform(4), rng.uniform(4)
    assert rng.draws == 1
    np.testing.assert_array_equal(first.numpy(), at(5, 0).uniform(4).numpy())
    assert not np.array_equal(last.numpy(), first.numpy())


METHODS: dict[str, Callable[[Generator, Any], Any]] = {
    "normal": lambda rng, shape: rng.normal(shape),
    "normal64": lambda rng, shape: rng.normal(shape, dtype="float64"),
    "uniform": lambda rng, shape: rng.uniform(shape),
    "bernoulli": lambda rng, shape: rng.bernoulli(0.4, shape),
    "integers": lambda rng, shape: rng.integers(1000, shape),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_longer_draw_begins_with_the_shorter_one(method: str) -> None:
    long = METHODS[method](at(1), 70_000).numpy()
    for shape in (0, 1, 3, 4, 5, (2, 3), (7, 1, 11), 16_384, 32_768, (33, 1000), ()):
        short = METHODS[method](at(1), shape).numpy()
        assert short.shape == (shape if isinstance(shape, tuple) else (shape,))
        np.testing.assert_array_equal(short.reshape(-1), long[: short.size])
    assert METHODS[method](at(1), (3, 0, 2)).shape == (3, 0, 2)


def test_golden_values_guard_the_stream_version() -> None:
    """If one of these changes, so must STREAM_VERSION: every stored seed means other numbers."""
    assert tr.STREAM_VERSION == 1
    rng = Generator(2024)
    assert [f"{w:08x}" for w in words_of(rng, 5)] == GOLDEN["words"]
    assert [float(x).hex() for x in rng.uniform(3).numpy()] == GOLDEN["uniform"]
    assert [float(x).hex() for x in rng.normal(3).numpy()] == GOLDEN["normal"]
    assert [float(x).hex() for x in rng.normal(2, dtype="float64").numpy()] == GOLDEN["normal64"]
    assert rng.bernoulli(0.5, 8).numpy().astype(int).tolist() == GOLDEN["bernoulli"]
    assert rng.integers(1000, 4).tolist() == GOLDEN["integers"]
    assert rng.permutation(8).tolist() == GOLDEN["permutation"]
    assert rng.stream("noise").state_dict()["key"] == GOLDEN["noise"]
    assert rng.stream("größe", 2**64 - 1).state_dict()["key"] == GOLDEN["größe"]


GOLDEN: dict[str, Any] = {
    "words": ["9a8b6b73", "44c09046", "fc0ea9b9", "15668c92", "58a614ef"],
    "uniform": ["0x1.3516d60000000p-1", "0x1.1302400000000p-2", "0x1.f81d520000000p-1"],
    "normal": ["-0x1.1018a00000000p-1", "0x1.57da440000000p-2", "-0x1.073c9a0000000p-3"],
    "normal64": ["0x1.f41f18eede970p-2", "-0x1.529fb2455a0f2p-2"],
    "bernoulli": [0, 1, 1, 0, 0, 0, 0, 0],
    "integers": [98, 684, 973, 534],
    "permutation": [3, 4, 7, 2, 0, 5, 1, 6],
    "noise": "0x09dd165713eaade0",
    "größe": "0x93a06ccb9e7ee595",
}


# ---- the same bits elsewhere ------------------------------------------------------------------


def run_reference(command: list[str], key: int, draw: int, count: int, folder: Path) -> bytes:
    out = folder / "values"
    with out.open("wb") as file:
        subprocess.run([*command, str(key), str(draw), str(count)], stdout=file, check=True)
    return out.read_bytes()


@pytest.fixture(scope="module")
def c_program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc, clang) on the path")
    program = tmp_path_factory.mktemp("c") / "random_reference"
    flags = ["-O2", "-ffp-contract=off", "-o", str(program)]
    source = str(HERE / "random_reference.c")
    subprocess.run([compiler, *flags, source, "-lm"], check=True)
    return [str(program)]


@pytest.fixture(scope="module")
def js_program() -> list[str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node on the path")
    return [node, str(HERE / "random_reference.js")]


@pytest.mark.parametrize("language", ["c", "js"])
def test_a_million_values_are_bit_equal(
    language: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    command = request.getfixturevalue(f"{language}_program")
    key, draw, count = 0x9E3779B97F4A7C15, 2**40 + 3, 1_000_000
    expected = run_reference(command, key, draw, count, tmp_path)
    values = (
        at(key, draw).uniform(count),
        at(key, draw).normal(count),
        at(key, draw).normal(count, dtype="float64"),
    )
    assert b"".join(v.numpy().tobytes() for v in values) == expected


# ---- what words become ------------------------------------------------------------------------


def quantile_error(words: list[int]) -> float:
    """The largest error of the normals of these words, by a Newton step on the exact tail."""
    xs = tr._normal_of_words(xp, np.array(words, dtype=np.uint32))
    worst = 0.0
    for w, x in zip(words, xs.tolist(), strict=True):
        tail = min(w + 0.5, 2**32 - w - 0.5) / 2**31
        density = 2 * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        worst = max(worst, abs(math.erfc(abs(x) / math.sqrt(2)) - tail) / density)
        assert (x > 0) == (w >= 2**31)
    return worst


def test_normal_of_extreme_words() -> None:
    edges = {2**k + d for k in range(33) for d in (-2, -1, 0, 1)}
    words = sorted(w for w in edges | {2**32 - 1 - e for e in edges} if 0 <= w < 2**32)
    assert quantile_error(words) < 3e-9
    values = tr._normal_of_words(xp, np.array(words, dtype=np.uint32))
    assert (np.diff(values) > 0).all()  # increasing in the word, also where the exponent changes
    np.testing.assert_array_equal(values[::-1], -values)
    assert values[-1] == pytest.approx(6.337957754554, abs=3e-9)  # Phi^-1(1 - 2^-33)
    assert values[len(values) // 2] == pytest.approx(2**-33 * math.sqrt(2 * math.pi), rel=1e-6)


def test_normal_is_the_quantile() -> None:
    assert quantile_error(list(range(99, 2**32, 2**32 // 20_000))) < 3e-9


def test_uniform_of_extreme_words_and_dtypes() -> None:
    x, y = at(3).uniform(100_000), at(3).uniform(100_000, dtype=np.float64)
    assert x.dtype == np.float32
    assert y.dtype == np.float64
    np.testing.assert_array_equal(x.numpy().astype(np.float64), y.numpy())
    words = words_of(at(3), 100_000)
    np.testing.assert_array_equal(y.numpy(), (words // 256) / 2**24)
    assert y.numpy().min() >= 0
    assert y.numpy().max() <= 1 - 2**-24


@given(st.floats(0, 1))
def test_bernoulli_is_uniform_below_p(p: float) -> None:
    u, b = at(8).uniform(64, dtype="float64"), at(8).bernoulli(p, 64)
    assert b.dtype == np.bool_
    np.testing.assert_array_equal(b.numpy(), u.numpy() < p)


def test_bernoulli_ends() -> None:
    assert not at(1).bernoulli(0, 10_000).numpy().any()
    assert at(1).bernoulli(1, 10_000).numpy().all()


@pytest.mark.parametrize("high", [1, 2, 3, 10, 1000, 2**24 + 1, 2**31, 2**32 - 1, 2**32])
def test_integers_are_scaled_words(high: int) -> None:
    values = at(4).integers(high, 1000)
    assert values.dtype == np.int64
    words = words_of(at(4), 1000).tolist()
    assert values.tolist() == [w * high >> 32 for w in words]


# ---- distributions, each on a fixed seed --------------------------------------------------------


def kolmogorov(values: Any, distribution: Callable[[float], float]) -> float:
    """sqrt(n) sup |F_n - F|: above 1.95 in one of a thousand seeds."""
    x = np.sort(values.astype(np.float64))
    f = np.array([distribution(v) for v in x.tolist()])
    n = len(x)
    gap = max((np.arange(1, n + 1) / n - f).max(), (f - np.arange(n) / n).max())
    return float(gap * math.sqrt(n))


def phi(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


def test_distributions() -> None:
    rng = Generator(11)
    n = 50_000
    x, u = rng.normal(n).numpy(), rng.uniform(n).numpy()
    assert kolmogorov(x, phi) < 1.95
    assert kolmogorov(u, lambda v: v) < 1.95
    wide = x.astype(np.float64)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((wide**power).mean() - moment) < 4 * math.sqrt(variance / n)
    assert abs(np.corrcoef(wide[:-1], wide[1:])[0, 1]) < 4 / math.sqrt(n)
    b = rng.bernoulli(0.2, n).numpy()
    assert abs(b.mean() - 0.2) < 4 * math.sqrt(0.16 / n)
    counts = np.bincount(rng.integers(10, n).numpy(), minlength=10)
    assert (10 / n * (counts - n / 10) ** 2).sum() < 27.9  # chi-square, 9 degrees, 0.1 %


def test_permutation() -> None:
    rng = Generator(6)
    for n in (0, 1, 2, 5, 1000, 40_000):
        p = rng.permutation(n)
        assert p.dtype == np.int64
        assert p.shape == (n,)
        np.testing.assert_array_equal(np.sort(p.numpy()), np.arange(n))
    words = words_of(at(6, 9), 20).astype(np.uint64).reshape(10, 2)
    order = sorted(range(10), key=lambda i: int(words[i, 0]) + 2**32 * int(words[i, 1]))
    assert at(6, 9).permutation(10).tolist() == order


def test_permutations_of_three_are_equally_likely() -> None:
    rng, n = Generator(7), 6000
    counts = dict.fromkeys(itertools.permutations(range(3)), 0)
    for _ in range(n):
        counts[tuple(rng.permutation(3).tolist())] += 1
    assert sum((c - n / 6) ** 2 / (n / 6) for c in counts.values()) < 20.5  # 5 degrees, 0.1 %


# ---- generators ---------------------------------------------------------------------------------


def test_streams_do_not_disturb_each_other() -> None:
    def run(order: str) -> dict[str, list[Any]]:
        root = Generator(9)
        streams = {name: root.stream(name) for name in "abc"}
        got: dict[str, list[Any]] = {name: [] for name in "abc"}
        for name in order:
            got[name].append(streams[name].normal(5).tolist())
        got["root"] = [root.normal(5).tolist()]
        return got

    assert run("abcabc") == run("aabbcc") == run("ccbbaa")


def test_streams_differ_and_depend_on_key_name_and_index_alone() -> None:
    root = Generator(9)
    before = root.stream("noise", 3).normal(100).numpy()
    root.normal(1000)
    assert root.draws == 1
    np.testing.assert_array_equal(before, root.stream("noise", 3).normal(100).numpy())
    others = [root, root.stream("noise"), root.stream("noise", 4), root.stream("Noise", 3)]
    others += [Generator(10).stream("noise", 3), root.stream("noise", 3).stream("noise", 3)]
    for other in others:
        r = np.corrcoef(before, other.stream("x").normal(100).numpy())[0, 1]
        assert abs(r) < 0.4
    keys = {root.stream(name, i).state_dict()["key"] for name in ("a", "b") for i in range(500)}
    assert len(keys) == 1000


def test_draws_are_numbered() -> None:
    rng = Generator(1)
    values = [rng.uniform(8).numpy(), rng.uniform(8).numpy()]
    assert rng.draws == 2
    assert not np.array_equal(*values)
    np.testing.assert_array_equal(at(1, 1).uniform(8).numpy(), values[1])
    assert repr(rng) == "Generator(key=0x0000000000000001, draws=2)"


@pytest.mark.parametrize("settle", [False, True])
def test_resume(settle: bool) -> None:
    rng = Generator(2**64 - 1).stream("dropout")
    rng.normal(10)
    rng.permutation(3)
    if settle:
        rng.settle()
        assert rng.offset == 0
    assert rng.draws == 2
    state = json.loads(json.dumps(rng.state_dict()))
    expected = [rng.normal(7).tolist(), rng.uniform(7).tolist()]
    other = Generator(0)
    other.load_state_dict(state)
    assert [other.normal(7).tolist(), other.uniform(7).tolist()] == expected
    assert other.state_dict() == rng.state_dict()


def test_default_generator_is_one_a_thread() -> None:
    assert tr.manual_seed(5) is tr.default_generator()
    expected = Generator(5).normal(3).tolist()
    seen: list[Any] = []

    def work() -> None:
        tr.default_generator().normal(100)
        seen.append(tr.default_generator())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen[0] is not tr.default_generator()
    assert tr.default_generator().normal(3).tolist() == expected
    tr.manual_seed(0)


# ---- dropout ------------------------------------------------------------------------------------


def test_dropout_keeps_the_expectation_and_uses_the_draw_as_mask() -> None:
    x = tg.tensor(np.full((400, 500), 2.0, dtype=np.float32))
    rng = at(3)
    y = rng.dropout(x, 0.3)
    assert rng.draws == 1
    assert y.dtype == np.float32
    keep = at(3).uniform((400, 500)).numpy() >= 0.3
    np.testing.assert_array_equal(y.numpy(), np.where(keep, x.numpy() / (1 - 0.3), 0))
    assert abs(y.numpy().mean() - 2) < 4 * 2 * math.sqrt(0.3 / 0.7 / x.size)
    np.testing.assert_array_equal(Generator(0).dropout(x, 0.0).numpy(), x.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_gradient_uses_the_same_mask(dtype: Any) -> None:
    rng = Generator(3)
    x = tg.tensor(np.ones((50, 40), dtype=dtype), requires_grad=True)
    g = tg.tensor(np.ones((50, 40), dtype=dtype), requires_grad=True)
    y = rng.dropout(x, 0.4)
    rng.normal(100)  # draws made in between change nothing
    (gx,) = tg.grad(y, [x], grad_outputs=g, create_graph=True)
    assert gx.dtype == dtype
    np.testing.assert_array_equal(gx.numpy(), y.numpy())
    (gg,) = tg.grad(gx.sum(), [g])  # linear in g, with the mask once more
    np.testing.assert_array_equal(gg.numpy(), y.numpy())


def test_dropout_selects_and_does_not_multiply() -> None:
    x = tg.tensor(np.array([np.nan, np.inf, -np.inf] * 100, dtype=np.float32))
    keep = at(2).uniform(300).numpy() >= 0.5
    y = at(2).dropout(x, 0.5).numpy()
    assert (y[~keep] == 0).all()
    assert not np.isfinite(y[keep]).any()


def test_a_dropout_gradient_after_settle_is_refused() -> None:
    rng = Generator(3)
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = rng.dropout(x, 0.5).sum()
    rng.settle()
    with pytest.raises(RuntimeError, match="base"):
        tg.grad(y, [x])


def test_settle_moves_on_without_changing_numbers() -> None:
    one, other = Generator(4), Generator(4)
    for _ in range(3):
        np.testing.assert_array_equal(one.normal(5).numpy(), other.normal(5).numpy())
        other.settle()
    assert one.draws == other.draws == 3


# ---- bad input ----------------------------------------------------------------------------------

loose: Any = Generator  # takes arguments of the wrong type past the type checker


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Generator(-1), ValueError, "Generator: seed is -1; expected 0 <= seed < 2"),
        (lambda: Generator(2**64), ValueError, "seed is 18446744073709551616"),
        (lambda: loose(1.5), TypeError, r"seed is 1.5 \(float\); expected an int"),
        (lambda: Generator(True), TypeError, "seed is True"),
        (lambda: loose("1"), TypeError, "seed is '1'"),
        (lambda: at(0).normal((3, -1)), ValueError, r"normal: shape is \(3, -1\); expected an int"),
        (lambda: at(0).normal(2.0), TypeError, "normal: shape is 2.0; expected an int or a tuple"),
        (lambda: at(0).uniform((2, True)), TypeError, "shape is"),
        (
            lambda: at(0).uniform(3, dtype="int32"),
            TypeError,
            "dtype is 'int32'; expected 'float32'",
        ),
        (lambda: at(0).normal(3, dtype="floaty"), TypeError, "dtype is 'floaty'"),
        (lambda: at(0).normal(3, dtype=None), TypeError, "dtype is None"),
        (lambda: at(0).bernoulli(1.1, 3), ValueError, r"bernoulli: p is 1.1; expected 0 <= p <= 1"),
        (lambda: at(0).bernoulli(float("nan"), 3), ValueError, "p is nan"),
        (lambda: loose(0).bernoulli("a", 3), TypeError, "p is 'a'; expected one number"),
        (lambda: at(0).integers(0, 3), ValueError, "integers: high is 0; expected 1 <= high"),
        (lambda: at(0).integers(2**32 + 1, 3), ValueError, "high is 4294967297"),
        (lambda: loose(0).integers(2.0, 3), TypeError, "high is 2.0"),
        (lambda: at(0).permutation(-1), ValueError, "permutation: n is -1; expected 0 <= n"),
        (lambda: loose(0).stream(3), TypeError, "stream: name is 3; expected a str"),
        (lambda: at(0).stream("a", -1), ValueError, "stream: index is -1"),
        (lambda: at(0).dropout(tg.tensor([1.0]), 1.0), ValueError, "dropout: p is 1.0; expected"),
        (lambda: at(0).load_state_dict({"key": "0x0"}), ValueError, "layout, draws missing"),
        (
            lambda: at(0).load_state_dict({"layout": 2, "key": "0x0", "draws": 0}),
            ValueError,
            "stream layout 2, this version of tinygen draws layout 1",
        ),
        (
            lambda: at(0).load_state_dict({"layout": 1, "key": "zz", "draws": 0}),
            ValueError,
            "key is 'zz'; expected 64 bits in hexadecimal",
        ),
        (
            lambda: at(0).load_state_dict({"layout": 1, "key": "0x0", "draws": -1}),
            ValueError,
            "draws is -1",
        ),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_refused_draw_is_not_counted() -> None:
    rng = Generator(0)
    with pytest.raises(ValueError, match="shape"):
        rng.normal(-1)
    with pytest.raises(ValueError, match="p is"):
        rng.dropout(tg.tensor([1.0]), 1.0)
    assert rng.draws == 0
