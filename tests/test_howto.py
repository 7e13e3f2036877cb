"""examples/HOWTO.md: its samples, applied to a copy of tinygen as it says, do what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from strategies import AVAILABLE

import tinygen
import tinygen_kernels
from tinygen import export
from tinygen.backend import numba_compiles
from tinygen.cli.export import NEXT_STEPS, NEXT_STEPS_ENCODER
from tinygen.export import verify

HOWTO = Path(__file__).parent.parent / "examples" / "HOWTO.md"
FENCE = re.compile(r"^```(?:python|js)\n(.*?)^```", re.M | re.S)
# Where a sample goes: a file, and whether it is new or a table in it takes the lines.
PLACE = re.compile(r"^(?:#|//) ([\w/.]+\.(?:py|js))(?:, (new|in (.+)))?\n", re.M)
COPIED = {
    "tinygen": Path(tinygen.__file__).parent, "kernels": Path(tinygen_kernels.__file__).parent,
}  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tinygen, its kernels and the tables of its tests, and all samples applied."""
    root = tmp_path_factory.mktemp("howto")
    for name, place in COPIED.items():
        shutil.copytree(place, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests").mkdir()
    for name in ("op_table.py", "strategies.py", "graph_rows.py", "exported.py"):
        shutil.copy(Path(__file__).with_name(name), root / "tests")
    fences = FENCE.findall(HOWTO.read_text("utf-8"))
    found = [PLACE.split(fence) for fence in fences]
    assert [parts[0] for parts in found] == [""] * 8
    for _, *parts in found:
        for k in range(0, len(parts), 4):
            apply(root / parts[k], *parts[k + 1 : k + 4])
    (root / "kernels").rename(root / "tinygen_kernels")
    return root


def apply(path: Path, how: str | None, table: str | None, text: str) -> None:
    """A sample: a new file, lines at the end of one, or after the first line of a table."""
    before = "" if how == "new" else path.read_text("utf-8")
    if table:
        (head,) = re.findall(rf"^{re.escape(table)}\b.*\n", before, re.M)
        after = before.replace(head, head + text)
    else:
        after = before + ("\n\n" if before else "") + text
    path.write_text(after, "utf-8")


def run(copy: Path, *words: object) -> str:
    """What a program prints that uses the copy."""
    paths = os.pathsep.join(map(str, (copy, copy / "tests")))
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=copy, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONWARNINGS": "error", "COLUMNS": "100"},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_is_short() -> None:
    assert len(HOWTO.read_text("utf-8").splitlines()) <= 200


def test_every_file_that_is_named_is_there() -> None:
    for name in re.findall(r"`((?:tinygen|kernels|tests)/[\w/.]+\.\w+)`", HOWTO.read_text("utf-8")):
        if name != "tinygen/export/awk.py":
            assert (HOWTO.parent.parent / name).is_file(), name


def test_every_form_has_its_rows() -> None:
    assert export.FORMS.keys() == NEXT_STEPS.keys() == NEXT_STEPS_ENCODER.keys()
    assert export.FORMS.keys() <= verify.subjects().keys()


OPERATION = """
import io, json, sys, types
import numpy as np
import tinygen as tg
from tinygen import backend, models
from tinygen.export import js, prepare, python, render
from tinygen.export.graphs import blob, described
from op_table import ROWS
import graph_rows

assert tg.__file__.startswith(sys.path[1]), tg.__file__
row = next(r for r in ROWS if r.name == "softsign")
x = np.linspace(-3, 3, 20000, dtype=np.float32).reshape(100, 200)
want = row.reference(x.astype(float))
found = {"loops": "", "hits": {}}
far = lambda y: float(np.abs(y.numpy() - want).max())
with backend.get("numpy").without_kernels():
    found["reference"] = far(tg.softsign(tg.tensor(x)))
leaf = tg.tensor(x, requires_grad=True)
(g,) = tg.grad(tg.softsign(leaf).sum(), [leaf])
found["slope"] = float(np.abs(g.numpy() - (1 - np.abs(want)) ** 2).max())
for name in json.loads(sys.argv[1]):
    with tg.use_backend(name) as place:
        step = tg.compile(lambda x: tg.softsign(x * 2.0) + 1.0)
        for _ in range(2):
            y = step(tg.tensor(x))
        found[name] = [far(tg.softsign(tg.tensor(x))),
                       float(np.abs(y.numpy() - 1 - row.reference(2.0 * x.astype(float))).max())]
        found["hits"][name] = place.hits["softsign"]
        found["loops"] += step.plan.source()
found["rows"] = ["softsign" in f.OPERATIONS for f in (python, js)]
found["tried"] = sorted(graph_rows.FUNCTIONS) == sorted(python.OPERATIONS)
packed, x = graph_rows.packed("softsign"), graph_rows.argument()
model = models.VAE((6, 6, 1), hidden=(4,), latent=2, rng=tg.random.Generator(0)).eval()
module = types.ModuleType("drawn")
sys.modules["drawn"] = module
exec(render("python", prepare(model, "a", "0"))[".py"].decode(), vars(module))
about = json.loads(json.dumps(described(packed)))
(*_, y) = module.Graph(about, io.BytesIO(blob(packed))).run([x.ravel().tolist()])
want = packed(x, floats="float64").ravel()
found["python"] = float(np.abs(np.array(list(y.values)) - want).max())
print(json.dumps(found))
"""


def test_an_operation_runs_everywhere_by_four_places(copy: Path) -> None:
    places = [name for name in ("numpy", "emulated") if name in AVAILABLE]
    (copy / "operation.py").write_text(OPERATION)
    found = json.loads(run(copy, "operation.py", json.dumps(places)))
    assert found["reference"] < 1e-6
    assert found["slope"] < 1e-6
    for name in places:
        assert max(found[name]) < 1e-6
        if name == "emulated" or numba_compiles():
            assert found["hits"][name] >= 1
    if numba_compiles():
        assert "K(1) + abs(t0)" in found["loops"]
    if "emulated" in places:
        assert "t0 / (1 + fabs(t0))" in found["loops"]
    assert found["rows"] == [True, True]
    assert found["tried"]
    assert found["python"] < 1e-9


MEASURED = """
import json
from tinygen import data, models, train

models.find("pixels.py:Pixels")
run = train.open_run("run")
figures = train.evaluate(run, data.load("strokes", n=500, size=8))
print(json.dumps([run.sample(4, seed=0).shape, [[x.name, x.split, x.value] for x in figures]]))

# from Python, as the page says it
d, kind = data.load("strokes", n=60, size=8), models.find("pixels.py:Pixels")
train.fit(kind({"train": models.Form(d.shape)}), d, 1, progress=False)
"""


def test_a_model_trains_draws_and_is_measured(copy: Path) -> None:
    (command,) = re.findall(r"`(tinygen train pixels.*?)`", HOWTO.read_text("utf-8"))
    run(copy, "-m", *command.replace("--data strokes", "--data strokes --size 8").split())
    (copy / "measured.py").write_text(MEASURED)
    shape, figures = json.loads(run(copy, "measured.py"))
    run(copy, "-m", "tinygen", "--model", "pixels.py:Pixels", "sample", "run")
    assert shape == [4, 8, 8, 1]
    assert {split for _, split, _ in figures} == {"test", "train"}


FORM = """
import json, subprocess
import numpy as np
import tinygen as tg
from exported import small, varied
from tinygen import models, random
from tinygen.export import ExportError, prepare, render
from tinygen.images import to_uint8
from tinygen.runs import pictures

ROWS = tg.tensor(np.linspace(0.1, 1, 6, dtype=np.float32).reshape(6, 1, 1))


class Scaled(models.VAE):  # by a number for each row and, if narrow, by others that a code says
    def draw(self, noise, **given):
        y = super().draw(noise, **given) * ROWS
        return y * noise.reshape(-1, 1, 3, 1).sigmoid() if self.shape[1] == 3 else y


found = []
for kind, width in ((models.VAE, 6), (models.GAN, 6), (Scaled, 6), (Scaled, 3)):
    model = kind((6, width, 1), latent=3, hidden=(8,), rng=random.Generator(2))
    artefact = prepare(varied(model), "a", "0")
    with open("a.awk", "wb") as file:
        file.write(render("awk", artefact)[".awk"])
    code = artefact.codes(1, 5)
    want = to_uint8(pictures.draw(model, code, None), artefact.value_range).ravel()
    text = " ".join(map(repr, code.ravel().tolist())) + "\\n"
    done = subprocess.run(["awk", "-f", "a.awk"], input=text, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    got = np.array(done.stdout.split(), int)
    found.append([int(np.abs(got - want).max()), len(np.unique(want))])
refused = []
for part in ("encode", "both"):
    try:
        render("awk", prepare(small("vae"), "a", "0", part=part))
    except ExportError as error:
        refused.append(str(error))
print(json.dumps([found, refused]))
"""


@pytest.mark.skipif(shutil.which("awk") is None, reason="no awk")
def test_a_form_draws_what_the_model_draws(copy: Path) -> None:
    (copy / "form.py").write_text(FORM)
    found, refused = json.loads(run(copy, "form.py"))
    assert refused == ["the form awk does not encode; export the part draw"] * 2
    for off, levels in found:
        assert off <= 1
        assert levels > 5


SOURCE = """
import json
from rings import rings

d = rings(200)
again = d.fingerprint == rings(200).fingerprint
print(json.dumps([len(d), len(d.test), d.shape, d.classes, int(d.images.max()) > 250, again]))
"""


def test_a_source_gives_a_data_set(copy: Path) -> None:
    (copy / "source.py").write_text(SOURCE)
    found = json.loads(run(copy, "source.py"))
    assert found == [180, 20, [16, 16, 1], ["large", "small"], True, True]
