"""check_grads is itself tested: each kind of wrong rule must be caught."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen.primitive import PRIMITIVES, primitive
from tinygen.tensor import Tensor
from tinygen.testing import check_grads

X = np.array([0.3, -0.7, 1.2])
pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("own_primitives")]


def cube() -> Any:
    @primitive
    def cube(xp: Any, x: Any) -> Any:
        return x * x * x

    return cube


def test_accepts_a_right_rule_to_order_three() -> None:
    f = cube()
    f.vjp(x=lambda g, x: g * (3 * x * x))
    check_grads(f, [X], order=3)


def test_catches_a_rule_scaled_by_one_thousandth() -> None:
    f = cube()
    f.vjp(x=lambda g, x: g * (3.003 * x * x))
    with pytest.raises(AssertionError, match=r"cube.*, order 1: the rules give"):
        check_grads(f, [X], order=1)


@pytest.mark.parametrize("name", ["mul", "tanh", "sum", "matmul_nd", "softmax", "concat", "where"])
def test_catches_every_engine_rule_scaled(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op = PRIMITIVES[name]

    def scaled(rule: Any) -> Any:
        def wrong(*values: Any) -> Any:
            out = rule(*values)
            return tuple(1.001 * o for o in out) if isinstance(out, tuple) else 1.001 * out

        return wrong

    broken = {arg: (scaled(rule), wanted) for arg, (rule, wanted) in op.rules.items()}
    monkeypatch.setattr(op, "rules", broken)
    monkeypatch.setattr(op, "_recipes", {})
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 3)), rng.standard_normal((3, 3))
    calls = {
        "mul": (op, [a, b]),
        "where": (lambda x, y: op(tg.tensor(a > 0), x, y), [a, b]),
        "concat": (lambda x, y: op(x, y, axis=0), [a, b]),
        "matmul_nd": (op, [a, b]),
    }
    f, args = calls.get(name, (op, [a]))
    with pytest.raises(AssertionError, match=r"check_grads"):
        check_grads(f, args, order=1)


def test_catches_a_dropped_second_order_term() -> None:
    """Right to first order, but the slope is cut from the graph."""
    f = cube()
    f.vjp(x=lambda g, x: g * (3 * x * x).detach())
    check_grads(f, [X], order=1)
    with pytest.raises(AssertionError, match=r"order 2"):
        check_grads(f, [X], order=2)


def test_catches_one_dropped_term_of_two() -> None:
    @primitive
    def wave(xp: Any, x: Any) -> Any:
        return xp.sin(x) * x

    wave.vjp(x=lambda g, x: g * (tg.sin(x) + x.detach() * tg.cos(x)))
    check_grads(wave, [X], order=1)
    with pytest.raises(AssertionError, match=r"order 2"):
        check_grads(wave, [X], order=2)


def test_catches_a_rule_that_uses_a_cached_array() -> None:
    """A raw array kept by the forward is right to order 1 and a constant to order 2."""
    cache: dict[str, Any] = {}

    @primitive
    def cached(xp: Any, x: Any) -> Any:
        cache["slope"] = 2 * x
        return x * x

    cached.vjp(x=lambda g: g * Tensor(cache["slope"]))
    check_grads(lambda x: tg.sum(cached(x)), [X], order=1)
    with pytest.raises(AssertionError, match=r"order 2"):
        check_grads(cached, [X], order=2)


def test_catches_a_transposed_factor() -> None:
    """Found with a random cotangent; ones would hide it."""

    @primitive
    def double(xp: Any, x: Any) -> Any:
        return 2 * x

    double.vjp(x=lambda g: 2 * tg.transpose(g))
    with pytest.raises(AssertionError):
        check_grads(double, [np.random.default_rng(0).standard_normal((3, 3))])


def test_catches_swapped_rules_and_a_wrong_sign() -> None:
    @primitive
    def product(xp: Any, x: Any, y: Any) -> Any:
        return x * y

    product.vjp(x=lambda g, x: g * x, y=lambda g, y: g * y)
    with pytest.raises(AssertionError):
        check_grads(product, [X, X[::-1] + 0.1])


def test_catches_a_gradient_that_is_not_a_number() -> None:
    f = cube()
    f.vjp(x=lambda g, x: g * (x / (x - x)))
    with pytest.raises(AssertionError):
        check_grads(f, [X])


def test_a_kink_accepts_slopes_between_its_sides_only() -> None:
    kink = np.array([0.0])
    check_grads(tg.relu, [kink], order=1)
    check_grads(tg.abs, [kink], order=1)
    for slope, right in ((0.0, True), (0.4, True), (1.0, True), (1.2, False), (-0.2, False)):

        @primitive
        def ramp(xp: Any, x: Any) -> Any:
            return xp.maximum(x, 0)

        ramp.vjp(x=_ramp_rule(slope))
        if right:
            check_grads(ramp, [kink], order=1)
        else:
            with pytest.raises(AssertionError, match=r"order 1"):
                check_grads(ramp, [kink], order=1)
        del PRIMITIVES["ramp"]


def _ramp_rule(slope: float) -> Any:
    return lambda g, x: tg.where(x > 0, g, tg.where(x == 0, slope * g, 0.0))


def test_a_smooth_function_gets_no_such_leeway() -> None:
    @primitive
    def bent(xp: Any, x: Any) -> Any:
        return xp.where(x > 0, 3 * x, x)

    bent.vjp(x=lambda g, x: tg.where(x > 0, 2 * g, g))
    with pytest.raises(AssertionError):
        check_grads(bent, [np.array([0.5])], order=1)


def test_integers_are_passed_and_not_varied() -> None:
    check_grads(lambda x, i: tg.take(x, i), [X, np.array([0, 0, 2])])


def test_every_output_is_checked() -> None:
    @primitive
    def two(xp: Any, x: Any) -> Any:
        return x * x, 3 * x

    two.vjp(x=lambda g, x: g[0] * (2 * x) + 3.003 * g[1])
    with pytest.raises(AssertionError):
        check_grads(two, [X])


def test_refuses_senseless_calls() -> None:
    with pytest.raises(ValueError, match=r"order 0, expected 1 or more"):
        check_grads(tg.exp, [X], order=0)
    with pytest.raises(ValueError, match=r"no floating-point argument"):
        check_grads(tg.exp, [np.array([1])])


def test_a_function_without_gradient_passes_where_it_is_flat() -> None:
    check_grads(tg.sign, [X])
    with pytest.raises(AssertionError):
        check_grads(lambda x: x.detach(), [X])


def test_finite_checks_name_operation_line_and_tensors() -> None:
    x = tg.tensor(np.array([0.0, 1.0]), requires_grad=True)
    with (
        tg.testing.finite_checks(),
        pytest.raises(FloatingPointError, match=r"log, called at .*test_checker.py:\d+: 1 of 2"),
    ):
        tg.log(x)
    y = tg.sum(tg.sqrt(x))
    with (
        tg.testing.finite_checks(),
        pytest.raises(FloatingPointError, match=r"in the gradient of sqrt"),
    ):
        y.backward()
    with (
        tg.testing.finite_checks(),
        pytest.raises(FloatingPointError, match=r"log, called at"),  # not "in the gradient" still
    ):
        tg.log(x)
    tg.log(x)
