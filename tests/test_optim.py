"""Optimizers, schedules, clipping and averages of weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygen as tg
from tinygen import nn, optim
from tinygen.graph import no_grad
from tinygen.random import Generator

pytestmark = pytest.mark.quick
START, CURVATURE = [1.0, -2.0, 3.0], [1.0, 10.0, 0.1]


def parameter(values: Any = START) -> nn.Parameter:
    return nn.Parameter(np.array(values, dtype=np.float64))


def descend(make: Callable[[Any], optim.Optimizer], steps: int) -> nn.Parameter:
    """`steps` updates on sum a p^2 / 2, in float64."""
    p = parameter()
    optimizer = make([p])
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * np.array(CURVATURE) * p * p).sum().backward()
        optimizer.step()
    return p


# ---- the numbers ---------------------------------------------------------------------------------

# Five steps from START on sum(0.5 * a * p * p), a = CURVATURE, recorded from PyTorch 2.13 with
# torch.set_default_dtype(torch.float64) and p.detach().tolist(); the arguments are the same there.
RECORDED = {
    "sgd": (lambda p: optim.SGD(p, lr=0.05), [0.7737809375, -0.0625, 2.925746259365625]),
    "decay": (
        lambda p: optim.SGD(p, lr=0.05, weight_decay=0.1),
        [0.7536314998406249, -0.05943687811874998, 2.8529701497000004],
    ),
    "momentum": (
        lambda p: optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
        [0.36667665959062495, 1.0173504323812501, 2.6149020777],
    ),
    "nesterov": (
        lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
        [0.31594230506562493, 0.022274375000000023, 2.7526506503472277],
    ),
    "adam": (
        lambda p: optim.Adam(p, lr=0.1, betas=(0.5, 0.9), eps=1e-3),
        [0.5275611956159486, -1.5118739440519546, 2.509233724662519],
    ),
    "adam_l2": (
        lambda p: optim.Adam(p, lr=0.1, weight_decay=0.1),
        [0.507963661443061, -1.5029557802540627, 2.5017794639254634],
    ),
    "adamw": (
        lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.1),
        [0.4699526596188067, -1.4155664789194458, 2.3652785893106136],
    ),
}


@pytest.mark.parametrize("name", RECORDED)
def test_five_steps_equal_pytorch(name: str) -> None:
    make, expected = RECORDED[name]
    np.testing.assert_allclose(descend(make, 5).numpy(), expected, rtol=1e-12)


@given(
    lr=st.floats(1e-4, 0.1), momentum=st.floats(0, 0.95), decay=st.floats(0, 0.5),
    nesterov=st.booleans(), steps=st.integers(1, 8),
)  # fmt: skip
def test_sgd_follows_its_formula(
    lr: float, momentum: float, decay: float, nesterov: bool, steps: int
) -> None:
    nesterov = nesterov and momentum > 0
    p, v = np.array(START), np.zeros(3)
    for _ in range(steps):
        d = np.array(CURVATURE) * p + decay * p
        v = momentum * v + d
        p = p - lr * (d + momentum * v if nesterov else v)
    got = descend(lambda q: optim.SGD(q, lr, momentum, nesterov, decay), steps)
    np.testing.assert_allclose(got.numpy(), p, rtol=1e-9, atol=1e-12)


@given(
    lr=st.floats(1e-4, 0.1), beta1=st.floats(0, 0.95), beta2=st.floats(0, 0.999),
    eps=st.floats(1e-10, 1e-2), decay=st.floats(0, 0.5), decoupled=st.booleans(),
    steps=st.integers(1, 8),
)  # fmt: skip
def test_adam_follows_its_formula(
    lr: float, beta1: float, beta2: float, eps: float, decay: float, decoupled: bool, steps: int
) -> None:
    p, m, v = np.array(START), np.zeros(3), np.zeros(3)
    for t in range(1, steps + 1):
        g = np.array(CURVATURE) * p + (0 if decoupled else decay * p)
        p = p * (1 - lr * decay) if decoupled else p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    kind = optim.AdamW if decoupled else optim.Adam
    got = descend(lambda q: kind(q, lr, (beta1, beta2), eps, decay), steps)
    np.testing.assert_allclose(got.numpy(), p, rtol=1e-8, atol=1e-10)


def test_first_step_of_adam_is_the_learning_rate() -> None:
    got = descend(lambda p: optim.Adam(p, lr=0.01, eps=0.0), 1)
    np.testing.assert_allclose(got.numpy(), np.array(START) - 0.01 * np.sign(START), rtol=1e-12)


@pytest.mark.parametrize("size", [0, 1, 1000, 32_768, 40_000])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, 0.1, weight_decay=0.1),
        lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        lambda p: optim.Adam(p, 0.1, weight_decay=0.1),
        lambda p: optim.AdamW(p, 0.1, weight_decay=0.1),
    ],
)
def test_blocks_do_not_show(size: int, make: Any) -> None:
    """A parameter updated in pieces, and by a strided gradient, as element by element."""
    draw = np.random.default_rng(size)
    values, slope = draw.normal(size=(2, 2, size)).astype(np.float32)
    whole, left, right = (nn.Parameter(v) for v in (values.T, values[0], values[1]))
    one, two = make([whole]), make([left, right])
    for _ in range(2):
        one.step([tg.Tensor(slope.T)])
        two.step([tg.Tensor(slope[0]), tg.Tensor(slope[1])])
    np.testing.assert_allclose(whole.numpy().T, [left.numpy(), right.numpy()], rtol=1e-6)
    assert whole.dtype == np.float32


def test_update_is_in_place() -> None:
    p = parameter()
    storage = p.data
    optimizer = optim.Adam([p], lr=0.1)
    optimizer.step([tg.tensor(np.ones(3))])
    assert p.data is storage
    assert (storage != START).all()


def test_update_between_forward_and_backward_is_noticed() -> None:
    net = nn.Sequential(nn.Dense(2, 1))
    optimizer = optim.SGD(net, lr=0.1)
    x = tg.tensor([[1.0, 2.0]], requires_grad=True)
    y = net(x).sum()
    optimizer.step([p.ones_like() for p in net.parameters()])
    with pytest.raises(RuntimeError, match=r"'0\.weight'.*changed in place by SGD.step"):
        y.backward()


# ---- which parameters ----------------------------------------------------------------------------


def test_a_parameter_without_gradient_is_left_alone() -> None:
    """Step counts are kept for each parameter, as one that was skipped has fewer."""
    a, b, alone = parameter(), parameter(), parameter()
    both, single = optim.Adam([a, b], lr=0.1), optim.Adam([alone], lr=0.1)
    g = tg.tensor(np.array([1.0, -0.1, 3.0]))
    both.step([g, None])
    np.testing.assert_array_equal(b.numpy(), START)
    both.step([None, g])
    single.step([g])
    np.testing.assert_array_equal(b.numpy(), alone.numpy())


def test_step_without_any_gradient_raises() -> None:
    optimizer = optim.SGD([parameter()], lr=0.1)
    for grads in (None, [None]):
        with pytest.raises(RuntimeError, match=r"SGD\.step: no parameter has a gradient"):
            optimizer.step(grads)


def test_foreign_gradients_are_refused_before_any_update() -> None:
    a, b = parameter(), parameter([1.0])
    optimizer = optim.SGD([a, b], lr=0.1)
    good = tg.tensor(np.ones(3))
    with pytest.raises(ValueError, match="1 gradients for 2 parameters"):
        optimizer.step([good])
    with pytest.raises(ValueError, match=r"gradient of 'parameter#1' is \(3,\) float64"):
        optimizer.step([good, good])
    with pytest.raises(ValueError, match=r"is \(1,\) float32, the parameter \(1,\) float64"):
        optimizer.step([good, tg.ones(1)])
    np.testing.assert_array_equal(a.numpy(), START)


def test_a_second_optimizer_takes_over() -> None:
    net = nn.Sequential(nn.Dense(2, 1))
    first = optim.Adam(net.parameters())
    second = optim.SGD(net.parameters(), lr=0.1)
    net(tg.ones((1, 2))).sum().backward()
    with pytest.raises(RuntimeError, match=r"Adam\.step: parameter '0\.weight' was taken over"):
        first.step()
    second.step()


def test_a_refused_optimizer_takes_nothing_over() -> None:
    p = parameter()
    first = optim.SGD([p], lr=0.1)
    for bad in (lambda: optim.Adam([p], lr=-1), lambda: optim.SGD([p, p], lr=0.1)):
        with pytest.raises(ValueError):
            bad()
    first.step([tg.tensor(np.ones(3))])


def test_two_optimizers_share_no_state() -> None:
    """A generator's step changes nothing of the discriminator, and the other way round."""
    g, d = nn.Dense(2, 3, rng=Generator(0)), nn.Dense(3, 1, rng=Generator(1))
    og, od = optim.Adam(g.parameters()), optim.Adam(d.parameters())
    z = tg.ones((4, 2))

    def snapshot(*owners: Any) -> list[Any]:
        return [v for o in owners for v in o.state_dict().values()]

    before = snapshot(d, od)
    d(g(z)).sum().backward(inputs=g.parameters())
    og.step()
    assert all(p.grad is None for p in d.parameters())
    assert all(np.array_equal(a, b) for a, b in zip(before, snapshot(d, od), strict=True))
    before = snapshot(g, og)
    og.zero_grad()
    d(g(z).detach()).sum().backward()
    od.step()
    assert all(p.grad is None for p in g.parameters())
    assert all(np.array_equal(a, b) for a, b in zip(before, snapshot(g, og), strict=True))


# ---- bad arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.SGD(p, lr=-0.1), r"SGD: lr is -0.1; expected a finite number >= 0"),
        (lambda p: optim.SGD(p, lr=math.nan), "lr is nan"),
        (lambda p: optim.SGD(p, 0.1, momentum=1.0), r"momentum is 1.0; expected 0 <= momentum < 1"),
        (lambda p: optim.SGD(p, 0.1, nesterov=True), "nesterov is True; expected momentum > 0"),
        (lambda p: optim.SGD(p, 0.1, weight_decay=-1), "weight_decay is -1"),
        (lambda p: optim.Adam(p, betas=(0.9, 1.0)), r"Adam: betas is \(0.9, 1.0\)"),
        (lambda p: optim.Adam(p, betas=0.9), "Adam: betas is 0.9; expected two numbers"),
        (lambda p: optim.AdamW(p, eps=-1e-8), "AdamW: eps is -1e-08"),
        (lambda p: optim.SGD([], 0.1), "SGD: no parameters"),
        (lambda p: optim.SGD(nn.ReLU(), 0.1), "SGD: no parameters"),
        (lambda p: optim.SGD([*p, *p], 0.1), "given twice"),
        (lambda p: optim.EMA(p, 1.5), "EMA: decay is 1.5"),
        (lambda p: optim.clip_grad_norm(p, 0), "max_norm is 0"),
        (lambda p: optim.clip_grad_value(p, -1), "value is -1"),
        (lambda p: optim.Schedule(0.1, "step"), "one of constant, linear, cosine"),
        (lambda p: optim.Schedule(0.1, "cosine"), "more than the warm-up of 0"),
        (lambda p: optim.Schedule(0.1, "linear", steps=5, warmup=5), "steps is 5"),
        (lambda p: optim.Schedule(-0.1), "lr is -0.1"),
    ],
)
def test_bad_numbers_raise_with_their_value(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make([parameter()])


def test_only_parameters_are_accepted() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="entry 0 of the parameters is Tensor"):
        optim.SGD([x], lr=0.1)  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"is the result of mul; expected an nn.Parameter, a leaf"):
        optim.SGD([parameter() * 2.0], lr=0.1)  # type: ignore[list-item]
    with pytest.raises(TypeError, match="entry 0 of the parameters is str"):
        optim.SGD("weights", lr=0.1)  # type: ignore[arg-type]


def test_learning_rate_can_be_set() -> None:
    p = parameter()
    optimizer = optim.SGD([p], lr=0.1)
    optimizer.lr = 0.25
    assert optimizer.lr == 0.25
    optimizer.step([tg.tensor(np.ones(3))])
    np.testing.assert_allclose(p.numpy(), np.array(START) - 0.25)
    with pytest.raises(ValueError, match="lr is inf"):
        optimizer.lr = math.inf
    assert repr(optimizer) == "SGD(lr=0.25, 3 parameters)"


# ---- groups --------------------------------------------------------------------------------------


def test_groups_are_optimizers_of_their_own() -> None:
    """Each with its learning rate, betas and decay; the rate of all moves them in proportion."""
    a, b, a2, b2 = parameter(), parameter(), parameter(), parameter()
    own = {"lr": 0.02, "betas": (0.5, 0.9), "weight_decay": 0.0}
    both = optim.AdamW([{"params": [a], **own}, {"params": [b]}], 0.1, weight_decay=0.2)
    one, two = optim.AdamW([a2], **own), optim.AdamW([b2], 0.1, weight_decay=0.2)
    for share in (1.0, 0.5):
        both.lr, one.lr, two.lr = 0.1 * share, 0.02 * share, 0.1 * share
        assert [group.lr for group in both.groups] == [0.02 * share, 0.1 * share]
        g = tg.tensor(np.array([1.0, -0.1, 3.0]))
        both.step([g, g])
        one.step([g])
        two.step([g])
    np.testing.assert_array_equal(a.numpy(), a2.numpy())
    np.testing.assert_array_equal(b.numpy(), b2.numpy())
    assert repr(both) == "AdamW(lr=0.05, 6 parameters, 2 groups)"


def test_groups_save_their_rates_and_go_on() -> None:
    nets = [nn.Dense(2, 1, rng=Generator(i)) for i in range(2)]
    make = lambda: optim.SGD(
        [{"params": nets[0], "lr": 0.01}, {"params": nets[1], "momentum": 0.0}], 0.1, momentum=0.9
    )
    first = make()
    first.lr = 0.5
    state = first.state_dict()
    assert list(state) == ["lr", "lr#0", "weight.velocity", "bias.velocity"]
    again = make()
    again.load_state_dict(state)
    assert [group.lr for group in again.groups] == [0.05, 0.5]


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (lambda p: [{"params": p, "decay": 1}], ValueError, "SGD: group 0 has no option decay"),
        (lambda p: [{"params": p, "lr": -1}], ValueError, "SGD: group 0: lr is -1"),
        (lambda p: [{"params": p, "momentum": 2}], ValueError, "SGD: group 0: momentum is 2"),
        (lambda p: [{"params": p}, {"params": p}], ValueError, "'parameter#0' is in two groups"),
        (lambda p: [{"params": p}, {"lr": 1}], TypeError, "group 1 is keys lr; expected a dict"),
        (lambda p: [{"params": p}, p[0]], TypeError, "group 1 is .*; expected a dict with"),
        (lambda p: [{"params": []}], ValueError, "SGD: group 0: no parameters"),
    ],
)
def test_groups_that_are_none_are_refused(groups: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        optim.SGD(groups([parameter()]), lr=0.1)
    with pytest.raises(ValueError, match="expected the optimizer's lr above 0"):
        optim.SGD([{"params": [parameter()], "lr": 0.1}], lr=0.0)


# ---- saving --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, 0.05, momentum=0.9),
        lambda p: optim.Adam(p, 0.05),
        lambda p: optim.AdamW(p, 0.05, weight_decay=0.1),
    ],
)
def test_resuming_is_bit_identical(make: Any) -> None:
    def step(net: nn.Module, optimizer: Any) -> None:
        optimizer.zero_grad()
        tg.square(net(tg.arange(6.0).reshape(2, 3))).sum().backward()
        optimizer.step()

    a = nn.Sequential(nn.Dense(3, 4, rng=Generator(0)), nn.Tanh(), nn.Dense(4, 1, rng=Generator(1)))
    b = nn.Sequential(nn.Dense(3, 4), nn.Tanh(), nn.Dense(4, 1))
    oa, ob = make(a.parameters()), make(b.parameters())
    for _ in range(3):
        step(a, oa)
    oa.lr = 0.02
    b.load_state_dict(a.state_dict())
    ob.load_state_dict(oa.state_dict())
    assert ob.lr == 0.02
    for _ in range(3):
        step(a, oa)
        step(b, ob)
    for name, array in a.state_dict().items():
        np.testing.assert_array_equal(array, b.state_dict()[name])
    for name, array in oa.state_dict().items():
        np.testing.assert_array_equal(array, ob.state_dict()[name])


def test_state_names_and_errors() -> None:
    net = nn.Sequential(nn.Dense(2, 1))
    optimizer = optim.Adam(net.parameters())
    state = optimizer.state_dict()
    assert list(state) == [
        "lr", "0.weight.m", "0.weight.v", "0.weight.step", "0.bias.m", "0.bias.v", "0.bias.step",
    ]  # fmt: skip
    assert state["0.bias.step"].dtype == np.int64
    del state["lr"]
    with pytest.raises(ValueError, match=r"Adam\.load_state_dict: .*missing: lr"):
        optimizer.load_state_dict(state)
    assert list(optim.SGD(net.parameters(), 0.1).state_dict()) == ["lr"]


def test_names_of_two_networks_in_one_optimizer() -> None:
    a, b = nn.Dense(2, 1, bias=False), nn.Dense(2, 1, bias=False)
    optimizer = optim.SGD([*a.parameters(), *b.parameters()], 0.1, momentum=0.5)
    assert list(optimizer.state_dict()) == ["lr", "weight.velocity", "weight#1.velocity"]
    named = optim.SGD({"a": a.weight, "b": b.weight}, 0.1, momentum=0.5)
    assert list(named.state_dict()) == ["lr", "a.velocity", "b.velocity"]


# ---- schedules -----------------------------------------------------------------------------------


def test_schedules() -> None:
    constant = optim.Schedule(0.1, warmup=4)
    assert [constant.lr_at(i) for i in (0, 1, 3, 4, 1000)] == [0.025, 0.05, 0.1, 0.1, 0.1]
    linear = optim.Schedule(1.0, "linear", steps=12, warmup=2, final=0.5)
    assert [linear.lr_at(i) for i in (0, 1, 2, 7, 12, 99)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.5]
    cosine = optim.Schedule(1.0, "cosine", steps=8)
    expected = [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, 0.0, 0.0]
    np.testing.assert_allclose([cosine.lr_at(i) for i in (0, 2, 4, 8, 9)], expected, atol=1e-15)


def test_a_schedule_holds_its_rate_before_it_falls() -> None:
    course = optim.Course("linear", warmup=4, hold=0.7, final=0.02)
    schedule = course.over(lr=1.0, steps=100)
    assert schedule == optim.Schedule(1.0, "linear", 100, warmup=4, final=0.02, hold=0.7)
    assert [schedule.lr_at(i) for i in (0, 3, 4, 69, 70)] == [0.25, 1.0, 1.0, 1.0, 1.0]
    np.testing.assert_allclose([schedule.lr_at(i) for i in (85, 100, 120)], [0.51, 0.02, 0.02])
    short = optim.Schedule(1.0, "cosine", 10, warmup=8, hold=0.5)  # the warm-up is longer
    assert [short.lr_at(i) for i in (7, 8, 9)] == [1.0, 1.0, 0.5]
    for bad, message in (({"hold": 1.0}, "Course: hold is 1.0"), ({"final": 2}, "final is 2")):
        with pytest.raises(ValueError, match=message):
            optim.Course(**bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Schedule: hold is -0\.1"):
        optim.Schedule(0.1, hold=-0.1)


@given(
    kind=st.sampled_from(["constant", "linear", "cosine"]), warmup=st.integers(0, 20),
    extra=st.integers(1, 50), step=st.integers(0, 100),
)  # fmt: skip
def test_schedules_stay_in_range(kind: str, warmup: int, extra: int, step: int) -> None:
    schedule = optim.Schedule(0.3, kind, steps=warmup + extra, warmup=warmup, final=0.1)
    assert 0 < schedule.lr_at(step) <= 0.3
    if step >= warmup:
        assert schedule.lr_at(step + 1) <= schedule.lr_at(step)


# ---- clipping ------------------------------------------------------------------------------------


def test_clip_grad_norm() -> None:
    a, b, c = parameter(), nn.Parameter(np.ones(2, dtype=np.float32)), parameter()
    a.grad, b.grad = tg.tensor(np.array([3.0, 0.0, 0.0])), tg.tensor([0.0, 4.0])
    norm = optim.clip_grad_norm([a, b, c], 10.0)
    assert float(norm) == 5.0
    np.testing.assert_array_equal(a.grad.numpy(), [3, 0, 0])  # below the limit: untouched
    optim.clip_grad_norm([a, b, c], 1.0)
    np.testing.assert_allclose(a.grad.numpy(), [0.6, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(b.grad.numpy(), [0, 0.8], rtol=1e-6)
    assert (a.grad.dtype, b.grad.dtype) == (np.float64, np.float32)
    with pytest.raises(RuntimeError, match="clip_grad_norm: no parameter has a gradient"):
        optim.clip_grad_norm([c], 1.0)
    b.grad = tg.tensor([1e20, 0.0])  # its square is beyond float32
    assert float(optim.clip_grad_norm([b], 1.0)) == pytest.approx(1e20)
    np.testing.assert_allclose(b.grad.numpy(), [1, 0])


KINDS: dict[str, Any] = {
    "adamw": lambda net: optim.AdamW(net, 0.01, betas=(0.9, 0.99), weight_decay=0.1),
    "momentum": lambda net: optim.SGD(net, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "sgd": lambda net: optim.SGD(net, 0.1),
}


def _states(make: Any, compiled: bool, whole: bool) -> tuple[list[Any], optim.Optimizer]:
    """What six steps leave, of which two have gradients that are not finite."""
    rng = Generator(0)
    net = nn.Sequential(nn.Dense(3, 40, rng=rng), nn.Tanh(), nn.Dense(40, 2, rng=rng))
    optimizer = make(net)
    optimizer.clip_norm = 0.0 if whole else 0.5

    def step(x: tg.Tensor) -> None:
        optimizer.zero_grad()
        tg.square(net(x)).sum().backward()
        if whole:
            optim.clip_grad_norm(net, 0.5, skip_nonfinite=True)
        optimizer.step()

    run = tg.compile(step, fuse=False) if compiled else step
    found = []
    for i in range(6):
        x = np.random.default_rng(i).normal(size=(5, 3)).astype(np.float32)
        x[0, 0] = {2: np.nan, 4: np.inf}.get(i, x[0, 0])
        run(tg.tensor(x))
        found.append(net.state_dict() | optimizer.state_dict())
    return found, optimizer


@pytest.mark.parametrize("backend", ["numpy", "emulated"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_is_not_finite_is_skipped(kind: str, backend: str) -> None:
    """Parameters, moments and counts stay, eagerly and compiled, to the same bits."""
    with tg.use_backend(backend):
        eager, optimizer = _states(KINDS[kind], compiled=False, whole=True)
        assert optimizer.skipped == 2
        for i, (before, now) in enumerate(itertools.pairwise(eager), 1):
            kept = [np.array_equal(now[k], before[k]) for k in before if k not in ("skipped", "lr")]
            assert all(kept) if i in (2, 4) else not any(kept)
        for compiled, whole in ((True, True), (False, False), (True, False)):
            others, _ = _states(KINDS[kind], compiled, whole)
            for one, other in zip(eager, others, strict=True):
                assert one.keys() == other.keys()
                assert all(np.array_equal(one[k], other[k]) for k in one)


def test_what_was_skipped_is_saved() -> None:
    p = parameter()
    optimizer = optim.SGD([p], lr=0.1)
    optimizer.clip_norm = 1.0
    assert "skipped" not in optimizer.state_dict()
    optimizer.step([tg.tensor(np.array([np.inf, 0.0, 1.0]))])
    assert p.tolist() == START
    again = optim.SGD([p], lr=0.1)
    again.load_state_dict(optimizer.state_dict())
    assert again.skipped == 1
    again.load_state_dict(optim.SGD([p], lr=0.1).state_dict())  # of one that never skipped
    assert again.skipped == 0


def test_a_reference_skips_as_the_kernels_do() -> None:
    """On a device too, where it cannot look: the emulated one, with a gradient that has gaps."""
    with tg.use_backend("emulated"):
        for make in (lambda p: optim.AdamW(p, 0.1), lambda p: optim.SGD(p, 0.1, momentum=0.5)):
            p = nn.Parameter(np.ones((4, 3), np.float32))
            optimizer = make([p])
            optimizer.clip_norm = 1.0
            optimizer.step([tg.tensor(np.full((3, 4), 0.5, np.float32)).T])
            before = [p.tolist(), *(v.tolist() for v in optimizer.state_dict().values())]
            optimizer.step([tg.tensor(np.full((3, 4), np.nan, np.float32)).T])
            after = [p.tolist(), *(v.tolist() for v in optimizer.state_dict().values())]
            assert before == after[:-1]
            assert optimizer.skipped == 1


def test_clip_grad_value() -> None:
    a = parameter()
    a.grad = tg.tensor(np.array([3.0, -0.5, -2.0]))
    optim.clip_grad_value([a], 1.0)
    assert a.grad.tolist() == [1.0, -0.5, -1.0]


# ---- averages ------------------------------------------------------------------------------------


def test_ema_follows_its_formula() -> None:
    p = parameter()
    ema = optim.EMA([p], 0.9)
    average = np.array(START)
    for i in range(4):
        p.data[...] = i
        ema.update()
        average = 0.9 * average + 0.1 * i
    (saved,) = ema.state_dict().values()
    np.testing.assert_allclose(saved, average, rtol=1e-12)


def test_ema_follows_a_new_decay_also_in_a_compiled_step() -> None:
    p = parameter()
    ema = optim.EMA([p], 0.0)
    update = tg.compile(ema.update)
    average = np.array(START)
    for i, decay in enumerate((0.5, 0.9, 0.0, 0.99)):
        p.data[...] = i
        ema.set_decay(decay)
        update()
        average = decay * average + (1 - decay) * i
    (saved,) = ema.state_dict().values()
    np.testing.assert_allclose(saved, average, rtol=1e-12)
    with pytest.raises(ValueError, match=r"EMA: decay is -0\.1"):
        ema.set_decay(-0.1)


def test_ema_of_a_module_averages_its_running_statistics() -> None:
    net = nn.Sequential(nn.Dense(2, 3, rng=Generator(0)), nn.BatchNorm(3))
    ema = optim.EMA(net, 0.5)
    before = net.state_dict()
    net(Generator(1).normal((10, 2)))
    ema.update()
    after = net.state_dict()
    assert set(ema.state_dict()) == set(before)
    for name, average in ema.state_dict().items():
        np.testing.assert_allclose(average, (before[name] + after[name]) / 2, rtol=1e-6)
    averages = ema.state_dict()
    with ema.swapped():
        np.testing.assert_array_equal(net[1].running_mean.numpy(), averages["1.running_mean"])
    np.testing.assert_array_equal(net[1].running_mean.numpy(), after["1.running_mean"])


def test_ema_leaves_integers_and_booleans_as_they_are() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            self.weight = nn.Parameter(np.ones(2, np.float32))
            self.count = nn.Buffer(np.array(3))
            self.seen = nn.Buffer(np.array([True, False]))

    net = Counting()
    ema = optim.EMA(net, 0.5)
    nn.module.assign(net.count, tg.tensor(np.array(100)))
    ema.update()
    assert list(ema.state_dict()) == ["weight"]
    with ema.swapped():
        assert net.count.item() == 100
    ema.copy_to_model()
    assert (net.count.item(), net.seen.tolist()) == (100, [True, False])


def test_swapping_restores_exactly_and_in_place() -> None:
    net = nn.Sequential(nn.Dense(3, 40_000, rng=Generator(0)))
    ema = optim.EMA(net, 0.7)
    for p in net.parameters():
        p.data[...] *= 1.1
    ema.update()
    weights, averages = net.state_dict(), ema.state_dict()
    storages = [p.data for p in net.parameters()]
    with ema.swapped():
        for name, array in net.state_dict().items():
            np.testing.assert_array_equal(array, averages[name])
        for forbidden in (ema.update, ema.state_dict, ema.copy_to_model):
            with pytest.raises(RuntimeError, match=r"leave the swapped\(\) block first"):
                forbidden()
        with pytest.raises(RuntimeError, match="swapped"), ema.swapped():
            pass
    with pytest.raises(KeyError), ema.swapped():
        raise KeyError
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, weights[name])
        np.testing.assert_array_equal(ema.state_dict()[name], averages[name])
    assert all(p.data is s for p, s in zip(net.parameters(), storages, strict=True))


def test_ema_state_round_trip() -> None:
    net = nn.Dense(2, 2)
    ema = optim.EMA(net.parameters(), 0.5)
    for p in net.parameters():
        p.data[...] += 1
    ema.update()
    other = optim.EMA(nn.Dense(2, 2), 0.5)
    other.load_state_dict(ema.state_dict())
    assert list(other.state_dict()) == ["weight", "bias"]
    np.testing.assert_array_equal(other.state_dict()["weight"], ema.state_dict()["weight"])
    with pytest.raises(ValueError, match=r"EMA\.load_state_dict.*missing: bias"):
        other.load_state_dict({"weight": np.zeros((2, 2), dtype=np.float32)})
    ema.copy_to_model()
    np.testing.assert_array_equal(net.weight.numpy(), ema.state_dict()["weight"])


def test_recording_stays_as_it_was() -> None:
    p = parameter()
    optimizer = optim.SGD([p], lr=0.1)
    with no_grad():
        optimizer.step([tg.tensor(np.ones(3))])
    optimizer.step([tg.tensor(np.ones(3))])
    assert (p * 2.0).requires_grad


@pytest.mark.parametrize("compiled", [False, True])
def test_a_warm_up_is_that_of_a_training(compiled: bool) -> None:
    """As set by hand from decay_at, to the bit; saved and gone on with."""
    p, q = parameter(), parameter()
    grows, by_hand = optim.EMA([p], 0.5, warmup=True), optim.EMA([q], 0.5)
    assert [by_hand.decay_at(n) for n in (0, 1, 8, 100)] == [0.1, 2 / 11, 0.5, 0.5]

    def move(x: tg.Tensor) -> None:
        nn.module.assign(p, x)
        grows.update()

    step = tg.compile(move, fuse=False) if compiled else move
    for n in range(12):
        x = tg.tensor(np.array([n, -n, n * n], np.float64))
        if n == 5:
            state = grows.state_dict()
            assert state["updates"] == 5
            grows.load_state_dict(state)
        step(x)
        nn.module.assign(q, x)
        by_hand.set_decay(by_hand.decay_at(n))
        by_hand.update()
        for name, average in by_hand.state_dict().items():
            np.testing.assert_array_equal(grows.state_dict()[name], average)
