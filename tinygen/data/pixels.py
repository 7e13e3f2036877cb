"""From whatever arrays hold to uint8 images of one shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .files import DataError, check_room
from .report import Report

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["arrange", "check_alike", "import_pillow", "levels", "resize", "scaled", "with_channels"]

RANGES = ((0.0, 1.0), (0.0, 255.0), (-1.0, 1.0))
# Bicubic and Lanczos scaling overshoot: MNIST by 0.49 of its range, 0.013 on average over pixels.
SLACK = 0.6  # of a range: so far may single values lie outside
LOSS = 0.02  # of a range: so much may clipping them change the values on average
PART = 1024
LONGEST = 8  # times its height; a wider array of images may count them last


def arrange(name: str, array: NDArray[Any], report: Report) -> NDArray[Any]:
    """Images as (N, H, W, C).

    (N, H, W) is grey.  With four axes the last one holds the channels if it is 1 or 3 long;
    otherwise the second one does, if it is 1 or 3 long.
    """
    shape = array.shape
    if array.ndim == 3:
        if array.shape[0] == 3 or array.shape[2] in (3, 4):
            count, height, width = array.shape
            report.warnings.append(
                f"an array {array.shape} is read as {count} grey images of {height} x {width}; "
                "one colour image is (1, H, W, 3)"
            )
        elif shape[2] > LONGEST * shape[1] or shape[0] == shape[1] != shape[2]:
            report.warn(
                f"an array {array.shape} is read as {array.shape[0]} images of {array.shape[1]} x "
                f"{array.shape[2]}; if the last axis counts the images, put it first: "
                "np.moveaxis(images, -1, 0)"
            )
        return array[..., None]
    if array.ndim == 4 and array.shape[3] in (1, 3):
        if shape[1] in (1, 3) and shape[2] > 3:
            report.warn(f"an array {shape} is read as {shape[0]} images of {shape[1]} x {shape[2]} "
                        f"with {shape[3]} channels in the last axis")  # fmt: skip
        return array
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return array.transpose(0, 2, 3, 1)
    hint = "give the axes this order"
    if array.ndim == 2:
        hint = "reshape rows of pixels to (N, H, W); give one image as array[None]"
    elif array.ndim == 4 and (shape[2] in (1, 3) or shape[0] in (1, 3)):
        count, channels = (3, 2) if shape[2] in (1, 3) else (1, 0)
        hint = f"images seem to lie along axis {count}, channels along axis {channels}: order "
        hint += "them by np.moveaxis"
    elif array.ndim == 4 and (shape[3] == 4 or shape[1] == 4):
        hint = f"leave out transparency: images[{'...' if shape[3] == 4 else ':'}, :3]"
    raise DataError(
        f"{name}: an array {array.shape}, expected images (N, H, W), (N, H, W, C) or "
        f"(N, C, H, W) with C of 1 or 3; {hint}"
    )


def levels(
    name: str,
    arrays: Sequence[NDArray[Any]],
    value_range: tuple[float, float] | None,
    report: Report,
    ends: Sequence[NDArray[Any]] = (),
) -> list[NDArray[np.uint8]]:
    """Grey levels 0..255 of arrays whose values mean the same (training and test images).

    value_range: what becomes 0 and 255; where None, `meaning` finds it in the values.  Values a
    hair outside, as scaling leaves them, are clipped.  ends: other values of the same meaning, such
    as those from which the arrays were scaled.  The report notes how they were read.
    """
    ranges: dict[str, tuple[float, float]] = {}
    for array in arrays:
        if array.size and array.dtype.kind not in "biuf":
            raise DataError(f"{name}: dtype {array.dtype}, expected uint8 or float images")
    for kind in sorted({_kind(array) for array in arrays if array.size}):
        same = [array for array in (*arrays, *ends) if _kind(array) == kind and array.size]
        ranges[kind] = meaning(name, same, value_range, report)
    if len(ranges) == 1 and not {"uint8", "bool"} & {*ranges}:
        report.meant["value_range"] = list(*ranges.values())
    _doubt(arrays, ranges, report)
    return [_scale(a, ranges[_kind(a)]) if a.size else a.astype(np.uint8) for a in arrays]


def _doubt(
    arrays: Sequence[NDArray[Any]], ranges: dict[str, tuple[float, float]], report: Report
) -> None:
    """Warn of images whose values fill only a small part of the common range."""
    lost, total, end = 0, 0, 0.0
    for array in arrays:
        if array.size and array.dtype.itemsize > 1:
            rows = array.reshape(len(array), -1)
            least, most = rows.min(axis=1).astype(float), rows.max(axis=1).astype(float)
            low, high = ranges[_kind(array)]
            dim = (most - low <= 1.5 / 255 * (high - low)) & (least < most)
            lost, total = lost + int(dim.sum()), total + len(rows)
            end = max(end, float(most[dim].max(initial=0.0)))
    if 0 < lost < total:
        report.warn(
            f"{lost:,} of {total:,} images are black beside the others: their values end at "
            f"{end:.4g}; store all alike"
        )


def _kind(array: NDArray[Any]) -> str:
    """What arrays share whose values mean the same: floats, or integers of one width."""
    return "f" if array.dtype.kind == "f" else array.dtype.name


def meaning(
    name: str,
    arrays: Sequence[NDArray[Any]],
    value_range: tuple[float, float] | None,
    report: Report,
) -> tuple[float, float]:
    """The (low, high) that values lie in: black and white.

    Floats: [0, 1], [0, 255] or [-1, 1], where next to nothing is clipped.  Integers: 0 and 1, 0 to
    255, else as many bits (10, 12, 14, 16) as hold them.  Raises DataError for other values.
    """
    dtype = arrays[0].dtype
    least = float(np.min([a.min() for a in arrays]))  # NaN, if there is one
    most = float(np.max([a.max() for a in arrays]))
    met = f"{name}: {dtype} values from {least:g} to {most:g}"
    if not (np.isfinite(least) and np.isfinite(most)):
        raise DataError(f"{met}: some are not finite; replace them")
    if value_range is not None:
        low, high = float(value_range[0]), float(value_range[1])
        if not (low < high and _holds((low, high), arrays, least, most)):
            raise DataError(
                f"{met}, outside value_range=({low:g}, {high:g}); give one that holds them"
            )
        return low, high
    if dtype.kind == "b":
        return 0.0, 1.0
    cure = f"scale or clip them, or give their range: --value-range {_plain(least)},{_plain(most)}"
    if dtype.kind == "f":
        fitting = _fitting(arrays, least, most)
        if not fitting:
            raise DataError(f"{met}, expected [0, 1], [-1, 1] or [0, 255]; {cure}")
        low, high = fitting[0]
        clipped = "" if low <= least and most <= high else "; what lies outside is clipped"
        report.note(f"float values from {least:.4g} to {most:.4g} read as {low:g} to {high:g}"
                    + clipped)  # fmt: skip
        return low, high
    if least < 0 or most > 65535:
        raise DataError(f"{met}, expected 0 to 255, or 0 to 65535; {cure}")
    if most <= 1:
        report.note("integers 0 and 1 read as black and white")
        return 0.0, 1.0
    if most <= 255:
        if dtype.itemsize > 1:
            report.note(f"integers up to {most:.0f} read as 8 bits, 0 to 255")
        return 0.0, 255.0
    if most < 512:
        raise DataError(f"{met}, too many for 8 bits and few for 10; {cure}")
    widths = (10, 12, 14, 15) if dtype == np.int16 else (10, 12, 14, 16)
    bits = next(b for b in widths if most < 1 << b)
    report.note(f"integers up to {most:.0f} read as {bits} bits, 0 to {(1 << bits) - 1}")
    return 0.0, float((1 << bits) - 1)


def _fitting(
    arrays: Sequence[NDArray[Any]], least: float, most: float
) -> list[tuple[float, float]]:
    """The ranges that floats may have."""
    fitting = [r for r in RANGES if _holds(r, arrays, least, most)]
    # nothing near white, or near black, speaks against the wide ranges
    fitting = [r for r in fitting if r == RANGES[0] or (most >= 128) == (r[1] == 255)]
    return [r for r in fitting if r[0] == 0 or least <= r[0] / 2]


def check_alike(name: str, arrays: Sequence[NDArray[Any]]) -> None:
    """Refuse training and test images whose floats each on their own have another range."""
    ends, ranges = [], set()
    for array in arrays:
        if array.dtype.kind == "f" and array.size and array.min() < array.max():
            least, most = float(array.min()), float(array.max())
            ends.append(f"{least:.4g} to {most:.4g}")
            ranges |= {*_fitting([array], least, most)[:1]}
    if len(ranges) > 1:
        low, high = max(ranges, key=lambda r: r[1] - r[0])
        raise DataError(
            f"{name}: training images from {ends[0]}, but test images from {ends[1]}; scale both "
            f"alike, or say that this is one range: --value-range {low:g},{high:g}"
        )


def _holds(
    bounds: tuple[float, float], arrays: Sequence[NDArray[Any]], least: float, most: float
) -> bool:
    """Whether values lie in a range, or so little outside that clipping loses next to nothing."""
    low, high = bounds
    span = high - low
    if low <= least and most <= high:
        return True
    if least < low - SLACK * span or most > high + SLACK * span:
        return False
    over = sum(float(np.maximum(p - high, 0).sum() + np.maximum(low - p, 0).sum())
               for array in arrays for p in _parts(array))  # fmt: skip
    return over <= LOSS * span * sum(array.size for array in arrays)


def _scale(array: NDArray[Any], bounds: tuple[float, float]) -> NDArray[np.uint8]:
    """round((x - low) / (high - low) * 255), clipped."""
    low, high = bounds
    if array.dtype == np.uint8 and bounds == (0.0, 255.0):
        return array
    out = np.empty(array.shape, np.uint8)
    for k, part in enumerate(_parts(array)):
        scaled = np.rint((part - low) / (high - low) * 255)
        out[k * PART : (k + 1) * PART] = scaled.clip(0, 255)
    return out


def _parts(array: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """The images a part at a time: float64 takes 8 bytes a pixel."""
    for start in range(0, len(array), PART):
        yield array[start : start + PART].astype(np.float64)


def _plain(value: float) -> str:
    return np.format_float_positional(value, precision=6, trim="-")


def with_channels(images: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """(N, H, W, channels): grey repeated, or colours as luma 0.299 R + 0.587 G + 0.114 B."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return images.repeat(3, axis=-1)
    grey = np.empty((*images.shape[:-1], 1), np.uint8)
    for start in range(0, len(images), 1024):
        part = images[start : start + 1024].astype(np.uint32)
        luma = 299 * part[..., 0] + 587 * part[..., 1] + 114 * part[..., 2] + 500
        grey[start : start + 1024, ..., 0] = luma // 1000
    return grey


def resize(name: str, images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(N, *size, C): each image scaled, antialiased by Pillow's bilinear filter, not cropped."""
    if images.shape[1:3] == size:
        return images
    check_room(
        f"{name}: {len(images):,} images of {size[1]} x {size[0]} pixels",
        len(images) * size[0] * size[1] * images.shape[3],
        "give a smaller size, for example --size 64",
    )
    pillow = import_pillow(name)
    out = np.empty((len(images), *size, images.shape[3]), np.uint8)
    for index, image in enumerate(images):
        picture = pillow.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        out[index] = scaled(pillow, picture, size).reshape(out.shape[1:])
    return out


def scaled(pillow: Any, picture: Image.Image, size: tuple[int, int]) -> NDArray[Any]:
    """The values (H, W) or (H, W, C) of an image of Pillow, scaled to (height, width)."""
    height, width = size
    return np.asarray(picture.resize((width, height), pillow.Resampling.BILINEAR))


def import_pillow(name: str) -> Any:
    """PIL.Image; raises DataError where Pillow is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError(
            f"{name}: reading and resizing images needs Pillow; "
            'run pip install "tinygen[app]", or use .npy, .npz or IDX files as they are'
        ) from None
    return Image
