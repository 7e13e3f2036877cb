"""Each model of the zoo in miniature: trained, stopped after each update, compiled, drawn with,
measured, exported. A new model needs no new loop: it is found by its name and used by its roles.
"""

import functools

import numpy as np
import pytest
from exported import varied
from stopping import stop_after

import tinygen as tg
from tinygen import data, export, models, train
from tinygen.export import verify as checking
from tinygen.images import to_uint8
from tinygen.models import Describes, Draws, Encodes, Form, Likely
from tinygen.runs import pictures

SMALL = {  # options that make a model small; another one has its own defaults
    "vae": {"hidden": [10], "latent": 3},
    "cvae": {"hidden": [10], "latent": 3},
    "conv-vae": {"hidden": [10], "latent": 3, "width": 0.1},
    "gan": {"hidden": [10, 12], "latent": 4},
    "cgan": {"hidden": [10, 12], "latent": 4},
    "dcgan": {"width": 0.02, "latent": 4},
    "cdcgan": {"width": 0.02, "latent": 4},
    "conv-gan": {"hidden": [10], "latent": 4, "width": 0.05},
    "flow": {"width": 4, "blocks": 1},
    "classifier": {"features": 5, "width": 0.2},
}
UPDATES = 4  # 2 epochs of 2
QUICK = {"flow": {"steps": 2, "method": "euler"}}  # settings of a drawing
SPREAD = {"flow": 0.1}  # of its weights: its turns would make all black and white


@pytest.fixture(scope="module")
def strokes():
    return data.load("strokes", n=40, size=12)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    monkeypatch.setattr(pictures, "save_losses", lambda folder: True)


def build(name, strokes, seed=0):
    forms = {"train": Form(strokes.shape, len(strokes.classes))}
    return models.find(name).build_from(forms, SMALL.get(name, {}), tg.random.Generator(seed))


def fit(name, strokes, out=None, seed=0, **more):
    given = {"batch_size": 20, "progress": False, "compiled": False, "ema": 0.9, **more}
    return train.fit(build(name, strokes, seed), strokes, 2, out=out, **given)


@pytest.fixture(scope="module")
def trained(strokes, tmp_path_factory):
    """Of a name the run that all 2 epochs leave; each is trained once."""
    folder = tmp_path_factory.mktemp("runs")
    return functools.cache(lambda name: fit(name, strokes, folder / name))


def equal(a, b):
    a, b = a.model.state_dict(), b.model.state_dict()
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("name", list(models.MODELS))
def test_stopped_after_each_update_and_resumed_it_has_the_same_bits(
    name, strokes, trained, tmp_path, monkeypatch
):
    whole = trained(name)
    assert whole.epochs[-1]["step"] == UPDATES
    for steps in range(1, UPDATES):
        out = tmp_path / str(steps)
        with monkeypatch.context() as patch:
            stop_after(patch, steps)
            cut = fit(name, strokes, out)
        assert cut.interrupted
        assert train.open_run(out).interrupted
        again = fit(name, strokes, out, seed=9, resume=True)
        assert equal(again, whole), steps
        assert equal(train.open_run(out), whole), steps


@pytest.mark.parametrize("name", list(models.MODELS))
def test_a_compiled_training_is_the_plain_one_but_for_rounding(name, strokes, trained):
    plain, planned = trained(name), fit(name, strokes, compiled=True)
    for key, value in plain.model.state_dict().items():
        found = planned.model.state_dict()[key]
        np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-3, err_msg=key)


@pytest.mark.parametrize("name", list(models.MODELS))
def test_its_roles_are_kept(name, strokes, trained):
    """What a role promises: shapes, ranges, and no dependence on how many images there are."""
    run = trained(name)
    folder = run.folder.path
    model, x = run.model, strokes.images[:3] / np.float32(255)
    low, high = model.value_range
    images = model.place(low + x * (high - low))
    given = {c.name: model.place(strokes.labels[:3]) for c in getattr(model, "given", ())}
    with tg.no_grad():
        if isinstance(model, Draws):
            sample = run.sample(5, seed=1)
            assert sample.shape == (5, *strokes.shape)
            assert low <= sample.min() <= sample.max() <= high
            np.testing.assert_allclose(run.sample(2, seed=1), sample[:2], atol=1e-5)
            assert np.array_equal(train.open_run(folder).sample(5, seed=1), sample)
            assert (folder / "samples.png").exists()
        else:
            with pytest.raises(ValueError, match="draws none"):
                run.sample(1)
        if isinstance(model, Encodes) and model.code is not None:
            mean, logvar = model.encode(images, **given)
            assert mean.shape == logvar.shape == (3, *model.code.shape)
            assert model.draw(mean, **given).shape == images.shape
            assert (folder / "reconstructions.png").exists()
        if isinstance(model, Likely):
            log_p = model.log_p(images, tg.random.Generator(0), **given)
            assert log_p.shape == (3,)
        if isinstance(model, Describes):
            features, p = model.features(images)
            assert (features.shape, p.shape) == ((3, model.described), (3, len(strokes.classes)))
            np.testing.assert_allclose(p.numpy().sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", list(models.MODELS))
def test_it_is_measured_where_it_has_a_figure(name, strokes, trained):
    run = trained(name)
    if not train.has_figures(run.model):
        with pytest.raises(ValueError, match="no likelihood"):
            train.evaluate(run, strokes)
        return
    figures = train.evaluate(run, strokes, samples=3, nll_images=10)
    assert {f.split for f in figures} == {"train", "test"}
    assert all(np.isfinite([f.value, f.error]).all() and f.protocol for f in figures)


DRAWING = [name for name, kind in models.MODELS.items() if issubclass(kind, Draws)]


@pytest.fixture(scope="module")
def asked(strokes, trained):
    """Of a name its artefact, 3 seeds to draw with, and the pictures that these must give."""

    @functools.cache
    def ask(name):
        folder = trained(name).folder.path
        model = train.open_run(folder).model
        model = varied(model, SPREAD.get(name, 3))  # so few updates leave a GAN's pictures grey
        settings = QUICK.get(name, {})
        classes = strokes.classes if pictures.label_column(model) else ()
        made = export.prepare(
            model, name, pictures.fingerprint(model), classes=classes, settings=settings
        )
        question = checking.question(made, 3)
        labels = np.array(question.labels) if made.classes else None
        drawn = pictures.draw(model, question.codes, labels, **settings)
        return made, question, to_uint8(drawn, made.value_range)

    return ask


@pytest.mark.parametrize("form", export.FORMS)
@pytest.mark.parametrize("name", DRAWING)
def test_every_form_of_it_draws_the_same_pictures(name, form, asked, monkeypatch):
    monkeypatch.setenv("CFLAGS", "-O1")  # compiles in a third of the time
    made, question, reference = asked(name)
    assert len(np.unique(reference)) > 20
    (row,) = checking.verify(made, reference, question, [form])
    if row.skipped:  # only for what this machine lacks: every form can say every model
        assert "install" in row.skipped, row.skipped
        pytest.skip(row.skipped)
    assert row.ok, (row.failed, row.levels)
    assert (row.images, row.levels <= 1, row.error < 1e-5) == (3, True, True), row
    assert row.size > 500


def test_the_small_options_are_of_known_models():
    assert SMALL.keys() <= models.MODELS.keys()
