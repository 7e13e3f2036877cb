"""x // y and x % y in loops: NumPy's bits for every kind of number, on the CPU and in CUDA C++."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen import backend, ops

NAMES = {"floor_divide": np.floor_divide, "remainder": np.remainder}
INF, NAN, TINY = np.inf, np.nan, 1e-45
EDGES = [0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 0.1, -0.1, 3.4e38, -3.4e38, TINY, -TINY, INF, -INF, NAN]


def pairs(count: int) -> tuple[Any, Any]:
    """All edges with all, quotients near whole numbers, and numbers of any exponent."""
    rng = np.random.default_rng(0)
    x, y = (a.reshape(-1) for a in np.meshgrid(*[np.array(EDGES, np.float32)] * 2))
    any_bits = rng.integers(2**32, size=(2, count), dtype=np.uint32).view(np.float32)
    near = rng.standard_normal(count).astype(np.float32)
    whole = (near * rng.integers(-(2**20), 2**20, size=count)).astype(np.float32)
    whole = np.nextafter(whole, np.float32(0))
    plain = rng.standard_normal((2, count), np.float32) * 5
    xs, ys = (x, any_bits[0], whole, plain[0]), (y, any_bits[1], near, plain[1])
    return np.concatenate(xs), np.concatenate(ys)


def same(got: Any, want: Any) -> None:
    """The same numbers, signs of zeros, and NaN at the same places."""
    np.testing.assert_array_equal(got, want)
    known = ~np.isnan(want)
    assert np.array_equal(np.signbit(got[known]), np.signbit(want[known]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_of_numpy(name: str, dtype: str) -> None:
    elementwise = pytest.importorskip("tinygen_kernels.cpu.elementwise")
    with np.errstate(invalid="ignore"):  # NaN of the kind that signals
        x, y = (a.astype(dtype)[None] for a in pairs(200_000))
    out = np.empty_like(x)
    made = elementwise.fused(((name, (("in", 0), ("in", 1)), ()),), (0,), [x, y], [out])
    elementwise.elementwise_call(made, *x.shape)()
    with np.errstate(all="ignore"):
        same(out, NAMES[name](x, y))


@pytest.mark.parametrize("name", NAMES)
def test_the_bits_of_numpy_on_a_gpu(name: str) -> None:
    with tg.use_backend("emulated") as device:
        x, y = pairs(300)
        got = getattr(ops, name)(tg.tensor(x), tg.tensor(y)).numpy()
        assert device.hits[name]
    with np.errstate(all="ignore"):
        same(got, NAMES[name](x, y))


@pytest.mark.parametrize("name", NAMES)
def test_eager_numbers_and_what_numpy_does(name: str) -> None:
    pytest.importorskip("numba")
    hits, operation = backend.get("numpy").hits, getattr(ops, name)
    x = np.linspace(-9, 9, 600, dtype=np.float32)
    before = hits[name]
    for y in (0.7, -3, 1e300, x + 20):
        with np.errstate(over="ignore"):
            same(operation(tg.tensor(x), y).numpy(), NAMES[name](x, np.asarray(y, np.float32)))
    assert hits[name] - before == 4
    same(operation(2.0, tg.tensor(x)).numpy(), NAMES[name](np.float32(2), x))
    same(operation(tg.tensor(x[:, None]), x[:3]).numpy(), NAMES[name](x[:, None], x[:3]))
    whole = np.arange(-300, 300)
    same(operation(tg.tensor(whole), 7).numpy(), NAMES[name](whole, 7))
    assert hits[name] - before == 4


def test_a_plan_makes_one_loop_of_them() -> None:
    pytest.importorskip("numba")
    step = tg.compile(lambda x: ((x * 3.0) % 2.0 - x // 0.5).tanh())
    x = tg.tensor(np.linspace(-9, 9, 600, dtype=np.float32))
    want = step(x).numpy()
    np.testing.assert_allclose(step(x).numpy(), want, rtol=1e-6)
    assert [str(b.call.fused) for b in step.plan.bound] == ["mul+remainder+floor_divide+sub+tanh"]
