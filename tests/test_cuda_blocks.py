"""Blocks of pixels, sums of squares and products as CUDA kernels, on the emulated device with all
its checks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_calls import bits_in_any_order, kernels, on_device, run
from strategies import AVAILABLE

import tinygen as tg
from tinygen.primitive import PRIMITIVES

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

from tinygen_kernels.cuda import pixels, totals

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


def test_pixels_of_images_that_lie_apart_are_added(device: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 5)).astype("float32")
    wide = on_device(x)
    assert pixels.pixels_added.bind(wide[:, :, :2], block=(2, 2)) is NotImplemented
    for cut in (np.s_[..., 2:], np.s_[..., :1], np.s_[:1, :2, :, 1:3]):
        call = pixels.pixels_added.bind(wide[cut], block=(2, 2))
        part = x[cut]
        n, h, w, c = part.shape
        want = part.reshape(n, h // 2, 2, w // 2, 2, c).sum((2, 4))
        np.testing.assert_allclose(run(call), want, rtol=1e-6, atol=1e-6)


def test_pixels_that_are_left_to_the_body() -> None:
    x = on_device(np.ones((2, 4, 4, 4), np.float32))
    for name in BLOCKS:
        kernel = getattr(pixels, name)
        assert kernel.bind(x, block=(2, 2)) is not NotImplemented
        assert kernel.bind(x[:, ::2], block=(2, 2)) is NotImplemented
        assert kernel.bind(x[:0], block=(2, 2)) is NotImplemented
        assert kernel.bind(x.astype("int32"), block=(2, 2)) is NotImplemented
        assert kernel.bind(x, block=(2, 2), out=x[0]) is NotImplemented


# ---- totals --------------------------------------------------------------------------------------

WARPS, PIECES = ["squares_warps"], ["squares_blocks", "reduce_thread"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_squares(dtype: str, device: Any) -> None:
    for shape, names in (
        ((1, 1), WARPS), ((3, 7), WARPS), ((70, 33), WARPS), ((2, 129), ["squares_blocks"]),
        ((2, 8193), PIECES),
    ):  # fmt: skip
        x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
        wide = np.square(x.astype("float64"))
        call = totals.squares_along.bind(on_device(x))
        assert kernels(call) == names
        got = run(call)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, wide.sum(1), rtol=8 * np.finfo(dtype).eps)
        got = run(totals.sum_of_squares.bind(on_device(x), dtype="float64"))
        assert (got.shape, got.dtype) == ((), np.float64)
        np.testing.assert_allclose(got, wide.sum(), rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products(dtype: str, device: Any) -> None:
    eps = np.finfo(dtype).eps
    for shape in ((1, 1), (1, 5), (5, 1), (3, 7), (9, 33), (70, 3), (2, 130)):
        x = np.random.default_rng(0).uniform(0.9, 1.1, shape).astype(dtype)
        x[0] *= -1
        x[-1, ::3] = 0
        wide = x.astype("float64")
        for axis in (0, 1):
            n = shape[axis]
            if n > 1:
                got = run(totals.product_along.bind(on_device(x), axis=axis))
                np.testing.assert_allclose(got, wide.prod(axis), rtol=n * eps)
            got = run(totals.product_without.bind(on_device(x), axis=axis))
            want = np.stack([np.delete(wide, i, axis).prod(axis) for i in range(n)], axis)
            np.testing.assert_allclose(got, want, rtol=n * eps)


def test_same_bits_of_totals_in_any_order_of_threads() -> None:
    x = on_device(np.random.default_rng(0).uniform(0.9, 1.1, (3, 200)).astype("float32"))
    found = bits_in_any_order(lambda: (
        totals.squares_along(x), totals.sum_of_squares(x, dtype="float64"),
        totals.product_along(x, axis=1), totals.product_without(x, axis=1),
    ))  # fmt: skip
    assert len(found) == 1


def test_norm_and_prod_use_the_kernels(device: Any) -> None:
    before = device.hits.copy()
    x = tg.tensor(np.full((2, 3), 0.5, np.float32)).detach(requires_grad=True)
    (tg.norm(x, axis=1).sum() + tg.prod(x, axis=1).sum() + tg.prod(x, axis=0).sum()).backward()
    hits = device.hits - before
    assert (hits["squares_along"], hits["product_along"], hits["product_without"]) == (1, 2, 2)


def test_totals_that_are_left_to_the_body() -> None:
    x = on_device(np.ones((4, 6), np.float32))
    assert totals.squares_along.bind(x.T) is NotImplemented
    assert totals.sum_of_squares.bind(x.T, dtype="float64") is NotImplemented
    assert totals.sum_of_squares.bind(x, dtype="float32") is NotImplemented
    assert totals.squares_along.bind(x[:0]) is NotImplemented
    assert totals.product_along.bind(x.astype("int32"), axis=0) is NotImplemented
    long = on_device(np.ones((2, 5000), np.float32))  # one lane after the other would take long
    assert totals.product_without.bind(long, axis=1) is NotImplemented
    assert totals.product_along.bind(long, axis=1) is not NotImplemented
