"""Where the arrays of a graph lie in one piece of memory, for a form that computes without others.

An array has a place from the operation that makes it to the last one that reads it; arrays that are
never needed together may share it. What does nothing but change a shape lies where its argument
does, and so does the result of an operation of elements, or of `put`, if nothing reads its argument
later. The state of a loop has one place, which each turn writes anew.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection

from ..trace.graph import Graph, Op, Var, at

ALIGNED = 16  # numbers: places begin at multiples of it


def sizes(v: Var) -> tuple[int, ...]:
    """The shape for one image."""
    shape: tuple[int, ...] = at(v.shape, 1)
    return shape


class Memory:
    """Places of a graph's arrays for one image.

    Args:
        graph: its first argument lies at the beginning, its others elsewhere.
        within: operations that may write where their argument lies.

    Attributes:
        total: how many numbers the memory has.
        kept: of a loop, arrays that hold an old state until all of the new one is written.
    """

    def __init__(self, graph: Graph, within: Collection[str]) -> None:
        self.within = within
        self.total = 0
        self.kept: dict[Op, dict[int, Var]] = {}
        self._same: dict[Var, Var] = {}
        self._span: dict[Var, list[int]] = {}  # when it is made, and when it is read last
        self._time: dict[Op, int] = {}
        self._end: dict[Op, int] = {}  # of a loop
        self._offset: dict[Var, int] = {}
        first, *self._elsewhere = graph.inputs
        self._span[first] = [0, 0]
        self._number(graph, itertools.count(1))
        self._read(graph, [])
        last = max([*self._time.values(), *self._end.values(), 0]) + 1
        for v in graph.outputs:
            self._until(v, last, [])
        self._share(graph, {})
        self._place(first)

    def at(self, v: Var) -> int:
        """Where an array begins."""
        return self._offset[self._root(v)]

    def _root(self, v: Var) -> Var:
        while v in self._same:
            v = self._same[v]
        return v

    def _number(self, graph: Graph, clock: itertools.count[int]) -> None:
        """When each operation is done, and arrays made."""
        for op in graph.ops:
            time = self._time[op] = next(clock)
            if op.body is not None:
                for v in op.body.inputs:
                    self._span[v] = [time, time]
                self._number(op.body, clock)
                self._end[op] = next(clock)
                for out, head in zip(op.outs, op.body.inputs[1:], strict=True):
                    self._same[out] = head
                self._keep(op, op.body)
            elif op.traits.moves == "shape" and op.args[0] in self._span:
                self._same[op.outs[0]] = self._root(op.args[0])
            else:
                self._span[op.outs[0]] = [time, time]

    def _keep(self, op: Op, body: Graph) -> None:
        """States that are the old state of another place."""
        heads = body.inputs[1:]
        self.kept[op] = {}
        for k, v in enumerate(body.outputs):
            root = self._root(v)
            if root in heads and root is not heads[k]:
                made = self.kept[op][k] = Var(v.shape, v.dtype)
                self._span[made] = [self._end[op], self._end[op]]

    def _until(self, v: Var | None, time: int, loops: list[Op]) -> None:
        """An array is read; within loops, each of their turns reads what was made before them."""
        if v is None or v.const is not None:
            return
        span = self._span.get(self._root(v))
        if span is None:
            return
        ends = [self._end[op] for op in loops if span[0] < self._time[op]]
        span[1] = max(span[1], time, *ends)

    def _read(self, graph: Graph, loops: list[Op]) -> None:
        for op in graph.ops:
            for v in op.args:
                self._until(v, self._time[op], loops)
            if op.body is not None:
                self._read(op.body, [*loops, op])
                for v in (*op.body.inputs, *op.body.outputs):
                    self._until(v, self._end[op], [*loops, op])

    def _share(self, graph: Graph, slots: dict[Var, Var]) -> None:
        """Let results lie where arguments do; slots: of states of a loop, what they become."""
        mine = {v for op in graph.ops for v in op.outs} | {*graph.inputs}
        for op in graph.ops:
            if op.body is not None:
                heads = op.body.inputs[1:]
                self._share(op.body, dict(zip(heads, op.body.outputs, strict=True)))
            if op.name not in self.within or op.outs[0] not in self._span:
                continue
            out = op.outs[0]
            arrays = op.args if op.traits.pointwise else op.args[:1]
            for v in arrays:
                if v is None or v.const is not None or self._root(v) not in self._span:
                    continue
                root = self._root(v)
                if self._fits(op, root) and (root in mine) and self._over(root, op, slots):
                    self._same[out] = root
                    self._span[root][1] = max(self._span[root][1], self._span.pop(out)[1])
                    break

    def _fits(self, op: Op, root: Var) -> bool:
        """Whether all arguments that lie there have the elements of the result in its order."""
        there = [v for v in op.args if v is not None and v.const is None and self._root(v) is root]
        return all(sizes(v) == sizes(op.outs[0]) for v in there)

    def _over(self, root: Var, op: Op, slots: dict[Var, Var]) -> bool:
        """Whether nothing reads the old values after this operation."""
        if root not in slots:
            return self._span[root][1] <= self._time[op]
        return False

    def _place(self, first: Var) -> None:
        """The largest first, each at the lowest free place."""
        placed: list[tuple[int, int, int, int]] = []
        order = sorted(self._span, key=lambda v: -math.prod(sizes(v)))
        for v in sorted(order, key=lambda v: v is not first):
            count = -(-max(1, math.prod(sizes(v))) // ALIGNED) * ALIGNED
            born, last = self._span[v]
            start = 0
            for begin, end, made, read in sorted(placed):
                if born <= read and made <= last and start < end and begin < start + count:
                    start = end
            placed.append((start, start + count, born, last))
            self._offset[v] = start
            self.total = max(self.total, start + count)
