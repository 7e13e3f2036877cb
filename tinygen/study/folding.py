"""What of a large computation is shown: calls of one module, or of one line, as one row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from .formula import Formula
from .tape import Variable

LINES = 40  # of the way forward that are shown unfolded


@dataclass(eq=False)
class Group:
    """Calls that are shown as one row: one call, or `count` of them under a label."""

    label: str
    variables: list[Variable]
    shown: list[Variable]
    count: int

    @property
    def formula(self) -> Formula | None:
        """How its value is computed, where it is one call."""
        return self.variables[0].formula if self.count == 1 else None


@dataclass
class Arrival:
    """What arrives at a variable from one group: by a formula, or through what is folded."""

    through: str
    formula: Formula | None
    label: str
    value: Any
    stretched: str


def fold(variables: Sequence[Variable], y: Variable, depth: int | None) -> list[Group]:
    """The results in groups, in order: folded by module where there would be more than LINES.

    Args:
        depth: how many names deep modules are opened; None opens as much as fits, and if modules do
            not do, calls of one line are folded.
    """
    made = [v for v in variables if not v.leaf]
    if depth is not None:
        return _groups(made, y, _by_module(max(1, depth)))
    deepest = max((v.module.count(".") + 1 for v in made if v.module), default=0)
    for level in range(deepest + 1, 0, -1):
        groups = _groups(made, y, _by_module(level))
        if len(groups) <= LINES:
            return groups
    return _groups(made, y, lambda v: _by_module(1)(v) or v.line)


def _by_module(level: int) -> Callable[[Variable], str]:
    def key(v: Variable) -> str:
        parts = v.module.split(".") if v.module else []
        return ".".join(parts[:level]) if len(parts) >= level else ""

    return key


def _groups(made: list[Variable], y: Variable, key: Callable[[Variable], str]) -> list[Group]:
    found: list[list[Variable]] = []
    labels: list[str] = []
    for label, run in groupby(made, key):
        pieces = [list(run)] if label else [list(calls) for _, calls in groupby(run, _call)]
        found += pieces
        labels += [label] * len(pieces)
    home = {id(v): k for k, group in enumerate(found) for v in group}
    outside: set[int] = {id(y)}
    for v in made:
        outside |= {id(u) for u in used(v) if home.get(id(u)) != home[id(v)]}
    groups = []
    for label, group in zip(labels, found, strict=True):
        count = len({_call(v) for v in group})
        shown = group if count == 1 else [v for v in group if id(v) in outside]
        groups.append(Group(label, group, shown, count))
    return groups


def _call(v: Variable) -> int:
    """The same for the results of one call."""
    return id(getattr(v.formula, "of", v.formula))


def used(v: Variable) -> Iterator[Variable]:
    """The variables with a name that it was made from."""
    for u in v.uses:
        if u.name:
            yield u
        else:
            yield from used(u)


def hidden(leaf: Variable, groups: Sequence[Group]) -> bool:
    """Whether a parameter is only used within what is folded."""
    users = [g for g in groups if any(leaf in used(v) for v in g.variables)]
    return not leaf.given and all(g.count > 1 for g in users)


def arrivals(v: Variable, groups: Sequence[Group]) -> list[Arrival]:
    """The ways by which the slope of a variable comes, those through a folded group as one."""
    home = {id(u): g for g in groups for u in g.variables}
    found: dict[Any, Arrival] = {}
    for k, way in enumerate(v.ways):
        group = home.get(id(way.through))
        if group is None or group.count == 1:
            found[k] = Arrival(way.through.name, way.formula, "", way.value, way.stretched)
        elif id(group) in found:
            found[id(group)].value = found[id(group)].value + way.value
        else:
            label = f"back through {group.label}"
            found[id(group)] = Arrival(group.shown[-1].name, None, label, way.value, "")
    return list(found.values())
