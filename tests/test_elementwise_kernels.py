"""Generated loops and the functions they call, against NumPy."""

from __future__ import annotations

import hashlib
import inspect

import numpy as np
import pytest

pytest.importorskip("numba")

from tinygen import backend
from tinygen.random import dropout as dropout_primitive
from tinygen_kernels.cpu import elementwise

XP = backend.get("numpy").xp
SPECIAL = [
    np.nan,
    np.inf,
    -np.inf,
    0.0,
    -0.0,
    1e-40,
    -1e-40,
    3e38,
    -3e38,
    1.0,
    -1.0,
    0.5,
    88.9,
    -105,
]


def run(program, outputs, inputs, dtypes=("float32",), workers=None):
    shape = np.broadcast_shapes(*(a.shape for a in inputs if a.dtype != np.uint64))
    outs = [np.empty(shape, d) for d in dtypes]
    fused = elementwise.fused(program, outputs, inputs, outs)
    assert fused is not NotImplemented
    call = elementwise.elementwise_call(fused, *shape)
    if workers is not None:
        call.rows[0, 2] = workers
    call()
    return outs


def one(name, *arrays, dtype="float32", **static):
    operands = tuple(("in", i) for i in range(len(arrays)))
    program = ((name, operands, tuple(sorted(static.items()))),)
    return run(program, (0,), [np.atleast_2d(a) for a in arrays], (dtype,))[0][0]


EXACT = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": lambda x: np.where(x >= 0, 1, np.exp(-abs(x))) / (1 + np.exp(-abs(x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x))),
    "sqrt": np.sqrt,
    "relu": lambda x: np.maximum(x, 0),
    "abs": np.abs,
    "square": np.square,
    "neg": np.negative,
    "sign": np.sign,
    "floor": np.floor,
    "round": np.rint,
}
RANGES = {"log": (-37, 38), "exp": (-87, 88.7), "tanh": (-12, 12), "sqrt": (-37, 38)}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_over_their_range(name, dtype):
    low, high = RANGES.get(name, (-80, 80))
    x = np.linspace(low, high, 400_001)
    x = (10.0**x if name in ("log", "sqrt") else x).astype(dtype)
    with np.errstate(all="ignore"):
        want = EXACT[name](x.astype("d"))
        got = one(name, x, dtype=dtype).astype("d")
        ulps = np.abs(got - want) / np.spacing(np.abs(want).astype(dtype)).astype("d")
    assert ulps.max() <= (2 if dtype == "float32" else 4)


@pytest.mark.parametrize("name", EXACT)
def test_functions_at_special_values(name):
    x = np.array(SPECIAL, "float32")
    with np.errstate(all="ignore"):
        want = EXACT[name](x)
    got = one(name, x)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-44)
    if name in ("tanh", "relu", "neg"):
        assert np.array_equal(np.signbit(got), np.signbit(want)) or name == "relu"


PAIRS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "maximum": np.maximum, "minimum": np.minimum,
    "guarded_mul": lambda c, s: np.where(c == 0, 0, c * s),
    "guarded_div": lambda c, s: np.where(c == 0, 0, c / s),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_at_special_values(name):
    values = np.array(SPECIAL, "float32")
    x, y = (a.ravel().copy() for a in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        want = PAIRS[name](x, y)
    assert np.array_equal(one(name, x, y), want.astype("float32"), equal_nan=True)


@pytest.mark.parametrize(
    ("name", "ufunc"),
    [("equal", np.equal), ("not_equal", np.not_equal), ("less", np.less),
     ("less_equal", np.less_equal), ("greater", np.greater), ("greater_equal", np.greater_equal)],
)  # fmt: skip
def test_comparisons_at_special_values(name, ufunc):
    values = np.array(SPECIAL, "float32")
    x, y = (a.ravel().copy() for a in np.meshgrid(values, values))
    assert np.array_equal(one(name, x, y, dtype="bool"), ufunc(x, y))


@pytest.mark.parametrize("shape", [(1, 5000), (7, 33), (300, 20), (64, 1)])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_chain_with_broadcasting_and_dropout(shape, workers):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype("float32")
    bias = rng.standard_normal(shape[1]).astype("float32")
    column = rng.standard_normal((shape[0], 1)).astype("float32")
    scalar = np.array([2.0], "float32")
    key, base = np.array([2**63 + 5], "u8"), np.array([2**64 - 2], "u8")
    program = (
        ("add", (("in", 0), ("in", 1)), ()),
        ("leaky_relu", (("line", 0),), (("slope", 0.2),)),
        ("mul", (("line", 1), ("in", 2)), ()),
        ("mul", (("line", 2), ("in", 5)), ()),
        ("dropout", (("line", 3), ("in", 3), ("in", 4)), (("offset", 3), ("p", 0.3))),
    )
    inputs = [x, bias, column, key, base, scalar]
    first, last = run(program, (0, 4), inputs, ("float32", "float32"), workers)
    want = x + bias
    assert np.array_equal(first, want)
    want = np.where(want > 0, want, np.float32(0.2) * want) * column * 2
    want = dropout_primitive.reference(XP, want, key, base, offset=3, p=0.3)
    np.testing.assert_allclose(last, want, rtol=1e-6)
    assert np.array_equal(last == 0, want == 0)


@pytest.mark.parametrize("low", [None, -1.0, -np.inf, 2.0])
@pytest.mark.parametrize("high", [None, 0.5, np.inf])
def test_clip_with_open_and_closed_sides(low, high):
    x = np.array([*SPECIAL, 0.4, -1.0, 0.5], "float32")[None]
    static = (("high", high), ("low", low))
    (got,) = run((("clip", (("in", 0),), static),), (0,), [x], ("float32",))
    want = x if low is None is high else np.clip(x, low, high)
    assert np.array_equal(got, want, equal_nan=True)


def test_in_place_and_booleans():
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((30, 70)).astype("float32") for _ in range(2))
    program = (
        ("greater", (("in", 0), 0.0), ()),
        ("where", (("line", 0), ("in", 1), 0.0), ()),
    )
    mask = np.empty(x.shape, bool)
    want = np.where(x > 0, g, 0)
    fused = elementwise.fused(program, (0, 1), [x, g], [mask, g])
    elementwise.elementwise_call(fused, *x.shape)()
    assert np.array_equal(g, want)
    assert np.array_equal(mask, x > 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_finite(dtype):
    largest = np.finfo(dtype).max
    x = np.array([[0, -0.0, 1, largest, -largest, np.inf, -np.inf, np.nan] * 9], dtype)
    out = np.empty(x.shape, bool)
    made = elementwise.fused((("isfinite", (("in", 0),), ()),), (0,), [x], [out])
    elementwise.elementwise_call(made, *x.shape)()
    np.testing.assert_array_equal(out, np.isfinite(x))


def test_what_cannot_be_served_is_declined():
    x = np.ones((4, 6), "float32")
    add = (("add", (("in", 0), ("in", 1)), ()),)
    out = [np.empty((4, 6), "float32")]
    assert elementwise.fused(add, (0,), [x, x.astype("d")], out) is NotImplemented
    assert elementwise.fused(add, (0,), [x, np.ones((6, 4), "f").T], out) is NotImplemented
    power = ("power_n", (("in", 0),), (("n", 1.5),))
    assert elementwise.fused((power,), (0,), [x], out) is NotImplemented


def test_the_source_can_be_read_also_where_an_error_is_shown():
    x = np.ones((4, 6), "float32")
    fused = elementwise.fused((("exp", (("in", 0),), ()),), (0,), [x], [x.copy()])
    assert "t0 = exp(x0)  # exp" in fused.source
    body = fused.block.body
    assert inspect.getsource(body) in fused.source
    assert hashlib.sha256(fused.source.encode()).hexdigest().startswith(body.__module__[6:])
