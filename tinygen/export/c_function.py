"""A C function in the making: its lines, where its arrays lie, and loops over their elements."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..trace.graph import Op, Var
from . import graphs
from .graphs import Packed
from .memory import Memory, sizes

Row = Callable[["Function", Op], None]
_REST = "fmodf({0}, {1})"  # of the sign of {0}; {1} further where that of {1} is another
_REST = f"{_REST} + (({_REST} < 0 && {{1}} > 0) || ({_REST} > 0 && {{1}} < 0) ? {{1}} : 0)"
POINTWISE = {
    "abs": "fabsf({0})", "add": "{0} + {1}", "broadcast_to": "{0}", "cast": "{0}",
    "clip": "{0}", "cos": "cosf({0})", "div": "{0} / {1}", "equal": "(float)({0} == {1})",
    "erf": "erff({0})", "exp": "expf({0})", "floor": "floorf({0})",
    "floor_divide": f"rintf(({{0}} - ({_REST})) / {{1}})", "greater": "(float)({0} > {1})",
    "greater_equal": "(float)({0} >= {1})", "leaky_relu": "{0} > 0 ? {0} : {slope} * {0}",
    "less": "(float)({0} < {1})", "less_equal": "(float)({0} <= {1})", "log": "logf({0})",
    "mask_and": "(float)({0} != 0 && {1} != 0)",
    "mask_or": "(float)({0} != 0 || {1} != 0)", "round": "rintf({0})", "remainder": _REST,
    "maximum": "{0} > {1} ? {0} : {1}", "minimum": "{0} < {1} ? {0} : {1}", "mul": "{0} * {1}",
    "not_equal": "(float)({0} != {1})", "relu": "{0} > 0 ? {0} : 0",
    "sigmoid": "1.0f / (1.0f + exponential(-{0}))", "sin": "sinf({0})",
    "softplus": "({0} > 0 ? {0} : 0) + log1pf(exponential(-fabsf({0})))",
    "sqrt": "sqrtf({0})", "sub": "{0} - {1}",
    "tanh": "1.0f - 2.0f / (1.0f + exponential(2.0f * {0}))", "where": "{0} != 0 ? {1} : {2}",
}  # fmt: skip
WIDTH = 100  # columns of a line
PIECE = 24  # operations of a function: compilers take far longer for one of hundreds
TAKEN = (  # names that an argument of a drawing cannot have
    "auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|"
    "inline|int|long|register|restrict|return|short|signed|sizeof|static|struct|switch|typedef|"
    "union|unsigned|void|volatile|while|step|noise|value|draw|dense|dot|take|linear|best|most|"
    "code|index|label|pixels|result|seed|turn[0-9]+|workspace|[a-z]|[ij][0-9]+"
)


def steps(shape: Sequence[int]) -> list[int]:
    """How far apart the neighbours along each axis are."""
    return [math.prod(shape[a + 1 :]) for a in range(len(shape))]


def number(x: float) -> str:
    """The shortest decimal that is read as the same float."""
    text = str(np.float32(x))
    if text in ("inf", "-inf", "nan"):
        return {"inf": "INFINITY", "-inf": "(-INFINITY)", "nan": "NAN"}[text]
    text = text if "." in text or "e" in text else f"{text}.0"
    return f"({text}f)" if text.startswith("-") else f"{text}f"


def argument(setting: str) -> str:
    """What an argument of C functions is called, for a setting of a drawing."""
    return f"the_{setting}" if re.fullmatch(TAKEN, setting) else setting


class Function:
    """The function of a part, as text.

    Attributes:
        memory: where its arrays lie.
        rows: what writes each operation, by its name.
        layers: of each product: the text of its struct, by its name.
        arrays: the constants by name, as the file holds them.
        lines: of the function's body.
        pieces: the lines of more functions that it calls, by name, each after those it calls.
    """

    def __init__(self, packed: Packed, part: str, rows: Mapping[str, Row]) -> None:
        graphs.refuse(packed, rows, "c")
        self.packed, self.part, self.rows = packed, part, rows
        self.graph = packed.graph
        count = len(packed.settings)
        self.settings = self.graph.inputs[len(self.graph.inputs) - count :]
        self.memory = Memory(self.graph, {*POINTWISE, "put"})
        self.names = {v: name.replace(".", "_") for v, name in graphs.named(packed, part).items()}
        self.layers: dict[str, str] = {}
        self.arrays: dict[str, NDArray[Any]] = {}
        for v, name in self.names.items():
            if v not in packed.stored:
                self.arrays[name], _ = graphs.held(packed, v)
        self.lines: list[str] = []
        self.pieces: dict[str, list[str]] = {}
        self.depth = 1
        self.region(self.graph.ops, True)
        self.say(f"return {self.start(self.graph.outputs[0])};")

    def region(self, ops: Sequence[Op], shown: bool = False) -> None:
        """The operations; `shown` where --trace writes what each gives. Many are put in pieces."""
        if len(ops) > PIECE:
            for first in range(0, len(ops), PIECE):
                self.piece(ops[first : first + PIECE], shown)
            return
        for op in ops:
            self.rows[op.name](self, op)
            if shown:
                out = op.outs[0]
                self.say(f"SHOW({self.start(out)}, {math.prod(sizes(out))});")

    def piece(self, ops: Sequence[Op], shown: bool) -> None:
        """The operations as a function, and its call."""
        before, self.lines, self.depth = (self.lines, self.depth), [], 1
        self.region(ops, shown)
        name = f"{self.part}_piece_{len(self.pieces)}"
        self.pieces[name] = self.lines
        self.lines, self.depth = before
        passed = "".join(f", {argument(v.name)}" for v in self.settings)
        self.say(f"{name}(label{passed}, m);")

    # ---- text --------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """A line, or several where it is long: none of it is a text that may not be broken."""
        indent = "    " * self.depth
        self.lines += textwrap.wrap(
            text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}        ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip

    def start(self, v: Var) -> str:
        """A pointer to an array."""
        if v.const is not None:
            return self.names[v]
        if v in self.settings:
            return f"&{argument(v.name)}"
        if v in self.graph.inputs[1:]:
            return "&label"
        place = self.memory.at(v)
        return f"m + {place}" if place else "m"

    def element(self, v: Var, index: str) -> str:
        """An element of an array."""
        if v.const is not None and not v.shape:
            return number(float(v.const))
        if v.const is None and v in self.graph.inputs[1:]:
            whole = "(float)" if v.dtype != "float32" else ""
            return whole + argument(v.name) if v in self.settings else "label"
        if v.const is not None:
            return f"{self.names[v]}[{index}]"
        place = self.memory.at(v)
        return f"m[{index}]" if not place else f"m[{place}]" if index == "0" else (
            f"m[{place} + {index}]"
        )  # fmt: skip

    def loops(self, shape: Sequence[int], body: Callable[[list[str]], Iterator[str]]) -> None:
        """Loops over a shape, without those of size 1."""
        names = ["0" if size == 1 else f"i{a}" for a, size in enumerate(shape)]
        met = [(name, size) for name, size in zip(names, shape, strict=True) if size != 1]
        self.say("{")
        self.depth += 1
        if met:
            self.say(f"int {', '.join(name for name, _ in met)};")
        for name, size in met:
            self.say(f"for ({name} = 0; {name} < {size}; {name}++)" + " {" * (name == met[-1][0]))
            self.depth += 1
        for line in body(names):
            self.say(line)
        self.depth -= len(met)
        if met:
            self.depth += len(met) - 1
            self.say("}")
            self.depth -= len(met) - 1
        self.depth -= 1
        self.say("}")


def at_index(names: Sequence[str], by: Sequence[int], first: int = 0) -> str:
    """The sum of indices times steps."""
    terms = [
        name if step == 1 else f"{name} * {step}"
        for name, step in zip(names, by, strict=True) if name != "0" and step
    ]  # fmt: skip
    return " + ".join([str(first)] * (first != 0) + terms) or "0"


def spread(v: Var, names: Sequence[str]) -> str:
    """The index of an array that is repeated to the loops' shape, from the last axis on."""
    shape = sizes(v)
    by = [0 if size == 1 else step for size, step in zip(shape, steps(shape), strict=True)]
    return at_index(names[len(names) - len(shape) :], by)
