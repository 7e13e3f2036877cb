"""One recording: the same with and without kernels, views and bodies kept; its graph for any n."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest
from exported import AUTOENCODERS, SMALL, small

import tinygen as tg
from tinygen import backend, nn, ops
from tinygen.random import Generator
from tinygen.tensor import Tensor
from tinygen.trace import graph, passes
from tinygen.trace import record as recorder
from tinygen.trace.record import Call, Recorder, opened


def recorded(function: Any, *args: Tensor) -> list[Call]:
    watching = Recorder(True, backend.get("numpy"), loops=True)
    watching.run(function, args, {}, list(args))
    return watching.recording.calls


def names(calls: list[Call]) -> list[Any]:
    """Names of the calls; of one with a body a pair."""
    return [(c.primitive.name, names(c.body)) if c.body is not None else c.primitive.name
            for c in calls]  # fmt: skip


def test_views_are_kept_and_flagged() -> None:
    x = Generator(0).normal((4, 6))
    calls = recorded(lambda x: x.reshape(6, 4).transpose(1, 0)[:, :2] + 1.0, x)
    assert [(c.primitive.name, c.view) for c in calls] == [
        ("reshape", True), ("transpose", True), ("basic_slice", True), ("add", False),
    ]  # fmt: skip
    assert calls[2].outs == calls[3].args[:1]
    assert [c.primitive.name for c in opened(calls)] == ["add"]


def test_a_fused_call_is_kept_with_its_body_whatever_kernels_there_are() -> None:
    layers = nn.Sequential(nn.Dense(6, 4, rng=Generator(1)), nn.LayerNorm(4), nn.SiLU())
    x = Generator(0).normal((3, 6))
    calls = recorded(layers, x)
    assert names(calls)[-1] == ("silu", ["sigmoid", "mul"])
    assert names(calls)[0] == ("linear_fused", ["matmul_nd", "add"])
    with backend.get("numpy").without_kernels():
        assert names(recorded(layers, x)) == names(calls)
    assert [c.primitive.name for c in opened(calls)][:2] == ["matmul_nd", "add"]
    assert calls[-1].outs == calls[-1].body[-1].outs


def test_a_body_that_raises_leaves_what_was_done() -> None:
    @tg.fused
    def halves(x: Any) -> Any:
        raise ArithmeticError(x * 2.0)

    def step(x: Tensor) -> Tensor:
        try:
            return halves(x)
        except ArithmeticError:
            return x + 1.0

    assert names(recorded(step, Generator(0).normal((2,)))) == ["mul", "add"]


def test_a_recorder_says_whom_it_speaks_for() -> None:
    watching = Recorder(True, backend.get("numpy"), "export")
    x = Generator(0).normal((2,))
    with pytest.raises(RuntimeError, match=r"^export: .*test_trace.py:\d+ reads a value") as error:
        watching.run(lambda x: x * float(x.sum()), (x,), {}, [x])
    assert "tg.compile" not in str(error.value)
    assert not recorder.state.observers


# ---- by value, for any batch ---------------------------------------------------------------------


def graph_of(function: Any, *shape: int) -> graph.Graph:
    """The graph of a function of noise (n, *shape)."""
    return graph.record(function, lambda n: (Generator(3).normal((n, *(shape or (4,)))),), ("z",))


def result(g: graph.Graph, *inputs: Any, floats: str = "float32") -> Any:
    found = graph.evaluate(g, inputs, floats)
    return found[g.outputs[0]]


@pytest.mark.parametrize("kind", SMALL)
def test_a_graph_draws_what_its_model_draws_before_and_after_the_passes(kind: str) -> None:
    model = small(kind)
    g = drawing(model)
    assert g.inputs[0].shape == (graph.Affine(1, 0), model.latent)
    assert g.outputs[0].shape[0] == graph.Affine(1, 0)
    inputs = [x.numpy() for x in arguments(model, 4)]
    with tg.no_grad():
        want = model.generate(*arguments(model, 4)).numpy()
    np.testing.assert_allclose(result(passes_none(g), *inputs), want, atol=2e-6)
    np.testing.assert_allclose(result(passes.simplify(g), *inputs), want, atol=2e-6)


def passes_none(g: graph.Graph) -> graph.Graph:
    """The same graph, bodies opened, for a run by references."""
    opened = copy.deepcopy(g)
    passes.expand(opened)
    return opened


def arguments(model: Any, n: int) -> tuple[Tensor, ...]:
    z = model.codes(n, Generator(7))
    return (z, tg.tensor(np.arange(n) % 3)) if model.conditional else (z,)


def drawing(model: Any) -> graph.Graph:
    return graph.record(model.generate, lambda n: arguments(model, n), ("z", "label"))


@pytest.mark.parametrize("kind", SMALL)
def test_folded_constants_are_those_of_the_formula_to_the_bit(kind: str) -> None:
    """x W s + (b - mean) s + beta of a normalisation after a product, in float64."""
    model: Any = small(kind)
    g = passes.simplify(drawing(model))
    found = folded(model.decoder if kind in AUTOENCODERS else model.generator)
    biases = {op.args[0]: op.args[1].const for op in g.ops if op.name == "add"}
    products = [op for op in g.ops if op.traits.weighs]
    for op, (weight, bias) in zip(products, found, strict=True):
        assert op.args[1].const.astype(np.float32).tobytes() == weight.astype(np.float32).tobytes()
        made = biases.get(op.outs[0], np.zeros(bias.shape))
        assert np.array_equal(made.astype(np.float32), bias.astype(np.float32))


def folded(module: nn.Module) -> list[tuple[Any, Any]]:
    """Weight and bias of each product of a Sequential, with the normalisation after it."""
    out: list[tuple[Any, Any]] = []
    for m in module:  # type: ignore[attr-defined]
        if isinstance(m, nn.Sequential):
            out += folded(m)
        elif isinstance(m, nn.BatchNorm):
            weight, bias = out.pop()
            scale = m.weight.numpy() / np.sqrt(m.running_var.numpy().astype(np.float64) + m.eps)
            shift = m.bias.numpy() - m.running_mean.numpy().astype(np.float64) * scale
            out.append((weight * scale, bias * scale + shift))
        elif isinstance(m, (nn.Dense, nn.Conv2d, nn.ConvTranspose2d)):
            weight = m.weight.numpy().astype(np.float64)
            bias = np.zeros(1) if m.bias is None else m.bias.numpy().astype(np.float64)
            out.append((weight, bias))
    return out


def test_spectral_norm_is_folded_and_few_operations_are_left() -> None:
    rng = Generator(1)
    model = nn.Sequential(
        nn.Dense(4, 24, bias=False, rng=rng), nn.BatchNorm(24), nn.ReLU(), nn.Reshape(2, -1, 4),
        nn.Flatten(), nn.Dropout(0.5), nn.SpectralNorm(nn.Dense(24, 5, rng=rng), rng=rng),
        nn.BatchNorm(5),
    )  # fmt: skip
    model(Generator(2).normal((6, 4)))
    model.eval()
    g = passes.simplify(graph_of(model))
    assert [op.name for op in g.ops] == ["matmul_nd", "add", "relu", "matmul_nd", "add"]
    z = Generator(5).normal((7, 4))
    np.testing.assert_allclose(result(g, z.numpy()), model(z).numpy(), rtol=1e-5, atol=1e-6)


def test_each_thing_is_said_in_one_way() -> None:
    def f(x: Tensor) -> Tensor:
        n = x.shape[0]
        y = x.reshape(n, -1, 3).swapaxes(-1, 1).expand_dims(1).squeeze(1).reshape(-1, 3, 2)
        y = y.transpose(2, -3, 1)[1, 1 - n :, ::-1][:, None].mean(axis=(-1,))
        return (-y).square() + ops.concatenate([x, x])[n + 1 :, :1].astype("float32")

    g = passes.simplify(graph_of(f, 6))
    assert {op.name for op in g.ops} == {
        "reshape", "transpose", "slice", "mean", "mul", "add", "concat"
    }  # fmt: skip
    for op in g.ops:
        assert not any(isinstance(a, int) and a < 0 for a in op.static.get("axes", ()))
        assert op.static.get("axis", (0,)) in {(0,), (2,), 0}
    for n in (2, 3, 8):
        z = Generator(n).normal((n, 6))
        np.testing.assert_allclose(result(g, z.numpy()), f(z).numpy(), rtol=1e-6)


def test_equal_operations_are_done_once_and_dead_ones_not_at_all() -> None:
    def f(x: Tensor) -> Tensor:
        ops.exp(x)
        return (x * 0.5).tanh() + (x * 0.5).tanh() * -0.0 + (x * 0.0)

    g = passes.simplify(graph_of(f))
    assert [op.name for op in g.ops] == ["mul", "tanh", "mul", "add", "mul", "add"]


def test_a_number_takes_the_dtype_of_what_it_is_computed_with() -> None:
    g = graph_of(lambda x: ops.where(x > 0, x, 0) + ops.where(x > 1, 1.0, 2.0))
    kinds = [[v.dtype for v in op.args if v] for op in g.ops if op.name == "where"]
    assert kinds == [["bool", "float32", "float32"]] * 2


CASES: dict[str, tuple[Any, str]] = {
    "state": (nn.BatchNorm(4), r"update_running changes state; call .eval\(\)"),
    "dropout": (nn.Dropout(0.5, Generator(0)), r"draws random numbers; pass the noise in"),
    "noise": (lambda x: x + NOISE.normal(x.shape), "draws random numbers"),
    "a loop over the batch": (
        lambda x: ops.concatenate([x[i : i + 1] for i in range(x.shape[0])]),
        "basic_slice is done for one size|concat is done for one size",
    ),
    "a constant of the batch's size": (
        lambda x: x + Tensor(np.ones(x.shape, np.float32)), "add: a constant float32.* another one"
    ),
    "a number of the batch's size": (
        lambda x: x.sum(axis=0, keepdims=True) * (1 / x.shape[0]) + x, "mul: a constant"
    ),
    "n times n": (
        lambda x: (x @ x.transpose(1, 0)).reshape(-1), "reshape: a shape is 4, 9, 25 for batches"
    ),
    "places from the end": (
        lambda x: x.take(PLACES, axis=1), "take counts from the end"
    ),
    "a place from the end": (lambda x: tg.put(x, 1.0, -1, axis=1), "put counts from the end"),
    "large integers": (
        lambda x: x.astype("int64") + Tensor(np.array(2**31)), "a constant of int64 beyond"
    ),
    "no tensor": (lambda x: (x, 3), "the result is 3; expected a tensor"),
}  # fmt: skip
NOISE = Generator(0)
PLACES = tg.tensor([0, -1])


@pytest.mark.parametrize("case", CASES)
def test_what_has_no_graph_is_refused_by_operation_and_line(case: str) -> None:
    function, words = CASES[case]
    with pytest.raises(graph.Refused, match=words) as error:
        graph_of(function)
    assert re.search(r"^record: .*\.py:\d+: |the result", str(error.value))


def test_values_that_are_read_or_made_inside_are_refused() -> None:
    with pytest.raises(RuntimeError, match="reads a value"):
        graph_of(lambda x: x * float(x.max()))
    with pytest.raises(RuntimeError, match="makes a tensor from host data"):
        graph_of(lambda x: x * tg.tensor([1.0, 2.0, 3.0, 4.0]))


def test_what_is_read_from_outside_is_a_constant_with_its_name() -> None:
    layer = nn.Dense(4, 3, rng=Generator(0))
    nn.Sequential(layer).named_parameters()
    g = graph_of(layer)
    body = g.ops[0].body
    assert body is not None
    assert [v.shape for v in g.ops[0].args if v] == [(graph.Affine(1, 0), 4), (4, 3), (3,)]
    weight = g.ops[0].args[1]
    assert weight is not None
    assert weight.const is not None
    assert np.array_equal(weight.const, layer.weight.numpy())
