"""An NVIDIA GPU: are the results right, and how close are the kernels to what it can do?

    pip install -e ".[cuda13,test,bench]"
    python bench/gpu.py [--python-torch PATH] [--python-jax PATH] [--only NAMES]

The first program to run on a GPU that was not tried before: what would make the rest worthless
comes first. About eleven minutes; a section that fails is told and the others go on.

config      driver, NVRTC, cuBLAS, compute capability                                     10 s
operations  every operation, by kernels and by references, beside NumPy                  120 s
replay      every model: a step is one graph, near the eager step, the same bits twice    90 s
bits        random numbers are those of the processor                                      8 s
library     a product by cuBLAS inside a graph                                             6 s
precision   products in TF32 and bfloat16                                                  8 s
memcheck    `operations` under compute-sanitizer: accesses                                90 s
racecheck   `operations` under compute-sanitizer: barriers                                90 s
launch      microseconds that the host needs for one operation: CuPy's own, ours           5 s
memory      GB/s of Adam, activations and reductions beside a copy on the device          20 s
product     GFLOP/s of our products, float32, TF32 and bf16, beside cuBLAS                40 s
step        a training step of gan, vae and dcgan: tinygen as one CUDA graph and eager, PyTorch
            eager, compiled (reduce-overhead) and as a CUDA graph, JAX jit; losses are read every
            25 steps by all, processes in turn, medians of rounds                        120 s
host        the GPU's time and the host's for a replay of each: which of them waits       20 s

`--emulated` runs the checks and a step, tiny, on the emulated device: a rehearsal without a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_checks
import numpy as np
import report
from report import Missing, PeerError, Worker

sys.path.insert(0, str(report.PEERS))

import tinygen as tg
from tinygen import backend, models

BATCHES = (64, 256, 4096)
MODELS = ("gan", "vae", "dcgan")
LARGEST = ("dcgan", 4096)  # says nothing that 256 images do not
PEERS: dict[str, tuple[str, str]] = {  # name -> script, variant
    "tinygen": ("tinygen_step.py", ""),
    "tinygen-eager": ("tinygen_step.py", "eager"),
    "torch": ("torch_step.py", "fused"),
    "torch-compile": ("torch_step.py", "compile,fused"),
    "torch-graph": ("torch_step.py", "graph,fused"),
    "jax": ("jax_step.py", ""),
}
SQUARES = (512, 1024, 2048, 4096)
LAYERS = ((64, 784, 1024), (64, 1024, 512), (256, 784, 1024), (4096, 784, 400))
# ---- times on the device -------------------------------------------------------------------------


def on_device(cupy: Any, run: Callable[[], Any], seconds: float = 0.2) -> float:
    """Seconds a call, by the device's clock, the host enqueuing ahead of it."""
    for _ in range(3):
        run()
    cupy.cuda.Device().synchronize()
    begin = time.perf_counter()
    run()
    cupy.cuda.Device().synchronize()
    count = max(3, min(2000, int(seconds / max(time.perf_counter() - begin, 1e-6))))
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    for _ in range(count):
        run()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, end)) / 1e3 / count


def on_host(cupy: Any, run: Callable[[], Any], count: int = 300) -> float:
    """Seconds the host needs to enqueue a call."""
    run()
    cupy.cuda.Device().synchronize()
    best = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(count):
            run()
        best.append((time.perf_counter() - start) / count)
        cupy.cuda.Device().synchronize()
    return min(best)


def launch(cupy: Any) -> dict[str, float]:
    """Microseconds of the host for one small operation."""
    x, y = cupy.ones((64, 64), np.float32), cupy.empty((64, 64), np.float32)
    t = tg.ones((64, 64))
    tanh = backend.load_kernel(backend.get("cupy"), "tanh")
    assert tanh is not None
    bound = tanh.bind(x, out=y)  # type: ignore[attr-defined]
    product = backend.load_kernel(backend.get("cupy"), "matmul_nd").bind(x, x, out=y)  # type: ignore[union-attr]
    runs: dict[str, Callable[[], Any]] = {
        "CuPy tanh, out=": lambda: cupy.tanh(x, out=y), "CuPy matmul": lambda: cupy.matmul(x, x),
        "our tanh, bound": bound, "our product, bound": product,
        "tinygen tanh": lambda: tg.tanh(t), "tinygen matmul": lambda: tg.matmul(t, t),
    }  # fmt: skip
    out = {name: round(1e6 * on_host(cupy, run), 2) for name, run in runs.items()}
    for name, us in out.items():
        print(f"  {name:<20} {us:8.2f} us")
    return out


def product(cupy: Any) -> dict[str, Any]:
    """GFLOP/s of products, ours and cuBLAS's."""
    from tinygen_kernels.cuda import matmul

    core: Any = importlib.import_module("cupy._core._routines_linalg")
    device = backend.get("cupy").device  # type: ignore[attr-defined]
    device.library_product = lambda *_: None  # ours at any size
    out: dict[str, Any] = {}
    sizes = [*((n, n, n) for n in SQUARES), *LAYERS]
    for m, k, n in sizes:
        rng = np.random.default_rng(0)
        x, y = (cupy.asarray(rng.random(s, np.float32) - 0.5) for s in ((m, k), (k, n)))
        z, flop = cupy.empty((m, n), np.float32), 2e-9 * m * k * n
        row: dict[str, float] = {}
        for name in ("float32", "tf32", "bf16"):
            call = matmul.product(x, y, out=z, precision=name)
            row[f"ours {name}"] = flop / on_device(cupy, call)
            if name == "bf16":  # cuBLAS would want its operands rounded before
                continue
            compute = core.COMPUTE_TYPE_TF32 if name == "tf32" else core.COMPUTE_TYPE_FP32
            core.set_compute_type(cupy.float32, compute)
            row[f"cuBLAS {name}"] = flop / on_device(
                cupy, lambda x=x, y=y, z=z: cupy.matmul(x, y, out=z)
            )
        core.set_compute_type(cupy.float32, core.COMPUTE_TYPE_DEFAULT)
        out[f"{m}x{k}x{n}"] = {name: round(v, 1) for name, v in row.items()}
        shares = ", ".join(f"{name} {v:,.0f}" for name, v in row.items())
        of_cublas = row["ours tf32"] / row["cuBLAS tf32"]
        print(f"  {m}x{k}x{n}: {shares} GFLOP/s; TF32 {of_cublas:.0%} of cuBLAS")
    del device.library_product
    return out


def memory(cupy: Any) -> dict[str, Any]:
    """GB/s of what memory bounds, beside a copy on the device."""
    n = 1 << 26
    place = backend.get("cupy")
    a, b, c, d = (cupy.ones(n, np.float32) for _ in range(4))
    t, lr = cupy.zeros((), np.int64), cupy.full((), 1e-3, np.float64)

    def bound(op: str, *arrays: Any, **static: Any) -> Any:
        return backend.load_kernel(place, op).bind(*arrays, **static)  # type: ignore[union-attr]

    adam = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
    runs: dict[str, tuple[Callable[[], Any], int]] = {
        "copy": (lambda: cupy.copyto(a, b), 8 * n),
        "Adam": (bound("adam_step", a, b, c, d, t, lr, **adam), 28 * n),
        "tanh": (bound("tanh", a, out=b), 8 * n),
        "sum": (bound("sum", a), 4 * n),
        "column sums": (bound("sum", a.reshape(-1, 1024), axis=0), 4 * n),
        "softmax": (bound("softmax", a.reshape(-1, 1024), axis=-1, out=b.reshape(-1, 1024)), 8 * n),
    }
    rates = {name: size / on_device(cupy, run) / 1e9 for name, (run, size) in runs.items()}
    for name, rate in rates.items():
        print(f"  {name:<12} {rate:8.0f} GB/s  {rate / rates['copy']:5.0%} of the copy")
    return {name: round(rate, 1) for name, rate in rates.items()}


# ---- a training step -----------------------------------------------------------------------------


def step(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a training step, all peers in turn."""
    out: dict[str, Any] = {}
    pythons = {"torch": options.python_torch, "jax": options.python_jax}
    peers, loads = dict(PEERS), [(m, b) for m in MODELS for b in BATCHES if (m, b) != LARGEST]
    if options.emulated:
        peers = {"tinygen": ("tinygen_step.py", "emulated")}
        loads = [("gan", 2), ("vae", 2)]
    for model, batch in loads:
        workers: dict[str, Worker] = {}
        for name, (script, variant) in peers.items():
            python = pythons.get(name.split("-")[0]) or sys.executable
            load = {"model": model, "batch": batch, "variant": variant, "device": "gpu"}
            try:
                workers[name] = Worker(python, script, load)
            except (Missing, PeerError) as error:
                print(f"  LEFT OUT {name}: {str(error).splitlines()[-1][:120]}")
        try:
            taken = report.in_turn(workers, options.rounds, options.seconds)
        finally:
            for worker in workers.values():
                worker.close()
        mine = statistics.median(taken["tinygen"]) if "tinygen" in taken else None
        print(f"  {model}, batch {batch}")
        for name, each in taken.items():
            ms = statistics.median(each)
            times = f"{ms / mine:6.2f}x" if mine else ""
            print(f"    {name:<14} {ms:9.4f} ms {times}", flush=True)
        out[f"{model}, batch {batch}"] = {
            n: round(statistics.median(v), 5) for n, v in taken.items()
        }
    return out


# ---- what a GPU alone can tell ----------------------------------------------------------------


def sanitized(tool: str) -> Any:
    """The check `operations` under NVIDIA's compute-sanitizer."""
    if shutil.which("compute-sanitizer") is None:
        print("  LEFT OUT: compute-sanitizer is not on the PATH (it comes with the CUDA toolkit)")
        return None
    program = [sys.executable, gpu_checks.__file__, "operations", "--examples", "1"]
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", *program]
    start = time.perf_counter()
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    print("\n".join(f"  {line}" for line in ran.stdout.splitlines()[-6:]))
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-2000:]
    return round(time.perf_counter() - start, 1)


def host(cupy: Any) -> dict[str, Any]:
    """Microseconds of a training step: the GPU's for the graph, the host's to start it."""
    out: dict[str, Any] = {}
    for kind in ("GAN", "VAE", "DCGAN"):
        training, batches = gpu_checks.training(kind, compiled=True, size=64)
        assert isinstance(training.model, models.Model)
        for batch in batches[:3]:
            training.step(batch)
        (graph,) = training._update.plan._steps

        def step(training: Any = training, batch: Any = batches[0]) -> None:
            training.step(batch)
            training._unread.clear()

        row = {"graph, GPU": on_device(cupy, graph), "graph, host": on_host(cupy, graph),
               "step, GPU": on_device(cupy, step), "step, host": on_host(cupy, step)}  # fmt: skip
        out[kind] = {name: round(1e6 * seconds, 1) for name, seconds in row.items()}
        print(f"  {kind:<6} " + ", ".join(f"{name} {us:.1f} us" for name, us in out[kind].items()))
    return out


def main() -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    for name in ("torch", "jax"):
        parser.add_argument(
            f"--python-{name}", metavar="PATH", help=f"the interpreter that has {name}"
        )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a peer in a round")
    parser.add_argument("--only", default="", help="some of the sections, with commas")
    parser.add_argument("--emulated", action="store_true", help="a rehearsal without a GPU")
    parser.add_argument("--json", type=Path, default=report.RESULTS / "gpu.json")
    options = parser.parse_args()
    try:
        place = backend.get("emulated" if options.emulated else "cupy")
    except tg.DeviceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    about = {**report.machine(), "device": place.describe(), "tinygen": tg.__version__}
    sections: dict[str, Callable[[], Any]] = {
        "config": lambda: print(tg.show_config()),
        "operations": lambda: gpu_checks.operations(place, 1 if options.emulated else 3),
        "replay": lambda: gpu_checks.replay(place),
        "bits": lambda: gpu_checks.bits(place),
        "library": lambda: gpu_checks.library(place),
        "precision": lambda: gpu_checks.precision(place),
    }
    if options.emulated:
        sections["replay"] = lambda: gpu_checks.replay(place, ("VAE",), 4)
    else:
        import cupy

        tg.use_backend("cupy")
        for tool in ("memcheck", "racecheck"):
            sections[tool] = lambda tool=tool: sanitized(tool)
        for f in (launch, memory, product):
            sections[f.__name__] = lambda f=f: f(cupy)
    sections["step"] = lambda: step(options)
    if not options.emulated:
        sections["host"] = lambda: host(cupy)
    unknown = set(filter(None, options.only.split(","))) - sections.keys()
    if unknown:
        parser.error(f"--only: no section {', '.join(sorted(unknown))}; {', '.join(sections)}")
    record: dict[str, Any] = {"machine": about}
    failed = []
    for name, run in sections.items():
        if options.only and name not in options.only.split(","):
            continue
        print(name, flush=True)
        start = time.perf_counter()
        try:
            record[name] = run()
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"  ({time.perf_counter() - start:.0f} s)", flush=True)
    if not options.emulated:
        report.write(options.json, record)
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
