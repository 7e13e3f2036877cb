"""The time from the shell prompt to a trained VAE and its picture: tinygen, PyTorch and JAX.

    python bench/epoch.py --data FOLDER [--python-torch PATH] [--python-jax PATH]

tinygen runs `tinygen train vae --data FOLDER --epochs 10 --latent 20`; the others run the scripts
torch_epoch.py and jax_epoch.py of bench/peers, which read the same IDX files with NumPy, train the
same VAE (784-400-20, Adam, batch 128) for as many epochs, measure the negative ELBO of the test
set and write a picture of samples. The clock runs from the start of the process to its end, so
imports, reading, compiling, training and the picture count; tinygen also writes checkpoints, a log
and a picture after each epoch.

The peers take turns. The first round, in which caches may be cold, is told apart; "seconds" is the
median of the others. The test figure (one code an image, 10,000 images, nats an image) of tinygen
comes from `tinygen evaluate`, after the clock has stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import report

EPOCHS, LATENT = 10, 20
SCRIPTS = {  # peer: (file of bench/peers, --way)
    "torch": ("torch_epoch.py", "eager"),
    "torch-fused": ("torch_epoch.py", "fused"),
    "torch-compile": ("torch_epoch.py", "compile"),
    "jax": ("jax_epoch.py", "jit"),
}
DEFAULT_PEERS = "torch,torch-fused,torch-compile,jax"


def timed(command: list[str]) -> tuple[float, str, int | None]:
    """Seconds of a command from its start to its end, what it printed, its peak memory in bytes.

    Raises report.PeerError, or report.Missing if a framework is not installed.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                env=report.environment(),
            )  # fmt: skip
        except OSError as error:
            raise report.PeerError(f"cannot start {command[0]}: {error.strerror}") from None
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        else:
            process.wait()
            peak = None
        took = time.perf_counter() - start
        said.seek(0)
        words = said.read()
    if process.returncode:
        last = words.strip().splitlines()[-1:]
        if "ModuleNotFoundError" in words:
            raise report.Missing(*last)
        raise report.PeerError(
            f"{' '.join(command)} ended ({process.returncode}):\n{words[-3000:]}"
        )
    return took, words, peak


def run_tinygen(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    out = folder / "run"
    tinygen = [sys.executable, "-m", "tinygen"]
    train = [*tinygen, "train", "vae", "--data", str(options.data), "--epochs", str(options.epochs)]
    took, _, peak = timed([*train, "--latent", str(LATENT), "--out", str(out)])
    if not (out / "samples.png").is_file():
        raise report.PeerError(f"{' '.join(train)} left no samples.png")
    timed([*tinygen, "evaluate", str(out), "--nll-images", "0"])
    figures = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["figures"]
    test = next(f["value"] for f in figures if f["split"] == "test")
    return {"seconds": took, "test": test, "bytes": peak, "version": version("tinygen")}


def run_peer(peer: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if peer == "tinygen":
        return run_tinygen(options, folder)
    script, way = SCRIPTS[peer]
    python, picture = report.interpreters(options)(peer), folder / "samples.png"
    command = [python, str(report.PEERS / script), "--data", str(options.data), "--way", way]
    took, words, peak = timed([*command, "--epochs", str(options.epochs), "--out", str(picture)])
    if not any(folder.glob("samples.*")):
        raise report.PeerError(f"{script} left no picture")
    answer = json.loads(words.strip().splitlines()[-1])
    return {"seconds": took, "bytes": peak, **answer}


def measure(
    peers: list[str], options: argparse.Namespace, skipped: dict[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """What each run gave, by peer and round."""
    out: dict[str, list[dict[str, Any]]] = {}
    for number in range(options.rounds):
        for peer in random.Random(number).sample(peers, len(peers)):
            if peer in skipped:
                continue
            with tempfile.TemporaryDirectory() as folder:
                try:
                    found = run_peer(peer, options, Path(folder))
                except report.Missing as error:
                    if peer == "tinygen":
                        raise report.PeerError(str(error)) from None
                    skipped[peer] = f"not installed ({error})"
                    continue
            out.setdefault(peer, []).append(found)
            took, test = found["seconds"], found["test"]
            print(f"round {number + 1}: {peer} {took:.1f} s, test {test:.2f} nats", flush=True)
    return {peer: out[peer] for peer in peers if peer in out}


def summed_up(measured: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """A peer's figures over the rounds: warm ones where there is more than one round."""
    seconds = {peer: [run["seconds"] for run in runs] for peer, runs in measured.items()}
    warm = {peer: times[1:] or times for peer, times in seconds.items()}
    return {
        peer: {
            "seconds": round(statistics.median(warm[peer]), 3),
            "first_seconds": round(seconds[peer][0], 3),
            "rounds": [round(s, 3) for s in seconds[peer]],
            "ratio": round(report.ratio(warm[peer], warm["tinygen"]), 3),
            "test_negative_elbo": round(runs[-1]["test"], 3),
            "process_bytes": max(run["bytes"] or 0 for run in runs) or None,
            "version": runs[-1]["version"],
        }
        for peer, runs in measured.items()
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the folder with MNIST's IDX files")
    add("--peers", default=DEFAULT_PEERS, help='some of %(default)s; "" for none')
    add("--epochs", type=int, default=EPOCHS, help="passes over the data (%(default)s)")
    add("--rounds", type=int, default=3, help="runs of each, in turn (%(default)s)")
    for name in ("torch", "jax"):
        add(f"--python-{name}", metavar="PATH", help=f"the interpreter that has {name}")
    add("--quick", action="store_true", help="a smoke test: one epoch, one round, no record")
    add(
        "--json", type=Path, metavar="FILE", help="where the record goes (bench/results/epoch.json)"
    )
    options = parser.parse_args()
    options.peers = [peer for peer in options.peers.split(",") if peer]
    wrong = [peer for peer in options.peers if peer not in SCRIPTS]
    if wrong:
        parser.error(f"--peers: {', '.join(wrong)}, expected some of {', '.join(SCRIPTS)}")
    if options.epochs < 1 or options.rounds < 1:
        parser.error("--epochs and --rounds: expected numbers above 0")
    if not options.data.is_dir():
        parser.error(f"--data: {options.data} is no folder")
    if options.quick:
        options.epochs = options.rounds = 1
    elif options.json is None:
        options.json = report.RESULTS / "epoch.json"
    return options


def main() -> int:
    options, skipped = arguments(), {}
    found = report.machine()
    print(report.describe(found))
    results = summed_up(measure(["tinygen", *options.peers], options, skipped))
    rows = [
        [
            peer, f"{entry['seconds']:.1f} s", f"{entry['first_seconds']:.1f} s",
            f"{entry['ratio']:.2f}x", f"{entry['test_negative_elbo']:.2f}",
            report.megabytes(entry["process_bytes"]),
        ]
        for peer, entry in results.items()
    ]  # fmt: skip
    head = [f"VAE, {options.epochs} epochs", "seconds", "first", "to tinygen", "test nats", "peak"]
    print(report.table(head, rows))
    for peer, why in skipped.items():
        print(f"SKIPPED {peer}: {why}")
    if options.json:
        record = {
            "unit": "seconds from the start of the process to its end, median of warm rounds",
            "epochs": options.epochs, "machine": found, "skipped": skipped, "results": results,
        }  # fmt: skip
        report.write(options.json, record)
    return 0


if __name__ == "__main__":
    report.run(main)
