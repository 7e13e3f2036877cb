"""Models by name: those of tinygen, and models of one's own."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from .contract import Model

MODELS: dict[str, type[Model]] = {}  # that `tinygen train` trains
MADE: dict[str, tuple[type[Model], str]] = {}  # by other commands: the model, and the command
_FILES: dict[str, Path] = {}  # of models of one's own, as they were named, by module
Kind = TypeVar("Kind", bound=type[Model])


def register(kind: Kind, command: str = "") -> Kind:
    """Make a model known by its name, so that its runs can be resumed and opened; a decorator.

    command: of the program, for a model that is not trained by `tinygen train`.

    Raises:
        TypeError: something else than a Model with a name.
        ValueError: another model has that name.
    """
    if not (isinstance(kind, type) and issubclass(kind, Model) and isinstance(kind.name, str)):
        raise TypeError(f"register: {kind!r}, expected a subclass of models.Model with a `name`")
    known = stored(kind.name)
    if known is not None and (known.__module__, known.__qualname__) != (
        kind.__module__,
        kind.__qualname__,
    ):
        raise ValueError(
            f"register: {kind.__name__} is called {kind.name!r}, which {known.__module__}."
            f"{known.__name__} is already; give it another name"
        )
    if command:
        MADE[kind.name] = (kind, command)
    else:
        MODELS[kind.name] = kind
    return kind


def stored(name: str) -> type[Model] | None:
    """The model that a run holds, by its name; None for one that is not known."""
    return MODELS.get(name) or MADE.get(name, (None,))[0]


def trained_by(name: str) -> tuple[str, ...]:
    """The words of the command that trains a model of this name."""
    return (MADE[name][1],) if name in MADE else ("train", name)


def typed(kind: type[Model]) -> str:
    """How a model is named on the command line: by its name, or by its file and class."""
    file = _FILES.get(kind.__module__)
    return kind.name if file is None else f"{file}:{kind.__qualname__}"


def place_of(error: BaseException) -> str:
    """The innermost "file:line" of an error that is in a file of one's own; "" for none."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals
        file = _FILES.get(module.get("__name__", ""))
        if file is not None and frame.f_code.co_filename == module.get("__file__"):
            place = f"{file}:{line}"
    return place


def find(name: str) -> type[Model]:
    """The model called `name`, or one of one's own as "my_file.py:MyModel".

    Raises:
        ValueError: no such model, file or class; lists the models that are known.
    """
    path, colon, called = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _of_file(Path(path), called)
    if name not in MODELS:
        raise ValueError(
            f"no model is called {name!r}; known models: {', '.join(MODELS)}; a model of one's own "
            "is named by its file and class, as in my_file.py:MyModel"
        )
    return MODELS[name]


def _of_file(path: Path, called: str) -> type[Model]:
    """The class of a Python file, which is run."""
    kind = getattr(_module(path), called, None)
    if not (isinstance(kind, type) and issubclass(kind, Model)):
        raise ValueError(
            f"{path} has no model called {called!r}; expected a class that inherits from "
            "tinygen.models.Model"
        )
    return register(kind)


def _module(path: Path) -> ModuleType:
    """The file as a module, run once in a process."""
    if not path.is_file():
        raise ValueError(f"{path} is no file; expected one with a model, as in my_file.py:MyModel")
    where = path.resolve()
    name = f"tinygen_model_{where.stem}_{hashlib.sha256(str(where).encode()).hexdigest()[:8]}"
    _FILES[name] = path
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, where)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
