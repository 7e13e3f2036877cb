"""Exercises of the lessons, each with the wrong solutions that people write.

`tinygen learn` in a terminal; in a notebook `learn.verdict("05c", globals())`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_PLACES = {"verdict": "check"}  # what a person may ask for, and the module that has it

if TYPE_CHECKING:
    from .check import verdict as verdict


def __getattr__(name: str) -> Any:
    """What a person asks for; imported then."""
    if name not in _PLACES:
        raise AttributeError(f"tinygen.learn has no {name!r}; it has {', '.join(_PLACES)}")
    globals()[name] = found = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    return found


__all__ = ["verdict"]
