"""Gathering, scattering, one-hot codes and batches of images as CUDA kernels, on the emulated
device with all its checks: an index out of range must not read or write outside of an array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_calls import on_device, run
from strategies import AVAILABLE

import tinygen as tg
from tinygen.data.dataset import scaled

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

from tinygen_kernels.cuda import index as kernels


def drawn(n: int, shape: Any, dtype: Any, low: int = 0) -> Any:
    return np.random.default_rng(1).integers(low, n, shape).astype(dtype)


def values(shape: Any, dtype: Any) -> Any:
    return (100 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)


# ---- take ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("kind", ["int32", "int64"])
@pytest.mark.parametrize(("shape", "axis", "form"), [
    ((1,), 0, (1,)), ((300,), 0, (257,)), ((9, 31), 0, (40,)), ((4, 9, 33), 1, (5, 3)),
    ((3, 5, 4), -1, ()), ((7, 5000), 0, (3,)),
])  # fmt: skip
def test_take(shape: Any, axis: int, form: Any, kind: str, dtype: str, device: Any) -> None:
    x, n = values(shape, dtype), shape[axis]
    index = drawn(n, form, kind, low=-n)
    got = run(kernels.take.bind(on_device(x), on_device(index), axis=axis))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, np.take(x, index, axis))
    far = drawn(5 * n, form, kind, low=-5 * n)  # counts round the axis
    got = run(kernels.take.bind(on_device(x), on_device(far), axis=axis))
    np.testing.assert_array_equal(got, np.take(x, far, axis, mode="wrap"))


def test_dispatch(device: Any) -> None:
    before = device.hits.copy()
    x, index = tg.tensor(values((5, 3), "float32")), tg.tensor(np.array([4, -1]))
    tg.take(x, index), tg.one_hot(tg.tensor(np.array([1, 0])), classes=2)
    tg.scatter_add(x, tg.tensor(np.arange(5)), axis=0, shape=(6, 3))
    x.requires_grad = True
    places = tg.tensor(np.zeros((5, 1), int))
    tg.grad(tg.sum(tg.square(x.take_along_axis(places, axis=1))), [x])
    assert {"take", "scatter_add", "one_hot", "take_along_axis", "add_along_axis"} <= set(
        device.hits - before
    )


# ---- scatter_add ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["int32", "int64"])
@pytest.mark.parametrize(("shape", "axis", "m", "name"), [
    ((1,), 0, 1, "scatter_thread"), ((5,), 0, 700, "scatter_thread"),
    ((3, 9, 31), 1, 40, "scatter_thread"), ((300,), 0, 3, "scatter_thread"),
    ((5, 32), 0, 255, "scatter_rows"), ((4, 40), 0, 257, "scatter_rows"),
    ((2, 3, 300), 1, 700, "scatter_rows"), ((20, 256), 0, 2, "scatter_rows"),
])  # fmt: skip
def test_scatter_add(
    shape: Any, axis: int, m: int, name: str, kind: str, dtype: str, device: Any
) -> None:
    x = values((*shape[:axis], m, *shape[axis + 1 :]), dtype)
    for low, high in ((0, 1), (-1, 1), (-4, 4)):  # of the axis: plain, negative, counting round
        index = drawn(high * shape[axis], (m,), kind, low * shape[axis])
        call = kernels.scatter_add.bind(on_device(x), on_device(index), axis=axis, shape=shape)
        assert call.launches[-1].name.startswith(name)
        want = np.zeros(shape, dtype)
        at = (slice(None),) * axis + (index % shape[axis],)
        np.add.at(want, at, x)  # in the order of the indices: the same bits
        assert run(call).tobytes() == want.tobytes()


# ---- by a list for each place --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["int32", "int64"])
@pytest.mark.parametrize(("shape", "axis", "m"), [
    ((5,), 0, 700), ((300, 10), 1, 1), ((4, 9, 33), 1, 12), ((2, 3, 5), -1, 4),
])  # fmt: skip
def test_along_an_axis(shape: Any, axis: int, m: int, kind: str, dtype: str, device: Any) -> None:
    x, n, form = values(shape, dtype), shape[axis], list(shape)
    form[axis] = m
    for far in (1, 4):  # of the axis: from the end, too, and counting round
        index = drawn(far * n, form, kind, -far * n)
        got = run(kernels.take_along_axis.bind(on_device(x), on_device(index), axis=axis))
        np.testing.assert_array_equal(got, np.take_along_axis(x, index % n, axis))
        g, want = values(form, dtype), np.zeros(shape, dtype)
        for place in np.ndindex(*form):
            to = list(place)
            to[axis] = index[place] % n
            want[tuple(to)] += g[place]
        args = on_device(g), on_device(index)
        assert run(kernels.add_along_axis.bind(*args, axis=axis, shape=shape)).tobytes() == (
            want.tobytes()
        )


# ---- one_hot -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int32", "int64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("form", "classes"), [((), 3), ((7,), 1), ((300,), 10), ((5, 4), 300)])
def test_one_hot(form: Any, classes: int, dtype: str, kind: str, device: Any) -> None:
    label = drawn(classes + 2, form, kind, low=-2)  # a label outside has a row of 0
    got = run(kernels.one_hot.bind(on_device(label), classes=classes, dtype=dtype))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, label[..., None] == np.arange(classes))


# ---- images --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(28, 28, 1), (5, 3, 3), (1, 1, 1), (72, 80, 3)])
@pytest.mark.parametrize("span", [(0.0, 1.0), (-1.0, 1.0), (0.1, 0.7)])
def test_gather_images(size: Any, span: tuple[float, float], device: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, *size), dtype=np.uint8)
    index = drawn(40, (9,), "int64", low=-40)
    got = run(kernels.gather_images.bind(on_device(images), on_device(index), *span))
    assert got.tobytes() == scaled(images[index], span).tobytes()
    index[:3] = 40, -41, 2**40
    got = run(kernels.gather_images.bind(on_device(images), on_device(index), *span))
    assert np.isnan(got[:3]).all()
    assert got[3:].tobytes() == scaled(images[index[3:]], span).tobytes()


def test_images_at_an_odd_address(device: Any) -> None:
    flat = on_device(np.random.default_rng(0).integers(0, 256, 3 + 6 * 16, dtype=np.uint8))
    images, index = flat[3:].reshape(6, 4, 4), on_device(np.array([5, 0, 2]))
    got = run(kernels.gather_images.bind(images, index, 0.0, 1.0))
    assert got.tobytes() == scaled(images.get()[[5, 0, 2]], (0.0, 1.0)).tobytes()
    out = on_device(np.zeros(1 + 3 * 16, "float32"))[1:].reshape(3, 4, 4)
    assert kernels.gather_images.bind(images, index, 0.0, 1.0, out=out).out is out
    assert run(kernels.gather_images.bind(images, index, 0.0, 1.0, out=out)).tobytes() == (
        got.tobytes()
    )


def test_what_is_declined() -> None:
    x, index = on_device(values((6, 4), "float32")), on_device(np.array([1, 2]))
    wrong = on_device(np.zeros((2, 4)))
    assert kernels.take.bind(x, 3) is NotImplemented
    assert kernels.take.bind(x.T, index) is NotImplemented
    assert kernels.take.bind(x, index[::2].reshape(1)[:0]) is NotImplemented
    assert kernels.take.bind(x, index.astype("uint8")) is NotImplemented
    assert kernels.take.bind(x, index, out=wrong) is NotImplemented
    into = {"axis": 0, "shape": (9, 4)}
    rows = on_device(values((2, 4), "float32"))
    assert kernels.scatter_add.bind(rows.T, index, **into) is NotImplemented
    assert kernels.scatter_add.bind(rows.astype("int64"), index, **into) is NotImplemented
    assert kernels.scatter_add.bind(rows, index, **into, out=wrong) is NotImplemented
    assert kernels.scatter_add.bind(rows, index, axis=0, shape=(0, 4)) is NotImplemented
    many = {"axis": 0, "shape": (2**31, 4)}  # too much to look through
    assert kernels.scatter_add.bind(rows, index, **many) is NotImplemented
    assert kernels.one_hot.bind(index, classes=3, dtype="int64") is NotImplemented
    assert kernels.one_hot.bind(x, classes=3) is NotImplemented
    assert kernels.gather_images.bind(x, index, 0.0, 1.0) is NotImplemented
    images = on_device(np.zeros((3, 2, 2), np.uint8))
    assert kernels.gather_images.bind(images.T, index, 0.0, 1.0) is NotImplemented
    assert kernels.gather_images.bind(images, index.astype("int32"), 0.0, 1.0) is NotImplemented
