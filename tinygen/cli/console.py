"""What the commands share: how a run is named, and how to write to the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .. import runs
from ..data import Dataset
from ..data.files import printable

BEST = "Use the best weights so far: by the figure on held-out images, or by KID."
BestOption = Annotated[bool, typer.Option("--best", help=BEST)]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)
]


def console(stderr: bool = False) -> Console:
    """Standard output or error, with the library's colours but without its guesses.

    Those are colours for numbers, and pictures for words between colons: "a:x:b" stays.
    """
    return Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)


def open_run(folder: str | Path, *, best: bool = False) -> runs.Run:
    """The run in a folder, ready to draw; a line says if its training has not ended."""
    run = runs.open_run(folder, best=best)
    if run.unfinished:
        text = printable(f"note: {run.unfinished}")
        console(stderr=True).print(text, markup=False, style="yellow")
    return run


def print_data(screen: Console, dataset: Dataset) -> None:
    """Print what was read, and how."""
    screen.print(f"data   {dataset!r}", markup=False)
    for line in dataset.report.lines():
        style = "yellow" if line.startswith("warning") else None
        screen.print(f"       {line}", markup=False, style=style)
