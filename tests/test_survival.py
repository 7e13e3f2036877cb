"""What a training survives: poor consoles, signals, a second training, folders that were tidied."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
from strategies import AVAILABLE

import tinygen as tg
from tinygen import cli, data, lock, models, output, program, signals, train
from tinygen.cli import app
from tinygen.cli import train as train_command
from tinygen.io import write_bytes
from tinygen.train import RunFolder, loop, progress

FAST = ["--n", "60", "--size", "10", "--batch-size", "20", "--epochs", "1", "--hidden", "12"]
posix = pytest.mark.skipif(os.name == "nt", reason="signals and locks differ on Windows")


@pytest.fixture(scope="module")
def strokes():
    return data.load("strokes", n=60, size=10)


def fit(strokes, out=None, epochs=3, **more):
    model = models.VAE(strokes.shape, hidden=(12,), latent=3, rng=tg.random.Generator(0))
    more = {"batch_size": 20, "progress": False, "compiled": False, **more}
    return train.fit(model, strokes, epochs, out=out, **more)


def same(a, b):
    a, b = a.model.state_dict(), b.model.state_dict()
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def at_step(monkeypatch, number, act):
    """Do something after so many steps."""
    plain = loop.Session.step

    def step(self, batch):
        plain(self, batch)
        if self.state.position.step == number:
            act()

    monkeypatch.setattr(loop.Session, "step", step)


# ---- the console ---------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1252", "latin-1", "utf-8"])
def test_letters_that_a_console_lacks_are_replaced(encoding):
    below = io.BytesIO()
    out = output.Output(io.TextIOWrapper(below, encoding=encoding))
    assert out.encoding == encoding
    print("loss 71.04 ± 0.20 ━ ü 日 \udce4 end", file=out)
    out.flush()
    said = below.getvalue().decode(encoding)
    assert said.startswith("loss 71.04 ")
    assert said.endswith("end\n")


class Broken(io.StringIO):
    """A stream that takes so many writes and then fails."""

    def __init__(self, error, good=0):
        super().__init__()
        self.error, self.good, self.tries = error, good, 0

    def write(self, text):
        self.tries += 1
        if self.tries > self.good:
            raise self.error
        return super().write(text)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EIO, "Input/output error"), True),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), False),  # its reader had what it wanted
        (ValueError("I/O operation on closed file"), False),
        (RuntimeError("a stream of someone's own"), False),
    ],
)
def test_a_stream_that_fails_is_silent_for_good(error, told, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    below = Broken(error, good=1)
    out = output.Output(below)
    for _ in range(4):
        print("line", file=out, flush=True, end="")
    assert below.getvalue() == "line"
    assert below.tries == 2
    assert (out.lost is not None) == told
    assert ("warning: standard output" in sys.stderr.getvalue()) == told
    assert not out.isatty()


@pytest.mark.quick
def test_a_closed_stream_takes_anything_and_a_slow_one_loses_one_text():
    out = output.Output(None)
    print("nothing", file=out, flush=True)
    assert out.lost is None
    assert not out.isatty()
    with pytest.raises(OSError, match="closed"):
        out.fileno()
    slow = Broken(BlockingIOError(errno.EAGAIN, "try again"))
    out = output.Output(slow)
    out.write("lost")
    slow.good = 5
    out.write("shown")
    assert slow.getvalue() == "shown"


@pytest.mark.parametrize("show", ["lines", True])
@pytest.mark.parametrize("stream", ["none", "full", "gone", "ascii"])
def test_a_training_goes_on_whatever_the_console_is(show, stream, strokes, tmp_path, monkeypatch):
    streams = {
        "none": None,
        "full": Broken(OSError(errno.ENOSPC, "No space left on device"), good=1),
        "gone": Broken(BrokenPipeError(errno.EPIPE, "Broken pipe"), good=1),
        "ascii": io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
    }
    at_step(monkeypatch, 1, lambda: None)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", streams[stream])
        patched.setattr(sys, "stderr", io.StringIO())
        if show is True:  # the bar, as in a terminal
            patched.setattr(output.Output, "isatty", lambda self: True)
        run = fit(strokes, tmp_path / "Läufe ━", progress=show)
    assert same(run, fit(strokes))
    assert len(train.open_run(tmp_path / "Läufe ━").epochs) == 3


def printed_on(stream, *words):
    """Run the command line with this standard output: (exit code, standard error)."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["tinygen", *map(str, words)])
        patched.setattr(sys, "stdout", stream)
        patched.setattr(sys, "stderr", io.StringIO())
        code = 0
        try:
            app.run()
        except SystemExit as stop:
            code = stop.code or 0
        return code, sys.stderr.getvalue()


@pytest.mark.parametrize("as_json", [False, True])
def test_figures_are_kept_whatever_the_console_is(as_json, tinygen, tmp_path):
    assert tinygen("train", "vae", *FAST, "--out", "run")[0] == 0
    words = ["evaluate", "run", "--samples", 2, "--nll-images", 5, *(["--json"] if as_json else [])]
    kept = tmp_path / "run" / "evaluation.json"
    full = OSError(errno.ENOSPC, "No space left on device")
    for stream in (
        io.TextIOWrapper(io.BytesIO(), encoding="ascii"), Broken(full), None,
        Broken(BrokenPipeError(errno.EPIPE, "Broken pipe")),
    ):  # fmt: skip
        kept.unlink(missing_ok=True)
        code, said = printed_on(stream, *words)
        assert code == 0, said
        assert len(json.loads(kept.read_text())["figures"]) == 4
    code, said = printed_on(Broken(full), *words, "--data", "strokes")  # which are not kept
    assert code == 2
    assert "the figures are lost" in said


@posix
def test_the_program_without_standard_output(tmp_path):
    """Closed, or a pipe whose reader leaves after a line: the training ends well all the same."""
    train_it = f"{sys.executable} -m tinygen train vae {' '.join(FAST)}"
    for i, how in enumerate((">&- 2>&-", "| head -n 1")):
        line = f"set -o pipefail; {train_it} --out run{i} {how}"
        env = {**os.environ, "PYTHONDEVMODE": "1" if "head" in how else ""}
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, env=env, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr
        assert train.open_run(tmp_path / f"run{i}").epochs
        assert json.loads((tmp_path / f"run{i}" / "config.json").read_text())


# ---- one training a folder -----------------------------------------------------------------------


@posix
def test_a_second_training_is_refused_and_reading_is_not(strokes, tmp_path, monkeypatch):
    out = tmp_path / "run"
    straight = fit(strokes)
    seen = []

    def others():
        for resume in (True, False):
            with pytest.raises(
                lock.HeldError, match=f"trained by process {os.getpid()} on .*--out"
            ):
                train.RunFolder(out).training(None if resume else {}).__enter__()
        seen.append(train.open_run(out).epochs)
        RunFolder(out).newest_checkpoint()
        train.open_run(out).folder.write_evaluation({"weights": "x", "figures": [1]})

    at_step(monkeypatch, 4, others)
    run = fit(strokes, out)
    assert [len(e) for e in seen] == [1]
    assert same(run, straight)
    assert not list(out.rglob(".*"))
    with pytest.raises(FileExistsError, match="continue that run with --resume"):
        fit(strokes, out)


@posix
def test_the_lock_of_a_dead_training_is_free(strokes, tmp_path):
    """Its file stays, and is no obstacle."""
    out = tmp_path / "run"
    code = (
        "import os, sys; from tinygen.train import RunFolder\n"
        "with RunFolder(sys.argv[1]).training({'a': 1}): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, out], check=False).returncode == -9
    assert (out / ".training.lock").exists()
    (out / "config.json").unlink()
    fit(strokes, out)
    assert not (out / ".training.lock").exists()


@posix
def test_without_locks_a_training_says_so(strokes, tmp_path, monkeypatch, capsys):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", none)
    (tmp_path / "run").mkdir()
    fit(strokes, tmp_path / "run", progress="lines")
    assert "has no locks; let no other training run there" in capsys.readouterr().out
    leftover = tmp_path / "run" / ".a.png.0a1b.tmp"
    leftover.touch()
    lock.remove_leftovers(tmp_path)  # it may belong to a living process
    assert leftover.exists()


@posix
@pytest.mark.quick
def test_only_files_that_no_one_writes_are_leftovers(tmp_path):
    for name in (".a.png.0a1b.tmp", ".notes.tmp", "b.0a1b.tmp"):
        (tmp_path / name).touch()
    with lock.temporary(tmp_path / "c.png") as (file, path):
        with file:
            lock.remove_leftovers(tmp_path)
            assert path.exists()
        lock.remove_leftovers(tmp_path)  # closed, and about to be renamed
        assert path.exists()
        assert not (tmp_path / ".a.png.0a1b.tmp").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".notes.tmp", "b.0a1b.tmp"]


@posix
@pytest.mark.quick
def test_a_temporary_file_that_was_removed_before_it_was_locked(tmp_path, monkeypatch):
    take, removed = lock.take, []

    def late(file, **how):
        if not removed:
            removed.append(file.name)
            os.unlink(file.name)
        return take(file, **how)

    monkeypatch.setattr(lock, "take", late)
    write_bytes(tmp_path / "a", b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert len(removed) == 1


# ---- folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["empty", "folders", "lock", "half"])
def test_a_folder_that_stopped_before_its_configuration(left, strokes, tmp_path):
    out = tmp_path / "run"
    for folder in (out, *((out / "checkpoints", out / "history") if left == "folders" else ())):
        folder.mkdir()
    if left in ("lock", "half"):
        (out / ".training.lock").write_text("process 1")
    if left == "half":
        (out / ".config.json.0a1b.tmp").write_text("{")
    if left != "empty":
        with pytest.raises(ValueError, match="begin again without --resume"):
            fit(strokes, out, resume=True)
    assert same(fit(strokes, out), fit(strokes))


@pytest.mark.parametrize(
    "left", [["model.safetensors"], ["checkpoints"], ["model.safetensors", "."]]
)
def test_a_run_without_its_configuration_says_what_is_gone(left, strokes, tmp_path):
    out = tmp_path / "run"
    fit(strokes, out, epochs=1)
    (out / "config.json").unlink()
    for name in ("model.safetensors", "checkpoints"):
        if name not in left and "." not in left:
            path = out / name
            path.unlink() if path.is_file() else shutil.rmtree(path)
    for use in (train.open_run, lambda path: fit(strokes, path, resume=True)):
        with pytest.raises(ValueError, match=r"its config\.json is gone; put a copy"):
            use(out)


def test_a_model_file_that_was_deleted_is_written_by_the_command_that_is_named(tinygen, tmp_path):
    assert tinygen("train", "vae", *FAST, "--out", "run")[0] == 0
    model = tmp_path / "run" / "model.safetensors"
    weights = model.read_bytes()
    model.unlink()
    code, _, err = tinygen("sample", "run")
    assert code == 2
    assert "run has no model.safetensors: it was deleted; write it with `" in err
    words = err.split("`")[1].split()
    assert tinygen(*words[words.index("train") :])[0] == 0
    assert model.read_bytes() == weights
    model.unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert "its training stopped before the first checkpoint" in tinygen("info", "run")[2]


def test_an_old_checkpoint_that_cannot_be_deleted_stops_nothing(strokes, tmp_path):
    out = tmp_path / "run"
    fit(strokes, out, epochs=2)
    oldest = min((out / "checkpoints").glob("step-*"))
    oldest.unlink()
    oldest.mkdir()
    assert same(fit(strokes, out, resume=True), fit(strokes))


@pytest.mark.quick
@pytest.mark.parametrize("name", ["mine.txt", "history/mine.png", "other/", ".hidden"])
def test_a_folder_with_something_else_is_refused(name, strokes, tmp_path):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if name.endswith("/") else path.write_text("precious")
    with pytest.raises(FileExistsError, match="not empty"):
        fit(strokes, tmp_path / "run")
    assert path.exists()
    assert not (tmp_path / "run" / ".training.lock").exists()


@pytest.mark.parametrize("gone", ["history", "checkpoints", "log.jsonl", "."])
def test_what_is_removed_while_it_trains_is_made_again(gone, strokes, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def remove():
        path = out / gone
        path.unlink() if path.is_file() else shutil.rmtree(path)

    at_step(monkeypatch, 4, remove)
    run = fit(strokes, out, epochs=2)
    monkeypatch.undo()
    assert (out / "history" / "samples-0002.png").exists()
    assert same(run, train.open_run(out))
    shutil.rmtree(out / "history")
    assert same(fit(strokes, out, resume=True), fit(strokes))
    assert (out / "history" / "samples-0003.png").exists()


# ---- signals -------------------------------------------------------------------------------------


@pytest.fixture
def heard(name):
    """The signal means what it means to a program of a terminal: nohup and `&` have it ignored."""
    number = getattr(signal, name)
    default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    before = signal.signal(number, default)
    yield
    signal.signal(number, before)


@posix
@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU"])
def test_signals_save_and_resume_to_the_same_bits(name, strokes, tmp_path, monkeypatch, capsys):
    out, number = tmp_path / "run", getattr(signal, name)
    before = signal.getsignal(number)
    at_step(monkeypatch, 4, lambda: signal.raise_signal(number))
    first = fit(strokes, out, progress="lines")
    assert (first.interrupted, first.signal) == (True, number)
    assert signal.getsignal(number) == before
    assert "stopped after 4 steps (epoch 2); saved in" in capsys.readouterr().out
    monkeypatch.undo()
    assert same(fit(strokes, out, resume=True), fit(strokes))


@posix
def test_a_limit_on_time_is_repeated_and_a_second_ctrl_c_stops_at_once(
    strokes, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"

    def several():
        for number in (signal.SIGXCPU, signal.SIGXCPU, signal.SIGTERM):
            signal.raise_signal(number)

    at_step(monkeypatch, 4, several)
    assert fit(strokes, out).signal == signal.SIGXCPU
    monkeypatch.undo()
    at_step(monkeypatch, 5, lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt):
        fit(strokes, out, resume=True, progress="lines")
    said = capsys.readouterr().out
    assert "what was saved before is kept. Go on with:" in said
    assert "train vae --out" in said
    monkeypatch.undo()
    assert same(fit(strokes, out, resume=True), fit(strokes))


@posix
def test_a_program_under_nohup_stays_deaf(strokes, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        at_step(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGHUP))
        assert not fit(strokes).interrupted
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.quick
def test_a_module_is_loaded_whole_before_ctrl_c(tmp_path, monkeypatch):
    (tmp_path / "slow_to_load.py").write_text(
        "import signal\nsignal.raise_signal(signal.SIGINT)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run ignoring it
    try:
        with pytest.raises(KeyboardInterrupt):
            signals.import_whole("slow_to_load")
        assert signals.import_whole("slow_to_load").whole
    finally:
        signal.signal(signal.SIGINT, before)
        sys.modules.pop("slow_to_load", None)


@posix
@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_elsewhere_ends_a_command_in_a_line(name, monkeypatch, capsys):
    number = getattr(signal, name)
    monkeypatch.setattr(app, "run", lambda: signal.raise_signal(number))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == f"stopped by {name}\n"


def test_the_exit_code_says_which_signal(tinygen, monkeypatch):
    number = getattr(signal, "SIGTERM", signal.SIGINT)
    at_step(monkeypatch, 2, lambda: signal.raise_signal(number))
    code, out, _ = tinygen("train", "vae", *FAST, "--out", "run")
    assert code == 128 + number
    assert "tinygen train vae --out run --resume" in out
    assert "tinygen train vae --out run --resume`" in tinygen("info", "run")[1]


# ---- resuming where it was -----------------------------------------------------------------------


def test_resuming_keeps_backend_and_precision(tinygen, monkeypatch):
    if "emulated" not in AVAILABLE:
        pytest.skip("no C++ compiler for the emulated GPU")
    place = ["--backend", "emulated", "--precision", "tf32", "--no-compile"]
    with monkeypatch.context() as patched:
        at_step(patched, 2, lambda: signal.raise_signal(signal.SIGINT))
        code, out, err = tinygen("train", "vae", *FAST, *place, "--out", "run")
    assert code == 130, err
    assert "--out run --resume --backend emulated --precision tf32" in out
    assert "--resume --backend emulated --precision tf32" in tinygen("info", "run")[1]
    code, out, err = tinygen("train", "vae", "--out", "run", "--resume")
    assert code == 0, err
    assert "the bits may differ" not in out
    assert RunFolder("run").read_config()["machine"]["backend"] == "emulated tf32"
    code, out, err = tinygen(
        "train", "vae", "--out", "run", "--resume", "--backend", "numpy", "--epochs", 2
    )
    assert code == 0, err
    assert "resuming with other backend: the bits may differ" in out


@pytest.mark.quick
def test_a_backend_that_is_gone_is_named_with_the_way_on(tmp_path, monkeypatch):
    def gone(name):
        raise tg.backend.DeviceError(f"{name}: no GPU was found")

    monkeypatch.setattr(train_command, "get_backend", gone)
    config = {"machine": {"backend": "cupy bf16"}}
    with pytest.raises(
        tg.backend.DeviceError, match=r"run was computed there; with --backend numpy"
    ):
        train_command._same_place("run", config, {})
    found = train_command._same_place("run", config, {"backend": "numpy"})
    assert found == ("numpy", "float32")
    monkeypatch.setattr(train_command, "get_backend", lambda name: None)
    assert train_command._same_place("run", config, {}) == ("cupy", "bf16")
    found = train_command._same_place("run", config, {"precision": "float32"})
    assert found == ("cupy", "float32")
    assert train_command._same_place("run", {}, {}) == ("numpy", "float32")


# ---- the log -------------------------------------------------------------------------------------


def test_a_bad_line_of_the_log_hides_itself_only(strokes, tmp_path):
    out = tmp_path / "run"
    fit(strokes, out)
    lines = (out / "log.jsonl").read_bytes().splitlines(keepends=True)
    for bad in (b"\xff\xfe\n", b"{\n", b"[1]\n", b"\n", b"3\n", b"[" * 9999 + b"\n"):
        (out / "log.jsonl").write_bytes(lines[0] + bad + b"".join(lines[1:]))
        assert [e["epoch"] for e in train.open_run(out).epochs] == [1, 2, 3]
    (out / "log.jsonl").write_bytes(b"".join([lines[0], lines[1][:20]]))
    assert [e["epoch"] for e in train.open_run(out).epochs] == [1]


@pytest.mark.parametrize("left", [0, 1, 30, None])
def test_a_log_shorter_than_its_checkpoint_is_told(left, strokes, tmp_path, capsys):
    out = tmp_path / "run"
    fit(strokes, out, epochs=2)
    whole = (out / "log.jsonl").read_bytes()
    if left is None:
        (out / "log.jsonl").unlink()
    else:
        (out / "log.jsonl").write_bytes(whole[: len(whole) - len(whole) // 2 + left])
    missing = len(whole) - (0 if left is None else len((out / "log.jsonl").read_bytes()))
    fit(strokes, out, resume=True, progress="lines")
    assert f"lacks {missing} bytes that it had at the checkpoint" in capsys.readouterr().out
    assert train.open_run(out).epochs[-1]["epoch"] == 3  # no half line swallows it


# ---- what is said --------------------------------------------------------------------------------


@pytest.mark.quick
def test_time_left_leaves_out_the_compiling(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock.now)
    pace = progress.Pace()
    for epoch in range(3):
        pace.start(0)
        for step in range(1, 101):
            clock.now += 60.0 if (epoch, step) == (0, 1) else 0.1  # a minute of compiling
            pace.step(step)
            if epoch or step > 1:
                assert pace.batches == pytest.approx(10)
                assert pace.left(100, 2) == pytest.approx(10 + 2 * (2.0 if epoch == 2 else 0))
            else:
                assert pace.batches == 0  # nothing is said yet
        clock.now += 2.0 if epoch else 30.0  # pictures; at first they are compiled for, too
    pace = progress.Pace()
    pace.start(0)
    for burst in (25, 50, 75):  # on a device losses are read every 25 steps
        clock.now += 2.5 if burst > 25 else 99
        pace.step(burst)
    assert pace.batches == pytest.approx(10)


def test_a_line_says_the_means_since_the_last(monkeypatch, capsys):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: clock.now)
    lines = progress.Lines()
    lines.start(1, 1, 100, 0, 20)
    for k in range(8):
        clock.now += 3
        lines.step([{"loss": float(k)}, {}, {"loss": float(k + 1)}])  # one was skipped
    said = capsys.readouterr().out.splitlines()
    assert ["loss 2 " in said[0], "loss 6 " in said[1]] == [True, True], said
    assert "12/100" in said[0]


def test_the_end_is_said(strokes, tmp_path, capsys):
    out = tmp_path / "run"
    fit(strokes, out, epochs=2, progress="lines")
    said = capsys.readouterr().out
    assert "trained 2 epochs in 0:0" in said
    assert "nats an image" in said
    fit(strokes, out, epochs=3, progress="lines", resume=True)
    assert ", 3 in all" in capsys.readouterr().out
    fit(strokes, out, epochs=3, progress="lines", resume=True)
    said = capsys.readouterr().out
    assert "nothing was left to train: the run has done its 3 epochs" in said
    assert "--resume --epochs 6" in said


@pytest.mark.parametrize("model", ["vae", "classifier"])
def test_held_out_has_its_unit(model, tinygen):
    words = ["train", model, *FAST[:-2], "--out", "run"]
    unit = {"vae": "nats an image", "classifier": "percent right"}[model]
    assert unit in tinygen(*words)[1]
    assert unit in tinygen("info", "run")[1]


@pytest.mark.usefixtures("all_curves")
def test_without_matplotlib_the_curves_are_missed(strokes, tmp_path, monkeypatch, capsys):
    for name in [k for k in sys.modules if k.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    fit(strokes, tmp_path / "run", progress="lines")
    said = capsys.readouterr().out
    told = "losses.png is not drawn without matplotlib: `pip install matplotlib`, and each epoch"
    assert said.count(told) == 1
    assert not (tmp_path / "run" / "losses.png").exists()


@posix
@pytest.mark.quick
def test_commands_are_printed_as_they_can_be_typed(tmp_path, monkeypatch):
    script, python = tmp_path / "my env" / "bin" / "tinygen", tmp_path / "my env" / "bin" / "python"
    script.parent.mkdir(parents=True)
    for path in (script, python):
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.chdir(tmp_path)
    words = ("sample", "a run", "--n", 4)
    for on_path, called, expected in (
        (False, str(script), f"'{script}'"),
        (False, "my env/bin/tinygen", "'my env/bin/tinygen'"),
        (False, str(tmp_path / "tinygen/__main__.py"), f"'{python}' -m tinygen"),
        (False, "lesson.py", f"'{python}' -m tinygen"),
        (True, str(script), "tinygen"),
        (True, str(tmp_path / "tinygen/__main__.py"), "tinygen"),
        (True, "lesson.py", "tinygen"),
    ):
        monkeypatch.setenv("PATH", str(script.parent) if on_path else "/usr/bin:/bin")
        monkeypatch.setattr(sys, "argv", [called])
        assert program.command(*words) == f"{expected} sample 'a run' --n 4"


def test_messages_name_commands_as_they_can_be_typed(tinygen, monkeypatch):
    assert tinygen("train", "vae", *FAST, "--out", "run")[0] == 0
    monkeypatch.setattr(program, "_program", lambda: "env/bin/tinygen")
    assert "next     env/bin/tinygen sample runs/vae-str" in tinygen("train", "vae", *FAST)[1]
    err = tinygen("train", "gan", "--out", "run", "--resume")[2]
    assert "`env/bin/tinygen train vae --out run --resume`" in err


def test_sample_makes_the_folder_of_its_picture(tinygen, tmp_path):
    assert tinygen("train", "vae", *FAST, "--out", "run")[0] == 0
    code, _, err = tinygen("sample", "run", "--n", 4, "--out", "new/folder/a.png")
    assert code == 0, err
    assert (tmp_path / "new" / "folder" / "a.png").exists()
    (tmp_path / "file").write_text("")
    code, _, err = tinygen("sample", "run", "--n", 4, "--out", "file/a.png")
    assert code == 2
    assert "file" in err
