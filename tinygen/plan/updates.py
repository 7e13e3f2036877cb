"""On a device: the updates of an optimizer as one call, since launches cost more than they do."""

from __future__ import annotations

import importlib
import itertools
from dataclasses import dataclass
from typing import Any

from ..backend import Backend
from ..trace.record import Call, Value


@dataclass(eq=False)
class Updates:
    """Neighbouring calls of Adam with the same options and learning rate."""

    members: list[Call]
    source: str = ""
    products: tuple[Call, ...] = ()  # none

    @property
    def mutated(self) -> tuple[Value, ...]:
        return tuple(v for call in self.members for v in call.mutated)

    @property
    def names(self) -> list[str]:
        return [call.primitive.name for call in self.members]

    def __str__(self) -> str:
        return f"{len(self.members)} x {self.names[0]}"

    def bind(self, arrays: list[Any], outs: list[Any], backend: Backend) -> Any:
        """The kernel on its memory."""
        optim = importlib.import_module("tinygen_kernels.cuda.optim")
        groups = [arrays[i : i + 5] for i in range(0, len(arrays) - 1, 5)]
        return optim.adam_all(groups, arrays[-1], **self.members[0].static)


def together(calls: list[Call]) -> list[Call]:
    """The calls with each run of neighbouring updates as one."""
    out: list[Call] = []
    for key, run in itertools.groupby(calls, _kind):
        members = list(run)
        out += members if key is None else [_joined(members)]
    return out


def _kind(call: Call) -> Any:
    """What neighbours must share to be one call; None for what stays as it is."""
    adam = call.fused is None and call.primitive.traits.update == "adam"
    if not adam or not all(v.contiguous and v.size for v in call.args):
        return None
    kinds = [v.dtype.name for v in call.args]
    if len({*kinds[:4]}) > 1 or kinds[4:] != ["int64", "float64"]:
        return None
    return (tuple(call.static.items()), kinds[0], call.args[5])


def _joined(run: list[Call]) -> Call:
    """One call: (p, grad, m, v, t) of each, then the learning rate."""
    args = [v for call in run for v in call.args[:5]]
    return Call(run[0].primitive, [*args, run[0].args[5]], {}, [], run[-1].line, Updates(run))
