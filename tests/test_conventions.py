"""The table that tg.conventions() prints is what the gradients are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from strategies import BACKENDS

import tinygen as tg
from tinygen.conventions import Convention

pytestmark = pytest.mark.quick
TABLE = tg.conventions()
KINKED = {
    "relu", "leaky_relu", "abs", "maximum", "minimum", "clip", "max", "min", "sqrt", "log", "power",
    "max_pool2d", "std", "norm", "floor", "round", "floor_divide", "remainder",
}  # fmt: skip


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("row", TABLE, ids=[f"{c.operation} at {c.place}" for c in TABLE])
def test_the_gradient_is_what_the_table_says(row: Convention, name: str) -> None:
    arrays = [np.array(a, dtype=np.float64) for a in row.at]
    for dtype in ("float64", "float32"):
        leaves = [tg.tensor(a.astype(dtype)).to(name) for a in arrays]
        for x in leaves:
            x.requires_grad = True
        y = getattr(tg, row.operation)(*leaves, **dict(row.options))
        found = tg.grad(tg.sum(y), leaves)
        for g, want in zip(found, row.gives, strict=True):
            np.testing.assert_allclose(g.numpy(), want, rtol=1e-6)


def test_every_kinked_operation_has_a_row() -> None:
    assert {c.operation for c in TABLE} == KINKED
    assert all(len(c.at) == len(c.gives) for c in TABLE)


@pytest.mark.parametrize("row", TABLE, ids=[f"{c.operation} at {c.place}" for c in TABLE])
def test_no_gradient_where_the_cotangent_is_zero(row: Convention) -> None:
    leaves = [tg.tensor(np.array(a, dtype=np.float64), requires_grad=True) for a in row.at]
    y = getattr(tg, row.operation)(*leaves, **dict(row.options))
    for g in tg.grad(y, leaves, [np.zeros(y.shape)]):
        assert np.all(g.numpy() == 0)


def test_a_nan_argument_makes_the_value_nan() -> None:
    nan = tg.tensor(np.array([math.nan, math.nan]))
    one = tg.tensor(np.array([1.0, 1.0]))
    results: list[Any] = [
        getattr(tg, c.operation)(*([nan, one] if len(c.at) == 2 else [nan]), **dict(c.options))
        for c in TABLE
        if c.operation != "max_pool2d"
    ]
    results += [tg.max_pool2d(np.full((1, 2, 2, 1), [[[1.0], [math.nan]]]), 2)]
    results += [tg.maximum(one, nan), tg.minimum(one, nan), tg.sigmoid(nan), tg.softplus(nan)]
    assert all(np.isnan(r.numpy()).all() for r in results)


def test_it_prints_as_a_table() -> None:
    text = repr(TABLE)
    lines = text.splitlines()
    assert lines[0].split() == ["operation", "where", "gradient", "the", "same", "in"]
    assert len(lines) == len(TABLE) + 4
    assert all(len(line) <= 100 for line in lines)
    for c in TABLE:
        assert any(c.operation in line and c.rule in line for line in lines)
