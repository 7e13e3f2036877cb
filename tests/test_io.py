"""Safetensors files against the safetensors package, and files written whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import stat
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygen import io

oracle = pytest.importorskip("safetensors.numpy")

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">f4", ">i8"]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda name: name != "__metadata__"
)


@st.composite
def arrays(draw):
    """Any dtype of the format, 0-d and zero-size shapes, either byte order, any strides."""
    array = draw(
        hnp.arrays(draw(st.sampled_from(DTYPES)), hnp.array_shapes(min_dims=0, min_side=0))
    )
    if array.ndim:
        array = array[:: draw(st.sampled_from([1, 2, -1]))]
    return array.transpose() if draw(st.booleans()) else array


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def same(left, right):
    left, right = np.asarray(left), np.asarray(right)
    native = left.dtype.newbyteorder("=")
    assert right.dtype == native
    assert left.shape == right.shape
    assert left.astype(native).tobytes() == right.tobytes()


@given(st.dictionaries(NAMES, arrays(), max_size=4), st.dictionaries(st.text(), JSON, max_size=4))
def test_round_trip_and_the_package_reads_it(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.mktemp("io") / "a.safetensors"
    io.save(path, tensors, metadata)
    mine, theirs = io.load(path), oracle.load_file(path)
    assert mine.keys() == theirs.keys() == tensors.keys()
    assert mine.metadata == metadata
    for name, array in tensors.items():
        same(array, mine[name])
        same(array, theirs[name])
        assert mine[name].flags.writeable
    assert not list(path.parent.glob(".*"))
    shuffled = dict(reversed(list(tensors.items())))
    before = path.read_bytes()
    io.save(path, shuffled, dict(reversed(list(metadata.items()))))
    assert path.read_bytes() == before  # the same arrays give the same bytes


@given(st.dictionaries(NAMES.filter(bool), arrays(), max_size=4))
def test_reads_what_the_package_writes(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("io") / "b.safetensors"
    native = {k: np.array(v, v.dtype.newbyteorder("="), order="C") for k, v in tensors.items()}
    oracle.save_file(native, path, metadata={"format": "np"})
    mine = io.load(path)
    assert mine.metadata == {"format": "np"}
    assert mine.keys() == native.keys()
    for name, array in native.items():
        same(array, mine[name])


def test_layout(tmp_path):
    path = tmp_path / "c.safetensors"
    io.save(path, {"b": np.ones(3, "u1"), "a": np.ones(3, "f4"), "z": np.ones(3)}, {"b": 1, "a": 2})
    blob = path.read_bytes()
    length = int.from_bytes(blob[:8], "little")
    assert length % 8 == 0
    header = json.loads(blob[8 : 8 + length])
    assert list(header) == ["__metadata__", "z", "a", "b"]  # wide items first: all are aligned
    said = header["__metadata__"]
    assert list(said) == ["sha256", "tinygen"]
    assert said["tinygen"] == '{"a": 2, "b": 1}'
    zeros = blob.replace(said["sha256"].encode(), b"0" * 64, 1)
    assert hashlib.sha256(zeros).hexdigest() == said["sha256"]


def test_accepts_what_has_a_numpy_method(tmp_path):
    class Boxed:
        def numpy(self):
            return np.arange(3.0)

    io.save(tmp_path / "t", {"x": Boxed()})
    np.testing.assert_array_equal(io.load(tmp_path / "t")["x"], [0, 1, 2])
    assert io.load(tmp_path / "t").metadata == {}


@pytest.mark.parametrize("bad", [np.ones(2, complex), np.array(["a"]), np.array([None])])
def test_refuses_dtypes_without_a_code(tmp_path, bad):
    with pytest.raises(TypeError, match=r"save: array 'x' has dtype .*float32.*astype"):
        io.save(tmp_path / "x", {"x": bad})
    with pytest.raises(TypeError, match="JSON-able"):
        io.save(tmp_path / "x", {}, {"a": object()})
    with pytest.raises(ValueError, match="__metadata__"):
        io.save(tmp_path / "x", {"__metadata__": np.ones(2)})
    assert not list(tmp_path.iterdir())


def file(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype="U8", shape=(2,), offsets=(0, 2)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


CORRUPT = {
    "empty": (b"", "0 bytes"),
    "header longer than the file": (b"\xff" * 16, "header should take"),
    "not JSON": (file(b"hello"), "not JSON"),
    "deep JSON": (file(b"[" * 100_000), "in each other"),
    "not an object": (file([1]), "is a list"),
    "repeated name": (file(b'{"a": 1, "a": 2}'), "repeated"),
    "not an entry": (file({"a": 3}), "lacks dtype"),
    "unknown dtype": (file({"a": entry("BF16")}, b"12"), "BF16.*expected one of BOOL"),
    "unhashable dtype": (file({"a": entry(["U8"])}, b"12"), "expected one of"),
    "shape of text": (file({"a": entry(shape="ab")}, b"12"), "has shape"),
    "negative shape": (file({"a": entry(shape=(-1, -2))}, b"12"), "has shape"),
    "bool in shape": (file({"a": entry(shape=(True, 2))}, b"12"), "has shape"),
    "wrong size": (file({"a": entry(shape=(3,))}, b"123"), "takes 3 bytes"),
    "truncated": (file({"a": entry()}, b"1"), "truncated"),
    "overlap": (file({"a": entry(), "b": entry(offsets=(1, 3))}, b"123"), "begins at byte 1"),
    "gap": (file({"a": entry(), "b": entry(offsets=(3, 5))}, b"12345"), "begins at byte 3"),
    "data left over": (file({"a": entry()}, b"123"), "arrays take 2 bytes, its data 3"),
    "metadata of numbers": (file({"__metadata__": {"a": 1}}), "not a map"),
    "metadata not JSON": (file({"__metadata__": {"tinygen": "{"}}), "metadata is not JSON"),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_corrupt_files(tmp_path, name):
    blob, message = CORRUPT[name]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(blob)
    with pytest.raises(ValueError, match=message) as caught:
        io.load(path)
    assert str(path) in str(caught.value)


@given(st.data())
def test_any_cut_or_change_of_the_header_is_noticed_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("io") / "d.safetensors"
    io.save(path, {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(3)}, {"k": [1]})
    blob = bytearray(path.read_bytes())
    cut = data.draw(st.integers(0, len(blob) - 1))
    path.write_bytes(blob[:cut])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        io.load(path)
    place = data.draw(st.integers(0, len(blob) - 49))
    blob[place] = data.draw(st.integers(0, 255))
    path.write_bytes(blob)
    with contextlib.suppress(ValueError):  # and no other exception
        io.load(path)


def test_every_bit_of_a_file_counts(tmp_path):
    path = tmp_path / "e.safetensors"
    io.save(path, {"a": np.arange(6, dtype="f4"), "b": np.array(True)}, {"k": [1], "t": "x"})
    whole = path.read_bytes()
    with path.open("r+b", buffering=0) as disk:
        for place in range(8 * len(whole)):
            disk.seek(place // 8)
            disk.write(bytes([whole[place // 8] ^ 1 << place % 8]))
            with pytest.raises(ValueError, match="is not a whole safetensors file") as caught:
                io.load(path)
            assert "\n" not in str(caught.value)
            disk.seek(place // 8)
            disk.write(whole[place // 8 : place // 8 + 1])
    assert path.read_bytes() == whole


def test_files_without_a_hash_are_read(tmp_path):
    """Those of before, and of other programs."""
    path = tmp_path / "f.safetensors"
    path.write_bytes(file({"__metadata__": {"tinygen": '{"k": 1}'}, "a": entry()}, b"12"))
    assert io.load(path).metadata == {"k": 1}
    path.write_bytes(file({"__metadata__": {"tinygen": "{}", "format": "pt"}, "a": entry()}, b"12"))
    assert io.load(path)["a"].tolist() == [49, 50]


def test_a_file_that_another_program_wrote_anew_says_so(tmp_path):
    """A hash that stays while the bytes change cannot be told from damage."""
    path = tmp_path / "g.safetensors"
    io.save(path, {"a": np.arange(6, dtype="f4")}, {"k": 1})
    blob = path.read_bytes()
    said = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])["__metadata__"]
    oracle.save_file({"a": np.ones(6, "f4")}, path, metadata=said)
    with pytest.raises(ValueError, match="changed since"):
        io.load(path)


def special(path, kind):
    """A pipe, a folder, or a link to a device."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/zero", "terminal": "/dev/null"}[kind])


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes and devices")
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "terminal"])
@pytest.mark.parametrize("read", [io.load, io.read_json, lambda p: io.read_bytes(p, 100)])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind, read):
    path = tmp_path / "x"
    special(path, kind)
    with pytest.raises(ValueError, match=r"x is a (pipe|folder|device), expected a file"):
        read(path)


@pytest.mark.skipif(sys.platform == "win32", reason="files with holes")
def test_sizes_are_checked_before_memory_is_taken(tmp_path):
    path = tmp_path / "huge"
    path.write_bytes(file({"a": entry("F32", (2**38,), (0, 2**40))}, b""))
    with pytest.raises(ValueError, match=r"ends at byte 1,099,511,627,776 of 0: truncated"):
        io.load(path)
    os.truncate(path, 2**40)  # a file of a terabyte, all of it a hole
    with pytest.raises(ValueError, match=r"huge has 1,099,511,627,776 bytes"):
        io.read_json(path)
    for shape in ((1,) * 200, (2**62, 2**62, 0)):
        data = b"" if 0 in shape else b"1"
        path.write_bytes(file({"a": entry("U8", shape, (0, len(data)))}, data))
        with pytest.raises(ValueError, match="array 'a' of shape"):
            io.load(path)


def test_a_check_comes_before_the_arrays(tmp_path):
    path = tmp_path / "h"
    io.save(path, {"a": np.ones((2, 3))}, {"k": 1})
    seen = []
    io.load(path, lambda metadata, shapes: seen.append((metadata, shapes)))
    assert seen == [({"k": 1}, {"a": (2, 3)})]


JSONS = {
    "deep": (b"[" * 100_000 + b"]" * 100_000, "in each other"),
    "deeper than is any use": (b"[" * 65 + b"]" * 65, "more than 64 lists or objects"),
    "deep in an object": (b'{"a": ' * 70 + b"1" + b"}" * 70, "more than 64"),
    "cut": (b'{"a": 1', "is not JSON"),
    "twice": (b'{"a": 1, "a": 2}', "a name is repeated"),
    "not UTF-8": (b'{"a": "\xff"}', "is not JSON"),
    "many digits": (b"1" * 5000, "is not JSON"),
    "empty": (b"", "is not JSON"),
}


@pytest.mark.parametrize("name", JSONS)
def test_damaged_json(tmp_path, name):
    text, message = JSONS[name]
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError, match=message) as caught:
        io.read_json(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(caught.value)
    (tmp_path / "a.json").write_bytes(b"[" * 64 + b"]" * 64)
    io.read_json(tmp_path / "a.json")


def test_write_replaces_whole_files(tmp_path):
    path = tmp_path / "füür wärts.json"
    io.write_text(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()
    io.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX rights and links")
def test_write_keeps_links_and_gives_usual_rights(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    io.write_bytes(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "model.safetensors"
    io.save(path, {"a": np.ones(3)})
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left") as caught:
        io.save(path, {"a": np.zeros(3)})
    assert str(path) in str(caught.value)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_missing_folder_and_interruption(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="missing"):
        io.write_bytes(tmp_path / "missing" / "a", b"")

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        io.write_bytes(tmp_path / "a", b"")
    assert not list(tmp_path.iterdir())
