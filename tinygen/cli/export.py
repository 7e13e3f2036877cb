"""`tinygen export`: a trained generator as one file that needs nothing else."""

from __future__ import annotations

import contextlib
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import export, train
from ..export import Artefact
from ..runs import pictures
from .console import BestOption, RunArgument, console, open_run
from .sample import settings_of

Form = StrEnum("Form", list(export.FORMS))  # type: ignore[misc]
Stored = StrEnum("Stored", export.PRECISIONS)  # type: ignore[misc]

ToOption = Annotated[
    Form, typer.Option("--to", help=f"The form: {', '.join(export.FORMS)}.", show_default=False)
]
PartOption = Annotated[
    str | None,
    typer.Option(
        help="draw, encode (the mean code of an image; VAEs), or both.",
        show_default="draw",
        metavar="NAME",
    ),
]
PrecisionOption = Annotated[
    Stored,
    typer.Option(help="Of the weights in the file: float16 is half as large, int8 a quarter."),
]
LicenceOption = Annotated[
    str,
    typer.Option(help="Terms of the weights and of the data behind them, as text or a name (CC0)."),
]
NEXT_STEPS = {  # what to do with a file
    "python": "python3 {file} --n 16 --out grid.png      (needs Python and nothing else)",
    "c": "cc -O3 -D{upper}_MAIN {file} -lm -o {program} && ./{program} --n 16 --out grid.png",
    "html": "open {file} in a browser",
    "js": 'import {{ generate }} from "./{base}", in a page from a server; in one that is opened '
    'from a file <script src="{stem}.classic.js"></script> and tinygen.{name}.generate()',
    "onnx": "any ONNX runtime: inputs and outputs are named in its metadata",
    "safetensors": "{card} says how to load it",
}
NEXT_STEPS_ENCODER = NEXT_STEPS | {
    "python": "from {module} import encode      (the mean and log-variance of an image's code)",
    "c": "{name}_encode(pixels, label, mean, logvar, workspace), declared in {header}",
    "js": 'import {{ encode }} from "./{base}"',
}


def part_of(word: str) -> str:
    """The part that was typed, or its name of now, which is said."""
    new = export.PARTS_BEFORE.get(word, word)
    if new != word:
        console().print(f"--part {word} is called --part {new} now", markup=False)
    return new


def artefact_of(
    run: train.Run, part: str = "draw", precision: str = "float32",
    licence: str = export.UNSTATED, settings: dict[str, Any] | None = None,
) -> Artefact:  # fmt: skip
    """The artefact of a run: its name, weights, classes, and how it was trained."""
    model, data = run.model, run.data
    folder = run.folder
    weights = pictures.fingerprint(model)
    about: dict[str, Any] = {
        "data": data.get("name", ""), "images": data.get("n", 0),
        "data hash": str(data.get("fingerprint", ""))[:16], "epochs": len(run.epochs),
        "seed": run.seed,
    }  # fmt: skip
    quality = None
    if folder is not None:
        with contextlib.suppress(ValueError):  # a damaged file of figures is no reason to stop
            quality = folder.read_evaluation(weights)["quality"]
    if quality is not None:
        headlines = [m for m in quality["measures"] if m["name"] in train.loop.HEADLINES]
        about["figures"] = ", ".join(f"{m['name']} {m['value']:.4g}" for m in headlines)
        about["measured"] = quality["protocol"]
    title = model.name if folder is None else folder.path.resolve().name
    return export.prepare(
        model, title, weights, classes=tuple(data.get("classes") or ()), part=part,
        precision=precision, licence=licence, about=about, settings=settings,
    )  # fmt: skip


def export_command(
    run_folder: RunArgument,
    to: ToOption,
    part: PartOption = None,
    precision: PrecisionOption = Stored("float32"),  # noqa: B008
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write; by default the run's name in this folder."),
    ] = None,
    licence: LicenceOption = export.UNSTATED,
    lower_conv_transpose: Annotated[
        bool,
        typer.Option(
            "--lower-conv-transpose", help="onnx: write transposed convolutions as convolutions."
        ),
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A setting of the drawings in the file, such as steps=50. Once for each.",
        ),
    ] = None,
    best: BestOption = False,
) -> None:
    """Write a trained generator as one file that needs no framework to run.

    [dim]tinygen export runs/vae-mnist --to html --part both[/dim]

    [dim]tinygen export runs/dcgan-mnist --to c --precision int8 --out digits.c[/dim]
    """
    if lower_conv_transpose and to != "onnx":
        raise ValueError(f"--lower-conv-transpose is for --to onnx, not for {to}")
    run = open_run(run_folder, best=best)
    artefact = artefact_of(
        run, part_of(part or "draw"), str(precision), licence, settings_of(run.model, set_ or ())
    )
    suffix = export.FORMS[to][1]
    path = Path(f"{artefact.name}{suffix}") if out is None else out
    if path.suffix != suffix:
        raise ValueError(f"--out {path}: {to} is written as {suffix}; name a file ending so")
    beside = train.RunFolder(path.parent)
    if path.name == beside.model.name and beside.config.exists():
        raise ValueError(
            f"{path} has the weights of a run, which would be lost; name another file with --out"
        )
    if out is None and not export.replaceable(to, path):
        raise ValueError(
            f"{path} is there already, and no earlier export wrote it; name another file with "
            f"--out, or write --out {shlex.quote(str(path))} to replace it"
        )
    options: dict[str, Any] = {"lower_conv_transpose": True} if lower_conv_transpose else {}
    if to == "safetensors":
        options = {"file": path.name}
    paths = export.write(str(to), artefact, path, **options)
    screen = console()
    for written in paths:
        screen.print(f"{written}  {written.stat().st_size:,} bytes", markup=False)
    screen.print(
        f"{artefact.model}, {artefact.nbytes:,} bytes of {precision} weights; terms of weights and "
        f"data: {licence}", markup=False,
    )  # fmt: skip
    if artefact.chosen:
        free = ", ".join(each.name for each in artefact.settings)
        keeps = f"; the file leaves open {free}" if free else ", which the file keeps"
        screen.print(
            f"drawn with {artefact.drawn_with}{keeps} (others: --set NAME=VALUE)", markup=False
        )
    program = f"{artefact.name}_draw" if Path(artefact.name).exists() else artefact.name
    text = (NEXT_STEPS_ENCODER if "draw" not in artefact.graphs else NEXT_STEPS)[to].format(
        file=shlex.quote(str(path)), base=path.name, module=path.stem, name=artefact.name,
        upper=artefact.name.upper(), program=program, card=path.with_suffix(".md"), stem=path.stem,
        header=path.with_suffix(".h"),
    )  # fmt: skip
    screen.print(f"next  {text}", markup=False)
