"""Convolutions and pooling as CUDA kernels, on the emulated device with every access checked.

test_ops.py compares small shapes of all kinds; here are those at the edges of tiles, of each kernel
of the ladder, and a model that trains.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
from cuda_calls import kernels
from strategies import AVAILABLE

import tinygen as tg
from tinygen import backend, models
from tinygen.ops.conv import Window
from tinygen.primitive import PRIMITIVES
from tinygen.random import Generator

if "emulated" not in AVAILABLE:
    pytest.skip("no emulated GPU", allow_module_level=True)

from tinygen_kernels.cuda import conv, pool

RNG = np.random.default_rng(7)
ROUNDING = {"float32": 2.0**-22, "float64": 2.0**-50}  # of sum |a| |b|
NAMES = ("conv2d_nd", "conv2d_dx", "conv2d_dw")


def normal(*shape: int, dtype: Any = "float32") -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def put(array: np.ndarray) -> Any:
    """The array on the device."""
    return tg.tensor(array).data


class Case(NamedTuple):
    """Images (n, h, w, c), a kernel and how many channels it gives."""

    images: tuple[int, int, int, int]
    kernel: tuple[int, int]
    lanes: int
    window: Window

    def arrays(self, dtype: str) -> dict[str, np.ndarray]:
        n, h, w, c = self.images
        places = self.window.outputs((h, w), self.kernel)
        channels = (c // self.window.groups, self.lanes)
        kept = channels[::-1] if self.window.transposed else channels
        return {
            "x": normal(*self.images, dtype=dtype),
            "w": normal(*self.kernel, *kept, dtype=dtype),
            "y": normal(n, *places, self.lanes, dtype=dtype),
        }

    def call(self, name: str, arrays: dict[str, np.ndarray]) -> tuple[Any, tuple[Any, ...], Any]:
        """The kernel's call, its arrays, its other arguments."""
        static: dict[str, Any] = {"window": self.window}
        if name == "conv2d_dx":
            static["size"] = self.images[1:3]
        if name == "conv2d_dw":
            static["kernel"] = self.kernel
        used = tuple(arrays[a] for a in PRIMITIVES[name].args)
        return getattr(conv, name).bind(*map(put, used), **static), used, static


def close(got: Any, name: str, used: tuple[Any, ...], static: Any) -> None:
    """got is the primitive's result in NumPy and float64, up to rounding of each element's sum."""
    xp, reference = backend.get("numpy").xp, PRIMITIVES[name].reference
    wide = [a.astype("float64") for a in used]
    bound = 8 * ROUNDING[used[0].dtype.name] * reference(xp, *map(np.abs, wide), **static)
    assert (np.abs(got.get() - reference(xp, *wide, **static)) <= bound).all()


def ran(case: Case, name: str, arrays: dict[str, np.ndarray]) -> list[str]:
    """The kernels that made a result, which is checked."""
    call, used, static = case.call(name, arrays)
    call()
    close(call.out, name, used, static)
    return kernels(call)


SAME = ((1, 1), (1, 1))
CASES = {
    "1 x 1": Case((2, 3, 3, 1), (1, 1), 1, Window()),
    "channels in fours": Case((2, 5, 6, 8), (3, 3), 20, Window(padding=SAME)),
    "colours": Case((2, 7, 6, 3), (5, 5), 17, Window((2, 2), ((1, 2), (2, 2)))),
    "more padding than the kernel": Case((1, 3, 4, 5), (2, 3), 9, Window((3, 2), ((3, 4), (5, 0)))),
    "dilated": Case((2, 8, 7, 4), (3, 2), 6, Window((2, 1), ((2, 2), (1, 1)), (2, 3))),
    "stride and dilation share a factor": Case(
        (1, 9, 8, 2), (3, 3), 5, Window((4, 2), SAME, (2, 2))
    ),
    "pixels that no window meets": Case((2, 7, 8, 6), (1, 2), 7, Window((3, 4))),
    "groups": Case((2, 4, 5, 8), (3, 3), 36, Window((1, 2), SAME, (1, 1), 2)),
    "depthwise": Case((1, 5, 5, 6), (3, 3), 6, Window(padding=SAME, groups=6)),
}  # fmt: skip
over_cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)

# ---- the ladder ----------------------------------------------------------------------------------

# Small tiles, so that small images have several blocks; and the real ones below.
TILES = {
    "float32": conv.Tile(16, 16, 4, 4),
    "float64": conv.Tile(16, 16, 4, 4, "conv_tiles"),
}


def tiled(patch: pytest.MonkeyPatch, tile: conv.Tile, depth: int = 0) -> None:
    """Use this tile, whatever suits the shape; with a depth, in parts of k."""
    patch.setattr(conv, "SMALL", 0)
    patch.setattr(conv, "FEW", 0)
    patch.setattr(conv, "_tile", lambda product, _: (tile, depth or product.k))


@over_cases
@pytest.mark.parametrize("dtype", TILES)
def test_tiles(dtype: str, case: Case, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tiled(monkeypatch, TILES[dtype])
    arrays = case.arrays(dtype)
    for name in NAMES:
        assert ran(case, name, arrays) == [TILES[dtype].kernel]


@over_cases
def test_the_lower_rungs(case: Case, device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = case.arrays("float32")
    monkeypatch.setattr(conv, "SMALL", 2**30)
    for name in NAMES:
        assert ran(case, name, arrays) == ["conv_naive"]
    monkeypatch.setattr(conv, "SMALL", 0)
    few = case._replace(lanes=case.window.groups * 3)
    arrays = few.arrays("float32")
    assert ran(few, "conv2d_nd", arrays) == ["conv_dots"]
    if case.images[3] // case.window.groups <= conv.FEW:
        assert ran(few, "conv2d_dx", arrays) == ["conv_dots"]


@pytest.mark.parametrize("name", ["channels in fours", "dilated", "groups", "depthwise"])
@pytest.mark.parametrize("dtype", TILES)
def test_kernels_of_transposed_convolutions(
    dtype: str, name: str, device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept with their channels the other way around."""
    case = CASES[name]
    case = case._replace(window=case.window._replace(transposed=True))
    arrays = case.arrays(dtype)
    for tile, depth in ((TILES[dtype], 0), (TILES[dtype], 16), (None, 0)):
        if tile:
            tiled(monkeypatch, tile, depth)
        for operation in NAMES:
            assert ran(case, operation, arrays)
        monkeypatch.undo()


def test_a_kernel_within_a_larger_one(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case, name = CASES["channels in fours"], "conv2d_nd"
    whole, arrays = normal(4, 3, 12, 44), case.arrays("float32")
    for lanes in (slice(8, 28), slice(1, 21), slice(40, 20, -1), slice(0, 40, 2)):
        for rung in (TILES["float32"], None):
            if rung:
                tiled(monkeypatch, rung)
            inside = np.s_[::-1, :, 4:, lanes]
            x, w = arrays["x"], whole[inside][:3]
            call = conv.conv2d_nd.bind(put(x), put(whole)[inside][:3], window=case.window)
            call()
            close(call.out, name, (x, w), {"window": case.window})
        monkeypatch.undo()


# A tile of its real size, its product and a case with several blocks of it, each.
REAL = [
    ("float32", 0, "conv2d_nd", Case((2, 9, 9, 4), (2, 2), 68, Window(padding=SAME))),
    ("float32", 0, "conv2d_dx", Case((5, 11, 11, 33), (3, 3), 4, Window((2, 2), SAME))),
    ("float32", 1, "conv2d_dw", Case((2, 5, 4, 8), (3, 3), 66, Window(padding=SAME))),
    ("float32", 2, "conv2d_dx", Case((2, 9, 9, 5), (3, 3), 8, Window(padding=SAME))),
    ("float64", 0, "conv2d_dw", Case((2, 4, 4, 8), (3, 3), 66, Window(padding=SAME))),
    ("float64", 1, "conv2d_nd", Case((2, 6, 7, 3), (3, 2), 33, Window(padding=SAME))),
]


@pytest.mark.parametrize(("dtype", "which", "name", "case"), REAL)
def test_tiles_as_they_are_used(
    dtype: str, which: int, name: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    tile = conv.TILES[dtype][which]
    tiled(monkeypatch, tile)
    with tg.use_backend("emulated") as device, device.checked(order=5):
        call, used, static = case.call(name, case.arrays(dtype))
        assert call.launches[0].name in conv.INSTANCES
        call()
        close(call.out, name, used, static)


def test_the_choice_of_kernels_fills_a_gpu() -> None:
    large, small, narrow = conv.TILES["float32"]
    product = lambda *sizes: conv.Product("Gather", "Gather", *sizes)
    choose = lambda *sizes: conv._tile(product(*sizes), conv.TILES["float32"])
    assert choose(64 * 28 * 28, 64, 1600, 1) == (large, 1600)
    assert choose(64 * 7 * 7, 128, 1600, 4) == (large, 1600)
    assert choose(64 * 7 * 7, 256, 1600, 1) == (small, 1600)
    assert choose(64 * 14 * 14, 32, 800, 1) == (narrow, 800)
    tile, depth = choose(25, 64, 64 * 14 * 14, 1)  # a kernel's gradient: few elements, long sums
    assert tile == small
    assert depth % conv.STEP == 0
    assert -(-64 * 14 * 14 // depth) > 100
    names = [conv._kernel(product(*sizes), np.float32)[0] for sizes in (
        (64 * 28 * 28, 1, 576, 4), (10, 10, 50, 1), (100, 100, 50, 1))]  # fmt: skip
    assert [n.split("<")[0] for n in names] == ["conv_dots", "conv_naive", "conv_vector"]


# ---- parts of k ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", TILES)
def test_parts_of_k_are_summed(
    dtype: str, name: str, device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiled(monkeypatch, TILES[dtype], depth=16)
    for case in (CASES["groups"], CASES["colours"]):
        arrays = case.arrays(dtype)
        call, used, static = case.call(name, arrays)
        assert kernels(call)[1:] == ["sum_parts"]
        call()
        close(call.out, name, used, static)


def test_the_same_bits_in_any_order_of_threads() -> None:
    case = Case((6, 12, 12, 8), (3, 3), 8, Window(padding=SAME))  # as it would run
    arrays, found = case.arrays("float32"), []
    for order in (0, 5):
        with tg.use_backend("emulated") as device:
            device.order = order
            call, used, static = case.call("conv2d_dw", arrays)
            call()
            device.order = 0
        assert kernels(call) == ["conv_vector", "sum_parts"]
        close(call.out, "conv2d_dw", used, static)
        found.append(call.out.get())
    np.testing.assert_array_equal(*found)


# ---- what is declined ----------------------------------------------------------------------------


def test_what_it_declines(device: Any) -> None:
    x, w, window = put(normal(2, 4, 4, 4)), put(normal(3, 3, 4, 4)), Window()
    declined = [
        conv.conv2d_nd.bind(x[:, ::2], w, window=window),
        conv.conv2d_nd.bind(x[:0], w, window=window),
        conv.conv2d_nd.bind(x, put(normal(3, 3, 4, 4, dtype="float64")), window=window),
        conv.conv2d_nd.bind(x, w, window=window, out=put(normal(2, 2, 2, 5))),
        conv.conv2d_dx.bind(x[..., ::2], w, size=(6, 6), window=window),
        conv.conv2d_dw.bind(x, x[:, :2], kernel=(3, 3), window=window),
        pool.max_pool2d_nd.bind(x[:, ::2], kernel=(2, 2), window=window),
        pool.avg_pool2d_nd.bind(x[:0], kernel=(2, 2), window=window),
    ]
    assert all(d is NotImplemented for d in declined)
    out = put(normal(2, 2, 2, 4))
    assert conv.conv2d_nd.bind(x, w, window=window, out=out).out is out


# ---- pooling -------------------------------------------------------------------------------------

POOLS = {
    "halves": ((2, 8, 6, 5), (2, 2), Window((2, 2))),
    "overlapping": ((2, 7, 6, 3), (3, 2), Window((2, 1), ((1, 1), (0, 1)))),
    "dilated": ((1, 9, 9, 2), (3, 3), Window((2, 3), SAME, (2, 2))),
    "gaps": ((1, 9, 7, 300), (1, 2), Window((3, 3))),
}


@pytest.mark.parametrize("form", POOLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pooling(dtype: str, form: str, device: Any) -> None:
    shape, kernel, window = POOLS[form]
    x = RNG.integers(0, 4, shape).astype(dtype)  # with ties
    x[0, 1, 1] = np.nan
    x[0, 2, 2] = -np.inf
    v = normal(*shape, dtype=dtype)
    y = normal(shape[0], *window.outputs(shape[1:3], kernel), shape[3], dtype=dtype)
    static = {"kernel": kernel, "window": window}
    for name, arrays, more in [
        ("max_pool2d_nd", (x,), {}), ("max_pool2d_dx", (y, x), {}), ("max_pool2d_pick", (v, x), {}),
        ("avg_pool2d_nd", (v,), {}), ("avg_pool2d_dx", (y,), {"size": shape[1:3]}),
    ]:  # fmt: skip
        call = getattr(pool, name).bind(*map(put, arrays), **static, **more)
        assert call.launches[0].name in pool.INSTANCES
        call()
        wanted = PRIMITIVES[name].reference(backend.get("numpy").xp, *arrays, **static, **more)
        limit = 1e-6 if dtype == "float32" else 1e-14
        np.testing.assert_allclose(call.out.get(), wanted, rtol=limit, atol=limit)


# ---- a model -------------------------------------------------------------------------------------

CONVOLUTIONAL = {
    models.DCGAN: (8, {"width": 1 / 16}),
    models.ConvGAN: (10, {"width": 1 / 16, "hidden": (8,)}),
    models.ConvVAE: (8, {"width": 1 / 8, "hidden": (8,)}),
}


def steps(name: str, kind: Any, count: int) -> tuple[list[Any], int, Counter[str]]:
    """Losses of steps; reads within the last one; operations without a kernel."""
    side, options = CONVOLUTIONAL[kind]
    with tg.use_backend(name) as place:
        model = kind((side, side, 1), rng=Generator(7), **options)
        updates = model.optimizers(1e-3)
        low, high = model.value_range
        x = np.random.default_rng(0).uniform(low, high, (4, side, side, 1))
        x = tg.tensor(x.astype(np.float32))
        model.check_images(x)
        step = tg.compile(lambda x: model.train_step(x, None, updates))
        losses, reads = [], 0
        for _ in range(count):
            before = getattr(place, "synchronizations", 0)
            out = step(x)
            reads = getattr(place, "synchronizations", 0) - before
            losses.append({k: float(v) for k, v in out.items()})
        lacking = Counter(c.call.name for c in step.plan.bound if c.kernel is None)
        return losses, reads, lacking


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_a_compiled_step_reads_nothing_and_equals_numpy(kind: Any) -> None:
    here, _, _ = steps("numpy", kind, 2)
    there, reads, lacking = steps("emulated", kind, 2)
    assert reads == 0
    assert not lacking
    for a, b in zip(here, there, strict=True):
        assert b == pytest.approx(a, rel=1e-5, abs=1e-6)
