"""Products and sums of squares on the processor: long rows, zeros, any number of workers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
import tinygen as tg
from tinygen import backend
from tinygen_kernels.cpu import totals

SHAPES = [(1, 1), (3, 7), (70, 33), (2, 9_001), (300, 65)]


def matrix(shape: tuple[int, int], dtype: str) -> Any:
    x = np.random.default_rng(0).uniform(0.9, 1.1, shape).astype(dtype)
    x[0] *= -1
    x[-1, ::5] = 0
    return x


def made(kernel: Any, workers: int, *arrays: Any, **options: Any) -> Any:
    call = kernel.bind(*arrays, **options)
    call.rows[0, 2] = workers
    call()
    return call.out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_for_any_number_of_workers(shape: tuple[int, int], dtype: str) -> None:
    x = matrix(shape, dtype)
    wide, eps = x.astype("float64"), 40 * np.finfo(dtype).eps
    got = [made(totals.squares_along, w, x) for w in (1, 2, 3)]
    np.testing.assert_allclose(got[0], np.square(wide).sum(1), rtol=eps)
    assert len({g.tobytes() for g in got}) == 1
    for axis in (0, 1):
        rtol = eps * shape[axis]
        got = [made(totals.product_along, w, x, axis=axis) for w in (1, 2, 3)]
        np.testing.assert_allclose(got[0], wide.prod(axis), rtol=rtol)
        assert len({g.tobytes() for g in got}) == 1
        if shape[axis] > 400:
            continue
        want = [np.delete(wide, i, axis).prod(axis) for i in range(shape[axis])]
        got = [made(totals.product_without, w, x, axis=axis) for w in (1, 2, 3)]
        np.testing.assert_allclose(got[0], np.stack(want, axis), rtol=rtol)
        assert len({g.tobytes() for g in got}) == 1


@pytest.mark.parametrize("axis", [0, 1, 2, (1, 2), (0, 1), (0, 2), None, ()])
def test_prod_and_norm_over_any_axes(axis: Any) -> None:
    x = np.random.default_rng(1).uniform(0.9, 1.1, (24, 20, 26)).astype("float32")
    hits = backend.get("numpy").hits
    before = hits["product_along"]
    for keepdims in (False, True):
        t = tg.tensor(x, requires_grad=True)
        got = tg.prod(t, axis=axis, keepdims=keepdims)
        want = x.astype("d").prod(axis=axis, keepdims=keepdims)
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-3)
        (g,) = tg.grad(got.sum(), [t])
        all_of_them = x.astype("d").prod(axis=axis, keepdims=True)
        np.testing.assert_allclose(g.numpy(), all_of_them / x, rtol=1e-3)
        got = tg.norm(t, axis=axis, keepdims=keepdims)
        want = np.sqrt(np.square(x.astype("d")).sum(axis=axis, keepdims=keepdims))
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-5)
        (g,) = tg.grad(got.sum(), [t])
        length = np.sqrt(np.square(x.astype("d")).sum(axis=axis, keepdims=True))
        np.testing.assert_allclose(g.numpy(), x / length, rtol=1e-5)
    assert hits["product_along"] == before + 2


def test_a_plan_keeps_them_whole() -> None:
    hits = backend.get("numpy").hits
    x = tg.tensor(np.random.default_rng(1).uniform(0.5, 1.5, (8, 600)).astype("float32"))
    compiled = tg.compile(lambda x: tg.norm(x, axis=1).sum() + tg.prod(x, axis=1).sum())
    want = compiled(x).item()
    assert compiled(x).item() == pytest.approx(want, rel=1e-5)
    names = " ".join(str(b.call.primitive.name) for b in compiled.plan.bound if b.kernel)
    assert "squares_along" in names
    assert "product_along" in names
    assert hits["product_along"]
