"""Matrix products as CUDA kernels, on the emulated device with every memory access checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from strategies import AVAILABLE

import tinygen as tg

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

from tinygen_kernels.cuda import matmul
from tinygen_kernels.cuda.runtime import Call, Launch

RNG = np.random.default_rng(7)
ROUNDING = {"float32": 2.0**-22, "float64": 2.0**-50}  # of sum |a| |b|, for sums up to 300 long


def put(array: np.ndarray) -> Any:
    """The array on the device, with the same strides as far as transposing tells."""
    if array.ndim > 1 and array.T.flags.c_contiguous and not array.flags.c_contiguous:
        return tg.tensor(array.T.copy()).data.T
    return tg.tensor(array).data


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def close(got: Any, x: np.ndarray, y: np.ndarray, rounding: float | None = None) -> None:
    """got is x @ y up to rounding, element by element relative to sum |x| |y|."""
    rounding = ROUNDING[x.dtype.name] if rounding is None else rounding
    wide_x, wide_y = x.astype("float64"), y.astype("float64")
    bound = rounding * 8 * (np.abs(wide_x) @ np.abs(wide_y))
    assert (np.abs(got.get() - wide_x @ wide_y) <= bound).all()


def turned(array: np.ndarray) -> np.ndarray:
    """The same matrix, its columns contiguous."""
    return array.T.copy().T


LAYOUTS: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (a, b) for a in (np.asarray, turned) for b in (np.asarray, turned)
]
over_layouts = pytest.mark.parametrize("layouts", LAYOUTS, ids=["A B", "A Bt", "At B", "At Bt"])

# ---- the ladder ----------------------------------------------------------------------------------


@over_layouts
@pytest.mark.parametrize("name", ["naive<float>", "shared_tiles<double, 8>"])
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (17, 23, 19)])
def test_the_lower_rungs(name: str, m: int, n: int, k: int, layouts: Any, device: Any) -> None:
    dtype = "float32" if "float" in name else "float64"
    x, y = layouts[0](normal(m, k, dtype=dtype)), layouts[1](normal(k, n, dtype=dtype))
    a, b, out = put(x), put(y), device.xp.empty((m, n), dtype)
    strides = (np.int32(s // x.itemsize) for s in (*a.strides, *b.strides))
    sizes = np.int32(m), np.int32(n), np.int32(k)
    grid = (-(-n // 8), -(-m // 8))
    Call([Launch(matmul.SOURCE, name, grid, (8, 8), (a, b, out, *sizes, *strides))], out)()
    close(out, x, y)


# Small tiles, so that odd sizes have several blocks; and the real ones below, on one layout each.
SMALL = {
    "register": matmul.Rung(16, 16, "register_tiles", "float, 16, 16, 8, 4, 4"),
    "vector": matmul.Rung(32, 16, "vector_tiles", "32, 32, 8, 8, 8"),
    "tf32": matmul.Rung(32, 64, "tensor_tiles", "Tf32, 32, 32, 8, 32, 16"),
    "bf16": matmul.Rung(32, 64, "tensor_tiles", "Bf16, 32, 32, 16, 32, 16"),
}
ROUNDED = {"tf32": 2.0**-13, "bf16": 2.0**-10}  # with the 8 of `close`: 2^-10 and 2^-7


def by_rung(
    rung: matmul.Rung, x: Any, y: Any, device: Any, depth: int = 0
) -> tuple[Any, list[Launch]]:
    """The product by one rung, whatever suits the shape; with a depth, in parts of k."""
    out = device.xp.empty((x.shape[0], y.shape[1]), x.dtype)
    plain = matmul.Epilogue(x, x, np.int32(0), x.dtype.type(0))
    keep: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matmul, "_rung", lambda *_: (rung, depth or x.shape[1]))
        launches = matmul._launches(x, y, out, (rung,), plain, keep)
    assert launches is not None
    Call(launches, out, keep)()
    return out, launches


@over_layouts
@pytest.mark.parametrize("kind", SMALL)
def test_the_upper_rungs(kind: str, layouts: Any, device: Any) -> None:
    for m, n, k in [(1, 1, 1), (32, 16, 8), (33, 35, 29), (36, 40, 20)]:
        x, y = layouts[0](normal(m, k)), layouts[1](normal(k, n))
        out, launches = by_rung(SMALL[kind], put(x), put(y), device)
        assert launches[0].name.startswith(SMALL[kind].kernel)
        close(out, x, y, ROUNDED.get(kind))


@pytest.mark.parametrize("precision", matmul.RUNGS)
def test_the_rungs_as_they_are_used(precision: str, device: Any) -> None:
    dtype = "float64" if precision == "float64" else "float32"
    for rung, layout in zip(matmul.RUNGS[precision], LAYOUTS[:3:2], strict=False):
        x, y = layout[0](normal(70, 37, dtype=dtype)), layout[1](normal(37, 131, dtype=dtype))
        out, launches = by_rung(rung, put(x), put(y), device)
        assert launches[0].name in matmul.INSTANCES
        close(out, x, y, ROUNDED.get(precision))


@pytest.mark.parametrize("kind", SMALL)
def test_parts_of_k_are_summed_in_order(kind: str, device: Any) -> None:
    x, y = normal(18, 75), normal(75, 21)
    a, b = put(x), put(y)
    out, launches = by_rung(SMALL[kind], a, b, device, depth=16)
    assert [one.name for one in launches[1:]] == ["sum_parts<float>"]
    close(out, x, y, ROUNDED.get(kind))
    want = np.zeros((18, 21), np.float32)
    for k in range(0, 75, 16):
        part, _ = by_rung(SMALL[kind], a[:, k : k + 16], b[k : k + 16], device)
        want += part.get()
    np.testing.assert_array_equal(out.get(), want)


def test_the_choice_of_tiles_fills_a_gpu() -> None:
    rungs = matmul.RUNGS["float32"]
    assert matmul._rung(rungs, 4096, 4096, 512, 1) == (rungs[0], 512)
    assert matmul._rung(rungs, 1024, 1024, 512, 1) == (rungs[1], 512)
    assert matmul._rung(rungs, 64, 64, 512, 200) == (rungs[0], 512)
    rung, depth = matmul._rung(rungs, 64, 1024, 784, 1)  # a layer of a GAN
    assert rung == rungs[1]
    assert 16 * -(-784 // depth) >= matmul.MULTIPROCESSORS
    assert depth % matmul.STEP == 0
    rung, depth = matmul._rung(matmul.RUNGS["bf16"], 64, 1024, 784, 1)
    assert depth % rung.step == 0
    assert matmul._rung(rungs, 10, 10, 50, 1) == (rungs[1], 50)


# ---- operands ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("left", "right"),
    [((3,), (3,)), ((2, 3), (3,)), ((3,), ()), ((), (2,)), ((2, 1), (1, 3)), ((1, 2), (2, 2))],
)
def test_batches(left: Any, right: Any, dtype: str, device: Any) -> None:
    x, y = normal(*left, 5, 9, dtype=dtype), normal(*right, 9, 6, dtype=dtype)
    call = matmul.product(put(x), put(y))
    call()
    close(call.out, x, y)


def test_strides_of_leading_axes_that_do_not_go_together(device: Any) -> None:
    x, y = normal(2, 3, 5, 9), normal(3, 9, 6)  # y is one stack for both
    a, b = put(x), put(y)
    call = matmul.product(a, b)
    assert len(call.launches) == 2
    call()
    close(call.out, x, y)
    swapped = tg.swapaxes(tg.Tensor(a), axis1=0, axis2=1).data
    call = matmul.product(swapped, b.reshape(3, 1, 9, 6))
    assert len(call.launches) == 3
    call()
    close(call.out, x.swapaxes(0, 1), y[:, None])


def test_operands_within_larger_arrays(device: Any) -> None:
    whole_x, whole_y = normal(40, 48), normal(48, 44)
    a, b = put(whole_x), put(whole_y)
    for rows, ks, columns in [
        (slice(3, 37), slice(4, 40), slice(8, 40)),  # addresses are multiples of 16 bytes
        (slice(3, 37), slice(5, 38), slice(1, 42)),
        (slice(None, None, 2), slice(0, 1), slice(7, 8)),
        (slice(0, 1), slice(0, 48), slice(0, 44)),
        (slice(None, None, -1), slice(0, 48), slice(0, 44)),
    ]:
        call = matmul.product(a[rows, ks], b[ks, columns])
        call()
        close(call.out, whole_x[rows, ks], whole_y[ks, columns])
    out = device.xp.empty((40, 44), np.float32)
    assert matmul.product(a, b, out=out).out is out


def test_what_it_declines(device: Any) -> None:
    x, y = put(normal(6, 8)), put(normal(8, 4))
    declined = [
        matmul.product(x[:, ::2], y[::2]),
        matmul.product(x[:, :0], y[:0]),
        matmul.product(x, put(normal(8, 4, dtype="float64"))),
        matmul.product(x, y, out=device.xp.empty((4, 6), np.float32).T),
        matmul.product(x, y, out=device.xp.empty((6, 4), np.float64)),
        matmul.product(x, y, accumulate=True),
        matmul.product(x, y, bias=put(normal(6))),
        matmul.product(x, y, saved=put(normal(4, 6))),
    ]
    assert all(d is NotImplemented for d in declined)
    whole = device.device
    whole.capability = 75
    try:
        for precision in ROUNDED:
            assert matmul.product(x, y, precision=precision) is NotImplemented
        assert matmul.product(x, y) is not NotImplemented
    finally:
        del whole.capability


def test_nan_and_infinity_stay_in_their_row(device: Any) -> None:
    x, y = normal(70, 20), np.abs(normal(20, 70))
    x[3, 5], x[66, 1] = np.nan, np.inf
    for precision in ("float32", *ROUNDED):
        call = matmul.product(put(x), put(y), precision=precision)
        call()
        got = call.out.get()
        assert np.isnan(got[3]).all()
        assert (got[66] == np.inf).all()
        assert np.isfinite(np.delete(got, [3, 66], 0)).all()


# ---- the epilogue --------------------------------------------------------------------------------

FORWARD = {
    "none": lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "leaky_relu": lambda v: np.where(v > 0, v, 0.2 * v),
    "tanh": np.tanh,
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
}
BACKWARD = {
    "none": lambda v, y: v,
    "relu": lambda v, y: np.where(y > 0, v, 0),
    "leaky_relu": lambda v, y: np.where(y > 0, v, 0.2 * v),
    "tanh": lambda v, y: v * (1 - y**2),
    "sigmoid": lambda v, y: v * y * (1 - y),
}


@pytest.mark.parametrize("activation", matmul.ACTIVATIONS)
@pytest.mark.parametrize(
    ("precision", "k"),
    [("float32", 20), ("float32", 150), ("float64", 20), ("tf32", 20), ("bf16", 20)],
)
def test_epilogues(activation: str, precision: str, k: int, device: Any) -> None:
    dtype = "float64" if precision == "float64" else "float32"
    limit = {"float32": 2e-5, "float64": 1e-13, "tf32": 2e-2, "bf16": 1e-1}[precision]
    x, y, b = normal(21, k, dtype=dtype), normal(k, 66, dtype=dtype), normal(66, dtype=dtype)
    saved, before = normal(21, 66, dtype=dtype), normal(21, 66, dtype=dtype)
    saved[0, :3] = 0
    wide = x.astype("float64") @ y
    options = {"activation": activation, "slope": 0.2, "precision": precision}
    forward = FORWARD[activation](wide + b)
    backward = before + BACKWARD[activation](wide, saved.astype("float64"))
    out = put(before)
    calls = [
        matmul.product(put(x), put(y), bias=put(b), **options),
        matmul.product(put(x), put(y), saved=put(saved), accumulate=True, out=out, **options),
    ]
    for call, want in zip(calls, (forward, backward), strict=True):
        assert call is not NotImplemented
        assert len(call.launches) == (2 if k > 100 else 1)
        call()
        np.testing.assert_allclose(call.out.get(), want, rtol=limit, atol=limit)


def test_an_epilogue_of_a_batch(device: Any) -> None:
    x, y, b = normal(2, 3, 5, 9), normal(3, 9, 6), normal(6)
    saved = normal(2, 3, 5, 6)
    call = matmul.product(put(x), put(y), bias=put(b), activation="tanh", saved=put(saved))
    call()
    want = (x.astype("float64") @ y + b) * (1 - saved.astype("float64") ** 2)
    np.testing.assert_allclose(call.out.get(), want, rtol=1e-5, atol=1e-5)


# ---- rounded operands ----------------------------------------------------------------------------


def tf32(x: np.ndarray) -> np.ndarray:
    """Rounded to 10 bits of mantissa, half-way cases away from zero."""
    bits = x.view(np.uint32)
    return np.where(np.isnan(x), x, ((bits + 0x1000) & 0xFFFFE000).view(np.float32))


def bf16(x: np.ndarray) -> np.ndarray:
    """Rounded to 7 bits of mantissa, half-way cases to the even neighbour."""
    bits = x.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return np.where(np.isnan(x), x, rounded.view(np.float32))


FORMATS: dict[str, Any] = {"tf32": tf32, "bf16": bf16}


@over_layouts
@pytest.mark.parametrize("precision", FORMATS)
def test_operands_are_rounded(precision: str, layouts: Any, device: Any) -> None:
    x, y = layouts[0](normal(70, 90)), layouts[1](normal(90, 40))
    call = matmul.product(put(x), put(y), precision=precision)
    call()
    assert call.launches[0].name.startswith(f"tensor_tiles<{precision.capitalize()}, ")
    rounded = FORMATS[precision]
    size = np.abs(x).astype("float64") @ np.abs(y)
    narrow = rounded(x).astype("float64") @ rounded(y).astype("float64")
    assert (np.abs(call.out.get() - narrow) <= 1e-5 * size).all()
    limit = 8 * ROUNDED[precision]
    assert (np.abs(call.out.get() - x.astype("float64") @ y) <= limit * size).all()


def special_values(ulp: float) -> np.ndarray:
    """Half-way cases and their neighbours for a format whose next number after 1 is 1 + ulp."""
    top = np.finfo("float32").max
    less, more = np.float32(1 + ulp / 2 - 2.0**-23), np.float32(1 + ulp / 2 + 2.0**-23)
    values = [1 + ulp / 2, 1 + 3 * ulp / 2, less, more, 0, 2.0**-126, top, np.inf, np.nan]
    signalling = np.array([0x7F800001], np.uint32).view("float32")  # NaN by its lowest bit alone
    values = np.array(values, "float32")
    return np.concatenate([values, -values, signalling])


@pytest.mark.parametrize("precision", FORMATS)
def test_rounding_of_special_values(precision: str, device: Any) -> None:
    values = special_values({"tf32": 2.0**-10, "bf16": 2.0**-7}[precision])
    want = FORMATS[precision](values)
    assert want[1] == {"tf32": 1 + 2.0**-9, "bf16": 1 + 2.0**-6}[precision]
    assert want[0] == {"tf32": 1 + 2.0**-10, "bf16": 1}[precision]  # a tie
    assert want[6] == np.inf
    columns, ones = np.stack([values, np.zeros_like(values)], axis=1), np.ones((2, 1), np.float32)
    for layout in (np.asarray, turned):  # as the left operand, and as the right one
        for x, y in [(layout(columns), ones), (ones.T, layout(columns).T)]:
            call = matmul.product(put(x), put(y), precision=precision)
            call()
            np.testing.assert_array_equal(call.out.get().ravel(), want)


# ---- dispatch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_are_products_by_kernels(dtype: str, device: Any) -> None:
    x, w, b = normal(33, 20, dtype=dtype), normal(20, 17, dtype=dtype), normal(17, dtype=dtype)
    g, limit = normal(33, 17, dtype=dtype), 1e-4 if dtype == "float32" else 1e-12
    wanted = (g @ w.T, x.T @ g, g.sum(0))
    for operation, arrays in (("matmul_nd", (x, w)), ("linear_fused", (x, w, b))):
        leaves = [tg.tensor(a, requires_grad=True) for a in arrays]
        before = device.hits[operation]
        out = tg.matmul(*leaves) if len(leaves) == 2 else tg.linear(*leaves)
        assert device.hits[operation] == before + 1
        before = device.hits["matmul_nd"]
        found = tg.grad(out, leaves, tg.tensor(g))
        assert device.hits["matmul_nd"] >= before + 2
        np.testing.assert_allclose(out.numpy(), x @ w + sum(arrays[2:]), rtol=limit, atol=limit)
        for y, want in zip(found, wanted, strict=False):
            np.testing.assert_allclose(y.numpy(), want, rtol=limit, atol=limit)


def test_a_stack_times_one_matrix(device: Any) -> None:
    x, w = normal(64, 12), normal(12, 5)
    before = device.hits["matmul_nd"]
    out = tg.matmul(tg.tensor(x).reshape((4, 16, 12)), tg.tensor(w))
    assert device.hits["matmul_nd"] == before + 1
    close(out.data.reshape(64, 5), x, w)
