"""`tinygen verify`: every backend and every exported form beside the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from .. import metrics, train
from ..export import Artefact
from ..export import verify as checking
from ..images import to_uint8
from ..models import Draws
from ..runs import pictures
from .console import BestOption, RunArgument, console, open_run
from .export import PrecisionOption, Stored, artefact_of


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
    """Draw with every backend and exported form of this machine, and compare with the checkpoint.

    What is not on this machine (a compiler, node, a browser, ONNX Runtime, a GPU) is skipped, and
    said. What is slow is compared by the images that it draws in 20 s. Exit code 1 where a picture
    differs by more than it may.
    """
    known = list(checking.subjects())
    wrong = [name for name in only or [] if name not in known]
    if wrong:
        raise ValueError(f"--only {', '.join(wrong)}, expected some of {', '.join(known)}")
    run = open_run(run_folder, best=best)
    screen = console()
    at_most = f"each draws for about {checking.SECONDS} s at most"
    with screen.status("drawing with the checkpoint") as status:
        artefact = artefact_of(run, precision=str(precision))
        question = checking.question(artefact, seeds)
        labels = np.array(question.labels) if artefact.classes else None
        drawn = pictures.draw(run.model, noise_of(run, question.seeds), labels)
        reference = to_uint8(drawn, artefact.value_range)
        status.update(at_most)
        rows = checking.verify(
            artefact, reference, question, only,
            lambda row: status.update(f"{row.name} is done; {at_most}"),
        )  # fmt: skip
        cost = None
        if precision != "float32" and n:
            status.update("measuring the cost in KID")
            cost = kid_cost(run, artefact, n, classifier)
    if as_json:
        kept = {"rows": [vars(row) for row in rows], "kid": cost, "precision": str(precision)}
        print(json.dumps(kept, indent=2))
    else:
        _print_rows(rows, artefact, reference, cost)
    if any(not row.ok for row in rows):
        raise typer.Exit(1)


def noise_of(run: train.Run, seeds: Sequence[int], n: int = 1) -> NDArray[Any]:
    """The noise of images 0 to n - 1 of each seed, as the model takes it."""
    assert isinstance(run.model, Draws)
    assert run.model.noise is not None
    return np.concatenate([run.model.noise.of_seed(n, seed) for seed in seeds])


def kid_cost(
    run: train.Run, artefact: Artefact, n: int, classifier: Path | None = None
) -> dict[str, Any]:
    """KID of n images drawn with the checkpoint's weights and with the exported ones.

    Keys: checkpoint, exported, images, classifier; or why, where it could not be measured.
    """
    try:
        data = run.load_data()
        extractor = train.find_extractor(data, classifier)
        real = (data.test or data).images[:n]
        z = artefact.codes(n, seed=1)
        labels = None
        if artefact.classes:
            assert data.labels is not None
            labels = np.resize(data.labels, n)
        drawn = {
            "checkpoint": pictures.draw(run.model, noise_of(run, [1], n), labels),
            "exported": _decoded(artefact, z, labels),
        }
        features = extractor(real)[0]
        size = min(1000, len(real), n)
        values = {}
        for name, x in drawn.items():
            seen = extractor(to_uint8(x, artefact.value_range))[0]
            values[name] = metrics.kid(features, seen, size=size).mean
    except ValueError as error:
        return {"why": str(error)}
    return {**values, "images": n, "classifier": str(extractor)}


def _decoded(
    artefact: Artefact, z: NDArray[Any], labels: NDArray[Any] | None
) -> NDArray[np.float32]:
    parts = []
    for i in range(0, len(z), 250):
        some = None if labels is None else labels[i : i + 250]
        parts.append(artefact.draw(z[i : i + 250], some))
    return np.concatenate(parts)


def _print_rows(
    rows: list[checking.Row], artefact: Artefact, reference: NDArray[Any],
    cost: dict[str, Any] | None,
) -> None:  # fmt: skip
    screen = console()
    table = Table(box=None, pad_edge=False)
    for name in ("", "images", "levels", "error", "at", "bytes", "images/s", "start"):
        table.add_column(name, justify="left" if name in ("", "at") else "right", no_wrap=True)
    for row in rows:
        if row.skipped or (row.failed and row.levels is None):
            continue
        table.add_row(
            row.name, f"{row.images}", f"{row.levels}",
            "" if row.error is None else f"{row.error:.1e}", row.operation,
            "" if row.size is None else f"{row.size:,}",
            "" if row.rate is None else f"{row.rate:,.0f}" if row.rate >= 10 else f"{row.rate:.2g}",
            "" if row.start is None else f"{row.start:.2f} s",
        )  # fmt: skip
    screen.print(table)
    for row in rows:
        if row.skipped:
            screen.print(f"skipped {row.name}: {row.skipped}", markup=False, style="dim")
    for row in rows:
        if row.failed:
            screen.print(f"failed {row.name}: {row.failed}", markup=False, style="red")
    screen.print(
        f"[dim]levels: the largest difference of a pixel from the checkpoint's, of 255, in image 0 "
        f"of each of {len(reference)} seeds, or of so many as were drawn in {checking.SECONDS} s; "
        f"error: of the worst operation, from float64, over its largest value; "
        f"{artefact.nbytes:,} bytes of {artefact.precision} weights[/dim]"
    )
    if cost is not None and "why" in cost:
        screen.print(f"cost in KID: not measured: {cost['why']}", markup=False)
    elif cost is not None:
        screen.print(
            f"KID {cost['checkpoint']:.4g} with the checkpoint's weights, {cost['exported']:.4g} "
            f"in {artefact.precision} ({cost['images']:,} images, {cost['classifier']})",
            markup=False,
        )  # fmt: skip
