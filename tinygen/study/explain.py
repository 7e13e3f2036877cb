"""tg.explain: how a number was computed and how its slopes come about, line by line."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..graph import Leaf, reachable
from ..tensor import Tensor
from . import differences
from .folding import Group, arrivals, fold, hidden
from .formula import LOOSE, SUM, references, text
from .recorded import variables_of
from .slopes import back
from .tape import Tape, Variable, listen, nodes

NOT_RUN = (
    "no differences: a graph that was recorded cannot be run again with other values; give the "
    "function, tg.explain(f, x=0.8)"
)


def explain(
    what: Any, /, *of: Any, depth: int | None = None, differences: bool = True, **inputs: Any
) -> Explanation:
    """How a number comes about, and the slope of it with respect to all that it was made from.

        print(tg.explain(lambda x, w, b: (w * x + b).tanh() * x, x=0.8, w=-1.5, b=0.4))
        tg.explain(y, x)                    # of a graph that is there already

    The function runs once; then its calls are done again in float64. The slope of each value is
    what the engine's rules make of it, path by path, with the formula of each rule, and is compared
    with a difference: "agrees", "kink", "too close to a singular point" or "DISAGREES". An array of
    more than 12 elements is compared along one random direction. Generators that the function draws
    from stand afterwards where they stood before.

    Args:
        what: a function of tensors that gives one number (of several results the first is taken),
            or such a number with its graph.
        of: the function's inputs in order; or the tensors whose slopes are wanted, all leaves where
            there is none.
        depth: how many names deep modules are opened; None folds modules so that at most 40 lines
            remain. `e.open(3)` shows the same with another depth.
        differences: False leaves the comparison out, which takes most of the time.
        inputs: numbers, arrays or tensors, by the names of the function's arguments.

    Raises:
        TypeError: an input carries no gradient, or the result is no tensor.
        ValueError: the result is not one number, or depends on no input.
        RuntimeError: the values of a graph were released by a backward pass.
    """
    if isinstance(what, Tensor):
        if inputs:
            raise TypeError(f"explain: {', '.join(inputs)} given by name with a tensor; expected "
                            "explain(y, x), or a function with its inputs")  # fmt: skip
        frame: Any = sys._getframe(1)
        return _of_graph(what, of, frame.f_locals, depth)
    if not callable(what):
        raise TypeError(f"explain: {what!r:.60}; expected a function, or a tensor with a graph")
    given = dict(zip(inspect.signature(what).parameters, of, strict=False)) if of else {}
    given |= inputs
    if not given:
        raise TypeError("explain: no inputs; give them by name: tg.explain(f, x=0.8)")
    with references():
        leaves, y, heard = listen(what, given)
    y = y[0] if isinstance(y, tuple) else y  # of a model's loss: the total
    if not isinstance(y, Tensor):
        raise TypeError(f"explain: the function returned {y!r:.60}; expected a tensor")
    _one_number(y)
    with references():
        tape = Tape(leaves, y, heard.calls)
        known = nodes(tape)
        top: Any = tape.y.tensor
        ends = [v.tensor.node for v in tape.variables if v.leaf and v.tensor is not None]
        back(tape.y, top.node, known, [n for n in ends if n is not None], tape.variables)
    return Explanation(tape.variables, tape.y, tape if differences else None, depth)


def _one_number(y: Tensor) -> None:
    if y.size != 1:
        raise ValueError(
            f"explain: the result has shape {y.shape}; expected one number: write tg.sum(...) or "
            "tg.mean(...) of it"
        )


def _of_graph(
    y: Tensor, of: tuple[Any, ...], around: dict[str, Any], depth: int | None
) -> Explanation:
    """The explanation of what was recorded, with the names of the caller's variables."""
    _one_number(y)
    node = y.node
    if node is None:
        raise ValueError("explain: this tensor has no graph; nothing it was made of requires_grad")
    given = of[0] if of and isinstance(of[0], (list, tuple)) else of
    xs: list[Tensor] = list(given)
    found = [x for x in around.values() if isinstance(x, Tensor)]
    names = {id(x.node): name for name, x in around.items() if isinstance(x, Tensor)}
    leaves = [n for n in reachable([node]) if isinstance(n, Leaf)]
    names |= {id(x.node): x.name for x in (*found, *xs) if x.name}
    names = {k: v for k, v in names.items() if k in {id(n) for n in leaves}}
    met = [x for x in found if any(x.node is n for n in leaves)]
    variables, known = variables_of(y, xs or met, names)
    ends = [x.node for x in xs if x.node is not None] if xs else leaves
    back(known[node], node, known, list(ends))
    return Explanation(variables, known[node], None, depth, NOT_RUN)


class Explanation:
    """What tg.explain found: print it, or leave it as the last line of a notebook's cell.

    Attributes:
        variables: the inputs, the parameters, the results, in this order.
        y: the variable that is explained.
        notes: kinks that were met.
    """

    def __init__(
        self, variables: Sequence[Variable], y: Variable, tape: Tape | None, depth: int | None,
        why: str = "",
    ) -> None:  # fmt: skip
        self.variables, self.y, self.why = list(variables), y, why
        self._tape = tape
        self.notes = differences.notes(tape) if tape is not None else []
        self.open(depth)

    def open(self, depth: int | None = None) -> Explanation:
        """Show modules opened so many names deep; None: as deep as fits 40 lines. Gives itself."""
        self.groups: list[Group] = fold(self.variables, self.y, depth)
        for v in self.slopes():
            if self._tape is not None and not v.verdict:
                differences.check(self._tape, v)
        return self

    def leaves(self) -> list[Variable]:
        """The inputs and the parameters that are shown."""
        found = [v for v in self.variables if v.leaf]
        return [v for v in found if v.given or not hidden(v, self.groups)]

    def slopes(self) -> list[Variable]:
        """The variables whose slopes are shown: from y back to the inputs."""
        inner = [v for group in self.groups[::-1] for v in group.shown if v is not self.y]
        return [v for v in (*inner, *self.leaves()) if v.slope is not None]

    def summary(self) -> str:
        """How many slopes there are, and what the differences say of them."""
        shown = self.slopes()
        many = f"{len(shown)} slope{'s' * (len(shown) != 1)}"
        if self._tape is None:
            return f"{many}; {self.why}" if self.why else many
        count = {w: sum(v.verdict == w for v in shown) for w in differences.WORST}
        words = {differences.KINK: "at a kink"}
        more = [f", {n} {words.get(w, w)}" for w, n in count.items() if n and w != "agrees"]
        return f"{many}, {count[differences.AGREES]} agree with differences" + "".join(more)

    # ---- as text ---------------------------------------------------------------------------------

    def __str__(self) -> str:
        rows, before = [], ""
        for g in self.groups:
            line = g.variables[0].line
            value = short(g.shown[-1].value) if g.shown else ""
            rows.append((self._head(g), self._right(g), value, line if line != before else ""))
            before = line
        lines = ["forward", *_columns(rows)]
        lines.append(f"backward: g(v) is the slope of {self.y.name} with respect to v")
        lines += _columns([row for v in self.slopes() for row in self._back(v)])
        lines += [f"  {note}" for note in self.notes]
        return "\n".join([*lines, self.summary()])

    __repr__ = __str__

    def _head(self, group: Group) -> str:
        return ", ".join(v.name for v in group.shown)

    def _right(self, group: Group) -> str:
        if group.formula is None:
            return f"= {group.label}: {group.count} calls"
        return f"= {text(group.formula)}"

    def _back(self, v: Variable) -> list[tuple[str, ...]]:
        """The rows of a slope: one for each way, and one for their sum."""
        ways = arrivals(v, self.groups)
        head, rows = f"g({v.name})", []
        for k, way in enumerate(ways):
            level = SUM if len(ways) > 1 else LOOSE
            written = way.label if way.formula is None else text(way.formula, level=level)
            through = f"through {way.through}" if len(ways) > 1 else ""
            note = ", ".join(filter(None, [through, way.stretched]))
            left = f"{'+' if k else '='} {written}"
            rows.append([head if not k else "", left, short(way.value), note])
        if len(ways) > 1:
            rows.append(["", f"= {len(ways)} paths", short(v.slope), ""])
        if not ways:  # the result itself, of which no operation was made
            rows.append([head, "= itself", short(v.slope), ""])
        if v.verdict:
            rows[-1][3:] = [rows[-1][3], *said(v)]
        return [tuple(row) for row in rows]

    # ---- in other forms --------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        from .page import tables

        return tables(self)

    def latex(self) -> str:
        """The lines as an align* environment: LaTeX with amsmath."""
        from .latex import align

        return align(self)

    def svg(self) -> str:
        """A drawing of the graph, with the value and the slope of each variable."""
        from .drawing import draw

        return draw(self)

    def save(self, path: Any, title: str = "") -> None:
        """Write one HTML file that opens offline; a path that ends in .svg or .tex gets that."""
        from .page import page

        target = Path(path)
        kinds: dict[str, Callable[[], str]] = {".svg": self.svg, ".tex": self.latex}
        made = kinds.get(target.suffix.lower(), lambda: page(self, title or target.stem))()
        target.write_text(made, encoding="utf-8")


def said(v: Variable) -> tuple[str, str]:
    """The difference and the verdict."""
    if v.along is not None:
        along = f"in a random direction {_digits(v.along)}"
        return f"{along}, difference {_digits(float(v.difference))}", v.verdict
    if v.difference.size > 1 and v.verdict == differences.AGREES:
        return f"differences within {np.max(np.abs(v.difference - v.slope)):.0e}", v.verdict
    return f"difference {short(v.difference).strip()}", v.verdict


def short(values: Any, count: int = 4) -> str:
    """A number with six decimals; of an array the first elements and the shape.

    A sign or a space comes first.
    """
    if values is None:
        return " (not kept)"
    values = np.asarray(values)
    floats = values.dtype.kind == "f"
    if values.ndim == 0:
        out = _digits(values.item()) if floats else str(values.item())
        return out if out.startswith("-") else f" {out}"
    first = ", ".join(f"{v:.4g}" if floats else str(v) for v in values.ravel()[:count].tolist())
    more = ", ..." if values.size > count else ""
    shape = f" {values.shape}" if more or values.ndim > 1 else ""
    return f" [{first}{more}]{shape}"


def _digits(x: float) -> str:
    """Six decimals, without zeros at the end; digits that count where it is small or large."""
    if 1e-4 <= abs(x) < 1e6:
        return f"{x:.6f}".rstrip("0").rstrip(".")
    return f"{x:.6g}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines in columns; a cell that is wider than most moves only what follows it."""
    most = max((len(row) for row in rows), default=0)
    limits, gaps = (24, 48, 26, 12, 24, 20), (2, 1, 2, 3, 3, 2)
    starts = []
    at = 0
    for i in range(most):
        at += gaps[i]
        starts.append(at)
        at += min(limits[i], max((len(row[i]) for row in rows if len(row) > i), default=0))
    lines = []
    for row in rows:
        line = ""
        for i, cell in enumerate(row):
            if cell:
                line = line.ljust(max(starts[i], len(line) + gaps[i] if line else 0)) + cell
        lines.append(line)
    return lines
