"""What runs beside a step is no part of it; what it sets once stays; what is hidden is followed."""

from __future__ import annotations

import array
import builtins
import collections
import configparser
import contextvars
import copy
import ctypes
import enum
import functools
import gc
import importlib
import logging
import os
import pickle
import queue
import signal
import sys
import threading
import tracemalloc
import types
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from test_plan_depends import dense, draw, follows

import tinygen as tg
from tinygen import nn, optim
from tinygen.backend import current
from tinygen.plan.rehearse import _once
from tinygen.random import Generator
from tinygen.testing import finite_checks

# ---- what runs beside a step, and what is set once -----------------------------------------------

SEEN = {"calls": 0}
COUNT = 0


def _note(*_: Any) -> None:
    global COUNT
    COUNT += 1
    SEEN["calls"] += 1


class _Dying:
    def __del__(self) -> None:
        _note()


class _Tee:
    def write(self, text: str) -> int:
        _note()
        return len(text)

    def flush(self) -> None:
        _note()


def _collects(x: Any) -> Any:
    gc.collect()
    return x * 2.0


def _is_signalled(x: Any) -> Any:
    signal.raise_signal(signal.SIGINT)
    return x * 2.0


def _buries(x: Any) -> Any:
    _Dying()
    return x * 2.0


def _prints(x: Any) -> Any:
    print("a step", file=_Tee())
    return x * 2.0


def _logs(x: Any) -> Any:
    logging.getLogger("of this test").warning("a step")
    return x * 2.0


@pytest.mark.parametrize("step", [_collects, _is_signalled, _buries, _prints, _logs])
def test_what_runs_beside_a_step_is_no_part_of_it(
    step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "callbacks", gc.callbacks)
    before, handler = signal.getsignal(signal.SIGINT), logging.StreamHandler(_Tee())
    logger = logging.getLogger("of this test")
    gc.callbacks.append(_note)
    logger.addHandler(handler)
    signal.signal(signal.SIGINT, _note)
    try:
        compiled, count = tg.compile(step, fuse=False), COUNT
        for seed in range(3):
            x = draw(3, 4, seed=seed)
            np.testing.assert_array_equal(compiled(x).numpy(), x.numpy() * 2)
        assert count < COUNT
        assert len(compiled.plans) == 1
    finally:
        signal.signal(signal.SIGINT, before)
        logger.removeHandler(handler)
        gc.callbacks.remove(_note)


class _Table:
    scale = 2.0

    @functools.cached_property
    def size(self) -> float:
        return self.scale * 3.0


def _sets_once(kind: str) -> Any:
    table, cache, net = _Table(), {}, nn.Sequential(dense(4, 4), nn.Dropout(0.5))
    switched = nn.Sequential(nn.Dropout(0.5, rng=Generator(3)), dense(4, 4))

    def evaluated(x: Any) -> Any:
        switched.eval()
        y = switched(x)
        switched.train()
        return y

    def memo(x: Any) -> Any:
        if "k" not in cache:
            cache["k"] = 3.0
        return x * cache["k"]

    def flagged(x: Any) -> Any:
        table.ready = True
        return x * table.scale

    left = {
        "property": lambda x: x * table.size, "memo": memo, "flag": flagged,
        "mode": lambda x: net.eval()(x), "there and back": evaluated,
    }  # fmt: skip
    return left[kind], lambda: (vars(table), cache, net.training, switched.training)


@pytest.mark.parametrize("kind", ["property", "memo", "flag", "mode", "there and back"])
def test_what_is_set_once_is_set_as_a_call_sets_it(kind: str) -> None:
    (eager, state), (function, compiled_state) = _sets_once(kind), _sets_once(kind)
    compiled = tg.compile(function, fuse=False)
    for seed in range(3):
        x = draw(3, 4, seed=seed)
        np.testing.assert_array_equal(compiled(x).numpy(), eager(x).numpy())
        assert compiled_state() == state()


def test_a_flag_that_decides_what_the_first_call_does_is_refused() -> None:
    class Once(nn.Module):
        started = False

    net = Once()

    def f(x: Any) -> Any:
        y = x * (1.0 if net.started else 5.0)
        net.started = True
        return y

    with pytest.raises(RuntimeError, match="started is True, and was False"):
        tg.compile(f)(draw(3, 4))
    assert not net.started


def _shown(kind: str) -> Any:
    numbers, parser = {"k": 1.0}, configparser.ConfigParser()
    parser.read_string("[a]\nk = 1")
    local, variable = threading.local(), contextvars.ContextVar("k", default=1.0)
    local.k, owner, single = 1.0, _Table(), array.array("d", [1.0])
    read, reference = memoryview(single), weakref.ref(owner)
    distant = _Table()
    stand_in = weakref.proxy(distant)
    user, raw = collections.UserDict(k=1.0), ctypes.c_double(1.0)
    proxy, values, get = types.MappingProxyType(numbers), numbers.values(), numbers.get
    chain = collections.ChainMap(numbers)

    def change() -> None:
        numbers["k"] = user["k"] = local.k = owner.scale = raw.value = single[0] = 5.0
        distant.scale = 5.0
        parser["a"]["k"] = "5"
        variable.set(5.0)
        os.environ["TINYGEN_TEST_NUMBER"] = "5"

    return change, {
        "stand-in": lambda x: x * stand_in.scale,  # `change` keeps what it stands for alive
        "proxy": lambda x: x * proxy["k"], "values": lambda x: x * sum(values),
        "method": lambda x: x * get("k"), "chain": lambda x: x * chain["k"],
        "user dict": lambda x: x * user["k"], "local": lambda x: x * local.k,
        "weak": lambda x: x * reference().scale, "array": lambda x: x * single[0],
        "view": lambda x: x * read[0], "ctypes": lambda x: x * raw.value,
        "context": lambda x: x * variable.get(), "parser": lambda x: x * float(parser["a"]["k"]),
        "environment": lambda x: x * float(os.environ["TINYGEN_TEST_NUMBER"]),
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    ["proxy", "values", "method", "chain", "user dict", "local", "weak", "array", "view", "ctypes",
     "stand-in", "context", "parser", "environment"],
)  # fmt: skip
def test_numbers_behind_objects_of_the_standard_library(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGEN_TEST_NUMBER", "1")
    change, function = _shown(kind)
    contextvars.copy_context().run(follows, function, change)


def test_modules_that_a_step_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    made = types.ModuleType("numbers_of_a_test")
    made.a = made.b = made.c = 1.0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, made.__name__, made)

    def f(x: Any) -> Any:
        from numbers_of_a_test import a as factor  # type: ignore[import-not-found]

        return x * factor

    def g(x: Any) -> Any:
        by_name = importlib.import_module("numbers_of_a_test").b
        return x + by_name + sys.modules["numbers_of_a_test"].c

    for function in (f, g):
        follows(function, *(functools.partial(setattr, made, name, 3.0) for name in "abc"))
        made.__dict__.update(a=1.0, b=1.0, c=1.0)


def test_a_method_of_a_layer_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(dense(4, 4), nn.Tanh())
    follows(
        lambda x: net(x),
        lambda: monkeypatch.setattr(nn.Tanh, "forward", lambda self, x: x * 2.0),
        lambda: monkeypatch.undo(),
    )


class _Rows(list):  # type: ignore[type-arg]
    factor = 1.0


class _First:
    factor = 1.0

    def scaled(self, x: Any) -> Any:
        return x * self.factor


class _Second(_First):
    def scaled(self, x: Any) -> Any:
        return super().scaled(x) * 2.0


class _Meta(type):
    factor = 1.0


class _OfMeta(metaclass=_Meta):
    pass


class _Proxy:
    def __init__(self, target: Any) -> None:
        object.__setattr__(self, "target", target)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "target"), name)


class _Doubling:
    def __init__(self) -> None:
        self.factor = 1.0

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        return value * 2.0 if name == "factor" else value


def test_classes_that_say_themselves_what_an_attribute_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, doubling, keyed = _First(), _Doubling(), weakref.WeakKeyDictionary()  # type: ignore[var-annotated]
    proxy, keyed[_OfMeta] = _Proxy(shown), 1.0
    follows(
        lambda x: x * _OfMeta.factor * proxy.factor + doubling.factor + keyed[_OfMeta],
        lambda: monkeypatch.setattr(_Meta, "factor", 3.0),
        lambda: setattr(shown, "factor", 4.0),
        lambda: setattr(doubling, "factor", 5.0),
        lambda: keyed.update({_OfMeta: 6.0}),
    )


class _Noting:
    factor = 1.0

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)

    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(name)


def _four(noting: Any, name: str) -> Any:
    return 4.0 if name == "factor" else object.__getattribute__(noting, name)


def test_classes_that_pass_on_how_attributes_are_read_and_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noting = _Noting()

    def f(x: Any) -> Any:
        noting.seen = True  # type: ignore[attr-defined]
        return x * noting.factor

    follows(
        f,
        lambda: setattr(noting, "factor", 3.0),
        lambda: monkeypatch.setattr(_Noting, "__getattribute__", _four),
    )


_Level = enum.Enum("_Level", {"LOW": [1.0]})


class _Word(str):
    factor: float


class _Ratio(float):
    factor: float


class _Lists(type):
    def __getattr__(cls, name: str) -> Any:
        return HIDDEN[name]


class _OfLists(metaclass=_Lists):
    pass


class _Other:
    factor = 7.0


class _Heir(_First):
    @classmethod
    def of_class(cls, x: Any) -> Any:
        return x * cls.factor


HIDDEN = {"rate": 1.0}


def _closed(rates: dict[str, float]) -> Any:
    class Descriptor:
        def __get__(self, instance: Any, owner: Any = None) -> float:
            return rates["k"]

    return type("Closed", (), {"k": Descriptor()})()


def _dispatched() -> Any:
    @functools.singledispatch
    def f(v: Any) -> float:
        return 1.0

    return f


def _cached(box: list[float]) -> Any:
    @functools.lru_cache
    def f() -> float:
        return box[0]

    return f


def _held(kind: str) -> Any:
    """What a step reads, and what changes it."""
    word, ratio, thing, child = _Word("a"), _Ratio(2.0), _First(), _Heir()
    word.factor = ratio.factor = 1.0
    objects, rates, box = np.array([[1.0], None], dtype=object), {"k": 1.0}, [1.0]
    closed, dispatched, cached = _closed(rates), _dispatched(), _cached(box)
    module, mixed, name = types.ModuleType("m"), collections.UserString("ab"), "this_test_made"
    module.__getattr__ = rates.__getitem__  # type: ignore[method-assign]
    level, weak = {"m": _Level.LOW}, weakref.WeakSet([thing])
    error, another = ValueError(1.0), type("Mixed", (_First,), {})()
    setattr(builtins, name, 1.0)
    return {
        "what an enum holds": (lambda: level["m"].value[0], lambda: _Level.LOW.value.append(1.0) or
                               _Level.LOW.value.insert(0, 3.0)),
        "an attribute of a text": (lambda: word.factor, lambda: setattr(word, "factor", 3.0)),
        "an attribute of a number": (lambda: ratio.factor, lambda: setattr(ratio, "factor", 3.0)),
        "an array of objects": (lambda: objects[0][0], lambda: objects[0].insert(0, 3.0)),
        "a class by its instance": (lambda: type(thing).factor,
                                    lambda: setattr(_First, "factor", 3.0)),
        "a method of the class": (lambda: child.of_class(1.0),
                                  lambda: setattr(_Heir, "factor", 3.0)),
        "a metaclass": (lambda: _OfLists.rate, lambda: HIDDEN.update(rate=3.0)),
        "a hidden closure": (lambda: closed.k, lambda: rates.update(k=3.0)),
        "a module's own way": (lambda: module.k, lambda: rates.update(k=3.0)),
        "a name among Python's": (lambda: this_test_made,  # type: ignore[name-defined] # noqa: F821
                                  lambda: setattr(builtins, name, 3.0)),
        "other bases": (lambda: another.factor,
                        lambda: setattr(type(another), "__bases__", (_Other,))),
        "a dispatch": (lambda: dispatched(1), lambda: dispatched.register(int, lambda v: 3.0)),
        "a cleared cache": (cached, lambda: (box.insert(0, 3.0), cached.cache_clear())),
        "a text that changes": (lambda: float(len(mixed)), lambda: setattr(mixed, "data", "abcd")),
        "a weak set": (lambda: float(len(weak)), lambda: weak.add(child)),
        "an error": (lambda: error.args[0], lambda: setattr(error, "args", (3.0,))),
        "the engine's own names": (lambda: tg.this_test_made,  # type: ignore[attr-defined]
                                   lambda: setattr(tg, name, 3.0)),
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    ["what an enum holds", "an attribute of a text", "an attribute of a number",
     "an array of objects", "a class by its instance", "a method of the class", "a metaclass",
     "a hidden closure", "a module's own way", "a name among Python's", "other bases",
     "a dispatch", "a cleared cache", "a text that changes", "a weak set", "an error",
     "the engine's own names"],
)  # fmt: skip
def test_numbers_that_stand_in_unusual_places(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name in ((_First, "factor"), (_Heir, "factor")):
        monkeypatch.setattr(owner, name, 1.0, raising=False)
    monkeypatch.setattr(builtins, "this_test_made", 1.0, raising=False)
    monkeypatch.setattr(tg, "this_test_made", 1.0, raising=False)
    monkeypatch.setitem(HIDDEN, "rate", 1.0)
    read, change = _held(kind)
    follows(lambda x: x * read(), change)


class _Given:
    """A class of the user's that gives an array."""

    scale = 1.0

    def __init__(self, hidden: Any) -> None:
        self.hidden = hidden

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.hidden)


def _maybe(kind: str) -> Any:
    """What a step looks for where there is nothing yet, and what puts it there."""
    module, kinds, thing = types.ModuleType("m"), type("Maybe", (), {}), _First()
    thing.__k__ = 1.0  # type: ignore[attr-defined]
    keyed, hidden, future = {_First(): 1.0}, [np.ones(3)], Future()  # type: ignore[var-annotated]
    given = _Given(hidden[0])
    future.set_result([1.0])

    def of_globals() -> float:
        try:
            return THIS_IS_MADE_LATER  # type: ignore[name-defined,no-any-return]
        except NameError:
            return 2.0

    later = functools.partial(globals().update, THIS_IS_MADE_LATER=3.0)
    return {
        "of a module": (lambda: getattr(module, "k", 2.0), lambda: setattr(module, "k", 3.0)),
        "of a module, asked": (lambda: 3.0 if hasattr(module, "k") else 2.0,
                               lambda: setattr(module, "k", 3.0)),
        "of a class": (lambda: getattr(kinds, "k", 2.0), lambda: setattr(kinds, "k", 3.0)),
        "a global": (of_globals, later),
        "of two underscores": (lambda: thing.__k__,  # type: ignore[attr-defined]
                               lambda: setattr(thing, "__k__", 3.0)),
        "of a key": (lambda: next(iter(keyed)).factor,
                     lambda: setattr(next(iter(keyed)), "factor", 3.0)),
        "of what gives an array": (lambda: float(np.array(given)[0]),
                                   lambda: hidden[0].__setitem__(0, 3.0)),
        "beside an array": (lambda: given.scale, lambda: setattr(given, "scale", 3.0)),
        "of a future": (lambda: future.result()[0], lambda: future.result().insert(0, 3.0)),
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    ["of a module", "of a module, asked", "of a class", "a global", "of two underscores",
     "of a key", "of what gives an array", "beside an array", "of a future"],
)  # fmt: skip
def test_names_that_are_not_there_yet_and_things_behind_others(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_First, "factor", 1.0)
    read, change = _maybe(kind)
    try:
        follows(lambda x: x * read(), change)
    finally:
        globals().pop("THIS_IS_MADE_LATER", None)


def test_the_pixels_of_a_picture() -> None:
    pillow = pytest.importorskip("PIL.Image")
    picture = pillow.new("L", (2, 2), 1)
    follows(lambda x: x * float(picture.getpixel((0, 0))), lambda: picture.putpixel((0, 0), 5))


def test_an_operation_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    follows(lambda x: tg.tanh(x), lambda: monkeypatch.setattr(tg, "tanh", lambda x: x * 2.0))


def test_the_same_code_in_two_modules() -> None:
    spaces: list[dict[str, Any]] = [{"k": 1.0}, {"k": 2.0}]
    code = compile("def scaled(x): return x * k", "<string>", "exec")
    for space in spaces:
        exec(code, space)
    follows(
        lambda x: spaces[0]["scaled"](x) + spaces[1]["scaled"](x),
        lambda: spaces[1].update(k=5.0),
        lambda: spaces[0].update(k=7.0),
    )


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.data.max(), lambda x: float(x.data[0, 0]), lambda x: x.data.sum(),
        lambda x: memoryview(x.data)[0, 0], lambda x: x.data.tolist()[0][0],
    ],
)  # fmt: skip
def test_the_array_of_a_tensor_is_not_read_inside_a_step(read: Any) -> None:
    with pytest.raises(RuntimeError, match=r"reads a value inside the step .*x\.data"):
        tg.compile(lambda x: x * read(x))(draw(3, 4))
    assert type(vars(tg.Tensor)["data"]) is types.MemberDescriptorType


def test_a_plan_tells_that_it_changes_what_a_gradient_needs() -> None:
    p = nn.Parameter(np.ones(4, "float32"))
    optimizer, average = optim.SGD([p], lr=0.1), nn.Parameter(np.ones(4, "float32"))

    def train(x: Any) -> None:
        optimizer.zero_grad()
        (p * x).sum().backward()
        optimizer.step()

    for change in (
        train,
        lambda x: nn.module.assign(p, x),
        lambda x: nn.module.assign(p, average.detach() * 2.0),
    ):
        compiled = tg.compile(change)
        for _ in range(2):
            loss = (p * p).sum()
            compiled(tg.ones(4))
            with pytest.raises(RuntimeError, match="was changed in place by"):
                loss.backward()
            p.grad = None


def test_a_later_graph_is_not_refused_for_what_a_plan_changed_before() -> None:
    p, q = (nn.Parameter(np.full(4, 2.0, "float32")) for _ in range(2))
    compiled = tg.compile(lambda x: nn.module.assign(p, x))
    compiled(tg.ones(4))
    old = (p * p).sum()
    compiled(tg.full((4,), 3.0))
    nn.module.assign(q, tg.ones(4))
    new = (p * p * q).sum()
    new.backward()
    np.testing.assert_array_equal(p.grad.numpy(), np.full(4, 6.0, "float32"))
    with pytest.raises(RuntimeError, match="was changed in place by"):
        old.backward()
    again = (p * p).sum()
    nn.module.assign(p, tg.ones(4))  # later than the plan: the last change counts
    with pytest.raises(RuntimeError, match="was changed in place by"):
        again.backward()
    (p * p).sum().backward()


def test_an_error_inside_a_step_is_that_of_the_function() -> None:
    for f in (
        lambda x: x.square().mean().backward(),
        lambda x: tg.grad(x.sum(), [x * 2.0]),
    ):
        for function in (f, tg.compile(f)):
            with pytest.raises(ValueError, match="carries no gradient"):
                function(tg.ones(3))


def test_functions_and_classes_that_change_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(x: Any) -> Any:
        return x * scaled.factor  # type: ignore[attr-defined]

    def another(x: Any) -> Any:
        return x * 7.0 * scaled.factor  # type: ignore[attr-defined]

    scaled.factor = 1.0  # type: ignore[attr-defined]
    rows, thing, child = _Rows([1.0]), _First(), _Second()
    follows(
        lambda x: scaled(x) * rows[0] * rows.factor + thing.scaled(x) + child.scaled(x),
        lambda: setattr(scaled, "factor", 3.0),
        lambda: setattr(rows, "factor", 4.0),
        lambda: setattr(thing, "__class__", _Second),
        lambda: monkeypatch.setattr(_First, "scaled", lambda self, x: x + 1.0),
        lambda: setattr(scaled, "__code__", another.__code__),
    )


def test_the_order_of_keywords_counts_where_a_function_sees_it() -> None:
    def gathers(**named: Any) -> Any:
        return sum(x * (i + 1.0) for i, x in enumerate(named.values()))

    x, y = draw(3, 4), draw(3, 4, seed=1)
    compiled = tg.compile(gathers, fuse=False)
    for named in ({"a": x, "b": y}, {"b": y, "a": x}, {"b": x, "a": y}, {"a": y, "b": x}):
        np.testing.assert_array_equal(compiled(**named).numpy(), gathers(**named).numpy())
    plain = tg.compile(lambda a, b: a + 2.0 * b)
    plain(a=x, b=y), plain(b=y, a=x)
    assert len(plain.plans) == 1


def test_a_generator_is_an_argument() -> None:
    compiled, gens = tg.compile(lambda x, rng: x + rng.normal((3, 4)), fuse=False), range(2)
    mine, theirs = ([Generator(i) for i in gens] for _ in range(2))
    for i in (0, 1, 0):
        x = draw(3, 4)
        wanted = x.numpy() + theirs[i].normal((3, 4)).numpy()
        np.testing.assert_array_equal(compiled(x, mine[i]).numpy(), wanted)
    assert [g.draws for g in mine] == [g.draws for g in theirs]


def test_a_refused_step_leaves_everything_as_it_was() -> None:
    numbers, growing, table, net = np.ones(3), [1.0], _Table(), dense(4, 4)
    held, node = net.weight.data, net.weight.node
    doubled = held * 2

    def f(x: Any) -> Any:
        net.weight.requires_grad = False
        net.weight.data = doubled
        numbers[0] += 1.0
        growing.append(1.0)
        table.scale = table.scale + 1.0
        _Table.scale = _Table.scale + 1.0
        return x * float(numbers[0])

    with pytest.raises(RuntimeError, match="itself changes what it reads"):
        tg.compile(f)(draw(3, 4))
    assert net.weight.data is held
    assert net.weight.node is node
    assert (numbers.tolist(), growing, vars(table), _Table.scale) == ([1.0] * 3, [1.0], {}, 2.0)


def test_a_refusal_names_the_line_of_the_user_and_the_cure() -> None:
    net = dense(4, 4)
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    def sets_the_rate(x: Any) -> Any:
        optimizer.lr = 0.5
        return x

    def makes_one(x: Any) -> Any:
        optim.SGD(net.parameters(), lr=0.1)
        return x

    here = os.path.basename(__file__)
    for step in (sets_the_rate, makes_one):
        match = rf"{here}:\d+ \(through optim.py:\d+\) .*optimizers and layers, and set learning"
        with pytest.raises(RuntimeError, match=match):
            tg.compile(step)(draw(3, 4))


def test_recording_twice_needs_the_memory_of_one() -> None:
    def f(x: Any) -> Any:
        for _ in range(30):
            x = x * 1.01
        return x.sum()

    x, peaks = tg.ones((256, 1024)), []
    for function in (lambda x: _once((f, (x,), {}, [x], False, current()), set()),
                     tg.compile(f, fuse=False)):  # fmt: skip
        tracemalloc.start()
        function(x)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


class _Base:
    def __init__(self, k: float) -> None:
        self.k = k

    @tg.compile(fuse=False)
    def go(self, x: Any) -> Any:
        return x * self.k


class _Child(_Base):
    @tg.compile(fuse=False)
    def go(self, x: Any) -> Any:
        return super().go(x) + 100.0


def _later(self: Any, x: Any) -> Any:
    return x - self.k


def test_each_object_has_its_compiled_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Base, "late", tg.compile(_later, fuse=False), raising=False)
    monkeypatch.setattr(_Base, "later", tg.compile(lambda self, x: x / self.k), raising=False)
    x, first = draw(3, 4), _Child(2.0)
    first.go(x)
    objects: list[Any] = [first, copy.copy(first), copy.deepcopy(first), _Base(3.0)]
    objects.append(pickle.loads(pickle.dumps(first)))
    for i, o in enumerate(objects):
        o.k = i + 2.0
    for _ in range(2):
        for o in objects:
            wanted = x.numpy() * np.float32(o.k) + (100.0 if isinstance(o, _Child) else 0.0)
            np.testing.assert_array_equal(o.go(x).numpy(), wanted)
            np.testing.assert_array_equal(o.late(x).numpy(), x.numpy() - np.float32(o.k))
            np.testing.assert_array_equal(o.later(x).numpy(), x.numpy() / np.float32(o.k))
    assert first.go is first.go
    assert _Child.go.function is not _Base.go.function


def _starts(x: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(x * 3.0))
    thread.start()
    thread.join()
    return found[0] + x


def _submits(x: Any) -> Any:
    return POOL.submit(lambda: x * 3.0).result() + x


def _waits(x: Any) -> Any:
    QUEUE.put(x * 3.0)
    return QUEUE.get() + x


POOL, QUEUE = ThreadPoolExecutor(1), queue.Queue()  # type: ignore[var-annotated]


@pytest.mark.parametrize("step", [_starts, _submits, _waits])
def test_work_in_other_threads_is_refused(step: Any) -> None:
    POOL.submit(int).result()
    with pytest.raises(RuntimeError, match="hands work to another thread"):
        tg.compile(step)(draw(3, 4))


def test_finite_checks_go_around_a_compiled_step() -> None:
    def f(x: Any) -> Any:
        with finite_checks():
            return tg.log(x)

    with pytest.raises(RuntimeError, match="put the block around"):
        tg.compile(f)(tg.ones((2,)))
    compiled = tg.compile(lambda x: tg.log(x), fuse=False)
    compiled(tg.ones((2,)))
    with finite_checks(), finite_checks(), pytest.raises(FloatingPointError, match="log"):
        compiled(tg.zeros((2,)))
