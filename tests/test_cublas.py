"""Products by cuBLAS, with a library that computes what cuBLAS would, column by column.

The stand-in takes the same C arguments and works on the same memory, so a wrong transposition,
leading dimension or order of operands gives a wrong product.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from strategies import AVAILABLE

import tinygen as tg
from tinygen_kernels.cuda import cublas

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)


def columns(at: int, rows: int, count: int, ld: int, kind: Any) -> np.ndarray:
    """A matrix whose columns lie one after the other, ld numbers apart."""
    assert ld >= rows
    buffer = (kind * (ld * (count - 1) + rows)).from_address(at)
    flat = np.frombuffer(buffer, kind)
    size = flat.itemsize
    return np.lib.stride_tricks.as_strided(flat, (rows, count), (size, ld * size))


class Library:
    """Stands for cuBLAS; `said` is what it was told, in order."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.status = 0

    def cublasCreate_v2(self, handle: Any) -> int:  # noqa: N802
        return 0

    def cublasSetStream_v2(self, handle: Any, stream: Any) -> int:  # noqa: N802
        self.said.append(("stream", stream.value))
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, at: Any, size: Any) -> int:  # noqa: N802
        self.said.append(("workspace", at.value, size.value))
        return 0

    def cublasSetMathMode(self, handle: Any, mode: Any) -> int:  # noqa: N802
        self.said.append(("mode", mode.value))
        return 0

    def cublasSgemm_v2(self, handle: Any, *arguments: Any) -> int:  # noqa: N802
        return self._multiply(ctypes.c_float, *arguments)

    def cublasDgemm_v2(self, handle: Any, *arguments: Any) -> int:  # noqa: N802
        return self._multiply(ctypes.c_double, *arguments)

    def _multiply(
        self, kind: Any, turn_a: Any, turn_b: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any,
        lda: Any, b: Any, ldb: Any, beta: Any, c: Any, ldc: Any,
    ) -> int:  # fmt: skip
        if self.status:
            return self.status
        m, n, k = m.value, n.value, k.value
        left = (k, m) if turn_a.value else (m, k)
        right = (n, k) if turn_b.value else (k, n)
        x = columns(a.value, *left, lda.value, kind)
        y = columns(b.value, *right, ldb.value, kind)
        out = columns(c.value, m, n, ldc.value, kind)
        assert (alpha._obj.value, beta._obj.value) == (1, 0)
        out[...] = (x.T if turn_a.value else x) @ (y.T if turn_b.value else y)
        self.said.append(("product", m, n, k))
        return 0


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    with tg.use_backend("emulated") as place:
        found = Library()
        blas = cublas.Blas(found, lambda: 77, lambda stream: 4096)
        device = place.device
        monkeypatch.setattr(cublas, "LARGE", 500)

        def product(x: Any, y: Any, out: Any, precision: str) -> Any:
            served = cublas.serves(x, y, out, precision)
            return cublas.Product(blas, x, y, out, device.address, precision) if served else None

        monkeypatch.setattr(device, "library_product", product)
        yield found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turn_x", [False, True])
@pytest.mark.parametrize("turn_y", [False, True])
def test_layouts(library: Library, dtype: str, turn_x: bool, turn_y: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((13, 11)).astype(dtype), rng.standard_normal((11, 7)).astype(dtype)
    a = tg.tensor(x.T.copy()).T if turn_x else tg.tensor(x)
    b = tg.tensor(y.T.copy()).T if turn_y else tg.tensor(y)
    got = (a @ b).numpy()
    np.testing.assert_allclose(got, x @ y, rtol=1e-5 if dtype == "float32" else 1e-12)
    assert library.said == [
        ("stream", 77), ("workspace", 4096, cublas.WORKSPACE), ("mode", 0), ("product", 7, 13, 11)
    ]  # fmt: skip


def test_parts_of_wider_matrices_and_stacks_of_rows(library: Library) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(s).astype("float32") for s in ((20, 30), (40, 25)))
    got = tg.tensor(x)[3:17, 5:20] @ tg.tensor(y)[10:25, 4:21]
    np.testing.assert_allclose(got.numpy(), x[3:17, 5:20] @ y[10:25, 4:21], rtol=1e-5, atol=1e-6)
    stack = rng.standard_normal((3, 4, 25)).astype("float32")
    got = tg.tensor(stack) @ tg.tensor(y).T
    assert got.shape == (3, 4, 40)
    np.testing.assert_allclose(got.numpy(), stack @ y.T, rtol=1e-5, atol=1e-5)
    assert [entry for entry in library.said if entry[0] == "product"] == [
        ("product", 17, 14, 15), ("product", 40, 12, 25)
    ]  # fmt: skip


def test_what_our_kernels_serve(library: Library) -> None:
    ones = lambda *shape: tg.ones(shape)
    _ = ones(4, 5) @ ones(5, 6)  # small
    _ = ones(20, 40)[:, ::2] @ ones(20, 20)  # gaps: NumPy's rule, by the reference
    _ = ones(2, 20, 20) @ ones(2, 20, 20)  # a stack of each
    assert library.said == []
    with tg.use_backend("emulated", precision="tf32"):
        _ = ones(20, 20) @ ones(20, 20)
    assert ("mode", 3) in library.said
    library.said.clear()
    with tg.use_backend("emulated", precision="bf16"):
        _ = ones(20, 20) @ ones(20, 20)
    assert library.said == []


def test_a_plan_with_such_a_product(library: Library) -> None:
    step = tg.compile(lambda x: x @ x)
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((12, 12)).astype("float32")
        np.testing.assert_allclose(step(tg.tensor(x)).numpy(), x @ x, rtol=1e-4, atol=1e-5)
    assert sum(entry[0] == "product" for entry in library.said) >= 3


def test_a_refusal_names_the_call(library: Library) -> None:
    library.status = 13
    with pytest.raises(cublas.CublasError, match=r"cublasSgemm_v2 failed with status 13"):
        _ = tg.ones((20, 20)) @ tg.ones((20, 20))
