"""Hypothesis profiles: HYPOTHESIS_PROFILE=dev|default|ci|intense (ci where CI is set)."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# The arrays of tests are small: a second BLAS thread only waits, and on a busy machine for long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

_slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("dev", max_examples=4, deadline=None, suppress_health_check=_slow)
settings.register_profile("default", max_examples=12, deadline=None, suppress_health_check=_slow)
settings.register_profile("intense", max_examples=500, deadline=None, suppress_health_check=_slow)
settings.register_profile(
    "ci",
    max_examples=12,
    deadline=None,
    derandomize=True,  # the same examples each time: a red run is about the change
    database=None,
    print_blob=True,
    suppress_health_check=_slow,
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default")
)


@pytest.fixture
def own_primitives() -> Iterator[None]:
    """Primitives declared in a test are forgotten after it."""
    from tinygen.primitive import PRIMITIVES

    before = set(PRIMITIVES)
    yield
    for name in set(PRIMITIVES) - before:
        del PRIMITIVES[name]


@pytest.fixture(params=[0, 5], ids=["in order", "shuffled"])
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The emulator with its checks, its threads run in order and in another one."""
    import tinygen as tg

    with tg.use_backend("emulated") as found, found.checked(order=request.param):
        yield found


@pytest.fixture
def tinygen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[Any, str, str]]:
    """Run the command line in an empty folder: (exit code, standard output, standard error)."""
    from tinygen.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["tinygen", *map(str, words)])
        code: Any = 0
        try:
            app.run()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


@pytest.fixture(scope="session", autouse=True)
def _alike_curves() -> Iterator[Any]:
    """Curves of the same losses as some before are a copy: to draw them is half of a training here.

    Gives the function that draws all.
    """
    from tinygen.runs import pictures

    draw, drawn = pictures.save_losses, {}

    def draw_once(folder: Any) -> bool:
        entries = folder.read_log()
        alike = frozenset(
            (e["kind"], *e.get("losses", ()), e.get("validation") is None) for e in entries
        )
        path = folder.path / "losses.png"
        if alike in drawn:
            pictures.write_bytes(path, drawn[alike])
            return True
        done = draw(folder)
        if done:
            drawn[alike] = path.read_bytes()
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "save_losses", draw_once)
        yield draw


@pytest.fixture
def all_curves(_alike_curves: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The curves of each training are drawn."""
    monkeypatch.setattr("tinygen.runs.pictures.save_losses", _alike_curves)


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    registry = sys.modules.get("tinygen.models.registry")
    if registry is not None:
        own = dict(registry.MODELS)
        monkeypatch.setattr(registry, "MODELS", own)
        monkeypatch.setattr(sys.modules["tinygen.models"], "MODELS", own)
