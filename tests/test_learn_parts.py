"""What exercises are checked with: threads in plain Python, formulas, gradients by hand."""

import types

import numpy as np
import pytest

import tinygen as tg
from tinygen.learn.compare import compare, compared
from tinygen.learn.exercise import Finding
from tinygen.learn.formulas import formula, numbers, slopes
from tinygen.learn.threads import Memory, launch


def turned(block, thread, shared, x, y):
    shared[thread] = x[4 * block + thread]
    yield
    y[4 * block + thread] = shared[3 - thread]


def never_waits(block, thread, shared, x, y):
    shared[thread] = x[4 * block + thread]
    y[4 * block + thread] = shared[3 - thread]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_barrier_orders_writes_and_reads(backwards):
    x, y = Memory(np.arange(8.0)), Memory(np.zeros(8))
    launch(turned, 2, 4, (4,), x, y, backwards=backwards)
    np.testing.assert_array_equal(y.values, [3, 2, 1, 0, 7, 6, 5, 4])


def test_what_nobody_wrote_is_not_a_number():
    x, y = Memory(np.arange(4.0)), Memory(np.zeros(4))
    launch(never_waits, 1, 4, (4,), x, y)
    np.testing.assert_array_equal(y.values, [np.nan, np.nan, 1, 0])


def test_blocks_and_threads_of_two_axes():
    def kernel(block, thread, shared, z):
        z[2 * block[0] + thread[0], 3 * block[1] + thread[1]] = 10 * block[0] + thread[1]

    z = Memory(np.full((4, 6), np.nan))
    launch(kernel, (2, 2), (2, 3), (1,), z)
    np.testing.assert_array_equal(z.values, np.repeat([[0, 1, 2] * 2, [10, 11, 12] * 2], 2, 0))


def test_a_barrier_that_some_threads_never_reach():
    def kernel(block, thread, shared):
        if thread < 3:
            yield

    with pytest.raises(RuntimeError, match=r"3 of 4 threads .* the others never reach"):
        launch(kernel, 1, 4, (4,))


@pytest.mark.parametrize("place", [4, -1])
def test_a_place_outside(place):
    def kernel(block, thread, shared):
        shared[place] = 0.0

    with pytest.raises(IndexError, match=rf"place {place} is outside .* \(4,\)"):
        launch(kernel, 1, 1, (4,))
    with pytest.raises(IndexError, match="outside"):
        Memory(np.zeros((2, 2)))[0]


def test_slopes_to_order_2():
    x = numbers(0, 3)
    (g,) = slopes(lambda x: x**3, [x], 1)
    weights = numbers(50, 3).numpy()
    np.testing.assert_allclose(g.numpy(), 3 * x.numpy() ** 2 * weights)
    (g,) = slopes(lambda x: x**3, [x], 2)
    np.testing.assert_allclose(g.numpy(), 6 * x.numpy() * weights * numbers(70, 3).numpy())


@pytest.mark.parametrize(
    ("function", "order", "words"),
    [
        (lambda x: tg.tensor(x.numpy()), 1, "it has no gradient"),
        (lambda x: x * 2, 2, "its gradient has no gradient"),
    ],
)
def test_a_gradient_that_is_missing_is_said(function, order, words):
    cases = list(formula("f", [("x", lambda: [numbers(0, 2)])], order=2))
    assert [c.order for c in cases] == [0, 1, 2]
    with pytest.raises(Finding, match=words):
        cases[order].look(types.SimpleNamespace(f=function))


def test_gradients_by_hand_beside_the_engine(capsys):
    x = tg.tensor([0.5, -1.0], requires_grad=True)
    square = x * x
    total = square.sum()
    steps = {"square": square, "x": x}
    assert compare({"square": np.ones(2), "x": 2 * x}, total, steps)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "name   | exact | close | largest difference"
    assert out[1] == "square | yes   | yes   | 0.0e+00"
    rows = compared({"square": np.ones(1), "x": np.array([1.0, -1.0])}, total, steps)
    assert rows == [
        ("square", False, False, "shape (1,), expected (2,)"),
        ("x", False, False, "1.0e+00"),
    ]
    assert compared({}, total, steps)[0] == ("square", False, False, "missing")
