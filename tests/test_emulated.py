"""The emulated device: what it refuses, what it counts, and a training on it beside NumPy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import AVAILABLE

import tinygen as tg
from tinygen import backend, models, nn, optim
from tinygen.random import Generator
from tinygen_kernels.cuda.emulator import KernelError

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

HOST = np.ones((2, 3), np.float32)


@pytest.fixture
def device() -> Iterator[Any]:
    with tg.use_backend("emulated") as found:
        yield found


# ---- strict arrays -------------------------------------------------------------------------------


@pytest.mark.quick
def test_host_arrays_do_not_mix(device: Any) -> None:
    x, xp = tg.ones((2, 3)).data, device.xp
    for attempt in (
        lambda: x + HOST, lambda: HOST + x, lambda: xp.add(x, HOST), lambda: x.__setitem__(0, HOST),
        lambda: xp.concatenate([x, HOST]), lambda: np.asarray(x), lambda: np.sum(x),
        lambda: xp.add(x, [1.0, 2.0, 3.0]), lambda: list(x), lambda: HOST[x],
    ):  # fmt: skip
        with pytest.raises((TypeError, IndexError)):
            attempt()
    with pytest.raises(tg.DeviceError, match=r"mul: x is on 'emulated' and y on 'numpy'|mul"):
        tg.mul(tg.Tensor(x), tg.Tensor(HOST))
    with pytest.raises(TypeError, match=r"met arrays of the device; move it there with .*\.to\("):
        _ = x + HOST
    with pytest.raises(TypeError, match="where= is not known"):
        xp.sum(x, where=True)


@pytest.mark.quick
def test_state_goes_back_to_where_the_weights_are(device: Any) -> None:
    """Whatever backend is current: a state is NumPy's, and each tensor stays where it is."""
    net = nn.Sequential(nn.Dense(2, 3), nn.Dropout(0.5))
    optimizer, average = optim.Adam(net.parameters()), optim.EMA(net, 0.9)
    with tg.use_backend("numpy"):
        net.load_state_dict(net.state_dict())
        optimizer.load_state_dict(optimizer.state_dict())
        average.load_state_dict(average.state_dict())
        average.copy_to_model()
        for generator in net.named_generators().values():
            generator.load_state_dict(generator.state_dict())
        assert net(tg.Tensor(device.asarray(HOST[:, :2].copy()))).backend.name == "emulated"


@pytest.mark.quick
def test_reading_is_counted(device: Any) -> None:
    x = tg.full((3,), 2.0)
    before = device.synchronizations
    y = tg.sum(x * x)
    assert device.synchronizations == before
    assert type(y.data) is device.array_type
    assert y.data.ndim == 0
    assert (float(y), y.item(), bool(y.data), int(y.data)) == (12.0, 12.0, True, 12)
    assert device.synchronizations == before + 4


@pytest.mark.quick
def test_fresh_memory_is_poisoned(device: Any) -> None:
    assert np.isnan(device.xp.empty((2, 2), np.float32).get()).all()
    assert (device.xp.empty(3, np.int64).get() == -1).all()


@pytest.mark.quick
def test_views_share_memory_and_know_their_owner(device: Any) -> None:
    x = tg.zeros((4, 6))
    view = x.data[1:3]
    view[...] = 5.0
    assert x.numpy()[1:3].min() == 5.0
    assert device.owner(view) is x.data
    assert device.owner(view[:, ::2].T) is x.data
    assert device.owner(x.data + 1.0) is not x.data


@pytest.mark.quick
@pytest.mark.parametrize("count", [1, 100, 127, 128, 129, 1000])
def test_memory_comes_in_blocks_as_from_a_gpu(count: int, device: Any) -> None:
    made: dict[str, Any] = {
        "empty": device.xp.empty(count, np.float32), "copied": device.asarray(np.ones(count, "f")),
        "computed": device.xp.ones(count, np.float32) + 1.0,
        "turned": device.xp.ones((count, 2), np.float16).T * 2.0,
        "moved": device.xp.moveaxis(device.xp.zeros((2, count), np.int16), 0, 1),
    }  # fmt: skip
    for name, array in made.items():
        start, end = device.extent(array)
        assert (start % 512, end - start) == (0, -(-4 * count // 512) * 512), name
        assert start <= device.address(array) < end, name


@pytest.mark.quick
def test_views_of_a_plans_memory_are_not_copied(device: Any) -> None:
    whole = device.xp.zeros(300, np.float32)
    part = device.view(whole, 40, (4, 5), (20, 4), np.dtype(np.float32))
    for view in (part.reshape(20), part.T, part[1:], part.view(np.int32), part.reshape(2, 10)[1:]):
        before = device.address(view)
        assert device.owner(view) is whole
        assert device.address(whole) + 40 <= before < device.address(whole) + 120
    part.T[2:4] = 7.0
    assert (whole.get()[10:30].reshape(4, 5)[:, 2:4] == 7).all()
    assert device.extent(part) == device.extent(whole)


def test_a_copy_of_a_temporary_is_dropped_whatever_its_size(device: Any) -> None:
    """Also where its block is larger than the values."""
    for size in (3, 128, 200):
        step = tg.compile(lambda x: tg.exp(tg.exp(x).copy()), fuse=False)
        step(tg.zeros(size))
        assert [call.name for call in step.plan.calls] == ["exp", "exp"]


# ---- training ------------------------------------------------------------------------------------


def images(n: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 8, 8, 1)).astype(np.uint8)


def steps(name: str, kind: Any, count: int, **options: Any) -> tuple[list[Any], Any, int]:
    """Losses of steps on a backend, compiled or not; the weights; reads within the last step."""
    with tg.use_backend(name) as place:
        model = kind((8, 8, 1), hidden=(32, 32), rng=Generator(7))
        updates = model.optimizers(1e-3)
        low, high = model.value_range
        x = tg.tensor(images(8).astype(np.float32) / 255 * (high - low) + low)
        model.check_images(x)
        step = lambda x: model.train_step(x, None, updates)
        if options:
            step = tg.compile(step, fuse=options["fuse"])
        losses, reads = [], 0
        for _ in range(count):
            before = getattr(place, "synchronizations", 0)
            out = step(x)
            reads = getattr(place, "synchronizations", 0) - before
            losses.append({k: float(v) for k, v in out.items()})
        return losses, model.state_dict(), reads


@pytest.mark.parametrize("kind", [models.GAN, models.VAE])
@pytest.mark.parametrize("fuse", [False, True])
def test_a_compiled_step_reads_nothing_and_equals_numpy(kind: Any, fuse: bool) -> None:
    here, _, _ = steps("numpy", kind, 4)
    there, _, reads = steps("emulated", kind, 4, fuse=fuse)
    assert reads == 0
    for a, b in zip(here, there, strict=True):
        for name in a:
            assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [models.GAN, models.VAE])
def test_every_access_of_a_compiled_step_is_in_order(kind: Any, device: Any) -> None:
    before = device.hits.total()
    with device.checked(order=11):
        steps("emulated", kind, 2, fuse=True)
    assert device.hits.total() > before + 100


# Labels are put beside codes and pixels: copies, and sums of slices, which CuPy's own functions do.
LACKING = {"gan": set(), "vae": set(), "cgan": {"concat", "mul", "place"},
           "cvae": {"concat", "add", "mul"}}  # fmt: skip


@pytest.mark.parametrize("kind", [models.GAN, models.VAE, models.CGAN, models.CVAE])
def test_operations_of_a_compiled_step_without_a_kernel(kind: Any, device: Any) -> None:
    model = kind((8, 8, 1), hidden=(16, 16), classes=3, rng=Generator(7))
    updates = model.optimizers(1e-3)
    x, labels = tg.full((4, 8, 8, 1), 0.25), tg.tensor(np.array([0, 1, 2, 0]))
    model.check_images(x)
    step = tg.compile(lambda x, y: model.train_step(x, y if model.conditional else None, updates))
    step(x, labels)
    lacking = {c.call.name for c in step.plan.bound if c.kernel is None}
    assert lacking == LACKING[model.name]


@pytest.mark.parametrize("kind", [models.GAN, models.VAE])
def test_replay_equals_eager_to_the_last_bit(kind: Any) -> None:
    eager, weights, _ = steps("emulated", kind, 6)
    replayed, others, _ = steps("emulated", kind, 6, fuse=False)
    assert eager == replayed
    for name, w in weights.items():
        np.testing.assert_array_equal(w, others[name], err_msg=name)


def flow_step(name: str) -> tuple[float, dict[str, Any], Any]:
    """Loss of one clipped update of a small flow; how it moves each weight; what does it."""
    with tg.use_backend(name):
        options = models.Flow.Options(width=16, blocks=1)
        model = models.Flow({"train": models.Form((8, 8, 1), 2)}, options, Generator(7))
        weights, rng = dict(model.net.named_parameters()), np.random.default_rng(1)
        for p in weights.values():  # many begin as zeros, and gradients behind them are none
            more = 0.1 * rng.standard_normal(p.shape)
            nn.module.assign(p, p.detach() + tg.tensor(more.astype(np.float32)))
        before = {k: p.numpy().copy() for k, p in weights.items()}
        update = optim.Adam(model.net.parameters(), lr=1.0, eps=0.1)  # far from a sign
        update.clip_norm = 1.0
        step: Any = lambda x, y: model.step({"image": x, "label": y}, {"net": update})
        step = step if name == "numpy" else tg.compile(step, fuse=False)
        x = tg.tensor(images(2).astype(np.float32) / 127.5 - 1)
        loss = float(step(x, tg.tensor(np.array([0, 1])))["loss"])
        return loss, {k: p.numpy() - before[k] for k, p in weights.items()}, step


def test_a_compiled_step_of_a_flow_keeps_its_operations_whole(device: Any) -> None:
    hits = device.hits.copy()
    loss, moves, _ = flow_step("numpy")
    found, moved, step = flow_step("emulated")
    assert found == pytest.approx(loss, rel=1e-5)
    for name, move in moves.items():
        assert abs(move).max() > 1e-4, name
        np.testing.assert_allclose(moved[name], move, rtol=1e-3, atol=1e-5, err_msg=name)
    whole = {
        "attend_self", "attend_self_dx", "channels_to_pixels", "normalise", "normalise_dx",
        "normalise_silu", "normalise_silu_dx", "pixels_repeated", "pixels_to_channels",
        "sum_of_squares",
    }  # fmt: skip
    assert whole <= {c.call.name for c in step.plan.bound if c.kernel is not None}
    assert whole <= set(device.hits - hits)


def test_products_of_gapped_rows_and_columns(device: Any) -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((6, 20), (24, 10), (12,)))

    def g(x: Any, w: Any, b: Any) -> Any:
        return tg.relu(x[:, ::2] @ w[:20:2] + b[:10]), tg.tanh(x[:, 3:13] @ w[1:11] * 2.0)

    step = tg.compile(g)
    got = step(*map(tg.tensor, (x, w, b)))
    want = np.maximum(x[:, ::2] @ w[:20:2] + b[:10], 0), np.tanh(x[:, 3:13] @ w[1:11] * 2)
    for a, c in zip(got, want, strict=True):
        np.testing.assert_allclose(a.numpy(), c, rtol=1e-4, atol=1e-5)


def test_a_learning_rate_set_between_replays_is_used(device: Any) -> None:
    p = nn.Parameter(tg.ones(3))
    update = optim.SGD([p], lr=0.5)

    @tg.compile
    def step() -> Any:
        update.zero_grad()
        loss = tg.sum(p)
        loss.backward()
        update.step()
        return loss

    step()
    assert p.tolist() == [0.5] * 3
    update.lr = 0.25
    step()
    assert p.tolist() == [0.25] * 3


def test_a_launch_on_a_forgotten_stream_is_found(
    device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = backend.load_kernel(device, "exp")
    bind = kernel.bind  # type: ignore[union-attr]

    def elsewhere(*arrays: Any, **options: Any) -> Any:
        """The kernel's call, made on the stream that is always there."""
        call = bind(*arrays, **options)
        inner = call.device

        class Forgetful:
            def launch(self, what: Any) -> None:
                with inner.on_stream(0):
                    inner.launch(what)

        call.device = Forgetful()
        return call

    step = tg.compile(lambda x: tg.sum(tg.exp(x)), fuse=False)
    monkeypatch.setattr(kernel, "bind", elsewhere)
    with pytest.raises(KernelError, match=r"launched on stream 0 while stream 1 is captured"):
        step(tg.ones(3))
    monkeypatch.undo()
    assert float(tg.compile(lambda x: tg.sum(tg.exp(x)))(tg.zeros(3))) == 3.0


def test_a_learning_rate_of_the_host_is_followed(device: Any) -> None:
    p, rate = nn.Parameter(tg.ones(3)), [0.5]

    def step() -> Any:
        p.grad = None
        loss = tg.sum(p)
        loss.backward()
        with tg.no_grad():
            nn.module.assign(p, p - rate[0] * p.grad)
        return loss

    compiled = tg.compile(step, check=True)
    compiled()
    rate[0] = 0.25
    compiled()
    assert p.tolist() == [0.25] * 3


def test_random_bits_are_the_same(device: Any) -> None:
    here, there = (Generator(3) for _ in range(2))
    with tg.use_backend("numpy"):
        here = Generator(3)
    for draw in (
        lambda g: g.normal((5, 7)), lambda g: g.uniform((5,), "float64"),
        lambda g: g.bernoulli(0.3, (50,)), lambda g: g.integers(10, (9,)),
        lambda g: g.permutation(33),
    ):  # fmt: skip
        a, b = draw(here), draw(there)
        assert b.backend is device
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_the_command_line_trains_the_same_gan(tmp_path: Path) -> None:
    typer = pytest.importorskip("typer.testing")
    from tinygen.cli.app import app

    np.save(tmp_path / "images.npy", images(48))
    logs = {}
    for name in ("numpy", "emulated"):
        ran = typer.CliRunner().invoke(
            app,
            ["train", "gan", "--backend", name, "--batch-size", "8", "--hidden", "32,32",
             "--data", str(tmp_path / "images.npy"), "--epochs", "1", "--seed", "5",
             "--out", str(tmp_path / name)],
        )  # fmt: skip
        assert ran.exit_code == 0, ran.output
        (entry,) = (json.loads(s) for s in (tmp_path / name / "log.jsonl").read_text().splitlines())
        assert entry["step"] == 5
        logs[name] = entry["losses"]
        assert (tmp_path / name / "samples.png").stat().st_size > 0
    for key in ("d_loss", "g_loss"):
        assert logs["emulated"][key] == pytest.approx(logs["numpy"][key], rel=1e-5)
    assert backend.current().name == "numpy"


def test_the_command_line_without_a_compiler(tmp_path: Path) -> None:
    pytest.importorskip("typer")
    ran = subprocess.run(
        [sys.executable, "-m", "tinygen", "train", "gan", "--backend", "emulated"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
        env={**os.environ, "CXX": "none", "PATH": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: emulated: the emulated GPU needs a C++ compiler")
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was begun


# ---- precision -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "rounding"), [("tf32", 2.0**-11), ("bf16", 2.0**-8)])
def test_a_precision_rounds_the_operands_of_products_alone(
    precision: str, rounding: float, device: Any
) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((40, 70), (70, 30)))
    exact = a.astype(np.float64) @ b
    allowed = 2.5 * rounding * (np.abs(a).astype(np.float64) @ np.abs(b))
    with tg.use_backend("emulated", precision=precision):
        assert device.precision == precision
        rounded = tg.matmul(tg.tensor(a), tg.tensor(b)).numpy()
        whole = tg.exp(tg.tensor(a)).numpy()
    assert device.precision == "float32"
    plain = tg.matmul(tg.tensor(a), tg.tensor(b)).numpy()
    assert (np.abs(rounded - exact) <= allowed).all()
    assert np.abs(rounded - exact).max() > 20 * np.abs(plain - exact).max()
    np.testing.assert_array_equal(whole, tg.exp(tg.tensor(a)).numpy())


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_training_in_a_precision_stays_near_float32(precision: str) -> None:
    exact, weights, _ = steps("emulated", models.VAE, 5, fuse=True)
    with tg.use_backend("emulated", precision=precision):
        rounded, others, _ = steps("emulated", models.VAE, 5, fuse=True)
    assert rounded != exact
    for a, b in zip(exact, rounded, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-3 if precision == "tf32" else 1e-2)
    for name, w in weights.items():  # Adam's steps are 1e-3 each
        assert w.dtype == np.float32
        assert np.abs(w - others[name]).max() <= 2 * 5 * 1e-3


def test_a_precision_that_is_not_there() -> None:
    with pytest.raises(tg.DeviceError, match=r"no precision 'half'; expected float32, tf32, bf16"):
        tg.use_backend("emulated", precision="half")
    with pytest.raises(tg.DeviceError, match=r"numpy: products are in float32 here; .*'tf32'"):
        tg.use_backend("numpy", precision="tf32")
    assert backend.current().name == "numpy"


def test_a_device_without_tensor_cores(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.device, "capability", 75)
    with pytest.raises(tg.DeviceError, match=r"capability 8\.0, this GPU has 7\.5; use float32"):
        tg.use_backend("emulated", precision="tf32")


def test_a_plan_belongs_to_its_precision(device: Any) -> None:
    step = tg.compile(lambda x: x @ x)
    x = tg.tensor(np.full((8, 8), 1 + 2.0**-12, np.float32))
    assert step(x).numpy().max() > 8.003
    with tg.use_backend("emulated", precision="tf32"):
        assert step(x).numpy().max() == 8
    assert step(x).numpy().max() > 8.003


# ---- data on the device --------------------------------------------------------------------------


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_resident_batches_are_those_of_the_host(value_range: Any, device: Any) -> None:
    from tinygen.data import Dataset
    from tinygen.train.resident import Resident

    data = Dataset("some", images(37), np.arange(37) % 5)
    kind = models.GAN if value_range[0] else models.VAE
    model = kind((8, 8, 1), hidden=(8,), rng=Generator(0))
    reads = (models.Column("image", range=value_range), models.Column("label", "label", count=5))
    resident = Resident(model, data, reads)
    before = device.synchronizations
    with resident.batches(8, seed=3, epoch=2, start=1) as batches:
        found = list(batches)
    assert device.synchronizations == before
    with data.batches(8, seed=3, epoch=2, start=1, value_range=value_range) as batches:
        wanted = list(batches)
    assert [b.position for b in found] == [b.position for b in wanted] == [1, 2, 3]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a.index, b.index)
        np.testing.assert_array_equal(a.images.get(), b.images)
        np.testing.assert_array_equal(a.labels.get(), b.labels)
