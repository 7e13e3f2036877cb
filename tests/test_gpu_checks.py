"""The checks of bench/gpu.py: on the emulated device they find what is wrong, and nothing else."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import op_table
import pytest
from strategies import AVAILABLE

import tinygen as tg
from tinygen import backend

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

BENCH = Path(__file__).parents[1] / "bench"
SPEC: Any = importlib.util.spec_from_file_location("gpu_checks", BENCH / "gpu_checks.py")
checks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(checks)


@pytest.fixture
def place() -> Any:
    return backend.get("emulated")


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("exp", "sum", "matmul_nd", "take", "adam_step", "softmax")
    monkeypatch.setattr(op_table, "ROWS", [r for r in op_table.ROWS if r.name in names])


def test_nothing_is_wrong(place: Any, few_rows: None, capsys: pytest.CaptureFixture[str]) -> None:
    found = checks.operations(place, examples=2)
    assert found["calls"] > 40
    assert max(found["large"].values()) <= 1
    assert "0 wrong" in capsys.readouterr().out
    assert {"logsumexp", "adam_step", "softmax"}.isdisjoint(found["idle"])
    assert not any(checks.bits(place).values())
    assert max(checks.precision(place).values()) <= 2


@pytest.mark.parametrize("name", ["exp", "sum", "matmul_nd", "take", "adam_step"])
def test_a_wrong_kernel_is_found(
    name: str, place: Any, few_rows: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    right = backend.load_kernel(place, name)
    assert right is not None

    def wrong(*arrays: Any, **options: Any) -> Any:
        out = right(*arrays, **options)
        if out is NotImplemented:
            return out
        changed = arrays[0] if name == "adam_step" else out
        if changed.size > 1:
            changed[...] = changed * 1.001 + 0.001
        return out

    monkeypatch.setitem(place.kernels, name, wrong)
    with pytest.raises(AssertionError, match=f"1 operations|{name}"):
        checks.operations(place, examples=3)
    assert f"WRONG {name} by kernels" in capsys.readouterr().out


def test_other_bits_are_found(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tg.random.Generator.normal

    def shifted(self: Any, *shape: Any) -> Any:
        out = real(self, *shape)
        return out if backend.current().name == "numpy" else out + np.float32(1e-6)

    monkeypatch.setattr(tg.random.Generator, "normal", shifted)
    with pytest.raises(AssertionError):
        checks.bits(place)


def test_a_product_of_too_little_precision_is_found(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tg.Tensor.__matmul__

    def rough(self: Any, other: Any) -> Any:
        with tg.use_backend("emulated", precision="bf16"):
            return whole(self, other)

    monkeypatch.setattr(tg.Tensor, "__matmul__", rough)
    with pytest.raises(AssertionError, match="float32"):
        checks.precision(place)


def test_without_a_gpu_the_program_says_so() -> None:
    if not tg.show_config()["backend cupy"].startswith("no"):
        pytest.skip("there is a GPU")
    ran = subprocess.run(
        [sys.executable, str(BENCH / "gpu.py")], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: cupy: ")
    assert "Traceback" not in ran.stderr
