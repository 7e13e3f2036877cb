"""tg.record: what a step's recording says, that it changes nothing, and its page in a browser."""

from __future__ import annotations

import base64
import gc
import json
import shutil
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen import models, nn, optim
from tinygen.learn import step_of_run
from tinygen.models import Form
from tinygen.study.step import FORMAT, Step
from tinygen.study.summary import summary

CHROMES = ("chromium", "chromium-browser", "google-chrome")
CHROME = next(filter(None, map(shutil.which, CHROMES)), None)


def gan() -> Any:
    """A small GAN of the usual depth, its optimizers, and images."""
    model = models.GAN((8, 8, 1), hidden=(24, 20, 28), latent=6, rng=tg.random.Generator(3))
    images = tg.random.Generator(1).uniform((16, 8, 8, 1)) * 2.0 - 1.0
    return model, model.optimizers(), images


def recorded(change: str = "") -> Step:
    model, optimizers, images = gan()
    if change:
        p = model.named_parameters()[change]
        with tg.no_grad():
            nn.module.assign(p, p + 0.25)
    with tg.record() as step:
        model.train_step(images, None, optimizers)
    return step


@pytest.fixture(scope="module")
def step() -> Step:
    return recorded()


def named(step: Step, call: dict[str, Any], where: str = "in") -> list[str]:
    return [step.arrays[i].get("name", "") for i in call[where] if isinstance(i, int)]


# ---- it changes nothing --------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_weights_are_the_same_bits_with_and_without_recording(compiled):
    states = []
    for watched in (False, True):
        model, optimizers, images = gan()
        run = model.train_step
        for k in range(2):
            if watched and k == 1:
                with tg.record() as step:
                    step_of_model = tg.compile(run) if compiled else run
                    step_of_model(images, None, optimizers)
                assert len(step.calls) > 200  # a compiled step as its operations
            else:
                run(images, None, optimizers)
        moments = {k: v for o in optimizers.values() for k, v in o.state_dict().items()}
        states.append({**model.state_dict(), **moments})
    assert all(np.array_equal(states[0][k], states[1][k]) for k in states[0])


def test_no_array_is_kept():
    x = tg.ones((100, 100)).detach(requires_grad=True)
    with tg.record() as step:
        y = x * 2.0
        alive = weakref.ref(y.data)
        del y
        gc.collect()
        assert alive() is None
    assert len(step.arrays) == 2


def test_a_recording_within_a_compiled_function_is_refused():
    def inside(x):
        with tg.record():
            return x + 1.0

    with pytest.raises(RuntimeError, match="put the block around the call"):
        tg.compile(inside)(tg.ones(3))


def test_an_error_passes_and_leaves_the_calls_until_there():
    steps = []

    def stops():
        with tg.record() as step:
            steps.append(step)
            tg.ones(3) + tg.tensor("no")

    with pytest.raises((TypeError, ValueError)):
        stops()
    (step,) = steps
    assert [c["op"] for c in step.calls] == ["full"]


# ---- what it says --------------------------------------------------------------------------------


def test_a_gan_step_has_its_parts_in_turn(step):
    assert step.document["format"] == FORMAT
    assert (step.document["model"], step.document["batch"]) == ("gan", 16)
    phases = [c["phase"] for c in step.calls]
    updates = [k for k, phase in enumerate(phases) if phase == "update"]
    assert len(updates) == 16
    d, g = updates[7], updates[8]
    assert "backward" in phases[:d]
    assert "backward" in phases[d:g]
    first = next(c for c in step.calls if c["op"] == "add" and c["phase"] == "forward")
    assert first["module"] == "generator.0"
    assert named(step, first)[1] == "generator.0.bias"
    assert first["line"].startswith("tinygen/nn/layers.py:")
    assert "linear" in step.document["source"][first["line"]]
    assert first["user"].startswith(("tests/test_record.py:", "test_record.py:"))
    assert "train_step" in step.document["source"][first["user"]]
    assert step.document["modules"]["generator.0"] == "Dense(6, 24)"
    assert "image" in [a.get("name") for a in step.arrays] or "images" in named(step, step.calls[0])


def test_an_update_makes_a_new_version(step):
    for call in step.calls:
        if call["op"] != "adam_step":
            continue
        p, gradient, m = call["in"][:3]
        after = call["out"][0]
        before, now = step.arrays[p], step.arrays[after]
        assert before["name"] == now["name"]
        assert now["version"] == before.get("version", 0) + 1
        assert before["crc32"] != now["crc32"]
        assert step.arrays[gradient]["name"] == f"gradient of {before['name']}"
        assert step.arrays[m]["name"] == f"{before['name']} m"
        assert step.arrays[m]["max"] == 0
        assert step.arrays[call["out"][1]]["crc32"] != step.arrays[m]["crc32"]
        assert call["module"] == before["name"].rpartition(".")[0]
    read = [i for c in step.calls if c["phase"] == "forward" for i in c["in"]]
    versions = {step.arrays[i].get("version", 0) for i in read if isinstance(i, int)}
    assert versions == {0, 1}  # the generator's loss asks the discriminator that has learnt


def test_each_slope_knows_its_call_and_its_formula():
    x = tg.tensor([[1.0, 2.0]], requires_grad=True)
    w, b = tg.ones((2, 3)).detach(requires_grad=True), tg.ones(3).detach(requires_grad=True)
    with tg.record() as step:
        loss = ((x @ w + b) * (x @ w)).sum()
        loss.backward()
    rules = {
        (step.calls[c["of"]]["op"], c["argument"], c["rule"])
        for c in step.calls if "argument" in c and "rule" in c
    }  # fmt: skip
    assert {("mul", 0, "g y"), ("mul", 1, "g x"), ("matmul_nd", 0, "g @ y^T"),
            ("matmul_nd", 1, "x^T @ g")} <= rules  # fmt: skip
    forward = [c["rule"] for c in step.calls if c["phase"] == "forward"]
    assert forward == ["x @ y", "x + y", "x @ y", "x y", "sum(x)"]
    adds = [(c["adds"], step.calls[c["of"]]["op"]) for c in step.calls if "adds" in c]
    assert ("axes", "add") in adds  # b was stretched
    assert step.document["operations"]["add"]["passes"] == [0, 1]
    assert step.document["operations"]["mul"]["passes"] == []
    assert sum(why == "paths" for why, _ in adds) == 2  # x and w were used twice
    names = {a.get("name") for a in step.arrays}
    assert {"x", "w", "b"} <= names  # as this function calls them


def test_second_derivatives_point_to_backward_calls(step):
    of = [step.calls[c["of"]]["phase"] for c in step.calls if c["of"] is not None]
    assert {"forward", "backward"} == set(of)  # R1 differentiates a slope
    assert all(c["of"] < k for k, c in enumerate(step.calls) if c["of"] is not None)


def test_modules_of_a_program_have_the_names_of_its_variables():
    rng = tg.random.Generator(0)
    critic = nn.Sequential(nn.Dense(3, 4, rng=rng), nn.ReLU(), nn.Dense(4, 1, rng=rng))
    sgd = optim.SGD(critic, lr=0.1)
    data = tg.ones((5, 3))
    with tg.record() as step:
        loss = critic(data).mean()
        loss.backward()
        sgd.step()
    modules = [c["module"] for c in step.calls if c["phase"] == "forward"]
    assert modules == ["critic.0", "critic.0", "critic.1", "critic.2", "critic.2", ""]
    assert named(step, step.calls[0]) == ["data", "critic.0.weight"]
    assert named(step, step.calls[-1])[0] == "critic.2.bias"
    assert step.calls[-1]["phase"] == "update"


def test_fused_operations_that_are_opened_keep_their_slopes():
    x = tg.tensor(np.linspace(-2, 2, 6), requires_grad=True)
    with tg.record() as step:
        tg.gelu(x).sum().backward()
    assert step.calls[-1]["phase"] in ("backward", "update", "forward")
    assert all(isinstance(c.get("rule", ""), str) for c in step.calls)
    assert np.isfinite(x.grad.numpy()).all()


# ---- two steps -----------------------------------------------------------------------------------


def test_the_first_difference_is_named(step, tmp_path):
    assert step.differs(recorded()) is None
    other = recorded(change="discriminator.6.bias")
    difference = step.differs(other)
    first = next(k for k, c in enumerate(step.calls) if "discriminator.6.bias" in named(step, c))
    assert difference.startswith(f"call {first + 1} add, discriminator.6.bias: mean ")
    other.save(tmp_path / "other.json")
    assert step.differs(tmp_path / "other.json") == difference


def test_steps_of_other_calls_differ():
    x = tg.ones(3)

    def of(function):
        with tg.record() as step:
            function(x + 1.0)
        return step

    one, two, three = of(tg.exp), of(tg.log), of(lambda y: tg.exp(tg.exp(y)))
    assert "there it is log" in one.differs(two)
    assert one.differs(three).endswith("only there")
    assert three.differs(one).endswith("only here")


# ---- files ---------------------------------------------------------------------------------------


def test_json_is_read_again(step, tmp_path):
    path = step.save(tmp_path / "step.json")
    again = Step.load(path)
    assert again.document == json.loads(json.dumps(step.document))
    assert repr(again) == repr(step)
    with pytest.raises(ValueError, match=r"as \.html \(a page\) or \.json \(data\), not as"):
        step.save(tmp_path / "step.txt")
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(ValueError, match="of the format None; expected 'tinygen-step/1'"):
        Step.load(tmp_path / "no.json")
    (tmp_path / "no.json").write_text("<html>")
    with pytest.raises(ValueError, match="is no recorded step"):
        Step.load(tmp_path / "no.json")


def test_a_page_of_the_usual_gan_is_small():
    model = models.GAN((28, 28, 1), hidden=(64, 96, 128), rng=tg.random.Generator(0))
    images = tg.random.Generator(1).uniform((64, 28, 28, 1)) * 2.0 - 1.0
    with tg.record() as step:
        model.train_step(images, None, model.optimizers())
    from tinygen.study.step import as_json
    from tinygen.study.step_page import page

    text = page(step.document, as_json(step.document))
    assert len(text.encode()) < 500_000
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_a_run_gives_a_step(tmp_path, capsys):
    data = tg.data.load("strokes", n=40, size=8)
    model = models.VAE(data.shape, hidden=(12,), latent=3, rng=tg.random.Generator(0))
    tg.train.fit(model, data, epochs=1, batch_size=20, out=tmp_path / "run", progress=False)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    steps = [step_of_run.step_of(tmp_path / "run", seed=seed) for seed in (0, 0, 1)]
    assert steps[0].differs(steps[1]) is None
    assert steps[0].differs(steps[2]) is not None
    assert steps[0].document["seed"] == 0
    assert steps[0].document["batch"] == 20
    assert {"loss", "kl"} <= steps[0].document["losses"].keys()
    assert step_of_run.main(tmp_path / "run", tmp_path / "s.html") == 0
    assert "s.html" in capsys.readouterr().out
    assert before == {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"expected \.html or \.json at its end"):
        step_of_run.main(tmp_path / "run", tmp_path / "s.pdf")


def test_the_command_records_with_the_kernels_of_a_training(tmp_path):
    """Exercises run without Numba; a run's step, by the same program, does what training does."""
    pytest.importorskip("numba")
    data = tg.data.load("strokes", n=40, size=8)
    options = models.Flow.Options(width=8, blocks=1)
    model = models.Flow({"train": Form(data.shape, 10)}, options, tg.random.Generator(0))
    tg.train.fit(model, data, epochs=1, batch_size=20, out=tmp_path / "run", progress=False)
    step_of_run.step_of(tmp_path / "run").save(tmp_path / "here.json")
    words = ["step", str(tmp_path / "run"), "--out", str(tmp_path / "there.json")]
    done = subprocess.run([sys.executable, "-m", "tinygen.learn", *words], capture_output=True)
    assert done.returncode == 0, done.stderr
    here, there = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("here", "there"))
    assert [c["op"] for c in here["calls"]] == [c["op"] for c in there["calls"]]
    assert any(c["op"] == "normalise_silu" for c in there["calls"])


# ---- an array in a kilobyte ----------------------------------------------------------------------


def pictured(entry: dict[str, Any]) -> Any:
    rows, columns, top, text = entry["thumb"]
    levels = np.frombuffer(base64.b64decode(text), np.uint8).astype(float).reshape(rows, columns)
    return np.where(levels == 0, np.nan, (levels - 128) / 127 * top)


def test_statistics_are_those_of_the_values():
    x = np.random.default_rng(0).normal(size=(48, 64)).astype(np.float32)
    x[:, ::2] = 0
    entry = summary(x)
    assert entry["mean"] == pytest.approx(x.mean(), abs=1e-6)
    assert entry["std"] == pytest.approx(x.std(), rel=1e-5)
    assert (entry["min"], entry["max"]) == pytest.approx((x.min(), x.max()), rel=1e-5)
    assert entry["zero"] == 0.5
    assert entry["bad"] == 0
    counts = np.histogram(x, 24)[0]
    assert np.abs(np.array(entry["hist"]) - 99 * counts / counts.max()).max() <= 1
    blocks = x.reshape(24, 2, 32, 2).mean(axis=(1, 3))
    assert np.abs(pictured(entry) - blocks).max() <= np.abs(blocks).max() / 127
    assert json.dumps(entry)
    assert len(json.dumps(entry)) < 1500


def test_what_is_not_finite_is_seen():
    x = np.ones((30, 40), np.float32)
    x[3, 39], x[29, 0] = np.nan, np.inf
    entry = summary(x)
    assert entry["bad"] == 2
    assert entry["mean"] == 1 == entry["max"]
    cells = pictured(entry)
    assert np.isnan(cells).sum() == 2
    assert np.isnan(cells[3, 31])
    assert np.isnan(cells[23, 0])
    none = summary(np.full(3, -np.inf))
    assert none["mean"] is None
    assert none["values"] == ["-inf"] * 3
    json.dumps(none, allow_nan=False)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array(2.5), {"values": [2.5], "shape": []}),
        (np.array([True, False]), {"values": [1, 0], "mean": 0.5}),
        (np.array([2**63], np.uint64), {"values": [2**63]}),
        (np.zeros((0, 3)), {"shape": [0, 3], "crc32": 0}),
        (np.full((50, 50), 7), {"min": 7, "max": 7}),
        (np.zeros((8, 6, 5, 1)) + np.arange(8)[:, None, None, None], {"tiles": "images"}),
        (np.zeros((2, 6, 5, 9)) + np.arange(9), {"tiles": "channels"}),
        (np.random.default_rng(0).normal(size=(3, 3, 4, 8)), {"shape": [3, 3, 4, 8]}),
    ],
)  # fmt: skip
def test_every_kind_of_array_is_summed_up(array, expected):
    entry = summary(array)
    assert expected.items() <= entry.items()
    assert "values" not in entry or array.size <= 16
    json.dumps(entry, allow_nan=False)
    if "tiles" in entry:
        cells = pictured(entry)
        rows, columns = min(12, array.shape[1]), min(10, array.shape[2])
        assert cells.shape == (2 * rows, 3 * columns)
        assert cells[rows, columns] == pytest.approx(4, abs=0.05)  # the fifth of six
    if expected == {"shape": [3, 3, 4, 8]}:  # a kernel: a matrix of (kh kw in, out)
        assert entry["thumb"][:2] == [24, 8]


# ---- the page ------------------------------------------------------------------------------------


def test_the_page_steps_through_all_calls_with_the_keyboard(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROME is None:
        pytest.skip(f"no browser; looked for {', '.join(CHROMES)}")
    rng = tg.random.Generator(0)
    net = nn.Sequential(nn.Dense(40, 8, rng=rng), nn.ReLU(), nn.Dense(8, 1, rng=rng))
    sgd = optim.SGD(net, lr=0.1)
    x = rng.normal((30, 40))
    with tg.record() as step:
        tg.square(net(x)).mean().backward()
        sgd.step()
        tg.log(x * 0.0 - 1.0)
    file = step.save(tmp_path / "step # é.html")
    trouble: list[str] = []
    with playwright.sync_playwright() as p:
        chrome = p.chromium.launch(executable_path=CHROME, args=["--no-sandbox"])
        tab = chrome.new_page(viewport={"width": 390, "height": 800})
        tab.on("console", lambda message: trouble.append(message.text))
        tab.on("pageerror", lambda error: trouble.append(str(error)))
        tab.on("request", lambda r: r.url == file.as_uri() or trouble.append(r.url))
        tab.goto(file.as_uri())
        tab.locator("#list li").first.wait_for()
        heads = [tab.locator("#h-call").text_content()]
        # each key as a person gives it, all in one call for speed
        heads += tab.evaluate("""(n) => Array.from({ length: n }, () => {
          document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true, cancelable: true }));
          return document.getElementById("h-call").textContent;
        })""", len(step.calls) - 1)  # fmt: skip
        expected = [f"{k + 1}. {c['op']} {c['phase']}" for k, c in enumerate(step.calls)]
        assert heads == expected
        tab.get_by_label("Find").fill("net.2.bias")
        tab.keyboard.press("Enter")
        found = next(k for k, c in enumerate(step.calls) if "net.2.bias" in named(step, c))
        assert tab.locator("#h-call").text_content() == expected[found]
        tab.keyboard.press("Escape")
        slider = tab.get_by_label("Call", exact=True)
        assert f"call {found + 1} of " in slider.get_attribute("aria-valuetext")
        assert tab.locator("#about .formula").text_content() == "out = x + y"
        tab.keyboard.press("m")
        back = next(k for k, c in enumerate(step.calls) if c["of"] == found)
        assert tab.locator("#h-call").text_content() == expected[back]
        tab.get_by_role("button", name="First not finite").click()
        assert tab.locator("#h-call").text_content() == expected[-1]
        assert "1200 not finite" in tab.locator("#figures").text_content()
        tab.locator("#figures .pick").first.click()
        assert tab.get_by_role("heading", name="The path of").is_visible()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        tab.keyboard.press("Home")
        assert tab.locator("#h-call").text_content() == expected[0]
        chrome.close()
    assert trouble == []
