"""A peer's process: it prepares one training step, then waits for a line saying what to do.

    python bench/peers/torch_step.py '{"model": "gan", "batch": 64}'

One line of JSON on standard input, one on standard output. While a worker waits, it blocks in a
read and takes no processor time, so the peers of a comparison can live side by side and work in
turn.

| line                          | answer                                                          |
|-------------------------------|-----------------------------------------------------------------|
| (at the start)                | {"ready": about}: the first step is done                        |
| {"do": "run", "steps": k}     | {"ms": milliseconds a step, "losses": of the last step}         |
| {"do": "losses", "steps": k}  | {"losses": of each of k steps with the noise of the workload}   |
| {"do": "memory"}              | {"process": peak bytes so far, "step": bytes of arrays, or null,|
|                               |  "temporaries": bytes, or null}                                 |
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from workload import Workload, from_json


@dataclass
class Peer:
    """A training step of one framework.

    Attributes:
        step: (batch, noise) -> losses, as floats or as numbers on a device that `float` reads; it
            draws its own noise where that is None.
        batches: what `step` takes, already tensors of the framework.
        tensor: a NumPy array as a tensor of the framework.
        memory: bytes of the arrays alive at the peak of a step, weights and Adam's moments
            included; None where the framework does not tell.
        temporaries: bytes that the compiled step sets aside for what lives within it; None where
            nothing is planned ahead.
        about: versions, threads, and the ways chosen; asked after the first step.
    """

    step: Callable[[Any, Any], tuple[Any, ...]]
    batches: list[Any]
    tensor: Callable[[np.ndarray], Any]
    memory: Callable[[], int | None] = lambda: None
    temporaries: Callable[[], int | None] = lambda: None
    about: Callable[[], dict[str, Any]] = dict


def channel() -> Callable[[dict[str, Any]], None]:
    """What sends an answer; whatever a framework prints goes to standard error from now on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    return say


def serve(build: Callable[[Workload], Peer]) -> None:
    """Build the step that the command line describes, and answer until the input ends."""
    say = channel()
    workload = from_json(json.loads(sys.argv[1]))
    try:
        peer = build(workload)
        if workload.dtype == "float32":  # a comparison must count from the first weights
            read(peer.step(peer.batches[0], None))
    except ImportError as error:
        return say({"missing": str(error)})
    say({"ready": {"python": platform.python_version(), **peer.about()}})
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "run":
            say(run(peer, request["steps"]))
        elif request["do"] == "losses":
            noise = [peer.tensor(z) for z in workload.noise(request["steps"])]
            batches = [peer.batches[i % len(peer.batches)] for i in range(len(noise))]
            say({"losses": [read(peer.step(*both)) for both in zip(batches, noise, strict=True)]})
        else:
            process = peak_memory()
            planned = peer.temporaries()
            say({"process": process, "step": peer.memory(), "temporaries": planned})
    return None


READ_EVERY = 25  # steps; a step on the processor has read its losses by itself


def read(losses: tuple[Any, ...]) -> list[float]:
    """Losses as floats; waits for a device."""
    return [float(loss) for loss in losses]


def run(peer: Peer, steps: int) -> dict[str, Any]:
    """Milliseconds a step, over `steps` of them."""
    gc.collect()
    step, batches, losses = peer.step, peer.batches, []
    start = time.perf_counter()
    for i in range(steps):
        out = step(batches[i % len(batches)], None)
        if i % READ_EVERY == READ_EVERY - 1 or i == steps - 1:
            losses = read(out)
    took = time.perf_counter() - start
    if not losses or not np.isfinite(losses).all():
        raise FloatingPointError(f"losses {losses} after {steps} steps")
    return {"ms": 1e3 * took / steps, "losses": losses}


def peak_memory() -> int | None:
    """The most memory that this process ever held (VmHWM), in bytes; None where unknown."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(row.split()[1]) for row in lines if row.startswith("VmHWM")), None)


def blas_core() -> str:
    """The kernels that NumPy's BLAS chose for this processor, or how it was built."""
    try:
        from threadpoolctl import threadpool_info

        found = {i.get("architecture") for i in threadpool_info() if i["user_api"] == "blas"}
        if found - {None}:
            return ", ".join(sorted(found - {None}))
    except ImportError:
        pass
    for library in Path(np.__file__).parent.parent.glob("numpy.libs/*openblas*"):
        try:
            name = ctypes.CDLL(str(library)).scipy_openblas_get_corename64_
        except (OSError, AttributeError):
            continue
        name.restype = ctypes.c_char_p
        return str(name().decode())
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index]
    return str(blas.get("openblas configuration", blas.get("name", "unknown")))
