"""What happens beside the updates of a training: log, progress, measures, pictures, checkpoints.

The loop calls each hook in the order of its list; a hook may read what those before it wrote into
the Epoch that has ended.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..metrics import Quality, collapsed
from ..runs import RunFolder, pictures
from ..runs.stored import save_model, without_paths
from .progress import Silent
from .session import Epoch, Session

LOG_EVERY = 50  # steps
HEADLINES = ("FID", "KID", "precision", "coverage")  # of all measures, what a person sees first


class Hook:
    """Something that happens beside the updates; by default nothing does."""

    def epoch_begins(self, session: Session) -> None:
        """Before the first batch of an epoch, or the first one after an interruption."""

    def stepped(self, session: Session, losses: list[dict[str, float]]) -> None:
        """Updates were done; `losses` are those of each since the last call."""

    def pausing(self, session: Session) -> None:
        """Within an epoch: the time for a checkpoint has come, or the training stops."""

    def epoch_ended(self, session: Session, epoch: Epoch) -> None:
        """An epoch is complete; the position is at the start of the next."""


class Log(Hook):
    """A line every LOG_EVERY steps and one an epoch, in the session's history and in log.jsonl.

    The losses of a line are means: over the steps since the last such line, or over the epoch. A
    step that was skipped has no losses and is in none.
    """

    def __init__(self, folder: RunFolder | None) -> None:
        self.folder = folder

    def write(self, session: Session, entry: dict[str, Any]) -> None:
        position = session.state.position
        entry = {"epoch": position.epoch, "step": position.step, **entry}
        if len(session.stages) > 1:
            entry["stage"] = session.stage.name
        session.history.append(entry)
        if self.folder is not None:
            position.log_bytes = self.folder.append_log(entry)

    def stepped(self, session: Session, losses: list[dict[str, float]]) -> None:
        position = session.state.position
        for each in filter(None, losses):
            position.counted += 1
            for name, value in each.items():
                position.recent[name] = position.recent.get(name, 0.0) + value
        if position.step % LOG_EVERY == 0:
            means = {k: v / position.counted for k, v in position.recent.items()}
            position.recent, position.counted = {}, 0
            self.write(session, {"kind": "steps", "losses": means})

    def epoch_ended(self, session: Session, epoch: Epoch) -> None:
        value = None if epoch.validation is None else epoch.validation.value
        skipped = {"skipped": epoch.skipped} if epoch.skipped else {}
        losses = {"losses": epoch.losses, "validation": value}
        self.write(session, {"kind": "epoch", **losses, **skipped})


class Progress(Hook):
    """What a person sees while training."""

    def __init__(self, show: Silent) -> None:
        self.show = show
        self._begun = -1  # the stage that was entered last

    def epoch_begins(self, session: Session) -> None:
        position = session.state.position
        entered = self._begun != position.stage
        if entered and len(session.stages) > 1:
            count = len(session.stages)
            self.show.say(f"stage {position.stage + 1} of {count}: {session.stage.name}")
        if entered and session.warms_up_to < 1:
            self.show.say(
                f"note: warmup is {session.settings.warmup:,} steps, and the training has "
                f"{session.epochs * session.batches:,}: its learning rate gets to "
                f"{session.warms_up_to:.0%} of its highest; give a smaller one, or more epochs"
            )
        self.show.start(
            position.epoch + 1, session.epochs, session.batches, position.batch, session.step_size
        )
        if entered and session.settings.compiled:
            self.show.compiling()
        self._begun = position.stage

    def stepped(self, session: Session, losses: list[dict[str, float]]) -> None:
        self.show.step(losses)

    def epoch_ended(self, session: Session, epoch: Epoch) -> None:
        held_out = epoch.validation
        if held_out is None:
            self.show.epoch(epoch.losses, None)
        else:
            self.show.epoch(epoch.losses, held_out.value, held_out.unit)
        if epoch.skipped:
            steps = f"{epoch.skipped:,} step{'s' * (epoch.skipped != 1)} of {session.batches:,}"
            self.show.say(f"  {steps} skipped: the gradients were not finite")


class Measures(Hook):
    """Measures what the model draws, after every so many epochs, and warns of mode collapse."""

    def __init__(self, log: Log, show: Silent) -> None:
        self.log, self.show = log, show

    def epoch_ended(self, session: Session, epoch: Epoch) -> None:
        epoch.quality = measured = session.quality()
        if measured is None:
            return
        fault = collapsed(measured.classes, measured.floor_classes)
        self.log.write(session, {
            "kind": "quality",
            "measures": {m.name: m.value for m in measured.measures},
            "floors": {m.name: m.floor for m in measured.measures},
            "collapsed": fault,
            "protocol": measured.protocol,
        })  # fmt: skip
        self.show.say(f"  {measured.count:,} images drawn  {_headlines(measured)}")
        if fault:
            self.show.say(f"  warning: mode collapse: {fault}")


def _headlines(measured: Quality) -> str:
    return "  ".join(
        f"{k} {measured[k].value:.4g} (real {measured[k].floor:.4g})" for k in HEADLINES
    )


class Pictures(Hook):
    """The pictures of the run folder, after each epoch, and the loss curves."""

    def __init__(self, folder: RunFolder, show: Silent) -> None:
        self.folder, self.show = folder, show
        self._noted = False

    def epoch_ended(self, session: Session, epoch: Epoch) -> None:
        if not draw(session, self.folder) and not self._noted:
            self._noted = True
            self.show.say(
                "  losses.png is not drawn without matplotlib: `pip install matplotlib`, and each "
                "epoch after that draws it"
            )


def draw(session: Session, folder: RunFolder) -> bool:
    """The pictures of this epoch; False where the curves could not be drawn."""
    model, position = session.model, session.state.position
    stage = f"{session.stage.name}-" if len(session.stages) > 1 else ""
    with session.drawing_weights():
        text = {**pictures.note(model, session.settings.seed), "Epoch": position.epoch}
        for name, sheet in pictures.sheets(model, session.sets, session.settings.seed).items():
            sheet.save(folder.path / f"{name}.png", text)
            if name == "samples":
                folder.history.mkdir(parents=True, exist_ok=True)  # someone may have tidied up
                kept = f"samples-{stage}{position.epoch:04d}.png"
                sheet.save(folder.history / kept, text)
    return pictures.save_losses(folder)


class Checkpoints(Hook):
    """Keeps the state, and writes it with the weights to draw with where there is a folder."""

    def __init__(self, folder: RunFolder | None) -> None:
        self.folder = folder

    def pausing(self, session: Session) -> None:
        self.write(session)

    def epoch_ended(self, session: Session, epoch: Epoch) -> None:
        position = session.state.position
        rank = session.rank(epoch)
        best = rank is not None and (position.best is None or rank < position.best)
        if best:
            position.best = rank
        self.write(session, best=best)

    def write(self, session: Session, *, best: bool = False) -> None:
        captured = session.keep()
        if self.folder is not None:
            captured.metadata["data"] = without_paths(session.data.describe())
            captured.metadata["training"] = {**asdict(session.settings), "classifier": None}
            self.folder.write_checkpoint(captured, best=best)
            write_weights(session, self.folder)


def write_weights(session: Session, folder: RunFolder) -> None:
    """model.safetensors: the weights to draw with."""
    position = session.state.position
    more = {
        "data": without_paths(session.data.describe()), "epoch": position.epoch,
        "step": position.step, "stage": position.stage,
    }  # fmt: skip
    with session.drawing_weights():
        save_model(folder.model, session.model, more)
