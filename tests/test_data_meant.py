"""What a person means by names, numbers and values, where several readings are possible."""

import gzip
import json
import struct
import zlib

import numpy as np
import pytest

from tinygen.data import DataError, Dataset, load
from tinygen.data.labels import class_number
from tinygen.data.splits import is_place, roles

Image = pytest.importorskip("PIL.Image")
SMALL = np.random.default_rng(0).integers(0, 256, (40, 6, 6), np.uint8)
UNIT = SMALL / 255
PARITY = np.arange(40) % 2


def write(path, array=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = SMALL[zlib.crc32(path.name.encode()) % 40] if array is None else np.asarray(array)
    Image.fromarray(array).save(path)


def folders(root, *names, count=2):
    for name in names:
        for i in range(count):
            seed = zlib.crc32(f"{name}/{i}".encode())
            image = np.random.default_rng(seed).integers(0, 256, SMALL[0].shape)
            write(root / name / f"{i}.png", image.astype(np.uint8))
    return root


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(array, np.uint8)
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + array.tobytes()))


# ---- splits by the words of names -------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "train", "held"),
    [
        ("train2017 val2017", "train2017", "val2017"),
        ("train2017 val2017 test2017", "train2017", "test2017 val2017"),
        ("train test1", "train", "test1"),
        ("TrainImages TestImages", "TrainImages", "TestImages"),
        ("traindata testdata", "traindata", "testdata"),
        ("01_train 02_test", "01_train", "02_test"),
        ("train64 valid64", "train64", "valid64"),
        ("train_images validation", "train_images", "validation"),
        ("trainval test", "trainval", "test"),
        ("train test-dev", "train", "test-dev"),
        ("my_train test", "my_train", "test"),
        ("mnist_train_100 mnist_test_10", "mnist_train_100", "mnist_test_10"),
        ("train_images test_images unlabeled_images", "train_images", "test_images"),
        ("trainA testA", "trainA", "testA"),
        ("JPEGTrain JPEGTest", "JPEGTrain", "JPEGTest"),
        ("train car plane", "train", ""),
        ("trainA trainB testA testB", "", ""),
        ("train_cats test_dogs", "", ""),
        ("latest greatest", "", ""),
        ("station trained", "", ""),
        ("value evaluate_me", "", ""),
    ],
)
def test_roles(names, train, held):
    assert roles(names.split()) == (train.split(), held.split())


def test_numbered_splits_are_no_classes(tmp_path):
    data = load(folders(tmp_path, "train2017/cat", "train2017/dog", "val2017/cat", "val2017/dog"))
    assert (data.classes, len(data), len(data.test)) == (("cat", "dog"), 4, 4)
    deep = str(load(tmp_path / "train2017").report)
    assert "val2017 lies beside train2017 and is not read" in deep
    deep = str(load(tmp_path / "train2017" / "cat").report)
    assert "the images of cat alone" in deep


@pytest.mark.parametrize(
    ("names", "warning"),
    [
        (["trainA", "trainB", "testA"], "the folders 'testA', 'trainA', 'trainB' count as classes"),
        (["train_cats", "test_dogs"], "'test_dogs', 'train_cats' count as classes; for a split"),
        (["train", "bus"], "the folder 'train' counts as a class, beside bus; for a split"),
        (["images", "masks"], "'images', 'masks' count as classes; where they are none"),
        (["JPEGImages", "SegmentationClass"], "'JPEGImages', 'SegmentationClass' count as classes"),
        (["train/images", "train/labels", "test/images"], "'images', 'labels' count as classes"),
    ],
)
def test_folders_that_are_hardly_classes_are_told(tmp_path, names, warning):
    assert warning in str(load(folders(tmp_path, *names)).report)


@pytest.mark.parametrize("names", [("mask", "no_mask"), ("cat", "images"), ("x", "o"), ("3", "4")])
def test_folders_that_may_well_be_classes_are_not_doubted(tmp_path, names):
    assert load(folders(tmp_path, *names)).report.warnings == []
    assert not is_place("x")


def test_what_systems_leave_behind_is_no_class(tmp_path):
    left = ["@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__pycache__"]
    data = load(folders(tmp_path, "cat", "dog", "cat/@eaDir/0.png", *left))
    assert (data.classes, len(data)) == (("cat", "dog"), 4)
    assert set(data.report.left_out["hidden"]) == {*left, "cat/@eaDir"}


# ---- classes by name and number ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "classes", "expected"),
    [
        ("1", ("class1", "class2", "class10"), 0),
        (10, ("class1", "class2", "class10"), 2),
        ("1", ("001.Albatross", "002.Laysan"), 0),
        ("2", ("001.bird3", "002.bird1"), 1),
        ("1", ("0.5", "1.0", "2.0"), 1),
        ("1.0", ("1", "2"), 0),
        ("-1", ("-1", "0", "1"), 0),
        ("٣", ("3", "4"), 0),
        ("9" * 5000, ("1", "2"), "expected one of 1, 2"),
        ("0", ("class1", "class2"), "expected one of class1, class2"),
        ("1", ("01", "1.0"), "expected one of 01, 1.0"),
        ("1", ("cat", "dog", "mp1"), "may be the class 'mp1' by its name, or 'dog', counted from"),
        ("2", ("cat", "dog", "mp2"), 2),
        ("cafe\u0301", ("café", "tea"), 0),
        ("café", ("cafe\u0301", "tea"), 0),
    ],
)
def test_numbers_within_names(label, classes, expected):
    if isinstance(expected, int):
        assert class_number(label, classes) == expected
    else:
        with pytest.raises(ValueError, match=expected):
            class_number(label, classes)


def test_an_accent_is_written_in_one_way(tmp_path):
    folders(tmp_path, "train/caf\u00e9", "train/tea", "test/cafe\u0301", "test/tea")
    data = load(tmp_path)
    assert data.classes == data.test.classes == ("caf\u00e9", "tea")
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    both = load(folders(tmp_path / "both", "caf\u00e9", "cafe\u0301", "tea"))
    assert (both.classes, both.labels.tolist()) == (("caf\u00e9", "tea"), [0, 0, 0, 0, 1, 1])
    assert "two folders are both called caf\u00e9" in str(both.report)
    said = load(SMALL, labels=["caf\u00e9", "cafe\u0301"] * 20)
    assert said.classes == ("caf\u00e9",)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["Cat", "cat"] * 20, "the classes 'Cat' and 'cat' differ in capitals or spaces alone"),
        (["big cat", "bigcat "] * 20, "'big cat' and 'bigcat ' differ"),
        (["A", "a"] * 20, None),
        (["cat", "dog"] * 20, None),
    ],
)
def test_names_that_look_alike_are_told(labels, told):
    warnings = load(SMALL, labels=labels).report.warnings
    assert [told in text for text in warnings] == [True] if told else warnings == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ma.masked_array(PARITY, PARITY == 1), "missing"),
        (["", "cat"] * 20, "some labels are empty"),
        ([" ", "cat"] * 20, "some labels are empty"),
        ([[1], [1, 2]] * 20, "labels make no array"),
        (np.array([1, None] * 20, object), "missing"),
    ],
)
def test_labels_that_are_missing(labels, message):
    with pytest.raises(DataError, match=message):
        load(SMALL, labels=labels)


def test_labels_of_objects_are_numbers_where_all_are():
    for values in ([1, 2], [1.0, 2.0], [True, 2], [np.int8(1), np.uint64(2)]):
        assert load(SMALL, labels=np.array(values * 20, object)).classes == ("1", "2")
    assert load(SMALL, labels=np.array([1, "a"] * 20, object)).classes == ("1", "a")


@pytest.mark.parametrize("train", ["u1", "u8", "f4"])
@pytest.mark.parametrize("test", ["i1", "i8", "u8", "f8"])
def test_label_types_of_the_splits_may_differ(tmp_path, train, test):
    path = tmp_path / "a.npz"
    answers = {"y_train": PARITY.astype(train), "y_test": (1 - PARITY).astype(test)}
    np.savez(path, x_train=SMALL, x_test=SMALL, **answers)
    data = load(path)
    assert data.classes == ("0", "1")
    assert (data.labels == PARITY).all()
    assert (data.test.labels == 1 - PARITY).all()


def test_many_names_are_numbered_at_once():
    names = [f"{k:06}" for k in range(40_000)]
    data = Dataset("ids", np.zeros((40_000, 1, 1, 1), np.uint8), names)
    assert data.labels.tolist() == list(range(40_000))


def test_labels_of_one_split_only_are_told(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=SMALL, x_test=SMALL, y_test=PARITY)
    data = load(path)
    assert (data.classes, data.labels, data.test.labels) == (None, None, None)
    assert "the training images have no labels, the test images have" in str(data.report)
    np.savez(path, x_train=SMALL, y_train=PARITY, x_test=SMALL)
    assert "the test images have no labels" in str(load(path).report)
    np.savez(path, x_train=SMALL, y_train=PARITY, x_test=SMALL[:0], y_test=PARITY[:0])
    data = load(path)
    assert (len(data), len(data.test)) == (36, 4)
    assert "the test images are none" in str(data.report)


# ---- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x_train", "x_test"])
def test_values_that_are_not_finite_are_found_in_every_part(tmp_path, bad, where):
    arrays = {"x_train": UNIT.copy(), "x_test": UNIT.copy()}
    arrays[where][3, 2, 1] = bad
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match="some are not finite"):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_values_that_are_not_finite_are_found_in_every_file(tmp_path, place):
    for k in range(3):
        values = UNIT[k].astype(np.float32)
        values[1, 1] = np.nan if k == place else 0
        write(tmp_path / f"{k}.tif", values)
    with pytest.raises(DataError, match=rf"{place}\.tif.* not finite"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("train", "test"),
    [(UNIT, SMALL * 1.0), (SMALL * 1.0, UNIT), (UNIT, UNIT * 2 - 1), (UNIT * 2 - 1, SMALL * 1.0)],
)
def test_splits_of_different_ranges_are_refused(tmp_path, train, test):
    np.savez(tmp_path / "a.npz", x_train=train, x_test=test)
    with pytest.raises(DataError, match=r"training images from .*, but test images from"):
        load(tmp_path / "a.npz")


def test_splits_of_different_types_are_read_each_as_meant(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=SMALL, x_test=SMALL.astype(np.uint16) * 257)
    data = load(tmp_path / "a.npz")
    assert (data.images == data.test.images).all()
    np.savez(tmp_path / "b.npz", x_train=(SMALL > 99).astype(np.uint8), x_test=SMALL)
    assert "all training images are nearly black" in str(load(tmp_path / "b.npz").report)
    np.savez(tmp_path / "c.npz", x_train=SMALL, x_test=(SMALL > 99).astype(np.uint8))
    assert "all held-out images are nearly black" in str(load(tmp_path / "c.npz").report)


@pytest.mark.parametrize(
    ("top", "options"), [(1, {}), (1, {"value_range": (0, 1)}), (15, {"value_range": (0, 15)})]
)
def test_idx_files_have_a_range_too(tmp_path, top, options):
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", SMALL // 16 if top == 15 else SMALL > 99)
    data = load(tmp_path, **options)
    assert data.report.levels == (0, 255)
    assert not data.report.warnings
    dark = load(tmp_path, value_range=(0, 255))
    assert dark.report.levels == (0, top)


@pytest.mark.parametrize(
    "bounds",
    [(0, np.inf), (np.nan, 1), (3, 1), (1, 1), (1,), (0, 1, 2), "0,1", (None, 1), ("a", 2)],
)
def test_a_range_is_two_numbers_in_order(bounds):
    with pytest.raises(DataError, match="two numbers, black before white"):
        load(SMALL, value_range=bounds)


def test_a_range_is_that_of_the_deep_files(tmp_path):
    write(tmp_path / "a.png", SMALL[0])
    write(tmp_path / "b.png", SMALL[0].astype(np.uint16) * 16)
    data = load(tmp_path, value_range=(0, 4080))
    assert (data.images[0] == data.images[1]).all()
    assert "the value range is that of 1 files" in str(data.report)
    write(tmp_path / "grey" / "a.png", SMALL[0] // 16)  # no deep file: of all
    assert load(tmp_path / "grey", value_range=(0, 15)).report.levels[1] > 200


def test_other_images_are_read_as_the_data_were(tmp_path):
    from tinygen.data.pictures import read_image

    for k in range(4):
        write(tmp_path / "deep" / f"{k}.png", SMALL[k].astype(np.uint16) * (16 if k else 3))
        ink = np.full((6, 6, 4), 255 if k else 100, np.uint8)
        ink[..., 3] = SMALL[k]
        write(tmp_path / "ink" / f"{k}.png", ink)
    for name, options in {
        "deep": {"value_range": [0.0, 4095.0]},
        "ink": {"paper": "black"},
    }.items():
        data = load(tmp_path / name)
        assert data.options == {"seed": 0, **options}
        alone = read_image(tmp_path / name / "0.png", (6, 6), data.shape[2], **options)
        assert (alone == data.images[0]).all()
        again = load(data.source, **data.options)
        assert again.fingerprint == data.fingerprint


def test_options_that_change_nothing_are_told(tmp_path):
    assert "the paper changes nothing" in str(load(folders(tmp_path, "cat"), paper="black").report)
    for options in ({"value_range": (0, 1)}, {"paper": "black"}):
        with pytest.raises(DataError, match="leave out value_range and paper"):
            load("strokes", n=10, **options)


@pytest.mark.parametrize("make", ["folder", "file"])
def test_a_folder_called_like_a_built_in_set_is_told(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    assert "./strokes" not in str(load("strokes", n=10).report)
    if make == "file":
        (tmp_path / "strokes").write_text("")
    else:
        folders(tmp_path / "strokes", "cat", "dog")
        assert load("./strokes").classes == ("cat", "dog")
    assert "give ./strokes" in str(load("strokes", n=10).report)


def test_colours_of_sixteen_bits_are_told(tmp_path):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    def png(kind, channels, top):
        """A PNG of 16 bits a channel, which Pillow cannot write."""
        values = np.random.default_rng(0).integers(0, top, (6, 6 * channels)).astype(">u2")
        rows = b"".join(b"\0" + row.tobytes() for row in values)
        head = struct.pack(">IIBBBBB", 6, 6, 16, kind, 0, 0, 0)
        parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)

    for name, kind, channels in (("rgb", 2, 3), ("la", 4, 2), ("rgba", 6, 4)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(png(kind, channels, 65536))
        assert "1 files hold 16 bits a channel" in str(load(tmp_path / name).report)
    (tmp_path / "rgb" / "a.png").write_bytes(png(2, 3, 4096))
    assert load(tmp_path / "rgb", value_range=(0, 15)).report.levels[1] > 200
    write(tmp_path / "grey" / "a.png", SMALL[0].astype(np.uint16) * 257)
    write(tmp_path / "eight" / "a.png", np.stack([SMALL[0]] * 3, -1))
    for name in ("grey", "eight"):
        assert "16 bits a channel" not in str(load(tmp_path / name).report)


@pytest.mark.parametrize(
    ("values", "kind", "told"),
    [
        (UNIT, np.float32, True),
        (SMALL / 1.0, np.float32, False),
        (SMALL, np.uint16, True),
        (SMALL * 256.0, np.uint16, False),
    ],
)
def test_files_that_are_black_beside_the_others_are_told(tmp_path, values, kind, told):
    wide = SMALL[0] * (1.0 if kind is np.float32 else 257.0)
    write(tmp_path / "wide.tif", wide.astype(kind))
    for k in (1, 2):
        write(tmp_path / f"{k}.tif", values[k].astype(kind))
    said = "2 of 3 images are black beside the others" in str(load(tmp_path).report)
    assert said == told


# ---- arrays and paths -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "source='' is empty"),
        (" ", "is empty"),
        (None, "source is NoneType"),
        ({"a": 1}, "source is dict"),
        (["a.png", "b.png"], "source is list"),
        ([SMALL[0], SMALL[0, :3]], "gives no array"),
        (b"photos", "source is bytes"),
        (3, r"an array \(\)"),
        (np.array([None]), "an array"),
    ],
)
def test_what_is_no_source(source, message):
    with pytest.raises(DataError, match=message):
        load(source)
    with pytest.raises(DataError, match="source is Dataset"):
        load(load(SMALL))


@pytest.mark.parametrize("size", [np.int64(3), (np.int32(3), 3), 3])
def test_whole_numbers_of_any_type(size):
    data = load(SMALL, size=size, n=np.int64(5), channels=np.int8(1))
    assert data.shape == (3, 3, 1)
    assert len(data) == 5
    assert [type(v) for v in data.options["size"]] == [int, int]
    assert (type(data.options["n"]), type(data.options["channels"])) == (int, int)
    for wrong in ({"size": 3.0}, {"size": "3"}, {"n": 2.5}, {"n": "2"}):
        with pytest.raises(DataError, match="expected a whole number"):
            load(SMALL, **wrong)


@pytest.mark.parametrize("count", [5, 40])
def test_an_array_that_changes_later_changes_no_data(count):
    images, labels = SMALL[:count].copy(), PARITY[:count].copy()
    data = load(images, labels=labels)
    before = data.images.copy(), data.labels.copy(), load(SMALL[:count], labels=PARITY[:count])
    images[:], labels[:] = 0, 9
    np.testing.assert_array_equal(data.images, before[0])
    np.testing.assert_array_equal(data.labels, before[1])
    assert data.fingerprint == before[2].fingerprint


def test_what_describes_data_is_plain():
    given = {
        "n": np.int64(5),
        "seed": np.int32(3),
        "size": np.array([4, 4]),
        "channels": np.int8(1),
    }
    data = load(SMALL, value_range=np.array([0, 255]), **given)
    json.dumps(data.describe())
    with pytest.raises(DataError, match="seed='a', expected a whole number"):
        load(SMALL, seed="a")


def test_classes_have_names_of_their_own():
    with pytest.raises(DataError, match="two classes are called 'a'"):
        Dataset("x", SMALL[..., None], PARITY, ("a", "b", "a"))
    with pytest.raises(DataError, match="two classes are called 'caf\u00e9'"):
        Dataset("x", SMALL[..., None], PARITY, ("caf\u00e9", "cafe\u0301"))


@pytest.mark.parametrize("turn", range(2, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif"])
def test_images_are_turned_upright(tmp_path, turn, ending):
    """The eight ways in which a camera may be held, by the corner where a white square lies."""
    stored = np.zeros((16, 24, 3), np.uint8)
    stored[:8, :8] = 255
    exif = Image.Exif()
    exif[0x112] = turn
    Image.fromarray(stored).save(tmp_path / f"a.{ending}", exif=exif)
    image = load(tmp_path).images[0, ..., 0]
    assert image.shape == ((16, 24) if turn < 5 else (24, 16))
    corners = {2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert (image[corner] > 200) == (corner == corners[turn])


def test_arrays_that_count_the_images_last_are_told():
    last = np.moveaxis(np.concatenate([SMALL, SMALL]), 0, -1)
    assert "np.moveaxis(images, -1, 0)" in str(load(last).report)
    assert load(SMALL).report.warnings == []
    assert load(np.concatenate([SMALL, SMALL], axis=2)).report.warnings == []


def test_idx_files_each_in_a_folder_of_its_own(tmp_path):
    for split, count in (("train", 30), ("t10k", 10)):
        for what, values in (("images-idx3", SMALL[:count]), ("labels-idx1", PARITY[:count])):
            write_idx(tmp_path / f"{split}-{what}-ubyte" / f"{split}-{what}-ubyte", values)
    data = load(tmp_path)
    assert (len(data), len(data.test), data.classes) == (30, 10, ("0", "1"))
    write_idx(tmp_path / "other" / "train-images-idx3-ubyte", SMALL)
    with pytest.raises(DataError, match="several sets of IDX files"):
        load(tmp_path)


# ---- the command line -------------------------------------------------------------------------


def test_names_are_printed_as_they_are(tinygen, tmp_path):
    path = tmp_path / "a:x:b.txt"
    path.write_text("root:x:0")
    code, _, err = tinygen("train", "vae", "--data", path)
    assert code == 2
    assert "a:x:b.txt" in err
    assert "'root:x:0'" in err
    folders(tmp_path / "data", ":cat:", "[red]dog")
    code, out, err = tinygen("train", "vae", "--data", "data", "--epochs", 1, "--no-compile")
    assert code == 0, err
    assert ":cat:: 2, [red]dog: 2" in out


@pytest.mark.parametrize("model", ["vae", "gan", "dcgan"])
def test_images_too_large_for_a_model_are_refused(tinygen, tmp_path, monkeypatch, model):
    from tinygen.data import files

    for k in range(2):
        write(tmp_path / "data" / f"{k}.png", np.zeros((3000, 4000), np.uint8))
    monkeypatch.setattr(files, "_memory", lambda: 8 << 30)
    code, _, err = tinygen("train", model, "--data", "data", "--epochs", 1)
    assert code == 2
    assert f"{model} for images of 4000 x 3000" in err
    assert "--size 64" in err
    assert not (tmp_path / "runs").exists()


def test_a_broken_file_that_came_later_stops_no_run(tinygen, tmp_path):
    folders(tmp_path / "data", "cat", "dog", count=6)
    train = ("train", "cvae", "--data", "data", "--hidden", 8, "--no-compile", "--out", "run")
    code, _, err = tinygen(*train, "--epochs", 1)
    assert code == 0, err
    (tmp_path / "data" / "cat" / "new.png").write_bytes(b"")
    code, _, err = tinygen(*train, "--epochs", 2, "--resume")
    assert code == 2
    assert "or leave it out (--skip-broken)" in err
    code, out, err = tinygen(*train, "--epochs", 2, "--resume", "--skip-broken")
    assert code == 0, err
    assert "left out: 1 broken (cat/new.png)" in out
    (tmp_path / "data" / "cat" / "0.png").write_bytes(b"")
    code, _, err = tinygen(*train, "--epochs", 3, "--resume", "--skip-broken")
    assert code == 2
    assert "the data given now differ" in err


def test_a_run_of_other_classes_is_told(tinygen, tmp_path):
    folders(tmp_path / "two", "cat", "dog", count=6)
    folders(tmp_path / "three", "cat", "cow", "dog", count=6)
    few = ("--epochs", 1, "--hidden", 8, "--no-compile")
    code, _, err = tinygen("train", "cvae", "--data", "two", *few, "--out", "run")
    assert code == 0, err
    code, _, err = tinygen("train", "cvae", "--data", "three", "--out", "run", "--resume")
    assert code == 2
    assert "shape [6, 6, 1] in 2 classes" in err
    assert "continued as cvae for images of shape [6, 6, 1] in 3 classes" in err


@pytest.mark.parametrize("kept", [np.asfortranarray, np.ascontiguousarray, lambda a: a[::-1, ::2]])
def test_arrays_in_every_order(tmp_path, kept):
    images = kept(SMALL[:9, :, :4])
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "a.npz", x_train=images)
    for source in (images, tmp_path / "a.npy", tmp_path / "a.npz"):
        np.testing.assert_array_equal(load(source).images[..., 0], images)


def test_arrays_of_objects_are_not_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([SMALL, None], object))
    np.savez(tmp_path / "a.npz", x_train=SMALL, y_train=np.array(["cat"] * 40, object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(
            DataError, match="its values are Python objects, which can run programs"
        ):
            load(tmp_path / name)


def test_a_part_of_the_data_is_drawn_from_all_of_it():
    """The first images of a folder are all of its first class."""
    classes = np.arange(40) // 10
    parts = [load(SMALL, labels=classes, n=12, seed=seed) for seed in range(4)]
    assert all(len(np.unique(part.labels)) > 1 for part in parts)
    assert len({part.fingerprint for part in parts}) == 4
    assert load(SMALL, labels=classes, n=12, seed=1).fingerprint == parts[1].fingerprint


def test_the_fingerprint_is_of_the_held_out_images_too():
    images, test = SMALL[:4, ..., None], SMALL[4:6, ..., None]
    prints = {
        Dataset("x", images, test=held).fingerprint
        for held in (None, Dataset("t", test), Dataset("t", test[::-1]))
    }
    assert len(prints) == 3
