"""What operations declare themselves to be is what they do: a forgotten trait fails here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygen as tg
from tinygen.fused import Fused
from tinygen.ops.conv import Window
from tinygen.primitive import PRIMITIVES, primitive
from tinygen.tensor import Tensor

pytestmark = [pytest.mark.quick, pytest.mark.usefixtures("own_primitives")]
NAMES = sorted(n for n, p in PRIMITIVES.items() if not isinstance(p, Fused))  # by their bodies
SHAPE = (1, 3, 4)
OPTIONS = {"cast": {"dtype": "float32"}, "cast_discrete": {"dtype": "int64"}, "power_n": {"n": 1.5}}


def operands(name: str, seed: int) -> list[Any]:
    """An array for each argument, all of one shape; whole numbers where only those are taken."""
    p, rng = PRIMITIVES[name], np.random.default_rng(seed)
    count = 2 if p.variadic else len(p.args)
    out: list[Any] = [rng.integers(1, 9, SHAPE) / 4 for _ in range(count)]
    if name == "where":
        out[0] = out[0] > 1
    return [x > 1 for x in out] if name.startswith("mask_") else out


def is_pointwise(name: str) -> bool:
    """Whether elements in another order give the results in that order, and nothing else."""
    arrays = operands(name, 0)
    run, options = PRIMITIVES[name], OPTIONS.get(name, {})
    order = np.random.default_rng(1).permutation(12)
    try:
        y = run(*map(tg.tensor, arrays), **options)
        turned = run(*(tg.tensor(a.reshape(12)[order].reshape(SHAPE)) for a in arrays), **options)
    except (TypeError, ValueError, IndexError):
        return False
    if not isinstance(y, Tensor) or y.shape != SHAPE:
        return False
    return bool(np.array_equal(y.numpy().reshape(12)[order], turned.numpy().reshape(12)))


def test_the_operations_that_work_element_by_element_are_declared_pointwise() -> None:
    plain = [n for n in NAMES if not PRIMITIVES[n].mutates and not PRIMITIVES[n].traits.draws]
    found = {name for name in plain if is_pointwise(name)}
    assert {"add", "where", "sigmoid", "cast"} <= found
    assert found == {name for name in plain if PRIMITIVES[name].traits.pointwise}


@pytest.mark.parametrize("name", [n for n in NAMES if PRIMITIVES[n].traits.ufunc])
def test_a_ufunc_is_what_the_reference_computes(name: str) -> None:
    p = PRIMITIVES[name]
    xp = tg.backend.get("numpy").xp
    arrays = [np.random.default_rng(i).uniform(0.5, 2, (3, 3)) for i in range(len(p.args))]
    out = np.empty((3, 3))
    getattr(xp, p.traits.ufunc)(*arrays, out=out)
    np.testing.assert_array_equal(out, p.reference(xp, *arrays))


def test_what_copies_has_the_same_values_elsewhere() -> None:
    for name in NAMES:
        p, x = PRIMITIVES[name], np.arange(6.0).reshape(2, 3).T
        same = set()
        if not p.mutates and len(p.args) == 1 and [*p.defaults] == ["dtype"]:
            y = p(tg.tensor(x), dtype="float64").data
            same = {bool(np.array_equal(x, y) and y.base is None)}
        assert p.traits.copies == (same == {True}), name


def test_products_are_the_matrix_products() -> None:
    assert [n for n in NAMES if PRIMITIVES[n].traits.product] == ["matmul_nd"]
    x, y = np.arange(6.0).reshape(2, 3), np.ones((3, 4))
    np.testing.assert_array_equal(PRIMITIVES["matmul_nd"](x, y).numpy(), x @ y)


def test_convolutions_say_which_of_their_arrays_are_images_kernel_and_output() -> None:
    x, w, window = np.ones((2, 5, 6, 3)), np.ones((3, 2, 3, 4)), Window()
    y = PRIMITIVES["conv2d_nd"](x, w, window=window).numpy()
    calls: dict[str, tuple[Any, ...]] = {
        "conv2d_nd": (x, w, y), "conv2d_dx": (y, w, x), "conv2d_dw": (x, y, w),
    }  # fmt: skip
    found = {n: PRIMITIVES[n].traits.convolution for n in NAMES}
    assert {n for n, places in found.items() if places} == calls.keys()
    for name, arrays in calls.items():
        assert [arrays[i] is a for i, a in zip(found[name] or (), (x, w, y), strict=True)] == [
            True, True, True,
        ]  # fmt: skip


def test_a_draw_that_does_not_say_so_is_refused() -> None:
    with pytest.raises(TypeError, match=r"noisy: draws=False; .* declared with draws=True"):

        @primitive(nondiff="all")
        def noisy(xp: Any, key: Any, base: Any, *, offset: int) -> Any:
            return key + base + offset

    with pytest.raises(TypeError, match=r"noisy: draws=True; .* takes the arrays key and base"):

        @primitive(draws=True, nondiff="all")
        def noisy(xp: Any, x: Any) -> Any:
            return x


def test_an_unknown_trait_is_refused() -> None:
    with pytest.raises(TypeError, match="pointwize"):
        primitive(pointwize=True)(lambda xp, x: x)


def test_an_update_that_does_not_say_so_is_refused() -> None:
    with pytest.raises(TypeError, match=r"lion_step: update=''; the update of an optimizer is"):

        @primitive(mutates=("p",))
        def lion_step(xp: Any, p: Any, grad: Any) -> Any:
            return p

    with pytest.raises(TypeError, match=r"lion_step: update='lion'; .* writes into its first"):

        @primitive(update="lion")
        def lion_step(xp: Any, p: Any, grad: Any) -> Any:
            return p


def test_a_plan_goes_by_traits_and_not_by_names() -> None:
    """A product, a copy and an update under other names are served as ours are."""

    @primitive(product=True, ufunc="matmul")
    def times(xp: Any, x: Any, y: Any) -> Any:
        return xp.matmul(x, y)

    @primitive(nondiff="all", copies=True, pointwise=True)
    def another(xp: Any, x: Any, *, dtype: str) -> Any:
        return x.astype(dtype, order="C")

    def step(x: Tensor) -> Tensor:
        return another(times(x, x) * 2.0, dtype="float32") * another(x * 3.0, dtype="float32")

    compiled = tg.compile(step)
    x = tg.tensor(np.arange(9, dtype=np.float32).reshape(3, 3))
    np.testing.assert_array_equal(compiled(x).numpy(), step(x).numpy())
    assert "another" not in " ".join(str(call.name) for call in compiled.plan.calls)
    plain = tg.compile(step, fuse=False)
    plain(x)
    assert [b.allocates for b in plain.plan.bound if b.call.name == "times"] in ([False], [])
