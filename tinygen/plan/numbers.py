"""Python numbers among the arguments that change from call to call: state, instead of constants.

Where a number was another at an earlier call, the step is recorded with a Number in its place. What
Python computes with it is computed again at each call, on the host and in double precision, and
reaches the operations as a 0-d array. What Python does with the value itself (compares it, takes
float(x), gives it as an option) is noted: the plan serves while that comes out the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from ..weak import Weak

_ARITHMETIC = "add sub mul truediv floordiv mod pow"
_COMPARISONS = "lt le gt ge eq ne"


class Number(Weak):
    """A number that is known again at each call."""

    __array_ufunc__ = None  # so that NumPy's numbers ask us

    def __init__(self, compute: Callable[[], Any], root: Root) -> None:
        self.compute = compute
        self.root = root

    def exact(self) -> Any:
        """The value itself: from now on the plan serves for this value only."""
        value = self.compute()
        self.root.tests.append((self.compute, value))
        return value

    def like(self, x: Tensor) -> Any:
        """A 0-d tensor that a replay fills; the value itself beside integers."""
        if x.dtype.kind != "f":
            return self.exact()
        array = x.backend.xp.full((), self.compute(), x.dtype)
        self.root.slots.append((array, self.compute))
        self.root.made(array)
        return Tensor(array)

    def __neg__(self) -> Number:
        return Number(lambda: -self.compute(), self.root)

    def __abs__(self) -> Number:
        return Number(lambda: abs(self.compute()), self.root)

    def __bool__(self) -> bool:
        return bool(self._noted(bool))

    def __float__(self) -> float:
        return float(self.exact())

    def __int__(self) -> int:
        return int(self.exact())

    def __index__(self) -> int:
        return operator.index(self.exact())

    def __hash__(self) -> int:
        return hash(self.exact())

    def __repr__(self) -> str:
        return repr(self.exact())

    def __format__(self, how: str) -> str:
        return format(self.exact(), how)

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.exact(), digits)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.exact(), name)

    def _noted(self, question: Callable[[Any], Any]) -> Any:
        """An answer that must come out the same at each call."""

        def compute() -> Any:
            return question(self.compute())

        answer = compute()
        self.root.tests.append((compute, answer))
        return answer


class Root:
    """All numbers of one recording.

    Attributes:
        values: the arguments; set before each replay.
        tests: what Python found out about them: a function and its result.
        slots: the 0-d arrays, and what fills them.
        made: called with each array.
    """

    def __init__(self, values: list[Any]) -> None:
        self.values = values
        self.tests: list[tuple[Callable[[], Any], Any]] = []
        self.slots: list[tuple[Any, Callable[[], Any]]] = []
        self.made: Callable[[Any], None] = lambda array: None

    def number(self, i: int) -> Number:
        """Argument number i."""
        return Number(lambda: self.values[i], self)

    def serves(self, values: list[Any]) -> bool:
        """Whether Python would find out the same about other values; they are kept for `fill`."""
        self.values = values
        try:
            return all(_equal(compute(), answer) for compute, answer in self.tests)
        except (ArithmeticError, ValueError):
            return False

    def fill(self) -> None:
        for array, compute in self.slots:
            array[...] = compute()


def _equal(a: Any, b: Any) -> bool:
    return a.__class__ is b.__class__ and repr(a) == repr(b)


def _value(x: Any) -> Any:
    return x.compute() if isinstance(x, Number) else x


def _arithmetic(name: str) -> tuple[Any, Any]:
    apply = getattr(operator, name)

    def forward(self: Number, other: Any) -> Any:
        if isinstance(other, Tensor) or not hasattr(other, "__float__"):
            return NotImplemented
        return Number(lambda: apply(self.compute(), _value(other)), self.root)

    def backward(self: Number, other: Any) -> Any:
        if isinstance(other, Tensor) or not hasattr(other, "__float__"):
            return NotImplemented
        return Number(lambda: apply(other, self.compute()), self.root)

    return forward, backward


def _comparison(name: str) -> Any:
    apply = getattr(operator, name)

    def compare(self: Number, other: Any) -> Any:
        if isinstance(other, Tensor):
            return NotImplemented
        return self._noted(lambda value: apply(value, _value(other)))

    return compare


for _name in _ARITHMETIC.split():
    _forward, _backward = _arithmetic(_name)
    setattr(Number, f"__{_name}__", _forward)
    setattr(Number, f"__r{_name}__", _backward)
for _name in _COMPARISONS.split():
    setattr(Number, f"__{_name}__", _comparison(_name))
