"""The state of a training, to the last bit: captured, restored, written whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from ..io import Arrays
from ..models import Model
from ..optim import EMA, Optimizer
from ..runs.files import FORMAT, non_finite
from ..runs.stored import under
from ..version import __version__


@dataclass
class Position:
    """How far a training has come, counted in what was consumed (not in what was prepared)."""

    stage: int = 0  # complete stages
    epoch: int = 0  # complete epochs of the stage
    batch: int = 0  # batches done of the next epoch
    step: int = 0  # updates in all
    sums: dict[str, float] = field(default_factory=dict)  # of the losses in this epoch
    recent: dict[str, float] = field(default_factory=dict)  # sums since the last line of the log
    counted: int = 0  # steps in them
    skipped: int = 0  # steps of this epoch that were skipped, and are not in the sums
    in_a_row: int = 0  # of them, those just before the next step
    best: float | None = None  # the least Session.rank of the stage so far
    log_bytes: int = 0  # length of log.jsonl


@dataclass
class State:
    """Everything that a training changes."""

    model: Model
    optimizers: dict[str, Optimizer]
    ema: EMA | None
    position: Position

    def capture(self) -> Arrays:
        """A copy of the state: arrays by name, and the rest as JSON in `.metadata`."""
        arrays = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            arrays |= {f"optimizer/{name}/{k}": v for k, v in optimizer.state_dict().items()}
        if self.ema is not None:
            arrays |= {f"ema/{k}": v for k, v in self.ema.state_dict().items()}
        generators = self.model.named_generators()
        metadata = {
            "format": FORMAT,
            "kind": "checkpoint",
            "tinygen": __version__,
            "model": self.model.describe(),
            "position": {  # names in the order that they have here
                **vars(self.position), "sums": list(self.position.sums.items()),
                "recent": list(self.position.recent.items()),
            },
            "generators": {k: g.state_dict() for k, g in generators.items()},
        }  # fmt: skip
        return Arrays(arrays, metadata=metadata)

    def non_finite(self) -> list[str]:
        """Names of the weights and optimizer values that are infinite or NaN."""
        return non_finite(self.capture())

    def check(self, saved: Arrays) -> None:
        """ValueError naming what `saved` lacks, or has in another shape, to be restored."""
        mine = self.capture()
        kinds = [
            {
                k: (v.shape, v.dtype.name)
                for k, v in a.items()
                if k != "fixed_noise" and not k.endswith("/skipped")  # of old ones; a count
            }
            for a in (saved, mine)
        ]
        wrong = sorted(k for k in saved.keys() | mine.keys() if kinds[0].get(k) != kinds[1].get(k))
        wrong += mine.metadata["generators"].keys() - saved.metadata["generators"].keys()
        if wrong:
            raise ValueError(
                f"{len(wrong)} of its arrays and generators are missing, more, or of another shape "
                f"than this training has: {', '.join(wrong[:3])}"
            )

    def restore(self, saved: Arrays) -> None:
        """Put a captured state back, in place."""
        self.model.load_state_dict(under(saved, "model/"))
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(under(saved, f"optimizer/{name}/"))
        if self.ema is not None:
            self.ema.load_state_dict(under(saved, "ema/"))
        for name, generator in self.model.named_generators().items():
            generator.load_state_dict(saved.metadata["generators"][name])
        values = saved.metadata["position"]
        known = {f.name: values[f.name] for f in fields(Position) if f.name in values}
        named = {k: dict(values.get(k, ())) for k in ("sums", "recent")}  # old ones have no recent
        self.position = Position(**{**known, **named})
