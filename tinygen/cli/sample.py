"""`tinygen sample`: new images of a trained model, as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from numpy.typing import NDArray

from .. import train
from ..train import pictures
from .console import BestOption, RunArgument, console


def sample_command(
    run_folder: RunArgument,
    n: Annotated[int, typer.Option("--n", help="How many images.", min=1)] = 64,
    out: Annotated[Path, typer.Option(help="The PNG file to write.")] = Path("samples.png"),
    label: Annotated[
        str | None,
        typer.Option(help="Draw this class, by its name or number (models trained with labels)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Image i of a seed is always the same.", min=0)] = 0,
    interpolate: Annotated[
        bool, typer.Option("--interpolate", help="Rows that turn from one image into another.")
    ] = False,
    traverse: Annotated[
        bool, typer.Option("--traverse", help="Rows in which one entry of the code changes.")
    ] = False,
    around: Annotated[
        Path | None, typer.Option(help="Draw variations of this image (VAEs).")
    ] = None,
    spread: Annotated[float, typer.Option(help="With --around: how far they vary.", min=0)] = 1.0,
    best: BestOption = False,
) -> None:
    """Draw new images with a trained model and write them as one picture.

    [dim]tinygen sample runs/vae-strokes --n 64 --out grid.png[/dim]

    [dim]tinygen sample runs/cgan-mnist --label 7 --out sevens.png[/dim]
    """
    run = train.open_run(run_folder, best=best)
    if sum((interpolate, traverse, around is not None)) > 1:
        raise ValueError("choose one of --interpolate, --traverse and --around")
    columns = None
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: pictures are written as PNG; name a file ending in .png")
    rows = max(1, n // 10)
    if interpolate:
        columns = min(n, 10)
        images = run.interpolate(rows, columns, label, seed)
    elif traverse:
        columns = min(n, 10)
        images = run.traverse(rows, columns, label, seed)
    elif around is not None:
        height, width, channels = run.model.shape
        how = run.data.get("options", {})
        image = load_image(
            around, (height, width), channels, how.get("paper"), how.get("value_range")
        )
        images = run.around(image, n, spread, label, seed)
    else:
        images = run.sample(n, label, seed)
        columns = pictures.COLUMNS if run.model.conditional and label is None else None
    text = pictures.note(run.model, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    run.picture(images, columns).save(out, text)
    console().print(f"{len(images)} images in {out}", markup=False)


def load_image(
    path: Path,
    size: tuple[int, int],
    channels: int,
    paper: str | None = None,
    value_range: tuple[float, float] | None = None,
) -> NDArray[Any]:
    """One image file as uint8 (H, W, C) of the given size and channels."""
    from ..data import pixels

    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a PNG or JPEG image")
    image: NDArray[Any] = pixels.read_image(path, size, channels, paper, value_range)
    return image
