"""One recording: the same with and without kernels, views and bodies kept; its graph for any n."""

from __future__ import annotations

from typing import Any

import pytest

import tinygen as tg
from tinygen import backend, nn
from tinygen.random import Generator
from tinygen.tensor import Tensor
from tinygen.trace import record as recorder
from tinygen.trace.record import Call, Recorder, opened


def recorded(function: Any, *args: Tensor) -> list[Call]:
    watching = Recorder(True, backend.get("numpy"))
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
    assert recorder.state.observer is None
