"""Files from elsewhere: what they really are, how they are named, whether they fit in memory."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

__all__ = [
    "WRITTEN",
    "DataError", "NoImagesError", "as_path", "as_text", "check_plain", "check_room", "class_name",
    "file_kind", "natural", "printable",
]  # fmt: skip

# How the files begin that people meet under another name, and what to say of them.
BEGINNINGS = (
    (b"version https://git-lfs", "it is a Git LFS pointer; run `git lfs pull` for the file itself"),
    (b"<!doctype html", "it is an HTML page, so the download went wrong; download it again"),
    (b"<html", "it is an HTML page, so the download went wrong; download it again"),
    (b"<?xml", "it is an XML document, so the download went wrong; download it again"),
    (b"<svg", "it is an SVG drawing; convert it to PNG"),
    (b"%!ps", "it is a PostScript document, which is not read; convert it to PNG"),
    (b"\xc5\xd0\xd3\xc6", "it is a PostScript document, which is not read; convert it to PNG"),
    (b"%pdf", "it is a PDF document; convert its pages to PNG"),
    (b"\x93numpy", "it is a NumPy array; name it .npy"),
    (b"\x89hdf", "it is an HDF5 file; convert it to .npz"),
    (b"\x89png", "it is a PNG image"),
    (b"\xff\xd8\xff", "it is a JPEG image"),
    (b"gif8", "it is a GIF image"),
    (b"ii*\x00", "it is a TIFF image"),
    (b"mm\x00*", "it is a TIFF image"),
    (b"\x00\x00\x01\x00", "it is an icon; convert it to PNG"),
    (b"\x00\x00\x00\x0cjp  ", "it is a JPEG 2000 image; convert it to PNG or JPEG"),
    (b"\x00\x00\x00\x0cjxl ", "it is a JPEG XL image; convert it to PNG or JPEG"),
    (b"8bps", "it is a Photoshop file; export it as PNG"),
    (b"\x1f\x8b", "it is gzipped; unpack it with gunzip, or tar xf if it holds several files"),
    (b"bzh", "it is packed by bzip2; unpack it"),
    (b"\xfd7zxz", "it is packed by xz; unpack it"),
    (b"7z\xbc\xaf", "it is a 7-Zip archive; unpack it"),
    (b"par1", "it is a Parquet table; write its images as .npz"),
    (b"matlab", "it is a MATLAB file; write its images as .npz"),
    (b"sqlite", "it is a database; write its images as .npz"),
    (b"pk\x03\x04", "it is a ZIP archive; unpack it"),
    (b"rar!", "it is a RAR archive; unpack it"),
    (b"\x80\x02", "it is a Python pickle, which can run programs and is not read"),
    (b"\x80\x03", "it is a Python pickle, which can run programs and is not read"),
    (b"\x80\x04", "it is a Python pickle, which can run programs and is not read"),
    (b"\x80\x05", "it is a Python pickle, which can run programs and is not read"),
)
# What can be done with files of a kind that is not read
WRITTEN = "; write the images as x_train (N, H, W) and labels as y_train with np.savez"
MOST_UNPACKED = 300  # times its own size: deflate gives 1,032 at most, real images far less
SMALL = 1 << 26  # bytes that any machine has room for


class DataError(ValueError):
    """Data that cannot be used: says what was met, what was expected and what to do.

    Control characters of file names are escaped, so that no name commands the terminal, or looks
    like a line of ours.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(map(printable, lines)))


class NoImagesError(DataError):
    """A folder without a single image."""


def as_text(path: str) -> str:
    """An absolute path as JSON can keep it: itself, or a file: URI where it is not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return Path(path).as_uri()
    return path


def as_path(text: str) -> str:
    """The path of a text that `as_text` gave, or of a path."""
    if not text.startswith("file://"):
        return text
    from urllib.parse import unquote_to_bytes

    return os.fsdecode(unquote_to_bytes(text.removeprefix("file://")))


def printable(text: str, keep: str = "") -> str:
    """A name as it can be shown, kept as JSON and sent to a terminal.

    Control characters, marks that turn the direction of writing, and bytes that are not UTF-8
    become escapes such as \\x1b; the characters in `keep` stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep else _escaped(c) for c in text)


def class_name(text: str) -> str:
    """A class as it is called: printable, and an accented letter written in one way only.

    File systems and keyboards write "é" as one character, or as an e and an accent.
    """
    if text.isascii():
        return printable(text)
    import unicodedata

    return unicodedata.normalize("NFC", printable(text))


def _escaped(character: str) -> str:
    import unicodedata  # here, as few names need it and importing tinygen shall be quick

    kind = unicodedata.category(character)
    if kind not in ("Cc", "Cf", "Cs", "Zl", "Zp") or character == "\u200d":  # joins emoji
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode marks it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def natural(name: str) -> tuple[list[str | int], str]:
    """A key that sorts the numbers in names by their size: 1, 2, 10."""
    parts = re.split(r"(\d{1,99})", name)  # Python refuses numbers of thousands of digits
    return [int(part) if k % 2 else part for k, part in enumerate(parts)], name


def check_plain(path: Path) -> None:
    """Refuse pipes, devices and sockets: reading one may never end."""
    if not path.exists():
        raise DataError(f"{path}: not there any more; check whether it was moved or is removed now")
    if not path.is_file():
        raise DataError(f"{path}: not a plain file (a pipe, a device, a folder); give a file")


def file_kind(path: Path) -> str:
    """What a file is that cannot be read as what its name says; "" where that is not known."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(512)
    except OSError as error:
        return error.strerror or "it cannot be opened"
    if not head:
        return "it is empty"
    if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif", b"ftypavis"):
        return "it is a HEIC or AVIF image; convert it to PNG or JPEG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "it is a WebP image"
    if head[257:262] == b"ustar":
        return "it is a tar archive; unpack it with tar xf"
    if head[128:132] == b"DICM":
        return "it is a DICOM image; convert it to PNG of 16 bits"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, meaning in BEGINNINGS:
        if start.startswith(beginning) or head.lower().startswith(beginning):
            return meaning
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return ""
    first = text.strip().splitlines()[0] if text.strip() else ""
    return f"it is text that begins {first[:40]!r}" if first.isprintable() and first else ""


def check_room(name: str, size: int, cure: str, packed: int | None = None) -> None:
    """Refuse what does not fit in memory before it is read.

    size: bytes that it declares.  cure: what to do.  packed: bytes on the disk, where compressed.
    """
    if size <= SMALL:
        return
    room = _memory() * 3 // 4
    if size > room:
        raise DataError(
            f"{name}: {amount(size)} of data, but this machine has room for {amount(room)}; {cure}"
        )
    if packed is not None and size > MOST_UNPACKED * packed:
        raise DataError(
            f"{name}: {amount(packed)} that unpack to {amount(size)}; no images compress so "
            "well; take the file from a source that you trust"
        )


def amount(size: int) -> str:
    """Bytes in a unit that fits: 1.5 GB."""
    if size < 1000:
        return f"{size} bytes"
    power = min(int(math.log10(size)) // 3, 6)
    return f"{size / 1000**power:.1f} {('', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB')[power]}"


def _memory() -> int:
    """Bytes of memory of this machine, or of the container that this process runs in."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no such call, as on Windows
        size = 1 << 34
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text()
    except OSError:
        return size
    return min(size, int(limit)) if limit.strip().isdigit() else size
