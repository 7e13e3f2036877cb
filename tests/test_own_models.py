"""Models of one's own, which nothing in tinygen/ knows: two stages, two data sets, a file."""

import dataclasses
import itertools
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen import data, models, nn, ops, optim, train
from tinygen.images import to_uint8
from tinygen.models import Column, Draws, Encodes, Figure, Form, Likely, Model, Noise, Stage
from tinygen.options import Options, at_least, option
from tinygen.runs import pictures
from tinygen.train import Settings, loop
from tinygen.train.loop import Session

FILE = Path(__file__).parent.parent / "examples" / "code_mixture.py"
SMALL = {"hidden": 8, "codes": 3, "components": 4, "first_epochs": 2}


@pytest.fixture(scope="module")
def strokes():
    return data.load("strokes", n=60, size=8)


def mixture(strokes, seed=0, **options):
    kind = models.find(f"{FILE}:CodeMixture")
    made = kind.Options(**{**SMALL, **options})
    return kind({"train": Form(strokes.shape)}, made, tg.random.Generator(seed))


def settings(**more):
    given = {"epochs": 2, "batch_size": 20, "ema": 0.9, **more}
    return Settings(**given)


def weights(run):
    return run.model.state_dict()


def equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def train_until(model, sets, stop, saved=None, **more):
    """Train up to the update `stop` in all, from a saved state if there is one; the session."""
    session = Session(model, sets, settings(**more))
    if saved is not None:
        session.check(saved)
        session.state.restore(saved)
    session.begin()
    while session.state.position.step < stop and session.more():
        with session.epoch_batches() as batches:
            for batch in batches:
                if session.state.position.step == stop:
                    return session
                session.step(batch)
        session.read()
        if session.at_epoch_end:
            session.end_epoch()
    return session


# ---- two stages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_two_stages_stopped_after_each_update_give_the_same_bits(strokes, compiled):
    """Stage 1 has 2 epochs of 1 update (batch 64 of 60 images is 60), stage 2 has 2 of 3."""
    whole = train_until(mixture(strokes), strokes, 99, compiled=compiled)
    assert (whole.state.position.stage, whole.state.position.step) == (1, 8)
    want = whole.state.capture()
    for stop in range(1, 8) if not compiled else (1, 2, 5):
        part = train_until(mixture(strokes), strokes, stop, compiled=compiled)
        saved = part.state.capture()
        assert saved.metadata["position"]["step"] == stop
        again = train_until(mixture(strokes, seed=7), strokes, 99, saved, compiled=compiled)
        found = again.state.capture()
        assert equal(found, want), stop
        assert found.metadata["generators"] == want.metadata["generators"]


def test_a_stage_trains_its_own_parts_and_builds_on_the_average(strokes):
    first = train_until(mixture(strokes), strokes, 2, compiled=False)
    average = dict(first.state.ema.state_dict())
    second = train_until(mixture(strokes), strokes, 5, compiled=False)
    model = second.model
    for name, value in model.state_dict().items():
        if not name.startswith("mixture"):
            assert np.array_equal(value, average[name]), name  # frozen as the average was
    assert not any(p.requires_grad for p in model.encoder.parameters())
    assert all(p.requires_grad for p in model.mixture.parameters())
    assert not model.encoder.training
    assert model.mixture.training
    assert set(second.state.optimizers) == {"adam"}
    second.end()
    assert all(p.requires_grad for p in model.parameters())


def test_two_epochs_and_two_more_are_four(strokes, tmp_path):
    def fit(epochs, out, resume=False, seed=0):
        return train.fit(
            mixture(strokes, seed), strokes, epochs, out=out, batch_size=20, resume=resume,
            progress=False, compiled=False,
        )  # fmt: skip

    whole = fit(4, tmp_path / "whole")
    fit(2, tmp_path / "parts")
    folder = train.RunFolder(tmp_path / "parts")
    config = folder.read_config()
    assert train.open_run(folder.path).unfinished == ""
    folder.write_config({**config, "training": {**config["training"], "epochs": 4}})
    said = train.open_run(folder.path).unfinished
    assert "is not finished, it has done 8 steps, and is in stage mixture; go on with `" in said
    assert "train " in said
    assert f"{FILE}:CodeMixture --out " in said
    parts = fit(4, tmp_path / "parts", resume=True)
    assert equal(weights(whole), weights(parts))
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert [e["stage"] for e in whole.epochs] == ["codes"] * 2 + ["mixture"] * 4


def test_epochs_are_those_of_the_last_stage(strokes, tinygen, tmp_path, monkeypatch):
    """Its help, its messages and `info` say so; the stage before it is closed."""
    own, small = f"{FILE}:CodeMixture", ("--hidden", 8, "--codes", 3, "--components", 4)
    words = (*small, "--first-epochs", 2, "--n", 60, "--size", 8, "--no-compile", "--out", "run")
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = tinygen("train", own, "--help")
    assert "Passes over the data in all; of several stages, the last one's (1 or more; " in out
    assert "over all epochs (constant, cosine, linear; default the model's own)" in out
    code, out, err = tinygen("train", own, *words, "--epochs", 1)
    assert code == 0, err
    assert "trained 2 epochs of codes and 1 epoch of mixture in" in out
    again = ("train", own, "--out", "run", "--resume")
    _, out, _ = tinygen(*again)
    assert "the run has done its 1 epoch of mixture; more with:" in out
    _, out, _ = tinygen(*again, "--epochs", 3)
    assert re.search(r"trained 2 epochs of mixture in \d:\d\d, 3 in all", out)
    assert [e["stage"] for e in train.open_run("run").epochs] == ["codes"] * 2 + ["mixture"] * 3
    for more, why in (
        (("--epochs", 2), "has done 3 epochs of mixture, more than the 2 asked for"),
        (("--ema", 0.5), "(only epochs of the last stage may grow)"),
        (("--first-epochs", 3), "other options: first_epochs"),
    ):
        code, _, err = tinygen(*again, *more)
        assert (code, why in err) == (2, True), err
    _, out, _ = tinygen("--model", own, "info", "run")
    assert "results   mixture, epoch 3 of 3, step 5: " in out
    assert "seed 0, lr 0.002, schedule constant" in out


def test_info_counts_the_epochs_of_the_stage_that_it_is_in(strokes, tinygen, tmp_path):
    run = train.fit(mixture(strokes), strokes, 5, out=tmp_path / "run", progress=False)
    log = run.folder.log
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:1]))
    _, out, _ = tinygen("--model", f"{FILE}:CodeMixture", "info", "run")
    assert "results   codes, epoch 1 of 2, step 1: " in out


def test_a_run_of_an_own_model_opens_samples_and_is_measured(strokes, tmp_path):
    run = train.fit(mixture(strokes), strokes, 2, out=tmp_path / "run", progress=False)
    assert sorted(p.stem for p in (tmp_path / "run").glob("*.png") if p.stem != "losses") == [
        "reconstructions", "samples",
    ]  # fmt: skip
    again = train.open_run(tmp_path / "run")
    assert not again.interrupted
    assert np.array_equal(again.sample(5, seed=2), run.sample(5, seed=2))
    assert run.sample(3, seed=2).shape == (3, *strokes.shape)
    figures = train.evaluate(again, strokes)
    assert {(f.name, f.split) for f in figures} == {
        ("NLL of the code", "test"), ("NLL of the code", "train"),
    }  # fmt: skip
    with pytest.raises(ValueError, match="means nothing"):
        again.interpolate()
    with pytest.raises(ValueError, match="no encoder"):
        again.around(np.zeros(strokes.shape, np.uint8))


def test_parts_of_another_run_are_kept_and_their_stage_is_left_out(strokes, tmp_path):
    how = {"batch_size": 20, "progress": False, "compiled": False}
    first = train.fit(mixture(strokes), strokes, 1, out=tmp_path / "first", **how)
    parts = dict.fromkeys(("encoder", "decoder"), tmp_path / "first")
    whole = train.fit(mixture(strokes, 5), strokes, 3, parts=parts, out=tmp_path / "run", **how)
    assert [e["stage"] for e in whole.epochs] == ["mixture"] * 3
    for name, value in weights(whole).items():
        assert np.array_equal(value, weights(first)[name]) != name.startswith("mixture"), name
    train.fit(mixture(strokes, 5), strokes, 1, parts=parts, out=tmp_path / "cut", **how)
    again = train.fit(mixture(strokes, 8), strokes, 3, out=tmp_path / "cut", resume=True, **how)
    assert equal(weights(again), weights(whole))
    configs = [train.RunFolder(tmp_path / name).read_config() for name in ("cut", "run")]
    assert configs[0]["parts"] == configs[1]["parts"]
    assert set(configs[0]["parts"]) == {"encoder", "decoder"}
    other = dict.fromkeys(parts, tmp_path / "run")
    with pytest.raises(ValueError, match=r"was begun with encoder .* resume it without"):
        train.fit(mixture(strokes), strokes, 3, parts=other, out=tmp_path / "cut", resume=True)


def test_parts_that_do_not_fit_are_refused(strokes, tmp_path):
    train.fit(mixture(strokes), strokes, 1, out=tmp_path / "run", progress=False)
    gan = models.GAN(strokes.shape, hidden=(8,), latent=3, rng=tg.random.Generator(0))
    for model, part, why in (
        (mixture(strokes), "tokenizer", "has no part 'tokenizer' with weights; its parts: encoder"),
        (mixture(strokes, codes=4), "encoder", r"mismatched: encoder\.3\.weight"),
        (gan, "generator", r"a run of code-mixture, which has no generator\.0\.weight"),
    ):
        with pytest.raises(ValueError, match=why):
            train.fit(model, strokes, 1, parts={part: tmp_path / "run"}, progress=False)
    every = dict.fromkeys(("encoder", "decoder", "mixture"), tmp_path / "run")
    with pytest.raises(ValueError, match="nothing is left to train"):
        train.fit(mixture(strokes), strokes, 1, parts=every, progress=False)
    with pytest.raises(ValueError, match="holds no trained run"):
        train.fit(mixture(strokes), strokes, 1, parts={"encoder": tmp_path}, progress=False)


def test_a_stopped_run_names_its_stage(strokes, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 0.0)
    out = tmp_path / "run"
    step = Session.step

    def fails(self, batch):
        step(self, batch)
        if self.state.position.step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "step", fails)
        with pytest.raises(KeyboardInterrupt):
            train.fit(mixture(strokes), strokes, 2, out=out, batch_size=20, progress="lines")
    assert "stage 2 of 2: mixture" in capsys.readouterr().out
    cut = train.fit(mixture(strokes, 3), strokes, 2, out=out, batch_size=20, resume=True,
                    progress=False)  # fmt: skip
    whole = train.fit(mixture(strokes), strokes, 2, batch_size=20, progress=False)
    assert equal(weights(cut), weights(whole))


# ---- two data sets -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Nothing:
    """No options."""


class Translator(Model, Draws):
    """Learns what images of one set look like in another, as pairs by chance: of no use."""

    name, Options = "translator", Nothing
    given = (Column("photo", source="train", field="image"),)

    def __init__(self, forms, options=None, rng=None):
        super().__init__(forms, options, rng)
        n = self.shape[0] * self.shape[1]
        self.net = nn.Sequential(
            nn.Flatten(), nn.Dense(n, n, rng=self.init_rng), nn.Sigmoid(), nn.Reshape(*self.shape)
        )

    def stages(self):
        drawing = Column("drawing", source="drawings", field="image")
        adam = lambda lr: {"adam": optim.Adam(self.net.parameters(), lr=lr or 1e-3)}
        figures = lambda batch, rng: {"error": Figure(self.error(batch), "squared")}
        return (Stage("train", (*self.given, drawing), ("net",), self.step, adam, figures, 2, 16),)

    def error(self, batch):
        return ops.square(self.net(batch["photo"]) - batch["drawing"]).sum(axis=(1, 2, 3))

    def step(self, batch, optimizers):
        loss = self.error(batch).mean()
        optimizers["adam"].zero_grad()
        loss.backward()
        optimizers["adam"].step()
        return {"loss": loss.detach()}

    def draw(self, noise, *, photo):
        return self.net(photo)


@pytest.fixture
def pair(strokes):
    rng = np.random.default_rng(0)
    drawings = rng.integers(0, 256, (50, *strokes.shape), np.uint8)
    test = data.Dataset("drawings", drawings[:10])
    return {"train": strokes, "drawings": data.Dataset("drawings", drawings, test=test)}


def translator(pair, seed=0):
    forms = {name: Form(x.shape) for name, x in pair.items()}
    return Translator(forms, rng=tg.random.Generator(seed))


def test_two_data_sets_in_one_run(pair, tmp_path):
    models.register(Translator)
    whole = train.fit(translator(pair), pair, 3, out=tmp_path / "whole", progress=False)
    assert whole.epochs[-1]["step"] == 9  # an epoch is the shorter set: 50 images in batches of 16
    train.fit(translator(pair), pair, 2, out=tmp_path / "run", progress=False)
    run = train.fit(translator(pair, 5), pair, 3, out=tmp_path / "run", resume=True, progress=False)
    assert equal(weights(run), weights(whole))
    assert (tmp_path / "run" / "samples.png").exists()  # of held-out photos
    again = train.open_run(tmp_path / "run")
    photo = np.zeros((2, *again.model.shape), np.float32)
    assert again.sample(photo=photo).shape == photo.shape
    with pytest.raises(ValueError, match=r"draws from what it is given alone.*sample\(image="):
        again.codes(3)
    other = {**pair, "drawings": data.Dataset("others", pair["drawings"].images[::-1])}
    with pytest.raises(ValueError, match=r"was trained on 'drawings'.*the data given now differ"):
        train.fit(translator(pair), other, 4, out=tmp_path / "run", resume=True, progress=False)


def test_each_data_set_has_an_order_of_its_own(pair):
    session = Session(translator(pair), pair, settings(ema=0.0, batch_size=16))
    with session.epoch_batches() as batches:
        seen = [b["drawing"] for b in batches]
    assert len(seen) == 3
    order = pair["drawings"].order(0, 0, "shuffle train drawings")[:16]
    assert np.array_equal(seen[0], pair["drawings"].images[order] / np.float32(255))
    assert not np.array_equal(order, pair["train"].order(0, 0)[:16])


def test_data_that_lack_what_a_model_reads_are_refused(pair):
    with pytest.raises(ValueError, match="reads the data set 'drawings', and was given train"):
        train.fit(translator(pair), pair["train"], 1, progress=False)
    small = data.Dataset("small", np.zeros((20, 4, 4, 1), np.uint8))
    with pytest.raises(ValueError, match=r"images of shape \(8, 8, 1\), the data 'small'"):
        train.fit(translator(pair), {**pair, "drawings": small}, 1, progress=False)
    with pytest.raises(TypeError, match='several by name, of which one is "train"'):
        train.fit(translator(pair), {"drawings": small}, 1, progress=False)


def test_a_stage_without_a_step_minimises_its_figure(strokes):
    assert len(FILE.read_text().splitlines()) < 80
    model = mixture(strokes)
    session = Session(model, strokes, settings(ema=0.0))
    assert {n: o.lr for n, o in session.state.optimizers.items()} == {"adam": model.options.lr}
    with session.epoch_batches() as batches:
        for batch in batches:
            x = {"image": model.place(batch["image"])}
            with tg.no_grad():
                before = model.error(x, None)["error"].values.mean()
            session.step(batch)
            (losses,) = session.read()
            np.testing.assert_allclose(losses["error"], float(before), rtol=1e-6)
            assert model.error(x, None)["error"].values.mean() < before
    with pytest.raises(ValueError, match="stage 'x' has neither a step nor figures"):
        Stage("x", (), ())


# ---- settings of a drawing -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Brightness(Options):
    steps: int = option(2, at_least(1), "Halvings of the brightness.")
    inverted: bool = option(False, help="White on black, or black on white.")


class Dimmed(models.VAE):
    name, Settings = "dimmed", Brightness

    def draw(self, noise, *, label=None, steps, inverted):
        x = self.generate(noise) * 0.5**steps
        return 1.0 - x if inverted else x


def test_a_drawing_has_settings(strokes, tinygen, tmp_path):
    models.register(Dimmed)
    model = Dimmed(strokes.shape, hidden=(6,), latent=3, rng=tg.random.Generator(0))
    run = train.fit(model, strokes, 1, out=tmp_path / "run", progress=False)
    usual = run.sample(3)
    assert np.array_equal(run.sample(3, steps=2), usual)
    assert np.array_equal(run.sample(3, steps=1), 2 * usual)
    assert np.array_equal(run.sample(3, inverted=True), 1 - usual)
    walks = [run.interpolate(1, 2, settings={"steps": k}) for k in (1, 3)]
    assert np.array_equal(walks[0], 4 * walks[1])
    code, _, err = tinygen("sample", "run", "--set", "steps=1", "--set", "inverted=true")
    assert code == 0, err
    drawn = run.picture(run.sample(64, steps=1, inverted=True))
    drawn.save(tmp_path / "want.png", pictures.note(model, 0))
    assert (tmp_path / "samples.png").read_bytes() == (tmp_path / "want.png").read_bytes()
    _, out, _ = tinygen("info", "run")
    assert "drawing   steps 2, inverted False (others: sample --set NAME=VALUE)" in out
    for words, why in (
        (
            "step=1",
            "Dimmed has no setting step of a drawing; it has steps (2 by default), inverted",
        ),
        ("steps=many", "steps 'many', expected an integer, 1 or more"),
        ("steps=0", "steps is 0, expected an integer, 1 or more"),
        ("inverted=so", "inverted 'so', expected true or false"),
        ("steps", "--set 'steps', expected NAME=VALUE"),
    ):
        code, _, err = tinygen("sample", "run", "--set", words)
        assert (code, why in err) == (2, True), err
    files = [f"steps-{k}.py" for k in (1, 2)]
    for k, file in enumerate(files, 1):
        code, out, err = tinygen(
            "export", "run", "--to", "python", "--set", f"steps={k}", "--out", file
        )
        assert code == 0, err
        assert f"drawn with steps {k}, inverted False, which the file keeps" in out
        assert f"steps {k}, inverted False" in (tmp_path / file).read_text()
    bright, usual = (runpy.run_path(str(tmp_path / file))["generate"](1, 0)[0] for file in files)
    assert np.array_equal(to_uint8(run.sample(1, steps=1))[0].ravel(), list(bright))
    assert bright != usual
    with pytest.raises(ValueError, match="no setting step "):
        run.sample(3, step=4)
    with pytest.raises(ValueError, match="steps is 0, expected"):
        run.sample(3, steps=0)


# ---- columns, noise and names --------------------------------------------------------------------


def test_columns_are_read_by_kind(strokes):
    from tinygen.models import feed

    at = np.array([3, 0])
    levels = feed.values(Column("x", "levels", field="image", count=4), strokes, at)
    assert levels.dtype == np.int64
    assert np.array_equal(levels, strokes.images[at].astype(int) // 64)
    pixels = feed.values(Column("x", field="image", range=(-1.0, 1.0)), strokes, at)
    assert pixels.dtype == np.float32
    assert (pixels.min(), pixels.max()) == (-1.0, 1.0)
    assert np.array_equal(feed.values(Column("label", "label"), strokes, at), strokes.labels[at])
    with pytest.raises(data.DataError, match="has no column 'weather'; it has image, label"):
        feed.values(Column("weather", "words"), strokes, at)
    with pytest.raises(ValueError, match="kind 'image', expected one of pixels"):
        Column("x", "image")


@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_noise_of_a_picture_depends_on_no_other(law):
    noise = Noise((3, 2), law)
    many, few = noise.of_seed(20, 4), noise.of_seed(2, 4)
    assert many.shape == (20, 3, 2)
    assert np.array_equal(many[:2], few)
    if law == "uniform":
        assert 0 <= many.min() < 0.1 < 0.9 < many.max() < 1
        wide = Noise((3, 2), law, between=(-1.0, 1.0)).of_seed(20, 4)
        assert np.array_equal(wide, 2 * many - 1)


def test_a_model_of_a_file_is_found_and_registered(tmp_path):
    kind = models.find(f"{FILE}:CodeMixture")
    assert models.find(f"{FILE}:CodeMixture") is kind is models.find("code-mixture")
    for name, why in (
        ("nothing.py:X", "is no file"),
        (f"{FILE}:Options", "no model called 'Options'"),
        ("nothing", "no model is called 'nothing'.*my_file.py:MyModel"),
    ):
        with pytest.raises(ValueError, match=why):
            models.find(name)
    broken = tmp_path / "broken.py"
    broken.write_text("x = 1 / 0\n")
    for _ in range(2):  # it is run again, not half there
        with pytest.raises(ZeroDivisionError):
            models.find(f"{broken}:X")
    assert not any(name.startswith("tinygen_model_broken") for name in sys.modules)


def test_names_are_taken_once():
    class Other(Model):
        name = "vae"

    with pytest.raises(ValueError, match=r"called 'vae', which tinygen.models.zoo.VAE is already"):
        models.register(Other)
    with pytest.raises(TypeError, match=r"expected a subclass of models\.Model"):
        models.register(nn.Dense)


def test_a_model_of_a_data_set_says_what_it_is_made_of(strokes):
    kind = models.find(f"{FILE}:CodeMixture")
    for wrong in (strokes, strokes.shape, {}):
        with pytest.raises(TypeError, match=r"expected \{.train.: models.Form\(data.shape"):
            kind(wrong)


def test_a_run_of_an_unknown_model_says_what_to_do(strokes, tmp_path):
    train.fit(mixture(strokes), strokes, 1, out=tmp_path / "run", progress=False)
    del models.MODELS["code-mixture"]
    with pytest.raises(ValueError, match=r"'code-mixture'.* models.find\(.its_file.py:Class"):
        train.open_run(tmp_path / "run")


def test_the_roles_of_tinygens_models():
    roles = {
        name: {r.__name__ for r in (Draws, Encodes, Likely, models.Describes) if issubclass(k, r)}
        for name, k in models.MODELS.items()
    }
    assert roles.pop("classifier") == {"Describes"}
    for name, found in roles.items():
        assert found == ({"Draws", "Encodes", "Likely"} if "vae" in name else {"Draws"}), name


def test_stages_of_every_model_learn_all_its_weights(strokes):
    for name, kind in models.MODELS.items():
        size = (16, 16, 1)
        model = kind.build_from({"train": Form(size, 10)}, {}, tg.random.Generator(0))
        (stage,) = model.stages()
        learnt = models.contract.held(model, stage.learns)
        assert learnt.keys() == {*model.named_parameters(), *model.named_buffers()}, name
        known = itertools.chain(stage.reads, getattr(model, "given", ()))
        assert {c.source for c in known} == {"train"}


# ---- the command line ----------------------------------------------------------------------------

OWN = """
import dataclasses
from tinygen import nn, ops, optim
from tinygen.models import Column, Draws, Model, Stage

@dataclasses.dataclass(frozen=True)
class Options:
    lr: float = 1e-3

class Sketch(Model, Draws):
    name, Options = "sketch", Options
    given = (Column("photo", field="image"),)

    def __init__(self, forms, options=None, rng=None):
        super().__init__(forms, options, rng)
        conv = nn.Conv2d(1, 1, 3, padding="same", rng=self.init_rng)
        self.net = nn.Sequential(conv, nn.Sigmoid())

    def stages(self):
        reads = (*self.given, Column("drawing", source="drawings", field="image"))
        adam = lambda lr: {"adam": optim.Adam(self.net.parameters(), lr=lr or self.options.lr)}
        return (Stage("train", reads, ("net",), self.step, adam, epochs=1, batch_size=20),)

    def step(self, batch, optimizers):
        loss = ops.square(self.net(batch["photo"]) - batch["drawing"]).mean()
        optimizers["adam"].zero_grad()
        loss.backward()
        optimizers["adam"].step()
        return {"loss": loss.detach()}

    def draw(self, noise, *, photo):
        return self.net(photo)
"""


def test_a_model_of_two_data_sets_from_the_command_line(tinygen, pair, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    np.save(tmp_path / "drawings.npy", pair["drawings"].images)
    words = ("--n", 60, "--size", 8, "--lr", 0.01, "--no-compile")
    both = (*words, "--more-data", "drawings=drawings.npy")
    code, out, err = tinygen("train", "own.py:Sketch", *both, "--out", "run")
    assert code == 0, err
    assert "drawings" in out
    assert "tinygen --model own.py:Sketch sample run" in out
    config = train.RunFolder("run").read_config()
    assert set(config["more_data"]) == {"drawings"}
    again = ("train", "own.py:Sketch", "--out", "run", "--resume", "--epochs", 2)
    code, out, err = tinygen(*again)
    assert code == 0, err
    (tmp_path / "drawings.npy").rename(tmp_path / "moved.npy")
    more = ("--more-data", "drawings=moved.npy")
    code, out, err = tinygen(*again[:-1], 3, *more)
    assert code == 0, err
    for wrong, why in (
        (words, "reads the data set 'drawings', and was given train"),
        ((*words, "--more-data", "moved.npy"), "expected NAME=DATA, each name once"),
        ((*words, *more, *more), "expected NAME=DATA, each name once"),
        ((*words, "--more-data", "train=moved.npy"), "is that of --data"),
    ):
        code, out, err = tinygen("train", "own.py:Sketch", *wrong)
        assert (code, why in err) == (2, True), err


def test_an_error_in_a_file_of_ones_own_says_its_line(tinygen, tmp_path):
    wrong = "        ops.concatenate([])"
    text = OWN.replace("        reads = (", f"{wrong}\n        reads = (")
    (tmp_path / "own.py").write_text(text)
    code, _, err = tinygen("train", "own.py:Sketch", "--n", 60, "--size", 8)
    line = text.splitlines().index(wrong) + 1
    assert code == 2
    assert f"error: own.py:{line}: concatenate" in err
    code, _, err = tinygen("train", "own.py:Sketch", "--n", 60, "--data", "nowhere")
    assert "error: nowhere: no such file" in err


def test_a_model_of_a_file_from_the_command_line(tinygen, tmp_path):
    own = f"{FILE}:CodeMixture"
    words = ("--n", 60, "--size", 8, "--hidden", 8, "--codes", 3, "--components", 4, "--epochs", 1)
    code, out, err = tinygen("train", own, *words, "--first-epochs", 1, "--out", "a")
    assert code == 0, err
    assert f"tinygen --model {own} sample a" in out
    parts = ("--part", "encoder=a", "--part", "decoder=a")
    code, out, err = tinygen("train", own, *words, *parts, "--out", "b")
    assert code == 0, err
    assert [e["stage"] for e in train.open_run("b").epochs] == ["mixture"]
    for command in (("sample", "b"), ("evaluate", "b", "--n", 0), ("info", "b")):
        code, out, err = tinygen("--model", own, *command)
        assert code == 0, err
        assert "None" not in out
        assert ": \n" not in out  # its figure says no protocol
        assert "image ()" not in out
    del models.MODELS["code-mixture"]
    code, out, err = tinygen("sample", "b")
    assert code == 2
    assert "tinygen --model its_file.py:Class" in err
    assert "damaged" not in err
    code, out, err = tinygen("--model", own, "sample", "b")
    assert code == 0, err
