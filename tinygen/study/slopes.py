"""The way back: the slope of a result with respect to each value, path by path, with formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..events import watching
from ..graph import Node, on_path, reachable, recording
from ..ops.reduce import sum as sum_
from ..ops.shape import sum_to
from ..tensor import Tensor
from .formula import Call, Formula, Name, Names, Watch
from .tape import Variable, Way


def back(
    y: Variable, node: Node, known: dict[Node, Variable], leaves: list[Node],
    beside: Sequence[Variable] = (),
) -> None:  # fmt: skip
    """Give each variable on the way from the leaves to y its slope and the ways it comes by.

    Args:
        node: that of y.
        known: the variable of each node.
        leaves: the nodes of the inputs and parameters.
        beside: variables without a node, such as noise.

    Raises:
        RuntimeError: the values were released by an earlier backward pass.
    """
    names = Names()
    for variable in (*beside, *known.values()):
        if variable.tensor is not None:
            names.give(variable.tensor.data, variable.said)
    order = reachable([node])
    needed = on_path(order, set(leaves))
    assert y.tensor is not None
    slopes: dict[Node, Any] = {node: y.tensor.detach().ones_like()}
    for at in order:
        if at not in slopes:
            continue
        here = known.get(at)
        if here is not None:
            here.slope = slopes[at].numpy()
        if at.primitive is None or at not in needed:
            continue
        if here is not None:
            names.give(slopes[at].data, Name(here.name, slope=True))
        watch = _Sums(names)
        with recording(False), watching(watch, alone=True):
            pulled = at.primitive.pull(at, slopes[at], needed)
        through = here or _of_parts(at, known)
        for parent, g in pulled:
            before = slopes.get(parent)
            with recording(False):
                slopes[parent] = g if before is None else before + g
            to = known.get(parent)
            if to is not None and isinstance(g, Tensor) and through is not None:
                formula, note = names.of(g), ""
                if id(g.data) in watch.large:
                    formula, note = summed(formula, watch.large[id(g.data)], g.shape)
                to.ways.append(Way(through, formula, g.numpy(), note))


class _Sums(Watch):
    """Remembers the shape of what sum_to adds up."""

    def __init__(self, names: Names) -> None:
        super().__init__(names)
        self.large: dict[int, tuple[int, ...]] = {}

    def called(
        self, operation: Any, args: tuple[Any, ...], static: dict[str, Any], out: Any
    ) -> None:
        super().called(operation, args, static, out)
        if operation is sum_to:
            self.large[id(out)] = args[0].shape


def _of_parts(call: Node, known: dict[Node, Variable]) -> Variable | None:
    """A variable among the results of a call that has several."""
    return next((v for node, v in known.items() if call in node.parents and v.ways), None)


def summed(formula: Formula, large: tuple[int, ...], small: tuple[int, ...]) -> tuple[Formula, str]:
    """sum_to as a sum over axes, with the note how many paths it adds."""
    if not isinstance(formula, Call):  # one number, of which the sum is another
        return formula, ""
    lead = len(large) - len(small)
    ones = (lead + k for k, n in enumerate(small) if n == 1 and large[lead + k] != 1)
    axes = (*range(lead), *ones)
    options: list[tuple[str, Any]] = [("axis", axes[0] if len(axes) == 1 else axes)]
    if len(axes) == len(large):
        options = []
    paths = math.prod(large) // max(math.prod(small), 1)
    note = f"stretched from {small} to {large}: {paths} paths added"
    return Call(sum_.name, formula.args, tuple(options)), note
