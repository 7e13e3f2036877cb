"""What a step can get at from a value, as it was when the step began.

instance, module and class attributes, globals     a mapping, a name, and the value
closures                                           a cell and the value
lists, dicts, sets, arrays                         a copy of what they hold
iterators, generators of random numbers            how far they are
"""

from __future__ import annotations

import collections
import contextvars
import enum
import functools
import gc
import os
import sys
import threading
import types
import weakref
from typing import Any

import numpy as np

from ..primitive import Primitive
from ..tensor import Tensor
from ..trace.tree import exact
from .guard import (
    MISSING,
    Context,
    Entry,
    Slots,
    bytes_of,
    content,
    contents_of,
    foreign_array,
    of_class,
)
from .named import ANY
from .whose import (
    engines_file,
    followed,
    has_bytes,
    may_change,
    run_at_any_time,
    users_access,
    users_file,
    users_module,
)
from .world import (
    Again,
    at_start,
    context_of,
    inner_iterators,
    parts_of,
    place,
    pointed_at,
    registered,
    still_cached,
)

LARGEST = 2**20  # bytes of a NumPy array that is compared at each call
_BAGS = (  # modules of Python's, of whose instances all that they hold is compared
    "argparse", "collections", "concurrent", "configparser", "functools", "multiprocessing", "os",
    "string", "types", "weakref", "_weakrefset",
)  # fmt: skip
ACCESS = ("__getattribute__", "__setattr__", "__delattr__")
_STREAMS = ("modules", "stdin", "stdout", "stderr")  # of sys, which do not bear on the numbers
_SHOWING: Any = (  # what they show is elsewhere
    types.MappingProxyType, type({}.keys()), type({}.values()), type({}.items()),
    types.BuiltinMethodType, types.MethodWrapperType,
)  # fmt: skip


def attributes(owner: Any) -> dict[str, Any]:
    """What an instance holds itself; nothing if all its attributes are in slots."""
    try:
        found = object.__getattribute__(owner, "__dict__")
    except AttributeError:
        found = None
    return found if isinstance(found, dict) else {}


class Reached:
    """What was reached, and what to compare with."""

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
        self.kept: list[Any] = []  # so that nothing takes their places in memory
        self._namespaces: list[tuple[Any, str]] = []  # modules and classes
        self._attributes: set[str] = set()
        self._perhaps: set[str] = set()  # attributes that it may look for where there is none
        self._by_class = False  # whether the step may read a class through an instance
        self._codes: set[Any] = set()
        self._reached_codes: set[types.CodeType] = set()
        self._spaces: list[tuple[Any, dict[str, Any], frozenset[str]]] = []
        self.handed: str | None = None  # the function that hands work to another thread
        self.asked: str | None = None  # what it asks of the world, in words
        self._places: list[tuple[Any, Any, str]] = []  # of iterators and dice
        self._frames: dict[int, tuple[Any, str]] = {}  # of Python's generators
        self.at_start = at_start()
        self._aside = 0  # how deep we are in what is no part of the step
        self._asides = run_at_any_time()
        self._changed_classes: list[tuple[type, str, Any]] = []

    def reach(self, value: Any, label: str) -> None:
        """Something that the step can now get at: look at it as far as looking tells nothing."""
        if value is MISSING or id(value) in self.known:
            return
        if exact(value) is not None and not (isinstance(value, enum.Enum) and attributes(value)):
            return
        self.known[id(value)] = (value, label)
        self.ask_again(context_of(value), "the context of decimal numbers")
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
            self.ask_again(parts_of(value), f"what {label} consists of")
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
        elif isinstance(value, BaseException):
            self._slot(value, "args", label)
            self._instance(value, label)
        elif isinstance(value, np.ndarray):
            self._array(value, label)
        elif isinstance(value, types.ModuleType):
            if may_change(value.__name__):
                self._namespace(value, label)
            if value is os:
                self.reach(os.environ, "os.environ")
        elif isinstance(value, type):
            self.ask_again(registered(value), f"what is registered with {label}")
            if users_module(value.__module__):
                self._namespace(value, label)
        elif (found := place(value)) is not None:
            self._places.append((value, found, label))
            if isinstance(value, types.GeneratorType):
                self._frames[id(value.gi_frame)] = (value.gi_frame, label)
            for inner in inner_iterators(value):
                self.reach(inner, label)
        else:
            self._instance(value, label)

    def _instance(self, value: Any, label: str) -> None:
        kind = type(value)
        if foreign_array(value) is not None:
            self._bytes(value, label)
        if has_bytes(value):
            self._bytes(value, label)
            self.reach(pointed_at(value), label)
        elif isinstance(value, Primitive):
            if users_module(value.reference.__module__):  # not one of the engine's
                self.reach((value.reference, value.rules, value.rule_for_all), label)
        elif "__wrapped__" in attributes(value):  # a Compiled, a function with a cache
            self.reach(value.__wrapped__, label)
            self.ask_again(still_cached(value), f"the cache of {label}")
        elif kind.__module__.partition(".")[0] in _BAGS:
            self.reach(attributes(value), label)
        elif followed(kind):  # type: ignore[arg-type]
            if users_module(kind.__module__):
                self.kinds.append((value, kind, label))
                if self._by_class:
                    self.reach(kind, kind.__name__)
            if users_access(kind):  # it may read its attributes without our knowing
                self.reach(attributes(value), label)
                for name in ("__getattribute__", "__getattr__"):
                    self._touch_in(kind, name, kind.__name__)
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
                self.reach(k, f"a key of {label}")
                self.reach(v, f"{label}[{k!r:.20}]")
        else:
            for i, v in enumerate(contents):
                self.reach(v, f"{label}[{i}]")

    def _function(self, function: types.FunctionType, label: str) -> None:
        """Its code, closure, defaults and attributes; its globals are looked at when it runs."""
        self._reached_codes.add(function.__code__)
        if users_file(function.__code__.co_filename):
            self.codes.append((function, function.__code__, label))
            if vars(function):
                self._hold(vars(function), label)
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            value = content(cell)
            if engines_file(function.__code__.co_filename):
                if not isinstance(value, (list, dict)):  # the engine keeps those as they are
                    self.reach(value, name)
            elif name != "__class__":
                self.cells[id(cell)] = (cell, value, name)
                self.reach(value, name)
        for name in ("__defaults__", "__kwdefaults__"):
            if users_file(function.__code__.co_filename) and getattr(function, name):
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
        if array.dtype.hasobject:
            for i, x in enumerate(array.ravel().tolist()):
                self.reach(x, f"{label}[{i}]")

    def _bytes(self, array: Any, label: str) -> None:
        foreign = foreign_array(array)
        size = memoryview(array).nbytes if foreign is None else foreign.nbytes
        if size > LARGEST:
            raise RuntimeError(
                f"compile: the step reads {label}, an array of {size / 2**20:.1f} MiB that may "
                "change between calls; pass it as a tensor, or make it read-only: "
                "x.setflags(write=False)"
            )
        self.arrays[id(array)] = (array, bytes_of(array), label)

    def _namespace(self, space: Any, label: str) -> None:
        self._namespaces.append((space, label))
        if isinstance(space, types.ModuleType):
            self.reach(vars(space).get("__getattr__", MISSING), label)
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
            if name in ACCESS:  # ours stands there while we watch
                ours = (own for k, n, own in self._changed_classes if k is kind and n == name)
                value = next(ours, value)
            if kind is sys and name in _STREAMS:
                continue
            absent = not is_class and value is MISSING and name not in self._perhaps
            if (id(kind), name) not in self.entries and not absent:
                self.kept.append(kind)
                self.entries[id(kind), name] = Entry(
                    kind if is_class else None, vars(kind), name, value, value, f"{label}.{name}"
                )
                self.reach(value, f"{label}.{name}")
            found = found or value is not MISSING

    def _watch(self, kind: type) -> None:
        """Attributes of instances of a class may be read."""

    def ask_again(self, ask: Any, label: str) -> None:
        """A function without arguments that is asked again before each replay."""
        if ask is not None and (id(ask), "") not in self.entries:
            value = self.at_start[ask] if ask in self.at_start else ask()
            self.entries[id(ask), ""] = Entry(None, Again(ask), "", value, value, label)
