"""What may be chosen when a file draws: the number of turns of a loop, a number in a formula.

    graph, fixed = free(graph, draw, {"steps": 8, "guidance": 2.0}, others)

A drawing is recorded for three values of each setting. Where all that differs between them is the
turns of loops, each a v + b of the value v, and single numbers, each p + q v or p + q / v, the
setting becomes an argument of the graph, and these are computed from it. A setting that changes
more than that stays fixed, and it is said why.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tensor import Tensor
from .graph import SIZES, Graph, Op, Refused, Turns, Var, at, once
from .record import LOOP

EXACT = 1e-9  # relative error of a number that is said to be a formula


@dataclass(frozen=True)
class Formula:
    """A number of the drawing as a setting has it: p + q v, or p + q / v."""

    p: float
    q: float
    over: bool

    def __call__(self, v: float) -> float:
        return self.p + (self.q / v if self.over else self.q * v)


Drawing = Callable[..., Any]  # of tensors, with the settings by name


def free(
    graph: Graph, draw: Drawing, inputs: Sequence[Tensor], values: Mapping[str, Sequence[float]],
    who: str = "record",
) -> tuple[dict[str, Var], dict[str, str]]:  # fmt: skip
    """Make settings arguments of the graph, which is changed.

    Args:
        graph: of the drawing with the first value of each setting; not simplified yet.
        draw: the drawing.
        inputs: its arguments for a batch of the first of graph.SIZES.
        values: of each setting three values, whole numbers or others, all of one kind.
        who: whom a refusal speaks for.

    Returns:
        The arguments by name, and why each other setting is none, by name.
    """
    base = {name: three[0] for name, three in values.items()}

    def lists(settings: Mapping[str, float]) -> list[Any]:
        return list(_places(once(lambda *x: draw(*x, **settings), inputs, (), who)))

    # The graph is that recording; sizes in it are of any batch.
    first = [(op, what, at(option, SIZES[0])) for op, what, option in _places(graph)]
    fixed: dict[str, str] = {}
    found = _together(values, first, lists) if len(values) > 1 else None
    if found is None:
        found = {}
        for name, three in values.items():
            try:
                others = [lists({**base, name: v}) for v in three[1:]]
                found[name] = _differences(name, three, [first, *others])
            except (Refused, RuntimeError, ValueError) as error:
                fixed[name] = str(error)
    met = [place for places in found.values() for place in places]
    both = {place for place in met if met.count(place) > 1}
    for name in [name for name, places in found.items() if both.intersection(places)]:
        del found[name]
        fixed[name] = f"{who}: a number of the drawing depends on {name} and on another setting"
    made = {
        name: Var((), "int64" if isinstance(base[name], int) else "float32", name=name)
        for name in found if found[name]
    }  # fmt: skip
    _put_in(graph, {place: (made[n], f) for n in made for place, f in found[n].items()})
    graph.inputs += made.values()
    return made, fixed | {n: f"{who}: nothing depends on {n}" for n in found if n not in made}


def _together(
    values: Mapping[str, Sequence[float]], first: Any, lists: Callable[[Any], Any]
) -> dict[str, dict[int, Any]] | None:
    """What differs for each setting, from two recordings in which all of them have other values.

    None where one of them is no formula, or where it is not clear which setting a number is of.
    """
    found: dict[str, dict[int, Any]] = {name: {} for name in values}
    try:
        others = [lists({name: three[k] for name, three in values.items()}) for k in (1, 2)]
        if len({len(first), *map(len, others)}) > 1:
            return None
        for k, met in enumerate(zip(first, *others, strict=True)):
            op, what, _ = met[0]
            options = [each[2] for each in met]
            if all(_same(options[0], other) for other in options[1:]):
                continue
            of = {name: _found(op, what, three, options) for name, three in values.items()}
            names = [name for name, made in of.items() if made is not None]
            if len(names) != 1:
                return None
            found[names[0]][k] = of[names[0]]
    except (Refused, RuntimeError, ValueError):
        return None
    return found


def _places(graph: Graph) -> Iterator[tuple[Op, str | int, Any]]:
    """All that a setting may change, in the order in which it is met: of an operation its name,
    its options, and its arguments."""
    for op in graph.every():
        yield op, "name", (op.name, len(op.args), len(op.outs))
        for key, option in op.static.items():
            yield op, key, option
        for k, v in enumerate(op.args):
            yield op, k, None if v is None else v.const


def _differences(name: str, three: Sequence[float], met_in: Sequence[Any]) -> dict[int, Any]:
    """What differs, by its place in the lists, as Turns without its setting, or a Formula."""
    found: dict[int, Any] = {}
    for k, met in enumerate(zip(*met_in, strict=False)):
        op, what, _ = met[0]
        options = [each[2] for each in met]
        if what == "name" and len(set(options)) > 1:
            raise Refused(f"{_place(op)}: {op.name} is not done for every {name}")
        if all(_same(options[0], other) for other in options[1:]):
            continue
        made = _found(op, what, three, options)
        if made is None:
            raise Refused(
                f"{_place(op)}: {op.name} has something else for each {name}, and it is no number "
                f"p + q {name} or p + q / {name}"
            )
        found[k] = made
    if len({len(each) for each in met_in}) > 1:
        raise Refused(f"the drawing has other operations for each {name}")
    return found


def _found(op: Op, what: str | int, three: Sequence[float], options: Sequence[Any]) -> Any:
    """Turns without their setting, a Formula, or None."""
    if (op.name, what) == (LOOP.name, "n"):
        return _turns(three, options)
    return _formula(three, options) if isinstance(what, int) else None


def _place(op: Op) -> str:
    """The file and line without folders: this goes into files that are given away."""
    return os.path.basename(op.line)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return repr(a) == repr(b)


def _turns(three: Sequence[float], counts: Sequence[int]) -> tuple[int, int] | None:
    a, rest = divmod(counts[1] - counts[0], three[1] - three[0])
    b = counts[0] - a * three[0]
    good = not rest and all(a * v + b == n for v, n in zip(three, counts, strict=True))
    return (int(a), int(b)) if good else None


def _formula(three: Sequence[float], consts: Sequence[Any]) -> Formula | None:
    if any(c is None or c.shape for c in consts):
        return None
    numbers = [float(c) for c in consts]
    for over in (False, True):
        if over and 0 in three:
            continue
        x = [1 / v if over else v for v in three]
        q = (numbers[1] - numbers[0]) / (x[1] - x[0])
        p = numbers[0] - q * x[0]
        p, q = (float(np.format_float_positional(k, 12, fractional=False)) for k in (p, q))
        found = Formula(0.0 if abs(p) < EXACT * abs(q) else p, q, over)
        scale = EXACT * max(map(abs, numbers))
        if all(abs(found(v) - n) <= scale for v, n in zip(three, numbers, strict=True)):
            return found
    return None


def _put_in(graph: Graph, made: Mapping[int, tuple[Var, Any]]) -> None:
    """Let what differs be computed, before all else."""
    head: list[Op] = []
    known: dict[Any, Var] = {}

    def of(name: str, *args: Any, **static: Any) -> Var:
        vs: list[Var | None] = [
            a if isinstance(a, Var) else Var((), "float32", np.array(a)) for a in args
        ]
        out = Var((), static.get("dtype", "float32"))
        head.append(Op(name, vs, static, [out]))
        return out

    for k, (op, what, _) in list(enumerate(_places(graph))):
        if k not in made:
            continue
        setting, formula = made[k]
        if not isinstance(formula, Formula):
            op.static["n"] = Turns(setting, *formula)
            continue
        assert isinstance(what, int)
        old: Any = op.args[what]
        key = (setting, formula, old.dtype)
        if key not in known:
            v = known.get(setting, setting)
            if v.dtype != "float32":
                v = known[setting] = of("cast", setting, dtype="float32")
            x = of("div", formula.q, v) if formula.over else of("mul", v, formula.q)
            x = of("add", x, formula.p) if formula.p else x
            known[key] = x if old.dtype == "float32" else of("cast", x, dtype=old.dtype)
        op.args[what] = known[key]
    graph.ops = head + graph.ops
