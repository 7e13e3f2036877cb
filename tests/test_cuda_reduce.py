"""Reductions and the softmax family as CUDA kernels, on the emulated device with all its checks.

Shapes lie at the edges between kernels, warps, blocks and pieces; references run in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_calls import agree, bits_in_any_order, kernels, on_device, run
from strategies import AVAILABLE

import tinygen as tg
from tinygen import backend, nn, ops
from tinygen.primitive import PRIMITIVES

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

from tinygen_kernels.cuda import normalise, normalise_silu, reduce, softmax

REDUCE = {"sum": reduce.sum, "mean": reduce.mean, "max": reduce.max, "min": reduce.min}
SOFTMAX = {
    "softmax": softmax.softmax, "log_softmax": softmax.log_softmax, "logsumexp": softmax.logsumexp
}  # fmt: skip
DTYPES = ["float32", "float64"]
NAN, INF = np.nan, np.inf


def normal(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Any:
    return (np.random.default_rng(seed).standard_normal(shape) + 0.3).astype(dtype)


def reference(primitive: Any, x: Any, **static: Any) -> Any:
    """The primitive's own definition, in NumPy and float64."""
    with np.errstate(all="ignore"):
        return primitive.reference(backend.get("numpy").xp, x.astype("float64"), **static)


# ---- reductions ----------------------------------------------------------------------------------

THREAD, WARPS, BLOCKS, COLUMNS = "reduce_thread", "reduce_warps", "reduce_blocks", "reduce_columns"
SHAPES: list[tuple[tuple[int, ...], Any, list[str]]] = [
    ((2,), None, [THREAD]),
    ((8,), 0, [THREAD]),
    ((9,), None, [WARPS]),
    ((3, 31), -1, [WARPS]),
    ((5, 33), 1, [WARPS]),
    ((70, 2, 64), (1, 2), [WARPS]),
    ((1030, 130), 1, [WARPS]),
    ((129,), None, [BLOCKS]),
    ((3, 1000), 1, [BLOCKS]),
    ((2, 8191), 1, [BLOCKS]),
    ((8192,), None, [BLOCKS, THREAD]),
    ((40_000,), None, [BLOCKS, WARPS]),
    ((2, 3, 4099), (1, -1), [BLOCKS, THREAD]),
    ((7, 300), 0, [THREAD]),
    ((3, 5, 2, 4), 1, [THREAD]),
    ((9, 2), 0, [COLUMNS]),
    ((64, 10), 0, [COLUMNS]),
    ((255, 33), 0, [COLUMNS]),
    ((300, 33), 0, [COLUMNS, THREAD]),
    ((2, 1300, 5), 1, [COLUMNS, THREAD]),
    ((2, 40, 60, 31), (1, 2), [COLUMNS, COLUMNS]),
    ((4, 1, 6), (1, 2), [THREAD]),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis", "names"), SHAPES, ids=[str(s[0]) for s in SHAPES])
def test_reductions(shape: Any, axis: Any, names: list[str], dtype: str, device: Any) -> None:
    x = normal(shape, dtype)
    for name, kernel in REDUCE.items():
        call = kernel.bind(on_device(x), axis=axis)
        assert kernels(call) == names
        got, want = run(call), getattr(np, name)(x.astype("float64"), axis=axis)
        assert got.shape == want.shape
        assert got.dtype == dtype
        if name in ("max", "min"):
            np.testing.assert_array_equal(got, want)
        else:
            several = 2 if dtype == "float32" else 8  # in float64 NumPy rounds, too
            error = several * np.finfo(dtype).eps * getattr(np, name)(np.abs(x), axis=axis)
            assert (np.abs(got - want) <= error).all()


def test_dispatch(device: Any) -> None:
    before = device.hits.copy()
    x = tg.tensor(normal((3, 40), "float32"))
    tg.sum(x, axis=0, keepdims=True), tg.argmax(x), tg.softmax(x), tg.logsumexp(x)
    assert {"sum", "argmax", "softmax", "logsumexp"} <= set(device.hits - before)


@pytest.mark.parametrize("shape", [(1_000_000,), (1000, 1000)])
def test_a_million_elements_are_added_as_a_tree(shape: Any) -> None:
    x = np.random.default_rng(0).uniform(0, 1, shape).astype("float32")
    got = run(reduce.sum.bind(on_device(x), axis=0))
    want = x.astype("float64").sum(0)
    assert np.max(np.abs(got - want) / want) < 3e-7
    mean = run(reduce.mean.bind(on_device(x), axis=0))
    np.testing.assert_allclose(mean, want / len(x), rtol=3e-7)


@pytest.mark.parametrize("shape", [(20_000,), (900, 40)])
def test_same_bits_in_any_order_of_threads(shape: Any) -> None:
    x = on_device(normal(shape, "float32"))
    assert len(bits_in_any_order(lambda: (reduce.sum(x, axis=0),))) == 1


@pytest.mark.parametrize("shape", [(5,), (40,), (700,), (9000,), (6, 3), (20, 3), (700, 3)])
def test_what_is_not_a_number(shape: Any, device: Any) -> None:
    x = normal(shape, "float32")
    for place in (0, len(x) // 2, len(x) - 1):
        for value in (NAN, INF, -INF):
            y = x.copy()
            y[place] = value
            for name, kernel in REDUCE.items():
                got = run(kernel.bind(on_device(y), axis=0))
                same = getattr(np, name)(y, axis=0)
                np.testing.assert_allclose(got, same, rtol=1e-5)
            assert run(reduce.argmax.bind(on_device(y))) == np.argmax(y)
    both = x.copy()
    both[0], both[-1] = INF, -INF
    assert np.isnan(run(reduce.sum.bind(on_device(both), axis=0))).all()
    zeros = run(reduce.sum.bind(on_device(np.full(shape, -0.0, "float32")), axis=0))
    assert np.signbit(zeros).all()
    least = run(reduce.max.bind(on_device(np.full(shape, -INF, "float32")), axis=0))
    assert (least == -INF).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), [
    ((2,), None), ((300,), 0), ((5000,), -1), ((3, 33), 1), ((2, 129), None), ((2, 3, 129), 2),
])  # fmt: skip
def test_argmax(shape: Any, axis: Any, dtype: str, device: Any) -> None:
    x = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)  # many are equal
    for y in (x, np.full(shape, -INF, dtype)):
        got = run(reduce.argmax.bind(on_device(y), axis=axis))
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, np.argmax(y, axis=axis))


@pytest.mark.parametrize(("shape", "to"), [
    ((40, 30), (30,)), ((40, 30), (40, 1)), ((40, 30), (1, 30)), ((2, 3, 50), ()),
    ((2, 40, 3), (2, 1, 3)), ((5, 1, 20), (1, 20)),
])  # fmt: skip
def test_sum_to(shape: Any, to: Any, device: Any) -> None:
    x = normal(shape, "float32")
    want = reference(ops.shape.sum_to, x, shape=to)
    np.testing.assert_allclose(run(reduce.sum_to.bind(on_device(x), shape=to)), want, atol=1e-4)


def test_out_and_what_is_declined() -> None:
    x = on_device(normal((6, 4, 5), "float32"))
    out = on_device(np.zeros((6, 4), "float32"))
    call = reduce.sum.bind(x, axis=2, out=out)
    assert call.out is out
    np.testing.assert_allclose(run(call), x.get().sum(2), rtol=1e-5)
    assert run(reduce.max.bind(x, axis=(1, 2), keepdims=True)).shape == (6, 1, 1)
    for wrong in ((4, 6), "float64"):
        bad = np.zeros((6, 4), wrong) if isinstance(wrong, str) else np.zeros(wrong, "float32")
        assert reduce.sum.bind(x, axis=2, out=on_device(bad)) is NotImplemented
    assert reduce.sum.bind(x, axis=(0, 2)) is NotImplemented  # apart
    assert reduce.sum.bind(x, axis=()) is NotImplemented
    assert reduce.sum.bind(x.T, axis=0) is NotImplemented
    assert reduce.sum.bind(on_device(np.ones((3, 4), int)), axis=0) is NotImplemented
    assert reduce.sum.bind(x.astype("float16"), axis=0) is NotImplemented
    assert reduce.max.bind(on_device(np.ones((0, 4))), axis=1) is NotImplemented
    assert reduce.argmax.bind(x.T) is NotImplemented
    assert reduce.argmax.bind(x, axis=0) is NotImplemented  # not the last
    long = on_device(np.zeros((1, 2**18), "float32"))  # more than one block should do
    assert reduce.argmax.bind(long) is NotImplemented
    assert softmax.softmax.bind(long) is NotImplemented
    assert softmax.softmax.bind(x, axis=0) is NotImplemented  # not the last
    assert softmax.softmax.bind(x.T) is NotImplemented
    assert softmax.logsumexp.bind(x, axis=-1, out=x) is NotImplemented


# ---- softmax -------------------------------------------------------------------------------------

ROWS = [
    (1, 2), (3, 5), (70, 10), (9, 16), (2, 17), (3, 127), (1, 128), (2, 129), (9, 1000), (2, 1024),
    (2, 1025), (2, 4097), (1, 8193), (1, 20_000),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", ROWS)
def test_softmax(shape: Any, dtype: str, device: Any) -> None:
    x = (normal(shape, dtype) * 5).astype(dtype)
    x[0, -1] = 300  # whose exponential is too large for float32
    limit = 4e-6 if dtype == "float32" else 1e-13
    for name, kernel in SOFTMAX.items():
        want = reference(getattr(ops.reduce, name), x, axis=-1)
        got = run(kernel.bind(on_device(x), axis=-1))
        assert got.shape == want.shape
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=limit, atol=limit)


@pytest.mark.parametrize("n", [6, 40, 200, 1030, 20_000])
def test_softmax_of_what_is_not_a_number(n: int, device: Any) -> None:
    x = normal((6, n), "float32")
    x[0] = -INF
    x[1, 0], x[2, n // 2], x[3, -1], x[4, n // 2 :] = INF, NAN, -INF, -INF
    for name, kernel in SOFTMAX.items():
        rows = [x] if n < 10_000 else [x[i : i + 1] for i in range(6)]  # of one row: in pieces
        for part in rows:
            want = reference(getattr(ops.reduce, name), part, axis=-1)
            got = run(kernel.bind(on_device(part), axis=-1))
            np.testing.assert_allclose(got, want, rtol=4e-6, atol=4e-6)


def test_logsumexp_of_everything_in_two_launches(device: Any) -> None:
    x = normal((3, 50, 60), "float32")
    call = softmax.logsumexp.bind(on_device(x), keepdims=True)
    assert kernels(call) == ["softmax_blocks", "softmax_warps"]
    np.testing.assert_allclose(run(call), [[[np.log(np.exp(x.astype("float64")).sum())]]], 1e-6)
    assert run(softmax.softmax.bind(on_device(x), axis=(1, 2))).shape == x.shape


# ---- normalise -----------------------------------------------------------------------------------

NORMS: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = [
    ((5, 3), (-1,), (3,)),  # layer
    ((2, 4, 700), (2,), (700,)),
    ((3, 2, 1000), (1, 2), (2, 1000)),
    ((2, 3, 4, 2, 4), (1, 2, 4), (2, 4)),  # group
    ((3, 9, 3, 5), (1, 3), (3, 5)),
    ((1, 60, 2, 33), (1, 3), (2, 33)),
    ((2, 50, 1, 4), (1, 3), (1, 4)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis", "of_weight"), NORMS)
def test_normalise(shape: Any, axis: Any, of_weight: Any, dtype: str, device: Any) -> None:
    x, above = normal(shape, dtype), normal(shape, dtype, 1)
    weight, bias = normal(of_weight, dtype, 2), normal(of_weight, dtype, 3)
    limit = 1e-5 if dtype == "float32" else 1e-12
    options = {"axis": axis, "eps": 1e-3}
    wide = [tg.tensor(a.astype("float64")) for a in (x, weight, bias)]
    call = normalise.normalise.bind(*map(on_device, (x, weight, bias)), **options)
    want = PRIMITIVES["normalise"].body(*wide, **options).numpy()
    np.testing.assert_allclose(run(call), want, rtol=limit, atol=limit)

    arrays = (above, x, weight)
    call = normalise.normalise_dx.bind(*map(on_device, arrays), **options)
    agree(call, "normalise_dx", arrays, limit, **options)


def test_what_normalise_leaves_to_its_body(device: Any) -> None:
    def bound(shape: Any, axis: Any, of_weight: Any, dtype: str = "float32") -> Any:
        x, weight = (on_device(normal(s, dtype)) for s in (shape, of_weight))
        return normalise.normalise.bind(x, weight, weight, axis=axis, eps=1e-3)

    assert bound((4, 6, 8), (0, 1), (8,)) is NotImplemented  # batch: a channel is far apart
    assert bound((4, 6, 8), (1,), (8,)) is NotImplemented  # instance
    assert bound((4, 8), (1,), (4, 1)) is NotImplemented  # a weight a sample
    assert bound((4, 8), (1,), (8,)) is not NotImplemented
    x, weight = on_device(normal((4, 8), "float32")), on_device(normal((8,), "float64"))
    assert normalise.normalise.bind(x, weight, weight, axis=(1,), eps=1e-3) is NotImplemented


def test_layers_that_normalise_use_the_kernels(device: Any) -> None:
    before = device.hits.copy()
    x = tg.tensor(normal((2, 3, 3, 8), "float32")).detach(requires_grad=True)
    for layer in (nn.GroupNorm(2, 8), nn.LayerNorm(8)):
        (layer(x) ** 2).sum().backward()
    assert (device.hits - before)["normalise"] == (device.hits - before)["normalise_dx"] == 2


MODULATED: list[tuple[tuple[int, ...], int]] = [
    ((2, 9, 3, 5), 2),
    ((3, 1, 2, 8), 1),
    ((1, 70, 2, 1), 1),
    ((2, 2, 1, 300), 1),  # more channels than threads
    ((9, 33, 1, 4), 9),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "samples"), MODULATED)
def test_normalise_silu(shape: Any, samples: int, dtype: str, device: Any) -> None:
    x, above = normal(shape, dtype), normal(shape, dtype, 1)
    weight, bias = normal(shape[2:], dtype, 2), normal(shape[2:], dtype, 3)
    arrays = (x, weight, bias, normal((samples, 2, *shape[2:]), dtype, 4))
    limit = 2e-5 if dtype == "float32" else 1e-12
    for name, given in (("normalise_silu", arrays), ("normalise_silu_dx", (above, *arrays))):
        call = getattr(normalise_silu, name).bind(*map(on_device, given), eps=1e-3)
        agree(call, name, given, limit, eps=1e-3)


def test_a_plan_finds_its_own_results() -> None:
    """By which it knows that a kernel has taken the call."""
    x, weight = on_device(normal((4, 3, 2, 8), "float32")), on_device(normal((2, 8), "float32"))
    both = on_device(normal((1, 2, 2, 8), "float32"))
    outs = tuple(on_device(np.zeros(a.shape, "float32")) for a in (x, weight, weight))
    call = normalise.normalise_dx.bind(x, x, weight, axis=(1, 3), eps=1e-3, out=outs)
    assert call.out is outs
    outs = (*outs, on_device(np.zeros((4, 2, 2, 8), "float32")))
    arrays = (x, x, weight, weight, both)
    call = normalise_silu.normalise_silu_dx.bind(*arrays, eps=1e-3, out=outs)
    assert call.out is outs
    outs = (*outs[:3], both)
    assert normalise_silu.normalise_silu_dx.bind(*arrays, eps=1e-3, out=outs) is NotImplemented


def test_what_normalise_silu_leaves_to_its_body() -> None:
    def bound(x: Any, modulation: Any, dtype: str = "float32") -> Any:
        weight = on_device(normal((2, 8), "float32"))
        both = on_device(normal(modulation, dtype))
        return normalise_silu.normalise_silu.bind(x, weight, weight, both, eps=1e-3)

    x = on_device(normal((4, 3, 2, 8), "float32"))
    assert bound(x, (1, 2, 2, 8)) is not NotImplemented
    assert bound(x, (4, 2, 2, 8)) is not NotImplemented
    assert bound(x, (2, 2, 2, 8)) is NotImplemented
    assert bound(x, (4, 2, 2, 8), "float64") is NotImplemented
    assert bound(x[:, ::2], (4, 2, 2, 8)) is NotImplemented
    assert bound(x[:0], (1, 2, 2, 8)) is NotImplemented


def test_same_bits_of_normalise_silu_in_any_order_of_threads() -> None:
    shape = (3, 40, 2, 6)
    arrays = [on_device(normal(s, "float32", i)) for i, s in enumerate((shape, shape))]
    arrays += [on_device(normal(s, "float32", 7)) for s in ((2, 6), (2, 6), (3, 2, 2, 6))]
    found = bits_in_any_order(lambda: normalise_silu.normalise_silu_dx(*arrays, eps=1e-3))
    assert len(found) == 1


def test_the_layer_with_silu_uses_the_kernels(device: Any) -> None:
    before = device.hits.copy()
    layer, x = nn.GroupNormSiLU(4, 8), tg.tensor(normal((2, 3, 3, 8), "float32"))
    x = x.detach(requires_grad=True)
    (layer(x) ** 2 + layer(x, tg.ones((2, 16))) ** 2).sum().backward()
    hits = device.hits - before
    assert hits["normalise_silu"] == hits["normalise_silu_dx"] == 2
