"""The first result that is not finite: where it was made, of what, and why.

NaN and infinity have few causes: a logarithm or a division at 0, a number too large for its dtype,
infinity times 0. Which one it was stands in the operands at the place of the first such result. In
a backward pass the cause is often a branch that a `where` did not select: its cotangent is 0, its
slope infinite, and 0 * inf is NaN.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from .callsite import place
from .events import Observer, state, watching
from .graph import Node, reachable
from .spelling import called
from .tensor import Tensor

KINKS = "see examples/steps/06_kinks.py"


def finite_checks(strict: bool = True) -> watching:
    """Within the block, the first operation whose result is not finite raises an error.

    FloatingPointError names the operation, the line of your code that called it (or, in a
    backward pass, the line whose gradient was being computed), the tensors it was given, and why
    the result is not finite. Every result is inspected, so the block runs several times slower.
    Compiled functions that are called within it run as they stand.

    Args:
        strict: any result counts. Otherwise only one that reaches the start of a backward pass, a
            gradient or a weight: what a `where` did not select is let pass.

    Raises:
        RuntimeError: the block is within a compiled function, whose replays inspect nothing.
    """
    return watching(FiniteChecks(strict))


class FiniteChecks(Observer):
    """Refuses the first result that is not finite; see finite_checks."""

    every_operation = True

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict
        self._wheres: dict[Node, str] = {}  # those that this pass went through: their lines
        self._held: dict[int, tuple[Any, str]] = {}  # by array: what its error would say

    def called(
        self, operation: Any, args: tuple[Any, ...], static: dict[str, Any], out: Any
    ) -> None:
        node = state.pulling
        if node is None:
            self._wheres.clear()
        elif node.primitive is not None and node.primitive.name == "where":
            self._wheres.setdefault(node, node.line or "")
        results = list(out) if isinstance(out, tuple) else [out]
        results += [
            x.data for a, x in zip(operation.args, args, strict=False) if a in operation.mutates
        ]
        for result in results:
            bad = result.size - int(np.sum(np.isfinite(result)))
            if bad:
                known = self._cause(args)
                text = known if known and node is None else self._words(
                    operation, args, result, bad, known
                )  # fmt: skip
                if self.strict or node is not None or operation.mutates:
                    raise FloatingPointError(text)
                self._hold(result, text)

    def _hold(self, result: Any, text: str) -> None:
        key = id(result)
        self._held[key] = weakref.ref(result, lambda _: self._held.pop(key, None)), text

    def walking_back(self, outputs: Any, targets: Any, fills: bool, create_graph: bool) -> None:
        text = self._cause(tuple(outputs))
        if text:
            raise FloatingPointError(text)

    def _cause(self, args: tuple[Any, ...]) -> str:
        """What is known of an argument that was not finite when it was made."""
        known = (self._held.get(id(x.data)) for x in args if isinstance(x, Tensor))
        return next((text for alive, text in filter(None, known) if alive() is not None), "")

    def _words(
        self, operation: Any, args: tuple[Any, ...], result: Any, bad: int, known: str
    ) -> str:
        words = [_summary(_argument(operation, i), x) for i, x in enumerate(args)]
        node = state.pulling
        line = f"called at {place()}"
        if node is not None and node.primitive is not None:
            made = f" made at {node.line}" if node.line else ""
            line = f"in the gradient of {called(node.primitive.name)}{made}"
        text = (
            f"{called(operation.name)}, {line}: {bad} of {result.size} results are not "
            f"finite; it was given {'; '.join(words)}"
        )
        return f"{text}. Why: {verdict(operation, args, result, node, self._wheres, known)}"


def _argument(operation: Any, i: int) -> str:
    """The name of an argument, in the words of a person."""
    ours = {"guarded_div": ("gradient", "divisor"), "guarded_mul": ("gradient", "slope")}
    return ours[operation.name][i] if operation.name in ours else operation.arg(i)


def _summary(name: str, x: Any) -> str:
    if not isinstance(x, Tensor):
        return f"{name} = {x!r}"
    label = f" (parameter {x.name!r})" if x.name else ""
    values = x.numpy()
    if values.size == 1:
        return f"{name}{label} {x.shape} {x.dtype} = {values.item():.4g}"
    finite = values[np.isfinite(values)]
    span = f"from {finite.min():.4g} to {finite.max():.4g}" if finite.size else "none finite"
    bad = values.size - finite.size
    return f"{name}{label} {x.shape} {x.dtype}, {span}" + (f", {bad} not finite" if bad else "")


# ---- why -----------------------------------------------------------------------------------------


def verdict(
    operation: Any, args: tuple[Any, ...], out: Any, node: Node | None, wheres: dict[Node, str],
    known: str = "",
) -> str:  # fmt: skip
    """Why an operation gave a result that is not finite, in one sentence.

    Args:
        node: where a backward pass is, or None.
        wheres: the nodes of `where` that the pass went through, and their lines.
        known: what is known of an argument that was not finite when it was made.
    """
    arrays = [x.numpy() if isinstance(x, Tensor) else np.asarray(x) for x in args if x is not None]
    operands = _operands(operation, arrays, np.asarray(_host(out, args)))
    name = operation.name
    if node is not None:
        if name in ("guarded_div", "guarded_mul") and operands is not None:
            return _slope(node, operands, name)
        if 0 in (operands or ()) and any(not np.isfinite(v) for v in operands or ()):
            return _zero_times(operands, node, wheres)
    elif name in _CAUSES and operands is not None:
        found = _CAUSES[name](*operands)
        if found:
            return found
    bad = [i for i, a in enumerate(arrays) if a.dtype.kind == "f" and not np.isfinite(a).all()]
    if bad and known:
        return known
    if bad:
        which = _argument(operation, bad[0])
        held = args[bad[0]] if bad[0] < len(args) else None
        label = f"parameter {held.name!r}" if isinstance(held, Tensor) and held.name else which
        return (
            f"{label} held NaN or infinity already: no operation made it while this watched; look "
            "at the data, at what was loaded, and at the step before"
        )
    if np.isnan(out).any():
        return f"no number is the result of {called(name)} of these"
    most = np.finfo(out.dtype).max
    return (
        f"the result is above {most:.1e}, the largest {out.dtype}: numbers have grown too large; "
        "take a smaller learning rate or smaller weights, or scale the inputs"
    )


def _host(out: Any, args: tuple[Any, ...]) -> Any:
    """An array as NumPy's."""
    backend = next((x.backend for x in args if isinstance(x, Tensor)), None)
    return out if backend is None else backend.to_host(out)


def _operands(operation: Any, arrays: list[Any], out: Any) -> list[float] | None:
    """The operands of the first element that is not finite, of what works element by element."""
    if not operation.traits.pointwise:
        return None
    at = np.unravel_index(int(np.argmin(np.isfinite(out))), out.shape)
    try:
        return [np.broadcast_to(a, out.shape)[at].item() for a in arrays]
    except ValueError:
        return None


def _slope(node: Node, operands: list[float], name: str) -> str:
    """An infinite slope, that of the operation whose gradient is computed."""
    who = called(node.primitive.name) if node.primitive is not None else "it"
    g, other = operands
    if not np.isfinite(g):
        return f"the gradient that arrives at {who} is {g:g} already"
    if not np.isfinite(other) or other == 0:
        cure = {
            "sqrt": "add a small number under the root, sqrt(x + 1e-12)",
            "div": "add a small number to the divisor",
        }.get(who, f"keep the argument of {who} away from that place")
        where = "0" if name == "guarded_div" and other == 0 else "that place"
        return f"the slope of {who} at {where} is infinite; {cure} ({KINKS})"
    return f"the slope of {who} there is larger than its dtype holds; {KINKS}"


def _zero_times(operands: Any, node: Node, wheres: dict[Node, str]) -> str:
    """0 * inf in a rule: from which branch the 0 came."""
    infinite = next(v for v in operands if not np.isfinite(v))
    shown = "NaN" if np.isnan(infinite) else "inf"
    before = _unselected(node, wheres)
    if before is None:
        return (
            f"0 * {shown}: a gradient of 0 meets an infinite slope; let where choose the argument, "
            f"f(where(mask, x, 1)) ({KINKS})"
        )
    at = f" at {wheres[before]}" if wheres[before] else ""
    return (
        f"0 * {shown}: from the branch of where{at} that was not selected; guard its argument: "
        f"where(mask, f(where(mask, x, 1)), 0) ({KINKS})"
    )


def _unselected(node: Node, wheres: dict[Node, str]) -> Node | None:
    """The nearest `where` that the result of this node went into."""
    start = state.first
    if start is None:
        return None
    made_of = {node}
    for later in reversed(reachable([start])):  # in the order in which they were made
        if not made_of.isdisjoint(later.parents):
            if later in wheres:
                return later
            made_of.add(later)
    return None


def _log(x: float) -> str:
    if not np.isfinite(x):
        return ""
    what = "log of 0 is -inf" if x == 0 else f"there is no log of {x:.4g}, a negative number"
    return (
        f"{what}; keep the argument above 0, log(maximum(x, 1e-6)), or let where choose it, "
        f"log(where(x > 0, x, 1)) ({KINKS})"
    )


def _sqrt(x: float) -> str:
    if not x < 0:
        return ""
    return f"there is no root of {x:.4g}, a negative number; keep the argument at 0 or above"


def _div(x: float, y: float) -> str:
    if y != 0 or not np.isfinite(x):
        return ""
    return f"{x:.4g} / 0; add a small number to the divisor, or let where choose it ({KINKS})"


def _exp(x: float) -> str:
    if not np.isfinite(x):
        return ""
    return (
        f"exp of {x:.4g} is above the largest float (88.7 is the end for float32); keep the "
        "argument small, or subtract the largest first, as softmax and logsumexp do"
    )


def _mul(x: float, y: float) -> str:
    if 0 not in (x, y) or np.isfinite(x + y):
        return ""
    what = f"0 * {x + y:g}: a mask multiplies what is not finite"
    return f"{what}; where(mask, x, 0) selects ({KINKS})"


def _apart(x: float, y: float) -> str:
    return "inf - inf" if np.isinf(x) and np.isinf(y) else ""


def _power(x: float, y: float | None = None) -> str:
    if x == 0:
        return f"0 to a negative power is 1 / 0; keep the base above 0 ({KINKS})"
    return f"{x:.4g}, a negative number, to a fractional power has no value" if x < 0 else ""


_CAUSES: dict[str, Callable[..., str]] = {
    "log": _log, "sqrt": _sqrt, "div": _div, "exp": _exp, "mul": _mul, "add": _apart,
    "sub": _apart, "power_n": _power, "power_xy": _power,
}  # fmt: skip
