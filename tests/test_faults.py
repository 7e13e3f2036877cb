"""Faults: each open, write, fsync, close, rename in turn fails, and processes are killed.

What is asked of `train` and `export`: no traceback, no hang, no half-written file, a message with
the way on, and after it is followed the same bits as if nothing had happened.
"""

import builtins
import errno
import io
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import tinygen as tg
from tinygen import data, models, train
from tinygen.export import FORMS
from tinygen.runs import RunFolder, pictures

TINY = ["--n", "30", "--size", "8", "--batch-size", "15", "--hidden", "8", "--no-compile"]


class FaultyFile:
    """A file whose writing and closing may fail."""

    def __init__(self, file, faults):
        self._file, self._faults, self._writes = file, faults, 0

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write(self, text):
        self._writes += 1
        if self._writes <= 3:  # a file of arrays has a write an array, which are all alike
            self._faults.count()
        return self._file.write(text)

    def truncate(self, *size):
        self._faults.count()
        return self._file.truncate(*size)

    def close(self):
        if not self._file.closed:
            self._file.close()  # the system closes it all the same
            self._faults.count()


class Faults:
    """Makes the k-th operation on files below a folder fail; counts them all."""

    def __init__(self, folder):
        self.folder, self.done, self.at, self.error = str(folder), 0, 0, errno.ENOSPC

    def count(self, path=None):
        """One more operation; an error of opening says which file, one of writing does not."""
        self.done += 1
        if self.done == self.at:
            raise OSError(self.error, os.strerror(self.error), path)

    def inside(self, path):
        return isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(
            self.folder
        )

    def __enter__(self):
        self.done = 0
        self._patches = pytest.MonkeyPatch()
        plain = {name: getattr(os, name) for name in ("fsync", "replace")}
        opened = builtins.open

        def open_it(path, *args, **more):
            if not self.inside(path):
                return opened(path, *args, **more)
            self.count(os.fspath(path))
            return FaultyFile(opened(path, *args, **more), self)

        def fsync(handle):
            self.count()
            return plain["fsync"](handle)

        def replace(source, target, **more):
            if self.inside(target):
                self.count()
            return plain["replace"](source, target, **more)

        for module in (builtins, io):
            self._patches.setattr(module, "open", open_it)
        self._patches.setattr(os, "fsync", fsync)
        self._patches.setattr(os, "replace", replace)
        return self

    def __exit__(self, *_):
        self._patches.undo()


@pytest.fixture
def light(monkeypatch):
    """Curves as a file of a few bytes: matplotlib takes long, and writes in the same way."""

    def save_losses(folder):
        tg.io.write_bytes(folder.path / "losses.png", b"curves")
        return True

    monkeypatch.setattr(pictures, "save_losses", save_losses)


def same_run(a, b):
    for name in ("model.safetensors", "log.jsonl", "samples.png"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    x, y = (RunFolder(p).newest_checkpoint() for p in (a, b))
    assert x.keys() == y.keys()
    assert all(np.array_equal(x[k], y[k]) for k in x)
    assert not list(b.rglob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resumed", "errors"),
    [(False, [errno.ENOSPC]), (False, [errno.EIO]), (True, [errno.ENOSPC, errno.EIO])],
)
def test_each_operation_on_files_of_a_training_may_fail(resumed, errors, tmp_path, light):
    """A new training of an epoch, or the second epoch of a resumed one."""
    strokes = data.load("strokes", n=20, size=8)
    run, faults = tmp_path / "run", Faults(tmp_path / "run")
    epochs = 2 if resumed else 1

    def fit(out, epochs, resume=False):
        model = models.VAE(strokes.shape, hidden=(8,), latent=2, rng=tg.random.Generator(0))
        train.fit(model, strokes, epochs, out=out, resume=resume, batch_size=10, compiled=False,
                  progress=False)  # fmt: skip

    def start():
        shutil.rmtree(run, ignore_errors=True)
        if resumed:
            shutil.copytree(tmp_path / "first", run)
        with faults:
            fit(run, epochs, resumed)

    fit(tmp_path / "first", 1)
    fit(tmp_path / "straight", epochs)
    start()
    total = faults.done
    assert total > 40
    for faults.at in range(1, total + 1):
        faults.error = errors[faults.at % len(errors)]
        said = os.strerror(faults.error)
        try:
            start()
        except OSError as failed:
            said = str(failed)
        assert os.strerror(faults.error) in said
        fit(run, epochs, resume=RunFolder(run).config.exists())  # the way that is told
        same_run(tmp_path / "straight", run)


@pytest.mark.slow
def test_faults_of_a_training_are_told_in_a_line(tinygen, tmp_path, light):
    words = ["train", "vae", *TINY, "--epochs", 1, "--out", "run"]
    faults = Faults(tmp_path / "run")
    with faults:
        assert tinygen(*words)[0] == 0
    total = faults.done
    for faults.at in range(1, total + 1, 7):
        shutil.rmtree("run", ignore_errors=True)
        with faults:
            code, out, err = tinygen(*words)
        assert code in (0, 2), (faults.at, out, err)
        assert err.count("\n") <= 1, err
        assert ("error: run" in err and "No space left on device" in err) or not code
        if "Go on with" in out:
            assert "tinygen train vae --out run --resume" in out
            words = ["train", "vae", "--out", "run", "--resume"]
            assert tinygen(*words)[0] == 0
            words = ["train", "vae", *TINY, "--epochs", 1, "--out", "run"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["python", "c", "html", "js", "safetensors"])
def test_each_operation_on_files_of_an_export_may_fail(form, tinygen, tmp_path):
    assert tinygen("train", "vae", *TINY, "--epochs", 1, "--out", "run")[0] == 0
    folder, suffix = tmp_path / "out", FORMS[form][1]
    folder.mkdir()
    export = ["export", "run", "--to", form, "--out", f"out/a{suffix}"]
    faults = Faults(folder)
    with faults:
        assert tinygen(*export)[0] == 0
    total = faults.done
    assert total >= 5
    whole = {p.name: p.read_bytes() for p in folder.iterdir()}
    for k in range(2 * total):
        faults.at, faults.error = k // 2 + 1, (errno.ENOSPC, errno.EIO)[k // 2 % 2]
        # files of an earlier export begin as its own
        old = {name: content[:40] + b" older" for name, content in whole.items()} if k % 2 else {}
        shutil.rmtree(folder)
        folder.mkdir()
        for name, content in old.items():
            (folder / name).write_bytes(content)
        with faults:
            code, out, err = tinygen(*export)
        assert code in (0, 2), (faults.at, out, err)
        assert err.count("\n") <= 1, err
        for path in folder.iterdir():  # whole, or as it was
            assert path.read_bytes() in (whole[path.name], old.get(path.name))
        code, out, err = tinygen(*export)
        assert code == 0, (faults.at, out, err)
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == whole


KILLED = """
    import os, random, signal, sys, time
    import tinygen as tg
    from tinygen import data, models, train
    from tinygen.runs import pictures
    from tinygen.train import loop
    loop.CHECKPOINT_EVERY = 0.0  # after every step
    pictures.save_losses = lambda folder: True
    out, seed = sys.argv[1], int(sys.argv[2])
    strokes = data.load("strokes", n=60, size=10)
    rng = random.Random(seed)

    def fit():
        model = models.VAE(strokes.shape, hidden=(12,), latent=3, rng=tg.random.Generator(0))
        begun = os.path.exists(out + "/config.json")
        train.fit(model, strokes, 5, out=out, batch_size=20, compiled=False, progress=False,
                  resume=begun)

    for attempt in range(200):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                fit()
                code = 0
            finally:
                os._exit(code)
        if attempt < 25:
            time.sleep(rng.uniform(0, 0.25))
            os.kill(child, rng.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
            sys.exit(f"attempt {attempt} failed")
        if attempt >= 25 and os.WIFEXITED(status):
            print("done", attempt)
            break
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_and_resumed_to_the_same_bits(seed, tmp_path):
    strokes = data.load("strokes", n=60, size=10)
    model = models.VAE(strokes.shape, hidden=(12,), latent=3, rng=tg.random.Generator(0))
    train.fit(model, strokes, 5, out=tmp_path / "straight", batch_size=20, compiled=False,
              progress=False)  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), tmp_path / "run", str(seed)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    same_run(tmp_path / "straight", tmp_path / "run")
