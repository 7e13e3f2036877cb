"""The CUDA kernels on the emulated device, every memory access checked, threads in any order.

test_ops.py compares what kernels return over the op table; here are those that write in place, the
launches themselves, and what must hold of every source.
"""

from __future__ import annotations

from collections.abc import Iterator
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

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

WRITING = [r for r in ROWS if r.mutates and r.name in tinygen_kernels.TABLES["emulated"]]


@pytest.fixture(params=[0, 5], ids=["in order", "shuffled"])
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    with tg.use_backend("emulated") as found, found.checked(order=request.param):
        yield found


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
    kinds = {"lr": np.float64, "t": np.int64}
    names = PRIMITIVES[row.name].args
    arrays = [a.astype(kinds.get(n, a.dtype)) for n, a in zip(names, sample.arrays, strict=True)]
    return Sample(tuple(arrays), sample.options)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 4096 * 256 + 3])
def test_a_grid_reaches_every_element(n: int) -> None:
    with tg.use_backend("emulated"):
        a, p = tg.zeros(n), tg.ones(n)
        backend.get("emulated").kernels["ema_step"](a.data, p.data, decay=0.5)
        assert (a.numpy() == 0.5).all()
