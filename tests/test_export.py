"""What is exported: a model as a chain of layers, rounded, with its noise and its self-test."""

import base64
import contextlib
import json
import math
import os
import re
import tracemalloc
from pathlib import Path

import graph_rows
import numpy as np
import pytest
from exported import SMALL, ends, small
from exported import made as made_of

import tinygen as tg
from tinygen import export, models, nn, train
from tinygen.export import spec
from tinygen.images import to_uint8
from tinygen.random import philox
from tinygen.runs import pictures
from tinygen.trace.graph import record
from tinygen.trace.passes import simplify

ALL = [
    k for k, v in models.MODELS.items()
    if issubclass(v, models.ImageModel) and issubclass(v, models.Draws)
]  # fmt: skip


def made(name, **more):
    options = {k: more.pop(k) for k in ("part", "precision", "classes") if k in more}
    return export.prepare(small(name, **more), "a run", "0123", **options)


# ---- the graph is the model ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(12, 12, 1), (16, 12, 3)])
def test_a_graph_draws_what_the_model_draws(name, shape):
    model = small(name, shape)
    part = "both" if isinstance(model, models.VAE) else "draw"
    chain = export.prepare(model, "run", "", part=part)
    labels = np.array([2, 0, 1, 1])
    z = chain.codes(4, seed=7)
    want = pictures.draw(model, z, labels if model.conditional else None)
    got = chain.draw(z, labels)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=2e-6)
    if part == "both":
        y = tg.tensor(labels) if model.conditional else None
        mu, logvar = model.encode(tg.tensor(want), y)
        both = ends(chain, want, labels)
        np.testing.assert_allclose(both[:, : model.latent], mu.numpy(), atol=3e-6)
        np.testing.assert_allclose(both[:, model.latent :], logvar.numpy(), atol=3e-6)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("name", SMALL)
def test_the_self_test_is_what_the_graph_gives_in_float64(name, precision):
    chain = made_of(name, precision)
    code, label = chain.test.code[None].astype(np.float64), np.array([chain.test.label])
    packed = chain.graphs["draw"]
    inputs = [code, label][: len(packed.graph.inputs)]
    image = packed(*inputs, floats="float64")
    assert np.array_equal(to_uint8(image, chain.value_range)[0], chain.test.image)
    assert image.shape == (1, *chain.shape)
    if "encode" in chain.graphs:
        low, high = chain.value_range
        pixels = chain.test.image[None] / 255 * (high - low) + low
        packed = chain.graphs["encode"]
        both = packed(*[pixels, label][: len(packed.graph.inputs)], floats="float64")
        np.testing.assert_allclose(both[0, : chain.latent], chain.test.mean, rtol=1e-6, atol=1e-7)


def test_recording_a_model_compiles_nothing_and_leaves_it_as_it_was():
    model = small("conv-vae")
    before = {k: v.copy() for k, v in model.state_dict().items()}
    hits = sum(tg.backend.get("numpy").hits.values())
    packed = export.graphs.encoding(model)
    assert sum(tg.backend.get("numpy").hits.values()) == hits
    assert all(np.array_equal(v, before[k]) for k, v in model.state_dict().items())
    assert [op.name for op in packed.graph.ops].count("conv2d_nd") == 2


def test_what_cannot_be_recorded_is_an_error_of_the_export():
    model = small("gan", hidden=(5,))
    model.generator = nn.Sequential(*model.generator, nn.Dropout(0.5, tg.random.Generator(0)))
    with pytest.raises(export.ExportError, match=r"gan: export: .*py:\d+: dropout draws random"):
        export.graphs.drawing(model)


def test_codes_are_those_of_a_run():
    model = small("gan", prior="uniform")
    chain = export.prepare(model, "run", "")
    for seed in (0, 3, 2**64 - 1):
        assert np.array_equal(chain.codes(5, seed), train.Run(model).codes(5, seed))


def test_the_words_of_the_stream_make_its_key():
    low, high = spec.stream_words()
    seed = 0x0123456789ABCDEF
    key = seed ^ 0x74696E7967656E31
    words = philox(low, high, 0, 0, key & 0xFFFFFFFF, key >> 32)
    stream = tg.random.Generator(seed).stream("pictures")
    assert int(stream.key.numpy()[0]) == words[0] | words[1] << 32


CHAINS = {
    "groups and dilation": (
        (9, 8, 4),
        lambda g: [
            nn.Conv2d(4, 6, (3, 2), (2, 1), ((2, 1), (0, 3)), (1, 2), groups=2, rng=g), nn.SiLU(),
            nn.ConvTranspose2d(6, 4, (2, 3), (1, 2), (0, 1), (0, 1), 2, groups=2, rng=g),
            nn.BatchNorm(4), nn.Softplus(),
        ],
    ),
    "same": (
        (7, 10, 2),
        lambda g: [
            nn.Conv2d(2, 3, 4, 3, "same", bias=False, rng=g), nn.LeakyReLU(0.25),
            nn.ConvTranspose2d(3, 2, 5, 2, "same", rng=g), nn.Tanh(),
        ],
    ),
    "a kernel smaller than the stride": (
        (4, 4, 2),
        lambda g: [
            nn.ConvTranspose2d(2, 3, 2, 3, "valid", 2, rng=g), nn.ReLU(), nn.Conv2d(3, 1, 1, rng=g)
        ],
    ),
    "normalised before and after a reshape": (
        (3,),
        lambda g: [
            nn.Dense(3, 24, bias=False, rng=g), nn.BatchNorm(24), nn.ReLU(),
            nn.Dense(24, 24, rng=g),
            nn.Reshape(2, -1, 4), nn.BatchNorm(4), nn.Sigmoid(), nn.Flatten(), nn.Dropout(0.5),
            nn.SpectralNorm(nn.Dense(24, 5, rng=g), rng=g), nn.BatchNorm(5),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_a_graph_computes_what_its_modules_do(name):
    shape, layers = CHAINS[name]
    module = nn.Sequential(*layers(tg.random.Generator(1)))
    x = np.random.default_rng(1).normal(size=(6, *shape)).astype(np.float32)
    module(tg.tensor(x))  # moments, singular vectors
    module.eval()
    graph = record(module, lambda n: (tg.random.Generator(n).normal((n, *shape)),))
    packed = export.graphs.pack(simplify(graph), "float32")
    want = module(tg.tensor(x)).numpy()
    np.testing.assert_allclose(packed(x), want, rtol=2e-5, atol=2e-6)


# ---- rounding ------------------------------------------------------------------------------------


def test_float32_is_kept_and_float16_is_rounded_to_nearest():
    w = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    assert np.array_equal(export.store(w).array(), w)
    half = export.store(w, "float16")
    assert half.values.dtype == np.float16
    assert np.array_equal(half.array(), w.astype(np.float16).astype(np.float32))
    assert half.nbytes == 2 * w.size


def test_int8_is_off_by_half_a_step_of_each_output_at_most():
    w = np.random.default_rng(0).normal(size=(3, 3, 20, 8)) * 10.0 ** np.arange(-4, 4)
    w[..., 3] = 0
    stored = export.store(w, "int8")
    assert stored.values.dtype == np.int8
    assert stored.scale.shape == (8,)
    step = np.abs(w).max(axis=(0, 1, 2)) / 127
    assert (np.abs(stored.array() - w) <= 0.5001 * step + 1e-12).all()
    assert (stored.array()[..., 3] == 0).all()
    assert stored.nbytes == w.size + 32


@pytest.mark.parametrize(
    ("weight", "precision", "words"),
    [
        ([1.0, np.nan], "float32", "not finite"),
        ([1.0, -np.inf], "int8", "not finite"),
        ([1.0, 7e4], "float16", "70000 does not fit float16; export as float32 or int8"),
        ([1.0], "bf16", "'bf16', expected one of float32, float16, int8"),
    ],
)
def test_weights_that_cannot_be_stored(weight, precision, words):
    with pytest.raises(ValueError, match=words):
        export.store(np.array(weight), precision)


def test_a_smaller_precision_is_a_smaller_artefact_that_draws_nearly_the_same():
    whole = made("dcgan", width=0.1)
    z = whole.codes(20, 0)
    want = whole.draw(z)
    for precision, size, error in (("float16", 0.52, 2e-3), ("int8", 0.35, 5e-2)):
        less = made("dcgan", width=0.1, precision=precision)
        assert less.nbytes < size * whole.nbytes
        assert 0 < np.abs(less.draw(z) - want).max() < error


# ---- the artefact --------------------------------------------------------------------------------


def test_the_self_test_is_what_the_model_draws():
    chain = made("cvae", part="both")
    model = small("cvae")
    image = train.Run(model).sample(1, labels=0, seed=0)
    assert np.array_equal(chain.test.code, train.Run(model).codes(1)[0])
    assert np.abs(chain.test.image - 255 * image[0]).max() <= 0.5001
    x = tg.tensor(chain.test.image[None].astype(np.float32) / 255)
    mu, _ = model.encode(x, tg.tensor([0]))
    np.testing.assert_allclose(chain.test.mean, mu.numpy()[0], atol=1e-6)
    assert list(made("cvae", part="encode").graphs) == ["encode"]
    assert list(made("cvae").graphs) == ["draw"]


def test_a_label_is_asked_for_by_number_where_classes_are_not_called_by_numbers():
    chain = made("cgan", classes=("2", "cat", "1"))
    assert [chain.label_text(k) for k in range(3)] == ["2", "cat", "1"]
    for names, texts in {
        ("cat", "dog", "cow"): ["0", "1", "2"],
        ("0", "1", "2"): ["0", "1", "2"],
        ("1", "2", "3"): ["1", "2", "3"],
        ("class 1", "class 2", "class 10"): ["class 1", "class 2", "class 10"],
    }.items():
        chain = made("cgan", classes=names)
        assert [chain.label_text(k) for k in range(3)] == texts
    assert [made("cgan").label_text(k) for k in range(3)] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("vae-mnist", "vae_mnist"), ("My Run (2)", "my_run_2"), ("../../etc", "etc"),
        ("</script>*/\"'\\", "script"), ("数字", "model"), ("2", "model_2"), ("", "model"),
        ("a\nb", "a_b"), ("a" * 59 + "--b", "a" * 59),
    ],
)  # fmt: skip
def test_names_of_files_and_functions(title, name):
    assert export.identifier(title) == name
    assert name.isidentifier()


def test_the_description_is_json_that_leaves_no_tag_and_says_how_to_read_the_weights():
    hostile = "</script><!-- \u2028 'quoted' \"twice\" \\ */ ]]> 数字"
    chain = export.prepare(
        small("cgan"), hostile, "0123", classes=(hostile, "b", "c"), licence=hostile,
        precision="int8", about={"data": hostile},
    )  # fmt: skip
    text = spec.as_json(spec.description(chain))
    assert text.isascii()
    assert not set(text) & set("<>&")
    found = json.loads(text)
    assert found["about"]["title"] == found["about"]["data"] == found["classes"][0] == hostile
    described, weights = spec.carried(chain)
    blob, at, held = base64.b64decode(weights), 0, []
    for told in described["parts"]["draw"]["constants"]:
        size = math.prod(told["shape"])
        if "value" in told:
            continue
        kind = {"int8": "i1", "float32": "<f4"}[told["kind"]]
        values = np.frombuffer(blob, kind, size, at)
        at += values.nbytes
        if told["kind"] == "int8":
            scale = np.frombuffer(blob, "<f4", told["shape"][-1], at)
            values, at = values.reshape(told["shape"]) * scale, at + scale.nbytes
        held.append(values)
    arrays = [v.const for v in export.graphs.named(chain.graphs["draw"], "")]
    assert all(
        np.array_equal(a, b.ravel()) or np.array_equal(a, b)
        for a, b in zip(held, arrays, strict=True)
    )
    assert at == len(blob) == chain.nbytes


# ---- a graph on a backend ------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("name", graph_rows.ALL)
def test_a_graph_runs_by_the_operations_of_tinygen(name, kernels):
    packed, x = graph_rows.packed(name), graph_rows.argument()
    expected = [*packed.trace([x]), packed(x)]
    with tg.backend.use_backend("numpy") as backend:
        run = packed.on(backend, each=True)
        with contextlib.nullcontext() if kernels else backend.without_kernels():
            found = run(tg.tensor(x))
            (result,) = packed.on(backend)(tg.tensor(x))
        for theirs, ours in zip(found, expected, strict=True):
            np.testing.assert_allclose(theirs.numpy(), ours, rtol=2e-5, atol=2e-5)
        np.testing.assert_array_equal(result.numpy(), found[-1].numpy())


def test_a_drawing_lets_go_of_what_nothing_reads_again():
    """Also within a turn of a loop: the peak is of a few arrays, not of all."""

    def turn(i, y):
        for _ in range(20):
            y = y.tanh() * 1.25
        return (y,)

    def f(x):
        for _ in range(20):
            x = x.tanh() * 1.25
        return tg.repeat(2, turn, (x,))[0]

    packed = export.graphs.pack(record(f, lambda n: (tg.ones((n, 1000)),)), "float32")
    x = tg.ones((250, 1000))
    with tg.use_backend("numpy") as backend, backend.without_kernels():
        run = packed.on(backend)
        tracemalloc.start()
        run(x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 6 * x.data.nbytes


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gan", {"part": "both"}, "gan has no encoder: it is no VAE, nor"),
        ("vae", {"part": "all"}, "part 'all', expected one of draw, encode, both"),
        ("vae", {"precision": "half"}, "precision 'half', expected one of float32"),
        ("cvae", {"classes": ("cat", "dog")}, "2 names of classes, expected 3"),
    ],
)
def test_what_cannot_be_exported(name, options, words):
    with pytest.raises(ValueError, match=words):
        made(name, **options)


def test_a_classifier_draws_nothing():
    judge = models.Classifier((12, 12, 1), classes=3, rng=tg.random.Generator(0))
    with pytest.raises(export.ExportError, match="classifier draws no images"):
        export.prepare(judge, "run", "")


def test_an_unknown_form():
    with pytest.raises(ValueError, match="form 'exe', expected one of python, c, html"):
        export.render("exe", made("vae"))


def test_a_file_is_written_whole_or_not_at_all(monkeypatch, tmp_path):
    chain, out = made("vae"), tmp_path / "run.py"
    export.write("python", chain, out)
    before = out.read_bytes()
    assert before == export.render("python", chain)[".py"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export.write("python", made("vae", latent=7), out)
    assert out.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.py"]


def test_parts_are_called_by_role():
    """No file of export/ says "decoder", but for the line that takes the name of before.

    TextDecoder is the browser's.
    """
    files = [p for p in Path(export.__file__).parent.rglob("*.*") if p.suffix != ".pyc"]
    lines = [line for p in files for line in p.read_text("utf-8").splitlines()]
    assert [line for line in lines if re.search(r"(?<!Text)[Dd]ecoder", line)] == [
        line for line in lines if line.startswith("PARTS_BEFORE = ")
    ]
