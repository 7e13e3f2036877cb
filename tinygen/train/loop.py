"""The training loop: `fit` trains a model on data and leaves a run."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import optim
from ..backend import use_backend
from ..data import Batch, Dataset
from ..data.dataset import scaled
from ..data.files import printable
from ..graph import no_grad
from ..io import Arrays
from ..metrics import Quality, collapsed
from ..models import VAE, Classifier, Model
from ..models.prior import PICTURES
from ..nn import BatchNorm
from ..plan import compile
from ..program import resume_command
from ..random import Generator
from ..signals import Interrupt
from ..tensor import Tensor
from ..testing import finite_checks
from ..version import __version__
from . import pictures
from .checkpoint import Position, State, describe_model, save_model, without_paths
from .evaluate import Gauge
from .extractor import find_extractor
from .files import FORMAT
from .folder import RunFolder
from .progress import Silent, choose, clock
from .resident import Resident, fits
from .run import Run

LOG_EVERY = 50  # steps
READ_EVERY = 25  # steps, on a device: reading a loss waits for it
CHECKPOINT_EVERY = 60.0  # seconds, within an epoch
VALIDATION_IMAGES = 2000
VALIDATION_BATCH = 500  # of them at a time: a convolution's layers are large
TOLD = ("FID", "KID", "precision", "coverage")
QUALITY_IMAGES = 2000  # drawn, and of each split, when images are measured during training
SCHEDULES = ("constant", "cosine", "linear")


class Diverged(RuntimeError):  # noqa: N818  (it is what happened)
    """A loss was not finite; says which operation, line and tensor, and what to try."""


@dataclass(frozen=True)
class Settings:
    """How to train, besides the model and the data.

    Attributes:
        epochs: passes over the data in all.
        batch_size: images an update; what an epoch has left for no whole step is left out.
        seed: of the order of the images, the fixed noise of the pictures, and validation.
        lr: learning rate; None for the model's own.
        schedule: "constant", "cosine" or "linear" decay to 0 over all epochs.
        warmup: steps over which the learning rate rises linearly from 0.
        ema: decay of an exponential moving average of the weights, used for drawing; 0 for none.
            It grows from 0.1 to that, min(decay, (1 + step) / (10 + step)): else pictures
            would long be of the first weights, which are noise.
        compiled: whether a step runs as a plan (see tinygen.compile); it rounds differently.
        evaluate_every: measure what the model draws after so many epochs; 0 for never.
        classifier: what to measure with, the path of a trained classifier; None for tinygen's own.
    """

    epochs: int
    batch_size: int
    seed: int = 0
    lr: float | None = None
    schedule: str = "constant"
    warmup: int = 0
    ema: float = 0.0
    compiled: bool = True
    evaluate_every: int = 0
    classifier: str | None = None

    def __post_init__(self) -> None:
        for name, ok, expected in (
            ("epochs", type(self.epochs) is int and self.epochs >= 1, "an integer of 1 or more"),
            ("batch_size", type(self.batch_size) is int and self.batch_size >= 1, "1 or more"),
            ("seed", 0 <= self.seed < 2**64, "from 0 to 2^64 - 1"),
            ("lr", self.lr is None or 0 < self.lr < np.inf, "above 0"),
            ("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
            ("warmup", self.warmup >= 0, "0 or more"),
            ("ema", 0 <= self.ema < 1, "from 0 up to, not including, 1"),
            (
                "evaluate_every",
                type(self.evaluate_every) is int and self.evaluate_every >= 0,
                "a number of epochs, or 0 for never",
            ),
            (
                "classifier",
                self.classifier is None or self.evaluate_every > 0,
                "None where nothing is measured: say how often (evaluate_every)",
            ),
        ):
            if not ok:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected {expected}")


class Training:
    """A training in progress: the state, the data, and one step."""

    def __init__(self, model: Model, data: Dataset, settings: Settings) -> None:
        _check_fit(model, data)
        self.model, self.data, self.settings = model, data, settings
        self.gauge = None
        if settings.evaluate_every:  # what is missing is told before the training, not after it
            extractor = find_extractor(data, settings.classifier)
            self.gauge = Gauge(model, data, extractor, real=QUALITY_IMAGES, seed=settings.seed)
        self.step_size = settings.batch_size * model.batches_per_step  # images
        self.batches = len(data) // self.step_size  # an epoch
        root = Generator(settings.seed)
        optimizers = model.optimizers(settings.lr)
        ema = optim.EMA(model.averaged(), settings.ema) if settings.ema else None
        noise = model.noise(pictures.sheet_size(model), root.stream(PICTURES)).numpy()
        self.state = State(model, optimizers, ema, Position(), noise)
        steps = settings.epochs * self.batches
        self.schedules = {
            name: optim.Schedule(o.lr, settings.schedule, steps, settings.warmup)
            for name, o in optimizers.items()
        }
        self.validation_rng: Callable[[], Generator] = lambda: root.stream("validation")
        self._update: Callable[..., dict[str, Tensor]] = self._plain_update
        if settings.compiled:
            self._update = compile(self._plain_update)
        self._range_checked = False
        self._rates: dict[str, float] = {}  # the learning rates that are set
        self.history: list[dict[str, Any]] = []  # what was logged since the start or the resume
        self._resident = Resident(model, data) if fits(model, data) else None
        self.read_every = 1 if model.backend.name == "numpy" else READ_EVERY
        self._unread: list[dict[str, Tensor]] = []  # losses of the steps since the last reading

    def epoch_batches(self) -> Any:
        """The batches that this epoch still has."""
        size, position = self.step_size, self.state.position
        where: dict[str, Any] = {
            "seed": self.settings.seed, "epoch": position.epoch, "start": position.batch
        }  # fmt: skip
        if self._resident is not None:
            return self._resident.batches(size, **where)
        return self.data.batches(size, value_range=self.model.value_range, **where)

    def step(self, batch: Batch) -> None:
        """One update; its losses are told by `read`."""
        state, position = self.state, self.state.position
        for name, optimizer in state.optimizers.items():
            lr = self.schedules[name].lr_at(position.step)
            if lr != self._rates.get(name):  # setting it moves a number to the device
                optimizer.lr = self._rates[name] = lr
        if state.ema is not None:
            decay = min(self.settings.ema, (1 + position.step) / (10 + position.step))
            if decay != self._rates.get("ema"):
                state.ema.set_decay(decay)
                self._rates["ema"] = decay
        images = self.model.place(batch.images)
        if not self._range_checked:  # it reads values, which a compiled step cannot
            self.model.check_images(images)
            self._range_checked = True
        labels = self.model.place(batch.labels) if self.model.conditional else None
        self._unread.append(self._update(images, labels))
        position.step += 1
        position.batch = batch.position + 1

    def read(self) -> list[dict[str, float]]:
        """The losses of each step since the last reading; waits until they are known."""
        sums, values = self.state.position.sums, []
        for numbers in self._numbers():
            values.append(dict(zip(self._unread[0], numbers, strict=True)))
            for name, value in values[-1].items():
                sums[name] = sums.get(name, 0.0) + value
        self._unread.clear()
        return values

    def _numbers(self) -> list[list[float]]:
        """The unread losses as numbers, in one reading."""
        arrays = [loss.data for losses in self._unread for loss in losses.values()]
        if not arrays:
            return []
        place = self.model.backend
        numbers: list[float] = place.to_host(place.xp.stack(arrays)).tolist()
        each = len(self._unread[0])
        return [numbers[i : i + each] for i in range(0, len(numbers), each)]

    def _plain_update(self, images: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
        """What is compiled: the model's own step, and the average of its weights."""
        losses = self.model.train_step(images, labels, self.state.optimizers)
        if self.state.ema is not None:
            self.state.ema.update()
        return losses

    def averages(self) -> dict[str, float]:
        """The mean of each loss over this epoch so far."""
        position = self.state.position
        return {k: v / max(position.batch, 1) for k, v in position.sums.items()}

    @no_grad()
    def validation(self) -> float | None:
        """The model's figure on held-out images, always the same ones with the same noise."""
        test = self.data.test
        if test is None:
            return None
        chosen, rng = pictures.some(test, VALIDATION_IMAGES), self.validation_rng()
        labels = test.labels if self.model.conditional else None
        total, figure = 0.0, None
        self.model.eval()
        for start in range(0, len(chosen), VALIDATION_BATCH):
            at = chosen[start : start + VALIDATION_BATCH]
            x = self.model.place(scaled(test.images[at], self.model.value_range))
            y = None if labels is None else self.model.place(labels[at])
            figure = self.model.validate(x, y, rng)
            if figure is None:
                break
            total += figure * len(at)
        self.model.train()
        return None if figure is None else total / len(chosen)

    def quality(self) -> Quality | None:
        """The measures of what the model draws, if they are due after the epoch just done.

        The same codes and the same real images every time.
        """
        every, epoch = self.settings.evaluate_every, self.state.position.epoch
        if self.gauge is None or epoch % every:
            return None
        with self.drawing_weights():
            return self.gauge.measure()

    def rank(self, validation: float | None, measured: Quality | None) -> float | None:
        """What the best epoch has least of: KID if it is measured, else the held-out figure."""
        if self.gauge is not None:
            return None if measured is None else measured["KID"].value
        if validation is None:
            return None
        return -validation if self.model.higher_is_better else validation

    def drawing_weights(self) -> Any:
        """A `with` block in which the model has the weights to draw with (the average, if any)."""
        return contextlib.nullcontext() if self.state.ema is None else self.state.ema.swapped()

    def explain(self, good: Arrays, failed_step: int) -> str:
        """Go back to a good state, repeat up to the failed step, and say what went wrong there."""
        bad = self.state.non_finite()
        self.state.restore(good)
        self._rates.clear()
        self._unread.clear()
        position = self.state.position
        try:
            while position.step < failed_step:
                if position.batch == self.batches:
                    position.epoch, position.batch, position.sums = position.epoch + 1, 0, {}
                with self.epoch_batches() as batches:
                    for batch in batches:
                        if position.step < failed_step - 2:
                            self.step(batch)
                        else:  # the step before may have left a weight that is not finite
                            with finite_checks():
                                self.step(batch)
                        if position.step >= failed_step:
                            break
        except FloatingPointError as error:
            return str(error)
        finally:
            self.state.restore(good)
        said = "no operation: from the last good state on, all results are finite when repeated"
        if bad:  # it was written into them from outside
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            said += f"; what held NaN or infinity is {', '.join(bad[:5])}{more}"
        return said


def _check_fit(model: Model, data: Dataset) -> None:
    if tuple(model.shape) != tuple(data.shape):
        raise ValueError(
            f"the model {model.name} is for images of shape {model.shape}, the data "
            f"{data.name!r} has {data.shape}; build the model with data.shape, or load the data "
            "with size= and channels="
        )
    check_labels(type(model), data)
    if model.conditional:
        assert data.labels is not None
        if data.test is not None and data.test.labels is None:
            raise ValueError(
                f"the held-out images of {data.name!r} have no labels, which {model.name} needs; "
                "add them, or remove the held-out images"
            )
        top = int(data.labels.max())
        if top >= model.classes:
            raise ValueError(
                f"{data.name!r} has labels up to {top}, the model {model.name} has "
                f"{model.classes} classes; build it with classes={top + 1} or more"
            )


def check_labels(kind: type[Model], data: Dataset) -> None:
    """Refuse data without labels for a model that goes by them."""
    if kind.conditional and data.labels is None:
        raise ValueError(
            f"{kind.name} is {'conditioned on' if kind.generates else 'trained with'} "
            f"labels, and {data.name!r} has none; use a folder with a sub-folder for each class"
            + (f", or train {kind.name.removeprefix('c')}" if kind.generates else "")
        )
    if kind.conditional and data.classes is not None and len(data.classes) < 2:
        raise ValueError(
            f"{kind.name} learns to tell classes apart, and {data.name!r} has only one: "
            f"{data.classes[0]!r}; use a folder with a sub-folder for each of several classes"
            + (f", or train {kind.name.removeprefix('c')}" if kind.generates else "")
        )


def configuration(training: Training) -> dict[str, Any]:
    """What config.json says."""
    model, data, settings = training.model, training.data, training.settings
    sha256 = None if training.gauge is None else training.gauge.extractor.sha256
    return {
        "format": FORMAT,
        "model": describe_model(model),
        "data": data.describe(),
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


def fit(
    model: Model,
    data: Dataset,
    epochs: int | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    lr: float | None = None,
    schedule: str = "constant",
    warmup: int = 0,
    ema: float | None = None,
    compiled: bool = True,
    evaluate_every: int = 0,
    classifier: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool | str = True,
) -> Run:
    """Train `model` on `data` and return the run; what the command line calls.

    The same seed gives the same bits on one machine with the same NumPy and number of BLAS
    threads. Every epoch the run folder `out` (None: nothing is written) gets a checkpoint,
    samples.png and a line of the log; see RunFolder. Every `evaluate_every` epochs the measures of
    2,000 drawn images are logged, and the checkpoint with the lowest KID is kept as the best. With
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
    if not isinstance(model, Model) or not isinstance(data, Dataset):
        raise TypeError(
            f"fit: got {type(model).__name__} and {type(data).__name__}; expected a model such as "
            "models.VAE(data.shape), and data from tinygen.data.load(...)"
        )
    if resume and out is None:
        raise ValueError("fit: resume=True needs the folder of the run, out=...")
    if len(data) < model.batches_per_step:
        raise ValueError(
            f"fit: {data.name!r} has {len(data)} images, and a step of {model.name} takes "
            f"{model.batches_per_step} batches (critic_steps); give more images, or fewer steps"
        )
    epochs = model.epochs if epochs is None else epochs
    batch_size = model.batch_size if batch_size is None else batch_size
    batch_size = min(batch_size, len(data) // model.batches_per_step)
    if batch_size < 2 and any(isinstance(m, BatchNorm) for m in model.named_modules().values()):
        raise ValueError(
            f"fit: {model.name} normalises over the images of a batch, so it needs 2 or more in "
            f"each; {data.name!r} has {len(data)}, batch_size is {batch_size}; give more images"
        )
    ema = model.ema if ema is None else ema
    judge = None if classifier is None else os.path.abspath(classifier)
    settings = Settings(
        epochs, batch_size, seed, lr, schedule, warmup, ema, compiled, evaluate_every, judge
    )
    folder = None if out is None else RunFolder(out)
    with use_backend(model.backend.name):
        return _fit(model, data, settings, folder, resume, choose(progress))


def _fit(
    model: Model, data: Dataset, settings: Settings, folder: RunFolder | None, resume: bool,
    show: Silent,
) -> Run:  # fmt: skip
    began = time.perf_counter()
    with Interrupt() as interrupt, contextlib.ExitStack() as stack:
        training = Training(model, data, settings)
        if folder is not None:
            _enter(training, folder, resume, stack, show)
        first = training.state.position.epoch
        try:
            with np.errstate(all="ignore"), show:
                interrupted = not _run(training, folder, interrupt, show)
        except (OSError, KeyboardInterrupt):
            if folder is not None:
                show.say(f"stopped; what was saved before is kept. {_go_on(training, folder)}")
            raise
        if not interrupted:
            _tell_end(training, folder, first, time.perf_counter() - began, show)
        if training.state.ema is not None:
            training.state.ema.copy_to_model()
        model.eval()
        history = training.history if folder is None else folder.read_log()
    return Run(
        model, folder=folder, history=history, data=data.describe(), interrupted=interrupted,
        seconds=time.perf_counter() - began, seed=settings.seed,
        signal=interrupt.number if interrupted else 0,
    )  # fmt: skip


def _enter(
    training: Training, folder: RunFolder, resume: bool, stack: contextlib.ExitStack, show: Silent
) -> None:
    """Keep other trainings out of the folder from now on; begin there, or go on."""
    config = configuration(training)
    if not stack.enter_context(folder.training(None if resume else config)):
        show.say(
            f"note: the file system of {folder.path} has no locks; let no other training run there"
        )
    if resume:
        for note in _resume(training, folder, config):
            show.say(note)
        folder.write_config(config)


def _tell_end(
    training: Training, folder: RunFolder | None, first: int, seconds: float, show: Silent
) -> None:
    """Say how long it took, or that there was nothing left to do."""
    epochs = training.settings.epochs
    if folder is not None and first == epochs:
        again = _resume_command(training, folder)
        show.say(
            f"nothing was left to train: the run has done its {epochs} epochs; more with:\n"
            f"  {again} --epochs {2 * epochs}"
        )
        return
    count = epochs - first
    in_all = f", {epochs} in all" if first else ""
    show.say(f"trained {count} epoch{'s' * (count != 1)} in {clock(seconds)}{in_all}")


def _run(training: Training, folder: RunFolder | None, stop: Interrupt, show: Silent) -> bool:
    """Train to the last epoch; False if interrupted before it."""
    model, position = training.model, training.state.position
    good = training.state.capture()  # the newest state known to be finite
    planned = told = False
    saved = time.perf_counter()
    model.train()
    while position.epoch < training.settings.epochs:
        show.start(
            position.epoch + 1, training.settings.epochs, training.batches, position.batch,
            training.step_size,
        )  # fmt: skip
        with training.epoch_batches() as batches:
            for batch in batches:
                if not planned and training.settings.compiled:
                    show.compiling()
                planned = True
                training.step(batch)
                due = stop.asked or time.perf_counter() - saved > CHECKPOINT_EVERY
                whole = position.step % training.read_every == 0
                if not (due or whole or position.batch == training.batches):
                    continue
                values = training.read()
                for step, losses in enumerate(values, position.step - len(values) + 1):
                    if not all(np.isfinite(v) for v in losses.values()):
                        raise _diverged(training, good, losses, step)
                show.step(values[-1], len(values))
                if position.step % LOG_EVERY == 0:
                    _log(training, folder, {"kind": "steps", "losses": values[-1]})
                if due and position.batch < training.batches:
                    _refuse_bad_weights(training, good)
                    good = _save(training, folder, best=False)
                    saved = time.perf_counter()
                    if stop.asked:
                        show.say(_how_to_go_on(training, folder))
                        return False
        _refuse_bad_weights(training, good)
        averages = training.averages()
        with training.drawing_weights():
            validation = training.validation()
        if validation is not None and not np.isfinite(validation):
            raise _diverged(training, good, {"held out": validation}, position.step)
        position.epoch, position.batch, position.sums = position.epoch + 1, 0, {}
        entry = {"kind": "epoch", "losses": averages, "validation": validation}
        _log(training, folder, entry)
        show.epoch(averages, validation, model.unit)
        measured = training.quality()
        if measured is not None:
            _tell_quality(training, folder, measured, show)
        rank = training.rank(validation, measured)
        best = rank is not None and (position.best is None or rank < position.best)
        if best:
            position.best = rank
        if folder is not None and not _draw(training, folder) and not told:
            told = True
            show.say(
                "  losses.png is not drawn without matplotlib: `pip install matplotlib`, and each "
                "epoch after that draws it"
            )
        good = _save(training, folder, best=best)
        saved = time.perf_counter()
        if stop.asked and position.epoch < training.settings.epochs:
            show.say(_how_to_go_on(training, folder))
            return False
    return True


def _refuse_bad_weights(training: Training, good: Arrays) -> None:
    """The losses come from the weights before the last update: look at those after it, too."""
    bad = training.state.non_finite()
    if bad:
        nan = {name: float("nan") for name in bad[:3]}
        raise _diverged(training, good, nan, training.state.position.step)


def _log(training: Training, folder: RunFolder | None, entry: dict[str, Any]) -> None:
    position = training.state.position
    entry = {"epoch": position.epoch, "step": position.step, **entry}
    training.history.append(entry)
    if folder is not None:
        position.log_bytes = folder.append_log(entry)


def _tell_quality(
    training: Training, folder: RunFolder | None, measured: Quality, show: Silent
) -> None:
    """Log the measures, show the most telling ones, and warn of mode collapse."""
    fault = collapsed(measured.classes, measured.floor_classes)
    entry = {
        "kind": "quality",
        "measures": {m.name: m.value for m in measured.measures},
        "floors": {m.name: m.floor for m in measured.measures},
        "collapsed": fault,
        "protocol": measured.protocol,
    }
    _log(training, folder, entry)
    told = (f"{k} {measured[k].value:.4g} (real {measured[k].floor:.4g})" for k in TOLD)
    show.say(f"  {measured.count:,} images drawn  {'  '.join(told)}")
    if fault:
        show.say(f"  warning: mode collapse: {fault}")


def _save(training: Training, folder: RunFolder | None, *, best: bool) -> Arrays:
    """Capture the state; write the checkpoint and the weights to draw with."""
    captured = training.state.capture()
    captured.metadata["data"] = without_paths(training.data.describe())
    captured.metadata["training"] = {**asdict(training.settings), "classifier": None}
    if folder is not None:
        folder.write_checkpoint(captured, best=best)
        _save_weights(training, folder)
    return captured


def _save_weights(training: Training, folder: RunFolder) -> None:
    """model.safetensors: the weights to draw with."""
    position = training.state.position
    more = {
        "data": without_paths(training.data.describe()), "epoch": position.epoch,
        "step": position.step,
    }  # fmt: skip
    with training.drawing_weights():
        save_model(folder.model, training.model, more)


def _draw(training: Training, folder: RunFolder) -> bool:
    """The pictures of this epoch; False where the curves could not be drawn."""
    model, epoch = training.model, training.state.position.epoch
    with training.drawing_weights():
        text = {**pictures.note(model, training.settings.seed), "Epoch": epoch}
        if isinstance(model, Classifier):
            hardest = pictures.mistakes(model, training.data.test or training.data)
            hardest.save(folder.path / "mistakes.png", text)
        else:
            sheet = pictures.samples(model, training.state.fixed_noise)
            sheet.save(folder.path / "samples.png", text)
            folder.history.mkdir(parents=True, exist_ok=True)  # someone may have tidied up
            sheet.save(folder.history / f"samples-{epoch:04d}.png", text)
        if isinstance(model, VAE):
            held_out = training.data.test or training.data
            picture = pictures.reconstructions(model, held_out)
            picture.save(folder.path / "reconstructions.png", text)
    return pictures.save_losses(folder)


def _how_to_go_on(training: Training, folder: RunFolder | None) -> str:
    position = training.state.position
    steps = f"{position.step} step{'s' * (position.step != 1)}"
    where = f"stopped after {steps} (epoch {position.epoch + 1})"
    if folder is None:
        return f"{where}; nothing was saved because no folder was given (out=...)"
    return f"{where}; saved in {folder.path}. {_go_on(training, folder)}"


def _go_on(training: Training, folder: RunFolder) -> str:
    return f"Go on with:\n  {_resume_command(training, folder)}"


def _resume_command(training: Training, folder: RunFolder) -> str:
    backend = training.model.backend
    return resume_command(training.model.name, folder.path, backend.name, backend.precision)


def _diverged(training: Training, good: Arrays, losses: dict[str, float], step: int) -> Diverged:
    where = f"epoch {training.state.position.epoch + 1}, step {step}"
    values = ", ".join(f"{k} = {v}" for k, v in losses.items())
    cause = training.explain(good, step)
    return Diverged(
        f"training diverged in {where}: {values}.\nFirst non-finite result (harmless only if a "
        f"`where` hides it): {cause}.\nThe model is back at its last good state (step "
        f"{good.metadata['position']['step']}). Train again into another folder with a smaller "
        "--lr (a tenth) or with --warmup 500; check that the images have no extreme values."
    )


def _resume(training: Training, folder: RunFolder, new: dict[str, Any]) -> list[str]:
    """Put the training where the folder's newest checkpoint was; refuse what does not fit.

    Returns what a person should know: what differs from the machine of before, on which the last
    bits depend, and a log that lost lines.
    """
    config = folder.read_config()
    before, now = ({**c.get("versions", {}), **c.get("machine", {})} for c in (config, new))
    before.setdefault("backend", "numpy float32")
    known = ("numpy", "processor", "cores", "threads", "backend")
    elsewhere = [k for k in known if before.get(k) != now[k]]
    notes = []
    if elsewhere:
        notes.append(f"resuming with other {', '.join(elsewhere)}: the bits may differ")
    model = describe_model(training.model)
    was = config["model"]
    if was["name"] != model["name"] or was != model:
        differ = [k for k in model["options"] if was["options"].get(k) != model["options"][k]]
        had, asked = (
            f"{m['name']} for images of shape {m['shape']}"
            + (f" in {m['classes']} classes" if m.get("classes") else "")
            for m in (was, model)
        )
        raise ValueError(
            f"{folder.path} holds a run of {had}"
            f"{', other options: ' + ', '.join(differ) if differ else ''}; it cannot be continued "
            f"as {asked}; resume it as it was, or train into another folder"
        )
    if config["data"]["fingerprint"] != training.data.fingerprint:
        raise ValueError(
            f"{folder.path} was trained on {config['data']['name']!r} "
            f"({config['data']['n']} images); the data given now differ; resume with the same data"
        )
    called, named = config["data"].get("classes"), training.data.classes
    if called is not None and named is not None and list(called) != list(named):
        pairs = zip(called, named, strict=True)  # as many, as the labels are the same
        renamed = [f"{was} is now {name}" for was, name in pairs if was != name]
        raise ValueError(
            f"{folder.path} was trained on the same images, whose classes had other names "
            f"({', '.join(renamed)}); resume with the names as they were"
        )
    free = {"epochs"}
    if config.get("classifier") is not None:  # it may lie elsewhere now
        if config["classifier"] != new["classifier"]:
            raise ValueError(
                f"{folder.path} was measured with the classifier {config['classifier'][:12]}, and "
                f"{training.settings.classifier} is {str(new['classifier'])[:12]}; a run is "
                "resumed with the same one"
            )
        free.add("classifier")
    settings = {k: v for k, v in asdict(training.settings).items() if k not in free}
    # a run of an older version lacks what came later, and had its default
    changed = [
        k for k, v in settings.items() if config["training"].get(k, getattr(Settings, k, None)) != v
    ]
    if changed:
        raise ValueError(
            f"{folder.path} was trained with "
            + ", ".join(f"{k} = {config['training'].get(k)}" for k in changed)
            + "; a run is resumed with the same settings (only epochs may grow)"
        )
    saved = folder.newest_checkpoint(training.state.check, notes.append)
    if saved is None:  # stopped before the first checkpoint: begin again
        if folder.model.exists():
            raise ValueError(
                f"{folder.path} has trained weights but its checkpoints are gone, so it cannot be "
                "continued; train into another folder"
            )
        folder.cut_log(0)
        return notes
    training.state.restore(saved)
    position = training.state.position
    if training.settings.epochs < position.epoch:
        raise ValueError(
            f"{folder.path} has done {position.epoch} epochs, more than the "
            f"{training.settings.epochs} asked for; a run cannot shrink"
        )
    missing = folder.cut_log(position.log_bytes)
    if missing:
        notes.append(
            f"note: {folder.log} lacks {missing:,} bytes that it had at the checkpoint: lines are "
            "lost, and the curves have a gap"
        )
    _save_weights(training, folder)  # a crash may have come between the two files
    if position.batch == 0 and position.epoch > 0:
        _draw(training, folder)
    return notes
