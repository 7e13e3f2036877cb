"""One training step of a finished run, recorded: what `tinygen learn step RUN` writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..models import Model, Stage, feed
from ..runs import open_run
from ..study.step import Step, record

BATCH = 64  # images, of a run that does not say how many


def step_of(
    folder: str | os.PathLike[str], *, seed: int = 0, data: str | None = None,
    batch_size: int | None = None,
) -> Step:  # fmt: skip
    """Record one step of the last stage of a run, on one batch of its data.

    The weights are those of the run; nothing in the folder changes. Optimizers begin anew, so that
    the moments of Adam are 0 before the step. The same seed records the same step.

    Args:
        folder: of the run.
        seed: of the batch, the noise and the dropout.
        data: other data than those of the run, by name or path.
        batch_size: None takes that of the training.

    Raises:
        ValueError: no run is there, or its data are gone, have changed, or are of several sets.
    """
    run = open_run(folder)
    model, stage = run.model, run.model.stages()[-1]
    more = [source for source in feed.sources(stage.reads) if source != "train"]
    if more:
        raise ValueError(
            f"step: {model.name} reads the data sets train, {', '.join(more)}; a step is recorded "
            "of models that read one. In a program: `with tg.record() as r:` around a step"
        )
    sets = {"train": run.load_data(data)}
    config = run.folder.read_config()["training"] if run.folder else {}
    size = batch_size or config.get("batch_size") or BATCH
    size = feed.step_size(stage, feed.length(stage.reads, sets), size)
    _prepare(model, stage, seed)
    optimizers = stage.new_optimizers(model, config.get("lr"))
    for optimizer in optimizers.values():
        optimizer.clip_norm = config.get("clip") or 0.0
    columns = next(iter(feed.batches(stage, sets, size, seed=seed, epoch=0)))
    batch = {name: model.place(values) for name, values in columns.items()}
    with record() as step:
        losses = stage.update(model, batch, optimizers)
    step.document |= {
        "batch": size, "seed": seed, "run": Path(folder).name,
        "losses": {name: loss.item() for name, loss in losses.items()},
    }  # fmt: skip
    return step


def _prepare(model: Model, stage: Stage, seed: int) -> None:
    """As a training has it: what the stage learns trains, and draws begin at the seed."""
    for path, module in model.named_modules().items():
        module.training = path == "" or path.split(".")[0] in stage.learns
    for name, p in model.named_parameters().items():
        p.requires_grad = p.requires_grad and name.split(".")[0] in stage.learns
    for name, generator in model.named_generators().items():
        generator.load_state_dict(model.rng(seed).stream(name).state_dict())


def main(
    folder: str | os.PathLike[str], out: Path, seed: int = 0, data: str | None = None
) -> int:  # fmt: skip
    """Write the step of a run to `out`, .html or .json, and say so; returns the exit status."""
    if out.suffix not in (".html", ".json"):
        raise ValueError(f"step: --out is {out.name!r}; expected .html or .json at its end")
    step = step_of(folder, seed=seed, data=data)
    written = step.save(out)
    size = written.stat().st_size / 1000
    told: dict[str, Any] = step.document["losses"]
    losses = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
    print(f"{step!r}; {losses}")
    print(f"wrote {written} ({size:,.0f} kB)" + (
        "; open it in a browser" if out.suffix == ".html" else ""
    ))  # fmt: skip
    return 0
