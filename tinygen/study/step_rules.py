"""The formulas of a recorded step: of a call by its arguments' names, of a rule by its calls.

No rule is run again for it. A rule made calls, on the call's arguments, its result (`ans`) and the
slope that came in (`g`); put into each other they are its formula.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..tensor import Tensor
from .formula import Formula, Name, Number, Part, Values, call, text


class Heard(NamedTuple):
    """A call as an observer receives it, with None in place of each tensor."""

    operation: Any
    args: tuple[Any, ...]
    static: dict[str, Any]


def heard(operation: Any, args: tuple[Any, ...], static: dict[str, Any]) -> Heard:
    """What is kept of a call: its numbers, none of its arrays."""
    return Heard(operation, tuple(None if isinstance(x, Tensor) else x for x in args), static)


def write_rules(
    calls: list[dict[str, Any]], arrays: list[dict[str, Any]], seen: list[Heard]
) -> None:
    """Give each call its formula, as `rule`."""
    of, names = None, _Names(arrays)
    for k, (one, own) in enumerate(zip(calls, seen, strict=True)):
        if "argument" in one and "adds" not in one and one["of"] is not None:
            if one["of"] != of or calls[k - 1].get("of") != of:  # another run of calls
                of, forward = one["of"], one["of"]
                names = _Names(arrays)
                names.of_call(calls[forward], seen[forward])
            one["rule"] = text(names.made(one, own))
        elif one["phase"] != "backward":
            named = _Names(arrays)
            named.of_call(one, own)
            one["rule"] = text(named.formula(one, own))


def passing(operation: Any) -> list[int]:
    """The arguments whose rules hand the slope on as it is, for which they need no call."""
    found = []
    for i, name in enumerate(operation.args):
        function, wanted = operation.rules.get(name, (None, ()))
        if wanted != ("g",):
            continue
        slope = object()
        try:
            same = function(slope) is slope
        except (TypeError, AttributeError):  # it computes with it
            same = False
        if same:
            found.append(i)
    return found


class _Names:
    """The formulas of arrays, by their numbers."""

    def __init__(self, arrays: list[dict[str, Any]]) -> None:
        self._arrays = arrays
        self._known: dict[int, Formula] = {}
        self._slopes = 0

    def of_call(self, one: dict[str, Any], own: Heard) -> None:
        """The names that a rule has: of the arguments, and of the result."""
        several = len(one["out"]) > 1
        for i, x in enumerate(one["in"]):
            if isinstance(x, int):
                name = own.operation.arg(i)
                self._known.setdefault(x, Name(f"{name}[{i}]" if own.operation.variadic else name))
        for i, x in enumerate(one["out"]):
            self._known.setdefault(x, Name(f"ans[{i}]" if several else "ans"))

    def made(self, one: dict[str, Any], own: Heard) -> Formula:
        """The formula of what a call of a rule gives."""
        formula = self.formula(one, own)
        several = len(one["out"]) > 1
        for i, x in enumerate(one["out"]):
            self._known.setdefault(x, Part(formula, i) if several else formula)
        return self._known[one["out"][0]]

    def formula(self, one: dict[str, Any], own: Heard) -> Formula:
        """The formula of a call."""
        read = [
            self._of(x) if isinstance(x, int) else Number(given)
            for x, given in zip(one["in"], own.args, strict=True)
        ]
        if not read and self._same(one["out"][0]):  # made of numbers
            return Number(self._arrays[one["out"][0]]["min"])
        if own.operation.traits.copies and read:
            return read[0]
        return call(own.operation, read, own.static)

    def _of(self, x: int) -> Formula:
        known = self._known.get(x)
        if known is None:
            if self._slopes == 0:
                known = Name("g")
            elif self._same(x):
                known = Number(self._arrays[x]["min"])
            else:
                known = Values(tuple(self._arrays[x]["shape"]))
            self._slopes += 1
            self._known[x] = known
        return known

    def _same(self, x: int) -> bool:
        """Whether all values of an array are one number."""
        low = self._arrays[x].get("min")
        return low is not None and low == self._arrays[x]["max"] and not self._arrays[x]["bad"]
