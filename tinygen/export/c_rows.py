"""A graph as a C function: its operations in order, a row for each.

All numbers are floats in one workspace; integers are exact to 2^24. Products with constant weights
call `linear` of runtime/runtime.c with what each is; other rows are loops that are written out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from ..trace.graph import Op, Turns, Var, at
from .c_function import POINTWISE, Function, Row, argument, at_index, number, spread, steps
from .graphs import ExportError
from .memory import sizes
from .weights import ungrouped

REDUCED = {  # what it begins with, what each number does, what the result is
    "sum": ("0", "t += {x}", "(float)t"), "mean": ("0", "t += {x}", "(float)(t / {n})"),
    "max": ("{x}", "t = {x} > t ? {x} : t", "(float)t"),
    "min": ("{x}", "t = {x} < t ? {x} : t", "(float)t"),
    "any": ("0", "t = {x} != 0 ? 1 : t", "(float)t"),
    "all": ("1", "t = {x} != 0 ? t : 0", "(float)t"),
}  # fmt: skip
EXPONENTIAL = ("sigmoid", "softplus", "tanh")  # what the runtime's own e^x serves


# ---- rows ----------------------------------------------------------------------------------------


def pointwise(f: Function, op: Op) -> None:
    out, options = op.outs[0], {}
    args = [v for v in op.args if v is not None]
    if op.name == "leaky_relu":
        options["slope"] = number(op.static["slope"])
    form = POINTWISE[op.name]
    if op.name == "cast" and out.dtype == "bool":
        form = "(float)({0} != 0)"
    elif op.name == "cast" and not out.dtype.startswith("float"):
        form = "truncf({0})"
    elif op.name == "clip":
        low, high = (op.static.get(k) for k in ("low", "high"))
        form = form if high is None else f"({form}) > {number(high)} ? {number(high)} : {form}"
        if low is not None:
            form = f"{{0}} < {number(low)} ? {number(low)} : {form}"
    shape = merged([sizes(out), *map(sizes, args)])

    def body(names: list[str]) -> Iterator[str]:
        elements = []
        for v, own in zip(args, shape[1:], strict=True):
            by = [0 if size == 1 else step for size, step in zip(own, steps(own), strict=True)]
            elements.append(f.element(v, at_index(names, by)))
        value = form.format(*elements, **options)
        yield f"{f.element(out, at_index(names, steps(shape[0])))} = {value};"

    f.loops(shape[0], body)


def merged(shapes: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """The shapes of a result and what is repeated to it, with as few axes as can be.

    Axes become one where all either have both or repeat both.
    """
    ndim = len(shapes[0])
    full = [[1] * (ndim - len(shape)) + list(shape) for shape in shapes]
    axes: list[list[int]] = []  # of each kept axis: the sizes
    for column in zip(*full, strict=True):
        if column[0] == 1:
            continue
        own = [size == column[0] for size in column]
        if axes and [size == axes[-1][0] for size in axes[-1]] == own:
            axes[-1] = [a * b for a, b in zip(axes[-1], column, strict=True)]
        else:
            axes.append(list(column))
    return [[axis[k] for axis in axes] for k in range(len(shapes))]


def reshape(f: Function, op: Op) -> None:
    x, out = op.args[0], op.outs[0]
    assert x is not None
    if f.start(x) != f.start(out):
        copy(f, f.start(out), x)


def copy(f: Function, to: str, v: Var) -> None:
    """The numbers of an array to another place."""
    if v.const is not None and not v.shape:
        f.say(f"*({to}) = {f.element(v, '0')};")
    else:
        f.say(f"memcpy({to}, {f.start(v)}, {math.prod(sizes(v))} * sizeof *m);")


def moved(f: Function, op: Op, by: Sequence[int], first: int = 0) -> None:
    """A result whose elements are those of x by other steps."""
    x, out = op.args[0], op.outs[0]
    assert x is not None
    shape = sizes(out)
    f.loops(shape, lambda n: iter([
        f"{f.element(out, at_index(n, steps(shape)))} = {f.element(x, at_index(n, by, first))};"
    ]))  # fmt: skip


def transpose(f: Function, op: Op) -> None:
    assert op.args[0] is not None
    along = steps(sizes(op.args[0]))
    moved(f, op, [along[a] for a in op.static["axes"]])


def cut(f: Function, op: Op) -> None:
    assert op.args[0] is not None
    along = steps(sizes(op.args[0]))
    parts = at(op.static["parts"], 1)
    first = sum(start * step for (start, _, _), step in zip(parts, along, strict=True))
    moved(f, op, [by * step for (_, _, by), step in zip(parts, along, strict=True)], first)


def concat(f: Function, op: Op) -> None:
    out, axis = op.outs[0], op.static["axis"]
    inner = math.prod(sizes(out)[axis + 1 :])
    whole, first = sizes(out)[axis] * inner, 0
    for v in op.args:
        assert v is not None
        size = sizes(v)[axis] * inner
        outer = math.prod(sizes(v)[:axis])

        def body(names: list[str], v: Var = v, first: int = first, size: int = size) -> Any:
            to = f.element(out, at_index(names, (whole, 1), first))
            yield f"{to} = {f.element(v, at_index(names, (size, 1)))};"

        f.loops((outer, size), body)
        first += size


def rows_of(op: Op) -> tuple[Var, list[int], list[int]]:
    """x, and the axes that a row goes along and that it does not."""
    x, axis = op.args[0], op.static["axis"]
    assert x is not None
    every = list(range(len(x.shape)))
    axes = every if axis is None else [axis] if isinstance(axis, int) else list(axis)
    return x, axes, [a for a in every if a not in axes]


def inner_loops(x: Var, axes: Sequence[int]) -> tuple[str, str, str]:
    """Declared indices, the loops over axes, and the index that they add."""
    shape, along = sizes(x), steps(sizes(x))
    names = [f"j{a}" for a in axes]
    head = " ".join(
        f"for ({j} = 0; {j} < {shape[a]}; {j}++)" for j, a in zip(names, axes, strict=True)
    )
    return f"int {', '.join(names)};", head, at_index(names, [along[a] for a in axes])


def joined(*indices: str) -> str:
    return " + ".join(x for x in indices if x != "0") or "0"


def each_row(f: Function, op: Op, row: Callable[[str, str], Iterator[str]]) -> None:
    """Loops over the rows of x. `row` writes one, from the indices of its start and its result."""
    x, _, kept = rows_of(op)
    along, shape = steps(sizes(x)), [sizes(x)[a] for a in kept]

    def body(names: list[str]) -> Iterator[str]:
        return row(at_index(names, [along[a] for a in kept]), at_index(names, steps(shape)))

    f.loops(shape, body)


def reduce(f: Function, op: Op) -> None:
    x, axes, _ = rows_of(op)
    begin, each, end = REDUCED[op.name]
    count = math.prod(sizes(x)[a] for a in axes)
    declared, head, inside = inner_loops(x, axes)

    def row(base: str, to: str) -> Iterator[str]:
        first, value = f.element(x, base), f.element(x, joined(base, inside))
        yield declared
        yield f"double t = {begin.format(x=first)};"
        yield f"{head}"
        yield f"    {each.format(x=value)};"
        yield f"{f.element(op.outs[0], to)} = {end.format(n=count)};"

    each_row(f, op, row)


def argmax(f: Function, op: Op) -> None:
    x, axes, _ = rows_of(op)
    by = steps(sizes(x))[axes[-1]]  # of all axes, the elements lie one after the other
    count = math.prod(sizes(x)[a] for a in axes)

    def row(base: str, to: str) -> Iterator[str]:
        yield "int j, best = 0;"
        yield f"for (j = 1; j < {count}; j++)"
        now = f.element(x, joined(base, at_index(["j"], [by])))
        old = f.element(x, joined(base, at_index(["best"], [by])))
        yield f"    best = {now} > {old} ? j : best;"
        yield f"{f.element(op.outs[0], to)} = (float)best;"

    each_row(f, op, row)


def argsort(f: Function, op: Op) -> None:
    """Each number at the place of how many come before it: quadratic, and equal ones in order."""
    x, (axis,), _ = rows_of(op)
    by, count = steps(sizes(x))[axis], sizes(x)[axis]
    less = ">" if op.static["descending"] else "<"

    def row(base: str, _: str) -> Iterator[str]:
        one, other = (f.element(x, joined(base, at_index([j], [by]))) for j in "jk")
        yield "int j, k, place;"
        yield f"for (j = 0; j < {count}; j++) {{"
        yield "    place = 0;"
        yield f"    for (k = 0; k < {count}; k++)"
        yield f"        place += {other} {less} {one} || ({other} == {one} && k < j);"
        to = f.element(op.outs[0], joined(base, at_index(["place"], [by])))
        yield f"    {to} = (float)j;"
        yield "}"

    each_row(f, op, row)


def in_rows(f: Function, op: Op) -> None:
    """cumsum, softmax and log_softmax, whose rows become rows."""
    x, axes, _ = rows_of(op)
    declared, head, inside = inner_loops(x, axes)

    def row(base: str, _: str) -> Iterator[str]:
        read, to = (f.element(v, joined(base, inside)) for v in (x, op.outs[0]))
        yield declared
        if op.name == "cumsum":
            yield "double t = 0;"
            yield f"{head} {{"
            yield f"    t += {read};"
            yield f"    {to} = (float)t;"
            yield "}"
            return
        yield f"float most = {f.element(x, base)}, t = 0;"
        yield head
        yield f"    most = {read} > most ? {read} : most;"
        yield f"{head} {{"
        yield f"    {to} = expf({read} - most);"
        yield f"    t += {to};"
        yield "}"
        yield head
        yield f"    {to} {'/= t' if op.name == 'softmax' else f'= {read} - most - logf(t)'};"

    each_row(f, op, row)


def take(f: Function, op: Op) -> None:
    x, i = op.args
    assert x is not None
    assert i is not None
    shape, axis, out = sizes(x), op.static["axis"], op.outs[0]
    inner, many = math.prod(shape[axis + 1 :]), math.prod(sizes(i))
    ends = (math.prod(shape[:axis]), many, inner)

    def body(names: list[str]) -> Iterator[str]:
        a, b, c = names
        place = f"(int){f.element(i, b)}"
        index = joined(at_index([a, c], [shape[axis] * inner, 1]), f"{place} * {inner}")
        yield f"{f.element(out, at_index(names, (many * inner, inner, 1)))} = "
        yield f"    {f.element(x, index)};"

    f.loops(ends, body)


def take_along_axis(f: Function, op: Op) -> None:
    x, i = op.args
    assert x is not None
    assert i is not None
    axis, shape = op.static["axis"], sizes(op.outs[0])
    count, inner = sizes(x)[axis], math.prod(shape[axis + 1 :])
    ends = (math.prod(shape[:axis]), shape[axis], inner)

    def body(names: list[str]) -> Iterator[str]:
        a, _, c = names
        to = at_index(names, steps(ends))
        place = f.element(i, to)
        place = f"((int){place} + ({place} < 0 ? {count} : 0)) * {inner}"
        index = joined(at_index([a, c], [count * inner, 1]), place)
        yield f"{f.element(op.outs[0], to)} = {f.element(x, index)};"

    f.loops(ends, body)


def put(f: Function, op: Op) -> None:
    x, value, i = op.args
    assert x is not None
    assert value is not None
    assert i is not None
    shape, axis, out = sizes(x), op.static["axis"], op.outs[0]
    inner = math.prod(shape[axis + 1 :])
    if f.start(x) != f.start(out):
        copy(f, f.start(out), x)

    def body(names: list[str]) -> Iterator[str]:
        place = f"(int){f.element(i, '0')} * {inner}"
        to = joined(at_index(names, (shape[axis] * inner, 1)), place)
        yield f"{f.element(out, to)} = {f.element(value, at_index(names, (inner, 1)))};"

    f.loops((math.prod(shape[:axis]), inner), body)


def one_hot(f: Function, op: Op) -> None:
    x, classes, out = op.args[0], op.static["classes"], op.outs[0]
    assert x is not None
    f.loops((math.prod(sizes(x)), classes), lambda n: iter([
        f"{f.element(out, at_index(n, (classes, 1)))} = "
        f"(float)({f.element(x, n[0])} == (float){n[1]});"
    ]))  # fmt: skip


def matmul(f: Function, op: Op) -> None:
    x, y = op.args
    assert x is not None
    assert y is not None
    out = op.outs[0]
    shape, (inner, columns) = sizes(out), sizes(y)[-2:]
    if y in f.packed.stored and len(sizes(y)) == 2:
        name = layer(f, op, "DENSE", (1, 1, inner), (1, 1, columns), f.packed.stored[y].values)
        linear(f, name, op, math.prod(shape[:-1]), inner, columns)
        return

    def body(names: list[str]) -> Iterator[str]:
        *lead, row, column = names
        first, second = (
            spread(Var(sizes(v)[:-2], ""), lead) if len(sizes(v)) > 2 else "0" for v in (x, y)
        )
        left = joined(scaled(first, sizes(x)[-2] * inner), at_index([row, "j"], (inner, 1)))
        right = joined(scaled(second, inner * columns), at_index(["j", column], (columns, 1)))
        yield "int j;"
        yield "float t = 0;"
        yield f"for (j = 0; j < {inner}; j++)"
        yield f"    t += {f.element(x, left)} * {weight(f, y, right)};"
        yield f"{f.element(out, at_index(names, steps(shape)))} = t;"

    f.loops(shape, body)


def scaled(index: str, by: int) -> str:
    return index if index == "0" else f"({index}) * {by}"


def weight(f: Function, y: Var, index: str) -> str:
    """An element of a matrix, which may be a stored weight of more than two axes."""
    if y not in f.packed.stored:
        return f.element(y, index)
    values, scale = f.packed.stored[y]
    name = f.names[y]
    f.arrays[name] = values
    if scale is None:
        return f"value({name}[{index}])"
    f.arrays[name.replace("_weight", "_scale")] = scale
    return f"value({name}[{index}]) * {name.replace('_weight', '_scale')}[({index}) % {len(scale)}]"


def convolution(f: Function, op: Op) -> None:
    x, kernel = op.args
    assert x is not None
    if kernel not in f.packed.stored:
        raise ExportError(f"{op.line}: the form c convolves with constant kernels only")
    window = op.static["window"]
    values = ungrouped(f.packed.stored[kernel].values, window.groups)
    kind = "CONV" if op.traits.convolves else "CONV_TRANSPOSE"
    before, after = sizes(x), sizes(op.outs[0])
    name = layer(f, op, kind, before[1:], after[1:], values)
    linear(f, name, op, before[0], math.prod(before[1:]), math.prod(after[1:]))


def layer(
    f: Function, op: Op, kind: str, before: Sequence[int], after: Sequence[int],
    values: NDArray[Any],
) -> str:  # fmt: skip
    """A product as the runtime's struct, which has a name."""
    kernel: Any = op.args[1]
    name = f.names[kernel].removesuffix("_weight")
    window = op.static.get("window")
    pairs: list[Any] = [(1, 1), (1, 1), (0, 0), (1, 1)]
    if window is not None:
        edges = [pair[0] for pair in window.padding]
        pairs = [values.shape[:2], window.stride, edges, window.dilation]
    f.arrays[f"{name}_weight"] = values
    arrays = [f"{name}_weight"]
    scale = f.packed.stored[kernel].scale
    if scale is not None:
        f.arrays[f"{name}_scale"] = scale
        arrays.append(f"{name}_scale")
    sizes_of = ", ".join(map(str, (*before, *after)))
    text = ", ".join(f"{{{a}, {b}}}" for a, b in pairs)
    entry = f"{{{kind}, {sizes_of}, {text}, {', '.join(arrays)}}}"
    used = [key for key, value in f.layers.items() if value == entry]
    if used:
        return used[0]
    called = f"{name}_layer" if f"{name}_layer" not in f.layers else f"{name}_layer_{len(f.layers)}"
    f.layers[called] = entry
    return called


def linear(f: Function, name: str, op: Op, count: int, before: int, after: int) -> None:
    """A product of `count` rows, or images."""
    x, out = op.args[0], op.outs[0]
    assert x is not None
    if count == 1:
        f.say(f"linear(&{name}, {f.start(x)}, {f.start(out)});")
        return
    f.loops((count,), lambda n: iter([
        f"linear(&{name}, {f.start(x)} + {n[0]} * {before}, {f.start(out)} + {n[0]} * {after});"
    ]))  # fmt: skip


def turns(n: int | Turns) -> str:
    if not isinstance(n, Turns):
        return str(n)
    return f"{n.a} * {argument(n.argument.name)} + {n.b}".replace("+ -", "- ")


def repeat(f: Function, op: Op) -> None:
    body = op.body
    assert body is not None
    turn, *heads = body.inputs
    for head, v in zip(heads, op.args, strict=True):
        assert v is not None
        copy(f, f.start(head), v)
    name = f"turn{f.depth}"
    f.say("{")
    f.depth += 1
    f.say(f"int {name};")
    f.say(f"for ({name} = 0; {name} < {turns(op.static['n'])}; {name}++) {{")
    f.depth += 1
    f.say(f"*({f.start(turn)}) = (float){name};")
    f.region(body.ops)
    ends = list(body.outputs)
    for k, kept in f.memory.kept[op].items():
        copy(f, f.start(kept), ends[k])
        ends[k] = kept
    for head, v in zip(heads, ends, strict=True):
        if v.const is not None or f.start(head) != f.start(v):
            copy(f, f.start(head), v)
    f.depth -= 1
    f.say("}")
    f.depth -= 1
    f.say("}")


ROWS: dict[str, Row] = {
    **dict.fromkeys(POINTWISE, pointwise),
    "argmax": argmax, "argsort": argsort, "concat": concat, "conv2d_dx": convolution,
    "conv2d_nd": convolution, "take_along_axis": take_along_axis,
    "cumsum": in_rows, "log_softmax": in_rows, "softmax": in_rows, "matmul_nd": matmul,
    "one_hot": one_hot, "put": put, "repeat": repeat, "reshape": reshape, "slice": cut,
    "take": take, "transpose": transpose, **dict.fromkeys(REDUCED, reduce),
}  # fmt: skip
OPERATIONS = frozenset(ROWS)
