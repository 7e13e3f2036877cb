"""The ES module in node: what it draws and encodes, what it refuses, and its self-test."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path
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
    made,
    sealed,
    small,
    windowed,
)

from tinygen.export import Artefact, graphs, js, prepare, render, spec, write
from tinygen.images import to_uint8

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
SEED = 2**64 - 1
SHOW = """
const refused = (f) => { try { f(); return "accepted"; } catch (e) { return `${e}`; } };
const show = (x) => console.log(JSON.stringify(x, (key, value) =>
  ArrayBuffer.isView(value) ? Array.from(value) : value));
"""


def node(files: Path | list[Path], code: str) -> Any:
    """What `code` shows with show(...), the module being `g`; `all` if there are several."""
    several = files if isinstance(files, list) else [files]
    load = [f"await import({json.dumps(file.as_uri())})" for file in several]
    program = f"const all = [{', '.join(load)}], g = all[0];{SHOW}{code}"
    command = [NODE or "node", "--input-type=module", "-e", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def saved(
    artefact: Artefact, folder: Path, edit: tuple[str, str] = ("", ""), name: str = "m"
) -> Path:
    """The module as a file, with a text in it replaced."""
    source = render("js", artefact)[".js"].decode()
    assert edit[0] in source
    file = folder / f"{name}.mjs"
    file.write_text(source.replace(*edit, 1))
    return file


def self_test(file: Path) -> subprocess.CompletedProcess[str]:
    command = [NODE or "node", str(file), "--self-test"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def grey(pictures: Any, artefact: Artefact) -> Any:
    """(n, H, W, C) from pictures as the module gives them, which are as the artefact says."""
    height, width, channels = artefact.shape
    pixels = []
    for one in pictures:
        assert (one["width"], one["height"], one["channels"]) == (width, height, channels)
        rgba = np.array(one["data"]).reshape(height, width, 4)
        assert (rgba[..., 3] == 255).all()
        if channels == 1:
            assert (rgba[..., :1] == rgba[..., :3]).all()
        pixels.append(rgba[..., :channels])
    return np.array(pixels)


@needs_node
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_pictures(precision, tmp_path):
    kinds = [made(kind, precision) for kind in SMALL]
    every = node(
        [saved(artefact, tmp_path, name=artefact.name) for artefact in kinds],
        f"""
        show(all.map((g) => {{
          const n = 5, codes = g.codes(n, {SEED}n);
          const label = (i) => g.about.classes.length ? i % g.about.classes.length : undefined;
          return {{ codes, drawn: codes.map((z, i) => g.decode(z, label(i))),
                   same: g.generate({{ n, seed: "{SEED}", label: label(1) }}).at(1),
                   test: g.selfTest() }};
        }}));""",
    )
    for artefact, found in zip(kinds, every, strict=True):
        drawn = np.array(found["codes"], np.float32)
        assert drawn.tobytes() == artefact.codes(5, SEED).tobytes()
        pictures = grey(found["drawn"], artefact).astype(int)
        expected = to_uint8(images(artefact, 5, SEED), artefact.value_range)
        assert np.ptp(expected.astype(int)) > 50
        assert np.abs(pictures - expected).max() <= 1, artefact.title
        assert (grey([found["same"]], artefact)[0] == pictures[1]).all()
        assert not found["test"]


@needs_node
def test_every_window_of_a_transposed_convolution(tmp_path):
    kinds = [windowed(k) for k in range(len(WINDOWS))]
    files = [saved(artefact, tmp_path, name=f"m{k}") for k, artefact in enumerate(kinds)]
    every = node(files, "show(all.map((g) => g.generate({ n: 3, seed: 4 })))")
    for k, (artefact, found) in enumerate(zip(kinds, every, strict=True)):
        expected = to_uint8(images(artefact, 3, 4), artefact.value_range).astype(int)
        assert np.abs(grey(found, artefact) - expected).max() <= 1, WINDOWS[k]


@needs_node
def test_each_operation_and_the_encoder(tmp_path):
    for kind in AUTOENCODERS:
        artefact = made(kind)
        label = 1 if artefact.classes else None
        file = saved(artefact, tmp_path)
        found = node(
            file,
            f"""
            const label = {json.dumps(label)};
            const [z] = g.codes(1, 9);
            const picture = g.decode(z, label);
            show({{ down: g.trace("draw", z, label), up: g.trace("encode", picture, label),
                   picture, ends: g.encode(picture, label) }});""",
        )
        code = artefact.codes(1, 9).astype(np.float64)
        image = grey([found["picture"]], artefact)
        low, high = artefact.value_range
        pixels = image / 255 * (high - low) + low
        for part, x, given in (("draw", code, "down"), ("encode", pixels, "up")):
            packed = artefact.graphs[part]
            inputs = [x, np.array([label])][: len(packed.graph.inputs)]
            expected = packed.trace(inputs, "float64")
            for step, y, op in zip(found[given], expected, packed.graph.ops, strict=True):
                assert step["name"] == op.name
                assert tuple(step["shape"]) == y.shape[1:]
                assert np.abs(np.array(step["values"]) - y.ravel()).max() < 1e-6
        both = np.concatenate([found["ends"]["mean"], found["ends"]["logvar"]])
        assert np.abs(both - ends(artefact, pixels, label or 0)[0]).max() < 1e-6


@needs_node
def test_seeds_labels_and_counts(tmp_path):
    artefact = made("cgan")
    found = node(
        saved(artefact, tmp_path),
        """
        const seeds = [-1, 1.5, 2 ** 53, 2n ** 64n, -1n, "", "1.5", "-1", " 1", "1e3", NaN, null,
          [1], {}, true, "18446744073709551616", "0x10"];
        const labels = [-1, 3, 1.5, "3", "-1", "", "cats", "9".repeat(99), NaN, {}];
        show({
          seeds: seeds.map((seed) => refused(() => g.generate({ seed, label: 0 }))),
          labels: labels.map((label) => refused(() => g.generate({ label }))),
          bare: refused(() => g.decode(g.codes()[0])),
          counts: [0, -1, 1.5, "2", Infinity, 65537].map((n) => refused(() => g.generate({ n }))),
          truncation: refused(() => g.generate({ truncation: NaN })),
          code: refused(() => g.decode([1, 2], 0)),
          encoder: refused(() => g.encode({ width: 12, height: 12, data: [] }, 0)),
          same: [7, 7n, "7"].map((seed) => g.codes(1, seed)[0].join()),
          rows: g.generate({ n: 31 }),
          centre: g.generate({ n: 2, label: 2, truncation: 0 }),
        });""",
    )
    assert all(re.match("RangeError: seed is .*expected", text) for text in found["seeds"])
    assert all(re.match("RangeError: label is .*0 to 2", text) for text in found["labels"])
    assert "label is undefined" in found["bare"]
    assert all(re.match("RangeError: n is .*expected", text) for text in found["counts"])
    assert "truncation is NaN" in found["truncation"]
    assert "2 numbers; expected 6" in found["code"]
    assert "no part encode" in found["encoder"]
    assert len(set(found["same"])) == 1
    x = artefact.draw(artefact.codes(31, 0), np.arange(31) // 10 % 3)
    expected = to_uint8(x, artefact.value_range)
    assert np.abs(grey(found["rows"], artefact) - expected.astype(int)).max() <= 1
    first, second = grey(found["centre"], artefact)
    assert (first == second).all()


@needs_node
def test_a_model_without_labels_takes_none(tmp_path):
    file = saved(made("gan"), tmp_path)
    assert "no labels" in node(file, "show(refused(() => g.generate({ label: 0 })))")


@needs_node
def test_an_encoder_alone(tmp_path):
    artefact = made("vae", "float32", "encode")
    file = saved(artefact, tmp_path)
    assert "passed" in self_test(file).stdout
    assert "no part draw; it has: encode" in node(file, "show(refused(() => g.generate()))")
    wrong = "show(refused(() => g.encode({ width: 3, height: 12, data: [] })))"
    assert "3 x 12; expected 12 x 12" in node(file, wrong)


@needs_node
def test_damage_is_found(tmp_path):
    artefact = made("vae")
    assert self_test(saved(artefact, tmp_path)).returncode == 0
    source = render("js", artefact)[".js"].decode()
    text = re.search(r'const WEIGHTS = "(.*)"', source)[1]
    letter = "B" if text[-9] == "A" else "A"
    for broken in (text[:-4], text + "AAAA", f"{text[:-9]}{letter}{text[-8:]}", "%" + text, ""):
        done = self_test(saved(artefact, tmp_path, (text, broken)))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(
            "self-test FAILED: this file is damaged: the SHA-256 of its w"
        )
    for old, new in (
        ('"latent":4', '"latent":5'),
        ('{"about":', '{about":'),
        ('"model":"cvae"', '"model":"cva\u00e9"'),
    ):
        done = self_test(saved(made("cvae"), tmp_path, (old, new)))
        assert (done.returncode, done.stdout) == (1, "")
        assert "the SHA-256 of its description" in done.stderr
    file = saved(artefact, tmp_path, (text, text[:-4]))
    assert "damaged" in node(
        saved(artefact, tmp_path, name="whole"),
        f"""
        let said = "";
        await import({json.dumps(file.as_uri())}).catch((error) => {{ said = `${{error}}`; }});
        show(said);""",
    )


@needs_node
def test_what_the_arithmetic_gives_is_tested_too(tmp_path):
    def edited(artefact, old, new):
        file = saved(artefact, tmp_path, (old, new))
        file.write_text(sealed("js", file.read_text()))
        done = self_test(file)
        assert done.returncode == 1
        return done.stderr

    artefact = made("vae")
    zeros = base64.b64encode(bytes(16)).decode()
    assert "the code is off by" in edited(artefact, spec.encoded(artefact.test.code), zeros)
    sigmoid, relu = '"op":"sigmoid"', '"op":"relu"'
    assert "the picture is off by" in edited(artefact, sigmoid, relu)
    encoder = made("vae", "float32", "encode")
    assert "the mean code is off by" in edited(encoder, spec.encoded(encoder.test.mean), zeros)


@needs_node
def test_every_changed_letter_is_found(tmp_path):
    """Of weights and description, in one go: the file's own functions on changed texts."""
    found = node(
        saved(made("cvae", "int8"), tmp_path),
        f"""
        const {{ readFileSync, writeFileSync }} = await import("node:fs");
        const source = readFileSync({json.dumps(str(tmp_path / "m.mjs"))}, "utf-8"), missed = [];
        for (const [before, after] of [["String.raw`", "`"], ['WEIGHTS = "', '"']]) {{
          const from = source.indexOf(before) + before.length, to = source.indexOf(after, from);
          for (let at = from; at < to; at += Math.ceil((to - from) / 30)) {{
            const letter = source[at] === "A" ? "B" : "A";
            const file = {json.dumps(str(tmp_path))} + `/${{at}}.mjs`;
            writeFileSync(file, source.slice(0, at) + letter + source.slice(at + 1));
            try {{ await import(file); missed.push(at); }} catch (error) {{
              if (!/file is damaged/.test(error.message)) missed.push(error.message);
            }}
          }}
        }}
        show(missed);""",
    )
    assert found == []


@needs_node
def test_sha256_is_that_of_others(tmp_path):
    source = (Path(js.RUNTIME) / "generator.js").read_text()
    lengths = [*range(130), 1000, 4096]
    file = tmp_path / "sha.mjs"
    file.write_text(f"{source}\nexport {{ sha256 }};")
    found = node(
        file, f"show({lengths}.map((n) => g.sha256(new Uint8Array(n).map((_, i) => i * n))))"
    )
    for n, digits in zip(lengths, found, strict=True):
        data = bytes((i * n) & 255 for i in range(n))
        assert hashlib.sha256(data).hexdigest() == digits


@needs_node
def test_what_is_compressed_is_unpacked(tmp_path):
    """All three kinds of blocks of RFC 1951, long and short codes, copies that overlap."""
    noise = np.random.default_rng(0).bytes(70_000)
    texts = [b"", b"a", b"abc" * 1000, noise, (Path(js.RUNTIME) / "generator.py").read_bytes()]
    packed = []
    for text in texts:
        for level, strategy in ((9, zlib.Z_DEFAULT_STRATEGY), (0, 0), (1, zlib.Z_FIXED)):
            one = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
            packed.append([one.compress(text) + one.flush(), text])
    file = tmp_path / "inflate.mjs"
    sources = (Path(js.RUNTIME) / name for name in ("generator.js", "inflate.js"))
    asked = [[base64.b64encode(z).decode(), len(text)] for z, text in packed]
    code = [*(p.read_text() for p in sources), f"const asked = {json.dumps(asked)};"]
    file.write_text("\n".join([*code, "export { asked, inflate, bytesOf, sha256 };"]))
    found = node(file, "show(g.asked.map(([z, n]) => g.sha256(g.inflate(g.bytesOf(z), n))));")
    assert found == [hashlib.sha256(text).hexdigest() for _, text in packed]


@needs_node
def test_a_row_computes_what_its_operation_does(tmp_path):
    kinds = {name: graph_rows.packed(name) for name in graph_rows.ALL}
    text = base64.b64encode(b"".join(map(graphs.blob, kinds.values()))).decode()
    parts = {name: graphs.described(packed) for name, packed in kinds.items()}
    model = spec.as_json({"parts": parts, "sha256": spec.sha256(text)})
    file, x = tmp_path / "rows.mjs", graph_rows.argument(1)
    source = "".join((Path(js.RUNTIME) / name).read_text() for name in js.ROWS)
    file.write_text(f"{source}\nexport {{ finished, performing, unpack, POINTWISE, OTHERS }};")
    found = node(
        file,
        f"""
        const x = {json.dumps(x.ravel().tolist())};
        const parts = g.unpack({model}, "{text}");
        show({{
          rows: [g.POINTWISE, g.OTHERS].flatMap(Object.keys),
          made: Object.fromEntries(Object.entries(parts).map(([name, graph]) => {{
            const {{ steps, result }} = g.finished(g.performing(graph, [x]));
            return [name, [...steps, result].map(({{ values }}) => Array.from(values))];
          }})),
        }});""",
    )
    assert {"repeat", *found["rows"]} == js.OPERATIONS == set(graph_rows.FUNCTIONS)
    for name, packed in kinds.items():
        expected = [*packed.trace([x], "float64"), packed(x, floats="float64")]
        for values, array in zip(found["made"][name], expected, strict=True):
            np.testing.assert_allclose(values, array.ravel(), 1e-9, 1e-9, err_msg=name)


@needs_node
def test_labels_have_names(tmp_path):
    tens = prepare(small("cgan"), "tens", "0", classes=("2", "10", "a cat"))
    found = node(
        saved(tens, tmp_path),
        """show(["2", "10", "a cat", "0", "1", 0, 1, 2].map((label) => {
          try { return g.generate({ label, seed: 4 })[0].data; }
          catch (error) { return error.message; }
        }))""",
    )
    assert found[0] == found[5] != found[1] == found[6]
    assert found[2] == found[7] != found[0]
    for text, said in zip("01", found[3:5], strict=True):
        assert said == f'label is "{text}"; expected a name: "2", "10", "a cat"'


@needs_node
def test_the_classic_script_is_the_same_object(tmp_path):
    """Two of them side by side, in strict mode or not; names that mean something to JavaScript."""
    for kind, title in (("cgan", "class"), ("vae", "location")):
        made_of = prepare(small(kind), title, "0")
        (tmp_path / f"{title}.js").write_bytes(render("js", made_of)[".classic.js"])
    program = """
    const vm = require("node:vm"), fs = require("node:fs");
    const here = vm.createContext({ atob, TextEncoder, console });
    for (const name of ["class", "location"]) {
      vm.runInContext(fs.readFileSync(name + ".js", "utf-8"), here);
    }
    console.log(vm.runInContext(`JSON.stringify([
      Object.keys(tinygen), tinygen.class.selfTest(), tinygen.location.selfTest(),
      Object.keys(tinygen.class), Array.from(tinygen.location.generate({ seed: 3 })[0].data)])`,
      here));"""
    command = [NODE or "node", "-e", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names, *wrong, keys, drawn = json.loads(done.stdout)
    assert names == ["class", "location"]
    assert wrong == [[], []]
    assert "generate" in keys
    artefact = prepare(small("vae"), "location", "0")
    expected = to_uint8(images(artefact, 1, 3), artefact.value_range).astype(int)
    assert np.abs(np.array(drawn)[::4] - expected.ravel()).max() <= 1


@needs_node
def test_any_text_stays_text(tmp_path):
    artefact = hostile()
    file = saved(artefact, tmp_path)
    assert self_test(file).returncode == 0
    found = node(file, "show({ about: g.about })")["about"]
    assert found["title"] == HOSTILE
    assert found["licence of weights and data"] == HOSTILE
    assert found[HOSTILE] == HOSTILE
    assert found["licence of the code"] == "MIT"
    assert found["weights"] == "0123456789abcdef"


@needs_node
def test_names_of_files(tmp_path):
    folder = tmp_path / "a b % # 数字"
    folder.mkdir()
    source = render("js", made("gan"))[".js"]
    file = folder / "self test #1 %.mjs"
    file.write_bytes(source)
    assert self_test(file).stdout == "self-test passed\n"


@pytest.mark.quick
def test_the_files(tmp_path):
    first, again = (render("js", made("cvae")) for _ in range(2))
    assert first == again
    paths = write("js", made("cvae"), tmp_path / "digits.js")
    assert [path.name for path in paths] == ["digits.js", "digits.d.ts", "digits.classic.js"]
    types = first[".d.ts"].decode()
    exported = re.search(r"export const \{ (.*?) \}", first[".js"].decode())[1].split(", ")
    assert set(exported) == set(re.findall(r"export (?:function|const) (\w+)", types))
    for blob in render("js", hostile()).values():
        blob.decode("ascii")
