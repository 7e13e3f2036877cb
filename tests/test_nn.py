"""Modules and layers: names, state, shapes, numbers, and gradients to order 2."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.random import Generator, manual_seed
from tinygen.testing import check_grads

pytestmark = pytest.mark.quick
rng = np.random.default_rng(0)


def net() -> nn.Sequential:
    g = Generator(3)
    return nn.Sequential(
        nn.Dense(4, 5, rng=g), nn.BatchNorm(5), nn.ReLU(), nn.Dropout(0.5, rng=g),
        nn.Dense(5, 2, rng=g),
    )  # fmt: skip


class Holder(nn.Module):
    """Things in every place a module may keep them."""

    def __init__(self) -> None:
        self.first = nn.Dense(2, 3)
        self.blocks = [nn.Dense(3, 3), (nn.LayerNorm(3), nn.BatchNorm(3))]
        self.heads = {"mu": nn.Dense(3, 1), "logvar": nn.Dense(3, 1, bias=False)}
        self.again = self.first
        self.me = self
        self.scale = nn.Parameter(np.ones(3))
        self.note = "not a parameter"


# ---- Module --------------------------------------------------------------------------------------


def test_names_follow_the_order_of_the_attributes() -> None:
    held = Holder()
    assert list(held.named_parameters()) == [
        "first.weight", "first.bias", "blocks.0.weight", "blocks.0.bias", "blocks.1.0.weight",
        "blocks.1.0.bias", "blocks.1.1.weight", "blocks.1.1.bias", "heads.mu.weight",
        "heads.mu.bias", "heads.logvar.weight", "scale",
    ]  # fmt: skip
    assert list(held.named_buffers()) == ["blocks.1.1.running_mean", "blocks.1.1.running_var"]
    assert [p.name for p in held.parameters()] == list(held.named_parameters())
    assert held.heads["mu"].weight is held.named_parameters()["heads.mu.weight"]
    assert len(held.buffers()) == 2


def test_names_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests'); from test_nn import Holder, net;"
        "print(list(Holder().state_dict()), list(net().state_dict()))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            check=True,
            text=True,
            cwd=__file__.rsplit("tests", 1)[0],
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert "heads.mu.weight" in texts.pop()


def test_a_set_of_modules_is_refused() -> None:
    module = nn.Module()
    module.parts = {nn.Dense(1, 1), nn.Dense(1, 1)}  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="parts: modules in a set"):
        module.parameters()


def test_two_things_of_one_name_are_refused() -> None:
    module = nn.Module()
    module.parts = {1: nn.Dense(1, 1), "1": nn.Dense(1, 1)}  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"two attributes have the path 'parts\.1\.weight'"):
        module.parameters()


def test_generators_are_found_once_and_in_order() -> None:
    g, h = Generator(0), Generator(1)
    layers = nn.Sequential(nn.Dropout(0.1, rng=g), nn.Dropout(0.1, rng=h), nn.Dropout(0.1, rng=g))
    assert layers.named_generators() == {"0.rng": g, "1.rng": h}


def test_train_and_eval_reach_every_layer() -> None:
    model = Holder()
    assert model.training
    assert model.eval() is model
    assert not any(m.training for m in model.named_modules().values())
    assert model.train().blocks[1][0].training  # type: ignore[index]


def test_zero_grad() -> None:
    model = nn.Dense(2, 1)
    model(tg.ones((1, 2))).sum().backward()
    assert model.weight.grad is not None
    model.zero_grad()
    assert model.weight.grad is None


def test_forward_must_be_defined() -> None:
    with pytest.raises(NotImplementedError, match="Module does not define forward"):
        nn.Module()(1)


def test_parameter_copies_and_is_contiguous() -> None:
    source = np.arange(6, dtype=np.float32).reshape(2, 3)
    p = nn.Parameter(source.T)
    source[:] = 0
    assert p.data.flags.c_contiguous
    assert p.data[2, 1] == 5
    assert p.requires_grad
    assert nn.Parameter(1.5).shape == ()
    with pytest.raises(TypeError, match="carries no gradient"):
        nn.Parameter([1, 2])


def test_repr_shows_shapes_and_counts() -> None:
    text = repr(Holder())
    assert "heads.mu: Dense(3, 1)" in text
    assert "weight (3, 1), bias (1,)" in text
    lines = text.splitlines()
    assert lines[-1].split() == ["total", "43"]
    assert "running_mean (3,)" in next(line for line in lines if "BatchNorm" in line)
    assert repr(nn.Sequential(nn.LeakyReLU(0.2), nn.Dropout(0.3))).count("\n") == 4


# ---- state ---------------------------------------------------------------------------------------


def test_state_dict_round_trip_is_in_place() -> None:
    a, b = net(), net()
    a(tg.tensor(rng.normal(size=(6, 4)).astype(np.float32)))  # moves the running statistics
    for p in a.parameters():
        p.data[...] += 1
    storages = [p.data for p in b.parameters()]
    state = a.state_dict()
    b.load_state_dict(state)
    for name, array in b.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    assert all(p.data is s for p, s in zip(b.parameters(), storages, strict=True))
    state["0.weight"][...] = 7  # a copy: neither network sees it
    assert not (a.state_dict()["0.weight"] == 7).any()
    assert not (b.state_dict()["0.weight"] == 7).any()


def test_load_state_dict_lists_every_problem_and_changes_nothing() -> None:
    model = net()
    before = model.state_dict()
    state = {k: v + 1 for k, v in before.items()}
    del state["0.bias"]
    state["extra"] = np.zeros(2)
    state["1.weight"] = np.zeros(6, dtype=np.float32)
    state["4.weight"] = state["4.weight"].astype(np.float64)
    with pytest.raises(ValueError) as error:
        model.load_state_dict(state)
    message = str(error.value)
    assert "Sequential.load_state_dict" in message
    assert "missing: 0.bias" in message
    assert "unexpected: extra" in message
    assert "1.weight is (6,) float32, expected (5,) float32" in message
    assert "4.weight is (5, 2) float64, expected (5, 2) float32" in message
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_load_state_dict_not_strict() -> None:
    model = net()
    model.load_state_dict({"0.bias": np.ones(5, dtype=np.float32), "other": 1.0}, strict=False)
    np.testing.assert_array_equal(model.state_dict()["0.bias"], 1)
    with pytest.raises(ValueError, match="mismatched"):
        model.load_state_dict({"0.bias": np.ones(4, dtype=np.float32)}, strict=False)


def test_loading_between_forward_and_backward_is_noticed() -> None:
    model = nn.Sequential(nn.Dense(3, 2))
    model.parameters()
    x = tg.tensor(np.ones((2, 3), dtype=np.float32), requires_grad=True)
    y = model(x).sum()
    model.load_state_dict(model.state_dict())
    with pytest.raises(
        RuntimeError, match=r"parameter '0\.weight'.*changed in place by load_state"
    ):
        y.backward()


# ---- layers: shapes and errors -------------------------------------------------------------------


def test_sequential_is_a_list_of_layers() -> None:
    model = net()
    assert len(model) == 5
    assert isinstance(model[-1], nn.Dense)
    assert [type(m).__name__ for m in model] == ["Dense", "BatchNorm", "ReLU", "Dropout", "Dense"]
    assert model[:1][0] is model[0]
    with pytest.raises(TypeError, match=r"entry 1 is .*expected a layer"):
        nn.Sequential(nn.ReLU(), nn.ReLU)  # type: ignore[arg-type]


def test_dense_names_itself_and_the_fix() -> None:
    layer = nn.Dense(784, 400)
    with pytest.raises(ValueError, match=r"Dense\(784, 400\): input \(64, 28, 28, 1\) float32.*"
                                         r"add nn\.Flatten\(\) first"):  # fmt: skip
        layer(tg.zeros((64, 28, 28, 1)))
    with pytest.raises(ValueError, match=r"input \(2, 3\) float32; expected \(\.\.\., 784\)"):
        layer(tg.zeros((2, 3)))
    with pytest.raises(TypeError, match=r"Dense\(784, 400\): input .* float64, parameters float32"):
        layer(np.zeros((2, 784)))
    with pytest.raises(ValueError, match="out_features is 0"):
        nn.Dense(3, 0)
    with pytest.raises(ValueError, match="init: 'xavier'; expected a function"):
        nn.Dense(3, 2, init="xavier")
    assert "bias" not in repr(nn.Dense(2, 3, bias=False))


def test_dense_keeps_leading_axes() -> None:
    layer = nn.Dense(3, 2, bias=False)
    x = rng.normal(size=(4, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(layer(x).numpy(), x @ layer.weight.numpy(), rtol=1e-5, atol=1e-6)


def test_flatten_and_reshape_keep_nhwc_order() -> None:
    x = tg.arange(48.0).reshape(2, 2, 4, 3)
    flat = nn.Flatten()(x)
    assert flat.shape == (2, 24)
    np.testing.assert_array_equal(flat.numpy()[1], x.numpy()[1].ravel())
    np.testing.assert_array_equal(nn.Reshape(2, 4, 3)(flat).numpy(), x.numpy())
    assert nn.Reshape(-1, 3)(flat).shape == (2, 8, 3)
    assert nn.Flatten()(tg.zeros((0, 2, 3))).shape == (0, 6)
    with pytest.raises(ValueError, match=r"Reshape\(5, 5\): input \(2, 24\); expected 25 elements"):
        nn.Reshape(5, 5)(flat)
    with pytest.raises(ValueError, match="without the batch's"):
        nn.Reshape(0)
    assert nn.Identity()(flat) is flat


def test_embedding() -> None:
    layer = nn.Embedding(10, 3, rng=Generator(0))
    y = layer(np.array([[1, 1], [9, 0]], dtype=np.uint8))
    assert y.shape == (2, 2, 3)
    y.sum().backward()
    assert layer.weight.grad is not None
    np.testing.assert_array_equal(layer.weight.grad.numpy()[[0, 1, 2, 9], 0], [1, 2, 0, 1])
    with pytest.raises(TypeError, match=r"Embedding\(10, 3\): labels \(1,\) float32"):
        layer(tg.ones(1))
    with pytest.raises(IndexError):
        layer(np.array([10]))


def test_dropout_in_training_only_and_unbiased() -> None:
    layer = nn.Dropout(0.3, rng=Generator(0))
    x = tg.full((200, 100), 2.0)
    x.requires_grad = True
    y = layer(x)
    values = set(np.unique(y.numpy()).tolist())
    assert len(values) == 2
    assert 0.0 in values
    assert abs(float(y.numpy().mean()) - 2) < 0.03
    (slope,) = tg.grad(y.sum(), [x])  # the backward pass drops the same elements
    np.testing.assert_allclose(slope.numpy() * 2, y.numpy(), rtol=1e-6)
    assert not np.array_equal(layer(x).numpy(), y.numpy())
    assert layer.eval()(x) is x
    for p in (1.0, -0.1):
        with pytest.raises(ValueError, match="0 <= p < 1"):
            nn.Dropout(p)


def test_dropout_layers_draw_masks_of_their_own() -> None:
    manual_seed(5)
    a, b = nn.Dropout(0.5), nn.Dropout(0.5)
    x = tg.ones((10, 10))
    assert not np.array_equal(a(x).numpy(), b(x).numpy())
    manual_seed(5)
    again = nn.Dropout(0.5)
    a.rng.load_state_dict({**a.rng.state_dict(), "draws": 0})
    np.testing.assert_array_equal(a(x).numpy(), again(x).numpy())


# ---- initialisers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_uniform", 2 / 700), ("glorot", 2 / 700), ("glorot_normal", 2 / 700),
        ("he_uniform", 2 / 300), ("he_normal", 2 / 300), ("normal", 4e-4), ("zeros", 0.0),
    ],
)  # fmt: skip
def test_initialisers_have_the_stated_variance(name: str, variance: float) -> None:
    w = nn.Dense(300, 400, init=name, rng=Generator(0)).weight.numpy()
    assert w.dtype == np.float32
    assert abs(w.mean()) < 4 * math.sqrt(variance / w.size) + 1e-12
    assert abs(w.var() - variance) <= 0.03 * variance
    if name.endswith("uniform"):
        assert np.abs(w).max() <= math.sqrt(3 * variance) * 1.0001


def test_initialisers_of_kernels_and_functions() -> None:
    w = nn.init.he_normal((3, 3, 16, 32), Generator(0)).numpy()
    assert abs(w.var() - 2 / 144) < 0.1 * 2 / 144
    with pytest.raises(ValueError, match=r"shape \(3,\) has no fan"):
        nn.init.glorot_uniform((3,))
    layer = nn.Dense(2, 2, init=lambda shape, rng: tg.full(shape, 0.5))
    np.testing.assert_array_equal(layer.weight.numpy(), 0.5)
    layer = nn.Dense(2, 2, init=lambda shape, rng: np.zeros(shape))  # float64
    assert layer.weight.dtype == np.float32
    for new in (
        lambda init: nn.Conv2d(1, 1, 3, init=init),
        lambda init: nn.Dense(2, 3, init=init),
    ):
        with pytest.raises(ValueError, match=r"gave a weight \(5, 5, 1, 1\); expected \("):
            new(lambda shape, rng: tg.ones((5, 5, 1, 1)))


def test_default_generator_is_used_without_rng() -> None:
    manual_seed(1)
    a = nn.Dense(3, 3).weight.numpy()
    manual_seed(1)
    np.testing.assert_array_equal(nn.Dense(3, 3).weight.numpy(), a)
    assert not np.array_equal(nn.Dense(3, 3).weight.numpy(), a)


# ---- normalisation -------------------------------------------------------------------------------

# Recorded from PyTorch 2.13 in float64: BatchNorm1d(2, momentum=0.3, eps=1e-3) with weight
# (1.5, -0.5) and bias (0.1, 0.2), called twice on X in training; the gradients of
# (Y * C).sum() at the second call; then the output in evaluation.
X = [[1.0, 2.0], [3.0, -1.0], [0.5, 4.0]]
C = [[1.0, -1.0], [2.0, 0.5], [-3.0, 1.0]]
Y = [[-0.5940676809654635, 0.11889889294449069], [2.1822030428963908, 0.848808856444075],
     [-1.288135361930927, -0.36770774938856554]]  # fmt: skip
GX = [[2.4778790802609443, 0.2881213432967459], [-0.492960431128197, -0.1152408558752139],
      [-1.9849186491327473, -0.172880487421532]]  # fmt: skip
GW, GB = [5.0898296604133995, 0.3244044282220373], [0.0, 0.5]
MEAN, VAR = [0.765, 0.85], [1.3825, 3.72]
EVAL = [[0.39968812846097357, -0.09808354993390467], [2.95022539195862, 0.679525710763238],
        [-0.23794618741343798, -0.6164897237319997]]  # fmt: skip


def test_batch_norm_equals_pytorch() -> None:
    layer = nn.BatchNorm(2, momentum=0.3, eps=1e-3)
    layer.weight = nn.Parameter(np.array([1.5, -0.5]))
    layer.bias = nn.Parameter(np.array([0.1, 0.2]))
    layer.running_mean, layer.running_var = nn.Buffer(np.zeros(2)), nn.Buffer(np.ones(2))
    x = tg.tensor(np.array(X), requires_grad=True)
    layer(x)
    y = layer(x)
    gx, gw, gb = tg.grad((y * np.array(C)).sum(), [x, layer.weight, layer.bias])
    close: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(y.numpy(), Y, **close)
    np.testing.assert_allclose(gx.numpy(), GX, **close)
    np.testing.assert_allclose(gw.numpy(), GW, **close)
    np.testing.assert_allclose(gb.numpy(), GB, **close)
    np.testing.assert_allclose(layer.running_mean.numpy(), MEAN, **close)
    np.testing.assert_allclose(layer.running_var.numpy(), VAR, **close)
    np.testing.assert_allclose(layer.eval()(x).numpy(), EVAL, **close)
    np.testing.assert_allclose(layer.running_mean.numpy(), MEAN, **close)  # not moved by eval


def test_batch_norm_over_images_and_its_errors() -> None:
    layer = nn.BatchNorm(3)
    x = rng.normal(2, 5, size=(4, 6, 6, 3)).astype(np.float32)
    y = layer(x).numpy()
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 1, atol=1e-3)
    with pytest.raises(ValueError, match=r"BatchNorm\(3\): input \(1, 3\) has 1 row"):
        layer(x[:1, 0, 0])
    assert layer.eval()(x[:1, 0, 0]).shape == (1, 3)
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 3\)"):
        layer(tg.zeros((2, 4)))
    with pytest.raises(ValueError, match="momentum is 2"):
        nn.BatchNorm(3, momentum=2)
    for new in (
        lambda eps: nn.BatchNorm(4, eps=eps),
        lambda eps: nn.LayerNorm(4, eps=eps),
        lambda eps: nn.GroupNorm(2, 4, eps=eps),
        lambda eps: nn.InstanceNorm(4, eps=eps),
    ):
        for eps in (0.0, -1.0, math.nan):
            with pytest.raises(ValueError, match=f"eps is {eps}; expected a finite number > 0"):
                new(eps)


def test_layer_norm() -> None:
    layer = nn.LayerNorm(8)
    y = layer(rng.normal(2, 5, size=(4, 8)).astype(np.float32)).numpy()
    np.testing.assert_allclose(y.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(y.var(axis=1), 1, atol=1e-4)
    with pytest.raises(ValueError, match=r"LayerNorm\(8\): input \(2, 4\)"):
        layer(tg.zeros((2, 4)))


# ---- gradients -----------------------------------------------------------------------------------


def with_parameters(layer: nn.Module, x: Any, *weights: Any) -> Any:
    for name, w in zip(("weight", "bias"), weights, strict=False):
        setattr(layer, name, w)
    return layer(x)


@pytest.mark.parametrize(
    ("make", "weights"),
    [
        (lambda: nn.Dense(3, 2), ((3, 2), (2,))),
        (lambda: nn.BatchNorm(3), ((3,), (3,))),
        (lambda: nn.BatchNorm(3).eval(), ((3,), (3,))),
        (lambda: nn.LayerNorm(3), ((3,), (3,))),
        (nn.Flatten, ()),
        (lambda: nn.Reshape(1, 3), ()),
        (nn.Identity, ()),
        (nn.ReLU, ()),
        (nn.LeakyReLU, ()),
        (nn.Tanh, ()),
        (nn.Sigmoid, ()),
        (nn.Softplus, ()),
        (nn.SiLU, ()),
        (nn.GELU, ()),
        (lambda: nn.Dropout(0.4, rng=Generator(1)), ()),
    ],
)
def test_gradients_to_order_2(make: Any, weights: tuple[tuple[int, ...], ...]) -> None:
    draw = np.random.default_rng(1)

    def f(x: Any, *w: Any) -> Any:
        layer = make()
        if isinstance(layer, nn.BatchNorm):
            layer.running_mean = nn.Buffer(np.array([0.1, -0.3, 0.2]))
            layer.running_var = nn.Buffer(np.array([1.5, 0.5, 2.0]))
        return with_parameters(layer, x, *w)

    check_grads(f, [draw.normal(size=(4, 3)), *(draw.normal(size=s) for s in weights)], order=2)


def test_gradient_of_embedding() -> None:
    layer = nn.Embedding(5, 2)
    labels = np.array([1, 3, 1])
    check_grads(lambda w: with_parameters(layer, labels, w), [rng.normal(size=(5, 2))], order=2)
