"""The command line, end to end, and what it says when something is wrong."""

import gzip
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import tinygen as tg
from tinygen import train
from tinygen.cli import app, evaluate
from tinygen.train import RunFolder

FAST = ["--n", "60", "--size", "10", "--batch-size", "20", "--epochs", "1", "--hidden", "12"]


def idx(path, array, labels=False):
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wb") as file:
        file.write(header + array.astype(np.uint8).tobytes())


def photos(folder, size=12, **classes):
    """A folder of images, so many for each class, with noise around a grey of the class's own."""
    rng = np.random.default_rng(0)
    for name, (grey, count) in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.clip(rng.normal(grey, 10, (size, size)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


# ---- the main job --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["vae", "cvae", "gan", "cgan"])
def test_train_sample_info_evaluate(model, tinygen, tmp_path):
    code, out, _ = tinygen("train", model, *FAST)
    assert code == 0
    run = tmp_path / "runs" / f"{model}-strokes"
    assert str(run.relative_to(tmp_path) / "samples.png") in out
    assert "images/s" in out  # plain lines: this is no terminal

    code, out, _ = tinygen("sample", run, "--n", 12, "--out", "grid.png", "--seed", 3)
    assert code == 0
    assert "12 images in grid.png" in out
    text = tg.images.read_text(tmp_path / "grid.png")
    assert "synthetic" in text["Description"]
    assert text["Seed"] == "3"
    assert text["Model"].startswith(f"{model} ")

    code, out, _ = tinygen("info", run)
    assert code == 0
    assert "Dense" in out
    assert "60 images of 10 x 10 x 1" in out

    code, out, err = tinygen("evaluate", run, "--samples", 5, "--nll-images", 20)
    if model in ("vae", "cvae"):
        assert code == 0
        assert "negative ELBO" in out
        assert "test" in out
        assert "train" in out
        assert "Bernoulli" in out
        assert "negative ELBO, test" in tinygen("info", run)[1]
    else:
        assert code == 2
        assert "tinygen train classifier --data strokes --size 10" in err  # tinygen's are for 28


def test_pictures_of_every_kind(tinygen, tmp_path):
    assert tinygen("train", "cvae", *FAST)[0] == 0
    run = "runs/cvae-strokes"
    for words in (
        ["--label", 7], ["--interpolate"], ["--traverse"], ["--interpolate", "--label", 2],
        ["--around", "one.png", "--label", 1, "--spread", 0.5],
    ):  # fmt: skip
        images, _ = tg.data.strokes(n=1, seed=5, size=24)
        tg.images.grid(images, pad=0, scale=1).save(tmp_path / "one.png")
        name = f"out-{words[0].strip('-')}{len(words)}.png"
        code, _, err = tinygen("sample", run, *words, "--out", name)
        assert code == 0, err
        assert (tmp_path / name).stat().st_size > 500


def test_other_data_are_scaled_and_matched_by_the_names_of_classes(tinygen, tmp_path):
    photos(tmp_path / "photos", day=(200, 40), night=(40, 40))
    words = ["--size", 8, "--width", 0.5, "--features", 8, "--epochs", 10, "--batch-size", 18]
    words += ["--lr", 0.01, "--dropout", 0, "--ema", 0, "--no-compile"]
    assert tinygen("train", "classifier", "--data", "photos", *words, "--out", "judge")[0] == 0
    photos(tmp_path / "more", size=20, night=(40, 30))
    code, out, err = tinygen("evaluate", "judge", "--data", "more", "--json")
    assert code == 0, err
    assert [f["value"] for f in json.loads(out)["figures"]] == [100, 100]  # night is label 1 there
    photos(tmp_path / "dusk", dusk=(100, 12), night=(40, 12))
    code, _, err = tinygen("evaluate", "judge", "--data", "dusk")
    assert code == 2
    assert "the run knows day, night, and not dusk" in err
    photos(tmp_path / "numbers", **{"0": (200, 12), "1": (40, 12)})
    code, out, err = tinygen("evaluate", "judge", "--data", "numbers", "--json")
    assert code == 0, err
    assert [f["value"] for f in json.loads(out)["figures"]] == [100, 100]
    photos(tmp_path / "bare" / "x", all=(40, 12))
    code, _, err = tinygen("evaluate", "judge", "--data", tmp_path / "bare" / "x" / "all")
    assert code == 2
    assert "goes by labels, which 'all' lacks; expected a sub-folder for each class: day" in err

    assert "classes   0 day, 1 night" in tinygen("info", "judge")[1]
    few = ["--size", 8, "--epochs", 1, "--no-compile"]
    assert tinygen("train", "cgan", "--data", "photos", *few)[0] == 0
    drawn = []
    for label in ("night", 1):
        code, _, err = tinygen("sample", "runs/cgan-photos", "--label", label, "--out", "a.png")
        assert code == 0, err
        drawn.append((tmp_path / "a.png").read_bytes())
    assert drawn[0] == drawn[1]
    code, _, err = tinygen("sample", "runs/cgan-photos", "--label", "noon", "--out", "a.png")
    assert code == 2
    assert "label 'noon', expected a number from 0 to 1, or one of day, night" in err

    (tmp_path / "photos").rename(tmp_path / "moved")
    code, _, err = tinygen("evaluate", "judge")
    assert code == 2
    assert "is not there any more; if it was moved, name it with --data" in err
    resume = ["train", "cgan", "--out", "runs/cgan-photos", "--resume", "--epochs", 2]
    code, _, err = tinygen(*resume, "--data", "moved", "--size", 10)
    assert code == 2
    assert "was trained with --size 8; a run is resumed with the same data" in err
    code, _, err = tinygen(*resume, "--data", "moved")
    assert code == 0, err


def test_a_numba_that_does_not_work_is_told_in_a_line(monkeypatch, capsys):
    def broken(**_):
        raise ImportError("Numba needs NumPy 2.4 or less. Got NumPy 2.5.")

    monkeypatch.setattr(app, "app", broken)
    with pytest.raises(SystemExit) as ended:
        app.run()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Got NumPy 2.5.; install a Numba that fits (`pip install -U numba`)" in said


def test_models_that_go_by_labels_need_some(tinygen, tmp_path):
    photos(tmp_path, all=(40, 12))
    for model, more in (("cgan", "or train gan"), ("classifier", "")):
        code, _, err = tinygen("train", model, "--data", "all")
        assert code == 2
        assert "and 'all' has none; use a folder with a sub-folder for each class" in err
        assert more in err
    assert not (tmp_path / "runs").exists()
    code, _, err = tinygen("train", "vae", "--data", "all", "--hidden", "16 16")
    assert code == 2
    assert "--hidden '16 16', expected widths separated by commas" in err


def test_the_same_seed_draws_the_same_picture(tinygen, tmp_path):
    assert tinygen("train", "gan", *FAST)[0] == 0
    for name in ("a.png", "b.png"):
        assert tinygen("sample", "runs/gan-strokes", "--n", 4, "--out", name)[0] == 0
    assert tinygen("sample", "runs/gan-strokes", "--n", 4, "--seed", 1, "--out", "c.png")[0] == 0
    a, b, c = ((tmp_path / f"{k}.png").read_bytes() for k in "abc")
    assert a == b != c


def test_options_reach_the_model_and_the_training(tinygen):
    code, _, err = tinygen(
        "train", "gan", *FAST, "--loss", "hinge", "--prior", "uniform", "--optimizer", "sgd",
        "--lr", "0.01", "--latent", "7", "--dropout", "0.1", "--seed", "5", "--out", "r",
        "--schedule", "cosine", "--warmup", "2", "--ema", "0.5", "--no-compile",
    )  # fmt: skip
    assert code == 0, err
    config = RunFolder("r").read_config()
    assert config["model"]["options"] == {
        "hidden": [12], "latent": 7, "prior": "uniform", "loss": "hinge", "dropout": 0.1,
        "r1": 1.0, "gradient_penalty": 0.0, "spectral_norm": False, "critic_steps": 1,
        "optimizer": "sgd", "lr": 0.0002, "d_lr": None, "betas": [0.5, 0.999],
    }  # fmt: skip
    training = config["training"]
    assert training["lr"] == 0.01
    assert training["seed"] == 5
    assert (training["schedule"], training["warmup"], training["ema"]) == ("cosine", 2, 0.5)


CONVOLUTIONAL = [
    "--n", "60", "--size", "12", "--batch-size", "10", "--epochs", "1", "--width", "0.05",
    "--no-compile",
]  # fmt: skip


def test_convolutional_models_take_their_options(tinygen):
    code, out, err = tinygen(
        "train", "cdcgan", *CONVOLUTIONAL, "--loss", "wasserstein", "--planes", "--latent", 7,
        "--spectral-norm", "--critic-steps", 2, "--d-lr", "0.0004", "--ema", "0.5", "--out", "r",
        "--dropout", "0.1", "--gradient-penalty", 1, "--r1", "0.5",
    )  # fmt: skip
    assert code == 0, err
    config = RunFolder("r").read_config()
    assert config["model"]["options"] == {
        "width": 0.05, "dropout": 0.1, "projection": False, "latent": 7, "prior": "normal",
        "loss": "wasserstein", "r1": 0.5, "gradient_penalty": 1.0, "spectral_norm": True,
        "critic_steps": 2, "optimizer": "adam", "lr": 0.0005, "d_lr": 0.0004, "betas": [0.5, 0.999],
    }  # fmt: skip
    assert config["training"]["ema"] == 0.5
    assert tinygen("train", "cdcgan", "--out", "r", "--resume", "--epochs", 2)[0] == 0
    assert RunFolder("r").read_config()["model"] == config["model"]
    assert tinygen("sample", "r", "--label", 3, "--n", 4, "--out", "threes.png")[0] == 0
    code, out, _ = tinygen("info", "r")
    assert code == 0
    assert "Conv2d" in out
    assert "step 6" in out


def test_a_processor_trains_half_the_width_of_the_dcgan(tinygen):
    """Said in the run's configuration, as if it had been given; a resumed run keeps its own."""
    few = ["--n", 20, "--size", 8, "--batch-size", 10, "--epochs", 1, "--no-compile", "--out", "r"]
    assert tinygen("train", "dcgan", *few)[0] == 0
    assert RunFolder("r").read_config()["model"]["options"]["width"] == 0.5
    assert tinygen("train", "dcgan", *few[:-2], "--width", "0.1", "--out", "s")[0] == 0
    assert tinygen("train", "dcgan", "--out", "s", "--resume", "--epochs", 2)[0] == 0
    assert RunFolder("s").read_config()["model"]["options"]["width"] == 0.1


@pytest.mark.parametrize("model", ["dcgan", "conv-gan", "conv-vae"])
def test_convolutional_models_need_no_options(model, tinygen):
    code, _, err = tinygen("train", model, *CONVOLUTIONAL)
    assert code == 0, err
    run = f"runs/{model}-strokes"
    assert RunFolder(run).read_config()["training"]["ema"] == (
        0.0 if model == "conv-vae" else 0.999
    )
    assert tinygen("sample", run, "--n", 4, "--out", "a.png")[0] == 0
    code, _, err = tinygen("sample", run, "--n", 4, "--label", 1, "--out", "a.png")
    assert code == 2
    assert f"train {'cvae' if model == 'conv-vae' else 'cdcgan'} for that" in err


def test_a_run_of_arrays_is_resumed_with_data_that_are_named(tinygen, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 10, 10, 1), np.uint8)
    data = tg.data.load(images)
    model = tg.models.VAE(data.shape, hidden=(12,), latent=2)
    tg.train.fit(model, data, 1, out="run", progress=False)
    np.save(tmp_path / "images.npy", images)
    code, out, err = tinygen("train", "vae", "--out", "run", "--resume", "--epochs", 2)
    assert (code, out) == (2, "")  # no other data are read
    assert "run was trained on arrays from memory; name the data with --data" in err
    words = ("--out", "run", "--resume", "--epochs", 2, "--data", "images.npy")
    assert tinygen("train", "vae", *words)[0] == 0


def test_resume_takes_the_settings_from_the_run(tinygen, tmp_path):
    straight = ["train", "vae", *FAST, "--latent", 4, "--seed", 3]
    assert tinygen(*straight, "--out", "a")[0] == 0
    assert tinygen("train", "vae", "--out", "a", "--resume", "--epochs", 3)[0] == 0
    straight[straight.index("--epochs") + 1] = "3"
    assert tinygen(*straight, "--out", "b")[0] == 0
    a, b = tg.load("a/model.safetensors"), tg.load("b/model.safetensors")
    assert all(np.array_equal(a[k], b[k]) for k in a)
    # without --out: the newest run of this model in runs/
    assert tinygen("train", "vae", *FAST)[0] == 0
    code, out, _ = tinygen("train", "vae", "--resume", "--epochs", 2)
    assert code == 0
    assert "runs/vae-strokes" in out
    # a second run of the same name gets a folder of its own
    assert tinygen("train", "vae", *FAST)[0] == 0
    assert (tmp_path / "runs" / "vae-strokes-2" / "samples.png").exists()


# ---- data from files -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["idx", "idx.gz", "png", "npy", "npz", "colour"])
def test_trains_on_files(kind, tinygen, tmp_path):
    images, table = tg.data.strokes(n=40, seed=0, size=10, colour=kind == "colour")
    folder = tmp_path / "Bilder für später"
    folder.mkdir()
    source = folder
    if kind.startswith("idx"):
        end = ".gz" if kind.endswith("gz") else ""
        for split, part in (("train", slice(0, 30)), ("t10k", slice(30, 40))):
            idx(folder / f"{split}-images-idx3-ubyte{end}", images[part, :, :, 0])
            idx(folder / f"{split}-labels-idx1-ubyte{end}", table["digit"][part])
    elif kind in ("png", "colour"):
        for i, (image, digit) in enumerate(zip(images, table["digit"], strict=True)):
            (folder / str(digit)).mkdir(exist_ok=True)
            path = folder / str(digit) / f"{i}.png"
            tg.images.grid(image[None], pad=0, scale=1).save(path)
    elif kind == "npy":
        source = folder / "images.npy"
        np.save(source, images[:, :, :, 0])
    else:
        source = folder / "images.npz"
        np.savez(source, x_train=images[:30], y_train=table["digit"][:30], x_test=images[30:],
                 y_test=table["digit"][30:])  # fmt: skip
    model = "vae" if kind == "npy" else "cvae"
    words = ["train", model, "--data", source, "--epochs", 1, "--batch-size", 8, "--out", "run"]
    code, out, err = tinygen(*words, "--hidden", "12", "--no-compile")
    assert code == 0, err
    assert f"10 x 10 {'RGB' if kind == 'colour' else 'grey'}" in out
    code, out, err = tinygen("evaluate", "run", "--samples", 2, "--nll-images", 5)
    assert code == 0, err


# ---- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "vae", "--dta", "mnist"], "No such option"),
        (["train", "diffusion"], "diffusion"),
        (["train", "vae", "--data", "nowhere"], "no such file or folder"),
        (["train", "vae", "--likelihood", "poisson"], "poisson"),
        (["train", "vae", *FAST[:-2], "--hidden", "a,b"], "512,256"),
        (["train", "vae", *FAST, "--prior", "normal"], "vae has no option --prior"),
        (["train", "gan", *FAST, "--beta", "2"], "gan has no option --beta"),
        (["train", "vae", *FAST, "--d-lr", "1"], "vae has no option --d-lr; it takes --beta"),
        (["train", "dcgan", *FAST], "dcgan has no option --hidden; it takes --critic-steps"),
        (["train", "dcgan", "--n", "60", "--size", "30"], "30 x 30, which doubling"),
        (["train", "conv-gan", "--n", "60", "--size", "8"], "expected 10 x 10 or more"),
        (["train", "dcgan", "--n", "60", "--critic-steps", "0"], "--critic-steps 0"),
        (["train", "vae", *FAST, "--lr", "-1"], "--lr -1"),
        (["train", "vae", *FAST, "--ema", "2"], "--ema 2"),
        (["train", "vae", *FAST, "--latent", "0"], "--latent 0"),
        (["train", "vae", "--resume"], "no run of vae"),
        (["train", "vae", "--resume", "--out", "nowhere"], "not the folder of a run"),
        (["sample", "nowhere"], "not the folder of a run"),
        (["info", "nowhere"], "not the folder of a run"),
        (["evaluate", "nowhere"], "not the folder of a run"),
    ],
)
def test_user_errors_are_said_plainly_and_leave_nothing(words, message, tinygen, tmp_path):
    code, out, err = tinygen(*words)
    assert code == 2
    assert message in " ".join((out + err).split()), (out, err)
    assert not (tmp_path / "runs").exists()


def test_more_user_errors(tinygen, tmp_path):
    assert tinygen("train", "gan", *FAST, "--out", "run")[0] == 0
    for words, message in (
        (["train", "gan", *FAST, "--out", "run"], "exists and is not empty"),
        (["train", "vae", "--out", "run", "--resume"], "holds a run of gan"),
        (["train", "gan", "--out", "run", "--resume", "--batch-size", "5"], "same settings"),
        (["sample", "run", "--label", "1"], "train cgan"),
        (["sample", "run", "--around", "x.png"], "no such file"),
        (["sample", "run", "--interpolate", "--traverse"], "choose one"),
        (["sample", "run", "--n", "0"], "--n"),
        (["sample", "run", "--out", "x.jpg"], "ending in .png"),
    ):
        code, out, err = tinygen(*words)
        assert code == 2, words
        assert message in " ".join((out + err).split()), (words, out, err)


def test_damaged_files(tinygen, tmp_path):
    assert tinygen("train", "vae", *FAST, "--out", "run")[0] == 0
    weights = tmp_path / "run" / "model.safetensors"
    whole = weights.read_bytes()
    for damage in (whole[:50], whole[:-7], b"", b"\xff" * 64):
        weights.write_bytes(damage)
        code, _, err = tinygen("sample", "run")
        assert code == 2
        assert "model.safetensors" in err
    weights.write_bytes(whole)
    config = tmp_path / "run" / "config.json"
    good = json.loads(config.read_text())
    for text, message in (
        ("{", "damaged"), ("[]", "damaged"), ('{"model": {}}', "damaged"),
        (json.dumps({**good, "format": 99}), "format 99"),
    ):  # fmt: skip
        config.write_text(text)
        code, _, err = tinygen("info", "run")
        assert code == 2
        assert message in err
    folder = tmp_path / "pictures"
    folder.mkdir()
    code, _, err = tinygen("train", "vae", "--data", folder)
    assert code == 2
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    code, _, err = tinygen("train", "vae", "--data", folder)
    assert code == 2
    assert "a.png" in err


def test_divergence_exits_1(tinygen, tmp_path):
    code, _, err = tinygen(
        "train", "vae", "--n", 60, "--size", 10, "--batch-size", 20, "--lr", "1e9", "--out", "r",
        "--epochs", 30,
    )  # fmt: skip
    assert code == 1
    assert "First non-finite result" in err
    assert "smaller --lr" in err


@pytest.mark.quick
def test_options_of_figures_that_a_model_does_not_have_are_named(tinygen, monkeypatch):
    monkeypatch.setattr("tinygen.cli.evaluate.measure", lambda *_: evaluate.Found([]))
    options = {"gan": [], "vae": ["--likelihood", "mse"], "cvae": []}
    for name, words in options.items():
        assert tinygen("train", name, *FAST, "--no-compile", "--out", name, *words)[0] == 0

    def told(*words):
        code, out, err = tinygen("evaluate", *words, "--json")
        assert (code, json.loads(out)["figures"]) == (0, [])
        return err

    both = ("--samples", 5, "--nll-images", 9)
    assert told("gan", *both) == (
        "note: --samples 5 and --nll-images 9 changed nothing: this gan has no NLL from codes; a "
        "VAE with a likelihood has\n"
    )
    assert "note: --samples 5 changed nothing: this vae" in told("vae", "--samples", 5)
    assert told("gan") == told("gan", "--nll-images", 0) == told("cvae", *both) == ""


# ---- the program ---------------------------------------------------------------------------------


@pytest.mark.quick
def test_version_and_help(tinygen):
    assert tinygen("--version")[1].strip() == f"tinygen {tg.__version__}"
    code, out, _ = tinygen("--help")
    assert code == 0
    for command in ("train", "sample", "info", "evaluate", "warmup"):
        assert command in out
        code, text, _ = tinygen(command, "--help")
        assert code == 0
        assert "Usage" in text


def test_warmup_builds_what_train_builds(tinygen, monkeypatch):
    pytest.importorskip("numba")
    built = []

    def fit(model, *_, **settings):
        built.append(model.options)
        raise ValueError("enough")

    monkeypatch.setattr(train, "fit", fit)
    for name in ("flow", "dcgan", "vae"):
        for words in (["warmup", name], ["train", name, "--n", 40]):
            assert tinygen(*words)[0] == 2
        assert built[-1] == built[-2]
    assert len(built) == 6


def test_runs_as_a_module_and_in_a_terminal_of_80_columns(tmp_path):
    command = [sys.executable, "-m", "tinygen", "train", "vae", *FAST]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    log = (tmp_path / "runs" / "vae-strokes" / "log.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["kind"] == "epoch"


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
def test_a_terminal_shows_a_bar(tmp_path):
    import os
    import pty

    parent, child = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    env.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "tinygen", "train", "vae", *FAST]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=child, stderr=child, stdin=child, env=env, close_fds=True
    )
    os.close(child)
    shown = b""
    while True:
        try:
            part = os.read(parent, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(parent)
    assert process.wait() == 0
    text = shown.decode()
    assert "epoch 1/1" in text
    assert "━" in text
    assert "images/s" in text
