"""`tinygen evaluate`: measures of what a model draws, and its own figures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .. import train
from ..data import Dataset
from ..metrics import Quality
from ..output import stdout
from ..train import pictures
from .console import BestOption, RunArgument, console, print_data


def evaluate_command(
    run_folder: RunArgument,
    data: Annotated[
        str | None,
        typer.Option(
            help="Other data than it was trained on; scaled to the size of its images.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            help="How many images to draw and measure; 0 leaves it out (10,000, or as many as are "
            "held out if those are fewer).",
            show_default=False,
            min=0,
        ),
    ] = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="Run of a classifier to measure them with, for other data than mnist and strokes.",
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="VAEs: codes an image for the NLL.", min=1)] = 100,
    nll_images: Annotated[
        int, typer.Option(help="VAEs: images of each split for the NLL; 0 leaves it out.", min=0)
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of the noise.", min=0)] = 0,
    best: BestOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure what a model draws against held-out images, beside real training images (floor).

    FID, KID, precision, recall, density, coverage, classes, near copies, by the features of a small
    classifier. Of a VAE also the negative ELBO and the importance-sampled NLL; of a classifier its
    accuracy.
    """
    run = train.open_run(run_folder, best=best)
    dataset = run.load_data(data)
    if data is not None:
        print_data(console(stderr=as_json), dataset)
    progress = Progress(transient=True, console=Console(stderr=True) if as_json else None)
    found = measure(
        run, dataset, progress, classifier, drawn=n, samples=samples, nll_images=nll_images,
        seed=seed,
    )  # fmt: skip
    record: dict[str, Any] = {
        "weights": pictures.fingerprint(run.model),
        "figures": [dataclasses.asdict(f) for f in found.figures],
        "quality": None if found.quality is None else found.quality.describe(),
    }
    # saved before anything is printed: the terminal may be gone
    saved = data is None and _save(train.RunFolder(run_folder), record)
    if as_json:
        print(json.dumps(record, indent=2))
    else:
        _print(found)
    lost = stdout().lost
    if lost is not None and not saved:
        raise OSError(f"the figures are lost: they could not be shown ({lost.strerror}), nor kept")


@dataclasses.dataclass
class Found:
    """What was measured: the model's own figures, the quality of what it draws, or why not."""

    figures: list[train.Figure]
    quality: Quality | None = None
    extractor: train.ClassifierExtractor | None = None
    reason: str = ""


def measure(
    run: train.Run, dataset: Dataset, progress: Progress, classifier: Path | None, *,
    drawn: int | None, samples: int, nll_images: int, seed: int,
) -> Found:  # fmt: skip
    """Measure a model with a bar for each figure; see the command for the arguments."""
    model, tasks = run.model, {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = progress.add_task(what, total=total)
        progress.update(tasks[what], completed=done)

    own = train.has_figures(model)
    found = Found([])
    with progress:
        if classifier is not None or (drawn != 0 and model.generates):
            try:
                found.extractor = train.find_extractor(dataset, classifier)
                gauge = train.Gauge(model, dataset, found.extractor, drawn, seed=seed)
                found.quality = gauge.measure(report)
            except ValueError as error:
                if classifier is not None or not own:
                    raise
                found.reason = str(error)
        if own or found.quality is None:
            found.figures = train.evaluate(
                run, dataset, samples=samples, nll_images=nll_images, seed=seed, report=report
            )
    return found


def _save(folder: train.RunFolder, record: dict[str, Any]) -> bool:
    """Save the figures in the run folder. They are printed as well, so a full disk only warns."""
    try:
        folder.write_evaluation(record)
    except OSError as error:
        console(stderr=True).print(
            f"warning: the figures were not kept: {error}", markup=False, soft_wrap=True,
            style="yellow",
        )  # fmt: skip
        return False
    return True


def _print(found: Found) -> None:
    screen = console()
    if found.figures:
        _print_figures(screen, found.figures)
    if found.quality is not None and found.extractor is not None:
        _print_quality(screen, found.quality, found.extractor)
    if found.reason:
        screen.print(f"what it draws was not measured: {found.reason}", markup=False)


def _print_figures(screen: Console, figures: list[train.Figure]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("figure", "split"):
        table.add_column(column)
    for column in (figures[0].unit, "images"):
        table.add_column(column, justify="right")
    for f in figures:
        table.add_row(f.name, f.split, f"{f.value:.2f} ± {f.error:.2f}", f"{f.images:,}")
    screen.print(table)
    for protocol in dict.fromkeys(f"{f.name}: {f.protocol}" for f in figures):
        screen.print(f"[dim]{protocol}[/dim]")


def _print_quality(screen: Console, quality: Quality, extractor: train.ClassifierExtractor) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("what it draws")
    for column in ("generated", "floor"):
        table.add_column(column, justify="right")
    table.add_column("better")
    for row in quality.rows():
        table.add_row(*row)
    screen.print(table)
    screen.print(quality.protocol, markup=False, style="dim")
    screen.print(f"classifier {extractor}, {extractor.sha256}", markup=False, style="dim")
    for fault in quality.diagnosis.splitlines():
        screen.print(f"warning: {fault}", markup=False, style="yellow")
