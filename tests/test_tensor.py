"""Tensors: what they are made from, what they turn into, their operators and their errors."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen.ops import METHODS
from tinygen.tensor import Tensor

pytestmark = pytest.mark.quick


def f32(*values: float) -> Tensor:
    return tg.tensor(list(values), dtype="float32")


# ---- making --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"),
        ([1.0, 2.0], "float32"),
        ([[1, 2], [3, 4]], "int64"),
        ([1, 2.5], "float32"),
        (True, "bool"),
        ([True, False], "bool"),
        (np.ones(2), "float64"),
        (np.ones(2, np.float32), "float32"),
        (np.ones(2, np.float16), "float32"),
        (np.ones(2, np.longdouble), "float32"),
        (np.ones(2, ">f4"), "float32"),
        (np.ones(2, ">f8"), "float64"),
        (np.ones(2, ">i4"), "int32"),
        (np.ones(2, np.uint8), "uint8"),
        (np.float64(2), "float64"),
        (np.int32(2), "int32"),
        ((1.0, 2.0), "float32"),
        (range(3), "int64"),
        ([], "float32"),
        (tg.full((2,), 1, dtype="float64"), "float64"),
    ],
)
def test_dtype_of_new_tensors(data: Any, dtype: str) -> None:
    x = tg.tensor(data)
    assert x.dtype == np.dtype(dtype)
    assert x.dtype.isnative
    source = data.numpy() if isinstance(data, Tensor) else np.asarray(data)
    np.testing.assert_array_equal(x.numpy(), source)


def test_asked_for_dtypes() -> None:
    assert tg.tensor([1, 2], dtype="float64").dtype == np.float64
    assert tg.tensor(np.ones(2), dtype=np.float32).dtype == np.float32
    assert tg.tensor([1.7], dtype=int).tolist() == [1]
    assert tg.tensor(np.ones(1, ">f8"), dtype=">f8").dtype.isnative


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: tg.tensor([1 + 2j]), TypeError, "complex128 are not numbers that tinygen"),
        (lambda: tg.tensor("text"), TypeError, "<U4 are not numbers"),
        (lambda: tg.tensor([object()]), TypeError, "object are not numbers"),
        (lambda: tg.tensor(None), TypeError, "object are not numbers"),
        (lambda: tg.tensor([[1, 2], [3]]), ValueError, "the rows differ in length"),
        (lambda: tg.tensor([1.0], dtype="float16"), TypeError, "float16 is not supported"),
        (lambda: tg.tensor([1.0], dtype=complex), TypeError, "complex128 is not supported"),
        (lambda: tg.zeros(2, dtype="float16"), TypeError, "float16 is not supported"),
        (
            lambda: tg.tensor([1], requires_grad=True),
            TypeError,
            "int64 carries no gradient.*astype",
        ),
        (lambda: tg.arange(3).detach(requires_grad=True), TypeError, "int64 carries no gradient"),
    ],
)
def test_refuses_to_make(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_a_tensor_is_a_copy() -> None:
    a = np.ones(3)
    x = tg.tensor(a)
    y = tg.tensor(x)
    a[0] = 7
    assert x.tolist() == [1.0, 1.0, 1.0]
    assert not np.shares_memory(x.numpy(), y.numpy())
    assert not np.shares_memory(x.copy().numpy(), x.numpy())
    assert np.shares_memory(x.detach().numpy(), x.numpy())
    assert tg.tensor(tg.tensor(1.0, requires_grad=True)).node is None


def test_creation() -> None:
    assert (tg.zeros((2, 3)).shape, tg.zeros((2, 3)).dtype) == ((2, 3), np.float32)
    assert tg.ones(4).shape == (4,)
    assert tg.ones((), dtype="float64").dtype == np.float64
    assert tg.full((2,), 3).dtype == np.int64
    assert tg.full((2,), 3.0).tolist() == [3.0, 3.0]
    assert tg.full((2,), 3.0).dtype == np.float32
    assert tg.full((2,), True).dtype == np.bool_
    assert tg.arange(4).tolist() == [0, 1, 2, 3]
    assert tg.arange(1, 7, 2).tolist() == [1, 3, 5]
    assert tg.arange(0, 1, 0.25).dtype == np.float32
    assert tg.arange(3, dtype="float64").dtype == np.float64
    x = tg.ones((2, 1), dtype="float64")
    assert (x.zeros_like().dtype, x.ones_like().shape) == (np.float64, (2, 1))


# ---- operators -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scalars_are_weak_and_arrays_work_on_both_sides(dtype: str) -> None:
    x = tg.tensor(np.array([1.0, 4.0], dtype))
    a = np.array([2.0, 3.0], dtype)
    for scalar in (2, 2.0, True, np.float64(2), np.float32(2), np.int64(2)):
        for y in (x + scalar, scalar + x, x * scalar, scalar * x, x / scalar, scalar / x,
                  x - scalar, scalar - x, x**scalar, scalar**x):  # fmt: skip
            assert isinstance(y, Tensor)
            assert y.dtype == np.dtype(dtype)
            assert y.shape == (2,)
    for y, want in [(a * x, [2, 12]), (x * a, [2, 12]), (a - x, [1, -1]), (a / x, [2, 0.75]),
                    (a + x, [3, 7]), (a**x, [2, 81]), (a @ x, 14), (x @ a, 14)]:  # fmt: skip
        assert isinstance(y, Tensor)
        np.testing.assert_allclose(y.numpy(), want, rtol=1e-6)
    assert (x > a).tolist() == [False, True]
    assert (a > x).tolist() == [True, False]
    np.testing.assert_array_equal((x == a).numpy(), [False, False])
    assert ([1.0, 2.0] * f32(1, 2)).tolist() == [1.0, 4.0]


def test_operators_are_those_of_numpy() -> None:
    a, b = np.array([1.5, -2.0, 0.5]), np.array([1.5, 2.0, -3.0])
    x, y = tg.tensor(a), tg.tensor(b)
    for got, want in [
        (x + y, a + b), (x - y, a - b), (x * y, a * b), (x / y, a / b), (-x, -a), (abs(x), abs(a)),
        (x < y, a < b), (x <= y, a <= b), (x > y, a > b), (x >= y, a >= b), (x == y, a == b),
        (x != y, a != b), (x**2, a**2), (x**3, a**3), (x @ y, a @ b), (2 - x, 2 - a),
    ]:  # fmt: skip
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-15)


def test_dtypes_that_do_not_mix() -> None:
    i = tg.arange(2)
    for call in (
        lambda: i + f32(1, 2),
        lambda: f32(1, 2) * tg.tensor(np.ones(2)),
        lambda: i * 0.5,
        lambda: tg.tensor([True, False]) * f32(1, 2),
        lambda: f32(1, 2) > i,
    ):
        with pytest.raises(TypeError, match=r"dtypes do not mix: x \(2,\).*astype"):
            call()
    assert (i + 1).dtype == np.int64
    assert (i * i).dtype == np.int64
    assert (tg.where(i > 0, 1.0, 0)).dtype == np.float32
    assert (tg.where(i > 0, 1, 0)).dtype == np.int64
    assert (i.astype("float32") * 0.5).dtype == np.float32
    with pytest.raises(TypeError, match=r"y is None"):
        f32(1) * None


def test_equality_is_elementwise_and_the_hash_is_of_the_object() -> None:
    x, y = f32(1, 2), f32(1, 2)
    assert (x == y).tolist() == [True, True]
    assert len({x, y, x}) == 2
    assert {x: 1}[x] == 1


# ---- turning into something else -----------------------------------------------------------------


def test_to_python() -> None:
    assert float(f32(2.5)) == 2.5
    assert int(tg.tensor([3])) == 3
    assert bool(tg.tensor(True)) is True
    assert tg.tensor(2).item() == 2
    assert isinstance(tg.tensor(True).item(), bool)
    assert f32(1, 2).tolist() == [1.0, 2.0]
    assert len(tg.zeros((3, 2))) == 3
    assert [row.shape for row in tg.zeros((3, 2))] == [(2,)] * 3
    assert 2.0 in f32(1, 2)
    with pytest.raises(TypeError, match=r"a 0-d tensor has no length"):
        len(tg.tensor(1.0))
    with pytest.raises(TypeError, match=r"no length"):
        list(tg.tensor(1.0))
    for turn in (Tensor.item, float, int):
        with pytest.raises(ValueError, match=r"item: the tensor has shape \(2,\); expected one"):
            turn(f32(1, 2))
    with pytest.raises(ValueError, match=r"shape \(2,\) is no condition.*tg\.where"):
        bool(f32(1, 2))


def test_to_numpy() -> None:
    x = f32(1, 2)
    assert type(x.numpy()) is np.ndarray
    np.testing.assert_array_equal(np.asarray(x), [1.0, 2.0])
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    copied = np.array(x)
    assert not np.shares_memory(copied, x.numpy())
    assert np.stack([x, x]).shape == (2, 2)
    assert (x.ndim, x.size, x.T.shape) == (1, 2, (2,))


@pytest.mark.parametrize("backend", ["numpy", "emulated"])
def test_what_numpy_sees_cannot_be_written_into(backend: str) -> None:
    with tg.use_backend(backend):
        x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = (x * x).sum()
    views = [x.numpy(), np.asarray(x), x.numpy()[1:], x.numpy().reshape(3, 1), x.detach().numpy()]
    views += [tg.zeros(()).numpy(), x.T.numpy(), x[:2].numpy()]
    for view in views:
        assert not view.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 10
    with pytest.raises(ValueError, match="read-only"):
        np.multiply(x.numpy(), 2, out=x.numpy())
    with pytest.raises(ValueError, match="read-only"):
        x.numpy().sort()
    with pytest.raises(TypeError, match="read-only"):
        memoryview(x.numpy())[0] = 10.0
    y.backward()
    assert x.grad.tolist() == [2.0, 4.0, 6.0]
    assert not x.grad.numpy().flags.writeable
    for own in (x.numpy().copy(), np.array(x), np.asarray(x, dtype="float64"), x.numpy() + 0):
        own[0] = 10
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert x.data.flags.writeable  # what optimizers write into
    if backend == "numpy":
        assert np.shares_memory(x.numpy(), x.data)
        with pytest.raises(ValueError, match="copy"):
            np.array(x, dtype="float64", copy=False)


def test_repr() -> None:
    assert repr(f32(1, 2)) == "tensor([1. 2.], shape=(2,), float32)"
    x = tg.tensor(np.float64(0.5), requires_grad=True)
    assert repr(x) == "tensor(0.5, shape=(), float64, requires_grad=True)"
    assert len(repr(tg.zeros((1000, 1000)))) < 400
    assert "shape=(0, 3)" in repr(tg.zeros((0, 3)))


def test_requires_grad() -> None:
    x = f32(1.0)
    assert not x.requires_grad
    x.requires_grad = True
    node = x.node
    x.requires_grad = True
    assert x.node is node
    y = x * 2
    assert y.requires_grad
    with pytest.raises(ValueError, match=r"leaves only; .* result of mul; use .detach\(\)"):
        y.requires_grad = False
    assert not y.detach().requires_grad
    assert y.detach(requires_grad=True).node.primitive is None
    x.requires_grad = False
    assert x.grad is None
    z = tg.arange(3)
    with pytest.raises(TypeError, match=r"int64 carries no gradient"):
        z.requires_grad = True
    with pytest.raises(AttributeError):
        x.shapes = 1


# ---- methods and indices -------------------------------------------------------------------------

TAKES_ONE_ARRAY_FIRST = {
    name for name in tg.ops.__all__
    if callable(f := getattr(tg, name))
    and next(iter(getattr(f, "args", inspect.signature(f).parameters)), None) in ("x", "labels")
    and len([*getattr(f, "args", ["x"])]) == 1
}  # fmt: skip


@pytest.mark.parametrize("name", sorted({*METHODS.split(), "sum", "mean", "max", "min", "var"}))
def test_a_method_is_the_function(name: str) -> None:
    x = tg.tensor(np.array([[0.5, 0.25], [0.75, 0.125]]))
    extra: dict[str, tuple[Any, ...]] = {
        "astype": ("float32",), "broadcast_to": ((3, 2, 2),), "cumsum": (0,), "expand_dims": (0,),
        "one_hot": (4,), "pad": (((1, 1), (0, 0)),), "power": (3,), "swapaxes": (0, 1),
        "take": (1,), "clip": (0.2, 0.6), "avg_pool2d": (2,), "max_pool2d": (2,),
        "reflection_pad2d": (1,), "resize2d": (3,), "upsample2d": (2,), "top_k": (1,),
        "take_along_axis": (np.array([[1, 0]]), 0), "space_to_depth": (2,),
        "depth_to_space": (1,),
    }  # fmt: skip
    x = tg.tensor([1, 2]) if name == "one_hot" else x
    x = x.reshape(1, 2, 2, 1) if name.endswith("2d") or "_to_" in name else x
    got = getattr(x, name)(*extra.get(name, ()))
    want = getattr(tg, name)(x, *extra.get(name, ()))
    got, want = (v[0] if isinstance(v, tuple) else v for v in (got, want))
    np.testing.assert_array_equal(got.numpy(), want.numpy())
    assert got.dtype == want.dtype


def test_every_function_of_one_array_is_a_method() -> None:
    internal = {"identity", "isfinite", "neg", "sign", "sum_to", "full_like"}
    internal |= {"logical_and", "logical_or", "logical_xor", "logical_not"}  # operators
    internal |= {"getitem", "matmul", "linear", "conv2d", "conv_transpose2d"}  # two arrays
    assert sorted(n for n in TAKES_ONE_ARRAY_FIRST - internal if not hasattr(Tensor, n)) == []


def test_operators_of_masks_and_of_whole_numbers() -> None:
    x, mask = tg.tensor([-3.0, 2.5, 4.0]), tg.tensor([True, False, True])
    cases: list[tuple[Tensor, list[float]]] = [
        (x % 2, [1.0, 0.5, 0.0]), (5 % x, [-1.0, 0.0, 1.0]), (x // 2, [-2.0, 1.0, 2.0]),
        (7 // x, [-3.0, 2.0, 1.0]), (mask & (x > 0), [0, 0, 1]), (mask | (x > 0), [1, 1, 1]),
        (mask ^ (x > 0), [1, 1, 0]), (~mask, [0, 1, 0]), (True & mask, [1, 0, 1]),
        (np.array([1, 1, 0], bool) & mask, [1, 0, 0]), (np.invert(mask), [0, 1, 0]),
        (tg.tensor([7, -7, 5]) % 3, [1, 2, 2]), (tg.tensor([7, -7, 5]) // 0, [0, 0, 0]),
    ]  # fmt: skip
    for got, want in cases:
        assert isinstance(got, Tensor)
        np.testing.assert_array_equal(got.numpy(), want)
    for call in (lambda: x & mask, lambda: mask | 1, lambda: ~x, lambda: 2 ^ mask):
        with pytest.raises(TypeError, match=r"logical_\w+: an operand has dtype .*, expected bool"):
            call()


def test_shapes_by_several_spellings() -> None:
    x = tg.zeros((2, 3, 4))
    assert x.reshape(6, 4).shape == x.reshape((6, 4)).shape == x.reshape([6, -1]).shape == (6, 4)
    assert x.reshape(-1).shape == x.reshape(np.int64(24)).shape == (24,)
    assert x.reshape(np.prod(x.shape)).shape == (24,)
    assert x.transpose(2, 0, 1).shape == x.transpose((2, 0, 1)).shape == (4, 2, 3)
    assert x.transpose().shape == x.transpose(None).shape == x.T.shape == (4, 3, 2)
    assert x.sum(0).shape == x.sum(axis=np.int64(0)).shape == (3, 4)
    assert x.sum((0, -1)).shape == x.sum(axis=[0, 2]).shape == (3,)
    assert x.sum(1, True).shape == (2, 1, 4)
    assert x.var(0, False, 1).shape == (3, 4)


def test_an_integer_beside_an_array_of_indices_keeps_the_order_of_axes() -> None:
    """Where NumPy moves the gathered axis to the front, the axes stay where they are here."""
    x = tg.tensor(np.arange(24.0).reshape(2, 3, 4))
    got = x[0, :, [1, 3]]
    assert got.shape == (3, 2)
    np.testing.assert_array_equal(got.numpy(), x.numpy()[0][:, [1, 3]])


def test_gradient_of_repeated_indices_adds_up() -> None:
    x = tg.tensor(np.zeros(3), requires_grad=True)
    x[[0, 0, 2]].backward(np.array([1.0, 2.0, 4.0]))
    assert x.grad.tolist() == [3.0, 0.0, 4.0]
