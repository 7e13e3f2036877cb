"""The matrix product of kernels/cpu: any shape and stride, every way it can be asked."""

from __future__ import annotations

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from tinygen_kernels.cpu import elementwise, matmul, optim, runtime

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
    matmul.matmul_nd.bind(x, y, out=out, accumulate=accumulate)()
    want = x.astype("d") @ y.astype("d") + (0.5 if accumulate else 0)
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
    call = matmul.products([x], [y], [out], epilogues=[epilogue])
    call()
    np.testing.assert_allclose(out, np.maximum(x @ y + bias, 0), rtol=1e-4, atol=1e-4)
    assert (count == 1).all()


def test_what_it_does_not_serve_is_declined():
    x = np.ones((64, 64), "float32")
    bind = matmul.matmul_nd.bind
    assert matmul.matmul_nd(x, x) is NotImplemented  # alone, it is np.matmul's
    assert bind(x, x.astype("float64")) is NotImplemented
    assert bind(x[::-1], x) is NotImplemented  # a negative stride
    assert bind(x[:0], x) is NotImplemented
    assert bind(x.astype("int32"), x.astype("int32")) is NotImplemented
    batch = np.ones((3, 64, 64), "float32")
    for other in (x, batch):
        call = bind(batch, other)
        call()
        assert np.array_equal(call.out, batch @ other)


# ---- several products as one call ----------------------------------------------------------------


def laid_out(rng, rows, columns, dtype, count):
    """`count` matrices of one layout: in order, transposed, or every second row and column."""
    kind = rng.integers(3)
    found = []
    for _ in range(count):
        x = rng.standard_normal((2 * rows, 2 * columns)).astype(dtype)
        if kind == 0:
            found.append(np.ascontiguousarray(x[:rows, :columns]))
        elif kind == 1:
            found.append(np.ascontiguousarray(x[:rows, :columns].T).T)
        else:
            found.append(x[::2, ::2])
    return found


SEVERAL = [
    (m, k, n, parts, dtype)
    for m, k, n, parts in [
        (64, 100, 130, 2), (1, 1, 1, 2), (200, 7, 48, 3), (49, 300, 17, 2), (130, 65, 260, 2),
        (3, 1200, 5, 2), (256, 64, 784, 2), (784, 128, 33, 1),
    ]
    for dtype in ("float32", "float64")
]  # fmt: skip


def near(out, expected, k):
    scale = 1e-6 if out.dtype == np.float32 else 1e-14
    np.testing.assert_allclose(out, expected, rtol=0, atol=8 * scale * np.sqrt(k) * 4)


@pytest.mark.parametrize(("m", "k", "n", "parts", "dtype"), SEVERAL)
@pytest.mark.parametrize("seed", range(3))
def test_products_with_one_right_hand_side(m, k, n, parts, dtype, seed):
    rng = np.random.default_rng(seed)
    xs, (y,) = laid_out(rng, m, k, dtype, parts), laid_out(rng, k, n, dtype, 1)
    outs = [np.full((m, n), np.nan, dtype) for _ in range(parts)]
    matmul.products(xs, [y] * parts, outs)()
    for x, out in zip(xs, outs, strict=True):
        near(out, x.astype(float) @ y.astype(float), k)


@pytest.mark.parametrize(("m", "k", "n", "parts", "dtype"), SEVERAL)
@pytest.mark.parametrize("seed", range(3))
def test_a_sum_of_products(m, k, n, parts, dtype, seed):
    rng = np.random.default_rng(seed)
    xs, ys = laid_out(rng, m, k, dtype, parts), laid_out(rng, k, n, dtype, parts)
    out = np.full((m, n), np.nan, dtype)
    matmul.products(xs, ys, [out])()
    expected = sum(x.astype(float) @ y.astype(float) for x, y in zip(xs, ys, strict=True))
    near(out, expected, k * parts)


@pytest.mark.parametrize(("m", "k", "n", "parts", "dtype"), SEVERAL)
@pytest.mark.parametrize(("decay", "decoupled"), [(0.0, False), (0.1, False), (0.1, True)])
def test_adam_takes_the_gradient_from_its_product(m, k, n, parts, dtype, decay, decoupled):
    rng = np.random.default_rng(0)
    xs, ys = laid_out(rng, m, k, dtype, parts), laid_out(rng, k, n, dtype, parts)
    grad = np.empty((m, n), dtype)
    matmul.products(xs, ys, [grad])()
    p, mean = (rng.standard_normal((m, n)).astype(dtype) for _ in range(2))
    square = rng.uniform(0, 1, (m, n)).astype(dtype)
    t, lr = np.array(3), np.array(1e-2)
    options = {"beta1": 0.5, "beta2": 0.99, "eps": 1e-8}
    options |= {"weight_decay": decay, "decoupled": decoupled}
    expected = [x.copy() for x in (p, mean, square, t)]
    optim.adam_step(expected[0], grad, *expected[1:], lr, **options)
    update = optim.adam_of_product(p, mean, square, t, lr, **options)
    matmul.products(xs, ys, [], update=update)()
    for got, wanted in zip((p, mean, square, t), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)  # the gradient is the same, to the bit


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="not slow elsewhere")
def test_subnormal_numbers_count_as_zero():
    """Gradients of a saturated network; the processor would take a hundred times as long."""
    faint, small = (np.full((100, 90), value, np.float32) for value in (1e-40, 1e-25))
    for x, y in ((faint, np.ones((90, 80), np.float32)), (small, small[:80].T)):
        out = np.ones((100, 80), np.float32)
        matmul.products([x], [y], [out])()
        assert not out.any()
    assert (faint * np.float32(0.5) > 0).all()  # only within the kernel


def test_products_of_several_layouts_are_declined():
    x, y = np.ones((40, 30), np.float32), np.ones((30, 50), np.float32)
    outs = [np.empty((40, 50), np.float32) for _ in range(2)]
    other = np.ones((30, 40), np.float32).T
    assert matmul.products([x, other], [y, y], outs) is NotImplemented
    assert matmul.products([x[::-1]], [y], outs[:1]) is NotImplemented
