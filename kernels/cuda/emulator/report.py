"""A kernel's error as a sentence: the kernel, the line, the thread, what it did, what helps."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

from ..runtime import Launch
from .build import Compiled

Uint3 = ctypes.c_uint * 3


class Report(ctypes.Structure):
    """What engine.cpp tells of an error, field by field as in engine.h."""

    _fields_ = (
        ("problem", ctypes.c_int), ("write", ctypes.c_int), ("bytes", ctypes.c_int),
        ("array", ctypes.c_int), ("offset", ctypes.c_int64),
        ("thread", Uint3), ("block", Uint3), ("other_thread", Uint3), ("other_block", Uint3),
        ("other_wait", ctypes.c_int), ("other_write", ctypes.c_int),
        ("at", ctypes.c_void_p), ("other_at", ctypes.c_void_p),
    )  # fmt: skip


_WAITS = {
    0: "runs on", 1: "waits in __syncthreads", 2: "waits for its warp", 3: "waits for the grid",
    4: "has returned",
}  # fmt: skip


def told(kernel: Compiled, what: Launch, report: Report, numbers: list[int]) -> str:
    """One sentence: kernel, line, thread, what it did, and what helps."""
    thread, block = tuple(report.thread), tuple(report.block)
    head = f"{what.name}, {_line(kernel, report.at)}: thread {thread} of block {block}"
    verb = "writes" if report.write else "reads"
    if report.problem == 1:
        return f"{head} {verb} {report.bytes} bytes {_beyond(kernel, what, report, numbers)}"
    if report.problem == 2:
        other, theirs = tuple(report.other_thread), tuple(report.other_block)
        who = f"thread {other} of " + ("its block" if theirs == block else f"block {theirs}")
        did = "wrote" if report.other_write else "read"
        place = {-1: "shared memory", -2: "dynamic shared memory"}.get(report.array)
        if place is None:
            place = f"{kernel.parameter(numbers[report.array])} at byte {report.offset}"
        fix = (
            "put a __syncthreads() between the two" if theirs == block
            else "blocks run in any order: use an atomic, or two launches"
        )  # fmt: skip
        return (
            f"{head} {verb} {report.bytes} bytes of {place} that {who} {did} at "
            f"{_line(kernel, report.other_at)}, with no barrier in between; {fix}"
        )
    if report.problem in (3, 4):
        other = tuple(report.other_thread)
        return (
            f"{head} {_WAITS[report.write]}, but thread {other} {_WAITS[report.other_wait]}"
            + (f" at {_line(kernel, report.other_at)}" if report.other_wait in (1, 2, 3) else "")
            + "; every thread must reach the same barrier, so no return or branch may skip it"
        )
    return f"{head} {verb} {report.bytes} bytes at an address {report.offset} past a multiple of it"


def _beyond(kernel: Compiled, what: Launch, report: Report, numbers: list[int]) -> str:
    if report.array == -2:
        return f"at byte {report.offset} of the {what.shared} of dynamic shared memory"
    if report.array < 0:
        return "outside of every array that it was given"
    i = numbers[report.array]
    array = (*what.args, *what.reached)[i]
    where = (
        f"{-report.offset} bytes before the start of" if report.offset < 0
        else f"{report.offset - array.nbytes} bytes past the end of"
    )  # fmt: skip
    return f"{where} {kernel.parameter(i)} ({array.dtype} {tuple(array.shape)})"


def _line(kernel: Compiled, address: int | None) -> str:
    """The source line of an instruction, where the compiler's tools can tell."""
    tool = shutil.which("addr2line")
    if not address or tool is None or "_checked-" not in kernel.path.name:
        return kernel.source.file
    base = _base(kernel)
    command = [tool, "-i", "-e", str(kernel.path), hex(address - base - 1)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in ran.stdout.splitlines():
        name = line.split(" (")[0].split("/")[-1]
        if ".cuh:" in name:
            return name
    return kernel.source.file


class _Image(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p), ("at", ctypes.c_void_p),
    )  # fmt: skip


def _base(kernel: Compiled) -> int:
    """Where a module was loaded."""
    image = _Image()
    ctypes.CDLL(None).dladdr(ctypes.c_void_p(kernel.run), ctypes.byref(image))
    return int(image.base or 0)
