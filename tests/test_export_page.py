"""The page in a real browser, opened from a file: what it shows, and that all of it works."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import ends, hostile, made
from test_export_settings import made as flow_made

import tinygen as tg
from tinygen import export, models
from tinygen.export import Artefact, ExportError, html, render
from tinygen.images import read_text, to_uint8

CHROMES = ("chromium", "chromium-browser", "google-chrome")
CHROME = next(filter(None, map(shutil.which, CHROMES)), None)
PIXELS = """(id) => {
  const { width, height } = document.getElementById(id);
  const context = Object.assign(document.createElement("canvas"), { width, height })
    .getContext("2d", { willReadFrequently: true });
  context.drawImage(document.getElementById(id), 0, 0);
  return [height, width, Array.from(context.getImageData(0, 0, width, height).data)];
}"""
FRAMES = """(n) => new Promise((done) => {
  const next = () => { if (n-- > 0) requestAnimationFrame(next); else done(); };
  next();
})"""
UNTIL = """(test) => new Promise((done) => {
  const next = () => { if (test()) done(); else requestAnimationFrame(next); };
  next();
})"""

NO_BLOBS = """const Blobs = window.Blob;
window.Blob = function (parts, options) {
  return new Blobs(parts[1] === "serve();" ? ["throw new Error('refused')"] : parts, options);
};"""  # a worker that does not start


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROME is None:
        pytest.skip(f"no browser; looked for {', '.join(CHROMES)}")
    with playwright.sync_playwright() as p:
        chrome = p.chromium.launch(executable_path=CHROME, args=["--no-sandbox"])
        yield chrome
        chrome.close()


class Page:
    """A page of an artefact, and what went wrong on it."""

    def __init__(self, tab: Any, artefact: Artefact, file: Path) -> None:
        self.tab, self.artefact = tab, artefact
        self.trouble: list[str] = []
        tab.on("console", lambda message: self.trouble.append(message.text))
        tab.on("pageerror", lambda error: self.trouble.append(str(error)))
        tab.on("request", lambda request: self._seen(request.url))
        file.write_bytes(render("html", artefact)[".html"])
        self.url = file.as_uri()
        tab.goto(self.url)
        self.settle()

    def _seen(self, url: str) -> None:
        if url != self.url and not url.startswith(("data:", "blob:")):
            self.trouble.append(f"request of {url}")

    def settle(self) -> None:
        self.tab.evaluate(FRAMES, 4)

    def until(self, condition: str) -> None:
        self.tab.evaluate(UNTIL.replace("(test)", "()").replace("test()", condition))

    def pixels(self, name: str = "picture") -> Any:
        """(H, W, C) of a canvas, as the artefact's images are."""
        height, width, data = self.tab.evaluate(PIXELS, name)
        rgba = np.array(data).reshape(height, width, 4)
        assert (rgba[..., 3] == 255).all()
        return rgba[..., : self.artefact.shape[2]]

    def changes(self, action: Callable[[], Any]) -> None:
        """The action changes the picture."""
        before = self.pixels()
        action()
        self.settle()
        assert (self.pixels() != before).any()

    def draws(self, code: Any, label: int = 0) -> None:
        """The picture is that of a code, within one grey level."""
        y = self.artefact.draw(np.asarray(code, np.float32)[None], label)[0]
        expected = to_uint8(y, self.artefact.value_range).astype(int)
        assert np.abs(self.pixels() - expected).max() <= 1

    def code(self) -> Any:
        """What the sliders say, entry by entry, of models that show them all."""
        values = {
            int(slider.get_attribute("data-entry")): float(slider.input_value())
            for slider in self.tab.locator("#sliders input").all()
        }
        return np.array([values[k] for k in range(self.artefact.latent)])


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Open a page; in the end nothing was written to the console and nothing asked for."""
    pages = []

    def show(artefact: Artefact, clean: bool = True, script: str = "", **settings: Any) -> Page:
        context = browser.new_context(**{"locale": "en-GB", **settings})
        context.add_init_script(script or ";")
        page = Page(context.new_page(), artefact, tmp_path / f"{len(pages)} # é.html")
        pages.append((page, context, clean))
        return page

    yield show
    for page, context, clean in pages:
        if clean:
            assert page.trouble == []
            assert page.tab.locator("#alert").is_hidden()
        context.close()


def first(artefact: Artefact) -> Any:
    """The code that a page opens with."""
    return artefact.codes(html.SAMPLES, 0)[html.clearest(artefact)].copy()


def test_every_kind_draws_its_pictures(opened):
    for kind in ("vae", "cgan", "odd"):  # test_export_js.py has the others
        artefact = made(kind)
        page = opened(artefact)
        page.draws(first(artefact))
        page.tab.get_by_label("Seed", exact=True).fill(str(2**64 - 1))
        page.settle()
        last = artefact.codes(2, 2**64 - 1)
        page.draws(last[0])
        assert page.tab.get_by_role("button", name="Next seed").is_disabled()
        page.changes(
            lambda page=page: page.tab.get_by_role("radio", name="Sample 2 of").check(force=True)
        )
        page.draws(last[1])
        page.changes(page.tab.get_by_role("button", name="Previous seed").click)
        page.draws(artefact.codes(1, 2**64 - 2)[0])


def test_wrong_seeds_are_said(opened):
    page = opened(made("gan"))
    seed = page.tab.get_by_label("Seed", exact=True)
    before = page.pixels()
    for text in ("-1", "", "1.5", str(2**64), "x" * 30):
        seed.fill(text)
        page.settle()
        assert "whole number" in page.tab.locator("#seed-error").text_content()
        assert seed.get_attribute("aria-invalid") == "true"
        assert (page.pixels() == before).all()
    page.changes(lambda: seed.fill("12"))
    assert page.tab.locator("#seed-error").text_content() == ""


def test_label_truncation_and_sliders(opened):
    artefact = made("cvae")
    page = opened(artefact)
    z = first(artefact)
    page.changes(lambda: page.tab.get_by_label("digit 3").check(force=True))
    page.draws(z, label=2)
    assert (
        f"Sample {html.clearest(artefact) + 1} of seed 0, label digit 3"
        in page.tab.get_by_role("status").first.text_content()
    )
    page.changes(lambda: page.tab.get_by_label("Truncation").fill("0.5"))
    page.draws(z / 2, label=2)
    page.tab.get_by_label("Truncation").fill("1")
    slider = page.tab.get_by_label("z 3", exact=True)
    page.changes(lambda: slider.fill("-3"))
    z[3] = -3
    page.draws(z, label=2)
    page.changes(lambda: slider.press("ArrowRight"))
    page.changes(page.tab.get_by_role("button", name="Reset").click)
    page.draws(first(artefact), label=2)


def test_map(opened):
    artefact = made("gan")  # a uniform prior: the map goes from -1 to 1
    page = opened(artefact)
    z = first(artefact)
    page.tab.get_by_label("Across").select_option("4")
    page.tab.get_by_label("Up").select_option("1")
    page.settle()
    area = page.tab.locator("#map")
    box = area.bounding_box()

    def drag() -> None:
        mouse = page.tab.mouse
        mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        mouse.down()
        mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.7, steps=3)
        mouse.up()
        mouse.move(box["x"], box["y"])  # no longer pressed

    page.changes(drag)
    z[[4, 1]] = 0.8, -0.4
    page.draws(z)
    area.focus()
    page.changes(lambda: page.tab.keyboard.press("ArrowLeft"))
    z[4] -= 0.04
    page.draws(z)
    page.changes(lambda: page.tab.keyboard.press("Shift+ArrowUp"))
    z[1] += 0.2
    page.draws(z)
    assert "z 4 = 0.76, z 1 = −0.20" in area.get_attribute("aria-label")
    assert "z 4 = 0.76, z 1 = −0.20" in page.tab.locator("#said").text_content()
    page.changes(lambda: page.tab.keyboard.press("Home"))
    z[[4, 1]] = 0
    page.draws(z)
    page.tab.get_by_label("Across").select_option("1")  # the axes change places
    assert page.tab.get_by_label("Up").input_value() == "4"
    page.until("left.cells === 0")
    height, width, _ = artefact.shape
    cell = page.pixels("cells")[3 * height : 4 * height, 7 * width : 8 * width]
    z[[1, 4]] = 2 * 7.5 / 9 - 1, 1 - 2 * 3.5 / 9
    expected = to_uint8(artefact.draw(z[None].astype(np.float32)), artefact.value_range).reshape(
        cell.shape
    )
    assert np.abs(cell - expected.astype(int)).max() <= 1


def test_samples_and_files(opened):
    pillow = pytest.importorskip("PIL.Image")
    artefact = made("cgan")
    page = opened(artefact)
    page.tab.get_by_label("dog").check(force=True)
    page.tab.get_by_label("Seed", exact=True).fill("5")
    page.settle()
    with page.tab.expect_download() as download:
        page.tab.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename == "cgan_test-seed-5.png"
    path = download.value.path()
    with pillow.open(BytesIO(path.read_bytes())) as file:
        saved = np.asarray(file.convert("RGB"))
    height, width, _ = artefact.shape
    scale = saved.shape[0] // height
    assert saved.shape == (height * scale, width * scale, 3)
    assert min(saved.shape[:2]) >= 280
    assert (saved[scale // 2 :: scale, scale // 2 :: scale, :1] == page.pixels()).all()
    text = read_text(path)
    assert text["Description"].startswith("synthetic image")
    assert (text["Seed"], text["Label"], text["Model"]) == ("5", "dog", "0123456789abcdef")
    code = np.array(text["Code"].split(), np.float32)
    assert (code == artefact.codes(1, 5)[0]).all()
    with page.tab.expect_download() as download:
        page.tab.get_by_role("button", name="Save all").click()
    with pillow.open(BytesIO(download.value.path().read_bytes())) as file:
        sheet = np.asarray(file.convert("L")).astype(int)
    x = artefact.draw(artefact.codes(32, 5), 1)
    expected = to_uint8(x, artefact.value_range).reshape(32, height, width)
    scale = sheet.shape[1] // (8 * (width + 1) + 1)
    small = sheet[scale // 2 :: scale, scale // 2 :: scale]
    for i in range(32):
        top, left = 1 + i // 8 * (height + 1), 1 + i % 8 * (width + 1)
        one = small[top : top + height, left : left + width]
        assert np.abs(one - expected[i].astype(int)).max() <= 1


def test_animation(opened):
    artefact = made("vae")
    page = opened(artefact)
    page.changes(lambda: page.tab.get_by_role("radio", name="Sample 1 of").check(force=True))
    page.changes(lambda: page.tab.get_by_role("button", name="Play").click() or page.settle())
    page.until("state.number === 1")
    page.tab.get_by_role("button", name="Pause").click()
    page.settle()
    before = page.pixels()
    page.tab.wait_for_timeout(100)
    assert (page.pixels() == before).all()
    page.draws(page.tab.evaluate("Array.from(state.code)"))
    # Half way along the great circle, and straight for a uniform prior.
    a, b = artefact.codes(2, 0).astype(np.float64)
    angle = np.arccos(a @ b / np.sqrt((a @ a) * (b @ b)))
    arc = (a + b) * np.sin(angle / 2) / np.sin(angle)
    found = page.tab.evaluate("Array.from(between(samples[0], samples[1], 0.5))")
    assert np.abs(np.array(found) - arc).max() < 1e-5
    straight = opened(made("gan"))
    found = straight.tab.evaluate("Array.from(between(samples[0], samples[1], 0.25))")
    a, b = made("gan").codes(2, 0)
    assert np.abs(np.array(found) - (0.75 * a + 0.25 * b)).max() < 1e-6


def test_drawing(opened):
    for kind in ("vae", "cvae"):
        artefact = made(kind)
        page = opened(artefact)
        box = page.tab.locator("#pad").bounding_box()

        def stroke(page=page, box=box) -> None:
            page.tab.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.2)
            page.tab.mouse.down()
            page.tab.mouse.move(
                box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.8, steps=4
            )
            page.tab.mouse.up()

        page.changes(stroke)

        def agrees(page=page, artefact=artefact) -> None:
            low, high = artefact.value_range
            ink = page.pixels("ink").reshape(1, -1) / 255 * (high - low) + low
            both = ends(artefact, ink)[0]
            page.draws(both[: artefact.latent])
            shown = page.tab.evaluate("[Array.from(state.code), Array.from(state.spread)]")
            assert np.abs(np.array(shown[0]) - both[: artefact.latent]).max() < 1e-4
            spread = np.exp(both[artefact.latent :] / 2)
            assert np.abs(np.array(shown[1]) - spread).max() < 1e-4
            assert np.abs(page.code() - both[: artefact.latent].clip(-3, 3)).max() < 0.02
            text = page.tab.locator("#sliders output").first.text_content()
            assert "±" in text

        agrees()
        assert page.pixels("ink").max() > 240
        page.tab.locator("#pad").focus()
        ink = page.pixels("ink")
        page.tab.keyboard.press("ArrowRight")
        page.settle()
        assert (page.pixels("ink") == ink).all()  # the pen is up
        page.tab.keyboard.press(" ")
        page.tab.keyboard.press("ArrowRight")
        page.settle()
        assert (page.pixels("ink") != ink).any()
        agrees()
        page.tab.get_by_role("button", name="Copy the picture").click()
        page.settle()
        agrees()
        page.tab.get_by_role("button", name="Clear").click()
        page.settle()
        assert page.pixels("ink").max() == 0
        page.draws(first(artefact))


def test_words(opened):
    page = opened(made("cvae"), locale="zh-CN")
    tab = page.tab
    assert tab.locator("html").get_attribute("lang") == "zh-Hans"
    for language, words in (
        ("English", ("Seed", "Nothing here is real")),
        ("中文", ("种子", "截断的作用")),
    ):
        tab.get_by_role("button", name=language).click()
        for word in words:
            assert tab.get_by_text(word, exact=True).first.is_visible()
    tab.get_by_role("button", name="English").click()
    assert tab.locator("html").get_attribute("lang") == "en"
    assert not tab.get_by_text("截断的作用").is_visible()
    about = tab.locator("#about").text_content()
    assert all(word in about for word in ("0123456789abcdef", "MIT", "CC BY 4.0", "0.0125", "cvae"))
    both = tab.evaluate(
        "Object.values(TEXT).every((both) => both.length === 2 && both.every(Boolean))"
    )
    assert both
    used = tab.evaluate(
        "Array.from(all('[data-text], [data-label]'), (e) => e.dataset.text ?? e.dataset.label)"
    )
    assert set(used) <= set(tab.evaluate("Object.keys(TEXT)"))
    empty = tab.evaluate(
        "Array.from(all('button, h2, h3, label > span, option'))"
        ".filter((e) => !e.textContent.trim()).length"
    )
    assert empty == 0


def test_any_text_stays_text(opened):
    page = opened(hostile())
    assert page.tab.title().startswith("</script><!--")
    for name in ("#title", "#about", "#labels"):
        assert "</script><!--" in page.tab.locator(name).text_content()
        assert page.tab.locator(f"{name} b").count() == 0
    page.tab.get_by_role("button", name="中文").click()
    page.changes(lambda: page.tab.locator("#labels input").nth(1).check(force=True))
    with page.tab.expect_download() as download:
        page.tab.get_by_role("button", name="存为 PNG").first.click()
    assert "</script>" in read_text(download.value.path())["Title"]


def test_damage_is_said(opened):
    artefact = made("vae")
    broken = made("vae", "float16")  # whose weights are half as many bytes
    assert artefact.nbytes > broken.nbytes
    numbers = [
        render("html", a)[".html"].split(b'id="weights">')[1].split(b"<")[0]
        for a in (artefact, broken)
    ]
    page = opened(artefact, clean=False)
    file = Path(page.tab.evaluate("decodeURIComponent(location.pathname)"))
    whole = file.read_bytes()
    moved = numbers[0][len(numbers[0]) // 2 & ~3 :] + numbers[0][: len(numbers[0]) // 2 & ~3]
    letter = b"B" if numbers[0][900:901] == b"A" else b"A"
    one = numbers[0][:900] + letter + numbers[0][901:]  # of the weights of a pixel at the edge
    for damaged in (numbers[1], b"%" + numbers[0], b"", moved, one):
        file.write_bytes(whole.replace(numbers[0], damaged))
        page.tab.reload()
        assert "file is damaged" in page.tab.get_by_role("alert").first.text_content()
        page.tab.get_by_role("button", name="中文").click()
        assert "文件已损坏" in page.tab.get_by_role("alert").first.text_content()
    description = whole.split(b'id="model" ')[1].split(b"</script>")[0]
    for old, new in (
        (b'"latent":4', b'"latent":3'), (b'"about"', b'"abaut"'), (b"{", b"("),
        (b'"title":"vae test"', b'"title":"vae tesd"'), (b'data-sha256="', b'data-sha256="0'),
    ):  # fmt: skip
        assert old in description
        file.write_bytes(whole.replace(description, description.replace(old, new, 1)))
        page.tab.reload()
        said = page.tab.get_by_role("alert").first.text_content()
        assert "file is damaged" in said
        assert "SHA-256 of its description" in said
    assert page.tab.locator("#old").is_hidden()
    assert not [text for text in page.trouble if "Error" in text]


def test_a_page_opens_on_the_clearest_of_its_samples(opened):
    artefact = made("cgan")
    page = opened(artefact)
    low, high = artefact.value_range
    x = artefact.draw(artefact.codes(32, 0), 0).reshape(32, -1)
    v = ((x - low) / (high - low)).astype(np.float64)
    doubt = (v * (1 - v)).sum(1) / np.minimum(v.sum(1), (1 - v).sum(1))
    best = int(doubt.argmin())
    assert best == html.clearest(artefact) != 0
    page.draws(artefact.codes(32, 0)[best])
    assert page.tab.get_by_role("radio", name=f"Sample {best + 1} of").is_checked()
    assert f"Sample {best + 1} of seed 0" in page.tab.locator("#status").text_content()
    page.tab.get_by_role("button", name="Next seed").click()
    page.tab.get_by_role("button", name="Previous seed").click()
    page.settle()
    page.draws(artefact.codes(1, 0)[0])  # a seed that is asked for begins with its first


def test_labels_have_names(opened):
    page = opened(made("cgan"))
    draw = "(label) => Array.from(tinygen.generate({ label })[0].data)"
    by_name = [page.tab.evaluate(draw, name) for name in ("cat", "dog", "digit 3")]
    assert by_name == [page.tab.evaluate(draw, number) for number in range(3)]


@pytest.mark.parametrize(
    "missing",
    [
        "delete Array.prototype.at; delete Object.getPrototypeOf(Int8Array).prototype.at;",
        "Object.defineProperty(window, 'TextEncoder', { value: undefined });",
        "Object.defineProperty(window, 'BigInt', { value: undefined });",
        "",  # a script that the browser does not understand: none of it runs
    ],
)
def test_old_browsers_are_told(browser, tmp_path, missing):
    file = tmp_path / "page.html"
    text = render("html", made("cvae"))[".html"].decode()
    if not missing:
        text = text.replace('"use strict";', '"use strict"; ', 1)  # not what the policy lets run
    file.write_text(text, encoding="utf-8")
    tab = browser.new_page()
    tab.add_init_script(missing)
    tab.goto(file.as_uri())
    said = tab.locator("#old").inner_text()
    assert "It needs a browser of 2022 or newer (Chrome or Edge 92, Firefox 90" in said
    assert "需要 2022 年或更新的浏览器" in said
    assert tab.locator("#old").is_visible()
    assert tab.locator("#alert").is_hidden()  # nothing is damaged
    tab.close()


def test_the_classic_script_works_in_a_page_opened_from_a_file(browser, tmp_path):
    artefact = made("cgan")
    export.write("js", artefact, tmp_path / "digits.js")
    (tmp_path / "page.html").write_text(
        '<!DOCTYPE html><script src="digits.classic.js"></script>'
        '<script type="module">import { about } from "./digits.js"; window.it = about;</script>'
    )
    tab = browser.new_page()
    tab.goto((tmp_path / "page.html").as_uri())
    tab.wait_for_timeout(100)
    data = tab.evaluate("Array.from(tinygen.cgan_test.generate({ seed: 3, label: 'dog' })[0].data)")
    x = artefact.draw(artefact.codes(1, 3), 1)
    expected = to_uint8(x, artefact.value_range).ravel().astype(int)
    assert np.abs(np.array(data)[::4] - expected).max() <= 1
    assert tab.evaluate("tinygen.cgan_test.selfTest()") == []
    assert tab.evaluate("window.it") is None  # which is why the script is there
    tab.close()


def test_nothing_from_outside_may_run(opened):
    page = opened(made("gan"), clean=False)
    policy = page.tab.locator("meta[http-equiv]").get_attribute("content")
    assert re.match(
        "default-src 'none'; script-src 'sha256-[^']+' 'sha256-[^']+'; style-src 'sha256-", policy
    )
    assert "unsafe" not in policy
    page.tab.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'changed'";
        const image = Object.assign(new Image(), { src: "https://example.org/x.png" });
        document.body.append(script, image);
    }""")
    page.settle()
    assert page.tab.title() != "changed"
    said = [text for text in page.trouble if "Content Security Policy" in text]
    assert len(said) == 2  # the browser reports the request also, which it does not make


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe(opened, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    for kind, language, size in (("cvae", "English", (1280, 900)), ("gan", "中文", (390, 844))):
        shape = {"width": size[0], "height": size[1]}
        page = opened(made(kind), color_scheme=scheme, viewport=shape)
        page.tab.get_by_role("button", name=language).click()
        found = axe.Axe().run(page.tab)
        assert found.response["violations"] == [], found.generate_report()
        wide = page.tab.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0  # nothing to scroll sideways


def test_keyboard_reaches_everything(opened):
    page = opened(made("cvae"))
    reached = set()
    for _ in range(60):
        page.tab.keyboard.press("Tab")
        name, outlined = page.tab.evaluate("""() => {
            const e = document.activeElement;
            const shown = e.type === "radio" ? e.nextSibling : e;
            return [e.id || e.name || e.lang, getComputedStyle(shown).outlineStyle];
        }""")
        if name:
            assert outlined == "solid", name
        reached.add(name)
    wanted = {
        "en",
        "zh-Hans",
        "next",
        "seed",
        "label",
        "truncation",
        "play",
        "save",
        "pad",
        "clear",
    }
    wanted |= {"copy", "reset", "map", "across", "up", "sample", "save-grid"}
    assert wanted | {f"z{k}" for k in range(4)} <= reached


def test_little_motion(opened):
    page = opened(made("vae"), reduced_motion="reduce")
    page.tab.get_by_role("button", name="Play").click()
    seen = page.tab.evaluate("""() => new Promise((done) => {
        const seen = new Set(), end = performance.now() + 700;
        const look = () => {
          seen.add(Array.from(state.code).join());
          if (performance.now() < end) requestAnimationFrame(look); else done(seen.size);
        };
        look();
    })""")
    assert seen <= 3  # still pictures, half a second each


def test_frames(opened, record_property):
    """A dense model of the usual size moves smoothly: 30 frames a second with a core of its own."""
    model = models.VAE((28, 28, 1), rng=tg.random.Generator(0))
    model.eval()
    page = opened(export.prepare(model, "speed", "0", part="both"))
    page.tab.get_by_role("button", name="Play").click()
    frames, busy = page.tab.evaluate("""() => new Promise((done) => {
        const seen = new Set(), busy = [], begin = performance.now();
        const look = () => {
          seen.add(state.code.join());
          const from = performance.now();
          net.decode(state.code);
          busy.push(performance.now() - from);
          if (from - begin < 1000) requestAnimationFrame(look);
          else done([seen.size, busy.sort((a, b) => a - b)[busy.length >> 1]]);
        };
        look();
    })""")
    record_property("frames per second", frames)
    record_property("milliseconds a picture", busy)
    print(f"{frames} frames in a second, {busy:.2f} ms a picture")
    # A frame has a picture and 8 ms of small ones; it also waits for whatever else runs here.
    assert busy < 1000 / 30 - 8
    assert frames >= 10


@pytest.mark.parametrize("script", ["", "delete window.Worker", NO_BLOBS])
def test_a_film_and_its_settings(opened, script):
    """Drawn by workers; by the page itself where a browser has none, or starts none."""
    artefact = flow_made()
    page = opened(artefact, script=script)
    tab, z = page.tab, artefact.codes(html.FILMED, 0)
    at = html.clearest(artefact, html.FILMED)
    ready = "samples.every(ready) && tested && !left.samples && !left.picture"
    page.until(ready)
    page.draws(z[at])
    assert tab.evaluate("painters.every(({ worker }) => worker)") == (not script)
    assert tab.locator("#samples input").count() == html.FILMED
    assert tab.locator("#code-card").is_hidden()
    assert tab.locator("#map-card").is_hidden()
    low, high = artefact.value_range

    page.changes(lambda: tab.get_by_label("Time", exact=True).fill("0"))  # the noise itself
    noise = to_uint8(z[at].reshape(artefact.shape).clip(low, high), (low, high)).astype(int)
    assert np.abs(page.pixels() - noise).max() <= 1
    assert "On the way from noise" in tab.locator("#status").text_content()
    before = tab.evaluate("jobs")
    page.changes(lambda: tab.get_by_label("Time", exact=True).fill("0.5"))
    page.changes(lambda: tab.get_by_label("Time", exact=True).fill("1"))
    assert tab.evaluate("jobs") == before  # a film is kept: the time needs nothing new
    page.draws(z[at])

    def choose(name, value):
        slider = tab.get_by_label(name, exact=True)
        slider.fill(value)
        slider.dispatch_event("change")

    choose("Guidance", "3")
    choose("Steps", "5")
    assert tab.get_by_role("button", name="Save all").is_disabled() or tab.evaluate(ready)
    page.until(ready)
    assert tab.get_by_role("button", name="Save all").is_enabled()
    drawn = to_uint8(artefact.draw(z[at][None], 0, guidance=3.0, steps=5), (low, high))[0]
    assert np.abs(page.pixels() - drawn.astype(int)).max() <= 1
    tab.get_by_label("b", exact=True).check(force=True)
    page.until(ready)
    drawn = to_uint8(artefact.draw(z[at][None], 1, guidance=3.0, steps=5), (low, high))[0]
    assert np.abs(page.pixels() - drawn.astype(int)).max() <= 1
    tab.get_by_role("button", name="Play").click()
    times = tab.evaluate("""() => new Promise((done) => {
        const seen = new Set(), end = performance.now() + 1000;
        const look = () => {
          seen.add($("picture").toDataURL());
          if (performance.now() < end) requestAnimationFrame(look); else done(seen.size);
        };
        look();
    })""")
    assert times >= 10
    tab.get_by_role("button", name="Pause").click()


def test_a_film_that_is_not_the_models_is_said(opened):
    artefact = flow_made()
    image = artefact.test.image.copy()
    image[2, 2] ^= 128
    page = opened(replace(artefact, test=replace(artefact.test, image=image)), clean=False)
    page.until("tested")
    assert "not those of the model" in page.tab.get_by_role("alert").first.text_content()


def test_a_long_code_is_shown_in_pages(opened):
    model = models.GAN((8, 8, 1), hidden=(9,), latent=23, rng=tg.random.Generator(0))
    artefact = export.prepare(model.eval(), "long", "0")
    page = opened(artefact)
    page.tab.get_by_label("Numbers").select_option("20")
    last = page.tab.evaluate("Array.from(all('#sliders input'), (e) => Number(e.dataset.entry))")
    assert last == html.order(artefact)[20:]
    assert sorted(html.order(artefact)) == list(range(23))
    slider = page.tab.locator("#sliders input").first
    slider.fill("2.4")
    page.settle()
    z = first(artefact)
    z[last[0]] = 2.4
    page.draws(z)


@pytest.mark.quick
def test_what_has_no_page():
    with pytest.raises(ExportError, match="export the part draw, or both"):
        render("html", made("vae", "float32", "encode"))


def test_size_and_bytes():
    """At most 1.4 times the weights and 40 KB, for every model of the usual size."""
    for name, kind in models.MODELS.items():
        if not (issubclass(kind, models.ImageModel) and issubclass(kind, models.Draws)):
            continue
        model = kind(
            (28, 28, 1), classes=10 if kind.conditional else None, rng=tg.random.Generator(0)
        )
        model.eval()
        artefact = export.prepare(model, name, "0", precision="int8")
        first = render("html", artefact)[".html"]
        assert len(first) <= 1.4 * artefact.nbytes + 40_000, name
        assert render("html", artefact)[".html"] == first


def test_size_of_the_page_of_a_flow():
    """The same limit, though a flow's graph is long."""
    form = models.Form((12, 12, 1), 10)  # as many weights as for larger ones
    flow = models.Flow({"train": form}, models.Flow.Options(), tg.random.Generator(0))
    flow.eval()
    given = {"steps": 1, "guidance": 1.0}  # no more recordings than it takes
    artefact = export.prepare(flow, "flow", "0", precision="int8", settings=given)
    assert html.draws_in_turns(artefact)
    assert artefact.nbytes > 400_000
    page = render("html", artefact)[".html"]
    assert len(page) <= 1.4 * artefact.nbytes + 40_000


def test_no_walk_is_offered_where_none_means_anything(opened):
    """Of a model whose noise is not smooth: no sliders, map, truncation or animation."""
    smooth = opened(made("vae"))
    page = opened(replace(made("vae"), smooth=False))
    for name in ("code-card", "map-card", "play", "truncation"):
        assert smooth.tab.locator(f"#{name}").is_visible(), name
        assert page.tab.locator(f"#{name}").is_hidden(), name
    page.draws(first(page.artefact))
    page.until("!left.samples && !left.cells")
    page.changes(lambda: page.tab.get_by_role("radio", name="Sample 2 of").check(force=True))
    assert "walk" not in page.tab.locator("#samples-card").inner_text().lower()
    assert page.tab.get_by_text("Neighbours look alike").is_hidden()
    assert smooth.tab.get_by_text("Neighbours look alike").is_visible()


def test_noise_that_is_as_an_image_has_no_map_but_a_walk(opened):
    """As of the student of a flow: one pixel of noise says nothing, two pictures have a way."""
    model = models.GAN((4, 4, 1), hidden=(9,), latent=16, rng=tg.random.Generator(0))
    page = opened(export.prepare(model.eval(), "one step", "0"))
    for name in ("code-card", "map-card", "truncation"):
        assert page.tab.locator(f"#{name}").is_hidden(), name
    page.tab.get_by_role("button", name="Play").click()
    page.until("state.number === 1")
    assert page.tab.get_by_text("Play walks").is_visible()
