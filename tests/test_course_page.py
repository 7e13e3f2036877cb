"""The course's page: what goes in, what Python does in it, and the page in a real browser.

Pyodide is no part of tinygen. The tests of the page use a stand-in for it, a few lines of
JavaScript; those that need the real one read its folder's name from TINYGEN_PYODIDE.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tinygen.learn import course, inside
from tinygen.learn.__main__ import main
from tinygen.learn.check import exercises, find
from tinygen.learn.exercise import Exercise

CHROMES = ("chromium", "chromium-browser", "google-chrome")
CHROME = next(filter(None, map(shutil.which, CHROMES)), None)
REAL = os.environ.get(course.WHERE, "")
WRONG = find("01a").wrong[0]  # `=` for `+=`
WHEEL = b"a wheel"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
# Stands for Pyodide: a program with `while` never ends, one with `oops` fails in line 2, one with
# `picture` writes a picture, and an answer with `return` is right.
STAND_IN = """
export async function loadPyodide(config) {
  const module = await config.createPyodideModule();
  const library = await (await fetch(config.stdLibURL)).text();
  if (module !== "module" || library !== "library") throw new Error("not what was given");
  let streams = {}, numpy = false;
  const print = (words, kind) => streams[kind].write(new TextEncoder().encode(words));
  const picture = Uint8Array.from(atob("PNG"), (c) => c.charCodeAt(0));
  return {
    FS: { mkdirTree() {}, unlink() {}, readFile: () => picture.slice() },
    setStdout: (stream) => { streams.out = stream; },
    setStderr: (stream) => { streams.error = stream; },
    unpackArchive(bytes) { if (bytes[0] !== 0x50) throw new Error("no ZIP file"); },
    runPython: (code) => (code.startsWith("sys.version") ? "3.x" : undefined),
    async loadPackage(name) {
      const file = config.lockFileContents.packages[name].file_name;
      numpy = (await (await fetch(config.packageBaseUrl + file)).text()) === "a wheel";
    },
    pyimport: () => ({
      start: () => numpy,
      prepare() {},
      run(name, source) {
        for (; source.includes("flood"); ) print("0123456789".repeat(100), "out");
        while (source.includes("while")) ;
        if (source.includes("crash")) throw new Error("no memory");
        print(`${name} ran: ${source}\\n`, "out");
        const bad = source.includes("oops");
        if (bad) print("NameError: oops\\n", "error");
        const files = source.includes("picture") ? ["/tmp/a/picture.png"] : [];
        return JSON.stringify({ ok: !bad, line: bad ? 2 : 0, files });
      },
      check(name, source) {
        while (source.includes("while")) ;
        const passed = source.includes("return 7");
        return JSON.stringify({ passed, text: passed ? "right" : "not yet\\n   hint: seven" });
      },
      answer: () => JSON.stringify({ text: "the answer" }),
    }),
  };
}
""".replace("PNG", PNG)


def folder_of_pyodide(folder: Path) -> Path:
    """A stand-in for the npm package."""
    folder.mkdir()
    files = {
        "pyodide.mjs": STAND_IN.encode(), "python_stdlib.zip": b"library",
        "pyodide.asm.mjs": b"export default async () => 'module';",
        "pyodide.asm.wasm": b"\0asm\1\0\0\0",
        "package.json": b'{"version": "1.2.3"}',
        "pyodide-lock.json": json.dumps({"packages": {
            "numpy": {"file_name": "numpy.whl", "sha256": hashlib.sha256(WHEEL).hexdigest()},
            "other": {"file_name": "other.whl"},
        }}).encode(),
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: Any) -> course.Pyodide:
    return course.pyodide(folder_of_pyodide(tmp_path_factory.mktemp("npm") / "package"))


def parts_of(page: str) -> dict[str, Any]:
    found = re.findall(r'<script type="([^"]*)" id="([^"]*)">(.*?)</script>', page, re.DOTALL)
    return {name: (json.loads(text) if "json" in kind else text) for kind, name, text in found}


# ---- what goes in --------------------------------------------------------------------------------


def test_lessons_and_exercises_are_in_the_page(stand_in: course.Pyodide) -> None:
    page = course.build("01-03,05", stand_in)
    found = parts_of(page)["course"]
    assert [one["number"] for one in found["lessons"]] == ["01", "02", "02b", "03", "05", "05b"]
    first, second = found["lessons"][:2]
    assert first["title"] == "The chain rule, carried out by a program"
    assert first["look"].startswith("the gradient column")
    assert first["exercise"].startswith("add __sub__")
    assert first["code"].startswith("import math\n")
    assert not first["needs"]
    assert second["needs"]
    inside = [e["name"] for one in found["lessons"] for e in one["exercises"]]
    wanted = [n for n, e in exercises().items() if e.lesson in (1, 2, 3, 5) and not e.needs]
    assert inside == wanted
    assert not any(e["needs"] for e in first["exercises"])  # these run without NumPy
    assert list(found["lock"]["packages"]) == ["numpy"]


def test_the_page_is_the_same_bytes_each_time(stand_in: course.Pyodide) -> None:
    assert course.build("01", stand_in) == course.build("01", stand_in)


def test_the_page_runs_its_own_scripts_alone(stand_in: course.Pyodide, tmp_path: Path) -> None:
    (tmp_path / "numpy.whl").write_bytes(WHEEL)
    for wheel in (None, tmp_path / "numpy.whl"):
        page = course.build("01", stand_in, wheel)
        policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0]
        scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
        for text in (*scripts, *re.findall(r"<style>(.*?)</style>", page, re.DOTALL)):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
        assert ("cdn.jsdelivr.net" in policy) == (wheel is None)
        assert not re.findall(r'(?:src|href)="(?!#|data:|https://pyodide.org)', page)
        assert "part-numpy" in parts_of(page) or wheel is None


@pytest.mark.parametrize("lessons", ["", "one", "1-", "01-x", "77"])
def test_lessons_that_are_none(stand_in: course.Pyodide, lessons: str) -> None:
    with pytest.raises(ValueError, match=r"expected 01-13|has no lesson 77"):
        course.build(lessons, stand_in)


def test_the_command(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    folder, out = folder_of_pyodide(tmp_path / "package"), tmp_path / "c.html"
    words = ["page", "--lessons", "01-02", "--out", str(out)]
    monkeypatch.delenv(course.WHERE, raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "npm pack pyodide@" in said
    assert "--pyodide package" in said
    assert not out.exists()
    assert main([*words, "--pyodide", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "3 lessons" in said  # with 02b
    assert "without a network: 01. The others need NumPy" in said
    (tmp_path / "numpy.whl").write_bytes(WHEEL)
    monkeypatch.setenv(course.WHERE, str(folder))
    assert main([*words, "--numpy", str(tmp_path / "numpy.whl")]) == 0
    assert "all of it runs without a network" in capsys.readouterr().out
    (tmp_path / "numpy.whl").write_bytes(b"something else")
    assert main([*words, "--numpy", str(tmp_path / "numpy.whl")]) == 2
    assert "is not the NumPy of Pyodide 1.2.3" in capsys.readouterr().err


# ---- Python in the page --------------------------------------------------------------------------

WORKER = """
import json, sys
root, numpy = sys.argv[1:]
if numpy == "no":
    sys.modules["numpy"] = None  # importing it is an ImportError
sys.path.insert(0, root + "/tinygen/learn")
import inside
sys.path.pop(0)
assert inside.start(root) is (numpy == "yes")
for line in sys.stdin:
    what, *words = json.loads(line)
    print(json.dumps(getattr(inside, what)(*words)))
"""


def asked(root: Path, questions: list[list[str]], numpy: bool) -> tuple[str, str]:
    """What a Python prints that knows the page's own copy of tinygen, to stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(root), "yes" if numpy else "no"],
        input="\n".join(map(json.dumps, questions)), capture_output=True, text=True, timeout=60,
        check=True, cwd=root, env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip
    return done.stdout, done.stderr


def unpacked(root: Path, lesson: int) -> list[Exercise]:
    tasks = [e for e in exercises().values() if e.lesson == lesson]
    with zipfile.ZipFile(io.BytesIO(course.sources(tasks))) as archive:
        archive.extractall(root)
    return tasks


def test_without_numpy_lesson_1_runs_and_is_checked(tmp_path: Path) -> None:
    """From the page's own copy of tinygen, in a Python that has no NumPy."""
    tasks = unpacked(tmp_path, 1)
    step = course.STEPS / "01_chain_rule.py"
    code = course.lessons_of(course.STEPS, "01")[0]["code"]
    wrong = WRONG.program(find("01a").reference)
    questions = [
        ["run", "01_chain_rule", code], ["run", "a", "import tinygen as tg\ntg.tensor(1.0)"],
        ["check", "01a_back", wrong], *(["check", e.name, e.reference] for e in tasks),
    ]  # fmt: skip
    out, err = asked(tmp_path, questions, numpy=False)
    terminal = subprocess.run(
        [sys.executable, str(step)], capture_output=True, text=True, timeout=60, check=True
    )
    printed, rest = out[: len(terminal.stdout)], out[len(terminal.stdout) :]
    assert printed == terminal.stdout
    ran, failed, *checks = [json.loads(json.loads(line)) for line in rest.splitlines()]
    assert ran == {"ok": True, "line": 0, "files": []}
    assert not failed["ok"]
    assert failed["line"] == 2
    assert "ImportError: tinygen.tensor needs NumPy" in err
    assert not checks[0]["passed"]
    assert " ".join(checks[0]["text"].split()).count(WRONG.hint) == 1
    assert [c["passed"] for c in checks[1:]] == [True] * len(tasks)
    assert len(tasks) >= 8


def test_with_numpy_the_page_has_all_that_a_lesson_takes(tmp_path: Path) -> None:
    task = unpacked(tmp_path, 5)[0]
    code = course.lessons_of(course.STEPS, "05")[0]["code"]
    trains = """
import sys, tinygen as tg, tinygen_kernels
for module in (tg, tinygen_kernels):
    assert module.__file__.startswith(sys.path[0]), module.__file__
images = tg.data.load("strokes", n=40, size=8)
model = tg.models.VAE(images.shape, rng=tg.random.Generator(0), hidden=(8,), latent=2)
tg.train.fit(model, images, 1, out="run", batch_size=20, progress=False)
"""
    questions = [["run", "05_shapes", code], ["run", "a", trains], ["check", task.name, task.start],
                 ["check", task.name, task.reference]]  # fmt: skip
    out, err = asked(tmp_path, questions, numpy=True)
    assert err == ""
    shapes, trained, wrong, right = [
        json.loads(json.loads(line)) for line in out.splitlines() if line.startswith('"{')
    ]
    assert shapes["ok"]
    assert trained["ok"]
    assert any(f.endswith("samples.png") for f in trained["files"])
    assert not wrong["passed"]
    assert right["passed"]


def test_a_program_is_run_as_a_file_is(capsys: Any) -> None:
    before = Path.cwd(), sys.argv, sys.modules["__main__"]
    source = """
import sys
from pathlib import Path
if __name__ == "__main__":
    Path(sys.argv[1]).mkdir()
    Path(sys.argv[1], "a.png").write_bytes(b"x")
    Path("b.bin").write_bytes(b"x")
    print(sys.argv)
"""
    done = json.loads(inside.run("09_x", source))
    assert capsys.readouterr().out == "['09_x.py', 'pictures']\n"
    assert [Path(f).name for f in done["files"]] == ["a.png"]
    assert (Path.cwd(), sys.argv, sys.modules["__main__"]) == before


@pytest.mark.parametrize(
    ("source", "line", "said"),
    [
        ("x = 1\ndef f():\n    return 1 / 0\nf()", 3,
         "ZeroDivisionError: division by zero\n  line 4, in <module>: f()\n"
         "  line 3, in f: return 1 / 0\n"),
        ("def f(:\n    pass", 1, "SyntaxError: invalid syntax\n  line 1: def f(:\n"),
        ("def f(n):\n    return f(n + 1)\nf(0)", 2, "RecursionError: maximum recursion"),
        ("import sys\nsys.exit('enough')", 0, "enough\n"),
        ("\nx = input('how much? ')", 2, "EOFError: input() cannot ask in this page"),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\nraise E()", 3,
         "E: its message cannot be read"),
    ],
)  # fmt: skip
def test_errors_are_said_as_a_student_reads_them(
    capsys: Any, source: str, line: int, said: str
) -> None:
    done = json.loads(inside.run("a", source))
    assert (done["ok"], done["line"]) == (False, line)
    assert capsys.readouterr().err.startswith(said)


def test_a_clean_end_is_no_error(capsys: Any) -> None:
    assert json.loads(inside.run("a", "raise SystemExit"))["ok"]
    assert capsys.readouterr().err == ""


# ---- the page in a browser -----------------------------------------------------------------------


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
    """A page of the course, opened from a file, and what went wrong on it."""

    def __init__(self, browser: Any, file: Path, wait: float = 60, **settings: Any) -> None:
        self.context = browser.new_context(**settings)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(1000 * wait)
        self.trouble: list[str] = []
        self.asked: list[str] = []
        self.tab.on("console", lambda message: self.trouble.append(message.text))
        self.tab.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(file.as_uri())

    def ready(self) -> str:
        self.tab.wait_for_function("document.getElementById('state').innerText.includes('runs in')")
        return str(self.tab.inner_text("#state"))

    def box(self, key: str = "") -> Any:
        """The lesson's own part of the page, or that of an exercise."""
        return self.tab.locator(
            f"#main section[id^='e-{key}']" if key else "#main section >> nth=0"
        )

    def write(self, text: str, key: str = "") -> None:
        self.box(key).locator("textarea").fill(text)

    def press(self, name: str, key: str = "") -> None:
        self.box(key).get_by_role("button", name=name, exact=True).click()

    def until(self, what: str, key: str = "") -> None:
        self.box(key).get_by_text(what).first.wait_for()

    def network(self) -> list[str]:
        return [u for u in self.asked if not u.startswith(("blob:", "data:", "file:"))]

    def close(self) -> None:
        self.tab.goto("about:blank")
        self.context.close()


@pytest.fixture
def opened(browser: Any, stand_in: course.Pyodide, tmp_path: Path) -> Iterator[Any]:
    pages: list[Page] = []
    (tmp_path / "numpy.whl").write_bytes(WHEEL)

    def show(numpy: bool = False, file: Path | None = None, **settings: Any) -> Page:
        if file is None:
            file = tmp_path / f"{len(pages)} course.html"
            wheel = tmp_path / "numpy.whl" if numpy else None
            file.write_text(course.build("01-02", stand_in, wheel), encoding="utf-8", newline="\n")
        pages.append(Page(browser, file, **{"offline": True, **settings}))
        return pages[-1]

    yield show
    for page in pages:
        assert page.trouble == []
        page.context.close()


def test_a_program_runs(opened: Any) -> None:
    page = opened()
    assert page.ready() == "Python 3.x runs in this page."
    page.write("one & <two>\npicture")
    page.press("Run")
    page.until("Done in")
    assert page.box().locator(".output").inner_text() == "01_chain_rule ran: one & <two>\npicture\n"
    image = page.box().locator("figure img")
    assert image.get_attribute("alt") == "The picture picture.png"
    assert image.evaluate("async (i) => { await i.decode(); return i.naturalWidth; }") == 1
    page.write("fine\noops")
    page.press("Run")
    page.until("NameError: oops")
    assert page.box().locator(".numbers .bad").inner_text().strip() == "2"
    assert page.box().locator("figure").count() == 0
    assert page.network() == []


def test_a_wrong_answer_gets_its_hint_and_a_right_one_counts(opened: Any) -> None:
    page = opened()
    page.ready()
    page.box("01a").get_by_text("The answer").click()
    page.press("Show one right answer", "01a")
    page.until("Try first", "01a")
    page.press("Check", "01a")
    page.until("hint: seven", "01a")
    page.press("Show one right answer", "01a")
    page.until("the answer", "01a")
    assert page.tab.locator("#nav li >> nth=0").inner_text().endswith("0 of 8")
    page.write("return 7", "01a")
    page.box("01a").locator("textarea").press("Control+Enter")
    page.until("right", "01a")
    assert page.tab.locator("#nav li >> nth=0").inner_text().endswith("1 of 8")
    assert "passed" in page.box("01a").get_attribute("class")


def test_an_endless_loop_is_stopped(opened: Any) -> None:
    page = opened()
    page.ready()
    page.write("while True: pass")
    page.press("Run")
    page.press("Stop")
    page.until("Stopped.")
    page.ready()
    page.write("flood")  # prints without end
    page.press("Run")
    page.box().get_by_text("... more is not shown").wait_for()
    page.press("Stop")
    page.write("fine again")  # and runs as soon as Python is there again
    page.press("Run")
    page.until("Done in")
    assert "ran: fine again" in page.box().locator(".output").inner_text()


def test_a_check_without_end_ends(opened: Any) -> None:
    page = opened()
    page.ready()
    page.tab.clock.install()
    page.write("while", "01b")
    page.press("Check", "01b")
    page.tab.wait_for_function("python.timer")
    page.tab.clock.run_for(11000)
    page.until("is there a loop without an end?", "01b")


def test_python_that_ends_starts_again(opened: Any) -> None:
    page = opened()
    page.ready()
    page.write("crash")
    page.press("Run")
    page.until("Python ended: no memory")
    page.ready()


def test_start_again_and_back(opened: Any) -> None:
    page = opened()
    original = page.box().locator("textarea").input_value()
    page.write("mine")
    page.press("Start again")
    assert page.box().locator("textarea").input_value() == original
    page.press("Take that back")
    assert page.box().locator("textarea").input_value() == "mine"


def test_a_saved_copy_has_the_work_and_is_a_page_again(opened: Any, tmp_path: Path) -> None:
    page = opened()
    page.ready()
    mine = "return 7  # </script><!-- é"
    page.write(mine, "01b")
    page.press("Check", "01b")
    page.until("right", "01b")
    with page.tab.expect_download() as waiting:
        page.tab.get_by_role("button", name="Save a copy").click()
    assert waiting.value.suggested_filename == "0 course (my copy).html"
    waiting.value.save_as(tmp_path / "copy.html")
    copy = opened(file=tmp_path / "copy.html")
    copy.ready()
    assert copy.box("01b").locator("textarea").input_value() == mine
    assert copy.tab.locator("#nav li >> nth=0").inner_text().endswith("1 of 8")
    assert copy.tab.locator("#nav li").count() == 3
    copy.press("Run", "01b")
    copy.until("Done in", "01b")
    copy.press("Start again", "01b")
    assert copy.box("01b").locator("textarea").input_value() == find("01b").start.strip()


def test_numpy_in_the_page(opened: Any) -> None:
    page = opened(numpy=True)
    assert page.ready() == "Python 3.x with NumPy runs in this page."
    page.tab.get_by_role("link", name="02 Tensors").click()
    page.press("Run")
    page.until("Done in")
    assert not page.tab.get_by_role("button", name="Load NumPy").is_visible()


def test_numpy_from_the_network_and_then_in_the_copy(opened: Any, tmp_path: Path) -> None:
    page = opened(offline=False)
    sent = [b"not it", WHEEL]
    heads = {"access-control-allow-origin": "*"}
    address = re.compile(r"https://cdn\.jsdelivr\.net/pyodide/v1\.2\.3/full/numpy\.whl")
    page.tab.route(address, lambda route: route.fulfill(body=sent.pop(0), headers=heads))
    page.ready()
    assert page.network() == []  # nothing is asked for before a person wants it
    page.tab.get_by_role("link", name="02 Tensors").click()
    run = page.box().get_by_role("button", name="Run", exact=True)
    assert run.is_disabled()
    page.press("Load NumPy from cdn.jsdelivr.net")
    page.until("NumPy did not come")  # other bytes than those of Pyodide's list
    page.trouble.clear()  # the browser says so, too
    page.press("Load NumPy from cdn.jsdelivr.net")
    page.tab.get_by_text("with NumPy runs in this page").wait_for()
    page.press("Run")
    page.until("Done in")
    with page.tab.expect_download() as waiting:
        page.tab.get_by_role("button", name="Save a copy").click()
    waiting.value.save_as(tmp_path / "copy.html")
    copy = opened(file=tmp_path / "copy.html")
    assert "with NumPy" in copy.ready()
    copy.press("Run")  # the lesson that was open
    copy.until("02_tensors ran")


def test_the_keyboard(opened: Any) -> None:
    page = opened()
    page.ready()
    keys, area = page.tab.keyboard, page.box().locator("textarea")
    area.fill("")
    area.focus()
    for key in ("i", "f", " ", "x", ":", "Enter", "y", "Enter", "Tab"):
        keys.press(key)
    assert area.input_value() == "if x:\n    y\n        "
    keys.press("Escape")
    keys.press("Tab")
    assert page.tab.evaluate("document.activeElement.textContent") == "Run"
    reached = set()
    for _ in range(24):
        keys.press("Escape")
        keys.press("Tab")
        name, outlined = page.tab.evaluate("""() => {
            const e = document.activeElement;
            const shown = e.tagName === "TEXTAREA" ? e.parentNode : e;
            return [e.tagName + (e.textContent || ""), getComputedStyle(shown).outlineStyle];
        }""")
        if not name.startswith("BODY"):
            assert outlined == "solid", name
        reached.add(name)
    for wanted in ("BUTTONCheck", "BUTTONRun", "BUTTONStart again", "SUMMARYA hint"):
        assert wanted in reached


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "width", "lesson"),
    [("light", 1280, "01"), ("dark", 390, "01"), ("dark", 1280, "02")],
)
def test_axe_on_a_desk_and_a_phone(opened: Any, scheme: str, width: int, lesson: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    page = opened(color_scheme=scheme, viewport={"width": width, "height": 850})
    page.ready()
    page.tab.evaluate("(number) => { location.hash = number; }", lesson)
    page.tab.wait_for_function("document.querySelectorAll('#main section').length > 1")
    if lesson == "01":
        page.write("fine\noops")
        page.press("Run")
        page.until("NameError")
        page.press("Check", "01a")
        page.until("not yet", "01a")
    found = axe.Axe().run(page.tab)
    assert found.response["violations"] == [], found.generate_report()
    wide = page.tab.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0  # nothing to scroll sideways


@pytest.mark.slow
@pytest.mark.skipif(
    not REAL, reason=f"{course.WHERE} does not name a folder of the npm package pyodide"
)
def test_with_the_real_python(browser: Any, tmp_path: Path) -> None:
    """From a file, the network cut: step 01 prints what a terminal shows, and so on."""
    file = tmp_path / "course.html"
    file.write_text(course.build("01-13", course.pyodide(Path(REAL))), encoding="utf-8")
    page = Page(browser, file, wait=240, offline=True)
    assert page.ready().startswith("Python 3.")
    page.press("Run")
    page.until("Done in")
    terminal = subprocess.run(
        [sys.executable, str(course.STEPS / "01_chain_rule.py")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert page.box().locator(".output").inner_text() == terminal.stdout
    page.write(WRONG.program(find("01a").reference), "01a")
    page.press("Check", "01a")
    page.until("not yet", "01a")
    assert WRONG.hint in " ".join(page.box("01a").locator(".verdict").inner_text().split())
    page.write(find("01a").reference, "01a")
    page.press("Check", "01a")
    page.until("01a_back: right", "01a")
    page.write("while True:\n    pass", "01b")
    page.press("Run", "01b")
    page.press("Stop", "01b")
    page.until("Stopped.", "01b")
    page.write("import tinygen as tg\ntg.tensor(1.0)", "01b")
    page.press("Run", "01b")
    page.until("tinygen.tensor needs NumPy", "01b")
    assert page.trouble == []
    assert page.network() == []
    page.context.close()
