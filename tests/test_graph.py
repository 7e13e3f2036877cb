"""The differentiator: order, memory, pruning, higher orders, mutation, threads."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen.events import state
from tinygen.primitive import PRIMITIVES, primitive
from tinygen.tensor import Tensor
from tinygen.testing import check_grads

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("own_primitives")]


def leaf(values: Any) -> Tensor:
    return tg.tensor(np.asarray(values, dtype=np.float64), requires_grad=True)


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> dict[str, int]:
    """How often each rule of a primitive runs from now on, by argument."""
    op = PRIMITIVES[name]
    calls = dict.fromkeys(op.rules, 0)

    def counting(arg: str, rule: Any) -> Any:
        def run(*values: Any) -> Any:
            calls[arg] += 1
            return rule(*values)

        return run

    rules = {arg: (counting(arg, rule), wanted) for arg, (rule, wanted) in op.rules.items()}
    monkeypatch.setattr(op, "rules", rules)
    monkeypatch.setattr(op, "_recipes", {})
    return calls


# ---- long chains and memory ----------------------------------------------------------------------


def test_a_chain_of_10_000_operations_needs_no_recursion() -> None:
    x = leaf([0.5])
    y = x
    for _ in range(10_000):
        y = y + x
    (g,) = tg.grad(y, [x], [np.ones(1)], retain_graph=True)
    assert g.item() == 10_001
    for _ in range(10_000):
        y = tg.sin(y)
    y.sum().backward()
    del y


def test_a_dropped_graph_is_freed_without_the_collector() -> None:
    gc.disable()
    try:
        x = leaf([1.0, 2.0])
        y = tg.exp(tg.tanh(x) * x)  # tanh and exp keep their output
        nodes = [weakref.ref(y.node), weakref.ref(y.node.parents[0]), weakref.ref(y)]
        z = tg.sum(y)
        del y
        assert nodes[0]() is not None
        del z
        assert [n() for n in nodes] == [None, None, None]
        owner = weakref.ref(x)
        x.sum().backward()
        del x
        assert owner() is None
    finally:
        gc.enable()


def test_higher_order_graphs_are_freed_too() -> None:
    gc.disable()
    try:
        x = leaf([1.0, 2.0])
        (g,) = tg.grad(tg.sum(tg.tanh(x) ** 3), [x], create_graph=True)
        node = weakref.ref(g.node)
        tg.sum(g).backward()
        del g
        assert node() is None
    finally:
        gc.enable()


def test_saved_values_are_released_by_backward() -> None:
    x = leaf([1.0, 2.0])
    kept = tg.square(x)
    saved = weakref.ref(kept)
    y = tg.sum(kept * kept)
    del kept
    assert saved() is not None
    y.backward()
    assert saved() is None
    with pytest.raises(RuntimeError, match=r"released by an earlier backward.*retain_graph=True"):
        y.backward()


def test_retain_graph_keeps_them() -> None:
    x = leaf([1.0, 2.0])
    y = tg.sum(x * x)
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), [4.0, 8.0])
    with pytest.raises(RuntimeError, match=r"sum: .*retain_graph"):
        tg.grad(y, [x])


def test_only_what_a_rule_asks_for_is_kept() -> None:
    x, w = leaf([1.0]), tg.tensor([2.0]).astype("float64")
    assert (x + w).node.saved == []
    assert [s is w for s in (x * w).node.saved] == [True]
    assert tg.sum(x).node.saved == [(1,)]
    y = tg.exp(x)
    assert y.node.saved[0] is y.data


# ---- pruning -------------------------------------------------------------------------------------


def test_only_rules_on_a_path_to_the_inputs_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch, "matmul_nd")
    x, w1, w2 = (leaf(np.ones((2, 2))) for _ in range(3))
    y = tg.sum(tg.matmul(tg.tanh(tg.matmul(x, w1)), w2))
    tg.grad(y, [x], retain_graph=True)
    assert calls == {"x": 2, "y": 0}
    tg.grad(y, [w2], retain_graph=True)
    assert calls == {"x": 2, "y": 1}
    y.backward(inputs=[w1])
    assert calls == {"x": 3, "y": 2}
    assert (x.grad, w2.grad) == (None, None)


def test_frozen_weights_record_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch, "matmul_nd")
    x, w = leaf(np.ones((2, 2))), leaf(np.ones((2, 2)))
    w.requires_grad = False
    tg.sum(tg.matmul(x, w)).backward()
    assert calls == {"x": 1, "y": 0}
    assert w.grad is None


def test_an_input_not_reached_gives_zeros() -> None:
    x, y = leaf([1.0, 2.0]), leaf([[3.0]])
    gx, gy = tg.grad(tg.sum(x), [x, y])
    np.testing.assert_array_equal(gx.numpy(), [1.0, 1.0])
    np.testing.assert_array_equal(gy.numpy(), [[0.0]])


def test_gradient_with_respect_to_something_in_between() -> None:
    x = leaf([1.0, 2.0])
    h = x * x
    gx, gh = tg.grad(tg.sum(h * h), [x, h])
    np.testing.assert_array_equal(gh.numpy(), [2.0, 8.0])
    np.testing.assert_array_equal(gx.numpy(), [4.0, 32.0])


# ---- what grad and backward take -----------------------------------------------------------------


def test_several_outputs_and_grad_outputs() -> None:
    x = leaf([1.0, 2.0])
    (g,) = tg.grad([tg.sum(x), x * x], [x], [None, np.array([1.0, 10.0])])
    np.testing.assert_array_equal(g.numpy(), [3.0, 41.0])
    (g,) = tg.grad([x, x], [x], [np.ones(2), np.ones(2)])  # the same output twice
    np.testing.assert_array_equal(g.numpy(), [2.0, 2.0])


def test_refuses_what_has_no_gradient() -> None:
    x, c = leaf([1.0, 2.0]), tg.tensor([1.0])
    with pytest.raises(ValueError, match=r"grad: the output has shape \(2,\).*grad_outputs"):
        tg.grad(x * x, [x])
    with pytest.raises(ValueError, match=r"backward: the output has shape \(2,\)"):
        (x * x).backward()
    with pytest.raises(ValueError, match=r"grad: input 0 .* carries no gradient"):
        tg.grad(tg.sum(x), [c])
    with pytest.raises(ValueError, match=r"backward: input 1 .* carries no gradient"):
        tg.sum(x).backward(inputs=[x, c])
    with pytest.raises(ValueError, match=r"grad: the output .* not made from any tensor"):
        tg.grad(tg.sum(c), [x])
    with pytest.raises(ValueError, match=r"backward: the output .* under no_grad"):
        c.backward()


@pytest.mark.parametrize(
    ("cotangent", "words"),
    [
        (
            tg.tensor(np.ones((2, 1))),
            r"shape \(2, 1\) float64.*its output has shape \(2,\) float64",
        ),
        (tg.tensor([1.0, 1.0]), r"shape \(2,\) float32.*its output has shape \(2,\) float64"),
    ],
)
def test_refuses_grad_outputs_that_do_not_fit(cotangent: Tensor, words: str) -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(ValueError, match=words):
        tg.grad(x * x, [x], [cotangent])
    with pytest.raises(ValueError, match=r"1 outputs but 2 grad_outputs"):
        tg.grad(x * x, [x], [np.ones(2), np.ones(2)])


def test_backward_accumulates_into_leaves_only() -> None:
    x = leaf([1.0, 2.0])
    h = x * 3.0
    tg.sum(h).backward()
    first = x.grad
    tg.sum(x * x).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [5.0, 7.0])
    np.testing.assert_array_equal(first.numpy(), [3.0, 3.0])  # a new tensor, not written into
    with pytest.raises(AttributeError, match=r"result of mul has no \.grad.*tg\.grad\(loss"):
        _ = h.grad
    assert not hasattr(h, "grad")  # so that tools which look at everything go on


def test_grad_leaves_dot_grad_alone() -> None:
    x = leaf([1.0, 2.0])
    tg.grad(tg.sum(x * x), [x])
    assert x.grad is None


def test_no_two_gradients_share_memory() -> None:
    x, y, z, b = leaf([1.0, 2.0]), leaf([1.0, 2.0]), leaf(np.ones((3, 2))), leaf(np.ones((3, 2)))
    cotangent = tg.tensor(np.ones((3, 2)))
    (x + y + z + tg.reshape(tg.transpose(b), (3, 2))).backward(cotangent)
    s = leaf(2.0)
    tg.sum(s + tg.sum(tg.identity(z))).backward()
    found = [t.grad.data for t in (x, y, z, b, s)] + [cotangent.data]
    for i, a in enumerate(found):
        assert not any(np.shares_memory(a, c) for c in found[:i])
    assert all(t.grad.data.flags.writeable for t in (x, y, z, b, s))


def test_a_gradient_can_be_set_and_cleared() -> None:
    x = leaf([1.0, 2.0])
    x.grad = tg.tensor(np.array([1.0, 1.0]))
    tg.sum(x).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [2.0, 2.0])
    x.grad = None
    assert x.grad is None
    with pytest.raises(ValueError, match=r"grad has shape \(1,\), the tensor \(2,\)"):
        x.grad = tg.tensor([1.0])
    with pytest.raises(ValueError, match=r"no .grad to set"):
        tg.tensor([1.0]).grad = tg.tensor([1.0])


# ---- higher orders -------------------------------------------------------------------------------


def test_third_derivative_of_tanh() -> None:
    x = leaf([0.3, -0.8])
    y, t = tg.tanh(x), np.tanh([0.3, -0.8])
    for _ in range(3):
        (y,) = tg.grad(tg.sum(y), [x], create_graph=True)
    np.testing.assert_allclose(y.numpy(), (6 * t**2 - 2) * (1 - t**2), rtol=1e-12)


def test_backward_with_create_graph() -> None:
    x = leaf([2.0])
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    (h,) = tg.grad(x.grad, [x])
    assert h.item() == 12.0
    x.grad = None
    (x**3).backward()
    assert not x.grad.requires_grad


def test_gradient_penalty_through_two_layers_equals_differences() -> None:
    """The second-order term of WGAN-GP, with respect to every weight."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 3))
    weights = [rng.standard_normal(s) for s in ((3, 5), (5,), (5, 1), (1,))]

    def penalty(w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        at = leaf(x)
        score = tg.linear(tg.tanh(tg.linear(at, w1, b1)), w2, b2)
        (slope,) = tg.grad(tg.sum(score), [at], create_graph=True)
        return tg.mean((tg.sqrt(tg.sum(slope * slope, axis=1)) - 1.0) ** 2)

    check_grads(penalty, weights, order=2)


# ---- several outputs, several inputs, no inputs --------------------------------------------------


def two_outputs() -> Any:
    @primitive
    def both(xp: Any, x: Any, y: Any) -> Any:
        return x * y, x + y * y

    both.vjp(x=lambda g, y: g[0] * y + g[1], y=lambda g, x, y: g[0] * x + g[1] * (2 * y))
    return both


A, B = np.array([0.5, -1.5]), np.array([2.0, 0.7])


def test_two_outputs_to_second_order() -> None:
    both = two_outputs()
    p, q = both(A, B)
    np.testing.assert_array_equal(p.numpy(), A * B)
    np.testing.assert_array_equal(q.numpy(), A + B * B)
    check_grads(both, [A, B], order=2)
    check_grads(lambda x, y: (both(x, y)[0] * both(x, y)[1]) ** 2, [A, B], order=2)


@pytest.mark.parametrize("used", [0, 1])
def test_one_output_not_used(used: int) -> None:
    both = two_outputs()
    check_grads(lambda x, y: tg.tanh(both(x, y)[used]), [A, B], order=2)


def test_outputs_that_a_rule_asks_for() -> None:
    @primitive
    def pair(xp: Any, x: Any) -> Any:
        return xp.exp(x), xp.tanh(x)

    pair.vjp(x=lambda g, ans: g[0] * ans[0] + g[1] * (1 - ans[1] * ans[1]))
    check_grads(pair, [A], order=3)
    check_grads(lambda x: pair(x)[0] * pair(x)[1], [A], order=2)


def test_one_rule_for_all_arguments() -> None:
    runs = []

    @primitive
    def product(xp: Any, x: Any, y: Any) -> Any:
        return x * y

    def rule(g: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        runs.append(1)
        return g * y, g * x

    product.vjp_all(rule)
    check_grads(product, [A, B], order=2)
    runs.clear()
    tg.grad(tg.sum(product(leaf(A), y := leaf(B))), [y])
    assert len(runs) == 1  # once, however many arguments


def test_any_number_of_arguments() -> None:
    @primitive
    def total(xp: Any, *xs: Any) -> Any:
        return sum(x * x for x in xs)

    total.vjp(xs=lambda g, xs: tuple(g * (2 * x) for x in xs))
    for count in (1, 2, 4):
        check_grads(total, [A + i for i in range(count)], order=2)
    x, y = leaf(A), tg.tensor(B)
    total(x, y, x).backward(np.ones(2))
    np.testing.assert_allclose(x.grad.numpy(), 4 * A)


def test_an_argument_may_be_none() -> None:
    @primitive
    def affine(xp: Any, x: Any, w: Any, b: Any = None) -> Any:
        return x * w if b is None else x * w + b

    affine.vjp(x=lambda g, w: g * w, w=lambda g, x: g * x, b=lambda g: g)
    check_grads(affine, [A, B], order=2)
    check_grads(affine, [A, B, A], order=2)
    check_grads(lambda x, w: affine(x, w, None), [A, B], order=2)
    with pytest.raises(TypeError, match=r"affine: w is None"):
        affine(tg.tensor(A), None)


def test_an_argument_used_twice() -> None:
    x = leaf(A)
    np.testing.assert_allclose(tg.grad(tg.sum(x * x), [x])[0].numpy(), 2 * A)
    np.testing.assert_allclose(tg.grad(tg.sum(tg.concatenate([x, x])), [x])[0].numpy(), [2, 2])


def test_a_rule_that_returns_another_shape_is_named() -> None:
    @primitive
    def wrong(xp: Any, x: Any, y: Any) -> Any:
        return x + y

    wrong.vjp(x=lambda g: g, y=lambda g: tg.sum(g))
    with pytest.raises(
        RuntimeError, match=r"wrong: the rule for 'y' returned shape \(\), .* shape \(2,\)"
    ):
        wrong(leaf(A), leaf(B)).backward(np.ones(2))


# ---- values changed in place ---------------------------------------------------------------------


def writer() -> Any:
    @primitive(mutates=("p",))
    def add_to(xp: Any, p: Any, d: Any) -> Any:
        p += d
        return p

    return add_to


def test_a_saved_value_changed_in_place_is_named() -> None:
    add_to = writer()
    net = tg.nn.Dense(2, 1)
    (name, w), *_ = [(n, p) for n, p in net.named_parameters().items() if p.ndim == 2]
    x = tg.tensor(np.ones((3, 2), np.float32), requires_grad=True)
    y = tg.sum(tg.matmul(x, w))
    add_to(w, tg.ones(w.shape))
    with pytest.raises(
        RuntimeError, match=rf"matmul: its saved y \(parameter '{name}'\) .* in place by add_to"
    ):
        y.backward()


def test_a_saved_output_changed_in_place_is_noticed() -> None:
    add_to = writer()
    x = leaf(A)
    y = tg.exp(x)
    add_to(y.detach(), tg.tensor(B))
    with pytest.raises(RuntimeError, match=r"exp: its saved ans"):
        y.backward(np.ones(2))


@pytest.mark.parametrize("written", ["whole", "view"])
def test_views_share_the_version_of_their_storage(written: str) -> None:
    add_to = writer()
    flat = tg.tensor(np.arange(6.0))
    part = tg.reshape(flat[2:], (2, 2))
    x = leaf(np.ones((2, 2)))
    y = tg.sum(x * part) if written == "whole" else tg.sum(leaf(np.ones(6)) * flat)
    if written == "whole":
        add_to(flat, 1.0)
    else:
        add_to(part, 1.0)
    with pytest.raises(RuntimeError, match=r"changed in place by add_to"):
        y.backward()


def test_a_change_before_use_or_of_something_else_is_fine() -> None:
    add_to = writer()
    w = tg.tensor(B)
    add_to(w, 1.0)
    x = leaf(A)
    y = tg.sum(x * w)
    add_to(tg.tensor(B), 1.0)
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), B + 1)
    z = tg.sum(x + w)  # addition keeps nothing
    add_to(w, 1.0)
    z.backward()


def test_writing_refuses_what_was_recorded_and_takes_leaves() -> None:
    add_to = writer()
    x = leaf(A)
    with pytest.raises(ValueError, match=r"add_to: p \(2,\) was recorded .* result of mul.*detach"):
        add_to(x * 2.0, tg.tensor(B))
    with tg.no_grad(), pytest.raises(ValueError, match=r"add_to: p"):
        add_to(_recorded(x), tg.tensor(B))
    with pytest.raises(ValueError, match=r"add_to: d .* was recorded"):
        add_to(x, x * 2.0)
    np.testing.assert_array_equal(x.numpy(), A)  # refused before anything was written
    out = add_to(x, tg.tensor(B))
    assert out.node is None
    np.testing.assert_array_equal(x.numpy(), A + B)
    with tg.no_grad():
        add_to(x, _recorded(x))
    with pytest.raises(TypeError, match=r"writes into p, which is ndarray; expected a tensor"):
        add_to(A, B)
    with pytest.raises(TypeError, match=r"writes into p, which is float"):
        add_to(1.0, tg.tensor(B))


def _recorded(x: Tensor) -> Tensor:
    """A result recorded although recording is off around the caller."""
    before, state.recording = state.recording, True
    try:
        return x * 1.0
    finally:
        state.recording = before


# ---- recording on and off ------------------------------------------------------------------------


def test_no_grad_as_block_and_decorator() -> None:
    x = leaf(A)
    with tg.no_grad():
        assert (x * x).node is None
        with tg.no_grad():
            assert (x * x).node is None
        assert (x * x).node is None
    assert (x * x).node is not None

    @tg.no_grad()
    def f(t: Tensor) -> Tensor:
        """Words."""
        return t * t

    assert f(x).node is None
    assert f.__doc__ == "Words."
    assert (x * x).node is not None
    off = tg.no_grad()
    with off, off:  # one object may be entered twice
        pass
    assert (x * x).node is not None


def test_recording_comes_back_after_an_error() -> None:
    x = leaf(A)
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        _ = 1 / 0
    assert (x * x).node is not None

    @primitive
    def failing(xp: Any, x: Any) -> Any:
        return x

    failing.vjp(x=lambda g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failing(x).backward(np.ones(2))
    assert (x * x).node is not None
    assert state.pulling is None


def test_each_thread_has_its_own_recording() -> None:
    seen: dict[str, bool] = {}
    inside, checked = threading.Event(), threading.Event()

    def other() -> None:
        x = leaf(A)
        inside.wait(10)
        seen["other"] = (x * x).node is not None
        with tg.no_grad():
            checked.set()
        seen["after"] = (x * x).node is not None

    thread = threading.Thread(target=other)
    thread.start()
    with tg.no_grad():
        inside.set()
        assert checked.wait(10)
        seen["main"] = (leaf(A) * 2.0).node is None
    thread.join()
    assert seen == {"other": True, "after": True, "main": True}


def test_graphs_made_in_threads_do_not_mix() -> None:
    results: list[float] = []

    def work(n: int) -> None:
        x = leaf([float(n)])
        y = x
        for _ in range(200):
            y = y + x * x
        (g,) = tg.grad(y, [x], [np.ones(1)])
        results.append(g.item() - (1 + 400 * n))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [0.0] * 4


# ---- freezing ------------------------------------------------------------------------------------


def switch(x: Tensor, *states: bool) -> None:
    for on in states:
        x.requires_grad = on


def test_off_and_on_between_forward_and_backward_changes_nothing() -> None:
    x = leaf(A)
    tg.sum(x * 3.0).backward()
    y = tg.sum(x * x)
    switch(x, False, True)
    assert x.grad.tolist() == [3.0, 3.0]
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), 3 + 2 * A)
    (g,) = tg.grad(tg.sum(x * x), [x])
    np.testing.assert_array_equal(g.numpy(), 2 * A)


def test_off_and_on_before_grad_by_the_same_leaf() -> None:
    x = leaf(A)
    y = tg.sum(x**3)
    switch(x, False, True)
    (g,) = tg.grad(y, [x], create_graph=True)
    switch(x, False, True)
    (h,) = tg.grad(tg.sum(g), [x])
    np.testing.assert_allclose(h.numpy(), 6 * A)


def test_a_leaf_frozen_during_forward_is_not_recorded() -> None:
    x, w = leaf(A), leaf(B)
    w.grad = tg.tensor(np.ones(2))
    switch(w, False)
    y = tg.sum(x * w)
    switch(w, True)
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), B)
    assert w.grad.tolist() == [1.0, 1.0]


def test_a_leaf_frozen_during_backward_gets_nothing_and_lets_through() -> None:
    x, w = leaf(A), leaf(B)
    y = tg.sum(x * w)
    y.backward(retain_graph=True)
    switch(w, False)
    y.backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad.numpy(), 2 * B)
    np.testing.assert_array_equal(w.grad.numpy(), A)
    with pytest.raises(ValueError, match=r"input 0 .* carries no gradient"):
        tg.grad(y, [w], retain_graph=True)
    with pytest.raises(ValueError, match=r"without requires_grad has no .grad to set"):
        w.grad = tg.tensor(A)
    switch(w, True)
    y.backward()
    np.testing.assert_array_equal(w.grad.numpy(), 2 * A)
    switch(w, False)
    w.grad = None  # what zero_grad does
    switch(w, True)
    assert w.grad is None


def test_freezing_the_discriminator_while_the_generator_learns() -> None:
    rng = np.random.default_rng(0)
    real, noise = (tg.tensor(rng.standard_normal((4, 3))) for _ in range(2))
    g, d = (tg.nn.Dense(3, 3, rng=tg.random.Generator(i)) for i in range(2))
    for p in (*g.parameters(), *d.parameters()):
        p.data = p.data.astype("float64")

    def learn(freeze: bool) -> list[Any]:
        g.zero_grad()
        d.zero_grad()
        loss_d = tg.mean(d(real) ** 2) - tg.mean(d(g(noise).detach()) ** 2)
        for p in d.parameters() if freeze else ():
            switch(p, False)
        tg.mean(d(g(noise)) ** 2).backward()
        assert all((p.grad is None) == freeze for p in d.parameters())
        for p in d.parameters():
            switch(p, True)
            p.grad = None
        loss_d.backward()
        return [p.grad.numpy() for p in (*g.parameters(), *d.parameters())]

    for frozen, free in zip(learn(True), learn(False), strict=True):
        np.testing.assert_allclose(frozen, free, rtol=1e-12)


def test_an_optimizer_leaves_frozen_parameters_alone() -> None:
    net = tg.nn.Dense(3, 2)
    w, b = net.parameters()
    for make in (
        lambda: tg.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1),
        lambda: tg.optim.Adam(net.parameters(), lr=0.1),
    ):
        switch(w, True)
        opt = make()
        net.zero_grad()
        tg.sum(net(tg.ones((4, 3)))).backward()
        kept, before = w.grad, w.numpy().copy()
        switch(w, False)
        norm = tg.optim.clip_grad_norm(net.parameters(), 1e9)
        assert norm.item() == pytest.approx(np.linalg.norm(b.grad.numpy()))
        opt.step()
        assert np.array_equal(w.numpy(), before)
        assert w.grad is kept
        switch(w, True)
        opt.step()
        assert not np.array_equal(w.numpy(), before)


def test_the_flag_of_a_result() -> None:
    x = leaf(A)
    y = x * 2.0
    for on in (False, True):
        with pytest.raises(ValueError, match=r"leaves only; .* result of mul; use .detach\(\)"):
            y.requires_grad = on
    with tg.no_grad():
        z = x * 2.0
    z.requires_grad = True  # made outside any graph: a leaf
    tg.sum(z * z).backward()
    np.testing.assert_array_equal(z.grad.numpy(), 4 * A)
    switch(x, False)
    frozen = x * 2.0
    switch(x, True)
    assert not frozen.requires_grad
    tg.sum(y).backward()
    assert x.grad.tolist() == [2.0, 2.0]


# ---- branches not taken --------------------------------------------------------------------------

AT = np.array([0.0, 2.0, -1.0])
BRANCHES: dict[str, Any] = {
    "log": (lambda x: tg.where(x > 0, tg.log(x), 0.0), [0.0, 0.5, 0.0], [0.0, -0.25, 0.0]),
    "sqrt": (
        lambda x: tg.where(x > 0, tg.sqrt(x), 0.0),
        [0.0, 0.5 * 2**-0.5, 0.0],
        [0.0, -0.25 * 2**-1.5, 0.0],
    ),
    "div": (lambda x: tg.where(x > 0, 1.0 / x, 0.0), [0.0, -0.25, 0.0], [0.0, 0.25, 0.0]),
    "div by 0": (lambda x: tg.where(x > 0, x / (x - x * (x < 1).astype("float64")), 0.0),
                 [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
    "power": (lambda x: tg.where(x > 0, x**-1.5, 0.0), [0.0, -1.5 * 2**-2.5, 0.0],
              [0.0, 3.75 * 2**-3.5, 0.0]),
    "power xy": (
        lambda x: tg.where(x > 0, tg.power(x, tg.tensor(np.full(3, 0.5))), 0.0),
        [0.0, 0.5 * 2**-0.5, 0.0],
        [0.0, -0.25 * 2**-1.5, 0.0],
    ),
    "exp": (
        lambda x: tg.where(x > 0, 0.0, tg.exp(1000 * x * x)) * (x > 1).astype("float64"),
        [0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BRANCHES)
def test_a_branch_not_taken_leaks_no_nan(name: str) -> None:
    f, first, second = BRANCHES[name]
    x = leaf(AT)
    (g,) = tg.grad(tg.sum(f(x)), [x], create_graph=True)
    np.testing.assert_allclose(g.numpy(), first, rtol=1e-12)
    (h,) = tg.grad(tg.sum(g), [x])
    np.testing.assert_allclose(h.numpy(), second, rtol=1e-12)


@pytest.mark.parametrize("name", ["log", "sqrt", "div", "div by 0", "power", "power xy"])
def test_nor_does_it_at_the_third_and_fourth_order(name: str) -> None:
    x = leaf(AT)
    g = BRANCHES[name][0](x)
    for _ in range(4):
        (g,) = tg.grad(tg.sum(g), [x], create_graph=True)
    assert (g.numpy()[[0, 2]] == 0).all()
    assert np.isfinite(g.numpy()).all()


def test_overflow_not_taken_leaks_no_nan() -> None:
    x = leaf([1000.0, 1.0])
    y = tg.where(x < 100, tg.exp(x), 1.0)
    (g,) = tg.grad(tg.sum(y), [x], create_graph=True)
    (h,) = tg.grad(tg.sum(g), [x], create_graph=True)
    np.testing.assert_allclose(g.numpy(), [0.0, np.e])
    np.testing.assert_allclose(h.numpy(), [0.0, np.e])


def test_the_norm_of_a_zero_vector() -> None:
    x = leaf(np.zeros(2))
    y = tg.where(tg.sum(x * x) > 0, tg.sqrt(tg.sum(x * x)), 0.0)
    np.testing.assert_array_equal(tg.grad(y, [x])[0].numpy(), [0.0, 0.0])
