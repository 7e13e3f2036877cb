"""Fused elementwise kernels: a chain of operations as one generated loop.

`fused` turns a program, lines of ../pointwise.py, into readable Numba source, a function on a block
of rows and columns,

    void block(r0, r1, c0, c1, args)

which runs alone on all cores (`elementwise_call`), or on each block of a matrix product while the
block is in a core's cache. Inputs are full (one value an element), a row (one a column, as a bias),
a column (one a row), a single value, or `spread` over rows by five numbers in the table, as rows or
as a value a row; which of them is written into the source.
"""

from __future__ import annotations

import hashlib
import linecache
import math
import sys
import types
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..pointwise import DRAWN, ROWS, SERVED, value
from . import division, maths
from .philox import SPARE
from .runtime import (
    Call,
    Native,
    address_of,
    call_block,
    first,
    native,
    native_block,
    table_of,
    word,
    workers_for,
)  # fmt: skip

SPREADS = True  # inputs may be spread over rows as `fused` has it
CHUNK = 1024  # columns whose random words are drawn at a time
_POINTER = {"float32": "float32_pointer", "float64": "float64_pointer", "bool": "uint8_pointer"}


class Fused:
    """A program on its arrays: `block` is the function, `args` its table."""

    def __init__(self, block: Native, source: str, args: Any, keep: Any) -> None:
        self.block = block
        self.source = source
        self.args = args
        self.keep = keep


def fused(
    program: tuple[Any, ...], outputs: tuple[int, ...], inputs: list[Any], outs: list[Any],
    spreads: Mapping[int, tuple[int, ...]] = MappingProxyType({}),
) -> Any:  # fmt: skip
    """The program as a function on blocks of `outs`; NotImplemented if it cannot be served.

    spreads: by number, inputs that are no matrix: outer, far, inner, cycle, near, and whether there
        is a number for each column, else one for the row. Row r's begin at

            r // outer * far + r // inner % cycle * near

        Of (n, 1, g, 1) over the rows of (n, p, g, k): outer = p g, far = g, inner = 1, cycle = g,
        near = 1. Of rows that lie apart: outer = 1, far = how far.
    """
    shape = outs[0].shape
    kinds = []
    for i, a in enumerate(inputs):
        kind = _spread_kind(*spreads[i]) if i in spreads else _kind(a, shape)
        if kind is None:
            return NotImplemented
        kinds.append(kind)
    for o in outs:
        if o.shape != shape or not o.flags.c_contiguous or len(shape) != 2:
            return NotImplemented
    floats = {a.dtype.name for a in (*inputs, *outs) if a.dtype.kind == "f"}
    if len(floats) != 1 or not SERVED.issuperset(name for name, *_ in program):
        return NotImplemented
    # An output in the memory of an input is the same name in the source: no false overlap.
    places = [address_of(a) if k == "full" else None for a, k in zip(inputs, kinds, strict=True)]
    alias = tuple(places.index(address_of(o)) if address_of(o) in places else -1 for o in outs)
    types = tuple(a.dtype.name for a in (*inputs, *outs))
    block, source = _compiled(program, outputs, tuple(kinds), alias, types)
    args = table_of([*shape, *inputs, *outs, *(n for i in sorted(spreads) for n in spreads[i][:5])])
    return Fused(block, source, args, (inputs, outs))


def _kind(a: Any, shape: tuple[int, int]) -> str | None:
    if a.dtype.name == "uint64":
        return "counter"
    if a.dtype.name not in _POINTER or not a.flags.c_contiguous:
        return None
    if a.size == 1:
        return "value"
    if a.shape == shape:
        return "full"
    if a.size == shape[1] and a.shape[-1] == shape[1]:
        return "row"
    return "column" if a.size == shape[0] and a.shape[-1] == 1 else None


def _spread_kind(outer: int, far: int, inner: int, cycle: int, near: int, wide: bool) -> str:
    """A row or a value of it; and which divisions it takes to find its place.

    A division takes as long as a vector of numbers, so the source has no other than those.
    """
    return f"spread {int(wide)} {int(outer != 1 and far != 0)} {int(near != 0)}"


def _row_start(kind: str, at: int) -> str:
    """The text for where row r begins; its five numbers are entries `at` and on of the table."""
    divides, cycles = (text == "1" for text in kind.split()[2:])
    first = f"r // word(args, {at})" if divides else "r"
    start = f"{first} * word(args, {at + 1})"
    if not cycles:
        return start
    return f"{start} + r // word(args, {at + 2}) % word(args, {at + 3}) * word(args, {at + 4})"


_loops: dict[Any, tuple[Native, str]] = {}


def _compiled(
    program: Any, outputs: Any, kinds: Any, alias: Any, types: Any
) -> tuple[Native, str]:  # fmt: skip
    """The loop and its source, kept by the text: as numbers 0.0 equals -0.0, and NaN nothing."""
    key = (repr(program), outputs, kinds, alias, types)
    found = _loops.get(key)
    if found is None:
        source = _source(program, outputs, kinds, alias, types)
        found = _loops[key] = block_of(source), source
    return found


def block_of(source: str) -> Native:
    """The function `block` of a module of this text."""
    return native_block(_imported(source).block)


def _source(program: Any, outputs: Any, kinds: Any, alias: Any, types: Any) -> str:
    """The text of a module with the function `block`."""
    size = {"float32": 4, "float64": 8, "bool": 1}
    head: list[str] = []  # once
    rows: list[str] = []  # for each row
    loads, lines, stores = [], [], []  # for each element
    names: dict[Any, str] = {}
    spreads = 2 + len(types)  # where the table has the next one's numbers
    for i, (kind, t) in enumerate(zip(kinds, types, strict=False)):
        at = f"word(args, {2 + i})"
        if kind == "counter":
            head.append(f"x{i} = uint64_pointer({at})[0]")
            continue
        pointer, compare = _POINTER[t], " != 0" if t == "bool" else ""
        if kind == "value":
            head.append(f"x{i} = {pointer}({at})[0]{compare}")
        elif kind == "column":
            rows.append(f"x{i} = {pointer}({at})[r]{compare}")
        elif kind.startswith("spread 0"):
            rows.append(f"x{i} = {pointer}({at})[{_row_start(kind, spreads)}]{compare}")
        else:
            start = {"row": "c", "full": "r * columns + c"}.get(kind)
            start = start or f"{_row_start(kind, spreads)} + c"
            rows.append(f"a{i} = carray({pointer}({at} + {size[t]} * ({start})), n)")
            loads.append(f"x{i} = a{i}[j]{compare}")
        spreads += 5 * kind.startswith("spread")
        names["in", i] = f"x{i}"
    count = len(kinds)
    for k, (j, t) in enumerate(zip(outputs, types[count:], strict=True)):
        target = f"a{alias[k]}"
        if alias[k] < 0:
            target = f"o{k}"
            at = f"word(args, {2 + count + k})"
            rows.append(
                f"{target} = carray({_POINTER[t]}({at} + {size[t]} * (r * columns + c)), n)"
            )
        stores.append(f"{target}[j] = t{j}")
    draws = 0
    for j, (name, operands, static) in enumerate(program):
        options = dict(static)
        if name == DRAWN:
            text = _dropout(draws, operands, options, names, head, rows)
            draws += 1
        else:
            terms = [_operand(v, names) for v in operands]
            constants = {k: _constant(value(k, v)) for k, v in options.items()}
            text = ROWS[name].cpu.format(*terms, **constants)
        lines.append(f"t{j} = {text}  # {name}")
        names["line", j] = f"t{j}"
    number = next(t for t in types if t.startswith("float"))
    return _module(number, head, rows, [*loads, *lines, *stores], draws > 0)


def _dropout(
    i: int, operands: Any, options: Any, names: Any, head: list[str], rows: list[str]
) -> str:
    """The text for an element of the program's dropout number i; its words are made row by row."""
    key, base = (f"x{k}" for _, k in operands[1:])
    limit, x = math.ceil(options["p"] * 2.0**24), _operand(operands[0], names)
    head.append(f"w{i} = np.empty({CHUNK + SPARE}, np.uint32)")
    rows.append(
        f"sw{i} = fill_words(w{i}, {key}, {base} + np.uint64({options['offset']}), "
        "r * columns + c, n)"
    )
    rows.append(f"vw{i} = w{i}[sw{i} : sw{i} + n]")  # vector code needs 0
    keep = f"(vw{i}[j] >> np.uint32(8)) >= np.uint32({limit})"
    return f"({x} / K({1.0 - options['p']!r}) if {keep} else ZERO)"


def _module(number: str, head: list[str], rows: list[str], each: list[str], draws: bool) -> str:
    """The module with the function `block`, of lines for all, for a row and for an element."""
    step = f"range(c0, c1, {CHUNK})" if draws else "range(c0, c1, c1 - c0)"
    text = [
        '"""Made by tinygen_kernels.cpu.elementwise."""',
        "import numpy as np",
        "from numba import carray",
        *_imports(number),
        "from tinygen_kernels.cpu.philox import fill_words",
        "from tinygen_kernels.cpu.runtime import (",
        "    float32_pointer, float64_pointer, uint8_pointer, uint64_pointer,",
        "    wide_vectors, word,",
        ")",
        "",
        f"K = np.{number}",
        "ZERO = K(0)",
        "",
        "",
        "def block(r0, r1, c0, c1, args):",
        "    wide_vectors()",
        "    columns = word(args, 1)",
        *(f"    {h}" for h in head),
        "    for r in range(r0, r1):",
        f"        for c in {step}:",
        f"            n = min(c1 - c, {CHUNK})" if draws else "            n = c1 - c",
        *(f"            {x}" for x in rows),
        "            for j in range(n):",
        *(f"                {x}" for x in each),
        "",
    ]
    return "\n".join(text)


def _imports(number: str) -> list[str]:
    """The functions of maths.py and division.py, and the square root: what a text may call."""
    kind, lines = "wide" if number == "float64" else "narrow", []
    for room in (maths, division):
        names = sorted(n.removeprefix("narrow_") for n in vars(room) if n.startswith("narrow_"))
        lines += [f"from {room.__name__} import {kind}_{n} as {n}" for n in names]
    return [*lines, "from numpy import sqrt"]


def _operand(v: Any, names: dict[Any, str]) -> str:
    if isinstance(v, tuple):
        return names[v]
    return _constant(v) if not isinstance(v, bool) else repr(v)


def _constant(v: Any) -> str:
    """A number as text."""
    return f"K({float(v)!r})" if math.isfinite(v) else f"K({'-' * (v < 0)}np.{abs(float(v))!r})"


def _imported(source: str) -> Any:
    """The source as a module of its own, named by the hash of its text.

    It is compiled from the text itself, never from a file that may say something else by now.
    """
    name = f"fused_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    path = f"<{name}>"
    code = compile(source, path, "exec")
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    module = types.ModuleType(name)
    exec(code, vars(module))
    sys.modules[name] = module
    return module


# ---- a block function alone, on all cores --------------------------------------------------------


@native
def _all_rows(worker, workers, args):  # type: ignore[no-untyped-def]
    """Table: function, its table, rows, columns. Rows are shared, or columns where rows are few."""
    rows, columns = word(args, 2), word(args, 3)
    if rows >= 4 * workers:
        r0, r1 = rows * worker // workers, rows * (worker + 1) // workers
        if r1 > r0:
            call_block(word(args, 0), r0, r1, 0, columns, word(args, 1))
    else:
        c0, c1 = first(columns, worker, workers), first(columns, worker + 1, workers)
        if c1 > c0:
            call_block(word(args, 0), 0, rows, c0, c1, word(args, 1))


def elementwise_call(f: Fused, rows: int, columns: int) -> Call:
    """The program on whole arrays of this shape."""
    args = (f.block.address, address_of(f.args), rows, columns)
    out = f.keep[1][0]
    return Call(_all_rows, args, out=out, workers=workers_for(rows * columns), keep=f)
