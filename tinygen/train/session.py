"""A training in progress: its state, its data, one step, and what is measured of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import events, ops, optim
from ..data import Batch, Dataset
from ..graph import no_grad
from ..io import Arrays
from ..metrics import Quality
from ..models import Column, Draws, Model, Stage, feed
from ..models.contract import held
from ..models.feed import Sets
from ..plan import compile
from ..random import Generator
from ..runs import Gauge, find_extractor
from ..tensor import Tensor
from .checkpoint import Position, State
from .divergence import diverged, refuse_weights
from .parts import first_stage
from .resident import Resident, fits
from .settings import Settings, own_warmup

SKIPPED = "steps skipped"  # among the losses: whether the step was
READ_EVERY = 25  # steps, on a device: reading a loss waits for it
VALIDATION_IMAGES = 2000
VALIDATION_BATCH = 500  # of them at a time: a convolution's layers are large
QUALITY_IMAGES = 2000  # drawn, and of each split, when images are measured during training


@dataclass(frozen=True)
class Held:
    """A figure on held-out images, as a mean over them."""

    value: float
    unit: str = ""
    higher_is_better: bool = False


@dataclass
class Epoch:
    """A complete epoch: the mean of each loss, the held-out figure, and what was drawn."""

    losses: dict[str, float]
    validation: Held | None
    quality: Quality | None = None
    skipped: int = 0  # steps


class Session:
    """A training in progress: its model, its data, the stage it is in, and one step.

    The settings epochs, batch_size, lr, ema and clip are those of the last stage; those before it
    have what the model says. `parts` are the hashes of what came from other runs: stages that
    learn nothing else are left out.
    """

    def __init__(
        self, model: Model, data: Dataset | Sets, settings: Settings,
        parts: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.sets = {"train": data} if isinstance(data, Dataset) else dict(data)
        self.model, self.data, self.settings = model, self.sets["train"], settings
        self.stages = model.stages()
        for stage in self.stages:
            check_fit(model, stage, self.sets)
        self.gauge = None
        if settings.evaluate_every:  # fail before the training, not after it
            extractor = find_extractor(self.data, settings.classifier)
            self.gauge = Gauge(model, self.data, extractor, real=QUALITY_IMAGES, seed=settings.seed)
        self._root = Generator(settings.seed)
        self._frozen = {k for k, p in model.named_parameters().items() if not p.requires_grad}
        self.history: list[dict[str, Any]] = []  # what was logged since the start or the resume
        self.read_every = 1 if model.backend.name == "numpy" else READ_EVERY
        self.good = Arrays({}, metadata={})  # the newest state known to be finite
        self._kept = 0.0  # when it was kept
        self.parts = dict(parts or {})
        self.enter(Position(first_stage(self.stages, tuple(self.parts))))

    # ---- stages ----------------------------------------------------------------------------------

    def enter(self, position: Position) -> None:
        """Make ready for the stage of a position: what learns, its optimizers, average and plan."""
        settings, last = self.settings, position.stage == len(self.stages) - 1
        self.stage = stage = self.stages[position.stage]
        self.epochs = settings.epochs if last else stage.epochs
        size = settings.batch_size if last else stage.batch_size
        entries = feed.length(stage.reads, self.sets)
        self.step_size = feed.step_size(stage, entries, size)  # images
        self.batches = entries // self.step_size  # an epoch
        self._freeze()
        optimizers = stage.new_optimizers(self.model, settings.lr if last else None)
        clip = settings.clip if last else stage.clip
        for optimizer in optimizers.values():
            optimizer.clip_norm = clip
        self._clips = bool(clip)
        self.decay = settings.ema if last else stage.ema
        ema = optim.EMA(held(self.model, stage.averaged), self.decay) if self.decay else None
        self.state = State(self.model, optimizers, ema, position)
        steps, course = self.epochs * self.batches, self._course(last)
        self.schedules = {name: course.over(o.lr, steps) for name, o in optimizers.items()}
        self._update: Callable[..., dict[str, Tensor]] = self._plain_update
        if settings.compiled:
            self._update = compile(self._plain_update)
        self._rates: dict[str, float] = {}  # the learning rates that are set
        self._unread: list[dict[str, Tensor]] = []  # losses of the steps since the last reading
        kept = fits(self.model, self.data, stage.reads)
        self._resident = Resident(self.model, self.data, stage.reads) if kept else None

    def _course(self, last: bool) -> optim.Course:
        """How the learning rate of this stage moves.

        What the settings do not say is as the model has it.
        """
        settings, own = self.settings, self.stage.course or optim.Course()
        kind: str = settings.schedule
        warmup, asked = settings.warmup, settings.asked_warmup
        if self.stage.course is not None and not last:
            kind, warmup, asked = own.kind, own.warmup, False
        steps = self.epochs * self.batches
        if warmup == own.warmup and not asked:
            warmup = own_warmup(warmup, steps)
        if warmup >= steps and kind != "constant":
            raise ValueError(
                f"warmup is {warmup:,} steps, and the training has {steps:,}; expected fewer, for "
                f"the rate to fall after them ({kind}); give a smaller one, or more epochs"
            )
        return replace(own, kind=kind, warmup=warmup)

    def _freeze(self) -> None:
        """Only what the stage learns is trained: all else is in eval mode and has no gradient."""
        learns = self.stage.learns
        for name, p in self.model.named_parameters().items():
            p.requires_grad = name.split(".")[0] in learns and name not in self._frozen
        self.train()

    def train(self) -> None:
        """Switch what the stage learns to training, and all else to evaluation."""
        for path, module in self.model.named_modules().items():
            module.training = path == "" or path.split(".")[0] in self.stage.learns

    @property
    def named(self) -> str:
        """The stage after an "of", for messages; nothing where there is one only."""
        return f" of {self.stage.name}" if len(self.stages) > 1 else ""

    @property
    def last(self) -> bool:
        """Whether this is the last stage."""
        return self.state.position.stage == len(self.stages) - 1

    @property
    def done(self) -> bool:
        """Whether all epochs of all stages lie behind."""
        return self.last and self.state.position.epoch >= self.epochs

    def more(self) -> bool:
        """Whether an epoch is left; enters the next stage where one has ended.

        Its average becomes the weights, so that the next one builds on what will be drawn with. The
        last stage keeps both: more epochs may follow.
        """
        while self.state.position.epoch >= self.epochs:
            if self.last:
                return False
            if self.state.ema is not None:
                self.state.ema.copy_to_model()
            was = self.state.position
            self.enter(Position(was.stage + 1, step=was.step, log_bytes=was.log_bytes))
            self.keep()
        return True

    @property
    def warms_up_to(self) -> float:
        """The share of its highest rate that the stage gets to: 1, unless its warm-up is longer."""
        steps = self.epochs * self.batches
        return min(1.0, *(steps / max(each.warmup, 1) for each in self.schedules.values()))

    # ---- steps -----------------------------------------------------------------------------------

    def epoch_batches(self) -> Any:
        """The batches that this epoch still has."""
        position = self.state.position
        where: dict[str, Any] = {
            "seed": self.settings.seed, "epoch": position.epoch, "start": position.batch
        }  # fmt: skip
        if self._resident is not None:
            return self._resident.batches(self.step_size, **where)
        first = position.stage == 0
        return feed.batches(self.stage, self.sets, self.step_size, first=first, **where)

    @property
    def number(self) -> int:
        """Of the next step, within the stage."""
        return self.state.position.epoch * self.batches + self.state.position.batch

    def rates(self) -> dict[str, float]:
        """The learning rate of each optimizer at the next step."""
        return {name: each.lr_at(self.number) for name, each in self.schedules.items()}

    def step(self, batch: Batch) -> None:
        """One update; `read` returns its losses."""
        state, position, rates = self.state, self.state.position, self.rates()
        for name, optimizer in state.optimizers.items():
            lr = rates[name]
            if lr != self._rates.get(name):  # setting it moves a number to the device
                optimizer.lr = self._rates[name] = lr
        if state.ema is not None:
            decay = state.ema.decay_at(self.number)
            if decay != self._rates.get("ema"):
                state.ema.set_decay(decay)
                self._rates["ema"] = decay
        plain = any(o.every_step for o in events.state.observers)
        update = self._plain_update if plain else self._update
        self._unread.append(update({k: self.model.place(v) for k, v in batch.items()}))
        position.step += 1
        position.batch = batch.position + 1

    def read(self) -> list[dict[str, float]]:
        """The losses of each step since the last reading; waits until they are known.

        A step that was skipped has none.
        """
        position, values = self.state.position, []
        sums = position.sums
        for numbers in self._numbers():
            losses = dict(zip(self._unread[0], numbers, strict=True))
            skipped = losses.pop(SKIPPED, 0)
            position.skipped += bool(skipped)
            position.in_a_row = position.in_a_row + 1 if skipped else 0
            values.append({} if skipped else losses)
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

    def _plain_update(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is compiled: the stage's own step, and the average of its weights."""
        before = self._skips()
        losses = self.stage.update(self.model, batch, self.state.optimizers)
        if before is not None:
            losses = {**losses, SKIPPED: (self._skips() - before).astype("float32")}
        if self.state.ema is not None:
            self.state.ema.update()
        return losses

    def _skips(self) -> Any:
        """How many steps all optimizers have skipped; None where none can be."""
        counts = [o.skips for o in self.state.optimizers.values()]
        return ops.sum(ops.stack(counts)) if self._clips else None

    def averages(self) -> dict[str, float]:
        """The mean of each loss over this epoch so far."""
        position = self.state.position
        count = max(position.batch - position.skipped, 1)
        return {k: v / count for k, v in position.sums.items()}

    @no_grad()
    def validation(self) -> Held | None:
        """The stage's first figure on held-out images, always the same ones with the same noise."""
        tests = feed.held_out(self.sets, self.stage.reads)
        if tests is None or self.stage.figures is None:
            return None
        count = min(VALIDATION_IMAGES, feed.length(self.stage.reads, tests))
        chosen = {source: feed.some(test, count) for source, test in tests.items()}
        rng, parts = self._root.stream("validation"), []
        self.model.eval()
        for start in range(0, count, VALIDATION_BATCH):
            at = {
                source: places[start : start + VALIDATION_BATCH]
                for source, places in chosen.items()
            }
            batch = feed.batch_at(self.stage.reads, tests, at)
            figures = self.stage.figures({k: self.model.place(v) for k, v in batch.items()}, rng)
            if not figures:
                break
            figure = next(iter(figures.values()))
            parts.append(figure.values.numpy().astype(np.float64))
        self.train()
        if not parts:
            return None
        mean = float(np.concatenate(parts).mean())
        return Held(mean, figure.unit, figure.higher_is_better)

    def quality(self) -> Quality | None:
        """The measures of what the model draws, if they are due after the epoch just done.

        The same codes and the same real images every time.
        """
        every, epoch = self.settings.evaluate_every, self.state.position.epoch
        if self.gauge is None or epoch % every:
            return None
        with self.drawing_weights():
            return self.gauge.measure()

    def rank(self, epoch: Epoch) -> float | None:
        """What the best epoch has least of: KID if it is measured, else the held-out figure."""
        if self.gauge is not None:
            return None if epoch.quality is None else epoch.quality["KID"].value
        held_out = epoch.validation
        if held_out is None:
            return None
        return -held_out.value if held_out.higher_is_better else held_out.value

    # ---- the course of a training ----------------------------------------------------------------

    def begin(self) -> None:
        """Before the first step: the state of now is the last good one."""
        self.keep()
        self.train()

    def keep(self) -> Arrays:
        """A copy of the state, the last one known to be finite: what divergence goes back to."""
        self.good, self._kept = self.state.capture(), time.perf_counter()
        return self.good

    def check(self, saved: Arrays) -> None:
        """ValueError where a checkpoint does not fit; enters its stage."""
        stage = saved.metadata["position"].get("stage", 0)
        if stage >= len(self.stages):
            raise ValueError(f"it is in stage {stage + 1}, of {len(self.stages)}")
        if stage != self.state.position.stage:
            self.enter(Position(stage))
        self.state.check(saved)

    def go_back(self) -> None:
        """Restore the state that was kept last."""
        self.state.restore(self.good)
        self._rates.clear()
        self._unread.clear()

    def unsaved_for(self) -> float:
        """Seconds since the state was kept."""
        return time.perf_counter() - self._kept

    def reads_now(self) -> bool:
        """Whether the losses are to be read after this step."""
        return self.state.position.step % self.read_every == 0 or self.at_epoch_end

    @property
    def at_epoch_end(self) -> bool:
        """Whether all batches of the epoch are done."""
        return self.state.position.batch == self.batches

    def end_epoch(self) -> Epoch:
        """Sum up the epoch that is complete, and move on to the next; Diverged if it went wrong."""
        refuse_weights(self)
        position = self.state.position
        with self.drawing_weights():
            epoch = Epoch(self.averages(), self.validation(), skipped=position.skipped)
        if epoch.validation is not None and not np.isfinite(epoch.validation.value):
            raise diverged(self, {"held out": epoch.validation.value}, position.step)
        position.epoch, position.batch, position.sums = position.epoch + 1, 0, {}
        position.skipped = 0
        return epoch

    def end(self) -> None:
        """After the last step: the model has the weights to draw with, in eval mode."""
        if self.state.ema is not None:
            self.state.ema.copy_to_model()
        for name, p in self.model.named_parameters().items():
            p.requires_grad = name not in self._frozen
        self.model.eval()

    def drawing_weights(self) -> Any:
        """A `with` block in which the model has the weights to draw with (the average, if any)."""
        return contextlib.nullcontext() if self.state.ema is None else self.state.ema.swapped()


def check_fit(model: Model, stage: Stage, sets: Sets) -> None:
    """Refuse data that lack what a stage reads, or have it in another form."""
    for source in feed.sources(stage.reads):
        if source not in sets:
            raise ValueError(
                f"{model.name} reads the data set {source!r}, and was given {', '.join(sets)}; "
                "give fit all of them by name: {" + f'"train": ..., "{source}": ...' + "}"
            )
        data, form = sets[source], model.forms[source]
        if tuple(form.shape) != tuple(data.shape):
            raise ValueError(
                f"the model {model.name} is for images of shape {form.shape}, the data "
                f"{data.name!r} has {data.shape}; build the model with data.shape, or load the "
                "data with size= and channels="
            )
    for column in stage.reads:
        if column.kind == "label":
            _check_labels(model, column, sets[column.source])
        else:
            sets[column.source].column(column.array)


def _check_labels(model: Model, column: Column, data: Dataset) -> None:
    check_labels(type(model), data)
    assert data.labels is not None
    if data.test is not None and data.test.labels is None:
        raise ValueError(
            f"the held-out images of {data.name!r} have no labels, which {model.name} needs; "
            "add them, or remove the held-out images"
        )
    top = int(data.labels.max())
    if top >= column.count:
        raise ValueError(
            f"{data.name!r} has labels up to {top}, the model {model.name} has "
            f"{column.count} classes; build it with classes={top + 1} or more"
        )


def check_labels(kind: type[Model], data: Dataset) -> None:
    """Refuse data without labels, or of one class, for a model that goes by them."""
    draws = issubclass(kind, Draws)
    instead = f", or train {kind.name.removeprefix('c')}" if draws else ""
    if data.labels is None:
        raise ValueError(
            f"{kind.name} is {'conditioned on' if draws else 'trained with'} labels, and "
            f"{data.name!r} has none; use a folder with a sub-folder for each class{instead}"
        )
    if data.classes is not None and len(data.classes) < 2:
        raise ValueError(
            f"{kind.name} learns to tell classes apart, and {data.name!r} has only one: "
            f"{data.classes[0]!r}; use a folder with a sub-folder for each of several classes"
            f"{instead}"
        )
