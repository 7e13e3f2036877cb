"""From image files to one array: all decoded, of one size, one meaning of levels, one paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .files import DataError, check_room
from .pictures import Picture, decode, on_paper, to_levels
from .pixels import import_pillow
from .report import Request

__all__ = ["read_images"]

MOST_BROKEN = 20  # files named in one message


def read_images(
    folder: Path, files: list[Path], request: Request
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(N, H, W, C), colour if any file has it; and which of the files could be read."""
    extent, report = request.size, request.report
    import_pillow(str(folder))
    pictures: list[Picture] = []
    whole = np.zeros(len(files), np.bool_)
    broken: list[DataError] = []
    if extent is not None:
        _check_room(folder, len(files), extent, 1)
    for index, path in enumerate(files):
        try:
            picture = decode(path, extent)
        except DataError as error:
            broken.append(error)
            report.leave_out("broken", str(path.relative_to(folder)))
            continue
        if not pictures:
            size, depth = picture.pixels.shape[:2], picture.pixels.itemsize
            _check_room(folder, len(files), size, picture.pixels.shape[2] * depth)
        if pictures and picture.pixels.shape[:2] != pictures[0].pixels.shape[:2]:
            (h0, w0), (h1, w1) = pictures[0].pixels.shape[:2], picture.pixels.shape[:2]
            raise DataError(
                f"images of different sizes: {files[int(whole.argmax())]} is {w0} x {h0} pixels, "
                f"{path} is {w1} x {h1}; give one size for all, for example "
                f"--size {min(h0, w0, h1, w1)}"
            )
        whole[index] = True
        pictures.append(picture)
    if broken and not (request.skip_broken and pictures):
        raise _broken(folder, broken, len(files))
    if extent is not None:
        report.note_scaling([picture.size for picture in pictures], extent)
    moving = sum(picture.frames for picture in pictures)
    if moving:
        report.note(f"{moving:,} files have several frames; the first of each is read")
    coarse = sum(picture.coarse for picture in pictures)
    if coarse:
        report.note(
            f"{coarse:,} files hold 16 bits a channel, of which the upper 8 are read; if their "
            "values have 12 bits, give --value-range 0,15"
        )
    for inks in sorted({picture.inks for picture in pictures} - {""}):
        count = sum(picture.inks == inks for picture in pictures)
        report.note(f"{count:,} files have colours by {inks}, read as colours of the screen (sRGB)")
    return _stacked(folder, pictures, request), whole


def _check_room(folder: Path, count: int, size: tuple[int, int], pixel: int) -> None:
    """Refuse images (height, width) that do not fit in memory; pixel: bytes of one."""
    height, width = size
    check_room(
        f"{folder}: {count:,} images of {width} x {height} pixels", count * height * width * pixel,
        "give a smaller size, for example --size 64",
    )  # fmt: skip


def _stacked(folder: Path, pictures: list[Picture], request: Request) -> NDArray[np.uint8]:
    """Levels of one meaning, on one paper, with the same channels."""
    bounds, report = request.bounds, request.report
    deep = [k for k, p in enumerate(pictures) if p.deep]
    if bounds is not None and not deep:
        deep = list(range(len(pictures)))
    elif bounds is not None and len(deep) < len(pictures):
        report.note(f"the value range is that of {len(deep):,} files of more than 8 bits; the "
                    "levels of the others stay")  # fmt: skip
    images = on_paper(pictures, request.paper, report)
    count, (height, width) = len(pictures), images[0].shape[:2]
    stored = [pictures[k].stored for k in deep]
    pictures.clear()
    if deep:
        name = f"{folder}, {len(deep):,} files"
        read = to_levels(name, [images[k] for k in deep], stored, bounds, report)
        for k, image in zip(deep, read, strict=True):
            images[k] = image
    grey = sum(image.shape[2] == 1 for image in images)
    if 0 < grey < count:
        report.note(f"{grey:,} of {count:,} images are grey, and become colour as the others")
    out = np.empty((count, height, width, max(image.shape[2] for image in images)), np.uint8)
    for k in range(count):
        out[k] = images[k]  # grey is repeated over the channels
        images[k] = out[k]  # so that the memory of the first is free
    return out


def _broken(folder: Path, errors: list[DataError], count: int) -> DataError:
    """All files that cannot be read, in one message."""
    if len(errors) == 1:
        return DataError(f"{errors[0]}, or leave it out (--skip-broken)")
    lines = [f"  {str(error).split('; expected', 1)[0]}" for error in errors[:MOST_BROKEN]]
    if len(errors) > MOST_BROKEN:
        lines.append(f"  and {len(errors) - MOST_BROKEN:,} more")
    return DataError(
        f"{folder}: {len(errors):,} of {count:,} files cannot be read as images:",
        *lines,
        "remove or replace them, or leave them out (--skip-broken)",
    )
