"""Random programs: compiled against eager, over several calls with changes in between.

A program is 5 to 15 operations on two arguments, two parameters and a constant. It may take
gradients (first and second order) by tg.grad or by backward, accumulate into .grad or zero it, step
an optimizer, drop out, and return tensors in containers. Between the calls parameters are frozen
and thawed, layers switched between training and evaluation, numbers and layers replaced, the same
tensor given twice, gradients left behind. TINYGEN_PROGRAMS=600 runs for so many seconds.
"""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, optim
from tinygen.random import Generator

SECONDS = float(os.environ.get("TINYGEN_PROGRAMS", "8"))
ROWS, COLUMNS = 3, 4


class Pair(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Record:
    value: Any
    note: Any = "note"


UNARY = [
    tg.tanh, tg.sigmoid, tg.relu, tg.square, tg.abs, tg.softplus, tg.exp,
    lambda x: x.T.T, lambda x: x.reshape(-1).reshape(x.shape), lambda x: -x,
    lambda x: tg.clip(x, -1.0, 1.0), lambda x: tg.flip(x, axis=0), lambda x: x[::-1],
    lambda x: tg.softmax(x, axis=-1), lambda x: x - x.mean(axis=0, keepdims=True),
    lambda x: tg.concatenate([x[:1], x[1:]], axis=0), lambda x: x.detach() * 0.5,
    lambda x: x * 0.0, lambda x: x * -0.0, lambda x: tg.leaky_relu(x, 0.2),
    lambda x: tg.broadcast_to(x.sum(axis=0, keepdims=True), x.shape),
    lambda x: tg.cumsum(x, axis=1), lambda x: tg.tanh(x).copy(),
    lambda x: tg.log(tg.square(x) + 1.0), lambda x: tg.sqrt(tg.square(x) + 0.5),
]  # fmt: skip
BINARY = [
    lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x * y, lambda x, y: x / (tg.abs(y) + 1.0),
    tg.maximum, tg.minimum, lambda x, y: tg.where(x > y, x, y), lambda x, y: (x @ y.T) @ y * 0.3,
    lambda x, y: x + y[:1], lambda x, y: x * (y > 0.0).astype("float32"),
    lambda x, y: tg.stack([x, y]).sum(axis=0), lambda x, y: x * y.mean(),
    lambda x, y: x * y.sum(axis=1, keepdims=True),
]  # fmt: skip


ENDS = ["none", "backward", "zero", "step", "step late", "second", "two"]


class World:
    """All that a program can read; two worlds of one seed start alike."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)

        def draw(*shape: int) -> Any:
            return rng.normal(size=shape).astype("float32")

        self.layer = nn.Dense(COLUMNS, COLUMNS, rng=Generator(seed))
        self.drop = nn.Dropout(0.4, rng=Generator(seed + 1))
        self.norm = nn.BatchNorm(COLUMNS)
        self.bias = nn.Parameter(draw(ROWS, COLUMNS))
        self.plain = tg.tensor(draw(ROWS, COLUMNS))
        self.leaf = tg.tensor(draw(ROWS, COLUMNS), requires_grad=True)
        self.scale = float(rng.normal())
        self.config = {"power": 2.0, "list": [0.5, 1.5]}
        kind = [optim.SGD, optim.Adam][rng.integers(2)]
        self.optimizer = kind([self.bias, *self.layer.parameters()], lr=0.01)

    def state(self) -> list[Any]:
        tensors = [self.bias, self.leaf, *self.layer.parameters()]
        tensors += [*self.norm.parameters(), *self.norm.buffers()]
        return [x.numpy().copy() for x in tensors]

    def gradients(self) -> list[Any]:
        tensors = [self.bias, self.leaf, *self.layer.parameters(), *self.norm.parameters()]
        return [None if x.grad is None else x.grad.numpy().copy() for x in tensors]


class Program:
    """A random function of two tensors, a flag and a world."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = np.random.default_rng(seed)
        self.lines: list[tuple[Any, ...]] = []
        for i in range(int(rng.integers(5, 16))):
            kind = rng.choice(["unary", "binary", "binary", "module", "number", "grad"])
            a, b = (int(v) for v in rng.integers(-5, i, size=2))
            self.lines.append((str(kind), int(rng.integers(1000)), a, b))
        self.end = str(
            rng.choice(["none", "backward", "zero", "step", "step late", "second", "two"])
        )
        self.shape = int(rng.integers(6))
        self.no_grad = bool(rng.integers(8) == 0)

    def values(self, w: World, x: Any, y: Any, n: Any) -> list[Any]:
        have = [x, y, w.bias, w.plain, w.leaf]

        def at(i: int) -> Any:
            return have[i + 5]

        for kind, k, a, b in self.lines:
            if kind == "unary":
                out = UNARY[k % len(UNARY)](at(a))
            elif kind == "binary":
                out = BINARY[k % len(BINARY)](at(a), at(b))
            elif kind == "module":
                out = [w.layer, w.drop, w.norm][k % 3](at(a))
            elif kind == "number":
                c = [w.scale, w.config["power"], w.config["list"][k % 2], float(k % 3), n][k % 5]
                if k % 7 == 0:
                    out = tg.clip(at(a), -abs(c), abs(c))
                elif k % 7 == 1:
                    out = at(a) * c if c > 0.0 else at(a) - c
                else:
                    out = at(a) * c + (1 - c) / 2.0
            else:
                target = [x, y, w.bias, w.leaf][k % 4]
                loss = (tg.tanh(at(a)) * tg.tanh(target)).sum()
                if not loss.requires_grad or not target.requires_grad:
                    out = at(b)
                else:
                    out = tg.grad(loss, target, create_graph=k % 3 > 0, retain_graph=True)[0]
            have.append(tg.tanh(out))
        return have

    def __call__(self, w: World, x: Any, y: Any, flag: bool, n: float) -> Any:
        if self.no_grad:
            with tg.no_grad():
                have = self.values(w, x, y, n)
        else:
            have = self.values(w, x, y, n)
        loss = sum(v.mean() for v in have[5:]) + have[-1].square().sum()
        if flag:
            loss = loss * 2.0
        if loss.requires_grad and not self.no_grad:
            self.finish(w, loss)
        out = have[-1]
        return [
            lambda: loss, lambda: (loss, out), lambda: {"loss": loss, "out": [out, have[-2]]},
            lambda: Pair(loss, {"deep": (out,)}), lambda: Record(loss, [out, 3.5]),
            lambda: [loss, None, "text", out, out],
        ][self.shape]()  # fmt: skip

    def finish(self, w: World, loss: Any) -> None:
        if self.end == "second":
            inputs = [p for p in (w.bias, w.leaf) if p.requires_grad]
            if not inputs:
                return
            total = sum(g.square().sum() for g in tg.grad(loss, inputs, create_graph=True))
            if not total.requires_grad:
                return
            total.backward()
            return
        if self.end in ("zero", "step"):
            w.optimizer.zero_grad()
        if self.end != "none":
            loss.backward(retain_graph=self.end == "two")
        if self.end == "two":
            loss.backward()
        if self.end.startswith("step") and any(p.grad is not None for p in w.optimizer.params):
            w.optimizer.step()
        if self.end == "step late":
            w.optimizer.zero_grad()


def change(rng: Any, worlds: list[World]) -> str:
    """The same change in each world."""
    what = str(rng.choice([
        "nothing", "nothing", "freeze", "thaw", "leaf", "mode", "p", "scale", "config", "layer",
        "bias", "grads", "zero", "draw", "optimizer", "norm", "rate",
    ]))  # fmt: skip
    k, value = int(rng.integers(3)), float(rng.normal())
    for w in worlds:
        if what in ("freeze", "thaw"):
            [w.bias, w.layer.weight, w.layer.bias][k].requires_grad = what == "thaw"
        elif what == "leaf":
            w.leaf.requires_grad = not w.leaf.requires_grad
        elif what == "mode":
            w.drop.train(k > 0)
        elif what == "norm":
            w.norm.train(k > 0)
        elif what == "p":
            w.drop.p = [0.0, 0.4, 0.7][k]
        elif what == "scale":
            w.scale = [value, 0.0, -0.0][k]
        elif what == "config":
            w.config["list"][k % 2] = value
        elif what == "layer":
            w.layer = nn.Dense(COLUMNS, COLUMNS, rng=Generator(k))
        elif what == "bias":
            keep = w.bias.requires_grad and w.bias.grad is not None and not k
            w.bias.grad = w.bias.grad * 2.0 if keep else None
        elif what == "grads":
            for p in (w.bias, w.leaf):
                if p.requires_grad:
                    (p * value).sum().backward()
        elif what == "zero":
            w.optimizer.zero_grad()
        elif what == "draw":
            w.drop.rng.normal((2,))
        elif what == "rate":
            w.optimizer.lr = abs(value) * 0.01
        elif what == "optimizer":
            w.optimizer = optim.SGD([w.bias, *w.layer.parameters()], lr=0.02)
    return what


def flat(value: Any) -> list[Any]:
    if isinstance(value, tg.Tensor):
        return [value.numpy()]
    if dataclasses.is_dataclass(value):
        value = [value.value, value.note]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [v for item in value for v in flat(item)]
    return [value]


def compare(what: str, got: list[Any], wanted: list[Any], exact: bool) -> None:
    assert len(got) == len(wanted), what
    for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
        if not isinstance(b, np.ndarray):
            assert (type(a), a) == (type(b), b), f"{what} {i}"
        elif exact:
            assert np.array_equal(a, b, equal_nan=True), f"{what} {i}: {a - b}"
            assert np.array_equal(np.signbit(a), np.signbit(b)), f"{what} {i}: sign of zero"
        else:
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4, err_msg=f"{what} {i}")


def run(seed: int, fuse: bool) -> int:
    """One program in two worlds; how many calls were compared."""
    program, rng = Program(seed), np.random.default_rng(seed + 1)
    eager, planned = World(seed), World(seed)
    step = tg.compile(lambda x, y, flag, n: program(planned, x, y, flag, n), fuse=fuse)
    keep_own = program.end == "step"  # zeroed and stepped: the plan keeps those gradients
    history: list[str] = []
    for call in range(6):
        history.append("-" if call == 0 else change(rng, [eager, planned]))
        arrays = rng.normal(size=(2, ROWS, COLUMNS)).astype("float32")
        needs, twice, flag = bool(rng.integers(2)), rng.integers(4) == 0, bool(rng.integers(2))
        pairs = []
        for _ in range(2):
            x, y = (tg.tensor(a, requires_grad=needs and i == 0) for i, a in enumerate(arrays))
            pairs.append((x, x if twice else y))
        n = [float(rng.normal()), 0.5, -0.0][int(rng.integers(3))]
        label = f"seed {seed}, fuse {fuse}, {program.end}, call {call}, {history}"
        wanted = program(eager, *pairs[0], flag, n)
        got = step(*pairs[1], flag, n)
        exact = not fuse
        assert type(got) is type(wanted) or isinstance(got, tg.Tensor), label
        compare(f"{label}: result", flat(got), flat(wanted), exact)
        compare(f"{label}: state", planned.state(), eager.state(), exact)
        grads = [[x.grad for x in pair] for pair in pairs]
        host = [[None if g is None else g.numpy() for g in side] for side in grads]
        compare(f"{label}: .grad of arguments", host[1], host[0], exact)
        mine, theirs = planned.gradients(), eager.gradients()
        if keep_own:
            kept = [i for i, g in enumerate(mine) if g is not None]
            mine, theirs = [mine[i] for i in kept], [theirs[i] for i in kept]
        compare(f"{label}: .grad", mine, theirs, exact)
        assert eager.drop.rng.draws == planned.drop.rng.draws, label
    return len(history)


@pytest.mark.parametrize("fuse", [False, True])
def test_random_programs_equal_eager(fuse: bool) -> None:
    start, seed = time.monotonic(), int(os.environ.get("TINYGEN_SEED", "0"))
    first = seed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tinygen.plan.PLANS", 1000)
        while time.monotonic() - start < SECONDS or seed < first + 3:
            run(seed, fuse)
            seed += 1
    print(f"{seed - first} programs, fuse {fuse}")
