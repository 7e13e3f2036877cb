"""The time and memory of a training step: tinygen beside PyTorch, JAX, tinygrad and plain NumPy.

    pip install -e ".[fast,bench]" && python bench/train_step.py --check --plot steps.png

What is timed is the plain step that a PyTorch user writes. For the GANs: fake = G(z) with z drawn
in the step; the discriminator's loss from D(x) and D(fake.detach()); zero_grad, backward, step;
the generator's from D(fake) with the same fake; zero_grad, backward, step; both losses read as
numbers. The networks are those of `tinygen train`, dropout on, without its R1 penalty; the DCGAN
is the one of TensorFlow's tutorial, the U-Net learns flow matching (peers/workload.py shows both).
All peers start from the same weights and go through the same batches, in float32, with the threads
that each takes by itself.

| peer          | what it is                                                                     |
|---------------|--------------------------------------------------------------------------------|
| tinygen       | tg.compile of that step; always there, the others are compared with it         |
| torch         | PyTorch eager, torch.optim.Adam with its defaults; images in channels_last     |
| torch-fused   | the same with Adam(fused=True), which is faster on a CPU                       |
| torch-nchw    | torch-fused in PyTorch's own layout of images (DCGAN and U-Net)                |
| torch-compile | networks (VAE: the loss) through torch.compile, Adam(fused=True)               |
| jax           | one jit of the whole step, donated buffers; generator and Adam as --jax says   |
| tinygrad      | TinyJit of the step; without the DCGAN and the U-Net                           |
| numpy         | tinygen's eager step on NumPy's operations alone: no plan, no numba            |

Each peer is a process of its own, with an interpreter of its own where --python-torch and so on
say so. They work in turn in every round while the others sleep; a figure is the median over the
rounds, a ratio the median of the ratios within the rounds. "process" is the most memory that the
process ever held, libraries and compiling included; "step" is the arrays alive at the peak of a
step, weights and Adam's moments included: as tracemalloc counts NumPy's (tinygen), PyTorch's
profiler its allocator's, and XLA plans them (JAX). "planned" is the part of it that a compiled step
sets aside for its temporaries: the arena of tinygen's plan, XLA's temporaries; the others ask for
each array as they go.

`--check` first compares the losses of 4 steps in float64, without dropout and with the same noise,
of every peer: they must agree to 1e-9 (tinygrad, whose Adam counts in float32: 1e-5), or nothing
is timed.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import report
from report import Missing, Worker

MODELS = ("gan", "cgan", "vae", "dcgan", "unet")
BATCHES = {"gan": (64, 256), "cgan": (64, 256), "vae": (128, 512), "dcgan": (64,), "unet": (96,)}
SCRIPTS = {  # peer: (file of bench/peers, variant)
    "tinygen": ("tinygen_step.py", ""),
    "torch": ("torch_step.py", ""),
    "torch-fused": ("torch_step.py", "fused"),
    "torch-nchw": ("torch_step.py", "nchw,fused"),
    "torch-compile": ("torch_step.py", "compile,fused"),
    "jax": ("jax_step.py", "threefry,optax"),
    "tinygrad": ("tinygrad_step.py", ""),
    "numpy": ("tinygen_step.py", "numpy"),
}
ONLY = {  # the models of a peer that has not all
    "torch-nchw": ("dcgan", "unet"),
    "tinygrad": ("gan", "cgan", "vae"),
}
JAX_WAYS = [
    f"{prng},{adam}" for prng in ("threefry", "rbg", "unsafe_rbg") for adam in ("optax", "own")
]
CHECKED = {  # what --check compares, and how far a loss may be from tinygen's
    "numpy": 1e-9,
    "torch": 1e-9,
    "torch-fused": 1e-9,
    "torch-nchw": 1e-9,
    "torch-compile": 1e-9,
    "jax": 1e-9,
    "tinygrad": 1e-5,  # its Adam counts in float32 whatever the weights are
}
CHECK_STEPS, CHECK_BATCH = 4, 32


def workers_of(
    peers: list[str], workload: dict[str, Any], options: argparse.Namespace, skipped: dict[str, str]
) -> dict[str, Worker]:
    """A prepared process for each peer that has the model and is installed.

    What is not installed is noted in `skipped`.
    """
    python = report.interpreters(options)
    out: dict[str, Worker] = {}
    for peer in peers:
        if workload["model"] not in ONLY.get(peer, MODELS):
            continue
        script, variant = SCRIPTS[peer]
        if peer == "jax" and options.jax not in ("fastest", None):
            variant = options.jax
        try:
            out[peer] = Worker(python(peer), script, {"variant": variant, **workload})
        except (Missing, report.PeerError) as error:
            if peer == "tinygen":
                raise report.PeerError(str(error)) from None
            missing = isinstance(error, Missing)
            skipped[peer] = f"not installed ({error})" if missing else f"failed: {error}"
    return out


def close(workers: dict[str, Worker]) -> None:
    for worker in workers.values():
        worker.close()


def fastest_jax(workload: dict[str, Any], options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds a step of each way to write the step in JAX, the fastest first."""
    python = report.interpreters(options)("jax")
    ways = {way: Worker(python, "jax_step.py", {**workload, "variant": way}) for way in JAX_WAYS}
    taken = report.in_turn(ways, 3, 0.4 * options.seconds)
    close(ways)
    found = {way: statistics.median(times) for way, times in taken.items()}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def check(models: list[str], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """How far each peer's losses are from tinygen's, and whether that is allowed; prints it.

    A difference is relative to the loss where that is above 1, as the VAE's is.
    """
    out: dict[str, dict[str, Any]] = {}
    peers = [peer for peer in CHECKED if peer in options.peers]
    for model in models:
        workload = {"model": model, "batch": CHECK_BATCH, "dtype": "float64", "dropout": 0.0}
        workers = workers_of(["tinygen", *peers], workload, options, {})
        if "jax" in workers:
            other = argparse.Namespace(**{**vars(options), "jax": "threefry,own"})
            workers["jax, own Adam"] = workers_of(["jax"], workload, other, {})["jax"]
        losses = {
            peer: [x for step in worker.ask(do="losses", steps=CHECK_STEPS)["losses"] for x in step]
            for peer, worker in workers.items()
        }
        close(workers)
        mine = losses.pop("tinygen")
        print(f"{model}: losses of {CHECK_STEPS} steps in float64, tinygen's last {mine[-1]:.12g}")
        for peer, theirs in losses.items():
            far = max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(theirs, mine, strict=True))
            most = CHECKED[peer.split(",")[0]]
            out[f"{model} {peer}"] = {"difference": far, "allowed": most, "holds": far <= most}
            verdict = "agrees " if far <= most else "DIFFERS"
            print(f"  {verdict} {peer}, by {far:.1e} at most (allowed {most:g})", flush=True)
    return out


def measure(
    workload: dict[str, Any], options: argparse.Namespace, skipped: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """What was measured of each peer: times of the rounds, memory, and what it is."""
    ways: dict[str, float] = {}
    tuned = argparse.Namespace(**vars(options))
    asked = "jax" in options.peers
    if asked and "jax" not in skipped and options.jax == "fastest":
        try:
            ways = fastest_jax(workload, options)
            tuned.jax = next(iter(ways))
        except Missing as error:
            skipped["jax"] = f"not installed ({error})"
    peers = [peer for peer in ("tinygen", *options.peers) if peer not in skipped]
    workers = workers_of(peers, workload, tuned, skipped)
    taken = report.in_turn(workers, options.rounds, options.seconds)
    out = {}
    for peer, worker in workers.items():
        memory = worker.ask(do="memory")
        out[peer] = {
            "ms": round(statistics.median(taken[peer]), 4),
            "least": round(min(taken[peer]), 4),
            "rounds": [round(ms, 4) for ms in taken[peer]],
            "ratio": round(report.ratio(taken[peer], taken["tinygen"]), 3),
            "first_step_s": round(worker.first_step_s, 2),
            "process_bytes": memory["process"],
            "step_bytes": memory["step"],
            "temporaries_bytes": memory["temporaries"],
            "about": worker.about,
        }
    if ways:
        out["jax"]["ways_ms"] = {way: round(ms, 4) for way, ms in ways.items()}
    close(workers)
    return out


def show(label: str, measured: dict[str, dict[str, Any]]) -> None:
    rows = [
        [
            peer, f"{found['ms']:.2f}", f"{found['least']:.2f}", f"{found['ratio']:.2f}x",
            f"{found['first_step_s']:.1f} s", report.megabytes(found["process_bytes"]),
            report.megabytes(found["step_bytes"]), report.megabytes(found["temporaries_bytes"]),
        ]
        for peer, found in measured.items()
    ]  # fmt: skip
    head = [label, "ms a step", "least", "to tinygen", "first step", "process", "step", "planned"]
    print(report.table(head, rows), flush=True)


def show_peers(results: dict[str, dict[str, dict[str, Any]]]) -> None:
    """What each peer was, from the first workload that has it; JAX's choice for each."""
    seen: set[str] = set()
    for label, measured in results.items():
        for peer, found in measured.items():
            about = found["about"]
            line = ", ".join(f"{key} {value}" for key, value in about.items() if value is not None)
            if line not in seen:
                print(f"  {peer} ({label}): {line}")
            seen.add(line)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [peer for peer in SCRIPTS if peer != "tinygen"]
    add = parser.add_argument
    add("--models", default=",".join(MODELS), help="which of %(default)s, with commas between")
    add("--batch", help="batch sizes for all models, e.g. 64,256 (default: gan and cgan 64,256; "
        "vae 128,512; dcgan 64)")  # fmt: skip
    add("--peers", default=",".join(names), help='of %(default)s; "" for none')
    add("--rounds", type=int, default=5, help="rounds of all peers in turn (%(default)s)")
    add("--seconds", type=float, default=0.6, help="of steps a round and peer (%(default)s)")
    add("--jax", default="fastest", metavar="WAY", help="generator and Adam in JAX: fastest "
        f"(tries all for each workload), or one of {' '.join(JAX_WAYS)}")  # fmt: skip
    for name in ("torch", "jax", "tinygrad"):
        add(f"--python-{name}", metavar="PATH", help=f"the interpreter that has {name}")
    add("--check", action="store_true", help="compare losses in float64 first; exit 1 if they "
        "differ")  # fmt: skip
    add("--check-only", action="store_true", help="compare losses and time nothing")
    add(
        "--quick",
        action="store_true",
        help="a smoke test: one batch size, 2 short rounds, no record",
    )
    add("--json", type=Path, metavar="FILE",
        help="where the record goes (bench/results/train_step.json)")  # fmt: skip
    add("--plot", type=Path, metavar="FILE", help="draw the times as bars (needs matplotlib)")
    options = parser.parse_args()
    for name, known in (("models", MODELS), ("peers", names)):
        chosen = [part for part in getattr(options, name).split(",") if part]
        wrong = [part for part in chosen if part not in known]
        if wrong:
            parser.error(f"--{name}: {', '.join(wrong)}, expected some of {', '.join(known)}")
        setattr(options, name, chosen)
    if options.jax not in ("fastest", *JAX_WAYS):
        parser.error(f"--jax: {options.jax}, expected fastest or one of {' '.join(JAX_WAYS)}")
    try:
        sizes = [int(n) for n in options.batch.split(",")] if options.batch else []
    except ValueError:
        sizes = [0]
    if options.rounds < 1 or options.seconds <= 0 or min(sizes, default=1) < 1:
        parser.error("--rounds, --seconds and --batch: expected numbers above 0")
    options.batches = {model: sizes or BATCHES[model] for model in options.models}
    if options.quick:
        options.rounds, options.seconds = 2, 0.1
        options.jax = JAX_WAYS[0] if options.jax == "fastest" else options.jax
        options.batches = {model: sizes[:1] for model, sizes in options.batches.items()}
    elif options.json is None:
        options.json = report.RESULTS / "train_step.json"
    return options


def main() -> int:
    options = arguments()
    found = report.machine()
    print(report.describe(found))
    checked: dict[str, dict[str, Any]] = {}
    if options.check or options.check_only:
        checked = check(options.models, options)
        if not all(entry["holds"] for entry in checked.values()):
            print("BROKEN  the peers do not compute the same; nothing was timed")
            return 1
        if options.check_only:
            return 0
    results: dict[str, dict[str, dict[str, Any]]] = {}
    skipped: dict[str, str] = {}
    for model in options.models:
        for batch in options.batches[model]:
            label = f"{model}, batch {batch}"
            results[label] = measure({"model": model, "batch": batch}, options, skipped)
            show(label, results[label])
    show_peers(results)
    for peer, why in skipped.items():
        print(f"SKIPPED {peer}: {why}")
    record = {
        "unit": "milliseconds a training step, median of rounds; ratio: over tinygen's",
        "rounds": options.rounds, "seconds": options.seconds, "machine": found,
        "agreement_float64": checked, "skipped": skipped, "results": results,
    }  # fmt: skip
    if options.json:
        report.write(options.json, record)
    if options.plot:
        groups = {
            label: {peer: entry["ms"] for peer, entry in measured.items()}
            for label, measured in results.items()
        }
        title = f"one training step, float32, {found['processor']}, {found['cores']} cores"
        report.bars(options.plot, groups, "milliseconds a step", title)
    return 0


if __name__ == "__main__":
    report.run(main)
