"""How a plan prints: a row a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ops.conv import multiply_adds
from ..trace.record import Call, Value
from .roofline import limits, times

if TYPE_CHECKING:
    from . import Plan


def flops(call: Call) -> int:
    """Multiplications and additions of the matrix products and the convolutions of a call."""
    places = call.primitive.traits.convolution
    if places is not None:
        x, w, y = ((*call.args, *call.outs)[i].shape for i in places)
        return 2 * multiply_adds(x, w, y, call.static["window"])
    return sum(2 * product.outs[0].size * product.args[0].shape[-1] for product in call.products)


def traffic(call: Call) -> int:
    """Bytes that a call must at least read and write."""
    values = [v for v in (*call.args, *call.outs, *call.mutated) if isinstance(v, Value)]
    return sum(v.size * v.dtype.itemsize for v in values)


def table(plan: Plan) -> str:
    """Call, shapes, GFLOP, MB, microseconds, percent of this machine's limit, and the line.

    The limit is the longer of the time for the arithmetic at the best rate met and the time for
    the bytes at the bandwidth of memory. A convolution that multiplies less than its formula, which
    GFLOP counts, may be above 100 %. "cache" stands where memory is no limit: the bytes of the call
    fit into a cache, or came faster than memory gives them.
    """
    head = ("call", "shapes", "GFLOP", "MB", "us", "limit", "line")
    rows: list[tuple[str, ...]] = [head]
    best = limits()  # of the processor, also where a device computes
    seconds = times(plan)
    products = [i for i, b in enumerate(plan.bound) if b.call.primitive.traits.convolution is None]
    peak = max([best.gflops, *(flops(plan.bound[i].call) / 1e9 / seconds[i] for i in products)])
    total = 0.0
    for bound, second in zip(plan.bound, seconds, strict=True):
        call = bound.call
        inputs = " ".join(v.text() for v in call.args if isinstance(v, Value))
        outs = " ".join(v.text() for v in call.outs)
        gflop = flops(call) / 1e9
        computing, moving = gflop / peak, traffic(call) / 1e9 / best.gbytes
        cache = moving > computing and (moving > second or traffic(call) <= best.cached)
        at_least = computing if cache else max(computing, moving)
        total += at_least
        mark = "" if bound.kernel is not None else " *" if bound.allocates else " ."
        rows.append((
            _cut(call.name) + mark, f"{inputs} -> {outs}"[:70], f"{gflop:.4f}" if gflop else "",
            f"{traffic(call) / 1e6:.3f}", f"{second * 1e6:.1f}",
            "cache" if cache else f"{at_least / second:.0%}", _short(call.line),
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
    lines.append(
        f"{sum(seconds) * 1e3:.2f} ms in calls, timed in their place; {total * 1e3:.2f} ms at the "
        f"limits of this machine, {peak:.0f} GFLOP/s and {best.gbytes:.1f} GB/s from memory"
    )
    return "\n".join(lines)


def _cut(name: str) -> str:
    """A name of many operations as its first ones."""
    return name if len(name) <= 32 else f"{name[:31]}…"


def _short(line: Any) -> str:
    """The last parts of a path."""
    return "/".join(str(line).split("/")[-2:])
