"""`tinygen info`: what a run is, or what the machine has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from .. import models, train
from ..backend import show_config
from ..data.labels import numbers_of
from ..models import feed
from ..options import as_json
from ..runs import pictures
from .console import console


def info_command(
    run_folder: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)
    ] = None,
    system: Annotated[
        bool, typer.Option("--system", help="Show versions, processor, GPU and backends instead.")
    ] = False,
) -> None:
    """Show what a run is: architecture with shapes and parameters, data, results."""
    if system:
        print(show_config())
        return
    if run_folder is None:
        raise ValueError("info: name the folder of a run, or give --system")
    run = train.open_run(run_folder)
    config = train.RunFolder(run_folder).read_config()
    screen, model = console(), run.model
    noise = model.noise if isinstance(model, models.Draws) else None
    code = "" if noise is None else f", code {math.prod(noise.shape)}"
    classes = f", {model.classes} classes" if model.classes else ""
    screen.print(f"[bold]{model.name}[/bold]  images {model.shape}{code}{classes}")
    screen.print(repr(model), markup=False)
    table = Table(show_header=False, box=None, pad_edge=False)
    evaluation = train.RunFolder(run_folder).read_evaluation(pictures.fingerprint(model))
    for name, text in (*_configured(run, config), *_results(run, config), *_measured(evaluation)):
        table.add_row(name, escape(text))
    screen.print(table)
    if run.unfinished:
        screen.print(run.unfinished, markup=False)


Rows = Iterator[tuple[str, str]]  # of the table: a name and a text


def _configured(run: train.Run, config: dict[str, Any]) -> Rows:
    """What the run was built and trained with."""
    model, data = run.model, config["data"]
    shape = " x ".join(str(v) for v in data["shape"])
    held_out = f"{data['test_n']:,} held out, hash {data['fingerprint'][:12]}"
    yield "options", _listed(as_json(model.options))
    if model.classes and data.get("classes"):
        yield "classes", _numbered(data["classes"])
    yield "data", f"{data['name']}: {data['n']:,} images of {shape}, {held_out}"
    kept = config["training"]
    training = train.as_given(model, kept)
    if kept.get("warmup", 0) and training["warmup"] is None:  # nobody asked for it
        used = train.own_warmup(kept["warmup"], _steps(model, config))
        why = " (at most a tenth of all steps)" if used < kept["warmup"] else ""
        training["warmup"] = f"{used}{why}"
    yield "training", _listed(training | _rates(model, training))
    settings = models.contract.chosen(model, {}) if isinstance(model, models.Draws) else {}
    if settings:
        yield "drawing", f"{_listed(settings)} (others: sample --set NAME=VALUE)"
    yield "versions", ", ".join(f"{k} {v}" for k, v in config["versions"].items())
    yield "weights", f"hash {pictures.fingerprint(model)}"


def _steps(model: models.Model, config: dict[str, Any]) -> int:
    """Of the training of the last stage, all epochs."""
    stage, kept = model.stages()[-1], config["training"]
    sets = {"train": config["data"], **config.get("more_data", {})}
    entries: int = min(sets[source]["n"] for source in feed.sources(stage.reads))
    size = feed.step_size(stage, entries, kept["batch_size"])
    return int(kept["epochs"]) * (entries // size)


def _listed(values: dict[str, Any]) -> str:
    """Names and values; what is None was left to something else."""
    return ", ".join(f"{k} {v}" for k, v in values.items() if v is not None)


def _rates(model: models.Model, training: dict[str, Any]) -> dict[str, Any]:
    """The learning rates of the last stage's optimizers, where the model chose them."""
    if training.get("lr") is not None:
        return {}
    rates = {k: o.lr for k, o in model.stages()[-1].new_optimizers(model, None).items()}
    each = [f"{lr:g}" for lr in rates.values()]
    if len(set(each)) > 1:
        each = [f"{lr:g} of {name}" for name, lr in rates.items()]
    return {"lr": " and ".join(dict.fromkeys(each))}


def _results(run: train.Run, config: dict[str, Any]) -> Rows:
    """The losses of the last epoch."""
    if run.epochs:
        last = run.epochs[-1]
        figures = ", ".join(f"{k} {v:.4g}" for k, v in last["losses"].items())
        if last.get("validation") is not None:
            figures += f", held out {last['validation']:.2f} {run.model.unit}".rstrip()
        stages = {stage.name: stage.epochs for stage in run.model.stages()[:-1]}
        of = stages.get(last.get("stage", ""), config["training"]["epochs"])
        stage = f"{last['stage']}, " if "stage" in last else ""
        done = f"{stage}epoch {last['epoch']} of {of}, step {last['step']}"
        yield "results", f"{done}: {figures}"


def _measured(evaluation: dict[str, Any]) -> Rows:
    """What `tinygen evaluate` found for these weights."""
    for f in evaluation["figures"]:
        unit = f.get("unit", train.Estimate.unit)
        figure = f"{f['name']}, {f['split']}: {f['value']:.2f} ± {f['error']:.2f} {unit}"
        yield "", f"{figure} ({f['protocol']})" if f["protocol"] else figure
    quality = evaluation["quality"]
    if quality is not None:
        measures = (
            f"{m['name']} {m['value']:.4g}"
            + ("" if m["floor"] is None else f" (real {m['floor']:.4g})")
            for m in quality["measures"]
            if m["name"] in train.loop.HEADLINES
        )
        yield "", f"{', '.join(measures)} ({quality['protocol']})"


def _numbered(classes: list[str]) -> str:
    """The classes with their numbers, unless their names are numbers."""
    if any(number is not None for number in numbers_of(classes)):
        return ", ".join(classes)
    return ", ".join(f"{k} {name}" for k, name in enumerate(classes))
