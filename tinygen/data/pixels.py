"""From whatever arrays and image files hold to uint8 images of one shape."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .dataset import DataError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["arrange", "decode", "levels", "resize", "with_channels"]

RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))


def arrange(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Images as (N, H, W, C).

    (N, H, W) is grey.  With four axes the last one holds the channels if it is 1 or 3 long;
    otherwise the second one does, if it is 1 or 3 long.
    """
    if array.ndim == 3:
        return array[..., None]
    if array.ndim == 4 and array.shape[3] in (1, 3):
        return array
    if array.ndim == 4 and array.shape[1] in (1, 3):
        return array.transpose(0, 2, 3, 1)
    hint = "reshape rows of pixels to (N, H, W)" if array.ndim == 2 else "reshape it"
    raise DataError(
        f"{name}: an array {array.shape}, expected images (N, H, W), (N, H, W, C) or "
        f"(N, C, H, W) with C of 1 or 3; {hint}"
    )


def levels(
    name: str, array: NDArray[Any], value_range: tuple[float, float] | None
) -> NDArray[np.uint8]:
    """Grey levels 0..255 from uint8, other integers within 0..255, booleans, or floats.

    Floats (and integers, where it is given) lie in `value_range`; where that is None, floats lie
    in the first of [0, 1], [-1, 1], [0, 255] that holds them all.
    """
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name}: dtype {array.dtype}, expected uint8 or float images")
    if array.size == 0:
        return array.astype(np.uint8)
    least, most = float(array.min()), float(array.max())
    met = f"{name}: {array.dtype} values from {least:g} to {most:g}"
    if array.dtype.kind != "f" and value_range is None:
        if least == 0 and most == 1:
            raise DataError(
                f"{met}, which as grey levels 0 to 255 are black; for black and white give "
                "array.astype(bool) or value_range=(0, 1)"
            )
        if least < 0 or most > 255:
            raise DataError(f"{met}, expected 0 to 255; scale them and convert to uint8")
        return array.astype(np.uint8, copy=False)
    if value_range is None:
        value_range = range_of(met, least, most)
    low, high = float(value_range[0]), float(value_range[1])
    if not (low < high and low <= least and most <= high):
        raise DataError(f"{met}, outside value_range=({low:g}, {high:g}); give one that holds them")
    out = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), 1024):  # a part at a time: float64 takes 8 bytes a pixel
        part = array[start : start + 1024].astype(np.float64)
        out[start : start + 1024] = np.rint((part - low) / (high - low) * 255)
    return out


def range_of(met: str, least: float, most: float) -> tuple[float, float]:
    """The first of [0, 1], [-1, 1], [0, 255] that holds floats from `least` to `most`."""
    fitting = [r for r in RANGES if r[0] <= least and most <= r[1]]
    if not fitting:
        raise DataError(
            f"{met}, expected [0, 1], [-1, 1] or [0, 255]; scale them, or give "
            "value_range=(low, high)"
        )
    return fitting[0]


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
    pillow = _pillow(name)
    out = np.empty((len(images), *size, images.shape[3]), np.uint8)
    for index, image in enumerate(images):
        picture = pillow.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        out[index] = _scaled(pillow, picture, size).reshape(out.shape[1:])
    return out


def decode(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """One image file as (H, W, 1) or (H, W, 3), scaled to `size`; transparency becomes white."""
    pillow = _pillow(str(path))
    try:
        with pillow.open(path) as file:
            picture = _plain(pillow, file)
        array = np.asarray(picture) if size is None else _scaled(pillow, picture, size)
    except DataError:
        raise
    except Exception as error:  # broken files raise nearly every exception there is
        raise DataError(
            f"{path}: cannot be read as an image ({error}); expected a whole image file; "
            "remove or replace it"
        ) from error
    return array.reshape(*array.shape[:2], -1)


def _plain(pillow: Any, file: Image.Image) -> Image.Image:
    """An image of mode L or RGB, upright."""
    from PIL import ImageOps

    picture: Image.Image = ImageOps.exif_transpose(file)
    if picture.mode.startswith("I"):  # 16 bits of grey
        deep = np.asarray(picture).astype(np.int64)
        picture = pillow.fromarray(((deep.clip(0, 65535) + 128) // 257).astype(np.uint8))
    elif picture.mode == "F":
        raise ValueError("its pixels are floats")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        paper = pillow.new("RGBA", picture.size, "white")
        grey = picture.mode in ("LA", "La", "L", "1")
        picture = pillow.alpha_composite(paper, picture.convert("RGBA"))
        return picture.convert("L" if grey else "RGB")
    return picture.convert("L" if picture.mode in ("L", "1") else "RGB")


def _scaled(pillow: Any, picture: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = size
    return np.asarray(picture.resize((width, height), pillow.Resampling.BILINEAR))


def _pillow(name: str) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise DataError(
            f"{name}: reading and resizing images needs Pillow; "
            'run pip install "tinygen[app]", or use .npy, .npz or IDX files as they are'
        ) from None
    return Image
