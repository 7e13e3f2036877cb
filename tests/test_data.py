"""Loading: every kind of source and every way it can be broken.  Batches: order, threads."""

import gc
import gzip
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygen.data import DataError, Dataset, load
from tinygen.data import idx as idx_files

Image = pytest.importorskip("PIL.Image")
rng = np.random.default_rng(0)


def dataset(n=20, size=3, labels=True):
    images = rng.integers(0, 256, (n, size, size, 1), np.uint8)
    return Dataset("toy", images, np.arange(n) % 4 if labels else None)


def write_idx(path, array, compress=False):
    array = np.asarray(array, np.uint8)
    blob = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    path.write_bytes(gzip.compress(blob) if compress else blob)


def write_png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


# ---- batches ----------------------------------------------------------------------------------


@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    prefetch=st.integers(0, 3),
    drop_last=st.booleans(),
    shuffle=st.booleans(),
    data=st.data(),
)
def test_each_index_once_and_resume_is_the_tail(n, batch_size, prefetch, drop_last, shuffle, data):
    toy = dataset(n)
    options = {
        "seed": 3,
        "epoch": 2,
        "shuffle": shuffle,
        "drop_last": drop_last and n >= batch_size,
        "prefetch": prefetch,
    }
    whole = list(toy.batches(batch_size, **options))
    index = np.concatenate([batch.index for batch in whole])
    expected = n // batch_size * batch_size if options["drop_last"] else n
    assert len(index) == len(set(index.tolist())) == expected
    assert shuffle or (index == np.arange(expected)).all()
    start = data.draw(st.integers(0, len(whole)))
    with toy.batches(batch_size, start=start, **options) as rest:
        assert len(rest) == len(whole) - start
        tail = list(rest)
    assert [batch.position for batch in tail] == list(range(start, len(whole)))
    for left, right in zip(whole[start:], tail, strict=True):
        np.testing.assert_array_equal(left.index, right.index)
        np.testing.assert_array_equal(left.images, right.images)
        np.testing.assert_array_equal(toy.labels[right.index], right.labels)


def test_order_is_a_function_of_seed_and_epoch():
    toy = dataset(50)

    def order(seed, epoch):
        return [i for b in toy.batches(10, seed=seed, epoch=epoch) for i in b.index.tolist()]

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(s, e)) for s in (1, 2) for e in (0, 1)}) == 4


def test_values_and_their_range():
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    toy = Dataset("levels", images)
    (unit,) = toy.batches(1, seed=0, epoch=0)
    assert unit.images.dtype == np.float32
    assert unit.labels is None
    np.testing.assert_array_equal(unit.images, images / np.float32(255))
    (signed,) = toy.batches(1, seed=0, epoch=0, value_range=(-1, 1))
    np.testing.assert_array_equal(signed.images, images / np.float32(255) * 2 - 1)
    assert (signed.images.min(), signed.images.max()) == (-1, 1)


def threads():
    return [t for t in threading.enumerate() if t.name == "tinygen batches"]


def wait_for_no_threads():
    limit = time.monotonic() + 5
    while threads() and time.monotonic() < limit:
        time.sleep(0.001)
    assert not threads()


def test_batches_come_where_no_thread_can_be_started(monkeypatch):
    toy = dataset(100)
    expected = [b.images for b in toy.batches(10, seed=0, epoch=0)]

    def no_threads(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_threads)
    for ahead in (toy.batches(10, seed=0, epoch=0), toy.batches(10, seed=0, epoch=0, prefetch=3)):
        found = [b.images for b in ahead]
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
        ahead.close()


def test_thread_ends_when_consumed_closed_or_dropped():
    toy = dataset(100)
    list(toy.batches(10, seed=0, epoch=0))
    assert not threads()
    ahead = toy.batches(10, seed=0, epoch=0)
    next(ahead)
    assert len(threads()) == 1
    ahead.close()
    ahead.close()
    assert not threads()
    assert list(ahead) == []
    gc.disable()
    try:
        ahead = toy.batches(10, seed=0, epoch=0)
        next(ahead)
        del ahead
        wait_for_no_threads()
    finally:
        gc.enable()
    for _ in toy.batches(10, seed=0, epoch=0):
        break
    wait_for_no_threads()


def test_prepares_no_more_than_asked():
    toy = dataset(100)
    made = []

    def make(position):
        made.append(position)
        return position

    from tinygen.data.dataset import Batches

    ahead = Batches(make, range(10), 2)
    time.sleep(0.05)
    assert made == [0, 1]
    assert next(ahead) == 0
    time.sleep(0.05)
    assert made == [0, 1, 2]
    ahead.close()
    assert len(toy) == 100


@pytest.mark.parametrize("prefetch", [0, 2])
def test_error_while_preparing_reaches_the_consumer(monkeypatch, prefetch):
    from tinygen.data import dataset as module

    gather = module._gather

    def broken(*args):
        if args[-1] == 2:
            raise MemoryError("no room")
        return gather(*args)

    monkeypatch.setattr(module, "_gather", broken)
    batches = dataset(40).batches(10, seed=0, epoch=0, prefetch=prefetch)
    assert [next(batches).position, next(batches).position] == [0, 1]
    with pytest.raises(MemoryError, match="no room"):
        next(batches)
    assert not threads()


def test_batches_refuse():
    toy = dataset(5)
    with pytest.raises(DataError, match="5 images, fewer than batch_size=6"):
        toy.batches(6, seed=0, epoch=0)
    with pytest.raises(DataError, match="start=3, expected 0 to 2"):
        toy.batches(2, seed=0, epoch=0, start=3)
    for bad in ({"batch_size": 0}, {"epoch": -1}, {"prefetch": -1}, {"value_range": (1, 0)}):
        with pytest.raises(ValueError, match="batches: "):
            toy.batches(**{"batch_size": 2, "seed": 0, "epoch": 0} | bad)


# ---- Dataset ----------------------------------------------------------------------------------


def test_dataset_describes_itself():
    toy = dataset(20)
    assert len(toy) == 20
    assert toy.shape == (3, 3, 1)
    assert toy.classes == ("0", "1", "2", "3")
    assert "toy: 20 images, 3 x 3 grey, 4 classes" in repr(toy)
    with pytest.raises(ValueError, match="read-only"):
        toy.images[0] = 0
    other = toy.images.copy()
    other[0, 0, 0] ^= 1
    prints = {
        toy.fingerprint,
        Dataset("toy", toy.images).fingerprint,
        Dataset("toy", other, toy.labels).fingerprint,
        Dataset("toy", toy.images, toy.labels[::-1]).fingerprint,
        Dataset("toy", toy.images.reshape(20, 9, 1, 1), toy.labels).fingerprint,
    }
    assert len(prints) == 5
    assert Dataset("else", toy.images.copy(), toy.labels.astype("u1")).fingerprint in prints


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        (np.zeros((2, 3, 3), "u1"), None, None, "expected uint8"),
        (np.zeros((2, 3, 3, 1)), None, None, "float64"),
        (np.zeros((2, 3, 3, 2), "u1"), None, None, "expected uint8"),
        (np.zeros((0, 3, 3, 1), "u1"), None, None, "no images"),
        (np.zeros((2, 3, 3, 1), "u1"), np.zeros(3, int), None, "3 labels for 2 images"),
        (np.zeros((2, 3, 3, 1), "u1"), np.array([0.5, 1]), None, "float64.*hold 0.5"),
        (np.zeros((2, 3, 3, 1), "u1"), np.zeros((2, 2), int), None, "expected integers"),
        (np.zeros((2, 3, 3, 1), "u1"), np.array([0, -1]), None, "label -1"),
        (np.zeros((2, 3, 3, 1), "u1"), np.array([0, 2]), ["a", "b"], "label 2 with 2 classes"),
    ],
)
def test_dataset_refuses(images, labels, classes, message):
    with pytest.raises(DataError, match=message):
        Dataset("bad", images, labels, classes)


def test_dataset_begins_with_its_name():
    with pytest.raises(DataError, match="its name is ndarray, expected a word"):
        Dataset(np.zeros((2, 3, 3, 1), "u1"), np.arange(2))


# ---- strokes and arrays -----------------------------------------------------------------------


def test_strokes_with_held_out_images():
    data = load("strokes", n=50, seed=2)
    assert data.shape == (28, 28, 1)
    assert (len(data), len(data.test)) == (50, 100)
    assert data.classes[7] == "seven"
    assert data.table["caption"][0].endswith(data.classes[data.labels[0]])
    assert data.fingerprint != load("strokes", n=50, seed=3).fingerprint
    colour = load("strokes", n=5, channels=3, size=(16, 16))
    assert colour.shape == (16, 16, 3)
    with pytest.raises(DataError, match="square"):
        load("strokes", n=5, size=(16, 20))


def test_description_loads_the_same_data(tmp_path):
    np.save(tmp_path / "a.npy", rng.integers(0, 256, (40, 6, 6), np.uint8))
    for data in (
        load("strokes", n=20, seed=4, size=12, channels=3),
        load(tmp_path / "a.npy", size=5, channels=3, n=10, seed=9),
    ):
        described = data.describe()
        again = load(described["source"], **described["options"])
        assert again.describe() == described
        assert again.test.fingerprint == data.test.fingerprint


def test_arrays_from_memory():
    images = rng.integers(0, 256, (30, 5, 4), np.uint8)
    data = load(images, labels=np.arange(30))
    assert (len(data), len(data.test)) == (27, 3)
    together = np.concatenate([data.labels, data.test.labels])
    assert sorted(together.tolist()) == list(range(30))
    np.testing.assert_array_equal(data.images[..., 0], images[data.labels])
    assert data.classes == data.test.classes
    assert data.describe()["source"] is None
    assert len(load(images, labels=np.arange(30), n=7)) == 7
    with pytest.raises(DataError, match="n=28, but there are 27"):
        load(images, n=28)
    assert load(images[:9]).test is None
    with pytest.raises(DataError, match="labels come with"):
        load("strokes", labels=np.zeros(3))


# ---- IDX --------------------------------------------------------------------------------------


@pytest.fixture
def mnist(tmp_path):
    """A folder like that of MNIST: 12 and 4 images of 5 x 4, a gzipped file, a dotted name."""
    images, labels = rng.integers(0, 256, (16, 5, 4)), np.arange(16) % 10
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images[:12], compress=True)
    write_idx(tmp_path / "train-labels.idx1-ubyte", labels[:12])
    write_idx(tmp_path / "t10k-images.idx3-ubyte.gz", images[12:], compress=True)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", labels[12:])
    return tmp_path, images, labels


def test_idx_folder(mnist):
    folder, images, labels = mnist
    data = load(folder)
    np.testing.assert_array_equal(data.images[..., 0], images[:12])
    np.testing.assert_array_equal(data.labels, labels[:12])
    np.testing.assert_array_equal(data.test.images[..., 0], images[12:])
    np.testing.assert_array_equal(data.test.labels, labels[12:])
    assert data.classes == tuple("0123456789")
    assert load(str(folder), n=5).shape == (5, 4, 1)


def test_idx_folder_in_part(mnist):
    folder, images, _ = mnist
    for path in folder.glob("t10k*"):
        path.unlink()
    data = load(folder)
    assert (len(data), len(data.test)) == (11, 1)
    (folder / "train-labels.idx1-ubyte").unlink()
    assert load(folder).labels is None
    (folder / "train-images-idx3-ubyte.gz").rename(folder / "t10k-images-idx3-ubyte.gz")
    np.testing.assert_array_equal(np.sort(load(folder).images.sum((1, 2, 3)))[:1] > 0, True)
    assert len(load(folder)) + len(load(folder).test) == len(images) - 4


def test_idx_broken(mnist):
    folder, _, labels = mnist
    packed = folder / "train-images-idx3-ubyte.gz"
    blob = packed.read_bytes()
    plain = gzip.decompress(blob)
    for broken, message in (
        (blob[: len(blob) // 2], "cannot be read.*download it again"),
        (blob[:4] + b"junk" * 9, "cannot be read"),
        (b"", "0 bytes that begin"),
        (plain[:10], "10 bytes"),
        (b"\x89PNG" + plain[4:], "0x89504e47, expected an IDX.*0x00000803; it is a PNG image"),
        (plain[:-1], r"255 bytes.*\(12, 5, 4\) asks for 256.*truncated"),
        (plain + b"1", "257 bytes"),
        (plain[:4] + b"\xff" * 12, "truncated"),
        (plain[:4] + b"\0" * 12, "no images"),
    ):
        packed.write_bytes(broken)
        with pytest.raises(DataError, match=message) as caught:
            load(folder)
        assert str(packed) in str(caught.value)
    packed.write_bytes(blob)
    write_idx(folder / "train-labels.idx1-ubyte", labels[:11])
    with pytest.raises(DataError, match=r"11 labels, but train-images-idx3-ubyte.gz has 12"):
        load(folder)
    packed.unlink()
    with pytest.raises(DataError, match="labels without images"):
        load(folder)


def test_download_asks_for_checksums_and_explains_itself(mnist, monkeypatch):
    pooch = pytest.importorskip("pooch")
    folder = mnist[0]
    asked = []

    def retrieve(url, known_hash, fname, path, downloader):
        asked.append((url, known_hash, fname))
        if "mnist.s3" in url or "ossci" in url:
            raise ConnectionError("no route")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(pooch, "os_cache", lambda name: folder / name)
    assert idx_files.download("mnist") == folder / "tinygen" / "mnist"
    assert len(asked) == 8  # the second mirror serves
    assert all(known.startswith("md5:") and url.endswith(name) for url, known, name in asked)

    def unplugged(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(pooch, "retrieve", unplugged)
    with pytest.raises(
        DataError, match=r"fashion-mnist: cannot download.*without a network use strokes"
    ):
        load("fashion-mnist")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataError, match=r'pip install "tinygen\[app\]".*strokes.*path'):
        load("mnist")


def test_downloaded_names(mnist, monkeypatch):
    monkeypatch.setattr(idx_files, "download", lambda name: mnist[0])
    data = load("fashion-mnist", size=8)
    assert data.name == data.describe()["source"] == "fashion-mnist"
    assert data.classes[9] == "ankle boot"
    assert data.test.shape == (8, 8, 1)


def test_import_loads_numpy_only():
    code = (
        "import sys, tinygen.data, tinygen.images, tinygen.io\n"
        "print([m for m in ('PIL', 'pooch', 'requests', 'numba') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---- folders of images ------------------------------------------------------------------------


def test_folder_with_classes(tmp_path):
    root = tmp_path / "Bilder mit Ümlaut"
    for k, name in enumerate(["b", "a", "ç"]):
        for i in range(2):
            write_png(root / name / f"{i}.png", np.full((4, 3), 10 * k + i))
    write_png(root / ".hidden" / "x.png", np.zeros((9, 9)))
    (root / "a" / "._0.png").write_bytes(b"not an image")
    (root / "notes.txt").write_text("ignored")
    (root / "empty").mkdir()
    data = load(root)
    assert data.classes == ("a", "b", "ç")
    assert data.shape == (4, 3, 1)
    assert data.images[:, 0, 0, 0].tolist() == [10, 11, 0, 1, 20, 21]
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.test is None
    assert data.name == root.name


def test_kinds_of_image_files(tmp_path):
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (3, 6, 5, 3), np.uint8)
    for k, ending in enumerate(("bmp", "webp", "TIFF")):
        (tmp_path / "ab"[k % 2]).mkdir(exist_ok=True)
        Image.fromarray(whole[k]).save(tmp_path / "ab"[k % 2] / f"{k}.{ending}", lossless=True)
    Image.fromarray(whole[0]).save(tmp_path / "b" / "9.gif")
    found = load(tmp_path)
    assert found.classes == ("a", "b")
    assert found.images.shape == (4, 6, 5, 3)
    np.testing.assert_array_equal(found.images[[0, 1, 2]], whole[[0, 2, 1]])  # a/0, a/2, b/1
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.HEIC").write_bytes(b"what phones write")
    with pytest.raises(DataError, match=r"1.HEIC: images of this kind are not read; convert them"):
        load(tmp_path)


def test_runs_among_the_images_are_no_data(tmp_path):
    for name in "ab":
        write_png(tmp_path / name / "0.png", np.zeros((4, 4)))
    before = load(tmp_path).fingerprint
    run = tmp_path / "runs" / "vae-photos"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text("{}")
    write_png(run / "samples.png", np.zeros((9, 9)))
    assert load(tmp_path).fingerprint == before
    assert load(tmp_path).classes == ("a", "b")


def test_a_folder_is_called_by_its_own_name(tmp_path, monkeypatch):
    write_png(tmp_path / "cats" / "0.png", np.zeros((4, 4)))
    monkeypatch.chdir(tmp_path / "cats")
    assert load(".").name == "cats"


def test_labels_counted_in_other_classes():
    images = np.zeros((3, 2, 2, 1), np.uint8)
    held_out = Dataset("x", images[:1], np.array([1]), ("day", "night"))
    data = Dataset("x", images, np.array([0, 1, 1]), ("day", "night"), test=held_out)
    more = data.with_classes(("dawn", "night", "day"))
    assert more.labels.tolist() == [2, 1, 1]
    assert more.test.labels.tolist() == [1]
    assert more.classes == more.test.classes == ("dawn", "night", "day")


@pytest.mark.parametrize("split", ["val", "valid", "validation"])
def test_folder_with_train_and_validation(tmp_path, split):
    for part, count in (("train", 3), (split, 1)):
        for i in range(count):
            write_png(tmp_path / part / "cat" / f"{i}.png", np.full((4, 4), i))
    data = load(tmp_path)
    assert (data.classes, len(data), len(data.test)) == (("cat",), 3, 1)


def test_folder_with_train_and_test(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            for i in range(count):
                write_png(tmp_path / split / name / f"{i}.png", np.full((4, 4), i))
    data = load(tmp_path)
    assert data.classes == data.test.classes == ("cat", "dog")
    assert (len(data), len(data.test)) == (6, 4)
    write_png(tmp_path / "test" / "cow" / "0.png", np.zeros((4, 4)))
    with pytest.raises(DataError, match="cow"):
        load(tmp_path)


def test_folder_of_grey_and_colour_and_every_mode(tmp_path):
    grey = np.full((4, 4), 100, np.uint8)
    write_png(tmp_path / "a.png", grey)
    assert load(tmp_path).shape == (4, 4, 1)
    rgb = np.zeros((4, 4, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    write_png(tmp_path / "b.png", rgb)
    data = load(tmp_path)
    assert data.images[:, 0, 0].tolist() == [[100, 100, 100], [255, 0, 0]]
    assert load(tmp_path, channels=1).images[:, 0, 0].tolist() == [[100], [76]]
    Image.fromarray(rgb).convert("P").save(tmp_path / "c.png")
    Image.fromarray(rgb).convert("RGBA").save(tmp_path / "d.png")
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "e.png")
    Image.fromarray(np.full((4, 4), 65535, np.uint16)).save(tmp_path / "f.png")
    Image.new("LA", (4, 4), (7, 255)).save(tmp_path / "g.png")
    Image.new("1", (4, 4), 1).save(tmp_path / "h.PNG")
    Image.fromarray(rgb).save(tmp_path / "i.jpeg", quality=100)
    red, white = [255, 0, 0], [255, 255, 255]
    images = load(tmp_path).images[2:, 0, 0]
    assert images[:6].tolist() == [red, red, white, white, [7, 7, 7], white]
    assert abs(images[6].astype(int) - red).max() <= 2


def test_sizes(tmp_path):
    write_png(tmp_path / "a.png", np.full((6, 4), 50))
    write_png(tmp_path / "b.png", np.full((8, 9), 90))
    with pytest.raises(DataError, match=r"a\.png is 4 x 6 pixels, .*b\.png is 9 x 8; .*--size 4"):
        load(tmp_path)
    data = load(tmp_path, size=5)
    assert data.shape == (5, 5, 1)
    assert data.images.max(axis=(1, 2, 3)).tolist() == [50, 90]
    assert load(tmp_path, size=[3, 7]).shape == (3, 7, 1)
    stripes = np.tile(np.array([0, 255], np.uint8), (2, 16, 8))
    assert abs(load(stripes, size=4).images.astype(int) - 127).max() < 40  # antialiased
    for bad in (0, (3,), (1, 2, 3)):
        with pytest.raises(DataError, match="load: size="):
            load(tmp_path, size=bad)


def test_folder_refusals(tmp_path):
    with pytest.raises(DataError, match="no such file or folder; expected strokes, mnist"):
        load(tmp_path / "none")
    with pytest.raises(DataError, match="no images found, it is empty"):
        load(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(DataError, match=r"no images found, it has 1 \.txt \(a\.txt\); exp"):
        load(tmp_path)
    with pytest.raises(DataError, match=r"a\.txt: a file of another kind"):
        load(tmp_path / "a.txt")
    write_png(tmp_path / "b.png", rng.integers(0, 256, (30, 30)))
    with pytest.raises(DataError, match="give its folder"):
        load(tmp_path / "b.png")
    blob = (tmp_path / "b.png").read_bytes()
    for broken in (blob[: len(blob) // 2], b"", b"\x89PNG\r\n\x1a\n" + b"x" * 50):
        (tmp_path / "b.png").write_bytes(broken)
        with pytest.raises(DataError, match=r"b\.png: cannot be read as an image"):
            load(tmp_path)
    (tmp_path / "b.png").write_bytes(blob)
    write_png(tmp_path / "class" / "c.png", np.zeros((4, 4)))
    with pytest.raises(DataError, match=r"both images \(b.png\) and sub-folders"):
        load(tmp_path)


def test_without_pillow(tmp_path, monkeypatch):
    write_png(tmp_path / "a.png", np.zeros((4, 4)))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r'needs Pillow; run pip install "tinygen\[app\]"'):
        load(tmp_path)
    with pytest.raises(DataError, match="needs Pillow"):
        load(np.zeros((2, 4, 4), np.uint8), size=8)
    load(np.zeros((2, 4, 4), np.uint8), size=4)


# ---- .npy and .npz ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 6, 7), (6, 7, 1)),
        ((5, 6, 3), (6, 3, 1)),
        ((5, 6, 7, 1), (6, 7, 1)),
        ((5, 6, 7, 3), (6, 7, 3)),
        ((5, 3, 6, 7), (6, 7, 3)),
        ((5, 1, 6, 7), (6, 7, 1)),
        ((5, 3, 7, 3), (3, 7, 3)),
    ],
)
def test_npy_layouts(tmp_path, shape, expected):
    array = rng.integers(0, 256, shape, np.uint8)
    np.save(tmp_path / "a.npy", array)
    data = load(tmp_path / "a.npy")
    assert data.shape == expected
    assert data.images.sum(dtype=int) == array.sum(dtype=int)


@pytest.mark.parametrize(
    ("values", "value_range", "expected"),
    [
        ([0.0, 0.5, 1.0], None, [0, 128, 255]),
        ([-1.0, 0.0, 1.0], None, [0, 128, 255]),
        ([0.0, 100.0, 254.6], None, [0, 100, 255]),
        ([0.0, 0.5, 1.0], (-1, 1), [128, 191, 255]),
        ([2.0, 3.0, 4.0], (2, 4), [0, 128, 255]),
        (np.array([0, 7, 255], np.int64), None, [0, 7, 255]),
        ([False, True, True], None, [0, 255, 255]),
    ],
)
def test_ranges(values, value_range, expected):
    array = np.array(values).reshape(1, 1, 3)
    assert load(array, value_range=value_range).images.ravel().tolist() == expected


@pytest.mark.parametrize(
    ("values", "value_range", "message"),
    [
        ([-3.0, 1.0], None, "values from -3 to 1, expected"),
        ([0.0, 300.0], None, "values from 0 to 300"),
        ([0.0, np.nan], None, "from nan to nan"),
        ([0.0, np.inf], (0, 1), "from 0 to inf: some are not finite"),
        ([0.0, 2.0], (0, 1), r"from 0 to 2, outside value_range=\(0, 1\)"),
        ([0.0, 1.0], (1, 0), "black before white"),
        (np.array([0, 256]), None, "int64 values from 0 to 256"),
        (np.array([1j, 0]), None, "complex128"),
    ],
)
def test_ranges_refused(values, value_range, message):
    with pytest.raises(DataError, match=message):
        load(np.array(values).reshape(1, 1, 2), value_range=value_range)


def test_npy_refusals(tmp_path):
    path = tmp_path / "a.npy"
    for bad, message in (
        (np.zeros((5, 784)), r"\(5, 784\).*reshape rows"),
        (np.zeros((5, 2, 3, 4)), "expected images"),
        (np.zeros((0, 4, 4)), "no images"),
        (np.array([{}]), "cannot be read"),
    ):
        np.save(path, bad)
        with pytest.raises(DataError, match=message):
            load(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="cannot be read"):
        load(path)
    for bad in ({"channels": 2}, {"n": 0}, {"value_range": (1,)}):
        with pytest.raises(DataError, match="load: "):
            load(path, **bad)


def test_npz_of_keras_and_medmnist(tmp_path):
    images, labels = rng.integers(0, 256, (9, 4, 4), np.uint8), np.arange(9, dtype=np.uint8) % 3
    np.savez(tmp_path / "keras.npz", x_train=images[:6], y_train=labels[:6], x_test=images[6:])
    keras = load(tmp_path / "keras.npz")
    np.testing.assert_array_equal(keras.images[..., 0], images[:6])
    np.testing.assert_array_equal(keras.labels, labels[:6])
    assert len(keras.test) == 3
    assert keras.test.labels is None
    np.savez(
        tmp_path / "med.npz",
        train_images=images[:6],
        train_labels=labels[:6, None],
        val_images=images[:2],
        val_labels=labels[:2, None],
        test_images=images[6:],
        test_labels=labels[6:, None],
    )
    med = load(tmp_path / "med.npz", channels=3)
    assert med.labels.tolist() == labels[:6].tolist()
    assert (med.shape, med.test.shape) == ((4, 4, 3), (4, 4, 3))
    several = np.eye(9, dtype=int) + np.eye(9, k=1, dtype=int)
    np.savez(tmp_path / "many.npz", train_images=images, train_labels=several)
    many = load(tmp_path / "many.npz")
    assert many.labels is None
    assert "labels (9, 9) are left out: an image may have several classes" in str(many.report)


def test_npz_refusals(tmp_path):
    path = tmp_path / "a.npz"
    images = np.zeros((4, 3, 3), np.uint8)
    np.savez(path, pictures=images)
    with pytest.raises(DataError, match=r"keys pictures; expected x_train .* or train_images"):
        load(path)
    np.savez(path, x_train=images, y_train=np.zeros(3, int))
    with pytest.raises(DataError, match=r"a\.npz, y_train: 3 labels for 4 images"):
        load(path)
    np.savez(path, x_train=images, x_test=np.zeros((4, 5, 5), np.uint8))
    with pytest.raises(DataError, match=r"training images are 3 x 3, test images 5 x 5.*--size"):
        load(path)
    assert load(path, size=4).test.shape == (4, 4, 1)
    blob = path.read_bytes()
    for broken in (blob[:100], blob[:80] + b"####" + blob[84:]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="cannot be read"):
            load(path, size=4)
    np.savez(path, x_train=np.array([{}]))
    with pytest.raises(DataError, match=r"x_train: cannot be read"):
        load(path)
    np.save(tmp_path / "one.npy", images)
    (tmp_path / "one.npy").rename(path)
    with pytest.raises(DataError, match=r"rename it to \.npy"):
        load(path)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_batch_costs_little_beside_a_training_step(prefetch):
    """Under 5 % of the step of the VAE that it feeds: to make it (prefetch 0), and to take one that
    a thread has made. By the processor time of the thread that trains, so that other work on the
    machine counts on neither side."""
    from time import thread_time

    from tinygen import models
    from tinygen.random import Generator
    from tinygen.tensor import Tensor

    strokes = load("strokes", n=2000)
    model = models.VAE(strokes.shape, rng=Generator(0))
    optimizers = model.optimizers()
    waits, steps = [], []
    with strokes.batches(64, seed=0, epoch=0, prefetch=prefetch) as batches:
        for _ in range(25):
            begun = thread_time()
            batch = next(batches)
            waits.append(thread_time() - begun)
            begun = thread_time()
            model.train_step(Tensor(batch.images), None, optimizers)
            steps.append(thread_time() - begun)
    assert np.median(waits[5:]) < 0.05 * np.median(steps[5:])
