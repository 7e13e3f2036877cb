"""Declaring primitives and fused operations, and dispatch to kernels."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygen as tg
import tinygen_kernels
from tinygen import backend
from tinygen.events import Observer, watching
from tinygen.fused import fused
from tinygen.primitive import PRIMITIVES, primitive
from tinygen.testing import check_grads

pytestmark = pytest.mark.quick
A, B = np.array([0.5, -1.5, 2.0]), np.array([2.0, 0.7, -0.3])


@pytest.fixture(autouse=True)
def _own_primitives(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Primitives and kernels declared in a test are forgotten after it."""
    before, host = set(PRIMITIVES), backend.get("numpy")
    monkeypatch.setattr(host, "kernels", dict(host.kernels))
    yield
    for name in set(PRIMITIVES) - before:
        del PRIMITIVES[name]
        host.hits.pop(name, None)


def host() -> backend.Backend:
    return backend.get("numpy")


# ---- registration --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["g", "ans", "x_shape", "x_dtype", "my_shape"])
@pytest.mark.parametrize("where", ["array", "static"])
def test_reserved_names(name: str, where: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def f(xp, {name if where == 'array' else f'x, *, {name}=1'}): return x", space)
    with pytest.raises(TypeError, match=f"f: the argument name '{name}' is reserved for rules"):
        primitive(space["f"])
    assert "f" not in PRIMITIVES


def test_rules_that_cannot_be() -> None:
    @primitive(nondiff=("i",))
    def op(xp: Any, x: Any, y: Any, i: Any, *, n: int = 1) -> Any:
        return x * y

    with pytest.raises(TypeError, match=r"op.vjp: no rule for y; give one, or declare it nondiff"):
        op.vjp(x=lambda g: g)
    with pytest.raises(TypeError, match=r"op: a rule asks for z; it may ask for ans, g, .*x_shape"):
        op.vjp(x=lambda g, z: g, y=lambda g: g)
    with pytest.raises(TypeError, match=r"op.vjp: 'i' is not a differentiable argument"):
        op.vjp(x=lambda g: g, y=lambda g: g, i=lambda g: g)
    with pytest.raises(TypeError, match=r"op.vjp: 'w' is not a differentiable argument"):
        op.vjp(w=lambda g: g)
    with pytest.raises(TypeError, match=r"op: a rule asks for data"):
        op.vjp_all(lambda g, data: (g, g, g))
    with pytest.raises(TypeError, match=r"op: a check asks for size"):
        op.check(lambda x, size: None)
    op.vjp(x=lambda g, y, n: n * g * y, y=lambda g, x, i_shape, x_dtype: g * x)


def test_declarations_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"a primitive called 'mul' is registered already"):
        primitive(_named("mul"))
    with pytest.raises(TypeError, match=r"op: no array argument is called 'z'"):
        primitive(nondiff=("z",))(_named("op"))
    with pytest.raises(TypeError, match=r"op: no array argument is called 'z'"):
        primitive(mutates=("z",))(_named("op"))

    def mixed(xp: Any, x: Any, *xs: Any) -> Any:
        return x

    with pytest.raises(TypeError, match=r"mixed: \*xs must be the only array argument"):
        primitive(mixed)
    writer = primitive(mutates=("x",))(_named("writer"))
    for declare in (lambda: writer.vjp(x=lambda g: g), lambda: writer.vjp_all(lambda g: (g,))):
        with pytest.raises(TypeError, match=r"writer: it writes into x, and .* has no gradient"):
            declare()


def _named(name: str) -> Any:
    def f(xp: Any, x: Any) -> Any:
        return x

    f.__name__ = name
    return f


# ---- given again ---------------------------------------------------------------------------------


def cube_with(rule: Any) -> Any:
    """A cell of a notebook: declares `cube` and its rule."""

    @primitive
    def cube(xp: Any, x: Any) -> Any:
        return x * x * x

    cube.vjp(x=rule)
    return cube


def wrong(g: Any, x: Any) -> Any:
    return g * x


def right(g: Any, x: Any) -> Any:
    return g * (3 * x * x)


def slope(f: Any, at: float = 2.0) -> Any:
    x = tg.tensor(np.float64(at), requires_grad=True)
    return tg.grad(f(x), [x])[0].item()


def test_a_rule_given_again_counts() -> None:
    cube = cube_with(wrong)
    assert slope(cube) == 2.0
    cube.vjp(x=right)
    assert slope(cube) == 12.0
    check_grads(cube, [A], order=3)
    cube.vjp_all(lambda g, x: (wrong(g, x),))
    assert slope(cube) == 2.0
    cube.vjp(x=right)  # one rule for all does not outlive it
    assert slope(cube) == 12.0
    cube.vjp(x=lambda g, ans, x: g * 3 * ans / x)  # asks for other values
    assert slope(cube) == 12.0


def test_rules_given_again_count_all_or_not_at_all() -> None:
    @primitive
    def product(xp: Any, x: Any, y: Any) -> Any:
        return x * y

    product.vjp(x=lambda g, y: g * y, y=lambda g, x: g * x)
    with pytest.raises(TypeError, match=r"product: a rule asks for z"):
        product.vjp(x=lambda g: g, y=lambda g, z: g)
    check_grads(product, [A, B], order=2)


def test_a_result_recorded_before_its_rule_was_given_again_is_refused() -> None:
    cube = cube_with(wrong)
    x = tg.tensor(2.0, requires_grad=True)
    y = cube(x)
    cube.vjp(x=right)
    with pytest.raises(RuntimeError, match=r"cube: its rules were given anew .* forward pass"):
        y.backward()
    f = fused_layer()
    host().kernels["scaled_tanh"] = layer_kernel
    y = tg.sum(f(tg.ones(3), x))
    f.vjp(x=lambda g: g, w=lambda g: g)
    with pytest.raises(RuntimeError, match=r"scaled_tanh: its rules were given anew"):
        y.backward()


def test_a_check_given_again_looks_at_what_passed_before() -> None:
    op = primitive(_named("op"))
    op(A)

    @op.check
    def _(x: Any) -> None:
        raise ValueError("op: never")

    with pytest.raises(ValueError, match="op: never"):
        op(A)


def test_a_declaration_run_again_takes_the_place_of_the_one_before() -> None:
    old = cube_with(wrong)
    host().kernels["cube"] = lambda x: x - x  # made for the old one
    assert old(A).tolist() == [0.0] * 3
    new = cube_with(right)
    assert PRIMITIVES["cube"] is new
    assert slope(new) == 12.0
    assert slope(old) == 2.0  # who kept the old one has the old one, without its kernel
    assert old(A).tolist() == new(A).tolist() == (A**3).tolist()
    assert host().hits["cube"] == 0
    host().kernels["cube"] = lambda x: x * x * x
    new(A)
    assert old(A).tolist() == (A**3).tolist()
    assert host().hits["cube"] == 1


def test_a_fused_declaration_run_again_takes_the_place_of_the_one_before() -> None:
    def cell(gain: float) -> Any:
        @fused
        def scaled(x: Any) -> Any:
            return tg.tanh(x) * gain

        return scaled

    first = cell(1.0)
    host().kernels["scaled"] = np.tanh
    assert first(A).tolist() == np.tanh(A).tolist()
    second = cell(2.0)
    assert second(A).tolist() == (np.tanh(A) * 2).tolist()
    check_grads(second, [A], order=2)
    assert "scaled" not in host().kernels


def test_two_declarations_of_one_name_are_two_in_a_compiled_step() -> None:
    def scaled(k: float) -> Any:
        @primitive
        def scale(xp: Any, x: Any) -> Any:
            return k * x

        scale.vjp(x=lambda g: scale(g))
        return scale

    two, three, four = (scaled(k) for k in (2.0, 3.0, 4.0))
    step = tg.compile(lambda x: (two(x), three(x), four(x)))
    for _ in range(2):
        assert [y.tolist() for y in step(tg.tensor(B))] == [(k * B).tolist() for k in (2, 3, 4)]


def test_a_compiled_step_follows_what_is_given_again() -> None:
    space: dict[str, Any] = {"__name__": "a_notebook", "tg": tg}
    cell = """
@tg.primitive
def scale(xp, x):
    return {0} * x
scale.vjp(x=lambda g: {0} * g)
"""
    exec(cell.format(2.0), space)
    step = tg.compile(lambda x: space["scale"](x))

    @tg.compile
    def slopes(x: Any) -> Any:
        x = x.detach(requires_grad=True)
        return tg.grad(space["scale"](x).sum(), [x])[0]

    x = tg.tensor(A)
    assert (step(x).tolist(), slopes(x).tolist()) == ((2 * A).tolist(), [2.0] * 3)
    exec(cell.format(5.0), space)
    assert (step(x).tolist(), slopes(x).tolist()) == ((5 * A).tolist(), [5.0] * 3)
    space["scale"].vjp(x=lambda g: 7.0 * g)
    assert slopes(x).tolist() == [7.0] * 3


def test_a_module_that_is_reloaded_declares_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "my_operations.py"
    text = "import tinygen as tg\n@tg.primitive\ndef timesk(xp, x):\n    return {} * x\n"
    text += "@tg.fused\ndef plusk(x):\n    return x + {}\n"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file.write_text(text.format(2, 2), encoding="utf-8")
    module = importlib.import_module("my_operations")
    file.write_text(text.format(30, 30), encoding="utf-8")
    importlib.reload(module)
    assert module.timesk(tg.tensor([1.0])).tolist() == [30.0]
    assert module.plusk(tg.tensor([1.0])).tolist() == [31.0]
    del sys.modules["my_operations"]


def test_a_name_of_another_function_stays_refused() -> None:
    cube_with(right)
    space: dict[str, Any] = {"__name__": "elsewhere", "tg": tg}
    for name, where in (("cube", r".*cube_with.<locals>.cube"), ("mul", r"tinygen.ops.element.*")):
        with pytest.raises(ValueError, match=rf"'{name}' is registered already, {where}; choose"):
            exec(f"@tg.primitive\ndef {name}(xp, x): return x", space)
    with pytest.raises(ValueError, match=r"called 'silu' is registered already"):
        exec("@tg.fused\ndef silu(x): return x", space)
    assert tg.silu(tg.zeros(1)).item() == 0.0
    assert PRIMITIVES["mul"] is tg.mul


def test_a_missing_rule_is_named_when_needed() -> None:
    @primitive
    def ruleless(xp: Any, x: Any) -> Any:
        return x + 1

    assert ruleless(A).tolist() == (A + 1).tolist()
    with pytest.raises(NotImplementedError, match=r"ruleless has no gradient rule for 'x'.*detach"):
        ruleless(tg.tensor(A, requires_grad=True))


def test_checks_run_once_for_each_combination_of_shapes_and_dtypes() -> None:
    runs: list[Any] = []

    @primitive
    def op(xp: Any, x: Any, *, n: int = 1, m: int = 1) -> Any:
        return x * n

    @op.check
    def _(x: Any, n: int) -> None:
        runs.append((x.shape, n))
        if n < 0:
            raise ValueError("op: n below 0")

    for _ in range(3):
        op(tg.tensor(A))
    for m in range(3):
        op(tg.tensor(A), m=m)  # no check asks for the value of m
    assert runs == [((3,), 1)] * 2
    op(tg.tensor(A[:2]))
    op(tg.tensor(A), n=2)
    op(tg.tensor(A.astype(np.float32)))
    assert len(runs) == 5
    for _ in range(2):  # a failed check is not remembered as passed
        with pytest.raises(ValueError, match=r"n below 0"):
            op(tg.tensor(A), n=-1)


def test_calls_by_position_and_name() -> None:
    @primitive
    def op(xp: Any, x: Any, *, n: int, m: int = 1) -> Any:
        return x * n + m

    assert op(A, 2, 3).tolist() == op(A, n=2, m=3).tolist() == op(A, 2, m=3).tolist()
    for args, static, words in [
        ((A, 1, 2, 3), {}, r"op: 4 arguments, expected at most 3 \(x, n, m\)"),
        ((A, 1), {"n": 2}, "op: n given both by position and by name"),
        ((A,), {}, "op: missing option n; it takes n, m"),
        ((A,), {"n": 1, "k": 1}, "op: unknown option k; it takes n, m"),
        ((), {"n": 1}, r"op: 0 arguments, expected 1 \(x\)"),
        ((None,), {"n": 1}, "op: x is None; expected a tensor, an array or a number"),
    ]:
        with pytest.raises(TypeError, match=words):
            op(*args, **static)
    assert repr(op) == "<primitive op(x, n, m)>"


def test_lists_among_options_are_made_hashable() -> None:
    x = tg.zeros((2, 3))
    for _ in range(2):
        assert tg.pad(x, [[1, 1], [0, 2]]).shape == (4, 5)
        assert tg.broadcast_to(x, [4, 2, 3]).shape == (4, 2, 3)
        assert tg.reshape(x, np.array([3, 2])).shape == (3, 2)
        assert tg.pad(x, pad_width=np.array([[1, 1], [0, 2]])).shape == (4, 5)
    with pytest.raises(TypeError, match=r"sum: axis is \{.*\}; expected a number or a tuple"):
        tg.sum(x, axis={0, 1})


def test_the_check_cache_starts_over_when_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["tinygen.primitive"], "_CACHE_LIMIT", 4)
    monkeypatch.setattr(tg.exp, "_backends", {})
    for n in range(10):
        tg.exp(tg.zeros(n))
    assert len(tg.exp._backends) <= 4


def test_an_observer_sees_every_operation() -> None:
    seen: list[str] = []

    class Names(Observer):
        def called(self, operation: Any, args: Any, static: Any, out: Any) -> None:
            seen.append(operation.name)

    with watching(Names()):
        x = tg.tensor(A, requires_grad=True)
        tg.sum(tg.exp(x) * 2.0).backward()
    assert seen[:3] == ["exp", "mul", "sum"]
    assert {"broadcast_to", "guarded_mul"} <= set(seen[3:])


class Heard(Observer):
    """Notes everything that it is told."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def called(self, operation: Any, args: Any, static: Any, out: Any) -> None:
        self.notes.append(operation.name)

    def entering(self, operation: Any, args: Any, static: Any) -> None:
        self.notes.append(("entering", operation.name))

    def leaving(self, operation: Any, out: Any) -> None:
        self.notes.append(("leaving", operation.name, out is None))

    def changing(self, owner: Any) -> None:
        self.notes.append(("changing", float(owner[0])))

    def drawing(self, generator: Any) -> None:
        self.notes.append("drawing")

    def crossing(self, what: str) -> None:
        self.notes.append(what)

    def replaying(self, plan: Any) -> None:
        self.notes.append(plan)


def test_several_observers_are_told_of_everything() -> None:
    rng, w = tg.random.Generator(0), tg.nn.Parameter(np.ones(1, np.float32))
    first, second = Heard(), Heard()
    with watching(first), watching(second):
        x = tg.tensor([2.0]) * rng.uniform((1,))
        tg.nn.module.assign(w, x)  # told before it changes
        x.numpy()
        with watching(third := Heard(), alone=True):
            tg.exp(x)
    assert first.notes == second.notes
    assert first.notes == [
        "make", "drawing", "random_uniform", "mul", ("changing", 1.0), "assign", "read",
    ]  # fmt: skip
    assert third.notes == ["exp"]
    tg.exp(x)
    assert len(third.notes) == 1


def test_watching_does_not_change_what_a_compiled_function_does() -> None:
    @tg.compile
    def step(x: Any) -> Any:
        return tg.exp(x) + x

    class Every(Heard):
        every_operation = True

    x = tg.tensor(A)
    with watching(heard := Heard()):
        step(x)  # the rehearsals are undone, so that nobody is told of them
        step(x)
        (plans,) = step.plans.values()
        assert heard.notes == [plans[0], plans[0]]
        with watching(every := Every()):
            step(x)
    assert every.notes == ["exp", "add"]


def test_observers_hear_where_the_body_of_a_fused_operation_begins_and_ends() -> None:
    class Opens(Heard):
        def opens(self, operation: object) -> bool:
            return True

    with watching(heard := Opens()):
        tg.silu(tg.ones(2))
    assert heard.notes[-4:] == [
        ("entering", "silu"), "sigmoid", "mul", ("leaving", "silu", False),
    ]  # fmt: skip

    @fused
    def raising(x: Any) -> Any:
        raise ZeroDivisionError

    with watching(heard), pytest.raises(ZeroDivisionError):
        raising(tg.ones(2))
    assert heard.notes[-1] == ("leaving", "raising", True)


def test_nobody_begins_to_watch_within_a_compiled_function() -> None:
    @tg.compile
    def step(x: Any) -> Any:
        with watching(Heard()):
            return tg.exp(x)

    with pytest.raises(RuntimeError, match=r"test_primitive.py:\d+ begins to watch \(Heard\)"):
        step(tg.tensor(A))


# ---- kernels of primitives -----------------------------------------------------------------------


def tripled() -> Any:
    @primitive
    def triple(xp: Any, x: Any) -> Any:
        return 3 * x

    triple.vjp(x=lambda g: triple(g))
    return triple


def test_a_kernel_is_taken_and_counted() -> None:
    triple = tripled()
    host().kernels["triple"] = lambda x: 3 * x if x.ndim == 1 else NotImplemented
    before = host().hits["triple"]
    x = tg.tensor(A, requires_grad=True)
    triple(x).backward(np.ones(3))
    assert host().hits["triple"] == before + 2  # the backward is a call of the same name
    assert x.grad.tolist() == [3.0, 3.0, 3.0]
    assert triple(tg.ones((2, 2))).tolist() == [[3.0, 3.0], [3.0, 3.0]]  # declined: the reference
    assert host().hits["triple"] == before + 2
    check_grads(triple, [A], order=2)


def test_a_kernel_gets_raw_arrays_and_options() -> None:
    got: list[Any] = []

    def kernel(*arrays: Any, **static: Any) -> Any:
        got.append((arrays, static))
        return NotImplemented

    host().kernels["sum"] = kernel
    x = tg.tensor(A)
    tg.sum(x, axis=0)
    ((array,), static), *_ = got
    assert array is x.data
    assert static == {"axis": 0}


def test_kernels_are_imported_when_first_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernels_of_a_test.py").write_text(
        "def triple(x):\n    return 3 * x\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    tables = {**tinygen_kernels.TABLES, "numpy": {"triple": "kernels_of_a_test:triple"}}
    monkeypatch.setattr(tinygen_kernels, "TABLES", tables)
    monkeypatch.setattr(backend, "_loaded", {})
    monkeypatch.setattr(backend, "_by_type", dict(backend._by_type))
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: name)  # Numba is there
    fresh = backend.get("numpy")
    triple = tripled()
    assert "kernels_of_a_test" not in sys.modules
    assert triple(A).tolist() == (3 * A).tolist()
    assert "kernels_of_a_test" in sys.modules
    assert fresh.kernels["triple"].__name__ == "triple"  # the stand-in is gone
    triple(A)
    assert fresh.hits["triple"] == 2
    del sys.modules["kernels_of_a_test"]


def test_missing_kernels_are_an_error_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tinygen_kernels", None)
    monkeypatch.setattr(backend, "_loaded", {})
    with pytest.raises(ImportError, match=r"pip install"):
        backend.get("numpy")


# ---- fused operations ----------------------------------------------------------------------------


def fused_layer() -> Any:
    @fused
    def scaled_tanh(x: Any, w: Any, *, gain: float = 1.0) -> Any:
        return tg.tanh(x * w) * gain

    return scaled_tanh


def layer_kernel(x: Any, w: Any, gain: float = 1.0) -> Any:
    return np.tanh(x * w) * gain


def test_a_fused_operation_without_a_kernel_is_its_body() -> None:
    f = fused_layer()
    assert f(tg.tensor(A), tg.tensor(B), gain=2.0).tolist() == (np.tanh(A * B) * 2).tolist()
    assert f(A, B, 2.0).tolist() == f(A, B, gain=2.0).tolist()
    assert f(A.tolist(), B.tolist()).dtype == np.float32
    check_grads(f, [A, B], order=2)
    with pytest.raises(TypeError, match=r"scaled_tanh: gain given both"):
        f(A, B, 2.0, gain=1.0)


@pytest.mark.parametrize("used", [True, False])
def test_a_fused_operation_with_a_kernel_has_the_same_gradients(used: bool) -> None:
    f = fused_layer()
    plain = _derivatives(f)
    host().kernels["scaled_tanh"] = layer_kernel if used else lambda *a, **k: NotImplemented
    before = host().hits["scaled_tanh"]
    for got, want in zip(_derivatives(f), plain, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-13)
    assert (host().hits["scaled_tanh"] > before) == used
    check_grads(lambda x, w: f(x, w, gain=2.0), [A, B], order=2)
    check_grads(lambda x, w: f(x, w, 2.0), [A, B], order=1)
    check_grads(lambda x: f(x, tg.tensor(B)), [A], order=2)


def _derivatives(f: Any) -> list[Any]:
    """The gradients, and the gradients of the sum of their squares."""
    x, w = tg.tensor(A, requires_grad=True), tg.tensor(B, requires_grad=True)
    first = tg.grad(tg.sum(f(x, w, gain=2.0)), [x, w], create_graph=True)
    second = tg.grad(tg.sum(first[0] ** 2) + tg.sum(first[1] ** 2), [x, w])
    return [g.numpy() for g in (*first, *second)]


def test_a_fused_operation_takes_scalars_and_none_alike_with_and_without_kernel() -> None:
    @fused
    def shifted(x: Any, b: Any = None) -> Any:
        return x * 1.0 if b is None else x + b

    for kernel in (None, lambda x, b=None: x * 1.0 if b is None else x + b,
                   lambda *a: NotImplemented):  # fmt: skip
        if kernel is not None:
            host().kernels["shifted"] = kernel
        for scalar in (2.0, np.float64(2.0), 2):
            assert shifted(tg.tensor(A), scalar).tolist() == (A + 2).tolist()
            assert shifted(tg.tensor(A.astype(np.float32)), scalar).dtype == np.float32
        assert shifted(tg.tensor(A)).tolist() == shifted(tg.tensor(A), None).tolist() == A.tolist()
        assert shifted(A).dtype == np.float64
        check_grads(shifted, [A, B], order=2)
        check_grads(lambda x: shifted(x, 2.0), [A], order=2)


def test_a_fused_operation_with_its_own_rule() -> None:
    f = fused_layer()
    runs: list[int] = []

    def slope(g: Any, ans: Any, other: Any, gain: float) -> Any:
        runs.append(1)
        return g * other * (gain - ans * ans * (1 / gain))

    f.vjp(x=lambda g, ans, w, gain: slope(g, ans, w, gain),
          w=lambda g, ans, x, gain: slope(g, ans, x, gain))  # fmt: skip
    check_grads(f, [A, B], order=2)  # no kernel: the body's own gradient
    assert not runs
    host().kernels["scaled_tanh"] = layer_kernel
    check_grads(lambda x, w: f(x, w, gain=1.5), [A, B], order=2)
    assert runs


def test_a_fused_operation_with_several_outputs() -> None:
    @fused
    def moments(x: Any) -> Any:
        mean = tg.mean(x)
        return mean, tg.mean(tg.square(x - mean))

    def kernel(x: Any) -> Any:
        return np.asarray(x.mean()), np.asarray(x.var())

    check_grads(moments, [A], order=2)
    host().kernels["moments"] = kernel
    mean, var = moments(tg.tensor(A))
    assert (mean.item(), var.item()) == pytest.approx((A.mean(), A.var()))
    check_grads(moments, [A], order=2)
    check_grads(lambda x: moments(x)[1], [A], order=2)
    check_grads(lambda x: moments(x)[0] * moments(x)[1], [A], order=2)
    assert host().hits["moments"] > 0


def test_an_output_that_is_not_made_of_what_is_wanted_has_a_gradient_of_zero() -> None:
    """So has a norm: the gradient of its bias is not made of x, whose own gradient counts, too."""

    @fused
    def both(x: Any, w: Any) -> Any:
        return x * w, w * w

    def derivatives(*wanted: int) -> list[Any]:
        args = [tg.tensor(a, requires_grad=i in wanted) for i, a in enumerate((A, B))]
        product, square = both(*args)
        total = tg.sum(product * product) + tg.sum(square)
        return [g.numpy() for g in tg.grad(total, [args[i] for i in wanted])]

    used: Any = {"both": lambda x, w: (x * w, w * w)}
    for kernels in ({}, used):
        host().kernels.update(kernels)
        np.testing.assert_allclose(derivatives(0)[0], 2 * A * B * B)
        np.testing.assert_allclose(derivatives(0, 1)[1], 2 * A * A * B + 2 * B)
        x = tg.tensor(A, requires_grad=True)
        if kernels:  # an output of its own has a node, and no way to x
            assert tg.grad(tg.sum(both(x, B)[1]), x)[0].tolist() == (0 * A).tolist()
    assert host().hits["both"] > 0


def test_a_fused_operation_releases_and_prunes() -> None:
    f = fused_layer()
    host().kernels["scaled_tanh"] = layer_kernel
    x, w = tg.tensor(A, requires_grad=True), tg.tensor(B, requires_grad=True)
    y = tg.sum(f(x, w))
    tg.grad(y, [x])
    with pytest.raises(RuntimeError, match=r"retain_graph=True"):
        tg.grad(y, [x])
    f(x, w).backward(np.ones(3), inputs=[w])
    assert x.grad is None
    with tg.no_grad():
        assert f(x, w).node is None
