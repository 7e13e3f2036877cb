"""Loops in LLVM's language, for the parts of kernels that are written in it.

    with Loop(b, count, [total]) as turn:          for i in range(count):
        (total,) = turn.values
        turn.values = [b.fadd(total, term)]            total = total + term
    (total,) = turn.values

LLVM has no variables that change: what a turn hands to the next are its `values`, and each is a
"phi", which is one thing on the way into the loop and another on the way around.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from .words import WORD


class Loop:
    """`count` turns, none if it is not positive; see the module's text.

    `values`: at first what a turn finds, to be set to what it leaves; after the block, what the
    last turn left.
    """

    def __init__(self, b: Any, count: Any, values: Sequence[Any]) -> None:
        self._b, self._count, self.values = b, count, list(values)

    def __enter__(self) -> Loop:
        b, self._before, self._start = self._b, self._b.block, self.values
        self._turn, self._done = (b.append_basic_block(name) for name in ("turn", "done"))
        b.cbranch(b.icmp_signed(">", self._count, WORD(0)), self._turn, self._done)
        b.position_at_end(self._turn)
        self._i, *self._found = (b.phi(x.type) for x in (self._count, *self._start))
        self.values = list(self._found)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            return
        b, left, end = self._b, self.values, self._b.block
        onward = b.add(self._i, WORD(1))
        b.cbranch(b.icmp_signed("<", onward, self._count), self._turn, self._done)
        b.position_at_end(self._done)
        self.values = [b.phi(x.type) for x in left]
        first, later = [WORD(0), *self._start, *self._start], [onward, *left, *left]
        for phi, x, y in zip([self._i, *self._found, *self.values], first, later, strict=True):
            phi.add_incoming(x, self._before)
            phi.add_incoming(y, end)


def chosen(b: Any, number: Any, cases: dict[tuple[int, ...], Any]) -> None:
    """Emit what `cases` has for the value of a number: functions that emit; nothing for others."""
    done = b.append_basic_block("chosen")
    switch = b.switch(number, done)
    for values, emit in cases.items():
        block = b.append_basic_block("case")
        for value in values:
            switch.add_case(WORD(value), block)
        b.position_at_end(block)
        emit()
        b.branch(done)
    b.position_at_end(done)


def constant(vector: Any, value: float) -> Any:
    """A vector of one number."""
    return ir.Constant(vector, [value] * vector.count)
