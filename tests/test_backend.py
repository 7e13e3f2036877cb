"""Backends: choosing one, mixing two, what is kept for each thread."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from strategies import BACKENDS

import tinygen as tg
from tinygen import backend
from tinygen.backend import numpy as host_module
from tinygen.testing import check_grads

pytestmark = pytest.mark.quick


class Elsewhere(np.ndarray):
    """An array type of its own, so that a second backend exists on every machine."""


def _typed(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        out = function(*args, **kwargs)
        return np.asarray(out).view(Elsewhere) if isinstance(out, (np.ndarray, np.generic)) else out

    return call


class Fake(backend.Backend):
    name = "fake"
    array_type = Elsewhere
    xp: Any = types.SimpleNamespace(
        **{
            n: f if isinstance(f, (type, str)) else _typed(f)
            for n, f in vars(host_module.xp).items()
        }
    )

    def asarray(self, data: Any, dtype: Any = None) -> Any:
        return np.array(data, dtype=dtype).view(Elsewhere)

    def to_host(self, array: Any) -> Any:
        return np.array(array).view(np.ndarray)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A second backend, forgotten after the test."""
    module = types.ModuleType("fake_backend")
    module.create = Fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_backend", module)
    monkeypatch.setattr(backend, "_MODULES", {**backend._MODULES, "fake": "fake_backend"})
    monkeypatch.setattr(backend, "_loaded", dict(backend._loaded))
    monkeypatch.setattr(backend, "_by_type", dict(backend._by_type))
    monkeypatch.setattr("tinygen_kernels.TABLES", {"numpy": {}, "fake": {}})
    yield "fake"
    backend._current.name = "numpy"


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_makes_moves_and_computes(name: str) -> None:
    with tg.use_backend(name) as chosen:
        x = tg.tensor([1.0, 2.0], requires_grad=True)
        assert x.backend is chosen is backend.get(name)
        assert type(x.data) is chosen.array_type
        y = tg.sum(x * x)
        y.backward()
        assert x.grad.backend is chosen
        assert x.grad.tolist() == [2.0, 4.0]
        assert x.to("numpy").tolist() == [1.0, 2.0]
        assert tg.zeros((2,)).backend is chosen
        chosen.synchronize()
    assert tg.zeros(1).backend.name == "numpy"


@pytest.mark.parametrize("name", BACKENDS)
def test_a_product_that_is_nan_gives_no_warning(name: str) -> None:
    with tg.use_backend(name):  # warnings are errors in tests
        y = tg.zeros((1, 2)) @ tg.full((2, 1), np.inf)
    assert np.isnan(y.numpy()).all()


@pytest.mark.parametrize("name", BACKENDS)
def test_namespaces_hold_the_same_names(name: str) -> None:
    assert vars(backend.get("numpy").xp).keys() <= vars(backend.get(name).xp).keys()


def test_an_unknown_backend() -> None:
    with pytest.raises(
        tg.DeviceError, match=r"no backend is called 'tpu'; this version has: .*numpy"
    ):
        tg.use_backend("tpu")
    with pytest.raises(tg.DeviceError, match=r"no backend is called 'tpu'"):
        tg.tensor([1.0]).to("tpu")
    assert tg.zeros(1).backend.name == "numpy"


def test_use_backend_as_call_and_block(fake: str) -> None:
    with tg.use_backend(fake):
        assert tg.ones(2).backend.name == "fake"
        with tg.use_backend("numpy"):
            assert tg.ones(2).backend.name == "numpy"
        assert tg.ones(2).backend.name == "fake"
    assert tg.ones(2).backend.name == "numpy"
    tg.use_backend(fake)
    assert tg.ones(2).backend.name == "fake"
    tg.use_backend("numpy")
    with pytest.raises(ZeroDivisionError), tg.use_backend(fake):
        _ = 1 / 0
    assert tg.ones(2).backend.name == "numpy"


def test_mixing_two_backends_names_everything(fake: str) -> None:
    x, y = tg.ones(2), tg.ones(2).to(fake)
    for op, arguments in ((tg.mul, ("x", "y")), (tg.matmul, ("x", "y"))):
        a, b = arguments
        with pytest.raises(
            tg.DeviceError,
            match=rf"{op.__name__ if op is not tg.mul else 'mul'}.*: {a} is on 'numpy' and {b} on "
            rf"'fake'; move one with {b}\.to\('numpy'\) or {a}\.to\('fake'\)",
        ):
            op(x, y)
    assert (x * y.to("numpy")).tolist() == [1.0, 1.0]
    assert (x.to(fake) * y).backend.name == "fake"
    with pytest.raises(tg.DeviceError, match=r"concatenate: "):
        tg.concatenate([x, y])


def test_the_backend_of_an_operation_follows_from_its_arrays(fake: str) -> None:
    x = tg.ones(2).to(fake)
    assert (x * 2.0).backend.name == "fake"
    assert tg.exp(x).backend.name == "fake"
    assert x.to(fake) is x
    with tg.use_backend(fake):
        assert tg.tensor(tg.ones(2)).backend.name == "fake"
        assert (tg.ones(2).to("numpy") * 2.0).backend.name == "numpy"


def test_gradients_stay_on_their_backend(fake: str) -> None:
    x = tg.ones((2, 3)).to(fake).detach(requires_grad=True)
    w, b = tg.ones(3).to(fake), tg.zeros(3).to(fake)
    mean = tg.normalise(x, w, b, axis=(0,), eps=0.1)
    tg.sum(tg.tanh(x[:, 1:]) * 2.0 + tg.sum(mean)).backward()
    assert x.grad.backend.name == "fake"


def test_an_unused_output_gets_zeros_of_its_own_backend(fake: str) -> None:
    from tinygen.primitive import PRIMITIVES, primitive

    @primitive
    def both(xp: Any, x: Any) -> Any:
        return x * 2, x * 3

    both.vjp(x=lambda g: 2 * g[0] + 3 * g[1])
    try:
        x = tg.ones(2).to(fake).detach(requires_grad=True)
        both(x)[0].backward(tg.ones(2).to(fake))
        assert x.grad.tolist() == [2.0, 2.0]
    finally:
        del PRIMITIVES["both"]


def test_moving_a_recorded_tensor_would_lose_its_gradient(fake: str) -> None:
    x = tg.tensor([1.0], requires_grad=True)
    moved = x.to(fake)  # a leaf gives a leaf
    assert moved.requires_grad
    with pytest.raises(ValueError, match=r"to: gradients do not flow from 'fake' back .*detach"):
        (x * 2.0).to(fake)
    assert (x * 2.0).detach().to(fake).tolist() == [2.0]


def test_each_thread_chooses_for_itself(fake: str) -> None:
    seen: list[str] = []
    with tg.use_backend(fake):
        thread = threading.Thread(target=lambda: seen.append(tg.ones(1).backend.name))
        thread.start()
        thread.join()
        assert tg.ones(1).backend.name == "fake"
    assert seen == ["numpy"]


def test_repr_names_the_place(fake: str) -> None:
    assert "fake" in repr(tg.ones(1).to(fake))
    assert repr(backend.get("numpy")).startswith("<backend numpy: ")


def test_arrays_of_no_backend() -> None:
    from tinygen.tensor import Tensor

    with pytest.raises(tg.DeviceError, match=r"no loaded backend holds arrays of type"):
        _ = Tensor(range(1)).backend


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_erf_of_the_namespace(dtype: str) -> None:
    import math

    x = np.linspace(-7, 7, 2001).astype(dtype)
    want = np.array([math.erf(v) for v in x])
    got = host_module.erf(x)
    assert got.dtype == x.dtype
    np.testing.assert_allclose(got, want, rtol=0, atol=4e-16 if dtype == "float64" else 6e-8)
    check_grads(tg.erf, [np.array([0.1, -1.0, 2.0])], order=3)


def test_mulhi_of_the_namespace() -> None:
    words = np.array([0, 1, 2**31, 2**32 - 1], dtype=np.uint32)
    assert host_module.mulhi(words, 0xD2511F53).tolist() == [
        int(w) * 0xD2511F53 >> 32 for w in words
    ]
