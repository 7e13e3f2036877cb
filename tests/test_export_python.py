"""The Python file: what it draws, what it refuses, and that it needs nothing but Python 3.8."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import graph_rows
import numpy as np
import pytest
from exported import (
    AUTOENCODERS,
    HOSTILE,
    SMALL,
    WINDOWS,
    ends,
    hostile,
    images,
    labels,
    made,
    sealed,
    small,
    windowed,
)

from tinygen import nn, ops
from tinygen.export import Artefact, ExportError, graphs, prepare, python, render, spec, write
from tinygen.images import grid, read_text, to_uint8
from tinygen.models import GAN
from tinygen.random import Generator

SEED = 2**64 - 1


def imported(artefact: Artefact, edit: tuple[str, str] = ("", "")) -> Any:
    """The file as a module, with a text of its description replaced."""
    source = render("python", artefact)[".py"].decode()
    assert edit[0] in source
    return module_of(sealed("python", source.replace(*edit, 1)))


def module_of(source: str) -> Any:
    module = ModuleType("exported_generator")
    exec(compile(source, "generator.py", "exec"), module.__dict__)
    return module


def run(file: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run a file as its receiver may: alone in its folder, without packages or settings."""
    command = [sys.executable, "-I", "-S", "-W", "error", file.name, *map(str, words)]
    return subprocess.run(command, cwd=file.parent, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "digits.py"
    write("python", made("cgan"), path)
    return path


# ---- what it draws -------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("kind", SMALL)
def test_draws_what_the_network_draws(kind: str, precision: str) -> None:
    artefact = made(kind, precision)
    module = imported(artefact)
    assert module.self_test() == []
    assert module.codes(3, SEED) == artefact.codes(3, SEED).tolist()  # to the bit
    z = artefact.codes(5, SEED)
    label = labels(artefact, 5)
    drawn = [
        module.decode(c, int(k) if artefact.classes else None)
        for c, k in zip(z, label, strict=True)
    ]
    expected = to_uint8(images(artefact, 5, SEED), artefact.value_range)
    pixels = np.frombuffer(b"".join(drawn), np.uint8).reshape(expected.shape).astype(int)
    assert np.abs(pixels - expected).max() <= 1
    assert expected.std() > 5


@pytest.mark.parametrize("kind", SMALL)
def test_every_operation(kind: str) -> None:
    artefact = made(kind)
    module = imported(artefact)
    for part, packed in artefact.graphs.items():
        shape = packed.graph.inputs[0].shape[1:]
        x = np.random.default_rng(1).normal(size=(1, *shape))
        inputs = [x, np.array([1])][: len(packed.graph.inputs)]
        expected = packed.trace(inputs, "float64")
        for ours, theirs in zip(module.trace(part, x.ravel(), 1), expected, strict=True):
            np.testing.assert_allclose(ours, theirs.ravel(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("window", range(len(WINDOWS)))
def test_windows(window: int) -> None:
    artefact = windowed(window)
    x = artefact.codes(1, 4)[0]
    drawn = imported(artefact).trace("draw", x.tolist())[-1]
    np.testing.assert_allclose(drawn, images(artefact, 1, 4).ravel(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", AUTOENCODERS)
def test_encodes(kind: str) -> None:
    artefact = made(kind)
    module = imported(artefact)
    level = np.random.default_rng(2).integers(0, 256, (1, artefact.pixels))
    both = ends(artefact, level / 255, 2)
    mean, logvar = module.encode(level[0].tolist(), 2 if artefact.classes else None)
    np.testing.assert_allclose([*mean, *logvar], both[0], rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="expected 144 grey levels"):
        module.encode([0] * 143)
    with pytest.raises(ValueError, match="0 to 255"):
        module.encode([256] * 144)


def test_image_i_does_not_depend_on_n_and_labels_come_in_rows_of_ten() -> None:
    module = imported(made("cgan"))
    several = module.generate(33, seed=5)
    assert several[:2] == module.generate(2, seed=5)
    z = module.codes(33, 5)
    assert several == [module.decode(c, i // 10 % 3) for i, c in enumerate(z)]
    assert module.generate(18, seed=5, label=2)[17] == module.decode(z[17], 2) != several[17]


@pytest.mark.parametrize(
    ("kind", "n", "columns"), [("cgan", 7, 3), ("odd", 4, None), ("vae", 1, 9)]
)
def test_png_is_the_one_that_tinygen_writes(kind: str, n: int, columns: int | None) -> None:
    artefact = made(kind)
    module = imported(artefact)
    drawn = module.generate(n, 3)
    array = np.frombuffer(b"".join(drawn), np.uint8).reshape(n, *artefact.shape)
    text = {"Model": f"{artefact.model} {artefact.weights}", "Seed": 3}
    assert module.png(drawn, columns, {"Seed": 3}) == grid(array, columns).png(text)


def test_values_out_of_the_range_are_clipped() -> None:
    artefact = made("gan")
    module = imported(artefact, ('"range": [-1.0,1.0]', '"range": [-0.1,0.1]'))
    levels = to_uint8(images(artefact, 2, 0).clip(-0.1, 0.1), (-0.1, 0.1))
    pixels = np.frombuffer(b"".join(module.generate(2, 0)), np.uint8).reshape(levels.shape)
    assert np.abs(pixels.astype(int) - levels).max() <= 1
    assert {0, 255} < set(pixels.ravel().tolist())


def test_a_part_alone() -> None:
    decoder = imported(made("vae", part="draw"))
    assert decoder.self_test() == []
    with pytest.raises(ValueError, match="no part encode"):
        decoder.encode([0] * 144)
    encoder = imported(made("vae", part="encode"))
    assert encoder.self_test() == []
    with pytest.raises(ValueError, match="no part draw"):
        encoder.generate(1)


# ---- the command line ----------------------------------------------------------------------------


def test_command_line(digits: Path) -> None:
    words = ("--n", 5, "--seed", 1, "--label", 2, "--columns", 4)
    done = run(digits, *words, "--out", "grid.png", "--raw", "all.raw")
    assert (done.returncode, done.stderr) == (0, "")
    module = imported(made("cgan"))
    drawn = module.generate(5, 1, 2)
    folder = digits.parent
    assert (folder / "all.raw").read_bytes() == b"".join(drawn)
    assert (folder / "grid.png").read_bytes() == module.png(drawn, 4, {"Seed": 1})
    assert read_text(folder / "grid.png") == {
        "Software": made("cgan").describe()["made by"],
        "Description": "synthetic image generated by a model",
        "Model": "cgan 0123456789abcdef", "Seed": "1",
    }  # fmt: skip
    test = run(digits, "--self-test")
    assert (test.returncode, test.stdout) == (0, "self-test passed\n")
    about = run(digits, "--about").stdout
    assert '"licence of weights and data": "CC BY 4.0"' in about
    assert '"licence of the code": "MIT"' in about
    assert sorted(p.name for p in folder.iterdir()) == ["all.raw", "digits.py", "grid.png"]


@pytest.mark.parametrize(("words", "says"), [
    (("--n", 0), "n is 0, expected 1 to"),
    (("--n", "x"), "invalid int value: 'x'"),
    (("--seed", -1), "seed is -1, expected 0 to 18446744073709551615"),
    (("--seed", 2**64), "expected 0 to 18446744073709551615"),
    (("--label", 3), "label is 3, expected 0 to 2 (0: 'cat', 1: 'dog', 2: 'digit 3')"),
    (("--label", "cats"), "label is 'cats', expected the name or number of a class (0: 'cat', 1:"),
    (("--label", -1), "label is '-1', expected the name or number of a class (0: 'cat', 1: 'dog'"),
    (("--label", ""), "label is '', expected the name or number of a class (0: 'cat', 1: 'dog'"),
    (("--columns", 0), "columns is 0, expected 1 to"),
    (("--out", "missing/grid.png"),
     "cannot write the file, nothing was changed: [Errno 2] No such file or directory: "
     "'missing/grid.png'\n"),
    (("--out", "."), "directory: '.'\n"),
])  # fmt: skip
def test_bad_input(digits: Path, words: tuple[object, ...], says: str) -> None:
    done = run(digits, *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (digits.parent / "samples.png").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no /dev/full")
@pytest.mark.parametrize("words", ["--about", "--self-test", "--help", "--n 2 --out über.png"])
@pytest.mark.parametrize("how", ["> /dev/full", "| head -0", ">&-"])
def test_a_console_that_is_full_or_gone(digits: Path, words: str, how: str) -> None:
    command = f"{sys.executable} -I -S -W error {digits.name} {words} {how}"
    done = subprocess.run(
        command, shell=True, cwd=digits.parent, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == "" or (words, how) == ("--help", ">&-")  # Python's own way out
    assert done.returncode == 0
    if "über" in words:
        (digits.parent / "über.png").unlink()


def test_a_console_without_the_letters_of_a_name(digits: Path) -> None:
    command = [sys.executable, digits.name, "--n", "1", "--out", "über.png"]
    done = subprocess.run(
        command, cwd=digits.parent, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1 images in \\xfcber.png\n"
    (digits.parent / "über.png").unlink()


@pytest.mark.parametrize("wrong", [1.5, "1", None])
def test_bad_arguments(wrong: Any) -> None:
    module = imported(made("vae"))
    with pytest.raises(ValueError, match="without labels"):
        module.generate(1, label=0)
    with pytest.raises(ValueError, match="expected a code of 4"):
        module.decode([0.0] * 3)
    with pytest.raises(ValueError, match="expected a whole number"):
        module.generate(wrong)
    with pytest.raises(ValueError, match="expected a whole number"):
        module.codes(1, wrong)


def test_sixteen_images_of_a_dense_gan_take_seconds(tmp_path: Path) -> None:
    model = GAN((28, 28, 1), rng=Generator(0)).eval()
    write("python", prepare(model, "dense", "0"), tmp_path / "dense.py")
    begin = time.perf_counter()
    done = run(tmp_path / "dense.py", "--n", 16)
    seconds = time.perf_counter() - begin
    assert done.stdout == "16 images in samples.png\n"
    assert seconds < 10  # about 0.6 s of a free core


# ---- damage, hostile text, size ------------------------------------------------------------------


def damaged(source: str, n: int) -> dict[str, str]:
    """The file with a letter of its weights or description changed in n places, and cut short."""
    start = source.index('WEIGHTS = r"""') + 14
    end = source.index('"""', start)
    random = np.random.default_rng(0)
    faults = {"short": source[: end - 4] + source[end:], "none": source[:start] + source[end:]}
    faults["longer"] = source[:end] + "AAAA" + source[end:]
    first = source.index("MODEL = described(") + 21
    last = source.index('"""', first)
    for _ in range(n):
        for what, low, high in (("weights", start + 1, end - 2), ("description", first, last)):
            at = int(random.integers(low, high))
            while source[at] in '="\\\n':  # what base64 ends with, and what Python itself refuses
                at -= 1
            letter = "B" if source[at] == "A" else "A"
            faults[f"{what} {at}"] = source[:at] + letter + source[at + 1 :]
    return faults


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_every_changed_letter_is_found(precision: str) -> None:
    source = render("python", made("cvae", precision))[".py"].decode()
    for what, file in damaged(source, 25).items():
        with pytest.raises(ValueError, match=r"damaged: the SHA-256 of its .* expected"):
            module_of(file).generate(1)
        if not what.startswith("description"):
            (fault,) = module_of(file).self_test()
            assert "damaged" in fault


def test_damage_ends_the_program_with_a_message(tmp_path: Path) -> None:
    source = render("python", made("vae"))[".py"].decode()
    for file in damaged(source, 1).values():
        path = tmp_path / "damaged.py"
        path.write_text(file, "utf-8")
        for words in (("--self-test",), ("--out", "a.png")):
            done = run(path, *words)
            assert done.returncode == 1
            assert done.stderr.startswith("self-test FAILED: " if len(words) == 1 else "this file")
            assert "another copy" in done.stderr
            assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["damaged.py"]


def test_what_the_arithmetic_gives_is_tested_too(tmp_path: Path) -> None:
    artefact = made("vae")
    code = spec.encoded(artefact.test.code)
    module = imported(artefact, (code, spec.encoded(np.zeros(4, np.float32))))
    assert any("code 0 of seed 0 is not" in fault for fault in module.self_test())
    module = imported(artefact, ('"op":"sigmoid"', '"op":"relu"'))
    assert any("grey levels off" in fault for fault in module.self_test())


def test_labels_have_names() -> None:
    module = imported(made("cgan"))
    for number, name in enumerate(("cat", "dog", "digit 3")):
        assert module.generate(2, 4, name) == module.generate(2, 4, number)
        assert module.generate(2, 4, str(number)) == module.generate(2, 4, number)
    tens = prepare(small("cgan"), "tens", "0", classes=("2", "10", "1"))
    module = imported(tens)  # a name goes before a number
    assert module.generate(1, 4, "2") == module.generate(1, 4, 0)
    assert module.generate(1, 4, "1") == module.generate(1, 4, 2)
    assert module.generate(1, 4, 1) == module.generate(1, 4, "10")
    said = r"label is .*, expected .*\((0: )?'2', (1: )?'10', (2: )?'1'\)"
    for wrong in ("0", "3", "bird", "", " 1", "1.0", "\u0662", 1.5, -1, 3, "9" * 5000):
        with pytest.raises(ValueError, match=said):
            module.generate(1, 0, wrong)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    artefact = hostile()
    source = render("python", artefact)[".py"].decode("ascii")
    plain = ast.parse(render("python", made("cvae"))[".py"])
    assert [type(n) for n in ast.walk(ast.parse(source))] == [type(n) for n in ast.walk(plain)]
    module = imported(artefact)
    assert artefact.describe() == module.ABOUT
    assert module.ABOUT["title"] == HOSTILE
    assert module.self_test() == []
    path = tmp_path / "hostile.py"
    write("python", artefact, path)
    assert run(path, "--about").returncode == 0
    assert run(path, "--label", 9).returncode == 2


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_size_and_the_same_bytes_twice(precision: str) -> None:
    artefact = made("cgan", precision)
    blob = render("python", artefact)[".py"]
    assert blob == render("python", artefact)[".py"]
    assert len(blob) <= 1.4 * artefact.nbytes + 40_000
    assert max(map(len, blob.split(b"\n"))) < 4000
    for private in (str(Path.home()), os.getcwd(), "/home/"):
        assert private.encode() not in blob


def test_is_python_3_8() -> None:
    source = render("python", made("odd"))[".py"].decode()
    tree = ast.parse(source, feature_version=(3, 8))
    roots = {
        (n.names[0].name if isinstance(n, ast.Import) else str(n.module)).split(".")[0]
        for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))
    }  # fmt: skip
    assert roots <= sys.stdlib_module_names


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = imported(made("vae"))
    path = tmp_path / "grid.png"
    module.save(str(path), b"old")

    def interrupt(*paths: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        module.save(str(path), b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


# ---- a row an operation --------------------------------------------------------------------------


@pytest.mark.parametrize("name", graph_rows.ALL)
def test_a_row_computes_what_its_operation_does(name: str) -> None:
    packed, x = graph_rows.packed(name), graph_rows.argument()
    if name in graph_rows.FUNCTIONS:
        assert name in {op.name for op in packed.graph.ops}
    module = module_of(render("python", made("vae"))[".py"].decode())
    about = json.loads(json.dumps(graphs.described(packed)))
    ours = module.Graph(about, io.BytesIO(graphs.blob(packed))).run([x.ravel().tolist()])
    expected = [*packed.trace([x], "float64"), packed(x, floats="float64")]
    for array, theirs in zip(ours, expected, strict=True):
        assert array.shape == theirs.shape
        np.testing.assert_allclose(list(array.values), theirs.ravel(), rtol=1e-9, atol=1e-9)


def test_every_row_of_the_form_is_known_and_tried() -> None:
    module = module_of(render("python", made("vae"))[".py"].decode())
    tables = (module.POINTWISE, module.REDUCED, module.OTHERS)
    assert {"cast", "repeat", *(name for table in tables for name in table)} == python.OPERATIONS
    assert set(graph_rows.FUNCTIONS) == python.OPERATIONS


def test_an_operation_without_a_row_is_refused_by_name_and_line() -> None:
    model = GAN((12, 12, 1), latent=5, rng=Generator(0)).eval()
    packed = graphs.drawing(padded(model))
    with pytest.raises(ExportError, match=r"py:\d+: the form python has no row for pad; it has"):
        graphs.refuse(packed, python.OPERATIONS, "python")


def padded(model: GAN) -> GAN:
    class Padded(nn.Module):
        def forward(self, z: Any) -> Any:
            return ops.pad(z.reshape(-1, 1, 5, 1), pad_width=((0, 0), (5, 6), (3, 4), (0, 0)))

    model.generator = Padded()
    return model
