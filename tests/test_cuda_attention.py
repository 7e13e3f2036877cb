"""Attention as CUDA kernels, on the emulated device with all its checks.

Sizes lie at the edges of tiles (64 places, of float64 32), of what a row lays down at a time (32
numbers) and of the columns of a block (16 or 64); references run in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_calls import agree, bits_in_any_order, on_device
from strategies import AVAILABLE

import tinygen as tg
from tinygen import nn

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

from tinygen_kernels.cuda import attention as kernels


def normal(shape: tuple[int, ...], dtype: Any = "float32", seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def attends(name: str, arrays: Any, given: Any = None, **options: Any) -> None:
    """The kernel beside the body; `given`: the arrays as the kernel gets them."""
    call = getattr(kernels, name).bind(*(given or map(on_device, arrays)), **options)
    near = 4e-6 if arrays[0].dtype == np.float32 else 1e-13
    agree(call, name, arrays, near, **options)


@pytest.mark.parametrize(("dtype", "lead", "n", "m", "d", "e", "causal"), [
    ("float32", (), 1, 1, 1, 1, True), ("float32", (2, 1), 66, 66, 4, 5, True),
    ("float32", (1,), 3, 66, 33, 2, False), ("float32", (1, 1, 2), 3, 3, 2, 66, True),
    ("float64", (3,), 2, 5, 3, 16, False), ("float64", (1,), 33, 33, 2, 1, True),
])  # fmt: skip
def test_attention(
    dtype: str, lead: Any, n: int, m: int, d: int, e: int, causal: bool, device: Any
) -> None:
    g, q, k, v = (
        normal((*lead, *tail), dtype, i)
        for i, tail in enumerate(((n, e), (n, d), (m, d), (m, e)))
    )  # fmt: skip
    attends("attend", (q, k, v), causal=causal)
    attends("attend_dx", (g, q, k, v), causal=causal)


@pytest.mark.parametrize("causal", [False, True])
def test_parts_that_lie_side_by_side(causal: bool, device: Any) -> None:
    x, g = normal((2, 7, 3 * 2 * 5), seed=1), normal((2, 7, 2 * 5), seed=2)
    attends("attend_self", (x,), heads=2, causal=causal)
    attends("attend_self_dx", (g, x), heads=2, causal=causal)


def test_heads_of_arrays_that_lie_apart(device: Any) -> None:
    wide = [normal((2, 5, 3, 8), seed=i) for i in range(4)]  # places before heads
    views = [on_device(a)[:, :, ::2, :4] for a in wide]  # of every second head, a part
    arrays = [np.ascontiguousarray(a[:, :, ::2, :4]) for a in wide]
    attends("attend", arrays[:3], views[:3], causal=True)
    attends("attend_dx", arrays, views, causal=False)


def test_large_fits_and_what_is_no_number(device: Any) -> None:
    q, k, v = (normal((70, 2), seed=i) for i in range(3))
    q[:, 0], k[:, 0] = 200, np.arange(70)  # the largest comes last: sums of before become 0
    attends("attend", (q, k, v), causal=False)
    attends("attend", (-q, k, v), causal=False)
    for bad in (np.nan, np.inf):
        wrong = q.copy()
        wrong[1, 0] = bad
        got = kernels.attend(*map(on_device, (wrong, k, v)), causal=True).get()
        assert (np.isnan(got).any(1) == (np.arange(70) == 1)).all()


def test_same_bits_in_any_order_of_threads() -> None:
    x, g = on_device(normal((2, 66, 18))), on_device(normal((2, 66, 6), seed=1))
    found = bits_in_any_order(lambda: (
        kernels.attend_self(x, heads=2, causal=True),
        kernels.attend_self_dx(g, x, heads=2, causal=True),
    ))  # fmt: skip
    assert len(found) == 1


def test_what_is_left_to_the_body() -> None:
    x = on_device(normal((4, 6, 3)))
    assert kernels.attend.bind(x, x, x, causal=False) is not NotImplemented
    assert kernels.attend.bind(x[:, ::2], x, x, causal=False) is NotImplemented
    assert kernels.attend.bind(x[:0], x[:0], x[:0], causal=False) is NotImplemented
    assert kernels.attend.bind(x, x, x.astype("float64"), causal=False) is NotImplemented
    assert kernels.attend.bind(x, x, x, causal=False, out=x[0]) is NotImplemented
    outs = tuple(on_device(np.zeros((4, 6, 3), "float32")) for _ in range(3))
    assert kernels.attend_dx.bind(x, x, x, x, causal=False, out=outs).out is outs
    assert kernels.attend_self.bind(x[:, :, ::-1], heads=1, causal=False) is NotImplemented
    assert kernels.attend_self.bind(x.astype("int32"), heads=1, causal=False) is NotImplemented


def test_the_layer_uses_the_kernels(device: Any) -> None:
    before = device.hits.copy()
    x = tg.tensor(normal((2, 4, 6))).detach(requires_grad=True)
    (nn.Attention(6, heads=2)(x) ** 2).sum().backward()
    hits = device.hits - before
    assert hits["attend_self"] == hits["attend_self_dx"] == 1
