"""Reading and writing arrays as safetensors files, and writing files whole or not at all.

The format, little endian throughout:

    8 bytes    length of the header, an unsigned integer
    header     JSON {name: {"dtype", "shape", "data_offsets": [begin, end]}}, padded with spaces so
               that the data begins at a multiple of 8; "__metadata__" maps strings to strings
    data       the arrays in C order, one after the other, without gaps

Arrays are stored by decreasing item size and then by name, so that each one is aligned and the
same arrays always give the same bytes.  Metadata is one JSON text with sorted keys, stored under
the single key "tinygen": several keys would leave their order to the reader.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from . import lock

__all__ = ["Arrays", "load", "save", "to_bytes", "write_bytes", "write_text"]

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


def plain(value: Any) -> Any:
    """What json.dumps(default=...) makes of NumPy's numbers and arrays: Python's."""
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
    header: dict[str, Any] = {}
    if metadata is not None:
        try:
            text = json.dumps(dict(metadata), sort_keys=True, default=plain)
        except (TypeError, ValueError) as error:
            raise TypeError(f"save: metadata must be JSON-able: {error}") from error
        header["__metadata__"] = {"tinygen": text}
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
    return [len(encoded).to_bytes(8, "little"), encoded, *data]


def load(path: str | os.PathLike[str]) -> Arrays:
    """Read a safetensors file: a dict of arrays by name, in the file's order, with `.metadata`.

    `.metadata` is the dict given to `save`; for a file written elsewhere, its strings.  The arrays
    are writable copies in the machine's byte order.  Raises ValueError naming the path and what
    was met when the file is truncated, corrupt, or holds a dtype that NumPy lacks.
    """
    blob = Path(path).read_bytes()
    try:
        return _parse(blob)
    except _FormatError as error:
        raise ValueError(
            f"load: {os.fspath(path)} is not a whole safetensors file: {error}; "
            "write it again, or take another copy"
        ) from None


class _FormatError(Exception):
    """A rule of the format that a file breaks."""


def _prepare(name: str, value: Any) -> NDArray[Any]:
    """A C-ordered little-endian array of one of DTYPES, from an array or a Tensor."""
    if not isinstance(name, str):
        raise TypeError(f"save: names must be strings, got {name!r}")
    if name == "__metadata__":
        raise ValueError("save: the name '__metadata__' is taken by the format; choose another")
    array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    if array.dtype not in CODES:
        raise TypeError(
            f"save: array {name!r} has dtype {array.dtype}, expected one of "
            f"{', '.join(dtype.name for dtype in CODES)}; convert it with .astype"
        )
    return array


def _parse(blob: bytes) -> Arrays:
    """The arrays and metadata in the bytes of a file; raises _FormatError."""
    if len(blob) < 8:
        raise _FormatError(f"it has {len(blob)} bytes, expected at least 8")
    length = int.from_bytes(blob[:8], "little")
    if length > min(HEADER_LIMIT, len(blob) - 8):
        raise _FormatError(f"its header should take {length:,} bytes, the file has {len(blob):,}")
    try:
        header = json.loads(blob[8 : 8 + length], object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _FormatError(f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise _FormatError(f"its header is a {type(header).__name__}, expected an object")
    metadata = _metadata(header.pop("__metadata__", {}))
    data = memoryview(blob)[8 + length :]
    entries = sorted(
        ((*_entry(name, entry), name) for name, entry in header.items()), key=lambda e: e[:2]
    )
    arrays = Arrays(metadata=metadata)
    position = 0  # the arrays must cover the data without gap or overlap
    for begin, end, dtype, shape, name in entries:
        if begin != position:
            raise _FormatError(f"array {name!r} begins at byte {begin}, expected {position}")
        if end > len(data):
            raise _FormatError(f"array {name!r} ends at byte {end:,} of {len(data):,}: truncated")
        array = np.frombuffer(data[begin:end], dtype=dtype).reshape(shape)
        arrays[name] = array.astype(dtype.newbyteorder("="))
        position = end
    if position != len(data):
        raise _FormatError(f"its arrays take {position:,} bytes, its data {len(data):,}")
    return arrays


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict, refusing repeated keys."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name is repeated")
    return result


def _metadata(raw: Any) -> dict[str, Any]:
    """The metadata that `save` was given, or the strings of a file written elsewhere."""
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise _FormatError("its metadata is not a map from strings to strings")
    if "tinygen" not in raw:
        return raw
    try:
        metadata = json.loads(raw["tinygen"])
    except (ValueError, RecursionError) as error:
        raise _FormatError(f"its metadata is not JSON ({error})") from None
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
