"""Text for the console, written so that no console can stop the program.

A stream may lack letters (ascii, cp437), be closed, or stand for a full disk or a pipe whose reader
has gone. `Output` replaces the letters, and from the first failure on it drops the text. What a
program must not lose it writes to a file first.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any


class Output(io.TextIOBase):
    """A text stream over another one (or None, a closed one) that raises nothing.

    `lost` is the error that silenced it, or None; a stream that was closed before is no loss, and
    a reader that has gone (`| head`) had what it wanted.
    """

    def __init__(self, stream: Any, name: str = "standard output") -> None:
        self.stream, self._name, self._silent = stream, name, stream is None
        self.lost: OSError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream below."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write it, with letters that the stream lacks replaced; returns its length."""
        if not self._silent:
            try:
                self.stream.write(text)
            except UnicodeEncodeError as error:
                name = error.encoding
                self.write(text.encode(name, "replace").decode(name))
            except Exception as error:
                self._drop(error)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        if not self._silent:
            try:
                self.stream.flush()
            except Exception as error:
                self._drop(error)

    def _drop(self, error: Exception) -> None:
        """Be silent from now on, and say so where a person may still read it."""
        if isinstance(error, BlockingIOError):
            return  # its reader is slow: this text is lost, and the next may not be
        self._silent = True
        if isinstance(error, OSError) and error.errno != errno.EPIPE:
            self.lost = error
            warning = f"warning: {self._name}: {error.strerror or error}; nothing more is shown\n"
            if sys.stderr is not None and sys.stderr is not self:
                Output(sys.stderr, "standard error").write(warning)

    def isatty(self) -> bool:
        """Whether a person reads it."""
        try:
            return not self._silent and bool(self.stream.isatty())
        except Exception:
            return False

    def fileno(self) -> int:
        """Of the stream below; raises OSError where it has none."""
        if self.stream is None:
            raise OSError(errno.EBADF, "the stream is closed")
        number: int = self.stream.fileno()
        return number

    def writable(self) -> bool:
        return True


def stdout() -> Output:
    """Standard output as it is now."""
    return sys.stdout if isinstance(sys.stdout, Output) else Output(sys.stdout)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Nothing that is printed in the block raises: standard output and error are `Output`s.

    Also fills the places of closed ones: a file opened there would receive what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    before = sys.stdout, sys.stderr
    out = stdout()
    error = sys.stderr
    if not isinstance(error, Output):
        error = Output(error, "standard error")
    sys.stdout, sys.stderr = out, error
    try:
        yield
    finally:
        for name, mine, theirs in zip(("stdout", "stderr"), (out, error), before, strict=True):
            mine.flush()
            if mine is not theirs and mine._silent:
                _discard(theirs)
            if getattr(sys, name) is mine:
                setattr(sys, name, theirs)


def _discard(stream: Any) -> None:
    """Let what a broken stream of this process still holds go nowhere, not fail at exit."""
    if stream is None or stream not in (sys.__stdout__, sys.__stderr__):
        return
    with contextlib.suppress(Exception):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
