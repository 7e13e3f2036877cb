"""The matrix product of kernels/cpu: any shape and stride, every way it can be asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from tinygen_kernels.cpu import elementwise, matmul, runtime

SIZES = st.integers(1, 70)


def operand(rng, rows, columns, dtype, layout):
    """A matrix that lies row by row, column by column, or with gaps."""
    if layout == "columns":
        return rng.standard_normal((columns, rows)).astype(dtype).T
    if layout == "gaps":
        return rng.standard_normal((2 * rows, 3 * columns)).astype(dtype)[::2, ::3]
    return rng.standard_normal((rows, columns)).astype(dtype)


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(SIZES, SIZES, SIZES),
    layouts=st.tuples(*[st.sampled_from(["rows", "columns", "gaps"])] * 2),
    dtype=st.sampled_from(["float32", "float64"]),
    accumulate=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_is_the_product(shape, layouts, dtype, accumulate, seed):
    rng = np.random.default_rng(seed)
    rows, k, columns = shape
    x, y = operand(rng, rows, k, dtype, layouts[0]), operand(rng, k, columns, dtype, layouts[1])
    out = np.full((rows, columns), 0.5 if accumulate else np.nan, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matmul, "SMALLEST", 0)
        call = matmul.matmul_nd.bind(x, y, out=out, accumulate=accumulate)
    want = x.astype("d") @ y.astype("d") + (0.5 if accumulate else 0)
    if call is NotImplemented:
        assert min(rows, columns) < 4
        return
    call()
    bound = 4 * np.finfo(dtype).eps * (np.abs(x).astype("d") @ np.abs(y).astype("d") + 1)
    assert (np.abs(out - want) <= bound).all()


@pytest.mark.parametrize(
    "shape", [(64, 784, 1024), (1024, 64, 784), (300, 1100, 130), (40, 2048, 40)]
)
@pytest.mark.parametrize("layouts", [("rows", "rows"), ("columns", "rows"), ("rows", "columns")])
def test_large_products_are_the_same_for_any_number_of_workers(shape, layouts):
    rng = np.random.default_rng(0)
    x = operand(rng, shape[0], shape[1], "float32", layouts[0])
    y = operand(rng, shape[1], shape[2], "float32", layouts[1])
    found = []
    for workers in (1, 2, 4):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matmul, "threads", lambda workers=workers: workers)
            call = matmul.matmul_nd.bind(x, y)
        assert call.workers == workers
        call()
        found.append(call.out)
    np.testing.assert_allclose(found[0], x @ y, rtol=1e-3, atol=1e-3)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("shape", [(7, 300, 50), (64, 40, 100), (130, 20, 33)])
def test_an_epilogue_sees_every_element_once_when_it_is_final(layout, shape):
    rng = np.random.default_rng(1)
    rows, k, columns = shape
    x, y = operand(rng, rows, k, "float32", "rows"), operand(rng, k, columns, "float32", layout)
    bias = rng.standard_normal(columns).astype("float32")
    out = np.empty((rows, columns), "float32")
    count = np.zeros((rows, columns), "float32")
    program = (
        ("add", (("in", 0), ("in", 1)), ()),
        ("relu", (("line", 0),), ()),
        ("add", (("in", 2), 1.0), ()),
    )
    fused = elementwise.fused(program, (1, 2), [out, bias, count], [out, count])
    epilogue = (fused.block.address, runtime.address_of(fused.args))
    call = matmul.matmul_nd.bind(x, y, out=out, epilogue=epilogue)
    call()
    np.testing.assert_allclose(out, np.maximum(x @ y + bias, 0), rtol=1e-4, atol=1e-4)
    assert (count == 1).all()


def test_what_it_does_not_serve_is_declined():
    x = np.ones((64, 64), "float32")
    assert matmul.matmul_nd(x, x.astype("float64")) is NotImplemented
    assert matmul.matmul_nd(x[::-1], x) is NotImplemented  # a negative stride
    assert matmul.matmul_nd(x[:0], x) is NotImplemented
    assert matmul.matmul_nd(x.astype("int32"), x.astype("int32")) is NotImplemented
    batch = np.ones((3, 64, 64), "float32")
    assert np.array_equal(matmul.matmul_nd(batch, x), batch @ x)
    assert np.array_equal(matmul.matmul_nd(batch, batch), batch @ batch)
