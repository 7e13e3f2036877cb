"""The cache folder: compiled kernels are kept there between runs, and checked before they are used.

Damaged machine code ends the process when it is loaded, and no `except` catches that. So every
entry carries a SHA-256, and not a byte of it goes to a compiler or a loader before the hash is
right. Whatever is wrong with an entry, it counts as missing: the kernel is compiled again. An entry
is one file,

    8 bytes      MAGIC
    32 bytes     SHA-256 of what the entry is for (its key), and of the data
    the data

Whoever can write an entry can run code as its reader, hash or not. So the folders are for their
owner alone; one that others own or can write to is refused. Where nothing can be kept, kernels are
compiled for this process only, and a line on standard error says why, once.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import glob
import hashlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
from pathlib import Path

MAGIC = b"tinygen1"


def cache_root() -> Path:
    """$TINYGEN_CACHE, or a folder in the user's cache folder."""
    home = os.environ.get("TINYGEN_CACHE")
    if home:
        return Path(home)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "tinygen" / "kernels"


def usable(folder: Path) -> bool:
    """Whether a folder within cache_root() is there (it is made if need be) and is ours alone."""
    return all(_usable(f) for f in (cache_root(), folder))


@functools.cache
def _usable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.stat(folder)
    except OSError as error:
        not_kept(f"{folder}: {error.strerror or error}")
        return False
    if _is_ours(status):
        return True
    if status.st_uid != os.geteuid():
        cure = "name a folder of your own in TINYGEN_CACHE"
        not_kept(f"{folder} belongs to another user; {cure}")
    else:
        not_kept(
            f"{folder} can be written by others; make it yours alone: `chmod 700 '{folder}'`, and "
            "delete what is in it"
        )
    return False


def _is_ours(status: os.stat_result) -> bool:
    """Whether nobody else can have written it; Windows keeps users' folders apart by itself."""
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@functools.cache
def not_kept(why: str) -> None:
    """Say once on standard error that compiled kernels are not kept."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(f"tinygen: compiled kernels are not kept: {why}", file=sys.stderr)


def read(path: Path, key: bytes) -> bytes | None:
    """The data of a whole entry for `key`; None where there is none, or it is anything else."""
    content = _file_of_ours(path)
    if content is None or not content.startswith(MAGIC):
        return None
    stored, data = content[8:40], content[40:]
    return data if stored == _digest(key, data) else None


def _file_of_ours(path: Path) -> bytes | None:
    """The bytes of a file that nobody else can have written; None if it is anything else."""
    try:  # a pipe is opened without waiting for its other end
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    except OSError:
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or not _is_ours(status):
            return None
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    except (OSError, MemoryError):
        return None
    finally:
        os.close(handle)


_BINARY = getattr(os, "O_BINARY", 0)


def write(path: Path, key: bytes, data: bytes) -> bool:
    """Keep an entry for `key`, whole or not at all; False, and a line said, if it is not kept."""
    return _put(path, MAGIC + _digest(key, data) + data)


def read_named(folder: Path, stem: str, suffix: str = "") -> Path | None:
    """The path of a whole entry that bears its hash in its name, as loaders of files need it."""
    for path in sorted(folder.glob(f"{glob.escape(stem)}-*{suffix}")) if usable(folder) else []:
        content = _file_of_ours(path)
        if content is not None and path.name == f"{stem}-{_short(content)}{suffix}":
            return path
    return None


def write_named(folder: Path, stem: str, content: bytes, suffix: str = "") -> Path:
    """Keep such an entry; where it cannot be kept, it lies in a folder of this process."""
    name = f"{stem}-{_short(content)}{suffix}"
    if usable(folder) and _put(folder / name, content):
        return folder / name
    path = scratch() / name
    path.write_bytes(content)
    return path


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _put(path: Path, content: bytes) -> bool:
    """Write a file of the cache, whole or not at all; False, and a line said, if it is not kept."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600), "wb") as f:
            f.write(content)
        os.replace(part, path)
        return True
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if not isinstance(error, OSError):
            raise
        not_kept(f"{path.parent}: {error.strerror or error}")
        return False


def _digest(key: bytes, data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(key).digest() + data).digest()


@functools.cache
def scratch() -> Path:
    """A folder of this process, for what compilers read and write; it is deleted at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tinygen-"))
    atexit.register(_delete, folder, os.getpid())
    return folder


def _delete(folder: Path, process: int) -> None:
    if os.getpid() == process:  # and not a child that was forked
        shutil.rmtree(folder, ignore_errors=True)
