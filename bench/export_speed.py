"""The exported C file beside ONNX Runtime on one thread: compile time, sizes, time an image.

    pip install -e ".[onnx]" onnxruntime && python bench/export_speed.py [RUN ...] [--check]

RUN is a folder of `tinygen train`; without one, untrained networks of the sizes that `vae`, `gan`
and `dcgan` have by default. Both compute the same network from the same codes, in one process and
on one thread, in turn within each round; a figure is processor time and the median over the rounds,
a ratio the median of the ratios within the rounds. The C file has no batches: there it draws one
image after the other. `--check` exits with 1 where it is slower than ONNX Runtime on a dense
network, one image a call.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import report

from tinygen import export, models, train
from tinygen.export import Artefact
from tinygen.images import to_uint8
from tinygen.random import Generator

FLAGS = ["-O3", "-march=native"]
BATCH = 64

Draw = Callable[[int], Any]  # image i of the batch


def compiled(artefact: Artefact, folder: Path) -> tuple[Draw, list[str]]:
    """What draws image i with the C file, as uint8, and the first cells of its row."""
    path, library = folder / f"{artefact.name}.c", folder / f"{artefact.name}.so"
    export.write("c", artefact, path)
    compiler = shlex.split(os.environ.get("CC") or shutil.which("cc") or "gcc")
    command = [*compiler, *FLAGS, "-shared", "-fPIC", path, "-o", library, "-lm"]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    took = time.perf_counter() - start
    functions = ctypes.CDLL(str(library))
    asked = re.search(r"_WORKSPACE (\d+)", path.read_text("ascii"))
    assert asked is not None
    workspace = (ctypes.c_float * int(asked[1]))()
    assert functions[f"{artefact.name}_self_test"](workspace) == 0
    pixels = np.empty(artefact.shape, np.uint8)
    z = artefact.codes(BATCH, seed=1)
    float_pointer = ctypes.POINTER(ctypes.c_float)
    arguments = [x.ctypes.data_as(float_pointer) for x in z]
    target = pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_ubyte))
    label = 0 if artefact.classes else -1
    decode = functions[f"{artefact.name}_decode"]

    def draw(i: int) -> Any:
        decode(arguments[i], label, target, workspace)
        return pixels

    weights, size = artefact.nbytes / 1e6, path.stat().st_size / 1e6
    return draw, [f"{weights:.1f} MB", f"{size:.1f} MB", f"{took:.1f} s"]


def bound(artefact: Artefact, folder: Path) -> tuple[Draw, Callable[[], Any]]:
    """What draws image i with ONNX Runtime, and what draws all together; as floats.

    Inputs and outputs are bound to memory once, so that a call costs as little as it can.
    """
    import onnx
    import onnxruntime

    path = folder / f"{artefact.name}.onnx"
    export.write("onnx", artefact, path)
    model = onnx.load(path)
    del model.graph.output[1:]  # it has nothing to do but the image
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    z = artefact.codes(BATCH, seed=1)

    def binding(given: np.ndarray) -> Callable[[], Any]:
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        inputs = session.io_binding()
        inputs.bind_ortvalue_input("code", value(given))
        if artefact.classes:
            inputs.bind_ortvalue_input("label", value(np.zeros(len(given), np.int64)))
        image = value(np.empty((len(given), *artefact.shape), np.float32))
        inputs.bind_ortvalue_output("image", image)

        def run() -> Any:
            session.run_with_iobinding(inputs)
            return image

        return run

    single = [binding(z[i : i + 1]) for i in range(BATCH)]
    return lambda i: single[i](), binding(z)


def measure(artefact: Artefact, folder: Path, rounds: int) -> tuple[list[str], float]:
    """The row of a network, and how many times faster the C file is, one image a call."""
    mine, cells = compiled(artefact, folder)
    theirs, together = bound(artefact, folder)
    for i in range(BATCH):
        levels = to_uint8(theirs(i).numpy()[0], artefact.value_range)
        assert np.abs(mine(i).astype(int) - levels).max() <= 1

    def images(draw: Draw) -> None:
        for i in range(BATCH):
            draw(i)

    runs = {"c": lambda: images(mine), "ort": lambda: images(theirs), "batch": together}
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs)[number % 3 :] + list(runs)[: number % 3]
        for name in names:
            start = time.process_time()  # one thread each: the same as time, on an idle machine
            runs[name]()
            times[name].append((time.process_time() - start) / BATCH)
    cells += [f"{1e6 * statistics.median(times[name]):.0f} us" for name in ("c", "ort")]
    faster = report.ratio(times["ort"], times["c"])
    cells += [f"{faster:.2f}x", f"{1e6 * statistics.median(times['batch']):.0f} us"]
    cells += [f"{report.ratio(times['batch'], times['c']):.2f}x"]
    return cells, faster


def untrained() -> list[tuple[str, models.Model]]:
    rng = Generator(0)
    return [(name, models.find(name)((28, 28, 1), rng=rng)) for name in ("vae", "gan", "dcgan")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help="folders of trained models")
    parser.add_argument("--precision", choices=export.PRECISIONS, help="all without it")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--check", action="store_true", help="exit 1 if slower than ONNX Runtime")
    options = parser.parse_args()
    chosen = [(Path(x).name, train.open_run(x).model) for x in options.runs] or untrained()
    print(report.describe(report.machine()) + ", cc " + " ".join(FLAGS), flush=True)
    rows, slower = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, model in chosen:
            for precision in [options.precision] if options.precision else export.PRECISIONS:
                title = f"{name} {precision}"
                made = export.prepare(model.eval(), title, "", precision=precision)
                cells, faster = measure(made, Path(folder), options.rounds)
                rows.append([title, *cells])
                dense = not any(op.traits.convolution for op in made.graphs["draw"].graph.ops)
                if dense and faster < 1:
                    slower.append(f"{title}: {faster:.2f} times as fast")
    head = ["", "weights", "source", "compiled in", "C, one", "ORT, one", "", "ORT, 64", ""]
    print(report.table(head, rows))
    print("(x: ONNX Runtime's time over that of the C file; 64: an image of 64 drawn together)")
    for line in slower:
        print(f"SLOWER  {line}")
    return 1 if options.check and slower else 0


if __name__ == "__main__":
    sys.exit(main())
