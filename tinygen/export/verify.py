"""Runs a trained generator wherever it can run, and compares what comes out.

The checkpoint draws image 0 of many seeds; every backend and exported form here draws the
same, and a row says how far apart they are: at the pixel in grey levels, and operation by operation
as the largest difference over the largest value. Operations are compared with those in float64.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import DeviceError, use_backend
from ..backend import get as get_backend
from ..images import to_uint8
from ..plan import compile as compile_step
from ..tensor import Tensor
from ..trace.graph import Graph, Var, at, turns_of
from . import FORMS, drivers, write
from .artefact import Artefact
from .graphs import ExportError
from .safetensors import loader

ALLOWED = {"float32": 1, "float16": 3, "int8": 255}  # grey levels; of int8 its cost is measured
Steps = dict[str, NDArray[Any]]
FEW = 8  # images for what is slow: the emulator
TIMEOUT = 600  # seconds that a program may take
SECONDS = 20  # after so long no more images are drawn: those that there are are compared
TOGETHER = 2**26  # numbers of all arrays of the images that a backend draws together: 256 MB, which
# are alive at once where a step is recorded


class Unavailable(Exception):  # noqa: N818  (it is no error: the row is skipped)
    """What a row needs is not on this machine; says what."""


@dataclass(frozen=True)
class Row:
    """How one backend or form compares with the checkpoint.

    Attributes:
        name: "numpy", "c", ...
        skipped: why it was not run; "" if it was.
        failed: what went wrong; "" if nothing did.
        images: how many were compared; of what is slow fewer than were asked for.
        levels: the largest difference of a pixel, in grey levels of 255.
        operation, error: the one that is furthest from float64, and how far:
            |a - b| / max|b|; None where only pixels come out.
        size: bytes of the exported file.
        rate: images a second, drawn together. start: seconds until the first image.
    """

    name: str
    skipped: str = ""
    failed: str = ""
    images: int = 0
    levels: int | None = None
    operation: str = ""
    error: float | None = None
    size: int | None = None
    rate: float | None = None
    start: float | None = None

    @property
    def ok(self) -> bool:
        return not self.failed


@dataclass(frozen=True)
class Drawn:
    """What a backend or a form gave: pixels (n, H, W, C), and each operation for the first."""

    pixels: NDArray[np.uint8]
    trace: list[NDArray[Any]] | None
    rate: float | None
    start: float | None


@dataclass(frozen=True)
class Question:
    """What is drawn everywhere: image 0 of each seed, of these labels (all 0 without classes).

    Attributes:
        codes: float32 (n, latent), code 0 of each seed.
    """

    artefact: Artefact
    seeds: tuple[int, ...]
    labels: tuple[int, ...]
    codes: NDArray[np.float32]

    def inputs(self, n: int | None = None, first: int = 0) -> tuple[NDArray[Any], ...]:
        """What is drawn from, for n seeds, or for all."""
        some = slice(first, None if n is None else first + n)
        return self.artefact.arguments(self.codes[some], np.array(self.labels[some]))

    def pixels(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Grey levels of drawn images."""
        return to_uint8(values.reshape(-1, *self.artefact.shape), self.artefact.value_range)


def question(artefact: Artefact, seeds: int) -> Question:
    """Seeds 0 to so many, labels in turn."""
    classes, all_seeds = max(1, len(artefact.classes)), tuple(range(seeds))
    codes = np.concatenate([artefact.codes(1, seed) for seed in all_seeds])
    return Question(artefact, all_seeds, tuple(k % classes for k in all_seeds), codes)


def verify(
    artefact: Artefact, reference: NDArray[np.uint8], question: Question,
    names: Sequence[str] | None = None, done: Callable[[Row], None] = lambda row: None,
) -> list[Row]:  # fmt: skip
    """A row for each backend and form.

    Args:
        artefact: what draws.
        reference: what the checkpoint draws for the question, uint8 (n, H, W, C).
        question: what was drawn.
        names: some of `subjects()`; None for all.
        done: called with each row as soon as there is one.
    """
    exact = _exact(question)
    rows = []
    with tempfile.TemporaryDirectory(prefix="tinygen-verify-") as folder:
        for name, run in subjects().items():
            if names is None or name in names:
                rows.append(_row(name, run, question, Path(folder), reference, exact))
                done(rows[-1])
    return rows


def _exact(question: Question) -> Steps:
    """What each operation gives for the first image in float64."""
    graph = question.artefact.graphs["draw"]
    operations = zip(graph.graph.ops, graph.trace(question.inputs(1), "float64"), strict=True)
    return {f"{k} {op.name}": y for k, (op, y) in enumerate(operations)}


def _row(
    name: str, run: Callable[[Question, Path], Drawn], question: Question, folder: Path,
    reference: NDArray[np.uint8], exact: Steps,
) -> Row:  # fmt: skip
    size = None
    try:
        path = folder / f"{question.artefact.name}{FORMS[name][1]}" if name in FORMS else folder
        if name in FORMS:
            write(name, question.artefact, path)
            size = path.stat().st_size
        drawn = run(question, path)
    except (Unavailable, ExportError) as error:  # not installed, or this form cannot express it
        return Row(name, skipped=str(error), size=size)
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        late = isinstance(error, subprocess.TimeoutExpired)
        why = f"it took more than {TIMEOUT} s" if late else str(error).strip()
        return Row(name, failed=why or type(error).__name__, size=size)
    n = len(drawn.pixels)
    levels = int(np.abs(drawn.pixels.astype(np.int64) - reference[:n]).max())
    operation, error_found = "", None
    if drawn.trace is not None:
        steps = zip(exact.items(), drawn.trace, strict=True)
        errors = {step: _distance(a, b) for (step, b), a in steps}
        operation = max(errors, key=lambda k: errors[k])
        error_found = errors[operation]
    allowed = ALLOWED[question.artefact.precision]
    failed = "" if levels <= allowed else f"{levels} grey levels apart, expected at most {allowed}"
    return Row(
        name, failed=failed, images=n, levels=levels, operation=operation, error=error_found,
        size=size, rate=drawn.rate, start=drawn.start,
    )  # fmt: skip


def _distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    scale = float(np.abs(b).max()) or 1.0
    return float(np.abs(a.reshape(b.shape).astype(np.float64) - b).max()) / scale


def subjects() -> dict[str, Callable[[Question, Path], Drawn]]:
    """All backends and export forms, by name."""
    return {
        "numpy": _numpy, "numba": _numba, "emulated": _emulated, "cupy": _cupy,
        "safetensors": _safetensors, "python": _python, "c": _c, "js": _js, "html": _html,
        "onnx": _onnx,
    }  # fmt: skip


# ---- backends ------------------------------------------------------------------------------------


def _on(
    name: str, question: Question, n: int | None, wrap: Callable[[Any], Any] = lambda f: f
) -> Drawn:
    packed = question.artefact.graphs["draw"]
    began = time.perf_counter()
    with use_backend(name) as backend:

        def placed(inputs: Sequence[Any]) -> list[Tensor]:
            return [Tensor(backend.asarray(x)) for x in inputs]

        each = packed.on(backend, each=True)(*placed(question.inputs(1)))
        trace = [x.numpy() for x in each[: len(packed.graph.ops)]]
        del each
        start = time.perf_counter() - began
        step = wrap(packed.on(backend))
        pixels, rate = _in_batches(question, n, lambda *x: step(*placed(x))[0].numpy())
    return Drawn(pixels, trace, rate, start)


def _in_batches(
    question: Question, n: int | None, draw: Callable[..., NDArray[Any]]
) -> tuple[NDArray[np.uint8], float]:
    """Grey levels of the first n images, or of those drawn in SECONDS, and how many a second."""
    count, packed = len(question.seeds[:n]), question.artefact.graphs["draw"]
    given = packed.all(question.inputs(1))
    numbers = _numbers(packed.graph, dict(zip(packed.graph.inputs, given, strict=True)))
    size = min(count, max(1, TOGETHER // numbers))
    if size > 1:
        draw(*question.inputs(size))  # what is compiled for this shape is compiled now
    began, parts = time.perf_counter(), list[NDArray[np.uint8]]()
    for first in range(0, count, size):
        if parts and time.perf_counter() - began > SECONDS:
            break
        inputs = question.inputs(min(size, count - first), first)
        parts.append(question.pixels(draw(*inputs)))
    pixels = np.concatenate(parts)
    return pixels, len(pixels) / (time.perf_counter() - began)


def _numbers(graph: Graph, values: dict[Var, Any]) -> int:
    """How many one image takes, in the arrays of all operations, those of loops for each turn."""
    total = 1
    for op in graph.ops:
        total += math.prod(at(op.outs[0].shape, 1))
        if op.body is not None:
            turns = turns_of(op.static["n"], values.__getitem__)
            total += turns * _numbers(op.body, values)
    return total


def _numpy(question: Question, folder: Path) -> Drawn:
    with get_backend("numpy").without_kernels():
        return _on("numpy", question, None)


def _numba(question: Question, folder: Path) -> Drawn:
    if importlib.util.find_spec("numba") is None:
        raise Unavailable('Numba is not installed: pip install "tinygen[fast]"')
    return _on("numpy", question, None, compile_step)


def _emulated(question: Question, folder: Path) -> Drawn:
    return _device("emulated", question, FEW)


def _cupy(question: Question, folder: Path) -> Drawn:
    return _device("cupy", question, None)


def _device(name: str, question: Question, n: int | None) -> Drawn:
    try:
        get_backend(name)
    except DeviceError as error:
        raise Unavailable(str(error).removeprefix(f"{name}: ")) from None
    return _on(name, question, n)


# ---- forms ---------------------------------------------------------------------------------------


def _run(command: Sequence[object], **more: Any) -> str:
    """What a command prints; RuntimeError with the end of its output if it fails."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=TIMEOUT,
        check=False, **more,
    )  # fmt: skip
    if done.returncode:
        output = (done.stderr or done.stdout).strip()[-500:]
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {output}")
    return done.stdout


def _task(question: Question, **more: Any) -> dict[str, Any]:
    labels = question.labels if question.artefact.classes else [None] * len(question.seeds)
    return {"seeds": question.seeds, "labels": labels, "seconds": SECONDS, **more}


def _driven(command: Sequence[object], question: Question, path: Path) -> Drawn:
    task = json.dumps(_task(question, folder=str(path.parent)))
    answer = json.loads(_run([*command, path, task]))
    return Drawn(
        _levels(path.parent / "pixels.raw", question), _steps(path.parent / "trace.raw", question),
        answer["rate"], answer["start"],
    )  # fmt: skip


def _levels(path: Path, question: Question) -> NDArray[np.uint8]:
    return np.fromfile(path, np.uint8).reshape(-1, *question.artefact.shape)


def _steps(path: Path, question: Question) -> list[NDArray[Any]] | None:
    values = np.fromfile(path, "<f4")
    if not len(values):
        return None
    graph = question.artefact.graphs["draw"].graph
    shapes = [at(op.outs[0].shape, 1) for op in graph.ops]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    if len(values) != ends[-1]:
        raise RuntimeError(f"{len(values)} numbers in all operations, expected {ends[-1]}")
    return np.split(values, ends[:-1])


def _python(question: Question, path: Path) -> Drawn:
    return _driven([sys.executable, "-I", "-S", "-B", "-c", drivers.PYTHON], question, path)


def _js(question: Question, path: Path) -> Drawn:
    node = shutil.which("node")
    if node is None:
        raise Unavailable("node is not installed")
    module = path.with_suffix(".mjs")  # whatever the folders above say of .js files
    shutil.copy(path, module)
    return _driven([node, "--input-type=module", "-e", drivers.JAVASCRIPT, "--"], question, module)


def _html(question: Question, path: Path) -> Drawn:
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise Unavailable("Playwright is not installed: pip install playwright") from None
    browsers = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in browsers if (found := shutil.which(name))), None)
    if browser is None:
        raise Unavailable(f"no browser: install one of {', '.join(browsers)}")
    try:
        with sync_playwright() as play:
            root = getattr(os, "geteuid", lambda: 1)() == 0  # Chromium's sandbox refuses root
            args = ["--no-sandbox"] if root else []
            opened = play.chromium.launch(executable_path=browser, args=args)
            began = time.perf_counter()
            tab = opened.new_page()
            tab.goto(path.as_uri())
            answer = tab.evaluate(drivers.PAGE, _task(question))
            start = time.perf_counter() - began - answer["seconds"]
            opened.close()
    except Error as error:
        raise RuntimeError(str(error)) from None
    levels = np.array(answer["levels"], np.uint8).reshape(-1, *question.artefact.shape)
    steps = map(np.array, answer["steps"])
    return Drawn(levels, [*steps], len(levels) / answer["seconds"], start)


def _c(question: Question, path: Path) -> Drawn:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise Unavailable("no C compiler: install gcc or clang, or name one with CC=...")
    artefact, folder, name = question.artefact, path.parent, question.artefact.name
    program, raw = folder / f"{name}-program", folder / "pixels.raw"
    flags = ["-std=c99", "-O3", *shlex.split(os.environ.get("CFLAGS", ""))]
    flags.append(f"-D{name.upper()}_MAIN")
    _run([*shlex.split(compiler), *flags, path, "-o", program, "-lm"])

    def draw(n: int, seed: int, label: int, *more: object) -> float:
        began = time.perf_counter()
        chosen = ["--label", artefact.label_text(label)] if artefact.classes else []
        _run([program, "--n", n, "--seed", seed, *chosen, "--raw", raw, *more])
        return time.perf_counter() - began

    start, began = math.inf, time.perf_counter()
    parts: list[NDArray[np.uint8]] = []
    for seed, label in zip(question.seeds, question.labels, strict=True):
        if parts and time.perf_counter() - began > SECONDS:
            break
        start = min(start, draw(1, seed, label))
        parts.append(_levels(raw, question))
    many = min(200, 2 + int(SECONDS / 4 / start))
    rate = (many - 1) / max(draw(many, 0, 0) - start, 1e-9)
    draw(1, question.seeds[0], question.labels[0], "--trace", folder / "trace.raw")
    return Drawn(np.concatenate(parts), _steps(folder / "trace.raw", question), rate, start)


def _onnx(question: Question, path: Path) -> Drawn:
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise Unavailable("ONNX Runtime is not installed: pip install onnx onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # an input that has a default is no mistake
    options.intra_op_num_threads = options.inter_op_num_threads = 1

    def session(model: Any) -> Any:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(session: Any, names: list[str], *inputs: Any) -> Any:
        return session.run(names, dict(zip(("code", "label"), inputs, strict=False)))

    began = time.perf_counter()
    opened = session(str(path))
    run(opened, ["image"], *question.inputs(1))
    start = time.perf_counter() - began
    pixels, rate = _in_batches(question, None, lambda *x: run(opened, ["image"], *x)[0])

    model = onnx.load(path)  # once more, with every operation's value as an output
    artefact = {name for node in model.graph.node for name in node.output}
    names = [f"draw.{k}" for k in range(len(question.artefact.graphs["draw"].graph.ops))]
    names = [name if name in artefact else f"{name}.planes" for name in names]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    found = run(session(model.SerializeToString()), names, *question.inputs(1))
    trace = [
        x.transpose(0, 2, 3, 1) if name.endswith(".planes") else x
        for name, x in zip(names, found, strict=True)
    ]
    return Drawn(pixels, trace, rate, start)


def _safetensors(question: Question, path: Path) -> Drawn:
    """By the NumPy code of the model card."""
    if importlib.util.find_spec("safetensors") is None:
        raise Unavailable("safetensors is not installed: pip install safetensors")
    began = time.perf_counter()
    names: dict[str, Any] = {}
    try:
        exec(loader("load_numpy.py", str(path), question.artefact), names)
    except AssertionError as error:
        raise RuntimeError(str(error)) from None
    code, *labels = question.inputs(1)
    trace = names["trace"]("draw", code, *labels)[:-1]
    start = time.perf_counter() - began
    pixels, _ = _in_batches(question, None, lambda *x: names["forward"]("draw", *x))
    return Drawn(pixels, trace, None, start)
