"""Kernels compiled ahead, by several processes: the same bits, nothing left, and no need of any."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygen import tensor
from tinygen.backend import current

pytest.importorskip("numba")
from tinygen_kernels.cpu import ahead, product

rehearse = importlib.import_module("tinygen.plan.rehearse")

# A step of five loops, cold: its results, what was compiled here, and what is left afterwards.
STEP = """
import os, sys, threading, time
import numpy as np
import tinygen as tg
from numba.core.ccallback import CFunc
from tinygen_kernels.cpu import ahead
def wait(team):
    while team._left:
        time.sleep(0.05)
    own(team)
own = ahead.Team._compile
CHANGE
here, compiled = [], CFunc._compile_uncached
CFunc._compile_uncached = lambda f: (here.append(f.__name__), compiled(f))[1]
xs = [tg.tensor(np.linspace(-1, 1, 64 + i).astype("f")) for i in range(5)]
def step(*xs):
    for i in range(5):
        xs = [x * x + 1 / (x + i) if j >= i else x for j, x in enumerate(xs)]
    return xs
print([x.numpy().tobytes().hex() for x in tg.compile(step)(*xs)])
print(here.count("block"))
print([t.name for t in threading.enumerate() if "ahead" in t.name])
try:
    print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("no child")
"""


def run(home: Path, change: str) -> list[str]:
    environment = {**os.environ, "TINYGEN_CACHE": str(home), "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", STEP.replace("CHANGE", change)], env=environment,
        capture_output=True, text=True, timeout=240, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.skipif(os.name != "posix", reason="os.waitpid as in POSIX")
def test_a_helper_fills_the_cache_with_the_same_code(tmp_path: Path) -> None:
    alone = run(tmp_path / "a", "ahead.threads = lambda: 1")
    helped = run(tmp_path / "b", "ahead.Team._compile = wait")  # all of it is a helper's
    assert alone[1:] == ["5", "[]", "no child"]
    assert helped == [alone[0], "0", "[]", "no child"]


# ---- whatever goes wrong -------------------------------------------------------------------------


class Kernel:
    """One that takes no time to compile."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def address(self) -> int:
        self.asked += 1
        return 1


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Any]]:
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ahead, "place_of", lambda kernel: ["math", "pi", ""])
    monkeypatch.setattr(ahead, "threads", lambda: 2)
    monkeypatch.setattr(ahead, "PATIENCE", 0.1)
    return [Kernel() for _ in range(2 * ahead.WORTH)]


def noted(team: Any, kernels: list[Any]) -> None:
    with team.dry() as missing:
        for kernel in kernels:
            team._note(kernel)
    assert list(missing) == kernels


MUTE = "import time; time.sleep(60)"
FAULTS = {"dead": ("SERVE", "import sys; sys.exit(1)"), "mute": ("SERVE", MUTE)}
FAULTS["absent"] = ("sys", type("sys", (), {"executable": "/nowhere/python", "path": []}))


@pytest.mark.parametrize("fault", FAULTS)
def test_without_a_helper_all_is_compiled_here(
    fault: str, kernels: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but what a helper was given: that is compiled when it is next asked for."""
    monkeypatch.setattr(ahead, *FAULTS[fault])
    with ahead.team() as team:
        noted(team, kernels)
        assert sum(k.asked for k in kernels) >= len(kernels) - 1
        assert len(team._helpers) == 1
    assert all(h._process is None or h._process.poll() is not None for h in team._helpers)
    assert not any(h.is_alive() for h in team._helpers)


def test_a_helper_ends_with_the_block_however_it_ends(
    kernels: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "SERVE", MUTE)
    helpers: list[Any] = []

    def interrupted() -> None:
        with ahead.team() as team, team.dry():
            for kernel in kernels:
                team._note(kernel)
            helpers.extend(team._helpers)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [h._process.poll() is not None and not h.is_alive() for h in helpers] == [True]
    assert not any(k.asked for k in kernels)


def test_an_application_and_few_kernels_start_no_process(
    kernels: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ahead.team() as team:
        noted(team, kernels[: ahead.WORTH - 1])
        assert team._helpers == []
    monkeypatch.setattr(sys, "executable", "/usr/bin/tinygen-app")
    with ahead.team() as team:
        assert team._most == 0


def test_a_folder_that_keeps_nothing_starts_no_process(
    kernels: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TINYGEN_CACHE", str(tmp_path / "file"))
    with ahead.team() as team:
        noted(team, kernels)
        assert team._helpers == []
        assert all(k.asked == 1 for k in kernels)


# ---- the dry block -------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [product.product["float32"], product.product["float64"]])
def test_a_place_leads_to_the_kernel(kernel: Any) -> None:
    assert ahead.found(ahead.place_of(kernel)) is kernel


def test_what_numbers_without_meaning_break_is_rehearsed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operation may refuse what a kernel that did nothing left in its memory."""
    tries: list[int] = []

    def once(given: Any, varying: set[int], missing: Any = ()) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise IndexError("an index of no meaning")
        return "seen"

    class Team:
        def __init__(self, missing: dict[Any, None]) -> None:
            self.missing = missing

        def dry(self) -> Any:
            return ahead.contextlib.nullcontext(self.missing)

    monkeypatch.setattr(rehearse, "_once", once)
    given: Any = (None, (), {}, [], True, current())
    assert rehearse._first(given, Team({None: None})) == "seen"
    tries.clear()
    with pytest.raises(IndexError):
        rehearse._first(given, Team({}))


class Everything:
    """A team that lacks all kernels, which compute all the same."""

    def dry(self) -> Any:
        return ahead.contextlib.nullcontext({"a kernel": None})


def test_what_a_refused_step_has_kept_of_it_is_no_number() -> None:
    """A step under functools.cache is refused: its second run does something else."""
    x = tensor(np.arange(12.0, dtype="f").reshape(3, 4))

    @functools.cache
    def twice() -> Any:
        return x * 2

    def step(y: Any) -> Any:
        return y + twice()

    before = x.numpy().copy()
    with pytest.raises(RuntimeError, match="two runs of the step"):
        rehearse.rehearse(step, (x,), {}, [x], True, current(), set(), Everything())
    assert np.isnan(twice().numpy()).all()
    assert (x.numpy() == before).all()
