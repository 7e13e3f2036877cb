"""What is made of gradients: jvp, hvp, jacobian, checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn
from tinygen.tensor import Tensor
from tinygen.testing import check_grads

pytestmark = pytest.mark.quick

W = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
X = np.array([0.3, -0.4, 1.2])


def t(values: Any, leaf: bool = False) -> Tensor:
    return tg.tensor(np.asarray(values, dtype=np.float64), requires_grad=leaf)


def f(x: Tensor) -> Tensor:
    return tg.tanh(t(W) @ x)


def df(x: Any) -> Any:
    """The Jacobian of f by hand: diag(1 - tanh^2) W."""
    return (1 - np.tanh(W @ x) ** 2)[:, None] * W


# ---- jvp, hvp, jacobian --------------------------------------------------------------------------


def test_jvp_is_the_jacobian_times_the_tangent() -> None:
    v = np.array([1.0, 2.0, -0.5])
    y, along = tg.jvp(f, t(X), t(v))
    np.testing.assert_allclose(y.numpy(), np.tanh(W @ X))
    np.testing.assert_allclose(along.numpy(), df(X) @ v)
    assert not y.requires_grad
    assert not along.requires_grad


def test_jvp_of_several_inputs_and_outputs() -> None:
    a, b = t([1.0, 2.0]), t([3.0, 4.0])
    (p, s), (dp, ds) = tg.jvp(lambda a, b: (a * b, tg.sum(a)), (a, b), (t([1.0, 0.0]), t([0, 1.0])))
    assert p.tolist() == [3.0, 8.0]
    assert s.item() == 3.0
    assert dp.tolist() == [3.0, 2.0]
    assert ds.item() == 1.0


def test_jvp_at_an_infinite_slope_is_infinite() -> None:
    _, along = tg.jvp(tg.sqrt, t([0.0, 4.0]), t([1.0, 1.0]))
    assert along.tolist() == [np.inf, 0.25]


def test_hvp_is_the_hessian_times_the_vector() -> None:
    v = np.array([0.5, -1.0, 2.0])
    value, product = tg.hvp(lambda x: tg.sum(x**3) + x[0] * x[1], t(X), t(v))
    hessian = np.diag(6 * X)
    hessian[0, 1] = hessian[1, 0] = 1
    np.testing.assert_allclose(product.numpy(), hessian @ v)
    np.testing.assert_allclose(value.item(), (X**3).sum() + X[0] * X[1])


def test_the_hessian_of_a_linear_function_is_zero() -> None:
    _, product = tg.hvp(tg.sum, t(X), t(X))
    assert product.tolist() == [0.0, 0.0, 0.0]


def test_jacobian_has_an_entry_for_each_pair() -> None:
    np.testing.assert_allclose(tg.jacobian(f, t(X)).numpy(), df(X))
    a, b = tg.jacobian(lambda a, b: a.reshape(2, 1) * b, (t([1.0, 2.0]), t([3.0, 4.0, 5.0])))
    assert a.shape == (2, 3, 2)
    assert b.shape == (2, 3, 3)
    assert a.numpy()[1, :, 1].tolist() == [3.0, 4.0, 5.0]
    assert not a.numpy()[1, :, 0].any()
    assert tg.jacobian(lambda x: tg.sum(x * x), t(X)).tolist() == (2 * X).tolist()


def test_their_results_are_differentiated_further() -> None:
    v = t([0.5, -1.0, 2.0])
    check_grads(lambda x, v: tg.jvp(f, x, v)[1], [t(X), v], order=2)
    check_grads(lambda x: tg.hvp(lambda z: tg.sum(tg.exp(f(z))), x, v)[1], [t(X)], order=1)
    check_grads(lambda x: tg.jacobian(f, x), [t(X)], order=1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.jvp(lambda x: x.detach(), t(X), t(X)), "jvp: the output .* no gradient"),
        (lambda: tg.hvp(lambda x: x.detach(), t(X), t(X)), "hvp: the output .* no gradient"),
        (lambda: tg.jvp(f, t(X), t([1.0])), r"jvp: vector 0 is \(1,\) float64, its input \(3,\) f"),
        (
            lambda: tg.jvp(f, t(X), tg.ones(3)),
            r"vector 0 is \(3,\) float32, its input \(3,\) f.*64",
        ),
        (lambda: tg.hvp(f, [t(X), t(X)], [t(X)]), "hvp: 1 vectors for 2 inputs; expected one each"),
        (lambda: tg.hvp(f, t(X), t(X)), "a gradient is defined for one number"),
        (lambda: tg.jacobian(lambda x: x[:0], t(X)), "at least one element"),
    ],
)
def test_what_they_refuse(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tg.jvp(lambda x: [x, x], t(X), t(X)), "jvp: f gives list .*a tuple of tensors"),
        (lambda: tg.hvp(lambda x: (tg.sum(x),), t(X), t(X)), "hvp: f gives a tuple of 1; expected"),
        (lambda: tg.jacobian(lambda x: (x, x), t(X)), "jacobian: f gives a tuple of 2; expected"),
        (lambda: tg.jacobian(f, [1.0, 2.0]), "jacobian: input 0 is 1.0; expected a tensor"),
        (lambda: tg.jacobian(f, 1.0), "jacobian: the inputs are 1.0; expected a tensor"),
        (lambda: tg.jacobian(f, tg.tensor([1, 2, 3])), "int64 carries no gradient"),
        (lambda: tg.checkpoint(lambda x: [x], t(X)), "checkpoint: the function gives list"),
    ],
)
def test_what_is_no_tensor_is_refused(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()


def test_they_take_arrays_and_an_output_that_depends_on_nothing() -> None:
    (y, one), (dy, zero) = tg.jvp(lambda x: (x * x, tg.tensor(1.0)), X, np.ones(3))
    assert (dy.tolist(), zero.item()) == ((2 * X).tolist(), 0.0)
    assert (y.tolist(), one.item()) == ((X * X).tolist(), 1.0)
    np.testing.assert_array_equal(tg.jacobian(f, X).numpy(), tg.jacobian(f, t(X)).numpy())
    (only,) = tg.jacobian(f, [t(X)])
    assert only.shape == (2, 3)


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4))
def test_they_agree_with_finite_differences(seed: int, rows: int, columns: int) -> None:
    draw = np.random.default_rng(seed)
    w, a, b, u, v = (draw.normal(size=s) for s in [(rows, columns), *[(columns,), (rows,)] * 2])
    g = lambda a, b: (tg.tanh(t(w) @ a) * b, tg.sum(tg.exp(b)) * a)
    scalar = lambda a, b: tg.sum(g(a, b)[0]) * tg.sum(tg.sin(g(a, b)[1]))
    h = 1e-5
    moved = [[t(a + s * h * u), t(b + s * h * v)] for s in (1, -1)]
    _, along = tg.jvp(g, [t(a), t(b)], [t(u), t(v)])
    for got, plus, minus in zip(along, g(*moved[0]), g(*moved[1]), strict=True):
        np.testing.assert_allclose(got.numpy(), (plus - minus).numpy() / (2 * h), atol=1e-6)
    _, products = tg.hvp(scalar, [t(a), t(b)], [t(u), t(v)])
    plus, minus = ([j.numpy() for j in tg.jacobian(scalar, m)] for m in moved)
    for got, p, m in zip(products, plus, minus, strict=True):
        np.testing.assert_allclose(got.numpy(), (p - m) / (2 * h), rtol=1e-5, atol=1e-5)


def test_they_work_inside_a_compiled_step() -> None:
    w, v = t(W), t([0.5, -1.0, 2.0])

    def step(x: Tensor) -> Any:
        g = lambda z: tg.tanh(w @ z)
        _, product = tg.hvp(lambda z: tg.sum(g(z) ** 2), x, v)
        return tg.jvp(g, x, v)[1], product, tg.jacobian(g, x)

    compiled = tg.compile(step, fuse=False)
    for values in (X, X * 2, -X):
        for got, expected in zip(compiled(t(values)), step(t(values)), strict=True):
            assert got.tolist() == expected.tolist()


# ---- checkpoint ----------------------------------------------------------------------------------


def test_a_checkpoint_has_the_same_gradients_also_of_what_it_reads_from_outside() -> None:
    x, w = t(X, leaf=True), t(W, leaf=True)

    def run(checkpoint: Any, *leaves: Tensor) -> list[Any]:
        h = w * 2.0  # read by the function, and made from a leaf that it reads, too
        y = checkpoint(lambda x: tg.tanh(h @ x) + tg.sum(w)) * 3.0
        return [g.tolist() for g in tg.grad(tg.sum(y), leaves)]

    plain = run(lambda g: g(x), x, w)
    assert run(lambda g: tg.checkpoint(g, x), x, w) == plain
    assert run(lambda g: tg.checkpoint(lambda: g(x)), x, w) == plain
    assert run(lambda g: tg.checkpoint(g, x), x) == plain[:1]
    assert x.node is not None
    assert x.node.primitive is None


def test_a_checkpoint_keeps_nothing_and_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    x, runs = t(X, leaf=True), []

    def g(x: Tensor) -> Tensor:
        runs.append(1)
        return tg.exp(tg.exp(x))

    y = tg.checkpoint(g, x)
    assert y.node is not None
    assert [v is x for v in y.node.saved or ()] == [True]
    y.backward(np.ones(3))
    assert len(runs) == 2
    with tg.no_grad():
        assert not tg.checkpoint(g, x).requires_grad
    assert len(runs) == 3


def test_a_checkpoint_of_a_checkpoint_and_gradients_of_its_gradients() -> None:
    w = t(W)

    def g(x: Tensor) -> Tensor:
        return tg.checkpoint(lambda z: tg.tanh(w @ z), tg.exp(x)) * tg.sum(x)

    check_grads(lambda x: tg.checkpoint(g, x), [t(X)], order=3)


def test_a_checkpoint_with_several_outputs() -> None:
    def g(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return tg.exp(x), tg.sum(x * x), x

    check_grads(lambda x: tg.checkpoint(g, x), [t(X)], order=2)
    x = t(X, leaf=True)
    _, s, _ = tg.checkpoint(g, x)
    s.backward()
    assert x.grad is not None
    assert x.grad.tolist() == (2 * X).tolist()


def test_a_checkpoint_draws_the_same_again() -> None:
    x, rng = t(np.ones(200), leaf=True), tg.random.Generator(3)

    def g(x: Tensor) -> Tensor:
        return rng.dropout(x, 0.5) * x

    y = tg.checkpoint(g, x)
    rng.normal((2,))
    (gx,) = tg.grad(tg.sum(y), [x])
    assert gx.tolist() == (2 * y.numpy()).tolist()
    assert rng.draws == 2
    z = tg.checkpoint(g, x)
    rng.load_state_dict(rng.state_dict())
    with pytest.raises(RuntimeError, match="set to another state"):
        tg.sum(z).backward()


def test_a_checkpoint_notices_what_changed_since() -> None:
    w = nn.Parameter(np.ones(3, np.float32))
    y = tg.checkpoint(lambda: tg.exp(w))
    nn.module.assign(w, tg.zeros(3))
    with pytest.raises(RuntimeError, match=r"checkpoint: its saved tensor 0 .* was changed in"):
        tg.sum(y).backward()
    with pytest.raises(RuntimeError, match=r"test_differentiate.py:\d+ changes memory in place"):
        tg.checkpoint(lambda: nn.module.assign(w, tg.ones(3)))


def test_a_checkpoint_in_a_compiled_step() -> None:
    layers = [nn.Dense(4, 4, rng=tg.random.Generator(i)) for i in range(2)]
    rng = tg.random.Generator(7)

    def block(h: Tensor) -> Tensor:
        return rng.dropout(tg.tanh(layers[1](tg.tanh(layers[0](h)))), 0.5)

    def step(x: Tensor, run: Any) -> list[Tensor]:
        return list(tg.grad(tg.sum(run(x)), [p for layer in layers for p in layer.parameters()]))

    x = tg.tensor(np.linspace(-1, 1, 12).reshape(3, 4).astype(np.float32))
    compiled = tg.compile(lambda x: step(x, lambda x: tg.checkpoint(block, x)), fuse=False)
    got = [[g.tolist() for g in compiled(x)] for _ in range(3)]
    rng.load_state_dict(tg.random.Generator(7).state_dict())
    assert got == [[g.tolist() for g in step(x, block)] for _ in range(3)]
    assert [call.name for call in compiled.plan.calls].count("tanh") == 2  # merged
