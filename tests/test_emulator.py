"""The emulator finds what a GPU would not forgive, and names kernel, line and threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from strategies import AVAILABLE

import tinygen as tg
from tinygen_kernels.cuda.emulator import EmulatorError, KernelError, _asked, build
from tinygen_kernels.cuda.runtime import Launch, Source

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)


@dataclass(frozen=True)
class Text:
    """A source that is written here."""

    text: str
    file: str = "here.cuh"
    fused: bool = True
    parameters = Source.parameters


@pytest.fixture
def device() -> Iterator[Any]:
    with tg.use_backend("emulated") as found:
        yield found


def source(body: str) -> Any:
    return Text(f'#line 1 "here.cuh"\n{body.strip()}\n')


def launch(device: Any, body: str, name: str, *args: Any, **options: Any) -> None:
    grid, block = options.pop("grid", (1,)), options.pop("block", (32,))
    device.device.launch(Launch(source(body), name, grid, block, args, **options))


def zeros(n: int, dtype: str = "float32") -> Any:
    return tg.zeros(n, dtype=dtype).data


REVERSE = """
template <class T>
__global__ void reversed(const T* x, T* y, int n) {
    __shared__ T block[64];
    int i = threadIdx.x;
    block[i] = x[i];
    BARRIER
    y[i] = block[n - 1 - i];
}
"""

# ---- what CUDA C++ is served ---------------------------------------------------------------------


def test_a_barrier_keeps_threads_together(device: Any) -> None:
    x = tg.tensor(np.arange(64.0)).data
    for order in (0, 3):
        y = zeros(64, "float64")
        with device.checked(order):
            launch(device, REVERSE.replace("BARRIER", "__syncthreads();"), "reversed<double>",
                   x, y, np.int32(64), block=(64,))  # fmt: skip
        assert y.get().tolist() == list(range(63, -1, -1))


WARP = """
__global__ void warp(const float* x, float* out, unsigned* votes) {
    int i = threadIdx.x;
    float v = x[i];
    for (int m = 16; m; m /= 2) v += __shfl_xor_sync(0xFFFFFFFFu, v, m);
    out[i] = v;
    out[32 + i] = __shfl_sync(0xFFFFFFFFu, x[i], 5);
    out[64 + i] = __shfl_down_sync(0xFFFFFFFFu, x[i], 1);
    out[96 + i] = __shfl_up_sync(0xFFFFFFFFu, x[i], 2, 8);
    votes[i] = __ballot_sync(0xFFFFFFFFu, x[i] > 20);
}
"""


@pytest.mark.parametrize("order", [0, 9])
def test_shuffles_and_votes(device: Any, order: int) -> None:
    x = np.arange(32, dtype=np.float32)
    out, votes = zeros(128), tg.zeros(32, dtype="uint32").data
    with device.checked(order):
        launch(device, WARP, "warp", tg.tensor(x).data, out, votes)
    got = out.get().reshape(4, 32)
    assert (got[0] == x.sum()).all()
    assert (got[1] == 5).all()
    assert got[2].tolist() == [*range(1, 32), 31]
    assert got[3].tolist() == [i if i % 8 < 2 else i - 2 for i in range(32)]
    assert (votes.get() == sum(1 << i for i in range(21, 32))).all()


COUNT = """
__global__ void count(int* total, float* sum, int* most) {
    atomicAdd(total, 1);
    atomicAdd(sum, 0.5f);
    atomicMax(most, int(blockIdx.x * blockDim.x + threadIdx.x));
}
__global__ void dynamic(float* out, int n) {
    extern_shared(float, cell);
    cell[threadIdx.x] = threadIdx.x;
    __syncthreads();
    out[threadIdx.x] = cell[n - 1 - threadIdx.x];
}
__global__ void meet(const float* x, float* parts, float* y) {
    parts[blockIdx.x] = x[blockIdx.x] * 2;
    grid_barrier();
    y[blockIdx.x] = parts[gridDim.x - 1 - blockIdx.x];
}
""".replace("extern_shared(float, cell)", "float* cell = (float*)emulated::dynamic_shared()")


def test_atomics_dynamic_memory_and_cooperative_grids(device: Any) -> None:
    total, most = (tg.zeros(1, dtype="int32").data for _ in range(2))
    with device.checked(2):
        launch(device, COUNT, "count", total, zeros(1), most, grid=(3,), block=(40,))
        assert (total.get()[0], most.get()[0]) == (120, 119)
        out = zeros(16)
        launch(device, COUNT, "dynamic", out, np.int32(16), block=(16,), shared=64)
        assert out.get().tolist() == list(range(15, -1, -1))
        x, y = tg.tensor(np.arange(7, dtype=np.float32)).data, zeros(7)
        launch(device, COUNT, "meet", x, zeros(7), y, grid=(7,), block=(1,), cooperative=True)
        assert y.get().tolist() == [12, 10, 8, 6, 4, 2, 0]


# ---- planted faults ------------------------------------------------------------------------------


def test_a_removed_barrier_is_wrong_every_time_and_found(device: Any) -> None:
    body = REVERSE.replace("BARRIER", "")
    x, y = tg.tensor(np.arange(64.0)).data, zeros(64, "float64")
    launch(device, body, "reversed<double>", x, y, np.int32(64), block=(64,))
    assert np.isnan(y.get()[:32]).all()  # shared memory as the block found it
    with device.checked(), pytest.raises(
        KernelError,
        match=r"reversed<double>, here\.cuh:5: thread \(32, 0, 0\) of block \(0, 0, 0\) writes 8 "
        r"bytes of shared memory that thread \(31, 0, 0\) of its block read at here\.cuh:7, with "
        r"no barrier in between; put a __syncthreads\(\)",
    ):  # fmt: skip
        launch(device, body, "reversed<double>", x, y, np.int32(64), block=(64,))
    launch(device, body, "reversed<double>", x, y, np.int32(64), block=(64,))  # and goes on


def test_a_write_after_a_read_is_a_race_even_if_the_result_is_right(device: Any) -> None:
    body = """
__global__ void shift(float* x) {
    float next = x[(threadIdx.x + 1) % blockDim.x];
    x[threadIdx.x] = next;
}"""
    with device.checked(), pytest.raises(KernelError, match=r"writes 4 bytes of x.*read at"):
        launch(device, body, "shift", zeros(32))


def test_an_index_off_by_one_is_found(device: Any) -> None:
    body = """
__global__ void ramp(float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) x[i] = i;
}"""
    whole = tg.zeros(65)
    x = whole[:64].data
    with device.checked(), pytest.raises(
        KernelError,
        match=r"ramp, here\.cuh:3: thread \(0, 0, 0\) of block \(2, 0, 0\) writes 4 bytes 0 bytes "
        r"past the end of x \(float32 \(64,\)\)",
    ):  # fmt: skip
        launch(device, body, "ramp", x, np.int32(64), grid=(3,))
    body = "__global__ void before(const float* x, float* y) { y[0] = x[int(threadIdx.x) - 2]; }"
    with device.checked(), pytest.raises(KernelError, match=r"8 bytes before the start of x"):
        launch(device, body, "before", zeros(4), zeros(1))


def test_blocks_that_meet_are_found(device: Any) -> None:
    body = "__global__ void last(float* x) { x[0] = blockIdx.x; }"
    with device.checked(), pytest.raises(KernelError, match=r"blocks run in any order"):
        launch(device, body, "last", zeros(1), grid=(2,), block=(1,))


def test_barriers_that_not_all_reach(device: Any) -> None:
    body = """
__global__ void early(float* x, int n) {
    if (threadIdx.x >= n) return;
    __syncthreads();
    x[threadIdx.x] = 1;
}
__global__ void halves(float* x) {
    if (threadIdx.x < 16) __syncthreads();
    else __syncwarp(0xFFFF0000u), __shfl_sync(0xFFFFFFFFu, 1, 0);
}"""
    with device.checked(), pytest.raises(
        KernelError,
        match=r"early, here\.cuh:3: thread \(0, 0, 0\) of block \(0, 0, 0\) waits in "
        r"__syncthreads, but thread \(20, 0, 0\) has returned; every thread must reach",
    ):  # fmt: skip
        launch(device, body, "early", zeros(32), np.int32(20))
    with pytest.raises(KernelError, match=r"waits in __syncthreads, but thread .* waits for its"):
        launch(device, body, "halves", zeros(32))


def test_what_a_launch_refuses(device: Any) -> None:
    body = "__global__ void put(float* x, int n, float v) { if (threadIdx.x < n) x[0] = v; }"
    good = (zeros(1), np.int32(1), np.float32(2))
    for args, message in (
        (good[:2], r"put: 2 arguments, expected 3 \(x, n, v\)"),
        ((np.zeros(1, np.float32), *good[1:]), r"x is ndarray; expected an array of the device"),
        ((zeros(1, "float64"), *good[1:]), r"put: x holds float64, expected float32"),
        ((good[0], 1, good[2]), r"put: n is 1; expected int32"),
        ((good[0], np.int64(1), good[2]), r"put: n is .*; expected int32"),
    ):
        with pytest.raises(TypeError, match=message):
            launch(device, body, "put", *args)
    for options, message in (
        ({"block": (2048,)}, r"put: block is \(2048,\); expected 1 to \(1024"),
        ({"block": (64, 32)}, r"2048 threads in a block; at most 1024"),
        ({"grid": (0,)}, r"grid is \(0,\)"),
        ({"shared": 300_000}, r"300,000 bytes of dynamic shared memory"),
    ):
        with pytest.raises(KernelError, match=message):
            launch(device, body, "put", *good, **options)


def test_the_compilers_words_are_shown(device: Any) -> None:
    with pytest.raises(EmulatorError, match=r"(?s)refused put.*here\.cuh:1.*no_such_variable"):
        launch(device, "__global__ void put(float* x) { x[0] = no_such_variable; }", "put",
               zeros(1))  # fmt: skip


def test_a_machine_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(EmulatorError, match=r"needs a C\+\+ compiler .*install one.*numpy"):
        build.compiler.__wrapped__()
    monkeypatch.setattr(build.sys, "platform", "win32")
    with pytest.raises(EmulatorError, match=r"WSL"):
        build.compiler.__wrapped__()


def test_the_variable_that_turns_checks_on() -> None:
    assert _asked("") == (False, 0)
    assert _asked("check") == (True, 0)
    assert _asked("order=7,check") == (True, 7)
    for wrong in ("chek", "order=x", "check;order=7"):
        with pytest.raises(EmulatorError, match=r"TINYGEN_EMULATOR is .*; expected check, order=7"):
            _asked(wrong)
