"""The verdict on a result that is not finite: the cause in words, with the lines of the program."""

import re

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn
from tinygen.testing import finite_checks

pytestmark = pytest.mark.quick


def leaf(*values):
    return tg.tensor(list(values), requires_grad=True)


def said(program, strict=True):
    with (
        np.errstate(all="ignore"),
        finite_checks(strict),
        pytest.raises(FloatingPointError) as error,
    ):
        program()
    return str(error.value)


def line_of(words):
    """The line of this file that holds the words."""
    with open(__file__, encoding="utf-8") as file:
        return next(i for i, text in enumerate(file, 1) if words in text and "line_of" not in text)


def hidden():
    x = leaf(2.0, 1.0, 0.0, -1.0)
    terms = x * tg.log(x)
    tg.where(x > 0, terms, 0.0).sum().backward()


def test_the_branch_that_was_not_selected_is_named_with_its_line():
    text = said(hidden, strict=False)
    assert "mul, in the gradient of mul made at" in text
    line = line_of("tg.where(x > 0, terms, 0.0).sum()")
    assert f"0 * inf: from the branch of where at {__file__}:{line} that was not selected" in text
    assert "guard its argument" in text


def test_a_strict_check_stops_at_the_first_of_all():
    text = said(hidden)
    assert f"log, called at {__file__}:{line_of('x * tg.log(x)')}: 2 of 4" in text
    assert "log of 0 is -inf" in text


def test_what_where_hides_at_any_order_is_let_pass():
    x = leaf(2.0, 0.0)
    with np.errstate(all="ignore"), finite_checks(strict=False):
        tg.where(x > 0, tg.log(x), 0.0).sum().backward()  # the rule of log is guarded
    assert x.grad.tolist() == [0.5, 0.0]


def test_a_loss_that_is_not_finite_is_followed_to_where_it_began():
    def program():
        x = leaf(2.0, -1.0)
        hidden = tg.where(x > 0, tg.sqrt(x), 0.0)
        below = tg.log(x - 2.0)
        (hidden * 2 + below).sum().backward()

    text = said(program, strict=False)
    assert f"log, called at {__file__}:{line_of('below = tg.log')}" in text
    assert "log of 0 is -inf" in text


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (lambda: tg.log(leaf(-2.0)), "there is no log of -2, a negative number"),
        (lambda: tg.sqrt(leaf(-1.0)), "there is no root of -1"),
        (lambda: 3.0 / leaf(0.0), "3 / 0; add a small number"),
        (lambda: tg.exp(leaf(1.0, 99.0)), "exp of 99 is above the largest float"),
        (lambda: leaf(0.0) ** -1.0, "0 to a negative power is 1 / 0"),
        (lambda: leaf(-2.0) ** 0.5, "-2, a negative number, to a fractional power"),
        (lambda: tg.tensor([0.0]) * tg.tensor([np.inf]), "0 * inf: a mask multiplies"),
        (lambda: tg.tensor([np.inf]) - tg.tensor([np.inf]), "inf - inf"),
        (lambda: leaf(1.0) + tg.tensor([np.nan]), "y held NaN or infinity already"),
        (lambda: leaf(3e38).reshape(1, 1) @ leaf(9.0).reshape(1, 1), "above 3.4e+38, the largest"),
        (lambda: tg.sqrt(leaf(0.0)).sum().backward(), "slope of sqrt at 0 is infinite"),
        (lambda: nn.Parameter([1e30]) * 1e30, "numbers have grown too large"),
    ],
)
def test_the_cause_is_said(program, words):
    assert words in said(program)


def test_a_parameter_that_was_not_finite_is_named():
    layer = nn.Dense(2, 2)
    layer.load_state_dict({"weight": np.full((2, 2), np.nan, np.float32), "bias": np.zeros(2, "f")})
    layer.named_parameters()
    assert "parameter 'weight' held NaN" in said(lambda: layer(tg.ones((1, 2))))


def test_one_number_is_shown_as_it_is():
    text = said(lambda: tg.sqrt(leaf(0.0).sum()).backward())
    assert re.search(r"given gradient \(\) float32 = 1; divisor \(\) float32 = 0\.", text)
