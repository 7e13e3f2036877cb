"""Measuring what a model draws: after training by `tinygen evaluate`, and while it trains."""

import json
import shutil

import numpy as np
import pytest

import tinygen as tg
from tinygen import data, metrics, models, train
from tinygen.runs import pictures
from tinygen.runs.files import read
from tinygen.train import hooks, session

N, SIZE = 300, 10
DATA = ["--n", N, "--size", SIZE, "--no-compile"]
SMALL = {"hidden": (12,), "latent": 4}


@pytest.fixture(scope="module")
def strokes():
    return data.load("strokes", n=N, size=SIZE)


@pytest.fixture(scope="module")
def judge(strokes, tmp_path_factory):
    """The folder of a classifier with 8 features."""
    rng = tg.random.Generator(0)
    model = models.Classifier(strokes.shape, classes=10, width=0.25, features=8, rng=rng)
    out = tmp_path_factory.mktemp("runs") / "judge"
    how = {"batch_size": 30, "lr": 5e-3, "ema": 0.0, "compiled": False, "progress": False}
    train.fit(model, strokes, 4, out=out, **how)
    return out


def build(name, dataset):
    return models.find(name)(dataset.shape, classes=10, rng=tg.random.Generator(0), **SMALL)


def fit(name, dataset, out=None, epochs=1, **more):
    more = {"batch_size": 30, "progress": False, "compiled": False, **more}
    return train.fit(build(name, dataset), dataset, epochs, out=out, **more)


def one_line(*texts):
    return " ".join(" ".join(texts).split())


# ---- quality -------------------------------------------------------------------------------------


def test_quality_is_what_metrics_measure_says_of_the_drawn_images(strokes, judge):
    extractor = train.find_extractor(strokes, judge)
    model = fit("vae", strokes).model
    measured = train.Gauge(model, strokes, extractor, seed=3).measure()
    assert (measured.count, measured.reference, measured.training) == (100, 100, N)
    codes = model.codes(100, tg.random.Generator(3).stream("evaluation", 2)).numpy()
    images = tg.images.to_uint8(pictures.draw(model, codes))
    by_hand = metrics.measure(extractor, strokes.images, strokes.test.images, images, seed=3)
    assert measured == by_hand
    assert measured.extractor_sha256 == extractor.sha256
    other = train.Gauge(model, strokes, extractor, seed=4).measure()
    assert other["FID"].value != measured["FID"].value
    gauge = train.Gauge(model, strokes, extractor, seed=3)
    assert gauge.measure() == gauge.measure() == by_hand
    fewer = train.Gauge(model, strokes, extractor, 40, real=60).measure()
    assert (fewer.count, fewer.reference, fewer.training) == (40, 60, 60)


def test_quality_asks_a_conditional_model_for_the_labels_of_the_data(strokes, judge, monkeypatch):
    extractor = train.find_extractor(strokes, judge)
    model = build("cvae", strokes)
    asked = []
    whole = models.CVAE.generate

    def generate(self, z, labels=None):
        asked.append(labels.numpy())
        return whole(self, z, labels)

    monkeypatch.setattr(models.CVAE, "generate", generate)
    measured = train.Gauge(model, strokes, extractor, 350).measure()
    counts = np.bincount(np.concatenate(asked), minlength=10)
    assert counts.sum() == 350
    assert abs(counts / 350 - np.bincount(strokes.labels) / N).max() < 0.02
    assert 0 <= measured["label accuracy"].value <= 1
    assert measured["label accuracy"].floor > 0.2  # of real images with their own labels


def test_what_cannot_be_measured_is_said(strokes, judge):
    extractor = train.find_extractor(strokes, judge)
    model = build("gan", strokes)
    with pytest.raises(ValueError, match=r"8 drawn images, too few.*8 features.*expected 9"):
        train.Gauge(model, strokes, extractor, 8).measure()
    with pytest.raises(ValueError, match=r"5 training images, too few"):
        train.Gauge(model, strokes, extractor, 20, real=5).measure()
    alone = data.Dataset("strokes", strokes.images, strokes.labels, strokes.classes)
    with pytest.raises(ValueError, match="no held-out images"):
        train.Gauge(model, alone, extractor).measure()
    with pytest.raises(ValueError, match="classifier draws no images"):
        train.Gauge(extractor.model, strokes, extractor).measure()
    unlabelled = data.Dataset("strokes", strokes.images, test=strokes.test)
    with pytest.raises(ValueError, match="cgan draws by label, and 'strokes' has none"):
        train.Gauge(build("cgan", strokes), unlabelled, extractor).measure()


# ---- while it trains -----------------------------------------------------------------------------


def test_training_logs_the_measures_and_keeps_the_lowest_kid(strokes, judge, tmp_path):
    out = tmp_path / "run"
    run = fit("gan", strokes, out, epochs=5, evaluate_every=2, classifier=judge)
    logged = [e for e in run.history if e["kind"] == "quality"]
    assert [e["epoch"] for e in logged] == [2, 4]
    assert "100 generated images against 100 held-out real ones" in logged[0]["protocol"]
    kids = [e["measures"]["KID"] for e in logged]
    assert all(e["floors"]["FID"] > 0 for e in logged)
    best = read(out / "checkpoints" / "best.safetensors", "checkpoint")
    assert best.metadata["position"]["best"] == min(kids)
    assert best.metadata["position"]["epoch"] == logged[int(np.argmin(kids))]["epoch"]
    drawn = train.open_run(out, best=True)
    extractor = train.find_extractor(strokes, judge)
    again = train.Gauge(drawn.model, strokes, extractor, real=session.QUALITY_IMAGES).measure()
    assert again["KID"].value == min(kids)  # what was kept is what was measured


def test_measuring_changes_no_weight_and_resuming_no_measure(strokes, judge, tmp_path, monkeypatch):
    how = {"epochs": 4, "evaluate_every": 2, "classifier": judge}
    plain = fit("cgan", strokes, epochs=4)
    whole = fit("cgan", strokes, tmp_path / "whole", **how)
    a, b = plain.model.state_dict(), whole.model.state_dict()
    assert all(np.array_equal(a[k], b[k]) for k in a)
    with monkeypatch.context() as patch:

        def stop(*measured):
            raise KeyboardInterrupt  # in the middle of the first evaluation

        patch.setattr(hooks, "collapsed", stop)
        with pytest.raises(KeyboardInterrupt):
            fit("cgan", strokes, tmp_path / "cut", **how)
    fit("cgan", strokes, tmp_path / "cut", **how, resume=True)
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    best = [
        (tmp_path / name / "checkpoints" / "best.safetensors").read_bytes()
        for name in ("whole", "cut")
    ]
    assert best[0] == best[1]
    with pytest.raises(ValueError, match="trained with evaluate_every = 2"):
        fit("cgan", strokes, tmp_path / "cut", **{**how, "evaluate_every": 3}, resume=True)


def test_a_run_from_before_there_were_measures_is_resumed(strokes, tmp_path):
    fit("gan", strokes, tmp_path / "run")
    folder = train.RunFolder(tmp_path / "run")
    config = folder.read_config()
    for name in ("evaluate_every", "classifier"):
        del config["training"][name]
    folder.write_config(config)
    assert len(fit("gan", strokes, tmp_path / "run", epochs=2, resume=True).epochs) == 2


def test_a_collapsed_run_is_warned_of_and_kept(strokes, judge, tmp_path, monkeypatch, capsys):
    whole = models.GAN.generate

    def generate(self, z, labels=None):
        return whole(self, z * 0, labels)  # whatever the noise, one image

    monkeypatch.setattr(models.GAN, "generate", generate)
    out = tmp_path / "run"
    run = fit("gan", strokes, out, evaluate_every=1, classifier=judge, progress="lines")
    said = capsys.readouterr().out
    assert "warning: mode collapse: 100% of the images are taken for class" in said
    assert "100 images drawn  FID" in said
    (logged,) = [e for e in run.history if e["kind"] == "quality"]
    assert "100%" in logged["collapsed"]
    assert logged["measures"]["duplicates"] == 99
    assert (out / "checkpoints" / "best.safetensors").exists()


def test_what_is_missing_is_told_before_the_training(strokes, judge, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="tinygen train classifier --data strokes --size 10"):
        fit("gan", strokes, out, evaluate_every=1)
    alone = data.Dataset("strokes", strokes.images, strokes.labels, strokes.classes)
    with pytest.raises(ValueError, match="no held-out images"):
        fit("gan", alone, out, evaluate_every=1, classifier=judge)
    with pytest.raises(ValueError, match="evaluate_every is -1"):
        fit("gan", strokes, out, evaluate_every=-1)
    with pytest.raises(ValueError, match=r"classifier is .*say how often"):
        fit("gan", strokes, out, classifier=judge)
    assert not out.exists()


# ---- the command line ----------------------------------------------------------------------------


def test_evaluate_command(tinygen, judge, tmp_path):
    words = ["--batch-size", 30, "--epochs", 1, "--hidden", 12]
    assert tinygen("train", "cgan", *DATA, *words, "--out", "run")[0] == 0
    code, out, err = tinygen("evaluate", "run", "--classifier", judge)
    assert code == 0, err
    for part in ("FID", "KID", "label accuracy", "floor", "100 generated images", "classifier-"):
        assert part in out
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert kept["figures"] == []
    sha256 = kept["quality"]["extractor_sha256"]
    assert sha256 in one_line(out)
    assert sha256 == train.ClassifierExtractor(judge).sha256
    assert kept["quality"]["count"] == 100
    assert "FID" in tinygen("info", "run")[1]
    code, out, err = tinygen("evaluate", "run", "--classifier", judge, "--json", "--n", 50)
    assert code == 0, err
    shown = json.loads(out)
    assert shown["quality"]["count"] == 50
    assert shown == json.loads((tmp_path / "run" / "evaluation.json").read_text())

    for more, message in (
        ([], "tinygen train classifier --data strokes --size 10"),
        (["--classifier", "nowhere"], "nowhere holds no trained classifier"),
        (["--classifier", "run"], "called 'cgan', expected a classifier"),
        (["--classifier", judge, "--n", 8], "expected 9 or more"),
        (["--n", 0], "no likelihood"),
    ):
        code, out, err = tinygen("evaluate", "run", *more)
        assert code == 2, more
        assert message in one_line(out, err), (more, out, err)
    (tmp_path / "run" / "model.safetensors").unlink()
    code, _, err = tinygen("evaluate", "run", "--classifier", judge)
    assert code == 2
    assert "no model.safetensors: it was deleted; write it with" in err


def test_figures_are_kept_for_each_set_of_weights(tinygen, judge, tmp_path):
    words = ["--epochs", 2, "--hidden", 12, "--lr", 0.3, "--out", "run"]  # the second is worse
    assert tinygen("train", "vae", *DATA, *words)[0] == 0
    fast = ["--n", 0, "--samples", 2, "--nll-images", 10]
    assert tinygen("evaluate", "run", *fast)[0] == 0
    told = tinygen("info", "run")[1]
    assert "importance-sampled NLL" in told
    folder = train.RunFolder(tmp_path / "run")
    last, best = (
        pictures.fingerprint(train.open_run(folder.path, best=which).model)
        for which in (False, True)
    )
    assert tinygen("evaluate", "run", *fast, "--best")[0] == 0
    assert tinygen("info", "run")[1] == told
    assert len(folder.read_evaluation(last)["figures"]) == 4
    assert len(folder.read_evaluation(best)["figures"]) == 4

    folder.evaluation.write_text('{"weights"')
    with pytest.raises(
        ValueError, match=r"evaluation.json is damaged: .*; `tinygen evaluate` writes"
    ):
        folder.read_evaluation(last)
    assert tinygen("export", "run", "--to", "python")[0] == 0
    assert tinygen("evaluate", "run", *fast)[0] == 0
    assert len(folder.read_evaluation(last)["figures"]) == 4


def test_figures_that_cannot_be_kept_are_shown(tinygen, judge, tmp_path, monkeypatch):
    assert tinygen("train", "vae", *DATA, "--epochs", 1, "--hidden", 12, "--out", "run")[0] == 0

    def full(self, kept):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train.RunFolder, "write_evaluation", full)
    fast = ["--n", 0, "--samples", 2, "--nll-images", 10]
    code, out, err = tinygen("evaluate", "run", *fast)
    assert code == 0
    assert "negative ELBO" in out
    assert "the figures were not saved" in err


def test_a_run_is_resumed_with_its_classifier_wherever_it_lies(tinygen, judge, tmp_path):
    shutil.copytree(judge, tmp_path / "judge")
    words = ["--batch-size", 30, "--hidden", 12, "--evaluate-every", 1, "--out", "run"]
    first = tinygen("train", "gan", *DATA, *words, "--epochs", 1, "--classifier", "judge")
    assert first[0] == 0, first[2]
    (tmp_path / "judge").rename(tmp_path / "moved")
    resume = ["train", "gan", "--out", "run", "--resume", "--epochs", 2]
    code, _, err = tinygen(*resume)
    assert code == 2
    assert "judge holds no trained classifier" in err
    code, _, err = tinygen(*resume, "--classifier", "moved")
    assert code == 0, err
    other = ["--epochs", 1, "--batch-size", 30, "--width", 0.25, "--features", 8, "--out", "other"]
    assert tinygen("train", "classifier", *DATA, *other)[0] == 0
    code, _, err = tinygen(*resume[:-1], 3, "--classifier", "other")
    assert code == 2
    assert "a run is resumed with the same one" in one_line(err)


def test_a_vae_has_its_own_figures_besides(tinygen, judge, tmp_path):
    assert tinygen("train", "vae", *DATA, "--epochs", 1, "--hidden", 12, "--out", "run")[0] == 0
    fast = ["--samples", 3, "--nll-images", 20]
    code, out, _ = tinygen("evaluate", "run", *fast)
    assert code == 0
    assert "negative ELBO" in out
    assert "not measured" in out
    assert "tinygen train classifier" in out
    code, out, _ = tinygen("evaluate", "run", *fast, "--classifier", judge)
    assert code == 0
    assert "negative ELBO" in out
    assert "coverage" in out
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert len(kept["figures"]) == 4
    assert kept["quality"]["protocol"]
    code, out, _ = tinygen("evaluate", "run", *fast, "--n", 0)
    assert code == 0
    assert "measured" not in out
    assert "coverage" not in out
    still = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert still["quality"] == kept["quality"]  # of these very weights


def test_train_classifier_and_measure_with_it(tinygen, tmp_path):
    words = ["--epochs", 2, "--batch-size", 30, "--width", 0.25, "--features", 8, "--dropout", 0.1]
    code, out, err = tinygen("train", "classifier", *DATA, *words, "--out", "judge")
    assert code == 0, err
    assert "tinygen evaluate RUN --classifier judge" in out
    assert "samples.png" not in out
    assert (tmp_path / "judge" / "mistakes.png").exists()
    code, out, err = tinygen("evaluate", "judge")
    assert code == 0, err
    assert "accuracy" in out
    assert "percent" in out
    assert "accuracy, test" in tinygen("info", "judge")[1]
    code, _, err = tinygen("sample", "judge")
    assert code == 2
    assert "sample a generator" in err
    code, _, err = tinygen("evaluate", "judge", "--classifier", "judge")
    assert code == 2
    assert "draws no images" in err

    train_gan = ["train", "gan", *DATA, "--batch-size", 30, "--epochs", 2, "--hidden", 12]
    code, _, err = tinygen(*train_gan, "--evaluate-every", 1, "--out", "gan")
    assert code == 2
    assert "--classifier" in err
    assert not (tmp_path / "gan").exists()
    measured = ["--evaluate-every", 1, "--classifier", "judge", "--out", "gan"]
    code, out, err = tinygen(*train_gan, *measured)
    assert code == 0, err
    assert out.count("100 images drawn  FID") == 2
    assert tinygen("sample", "gan", "--best", "--n", 4)[0] == 0
    code, _, err = tinygen("train", "gan", "--out", "gan", "--resume", "--epochs", 3)
    assert code == 0, err
    assert len(list(train.open_run("gan").epochs)) == 3
