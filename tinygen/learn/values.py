"""What an answer shows, as plain lists that cross to another process, and what differs in it.

Plain is ["none"], ["truth", v], ["number", v], ["text", v], ["array", kind, shape, dtype, values]
(kind "tensor" or "array"), ["list", items], ["dict", {key: item}], and ["other", name of a type].
Works without NumPy, too.
"""

from __future__ import annotations

import math
import sys
from itertools import islice
from typing import Any

MOST = 20_000  # elements of an array that are looked at, and items of a list
DEPTH = 6
Plain = list[Any]


def plain(value: Any, depth: int = 0) -> Plain:
    """Any object, as lists of numbers and texts; never raises for a strange one."""
    if value is None:
        return ["none"]
    if isinstance(value, bool):
        return ["truth", bool(value)]
    if isinstance(value, (int, float)):
        try:
            return ["number", float(value)]
        except OverflowError:
            return ["other", "an integer too large for a float"]
    if isinstance(value, str):
        return ["text", str(value)[:500]]
    if depth < DEPTH and isinstance(value, (list, tuple)):
        return ["list", [plain(v, depth + 1) for v in islice(iter(value), MOST)]]
    if depth < DEPTH and isinstance(value, dict):
        items = list(islice(value.items(), MOST))
        return ["dict", {str(k)[:100]: plain(v, depth + 1) for k, v in items}]
    return _array(value) or ["other", type(value).__name__]


def _array(value: Any) -> Plain | None:
    """A tensor or an array; None for anything else."""
    np, tinygen = sys.modules.get("numpy"), sys.modules.get("tinygen")
    kind = "array"
    if tinygen is not None and isinstance(value, tinygen.Tensor):
        kind, value = "tensor", value.numpy()
    if np is None or not isinstance(value, (np.ndarray, np.generic)):
        return None
    if value.dtype.kind not in "fiub":
        return ["other", f"an array of {value.dtype}"]
    flat = value.reshape(-1)[:MOST].astype(float).tolist()
    return ["array", kind, list(value.shape), str(value.dtype), flat]


def shown(value: Plain) -> str:
    """Plain things in words, short."""
    kind = value[0]
    if kind == "array":
        shape, numbers = tuple(value[2]), value[4]
        if not shape:
            return f"{numbers[0]:.6g}"
        few = ", ".join(f"{v:.4g}" for v in numbers[:6])
        return f"[{few}{', ...' if len(numbers) > 6 else ''}] of shape {shape}"
    if kind == "list":
        few = ", ".join(shown(v) for v in value[1][:4])
        return f"({few}{', ...' if len(value[1]) > 4 else ''})"
    if kind == "dict":
        return "{" + ", ".join(f"{k}: {shown(v)}" for k, v in list(value[1].items())[:4]) + "}"
    if kind == "number":
        return f"{value[1]:.6g}"
    return {"none": "None", "text": repr(value[-1]), "truth": str(value[-1])}.get(
        kind, str(value[-1])
    )


def named(value: Plain) -> str:
    """What kind of thing it is, with an article."""
    if value[0] == "array":
        return f"{'a tensor' if value[1] == 'tensor' else 'an array'} of shape {tuple(value[2])}"
    names = {
        "none": "None", "truth": "True or False", "number": "a number", "text": "a text",
        "list": "a list or tuple", "dict": "a dict",
    }  # fmt: skip
    return names.get(value[0], str(value[-1]))


def _near(a: float, b: float, tolerance: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or (abs(a - b) <= tolerance * (1 + abs(b)) and not math.isinf(b))


def difference(got: Plain, want: Plain, tolerance: float | None = None) -> str:
    """How `got` differs from `want`, in words; "" where it does not."""
    got = _as_wanted(got, want)
    if got[0] != want[0] or (got[0] == "array" and got[1] != want[1]):
        less = "; is a `return` missing?" if got[0] == "none" else ""
        return f"{named(got)}, expected {named(want)}{less}"
    if want[0] == "array":
        return _arrays(got, want, tolerance)
    if want[0] == "list":
        if len(got[1]) != len(want[1]):
            return f"{len(got[1])} items, expected {len(want[1])}"
        pairs = [(f"item {i + 1}", g, w) for i, (g, w) in enumerate(zip(got[1], want[1]))]  # noqa: B905
    elif want[0] == "dict":
        if missing := [k for k in want[1] if k not in got[1]]:
            return f"{missing[0]!r} is missing"
        pairs = [(k, got[1][k], w) for k, w in want[1].items()]
    else:
        near = _near(got[1], want[1], tolerance or 1e-7) if want[0] == "number" else got == want
        return "" if near else f"{shown(got)}, expected {shown(want)}"
    for name, g, w in pairs:
        if text := difference(g, w, tolerance):
            return f"{name}: {text}"
    return ""


def _as_wanted(got: Plain, want: Plain) -> Plain:
    """A number out of an array with none axis, where a number is wanted."""
    if want[0] == "number" and got[0] == "array" and not got[2]:
        return ["number", got[4][0]]
    if want[0] == "array" and want[1] == "array" and not want[2] and got[0] == "number":
        return ["array", "array", [], want[3], [got[1]]]
    return got


def _arrays(got: Plain, want: Plain, tolerance: float | None) -> str:
    if got[2] != want[2]:
        return f"shape {tuple(got[2])}, expected {tuple(want[2])}"
    if got[3] != want[3] and "float" in want[3]:
        return f"{got[3]}, expected {want[3]}"
    within = tolerance or (1e-4 if want[3] in ("float32", "float16") else 1e-7)
    bad = [i for i, (g, w) in enumerate(zip(got[4], want[4])) if not _near(g, w, within)]  # noqa: B905
    if not bad:
        return ""
    place, rest = [], bad[0]
    for size in reversed(want[2]):
        place.append(rest % size)
        rest //= size
    where = f" at {list(reversed(place))}" if place else ""
    count = f" ({len(bad)} of {len(want[4])} differ)" if len(want[4]) > 1 else ""
    return f"{got[4][bad[0]]:.6g}{where}, expected {want[4][bad[0]]:.6g}{count}"
