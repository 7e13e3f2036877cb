"""Gathers and scatters on the processor: NumPy's bits for any number of workers, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

import tinygen as tg
from tinygen_kernels.cpu import index as kernels

CASES = [
    ((1,), 0, (1,)), ((300,), 0, (257,)), ((9, 31), 0, (40,)), ((4, 9, 33), 1, (5, 3)),
    ((3, 5, 4), -1, ()), ((7, 200), 0, (3,)), ((2, 6, 40), 1, (70,)), ((64, 3), 1, (2,)),
]  # fmt: skip


def drawn(shape: Any, dtype: Any, seed: int = 0) -> Any:
    return (100 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def run(call: Any, workers: int) -> Any:
    assert call is not NotImplemented
    call.rows[:, 2] = workers
    call.out.fill(np.nan)
    call()
    return call.out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize(("shape", "axis", "form"), CASES)
def test_by_one_list(shape: Any, axis: int, form: Any, workers: int, dtype: str) -> None:
    x, n, at = drawn(shape, dtype), shape[axis], axis % len(shape)
    index = np.random.default_rng(1).integers(-n, n, form)
    got = run(kernels.take.bind(x, index, axis=axis), workers)
    np.testing.assert_array_equal(got, np.take(x, index, axis))
    g, want = drawn(got.shape, dtype, 2), np.zeros(shape, dtype)
    np.add.at(want, (slice(None),) * at + (index,), g)
    for by in (kernels.OUTER, kernels.COLUMNS, kernels.ROWS):
        call = kernels.scatter_add.bind(g, index, axis=axis, shape=shape)
        call.args[kernels.INDEX.by] = by
        assert run(call, workers).tobytes() == want.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize(("shape", "axis", "m"), [
    ((5,), 0, 70), ((300, 10), 1, 1), ((4, 9, 33), 1, 12), ((6, 40), 0, 30), ((2, 3, 5), -1, 4),
])  # fmt: skip
def test_by_a_list_for_each_place(shape: Any, axis: int, m: int, workers: int, dtype: str) -> None:
    x, n, form = drawn(shape, dtype), shape[axis], list(shape)
    form[axis] = m
    index = np.random.default_rng(1).integers(-n, n, form)
    got = run(kernels.take_along_axis.bind(x, index, axis=axis), workers)
    np.testing.assert_array_equal(got, np.take_along_axis(x, index, axis))
    g, want = drawn(form, dtype, 2), np.zeros(shape, dtype)
    for place in np.ndindex(*form):
        to = list(place)
        to[axis] = index[place]
        want[tuple(to)] += g[place]
    for by in (kernels.OUTER, kernels.COLUMNS, kernels.ROWS):
        call = kernels.add_along_axis.bind(g, index, axis=axis, shape=shape)
        call.args[kernels.INDEX.by] = by
        assert run(call, workers).tobytes() == want.tobytes()


def test_the_engine_calls_them() -> None:
    numpy = tg.backend.get("numpy")
    before, total = numpy.hits.copy(), lambda x: tg.sum(tg.square(x))
    x = tg.tensor(drawn((100, 40), "float32"), requires_grad=True)
    rows, places = tg.tensor(np.arange(80)), tg.tensor(np.zeros((100, 30), int))
    tg.grad(total(x.take(rows, axis=0)) + total(x.take_along_axis(places, axis=1)), [x])
    called = set(numpy.hits - before)
    assert {"scatter_add", "take_along_axis", "add_along_axis"} <= called
    assert "take" not in called  # NumPy's is as fast for a small table
    tg.take(tg.tensor(drawn((700, 400), "float32")), rows, axis=0)
    assert "take" in set(numpy.hits - before)


@pytest.mark.parametrize("wrong", [50, -51])
def test_an_index_out_of_range_is_refused_each_time_before_anything_runs(wrong: int) -> None:
    def step(x: Any, i: Any) -> Any:
        y = x.take(i, axis=0) * 2.0
        return tg.grad(tg.sum(y * y) + tg.sum(x.take_along_axis(i[:, None] + x_of_0, axis=0)), [x])[
            0
        ]

    x_of_0 = tg.tensor(np.zeros((1, 60), int))
    x = tg.tensor(drawn((50, 60), "float32"), requires_grad=True)
    good, bad = np.arange(50) - 25, np.arange(50) - 25
    bad[7] = wrong
    compiled = tg.compile(step)
    want = step(x, tg.tensor(good)).numpy()
    np.testing.assert_array_equal(compiled(x, tg.tensor(good)).numpy(), want)
    for call in (step, compiled):
        with pytest.raises(IndexError, match=rf"take: index {wrong} is out of bounds.* -50 to 49"):
            call(x, tg.tensor(bad))
    np.testing.assert_array_equal(compiled(x, tg.tensor(good)).numpy(), want)
    with pytest.raises(IndexError, match=rf"scatter_add: index {wrong} is out .*\(50, 60\)"):
        tg.scatter_add(x, tg.tensor(bad), axis=0, shape=(50, 60))


def test_what_is_declined() -> None:
    x, index = drawn((6, 4), "float32"), np.array([1, 2])
    assert kernels.take.bind(x, 3) is NotImplemented
    assert kernels.take.bind(x.T, index) is NotImplemented
    assert kernels.take.bind(x.astype("int64"), index) is NotImplemented
    assert kernels.take.bind(x, index.astype("uint8")) is NotImplemented
    assert kernels.take.bind(x, np.arange(4)[::2]) is NotImplemented
    assert kernels.take.bind(x, index[:0]) is NotImplemented
    assert kernels.take.bind(x, index, out=np.zeros((2, 4))) is NotImplemented
    rows = drawn((2, 4), "float32")
    assert kernels.scatter_add.bind(rows, index, axis=0, shape=(0, 4)) is NotImplemented
    assert kernels.scatter_add.bind(rows[:, ::2], index, axis=0, shape=(9, 2)) is NotImplemented
