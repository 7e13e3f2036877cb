"""Fused elementwise kernels: a chain of operations as one generated loop.

`fused` turns a program, lines of ../pointwise.py, into readable CUDA C++, one kernel in which a
thread takes four neighbouring elements of the flat index (four.cuh says why), and
`elementwise_call` launches it: memory is read once and written once, whatever the length of the
chain. Inputs are full (one value an element), a row (one a column, as a bias), a column (one a row)
or a single value; which of them is written into the source. A dropout draws its words where they
are used, one block of Philox for four elements.

An output may lie in the memory of an input of its size: a thread reads its four elements before it
writes them.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np

from ..pointwise import DRAWN, ROWS, SERVED, Program
from ..pointwise import value as value_of
from .random import limit_of
from .runtime import Call, GeneratedSource, Launch, blocks, ctype, strides_of_a_grid

SPREADS = False  # inputs are full, rows, columns or single values
TYPES = ("float32", "float64", "bool")


class Fused:
    """A program on its arrays: `source` is the text that was made, `kernel` what it compiles to."""

    def __init__(self, kernel: GeneratedSource, inputs: list[Any], outs: list[Any]) -> None:
        self.kernel = kernel
        self.source = kernel.code
        self.inputs = inputs
        self.outs = outs


def fused(
    program: Program, outputs: tuple[int, ...], inputs: list[Any], outs: list[Any]
) -> Fused | Any:
    """The program as a kernel on arrays of the shape of `outs`, (rows, columns).

    Inputs: one value for each of the `("in", i)`. NotImplemented if it cannot be served.
    """
    shape = outs[0].shape
    kinds = tuple(kind_of(a, shape) for a in inputs)
    fit = all(o.shape == shape and o.flags.c_contiguous and o.dtype.name in TYPES for o in outs)
    if None in kinds or not fit or len(shape) != 2 or not outs[0].size:
        return NotImplemented
    types = tuple(a.dtype.name for a in (*inputs, *outs))
    floats = {t for t in types if t.startswith("float")}
    if len(floats) != 1 or any(name not in SERVED for name, *_ in program):
        return NotImplemented
    wide = outs[0].size >= 2**31
    return Fused(source_of(program, outputs, kinds, types, wide, repr(program)), inputs, outs)


def elementwise_call(f: Fused, rows: int, columns: int) -> Call:
    """The program on whole arrays of this shape."""
    size = rows * columns
    index = np.uint32 if size < 2**31 else np.int64
    grid, block = strides_of_a_grid(blocks(size, 4))
    args = (*f.inputs, *f.outs, index(rows), index(columns))
    return Call([Launch(f.kernel, name_of(f.kernel), grid, block, args)], f.outs[0])


def name_of(kernel: GeneratedSource) -> str:
    """The name of the one kernel in a generated source."""
    return kernel.file.removesuffix(".cuh")


def kind_of(a: Any, shape: tuple[int, int]) -> str | None:
    """How an input is spread over rows and columns."""
    if a.dtype == np.uint64:
        return "counter" if a.size == 1 else None
    if a.dtype.name not in TYPES or not a.flags.c_contiguous:
        return None
    rows, columns = shape
    if a.size == rows * columns:  # first, so that what an output may overlap is read by its thread
        return "full"
    if a.size == 1:
        return "value"
    if a.size == columns and a.shape[-1] == columns:
        return "row"
    return "column" if a.size == rows and a.shape[-1] == 1 else None


# ---- the text ------------------------------------------------------------------------------------

_TEXT = """\
// Made by tinygen_kernels.cuda.elementwise: {title}.
#include "four.cuh"
#include "maths.cuh"
#include "philox.cuh"

__global__ void {name}(
    {parameters}
) {{
    {head}
    for (EACH(block, (n + 3) / 4)) {{
        long long i = 4 * block;
        {before}
#pragma unroll
        for (int k = 0; k < 4; ++k) {{
            {body}
        }}
        {after}
    }}
}}
"""


@functools.cache
def source_of(
    program: Program, outputs: Any, kinds: Any, types: Any, wide: bool, written: str
) -> GeneratedSource:
    """The source, named by the hash of its text; `written`, the program's, tells 0.0 from -0.0."""
    fields = _fields(program, outputs, kinds, types, wide)
    text = _TEXT.format(name="{name}", **fields)
    name = f"fused_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return GeneratedSource(f"{name}.cuh", code=text.replace("{name}", name))


def _fields(program: Program, outputs: Any, kinds: Any, types: Any, wide: bool) -> dict[str, str]:
    """What goes into the text: x are inputs, t lines, y outputs, w the words of a dropout."""
    number = next(t for t in types if t.startswith("float"))
    index = "long long" if wide else "unsigned"
    parameters = [f"const {ctype(t)}* a{i}," for i, t in enumerate(types[: len(kinds)])]
    head = ["long long n = (long long)rows * columns;"]
    before, body, after = [], [], []
    names: dict[Any, str] = {}
    for i, (kind, t) in enumerate(zip(kinds, types, strict=False)):
        names["in", i] = f"x{i}"
        at = {"row": f"a{i}[column]", "column": f"a{i}[row]", "full": f"four{i}.at[k]"}
        if kind in at:
            body.append(f"{ctype(t)} x{i} = {at[kind]};")
        else:
            head.append(f"{ctype(t)} x{i} = *a{i};")
        if kind == "full":
            before.append(f"Four<{ctype(t)}> four{i} = load_four(a{i}, i, n);")
    spread = not {"row", "column"}.isdisjoint(kinds)
    if spread:
        before.append(f"{index} row = ({index})i / columns, column = ({index})i % columns;")
    for j in range(len(program)):
        words, text = line_of(program, j, names, number, f"w{j}.at[k]")
        before += [f"Words w{j} = philox(block, {words});"] if words else []
        body.append(text)
        names["line", j] = f"t{j}"
    for m, (j, t) in enumerate(zip(outputs, types[len(kinds) :], strict=True)):
        parameters.append(f"{ctype(t)}* o{m},")
        before.append(f"Four<{ctype(t)}> y{m};")
        body.append(f"y{m}.at[k] = t{j};")
        after.append(f"store_four(o{m}, i, n, y{m});")
    if spread:
        body.append("step(row, column, rows, columns);")
    parameters.append(f"{index} rows, {index} columns")
    title = ", ".join(name for name, *_ in program)
    return {
        "title": title, "parameters": "\n    ".join(parameters), "head": "\n    ".join(head),
        "before": "\n        ".join(before), "body": "\n            ".join(body),
        "after": "\n        ".join(after),
    }  # fmt: skip


def line_of(
    program: Program, j: int, names: dict[Any, str], number: str, word: str
) -> tuple[str, str]:
    """Line j as text, `t<j>` from its operands' names; before it what a dropout tells philox.

    Args:
        word: the random word of the element, if it is a dropout.
    """
    name, operands, static = program[j]
    terms = [_operand(v, names, number) for v in operands]
    options = dict(static)
    words = ""
    if name == DRAWN:
        x, key, base = terms
        words = f"{base} + {options['offset'] % 2**64}ull, {key}"
        keep = _number(1.0 - options["p"], number)
        limit = f"{limit_of(options['p'])}u"
        value = f"({word} >> 8) >= {limit} ? {x} / {keep} : {_number(0, number)}"
    else:
        constants = {k: _number(value_of(k, v), number) for k, v in options.items()}
        value = ROWS[name].cuda.format(*terms, **constants, zero=_number(0, number))
    kind = "bool" if name in ROWS and ROWS[name].truth else ctype(number)
    return words, f"{kind} t{j} = {value};  // {name}"


def _operand(v: Any, names: dict[Any, str], number: str) -> str:
    return names[v] if isinstance(v, tuple) else _number(v, number)


def _number(v: Any, number: str) -> str:
    """A constant of the arrays' type, to its bits."""
    with np.errstate(over="ignore"):
        x = np.dtype(number).type(v)
    if np.isfinite(x):
        text = f"{x!s}f" if number == "float32" else f"{x!s}"
    else:
        sign = "-" if x < 0 else ""
        text = f"{sign}{'not_a_number' if np.isnan(x) else 'infinity'}<{ctype(number)}>()"
    return f"({text})" if text.startswith("-") else text
