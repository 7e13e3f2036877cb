"""A kernel's call that has run serves the next arrays of its signature: see kernels/binding.py."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from tinygen import backend as backends
from tinygen_kernels import TABLES, binding
from tinygen_kernels.cpu.compile import noting

BLOCK, EPS = {"block": (2, 2)}, {"eps": 1e-5}

# operation: the shapes of its arrays, and its options
CALLS: dict[str, tuple[tuple[tuple[int, ...], ...], dict[str, Any]]] = {
    "normalise": (((8, 6, 4, 4), (4, 4), (4, 4)), {"axis": (1, 3), **EPS}),
    "normalise_dx": (((8, 6, 4, 4), (8, 6, 4, 4), (4, 4)), {"axis": (1, 3), **EPS}),
    "normalise_groups": (((8, 3, 3, 32), (32,), (32,)), {"groups": 8, **EPS}),
    "normalise_groups_dx": (((8, 3, 3, 32), (8, 3, 3, 32), (32,)), {"groups": 8, **EPS}),
    "normalise_silu": (((8, 6, 4, 4), (4, 4), (4, 4), (8, 2, 4, 4)), EPS),
    "normalise_silu_dx": (((8, 6, 4, 4), (8, 6, 4, 4), (4, 4), (4, 4), (8, 2, 4, 4)), EPS),
    "pixels_repeated": (((2, 8, 8, 32),), BLOCK),
    "pixels_added": (((2, 8, 8, 32),), BLOCK),
    "pixels_to_channels": (((2, 8, 8, 32),), BLOCK),
    "channels_to_pixels": (((2, 8, 8, 32),), BLOCK),
    "softmax": (((64, 64),), {"axis": -1}),
    "log_softmax": (((64, 64),), {"axis": -1}),
    "logsumexp": (((64, 64),), {"axis": 1}),
    "sum": (((128, 512),), {"axis": 0}),
    "mean": (((128, 512),), {"axis": None}),
    "max": (((128, 512),), {"axis": 1}),
    "min": (((128, 512),), {"axis": 0, "keepdims": True}),
    "sum_to": (((128, 512),), {"shape": (512,)}),
    "squares_along": (((64, 1024),), {}),
    "product_along": (((64, 1024),), {"axis": 1}),
    "product_without": (((64, 1024),), {"axis": 0}),
    "sum_of_squares": (((64, 64),), {"dtype": "float64"}),
}


def kernel(name: str) -> Any:
    return backends.load_kernel(backends.get("numpy"), name)


@pytest.fixture(autouse=True)
def none_spare() -> None:
    for name in CALLS:
        kernel(name)._spare.clear()


def arrays(name: str, seed: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    made = (1 + 0.1 * rng.standard_normal(shape) for shape in CALLS[name][0])
    return tuple(x.astype(np.float32) for x in made)


def bits(out: Any) -> tuple[bytes, ...]:
    return tuple(x.tobytes() for x in (out if isinstance(out, tuple) else (out,)))


def bound(name: str, *xs: Any, **options: Any) -> tuple[bytes, ...]:
    """What a call gives that is bound for these arrays alone."""
    call = kernel(name).bind(*xs, **(options or CALLS[name][1]))
    call()
    return bits(call.out)


def test_the_table_has_every_kernel_whose_calls_run_again() -> None:
    assert {n for n in TABLES["numpy"] if getattr(kernel(n), "_again", False)} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_a_spare_call_gives_the_bits_of_a_new_one(name: str) -> None:
    run, options = kernel(name), CALLS[name][1]
    run(*arrays(name, 0), **options)
    assert len(run._spare) == 1
    results, expected = [], []
    for seed in range(3):
        xs = arrays(name, seed)
        results.append(run(*xs, **options))
        expected.append(bound(name, *xs))
    assert len(run._spare) == 1
    assert list(map(bits, results)) == expected  # each has memory of its own, too


@pytest.mark.parametrize("name", CALLS)
def test_a_spare_call_keeps_no_array_alive(name: str) -> None:
    run, options, alive = kernel(name), CALLS[name][1], []
    for seed in range(2):
        xs = arrays(name, seed)
        out = run(*xs, **options)
        outs = out if isinstance(out, tuple) else (out,)
        alive += [weakref.ref(x) for x in (*xs, *outs)]
        del xs, out, outs
    assert run._spare
    assert [r() for r in alive] == [None] * len(alive)


def test_an_array_that_is_given_twice_makes_no_spare_call() -> None:
    """Its words could not be told apart by the next arrays, which may be two."""
    name = "normalise_groups_dx"
    run, (g, x, weight) = kernel(name), arrays(name, 0)
    run(x, x, weight, **CALLS[name][1])
    assert not run._spare
    run(g, x, weight, **CALLS[name][1])
    assert bits(run(x, x, weight, **CALLS[name][1])) == bound(name, x, x, weight)


def test_other_layouts_types_and_options_have_calls_of_their_own() -> None:
    name = "normalise_groups_dx"
    run, (g, x, weight) = kernel(name), arrays(name, 0)
    turned = np.ascontiguousarray(g.transpose(3, 0, 1, 2)).transpose(1, 2, 3, 0)
    sealed = g.copy()
    sealed.flags.writeable = False
    expected = bound(name, g, x, weight)
    for cotangent in (g, turned, sealed, turned, g):  # the turned one is copied for its call
        assert bits(run(cotangent, x, weight, **CALLS[name][1])) == expected
    assert len(run._spare) == 1
    run(*(a.astype(np.float64) for a in (g, x, weight)), **CALLS[name][1])
    run(g, x, weight, groups=4, eps=1e-5)
    assert len(run._spare) == 3
    rows = np.random.default_rng(0).standard_normal((8, 32, 512)).astype(np.float32)[..., :256]
    for x in (rows, rows.copy(), rows, rows.copy()):  # parts of rows, and whole ones
        assert bits(kernel("sum")(x, axis=1)) == bound("sum", x, axis=1)
    assert len(kernel("sum")._spare) == 2


def test_threads_never_share_a_spare_call() -> None:
    name, wrong = "normalise_groups_dx", []
    data = [arrays(name, seed) for seed in range(4)]
    expected = [bound(name, *xs) for xs in data]

    def work(i: int) -> None:
        for _ in range(100):
            if bits(kernel(name)(*data[i], **CALLS[name][1])) != expected[i]:
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_spare_calls_are_few_and_small() -> None:
    run = kernel("pixels_repeated")
    for n in range(1, binding.SPARE + 3):
        run(np.ones((n, 8, 8, 32), np.float32), **BLOCK)
        assert 1 <= len(run._spare) <= binding.SPARE
    wide = np.ones((1, 1, 1, 1 << 14), np.float32)
    kernel("normalise_groups")(wide, wide[0, 0, 0], wide[0, 0, 0].copy(), groups=8, eps=1e-5)
    assert not kernel("normalise_groups")._spare  # its scratch is megabytes


def test_a_kernel_that_is_not_compiled_yet_makes_no_spare_call() -> None:
    """In a block of `noting` such a kernel does nothing, and a spare call would go on doing it."""
    run, xs = kernel("softmax"), arrays("softmax", 0)
    with noting(lambda _: None):
        run(*xs, axis=-1)
    assert not run._spare
