"""IDX files, the format of MNIST and Fashion-MNIST: reading, and downloading with checksums.

An IDX file: two zero bytes, the type (8 = unsigned byte), the number of dimensions, each dimension
as a big-endian 32-bit integer, then the values in C order.  Often gzipped.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .dataset import DataError

__all__ = ["CLASSES", "Split", "download", "find", "read", "read_split"]

Split = tuple[NDArray[np.uint8], NDArray[np.int64] | None]  # images (N, H, W, 1), labels (N,)

PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
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


def read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The unsigned bytes of an IDX file, gzipped or not; raises DataError naming what is wrong."""
    try:
        blob = path.read_bytes()
        if blob[:2] == b"\x1f\x8b":
            blob = gzip.decompress(blob)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); expected a whole IDX file, gzipped or not; "
            "copy or download it again"
        ) from error
    head = 4 + 4 * dimensions
    magic = int.from_bytes(blob[:4], "big")
    if len(blob) < head or magic != 0x800 + dimensions:
        raise DataError(
            f"{path}: {len(blob)} bytes that begin with 0x{blob[:4].hex()}, expected an IDX file "
            f"of bytes in {dimensions} dimensions, 0x{0x800 + dimensions:08x}; "
            "check that it is the right file"
        )
    shape = tuple(int.from_bytes(blob[k : k + 4], "big") for k in range(4, head, 4))
    size = math.prod(shape)
    if len(blob) != head + size:
        raise DataError(
            f"{path}: {len(blob):,} bytes, but its header {shape} asks for {head + size:,}; "
            "the file is truncated or corrupt, copy or download it again"
        )
    return np.frombuffer(blob, np.uint8, offset=head).reshape(shape)


def find(folder: Path) -> dict[str, Path]:
    """The files of PARTS that a folder holds, also with "." before idx, or ".gz" at the end."""
    found = {}
    for part in PARTS:
        for name in (part, part.replace("-idx", ".idx")):
            for ending in ("-ubyte", "-ubyte.gz"):
                path = folder / (name + ending)
                if part not in found and path.is_file():
                    found[part] = path
    return found


def read_split(files: dict[str, Path], split: str) -> Split | None:
    """Images (N, H, W, 1) and labels of "train" or "t10k"; None where the folder has no images."""
    images_path, labels_path = files.get(f"{split}-images-idx3"), files.get(f"{split}-labels-idx1")
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
