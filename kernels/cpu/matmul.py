"""Matrix products: C = A @ B, for any strides, with an elementwise function at the end of a block.

    C[r, l] = sum_k A[r, k] B[k, l]                      A (rows, k), B (k, lanes), C (rows, lanes)

From plain to fast:

1. Three loops, r, l, k: a multiply-add at a time, 1 to 2 GFLOP/s.
2. Vectors: sixteen neighbouring l at once (AVX-512). Every multiply-add loads from B: the loads are
   the limit.
3. A tile in registers (tile.py): 8 rows of 3 vectors are summed over k at once. A step of k loads 3
   vectors of B and broadcasts 8 numbers of A for 24 multiply-adds: arithmetic is the limit. Two
   steps share the counting of the loop, which would take a tenth of the instructions.
4. Panels (`pack`): the columns of B that a tile needs lie far apart in memory (a row of B is
   kilobytes long, often a power of two, which the caches handle badly). They are copied next to
   each other once for all rows, and stay in the core's cache. While tiles compute, they fetch what
   comes next.
5. Groups: where A is large and B small (a weight's gradient), a group of panels that fits into the
   core's cache is packed at once and A passes by, a strip of rows at a time.
6. Roles: A @ B.T has the wrong numbers side by side. Its transpose, B @ A.T, has B where numbers
   are broadcast, which takes any stride, and the small A as the panel. A strip of tiles is then
   stored transposed. `cost` weighs packing and padding.
7. Cores: a worker takes consecutive strips, group by group. Every sum runs over k in the same
   order, whoever takes its tile, so results do not depend on the number of threads.
8. The epilogue: bias, activation, masks run on a finished block while it is in the cache.
9. Parts: products with the same B (a network applied to real and to fake images) share its panels,
   and a sum of products (the gradient of a weight that was used twice) is one product with a longer
   k. With an update, a gradient is used strip by strip and never stored. What the update reads and
   writes comes from memory, which is slow in short runs: so a group is as wide as the matrix, panel
   by panel past a strip of A, and strips are of equal height.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..binding import kernel
from .panels import GROUP_BYTES, cost, panels_of, tiling
from .product import MORE_K, MORE_LANES, MORE_ROWS, PART, T, product
from .runtime import Call, address_of, lines, threads, workspace
from .tile import ROWS, ROWS_4, WIDE
from .vectors import VECTOR_BYTES

NEVER = 1 << 62  # an operation on its own is np.matmul's: binding takes longer than it can gain
KC = 1024  # how much of k is packed at a time
UPDATE_BYTES = 2400 * 1024  # of panels where an update takes the sums: whole rows of its arrays
A_BYTES = 512 * 1024  # of A that every panel meets again, where B passes by
MANY = 200  # rows of A: then B is the one that stays
EPILOGUE = 16  # multiply-adds that an element of an epilogue takes as long as, about
STRIP = 48 if WIDE else 24  # rows transposed or packed at once: whole tiles, whole vectors


def _even(rows: int, high: int) -> int:
    """Rows of a strip, 40 to 64 in whole tiles: so that the busiest worker has as few as can be."""
    heights = range(-(-40 // high) * high, 65, high)
    strips = {h: -(-rows // h) for h in heights}
    busiest = {h: -(-strips[h] // threads()) * h for h in heights}
    return min(heights, key=lambda h: (busiest[h], -h))


def _served(x: Any) -> bool:
    size = x.dtype.itemsize
    return all(s >= 0 and s % size == 0 for s in x.strides) and x.ndim == 2


def _batch(x: Any, y: Any, out: Any) -> Any:
    """Products of matrices along leading axes, which broadcast: one after the other in one call."""
    lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    if y.ndim == 2 and x.flags.c_contiguous and (out is None or out.flags.c_contiguous):
        flat = None if out is None else out.reshape(-1, out.shape[-1])
        call = matmul_nd.bind(x.reshape(-1, x.shape[-1]), y, out=flat)
        if call is not NotImplemented:
            call.out = call.out.reshape(*x.shape[:-1], y.shape[1]) if out is None else out
        return call
    out = np.empty((*lead, x.shape[-2], y.shape[-1]), x.dtype) if out is None else out
    xs, ys = np.broadcast_to(x, lead + x.shape[-2:]), np.broadcast_to(y, lead + y.shape[-2:])
    calls = [matmul_nd.bind(xs[i], ys[i], out=out[i]) for i in np.ndindex(lead)]
    if any(call is NotImplemented for call in calls):
        return NotImplemented
    calls[0].keep = (calls[0].keep, calls[1:])
    calls[0].set_rows(np.concatenate([call.rows for call in calls]))
    calls[0].out = out
    return calls[0]


@kernel(eager_from=NEVER)
def matmul_nd(x: Any, y: Any, *, out: Any = None, accumulate: bool = False) -> Any:
    """x @ y, matrices or stacks of them; strides may be any. `accumulate` adds to out."""
    if x.dtype != y.dtype or x.dtype not in (np.float32, np.float64):
        return NotImplemented
    if x.size == 0 or y.size == 0:
        return NotImplemented
    if x.ndim > 2 or y.ndim > 2:
        return _batch(x, y, out)
    out = np.empty((x.shape[0], y.shape[1]), x.dtype) if out is None else out
    return products([x], [y], [out], accumulate=accumulate)


def products(
    xs: list[Any], ys: list[Any], outs: list[Any], *, epilogues: list[Any] | None = None,
    accumulate: bool = False, update: Any = None,
) -> Any:  # fmt: skip
    """Products of one shape and layout as one call; NotImplemented if they cannot be.

    Args:
        xs, ys: matrices of one dtype; with several outs, all ys are the same one.
        outs: a matrix a product, or a single one for the sum of all products.
        epilogues: for each out (address of a block function, address of its table): it runs on each
            block of out when the block is final.
        accumulate: add to outs.
        update: what optim.update_of made: it uses the sum, strip by strip, which is not stored;
            outs is then empty.
    """
    x, y = xs[0], ys[0]
    if update is not None:
        outs = [np.broadcast_to(x[:1, :1], (x.shape[0], y.shape[1]))]  # only its shape counts
    out = outs[0]
    layouts = [{(m.shape, m.strides, m.dtype) for m in matrices} for matrices in (xs, ys, outs)]
    if any(len(found) != 1 for found in layouts) or not (_served(x) and _served(y)):
        return NotImplemented
    if (update is None and not _served(out)) or out.shape != (x.shape[0], y.shape[1]):
        return NotImplemented
    turned = update is None and cost(y.T, x.T, out.T) < cost(x, y, out)
    a, b, c = (ys, xs, outs) if turned else (xs, ys, outs)
    if turned:
        a, b, c = [m.T for m in a], [m.T for m in b], [m.T for m in c]
    along = MORE_K if len(outs) < len(xs) else MORE_LANES if turned else MORE_ROWS
    ends = epilogues or [(0, 0)] * len(outs)
    if update is not None:
        ends = [(update.block.address, address_of(update.call.args))]
    work = out.size * len(xs) * (x.shape[1] + (EPILOGUE if epilogues else 0))
    cut = _cut(a[0], b[0], c[0], along, len(xs), update is not None)
    words = T.fill(
        **cut, accumulate=accumulate, turned=turned, update=update is not None, along=along,
        parts=len(xs), n_rows=c[0].shape[0], n_k=x.shape[1],
    )  # fmt: skip
    for s in range(len(xs)):
        o = min(s, len(outs) - 1)
        words += PART.fill(
            a=a[0 if turned and along != MORE_K else s],
            b=b[s if turned or along == MORE_K else 0],
            c=c[o] if update is None else 0, function=ends[o][0], table=ends[o][1],
        )  # fmt: skip
    workers = threads() if work > 100_000 else 1
    keep = (xs, ys, update, cut["lefts"])
    call = Call(product[x.dtype], words, out=out, workers=workers, keep=keep)
    if update is not None:
        call.set_rows(np.concatenate([update.call.rows, call.rows]))
        call.out = update.call.out
    return call


def _cut(a: Any, b: Any, c: Any, along: int, parts: int, update: bool) -> dict[str, Any]:
    """How products of these layouts are cut into strips, panels and groups: words of the table."""
    size, (_, k), per_vector = a.dtype.itemsize, a.shape, VECTOR_BYTES // a.dtype.itemsize
    c_row, c_lane = c.strides if not update else (c.shape[1] * size, size)
    deep = parts if along == MORE_K else 1
    all_rows = c.shape[0] * (parts if along == MORE_ROWS else 1)
    vectors, _ = tiling(*c.shape, per_vector)
    wide, high = vectors * per_vector, ROWS_4 if vectors == 4 else ROWS
    packs = a.strides[1] != size or deep > 1
    height = STRIP if packs or c_lane != size else high
    height = _even(all_rows, high) if update else height
    passing = packs or all_rows > MANY or all_rows >= 4 * c.shape[1]  # A streams, B stays
    deepest = KC if passing else min(max(A_BYTES // (all_rows * size), 256), KC)
    whole = deep > 1 or update  # then k is packed at once, however long
    block = k if whole else -(-k // -(-k // deepest))  # equal parts of k
    lefts = panels_of(c.shape[1], per_vector, vectors, even=not passing)
    panels = (len(lefts) - 1) * (parts if along == MORE_LANES else 1)
    panel_bytes = block * deep * wide * size
    group = max(1, (UPDATE_BYTES if update else GROUP_BYTES) // panel_bytes) if passing else 1
    group = -(-panels // -(-panels // group))  # of equal size
    private = lines(height * (wide + packs * block * deep) * size)
    before = private + update * lines(height * group * wide * size)
    share = lines(before + group * panel_bytes)
    return {
        "a_row": a.strides[0], "a_col": a.strides[1], "b_row": b.strides[0], "b_col": b.strides[1],
        "c_row": c_row, "c_lane": c_lane, "vectors": vectors, "block": block, "group": group,
        "height": height, "workspace": workspace(threads() * share // 4), "share": share,
        "before": before, "private": private, "panels": len(lefts) - 1, "lefts": lefts,
    }  # fmt: skip
