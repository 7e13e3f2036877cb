"""Float32 functions in generated loops: at most 2 ulp from float64, for every kind of input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
from tinygen.backend.numpy import erf
from tinygen_kernels.cpu import elementwise, maths

TINY = float(np.finfo(np.float32).smallest_subnormal)


def loop(x: Any, *program: Any) -> Any:
    """The last line of a program (operation, operands) on a float32 array."""
    grid, out = x.reshape(1, -1), np.empty((1, x.size), np.float32)
    lines = tuple((name, operands, ()) for name, operands in program)
    made = elementwise.fused(lines, (len(lines) - 1,), [grid], [out])
    elementwise.elementwise_call(made, 1, x.size)()
    return out[0]


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp,
    "log": np.log,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "erf": erf,
    "sin": np.sin,
    "cos": np.cos,
}


def errors(name: str, x: Any) -> Any:
    """In ulp of the float32 result; NaN and infinities must be those of the truth."""
    got = loop(x, (name, (("in", 0),)))
    with np.errstate(all="ignore"):
        want = FUNCTIONS[name](x.astype(np.float64))
        near = want.astype(np.float32)
    finite = np.isfinite(near)
    np.testing.assert_array_equal(got[~finite], near[~finite])
    ulp = np.spacing(np.minimum(np.abs(near[finite]), np.float32(3e38))).astype(np.float64)
    return np.abs(got[finite] - want[finite]) / ulp


def test_every_function_is_measured() -> None:
    named = {name.removeprefix("narrow_") for name in vars(maths) if name.startswith("narrow_")}
    assert named - {"sign"} == FUNCTIONS.keys() == SPECIAL.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_two_ulp_over_all_exponents_and_signs(name: str) -> None:
    bits = np.arange(2**20, dtype=np.uint32) * np.uint32(4096) + np.uint32(2909)
    assert errors(name, bits.view(np.float32)).max() <= 2


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("width", [1.0, 4.0, 30.0, 105.0])
def test_two_ulp_where_most_inputs_are(name: str, width: float) -> None:
    x = np.random.default_rng(0).uniform(-width, width, 2**20).astype(np.float32)
    assert errors(name, np.abs(x) if name == "log" else x).max() <= 2


@pytest.mark.parametrize("name", FUNCTIONS)
def test_two_ulp_beside_the_seams(name: str) -> None:
    """Where a formula takes over from another, a result starts to be denormal, 0, 1 or infinite."""
    halves = [(k + 0.5) * math.log(2) for k in range(-152, 130)]
    halves += [k * math.pi / 4 for k in range(1, 200)]
    halves += [2.0**k * math.pi for k in range(126)]
    seams = [
        0.5,
        16367173 * 2.0**72,
        0.55,
        0.85,
        4,
        10,
        87.336544,
        88.722839,
        89,
        103.278929,
        103.972084,
        104,
        105,
    ]
    at = np.array([s * v for v in (*halves, *seams, math.sqrt(0.5), 2.0**-126) for s in (1, -1)])
    bits = at.astype(np.float32).view(np.int32)[:, None] + np.arange(-40, 41, dtype=np.int32)
    assert errors(name, bits.reshape(-1).view(np.float32)).max() <= 2


INF, NAN = math.inf, math.nan
SPECIAL = {
    "exp": {0.0: 1, INF: INF, -INF: 0, NAN: NAN, 88.73: INF, -104.0: 0, TINY: 1},
    "log": {0.0: -INF, 1.0: 0, INF: INF, -INF: NAN, -1.0: NAN, -TINY: NAN, NAN: NAN},
    "tanh": {0.0: 0.0, INF: 1, -INF: -1, NAN: NAN, 9.5: 1, -9.5: -1, TINY: TINY, -TINY: -TINY},
    "sigmoid": {0.0: 0.5, INF: 1, -INF: 0, NAN: NAN, 20.0: 1, -104.0: 0},
    "softplus": {INF: INF, -INF: 0, NAN: NAN, 200.0: 200, -104.0: 0},
    "erf": {0.0: 0.0, INF: 1, -INF: -1, NAN: NAN, 4.5: 1, -4.5: -1, TINY: TINY, -TINY: -TINY},
    "sin": {0.0: 0.0, INF: NAN, -INF: NAN, NAN: NAN, TINY: TINY, -TINY: -TINY},
    "cos": {0.0: 1, INF: NAN, -INF: NAN, NAN: NAN, TINY: 1},
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_values_are_exact(name: str) -> None:
    x = np.array(list(SPECIAL[name]), np.float32)
    want = np.array(list(SPECIAL[name].values()), np.float32)
    np.testing.assert_array_equal(loop(x, (name, (("in", 0),))), want)
    zeros = np.array([0.0, -0.0], np.float32)
    with np.errstate(all="ignore"):
        want = FUNCTIONS[name](zeros).astype(np.float32)
    assert loop(zeros, (name, (("in", 0),))).tobytes() == want.tobytes()


def test_a_lane_is_not_changed_by_its_neighbours() -> None:
    """Infinities and NaN take both sides of each selection with them."""
    x = np.linspace(-3, 3, 64).astype(np.float32)
    mixed = x.copy()
    mixed[::2] = np.resize(np.array([np.nan, np.inf, -np.inf, 0], np.float32), 32)
    for name in FUNCTIONS:
        alone, among = (loop(v, (name, (("in", 0),))) for v in (x, mixed))
        np.testing.assert_array_equal(among[1::2], alone[1::2])


def test_gelu_and_silu_are_made_of_these() -> None:
    x = np.linspace(-12, 12, 100_001).astype(np.float32)
    wide, eps = x.astype(np.float64), float(np.finfo(np.float32).eps)
    silu = loop(x, ("sigmoid", (("in", 0),)), ("mul", (("in", 0), ("line", 0))))
    want = wide * _sigmoid(wide)
    assert np.all(np.abs(silu - want) <= 2.5 * eps * np.abs(want))
    gelu = loop(
        x, ("mul", (("in", 0), math.sqrt(0.5))), ("erf", (("line", 0),)),
        ("add", (1.0, ("line", 1))), ("mul", (0.5, ("in", 0))), ("mul", (("line", 3), ("line", 2))),
    )  # fmt: skip
    want = 0.5 * wide * (1 + erf(wide * math.sqrt(0.5)))
    assert np.all(np.abs(gelu - want) <= 2 * eps * np.abs(x))  # 1 + erf cancels where x < 0
