"""When a loss or a weight is not finite: which operation gave the first such result, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..finite import finite_checks

if TYPE_CHECKING:
    from .session import Session


IN_A_ROW = 50  # steps that may be skipped before it is no longer bad luck


class Diverged(RuntimeError):  # noqa: N818  (it is what happened)
    """A loss was not finite; says which operation, line and tensor, and what to try."""


def refuse_losses(session: Session, values: list[dict[str, float]]) -> None:
    """Diverged if a loss of the steps just read is not finite."""
    for step, losses in enumerate(values, session.state.position.step - len(values) + 1):
        if not all(np.isfinite(v) for v in losses.values()):
            raise diverged(session, losses, step)
    position = session.state.position
    if position.in_a_row >= IN_A_ROW:
        losses = {f"gradients of the last {position.in_a_row} steps": float("nan")}
        raise diverged(session, losses, position.step)


def refuse_weights(session: Session) -> None:
    """The losses come from the weights before the last update: look at those after it, too."""
    bad = session.state.non_finite()
    if bad:
        nan = {name: float("nan") for name in bad[:3]}
        raise diverged(session, nan, session.state.position.step)


def diverged(session: Session, losses: dict[str, float], step: int) -> Diverged:
    """What to raise; the session goes back to its last good state."""
    where = f"epoch {session.state.position.epoch + 1}, step {step}"
    values = ", ".join(f"{k} = {v}" for k, v in losses.items())
    cause = explain(session, step)
    return Diverged(
        f"training diverged in {where}: {values}.\nFirst non-finite result that counts: {cause}.\n"
        "The model is back at its last good state (step "
        f"{session.good.metadata['position']['step']}). Train again into another folder with a "
        "smaller --lr (a tenth) or with --warmup 500; check that the images have no extreme values."
    )


def explain(session: Session, failed_step: int) -> str:
    """Go back to the last good state, repeat up to the failed step, and say what went wrong."""
    bad = session.state.non_finite()
    for strict in (False, True):  # first what counts, then what a `where` may hide as well
        try:
            _repeat(session, failed_step, strict)
        except FloatingPointError as error:
            return str(error)
        finally:
            session.go_back()
    cause = "no operation: from the last good state on, all results are finite when repeated"
    if bad:  # it was written into them from outside
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        cause += f"; what held NaN or infinity is {', '.join(bad[:5])}{more}"
    return cause


def _repeat(session: Session, failed_step: int, strict: bool) -> None:
    """The steps from the last good state to the failed one, watched near its end."""
    session.go_back()
    position = session.state.position
    while position.step < failed_step:
        if position.batch == session.batches:
            position.epoch, position.batch, position.sums = position.epoch + 1, 0, {}
            position.skipped = 0
        with session.epoch_batches() as batches:
            for batch in batches:
                if position.step < failed_step - 2:
                    session.step(batch)
                else:  # the step before may have left a weight that is not finite
                    with finite_checks(strict):
                        session.step(batch)
                if position.step >= failed_step:
                    break
