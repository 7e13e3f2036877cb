"""Tensors among Python's and NumPy's own functions: right, or refused in one line."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen.primitive import PRIMITIVES
from tinygen.tensor import Tensor

pytestmark = pytest.mark.quick
A = np.array([[1.0, -2.0], [3.0, 0.5]])


def plain() -> Tensor:
    return tg.tensor(A)


def leaf() -> Tensor:
    return tg.tensor(A, requires_grad=True)


def recorded() -> Tensor:
    return leaf() * 2.0


# ---- no warnings ---------------------------------------------------------------------------------

HUGE = np.full(4, 3e38, np.float32)
ODD = np.array([0.0, np.inf, -np.inf, np.nan, -1.0, 1e30], np.float32)
ARITHMETIC: dict[str, Callable[[], Any]] = {
    "add": lambda: tg.tensor(HUGE) + tg.tensor(HUGE),
    "sub": lambda: tg.tensor(-HUGE) - tg.tensor(HUGE),
    "mul": lambda: tg.tensor(HUGE) * 10.0,
    "a number beyond float32": lambda: tg.tensor(ODD) * 1e300,
    "square": lambda: tg.square(tg.tensor(HUGE)),
    "sum": lambda: tg.tensor(HUGE).sum(),
    "mean": lambda: tg.tensor(HUGE).mean(),
    "cumsum": lambda: tg.tensor(HUGE).cumsum(0),
    "var": lambda: tg.tensor(HUGE).var(),
    "inf - inf": lambda: tg.tensor(ODD) - tg.tensor(ODD),
    "sin": lambda: tg.sin(tg.tensor(ODD)),
    "0 / 0": lambda: tg.tensor(ODD) / tg.tensor(ODD),
    "power": lambda: tg.tensor(ODD) ** -3,
    "softmax": lambda: tg.softmax(tg.tensor(ODD)),
    "logsumexp": lambda: tg.logsumexp(tg.tensor(ODD)),
    "max": lambda: tg.tensor(ODD).max(),
    "matmul": lambda: tg.tensor(HUGE) @ tg.tensor(HUGE),
    "to float32": lambda: tg.tensor(np.array([1e300])).astype("float32"),
    "made as float32": lambda: tg.tensor(np.array([1e300]), dtype="float32"),
    "made of numbers": lambda: tg.tensor([1e300]),
    "full": lambda: tg.full((2,), 1e300),
    "compiled": lambda: tg.compile(lambda x: tg.sin(x * x + x).sum())(tg.tensor(ODD)),
    "clip_grad": lambda: tg.tensor(HUGE).detach() * tg.tensor(HUGE),
}


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_warns_of_nothing(name: str, kernels: bool) -> None:
    host = tg.backend.get("numpy")
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        if kernels:
            y = ARITHMETIC[name]()
        else:
            with host.without_kernels():
                y = ARITHMETIC[name]()
        assert not np.isfinite(y.numpy()).all()
        x = tg.tensor(ODD, requires_grad=True)
        (x * x * 1e30).sum().backward()
    assert np.geterr()["over"] == "warn"  # the user's own setting is as it was


def test_operations_of_the_user_warn_of_nothing_either() -> None:
    @tg.primitive
    def inverse_square(xp: Any, x: Any) -> Any:
        return 1 / (x * x)

    try:
        assert inverse_square(tg.tensor([0.0, 1e30])).tolist() == [math.inf, 0.0]
    finally:
        del PRIMITIVES["inverse_square"]


def test_a_reference_may_call_operations() -> None:
    @tg.primitive
    def twice(xp: Any, x: Any) -> Any:
        return xp.asarray(tg.add(x, x).data) * 3e38

    @tg.primitive
    def failing(xp: Any, x: Any) -> Any:
        raise RuntimeError("my own")

    try:
        assert twice(tg.tensor(np.ones(2, np.float32))).tolist() == [math.inf] * 2
        with pytest.raises(RuntimeError, match="my own"):
            failing(plain())
        results: list[Any] = []
        threads = [threading.Thread(target=lambda: results.append(twice(plain()))) for _ in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 3
    finally:
        del PRIMITIVES["twice"], PRIMITIVES["failing"]


# ---- what a copy would lose ----------------------------------------------------------------------


def masked(*bad: int) -> Any:
    return np.ma.array([1.0, 999.0, 3.0], mask=[i in bad for i in range(3)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: tg.tensor(masked(1)),
        lambda: tg.tensor([masked(1), masked(0)]),
        lambda: tg.tensor([1.0, np.ma.masked]),
        lambda: tg.tensor(((1.0,), (np.ma.masked,))),
        lambda: tg.tensor(np.ones(3)) * masked(1),
        lambda: masked(1) * tg.tensor(np.ones(3)),
        lambda: masked(2) - tg.tensor(np.ones(3), requires_grad=True),
        lambda: tg.nn.Parameter(masked(0)),
        lambda: tg.where(tg.tensor([True, False, True]), masked(0), 0.0),
        lambda: tg.sum(masked(0)),
        lambda: tg.full((3,), np.ma.masked),
    ],
)
def test_masked_arrays_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"is masked, .* has no mask; give array.filled\(value\)"):
        make()


def test_masked_arrays_without_a_masked_entry_are_arrays() -> None:
    assert tg.tensor(masked()).tolist() == [1.0, 999.0, 3.0]
    assert tg.tensor(masked(1).filled(0.0)).tolist() == [1.0, 0.0, 3.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: tg.tensor([recorded(), recorded()]),
        lambda: tg.tensor([leaf(), leaf()]),
        lambda: tg.tensor([1.0, recorded()[0, 0]]),
        lambda: tg.tensor([[recorded()[0, 0]], [2.0]]),
        lambda: tg.tensor((recorded().sum(), recorded().sum())),
        lambda: tg.tensor(recorded()),
        lambda: tg.full((2,), recorded().sum()),
        lambda: recorded() * [recorded()[0], recorded()[1]],
        lambda: tg.nn.Parameter([recorded()]),
    ],
)
def test_a_copy_that_would_lose_a_gradient_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"copy would lose the gradient .*tinygen.stack.*detach"):
        make()


def test_copies_of_what_carries_no_gradient() -> None:
    assert tg.tensor([plain(), plain()]).shape == (2, 2, 2)
    assert tg.tensor([tg.tensor(1.0), 2]).tolist() == [1.0, 2.0]
    with tg.no_grad():
        assert tg.tensor([recorded().sum(), recorded().sum()]).tolist() == [5.0, 5.0]
    y = tg.stack([recorded(), recorded()])
    assert y.requires_grad


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda s: tg.leaky_relu(plain(), slope=s), "leaky_relu: slope"),
        (lambda s: tg.clip(plain(), s), "clip: low"),
        (lambda s: tg.clip(plain(), high=s), "clip: high"),
        (lambda s: tg.sum(plain(), axis=s), "sum: axis"),
        (lambda s: tg.pad(plain(), ((1, 1), (0, 0)), value=s), "pad: value"),
        (lambda s: tg.softmax(plain(), axis=s), "softmax: axis"),
    ],
)
def test_an_option_is_no_tensor(call: Callable[[Any], Any], name: str) -> None:
    for s in (tg.tensor(1.0, requires_grad=True) * 0.5, tg.tensor(1)):
        for _ in range(2):
            with pytest.raises(TypeError, match=rf"{name} is a tensor \(\); expected a plain"):
                call(s)
    tg.leaky_relu(plain(), slope=0.5)


def test_numbers_that_an_integer_type_does_not_hold_are_refused() -> None:
    for make in (
        lambda: tg.tensor(np.array([300]), dtype="uint8"),
        lambda: tg.full((2,), -1, dtype="uint8"),
        lambda: tg.tensor(np.array([1.0, np.nan]), dtype="int64"),
        lambda: tg.tensor([1e30], dtype="int32"),
        lambda: tg.tensor(tg.tensor([-200]), dtype="int8"),
        lambda: tg.tensor([300], dtype="uint8"),
        lambda: tg.where(tg.tensor([True]), tg.zeros(1, dtype="uint8"), 300),
        lambda: tg.where(tg.tensor([True]), -1, tg.zeros(1, dtype="uint8")),
        lambda: tg.zeros(1, dtype="uint8") + 300,
        lambda: tg.maximum(tg.zeros(1, dtype="int8"), 200),
    ):
        with pytest.raises(OverflowError, match=r"do not fit|out of bounds"):
            make()
    assert tg.tensor(np.array([255, 0]), dtype="uint8").tolist() == [255, 0]
    assert tg.tensor(np.array([], np.int64), dtype="uint8").shape == (0,)


def test_options_out_of_range() -> None:
    for call in (
        lambda: tg.one_hot(tg.tensor([1]), 3.5),
        lambda: tg.one_hot(tg.tensor([0]), 0),
        lambda: plain().var(correction=-1),
        lambda: plain().var(correction=math.nan),
        lambda: plain().clip(math.nan, 1.0),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()


# ---- comparing -----------------------------------------------------------------------------------


def test_a_tensor_is_not_equal_to_what_is_no_number() -> None:
    for t in (plain(), recorded(), tg.tensor(1.0), tg.zeros(0)):
        for other in (None, "a", b"a", {}, object(), int, ..., slice(1)):
            assert (t == other) is False
            assert (t != other) is True
            assert (other == t) is False
            assert other not in [t]
            assert other not in t
        assert t in [None, t]
        assert [None, t].index(t) == 1
        with pytest.raises(TypeError, match="None"):
            _ = t < None
    assert (plain() == A).numpy().all()
    assert (tg.tensor([1.0, 2.0]) == [1.0, 3.0]).tolist() == [True, False]
    with pytest.raises(TypeError, match="dtypes do not mix"):
        _ = plain() == tg.zeros((2, 2))


def test_in_looks_at_every_entry() -> None:
    t = plain()
    assert 3.0 in t
    assert 4.0 not in t
    assert np.float64(0.5) in t
    assert math.nan not in t
    assert 1.0 not in tg.zeros((0, 2))


def test_one_truth_for_one_element() -> None:
    assert tg.tensor([[2.0]])
    assert not tg.tensor(0.0)
    for call in (bool, lambda t: t and 1, lambda t: max([t, t + 1]), lambda t: t in [t + 1]):
        met = r"shape \(2, 2\) is no .*; expected one .*\.all\(\) or"
        with pytest.raises(ValueError, match=met):
            call(plain())


# ---- Python's own functions ----------------------------------------------------------------------


def test_formats() -> None:
    assert f"{tg.tensor(2.5):.2f}" == "2.50"
    assert f"{recorded().sum():8.3f}" == "   5.000"
    assert f"{tg.tensor([[3]]):03d}" == "003"
    assert f"{plain()}" == str(plain()) == format(plain())
    for t in (plain(), tg.zeros(0)):
        with pytest.raises(ValueError, match=r"format: the tensor has shape .* for '.2f'"):
            format(t, ".2f")


def test_numbers() -> None:
    one, i = tg.tensor(2.5, requires_grad=True) * 1.0, tg.tensor(2)
    assert (float(one), int(one), complex(one), math.floor(one), math.exp(i)) == (
        2.5, 2, 2.5 + 0j, 2, math.exp(2),
    )  # fmt: skip
    assert [10, 20, 30][i] == 30
    assert list(range(i)) == [0, 1]
    assert np.arange(5)[i] == 2
    for t, error in ((one, TypeError), (tg.tensor([1, 2]), ValueError)):
        with pytest.raises(error, match=r"integer; .* float32: int\(x\)|expected one element"):
            [1, 2, 3][t]
    for call in (round, lambda t: divmod(t, 2)):
        with pytest.raises(TypeError, match="Tensor"):
            call(one)
    assert [row.tolist() for row in reversed(plain())] == A[::-1].tolist()
    total = sum([recorded(), recorded()])
    assert isinstance(total, Tensor)
    assert total.requires_grad


def test_in_place_operators_make_a_new_tensor() -> None:
    x = leaf()
    y = x
    y += 1.0
    y *= x
    assert x.numpy().tolist() == A.tolist()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * A + 1)


# ---- copies and files ----------------------------------------------------------------------------


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_leaves_are_copied_whole_and_results_refused(again: Callable[[Any], Any]) -> None:
    x = leaf()
    (x * x).sum().backward()
    y = again(x)
    assert y.requires_grad
    assert y.tolist() == x.tolist()
    assert y.grad.tolist() == x.grad.tolist()
    (y * 3.0).sum().backward()
    assert y.grad.tolist() == (2 * A + 3).tolist()
    assert x.grad.tolist() == (2 * A).tolist()
    assert not np.shares_memory(x.numpy(), y.numpy())
    x.requires_grad = False
    frozen = again(x)
    assert not frozen.requires_grad
    frozen.requires_grad = True
    assert frozen.grad.tolist() == (2 * A).tolist()
    assert again(plain()).tolist() == A.tolist()
    assert again(recorded().detach()).tolist() == (2 * A).tolist()
    net = again(tg.nn.Dense(3, 2))
    net(tg.ones((1, 3))).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    for result in (recorded(), recorded()[0], tg.exp(recorded()).sum()):
        with pytest.raises(TypeError, match=r"result of \w+ is part of a graph, .* x.detach\(\)"):
            again(result)
        with pytest.raises(TypeError, match="part of a graph"):
            again({"loss": [result]})


def test_a_shallow_copy_is_the_same_place_in_the_graph() -> None:
    x = leaf()
    y = copy.copy(x * x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * A)


# ---- NumPy's functions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ufunc", "args"),
    [
        (np.exp, 1), (np.tanh, 1), (np.square, 1), (np.negative, 1), (np.absolute, 1),
        (np.sin, 1), (np.cos, 1), (np.add, 2), (np.subtract, 2), (np.multiply, 2),
        (np.divide, 2), (np.true_divide, 2), (np.maximum, 2), (np.minimum, 2), (np.matmul, 2),
    ],
)  # fmt: skip
def test_a_ufunc_is_the_operation(ufunc: Any, args: int) -> None:
    x, other = leaf(), np.array([[0.5, 2.0], [1.0, -1.0]])
    two = [(x, other), (other, x)] + [(x, 2.0)] * (ufunc is not np.matmul)
    for given in [(x,)] if args == 1 else two:
        y = ufunc(*given)
        assert isinstance(y, Tensor)
        assert y.requires_grad
        values = [v.numpy() if v is x else v for v in given]
        np.testing.assert_allclose(y.numpy(), ufunc(*values))
        tg.grad(y.sum(), [x])


def test_comparisons_and_roots_by_numpy() -> None:
    assert isinstance(np.less(plain(), A + 1), Tensor)
    assert np.isfinite(recorded()).numpy().all()
    np.testing.assert_allclose(np.sqrt(np.abs(recorded())).numpy(), np.sqrt(np.abs(2 * A)))
    assert np.power(plain(), 2).tolist() == (A**2).tolist()
    assert np.float64(2) * recorded() is not None


LOSING: dict[str, Callable[[Any], Any]] = {
    "np.sum": np.sum,
    "np.mean": np.mean,
    "np.var": np.var,
    "np.max": np.max,
    "np.transpose": np.transpose,
    "np.reshape": lambda x: np.reshape(x, -1),
    "np.concatenate": lambda x: np.concatenate([x, x]),
    "np.stack": lambda x: np.stack([A, x]),
    "np.where": lambda x: np.where(A > 0, x, 0.0),
    "np.clip": lambda x: np.clip(x, 0, 1),
    "np.take": lambda x: np.take(x, [0]),
    "np.cumsum": np.cumsum,
    "np.squeeze": np.squeeze,
    "np.dot": lambda x: np.dot(A, x),
    "np.einsum": lambda x: np.einsum("ij->i", x),
    "np.prod": np.prod,
    "np.std": np.std,
    "np.round": np.round,
    "np.copy": np.copy,
    "np.sort": np.sort,
    "np.linalg.norm": np.linalg.norm,
    "np.linalg.inv": np.linalg.inv,
    "np.trunc": np.trunc,
    "np.log1p": np.log1p,
    "np.add.reduce": np.add.reduce,
    "np.multiply.outer": lambda x: np.multiply.outer(x, x),
    "np.add": lambda x: np.add(x, x, dtype="float64"),
}


@pytest.mark.parametrize("name", LOSING)
def test_numpy_gives_values_and_never_loses_a_gradient(name: str) -> None:
    f = LOSING[name]
    for x in (recorded(), leaf()):
        with pytest.raises(
            TypeError, match=rf"^{name}: the result would lose the gradient .*numpy"
        ):
            f(x)
    with tg.no_grad():
        assert not isinstance(f(leaf()), Tensor)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(f(plain()), f(A))


def test_the_cure_is_named() -> None:
    for f, words in (
        (np.sum, "tinygen.sum"),
        (np.amax, "tinygen.max"),
        (np.prod, "tinygen.prod"),
        (np.diff, "operations of"),
    ):
        with pytest.raises(TypeError, match=f"use {words}"):
            f(recorded())


def test_numpy_may_look_at_recorded_values() -> None:
    x = recorded()
    assert np.shape(x) == (2, 2)
    assert (np.ndim(x), np.size(x), np.argmax(x)) == (2, 4, 2)
    assert np.allclose(x, 2 * A)
    assert np.array_equal(x, 2 * A)
    np.testing.assert_allclose(x, 2 * A)
    np.testing.assert_array_equal(np.array(x), 2 * A)
    assert np.zeros_like(x).tolist() == [[0.0, 0.0]] * 2
    assert "4" in np.array2string(np.array(x))


@pytest.mark.parametrize(
    "join",
    [
        lambda x: np.array([x, x]), lambda x: np.asarray([x]), lambda x: np.mean([x, x]),
        lambda x: np.sum([x, x], axis=0), lambda x: np.r_[x, x], lambda x: np.add(0.0, [x, x]),
        lambda x: np.array([[x[0, 0]], [1.0]]), lambda x: np.zeros((2, 2)).__setitem__(0, x[0]),
        lambda x: np.asarray(x),
    ],
)  # fmt: skip
def test_numpy_joins_no_tensors_whose_gradient_it_would_lose(join: Any) -> None:
    with pytest.raises(TypeError, match=r"np.array.*lose the gradient.*tinygen.stack.*x.numpy"):
        join(recorded())
    with tg.no_grad():
        join(recorded())
    join(recorded().detach())
    for x in (leaf(), leaf().detach()):
        with pytest.raises((TypeError, RuntimeError), match=r"lose the gradient|reads a value"):
            tg.compile(lambda x: (join(x * 2.0), x)[1])(x)


def test_numpy_does_not_write_into_tensors_or_lose_gradients_into_arrays() -> None:
    t = plain()
    with pytest.raises(ValueError, match="read-only"):
        np.add(A, A, out=t)
    with pytest.raises(ValueError, match="read-only"):
        np.copyto(t, 0.0)
    out = A.copy()
    with pytest.raises(TypeError, match=r"np.add: the result would lose"):
        out += recorded()
    assert out.tolist() == A.tolist()
    out += t
    assert out.tolist() == (2 * A).tolist()


def test_without_numba_compiling_the_references_run() -> None:
    code = (
        "import tinygen as tg, numpy as np\n"
        "net = tg.nn.Sequential(tg.nn.Dense(3, 4), tg.nn.ReLU(), tg.nn.Dense(4, 1))\n"
        "opt = tg.optim.Adam(net.parameters())\n"
        "def step(x):\n"
        "    loss = tg.mean(net(x) ** 2)\n"
        "    loss.backward()\n"
        "    opt.step()\n"
        "    return loss\n"
        "x = tg.random.Generator(0).normal((8, 3))\n"
        "a = step(x).item(); net.zero_grad(); b = tg.compile(step)(x).item()\n"
        "assert b < a, (a, b)\n"
        "print(tg.show_config()['numba'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "NUMBA_DISABLE_JIT" in done.stdout or "not installed" in done.stdout


def test_numpy_looks_at_shapes_without_reading_values() -> None:
    x = tg.tensor(np.ones((2, 3)), requires_grad=True)
    assert (np.shape(x), np.ndim(x), np.size(x)) == ((2, 3), 2, 6)
    with pytest.raises(RuntimeError, match="reads a value"):
        tg.compile(lambda y: y * np.max(y.numpy()))(x.detach())
    indices = tg.tensor([0, 1, 1])
    shapes = tg.compile(lambda y, i: tg.scatter_add(y * np.size(y), i, axis=1, shape=(2, 2)))
    np.testing.assert_array_equal(shapes(x.detach(), indices).numpy(), [[6.0, 12.0]] * 2)
