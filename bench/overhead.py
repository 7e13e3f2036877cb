"""What one operation on tiny tensors costs: tinygen beside PyTorch, autograd and MyGrad.

    pip install -e ".[bench]" && python bench/overhead.py [--rounds 15] [--json FILE] [--check]

With three numbers in a tensor there is nothing to compute: the time is what the library itself
adds to a call. All libraries run in one process, in turn within each round, so that whatever else
the machine does hits them alike; a figure is processor time and the median over the rounds, a ratio
the median of the ratios within the rounds. "forward" records for a gradient. A peer that is not
installed is named and left out. `--check` exits with 1 if tinygen takes more than 2.5 times as long
as PyTorch, or does not beat autograd and MyGrad by 1.3, forward and backward, on the chain.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = 1000
BATCH, INPUTS, HIDDEN = 4, 8, 16
MLP_OPS = 8  # matmul, add, tanh, matmul, add, sub, square, mean
PEERS = ("torch", "autograd", "mygrad")
MOST = {"torch": 2.5}  # tinygen's time over the peer's, at most
LEAST = {"autograd": 1.3, "mygrad": 1.3}  # the peer's time over tinygen's, at least

Run = Callable[[], Any]
Runs = dict[str, tuple[Run, Run]]  # workload -> (forward, forward and backward)

X = np.array([0.5, -1.0, 2.0], dtype=np.float32)
C = np.array([1.001, 0.999, 1.0], dtype=np.float32)
_rng = np.random.default_rng(0)
DATA = _rng.normal(size=(BATCH, INPUTS)).astype(np.float32)
TARGET = _rng.normal(size=(BATCH, 1)).astype(np.float32)
WEIGHTS = [
    (0.3 * _rng.normal(size=shape)).astype(np.float32)
    for shape in ((INPUTS, HIDDEN), (HIDDEN,), (HIDDEN, 1), (1,))
]
LR = 0.01

# ---- the workloads, the same text for every library ----------------------------------------------


def few(x: Any, c: Any, tanh: Callable[[Any], Any]) -> Any:
    """Four operations: what a single call and the start of a backward pass cost."""
    return (tanh(x * c) + c).sum()


def chain(x: Any, c: Any) -> Any:
    """1,000 products, one after the other."""
    for _ in range(LENGTH):
        x = x * c
    return x.sum()


def fan_out(x: Any, c: Any) -> Any:
    """One tensor used 1,000 times, the results summed in pairs."""
    terms = [x * c for _ in range(LENGTH)]
    while len(terms) > 1:
        odd = terms[len(terms) // 2 * 2 :]
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [a + b for a, b in pairs] + odd
    return terms[0].sum()


def mlp(weights: Any, x: Any, target: Any, tanh: Callable[[Any], Any]) -> Any:
    """The mean squared error of an 8-16-1 network, batch 4."""
    w1, b1, w2, b2 = weights
    error = tanh(x @ w1 + b1) @ w2 + b2 - target
    return (error * error).mean()


OPERATIONS = {"few": 4, "chain": LENGTH + 1, "fan-out": 2 * LENGTH, "mlp step": MLP_OPS}


# ---- the libraries -------------------------------------------------------------------------------


def tinygen_runs() -> Runs:
    import tinygen as tg
    from tinygen import optim
    from tinygen.nn import Parameter

    x, c = tg.tensor(X, requires_grad=True), tg.tensor(C)
    data, target = tg.tensor(DATA), tg.tensor(TARGET)
    weights = [Parameter(w) for w in WEIGHTS]
    sgd = optim.SGD(weights, lr=LR)

    def backward(y: tg.Tensor) -> Any:
        x.grad = None
        y.backward()
        return x.grad

    def step() -> Any:
        loss = mlp(weights, data, target, tg.tanh)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss

    return {
        "few": (lambda: few(x, c, tg.tanh), lambda: backward(few(x, c, tg.tanh))),
        "chain": (lambda: chain(x, c), lambda: backward(chain(x, c))),
        "fan-out": (lambda: fan_out(x, c), lambda: backward(fan_out(x, c))),
        "mlp step": (lambda: mlp(weights, data, target, tg.tanh), step),
    }


def torch_runs() -> Runs:
    import torch

    torch.set_num_threads(1)
    x, c = torch.tensor(X, requires_grad=True), torch.tensor(C)
    data, target = torch.tensor(DATA), torch.tensor(TARGET)
    weights = [torch.tensor(w, requires_grad=True) for w in WEIGHTS]
    sgd = torch.optim.SGD(weights, lr=LR)

    def backward(y: torch.Tensor) -> Any:
        x.grad = None
        y.backward()
        return x.grad

    def step() -> Any:
        loss = mlp(weights, data, target, torch.tanh)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        return loss

    return {
        "few": (lambda: few(x, c, torch.tanh), lambda: backward(few(x, c, torch.tanh))),
        "chain": (lambda: chain(x, c), lambda: backward(chain(x, c))),
        "fan-out": (lambda: fan_out(x, c), lambda: backward(fan_out(x, c))),
        "mlp step": (lambda: mlp(weights, data, target, torch.tanh), step),
    }


def autograd_runs() -> Runs:
    import autograd.numpy as anp
    from autograd import make_vjp

    weights = [w.copy() for w in WEIGHTS]
    one = np.float32(1)

    def both(f: Callable[[Any], Any], at: Any) -> tuple[Run, Run]:
        # make_vjp(f)(at) runs f and records it; calling its result goes back.
        return lambda: make_vjp(f)(at), lambda: make_vjp(f)(at)[0](one)

    def loss(ws: Any) -> Any:
        return mlp(ws, DATA, TARGET, anp.tanh)

    def step() -> Any:
        vjp, value = make_vjp(loss)(weights)
        for w, g in zip(weights, vjp(one), strict=True):
            w -= LR * g
        return value

    return {
        "few": both(lambda x: few(x, C, anp.tanh), X),
        "chain": both(lambda x: chain(x, C), X),
        "fan-out": both(lambda x: fan_out(x, C), X),
        "mlp step": (lambda: make_vjp(loss)(weights), step),
    }


def mygrad_runs() -> Runs:
    import mygrad as mg

    x = mg.tensor(X)
    weights = [mg.tensor(w) for w in WEIGHTS]

    def backward(y: Any) -> Any:
        y.backward()
        return x.grad

    def step() -> Any:
        loss = mlp(weights, DATA, TARGET, mg.tanh)
        loss.backward()
        for w in weights:
            w.data -= LR * w.grad
        return loss

    return {
        "few": (lambda: few(x, C, mg.tanh), lambda: backward(few(x, C, mg.tanh))),
        "chain": (lambda: chain(x, C), lambda: backward(chain(x, C))),
        "fan-out": (lambda: fan_out(x, C), lambda: backward(fan_out(x, C))),
        "mlp step": (lambda: mlp(weights, DATA, TARGET, mg.tanh), step),
    }


MAKERS = {
    "tinygen": tinygen_runs,
    "torch": torch_runs,
    "autograd": autograd_runs,
    "mygrad": mygrad_runs,
}

# ---- measuring -----------------------------------------------------------------------------------


def host(result: Any) -> np.ndarray:
    """A gradient or a loss of any of the libraries, as a NumPy array."""
    for name in ("detach", "numpy"):
        result = getattr(result, name)() if hasattr(result, name) else result
    return np.asarray(getattr(result, "data", result))


def agree(libraries: dict[str, Runs]) -> None:
    """Raise unless all find the same gradients, and the same losses over three steps."""
    for workload in OPERATIONS:
        for _ in range(3):
            found = {name: host(runs[workload][1]()) for name, runs in libraries.items()}
            for name, value in found.items():
                np.testing.assert_allclose(
                    value, found["tinygen"], rtol=1e-3, err_msg=f"{workload}: {name}"
                )


def seconds(run: Run, repeat: int) -> float:
    """Processor time of a call; garbage is cleared before, and the collector stays on."""
    gc.collect()
    start = time.process_time()
    for _ in range(repeat):
        run()
    return (time.process_time() - start) / repeat


def measure(libraries: dict[str, Runs], rounds: int, target: float = 0.02) -> dict[str, Any]:
    """Microseconds an operation: workload -> pass -> library -> one figure a round."""
    repeats: dict[tuple[str, int, str], int] = {}
    out: dict[str, Any] = {}
    for number in range(rounds + 1):  # the first round warms up and chooses the repetitions
        for workload, operations in OPERATIONS.items():
            for i, kind in enumerate(("forward", "both")):
                names = list(libraries)
                shift = number % len(names)  # nobody always runs after the same neighbour
                for name in names[shift:] + names[:shift]:
                    run, key = libraries[name][workload][i], (workload, i, name)
                    if number == 0:
                        seconds(run, 2)
                        repeats[key] = max(1, round(target / seconds(run, 2)))
                        continue
                    took = 1e6 * seconds(run, repeats[key]) / operations
                    figures = out.setdefault(workload, {}).setdefault(kind, {})
                    figures.setdefault(name, []).append(took)
    return out


def ratio(mine: list[float], theirs: list[float]) -> float:
    """The median over the rounds of tinygen's time over the peer's."""
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))


def verdicts(figures: dict[str, list[float]]) -> list[tuple[str, bool]]:
    """What was promised of an operation forward and backward, and whether it holds."""
    mine, out = figures["tinygen"], []
    for name, most in MOST.items():
        if name in figures:
            have = ratio(mine, figures[name])
            out.append((f"{have:.2f} times {name}'s time, at most {most}", have <= most))
    for name, least in LEAST.items():
        if name in figures:
            have = 1 / ratio(mine, figures[name])
            out.append((f"{have:.2f} times less than {name}, at least {least}", have >= least))
    return out


def show(measured: dict[str, Any], names: list[str]) -> None:
    """The table: microseconds an operation, and tinygen's time over each peer's."""
    print(f"{'microseconds an operation':<30}" + "".join(f"{n:>18}" for n in names))
    for workload, passes in measured.items():
        for kind, figures in passes.items():
            words = f"{workload}, {'forward' if kind == 'forward' else 'forward + backward'}"
            cells = [f"{statistics.median(figures[names[0]]):.2f}"]
            for name in names[1:]:
                over = ratio(figures[names[0]], figures[name])
                cells.append(f"{statistics.median(figures[name]):.2f} ({over:.2f}x)")
            print(f"{words:<30}" + "".join(f"{cell:>18}" for cell in cells))
    print("(x: tinygen's time over the peer's). 'mlp step, forward + backward' includes SGD.")


def main() -> int:
    parser = argparse.ArgumentParser(description="Overhead of an operation on tiny tensors.")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each library in turn")
    parser.add_argument("--json", type=Path, help="write figures and versions to this file")
    parser.add_argument("--check", action="store_true", help="exit 1 if a promise is broken")
    options = parser.parse_args()
    found, skipped = {"tinygen": version("tinygen")}, []
    for name in PEERS:
        try:
            importlib.import_module(name)
            found[name] = version(name)
        except ImportError:
            skipped.append(name)
    libraries = {name: MAKERS[name]() for name in found}
    agree(libraries)
    gc.collect()
    gc.freeze()  # what importing left behind is not searched for garbage again and again
    versions = {"python": platform.python_version(), "numpy": np.__version__, **found}
    print(", ".join(f"{name} {v}" for name, v in versions.items()))
    for name in skipped:
        print(f"SKIPPED {name}: not installed (pip install {name})")
    measured = measure(libraries, options.rounds)
    show(measured, list(found))
    promises = verdicts(measured["chain"]["both"])
    for words, holds in promises:
        print(f"{'holds ' if holds else 'BROKEN'}  a chained operation takes {words}")
    if options.json:
        medians = {
            workload: {
                kind: {name: round(statistics.median(v), 3) for name, v in figures.items()}
                for kind, figures in passes.items()
            }
            for workload, passes in measured.items()
        }
        record = {
            "format": 1, "unit": "microseconds an operation, median of rounds",
            "rounds": options.rounds, "versions": versions, "skipped": skipped,
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "medians": medians,
            "promises": dict(promises),
        }  # fmt: skip
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 1 if options.check and not all(holds for _, holds in promises) else 0


if __name__ == "__main__":
    sys.exit(main())
