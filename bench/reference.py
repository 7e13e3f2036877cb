"""Write the API reference, as HTML made from the docstrings, and check every reference in it.

    python bench/reference.py                    # into reference/; open reference/index.html
    python bench/reference.py --check            # only look for names that are gone; needs no pdoc

Needs `pip install -e ".[docs]"`. A docstring is plain text: its formulas keep their stars and
underlines, an indented block is shown as it stands, and a name in backticks becomes a link. pdoc
leaves such a name without a link, and says nothing, where nothing has that name (any more). So each
one is looked up here first, and afterwards every link of the pages. The exit status is 1 where one
leads nowhere, where a public name has no docstring, or where pdoc warns.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import importlib
import inspect
import re
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STYLE = Path(__file__).resolve().parent / "reference_style"
# The pages, in the order of a reader. What a module lists in __all__ is public; in one without it,
# what it defines and does not begin with an underline.
PAGES = (
    "tinygen", "tinygen.ops", "tinygen.random", "tinygen.nn", "tinygen.nn.init", "tinygen.losses",
    "tinygen.optim", "tinygen.images", "tinygen.testing", "tinygen.data", "tinygen.models",
    "tinygen.sampling", "tinygen.sampling.ode", "tinygen.train", "tinygen.metrics",
    "tinygen.export",
)  # fmt: skip
CODE = re.compile(r"`([^`\n]+)`")
NAME = re.compile(r"\.?[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?")
SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")


def public(module: types.ModuleType) -> dict[str, Any]:
    """The public names of a module that are shown on its page, and what they are."""
    names = getattr(module, "__all__", None)
    if names is None:
        own = vars(module).items()
        return {
            k: v for k, v in own
            if k[0] != "_" and callable(v) and where_made(v) == module.__name__
        }  # fmt: skip
    elsewhere = set(importlib.import_module("tinygen.ops").__all__)
    if module.__name__ != "tinygen":
        elsewhere = set()
    found = {k: getattr(module, k) for k in names if k not in elsewhere}
    return {k: v for k, v in found.items() if not inspect.ismodule(v)}


def where_made(thing: Any) -> str:
    """The name of the module that defines a function, a class or an operation."""
    reference = getattr(thing, "body", None) or getattr(thing, "reference", thing)
    return str(getattr(reference, "__module__", ""))


def members(kind: type) -> dict[str, Any]:
    """The public methods and properties that a class defines itself."""
    own = {k: v for k, v in vars(kind).items() if k[0] != "_"}
    kinds = (types.FunctionType, staticmethod, classmethod, property)
    return {k: v for k, v in own.items() if isinstance(v, kinds)}


# ---- names in docstrings -------------------------------------------------------------------------


def texts(pages: tuple[str, ...] = PAGES) -> Iterator[tuple[str, Any, Any]]:
    """(full name, the thing, what it belongs to) of everything that the pages show."""
    for page in pages:
        module = importlib.import_module(page)
        yield page, module, module
        for name, thing in public(module).items():
            home = sys.modules.get(where_made(thing), module)
            yield f"{page}.{name}", thing, home
            if inspect.isclass(thing):
                for k, member in members(thing).items():
                    yield f"{page}.{name}.{k}", member, thing


def resolves(name: str, thing: Any, home: Any) -> bool:
    """Whether something is called so, seen from a thing and the module or class it is in."""
    first, *rest = name.removesuffix("()").split(".")
    if not first:  # `.test`: an attribute of this class, of what is returned, or of a tensor
        starts = (thing, home, importlib.import_module("tinygen").Tensor, *returned(thing))
        return any(reach(start, rest) for start in starts)
    spaces: list[Any] = [thing, home, sys.modules.get(getattr(home, "__module__", "")), builtins]
    spaces += [importlib.import_module(page) for page in PAGES[:2]]
    if first in ("tg", "tinygen"):
        found = [importlib.import_module("tinygen")]
    else:
        found = [getattr(space, first) for space in spaces if hasattr(space, first)]
    return any(reach(start, rest) for start in found)


def returned(thing: Any) -> list[Any]:
    """The class of what a function returns, where its annotation names one."""
    try:
        kinds = typing.get_type_hints(thing)
    except (TypeError, NameError):
        return []
    return [kinds["return"]] if inspect.isclass(kinds.get("return")) else []


def reach(start: Any, names: list[str]) -> bool:
    """Whether attributes of these names lead on from here."""
    for name in names:
        if not hasattr(start, name):
            known = f"{getattr(start, '__doc__', '')}\n{constructor(start)}"
            return re.search(rf"\b(self\.)?{name}:? ", known) is not None
        start = getattr(start, name)
    return True


def constructor(kind: Any) -> str:
    """The source of a class's __init__, in which its attributes are given their values."""
    own = inspect.isclass(kind) and inspect.isfunction(kind.__init__)
    return inspect.getsource(kind.__init__) if own else ""


def broken() -> list[str]:
    """What is wrong with the docstrings: names of nothing, and public names without a text."""
    found = []
    for name, thing, home in texts():
        text = inspect.getdoc(thing)
        if not text:
            if hasattr(thing, "__code__") or inspect.isclass(thing) or isinstance(thing, property):
                found.append(f"{name}: has no docstring")
            continue
        for code in CODE.findall(text):
            if NAME.fullmatch(code) and "." in code and not resolves(code, thing, home):
                found.append(f"{name}: nothing is called `{code}`")
    return found


# ---- pages ---------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """A docstring as Markdown that shows it as it is written; headings and code are kept.

    A list under "Raises:" and the like stays a list, indented lines stay a block of code.
    """
    lines, section = [], False
    for line in text.splitlines():
        section = (section and (line[:1] in ("", " "))) or bool(SECTION.fullmatch(line))
        if line.startswith("    ") and not section:
            lines.append(line)
            continue
        parts = re.split(r"(`[^`]+`)", line)
        parts[::2] = [re.sub(r"([\\*_<\[\]#|~])", r"\\\1", part) for part in parts[::2]]
        lines.append("".join(parts))
    return "\n".join(lines)


def as_function(operation: Any, name: str) -> Callable[..., Any]:
    """An operation as pdoc knows functions: with its signature, its text and its source."""

    def shown(*args: Any, **static: Any) -> Any:
        return operation(*args, **static)

    reference = getattr(operation, "body", operation.reference)
    shown.__name__ = shown.__qualname__ = name
    shown.__module__, shown.__doc__ = reference.__module__, inspect.getdoc(operation)
    shown.__wrapped__ = reference  # type: ignore[attr-defined]
    shown.__signature__ = inspect.signature(operation)  # type: ignore[attr-defined]
    return shown


def hints(thing: Any) -> list[str]:
    """Names that a class has only to say how others are called here: `bool`, `view`, ..."""
    own = vars(thing).items() if inspect.isclass(thing) else ()
    return [k for k, v in own if type(v).__module__ == "tinygen.spelling"]


def write(folder: Path) -> int:
    """Write the pages; returns how many. A warning of pdoc is an error."""
    from pdoc import doc, render

    import tinygen
    from tinygen.primitive import Primitive

    render.configure(docformat="google", template_directory=STYLE, footer_text="tinygen")
    render.env.globals["version"] = tinygen.__version__
    modules: dict[str, doc.Module] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for page in PAGES:
            module = importlib.import_module(page)
            shown = public(module)
            module.__all__ = list(shown)  # type: ignore[attr-defined]
            for name, thing in shown.items():
                operation = isinstance(thing, Primitive)
                setattr(module, name, as_function(thing, name) if operation else thing)
                for k in hints(thing):
                    delattr(thing, k)
            modules[page] = doc.Module(module)
            as_written(modules[page])
        for page, found in modules.items():
            file = folder / f"{page.replace('.', '/')}.html"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(render.html_module(found, modules), encoding="utf-8")
        (folder / "index.html").write_text(render.html_index(modules), encoding="utf-8")
        (folder / "search.js").write_text(render.search_index(modules), encoding="utf-8")
    return len(modules)


def as_written(found: Any) -> None:
    """Let docstrings and types of a module, of a class and of its members be shown as written."""
    from pdoc import doc

    found.docstring = plain(found.docstring)
    if isinstance(found, doc.Function):
        with contextlib.suppress(ValueError):  # a function of Python's own without a signature
            found.signature = typed(doc._PrettySignature.from_callable(found.obj))
        if found.name == "__init__":
            found.signature = found.signature.replace(return_annotation=inspect.Signature.empty)
    for name, member in getattr(found, "members", {}).items():
        if name[0] != "_" or name == "__init__":
            as_written(member)


class Text(str):
    """A type as its text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def typed(signature: inspect.Signature) -> inspect.Signature:
    """A signature whose types are text: `Array` is a tensor to a caller, `Any` says nothing."""

    def shown(kind: Any) -> Any:
        known = kind if isinstance(kind, str) else inspect.formatannotation(kind)
        unsaid = kind is inspect.Parameter.empty or known in ("Any", "typing.Any")
        return inspect.Parameter.empty if unsaid else Text(re.sub(r"\bArray\b", "Tensor", known))

    parameters = [p.replace(annotation=shown(p.annotation)) for p in signature.parameters.values()]
    returns = shown(signature.return_annotation)
    return signature.replace(parameters=parameters, return_annotation=returns)


def dead_links(folder: Path) -> list[str]:
    """Links of the pages that lead to no file, or to no place in one."""
    texts = {p.resolve(): p.read_text(encoding="utf-8") for p in folder.rglob("*.html")}
    places = {p: set(re.findall(r'\bid="([^"]+)"', text)) for p, text in texts.items()}
    found = []
    for path, text in texts.items():
        text = re.sub(r"<script.*?</script>", "", text, flags=re.S)
        for link in set(re.findall(r'<a [^>]*href="([^"]+)"', text)):
            file, _, place = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            if "://" not in link and (
                not target.exists() or (place and place not in places.get(target, {place}))
            ):
                found.append(f"{path.relative_to(folder.resolve())}: {link} leads nowhere")
    return sorted(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "reference")
    parser.add_argument("--check", action="store_true", help="only look for names that are gone")
    arguments = parser.parse_args()
    wrong = broken()
    if not arguments.check:
        count = write(arguments.folder)
        wrong += dead_links(arguments.folder)
        print(f"{count} pages: {arguments.folder / 'index.html'}")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
