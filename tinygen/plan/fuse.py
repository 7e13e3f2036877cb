"""Fusion: chains of elementwise operations become one loop, or the end of a matrix product.

A group is a set of elementwise calls of one shape. It runs where its last member stood, so no call
in between may read what a member made, and none may change what a member reads. What only members
read never reaches memory. products.py joins groups to matrix products.

The loop is generated, readable Numba source: `print(step.plan.source())`.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..backend import Backend, numba_compiles
from ..lines import line
from ..signals import import_whole
from ..trace.record import Call, Storage, Value


def available(backend: Backend) -> bool:
    """Whether loops can be compiled here."""
    return backend.name != "numpy" or numba_compiles()


@dataclass(eq=False)
class Fusion:
    """What a call that stands for several computes: elementwise `members`, after a `product`.

    Attributes:
        members: the calls, in order.
        inputs: the values that members read and no member makes.
        outputs: the values that members make and others read.
        grid: rows and columns over which inputs are spread; members may reshape what is not.
        product: the matrix product whose blocks the members run on, or None.
    """

    members: list[Call]
    inputs: list[Value]
    outputs: list[Value]
    grid: tuple[int, int]
    product: Call | None = None
    source: str = ""
    mutated: tuple[Value, ...] = ()  # nothing

    @property
    def names(self) -> list[str]:
        """The operations it computes."""
        first = [] if self.product is None else [self.product]
        return [call.primitive.name for call in (*first, *self.members)]

    @property
    def products(self) -> list[Call]:
        """The matrix products among them."""
        return [] if self.product is None else [self.product]

    def __str__(self) -> str:
        return "+".join(self.names)

    def program(self) -> tuple[Any, tuple[int, ...]]:
        """The members as lines of the generator, and which lines are stored."""
        place: dict[Any, Any] = {key: ("in", i) for i, key in enumerate(_inputs(self.members))}
        lines: list[Any] = []
        for i, call in enumerate(self.members):
            out = call.outs[0]
            operands = tuple(place[_read(v, out)] if isinstance(v, Value) else v for v in call.args)
            lines.append(line(call.primitive, operands, call.static))
            place[_read(out, out)] = ("line", i)
        stored = tuple(place[_read(v, v)][1] for v in self.outputs)
        return tuple(lines), stored

    def loop(self, arrays: list[Any], outs: list[Any], backend: Backend) -> Any:
        """The generated loop on its memory."""
        shape = self._shape()
        inputs, spreads = [], {}
        for i, (a, (_, spread)) in enumerate(zip(arrays, _inputs(self.members), strict=True)):
            if spread in PLAIN:
                inputs.append(_as_grid(a, shape))
            else:
                inputs.append(a)
                spreads[i] = tuple(spread)
        flat = [a.reshape(shape) for a in outs[: len(self.outputs)]]
        program, stored = self.program()
        loops = import_whole(backend.loops)
        how = {"spreads": spreads} if spreads else {}
        made = loops.fused(program, stored, inputs, flat, **how)
        if made is NotImplemented:
            raise RuntimeError(f"compile: no loop for {self}: {program}")
        self.source = made.source
        return made

    def bind(self, arrays: list[Any], outs: list[Any], backend: Backend) -> Any:
        """The kernel on its memory."""
        if self.product is not None:  # on a device; products.join takes the others
            ends = importlib.import_module("tinygen_kernels.cuda.epilogue")
            grids = [_as_grid(a, self.grid) for a in arrays[2:]]
            made = ends.hosted(*arrays[:2], *self.program(), grids, outs[:-1], outs[-1])
            self.source = made.launches[-1].source.code
            return made
        loops = import_whole(backend.loops)
        return loops.elementwise_call(self.loop(arrays, outs, backend), *self._shape())

    def _shape(self) -> tuple[int, int]:
        """Rows and columns of the loop: one long row where nothing is spread over rows."""
        size = self.outputs[0].size
        if self.product is None and all(_flat(v, size) for v in self.inputs):
            return (1, size)
        return self.grid


def position(v: Value) -> tuple[Any, ...]:
    """What says that two values hold the same elements in the same order: reshapes do."""
    if v.contiguous:
        return (v.storage, v.offset, v.size)
    return (v.storage, v.offset, v.shape, v.strides)


def grid(v: Value) -> tuple[int, int]:
    """The rows and columns of a value: all axes but the last, and the last."""
    if not v.shape:
        return (1, 1)
    return (math.prod(v.shape[:-1]), v.shape[-1])


def _as_grid(array: Any, shape: tuple[int, int]) -> Any:
    """An input as the generator takes it: of two axes, or a single element."""
    if array.size == shape[0] * shape[1]:
        return array.reshape(shape)
    return array.reshape(-1, array.shape[-1]) if array.ndim > 2 else array


# ---- how an argument is spread over the result ---------------------------------------------------


class Spread(NamedTuple):
    """Where in an input the numbers for row r of the result begin:

        r // outer * far + r // inner % cycle * near

    Of (n, 1, g, 1) over (n, p, g, k), outer = p g, far = g, inner = 1, cycle = g, near = 1.
    """

    outer: int
    far: int
    inner: int
    cycle: int
    near: int
    wide: bool  # whether there is a number for each column, else one for the row


ROW, COLUMN = Spread(1, 0, 1, 1, 0, True), Spread(1, 1, 1, 1, 0, False)
PLAIN = (None, ROW, COLUMN)  # what generated loops of all backends take


def _spread(v: Value, out: Value) -> Spread | None:
    """How a value of more than one element is spread over the result's rows: it is smaller, or a
    part of another array, whose rows lie apart.

    None where that takes more than the numbers above: more than two runs of axes with steps.
    """
    item, lead = v.dtype.itemsize, len(out.shape) - len(v.shape)
    apart = [0 if n == 1 else t // item for n, t in zip(v.shape, v.strides, strict=True)]
    steps = [0] * lead + apart
    runs: list[tuple[int, int]] = []  # neighbouring axes of rows as one: how many, how far apart
    for n, step in zip(out.shape[:-1], steps[:-1], strict=True):
        if runs and n != 1 and runs[-1][1] == n * step:
            runs[-1] = (runs[-1][0] * n, step)
        elif n != 1:
            runs.append((n, step))
    moving = [i for i, (_, step) in enumerate(runs) if step]
    first, last = (moving[0], moving[-1]) if moving else (0, 0)
    if steps[-1] not in (0, 1) or len(moving) > 2 or (len(moving) == 2 and first):
        return None
    outer, far, inner, cycle, near = 1, 0, 1, 1, 0
    below = [math.prod(n for n, _ in runs[i + 1 :]) for i in range(len(runs))]
    if moving and first == 0:
        outer, far = below[0], runs[0][1]
    if moving and last > 0:
        inner, (cycle, near) = below[last], runs[last]
    return Spread(outer, far, inner, cycle, near, steps[-1] == 1)


def _read(v: Value, out: Value) -> tuple[Any, Spread | None]:
    """What says that two arguments are the same input: their elements, and for which of the result
    each is. A vector of a square result may be its rows and its columns."""
    return position(v), None if _flat(v, out.size) else _spread(v, out)


# ---- which calls may be members ------------------------------------------------------------------


def _fits(v: Any, out: Value, spreads: bool) -> bool:
    """Whether an argument is a number, one element, or spread over the out as loops take it."""
    if not isinstance(v, Value) or v.size == 1:
        return True
    if v.size == out.size and v.contiguous:
        return True
    spread = _spread(v, out)
    return spread is not None and (spreads or spread in PLAIN)


def _narrowed(v: Any) -> Any:
    """A value without the axes along which it only repeats; the operation broadcasts it again."""
    if not isinstance(v, Value) or not v.size:
        return v
    shape = tuple(1 if stride == 0 else n for n, stride in zip(v.shape, v.strides, strict=True))
    return replace(v, shape=shape)


def _is_member(call: Call, spreads: bool) -> bool:
    out = call.outs[0]
    if not out.size or not out.contiguous or out.offset:
        return False
    keys = ("key", "base") if call.primitive.traits.draws else ()
    operands = zip(call.primitive.args, call.args, strict=False)
    arrays = [v for name, v in operands if isinstance(v, Value) and name not in keys]
    kinds = {v.dtype.name for v in (*arrays, out)} - {"bool"}
    if len(kinds) != 1 or not kinds <= {"float32", "float64"}:
        return False
    return all(_fits(v, out, spreads) for v in arrays)


# ---- grouping ------------------------------------------------------------------------------------


class _Group:
    """Calls that will run as one, at the place of the last."""

    def __init__(self, shape: tuple[int, int], dtype: str) -> None:
        self.shape = shape
        self.dtype = dtype
        self.places: list[int] = []
        self.makes: dict[Storage, tuple[Any, ...]] = {}  # and how its elements lie
        self.reads: set[Storage] = set()

    def takes(self, call: Call) -> bool:
        """Whether a call reads what members make element by element, never a part or a turn."""
        return all(
            self.makes.get(v.storage) in (None, position(v))
            for v in call.args
            if isinstance(v, Value)
        )

    def admits(self, calls: list[Call], until: int) -> bool:
        """Whether the group may run at place `until`: nothing in between needs it earlier."""
        members = set(self.places)
        for i in range(self.places[0] + 1, until):
            if i in members:
                continue
            if not self.makes.keys().isdisjoint(calls[i].reads()):
                return False
            if not self.reads.isdisjoint(v.storage for v in calls[i].mutated):
                return False
        return True


def _flat(v: Value, size: int) -> bool:
    """Whether a value is one element, or one for each of so many, side by side."""
    return v.size == 1 or (v.size == size and v.contiguous)


def fuse(calls: list[Call], needed: set[Storage], backend: Backend) -> list[Call]:
    """The calls with every group of elementwise ones as a single call."""
    loops = import_whole(backend.loops)
    groups: list[_Group] = []
    of: dict[Storage, _Group] = {}  # which group makes a storage
    home: dict[int, _Group] = {}
    for i, call in enumerate(calls):
        if not call.primitive.traits.pointwise or call.primitive.name not in loops.SERVED:
            continue
        call.args = [_narrowed(v) for v in call.args]
        if not _is_member(call, loops.SPREADS):
            continue
        out = call.outs[0]
        dtype = next(
            v.dtype.name for v in (out, *call.args) if isinstance(v, Value) and v.dtype.kind == "f"
        )
        joined: _Group | None = None
        for v in call.args:
            group = of.get(v.storage) if isinstance(v, Value) else None
            if group is None or group is joined or group.dtype != dtype:
                continue
            # Arguments all as large as the out: any split into rows will do.
            flat = all(_flat(v, out.size) for v in call.args if isinstance(v, Value))
            same = group.shape == grid(out) or (math.prod(group.shape) == out.size and flat)
            if not same or not group.takes(call) or not group.admits(calls, i):
                continue
            if joined is None:
                joined = group
            elif joined.shape == group.shape and _mix(joined, group, calls):
                _absorb(joined, group, of, home)
                groups.remove(group)
        if joined is None:
            joined = _Group(grid(out), dtype)
            groups.append(joined)
        joined.places = sorted([*joined.places, i])
        joined.makes[out.storage] = position(out)
        joined.reads.update(call.reads())
        of[out.storage] = joined
        home[i] = joined
    return _with_groups(calls, groups, home, needed)


def _mix(a: _Group, b: _Group, calls: list[Call]) -> bool:
    """Whether two groups may become one: neither reads a part of what the other makes."""
    return all(a.takes(calls[i]) for i in b.places) and all(b.takes(calls[i]) for i in a.places)


def _absorb(
    group: _Group, other: _Group, of: dict[Storage, _Group], home: dict[int, _Group]
) -> None:
    group.places = sorted(group.places + other.places)
    group.makes |= other.makes
    group.reads |= other.reads
    for storage in other.makes:
        of[storage] = group
    for place in other.places:
        home[place] = group


def _with_groups(
    calls: list[Call], groups: list[_Group], home: dict[int, _Group], needed: set[Storage]
) -> list[Call]:
    readers: dict[Storage, set[int]] = {}
    for i, call in enumerate(calls):
        for storage in call.reads():
            readers.setdefault(storage, set()).add(i)
    out: list[Call] = []
    for i, call in enumerate(calls):
        group = home.get(i)
        if group is None:
            out.append(call)
        elif i == group.places[-1]:
            members = [calls[k] for k in group.places]
            outputs = [
                m.outs[0]
                for m in members
                if m.outs[0].storage in needed
                or not readers.get(m.outs[0].storage, set()) <= set(group.places)
            ]
            inputs = list(_inputs(members).values())
            fusion = Fusion(members, inputs, outputs, group.shape)
            line = members[-1].line
            out.append(Call(call.primitive, list(inputs), {}, list(outputs), line, fusion))
    return out


def _inputs(members: list[Call]) -> dict[Any, Value]:
    """What members read and none makes, by what tells them apart."""
    made = {position(m.outs[0]) for m in members}
    found: dict[Any, Value] = {}
    for m in members:
        for v in m.args:
            if isinstance(v, Value) and position(v) not in made:
                found.setdefault(_read(v, m.outs[0]), v)
    return found
