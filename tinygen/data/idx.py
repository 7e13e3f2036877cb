"""IDX files, the format of MNIST and Fashion-MNIST: reading, and downloading with checksums.

An IDX file: two zero bytes, the type (8 = unsigned byte), the number of dimensions, each dimension
as a big-endian 32-bit integer, then the values in C order.  Often gzipped.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .files import DataError, check_plain, check_room, file_kind
from .report import Report

if TYPE_CHECKING:
    from gzip import GzipFile

__all__ = [
    "CLASSES",
    "Set",
    "Split",
    "download",
    "find",
    "find_below",
    "is_idx",
    "read",
    "read_split",
]

Split = tuple[NDArray[np.uint8], NDArray[np.int64] | None]  # images (N, H, W, 1), labels (N,)

PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
# emnist-letters-train-images-idx3-ubyte.gz, train-images.idx3-ubyte, t10k-labels-idx1-ubyte
FILE = re.compile(
    r"(?P<set>.*?)(?P<split>train|t10k|test)-(?P<what>images|labels)"
    r"[-.]idx(?P<dimensions>[13])[-.]ubyte(\.gz)?",
    re.IGNORECASE,
)
DEEPEST = 3  # folders below the given one in which the files are looked for: MNIST/raw
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
}
# name: (mirrors, MD5 of each of PARTS, gzipped)
MIRRORS = {
    "mnist": (
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashion-mnist": (
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
}


class Set:
    """The files of one set of images in a folder: {"train-images": path, "t10k-labels": path, ...}.

    prefix: what the names begin with: "" or "emnist-letters".
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder, self.prefix = folder, prefix
        self.files: dict[str, Path] = {}

    @property
    def turned(self) -> bool:
        """Whether the images lie on their side, rows and columns exchanged, as EMNIST's do."""
        return self.prefix.startswith("emnist")

    def tell_others(self, report: Report) -> None:
        """Note the other files of the folder, but for second copies of the same."""
        read = {path.name for path in self.files.values()} | {f"{self.prefix}-mapping.txt"}
        for path in _entries(self.folder):
            twin = {path.name, path.name.removesuffix(".gz")} & read
            if path.is_file() and not twin and not path.name.startswith("."):
                report.leave_out("other", path.name)

    def names(self) -> tuple[str, ...] | None:
        """What the labels mean, where a mapping file says so: a line "label code [code]"."""
        path = self.folder / f"{self.prefix}-mapping.txt"
        if not path.is_file() or path.stat().st_size > 100_000:
            return None
        try:
            rows = [[int(v) for v in line.split()] for line in path.read_text().splitlines()]
            called = {row[0]: chr(row[1]) for row in rows if row}
        except (ValueError, IndexError, OverflowError) as error:
            raise DataError(
                f"{path}: cannot be read ({error}); expected lines of a label and a character's "
                "code, for example 1 65; copy it again, or remove it to go by numbers"
            ) from error
        top = max(called, default=-1)
        if not 0 <= top < 1000 or min(called) < 0:
            raise DataError(f"{path}: labels up to {top}, expected 0 to 999")
        return tuple(called.get(k, str(k)) for k in range(top + 1))


def is_idx(path: Path) -> bool:
    """Whether a file is called as IDX files of images or labels are."""
    return FILE.fullmatch(path.name) is not None


def find(path: Path) -> list[Set]:
    """The sets of IDX files in a folder; of a file, the set that it belongs to."""
    if path.is_dir():
        return _find(path)
    match = FILE.fullmatch(path.name)
    prefix = match["set"] if match else ""
    return [s for s in _find(path.parent) if s.prefix == prefix.rstrip("-_.").lower()]


def find_below(folder: Path) -> list[Set]:
    """The sets in the folders below one, the least deep."""
    level = [folder]
    for _ in range(DEEPEST):
        level = [e for above in level for e in _entries(above)
                 if e.is_dir() and not e.name.startswith(".")]  # fmt: skip
        found = [s for inner in level for s in _find(inner)]
        if found:
            return _joined(found)
    return []


def _joined(found: list[Set]) -> list[Set]:
    """One set where each of its files lies in a folder of its own."""
    files = [entry for s in found for entry in s.files.items()]
    if len(found) > 1 and len({s.prefix for s in found}) == 1 and len(dict(files)) == len(files):
        joined = Set(found[0].folder.parent, found[0].prefix)
        joined.files = dict(files)
        return [joined]
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror})") from error


def _find(folder: Path) -> list[Set]:
    found: dict[str, Set] = {}
    for path in _entries(folder):  # a name comes before itself with .gz, and stays
        match = FILE.fullmatch(path.name)
        if match is not None and path.is_file():
            prefix = match["set"].rstrip("-_.").lower()
            split = "train" if match["split"].lower() == "train" else "t10k"
            files = found.setdefault(prefix, Set(folder, prefix)).files
            files.setdefault(f"{split}-{match['what'].lower()}", path)
    return list(found.values())


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The unsigned bytes of an IDX file, gzipped or not; raises DataError naming what is wrong.

    No more is unpacked than the file's header declares, and only if that fits in memory.
    """
    import gzip  # here, so that importing tinygen is quick

    check_plain(path)
    try:
        with open(path, "rb") as stream:
            size = path.stat().st_size
            if stream.read(2) != b"\x1f\x8b":
                stream.seek(0)
                return _read(path, stream, dimensions, size, None)
            stream.seek(0)
            with gzip.GzipFile(fileobj=stream) as packed:
                return _read(path, packed, dimensions, None, size)
    except DataError:
        raise
    except Exception as error:  # OSError, EOFError, zlib.error, and what else damage brings
        raise DataError(
            f"{path}: cannot be read ({error}); expected a whole IDX file, gzipped or not; "
            "copy or download it again"
        ) from error


def _read(
    path: Path,
    stream: IO[bytes] | GzipFile,
    dimensions: int,
    size: int | None,
    packed: int | None,
) -> NDArray[np.uint8]:
    """size: bytes of the file where it is not gzipped, packed: where it is."""
    head = 4 + 4 * dimensions
    start = stream.read(head)
    if len(start) < head or int.from_bytes(start[:4], "big") != 0x800 + dimensions:
        kind = file_kind(path) if packed is None else ""
        met = f"{len(start) if size is None else size} bytes that begin with 0x{start[:4].hex()}"
        raise DataError(
            f"{path}: {met}, expected an IDX file "
            f"of bytes in {dimensions} dimensions, 0x{0x800 + dimensions:08x}; "
            f"{kind or 'check that it is the right file'}"
        )
    shape = tuple(int.from_bytes(start[k : k + 4], "big") for k in range(4, head, 4))
    declared = head + math.prod(shape)
    if size is None:
        check_room(str(path), declared, "the file is corrupt, download it again", packed)
        blob = stream.read(declared - head + 1)
        met = f"{head + len(blob):,}" if head + len(blob) <= declared else f"more than {declared:,}"
    else:
        blob = stream.read() if size == declared else b""
        met = f"{size:,}"
    if len(blob) != declared - head:
        raise DataError(
            f"{path}: {met} bytes, but its header {shape} asks for {declared:,}; "
            "the file is truncated or corrupt, copy or download it again"
        )
    return np.frombuffer(blob, np.uint8).reshape(shape)


def read_split(found: Set, split: str) -> Split | None:
    """Images (N, H, W, 1) and labels of "train" or "t10k"; None where the folder has no images."""
    images_path = found.files.get(f"{split}-images")
    labels_path = found.files.get(f"{split}-labels")
    if images_path is None:
        if labels_path is not None:
            raise DataError(
                f"{labels_path}: labels without images; expected {split}-images-idx3-ubyte "
                "or its .gz in the same folder"
            )
        return None
    images = read(images_path, 3)[..., None]
    if images.size == 0:
        raise DataError(f"{images_path}: no images, its header says {images.shape[:3]}")
    if found.turned:
        images = np.ascontiguousarray(images.transpose(0, 2, 1, 3))
    if labels_path is None:
        return images, None
    labels = read(labels_path, 1).astype(np.int64)
    if len(labels) != len(images):
        raise DataError(
            f"{labels_path}: {len(labels)} labels, but {images_path.name} has {len(images)} "
            "images; expected one label an image; take both files from the same source"
        )
    return images, labels


def download(name: str) -> Path:
    """The folder with the four files of "mnist" or "fashion-mnist", downloaded once.

    The files go to the user's cache folder and are checked by MD5.  Raises DataError without pooch
    or without a network.
    """
    try:
        import pooch
    except ImportError:
        raise DataError(
            f'{name}: downloading needs pooch; run pip install "tinygen[app]", '
            "or use strokes, or give the path of a folder with the files"
        ) from None
    pooch.get_logger().setLevel("WARNING")
    mirrors, sums = MIRRORS[name]
    folder = Path(pooch.os_cache("tinygen")) / name
    for part, md5 in zip(PARTS, sums, strict=True):
        file = f"{part}-ubyte.gz"
        reasons = []
        for mirror in mirrors:
            try:
                pooch.retrieve(
                    mirror + file,
                    known_hash=f"md5:{md5}",
                    fname=file,
                    path=folder,
                    downloader=pooch.HTTPDownloader(timeout=30),
                )
                break
            except (OSError, ValueError) as error:  # no network, no right to write; wrong checksum
                reasons.append(f"{mirror}: {type(error).__name__}")
        else:
            raise DataError(
                f"{name}: cannot download {file} ({'; '.join(reasons)}); without a network use "
                "strokes, which needs no download, or give the path of a folder with the files"
            )
    return folder
