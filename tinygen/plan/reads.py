"""What a step reads besides its arguments: attributes, globals, closures, lists and dicts.

A plan replays numbers, not Python, so it serves only while everything that Python read is as it
was. A rehearsal shows what is read: the names of globals and closures of each function that runs,
and each attribute of each object that was reached from there (its class tells us, while we watch).
Each is remembered as it was when the step began:

    instance, module and class attributes, globals     a mapping, a name, and the value
    closures                                           a cell and the value
    lists, dicts, sets, arrays                         a copy of what they hold

Comparing costs tens of nanoseconds each, by identity; where that fails, numbers and texts are
compared by value. A step that itself changes what it reads is refused: a replay would not.

The engine's own internals and the standard library are not followed, nor can we see files, clocks
and iterators; the recorder rehearses twice, and refuses what differs.
"""

from __future__ import annotations

import argparse
import collections
import contextvars
import functools
import gc
import os
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..primitive import Primitive
from ..tensor import Tensor
from ..trace.tree import exact
from .guard import (
    MISSING,
    Context,
    Entry,
    Guard,
    Slots,
    bytes_of,
    content,
    contents_of,
    of_class,
    refill,
    same,
    unchanged,
)
from .named import ANY, imported, names
from .whose import (
    followed,
    hands_over,
    has_bytes,
    is_aside,
    run_at_any_time,
    users_access,
    users_file,
    users_module,
)

LARGEST = 2**20  # bytes of a NumPy array that is compared at each call
_BAGS = (  # all they do is hold attributes
    types.SimpleNamespace, argparse.Namespace, collections.UserDict, collections.UserList,
    collections.ChainMap, type(os.environ), weakref.WeakKeyDictionary, weakref.WeakValueDictionary,
)  # fmt: skip
_SHOWING: Any = (  # what they show is elsewhere
    types.MappingProxyType, type({}.keys()), type({}.values()), type({}.items()),
    types.BuiltinMethodType, types.MethodWrapperType,
)  # fmt: skip


# ---- what was read -------------------------------------------------------------------------------


class _Watching(threading.local):
    reads: Reads | None = None


_watching = _Watching()


def attributes(owner: Any) -> dict[str, Any]:
    """What an instance holds itself; nothing if all its attributes are in slots."""
    try:
        found = object.__getattribute__(owner, "__dict__")
    except AttributeError:
        found = None
    return found if isinstance(found, dict) else {}


class Reads:
    """Everything outside that one rehearsal reads, as it was at the beginning."""

    def __init__(self) -> None:
        self.entries: dict[tuple[int, str], Entry] = {}
        self.held: dict[int, tuple[Any, tuple[Any, ...], str]] = {}
        self.cells: dict[int, tuple[Any, Any, str]] = {}
        self.arrays: dict[int, tuple[Any, bytes, str]] = {}
        self.tensors: dict[int, Tensor] = {}
        self._bound: list[tuple[Tensor, Any, Any, str]] = []
        self.codes: list[tuple[Any, Any, str]] = []
        self.kinds: list[tuple[Any, Any, str]] = []
        self.known: dict[int, tuple[Any, str]] = {}  # what was reached, and how it is called
        self._namespaces: list[tuple[Any, str]] = []  # modules and classes
        self._attributes: set[str] = set()
        self._codes: set[types.CodeType] = set()
        self._spaces: list[tuple[Any, dict[str, Any], frozenset[str]]] = []
        self.handed: str | None = None  # the function that hands work to another thread
        self._aside = 0  # how deep we are in what is no part of the step
        self._asides = run_at_any_time()
        self._changed_classes: list[tuple[type, str, Any]] = []

    # ---- reaching things -----------------------------------------------------------------------

    def reach(self, value: Any, label: str) -> None:
        """Something that the step can now get at: look at it as far as looking tells nothing."""
        if value is MISSING or exact(value) is not None or id(value) in self.known:
            return
        self.known[id(value)] = (value, label)
        if type(value) in weakref.ProxyTypes:
            self.reach(value.__repr__.__self__, label)  # what it stands for
        elif isinstance(value, Tensor):
            self.tensors[id(value)] = value
            self._bound.append((value, value.data, value.node, label))
        elif isinstance(value, (list, tuple, dict, set, frozenset, collections.deque)):
            self._hold(value, label)
            if hasattr(value, "__dict__"):  # of a class of its own, with attributes
                self._instance(value, label)
        elif isinstance(value, types.FunctionType):
            self._function(value, label)
        elif isinstance(value, types.MethodType):
            self.reach(value.__self__, "self" if label == "" else label.rpartition(".")[0])
            self.reach(value.__func__, label)
        elif isinstance(value, (staticmethod, classmethod)):
            self.reach(value.__func__, label)
        elif isinstance(value, property):
            self.reach(value.fget, label)
        elif isinstance(value, functools.partial):
            self.reach((value.func, value.args, value.keywords), label)
        elif isinstance(value, _SHOWING):
            for shown in gc.get_referents(value):
                self.reach(shown, label)
        elif isinstance(value, weakref.ref):
            self.reach(value(), label)
        elif isinstance(value, contextvars.ContextVar):
            self._slot(value, "value", label, Context(value))
        elif isinstance(value, threading.local):
            for name in vars(value):
                self._slot(value, name, label)
        elif isinstance(value, np.ndarray):
            self._array(value, label)
        elif isinstance(value, types.ModuleType):
            if users_module(value.__name__):
                self._namespace(value, label)
            elif value is os:
                self.reach(os.environ, "os.environ")
        elif isinstance(value, type):
            if users_module(value.__module__):
                self._namespace(value, label)
        elif type(value) in _BAGS or type(value).__module__ == "configparser":
            self.reach(vars(value), label)
        else:
            self._instance(value, label)

    def _instance(self, value: Any, label: str) -> None:
        kind = type(value)
        if has_bytes(value):
            self._bytes(value, label)
        elif isinstance(value, Primitive):
            if users_module(value.reference.__module__):  # not one of the engine's
                self.reach((value.reference, value.rules, value.rule_for_all), label)
        elif "__wrapped__" in attributes(value):  # a Compiled, a function with a cache
            self.reach(value.__wrapped__, label)
        elif followed(kind):  # type: ignore[arg-type]
            if users_module(kind.__module__):
                self.kinds.append((value, kind, label))
            if users_access(kind):  # it may read its attributes without our knowing
                self.reach(attributes(value), label)
            self._watch(kind)
            call = of_class(kind, "__call__")
            if isinstance(call, types.FunctionType):
                self.reach(call, label)

    def _hold(self, held: Any, label: str) -> None:
        contents = contents_of(held)
        if not isinstance(held, tuple):
            self.held[id(held)] = (held, contents, label)
        if isinstance(held, dict):
            for k, v in held.items():
                self.reach(v, f"{label}[{k!r:.20}]")
        else:
            for i, v in enumerate(contents):
                self.reach(v, f"{label}[{i}]")

    def _function(self, function: types.FunctionType, label: str) -> None:
        """Its code, closure, defaults and attributes; its globals are looked at when it runs."""
        if users_file(function.__code__.co_filename):
            self.codes.append((function, function.__code__, label))
            if vars(function):
                self._hold(vars(function), label)
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            value = content(cell)
            if name != "__class__":
                self.cells[id(cell)] = (cell, value, name)
                self.reach(value, name)
        for name in ("__defaults__", "__kwdefaults__"):
            if getattr(function, name):
                self._slot(function, name, label)

    def _slot(self, owner: Any, name: str, label: str, space: Any = None) -> None:
        """An attribute that is in no dict."""
        space = space or Slots(owner)
        self._aside += 1  # we read it, not the step
        value = space.get(name, MISSING)
        self._aside -= 1
        label = f"{label}.{name}"
        self.known.setdefault(id(owner), (owner, label))
        self.entries[id(owner), name] = Entry(None, space, name, value, value, label)
        self.reach(value, label)

    def _array(self, array: Any, label: str) -> None:
        if array.flags.writeable or array.base is not None:
            self._bytes(array, label)

    def _bytes(self, array: Any, label: str) -> None:
        size = memoryview(array).nbytes
        if size > LARGEST:
            raise RuntimeError(
                f"compile: the step reads {label}, an array of {size / 2**20:.1f} MiB that may "
                "change between calls; pass it as a tensor, or make it read-only: "
                "x.setflags(write=False)"
            )
        self.arrays[id(array)] = (array, bytes_of(array), label)

    def _namespace(self, space: Any, label: str) -> None:
        self._namespaces.append((space, label))
        for name in self._attributes:
            self._touch_any(space, name, label)

    def _touch_any(self, space: Any, name: str, label: str) -> None:
        """A name in a module or class; all that have no underscores where any may be meant."""
        if name != ANY:
            self._touch_in(space, name, label)
            return
        for kind in space.__mro__ if isinstance(space, type) else (space,):
            if users_module(kind.__module__ if isinstance(kind, type) else kind.__name__):
                for each in tuple(vars(kind)):
                    if not (each.startswith("__") and each.endswith("__")):
                        self._touch_in(space, each, label)

    def _touch_in(self, space: Any, name: str, label: str) -> None:
        """A name in a module, or in a class and what it inherits.

        Of the engine's classes only the one that has it counts, of the user's all: there is super.
        """
        is_class, kind = isinstance(space, type), type(space)
        kinds = (*space.__mro__, *kind.__mro__) if is_class else (space,)
        found = False
        for kind in kinds:
            is_class = isinstance(kind, type)
            if is_class and not (followed(kind) and (not found or users_module(kind.__module__))):
                continue
            value = vars(kind).get(name, MISSING)
            if (id(kind), name) not in self.entries and (is_class or value is not MISSING):
                self.known.setdefault(id(kind), (kind, label))
                self.entries[id(kind), name] = Entry(
                    kind if is_class else None, vars(kind), name, value, value, f"{label}.{name}"
                )
                self.reach(value, f"{label}.{name}")
            found = found or value is not MISSING

    # ---- what runs -----------------------------------------------------------------------------

    def _runs(self, frame: Any, event: str, what: Any) -> None:
        """A function begins: what its names mean now."""
        code = frame.f_code
        if event.startswith("c_"):
            beside = what is print
        elif code in self._codes:
            return
        else:
            beside = is_aside(code) or code in self._asides
        if beside:
            self._aside += 1 if event.endswith("call") else -1
        if beside or event != "call" or self._aside:
            return
        self._codes.add(code)
        if hands_over(code):
            self.handed = code.co_qualname
        if not users_file(code.co_filename):
            return
        of_globals, attributes = names(code)
        space = frame.f_globals
        for name in of_globals:
            if (id(space), name) in self.entries:
                continue
            value = space.get(name, MISSING)
            self.known.setdefault(id(space), (space, ""))
            self.entries[id(space), name] = Entry(None, space, name, value, value, name)
            self.reach(value, name)
        for label, module in imported(code, space):
            self.reach(module, label)
        new = attributes - self._attributes
        self._attributes |= new
        for other, label in tuple(self._namespaces):
            for name in new:
                self._touch_any(other, name, label)

    def touch(self, owner: Any, name: str) -> None:
        """Before an attribute of something that was reached is read or written."""
        known = self.known.get(id(owner))
        if known is None or self._aside or (id(owner), name) in self.entries:
            return
        label = f"{known[1]}.{name}" if known[1] else name
        space = attributes(owner)
        if name == "__dict__":
            self._spaces.append((owner, space, frozenset(space)))
            self.reach(space, known[1])
            return
        if name.startswith("__") and name.endswith("__"):
            return
        value = space.get(name, MISSING)
        meaning = value
        if value is MISSING:
            meaning = of_class(type(owner), name)
            if isinstance(meaning, types.MemberDescriptorType):
                self._slot(owner, name, known[1])
                return
            self._touch_in(type(owner), name, type(owner).__name__)
        self.entries[id(owner), name] = Entry(owner, space, name, value, meaning, label)
        private = name.startswith("_") and type(owner).__module__.startswith("tinygen.")
        if not (private and isinstance(meaning, (list, dict))):  # which the engine keeps as it is
            self.reach(meaning, label)

    # ---- watching ------------------------------------------------------------------------------

    @contextmanager
    def watching(self, function: Callable[..., Any]) -> Iterator[None]:
        """Within the block, what this thread runs is watched."""
        before: Any = sys.getprofile()
        outer = _watching.reads
        self.reach(function, "")
        _watching.reads = self
        sys.setprofile(self._runs)
        try:
            yield
        finally:
            sys.setprofile(None)
            if callable(before):
                sys.setprofile(before)
            elif before is not None:
                before.enable()  # cProfile
            _watching.reads = outer
            for kind, name, own in reversed(self._changed_classes):
                if own is MISSING:
                    delattr(kind, name)
                else:
                    setattr(kind, name, own)
            self._changed_classes.clear()

    def _watch(self, kind: type) -> None:
        """Let a class say when attributes of its instances are read and written."""
        if any(kind is k for k, _, _ in self._changed_classes):
            return
        for name in ("__getattribute__", "__setattr__", "__delattr__"):
            own = kind.__dict__.get(name, MISSING)
            try:
                setattr(kind, name, _telling(getattr(kind, name)))
            except (AttributeError, TypeError):
                continue  # a class of an extension
            self._changed_classes.append((kind, name, own))

    def replaced(self) -> str | None:
        """The tensor that holds another array than before, in words."""
        for x, data, _, label in self._bound:
            if x.data is not data:
                return f"{label}.data is another array"
        return None

    def undo(self) -> None:
        """Put back what the step bound anew."""
        for x, data, node, _ in self._bound:
            if x.data is not data or x.node is not node:
                Tensor.__init__(x, data, node)  # as it was made
        for entry in self.entries.values():
            entry.undo()
        for cell, value, _ in self.cells.values():
            if content(cell) is not value and value is not MISSING:
                cell.cell_contents = value
        for held, contents, _ in self.held.values():
            if not unchanged(held, contents):
                refill(held, contents)
        for array, before, _ in self.arrays.values():
            if isinstance(array, np.ndarray) and bytes_of(array) != before:
                host = np.frombuffer(before[-array.nbytes :], array.dtype)
                array[...] = host.reshape(array.shape)

    def guard(self) -> Guard:
        """What to compare at each call."""
        for owner, space, before in self._spaces:  # bound to what its class says: as good as not
            for name in space.keys() - before:
                if same(space[name], of_class(type(owner), name)):
                    del space[name]
        return Guard(
            self.entries.values(), self.held.values(), self.cells.values(), self.arrays.values(),
            self.codes, self.kinds, self.tensors.values(), list(self.known.values()),
        )  # fmt: skip


def _telling(original: Any) -> Any:
    """A method of access that tells who watches in this thread, and then does its work."""

    @functools.wraps(original)
    def access(self: Any, name: str, *value: Any) -> Any:
        reads = _watching.reads
        if reads is not None:
            reads.touch(self, name)
        return original(self, name, *value)

    return access
