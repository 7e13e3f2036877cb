"""The C file: what it draws, what it refuses, and that compilers find nothing to say about it."""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import graph_rows
import numpy as np
import pytest
from exported import (
    AUTOENCODERS,
    SMALL,
    WINDOWS,
    ends,
    hostile,
    images,
    made,
    small,
    varied,
    windowed,
)
from numpy.typing import NDArray

from tinygen import export, nn
from tinygen.export import PRECISIONS, Artefact, c_rows, render
from tinygen.images import SYNTHETIC, grid, read_text, to_uint8
from tinygen.models import CVAE, GAN
from tinygen.random import Generator

SEED = 2**64 - 1
KINDS = [(kind, precision) for kind in SMALL for precision in PRECISIONS]
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
SANITIZED = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]
OK, BAD_LABEL, BAD_INDEX, BAD_CODE, TEST_WEIGHTS, TEST_CODE, TEST_IMAGE, TEST_MEAN = range(8)


def compiled(compiler: str, *words: object) -> None:
    """Compile without a word from the compiler."""
    path = shutil.which(compiler)
    if path is None:
        pytest.skip(f"no {compiler} on the path")
    done = subprocess.run([path, *map(str, words)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def source(artefact: Artefact, folder: Path, edit: tuple[str, str] = ("", "")) -> Path:
    """The file in a folder, with a text in it replaced."""
    files = render("c", artefact)
    text = files[".c"].decode("ascii")
    assert edit[0] in text
    path = folder / f"{artefact.name}.c"
    path.write_text(text.replace(*edit, 1))
    path.with_suffix(".h").write_bytes(files[".h"])
    return path


@cache
def named(kind: str, precision: str = "float32") -> Artefact:
    """Of tests/exported.py, under a name of its own: they all go into one library."""
    return replace(made(kind, precision), name=f"{kind.replace('-', '_')}_{precision}")


def window(k: int) -> Artefact:
    return replace(windowed(k), name=f"window_{k}")


@cache
def large() -> Artefact:
    """More pixels, inputs and outputs of a convolution than the C file takes at a time."""
    rng = Generator(3)
    layers = [
        nn.Reshape(1, 1, 5), nn.ConvTranspose2d(5, 70, (18, 15), rng=rng), nn.SiLU(),
        nn.ConvTranspose2d(70, 131, 2, rng=rng), nn.LeakyReLU(0.2),
        nn.Conv2d(131, 64, 1, rng=rng), nn.Tanh(), nn.Conv2d(64, 3, 3, 2, rng=rng), nn.Tanh(),
    ]  # fmt: skip
    model = GAN((9, 7, 3), latent=5, rng=rng)
    model.generator = nn.Sequential(*layers)
    return export.prepare(varied(model), "large", "0")


class Library:
    """Many models compiled into one shared library."""

    def __init__(self, compiler: str, sources: list[Path], *flags: str) -> None:
        out = sources[0].parent / "library.so"
        flags = ("-std=c99", *STRICT, "-shared", "-fPIC", *flags)
        compiled(compiler, *flags, *sources, "-o", out, "-lm")
        self.functions = ctypes.CDLL(str(out))

    def __call__(self, artefact: Artefact, name: str, *given: Any) -> int:
        """Call a function: arrays as pointers, pairs (seed, index) as such, labels as int."""
        arguments: list[Any] = []
        for x in given:
            if isinstance(x, np.ndarray):
                arguments.append(ctypes.c_void_p(x.ctypes.data))
            elif isinstance(x, tuple):
                arguments += [ctypes.c_uint64(n) for n in x]
            else:
                arguments.append(ctypes.c_int(x))
        result: int = getattr(self.functions, f"{artefact.name}_{name}")(*arguments)
        return result

    def message(self, artefact: Artefact, result: int) -> str:
        function = getattr(self.functions, f"{artefact.name}_message")
        function.restype = ctypes.c_char_p
        text: bytes = function(result)
        return text.decode()

    def decode(self, artefact: Artefact, n: int, seed: int) -> NDArray[np.uint8]:
        """Images of n codes of a seed, with the labels in turn."""
        pixels = np.zeros((n, *artefact.shape), np.uint8)
        space = workspace(artefact)
        for i, z in enumerate(artefact.codes(n, seed)):
            label = i % len(artefact.classes) if artefact.classes else -1
            assert self(artefact, "decode", z, label, pixels[i], space) == OK
        return pixels


def workspace(artefact: Artefact) -> NDArray[np.float32]:
    """As many numbers as the file asks for; those beside them must stay as they are."""
    asked = re.search(rb"_WORKSPACE (\d+)", render("c", artefact)[".c"])
    assert asked is not None
    return np.full(int(asked[1]), np.nan, np.float32)


@pytest.fixture(scope="module", params=["gcc", pytest.param("clang", marks=pytest.mark.slow)])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("library")
    models = [named(*x) for x in KINDS] + [window(k) for k in range(len(WINDOWS))] + [large()]
    return Library(request.param, [source(x, folder) for x in models], "-O1")


# ---- what it draws -------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "precision"), KINDS)
def test_draws_what_the_network_draws(kind: str, precision: str, library: Library) -> None:
    artefact = named(kind, precision)
    assert library(artefact, "self_test", workspace(artefact)) == OK
    for i, expected_code in enumerate(artefact.codes(4, SEED)):
        code = np.zeros(artefact.latent, np.float32)
        assert library(artefact, "code", (SEED, i), code) == OK
        assert code.tobytes() == expected_code.tobytes()
    expected = to_uint8(images(artefact, 5, SEED), artefact.value_range)
    apart = np.abs(library.decode(artefact, 5, SEED).astype(int) - expected)
    assert apart.max() <= 1
    assert (apart == 0).mean() > 0.99
    assert expected.std() > 5


@pytest.mark.parametrize("k", range(len(WINDOWS)))
def test_windows(k: int, library: Library) -> None:
    artefact = window(k)
    expected = to_uint8(images(artefact, 2, 4), artefact.value_range)
    assert np.abs(library.decode(artefact, 2, 4).astype(int) - expected).max() <= 1


def test_parts_of_large_layers(library: Library) -> None:
    expected = to_uint8(images(large(), 3, 4), large().value_range)
    assert np.abs(library.decode(large(), 3, 4).astype(int) - expected).max() <= 1
    assert expected.std() > 20


@pytest.mark.parametrize(
    ("edit", "flag"),
    [(("#elif defined(__GNUC__)", "#elif 0"), "-O1"), (("", ""), "-march=native")],
)
def test_vectors_of_any_length_draw_the_same(
    edit: tuple[str, str], flag: str, tmp_path: Path
) -> None:
    """Single numbers, where the compiler has no vectors, and the longest of this machine."""
    artefacts = [large(), named("dcgan"), named("odd", "int8")]
    library = Library("gcc", [source(x, tmp_path, edit) for x in artefacts], flag)
    for artefact in artefacts:
        expected = to_uint8(images(artefact, 2, 4), artefact.value_range)
        assert np.abs(library.decode(artefact, 2, 4).astype(int) - expected).max() <= 1


def test_large_layers_touch_no_memory_but_theirs(tmp_path: Path) -> None:
    flags = ["-std=c99", *STRICT, *SANITIZED, "-DLARGE_MAIN"]
    compiled("gcc", *flags, source(large(), tmp_path), "-o", tmp_path / "large", "-lm")
    assert run(tmp_path / "large", tmp_path, "--self-test").returncode == 0


@pytest.mark.parametrize(("kind", "precision"), [x for x in KINDS if x[0] in AUTOENCODERS])
def test_encodes(kind: str, precision: str, library: Library) -> None:
    artefact = named(kind, precision)
    pixels = np.random.default_rng(2).integers(0, 256, artefact.pixels).astype(np.uint8)
    label = 2 if artefact.classes else -1
    mean, logvar = np.zeros((2, artefact.latent), np.float32)
    assert library(artefact, "encode", pixels, label, mean, logvar, workspace(artefact)) == OK
    expected = ends(artefact, pixels / 255, max(label, 0))[0]
    np.testing.assert_allclose([*mean, *logvar], expected, rtol=1e-4, atol=1e-4)
    if artefact.classes:
        assert library(artefact, "encode", pixels, 3, mean, logvar, mean) == BAD_LABEL


def test_image_i_is_that_of_its_code_and_labels_come_in_rows_of_ten(library: Library) -> None:
    artefact = named("cgan")
    space, z = workspace(artefact), artefact.codes(43, 5)
    one, other = np.zeros((2, *artefact.shape), np.uint8)
    for i in (0, 9, 10, 29, 30, 42):
        for label, drawn in ((-1, i // 10 % 3), (2, 2)):
            assert library(artefact, "generate", (5, i), label, one, space) == OK
            assert library(artefact, "decode", z[i], drawn, other, space) == OK
            assert one.tobytes() == other.tobytes()


def test_draws_far_into_a_seed(library: Library) -> None:
    artefact = named("vae")
    code, again = np.zeros((2, artefact.latent), np.float32)
    assert library(artefact, "code", (1, 2**62 - 2), code) == OK
    assert np.isfinite(code).all()
    assert library(artefact, "code", (1, 2**62 - 1), again) == BAD_INDEX
    assert library(artefact, "code", (1, 2**30 - 2), again) == OK  # other upper words
    assert code.tobytes() != again.tobytes()


def test_threads_do_not_meet(library: Library) -> None:
    artefact = named("conv-vae")

    def drawn(seed: int) -> bytes:
        pixels, space = np.zeros(artefact.shape, np.uint8), workspace(artefact)
        parts = []
        for i in range(50):
            assert library(artefact, "generate", (seed, i), -1, pixels, space) == OK
            parts.append(pixels.tobytes())
        return b"".join(parts)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(drawn, range(8)))
    assert together == [drawn(seed) for seed in range(8)]


# ---- what it refuses -----------------------------------------------------------------------------


def test_what_functions_refuse(library: Library) -> None:
    labelled, plain = named("cgan"), named("gan")
    for artefact, bad in ((labelled, (3, -2, 2**31 - 1)), (plain, (0, 1, -2))):
        pixels, space = np.zeros(artefact.shape, np.uint8), workspace(artefact)
        code = artefact.codes(1, 0)[0]
        for label in bad:
            assert library(artefact, "generate", (0, 0), label, pixels, space) == BAD_LABEL
            assert library(artefact, "decode", code, label, pixels, space) == BAD_LABEL
        label = 0 if artefact.classes else -1
        assert library(artefact, "generate", (0, SEED), label, pixels, space) == BAD_INDEX
        for x in (np.nan, np.inf, -np.inf):
            code[-1] = x
            assert library(artefact, "decode", code, label, pixels, space) == BAD_CODE
        assert not pixels.any()  # nothing is drawn
    assert library(labelled, "decode", labelled.codes(1, 0)[0], -1, pixels, space) == BAD_LABEL
    assert "less than 3" in library.message(labelled, BAD_LABEL)
    assert "has none" in library.message(plain, BAD_LABEL)
    assert len({library.message(plain, k) for k in range(9)}) == 9


def test_any_damage_fails_the_self_test(tmp_path: Path) -> None:
    whole = made("cvae")
    sources, cases = [], []

    def add(name: str, result: int, old: str, new: str, precision: str = "float32") -> None:
        damaged = replace(made("cvae", precision), name=name)
        sources.append(source(damaged, tmp_path, (old, new)))
        cases.append((damaged, result))

    weight = next(iter(whole.graphs["encode"].stored.values())).values.ravel()
    last = np.array([weight[5], np.nextafter(weight[5], np.float32(9))]).astype(str)
    old, new = (x.replace("0.", ".", 1) + "f," for x in last)
    add("weight", TEST_WEIGHTS, old, new)  # by the last bit
    for precision in ("float16", "int8"):
        text = render("c", made("cvae", precision))[".c"].decode()
        first = re.search(r"draw_0_weight\[\d+\] = {\n(-?\d+),", text)
        assert first is not None
        add(
            precision,
            TEST_WEIGHTS,
            first[0],
            f"{first[0][:-1].removesuffix(first[1])}1,",
            precision,
        )
    text = render("c", whole)[".c"].decode()
    for what, number, result in (
        ("code", "1.0f,", TEST_CODE), ("image", "7,", TEST_IMAGE), ("mean", "1.0f,", TEST_MEAN)
    ):  # fmt: skip
        array = re.search(rf"{what}_numbers\[\d+\] = {{\n([-.\de]+f?),", text)
        assert array is not None
        add(what, result, array[0], array[0].replace(array[1] + ",", number))
    add("activation", TEST_IMAGE, "= 1.0f / (1.0f + exponential(", "= 0.0f / (1.0f + exponential(")
    add("header", OK, "", "")
    library = Library("gcc", sources, "-O0")
    for damaged, result in cases:
        assert library(damaged, "self_test", workspace(whole)) == result, damaged.name


# ---- the program ---------------------------------------------------------------------------------


@cache
def wide() -> Artefact:
    """Colour images so wide that a row of a hundred does not fit a block of a PNG file."""
    model = CVAE((2, 230, 3), classes=2, hidden=(3,), latent=2, rng=Generator(1)).eval()
    return export.prepare(model, "wide", "feed", part="both", precision="float16")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With sanitizers, which end it where it goes wrong."""
    folder = tmp_path_factory.mktemp("program")
    out = folder / "wide"
    flags = ["-std=c99", "-O1", *STRICT, *SANITIZED, "-DWIDE_MAIN"]
    compiled("gcc", *flags, source(wide(), folder), "-o", out, "-lm")
    return out


def run(program: Path, folder: Path, *words: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *map(str, words)], cwd=folder, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("n", "columns", "label"), [(1, None, None), (12, None, None), (5, None, 1), (201, 100, 0)]
)
def test_png(n: int, columns: int | None, label: int | None, program: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    options = ["--n", n, "--seed", 9, "--out", "a.png", "--raw", "a.raw"]
    options += [] if columns is None else ["--columns", columns]
    options += [] if label is None else ["--label", label]
    done = run(program, tmp_path, *options)
    assert (done.returncode, done.stdout) == (0, b"")
    assert sorted(x.name for x in tmp_path.iterdir()) == ["a.png", "a.raw"]
    drawn = np.fromfile(tmp_path / "a.raw", np.uint8).reshape(n, *wide().shape)
    if columns is None:
        columns = 10 if label is None else 3
    expected = grid(drawn, columns).array
    np.testing.assert_array_equal(np.asarray(image.open(tmp_path / "a.png")), expected)
    text = read_text(tmp_path / "a.png")
    assert text["Description"] == SYNTHETIC
    assert (text["Model"], text["Seed"]) == ("cvae feed", "9")
    rows = np.arange(n) // 10 % 2 if label is None else np.full(n, label)
    levels = to_uint8(wide().draw(wide().codes(n, 9), rows), wide().value_range)
    assert np.abs(drawn.astype(int) - levels).max() <= 1


def test_says_what_it_is_and_tests_itself(program: Path, tmp_path: Path) -> None:
    assert json.loads(run(program, tmp_path, "--about").stdout) == wide().describe()
    done = run(program, tmp_path, "--self-test")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"passed" in done.stderr
    assert b"--self-test" in run(program, tmp_path, "--help").stdout
    assert run(program, tmp_path).returncode == 0
    assert [x.name for x in tmp_path.iterdir()] == ["samples.png"]


def test_a_picture_is_as_small_as_others_make_it(tmp_path: Path) -> None:
    """With the fixed codes, at most a half more than with those that zlib chooses."""
    artefact = replace(named("vae"), name="small")
    program = tmp_path / "small"
    compiled(
        "gcc", "-std=c99", *STRICT, "-DSMALL_MAIN", source(artefact, tmp_path), "-o", program, "-lm"
    )
    assert run(program, tmp_path, "--n", 64, "--out", "a.png", "--raw", "a.raw").returncode == 0
    drawn = np.fromfile(tmp_path / "a.raw", np.uint8).reshape(64, *artefact.shape)
    picture = grid(drawn, 8)
    packed = (tmp_path / "a.png").stat().st_size
    assert packed < 1.5 * len(picture.png()) < picture.array.nbytes / 3


def test_labels_have_names(tmp_path: Path) -> None:
    """A name goes before a number; what else is in a name means nothing to C."""
    classes = ("2", "10", 'c\u00e2t "?\\')
    model = small("cgan")
    artefact = replace(export.prepare(model, "x", "0", classes=classes), name="names")
    program = tmp_path / "names"
    compiled(
        "gcc", "-std=c99", *STRICT, "-DNAMES_MAIN", source(artefact, tmp_path), "-o", program, "-lm"
    )
    x = artefact.codes(3, 4)
    for label, text in enumerate(classes):
        done = run(program, tmp_path, "--n", 3, "--seed", 4, "--label", text, "--raw", "a.raw")
        assert done.returncode == 0
        levels = to_uint8(artefact.draw(x, label), artefact.value_range)
        drawn = np.fromfile(tmp_path / "a.raw", np.uint8)
        assert np.abs(drawn.astype(int) - levels.ravel()).max() <= 1
    for text in ("0", "1", "3", "c\u00e2t", "02x"):
        done = run(program, tmp_path, "--label", text)
        assert done.returncode == 2
        assert f"--label {text}: expected the name of a class" in done.stderr.decode()


def test_a_damaged_program_draws_nothing(tmp_path: Path) -> None:
    text = render("c", made("cvae"))[".c"].decode()
    weights = re.search(r"draw_0_weight\[\d+\] = {\n(-?\.\d+f),", text)
    assert weights is not None
    path = source(made("cvae"), tmp_path, (weights[0], weights[0].replace(weights[1], ".5f")))
    program = tmp_path / "damaged"
    compiled("gcc", "-std=c99", "-DCVAE_TEST_MAIN", path, "-o", program, "-lm")
    for words in (["--out", "a.png"], ["--about"], ["--trace", "a"], ["--self-test"]):
        done = run(program, tmp_path, *words)
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"the file is damaged or was changed" in done.stderr
    assert not list(tmp_path.glob("a*"))


def test_traces_operations(program: Path, tmp_path: Path) -> None:
    done = run(program, tmp_path, "--seed", 3, "--label", 1, "--trace", "-")
    assert done.returncode == 0
    inputs = wide().arguments(wide().codes(1, 3), 1)
    expected = [y.ravel() for y in wide().graphs["draw"].trace(inputs, "float64")]
    values = np.frombuffer(done.stdout, np.float32)
    np.testing.assert_allclose(values, np.concatenate(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sead", "1"], "unknown option --sead"),
        (["picture.png"], "unknown option picture.png"),
        (["--seed"], "--seed needs a value"),
        (["--seed", "-1"], "--seed -1: expected a whole number from 0 to 18446744073709551615"),
        (["--seed", "18446744073709551616"], "expected a whole number from 0"),
        (["--seed", "1e3"], "expected a whole number"),
        (["--seed", " 1"], "expected a whole number"),
        (["--seed", ""], "expected a whole number"),
        (["--n", "0"], "--n 0: expected a whole number from 1 to 1000000"),
        (["--columns", "101"], "expected a whole number from 1 to 100"),
        (["--label", "2"], "--label 2: expected a whole number from 0 to 1, or the name of a"),
        (["--label", "bird"], "--label bird: expected a whole number from 0 to 1, or the name of"),
        (["--label", ""], "--label : expected a whole number from 0 to 1, or the name of a class"),
        (["--label"], "--label needs a value"),
    ],
)
def test_wrong_options(words: list[str], says: str, program: Path, tmp_path: Path) -> None:
    done = run(program, tmp_path, *words)
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert not list(tmp_path.iterdir())


def test_leaves_nothing_half_written(program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    folder.mkdir()
    for words in (["--out", "no/a.png"], ["--raw", "taken"], ["--out", "a", "--raw", "no/b"]):
        done = run(program, tmp_path, *words)
        assert done.returncode == 1
        assert b"cannot write" in done.stderr
        assert list(tmp_path.iterdir()) == [folder]
    if Path("/dev/full").exists():
        with open("/dev/full", "wb") as full:
            done = subprocess.run([program, "--raw", "-"], stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1
        assert b"cannot write" in done.stderr


# ---- the file ------------------------------------------------------------------------------------


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    artefact = replace(hostile(), weights='*/ ??/ " \\ \n é', name="hostile")
    path = source(artefact, tmp_path)
    program = tmp_path / "program"
    compiled("gcc", "-std=c99", *STRICT, "-DHOSTILE_MAIN", path, "-o", program, "-lm")
    assert json.loads(run(program, tmp_path, "--about").stdout) == artefact.describe()
    assert run(program, tmp_path, "--self-test").returncode == 0
    assert run(program, tmp_path, "--out", "a.png").returncode == 0
    assert read_text(tmp_path / "a.png")["Model"].startswith('cvae */ ??/ " \\ \n')


def test_of_an_encoder_alone(tmp_path: Path) -> None:
    path = source(replace(made("conv-vae", "int8", "encode"), name="encoder"), tmp_path)
    program = tmp_path / "program"
    flags = ["-std=c99", *STRICT, *SANITIZED, "-DENCODER_MAIN"]
    compiled("gcc", *flags, path, "-o", program, "-lm")
    assert run(program, tmp_path, "--self-test").returncode == 0
    assert run(program, tmp_path, "--trace", "-").returncode == 0
    assert run(program, tmp_path, "--out", "a.png").returncode == 2
    assert run(program, tmp_path, "--label", "0").returncode == 2
    assert run(program, tmp_path).returncode == 2


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_is_cpp_too(compiler: str, tmp_path: Path) -> None:
    flags = ["-x", "c++", "-std=c++11", *STRICT, "-fsyntax-only"]
    models = [made("cvae"), made("odd", "float16"), made("conv-vae", "int8", "encode")]
    for artefact in models:
        main = f"-D{artefact.name.upper()}_MAIN"
        compiled(compiler, *flags, main, source(artefact, tmp_path))


@pytest.mark.parametrize("short", ["", "pixels", "workspace", "code", "mean"])
def test_an_array_that_is_too_short_is_seen_by_the_compiler(short: str, tmp_path: Path) -> None:
    artefact = replace(made("vae"), name="sized")
    source(artefact, tmp_path)
    sizes = {"pixels": "PIXELS", "workspace": "WORKSPACE", "code": "LATENT", "mean": "LATENT"}
    arrays = "".join(
        f"    static {'unsigned char' if k == 'pixels' else 'float'} {k}[SIZED_{n}"
        f"{' - 1' if k == short else ''}];\n" for k, n in sizes.items()
    )  # fmt: skip
    caller = tmp_path / "caller.c"
    caller.write_text(
        '#include "sized.h"\nint main(void) {\n' + arrays + "    sized_code(1, 0, code);\n"
        "    sized_generate(1, 0, -1, pixels, workspace);\n"
        "    return sized_encode(pixels, -1, mean, code, workspace);\n}\n"
    )
    done = subprocess.run(
        ["gcc", "-std=c99", "-O1", "-c", str(caller), "-o", str(tmp_path / "caller.o")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ("warning" in done.stderr) == bool(short), done.stderr


@pytest.mark.parametrize(
    "header", ['#include "model.h"', '#define MODEL_HEADER\n#include "model.c"']
)
def test_is_called_from_cpp(header: str, tmp_path: Path) -> None:
    path = source(replace(made("cgan"), name="model"), tmp_path)
    compiled("gcc", "-std=c99", *STRICT, "-c", path, "-o", tmp_path / "model.o")
    caller = tmp_path / "caller.cpp"
    caller.write_text(
        f"{header}\n{header}\n"  # a second time is no harm
        "int main() {\n    float workspace[MODEL_WORKSPACE];\n"
        '    return model_self_test(workspace) + model_label("cat") + 1 - model_label("dog");\n}\n'
    )
    program = tmp_path / "caller"
    compiled("g++", "-std=c++11", *STRICT, caller, tmp_path / "model.o", "-o", program, "-lm")
    assert run(program, tmp_path).returncode == 0


@pytest.mark.parametrize("name", ["test", "main", "int", "draw", "encode", "code", "dense", "toy"])
def test_names_do_not_meet(name: str, tmp_path: Path) -> None:
    path = source(replace(made("cvae"), name=name), tmp_path)
    compiled("gcc", "-std=c99", *STRICT, "-fsyntax-only", f"-D{name.upper()}_MAIN", path)


def test_keeps_and_allocates_nothing(tmp_path: Path) -> None:
    if shutil.which("nm") is None:
        pytest.skip("no nm on the path")
    path = source(made("cvae"), tmp_path)
    compiled("gcc", "-std=c99", "-O1", "-fno-pic", "-c", path, "-o", tmp_path / "a.o")
    listed = subprocess.run(["nm", tmp_path / "a.o"], capture_output=True, text=True, check=True)
    symbols = [line.split()[-2:] for line in listed.stdout.splitlines()]
    assert {kind for kind, _ in symbols} <= {"T", "t", "R", "r", "U"}  # code and constants
    allowed = {"memcpy", "memset", "memcmp", "strcmp", "frexp", "sqrt", "rint", "copysign", "sqrtf"}
    assert {name for kind, name in symbols if kind == "U"} <= allowed
    public = {name for kind, name in symbols if kind in "TR"}
    assert all(name.startswith("cvae_test_") for name in public)


def test_what_numbers_become(tmp_path: Path) -> None:
    """Every float16 to the bit, and e^x, which the program computes itself."""
    source(replace(made("cvae", "float16"), name="half"), tmp_path)
    probe = tmp_path / "probe.c"
    probe.write_text(
        '#include "half.c"\n'
        "void values(float *out);\n"
        "void values(float *out) {\n"
        "    int k;\n"
        "    for (k = 0; k < 65536; k++)\n        out[k] = value((Weight)k);\n}\n"
        "void powers(const float *x, float *out, int n);\n"
        "void powers(const float *x, float *out, int n) {\n"
        "    int k;\n"
        "    for (k = 0; k < n; k++)\n        out[k] = exponential(x[k]);\n}\n"
    )
    functions = Library("gcc", [probe], "-O3", "-ffp-contract=off").functions
    out = np.zeros(65536, np.float32)
    functions.values(ctypes.c_void_p(out.ctypes.data))
    expected = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = np.isfinite(expected)
    assert out[finite].tobytes() == expected[finite].astype(np.float32).tobytes()
    x = np.linspace(-87, 88, 200_001, dtype=np.float32)
    powers = np.zeros_like(x)
    functions.powers(
        ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(powers.ctypes.data), ctypes.c_int(len(x))
    )
    np.testing.assert_allclose(powers, np.exp(x.astype(np.float64)), rtol=2.5e-7)


def test_a_row_computes_what_its_operation_does(tmp_path: Path) -> None:
    """All functions of graph_rows in one file, each in a workspace that holds no numbers."""
    parts = {name.replace(" ", "_"): graph_rows.packed(name) for name in graph_rows.ALL}
    artefact = replace(made("gan"), name="rows", graphs=parts)
    source(artefact, tmp_path)
    asked = re.search(r"_WORKSPACE (\d+)", (tmp_path / "rows.h").read_text())
    assert asked is not None
    probe = tmp_path / "probe.c"
    sizes = {name: packed(graph_rows.argument(1)).size for name, packed in parts.items()}
    probe.write_text('#include "rows.c"\n' + "".join(
        f"void probe_{name}(float *m, float *out);\nvoid probe_{name}(float *m, float *out) {{\n"
        f"    memcpy(out, {name}_graph(0, m), {size} * sizeof *m);\n}}\n"
        for name, size in sizes.items()
    ))  # fmt: skip
    out = tmp_path / "rows.so"
    compiled(
        "gcc", "-std=c99", "-Wall", "-Wconversion", "-Werror", "-Wno-unused", "-O1", "-shared",
        "-fPIC", probe, "-o", out, "-lm",
    )  # fmt: skip
    functions = ctypes.CDLL(str(out))
    for seed in (1, 2):
        x = np.random.default_rng(seed).normal(size=(1, 3, 4)).astype(np.float32)
        for name, packed in parts.items():
            space = np.full(int(asked[1]), np.nan, np.float32)
            space[:12] = x.ravel()
            found = np.zeros(sizes[name], np.float32)
            functions[f"probe_{name}"](*(ctypes.c_void_p(a.ctypes.data) for a in (space, found)))
            np.testing.assert_allclose(found, packed(x).ravel(), 2e-5, 2e-5, err_msg=name)


def test_every_row_of_the_form_is_tried() -> None:
    assert set(graph_rows.FUNCTIONS) == c_rows.OPERATIONS


def test_the_same_bytes_in_lines_that_fit() -> None:
    for artefact in (made("cvae"), made("odd", "int8"), hostile()):
        files = render("c", artefact)
        assert files == render("c", artefact)
        for file in files.values():
            text = file.decode("ascii")
            assert "toy" not in text.lower()
            assert "HAS_" not in text
            assert re.search(r"@\w+@", text) is None
    both = [render("c", replace(made(kind), name="digits")) for kind in ("cvae", "odd")]
    texts = [file.decode() for files in both for file in files.values()]
    lines = [line for text in texts for line in text.splitlines()]
    assert max(map(len, lines)) <= 100
    assert not any(line != line.rstrip() for line in lines)


def test_codes_are_the_same_with_fused_multiply_adds(tmp_path: Path) -> None:
    artefact = replace(made("vae"), name="fused")
    path = source(artefact, tmp_path)
    library = Library("gcc", [path], "-O3", "-march=native", "-std=gnu99", "-ffp-contract=fast")
    drawn = np.zeros((2000, artefact.latent), np.float32)
    for i, code in enumerate(drawn):
        assert library(artefact, "code", (77, i), code) == OK
    assert drawn.tobytes() == artefact.codes(2000, 77).tobytes()
    assert library(artefact, "self_test", workspace(artefact)) == OK
