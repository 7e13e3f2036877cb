"""The examples: each step runs and shows something, the notebook runs, the ring is found."""

import base64
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from strategies import AVAILABLE

import tinygen as tg

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
STEPS = sorted((EXAMPLES / "steps").glob("*.py"))
NOTEBOOK = EXAMPLES / "train_a_vae.ipynb"
QUICK = {f"{n:02}" for n in range(1, 10)}
LONGER = pytest.mark.slow
# The longest run with fewer images or steps here; the ring is trained in full by its own test.
SHORTER = {
    "10": [("n=8000", "n=2000")],
    "11": [("n=8000", "n=2000")],
    "12": [("n=8000", "n=2000")],
    "14": [("n=10_000", "n=2000"), ("64, 500, 64", "64, 100, 64")],
    "15": [("= 800, 128", "= 100, 128")],
    "16": [("n=8000", "n=2000")],
    "21": [("n=4000", "n=1000")],
}
FEWER = ("n=10_000", "n=2_000")  # of the notebook
# On a machine with other work, two BLAS threads wait for each other at every small product.
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}


def percentages(text):
    return [int(found) for found in re.findall(r"(\d+)%", text)]


def says_06(out):
    value, guarded, alone = out.split("mask * log(x):")[1].splitlines()[:3]
    assert "nan" in value
    assert "[0.5, 1.0, 0.0, 0.0], by tinygen's guarded rule" in guarded
    assert "nan" in alone


def says_13(out):
    assert out.count("slope of the generator's loss") == 4
    apart = [float(found) for found in re.findall(r"differ by ([\d.]+)", out)]
    assert apart[0] > 0.8
    assert apart[-1] < 0.3


def says_15(out):
    least, most = re.search(r"score from (\S+) to (\S+)", out).groups()
    assert float(least) < float(most)


def says_17(out):
    share = {k: float(v) for k, v in re.findall(r"   (\w+) +(\d\.\d\d)\n", out)}
    assert 0.6 < share["slant"] < 1
    assert 0.05 < share["scale"] < 0.5  # a little
    assert max(share["rotation"], share["thickness"]) < 0.3


def says_18(out):
    first, second = re.findall(r"last loss ([\d.]+)", out)
    assert float(first) == pytest.approx(float(second), rel=1e-3)
    assert all(share <= 100 for share in percentages(out))
    alone, limit = map(float, re.findall(r"([\d.]+) ms (?:in calls|at the limits)", out))
    assert limit <= alone + 0.01


def says_19(out):
    (wrong,) = percentages(out.split("no first barrier:")[1].split("wrong")[0])
    assert wrong > 50


def says_21(out):
    sizes = [int(size.replace(",", "")) for size in re.findall(r"([\d,]+) bytes", out)]
    assert sizes[2] < 0.35 * sizes[0]
    assert all(int(most) <= 1 for most in re.findall(r"most (\d+)", out))
    assert "self-test passed" in out


SAYS = {name[-2:]: says for name, says in list(globals().items()) if name.startswith("says_")}


def step(number):
    return next(path for path in STEPS if path.name.startswith(number))


def decoded(path):
    pillow = pytest.importorskip("PIL.Image")
    with pillow.open(path if isinstance(path, Path) else io.BytesIO(path)) as file:
        file.load()
        assert file.format == "PNG"
        return np.asarray(file)


def test_the_ladder_has_no_gap():
    assert [path.name[:2] for path in STEPS] == [f"{i + 1:02}" for i in range(len(STEPS))]


@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.stem)
def test_step_is_short_and_explains_itself(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    assert text.startswith('"""')
    head = text.split('"""')[1]
    assert "Look at:" in head
    assert "Exercise:" in head


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, id=p.stem, marks=pytest.mark.quick if p.name[:2] in QUICK else LONGER)
        for p in STEPS
    ],
)
def test_step_runs(path, tmp_path):
    folder = tmp_path / "pictures here"
    program = tmp_path / path.name
    text = path.read_text(encoding="utf-8")
    if '"emulated"' in text and "emulated" not in AVAILABLE:
        pytest.skip("no C++ compiler for the emulated GPU")
    for full, fewer in SHORTER.get(path.name[:2], ()):
        assert full in text
        text = text.replace(full, fewer)
    program.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program), str(folder)],
        cwd=tmp_path,
        env={**ENVIRONMENT, "TINYGEN_COACH": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    notes = [row for row in done.stderr.splitlines() if "were not looked into" not in row]
    assert len(notes) == path.name.startswith("05_"), done.stderr  # the mistake that it shows
    SAYS.get(path.name[:2], str)(done.stdout)
    names = [p.name for p in tmp_path.rglob("*.png")]
    if ".save(" not in text:
        assert not names
        return
    assert len(names) == 1
    assert names[0].startswith(path.name[:3])
    picture = decoded(folder / names[0])
    assert picture.shape[0] >= 100
    assert picture.shape[1] >= 100
    assert picture.std() > 10
    assert len(np.unique(picture)) > 5


# ---- what the exercises find ---------------------------------------------------------------------


def module(number, *changes):
    """A step as a module, with some of its text changed as an exercise asks."""
    text = step(number).read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    namespace = {"__name__": f"step_{number}"}
    exec(compile(text, str(step(number)), "exec"), namespace)
    return namespace


@pytest.mark.quick
def test_a_digit_of_pi_costs_a_hundred_times_the_points():
    def spread(n):
        found = []
        for seed in range(10):
            x, y = tg.random.Generator(seed).uniform((2, n)).numpy()
            found.append(4 * np.mean(x * x + y * y < 1))
        return np.std(found)

    assert 4 < spread(100) / spread(10_000) < 25


@pytest.mark.quick
@pytest.mark.parametrize(("rate", "loss"), [(0.1, 0.3), (0.2, 0.3), (0.25, 0.3), (0.3, np.inf)])
def test_the_line_jumps_to_and_fro_before_it_explodes(rate, loss, capsys):
    line = module("08", ("RATE = 0.05", f"RATE = {rate}"))["line"]
    with np.errstate(all="ignore"):
        line(tg.random.Generator(0).stream("line"))
    rows = re.findall(r"loss +(\S+) +parameters (\S+)", capsys.readouterr().out)
    last = float(rows[-1][0])
    assert last < loss if np.isfinite(loss) else not last < 1e6
    jumps = np.sign(np.diff([float(a) for _, a in rows[:6]]))
    assert (len(set(jumps)) == 2) == (rate >= 0.2)


@pytest.mark.quick
def test_only_adam_notices_that_the_ravine_is_turned():
    flat, turned = (module("09", ("ANGLE = 0", f"ANGLE = {angle}")) for angle in (0, 45))
    for make, notices in (
        (lambda p: tg.optim.SGD(p, lr=0.06), False),
        (lambda p: tg.optim.SGD(p, lr=0.03, momentum=0.8), False),
        (lambda p: tg.optim.Adam(p, lr=0.12), True),
    ):
        paths = [ravine["descend"](make) for ravine in (flat, turned)]
        np.testing.assert_allclose(paths[1][0], [-2.0, 0.4], rtol=1e-6)
        assert (np.abs(paths[0] - paths[1]).max() > 0.05) == notices


@pytest.mark.quick
def test_a_generator_that_is_seen_through_is_left_the_slope_of_one_loss(capsys):
    change = ("1500, 128, 0, (0, 100, 500, 1500)", "0, 128, 200, (0,)")
    module("13", change)["main"]()
    slopes = re.search(r"minimax (\S+), non_saturating (\S+)", capsys.readouterr().out).groups()
    assert float(slopes[1]) > 10 * float(slopes[0])


def test_a_file_with_a_changed_letter_says_so(capsys):
    module("21", ("CHANGED = 0", "CHANGED = 1"), ("n=4000", "n=200"))["main"]()
    found = capsys.readouterr().out
    assert "self-test FAILED: this file is damaged" in found


@pytest.mark.slow
def test_the_penalty_holds_the_range_of_the_critics_score():
    spans = []
    for penalty in ("0", "10"):
        ring = module("15", ("= 800, 128, 3, 0.1", f"= 100, 128, 3, {penalty}"))
        critics = []
        ring["train"](0, lambda _step, _samples, critic, kept=critics: kept.append(critic))
        score = critics[-1](ring["ring"](500, tg.random.Generator(2))).numpy()
        zero = critics[-1](np.zeros((1, 2), np.float32)).numpy()
        spans.append(np.abs(score - zero).max())
    assert spans[0] > 5 * spans[1]


@pytest.mark.skipif("emulated" not in AVAILABLE, reason="no C++ compiler for the emulated GPU")
def test_the_other_barrier_and_the_swapped_load_of_the_kernel(capsys):
    swapped = ("int i = threadIdx.y, j = threadIdx.x;", "int i = threadIdx.x, j = threadIdx.y;")
    module("19", ('32, "first"', '32, "second"'), swapped)
    out = capsys.readouterr().out
    assert float(re.search(r"largest error (\S+)", out).group(1)) < 1e-4
    assert percentages(out.split("no second barrier:")[1].split("wrong")[0])[0] > 50


def test_readme_lists_every_step():
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in STEPS:
        assert f"(steps/{path.name})" in text
    root = EXAMPLES.parent
    for row in text.splitlines():
        if row.startswith("| ["):
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            assert len(cells) == 5
            assert all(cells)
            named = [
                word for word in cells[2].split("`") if word.startswith(("tinygen/", "kernels/"))
            ]
            assert named
            assert all((root / name).is_file() for name in named)


@pytest.mark.slow
def test_wgan_gp_finds_all_modes_of_the_ring():
    """For three seeds, trained at the same time."""

    def program(seed):
        return f"""
import json, runpy, time
ring = runpy.run_path({str(step("15"))!r})
began = time.process_time()
samples = ring["train"]({seed})
seconds = time.process_time() - began
result = [samples.shape, ring["RADIUS"], ring["STD"], ring["count_modes"](samples), seconds]
print(json.dumps(result))
"""

    running = [
        subprocess.Popen(
            [sys.executable, "-c", program(seed)],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(3)
    ]
    for process in running:
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, err
        shape, radius, std, modes, seconds = json.loads(out)
        assert (shape, radius, std) == ([2500, 2], 2.0, 0.02)
        assert modes == 8
        assert seconds < 60  # of one core, whatever else the machine is doing


def test_modes_of_the_ring_are_counted_right():
    spec = importlib.util.spec_from_file_location("ring", step("15"))
    ring = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ring)
    assert np.allclose(np.linalg.norm(ring.CENTRES, axis=1), 2.0)
    inside = ring.CENTRES + np.float32([0.059, 0])
    outside = ring.CENTRES + np.float32([0.061, 0])
    assert ring.count_modes(np.repeat(inside, 20, axis=0)) == 8
    assert ring.count_modes(np.repeat(outside, 20, axis=0)) == 0
    assert ring.count_modes(np.repeat(inside, 19, axis=0)) == 0
    assert ring.count_modes(np.repeat(inside[:3], 20, axis=0)) == 3


# ---- the notebook --------------------------------------------------------------------------------


def test_notebook_is_stored_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert set(notebook.metadata.language_info) == {"name"}
    for cell in notebook.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


def test_notebook_runs(tmp_path):
    for name in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(name)
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    text = json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"})
    (kernel / "kernel.json").write_text(text)
    executed = tmp_path / "executed.ipynb"
    shorter = tmp_path / "shorter.ipynb"
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert FEWER[0] in text
    shorter.write_text(text.replace(*FEWER), encoding="utf-8")
    program = f"""
import nbclient, nbformat
notebook = nbformat.read({str(shorter)!r}, as_version=4)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
nbformat.write(notebook, {str(executed)!r})
"""
    environment = {
        **os.environ,
        "OPENBLAS_NUM_THREADS": "1",
        "JUPYTER_PATH": str(tmp_path / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    # In a process of its own: the libraries of Jupyter start threads and event loops.
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    outputs = [out for cell in cells for out in cell.get("outputs", [])]
    assert not [out for out in outputs if out["output_type"] == "error"]
    assert not [out for out in outputs if out.get("name") == "stderr"]
    drawn = [out["data"]["image/png"] for out in outputs if "image/png" in out.get("data", {})]
    assert len(drawn) >= 6
    for text in drawn:
        assert decoded(base64.b64decode(text)).std() > 10
    assert any("held-out" in "".join(out.get("text", "")) for out in outputs)
