"""Reading and writing arrays as safetensors files, and writing files whole or not at all.

The format, little endian throughout:

    8 bytes    length of the header, an unsigned integer
    header     JSON {name: {"dtype", "shape", "data_offsets": [begin, end]}}, padded with spaces so
               that the data begins at a multiple of 8; "__metadata__" maps strings to strings
    data       the arrays in C order, one after the other, without gaps

Arrays are stored by decreasing item size and then by name, so that each one is aligned and the
same arrays always give the same bytes.  Metadata is one JSON text with sorted keys, stored under
the key "tinygen".  Beside it stands "sha256", the SHA-256 of the whole file with 64 zeros in place
of these 64 digits, so that every bit of the file counts.  `load` checks it; a file without it (of
another program, or of tinygen before it wrote them) is read without this check.

Files are read through `opened`, which refuses what is no file: a pipe would never end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from . import lock

__all__ = [
    "Arrays", "load", "opened", "read_bytes", "read_json", "read_metadata", "save", "to_bytes",
    "write_bytes", "write_text",
]  # fmt: skip

DTYPES = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
HEADER_LIMIT = 100_000_000  # bytes; the limit of the format
JSON_LIMIT = 64_000_000  # bytes of a JSON file
JSON_DEPTH = 64  # lists and objects within each other
NO_HASH = "0" * 64
# Where our files have their hash: names are sorted, and no array's name comes before it.
HASH = re.compile(rb'\{"__metadata__":\{"sha256":"([0-9a-f]{64})"')


class Arrays(dict[str, NDArray[Any]]):
    """What `load` returns: a dict from name to array, with the file's `metadata` beside it."""

    metadata: dict[str, Any]

    def __init__(self, *args: Any, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__(*args)
        self.metadata = dict(metadata or {})


def save(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write named arrays (or Tensors) of any shape and strides to a safetensors file.

    metadata: a JSON-able dict; tuples come back as lists.  The file is written beside its place
    and renamed, so a failure leaves the old file as it was.  Raises TypeError for a dtype that the
    format lacks (complex, object, text) or metadata that JSON lacks, OSError naming the path.
    """
    pieces = _pieces(arrays, metadata)
    with _replacing(path) as file:
        for piece in pieces:
            file.write(piece)


@runtime_checkable
class HasValues(Protocol):
    """A tensor, of tinygen or of another library, whose values `.numpy()` brings to the host."""

    def numpy(self) -> Any: ...


def host_array(x: Any) -> NDArray[Any]:
    """A tensor, an array or nested lists as a NumPy array."""
    return np.asarray(x.numpy() if isinstance(x, HasValues) else x)


def plain(value: Any) -> Any:
    """Convert NumPy scalars and arrays to Python values for json.dumps(default=...)."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{value!r:.60} is {type(value).__name__}, expected a number, text or a list")


def to_bytes(arrays: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of the file that `save` writes; raises TypeError as it does."""
    return b"".join(_pieces(arrays, metadata))


def _pieces(
    arrays: Mapping[str, Any], metadata: Mapping[str, Any] | None
) -> list[bytes | memoryview]:
    """The bytes of a file one after the other, the arrays not copied together."""
    contiguous = {name: _prepare(name, value) for name, value in arrays.items()}
    order = sorted(contiguous, key=lambda name: (-contiguous[name].dtype.itemsize, name))
    try:
        text = json.dumps(dict(metadata or {}), sort_keys=True, default=plain)
    except (TypeError, ValueError) as error:
        raise TypeError(f"save: metadata must be JSON-able: {error}") from error
    header: dict[str, Any] = {"__metadata__": {"sha256": NO_HASH, "tinygen": text}}
    offset = 0
    for name in order:
        array = contiguous[name]
        header[name] = {
            "dtype": CODES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    if len(encoded) > HEADER_LIMIT:
        raise ValueError(f"save: the header takes {len(encoded):,} bytes, the limit is 100 MB")
    data = [contiguous[name].reshape(-1).view(np.uint8).data for name in order]
    length = len(encoded).to_bytes(8, "little")
    digest = hashlib.sha256(length + encoded)
    for content in data:
        digest.update(content)
    encoded = encoded.replace(NO_HASH.encode(), digest.hexdigest().encode(), 1)
    return [length, encoded, *data]


Check = Callable[[dict[str, Any], dict[str, tuple[int, ...]]], None]


def load(path: str | os.PathLike[str], check: Check | None = None) -> Arrays:
    """Read a safetensors file: a dict of arrays by name, in the file's order, with `.metadata`.

    `.metadata` is the dict given to `save`; for a file written elsewhere, its strings.  The arrays
    are writable copies in the machine's byte order.  check(metadata, shapes by name) may raise
    ValueError before any array is read.  Raises ValueError naming the path and what was met when
    the file is truncated, corrupt, has changed since it was written (by its SHA-256), is no file
    but a folder, a pipe or a device, or holds a dtype that NumPy lacks.
    """
    name = os.fspath(path)
    with opened(path) as file:
        try:
            head, metadata, entries = _header(file)
            if check is not None:
                check(metadata, {entry[4]: entry[3] for entry in entries})
            return _arrays(file, head, metadata, entries)
        except _FormatError as error:
            raise ValueError(
                f"load: {name} is not a whole safetensors file: {error}; "
                "write it again, or take another copy"
            ) from None
        except MemoryError:
            size = os.fstat(file.fileno()).st_size
            raise MemoryError(f"load: {name} takes {size:,} bytes, more than are free") from None


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata of a safetensors file, without reading its arrays; ValueError as of `load`."""
    with opened(path) as file:
        try:
            return _header(file)[1]
        except _FormatError as error:
            raise ValueError(f"{os.fspath(path)} is no safetensors file: {error}") from None


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file open for reading; ValueError for a folder, a pipe or a device, which never end."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    kind = _kind(os.stat(path).st_mode)
    if kind == "file":  # even to open a device may do something
        handle = os.open(path, flags)  # without waiting for the other end of a pipe
        kind = _kind(os.fstat(handle).st_mode)
        if kind == "file":
            with open(handle, "rb") as file:
                yield file
            return
        os.close(handle)
    raise ValueError(f"{os.fspath(path)} is a {kind}, expected a file")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe"}
    return kinds.get(stat.S_IFMT(mode), "device")


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a file; ValueError if there are more than `limit`, or it is no file."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError(f"{os.fspath(path)} has {size:,} bytes, expected at most {limit:,}")
        return file.read(limit)


def read_json(path: str | os.PathLike[str], cure: str = "") -> Any:
    """What a JSON file says; ValueError saying what is wrong with it, ending with a cure.

    Raises FileNotFoundError where there is none.
    """
    try:
        return parse_json(read_bytes(path, JSON_LIMIT))
    except _FormatError as error:
        cure = cure and f"; {cure}"
        raise ValueError(f"{os.fspath(path)} is damaged: {error}{cure}") from None


def parse_json(text: bytes | str, what: str = "it") -> Any:
    """What a JSON text says; a ValueError if it is none, or nested more than JSON_DEPTH deep."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except ValueError as error:
        raise _FormatError(f"{what} is not JSON ({error})") from None
    except RecursionError:
        raise _FormatError(_too_deep(what)) from None
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > JSON_DEPTH:
            raise _FormatError(_too_deep(what))
        inner: list[Any] = []
        for v in level:
            inner += v.values() if isinstance(v, dict) else v if isinstance(v, list) else ()
        level = [v for v in inner if isinstance(v, (dict, list))]
    return value


def _too_deep(what: str) -> str:
    return f"{what} has more than {JSON_DEPTH} lists or objects in each other"


class _FormatError(ValueError):
    """A rule of the format that a file breaks."""


def _prepare(name: str, value: Any) -> NDArray[Any]:
    """A C-ordered little-endian array of one of DTYPES, from an array or a Tensor."""
    if not isinstance(name, str):
        raise TypeError(f"save: names must be strings, got {name!r}")
    if name == "__metadata__":
        raise ValueError("save: the name '__metadata__' is taken by the format; choose another")
    array = host_array(value)
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if array.dtype not in CODES:
        raise TypeError(
            f"save: array {name!r} has dtype {array.dtype}, expected one of "
            f"{', '.join(dtype.name for dtype in CODES)}; convert it with .astype"
        )
    return array


Entry = tuple[int, int, np.dtype[Any], tuple[int, ...], str]  # begin, end, dtype, shape, name


def _header(file: IO[bytes]) -> tuple[bytes, dict[str, Any], list[Entry]]:
    """The bytes before the data, what they say: metadata, arrays in order; raises _FormatError."""
    size = os.fstat(file.fileno()).st_size
    if size < 8:
        raise _FormatError(f"it has {size} bytes, expected at least 8")
    head = file.read(8)
    length = int.from_bytes(head, "little")
    if length > min(HEADER_LIMIT, size - 8):
        raise _FormatError(f"its header should take {length:,} bytes, the file has {size:,}")
    head += file.read(length)
    header = parse_json(head[8:], "its header")
    if not isinstance(header, dict):
        raise _FormatError(f"its header is a {type(header).__name__}, expected an object")
    metadata = _metadata(header.pop("__metadata__", {}), head[8:])
    entries = sorted(
        ((*_entry(name, entry), name) for name, entry in header.items()), key=lambda e: e[:2]
    )
    position, data = 0, size - 8 - length  # the arrays must cover the data without gap or overlap
    for begin, end, _, _, name in entries:
        if begin != position:
            raise _FormatError(f"array {name!r} begins at byte {begin}, expected {position}")
        if end > data:
            raise _FormatError(f"array {name!r} ends at byte {end:,} of {data:,}: truncated")
        position = end
    if position != data:
        raise _FormatError(f"its arrays take {position:,} bytes, its data {data:,}")
    return head, metadata, entries


def _arrays(file: IO[bytes], head: bytes, metadata: dict[str, Any], entries: list[Entry]) -> Arrays:
    """The arrays, and that they are what was written; raises _FormatError."""
    hashed = HASH.match(head, 8)
    digest = hashlib.sha256(HASH.sub(_without_hash, head, count=1) if hashed else head)
    arrays = Arrays(metadata=metadata)
    for begin, end, dtype, shape, name in entries:
        try:
            array = np.empty(shape, dtype)
        except ValueError as error:  # too many axes; none of data and others beyond all bounds
            raise _FormatError(f"array {name!r} of shape {shape!r:.200}: {error}") from None
        content = array.reshape(-1).view(np.uint8).data
        if file.readinto(content) != end - begin:  # type: ignore[attr-defined]
            raise _FormatError(f"array {name!r} ends early: the file was cut as it was read")
        digest.update(content)
        if dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
            raise _FormatError(f"array {name!r} is of truth values and holds others than 0 and 1")
        arrays[name] = array.astype(dtype.newbyteorder("="), copy=False)
    if hashed and digest.hexdigest() != hashed[1].decode():
        raise _FormatError(
            f"it has changed since it was written: its SHA-256 is {digest.hexdigest()[:16]}..., "
            f"expected {hashed[1].decode()[:16]}..."
        )
    return arrays


def _without_hash(found: re.Match[bytes]) -> bytes:
    return found[0].replace(found[1], NO_HASH.encode())


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict, refusing repeated keys."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name is repeated")
    return result


def _metadata(raw: Any, header: bytes) -> dict[str, Any]:
    """The metadata that `save` was given, or the strings of a file written elsewhere."""
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise _FormatError("its metadata is not a map from strings to strings")
    if "tinygen" not in raw:
        return raw
    digits = len(NO_HASH)
    if not HASH.match(header) and any(k == "sha256" or len(raw[k]) == digits for k in raw):
        raise _FormatError("its SHA-256 is not where tinygen writes it: the file was changed since")
    metadata = parse_json(raw["tinygen"], "its metadata")
    if not isinstance(metadata, dict):
        raise _FormatError(f"its metadata is a {type(metadata).__name__}, expected an object")
    return metadata


def _entry(name: str, entry: Any) -> tuple[int, int, np.dtype[Any], tuple[int, ...]]:
    """(begin, end, dtype, shape) of one array of the header; raises _FormatError."""
    try:
        code, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        raise _FormatError(f"array {name!r} lacks dtype, shape or data_offsets") from None
    if not isinstance(code, str) or code not in DTYPES:
        raise _FormatError(
            f"array {name!r} has dtype {code!r}, expected one of {', '.join(DTYPES)}"
        )
    numbers = [*shape, begin, end] if isinstance(shape, list) else [None]
    if not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        raise _FormatError(f"array {name!r} has shape {shape!r}, data_offsets {[begin, end]!r}")
    size = DTYPES[code].itemsize
    for n in shape:
        size *= n
    if end - begin != size:
        raise _FormatError(
            f"array {name!r} of {code} {tuple(shape)} takes {size} bytes, not {end - begin}"
        )
    return begin, end, DTYPES[code], tuple(shape)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file or, on any failure, leave the old one; raises OSError naming the path."""
    with _replacing(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a whole UTF-8 text file or, on any failure, leave the old one (newlines as given)."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def _replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """An open temporary file beside `path` that takes its place when the block ends well."""
    target = Path(os.path.realpath(path))
    try:
        with lock.temporary(target) as (file, temporary):
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"cannot write the file, nothing was changed: {reason}"
        raise OSError(error.errno, message, os.fspath(path)) from error
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Ask the disk to keep the renaming; on systems where folders cannot be opened, nothing."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
