"""Kernels that reduce, update parameters and gather images, against their references.

References run in float64 on the same numbers. A kernel's error may be a small multiple of the
reference's own in float32, or of the rounding of the result.
"""

from __future__ import annotations

import math
import platform
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
from tinygen import ops, optim
from tinygen.backend import get
from tinygen.data.dataset import scaled
from tinygen.primitive import PRIMITIVES
from tinygen_kernels.cpu import (
    concat,
    gather,
    middle,
    normalise,
    normalise_silu,
    reduce,
    softmax,
    squares,
)
from tinygen_kernels.cpu import optim as kernels

XP = get("numpy").xp
REDUCE = {"sum": reduce.sum, "mean": reduce.mean, "max": reduce.max, "min": reduce.min}
SOFTMAX = {
    "softmax": softmax.softmax, "log_softmax": softmax.log_softmax, "logsumexp": softmax.logsumexp
}  # fmt: skip


def normal(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Any:
    return (np.random.default_rng(seed).standard_normal(shape) + 0.3).astype(dtype)


def run(call: Any, workers: int | None = None) -> Any:
    """The result of a bound call, by so many workers in every phase."""
    assert call is not NotImplemented
    if workers is not None:
        call.rows[:, 2] = workers
    call()
    return call.out


def reference(primitive: Any, *arrays: Any, **static: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.asarray(primitive.reference(XP, *arrays, **static))


# ---- reductions ----------------------------------------------------------------------------------

SHAPES: list[tuple[tuple[int, ...], Any]] = [
    ((1,), None), ((7,), None), ((100_003,), None), ((3, 5000), 1), ((300, 784), -1),
    ((128, 10), 1), ((128, 512), 0), ((5000, 10), 0), ((30, 3), 0), ((2000, 784), 0),
    ((30_000, 32), 0), ((8, 9, 9, 16), (0, 1, 2)), ((8, 9, 9, 16), (1, 2, 3)),
    ((3, 1, 700), (0, 1)), ((20, 101), 0), ((20, 63), 0), ((1300, 65), 0), ((40, 1, 5), (1, 2)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", REDUCE)
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_reductions(name: str, shape: tuple[int, ...], axis: Any, dtype: Any) -> None:
    if shape == (1,):
        assert REDUCE[name].bind(np.ones(1, dtype), axis=axis) is NotImplemented
        return
    x = normal(shape, dtype)
    for keepdims in (False, True):
        options = {"axis": axis, "keepdims": keepdims}
        want = getattr(np, name)(x.astype(np.longdouble), **options)
        plain = np.asarray(getattr(np, name)(x, **options))
        call = REDUCE[name].bind(x, **options)
        got = run(call).copy()
        assert got.dtype == dtype
        assert got.shape == plain.shape
        size = np.sum(np.abs(x), **options) / (1 if name == "sum" else x.size / got.size)
        bound = np.finfo(dtype).eps * (3 + math.log2(x.size)) * size
        assert np.all(np.abs(got - want) <= (0 if name in ("max", "min") else bound))
        for workers in (1, 2, 4):
            call.out[...] = 7
            assert run(call, workers).tobytes() == got.tobytes()


@pytest.mark.parametrize("axis", [None, 0])
def test_a_long_sum_in_float32_is_as_exact_as_pairwise(axis: int | None) -> None:
    x = np.random.default_rng(0).random((1 << 20, 1 if axis is None else 16), dtype=np.float32)
    got = run(reduce.sum.bind(x, axis=axis))
    want = x.sum(axis=axis, dtype=np.float64)
    assert np.max(np.abs(got - want) / want) < 4e-7


@pytest.mark.parametrize(("shape", "to"), [
    ((64, 100), (100,)), ((64, 100), (1, 100)), ((64, 100), (64, 1)), ((64, 100), ()),
    ((4, 5, 6, 70), (70,)), ((4, 5, 6, 70), (1, 1, 1, 70)), ((4, 5, 6, 70), (6, 70)),
])  # fmt: skip
def test_sum_to(shape: tuple[int, ...], to: tuple[int, ...]) -> None:
    x = normal(shape, np.float32)
    got = run(reduce.sum_to.bind(x, shape=to))
    want = reference(ops.sum_to, x.astype(np.float64), shape=to)
    assert got.shape == to
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(300, 5), (9, 300), (3, 9000)])
def test_special_values(shape: tuple[int, int], dtype: Any) -> None:
    for value in (np.nan, np.inf, -np.inf):
        for at in (0, 1, -1):
            x = normal(shape, dtype)
            x.reshape(-1)[at] = value
            for axis in (None, 0, 1):
                for name, kernel in REDUCE.items():
                    got, want = run(kernel.bind(x, axis=axis)), getattr(np, name)(x, axis=axis)
                    tolerance = 0 if name in ("max", "min") else 1e-4
                    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    zeros = np.full(shape, -0.0, dtype)
    for axis in (None, 0, 1):
        assert np.all(np.signbit(run(reduce.sum.bind(zeros, axis=axis))))


def test_reductions_decline() -> None:
    x = normal((40, 50, 60), np.float32)
    declined = [
        (x, {"axis": (0, 2)}), (x, {"axis": ()}), (x[:, :, ::2], {"axis": 0}),
        (x.transpose(2, 1, 0), {"axis": 0}), (x[:0], {"axis": 0}), (x.astype(int), {"axis": 0}),
        (x, {"axis": 0, "out": np.empty((50, 60))}), (x.astype(np.float16), {"axis": 0}),
    ]  # fmt: skip
    for array, options in declined:
        assert reduce.sum.bind(array, **options) is NotImplemented
    assert reduce.sum(x[0], axis=0) is NotImplemented  # small: NumPy is quicker than binding
    assert reduce.sum(x, axis=0).shape == (50, 60)


@pytest.mark.parametrize("kernel", [reduce.sum, softmax.logsumexp])
def test_a_bound_call_writes_to_out_and_reads_anew(kernel: Any) -> None:
    x, out = normal((64, 300), np.float32), np.empty(64, np.float32)
    call = kernel.bind(x, axis=1, out=out)
    first = run(call).copy()
    assert call.out is out
    x += 1
    assert np.all(run(call) > first)


# ---- softmax and its relatives -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SOFTMAX)
@pytest.mark.parametrize("shape", [(1, 1000), (37, 10), (64, 100), (5, 9001), (4, 5, 33)])
@pytest.mark.parametrize("scale", [0.01, 1, 30])
def test_softmax_family(name: str, shape: tuple[int, ...], scale: float, dtype: Any) -> None:
    x = normal(shape, dtype) * dtype(scale)
    primitive = getattr(ops, name)
    want = reference(primitive, x.astype(np.float64), axis=-1)
    plain = reference(primitive, x, axis=-1)
    call = SOFTMAX[name].bind(x, axis=-1)
    got = run(call).copy()
    assert got.dtype == dtype
    assert got.shape == plain.shape
    eps = np.finfo(dtype).eps
    if name == "softmax":
        # A rounding of x - top is one of the same size in the exponent.
        top = np.max(np.abs(x.astype(np.float64) - x.max(axis=-1, keepdims=True)))
        bound = eps * (6 + top) * want + np.finfo(dtype).tiny * eps
    else:
        bound = eps * (4 + 2 * np.max(np.abs(x)) + 2 * np.max(np.abs(want)))
    assert np.all(np.abs(got - want) <= bound)
    for workers in (1, 2, 3):
        again = SOFTMAX[name].bind(x, axis=-1)
        again.rows[:, 2] = min(workers, again.workers) if name != "softmax" else workers
        assert run(again).tobytes() == got.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SOFTMAX)
def test_softmax_of_special_values(name: str, dtype: Any) -> None:
    inf, nan = np.inf, np.nan
    rows = [[-inf] * 4, [inf, 1, 2, -inf], [nan, 1, 2, 3], [100, 0, -87.5, -103], [1, -inf, 0, 0]]
    x = np.repeat(np.array(rows, dtype), 9, axis=1)  # whole vectors, and the rest
    got = run(SOFTMAX[name].bind(x, axis=-1))
    want = reference(getattr(ops, name), x.astype(np.float64), axis=-1)
    with np.errstate(all="ignore"):
        tiny = 2 * float(np.finfo(dtype).smallest_subnormal)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=tiny)


def test_softmax_declines() -> None:
    x = normal((40, 50), np.float32)
    assert softmax.softmax.bind(x, axis=0) is NotImplemented
    assert softmax.softmax.bind(x.T, axis=-1) is NotImplemented
    assert softmax.softmax(x[:3], axis=-1) is NotImplemented


# ---- updates -------------------------------------------------------------------------------------

ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
UPDATES: list[tuple[str, int, dict[str, Any]]] = [  # name, arrays of the size of p, options
    ("sgd_step", 2, {"weight_decay": 0.0}),
    ("sgd_step", 2, {"weight_decay": 0.1}),
    ("sgd_momentum_step", 3, {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}),
    ("sgd_momentum_step", 3, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("adam_step", 4, ADAM),
    ("adam_step", 4, ADAM | {"weight_decay": 0.1}),
    ("adam_step", 4, ADAM | {"weight_decay": 0.1, "decoupled": True, "beta1": 0.0}),
    ("ema_step", 2, {}),
]


def state(name: str, count: int, n: int, dtype: Any) -> list[Any]:
    arrays = [normal((n,), dtype, seed) for seed in range(count)]
    if name == "adam_step":
        arrays[3] = np.abs(arrays[3])
        return [*arrays, np.array(0), np.array(0.01)]
    return [*arrays, np.array(0.01)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 17, 1000, 40_003])
@pytest.mark.parametrize(("name", "count", "options"), UPDATES)
def test_updates(name: str, count: int, options: dict[str, Any], n: int, dtype: Any) -> None:
    results = []
    for workers in (None, 1, 2, 4):
        mine, exact = state(name, count, n, dtype), state(name, count, n, dtype)
        exact[:count] = [a.astype(np.float64) for a in exact[:count]]
        call = getattr(kernels, name).bind(*mine, **options)
        if workers:
            call.rows[-1, 2] = workers
        for step in range(3):
            for lr in (mine[-1], exact[-1]):
                lr[...] = 0.01 / (step + 1)  # read when the call runs
            assert run(call) is mine[0]
            reference(getattr(optim, name), *exact, **options)
        for a, b in zip(mine, exact, strict=True):
            np.testing.assert_allclose(a, b, rtol=20 * np.finfo(dtype).eps,
                                       atol=20 * np.finfo(dtype).eps)  # fmt: skip
        results.append([a.tobytes() for a in mine])
    assert all(r == results[0] for r in results)
    if name == "adam_step":
        assert mine[4] == 3  # counted once a step, however many workers


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="not slow elsewhere")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("name", "count", "options"), UPDATES)
def test_updates_leave_no_subnormal_numbers(
    name: str, count: int, options: dict[str, Any], dtype: Any
) -> None:
    """A dead unit's moments fade; numbers that the processor is slow with would stay for good."""
    tiny = np.finfo(dtype).tiny
    arrays = state(name, count, 40_003, dtype)
    for a in arrays[:count]:
        a[...] = 2 * tiny
    grad = arrays[1]
    grad[...] = 0 if name != "ema_step" else tiny / 4
    call = getattr(kernels, name).bind(*arrays, **options)
    for _ in range(40):
        run(call)
    for a in (a for a in arrays[:count] if a is not grad):
        assert np.all((a == 0) | (np.abs(a) >= tiny))
    assert np.all(np.full(100, tiny) / dtype(4) > 0)  # only within the kernel


def test_updates_decline() -> None:
    p, g, lr = normal((30, 40), np.float32), normal((30, 40), np.float32), np.array(0.1)
    wrong = [(p.T, g.T, lr), (p, g.astype(np.float64), lr), (p, g[:1], lr),
             (p, g, np.array(0.1, np.float32)), (p.astype(np.float16),) * 2 + (lr,)]  # fmt: skip
    for arrays in wrong:
        assert kernels.sgd_step.bind(*arrays, weight_decay=0.0) is NotImplemented


# ---- batches of images ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(28, 28, 1), (5, 3, 3)])
@pytest.mark.parametrize("span", [(0.0, 1.0), (-1.0, 1.0), (0.1, 0.7), (-2.5, 3.1)])
def test_gather_images(size: tuple[int, int, int], span: tuple[float, float]) -> None:
    r = np.random.default_rng(0)
    images = r.integers(0, 256, (400, *size), dtype=np.uint8)
    index = r.permutation(400)[:100].astype(np.int64)
    index[0] = -1
    want = scaled(images[index], span)
    for workers in (1, 2, 4):
        assert gather.gather_images(images, index, *span, workers=workers).tobytes() == (
            want.tobytes()
        )
    call = gather.gather_images.bind(images, index, *span)
    index[0] = 400
    assert np.all(np.isnan(run(call)[0]))
    with pytest.raises(IndexError, match="index of"):
        gather.gather_images(images, index, *span)
    assert gather.gather_images(images[:, ::2], index, *span) is NotImplemented


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((5, 3, 70, 9), (1, 2)), ((2, 130, 40), (1,)), ((3, 1, 4, 5), (2,)), ((1, 2, 3), (1,))],
)
def test_sums_over_axes_in_the_middle(shape: Any, axis: Any, dtype: str) -> None:
    x = np.random.default_rng(0).normal(3, 1, shape).astype(dtype)
    wide = x.astype("float64")
    n = math.prod(shape[a] for a in axis)
    limit = 1e-13 if dtype == "float64" else 2e-6
    for name, want in (("sum", wide.sum(axis)), ("mean", wide.mean(axis))):
        call = getattr(reduce, name).bind(x, axis=axis)
        call()
        np.testing.assert_allclose(call.out, want, rtol=limit, atol=limit * n)
    kept = tuple(1 if a in axis else size for a, size in enumerate(shape))
    call = reduce.sum_to.bind(x, shape=kept)
    call()
    np.testing.assert_allclose(call.out, wide.sum(axis, keepdims=True), rtol=limit, atol=limit * n)
    assert reduce.sum.bind(np.ones((2, 3, 4, 5), dtype), axis=(0, 2)) is NotImplemented


def test_parts_of_rows_are_added_and_put_side_by_side() -> None:
    whole = np.random.default_rng(0).normal(3, 1, (5, 4, 6, 60)).astype("float32")
    part, wide = whole[..., 3:40], whole[..., 3:40].astype("float64")
    for axes, call in (
        ((0, 1, 2), reduce.sum_to.bind(part, shape=(37,))),
        ((1, 2), reduce.sum.bind(part, axis=(1, 2))),
    ):
        np.testing.assert_allclose(run(call, 1), wide.sum(axes), rtol=1e-6)
    for axis, arrays in ((-1, (whole, part, whole)), (2, (whole, whole[:, :, 1:]))):
        for workers in (1, 3):
            call = concat.concat.bind(*arrays, axis=axis)
            assert np.array_equal(run(call, workers), np.concatenate(arrays, axis))
    assert concat.concat.bind(part, part, axis=2) is NotImplemented  # a row in several pieces
    assert reduce.sum.bind(whole[:, ::2], axis=(1, 2)) is NotImplemented
    assert concat.concat.bind(whole, whole.astype("float64"), axis=1) is NotImplemented


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((6, 70, 4, 5), (1, 3)), ((1, 90, 7, 1), (1,)), ((130, 24), (-1,)), ((300, 48), (-1,))],
)
def test_norms_and_sums_are_the_same_bits_for_any_number_of_workers(
    shape: Any, axis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x, g = rng.normal(3, 2, (2, *shape)).astype("float32")
    weight = rng.normal(size=shape[2:] or shape[-1:]).astype("float32")
    found = []
    for workers in (1, 2, 4):
        for module in (normalise, middle):
            monkeypatch.setattr(module, "workers_for", lambda work, n=workers: n)
        calls = [
            normalise.normalise.bind(x, weight, weight, axis=axis, eps=1e-5),
            normalise.normalise_dx.bind(g, x, weight, axis=axis, eps=1e-5),
        ]
        if len(shape) == 4:
            calls.append(reduce.sum.bind(x, axis=(1,)))
        for call in calls:
            call()
        outs = [a for c in calls for a in (c.out if isinstance(c.out, tuple) else (c.out,))]
        found.append([a.tobytes() for a in outs])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((5, 70, 4, 6), (1, 3)), ((150, 64), (-1,)), ((3, 48), (-1,)), ((2, 5000), (-1,))],
)
@pytest.mark.parametrize("start", ["near", "far", "same"])
def test_norms_are_their_definition_wherever_numbers_lie(
    shape: Any, axis: Any, start: str, dtype: str
) -> None:
    """Moments are made about a sample's first row, which may be nowhere near the others."""
    rng = np.random.default_rng(0)
    x, g = rng.normal(3, 2, (2, *shape)).astype(dtype)
    weight, bias = rng.normal(size=(2, *(shape[2:] or shape[-1:]))).astype(dtype)
    if start == "far":
        x[:, 0] = 300
    if start == "same":
        x[0] = 0.1
    y = normalise.normalise(x, weight, bias, axis=axis, eps=1e-3)
    back = normalise.normalise_dx(g, x, weight, axis=axis, eps=1e-3)
    wide = [a.astype("float64") for a in (g, x, weight, bias)]
    wanted = [
        PRIMITIVES["normalise"].reference(XP, *wide[1:], axis=axis, eps=1e-3),
        *PRIMITIVES["normalise_dx"].reference(XP, *wide[:3], axis=axis, eps=1e-3),
    ]
    limit = 3e-6 if dtype == "float32" else 1e-13
    for got, want in zip((y, *back), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=limit * np.abs(want).max())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_none_spoils_its_own_group(bad: float) -> None:
    x = np.random.default_rng(0).normal(size=(3, 9, 2, 8)).astype("float32")
    ones = np.ones((2, 8), "float32")
    for place in (0, 5):
        spoilt = x.copy()
        spoilt[1, place, 1, 2] = bad
        y = normalise.normalise(spoilt, ones, ones, axis=(1, 3), eps=1e-5)
        assert np.isnan(y).sum() == 9 * 8
        assert np.isnan(y[1, :, 1]).all()


@pytest.mark.parametrize(
    ("shape", "of"), [((6, 70, 4, 5), 6), ((1, 90, 6, 8), 1), ((3, 2, 3, 7), 1)]
)
def test_a_norm_with_silu_is_its_definition_for_any_number_of_workers(
    shape: Any, of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x, g = rng.normal(3, 2, (2, *shape)).astype("float32")
    weight, bias = rng.normal(size=(2, *shape[2:])).astype("float32")
    both = rng.normal(size=(of, 2, *shape[2:])).astype("float32")
    found = []
    for workers in (1, 2, 4):
        monkeypatch.setattr(normalise, "workers_for", lambda work, n=workers: n)
        forward = normalise_silu.normalise_silu.bind(x, weight, bias, both, eps=1e-5)
        back = normalise_silu.normalise_silu_dx.bind(g, x, weight, bias, both, eps=1e-5)
        forward()
        back()
        found.append([a.tobytes() for a in (forward.out, *back.out)])
    assert found[0] == found[1] == found[2]
    wide = [a.astype("float64") for a in (g, x, weight, bias, both)]
    for name, args, outs in (
        ("normalise_silu", wide[1:], (forward.out,)),
        ("normalise_silu_dx", wide, back.out),
    ):
        wanted = PRIMITIVES[name].reference(XP, *args, eps=1e-5)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for got, want in zip(outs, wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=3e-6 * np.abs(want).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 31, 4096, 4096 * 5 + 33])
def test_a_sum_of_squares_is_the_same_bits_for_any_number_of_workers(n: int, dtype: Any) -> None:
    x = normal((n,), dtype)
    x[n // 2 :] *= 1e20  # whose squares no float32 can hold
    found = [float(run(squares.sum_of_squares.bind(x, dtype="float64"), k)) for k in (1, 2, 3)]
    assert found[0] == found[1] == found[2]
    assert found[0] == pytest.approx(math.fsum(float(v) ** 2 for v in x), rel=1e-14)
