"""What a person sees while training: a bar in a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..output import stdout


def _figures(values: dict[str, float]) -> str:
    return "  ".join(f"{k} {v:.4g}" for k, v in values.items())


def _means(steps: Iterable[dict[str, float]]) -> dict[str, float]:
    """The mean of each loss over some steps, without those that were skipped."""
    kept = [losses for losses in steps if losses]
    return {k: sum(losses[k] for losses in kept) / len(kept) for k in kept[0]} if kept else {}


def clock(seconds: float) -> str:
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

    def step(self, losses: Sequence[dict[str, float]]) -> None:
        """Training steps were done, each with these losses; with none if it was skipped."""

    def epoch(self, losses: dict[str, float], validation: float | None, unit: str = "") -> None:
        """An epoch is complete; `unit` is that of the held-out figure."""

    def say(self, text: str) -> None:
        """Something that is worth a line."""


class Pace:
    """How fast steps follow each other, and how long the rest takes at that pace.

    The first step compiles, and so does the first time between two epochs, with its pictures: both
    say nothing about those that follow and are left out.
    """

    WINDOW = 10.0  # seconds that it looks back

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque()  # times, and batches done by then
        self._gaps: list[float] = []  # seconds between the steps of two epochs
        self._last: float | None = None  # when the last step ended

    def start(self, done: int) -> None:
        """An epoch begins."""
        self._steps.clear()
        if self._last is not None:
            now = time.perf_counter()
            self._gaps.append(now - self._last)
            self._steps.append((now, done))

    def step(self, done: int) -> None:
        """Steps were done, up to this batch."""
        now = self._last = time.perf_counter()
        self._steps.append((now, done))
        while len(self._steps) > 2 and self._steps[1][0] < now - self.WINDOW:
            self._steps.popleft()

    @property
    def batches(self) -> float:
        """Batches a second; 0 where none is known."""
        if len(self._steps) < 2:
            return 0.0
        (began, first), (now, done) = self._steps[0], self._steps[-1]
        return (done - first) / max(now - began, 1e-9)

    def left(self, batches: int, epochs: int) -> float:
        """Seconds for so many batches, and for what comes between so many epochs."""
        gaps = self._gaps[1:]
        between = sum(gaps) / len(gaps) if gaps else 0.0
        return batches / max(self.batches, 1e-9) + epochs * between


class Lines(Silent):
    """A line an epoch, and one every ten seconds within long ones: the means since the last."""

    EVERY = 10.0  # seconds
    RECENT: int | None = None  # steps whose mean is shown at most

    def __init__(self) -> None:
        self._out = stdout()
        self._bar: Any = None  # of rich, while it is shown
        self._pace = Pace()

    def start(self, epoch: int, epochs: int, batches: int, done: int, images: int) -> None:
        self._label = f"epoch {epoch}/{epochs}"
        self._batches, self._done, self._images = batches, done, images
        self._left_epochs = epochs - epoch
        self._spoke = time.perf_counter()
        self._recent: deque[dict[str, float]] = deque(maxlen=self.RECENT)  # losses of steps
        self._pace.start(done)

    def step(self, losses: Sequence[dict[str, float]]) -> None:
        self._done += len(losses)
        self._recent.extend(losses)
        self._pace.step(self._done)
        self._tell(time.perf_counter())

    def _tell(self, now: float) -> None:
        """Show the losses of late, if it is time to."""
        if now - self._spoke > self.EVERY:
            self._spoke = now
            self.say(f"{self._label}  {self._done}/{self._batches}  "
                     f"{_figures(_means(self._recent))}{self._speed()}")  # fmt: skip
            self._recent.clear()

    def epoch(self, losses: dict[str, float], validation: float | None, unit: str = "") -> None:
        held_out = "" if validation is None else f"  held out {validation:.2f} {unit}".rstrip()
        self.say(f"{self._label}  {_figures(losses)}{held_out}{self._speed()}")

    def _speed(self) -> str:
        """Images a second of late, and the time left at that speed."""
        if not self._pace.batches:
            return ""
        speed = f"  {self._pace.batches * self._images:,.0f} images/s"
        batches = self._batches - self._done + self._left_epochs * self._batches
        if not batches:
            return speed
        return f"{speed}  {clock(self._pace.left(batches, self._left_epochs))} left"

    def say(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


class Bar(Lines):
    """A rich progress bar for the epoch over its losses, and a line for each complete epoch.

    The losses are means over the last 50 steps.
    """

    RECENT = 50

    def __enter__(self) -> Bar:
        from rich import progress
        from rich.console import Console
        from rich.text import Text

        outer = self
        self._losses = ""

        class TwoLines(progress.Progress):  # together they would not fit 80 columns
            def get_renderables(self) -> Iterator[Any]:
                yield self.make_tasks_table(self.tasks)
                yield Text(outer._losses, style="dim", overflow="ellipsis", no_wrap=True)

        out: Any = self._out
        self._bar = TwoLines(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=20),
            progress.TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            progress.TextColumn("{task.fields[speed]}"),
            transient=True,
            console=Console(file=out),
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

    def _tell(self, now: float) -> None:
        if now - self._spoke > 0.1 or self._done == self._batches:
            self._spoke = now
            self._losses = _figures(_means(self._recent))
            self._bar.update(self._task, completed=self._done, speed=self._speed().strip())

    def say(self, text: str) -> None:
        if self._bar is None:  # before the bar is shown
            super().say(text)
            return
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)


def choose(show: bool | str) -> Silent:
    """A bar in a terminal, lines elsewhere or where NO_COLOR is set, nothing for False."""
    if show is False:
        return Silent()
    if show == "lines" or not stdout().isatty() or os.environ.get("NO_COLOR"):
        return Lines()
    try:
        import rich  # noqa: F401
    except ImportError:
        return Lines()
    return Bar()
