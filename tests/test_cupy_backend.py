"""The backend cupy where it cannot be had: each way has its own message, and no traceback.

What needs a GPU runs with the op table, whose rows for cupy are skipped where there is none.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
from typing import Any

import pytest

import tinygen as tg
from tinygen.backend import cupy as backend
from tinygen.backend import numpy as host

pytestmark = pytest.mark.quick


class Array:
    """Stands for a device array; `fails` says at what."""

    def __init__(self, fails: str) -> None:
        self.fails = fails

    def __add__(self, other: Any) -> Array:
        return self

    def __matmul__(self, other: Any) -> Array:
        if self.fails == "cublas":
            raise ImportError("Failure finding libcublas.so.13\nsearched everywhere")
        return self

    def get(self) -> None:
        if self.fails == "nvrtc":
            raise RuntimeError("Failure finding libnvrtc.so.13")


def fake_cupy(
    monkeypatch: pytest.MonkeyPatch, driver: int = 13000, built: int = 13020, fails: str = ""
) -> None:
    """A package `cupy` that behaves like CuPy's on such a machine."""

    def count() -> int:
        if fails == "count":
            raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return 0 if fails == "none" else 1

    def version() -> int:
        if fails == "load":
            raise ImportError("libcuda is of another kind")
        return driver

    runtime = types.SimpleNamespace(
        driverGetVersion=version, runtimeGetVersion=lambda: built, getDeviceCount=count
    )
    module = types.ModuleType("cupy")
    module.__spec__ = importlib.util.spec_from_loader("cupy", loader=None)
    module.cuda = types.SimpleNamespace(runtime=runtime)  # type: ignore[attr-defined]
    module.zeros = module.ones = lambda shape: Array(fails)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", module)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"driver": 0}, r"no NVIDIA driver on this machine; .*nvidia-smi.*; without .* numpy"),
        ({"driver": 12040}, r"driver is for CUDA 12\.4, CuPy for 13\.2; .*tinygen\[cuda12\]"),
        ({"fails": "load"}, r"does not load \(ImportError: libcuda is of another kind\).*pip"),
        ({"fails": "count"}, r"finds no GPU .*no CUDA-capable device.*CUDA_VISIBLE_DEVICES"),
        ({"fails": "none"}, r"no GPU is visible; .*CUDA_VISIBLE_DEVICES"),
        ({"fails": "nvrtc"}, r"NVRTC .*cannot be used .*pip install \"cupy-cuda13x\[ctk\]\""),
        ({"fails": "cublas"}, r"cuBLAS cannot be used \(ImportError: Failure finding libcublas"),
    ],
)
def test_each_way_it_can_be_missing(
    how: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cupy(monkeypatch, **how)
    with pytest.raises(tg.DeviceError, match=message):
        backend.find()


def test_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy(monkeypatch)
    assert backend.find() is sys.modules["cupy"]


def test_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(tg.DeviceError, match=r"not installed; run `pip install \"tinygen\[cuda13"):
        backend.find()


def test_the_command_line_says_so() -> None:
    pytest.importorskip("typer")
    if tg.show_config()["backend cupy"].startswith("no") is False:
        pytest.skip("there is a GPU")
    ran = subprocess.run(
        [sys.executable, "-m", "tinygen", "train", "gan", "--backend", "cupy"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: cupy: ")
    assert "Traceback" not in ran.stderr


def test_the_configuration_tells_of_every_backend() -> None:
    config = tg.show_config()
    assert config["backend numpy"] == "yes"
    assert "pip" in config["backend cupy"] or "CuPy" in config["backend cupy"]
    assert {"backend emulated"} <= config.keys()


def test_cupy_has_the_array_functions() -> None:
    cupy = pytest.importorskip("cupy")
    names = [*host.NAMES.split(), *host.SILENT.split()]
    assert [name for name in names if not hasattr(cupy, name)] == []
    assert vars(backend.namespace(cupy)).keys() == vars(host.xp).keys()
