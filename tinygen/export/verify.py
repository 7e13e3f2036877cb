"""Runs a trained generator wherever it can run, and compares what comes out.

The checkpoint draws image 0 of many seeds; every backend and every exported form at hand draws the
same, and a row says how far apart they are: at the pixel in grey levels, and layer by layer as the
largest difference over the largest value. Layers are compared with the chain in float64.
"""

from __future__ import annotations

import importlib.util
import subprocess
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
from . import FORMS, write
from .artefact import Artefact, codes

ALLOWED = {"float32": 1, "float16": 3, "int8": 255}  # grey levels; of int8 its cost is measured
FEW = 8  # images for what is slow: the emulator
TIMEOUT = 600  # seconds that a program may take


class Unavailable(RuntimeError):  # noqa: N818  (it is no error: the row is skipped)
    """What a row needs is not on this machine; says what."""


@dataclass(frozen=True)
class Row:
    """How one backend or form compares with the checkpoint.

    Attributes:
        name: "numpy", "c", ...
        skipped: why it was not run; "" if it was.
        failed: what went wrong; "" if nothing did.
        images: how many were compared.
        levels: the largest difference of a pixel, in grey levels of 255.
        layer, error: the layer that is furthest from float64, and how far: |a - b| / max|b|; None
            where only pixels come out.
        size: bytes of the exported file.
        rate: images a second, drawn together. start: seconds until the first image.
    """

    name: str
    skipped: str = ""
    failed: str = ""
    images: int = 0
    levels: int | None = None
    layer: str = ""
    error: float | None = None
    size: int | None = None
    rate: float | None = None
    start: float | None = None

    @property
    def ok(self) -> bool:
        return not self.failed


@dataclass(frozen=True)
class Drawn:
    """What a backend or a form gave: pixels (n, H, W, C), each layer's output for the first."""

    pixels: NDArray[np.uint8]
    trace: list[NDArray[Any]] | None
    rate: float | None
    start: float | None


@dataclass(frozen=True)
class Question:
    """What all are asked: image 0 of each seed, of these labels (all 0 without classes)."""

    made: Artefact
    seeds: tuple[int, ...]
    labels: tuple[int, ...]

    def inputs(self, n: int | None = None) -> NDArray[np.float32]:
        """The decoder's inputs (n, k)."""
        some = slice(n)
        z = np.concatenate([codes(self.made, 1, seed) for seed in self.seeds[some]])
        return self.made.conditioned(z, np.array(self.labels[some]))

    def pixels(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Grey levels of the decoder's outputs."""
        return to_uint8(values.reshape(-1, *self.made.shape), self.made.value_range)


def question(made: Artefact, seeds: int) -> Question:
    """Seeds 0 to so many, labels in turn."""
    classes = max(1, len(made.classes))
    return Question(made, tuple(range(seeds)), tuple(k % classes for k in range(seeds)))


def verify(
    made: Artefact, reference: NDArray[np.uint8], asked: Question,
    names: Sequence[str] | None = None, done: Callable[[Row], None] = lambda row: None,
) -> list[Row]:  # fmt: skip
    """A row for each backend and form.

    Args:
        made: the decoder to check.
        reference: what the checkpoint draws for the question, uint8 (n, H, W, C).
        asked: the question.
        names: some of `subjects()`; None for all.
        done: called with each row as soon as there is one.
    """
    assert made.decoder is not None
    exact = [x.numpy() for x in made.decoder.trace(Tensor(asked.inputs(1).astype(np.float64)))]
    rows = []
    with tempfile.TemporaryDirectory(prefix="tinygen-verify-") as folder:
        for name, run in subjects().items():
            if names is None or name in names:
                rows.append(_row(name, run, asked, Path(folder), reference, exact))
                done(rows[-1])
    return rows


def _row(
    name: str, run: Callable[[Question, Path], Drawn], asked: Question, folder: Path,
    reference: NDArray[np.uint8], exact: list[NDArray[Any]],
) -> Row:  # fmt: skip
    size = None
    try:
        path = folder / f"{asked.made.name}{FORMS[name][1]}" if name in FORMS else folder
        if name in FORMS:
            write(name, asked.made, path)
            size = path.stat().st_size
        drawn = run(asked, path)
    except Unavailable as error:
        return Row(name, skipped=str(error), size=size)
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        return Row(name, failed=str(error).strip() or type(error).__name__, size=size)
    n = len(drawn.pixels)
    wide = drawn.pixels.astype(np.int64) - reference[:n]
    levels = int(np.abs(wide).max())
    layer, error_found = "", None
    if drawn.trace is not None and asked.made.decoder is not None:
        layers = zip(asked.made.decoder.layers, drawn.trace, exact, strict=True)
        errors = {x.name: _distance(a, b) for x, a, b in layers}
        layer = max(errors, key=lambda k: errors[k])
        error_found = errors[layer]
    allowed = ALLOWED[asked.made.precision]
    failed = "" if levels <= allowed else f"{levels} grey levels apart, expected at most {allowed}"
    return Row(
        name, failed=failed, images=n, levels=levels, layer=layer, error=error_found, size=size,
        rate=drawn.rate, start=drawn.start,
    )  # fmt: skip


def _distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    scale = float(np.abs(b).max()) or 1.0
    return float(np.abs(a.reshape(b.shape).astype(np.float64) - b).max()) / scale


def subjects() -> dict[str, Callable[[Question, Path], Drawn]]:
    """Everything that can be asked, by name: backends first, then forms."""
    return {
        "numpy": _numpy, "numba": _numba, "emulated": _emulated, "cupy": _cupy,
        "safetensors": _safetensors, "python": _python, "c": _c, "js": _js, "html": _html,
        "onnx": _onnx,
    }  # fmt: skip


# ---- backends ------------------------------------------------------------------------------------


def _on(
    name: str, asked: Question, n: int | None, wrap: Callable[[Any], Any] = lambda f: f
) -> Drawn:
    network = asked.made.decoder
    assert network is not None
    began = time.perf_counter()
    with use_backend(name) as backend:
        place = lambda array: Tensor(backend.asarray(array))
        step = wrap(network.trace)
        one = [x.numpy() for x in step(place(asked.inputs(1)))]
        start = time.perf_counter() - began
        x = place(asked.inputs(n))
        values = step(x)[-1].numpy()  # what is compiled for this shape is compiled now
        began = time.perf_counter()
        step(x)[-1].numpy()
        rate = len(values) / (time.perf_counter() - began)
    return Drawn(asked.pixels(values), one, rate, start)


def _numpy(asked: Question, folder: Path) -> Drawn:
    backend = get_backend("numpy")
    kernels = dict(backend.kernels)
    backend.kernels.clear()  # the references alone
    try:
        return _on("numpy", asked, None)
    finally:
        backend.kernels.update(kernels)


def _numba(asked: Question, folder: Path) -> Drawn:
    if importlib.util.find_spec("numba") is None:
        raise Unavailable('Numba is not installed: pip install "tinygen[fast]"')
    return _on("numpy", asked, None, compile_step)


def _emulated(asked: Question, folder: Path) -> Drawn:
    return _device("emulated", asked, FEW)


def _cupy(asked: Question, folder: Path) -> Drawn:
    return _device("cupy", asked, None)


def _device(name: str, asked: Question, n: int | None) -> Drawn:
    try:
        get_backend(name)
    except DeviceError as error:
        raise Unavailable(str(error).removeprefix(f"{name}: ")) from None
    return _on(name, asked, n)
