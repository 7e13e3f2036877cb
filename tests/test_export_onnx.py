"""The ONNX form: valid, quiet, and the same numbers in the reference evaluator and the runtime."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import graph_rows
import numpy as np
import onnx
import onnxruntime
import pytest
from exported import AUTOENCODERS, SMALL, WINDOWS, ends, hostile, images, labels, made, windowed
from onnx.reference import ReferenceEvaluator

from tinygen.export import Artefact, ExportError, render, spec, write
from tinygen.export import onnx as onnx_form
from tinygen.images import to_uint8

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def run(blob: bytes, feed: dict[str, Any]) -> list[list[Any]]:
    """The outputs in ONNX Runtime and in ONNX's own evaluator."""
    session = onnxruntime.InferenceSession(blob, providers=["CPUExecutionProvider"])
    return [
        session.run(None, feed),
        ReferenceEvaluator(onnx.load_from_string(blob)).run(None, feed),
    ]


def properties(blob: bytes) -> dict[str, str]:
    return {p.key: p.value for p in onnx.load_from_string(blob).metadata_props}


def inputs(artefact: Artefact, name: str, x: Any) -> dict[str, Any]:
    return {name: x, **({"label": labels(artefact, len(x))} if artefact.classes else {})}


@pytest.mark.parametrize("lower", [False, True], ids=["", "lowered"])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("kind", SMALL)
def test_the_same_numbers(
    kind: str, precision: str, lower: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    artefact = made(kind, precision)
    files = render("onnx", artefact, lower_conv_transpose=lower)
    for blob in files.values():
        model = onnx.load_from_string(blob)
        onnx.checker.check_model(model, full_check=True)
        operators = {node.op_type for node in model.graph.node}
        assert not (lower and "ConvTranspose" in operators)
    n = {"float32": 5, "float16": 1, "int8": 2}[precision]
    expected = images(artefact, n, seed=3)
    for image, pixels in run(files[".onnx"], inputs(artefact, "code", artefact.codes(n, 3))):
        assert (image.dtype, pixels.dtype) == (np.float32, np.uint8)
        np.testing.assert_allclose(image, expected, **CLOSE)
        levels = to_uint8(expected, artefact.value_range)
        assert np.abs(pixels.astype(int) - levels).max() <= 1
        assert np.mean(pixels != levels) < 0.01  # rounded: only ties may differ
    assert capfd.readouterr().err == ""  # warnings of the runtime


@pytest.mark.parametrize("window", range(len(WINDOWS)))
def test_windows(window: int) -> None:
    artefact = windowed(window)
    expected = images(artefact, 2, seed=0)
    for lower in (False, True):
        blob = render("onnx", artefact, lower_conv_transpose=lower)[".onnx"]
        onnx.checker.check_model(onnx.load_from_string(blob), full_check=True)
        for image, _ in run(blob, {"code": artefact.codes(2, 0)}):
            np.testing.assert_allclose(image, expected, **CLOSE)


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_encoder(kind: str) -> None:
    artefact = made(kind)
    files = render("onnx", artefact)
    assert list(files) == [".onnx", ".encode.onnx"]
    x = np.random.default_rng(0).uniform(size=(4, *artefact.shape)).astype(np.float32)
    both = ends(artefact, x, labels(artefact, 4))
    for mean, logvar in run(files[".encode.onnx"], inputs(artefact, "image", x)):
        np.testing.assert_allclose(np.concatenate([mean, logvar], axis=1), both, **CLOSE)


def test_an_encoder_alone_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "small.v2.onnx"
    assert write("onnx", made("vae", part="encode"), path) == [path]
    assert onnx.load(path).graph.input[0].name == "image"
    two = write("onnx", made("vae"), path)
    assert [p.name for p in two] == ["small.v2.onnx", "small.v2.encode.onnx"]


@pytest.mark.parametrize("kind", ["dcgan", "odd"])
def test_values_have_the_names_of_the_operations(kind: str) -> None:
    """As tools that compare them need it; those that lie as NCHW are called planes."""
    artefact = made(kind)
    model = onnx.load_from_string(render("onnx", artefact)[".onnx"])
    z = artefact.codes(2, 0)
    expected = artefact.graphs["draw"].trace([z])
    found = {name for node in model.graph.node for name in node.output}
    names = [f"draw.{k}" for k in range(len(expected))]
    names = [name if name in found else f"{name}.planes" for name in names]
    assert [name for name in names if name.endswith("planes")]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for name, value, theirs in zip(names, session.run(names, {"code": z}), expected, strict=True):
        nhwc = value.transpose(0, 2, 3, 1) if name.endswith("planes") else value
        np.testing.assert_allclose(nhwc, theirs, **CLOSE)


def rows_as_a_model(name: str, lower: bool) -> bytes:
    """The file of a function of graph_rows, whose result may be of any shape and dtype."""
    packed, file = graph_rows.packed(name), onnx_form.File()
    x = onnx_form.whole("rows", file, packed, lower, {"x": (3, 4)})
    out = packed.graph.outputs[0]
    shape = [k if isinstance(k, int) else None for k in out.shape]
    file.named("y", file.add("Identity", x))
    file.ends["outputs"].append(file.about("y", out.dtype, shape))
    return file.model(made("vae"), "rows")


@pytest.mark.parametrize("name", graph_rows.ALL)
def test_a_row_computes_what_its_operation_does(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    packed = graph_rows.packed(name)
    for lower in (False, True) if "conv2d_dx" in {op.name for op in packed.graph.ops} else (False,):
        blob = rows_as_a_model(name, lower)
        onnx.checker.check_model(onnx.load_from_string(blob), full_check=True)
        for n in (1, 3):
            x = graph_rows.argument(n)
            for (y,) in run(blob, {"x": x}):
                expected = packed(x)
                assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
                np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)
    assert capfd.readouterr().err == ""


def test_every_row_of_the_form_is_tried() -> None:
    assert set(graph_rows.FUNCTIONS) == onnx_form.OPERATIONS


def test_batch_is_symbolic_and_versions_are_old() -> None:
    model = onnx.load_from_string(render("onnx", made("cvae"))[".onnx"])
    ends = [*model.graph.input, *model.graph.output]
    assert [e.name for e in ends] == ["code", "label", "image", "pixels"]
    assert {e.type.tensor_type.shape.dim[0].dim_param for e in ends} == {"n"}
    assert (model.ir_version, [o.version for o in model.opset_import]) == (7, [13])


@pytest.mark.parametrize("label", [-1, -3, 3, 2**40])
def test_labels_out_of_range_are_refused(label: int) -> None:
    artefact = made("cgan")
    feed = {"code": artefact.codes(1, 0), "label": np.array([label])}
    blob = render("onnx", artefact)[".onnx"]
    session = onnxruntime.InferenceSession(blob, providers=["CPUExecutionProvider"])
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        session.run(None, feed)
    with pytest.raises(IndexError):
        ReferenceEvaluator(onnx.load_from_string(blob)).run(None, feed)


@pytest.mark.parametrize("kind", ["cvae", "odd"])
def test_metadata_has_the_self_test(kind: str) -> None:
    artefact = made(kind, "int8")
    files = render("onnx", artefact)
    said = properties(files[".onnx"])
    assert said["licence of the code"] == "MIT"
    assert said["licence of weights and data"] == "CC BY 4.0"
    assert said["model"] == kind or kind == "odd"
    test = json.loads(said["self_test"])
    code = np.frombuffer(base64.b64decode(test["code"]), "<f4")[None]
    image = np.frombuffer(base64.b64decode(test["image"]), np.uint8).reshape(artefact.shape)
    label = {"label": np.array([test["label"]])} if artefact.classes else {}
    for _, pixels in run(files[".onnx"], {"code": code, **label}):
        assert np.abs(pixels[0].astype(int) - image).max() <= 1
    if "encode" in artefact.graphs:
        low, high = json.loads(said["range"])
        x = (image[None] / 255 * (high - low) + low).astype(np.float32)
        mean = np.frombuffer(base64.b64decode(test["mean"]), "<f4")
        for found, _ in run(files[".encode.onnx"], {"image": x, **label}):
            np.testing.assert_allclose(found[0], mean, atol=1e-3)


def test_hostile_text_stays_text() -> None:
    artefact = hostile()
    for blob in render("onnx", artefact).values():
        onnx.checker.check_model(onnx.load_from_string(blob), full_check=True)
        said = properties(blob)
        assert said["title"] == spec.utf8(artefact.title)
        assert json.loads(said["classes"]) == list(artefact.classes)


def test_size_and_the_same_bytes_twice() -> None:
    for precision in ("float32", "float16", "int8"):
        artefact = made("conv-gan", precision)
        blob = render("onnx", artefact)[".onnx"]
        assert blob == render("onnx", artefact)[".onnx"]
        assert len(blob) < artefact.nbytes + 6000


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r'pip install "tinygen\[onnx\]"'):
        render("onnx", made("gan"))
