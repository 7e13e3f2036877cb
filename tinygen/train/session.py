"""A training in progress: its state, its data, one step, and what is measured of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import optim
from ..data import Batch, Dataset
from ..data.dataset import scaled
from ..graph import no_grad
from ..io import Arrays
from ..metrics import Quality
from ..models import Model
from ..models.prior import PICTURES
from ..plan import compile
from ..random import Generator
from ..tensor import Tensor
from . import pictures
from .checkpoint import Position, State
from .divergence import diverged, refuse_weights
from .evaluate import Gauge
from .extractor import find_extractor
from .resident import Resident, fits
from .settings import Settings

READ_EVERY = 25  # steps, on a device: reading a loss waits for it
VALIDATION_IMAGES = 2000
VALIDATION_BATCH = 500  # of them at a time: a convolution's layers are large
QUALITY_IMAGES = 2000  # drawn, and of each split, when images are measured during training


@dataclass
class Epoch:
    """A complete epoch: the mean of each loss, the held-out figure, and what was drawn."""

    losses: dict[str, float]
    validation: float | None
    quality: Quality | None = None


class Session:
    """A training in progress: the state, the data, and one step."""

    def __init__(self, model: Model, data: Dataset, settings: Settings) -> None:
        check_fit(model, data)
        self.model, self.data, self.settings = model, data, settings
        self.gauge = None
        if settings.evaluate_every:  # fail before the training, not after it
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
        self._root = root
        self._update: Callable[..., dict[str, Tensor]] = self._plain_update
        if settings.compiled:
            self._update = compile(self._plain_update)
        self._range_checked = False
        self._rates: dict[str, float] = {}  # the learning rates that are set
        self.history: list[dict[str, Any]] = []  # what was logged since the start or the resume
        self._resident = Resident(model, data) if fits(model, data) else None
        self.read_every = 1 if model.backend.name == "numpy" else READ_EVERY
        self.good = Arrays({}, metadata={})  # the newest state known to be finite
        self._kept = 0.0  # when it was kept
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
        """One update; `read` returns its losses."""
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
        chosen, rng = pictures.some(test, VALIDATION_IMAGES), self._root.stream("validation")
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

    def rank(self, epoch: Epoch) -> float | None:
        """What the best epoch has least of: KID if it is measured, else the held-out figure."""
        if self.gauge is not None:
            return None if epoch.quality is None else epoch.quality["KID"].value
        if epoch.validation is None:
            return None
        return -epoch.validation if self.model.higher_is_better else epoch.validation

    # ---- the course of a training ----------------------------------------------------------------

    def begin(self) -> None:
        """Before the first step: the state of now is the last good one."""
        self.keep()
        self.model.train()

    def keep(self) -> Arrays:
        """A copy of the state, the last one known to be finite: what divergence goes back to."""
        self.good, self._kept = self.state.capture(), time.perf_counter()
        return self.good

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
        position = self.state.position
        return position.step % self.read_every == 0 or position.batch == self.batches

    def end_epoch(self) -> Epoch:
        """Sum up the epoch that is complete, and move on to the next; Diverged if it went wrong."""
        refuse_weights(self)
        position = self.state.position
        with self.drawing_weights():
            epoch = Epoch(self.averages(), self.validation())
        if epoch.validation is not None and not np.isfinite(epoch.validation):
            raise diverged(self, {"held out": epoch.validation}, position.step)
        position.epoch, position.batch, position.sums = position.epoch + 1, 0, {}
        return epoch

    def end(self) -> None:
        """After the last step: the model has the weights to draw with, in eval mode."""
        if self.state.ema is not None:
            self.state.ema.copy_to_model()
        self.model.eval()

    def drawing_weights(self) -> Any:
        """A `with` block in which the model has the weights to draw with (the average, if any)."""
        return contextlib.nullcontext() if self.state.ema is None else self.state.ema.swapped()


def check_fit(model: Model, data: Dataset) -> None:
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
