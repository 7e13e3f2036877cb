"""MNIST's DCGAN trained by tinygen and by PyTorch in the same way, and how good the pictures are.

    python bench/dcgan_quality.py --data FOLDER --out FOLDER --seeds 0,1,2 [--python-torch PATH]

Both train the network of TensorFlow's DCGAN tutorial as models/networks/pyramid.py has it: Glorot's
uniform first weights, non-saturating losses, R1 on a quarter of each batch, Adam, an average of the
generator that warms up and draws. The settings are plain numbers that both are given; the random
numbers of the two are different, so compare over several seeds. `--batch-size 256 --lr 1e-4
--d-lr 1e-4 --beta1 0.9 --dropout 0.3 --r1 0 --ema 0` is the tutorial's own training.

A training leaves, in OUT/PEER-SEED, images.npz with "images" (n, 28, 28, 1) uint8, drawn from
N(0, 1) in evaluation, and weights.npz with tinygen's names and shapes, whichever peer trained them.
One that is already there with the same settings is left as it is.

All images are then measured with the classifier of MNIST that comes with tinygen, beside the same
number of training images (the floor): every seed is printed, none is left out, and the medians are
compared. `--also NAME=FOLDER` measures another images.npz along with them. All of it goes into
OUT/quality.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import report

import tinygen as tg
from tinygen import metrics
from tinygen.runs.extractor import find_extractor

sys.path.insert(0, str(report.PEERS))
from epoch import timed
from quality import SETTINGS, add_settings

SCRIPTS = {"tinygen": "tinygen_quality.py", "torch": "torch_quality.py"}


def trained(peer: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """What a training tells: seconds, steps, version, settings; read if it has been done."""
    folder = options.out / f"{peer}-{seed}"
    settings = {name: getattr(options, name) for name in SETTINGS}
    note = folder / "training.json"
    if note.is_file():
        found = json.loads(note.read_text(encoding="utf-8"))
        if found["settings"] != settings:
            raise report.PeerError(
                f"{folder} holds a training with {found['settings']}, not {settings}; give another "
                "--out"
            )
        return found
    command = [report.interpreters(options)(peer), str(report.PEERS / SCRIPTS[peer])]
    command += ["--data", str(options.data), "--seed", str(seed), "--out", str(folder)]
    for name, value in settings.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    _, words, peak = timed(command)
    answer = json.loads(words.strip().splitlines()[-1])
    found = {"settings": settings, "seed": seed, "bytes": peak, **answer}
    report.write(note, found)
    return found


def measured(
    folder: Path, extractor: Any, data: Any, references: dict[int, metrics.Reference]
) -> dict[str, Any]:
    """The measures of a folder's images; read if they have been taken of these very images.

    references: by how many images are measured; one that is missing is made.
    """
    note = folder / "quality.json"
    with np.load(folder / "images.npz") as file:
        images = file["images"]
    taken = {
        "images": hashlib.sha256(images.tobytes()).hexdigest(), "data": data.fingerprint,
        "classifier": extractor.sha256, "measures": metrics.report.QUALITY_VERSION,
    }  # fmt: skip
    if note.is_file():
        found = json.loads(note.read_text(encoding="utf-8"))
        if found["taken"] == taken:
            return found
    if len(images) not in references:
        references[len(images)] = metrics.Reference(
            extractor, data.images, data.test.images, len(images)
        )
    found = references[len(images)].measure(images).describe()
    report.write(note, {"taken": taken, **found})
    return found


def quality(
    folders: dict[str, Path], peers: dict[str, list[str]], data: Any, extractor: Any
) -> dict[str, Any]:
    """Every folder's measures as a table, and the medians of each peer's."""
    references: dict[int, metrics.Reference] = {}
    found = {
        name: measured(folder, extractor, data, references) for name, folder in folders.items()
    }
    first = next(iter(found.values()))
    columns = [m["name"] for m in first["measures"]]
    rows = [["floor", *(_number(m["floor"]) for m in first["measures"])]]
    for name, one in found.items():
        rows.append([name, *(_number(m["value"]) for m in one["measures"])])
    print(f"measured with {extractor}")
    print(report.table(["images", *columns], rows))
    first_of = {name: one["measures"][0]["value"] for name, one in found.items()}
    medians = {
        peer: statistics.median(first_of[name] for name in names) for peer, names in peers.items()
    }
    print("median", columns[0], medians)
    return {"each": found, "medians": medians}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the folder with MNIST's IDX files")
    add("--out", type=Path, required=True, help="where the trainings go")
    add("--peers", default=",".join(SCRIPTS), help="some of %(default)s")
    add("--seeds", default="0,1,2", help="with commas between (%(default)s)")
    add_settings(parser)
    add("--also", default=[], action="append", metavar="NAME=FOLDER", help="with an images.npz")
    add("--python-torch", metavar="PATH", help="the interpreter that has torch")
    add("--quick", action="store_true", help="a smoke test: one epoch, one seed, an eighth as wide")
    options = parser.parse_args()
    options.peers = options.peers.split(",")
    wrong = [peer for peer in options.peers if peer not in SCRIPTS]
    if wrong:
        parser.error(f"--peers: {', '.join(wrong)}, expected some of {', '.join(SCRIPTS)}")
    try:
        options.seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds: {options.seeds}, expected numbers with commas between")
    if not options.data.is_dir():
        parser.error(f"--data: {options.data} is no folder")
    if options.quick:
        options.epochs, options.width, options.images = 1, 0.125, 500
        options.seeds = options.seeds[:1]
    return options


def main() -> int:
    options = arguments()
    machine = report.machine()
    print(report.describe(machine))
    data = tg.data.load(options.data)
    extractor = find_extractor(data)  # missing ones are told before hours of training
    rows: list[list[str]] = []
    folders: dict[str, Path] = {}
    peers: dict[str, list[str]] = {}
    trainings: dict[str, Any] = {}
    for seed in options.seeds:  # the peers in turn
        for peer in options.peers:
            try:
                found = trained(peer, seed, options)
            except report.Missing as error:
                print(f"SKIPPED {peer}: not installed ({error})")
                continue
            name = f"{peer}, seed {seed}"
            folders[name] = options.out / f"{peer}-{seed}"
            peers.setdefault(peer, []).append(name)
            kept = ("seconds", "steps", "bytes", "version")
            trainings[name] = {key: found[key] for key in kept}
            ms = 1e3 * found["seconds"] / found["steps"]
            rows.append([
                name, f"{found['seconds']:.0f} s", f"{ms:.0f}",
                report.megabytes(found["bytes"]), found["version"],
            ])  # fmt: skip
    print(report.table(["training", "took", "ms a step", "peak", "version"], rows))
    for other in options.also:
        name, _, folder = other.partition("=")
        folders[name] = Path(folder)
    if folders:
        about = {
            "format": 1, "machine": machine, "data": data.fingerprint, "trainings": trainings,
            "settings": {name: getattr(options, name) for name in SETTINGS},
        }  # fmt: skip
        found = quality(folders, peers, data, extractor)
        report.write(options.out / "quality.json", {**about, **found})
    return 0


if __name__ == "__main__":
    report.run(main)
