"""The README and its pages: Python blocks run, commands exist, links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import record_help
from strategies import AVAILABLE

import tinygen as tg
from tinygen.runs.extractor import included

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / ".github" / "CONTRIBUTING.md",
        *sorted((ROOT / "examples").glob("*.md")),
    )
}
README = PAGES["README.md"]


def blocks(text):
    """(language, text) of the blocks of code."""
    return re.findall(r"```(\w*)\n(.*?)```", text, re.S)


# A block that names a file first is pasted into it, and tried there by the test of its page.
PASTED = re.compile(r"# [\w/]+\.py\b")
PYTHON = [
    pytest.param(code, id=f"{page}-{i}")
    for page, text in PAGES.items()
    for i, (language, code) in enumerate(blocks(text))
    if language == "python" and not PASTED.match(code)
]


@pytest.mark.parametrize("code", PYTHON)
def test_python_blocks_run(code, tmp_path):
    if '"emulated"' in code and "emulated" not in AVAILABLE:
        pytest.skip("no C++ compiler for the emulated GPU")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if "drawn.png" in code:
        assert_digits(tmp_path / "drawn.png")


def assert_digits(path):
    """What a VAE drew can be read: many kinds of digits, most of them clear, in ink on paper."""
    pillow = pytest.importorskip("PIL.Image")
    sheet = np.asarray(pillow.open(path))
    scale = len(sheet) // (8 * 30 + 2)
    small = sheet[scale // 2 :: scale, scale // 2 :: scale]
    images = [small[y : y + 28, x : x + 28] for y in range(2, 242, 30) for x in range(2, 242, 30)]
    _, p = included("strokes")(np.stack(images)[..., None])
    assert len(np.unique(p.argmax(axis=1))) >= 8
    assert p.max(axis=1).mean() > 0.75
    assert np.mean([image.max() for image in images]) > 200


@pytest.mark.quick
def test_the_first_two_blocks_are_the_two_commands():
    (first, train), (second, test) = blocks(README)[:2]
    assert first == second == "sh"
    assert "tinygen train flow" in train
    assert "pytest" in test
    for block in (train, test):
        assert "venv" in block
        assert "pip install" in block


@pytest.mark.quick
def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120
    assert "```python" in README
    assert f"version = {{{tg.__version__}}}" in README  # how to cite
    contents = PAGES["examples/README.md"]
    names = {Path(page).name for page in PAGES if page.startswith("examples/")}
    assert [n for n in names if f"(examples/{n}" not in README and f"({n})" not in contents] == []


def paragraphs(text):
    """The prose of a page: paragraphs and entries of lists, without code, tables and pictures."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    prose = re.sub(r"!?\[([^\[\]]*)\]\([^)]*\)", r"\1", prose)  # a link is its words
    parts = re.split(r"\n\s*\n|\n(?=[-*] |\d+\. )", prose)
    return [" ".join(p.split()) for p in parts if p.strip() and p.strip()[0] not in "#|<"]


def too_long(text, sentence=30, paragraph=60):
    found = []
    for part in paragraphs(text):
        if len(part.split()) > paragraph:
            found.append(part)
        whole = re.split(r"(?<=[.?!])[*)]* (?=[A-Z`*\[(])", part)
        found += [s for s in whole if len([w for w in s.split() if w != "·"]) > sentence]
    return found


LISTS = ("examples/your_own_images.md", "examples/reproducibility.md", "examples/formats.md")


@pytest.mark.quick
@pytest.mark.parametrize("page", ["README.md", ".github/CONTRIBUTING.md", *LISTS])
def test_sentences_and_paragraphs_are_short(page):
    links = [p for p in paragraphs(PAGES[page]) if p.count(" · ") > 2]  # a line of links
    assert [p for p in too_long(PAGES[page]) if not any(p in line for line in links)] == []


@pytest.mark.quick
def test_the_measure_of_sentences_sees_long_ones():
    words = "word " * 15
    assert too_long(f"{words}and {words}end. One more.\n") != []
    assert too_long(f"A {words}end. And {words}end.\n") == []
    assert too_long(f"A {words}end.\n" * 4) != []
    assert too_long(f"- A {words}end.\n" * 4) == []
    assert too_long(f"```sh\n{words * 5}\n```\n\n| {words * 5} |\n") == []


def anchors(text):
    """The parts of a page that a link may name."""
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.quick
@pytest.mark.parametrize("page", PAGES)
def test_paths_and_pictures_exist(page):
    text, folder = PAGES[page], (ROOT / page).parent
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    named = re.findall(r"`((?:tinygen|examples|bench|tests|kernels)/[\w/.]*)`", text)
    assert links or named
    missing = [name for name in named if not (ROOT / name).exists()]
    for link in links:
        name, _, part = link.partition("#")
        target = (folder / name).resolve() if name else ROOT / page
        if not target.exists() or (
            part and part not in anchors(target.read_text(encoding="utf-8"))
        ):
            missing.append(link)
    assert not missing


@pytest.mark.quick
def test_commands_in_the_pages_exist():
    from tinygen.cli.app import app

    known = {c.name for c in [*app.registered_commands, *app.registered_groups]}
    codes = [code for text in PAGES.values() for _, code in blocks(text)]
    line = r"^tinygen (?:--model \S+ )?(\w+)"
    used = {name for code in codes for name in re.findall(line, code, re.M)}
    assert used == known


@pytest.mark.quick
def test_the_options_are_those_of_the_program():
    """Where the change is meant: python tests/record_help.py."""
    assert PAGES["examples/training.md"] == record_help.with_tables(PAGES["examples/training.md"])
