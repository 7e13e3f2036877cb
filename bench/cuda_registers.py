"""Every CUDA kernel compiled for every architecture: registers, shared memory, spills.

    python bench/cuda_registers.py [--only FAMILY] [--arch 80,90] [--json FILE]

Compiles each family of kernels/cuda with nvcc, no GPU needed, once for all architectures, and
reads what the assembler tells of each kernel. Exits with 1 if one spills registers to memory, has
a stack there, or does not compile. Kernels on tensor cores are empty below sm_80, where the
launcher declines.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import report

import tinygen.losses  # noqa: F401  (declares the fused ones)
import tinygen_kernels
from tinygen.backend import programs
from tinygen_kernels.cuda import epilogue, matmul
from tinygen_kernels.cuda.runtime import GeneratedSource, Source
from tinygen_kernels.pointwise import ON_GPU

ARCHITECTURES = (75, 80, 86, 89, 90, 120)
_KERNEL = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)a?'")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Usage:
    """What one kernel takes on one architecture."""

    kernel: str
    arch: int
    registers: int
    shared: int  # bytes, static
    stack: int  # bytes a thread, 0 if all is in registers
    spills: int  # bytes stored and loaded


def families() -> dict[str, tuple[Source, tuple[str, ...]]]:
    """The source of each family, and the names of the kernels that it launches."""
    found = {}
    tables = tinygen_kernels.TABLES["cupy"].values()
    for module in sorted({target.split(":")[0] for target in tables}):
        family = importlib.import_module(module)
        name = module.rsplit(".", 1)[1]
        if hasattr(family, "INSTANCES"):
            found[name] = (family.SOURCE, family.INSTANCES)
        else:  # generated, a source a kernel: as one text
            pairs = family.instances(programs[name]() for name in ON_GPU)
            code = "\n".join(source.code for source, _ in pairs)
            source = GeneratedSource(f"{name}.cuh", code=code)
            found[name] = (source, tuple(kernel for _, kernel in pairs))
    found["epilogue"] = hosted()
    return found


def hosted() -> tuple[Source, tuple[str, ...]]:
    """Products with a generated end: a bias, an activation and dropout, as after a layer."""
    program = (
        ("add", (("in", 0), ("in", 1)), ()), ("leaky_relu", (("line", 0),), (("slope", 0.2),)),
        ("dropout", (("line", 1), ("in", 2), ("in", 3)), (("offset", 3), ("p", 0.25))),
    )  # fmt: skip
    kinds, types = ("full", "row", "counter", "counter"), ("float32", "float32", "uint64", "uint64")
    made = frozenset((0,))  # the first input is the product
    source = epilogue.source_of(program, (2,), kinds, (*types, "float32"), made, 0, "")
    names = [n for n in matmul.INSTANCES if "double" not in n and "false, " not in n]
    return source, tuple(names)


def compiled(source: Source, names: Iterable[str], archs: Sequence[int]) -> list[Usage]:
    """What the assembler tells. Raises RuntimeError with the compiler's words."""
    uses = "\n".join(f"    (void*)&{name}," for name in names)
    text = f"{source.text}\nvoid* instances[] = {{\n{uses}\n}};\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "family.cu"
        path.write_text(text, encoding="utf-8")
        targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in archs]
        command = ["nvcc", "-std=c++17", "-fatbin", "--threads", "2", "-Xptxas", "-v", *targets]
        command += [] if source.fused else ["--fmad=false"]
        ran = subprocess.run(
            [*command, str(path), "-o", str(Path(folder) / "out")], capture_output=True, text=True
        )
    if ran.returncode:
        raise RuntimeError(f"{source.file}: nvcc refused it\n{ran.stderr or ran.stdout}")
    return list(_usages(ran.stderr + ran.stdout))


def _usages(text: str) -> Iterable[Usage]:
    parts = re.split(r"(?=Compiling entry function)", text)
    found = [(match, part) for part in parts if (match := _KERNEL.match(part))]
    names = _demangled([match[1] for match, _ in found])
    for (match, part), name in zip(found, names, strict=True):
        spills, shared = _SPILLS.search(part), _SHARED.search(part)
        used = _USED.search(part)
        assert used is not None, part
        stack, stores, loads = map(int, spills.groups()) if spills else (0, 0, 0)
        yield Usage(
            name, int(match[2]), int(used[1]), int(shared[1]) if shared else 0, stack,
            stores + loads,
        )  # fmt: skip


def _demangled(names: list[str]) -> list[str]:
    """Names as written, without the parameters: "adam_step<float>"."""
    tool = shutil.which("cu++filt") or shutil.which("c++filt")
    if tool is None or not names:
        return names
    said = subprocess.run([tool], input="\n".join(names), capture_output=True, text=True).stdout
    return [_without_parameters(line.removeprefix("void ")) for line in said.splitlines()]


def _without_parameters(name: str) -> str:
    depth = 0
    for i, c in enumerate(name):
        depth += (c == "<") - (c == ">")
        if c == "(" and not depth:
            return name[:i]
    return name


def table(usages: Sequence[Usage]) -> str:
    """A row a kernel: registers on each architecture, the largest shared memory, stack, spills."""
    archs = sorted({u.arch for u in usages})
    rows = []
    for kernel in dict.fromkeys(u.kernel for u in usages):
        mine = {u.arch: u for u in usages if u.kernel == kernel}
        registers = [str(mine[a].registers) if a in mine else "-" for a in archs]
        most = (max(getattr(u, w) for u in mine.values()) for w in ("shared", "stack", "spills"))
        rows.append([kernel, *registers, *map(str, most)])
    return report.table(["kernel", *(f"sm_{a}" for a in archs), "shared", "stack", "spills"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", help="one family")
    parser.add_argument("--arch", default=",".join(map(str, ARCHITECTURES)))
    parser.add_argument("--json", type=Path, help="where a record goes")
    options = parser.parse_args()
    if shutil.which("nvcc") is None:
        print("error: nvcc is not on the PATH; install the CUDA toolkit", file=sys.stderr)
        return 2
    archs = [int(a) for a in options.arch.split(",")]
    usages: list[Usage] = []
    for name, (source, names) in families().items():
        if options.only in (None, name):
            usages += compiled(source, names, archs)
    print(table(usages))
    if options.json:
        options.json.write_text(json.dumps([asdict(u) for u in usages], indent=1) + "\n")
    spilling = [u for u in usages if u.spills or u.stack]
    for u in spilling:
        print(f"SPILLS  {u.kernel} on sm_{u.arch}: {u.spills} bytes, a stack of {u.stack}")
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main())
