"""The backend cupy on the real CuPy and NVRTC, with a stand-in for CUDA instead of a GPU.

Nothing is computed there, so no test asks for a value: they ask what the host does. Each scenario
of stand_in/__main__.py runs in a process of its own, since CuPy is then no longer what it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stand_in

pytestmark = pytest.mark.slow
if stand_in.missing():
    pytest.skip(f"stand-in for CUDA: {stand_in.missing()}", allow_module_level=True)

MODELS = ("GAN", "VAE", "CGAN", "CVAE", "DCGAN", "CDCGAN", "ConvGAN", "ConvVAE", "Classifier")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """What a scenario found; each runs once."""
    found: dict[str, Any] = {}
    cache = os.environ.get("CUPY_CACHE_DIR") or str(tmp_path_factory.mktemp("cupy"))

    def run(scenario: str) -> Any:
        if scenario not in found:
            done = subprocess.run(
                [sys.executable, "-m", "stand_in", scenario],
                capture_output=True, text=True, timeout=600, cwd=Path(__file__).parent,
                env={**os.environ, "CUPY_CACHE_DIR": cache},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert "stand-in: " not in done.stderr  # nothing refused, nothing that is not there
            found[scenario] = json.loads(done.stdout.splitlines()[-1])
        return found[scenario]

    return run


# ---- a training step -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_a_replayed_step_is_one_graph_and_never_waits(kind: str, ran: Any) -> None:
    step = ran("zoo")[kind]
    replay = step["replay"]
    assert step["one_graph"]
    assert replay["graph_launches"] == 1
    assert replay["launches"] <= 8  # to gather the batch, and to copy what is returned
    assert replay["copies"] <= 3  # the batch into the plan
    waits = {"stream_waits", "device_waits", "blocking_copies", "downloads", "modules", "graphs"}
    assert waits.isdisjoint(replay)


@pytest.mark.parametrize("kind", MODELS)
def test_the_losses_of_several_steps_are_one_reading(kind: str, ran: Any) -> None:
    step = ran("zoo")[kind]
    assert step["steps_read"] == 3
    assert (step["read"]["downloads"], step["read"]["stream_waits"]) == (1, 1)


@pytest.mark.parametrize("kind", ["GAN", "VAE", "CGAN", "CVAE"])
def test_the_emulated_device_makes_the_same_plan(kind: str, ran: Any) -> None:
    """The same calls, launches and memory: what is tried there is what a GPU runs."""
    found = ran("plans")[kind]
    assert found["emulated"] == found["cupy"]


def test_the_memory_of_the_recording_is_given_back(ran: Any) -> None:
    """Recording keeps every temporary; a plan uses their memory many times."""
    memory = ran("memory")
    assert memory["temporaries"] > 3 * memory["arena"]
    assert memory["kept"] < memory["arena"] / 2  # parts of blocks, which are still in use
    assert memory["used"] < 2 * memory["arena"]


def test_after_a_step_without_room_the_next_one_runs(ran: Any) -> None:
    found = ran("out_of_memory")
    assert "Out of memory allocating" in found["told"]
    assert found["one_graph"]


# ---- what CUDA refuses while a graph is captured -------------------------------------------------


def test_many_arrays_are_joined_in_one_graph(ran: Any) -> None:
    found = ran("joins")
    assert len(found) == 70
    assert [name for name, right in found.items() if not right] == []


def test_every_operation_is_captured(ran: Any) -> None:
    found = ran("operations")
    # some rows make a tensor of host data, which no step may
    apart = {name for name, told in found["found"].items() if "from host data" not in told}
    sorting = ("random_permutation", "argsort", "sort", "top_k")  # the stand-in cannot sort
    assert apart <= {f"{name}, {by}" for name in sorting for by in ("kernels", "references")}
    assert found["count"] > 600


# ---- cuBLAS --------------------------------------------------------------------------------------

UNABLE = {
    "no handle": "cublasCreate_v2 failed with status 1",
    "no memory for a handle": "cublasCreate_v2 failed with status 3",
    "an older library": "undefined symbol: cublasSetWorkspace_v2",
    "no workspace": "cublasSetWorkspace_v2 failed with status 7",
    "no stream": "cublasSetStream_v2 failed with status 1",
    "no mode": "cublasSetMathMode failed with status 7",
    "no such GPU": "cublasSgemm_v2 failed with status 8",
}


def test_a_cublas_that_works_is_in_the_graph(ran: Any) -> None:
    found = ran("products")["works"]
    assert (found["alone"], found["one_graph"], found["told"]) == (2, True, [])
    assert "cuBLAS serves large products" in found["about"]


@pytest.mark.parametrize("how", UNABLE)
def test_own_kernels_take_over_from_a_cublas_that_cannot(how: str, ran: Any) -> None:
    found = ran("products")[how]
    assert found["one_graph"]
    assert found["told"] == []
    assert "own kernels serve all products, as cuBLAS cannot" in found["about"]
    assert UNABLE[how] in found["about"]


def test_own_kernels_take_over_where_cublas_has_no_room(ran: Any) -> None:
    found = ran("products")["no room"]
    assert found["alone"] == 0
    assert "OutOfMemoryError" in found["about"]


def test_a_product_that_a_graph_cannot_hold_runs_beside_it(ran: Any) -> None:
    found = ran("products")["not in a graph"]
    assert not found["one_graph"]
    (told,) = found["told"]
    assert told.startswith("compile: not in a CUDA graph, so slower: matmul_nd (CublasError: ")


def test_products_of_several_threads_and_streams_do_not_mix(ran: Any) -> None:
    found = ran("streams")
    assert found["errors"] == []
    assert found["whole"]  # stream, workspace, mode, product: nothing of another thread between
    assert found["products"] >= 150
    assert len(found["workspaces"]) >= 3  # the default stream's, and one for each plan
    assert len({at for _, at in found["workspaces"]}) == len(found["workspaces"])
    assert len({stream for stream, _ in found["workspaces"]}) == len(found["workspaces"])


# ---- several GPUs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", ["an array by a kernel", "an array in a product", "an array for a model"]
)
def test_an_array_of_another_gpu_is_refused(what: str, ran: Any) -> None:
    told = ran("devices")[what]
    assert told.startswith("cupy: an array (4, 4) float32 is on GPU 1, tinygen computes on GPU 0")
    assert "CUDA_VISIBLE_DEVICES" in told


@pytest.mark.parametrize(
    "what", ["new memory", "an operation", "a replay", "a recording", "a random number"]
)
def test_a_thread_on_another_gpu_is_refused(what: str, ran: Any) -> None:
    told = ran("devices")[what]
    assert told.startswith("cupy: this thread has chosen GPU 1, tinygen computes on GPU 0")
    assert "CUDA_VISIBLE_DEVICES" in told


def test_an_array_of_another_gpu_is_copied_to_make_a_tensor(ran: Any) -> None:
    assert ran("devices")["an array as a tensor"] == ""
