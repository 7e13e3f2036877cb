"""What is read is what was meant, and the report says how: nasty folders, files and labels."""

import contextlib
import gzip
import io
import os
import struct
import sys
import zipfile
import zlib

import numpy as np
import pytest

from tinygen.data import DataError, Dataset, files, load
from tinygen.data.labels import class_number

Image = pytest.importorskip("PIL.Image")
SMALL = np.random.default_rng(0).integers(0, 256, (40, 6, 6), np.uint8)
SMALL[0, 0, :2] = 0, 255


def write_png(path, array=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = SMALL[zlib.crc32(path.name.encode()) % 40] if array is None else np.asarray(array)
    Image.fromarray(array).save(path, **options)


def folders(root, *names, count=2):
    for name in names:
        for i in range(count):
            write_png(root / name / f"{i}.png")
    return root


def write_idx(path, array, compress=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(array, np.uint8)
    blob = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    path.write_bytes(gzip.compress(blob) if compress else blob)


# ---- classes and labels -----------------------------------------------------------------------


def test_numbered_folders_are_sorted_by_number(tmp_path):
    for k in range(1, 12):
        write_png(tmp_path / f"{k}" / "0.png", np.full((4, 4), k, np.uint8))
    data = load(tmp_path)
    assert data.classes == tuple(str(k) for k in range(1, 12))
    for part in (data, data.test):
        named = [int(data.classes[k]) for k in part.labels]
        assert named == part.images[:, 0, 0, 0].tolist()
    assert folders(tmp_path / "mixed", "a10", "a9", "b")
    assert load(tmp_path / "mixed").classes == ("a9", "a10", "b")


@pytest.mark.parametrize(
    ("label", "classes", "expected"),
    [
        ("1", ("1", "2", "10"), 0),
        (10, ("1", "2", "10"), 2),
        ("7", ("0", "7"), 1),
        ("1", ("01", "02"), 0),
        (1, ("cat", "dog"), 1),
        (" dog ", ("cat", "dog"), 1),
        ("4", (), 4),
        ("0", ("1", "2"), "one of 1, 2"),
        ("0", ("cat", "7"), "one of cat, 7"),
        ("3", ("cat", "dog"), "a number from 0 to 1, or one of cat, dog"),
        ("cow", ("cat", "dog"), "one of cat, dog"),
        ("-1", ("cat", "dog"), "from 0 to 1"),
        ("²", ("cat", "dog"), "from 0 to 1"),
        ("\x1b[2J", ("cat", "dog"), r"'\\\\x1b\[2J'"),
    ],
)
def test_a_class_asked_for_by_number_is_the_one_of_that_name(label, classes, expected):
    if isinstance(expected, int):
        assert class_number(label, classes) == expected
    else:
        with pytest.raises(ValueError, match=expected):
            class_number(label, classes)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.arange(40) % 10 + 1, [str(k) for k in range(1, 11)]),
        (np.array([2, 7, 50])[np.arange(40) % 3], ["2", "7", "50"]),
        (np.array([3, 2**62])[np.arange(40) % 2], ["3", str(2**62)]),
        (np.array([3, 2**63 + 1], np.uint64)[np.arange(40) % 2], ["3", str(2**63 + 1)]),
        (np.array(["dog", "cat"])[np.arange(40) % 2], ["cat", "dog"]),
        (np.array([b"dog", b"caf\xe9"])[np.arange(40) % 2], ["caf\\xe9", "dog"]),
        (["10", "9"] * 20, ["9", "10"]),
        ((np.arange(40) % 3).astype(float), ["0", "1", "2"]),
        (np.eye(4)[np.arange(40) % 4], ["0", "1", "2", "3"]),
        (np.eye(9, dtype=int)[np.arange(40) % 4 + 2], ["2", "3", "4", "5"]),
        ((np.arange(40) % 2 == 1)[:, None], ["0", "1"]),
    ],
)
def test_labels_of_every_kind(labels, classes):
    for data in (load(SMALL, labels=labels), Dataset("all", SMALL[..., None], labels)):
        assert list(data.classes) == classes
        assert set(data.report.classes) == set(classes)
        places = {tuple(image.ravel()): k for k, image in enumerate(SMALL)}
        for image, number in zip(data.images, data.labels, strict=True):
            given = np.asarray(labels)[places[tuple(image.ravel())]]
            if given.ndim and given.size > 1:
                given = given.argmax()
            given = given.item() if isinstance(given, np.generic | np.ndarray) else given
            if isinstance(given, bytes):
                given = given.decode("latin-1").replace("é", "\\xe9")
            called = data.classes[number]
            assert called == given if isinstance(given, str) else int(called) == given


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(40, np.nan), "hold nan, expected whole numbers"),
        (np.arange(40) / 2, r"hold 0\.5, expected whole numbers"),
        (np.full(40, 1e300), "too large to be exact"),
        (np.ones((40, 3)), "not one-hot"),
        (np.zeros((40, 3, 1)), r"expected integers or names \(N,\)"),
        (np.zeros(40, complex), "expected integers or names"),
        (np.array([None, "cat"] * 20, object), "some labels are missing"),
        (np.full(40, -1), "label -1, expected class numbers from 0"),
        (np.zeros(39, int), "39 labels for 40 images"),
    ],
)
def test_labels_refused(labels, message):
    with pytest.raises(DataError, match=message):
        load(SMALL, labels=labels)


def test_held_out_images_share_the_classes():
    images = SMALL[..., None]
    test = Dataset("t", images[:2], np.array([5, 5]))
    data = Dataset("d", images, np.array([2, 5])[np.arange(40) % 2], test=test)
    assert data.test.classes == data.classes == ("2", "5")
    assert data.test.labels.tolist() == [1, 1]
    with pytest.raises(DataError, match="t: the classes 3 are not among 2, 5"):
        Dataset("d", images, data.labels, data.classes, test=Dataset("t", images[:1], [3]))


def test_classes_without_images(tmp_path):
    folders(tmp_path, "cat", "dog")
    (tmp_path / "cow").mkdir()
    data = load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.report.left_out == {"without images": ["cow"]}
    alone = load(folders(tmp_path / "alone", "cat"))
    assert "one class only: 'cat'" in str(alone.report)
    lost = load(SMALL, labels=np.array([0, 1])[(np.arange(40) == 3).astype(int)], n=1)
    assert "warning: no training images of 1" in str(lost.report)
    assert "40 classes for 36 images" in str(load(SMALL, labels=np.arange(40)).report)


# ---- values -----------------------------------------------------------------------------------

RAMP = np.linspace(0, 1, 3000).reshape(3, 25, 40)


def overshot(low, high):
    """A ramp with a few values beyond, as bicubic scaling leaves them at edges."""
    ramp = low + (high - low) * RAMP
    ramp[:, 3, 4:8] = low - 0.06 * (high - low)
    ramp[:, 9, 4:8] = high + 0.06 * (high - low)
    return ramp


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (overshot(0, 1), "float values from -0.06 to 1.06 read as 0 to 1; what lies outside"),
        (overshot(-1, 1), "read as -1 to 1; what lies outside is clipped"),
        (overshot(0, 255), "read as 0 to 255; what lies outside is clipped"),
        (overshot(0, 1).astype(np.float16), "read as 0 to 1; what lies outside is clipped"),
        (RAMP * 1.0000001, "read as 0 to 1; what lies outside"),
        (RAMP - 1e-9, "read as 0 to 1; what lies outside"),
        (RAMP, "read as 0 to 1"),
        (2 * RAMP - 1, "float values from -1 to 1 read as -1 to 1"),
        (np.rint(4095 * RAMP).astype(np.uint16), "integers up to 4095 read as 12 bits, 0 to 4095"),
        (np.rint(1000 * RAMP).astype(np.int64), "integers up to 1000 read as 10 bits, 0 to 1023"),
        (np.rint(65535 * RAMP).astype(np.int32), "read as 16 bits, 0 to 65535"),
        (np.rint(255 * RAMP).astype(np.uint8), "darkest level 0, lightest 255"),
        (np.rint(255 * RAMP).astype(">i4"), "integers up to 255 read as 8 bits, 0 to 255"),
    ],
)
def test_values_are_read_as_meant(values, said):
    data = load(values)
    assert said in str(data.report)
    expected = np.rint(255 * RAMP)
    plain = np.ones_like(RAMP, bool)
    plain[:, (3, 9), 4:8] = False
    assert np.abs(data.images[..., 0].astype(float) - expected)[plain].max() <= 6
    assert (data.images.min(), data.images.max() >= 249) == (0, True)


@pytest.mark.parametrize("how", ["BICUBIC", "LANCZOS"])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255)])
def test_drawings_scaled_with_overshoot(how, low, high):
    """Strokes of full contrast, the worst case: half the range beyond, and not turned grey."""
    strokes = load("strokes", n=20).images[..., 0] > 127
    values = np.stack(
        [
            Image.fromarray(np.where(image, high, low).astype(np.float32)).resize(
                (40, 40), Image.Resampling[how]
            )
            for image in strokes
        ]
    )
    assert values.min() < low - 0.1 * (high - low)
    data = load(values)
    assert f"read as {low} to {high}; what lies outside is clipped" in str(data.report)
    assert np.median(data.images) == 0


def test_masked_values_are_refused():
    with pytest.raises(DataError, match="masked; fill them"):
        load(np.ma.masked_greater(RAMP, 0.9))


def test_black_and_white_of_zeros_and_ones():
    for dtype in (np.uint8, np.int64, bool, np.float32):
        data = load((SMALL > 127).astype(dtype))
        assert set(np.unique(data.images)) == {0, 255}


@pytest.mark.parametrize(
    ("values", "cure"),
    [
        (RAMP * 16, "--value-range 0,16"),
        (RAMP * 3.3 - 0.42, "--value-range -0.42,2.88"),
        (RAMP * 255 - 128, "--value-range -128,127"),
        (RAMP * 4095, "--value-range 0,4095"),
        (RAMP * 0.6 - 0.3, "--value-range -0.3,0.3"),
        (np.rint(RAMP * 255).astype(np.int16) - 128, "--value-range -128,127"),
        (np.rint(RAMP * 300).astype(np.int16), "--value-range 0,300"),
        (np.rint(RAMP * 1e5).astype(np.int64), "--value-range 0,100000"),
    ],
)
def test_values_of_unknown_meaning_are_refused_with_the_cure(values, cure):
    with pytest.raises(DataError, match=cure):
        load(values)
    low, high = map(float, cure.split()[1].split(","))
    data = load(values, value_range=(low, high))
    assert (data.images.min(), data.images.max()) == (0, 255)


def test_dark_and_blank_images_are_told():
    assert "every pixel has the level 0" in str(load(np.zeros((3, 4, 4))).report)
    assert "nearly black" in str(load(SMALL // 32).report)
    assert "nearly white" in str(load(255 - SMALL // 32).report)
    some = SMALL.copy()
    some[7:9] = 5
    assert "2 of 40 images are blank" in str(load(some).report)


def test_splits_of_a_file_share_their_range(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=overshot(-1, 1), x_test=np.zeros((2, 25, 40)))
    data = load(tmp_path / "a.npz")
    assert set(np.unique(data.test.images)) == {128}
    np.savez(tmp_path / "a.npz", x_train=SMALL, val_images=SMALL, x_val=SMALL)
    assert load(tmp_path / "a.npz").report.left_out == {"other": ["val_images", "x_val"]}


@pytest.mark.parametrize(("top", "bits"), [(4000, 12), (1000, 10), (60000, 16), (200, 8)])
@pytest.mark.parametrize("size", [None, 6])
def test_files_of_sixteen_bits_share_their_depth(tmp_path, top, bits, size):
    for k in range(3):
        counts = np.full((6, 6), top // (k + 1), np.uint16)
        Image.fromarray(counts).save(tmp_path / f"{k}.png")
    data = load(tmp_path, size=size)
    assert f"read as {bits} bits" in str(data.report)
    expected = [round(top // (k + 1) * 255 / (2**bits - 1)) for k in range(3)]
    assert data.images[:, 0, 0, 0].tolist() == expected
    Image.fromarray(SMALL[0]).save(tmp_path / "eight.png")
    np.testing.assert_array_equal(load(tmp_path).images[3, ..., 0], SMALL[0])


def test_files_of_floats(tmp_path):
    for k in range(3):
        Image.fromarray(RAMP[k].astype(np.float32)).save(tmp_path / f"{k}.tif")
    data = load(tmp_path)
    np.testing.assert_array_equal(data.images[..., 0], np.rint(255 * RAMP.astype(np.float32)))
    assert "read as 0 to 1" in str(data.report)


# ---- transparency -----------------------------------------------------------------------------


def drawing(level, mode="RGBA"):
    image = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    image.paste((level, level, level, 255), (1, 1, 4, 4))
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize(
    ("inks", "paper", "papers"),
    [
        ((255, 255), None, (0, 0)),
        ((255, 230), None, (0, 0)),
        ((0, 30), None, (255, 255)),
        ((0, 120), None, (255, 255)),
        ((0, 255), None, (255, 0)),
        ((255, 255), "white", (255, 255)),
        ((0, 30), "black", (0, 0)),
    ],
)
def test_paper_on_which_drawings_show(tmp_path, mode, inks, paper, papers):
    for k, ink in enumerate(inks):
        drawing(ink, mode).save(tmp_path / f"{k}.png")
    data = load(tmp_path, paper=paper)
    assert data.images[:, 0, 0, 0].tolist() == list(papers)
    assert data.images[:, 2, 2, 0].tolist() == list(inks)
    assert "transparency: 2 images lie on " in str(data.report)
    assert load(data.source, **data.options).fingerprint == data.fingerprint


def test_paper_of_other_files(tmp_path):
    drawing(255).save(tmp_path / "a.webp", lossless=True)
    drawing(255).convert("P").save(tmp_path / "b.gif", transparency=0)
    Image.new("RGBA", (6, 6)).save(tmp_path / "c.png")
    Image.new("RGBA", (6, 6), (9, 9, 9, 255)).save(tmp_path / "d.png")
    data = load(tmp_path)
    assert data.images[0, 0, 0].tolist() == [0, 0, 0]
    assert data.images[3, 0, 0].tolist() == [9, 9, 9]
    assert "1 images are transparent throughout" in str(data.report)
    with pytest.raises(DataError, match="paper='blue', expected 'white' or 'black'"):
        load(tmp_path, paper="blue")


# ---- splits and folders -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training", "testing"),
        ("Train", "Test"),
        ("TRAIN", "val"),
        ("train", "Validation"),
        ("seg_train", "seg_test"),
        ("Training Data", "Test Data"),
        ("train-images", "val-images"),
    ],
)
@pytest.mark.parametrize("above", ["", "archive", "archive/data"])
def test_splits_by_their_names(tmp_path, train, test, above):
    folders(tmp_path / above / train, "cat", "dog", count=3)
    folders(tmp_path / above / test, "cat", "dog")
    data = load(tmp_path)
    assert data.classes == data.test.classes == ("cat", "dog")
    assert (len(data), len(data.test)) == (6, 4)
    assert f"split: {train} to train on, {test} held out" in str(data.report)


def test_train_alone_and_test_alone(tmp_path):
    data = load(folders(tmp_path / "a", "train/cat", "train/dog"))
    assert data.classes == ("cat", "dog")
    assert "images read from train" in str(data.report)
    assert "no test folder beside" in str(data.report)
    data = load(folders(tmp_path / "b", "Test/cat", "Test/dog"))
    assert data.classes == ("cat", "dog")
    assert "no train folder" in str(data.report)
    with pytest.raises(DataError, match="the folders test, val, and no train"):
        load(folders(tmp_path / "c", "test/cat", "val/cat"))
    with pytest.raises(DataError, match="both Training and train"):
        load(folders(tmp_path / "d", "train/cat", "Training/cat", "test/cat"))


def test_a_folder_too_high_or_too_deep(tmp_path):
    root = folders(tmp_path, "photos/cat", "photos/dog")
    assert load(root).classes == ("cat", "dog")
    assert "read from photos, the only folder" in str(load(root).report)
    folders(tmp_path / "kaggle", "train/train", "test/test", count=3)
    data = load(tmp_path / "kaggle")
    assert (data.classes, len(data), len(data.test)) == (None, 3, 3)
    folders(tmp_path / "split", "train/cat", "train/dog", "test/cat", "test/dog")
    deep = str(load(tmp_path / "split" / "train").report)
    assert f"test lies beside train and is not read; give {tmp_path / 'split'} for both" in deep
    deep = str(load(tmp_path / "split" / "train" / "cat").report)
    assert f"the images of cat alone; give {tmp_path / 'split'} for all classes" in deep
    assert load(folders(tmp_path / "plain", "images")).classes is None
    years = folders(tmp_path / "years", "2019/cat", "2020/cat")
    assert "folders below a class are part of it: 2019/cat, 2020/cat" in str(load(years).report)
    with pytest.raises(DataError, match=r"cat holds test, train: a split within a class"):
        load(folders(tmp_path / "within", "cat/train", "cat/test", "dog/train", "dog/test"))


def test_what_lies_beside_the_splits_is_told(tmp_path):
    folders(tmp_path, "train/cat", "test/cat", "val/cat", "extra")
    write_png(tmp_path / "cover.png")
    report = load(tmp_path).report
    assert report.left_out == {
        "beside train": ["extra, 2 images", "val, 2 images", "cover.png"],
    }
    flat = load(folders(tmp_path / "flat", "train/cat", "train/dog", "test"))
    assert (flat.classes, flat.test.labels) == (("cat", "dog"), None)
    assert "the test images lie in no class folders" in str(flat.report)
    fewer = load(folders(tmp_path / "fewer", "train/a", "train/b", "test/b"))
    assert fewer.test.labels.tolist() == [1, 1]
    assert "no held-out images of a" in str(fewer.report)
    tools = load(folders(tmp_path / "tools", "train station", "test tube"))
    assert tools.classes == ("test tube", "train station")
    vehicles = load(folders(tmp_path / "vehicles", "car", "train", "plane"))
    assert vehicles.classes == ("car", "plane", "train")
    assert "the folder 'train' counts as a class, beside car, plane" in str(vehicles.report)


def test_links_are_followed_no_further_than_they_end(tmp_path):
    folders(tmp_path, "real/cat")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "real" / "cat")
    folders(tmp_path / "data", "dog")
    (tmp_path / "data" / "dog" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "dog" / "gone.png").symlink_to(tmp_path / "nowhere")
    data = load(tmp_path / "data")
    assert (data.classes, len(data)) == (("cat", "dog"), 4)
    assert data.report.left_out == {"linked folder": ["dog/loop"], "broken link": ["dog/gone.png"]}


# ---- files left out, broken, foreign ----------------------------------------------------------


def test_files_are_read_or_named(tmp_path):
    for name, kind in (
        ("a.jfif", "JPEG"), ("b.pgm", "PPM"), ("c.ppm", "PPM"), ("d.jpe", "JPEG"), ("e.pbm", "PPM"),
        ("f.dib", "BMP"), ("g.apng", "PNG"), ("h.PNM", "PPM"), ("i.JPG", "PNG"),
    ):  # fmt: skip
        image = Image.fromarray(SMALL[0]).convert("1" if name == "e.pbm" else "L")
        image.save(tmp_path / name, kind)
    for name in ("notes.txt", "labels.csv", ".hidden", "README", "x.txt", "y.txt", "z.txt"):
        (tmp_path / name).write_text("text")
    os.mkfifo(tmp_path / "pipe.png")
    data = load(tmp_path)
    assert len(data) == 9
    assert data.report.left_out.keys() == {
        ".txt",
        ".csv",
        "hidden",
        "without ending",
        "pipe or device",
    }
    assert "4 .txt (notes.txt, x.txt, y.txt and 1 more)" in str(data.report)
    (tmp_path / "b.heic").write_bytes(b"what phones write")
    (tmp_path / "c.avif").write_bytes(b"what phones write")
    with pytest.raises(DataError, match=r"b.heic: .*--skip-broken.*\(and c.avif\)"):
        load(tmp_path)
    assert load(tmp_path, skip_broken=True).report.left_out[".heic"] == ["b.heic"]


BROKEN = {
    "half": lambda blob: blob[: len(blob) // 2],
    "an HTML page": lambda blob: b"<!DOCTYPE html>\n<html>",
    "empty": lambda blob: b"",
    "a Git LFS pointer": lambda blob: b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
    "a PostScript document": lambda blob: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "a ZIP archive": lambda blob: b"PK\x03\x04" + blob,
    "text that begins 'hello'": lambda blob: b"hello",
}


def test_all_broken_files_are_listed_at_once(tmp_path):
    folders(tmp_path, "a", "b", count=12)
    blob = (tmp_path / "a" / "0.png").read_bytes()
    for k, damage in enumerate(BROKEN.values()):
        (tmp_path / "ab"[k % 2] / f"{k}.png").write_bytes(damage(blob))
    with pytest.raises(DataError, match=rf"{len(BROKEN)} of 24 files cannot be read") as caught:
        load(tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(BROKEN) + 2
    for kind in list(BROKEN)[1:]:
        assert sum(f"it is {kind}" in line for line in lines) == 1
    data = load(tmp_path, skip_broken=True)
    assert len(data) + len(data.test) == 24 - len(BROKEN)
    assert f"{len(BROKEN)} broken (a/0.png, a/2.png, a/4.png and 4 more)" in str(data.report)
    again = load(data.source, **data.options)
    assert again.fingerprint == data.fingerprint
    for path in (tmp_path / "b").iterdir():
        path.write_bytes(b"")
    for path in folders(tmp_path / "many", "c", count=30).glob("c/*"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"30 of 30 files(?s:.)*and 10 more"):
        load(tmp_path / "many")


def test_broken_files_keep_labels_and_splits_in_step(tmp_path):
    for split, count in (("train", 4), ("test", 3)):
        for k, name in enumerate(("a", "b")):
            for i in range(count):
                write_png(tmp_path / split / name / f"{i}.png", np.full((4, 4), 9 * k, np.uint8))
    for path in ("train/a/1.png", "train/b/3.png", "test/a/0.png"):
        (tmp_path / path).write_bytes(b"")
    data = load(tmp_path, skip_broken=True)
    for part in (data, data.test):
        assert (part.labels * 9 == part.images[:, 0, 0, 0]).all()
    assert (len(data), len(data.test)) == (6, 5)


def test_what_looks_otherwise_than_it_is_is_told(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((6, 9), np.uint8))
    write_png(tmp_path / "b.png", np.zeros((6, 6), np.uint8))
    assert "1 images are stretched to 4 x 4" in str(load(tmp_path, size=4).report)
    assert "3 grey images of 6 x 6" in str(load(SMALL[:3]).report)
    assert "6 grey images of 5 x 3" in str(load(np.zeros((6, 5, 3))).report)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match="the folder of a training"):
        load(tmp_path)


def test_frames_and_warnings_of_pillow(tmp_path):
    frames = [Image.fromarray(SMALL[k]) for k in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    write_png(tmp_path / "b.png")
    assert "1 files have several frames; the first of each is read" in str(load(tmp_path).report)


# ---- names ------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are UTF-8 there")
def test_names_that_are_not_utf8_and_control_characters(tmp_path):
    for name in (b"caf\xe9", b"red\x1b[31m", b"new\nline"):
        folder = os.fsencode(tmp_path) + b"/" + name
        os.mkdir(folder)
        for k in range(6):
            with open(folder + b"/%d\xff.png" % k, "wb") as file:
                Image.fromarray(SMALL[k]).save(file, "PNG")
    data = load(tmp_path)
    assert data.classes == ("caf\\xe9", "new\\x0aline", "red\\x1b[31m")
    assert (repr(data) + str(data.report)).replace("\n", "").isprintable()
    bare = load(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    assert bare.name == "caf\\xe9"
    bare.describe()["source"].encode()
    assert load(bare.describe()["source"]).fingerprint == bare.fingerprint
    os.truncate(os.fsencode(tmp_path) + b"/red\x1b[31m/0\xff.png", 9)
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert str(caught.value).isprintable()
    str(caught.value).encode()


def test_printable():
    assert files.printable("Bilder mit Ümlaut 猫 👨\u200d👩") == "Bilder mit Ümlaut 猫 👨\u200d👩"
    assert files.printable("a\x1b]0;x\x07\x9b\u202e\ud800") == (
        "a\\x1b]0;x\\x07\\x9b\\u202e\\ud800"
    )
    assert str(DataError("two", "lines\n\r")) == "two\nlines\\x0a\\x0d"


# ---- IDX --------------------------------------------------------------------------------------


def test_images_come_before_idx_files_below_them(tmp_path):
    folders(tmp_path, "cat", "dog")
    write_idx(tmp_path / "raw" / "train-images-idx3-ubyte", SMALL)
    data = load(tmp_path)
    assert data.classes == ("cat", "dog")
    assert data.report.left_out["without ending"] == ["raw/train-images-idx3-ubyte"]


def test_idx_files_in_the_folders_below(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    write_idx(raw / "train-images-idx3-ubyte", SMALL)
    write_idx(raw / "train-images-idx3-ubyte.gz", SMALL, True)
    write_idx(raw / "train-labels-idx1-ubyte", np.arange(40) % 10)
    (raw / "notes.txt").write_text("")
    for path in (tmp_path, tmp_path / "MNIST", raw, raw / "train-images-idx3-ubyte"):
        data = load(path)
        assert data.classes == tuple("0123456789")
        assert data.report.left_out == {"other": ["notes.txt"]}
    assert "IDX files read from MNIST/raw" in str(load(tmp_path).report)
    write_idx(tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte", SMALL)
    with pytest.raises(DataError, match=r"several sets of IDX files \(FashionMNIST/raw/train"):
        load(tmp_path)


@pytest.mark.parametrize("compress", [True, False])
def test_emnist_is_read_upright_with_its_letters(tmp_path, compress):
    gz = ".gz" * compress
    images = np.arange(40 * 6 * 5).reshape(40, 6, 5) % 251
    turned = images.transpose(0, 2, 1)
    for split, part in (("train", slice(30)), ("test", slice(30, 40))):
        write_idx(
            tmp_path / f"emnist-letters-{split}-images-idx3-ubyte{gz}", turned[part], compress
        )
        labels = (np.arange(40) % 26 + 1)[part]
        write_idx(tmp_path / f"emnist-letters-{split}-labels-idx1-ubyte{gz}", labels, compress)
    data = load(tmp_path)
    np.testing.assert_array_equal(data.images[..., 0], images[:30])
    np.testing.assert_array_equal(data.test.images[..., 0], images[30:])
    assert data.classes == tuple(str(k) for k in range(1, 27))
    assert "images turned upright" in str(data.report)
    mapping = "".join(f"{k + 1} {65 + k} {97 + k}\n" for k in range(26))
    (tmp_path / "emnist-letters-mapping.txt").write_text(mapping)
    assert "".join(load(tmp_path).classes) == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    write_idx(tmp_path / "emnist-digits-train-images-idx3-ubyte", turned)
    with pytest.raises(DataError, match=r"several sets of IDX files.*give the path"):
        load(tmp_path)
    one = load(tmp_path / f"emnist-letters-train-images-idx3-ubyte{gz}")
    assert one.classes[0] == "A"
    for wrong in ("1 65\n2\n", "a b", "5000 65", "1 99999999999"):
        (tmp_path / "emnist-letters-mapping.txt").write_text(wrong)
        with pytest.raises(DataError, match=r"mapping\.txt: "):
            load(tmp_path / f"emnist-letters-train-images-idx3-ubyte{gz}")


# ---- what must not be unpacked, opened or run -------------------------------------------------


def header(shape, descr="|u1"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


def test_bombs_are_refused_by_what_they_declare(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", header((100, 1000, 1000)) + bytes(10**8))
    with pytest.raises(DataError, match=r"unpack to 100\.0 MB; no images compress so well"):
        load(tmp_path / "bomb.npz")
    with zipfile.ZipFile(tmp_path / "lies.npz", "w") as archive:
        archive.writestr("x_train.npy", header((10**6, 10**4, 10**4)) + bytes(10))
    (tmp_path / "lies.npy").write_bytes(header((10**6, 10**4, 10**4)) + bytes(10))
    for name in ("lies.npz", "lies.npy"):
        with pytest.raises(DataError, match="asks for 100,000,000,000,000 bytes, and 10 follow"):
            load(tmp_path / name)
    head = b"\0\0\x08\x03" + struct.pack(">III", 60000, 50000, 5000)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + bytes(1000)))
    with pytest.raises(DataError, match=r"15\.0 TB of data, but this machine has room for"):
        load(tmp_path)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("side", [12_000, 50_000])
def test_images_of_too_many_pixels(tmp_path, side):
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(DataError, match=r"million (pixels|are read)"):
        load(tmp_path, size=8)


def test_images_that_do_not_fit_in_memory(tmp_path, monkeypatch):
    folders(tmp_path, "a", count=4)
    monkeypatch.setattr(files, "SMALL", 0)
    monkeypatch.setattr(files, "_memory", lambda: 150)
    with pytest.raises(
        DataError, match=r"4 images of 6 x 6 pixels: 144 bytes.*room for 112.*--size"
    ):
        load(tmp_path)
    monkeypatch.undo()

    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("tinygen.data.source._finish", full)
    with pytest.raises(DataError, match="do not fit in memory; give a smaller size"):
        load(tmp_path)


def test_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    os.mkfifo(tmp_path / "a.npy")
    os.mkfifo(tmp_path / "train-images-idx3-ubyte")
    for path in (tmp_path / "a.npz", tmp_path / "a.npy", "/dev/zero"):
        with pytest.raises(DataError, match="not a plain file"):
            load(path)
    with pytest.raises(DataError, match="no images found"):
        load(tmp_path)
    (tmp_path / "b.npz").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="not a plain file"):
        load(tmp_path / "b.npz")


def test_no_program_is_started_for_an_image(tmp_path, monkeypatch):
    """PostScript goes to Ghostscript if Pillow may choose the kind by the content."""
    monkeypatch.setattr("subprocess.Popen", lambda *args, **kwargs: pytest.fail("a program"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    for name in ("a.png", "b.jpg", "c.tif"):
        (tmp_path / name).write_bytes(eps)
    with pytest.raises(DataError, match=r"3 of 3 files .*(?s:.)*PostScript document"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"<!DOCTYPE html>\n<html>404", "it is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (b"", "it is empty"),
        (b"\x80\x04\x95hello", "it is a Python pickle"),
        (b"x,y\n1,2\n", "it is text that begins 'x,y'"),
        (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file"),
        (b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16, r"cannot be read|rename it to \.npy"),
    ],
)
def test_files_that_are_something_else(tmp_path, name, blob, message):
    (tmp_path / name).write_bytes(blob)
    with pytest.raises(DataError, match=message):
        load(tmp_path / name)


def test_mutated_files_are_read_or_refused(tmp_path):
    """Flipped, cut and inserted bytes give a DataError in a sentence, or images."""
    rng = np.random.default_rng(1)
    np.save(tmp_path / "a.npy", SMALL)
    np.savez_compressed(tmp_path / "a.npz", x_train=SMALL, y_train=np.arange(40) % 3)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", SMALL, True)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(40) % 3)
    for kind in ("png", "jpg", "gif", "tif", "webp", "bmp", "ppm"):
        (tmp_path / kind).mkdir()
        Image.fromarray(SMALL[0]).convert("RGB").save(tmp_path / kind / f"a.{kind}")
    targets = [tmp_path / "a.npy", tmp_path / "a.npz", tmp_path / "train-images-idx3-ubyte.gz",
               tmp_path / "train-labels-idx1-ubyte",
               *(p for p in tmp_path.glob("*/a.*"))]  # fmt: skip
    for path in targets:
        whole = path.read_bytes()
        source = path if path.suffix in (".npy", ".npz") else path.parent
        for _ in range(30):
            blob = bytearray(whole)
            for _ in range(rng.integers(1, 4)):
                at = int(rng.integers(min(len(blob), 200 if rng.random() < 0.7 else len(blob))))
                match rng.integers(3):
                    case 0:
                        blob[at] ^= 1 << int(rng.integers(8))
                    case 1:
                        del blob[at : at + int(rng.integers(1, 50))]
                    case _:
                        blob[at:at] = rng.bytes(int(rng.integers(1, 9)))
                if not blob:
                    break
            path.write_bytes(bytes(blob))
            with contextlib.suppress(DataError):
                load(source)
        path.write_bytes(whole)


# ---- the command line -------------------------------------------------------------------------


def test_the_command_line_says_what_it_read(tinygen, tmp_path):
    folders(tmp_path / "photos", "1", "2", "10", count=4)
    (tmp_path / "photos" / "1" / "notes.txt").write_text("")
    (tmp_path / "photos" / "2" / "bad.png").write_bytes(b"")
    words = ("train", "cvae", "--data", "photos", "--epochs", 1, "--hidden", 8, "--no-compile")
    code, _, err = tinygen(*words)
    assert (code, "bad.png: cannot be read as an image (it is empty)" in err) == (2, True)
    code, out, err = tinygen(*words, "--skip-broken")
    assert code == 0, err
    assert "images by class: 1: " in out
    assert "left out: 1 .txt (1/notes.txt); 1 broken (2/bad.png)" in out
    code, _, err = tinygen("sample", "runs/cvae-photos", "--label", 10, "--n", 1, "--out", "a.png")
    assert code == 0, err
    code, _, err = tinygen("sample", "runs/cvae-photos", "--label", 0, "--out", "a.png")
    assert (code, "label '0', expected one of 1, 2, 10" in err) == (2, True)
    assert "classes   1, 2, 10" in tinygen("info", "runs/cvae-photos")[1]
    again = tinygen("train", "cvae", "--resume", "--epochs", 2, "--data", "photos")
    assert again[0] == 0, again


def test_one_image_and_one_class_are_told(tinygen, tmp_path):
    write_png(tmp_path / "one" / "a.png", np.zeros((32, 32), np.uint8))
    code, _, err = tinygen("train", "dcgan", "--data", "one", "--width", 0.1)
    assert code == 2
    assert "dcgan normalises over the images of a batch" in err
    assert not (tmp_path / "runs").exists()
    folders(tmp_path / "cats", "cat")
    code, _, err = tinygen("train", "cgan", "--data", "cats")
    assert (code, "'cats' has only one: 'cat'" in err) == (2, True)


def test_value_range_and_paper_by_option(tinygen, tmp_path):
    np.save(tmp_path / "digits.npy", RAMP * 16)
    words = ("train", "vae", "--data", "digits.npy", "--epochs", 1, "--hidden", 8, "--no-compile")
    assert "--value-range 0,16" in tinygen(*words)[2]
    code, out, err = tinygen(*words, "--value-range", "0,16")
    assert code == 0, err
    assert "darkest level 0, lightest 255" in out
    assert "expected LOW,HIGH" in tinygen(*words, "--value-range", "16")[2]
    (tmp_path / "drawn").mkdir()
    for k in range(2):
        drawing(255).save(tmp_path / "drawn" / f"{k}.png")
    code, out, err = tinygen(
        "train", "vae", "--data", "drawn", "--epochs", 1, "--paper", "white", "--no-compile"
    )
    assert (code, "images are blank" in out) == (0, True), err


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="names are UTF-8 there")
def test_training_on_a_folder_whose_name_is_not_utf8(tinygen, tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(path)
    for k in range(4):
        with open(path + b"/%d.png" % k, "wb") as file:
            Image.fromarray(SMALL[k]).save(file, "PNG")
    words = ("train", "vae", "--hidden", 8, "--no-compile")
    code, out, err = tinygen(*words, "--data", os.fsdecode(path), "--epochs", 1)
    assert code == 0, err
    assert "Dataset(caf\\xe9: 4 images" in out
    code, _, err = tinygen("train", "vae", "--resume", "--epochs", 2, "--no-compile")
    assert code == 0, err
    code, _, err = tinygen("evaluate", "runs/vae-caf-xe9", "--n", 0, "--nll-images", 0)
    assert code == 0, err


@pytest.mark.parametrize(
    ("known", "classes", "expected"),
    [
        (["dark", "night"], ("night", "dark"), [1, 0]),
        (["day", "night"], ("0", "1"), [0, 1]),
        (["0", "1"], ("a", "b"), [0, 1]),
        (["1", "2", "10"], ("10", "2"), [2, 1]),
        (["zero", "one", "two"], ("0", "2"), [0, 2]),
        (["0", "1"], ("zero", "one"), [0, 1]),
        (["1", "2"], ("0", "1"), "not 0"),
        (["cat", "7"], ("0", "7"), "not 0"),
        (["0", "1", "2"], ("Zero", "one"), [0, 1]),
        (["0", "1", "2"], ("one", "two", "zero"), [1, 2]),
        (["four", "one", "two"], ("1", "2"), [1, 2]),
        (["four", "one", "two"], ("0", "1"), "not 0"),
        (["0", "1", "2"], ("a", "b"), "not a, b"),
    ],
)
def test_labels_of_other_data_are_matched_by_name(known, classes, expected):
    from tinygen import models, train
    from tinygen.random import Generator

    model = models.find("cvae")((6, 6, 1), classes=len(known), hidden=(8,), rng=Generator(0))
    run = train.Run(model, data={"classes": known})
    other = Dataset("other", SMALL[:2, ..., None], np.array([0, 1]), classes)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            run._by_class(other)
    else:
        read = run._by_class(other)
        assert read.labels.tolist() == expected
        assert read.classes == tuple(known)
        by_place = {"day", "a"} & {*known, *classes}
        assert ("classes go by their places" in str(read.report)) == bool(by_place)


def test_a_run_draws_the_class_of_a_number_or_name():
    from tinygen import models, train
    from tinygen.random import Generator

    data = load(SMALL, labels=np.arange(40) % 3 + 1)
    model = models.find("cvae")(data.shape, classes=3, hidden=(8,), rng=Generator(0))
    run = train.fit(model, data, epochs=1, progress=False)
    first = run.sample(3, labels=1)
    np.testing.assert_array_equal(first, run.sample(3, labels="1"))
    np.testing.assert_array_equal(first[2:], run.sample(3, labels=[3, 2, 1])[2:])
    assert not np.array_equal(first, run.sample(3, labels=2))
    with pytest.raises(ValueError, match="label '0', expected one of 1, 2, 3"):
        run.sample(3, labels=0)
    assert len(run.interpolate(2, 2)) == len(run.traverse(2, 2)) == 4
