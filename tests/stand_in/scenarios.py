"""What tests/test_stand_in.py asks for: a function a scenario, its result as JSON."""

from __future__ import annotations

import ctypes
import gc
import threading
import warnings
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np

import stand_in
import tinygen as tg
from tinygen import models
from tinygen.backend import cupy as place

place._probe = lambda *_: None  # CuPy's cuBLAS is another library, which is not there


def _zeros(size: int) -> Any:
    """Memory of CuPy's pool, always with the same values: what kernels would write is 0 here."""
    memory = cupy.get_default_memory_pool().malloc(size)
    ctypes.memset(memory.ptr, 0, size)
    return memory


cupy.cuda.set_allocator(_zeros)

MODELS = ("GAN", "VAE", "CGAN", "CVAE", "DCGAN", "CDCGAN", "ConvGAN", "ConvVAE", "Classifier")
WITH_CLASSES = ("CGAN", "CVAE", "CDCGAN", "Classifier")
SMALL: dict[str, dict[str, Any]] = {  # no kernel depends on the width
    "DCGAN": {"width": 0.25}, "CDCGAN": {"width": 0.25}, "Classifier": {"width": 0.5},
}  # fmt: skip


def training(kind: str, batch: int = 64, count: int = 256, **given: Any) -> Any:
    """A training of a model on noise, and batches that lie on the device."""
    from tinygen.data import Dataset
    from tinygen.train import Settings
    from tinygen.train.loop import Session

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
    data = Dataset("noise", images, rng.integers(0, 10, count))
    classes = {"classes": 10} if kind in WITH_CLASSES else {}
    options = {**classes, **SMALL.get(kind, {}), **given}
    model = getattr(models, kind)((28, 28, 1), **options)
    model.check_images = lambda x: x  # kernels do nothing here: no value has a meaning
    settings = Settings(epochs=3, batch_size=batch, ema=0.0 if kind == "Classifier" else 0.999)
    made = Session(model, data, settings)
    with made.epoch_batches() as batches:
        return made, list(batches)


def one_graph(step: Any) -> bool:
    """Whether all of the plan that ran last is one CUDA graph."""
    parts = [part for graph in step.plan._steps for part in graph._parts]
    owners = [getattr(part, "__self__", None).__class__ for part in parts]
    return owners == [cupy.cuda.Graph]


def zoo(*names: str) -> Any:
    """A training step of each model: its first call, and one that replays."""
    found = {}
    for kind in names or MODELS:
        made, batches = training(kind)
        made.step(batches[0])
        made.step(batches[1])
        stand_in.reset()
        made.step(batches[2])
        replay = stand_in.counts()
        stand_in.reset()
        read = made.read()
        found[kind] = {
            "one_graph": one_graph(made._update),
            "replay": replay,
            "read": stand_in.counts(),
            "steps_read": len(read),
        }
    return found


def plans() -> Any:
    """The plan of a step on the emulated device, and here."""
    rng = np.random.default_rng(0)
    images = rng.random((6, 12, 12, 1), dtype=np.float32)
    labels = np.arange(6) % 3
    found: dict[str, dict[str, Any]] = {}
    for kind in ("GAN", "VAE", "CGAN", "CVAE"):
        for name in ("emulated", "cupy"):
            with tg.use_backend(name):
                model = getattr(models, kind)((12, 12, 1), hidden=(24, 16), classes=3)
                model.check_images = lambda x: x
                updates = model.optimizers(1e-3)
                x, y = tg.tensor(images), tg.tensor(labels) if model.conditional else None
                step = tg.compile(lambda x, y, m=model, u=updates: m.train_step(x, y, u))
                step(x, y)
            bound = step.plan.bound
            launches = [b.kernel.launches if b.kernel else () for b in bound]
            found.setdefault(kind, {})[name] = {
                "calls": [b.call.name for b in bound],
                "launches": [[(one.name, one.grid) for one in each] for each in launches],
                "arena": step.plan.arena_bytes,
            }
    return found


def memory() -> Any:
    """What a compiled step keeps of the GPU's memory, in bytes."""
    made, batches = training("DCGAN", width=1.0)
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    made.step(batches[0])
    plan = made._update.plan
    return {
        "arena": plan.arena_bytes, "temporaries": plan.total_bytes,
        "kept": pool.total_bytes() - pool.used_bytes(), "used": pool.used_bytes() - before,
        "most": stand_in.counts()["most_bytes"],
    }  # fmt: skip


def out_of_memory() -> Any:
    """A first step for which there is no room, and then one for which there is."""
    made, batches = training("GAN")
    stand_in.limit(stand_in.counts()["bytes"] + 2**20)
    try:
        made.step(batches[0])
        told = ""
    except MemoryError as error:
        told = str(error)
    stand_in.limit(0)
    made.step(batches[0])
    return {"told": told, "one_graph": one_graph(made._update)}


def joins() -> Any:
    """Concatenations and stacks of many arrays in a compiled step."""
    found = {}
    shapes = {"rows": (5, 8), "numbers": (), "images": (2, 4, 4, 3)}
    for join in (tg.concatenate, tg.stack):
        for name, shape in shapes.items():
            for count in (2, 8, 9, 16, 17, 65, 130):
                for axis in (0, -1):
                    if shape == () and join is tg.concatenate:
                        continue
                    arrays = [tg.ones(shape) + float(i) for i in range(count)]
                    step = tg.compile(lambda x, a=arrays, j=join, n=axis: j([x, *a], n))
                    out = step(tg.ones(shape))
                    wanted = getattr(np, join.__name__)(
                        [np.ones(shape), *(np.ones(shape) for _ in arrays)], axis
                    )
                    key = f"{join.__name__} {count + 1} {name} {axis}"
                    found[key] = one_graph(step) and out.shape == wanted.shape
    return found


class Cublas:
    """cuBLAS that answers as it is told: `answers` maps a call's name to its status."""

    def __init__(self, answers: dict[str, int], missing: tuple[str, ...] = ()) -> None:
        self.answers, self.missing = answers, missing
        self.calls: list[str] = []
        self._stream = 0
        self.streams: list[tuple[int, int]] = []  # with the workspaces that were set for them

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name in self.missing:
            raise AttributeError(f"undefined symbol: {name}")

        def call(handle: Any, *arguments: Any) -> int:
            self.calls.append(name)
            if name == "cublasSetStream_v2":
                self._stream = arguments[0].value or 0
            if name == "cublasSetWorkspace_v2":
                self.streams.append((self._stream, arguments[0].value))
            if "in capture" in self.answers and stand_in.captures(self._stream):
                return self.answers["in capture"]
            return self.answers.get(name, 0)

        return call


REFUSALS: dict[str, tuple[dict[str, int], tuple[str, ...]]] = {
    "works": ({}, ()),
    "no handle": ({"cublasCreate_v2": 1}, ()),
    "no memory for a handle": ({"cublasCreate_v2": 3}, ()),
    "an older library": ({}, ("cublasSetWorkspace_v2",)),
    "no workspace": ({"cublasSetWorkspace_v2": 7}, ()),
    "no stream": ({"cublasSetStream_v2": 1}, ()),
    "no mode": ({"cublasSetMathMode": 7}, ()),
    "no such GPU": ({"cublasSgemm_v2": 8}, ()),
    "not in a graph": ({"in capture": 14}, ()),
}


def products() -> Any:
    """A large product, alone and in a compiled step, with a cuBLAS that refuses something."""
    from tinygen_kernels.cuda import cublas, gpu

    backend = tg.backend.current()
    found = {}
    for name, (answers, without) in REFUSALS.items():
        library = Cublas(answers, without)
        cublas.load = lambda library=library: library
        backend.device = gpu.Gpu(tg.DeviceError)  # type: ignore[attr-defined]
        backend_devices()[cupy.ndarray] = backend.device
        x = tg.ones((1024, 1024))
        _ = x @ x
        alone = library.calls.count("cublasSgemm_v2")
        step = tg.compile(lambda x: (x @ x, x.sum()))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            step(x)
            step(x)
        found[name] = {
            "alone": alone, "one_graph": one_graph(step),
            "told": [str(w.message) for w in told], "about": backend.describe(),
        }  # fmt: skip
    no_room = Cublas({})
    cublas.load = lambda: no_room
    backend.device = gpu.Gpu(tg.DeviceError)  # type: ignore[attr-defined]
    backend_devices()[cupy.ndarray] = backend.device
    x = tg.ones((1024, 1024))
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    stand_in.limit(stand_in.counts()["bytes"] + 2**24)
    _ = x @ x
    stand_in.limit(0)
    found["no room"] = {"alone": no_room.calls.count("cublasSgemm_v2"), "about": backend.describe()}
    return found


def backend_devices() -> Any:
    from tinygen_kernels.cuda import runtime

    return runtime.devices


def streams() -> Any:
    """Large products on several streams, in two threads: which workspace each had."""
    from tinygen_kernels.cuda import cublas

    library = Cublas({})
    cublas.load = lambda: library
    x = tg.ones((1024, 1024))
    steps = [tg.compile(lambda x, k=k: (x @ x, x * k)) for k in (1.0, 2.0)]
    errors: list[str] = []

    def run(step: Any) -> None:
        try:
            with tg.use_backend("cupy"):
                for _ in range(50):
                    step(x)
                    _ = x @ x
        except Exception as error:
            errors.append(repr(error))

    threads = [threading.Thread(target=run, args=(step,)) for step in (*steps, steps[0])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    order = ["cublasSetStream_v2", "cublasSetWorkspace_v2", "cublasSetMathMode", "cublasSgemm_v2"]
    calls = library.calls[1:]
    whole = [calls[i : i + 4] == order for i in range(0, len(calls), 4)]
    return {"errors": errors, "whole": all(whole), "products": len(whole),
            "workspaces": sorted(set(library.streams))}  # fmt: skip


def devices() -> Any:
    """What happens where the program, or an array, is on the second GPU."""
    x, step = tg.ones((4, 4)), tg.compile(lambda x: tg.tanh(x) @ x)
    step(x)
    with cupy.cuda.Device(1):
        there = tg.Tensor(cupy.ones((4, 4), "float32"))
    model = models.VAE((4, 4, 1), hidden=(8,), latent=2)

    def elsewhere(run: Callable[[], Any]) -> Callable[[], Any]:
        def on_the_second() -> Any:
            with cupy.cuda.Device(1):
                return run()

        return on_the_second

    attempts: dict[str, Callable[[], Any]] = {
        "an array by a kernel": lambda: tg.tanh(there),
        "an array in a product": lambda: x @ there,
        "an array as a tensor": lambda: tg.tensor(there.data),
        "an array for a model": lambda: model.place(there.data),
        "new memory": elsewhere(lambda: tg.ones((2, 2))),
        "an operation": elsewhere(lambda: tg.tanh(x)),
        "a replay": elsewhere(lambda: step(x)),
        "a recording": elsewhere(lambda: tg.compile(lambda x: x * 2.0)(x)),
        "a random number": elsewhere(lambda: tg.random.Generator(0).normal((3,))),
    }
    found = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = ""
        except tg.DeviceError as error:
            found[name] = str(error)
        except Exception as error:
            found[name] = f"not a DeviceError: {error!r}"
    step(x)
    return found


def _uncomputed(x: Any, y: Any, out: Any = None) -> Any:
    """Memory for x @ y."""
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    return cupy.zeros((*lead, x.shape[-2], y.shape[-1]), x.dtype) if out is None else out


def operations() -> Any:
    """Every row of the op table, compiled: which is not wholly in one graph, or fails."""
    import op_table
    from hypothesis import HealthCheck, Phase, given, settings

    backend = tg.backend.get("cupy")
    backend.xp.matmul = _uncomputed  # CuPy would ask its own cuBLAS
    found: dict[str, str] = {}
    count = 0

    def one(row: Any, sample: Any, kernels: bool) -> None:
        nonlocal count
        arrays = [tg.tensor(a) if isinstance(a, np.ndarray) else a for a in sample.arrays]
        step = tg.compile(lambda: row.call(*arrays, **sample.options))
        name = f"{row.name}, {'kernels' if kernels else 'references'}"
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                if kernels:
                    step()
                else:
                    with backend.without_kernels():
                        step()
                count += 1
            if told:
                found[name] = str(told[0].message)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {str(error)[:200]}"

    for row in op_table.ROWS:
        samples: list[Any] = []

        @settings(
            max_examples=3, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck), derandomize=True,
        )  # fmt: skip
        @given(sample=row.samples)
        def draw(sample: Any, kept: list[Any]) -> None:
            kept.append(sample)

        draw(kept=samples)
        gc.disable()  # Hypothesis notes in a global when a collection began
        for sample in samples:
            for kernels in (True, False):
                one(row, sample, kernels)
        gc.enable()
    return {"count": count, "found": found}


SCENARIOS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (zoo, plans, memory, out_of_memory, joins, products, streams, devices, operations)
}
