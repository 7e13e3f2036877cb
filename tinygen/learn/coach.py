"""The coach watches a program and says afterwards what is probably a mistake.

    with tg.coach():
        train(net, images)

    coach: train.py:56: backward adds to gradients that SGD.step has used already ...

Each note names a line of the program and the cure, once a line. A coach stops nothing and changes
no result; the block takes up to twice the time. What it looks for is in mistakes/.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from dataclasses import dataclass
from typing import Any, Self

from ..callsite import program_line
from ..events import Observer, state, watching
from ..graph import reachable
from .mistakes import CHECKS, MISTAKES, Check, Pass

ENOUGH = 100  # updates after which a compiled training runs compiled


@dataclass(frozen=True)
class Note:
    """What is probably a mistake: which, where in the program, and the cure."""

    mistake: str
    line: str
    text: str

    def __str__(self) -> str:
        return f"{_short(self.line)}: {self.text} ({MISTAKES[self.mistake]})"


class Coach(Observer):
    """Watches from `with` to the end of the block; see coach.

    Attributes:
        notes: what was found so far.
    """

    def __init__(self, leave_out: tuple[str, ...] = ()) -> None:
        self.notes: list[Note] = []
        self.left_out = {*leave_out}
        self._said: set[tuple[str, str]] = set()
        self._printed = 0
        self._updates = self._replays = 0
        self._checks: list[Check] = [check(self) for check in CHECKS]
        self._of: dict[str, list[Check]] = {}  # by operation: the checks that look at it
        for check in self._checks:
            for name in check.operations:
                self._of.setdefault(name, []).append(check)
        self._of_all = [check for check in self._checks if check.every]
        self._block = watching(self)

    # ---- the events --------------------------------------------------------------------------

    @property
    def every_step(self) -> bool:  # type: ignore[override]
        """At first, so that the steps of a compiled training are seen."""
        return self._updates < ENOUGH

    def called(
        self, operation: Any, args: tuple[Any, ...], static: dict[str, Any], out: Any
    ) -> None:
        if state.pulling is not None:
            return
        for check in self._of_all:
            check.called(operation, args, out)
        for check in self._of.get(operation.name, ()):
            check.called(operation, args, out)

    def entering(self, operation: Any, args: tuple[Any, ...], static: dict[str, Any]) -> None:
        if state.pulling is None:
            for check in self._of.get(operation.name, ()):
                check.called(operation, args, None)

    def walking_back(self, outputs: Any, targets: Any, fills: bool, create_graph: bool) -> None:
        order = reachable([y.node for y in outputs])
        found = Pass(outputs, order, targets, fills, self.line())
        for check in self._checks:
            check.walking_back(found)

    def stepping(self, optimizer: Any, grads: Any) -> None:
        self._updates += 1
        for check in self._checks:
            check.stepping(optimizer, grads)

    def replaying(self, plan: Any) -> None:
        self._replays += 1

    def changing(self, owner: Any) -> None:
        for check in self._of_all:
            check.changing(owner)

    def crossing(self, what: str) -> None:
        if what == "read":
            for check in self._checks:
                check.reading()

    # ---- notes -------------------------------------------------------------------------------

    def line(self) -> str:
        """Where the program stands."""
        return program_line()

    def say(self, mistake: str, text: str, line: str = "") -> None:
        """Note a mistake, once for each line."""
        line = line or self.line()
        if mistake not in self.left_out and (mistake, line) not in self._said:
            self._said.add((mistake, line))
            self.notes.append(Note(mistake, line, text))

    def finish(self) -> None:
        """Look at what only the end shows."""
        for check in self._checks:
            check.finish()

    def show(self) -> None:
        """Print the notes that are new."""
        for note in self.notes[self._printed :]:
            print(f"coach: {note}", file=sys.stderr)
        self._printed = len(self.notes)
        if self._replays and not self._updates:
            print(
                f"coach: {self._replays} compiled steps were not looked into; TINYGEN_COMPILE=0 "
                "runs them operation by operation",
                file=sys.stderr,
            )
        self._replays = 0

    # ---- the block ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._block.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._block.__exit__()
        self.finish()
        self.show()
        if not self.notes:
            print("coach: nothing to say", file=sys.stderr)


def _short(line: str) -> str:
    """A line of a file, named from the folder that the program runs in."""
    file, _, number = line.rpartition(":")
    with contextlib.suppress(ValueError):  # another drive
        inside = os.path.relpath(file)
        file = inside if not inside.startswith("..") else file
    return f"{file}:{number}"


# ---- switching it on -----------------------------------------------------------------------------

_on: list[Coach] = []  # the coach of the whole program, if there is one


def coach(on: bool | None = None, *, leave_out: tuple[str, ...] = ()) -> Coach:
    """Watch for the mistakes that raise no error, and print a note for each, with its cure.

    As a block, `with tg.coach():`, it prints after the block. `tg.coach(on=True)` watches from now
    on: a notebook prints after each cell, a program at its end, and `tg.coach(on=False)` ends it.
    The environment variable TINYGEN_COACH=1 does so for a whole program, `tinygen train` included.

    It watches one thread, and stops nothing. A compiled function is not looked into; but the first
    100 steps of a training by train.fit run operation by operation for it.

    Args:
        on: whether to watch from now on; None makes a block.
        leave_out: names of mistakes that are meant, of those in tinygen.learn.mistakes.MISTAKES:
            "dropout" for a program that draws with dropout on.

    Returns:
        The coach; its `notes` are what it found.

    Raises:
        ValueError: leave_out names no mistake.
    """
    unknown = [name for name in leave_out if name not in MISTAKES]
    if unknown or isinstance(leave_out, str):
        raise ValueError(
            f"coach: leave_out is {leave_out!r}; expected a tuple of {', '.join(MISTAKES)}"
        )
    if on is None:
        return Coach(leave_out)
    while _on:
        before = _on.pop()
        state.observers = tuple(o for o in state.observers if o is not before)
        before.finish()
        before.show()
    new = Coach(leave_out)
    if on:
        _on.append(new)
        state.observers = (*state.observers, new)
        _at_the_end(new)
    return new


def _at_the_end(new: Coach) -> None:
    """Print after each cell of a notebook, or at the end of the program."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None:
        shell.events.register("post_run_cell", lambda *_: new.show())
    else:
        atexit.register(_last_words, new)


def _last_words(new: Coach) -> None:
    if new in _on:
        new.finish()
        new.show()
