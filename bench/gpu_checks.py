"""Is what a GPU computes right? The checks of bench/gpu.py, which also runs them one by one.

    python bench/gpu_checks.py operations [--backend emulated] [--examples 1]

operations  every row of tests/op_table.py in float32 and float64, by kernels and by references,
            beside its definition in NumPy; kernels also on arrays of some hundred rows
replay      a training step of every model: one CUDA graph, near the eager step, and the same bits
            twice while the memory around the graphs is overwritten
bits        random bits and normal numbers: those of the processor, every one
library     a product by cuBLAS inside a CUDA graph, and how it differs from our own
precision   products in TF32 and bfloat16: errors within what the rounding of operands allows
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import tinygen as tg
from tinygen import backend, models
from tinygen.data import Dataset
from tinygen.primitive import PRIMITIVES
from tinygen.train import Settings
from tinygen.train.loop import Session

EPS = float(np.finfo(np.float32).eps)
MODELS = ("GAN", "VAE", "CGAN", "CVAE", "DCGAN", "CDCGAN", "ConvGAN", "ConvVAE", "Classifier")
WITH_CLASSES = ("CGAN", "CVAE", "CDCGAN", "Classifier")

# ---- operations ----------------------------------------------------------------------------------


def _flat(out: Any) -> list[np.ndarray]:
    if isinstance(out, (tuple, list)):
        return [v for x in out for v in _flat(x)]
    return [out.numpy() if isinstance(out, tg.Tensor) else np.asarray(out)]


def _wrong(row: Any, sample: Any) -> str:
    """How an operation differs from its definition on the current backend; "" if it does not."""
    wide = [np.array(a, "float64") if a.dtype.kind == "f" else a.copy() for a in sample.arrays]
    with np.errstate(all="ignore"):
        want = row.reference(*wide, **sample.options)
    tensors = [tg.tensor(a) for a in sample.arrays]
    out = row.call(*tensors, **sample.options)
    if isinstance(want, dict):  # what is written in place, by the number of the argument
        out, want = [tensors[i] for i in want], list(want.values())
    terms = 1 if row.domains else max([1, *(a.size for a in sample.arrays)])
    for got, right in zip(_flat(out), _flat(want), strict=True):
        if got.shape != right.shape:
            return f"shape {got.shape}, expected {right.shape}"
        largest = 1 + np.max(np.abs(right[np.isfinite(right)]), initial=0)
        single = got.dtype == np.float32
        allowed = row.ulps * terms * EPS * largest if single else 1e-8 * largest
        if not np.allclose(got.astype("f8"), right.astype("f8"), 0, allowed, equal_nan=True):
            off = np.nanmax(np.abs(got.astype("f8") - right.astype("f8")), initial=0)
            return f"{got.dtype} {got.shape}: off by {off:.2g}, allowed {allowed:.2g}"
    return ""


def _samples(row: Any, examples: int) -> Iterator[Any]:
    """Calls of an operation, in float64 and, where no option names the dtype, in float32."""
    from hypothesis import HealthCheck, Phase, given, settings

    drawn = list(row.edges)

    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=True,
    )  # fmt: skip
    @given(sample=row.samples)
    def draw(sample: Any) -> None:
        drawn.append(sample)

    draw()
    for sample in drawn:
        yield _as_held(row, sample)
        if "dtype" not in sample.options and sample.floats():
            yield _as_held(row, sample.cast("float32"))


def _as_held(row: Any, sample: Any) -> Any:
    """The call with a count of steps and a learning rate as optimizers hold them."""
    held = {"t": np.int64, "lr": np.float64} if row.mutates else {}
    names = getattr(row.call, "args", ())
    kinds = [held.get(names[i] if i < len(names) else "") for i in range(len(sample.arrays))]
    arrays = tuple(
        a if kind is None else a.astype(kind) for a, kind in zip(sample.arrays, kinds, strict=True)
    )
    return type(sample)(arrays, sample.options)


def operations(place: Any, examples: int = 3) -> dict[str, Any]:
    """Every operation, by kernels and by references, beside its definition."""
    import conftest  # noqa: F401  (Hypothesis: its settings)
    import op_table

    count, wrong = 0, {}
    place.hits.clear()
    with tg.use_backend(place.name):
        for row in op_table.ROWS:
            for sample in _samples(row, examples):
                for name, kernels in (("kernels", place.kernels), ("references", {})):
                    place.kernels, kept = kernels, place.kernels
                    try:
                        found = _wrong(row, sample)
                    except Exception as error:
                        found = f"{type(error).__name__}: {str(error)[:160]}"
                    finally:
                        place.kernels = kept
                    count += 1
                    if found:
                        wrong.setdefault(f"{row.name} by {name}", found)
    for name, found in wrong.items():
        print(f"  WRONG {name}: {found}")
    print(f"  {count} calls of {len(op_table.ROWS)} operations, {len(wrong)} wrong")
    large = _large(place)
    idle = sorted(place.kernels.keys() - place.hits.keys())
    if idle:
        print(f"  kernels that met no call: {', '.join(idle)}")
    assert not wrong, f"{len(wrong)} operations"
    return {"calls": count, "large": large, "idle": idle}


def _large(place: Any) -> dict[str, float]:
    """Kernels on arrays of sizes that are no multiple of anything; errors over what is allowed."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((257, 301)).astype(np.float32)
    y = rng.standard_normal((301, 129)).astype(np.float32)
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("matmul_nd", (x, y), {}), ("sum", (x,), {"axis": 0}), ("sum", (x,), {"axis": 1}),
        ("mean", (x,), {}), ("max", (x,), {"axis": 1}), ("min", (x,), {"axis": 0}),
        ("sum_to", (x,), {"shape": (301,)}), ("softmax", (x,), {"axis": -1}),
        ("log_softmax", (x,), {"axis": -1}), ("logsumexp", (x,), {"axis": -1}),
        ("leaky_relu", (x,), {"slope": 0.2}), ("log", (np.abs(x) + 0.1,), {}),
    ]  # fmt: skip
    for name in ["exp", "tanh", "erf", "sigmoid", "softplus", "relu", "silu", "gelu"]:
        calls.append((name, (x,), {}))
    images, groups = x[:255].reshape(5, 51, 7, 43), rng.standard_normal((7, 43)).astype(np.float32)
    layer = {"axis": (1,), "eps": 1e-5}
    group = {"axis": (1, 3), "eps": 1e-5}
    calls += [
        ("normalise", (x, y[:, 0].copy(), y[:, 1].copy()), layer),
        ("normalise_dx", (2 * x, x, y[:, 0].copy()), layer),
        ("normalise", (images, groups, 2 * groups), group),
        ("normalise_dx", (2 * images, images, groups), group),
    ]
    out: dict[str, float] = {}
    with np.errstate(all="ignore"), tg.use_backend(place.name):
        for name, arrays, static in calls:
            op: Any = PRIMITIVES[name]
            before = place.hits[name]
            got = _numbers(op(*map(tg.tensor, arrays), **static))
            with tg.use_backend("numpy"), backend.get("numpy").without_kernels():
                wide = [tg.tensor(a.astype(np.float64)) for a in arrays]
                want = _numbers(op(*wide, **static))
            terms = 301 if name == "matmul_nd" else 16
            error = float(np.max(np.abs(got - want)) / (terms * EPS * (1 + np.max(np.abs(want)))))
            out[f"{name} {static or ''}".strip()] = round(error, 3)
            ran = "" if place.hits[name] > before else "   (no kernel: reference)"
            print(f"  {name:<12} {static!s:<16} {error:6.2f} of what is allowed{ran}")
            assert error <= 1, name
    return out | _pools(place)


def _numbers(results: Any) -> np.ndarray:
    """The numbers of a result, or of several, in a row."""
    several = results if isinstance(results, tuple) else (results,)
    return np.concatenate([y.numpy().ravel() for y in several])


def _pools(place: Any) -> dict[str, float]:
    """First and second derivatives of poolings, whose kernels no row calls."""
    x = np.random.default_rng(0).standard_normal((5, 18, 14, 7)).astype(np.float32)

    def derivatives(pool: Any, where: str, dtype: str) -> list[np.ndarray]:
        with tg.use_backend(where):
            t = tg.tensor(x.astype(dtype), requires_grad=True)
            (first,) = tg.grad(tg.sum(tg.exp(pool(t, 2))), [t], create_graph=True)
            (second,) = tg.grad(tg.sum(first * first), [t])
            return [first.numpy(), second.numpy()]

    out: dict[str, float] = {}
    for pool in (tg.avg_pool2d, tg.max_pool2d):
        got = derivatives(pool, place.name, "float32")
        with backend.get("numpy").without_kernels():
            want = derivatives(pool, "numpy", "float64")
        for order, (g, w) in enumerate(zip(got, want, strict=True), 1):
            name = f"{pool.__name__}, derivative {order}"
            error = float(np.max(np.abs(g - w)) / (16 * EPS * (1 + np.max(np.abs(w)))))
            out[name] = round(error, 3)
            print(f"  {name:<29} {error:6.2f} of what is allowed")
            assert error <= 1, name
    return out


# ---- training steps ------------------------------------------------------------------------------


def training(kind: str, compiled: bool, size: int) -> tuple[Session, list[Any]]:
    """A training of a model on noise where the backend is, and its batches."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16 * size, 28, 28, 1), dtype=np.uint8)
    data = Dataset("noise", images, rng.integers(0, 10, len(images)))
    options = {"classes": 10} if kind in WITH_CLASSES else {}
    model = getattr(models, kind)((28, 28, 1), rng=tg.random.Generator(1), **options)
    made = Session(model, data, Settings(epochs=1, batch_size=size, compiled=compiled))
    with made.epoch_batches() as batches:
        return made, list(batches)


def _losses(kind: str, compiled: bool, overwritten: bool, size: int) -> tuple[Any, Any]:
    """The losses of steps, and what is compiled; between steps free memory may be overwritten."""
    made, batches = training(kind, compiled, size)
    xp, kept = made.model.backend.xp, []
    for k, batch in enumerate(batches[: 8 // made.model.batches_per_step]):
        made.step(batch)
        if overwritten and k > 1:
            kept = [xp.full(1 << s, float("nan"), xp.float32) for s in range(4, 22)]
    del kept
    return [list(losses.values()) for losses in made.read()], made._update


def replay(place: Any, names: tuple[str, ...] = MODELS, size: int = 64) -> dict[str, Any]:
    """A compiled training step of each model beside the eager one, and beside itself."""
    out: dict[str, Any] = {}
    with tg.use_backend(place.name), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # "not in a CUDA graph"
        for kind in names:
            eager, _ = _losses(kind, compiled=False, overwritten=False, size=size)
            once, step = _losses(kind, compiled=True, overwritten=False, size=size)
            again, _ = _losses(kind, compiled=True, overwritten=True, size=size)
            off = float(np.max(np.abs(np.array(eager) - once) / (1 + np.abs(eager))))
            (graph,) = step.plan._steps
            parts = len(graph._parts) if place.name == "cupy" else 1
            out[kind] = {"off": off, "same_bits": once == again, "graphs": parts}
            bits = "the same bits again" if once == again else "OTHER BITS the second time"
            print(f"  {kind:<10} {parts} graph, off by {off:.1e} from the eager step, {bits}")
    wrong = [k for k, v in out.items() if not (v["same_bits"] and v["graphs"] == 1)]
    wrong += [k for k, v in out.items() if not v["off"] < 1e-2]
    assert not wrong, wrong
    return out


# ---- single properties ---------------------------------------------------------------------------


def bits(place: Any) -> dict[str, Any]:
    """Random numbers of the device and of the processor: the same to the last bit."""
    draws: dict[str, Callable[[tg.random.Generator], tg.Tensor]] = {
        "normal": lambda g: g.normal((1_000_003,)), "uniform": lambda g: g.uniform((100_001,)),
        "integers": lambda g: g.integers(10, (100_001,)), "order": lambda g: g.permutation(10_007),
    }  # fmt: skip
    out = {}
    for name, draw in draws.items():
        found = []
        for where in ("numpy", place.name):
            with tg.use_backend(where):
                found.append(draw(tg.random.Generator(7)).numpy())
        out[name] = int(np.count_nonzero(found[0] != found[1]))
        print(f"  {name:<10} {found[0].size:,} numbers, {out[name]} differ")
    assert not any(out.values())
    return out


def library(place: Any) -> dict[str, Any]:
    """A large product in a CUDA graph; by cuBLAS, if it serves."""
    x = np.random.default_rng(0).standard_normal((1024, 1024)).astype(np.float32)
    with tg.use_backend(place.name):
        step = tg.compile(lambda a: a @ a)
        product = step(tg.tensor(x)).numpy()
        again = step(tg.tensor(x)).numpy()
    (call,) = step.plan.bound
    served = "cuBLAS" if type(call.kernel).__name__ == "Product" else "our kernel"
    exact = x.astype(np.float64) @ x
    error = float(np.max(np.abs(product - exact) / (np.abs(x).astype(np.float64) @ np.abs(x))))
    print(f"  by {served}: off by {error / EPS:.1f} units of the sum of |x y|")
    assert error < 32 * EPS
    assert (product == again).all()
    parts = len(step.plan._steps[0]._parts) if place.name == "cupy" else 1
    assert parts == 1, "the product is not in the graph"
    return {"served": served, "error": error}


def precision(place: Any) -> dict[str, Any]:
    """Products with rounded operands: the error over that of the rounding."""
    rng, out = np.random.default_rng(0), {}
    for shape in ((257, 301, 129), (64, 784, 1024)):
        x, y = (rng.standard_normal(s).astype(np.float32) for s in (shape[:2], shape[1:]))
        exact, sizes = x.astype(np.float64) @ y, np.abs(x).astype(np.float64) @ np.abs(y)
        for name, rounding in (("float32", EPS), ("tf32", 2.0**-11), ("bf16", 2.0**-8)):
            try:
                with tg.use_backend(place.name, name):
                    got = (tg.tensor(x) @ tg.tensor(y)).numpy()
            except tg.DeviceError as error:
                print(f"  LEFT OUT {name}: {error}")
                continue
            share = float(np.max(np.abs(got - exact) / sizes)) / rounding
            out[f"{name} {shape}"] = round(share, 3)
            allowed = 16 if name == "float32" else 2  # float32 rounds each sum, too
            print(f"  {name:<8} {shape}: {share:.2f} roundings of sum |x y|, {allowed} allowed")
            assert share <= allowed, name
    return out


CHECKS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (operations, replay, bits, library, precision)
}


def main() -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("--backend", default="cupy")
    parser.add_argument("--examples", type=int, default=3, help="calls drawn for an operation")
    options = parser.parse_args()
    place = backend.get(options.backend)
    print(place.describe())
    more = {"examples": options.examples} if options.check == "operations" else {}
    CHECKS[options.check](place, **more)
    return 0


if __name__ == "__main__":
    sys.exit(main())
