"""For each operation that a form may have a row for, functions of x (n, 3, 4) that meet it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from op_table import ROWS
from strategies import Domain

import tinygen as tg
from tinygen import ops
from tinygen.export.graphs import Packed, pack
from tinygen.fused import Fused
from tinygen.primitive import PRIMITIVES
from tinygen.random import Generator
from tinygen.tensor import Tensor
from tinygen.trace.graph import record
from tinygen.trace.passes import simplify

RNG = Generator(4)
ROW, COLUMN, MATRIX = RNG.normal((4,)), RNG.normal((3, 1)), RNG.normal((4, 5))
STACK = RNG.normal((3, 4, 2))
KERNEL, GROUPED = RNG.normal((2, 3, 4, 6)), RNG.normal((3, 2, 2, 6))
BACK = RNG.normal((3, 2, 4, 3))
SQUARE = RNG.normal((4, 4))
EARLIER = tg.tensor(np.tri(3, dtype=bool))
PLACES = tg.tensor([2, 0, 0])


def positive(x: Tensor) -> Tensor:
    return x * x + 0.5


def images(x: Tensor) -> Tensor:
    """(n, 6, 5, 4)."""
    return ops.concatenate([x, -x, x * 0.5, x, x + 1.0, x, x, x * 2.0, x, x], axis=1).reshape(
        -1, 6, 5, 4
    )


def _turn(i: Tensor, x: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """A turn that counts, reads what is known outside, and multiplies by weights."""
    t = i.astype("float32") * 0.25
    y = (x @ SQUARE) * t + ROW + total[:, None] * STACK.take(i, axis=0)[0, 0]
    return y.tanh(), total + y.mean(axis=1)


def _filled(x: Tensor) -> Tensor:
    """A state that is written at one place in each turn, and read at another."""

    def turn(i: Tensor, y: Tensor) -> tuple[Tensor]:
        before = y.take(2 - i, axis=1)
        return (tg.put(y, before * 0.5 + x[:, 0], i, axis=1),)

    return tg.repeat(3, turn, (x * 1.0,))[0]


def _outer(i: Tensor, x: Tensor) -> tuple[Tensor]:
    y = x @ SQUARE
    (z,) = tg.repeat(3, lambda k, z: (z.tanh() + y * (k + i).astype("float32"),), (x,))
    return (z - y,)


FUNCTIONS: dict[str, Callable[[Tensor], Any]] = {
    "abs": lambda x: ops.abs(x),
    "add": lambda x: (x + ROW) + COLUMN + 2.0 + x.mean(axis=(0, 1), keepdims=True)[0],
    "all": lambda x: (x > -0.5).all(axis=1) | (x < 0.5).all(axis=(1, 2), keepdims=True)[:, 0],
    "any": lambda x: (
        (x > 1.0).any(axis=-1) & ops.any((x < 0.0).astype("float32"), axis=(1, 2))[:, None]
    ),
    "argmax": lambda x: x.argmax(axis=1) + x.argmax(axis=-1).sum(axis=1, keepdims=True),
    "argsort": lambda x: (
        ops.argsort(x, axis=1) + ops.argsort((x * 1.5).round(), axis=1, descending=True)
        + ops.argsort(x, axis=2)
    ),
    "broadcast_to": lambda x: ops.broadcast_to(x[:, :1], shape=x.shape),
    "cast": lambda x: (x * 3.0).astype("int64").astype("float32") + (x > 0.0).astype("float32"),
    "clip": lambda x: x.clip(low=-0.5, high=0.25) + x.clip(high=0.0) + x.clip(low=0.1),
    "concat": lambda x: ops.concatenate([x, x[:, 1:], x * 2.0], axis=1),
    "conv2d_dx": lambda x: ops.conv_transpose2d(images(x), BACK, stride=(2, 3), padding=1),
    "conv2d_nd": lambda x: ops.conv2d(images(x), KERNEL, stride=2, padding="same", dilation=(1, 2)),
    "cos": lambda x: ops.cos(x),
    "cumsum": lambda x: x.cumsum(axis=1) + x.cumsum(axis=-1),
    "div": lambda x: x / positive(x) + 1.0 / positive(x),
    "equal": lambda x: ops.equal(x.argmax(axis=-1), 2),
    "erf": lambda x: ops.erf(x),
    "exp": lambda x: ops.exp(x),
    "floor": lambda x: (x * 3.0).floor() + ops.ceil(x - 0.25),
    "floor_divide": lambda x: (
        (x * 3.0) // ROW + (x * 4.0) // 0.75 + (x.argsort(axis=2) // -2).astype("float32")
    ),
    "greater": lambda x: x > ROW,
    "greater_equal": lambda x: x >= ROW,
    "leaky_relu": lambda x: x.leaky_relu(slope=0.2),
    "less": lambda x: x < 0.1,
    "less_equal": lambda x: x <= 0.1,
    "log": lambda x: ops.log(positive(x)),
    "log_softmax": lambda x: x.log_softmax(axis=-1) + x.log_softmax(axis=1),
    "mask_and": lambda x: (x > 0.0) & (x < ROW) & ~(x > 1.0),
    "mask_or": lambda x: (x > 0.5) | ((x < -0.5) ^ (x < ROW)),
    "matmul_nd": lambda x: ((x @ MATRIX) @ (x @ MATRIX).transpose(0, 2, 1))[:, None] @ STACK[:, :3],
    "max": lambda x: x.max(axis=1) + x.max(axis=(1, 2), keepdims=True)[:, 0],
    "maximum": lambda x: ops.maximum(x, ROW),
    "mean": lambda x: x.mean(axis=1, keepdims=True) + x.mean(axis=2, keepdims=True),
    "min": lambda x: x.min(axis=-1),
    "minimum": lambda x: ops.minimum(x, ROW),
    "mul": lambda x: x * COLUMN * -1.0,
    "not_equal": lambda x: ops.not_equal(x.argmax(axis=-1), 2),
    "one_hot": lambda x: x.argmax(axis=-1).one_hot(classes=5),
    "put": lambda x: (
        tg.put(x, x[:, 0] * 2.0, 1, axis=1)
        + tg.put(tg.put(x, x[:, :, 0], 3, axis=-1), 1.5, 0, axis=2)
    ),
    "relu": lambda x: x.relu(),
    "remainder": lambda x: (
        (x * 3.0) % ROW + 2.0 % (x + 4.0) + (x.argsort(axis=2) % -3).astype("float32")
    ),
    "repeat": lambda x: tg.repeat(3, _turn, (x, x.sum(axis=1)))[0],
    "reshape": lambda x: x.reshape(-1, 6, 2) * 2.0,
    "round": lambda x: (x * 3.0).round() + ((x * 3.0).floor() * 0.5).round(straight_through=True),
    "sigmoid": lambda x: x.sigmoid(),
    "sin": lambda x: ops.sin(x),
    "slice": lambda x: x[:, ::2, -1:0:-1] + x[:, 1:, 3, None],
    "softmax": lambda x: x.softmax(axis=-1) + x.softmax(axis=(1, 2)),
    "softplus": lambda x: x.softplus(),
    "sqrt": lambda x: positive(x).sqrt(),
    "sub": lambda x: ROW - x - COLUMN,
    "sum": lambda x: x.sum(axis=(1, 2)) + x.sum(axis=1)[:, 0],
    "take": lambda x: x.take(PLACES, axis=1) + ops.take(MATRIX, x.argmax(axis=-1), axis=0)[..., :4],
    "take_along_axis": lambda x: (
        ops.sort(x, axis=1) + ops.sort(x, axis=-1, descending=True)
        + ops.take_along_axis(x, PLACES.reshape(1, 3, 1).broadcast_to(x.shape) - 2, axis=1)
    ),
    "tanh": lambda x: x.tanh(),
    "transpose": lambda x: x.transpose(0, 2, 1) * 2.0,
    "where": lambda x: ops.where(x > 0.0, x, ROW) + ops.where(x > 0.5, 1.0, 0.0),
}  # fmt: skip
# Pointwise operations of which no graph has a call (the canonical pass writes them by others), or
# which no form has a row for.
REWRITTEN = {"cast_discrete", "identity", "neg", "square"}
WITHOUT = {
    "guarded_div", "guarded_mul", "isfinite", "power_n", "power_xy", "sign",
}  # fmt: skip


def from_the_table() -> dict[str, Callable[[Tensor], Any]]:
    """For each other pointwise operation its row in op_table.py, on numbers of its domains."""
    found = {}
    for row in ROWS:
        operation = PRIMITIVES.get(row.name)
        if operation is None or isinstance(operation, Fused):
            continue
        if not operation.traits.pointwise or operation.traits.draws:
            continue
        if row.name not in {*FUNCTIONS, *REWRITTEN, *WITHOUT}:
            found[row.name] = lambda x, row=row: row.call(*(_within(x, d) for d in row.domains))
    return found


def _within(x: Tensor, domain: Domain) -> Tensor:
    return domain.low + (domain.high - domain.low) * x.sigmoid()


FUNCTIONS |= from_the_table()
MORE: dict[str, Callable[[Tensor], Any]] = {
    "groups": lambda x: ops.conv2d(images(x), GROUPED, groups=2, padding=((0, 1), (2, 0))),
    "groups back": lambda x: ops.conv_transpose2d(
        images(x), RNG_BACK, stride=(1, 2), groups=2, output_padding=(0, 1)
    ),
    "a swap in a loop": lambda x: tg.repeat(
        3, lambda i, a, b, c: (b, a, c + a - b * 2.0), (x, x * 2.0, x.tanh())
    )[2],
    "put in a loop": _filled,
    "a loop in a loop": lambda x: tg.repeat(2, _outer, (x,))[0] + x,
    "dense after a loop": lambda x: tg.repeat(2, lambda i, y: (y + x,), (x * 0.5,))[0] @ MATRIX,
    "silu and gelu": lambda x: x.silu() + x.gelu(),
    "a norm": lambda x: ((x @ MATRIX) - 0.5) / 2.0 * 3.0 + 1.0,
    "attention": lambda x: (
        tg.attention(x, x.tanh(), x * 0.5, causal=True)
        + tg.attention(x[:, None], x[:, None] * 0.5, x[:, None], mask=EARLIER)[:, 0]
    ),
    "einsum": lambda x: tg.einsum("nij,nkj,ja->nika", x, x.tanh(), MATRIX),
    "attention among places": lambda x: tg.self_attention(
        ops.concatenate([x, x.tanh(), x * 0.5], axis=2), heads=2
    ),
    "blocks of pixels": lambda x: ops.depth_to_space(
        ops.space_to_depth(ops.upsample2d(images(x), 2), (2, 5)).tanh(), (1, 2)
    ),
    "mirror images": lambda x: (
        ops.reflection_pad2d(images(x), ((1, 2), (0, 3))).mean(axis=-1)[:, :3, :4] * x[:, :, :1]
        + tg.pad(x, ((0, 0), (2, 1), (3, 0)), mode="reflect")[:, 1:4, :4]
    ),
    "two batches": lambda x: ops.concatenate([x, x * 2.0])[x.shape[0] :] - x,
}
RNG_BACK = RNG.normal((2, 3, 4, 3))
ALL = {**FUNCTIONS, **MORE}


def packed(name: str) -> Packed:
    """The function as a graph with its constants as a file holds them."""
    graph = record(ALL[name], lambda n: (Generator(n).normal((n, 3, 4)),), ("x",))
    return pack(simplify(graph), "float32")


def argument(n: int = 3) -> Any:
    return np.random.default_rng(n).normal(size=(n, 3, 4)).astype(np.float32)
