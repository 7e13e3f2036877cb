"""The classifier: what it learns, the two that come with tinygen, and which data each is for."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen import data, metrics, models, train
from tinygen.data.dataset import scaled
from tinygen.runs import extractor, files, pictures
from tinygen.runs.extractor import INCLUDED, ClassifierExtractor, find_extractor

FOLDER = Path(metrics.__file__).parent


def build(dataset, seed=0, **options):
    rng = tg.random.Generator(seed)
    return models.Classifier(dataset.shape, classes=10, rng=rng, **options)


@pytest.fixture(scope="module")
def strokes():
    return data.load("strokes", n=1000, size=14)


@pytest.fixture(scope="module")
def trained(strokes, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "judge"
    model = build(strokes, width=0.5, features=20, dropout=0.2)
    how = {"batch_size": 25, "lr": 3e-3, "compiled": False, "progress": False}
    return train.fit(model, strokes, 6, out=out, **how)


# ---- the model -----------------------------------------------------------------------------------


def test_it_learns(trained, strokes):
    figures = {f.split: f for f in train.evaluate(trained, strokes)}
    assert figures["test"].value > 80  # percent; ten classes
    x = tg.tensor(scaled(strokes.test.images, (0.0, 1.0)))
    features, p = trained.model.features(x)
    assert features.shape == (100, 20)
    np.testing.assert_allclose(p.numpy().sum(axis=1), 1, rtol=1e-5)
    right = p.numpy().argmax(axis=1) == strokes.test.labels
    assert figures["test"].value == pytest.approx(100 * right.mean())
    assert figures["train"].images == 1000
    assert figures["test"].unit == "percent"
    assert trained.epochs[-1]["validation"] == pytest.approx(figures["test"].value)


@pytest.mark.quick
def test_the_layers_are_those_of_the_docstring():
    model = models.Classifier((28, 28, 1), classes=10)
    sizes = [p.shape for p in model.parameters()]
    assert sizes == [
        (5, 5, 1, 16), (16,), (5, 5, 16, 32), (32,), (7 * 7 * 32, 84), (84,), (84, 10), (10,),
    ]  # fmt: skip


@pytest.mark.quick
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 9, 3), (30, 30, 1)])
def test_images_of_any_shape(shape):
    model = models.Classifier(shape, classes=3, features=7)
    x = tg.random.Generator(0).uniform((4, *shape))
    y = tg.tensor(np.array([0, 1, 2, 0]))
    assert model.train_step(x, y, model.optimizers())["loss"].shape == ()
    features, p = model.eval().features(x)
    assert (features.shape, p.shape) == ((4, 7), (4, 3))


@pytest.mark.quick
def test_the_last_layer_reads_the_features():
    model = models.Classifier((8, 8, 1), classes=3, features=7).eval()
    x = tg.random.Generator(0).uniform((4, 8, 8, 1))
    features, p = model.features(x)
    weight, bias = model.parameters()[-2:]
    logits = features.numpy() @ weight.numpy() + bias.numpy()
    np.testing.assert_allclose(model.logits(x).numpy(), logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(p.numpy(), np.exp(logits) / np.exp(logits).sum(1)[:, None], 1e-5)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": None}, "needs to know how many"),
        ({"features": 0}, "features 0"),
        ({"lr": -1.0}, "lr -1"),
        ({"width": 0.0}, "width 0"),
        ({"dropout": 1.0}, "dropout 1.0, expected from 0 to below 1"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        models.Classifier((8, 8, 1), **{"classes": 3, **options})


def test_a_run_has_mistakes_instead_of_samples(trained, strokes):
    out = trained.folder.path
    assert not (out / "samples.png").exists()
    text = tg.images.read_text(out / "mistakes.png")["Description"]
    assert "real images" in text
    assert "synthetic" not in text
    again = train.open_run(out)
    assert not again.interrupted
    for draw in (again.sample, again.interpolate, lambda: again.samples):
        with pytest.raises(ValueError, match=r"draws? none.*sample a generator"):
            draw()


def test_the_best_epoch_has_the_highest_accuracy(trained):
    accuracies = [e["validation"] for e in trained.epochs]
    best = files.read(trained.folder.checkpoints / "best.safetensors", "checkpoint")
    assert best.metadata["position"]["epoch"] == 1 + int(np.argmax(accuracies))


def test_it_is_resumed_to_the_same_bits(strokes, tmp_path):
    few = {"width": 0.25, "features": 8}
    how = {"out": tmp_path / "run", "batch_size": 50, "compiled": False, "progress": False}
    train.fit(build(strokes, **few), strokes, 1, **how)
    resumed = train.fit(build(strokes, **few), strokes, 2, resume=True, **how)
    whole = train.fit(build(strokes, **few), strokes, 2, **{**how, "out": None})
    a, b = resumed.model.state_dict(), whole.model.state_dict()
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_mistakes_come_first(trained, strokes):
    x = tg.tensor(scaled(strokes.test.images, (0.0, 1.0)))
    p = trained.model.features(x)[1].numpy()[np.arange(100), strokes.test.labels]
    picture = pictures.mistakes(trained.model, strokes.test, n=1)
    expected = tg.images.grid(strokes.test.images[[p.argmin()]])
    assert np.array_equal(picture.array, expected.array)


def test_data_without_labels_are_refused():
    images, _ = data.strokes(n=30, size=10)
    bare = data.load(images)
    with pytest.raises(ValueError, match=r"trained with labels.*sub-folder for each class$"):
        train.fit(build(bare), bare, 1, progress=False)


# ---- those that come with tinygen ----------------------------------------------------------------


@pytest.mark.parametrize("name", INCLUDED)
def test_the_included_files_are_small_and_what_the_code_says(name):
    fingerprint, file, sha256 = INCLUDED[name]
    blob = (FOLDER / file).read_bytes()
    assert len(blob) < 1_000_000
    assert hashlib.sha256(blob).hexdigest() == sha256
    about = tg.load(FOLDER / file).metadata
    assert about["name"] == f"lenet-{name}"
    assert f"_v{about['version']}.safetensors" in file
    assert about["accuracy"] >= 99
    assert about["data"]["name"] == name
    assert about["data"]["fingerprint"] == fingerprint
    assert "source" not in about["data"]  # where the data lay on the machine that trained it
    assert {p.name for p in FOLDER.glob("*.safetensors")} == {f for _, f, _ in INCLUDED.values()}


@pytest.mark.parametrize(("name", "least"), [("strokes", 0.98), ("mnist", 0.85)])
def test_the_included_classifiers_read_digits(name, least):
    judge = extractor.included(name)
    images, table = data.strokes(n=300, seed=77)  # the second never saw the like
    features, p = judge(images)
    assert features.shape == (300, 84)
    assert (p.argmax(axis=1) == table["digit"]).mean() > least
    assert judge.name in repr(judge)
    assert judge.sha256[:12] in repr(judge)


def test_the_included_classifier_of_strokes_was_trained_on_the_strokes_of_today():
    assert extractor.included("strokes").data["fingerprint"] == data.load("strokes").fingerprint


def test_another_file_in_its_place_is_refused(monkeypatch):
    fingerprint, file, sha256 = INCLUDED["strokes"]
    monkeypatch.setitem(INCLUDED, "strokes", (fingerprint, file, "0" * 64))
    with pytest.raises(ValueError, match=f"{sha256}, expected 0000.*install tinygen again"):
        find_extractor(data.load("strokes", n=20))


# ---- which classifier is for which data ----------------------------------------------------------


def test_a_trained_one_measures_its_own_data(trained, strokes):
    judge = find_extractor(strokes, trained.folder.path)
    file = trained.folder.model
    assert judge.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (judge.name, judge.version, judge.accuracy) == ("classifier-strokes", 1, None)
    features, p = judge(strokes.test.images[:9])
    x = tg.tensor(scaled(strokes.test.images[:9], (0.0, 1.0)))
    wanted = trained.model.features(x)
    assert np.array_equal(features, wanted[0].numpy())
    assert np.array_equal(p, wanted[1].numpy())
    same = ClassifierExtractor(file)(strokes.test.images[:9])
    assert np.array_equal(same[0], features)
    # the same images under another name are the same data
    other = data.Dataset("x", strokes.images, strokes.labels, strokes.classes, test=strokes.test)
    assert find_extractor(other, file).sha256 == judge.sha256


def test_other_data_are_refused_and_how_to_train_one_is_said(trained, strokes, tmp_path):
    judge = trained.folder.path
    images, labels = strokes.images[:50], strokes.labels[:50]
    others = {
        "shape": data.load("strokes", n=20, size=16),
        "name": data.Dataset("letters", images, labels, strokes.classes),
        "classes": data.Dataset("strokes", images, labels, "abcdefghij"),
    }
    assert find_extractor(others["name"], judge)  # like images: whoever names it means it
    for dataset in (others["shape"], others["classes"]):
        with pytest.raises(ValueError, match=r"`tinygen train classifier --data.*--classifier"):
            find_extractor(dataset, judge)
    with pytest.raises(ValueError, match="--data strokes --size 16 --out"):
        find_extractor(others["shape"])  # without one of its own: tinygen's is for 28 x 28
    with pytest.raises(ValueError, match="has no classifier for 'letters'"):
        find_extractor(others["name"])
    bare = data.Dataset("photos", images)
    with pytest.raises(ValueError, match="needs labels"):
        find_extractor(bare)


def test_what_is_no_classifier_is_refused(strokes, tmp_path):
    with pytest.raises(ValueError, match="holds no trained classifier"):
        ClassifierExtractor(tmp_path)
    vae = models.VAE(strokes.shape, hidden=(8,), latent=2, rng=tg.random.Generator(0))
    train.fit(vae, strokes, 1, out=tmp_path / "vae", progress=False)
    with pytest.raises(ValueError, match="'vae', expected a classifier"):
        ClassifierExtractor(tmp_path / "vae")
    config = json.loads((tmp_path / "vae" / "config.json").read_text())
    assert config["training"]["evaluate_every"] == 0
