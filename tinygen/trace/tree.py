"""Arguments and results of a step: tensors in dicts, lists, tuples, NamedTuples and dataclasses.

`mapped` rebuilds such a value with a change at each leaf. `key` says what must be equal for a plan
to serve: the structure, the shapes and dtypes of the tensors, which of them are one and the same,
and the values or the identity of all else. Whatever else might hold a tensor is refused by name:
a plan would keep the tensor of the first call in it.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import pathlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..nn.module import Buffer, Module, Parameter
from ..tensor import Tensor

CONTAINERS = "dicts, lists, tuples, NamedTuples and dataclasses"
_VALUES = (
    int, str, bytes, type(None), type(...), range, np.dtype, enum.Enum, pathlib.PurePath,
)  # fmt: skip
_NUMBERS = (float, complex, np.generic, slice)  # compared by their bits, or as they print
_FUNCTIONS = (
    types.FunctionType, types.BuiltinFunctionType, functools.partial, type, types.ModuleType,
)  # fmt: skip


_ALONE = frozenset((Tensor, np.ndarray, float, int, bool, str, type(None)))  # nothing within


def is_input(x: Any) -> bool:
    """Whether an argument is copied into the plan: a tensor that is no state of a module."""
    return isinstance(x, Tensor) and not isinstance(x, (Parameter, Buffer))


# ---- containers ----------------------------------------------------------------------------------


class Atom:
    """A dataclass that is a leaf, not a container."""


@dataclasses.dataclass
class Extended:
    """A kind of tensor that holds more, such as the parts of a loss, while it is taken apart."""

    kind: type
    value: Any
    parts: dict[str, Any]

    def tensor(self) -> Tensor:
        """The tensor with what it holds."""
        made: Tensor = object.__new__(self.kind)
        Tensor.__init__(made, self.value.data, self.value.node)
        for name, part in self.parts.items():
            setattr(made, name, part)
        return made


def members(value: Any) -> dict[Any, Any] | None:
    """What a container holds, by key, index or field; None if it is a leaf."""
    kind: Any = type(value)
    if kind in _ALONE:
        return None
    if isinstance(value, dict):
        return value
    if (
        isinstance(value, list)
        or kind is tuple
        or (isinstance(value, tuple) and hasattr(kind, "_make"))
    ):
        return dict(enumerate(value))
    if isinstance(value, Tensor):
        return {n: getattr(value, n) for n in _slots(kind)} or None
    if dataclasses.is_dataclass(value) and not isinstance(value, (type, Module, Atom)):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return None


@functools.cache
def _slots(kind: Any) -> list[str]:
    """What a kind of tensor holds beyond data and node, such as the parts of a loss."""
    if issubclass(kind, (Parameter, Buffer)):
        return []
    own = kind.__mro__[: kind.__mro__.index(Tensor)]
    return [n for c in own for n in c.__dict__.get("__slots__", ()) if not n.startswith("__")]


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The value rebuilt, with `change` applied to each leaf."""
    kind = type(value)
    if kind is Extended:
        parts = mapped(value.parts, change)
        return _whole(Extended(value.kind, change(value.value), parts))
    held = members(value)
    if held is None:
        return change(value)
    items = {k: mapped(v, change) for k, v in held.items()}
    if kind is dict:
        return items
    if kind is list or kind is tuple:
        return kind(items.values())
    if isinstance(value, tuple):
        return kind._make(items.values())
    if isinstance(value, Tensor):
        return _whole(Extended(kind, change(value), items))
    made = copy.copy(value)
    if isinstance(value, dict):
        made.update(items)
    elif isinstance(value, list):
        made[:] = items.values()
    else:
        for name, item in items.items():
            object.__setattr__(made, name, item)
    return made


def maker(value: Any, leaf: Callable[[Any], Callable[[], Any] | None]) -> Callable[[], Any]:
    """A function that rebuilds the value at each call: `mapped`, with its structure looked at once.

    `leaf` gives what makes a leaf; None for one that is used as it is.
    """
    kind = type(value)
    if kind is Extended:
        tensor, parts = maker(value.value, leaf), maker(value.parts, leaf)
        return lambda: _whole(Extended(value.kind, tensor(), parts()))
    if kind is dict:
        makers = {k: maker(v, leaf) for k, v in value.items()}
        return lambda: {k: make() for k, make in makers.items()}
    if kind is list or kind is tuple:
        items = [maker(v, leaf) for v in value]
        if kind is list:
            return lambda: [make() for make in items]
        return lambda: tuple([make() for make in items])
    if members(value) is None:
        return leaf(value) or (lambda: value)
    return lambda: mapped(value, lambda v: (leaf(v) or (lambda: v))())


def _whole(made: Any) -> Any:
    ready = isinstance(made, Extended) and isinstance(made.value, Tensor)
    return made.tensor() if ready else made


def leaves(value: Any) -> Iterator[Any]:
    """The leaves of a value, in order; a tensor that holds more comes before what it holds."""
    held = members(value)
    if held is None or isinstance(value, Tensor):
        yield value
    for v in (held or {}).values():
        yield from leaves(v)


# ---- what an argument is -------------------------------------------------------------------------


class Same:
    """A key that equals only keys of the very same object, which it keeps alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def is_number(x: Any) -> bool:
    """Whether an argument is a Python number, which may become state."""
    return x.__class__ is float or x.__class__ is int


def key(value: Any, found: list[Tensor], numbers: list[Any]) -> Any:
    """What must be equal for a plan to serve, but for the values of numbers.

    Each tensor among the arguments is collected once, and each Python number.

    Raises:
        TypeError: something that may hold tensors and is no container.
    """
    kind = value.__class__
    if kind is float or kind is int:
        numbers.append(value)
        return kind
    if kind is Tensor or is_input(value):
        for i, x in enumerate(found):
            if x is value:
                return i
        found.append(value)
        data, parts = value.data, None
        if kind is not Tensor:
            parts = tuple((n, key(getattr(value, n), found, numbers)) for n in _slots(kind))
        leaf = None if value.node is None else value.node.primitive is None
        return (kind, data.__class__, data.shape, data.dtype, leaf, parts)
    if kind is tuple or kind is list:
        return (kind, tuple(key(v, found, numbers) for v in value))
    held = None if isinstance(value, Tensor) else members(value)
    if held is not None:
        return (kind, tuple((type(k), k, key(v, found, numbers)) for k, v in held.items()))
    return exact(value) or (kind, _identity(value))


def exact(value: Any) -> Any:
    """A key of a number, a text and the like: equal only to the bit; None for anything else."""
    if value.__class__ not in _ALONE and _has_more(value):
        return None
    if isinstance(value, _VALUES):
        return (value.__class__, value)
    if isinstance(value, _NUMBERS):
        bits = value.tobytes() if isinstance(value, np.generic) else repr(value)
        return (value.__class__, bits)
    return None


def _has_more(value: Any) -> bool:
    """Whether a kind of number or text of the user's own holds attributes, too."""
    own = getattr(value, "__dict__", None) if isinstance(value, (*_VALUES, *_NUMBERS)) else None
    return bool(own) and not isinstance(value, enum.Enum)


def _identity(value: Any) -> Any:
    if isinstance(value, types.MethodType):
        return (Same(value.__self__), Same(value.__func__))
    ours = any(c.__module__.partition(".")[0] == "tinygen" for c in type(value).__mro__)
    if ours or isinstance(value, _FUNCTIONS):
        return Same(value)
    made = "make it a tensor: tg.tensor(x)" if isinstance(value, np.ndarray) else (
        "make it a dataclass, or pass what it holds"
    )  # fmt: skip
    raise TypeError(
        f"compile: an argument is of type {type(value).__name__}, which may hold arrays that a "
        f"plan would keep; expected tensors, numbers, texts, modules, optimizers, functions, and "
        f"{CONTAINERS} of them; {made}"
    )


def refuse_result(value: Any) -> None:
    """TypeError for a result that is neither a tensor nor a number, a text and the like."""
    if exact(value) is None and not isinstance(value, type):
        raise TypeError(
            f"compile: the step returns a {type(value).__name__}, and every call would get that of "
            f"the first; expected tensors, numbers, texts, and {CONTAINERS} of them"
        )
