"""Every CUDA kernel compiles and keeps its numbers in registers.

For the oldest architecture and a new one; bench/cuda_registers.py compiles for all.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections import Counter
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
ARCHITECTURES = (75, 90)


@pytest.mark.parametrize("family", FAMILIES)
def test_compiles_without_spills(family: str) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc on the PATH: the CUDA toolkit is not installed")
    source, names = FAMILIES[family]
    usages = registers.compiled(source, names, ARCHITECTURES)
    # The compiler writes an enum's value as (Op)0, so templates are told apart by their number.
    made = Counter((u.arch, u.kernel.split("<")[0]) for u in usages)
    wanted = Counter((a, n.split("<")[0]) for n in names for a in ARCHITECTURES)
    assert made == wanted
    assert [u for u in usages if u.spills] == []
    assert [u for u in usages if u.shared > 48 * 1024] == []


def test_a_refusal_shows_the_compilers_words(tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc on the PATH: the CUDA toolkit is not installed")
    source, _ = FAMILIES["optim"]
    with pytest.raises(RuntimeError, match=r"(?s)optim\.cuh: nvcc refused it.*no_such_kernel"):
        registers.compiled(source, ["no_such_kernel<float>"], [90])
