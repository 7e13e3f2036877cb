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
from tinygen.train import RunFolder, pictures

TINY = ["--n", "30", "--size", "8", "--batch-size", "15", "--hidden", "8", "--no-compile"]


class FaultyFile:
    """A file whose writing and closing may fail."""

    def __init__(self, file, faults):
        self._file, self._faults = file, faults

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write(self, text):
        self._faults.count("write")
        return self._file.write(text)

    def truncate(self, *size):
        self._faults.count("write")
        return self._file.truncate(*size)

    def close(self):
        if not self._file.closed:
            self._file.close()  # the system closes it all the same
            self._faults.count("close")


class Faults:
    """Makes the k-th operation on files below a folder fail; counts them all."""

    def __init__(self, folder):
        self.folder, self.done, self.at, self.error = str(folder), 0, 0, errno.ENOSPC

    def count(self, what):
        self.done += 1
        if self.done == self.at:
            raise OSError(self.error, os.strerror(self.error))

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
            self.count("open")
            return FaultyFile(opened(path, *args, **more), self)

        def fsync(handle):
            self.count("fsync")
            return plain["fsync"](handle)

        def replace(source, target, **more):
            if self.inside(target):
                self.count("rename")
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
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("resumed", [False, True])
def test_each_operation_on_files_of_a_training_may_fail(resumed, error, tinygen, tmp_path, light):
    """A new training of two epochs, or the second epoch of a resumed one."""
    train = ["train", "vae", *TINY, "--epochs", 2, "--out"]
    assert tinygen(*train, "straight")[0] == 0
    first = ["train", "vae", *TINY, "--epochs", 1, "--out", "first"]
    assert tinygen(*first)[0] == 0
    faults = Faults(tmp_path / "run")
    faults.error = error

    def start():
        shutil.rmtree("run", ignore_errors=True)
        if not resumed:
            return tinygen(*train, "run")
        shutil.copytree("first", "run")
        return tinygen("train", "vae", "--out", "run", "--resume", "--epochs", 2)

    with faults:
        assert start()[0] == 0
    total = faults.done
    assert total > 40
    for faults.at in range(1, total + 1):
        with faults:
            code, out, err = start()
        assert code in (0, 2), (faults.at, out, err)
        if code:
            assert err.count("\n") == 1, err
            assert os.strerror(error) in err
        if RunFolder("run").config.exists():  # the way that was printed, or tried
            code, out, err = tinygen("train", "vae", "--out", "run", "--resume", "--epochs", 2)
        else:
            code, out, err = tinygen(*train, "run")
        assert code == 0, (faults.at, out, err)
        same_run(tmp_path / "straight", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["python", "c", "html", "js", "safetensors"])
def test_each_operation_on_files_of_an_export_may_fail(form, tinygen, tmp_path):
    from tinygen.export import FORMS

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
    for error in (errno.ENOSPC, errno.EIO):
        faults.error = error
        for old in ({}, dict.fromkeys(whole, b"old")):
            for faults.at in range(1, total + 1):
                shutil.rmtree(folder)
                folder.mkdir()
                for name, content in old.items():
                    (folder / name).write_bytes(content)
                with faults:
                    code, out, err = tinygen(*export)
                assert code in (0, 2), (faults.at, out, err)
                if code:
                    assert err.count("\n") == 1, err
                for path in folder.iterdir():  # whole, or as it was
                    assert path.read_bytes() in (whole[path.name], old.get(path.name))
                code, out, err = tinygen(*export)
                assert code == 0, (faults.at, out, err)
                assert {p.name: p.read_bytes() for p in folder.iterdir()} == whole


KILLED = """
    import os, random, signal, sys, time
    import tinygen as tg
    from tinygen import data, models, train
    from tinygen.train import loop, pictures
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
    from tinygen import data, models, train

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
