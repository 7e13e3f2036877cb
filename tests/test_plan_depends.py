"""A plan serves while nothing it depended on has changed; else it is recorded anew, or refused.

Each test compares a compiled function with the function itself, before and after a change.
"""

from __future__ import annotations

import argparse
import collections
import copy
import dataclasses
import gc
import operator
import sys
import threading
import tracemalloc
import types
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygen as tg
from tinygen import losses, nn, optim
from tinygen.primitive import PRIMITIVES
from tinygen.random import Generator

F = "float32"
FACTOR = 2.0
CHANGING: Any = None
GENERATOR, ITERATOR = np.random.default_rng(0), iter(range(99))


def draw(*shape: int, seed: int = 0, grad: bool = False) -> Any:
    values = np.random.default_rng(seed).normal(size=shape).astype(F)
    return tg.tensor(values, requires_grad=grad)


def dense(n: int, m: int, seed: int = 0) -> nn.Dense:
    return nn.Dense(n, m, rng=Generator(seed))


def follows(function: Any, *changes: Any, shape: tuple[int, ...] = (3, 4)) -> Any:
    """The compiled function equals the function before and after each change; the last plan."""
    step = tg.compile(function, fuse=False)
    for i, change in enumerate([lambda: None, *changes]):
        change()
        for k in range(2):
            x = draw(*shape, seed=10 * i + k)
            np.testing.assert_array_equal(step(x).numpy(), function(x).numpy())
    return step.plan


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        lambda x, y: tg.grad((x * x).sum(), [x, y])[1],
        lambda x, y: y.zeros_like(),
        lambda x, y: tg.grad((x * x).sum(), [y])[0] + 0.0,
        lambda x, y: {"deep": [y.ones_like()]}["deep"][0] * 0.0,
    ],
)
def test_constants_that_a_step_makes_stay_alive(body: Any) -> None:
    step = tg.compile(body, fuse=False)
    x, y = draw(3, grad=True), draw(1000, grad=True)
    for _ in range(3):
        result = step(x, y)
        _others = [np.full(1000, 7.0, F) for _ in range(50)]  # would take freed memory
        assert not result.numpy().any()


def test_constants_that_a_step_changes_in_place_are_set_anew() -> None:
    rate = tg.tensor(np.array(0.5))

    def f(x: Any) -> Any:
        total = x.zeros_like()
        optim.ema_step(total, x, rate)
        return total * 1.0

    follows(f)


# ---- gradients -----------------------------------------------------------------------------------


def descent(compiled: bool, body: Any, calls: int = 3) -> list[Any]:
    """Weights and gradients after each of some calls of body(p, optimizer, x)."""
    p = nn.Parameter(np.zeros(2, F))
    optimizer = optim.SGD([p], 1.0)
    (p * 10.0).sum().backward()
    step = (lambda x: body(p, optimizer, x)) if not compiled else tg.compile(
        lambda x: body(p, optimizer, x)
    )  # fmt: skip
    out = []
    for i in range(calls):
        step(tg.full((2,), float(i + 1)))
        out += [p.tolist(), None if p.grad is None else p.grad.tolist()]
    return out


def _late(p: Any, optimizer: Any, x: Any) -> None:
    (p * x).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def _never(p: Any, optimizer: Any, x: Any) -> None:
    (p * x).sum().backward()
    optimizer.step()


def _only_adds(p: Any, optimizer: Any, x: Any) -> None:
    (p * x).sum().backward()
    (p * p * x).sum().backward()


def _infers(p: Any, optimizer: Any, x: Any) -> Any:
    return p * x


def _zeroes(p: Any, optimizer: Any, x: Any) -> None:
    optimizer.zero_grad()
    (p * x).sum().backward()


def _clips(p: Any, optimizer: Any, x: Any) -> None:
    (p * x).sum().backward()
    optim.clip_grad_norm([p], 0.5)


@pytest.mark.parametrize("body", [_late, _never, _only_adds, _infers, _zeroes, _clips])
def test_gradients_before_and_after_a_step_are_those_of_the_function(body: Any) -> None:
    np.testing.assert_equal(descent(True, body), descent(False, body))


def test_micro_batches_add_up() -> None:
    def run(compiled: bool, both: bool) -> list[float]:
        p = nn.Parameter(np.zeros(1, F))
        optimizer = optim.SGD([p], 1.0)

        def micro(x: Any) -> None:
            (p * x).sum().backward()

        def apply() -> None:
            optimizer.step()
            optimizer.zero_grad()

        micro_step = tg.compile(micro) if compiled else micro
        apply_step = tg.compile(apply) if both else apply
        out = []
        for i in range(3):
            for k in range(2):
                micro_step(tg.full((1,), float(i + k)))
            apply_step()
            out.append(p.item())
        return out

    assert run(True, False) == run(True, True) == run(False, False)


def test_gradients_of_arguments_are_left_on_them() -> None:
    step = tg.compile(lambda x: (x * x).sum().backward())
    for _ in range(2):
        x = tg.tensor([3.0], requires_grad=True)
        step(x)
        step(x)
        assert x.grad.tolist() == [12.0]


def test_a_gradient_through_what_was_made_before_is_refused() -> None:
    w = draw(3, grad=True)
    before = w * 2.0
    with pytest.raises(RuntimeError, match=r"mul, which was made before the step.*detach"):
        tg.compile(lambda x: (x * before).sum().backward())(draw(3))
    with pytest.raises(RuntimeError, match=r"argument that is the result of mul.*detach"):
        tg.compile(lambda x: (x * x).sum().backward())(w * 2.0)
    step = tg.compile(lambda x: (x * x).sum().backward())
    step(w.detach(requires_grad=True))  # the plan of a leaf does not serve a result
    with pytest.raises(RuntimeError, match=r"argument that is the result of mul.*detach"):
        step(w * 2.0)
    assert w.grad is None
    (before.sum()).backward()  # nothing of it was used up
    assert w.grad.tolist() == [2.0] * 3


# ---- arguments and results -----------------------------------------------------------------------


class Two(NamedTuple):
    a: Any
    b: Any = None


@dataclasses.dataclass(frozen=True)
class Batch:
    images: Any
    labels: Any = None


def test_containers_go_in_and_out() -> None:
    def f(two: Any, batch: Any, more: Any) -> Any:
        total = two.a + batch.images + more["list"][0]
        return Two(total, more["name"]), Batch(total * 2.0, [None, 1.5, (total,)])

    step = tg.compile(f)
    for i in range(3):
        x = tg.full((2,), float(i))
        two, batch = step(Two(x, "t"), Batch(x), {"list": [x * 2.0], "name": "n"})
        assert type(two) is Two
        assert two.b == "n"
        assert two.a.tolist() == [4.0 * i] * 2
        assert type(batch) is Batch
        assert batch.images.tolist() == [8.0 * i] * 2
        assert batch.labels[:2] == [None, 1.5]
        assert batch.labels[2][0].tolist() == [4.0 * i] * 2


def test_a_loss_keeps_its_parts() -> None:
    x, mu, logvar = (draw(4, 3, seed=i) for i in range(3))
    target = tg.tensor(np.random.default_rng(0).uniform(size=(4, 3)).astype(F))
    step = tg.compile(lambda x: losses.vae(x, target, mu, logvar))
    for _ in range(2):
        x = x * 1.5
        got, want = step(x), losses.vae(x, target, mu, logvar)
        assert type(got) is type(want)
        for name in ("reconstruction", "kl"):
            assert got.parts[name].item() == pytest.approx(want.parts[name].item(), rel=1e-5)


class Holder:
    def __init__(self, x: Any) -> None:
        self.x = x


@pytest.mark.parametrize(
    "make", [lambda x: types.SimpleNamespace(x=x), Holder, lambda x: {x}, lambda x: iter([x])]
)
def test_what_is_no_container_is_refused_by_name(make: Any) -> None:
    x = tg.ones(2)
    name = type(make(x)).__name__
    with pytest.raises(TypeError, match=f"argument is of type {name}.*dataclass"):
        tg.compile(lambda h: tg.ones(1))(make(x))
    with pytest.raises(TypeError, match=f"returns a {name}"):
        tg.compile(lambda x: make(x * 2.0))(x)
    with pytest.raises(TypeError, match=r"ndarray.*tg\.tensor"):
        tg.compile(lambda x: x)(np.ones(2))


def test_an_argument_that_is_changed_is_refused() -> None:
    def f(d: Any) -> Any:
        d["y"] = d["x"] * 2.0
        return d["x"]

    with pytest.raises(RuntimeError, match="dict or list among the arguments"):
        tg.compile(f)({"x": tg.ones(2)})


def test_numbers_are_told_apart_to_the_bit() -> None:
    step = tg.compile(lambda x, a: 1.0 / (x * a), fuse=False)
    for a in (0.0, -0.0, float("nan"), float("inf"), 0.0, 1, True, 1.0, -float("inf")):
        x = tg.ones(2)
        np.testing.assert_array_equal(step(x, a).numpy(), (1.0 / (x * a)).numpy())


@pytest.mark.parametrize("fuse", [False, True])
def test_zeros_of_both_signs_are_not_merged(fuse: bool) -> None:
    step = tg.compile(lambda x: (1.0 / (x * 0.0), 1.0 / (x * -0.0)), fuse=fuse)
    for _ in range(2):
        assert [v.item() for v in step(tg.ones(1))] == [np.inf, -np.inf]


def varied(function: Any, values: Any, dtype: str = F) -> int:
    """How often a function of a tensor and a number is recorded; its results are the function's."""
    step = tg.compile(function, fuse=False)
    for i, value in enumerate(values):
        x = draw(3, 4, seed=i).astype(dtype)
        np.testing.assert_array_equal(step(x, value).numpy(), function(x, value).numpy())
    return int(step._recordings)


MU = draw(3, 4, seed=9)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, k: x * k, 2),
        (lambda x, k: x * (1 - k) ** 2 + -k / 3.0, 2),
        (lambda x, k: losses.vae(x, tg.sigmoid(x), MU, MU, beta=k), 2),
        (lambda x, k: x * k if k > 0.35 else x + k, 3),
        (lambda x, k: x * np.exp(float(k)), 6),  # its value is used: a constant
        (lambda x, k: tg.clip(x, -k, k), 6),
        (lambda x, k: x * k if isinstance(k, float) else x, 6),
    ],
)
def test_numbers_that_vary_become_state(function: Any, expected: int) -> None:
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert varied(function, values) == expected
    assert varied(lambda x, k: function(x, k["k"]), [{"k": v} for v in values]) == expected
    if expected == 2 and function(draw(3, 4), 1.0).ndim:
        assert varied(function, values, "float64") == expected


def test_counts_that_vary_become_state() -> None:
    assert varied(lambda x, i: x * i + (1 if i % 2 == 0 else 2), range(6)) == 3
    assert varied(lambda x, i: x[i:] * 1.0, [0, 1, 2, 1, 0]) == 3
    assert varied(lambda x, k: x * k, [0.0, -0.0, float("nan"), float("inf"), -0.0]) == 2


# ---- the same tensor twice -----------------------------------------------------------------------


def test_the_same_tensor_twice() -> None:
    step = tg.compile(lambda x, y: tg.grad((x * x * y).sum(), x)[0])
    x, y = (tg.tensor([2.0], requires_grad=True) for _ in range(2))
    assert [step(*p).item() for p in ((x, x), (x, y), (x, x))] == [12.0, 8.0, 12.0]
    deep = tg.compile(lambda d: tg.grad((d["a"] * d["b"][0]).sum(), d["a"])[0])
    assert deep({"a": x, "b": [x]}).item() == 4.0
    assert deep({"a": x, "b": [y]}).item() == 2.0


def test_an_argument_that_is_also_read_from_outside_is_refused() -> None:
    x = tg.tensor([2.0], requires_grad=True)
    step = tg.compile(lambda a: tg.grad((a * x).sum(), a)[0])
    assert step(tg.tensor([3.0], requires_grad=True)).item() == 2.0
    with pytest.raises(RuntimeError, match="also reads from outside"):
        step(x)


def test_an_argument_in_the_memory_of_what_changes_is_refused() -> None:
    p = nn.Parameter(np.ones(2, F))

    def f(x: Any) -> Any:
        nn.module.assign(p, p.detach() * 2.0)
        return x * 1.0

    step = tg.compile(f)
    step(tg.ones(2))
    with pytest.raises(RuntimeError, match=r"shares memory.*copy\(\)"):
        step(p.detach())
    assert p.tolist() == [2.0, 2.0]


def test_a_plan_keeps_nothing_of_its_recording() -> None:
    net, x = nn.Sequential(dense(8, 64), nn.ReLU(), dense(64, 8)), draw(40_000, 8)

    @tg.compile
    def step(x: Any) -> Any:
        return tg.grad(net(x).square().mean(), list(net.parameters()))

    tracemalloc.start()
    try:
        step(x)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    temporary = 40_000 * 64 * 4
    assert kept < step.plan.arena_bytes + temporary  # it was 6 of them


# ---- what may change -----------------------------------------------------------------------------


class Net(nn.Module):
    kind = "plain"

    def __init__(self) -> None:
        self.first, self.drop, self.last = dense(4, 4), nn.Dropout(0.5, rng=Generator(0)), nn.Tanh()
        self.scale = 1.0
        self.extra: list[Any] = []

    def forward(self, x: Any) -> Any:
        h = self.first.forward(x)
        h = self.drop.forward(h) if self.drop.training and self.drop.p > 0.6 else h
        if self.kind == "plain":
            h = self.last(h) * self.scale
        for layer in self.extra:
            h = layer(h)
        return h


def _set(owner: Any, name: str, value: Any) -> Any:
    return lambda net: setattr(owner(net), name, value)


CHANGES = {
    "a number": _set(lambda n: n, "scale", 3.0),
    "its type": _set(lambda n: n, "scale", 1),
    "a layer": _set(lambda n: n, "last", nn.ReLU()),
    "a parameter": lambda n: setattr(n.first, "weight", nn.Parameter(np.ones((4, 4), F))),
    "no bias": _set(lambda n: n.first, "bias", None),
    "a longer list": lambda n: n.extra.append(nn.Sigmoid()),
    "an attribute of the class, shadowed": _set(lambda n: n, "kind", "other"),
    "a method of one instance": lambda n: setattr(n.last, "forward", lambda x: x * 5.0),
    "requires_grad": lambda n: setattr(n.first.weight, "requires_grad", False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_module_that_changes(name: str) -> None:
    net = Net()
    follows(lambda x: net(x), lambda: CHANGES[name](net))
    follows(net, lambda: CHANGES[name](net))


def test_dropout_and_the_training_flag() -> None:
    def run(compiled: bool) -> list[Any]:
        drop = nn.Dropout(0.5, rng=Generator(1))
        f = tg.compile(lambda x: drop.forward(x)) if compiled else drop.forward
        out = []
        for p, training in ((0.5, True), (0.1, True), (0.1, False), (0.9, True), (0.5, True)):
            drop.p = p
            drop.train(training)
            out += [f(tg.ones(6)).tolist() for _ in range(2)]
        return out

    assert run(True) == run(False)


def test_a_frozen_layer_is_not_trained() -> None:
    net = nn.Sequential(dense(3, 4), nn.Tanh(), dense(4, 1, 1))
    optimizer = optim.SGD(net.parameters(), 0.1)

    @tg.compile
    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    for frozen in (False, True, False, True):
        for p in net[0].parameters():
            p.requires_grad = not frozen
        before = [p.numpy().copy() for p in net.parameters()]
        step(draw(5, 3))
        moved = [
            not np.array_equal(a, p.numpy()) for a, p in zip(before, net.parameters(), strict=True)
        ]
        assert moved == [not frozen, not frozen, True, True]


def test_what_is_imported_or_compiled_during_a_recording_is_no_change() -> None:
    pytest.importorskip("numba")

    def f(x: Any) -> Any:
        import this_test_imports as found  # at its first run

        return tg.leaky_relu(x, 0.01271) * found.FACTOR  # a loop that is compiled now

    module = types.ModuleType("this_test_imports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "this_test_imports", module)
        module.FACTOR = 2.0  # type: ignore[attr-defined]
        follows(f, shape=(600, 700))


@pytest.mark.parametrize("read", [lambda: globals()["FACTOR"], lambda: eval("FACTOR")])
def test_globals_by_other_ways(read: Any) -> None:
    global FACTOR
    before = FACTOR
    try:
        follows(lambda x: x * read(), lambda: globals().update(FACTOR=7.0))
    finally:
        FACTOR = before


def imports(x: Any) -> Any:
    import this_test_changes

    return x * this_test_changes.factor


def imports_a_name(x: Any) -> Any:
    from this_test_changes import factor

    return x * factor


def imports_deep(x: Any) -> Any:
    import this_test_changes.inner

    return x * this_test_changes.inner.factor


def imports_deep_as(x: Any) -> Any:
    import this_test_changes.inner as found

    return x * found.factor


NAMES = ["factor"]


@pytest.mark.parametrize(
    "function",
    [
        imports, imports_a_name, imports_deep, imports_deep_as,
        lambda x: x * getattr(sys.modules["this_test_changes"], NAMES[0], 1.0),
        lambda x: x * getattr(CHANGING, NAMES[0]),
        lambda x: x * vars(CHANGING)[NAMES[0]],
        lambda x: x * CHANGING.__dict__[NAMES[0]],
        lambda x: x * getattr(CHANGING.Kind, NAMES[0]),
        lambda x: x * operator.attrgetter("Kind." + NAMES[0])(CHANGING),
    ],
)  # fmt: skip
def test_modules_imported_in_the_step_and_names_that_are_computed(
    function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("this_test_changes")
    inner = types.ModuleType("this_test_changes.inner")
    module.inner, module.__path__ = inner, []  # type: ignore[attr-defined]
    module.Kind = type("Kind", (), {"factor": 2.0})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "this_test_changes", module)
    monkeypatch.setitem(sys.modules, "this_test_changes.inner", inner)
    monkeypatch.setattr(sys.modules[__name__], "CHANGING", module, raising=False)

    def change(value: float) -> Any:
        return lambda: [setattr(o, "factor", value) for o in (module, inner, module.Kind)]

    change(1.0)()
    follows(function, change(5.0), change(7.0))


def test_globals_closures_and_what_hangs_on_them() -> None:
    global FACTOR
    scale, box = 1.0, {"list": [1.0]}
    array, space, options = np.ones(3), types.SimpleNamespace(a=1.0), argparse.Namespace(b=1.0)

    class Config:
        rate = 1.0

    holder = Holder(1.0)

    def inner(x: Any) -> Any:
        return x * FACTOR * Config.rate

    def f(x: Any, extra: float = 1.0) -> Any:
        y = inner(x) * scale * box["list"][0] * float(array[1]) * space.a * options.b
        return y * getattr(holder, "".join(["x"])) + extra

    def rebind() -> None:
        nonlocal scale
        scale = 5.0

    before = FACTOR
    try:
        follows(
            f,
            lambda: globals().update(FACTOR=7.0),
            rebind,
            lambda: box["list"].append(2.0),
            lambda: box["list"].insert(0, 3.0),
        )
        follows(
            f,
            lambda: box.update(list=[4.0]),
            lambda: array.__setitem__(1, 2.0),
            lambda: setattr(space, "a", 6.0),
            lambda: setattr(options, "b", 6.0),
            lambda: setattr(Config, "rate", 0.5),
            lambda: setattr(holder, "x", -1.0),
            lambda: setattr(f, "__defaults__", (4.0,)),
        )
    finally:
        FACTOR = before


class Slotted:
    __slots__ = ("k",)


def test_slots_properties_and_flags_that_are_only_read() -> None:
    held, p = Slotted(), nn.Parameter(np.ones(1, F))
    held.k = 2.0

    class Owner:
        hidden = 1.0
        shown = property(lambda self: self.hidden * 2.0)

    owner = Owner()
    follows(
        lambda x: x * held.k * owner.shown * (3.0 if p.requires_grad else 1.0),
        lambda: setattr(held, "k", 5.0),
        lambda: setattr(owner, "hidden", 7.0),
        lambda: setattr(Owner, "shown", 4.0),
        lambda: setattr(p, "requires_grad", False),
    )


def test_a_function_that_is_defined_again() -> None:
    space = types.SimpleNamespace(act=tg.tanh)
    follows(lambda x: space.act(x), lambda: setattr(space, "act", tg.relu))

    def act(x: Any) -> Any:
        return x * 2.0

    def again() -> None:
        nonlocal act
        act = lambda x: x * 3.0

    follows(lambda x: act(x), again)


def test_equal_values_need_no_new_plan() -> None:
    net = Net()
    step = tg.compile(lambda x: net(x))
    step(draw(3, 4))
    first = step.plan
    net.scale = float("1.0")
    net.train()
    step(draw(3, 4))
    assert step.plan is first
    net.scale = 2.0
    step(draw(3, 4))
    assert step.plan.why == "net.scale is 2.0, and was 1.0"
    net.scale = 1.0
    step(draw(3, 4))
    assert step.plan is first


def test_a_new_optimizer() -> None:
    p = nn.Parameter(np.zeros(1, F))

    class Trainer:
        def __init__(self) -> None:
            self.optimizer = optim.SGD([p], 1.0)

        def step(self, x: Any) -> Any:
            self.optimizer.zero_grad()
            (p * x).sum().backward()
            self.optimizer.step()

    trainer = Trainer()
    step = tg.compile(trainer.step)
    step(tg.ones(1))
    assert p.item() == -1.0
    trainer.optimizer = optim.SGD([p], 0.5)
    step(tg.ones(1))
    assert p.item() == -1.5
    trainer.optimizer.options["weight_decay"] = 1.0
    step(tg.ones(1))
    assert p.item() == -1.25
    optim.SGD([p], 1.0)
    with pytest.raises(RuntimeError, match="taken over by an optimizer made later"):
        step(tg.ones(1))


def test_the_default_generator_is_followed() -> None:
    step = tg.compile(lambda x: x + tg.random.default_generator().normal((2,)))
    out = []
    for _ in range(2):
        tg.random.manual_seed(3)
        out += [step(tg.zeros(2)).tolist(), step(tg.zeros(2)).tolist()]
    assert out[:2] == out[2:]
    assert out[0] != out[1]


def test_a_rule_that_is_corrected() -> None:
    def doubled_for_a_plan(xp: Any, x: Any) -> Any:
        return x * 2.0

    try:
        op = tg.primitive(doubled_for_a_plan)
        op.vjp(x=lambda g: g * 3.0)
        step = tg.compile(lambda x: tg.grad(op(x).sum(), x)[0])
        x = draw(2, grad=True)
        assert step(x).tolist() == [3.0, 3.0]
        op.vjp(x=lambda g: g * 2.0)
        op._recipes.clear()
        assert step(x).tolist() == [2.0, 2.0]
    finally:
        PRIMITIVES.pop("doubled_for_a_plan", None)


# ---- what cannot be followed ---------------------------------------------------------------------


def _counts() -> Any:
    n = 0

    def f(x: Any) -> Any:
        nonlocal n
        n += 1
        return x * float(n)

    return f


def _appends() -> Any:
    seen: list[Any] = []

    def f(x: Any) -> Any:
        seen.append(x * 2.0)
        return seen[-1]

    return f


def _keeps() -> Any:
    holder = Holder(None)

    def f(x: Any) -> Any:
        holder.x = x * 2.0
        return x

    return f


def _initialises() -> Any:
    net, net.ready = nn.Identity(), False  # type: ignore[attr-defined]
    p = nn.Parameter(np.zeros(2, F))

    def f(x: Any) -> Any:
        if not net.ready:
            nn.module.assign(p, x * 1.0)
            net.ready = True
        return x - p

    return f


@pytest.mark.parametrize("make", [_counts, _appends, _keeps, _initialises])
def test_a_step_that_changes_what_it_reads_is_refused(make: Any) -> None:
    f = make()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the step itself changes what it reads: "):
            tg.compile(f)(tg.ones(2))


@pytest.mark.parametrize(
    ("number", "match"),
    [
        (lambda: np.random.default_rng().normal(), r"depends\.py:\d+ uses .*system.*urandom"),
        (lambda: GENERATOR.normal(), r"the step takes the next of GENERATOR"),
        (lambda: float(next(ITERATOR)), r"the step takes the next of ITERATOR"),
        (lambda: float(sys.getallocatedblocks()), r"two runs of the step .* differ at .*depends"),
    ],
)
def test_numbers_that_change_by_themselves_are_refused(number: Any, match: str) -> None:
    with pytest.raises(RuntimeError, match=match):
        tg.compile(lambda x: x * number())(tg.ones(2))


def test_a_large_array_must_be_read_only() -> None:
    array = np.ones(2**20)
    step = tg.compile(lambda x: x * float(array[0]))
    with pytest.raises(RuntimeError, match=r"array, an array of 8.0 MiB.*setflags"):
        step(tg.ones(2))
    array.setflags(write=False)
    assert step(tg.ones(2)).tolist() == [1.0, 1.0]


# ---- threads, many plans, methods ----------------------------------------------------------------


def test_threads_do_not_get_each_others_results() -> None:
    step = tg.compile(lambda x: tg.tanh(x) * x + x, fuse=False)
    wrong = []

    def run(k: int) -> None:
        for i in range(60):
            x = tg.full((1000 + k % 2,), float(k + i % 3))
            if not np.array_equal(step(x).numpy(), (tg.tanh(x) * x + x).numpy()):
                wrong.append((k, i))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


def test_plans_are_bounded_and_a_note_says_why() -> None:
    step = tg.compile(lambda x: x * 2.0, fuse=False)
    for n in range(1, 9):
        step(tg.ones(n))
    with pytest.warns(UserWarning, match=r"<lambda> was recorded 9 times.*other shapes"):
        step(tg.ones(9))
    step(tg.ones(10))
    assert sum(map(len, step.plans.values())) == 8
    plans = [step(tg.ones(9)) is None or step.plan]
    for n in range(11, 18):  # the one that is used between stays
        step(tg.ones(n))
        plans += [step(tg.ones(9)) is None or step.plan]
    assert len(set(map(id, plans))) == 1


class Trainer:
    def __init__(self, k: float) -> None:
        self.k = k

    @tg.compile
    def step(self, x: Any) -> Any:
        return x * self.k

    @tg.compile(fuse=False)
    def other(self, x: Any) -> Any:
        return x + self.k

    @staticmethod
    @tg.compile()
    def double(x: Any) -> Any:
        return x * 2.0


def test_methods_and_decorators_with_and_without_brackets() -> None:
    a, b = Trainer(2.0), Trainer(3.0)
    x = tg.ones(1)
    assert [a.step(x).item(), b.step(x).item(), a.other(x).item()] == [2.0, 3.0, 3.0]
    assert Trainer.double(x).item() == 2.0
    a.k = 7.0
    assert a.step(x).item() == 7.0
    assert a.step is a.step
    assert a.step is not b.step
    twin = copy.deepcopy(a)
    twin.k = 11.0
    assert [twin.step(x).item(), a.step(x).item()] == [11.0, 7.0]
    step = tg.compile(lambda x: x * 2.0)
    step(x)
    assert copy.deepcopy(step)(x).item() == 2.0


def test_generators_and_coroutines_are_refused() -> None:
    def pieces(x: Any) -> Any:
        yield x

    async def later(x: Any) -> Any:
        return x

    for f in (pieces, later):
        with pytest.raises(TypeError, match=f"{f.__name__} is a generator or a coroutine"):
            tg.compile(f)


def test_no_grad_decorates_with_and_without_brackets() -> None:
    x = draw(2, grad=True)

    @tg.no_grad
    def f(x: Any) -> Any:
        return x * 2.0

    class Model:
        @tg.no_grad
        def draw(self, x: Any) -> Any:
            return x * 3.0

        @tg.no_grad()
        def other(self, x: Any) -> Any:
            return x * 3.0

    for y in (f(x), Model().draw(x), Model().other(x), tg.compile(f)(x)):
        assert not y.requires_grad
    assert (x * 2.0).requires_grad
    with tg.no_grad():
        assert not (x * 2.0).requires_grad
    for bracket in (tg.no_grad, tg.no_grad()):
        with pytest.raises(TypeError, match="pieces is a generator or a coroutine"):

            @bracket
            def pieces(x: Any) -> Any:
                yield x


# ---- check=True ----------------------------------------------------------------------------------


def test_check_takes_nan_and_infinity_for_what_they_are() -> None:
    step = tg.compile(lambda x: (tg.log(x), 1.0 / x, x > 0.0, {"n": 3.5}), check=True)
    for _ in range(2):
        step(tg.tensor([-1.0, 0.0, 1.0]))


def test_check_looks_into_every_result(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sly:
        """Something no one can look into."""

        __slots__ = ("n",)
        __module__ = "numpy"  # not followed

    for change in (float("nan"), float("inf"), 7.0):
        sly = Sly()
        sly.n = 1.0
        step = tg.compile(lambda x, sly=sly: Batch(x, [x > sly.n, x * sly.n]), check=True)
        step(tg.tensor([0.5, 2.0]))
        sly.n = change
        with pytest.raises(RuntimeError, match="differs from the function itself"):
            step(tg.tensor([0.5, 2.0]))


class _Sorted(dict[str, float]):
    """A dict that shows its values in another order than its keys."""

    def values(self):  # type: ignore[override,no-untyped-def]
        return [self[k] for k in sorted(self)]


@pytest.mark.parametrize(
    "kind",
    [dict, collections.OrderedDict, lambda x: collections.defaultdict(float, x), _Sorted],
    ids=["dict", "OrderedDict", "defaultdict", "own"],
)
def test_each_entry_of_a_mapping_is_compared(kind):
    held = kind({"b": 2.0, "a": 3.0})
    beside = [1.0, 4.0]  # takes the number that the mapping gives up, so that all have one length

    def step(x):
        for i, (k, v) in enumerate(held.items()):
            x = x * v + (i if k == "a" else 0.5)
        return x + sum(held.values()) * len(held) + sum(beside)

    compiled = tg.compile(step)
    x = tg.tensor([1.0, -2.0])

    def look():
        np.testing.assert_array_equal(compiled(x).numpy(), step(x).numpy())

    look()
    held["a"] = 5.0
    look()
    held["b"] = 7.0
    look()
    look()
    beside.append(held.pop("a"))
    look()
    held["a"] = beside.pop(0)
    look()
    held.clear()
    look()


@pytest.mark.parametrize("kind", [list, collections.deque])
def test_each_place_of_a_sequence_is_compared(kind):
    first, second = kind([2.0, 3.0]), kind([4.0])
    compiled = tg.compile(lambda x: x * first[0] - sum(first) + second[-1] * len(second))
    x = tg.tensor([1.0, -2.0])

    def look():
        expected = x * first[0] - sum(first) + second[-1] * len(second)
        np.testing.assert_array_equal(compiled(x).numpy(), expected.numpy())

    look()
    for i in (0, 1):
        first[i] += 1.0
        look()
    second.append(first.pop())  # as many in all, in the same order
    look()
    first[0], second[0] = second[0], first[0]
    look()
