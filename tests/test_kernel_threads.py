"""Kernels with processes, threads, other libraries' threads, and their cache on disk."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")
import numba

from tinygen_kernels.cpu import kept, optim, reduce, runtime, vectors

ROWS, COLS = 600, 1000


def work(seed: int = 0) -> bytes:
    """A few parallel kernels: column sums, a full sum in two phases, Adam."""
    x = np.random.default_rng(seed).standard_normal((ROWS, COLS)).astype(np.float32)
    p, m, v = np.zeros((3, ROWS, COLS), np.float32)
    t, lr = np.array(0), np.array(0.1)
    columns, total = reduce.sum(x, axis=0), reduce.sum(x)
    for _ in range(3):
        optim.adam_step(
            p, x, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled=False
        )
    return bytes(columns.tobytes() + total.tobytes() + p.tobytes())


def _send(connection: Any, count: int) -> None:
    connection.send([work(seed) for seed in range(count)])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_process_computes_the_same(method: str) -> None:
    """Also a child forked after a parallel run, whose threads are gone."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    expected = [work(seed) for seed in range(2)]  # parallel, before the fork
    context = multiprocessing.get_context(method)
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_send, args=(there, 2))
    child.start()
    there.close()
    try:
        assert here.poll(120), "the child does not answer"
        assert here.recv() == expected
        child.join(60)
        assert child.exitcode == 0
    finally:
        child.kill()
    assert work(1) == expected[1]  # and the parent goes on in parallel


def test_two_python_threads_at_once() -> None:
    expected = [work(seed) for seed in range(2)]
    results: list[list[bytes]] = [[], []]

    def many(seed: int) -> None:
        for _ in range(20):
            results[seed].append(work(seed))

    threads = [threading.Thread(target=many, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert results == [[bits] * 20 for bits in expected]


def test_a_list_is_finished_by_the_workers_that_appear() -> None:
    """One thread that plays every worker in turn: it must not wait for one that comes after it."""
    expected, before = work(), numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert work() == expected
    finally:
        numba.set_num_threads(before)


def test_more_shares_than_workers_are_each_done_once() -> None:
    a, p = np.zeros(40_000, np.float32), np.ones(40_000, np.float32)
    call = optim.ema_step.bind(a, p, np.array(0.5))
    call.rows[:, 2] = 7
    call.set_rows(np.concatenate([call.rows] * 3))
    call()
    assert np.all(a == 0.875)  # half of what is left, three times


def test_a_table_knows_its_words() -> None:
    table = runtime.Table("x out n")
    assert (table.x, table.out, table.n) == (0, 1, 2)
    assert table.fill(n=3, x=1, out=2) == [1, 2, 3]
    with pytest.raises(TypeError, match=r"missing \['n'\], unknown \['m'\]"):
        table.fill(x=1, out=2, m=3)


# ---- other processes: counted compilations, environments -----------------------------------------

# Numba announces each pass of each compilation; code from the cache runs none.
SCRIPT = """
import hashlib, sys
from numba.core import event
class Count(event.Listener):
    passes = 0
    def on_start(self, e): self.passes += 1
    def on_end(self, e): pass
count = Count()
event.register("numba:run_pass", count)
sys.path.insert(0, {tests!r})
from test_kernel_threads import work
from tinygen_kernels.cpu import kept, runtime
print(hashlib.sha256(work()).hexdigest(), count.passes, runtime.threads(), kept.cache_folder())
"""


def process(**environment: str) -> tuple[str, int, int, str]:
    """(hash of the results, compiler passes, threads, cache folder) of a new process."""
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | environment, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    digest, passes, threads, folder = done.stdout.split(maxsplit=3)
    return digest, int(passes), int(threads), folder.strip()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache folder filled by one process, and the hash of what it computed."""
    home = tmp_path_factory.mktemp("cache")
    digest, passes, _, folder = process(TINYGEN_CACHE=str(home))
    assert passes > 0
    assert Path(folder).parent == home
    assert list(Path(folder).rglob("*.kernel"))
    return home, digest


def test_a_second_process_compiles_nothing(filled: tuple[Path, str]) -> None:
    home, digest = filled
    assert process(TINYGEN_CACHE=str(home))[:2] == (digest, 0)


def test_one_thread_computes_the_same(filled: tuple[Path, str]) -> None:
    home, digest = filled
    single = process(TINYGEN_CACHE=str(home), NUMBA_NUM_THREADS="1")
    assert (single[0], single[2]) == (digest, 1)
    cores = os.cpu_count() or 1
    if cores > 1:
        several = process(TINYGEN_CACHE=str(home), NUMBA_NUM_THREADS=str(cores))
        assert (several[0], several[2]) == (digest, cores)


@pytest.mark.parametrize("bits", ["256", "128"])
def test_narrower_vectors_compute_the_same_from_a_folder_of_their_own(
    filled: tuple[Path, str], bits: str
) -> None:
    home, digest = filled
    found, _, _, folder = process(TINYGEN_CACHE=str(home), TINYGEN_VECTOR_BITS=bits)
    assert found == digest
    if int(bits) < 8 * vectors.VECTOR_BYTES:
        assert Path(folder).name != kept.cache_folder().name


def test_no_other_vectors() -> None:
    script = "import tinygen as tg; tg.ones(3)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"TINYGEN_VECTOR_BITS": "512"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "ValueError: TINYGEN_VECTOR_BITS is '512'; expected 256 or 128" in done.stderr


def test_a_cache_that_cannot_be_written_does_no_harm(
    filled: tuple[Path, str], tmp_path: Path
) -> None:
    file = tmp_path / "a file"  # not even root can make a folder below it
    file.write_text("")
    digest, passes, _, _ = process(TINYGEN_CACHE=str(file / "cache"))
    assert digest == filled[1]
    assert passes > 0
    folder = tmp_path / "read only"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert process(TINYGEN_CACHE=str(folder))[0] == digest
    finally:
        folder.chmod(stat.S_IRWXU)


def test_a_changed_source_takes_another_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    for text in ("x = 1\n", "x = 2\n", "x = 1\n"):
        (tmp_path / "kernel.py").write_text(text)
        monkeypatch.setattr(kept, "__file__", str(tmp_path / "kept.py"))
        names.append(kept._sources.__wrapped__())
    assert names[0] == names[2] != names[1]


# ---- beside other libraries' threads -------------------------------------------------------------

# What workers take while there is nothing to do is no matter of how busy the machine is: threads
# that look for work take all that they can get. bench/kernels.py --alternate times two libraries.
IDLE = """
import sys, time
sys.path.insert(0, {tests!r})
import numpy as np
from test_kernel_threads import ROWS, COLS, work
from tinygen_kernels.cpu import reduce
work()
call = reduce.sum.bind(np.ones((ROWS, COLS), np.float32), axis=0)
call.set_rows(np.concatenate([call.rows] * {times}))
for _ in range(3):
    call()
    start = time.process_time()
    time.sleep(0.4)
    print(time.process_time() - start)
"""


@pytest.mark.parametrize("times", [1, 10])
def test_workers_leave_their_cores_when_there_is_no_work(
    filled: tuple[Path, str], times: int
) -> None:
    """Or NumPy's threads would wait for them; a single call, and a list on cores of their own."""
    done = subprocess.run(
        [sys.executable, "-c", IDLE.format(tests=str(Path(__file__).parent), times=times)],
        env=os.environ | {"TINYGEN_CACHE": str(filled[0])}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert max(map(float, done.stdout.split())) < 0.01  # seconds


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system places threads")
def test_a_plan_leaves_this_thread_free_and_its_workers_apart() -> None:
    script = """
import os, threading
import numpy as np
import tinygen as tg
from tinygen_kernels.cpu.cores import cores

free = os.sched_getaffinity(0)
step = tg.compile(lambda x: tuple((x @ x + k).sum() for k in range(9)))
x = tg.tensor(np.ones((400, 400), np.float32))
step(x)
assert os.sched_getaffinity(0) == free, "after a plan"
alone = [t for t in os.listdir("/proc/self/task") if len(os.sched_getaffinity(int(t))) == 1]
print("workers", len(alone), "of", len(cores()))
assert len(alone) == max(0, len(cores()) - 1)
assert len({tuple(os.sched_getaffinity(int(t))) for t in alone}) == len(alone)
if len(free) > 1:
    some = {max(free)}
    os.sched_setaffinity(0, some)
    step(x)
    assert os.sched_getaffinity(0) == some, "what the user chose"
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "workers" in done.stdout
