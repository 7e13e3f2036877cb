"""The CUDA kernels on the emulated device, every memory access checked, threads in any order.

test_ops.py compares what kernels return over the op table; here are those that write in place, the
launches themselves, and what must hold of every source.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from op_table import ROWS, Row
from strategies import AVAILABLE, Sample

import tinygen as tg
import tinygen_kernels
from tinygen import backend
from tinygen.primitive import PRIMITIVES
from tinygen_kernels.cuda import optim

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

WRITING = [r for r in ROWS if r.mutates and r.name in tinygen_kernels.TABLES["emulated"]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("row", WRITING, ids=[r.name for r in WRITING])
def test_kernels_that_write(row: Row, dtype: str, device: Any) -> None:
    before = device.hits[row.name]

    @settings(max_examples=8)
    @given(sample=row.samples)
    def compare(sample: Sample) -> None:
        sample = _as_stored(row, sample.cast(dtype))
        wanted = row.reference(*(a.copy() for a in sample.cast("float64").arrays), **sample.options)
        tensors = [tg.tensor(a) for a in sample.arrays]
        row.call(*tensors, **sample.options)
        for i, (x, was) in enumerate(zip(tensors, sample.arrays, strict=True)):
            limit = 1e-12 if dtype == "float64" else 2e-6
            np.testing.assert_allclose(x.numpy(), wanted.get(i, was), rtol=limit, atol=limit)

    compare()
    assert device.hits[row.name] > before, "the kernel declined every sample"


def _as_stored(row: Row, sample: Sample) -> Sample:
    """Learning rates in float64 and step counts in int64, as optimizers keep them."""
    kinds = {"lr": np.float64, "rate": np.float64, "t": np.int64}
    names = PRIMITIVES[row.name].args
    arrays = [a.astype(kinds.get(n, a.dtype)) for n, a in zip(names, sample.arrays, strict=True)]
    return Sample(tuple(arrays), sample.options)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 4096 * 256 + 3])
def test_a_grid_reaches_every_element(n: int) -> None:
    with tg.use_backend("emulated"):
        a, p, rate = tg.zeros(n), tg.ones(n), tg.tensor(np.array(0.5))
        backend.get("emulated").kernels["ema_step"](a.data, p.data, rate.data)
        assert (a.numpy() == 0.5).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_of_many_parameters_is_adam_of_each(dtype: str, decoupled: bool, device: Any) -> None:
    static = {
        "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.01, "decoupled": decoupled
    }  # fmt: skip
    rng = np.random.default_rng(0)
    lr = tg.tensor(np.array(0.01))
    shapes = [(3,), (40, 70), (1,), (1024,), (1025,), (7, 300)]
    rows = [[rng.random(s).astype(dtype) for _ in range(4)] for s in shapes]
    steps = [tg.tensor(np.array(i)) for i in range(len(shapes))]
    groups = [
        [*(tg.tensor(a).data for a in row), t.data] for row, t in zip(rows, steps, strict=True)
    ]
    call = optim.adam_all(groups, lr.data, **static)
    call()
    for i, (row, group) in enumerate(zip(rows, groups, strict=True)):
        own = [tg.tensor(a) for a in row]
        PRIMITIVES["adam_step"](*own, tg.tensor(np.array(i)), lr, **static)
        for mine, other in zip(own, group, strict=False):
            np.testing.assert_array_equal(mine.numpy(), other.get())
        assert int(group[4]) == i + 1
