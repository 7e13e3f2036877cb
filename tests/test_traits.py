"""What operations declare themselves to be is what they do: a forgotten trait fails here."""

from __future__ import annotations

import ast
from pathlib import Path
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
PACKAGE = Path(tg.__file__).parent
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


def found(name: str, *arrays: Any, **options: Any) -> Any:
    """What an operation gives as a NumPy array; None where it refuses, or gives no one array."""
    try:
        y = PRIMITIVES[name](*map(tg.tensor, arrays), **options)
    except (TypeError, ValueError, IndexError):
        return None
    return y.numpy() if isinstance(y, Tensor) else None


# Options that an operation may be asked with to move the elements of an array (2, 1, 3).
MOVING: list[dict[str, Any]] = [
    {}, {"shape": (3, 2)}, {"shape": (4, 2, 1, 3)}, {"axes": (2, 0, 1)}, {"axis1": 0, "axis2": 2},
    {"axis": 1}, {"axis": 0},
]  # fmt: skip


def moved(name: str) -> set[str]:
    """How an operation moves the elements of x, which are all different."""
    p, x = PRIMITIVES[name], np.arange(1.0, 7.0).reshape(2, 1, 3)
    reduces = "keepdims" in p.defaults
    if p.mutates or p.traits.draws or reduces or len(p.args) > 1 or [*p.defaults] == ["dtype"]:
        return set()
    out = set()
    for options in MOVING:
        y = found(name, *([x, -x] if p.variadic else [x]), **options)
        if y is None or not p.defaults.keys() >= options.keys():
            continue
        if p.variadic and sorted(y.ravel()) == [*range(-6, 0), *range(1, 7)]:
            out |= {"joined"} if y.ndim == x.ndim else set()
        elif p.variadic:
            continue
        elif y.size > x.size:
            out |= {"spread"} if np.array_equal(y, np.broadcast_to(x, y.shape)) else set()
        elif np.array_equal(y.ravel(), x.ravel()) and (y.shape != x.shape or name == "identity"):
            out.add("shape")
        elif options.keys() & {"axes", "axis1"} and sorted(y.ravel()) == sorted(x.ravel()):
            out.add("axes")
    return out


def test_what_moves_elements_says_how() -> None:
    def said(name: str) -> set[str]:
        moves = PRIMITIVES[name].traits.moves
        return {moves} if moves else set()

    wrong = {n: (said(n), moved(n)) for n in NAMES if not said(n) <= moved(n)}
    assert not wrong
    undeclared = {n: moved(n) for n in NAMES if moved(n) and not said(n)}
    assert not undeclared
    assert {n for n in NAMES if said(n) == {"shape"}} >= {"reshape", "squeeze", "expand_dims"}


def test_what_takes_several_axes_says_so() -> None:
    x = np.ones((1, 1, 3))
    for name in NAMES:
        p = PRIMITIVES[name]
        if "axis" in p.defaults and len(p.args) == 1:
            others = {k: (1, 1, 3) for k in p.defaults if k == "shape"}
            several = found(name, *[x] * (2 if p.variadic else 1), axis=(0, 1), **others)
            assert p.traits.axes == (several is not None), name


def test_arguments_that_are_places_along_an_axis_are_declared() -> None:
    """They are array arguments without a gradient that may be -1, the last along an axis."""
    for name in NAMES:
        p = PRIMITIVES[name]
        static = {"axis": 0, "shape": (3,)}
        options = {k: v for k, v in static.items() if k in p.defaults}
        last = set()
        for k, arg in enumerate(p.args):
            if arg in p.nondiff and not (p.mutates or p.traits.draws or p.nondiff >= {*p.args}):
                arrays: list[Any] = [np.arange(1.0, 4.0) for _ in p.args]
                for one in {"put": ["value"], "scatter_add": ["x"]}.get(name, []):
                    arrays[p.args.index(one)] = np.float64(5)
                results = [
                    found(name, *arrays[:k], np.array(i), *arrays[k + 1 :], **options)
                    for i in (-1, 2)
                ]
                if results[0] is not None and np.array_equal(*results):
                    last.add(arg)
        assert {*p.traits.places} == last, name


def test_traits_that_are_none_are_refused() -> None:
    with pytest.raises(TypeError, match="bent: moves='bent'; expected one of shape, axes"):

        @primitive(moves="bent")
        def bent(xp: Any, x: Any) -> Any:
            return x

    with pytest.raises(TypeError, match=r"at: places=\('i',\); .* name them in nondiff"):

        @primitive(places=("i",))
        def at(xp: Any, x: Any, i: Any) -> Any:
            return x[i]


def test_no_pass_compares_the_name_of_an_operation() -> None:
    """In plan/ and trace/; rows of tables, and what a pass writes, have names."""
    compared = []
    for path in sorted(PACKAGE.glob("plan/*.py")) + sorted(PACKAGE.glob("trace/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Compare) or "traits" in ast.unparse(node.left):
                continue
            words = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
            names = [w for w in words if isinstance(w, str) and w in PRIMITIVES]
            compared += [f"{path.name}:{node.lineno}: {ast.unparse(node)}" for _ in names]
    assert not compared


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
