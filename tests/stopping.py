"""Trainings that are stopped in a test."""

from typing import Any

import pytest

from tinygen.train import loop


def stop_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Behave as if Ctrl-C had been pressed during that step."""
    done, entered, stop = loop.Session.step, loop.Interrupt.__enter__, {}

    def enter(self: Any) -> Any:
        stop["flag"] = self
        return entered(self)

    def step(self: Any, batch: Any) -> Any:
        values = done(self, batch)
        if self.state.position.step == steps:
            stop["flag"].requested = True
        return values

    patch.setattr(loop.Interrupt, "__enter__", enter)
    patch.setattr(loop.Session, "step", step)
