"""Locks on files, which the kernel releases when their process ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:
    msvcrt = None  # type: ignore[assignment]

HELD = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK)
FAR = 2**30  # the byte that is locked on Windows, where a locked byte cannot be read


class HeldError(BlockingIOError):
    """Someone else holds the lock; the message says who."""


class NoLocksError(OSError):
    """The file system has no locks."""


def take(file: IO[Any], *, wait: bool = False) -> bool:
    """Lock an open file; False if someone else holds it. Raises NoLocksError."""
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        elif msvcrt is not None:
            windows: Any = msvcrt
            file.seek(FAR)
            windows.locking(file.fileno(), windows.LK_LOCK if wait else windows.LK_NBLCK, 1)
            file.seek(0)
        else:
            raise OSError(errno.ENOTSUP, "this system has no locks")
    except OSError as error:
        if error.errno in HELD:
            return False
        raise NoLocksError(error.errno, error.strerror) from error
    return True


@contextlib.contextmanager
def holding(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock file `path` during the block, and remove it afterwards.

    Gives whether the file system has locks. Raises HeldError if someone else holds it (after a
    while, where `wait` is set), OSError where the file cannot be made.
    """
    import platform  # not when tinygen is imported

    while True:
        file = open(path, "a+b")  # noqa: SIM115  (closed below in each case)
        try:
            certain = _take_or_refuse(file, wait)
            if not certain or _is_at(file, path):  # else its last holder has just removed it
                break
        except BaseException:
            file.close()
            raise
        file.close()
    with contextlib.suppress(OSError):
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}".encode())
        file.flush()
    try:
        yield certain
    finally:
        if fcntl is not None and _is_at(file, path):  # while it is held
            _remove(path)
        with contextlib.suppress(OSError):
            file.close()
        if fcntl is None:  # Windows removes no open file
            _remove(path)


def _take_or_refuse(file: IO[bytes], wait: bool) -> bool:
    """Whether there are locks; raises HeldError, saying who holds this one."""
    try:
        if take(file, wait=wait):
            return True
    except NoLocksError:
        return False
    file.seek(0)
    raise HeldError(file.read(200).decode(errors="replace") or "another process")


def _is_at(file: IO[Any], path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


# ---- temporary files -----------------------------------------------------------------------------


@contextlib.contextmanager
def temporary(target: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A new file beside `target`, locked until the block ends: no one takes it for a leftover.

    Gives the file, which the block closes, and its path; whatever then still lies there is removed.
    """
    with contextlib.ExitStack() as stack:
        while True:
            path = target.with_name(f".{target.name[:50]}.{os.urandom(4).hex()}.tmp")
            file = stack.enter_context(open(path, "xb"))
            stack.callback(_remove, path)
            if fcntl is None:
                break  # Windows removes no open file
            with contextlib.suppress(NoLocksError):
                take(file, wait=True)
            if os.fstat(file.fileno()).st_nlink:  # else it was removed before it was locked
                guard = os.dup(file.fileno())  # keeps the lock when the file is closed
                stack.callback(_close, guard)
                break
        yield file, path


def _close(handle: int) -> None:
    with contextlib.suppress(OSError):
        os.close(handle)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def is_temporary(name: str) -> bool:
    """Whether a file is named as `temporary` names them."""
    parts = name.split(".")  # "", the target's own, 8 hexadecimal digits, "tmp"
    ours = len(parts) > 3 and parts[0] == "" and parts[-1] == "tmp"
    return ours and parts[-2] != "" and set(parts[-2]) <= set("0123456789abcdef")


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files below a folder that no living process writes to.

    Where the file system has no locks, they stay.
    """
    for path in folder.rglob(".*.tmp"):
        if not is_temporary(path.name) or path.is_symlink() or not path.is_file():
            continue
        with contextlib.suppress(OSError):
            if fcntl is None:
                path.unlink()  # fails for a file that is open
                continue
            with open(path, "r+b") as file:
                if take(file):
                    path.unlink()
