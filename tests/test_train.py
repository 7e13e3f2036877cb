"""Training: the run folder, resuming to the bit, interruption, divergence, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from stopping import stop_after

import tinygen as tg
from tinygen import data, models, optim, train
from tinygen.data.dataset import scaled
from tinygen.options import option
from tinygen.runs import pictures
from tinygen.runs.files import read
from tinygen.tensor import Tensor
from tinygen.train import hooks, loop

OPTIONS = {
    "vae": {"hidden": (16,), "latent": 3},
    "cvae": {"hidden": (16,), "latent": 3, "classes": 10},
    "gan": {"hidden": (12, 16), "latent": 5},
    "cgan": {"hidden": (12, 16), "latent": 5, "classes": 10},
    "conv-vae": {"hidden": (12,), "latent": 3, "width": 0.1},
    "dcgan": {"latent": 5, "width": 0.05},
    "cdcgan": {"latent": 5, "width": 0.05, "classes": 10},
    "conv-gan": {"hidden": (12, 16), "latent": 5, "width": 0.05},
}


@pytest.fixture(scope="module")
def strokes():
    return data.load("strokes", n=100, size=12)


def build(name, dataset, seed=0, **more):
    rng = tg.random.Generator(seed)
    return models.find(name)(dataset.shape, rng=rng, **{**OPTIONS[name], **more})


def fit(name, dataset, out=None, epochs=3, options=None, **more):
    model = build(name, dataset, **(options or {}))
    more = {"batch_size": 20, "progress": False, **more}
    return train.fit(model, dataset, epochs, out=out, **more)


def weights(run):
    return run.model.state_dict()


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


# ---- what a run leaves ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_leaves_its_files_and_opens_again(name, strokes, tmp_path):
    out = tmp_path / "läufe und mehr" / "run 1"  # neither ASCII nor free of spaces
    run = fit(name, strokes, out)
    assert {p.name for p in out.iterdir()} >= {
        "config.json", "log.jsonl", "model.safetensors", "samples.png", "checkpoints", "history",
    }  # fmt: skip
    assert (out / "reconstructions.png").exists() == name.endswith("vae")
    assert len(list((out / "history").glob("samples-*.png"))) == 3
    assert len(list((out / "checkpoints").glob("step-*.safetensors"))) == 2
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["data"]["fingerprint"] == strokes.fingerprint
    assert config["versions"]["numpy"] == np.__version__
    again = train.open_run(out)
    assert equal(weights(run), weights(again))
    assert np.array_equal(run.sample(5), again.sample(5))
    assert not again.interrupted
    text = tg.images.read_text(out / "samples.png")
    assert "synthetic" in text["Description"]
    assert pictures.fingerprint(run.model) in text["Model"]
    assert text["Seed"] == "0"
    kinds = [e["kind"] for e in again.history]
    assert kinds.count("epoch") == 3
    assert all(np.isfinite(v) for e in again.epochs for v in e["losses"].values())


@pytest.mark.quick
def test_without_a_folder_nothing_is_written(strokes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = fit("vae", strokes, epochs=1)
    assert list(tmp_path.iterdir()) == []
    assert run.sample(3).shape == (3, *strokes.shape)
    assert run.samples._repr_png_().startswith(b"\x89PNG")
    assert "vae" in repr(run)


@pytest.mark.quick
def test_same_seed_same_bits_other_seed_others(strokes):
    a, b = fit("gan", strokes, epochs=1), fit("gan", strokes, epochs=1)
    c = fit("gan", strokes, epochs=1, seed=1)
    assert equal(weights(a), weights(b))
    assert not equal(weights(a), weights(c))


def test_picture_i_of_a_seed_does_not_depend_on_how_many(strokes):
    run = fit("gan", strokes, epochs=1)
    np.testing.assert_allclose(run.sample(3, seed=4), run.sample(40, seed=4)[:3], atol=1e-6)
    assert np.array_equal(run.codes(3, 4), run.codes(40, 4)[:3])
    assert not np.array_equal(run.codes(3, 4), run.codes(3, 5))


def test_the_best_checkpoint_has_the_lowest_held_out_figure(strokes, tmp_path, monkeypatch):
    from tinygen.train import session

    given = iter([3.0, 1.0, 2.0, 4.0])  # the second epoch is the best
    figure = lambda self: session.Held(value) if (value := next(given, None)) else None
    monkeypatch.setattr(session.Session, "validation", figure)
    out = tmp_path / "run"
    run = fit("vae", strokes, out, epochs=4)
    figures = [e["validation"] for e in run.epochs]
    best = read(out / "checkpoints" / "best.safetensors", "checkpoint")
    assert best.metadata["position"]["best"] == min(figures)
    assert best.metadata["position"]["epoch"] == figures.index(min(figures)) + 1
    drawn = train.open_run(out, best=True)
    assert all(np.array_equal(v, best[f"model/{k}"]) for k, v in weights(drawn).items())
    assert not equal(weights(drawn), weights(train.open_run(out)))
    fit("gan", strokes, tmp_path / "gan", epochs=1)
    with pytest.raises(ValueError, match="no best weights"):
        train.open_run(tmp_path / "gan", best=True)


def test_averages_draw_for_a_gan_and_its_discriminator_has_none(strokes, tmp_path):
    """Weights and running statistics of the generator; all else is as training left it."""
    out = tmp_path / "run"
    run = fit("dcgan", strokes, out, epochs=2, compiled=False)
    saved = train.RunFolder(out).newest_checkpoint()
    assert train.RunFolder(out).read_config()["training"]["ema"] == 0.999  # the model's own
    drawn = weights(train.open_run(out))
    assert equal(weights(run), drawn)
    for k, v in drawn.items():
        raw = saved[f"model/{k}"]
        assert np.array_equal(v, saved.get(f"ema/{k}", raw))
        assert (f"ema/{k}" in saved) == k.startswith("generator.") == (not np.array_equal(v, raw))


@pytest.mark.quick
def test_the_average_soon_forgets_the_first_weights(strokes):
    first = build("vae", strokes).state_dict()
    run = fit("vae", strokes, epochs=1, batch_size=100, ema=0.999)  # one step
    raw = fit("vae", strokes, epochs=1, batch_size=100)
    for k, v in weights(run).items():
        np.testing.assert_allclose(v, 0.1 * first[k] + 0.9 * weights(raw)[k], atol=1e-6)


def test_a_step_of_several_critic_steps_takes_as_many_batches(strokes):
    how = {"options": {"critic_steps": 3}, "compiled": False}
    run = fit("gan", strokes, epochs=2, batch_size=10, **how)
    assert [e["step"] for e in run.epochs] == [3, 6]  # 100 images, 30 a step
    run = fit("gan", strokes, epochs=1, batch_size=64, **how)
    assert run.epochs[-1]["step"] == 1  # as many as there are: 33 an update
    few = data.load(np.ascontiguousarray(strokes.images[:2]))
    with pytest.raises(ValueError, match=r"2 images.*takes 3 batches \(critic_steps\)"):
        fit("gan", few, **how)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dcgan", {"critic_steps": 2, "spectral_norm": True, "loss": "hinge"}),
        ("cdcgan", {"gradient_penalty": 10.0, "projection": False, "d_lr": 0.02}),
        ("conv-gan", {"loss": "least_squares"}),
    ],
)
def test_a_compiled_training_is_the_plain_one(name, options, strokes):
    """Every option is in the plan. SGD: Adam makes a full step of a gradient that is rounding."""
    options = {"optimizer": "sgd", "lr": 0.01, **options}
    plain, compiled = (
        fit(name, strokes, epochs=1, batch_size=10, ema=0.9, compiled=c, options=options)
        for c in (False, True)
    )
    for k, v in weights(plain).items():
        np.testing.assert_allclose(weights(compiled)[k], v, rtol=1e-4, atol=1e-5, err_msg=k)


def test_average_weights_draw_and_raw_weights_train(strokes, tmp_path):
    out = tmp_path / "run"
    run = fit("vae", strokes, out, ema=0.9)
    saved = train.RunFolder(out).newest_checkpoint()
    for k, v in weights(run).items():
        assert np.array_equal(v, saved[f"ema/{k}"])
        assert not np.array_equal(v, saved[f"model/{k}"])
    assert equal(weights(run), weights(train.open_run(out)))


# ---- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "more"),
    [("vae", {"ema": 0.9}), ("cvae", {}), ("gan", {"schedule": "cosine", "warmup": 3}),
     ("cgan", {"ema": 0.5})],
)  # fmt: skip
@pytest.mark.parametrize("stop_at", [1, 4, 5, 7, 14])
def test_resumed_is_bit_identical(name, more, stop_at, strokes, tmp_path, monkeypatch):
    """Stopped after any step, in an epoch or between two, then resumed: the same in every bit."""
    _check_resuming(name, more, stop_at, strokes, tmp_path, monkeypatch)


@pytest.mark.parametrize(("compiled", "stop_at"), [(False, 2), (True, 3)])
def test_convolutional_resumed_is_bit_identical(compiled, stop_at, strokes, tmp_path, monkeypatch):
    """With what it keeps besides weights: averages, running statistics, singular vectors."""
    options = {"critic_steps": 2, "spectral_norm": True}
    more = {"batch_size": 25, "epochs": 2, "compiled": compiled, "options": options}
    _check_resuming("dcgan", more, stop_at, strokes, tmp_path, monkeypatch)


def _check_resuming(name, more, stop_at, strokes, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    straight = fit(name, strokes, whole, **more)
    stop_after(monkeypatch, stop_at)
    first = fit(name, strokes, parts, **more)
    monkeypatch.undo()
    assert first.interrupted
    assert train.open_run(parts).interrupted
    second = fit(name, strokes, parts, resume=True, **more)
    assert not second.interrupted
    assert equal(weights(straight), weights(second))
    a, b = (train.RunFolder(p).newest_checkpoint() for p in (whole, parts))
    assert equal(a, b)
    assert a.metadata["generators"] == b.metadata["generators"]
    logs = [train.RunFolder(p).read_log() for p in (whole, parts)]
    assert logs[0] == logs[1]
    assert (whole / "log.jsonl").read_bytes() == (parts / "log.jsonl").read_bytes()


def _losses_of_steps(monkeypatch):
    """A list that gets the losses of each step from now on."""
    steps, read_all = [], loop.Session.read

    def read_and_keep(session):
        found = read_all(session)
        steps.extend(found)
        return found

    monkeypatch.setattr(loop.Session, "read", read_and_keep)
    return steps


def _check_lines(out, steps, every):
    lines = [e for e in train.RunFolder(out).read_log() if e["kind"] == "steps"]
    assert [e["step"] for e in lines] == [*range(every, len(steps) + 1, every)]
    for line in lines:
        since = [losses for losses in steps[line["step"] - every : line["step"]] if losses]
        means = {k: np.mean([losses[k] for losses in since]) for k in since[0]}
        assert line["losses"] == pytest.approx(means, rel=1e-12)


def test_a_line_of_the_log_has_the_means_since_the_last(strokes, tmp_path, monkeypatch):
    """Over the end of an epoch, and of a training that was stopped between two lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hooks, "LOG_EVERY", 4)
        _check_resuming("vae", {}, 6, strokes, tmp_path, monkeypatch)
    steps = _losses_of_steps(monkeypatch)
    fit("vae", strokes)
    _check_lines(tmp_path / "parts", steps, 4)


SCRIPT = """
    import sys, time
    import tinygen as tg
    from tinygen import data, models, optim, train
    from tinygen.train import loop
    loop.CHECKPOINT_EVERY = 0.0  # after every step
    slow = loop.Session.step
    def step(self, batch):
        time.sleep(float(sys.argv[3]))
        return slow(self, batch)
    loop.Session.step = step
    strokes = data.load("strokes", n=100, size=12)
    model = models.GAN(strokes.shape, hidden=(12, 16), latent=5, rng=tg.random.Generator(0))
    train.fit(model, strokes, 3, out=sys.argv[1], batch_size=20, resume=sys.argv[2] == "resume")
"""


def _start(out, how, delay):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(out), how, str(delay)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_in_the_middle_of_an_epoch_and_resumed(strokes, tmp_path):
    out = tmp_path / "run"
    process = _start(out, "new", 0.05)
    deadline = time.time() + 60
    while not list(out.glob("checkpoints/step-000000007*")):
        assert time.time() < deadline, process.communicate()
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    saved = train.RunFolder(out).newest_checkpoint()
    assert 0 < saved.metadata["position"]["step"] < 15
    (out / "checkpoints" / ".step-x.0a0b.tmp").write_bytes(b"half a file")
    process = _start(out, "resume", 0)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    straight = fit("gan", strokes, epochs=3)
    assert equal(weights(straight), weights(train.open_run(out)))
    assert not list(out.rglob("*.tmp"))


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_ctrl_c_ends_the_step_saves_and_says_how_to_go_on(tmp_path):
    out = tmp_path / "my run"
    process = _start(out, "new", 0.05)
    while not list(out.glob("checkpoints/step-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "--resume" in output
    assert f"'{out}'" in output  # quoted for the shell
    assert "Traceback" not in output
    assert train.open_run(out).interrupted


class Careful(models.VAE):
    """A model that says how its rate moves, and clips."""

    course = optim.Course("linear", warmup=200, hold=0.5, final=0.02)
    clip = 1.0


def _careful(strokes, out, bad=(), monkeypatch=None, stop_at=0, **more):
    """A training of which some steps meet NaN."""
    if bad:
        done = loop.Session.step

        def step(self, batch):
            if self.state.position.step in bad:
                nan = np.full(batch["image"].shape, np.nan, np.float32)
                batch = type(batch)({**batch, "image": nan}, batch.index, batch.position)
            return done(self, batch)

        monkeypatch.setattr(loop.Session, "step", step)
    if stop_at:
        stop_after(monkeypatch, stop_at)
    model = Careful(strokes.shape, rng=tg.random.Generator(0), **OPTIONS["vae"])
    try:
        return train.fit(
            model, strokes, out=out, **{"epochs": 3, "batch_size": 10, "progress": "lines", **more}
        )
    finally:
        if monkeypatch is not None:
            monkeypatch.undo()


@pytest.mark.parametrize("compiled", [False, True])
def test_steps_that_are_not_finite_are_skipped_and_told(
    compiled, strokes, tmp_path, monkeypatch, capsys, request
):
    """Stopped behind one of them and resumed: the same bits, the same count, the same log."""
    whole, parts, bad = tmp_path / "whole", tmp_path / "parts", (3, 5, 12)
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    patch.setattr(hooks, "LOG_EVERY", 5)
    steps = _losses_of_steps(monkeypatch)
    run = _careful(strokes, whole, bad, monkeypatch, compiled=compiled)
    _check_lines(whole, steps, 5)  # of those that were not skipped
    said = capsys.readouterr().out
    assert "  2 steps of 10 skipped: the gradients were not finite" in said
    assert "  1 step of 10 skipped" in said
    assert [e.get("skipped", 0) for e in run.epochs] == [2, 1, 0]
    assert all(np.isfinite(v) for e in run.epochs for v in e["losses"].values())
    first = _careful(strokes, parts, bad, monkeypatch, stop_at=5, compiled=compiled)
    assert first.interrupted
    second = _careful(strokes, parts, bad, monkeypatch, resume=True, compiled=compiled)
    assert equal(weights(run), weights(second))
    a, b = (train.RunFolder(p).newest_checkpoint() for p in (whole, parts))
    assert equal(a, b)
    assert (whole / "log.jsonl").read_bytes() == (parts / "log.jsonl").read_bytes()


class Slow(models.VAE):
    """A model with a warm-up."""

    course = optim.Course("linear", warmup=4)


def test_a_warm_up_that_was_asked_for_is_not_cut(strokes, tmp_path, monkeypatch):
    def warmed(out, **more):
        """A training of 15 steps, and the steps over which its rate rises."""
        model = Slow(strokes.shape, rng=tg.random.Generator(0), **OPTIONS["vae"])
        steps, enter = [], loop.Session.enter

        def entered(self, position):
            enter(self, position)
            steps.append(self.schedules["vae"].warmup)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop.Session, "enter", entered)
            run = train.fit(model, strokes, 3, out=out, batch_size=20, progress=False, **more)
        return run, steps[0]

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert [warmed(None)[1], warmed(None, warmup=3)[1]] == [1, 3]
    straight, steps = warmed(whole, warmup=4)
    assert steps == 4
    stop_after(monkeypatch, 3)
    assert warmed(parts, warmup=4)[0].interrupted
    monkeypatch.undo()
    kept = train.RunFolder(parts).read_config()["training"]
    again = train.as_given(straight.model, kept)
    more = {k: again[k] for k in ("warmup", "schedule", "clip")}
    resumed, steps = warmed(parts, resume=True, **more)
    assert (steps, equal(weights(straight), weights(resumed))) == (4, True)
    del kept["asked_warmup"]  # as an older version wrote it, which cut it
    assert train.as_given(straight.model, kept)["warmup"] is None
    assert train.as_given(straight.model, {**kept, "warmup": 3})["warmup"] == 3
    with pytest.raises(ValueError, match="warmup is 15 steps, and the training has 15; expected"):
        warmed(tmp_path / "none", warmup=15)
    assert not (tmp_path / "none").exists()


def test_a_warm_up_that_is_longer_than_the_training_is_said(strokes, capsys):
    def said(warmup, schedule="constant"):
        model = Slow(strokes.shape, rng=tg.random.Generator(0), **OPTIONS["vae"])
        how = {"warmup": warmup, "schedule": schedule, "compiled": False}
        train.fit(model, strokes, 1, batch_size=20, **how)
        return [line for line in capsys.readouterr().out.splitlines() if "warmup" in line]

    assert said(10) == [
        "note: warmup is 10 steps, and the training has 5: its learning rate gets to 50% of its "
        "highest; give a smaller one, or more epochs"
    ]
    assert [*said(5), *said(None), *said(None, "linear")] == []


def test_a_training_that_only_skips_has_diverged(strokes, tmp_path, monkeypatch):
    with pytest.raises(train.Diverged, match="gradients of the last 50 steps = nan"):
        _careful(strokes, tmp_path / "run", range(20, 80), monkeypatch, epochs=10, compiled=False)


def test_a_model_says_how_its_rate_moves(strokes, tmp_path, capsys):
    """Its warm-up takes at most a tenth; more epochs move the decay, and say so."""
    out = tmp_path / "run"
    run = _careful(strokes, out, epochs=2)
    training = train.RunFolder(out).read_config()["training"]
    assert [training[k] for k in ("schedule", "warmup", "clip")] == ["linear", 200, 1.0]
    rate = train.RunFolder(out).newest_checkpoint()["optimizer/vae/lr"]
    lr = run.model.options.lr
    assert rate == optim.Schedule(lr, "linear", 20, 2, 0.02 * lr, 0.5).lr_at(19)
    capsys.readouterr()
    _careful(strokes, out, epochs=4, resume=True)
    said = capsys.readouterr().out
    assert "falls over 4 epochs now and not over 2" in said
    assert f"at vae {lr:.3g}\n" in said  # half of them lie behind: it is not falling yet
    plain = _careful(strokes, None, epochs=1, schedule="constant", warmup=0, clip=0.0)
    other = _careful(strokes, None, epochs=1)
    assert not equal(weights(plain), weights(other))


def test_more_epochs_can_be_added(strokes, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    straight = fit("vae", strokes, whole, epochs=4)
    fit("vae", strokes, parts, epochs=2)
    more = fit("vae", strokes, parts, epochs=4, resume=True)
    assert equal(weights(straight), weights(more))


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(strokes, tmp_path):
    out = tmp_path / "run"
    straight = fit("vae", strokes, out, epochs=3)
    newest = sorted((out / "checkpoints").glob("step-*"))[-1]
    newest.write_bytes(newest.read_bytes()[:100])
    again = fit("vae", strokes, out, epochs=3, resume=True)
    assert equal(weights(straight), weights(again))


# ---- divergence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", [True, False])
def test_divergence_names_operation_line_and_tensor(folder, strokes, tmp_path):
    model = build("vae", strokes)
    step = model.train_step
    count = {"n": 0}

    def poisoned(x, labels, optimizers):
        # the same step of the data fails whenever it comes: a property of the batch
        if np.array_equal(x.numpy(), bad):
            y = tg.log(x - 2.0).mean()  # log of a negative number
            return {"loss": y}
        count["n"] += 1
        return step(x, labels, optimizers)

    with strokes.batches(20, seed=0, epoch=1, start=2) as batches:
        bad = next(batches).images
    model.train_step = poisoned
    out = tmp_path / "run" if folder else None
    with pytest.raises(train.Diverged) as error:
        train.fit(model, strokes, 3, out=out, batch_size=20, progress=False, compiled=False)
    text = str(error.value)
    assert "epoch 2, step 8" in text
    assert "log, called at" in text
    assert "test_train.py:" in text
    assert "from -2 to -1" in text  # what the operation was given
    assert "--lr" in text
    if folder:
        saved = train.RunFolder(out).newest_checkpoint()
        assert saved.metadata["position"]["step"] == 5
        assert all(np.isfinite(v).all() for v in saved.values())
    assert all(np.isfinite(v).all() for v in model.state_dict().values())


def test_divergence_names_the_branch_that_was_not_selected(strokes):
    """The value is hidden by a `where`, so the loss is finite; the gradient is not."""
    model = build("vae", strokes)
    weight, step = next(iter(model.parameters())), model.train_step
    with strokes.batches(20, seed=0, epoch=0, start=4) as batches:
        bad = next(batches).images

    def poisoned(x, labels, optimizers):
        if not np.array_equal(x.numpy(), bad):
            return step(x, labels, optimizers)
        terms = weight * tg.log(tg.maximum(weight, 0.0))
        loss = tg.where(weight > 0, terms, 0.0).sum()
        for optimizer in optimizers.values():
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return {"loss": loss.detach()}

    model.train_step = poisoned
    with pytest.raises(train.Diverged) as error:
        train.fit(model, strokes, 1, batch_size=20, progress=False, compiled=False)
    assert "0 * inf: from the branch of where at " in str(error.value)
    assert "test_train.py:" in str(error.value)


def test_weights_that_are_not_finite_are_never_saved(strokes, tmp_path, monkeypatch):
    """The loss of a step is finite although its update was not: found before anything is kept."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    out = tmp_path / "run"
    with pytest.raises(train.Diverged, match=r"Adam\.step") as error:
        train.fit(build("vae", strokes), strokes, 3, out=out, lr=1e39, batch_size=20,
                  progress=False)  # fmt: skip
    assert "last good state (step 0)" in str(error.value)
    assert not list(out.rglob("*.safetensors"))
    # the same, found at the end of an epoch of one step
    with pytest.raises(train.Diverged, match="epoch 1"):
        train.fit(build("vae", strokes), strokes, 3, lr=1e39, batch_size=100, progress=False)


@pytest.mark.parametrize("what", ["model/decoder", "optimizer/vae", "ema/decoder"])
def test_a_tensor_that_someone_wrote_nan_into_is_named(what, strokes, monkeypatch):
    """Once, from outside: when the steps are repeated, nothing is wrong."""
    step = train.loop.Session.step
    left = [1]

    def poisoned(self, batch):
        step(self, batch)
        if self.state.position.step == 5 and left:
            left.clear()
            states = {
                "model/decoder": self.model._named(tg.nn.Parameter),
                "optimizer/vae": next(iter(self.state.optimizers.values()))._state,
                "ema/decoder": self.state.ema._averages,
            }
            name = [k for k, v in states[what].items() if v.ndim][-1]
            states[what][name].data.reshape(-1)[0] = np.nan

    monkeypatch.setattr(train.loop.Session, "step", poisoned)
    with pytest.raises(train.Diverged, match=r"no operation: .*what held NaN") as error:
        fit("vae", strokes, ema=0.9, compiled=False)
    assert what.split("/")[0] + "/" in str(error.value).split("what held")[1]


def spoiled(path, how):
    """A checkpoint with one bit flipped, cut short, of another model, or with a NaN in it."""
    content = bytearray(path.read_bytes())
    saved = tg.load(path)
    name = next((k for k in saved if k.startswith(how) and saved[k].dtype.kind == "f"), "")
    if how == "a bit":
        content[-100] ^= 1
    elif how == "cut":
        del content[len(content) // 2 :]
    elif how == "an array less":
        lost = next(iter(saved))
        tg.save(path, {k: v for k, v in saved.items() if k != lost}, saved.metadata)
        return lost
    elif how == "a position":
        saved.metadata["position"]["step"] = "5"
        tg.save(path, saved, saved.metadata)
        return "position.step is '5'"
    else:
        saved[name].reshape(-1)[0] = np.nan
        tg.save(path, saved, saved.metadata)
        return f"{name} holds NaN or infinity (1 of"
    path.write_bytes(content)
    return path.name


@pytest.mark.parametrize(
    "how", ["a bit", "cut", "an array less", "a position", "model/", "optimizer/", "ema/"]
)
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_taken(how, strokes, tmp_path, capsys):
    out = tmp_path / "run"
    whole = fit("vae", strokes, out, epochs=3, ema=0.9)
    before, newest = sorted((out / "checkpoints").glob("step-*"))
    said = spoiled(newest, how)
    again = fit("vae", strokes, out, epochs=3, ema=0.9, resume=True, progress="lines")
    notes = [x for x in capsys.readouterr().out.splitlines() if "going on from" in x]
    assert len(notes) == 1
    assert said in notes[0]
    assert before.name in notes[0]
    assert equal(weights(whole), weights(again))
    assert newest.with_suffix(".damaged").exists()
    assert len(list((out / "checkpoints").glob("step-*.safetensors"))) == 2
    for path in (out / "checkpoints").glob("step-*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no checkpoint .*model.safetensors; to train on, train"):
        fit("vae", strokes, out, epochs=4, ema=0.9, resume=True)
    assert equal(weights(whole), weights(train.open_run(out)))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes and devices")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize(
    "name", ["config.json", "log.jsonl", "model.safetensors", "evaluation.json", "checkpoints/st*"]
)
def test_what_is_no_file_is_refused_in_a_run(name, kind, strokes, tmp_path):
    out = tmp_path / "run"
    fit("vae", strokes, out, epochs=1)
    path = next(out.glob(name), out / name)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()

    def read():
        train.open_run(out)
        train.RunFolder(out).read_evaluation("x")
        fit("vae", strokes, out, epochs=2, resume=True)

    with pytest.raises((ValueError, OSError), match=rf"is a {kind}, expected a file"):
        read()


def test_model_files_hold_no_path(strokes, tmp_path):
    """They are given away; where the data lay is in config.json."""
    photos = tmp_path / "someone" / "photos.npy"
    photos.parent.mkdir()
    np.save(photos, strokes.images)
    loaded = data.load(photos, size=12)
    out = tmp_path / "run"
    fit("vae", loaded, out, epochs=1)
    for path in out.rglob("*.safetensors"):
        assert b"someone" not in path.read_bytes()
    run = train.open_run(out)
    assert run.load_data().fingerprint == loaded.fingerprint
    assert tg.load(out / "model.safetensors").metadata["data"]["name"] == "photos.npy"


def test_resuming_on_another_machine_is_said(strokes, tmp_path, capsys):
    out = tmp_path / "run"
    fit("vae", strokes, out, epochs=1)
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert "numpy" in config["versions"]
    config["versions"]["numpy"] = "1.0"
    config["machine"]["cores"] = 999
    (out / "config.json").write_text(json.dumps(config), encoding="utf-8")
    fit("vae", strokes, out, epochs=2, resume=True, progress="lines")
    assert "other numpy, cores" in capsys.readouterr().out


def test_a_model_file_older_than_its_checkpoint_is_mended(strokes, tmp_path):
    """A crash may come between writing the checkpoint and the weights to draw with."""
    out = tmp_path / "run"
    run = fit("vae", strokes, out, epochs=1)
    old = (out / "model.safetensors").read_bytes()
    run = fit("vae", strokes, out, epochs=2, resume=True)
    (out / "model.safetensors").write_bytes(old)
    fit("vae", strokes, out, epochs=2, resume=True)
    assert equal(weights(run), weights(train.open_run(out)))
    assert not train.open_run(out).interrupted


def test_divergence_by_a_huge_learning_rate_is_explained(strokes):
    model = build("vae", strokes)
    with pytest.raises(train.Diverged, match=r"not finite"):
        train.fit(model, strokes, 20, lr=1e6, batch_size=20, progress=False)


def test_a_held_out_figure_that_is_not_finite_is_divergence(strokes, monkeypatch):
    nothing = models.Figure(Tensor(np.full(4, np.nan, np.float32)))
    monkeypatch.setattr(models.VAE, "figures", lambda *_: {"loss": nothing})
    with pytest.raises(train.Diverged, match=r"diverged in epoch 1, step 5: held out = nan"):
        fit("vae", strokes)


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.quick
def test_options_may_be_numpy_numbers(strokes, tmp_path):
    options = {"latent": np.int64(2), "hidden": np.array([6]), "lr": np.float32(1e-3)}
    first = fit("vae", strokes, tmp_path / "run", epochs=1, options=options)
    again = fit("vae", strokes, tmp_path / "run", epochs=2, options=options, resume=True)
    assert again.model.options == first.model.options
    assert train.open_run(tmp_path / "run").model.latent == 2


@pytest.mark.quick
def test_options_that_no_file_can_hold_leave_no_folder(strokes, tmp_path):
    @dataclass(frozen=True, kw_only=True)
    class Tagged(models.VAE.Options):
        tags: Any = option(None, help="Anything.")

    kind = type("TaggedVAE", (models.VAE,), {"Options": Tagged})
    model = kind(strokes.shape, Tagged(hidden=6, latent=2, tags={1, 2}))
    with pytest.raises(TypeError, match=r"\{1, 2\} is set, expected a number, text or a list"):
        train.fit(model, strokes, 1, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.quick
def test_a_folder_with_something_in_it_is_refused(strokes, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match=r"--resume, or name another folder"):
        fit("vae", strokes, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_resuming_another_model_data_or_setting_is_refused(strokes, tmp_path):
    out = tmp_path / "run"
    fit("vae", strokes, out, epochs=1)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"run of vae.*cannot be continued as gan"):
        fit("gan", strokes, out, resume=True)
    with pytest.raises(ValueError, match=r"other options: latent"):
        train.fit(build("vae", strokes, latent=4), strokes, 2, out=out, resume=True)
    with pytest.raises(ValueError, match=r"batch_size = 20.*same settings"):
        fit("vae", strokes, out, resume=True, batch_size=10)
    other = data.load("strokes", n=100, size=12, seed=5)
    with pytest.raises(ValueError, match=r"the data given now differ"):
        fit("vae", other, out, resume=True)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    fit("vae", strokes, out, epochs=2, resume=True)
    with pytest.raises(ValueError, match="a run cannot shrink"):
        fit("vae", strokes, out, epochs=1, resume=True)


def test_files_of_a_newer_format_are_refused(strokes, tmp_path):
    out = tmp_path / "run"
    fit("vae", strokes, out, epochs=1)
    for path in (out / "model.safetensors", *(out / "checkpoints").iterdir()):
        saved = tg.load(path)
        tg.save(path, saved, {**saved.metadata, "format": 99})
    with pytest.raises(ValueError, match=r"has format 99.*pip install --upgrade"):
        train.open_run(out)
    with pytest.raises(ValueError, match=r"has format 99"):
        fit("vae", strokes, out, epochs=2, resume=True)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": -3}, "batch_size is -3"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"schedule": "step"}, "constant, cosine, linear"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"warmup": -1}, "warmup is -1"),
        ({"epochs": 2.5}, "epochs is 2.5"),
        ({"resume": True}, "needs the folder"),
    ],
)
def test_settings_out_of_range(more, message, strokes):
    with pytest.raises(ValueError, match=message):
        fit("vae", strokes, **more)


@pytest.mark.quick
def test_data_that_do_not_fit_the_model(strokes):
    with pytest.raises(ValueError, match=r"\(28, 28, 1\).*\(12, 12, 1\).*--?size|size="):
        train.fit(models.VAE((28, 28, 1)), strokes, 1)
    images = strokes.images
    unlabelled = data.load(np.ascontiguousarray(images))
    with pytest.raises(ValueError, match=r"conditioned on labels"):
        train.fit(build("cgan", strokes), unlabelled, 1)
    with pytest.raises(ValueError, match=r"labels up to 9.*classes=10"):
        train.fit(build("cgan", strokes, classes=5), strokes, 1)


def test_a_full_disk_leaves_what_was_there(strokes, tmp_path, monkeypatch):
    out = tmp_path / "run"
    fit("vae", strokes, out, epochs=1)
    before = (out / "model.safetensors").read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device"):
        fit("vae", strokes, out, epochs=2, resume=True)
    monkeypatch.undo()
    assert (out / "model.safetensors").read_bytes() == before
    assert not list(out.rglob("*.tmp"))
    again = fit("vae", strokes, out, epochs=2, resume=True)
    assert equal(weights(again), weights(fit("vae", strokes, epochs=2)))


# ---- drawing with a run --------------------------------------------------------------------------


def test_interpolation_ends_at_the_codes_and_keeps_their_length(strokes):
    run = fit("gan", strokes, epochs=1)
    codes = run.codes(2, 3)
    images = run.interpolate(rows=1, steps=5, seed=3)
    np.testing.assert_allclose(images[0], pictures.draw(run.model, codes[:1])[0], atol=1e-5)
    np.testing.assert_allclose(images[-1], pictures.draw(run.model, codes[1:])[0], atol=1e-5)
    from tinygen.sampling.latent import between

    a, b = (c / np.linalg.norm(c) for c in codes.astype(np.float64))
    assert np.linalg.norm(between(a, b, 0.5, straight=False)) == pytest.approx(1)
    assert np.linalg.norm(between(a, b, 0.5, straight=True)) < 0.99


def test_traversal_changes_one_entry_a_row(strokes):
    run = fit("vae", strokes, epochs=2)
    images = run.traverse(dimensions=2, steps=3)
    assert images.shape == (6, *strokes.shape)
    assert not np.allclose(images[0], images[2])


def test_around_an_image_begins_with_its_reconstruction(strokes):
    run = fit("cvae", strokes, epochs=2)
    image = strokes.images[0]
    label = int(strokes.labels[0])
    images = run.around(image, n=4, labels=label)
    x = Tensor(scaled(image[None], run.model.value_range))
    expected = run.model.reconstruct(x, Tensor(np.array([label]))).numpy()[0]
    np.testing.assert_allclose(images[0], expected, atol=1e-5)
    assert not np.allclose(images[1], images[2])
    with pytest.raises(ValueError, match=r"no encoder"):
        fit("gan", strokes, epochs=1).around(image)


@pytest.mark.quick
def test_labels_are_checked(strokes):
    run = fit("cgan", strokes, epochs=1)
    assert run.sample(30).shape[0] == 30
    with pytest.raises(ValueError, match=r"from 0 to 9.*seven"):
        run.sample(3, labels=10)
    with pytest.raises(ValueError, match=r"train cgan"):
        fit("gan", strokes, epochs=1).sample(3, labels=1)


def test_evaluation_matches_the_loss_and_says_its_protocol(strokes):
    run = fit("vae", strokes, epochs=3)
    figures = train.evaluate(run, strokes, samples=50, nll_images=60)
    by = {(f.name, f.split): f for f in figures}
    elbo = by["negative ELBO", "test"]
    nll = by["importance-sampled NLL", "test"]
    assert elbo.images == 100
    x = Tensor(scaled(strokes.test.images, run.model.value_range))
    values = [run.model.loss(x, None, tg.random.Generator(s)).item() for s in range(20)]
    assert abs(elbo.value - np.mean(values)) < 5 * np.std(values) + 0.05
    assert nll.value < elbo.value + 3 * elbo.error
    assert "Bernoulli" in elbo.protocol
    assert "50 codes" in nll.protocol
    with pytest.raises(ValueError, match=r"no likelihood"):
        train.evaluate(fit("gan", strokes, epochs=1), strokes)
