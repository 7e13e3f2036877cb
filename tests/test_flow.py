"""Flow matching: the way along a velocity, the U-Net, training with hidden labels, guidance."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen import data, models, optim, train
from tinygen.cli import app
from tinygen.models import Form
from tinygen.models.contract import chosen
from tinygen.models.networks.unet import UNet
from tinygen.random import Generator
from tinygen.runs import pictures
from tinygen.sampling import ode
from tinygen.tensor import Tensor

SHAPE, MEAN, SPREAD = (8, 8, 1), 1.5, 0.5


def flow(
    classes: int = 3, shape: tuple[int, int, int] = SHAPE, seed: int = 0, **options: Any
) -> Any:
    """A small flow whose weights are all other than at first, so that each of them counts."""
    made = models.Flow(
        {"train": Form(shape, classes)},
        models.Flow.Options(**{"width": 8, "blocks": 1, **options}),
        Generator(seed),
    )
    varied(made.net)
    return made


def varied(net: Any) -> None:
    rng = Generator(7)
    net.load_state_dict(
        {k: v + 0.1 * rng.normal(v.shape).numpy() for k, v in net.state_dict().items()}
    )


def drawn(model: Any, noise: Tensor, label: Any = None, **settings: Any) -> Any:
    given = {} if label is None else {"label": tg.tensor(np.array(label))}
    with tg.no_grad():
        return model.draw(noise, **given, **chosen(model, settings)).numpy()


def noise(n: int, shape: tuple[int, int, int] = SHAPE, seed: int = 3) -> Tensor:
    return Generator(seed).normal((n, *shape))


# ---- the way -------------------------------------------------------------------------------------


def exact(z: Tensor, t: Tensor) -> Tensor:
    """The velocity for pictures from N(MEAN, SPREAD^2), noise from N(0, 1) and t = 1 a picture."""
    s = 1.0 - t
    slope = (t * SPREAD**2 - s) / (t * t * SPREAD**2 + s * s)
    return MEAN + slope * (z - t * MEAN)


@pytest.mark.parametrize(("method", "steps"), [("euler", 1000), ("heun", 50)])
def test_noise_of_a_gaussian_becomes_its_pictures(method: Any, steps: int) -> None:
    """A point z goes to m + s z: a time that runs backwards, or a wrong sign, ends elsewhere."""
    z = np.linspace(-3, 3, 13, dtype=np.float32)
    with tg.no_grad():
        end = ode.solve(exact, tg.tensor(z), steps, method).numpy()
    np.testing.assert_allclose(end, MEAN + SPREAD * z, atol=5e-3)


def times(steps: int, method: Any, **part: int) -> list[float]:
    seen: list[float] = []

    def velocity(z: Tensor, t: Tensor) -> Tensor:
        seen.append(t.item())
        return z * 0.0

    ode.solve(velocity, tg.tensor([1.0]), steps, method, **part)
    return seen


def test_a_step_looks_where_its_method_says_and_never_at_the_end() -> None:
    assert times(4, "euler") == [0, 0.25, 0.5, 0.75]
    assert times(4, "heun") == [0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]  # the last step is Euler's
    assert times(1, "heun") == [0]
    parts = [times(4, "heun", first=a, last=b) for a, b in ((0, 1), (1, 3), (3, 4), (4, 4))]
    assert [t for part in parts for t in part] == times(4, "heun")


def test_heun_averages_the_slopes_of_both_ends() -> None:
    end = ode.solve(lambda z, t: t + 0.0 * z, tg.tensor([0.0]), 4, "heun").item()
    assert end == pytest.approx(sum((t + 0.125) / 4 for t in (0, 0.25, 0.5)) + 0.75 / 4)


def test_parts_of_the_way_join() -> None:
    z = noise(2)
    for method in ("euler", "heun"):
        whole = ode.solve(exact, z, 5, method)  # type: ignore[arg-type]
        half = ode.solve(exact, z, 5, method, last=2)  # type: ignore[arg-type]
        joined = ode.solve(exact, half, 5, method, first=2)  # type: ignore[arg-type]
        np.testing.assert_array_equal(joined.numpy(), whole.numpy())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "from 0 to 0 of 0, expected 1 step or more"),
        ({"steps": 3, "method": "rk4"}, "method 'rk4', expected euler or heun"),
        ({"steps": 3, "first": 2, "last": 1}, "from 2 to 1 of 3"),
        ({"steps": 3, "last": 4}, "from 0 to 4 of 3"),
    ],
)
def test_a_way_without_steps_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ode.solve(exact, noise(1), **given)


# ---- the network ---------------------------------------------------------------------------------


def test_it_starts_as_zero_and_each_block_as_what_it_gets() -> None:
    net = UNet((12, 12, 1), width=8, classes=3, rng=Generator(0))
    assert not net(noise(2, (12, 12, 1)), tg.tensor(0.3), tg.tensor([0, 1])).numpy().any()
    block, x, e = net.down[0][0], noise(2, (3, 3, 8)), Generator(1).normal((2, 32))
    np.testing.assert_array_equal(block(x, e).numpy(), x.numpy())
    x = noise(2, (3, 3, 16))
    np.testing.assert_array_equal(net.attention(x).numpy(), x.numpy())


def test_its_weights_start_within_one_over_the_root_of_their_inputs() -> None:
    """Larger, as Glorot's are, they learn more slowly: measured over an epoch of MNIST."""
    net = UNet((12, 12, 1), width=16, classes=3, rng=Generator(0))
    kernels = {k: v for k, v in net.state_dict().items() if v.ndim > 1 and "labels" not in k}
    for name, v in kernels.items():
        limit = v[..., 0].size ** -0.5
        reached = np.abs(v).max()
        assert reached <= limit, name
        assert reached == 0 or v.std() == pytest.approx(limit / math.sqrt(3), rel=0.1), name


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (64, 64, 3), (8, 12, 1)])
def test_sizes_and_colours(shape: Any) -> None:
    net = UNet(shape, width=4, rng=Generator(0))
    varied(net)
    out = net(noise(1, shape), tg.tensor(0.5)).numpy()
    assert out.shape == (1, *shape)
    assert np.isfinite(out).all()
    coarsest = max(shape) / 2 ** len(net.down)
    assert 3 <= coarsest <= 8


@pytest.mark.parametrize(("shape", "near"), [((30, 28, 1), 32), ((36, 36, 1), 32), ((6, 6, 1), 8)])
def test_a_size_that_it_cannot_halve_is_refused(shape: Any, near: int) -> None:
    with pytest.raises(ValueError, match=rf"flow: images of {shape[0]} x .*--size {near}\)"):
        flow(shape=shape)


def test_without_a_time_and_with_more_planes() -> None:
    """A restorer: a damaged image and a mask in, an image out."""
    net = UNet((8, 8, 3), width=8, planes=4, timed=False, rng=Generator(0))
    varied(net)
    x = noise(2, (8, 8, 7))
    out = net(x).numpy()
    assert out.shape == (2, 8, 8, 3)
    assert not [k for k in net.named_parameters() if "time" in k or "told" in k]
    changed = x.numpy().copy()
    changed[..., 6] += 1
    assert np.abs(net(tg.tensor(changed)).numpy() - out).max() > 1e-3


def test_a_time_and_a_label_change_what_it_says() -> None:
    """A time from 0 to 1 in waves made for 0 to 1000 would hardly do."""
    model = flow()
    x, label = noise(2), tg.tensor(np.array([0, 1]))
    early, late = (model.net(x, tg.tensor(t), label).numpy() for t in (0.1, 0.9))
    assert np.abs(early - late).max() > 0.05
    near = model.net(x, tg.tensor(0.101), label).numpy()
    assert 0 < np.abs(early - near).max() < np.abs(early - late).max()
    other = model.net(x, tg.tensor(0.1), tg.tensor(np.array([2, 1]))).numpy()
    assert np.abs(other[0] - early[0]).max() > 1e-3
    np.testing.assert_allclose(other[1], early[1], atol=1e-6)
    embedded = [model.net.embed(tg.tensor(t), label).numpy() for t in (0.1, 0.9)]
    assert np.abs(embedded[0] - embedded[1]).max() > 0.05


def test_a_time_for_each_image_and_one_for_all() -> None:
    model, x = flow(), noise(3)
    label = tg.tensor(np.array([0, 1, 2]))
    all_alike = model.net(x, tg.tensor(0.4), label).numpy()
    each = model.net(x, tg.tensor([0.4, 0.4, 0.4]), label).numpy()
    np.testing.assert_allclose(each, all_alike, atol=1e-6)


# ---- training ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strokes() -> Any:
    return data.load("strokes", n=60, size=12)


def fit(strokes: Any, model: Any = None, epochs: int = 1, **more: Any) -> Any:
    model = model or flow(len(strokes.classes), strokes.shape)
    given = {"batch_size": 20, "progress": False, "compiled": False, **more}
    return train.fit(model, strokes, epochs, **given)


def test_the_error_is_that_of_the_line_from_noise_to_picture() -> None:
    """z = (1 - t) e + t x and v = x - e, e and t from the generator: t = 1 is the picture."""
    model = flow(time_mean=0.3, time_spread=0.7)
    x, label = 0.5 * noise(4), tg.tensor(np.array([0, 1, 2, 3]))
    found = model.errors(x, label, Generator(5)).numpy()
    rng = Generator(5)
    e, u = rng.normal(x.shape).numpy(), rng.normal((4,)).numpy()
    t = 1 / (1 + np.exp(-(0.3 + 0.7 * u)))
    for k in range(4):
        z = (1 - t[k]) * e[k] + t[k] * x.numpy()[k]
        v = model.net(tg.tensor(z[None]), tg.tensor(t[k : k + 1]), label[k : k + 1]).numpy()
        expected = ((v[0] - (x.numpy()[k] - e[k])) ** 2).mean()
        assert found[k] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("hide", "moves"), [(0.0, False), (1.0, True)])
def test_the_row_of_no_label_is_learnt_by_hidden_labels(
    strokes: Any, hide: float, moves: bool
) -> None:
    model = flow(len(strokes.classes), strokes.shape, hide=hide)
    before = model.net.labels.weight.numpy().copy()
    fit(strokes, model, ema=0.0)
    moved = np.abs(model.net.labels.weight.numpy() - before).max(axis=1) > 0
    assert moved[-1] == moves
    assert moved[:-1].any() != moves


def test_a_tenth_of_the_labels_is_hidden_by_default() -> None:
    assert models.Flow.Options().hide == 0.1


def test_it_draws_with_the_average_whose_decay_warms_up(
    strokes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decays: list[float] = []
    keep = optim.EMA.set_decay

    def told(self: Any, decay: float) -> None:
        decays.append(decay)
        keep(self, decay)

    monkeypatch.setattr(optim.EMA, "set_decay", told)
    given: dict[str, Any] = {"epochs": 2, "schedule": "constant"}
    averaged, plain = fit(strokes, **given).model, fit(strokes, **given, ema=0.0).model
    assert decays[1:] == pytest.approx([(1 + n) / (10 + n) for n in range(6)])
    weights = averaged.state_dict()
    assert any(np.abs(v - weights[k]).max() > 1e-5 for k, v in plain.state_dict().items())
    assert averaged.ema == 0.999


def test_its_rate_rises_and_falls_unless_told_otherwise(
    strokes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.loop, "_fit", lambda model, sets, settings, *more: settings)
    own = fit(strokes, epochs=10)
    told = fit(strokes, epochs=10, schedule="constant", warmup=0, clip=0.0)
    assert (own.schedule, own.warmup, own.clip) == ("linear", 200, 1.0)
    assert (told.schedule, told.warmup, told.clip) == ("constant", 0, 0.0)


# ---- drawing -------------------------------------------------------------------------------------


def test_guidance_0_is_the_net_without_a_label_and_1_that_with_it() -> None:
    """Bit for bit; others are on the line through both, beyond them above 1."""
    model, z, label = flow(), noise(3), tg.tensor(np.array([0, 1, 2]))
    t = tg.tensor(0.3)
    nothing, told = model.net(z, t).numpy(), model.net(z, t, label).numpy()
    assert np.abs(told - nothing).max() > 1e-3
    null = model.net(z, t, tg.tensor(np.full(3, 3))).numpy()
    np.testing.assert_array_equal(null, nothing)
    np.testing.assert_array_equal(model.velocity(z, t, label, 0.0).numpy(), nothing)
    np.testing.assert_array_equal(model.velocity(z, t, label, 1.0).numpy(), told)
    np.testing.assert_array_equal(model.velocity(z, t, label).numpy(), told)
    for w in (2.5, tg.tensor(2.5)):
        found = model.velocity(z, t, label, w).numpy()
        np.testing.assert_allclose(found, nothing + 2.5 * (told - nothing), atol=1e-5)


def test_a_drawing_is_the_loop_written_out() -> None:
    model, z, label = flow(), noise(2), tg.tensor(np.array([0, 2]))
    for interval in ((0.0, 1.0), (0.25, 0.75)):
        x = z
        for k in range(4):
            t = tg.tensor(k / 4)
            w = 2.0 if interval[0] <= k / 4 < interval[1] else 1.0
            x = x + 0.25 * model.velocity(x, t, label, w)
        found = drawn(model, z, [0, 2], steps=4, method="euler", guidance=2.0, interval=interval)
        np.testing.assert_allclose(found, x.numpy().clip(-1, 1), atol=1e-6)


def test_values_are_clamped_at_the_end_only() -> None:
    """Clamped at each step, a way that leaves the range and comes back would end elsewhere."""
    model, z = flow(), 3.0 * noise(2)
    found = drawn(model, z, [0, 1], steps=3)
    seen: list[Any] = []

    class Turns(tg.events.Observer):
        def turned(self, i: int, state: Any) -> None:
            seen.append(np.abs(state[0].data).max())

    with tg.events.watching(Turns()):
        drawn(model, z, [0, 1], steps=3)
    assert min(seen) > 1
    assert np.abs(found).max() <= 1


def test_a_picture_does_not_depend_on_those_beside_it() -> None:
    """Nor, while it learns, does what the net says of it: no norm is over the batch."""
    model, z = flow(), noise(5)
    whole = drawn(model, z, [0, 1, 2, 0, 1])
    for k in range(5):
        alone = drawn(model, z[k : k + 1], [[0, 1, 2, 0, 1][k]])
        np.testing.assert_allclose(alone[0], whole[k], atol=1e-5)
    model.train()
    x, t, label = noise(2), tg.tensor([0.2, 0.6]), tg.tensor(np.array([0, 1]))
    both = model.net(x, t, label).numpy()
    np.testing.assert_allclose(model.net(x[:1], t[:1], label[:1]).numpy()[0], both[0], atol=1e-5)


def test_data_without_labels_or_of_one_class() -> None:
    images = (255 * Generator(0).uniform((30, 8, 8, 3)).numpy()).astype(np.uint8)
    plain = data.load(images)
    assert flow(1, plain.shape, width=4).given == ()
    model = flow(0, plain.shape, width=4)
    assert model.given == ()
    run = train.fit(model, plain, 1, batch_size=9, progress=False, compiled=False)
    sample = run.sample(2, steps=2)
    assert sample.shape == (2, 8, 8, 3)
    assert [*chosen(model, {})] == ["steps", "method"]
    for idle in ({"guidance": 3.0}, {"interval": (0.2, 0.8)}):
        why = f"Flow has no setting {next(iter(idle))} of a drawing: its data have no labels of two"
        with pytest.raises(ValueError, match=why):
            run.sample(2, steps=2, **idle)
    with pytest.raises(ValueError, match="trained without labels"):
        run.sample(2, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "steps is 0, expected an integer, 1 or more"),
        ({"steps": 2.5}, "steps is 2.5, expected an integer"),
        ({"guidance": float("nan")}, "guidance is nan, expected 0 or more"),
        ({"guidance": -1.0}, "guidance is -1.0, expected 0 or more"),
        ({"method": "rk4"}, "method is 'rk4', expected one of euler, heun"),
        ({"interval": (0.5, 1.5)}, "interval is .*, expected two numbers, each from 0 to 1"),
        ({"interval": (0.9, 0.1)}, "interval is .*, expected its first time before its second"),
        ({"interval": (0.5, 0.5)}, "interval is .*, in which none of the steps begins"),
        ({"interval": (0.3, 0.37)}, "the 8 begin at 0, 1/8, ...; give a longer one, or more"),
        ({"interval": (0.2, 0.8), "steps": 1}, "guided; the only one begins at 0; give a"),
        ({"speed": 1}, "Flow has no setting speed of a drawing; it has steps"),
    ],
)
def test_settings_out_of_range_are_refused(given: Any, message: str) -> None:
    model = flow()
    with pytest.raises(ValueError, match=message):
        pictures.draw(model, noise(2).numpy(), np.array([0, 1]), **given)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "flow draws what a label says: labels none, expected 2 integers"),
        ([0.0, 1.0], r"labels \(2,\) float64, expected 2 integers"),
        ([0], r"labels \(1,\) int64, expected 2 integers"),
        ([0, 3], "labels from 0 to 3, expected from 0 to 2"),  # 3 is the row of no label
        ([-1, 0], "labels from -1 to 0, expected from 0 to 2"),
    ],
)
def test_labels_that_are_no_class_are_refused(label: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(flow(), noise(2), label)


@pytest.mark.parametrize("t", [-0.1, 1.5, float("nan")])
def test_a_time_outside_the_way_is_refused(t: float) -> None:
    with pytest.raises(ValueError, match=f"flow: time {t}, expected from 0"):
        flow().velocity(noise(1), t, None)


# ---- films and sheets ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(strokes: Any, tmp_path_factory: Any) -> Any:
    folder = tmp_path_factory.mktemp("runs") / "flow"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "sheet_size", lambda model: 2)
        patch.setattr(pictures, "save_losses", lambda folder: True)
        return fit(strokes, flow(len(strokes.classes), strokes.shape, width=4), out=folder)


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_a_film_goes_from_noise_to_the_images(run: Any, method: str) -> None:
    given = {"steps": 5, "method": method, "interval": (0.2, 0.7)}
    frames = run.film(3, seed=4, **given)
    assert frames.shape == (6, 3, 12, 12, 1)
    np.testing.assert_array_equal(frames[0], run.codes(3, 4).clip(-1, 1))
    np.testing.assert_array_equal(frames[-1], run.sample(3, seed=4, **given))
    steps = [np.abs(b - a).max() for a, b in itertools.pairwise(frames)]
    assert min(steps) > 1e-4
    with pytest.raises(ValueError, match="n is 257, expected from 1 to 256"):
        run.film(257)


def test_a_sheet_of_a_setting_has_a_row_for_each_class(run: Any) -> None:
    sheet = run.vary("guidance", [0.0, 1.0, 4.0], rows=12, settings={"steps": 2})
    assert sheet.shape == (36, 12, 12, 1)
    for k, w in enumerate((0.0, 1.0, 4.0)):
        labels = [*range(10), 0, 1]
        column = run.sample(12, labels, guidance=w, steps=2)
        np.testing.assert_allclose(sheet[k::3], column, atol=1e-5)
    with pytest.raises(ValueError, match="no values of guidance; expected one or more"):
        run.vary("guidance", [])


def test_the_command_films_and_varies(run: Any, tinygen: Any) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = run.folder.path.resolve()
    few = ["--n", 3, "--set", "steps=4", "--set", "method=euler"]
    code, out, _ = tinygen("sample", folder, *few, "--film", "--out", "film.png")
    assert (code, "3 images in 5 frames in film.png" in out) == (0, True)
    with image.open("film.png") as film:
        assert film.is_animated
        assert "flow" in film.text["Model"]
        drawn, seconds = [], []
        for k in range(film.n_frames):
            film.seek(k)
            drawn.append(np.array(film.convert("L")))
            seconds.append(film.info.get("duration"))
    assert len(drawn) == 6  # the last, for those who show one, and five that move
    frames = run.film(3, steps=4, method="euler")
    for found, frame in zip(drawn[1:], frames, strict=True):
        np.testing.assert_array_equal(found, run.picture(frame, 10).array[..., 0])
    np.testing.assert_array_equal(drawn[0], drawn[-1])
    assert seconds[1:] == [100.0] * 4 + [1000.0]
    code, out, _ = tinygen(
        "sample", folder, "--n", 20, "--vary", "guidance=0,2", "--set", "steps=1"
    )
    assert (code, "20 images in samples.png" in out) == (0, True)
    _, out, _ = tinygen("sample", folder, "--n", 12, "--vary", "guidance=2", "--set", "steps=1")
    assert "10 images in samples.png" in out  # a row for each class
    for words, message in (
        (["--vary", "guidance"], "--vary 'guidance', expected NAME=VALUES"),
        (["--vary", "guidance=0,,1"], "--vary 'guidance=0,,1', expected NAME=VALUES, such as"),
        (["--vary", "interval=0,1"], "error: interval '0', expected two numbers: 0,1"),
        (["--vary", "steps=1,2", "--set", "steps=3"], "and --set steps=...: leave one of them"),
        (["--steps", "4"], "sample has no option --steps; it takes --around, "),
        (["--steps", "4"], "; write --set steps=VALUE"),
        (["--vary", "speed=1,2"], "Flow has no setting speed"),
        (["--vary", "guidance=0,x"], "guidance 'x', expected 0 or more"),
        (["--vary", "steps=1,0"], "steps is 0, expected an integer, 1 or more"),
        (["--vary", "steps=1,2", "--film"], "choose one of"),
        (["--spread", "1"], "--spread says how far images vary with --around FILE; give both"),
    ):
        code, _, err = tinygen("sample", folder, *words, "--out", "not.png")
        assert (code, message in err) == (2, True), err
        assert not Path("not.png").exists()


def test_every_command_says_that_a_run_is_not_finished(
    run: Any, tinygen: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enough(*_: Any, **__: Any) -> None:
        raise ValueError("enough")

    for each in ("export", "explore", "verify"):
        monkeypatch.setattr(sys.modules[f"tinygen.cli.{each}"], "artefact_of", enough)
    folder = tmp_path / "cut"
    shutil.copytree(run.folder.path, folder)
    config = folder.joinpath("config.json")
    text = config.read_text("utf-8")
    config.write_text(text.replace('"epochs": 1,', '"epochs": 10,'), "utf-8")
    told = "cut is not finished, it has done 3 of 30 steps; go on with `tinygen train flow --out"
    commands = {
        "sample": ["--n", 1, "--set", "steps=1"], "evaluate": ["--n", 0, "--json"], "info": [],
        "export": ["--to", "python"], "explore": ["--no-open"], "verify": [],
        "distill": ["--out", "cut"],
    }  # fmt: skip
    assert {*commands} == {each.name for each in app.app.registered_commands} - {"warmup", "learn"}
    for command, words in commands.items():
        _, out, err = tinygen(command, "cut", *words)
        assert told in (out if command == "info" else err)
        if command == "info":
            assert "warmup 3 (at most a tenth of all steps)" in " ".join(out.split())
        if command == "evaluate":
            assert json.loads(out)["figures"]
    assert "is not finished" not in "".join(tinygen("info", run.folder.path)[1:])


def test_what_needs_labels_is_refused_without_them(tinygen: Any) -> None:
    images = (255 * Generator(0).uniform((12, 8, 8)).numpy()).astype(np.uint8)
    np.save("plain.npy", images)
    few = ["--data", "plain.npy", "--epochs", 1, "--width", 4, "--out", "run", "--no-compile"]
    code, _, err = tinygen("train", "flow", *few, "--hide", 0.3)
    assert (code, "--hide 0.3 changes nothing in flow: its data have no labels of" in err) == (2, 1)
    assert not Path("run").exists()
    assert tinygen("train", "flow", *few)[0] == 0
    told = tinygen("info", "run")[1]
    assert "method heun (others: sample --set NAME=VALUE)" in told
    assert "warmup 0 (at most a tenth of all steps)" in " ".join(told.split())
    for words in (
        ["sample", "run", "--set", "guidance=3"],
        ["sample", "run", "--vary", "guidance=1,2"],
        ["export", "run", "--to", "python", "--set", "guidance=2", "--out", "run.py"],
    ):
        code, _, err = tinygen(*words)
        assert (code, "Flow has no setting guidance of a drawing: its data" in err) == (2, 1), err
    assert not Path("run.py").exists()
    assert not Path("samples.png").exists()


def test_a_model_that_draws_in_one_go_has_no_film(strokes: Any) -> None:
    vae = models.VAE(strokes.shape, hidden=(4,), latent=2)
    with pytest.raises(ValueError, match="vae draws an image in one go"):
        pictures.film(vae, noise(2, (2, 1, 1)).numpy())
