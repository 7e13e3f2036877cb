"""Generated ends of matrix products: elementwise operations on each element before it is stored.

A product's element passes through `Epilogue<T>::of` (epilogue.cuh). Here a program, as
elementwise.py takes it, becomes such a function, and matmul.cuh is compiled around it: the product
is neither written nor read again. Arrays are reached through a table of their addresses.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..pointwise import Program
from . import matmul
from .elementwise import kind_of, line_of
from .runtime import GeneratedSource, ctype, device_of

_TEXT = """\
// Made by tinygen_kernels.cuda.epilogue: {title}, at the end of a product.
#include "maths.cuh"
#include "philox.cuh"

#define OWN_EPILOGUE
template <class T>
struct Epilogue {{
    const T *bias, *saved;  // the table of addresses; nothing
    int code;               // the number of columns; 0 for none of this
    T slope;

    __device__ T of(T v, const T* c, long long i, int n) const {{
        if (code == 0) return v;
        const long long* at = reinterpret_cast<const long long*>(bias);
        {lines}
    }}
}};
#include "matmul.cuh"
"""
_PLACES = {"full": "i", "row": "n", "column": "i / code", "value": "0", "counter": "0"}


@functools.cache
def source_of(
    program: Program, outputs: Any, kinds: Any, types: Any, made: Any, kept: int, written: str
) -> GeneratedSource:
    """The source; see `hosted`. `written`, the program's text, tells 0.0 from -0.0."""
    number = next(t for t in types if t.startswith("float"))
    names: dict[Any, str] = {}
    lines: list[str] = []
    for i, (kind, t) in enumerate(zip(kinds, types, strict=False)):
        names["in", i] = "v" if i in made else f"x{i}"
        if i not in made:
            array = f"reinterpret_cast<const {ctype(t)}*>(at[{i}])"
            lines.append(f"{ctype(t)} x{i} = {array}[{_PLACES[kind]}];")
    for j in range(len(program)):
        words, text = line_of(program, j, names, number, f"word_of(w{j}, i)")
        lines += [f"Words w{j} = philox(i / 4, {words});"] if words else []
        lines.append(text)
        names["line", j] = f"t{j}"
    for m, (j, t) in enumerate(zip(outputs, types[len(kinds) :], strict=True)):
        if m != kept:
            lines.append(f"reinterpret_cast<{ctype(t)}*>(at[{len(kinds) + m}])[i] = t{j};")
    lines.append("return v;" if kept < 0 else f"return t{outputs[kept]};")
    title = ", ".join(name for name, *_ in program)
    return GeneratedSource(
        "product.cuh", code=_TEXT.format(title=title, lines="\n        ".join(lines))
    )


def hosted(
    x: Any, y: Any, program: Program, outputs: tuple[int, ...], inputs: Sequence[Any],
    outs: Sequence[Any], memory: Any,
) -> Any:  # fmt: skip
    """The call that makes x @ y and, on its elements, the program; NotImplemented to decline.

    Args:
        outputs: which lines are stored, in `outs`.
        inputs: of the program, spread over (rows, columns) as in elementwise.fused; those in
            `memory` are the product's elements.
        memory: (rows, columns), where the product goes, or the output that is in its place.
    """
    device, shape = device_of(x), memory.shape
    place = device.address(memory)
    same = [device.address(a) == place and a.size == memory.size for a in (*inputs, *outs)]
    made = frozenset(i for i in range(len(inputs)) if same[i])
    kept = next((m for m in range(len(outs)) if same[len(inputs) + m]), -1)
    kinds = tuple(kind_of(a, shape) for a in inputs)
    if None in kinds or not all(o.size == memory.size and o.flags.c_contiguous for o in outs):
        return NotImplemented
    types = tuple(a.dtype.name for a in (*inputs, *outs))
    source = source_of(program, outputs, kinds, types, made, kept, repr(program))
    arrays = (*inputs, *outs)
    table = device.to_device(np.array([device.address(a) for a in arrays], np.int64))
    code, slope = np.int32(shape[1]), memory.dtype.type(0)
    end = matmul.Epilogue(table.view(memory.dtype), memory, code, slope, source, arrays)
    call = matmul.product(x, y, out=memory, ends=end, precision=device.precision)
    if call is not NotImplemented:
        call.keep = (call.keep, table, arrays)
    return call
