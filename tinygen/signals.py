"""Signals that ask the program to stop: Ctrl-C, `kill`, a closed terminal, a time limit.

During a training they are a flag, read between steps (`Interrupt`); elsewhere the command line
turns them into `Stopped` (`stoppable`), so that files are closed and half-written ones removed.
A signal that the program was started to ignore (`nohup`) stays ignored, except Ctrl-C.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU", "SIGBREAK")  # a system has some of them


class Stopped(BaseException):
    """A signal asked to stop, outside of a training."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


@contextlib.contextmanager
def handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals that ask to stop call `handle` during the block, in the main thread."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (vars(signal)[name] for name in NAMES if name in vars(signal)):
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Signals that ask to stop raise Stopped during the block."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    with handled(handle):
        yield


def import_whole(name: str) -> ModuleType:
    """Import a module; signals that ask to stop wait until it is loaded.

    Numba or CuPy, interrupted while they load, cannot be loaded again in the same process.
    """
    if name in sys.modules:
        return sys.modules[name]
    came: list[int] = []
    with handled(lambda number, frame: came.append(number)):
        module = importlib.import_module(name)
    if came:
        signal.raise_signal(came[0])
    return module


class Interrupt:
    """Turns signals that ask to stop into a flag, to be read between steps.

    A second Ctrl-C raises KeyboardInterrupt at once. Others only ask again: a system sends several
    of them, and a limit on time is repeated each second.
    """

    def __init__(self) -> None:
        self.requested = False
        self.number: int = signal.SIGINT  # the signal that was received

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self.number = True, number

    def __enter__(self) -> Interrupt:
        self._handled = handled(self._handle)
        self._handled.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handled.__exit__(*error)
