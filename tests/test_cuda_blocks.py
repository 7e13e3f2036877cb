"""Blocks of pixels as CUDA kernels, on the emulated device with all its checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from strategies import AVAILABLE

import tinygen as tg
from tinygen.primitive import PRIMITIVES

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

from tinygen_kernels.cuda import pixels


def on_device(a: Any) -> Any:
    with tg.use_backend("emulated"):
        return tg.tensor(a).data


def run(call: Any) -> Any:
    assert call is not NotImplemented
    call()
    return call.out.get()


# ---- pixels --------------------------------------------------------------------------------------

BLOCKS = ["pixels_repeated", "pixels_added", "pixels_to_channels", "channels_to_pixels"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BLOCKS)
def test_pixels(name: str, dtype: str, device: Any) -> None:
    for shape, block in (
        ((2, 6, 4, 36), (2, 2)), ((1, 3, 2, 6), (3, 2)), ((3, 2, 3, 3), (1, 3)),
        ((2, 2, 2, 5), (1, 1)), ((1, 2, 1, 2), (2, 1)),
    ):  # fmt: skip
        x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
        got = run(getattr(pixels, name).bind(on_device(x), block=block))
        with tg.use_backend("numpy"):
            want = PRIMITIVES[name].body(tg.tensor(x), block=block).numpy()
        assert (got.shape, got.dtype) == (want.shape, dtype)
        near = (4 if name == "pixels_added" else 0) * np.finfo(dtype).eps
        np.testing.assert_allclose(got, want, rtol=0, atol=near * abs(want).max())


def test_pixels_of_more_than_one_block_of_threads(device: Any) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 6, 8)).astype("float32")
    large = run(pixels.pixels_repeated.bind(on_device(x), block=(2, 3)))
    np.testing.assert_array_equal(large, x.repeat(2, 1).repeat(3, 2))
    moved = run(pixels.pixels_to_channels.bind(on_device(large), block=(2, 3)))
    np.testing.assert_array_equal(moved, np.tile(x, 6))
    back = pixels.channels_to_pixels.bind(on_device(moved), block=(2, 3))
    np.testing.assert_array_equal(run(back), large)


def test_the_functions_of_images_use_the_kernels(device: Any) -> None:
    before = device.hits.copy()
    x = tg.tensor(np.ones((2, 2, 2, 4), np.float32)).detach(requires_grad=True)
    y = tg.upsample2d(tg.depth_to_space(tg.upsample2d(tg.space_to_depth(x, 2), 2), 2), 2)
    (y * y).sum().backward()
    hits = device.hits - before
    assert (hits["pixels_repeated"], hits["pixels_added"]) == (2, 2)
    assert (hits["pixels_to_channels"], hits["channels_to_pixels"]) == (2, 2)


def test_pixels_that_are_left_to_the_body() -> None:
    x = on_device(np.ones((2, 4, 4, 4), np.float32))
    for name in BLOCKS:
        kernel = getattr(pixels, name)
        assert kernel.bind(x, block=(2, 2)) is not NotImplemented
        assert kernel.bind(x[:, ::2], block=(2, 2)) is NotImplemented
        assert kernel.bind(x[:0], block=(2, 2)) is NotImplemented
        assert kernel.bind(x.astype("int32"), block=(2, 2)) is NotImplemented
        assert kernel.bind(x, block=(2, 2), out=x[0]) is NotImplemented
