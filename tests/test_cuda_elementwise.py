"""Generated loops of CUDA C++, the functions they call and the activations made of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from op_table import ROWS, Row
from strategies import AVAILABLE

import tinygen as tg
from tinygen import backend, losses, ops
from tinygen.random import dropout as dropout_primitive

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

from tinygen_kernels import pointwise
from tinygen_kernels.cuda import activations, elementwise

XP = backend.get("numpy").xp
SPECIAL = (
    np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 3e38, -3e38, 1.0, -1.0, 0.5, 88.9, -105,
)  # fmt: skip


@pytest.fixture
def quick() -> Iterator[Any]:
    """The device without its checks, for many elements."""
    with tg.use_backend("emulated") as found:
        yield found


def run(
    device: Any, program: Any, outputs: Any, inputs: list[Any], dtypes: Any = ("float32",)
) -> list[Any]:
    """The stored lines of a program, which are new arrays."""
    shape = np.broadcast_shapes(*(a.shape for a in inputs if a.dtype != np.uint64))
    outs = [device.xp.empty(shape, np.dtype(d)) for d in dtypes]
    made = elementwise.fused(program, outputs, [device.asarray(a) for a in inputs], outs)
    assert made is not NotImplemented
    elementwise.elementwise_call(made, *shape)()
    return [o.get() for o in outs]


def lines(*names: str) -> Any:
    """Each operation on the inputs that it takes."""
    return tuple((n, (("in", 0),) if n in ALONE else (("in", 0), ("in", 1)), ()) for n in names)


ALONE = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "erf": XP.erf,
    "sigmoid": lambda x: np.where(x >= 0, 1, np.exp(-abs(x))) / (1 + np.exp(-abs(x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x))),
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "relu": lambda x: np.maximum(x, 0),
    "abs": np.abs,
    "square": np.square,
    "neg": np.negative,
    "sign": np.sign,
}
PAIRS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "maximum": np.maximum, "minimum": np.minimum,
    "remainder": np.remainder, "floor_divide": np.floor_divide,
    "guarded_mul": lambda c, s: np.where(c == 0, 0, c * s),
    "guarded_div": lambda c, s: np.where(c == 0, 0, c / s),
}  # fmt: skip
TRUTHS = [name for name, row in pointwise.ROWS.items() if row.truth]
COMPARISONS = {name: getattr(np, name.replace("mask_", "logical_")) for name in TRUTHS}
FINITE = COMPARISONS.pop("isfinite")
RANGES = {"log": (-37, 38), "sqrt": (-37, 38), "exp": (-87, 88.7), "tanh": (-12, 12)}

# ---- one operation -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_over_their_range(quick: Any, dtype: str) -> None:
    inputs = []
    for name in ALONE:
        low, high = RANGES.get(name, (-80, 80))
        x = np.linspace(low, high, 20_001)
        x = 10.0**x if name in ("log", "sqrt") else x
        inputs.append(x.astype(dtype).reshape(1, -1))
    program = tuple((name, (("in", i),), ()) for i, name in enumerate(ALONE))
    found = run(quick, program, range(len(ALONE)), inputs, [dtype] * len(ALONE))
    for (name, exact), x, got in zip(ALONE.items(), inputs, found, strict=True):
        want = exact(x.astype("d"))
        with np.errstate(all="ignore"):
            ulps = np.abs(got - want) / np.spacing(np.abs(want).astype(dtype)).astype("d")
        assert ulps.max() <= (2 if dtype == "float32" else 4), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_at_special_values(device: Any, dtype: str) -> None:
    x = np.array(SPECIAL, dtype).reshape(1, -1)
    found = run(device, lines(*ALONE), range(len(ALONE)), [x], [dtype] * len(ALONE))
    for (name, exact), got in zip(ALONE.items(), found, strict=True):
        with np.errstate(all="ignore"):
            want = exact(x)
        assert np.array_equal(np.isnan(got), np.isnan(want)), name
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-44, err_msg=name)
        if name in ("tanh", "erf", "sqrt", "sin", "neg", "abs", "square"):
            assert np.array_equal(np.signbit(got), np.signbit(want)), name
    (found,) = run(device, (("isfinite", (("in", 0),), ()),), (0,), [x], ["bool"])
    assert np.array_equal(found, np.isfinite(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pairs_at_special_values(device: Any, dtype: str) -> None:
    values = np.array(SPECIAL, dtype)
    x, y = (a.reshape(1, -1).copy() for a in np.meshgrid(values, values))
    program = lines(*PAIRS, *COMPARISONS)
    kinds = [dtype] * len(PAIRS) + ["bool"] * len(COMPARISONS)
    found = run(device, program, range(len(program)), [x, y], kinds)
    for (name, exact), got in zip((PAIRS | COMPARISONS).items(), found, strict=True):
        with np.errstate(all="ignore"):
            want = exact(x, y)
        assert np.array_equal(got, want.astype(got.dtype), equal_nan=got.dtype != bool), name


def test_constants_keep_their_bits(device: Any) -> None:
    x = np.ones((1, 5))
    numbers = [0.1, -0.1, 1e-45, 1e300, np.pi, -0.0, np.inf, -np.inf, np.nan, 3, 1e20, 16777217]
    for dtype in ("float32", "float64"):
        program = tuple(("mul", (("in", 0), v), ()) for v in numbers)
        found = run(device, program, range(len(numbers)), [x.astype(dtype)], [dtype] * len(numbers))
        for v, got in zip(numbers, found, strict=True):
            with np.errstate(over="ignore"):
                want = np.full((1, 5), np.dtype(dtype).type(v))
            assert np.array_equal(got, want, equal_nan=True)
            assert np.array_equal(np.signbit(got), np.signbit(want)) or np.isnan(v)
    assert not np.signbit(run(device, (("mul", (("in", 0), 0.0), ()),), (0,), [x], ["d"])[0]).any()


def test_clip_and_leaky_relu_take_their_options(device: Any) -> None:
    x = np.array([SPECIAL], "float32")
    ends = list(itertools.product((None, -1.0), (None, 0.75)))[1:]
    program = (
        *(("clip", (("in", 0),), (("high", high), ("low", low))) for low, high in ends),
        ("leaky_relu", (("in", 0),), (("slope", np.float64(0.2)),)),
    )
    *found, leaky = run(device, program, range(4), [x], ["float32"] * 4)
    for (low, high), got in zip(ends, found, strict=True):
        assert np.array_equal(got, np.clip(x, low, high), equal_nan=True)
    with np.errstate(all="ignore"):
        want = np.where(x > 0, x, np.float32(0.2) * x)
    assert np.array_equal(leaky, want, equal_nan=True)


# ---- programs ------------------------------------------------------------------------------------

CHAIN = (
    ("add", (("in", 0), ("in", 1)), ()),
    ("leaky_relu", (("line", 0),), (("slope", 0.2),)),
    ("mul", (("line", 1), ("in", 2)), ()),
    ("dropout", (("line", 2), ("in", 3), ("in", 4)), (("offset", 3), ("p", 0.3))),
    ("mul", (("line", 3), ("in", 5)), ()),
    ("greater", (("line", 4), 0.0), ()),
    ("where", (("line", 5), ("line", 4), ("in", 1)), ()),
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 1025), (7, 33), (300, 20), (64, 1), (3, 2), (1100, 3), (2, 4), (2, 1024)],
)
def test_a_chain_with_broadcasting_and_dropout(device: Any, shape: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    bias = rng.standard_normal(shape[1]).astype(dtype)
    column = rng.standard_normal((shape[0], 1)).astype(dtype)
    scalar = np.array([2.0], dtype)
    key, base = np.array([2**63 + 5], "u8"), np.array([2**64 - 2], "u8")
    inputs = [x, bias, column, key, base, scalar]
    outs = run(device, CHAIN, (0, 4, 5, 6), inputs, (dtype, dtype, "bool", dtype))
    first, drawn, positive, last = outs
    want = x + bias
    assert np.array_equal(first, want)
    want = np.where(want > 0, want, np.dtype(dtype).type(0.2) * want) * column
    want = dropout_primitive.reference(XP, want, key, base, offset=3, p=0.3) * scalar
    np.testing.assert_allclose(drawn, want, rtol=1e-6)
    assert np.array_equal(drawn == 0, want == 0)
    assert np.array_equal(positive, drawn > 0)
    assert np.array_equal(last, np.where(drawn > 0, drawn, bias))


def test_two_dropouts_in_one_loop_are_two_draws(device: Any) -> None:
    x, key, base = np.ones((5, 9), "float32"), np.array([1], "u8"), np.array([2**32 - 1], "u8")
    drawn = lambda of, offset: (
        "dropout",
        (of, ("in", 1), ("in", 2)),
        (("offset", offset), ("p", 0.5)),
    )
    program = (drawn(("in", 0), 0), drawn(("line", 0), 2))
    (got,) = run(device, program, (1,), [x, key, base])
    for offset in (0, 2):
        x = dropout_primitive.reference(XP, x, key, base, offset=offset, p=0.5)
    assert np.array_equal(got, x)


@pytest.mark.parametrize("shape", [(30, 70), (1, 5), (3, 1), (1, 1)])
def test_in_place_and_booleans(device: Any, shape: Any) -> None:
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal(shape).astype("float32") for _ in range(2))
    spread = rng.standard_normal((shape[0], 1)) > 0
    program = (
        ("greater", (("in", 0), 0.0), ()),
        ("where", (("line", 0), ("in", 1), 0.0), ()),
        ("where", (("in", 2), ("line", 1), ("in", 0)), ()),
        ("where", (("in", 3), ("line", 2), 7.0), ()),
    )
    there = [device.asarray(a) for a in (x, g, spread, x > -1)]
    mask = device.xp.empty(shape, np.bool_)
    made = elementwise.fused(program, (0, 1, 3), there, [mask, there[1], there[0]])
    elementwise.elementwise_call(made, *shape)()
    want = np.where(x > 0, g, 0)
    assert np.array_equal(mask.get(), x > 0)
    assert np.array_equal(there[1].get(), want)
    assert np.array_equal(there[0].get(), np.where(x > -1, np.where(spread, want, x), 7))


def test_memory_that_starts_anywhere(device: Any) -> None:
    """Neither inputs nor outputs need start at a multiple of 16 bytes."""
    memory = np.arange(64, dtype="float32")
    there = device.asarray(memory)
    part = lambda start: there[start : start + 21].reshape(3, 7)
    made = elementwise.fused(lines("add"), (0,), [part(1), part(22)], [part(43)])
    elementwise.elementwise_call(made, 3, 7)()
    memory[43:] = memory[1:22] + memory[22:43]
    assert np.array_equal(there.get(), memory)


def test_index_of_more_than_32_bits(device: Any) -> None:
    """The text for large arrays differs in its index; it is run on a small one."""
    rng = np.random.default_rng(0)
    x, bias = rng.standard_normal((5, 7)), rng.standard_normal(7)
    kinds, types = ("full", "row"), ("float64",) * 3
    source = elementwise.source_of(lines("add"), (0,), kinds, types, True, "")
    assert "long long rows, long long columns" in source.code
    out = device.xp.empty((5, 7))
    args = (device.asarray(x), device.asarray(bias), out, np.int64(5), np.int64(7))
    device.device.launch(
        elementwise.Launch(source, elementwise.name_of(source), (1,), (256,), args)
    )
    assert np.array_equal(out.get(), x + bias)


def test_more_elements_than_threads(quick: Any) -> None:
    x = np.arange(4 * 256 * 4096 + 5, dtype="float32").reshape(1, -1)
    assert np.array_equal(run(quick, lines("neg"), (0,), [x])[0], -x)


def test_what_cannot_be_served_is_declined(device: Any) -> None:
    x = device.asarray(np.ones((4, 6), "float32"))
    out = [x.copy()]
    fused = elementwise.fused
    tall = device.asarray(np.ones((6, 4), "float32")).T
    for other in (x.astype(np.float64), tall, x[:, :3], x.astype(np.int32)):
        assert fused(lines("add"), (0,), [x, other], out) is NotImplemented
    power = ("power_n", (("in", 0),), (("n", 1.5),))
    assert fused((power,), (0,), [x], out) is NotImplemented
    assert fused(lines("exp"), (0,), [x], [tall]) is NotImplemented
    assert fused(lines("exp"), (0,), [x[:0]], [x[:0]]) is NotImplemented


def test_the_source_can_be_read_and_is_named_by_its_hash(device: Any) -> None:
    x = device.asarray(np.ones((4, 6), "float32"))
    made = [elementwise.fused(lines(n), (0,), [x], [x]) for n in ("exp", "exp", "log")]
    assert "float t0 = exp(x0);  // exp" in made[0].source
    assert made[0].kernel is made[1].kernel != made[2].kernel
    name = elementwise.name_of(made[0].kernel)
    assert f"__global__ void {name}(" in made[0].kernel.text
    assert made[0].kernel.parameters[name] == ("a0", "o0", "rows", "columns")


def test_an_error_names_the_line_of_the_generated_text(device: Any) -> None:
    from tinygen_kernels.cuda.emulator import KernelError

    x = device.asarray(np.ones((1, 8), "float32"))
    made = elementwise.fused(lines("exp"), (0,), [x], [x.copy()])
    name = elementwise.name_of(made.kernel)
    with pytest.raises(KernelError, match=rf"{name}, \w+\.cuh.*bytes past the end of a0"):
        elementwise.elementwise_call(made, 1, 12)()


# ---- activations and losses ----------------------------------------------------------------------

LOSSES = ("bce_logits_terms", "gaussian_kl_terms", "gaussian_nll_terms", "gaussian_sample")
OPS = {n: getattr(losses if n in LOSSES else ops, n) for n in pointwise.ON_GPU}
SHAPES = [(), (1,), (5,), (3, 7), (2, 5, 103)]


def kernel(name: str) -> Any:
    return backend.load_kernel(backend.get("emulated"), name)


def values(name: str, shape: Any, dtype: str) -> list[Any]:
    rng = np.random.default_rng(1)
    made = [rng.standard_normal(shape).astype(dtype) for _ in OPS[name].args]
    return [np.abs(a) for a in made] if name == "log" else made


def wide(name: str, arrays: list[Any], **options: Any) -> Any:
    """What the operation's definition makes of the arrays in float64."""
    with tg.use_backend("numpy"):
        tensors = [tg.tensor(a.astype("d")) for a in arrays]
        return getattr(OPS[name], "body", OPS[name])(*tensors, **options).numpy()


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((n, "float32") for n in OPS), ("gelu", "float64"), ("gaussian_nll_terms", "float64")],
)
def test_activations(device: Any, name: str, dtype: str) -> None:
    limit = 4e-7 if dtype == "float32" else 1e-15
    for shape in SHAPES:
        arrays = values(name, shape, dtype)
        there = [device.asarray(a) for a in arrays]
        want = wide(name, arrays)
        got = kernel(name)(*there)
        assert (got.shape, got.dtype) == (shape, dtype)
        scale = 1 + max(np.abs(a).max() for a in (*arrays, want))
        np.testing.assert_allclose(got.get(), want, rtol=0, atol=2 * limit * scale)
        inplace = kernel(name)(*there, out=there[0])
        assert inplace is there[0]
        assert inplace.get().tobytes() == got.get().tobytes()


EXTREME = [r for r in ROWS if r.name in OPS and r.extremes]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("row", EXTREME, ids=[r.name for r in EXTREME])
def test_activations_at_extremes(quick: Any, row: Row, dtype: str) -> None:
    x = np.array(row.extremes, dtype)
    pairs = [np.ascontiguousarray(a).reshape(-1) for a in np.meshgrid(*[x] * len(row.domains))]
    got = kernel(row.name)(*map(quick.asarray, pairs)).get()
    with np.errstate(all="ignore"):
        want = row.reference(*(a.astype("d") for a in pairs)).astype(dtype)
    tiny = np.finfo(dtype).tiny if dtype == "float32" else 1e-300
    np.testing.assert_allclose(got, want, rtol=8 * np.finfo(dtype).eps, atol=tiny)


def test_activations_run_in_eager_mode(device: Any) -> None:
    before = device.hits.copy()
    for name, op in OPS.items():
        op(*(tg.tensor(a) for a in values(name, (4, 3), "float32")))
        assert device.hits[name] == before[name] + 1


def test_a_variance_of_no_axes_is_spread(device: Any) -> None:
    mean, x, logvar = values("gaussian_nll_terms", (3, 5), "float32")
    arrays = [mean, x, logvar[0, 0]]
    got = kernel("gaussian_nll_terms")(*(device.asarray(a) for a in arrays)).get()
    np.testing.assert_allclose(got, wide("gaussian_nll_terms", arrays), rtol=2e-6)


def test_leaky_relu_takes_its_slope(device: Any) -> None:
    x = np.array(SPECIAL, "float32")
    for slope in (0.2, np.float64(0.2), 0):
        with np.errstate(all="ignore"):
            want = ops.leaky_relu.reference(XP, x, slope=slope)
        got = kernel("leaky_relu")(device.asarray(x), slope=slope).get()
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", OPS)
def test_activations_decline_what_they_do_not_serve(device: Any, name: str) -> None:
    bind = kernel(name).bind
    x = device.asarray(np.ones((8, 8), "float32"))
    count = len(OPS[name].args)
    for other in (x[:, ::2], x.T[1:], x[:0], x.astype(np.int64)):
        assert bind(*[other] * count) is NotImplemented
    for out in (x.reshape(64), x.astype(np.float64), x[:4]):
        assert bind(*[x] * count, out=out) is NotImplemented
    if count > 1:
        assert bind(*[x] * (count - 1), x.astype(np.float64)) is NotImplemented
        assert bind(*[x] * (count - 1), x[:1]) is NotImplemented


def test_every_kernel_of_the_module_is_listed() -> None:
    found = activations.instances(backend.programs[name]() for name in OPS)
    assert len({name for _, name in found}) == 2 * len(OPS)
    assert all(f"void {name}(" in source.text for source, name in found)
