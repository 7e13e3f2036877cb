"""The built-in digits: the same everywhere, independent of n, as the table says."""

import hashlib
import re
import sys

import numpy as np
import pytest

import tinygen.data  # noqa: F401
from tinygen.data import STROKES_VERSION, strokes

module = sys.modules["tinygen.data.strokes"]  # the package's name `strokes` is the function

# SHA-256 of the first 200 images, grey and in colour, of seed 1: a change needs a new version.
GOLDEN = {
    1: (
        "4abe1798bc6b92be5e1440c241589944b1f4fe189a73054310d2d3786c84797e",
        "04f821aee0a5dc8389d00657a05b81f95c4b4883e013f518b4ca76e8246e6c5b",
    )
}


@pytest.fixture(scope="module")
def drawn():
    return strokes(2000, seed=3)


def test_pixels_are_those_of_this_version():
    grey, _ = strokes(200, seed=1)
    colour, _ = strokes(200, seed=1, colour=True)
    digests = tuple(hashlib.sha256(images.tobytes()).hexdigest() for images in (grey, colour))
    assert digests == GOLDEN[STROKES_VERSION]


def test_image_does_not_depend_on_n():
    few, few_table = strokes(37, seed=5, colour=True)
    many, many_table = strokes(400, seed=5, colour=True)
    np.testing.assert_array_equal(few, many[:37])
    for name in many_table:
        np.testing.assert_array_equal(few_table[name], many_table[name][:37])


def test_seeds_and_splits_differ(drawn):
    images, _ = drawn
    for other in (strokes(2000, seed=4), strokes(2000, seed=3, split="test")):
        assert (images != other[0]).any(axis=(1, 2, 3)).all()
    assert len({image.tobytes() for image in images}) == len(images)  # no two alike


def test_shapes_and_table(drawn):
    images, table = drawn
    assert images.shape == (2000, 28, 28, 1)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    limits = {
        "slant": (-28, 42),
        "rotation": (-18, 18),
        "thickness": (1.5, 4.2),
        "scale": (0.6, 1.15),
    }
    for name, (low, high) in limits.items():
        assert table[name].dtype == np.float32
        assert table[name].min() >= low - 1e-5
        assert table[name].max() <= high + 1e-5
        assert table[name].std() > 0.1 * (high - low)
    assert table["digit"].dtype == np.int64
    assert np.bincount(table["digit"], minlength=10).min() > 140  # 200 of each expected
    for digit, forms in module.LETTERFORMS.items():
        assert set(table["form"][table["digit"] == digit]) == set(range(len(forms)))


def test_ink_stays_inside_and_is_never_missing(drawn):
    images = drawn[0][..., 0]
    assert not images[:, [0, -1]].any()
    assert not images[:, :, [0, -1]].any()
    assert (images > 200).sum(axis=(1, 2)).min() >= 8


def test_attributes_show_in_the_pixels(drawn):
    images, table = drawn[0][..., 0].astype(float), drawn[1]
    ink = images.sum(axis=(1, 2)) / 255
    height = (images > 127).any(axis=2).sum(axis=1)
    rows = np.arange(28)[:, None] - 13.5
    x, y = (images * rows.T).sum((1, 2)) / ink / 255, (images * rows).sum((1, 2)) / ink / 255
    dx, dy = rows.T - x[:, None, None], rows - y[:, None, None]
    lean = -(images * dx * dy).sum((1, 2)) / (images * dy * dy).sum((1, 2))
    ones = table["digit"] == 1
    assert np.corrcoef(ink, table["thickness"] * table["scale"])[0, 1] > 0.7
    assert np.corrcoef(height, table["scale"])[0, 1] > 0.7
    assert np.corrcoef(lean[ones], (table["slant"] + table["rotation"])[ones])[0, 1] > 0.8


def test_sizes_draw_the_same_digits():
    small, _ = strokes(50, seed=2)
    large, _ = strokes(50, seed=2, size=56)
    assert large.shape == (50, 56, 56, 1)
    halved = large.reshape(50, 28, 2, 28, 2).astype(float).mean(axis=(2, 4))
    assert abs(halved - small[..., 0]).mean() < 6
    assert strokes(3, size=8)[0].shape == (3, 8, 8, 1)


def test_colours_contrast_and_match_the_table():
    images, table = strokes(300, seed=0, colour=True)
    grey, _ = strokes(300, seed=0)
    assert images.shape == (300, 28, 28, 3)
    np.testing.assert_array_equal(images[:, 0, 0], table["paper"])
    k = np.arange(300)
    top = grey.reshape(300, -1).argmax(axis=1)
    np.testing.assert_array_equal(images.reshape(300, -1, 3)[k, top], table["ink"])
    luma = [(table[name] @ [0.299, 0.587, 0.114]) for name in ("ink", "paper")]
    assert abs(luma[0] - luma[1]).min() > 45
    named = [caption.split() for caption in table["caption"]]
    assert {words[-2] for words in named} == set(module.PAPERS)
    assert {words[-5] for words in named} <= set(module.INKS)


def test_captions_follow_their_grammar(drawn):
    _, table = drawn
    digits = "|".join(module.DIGIT_WORDS)
    grammar = re.compile(
        rf"(an?) (?:(thin|thick) )?(?:(small|large) )?(?:(slanted|backward) )?({digits})"
    )
    heard = set()
    for i, caption in enumerate(table["caption"]):
        match = grammar.fullmatch(caption)
        assert match, caption
        article, width, size, lean, digit = match.groups()
        heard |= {width, size, lean, digit}
        assert module.DIGIT_WORDS.index(digit) == table["digit"][i]
        assert (article == "an") == (caption.split()[1][0] in "aeio")
        assert (width == "thick") == (table["thickness"][i] > module.THICK)
        assert (lean == "backward") == (table["slant"][i] <= -module.LEANING)
        assert (size == "small") == (table["scale"][i] < module.SMALL)
    assert heard >= {"thin", "thick", "small", "large", "slanted", "backward", None}


def test_letterforms_are_well_formed():
    for forms in module.LETTERFORMS.values():
        for _, first, second in forms:
            marks = [[t if len(t) == 1 else "." for t in text.split()] for text in (first, second)]
            assert marks[0] == marks[1]
            assert marks[0].count(".") <= module.MOST_POINTS
            assert marks[0].count("|") < module.MOST_STROKES


def test_path_passes_through_the_control_points():
    points = np.array([[0.0, 0.0], [10.0, 30.0], [40.0, 40.0], [60.0, 0.0]])
    run = [0, 1, 2, 3]
    for k in range(3):
        for t, expected in ((0.0, points[k]), (1.0, points[k + 1])):
            near, weights = module._catmull_rom(run, k, t)
            np.testing.assert_allclose(np.array(weights) @ points[near], expected, atol=1e-12)
            assert sum(weights) == pytest.approx(1)
    near, weights = module._catmull_rom([0, 1], 0, 0.25)  # two points: a straight line
    np.testing.assert_allclose(np.array(weights) @ points[near], 0.25 * points[1], atol=1e-12)


def test_own_sine_and_cosine():
    degrees = np.linspace(-45, 45, 1001)
    sine, cosine = module._sin_cos(degrees)
    np.testing.assert_allclose(sine, np.sin(np.radians(degrees)), atol=1e-11)
    np.testing.assert_allclose(cosine, np.cos(np.radians(degrees)), atol=1e-11)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"size": 7}, {"split": "validation"}])
def test_refuses(arguments):
    with pytest.raises(ValueError, match="expected n >= 1"):
        strokes(**arguments)
