"""The measures of generated images: closed forms, plain sums, invariances, published figures."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen import metrics, tensor
from tinygen.metrics import arrays, neighbours

seeds = st.integers(0, 2**32 - 1)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks that divide nothing here, so that every measure crosses their borders."""
    monkeypatch.setattr(arrays, "ROWS", 5)
    monkeypatch.setattr(arrays, "COLUMNS", 7)


def sample(seed, n=60, d=4, shift=0.0):
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def rotation(rng, d):
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def covariance(rng, d):
    a = rng.standard_normal((d, d))
    return a @ a.T + 0.1 * np.eye(d)


# ---- FID -----------------------------------------------------------------------------------------


@given(seeds)
def test_fid_of_a_set_and_itself_is_nothing(seed):
    x = sample(seed, shift=3.0)
    assert metrics.fid(x, x) == pytest.approx(0, abs=1e-12)
    assert metrics.fid(x, x[::-1]) == pytest.approx(0, abs=1e-12)


def test_fid_of_singular_covariances():
    """Features that are always 0 and features that repeat another: as exact as any."""
    x = np.maximum(sample(0, n=500, d=30), 0)
    x[:, 3:9] = 0
    x[:, 10:15] = x[:, 15:20]
    assert metrics.fid(x, x[::-1]) == pytest.approx(0, abs=1e-12)


def test_frechet_distance_of_gaussians_on_a_line():
    """(m1 - m2)^2 + (s1 - s2)^2."""
    found = metrics.frechet_distance([1.0], [[4.0]], [4.0], [[25.0]])
    assert found == pytest.approx(9 + 9, rel=1e-14)


@given(seeds)
def test_frechet_distance_where_covariances_commute(seed):
    """Sum of (sqrt l1 - sqrt l2)^2 over the common axes, zeros among the eigenvalues too."""
    rng = np.random.default_rng(seed)
    q, l1, l2 = rotation(rng, 6), rng.random(6), rng.random(6)
    l1[0] = 0
    m = rng.standard_normal(6)
    found = metrics.frechet_distance(m, q * l1 @ q.T, np.zeros(6), q * l2 @ q.T)
    # the root of an eigenvalue that is 0 but for rounding is 1e-8
    want = m @ m + ((np.sqrt(l1) - np.sqrt(l2)) ** 2).sum()
    assert found == pytest.approx(want, abs=1e-7)


@given(seeds)
def test_frechet_distance_in_the_plane(seed):
    """A 2 x 2 matrix M with eigenvalues >= 0 has Tr sqrt M = sqrt(Tr M + 2 sqrt det M)."""
    rng = np.random.default_rng(seed)
    c1, c2 = covariance(rng, 2), covariance(rng, 2)
    product = c1 @ c2
    root = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    found = metrics.frechet_distance([0, 0], c1, [3, -4], c2)
    assert found == pytest.approx(25 + np.trace(c1) + np.trace(c2) - 2 * root, rel=1e-9)


@given(seeds)
def test_frechet_distance_of_covariances_that_do_not_commute(seed):
    """Against the root of C1 C2 by the Newton iteration of Denman and Beavers."""
    rng = np.random.default_rng(seed)
    c1, c2 = covariance(rng, 7), covariance(rng, 7)
    assert abs(c1 @ c2 - c2 @ c1).max() > 0.1
    y, z = c1 @ c2, np.eye(7)
    for _ in range(60):
        y, z = (y + np.linalg.inv(z)) / 2, (z + np.linalg.inv(y)) / 2
    np.testing.assert_allclose(y @ y, c1 @ c2, rtol=1e-6, atol=1e-6)
    want = np.trace(c1) + np.trace(c2) - 2 * np.trace(y)
    zero = np.zeros(7)
    assert metrics.frechet_distance(zero, c1, zero, c2) == pytest.approx(want, rel=1e-7)
    assert metrics.frechet_distance(zero, c2, zero, c1) == pytest.approx(want, rel=1e-7)


def test_fid_is_that_of_the_unbiased_moments():
    x, y = sample(1, shift=1.0), sample(2, n=90) * 2
    want = metrics.frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))
    assert metrics.fid(x, y) == pytest.approx(want, rel=1e-12)
    assert metrics.fid(x, y) == pytest.approx(metrics.fid(y, x), rel=1e-12)


@given(seeds)
def test_fid_does_not_change_by_order_rotation_or_shift(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((50, 5)), rng.standard_normal((40, 5)) * [1, 2, 3, 0.5, 1]
    q, shift = rotation(rng, 5), rng.standard_normal(5)
    want = metrics.fid(x, y)
    assert metrics.fid(rng.permutation(x), rng.permutation(y)) == pytest.approx(want, rel=1e-10)
    assert metrics.fid(x @ q + shift, y @ q + shift) == pytest.approx(want, rel=1e-10)


def test_fid_of_float32_is_computed_in_float64():
    x = (sample(3, n=300) + 1000).astype(np.float32)
    assert metrics.fid(x, x) == pytest.approx(0, abs=1e-9)
    exact = metrics.fid(x.astype(np.float64), x[:200].astype(np.float64))
    assert metrics.fid(x, x[:200]) == exact
    assert metrics.fid(tensor(x), x[:200]) == exact


def test_fid_needs_more_images_than_features():
    with pytest.raises(ValueError, match=r"n = 4 images with d = 4 features.* 5 images or more"):
        metrics.fid(sample(0, n=4), sample(1))
    assert metrics.fid(sample(0, n=5), sample(1)) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 0], np.eye(3), [0, 0], np.eye(2)), r"first mean is \(2,\), its covariance \(3, 3\)"),
        (([0, 0], np.eye(2), [0], np.eye(1)), "means of length 2 and 1"),
        (([0, 0], np.eye(2), [0, 0], [[1, 2], [0, 1]]), "second covariance differs from its trans"),
        (([0, 0], [[1, 2], [2, 1]], [0, 0], np.eye(2)), "first covariance has the eigenvalue -1"),
        (([0, np.nan], np.eye(2), [0, 0], np.eye(2)), r"first mean has nan at \(1,\)"),
    ],
)
def test_frechet_distance_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.frechet_distance(*arguments)


# ---- KID -----------------------------------------------------------------------------------------


def plain_mmd2(x, y):
    """The estimate as written, pair by pair."""
    k = lambda a, b: (a @ b / len(a) + 1) ** 3
    own = [
        np.mean([k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])
        for z in (x, y)
    ]
    return own[0] + own[1] - 2 * np.mean([k(a, b) for a in x for b in y])


def test_mmd2_is_the_double_sum(small_blocks):
    x, y = sample(0, n=11), sample(1, n=16, shift=0.5)
    assert metrics.mmd2(x, y) == pytest.approx(plain_mmd2(x, y), rel=1e-12)
    assert metrics.mmd2(y, x) == pytest.approx(plain_mmd2(x, y), rel=1e-12)


def test_mmd2_has_no_bias():
    """Over many small draws of one distribution its mean is 0, and it is often negative."""
    rng = np.random.default_rng(0)
    values = np.array([metrics.mmd2(*rng.standard_normal((2, 8, 3))) for _ in range(4000)])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))
    assert (values < 0).mean() > 0.3
    # Two distributions on a line with moments m and n: sum over j of C(3, j) (m_j - n_j)^2.
    pairs = [(rng.standard_normal((8, 1)), rng.standard_normal((6, 1)) + 1) for _ in range(4000)]
    values = np.array([metrics.mmd2(x, y) for x, y in pairs])
    want = 3 * (1 - 0) ** 2 + 3 * (2 - 1) ** 2 + (4 - 0) ** 2  # of N(0, 1) and N(1, 1)
    assert abs(values.mean() - want) < 4 * values.std() / math.sqrt(len(values))


def test_kid_is_the_mean_of_mmd2_over_subsets():
    x, y = sample(0), sample(1, n=50, shift=0.3)
    whole = metrics.kid(x[:50], y, subsets=3, size=50)
    assert whole.mean == pytest.approx(metrics.mmd2(x[:50], y), rel=1e-10)
    assert whole.std == pytest.approx(0, abs=1e-12)  # each subset is the whole set
    found = metrics.kid(x, y, subsets=400, size=20)
    assert abs(found.mean - metrics.mmd2(x, y)) < 4 * found.std / math.sqrt(400)
    assert found.std > 0


def test_kid_depends_on_the_seed_alone():
    x, y = sample(0), sample(1)
    found = metrics.kid(x, y, subsets=5, size=20, seed=7)
    assert metrics.kid(x, y, subsets=5, size=20, seed=7) == found
    assert metrics.kid(x, y, subsets=5, size=20, seed=8) != found


def test_kid_refuses():
    x = sample(0)
    with pytest.raises(ValueError, match="subsets of 1000 images, of 60 real and 60 generated"):
        metrics.kid(x, x)
    for options in ({"size": 1}, {"size": 2.5}, {"size": 5, "subsets": 0}):
        with pytest.raises(ValueError, match="expected a whole number"):
            metrics.kid(x, x, **options)
    with pytest.raises(ValueError, match="60 real and 1 generated"):
        metrics.mmd2(x, x[:1])


# ---- classes -------------------------------------------------------------------------------------


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 10])
def test_inception_score_closed_forms(classes):
    uniform = np.full((100, classes), 1 / classes)
    assert metrics.inception_score(uniform) == pytest.approx((1, 0), abs=1e-12)
    sure = np.tile(np.eye(classes), (50, 1))
    assert metrics.inception_score(sure, splits=1) == pytest.approx((classes, 0), rel=1e-12)
    one = np.tile(np.eye(classes)[:1], (50, 1))
    assert metrics.inception_score(one) == pytest.approx((1, 0), abs=1e-12)


def test_inception_score_is_the_divergence_as_written():
    p = softmax(np.random.default_rng(0).standard_normal((200, 5)) * 3)
    want = np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean())
    assert metrics.inception_score(p, splits=1).mean == pytest.approx(want, rel=1e-12)
    assert metrics.inception_score(p.astype(np.float32), splits=1).mean == pytest.approx(want)


def test_inception_score_shuffles_before_it_splits():
    """In order of labels, or label by label in turn, a split would hold one class."""
    for labels in (np.arange(1000) // 100, np.arange(1000) % 10):
        assert metrics.inception_score(np.eye(10)[labels]).mean > 9
    p = softmax(sample(0, n=300))
    assert metrics.inception_score(p, seed=1) == metrics.inception_score(p, seed=1)
    assert metrics.inception_score(p, seed=1) != metrics.inception_score(p, seed=2)


@given(seeds, st.integers(2, 12), st.floats(0, 20))
def test_inception_score_lies_between_one_and_the_classes(seed, classes, sure):
    logits = np.random.default_rng(seed).standard_normal((40, classes)) * sure
    score = metrics.inception_score(softmax(logits), splits=4)
    assert 1 - 1e-12 <= score.mean <= classes + 1e-12


def shown(counts):
    """Probabilities of so many images of each class."""
    return np.eye(len(counts))[np.repeat(np.arange(len(counts)), counts)] * 0.9 + 0.1 / len(counts)


def test_class_balance():
    even = metrics.class_balance(shown([20] * 10))
    assert (even.counts, even.rare) == ((20,) * 10, ())
    assert even.kl == pytest.approx(0, abs=1e-14)
    one = metrics.class_balance(shown([0, 0, 90, 0]))
    assert one.counts == (0, 0, 90, 0)
    assert one.kl == pytest.approx(math.log(4), rel=1e-12)
    assert one.rare == (0, 1, 3)
    two = metrics.class_balance(shown([300, 100]))
    assert two.kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-12)
    assert two.shares == (0.75, 0.25)
    assert metrics.class_balance(shown([981, 19])).rare == (1,)
    assert metrics.class_balance(shown([980, 20])).rare == ()  # 2 % is not under 2 %
    assert metrics.class_balance(shown([10] * 100)).rare == ()  # of 100 classes 1 % is even


def test_collapse_in_words():
    balance = lambda *counts: metrics.class_balance(shown(counts))
    assert metrics.collapsed(balance(*[20] * 10)) == ""
    assert metrics.collapsed(balance(0, 500, *[40] * 8)) == (
        "61% of the images are taken for class 1; 1 of 10 classes (0) have under 2% of the "
        "images each"
    )
    assert metrics.collapsed(balance(0, 5, 5, 5)) == ""  # 15 images may miss a class
    real = balance(700, 0, 300)
    assert metrics.collapsed(balance(690, 10, 300), real) == ""
    assert metrics.collapsed(balance(690, 10, 300)) != ""
    assert metrics.collapsed(balance(985, 5, 10), real).endswith("1 of 3 classes (2) have under "
        "2% of the images each")  # fmt: skip


def test_no_class_is_missed_by_chance():
    """Even classes, 10 images each on average: a false alarm in under 1 % of the draws."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(100, [0.1] * 10, size=2000)
    alarms = sum(metrics.collapsed(metrics.class_balance(shown(counts))) != "" for counts in draws)
    assert alarms < 20


def test_label_accuracy():
    p = shown([2, 1, 1])
    assert metrics.label_accuracy(p, np.array([0, 0, 1, 2])) == 1
    assert metrics.label_accuracy(p, np.array([0, 1, 2, 0])) == 0.25
    with pytest.raises(ValueError, match=r"labels are int64 \(3,\), expected integers, one for ea"):
        metrics.label_accuracy(p, np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="labels from 0 to 3, expected from 0 to 2"):
        metrics.label_accuracy(p, np.array([0, 0, 1, 3]))


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (np.ones(4), r"float64 \(4,\), expected floats \(images, classes\)"),
        (np.ones((4, 1)), "two classes or more"),
        (np.ones((0, 3)), r"\(0, 3\)"),
        (np.eye(3, dtype=np.int64), "int64"),
        (np.array([[0.5, 0.5], [3.0, -1.0]]), "least probability is -1 .* take the softmax"),
        (np.array([[0.5, 0.5], [0.5, 0.6]]), "row 1 sums to 1.1"),
        (np.array([[0.5, 0.5], [np.nan, 0.5]]), r"nan at \(1, 0\)"),
    ],
)
def test_what_is_no_probability_is_refused(p, message):
    for function in (metrics.inception_score, metrics.class_balance):
        with pytest.raises(ValueError, match=message):
            function(p)


def test_inception_score_refuses_splits():
    with pytest.raises(ValueError, match="10 splits of 4 images"):
        metrics.inception_score(shown([2, 2]))
    with pytest.raises(ValueError, match="splits is 0"):
        metrics.inception_score(shown([2, 2]), splits=0)


# ---- neighbours ----------------------------------------------------------------------------------


def distances(x, y):
    return np.sqrt(((x[:, None] - y[None]) ** 2).sum(axis=-1))


def plain_prdc(x, y, k):
    """The four measures as their papers write them, from whole matrices."""
    rx, ry = (np.sort(distances(z, z), axis=1)[:, k] for z in (x, y))
    d = distances(x, y)
    inside = d <= rx[:, None]
    precision, recall = inside.any(axis=0).mean(), (d <= ry).any(axis=1).mean()
    return precision, recall, inside.sum() / (k * len(y)), inside.any(axis=1).mean()


@given(seeds, st.integers(1, 6))
def test_neighbour_measures_are_those_of_the_papers(seed, k):
    x, y = sample(seed, n=37), sample(seed + 1, n=23, shift=0.7)
    found = metrics.precision_recall(x, y, k=k) + metrics.density_coverage(x, y, k=k)
    assert found == pytest.approx(plain_prdc(x, y, k), abs=1e-12)
    radii = np.sort(distances(x, x), axis=1)[:, k]
    np.testing.assert_allclose(metrics.neighbour_radii(x, k), radii, rtol=1e-7)


def test_blocks_change_nothing(monkeypatch):
    x, y = sample(0, n=53, d=9), sample(1, n=41, d=9)
    y[:10] = x[:10]  # ties: a copy of an image lies on the border of its neighbours' balls
    measured = lambda: (
        metrics.precision_recall(x, y), metrics.density_coverage(x, y),
        metrics.precision_recall(x, x), metrics.density_coverage(x, x),
        metrics.duplicates(x, within=2.5), metrics.nearest(x, y).index.tolist(),
    )  # fmt: skip
    whole, radii, estimate = measured(), metrics.neighbour_radii(x, 3), metrics.mmd2(x, y)
    for rows, columns in ((5, 7), (1, 1), (50, 3), (4, 64)):
        monkeypatch.setattr(arrays, "ROWS", rows)
        monkeypatch.setattr(arrays, "COLUMNS", columns)
        assert measured() == whole
        np.testing.assert_allclose(metrics.neighbour_radii(x, 3), radii, rtol=1e-12)
        assert metrics.mmd2(x, y) == pytest.approx(estimate, rel=1e-12)


@given(seeds, st.integers(1, 5))
def test_a_set_and_itself(seed, k):
    """Each ball holds its centre and k others, one on the border, however rounding moves it."""
    x = sample(seed, n=30, d=40, shift=100.0)
    for other in (x, x[::-1], np.roll(x, 7, axis=0)):
        assert metrics.precision_recall(x, other, k=k) == (1, 1)
        assert metrics.density_coverage(x, other, k=k) == pytest.approx(((k + 1) / k, 1))


@given(seeds)
def test_balls_of_no_radius(seed):
    """Where k + 1 images are copies of each other, what equals them is inside all the same."""
    x = sample(seed, n=10, d=40, shift=3.0)
    copies = np.repeat(x, 4, axis=0)
    assert metrics.precision_recall(copies, x, k=3).precision == 1
    assert metrics.precision_recall(x, copies, k=3).recall == 1
    assert metrics.density_coverage(copies, x, k=3) == pytest.approx((4 / 3, 1))
    assert metrics.neighbour_radii(copies, 3).max() < 1e-5


def test_balls_among_many_images():
    """The k-th nearest is found in parts of several thousand distances; copies have radius 0."""
    x = sample(0, n=9000, d=3, shift=5.0)
    x[-3:] = x[:1]
    radii = metrics.neighbour_radii(x, 3)
    some = np.arange(0, 9000, 300)
    want = np.sort(distances(x[some], x), axis=1)[:, 3]
    np.testing.assert_allclose(radii[some], want, rtol=1e-6, atol=1e-6)
    assert radii[[0, -3, -2, -1]].max() < 1e-6


@given(seeds)
def test_neighbour_measures_do_not_change_by_order_rotation_or_shift(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((40, 6)), rng.standard_normal((30, 6)) + 0.5
    q, shift = rotation(rng, 6), 10 * rng.standard_normal(6)
    other = rng.permutation(x) @ q + shift, rng.permutation(y) @ q + shift
    assert metrics.precision_recall(*other) == metrics.precision_recall(x, y)
    assert metrics.density_coverage(*other) == metrics.density_coverage(x, y)


def test_known_cases_on_a_line():
    real = np.arange(6.0)[:, None]
    far = real + 100
    assert metrics.precision_recall(real, far, k=2) == (0, 0)
    assert metrics.density_coverage(real, far, k=2) == (0, 0)
    # All at 2: inside the balls of radius 1 around 1, 2, 3, and of radius 2 around 0.
    one = np.full((8, 1), 2.0)
    assert metrics.precision_recall(real, one, k=2) == (1, 1 / 6)
    assert metrics.density_coverage(real, one, k=2) == (4 / 2, 4 / 6)


def test_means_for_equal_distributions():
    """With k of n - 1 others in a ball, a new point is inside with probability k / n: E D = 1.

    None of m new ones is, when the k + 1 nearest of n - 1 + m others start with k old ones:
    E C = 1 - (n - 1) ... (n - k) / ((n + m - 1) ... (n + m - k)).
    """
    rng, n, m, k = np.random.default_rng(0), 20, 15, 3
    found = np.array([
        metrics.density_coverage(rng.standard_normal((n, 2)), rng.standard_normal((m, 2)), k=k)
        for _ in range(1500)
    ])  # fmt: skip
    missed = math.prod((n - i) / (n + m - i) for i in range(1, k + 1))
    error = found.std(axis=0) / math.sqrt(len(found))
    assert (abs(found.mean(axis=0) - [1, 1 - missed]) < 4 * error).all()


@pytest.mark.slow
def test_published_case():
    """N(0, I) in 1,000 dimensions, 10,000 of each, k = 5, against the README of prdc.

    Those figures are of one draw without a seed, and these are of one: the tolerance is 3 standard
    deviations of the difference of two draws, sqrt(18) times what seven draws of ours had
    (precision and recall 0.0118, density 0.066, coverage 0.0069). k of 4 is outside; what one
    draw of this size cannot tell, the exact means above do.
    """
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10_000, 1000)), rng.standard_normal((10_000, 1000))
    both = neighbours._neighbourhoods("published", x, y, 5, 5)  # once, not for each of the two
    found = np.array(both[0] + both[1])
    assert (abs(found - [0.4772, 0.4705, 1.0555, 0.9735]) < [0.05, 0.05, 0.28, 0.03]).all()


@pytest.mark.parametrize("function", [metrics.precision_recall, metrics.density_coverage])
def test_neighbour_measures_refuse(function):
    x = sample(0, n=5)
    with pytest.raises(ValueError, match="k is 5, with 5 images in a set; expected k \\+ 1 = 6"):
        function(x, sample(1), k=5)
    with pytest.raises(ValueError, match="k is 5, with 5 images"):
        function(sample(1), x, k=5)
    for k in (0, 2.5, True):
        with pytest.raises(ValueError, match=f"k is {k}, expected a whole number, 1 or more"):
            function(x, x, k=k)
    with pytest.raises(ValueError, match="k is 5, with 5 images"):
        metrics.neighbour_radii(x, 5)


@pytest.mark.parametrize(
    "function",
    [metrics.fid, metrics.kid, metrics.mmd2, metrics.precision_recall, metrics.density_coverage],
)
def test_bad_features_are_refused(function):
    x = sample(0)
    with pytest.raises(ValueError, match="real has 4 features an image, fake 3"):
        function(x, x[:, :3])
    with pytest.raises(ValueError, match=r"fake is float64 \(60,\), expected .*reshape"):
        function(x, x[:, 0])
    with pytest.raises(ValueError, match=r"real is float64 \(0, 4\)"):
        function(x[:0], x)
    with pytest.raises(ValueError, match="real is bool"):
        function(x > 0, x)
    for value in (np.nan, np.inf):
        bad = x.copy()
        bad[7, 2] = bad[9, 0] = value
        with pytest.raises(ValueError, match=rf"fake has {value} at \(7, 2\), and 2 values in all"):
            function(x, bad)


# ---- copies --------------------------------------------------------------------------------------


def test_nearest_is_found(small_blocks):
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (40, 4, 4, 1), dtype=np.uint8)
    made = rng.integers(0, 256, (23, 4, 4, 1), dtype=np.uint8)
    made[4], made[20] = train[33], train[0]
    d = distances(*(x.reshape(len(x), -1).astype(float) for x in (made, train)))
    found = metrics.nearest(made, train)
    assert found.index.tolist() == d.argmin(axis=1).tolist()
    np.testing.assert_allclose(found.distance, d.min(axis=1), rtol=1e-14)
    assert found.distance[4] == found.distance[20] == 0
    assert np.flatnonzero(found.distance == 0).tolist() == [4, 20]


def test_nearest_of_equals_is_the_first(small_blocks):
    train = np.tile(np.arange(3, dtype=np.uint8), 8)[:, None]  # 0 1 2 0 1 2 ...
    assert metrics.nearest(np.uint8([[2], [0], [7]]), train).index.tolist() == [2, 0, 2]


def test_a_copy_is_at_distance_zero_whatever_the_scale():
    x = sample(0, n=300, d=50, shift=1e4).astype(np.float32)
    found = metrics.nearest(tensor(x[100:200]), x)
    assert found.index.tolist() == list(range(100, 200))
    assert not found.distance.any()


def test_distances_of_grey_levels_are_exact_to_the_last():
    """Beyond the pixels whose products float32 can add up, and at the largest of them."""
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (40, 3000), dtype=np.uint8)
    y = rng.integers(0, 2, (70, 3000), dtype=np.uint8) * np.uint8(255)
    x[0], y[0] = 0, 0
    x[1], y[1] = 255, 0
    exact = ((x[:, None].astype(np.int64) - y.astype(np.int64)) ** 2).sum(axis=2)
    for rows, columns, d2 in metrics.arrays.squared_distances(x, y):
        assert (d2 == exact[rows, columns]).all()


def test_nearest_refuses():
    with pytest.raises(ValueError, match="equal shapes from the second axis on"):
        metrics.nearest(np.zeros((3, 4, 4, 1)), np.zeros((3, 16)))
    with pytest.raises(ValueError, match=r"references is float64 \(0, 4\)"):
        metrics.nearest(np.zeros((3, 4)), np.zeros((0, 4)))
    with pytest.raises(ValueError, match="queries has nan"):
        metrics.nearest(np.full((3, 4), np.nan), np.zeros((3, 4)))


def test_duplicates(small_blocks):
    x = np.random.default_rng(0).integers(0, 256, (30, 3, 3, 1), dtype=np.uint8)
    assert metrics.duplicates(x) == 0
    x[[9, 20]] = x[3]
    x[29] = x[28]
    assert metrics.duplicates(x) == 3
    near = x.copy()
    near[20, 0, 0] ^= 1  # off by one grey level
    assert metrics.duplicates(near) == 2
    assert metrics.duplicates(near, within=1) == 3
    assert metrics.duplicates(near, within=1e9) == 29
    floats = np.random.default_rng(0).uniform(0, 255, (50, 784)).astype("f")
    twice = np.concatenate([floats, floats])
    assert {metrics.duplicates(twice, within=w) for w in (0, 1e-9, 1e-5, 1e-3)} == {50}
    assert metrics.duplicates(np.array([[0.0], [-0.0]])) == 1  # their distance is 0
    with pytest.raises(ValueError, match="within is -1, expected a distance"):
        metrics.duplicates(x, within=-1)


def test_pairwise_distance():
    x = sample(0, n=20, d=600)
    d2 = distances(x, x) ** 2
    assert metrics.pairwise_distance(x) == pytest.approx(math.sqrt(d2.sum() / (20 * 19)))
    assert metrics.pairwise_distance(np.ones((5, 4, 4, 1), np.uint8)) == 0
    with pytest.raises(ValueError, match="1 image"):
        metrics.pairwise_distance(x[:1])


# ---- the report ----------------------------------------------------------------------------------

CLASSES = 4


class Toy:
    """Features: the means of the four quarters and their squares; class: the brightest quarter."""

    name, version, sha256 = "toy", 3, "ab" * 32

    def __init__(self):
        self.most = 0

    def __call__(self, images):
        assert images.dtype == np.uint8
        self.most = max(self.most, len(images))
        n = len(images)
        quarters = images.reshape(n, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(n, 4) / 255
        return np.concatenate([quarters, quarters**2], axis=1), softmax(40 * quarters)


def pictures(seed, n, labels=None):
    """Noise (n, 8, 8, 1) with one bright quarter each, and which one."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n) if labels is None else labels
    x = rng.integers(0, 100, (n, 2, 4, 2, 4, 1))
    x[np.arange(n), labels // 2, :, labels % 2] += 100
    return x.reshape(n, 8, 8, 1).astype(np.uint8), labels


TRAIN, TRAIN_LABELS = pictures(0, 500)
TEST, _ = pictures(1, 400)


def test_good_images_measure_as_real_ones_do():
    fake, labels = pictures(2, 300)
    toy, seen = Toy(), []
    found = metrics.measure(
        toy, TRAIN, TEST, fake, labels=labels, train_labels=TRAIN_LABELS,
        progress=lambda what, done, total: seen.append((what, done, total)),
    )  # fmt: skip
    assert [m.name for m in found.measures] == [
        "FID", "KID", "precision", "recall", "density", "coverage", "Inception Score",
        "KL of classes to even", "rare classes", "label accuracy", "pairwise distance",
        "nearest training image", "training copies", "duplicates",
    ]  # fmt: skip
    assert found.diagnosis == ""
    for m in found.measures:
        assert m.floor is not None
        if m.better != "lower" and m.name != "KL of classes to even":
            assert m.value == pytest.approx(m.floor, rel=0.15), m.name
    assert found["label accuracy"].value == 1
    # the measures are those of the functions, of held-out and generated images
    reference, made = (Toy()(x)[0] for x in (TEST, fake))
    assert found["FID"].value == metrics.fid(reference, made)
    assert found["recall"].value == metrics.precision_recall(reference, made).recall
    assert found["coverage"].value == metrics.density_coverage(reference, made).coverage
    assert metrics.neighbourhoods(reference, made) == (
        metrics.precision_recall(reference, made), metrics.density_coverage(reference, made)
    )  # fmt: skip
    assert (found.count, found.reference, found.training) == (300, 400, 500)
    assert toy.most <= 250
    assert ("generated images", 300, 300) in seen
    assert seen[-1] == ("measures", 4, 4)


def test_the_floor_takes_as_many_images_as_there_are_generated():
    few = metrics.measure(Toy(), TRAIN, TEST, pictures(2, 40)[0])
    many = metrics.measure(Toy(), TRAIN, TEST, pictures(2, 500)[0])
    more = metrics.measure(Toy(), TRAIN[:100], TEST, pictures(2, 500)[0])
    assert (few.count, many.count, more.count) == (40, 500, 100)
    assert few["FID"].floor > many["FID"].floor
    with pytest.raises(KeyError, match="no measure 'fid'; there are FID, KID"):
        few["fid"]
    assert [m.name for m in few.measures if "label" in m.name] == []


def test_a_reference_measures_many_sets_as_one_alone():
    toy, fakes = Toy(), [pictures(seed, 120) for seed in (2, 3)]
    reference = metrics.Reference(toy, TRAIN, TEST, 120, train_labels=TRAIN_LABELS, seed=4)
    for fake, labels in fakes:
        alone = metrics.measure(
            toy, TRAIN, TEST, fake, labels=labels, train_labels=TRAIN_LABELS, seed=4
        )
        assert reference.measure(fake, labels=labels) == alone
    assert reference.measure(pictures(2, 300)[0]).count == 120
    with pytest.raises(ValueError, match="119 generated images, expected 120 or more"):
        reference.measure(fakes[0][0][:119])
    with pytest.raises(
        ValueError, match=r"fake has shape \(120, 7, 8, 1\), train \(500, 8, 8, 1\)"
    ):
        reference.measure(fakes[0][0][:, :7])


def test_the_report_can_be_repeated_printed_and_kept():
    fake = pictures(2, 200)[0]
    found = metrics.measure(Toy(), TRAIN, TEST, fake, seed=5)
    assert metrics.measure(Toy(), TRAIN, TEST, fake, seed=5) == found
    other = metrics.measure(Toy(), TRAIN, TEST, fake, seed=6)
    assert other["KID"].value != found["KID"].value
    assert other["FID"].value == found["FID"].value  # of all images: nothing is drawn
    assert other["FID"].floor != found["FID"].floor  # of 200 of 500 training images
    kept = json.loads(json.dumps(found.describe(), allow_nan=False))
    assert kept["version"] == 1
    assert kept["extractor_sha256"] == Toy.sha256
    assert kept["measures"][0]["name"] == "FID"
    assert kept["measures"][0]["value"] == found["FID"].value
    assert sum(kept["classes"]["counts"]) == 200
    lines = str(found).splitlines()
    assert lines[0].split() == ["measure", "generated", "floor", "better"]
    assert len(lines) == 1 + len(found.measures) + 1
    assert lines[-1] == found.protocol
    assert found.protocol == (
        "200 generated images against 400 held-out real ones, floor: 200 training images against "
        "the same; grey levels; extractor toy v3 (abababababab); nearest of 500 training images; "
        "seed 5; measures v1"
    )
    assert [row[0] for row in found.rows()] == [m.name for m in found.measures]
    assert all(len(row) == 4 for row in found.rows())


def test_floats_become_grey_levels_first():
    fake = pictures(2, 100)[0]
    found = metrics.measure(Toy(), TRAIN, TEST, fake)
    signed = fake.astype(np.float32) / 127.5 - 1 + np.float32(0.001)  # off by an eighth of a level
    assert metrics.measure(Toy(), TRAIN, TEST, signed, value_range=(-1, 1)) == found
    with pytest.raises(ValueError, match=r"value_range"):
        metrics.measure(Toy(), TRAIN, TEST, signed)


def test_collapse_is_told():
    fake, _ = pictures(2, 300, np.zeros(300, np.int64))
    found = metrics.measure(Toy(), TRAIN, TEST, fake)
    assert "100% of the images are taken for class 0" in found.diagnosis
    assert "3 of 4 classes (1, 2, 3)" in found.diagnosis
    assert "coverage" in found.diagnosis
    assert str(found).endswith(found.diagnosis)
    same = metrics.measure(Toy(), TRAIN, TEST, np.repeat(pictures(2, 4, np.arange(4))[0], 75, 0))
    assert "296 of 300 images repeat another one exactly" in same.diagnosis
    assert same["duplicates"].value == 296
    assert same["duplicates"].floor == 0


def test_memorising_is_told():
    found = metrics.measure(Toy(), TRAIN, TEST, TRAIN[:200])
    assert found["training copies"].value == 200
    assert "200 of 200 images are exact copies of a training image" in found.diagnosis
    near = np.clip(TRAIN[:200].astype(int) + 3, 0, 255).astype(np.uint8)
    found = metrics.measure(Toy(), TRAIN, TEST, near)
    assert found["nearest training image"].value == pytest.approx(8 * 3 / 255, rel=1e-6)
    assert "the nearest training image is 0.09 away" in found.diagnosis


def test_noise_is_told():
    noise = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)
    found = metrics.measure(Toy(), TRAIN, TEST, noise)
    assert "look like no real image" in found.diagnosis
    assert found["FID"].value > 10 * found["FID"].floor


def test_the_report_refuses():
    fake, labels = pictures(2, 50)
    refused = [
        ((TRAIN, TEST, fake[:, :7]), {}, r"fake has shape \(50, 7, 8, 1\), train \(500, 8, 8, 1\)"),
        ((TRAIN, TEST, fake[:9]), {}, "10 images or more"),
        ((TRAIN[..., 0], TEST, fake), {}, r"train has shape \(500, 8, 8\)"),
        ((TRAIN, TEST, fake), {"labels": labels[:9]}, r"labels \(9,\) for 50 generated images"),
        ((TRAIN, TEST, fake), {"train_labels": labels}, r"labels \(50,\) for 500 training images"),
    ]
    for sets, options, message in refused:
        with pytest.raises(ValueError, match=message):
            metrics.measure(Toy(), *sets, **options)

    class Wide(Toy):
        def __call__(self, images):
            found, p = super().__call__(images)
            return np.tile(found, 10), p

    class Short(Toy):
        def __call__(self, images):
            found, p = super().__call__(images)
            return found[1:], p

    class Broken(Toy):
        def __call__(self, images):
            found, p = super().__call__(images)
            return found * np.nan, p

    with pytest.raises(ValueError, match="n = 50 images with d = 80 features"):
        metrics.measure(Wide(), TRAIN, TEST, fake)
    with pytest.raises(ValueError, match=r"toy: features \(49, 8\) .* of 50 images, expected one"):
        metrics.measure(Short(), TRAIN, TEST, fake)
    with pytest.raises(ValueError, match="toy: the features of training images has nan"):
        metrics.measure(Broken(), TRAIN, TEST, fake)


@pytest.mark.quick
def test_importing_tinygen_does_not_load_the_measures():
    code = (
        "import sys, tinygen; before = 'tinygen.metrics' in sys.modules; "
        "print(before, tinygen.metrics.fid.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "fid"]
