"""Every CUDA kernel compiles as CuPy would compile it on a GPU: by NVRTC, with CuPy's options."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from tinygen_kernels.cuda import elementwise, epilogue
from tinygen_kernels.cuda.runtime import GeneratedSource, Source
from tinygen_kernels.pointwise import ROWS

pytestmark = pytest.mark.slow
PATH = Path(__file__).parents[1] / "bench" / "cuda_registers.py"
SPEC: Any = importlib.util.spec_from_file_location("cuda_registers", PATH)
registers = importlib.util.module_from_spec(SPEC)
sys.modules["cuda_registers"] = registers
sys.path.insert(0, str(PATH.parent))  # for bench/report.py
SPEC.loader.exec_module(registers)
FAMILIES = registers.families()
INSTALL = "pip install cupy-cuda13x nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-cccl"
# What CuPy adds to the options of a RawModule (cupy/cuda/compiler.py); no driver is needed.
OPTIONS = ("-ftz=true", "-arch=sm_90", "--device-as-default-execution-space")


@pytest.fixture(scope="module")
def nvrtc() -> Any:
    try:
        library = importlib.import_module("cupy_backends.cuda.libs.nvrtc")
        library.getVersion()
    except (ImportError, RuntimeError) as error:  # no CuPy, or no library for it
        pytest.skip(f"NVRTC cannot be loaded ({type(error).__name__}); {INSTALL}")
    return library


def compiled(nvrtc: Any, source: Source, names: tuple[str, ...]) -> list[str]:
    """The mangled names of the kernels in the machine code. Fails with the compiler's words."""
    program = nvrtc.createProgram(source.text, source.file, (), ())
    try:
        for name in names:
            nvrtc.addNameExpression(program, name)
        own = ("-std=c++17", *(() if source.fused else ("--fmad=false",)))
        try:
            nvrtc.compileProgram(program, (*own, *OPTIONS))
        except nvrtc.NVRTCError:
            pytest.fail(f"{source.file}: {nvrtc.getProgramLog(program)}")
        assert nvrtc.getProgramLog(program).strip("\0\n ") == ""  # nor a warning
        code = nvrtc.getCUBIN(program)
        mangled = [nvrtc.getLoweredName(program, name) for name in names]
    finally:
        nvrtc.destroyProgram(program)
    assert [m for m in mangled if f"\0.text.{m}\0".encode() not in code] == []
    return mangled


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_compiles(family: str, nvrtc: Any) -> None:
    source, names = FAMILIES[family]
    assert len(set(compiled(nvrtc, source, names))) == len(names)


def test_a_source_is_ascii() -> None:  # CuPy writes it to a file in the locale's encoding
    assert [name for name, (source, _) in FAMILIES.items() if not source.text.isascii()] == []


X, Y, Z = (("in", i) for i in range(3))
L0, L1, L2, L3 = (("line", j) for j in range(4))
PROGRAM = (  # a bias, an activation and dropout, as after a layer
    ("add", (X, Y), ()), ("leaky_relu", (L0,), (("slope", 0.2),)),
    ("dropout", (L1, ("in", 2), ("in", 3)), (("offset", 3), ("p", 0.25))),
    ("clip", (L2,), (("high", float("inf")), ("low", -1e-40))),
)  # fmt: skip
MASKED = (("greater", (X, 0.0), ()), ("where", (L0, Y, -0.0), ()), ("mul", (L1, Z), ()))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("wide", [False, True])
def test_generated_loops_compile(dtype: str, wide: bool, nvrtc: Any) -> None:
    kinds, types = ("full", "row", "counter", "counter"), (dtype, dtype, "uint64", "uint64", dtype)
    loops = [
        elementwise.source_of(PROGRAM, (3,), kinds, types, wide, "first"),
        elementwise.source_of(
            MASKED, (0, 2), ("full", "column", "value"), (dtype,) * 3 + ("bool", dtype), wide, ""
        ),
    ]
    for loop in loops:
        compiled(nvrtc, loop, (elementwise.name_of(loop),))


@pytest.mark.parametrize("kernel", ["vector_tiles<64, 64, 16, 4, 4, true, false>",
                                    "sum_parts<float>"])  # fmt: skip
def test_generated_ends_of_products_compile(kernel: str, nvrtc: Any) -> None:
    types = ("float32", "float32", "uint64", "uint64", "float32")
    kinds = ("full", "row", "counter", "counter")
    end = epilogue.source_of(PROGRAM, (3,), kinds, types, frozenset((0,)), 0, "")
    compiled(nvrtc, end, (kernel,))


def test_every_operation_of_a_loop_compiles(nvrtc: Any) -> None:
    options = {"leaky_relu": (("slope", 0.2),), "clip": (("high", None), ("low", 0.1))}
    names = [n for n in ROWS if n != "where"]
    lines = tuple((n, (X, Y), options.get(n, ())) for n in names)
    stored = tuple(range(len(lines)))
    outs = tuple("bool" if ROWS[n].truth else "float32" for n in names)
    types = ("float32", "float32", *outs)
    loop = elementwise.source_of(lines, stored, ("full", "value"), types, False, "")
    compiled(nvrtc, loop, (elementwise.name_of(loop),))


def test_the_words_of_a_refusal(nvrtc: Any) -> None:
    wrong = GeneratedSource("wrong.cuh", code="__global__ void f(float* x) { x[0] = nothing; }")
    with pytest.raises(pytest.fail.Exception, match=r"(?s)wrong\.cuh.*nothing"):
        compiled(nvrtc, wrong, ("f",))
