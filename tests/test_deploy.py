"""The commands that hand a generator over: export, verify, explore."""

import json
import shutil
import webbrowser

import numpy as np
import pytest
from exported import small

import tinygen as tg
from tinygen import export, models, train
from tinygen.data.strokes import strokes
from tinygen.export import verify

FAST = ["--n", 60, "--size", 12, "--batch-size", 20, "--epochs", 1, "--no-compile"]
HOSTILE = "</script>'\"*"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where runs of small models are kept, each trained once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def run(tinygen, folder):
    """The folder of a run of a small model."""

    def trained(model, *more):
        path = folder / model
        if not path.exists():
            options = ["--width", 0.1] if "dcgan" in model else ["--hidden", 12]
            code, _, err = tinygen("train", model, *FAST, *options, "--latent", 4, "--out", path)
            assert code == 0, err
        return path

    return trained


@pytest.mark.parametrize("form", export.FORMS)
def test_a_run_becomes_a_file_the_same_each_time(tinygen, run, tmp_path, form):
    code, out, err = tinygen("export", run("cvae"), "--to", form, "--licence", "CC0")
    assert code == 0, err
    path = tmp_path / f"cvae{export.FORMS[form][1]}"
    assert f"{path.name}  {path.stat().st_size:,} bytes" in out
    assert "terms of weights and data: CC0" in out
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert tinygen("export", run("cvae"), "--to", form, "--licence", "CC0")[0] == 0
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == first
    for text in (str(run("cvae")), str(tmp_path)):  # nothing of this machine
        assert not any(text.encode() in blob for blob in first.values())


@pytest.mark.usefixtures("all_curves")
def test_files_that_are_handed_on_hold_no_path(tinygen, tmp_path):
    """Data from a folder, measured with a classifier from another: neither path is in a file."""
    private = tmp_path / "private folder"
    private.mkdir()
    images, table = strokes(200, 0, 12)
    np.savez(private / "digits.npz", x_train=images, y_train=table["digit"])
    judge, run = private / "judge", tmp_path / "run"
    words = ["--data", private / "digits.npz", *FAST[4:]]
    assert tinygen("train", "classifier", *words, "--features", 3, "--out", judge)[0] == 0
    measured = ["--evaluate-every", 1, "--classifier", judge]
    code, _, err = tinygen("train", "cvae", *words, "--hidden", 9, *measured, "--out", run)
    assert code == 0, err
    for form in export.FORMS:
        assert tinygen("export", run, "--to", form, "--out", f"a{export.FORMS[form][1]}")[0] == 0
    files = [*tmp_path.glob("a.*"), *run.rglob("*.safetensors"), *run.rglob("*.png")]
    assert len(files) > 12
    for path in files:
        assert b"private folder" not in path.read_bytes(), path
        assert str(tmp_path).encode() not in path.read_bytes(), path
    assert train.open_run(run).load_data().fingerprint  # which lie where config.json says
    code, _, err = tinygen("train", "cvae", "--out", run, "--resume", "--epochs", 2)
    assert code == 0, err


def test_parts_and_precisions_are_chosen(tinygen, run, tmp_path):
    for precision in export.PRECISIONS:
        words = ["--part", "both", "--precision", precision, "--out", f"{precision}.py"]
        assert tinygen("export", run("vae"), "--to", "python", *words)[0] == 0
    sizes = [(tmp_path / f"{p}.py").stat().st_size for p in export.PRECISIONS]
    assert sizes == sorted(sizes, reverse=True)


def test_no_file_is_lost(tinygen, run, tmp_path):
    shutil.copytree(run("vae"), tmp_path / "model")
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    inside = tmp_path / "model" / "model.safetensors"
    code, _, err = tinygen("export", "model", "--to", "safetensors", "--out", inside)
    assert code == 2
    assert "has the weights of a run, which would be lost" in err
    assert inside.read_bytes() == weights
    (tmp_path / "NOTES.md").write_text("mine")
    code, _, err = tinygen("export", "model", "--to", "safetensors", "--out", "NOTES.safetensors")
    assert code == 2
    assert "NOTES.md exists, and would be written beside NOTES.safetensors" in err
    assert (tmp_path / "NOTES.md").read_text() == "mine"
    assert not (tmp_path / "NOTES.safetensors").exists()
    assert tinygen("export", "model", "--to", "c", "--out", "vae.c")[0] == 0
    assert tinygen("export", "model", "--to", "c", "--out", "vae.c", "--part", "both")[0] == 0
    (tmp_path / "vae.h").write_text("#define MINE\n")
    code, _, err = tinygen("export", "model", "--to", "c", "--out", "vae.c")
    assert code == 2
    assert "vae.h exists, and would be written beside vae.c; name another file" in err
    assert (tmp_path / "vae.h").read_text() == "#define MINE\n"


@pytest.mark.parametrize("form", export.FORMS)
def test_a_file_of_ones_own_that_has_the_name_of_the_run_is_kept(tinygen, run, tmp_path, form):
    shutil.copytree(run("vae"), tmp_path / "mine")
    path = tmp_path / f"mine{export.FORMS[form][1]}"
    own = b'"""My VAE, with tinygen."""\n' if form == "python" else b"/* my own */\n"
    path.write_bytes(own)
    code, _, err = tinygen("export", "mine", "--to", form)
    assert code == 2
    assert f"{path.name} is there already, and no earlier export wrote it" in err
    assert path.read_bytes() == own
    path.write_bytes(b"")
    for _ in range(2):  # an earlier export is written anew
        assert tinygen("export", "mine", "--to", form)[0] == 0
    assert path.read_bytes()[:100] != own
    if form == "python":
        path.write_bytes(own)
        assert tinygen("export", "mine", "--to", form, "--out", path.name)[0] == 0


def test_what_it_says_to_do_next_can_be_done(tinygen, run, tmp_path):
    _, out, _ = tinygen("export", run("vae"), "--to", "safetensors", "--out", "a.safetensors")
    assert "next  a.md says how to load it" in out
    assert '"a.safetensors"' in (tmp_path / "a.md").read_text()
    (tmp_path / "my out").mkdir()
    _, out, _ = tinygen("export", run("vae"), "--to", "python", "--out", "my out/vae.py")
    assert "next  python3 'my out/vae.py' --n 16" in out
    (tmp_path / "vae").mkdir()  # where the compiler's result would go
    _, out, _ = tinygen("export", run("vae"), "--to", "c", "--out", "vae.c")
    assert "-o vae_draw && ./vae_draw --n 16" in out
    _, out, _ = tinygen("export", run("vae"), "--to", "c", "--part", "encode", "--out", "e.c")
    assert "vae_encode(pixels, label, mean, logvar, workspace), declared in e.h" in out
    assert "int vae_encode(const unsigned char pixels[" in (tmp_path / "e.h").read_text()
    _, out, _ = tinygen("export", run("vae"), "--to", "js", "--out", "digits.js")
    assert '<script src="digits.classic.js"></script> and tinygen.vae.generate()' in out
    assert "(globalThis.tinygen ??= {}).vae = " in (tmp_path / "digits.classic.js").read_text()
    _, out, _ = tinygen("export", run("vae"), "--to", "python", "--part", "encode")
    assert "next  from vae import encode" in out


def test_names_of_parts_from_before_still_work(tinygen, run, tmp_path):
    """--part decoder and encoder write what draw and encode write, and one line says so."""
    for old, new in export.PARTS_BEFORE.items():
        for name in (old, new):
            words = ("--to", "safetensors", "--part", name, "--out", f"{name}.safetensors")
            code, out, err = tinygen("export", run("vae"), *words)
            assert code == 0, err
            said = f"--part {old} is called --part {new} now"
            assert out.splitlines().count(said) == (name == old)
        files = [(tmp_path / f"{name}.safetensors").read_bytes() for name in (old, new)]
        assert files[0] == files[1]
        with pytest.warns(DeprecationWarning, match=f"the part {old} is called {new} now"):
            made = export.prepare(small("vae"), "a", "0", part=old)
        assert list(made.graphs) == [new]
    code, _, err = tinygen("export", run("vae"), "--to", "c", "--part", "all")
    assert (code, "part 'all', expected one of draw, encode, both" in err) == (2, True)


@pytest.mark.quick
def test_a_fact_about_a_run_never_replaces_what_the_file_says_of_itself():
    """The evaluation's "precision" once stood where the precision of the weights belongs."""
    with pytest.raises(ValueError, match="about has precision, which a file says of itself"):
        export.prepare(small("vae"), "a", "0", about={"precision": 0.85, "data": "strokes"})
    made = export.prepare(small("vae"), "a", "0", about={"data": "strokes"})
    assert made.describe()["precision"] == "float32"
    assert made.describe()["data"] == "strokes"


def test_a_hostile_name_is_only_a_name(tinygen, run, tmp_path):
    path = tmp_path / HOSTILE.replace("/", "")
    shutil.copytree(run("vae"), path)
    for form in export.FORMS:
        assert tinygen("export", path, "--to", form)[0] == 0
        assert (tmp_path / f"script{export.FORMS[form][1]}").exists()
    rows, _ = verify_rows(tinygen, path, "--seeds", 2)
    assert [r["name"] for r in rows if r["failed"]] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["vae", "--to", "python", "--out", "a.txt"], "a.txt: python is written as .py"),
        (["vae", "--to", "c", "--lower-conv-transpose"], "is for --to onnx, not for c"),
        (["gan", "--to", "c", "--part", "both"], "gan has no encoder"),
        (["vae", "--to", "c", "--best", "--out", "no/such/folder/a.c"], "No such file"),
    ],
)
def test_what_cannot_be_exported_is_said(tinygen, run, tmp_path, words, says):
    code, out, err = tinygen("export", run(words[0]), *words[1:])
    assert code == 2
    assert says in " ".join((out + err).split())
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_weights(tinygen, run, tmp_path):
    shutil.copytree(run("vae"), tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").unlink()
    code, _, err = tinygen("export", "cut", "--to", "python")
    assert code == 2
    assert "has no model.safetensors: it was deleted; write it with" in err


# ---- verify --------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [models.VAE, models.GAN, models.DCGAN])
def test_networks_of_every_size_can_be_compiled(build):
    made = export.prepare(build((28, 28, 1), rng=tg.random.Generator(0)).eval(), "large", "0")
    x, packed = tg.random.Generator(1).normal((2, made.latent)), made.graphs["draw"]
    assert max(stored.nbytes for stored in packed.stored.values()) > 2**20
    run = packed.on(tg.backend.get("numpy"))
    np.testing.assert_allclose(tg.compile(run)(x)[-1].numpy(), run(x)[-1].numpy(), atol=1e-5)


def verify_rows(tinygen, path, *words):
    _, out, err = tinygen("verify", path, "--json", *words)
    return json.loads(out)["rows"], err


@pytest.mark.parametrize("model", ["cvae", "dcgan"])
def test_every_form_draws_what_the_checkpoint_draws(tinygen, run, model):
    rows, err = verify_rows(tinygen, run(model), "--seeds", 10)
    assert [r["name"] for r in rows] == list(verify.subjects())
    for row in rows:
        if row["skipped"]:
            continue
        assert not row["failed"], (row, err)
        assert row["levels"] <= 1, row
        assert row["images"] == (8 if row["name"] == "emulated" else 10)
        if row["error"] is not None:
            assert row["error"] < 1e-5, row
    assert {"numpy", "python", "safetensors"} <= {r["name"] for r in rows if not r["skipped"]}


def test_verify_prints_a_table(tinygen, run):
    code, out, err = tinygen("verify", run("cvae"), "--seeds", 3, "--only", "python")
    assert code == 0, err
    assert out.split()[:4] == ["images", "levels", "error", "at"]
    assert "in image 0 of each of 3 seeds" in out
    code, out, _ = tinygen(
        "verify", run("cvae"), "--only", "numpy", "--precision", "int8", "--n", 20
    )
    assert "cost in KID: not measured: " in " ".join(out.split())


def test_what_differs_fails(tinygen, run, monkeypatch):
    def wrong(asked, path):
        drawn = verify._numpy(asked, path)
        pixels = drawn.pixels.copy()
        pixels[-1, 0, 0, 0] ^= 64
        return verify.Drawn(pixels, None, None, None)

    def broken(asked, path):
        raise RuntimeError("ended with 3: out of luck")

    def absent(asked, path):
        raise verify.Unavailable("no such machine")

    def refused(form, made, out):
        raise export.ExportError("the library onnx is missing")

    fakes = {"numpy": wrong, "numba": broken, "cupy": absent, "onnx": verify._onnx}
    monkeypatch.setattr(verify, "subjects", lambda: fakes)
    monkeypatch.setattr(verify, "write", refused)
    code, out, _ = tinygen("verify", run("vae"), "--seeds", 4)
    assert code == 1
    assert "failed numpy: 64 grey levels apart, expected at most 1" in out
    assert "failed numba: ended with 3: out of luck" in out
    assert "skipped cupy: no such machine" in out
    assert "skipped onnx: the library onnx is missing" in out


def test_only_what_there_is(tinygen, run):
    code, _, err = tinygen("verify", run("vae"), "--only", "basic")
    assert code == 2
    assert "--only basic, expected some of numpy, numba" in " ".join(err.split())


# ---- explore -------------------------------------------------------------------------------------


def test_explore_makes_the_page_and_opens_it(tinygen, run, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    code, _, err = tinygen("explore", run("vae"))
    assert code == 0, err
    page = run("vae") / "explore.html"
    assert opened == [page.resolve().as_uri()]
    assert page.read_bytes().startswith(b"<!DOCTYPE html>")
    code, _, err = tinygen("explore", run("vae"), "--no-open", "--out", "here.html")
    assert code == 0, err
    assert len(opened) == 1
    page.unlink()
