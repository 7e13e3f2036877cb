"""Kernels that are not in the cache are compiled before they are needed, by several processes.

Numba's compiler is Python: one core works and the others wait. Yet all that a training step needs
can be known before any of it has run. In a `dry` block a kernel that is not compiled is noted and
does nothing, so that the step passes by with arrays of no meaning; at the end of the block all that
were noted are compiled,

    this process     notes a b c d e f g h | h   g   f   e
    a helper                  starts | a   b     c     d       and is sent the next when one is done

A helper is a Python of its own, which fills the cache that this process then reads. It inherits
nothing but the environment and where modules are, so that threads, notebooks and `python -c` do not
matter. Whatever goes wrong with it, what it has not done is compiled here. It ends with the block
of `team`, or when this process does, which closes its input.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import linecache
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import cache
from .compile import Both, Native, noting
from .cores import threads
from .kept import cache_folder

WORTH = 4  # a helper starts in less time than so many kernels take to compile
MOST = 3  # helpers
PATIENCE = 60.0  # seconds that a helper may take for a kernel
SERVE = "import sys; sys.path[:] = {path!r}; from tinygen_kernels.cpu import ahead; ahead.serve()"


@contextlib.contextmanager
def team() -> Iterator[Team]:
    """A team that compiles the block's kernels: this process, with helpers if it can have them."""
    made = Team(min(threads() - 1, MOST) if _may_start_python() else 0)
    try:
        yield made
    finally:
        made.end()


def _may_start_python() -> bool:
    """Whether the program that runs is an interpreter, and not an application that has one."""
    name = Path(sys.executable or "").stem.lower()
    return name.startswith(("python", "pypy")) and not getattr(sys, "frozen", False)


class Team:
    """This process and up to `most` helpers. A helper starts when there is work for it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._helpers: list[_Helper] = []
        self._noted: dict[Native, None] = {}
        self._left: deque[Native] = deque()  # of the noted ones
        self._busy = 0  # helpers
        self._ended = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def dry(self) -> Iterator[dict[Native, None]]:
        """In the block a kernel that is not compiled does nothing; the block's end compiles it.

        Yields these kernels. If there are any, what the block computed has no meaning, and the
        addresses that it was given for them lead to a function that does nothing.
        """
        self._noted = {}
        if not self._most:  # each is compiled when it is needed
            yield self._noted
            return
        try:
            with noting(self._note):
                yield self._noted
            self._compile()
        finally:
            with self._changed:
                self._left.clear()

    def _note(self, kernel: Native) -> None:
        if kernel in self._noted:
            return
        self._noted[kernel] = None
        with self._changed:
            self._left.append(kernel)
            self._changed.notify()
        due = len(self._noted) >= WORTH * (1 + len(self._helpers))
        if due and len(self._helpers) < self._most and cache.usable(cache_folder()):
            self._helpers.append(_Helper(self))

    def _compile(self) -> None:
        """Compile what is left, beginning at the end, and wait for what the helpers have begun."""
        while True:
            with self._changed:
                if not self._left:
                    break
                kernel = self._left.pop()
            assert kernel.address
        with self._changed:
            idle = self._changed.wait_for(lambda: not self._busy, PATIENCE)
        if not idle:
            for helper in self._helpers:
                helper.end()

    def take(self) -> Native | None:
        """The next kernel for a helper, which waits until there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._left or self._ended)
            if self._ended:
                return None
            self._busy += 1
            return self._left.popleft()

    def done(self) -> None:
        """A helper has done what it took."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def end(self) -> None:
        """Let all helpers end now."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for helper in self._helpers:
            helper.end()


class _Helper(threading.Thread):
    """A thread that sends kernels to a process, one after the other."""

    def __init__(self, team: Team) -> None:
        super().__init__(name="tinygen-ahead", daemon=True)
        self._team = team
        self._process: Any = None
        with contextlib.suppress(OSError):  # there may be no room for another process
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVE.format(path=sys.path)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self.start()

    def run(self) -> None:
        alive = True
        while alive and (kernel := self._team.take()) is not None:
            with contextlib.suppress(OSError, ValueError):  # it has ended, or is ended now
                alive = False
                self._process.stdin.write(json.dumps(place_of(kernel)).encode() + b"\n")
                self._process.stdin.flush()
                alive = bool(self._process.stdout.readline())
            self._team.done()

    def end(self) -> None:
        """End the process, and with it the thread."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.join()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what it never read
                pipe.close()


# ---- a helper ------------------------------------------------------------------------------------


def serve() -> None:
    """Compile the kernels whose places are the lines of standard input; answer each with a line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # nothing half written is left
    for line in sys.stdin.buffer:
        with contextlib.suppress(Exception):  # who asked will meet it, and say so
            assert found(json.loads(line)).address
        sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()


def place_of(kernel: Native) -> list[str]:
    """Where another process finds it: a module, a name in it, a dtype; or the text of a module."""
    body, whole = kernel.body, kernel.__name__
    if body.__module__.startswith("fused_"):
        return ["".join(linecache.getlines(body.__code__.co_filename))]
    module = sys.modules[body.__module__]
    bits = "" if hasattr(module, whole) else whole[-2:]
    return [body.__module__, whole.removesuffix(bits), bits]


def found(place: list[str]) -> Native:
    """The kernel at such a place."""
    if len(place) == 1:
        from . import elementwise

        return elementwise.block_of(place[0])
    module, name, bits = place
    kernel: Both | Native = getattr(importlib.import_module(module), name)
    return kernel[f"float{bits}"] if isinstance(kernel, Both) else kernel
