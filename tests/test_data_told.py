"""What files, folders and arrays say of themselves is heeded, and what is strange is told."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinygen.data import DataError, load

RNG = np.random.default_rng(0)
UNIT = RNG.uniform(0.0, 1.0, (12, 6, 8))
UNIT[:, 0, 0], UNIT[:, 0, 1] = 0.0, 1.0
BYTES = np.rint(UNIT * 255).astype(np.uint8)


def write(path, values, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **how)


def folder(root, **counts):
    """Folders of so many images each, none like another."""
    for name, count in counts.items():
        for k in range(count):
            write(root / name / f"{k}.png", RNG.integers(0, 256, (6, 8)).astype(np.uint8))
    return root


def read(source, **how):
    """All images (N, H, W) that are read, and what is said of them."""
    data = load(source, **how)
    parts = [data] if data.test is None else [data, data.test]
    return np.concatenate([part.images for part in parts])[..., 0], str(data.report)


# ---- what files declare -----------------------------------------------------------------------


def tiff(values, kind, white_is_zero):
    """A TIFF file of numbers that Pillow does not write so.  kind: 1 unsigned, 2 signed, 3 float"""
    height, width = values.shape
    data = values.tobytes()
    tags = [
        (256, width), (257, height), (258, values.dtype.itemsize * 8), (259, 1),
        (262, 0 if white_is_zero else 1), (273, 8), (277, 1), (278, height), (279, len(data)),
        (339, kind),
    ]  # fmt: skip
    head = struct.pack("<H", len(tags))
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + head + rows + bytes(4)


@pytest.mark.parametrize(
    ("dtype", "kind", "most"),
    [("u1", 1, 255), ("<u2", 1, 65535), ("<f4", 3, 1), ("<u2", 1, 4095)],
)
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_tiff_files_in_which_zero_is_white(tmp_path, dtype, kind, most, white_is_zero):
    values = UNIT * most if kind == 3 else np.rint(UNIT * most)
    for k, image in enumerate(values[:3]):
        (tmp_path / f"{k}.tif").write_bytes(tiff(image.astype(dtype), kind, white_is_zero))
    images, said = read(tmp_path)
    expected = 1 - UNIT[:3] if white_is_zero else UNIT[:3]
    assert np.abs(images - expected * 255).max() <= 1
    assert ("0 is white" in said) == (white_is_zero and dtype != "u1")


def test_numbers_of_sixteen_bits_with_a_sign_and_of_32_without(tmp_path):
    signed = np.rint(UNIT * 32767).astype("<i2")
    assert "read as 15 bits" in read(signed)[1]
    for k in range(3):
        (tmp_path / f"{k}.tif").write_bytes(tiff(signed[k], 2, False))
    images, said = read(tmp_path)
    assert np.abs(images - UNIT[:3] * 255).max() <= 1
    assert "read as 15 bits" in said
    for k in range(3):
        values = np.rint(UNIT[k] * 4e9).astype("<u4")
        (tmp_path / f"{k}.tif").write_bytes(tiff(values, 1, False))
    with pytest.raises(DataError, match=r"values from 0 to 4e\+09"):
        load(tmp_path)
    images, _ = read(tmp_path, value_range=(0, 4e9))
    assert np.abs(images - UNIT[:3] * 255).max() <= 1


@pytest.mark.parametrize("most", [300, 1000, 4095, 10000])
def test_pgm_files_say_what_is_white(tmp_path, most):
    dark = np.rint(UNIT * most / 5)
    for k in range(3):
        head = b"P5\n8 6\n%d\n" % most
        (tmp_path / f"{k}.pgm").write_bytes(head + dark[k].astype(">u2").tobytes())
    images, said = read(tmp_path)
    assert np.abs(images - dark[:3] / most * 255).max() <= 1
    assert f"read as 0 to {most}, as they say" in said
    images, _ = read(tmp_path, value_range=(0, dark.max()))
    assert np.abs(images - dark[:3] / dark.max() * 255).max() <= 1


def grey16(values, clear):
    """A PNG file of 16 bits in which one level is transparent."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    height, width = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"tRNS", struct.pack(">H", clear))
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize(("clear", "paper"), [(0, None), (0, "black"), (65535, "white")])
def test_transparent_levels_of_sixteen_bits(tmp_path, clear, paper):
    values = np.rint(UNIT[0] * 40000).astype(np.uint16)
    values[3:] = clear
    (tmp_path / "a.png").write_bytes(grey16(values, clear))
    images, said = read(tmp_path, paper=paper)
    assert "transparency: 1 images" in said
    assert (images[0, 3:] == (0 if paper == "black" else 255)).all()
    assert np.abs(images[0, 1:3] - values[1:3] / 256).max() <= 1


@pytest.mark.parametrize("top", [600, 4095, 30000])
def test_the_depth_of_files_is_found_before_they_are_scaled(tmp_path, top):
    lines = np.zeros((3, 64, 64), np.uint16)  # so thin that scaling darkens them
    lines[:, 20, 5:60] = top
    for k, values in enumerate(lines):
        write(tmp_path / f"{k}.png", values)
    full, said = read(tmp_path)
    small, same = read(tmp_path, size=8)
    assert said.splitlines()[1] in same
    assert abs(float(small.mean()) - float(full.mean())) < 1
    low = {600: 500, 4095: 4000, 30000: 20000}[top]
    with pytest.raises(DataError, match="outside value_range"):
        load(tmp_path, size=8, value_range=(0, low // 4))


def test_files_with_values_that_are_not_finite_are_named_and_left_out(tmp_path):
    for k in range(12):
        values = UNIT[k].astype(np.float32)
        if k in (3, 5):
            values[2, :2] = np.nan, np.inf
        write(tmp_path / f"{k}.tif", values)
    with pytest.raises(DataError, match=r"3\.tif.*2 of its values are not finite") as caught:
        load(tmp_path)
    assert "5.tif" in str(caught.value)
    assert len(read(tmp_path, skip_broken=True)[0]) == 10


def test_colours_that_are_not_of_the_screen_are_told(tmp_path):
    from PIL import ImageCms

    colour = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    screen = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = screen.replace("sRGB".encode("utf-16-be"), "Wide".encode("utf-16-be"))
    other = other.replace(b"sRGB", b"Wide")
    write(tmp_path / "screen.png", colour, icc_profile=screen)
    write(tmp_path / "plain.jpg", colour)
    assert "colours by" not in read(tmp_path)[1]
    write(tmp_path / "other.png", colour, icc_profile=other)
    Image.fromarray(colour).convert("CMYK").save(tmp_path / "print.jpg")
    said = read(tmp_path)[1]
    assert "1 files have colours by a profile of their own, read as colours of the screen" in said
    assert "1 files have colours by inks (CMYK), read" in said


def test_tiff_files_of_values_that_are_not_read_are_no_broken_files(tmp_path):
    blob = tiff(np.rint(UNIT[0] * 9).astype("<u4"), 1, False)
    bits = (struct.pack("<HHII", 258, 4, 1, n) for n in (32, 24))
    (tmp_path / "a.tif").write_bytes(blob.replace(*bits))
    with pytest.raises(DataError, match="a TIFF image of values that are not read"):
        load(tmp_path)


# ---- levels -----------------------------------------------------------------------------------


def test_arrays_whose_images_have_different_ranges_are_told():
    values = np.concatenate([UNIT[:9], UNIT[9:] * 255])
    assert "9 of 12 images are black beside the others" in read(values)[1]
    assert "2 of 12 images are black beside" in read(
        np.concatenate([UNIT[:2], UNIT[2:] * 65535]).astype(np.uint16))[1]  # fmt: skip
    assert "black beside" not in read(UNIT * 255)[1]
    blank = UNIT * 255
    blank[3] = 0
    assert "black beside" not in read(blank)[1]


# ---- folders ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("entrenamiento", "prueba"), ("Training", "Prüfung"), ("Entraînement", "validation"),
        ("conjunto de treino", "conjunto de teste"), ("обучение", "тест"), ("训练集", "测试集"),
        ("学習データ", "テストデータ"), ("학습", "평가"), ("Trainingsdaten", "Testdaten"),
        ("EĞITIM", "Test"), ("learn", "val"),
    ],
)  # fmt: skip
def test_splits_in_other_languages(tmp_path, train, test):
    data = load(folder(tmp_path, **{f"{train}/a": 2, f"{train}/b": 2, f"{test}/a": 1}))
    assert (data.classes, len(data), len(data.test)) == (("a", "b"), 4, 1)
    assert f"split: {train} to train on, {test} held out" in data.report.notes


@pytest.mark.parametrize("names", [("Tr", "Te"), ("fold1", "fold2"), ("seen", "unseen"), "12"])
def test_classes_that_hold_the_same_folders_are_told(tmp_path, names):
    one, two = names
    folder(tmp_path, **{f"{one}/a": 2, f"{one}/b": 2, f"{two}/a": 1, f"{two}/b": 1})
    said = str(load(tmp_path).report)
    assert f"the classes {one}, {two}" in said.replace(f"{two}, {one}", f"{one}, {two}")
    assert "hold folders of the same names (a, b)" in said
    other = folder(tmp_path / "other", **{"cats/big": 1, "cats/old": 1, "dogs/big": 1})
    assert load(other).report.warnings == []


@pytest.mark.parametrize(
    "names",
    [("part1", "part2"), ("batch_a", "batch_b"), ("New folder", "New folder (2)"), ("HR", "LR"),
     ("full", "thumbs"), ("raw images", "processed images")],
)  # fmt: skip
def test_parts_and_versions_of_images_are_hardly_classes(tmp_path, names):
    said = str(load(folder(tmp_path, **dict.fromkeys(names, 2))).report)
    assert "count as classes; where they are none" in said


# ---- files of other kinds ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP"])
def test_images_without_an_ending_are_read(tmp_path, kind):
    for k in range(3):
        write(tmp_path / f"image{k}", BYTES[k], format=kind)
    (tmp_path / "README").write_text("of these images")
    data = load(tmp_path)
    assert len(data) == 3
    assert data.report.left_out == {"without ending": ["README"]}


@pytest.mark.parametrize(
    ("name", "head", "said"),
    [
        ("data_batch_1", b"\x80\x02}q", "it is a Python pickle"),
        ("train.parquet", b"PAR1", "a Parquet table"),
        ("train.mat", b"MATLAB 5.0 MAT-file", "a MATLAB file"),
        ("train.csv", b"label,pixel0\n1,2", "text that begins 'label,pixel0'"),
        ("train.bin", b"\xff\x00\x12", "np.savez"),
        ("a.7z", b"7z\xbc\xaf", "unpack"),
        ("a.tgz", b"\x1f\x8b", "unpack"),
        ("a.tar", bytes(257) + b"ustar", "unpack"),
        ("x-ray", bytes(128) + b"DICM", "a DICOM image"),
    ],
)
def test_files_of_other_kinds_are_named_with_what_to_do(tmp_path, name, head, said):
    (tmp_path / name).write_bytes(head)
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match=said) as caught:
            load(source)
        assert ("np.savez" in str(caught.value)) != ("unpack" in said)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\x00\x00\x01\x00", "it is an icon"),
        (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
        (b"8BPS", "a Photoshop file"),
        (b"\x00\x00\x00\x20ftypavis", "HEIC or AVIF"),
    ],
)
def test_other_images_called_png_are_told(tmp_path, head, said):
    (tmp_path / "a.png").write_bytes(head)
    with pytest.raises(DataError, match=said):
        load(tmp_path)


def test_classes_that_lose_their_images_are_told(tmp_path):
    folder(tmp_path, **{"train/a": 2, "train/b": 2, "train/c": 1, "test/a": 1, "test/b": 1})
    (tmp_path / "train" / "c" / "0.png").write_bytes(b"")
    said = str(load(tmp_path, skip_broken=True).report)
    assert "no image of c can be read" in said
    values = {"x_train": BYTES, "y_train": np.arange(12) % 3, "x_test": BYTES[:2] // 2}
    np.savez(tmp_path / "a.npz", y_test=[0, 2], **values)
    assert "no held-out images of 1" in str(load(tmp_path / "a.npz").report)


def test_letters_on_their_side_under_other_names_are_told(tmp_path):
    head = struct.pack(">HBBIII", 0, 8, 3, *BYTES.shape)
    for name in ("emnist", "letters"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train-images-idx3-ubyte").write_bytes(head + BYTES.tobytes())
        assert ("lie on their side" in str(load(tmp_path / name).report)) == (name == "emnist")


# ---- paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["x" * 5000, "a/" * 3000])
def test_paths_that_are_too_long(source):
    with pytest.raises(DataError, match="cannot be read"):
        load(source)


def test_folders_too_deep_to_follow(tmp_path):
    write(tmp_path.joinpath(*["d"] * 40) / "a.png", BYTES[0])
    assert len(load(tmp_path)) == 1
    write(tmp_path.joinpath(*["d"] * 60) / "a.png", BYTES[0])
    with pytest.raises(DataError, match="more than 50 folders within one another"):
        load(tmp_path)


@pytest.mark.parametrize("lacking", ["list", "enter"])
@pytest.mark.parametrize("below", ["", "a"])
def test_folders_that_may_not_be_read(tmp_path, monkeypatch, lacking, below):
    folder(tmp_path, a=2, b=2)
    closed = tmp_path / below

    def refuse(call, inside):
        def wrapped(path, *args, **how):
            if Path(path) == closed or (inside and Path(path).parent == closed):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *args, **how)

        return wrapped

    if lacking == "list":
        for name in ("listdir", "scandir"):
            monkeypatch.setattr(os, name, refuse(getattr(os, name), False))
    else:
        monkeypatch.setattr(os, "stat", refuse(os.stat, True))
        monkeypatch.setattr(Path, "stat", refuse(Path.stat, True))
    with pytest.raises(DataError, match="Permission denied"):
        load(tmp_path)


def test_a_path_of_the_home_folder_and_of_a_built_in_set(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    folder(tmp_path, pictures=3)
    assert len(load("~/pictures")) == 3
    monkeypatch.chdir(tmp_path)
    for name, meant in (("MNIST", "mnist"), ("fashion_mnist/", "fashion-mnist")):
        with pytest.raises(DataError, match=f"the built-in set is called {meant}"):
            load(name)


def test_no_name_looks_like_a_line_of_ours(tmp_path):
    for name in ("a\nerror: all is lost.png", "b\r\nwarning: b.png"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert r"a\x0aerror: all is lost.png" in lines[1]


# ---- what is strange in images ----------------------------------------------------------------


def test_copies_among_the_images_are_told(tmp_path):
    folder(tmp_path, **{"train/a": 6, "train/b": 6, "test/a": 4, "test/b": 4})
    assert load(tmp_path).report.warnings == []
    for k in range(3):
        for to in ("train/b/x", "test/a/x"):
            write(tmp_path / f"{to}{k}.png", np.asarray(Image.open(tmp_path / f"train/a/{k}.png")))
    said = str(load(tmp_path).report)
    assert "3 training images occur in another class" in said
    assert "3 of 11 held-out images are also training images" in said
    assert "copies of others" not in said
    alone = tmp_path / "train" / "b"
    write(alone / "again.png", np.asarray(Image.open(alone / "0.png")))
    assert "1 training images are copies of others" in str(load(tmp_path).report)


def test_blank_images_are_no_copies_and_few_copies_no_fault():
    blank = BYTES.copy()
    blank[3:6] = 7
    assert "copies" not in read(blank)[1]
    images = RNG.integers(0, 256, (2000, 5, 5)).astype(np.uint8)
    images[1] = images[0]
    data = load(images, n=1799)
    assert data.report.warnings == []
    both = str(data.report)
    assert "1 training images are copies" in both or "1 of 200 held-out images are also" in both


@pytest.mark.parametrize(("channels", "halves"), [(1, False), (3, False), (1, True), (3, True)])
def test_images_of_which_some_are_inverted_are_told(tmp_path, channels, halves):
    drawn = np.zeros((40, 12, 12, channels), np.uint8)
    drawn[:, 3:9, 3:9] = RNG.integers(0, 256, (40, 6, 6, channels))
    assert load(drawn).report.warnings == []
    assert load(255 - drawn).report.warnings == []
    if halves:
        drawn[::2] = 255 - drawn[::2]
        assert "20 images lie on black, 20 on white" in str(load(drawn).report)
    else:
        for train, test, said in (
            (drawn, 255 - drawn, "on black"),
            (255 - drawn, drawn, "on white"),
        ):
            np.savez(tmp_path / "a.npz", x_train=train, x_test=test)
            assert f"the training images lie {said}, the held-out" in str(
                load(tmp_path / "a.npz").report
            )


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (UNIT - 0.5, "from 64 to 191 only"), (UNIT / 2, "from 0 to 128 only"),
        (np.rint(UNIT * 2047).astype(int), "from 0 to 127 only"),
        (BYTES // 4 + 90, "from 90 to 153 only"), (UNIT * 0.7, ""), (BYTES, ""),
    ],
)  # fmt: skip
def test_levels_that_fill_little_of_the_range_are_told(values, told):
    warnings = load(values).report.warnings
    assert warnings == [] if not told else told in warnings[0]


# ---- scaling and channels ---------------------------------------------------------------------


def test_scaling_is_told_of_arrays_as_of_files(tmp_path):
    wide = RNG.integers(0, 256, (12, 8, 20)).astype(np.uint8)
    for k, image in enumerate(wide):
        write(tmp_path / f"{k}.png", image)
    for source in (wide, tmp_path):
        said = read(source, size=16)[1]
        assert "12 images are stretched to 16 x 16" in said
        assert "12 images are enlarged to 16 x 16, the smallest from 20 x 8" in said
        assert "images are" not in read(source, size=(4, 10))[1]
    write(tmp_path / "0.png", wide[0, :2, :5])
    said = read(tmp_path, size=(8, 20))[1]
    assert "1 images are enlarged to 20 x 8, the smallest from 5 x 2" in said


def test_sizes_that_do_not_fit_in_memory_are_refused_before_scaling(tmp_path):
    folder(tmp_path, a=12)
    for source in (tmp_path, BYTES, "strokes"):
        with pytest.raises(DataError, match=r"images of 300000 x 300000.*give a smaller size"):
            load(source, size=300_000)


def test_an_image_alone_is_told_as_a_folder_is(tinygen, tmp_path):
    folder(tmp_path / "flat", **{"": 12})
    words = ("train", "vae", "--hidden", 8, "--no-compile", "--out", "run", "--epochs", 1)
    assert tinygen(*words, "--data", "flat")[0] == 0
    write(tmp_path / "deep.png", np.rint(UNIT[0].T * 4095).astype(np.uint16))
    write(tmp_path / "clear.png", np.zeros((6, 8, 4), np.uint8))
    for name, said in (
        ("deep.png", ["deep.png: 1 images are stretched to 8 x 6", "read as 12 bits"]),
        ("clear.png", ["clear.png: warning: 1 images are transparent throughout"]),
        ("flat/0.png", []),
    ):
        code, out, err = tinygen("sample", "run", "--around", name, "--out", "x.png")
        assert code == 0, err
        flat = " ".join(out.split())
        assert all(text in flat for text in said)
        assert said or flat == "64 images in x.png"


def test_grey_among_colour_is_told(tmp_path):
    colour = RNG.integers(0, 256, (12, 6, 8, 3)).astype(np.uint8)
    for k, image in enumerate(colour):
        write(tmp_path / f"{k}.png", image[..., 0] if k < 5 else image)
    assert "5 of 12 images are grey, and become colour" in str(load(tmp_path).report)
    np.savez(tmp_path / "a.npz", x_train=BYTES, x_test=colour)
    assert "the test images become grey" in str(load(tmp_path / "a.npz").report)
    grey = BYTES[..., None].repeat(3, -1)
    assert "stored as colour; --channels 1" in str(load(grey).report)
    for channels in (1, 3):
        assert "stored as colour" not in str(load(grey, channels=channels).report)
    assert "grey" not in "".join(load(colour).report.lines())


# ---- the axes of arrays -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((28, 28), r"one image as array\[None\]"),
        ((32, 32, 3, 50), r"along axis 3, channels along axis 2"),
        ((3, 50, 16, 16), r"along axis 1, channels along axis 0"),
        ((20, 16, 16, 4), r"images\[\.\.\., :3\]"),
        ((20, 4, 16, 16), r"images\[:, :3\]"),
        ((20, 16, 16, 2), "give the axes this order"),
    ],
)
def test_arrays_of_other_axes_are_refused_with_their_cure(shape, said):
    with pytest.raises(DataError, match=said):
        load(RNG.uniform(0, 1, shape))


@pytest.mark.parametrize("shape", [(16, 16, 100), (28, 28, 29), (10, 3, 8, 3), (10, 3, 8, 1)])
def test_arrays_of_doubtful_axes_are_told(shape):
    assert "is read as" in load(RNG.uniform(0, 1, shape)).report.warnings[0]
    assert load(RNG.uniform(0, 1, (16, 20, 20))).report.warnings == []


# ---- runs -------------------------------------------------------------------------------------


def test_classes_that_have_other_names_stop_a_resumed_run(tinygen, tmp_path):
    folder(tmp_path / "ab", cats=6, dogs=6)
    words = ("train", "cvae", "--hidden", 8, "--no-compile", "--out", "run", "--data", "ab")
    assert tinygen(*words, "--epochs", 1)[0] == 0
    (tmp_path / "ab" / "cats").rename(tmp_path / "ab" / "birds")
    code, _, err = tinygen(*words, "--epochs", 2, "--resume")
    assert code == 2
    assert "whose classes had other names (cats is now birds)" in err
    (tmp_path / "ab" / "birds").rename(tmp_path / "ab" / "cats")
    assert tinygen(*words, "--epochs", 2, "--resume")[0] == 0


def test_other_data_have_a_range_of_their_own(tinygen, tmp_path):
    for name, most in (("deep", 4095), ("dark", 1000)):
        for k, image in enumerate(UNIT):
            write(tmp_path / name / f"{k}.png", np.rint(image * most).astype(np.uint16))
    words = ("train", "vae", "--hidden", 8, "--no-compile", "--out", "run", "--epochs", 1)
    assert tinygen(*words, "--data", "deep")[0] == 0
    words = ("evaluate", "run", "--n", 0, "--nll-images", 0)
    code, out, err = tinygen(*words, "--data", "dark")
    assert code == 0, err
    flat = " ".join(out.split())
    assert "values are read as 0 to 1023, those of the training were as 0 to 4095" in flat
    code, out, err = tinygen(*words, "--data", "dark", "--value-range", "0,4095")
    assert code == 0, err
    assert "darkest level 0, lightest 62" in out
    code, _, err = tinygen(*words, "--value-range", "0,4095")
    assert code == 2
    assert "name them with --data" in err


def test_a_folder_called_like_a_built_in_set_has_no_classifier(tmp_path):
    from tinygen.train import find_extractor

    images = RNG.integers(0, 256, (12, 28, 28)).astype(np.uint8)
    for k, image in enumerate(images):
        write(tmp_path / "strokes" / f"{k}.png", image)
    with pytest.raises(ValueError, match="tinygen has no classifier for 'strokes'"):
        find_extractor(load(tmp_path / "strokes"))
    assert find_extractor(load("strokes", n=20)).name == "lenet-strokes"
