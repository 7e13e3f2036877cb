"""What the code of a function names: globals, attributes, and the modules that it imports."""

from __future__ import annotations

import dis
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

ANY = "*"  # every name of a module or a class


@functools.cache
def names(code: types.CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The globals and the attributes that a function names; ANY where it computes a name.

    The third are names of attributes that it may look for where there is none.
    """
    of_globals, attributes = set(), set()
    for step in dis.get_instructions(code):
        name = step.opname
        if name == "IMPORT_NAME":
            continue
        if name.endswith(("_GLOBAL", "_NAME")):
            of_globals.add(step.argval)
        elif name.endswith(("_ATTR", "_METHOD", "IMPORT_FROM")):
            attributes.add(step.argval)
    if "globals" in of_globals:  # globals()["name"]
        of_globals.update(c for c in code.co_consts if isinstance(c, str))
    if of_globals & {"getattr", "vars"} or attributes & {"attrgetter", "__dict__"}:
        attributes.add(ANY)
    looks = of_globals & {"getattr", "hasattr"}
    perhaps = {c for c in code.co_consts if isinstance(c, str) and c.isidentifier() and looks}
    return frozenset(of_globals), frozenset(attributes), frozenset(perhaps)


def imported(code: types.CodeType, space: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The modules that a function imports when it runs, as far as they are loaded."""
    found: list[str] = []
    depth = 0
    for step in dis.get_instructions(code):
        if step.opname == "LOAD_CONST" and isinstance(step.argval, int):
            depth = step.argval  # dots before the name
        elif step.opname == "IMPORT_NAME":
            package = (space.get("__package__") or "").split(".")
            parents = package[: len(package) + 1 - depth] if depth else []
            found.append(".".join(filter(None, [*parents, step.argval])))
            depth = 0
    if {"modules", "import_module", "__import__"} & set(code.co_names):  # sys.modules["name"]
        found += [c for c in code.co_consts if isinstance(c, str)]
    for name in found:
        parts = name.split(".")
        for n in range(1, len(parts) + 1):
            module = sys.modules.get(".".join(parts[:n]))
            if module is not None:
                yield parts[n - 1], module
