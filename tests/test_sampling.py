"""Noise, and walks between codes."""

import numpy as np
import pytest

from tinygen.sampling import Noise, around, between, traverse, walk

pytestmark = pytest.mark.quick


def test_slerp_keeps_the_length_and_ends_where_it_should():
    a, b = np.eye(3)[:2] * 2.0
    for t in (0.0, 0.25, 1.0):
        point = between(a, b, t)
        assert np.linalg.norm(point) == pytest.approx(2)
        angle = t * np.pi / 2
        np.testing.assert_allclose(
            point, 2 * np.array([np.cos(angle), np.sin(angle), 0]), atol=1e-9
        )
    assert np.linalg.norm(between(a, b, 0.5, straight=True)) == pytest.approx(np.sqrt(2))
    assert np.array_equal(between(a, a, 0.3), a)  # no angle, no division by 0


@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_a_walk_begins_and_ends_at_the_codes_of_the_seed(law):
    noise = Noise((5,), law, between=(-1.0, 1.0))
    ends, codes = noise.of_seed(4, 3), walk(noise, 2, 7, 3).reshape(2, 7, 5)
    np.testing.assert_allclose(codes[:, 0], ends[::2], atol=1e-6)
    np.testing.assert_allclose(codes[:, -1], ends[1::2], atol=1e-6)
    straight = np.allclose(codes[:, 3], (ends[::2] + ends[1::2]) / 2, atol=1e-6)
    assert straight == (law == "uniform")


def test_a_traversal_changes_one_entry_a_row():
    noise = Noise((4,))
    codes = traverse(noise, 3, 5, 1).reshape(3, 5, 4)
    first = noise.of_seed(1, 1)[0]
    for k in range(3):
        assert np.array_equal(codes[k, :, k], np.linspace(-3, 3, 5, dtype=np.float32))
        rest = np.delete(codes[k], k, axis=1)
        assert np.array_equal(rest, np.tile(np.delete(first, k), (5, 1)))


def test_around_a_code_the_first_is_its_mean():
    mu, logvar = np.array([[1.0, 2.0]]), np.log(np.array([[4.0, 0.25]]))
    eps = np.array([[9.0, 9.0], [1.0, -1.0]])
    found = around(mu, logvar, eps, spread=0.5)
    np.testing.assert_allclose(found, [[1, 2], [2, 1.75]])
    assert np.array_equal(eps[0], [9, 9])
