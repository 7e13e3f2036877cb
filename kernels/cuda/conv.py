"""Convolutions and their gradients: conv.cuh on its arguments, with the kernel that suits them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .axes import floats, into
from .matmul import MOST, MULTIPROCESSORS, SHORTEST
from .matmul import SOURCE as SUMS
from .runtime import Call, Launch, Source, blocks, ctype, device_of, kernel, strides_of_a_grid

SOURCE = Source("conv.cuh")
FEW = 4  # columns that a warp makes alone, at most; as in conv.cuh
WARPS = 8  # in a block of conv_dots
NARROW = 32  # columns up to which tiles are half as wide
SMALL = 2**16  # multiply-adds up to which each element is a thread's
STEP = 16  # of k: what a block brings into shared memory at once
LARGEST = 2**30  # numbers in an array: offsets have 32 bits


class Tile(NamedTuple):
    """A kernel whose blocks make rows x columns elements, and whose threads high x wide of them."""

    rows: int
    columns: int
    high: int
    wide: int
    kernel: str = "conv_vector"

    @property
    def threads(self) -> int:
        return self.rows // self.high * (self.columns // self.wide)

    def named(self, product: str) -> str:
        numbers = f"{self.rows}, {self.columns}, {STEP}, {self.high}, {self.wide}"
        return f"{self.kernel}<{product}, {numbers}>"


TILES = {  # from large ones, which read less, to small ones, which are more
    "float32": (Tile(128, 64, 8, 4), Tile(64, 64, 4, 4), Tile(64, NARROW, 4, 4)),
    "float64": (Tile(64, 64, 4, 4, "conv_tiles"), Tile(64, NARROW, 4, 4, "conv_tiles")),
}


def _gather(dtype: Any, back: bool, along_k: bool = True) -> str:
    return f"Gather<{ctype(dtype)}, {str(back).lower()}, {str(along_k).lower()}>"


def _correlate(dtype: Any) -> str:
    return f"Correlate<{ctype(dtype)}>"


_EITHER = (False, True)
INSTANCES = (
    *(
        tile.named(product)
        for dtype, tiles in TILES.items()
        for tile in tiles
        for product in (
            *(_gather(dtype, back, along_k) for back in _EITHER for along_k in _EITHER),
            _correlate(dtype),
        )
    ),
    *(
        f"{name}<{_gather(dtype, back)}>"
        for name in ("conv_naive", "conv_dots")
        for dtype in TILES
        for back in _EITHER
    ),
    *(f"conv_naive<{_correlate(dtype)}>" for dtype in TILES),
)

# ---- the kernel and its grid ---------------------------------------------------------------------


class Product(NamedTuple):
    """The matrix products that a convolution is.

    Args:
        tiled, plain: the struct that says where numbers lie, for tiles and for the lower rungs.
        count: how many products there are: a group's, or a phase's of a group, each.
    """

    tiled: str
    plain: str
    rows: int
    columns: int
    k: int
    count: int


def _tile(product: Product, tiles: tuple[Tile, ...]) -> tuple[Tile, int]:
    """The tile, and how much of k a block sums: by size alone, so a shape has the same bits."""
    narrow = product.columns <= NARROW
    for tile in tiles:
        if (tile.columns == NARROW) == narrow:
            chosen = tile
            count = blocks(product.rows, tile.rows) * blocks(product.columns, tile.columns)
            count *= product.count
            if count >= MULTIPROCESSORS:
                return tile, product.k
    parts = min(blocks(MULTIPROCESSORS, count), blocks(product.k, SHORTEST))
    return chosen, product.k if parts == 1 else blocks(blocks(product.k, parts), STEP) * STEP


def _kernel(product: Product, dtype: Any) -> tuple[str, tuple[int, ...], tuple[int, ...], int]:
    """Name, grid and block of the kernel, and how much of k a block sums."""
    rows, columns, k, count = product[2:]
    if rows * columns * k * count <= SMALL:
        (grid,), block = strides_of_a_grid(rows * columns)
        return f"conv_naive<{product.plain}>", (grid, 1, count), block, k
    if columns <= FEW and product.plain.startswith("Gather"):
        return f"conv_dots<{product.plain}>", (blocks(rows, WARPS), 1, count), (32, WARPS), k
    tile, depth = _tile(product, TILES[np.dtype(dtype).name])
    grid = blocks(rows, tile.rows), blocks(columns, tile.columns), count * blocks(k, depth)
    return tile.named(product.tiled), grid, (tile.threads,), depth


def _call(
    product: Product, left: Any, right: Any, out: Any, x: tuple[int, ...], y: tuple[int, ...],
    kernel: Any, window: Any, strides: Any,
) -> Any:  # fmt: skip
    """The call; x and y are the shapes of images and places, strides w's, in numbers."""
    name, grid, block, depth = _kernel(product, left.dtype)
    parts = blocks(product.k, depth)
    if max(grid[1:]) > MOST:
        return NotImplemented
    (top, _), (before, _) = window.padding
    sizes = (
        *x, *y[1:], *kernel, *window.stride, *window.dilation, top, before, window.groups, *strides,
        product.count // window.groups, depth,
    )  # fmt: skip
    numbers = [np.int32(n) for n in sizes]
    if parts == 1:
        return Call([Launch(SOURCE, name, grid, block, (left, right, out, *numbers))], out)
    to = device_of(left).empty((parts, *out.shape), out.dtype)
    first = Launch(SOURCE, name, grid, block, (left, right, to, *numbers))
    end = np.int32(1), np.int64(out.size), np.int32(0), out.dtype.type(0)  # no epilogue
    args = (to, out, to, to, np.int32(parts), *end)
    name, shape = f"sum_parts<{ctype(out.dtype)}>", strides_of_a_grid(out.size)
    return Call([first, Launch(SUMS, name, *shape, args)], out, keep=to)


# ---- operations ----------------------------------------------------------------------------------


def _served(*arrays: Any) -> bool:
    """Whether these are arrays that the kernels read: dense, and of one dtype."""
    return all(floats(a) and a.dtype == arrays[0].dtype and a.size <= LARGEST for a in arrays)


def _kept(numbers: Any, window: Any) -> tuple[int, ...]:
    """Sizes or strides of (KH, KW, C / groups, O) as w is kept, or back."""
    a, b, c, o = numbers
    return (a, b, o, c) if window.transposed else (a, b, c, o)


def _strides(w: Any, window: Any) -> tuple[int, ...] | None:
    """w's strides in numbers; None if they are not whole numbers of 32 bits."""
    size = w.dtype.itemsize
    whole = w.size > 0 and not any(s % size for s in w.strides)
    reach = sum(abs(s) // size * (n - 1) for s, n in zip(w.strides, w.shape, strict=True))
    fits = whole and reach <= LARGEST
    return _kept((s // size for s in w.strides), window) if fits else None


@kernel
def conv2d_nd(x: Any, w: Any, *, window: Any, out: Any = None) -> Any:
    """The convolution; w in any layout."""
    rows, columns, channels, lanes = _kept(w.shape, window)
    shape = (len(x), *window.outputs(x.shape[1:3], (rows, columns)), lanes)
    strides = _strides(w, window) if _served(x) and w.dtype == x.dtype else None
    out = None if strides is None else into(out, x, shape, x.dtype)
    if strides is None or out is None or not 0 < out.size <= LARGEST:
        return NotImplemented
    names = _gather(x.dtype, False, strides[3] != 1), _gather(x.dtype, False)
    sizes = math.prod(shape[:3]), lanes // window.groups, rows * columns * channels, window.groups
    return _call(
        Product(*names, *sizes), x, w, out, x.shape, shape, (rows, columns), window, strides
    )


@kernel
def conv2d_dx(y: Any, w: Any, *, size: Any, window: Any, out: Any = None) -> Any:
    """The gradient of the images; w in any layout."""
    rows, columns, channels, lanes = _kept(w.shape, window)
    shape = (len(y), *size, channels * window.groups)
    strides = _strides(w, window) if _served(y) and w.dtype == y.dtype else None
    out = None if strides is None else into(out, y, shape, y.dtype)
    if strides is None or out is None or not 0 < out.size <= LARGEST:
        return NotImplemented
    names = _gather(y.dtype, True, strides[2] != 1), _gather(y.dtype, True)
    # the largest phase: every `stride`th pixel, every `jump`th tap
    pixels, taps = len(y), 1
    for n, k, s, d in zip(size, (rows, columns), window.stride, window.dilation, strict=True):
        pixels *= blocks(n, s)
        taps *= blocks(k, s // math.gcd(s, d))
    count = window.groups * math.prod(window.stride)
    product = Product(*names, pixels, channels, taps * (lanes // window.groups), count)
    return _call(product, y, w, out, shape, y.shape, (rows, columns), window, strides)


@kernel
def conv2d_dw(x: Any, y: Any, *, kernel: Any, window: Any, out: Any = None) -> Any:
    """The gradient of the kernel."""
    channels, lanes = x.shape[3] // window.groups, y.shape[3]
    shape = _kept((*kernel, channels, lanes), window)
    out = into(out, x, shape, x.dtype) if _served(x, y) else None
    if out is None or not 0 < out.size <= LARGEST:
        return NotImplemented
    strides = _strides(out, window)
    name, k = _correlate(x.dtype), math.prod(y.shape[:3])
    sizes = math.prod(kernel) * channels, lanes // window.groups, k, window.groups
    product = Product(name, name, *sizes)
    return _call(product, x, y, out, x.shape, y.shape, kernel, window, strides)
