"""The templates: each is run over every row of tests/op_table.py that it concerns."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from op_table import ROWS, Bad, Row
from strategies import AVAILABLE, BACKENDS, LAYOUTS, Domain, Sample, rngs

import tinygen as tg
import tinygen_kernels
from tinygen import backend
from tinygen.primitive import PRIMITIVES
from tinygen.spelling import called
from tinygen.tensor import Tensor
from tinygen.testing import check_grads

MODULES = ("tinygen", "tinygen.nn", "tinygen.optim", "tinygen.losses", "tinygen.random")
VALUES = [r for r in ROWS if not r.mutates]
SMOOTH = [r for r in VALUES if r.order]
WRITING = [r for r in ROWS if r.mutates]
POINTWISE = [r for r in ROWS if r.domains]
SHAPES = [(), (0,), (1,), (2, 0, 3), (1, 1), (2, 3)]


def over(rows: list[Row]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=[r.name for r in rows])


def call(row: Row, sample: Sample) -> tuple[Tensor, ...]:
    """The operation on tensors that hold these very arrays, which nobody may write into."""
    out = row.call(*(_locked(a) for a in sample.arrays), **sample.options)
    return out if isinstance(out, tuple) else (out,)


def _locked(a: np.ndarray) -> Tensor:
    a = np.asarray(a).view()
    a.flags.writeable = False
    return Tensor(a)


def expected(row: Row, sample: Sample) -> tuple[np.ndarray, ...]:
    with np.errstate(all="ignore"):
        out = row.reference(*sample.arrays, **sample.options)
    return tuple(map(np.asarray, out if isinstance(out, tuple) else (out,)))


def on_leaves(row: Row, sample: Sample) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """The floating-point arguments as leaves, and the results."""
    tensors = [_locked(a) for a in sample.arrays]
    leaves = [tensors[i] for i in sample.floats()]
    for leaf in leaves:
        leaf.requires_grad = True
    out = row.call(*tensors, **sample.options)
    return leaves, out if isinstance(out, tuple) else (out,)


def gradients(row: Row, sample: Sample, seed: int = 0) -> list[np.ndarray]:
    """The gradients for random cotangents."""
    leaves, outputs = on_leaves(row, sample)
    rng = np.random.default_rng(seed)
    live = [y for y in outputs if y.node is not None]
    cotangents = [Tensor(np.asarray(rng.standard_normal(y.shape), dtype=y.dtype)) for y in live]
    found = tg.grad(live, leaves, cotangents)
    for x, g in zip(leaves, found, strict=True):
        assert g.shape == x.shape
        assert g.dtype == x.dtype
    return [g.numpy() for g in found]


def agree(got: Any, want: Any, rtol: float, atol: float) -> None:
    assert np.shape(got) == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, equal_nan=True)


def edges(row: Row) -> list[Sample]:
    """The calls always tried: a row's own, or 0-d and zero-size ones for an elementwise row."""
    rng, defaults = np.random.default_rng(3), _some_options(row)
    made = [Sample(tuple(d.fill(rng, s) for d in row.domains), defaults) for s in SHAPES]
    return [*row.edges, *(made if row.domains else [])]


def _some_options(row: Row) -> dict[str, Any]:
    """Options for an elementwise row, where they are required."""
    return {"power_n": {"n": 3}, "cast": {"dtype": "float64"}}.get(row.name, {})


# ---- the table itself ----------------------------------------------------------------------------


@pytest.mark.quick
def test_every_operation_has_a_row() -> None:
    for module in MODULES:
        importlib.import_module(module)
    public = {
        name for name in tg.ops.__all__
        if not inspect.isclass(getattr(tg, name)) and name != "conventions"
    }  # fmt: skip
    public |= {n for n, p in PRIMITIVES.items() if p.reference.__module__.startswith("tinygen")}
    names = [r.name for r in ROWS]
    assert sorted(public - set(names)) == []
    assert len(names) == len(set(names))


@pytest.mark.quick
def test_every_loss_has_a_row() -> None:
    losses = importlib.import_module("tinygen.losses")
    public = {
        n for n, f in vars(losses).items()
        if getattr(f, "__module__", "") == losses.__name__ and not n.startswith("_")
        and not inspect.isclass(f)
    }  # fmt: skip
    assert len(public) > 5
    assert sorted(public - {r.name for r in ROWS}) == []


def test_every_kernel_has_a_row() -> None:
    for table in tinygen_kernels.TABLES.values():
        assert table.keys() <= {r.name for r in ROWS}


# ---- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
@over(VALUES)
@given(data=st.data())
def test_forward(row: Row, name: str, data: Any) -> None:
    sample = data.draw(row.samples)
    with tg.use_backend(name):
        out = row.call(*(tg.tensor(a) for a in sample.arrays), **sample.options)
    for y, want in zip(
        out if isinstance(out, tuple) else (out,), expected(row, sample), strict=True
    ):
        agree(y.numpy(), want, row.rtol, row.rtol)
        if want.dtype.kind != "f":
            assert y.dtype == want.dtype


@pytest.mark.quick
@over(VALUES)
def test_edges(row: Row) -> None:
    for sample in edges(row):
        for y, want in zip(call(row, sample), expected(row, sample), strict=True):
            agree(y.numpy(), want, row.rtol, row.rtol)
        if row.order and sample.floats() and call_is_smooth(row, sample):
            check_grads(lambda *xs, s=sample: row.call(*xs, **s.options), sample.arrays, row.order)


def call_is_smooth(row: Row, sample: Sample) -> bool:
    _, outputs = on_leaves(row, sample)
    return any(y.node is not None for y in outputs)


@over([r for r in POINTWISE if r.extremes])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_extremes(row: Row, dtype: str) -> None:
    values = np.array(row.extremes, dtype=dtype)
    one = len(row.domains) == 1
    arrays = (values,) if one else tuple(a.ravel() for a in np.meshgrid(values, values))
    sample = Sample(arrays, _some_options(row))
    (y,) = call(row, sample)
    wide = sample.cast("float64")
    with np.errstate(all="ignore"):
        (want,) = expected(row, wide)
        want = want.astype(y.dtype)
    limit = np.finfo(dtype).eps * 8
    agree(y.numpy(), want, limit, np.finfo(dtype).tiny if dtype == "float32" else 1e-300)


@over(VALUES)
@given(data=st.data())
def test_float32(row: Row, data: Any) -> None:
    sample = data.draw(row.samples).cast("float32")
    if "dtype" in sample.options:
        return
    wide = sample.cast("float64")
    terms = 1 if row.domains else max([1, *(a.size for a in sample.arrays)])
    for y, want in zip(call(row, sample), expected(row, wide), strict=True):
        if want.dtype.kind != "f":
            assert y.dtype == want.dtype
            continue
        assert y.dtype == np.float32
        scale = 1 + np.max(np.abs(want), initial=0)
        agree(y.numpy(), want, 0, row.ulps * terms * np.finfo(np.float32).eps * scale)
    if row.order and sample.floats() and call_is_smooth(row, sample):
        for g, want in zip(gradients(row, sample), gradients(row, wide), strict=True):
            agree(g, want, 2e-4, 2e-4 * (1 + np.max(np.abs(want), initial=0)))


@over([r for r in POINTWISE if len(r.domains) == 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scalars_take_the_other_dtype(row: Row, dtype: str) -> None:
    rng = np.random.default_rng(1)
    x, y = (d.fill(rng, (3,)).astype(dtype) for d in row.domains)
    for scalar in (float(y[0]), np.float64(y[0]), np.float32(y[0])):
        want = row.call(Tensor(x), Tensor(np.full(3, scalar, dtype)))
        assert row.call(Tensor(x), scalar).dtype == want.dtype
        agree(row.call(Tensor(x), scalar).numpy(), want.numpy(), 1e-6, 0)
    for scalar in (float(x[0]), np.float64(x[0])):
        want = row.call(Tensor(np.full(3, scalar, dtype)), Tensor(y))
        assert row.call(scalar, Tensor(y)).dtype == want.dtype
        agree(row.call(scalar, Tensor(y)).numpy(), want.numpy(), 1e-6, 0)


# ---- gradients -----------------------------------------------------------------------------------


@over(SMOOTH)
@given(data=st.data())
def test_gradients(row: Row, data: Any) -> None:
    sample = data.draw(row.samples)
    check_grads(lambda *xs: row.call(*xs, **sample.options), sample.arrays, row.order)


@pytest.mark.quick
@over([r for r in POINTWISE if len(r.domains) > 1 and r.order])
@pytest.mark.parametrize(
    ("left", "right"),
    [((), (2, 3)), ((2, 3), ()), ((3, 1), (1, 4)), ((1,), (0,)), ((2, 1, 1), (3, 2)), ((1, 1), ())],
)
def test_gradients_of_broadcast_arguments(row: Row, left: Any, right: Any) -> None:
    rng = np.random.default_rng(0)
    arrays = (row.domains[0].fill(rng, left), row.domains[1].fill(rng, right))
    check_grads(row.call, arrays, 2)


@pytest.mark.parametrize("name", BACKENDS)
@over(SMOOTH)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=4)
@given(data=st.data())
def test_gradients_agree_on_every_backend(row: Row, name: str, data: Any) -> None:
    sample = data.draw(row.samples)
    on_host = gradients(row, sample) if call_is_smooth(row, sample) else []
    if not on_host:
        return
    with tg.use_backend(name):  # some draw random numbers themselves
        tensors = [tg.tensor(a) for a in sample.arrays]
        leaves = [tensors[i] for i in sample.floats()]
        for leaf in leaves:
            leaf.requires_grad = True
        out = row.call(*tensors, **sample.options)
    live = [y for y in (out if isinstance(out, tuple) else (out,)) if y.node is not None]
    rng = np.random.default_rng(0)
    cotangents = [tg.tensor(np.asarray(rng.standard_normal(y.shape))).to(name) for y in live]
    for g, want in zip(tg.grad(live, leaves, cotangents), on_host, strict=True):
        assert g.backend.name == name
        agree(g.numpy(), want, 1e-10, 1e-12)


# ---- memory --------------------------------------------------------------------------------------


@over(VALUES)
@settings(max_examples=6)
@given(data=st.data(), layouts=st.lists(st.sampled_from(LAYOUTS), min_size=3, max_size=3))
def test_layouts(row: Row, data: Any, layouts: list[Any]) -> None:
    sample = data.draw(row.samples)
    cycle = [layouts[i % 3] for i in range(len(sample.arrays))]
    other = Sample(tuple(f(a) for f, a in zip(cycle, sample.arrays, strict=True)), sample.options)
    for a, b in zip(other.arrays, sample.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
    for y, want in zip(call(row, other), call(row, sample), strict=True):
        agree(y.numpy(), want.numpy(), 1e-12, 1e-13)
    if row.order and sample.floats() and call_is_smooth(row, sample):
        for g, want in zip(gradients(row, other), gradients(row, sample), strict=True):
            agree(g, want, 1e-12, 1e-13)


@over(VALUES)
@settings(max_examples=4)
@given(data=st.data())
def test_nothing_is_written_or_shared(row: Row, data: Any) -> None:
    sample = data.draw(row.samples)
    before = [a.copy() for a in sample.arrays]
    leaves, outputs = on_leaves(row, sample)
    if not row.view:
        for y in outputs:
            assert not any(np.shares_memory(y.numpy(), a) for a in sample.arrays)
    live = [y for y in outputs if y.node is not None]
    cotangents = [_locked(np.ones(y.shape, y.dtype)) for y in live]
    for y, c in zip(live, cotangents, strict=True):
        y.backward(c, retain_graph=True)
    grads = [x.grad.numpy() for x in leaves if x.grad is not None]
    for i, g in enumerate(grads):
        others = [*sample.arrays, *(c.numpy() for c in cotangents), *grads[:i]]
        assert not any(np.shares_memory(g, other) for other in others)
    for a, b in zip(sample.arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


# ---- primitives that write -----------------------------------------------------------------------


@over(WRITING)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(data=st.data())
def test_writes_in_place(row: Row, dtype: str, data: Any) -> None:
    sample = data.draw(row.samples).cast(dtype)
    wanted = row.reference(*(a.copy() for a in sample.arrays), **sample.options)
    arrays = [a.copy() for a in sample.arrays]
    tensors = [Tensor(a) if i in row.mutates else _locked(a) for i, a in enumerate(arrays)]
    out = row.call(*tensors, **sample.options)
    assert all(y.node is None for y in (out if isinstance(out, tuple) else (out,)) if y is not None)
    assert wanted.keys() == set(row.mutates)
    for i, (t, a, was) in enumerate(zip(tensors, arrays, sample.arrays, strict=True)):
        assert t.dtype == was.dtype
        assert t.data is a or not t.data.flags.writeable  # the storage was never replaced
        tolerance = 1e-12 if dtype == "float64" else 2e-6
        agree(a, wanted.get(i, was), tolerance, tolerance)


@over(WRITING)
@settings(max_examples=3)
@given(data=st.data())
def test_writing_is_noticed_and_refused(row: Row, data: Any) -> None:
    sample = data.draw(row.samples)
    for i in row.mutates:
        tensors = [Tensor(a.copy()) for a in sample.arrays]
        if tensors[i].dtype.kind == "f":
            recorded = list(tensors)
            recorded[i] = tg.identity(tensors[i].detach(requires_grad=True))
            with pytest.raises(ValueError, match=r"was recorded for a gradient"):
                row.call(*recorded, **sample.options)
        kept = tensors[i]
        x = tg.ones(kept.shape, dtype=kept.dtype if kept.dtype.kind == "f" else "float64")
        x.requires_grad = True
        y = tg.sum(tg.where(kept == kept, x, 0.0)) if kept.dtype.kind != "f" else tg.sum(x * kept)
        if kept.dtype.kind != "f":
            continue  # no rule keeps an integer argument here
        row.call(*tensors, **sample.options)
        with pytest.raises(RuntimeError, match=r"changed in place"):
            y.backward()


# ---- refusals ------------------------------------------------------------------------------------

REFUSALS = [(r, bad) for r in ROWS for bad in r.errors]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("row", "bad"), REFUSALS, ids=[f"{r.name}-{i}" for i, (r, _) in enumerate(REFUSALS)]
)
def test_refuses(row: Row, bad: Bad) -> None:
    args = [tg.tensor(a) if isinstance(a, np.ndarray) else a for a in bad.args]
    for _ in range(2):  # the second call meets whatever the first one left in a cache
        with pytest.raises(bad.error, match=bad.match):
            row.call(*args, **bad.options)


@pytest.mark.parametrize("name", sorted(n for n, p in PRIMITIVES.items() if p.broadcasts))
def test_every_broadcasting_primitive_names_the_shapes(name: str) -> None:
    op = PRIMITIVES[name]
    ones = [tg.ones(2 + i) for i in range(len(op.args))]
    if name == "where":
        ones[0] = ones[0] > 0
    with pytest.raises(
        ValueError, match=rf"{called(name)}: shapes do not broadcast: .*\(2,\).*\(3,\)"
    ):
        op(*ones)


@pytest.mark.parametrize("name", sorted(n for n, p in PRIMITIVES.items() if p.floats))
def test_every_floating_point_primitive_refuses_integers(name: str) -> None:
    op = PRIMITIVES[name]
    (row,) = (r for r in ROWS if r.name == name)
    options = _any_sample(row)
    told = rf"{re.escape(called(name))}: (expected floating-point values|dtypes do not)"
    with pytest.raises(TypeError, match=told):
        op(*(Tensor(np.ones(a.shape, np.int64)) if a.dtype.kind == "f" else Tensor(a)
             for a in options.arrays), **options.options)  # fmt: skip


def _any_sample(row: Row) -> Sample:
    """Any one sample of the row."""
    found: list[Sample] = []

    @settings(max_examples=1, database=None)
    @given(sample=row.samples)
    def draw(sample: Sample) -> None:
        found.append(sample)

    draw()
    return found[0]


# ---- kernels -------------------------------------------------------------------------------------

KERNELS = [
    (place, row)
    for place, table in tinygen_kernels.TABLES.items()
    for row in ROWS
    if row.name in table and not row.mutates
]


@pytest.mark.parametrize(("place", "row"), KERNELS, ids=[f"{p}-{r.name}" for p, r in KERNELS])
def test_kernel_takes_calls_and_agrees(
    place: str, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place not in AVAILABLE:
        pytest.skip(f"no backend {place} on this machine")
    target = backend.get(place)
    if row.name not in target.kernels:
        pytest.skip('no numba: pip install "tinygen[fast]"')
    kernel = backend.load_kernel(target, row.name)
    monkeypatch.setattr(kernel, "eager_from", 0, raising=False)  # small samples, too
    before = target.hits[row.name]
    examples = 5 * settings.default.max_examples  # a kernel may decline many layouts

    @settings(max_examples=examples)
    @given(sample=row.samples)
    def compare(sample: Sample) -> None:
        narrow = sample.cast("float32")
        wide = expected(row, narrow.cast("float64"))
        out = row.call(*(tg.tensor(a).to(place) for a in narrow.arrays), **narrow.options)
        terms = max([1, *(a.size for a in narrow.arrays)])
        for y, want in zip(out if isinstance(out, tuple) else (out,), wide, strict=True):
            scale = 1 + np.max(np.abs(want), initial=0)
            agree(y.numpy(), want, 0, row.ulps * terms * np.finfo(np.float32).eps * scale)

    compare()
    assert target.hits[row.name] > before, "the kernel declined every sample"


def test_numpy_numbers_are_as_good_as_those_of_python() -> None:
    x = tg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    for base in (2.0, np.float64(2.0), np.float32(2.0), np.int64(2)):
        y = base**x
        (g,) = tg.grad(y.sum(), [x])
        np.testing.assert_allclose(g.numpy(), 2.0 ** x.numpy() * np.log(2))


def test_products_over_nothing_are_zeros() -> None:
    np.testing.assert_array_equal(
        tg.linear(tg.zeros((2, 3, 0)), tg.zeros((0, 4))).numpy(), np.zeros((2, 3, 4))
    )


def test_samples_reach_the_corners() -> None:
    assert Domain(avoid=(0.0,), margin=0.25).fill(np.random.default_rng(0), (500,)).min() < -1
    values = Domain(avoid=(0.0,), margin=0.25).fill(np.random.default_rng(0), (5000,))
    assert np.abs(values).min() >= 0.25
    spread = np.sort(Domain(grid=0.3).fill(np.random.default_rng(0), (50,)))
    assert np.diff(spread).min() > 0.2
    assert rngs is not None


@pytest.mark.parametrize("count", [9, 900])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_of_either_sign_is_the_largest_and_ties_stay_in_order(count: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 4, count).astype(dtype)
    x[::3] = np.copysign(np.nan, rng.standard_normal(len(x[::3])))
    at = np.argsort(x, kind="stable")
    np.testing.assert_array_equal(tg.argsort(x).numpy(), at)
    down = tg.argsort(x, descending=True).numpy()
    nans = len(x[::3])
    np.testing.assert_array_equal(down[:nans], np.arange(count)[::3])
    rest = x[down[nans:]]
    assert all(rest[:-1] >= rest[1:])
    same = rest[:-1] == rest[1:]
    assert np.all(np.diff(down[nans:])[same] > 0)
