"""How a plan prints: a row a call."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .record import Call, Value

if TYPE_CHECKING:
    from . import Plan


def flops(call: Call) -> int:
    """Multiplications and additions of the matrix products of a call."""
    inner = call.fused.product if call.fused is not None else call
    if inner is None or inner.primitive.name != "matmul_nd":
        return 0
    x, y = inner.args[:2]
    batch = math.prod(inner.outs[0].shape[:-2])
    return int(2 * batch * x.shape[-2] * x.shape[-1] * y.shape[-1])


def traffic(call: Call) -> int:
    """Bytes that a call must at least read and write."""
    values = [v for v in (*call.args, *call.outs, *call.mutated) if isinstance(v, Value)]
    return sum(v.size * v.dtype.itemsize for v in values)


def table(plan: Plan) -> str:
    """Call, shapes, GFLOP, MB, and where the user wrote it."""
    rows: list[tuple[str, ...]] = [("call", "shapes", "GFLOP", "MB", "line")]
    for bound in plan.bound:
        call = bound.call
        inputs = " ".join(v.text() for v in call.args if isinstance(v, Value))
        outs = " ".join(v.text() for v in call.outs)
        gflop = flops(call) / 1e9
        mark = "" if bound.kernel is not None else " *" if bound.allocates else " ."
        rows.append((
            call.name + mark, f"{inputs} -> {outs}"[:70], f"{gflop:.4f}" if gflop else "",
            f"{traffic(call) / 1e6:.3f}", _short(call.line),
        ))  # fmt: skip
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    kernels = sum(b.kernel is not None for b in plan.bound)
    lines.append(
        f"{plan.recorded} operations recorded, {len(plan.calls)} calls, {kernels} by kernels; "
        f"temporaries {plan.arena_bytes / 1e6:.2f} MB in the arena "
        f"({plan.total_bytes / 1e6:.2f} without reuse); "
        "'.' runs on NumPy, '*' also allocates"
    )
    return "\n".join(lines)


def _short(line: Any) -> str:
    """The last parts of a path."""
    return "/".join(str(line).split("/")[-2:])
