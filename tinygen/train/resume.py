"""Going on with a run: what may differ from before, and where its newest checkpoint left it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any

from ..models import trained_by, typed
from ..program import resume_command
from ..runs import RunFolder
from .hooks import draw, write_weights
from .session import Session

Config = dict[str, Any]  # what config.json says


@dataclass(frozen=True)
class Differing:
    """A run as it was, and as it is given now."""

    folder: RunFolder
    was: Config
    now: Config
    session: Session


# ---- what may differ -----------------------------------------------------------------------------

GROWS = "epochs"  # the one setting that may


def _machine(config: Config) -> dict[str, Any]:
    known = {"backend": "numpy float32"} | config.get("versions", {}) | config.get("machine", {})
    return {k: known.get(k) for k in ("numpy", "processor", "cores", "threads", "backend")}


def _settings(config: Config, kind: type) -> dict[str, Any]:
    """The settings that stay; a run of an older version lacks what came later, and had its default.

    The classifier may lie elsewhere now where its hash is known.
    """
    defaults = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    kept = {**defaults, **config["training"]}
    free = {GROWS} | ({"classifier"} if config.get("classifier") is not None else set())
    return {f.name: kept.get(f.name) for f in fields(kind) if f.name not in free}


def _other_model(run: Differing) -> str | None:
    was, now = run.was["model"], run.now["model"]
    if was == now:
        return None
    differ = [k for k in now["options"] if was["options"].get(k) != now["options"][k]]
    had, given = (
        f"{m['name']} for images of shape {m['shape']}"
        + (f" in {m['classes']} classes" if m.get("classes") else "")
        for m in (was, now)
    )
    return (
        f"holds a run of {had}{', other options: ' + ', '.join(differ) if differ else ''}; it "
        f"cannot be continued as {given}; resume it as it was, or train into another folder"
    )


def _other_data(run: Differing) -> str | None:
    before = {"train": run.was["data"], **run.was.get("more_data", {})}
    other = [k for k, v in before.items() if v["fingerprint"] != run.session.sets[k].fingerprint]
    if not other:
        return _other_names(run)
    was = before[other[0]]
    return (
        f"was trained on {was['name']!r} ({was['n']} images); the data given now differ; resume "
        "with the same data"
    )


def _other_names(run: Differing) -> str | None:
    called, named = run.was["data"].get("classes"), run.session.sets["train"].classes
    if called is None or named is None or list(called) == list(named):
        return None
    pairs = zip(called, named, strict=True)  # as many, as the labels are the same
    renamed = [f"{was} is now {name}" for was, name in pairs if was != name]
    return (
        f"was trained on the same images, whose classes had other names ({', '.join(renamed)}); "
        "resume with the names as they were"
    )


def _other_classifier(run: Differing) -> str | None:
    was, now = run.was.get("classifier"), run.now["classifier"]
    if was is None or was == now:
        return None
    return (
        f"was measured with the classifier {was[:12]}, and {run.session.settings.classifier} is "
        f"{str(now)[:12]}; a run is resumed with the same one"
    )


def _other_parts(run: Differing) -> str | None:
    """They need not be given again: a checkpoint has them."""
    was, now = run.was.get("parts", {}), run.session.parts
    if now in ({}, was):
        return None
    had = ", ".join(f"{k} {v[:12]}" for k, v in was.items()) or "no part of another run"
    return f"was begun with {had}; resume it without naming parts, which its checkpoint has"


def _other_settings(run: Differing) -> str | None:
    kind = type(run.session.settings)
    free = {"classifier": run.was.get("classifier")}  # of both, as the run was
    was, now = _settings(run.was, kind), _settings({**run.now, **free}, kind)
    changed = [k for k in now if was[k] != now[k]]
    if not changed:
        return None
    had = ", ".join(f"{k} = {run.was['training'].get(k)}" for k in changed)
    grows = GROWS if len(run.session.stages) == 1 else f"{GROWS} of the last stage"
    return (
        f"was trained with {had}; a run is resumed with the same settings (only {grows} may grow)"
    )


REFUSALS: tuple[Callable[[Differing], str | None], ...] = (
    _other_model,
    _other_data,
    _other_classifier,
    _other_parts,
    _other_settings,
)


# ---- going on ------------------------------------------------------------------------------------


def resume(session: Session, folder: RunFolder, now: Config) -> list[str]:
    """Put the session where the folder's newest checkpoint was; ValueError for what does not fit.

    Returns what a person should know: what differs from the machine of before, on which the last
    bits depend, and a log that lost lines.
    """
    was, notes = folder.read_config(), []
    here, before = _machine(now), _machine(was)
    elsewhere = [k for k in here if before[k] != here[k]]
    if elsewhere:
        notes.append(f"resuming with other {', '.join(elsewhere)}: the bits may differ")
    for refusal in REFUSALS:
        why = refusal(Differing(folder, was, now, session))
        if why is not None:
            raise ValueError(f"{folder.path} {why}")
    saved = folder.newest_checkpoint(session.check, notes.append)
    if saved is None:  # stopped before the first checkpoint: begin again
        if folder.model.exists():
            raise ValueError(
                f"{folder.path} has trained weights but its checkpoints are gone, so it cannot be "
                "continued; train into another folder"
            )
        if was.get("parts", {}) != session.parts:
            raise ValueError(
                f"{folder.path} stopped before its first checkpoint, and was begun with parts of "
                f"other runs: {', '.join(was['parts'])}; name them again (parts=...)"
            )
        folder.cut_log(0)
        return notes
    session.parts = dict(was.get("parts", {}))
    session.state.restore(saved)
    position = session.state.position
    if session.epochs < position.epoch:
        raise ValueError(
            f"{folder.path} has done {position.epoch} epochs{session.named}, more than the "
            f"{session.epochs} asked for; a run cannot shrink"
        )
    notes += _other_decay(session, was["training"]["epochs"])
    missing = folder.cut_log(position.log_bytes)
    if missing:
        notes.append(
            f"note: {folder.log} lacks {missing:,} bytes that it had at the checkpoint: lines are "
            "lost, and the curves have a gap"
        )
    write_weights(session, folder)  # a crash may have come between the two files
    if position.batch == 0 and position.epoch > 0:
        draw(session, folder)
    return notes


def _other_decay(session: Session, epochs: int) -> list[str]:
    """What more epochs do to a learning rate that falls: it falls over all of them."""
    falls = session.settings.schedule != "constant"
    if not falls or not session.last or epochs == session.epochs:
        return []
    rates = (f"{name} {rate:.3g}" for name, rate in session.rates().items())
    return [
        f"the learning rate falls over {session.epochs} epochs now and not over {epochs}: it goes "
        f"on as if that had been so from the start, at {', '.join(rates)}"
    ]


# ---- how a person goes on ------------------------------------------------------------------------


def command(session: Session, folder: RunFolder) -> str:
    """What to type to go on with the run."""
    backend = session.model.backend
    name = typed(type(session.model))
    return resume_command(trained_by(name), folder.path, backend.name, backend.precision)


def go_on(session: Session, folder: RunFolder) -> str:
    return f"Go on with:\n  {command(session, folder)}"


def stopped(session: Session, folder: RunFolder | None) -> str:
    """Where the training stopped, and how to go on."""
    position = session.state.position
    steps = f"{position.step} step{'s' * (position.step != 1)}"
    where = f"stopped after {steps} (epoch {position.epoch + 1})"
    if folder is None:
        return f"{where}; nothing was saved because no folder was given (out=...)"
    return f"{where}; saved in {folder.path}. {go_on(session, folder)}"
