"""`tinygen distill`: a student of a flow, its pairs, its run, and what it refuses."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from stopping import stop_after

import tinygen as tg
from tinygen import data, export, io, models, train
from tinygen.data.files import amount
from tinygen.export import verify as checking
from tinygen.images import to_uint8
from tinygen.models import Form, Student, student
from tinygen.runs import pairs, pictures

SMALL = {"width": 4, "blocks": 1}


def flow(out, seed):
    strokes = data.load("strokes", n=40, size=12)
    forms = {"train": Form(strokes.shape, len(strokes.classes))}
    model = models.find("flow").build_from(forms, SMALL, tg.random.Generator(seed))
    train.fit(
        model, strokes, 1, out=out, batch_size=20, lr=0.05, compiled=False, ema=0, progress=False
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "save_losses", lambda folder: True)
        flow(folder / "teacher", 0)
        flow(folder / "other", 1)
    return folder


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(pictures, "save_losses", lambda folder: True)


SHORT = ("--pairs", "40", "--batch-size", "20", "--set", "steps=2", "--no-compile")


def test_pairs_are_what_the_teacher_draws(runs):
    teacher = train.open_run(runs / "teacher")
    made = pairs.drawn_pairs(teacher, 5, 3, {"steps": 2})
    again = pairs.drawn_pairs(teacher, 3, 3, {"steps": 2})
    noise, labels = made.column("noise"), made.column("label")
    assert labels.tolist() == [0, 1, 2, 3, 4]
    drawn = to_uint8(pictures.draw(teacher.model, noise, labels, steps=2), (-1.0, 1.0))
    assert np.abs(made.images.astype(int) - drawn).max() <= 1
    assert np.array_equal(again.column("noise"), noise[:3])
    assert np.array_equal(again.images, made.images[:3])
    other = pairs.drawn_pairs(teacher, 5, 4, {"steps": 2})
    assert not np.isin(other.column("noise"), noise).any()


def test_pairs_are_drawn_once(runs, tmp_path, monkeypatch):
    shutil.copytree(runs / "teacher", tmp_path / "teacher")
    teacher, steps = train.open_run(tmp_path / "teacher"), {"steps": 2}
    drawn = []

    def counted(draw):
        def called(*given):
            drawn.append(1)
            return draw(*given)

        return called

    monkeypatch.setattr(pairs, "compile_step", counted)
    made, line = pairs.kept_pairs(teacher, 5, 3, steps)
    (path,) = (tmp_path / "teacher").glob("pairs-*.safetensors")
    assert str(path) in line
    assert f"({amount(path.stat().st_size)})" in line
    assert drawn
    drawn.clear()

    def same(a, b, n):
        for name in ("image", "noise", "label"):
            assert np.array_equal(a.column(name)[:n], b.column(name)[:n]), name

    again, line = pairs.kept_pairs(teacher, 5, 3, {"steps": 2, "guidance": 1.25})  # the default
    assert not drawn
    assert "drawn before" in line
    same(made, again, 5)
    fewer, _ = pairs.kept_pairs(teacher, 3, 3, steps)
    assert not drawn
    assert len(fewer) == 3
    same(fewer, made, 3)
    more, _ = pairs.kept_pairs(teacher, 70, 3, steps)
    assert drawn
    same(more, pairs.drawn_pairs(teacher, 70, 3, steps), 70)
    assert len(io.load(path)["images"]) == 70  # in the place of the five
    pairs.kept_pairs(teacher, 2, 4, steps)  # of another seed
    pairs.kept_pairs(teacher, 2, 3, {"steps": 1})
    assert len(list(path.parent.glob("pairs-*"))) == 3

    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    mended, line = pairs.kept_pairs(teacher, 5, 3, steps)
    assert "drawn anew" in line
    same(mended, made, 5)
    assert pairs.kept_pairs(teacher, 5, 3, steps)[1].startswith("5 pairs that were drawn before")

    def full(*_):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(pairs, "save", full)
    _, line = pairs.kept_pairs(teacher, 2, 5, steps)
    assert "not kept" in line
    assert "No space left" in line


def test_a_student_draws_by_label(runs):
    forms = {"train": Form((12, 12, 1), 10), student.PAIRS: Form((12, 12, 1), 10)}
    model = Student(forms, student.Options(**SMALL), tg.random.Generator(0))
    noise = model.noise.draw(2, tg.random.Generator(0))
    for label in (None, tg.tensor([1]), tg.tensor([1.0, 2.0]), tg.tensor([1, 10])):
        with pytest.raises(ValueError, match=r"labels|label"):
            model.draw(noise, label=label)
    free = Student({k: Form((12, 12, 1)) for k in forms}, student.Options(**SMALL))
    assert free.draw(noise).shape == (2, 12, 12, 1)


def test_a_critic_tells_drawings_from_data_and_the_student_heeds_it(runs):
    teacher = train.open_run(runs / "teacher")
    real = pairs.as_many(data.load("strokes", n=8, size=12), 20)
    assert np.array_equal(real.images[8:16], real.images[:8])
    assert np.array_equal(real.labels[16:20], real.labels[:4])
    assert pairs.as_many(real, 20) is real
    made = pairs.drawn_pairs(teacher, 20, 0, {"steps": 1})
    sets = {"train": real, student.PAIRS: made, student.REAL: real}
    forms = {name: Form((12, 12, 1), 10) for name in sets}
    nets = []
    for weight in (0.0, 1e-9, 10.0):
        options = student.Options(**SMALL, critic=weight)
        model = Student(forms, options, tg.random.Generator(0))
        before = {k: p.numpy().copy() for k, p in model.named_parameters().items()}
        used = sets if weight else {k: sets[k] for k in ("train", student.PAIRS)}
        run = train.fit(
            model, used, 4, lr=0.01, batch_size=20, compiled=False, ema=0, progress=False
        )
        nets.append(np.concatenate([p.numpy().ravel() for p in model.net.parameters()]))
        losses = [epoch["losses"] for epoch in run.epochs]
        if weight:
            assert losses[-1]["critic"] < losses[0]["critic"]
            assert any(
                not np.array_equal(p.numpy(), before[k])
                for k, p in model.named_parameters().items()
                if k.startswith("critic")
            )
        else:
            assert "critic" not in losses[0]
    # the critic's own update leaves the student alone; its verdict moves it
    np.testing.assert_allclose(nets[1], nets[0], atol=1e-6)
    assert np.abs(nets[2] - nets[0]).max() > 1e-3


def test_a_student_begins_as_its_teacher_in_one_step_and_learns(runs):
    teacher = train.open_run(runs / "teacher")
    made = pairs.drawn_pairs(teacher, 40, 0, {"steps": 2})
    forms = {"train": Form((12, 12, 1), 10), student.PAIRS: Form((12, 12, 1), 10)}
    model = Student(forms, student.Options(**SMALL), tg.random.Generator(0))
    model.load_state_dict(teacher.model.state_dict())
    noise, labels = made.column("noise"), made.column("label")
    one = pictures.draw(teacher.model, noise, labels, steps=1, method="euler", guidance=1.0)
    np.testing.assert_allclose(pictures.draw(model, noise, labels), one, atol=1e-5)

    fresh = Student(forms, student.Options(**SMALL), tg.random.Generator(0))

    def off():
        drawn = to_uint8(pictures.draw(fresh, noise, labels), (-1.0, 1.0)).astype(int)
        return np.abs(drawn - made.images).mean()

    before = off()
    sets = {"train": data.load("strokes", n=40, size=12), student.PAIRS: made}
    train.fit(fresh, sets, 10, lr=0.01, batch_size=20, compiled=False, ema=0, progress=False)
    assert off() < 0.8 * before


def test_a_run_of_its_own_that_resumes_to_the_bit(runs, tmp_path, tinygen, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    asked = ("distill", str(runs / "teacher"), *SHORT, "--epochs", "2")
    with monkeypatch.context() as patch:
        hashed, sha256_of = [], pairs.sha256_of
        patch.setattr(pairs, "sha256_of", lambda run: hashed.append(run) or sha256_of(run))
        assert tinygen(*asked, "--out", str(whole))[0] == 0
        assert len(hashed) == 1  # the weights of a large teacher take a while
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        code, out, _ = tinygen(*asked, "--out", str(cut))
    assert code != 0
    assert "distill --out" in " ".join(out.split())
    assert train.open_run(cut).interrupted
    assert tinygen("distill", "--out", str(cut), "--resume")[0] == 0
    a, b = (train.open_run(path).model.state_dict() for path in (whole, cut))
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[k], b[k]) for k in a)

    config = json.loads((whole / "config.json").read_text())
    options = config["model"]["options"]
    assert options["teacher"] == str(runs / "teacher")
    assert options["drawn"] == "steps=2 method=heun guidance=1.25 interval=0.0,1.0"
    assert options["sha256"] == pairs.sha256_of(train.open_run(runs / "teacher"))
    assert config["data"]["source"] == "strokes"  # what it is measured with
    run = train.open_run(whole)
    assert run.sample(3, seed=1).shape == (3, 12, 12, 1)
    code, _, err = tinygen("evaluate", str(whole), "--n", "20")
    assert code == 2
    assert "train a classifier" in err or "train one" in err  # of 12 x 12 there is none

    made = export.prepare(run.model, "student", "0" * 16, classes=tuple(run.data["classes"]))
    assert made.settings == ()
    question = checking.question(made, 3)
    z = question.codes.reshape(-1, 12, 12, 1)
    drawn = to_uint8(pictures.draw(run.model, z, np.array(question.labels)), (-1.0, 1.0))
    for row in checking.verify(made, drawn, question, ["python", "js", "onnx", "safetensors"]):
        assert row.ok, row.failed


def test_what_it_refuses(runs, tmp_path, tinygen):
    out, teacher = tmp_path / "student", runs / "teacher"
    asked = ("distill", str(teacher), *SHORT, "--epochs", "1", "--out", str(out))
    assert tinygen(*asked)[0] == 0
    left, file = tmp_path / "left", tmp_path / "file"
    (left / "checkpoints").mkdir(parents=True)  # by a training that stopped before it began
    file.touch()
    for words, message in (
        ((), "name the teacher"),
        ((str(out), "--out", str(tmp_path / "x")), "holds a run of student; only a flow"),
        ((str(tmp_path), "--out", str(tmp_path / "x")), str(tmp_path)),
        ((str(teacher), "--out", str(out)), "is there already"),
        ((str(teacher), "--out", str(file)), "is there already"),
        ((str(teacher), "--out", str(left), "--set", "steps=0"), "steps is 0"),
        ((str(teacher), "--out", str(teacher), "--resume"), "holds a run of flow, which is no"),
        ((str(runs / "other"), "--out", str(out), "--resume"), "name that teacher"),
        ((str(teacher), "--out", str(out), "--resume", "--pairs", "50"), "--pairs 40"),
        ((str(teacher), "--out", str(out), "--resume", "--set", "steps=3"), "--set steps=2"),
        ((str(teacher), "--out", str(tmp_path / "x"), "--set", "steps=0"), "steps is 0"),
        ((str(teacher), "--out", str(tmp_path / "x"), "--set", "guidance=nan"), "guidance is nan"),
        ((str(teacher), "--out", str(tmp_path / "x"), "--pairs", "1"), "--pairs 1"),
        ((str(teacher), "--out", str(tmp_path / "x"), "--critic", "-1"), "--critic -1"),
        ((str(teacher), "--out", str(out), "--resume", "--critic", "0.5"), "--critic 0.1"),
    ):
        code, _, err = tinygen("distill", *words)
        assert code == 2, words
        assert message in " ".join(err.split()), words
        assert not (tmp_path / "x").exists()
    old = tmp_path / "old"  # a run from before there was a critic
    assert tinygen(*asked[:-1], str(old), "--critic", "0")[0] == 0
    assert "critic" not in json.loads((old / "config.json").read_text())["model"]["options"]
    assert tinygen("distill", "--out", str(old), "--resume", "--epochs", "2")[0] == 0
    moved = tmp_path / "moved"
    shutil.copytree(teacher, moved)  # the same teacher elsewhere is the same teacher
    away = teacher.rename(teacher.with_name("away"))
    code, _, err = tinygen("distill", "--out", str(out), "--resume")
    away.rename(teacher)
    assert code == 2
    assert f"{teacher}, which is no folder here; name the folder" in " ".join(err.split())
    again = ("distill", str(moved), "--out", str(out), "--resume", "--epochs", "2")
    assert tinygen(*again)[0] == 0


def test_a_student_from_before_resumes_whose_teacher_has_no_labels(tinygen, tmp_path, monkeypatch):
    """Its config.json keeps the guidance, which is refused now where there are no labels."""
    np.save("plain.npy", (255 * tg.random.Generator(0).uniform((40, 8, 8)).numpy()).astype("u1"))
    few = ["--width", 4, "--batch-size", 20, "--no-compile", "--epochs", 1]
    assert tinygen("train", "flow", "--data", "plain.npy", *few, "--out", "teacher")[0] == 0
    short = [*SHORT, "--epochs", 1, "--out", "student"]
    old = "steps=2 method=heun guidance=2.0 interval=0.0,1.0"
    with monkeypatch.context() as patch:
        patch.setattr("tinygen.cli.distill.in_one_line", lambda *_: old)
        assert tinygen("distill", "teacher", *short)[0] == 0
    kept = json.loads((tmp_path / "student" / "config.json").read_text("utf-8"))
    assert kept["model"]["options"]["drawn"] == old
    code, out, err = tinygen("distill", "--out", "student", "--resume", "--epochs", 2)
    assert code == 0, err
    assert "40 pairs that were drawn before" in out
    code, _, err = tinygen("distill", "--out", "student", "--resume", "--set", "guidance=2")
    assert (code, "no setting guidance of a drawing: its data have no labels" in err) == (2, 1)
