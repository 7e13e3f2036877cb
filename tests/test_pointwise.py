"""One row an elementwise operation in kernels/pointwise.py; kernels of bodies are their traces."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen import backend, lines, losses, ops
from tinygen.fused import Fused
from tinygen.primitive import PRIMITIVES
from tinygen_kernels import pointwise

X, Y = ("in", 0), ("in", 1)
OF_GRADIENTS = {"straight_through"}  # options that leave the values as they are


def fields(text: str) -> set[str]:
    """What a text puts in: operands by number, options by name."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("name", pointwise.ROWS)
def test_a_row_takes_the_operands_and_the_options_of_its_operation(name: str) -> None:
    row, operation = pointwise.ROWS[name], PRIMITIVES[name]
    assert operation.traits.pointwise
    wanted = {*map(str, range(len(operation.args))), *operation.defaults} - OF_GRADIENTS
    assert fields(row.cpu) == wanted
    assert fields(row.cuda) - {"zero"} == wanted
    mask, ones = tg.ones(2) > 0.0, [tg.ones(2)] * len(operation.args)
    arrays = [mask, *ones[1:]] if name == "where" else ones
    if name.startswith("mask_"):
        arrays = [mask] * len(ones)
    assert (operation(*arrays).dtype == np.bool_) == row.truth


@pytest.mark.parametrize("name", pointwise.BODIES)
def test_a_body_is_handed_down_as_the_lines_that_it_calls(name: str) -> None:
    operation = PRIMITIVES[name]
    assert isinstance(operation, Fused)
    program = backend.programs[name]()
    assert pointwise.served(name, program) is program is backend.programs[name]()
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 4)) for _ in operation.args]
    made: list[Any] = []
    for called, operands, static in program:
        place = {"in": arrays, "line": made}
        terms = [place[v[0]][v[1]] if isinstance(v, tuple) else v for v in operands]
        reference = PRIMITIVES[called].reference
        made.append(reference(backend.get("numpy").xp, *terms, **dict(static)))
    want = operation.body(*map(tg.tensor, arrays)).numpy()
    assert made[-1].tobytes() == want.tobytes()


def test_the_lines_of_a_body() -> None:
    assert backend.programs["gaussian_sample"]() == (
        ("mul", (0.5, Y), ()),
        ("exp", (("line", 0),), ()),
        ("mul", (("line", 1), ("in", 2)), ()),
        ("add", (X, ("line", 2)), ()),
    )
    assert backend.programs["leaky_relu"](slope=np.float64(0.2)) == (
        ("leaky_relu", (X,), (("slope", 0.2),)),
    )
    assert losses.gaussian_sample.args == ["mu", "logvar", "noise"]


def test_bodies_inside_of_a_body_are_opened_and_options_are_kept() -> None:
    @tg.fused
    def swish_below(x: Any, *, high: float = 1.0) -> Any:
        return ops.clip(ops.silu(x), high=high)

    program = lines.of_body(swish_below)
    assert [line[0] for line in program()] == ["sigmoid", "mul", "clip"]
    assert program(high=2.0)[-1] == ("clip", (("line", 1),), (("high", 2.0), ("low", None)))


def test_a_body_of_which_no_kernel_can_be_made_is_refused() -> None:
    outside = tg.ones(3)

    @tg.fused
    def reads_more(x: Any) -> Any:
        return x + outside

    @tg.fused
    def gives_an_earlier_one(x: Any) -> Any:
        y = x * 2.0
        ops.exp(y)
        return y

    @tg.fused
    def waves(x: Any) -> Any:
        return ops.power(x, 1.5) * x

    with pytest.raises(ValueError, match=r"reads_more: its body reads a tensor \(3,\)"):
        lines.of_body(reads_more)()
    with pytest.raises(ValueError, match="the last call of its body does not give its result"):
        lines.of_body(gives_an_earlier_one)()
    with pytest.raises(ValueError, match=r"waves: its body calls power_n, without a row in"):
        pointwise.served("waves", lines.of_body(waves)())


def test_a_body_is_heard_within_a_compiled_step_too() -> None:
    backend.programs["gelu"] = lines.of_body(PRIMITIVES["gelu"])  # not asked yet
    x = tg.tensor(np.linspace(-3, 3, 600, dtype=np.float32))
    step = tg.compile(lambda x: ops.gelu(x), fuse=False)
    for _ in range(2):
        np.testing.assert_allclose(step(x).numpy(), ops.gelu.body(x).numpy(), atol=1e-6)
