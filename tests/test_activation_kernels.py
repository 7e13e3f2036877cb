"""Elementwise kernels outside a plan: their values, what they decline, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
import tinygen as tg
from tinygen import backend, ops
from tinygen_kernels import pointwise
from tinygen_kernels.cpu import elementwise

XP = backend.get("numpy").xp
PAIRS = {"floor_divide", "remainder"}  # of two arrays: test_division_kernels.py
NAMES = [name for name in pointwise.ON_CPU if name not in PAIRS]
WIDE = [name for name, row in pointwise.ON_CPU.items() if row.wide]
BITS = ["relu", "leaky_relu"]  # no more than a selection and a product
SHAPES = [(256,), (1, 300), (7, 11, 13), (100_003,)]


def kernel(name: str) -> Any:
    return backend.load_kernel(backend.get("numpy"), name)


def values(shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    x = (3 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)
    x.reshape(-1)[:6] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40]
    return x


def reference(name: str, x: Any, **static: Any) -> Any:
    """In float64, from the reference or, for a fused operation, from its body on references."""
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        if name == "silu":
            return wide * ops.sigmoid.reference(XP, wide)
        if name == "gelu":
            return 0.5 * wide * (1 + XP.erf(wide * np.sqrt(0.5)))
        return getattr(ops, name).reference(XP, wide, **static)


def bound(name: str, x: Any, workers: int, **options: Any) -> Any:
    call = kernel(name).bind(x, **options)
    assert call is not NotImplemented
    call.rows[:, 2] = workers
    call()
    return call.out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_values(name: str, shape: tuple[int, ...]) -> None:
    x = values(shape)
    got, want = bound(name, x, 1), reference(name, x)
    assert (got.dtype, got.shape) == (x.dtype, x.shape)
    size = np.abs(want)
    if name == "gelu":
        size = np.maximum(size, np.abs(x))  # 1 + erf cancels where x < 0
    with np.errstate(all="ignore"):
        near = np.abs(got - want) <= 2.5 * np.finfo(np.float32).eps * size + 3e-45
    same = (got == want.astype(np.float32)) | (np.isnan(got) & np.isnan(want))
    assert np.all(near | same)
    for workers in (2, 4):
        assert bound(name, x, workers).tobytes() == got.tobytes()
    inplace = x.copy()
    assert bound(name, inplace, 2, out=inplace) is inplace
    assert inplace.tobytes() == got.tobytes()


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_of_numpy(name: str, dtype: Any) -> None:
    x = values((1000,), dtype)
    with np.errstate(all="ignore"):
        want = getattr(ops, name).reference(XP, x)
    np.testing.assert_array_equal(bound(name, x, 1), want)


def test_leaky_relu_takes_its_slope() -> None:
    x = values((1000,))
    for slope in (0.2, np.float64(0.2), 0):
        with np.errstate(all="ignore"):
            want = ops.leaky_relu.reference(XP, x, slope=slope)
        np.testing.assert_array_equal(bound("leaky_relu", x, 1, slope=slope), want)


@pytest.mark.parametrize("name", NAMES)
def test_float64(name: str) -> None:
    x = values((1000,), np.float64)
    if name not in WIDE:
        assert kernel(name).bind(x) is NotImplemented
        return
    want = reference(name, x)
    np.testing.assert_allclose(bound(name, x, 1), want, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_as_in_a_plan(name: str) -> None:
    """A plan runs the loop on rows and columns of its own choosing."""
    x = values((30, 70))
    program = backend.programs[name]()
    out = np.empty_like(x)
    made = elementwise.fused(program, (len(program) - 1,), [x], [out])
    elementwise.elementwise_call(made, *x.shape)()
    assert bound(name, x, 1).tobytes() == out.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_served_is_declined(name: str) -> None:
    bind = kernel(name).bind
    x = np.ones((32, 32), np.float32)
    for other in (x[:, ::2], x.T[1:], x[:0], np.ones((32, 32), np.int64)):
        assert bind(other) is NotImplemented
    for out in (np.empty(1024, "f4"), np.empty((32, 32), "f8"), np.empty((64, 32), "f4")[::2]):
        assert bind(x, out=out) is NotImplemented
    assert bind(x[:8]) is not NotImplemented


@pytest.mark.parametrize("name", NAMES)
def test_numpy_does_what_is_small(name: str) -> None:
    eager_from = kernel(name).eager_from
    assert eager_from == pointwise.ON_CPU[name].alone
    hits = backend.get("numpy").hits
    before = hits[name]
    for size, taken in ((eager_from - 1, 0), (eager_from, 1)):
        getattr(ops, name)(tg.tensor(np.ones(size, np.float32)))
        assert hits[name] - before == taken


@pytest.mark.parametrize("name", ["silu", "gelu"])
def test_gradients_through_a_kernel_are_those_of_the_body(name: str) -> None:
    op = getattr(ops, name)
    x = 3 * np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    slopes = []
    for f in (op, op.body):
        leaf = tg.tensor(x)
        leaf.requires_grad = True
        before = backend.get("numpy").hits[name]
        f(leaf).sum().backward()
        assert (backend.get("numpy").hits[name] > before) == (f is op)
        slopes.append(leaf.grad.numpy())
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-6, atol=1e-7)
