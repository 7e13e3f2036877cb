"""`tinygen explore`: writes the page of a generator and opens it."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from .. import export, models
from .console import BestOption, RunArgument, console, open_run
from .export import LicenceOption, PartOption, artefact_of, part_of


def explore_command(
    run_folder: RunArgument,
    part: PartOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The page to write; by default in the run's folder.")
    ] = None,
    licence: LicenceOption = export.UNSTATED,
    open_it: Annotated[
        bool, typer.Option("--open/--no-open", help="Open it in the browser.")
    ] = True,
    best: BestOption = False,
) -> None:
    """Write the page that shows what a generator has learned, and open it in the browser."""
    run = open_run(run_folder, best=best)
    both = isinstance(run.model, models.Encodes)
    artefact = artefact_of(run, part_of(part or ("both" if both else "draw")), licence=licence)
    path = run_folder / "explore.html" if out is None else out
    export.write("html", artefact, path)
    console().print(f"page  {path}", markup=False)
    if open_it and not webbrowser.open(path.resolve().as_uri()):
        console().print("no browser was found; open the file in one", markup=False)
