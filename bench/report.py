"""What the measuring programs share: peers' processes, rounds in turn, a record and a picture."""

from __future__ import annotations

import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parent / "peers"
RESULTS = Path(__file__).parent / "results"
FORMAT = 1  # of the JSON records
# Settings that pin NumPy's BLAS to the kernels or cache of another machine: never in a comparison.
PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class PeerError(RuntimeError):
    """A peer's process ended, or answered nothing; holds the end of what it wrote."""


class Missing(RuntimeError):  # noqa: N818  (it is no error: the peer is left out)
    """The peer's framework is not installed in its environment."""


def run(main: Callable[[], int]) -> None:
    """End with main's exit status, or with what a peer said that failed."""
    try:
        sys.exit(main())
    except PeerError as error:
        sys.exit(f"error: {error}")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a peer: this one, without what pins a BLAS."""
    kept = {name: value for name, value in os.environ.items() if name not in PINS}
    return {**kept, **(extra or {})}


class Worker:
    """A process that prepares something and then does what it is told; see peers/worker.py.

    Args:
        python: the interpreter with the framework.
        script: a file of peers/.
        arguments: what to prepare, given as JSON.
        extra: environment variables to set.

    Raises:
        Missing: the framework is not installed there.
        PeerError: the process ended.
    """

    def __init__(
        self, python: str, script: str, arguments: Mapping[str, Any],
        extra: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        start = time.perf_counter()
        self.script, self._noise = script, bytearray()
        try:
            self._process = subprocess.Popen(
                [python, str(PEERS / script), json.dumps(dict(arguments))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=environment(extra),
            )  # fmt: skip
        except OSError as error:
            raise PeerError(f"{script}: cannot start {python}: {error.strerror}") from None
        threading.Thread(target=self._listen, daemon=True).start()
        answer = self._answer()
        if "missing" in answer:
            self.close()
            raise Missing(answer["missing"])
        self.about: dict[str, Any] = answer["ready"]
        self.first_step_s = time.perf_counter() - start  # from the start of the process

    def _listen(self) -> None:
        """Keep the end of what the process prints, for an error message."""
        for line in self._process.stderr or ():
            self._noise += line
            del self._noise[:-4000]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            time.sleep(0.1)  # for the last words
            words = self._noise.decode(errors="replace").strip()
            if "ModuleNotFoundError" in words:
                raise Missing(words.splitlines()[-1])
            raise PeerError(f"{self.script} ended ({self._process.returncode}):\n{words}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer says why
        return self._answer()

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def in_turn(
    workers: Mapping[str, Worker], rounds: int, seconds: float, pause: float = 0.3
) -> dict[str, list[float]]:
    """Milliseconds a step in each round, by name.

    In a round each worker runs for about `seconds`, the others blocked; the order is another in
    every round, and a pause lets the threads of the one before fall asleep (OpenMP spins 0.2 s).
    """
    steps = {}
    for name, worker in workers.items():
        guess = worker.ask(do="run", steps=3)["ms"]
        for share in (0.1, 0.5):  # warm, and long enough to tell how many steps a round takes
            time.sleep(pause)
            guess = worker.ask(do="run", steps=max(3, math.ceil(1e3 * share * seconds / guess)))[
                "ms"
            ]
        steps[name] = max(3, math.ceil(1e3 * seconds / guess))
    names = list(workers)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in random.Random(number).sample(names, len(names)):
            time.sleep(pause)
            taken[name].append(workers[name].ask(do="run", steps=steps[name])["ms"])
    return taken


# ---- the record ----------------------------------------------------------------------------------


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine() -> dict[str, Any]:
    """What the figures depend on, as far as Python can tell."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        flags = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": cores,
        "vectors": [name for name in ("avx2", "fma", "avx512f", "asimd", "sve") if name in flags],
        "load": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "settings": {
            name: value
            for name, value in sorted(environment().items())
            if name.endswith("_NUM_THREADS") or name.startswith(("OPENBLAS_", "XLA_", "GOMP_"))
        },
        "date": time.strftime("%Y-%m-%d"),
    }


def describe(found: Mapping[str, Any]) -> str:
    """One line about the machine."""
    vectors = f", {', '.join(found['vectors'])}" if found["vectors"] else ""
    settings = "".join(f", {name}={value}" for name, value in found["settings"].items())
    load = f", load {found['load'][0]}" if found["load"] else ""
    return (
        f"{found['system']}, {found['processor']}, {found['cores']} cores{vectors}{settings}{load}"
    )


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, its format number first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, **record}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"wrote {path}")


def ratio(theirs: Sequence[float], mine: Sequence[float]) -> float:
    """The median over the rounds of one time over another of the same round."""
    return statistics.median(a / b for a, b in zip(theirs, mine, strict=True))


def megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:.0f} MB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell; the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def bars(path: Path, groups: Mapping[str, Mapping[str, float]], unit: str, title: str) -> None:
    """A picture with a panel for each group and a bar for each of its entries."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    colours = {name: f"C{i}" for i, name in enumerate(names)}
    columns = min(3, len(groups))
    lines = math.ceil(len(groups) / columns)
    height = 0.9 + 0.28 * len(names)
    figure, axes = plt.subplots(
        lines, columns, squeeze=False, layout="constrained",
        figsize=(4 * columns, height * lines + 0.3),
    )  # fmt: skip
    for axis in list(axes.flat)[len(groups) :]:
        axis.set_visible(False)
    for axis, (label, group) in zip(axes.flat, groups.items(), strict=False):
        drawn = axis.barh(list(group), list(group.values()), color=[colours[n] for n in group])
        axis.bar_label(drawn, fmt="%.3g", padding=2, fontsize=8)
        axis.invert_yaxis()
        axis.margins(x=0.15)
        axis.set_title(label, fontsize=10)
        axis.set_xlabel(unit, fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"wrote {path}")


def interpreters(options: Any) -> Callable[[str], str]:
    """The interpreter that runs a peer: --python-torch for "torch-compile" and so on."""
    return lambda peer: getattr(options, f"python_{peer.split('-')[0]}", None) or sys.executable
