"""What a person sees while training: a bar in a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any


def _figures(values: dict[str, float]) -> str:
    return "  ".join(f"{k} {v:.4g}" for k, v in values.items())


def _clock(seconds: float) -> str:
    minutes, s = divmod(int(seconds + 0.5), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{s:02d}" if minutes >= 60 else f"{minutes}:{s:02d}"


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def start(self, epoch: int, epochs: int, batches: int, done: int, images: int) -> None:
        """An epoch begins: `done` of its `batches` lie behind, each of `images` images."""

    def compiling(self) -> None:
        """The first step is being recorded and compiled."""

    def step(self, losses: dict[str, float]) -> None:
        """A training step was done."""

    def epoch(self, losses: dict[str, float], validation: float | None) -> None:
        """An epoch is complete."""

    def say(self, text: str) -> None:
        """Something that is worth a line."""


class Lines(Silent):
    """A line an epoch, and one every ten seconds within long ones."""

    EVERY = 10.0  # seconds

    def start(self, epoch: int, epochs: int, batches: int, done: int, images: int) -> None:
        self._label = f"epoch {epoch}/{epochs}"
        self._batches, self._done, self._first, self._images = batches, done, done, images
        self._left_epochs = epochs - epoch
        self._began = self._spoke = time.perf_counter()

    def step(self, losses: dict[str, float]) -> None:
        self._done += 1
        now = time.perf_counter()
        if now - self._spoke > self.EVERY:
            self._spoke = now
            self.say(f"{self._label}  {self._done}/{self._batches}  {_figures(losses)}  "
                     f"{self._speed(now)}")  # fmt: skip

    def epoch(self, losses: dict[str, float], validation: float | None) -> None:
        held_out = "" if validation is None else f"  held out {validation:.2f}"
        speed = self._speed(time.perf_counter())
        self.say(f"{self._label}  {_figures(losses)}{held_out}  {speed}")

    def _speed(self, now: float) -> str:
        """Images a second in this epoch, and the time left at that speed."""
        pace = (self._done - self._first) / max(now - self._began, 1e-9)  # batches a second
        left = self._batches - self._done + self._left_epochs * self._batches
        return f"{pace * self._images:,.0f} images/s  {_clock(left / max(pace, 1e-9))} left"

    def say(self, text: str) -> None:
        print(text, flush=True)


class Bar(Lines):
    """A rich progress bar for the epoch over its losses, and a line for each complete epoch."""

    def __enter__(self) -> Bar:
        from rich import progress
        from rich.text import Text

        outer = self
        self._losses = ""

        class TwoLines(progress.Progress):  # together they would not fit 80 columns
            def get_renderables(self) -> Iterator[Any]:
                yield self.make_tasks_table(self.tasks)
                yield Text(outer._losses, style="dim", overflow="ellipsis", no_wrap=True)

        self._bar = TwoLines(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=20),
            progress.TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            progress.TextColumn("{task.fields[speed]}"),
            transient=True,
        )
        self._bar.start()
        self._task: Any = None
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def start(self, epoch: int, epochs: int, batches: int, done: int, images: int) -> None:
        super().start(epoch, epochs, batches, done, images)
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(self._label, total=batches, completed=done, speed="")

    def compiling(self) -> None:
        self._bar.update(self._task, speed="compiling")
        self._bar.refresh()

    def step(self, losses: dict[str, float]) -> None:
        self._done += 1
        now = time.perf_counter()
        if now - self._spoke > 0.1 or self._done == self._batches:
            self._spoke = now
            self._losses = _figures(losses)
            self._bar.update(self._task, completed=self._done, speed=self._speed(now))

    def say(self, text: str) -> None:
        if not hasattr(self, "_bar"):  # before the bar is shown
            print(text, flush=True)
            return
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


def choose(show: bool | str) -> Silent:
    """A bar in a terminal, lines elsewhere or where NO_COLOR is set, nothing for False."""
    if show is False:
        return Silent()
    if show == "lines" or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return Lines()
    try:
        import rich  # noqa: F401
    except ImportError:
        return Lines()
    return Bar()
