"""Every CUDA kernel compiles and keeps its numbers in registers.

For the oldest architecture, two families at a time; bench/cuda_registers.py compiles for all.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
PATH = Path(__file__).parents[1] / "bench" / "cuda_registers.py"
SPEC: Any = importlib.util.spec_from_file_location("cuda_registers", PATH)
registers = importlib.util.module_from_spec(SPEC)
sys.modules["cuda_registers"] = registers
sys.path.insert(0, str(PATH.parent))  # for bench/report.py
SPEC.loader.exec_module(registers)
FAMILIES = registers.families()
OLDEST = 75


@pytest.fixture(scope="module")
def compilations() -> Iterator[dict[str, Future[Any]]]:
    """What nvcc says of each family, as it comes."""
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc on the PATH: the CUDA toolkit is not installed")
    with ThreadPoolExecutor(2) as pool:
        yield {
            family: pool.submit(registers.compiled, source, names, [OLDEST])
            for family, (source, names) in FAMILIES.items()
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_compiles_without_spills(family: str, compilations: dict[str, Future[Any]]) -> None:
    usages = compilations[family].result()
    # The compiler writes an enum's value as (Op)0, so templates are told apart by their number.
    made = Counter((u.arch, u.kernel.split("<")[0]) for u in usages)
    assert made == Counter((OLDEST, n.split("<")[0]) for n in FAMILIES[family][1])
    assert [u for u in usages if u.spills or u.stack] == []
    assert [u for u in usages if u.shared > 48 * 1024] == []


def test_a_refusal_shows_the_compilers_words(tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc on the PATH: the CUDA toolkit is not installed")
    source, _ = FAMILIES["optim"]
    with pytest.raises(RuntimeError, match=r"(?s)optim\.cuh: nvcc refused it.*no_such_kernel"):
        registers.compiled(source, ["no_such_kernel<float>"], [90])
