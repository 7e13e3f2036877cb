"""The variables of a graph that was recorded before anyone watched: what its nodes still know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import checks
from ..graph import Leaf, Node, reachable
from ..outputs import Part as OutputPart
from ..tensor import Tensor
from .formula import Call, Formula, Name, Names, Part, Unknown, call
from .tape import Variable


def variables_of(
    y: Tensor, xs: Sequence[Tensor], names: Mapping[int, str]
) -> tuple[list[Variable], dict[Node, Variable]]:
    """A variable for each node that y came from, leaves first, and which is whose.

    Args:
        xs: the tensors whose slopes are wanted.
        names: of leaves, by the identity of their nodes.

    Raises:
        RuntimeError: a backward pass released the values.
    """
    node: Any = y.node
    order = reachable([node])[::-1]
    known: dict[Node, Variable] = {}
    leaves, made = [], []
    taken = set(names.values())
    given = {x.node for x in xs}
    count = 0
    for at in order:
        if isinstance(at, Leaf):
            name = names.get(id(at)) or _free("x", taken)
            leaf = Variable(name, given=at in given or not given, said=Name(name), live=True)
            known[at] = leaf
            leaves.append(leaf)
        elif at.recipe is not None and at.saved is None:
            assert at.primitive is not None
            raise checks.released(at.primitive, at)
        elif not _several(at):
            count += 1
            index = at.index if isinstance(at, OutputPart) else None
            name = f"v{count}" if at is not node else _last(taken)
            source: Any = at if index is None else at.parents[0]
            whole = _formula(source, known)
            formula: Formula = whole if index is None else Part(whole, index)
            line = "" if source.line is None else _short(str(source.line))
            known[at] = Variable(name, formula, line=line, said=Name(name), live=True)
            known[at].uses = [known[p] for p in source.parents if p in known]
            made.append(known[at])
    for x in (*xs, y):
        if x.node in known:
            known[x.node].tensor = x.detach()
    for at in order:
        _keep_values(at, known)
    return [*leaves, *made], known


def _several(at: Node) -> bool:
    """Whether it is a call with several results, each of which has a node of its own."""
    return bool(getattr(at, "likes", None))


def _last(taken: set[str]) -> str:
    return next(n for n in ("y", "z", "result") if n not in taken)


def _free(stem: str, taken: set[str]) -> str:
    k = 1
    while f"{stem}{k}" in taken:
        k += 1
    taken.add(f"{stem}{k}")
    return f"{stem}{k}"


def _short(line: str) -> str:
    file, _, number = line.rpartition(":")
    return f"{Path(file).name}:{number}"


def _formula(at: Any, known: dict[Node, Variable]) -> Call:
    """The call that made a node, on what is known of its arguments."""
    saved = _saved(at)
    args: list[Formula] = []
    for i, parent in enumerate(at.parents):
        if parent in known:
            args.append(known[parent].said)
        else:
            args.append(Names().of(saved[i]) if i in saved else Unknown())
    return call(at.primitive, args, at.static)


def _saved(at: Any) -> dict[int, Any]:
    """The arguments that a node kept, by their number."""
    found: dict[int, Any] = {}
    for (kind, i), value in zip(at.recipe.saves if at.recipe else (), at.saved or (), strict=False):
        if kind == "value":
            found[i] = value
        elif kind == "values":
            found |= dict(enumerate(value))
    return found


def _keep_values(at: Any, known: dict[Node, Variable]) -> None:
    """Let variables have the values that this node kept."""
    if at.recipe is None:
        return
    for i, value in _saved(at).items():
        parent = known.get(at.parents[i])
        if parent is not None and parent.tensor is None and isinstance(value, Tensor):
            parent.tensor = value.detach()
    if at.recipe.ans is not None and at in known and known[at].tensor is None:
        known[at].tensor = Tensor(at.saved[at.recipe.ans])
