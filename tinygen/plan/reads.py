"""What a step reads besides its arguments: attributes, globals, closures, lists and dicts.

A plan replays numbers, not Python, so it serves only while everything that Python read is as it
was. A rehearsal shows what is read: the names of globals and closures of each function that runs,
and each attribute of each object that was reached from there (its class tells us, while we watch).
What is compared is in reach.py.

Comparing costs tens of nanoseconds each, by identity; where that fails, numbers and texts are
compared by value. A step that itself changes what it reads is refused: a replay would not.

The engine's own internals and most of the standard library are not followed. What the step uses of
the world outside (files, clocks, random numbers of others) is seen where it calls C: see world.py.
Whatever else changes by itself shows in the second rehearsal, or not at all.
"""

from __future__ import annotations

import builtins
import contextvars
import functools
import gc
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..events import crossing, state
from ..tensor import Tensor
from .guard import MISSING, Entry, Guard, bytes_of, content, of_class, refill, same, unchanged
from .named import ANY, imported, names
from .reach import ACCESS, Reached, attributes
from .whose import asks_for_the_user, hands_over, is_aside, line_of, users_file, users_module
from .world import again, outside, place, shared_dice

_BUILT_IN = frozenset(dir(builtins))


class _Watching(threading.local):
    reads: Reads | None = None


_watching = _Watching()


class Reads(Reached):
    """Everything outside that one rehearsal reads, as it was at the beginning."""

    # ---- what runs -----------------------------------------------------------------------------

    def _runs(self, frame: Any, event: str, what: Any) -> None:
        """A function begins: what its names mean now."""
        code = frame.f_code
        if event.startswith("c_"):
            beside = what is print
            if event == "c_call" and not self._aside:
                self._asks(frame, what)
        elif id(frame) in self._frames:
            self.asked = f"the step takes the next of {self._frames[id(frame)][1]} (generator)"
            return
        elif (code, id(frame.f_globals)) in self._codes:
            return
        else:
            beside = is_aside(code) or code in self._asides
        if beside:
            self._aside += 1 if event.endswith("call") else -1
        if beside or event != "call" or self._aside:
            return
        self._codes.add((code, id(frame.f_globals)))
        if hands_over(code):
            self.handed = code.co_qualname
        if not users_file(code.co_filename):
            return
        if code.co_filename == "<string>" and not users_module(frame.f_globals.get("__name__", "")):
            return  # such as what a dataclass of the engine generates
        of_globals, attributes, perhaps = names(code)
        if not self._by_class and ("type" in of_globals or "__class__" in attributes):
            self._by_class = True
            for _, kind, _ in tuple(self.kinds):
                self.reach(kind, kind.__name__)
        if code not in self._reached_codes:
            self._unreached(code, frame)
        self._reached_codes.update(c for c in code.co_consts if isinstance(c, types.CodeType))
        for name in of_globals:
            self._name(frame.f_globals, name)
            if name not in frame.f_globals and name not in _BUILT_IN:
                self._name(vars(builtins), name)
        for label, module in imported(code, frame.f_globals):
            self.reach(module, label)
        if attributes & {"data", ANY}:
            self._watch_data()
        new = (attributes | perhaps) - self._attributes
        self._attributes |= new
        self._perhaps |= perhaps
        for other, label in tuple(self._namespaces):
            for name in new:
                self._touch_any(other, name, label)

    def _name(self, space: dict[str, Any], name: str) -> None:
        """A global, or a name of Python's."""
        if (id(space), name) not in self.entries:
            value = space.get(name, MISSING)
            self.kept.append(space)
            self.entries[id(space), name] = Entry(None, space, name, value, value, name)
            self.reach(value, name)

    def _unreached(self, code: types.CodeType, frame: Any) -> None:
        """A function that was made before and came by a way that we did not see: its closure."""
        of_cells = [n for n in code.co_freevars if n != "__class__"]
        for f in gc.get_referrers(code) if of_cells else ():
            if isinstance(f, types.FunctionType):
                cells = zip(code.co_freevars, f.__closure__ or (), strict=False)
                if all(frame.f_locals.get(n, MISSING) is content(c) for n, c in cells):
                    self.reach(f, code.co_name)

    def _asks(self, frame: Any, what: Any) -> None:
        """A function written in C begins: what it asks of the world."""
        ask, owner = again(what, frame), getattr(what, "__self__", None)
        if ask is not None:
            self.ask_again(ask, f"{what.__name__}()")
        elif isinstance(owner, contextvars.ContextVar):
            if asks_for_the_user(frame):
                self.reach(owner, owner.name)
        elif self.asked is None:
            found = outside(what, frame, lambda x: id(x) in self.known)
            if found is not None:
                self.asked = f"{line_of(frame)} uses {found} inside the step ({what.__qualname__})"

    def moved(self) -> str | None:
        """The iterator, or the random numbers, that the step takes the next of."""
        for value, before, label in self._places:
            if place(value) != before:
                kind = type(value).__name__
                return f"the step takes the next of {label} ({kind})" if label else (
                    f"the step draws from the random numbers of {kind}, which all code shares"
                )  # fmt: skip
        return None

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
        if name.startswith("__") and name.endswith("__") and name not in space:
            return
        value = space.get(name, MISSING)
        meaning = value
        if value is MISSING:
            meaning = of_class(type(owner), name)
            if isinstance(meaning, types.MemberDescriptorType):
                self._slot(owner, name, known[1])
                return
            self._touch_in(type(owner), name, type(owner).__name__)
            if isinstance(meaning, classmethod):
                self.reach(type(owner), type(owner).__name__)
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
        for dice in shared_dice():
            self._places.append((dice, place(dice), ""))
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
        for name in ACCESS:
            own = kind.__dict__.get(name, MISSING)
            try:
                setattr(kind, name, _telling(getattr(kind, name)))
            except (AttributeError, TypeError):
                continue  # a class of an extension
            self._changed_classes.append((kind, name, own))

    def _watch_data(self) -> None:
        """Refuse `x.data` where the user's code asks for it: nothing would tell what it does."""
        own = vars(Tensor)["data"]
        if isinstance(own, property):
            return

        def get(x: Tensor) -> Any:
            if state.observers and users_file(sys._getframe(1).f_code.co_filename):
                crossing("read")
            return own.__get__(x)

        self._changed_classes.append((Tensor, "data", own))
        setattr(Tensor, "data", property(get, own.__set__))  # noqa: B010

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
            self.codes, self.kinds, self.tensors.values(), [*self.known.values(), *self.kept],
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
