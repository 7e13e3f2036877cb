"""tg.compile: a replayed step equals the step itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen import losses, models, nn, optim
from tinygen.backend import get
from tinygen.ops.conv import Window, multiply_adds
from tinygen.plan import fuse
from tinygen.plan.roofline import ROUNDS, times
from tinygen.primitive import PRIMITIVES
from tinygen.random import Generator

FUSING = [False, True]


def batch(seed, shape=(8, 6), low=0.0):
    return tg.tensor(np.random.default_rng(seed).uniform(low, 1, shape).astype("float32"))


class Game:
    """A small dense GAN and its plain training step."""

    def __init__(self, dtype="float32"):
        rng = Generator(0)
        self.noise, drops = rng.stream("noise"), rng.stream("dropout")
        self.g = nn.Sequential(
            nn.Dense(4, 16, rng=rng), nn.ReLU(), nn.Dense(16, 36, rng=rng), nn.Tanh()
        )
        self.d = nn.Sequential(
            nn.Dense(36, 32, rng=rng), nn.LeakyReLU(0.2), nn.Dropout(0.3, rng=drops),
            nn.Dense(32, 1, rng=rng),
        )  # fmt: skip
        self.og = optim.Adam(self.g.parameters(), 1e-3, betas=(0.5, 0.999))
        self.od = optim.Adam(self.d.parameters(), 1e-3, betas=(0.5, 0.999))
        self.loss = losses.gan("non_saturating")

    def step(self, x):
        fake = self.g(self.noise.normal((x.shape[0], 4)))
        d_loss = self.loss.discriminator(self.d(x), self.d(fake.detach()))
        self.od.zero_grad()
        d_loss.backward()
        self.od.step()
        g_loss = self.loss.generator(self.d(fake))
        self.og.zero_grad()
        g_loss.backward()
        self.og.step()
        return d_loss, g_loss

    def arrays(self):
        held = {**self.g.state_dict(), **{f"d{k}": v for k, v in self.d.state_dict().items()}}
        for o in (self.og, self.od):
            held |= {f"{id(o)}{k}": v for k, v in o.state_dict().items()}
        return list(held.values())


def test_replay_without_fusion_is_the_step_to_the_last_bit():
    plain, planned = Game(), Game()
    step = tg.compile(planned.step, fuse=False)
    for i in range(100):
        x = batch(i, (8, 36), -1.0)
        for a, b in zip(plain.step(x), step(x), strict=True):
            assert np.array_equal(a.numpy(), b.numpy())
    for a, b in zip(plain.arrays(), planned.arrays(), strict=True):
        assert np.array_equal(a, b)
    assert plain.noise.draws == planned.noise.draws


def test_replay_with_fusion_is_close_after_each_step():
    plain, planned = Game(), Game()
    step = tg.compile(planned.step)
    for i in range(5):
        x = batch(i, (8, 36), -1.0)
        plain.step(x)
        step(x)
        for a, b in zip(plain.arrays(), planned.arrays(), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-6)


@pytest.mark.parametrize("fuse", FUSING)
@pytest.mark.parametrize("name", ["vae", "cvae", "gan", "cgan"])
def test_every_model_compiles(name, fuse):
    """Double backward (r1 of the GANs), labels and two optimizers included."""

    def made():
        build = models.find(name)
        model = build((6, 6, 1), hidden=(16,), latent=3, classes=4, rng=Generator(1))
        model._range_seen = True
        return model, model.optimizers()

    (plain, plain_opt), (planned, planned_opt) = made(), made()
    labels = tg.tensor(np.arange(8) % 4) if plain.conditional else None
    step = tg.compile(planned.train_step, fuse=fuse)
    for i in range(3):
        x = batch(i, (8, 6, 6, 1), plain.value_range[0])
        a, b = plain.train_step(x, labels, plain_opt), step(x, labels, planned_opt)
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_allclose(a[key].numpy(), b[key].numpy(), rtol=1e-3, atol=1e-5)
    for p, q in zip(plain.parameters(), planned.parameters(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=2e-3, atol=2e-5)
        if not fuse:
            assert np.array_equal(p.numpy(), q.numpy())


def test_the_generators_half_computes_no_weight_gradient_of_the_discriminator():
    game = Game()
    step = tg.compile(game.step, fuse=False)
    step(batch(0, (8, 36), -1.0))
    products = [c for c in step.plan.calls if c.primitive.name == "matmul_nd"]
    gradients = [c for c in products if c.outs[0].shape == (36, 32)]
    assert len(gradients) == 2  # of real and of fake images, in the discriminator's half


def test_recording_leaves_no_trace():
    game = Game()
    before = game.arrays()
    seen = []

    def step(x):
        game.step(x)
        seen.append(1)
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        tg.compile(step)(batch(0, (8, 36), -1.0))
    assert all(np.array_equal(a, b) for a, b in zip(before, game.arrays(), strict=True))
    assert game.noise.draws == 0
    assert all(p.grad is None for p in game.d.parameters())


def test_gradients_are_none_after_a_step_and_results_are_copies():
    game = Game()
    step = tg.compile(game.step)
    x = batch(0, (8, 36), -1.0)
    first = step(x)
    kept = float(first[0])
    assert float(step(x)[0]) != kept
    assert float(first[0]) == kept
    assert all(p.grad is None for p in [*game.g.parameters(), *game.d.parameters()])


def test_a_schedule_reaches_the_plan():
    """SGD with slope 1: each step moves by the learning rate of that step."""
    p = nn.Parameter(np.zeros(3, "float32"))
    o = optim.SGD([p], lr=1.0)

    @tg.compile
    def step(x):
        o.zero_grad()
        loss = (p * x).sum()
        loss.backward()
        o.step()
        return loss

    x = tg.ones(3)
    at = 0.0
    for lr in (1.0, 0.5, 0.25):
        o.lr = lr
        step(x)
        at -= lr
        np.testing.assert_allclose(p.numpy(), at)


def test_shapes_flags_and_values_make_plans_of_their_own():
    layer = nn.Sequential(nn.Dense(6, 6, rng=Generator(0)), nn.Dropout(0.5, rng=Generator(1)))

    @tg.compile
    def f(x, scale):
        return layer(x) * scale

    a = f(batch(0), 2.0)
    first = f.plan
    assert f(batch(0, (4, 6)), 2.0).shape == (4, 6)
    assert f.plan is not first
    assert not np.array_equal(f(batch(0), 3.0).numpy(), a.numpy())
    layer.eval()
    x = batch(3)
    np.testing.assert_allclose(f(x, 2.0).numpy(), layer(x).numpy() * 2.0, rtol=1e-5)
    layer.train()
    f(batch(0), 2.0)
    assert f.plan is first


def test_a_number_as_argument_keeps_its_shape():
    step = tg.compile(lambda x, scale: (x * scale, scale + 1.0))
    for scale in (2.0, 3.0):
        product, more = step(tg.ones((2, 3)), tg.tensor(scale))
        assert (more.shape, more.item()) == ((), scale + 1)
        assert product.numpy().tolist() == [[scale] * 3] * 2


def test_eager_draws_between_steps_are_not_repeated():
    rng, same = Generator(3), Generator(3)
    draw = tg.compile(lambda: rng.normal((4,)))
    got = [draw(), rng.normal((4,)), draw(), rng.normal((4,)), rng.normal((4,)), draw()]
    for x in got:
        assert np.array_equal(x.numpy(), same.normal((4,)).numpy())


def test_a_generator_that_was_set_back_is_followed():
    rng = Generator(3)
    draw = tg.compile(lambda: rng.normal((4,)))
    first = draw()
    rng.load_state_dict(Generator(3).state_dict())
    assert np.array_equal(draw().numpy(), first.numpy())


@pytest.mark.parametrize(
    "body",
    [
        lambda x: x * float(x.sum()),
        lambda x: x * x.sum().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x + x.numpy(),
    ],
)
def test_reading_a_value_is_refused(body):
    with pytest.raises(RuntimeError, match=r"test_plan\.py:\d+ reads a value"):
        tg.compile(body)(batch(0))


def test_host_data_are_refused():
    with pytest.raises(RuntimeError, match=r"test_plan\.py:\d+ makes a tensor from host data"):
        tg.compile(lambda x: x + tg.tensor(np.random.default_rng().normal(size=(8, 6))))(batch(0))


def test_changing_an_argument_is_refused():
    lr = tg.tensor(1.0)
    with pytest.raises(RuntimeError, match="changes an argument"):
        tg.compile(lambda x: optim.sgd_step(x, x, lr, weight_decay=0.0))(batch(0))


def test_a_step_that_counts_its_calls_is_refused():
    count = {"n": 0.0}

    def f(x):
        count["n"] += 1
        return x * count["n"]

    with pytest.raises(RuntimeError, match=r"changes what it reads: count \(dict\)"):
        tg.compile(f)(batch(0))
    game = Game()
    step = tg.compile(game.step, check=True)
    for i in range(3):
        step(batch(i, (8, 36), -1.0))


def test_the_switch_turns_it_off(monkeypatch):
    monkeypatch.setenv("TINYGEN_COMPILE", "0")
    step = tg.compile(lambda x: x * float(x.sum()))
    step(batch(0))
    assert step.plan is None


def test_temporaries_share_memory_only_while_they_do_not_live_together():
    from tinygen.plan import arena

    game = Game()
    step = tg.compile(game.step, fuse=False)
    step(batch(0, (8, 36), -1.0))
    plan = step.plan
    spans = arena.lifetimes(plan.calls, set())
    offsets, total = plan.memory.offsets, plan.arena_bytes
    storages = list(spans)
    for i, a in enumerate(storages):
        assert offsets[a] % arena.ALIGNMENT == 0
        assert offsets[a] + a.nbytes <= total
        for b in storages[:i]:
            apart = spans[a][1] < spans[b][0] or spans[b][1] < spans[a][0]
            disjoint = offsets[a] + a.nbytes <= offsets[b] or offsets[b] + b.nbytes <= offsets[a]
            assert apart or disjoint
    assert total < plan.total_bytes


def test_a_plan_prints():
    game = Game()
    step = tg.compile(game.step)
    step(batch(0, (8, 36), -1.0))
    text = repr(step.plan)
    assert "adam_step" in text
    assert "temporaries" in text
    assert max(map(len, text.splitlines())) <= 160
    if fuse.available(get("numpy")):
        source = step.plan.source()
        compile(source, "the loops", "exec")
        assert "# leaky_relu" in source
        assert "# matmul_nd+add+tanh, " in source


def test_calls_are_timed_in_their_place_and_leave_the_state_as_it_was():
    game = Game()
    step = tg.compile(game.step)
    step(batch(0, (8, 36), -1.0))
    before = [p.numpy().copy() for p in game.d.parameters()]
    start = time.perf_counter()
    seconds = times(step.plan)
    whole = time.perf_counter() - start
    assert len(seconds) == len(step.plan.calls)
    assert min(seconds) >= 0
    assert 0 < ROUNDS * sum(seconds) < whole  # the rounds are runs of the plan
    for p, values in zip(game.d.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.numpy(), values)


def test_no_share_of_a_limit_is_above_all_of_it():
    """Small arrays lie in a cache: memory is not what limits them."""
    for rows, columns in ((4, 8), (64, 256), (256, 1024)):
        w, x = nn.Parameter(batch(1, (columns, columns))), tg.tensor(batch(2, (rows, columns)))
        step = tg.compile(lambda x, w=w: tg.relu(x @ w).sum() + (x * 2.0).mean())
        step(x)
        lines = str(step.plan).splitlines()
        shares = [int(found) for line in lines for found in re.findall(r" (\d+)%", line)]
        assert all(share <= 100 for share in shares)
        assert any("  cache" in line for line in lines)
        alone, limit = map(float, re.findall(r"([\d.]+) ms (?:in calls|at the limits)", lines[-1]))
        assert limit <= alone + 0.01


def test_compile_takes_a_function():
    with pytest.raises(TypeError, match="expected a function"):
        tg.compile(3)


def test_replay_by_kernels_allocates_nothing():
    pytest.importorskip("numba")
    game = Game()
    step = tg.compile(game.step)
    x = batch(0, (8, 36), -1.0)
    for _ in range(3):
        step(x)
    tracemalloc.start()
    step(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 1024


DCGAN = """
import tinygen as tg
from tinygen import models
model = models.DCGAN((28, 28, 1), dropout=0.3)
x = 2 * tg.random.Generator(0).uniform((64, 28, 28, 1)) - 1
model.check_images(x)
tg.compile(model.train_step)(x, None, model.optimizers(None))
lines = dict(line.split(":") for line in open("/proc/self/status"))
print(lines["VmRSS"].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and glibc's heap")
def test_a_recorded_dcgan_holds_less_than_350_mb():
    """Its rehearsal frees 300 MB, which go back to the system. Compiling kernels takes memory,
    too, so a first process fills the cache of kernels."""
    held = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", DCGAN], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        held.append(int(done.stdout) / 1024)
    assert held[1] < 350, held


def test_products_join_their_groups_their_like_and_adam():
    pytest.importorskip("numba")
    step = tg.compile(Game().step)
    step(batch(0, (8, 36), -1.0))
    names = [call.name for call in step.plan.calls]
    together = [name for name in names if name.startswith("2 x matmul_nd")]
    # the discriminator meets real and fake images: both layers forward, one layer's input gradient
    assert any("leaky_relu+dropout" in name for name in together)
    # every weight matrix, and no gradient of one is stored
    assert sum("matmul_nd" in name and "adam_step" in name for name in names) == 4
    shapes = {v.shape for call in step.plan.calls for v in call.outs}
    assert not shapes & {(4, 16), (16, 36), (36, 32), (32, 1)}


def test_a_weight_used_twice_sums_its_gradients_before_adam():
    def made():
        layer = nn.Dense(20, 30, rng=Generator(0))
        optimizer = optim.Adam(layer.parameters(), 1e-2)

        def step(x, y, z):
            loss = (layer(x) * layer(y)).mean() + layer(z).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return layer, step

    arrays = [batch(i, (16, 20), -1.0) for i in range(3)]
    (plain, step), (planned, other) = made(), made()
    expected = step(*arrays).item()
    assert tg.compile(other)(*arrays).item() == pytest.approx(expected, rel=1e-5)
    for name, value in planned.state_dict().items():
        np.testing.assert_allclose(value, plain.state_dict()[name], rtol=0, atol=1e-5)


def test_repeated_values_and_copies_cost_nothing():
    pytest.importorskip("numba")
    p = nn.Parameter(np.arange(12, dtype=np.float32).reshape(3, 4))
    b = nn.Parameter(np.ones(4, np.float32))
    optimizer = optim.SGD([p, b], 0.5)

    def step(x):
        loss = -(p * x + b).mean()  # its gradient begins as one number, repeated
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    compiled = tg.compile(step)
    x = batch(1, (3, 4))
    before = p.numpy().copy()
    assert compiled(x).item() == pytest.approx(-(before * x.numpy() + 1).mean(), rel=1e-6)
    np.testing.assert_allclose(p.numpy(), before + 0.5 * x.numpy() / 12, rtol=1e-6)
    np.testing.assert_allclose(b.numpy(), 1 + 0.5 / 4, rtol=1e-6)
    assert not any("cast" in call.name for call in compiled.plan.calls)


def test_transposed_gradients_of_gradients_join_the_sum():
    pytest.importorskip("numba")

    def made():
        net = nn.Sequential(
            nn.Dense(20, 40, rng=Generator(0)), nn.Softplus(), nn.Dense(40, 1, rng=Generator(1))
        )
        optimizer = optim.Adam(net.parameters(), 1e-2)

        def step(x):
            loss = net(x).mean() + losses.r1_penalty(net, x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        return net, step

    (plain, step), (planned, other) = made(), made()
    compiled = tg.compile(other)
    for i in range(3):
        x = batch(i, (16, 20), -1.0)
        assert compiled(x).item() == pytest.approx(step(x).item(), rel=1e-4)
    for name, value in planned.state_dict().items():
        np.testing.assert_allclose(value, plain.state_dict()[name], rtol=0, atol=2e-4)
    for call in compiled.plan.calls:  # all sums are of arrays that lie in one order
        if call.name == "add":
            assert all(v.contiguous for v in call.args)


@pytest.mark.parametrize("shape", [(6, 5, 5, 1), (1,), (3, 1, 4), (2, 3)])
def test_loops_over_any_shape(shape):
    def step(x, scale):
        return tg.tanh(x * 2.0) + x * scale, (x > scale).astype("float32")

    x, scale = batch(0, shape, -1.0), batch(1, shape[-1:])
    for got, want in zip(tg.compile(step)(x, scale), step(x, scale), strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6, atol=1e-7)


# Pointwise operations that run alone in a plan: no loop has an expression for them yet.
def test_every_pointwise_operation_has_a_loop_on_every_backend_or_a_reason() -> None:
    from tinygen_kernels.cuda.elementwise import SERVED
    from tinygen_kernels.pointwise import WITHOUT

    pointwise = {name for name, operation in PRIMITIVES.items() if operation.traits.pointwise}
    assert pointwise - SERVED == WITHOUT.keys()
    loops = pytest.importorskip("tinygen_kernels.cpu.elementwise")
    assert pointwise - loops.SERVED == WITHOUT.keys()


def test_the_work_of_convolutions_counts_no_zeros():
    """Of ones, the sum of a convolution is how many products it has."""
    x, w = tg.ones((2, 7, 6, 4)), tg.ones((3, 2, 2, 6))
    window = Window((2, 1), ((1, 2), (0, 3)), (2, 1), groups=2)
    y = PRIMITIVES["conv2d_nd"](x, w, window=window)
    assert multiply_adds(x.shape, w.shape, y.shape, window) == y.sum().item()

    step = tg.compile(lambda x, w: tg.conv2d(x, w, padding="same"))
    ones = step(tg.ones((16, 14, 14, 16)), tg.ones((3, 3, 16, 32))).sum().item()
    assert ones > 1e7
    assert f"  {2 * ones / 1e9:.4f}  " in str(step.plan)


def test_tensors_made_of_numbers_are_served():
    rng = np.random.default_rng(0)

    def step(x, h):
        for i in range(2):
            h = h * 0.5 + x + tg.arange(3.0) + tg.full((3,), 0.5 * i)
        bent = tg.resize2d(x.reshape(1, 1, 3, 1), (1, 4)).sum()
        return h + x.ones_like(), bent, tg.zeros((2,)), tg.full_like(x, 3)

    compiled = tg.compile(step, fuse=False)
    for scale in (1.0, 2.0):
        args = [tg.tensor(scale * rng.normal(size=3), dtype="float32") for _ in range(2)]
        for y, want in zip(compiled(*args), step(*args), strict=True):
            np.testing.assert_array_equal(y.numpy(), want.numpy())
            assert y.dtype == want.dtype
    names = {call.name for call in compiled.plan.calls}
    assert "full" not in names  # what depends on nothing is computed once
    assert "arange" not in names


def test_a_made_tensor_that_is_changed_in_place_is_made_anew():
    def step(x):
        total = tg.zeros(3)
        nn.module.assign(total, x + total)
        return total * 2.0

    compiled = tg.compile(step)
    for value in (1.0, 5.0):
        assert compiled(tg.full((3,), value)).tolist() == [2 * value] * 3
    assert "full" in {call.name for call in compiled.plan.calls}


@pytest.mark.parametrize("fuse", FUSING)
def test_a_whole_operation_is_kept(fuse):
    """A norm with a kernel is one call forward and one back; without, its body is opened."""
    rng = Generator(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, rng=rng), nn.GroupNorm(2, 8), nn.SiLU(), nn.Flatten())
    x = batch(0, (4, 7, 6, 1))

    def step(x):
        net.zero_grad()
        loss = tg.square(net(x)).mean()
        loss.backward()
        return loss, [p.grad for p in net.parameters()]

    compiled = tg.compile(step, fuse=fuse)
    compiled(x)
    loss, gradients = compiled(x * 2)
    wanted, others = step(x * 2)
    if fuse:
        np.testing.assert_allclose(loss.numpy(), wanted.numpy(), rtol=1e-6)
    else:
        assert loss.item() == wanted.item()
    for g, other in zip(gradients, others, strict=True):
        np.testing.assert_allclose(g.numpy(), other.numpy(), rtol=0, atol=1e-6 if fuse else 0)
    names = [call.name for call in compiled.plan.calls]
    kept = int("normalise_groups" in get("numpy").kernels)
    assert (names.count("normalise_groups"), names.count("normalise_groups_dx")) == (kept, kept)
    with get("numpy").without_kernels():
        opened = tg.compile(step, fuse=fuse)
        np.testing.assert_allclose(opened(x * 2)[0].numpy(), wanted.numpy(), rtol=1e-5)
        assert "normalise" not in {call.name for call in opened.plan.calls}


@pytest.mark.parametrize("fuse", FUSING)
def test_places_are_state(fuse):
    """put, take and x[i] follow a 0-d tensor, from the end too, and refuse one outside."""

    def step(x, i):
        row = x[i] * 2.0 + x.take(i, axis=0)
        return tg.put(x, row, i, axis=0)

    x, compiled = batch(0, (4, 3)), tg.compile(step, fuse=fuse)
    for i in (0, 3, -1, -4):
        place = tg.tensor(np.array(i))
        np.testing.assert_array_equal(compiled(x, place).numpy(), step(x, place).numpy())
    assert len(compiled.plans) == 1
    for call in (step, compiled):
        with pytest.raises(IndexError, match="4 is out"):
            call(x, tg.tensor(np.array(4)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w, b, c: tg.sigmoid((x @ w + b).reshape(6, 2, 4)).square(),
        lambda x, w, b, c: tg.exp(((x @ w).reshape(6, 2, 4) + c).reshape(6, 8)) * 2.0,
        lambda x, w, b, c: tg.tanh((x @ w).reshape(12, 4) * c).reshape(6, 8) + b,
        lambda x, w, b, c: ((x @ w + b).reshape(6, 2, 4) - c).reshape(48) * 0.5,
        lambda x, w, b, c: ((x @ w).reshape(48) * 0.5).reshape(6, 8).reshape(6, 2, 4) + c,
    ],
    ids=["down", "there and back", "row after row", "both", "flat first"],
)
def test_groups_go_over_rows_of_their_own_whatever_reshapes_follow(function: Any) -> None:
    rng = Generator(0)
    x, w, b, c = (rng.normal(shape) for shape in ((6, 5), (5, 8), (8,), (4,)))
    w.requires_grad = True

    def step(*args: Any) -> Any:
        y = function(*args)
        return y, tg.grad((y * y).sum(), [args[1]])[0]

    for found, expected in zip(tg.compile(step)(x, w, b, c), step(x, w, b, c), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=2e-5, atol=1e-5)


SPREADS = {
    "a number for each image and group": ((3, 5, 2, 4), (3, 1, 2, 1)),
    "a row for each image": ((3, 5, 2, 4), (3, 1, 1, 4)),
    "rows for each image and group": ((3, 5, 2, 4), (3, 1, 2, 4)),
    "a number for each pixel": ((3, 5, 2, 4), (5, 1, 1)),
    "a row for each group": ((3, 5, 2, 4), (2, 4)),
    "images, and rows of pixels": ((2, 3, 4, 5, 6), (2, 1, 4, 1, 6)),
    "one column": ((3, 5, 2, 1), (3, 1, 2, 1)),
    "parts of rows as large as the result": ((3, 5, 2, 4), (3, 5, 2, 4)),
}


@pytest.mark.parametrize(("shape", "small"), SPREADS.values(), ids=SPREADS)
def test_arguments_that_repeat_over_axes_in_the_middle_are_fused(shape: Any, small: Any) -> None:
    rng = Generator(0)
    x, a, b = rng.normal(shape), rng.normal(small), rng.normal((*small[:-1], 2 * small[-1]))
    half = small[-1]

    def step(x: Any, a: Any, b: Any) -> Any:  # b gives parts of rows: neither is contiguous
        y = tg.relu(tg.tanh(x) * a + b[..., :half])
        return tg.where(a > 0.5, y, b[..., half:])

    compiled = tg.compile(step)
    found = compiled(x, a, b)
    np.testing.assert_allclose(found.numpy(), step(x, a, b).numpy(), rtol=2e-6, atol=1e-6)
    if fuse.available(get("numpy")):
        left = [call.name for call in compiled.plan.calls if "+" not in call.name]
        # of another shape, and read as a column of bits
        assert left == ([] if small == shape else ["greater"])


def test_arguments_that_take_turns_too_often_stay_calls() -> None:
    x, a = batch(0, (2, 3, 2, 3, 4)), batch(1, (1, 3, 1, 3, 4))
    compiled = tg.compile(lambda x, a: tg.relu(x * a))
    np.testing.assert_array_equal(compiled(x, a).numpy(), tg.relu(x * a).numpy())
    assert compiled.plan.calls[0].name == "mul"


@pytest.mark.parametrize("product", [False, True])
def test_a_vector_may_be_the_rows_and_the_columns_of_a_square(product: bool) -> None:
    x, v = batch(0, (4, 4)), batch(1, (4,))

    def step(x: Any, v: Any) -> Any:
        return tg.relu((x @ x if product else x) * v) + v.reshape(4, 1)

    found = tg.compile(step)(x, v)
    np.testing.assert_allclose(found.numpy(), step(x, v).numpy(), rtol=1e-6, atol=1e-6)
