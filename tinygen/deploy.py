"""The commands of `tinygen` that hand a generator over: export, verify, explore."""

from __future__ import annotations

import contextlib
import json
import shlex
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from . import export, metrics, models, train
from .export import verify as checking
from .images import to_uint8
from .terminal import BestOption, RunArgument, console
from .train import pictures

Form = StrEnum("Form", list(export.FORMS))  # type: ignore[misc]
Part = StrEnum("Part", export.PARTS)  # type: ignore[misc]
Stored = StrEnum("Stored", export.PRECISIONS)  # type: ignore[misc]

ToOption = Annotated[
    Form, typer.Option("--to", help=f"The form: {', '.join(export.FORMS)}.", show_default=False)
]
PartOption = Annotated[
    Part | None,
    typer.Option(help="decoder (it draws), encoder or both (VAEs).", show_default="decoder"),
]
PrecisionOption = Annotated[
    Stored,
    typer.Option(help="Of the weights in the file: float16 is half as large, int8 a quarter."),
]
LicenceOption = Annotated[
    str,
    typer.Option(help="Terms of the weights and of the data behind them, as text or a name (CC0)."),
]
SIZES = {"float32": 1, "float16": 2, "int8": 4}
TOLD = {  # what to do with a file
    "python": "python3 {file} --n 16 --out grid.png      (needs Python and nothing else)",
    "c": "cc -O3 -D{upper}_MAIN {file} -lm -o {program} && ./{program} --n 16 --out grid.png",
    "html": "open {file} in a browser",
    "js": 'import {{ generate }} from "./{base}", in a page from a server; in one that is opened '
    'from a file <script src="{stem}.classic.js"></script> and tinygen.{name}.generate()',
    "onnx": "any ONNX runtime: inputs and outputs are named in its metadata",
    "safetensors": "{card} says how to load it",
}
TOLD_ENCODER = TOLD | {
    "python": "from {module} import encode      (the mean and log-variance of an image's code)",
    "c": "{name}_encode(pixels, label, mean, logvar, workspace), declared in {header}",
    "js": 'import {{ encode }} from "./{base}"',
}


def made_from(
    run: train.Run, part: str = "decoder", precision: str = "float32",
    licence: str = export.UNSTATED,
) -> export.Artefact:  # fmt: skip
    """A run as what is exported: its name, weights, classes, and how it was trained."""
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
        told = [m for m in quality["measures"] if m["name"] in train.loop.TOLD]
        about |= {m["name"]: m["value"] for m in told}
        about["measured"] = quality["protocol"]
    title = model.name if folder is None else folder.path.resolve().name
    return export.prepare(
        model, title, weights, classes=tuple(data.get("classes") or ()), part=part,
        precision=precision, licence=licence, about=about,
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
    best: BestOption = False,
) -> None:
    """Write a trained generator as one file that its receiver can run with what they have.

    [dim]tinygen export runs/vae-mnist --to html --part both[/dim]

    [dim]tinygen export runs/dcgan-mnist --to c --precision int8 --out digits.c[/dim]
    """
    if lower_conv_transpose and to != "onnx":
        raise ValueError(f"--lower-conv-transpose is for --to onnx, not for {to}")
    run = train.open_run(run_folder, best=best)
    made = made_from(run, str(part or "decoder"), str(precision), licence)
    suffix = export.FORMS[to][1]
    path = Path(f"{made.name}{suffix}") if out is None else out
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
    paths = export.write(str(to), made, path, **options)
    show = console()
    for written in paths:
        show.print(f"{written}  {written.stat().st_size:,} bytes", markup=False)
    show.print(
        f"{made.model}, {made.nbytes:,} bytes of {precision} weights; terms of weights and data: "
        f"{licence}", markup=False,
    )  # fmt: skip
    program = f"{made.name}_draw" if Path(made.name).exists() else made.name
    told = (TOLD_ENCODER if part == "encoder" else TOLD)[to].format(
        file=shlex.quote(str(path)), base=path.name, module=path.stem, name=made.name,
        upper=made.name.upper(), program=program, card=path.with_suffix(".md"), stem=path.stem,
        header=path.with_suffix(".h"),
    )  # fmt: skip
    show.print(f"next  {told}", markup=False)


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
    """Make the page that shows what a generator has learned, and open it in the browser."""
    run = train.open_run(run_folder, best=best)
    both = isinstance(run.model, models.Encodes)
    made = made_from(run, str(part or ("both" if both else "decoder")), licence=licence)
    path = run_folder / "explore.html" if out is None else out
    export.write("html", made, path)
    console().print(f"page  {path}", markup=False)
    if open_it and not webbrowser.open(path.resolve().as_uri()):
        console().print("no browser was found; open the file in one", markup=False)


def verify_command(
    run_folder: RunArgument,
    seeds: Annotated[int, typer.Option(help="How many seeds to draw with.", min=1)] = 100,
    precision: PrecisionOption = Stored("float32"),  # noqa: B008
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Check this backend or form (can be given again)."),
    ] = None,
    n: Annotated[
        int, typer.Option("--n", help="float16, int8: images for their cost in KID.", min=0)
    ] = 2000,
    classifier: Annotated[
        Path | None,
        typer.Option(
            help="float16, int8: run of a classifier for the KID, for other data than mnist and "
            "strokes.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    best: BestOption = False,
) -> None:
    """Draw with every backend and every exported form at hand, and compare with the checkpoint.

    What is not on this machine (a compiler, node, a browser, ONNX Runtime, a GPU) is skipped, and
    said. Exit code 1 where a picture differs by more than it may.
    """
    known = list(checking.subjects())
    wrong = [name for name in only or [] if name not in known]
    if wrong:
        raise ValueError(f"--only {', '.join(wrong)}, expected some of {', '.join(known)}")
    run = train.open_run(run_folder, best=best)
    made = made_from(run, precision=str(precision))
    asked = checking.question(made, seeds)
    labels = np.array(asked.labels) if made.classes else None
    drawn = pictures.draw(run.model, asked.codes, labels)
    reference = to_uint8(drawn, made.value_range)
    show = console()
    with show.status("") as status:
        rows = checking.verify(
            made, reference, asked, only, lambda row: status.update(f"{row.name} is done")
        )
        cost = None
        if precision != "float32" and n:
            status.update("measuring the cost in KID")
            cost = kid_cost(run, made, n, classifier)
    if as_json:
        kept = {"rows": [vars(row) for row in rows], "kid": cost, "precision": str(precision)}
        print(json.dumps(kept, indent=2))
    else:
        _show(rows, made, reference, cost)
    if any(not row.ok for row in rows):
        raise typer.Exit(1)


def kid_cost(
    run: train.Run, made: export.Artefact, n: int, classifier: Path | None = None
) -> dict[str, Any]:
    """KID of n images drawn with the checkpoint's weights and with the exported ones.

    Keys: checkpoint, exported, images, classifier; or why, where it could not be measured.
    """
    try:
        data = run.load_data()
        extractor = train.find_extractor(data, classifier)
        real = (data.test or data).images[:n]
        z = made.codes(n, seed=1)
        labels = None
        if made.classes:
            assert data.labels is not None
            labels = np.resize(data.labels, n)
        drawn = {
            "checkpoint": pictures.draw(run.model, z, labels),
            "exported": _decoded(made, z, labels),
        }
        features = extractor(real)[0]
        size = min(1000, len(real), n)
        values = {
            name: metrics.kid(features, extractor(to_uint8(x, made.value_range))[0], size=size).mean
            for name, x in drawn.items()
        }
    except ValueError as error:
        return {"why": str(error)}
    return {**values, "images": n, "classifier": str(extractor)}


def _decoded(
    made: export.Artefact, z: NDArray[Any], labels: NDArray[Any] | None
) -> NDArray[np.float32]:
    assert made.decoder is not None
    parts = []
    for i in range(0, len(z), 250):
        some = None if labels is None else labels[i : i + 250]
        parts.append(made.decoder(made.conditioned(z[i : i + 250], some)))
    return np.concatenate(parts).reshape(-1, *made.shape)


def _show(
    rows: list[checking.Row], made: export.Artefact, reference: NDArray[Any],
    cost: dict[str, Any] | None,
) -> None:  # fmt: skip
    show = console()
    table = Table(box=None, pad_edge=False)
    for name in ("", "images", "levels", "error", "at", "bytes", "images/s", "start"):
        table.add_column(name, justify="left" if name in ("", "at") else "right", no_wrap=True)
    for row in rows:
        if row.skipped or (row.failed and row.levels is None):
            continue
        table.add_row(
            row.name, f"{row.images}", f"{row.levels}",
            "" if row.error is None else f"{row.error:.1e}", row.layer,
            "" if row.size is None else f"{row.size:,}",
            "" if row.rate is None else f"{row.rate:,.0f}" if row.rate >= 10 else f"{row.rate:.2g}",
            "" if row.start is None else f"{row.start:.2f} s",
        )  # fmt: skip
    show.print(table)
    for row in rows:
        if row.skipped:
            show.print(f"skipped {row.name}: {row.skipped}", markup=False, style="dim")
    for row in rows:
        if row.failed:
            show.print(f"failed {row.name}: {row.failed}", markup=False, style="red")
    show.print(
        f"[dim]levels: the largest difference of a pixel from the checkpoint's, of 255, in image 0 "
        f"of each of {len(reference)} seeds; error: of the worst layer, from float64, over its "
        f"largest value; {made.nbytes:,} bytes of {made.precision} weights[/dim]"
    )
    if cost is not None and "why" in cost:
        show.print(f"cost in KID: not measured: {cost['why']}", markup=False)
    elif cost is not None:
        show.print(
            f"KID {cost['checkpoint']:.4g} with the checkpoint's weights, {cost['exported']:.4g} "
            f"in {made.precision} ({cost['images']:,} images, {cost['classifier']})", markup=False,
        )  # fmt: skip
