"""The safetensors form: the weights as they are used, and a card whose code runs as written."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import graph_rows
import numpy as np
import pytest
import safetensors.numpy
from exported import AUTOENCODERS, SMALL, WINDOWS, ends, hostile, images, labels, made, windowed

from tinygen.export import Artefact, render, spec, write
from tinygen.export import safetensors as form
from tinygen.io import load


def blocks(card: str) -> list[str]:
    """The blocks of code of a card: for NumPy and for PyTorch."""
    return re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)


def loaded(artefact: Artefact, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the NumPy code of the card leaves, run beside the file."""
    write("safetensors", artefact, folder / f"{artefact.name}.safetensors")
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(blocks((folder / f"{artefact.name}.md").read_text("utf-8"))[0], names)
    return names


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("kind", SMALL)
def test_the_code_of_the_card(
    kind: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact = made(kind, precision)
    forward = loaded(artefact, tmp_path, monkeypatch)["forward"]
    z, label = artefact.codes(3, 1), labels(artefact, 3)
    drawn = forward("draw", z, label).reshape(3, *artefact.shape)
    np.testing.assert_allclose(drawn, images(artefact, 3, 1), rtol=1e-5, atol=1e-5)
    if "encode" in artefact.graphs:
        x = np.random.default_rng(0).uniform(size=(3, artefact.pixels)).astype(np.float32)
        expected = ends(artefact, x, label)
        np.testing.assert_allclose(forward("encode", x, label), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", range(len(WINDOWS)))
def test_windows(window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artefact = windowed(window)
    drawn = loaded(artefact, tmp_path, monkeypatch)["drawn"]
    np.testing.assert_allclose(drawn, images(artefact, 1, 0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_an_encoder_alone(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = loaded(made(kind, part="encode"), tmp_path, monkeypatch)
    assert names["mean"].shape == (1, 4)
    assert "drawn" not in names


def test_damage_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single bit of a weight, and of what the metadata say."""
    files = render("safetensors", made("gan"))
    monkeypatch.chdir(tmp_path)
    for place in (-1, -600, files[".safetensors"].index(b"image")):
        blob = bytearray(files[".safetensors"])
        blob[place] ^= 1
        (tmp_path / "gan_test.safetensors").write_bytes(blob)
        with pytest.raises(AssertionError, match="changed since it was written"):
            exec(blocks(files[".md"].decode())[0], {})


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_weights_are_stored_as_they_are(precision: str, tmp_path: Path) -> None:
    artefact = made("cvae", precision)
    path = tmp_path / "cvae.safetensors"
    assert write("safetensors", artefact, path) == [path, tmp_path / "cvae.md"]
    found, reference = load(path), safetensors.numpy.load_file(path)
    assert sorted(found) == sorted(reference)
    for part, packed in artefact.graphs.items():
        products = [op for op in packed.graph.ops if op.traits.weighs]
        for k, op in enumerate(products):
            name, stored = f"{part}.{k}", packed.stored[op.args[1]]
            assert found[f"{name}.weight"].dtype == precision
            np.testing.assert_array_equal(reference[f"{name}.weight"], stored.values)
            assert found[f"{name}.bias"].shape == op.outs[0].shape[-1:]
            assert (f"{name}.scale" in found) == (precision == "int8")
    parts = found.metadata.pop("parts")
    assert found.metadata == spec.description(artefact)
    names = {
        about["name"] for part in parts.values() for about in part["constants"] if "name" in about
    }
    assert names == {name for name in found if not name.endswith("scale")}
    assert path.stat().st_size < artefact.nbytes + 8000


def test_the_card_says_what_it_is() -> None:
    card = render("safetensors", made("cdcgan"))[".md"].decode()
    assert card.startswith("---\nlicense: cc-by-4.0\nlibrary_name: tinygen\n")
    for said in (
        "# cdcgan test\n", "| epochs | 3 |", "| KID | 0.0125 |", "synthetic", "1: dog",
        "| draw.2 | conv_transpose | 3 x 3 x 4 | 6 x 6 x 2 | leaky_relu | 5 x 5, stride 2 x 2 |",
    ):  # fmt: skip
        assert said in card, said


def test_hostile_text_stays_text() -> None:
    plain = render("safetensors", made("cvae"))[".md"].decode()
    files = render("safetensors", hostile())
    card = files[".md"].decode()
    matter, rest = card.split("\n---\n", 1)
    lines = matter.split("\n")
    assert lines[:2] == ["---", "license: other"]
    assert re.fullmatch(r'license_name: "([^"\\]|\\["\\])*"', lines[2])
    assert lines[3:] == plain.split("\n---\n", 1)[0].split("\n")[2:]
    expected = plain.split("\n---\n", 1)[1]
    for mark in ("```", "\n# ", "\n## ", "\n---", "<", "\n|", "\n\n"):
        assert rest.count(mark) == expected.count(mark), mark
    assert {c for c in card if not c.isprintable()} == {"\n"}
    pipes = [len(re.findall(r"\|", line)) for line in card.split("\n") if line.startswith("|")]
    assert set(pipes) == {3, 8}  # the ends of two or seven cells
    assert blocks(card)[0] == blocks(plain)[0].replace("cvae_test", hostile().name)
    length = int.from_bytes(files[".safetensors"][:8], "little")
    header = json.loads(files[".safetensors"][8 : 8 + length])
    said = json.loads(header["__metadata__"]["tinygen"])
    assert list(said.pop("parts")) == list(hostile().graphs)
    assert said == spec.description(hostile())


def test_the_same_bytes_twice() -> None:
    assert render("safetensors", made("vae")) == render("safetensors", made("vae"))


# ---- a row an operation --------------------------------------------------------------------------


def rows_of(name: str, path: Path) -> dict[str, Any]:
    """What a loader leaves that reads a file whose parts are the functions of graph_rows."""
    parts = {kind: graph_rows.packed(kind) for kind in graph_rows.ALL}
    artefact = dataclasses.replace(made("gan"), graphs=parts)
    path.write_bytes(render("safetensors", artefact)[".safetensors"])
    names: dict[str, Any] = {}
    exec(form.loader(name, str(path), artefact), names)
    return names


def test_each_row_of_the_code_for_numpy(tmp_path: Path) -> None:
    names, x = rows_of("load_numpy.py", tmp_path / "rows.safetensors"), graph_rows.argument()
    assert {"repeat", *names["ROWS"]} == form.OPERATIONS
    for kind in graph_rows.ALL:
        packed = graph_rows.packed(kind)
        ours = [*packed.trace([x]), packed(x)]
        for found, array in zip(names["trace"](kind, x), ours, strict=True):
            assert found.shape == array.shape, kind
            np.testing.assert_allclose(found, array, 2e-5, 2e-5, err_msg=kind)


def test_each_row_of_the_code_for_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    names, x = rows_of("load_torch.py", tmp_path / "rows.safetensors"), graph_rows.argument()
    assert {"repeat", *names["ROWS"]} == form.OPERATIONS
    for kind in graph_rows.ALL:
        found, array = names["forward"](kind, torch.tensor(x)), graph_rows.packed(kind)(x)
        assert found.shape == array.shape, kind
        np.testing.assert_allclose(found.numpy(), array, 2e-5, 2e-5, err_msg=kind)


def test_a_card_has_the_rows_of_its_model_only() -> None:
    for kind, without in (("vae", "convolve"), ("dcgan", "softmax")):
        for code in blocks(render("safetensors", made(kind))[".md"].decode()):
            assert without not in code
            assert "# for" not in code
            assert len(code.splitlines()) < 130
