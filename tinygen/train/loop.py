"""The training loop: `fit` trains a model on data and leaves a run."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..backend import use_backend
from ..data import Dataset
from ..data.files import printable
from ..models import Model, Stage, feed
from ..nn import BatchNorm
from ..optim import Course
from ..runs import Run, RunFolder
from ..runs.files import FORMAT
from ..signals import Interrupt
from ..version import __version__
from . import divergence
from . import resume as resuming
from .checkpoint import Position
from .divergence import Diverged
from .hooks import HEADLINES, Checkpoints, Hook, Log, Measures, Pictures, Progress
from .parts import Parts, adopt
from .progress import Silent, choose, clock
from .session import Session, check_fit, check_labels
from .settings import Schedule, Settings

__all__ = ["HEADLINES", "Diverged", "Session", "Settings", "check_labels", "fit"]

CHECKPOINT_EVERY = 60.0  # seconds, within an epoch


def run(session: Session, hooks: Sequence[Hook], stop: Interrupt) -> bool:
    """Train to the last epoch; False if interrupted before it."""
    session.begin()
    while session.more():
        for hook in hooks:
            hook.epoch_begins(session)
        with session.epoch_batches() as batches:
            for batch in batches:
                session.step(batch)
                due = stop.requested or session.unsaved_for() > CHECKPOINT_EVERY
                if not (due or session.reads_now()):
                    continue
                losses = session.read()
                divergence.refuse_losses(session, losses)
                for hook in hooks:
                    hook.stepped(session, losses)
                if due and not session.at_epoch_end:
                    divergence.refuse_weights(session)
                    for hook in hooks:
                        hook.pausing(session)
                    if stop.requested:
                        return False
        epoch = session.end_epoch()
        for hook in hooks:
            hook.epoch_ended(session, epoch)
        if stop.requested and not session.done:
            return False
    return True


def fit(
    model: Model,
    data: Dataset | Mapping[str, Dataset],
    epochs: int | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    lr: float | None = None,
    schedule: Schedule | None = None,
    warmup: int | None = None,
    ema: float | None = None,
    clip: float | None = None,
    compiled: bool = True,
    evaluate_every: int = 0,
    classifier: str | os.PathLike[str] | None = None,
    parts: Parts | None = None,
    resume: bool = False,
    progress: bool | str = True,
) -> Run:
    """Train `model` on `data` and return the run; what the command line calls.

    The same seed gives the same bits on one machine with the same NumPy and number of BLAS
    threads. Every epoch the run folder `out` (None: nothing is written) gets a checkpoint,
    samples.png and a line of the log; see RunFolder. Every `evaluate_every` epochs the measures of
    2,000 drawn images are logged, and the checkpoint with the lowest KID is kept as the best.
    `parts` gives attributes of the model the weights that other runs have, {"encoder": "runs/a"};
    stages that would learn nothing but these are left out. With
    `resume` the training in `out` goes on where its newest checkpoint left it, and ends with the
    same bits as if it had never stopped.
    Ctrl-C (or interrupting the kernel of a notebook), SIGTERM, SIGHUP and SIGXCPU end the current
    step, save, and return the run with `interrupted` set. See Settings for the other arguments;
    None takes the model's own.

    Raises:
        ValueError: for settings out of range, or data that do not fit the model.
        FileExistsError: if `out` holds something and `resume` is False.
        lock.HeldError: (an OSError) while another training runs in `out`.
        OSError: if a file cannot be written; the folder keeps what was saved before.
        Diverged: if a loss was not finite; the folder keeps the last good checkpoint.
    """
    sets: Any = data if isinstance(data, Mapping) else {"train": data}
    known = all(isinstance(x, Dataset) for x in sets.values()) and "train" in sets
    if not isinstance(model, Model) or not known:
        raise TypeError(
            f"fit: got {type(model).__name__} and {type(data).__name__}; expected a model such as "
            "models.VAE(data.shape), and data from tinygen.data.load(...), or several by name, of "
            'which one is "train"'
        )
    if resume and out is None:
        raise ValueError("fit: resume=True needs the folder of the run, out=...")
    last = model.stages()[-1]
    batch_size = _batch_size(model, sets, batch_size)
    epochs = last.epochs if epochs is None else epochs
    course: Any = last.course or Course()
    own = {"schedule": course.kind, "warmup": course.warmup, "ema": last.ema, "clip": last.clip}
    given = {"schedule": schedule, "warmup": warmup, "ema": ema, "clip": clip}
    settled: Any = {k: own[k] if v is None else v for k, v in given.items()}
    measuring = None if classifier is None else os.path.abspath(classifier)
    settings = Settings(
        epochs=epochs, batch_size=batch_size, seed=seed, lr=lr, compiled=compiled,
        evaluate_every=evaluate_every, classifier=measuring,
        asked_warmup=bool(warmup) and warmup == course.warmup, **settled,
    )  # fmt: skip
    folder = None if out is None else RunFolder(out)
    with use_backend(model.backend.name):
        return _fit(model, sets, settings, parts or {}, folder, resume, choose(progress))


def _batch_size(model: Model, sets: Mapping[str, Dataset], asked: int | None) -> int:
    """The batch size of the last stage; ValueError where the data are too few for the model."""
    stages = model.stages()
    for stage in stages:
        check_fit(model, stage, sets)
    entries, last = min(feed.length(stage.reads, sets) for stage in stages), stages[-1]
    if entries < last.batches_per_step:
        raise ValueError(
            f"fit: {sets['train'].name!r} has {entries} images, and a step of {model.name} takes "
            f"{last.batches_per_step} batches (critic_steps); give more images, or fewer steps"
        )
    size = last.batch_size if asked is None else asked
    size = min(size, feed.length(last.reads, sets) // last.batches_per_step)
    if size < 2 and any(isinstance(m, BatchNorm) for m in model.named_modules().values()):
        raise ValueError(
            f"fit: {model.name} normalises over the images of a batch, so it needs 2 or more in "
            f"each; {sets['train'].name!r} has {entries}, batch_size is {size}; give more images"
        )
    return size


def _fit(
    model: Model, sets: Mapping[str, Dataset], settings: Settings, parts: Parts,
    folder: RunFolder | None,
    go_on: bool, show: Silent,
) -> Run:  # fmt: skip
    began = time.perf_counter()
    with Interrupt() as interrupt, contextlib.ExitStack() as stack:
        session = Session(model, sets, settings, adopt(model, parts))
        hooks = _hooks(folder, show)
        if folder is not None:
            _enter(session, folder, go_on, stack, show)
        first, begun = replace(session.state.position), session.done
        try:
            with np.errstate(all="ignore"), show:
                interrupted = not run(session, hooks, interrupt)
                if interrupted:
                    show.say(resuming.stopped(session, folder))
        except (OSError, KeyboardInterrupt):
            if folder is not None:
                again = resuming.go_on(session, folder)
                show.say(f"stopped; what was saved before is kept. {again}")
            raise
        if not interrupted:
            _say_end(session, folder, first, begun, time.perf_counter() - began, show)
        session.end()
        history = session.history if folder is None else folder.read_log()
    return Run(
        model, folder=folder, history=history, data=session.data.describe(),
        interrupted=interrupted, seconds=time.perf_counter() - began, seed=settings.seed,
        signal=interrupt.number if interrupted else 0,
    )  # fmt: skip


def _hooks(folder: RunFolder | None, show: Silent) -> list[Hook]:
    """What happens beside the updates; the checkpoint says how long the log is and comes last."""
    log = Log(folder)
    sheets = [] if folder is None else [Pictures(folder, show)]
    return [log, Progress(show), Measures(log, show), *sheets, Checkpoints(folder)]


def _enter(
    session: Session, folder: RunFolder, go_on: bool, stack: contextlib.ExitStack, show: Silent
) -> None:
    """Keep other trainings out of the folder from now on; begin there, or go on."""
    config = configuration(session)
    if not stack.enter_context(folder.training(None if go_on else config)):
        show.say(
            f"note: the file system of {folder.path} has no locks; let no other training run there"
        )
    if go_on:
        for note in resuming.resume(session, folder, config):
            show.say(note)
        folder.write_config({**config, "parts": session.parts} if session.parts else config)


def _say_end(
    session: Session, folder: RunFolder | None, first: Position, was_done: bool, seconds: float,
    show: Silent,
) -> None:  # fmt: skip
    """Say what was trained and how long it took, or that there was nothing left to do."""
    epochs = session.settings.epochs

    def counted(n: int, stage: Stage) -> str:
        return f"{n} epoch{'s' * (n != 1)}" + (f" of {stage.name}" if session.named else "")

    if folder is not None and was_done:
        again = resuming.command(session, folder)
        show.say(
            "nothing was left to train: the run has done its "
            f"{counted(epochs, session.stage)}; more with:\n  {again} --epochs {2 * epochs}"
        )
        return
    stages = session.stages[first.stage :]
    counts = [*(stage.epochs for stage in stages[:-1]), epochs]
    counts[0] -= first.epoch
    done = " and ".join(map(counted, counts, stages))
    in_all = f", {epochs} in all" if first.epoch and len(stages) == 1 else ""
    show.say(f"trained {done} in {clock(seconds)}{in_all}")


def configuration(session: Session) -> dict[str, Any]:
    """What config.json says."""
    model, data, settings = session.model, session.data, session.settings
    more = {k: v.describe() for k, v in session.sets.items() if k != "train"}
    sha256 = None if session.gauge is None else session.gauge.extractor.sha256
    return {
        "format": FORMAT,
        "model": model.describe(),
        "data": data.describe(),
        **({"more_data": more} if more else {}),
        **({"parts": session.parts} if session.parts else {}),
        "training": asdict(settings),
        "classifier": sha256,
        "versions": {
            "tinygen": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "backend": f"{model.backend.name} {model.backend.precision}",
            "threads": {
                k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")
            },
        },
        "command": [printable(w) for w in (os.path.basename(sys.argv[0]), *sys.argv[1:])],
    }  # fmt: skip
