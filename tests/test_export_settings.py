"""Settings of a drawing that a file leaves open: chosen there, they draw what the model draws."""

from __future__ import annotations

import functools
import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import tinygen as tg
from tinygen import export, nn
from tinygen.export import Artefact, verify
from tinygen.images import to_uint8
from tinygen.models.contract import Column, Draws, Form, Model
from tinygen.options import Options, above, at_least, option
from tinygen.random import Generator
from tinygen.runs import pictures
from tinygen.sampling import Noise
from tinygen.tensor import Tensor


class Small(Model, Draws):
    """Noise goes along a velocity that a label says, by steps that look twice."""

    name = "small-flow"
    value_range = (-1.0, 1.0)
    Options = Options

    @dataclass(frozen=True, kw_only=True)
    class Settings(Options):
        steps: int = option(3, at_least(1), "Steps.")
        guidance: float = option(1.5, at_least(0), "How much the label counts.")
        heat: float = option(2.0, above(0), "What the noise is divided by.")
        method: Literal["euler", "heun"] = option("heun", help="How a step goes.")
        odd: float = option(0.5, help="Squared, so that it is no formula of a file.")

    def build(self) -> None:
        rng = self.init_rng
        self.conv = nn.Conv2d(1, 8, 3, padding=1, rng=rng)
        self.norm, self.end = nn.GroupNorm(4, 8), nn.Conv2d(8, 1, 3, padding=1, rng=rng)
        self.labels = nn.Embedding(self.classes + 1, 8, rng=rng)
        self.noise = Noise(self.shape)
        self.given = (Column("label", "label", count=self.classes),)

    def velocity(self, z: Tensor, t: Tensor, label: Tensor) -> Tensor:
        h = self.norm(self.conv(z)) * (1.0 + tg.sin(t * 3.0))
        y: Tensor = self.end(tg.silu(h + self.labels(label).reshape(-1, 1, 1, 8)))
        return y

    def draw(self, noise: Any, *, label: Any, steps: int, guidance: Any, heat: Any,
             method: str, odd: float) -> Tensor:  # fmt: skip
        n, h = noise.shape[0], 1 / steps
        both = tg.concatenate([label, label * 0 + self.classes])

        def guided(z: Tensor, t: Tensor) -> Tensor:
            v = self.velocity(tg.concatenate([z, z]), t, both)
            made: Tensor = v[n:] + guidance * (v[:n] - v[n:])
            return made

        def turn(i: Tensor, z: Tensor) -> tuple[Tensor]:
            t = i.astype("float32") * h
            v = guided(z, t)
            if method == "heun":
                v = 0.5 * (v + guided(z + h * v, t + h))
            return (z + h * v,)

        (z,) = tg.repeat(steps, turn, (noise * odd**2 / heat,))
        made: Tensor = z.clip(low=-1.0, high=1.0)
        return made


@functools.cache
def small() -> Small:
    model = Small({"train": Form((6, 6, 1), 3)}, None, Generator(0))
    model.eval()
    return model


@functools.cache
def made(**settings: Any) -> Artefact:
    return export.prepare(small(), "small", "0" * 16, classes=("a", "b", "c"), settings=settings)


CHOSEN = ({}, {"steps": 1}, {"steps": 5, "guidance": 0.0}, {"guidance": 3.5, "heat": 0.75})


def expected(seed: int, label: int, **settings: float) -> Any:
    z = made().codes(1, seed).reshape(-1, 6, 6, 1)
    return to_uint8(pictures.draw(small(), z, np.array([label]), **settings), (-1.0, 1.0))[0]


def near(found: Any, seed: int, label: int, settings: dict[str, float]) -> None:
    right = expected(seed, label, **settings).astype(int)
    assert np.abs(np.asarray(found).reshape(right.shape) - right).max() <= 1, settings


def write(form: str, folder: Path) -> Path:
    path = folder / f"small{export.FORMS[form][1]}"
    export.write(form, made(), path)
    return path


def test_numbers_and_turns_stay_open_and_what_is_more_is_fixed_with_its_reason():
    artefact = made()
    assert [each.name for each in artefact.settings] == ["steps", "guidance", "heat"]
    assert artefact.settings[0].whole
    about = artefact.describe()
    assert about["drawn with"] == "steps 3, guidance 1.5, heat 2.0, method heun, odd 0.5"
    assert about["open settings"] == ["steps", "guidance", "heat"]
    (why,) = about["fixed settings"]
    assert re.search(r"odd: .*test_export_settings\.py:\d+: mul .* p \+ q odd or p \+ q / odd", why)
    for settings in CHOSEN:
        drawn = artefact.draw(artefact.codes(1, 4), 2, **settings)
        near(to_uint8(drawn, (-1.0, 1.0)), 4, 2, settings)


def test_a_setting_that_is_given_is_fixed():
    artefact = made(steps=2, method="euler")
    assert [each.name for each in artefact.settings] == ["guidance", "heat"]
    drawn = artefact.draw(artefact.codes(1, 4), 1)
    near(to_uint8(drawn, (-1.0, 1.0)), 4, 1, {"steps": 2, "method": "euler"})


def test_a_network_that_is_used_twice_is_in_the_file_once():
    twice, once = made(), made(method="euler")
    assert twice.nbytes == once.nbytes


@pytest.mark.parametrize("form", ["numpy", "numba", "safetensors", "python", "c", "js", "onnx"])
def test_every_form_draws_the_same_by_default(form):
    artefact = made()
    asked = verify.question(artefact, 3)
    z = asked.codes.reshape(-1, 6, 6, 1)
    reference = to_uint8(pictures.draw(small(), z, np.array(asked.labels)), (-1.0, 1.0))
    (row,) = verify.verify(artefact, reference, asked, [form])
    assert row.ok, row.failed


def test_a_slow_form_is_compared_by_fewer_images(monkeypatch):
    artefact = made()
    asked = verify.question(artefact, 3)
    z = asked.codes.reshape(-1, 6, 6, 1)
    reference = to_uint8(pictures.draw(small(), z, np.array(asked.labels)), (-1.0, 1.0))
    monkeypatch.setattr(verify, "SECONDS", 0)
    reference[1:] ^= 128  # of images that are not drawn
    (row,) = verify.verify(artefact, reference, asked, ["python"])
    assert (row.images, row.ok, row.rate, row.error) == (1, True, None, None)


@pytest.mark.parametrize("form", ["numpy", "safetensors", "onnx"])
@pytest.mark.parametrize(("seconds", "count"), [(0, 2), (20, 5)])
def test_a_costly_model_is_drawn_in_small_batches(form, seconds, count, monkeypatch):
    artefact = made()
    asked = verify.question(artefact, 5)
    z = asked.codes.reshape(-1, 6, 6, 1)
    reference = to_uint8(pictures.draw(small(), z, np.array(asked.labels)), (-1.0, 1.0))
    packed = artefact.graphs["draw"]
    inputs = dict(zip(packed.graph.inputs, packed.all(asked.inputs(1)), strict=True))
    monkeypatch.setattr(verify, "TOGETHER", 2 * verify._numbers(packed.graph, inputs))
    monkeypatch.setattr(verify, "SECONDS", seconds)
    (row,) = verify.verify(artefact, reference, asked, [form])
    if row.skipped:
        pytest.skip(row.skipped)
    assert (row.images, row.failed) == (count, "")


def test_python(tmp_path):
    path = write("python", tmp_path)
    names: dict[str, Any] = {"__name__": "small"}
    exec(compile(path.read_text(), str(path), "exec"), names)
    for settings in CHOSEN:
        near(list(names["generate"](1, 4, 2, **settings)[0]), 4, 2, settings)
    for wrong, message in (
        ({"steps": 0}, "steps is 0, expected an integer, 1 or more"),
        ({"steps": 2.5}, "steps is 2.5, expected"),
        ({"guidance": math.nan}, "guidance is nan, expected 0 or more"),
        ({"speed": 1}, "'speed' is no setting of this model's drawings; it has steps"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            names["generate"](1, 4, 2, **wrong)
    raw = tmp_path / "raw"
    run = [sys.executable, str(path), "--n", "1", "--seed", "4", "--label", "c", "--raw", str(raw)]
    subprocess.run([*run, "--steps", "5", "--guidance", "0"], check=True, capture_output=True)
    near(list(raw.read_bytes()), 4, 2, {"steps": 5, "guidance": 0.0})
    bad = subprocess.run([*run, "--steps", "0"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert "steps is 0" in bad.stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_javascript(tmp_path):
    path = write("js", tmp_path).rename(tmp_path / "small.mjs")
    code = """
    const { generate, film, codes } = await import(process.argv.at(-1));
    const chosen = JSON.parse(process.argv.at(-2));
    const grey = ({ data }) => Array.from(data.filter((_, k) => k % 4 === 0));
    const drawn = chosen.map((s) => grey(generate({ seed: 4, label: 2, ...s })[0]));
    const films = chosen.map((s) => film(codes(1, 4)[0], 2, s).map(grey));
    const wrong = [{ steps: 0 }, { steps: 1.5 }, { guidance: NaN }, { speed: 1 }].map((s) => {
      try { generate(s); return ""; } catch (error) { return error.message; }
    });
    console.log(JSON.stringify({ drawn, films, wrong }));
    """
    command = ["node", "--input-type=module", "-e", code, "--", json.dumps(CHOSEN), path.as_uri()]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for settings, image, film in zip(CHOSEN, said["drawn"], said["films"], strict=True):
        near(image, 4, 2, settings)
        assert film[-1] == image
        assert len(film) == 1 + settings.get("steps", 3)  # the noise, and what each turn gives
    assert "steps is 0; expected an integer, 1 or more" in said["wrong"][0]
    assert "steps is 1.5" in said["wrong"][1]
    assert "guidance is NaN" in said["wrong"][2]
    assert "speed is no setting" in said["wrong"][3]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_c(tmp_path):
    path = write("c", tmp_path)
    program, raw = tmp_path / "small", tmp_path / "raw"
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-DSMALL_MAIN"]
    subprocess.run(["cc", *flags, str(path), "-o", str(program), "-lm"], check=True)
    run = [str(program), "--n", "1", "--seed", "4", "--label", "c", "--raw", str(raw)]
    for settings in CHOSEN:
        more = [text for k, v in settings.items() for text in (f"--{k}", str(v))]
        subprocess.run([*run, *more], check=True, capture_output=True)
        near(list(raw.read_bytes()), 4, 2, settings)
    subprocess.run([str(program), "--self-test"], check=True, capture_output=True)
    for wrong in (["--steps", "0"], ["--guidance", "nan"], ["--guidance", "x"], ["--heat"]):
        bad = subprocess.run([*run, *wrong], capture_output=True, text=True, check=False)
        assert bad.returncode == 2, wrong
        assert f"{wrong[0]} " in bad.stderr
    header = path.with_suffix(".h").read_text()
    assert "int label, int steps, float guidance, float heat,\n" in header
    assert "steps (an integer, 1 or more; usually 3)" in header


def test_onnx(tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(
        str(write("onnx", tmp_path)), options, providers=["CPUExecutionProvider"]
    )
    given = {"code": made().codes(1, 4), "label": np.array([2])}
    kinds = {each.name: each for each in made().settings}
    for settings in CHOSEN:
        more = {k: kinds[k].array(v) for k, v in settings.items()}
        (image,) = session.run(["pixels"], {**given, **more})
        near(image, 4, 2, settings)


def test_safetensors(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    from tinygen.export.safetensors import loader

    path = write("safetensors", tmp_path)
    names: dict[str, Any] = {}
    exec(loader("load_numpy.py", str(path), made()), names)
    for settings in CHOSEN:
        values = names["forward"]("draw", made().codes(1, 4), 2, **settings)
        near(to_uint8(values, (-1.0, 1.0)), 4, 2, settings)
