"""What a step uses of the world around it: compared before each replay, or refused by name."""

from __future__ import annotations

import abc
import contextvars
import csv
import ctypes
import datetime
import decimal
import functools
import gc
import inspect
import io
import itertools
import linecache
import locale
import logging
import math
import os
import pickle
import queue
import random
import socket
import sys
import threading
import time
import traceback
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_plan_depends import dense, draw, follows

import tinygen as tg
from tinygen import nn

LOCK, QUEUE = threading.Lock(), queue.SimpleQueue()  # type: ignore[var-annotated]
POINTED = ctypes.c_double(1.0)
POINTER = ctypes.pointer(POINTED)
SIGNAL = threading.Event()
LOGGER = logging.getLogger("of this world")


def _warned() -> float:
    try:
        warnings.warn("a step", stacklevel=1)
    except UserWarning:
        return 2.0
    return 3.0


def _set_precision(n: int) -> None:
    decimal.getcontext().prec = n


# what a step reads: a function of nothing, and two changes
FOLLOWED: dict[str, Any] = {
    "a logger": (
        lambda: 2.0 if LOGGER.isEnabledFor(logging.DEBUG) else 3.0,
        lambda: LOGGER.setLevel(logging.DEBUG), lambda: LOGGER.setLevel(logging.ERROR),
    ),
    "a logger by name": (
        lambda: float(logging.getLogger("of this world.below").getEffectiveLevel()),
        lambda: LOGGER.setLevel(logging.DEBUG), lambda: LOGGER.setLevel(logging.INFO),
    ),
    "logging as a whole": (
        lambda: 2.0 if LOGGER.isEnabledFor(logging.ERROR) else 3.0,
        lambda: logging.disable(50), lambda: logging.disable(0),
    ),
    "decimal numbers": (
        lambda: float(decimal.Decimal(1) / decimal.Decimal(3)),
        lambda: _set_precision(3), lambda: _set_precision(5),
    ),
    "a pointer": (
        lambda: float(POINTER[0]),
        lambda: setattr(POINTED, "value", 5.0), lambda: setattr(POINTED, "value", 7.0),
    ),
    "an event": (lambda: 2.0 if SIGNAL.is_set() else 3.0, SIGNAL.set, SIGNAL.clear),
    "arguments of the program": (
        lambda: float(len(sys.argv)),
        lambda: sys.argv.append("--more"), lambda: setattr(sys, "argv", ["a"]),
    ),
    "a constant of a module": (lambda: math.pi, lambda: setattr(math, "pi", 3.0)),
    "the folder": (lambda: float(len(os.getcwd())), lambda: os.chdir("/"), lambda: os.chdir(HERE)),
    "the folder, deeper": (lambda: float(len(os.path.abspath("a"))), lambda: os.chdir("/")),
    "the limit of recursion": (
        lambda: float(sys.getrecursionlimit()),
        lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 7),
    ),
    "the collector": (lambda: 2.0 if gc.isenabled() else 3.0, gc.disable, gc.enable),
    "what NumPy does about errors": (
        lambda: 2.0 if np.geterr()["over"] == "warn" else 3.0,
        lambda: np.seterr(over="raise"), lambda: np.seterr(over="warn"),
    ),
    "how NumPy prints": (
        lambda: float(len(str(np.array([1 / 3])))),
        lambda: np.set_printoptions(precision=3), lambda: np.set_printoptions(precision=8),
    ),
    "what becomes of warnings": (
        _warned, lambda: warnings.simplefilter("error"), lambda: warnings.simplefilter("ignore"),
    ),
}  # fmt: skip
HERE = os.getcwd()


@pytest.mark.parametrize("kind", FOLLOWED)
def test_what_can_be_asked_again_is_asked_before_each_replay(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(math, "pi", math.pi)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    limit, level = sys.getrecursionlimit(), LOGGER.level
    read, *changes = FOLLOWED[kind]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            contextvars.copy_context().run(follows, lambda x: x * read(), *changes)
    finally:
        os.chdir(HERE)
        sys.setrecursionlimit(limit)
        LOGGER.setLevel(level)
        logging.disable(0)


def test_the_thread_that_calls() -> None:
    found: list[float] = []
    step = tg.compile(lambda x: x * float(len(threading.current_thread().name)), fuse=False)
    for name in ("a", "four", "a"):
        thread = threading.Thread(target=lambda: found.append(step(tg.ones(1)).item()), name=name)
        thread.start()
        thread.join()
    assert found == [1.0, 4.0, 1.0]


def _reads(x: Any) -> float:
    with open(PATH) as file:
        return float(file.read())


PATH = Path(__file__).with_suffix(".number")
BUFFER, ROWS, ITERATOR = io.StringIO("1.0"), iter(["2.0"] * 99), itertools.cycle([2.0])
DICE, THEIRS = random.Random(0), np.random.RandomState(0)


def _yields() -> Any:
    yield from [2.0] * 99


YIELDS, PAIRS = _yields(), zip([2.0] * 99, _yields(), strict=False)
USED: dict[str, Any] = {
    "open": (_reads, r"world.py:\d+ uses a file.*open"),
    "Path": (lambda x: float(Path(PATH).read_text()), "uses a file"),
    "np.load": (lambda x: np.load(PATH), "uses a file"),
    "np.fromfile": (lambda x: np.fromfile(PATH, sep=" ")[0], "uses a file.*fromfile"),
    "exists": (lambda x: 2.0 if os.path.exists(PATH) else 3.0, "uses files.*stat"),
    "Path.exists": (lambda x: 2.0 if Path(PATH).exists() else 3.0, "uses files"),
    "listdir": (lambda x: float(len(os.listdir("."))), "uses files.*listdir"),
    "glob": (lambda x: float(len(list(Path(".").glob("*.z")))), "uses files"),
    "write": (lambda x: PATH.write_text("2.0") and 2.0, "uses a file"),
    "buffer": (lambda x: float(BUFFER.getvalue()), "uses a file.*StringIO"),
    "pickle": (lambda x: pickle.loads(PATH.read_bytes()), "uses a file"),
    "time": (lambda x: float(time.time() > 0.0), r"uses a clock inside the step \(time\)"),
    "clock": (lambda x: float(time.perf_counter() > 0.0), "uses a clock"),
    "today": (lambda x: float(datetime.date.today().year), "uses a clock.*today"),
    "now": (lambda x: float(datetime.datetime.now().year), "uses a clock.*now"),
    "uuid": (lambda x: 1.0 if uuid.uuid4().int else 2.0, "uses files, processes or the system"),
    "random": (lambda x: 1.0 if random.random() < 2.0 else 2.0, "uses Python's random numbers"),
    "own random": (lambda x: 1.0 if DICE.random() < 2.0 else 2.0, "uses Python's random numbers"),
    "shuffle": (lambda x: random.shuffle([1, 2]) or 1.0, "uses Python's random numbers"),
    "NumPy": (
        lambda x: 0.0 * np.random.mtrand._rand.rand(),
        "draws from .*RandomState",
    ),
    "of NumPy": (lambda x: 1.0 if THEIRS.rand() < 2.0 else 2.0, "takes the next of THEIRS"),
    "locale": (lambda x: float(len(locale.setlocale(locale.LC_ALL))), "uses the locale"),
    "socket": (lambda x: float(socket.gethostname() != ""), "uses a connection"),
    "lock": (lambda x: 1.0 if LOCK.locked() else 2.0, "uses what other threads do"),
    "queue": (lambda x: float(QUEUE.qsize()), "uses what other threads do"),
    "next": (lambda x: float(next(ROWS)), "takes the next of ROWS"),
    "cycle": (lambda x: next(ITERATOR), "takes the next of ITERATOR"),
    "rows of a file": (lambda x: float(next(csv.reader(ROWS))[0]), "takes the next of ROWS"),
    "generator": (lambda x: next(YIELDS), "takes the next of YIELDS"),
    "for": (lambda x: sum(v for v, _ in zip(YIELDS, range(2), strict=False)), "next of YIELDS"),
    "zip": (lambda x: next(PAIRS)[0], "takes the next of PAIRS"),
}


@pytest.mark.parametrize("kind", USED)
def test_what_changes_by_itself_is_refused_by_name(kind: str) -> None:
    PATH.write_bytes(pickle.dumps(1.0, 0))
    use, match = USED[kind]
    try:
        with pytest.raises(RuntimeError, match=f"(?s){match}.*outside the step"):
            tg.compile(lambda x: x * _or_one(use, x))(tg.ones(3))
    finally:
        PATH.unlink(missing_ok=True)
        gc.collect()


def _or_one(use: Any, x: Any) -> Any:
    try:
        return use(x)
    except ValueError:  # a step may take it for an answer
        return 1.0


def _warns_inside(x: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.warn("a step", stacklevel=1)
    return x * 2.0


def _warns(x: Any) -> Any:
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        warnings.warn("a step", stacklevel=1)
    return x * 2.0


def _shows_where(x: Any) -> Any:
    linecache.clearcache()
    try:
        raise ValueError
    except ValueError:
        return x * (2.0 if traceback.format_exc() else 3.0)


def _shows_source(x: Any) -> Any:
    return x * (2.0 if inspect.getsource(_warns) and inspect.stack() else 3.0)


def _rounds(x: Any) -> Any:
    with decimal.localcontext() as context, np.errstate(all="raise"):
        context.prec = 3
        return x * float(decimal.Decimal(1) / 3) * len(np.geterr())


@pytest.mark.parametrize("step", [_warns_inside, _warns, _shows_where, _shows_source, _rounds])
def test_what_is_changed_for_a_while_and_where_code_stands(step: Any) -> None:
    follows(step)


def test_what_the_engine_asks_for_itself_is_no_part_of_a_step() -> None:
    net = nn.Sequential(dense(4, 64), nn.LeakyReLU(0.0137), dense(64, 4))

    def f(x: Any) -> Any:
        text = io.StringIO()
        print("a step", file=text)
        sys.stderr.write("")
        folder = os.path.join("a", os.path.basename(os.fspath("b/c")))
        return net(x) * float(len(text.getvalue()) + len(folder) + len(repr(Path("a") / "b")))

    x = draw(3, 4)
    np.testing.assert_allclose(tg.compile(f)(x).numpy(), f(x).numpy(), rtol=1e-5)


class Drawn(abc.ABC):
    """What a class may be registered with."""

    @abc.abstractmethod
    def draw(self) -> Any:
        """What one of them does."""


class Plain:
    """A class that is registered with it between two calls."""


def test_a_class_that_is_registered_later() -> None:
    thing = Plain()
    follows(lambda x: x * (2.0 if isinstance(thing, Drawn) else 3.0), lambda: Drawn.register(Plain))


def test_a_partial_that_is_given_other_parts() -> None:
    scale = functools.partial(lambda x, by: x * by, by=2.0)
    other = functools.partial(lambda x, by: x - by, by=5.0).__reduce__()[2]
    follows(lambda x: scale(x) + 1.0, lambda: scale.__setstate__(other))  # type: ignore[attr-defined]
