"""The rate of every kernel beside NumPy, PyTorch and what this machine can do at most.

    pip install -e ".[fast,bench]" && python bench/kernels.py [--only NAME] [--python-torch PATH]
    python bench/kernels.py --products --convolutions --grid --alternate [--check]

Before anything is timed, each kernel runs once and is compared with the reference, NumPy in
float64; one that is further away than its rounding allows is printed, and the program ends with 1.

The table. A kernel runs bound to its memory, 8 calls in a list as in a plan; NumPy runs tinygen's
reference in float32 (np.matmul with out=, plain expressions for the loops that a plan fuses, with
NumPy's own random numbers for dropout); PyTorch runs in a process of its own, its results compared
with NumPy's by weighted sums. They take turns in each round, with a pause before each, in which the
threads of the one before fall asleep (OpenBLAS's look for work for some 30 ms). A figure is the
median over the rounds and, where it says so, the best; a ratio the median of the ratios within the
rounds, above 1 where the kernel is faster. Operands stay the same, so what fits a cache is there.

Rates are GFLOP/s for products (2 for each multiply-add) and else GB/s (each array read or written
once). "of limit" sets the median against the peak: multiply-adds that never leave the registers, on
all cores, measured within each round; and against the memory: the fastest of a copy by NumPy, a
copy and a sum on all cores, of 64 MB. What lies in a cache exceeds it; a function that computes
much for each number, as erf does, stays below.

--products   The matrix products of a training step of the dense GAN, as tinygen.compile makes
             them (batch 64 and 256): those that share a right side or are summed as one call, but
             without what a plan does at their ends. For each form, A@B, A.T@B and A@B.T, the sum
             of all operations over the sum of all times, as percent of the peak measured in
             between. Products with a dimension under 64 are listed and not counted.
--convolutions  What the convolutions of a training step of the DCGAN compute, batch 64, and how
             often, beside PyTorch in channels_last and what it takes for the same zeros. "of peak"
             compares with the peak measured before and after the run. Rates count the taps that
             meet the image; "all taps" those on its zeros, too. "convolutions of a step" is the
             sum, each as often as the step does it.
--grid       200 products of random shapes, 1 to 2048 and log-uniform, rows, columns, parts of
             wider matrices and every second column: a call as an operation makes it (the kernel
             may decline, then np.matmul runs) against np.matmul. One that takes 5 % and a
             microsecond longer is measured again in 5 rounds before it counts.
--alternate  Own and BLAS products in turn, without a pause, over the sum of both alone: what two
             pools of threads do to each other. At most 1.3.

With one of these the table is left out. `--check` exits with 1 if a product of the grid is
slower or the alternation costs more than 1.3.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import report
from report import Missing, Worker

sys.path.insert(0, str(report.PEERS))
from cases import (
    CONVOLVED,
    DRAWS,
    ELEMENTWISE,
    KERNEL,
    LR,
    POOLED,
    POOLINGS,
    SLOPE,
    WHOLE,
    Case,
    P,
    cases,
    convolutions,
    fingerprint,
    seconds_of,
)  # fmt: skip

Run = Callable[[], Any]
Figures = dict[str, list[float]]  # what -> one figure a round

EPS = float(np.finfo(np.float32).eps)
PAUSE = 0.05
TOGETHER = 8  # times that `planned` runs a kernel without returning to Python
BATCHES = (64, 256)  # of the GAN whose products are measured
JUDGED_FROM = 64  # the smallest dimension of a product that counts
SHAPES, LARGEST, GRID_ROUNDS = 200, 2048, 5
SLOWER, MORE = 1.05, 1e-6  # a product is slower from here on: times, and seconds more
ALTERNATING = 1.3
PROGRAMS: dict[str, tuple[Any, ...]] = {
    "bias+leaky_relu": (
        ("add", (("in", 0), ("in", 1)), ()),
        ("leaky_relu", (("line", 0),), (("slope", SLOPE),)),
    ),
}
PROGRAMS["bias+leaky_relu+dropout"] = (
    *PROGRAMS["bias+leaky_relu"],
    ("dropout", (("line", 1), ("in", 2), ("in", 3)), (("offset", 0), ("p", P))),
)

# ---- a kernel, NumPy's way, and the truth --------------------------------------------------------


@dataclass
class Prepared:
    """A case on its memory.

    Attributes:
        kernel, numpy: what runs.
        got: the arrays that the kernel writes.
        want: what they must hold after one call, in float64.
        allowed: how far each may be off, element by element.
        plain: the arrays of NumPy's way after one call, or None where it draws other numbers.
    """

    kernel: Run
    numpy: Run
    got: list[np.ndarray]
    want: list[np.ndarray]
    allowed: list[Any]
    plain: Callable[[], list[np.ndarray]] | None


def _reference(op: str, arrays: Sequence[np.ndarray], static: dict[str, Any]) -> Any:
    from tinygen.backend import get
    from tinygen.primitive import PRIMITIVES

    primitive: Any = PRIMITIVES[op]
    with get("numpy").without_kernels():
        return primitive.reference(get("numpy").xp, *arrays, **static)


def _bound(op: str, arrays: Sequence[np.ndarray], **options: Any) -> Any:
    """The kernel of the table on these arrays."""
    from tinygen import backend

    found = backend.load_kernel(backend.get("numpy"), op)
    call = NotImplemented if found is None else found.bind(*arrays, **options)  # type: ignore[attr-defined]
    if call is NotImplemented:
        raise SystemExit(f"error: the kernel of {op} declines {[a.shape for a in arrays]}")
    return call


def wide(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [a.astype(np.float64) if a.dtype == np.float32 else a.copy() for a in arrays]


def prepared(case: Case) -> Prepared:
    if case.op in ("sgd_step", "sgd_momentum_step", "adam_step", "ema_step"):
        return _update(case)
    if case.op == "gather_images":
        return _gather(case)
    if case.op == "fused":
        return _fused(case)
    if case.op in ELEMENTWISE:
        return _elementwise(case)
    if case.op in DRAWS:
        return _drawn(case)
    if case.op in WHOLE:
        return _whole(case)
    arrays, static = case.arrays(), _pooling(case) if case.op in POOLINGS else case.static
    call = _bound(case.op, arrays, **static)
    want = np.asarray(_reference(case.op, wide(arrays), static))
    x = wide(arrays)[0]
    size: Any
    if case.op == "matmul_nd":
        size = 4 * (np.abs(x) @ np.abs(wide(arrays)[1]))
        out = np.empty(want.shape, np.float32)
        return _plain(call, lambda: np.matmul(*arrays, out=out), want, size)
    if case.op in ("max", "min"):
        size = 0
    elif case.op in ("sum", "mean", "sum_to"):
        terms = x.size / want.size
        size = _reference(case.op, [np.abs(x)], static) * (3 + np.log2(terms))
    elif case.op == "softmax":  # a rounding of x - top is one of that size in the exponent
        size = want * (6 + np.abs(x - x.max(-1, keepdims=True)).max())
    else:
        size = 4 + 2 * np.abs(x).max() + 2 * np.abs(want).max()
    return _plain(call, lambda: _reference(case.op, arrays, static), want, size)


def _whole(case: Case) -> Prepared:
    """Several passes or products, whose errors grow with the largest numbers of a result."""
    arrays, static = case.arrays(), case.static
    call = _bound(case.op, arrays, **static)
    want = _several(_reference(case.op, wide(arrays), static))
    most = max(a.size for a in arrays)
    allowed = [EPS * (16 + most / w.size) ** 0.5 * 8 * np.abs(w).max() for w in want]
    run = lambda: _reference(case.op, arrays, static)
    return Prepared(call, run, _several(call.out), want, allowed, lambda: _several(run()))


def _several(out: Any) -> list[np.ndarray]:
    return [np.asarray(a) for a in (out if isinstance(out, tuple) else (out,))]


def _pooling(case: Case) -> dict[str, Any]:
    """The options of a pooling as its primitive takes them."""
    from tinygen.ops.conv import Window

    pair = (POOLED, POOLED)
    rows, columns = case.shapes[0][1:3]
    size = {"size": (rows * POOLED, columns * POOLED)} if case.op == "avg_pool2d_dx" else {}
    return {"kernel": pair, "window": Window(pair), **size}


def _plain(call: Any, plain: Run, want: np.ndarray, size: Any) -> Prepared:
    """A case with one result, which may be off by `size` units of float32's precision."""
    return Prepared(call, plain, [call.out], [want], [EPS * size], lambda: [np.asarray(plain())])


def _update(case: Case) -> Prepared:
    more = [np.array(LR)]
    if case.op == "adam_step":
        more.insert(0, np.array(0))
    here, there, exact = ([*case.arrays(), *(a.copy() for a in more)] for _ in range(3))
    exact = wide(exact)
    first = wide(exact)
    _reference(case.op, exact, case.static)
    changed = [0, *range(2, len(case.shapes))]
    size = [8 * (np.abs(first[i]) + np.abs(exact[i]) + np.abs(first[1])) for i in changed]

    def plain() -> list[np.ndarray]:
        again = [*case.arrays(), *(a.copy() for a in more)]
        _reference(case.op, again, case.static)
        return [again[i] for i in changed]

    return Prepared(
        _bound(case.op, here, **case.static), lambda: _reference(case.op, there, case.static),
        [here[i] for i in changed], [exact[i] for i in changed], [EPS * s for s in size], plain,
    )  # fmt: skip


def _gather(case: Case) -> Prepared:
    from tinygen.data.dataset import scaled
    from tinygen_kernels.cpu.gather import gather_images

    images, index = case.arrays()
    low, high = case.static["low"], case.static["high"]
    call = gather_images.bind(images, index, low, high)
    want = images[index].astype(np.float64) / 255 * (high - low) + low
    return _plain(call, lambda: scaled(images[index], (low, high)), want, 2.0)


def _elementwise(case: Case) -> Prepared:
    (x,) = case.arrays()
    out, name = np.empty_like(x), case.op

    def plain(x: np.ndarray) -> Any:
        if name == "silu":
            return x * _reference("sigmoid", [x], {})
        if name == "gelu":
            half = x.dtype.type(0.5)
            return half * x * (1 + _reference("erf", [x * np.sqrt(half)], {}))
        return _reference(name, [x], case.static)

    want: Any = plain(x.astype(np.float64))
    ufunc: Any = getattr(np, name, None)
    run = (lambda: plain(x)) if ufunc is None else (lambda: ufunc(x, out=out))
    size = 4 * (np.abs(x) if name == "gelu" else np.abs(want))  # 1 + erf cancels where x < 0
    return _plain(_bound(name, [x], **case.static), run, want, size)


def _drawn(case: Case) -> Prepared:
    """Random numbers, which must be the reference's to the bit."""
    arrays = case.arrays()
    call = _bound(case.op, arrays, **case.static)
    run = lambda: _reference(case.op, arrays, case.static)
    return Prepared(call, run, [call.out], [run()], [np.zeros(())], None)


def _fused(case: Case) -> Prepared:
    from tinygen_kernels.cpu import elementwise

    arrays = case.arrays()
    x, rng = arrays[0], np.random.default_rng(0)
    program = PROGRAMS[case.title]
    draw = [np.array([7], np.uint64), np.array([3], np.uint64)] if "dropout" in case.title else []
    out, other = np.empty_like(x), np.empty_like(x)
    made = elementwise.fused(program, (len(program) - 1,), [*arrays, *draw], [out])
    call = elementwise.elementwise_call(made, *x.shape)
    want: Any = wide(arrays)[0]
    for name, operands, static in program:
        rest = [*wide(arrays)[1:], *draw]
        more = [rest[i - 1] for where, i in operands if where == "in" and i]
        want = _reference(name, [want, *more], dict(static))

    def biased() -> Any:
        np.add(x, arrays[1], out=other)
        return np.maximum(other, np.float32(SLOPE) * other, out=other)

    def dropped() -> Any:
        h = biased()
        h *= rng.random(h.shape, np.float32) >= P
        h *= np.float32(1 / (1 - P))
        return h

    if draw:
        size = 6 * np.abs(want) + 6 * np.abs(wide(arrays)[0]) * (want != 0)
        return Prepared(call, dropped, [out], [want], [EPS * size], None)
    return _plain(call, biased, want, 4 * (np.abs(wide(arrays)[0]) + np.abs(arrays[1])))


def far(found: Prepared) -> float:
    """How far the kernel's results are off, over what is allowed; above 1 is wrong."""
    worst = 0.0
    for got, want, allowed in zip(found.got, found.want, found.allowed, strict=True):
        if got.shape != want.shape or got.dtype not in (np.float32, want.dtype):
            return np.inf
        off = np.abs(got.astype(np.float64) - want)
        bound = np.broadcast_to(allowed, off.shape) + float(np.finfo(np.float32).tiny)
        worst = max(worst, float(np.max(off / bound)))
        if np.isnan(got).any():
            return np.inf
    return worst


def valid(chosen: list[Case]) -> bool:
    """Whether each kernel computes what its reference does in float64; prints what does not."""
    from tinygen_kernels import TABLES

    covered = {case.op for case in [*cases(), *convolutions(CONVOLVED)]}
    lacking = set(TABLES["numpy"]) - covered - {"advance"}  # which is one addition
    if lacking:
        print(f"WRONG  no case for the kernels {', '.join(sorted(lacking))}")
    worst, wrong = (0.0, ""), 0
    for case in chosen:
        found = prepared(case)
        found.kernel()
        off = far(found)
        worst = max(worst, (off, case.name))
        if not off <= 1:
            wrong += 1
            print(f"WRONG  {case.name}: {off:.3g} times as far from float64 as is allowed")
    if not wrong and not lacking:
        print(
            f"{len(chosen)} kernels and sizes agree with NumPy in float64 (the furthest at "
            f"{worst[0]:.0%} of what rounding allows: {worst[1]})"
        )
    return not wrong and not lacking


# ---- taking turns --------------------------------------------------------------------------------


def planned(call: Any, budget: float) -> float:
    """Seconds of a bound kernel, run as a plan runs it: several calls without Python in between."""
    from tinygen_kernels.cpu.runtime import address_of, busiest, run_rows

    rows = np.concatenate([call.rows] * TOGETHER)
    address, workers = address_of(rows), busiest(rows)
    return seconds_of(lambda: run_rows(address, len(rows), workers), budget) / TOGETHER


def in_turn(runs: dict[str, Callable[[], float]], rounds: int) -> Figures:
    """What each run tells, one figure a round, one after the other with a pause before each."""
    out: Figures = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            time.sleep(PAUSE)
            out[name].append(run())
    return out


def peak() -> float:
    """GFLOP/s of multiply-adds in registers."""
    from tinygen_kernels.cpu.peak import fma_rate

    fma_rate(50_000)
    return fma_rate()


def memory(rounds: int) -> dict[str, float]:
    """GB/s of 64 MB read or copied, the best of the rounds; see the first lines."""
    from tinygen_kernels.cpu import elementwise, reduce

    source = np.ones((256, 1 << 16), np.float32)
    target = np.empty_like(source)
    made = elementwise.fused((("neg", (("in", 0),), ()),), (0,), [source], [target])
    runs: dict[str, tuple[Run, int]] = {
        "copy, NumPy on one core": (lambda: np.copyto(target, source), 2 * source.nbytes),
        "copy, all cores": (elementwise.elementwise_call(made, *source.shape), 2 * source.nbytes),
        "sum, all cores": (reduce.sum.bind(source), source.nbytes),
    }
    out: dict[str, float] = {}
    for _ in range(rounds):
        for name, (run, nbytes) in runs.items():
            rate = nbytes / seconds_of(run, 0.03) / 1e9
            out[name] = max(out.get(name, 0.0), rate)
    return {name: round(rate, 2) for name, rate in out.items()}


# ---- the table -----------------------------------------------------------------------------------


def torch_worker(options: argparse.Namespace) -> Worker | None:
    if not options.python_torch:
        return None
    try:
        return Worker(options.python_torch, "torch_kernels.py", {})
    except Missing as error:
        print(f"SKIPPED torch: not installed ({error})")
        return None


def agrees(worker: Worker, case: Case, plain: list[np.ndarray]) -> bool:
    """Whether PyTorch's results are NumPy's, as far as two sums of each tell."""
    theirs = worker.ask(do="result", case=case.name)["result"]
    if theirs is None:
        return True
    mine = fingerprint(plain)
    sizes = [size for size in mine[::2] for _ in range(2)]
    gaps = [abs(a - b) for a, b in zip(mine, theirs, strict=True)]
    return all(gap <= 1e-4 * size for gap, size in zip(gaps, sizes, strict=True))


def measure(
    case: Case, options: argparse.Namespace, worker: Worker | None, bandwidth: float
) -> dict[str, Any]:
    """Rates and times of a case."""
    found, budget = prepared(case), options.seconds
    unit, work = case.work()
    if worker is not None and found.plain is not None and not agrees(worker, case, found.plain()):
        raise report.PeerError(f"PyTorch computes something else for {case.name}")
    runs: dict[str, Callable[[], float]] = {
        "kernel": lambda: planned(found.kernel, budget),
        "numpy": lambda: seconds_of(found.numpy, budget),
    }
    if worker is not None:
        runs["torch"] = lambda: worker.ask(do="run", case=case.name, seconds=budget)["s"]
    if unit == "GFLOP/s":
        runs["peak"] = peak
    taken = in_turn(runs, options.rounds)
    limits = taken.pop("peak", [bandwidth] * options.rounds)
    of_limit = [work / s / limit for s, limit in zip(taken["kernel"], limits, strict=True)]
    out: dict[str, Any] = {"unit": unit, "op": case.op, "of_limit": statistics.median(of_limit)}
    for name, seconds in taken.items():
        out[name] = {
            "microseconds": round(1e6 * statistics.median(seconds), 3),
            "rate": round(work / statistics.median(seconds), 3),
            "best": round(work / min(seconds), 3),
        }
        if name != "kernel":
            out[name]["ratio"] = round(report.ratio(seconds, taken["kernel"]), 3)
    out["of_limit"] = round(out["of_limit"], 4)
    return out


def _cells(name: str, entry: dict[str, Any], peers: Sequence[str]) -> list[str]:
    mine = entry["kernel"]
    cells = [name, f"{mine['microseconds']:.1f}", f"{mine['rate']:.1f}", f"{mine['best']:.1f}"]
    cells += [entry["unit"], f"{entry['of_limit']:.0%}"]
    for peer in peers:
        cells += [f"{entry[peer]['rate']:.1f}", f"{entry[peer]['ratio']:.2f}x"]
    return cells


def show(results: dict[str, Any], peers: Sequence[str]) -> None:
    head = ["kernel, size", "us", "rate", "best", "", "of limit"]
    head += [word for peer in peers for word in (peer, "to it")]
    rows = [_cells(name, entry, peers) for name, entry in results.items()]
    print(report.table(head, rows), flush=True)


# ---- the products of a training step -------------------------------------------------------------


@dataclass
class Product:
    """A call of products of one layout: the same right side, or their sum."""

    form: str
    label: str
    flop: float
    small: bool
    own: Run | None  # None where the kernel declines and NumPy serves
    numpy: Run
    count: int = 1


def like(value: Any, rng: np.random.Generator) -> np.ndarray:
    """A matrix with the shape and the order of a value of the plan."""
    (rows, columns), size = value.shape, value.dtype.itemsize
    row, column = (stride // size for stride in value.strides)
    if column == 1 or columns == 1:
        return rng.standard_normal((rows, max(row, columns)), np.float32)[:, :columns]
    if row != 1 and rows > 1:
        raise ValueError(f"products: strides {value.strides}")
    return rng.standard_normal((columns, max(column, rows)), np.float32)[:, :rows].T


def _form(x: np.ndarray, y: np.ndarray) -> str:
    names = []
    for name, a in (("A", x), ("B", y)):
        names.append(name if a.shape[1] == 1 or a.strides[1] == a.itemsize else f"{name}.T")
    return "@".join(names)


def products_of(batch: int) -> list[Product]:
    """The products of the compiled step of the dense GAN; equal ones once, with their count."""
    import tinygen_step
    from workload import Workload

    from tinygen_kernels.cpu import matmul

    peer: Any = tinygen_step.build(Workload("gan", batch))
    peer.step(peer.batches[0], None)
    rng = np.random.default_rng(0)
    found: dict[str, Product] = {}
    for bound in peer.step.compiled.plan.bound:
        parts = bound.call.products
        if not parts:
            continue
        arrays: dict[Any, np.ndarray] = {}  # a value that two products share is one array

        def array(value: Any, known: dict[Any, np.ndarray] = arrays) -> np.ndarray:
            if value not in known:
                known[value] = like(value, rng)
            return known[value]

        xs = [array(part.args[0]) for part in parts]
        ys = [array(part.args[1]) for part in parts]
        summed = getattr(bound.call.fused, "total", None) is not None
        (rows, k), lanes, n = xs[0].shape, ys[0].shape[1], len(parts)
        outs = [np.empty((rows, lanes), np.float32) for _ in range(1 if summed else n)]
        own = None
        if bound.kernel is not None:
            own = matmul.products(xs, ys, outs)
            words = bound.kernel.args
            if int(words[matmul.N_K]) != k or int(words[matmul.PARTS]) != n:
                raise ValueError(f"products: the plan's call is not {n} of {rows}x{k}x{lanes}")
        kind = "" if n == 1 else f"{'sum of ' if summed else ''}{n} x "
        form, label = _form(xs[0], ys[0]), f"{kind}{rows}x{k}x{lanes}"
        same = f"{form} {label} {own is None}"
        if same in found:
            found[same].count += 1
            continue
        small = min(rows, k, lanes) < JUDGED_FROM
        other = lambda xs=xs, ys=ys, outs=outs, summed=summed: by_numpy(xs, ys, outs, summed)
        found[same] = Product(form, label, 2e-9 * rows * k * lanes * n, small, own, other)
        if own is not None:
            own()
            mine = [out.copy() for out in outs]
            by_numpy([x.astype("d") for x in xs], [y.astype("d") for y in ys], outs, summed)
            for a, b in zip(mine, outs, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=4 * n * k * EPS, err_msg=label)
    return list(found.values())


def by_numpy(xs: Any, ys: Any, outs: list[np.ndarray], summed: bool) -> None:
    """The same by np.matmul: a call a product, and the sum of theirs."""
    if not summed:
        for x, y, out in zip(xs, ys, outs, strict=True):
            np.matmul(x, y, out=out, casting="same_kind")
        return
    np.matmul(xs[0], ys[0], out=outs[0], casting="same_kind")
    for x, y in zip(xs[1:], ys[1:], strict=True):
        outs[0] += x @ y


def products_section(options: argparse.Namespace) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for batch in BATCHES:
        print(f"products of a training step of the dense GAN, batch {batch}; * is not counted")
        entries: list[dict[str, Any]] = []
        forms: dict[str, dict[str, float]] = {}
        all_products = products_of(batch)
        for form in ("A@B", "A.T@B", "A@B.T"):
            mine = [p for p in all_products if p.form == form]
            taken = _rounds(mine, options)
            entries += [_entry(p, figures) for p, figures in zip(mine, taken, strict=True)]
            both = zip(mine, taken, strict=True)
            judged = [(p, figures) for p, figures in both if not p.small and p.own is not None]
            if judged:
                forms[form] = _form_rate(judged)
        head = ["form", "rows x k x lanes", "times", "us", "GFLOP/s", "of peak", "NumPy", "to it"]
        print(report.table(head, [_product_cells(entry) for entry in entries]))
        for form, rates in forms.items():
            print(
                f"  {form}: {rates['gflops']:.0f} GFLOP/s, {rates['of_peak']:.1%} of the peak "
                f"at that time, {rates['peak']:.0f} (best {rates['best_of_peak']:.1%}); NumPy "
                f"takes {rates['numpy_ratio']:.2f} times as long",
                flush=True,
            )
        out[f"batch {batch}"] = {"forms": forms, "products": entries}
    return out


def _rounds(mine: list[Product], options: argparse.Namespace) -> list[Figures]:
    """Seconds of each product by the kernel, at the peak as measured around it, and by NumPy."""
    taken: list[Figures] = [{"own": [], "peak": [], "numpy": []} for _ in mine]
    for _ in range(options.rounds):
        for p, figures in zip(mine, taken, strict=True):
            if p.own is not None:
                time.sleep(PAUSE)
                before = peak()
                figures["own"].append(planned(p.own, options.seconds))
                figures["peak"].append(p.flop / max(before, peak()))
            time.sleep(PAUSE)
            figures["numpy"].append(seconds_of(p.numpy, options.seconds))
    return taken


def _entry(p: Product, taken: Figures) -> dict[str, Any]:
    """What was measured of a product, without the kernel's figures where it declines."""
    out: dict[str, Any] = {
        "form": p.form, "product": p.label, "times": p.count,
        "counted": not p.small and p.own is not None,
        "numpy_gflops": round(p.flop / statistics.median(taken["numpy"]), 2),
    }  # fmt: skip
    if p.own is not None:
        seconds = statistics.median(taken["own"])
        out["microseconds"] = round(1e6 * seconds, 2)
        out["gflops"] = round(p.flop / seconds, 2)
        out["of_peak"] = round(report.ratio(taken["peak"], taken["own"]), 4)
        out["numpy_ratio"] = round(report.ratio(taken["numpy"], taken["own"]), 3)
    return out


def _product_cells(entry: dict[str, Any]) -> list[str]:
    label = entry["product"] + ("" if entry["counted"] else " *")
    cells = [entry["form"], label, str(entry["times"])]
    if "gflops" not in entry:
        return [*cells, "", "declined", "", f"{entry['numpy_gflops']:.1f}", ""]
    cells += [f"{entry['microseconds']:.1f}", f"{entry['gflops']:.1f}", f"{entry['of_peak']:.0%}"]
    return [*cells, f"{entry['numpy_gflops']:.1f}", f"{entry['numpy_ratio']:.2f}x"]


def _form_rate(judged: list[tuple[Product, Figures]]) -> dict[str, float]:
    """All operations of a form over all their times, in each round and with the best times."""
    flop = sum(p.count * p.flop for p, _ in judged)

    def summed(name: str) -> list[float]:
        rounds = zip(*(figures[name] for _, figures in judged), strict=True)
        return [sum(p.count * s for (p, _), s in zip(judged, each, strict=True)) for each in rounds]

    own, limit = summed("own"), summed("peak")
    best = sum(p.count * min(figures["own"]) for p, figures in judged)
    least = sum(p.count * min(figures["peak"]) for p, figures in judged)
    return {
        "gflops": round(flop / statistics.median(own), 2),
        "peak": round(flop / statistics.median(limit), 2),
        "of_peak": round(report.ratio(limit, own), 4),
        "best_of_peak": round(least / best, 4),
        "numpy_ratio": round(report.ratio(summed("numpy"), own), 3),
    }


# ---- the convolutions of a training step ---------------------------------------------------------


def _static(case: Case) -> dict[str, Any]:
    """The options of a convolution as its primitive takes them."""
    from tinygen.ops.conv import Window

    stride, zeros, size = (case.static[name] for name in ("stride", "zeros", "size"))
    transposed = case.static["transposed"]
    window = Window((stride, stride), (zeros, zeros), transposed=transposed)
    more = {"conv2d_dx": {"size": (size, size)}, "conv2d_dw": {"kernel": (KERNEL, KERNEL)}}
    return {"window": window, **more.get(case.op, {})}


def _kernel(case: Case, arrays: list[np.ndarray]) -> Any:
    """The kernel bound to the arrays; None where there is none, or it declines."""
    from tinygen import backend

    found = backend.load_kernel(backend.get("numpy"), case.op)
    call = None if found is None else found.bind(*arrays, **_static(case))  # type: ignore[attr-defined]
    return None if call is NotImplemented else call


def convolved(
    case: Case, options: argparse.Namespace, worker: Worker | None
) -> tuple[dict[str, Any], Figures]:
    """Rates of a convolution, and its seconds in each round."""
    arrays, static = case.arrays(), _static(case)
    exact = np.asarray(_reference(case.op, wide(arrays), static))
    size = _reference(case.op, [np.abs(a) for a in wide(arrays)], static)
    call, plain = _kernel(case, arrays), lambda: _reference(case.op, arrays, static)
    if call is not None:
        call()
        off = far(_plain(call, plain, exact, 4 * size))
        if not off <= 1:
            raise SystemExit(f"error: {case.name}: {off:.3g} times as far off as is allowed")
    if worker is not None and not agrees(worker, case, [exact]):
        raise report.PeerError(f"PyTorch computes something else for {case.name}")
    runs: dict[str, Callable[[], float]] = {"numpy": lambda: seconds_of(plain, options.seconds)}
    if call is not None:
        runs["own"] = lambda: planned(call, options.seconds)
    if worker is not None:
        runs["torch"] = lambda: worker.ask(do="run", case=case.name, seconds=options.seconds)["s"]
    work, limits = case.work()[1], Figures()

    def beside_peak(name: str) -> float:
        """Seconds of a run; the peak around it goes into its limits."""
        before = peak()
        seconds = runs[name]()
        limits.setdefault(name, []).append(work / max(before, peak()))
        return seconds

    taken = in_turn({name: lambda name=name: beside_peak(name) for name in runs}, options.rounds)
    out: dict[str, Any] = {"op": case.op, "times": case.count, "gflop": round(work, 4)}
    every = (case.static["every"] / case.static["taps"]) ** 2
    for name, seconds in taken.items():
        rate = work / statistics.median(seconds)
        out[name] = {
            "ms": round(1e3 * statistics.median(seconds), 3), "gflops": round(rate, 2),
            "all_taps_gflops": round(every * rate, 2),
            "of_peak": round(report.ratio(limits[name], seconds), 4),
        }  # fmt: skip
    taken["peak"] = limits["numpy" if call is None else "own"]
    return out, taken


def convolutions_section(options: argparse.Namespace) -> dict[str, Any]:
    worker = torch_worker(options)
    print(f"convolutions of a training step of the DCGAN, batch {CONVOLVED}")
    entries: dict[str, Any] = {}
    sums: Figures = {}
    for case in convolutions(CONVOLVED):
        entries[case.name], taken = convolved(case, options, worker)
        for name, seconds in taken.items():
            so_far = sums.setdefault(name, [0.0] * options.rounds)
            sums[name] = [a + case.count * s for a, s in zip(so_far, seconds, strict=True)]
    names = [name for name in ("own", "numpy", "torch") if name in sums]
    head = ["sum, size", "primitive", "times"]
    head += [word for name in names for word in (f"{name} ms", "GFLOP/s", "all taps", "of peak")]
    rows = []
    for label, entry in entries.items():
        cells = [label, entry["op"], str(entry["times"])]
        for name in names:
            found = entry.get(name)
            cells += [""] * 4 if found is None else [
                f"{found['ms']:.2f}", f"{found['gflops']:.1f}", f"{found['all_taps_gflops']:.1f}",
                f"{found['of_peak']:.0%}",
            ]  # fmt: skip
        rows.append(cells)
    print(report.table(head, rows))
    lacking = [label for label, entry in entries.items() if "own" not in entry]
    if lacking:
        print(f"no kernel takes {len(lacking)} of {len(entries)}: {', '.join(lacking)}")
        sums.pop("own", None)
    sums["at the peak"] = sums.pop("peak")
    total = {name: round(1e3 * statistics.median(seconds), 2) for name, seconds in sums.items()}
    print("convolutions of a step, ms: " + ", ".join(f"{n} {ms}" for n, ms in total.items()))
    if worker is not None:
        worker.close()
    return {"batch": CONVOLVED, "step_ms": total, "sums": entries}


# ---- random shapes -------------------------------------------------------------------------------

LAYOUTS = ("rows", "columns", "part", "gaps")


def operand(rng: np.random.Generator, rows: int, columns: int, layout: str) -> np.ndarray:
    if layout == "columns":
        return rng.standard_normal((columns, rows), np.float32).T
    if layout == "part":
        return rng.standard_normal((rows, columns + 24), np.float32)[:, 8 : 8 + columns]
    if layout == "gaps":
        return rng.standard_normal((rows, 2 * columns), np.float32)[:, ::2]
    return rng.standard_normal((rows, columns), np.float32)


def through_the_table() -> Callable[[Any, Any], Any]:
    """A product as an operation makes it: the table's kernel, or np.matmul if it declines."""
    from tinygen import backend

    backend.load_kernel(backend.get("numpy"), "matmul_nd")
    kernels = backend.get("numpy").kernels

    def product(x: Any, y: Any) -> Any:
        out = kernels["matmul_nd"](x, y)
        return np.matmul(x, y) if out is NotImplemented else out

    return product


def grid_section(options: argparse.Namespace) -> dict[str, Any]:
    product, rng = through_the_table(), np.random.default_rng(0)
    failed, again, declined, ratios = [], 0, 0, []
    count = 20 if options.quick else SHAPES
    for _ in range(count):
        rows, k, lanes = (int(n) for n in np.exp(rng.uniform(0, np.log(LARGEST + 1), 3)))
        layouts = [LAYOUTS[i] for i in rng.integers(len(LAYOUTS), size=2)]
        x, y = operand(rng, rows, k, layouts[0]), operand(rng, k, lanes, layouts[1])
        got, size = product(x, y), np.abs(x) @ np.abs(y)
        if not (np.abs(got - x.astype("d") @ y) <= 4 * EPS * size).all():
            raise SystemExit(f"error: a wrong product, {rows}x{k}x{lanes}, {layouts}")
        declined += through_declines(x, y)
        runs = {
            "own": lambda x=x, y=y: seconds_of(lambda: product(x, y), options.seconds / 2),
            "numpy": lambda x=x, y=y: seconds_of(lambda: np.matmul(x, y), options.seconds / 2),
        }
        taken = in_turn(runs, 1)
        if _slower(taken):
            again += 1
            taken = in_turn(runs, GRID_ROUNDS)
            if _slower(taken):
                failed.append({
                    "shape": [rows, k, lanes], "layouts": layouts,
                    "own_us": round(1e6 * statistics.median(taken["own"]), 2),
                    "numpy_us": round(1e6 * statistics.median(taken["numpy"]), 2),
                })  # fmt: skip
        ratios.append(report.ratio(taken["numpy"], taken["own"]))
    print(
        f"{count} products of random shapes: {len(failed)} slower than np.matmul by 5 % and a "
        f"microsecond ({again} measured again, {declined} left to NumPy); np.matmul takes "
        f"{statistics.median(ratios):.2f} times as long, the median, {min(ratios):.2f} to "
        f"{max(ratios):.2f}"
    )
    for entry in failed:
        sizes = "x".join(map(str, entry["shape"]))
        print(
            f"  SLOWER  {sizes} ({' @ '.join(entry['layouts'])}): {entry['own_us']:.1f} us, "
            f"np.matmul {entry['numpy_us']:.1f}"
        )
    found = {"failed": failed, "again": again, "declined": declined}
    return {"shapes": count, **found, "ratios": [round(r, 3) for r in ratios]}


def through_declines(x: Any, y: Any) -> bool:
    from tinygen_kernels.cpu import matmul

    return matmul.matmul_nd(x, y) is NotImplemented


def _slower(taken: Figures) -> bool:
    own, numpy = (statistics.median(taken[name]) for name in ("own", "numpy"))
    return own > SLOWER * numpy + MORE


# ---- two pools of threads ------------------------------------------------------------------------


def alternate_section(options: argparse.Namespace) -> dict[str, Any]:
    """The time of own and BLAS products in turn over that of both alone."""
    out: dict[str, Any] = {}
    rng = np.random.default_rng(0)
    for rows, k, lanes in ((64, 784, 1024), (256, 784, 1024), (256, 512, 256)):
        x, y = operand(rng, rows, k, "rows"), operand(rng, k, lanes, "rows")
        other = np.empty((rows, lanes), np.float32)
        own = _bound("matmul_nd", [x, y])
        blas = lambda x=x, y=y, other=other: np.matmul(x, y, out=other)

        def both(own: Any = own, blas: Run = blas) -> None:
            own()
            blas()

        alone: dict[str, Run] = {"own": own, "blas": blas, "both": both}
        runs = {
            name: lambda run=run: seconds_of(run, 4 * options.seconds)
            for name, run in alone.items()
        }
        taken = in_turn(runs, options.rounds)
        sums = [a + b for a, b in zip(taken["own"], taken["blas"], strict=True)]
        ratio = report.ratio(taken["both"], sums)
        name = f"{rows}x{k}x{lanes}"
        us = {key: round(1e6 * statistics.median(times), 1) for key, times in taken.items()}
        out[name] = {"ratio": round(ratio, 3), "microseconds": us}
        print(
            f"{'holds ' if ratio <= ALTERNATING else 'BROKEN'}  {name}: own {us['own']} us, BLAS "
            f"{us['blas']}, one after the other {us['both']}: {ratio:.2f} times both alone, at "
            f"most {ALTERNATING}",
            flush=True,
        )
    return out


# ---- the program ---------------------------------------------------------------------------------


def versions() -> dict[str, Any]:
    """What computes here, with how many threads."""
    from worker import blas_core

    from tinygen_kernels.cpu.runtime import threads  # before numba starts its threads

    out: dict[str, Any] = {"python": platform.python_version()}
    for name in ("tinygen", "numpy", "numba", "llvmlite"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            out[name] = None
    out |= {"blas": blas_core(), "threads": threads(), "blas_threads": None}
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return out
    counts = [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]
    return {**out, "blas_threads": max(counts, default=None)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", metavar="NAME", help="kernels whose name and size contain this")
    add("--rounds", type=int, default=7, help="rounds of all in turn (%(default)s)")
    add("--seconds", type=float, default=0.02, help="a round and kernel (%(default)s)")
    add("--python-torch", metavar="PATH", help="an interpreter that has torch; without, no torch")
    add("--products", action="store_true", help="the products of a training step")
    add("--convolutions", action="store_true", help="the convolutions of a step of the DCGAN")
    add("--grid", action="store_true", help="products of random shapes")
    add("--alternate", action="store_true", help="own and BLAS products in turn")
    add("--check", action="store_true", help="exit 1 if the grid or the alternation fails")
    add("--quick", action="store_true", help="a smoke test: 2 short rounds, 20 random shapes")
    add("--json", type=Path, metavar="FILE", help="write figures, versions and the machine")
    options = parser.parse_args()
    options.cases = [case for case in cases() if (options.only or "") in case.name]
    if not options.cases:
        parser.error(f"--only: no kernel's name contains {options.only!r}")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds: expected numbers above 0")
    if options.quick:
        options.rounds, options.seconds = 2, 0.005
    return options


def table_section(options: argparse.Namespace, bandwidth: float) -> dict[str, Any]:
    worker = torch_worker(options)
    peers = ["numpy"] if worker is None else ["numpy", "torch"]
    results = {case.name: measure(case, options, worker, bandwidth) for case in options.cases}
    show(results, peers)
    if worker is None:
        return {"kernels": results}
    print("torch: " + ", ".join(f"{key} {value}" for key, value in worker.about.items()))
    worker.close()
    return {"kernels": results, "torch": worker.about}


def main() -> int:
    options = arguments()
    pinned = [name for name in report.PINS if name in os.environ]
    if pinned:
        sys.exit(f"error: {', '.join(pinned)} makes NumPy's BLAS another than it is; unset it")
    machine, about = report.machine(), versions()
    print(report.describe(machine))
    print(", ".join(f"{name} {value}" for name, value in about.items() if value is not None))
    if not valid(options.cases):
        return 1
    peaks, bandwidth = [peak() for _ in range(options.rounds)], memory(options.rounds)
    print(
        f"peak {max(peaks):.0f} GFLOP/s; GB/s: "
        + ", ".join(f"{rate:.1f} {name}" for name, rate in bandwidth.items())
    )
    record: dict[str, Any] = {
        "unit": "rates: 10^9 operations or bytes a second, median of rounds; ratio: time over the "
        "kernel's",
        "rounds": options.rounds, "seconds": options.seconds, "machine": machine,
        "versions": about, "peak_gflops": round(max(peaks), 2), "memory_gbytes": bandwidth,
    }  # fmt: skip
    good = True
    if options.products:
        record["products"] = products_section(options)
    if options.convolutions:
        record["convolutions"] = convolutions_section(options)
    if options.grid:
        record["grid"] = grid_section(options)
        good &= not record["grid"]["failed"]
    if options.alternate:
        record["alternate"] = alternate_section(options)
        good &= all(entry["ratio"] <= ALTERNATING for entry in record["alternate"].values())
    if not (options.products or options.convolutions or options.grid or options.alternate):
        record |= table_section(options, max(bandwidth.values()))
    if options.json:
        report.write(options.json, record)
    return 1 if options.check and not good else 0


if __name__ == "__main__":
    report.run(main)
