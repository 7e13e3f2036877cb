"""The API reference: names that docstrings mention exist, and the check sees those that do not."""

import importlib.util
import re
import sys
import types
from pathlib import Path

import pytest

import tinygen as tg

pytestmark = pytest.mark.quick
ROOT = Path(__file__).resolve().parent.parent


def _load():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "bench" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module
    spec.loader.exec_module(module)
    return module


reference = _load()


def test_docstrings_name_what_there_is():
    assert reference.broken() == []


def test_every_public_name_is_on_a_page():
    shown = {name for name, *_ in reference.texts()}
    wanted = {f"tinygen.{n}" for n in set(tg.__all__) - set(tg.ops.__all__)}
    wanted |= {f"tinygen.ops.{n}" for n in tg.ops.__all__}
    modules = {f"tinygen.{n}" for n in tg.__all__ if isinstance(getattr(tg, n), types.ModuleType)}
    assert wanted - shown == set()
    assert modules <= set(reference.PAGES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("See `losses.vae`, `tg.grad`, `Tensor.sum` and `.test`.", 0),
        ("See `losses.vea`.", 1),
        ("See `tg.gradient()`, or `Tensor.summ`.", 2),
        ("", 1),
    ],
)
def test_the_check_sees_what_is_gone(text, found, monkeypatch):
    def thing() -> tg.data.Dataset: ...

    thing.__doc__ = text
    monkeypatch.setattr(reference, "texts", lambda: [("tinygen.thing", thing, tg)])
    assert len(reference.broken()) == found


def test_a_docstring_is_shown_as_it_is_written():
    text = "a * b * c, x_1 < 2 and `y * z`.\n\n    f(x) = a * b\n\nArgs:\n    x: a * b.\n"
    shown = reference.plain(text)
    assert re.sub(r"\\(.)", r"\1", shown) == text.rstrip("\n")
    assert r"a \* b \* c" in shown
    assert "`y * z`" in shown
    assert "    f(x) = a * b\n" in shown
    assert r"x: a \* b" in shown


def test_dead_links_are_found(tmp_path):
    (tmp_path / "b.html").write_text('<p id="here">')
    links = ["b.html", "b.html#here", "b.html#there", "#top", "c.html", "https://example.org/#x"]
    page = '<p id="top">' + "".join(f'<a href="{link}">' for link in links)
    (tmp_path / "a.html").write_text(page + '<script>"<a href=\\"d.html\\">"</script>')
    found = [line.split()[1] for line in reference.dead_links(tmp_path)]
    assert found == ["b.html#there", "c.html"]
