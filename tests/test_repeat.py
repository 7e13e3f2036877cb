"""repeat and choose: eager, through gradients, compiled, recorded once, heard turn by turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, ops
from tinygen.events import Observer, watching
from tinygen.random import Generator
from tinygen.tensor import Tensor
from tinygen.trace import graph, passes

NET = nn.Sequential(nn.Dense(3, 5, rng=Generator(1)), nn.Tanh(), nn.Dense(5, 3, rng=Generator(2)))


def euler(noise: Tensor, steps: int = 4) -> Tensor:
    """A flow: one product with weights a turn, a time that is a formula of i."""

    def turn(i: Tensor, z: Tensor) -> tuple[Tensor]:
        return (z + NET(z) * (i.astype("float32") * (1 / steps) + 0.5) * (1 / steps),)

    return tg.repeat(steps, turn, (noise,))[0]


def by_hand(noise: Tensor, steps: int = 4) -> Tensor:
    z = noise
    for k in range(steps):
        z = z + NET(z) * (tg.tensor(k).astype("float32") * (1 / steps) + 0.5) * (1 / steps)
    return z


def noise(n: int = 2) -> Tensor:
    return Generator(3).normal((n, 3))


def test_it_is_the_loop_by_hand() -> None:
    assert np.array_equal(euler(noise()).numpy(), by_hand(noise()).numpy())
    with tg.no_grad():
        assert np.array_equal(euler(noise()).numpy(), by_hand(noise()).numpy())
    first = (noise(), tg.tensor(7))
    assert tg.repeat(0, lambda i, x, k: (x, k), first) == first


def test_i_counts_from_0_beside_the_state() -> None:
    def turn(i: Tensor, seen: Tensor) -> tuple[Tensor]:
        assert (i.shape, i.dtype, i.backend) == ((), np.dtype("int64"), seen.backend)
        return (seen * 10 + i,)

    assert tg.repeat(4, turn, (tg.tensor(9),))[0].item() == 90123


def test_gradients_flow_to_the_state_and_to_what_the_body_reads() -> None:
    def loss(z: Tensor) -> Tensor:
        return ops.square(euler(z)).sum()

    z, other = noise().detach(requires_grad=True), noise().detach(requires_grad=True)
    loss(z).backward()
    weight = NET.parameters()[0]
    got = weight.grad
    weight.grad = None
    ops.square(by_hand(other)).sum().backward()
    assert np.array_equal(z.grad.numpy(), other.grad.numpy())
    assert np.array_equal(got.numpy(), weight.grad.numpy())
    for p in NET.parameters():
        p.grad = None
    # the state carries no gradient, the weights do
    (g,) = tg.grad(loss(noise()), [weight])
    assert np.array_equal(g.numpy(), got.numpy())
    tg.testing.check_grads(lambda z: tg.repeat(2, lambda i, a: (ops.tanh(a) * a,), (z,))[0],
                           (Generator(5).normal((2, 2), "float64"),), order=2)  # fmt: skip


@pytest.mark.parametrize("fuse", [False, True])
def test_compiled_it_gives_the_same(fuse: bool) -> None:
    def step(z: Tensor) -> Tensor:
        with tg.no_grad():
            return euler(z)

    compiled = tg.compile(step, fuse=fuse)
    for n in (2, 2, 5):
        got, want = compiled(noise(n)).numpy(), euler(noise(n)).numpy()
        assert np.array_equal(got, want) if not fuse else np.allclose(got, want, atol=1e-6)

    def training(z: Tensor) -> Tensor:
        (g,) = tg.grad(ops.square(euler(z)).sum(), [NET.parameters()[0]])
        return g

    assert np.array_equal(tg.compile(training, fuse=False)(noise()).numpy(),
                          training(noise()).numpy())  # fmt: skip


def test_a_recording_keeps_the_body_once() -> None:
    g = passes.simplify(graph.record(euler, lambda n: (noise(n),), ("noise",)))
    (loop,) = g.ops
    assert (loop.name, loop.static) == ("repeat", {"n": 4})
    assert loop.body is not None
    names = [op.name for op in loop.body.ops]
    assert names.count("matmul_nd") == 2
    assert len(names) < 12
    for n in (2, 7):
        found = graph.evaluate(g, [noise(n).numpy()])[g.outputs[0]]
        np.testing.assert_allclose(found, euler(noise(n)).numpy(), rtol=1e-5, atol=1e-6)


def test_loops_in_loops_and_what_only_a_body_reads() -> None:
    def f(x: Tensor) -> Tensor:
        scale = ops.exp(x)  # read inside only
        unused = ops.exp(x * 3.0)

        def inner(j: Tensor, y: Tensor) -> tuple[Tensor]:
            return (y * 0.5 + scale,)

        def outer(i: Tensor, y: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
            return tg.repeat(2, inner, (y,))[0] + i.astype("float32"), y

        a, b = tg.repeat(3, outer, (x, unused))
        return a + b

    g = passes.simplify(graph.record(f, lambda n: (noise(n),)))
    assert sum(op.name == "repeat" for op in g.every()) == 2
    found = graph.evaluate(g, [noise(4).numpy()])[g.outputs[0]]
    np.testing.assert_allclose(found, f(noise(4)).numpy(), rtol=1e-5)


def test_observers_hear_each_turn() -> None:
    heard: list[Any] = []

    class Film(Observer):
        def turned(self, i: int, state: tuple[Tensor, ...]) -> None:
            heard.append((i, state[0].item()))

    with watching(Film()):
        tg.repeat(3, lambda i, x: (x * 2 + i,), (tg.tensor(1),))
    assert heard == [(0, 2), (1, 5), (2, 12)]


@pytest.mark.parametrize(
    ("n", "body", "state", "error", "words"),
    [
        (tg.tensor(3), lambda i, x: (x,), (1.0,), TypeError, "n is tensor.*expected an int"),
        (2.0, lambda i, x: (x,), (1.0,), TypeError, "n is 2.0; expected an int"),
        (-1, lambda i, x: (x,), (1.0,), ValueError, "n is -1; expected 0 or more"),
        (2, lambda i: (), (), ValueError, "the state is empty"),
        (2, lambda i, x: (x,), tg.zeros(3), TypeError, "state is Tensor; expected a tuple"),
        (2, lambda i, x: x, (1.0,), TypeError, r"the body returned is Tensor; expected a tuple.*"
         r"\(x,\)"),
        (2, lambda i, x: (x, x), (1.0,), ValueError, "returned 2 tensors; expected 1"),
        (2, lambda i, x: (x[None],), (1.0,), ValueError, r"entry 0 of the state was \(\) float32 "
         r"and the body returned \(1,\) float32"),
        (2, lambda i, x: (x + i,), (True,), ValueError, "was .* bool and the body returned"),
    ],
)  # fmt: skip
def test_what_it_refuses(n: Any, body: Any, state: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        tg.repeat(n, body, state)


def test_choose_gives_each_index_its_part_of_the_unit_interval() -> None:
    logits = tg.tensor([0.0, 1.0, -1e30, 2.0])
    weights = np.exp([0.0, 1.0, -np.inf, 2.0])
    ends = np.cumsum(weights / weights.sum())
    u = (np.arange(4000) + 0.5) / 4000
    rows = ops.broadcast_to(logits, (4000, 4))
    index = tg.choose(rows, tg.tensor(u.astype(np.float32))).numpy()
    assert index.dtype == np.int64
    assert (index != np.searchsorted(ends, u, side="right")).mean() < 1e-3
    most = tg.tensor(np.float32(1 - 2.0**-24))
    assert tg.choose(logits, most).item() == 3
    assert tg.choose(logits, tg.tensor(0.0)).item() == 0
    assert tg.choose(tg.zeros((2, 1, 3)), tg.zeros((2, 1))).shape == (2, 1)
    with pytest.raises(ValueError, match=r"logits \(4,\) and u \(4,\); expected"):
        tg.choose(logits, logits)
