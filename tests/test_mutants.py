"""Files of a run that were changed by chance: a clear line or a right result, and no dead end.

500 mutants of each file, always the same ones, read by the commands that read it.
"""

from __future__ import annotations

import copy
import json
import random
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("typer")
import typer

import tinygen as tg
from tinygen import data, io, models, train
from tinygen.cli import app
from tinygen.runs import pictures

COUNT = 500
SECONDS = 60  # no command takes so long
FAST = {"n": 40, "size": 8}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small run of a cvae and of a classifier, evaluated."""
    folder = tmp_path_factory.mktemp("runs")
    strokes = data.load("strokes", **FAST)
    for name, options in (("cvae", {"hidden": (6,), "latent": 2}), ("classifier", {"width": 0.2})):
        model = models.find(name)(strokes.shape, classes=10, rng=tg.random.Generator(0), **options)
        train.fit(
            model, strokes, 2, out=folder / name, batch_size=20, compiled=False, progress=False
        )
    run = train.open_run(folder / "cvae")
    weights = pictures.fingerprint(run.model)
    figures = train.evaluate(run, strokes, samples=2, nll_images=4)
    quality = {
        "measures": [{"name": "FID", "value": 1.0, "floor": 0.5}], "protocol": "by hand"
    }  # fmt: skip
    train.RunFolder(folder / "cvae").write_evaluation(
        {"weights": weights, "figures": [vars(f) for f in figures], "quality": quality}
    )
    return folder


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of them to damage; a command that hangs is ended."""
    shutil.copytree(runs, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    monkeypatch.setenv("COLUMNS", "200")
    # put together once: that takes longer than most commands
    monkeypatch.setattr(app, "app", typer.main.get_command(app.app))

    def late(*_: object) -> None:
        raise AssertionError(f"still busy after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late) if hasattr(signal, "SIGALRM") else None
    yield tmp_path / "runs"
    if before is not None:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(capsys: Any, *words: object) -> tuple[int, str]:
    """(exit code, standard error) of a command; anything but an exit is a failure."""
    if hasattr(signal, "SIGALRM"):
        signal.alarm(SECONDS)
    sys.argv = ["tinygen", *map(str, words)]
    code: Any = 0
    try:
        app.run()
    except SystemExit as stop:
        code = stop.code or 0
    return code, capsys.readouterr().err


def good_error(code: int, err: str, path: Path) -> bool:
    """Whether it ended well, or in a line or two that say why."""
    if code == 0:
        return True
    lines = err.strip().splitlines()
    return code in (1, 2) and 1 <= len(lines) <= 4 and "Traceback" not in err and len(err) < 4000


# ---- mutants -------------------------------------------------------------------------------------

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**400, -(10**9), 0.5, 1e308, float("nan"),
    float("inf"), "", "x", "\x1b[2J", "../../etc", "é" * 3000, [], {}, [1], [[[]]], {"a": 1},
    [2**20] * 3, [0, 0, 0], "vae", "classifier", "999999999", [1, 2, 3, 4],
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything within a JSON value."""
    found = [path] if path else []
    pairs: Any = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, inner in pairs:
        found += places(inner, (*path, key))
    return found


def mutated_value(r: random.Random, value: Any) -> Any:
    """A JSON value with a key lost, renamed or added, or a value exchanged."""
    value = copy.deepcopy(value)
    *way, last = r.choice(places(value))
    parent = value
    for key in way:
        parent = parent[key]
    kind = r.randrange(5)
    if kind == 0:
        del parent[last]
    elif kind == 1 and isinstance(parent, dict):
        parent[r.choice(["x", "kind", "name", last + "s"])] = parent.pop(last)
    elif kind == 2 and isinstance(parent, list):
        parent.insert(r.randrange(len(parent) + 1), r.choice(VALUES))
    else:
        parent[last] = r.choice(VALUES)
    return value


def mutated_bytes(r: random.Random, content: bytes) -> bytes:
    """Bits flipped, pieces lost, repeated or overwritten, the end cut off."""
    b = bytearray(content)
    kind, at = r.randrange(6), r.randrange(len(b))
    if kind <= 1:
        b[at] ^= 1 << r.randrange(8)
    elif kind == 2:
        del b[at:]
    elif kind == 3:
        del b[at : at + r.randrange(1, 40)]
    elif kind == 4:
        b[at : at + 8] = r.randbytes(8)
    else:
        b[at:at] = b[at : at + r.randrange(1, 40)] or b"["
    return bytes(b)


def mutants_of_json(content: bytes, seed: int) -> Iterator[bytes]:
    """Half of them changed as text, half as values."""
    for i in range(COUNT):
        r = random.Random(1000 * seed + i)
        if i % 2:
            yield mutated_bytes(r, content)
        else:
            yield json.dumps(mutated_value(r, json.loads(content))).encode()


def mutants_of_arrays(path: Path, seed: int) -> Iterator[bytes]:
    """A third of them changed as bytes; the others are whole files that say or hold else."""
    whole, content = io.load(path), path.read_bytes()
    for i in range(COUNT):
        r = random.Random(1000 * seed + i)
        if i % 3 == 0:
            yield mutated_bytes(r, content)
        elif i % 3 == 1:
            yield io.to_bytes(whole, mutated_value(r, whole.metadata))
        else:
            arrays = dict(whole)
            name = r.choice(sorted(arrays))
            kind = r.randrange(6)
            if kind == 0:
                del arrays[name]
            elif kind == 1:
                arrays[name + "x"] = arrays[name]
            elif kind == 2:
                arrays[name] = arrays[name].astype(r.choice(["f2", "f8", "i4", "u1", "?"]))
            elif kind == 3:
                arrays[name] = arrays[name].reshape(-1)[1:]
            elif kind == 4:
                arrays[name] = np.zeros(r.choice([(0,), (), (1, 2, 3), (5, 0)]), "f4")
            else:
                bad = np.array(arrays[name], copy=True)
                bad.reshape(-1)[:1] = (
                    r.choice([float("nan"), float("inf"), 1e30]) if (bad.dtype.kind == "f") else 77
                )
                arrays[name] = bad
            yield io.to_bytes(arrays, whole.metadata)


def survives(capsys: Any, path: Path, mutants: Iterator[bytes], *words: object) -> int:
    """How many mutants a command refused; each gave a right result or a clear line."""
    refused = 0
    for i, mutant in enumerate(mutants):
        path.write_bytes(mutant)
        try:
            code, err = run(capsys, *words)
        except BaseException as error:
            raise AssertionError(
                f"mutant {i} of {path.name}: {error!r}\n{mutant[:3000]!r}"
            ) from error
        assert good_error(code, err, path), (i, code, err, mutant[:3000])
        refused += code != 0
    return refused


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "evaluation.json"])
def test_mutants_of_json_files(name: str, here: Path, capsys: Any) -> None:
    path = here / "cvae" / name
    refused = survives(capsys, path, mutants_of_json(path.read_bytes(), len(name)), "info", "cvae")
    assert refused > COUNT // 3


@pytest.mark.slow
def test_mutants_of_the_configuration_of_a_run_that_goes_on(here: Path, capsys: Any) -> None:
    """No size that the file names takes memory or time before it is found to be wrong."""
    path = here / "cvae" / "config.json"
    content = path.read_bytes()
    config = json.loads(content)

    def mutants() -> Iterator[bytes]:
        for value in VALUES:
            for key in ("model", "data", "training"):
                part = config[key]
                for name in part:
                    yield json.dumps({**config, key: {**part, name: value}}).encode()
            for key in ("hidden", "latent"):
                model = copy.deepcopy(config["model"])
                model["options"][key] = value
                yield json.dumps({**config, "model": model}).encode()
            for key in ("n", "size", "channels", "seed", "other"):
                known = copy.deepcopy(config["data"])
                known["options"][key] = value
                yield json.dumps({**config, "data": known}).encode()

    some = random.Random(0).sample(list(mutants()), 120)
    words = ("train", "cvae", "--out", "cvae", "--resume", "--no-compile", "--epochs", 2)
    assert survives(capsys, path, iter(some), *words) > 60


@pytest.mark.slow
@pytest.mark.usefixtures("all_curves")
def test_mutants_of_the_log(here: Path, capsys: Any) -> None:
    """A bad line hides itself only, and never stops a command."""
    path = here / "cvae" / "log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    folder = train.RunFolder(here / "cvae")
    for i in range(COUNT):
        r = random.Random(i)
        at = r.randrange(len(lines))
        changed = list(lines)
        if i % 2:
            changed[at] = json.dumps(mutated_value(r, json.loads(lines[at]))).encode() + b"\n"
        else:
            changed[at] = mutated_bytes(r, lines[at][:-1]).replace(b"\n", b" ") + b"\n"
        path.write_bytes(b"".join(changed))
        entries = folder.read_log()
        others = [json.loads(x) for k, x in enumerate(lines) if k != at]
        assert [e for e in entries if e in others] == others, (i, changed[at])
        if i % 10 == 0:
            code, err = run(capsys, "info", "cvae")
            assert code == 0, (i, err, changed[at])
        if i % 50 == 0:
            pictures.save_losses(folder)


@pytest.mark.slow
def test_mutants_of_a_model(here: Path, capsys: Any) -> None:
    path = here / "cvae" / "model.safetensors"
    refused = survives(
        capsys, path, mutants_of_arrays(path, 1), "sample", "cvae", "--n", 2, "--out", "x.png"
    )
    assert refused > COUNT // 2


@pytest.mark.slow
def test_mutants_of_a_classifier(here: Path, capsys: Any) -> None:
    path = here / "classifier" / "model.safetensors"
    strokes = data.load("strokes", **FAST)
    refused = 0
    for i, mutant in enumerate(mutants_of_arrays(path, 2)):
        path.write_bytes(mutant)
        try:
            found = train.find_extractor(strokes, here / "classifier")
            assert np.isfinite(found(strokes.images[:2])[0]).all()
        except ValueError as error:
            refused += 1
            said = str(error)
            assert said.count("\n") == 0, (i, said)
    assert refused > COUNT // 2


@pytest.mark.slow
def test_mutants_of_the_newest_checkpoint(here: Path, capsys: Any) -> None:
    """The one before is taken, and the training ends with the same weights."""
    folder = train.RunFolder(here / "cvae")
    before, newest = sorted(folder.checkpoints.glob("step-*"))
    expected = folder.model.read_bytes()
    keep = {p: p.read_bytes() for p in (before, newest, folder.config, folder.log)}
    state = _state(folder)
    fell_back = 0
    for i, mutant in enumerate(mutants_of_arrays(newest, 3)):
        for path, content in keep.items():
            path.write_bytes(content)
        newest.write_bytes(mutant)
        notes: list[str] = []
        try:
            saved = folder.newest_checkpoint(state.check, notes.append)
        except ValueError as error:
            said = str(error)
            assert "which reads formats up to" in said, (i, said)
            continue
        assert saved is not None, i
        fell_back += bool(notes)
        for note in notes:
            assert re.fullmatch(r"note: .*going on from the one before, step-\d+.safetensors", note)
        if i % 50 == 0:
            code, err = run(capsys, "train", "cvae", "--out", "cvae", "--resume", "--no-compile")
            assert code == 0, (i, err)
            if notes:
                assert folder.model.read_bytes() == expected, i
    assert fell_back > COUNT // 2


def _state(folder: train.RunFolder) -> Any:
    """The state of a training that could go on in a folder."""
    strokes = data.load("strokes", **FAST)
    options = folder.read_config()["model"]["options"]
    model = models.find("cvae")(strokes.shape, classes=10, rng=tg.random.Generator(0), **options)
    return train.loop.Session(
        model, strokes, train.loop.Settings(2, 20, compiled=False, ema=0.0)
    ).state


@pytest.mark.slow
def test_mutants_of_a_safetensors_file(here: Path) -> None:
    path = here / "a.safetensors"
    arrays = {"a": np.arange(6.0), "b": np.ones((2, 3), "f2"), "c": np.array([True, False])}
    io.save(path, arrays, {"k": [1, {"x": None}]})
    whole = path.read_bytes()
    for i in range(COUNT):
        mutant = mutated_bytes(random.Random(i), whole)
        path.write_bytes(mutant)
        if mutant == whole:
            continue
        with pytest.raises(ValueError, match="is not a whole safetensors file") as caught:
            io.load(path)
        assert "\n" not in str(caught.value)
