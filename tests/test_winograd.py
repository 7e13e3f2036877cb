"""Convolutions by fewer products: what they lose by rounding, and where they are used."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

import convolutions
from convolutions import KERNELS, reference

from tinygen.ops.conv import Window
from tinygen_kernels.cpu import conv, conv_dw, winograd

SAME = Window((1, 1), ((1, 1), (1, 1)))
FUNCTIONS = (winograd._change_taps, winograd._correlate)


def operands(images, size, c, o, make=None):
    """(arguments, options) of each of the three operations."""
    case = (images, size, (3, 3), SAME, c, o)
    return convolutions.operands(case, make=make, scale=1 / 3 / c**0.5)


def bound(name, arrays, options):
    """The call, which is one of winograd.py."""
    call = KERNELS[name].bind(*arrays, **options)
    assert call.function in FUNCTIONS
    return call


def make(kind, seed=0):
    """How to make arrays of a shape, of numbers that are hard in some way."""
    rng = np.random.default_rng(seed)
    return {
        "normal": rng.standard_normal,
        "positive": rng.random,
        "far from zero": lambda shape: 100 + rng.standard_normal(shape),
        "large": lambda shape: 1e4 * rng.standard_normal(shape),
        "huge": lambda shape: 1e15 * rng.standard_normal(shape),
        "small": lambda shape: 1e-15 * rng.standard_normal(shape),
        "of many sizes": lambda shape: np.exp(3 * rng.standard_normal(shape)),
    }[kind]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kind", ["normal", "positive", "far from zero", "large", "of many sizes"])
def test_rounding_is_a_few_millionths_of_the_largest_result(name, kind):
    arrays, options = operands(6, (14, 10), 64, 32, make(kind))[name]
    call = bound(name, arrays, options)
    call()
    want = reference(name, arrays, options)
    axes = None if name == "conv2d_dw" else (1, 2, 3)  # of an image
    far = np.abs(call.out - want) / np.abs(want).max(axes, keepdims=True)
    assert far.max() < 4e-6
    assert far.mean() < 4e-7


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kind", ["huge", "small"])
def test_sizes_that_are_far_from_one(name, kind):
    arrays, options = operands(2, (7, 7), 16, 16, make(kind))[name]
    call = bound(name, arrays, options)
    call()
    want = reference(name, arrays, options)
    assert np.abs(call.out - want).max() < 4e-6 * np.abs(want).max()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("height", range(4, 18))
def test_any_side_and_number_of_images(name, height):
    """Tiles in part, images of one tile, blocks that end within an image."""
    width = 4 + 5 * height % 14
    arrays, options = operands(3 * height % 20 + 1, (height, width), 16, 32)[name]
    out = KERNELS[name](*arrays, **options)
    want = reference(name, arrays, options)
    assert np.abs(out - want).max() < 4e-6 * np.abs(want).max()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("channels", [(8, 8), (9, 33), (31, 15), (50, 65), (70, 10)])
def test_any_number_of_channels(name, channels):
    """Vectors that are filled in part: nothing beyond is read or written."""
    arrays, options = operands(3, (7, 8), *channels)[name]
    holes = [np.full((*a.shape[:3], a.shape[3] + 7), np.nan, a.dtype) for a in arrays]
    views = [hole[..., : a.shape[3]] for hole, a in zip(holes, arrays, strict=True)]
    for view, a in zip(views, arrays, strict=True):
        view[:] = a
    shape = KERNELS[name].bind(*arrays, **options).out.shape
    whole = np.full((*shape[:3], shape[3] + 7), np.nan, np.float32)
    out = whole[..., : shape[3]]
    call = KERNELS[name].bind(*views, out=out, **options)
    assert call.function in FUNCTIONS
    call()
    want = reference(name, arrays, options)
    assert np.abs(out - want).max() < 4e-6 * np.abs(want).max()
    assert np.isnan(whole[..., shape[3] :]).all()


@pytest.mark.parametrize("name", ["conv2d_nd", "conv2d_dx"])
def test_an_image_has_the_same_bits_in_any_batch(name):
    (images, w), options = operands(9, (7, 7), 32, 32)[name]
    together = bound(name, (images, w), options)
    alone = bound(name, (images[4:5].copy(), w), options)
    together(), alone()
    assert together.out[4].tobytes() == alone.out[0].tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", KERNELS)
def test_what_is_not_finite_stays_so_and_near(name, value):
    """One pixel: its tiles and no others, and there all that the formula makes not finite."""
    (a, b), options = operands(3, (12, 12), 16, 32)[name]
    a[1, 6, 6, 3] = value
    call = bound(name, (a, b), options)
    with np.errstate(invalid="ignore"):
        call()
        want = np.isfinite(reference(name, (a, b), options))
    assert not (np.isfinite(call.out) & ~want).any()
    if name == "conv2d_dw":
        assert np.isfinite(np.delete(call.out, 3, axis=2)).all()
    else:
        other = np.ones(call.out.shape, bool)
        other[1, 4:8, 4:8] = False
        assert np.isfinite(call.out[other]).all()


def test_zeros_make_zeros():
    (x, w), options = operands(2, (14, 14), 16, 16)["conv2d_nd"]
    x[:, :8] = 0  # two rows of tiles, of which the second sees a row that is not zero
    out = conv.conv2d_nd(x, w, **options)
    assert not out[:, :4].any()
    np.testing.assert_allclose(out[:, 4:7], 0, atol=1e-5)


def pays(size=(14, 14), c=32, o=32, kernel=(3, 3), dtype="float32", **window):
    return winograd.pays(np.empty((1, *size, c), dtype), o, kernel, SAME._replace(**window))


def test_where_it_is_used():
    assert all(pays((n, n)) for n in (4, 7, 8, 14, 28))
    assert not any(pays((n, n)) for n in (1, 2, 3, 5))  # most of a tile is not needed
    assert pays(c=8, o=4)
    assert not any(pays(c=c) for c in (1, 3, 7))
    assert not any(pays(o=o) for o in (1, 3))
    assert not any(pays(kernel=kernel) for kernel in ((1, 1), (3, 1), (5, 5)))
    assert not pays(dtype="float64")
    others = {"stride": (2, 2), "padding": ((0, 0), (0, 0)), "dilation": (2, 2), "groups": 2}
    assert not any(pays(**{key: value}) for key, value in others.items())


@pytest.mark.parametrize("images", [1, 30])
def test_gradients_of_kernels_are_the_same_for_any_number_of_workers(images, monkeypatch):
    """Sums of one chunk, whose channels the workers share, and of several."""
    arrays, options = operands(images, (16, 16), 16, 64)["conv2d_dw"]
    found = []
    for workers in (1, 2, 3, 7):
        monkeypatch.setattr(conv_dw, "threads", lambda workers=workers: workers)
        call = bound("conv2d_dw", arrays, options)
        call()
        found.append(call.out.tobytes())
    assert len(set(found)) == 1
