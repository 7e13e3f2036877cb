"""The convolutions of kernels/cpu: sizes that the op table is too small for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from convolutions import KERNELS, operands, reference

from tinygen.backend import get
from tinygen.ops.conv import Window
from tinygen.primitive import PRIMITIVES
from tinygen_kernels.cpu import conv, conv_dw, pool, winograd

SAME_3 = ((1, 1), (1, 1))
SAME_5 = ((2, 2), (2, 2))
SAME_5_BY_2 = ((1, 2), (1, 2))
CASES = {
    "images as rows": (64, (7, 7), (5, 5), Window((1, 1), SAME_5), 16, 48),
    "the discriminator's": (64, (14, 14), (5, 5), Window((2, 2), SAME_5_BY_2), 64, 128),
    "a last tile in part": (9, (7, 8), (5, 5), Window((2, 2), SAME_5_BY_2), 3, 5),
    "one image": (1, (28, 28), (5, 5), Window((2, 2), SAME_5_BY_2), 3, 17),
    "one image, long runs": (1, (28, 28), (5, 5), Window((1, 1), SAME_5), 64, 64),
    "dot products": (20, (14, 14), (5, 5), Window((2, 2), SAME_5_BY_2), 70, 1),
    "groups, dilation": (3, (9, 8), (3, 2), Window((2, 1), ((0, 2), (1, 0)), (2, 1), 2), 20, 12),
    "strides above the kernel": (2, (12, 12), (2, 2), Window((3, 4)), 4, 8),
    "windows on zeros alone": (2, (5, 5), (1, 1), Window((1, 1), ((3, 3), (3, 3))), 4, 8),
    "a tap in several blocks": (8, (4, 4), (3, 3), Window((1, 1), ((1, 1), (1, 1))), 700, 130),
    "panels in several groups": (5, (6, 6), (3, 3), Window(), 20, 450),
    "places in several blocks": (1, (96, 40), (3, 3), Window((1, 1), ((1, 1), (1, 1))), 2, 128),
    "fewer products": (13, (14, 14), (3, 3), Window((1, 1), SAME_3), 32, 64),
    "fewer products, a tile": (1, (4, 4), (3, 3), Window((1, 1), SAME_3), 9, 50),
}


def close(name, arrays, options, out):
    """Whether `out` is the result, to the rounding of a sum of these products: of the largest sum,
    where a tile of them is computed together (winograd.py)."""
    want = reference(name, arrays, options)
    size = reference(name, map(np.abs, arrays), options)
    kernel = options.get("kernel", arrays[1].shape[:2])
    if winograd.pays(arrays[0], out.shape[3], kernel, options["window"], winograd.FEW):
        size = size.max()
    return (np.abs(out - want) <= 8 * np.finfo(out.dtype).eps * (size + 1)).all()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_convolution(case, name):
    arrays, options = operands(CASES[case])[name]
    call = KERNELS[name].bind(*arrays, **options)
    call.out.fill(np.nan)
    call()
    assert close(name, arrays, options, call.out)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("case", ["a last tile in part", "one image", "groups, dilation"])
@pytest.mark.parametrize("transposed", [False, True])
def test_float64_and_kernels_kept_the_other_way_around(case, name, transposed):
    arrays, options = operands(CASES[case], "float64", transposed)[name]
    assert close(name, arrays, options, KERNELS[name](*arrays, **options))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 20),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    sides=st.tuples(*[st.integers(0, 3)] * 4),
    channels=st.tuples(st.integers(1, 40), st.integers(1, 70)),
    transposed=st.booleans(),
    name=st.sampled_from(sorted(KERNELS)),
)
def test_any_window(n, size, kernel, stride, dilation, sides, channels, transposed, name):
    window = Window(stride, (sides[:2], sides[2:]), dilation)
    if min(window.outputs(size, kernel)) < 1:
        return
    arrays, options = operands((n, size, kernel, window, *channels), transposed=transposed)[name]
    assert close(name, arrays, options, KERNELS[name](*arrays, **options))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("case", ["a last tile in part", "fewer products, a tile"])
def test_images_and_results_may_have_gaps(case, name, transposed):
    """Views of larger arrays: whatever lies between the numbers is neither read nor written."""
    arrays, options = operands(CASES[case], transposed=transposed)[name]
    wide = lambda a: np.full([3 * n for n in a.shape[:3]] + [a.shape[3]], np.nan, a.dtype)
    views = [wide(a)[::3, ::3, ::3] for a in arrays]
    for view, a in zip(views, arrays, strict=True):
        view[:] = a
    base = wide(KERNELS[name](*arrays, **options))
    out = base[::3, ::3, ::3]
    KERNELS[name].bind(*views, out=out, **options)()
    assert close(name, arrays, options, out)
    assert np.isnan(base).sum() == base.size - out.size


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    "case", ["images as rows", "one image, long runs", "dot products", "fewer products"]
)
@pytest.mark.parametrize("transposed", [False, True])
def test_results_are_the_same_for_any_number_of_workers(case, name, transposed, monkeypatch):
    arrays, options = operands(CASES[case], transposed=transposed)[name]
    found = []
    for workers in (1, 2, 5):
        for module in (conv, conv_dw):
            monkeypatch.setattr(module, "threads", lambda workers=workers: workers)
        call = KERNELS[name].bind(*arrays, **options)
        assert call.workers == workers
        call()
        found.append(call.out.tobytes())
    assert found[0] == found[1] == found[2]


def test_what_is_declined():
    (x, w), options = operands(CASES["one image"])["conv2d_nd"]
    declined = [
        (x[:, ::-1], w),
        (x.astype("float64"), w),
        (np.moveaxis(x, 3, 1).copy().swapaxes(1, 3), w),
        (x[:0], w),
    ]
    for arrays in declined:
        assert conv.conv2d_nd.bind(*arrays, **options) is NotImplemented


@pytest.mark.parametrize("name", ["max_pool2d_nd", "max_pool2d_dx", "max_pool2d_pick"])
@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
def test_pooling_of_what_is_not_finite(name, value):
    """Whole windows of it, also where the first place of a window is padding."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 7, 6, 5)).astype("float32")
    x[:, :4, :4, 1:] = value
    options = {"kernel": (3, 3), "window": Window((2, 2), ((1, 1), (1, 1)))}
    places = rng.standard_normal((2, *options["window"].outputs((7, 6), (3, 3)), 5)).astype("f")
    v = rng.standard_normal(x.shape).astype("f")
    arrays = {"max_pool2d_nd": (x,), "max_pool2d_dx": (places, x), "max_pool2d_pick": (v, x)}
    with np.errstate(invalid="ignore"):
        want = PRIMITIVES[name].reference(get("numpy").xp, *arrays[name], **options)
    np.testing.assert_array_equal(getattr(pool, name)(*arrays[name], **options), want)
