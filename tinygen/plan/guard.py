"""The guard of a plan: what its step read, as it was, to be compared before every replay.

Comparing costs tens of nanoseconds for each thing, by identity; where that fails, numbers and
texts are compared by value, to the bit.
"""

from __future__ import annotations

import collections
import contextlib
import operator
import types
from collections.abc import Iterable
from itertools import chain, repeat
from typing import Any

import numpy as np

from ..nn.module import Parameter
from ..trace.tree import exact

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "nothing"})()
_claim, _code = operator.attrgetter("claim"), operator.attrgetter("__code__")
_mro = operator.attrgetter("__mro__")
_class_get = types.MappingProxyType.get
_cell_contents = operator.attrgetter("cell_contents")
_PLAIN = (dict, collections.defaultdict, collections.OrderedDict, list, collections.deque, set)


def same(a: Any, b: Any) -> bool:
    """Whether a value that was bound anew is the one before: to the bit, for what is only read."""
    if a is b:
        return True
    if a.__class__ is not b.__class__:
        return False
    if isinstance(a, types.MethodType):
        return a.__self__ is b.__self__ and a.__func__ is b.__func__
    if a.__class__ is tuple:
        return len(a) == len(b) and all(map(same, a, b))
    known = exact(a)
    return known is not None and bool(known == exact(b))


class Entry:
    """One name in a mapping.

    Attributes:
        owner: the instance or the class, if the name is one of its attributes.
        space: the attributes of an instance or a class, a module's or a function's globals.
        value: what was bound there, MISSING for nothing.
        meaning: what reading it gave: where nothing was bound, the attribute of the class.
    """

    __slots__ = ("label", "meaning", "name", "owner", "space", "value")

    def __init__(
        self, owner: Any, space: Any, name: str, value: Any, meaning: Any, label: str
    ) -> None:
        self.owner, self.space, self.name, self.label = owner, space, name, label
        self.value, self.meaning = value, meaning

    def holds(self) -> bool:
        """Whether reading it gives the same; a new binding of an equal value is remembered."""
        now = self.space.get(self.name, MISSING)
        if now is self.value:
            return True
        meaning = now
        if now is MISSING and self.owner is not None:
            meaning = of_class(type(self.owner), self.name)
        if not same(meaning, self.meaning):
            return False
        self.value = now
        return True

    def undo(self) -> None:
        if self.space.get(self.name, MISSING) is self.value:
            return
        if type(self.space) is dict:
            if self.value is MISSING:
                del self.space[self.name]
            else:
                self.space[self.name] = self.value
            return
        (Slots(self.owner) if self.owner is not None else self.space).put(self.name, self.value)

    def text(self) -> str:
        now = self.space.get(self.name, MISSING)
        return difference(self.label, now, self.meaning)


def short(value: Any) -> str:
    if value is MISSING:
        return "nothing"
    known = isinstance(value, (int, float, complex, str, bytes, type(None)))
    return f"{value!r:.40}" if known else f"a {type(value).__name__}"


def difference(label: str, now: Any, before: Any) -> str:
    new, old = short(now), short(before)
    return f"{label} is another {type(now).__name__}" if new == old else (
        f"{label} is {new}, and was {old}"
    )  # fmt: skip


def of_class(kind: type, name: str) -> Any:
    for c in kind.__mro__:
        if name in c.__dict__:
            return c.__dict__[name]
    return MISSING


def content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING  # not yet bound


def contents_of(held: Any) -> tuple[Any, ...]:
    return (*held, *held.values()) if isinstance(held, dict) else tuple(held)


class Slots:
    """The attributes of an object as a mapping."""

    __slots__ = ("owner",)

    def __init__(self, owner: Any) -> None:
        self.owner = owner

    def get(self, name: str, default: Any) -> Any:
        return getattr(self.owner, name, default)

    def put(self, name: str, value: Any) -> None:
        if value is MISSING:
            delattr(self.owner, name)
        else:
            setattr(self.owner, name, value)


class Context(Slots):
    """A variable of the context (contextvars), whose value is no attribute."""

    __slots__ = ()

    def get(self, name: str, default: Any) -> Any:
        return self.owner.get(default)

    def put(self, name: str, value: Any) -> None:
        self.owner.set(value)


def foreign_array(value: Any) -> Any:
    """The numbers that an array of another library holds, such as PyTorch's; None for others.

    A class of the user's own that gives an array is followed as all others are.
    """
    kind = type(value)
    array = getattr(kind, "__array__", None) or of_class(kind, "__array_interface__")
    if array is MISSING or kind.__module__.partition(".")[0] in ("numpy", "tinygen", "builtins"):
        return None
    code = getattr(getattr(array, "fget", array), "__code__", None)
    if code is not None and "-packages" not in code.co_filename:
        return None
    detach = of_class(kind, "detach")
    with contextlib.suppress(Exception):
        return np.asarray(value if detach is MISSING else detach(value))
    return None


def bytes_of(array: Any) -> bytes:
    if not isinstance(array, np.ndarray):
        foreign = foreign_array(array)
        if foreign is None:
            return bytes(array)
        array = foreign
    content: bytes = array.tobytes()
    return str((array.shape, array.dtype.str)).encode() + content


def unchanged(held: Any, contents: tuple[Any, ...]) -> bool:
    count = 2 * len(held) if isinstance(held, dict) else len(held)
    if count != len(contents) or not all(map(operator.is_, held, contents)):
        return False
    return not isinstance(held, dict) or all(
        map(operator.is_, held.values(), contents[len(held) :])
    )


def refill(held: Any, contents: tuple[Any, ...]) -> None:
    """A container with what it held before."""
    if isinstance(held, dict):
        n = len(contents) // 2
        before = dict(zip(contents[:n], contents[n:], strict=True))
        held.clear()
        held.update(before)
    elif isinstance(held, (list, collections.deque)):
        held.clear()
        held.extend(contents)
    elif isinstance(held, set):
        held.clear()
        held.update(contents)


class Guard:
    """What a rehearsal read, to be compared before every replay."""

    def __init__(
        self,
        entries: Iterable[Entry],
        held: Iterable[tuple[Any, tuple[Any, ...], str]],
        cells: Iterable[tuple[Any, Any, str]],
        arrays: Iterable[tuple[Any, bytes, str]],
        codes: Iterable[tuple[Any, Any, str]],
        kinds: Iterable[tuple[Any, Any, str]],
        tensors: Iterable[Any],
        alive: list[Any],
    ) -> None:
        entries = list(entries)
        self._alive = alive  # so that nothing takes their places in memory
        quick = [e for e in entries if type(e.space) is dict]
        self._quick: list[Entry] = quick
        mappings = (dict, types.MappingProxyType)
        self._others: list[Entry] = [e for e in entries if type(e.space) not in mappings]
        classes = [e for e in entries if type(e.space) is types.MappingProxyType]
        self._of_classes: list[Entry] = classes
        self._class_spaces = [e.space for e in classes]
        self._class_names = [e.name for e in classes]
        self._class_values = [e.value for e in classes]
        self._spaces = [e.space for e in quick]
        self._names = [e.name for e in quick]
        self._values = [e.value for e in quick]
        self._held = list(held)
        self._look_again()
        cells = list(cells)
        self._cells = [c for c, _, _ in cells]
        self._cell_values = [v for _, v, _ in cells]
        self._cell_names = [n for _, _, n in cells]
        self._arrays = list(arrays)
        self._functions = list(codes)
        self._codes = ([f for f, _, _ in self._functions], [code for _, code, _ in self._functions])
        self._instances = list(kinds)
        self._kinds = ([x for x, _, _ in self._instances], [kind for _, kind, _ in self._instances])
        self._classes = list({kind for _, kind, _ in self._instances})
        self._orders = list(map(_mro, self._classes))
        self._claimed = [x for x in tensors if isinstance(x, Parameter)]
        self._claims = [p.claim for p in self._claimed]

    def _as_it_was(self) -> bool:
        try:
            return (
                all(map(operator.is_, map(dict.get, self._spaces, self._names, repeat(MISSING)),
                        self._values))
                and all(map(operator.is_, map(_class_get, self._class_spaces, self._class_names,
                                              repeat(MISSING)), self._class_values))
                and all(map(operator.is_, map(_claim, self._claimed), self._claims))
                and all(map(operator.is_, map(_code, self._codes[0]), self._codes[1]))
                and all(map(operator.is_, map(type, self._kinds[0]), self._kinds[1]))
                and all(map(operator.is_, map(_mro, self._classes), self._orders))
                and all(map(operator.is_, map(_cell_contents, self._cells), self._cell_values))
                and all(e.space.get(e.name, MISSING) is e.value for e in self._others)
                and list(map(len, self._containers)) == self._counts
                and all(map(operator.is_, chain.from_iterable(self._views), self._contents))
                and all(unchanged(held, contents) for held, contents, _ in self._unusual)
                and not self._arrays
            )  # fmt: skip
        except ValueError:  # an empty cell
            return False

    def change(self) -> str | None:
        """What is no longer as it was, in words; None if nothing."""
        if self._as_it_was():
            return None
        entry: Entry
        for i, entry in enumerate(self._quick):
            if not entry.holds():
                return entry.text()
            self._values[i] = entry.value
        for i, entry in enumerate(self._of_classes):
            if not entry.holds():
                return entry.text()
            self._class_values[i] = entry.value
        for entry in self._others:
            if not entry.holds():
                return entry.text()
        for i, cell in enumerate(self._cells):
            now, before = content(cell), self._cell_values[i]
            if not same(now, before):
                return difference(self._cell_names[i], now, before)
            self._cell_values[i] = now
        for i, (held, contents, label) in enumerate(self._held):
            now = contents_of(held)
            if len(now) != len(contents) or not all(map(same, now, contents)):
                return f"{label or 'an attribute'} ({type(held).__name__}) holds something else"
            self._held[i] = (held, now, label)
        for i, p in enumerate(self._claimed):
            if p.claim is not self._claims[i]:
                return f"the parameter {p.name or p.shape} belongs to another optimizer"
        for function, code, label in self._functions:
            if function.__code__ is not code:
                return f"the code of {label or function.__name__} is another"
        for value, kind, label in self._instances:
            if type(value) is not kind:
                return f"{label} is a {type(value).__name__} now, and was a {kind.__name__}"
        for kind, order in zip(self._classes, self._orders, strict=True):
            if kind.__mro__ is not order:
                return f"the class {kind.__name__} inherits from others"
        for array, before, label in self._arrays:
            if bytes_of(array) != before:
                return f"the array {label} holds other numbers"
        self._look_again()
        return None

    def _look_again(self) -> None:
        """Lay out what the containers hold in one row, beside views of what they hold now."""
        plain = [(held, contents) for held, contents, _ in self._held if type(held) in _PLAIN]
        self._unusual = [x for x in self._held if type(x[0]) not in _PLAIN]
        self._containers = [held for held, _ in plain]
        self._counts = [
            len(contents) // (2 if isinstance(held, dict) else 1) for held, contents in plain
        ]
        self._views: list[Any] = []
        for held in self._containers:
            self._views += (held, held.values()) if isinstance(held, dict) else (held,)
        self._contents = [x for _, contents in plain for x in contents]
