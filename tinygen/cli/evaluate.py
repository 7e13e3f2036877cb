"""`tinygen evaluate`: measures of what a model draws, and its own figures."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .. import models, train
from ..data import Dataset
from ..data.options import range_option
from ..metrics import Quality
from ..options import SEED, Options, at_least, option
from ..output import stdout
from ..runs import pictures
from .console import BEST, console, open_run, print_data
from .options import Group, Typed, checked, function


@dataclass(frozen=True, kw_only=True)
class Measuring(Options):
    """What is measured of which run."""

    run: str = option(help="Folder of a run.", flags="RUN")
    data: str | None = option(
        None, help="Data other than the training data; scaled to the size of the model's images.",
        metavar="NAME|PATH",
    )  # fmt: skip
    value_range: tuple[float, float] | None = range_option(
        "What is black and white in the other data."
    )
    n: int | None = option(
        None, at_least(0), "How many images to draw and measure; 0 for none.",
        shown="10,000, or as many as are held out if those are fewer",
    )  # fmt: skip
    classifier: str | None = option(
        None, help="Run of a classifier to measure them with, for other data than mnist and "
        "strokes.", metavar="RUN",
    )  # fmt: skip
    samples: int = option(100, at_least(1), "VAEs: codes per image for the NLL.")
    nll_images: int = option(
        1000, at_least(0), "VAEs: images of each split for the NLL; 0 for none."
    )
    seed: int = option(0, SEED, "Of the noise.")
    best: bool = option(False, help=BEST, flags="--best")
    json: bool = option(False, help="Print JSON instead of tables.", flags="--json")


CODES = ("samples", "nll_images")  # those of them that only the NLL of a VAE takes


def evaluate(typed: Typed) -> None:
    """Measure, save the figures in the run folder, and print them."""
    request = checked(Measuring, typed[Measuring])
    run = open_run(request.run, best=request.best)
    dataset = run.load_data(request.data, request.value_range)
    if request.data is not None:
        print_data(console(stderr=request.json), dataset)
    _say_unused(run.model, typed[Measuring])
    found = measure(run, dataset, request)
    record: dict[str, Any] = {
        "weights": pictures.fingerprint(run.model),
        "figures": [dataclasses.asdict(f) for f in found.figures],
        "quality": None if found.quality is None else found.quality.describe(),
    }
    # saved before anything is printed: the terminal may be gone
    saved = request.data is None and _save(train.RunFolder(request.run), record)
    if request.json:
        print(json.dumps(record, indent=2))
    else:
        _print(found)
    lost = stdout().lost
    if lost is not None and not saved:
        raise OSError(
            f"the figures are lost: they could be neither printed ({lost.strerror}) nor saved"
        )


HELP = """Measure what a model draws against held-out images, beside real training images (floor).

FID, KID, precision, recall, density, coverage, classes, near copies, by the features of a small
classifier. Of a VAE also the negative ELBO and the importance-sampled NLL; of a classifier its
accuracy.
"""
evaluate_command = function("evaluate", [Group("Measures", Measuring)], evaluate)


@dataclass
class Found:
    """What was measured: the model's own figures, the quality of what it draws, or why not."""

    figures: list[train.Estimate]
    quality: Quality | None = None
    extractor: train.ClassifierExtractor | None = None
    reason: str = ""


def measure(run: train.Run, dataset: Dataset, request: Measuring) -> Found:
    """Measure a run on some data, with a bar for each figure."""
    model, tasks = run.model, {}
    bars = Progress(transient=True, console=Console(stderr=True) if request.json else None)

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done)

    own = train.has_figures(model)
    found = Found([])
    with bars:
        if request.classifier is not None or (request.n != 0 and isinstance(model, models.Draws)):
            try:
                found.extractor = train.find_extractor(dataset, request.classifier)
                gauge = train.Gauge(model, dataset, found.extractor, request.n, seed=request.seed)
                found.quality = gauge.measure(report)
            except ValueError as error:
                if request.classifier is not None or not own:
                    raise
                found.reason = str(error)
        if own or found.quality is None:
            found.figures = train.evaluate(
                run, dataset, samples=request.samples, nll_images=request.nll_images,
                seed=request.seed, report=report,
            )  # fmt: skip
    return found


def _say_unused(model: models.Model, typed: dict[str, Any]) -> None:
    """A line on standard error for options that the model has no use for.

    It is no error: scripts give them to every model.
    """
    if train.has_codes(model):
        return
    words = [f"--{k.replace('_', '-')} {typed[k]}" for k in CODES if typed.get(k)]
    if words:
        text = (
            f"note: {' and '.join(words)} changed nothing: this {model.name} has no NLL from "
            "codes; a VAE with a likelihood has"
        )
        console(stderr=True).print(text, markup=False, style="yellow")


def _save(folder: train.RunFolder, record: dict[str, Any]) -> bool:
    """Save the figures in the run folder. They are printed as well, so a full disk only warns."""
    try:
        folder.write_evaluation(record)
    except OSError as error:
        console(stderr=True).print(
            f"warning: the figures were not saved: {error}", markup=False, soft_wrap=True,
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
        screen.print(f"its images were not measured: {found.reason}", markup=False)


def _print_figures(screen: Console, figures: list[train.Estimate]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("figure", "split"):
        table.add_column(column)
    for column in (figures[0].unit, "images"):
        table.add_column(column, justify="right")
    for f in figures:
        table.add_row(f.name, f.split, f"{f.value:.2f} ± {f.error:.2f}", f"{f.images:,}")
    screen.print(table)
    for protocol in dict.fromkeys(f"{f.name}: {f.protocol}" for f in figures if f.protocol):
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
