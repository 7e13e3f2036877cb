"""From image files to pixels: decoded, upright, scaled, those with transparency on one paper."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .files import DataError, check_plain, file_kind
from .pixels import import_pillow, levels, scaled, with_channels
from .report import Report

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ENDINGS", "PAPERS", "Picture", "decode", "on_paper", "read_image", "to_levels"]

ENDINGS = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".webp", ".bmp", ".dib", ".gif",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
# None of them starts a program, as PostScript would.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM")
MOST_PIXELS = 100_000_000
PAPERS = ("white", "black")
CONTRAST = 64  # levels: a drawing that differs less from its paper is taken for lost


@dataclass(frozen=True)
class Picture:
    """A decoded file: pixels (H, W, C), uint8, or counts of more bits or floats where `deep`.

    Of an image with transparency they lie on white paper, and `on_black` holds it on black;
    `ink` is the mean level of what is drawn, weighted by its opacity.
    """

    pixels: NDArray[Any]
    on_black: NDArray[np.uint8] | None = None
    ink: float | None = None
    frames: bool = False  # more than the first, which is read
    coarse: bool = False  # colours of 16 bits, of which Pillow reads the upper 8
    size: tuple[int, int] = (0, 0)  # (height, width) in the file, upright
    inks: str = ""  # what its colours are, where they are not of the screen
    white: int | None = None  # the count that is white, where the file says so
    turned: bool = False  # 0 is white, as in some TIFF files
    ends: NDArray[Any] | None = None  # the least and the largest count before scaling

    @property
    def deep(self) -> bool:
        """Whether the pixels are still to become levels."""
        return self.pixels.dtype != np.uint8

    @property
    def stored(self) -> tuple[int | None, bool, NDArray[Any]]:
        """What `to_levels` has to know of a deep picture."""
        none = np.empty(0, self.pixels.dtype)
        return self.white, self.turned, none if self.ends is None else self.ends


def decode(path: Path, size: tuple[int, int] | None) -> Picture:
    """One image file, upright, scaled to `size`; raises DataError where it cannot be read."""
    pillow = import_pillow(str(path))
    from PIL import ImageOps

    check_plain(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about damage that does not matter
            with pillow.open(path, formats=FORMATS) as file:
                width, height = file.size
                if width * height > MOST_PIXELS:
                    raise ValueError(
                        f"it declares {width:,} x {height:,} pixels; at most "
                        f"{MOST_PIXELS // 10**6} million are read"
                    )
                frames = file.format != "MPO" and bool(getattr(file, "is_animated", False))
                stored = _stored(file)
                upright: Image.Image = ImageOps.exif_transpose(file)
                picture = _picture(pillow, upright, size, stored)
                extent = upright.height, upright.width
                return replace(picture, frames=frames, size=extent, inks=_inks(file))
    except Exception as error:  # broken files raise nearly every exception there is
        reason = _reason(path, error)
        raise DataError(
            f"{path}: cannot be read as an image ({reason}); expected a whole image file; "
            "remove or replace it"
        ) from error


def _reason(path: Path, error: Exception) -> str:
    """Why a file cannot be read: what it really is, or what Pillow says."""
    if type(error).__name__ == "DecompressionBombError":
        return f"it declares more than {MOST_PIXELS // 10**6} million pixels"
    if type(error).__name__ != "UnidentifiedImageError":
        return str(error) or type(error).__name__
    kind = file_kind(path)
    if kind == "it is a TIFF image":
        return f"{kind} of values that are not read, such as floats or 32 bits in colour"
    found = "" if kind.endswith(" image") else kind
    return found or "it is no whole PNG, JPEG, WebP, BMP, GIF, TIFF or PPM image"


def _inks(file: Any) -> str:
    """What the colours of a file are, where they differ from those of the screen (sRGB)."""
    if file.mode == "CMYK":
        return "inks (CMYK)"
    profile = file.info.get("icc_profile") or b""
    plain = b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile
    return "" if plain or not profile or file.mode[:1] not in "RYP" else "a profile of their own"


@dataclass(frozen=True)
class _Stored:
    """How a file stores its values, where Pillow hides it.

    raw: Pillow's name for it, such as "RGB;16B".  white: the count that is white, where a file says
    so other than by its number of bits.  turned: whether 0 is white, and Pillow leaves it so.
    """

    raw: str
    white: int | None
    turned: bool


def _stored(file: Any) -> _Stored:
    tiles = getattr(file, "tile", ())
    how = tiles[0][3] if tiles else ""
    raw, *more = (how,) if isinstance(how, str) else how
    white, turned = None, False
    if file.format == "PPM" and file.mode == "I" and more:
        white = int(more[0])
    if file.format == "TIFF":
        bits = file.tag_v2.get(258, (1,))[0]  # BitsPerSample
        white = (1 << bits) - 1 if file.mode.startswith("I") and 8 < bits < 16 else None
        turned = file.mode[0] in "IF" and file.tag_v2.get(262) == 0  # PhotometricInterpretation
    return _Stored(str(raw), white, turned)


def _picture(
    pillow: Any, picture: Image.Image, size: tuple[int, int] | None, stored: _Stored
) -> Picture:
    """The pixels of an upright image, grey or RGB."""

    def array(image: Image.Image) -> NDArray[Any]:
        values = np.asarray(image) if size is None else scaled(pillow, image, size)
        return values.reshape(*values.shape[:2], -1)

    coarse = ";16" in stored.raw and picture.mode[0] not in "IF"
    if picture.mode.startswith(("I", "F")):  # grey of 16 or 32 bits, or floats
        counts = _counts(np.asarray(picture), stored)
        clear = picture.info.get("transparency")
        if not isinstance(clear, int):
            ends = None
            if size is not None:
                ends = np.array([counts.min(), counts.max()], counts.dtype)
                values = scaled(pillow, pillow.fromarray(counts.astype(np.float32)), size)
                counts = values if picture.mode == "F" else np.rint(values).astype(counts.dtype)
            return Picture(counts[..., None], white=stored.white, turned=stored.turned, ends=ends)
        level, opaque = (counts >> 8).astype(np.uint8), np.uint8(255) * (counts != clear)
        bands = [pillow.fromarray(band) for band in (level, opaque.astype(np.uint8))]
        picture, coarse = pillow.merge("LA", bands), True
    grey = picture.mode in ("LA", "La", "L", "1") or stored.raw.startswith("LA;")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        drawn = picture.convert("RGBA")
        white, black = (
            array(pillow.alpha_composite(pillow.new("RGBA", drawn.size, paper), drawn)
                  .convert("L" if grey else "RGB"))
            for paper in ("white", "black")
        )  # fmt: skip
        opacity = np.asarray(drawn.getchannel("A"), np.float64)
        if opacity.min() == 255:
            return Picture(white, coarse=coarse)
        ink = (np.asarray(drawn.convert("L")) * opacity).sum() / max(opacity.sum(), 1.0)
        return Picture(white, black, float(ink) if opacity.any() else None, coarse=coarse)
    return Picture(array(picture.convert("L" if grey else "RGB")), coarse=coarse)


def _counts(values: NDArray[Any], stored: _Stored) -> NDArray[Any]:
    """Values (H, W) as the file stores them: floats, or whole numbers with room for their sign."""
    if values.dtype.kind == "f":
        wrong = int((~np.isfinite(values)).sum())
        if wrong:
            raise ValueError(f"{wrong:,} of its values are not finite")
        return values
    if stored.raw == "I;32N":  # which Pillow holds in 32 bits with a sign
        return values.view(np.uint32).astype(np.int64)
    if stored.raw in ("I;16S", "I;16BS"):
        return values.astype(np.int16)
    if stored.white is not None and stored.raw.startswith("I"):
        return values.astype(np.int32)
    if stored.white is not None:  # a PGM file, which Pillow scales to 65535
        return np.rint(values * (stored.white / 65535)).astype(np.int32)
    return values.astype(np.int32)


def to_levels(
    name: str,
    images: list[NDArray[Any]],
    stored: list[tuple[int | None, bool, NDArray[Any]]],
    bounds: tuple[float, float] | None,
    report: Report,
) -> list[NDArray[np.uint8]]:
    """Levels of the images (H, W, C) of deep pictures, whose counts mean the same.

    stored: `white`, `turned` and `ends` of each picture.  bounds: black and white, else as the
    files say, or as the counts themselves tell.
    """
    out: list[NDArray[np.uint8]] = [*images]
    whites = {white for white, *_ in stored}
    for white in sorted(whites, key=lambda white: white or 0):
        places = [k for k, (other, *_) in enumerate(stored) if other == white]
        ends = bounds
        if white is not None and bounds is None:
            ends = (0.0, float(white))
            report.note(f"values of {len(places):,} files read as 0 to {white}, as they say")
        before = [stored[k][2] for k in places]
        read = levels(name, [images[k][None] for k in places], ends, report, before)
        for k, image in zip(places, read, strict=True):
            out[k] = 255 - image[0] if stored[k][1] else image[0]
    turned = sum(turned for _, turned, _ in stored)
    if turned:
        report.note(f"in {turned:,} TIFF files 0 is white, as they say")
    if len(whites) > 1:
        report.meant.pop("value_range", None)
    return out


def read_image(
    path: Path,
    size: tuple[int, int],
    channels: int,
    paper: str | None = None,
    value_range: tuple[float, float] | None = None,
    report: Report | None = None,
) -> NDArray[np.uint8]:
    """One image file as uint8 (H, W, C) of a size, read as `load` reads a folder of it alone.

    report: gets notes of how it was read.
    """
    report = report or Report()
    picture = decode(path, size)
    report.note_scaling([picture.size] if picture.size != size else [], size)
    image = on_paper([picture], paper, report)[0]
    if picture.deep:
        image = to_levels(str(path), [image], [picture.stored], value_range, report)[0]
    pixels: NDArray[np.uint8] = with_channels(image[None], channels)[0]
    return pixels


def on_paper(pictures: list[Picture], paper: str | None, report: Report) -> list[NDArray[Any]]:
    """The pixels of pictures, those with transparency on one paper.

    paper: "white", "black", or None: white, unless a drawing would be lost on it; then black; where
    that loses another one, each image gets the paper on which it shows.
    """
    clear = [p for p in pictures if p.on_black is not None]
    if not clear:
        return [p.pixels for p in pictures]
    inks = [p.ink for p in clear if p.ink is not None]
    chosen = paper or "white"
    if paper is None and any(ink > 255 - CONTRAST for ink in inks):
        chosen = "black" if all(ink >= CONTRAST for ink in inks) else "black or white"
    if chosen in PAPERS:
        report.meant["paper"] = chosen
    way = "" if paper else " (chosen by what is drawn; --paper white or black decides)"
    report.note(f"transparency: {len(clear):,} images lie on {chosen} paper{way}")
    unseen = sum(p.ink is None for p in clear)
    if unseen:
        report.warnings.append(f"{unseen:,} images are transparent throughout")
    out = []
    for p in pictures:
        dark = chosen == "black" or (chosen != "white" and (p.ink or 0) > 255 - CONTRAST)
        out.append(p.on_black if dark and p.on_black is not None else p.pixels)
    return out
