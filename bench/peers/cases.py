"""What bench/kernels.py measures: operations, sizes and numbers, the same for every library.

NumPy alone is imported here, since the peers live in environments of their own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Shape = tuple[int, ...]

SLOPE, P = 0.2, 0.3  # of leaky_relu, of dropout
ADAM = {"beta1": 0.5, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
MOMENTUM = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
LR = 1e-3
ELEMENTWISE = (
    "exp", "log", "tanh", "sigmoid", "softplus", "erf", "relu", "leaky_relu", "silu", "gelu",
)  # fmt: skip
DRAWS: dict[str, dict[str, Any]] = {
    "random_words": {}, "random_uniform": {"dtype": "float32"},
    "random_normal": {"dtype": "float32"}, "random_bernoulli": {"p": P},
    "random_integers": {"high": 1000}, "dropout": {"p": P},
}  # fmt: skip
CONVOLUTIONS, KERNEL = ("conv2d_nd", "conv2d_dx", "conv2d_dw"), 5
CONVOLVED = 64  # images
POOLED = 2  # rows and columns of a window of the poolings, which lie side by side
POOLINGS = {
    "max_pool2d_nd": "max pool", "max_pool2d_dx": "max pool, dx", "max_pool2d_pick": "max pool, dg",
    "avg_pool2d_nd": "average pool", "avg_pool2d_dx": "average pool, dx",
}  # fmt: skip
# Of arrays and of integers that count along an axis of n: n.
INDEXED = {"take": 256, "scatter_add": 256, "take_along_axis": 256, "add_along_axis": 256}
# Of two arrays, element by element.
PAIRS = ("remainder", "floor_divide")
# Kernels of several passes or products, which NumPy does one after the other. Of the arrays that
# they take, the place of the one that a result is as large as; of attention, the products.
NORMS = {
    "normalise": (0,), "normalise_dx": (1, 2, 2), "normalise_groups": (0,),
    "normalise_groups_dx": (1, 2, 2), "normalise_silu": (0,), "normalise_silu_dx": (1, 2, 3, 4),
}  # fmt: skip
ATTENTION = {"attend": 2, "attend_dx": 5, "attend_self": 2, "attend_self_dx": 5}
BLOCK = 2  # rows and columns of a block of pixels
PIXELS = {
    "pixels_repeated": BLOCK**2, "pixels_added": BLOCK**-2, "pixels_to_channels": 1,
    "channels_to_pixels": 1,
}  # fmt: skip
TOTALS = ("squares_along", "product_along", "product_without")
WHOLE = (*NORMS, *ATTENTION, *PIXELS, *TOTALS, "concat")
PASSES = {"sgd_step": 3, "sgd_momentum_step": 5, "adam_step": 7, "ema_step": 3}  # reads and writes


@dataclass(frozen=True)
class Case:
    """One operation at one size, float32.

    Attributes:
        op: the name in the table of kernels; "fused" for a loop that a plan generates, and
            "gather_images".
        title: the operation in words.
        shapes: of the arrays it takes.
        static: its options.
        turned: which of the arrays are given as the transpose of an array in memory.
        count: how often a training step does it, where that is known.
    """

    op: str
    title: str
    shapes: tuple[Shape, ...]
    static: dict[str, Any] = field(default_factory=dict)
    turned: tuple[int, ...] = ()
    count: int = 1

    @property
    def size(self) -> str:
        if self.op == "matmul_nd":
            (*lead, rows, k), lanes = self.shapes[0], self.shapes[1][-1]
            return "x".join(map(str, (*lead, rows, k, lanes)))
        return "x".join(map(str, self.shapes[0]))

    @property
    def name(self) -> str:
        return f"{self.title} {self.size}"

    def arrays(self) -> list[np.ndarray]:
        """What it takes, always the same numbers."""
        rng = np.random.default_rng(0)
        if self.op in DRAWS:
            counters = [np.array([7], np.uint64), np.array([3], np.uint64)]
            x = rng.standard_normal(self.shapes[0], np.float32)
            return [x, *counters] if self.op == "dropout" else counters
        if self.op == "gather_images":
            images = rng.integers(256, size=self.shapes[1], dtype=np.uint8)
            return [images, rng.integers(len(images), size=self.shapes[0][0])]
        if self.op in INDEXED:
            x = rng.standard_normal(self.shapes[0], np.float32)
            return [x, rng.integers(INDEXED[self.op], size=self.shapes[1])]
        out = []
        for i, shape in enumerate(self.shapes):
            flip = i in self.turned
            there = (*shape[:-2], shape[-1], shape[-2]) if flip else shape
            x = rng.standard_normal(there, np.float32)
            out.append(np.swapaxes(x, -1, -2) if flip else x)
        if self.title == "log":
            out[0] = np.abs(out[0])
        if self.op in TOTALS:  # products of many that are not 0
            out[0] = np.exp(out[0] / 16)
        if self.op == "adam_step":
            out[3] = np.square(out[3])  # the second moment
        return out

    def work(self) -> tuple[str, float]:
        """The unit of its rate, and how much of it (in 10^9) one call must do at least."""
        sizes = [math.prod(shape) for shape in self.shapes]
        if self.op in CONVOLUTIONS:
            return "GFLOP/s", 2e-9 * self.static["sums"] * self.static["taps"] ** 2
        if self.op == "matmul_nd":
            return "GFLOP/s", 2e-9 * sizes[0] * self.shapes[1][-1]
        if self.op in ATTENTION:
            *lead, places, wide = self.shapes[-1]
            wide //= 3 if "heads" in self.static else 1
            return "GFLOP/s", 2e-9 * ATTENTION[self.op] * math.prod(lead) * places**2 * wide
        if self.op in NORMS:
            return "GB/s", 4e-9 * (sum(sizes) + sum(sizes[i] for i in NORMS[self.op]))
        if self.op in PIXELS:
            return "GB/s", 4e-9 * sizes[0] * (1 + PIXELS[self.op])
        if self.op in ("concat", "product_without"):
            return "GB/s", 8e-9 * sum(sizes)
        if self.op in PASSES:
            return "GB/s", 4e-9 * PASSES[self.op] * sizes[0]
        if self.op == "gather_images":
            return "GB/s", 5e-9 * sizes[0]
        if self.op in POOLINGS:  # read all, and write as much as its way down or up makes
            up = self.op.endswith("dx")
            return "GB/s", 4e-9 * (sum(sizes) + sizes[0] * (POOLED**2 if up else POOLED**-2))
        if self.op in ("fused", "softmax", "log_softmax", "dropout", *PAIRS, *ELEMENTWISE):
            return "GB/s", 4e-9 * (sum(sizes) + sizes[0])
        return "GB/s", 4e-9 * sizes[0]  # a reduction, whose result is small; numbers that are drawn


def cases() -> list[Case]:
    out: list[Case] = []
    add = lambda *args, **more: out.append(Case(*args, **more))
    for rows, k, lanes in ((64, 784, 1024), (256, 784, 1024), (512, 512, 512), (1024, 64, 784)):
        shapes = ((rows, k), (k, lanes))
        add("matmul_nd", "A@B", shapes)
        add("matmul_nd", "A.T@B", shapes, turned=(0,))
        add("matmul_nd", "A@B.T", shapes, turned=(1,))
    add("matmul_nd", "stack A@B", ((16, 128, 64), (16, 64, 128)))
    for op in ("sum", "mean", "max", "min"):
        for shape, axis in (
            ((256, 1024), 0), ((256, 1024), 1), ((2000, 784), None), ((64, 28, 28, 16), (0, 1, 2)),
            ((64, 28, 28, 16), (1, 2, 3)),
        ):  # fmt: skip
            where = "all" if axis is None else f"axis {str(axis).replace(' ', '')}"
            add(op, f"{op} {where}", (shape,), {"axis": axis, "keepdims": False})
    add("sum_to", "sum_to (1024,)", ((256, 1024),), {"shape": (1024,)})
    add("sum_to", "sum_to (256,1)", ((256, 1024),), {"shape": (256, 1)})
    for op in ("softmax", "log_softmax", "logsumexp"):
        for shape in ((8192, 10), (256, 1000)):
            add(op, op, (shape,), {"axis": -1})
    for n in (131_072, 802_816):  # within the caches of a core, and a layer of 784 by 1024
        p = (n,)
        add("sgd_step", "sgd", (p, p), {"weight_decay": 0.0})
        add("sgd_momentum_step", "momentum", (p, p, p), MOMENTUM)
        add("adam_step", "adam", (p, p, p, p), ADAM)
        add("ema_step", "ema", (p, p))
    for name in ELEMENTWISE:
        add(name, name, ((1024, 1024),), {"slope": SLOPE} if name == "leaky_relu" else {})
    for name, static in DRAWS.items():
        more = {} if name == "dropout" else {"shape": (256, 1024)}
        add(name, name, ((256, 1024),), {"offset": 1, **more, **static})
    for name in ("bias+leaky_relu", "bias+leaky_relu+dropout"):
        add("fused", name, ((256, 1024), (1024,)))
    for low, high in ((0.0, 1.0), (-1.0, 1.0)):
        add("gather_images", f"gather to ({low:g},{high:g})",
            ((256, 28, 28, 1), (10_000, 28, 28, 1)), {"low": low, "high": high})  # fmt: skip
    x, y = (CONVOLVED, 28, 28, 64), (CONVOLVED, 28 // POOLED, 28 // POOLED, 64)
    pooled = {"avg_pool2d_nd": (x,), "avg_pool2d_dx": (y,), "max_pool2d_nd": (x,)}
    table, tokens, places = (256, 128), (4096,), (4096, 1)
    add("take", "embedding", (table, tokens), {"axis": 0})
    add("scatter_add", "embedding, back", ((4096, 128), tokens), {"axis": 0, "shape": table})
    add("take_along_axis", "one of a row", ((4096, 256), places), {"axis": 1})
    add("add_along_axis", "one of a row, back", (places, places), {"axis": 1, "shape": (4096, 256)})
    for op in PAIRS:
        add(op, op, ((1024, 1024),) * 2)
    out += whole()
    for op, title in POOLINGS.items():  # the gradients of a maximum need what it was taken of
        add(op, title, pooled.get(op) or (y if op == "max_pool2d_dx" else x, x))
    return out


def whole() -> list[Case]:
    """Norms, attention and moved pixels, at the sizes of a small U-Net on 96 images."""
    out: list[Case] = []
    add = lambda *args, **more: out.append(Case(*args, **more))
    x, of_channels, both = (96, 196, 8, 4), (8, 4), (96, 2, 8, 4)
    rows, features = (4096, 128), (128,)
    groups, each = {"axis": (1, 3), "eps": 1e-5}, {"axis": (1,), "eps": 1e-5}
    add("normalise", "group norm", (x, of_channels, of_channels), groups)
    add("normalise_dx", "group norm, back", (x, x, of_channels), groups)
    image, channels, eight = (96, 14, 14, 32), (32,), {"groups": 8, "eps": 1e-5}
    add("normalise_groups", "group norm of images", (image, channels, channels), eight)
    add("normalise_groups_dx", "group norm of images, back", (image, image, channels), eight)
    add("normalise", "layer norm", (rows, features, features), each)
    add("normalise_dx", "layer norm, back", (rows, rows, features), each)
    parts = (x, of_channels, of_channels, both)
    add("normalise_silu", "norm, scale, silu", parts, {"eps": 1e-5})
    add("normalise_silu_dx", "norm, scale, silu, back", (x, *parts), {"eps": 1e-5})
    for q in ((96, 4, 49, 16), (16, 4, 256, 32)):
        add("attend", "attention", (q,) * 3, {"causal": False})
        add("attend_dx", "attention, back", (q,) * 4, {"causal": False})
    heads, y, qkv = {"heads": 4, "causal": False}, (96, 49, 64), (96, 49, 192)
    add("attend_self", "attention of places", (qkv,), heads)
    add("attend_self_dx", "attention of places, back", (y, qkv), heads)
    small, large = (96, 14, 14, 32), (96, 28, 28, 32)
    block = {"block": (BLOCK, BLOCK)}
    add("pixels_repeated", "upsample", (small,), block)
    add("pixels_added", "upsample, back", (large,), block)
    add("pixels_to_channels", "space to depth", ((96, 28, 28, 4),), block)
    add("channels_to_pixels", "depth to space", ((96, 14, 14, 16),), block)
    add("concat", "concatenate", (small, small), {"axis": 3})
    matrix = (1024, 256)
    add("squares_along", "sum of squares", (matrix,))
    for axis in (0, 1):
        add("product_along", f"product, axis {axis}", (matrix,), {"axis": axis})
        add("product_without", f"product, axis {axis}, back", (matrix,), {"axis": axis})
    return out


def taps(size: int, stride: int, zeros: tuple[int, int]) -> int:
    """How many pairs of a window and a row of it meet a row of the image, not of its zeros."""
    outputs = (size + sum(zeros) - KERNEL) // stride + 1
    rows = (i * stride + a - zeros[0] for i in range(outputs) for a in range(KERNEL))
    return sum(0 <= row < size for row in rows)


def convolutions(batch: int) -> list[Case]:
    """What each convolution of the DCGAN of workload.py does in its training step.

    Arrays are those of the primitives of tinygen/ops/conv.py, where a transposed convolution is the
    gradient of one. The options, beside the primitive's: how many products of channels each tap
    takes ("sums"), the taps that meet the image, in one direction ("taps"), and all of them
    ("every").
    """
    out = []
    for layer, transposed, side, channels, outputs, stride, counts in (
        ("G transposed 1", True, 7, 128, 256, 1, (1, 1, 1)),
        ("G transposed 2", True, 14, 64, 128, 2, (1, 1, 1)),
        ("G transposed 3", True, 28, 1, 64, 2, (1, 1, 1)),
        ("D 1", False, 28, 1, 64, 2, (3, 1, 2)),
        ("D 2", False, 14, 64, 128, 2, (3, 3, 2)),
    ):
        few, lack = side // stride, KERNEL - stride  # sides divide by their strides
        zeros = (lack // 2, lack - lack // 2)
        x, y = (batch, side, side, channels), (batch, few, few, outputs)
        w = (KERNEL, KERNEL, *((outputs, channels) if transposed else (channels, outputs)))
        static = {
            "stride": stride, "zeros": zeros, "transposed": transposed, "size": side,
            "sums": batch * channels * outputs, "taps": taps(side, stride, zeros),
            "every": few * KERNEL,
        }  # fmt: skip
        forward, back = ("conv2d_dx", "conv2d_nd") if transposed else ("conv2d_nd", "conv2d_dx")
        for what, op, count in zip(
            ("forward", "dx", "dw"), (forward, back, "conv2d_dw"), counts, strict=True
        ):
            shapes = {"conv2d_nd": (x, w), "conv2d_dx": (y, w), "conv2d_dw": (x, y)}[op]
            out.append(Case(op, f"{layer} {what}", shapes, static, count=count))
    return out


def seconds_of(run: Callable[[], Any], budget: float) -> float:
    """Seconds a call, over as many as fill `budget` seconds, after three that are not counted."""
    guess = budget
    for _ in range(3):  # the first wakes threads and fills caches
        start = time.perf_counter()
        run()
        guess = min(guess, time.perf_counter() - start)
    count = max(1, min(100_000, round(budget / max(guess, 1e-7))))
    start = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - start) / count


def fingerprint(arrays: Iterable[np.ndarray]) -> list[float]:
    """Of each array two sums, one of them weighted by place: to tell whether libraries agree."""
    out = []
    for a in arrays:
        flat = np.asarray(a, np.float64).reshape(-1)
        out += [float(np.abs(flat).sum()), float(flat @ np.cos(np.arange(flat.size)))]
    return out
